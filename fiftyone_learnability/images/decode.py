"""Image files into one uint8 array, decoded once for all networks and runs, by one thread per processor.

OpenCV decodes without holding Python's lock, so threads decode in parallel. Very small files gain least: between two
calls of the decoder the threads wait for that lock.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

import numpy as np
from numpy.typing import NDArray

from .conversions import DeepImages
from .files import COLOUR, ReadOutcome, read_files

CHUNK = 128
"""The most files in one task of a thread. One task per file would take half as long again."""


@dataclass(frozen=True, eq=False)
class DecodedImages:
    """The images of the N of M files that could be read.

    Attributes:
        pixels: ``(N, S, S, C)`` uint8, RGB; C is 1 if all images are grey
        readable: ``(M,)`` bool, True where a file could be read
        failures: the reason why each of the other files could not be read, by its path
        sizes: the distinct (height, width) of the images in their files
        conversions: how many images were changed besides their size, by the names in
            :mod:`fiftyone_learnability.images.conversions`
        value_range: the smallest and the largest value of all images of more than 8 bits; None without such images
    """

    pixels: NDArray[np.uint8]
    readable: NDArray[np.bool_]
    failures: dict[str, str]
    sizes: frozenset[tuple[int, int]]
    conversions: Mapping[str, int] = field(default_factory=dict)
    value_range: tuple[float, float] | None = None


def decode_images(
    filepaths: Sequence[str],
    image_size: int,
    advance: Callable[[int], None] | None = None,
    num_workers: int | None = None,
) -> DecodedImages:
    """Read image files into one array.

    EXIF orientation is applied. Transparent images are drawn on white. Values of more than 8 bits are scaled linearly
    from the smallest and the largest value of all such images to 0..255: 12-bit data keep their contrast, and images
    stay comparable. Images of another size are resized to a square without keeping the aspect ratio; shrinking averages
    over areas.

    A JPEG that is still at least twice as large as the result on both sides when decoded at a half, a quarter or an
    eighth of its size is decoded at that size and averaged from there. For photographs of 500x375 pixels brought to 64
    or 32, this moves a value by 1.3 or 1.0 of 255 levels on average (Pillow's bilinear filter: 1.8 or 2.2). All other
    images are bit for bit what decoding every pixel gives.

    Args:
        filepaths: M paths
        image_size: S, the height and width of the result in pixels
        advance (None): called from the calling thread with the number of files just read
        num_workers (None): the number of threads; by default one per processor

    Returns:
        the images that could be read, and the reasons for the others
    """
    count, workers = len(filepaths), num_workers or os.cpu_count() or 1
    pixels = np.empty((count, image_size, image_size, 3), dtype=np.uint8)
    readable = np.ones(count, dtype=np.bool_)
    failures: dict[int, str] = {}
    sizes: set[tuple[int, int]] = set()
    channels: set[int] = set()
    conversions: Counter[str] = Counter()
    deep = DeepImages()
    # small enough to keep all threads busy to the end
    length = max(1, min(CHUNK, count // (4 * workers)))
    chunks = [slice(start, min(start + length, count)) for start in range(0, count, length)]
    waiting: SimpleQueue[slice] = SimpleQueue()
    done: SimpleQueue[tuple[slice, ReadOutcome] | BaseException] = SimpleQueue()
    for chunk in chunks:
        waiting.put(chunk)
    stopped = False

    def work() -> None:
        try:
            while not stopped:
                chunk = waiting.get_nowait()
                done.put((chunk, read_files(filepaths[chunk], pixels[chunk], lambda: stopped)))
        except Empty:
            return
        except BaseException as error:  # noqa: BLE001
            done.put(error)

    with warnings.catch_warnings(), ThreadPoolExecutor(workers) as pool:
        # Pillow's warnings lack the file's name; an unreadable file is reported with its name
        warnings.filterwarnings("ignore", module="PIL")
        try:
            for _ in range(workers):
                pool.submit(work)
            for _ in chunks:
                outcome = done.get()
                if isinstance(outcome, BaseException):
                    raise outcome
                chunk, read = outcome
                failures.update({chunk.start + index: reason for index, reason in read.failures.items()})
                sizes |= read.sizes
                channels |= read.channels
                conversions += read.conversions
                deep.extend(read.deep, chunk.start)
                if advance is not None:
                    advance(chunk.stop - chunk.start)
        except BaseException:
            # the pool waits only for the files being read
            stopped = True
            raise
    value_range = deep.write_to(pixels)
    if failures:
        readable[list(failures)] = False
        pixels = pixels[readable]
    if COLOUR not in channels and len(pixels):
        pixels = np.ascontiguousarray(pixels[..., :1])
    reasons = {filepaths[index]: failures[index] for index in sorted(failures)}
    return DecodedImages(pixels, readable, reasons, frozenset(sizes), dict(conversions), value_range)
