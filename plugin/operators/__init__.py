"""The operators and their forms: thin, they call the package."""
