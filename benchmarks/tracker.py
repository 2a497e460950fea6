"""The cost of the tracker: its share of a ResNet-20 epoch on the CPU, compared with the `aum` package.

Everything runs in one thread and is measured in CPU time, so a busy machine does not matter. The figures are medians
over rounds in which both take turns on the same batches. The `aum` package (`pip install aum`) accumulates one score;
the tracker accumulates eight and the mean prediction, or seven without it. Both must compute the same AUM.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from itertools import product

import numpy as np
import torch
from torch import Tensor

from fiftyone_learnability.training.device import Placement
from fiftyone_learnability.training.networks import NETWORKS
from fiftyone_learnability.training.options import TrainingOptions
from fiftyone_learnability.training.run import EpochReport, TrainingData, TrainingObserver, train
from fiftyone_learnability.training.tracker import LearnabilityTracker

from .table import Result

CLASSES = 10
BATCH = 128
ROUNDS = 7
TRAINED_IMAGES = 1024
GOAL_SHARE = 0.01

Batches = list[tuple[Tensor, Tensor, Tensor]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, nargs="+", default=[5_000, 50_000], metavar="N")
    options = parser.parse_args()
    torch.set_num_threads(1)
    training = seconds_per_trained_image()
    print(f"ResNet-20, one thread: {1 / training:.0f} images/s, with the measurement after the epoch\n")
    print(
        "| samples | mean prediction | tracker, s an epoch | of a ResNet-20 epoch | aum, s an epoch | ratio (range) |"
    )
    print("|---|---|---|---|---|---|")
    for count in options.samples:
        for predictions in (True, False):
            ours, theirs = race(count, predictions)
            ratios = sorted(their / our for our, their in zip(ours, theirs, strict=True))
            own = statistics.median(ours)
            print(
                f"| {count:,} | {'kept' if predictions else 'not kept'} | {own:.4f} | {own / (training * count):.3%} "
                f"| {statistics.median(theirs):.3f} "
                f"| {statistics.median(ratios):.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f}) |",
                flush=True,
            )


def measure(quick: bool = False) -> list[Result]:
    """Measure for ``make bench``.

    Args:
        quick (False): True takes three rounds of 50,000 samples with mean predictions only
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        training = seconds_per_trained_image()
        lines = []
        for count, predictions in ((50_000, True),) if quick else product((5_000, 50_000), (True, False)):
            ours, theirs = race(count, predictions, 3 if quick else ROUNDS)
            own = statistics.median(ours)
            share = own / (training * count)
            lines.append(
                Result(
                    f"the tracker's share of an epoch, {count:,} samples, "
                    f"mean prediction {'kept' if predictions else 'not kept'}",
                    f"{own:.4f} s, {share:.3%} of a ResNet-20 epoch",
                    f"{statistics.median(theirs):.3f} s, the aum package",
                    statistics.median(their / our for our, their in zip(ours, theirs, strict=True)),
                    f"at most {GOAL_SHARE:.0%}",
                    share <= GOAL_SHARE,
                    "CPU time of one thread; aum accumulates one score, the tracker seven or eight",
                )
            )
    finally:
        torch.set_num_threads(threads)
    return lines


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def seconds_per_trained_image() -> float:
    """CPU seconds per image of CIFAR-10's size in an epoch of ResNet-20, after one epoch to warm up."""
    rng = np.random.default_rng(51)
    images = rng.integers(0, 256, (TRAINED_IMAGES, 32, 32, 3), dtype=np.uint8)
    labels = rng.integers(0, CLASSES, TRAINED_IMAGES)
    ends: list[float] = []

    class Clock(TrainingObserver):
        def on_epoch(self, report: EpochReport) -> None:
            ends.append(time.process_time())

    train(
        "resnet20",
        NETWORKS["resnet20"],
        TrainingData(images, labels, CLASSES),
        TrainingOptions(epochs=2, batch_size=BATCH),
        0,
        Placement(torch.device("cpu"), "float32", "one thread"),
        Clock(),
    )
    return (ends[1] - ends[0]) / TRAINED_IMAGES


def epoch(count: int, labels: Tensor, seed: int) -> Batches:
    """Shuffled batches of random logits."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(count, CLASSES, generator=generator)
    order = torch.randperm(count, generator=generator)
    return [(index, logits[index], labels[index]) for index in order.split(BATCH)]


def race(count: int, predictions: bool, rounds: int = ROUNDS) -> tuple[list[float], list[float]]:
    """CPU seconds per epoch of the tracker and of the `aum` package."""
    calculator_of_aum = import_module("aum").AUMCalculator

    labels = torch.randint(0, CLASSES, (count,), generator=torch.Generator().manual_seed(51))
    tracker = LearnabilityTracker(count, predictions=predictions)
    calculator = calculator_of_aum(tempfile.gettempdir(), compressed=True)

    def track(batches: Batches) -> None:
        for index, logits, true in batches:
            tracker.update(index, logits, true)
        tracker.end_epoch()

    def calculate(batches: Batches) -> None:
        for index, logits, true in batches:
            calculator.update(logits, true, index.tolist())

    ours, theirs = [], []
    for number in range(1 + rounds):
        batches = epoch(count, labels, number)
        ours.append(cpu_seconds(partial(track, batches)))
        theirs.append(cpu_seconds(partial(calculate, batches)))
    ours_aum = tracker.scores()["aum"]
    expected = [calculator.sums[sample] / calculator.counts[sample] for sample in range(count)]
    np.testing.assert_allclose(ours_aum, expected, rtol=0, atol=1e-5)
    # the first round allocates the buffers
    return ours[1:], theirs[1:]


if __name__ == "__main__":
    main()
