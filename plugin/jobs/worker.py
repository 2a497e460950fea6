"""Runs one queued operation to its end: ``python worker.py OPERATION_ID [LOG]``.

The operation runs in a child that FiftyOne watches: as soon as the operation is set to failed, the child is killed. A
database that is away is waited for, so that the child can go on meanwhile.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

CHECK_INTERVAL_SECONDS = 1
CANCELLED = "Cancelled by user"
ENDED = "The process that trained has ended unexpectedly; to compute the same again goes on from its last checkpoint."
"""As in :mod:`jobs`, which this script, being no part of a package, cannot import."""


class Patient:
    """Asks a repository again while the database is away."""

    def __init__(self, repository: Any) -> None:
        self._repository = repository

    def __getattr__(self, name: str) -> Callable[..., Any]:
        from fiftyone_learnability.dataset.retry import retry_while_unreachable

        method = getattr(self._repository, name)
        return lambda *args, **kwargs: retry_while_unreachable(lambda: method(*args, **kwargs))


def main() -> None:
    """Runs the operation named by the first argument; the log named by the second goes unless the operation failed."""
    if importlib.util.find_spec("fiftyone_learnability") is None:
        # as in the plugin's __init__
        sys.path.append(str(Path(__file__).resolve().parent.parent))

    from bson import ObjectId
    from fiftyone.factory.repo_factory import RepositoryFactory
    from fiftyone.operators.delegated import DelegatedOperationService
    from fiftyone.operators.executor import ExecutionResult, ExecutionRunState

    service = DelegatedOperationService(Patient(RepositoryFactory.delegated_operation_repo()))
    operation = service.get(ObjectId(sys.argv[1]))
    ran = service.execute_operation(operation, log=True, monitor=True, check_interval_seconds=CHECK_INTERVAL_SECONDS)
    logs = sys.argv[2:]
    if ran is None:
        # cancelled while it was waiting, or taken by a `fiftyone delegated launch`: another's business
        _let_go(operation.id)
        _delete(logs)
        return
    # a child that was killed, perhaps for want of memory, has not said so
    result = ExecutionResult(error=" ".join([ENDED, *(f"Its log is {log}" for log in logs)]))
    service.set_failed(doc_id=operation.id, result=result, required_state=ExecutionRunState.RUNNING)
    ended = service.get(operation.id)
    cancelled = ended.result is not None and ended.result.error == CANCELLED
    if ended.run_state == ExecutionRunState.COMPLETED or cancelled:
        # what it printed is of no more use
        _delete(logs)


def _let_go(operation_id: Any) -> None:
    """Has nobody take the end of this process for that of the operation."""
    from fiftyone_learnability.dataset.internals import get_database

    get_database()["delegated_ops"].update_one({"_id": operation_id}, {"$unset": {"metadata.worker": ""}})


def _delete(logs: list[str]) -> None:
    # on Windows one cannot be deleted while it is open, and is pruned later
    with suppress(OSError):
        for log in logs:
            Path(log).unlink(missing_ok=True)


# FiftyOne starts the child by importing this file anew
if __name__ == "__main__":
    main()
