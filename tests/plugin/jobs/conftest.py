"""Fixtures of the jobs' tests."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import fiftyone as fo
import psutil
import pytest

from plugin.jobs.job import cancel_job
from plugin.jobs.logs import delete_log

from .helpers import operation, processes_of, submit


@pytest.fixture
def start() -> Iterator[Callable[..., str]]:
    """Submits the form; at the end, all that it has started is killed."""
    started: list[str] = []

    def submit_and_remember(dataset: fo.Dataset, how: str = "background", **params: Any) -> str:
        started.append(submit(dataset, how, **params))
        return started[-1]

    yield submit_and_remember
    for job_id in started:
        if "worker" in operation(job_id)["metadata"]:
            cancel_job(job_id)
            with suppress(psutil.Error):
                for process in processes_of(job_id):
                    process.kill()
            delete_log(job_id)


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of temporary files for this process and its workers."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder
