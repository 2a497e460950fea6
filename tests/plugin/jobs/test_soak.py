"""Jobs leave nothing behind, and the App's server answers while one trains."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import fiftyone as fo
import psutil
import pytest

import fiftyone_learnability as fol
from benchmarks.soak import Client
from plugin.jobs.logs import log_path
from scripts.server import serve

from ..harness import PanelHarness
from .helpers import ENDLESS, have_ended, operation, processes_of, submit, wait_for, wait_for_end, wait_for_training


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_jobs_leave_nothing(digit_dataset: fo.Dataset, temporary: Path) -> None:
    """Two jobs complete, two are cancelled, and one is killed."""
    panel = PanelHarness(digit_dataset)
    this_process = psutil.Process()
    started: list[psutil.Process] = []
    held: list[tuple[int, int]] = []
    for end in ("completed", "cancelled", "completed", "cancelled", "killed"):
        job = submit(digit_dataset, epochs=1 if end == "completed" else ENDLESS, overwrite=True)
        panel.open()
        if end == "completed":
            processes = processes_of(job)
            wait_for_end(job)
            assert operation(job)["run_state"] == "completed", operation(job)["result"]
        else:
            wait_for_training(job)
            processes = processes_of(job)
            if end == "cancelled":
                panel.event("on_cancel")
            else:
                for process in processes:
                    os.kill(process.pid, signal.SIGKILL)
        started += processes
        wait_for(lambda processes=processes: have_ended(processes), "the end of the processes")
        panel.tick()
        if end == "killed":
            # its log stays until the job is dismissed
            assert log_path(job).exists()
            panel.event("on_dismiss")
        assert not log_path(job).exists()
        digit_dataset.reload()
        for key in fol.list_runs(digit_dataset):
            fol.delete_run(digit_dataset, key)
        wait_for(lambda: not _zombies(this_process), "the end of all zombies")
        held.append((this_process.num_fds(), this_process.num_threads()))
    assert [path.name for path in temporary.rglob("*") if path.is_file()] == []
    assert held[-1][0] <= held[0][0]
    assert held[-1][1] <= held[0][1]
    # children of a killed process stay as zombies until the system's first process collects them
    assert have_ended(started)


def _zombies(parent: psutil.Process) -> list[psutil.Process]:
    return [child for child in parent.children(recursive=True) if child.status() == psutil.STATUS_ZOMBIE]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_server_answers_while_a_job_trains(
    digits: tuple[list[str], list[str]], make_dataset: Callable[..., fo.Dataset], temporary: Path
) -> None:
    """``benchmarks/soak.py`` measures how fast it answers."""
    files, labels = digits
    dataset = make_dataset(files[:600], labels[:600], persistent=True)
    fol.write_scores(dataset, {"id": dataset.values("id"), "learnability": [n / 600 for n in range(600)]}, "mine")
    with serve() as url:
        client = Client(url, dataset)
        page = json.loads(client.requests()["a page of the grid"]())
        assert len(page["data"]["samples"]["edges"]) == 20
        client.start_job()
        before = client.progress()
        # raises unless each request is answered without an error
        client.time_requests(8)
        wait_for(lambda: client.progress() > before, "progress of the training")
        client.cancel_job()
