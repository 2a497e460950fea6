"""A database that is away, and comes back."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from pymongo.errors import ConnectionFailure

LONGEST_PAUSE = 10.0

_Answer = TypeVar("_Answer")


def is_away(error: BaseException | None) -> bool:
    """Whether what lies behind an error is a database that cannot be reached.

    Args:
        error: the error
    """
    while error is not None and not isinstance(error, ConnectionFailure):
        error = error.__cause__ or error.__context__
    return error is not None


def patiently(ask: Callable[[], _Answer], seconds: float, pause: float = 0.5) -> _Answer:
    """Asks the database again, at growing intervals, while it is away.

    Args:
        ask: asks it, and may do so more than once
        seconds: how long
        pause (0.5): the first pause, in seconds; each is twice as long as that before it, up to :data:`LONGEST_PAUSE`

    Raises:
        ConnectionFailure: if it stays away
    """
    start = time.monotonic()
    while True:
        try:
            return ask()
        except ConnectionFailure:
            if time.monotonic() - start + pause > seconds:
                raise
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
