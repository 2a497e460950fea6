"""Estimates how long a whole job will still take, so steadily that people can plan with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

SMOOTHING_SECONDS = 20.0
"""How slowly the promised end follows a new estimate."""

WARM_UP_SECONDS = 5.0
"""How long to work before the first estimate: the first batches are slower than all others."""


class TimeLeft:
    """Follows the finished share of a job and estimates its end from all the work done so far.

    Networks differ in speed, so each training counts with its weight. A new estimate moves the promised end slowly.

    Args:
        weights: the relative duration of each training, in their order
        clock (time.monotonic): tells the time in seconds
    """

    def __init__(self, weights: Sequence[float], clock: Callable[[], float] = time.monotonic) -> None:
        self._weights, self._clock = list(weights), clock
        self._start: tuple[float, float] | None = None
        self._end: float | None = None
        self._updated = 0.0

    def update(self, fraction: float) -> float | None:
        """Take the finished share of the job's epochs.

        Args:
            fraction: 0..1, each training with the same share, as in a progress event

        Returns:
            the seconds left, None as long as they cannot be estimated
        """
        now, done = self._clock(), self._weigh(fraction)
        # what an earlier process has trained is done already, and says nothing about the speed
        if self._start is None:
            self._start = now, done
        started, before = self._start
        if now - started < WARM_UP_SECONDS or done <= before:
            return None
        end = now + (now - started) / (done - before) * (1 - done)
        if self._end is None:
            self._end = end
        else:
            self._end += (end - self._end) * min((now - self._updated) / SMOOTHING_SECONDS, 1.0)
        self._updated = now
        return max(self._end - now, 0.0)

    def _weigh(self, fraction: float) -> float:
        """Return the finished share of the work, of a finished share of the epochs."""
        finished = fraction * len(self._weights)
        index = min(int(finished), len(self._weights) - 1)
        done = sum(self._weights[:index]) + self._weights[index] * (finished - index)
        return done / sum(self._weights)


def round_duration(seconds: float) -> float:
    """Return a duration in steps that do not flicker: of 5 seconds, then of minutes, then of 5 minutes."""
    step = 5 if seconds < 90 else 60 if seconds < 3600 else 300
    return max(round(seconds / step), 1) * step
