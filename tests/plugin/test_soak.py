"""Background jobs one after the other leave nothing behind; and while one trains, the App's server answers at once."""

from __future__ import annotations

import json
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import fiftyone as fo
import psutil
import pytest

import fiftyone_learnability as fol
from benchmarks.soak import Client, times
from plugin.jobs.job import latest_job
from plugin.jobs.logs import log_path, open_log, prune_logs
from scripts.server import serve

from .harness import PanelHarness, execute
from .test_jobs import SMALL, all_gone, operation, processes_of, wait_for, wait_for_training

SECONDS = 0.5
"""Within which the server is to answer."""


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of temporary files for this process and the workers."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_jobs_leave_nothing(digit_dataset: fo.Dataset, temporary: Path) -> None:
    """Two that are done, two that are cancelled, and one that is killed."""
    panel = PanelHarness(digit_dataset)
    me = psutil.Process()
    started: list[psutil.Process] = []
    held: list[tuple[int, int]] = []
    for end in ("done", "cancelled", "done", "cancelled", "killed"):
        epochs = 1 if end == "done" else 10_000
        params = {**SMALL, "epochs": epochs, "overwrite": True, "how": "background"}
        execute("compute_learnability", digit_dataset, params)
        job = latest_job(digit_dataset)
        assert job is not None
        # others may not read what it prints
        assert log_path(job.id).stat().st_mode & 0o077 == 0
        panel.open()
        if end == "done":
            processes = processes_of(job.id)
            wait_for(lambda job=job: operation(job.id)["run_state"] not in ("queued", "running"), "the end of the job")
            assert operation(job.id)["run_state"] == "completed", operation(job.id)["result"]
        else:
            wait_for_training(job.id)
            processes = processes_of(job.id)
            if end == "cancelled":
                panel.event("on_cancel")
            else:
                for process in processes:
                    os.kill(process.pid, signal.SIGKILL)
        started += processes
        wait_for(lambda processes=processes: all_gone(processes), "the end of the processes", 30)
        panel.event("on_timer")
        if end == "killed":
            # what it printed is of use until it is dismissed
            assert log_path(job.id).exists()
            panel.event("on_dismiss")
        assert not log_path(job.id).exists()
        digit_dataset.reload()
        for key in fol.list_runs(digit_dataset):
            fol.delete_run(digit_dataset, key)
        wait_for(lambda: not _zombies(me), "the last of the zombies", 10)
        held.append((me.num_fds(), me.num_threads()))
    # the folder of a training that was killed says how to go on; the next job takes its place
    assert [path.name for path in temporary.rglob("*") if path.is_file()] == []
    assert held[-1][0] <= held[0][0]
    assert held[-1][1] <= held[0][1]
    # those whose parent was killed are the zombies of the machine's first process until that looks after them
    assert all_gone(started)


def _zombies(parent: psutil.Process) -> list[psutil.Process]:
    return [child for child in parent.children(recursive=True) if child.status() == psutil.STATUS_ZOMBIE]


def test_old_logs_are_pruned(temporary: Path, monkeypatch: pytest.MonkeyPatch, digit_dataset: fo.Dataset) -> None:
    old, new, other = (temporary / name for name in (
        "fiftyone-learnability-old.log", "fiftyone-learnability-new.log", "another.log"
    ))  # fmt: skip
    for path in (old, new, other):
        path.write_text("")
    for path in (old, other):
        os.utime(path, (time.time() - 31 * 86400,) * 2)
    prune_logs()
    assert not old.exists()
    assert new.exists()
    assert other.exists()


def test_a_log_is_not_written_through_a_link(temporary: Path, tmp_path: Path) -> None:
    (elsewhere := tmp_path / "elsewhere").write_text("not ours")
    log_path("0" * 24).symlink_to(elsewhere)
    with pytest.raises(OSError, match="File exists"), open_log(log_path("0" * 24)):
        pass
    assert elsewhere.read_text() == "not ours"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_server_answers_while_a_job_trains(
    digits: tuple[list[str], list[str]], make_dataset: Callable[..., fo.Dataset], temporary: Path
) -> None:
    """19 of 20 requests within half a second: this machine may do other things at any single moment."""
    files, labels = digits
    dataset = make_dataset(files[:600], labels[:600], persistent=True)
    fol.write_scores(dataset, {"id": dataset.values("id"), "learnability": [n / 600 for n in range(600)]}, "mine")
    with serve() as url:
        client = Client(url, dataset)
        # what is loaded at the first request is not asked about
        client.time_requests(1)
        page = json.loads(client.requests()["a page of the grid"]())
        assert len(page["data"]["samples"]["edges"]) == 20
        # its training goes on for an hour
        client.start_job()
        before = client.progress()
        taken = client.time_requests(8)
        print(times(taken))
        assert client.progress() > before, "nothing was trained meanwhile"
        client.cancel_job()
    every = sorted(one for seconds in taken.values() for one in seconds)
    assert len(every) >= 40
    assert every[int(0.95 * len(every))] < SECONDS, times(taken)
    assert statistics.median(every) < SECONDS / 2, times(taken)
