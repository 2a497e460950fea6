"""Runs one queued job to its end: ``python worker.py JOB_ID LOG MESSAGE``.

The job runs in a child process that FiftyOne monitors: when its operation is set to failed, FiftyOne kills the child.
While the database is unreachable, this process waits for it, and the child keeps training. LOG is deleted unless the
job fails; MESSAGE is its error if the child is killed.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

CHECK_INTERVAL_SECONDS = 1
ALIVE = "Loading FiftyOne and the plugin"


class RetryingRepository:
    """A repository of delegated operations whose methods wait while the database is unreachable."""

    def __init__(self, repository: Any) -> None:
        self._repository = repository

    def __getattr__(self, name: str) -> Callable[..., Any]:
        from fiftyone_learnability.dataset.retry import retry_while_unreachable

        method = getattr(self._repository, name)
        return lambda *args, **kwargs: retry_while_unreachable(lambda: method(*args, **kwargs))


def main() -> None:
    """Run the job that the arguments name."""
    if importlib.util.find_spec("fiftyone_learnability") is None:
        # as in the plugin's __init__
        sys.path.append(str(Path(__file__).resolve().parents[2]))

    from bson import ObjectId
    from fiftyone.factory.repo_factory import RepositoryFactory
    from fiftyone.operators.delegated import DelegatedOperationService
    from fiftyone.operators.executor import ExecutionResult, ExecutionRunState

    job_id, log, message = sys.argv[1:]
    service = DelegatedOperationService(RetryingRepository(RepositoryFactory.delegated_operation_repo()))
    operation = service.get(ObjectId(job_id))
    _report(operation.id, ALIVE)
    if (
        service.execute_operation(operation, log=True, monitor=True, check_interval_seconds=CHECK_INTERVAL_SECONDS)
        is None
    ):
        # it was cancelled while it waited, or `fiftyone delegated launch` runs it
        _detach(operation.id)
        _delete(log)
        return
    # a killed child could not report its end
    service.set_failed(
        doc_id=operation.id, result=ExecutionResult(error=message), required_state=ExecutionRunState.RUNNING
    )
    if service.get(operation.id).run_state == ExecutionRunState.COMPLETED:
        _delete(log)


def _report(operation_id: Any, label: str) -> None:
    """Show that this process has come up, before the child loads everything that it needs."""
    from fiftyone_learnability.dataset.internals import get_database
    from fiftyone_learnability.dataset.retry import retry_while_unreachable

    waiting = {"_id": operation_id, "run_state": "queued"}
    operations = get_database()["delegated_ops"]
    retry_while_unreachable(lambda: operations.update_one(waiting, {"$set": {"status.label": label}}))


def _detach(operation_id: Any) -> None:
    """Detach: this process's exit must not mark the operation as failed."""
    from fiftyone_learnability.dataset.internals import get_database

    get_database()["delegated_ops"].update_one({"_id": operation_id}, {"$unset": {"metadata.worker": ""}})


def _delete(log: str) -> None:
    # Windows cannot delete an open file: it is pruned later
    with suppress(OSError):
        Path(log).unlink(missing_ok=True)


# FiftyOne starts the child by importing this file again
if __name__ == "__main__":
    main()
