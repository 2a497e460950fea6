"""How fast networks are trained and measured, against the usual loop, in one run.

    python -m benchmarks.training --cifar10 DIR

One epoch with the measurement over all training images, in images a second: ours with the exact measurement, ours with
``measure="online"``, both in float32 and in the precision that is chosen here, against the usual loop
(:mod:`benchmarks.usual`) over the same files. They take turns; the ratios are medians over the rounds. Beside them
stands how much of the matrix product's peak ours reaches: three forward passes of a trained image and one of a measured
one, against products of 2,048 x 2,048 matrices. With ``--profile`` it prints instead where the time of our epoch goes.
On a machine with a CUDA GPU the same script measures there.
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
"""How many times as fast an epoch must be, with the exact measurement and online."""

IMAGES = {"resnet20": 2560, "mobilenet": 1280, "vgg16": 512}
"""So many that an epoch takes some seconds on two cores."""

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
    """Measures the networks.

    Args:
        cifar10: the CIFAR-10 image tree
        quick (False): one round of few images
        models (None): the networks, all by default
        rounds (3): how often the contestants take turns
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
        options = TrainingOptions(epochs=1, measure=measurement, compile=False)
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
    for (precision, way), found in seconds.items():
        goal = GOALS[model][way == "online"]
        ratio = statistics.median(their / our for our, their in zip(found, theirs, strict=True))
        speed = count / statistics.median(found)
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
    """Floating-point operations a second of a large matrix product, the median of some."""
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
    """Floating-point operations of one forward pass of one image: those of convolutions and linear layers."""
    network = NETWORKS[model](10, 3).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, 32, 32))
    return counter.get_total_flops()


def print_profile(model: str, cifar10: Path) -> None:
    """Prints where the time of an epoch goes, by operation, for what is plain and for what is chosen here."""
    files, labels = _load(cifar10, IMAGES[model] // 2)
    pixels = decode_images(files, 32).pixels
    best = fastest_placement(NETWORKS[model](10, 3), choose_placement())
    for placement in {one.precision: one for one in (Placement(best.device, "float32", ""), best)}.values():
        options = TrainingOptions(epochs=1, compile=False)
        train(model, NETWORKS[model], TrainingData(pixels[:256], labels[:256], 10), options, 0, placement)
        with profile(activities=[ProfilerActivity.CPU], acc_events=True) as profiler:
            train(model, NETWORKS[model], TrainingData(pixels, labels, 10), options, 0, placement)
        print(f"\n{model}, {placement.precision}, {len(files)} images")
        print(profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=14, max_name_column_width=48))


if __name__ == "__main__":
    main()
