"""Decoded images on disk, so that a second run over the same files starts at once.

    CACHE/images/<key>.npy     the pixels, which are mapped into memory rather than read
                /<key>.json    what else there is to say of them, with a checksum of the pixels; written last

The key stands for the paths of the files, in their order, their sizes and times, the size that the images are brought
to, and what decodes them: whatever of it changes, the images are decoded anew. What is read is taken for damaged or
hostile until it has the shape, the length and the checksum that it says. Nothing here may cost a run: where the cache
cannot be read the images are decoded, where it cannot be written that is said in one sentence.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import stat
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
import PIL
from numpy.typing import NDArray

from ..experiment.files import cache_folder, clean, read_json, write_atomically
from ..scores.checks import shorten
from .decode import DecodedImages
from .files import DECODING, MAX_PIXELS

MOST_BYTES = 10 * 10**9
"""The most bytes that all images in the cache take together; those that were not used for longest are deleted."""

MOST_ENTRIES = 100
"""The most sets of images in the cache, so that looking for the oldest stays fast."""

LEAST_SECONDS = 0.5
"""Images that are decoded within this are decoded again as quickly, and not kept."""

FREE_BYTES = 10**9
"""What is left free on the disk: checkpoints matter more."""

_FORMAT = 1
_TICK_NS = 20_000_000
"""File systems note times to within 10 ms: a file may change again within that, and its time not."""

_KEY = r"[0-9a-f]{32}"
_FILES = re.compile(rf"({_KEY})\.(?:npy|json)")
_PARTIAL = re.compile(rf"\.{_KEY}\.(?:npy|json)\.\d+\.partial")
_BLOCK = 2**22

_writing = threading.Lock()
"""Held while this process writes: unfinished files are named after the process."""


def image_cache_folder() -> Path:
    """The folder of decoded images, in the user's cache."""
    return cache_folder().parent / "images"


class CachedImages:
    """The place of some files' decoded images in the cache.

    Make it before the files are decoded: only then can it tell whether one has changed meanwhile.

    Args:
        filepaths: M paths
        image_size: S, the height and width of the images in pixels
    """

    def __init__(self, filepaths: Sequence[str], image_size: int) -> None:
        self._filepaths, self._image_size = filepaths, image_size
        self._key, newest = _key_of(filepaths, image_size)
        self._began = time.monotonic()
        if 0 <= time.time_ns() - newest < _TICK_NS:
            time.sleep(_TICK_NS / 1e9)

    def load(self) -> DecodedImages | None:
        """The images as :func:`~fiftyone_learnability.images.decode.decode_images` returns them; None to decode them.

        The pixels are mapped into memory copy-on-write: they can be written to, which torch demands of what it shares
        memory with, and the file does not change.
        """
        if self._key is None:
            return None
        folder = image_cache_folder()
        meta, pixels = folder / f"{self._key}.json", folder / f"{self._key}.npy"
        try:
            shape, sizes, digest = self._check(_read_meta(meta))
            mapped = _map(pixels, shape, digest)
        # whatever a damaged file makes numpy or json stumble over, also for lack of memory
        except (OSError, ValueError, MemoryError):
            return None
        with suppress(OSError):
            # the time of the last use
            os.utime(meta)
        return DecodedImages(mapped, np.ones(len(mapped), dtype=np.bool_), {}, sizes)

    def save(self, images: DecodedImages) -> str | None:
        """Keeps images for the next run, if all files could be read: one that could not is to be tried again.

        Args:
            images: what has just been decoded

        Returns:
            why they cannot be kept, for people; None if they are, or need not be
        """
        if images.failures or not len(images.pixels) or time.monotonic() - self._began < LEAST_SECONDS:
            return None
        if self._key is None or _key_of(self._filepaths, self._image_size)[0] != self._key:
            # a file has changed while they were read
            return None
        size = images.pixels.nbytes
        if size > MOST_BYTES:
            return (
                f"the images take {size / 1e9:.1f} GB, more than the {MOST_BYTES / 1e9:.0f} GB of the cache: they are "
                "not kept for the next run"
            )
        try:
            with _writing:
                self._write(images)
        except OSError as error:
            return f"the images could not be kept for the next run: {error}; this run goes on without"
        return None

    def _write(self, images: DecodedImages) -> None:
        folder, pixels = image_cache_folder(), np.ascontiguousarray(images.pixels)
        if folder.is_symlink():
            raise OSError(f"{folder} is a symbolic link")
        # images may be private
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # earlier images of these files that turned out to be damaged are replaced
        others = [entry for entry in find_image_caches() if entry.path.stem != self._key]
        for entry in _oldest(others, MOST_BYTES - pixels.nbytes, MOST_ENTRIES - 1):
            _delete(entry)
        free = shutil.disk_usage(folder).free
        if free < pixels.nbytes + FREE_BYTES:
            raise OSError(
                f"they take {pixels.nbytes / 1e9:.2f} GB, and the disk of {folder} has {free / 1e9:.2f} GB free, of "
                f"which {FREE_BYTES / 1e9:.0f} are left for checkpoints"
            )
        digest = _digest(pixels.nbytes)

        def write(file: IO[bytes]) -> None:
            file.write(_header(pixels.shape))
            flat = pixels.reshape(-1)
            for start in range(0, len(flat), _BLOCK):
                block = flat[start : start + _BLOCK].data
                digest.update(block)
                file.write(block)

        said = {
            "format": _FORMAT,
            "shape": pixels.shape,
            "sizes": sorted(images.sizes),
            "folder": _common_folder(self._filepaths),
        }
        write_atomically(folder / f"{self._key}.npy", write)
        text = json.dumps({**said, "digest": digest.hexdigest()})
        write_atomically(folder / f"{self._key}.json", lambda file: file.write(text.encode()))

    def _check(self, said: Any) -> tuple[tuple[int, int, int, int], frozenset[tuple[int, int]], str]:
        """Shape, sizes and checksum, if what a file says is what :meth:`save` writes.

        Raises:
            ValueError: if it is not
        """
        count, size = len(self._filepaths), self._image_size
        if not isinstance(said, dict) or said.get("format") != _FORMAT or not isinstance(said.get("digest"), str):
            raise ValueError("it does not describe images")
        shape, sizes = said.get("shape"), said.get("sizes")
        wanted = [[count, size, size, channels] for channels in (1, 3)]
        # True is 1, too, and 1.0
        if shape not in wanted or not all(type(side) is int for side in shape):
            raise ValueError("it is of other images")
        if not isinstance(sizes, list) or not 0 < len(sizes) <= count or not all(map(_is_size, sizes)):
            raise ValueError("it does not say which sizes the images have")
        return (count, size, size, shape[3]), frozenset((height, width) for height, width in sizes), said["digest"]


