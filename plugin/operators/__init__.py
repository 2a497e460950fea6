"""The operators and their forms; they call the package."""
