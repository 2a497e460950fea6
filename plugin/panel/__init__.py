"""The panel: what it draws, how it is laid out, and what its events do."""
