"""Decoded images on disk: a second run over the same files starts at once.

    CACHE/images/<key>.npy     the pixels, memory-mapped when they are used
                /<key>.json    what they are, with a checksum of both; written last

The key depends on the paths of the files in their order, their sizes and times, the image size and the decoder's
version: a change of any of them makes a new entry. A damaged entry is ignored and written again. The cache never makes
a run fail: without it, images are decoded, and a failure to write is reported in one sentence.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL

from ..scores.checks import shorten
from ..storage import cache_folder, clean, write_atomically
from .decode import DecodedImages
from .files import DECODING

MOST_BYTES = 10 * 10**9
"""The most bytes of all images in the cache together; those that were not used for longest are deleted first."""

LEAST_SECONDS = 0.5
"""Images that were decoded faster than this are not cached: decoding them again is as fast."""

FREE_BYTES = 10**9
"""Bytes of the disk that the cache leaves free for checkpoints."""

FORMAT = 3
"""Version of the files; raise it whenever they change."""

_TICK_NS = 20_000_000
"""File systems record times to within 10 ms; a second change within that leaves the time as it is."""

_BLOCK = 2**22

_writing = threading.Lock()
"""Held while this process writes: unfinished files are named after the process, not the thread."""


def image_cache_folder() -> Path:
    """Return the folder of decoded images in the user's cache."""
    return cache_folder() / "images"


class CachedImages:
    """The place of the decoded images of some files in the cache.

    Create it before decoding: it then notices files that change during the decoding.

    Args:
        filepaths: M paths
        image_size: S, the height and width of the images in pixels

    Attributes:
        key: the name of the entry; None if a file does not exist
    """

    def __init__(self, filepaths: Sequence[str], image_size: int) -> None:
        self._filepaths, self._image_size = filepaths, image_size
        self.key, newest = _key_of(filepaths, image_size)
        self._began = time.monotonic()
        if 0 <= time.time_ns() - newest < _TICK_NS:
            time.sleep(_TICK_NS / 1e9)

    def load(self) -> DecodedImages | None:
        """Return the images as ``decode_images`` does, or None if they are not in the cache or are damaged.

        The pixels are mapped copy-on-write: torch requires memory that it may write to, and the file stays unchanged.
        """
        if self.key is None:
            return None
        pixels = image_cache_folder() / f"{self.key}.npy"
        described = pixels.with_suffix(".json")
        try:
            meta = json.loads(described.read_text())
            # a disk error while reading raises here; in mapped memory it would end the process
            with pixels.open("rb") as file:
                digest = _digest(meta["images"], iter(lambda: file.read(_BLOCK), b""))
            if digest != meta["digest"]:
                return None
            mapped = np.load(pixels, mmap_mode="c").view(np.ndarray)
            about = meta["images"]
            sizes = frozenset((height, width) for height, width in about["sizes"])
            conversions, values = dict(about["conversions"]), about["value_range"]
            value_range = None if values is None else (float(values[0]), float(values[1]))
        # a damaged description may hold anything
        except (OSError, ValueError, TypeError, KeyError, MemoryError):
            return None
        with suppress(OSError):
            # records the last use
            os.utime(described)
        return DecodedImages(mapped, np.ones(len(mapped), dtype=np.bool_), {}, sizes, conversions, value_range)

    def save(self, images: DecodedImages) -> str | None:
        """Keep images for the next run if all files could be read; unreadable files are tried again next time.

        Args:
            images: the images just decoded

        Returns:
            why they could not be kept, as a sentence; None if they were kept or need not be
        """
        if images.failures or not len(images.pixels) or time.monotonic() - self._began < LEAST_SECONDS:
            return None
        if self.key is None or _key_of(self._filepaths, self._image_size)[0] != self.key:
            # a file changed while the files were read
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
            return f"the images could not be kept for the next run: {error}; this run continues without the cache"
        return None

    def _write(self, images: DecodedImages) -> None:
        pixels, folder = np.ascontiguousarray(images.pixels), image_cache_folder()
        # images may be private
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        others = [entry for entry in find_image_caches() if entry.path.stem != self.key]
        clean(others, _delete, None, MOST_BYTES - pixels.nbytes)
        free = shutil.disk_usage(folder).free
        if free < pixels.nbytes + FREE_BYTES:
            raise OSError(
                f"they take {pixels.nbytes / 1e9:.2f} GB, and the disk of {folder} has {free / 1e9:.2f} GB free, of "
                f"which {FREE_BYTES / 1e9:.0f} GB are reserved for checkpoints"
            )
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(pixels))
        content = (header.getvalue(), pixels.reshape(-1).data)
        about = {
            "sizes": sorted(images.sizes),
            "conversions": dict(images.conversions),
            "value_range": images.value_range,
        }
        meta = {
            "shape": pixels.shape,
            "images": about,
            "folder": _common_folder(self._filepaths),
            "digest": _digest(about, content),
        }

        write_atomically(folder / f"{self.key}.npy", lambda file: file.writelines(content))
        write_atomically(folder / f"{self.key}.json", lambda file: file.write(json.dumps(meta).encode()))