@dataclass(frozen=True)
class FoundImages:
    """Decoded images in the cache, or what a process has left that was killed while it wrote them.

    Attributes:
        path: the file of the pixels
        seconds: how long ago they were last used
        size: what is on disk, in bytes
        files: what is on disk
    """

    path: Path
    seconds: float
    size: int
    files: tuple[Path, ...]

    @property
    def about(self) -> str:
        """How many images there are, and where their files lie, as the entry says itself."""
        try:
            said = _read_meta(self.path.with_suffix(".json"))
            (count, size, _, _), folder = said["shape"], said["folder"]
            if not all(type(one) is int and 0 < one < 2**63 for one in (count, size)) or not isinstance(folder, str):
                raise ValueError("it does not describe images")
            return f"{count} images of {size}x{size} pixels from {shorten(folder)}"
        except (OSError, ValueError, TypeError, KeyError):
            return "unfinished or damaged"


def find_image_caches() -> list[FoundImages]:
    """What there is of decoded images in the cache, those last that were used last."""
    folder, now = image_cache_folder(), time.time()
    of_entry: dict[str, list[tuple[Path, os.stat_result]]] = {}
    # a link is not ours to follow
    if folder.is_symlink():
        return []
    with suppress(OSError):
        for entry in os.scandir(folder):
            match = _FILES.fullmatch(entry.name)
            name = match[1] if match else entry.name
            # one that is being written is renamed in the midst of it
            with suppress(OSError):
                if (match or _PARTIAL.fullmatch(entry.name)) and not entry.is_dir(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    of_entry.setdefault(name, []).append((Path(entry.path), status))
    found = [
        FoundImages(
            path=folder / (f"{name}.npy" if re.fullmatch(_KEY, name) else name),
            seconds=now - max(status.st_mtime for _, status in files),
            size=sum(status.st_size for _, status in files),
            files=tuple(path for path, _ in files),
        )
        for name, files in of_entry.items()
    ]
    return sorted(found, key=lambda entry: -entry.seconds)


def clean_image_caches(older_than: float | None = None, max_size: float | None = None) -> list[FoundImages]:
    """Deletes decoded images from the cache. A run that uses them goes on: what it has mapped stays until it ends.

    Args:
        older_than (None): only those that were last used so many seconds ago
        max_size (None): only so many, the oldest first, that the others have this size in bytes at most

    Returns:
        those that were deleted
    """
    return clean(find_image_caches(), _delete, older_than, max_size)


def _oldest(entries: Sequence[FoundImages], most_bytes: float, most_entries: int) -> list[FoundImages]:
    """As many of those that were not used for longest that the others are no more, and no larger, than this."""
    total = sum(entry.size for entry in entries)
    for number, entry in enumerate(entries):
        if total <= most_bytes and len(entries) - number <= most_entries:
            return list(entries[:number])
        total -= entry.size
    return list(entries)


def _delete(entry: FoundImages) -> bool:
    # Windows does not delete what is mapped; another process may have deleted it meanwhile
    with suppress(OSError):
        # first what says that the pixels are there
        for path in sorted(entry.files, key=lambda path: path.suffix == ".npy"):
            path.unlink(missing_ok=True)
        return True
    return False


def _key_of(filepaths: Sequence[str], image_size: int) -> tuple[str | None, int]:
    """What the pixels depend on, as a key, and when, in ns since 1970, the last of the files was changed.

    The key is None where a file is not there. Besides the time at which its content was changed, which whoever copies
    it can set, a file has that of its status, which nobody can: it tells a file that was put in the place of another of
    the same size and time, and one that may no longer be read.
    """
    decoder = f"{_FORMAT} {DECODING} {cv2.__version__} {PIL.__version__} {image_size}\0"
    digest = hashlib.blake2b(decoder.encode(), digest_size=16)
    newest = 0
    try:
        folder = os.getcwd()
        for path in filepaths:
            found = os.stat(path)
            changed, of_status = found.st_mtime_ns, found.st_ctime_ns
            newest = max(newest, changed, of_status)
            line = f"{os.path.join(folder, path)}\0{found.st_size} {changed} {of_status}\0"
            # what is no UTF-8 in a file's name is in a str as half of a surrogate pair
            digest.update(line.encode("utf-8", "surrogatepass"))
    except (OSError, ValueError):
        return None, 0
    return digest.hexdigest(), newest


def _digest(size: int) -> hashlib.blake2b:
    """The checksum of so many bytes of pixels, to be updated with them."""
    return hashlib.blake2b(str(size).encode(), digest_size=16)


def _read_meta(path: Path) -> Any:
    """What a file says of images, unless it lies elsewhere and only a link leads there.

    Raises:
        OSError: if it cannot be read
        ValueError: if it is no JSON file
    """
    if path.is_symlink() or path.parent.is_symlink():
        raise ValueError(f"{path} is a symbolic link")
    return read_json(path)


def _map(path: Path, shape: tuple[int, int, int, int], digest: str) -> NDArray[np.uint8]:
    """Maps the pixels of a file, if they are what they should be.

    Raises:
        OSError: if they cannot be read
        ValueError: if they are not
    """
    size = int(np.prod(shape, dtype=object))
    header = _header(shape)
    with open(path, "rb", opener=_open_no_link) as file:
        found = os.fstat(file.fileno())
        # nothing of what the file says of itself is believed, or even parsed
        if not stat.S_ISREG(found.st_mode) or found.st_size != len(header) + size or file.read(len(header)) != header:
            raise ValueError(f"{path} does not hold these images")
        # read as a file, which raises where the disk is damaged: what is mapped would end the process
        check, block = _digest(size), memoryview(bytearray(_BLOCK))
        while count := file.readinto(block):
            check.update(block[:count])
        if check.hexdigest() != digest:
            raise ValueError(f"{path} is damaged")
        mapped = np.memmap(file, dtype=np.uint8, mode="c", offset=len(header), shape=shape)
    return mapped.view(np.ndarray)


def _header(shape: tuple[int, ...]) -> bytes:
    """How an npy file of uint8 of this shape begins."""
    buffer = io.BytesIO()
    said = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, said)
    return buffer.getvalue()


def _open_no_link(path: str, flags: int) -> int:
    # nor waits for a pipe
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))


def _is_size(size: Any) -> bool:
    return (
        isinstance(size, list) and len(size) == 2 and all(type(side) is int and 0 < side <= MAX_PIXELS for side in size)
    )


def _common_folder(filepaths: Sequence[str]) -> str:
    # all others lie between the first and the last
    ends = [os.path.dirname(os.path.abspath(path)) for path in (min(filepaths), max(filepaths))]
    try:
        return os.path.commonpath(ends)
    except ValueError:
        # on several drives
        return ""
