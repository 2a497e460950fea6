"""Background jobs: a delegated operation of FiftyOne's, run by a process of its own that outlives page and request.

The operation's document in the database is all there is to know of a job: any process can read its progress, and
setting it to failed is what cancels it, since the worker watches it and then kills the training.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any

import fiftyone as fo
import fiftyone.operators as foo
import psutil
from bson import ObjectId
from fiftyone.operators.delegated import DelegatedOperationService
from fiftyone.operators.executor import ExecutionResult, ExecutionRunState

from fiftyone_learnability.dataset.internals import dataset_id, get_database, serialize_request

from ..names import COMPUTE

CANCELLED = "Cancelled by user"
ENDED = "The process that trained has ended unexpectedly; to compute the same again goes on from its last checkpoint."
WRITING = "Writing the scores"
_ACTIVE = (ExecutionRunState.QUEUED, ExecutionRunState.SCHEDULED, ExecutionRunState.RUNNING)
_DISMISSED, _REMARKS = "learnability_dismissed", "learnability_remarks"
_LOG = "fiftyone-learnability-"

LOG_SECONDS = 30 * 86400.0
"""How long the log of a job that failed is kept if nobody dismisses it."""


@dataclass(frozen=True)
class Job:
    """What the panel shows of a job.

    Attributes:
        id: the id of the operation
        state: "queued", "running", "completed" or "failed"
        title: what is computed
        label: how far it is, in words
        progress: how far it is, 0..1
        error: why it failed, one line
        in_background: whether a worker of ours runs it, rather than a ``fiftyone delegated launch``
        remarks: what did not go as planned, although it is completed, a sentence each
    """

    id: str
    state: str
    title: str
    label: str
    progress: float
    error: str
    in_background: bool
    remarks: list[str] = field(default_factory=list)

    @property
    def active(self) -> bool:
        """Whether it waits or runs."""
        return self.state in _ACTIVE


def queue(ctx: foo.ExecutionContext, title: str) -> str:
    """Queues the computation that a form describes.

    Args:
        ctx: the context of the operator; its params are the form
        title: what is computed, for people

    Returns:
        the id of the operation
    """
    request = {**serialize_request(ctx), "params": ctx.params, "delegated": True}
    operation = DelegatedOperationService().queue_operation(
        operator=COMPUTE, label=title, context={"request_params": request, "params": ctx.params}
    )
    return str(operation.id)


def start_worker(operation_id: str) -> None:
    """Starts the process that runs a queued operation and goes on when this process ends.

    Args:
        operation_id: the id of the operation
    """
    # what the App's server set for itself: the worker is to hold the database open on its own account
    unwanted = ("FIFTYONE_PRIVATE_DATABASE_PORT", "FIFTYONE_DISABLE_SERVICES", "FIFTYONE_SERVER")
    environment = {name: value for name, value in os.environ.items() if name not in unwanted}
    # threads that wait for each other sleep: else, beside a busy browser, they keep each other from working
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _prune_logs()
    with _open_log(log_file(operation_id)) as log:
        command = [sys.executable, str(Path(__file__).with_name("worker.py")), operation_id, log.name]
        worker = spawn(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    _operations().update_one(
        {"_id": ObjectId(operation_id)}, {"$set": {"metadata.worker": {"pid": worker.pid, "host": platform.node()}}}
    )


def spawn(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
    """Starts a process that goes on when this one ends.

    Args:
        command: the command
        **options: see ``subprocess.Popen``; input and output are closed unless they say otherwise
    """
    closed = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    process = subprocess.Popen(command, **{**closed, "start_new_session": True, **options})
    # so that it does not stay in the table of processes as a zombie when it has ended
    threading.Thread(target=process.wait, daemon=True).start()
    return process


def log_file(operation_id: str) -> Path:
    """Where the worker of an operation writes what it prints.

    The worker deletes it when the job is done or was cancelled; one that failed keeps it until it is dismissed.
    """
    return Path(tempfile.gettempdir()) / f"{_LOG}{operation_id}.log"


def _open_log(path: Path) -> IO[bytes]:
    # others can write into the folder of temporary files: what they have put there, a link or a file to read along in,
    # is not written to
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    return open(path, "wb", opener=lambda name, _: os.open(name, flags, 0o600))


def _prune_logs() -> None:
    """Deletes logs that nobody has dismissed for long."""
    for path in Path(tempfile.gettempdir()).glob(f"{_LOG}*.log"):
        # another process may have deleted it, or it may be another user's
        with suppress(OSError):
            if time.time() - path.lstat().st_mtime > LOG_SECONDS:
                path.unlink()


def latest(dataset: fo.Dataset) -> Job | None:
    """The job of a dataset that is running, else that which was started last.

    A job whose worker has vanished is marked as failed.

    Args:
        dataset: the dataset

    Returns:
        the job; None if there is none, or it was dismissed
    """
    ours = {"operator": COMPUTE, "dataset_id": dataset_id(dataset)}
    newest_first = [("queued_at", -1), ("_id", -1)]
    document = _operations().find_one({**ours, "run_state": {"$in": list(_ACTIVE)}}, sort=newest_first)
    if document is None:
        document = _operations().find_one(ours, sort=newest_first)
    if document is None or document.get("metadata", {}).get(_DISMISSED):
        return None
    if document["run_state"] in _ACTIVE and _worker_vanished(document):
        error = f"{ENDED} Its log is {log_file(str(document['_id']))}"
        _fail(document["_id"], error)
        document = _operations().find_one({"_id": document["_id"]})
    status = document.get("status") or {}
    state = document["run_state"]
    return Job(
        id=str(document["_id"]),
        state="queued" if state == ExecutionRunState.SCHEDULED else state,
        title=document.get("label") or "Learnability",
        label=status.get("label") or "",
        progress=float(status.get("progress") or 0),
        error=_last_line((document.get("result") or {}).get("error") or ""),
        in_background="worker" in (document.get("metadata") or {}),
        remarks=(document.get("metadata") or {}).get(_REMARKS) or [],
    )


def cancel(job_id: str) -> bool:
    """Cancels a job, unless it is already writing its scores or has ended.

    Args:
        job_id: the id of the job

    Returns:
        whether it was cancelled; nothing is written then
    """
    return _fail(ObjectId(job_id), CANCELLED, {"status.label": {"$ne": WRITING}})


def dismiss(job_id: str) -> None:
    """Takes an ended job off the panel, and deletes its log; one that waits or runs stays as it is."""
    dismissed = _operations().update_one(
        {"_id": ObjectId(job_id), "run_state": {"$nin": list(_ACTIVE)}}, {"$set": {f"metadata.{_DISMISSED}": True}}
    )
    if dismissed.matched_count:
        with suppress(OSError):
            log_file(job_id).unlink(missing_ok=True)


def begin_writing(job_id: str) -> bool:
    """Says of a running job that its scores are being written, after which it cannot be cancelled.

    Args:
        job_id: the id of the job

    Returns:
        whether it runs; False if it was cancelled
    """
    # in one step: before it everybody may cancel, after it nobody does
    found = _operations().find_one_and_update(
        {"_id": ObjectId(job_id), "run_state": ExecutionRunState.RUNNING},
        {"$set": {"status": {"progress": 1.0, "label": WRITING, "updated_at": datetime.now(timezone.utc)}}},
    )
    return found is not None


def keep_remarks(job_id: str, remarks: Sequence[str]) -> None:
    """Keeps what a job that is done has to say."""
    _operations().update_one({"_id": ObjectId(job_id)}, {"$set": {f"metadata.{_REMARKS}": list(remarks)}})


def still_wanted(job_id: str) -> bool:
    """Whether a running job has not been cancelled."""
    document = _operations().find_one({"_id": ObjectId(job_id)}, {"run_state": 1})
    return document is not None and document["run_state"] == ExecutionRunState.RUNNING


def _fail(operation_id: ObjectId, error: str, condition: dict[str, Any] | None = None) -> bool:
    """Sets an operation to failed if it has not ended, and the condition holds; tells whether it did."""
    # in one step with the condition: it must not fall between a worker's last look and its writing
    found = _operations().find_one_and_update(
        {"_id": operation_id, "run_state": {"$in": list(_ACTIVE)}, **(condition or {})},
        {"$set": {"run_state": ExecutionRunState.FAILED, "result": {"error": error}}},
    )
    if found is None:
        return False
    DelegatedOperationService().set_failed(operation_id, result=ExecutionResult(error=error))
    return True


def _operations() -> Any:
    return get_database()["delegated_ops"]


def _worker_vanished(document: dict[str, Any]) -> bool:
    worker = (document.get("metadata") or {}).get("worker")
    if worker is None or worker["host"] != platform.node():
        return False
    try:
        return str(document["_id"]) not in psutil.Process(worker["pid"]).cmdline()
    except psutil.Error:
        return True


def _last_line(error: str) -> str:
    """The message of a traceback, without the name of the exception's class where that is ours or Python's own."""
    lines = [line for line in error.strip().splitlines() if line.strip()]
    if not lines:
        return ""
    name, separator, message = lines[-1].partition(": ")
    return message if separator and name.replace(".", "").isidentifier() else lines[-1]
