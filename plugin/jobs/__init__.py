"""Background jobs: delegated operations of FiftyOne, each run by a worker process of its own.

No module here may have the name of one of Python's own: ``worker.py`` runs as a script, which puts this folder first on
its import path.
"""
