"""Reads files that others may have made: imports, and the results that ``write RUN_DIR`` takes.

numpy and json execute nothing that they read, but they trust a file about its own size, and a damaged file may make
them raise anything. Each file is therefore checked before it is read, and every problem becomes a ``ValueError``.
"""

from __future__ import annotations

import io
import json
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

BOMB_BYTES = 2**30
"""A file that unpacks to more bytes than this may be a bomb; smaller ones fit into memory anyway."""

BOMB_RATIO = 100
"""The highest ratio of unpacked to packed size for such a file: scores hardly shrink, zeros shrink a thousandfold."""

MOST_MEMBERS = 10_000
MOST_JSON_BYTES = 256 * 2**20
"""The largest JSON file that is read; the ids of a view of several million samples fit in."""

_ZIP = (b"PK\x03\x04", b"PK\x05\x06")


class Archive(Mapping[str, NDArray[Any]]):
    """The arrays of an npz file, each read on access; created by :func:`open_archive`.

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
        # a damaged member may make zipfile, zlib or numpy raise anything
        except Exception as error:
            raise ValueError(f"{self._name}: the array {name!r} is damaged: {error}") from error

    def __contains__(self, name: object) -> bool:
        # Mapping's own method would read the array
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
        """Close the file."""
        self._loaded.close()


def open_archive(file: str | Path | BinaryIO) -> Archive:
    """Open an npz file, refusing one that holds pickled objects, lies about its size, or is a bomb.

    Args:
        file: a path, or a binary file object

    Raises:
        FileNotFoundError: if there is no such file
        ValueError: if it is not an npz file, is damaged or is hostile
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
    # numpy takes anything else for a single array and allocates its size before looking
    if start not in _ZIP:
        raise ValueError(f"{name} is not an npz file")
    try:
        loaded = np.load(file, allow_pickle=False)
    # a damaged file may make zipfile or numpy raise anything
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
    """Read a JSON file.

    Args:
        path: the file

    Raises:
        FileNotFoundError: if there is no such file
        ValueError: if it is not JSON, is nested too deeply, or is larger than :data:`MOST_JSON_BYTES`
    """
    check_regular(path)
    if (size := path.stat().st_size) > MOST_JSON_BYTES:
        raise ValueError(f"{path} has {size / 2**20:.0f} MB, more than {MOST_JSON_BYTES / 2**20:.0f}: it is not read")
    try:
        return json.loads(path.read_text())
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply") from None


def check_regular(path: Path) -> None:
    """Check that a path is a regular file. Reading a device or a pipe might never end.

    Raises:
        FileNotFoundError: if there is no such file
        ValueError: if it is something else
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError(f"{path} is not a regular file")


def check_size(name: str, unpacked: int, packed: int) -> None:
    """Check that a file is not a bomb, which is small on disk and exceeds the memory when unpacked.

    Raises:
        ValueError: if it is one
    """
    if unpacked > BOMB_BYTES and unpacked > BOMB_RATIO * packed:
        raise ValueError(
            f"{name} would take {unpacked / 2**30:.1f} GB in memory, {unpacked / max(packed, 1):.0f} times its size: "
            "it is not read"
        )


def _check_members(loaded: np.lib.npyio.NpzFile, name: str, packed: int) -> None:
    packed_members = loaded.zip
    assert packed_members is not None, "the file has just been opened"
    members = packed_members.infolist()
    if len(members) > MOST_MEMBERS or len({member.filename for member in members}) < len(members):
        raise ValueError(f"{name} has {len(members)} arrays, or two of the same name: it is not read")
    # zipfile reads no more of a member than the size it states here
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
                raise ValueError(f"{title} has a format that this package does not read")
            if dtype.hasobject:
                raise ValueError(f"{title} holds pickled objects, which are never loaded (allow_pickle=False)")
            # numpy allocates the size that the header states
            size = dtype.itemsize
            for length in shape:
                size *= length
            if any(length < 0 for length in shape) or stream.tell() + size != member.file_size:
                raise ValueError(f"{title} has another size than it states")
