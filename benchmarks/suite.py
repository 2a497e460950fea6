"""All stages against what a user would otherwise do, in one table: what ``make bench`` runs.

    python -m benchmarks.suite --cifar10 DIR
    python -m benchmarks.suite --quick

Each benchmark runs in a process of its own, one after the other; each can also be run alone, with more details. Without
``--cifar10`` the files are made here, of random colours: speeds do not depend on what images show, but a ranking does,
and is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from .table import Result, print_table

NAMES = ("training", "ranking", "tracker", "images", "writing", "panel", "importing")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", type=Path, help="the CIFAR-10 image tree, DIR/{train,test}/<class>/*")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller, for a look")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--json", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.json is not None:
        found = _measurement(options.only[0], options.cifar10, options.quick)()
        options.json.write_text(json.dumps([asdict(result) for result in found]))
        return
    with tempfile.TemporaryDirectory(prefix="learnability-bench-") as folder:
        print_table(run_all(options.only, options.cifar10, options.quick, Path(folder)))


def run_all(names: list[str], cifar10: Path | None, quick: bool, folder: Path) -> list[Result]:
    """Runs benchmarks one after the other.

    Args:
        names: which
        cifar10: the CIFAR-10 image tree, None to do without
        quick: whether it is only for a look
        folder: where files may be made
    """
    print(
        f"{os.cpu_count()} processors, {platform.processor() or platform.machine()}, Python {platform.python_version()}"
    )
    results: list[Result] = []
    for name in names:
        if name == "ranking" and (cifar10 is None or quick):
            continue
        if cifar10 is None and name in ("training", "images"):
            tree = folder / "images"
            if not tree.exists():
                write_random_images(tree, 10_000 if quick else 50_000)
        tree = cifar10 or folder / "images"
        start, file = time.perf_counter(), folder / f"{name}.json"
        command = [
            sys.executable,
            "-m",
            "benchmarks.suite",
            "--only",
            name,
            "--json",
            str(file),
            "--cifar10",
            str(tree),
        ]
        subprocess.run([*command, *(["--quick"] if quick else [])], check=True, stdout=sys.stderr)
        results += [Result(**found) for found in json.loads(file.read_text())]
        print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    return results


def _measurement(name: str, cifar10: Path, quick: bool) -> Callable[[], list[Result]]:
    # each imports what it needs; some must say which database is used before FiftyOne is imported
    if name == "training":
        from . import training

        return lambda: training.measure(cifar10, quick)
    if name == "ranking":
        from . import ranking

        return lambda: ranking.measure(cifar10)
    if name == "images":
        from . import images

        return lambda: images.measure(cifar10, quick)
    if name == "tracker":
        from . import tracker

        return lambda: tracker.measure(quick)
    if name == "writing":
        from . import writing

        return lambda: writing.measure(quick)
    if name == "panel":
        from . import panel

        return lambda: panel.measure(quick)
    from . import importing

    return lambda: importing.measure(quick)


def write_random_images(tree: Path, count: int, classes: int = 10) -> None:
    """Writes JPEG files of 32 pixels, of smooth random colours, as a tree of classes.

    Args:
        tree: the folder
        count: how many
        classes (10): of how many classes
    """
    import cv2
    import numpy as np

    rng = np.random.default_rng(51)
    for number in range(count):
        folder = tree / "train" / f"class{number % classes}"
        if number < classes:
            folder.mkdir(parents=True)
        image = cv2.resize(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8), (32, 32), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{number:06}.jpg"), image)


if __name__ == "__main__":
    main()
