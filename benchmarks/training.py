"""Speed of training and measuring, compared with the usual loop in the same run.

    python -m benchmarks.training --cifar10 DIR

Times one epoch with its measurement, in images per second: ours with the exact measurement and with
``measure="online"``, both in float32 and in the precision chosen for this machine, and the usual loop
(:mod:`benchmarks.usual`) over the same files. They take turns; ratios are medians over the rounds. The table also gives
the share of the peak that our epoch reaches: three forward passes per trained image and one per measured image, divided
by the rate of products of 2,048 x 2,048 matrices. ``--profile`` prints where the time of our epoch goes instead. On a
machine with a CUDA GPU the script measures the GPU.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from fiftyone_learnability.images.decode import decode_images
from fiftyone_learnability.training.device import Placement, choose_placement
from fiftyone_learnability.training.networks import NETWORKS, fastest_placement
from fiftyone_learnability.training.options import TrainingOptions
from fiftyone_learnability.training.run import TrainingData, train
from scripts.images import read_tree, stratified

from .table import Result, print_table
from .usual import UsualLoop

GOALS = {"resnet20": (1.5, 1.9), "mobilenet": (1.6, 2.0), "vgg16": (1.1, 1.3)}
"""Required speed-up of an epoch, with the exact measurement and online."""

IMAGES = {"resnet20": 2560, "mobilenet": 1280, "vgg16": 512}
"""Number of images, so that an epoch takes some seconds on two cores."""

ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", type=Path, required=True, help="the CIFAR-10 image tree")
    parser.add_argument("--models", nargs="+", default=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--profile", action="store_true", help="print where the time of an epoch goes")
    options = parser.parse_args()
    if options.profile:
        for model in options.models:
            print_profile(model, options.cifar10)
        return
    print_table(measure(options.cifar10, models=options.models, rounds=options.rounds))


def measure(cifar10: Path, quick: bool = False, models: list[str] | None = None, rounds: int = ROUNDS) -> list[Result]:
    """Measure the networks.

    Args:
        cifar10: the CIFAR-10 image tree
        quick (False): True takes one round of few images
        models (None): names of the networks, all by default
        rounds (3): number of rounds
    """
    results = []
    for model in models or list(NETWORKS):
        count = max(256, IMAGES[model] // 4) if quick else IMAGES[model]
        results += _race(model, *_load(cifar10, count), 1 if quick else rounds)
    return results


def _load(cifar10: Path, count: int) -> tuple[list[str], NDArray[np.int64]]:
    files, names = read_tree(cifar10)
    chosen = stratified(names, count)
    return [files[index] for index in chosen], np.unique([names[index] for index in chosen], return_inverse=True)[1]


def _race(model: str, files: list[str], labels: NDArray[np.int64], rounds: int) -> list[Result]:
    best = fastest_placement(NETWORKS[model](10, 3), choose_placement())
    plain = Placement(best.device, "float32", "")
    pixels = decode_images(files, 32).pixels
    usual = UsualLoop(NETWORKS[model](10, 3), files, labels, best.device)

    def ours(placement: Placement, measurement: str) -> float:
        options = TrainingOptions(epochs=1, measure=measurement)
        result = train(model, NETWORKS[model], TrainingData(pixels, labels, 10), options, 0, placement)
        return result.reports[0].seconds

    ways = [(plain, "exact"), (plain, "online")]
    if best.precision != "float32":
        ways += [(best, "exact"), (best, "online")]
    seconds: dict[tuple[str, str], list[float]] = {(place.precision, way): [] for place, way in ways}
    theirs: list[float] = []
    # the first round warms up
    for number in range(rounds + 1):
        taken = usual.epoch()
        for placement, way in ways:
            each = ours(placement, way)
            if number:
                seconds[placement.precision, way].append(each)
        if number:
            theirs.append(taken)
    peak, flops, count = peak_flops(best.device), forward_flops(model), len(files)
    results = []
    for (precision, way), times in seconds.items():
        goal = GOALS[model][way == "online"]
        ratio = statistics.median(their / our for our, their in zip(times, theirs, strict=True))
        speed = count / statistics.median(times)
        passes = 3 + (way == "exact")
        share = passes * flops * speed / peak
        results.append(
            Result(
                stage=f"{model}: an epoch, {'exact' if way == 'exact' else 'online'} measurement, {precision}",
                ours=f"{speed:,.0f} images/s",
                theirs=f"the usual loop in float32: {count / statistics.median(theirs):,.0f} images/s",
                ratio=ratio,
                goal=f"{goal} times",
                met=ratio >= goal,
                note=f"{share:.0%} of the float32 peak of {peak / 1e9:,.0f} GFLOP/s",
            )
        )
    return results


def peak_flops(device: torch.device, dtype: torch.dtype = torch.float32, size: int = 2048) -> float:
    """Floating-point operations per second of a large matrix product, the median of eight."""
    first, second = torch.randn(2, size, size, device=device).to(dtype)
    seconds = []
    for _ in range(9):
        _wait(device)
        start = time.perf_counter()
        first @ second
        _wait(device)
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / statistics.median(seconds[1:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def forward_flops(model: str) -> int:
    """Floating-point operations of one forward pass of one image, in convolutions and linear layers."""
    network = NETWORKS[model](10, 3).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, 32, 32))
    return counter.get_total_flops()


def print_profile(model: str, cifar10: Path) -> None:
    """Print the time of an epoch by operation, in float32 and in the precision chosen for this machine."""
    files, labels = _load(cifar10, IMAGES[model] // 2)
    pixels = decode_images(files, 32).pixels
    best = fastest_placement(NETWORKS[model](10, 3), choose_placement())
    for placement in {one.precision: one for one in (Placement(best.device, "float32", ""), best)}.values():
        options = TrainingOptions(epochs=1)
        train(model, NETWORKS[model], TrainingData(pixels[:256], labels[:256], 10), options, 0, placement)
        with profile(activities=[ProfilerActivity.CPU], acc_events=True) as profiler:
            train(model, NETWORKS[model], TrainingData(pixels, labels, 10), options, 0, placement)
        print(f"\n{model}, {placement.precision}, {len(files)} images")
        print(profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=14, max_name_column_width=48))


if __name__ == "__main__":
    main()
