"""Runs one queued operation to its end: ``python worker.py OPERATION_ID [LOG]``.

The operation runs in a child that FiftyOne watches: as soon as the operation is set to failed, the child is killed. A
database that is away is waited for, so that the child can go on meanwhile.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

CHECK_INTERVAL_SECONDS = 1
CANCELLED = "Cancelled by user"
"""As in :mod:`jobs`, which this script, being no part of a package, cannot import."""

PATIENCE_SECONDS = 3600.0
"""How long a database that is away is waited for."""


class Patient:
    """Asks a repository again while the database is away."""

    def __init__(self, repository: Any) -> None:
        self._repository = repository

    def __getattr__(self, name: str) -> Callable[..., Any]:
        from pymongo.errors import ConnectionFailure

        method = getattr(self._repository, name)

        def ask(*args: Any, **kwargs: Any) -> Any:
            start = time.monotonic()
            while True:
                try:
                    return method(*args, **kwargs)
                except ConnectionFailure:
                    if time.monotonic() - start > PATIENCE_SECONDS:
                        raise
                time.sleep(1)

        return ask


def main() -> None:
    """Runs the operation named by the first argument; the log named by the second goes unless the operation failed."""
    from bson import ObjectId
    from fiftyone.factory.repo_factory import RepositoryFactory
    from fiftyone.operators.delegated import DelegatedOperationService
    from fiftyone.operators.executor import ExecutionRunState

    service = DelegatedOperationService(Patient(RepositoryFactory.delegated_operation_repo()))
    operation = service.get(ObjectId(sys.argv[1]))
    service.execute_operation(operation, log=True, monitor=True, check_interval_seconds=CHECK_INTERVAL_SECONDS)
    ended = service.get(operation.id)
    failed = ended.run_state == ExecutionRunState.FAILED and (ended.result is None or ended.result.error != CANCELLED)
    if not failed:
        # what it printed is of no more use; on Windows it cannot be deleted while it is open, and is pruned later
        with suppress(OSError):
            for log in sys.argv[2:]:
                Path(log).unlink(missing_ok=True)


# FiftyOne starts the child by importing this file anew
if __name__ == "__main__":
    main()
