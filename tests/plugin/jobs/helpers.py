"""Starts jobs, and looks at their operations and processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import fiftyone as fo
import psutil
from bson import ObjectId
from fiftyone.operators.delegated import DelegatedOperationService

import fiftyone_learnability as fol
from fiftyone_learnability.dataset.internals import dataset_id, get_database
from plugin.jobs.job import latest_job

from ..harness import execute

SMALL = {
    "preset": "custom",
    "epochs": 1,
    "batch_size": 32,
    "device": "cpu",
    "horizontal_flip": False,
    "models": ["resnet20"],
    "label_field": "ground_truth",
}
"""A form whose training takes about a second."""

ENDLESS = 10_000
"""Epochs that take longer than any test."""


def submit(dataset: fo.Dataset, how: str = "background", **params: Any) -> str:
    """Submit the form; return the id of the job."""
    answer = execute("compute_learnability", dataset, {**SMALL, "how": how, **params})
    assert answer.called("open_panel")
    job = latest_job(dataset)
    assert job is not None
    assert job.state in ("queued", "running")
    return job.id


def run_here(job_id: str) -> None:
    """Run a scheduled job in this process, as ``fiftyone delegated launch`` does."""
    service = DelegatedOperationService()
    service.execute_operation(service.get(ObjectId(job_id)))


def count_jobs(dataset: fo.Dataset) -> int:
    """The number of operations that were queued for a dataset."""
    return int(get_database()["delegated_ops"].count_documents({"dataset_id": dataset_id(dataset)}))


def operation(job_id: str) -> dict[str, Any]:
    """The document of a job's operation."""
    document = get_database()["delegated_ops"].find_one({"_id": ObjectId(job_id)})
    assert document is not None
    return document


def wait_for(condition: Callable[[], Any], description: str, seconds: float = 120) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {description}"
        time.sleep(0.2)


def wait_for_training(job_id: str) -> None:
    """Wait until the worker of a job trains."""

    def trains() -> bool:
        document = operation(job_id)
        assert document["run_state"] in ("queued", "running"), document.get("result")
        return bool((document.get("status") or {}).get("progress"))

    wait_for(trains, "the training")


def wait_for_end(job_id: str) -> None:
    """Wait until a job has completed or failed."""
    wait_for(lambda: operation(job_id)["run_state"] not in ("queued", "running"), "the end of the job")


def processes_of(job_id: str) -> list[psutil.Process]:
    """The worker of a job and all processes under it."""
    worker = psutil.Process(operation(job_id)["metadata"]["worker"]["pid"])
    return [worker, *worker.children(recursive=True)]


def have_ended(processes: list[psutil.Process]) -> bool:
    """True if none of the processes runs."""
    return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)


def assert_untouched(dataset: fo.Dataset) -> None:
    """Assert that nothing was written to a dataset."""
    dataset.reload()
    assert not fol.list_runs(dataset)
    assert not [name for name in dataset.get_field_schema() if name.startswith("learnability")]
