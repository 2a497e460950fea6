"""A benchmark's result: one line of the table that ``make bench`` prints."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """A stage, measured against what a user would otherwise do in the same run.

    Attributes:
        stage: what was measured, with its size
        ours: our time or size, with its unit
        theirs: the same for the alternative, with its name
        ratio: how many times as fast we are, the median over interleaved rounds; None where nothing is compared
        goal: the least ratio, or the most that ``ours`` may be, in words
        met: whether the goal is met; None where there is none
        note: a remark
    """

    stage: str
    ours: str
    theirs: str = ""
    ratio: float | None = None
    goal: str = ""
    met: bool | None = None
    note: str = ""


def print_table(results: list[Result]) -> None:
    """Prints results as a table in Markdown."""
    print("| stage | ours | otherwise | times as fast | goal | met | |\n|---|---|---|---|---|---|---|")
    for result in results:
        ratio = "" if result.ratio is None else f"{result.ratio:.2f}"
        met = "" if result.met is None else "yes" if result.met else "**no**"
        cells = (result.stage, result.ours, result.theirs, ratio, result.goal, met, result.note)
        print(f"| {' | '.join(cells)} |", flush=True)
