"""Reads files that anybody may have put there, executing nothing and safely; writes files whole or not at all.

numpy and json execute nothing that they read, but they believe what a file says of its own size, and what they raise
depends on how a file is damaged. Here each file is looked at before it is read, and whatever is wrong with it becomes a
``ValueError``, which people can read.
"""

from __future__ import annotations

import io
import json
import os
import stat
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, BinaryIO, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

BOMB_BYTES = 2**30
"""From how many bytes on a file is suspected of being a bomb: 1 GB is more than a bomb needs and less than it wants."""

BOMB_RATIO = 100
"""How often a file of that size may be as large unpacked as packed: scores hardly shrink, zeros a thousandfold."""

MOST_MEMBERS = 10_000
MOST_JSON_BYTES = 256 * 2**20
"""The largest JSON that is read: the ids of a view of some million samples fit in."""

_ZIP = (b"PK\x03\x04", b"PK\x05\x06")


def cache_folder() -> Path:
    """The folder of all run directories, in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fiftyone-learnability" / "runs"


class Kept(Protocol):
    """Something in the cache."""

    @property
    def seconds(self) -> float:
        """How long it has not been used."""

    @property
    def size(self) -> int:
        """Its size in bytes."""


_Kept = TypeVar("_Kept", bound=Kept)


def clean(
    entries: Sequence[_Kept], delete: Callable[[_Kept], bool], older_than: float | None, max_size: float | None
) -> list[_Kept]:
    """Deletes what is in the cache.

    Args:
        entries: what there is, in the order in which it goes
        delete: deletes one and says whether it could
        older_than: only those that were last used so many seconds ago; None for all
        max_size: only so many that the others have this size in bytes at most; None for all

    Returns:
        those that were deleted
    """
    total, deleted = sum(entry.size for entry in entries), []
    for entry in entries:
        if (older_than is not None and entry.seconds < older_than) or (max_size is not None and total <= max_size):
            continue
        if delete(entry):
            deleted.append(entry)
            total -= entry.size
    return deleted


class Archive(Mapping[str, NDArray[Any]]):
    """The arrays of an npz file, each read when it is asked for; made by :func:`open_archive`.

    Attributes:
        files: the names of the arrays
    """

    def __init__(self, loaded: np.lib.npyio.NpzFile, name: str) -> None:
        self._loaded, self._name = loaded, name
        self.files: list[str] = list(loaded.files)

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self.files:
            raise KeyError(name)
        try:
            return self._loaded[name]
        # a damaged member raises whatever zip, zlib or numpy stumbles over
        except Exception as error:
            raise ValueError(f"{self._name}: the array {name!r} is damaged: {error}") from error

    def __contains__(self, name: object) -> bool:
        # what Mapping has for it would read the array
        return name in self.files

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._loaded.close()


def open_archive(file: str | Path | BinaryIO) -> Archive:
    """Opens an npz file, but none that holds pickled objects, lies about its size, or is a bomb.

    Args:
        file: a path, or a binary file object

    Raises:
        FileNotFoundError: if there is no such file
        ValueError: if it is none, or is damaged or hostile
    """
    name = str(file) if isinstance(file, (str, Path)) else "the archive"
    if isinstance(file, (str, Path)):
        check_regular(Path(file))
        with Path(file).open("rb") as opened:
            start = opened.read(4)
            packed = opened.seek(0, io.SEEK_END)
    else:
        at = file.tell()
        start = file.read(4)
        packed = file.seek(0, io.SEEK_END)
        file.seek(at)
    # numpy would take anything else for a single array, and make room for it before it has looked
    if start not in _ZIP:
        raise ValueError(f"{name} is no npz file")
    try:
        loaded = np.load(file, allow_pickle=False)
    # a damaged file raises whatever zip or numpy stumbles over
    except Exception as error:
        raise ValueError(f"{name} is a damaged npz file: {error}") from error
    try:
        _check_members(loaded, name, packed)
    except BaseException as error:
        loaded.close()
        if isinstance(error, Exception) and not isinstance(error, ValueError):
            raise ValueError(f"{name} is a damaged npz file: {error}") from error
        raise
    return Archive(loaded, name)


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Args:
        path: the file

    Raises:
        FileNotFoundError: if there is no such file
        ValueError: if it is no JSON, is nested without end, or is larger than :data:`MOST_JSON_BYTES`
    """
    check_regular(path)
    if (size := path.stat().st_size) > MOST_JSON_BYTES:
        raise ValueError(f"{path} is larger than it can be: {size / 2**20:.0f} MB")
    try:
        return json.loads(path.read_text())
    except RecursionError:
        raise ValueError(f"{path} is nested without end") from None


def write_atomically(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Writes a file so that it is there whole or not at all, whatever happens meanwhile.

    Args:
        path: the file
        write: writes its content into an open file
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        # by an earlier process of the same id, or a link that somebody has put there
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
            # the renaming itself must be on disk too
            os.fsync(folder)
        finally:
            os.close(folder)


def check_regular(path: Path) -> None:
    """Checks that a path is that of a file, rather than of a device, a pipe or a folder, which would never end.

    Raises:
        FileNotFoundError: if there is no such file
        ValueError: if it is something else
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError(f"{path} is no regular file")


def check_size(name: str, unpacked: int, packed: int) -> None:
    """Checks that a file is no bomb: small on disk, and larger than the memory when it is unpacked.

    Raises:
        ValueError: if it is one
    """
    if unpacked > BOMB_BYTES and unpacked > BOMB_RATIO * packed:
        raise ValueError(
            f"{name} would take {unpacked / 2**30:.1f} GB in memory, {unpacked / max(packed, 1):.0f} times its size: "
            "it is not read"
        )


def check_zip(path: Path) -> None:
    """Checks that a zip file, which a checkpoint is, is no bomb.

    Raises:
        ValueError: if it is one
    """
    with zipfile.ZipFile(path) as archive:
        check_size("it", sum(member.file_size for member in archive.infolist()), path.stat().st_size)


def _check_members(loaded: np.lib.npyio.NpzFile, name: str, packed: int) -> None:
    packed_members = loaded.zip
    assert packed_members is not None, "the file has just been opened"
    members = packed_members.infolist()
    if len(members) > MOST_MEMBERS or len({member.filename for member in members}) < len(members):
        raise ValueError(f"{name} has {len(members)} arrays, or two of the same name: it is not read")
    # zipfile reads no more of a member than it says here that there is
    check_size(name, sum(member.file_size for member in members), packed)
    for member in members:
        title = f"{name}: the array {member.filename.removesuffix('.npy')!r}"
        with packed_members.open(member) as stream:
            version = np.lib.format.read_magic(stream)
            if version == (1, 0):
                shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
            elif version == (2, 0):
                shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
            else:
                raise ValueError(f"{title} has a format that this package does not write")
            if dtype.hasobject:
                raise ValueError(f"{title} holds pickled objects, which are never loaded (allow_pickle=False)")
            # numpy makes room for what the header says
            size = dtype.itemsize
            for length in shape:
                size *= length
            if any(length < 0 for length in shape) or stream.tell() + size != member.file_size:
                raise ValueError(f"{title} is not as large as it says")
