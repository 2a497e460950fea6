"""Background jobs: delegated operations, each run by a worker process of its own."""
