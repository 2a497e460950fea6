"""What importing the package costs, beside what it puts off: the median of several fresh interpreters, interleaved."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

STATEMENTS = ("pass", "import fiftyone_learnability", "import fiftyone", "import torch")
ROUNDS = 5


def main() -> None:
    times: dict[str, list[float]] = {statement: [] for statement in STATEMENTS}
    for _ in range(ROUNDS):
        for statement in STATEMENTS:
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", statement], check=True, capture_output=True)
            times[statement].append(time.perf_counter() - start)
    nothing = statistics.median(times["pass"])
    for statement in STATEMENTS[1:]:
        print(
            f"{statement}: {(statistics.median(times[statement]) - nothing) * 1000:.0f} ms beyond an empty interpreter"
        )


if __name__ == "__main__":
    main()
