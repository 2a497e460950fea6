"""Time and memory for writing scores onto samples, compared with FiftyOne's own methods.

    python -m benchmarks.writing

Learnability and rank of three networks are written onto 50,000 samples without images, as
:func:`fiftyone_learnability.compute_learnability` writes them: six fields in one pass, with indexes and a registered
run, all or nothing. Two other methods write the values alone, in turns with ours: ``dataset.set_values`` per field, and
``sample.save()`` per sample, timed over 2,000 samples and scaled up. Seconds are medians over rounds, ratios medians of
the ratios of each round. Then larger datasets, each in a fresh process: seconds, and peak memory above that before the
call. Goals: 4 times as fast as ``set_values``, 20 times as fast as ``sample.save()``; a million samples in under 2 GB,
with at most 1.5 times the time per sample of 250,000.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .synthetic import own_database, settings_of, synthetic_dataset, synthetic_results
from .table import Result

if TYPE_CHECKING:
    import fiftyone as fo

SAMPLES = 50_000
SAVED = 2_000
LARGE = (250_000, 1_000_000)
EPOCHS = 200
GOAL_SET_VALUES, GOAL_SAVE, GOAL_BYTES, GOAL_GROWTH = 4.0, 20.0, 2e9, 1.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--large", type=int, nargs="*", default=LARGE, metavar="N", help="the larger datasets")
    parser.add_argument("--dynamics", action="store_true", help="keep the dynamics of 200 epochs, in all datasets")
    parser.add_argument("--alone", type=int, metavar="N", help=argparse.SUPPRESS)
    options = parser.parse_args()
    own_database()
    if options.alone:
        print(json.dumps(write_alone(options.alone, options.dynamics)))
        return
    print("| written | seconds | ratio (range) |\n|---|---|---|")
    times = race(SAMPLES, options.rounds, options.dynamics)
    print(f"| {SAMPLES:,} samples x 6 fields | {statistics.median(times['ours']):.2f} | |")
    for way in ("set_values", "save"):
        ratios = sorted(their / our for our, their in zip(times["ours"], times[way], strict=True))
        print(
            f"| {way} | {statistics.median(times[way]):.2f} "
            f"| {statistics.median(ratios):.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f}) |"
        )
    print("\n| samples | seconds | microseconds a sample | MB of memory |\n|---|---|---|---|", flush=True)
    for count in options.large:
        seconds, memory = write_in_fresh_process(count, options.dynamics)
        print(f"| {count:,} | {seconds:.1f} | {1e6 * seconds / count:.0f} | {memory / 1e6:.0f} |", flush=True)


def measure(quick: bool = False) -> list[Result]:
    """Return the lines of ``make bench``.

    Args:
        quick: True to skip the larger datasets
    """
    own_database()
    times = race(SAMPLES, 2 if quick else 3)
    ours = f"{statistics.median(times['ours']):.2f} s"
    lines = []
    for way, name, goal in (
        ("set_values", "set_values field by field", GOAL_SET_VALUES),
        ("save", f"sample.save(), scaled from {SAVED:,} samples", GOAL_SAVE),
    ):
        ratio = statistics.median(their / our for our, their in zip(times["ours"], times[way], strict=True))
        theirs = f"{statistics.median(times[way]):.1f} s, {name}"
        stage = f"scores out: {SAMPLES:,} samples x 6 fields"
        note = "ours with indexes and a registered run, all or nothing; theirs values alone"
        lines.append(Result(stage, ours, theirs, ratio, f"at least {goal:.0f} times", ratio >= goal, note))
    each = {}
    for count in () if quick else LARGE:
        seconds, memory = write_in_fresh_process(count)
        each[count] = seconds / count
        growth = each[count] / each[LARGE[0]]
        lines.append(
            Result(
                f"scores out: {count:,} samples x 6 fields",
                f"{seconds:.0f} s, {memory / 1e6:.0f} MB of memory",
                goal=f"under {GOAL_BYTES / 1e9:.0f} GB; time in proportion, within {GOAL_GROWTH} times",
                met=memory < GOAL_BYTES and growth <= GOAL_GROWTH,
                note=f"{1e6 * each[count]:.0f} microseconds a sample",
            )
        )
    return lines


def race(count: int, rounds: int, dynamics: bool = False) -> dict[str, list[float]]:
    """Time each method, in turns."""
    dataset = synthetic_dataset(count)
    results = synthetic_results(count, EPOCHS, dynamics)
    columns: dict[str, list[Any]] = {}
    for model, result in results.items():
        columns[f"plain_{model}"] = result.learnability.tolist()
        columns[f"plain_rank_{model}"] = result.rank.tolist()

    def set_values() -> None:
        for field, values in columns.items():
            dataset.set_values(field, values, progress=False)

    def save() -> None:
        for index, sample in enumerate(dataset.limit(SAVED)):
            for field, values in columns.items():
                # FiftyOne saves only values that changed
                sample[field] = values[index] + 1
            sample.save()

    times: dict[str, list[float]] = {"ours": [], "set_values": [], "save": []}
    for _ in range(rounds):
        times["ours"].append(seconds_of(lambda: write(dataset, results)))
        dataset.delete_run("learnability")
        times["set_values"].append(seconds_of(set_values))
        times["save"].append(seconds_of(save) * count / SAVED)
        dataset.delete_sample_fields(list(columns))
    dataset.delete()
    return times


def write(dataset: fo.Dataset, results: dict[str, Any]) -> None:
    """Write the scores as ``compute_learnability`` does."""
    from fiftyone_learnability.dataset.fields import write_results
    from fiftyone_learnability.dataset.target import choose_target

    target = choose_target(dataset, list(results), None)
    write_results(target, results, settings_of(len(next(iter(results.values())).ids), EPOCHS))


def seconds_of(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def write_in_fresh_process(count: int, dynamics: bool = False) -> tuple[float, float]:
    """Return seconds and bytes of memory that writing takes in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.writing", "--alone", str(count)]
    output = subprocess.run(
        [*command, *(["--dynamics"] if dynamics else [])], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    seconds, memory = json.loads(output.splitlines()[-1])
    return seconds, memory


def write_alone(count: int, dynamics: bool) -> tuple[float, float]:
    """Return seconds and bytes of memory that writing takes in this process."""
    import psutil

    dataset = synthetic_dataset(count)
    results = synthetic_results(count, EPOCHS, dynamics)
    process, ended = psutil.Process(), threading.Event()
    before = process.memory_info().rss
    most = before

    def watch() -> None:
        nonlocal most
        while not ended.wait(0.02):
            most = max(most, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        seconds = seconds_of(lambda: write(dataset, results))
    finally:
        ended.set()
        watcher.join()
        dataset.delete()
    return seconds, most - before


if __name__ == "__main__":
    main()
