"""The package's own files: the cache folder, atomic writing, and deleting what is old.

Imports nothing else of the package, so that every part of it may use this module.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar


def cache_folder() -> Path:
    """Return the package's folder in the user's cache: run directories, decoded images, measured rates."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fiftyone-learnability"


def runs_folder() -> Path:
    """Return the folder of all run directories in the user's cache."""
    return cache_folder() / "runs"


def write_atomically(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Write a file completely or not at all, even if the process is killed meanwhile.

    Args:
        path: the file; a link is replaced, and its target stays as it is
        write: writes the content into an open file

    Raises:
        OSError: if it cannot be written; an earlier file of that name is then unchanged
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        # an earlier process with the same id may have left one
        partial.unlink(missing_ok=True)
        with partial.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            # the new name must reach the disk too
            os.fsync(folder)
        finally:
            os.close(folder)


class CacheEntry(Protocol):
    """Something in the cache that can be deleted on its own."""

    @property
    def seconds(self) -> float:
        """Seconds since its last use."""

    @property
    def size(self) -> int:
        """Its size in bytes."""


_Entry = TypeVar("_Entry", bound=CacheEntry)


def clean(
    entries: Sequence[_Entry], delete: Callable[[_Entry], bool], older_than: float | None, max_size: float | None
) -> list[_Entry]:
    """Delete entries of the cache, in the given order; without a limit, all of them.

    Args:
        entries: the entries, those to be deleted first at the front
        delete: deletes an entry and returns True if that worked
        older_than: keep entries that were used within this many seconds; None for no such limit
        max_size: stop when the remaining entries have at most this size in bytes; None for no such limit

    Returns:
        the deleted entries
    """
    size, deleted = sum(entry.size for entry in entries), []
    for entry in entries:
        if (older_than is not None and entry.seconds < older_than) or (max_size is not None and size <= max_size):
            continue
        if delete(entry):
            deleted.append(entry)
            size -= entry.size
    return deleted
