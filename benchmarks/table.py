"""What the benchmarks of the suite report: a line of the table that ``make bench`` prints."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """A stage, measured against what a user would otherwise do in the same run.

    Attributes:
        stage: what was measured, with its size
        ours: what we took, with its unit
        theirs: what the other way took, likewise, and which way it is
        ratio: how many times as fast we are, the median over interleaved rounds; None where nothing is compared
        goal: the least ratio, or the most that ``ours`` may be, in words
        met: whether the goal is met; None where there is none
        note: what else is to be said
    """

    stage: str
    ours: str
    theirs: str = ""
    ratio: float | None = None
    goal: str = ""
    met: bool | None = None
    note: str = ""
