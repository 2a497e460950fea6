"""Reports the progress of a background job from a thread of its own: training never waits for the database."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from types import TracebackType

import fiftyone.operators as foo
from pymongo.errors import ConnectionFailure, PyMongoError

from fiftyone_learnability import WriteError
from fiftyone_learnability.dataset.retry import retry_while_unreachable

from .job import begin_writing, is_running
from .remedies import CANCELLED

REPORT_SECONDS = 1.0
"""How often progress is written to the database."""

CHECK_SECONDS = 2.0
"""How often the database is asked whether the job was cancelled."""


class ProgressReporter:
    """Writes progress to the database and notices a cancelled job, from a thread, while the context lasts.

    A call to an unreachable database blocks for half a minute; made by the training itself, it would stop the training.

    Args:
        ctx: the context of the operation
        job_id: the id of the job
    """

    def __init__(self, ctx: foo.ExecutionContext, job_id: str) -> None:
        self._ctx, self._job_id = ctx, job_id
        self._latest: tuple[float, str] | None = None
        self._cancelled, self._done = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> ProgressReporter:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._done.set()

    def report(self, fraction: float, label: str) -> None:
        """Set the progress, which the thread writes within about a second.

        Args:
            fraction: the finished fraction, 0..1
            label: the current step, in words

        Raises:
            RuntimeError: if the job was cancelled
        """
        self._latest = fraction, label
        if self._cancelled.is_set():
            raise RuntimeError(CANCELLED)

    def begin_writing(self) -> None:
        """Mark the job as writing, so that it can no longer be cancelled; waits for an unreachable database.

        Raises:
            RuntimeError: if the job was cancelled before
            WriteError: if the database stays unreachable
        """
        self._done.set()
        # a report that is under way must not overwrite the mark
        self._thread.join()
        try:
            running = retry_while_unreachable(lambda: begin_writing(self._job_id))
        except ConnectionFailure as error:
            raise WriteError(
                "the database cannot be reached. The trained scores are saved: compute the same again to write them"
            ) from error
        if not running:
            raise RuntimeError(CANCELLED)

    def wait_for_database(self) -> None:
        """Wait until the database answers, or waiting is given up."""
        with suppress(ConnectionFailure):
            retry_while_unreachable(lambda: is_running(self._job_id))

    def _work(self) -> None:
        checked = 0.0
        while not self._done.wait(REPORT_SECONDS):
            latest, self._latest = self._latest, None
            if latest is not None:
                # FiftyOne logs what goes wrong here, and raises nothing
                self._ctx.set_progress(*latest)
            if time.monotonic() - checked >= CHECK_SECONDS:
                checked = time.monotonic()
                with suppress(PyMongoError):
                    if not is_running(self._job_id):
                        self._cancelled.set()
