"""Background jobs in FiftyOne's database: each is a delegated operation, run by a worker process of its own.

The operation's document is the whole state of a job. Any process can read its progress from there, and cancels the job
by setting it to failed: the worker watches the document and kills the training.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
from bson import ObjectId
from fiftyone.operators.delegated import DelegatedOperationService
from fiftyone.operators.executor import ExecutionResult, ExecutionRunState

from fiftyone_learnability.dataset.internals import dataset_id, get_database, serialize_request

from ..names import COMPUTE
from .logs import delete_log, log_path
from .processes import is_worker, start_worker

CANCELLED = "Cancelled by user"
STARTING = "Starting a process for the training"
WRITING = "Writing the scores"
_ENDED = "The training process ended unexpectedly. Compute the same again to continue from its last checkpoint."
_ACTIVE = (ExecutionRunState.QUEUED, ExecutionRunState.SCHEDULED, ExecutionRunState.RUNNING)
_DISMISSED, _REMARKS = "learnability_dismissed", "learnability_remarks"


@dataclass(frozen=True)
class Job:
    """A background job, as the panel shows it.

    Attributes:
        id: the id of the operation
        state: "queued", "running", "completed" or "failed"
        title: what is computed
        label: the current step, in words
        progress: the finished fraction, 0..1
        error: one line that says why it failed
        in_background: True if our worker runs it, False if it waits for ``fiftyone delegated launch``
        remarks: what did not go as planned in a completed job, one sentence each
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
        """True while it waits or runs."""
        return self.state in _ACTIVE


def queue_job(ctx: foo.ExecutionContext, title: str, params: dict[str, Any] | None = None) -> str:
    """Queue the computation that a form describes.

    Args:
        ctx: the context of the operator; its params are the form
        title: what is computed, for people
        params (None): other params in their place

    Returns:
        the id of the job
    """
    params = ctx.params if params is None else params
    request = {**serialize_request(ctx), "params": params, "delegated": True}
    operation = DelegatedOperationService().queue_operation(
        operator=COMPUTE, label=title, context={"request_params": request, "params": params}
    )
    return str(operation.id)


def start_job(job_id: str) -> None:
    """Start the worker process of a queued job; it keeps running when this process ends."""
    _operations().update_one({"_id": ObjectId(job_id)}, {"$set": {"status": _status(0.0, STARTING)}})
    worker = {"pid": start_worker(job_id, _message_if_killed(job_id)), "host": platform.node()}
    _operations().update_one({"_id": ObjectId(job_id)}, {"$set": {"metadata.worker": worker}})


def latest_job(dataset: fo.Dataset) -> Job | None:
    """Return the active job of a dataset, else its newest one.

    A job whose worker process is gone is first marked as failed.

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
    if document["run_state"] in _ACTIVE and _has_lost_its_worker(document):
        fail_job(str(document["_id"]), _message_if_killed(str(document["_id"])))
        document = _operations().find_one({"_id": document["_id"]})
    status, metadata = document.get("status") or {}, document.get("metadata") or {}
    state = document["run_state"]
    return Job(
        id=str(document["_id"]),
        state="queued" if state == ExecutionRunState.SCHEDULED else state,
        title=document.get("label") or "Learnability",
        label=status.get("label") or "",
        progress=float(status.get("progress") or 0),
        error=message_of_traceback((document.get("result") or {}).get("error") or ""),
        in_background="worker" in metadata,
        remarks=metadata.get(_REMARKS) or [],
    )


def cancel_job(job_id: str) -> bool:
    """Cancel a job, unless it is already writing its scores or has ended.

    Args:
        job_id: the id of the job

    Returns:
        True if it was cancelled; it then writes nothing
    """
    cancelled = fail_job(job_id, CANCELLED, {"status.label": {"$ne": WRITING}})
    if cancelled:
        delete_log(job_id)
    return cancelled


def dismiss_job(job_id: str) -> None:
    """Remove an ended job from the panel and delete its log; an active job stays as it is."""
    dismissed = _operations().update_one(
        {"_id": ObjectId(job_id), "run_state": {"$nin": list(_ACTIVE)}}, {"$set": {f"metadata.{_DISMISSED}": True}}
    )
    if dismissed.matched_count:
        delete_log(job_id)


def begin_writing(job_id: str) -> bool:
    """Mark a running job as writing its scores; from then on it cannot be cancelled.

    Args:
        job_id: the id of the job

    Returns:
        True if the job runs; False if it was cancelled
    """
    # one atomic update, as cancel_job() is: either the job is cancelled or it writes
    running = _operations().find_one_and_update(
        {"_id": ObjectId(job_id), "run_state": ExecutionRunState.RUNNING},
        {"$set": {"status": _status(1.0, WRITING)}},
    )
    return running is not None


def set_remarks(job_id: str, remarks: Sequence[str]) -> None:
    """Store what did not go as planned in a completed job."""
    _operations().update_one({"_id": ObjectId(job_id)}, {"$set": {f"metadata.{_REMARKS}": list(remarks)}})


def is_running(job_id: str) -> bool:
    """True if a job runs and was not cancelled."""
    document = _operations().find_one({"_id": ObjectId(job_id)}, {"run_state": 1})
    return document is not None and document["run_state"] == ExecutionRunState.RUNNING


def fail_job(job_id: str, error: str, condition: dict[str, Any] | None = None) -> bool:
    """Mark an active job as failed.

    Args:
        job_id: the id of the job
        error: why it failed
        condition (None): a further filter that the operation's document must match

    Returns:
        True if it was marked; False if it had ended, or the condition does not hold
    """
    operation_id = ObjectId(job_id)
    # state and condition are checked in the update itself, so that begin_writing() cannot slip in between
    active = _operations().find_one_and_update(
        {"_id": operation_id, "run_state": {"$in": list(_ACTIVE)}, **(condition or {})},
        {"$set": {"run_state": ExecutionRunState.FAILED, "result": {"error": error}}},
    )
    if active is None:
        return False
    DelegatedOperationService().set_failed(operation_id, result=ExecutionResult(error=error))
    return True


def message_of_traceback(error: str) -> str:
    """Return the message of a traceback, without the name of the exception's class."""
    lines = [line for line in error.strip().splitlines() if line.strip()]
    if not lines:
        return ""
    name, separator, message = lines[-1].partition(": ")
    return message if separator and name.replace(".", "").isidentifier() else lines[-1]


def _message_if_killed(job_id: str) -> str:
    return f"{_ENDED} Its log is {log_path(job_id)}"


def _status(progress: float, label: str) -> dict[str, Any]:
    """Return a progress as FiftyOne stores it."""
    return {"progress": progress, "label": label, "updated_at": datetime.now(timezone.utc)}


def _has_lost_its_worker(document: dict[str, Any]) -> bool:
    worker = (document.get("metadata") or {}).get("worker")
    if worker is None or worker["host"] != platform.node():
        return False
    return not is_worker(worker["pid"], str(document["_id"]))


def _operations() -> Any:
    return get_database()["delegated_ops"]