@dataclass(frozen=True)
class FoundImages:
    """An entry of the cache, or the unfinished file of a process that was killed while writing one.

    Attributes:
        path: the file of the pixels
        seconds: seconds since the last use
        size: bytes on disk
    """

    path: Path
    seconds: float
    size: int

    @property
    def about(self) -> str:
        """How many images there are, and the folder of their files."""
        try:
            meta = json.loads(self.path.with_suffix(".json").read_text())
            count, size = meta["shape"][:2]
            return f"{count:d} images of {size:d}x{size:d} pixels from {shorten(meta['folder'])}"
        except (OSError, ValueError, TypeError, KeyError):
            return "unfinished or damaged"


def find_image_caches() -> list[FoundImages]:
    """Return the entries of the cache, the most recently used last."""
    folder, now = image_cache_folder(), time.time()
    entries = []
    for path in (*folder.glob("*.npy"), *folder.glob(".*.partial")):
        # another process may rename or delete a file meanwhile
        with suppress(OSError):
            described = path.with_suffix(".json")
            statuses = [file.stat() for file in (path, described) if file == path or file.exists()]
            last_use = max(status.st_mtime for status in statuses)
            entries.append(FoundImages(path, now - last_use, sum(status.st_size for status in statuses)))
    return sorted(entries, key=lambda entry: -entry.seconds)


def clean_image_caches(older_than: float | None = None, max_size: float | None = None) -> list[FoundImages]:
    """Delete decoded images from the cache. A run that uses them continues: mapped pixels stay until it ends.

    Args:
        older_than (None): keep entries that were used within this many seconds
        max_size (None): delete the oldest until the others have at most this size in bytes

    Returns:
        the deleted entries
    """
    return clean(find_image_caches(), _delete, older_than, max_size)


def _delete(entry: FoundImages) -> bool:
    # Windows cannot delete a mapped file
    with suppress(OSError):
        # the description first: pixels without one do not count as an entry
        for path in (entry.path.with_suffix(".json"), entry.path):
            path.unlink(missing_ok=True)
        return True
    return False


def _key_of(filepaths: Sequence[str], image_size: int) -> tuple[str | None, int]:
    """Return the key of the pixels, and the time in ns since 1970 at which the last of the files changed.

    The key is None if a file does not exist. It covers the time of the last status change as well as that of the
    content: a copy can keep the latter, which would hide that another file of the same size replaced one.
    """
    decoder = f"{FORMAT} {DECODING} {cv2.__version__} {PIL.__version__} {image_size}\0"
    digest = hashlib.blake2b(decoder.encode(), digest_size=16)
    newest = 0
    try:
        folder = os.getcwd()
        for path in filepaths:
            status = os.stat(path)
            newest = max(newest, status.st_mtime_ns, status.st_ctime_ns)
            line = f"{os.path.join(folder, path)}\0{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}\0"
            # a file name that is not UTF-8 has lone surrogates as a str
            digest.update(line.encode("utf-8", "surrogatepass"))
    except (OSError, ValueError):
        return None, 0
    return digest.hexdigest(), newest


def _digest(about: Mapping[str, Any], content: Iterable[bytes | memoryview]) -> str:
    """Return the checksum of what is known about the images and of the file of the pixels."""
    digest = hashlib.blake2b(json.dumps(about).encode(), digest_size=16)
    for part in content:
        digest.update(part)
    return digest.hexdigest()


def _common_folder(filepaths: Sequence[str]) -> str:
    # all others lie between the first and the last; on Windows they may be on several drives
    with suppress(ValueError):
        return os.path.commonpath([os.path.dirname(os.path.abspath(end(filepaths))) for end in (min, max)])
    return ""
