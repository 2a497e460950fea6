"""Processes that decode image files beside this one, for which nobody waits for Python's lock.

Not those of ``multiprocessing``: it forks a process that is full of threads, or runs the user's script anew in each
process that it starts. These do nothing but :func:`~fiftyone_learnability.dataset.image_files.read_files`; they read
what to do from their input, and end where it ends, that is also when this process is killed. Nothing depends on them:
files that a process did not read, because it could not start or has ended, are left to the caller.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from types import TracebackType
from typing import BinaryIO, NamedTuple, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from .image_files import Read, read_files

_START = f"""
import sys
# the current folder, whose files may be called as modules are
sys.path[:] = filter(None, sys.path)
import pickle
sys.path[:] = pickle.load(sys.stdin.buffer)
from {__name__} import serve
serve()
"""

_READY = b"!"

_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""numpy would start threads that nobody needs."""


class ImageProcesses:
    """Processes that decode, as long as the ``with`` statement over them.

    Args:
        count: how many to start; those that cannot be started are done without
    """

    def __init__(self, count: int) -> None:
        self._processes: list[_Process] = []
        # a program that is one file with its interpreter would start itself anew
        if sys.executable and not getattr(sys, "frozen", False):
            with suppress(OSError):
                for _ in range(count):
                    self._processes.append(_start())
        self._idle: SimpleQueue[_Process] = SimpleQueue()
        self._starting = [Thread(target=self._await, args=(process,)) for process in self._processes]

    def __enter__(self) -> ImageProcesses:
        for thread in self._starting:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()
        # what reads from a process that is killed comes to an end
        for thread in self._starting:
            thread.join()
        for process in self._processes:
            process.handle.wait()
            for stream in (process.requests, process.replies):
                # what was not sent when it ended cannot be sent any more
                with suppress(OSError):
                    stream.close()

    def read(self, filepaths: Sequence[str], pixels: NDArray[np.uint8]) -> Read | None:
        """Reads image files into an array, if a process is there that has nothing else to do.

        May be called from many threads at a time.

        Args:
            filepaths: M paths
            pixels: ``(M, S, S, 3)`` uint8, contiguous, written to

        Returns:
            what came of them, as :func:`~fiftyone_learnability.dataset.image_files.read_files` does; None if they are
            still to be read
        """
        try:
            process = self._idle.get_nowait()
        except Empty:
            return None
        try:
            pickle.dump((list(filepaths), pixels.shape[1]), process.requests)
            process.requests.flush()
            found: Read = pickle.load(process.replies)
            _fill(pixels, process.replies)
        except (OSError, EOFError, pickle.UnpicklingError):
            # it has ended, and is not asked again
            return None
        self._idle.put(process)
        return found

    def kill(self) -> None:
        """Ends all processes, whatever they are doing, and with it every :meth:`read` that waits for one."""
        for process in self._processes:
            process.handle.kill()

    def _await(self, process: _Process) -> None:
        if process.replies.read(len(_READY)) == _READY:
            self._idle.put(process)


class _Process(NamedTuple):
    handle: subprocess.Popen[bytes]
    requests: BinaryIO
    replies: BinaryIO


def _start() -> _Process:
    handle = subprocess.Popen(
        [sys.executable, "-c", _START],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **_ENVIRONMENT},
        # who interrupts this process means this one, which then ends the others
        start_new_session=True,
    )
    process = _Process(handle, cast(BinaryIO, handle.stdin), cast(BinaryIO, handle.stdout))
    # the places of this process's packages, however it came to know them
    with suppress(OSError):
        pickle.dump([str(place) for place in sys.path], process.requests)
        process.requests.flush()
    return process


def _fill(pixels: NDArray[np.uint8], stream: BinaryIO) -> None:
    rest = pixels.data.cast("B")
    while rest:
        count = stream.readinto(rest)  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        rest = rest[count:]


def serve() -> None:
    """What such a process does: reads files as it is told on its input, until that ends."""
    requests = sys.stdin.buffer
    # what a decoder prints is not to get among the replies; the errors are those of a caller that has gone
    with suppress(EOFError, BrokenPipeError, pickle.UnpicklingError), os.fdopen(os.dup(1), "wb") as replies:
        os.dup2(2, 1)
        # as where there are no processes
        warnings.filterwarnings("ignore", module="PIL")
        # there are as many processes as processors
        cv2.setNumThreads(1)
        replies.write(_READY)
        replies.flush()
        while True:
            filepaths, size = pickle.load(requests)
            pixels = np.empty((len(filepaths), size, size, 3), dtype=np.uint8)
            pickle.dump(read_files(filepaths, pixels), replies)
            replies.write(pixels.data)
            replies.flush()
