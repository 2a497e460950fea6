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
from fiftyone_learnability.preparation import UnreadableImagesError

from ..names import COMPUTE
from .logs import delete_log, log_path
from .processes import is_worker, start_worker
from .remedies import CANCELLED, ENDED, MOST_KEPT_SAMPLES, Action, explain_failure, message_of_traceback

STARTING = "Starting a process for the training"
WRITING = "Writing the scores"
_ACTIVE = (ExecutionRunState.QUEUED, ExecutionRunState.SCHEDULED, ExecutionRunState.RUNNING)
_DISMISSED, _REMARKS = "learnability_dismissed", "learnability_remarks"
_UNREADABLE, _RERUN = "learnability_unreadable", "learnability_rerun"
_SHOWN = {"context": 0, f"metadata.{_UNREADABLE}.ids": 0}
"""What the panel shows of an operation: its request and its samples may be large, and the panel looks often."""


@dataclass(frozen=True)
class Job:
    """A background job, as the panel shows it.

    Attributes:
        id: the id of the operation
        state: "queued", "running", "completed" or "failed"
        title: what is computed
        label: the current step, in words
        progress: the finished fraction, 0..1
        error: one line that says why it failed, as the package says it
        in_background: True if our worker runs it, False if it waits for ``fiftyone delegated launch``
        remarks: what did not go as planned in a completed job, one sentence each
        sentence: why it failed, in the words of the form
        actions: what can be done about that
    """

    id: str
    state: str
    title: str
    label: str
    progress: float
    error: str
    in_background: bool
    remarks: list[str] = field(default_factory=list)
    sentence: str = ""
    actions: list[Action] = field(default_factory=list)

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
    document = _operations().find_one({**ours, "run_state": {"$in": list(_ACTIVE)}}, _SHOWN, sort=newest_first)
    if document is None:
        document = _operations().find_one(ours, _SHOWN, sort=newest_first)
    if document is None or document.get("metadata", {}).get(_DISMISSED):
        return None
    if document["run_state"] in _ACTIVE and _has_lost_its_worker(document):
        fail_job(str(document["_id"]), _message_if_killed(str(document["_id"])))
        document = _operations().find_one({"_id": document["_id"]}, _SHOWN)
    status, metadata = document.get("status") or {}, document.get("metadata") or {}
    state, error = document["run_state"], (document.get("result") or {}).get("error") or ""
    failed = state == ExecutionRunState.FAILED
    sentence, actions = explain_failure(error, metadata.get(_UNREADABLE)) if failed else ("", [])
    return Job(
        id=str(document["_id"]),
        state="queued" if state == ExecutionRunState.SCHEDULED else state,
        title=document.get("label") or "Learnability",
        label=status.get("label") or "",
        progress=float(status.get("progress") or 0),
        error=message_of_traceback(error),
        in_background="worker" in metadata,
        remarks=metadata.get(_REMARKS) or [],
        sentence=sentence,
        actions=actions,
    )


def rerun_job(dataset: fo.Dataset, job_id: str, **changes: Any) -> None:
    """Queue a failed job again, once, for the same samples, and start it if it ran in the background.

    Nothing happens while another job of the dataset is active.

    Args:
        dataset: the dataset
        job_id: the id of the job
        **changes: params in place of those of the job
    """
    latest = latest_job(dataset)
    if latest is not None and latest.active:
        return
    # one atomic update: two clicks, or two pages, start one job
    document = _operations().find_one_and_update(
        {"_id": ObjectId(job_id), "run_state": ExecutionRunState.FAILED, f"metadata.{_RERUN}": None},
        {"$set": {f"metadata.{_RERUN}": True}},
    )
    if document is None:
        return
    request = document["context"]["request_params"]
    params = {**request["params"], **changes}
    operation = DelegatedOperationService().queue_operation(
        operator=COMPUTE,
        label=document.get("label"),
        context={"request_params": {**request, "params": params}, "params": params},
    )
    if "worker" in (document.get("metadata") or {}):
        start_job(str(operation.id))


def params_of(job_id: str) -> dict[str, Any]:
    """Return the params that a job was started with, for its form."""
    document = _operations().find_one({"_id": ObjectId(job_id)}, {"context.request_params.params": 1})
    return {} if document is None else dict(document["context"]["request_params"]["params"])


def unreadable_samples(job_id: str) -> list[str]:
    """Return the ids of the samples whose images a job could not read, at most :data:`MOST_KEPT_SAMPLES`."""
    path = f"metadata.{_UNREADABLE}.ids"
    document = _operations().find_one({"_id": ObjectId(job_id)}, {path: 1}) or {}
    return list(((document.get("metadata") or {}).get(_UNREADABLE) or {}).get("ids") or [])


def keep_unreadable(job_id: str, error: UnreadableImagesError) -> None:
    """Store with a job which samples' images it could not read."""
    kept = {
        "ids": error.ids[:MOST_KEPT_SAMPLES],
        "count": len(error.ids),
        "all": error.is_every_image,
        "problem": error.problem,
    }
    _operations().update_one({"_id": ObjectId(job_id)}, {"$set": {f"metadata.{_UNREADABLE}": kept}})


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


def _message_if_killed(job_id: str) -> str:
    return f"{ENDED}. “Resume” continues from its last checkpoint. Its log is {log_path(job_id)}"


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
