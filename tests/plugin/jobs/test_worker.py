"""Real workers: they train, are cancelled, and die."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import fiftyone as fo
import pytest
from bson import ObjectId

import fiftyone_learnability as fol
from fiftyone_learnability.dataset.internals import get_database
from plugin.jobs import worker
from plugin.jobs.job import STARTING, cancel_job, latest_job
from plugin.jobs.logs import log_path
from plugin.jobs.remedies import CANCELLED

from ..harness import PanelHarness
from .helpers import (
    ENDLESS,
    assert_untouched,
    have_ended,
    operation,
    processes_of,
    wait_for,
    wait_for_end,
    wait_for_training,
)

Start = Callable[..., str]


def test_a_background_job_writes_its_scores(digit_dataset: fo.Dataset, start: Start) -> None:
    job = start(digit_dataset, key="mine")
    panel = PanelHarness(digit_dataset)
    assert "Starting" in panel.open().text()
    processes = processes_of(job)
    # in a session of its own, the worker outlives the server
    assert os.getsid(processes[0].pid) != os.getsid(0)
    wait_for_end(job)
    assert operation(job)["run_state"] == "completed", log_path(job).read_text()
    digit_dataset.reload()
    assert fol.list_runs(digit_dataset) == ["mine"]
    assert digit_dataset.count("learnability_resnet20") == 60
    answer = panel.tick()
    assert answer.called("reload_dataset")
    assert answer.drawn == ["pair", "histogram"]
    assert latest_job(digit_dataset).state == "completed"
    wait_for(lambda: have_ended(processes), "the end of the worker")
    # a worker that exits after its work has not failed
    assert latest_job(digit_dataset).state == "completed", latest_job(digit_dataset).error


def test_cancelling_kills_the_training(digit_dataset: fo.Dataset, start: Start) -> None:
    job = start(digit_dataset, epochs=ENDLESS)
    panel = PanelHarness(digit_dataset)
    panel.open()
    wait_for_training(job)
    processes = processes_of(job)
    assert len(processes) > 1
    progress = panel.tick().layout["job_progress"]
    assert 0 < progress["default"] < 1
    assert "ResNet-20: epoch" in progress["view"]["label"]
    panel.event("on_cancel")
    assert (latest_job(digit_dataset).state, latest_job(digit_dataset).error) == ("failed", "Cancelled by user")
    wait_for(lambda: have_ended(processes), "the end of the processes")
    # the worker has not replaced it with another error
    assert (latest_job(digit_dataset).state, latest_job(digit_dataset).error) == ("failed", "Cancelled by user")
    assert_untouched(digit_dataset)


def test_a_killed_worker_is_noticed(digit_dataset: fo.Dataset, start: Start) -> None:
    job = start(digit_dataset, epochs=ENDLESS)
    panel = PanelHarness(digit_dataset)
    panel.open()
    wait_for_training(job)
    processes = processes_of(job)
    os.killpg(processes[0].pid, signal.SIGKILL)
    wait_for(lambda: have_ended(processes[:1]), "the end of the worker")
    answer = panel.tick()
    assert latest_job(digit_dataset).state == "failed"
    assert str(log_path(job)) in answer.layout["job_failed"]["view"]["description"]
    assert "“Resume” continues" in answer.layout["job_failed"]["view"]["description"]
    assert answer.layout["job_failed"]["view"]["severity"] == "error"
    # the training is in a process group of its own: it notices that the job has failed
    wait_for(lambda: have_ended(processes), "the end of the training")
    assert latest_job(digit_dataset).state == "failed"
    assert str(log_path(job)) in latest_job(digit_dataset).error
    assert_untouched(digit_dataset)
    panel.event("on_dismiss")
    assert latest_job(digit_dataset) is None


def test_a_killed_training_is_reported_by_its_worker(digit_dataset: fo.Dataset, start: Start) -> None:
    """A system that runs out of memory kills it like this."""
    job = start(digit_dataset, epochs=ENDLESS)
    wait_for_training(job)
    worker, *children = processes_of(job)
    for child in children:
        child.kill()
    wait_for(lambda: have_ended([worker]), "the end of the worker")
    assert operation(job)["run_state"] == "failed"
    panel = PanelHarness(digit_dataset)
    description = panel.open().layout["job_failed"]["view"]["description"]
    assert "ended unexpectedly. “Resume” continues" in description
    # its output is where the message says
    assert str(log_path(job)) in description
    assert log_path(job).exists()
    assert_untouched(digit_dataset)


WATCH_IMPORTS = """
import os, sys, time

class Watch:
    def find_spec(self, name, path=None, target=None):
        # one may also ask whether torch is there, without loading it
        is_torch = name.startswith("torch.")
        if name == "fiftyone" or is_torch:
            with open(os.environ["WATCHED_IMPORTS"], "a") as log:
                log.write(f"{name} {os.getpid()}\\n")
        while is_torch and not os.path.exists(os.environ["WATCHED_IMPORTS"] + ".go"):
            time.sleep(0.05)

sys.meta_path.insert(0, Watch())
"""
"""Makes every Python process write down what it imports, and wait before torch until a file appears."""


def test_a_job_shows_that_it_is_alive_before_it_loads_torch(
    digit_dataset: fo.Dataset, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(WATCH_IMPORTS)
    imports = tmp_path / "imports"
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("WATCHED_IMPORTS", str(imports))
    job = start(digit_dataset)
    panel = PanelHarness(digit_dataset)
    assert panel.open().layout["job_progress"]["view"]["label"] == STARTING
    wait_for(lambda: imports.exists() and "torch" in imports.read_text(), "the import of torch")
    wait_for(lambda: operation(job)["status"]["label"] == "Loading PyTorch", "a sign of life")
    assert panel.tick().layout["job_progress"]["view"]["label"] == "Loading PyTorch"
    imports.with_suffix(".go").touch()
    wait_for_end(job)
    assert operation(job)["run_state"] == "completed", operation(job)["result"]
    # FiftyOne takes seconds to load: one process alone does
    assert imports.read_text().count("fiftyone ") == 1


def run_worker(job_id: str) -> None:
    """Run a worker for a job that is not its own."""
    command = [sys.executable, worker.__file__, job_id, str(log_path(job_id)), "killed"]
    assert subprocess.run(command, timeout=200).returncode == 0


def test_a_worker_leaves_a_cancelled_job_alone(digit_dataset: fo.Dataset, start: Start) -> None:
    job = start(digit_dataset, "scheduled")
    assert cancel_job(job)
    run_worker(job)
    assert latest_job(digit_dataset).error == CANCELLED
    assert_untouched(digit_dataset)


def test_a_worker_leaves_a_job_of_another_process_alone(digit_dataset: fo.Dataset, start: Start) -> None:
    """A ``fiftyone delegated launch`` can be faster."""
    job = start(digit_dataset, "scheduled")
    get_database()["delegated_ops"].update_one(
        {"_id": ObjectId(job)},
        {"$set": {"run_state": "running", "metadata.worker": {"pid": 2**22 + 1, "host": platform.node()}}},
    )
    run_worker(job)
    assert latest_job(digit_dataset).state == "running"
    assert_untouched(digit_dataset)
