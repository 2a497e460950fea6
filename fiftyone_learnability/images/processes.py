"""Processes that decode image files beside this one, for which nobody waits for Python's lock.

Not those of ``multiprocessing``: it forks a process that is full of threads, or runs the user's script anew in each
process that it starts. These do nothing but :func:`~fiftyone_learnability.images.files.read_files`; they read
what to do from their input, and end where it ends, that is also when this process is killed. Nothing depends on them:
files that a process did not read, because it could not start or has ended, are left to the caller.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, BinaryIO, NamedTuple, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from .files import DECODING, ReadOutcome, read_files

_START = f"""
import json, sys
sys.path[:] = json.loads(sys.stdin.buffer.readline() or sys.exit())
from {__name__} import serve
serve()
"""

_READY = b"decoding %d\n" % DECODING
"""What a process says first: one that has found another version of this package is not asked."""

_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""numpy would start threads that nobody needs."""


class ImageProcesses:
    """Processes that decode, as long as the ``with`` statement over them.

    Args:
        count: how many to start; those that cannot be started are done without
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._processes: list[_Process] = []
        self._starting: list[Thread] = []
        self._idle: SimpleQueue[_Process] = SimpleQueue()

    def __enter__(self) -> ImageProcesses:
        # a program that brings its interpreter along would start itself anew
        is_python = Path(sys.executable or "").stem.lower().startswith(("python", "pypy"))
        try:
            for _ in range(self._count if is_python and not getattr(sys, "frozen", False) else 0):
                process = _start()
                self._processes.append(process)
                thread = Thread(target=self._await, args=(process,))
                thread.start()
                self._starting.append(thread)
        except (OSError, RuntimeError):
            # the system has no more processes or threads to give
            pass
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
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

    def read(self, filepaths: Sequence[str], pixels: NDArray[np.uint8]) -> ReadOutcome | None:
        """Reads image files into an array, if a process is there that has nothing else to do.

        May be called from many threads at a time.

        Args:
            filepaths: M paths
            pixels: ``(M, S, S, 3)`` uint8, contiguous, written to

        Returns:
            what came of them, as :func:`~fiftyone_learnability.images.files.read_files` does; None if they are
            still to be read
        """
        try:
            process = self._idle.get_nowait()
        except Empty:
            return None
        try:
            _send(process.requests, {"filepaths": list(filepaths), "size": pixels.shape[1]})
            found = json.loads(process.replies.readline())
            _fill(pixels, process.replies)
            outcome = ReadOutcome(dict(found["failures"]), set(map(tuple, found["sizes"])), set(found["channels"]))
        # it has ended, or says what nobody understands, and is not asked again
        except Exception:  # noqa: BLE001
            return None
        self._idle.put(process)
        return outcome

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
    try:
        os.fstat(2)
        errors = None
    except OSError:
        # else what is printed as an error would take the place of the replies
        errors = subprocess.DEVNULL
    handle = subprocess.Popen(
        # isolated: from modules in the current folder, and from what the environment says of Python
        [sys.executable, "-I", "-X", f"utf8={sys.flags.utf8_mode}", "-c", _START],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        env={**os.environ, **_ENVIRONMENT},
        # who interrupts this process means this one, which then ends the others
        start_new_session=True,
        # the same on Windows
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )
    process = _Process(handle, cast(BinaryIO, handle.stdin), cast(BinaryIO, handle.stdout))
    # the places of this process's packages, however it came to know them
    with suppress(OSError):
        _send(process.requests, [str(place) for place in sys.path])
    return process


def _send(stream: BinaryIO, message: Any) -> None:
    """Sends a line; JSON and not pickle, as everywhere in this package."""
    stream.write(json.dumps(message).encode() + b"\n")
    stream.flush()


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
    with suppress(BrokenPipeError), os.fdopen(os.dup(1), "wb") as replies:
        os.dup2(2, 1)
        # as where there are no processes
        warnings.filterwarnings("ignore", module="PIL")
        # the other processors have processes of their own
        cv2.setNumThreads(1)
        replies.write(_READY)
        replies.flush()
        # a line without its end is that of a caller that was killed meanwhile
        while (line := requests.readline()).endswith(b"\n"):
            request = json.loads(line)
            size = request["size"]
            pixels = np.empty((len(request["filepaths"]), size, size, 3), dtype=np.uint8)
            found = read_files(request["filepaths"], pixels)
            outcome = {"failures": list(found.failures.items()), "sizes": list(found.sizes)}
            _send(replies, {**outcome, "channels": list(found.channels)})
            replies.write(pixels.data)
            replies.flush()
