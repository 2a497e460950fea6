"""Run directories in the user's cache: listing and deleting what unfinished runs have left there."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..storage import clean, runs_folder
from .lock import RunLockedError, is_locked, locked
from .run_directory import PLAN, read_meta, remove_run_directory


@dataclass(frozen=True)
class FoundRun:
    """A run directory in the cache.

    Attributes:
        path: the directory
        dataset: the name of the dataset
        key: the key of the run
        seconds: seconds since anything was written to it
        size: the size of its files in bytes
        state: "in use", "trained, not written", "unfinished", or "unknown" without a description of the run
    """

    path: Path
    dataset: str
    key: str
    seconds: float
    size: int
    state: str


def find_run_directories() -> list[FoundRun]:
    """Return the run directories in the cache, the most recently used last."""
    runs = []
    for path in filter(Path.is_dir, runs_folder().glob("*/*")):
        # another user's directory, or one deleted meanwhile
        with suppress(OSError):
            runs.append(_look_at(path))
    return sorted(runs, key=lambda run: -run.seconds)


def _look_at(path: Path) -> FoundRun:
    meta, files = read_meta(path)[0] or {}, list(_statuses(path))
    state = "unfinished" if meta else "unknown"
    if (path / PLAN).exists():
        state = "trained, not written"
    if is_locked(path):
        state = "in use"
    return FoundRun(
        path=path,
        dataset=meta.get("dataset", path.parent.name),
        key=meta.get("key", path.name),
        seconds=time.time() - max((file.st_mtime for file in files), default=path.stat().st_mtime),
        size=sum(file.st_size for file in files),
        state=state,
    )


def _statuses(path: Path) -> Iterator[os.stat_result]:
    for file in path.rglob("*"):
        # a process may rename a file meanwhile
        with suppress(FileNotFoundError):
            if file.is_file() and file.name not in ("lock", "owner"):
                yield file.stat()


def clean_run_directories(older_than: float | None = None, max_size: float | None = None) -> list[FoundRun]:
    """Delete run directories from the cache, except those that a process works on.

    Args:
        older_than (None): keep directories that were written to within this many seconds
        max_size (None): delete the oldest until the others have at most this size in bytes

    Returns:
        the deleted directories
    """

    def delete(run: FoundRun) -> bool:
        # a process may work on it by now, or it may be another user's
        with suppress(RunLockedError, ValueError, OSError), locked(run.path):
            remove_run_directory(run.path)
            return True
        return False

    return clean(find_run_directories(), delete, older_than, max_size)
