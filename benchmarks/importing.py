"""How long importing the package and starting the command line take, beside the imports that they defer.

Each figure is the median over several fresh interpreters, run in turns. For imports the time of an empty interpreter
is subtracted; for the command line the figure is the whole time that a user waits.
Goals: ``import fiftyone_learnability`` within 50 ms, ``fiftyone-learnability --help`` within 300 ms.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from .table import Result

PACKAGE = "import fiftyone_learnability"
HELP = "fiftyone-learnability --help"
NOTHING = "pass"
OTHERS = ("import fiftyone", "import torch")
GOAL_IMPORT, GOAL_HELP = 0.050, 0.300
ROUNDS = 5


def main() -> None:
    times = medians((NOTHING, PACKAGE, HELP, *OTHERS), ROUNDS)
    for what, seconds in times.items():
        if what == HELP:
            print(f"{what}: {seconds * 1000:.0f} ms in all; the goal is {GOAL_HELP * 1000:.0f} ms")
        elif what != NOTHING:
            goal = f"; the goal is {GOAL_IMPORT * 1000:.0f} ms" if what == PACKAGE else ""
            print(f"{what}: {(seconds - times[NOTHING]) * 1000:.0f} ms beyond an empty interpreter{goal}")


def measure(quick: bool = False) -> list[Result]:
    """Return the lines of ``make bench``.

    Args:
        quick: True for fewer rounds
    """
    times = medians((NOTHING, PACKAGE, HELP, *OTHERS), 3 if quick else ROUNDS)
    ours = times[PACKAGE] - times[NOTHING]
    theirs = ", ".join(f"{(times[what] - times[NOTHING]) * 1000:.0f} ms, {what}" for what in OTHERS)
    return [
        Result(
            PACKAGE,
            f"{ours * 1000:.0f} ms beyond an empty interpreter",
            theirs,
            goal=f"under {GOAL_IMPORT * 1000:.0f} ms",
            met=ours < GOAL_IMPORT,
        ),
        Result(
            HELP,
            f"{times[HELP] * 1000:.0f} ms in all",
            goal=f"under {GOAL_HELP * 1000:.0f} ms",
            met=times[HELP] < GOAL_HELP,
        ),
    ]


def medians(statements: tuple[str, ...], rounds: int) -> dict[str, float]:
    """Return the median seconds that a fresh interpreter takes for each statement."""
    times: dict[str, list[float]] = {statement: [] for statement in statements}
    for _ in range(rounds):
        for statement in statements:
            # the same call as in the script that pip generates from the entry point
            program = "import sys; from fiftyone_learnability.cli import main; sys.exit(main(['--help']))"
            start = time.perf_counter()
            subprocess.run(
                [sys.executable, "-c", program if statement == HELP else statement], check=True, capture_output=True
            )
            times[statement].append(time.perf_counter() - start)
    return {statement: statistics.median(seconds) for statement, seconds in times.items()}


if __name__ == "__main__":
    main()
