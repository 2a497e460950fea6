"""Tells the database how far a background job is, beside the training, which waits for no database."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from types import TracebackType

import fiftyone.operators as foo
from pymongo.errors import ConnectionFailure, PyMongoError

from fiftyone_learnability import WriteError
from fiftyone_learnability.dataset.retry import retry_while_unreachable

from . import jobs

TELL_SECONDS = 1.0
LOOK_SECONDS = 2.0
"""How often the database is told, and asked whether the job is still wanted."""


class ProgressReporter:
    """Tells and asks the database in a thread of its own, for as long as the context lasts.

    A database that is away answers after half a minute that it is; so long the training would stand still.

    Args:
        ctx: the context of the operation
        job_id: its id
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

    def tell(self, fraction: float, label: str) -> None:
        """Notes how far the job is; the database hears of it within a second or so.

        Raises:
            RuntimeError: if the job was cancelled
        """
        self._latest = fraction, label
        if self._cancelled.is_set():
            raise RuntimeError(jobs.CANCELLED)

    def begin_writing(self) -> None:
        """Says that the scores are being written, after which nobody cancels; waits for a database that is away.

        Raises:
            RuntimeError: if the job was cancelled before
            WriteError: if the database stays away
        """
        self._done.set()
        # what it is about to tell must not come after what is told here
        self._thread.join()
        try:
            wanted = retry_while_unreachable(lambda: jobs.begin_writing(self._job_id))
        except ConnectionFailure as error:
            raise WriteError(
                "the database is away. The trainings are done and saved: to compute the same again writes them"
            ) from error
        if not wanted:
            raise RuntimeError(jobs.CANCELLED)

    def wait_for_database(self) -> None:
        """Waits until the database answers, or gives it up."""
        with suppress(ConnectionFailure):
            retry_while_unreachable(lambda: jobs.still_wanted(self._job_id))

    def _work(self) -> None:
        looked = 0.0
        while not self._done.wait(TELL_SECONDS):
            latest, self._latest = self._latest, None
            if latest is not None:
                # which raises nothing if the database is away
                self._ctx.set_progress(*latest)
            if time.monotonic() - looked >= LOOK_SECONDS:
                looked = time.monotonic()
                with suppress(PyMongoError):
                    if not jobs.still_wanted(self._job_id):
                        self._cancelled.set()
