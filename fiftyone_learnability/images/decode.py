"""Image files into one uint8 array, decoded once for all networks and runs.

Each processor decodes. A few files are left to threads, which decode beside each other; but small images are decoded so
fast that the threads then mostly wait for Python's lock, so that of many files most go to processes of their own, see
:mod:`~fiftyone_learnability.images.processes`.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import Empty, SimpleQueue

import numpy as np
from numpy.typing import NDArray

from .files import COLOUR, ReadOutcome, read_files
from .processes import ImageProcesses

DEFAULT_IMAGE_SIZE = 32
"""Height and width in pixels that the CIFAR networks are made for."""

FILES_PER_PROCESS = 10_000
"""The fewest files for which a process is started: with fewer there is little to gain for what it takes to start."""

MOST_PROCESSES = 8
"""The most that are started, since each takes memory, and this one has to bring them work. Tried with two at most."""

_CHUNK = 128
"""The most files that are read before that is said: each by itself would cost half as much again."""


@dataclass(frozen=True, eq=False)
class DecodedImages:
    """The images of M files, those that could be read.

    Attributes:
        pixels: ``(N, S, S, C)`` uint8, RGB; C is 1 if all images are grey
        readable: ``(M,)`` whether each file could be read; N of them are true
        failures: what was wrong with each of the other files, by its path
        sizes: the distinct (height, width) of the images in their files
    """

    pixels: NDArray[np.uint8]
    readable: NDArray[np.bool_]
    failures: dict[str, str]
    sizes: frozenset[tuple[int, int]]


def decode_images(
    filepaths: Sequence[str],
    image_size: int = DEFAULT_IMAGE_SIZE,
    advance: Callable[[int], None] | None = None,
    num_workers: int | None = None,
) -> DecodedImages:
    """Reads image files into one array.

    EXIF orientation is applied, transparency is dropped, 16-bit values are scaled to 8 bits over their full range, and
    images of another size are resized to a square, by averaging over areas where they shrink; the aspect ratio is not
    kept.

    A JPEG of which half, a quarter or an eighth is still twice as large as the result on both sides, or larger, is
    decoded at that size, and averaged from there. In photographs of 500x375 pixels brought to 64 or 32, that moves a
    value by 1.3 or 1.0 of 255 levels in the mean; Pillow's bilinear filter, for comparison, by 1.8 or 2.2. All other
    images are as if every pixel were decoded, bit for bit.

    Args:
        filepaths: M paths
        image_size (32): S, the height and width of the result in pixels
        advance (None): called with the number of files read, from the thread that calls this
        num_workers (None): how many files are decoded at a time; by default one for each processor

    Returns:
        the images, without those that could not be read
    """
    count, workers = len(filepaths), num_workers or os.cpu_count() or 1
    pixels = np.empty((count, image_size, image_size, 3), dtype=np.uint8)
    readable = np.ones(count, dtype=np.bool_)
    failures: dict[int, str] = {}
    sizes: set[tuple[int, int]] = set()
    channels: set[int] = set()
    # small enough that all have work to the end
    length = max(1, min(_CHUNK, count // (4 * workers)))
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
                files, rows = filepaths[chunk], pixels[chunk]
                found = processes.read(files, rows)
                # what fails there need not fail here: Pillow may have been told here to read more
                done.put(
                    (chunk, read_files(files, rows, lambda: stopped) if found is None or found.failures else found)
                )
        except Empty:
            return
        except BaseException as error:  # noqa: BLE001
            done.put(error)

    with (
        warnings.catch_warnings(),
        ImageProcesses(_num_processes(count, workers)) as processes,
        ThreadPoolExecutor(workers) as pool,
    ):
        # what is wrong with a file is told once, by its name, which Pillow's warnings lack
        warnings.filterwarnings("ignore", module="PIL")
        try:
            for _ in range(workers):
                pool.submit(work)
            for _ in chunks:
                outcome = done.get()
                if isinstance(outcome, BaseException):
                    raise outcome
                chunk, found = outcome
                failures.update({chunk.start + index: reason for index, reason in found.failures.items()})
                sizes |= found.sizes
                channels |= found.channels
                if advance is not None:
                    advance(chunk.stop - chunk.start)
        except BaseException:
            # the pool waits for the chunks that have begun
            stopped = True
            processes.kill()
            raise
    if failures:
        readable[list(failures)] = False
        pixels = pixels[readable]
    if COLOUR not in channels and len(pixels):
        pixels = np.ascontiguousarray(pixels[..., :1])
    reasons = {filepaths[index]: failures[index] for index in sorted(failures)}
    return DecodedImages(pixels, readable, reasons, frozenset(sizes))


def _num_processes(num_files: int, num_workers: int) -> int:
    # one of the workers at least is a thread of this process
    return min(num_workers - 1, num_files // FILES_PER_PROCESS, MOST_PROCESSES)
