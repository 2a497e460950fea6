"""Retries while the database cannot be reached."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from pymongo.errors import ConnectionFailure

PATIENCE_SECONDS = 3600.0
"""How long a background job waits for the database."""

LONGEST_PAUSE = 10.0

_Answer = TypeVar("_Answer")


def is_unreachable(error: BaseException | None) -> bool:
    """True if an error was caused by a database that could not be reached.

    Args:
        error: the error
    """
    while error is not None and not isinstance(error, ConnectionFailure):
        error = error.__cause__ or error.__context__
    return error is not None


def retry_while_unreachable(
    ask: Callable[[], _Answer],
    seconds: float = PATIENCE_SECONDS,
    pause: float = 0.5,
    on_pause: Callable[[float], None] = lambda seconds: None,
) -> _Answer:
    """Call a function again, at growing intervals, while the database cannot be reached.

    Args:
        ask: the function, which may be called more than once
        seconds (3600): how long to retry
        pause (0.5): the first pause in seconds; each pause is twice as long as the one before, up to
            :data:`LONGEST_PAUSE`
        on_pause (None): called before each pause with its length in seconds

    Raises:
        Exception: the error of ``ask``, if it has another cause or the database stays unreachable
    """
    start = time.monotonic()
    while True:
        try:
            return ask()
        except Exception as error:
            if not is_unreachable(error) or time.monotonic() - start + pause > seconds:
                raise
        on_pause(pause)
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
