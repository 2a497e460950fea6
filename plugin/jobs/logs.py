"""The files that workers print into, in the system's folder of temporary files."""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

KEEP_SECONDS = 30 * 86400.0
"""How long the log of a failed job is kept unless the job is dismissed."""

_PREFIX = "fiftyone-learnability-"


def log_path(job_id: str) -> Path:
    """Path of a job's log.

    It is deleted when the job completes or is cancelled. The log of a failed job stays until the job is dismissed.
    """
    return Path(tempfile.gettempdir()) / f"{_PREFIX}{job_id}.log"


def open_log(path: Path) -> IO[bytes]:
    """Create a log that only this user can read.

    Raises:
        FileExistsError: if the path exists: other users can put a file or a link of theirs there
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    return open(path, "wb", opener=lambda name, _: os.open(name, flags, 0o600))


def delete_log(job_id: str) -> None:
    """Delete a job's log if it exists."""
    # Windows cannot delete an open file: prune_logs() does it later
    with suppress(OSError):
        log_path(job_id).unlink(missing_ok=True)


def prune_logs() -> None:
    """Delete logs older than :data:`KEEP_SECONDS`."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*.log"):
        # another process may have deleted it, or it belongs to another user
        with suppress(OSError):
            if time.time() - path.lstat().st_mtime > KEEP_SECONDS:
                path.unlink()
