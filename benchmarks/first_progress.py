"""Measures how long after its start a background job shows what, until the first epoch.

    python -m benchmarks.first_progress --images 1000

A dataset of random images is made in a database of its own. The form of *Compute learnability* is submitted as the App
submits it, and the text of the progress bar is read every twentieth of a second; each new text is printed with the
seconds since the submit. The open panel reads it every other second. Goal: within 8 s another text than that of a
starting process.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from .synthetic import own_database

GOAL = 8.0
LONGEST = 300.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_000)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    own_database()
    with tempfile.TemporaryDirectory(prefix="learnability-bench-") as folder:
        firsts = [first_texts(Path(folder), options.images) for _ in range(options.repeat)]
    for texts in firsts:
        print("\n" + "\n".join(f"{seconds:6.2f} s  {text}" for text, seconds in texts.items()))
    slowest = max(sorted(texts.values())[1] for texts in firsts)
    print(f"\nslowest first sign of life: {slowest:.1f} s; the goal is {GOAL:.0f} s")


def first_texts(folder: Path, count: int) -> dict[str, float]:
    """Start a job, follow it to its first epoch, and cancel it; return when each of its texts was first seen."""
    import fiftyone as fo
    from PIL import Image

    from plugin.jobs.job import cancel_job, latest_job
    from tests.plugin.harness import execute

    rng = np.random.default_rng(1)
    dataset = fo.Dataset()
    samples = []
    for index in range(count):
        path = folder / f"{dataset.name}-{index}.png"
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(path)
        samples.append(fo.Sample(str(path), ground_truth=fo.Classification(label="ab"[index % 2])))
    dataset.add_samples(samples, progress=False)
    texts: dict[str, float] = {}
    start = time.perf_counter()
    execute("compute_learnability", dataset, {"models": ["resnet20"], "label_field": "ground_truth"})
    while time.perf_counter() - start < LONGEST:
        job = latest_job(dataset)
        if job is None or not job.active:
            raise RuntimeError("the job has ended" if job is None else job.error)
        texts.setdefault(job.label, time.perf_counter() - start)
        if "epoch" in job.label:
            cancel_job(job.id)
            break
        time.sleep(0.05)
    dataset.delete()
    return texts


if __name__ == "__main__":
    main()
