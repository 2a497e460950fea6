"""The lock of a run directory: at most one process works on a run.

    RUN_DIR/lock     locked by the operating system, which releases it when the process ends, even by SIGKILL
           /owner    the id of the process that holds it, for the message to others

On Windows another process cannot read a locked file, so the id has a file of its own.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ..storage import runs_folder, write_atomically

PATIENCE = 0.2
"""Seconds to wait for a lock: long enough for a process that only looks whether it is held."""

_UNSUPPORTED = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}
"""Errors of file systems without locks."""


class RunLockedError(RuntimeError):
    """Another process works on the same run."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a run directory, which is created if it does not exist and deleted if it is empty in the end.

    Args:
        path: the directory

    Raises:
        ValueError: if it cannot be written
        RunLockedError: if another process holds the lock
    """
    owner = path / "owner"
    try:
        lock = _acquire(path)
    except OSError as error:
        raise ValueError(
            f"the run directory {path} cannot be written: {error}; choose another with run_dir= (--run-dir)"
        ) from error
    try:
        with suppress(OSError):
            write_atomically(owner, lambda file: file.write(str(os.getpid()).encode()))
        yield
    finally:
        with suppress(OSError):
            owner.unlink(missing_ok=True)
        lock.release()
        # after the release, since Windows cannot delete the folder of an open file; it fails where anything is left
        with suppress(OSError):
            path.rmdir()
            if path.parent.parent == runs_folder():
                path.parent.rmdir()


def _acquire(path: Path) -> FileLock:
    lock = FileLock(path / "lock", timeout=PATIENCE)
    while not lock.is_locked:
        path.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except FileNotFoundError:
            # the previous owner has just deleted the directory
            continue
        except Timeout:
            raise RunLockedError(
                f"another process (pid {_owner(path)}) is working on the run in {path}: wait for it to end, or choose "
                "another run directory or key"
            ) from None
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            return lock
    return lock


def is_locked(path: Path) -> bool:
    """Return True if a process works on the run in a directory."""
    lock = path / "lock"
    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False


def _owner(path: Path) -> str:
    with suppress(OSError):
        return (path / "owner").read_text()
    return "unknown"
