"""Runs one queued job to its end: ``python worker.py JOB_ID LOG MESSAGE``.

Two processes, of which only one loads FiftyOne, so that the panel soon shows that something happens. The first process
starts the second one and waits. The second one runs the job; it ends at once when its operation is set to failed, and
keeps training while the database is unreachable. If the second one is killed, the first one fails the job with MESSAGE.
LOG is deleted unless the job fails.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

CHECK_INTERVAL_SECONDS = 1.0
ALIVE = "Loading FiftyOne and the plugin"
_RUN = "--run"


class RetryingRepository:
    """A repository of delegated operations whose methods wait while the database is unreachable."""

    def __init__(self, repository: Any) -> None:
        self._repository = repository

    def __getattr__(self, name: str) -> Callable[..., Any]:
        from fiftyone_learnability.dataset.retry import retry_while_unreachable

        method = getattr(self._repository, name)
        return lambda *args, **kwargs: retry_while_unreachable(lambda: method(*args, **kwargs))


def main() -> None:
    """Run the job that the arguments name, or watch over the process that does."""
    job_id, log, message, *more = sys.argv[1:]
    if more == [_RUN]:
        run(job_id, log)
        return
    # in a session of its own: it survives this process, as it survives the server
    # unbuffered, because the process can end at any moment
    command = [sys.executable, "-u", __file__, job_id, log, message, _RUN]
    if subprocess.Popen(command, start_new_session=True).wait() != 0:
        report_death(job_id, message)


def run(job_id: str, log: str) -> None:
    """Run a job in this process."""
    service, operation_id = _service(), _object_id(job_id)
    operation = service.get(operation_id)
    _report(operation_id, ALIVE)
    threading.Thread(target=_watch, args=(operation_id,), daemon=True).start()
    if service.execute_operation(operation, log=True) is None:
        # it was cancelled while it waited, or `fiftyone delegated launch` runs it
        _detach(operation_id)
        _delete(log)
    elif service.get(operation_id).run_state == "completed":
        _delete(log)


def report_death(job_id: str, message: str) -> None:
    """Fail a job whose process was killed, unless it has reported how it ended."""
    from fiftyone.operators.executor import ExecutionResult

    service = _service()
    for state in ("queued", "running"):
        service.set_failed(_object_id(job_id), ExecutionResult(error=message), required_state=state)


def _service() -> Any:
    if importlib.util.find_spec("fiftyone_learnability") is None:
        # as in the plugin's __init__
        sys.path.append(str(Path(__file__).resolve().parents[2]))

    from fiftyone.factory.repo_factory import RepositoryFactory
    from fiftyone.operators.delegated import DelegatedOperationService

    return DelegatedOperationService(RetryingRepository(RepositoryFactory.delegated_operation_repo()))


def _object_id(job_id: str) -> Any:
    from bson import ObjectId

    return ObjectId(job_id)


def _operations() -> Any:
    from fiftyone_learnability.dataset.internals import get_database

    return get_database()["delegated_ops"]


def _report(operation_id: Any, label: str) -> None:
    """Show that this process has come up, before it loads the plugin and PyTorch."""
    from fiftyone_learnability.dataset.retry import retry_while_unreachable

    waiting = {"_id": operation_id, "run_state": "queued"}
    retry_while_unreachable(lambda: _operations().update_one(waiting, {"$set": {"status.label": label}}))


def _watch(operation_id: Any) -> None:
    """End this process and its children once the operation is set to failed, as when it is cancelled."""
    import psutil
    from pymongo.errors import PyMongoError

    failed = {"_id": operation_id, "run_state": "failed"}
    while True:
        time.sleep(CHECK_INTERVAL_SECONDS)
        with suppress(PyMongoError):
            if _operations().find_one(failed, {"_id": 1}) is not None:
                break
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            child.kill()
    # the main thread may be in the middle of a training step
    os._exit(0)


def _detach(operation_id: Any) -> None:
    """Detach: this process's exit must not mark the operation as failed."""
    _operations().update_one({"_id": operation_id}, {"$unset": {"metadata.worker": ""}})


def _delete(log: str) -> None:
    # Windows cannot delete an open file: it is pruned later
    with suppress(OSError):
        Path(log).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
