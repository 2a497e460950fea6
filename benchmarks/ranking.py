"""How close the cheaper measurements come to the exact ranking, and how few epochs suffice for it.

    python -m benchmarks.ranking --cifar10 DIR --samples 2000 --epochs 100

Trains each network once and records all probabilities: after each epoch on all clean images (``measure="exact"``), and
in the training passes themselves (``measure="online"``). The measurement does not change a training, so the results of
``measure_every=k`` and ``stop_when_stable`` in the same training follow from these. The script prints the Spearman
correlation of each ranking with the exact one over all epochs. --keep FOLDER stores the trainings there, and does not
repeat those that it finds there with the same settings.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fiftyone_learnability.scores.comparison import spearman
from fiftyone_learnability.training.augmentation import EpochDraws
from fiftyone_learnability.training.device import choose_placement
from fiftyone_learnability.training.networks import NETWORKS, resolve_networks
from fiftyone_learnability.training.options import DEFAULT_BOUND, TrainingOptions, default_learning_rate
from fiftyone_learnability.training.run import EpochReport, TrainingData, train
from fiftyone_learnability.training.stopping import RankingStability
from scripts.images import read_tree, stratified

from .cifar10 import EpochPrinter, load
from .table import Result
from .usual import UsualLoop

TRUSTED = 0.97
"""A ranking is trusted from this Spearman correlation with the exact ranking over all epochs."""


class _Watched(nn.Module):
    """A network that records its logits in training mode."""

    def __init__(self, network: nn.Module, kept: list[Tensor]) -> None:
        super().__init__()
        self.network = network
        self.keep: Callable[[Tensor], None] = kept.append

    def forward(self, images: Tensor) -> Tensor:
        logits = self.network(images)
        if self.training:
            self.keep(logits.detach().float())
        return logits


def observe(options: argparse.Namespace, model: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """``(T, N)`` probability of the true label, after each epoch and in each training pass."""
    placement = choose_placement(options.device, options.precision)
    name = f"ranking-{model}-{options.samples}-{options.epochs}-{options.batch_size}-{placement.precision}.npz"
    path = options.keep / name if options.keep else None
    if path is not None and path.exists():
        kept = np.load(path)
        return kept["exact"], kept["online"]
    pixels, labels, classes = load(options.cifar10, "train", options.samples)
    recipe = TrainingOptions(options.epochs, options.batch_size, default_learning_rate(options.batch_size))
    factory = resolve_networks([model])[model]
    logits: list[Tensor] = []
    sums: list[NDArray[np.float64]] = []
    online: list[NDArray[np.float32]] = []

    def watch(num_classes: int, in_channels: int) -> nn.Module:
        return _Watched(factory(num_classes=num_classes, in_channels=in_channels), logits)

    class Recorder(EpochPrinter):
        def on_state(self, epoch: int, state: Callable[[], dict[str, Any]]) -> None:
            sums.append(state()["tracker"]["probability_sum"].numpy().copy())

        def on_epoch(self, report: EpochReport) -> None:
            super().on_epoch(report)
            order = EpochDraws.draw(len(labels), 4, True, 0, report.epoch, torch.device("cpu")).order.numpy()
            probabilities = torch.cat(logits).softmax(dim=1).numpy()
            logits.clear()
            seen = np.empty(len(labels), np.float32)
            seen[order] = probabilities[np.arange(len(order)), labels[order]]
            online.append(seen)

    train(model, watch, TrainingData(pixels, labels, len(classes)), recipe, 0, placement, Recorder(model))
    exact = np.diff(np.array(sums), axis=0, prepend=0.0).astype(np.float32)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, exact=exact, online=np.array(online))
    return exact, np.array(online)


@dataclass(frozen=True)
class Ranking:
    """The ranking by one way to measure.

    Attributes:
        way: the options that select it
        correlation: Spearman's correlation of its ranking with the exact one over all epochs
        epochs: number of epochs trained
        measured: number of epochs with a measuring pass
    """

    way: str
    correlation: float
    epochs: int
    measured: int


def rankings(exact: NDArray[np.float32], online: NDArray[np.float32], bound: float = DEFAULT_BOUND) -> list[Ranking]:
    """The rankings that each way to measure would have given for the same training.

    Args:
        exact: ``(T, N)`` probability of the true label after each epoch
        online: ``(T, N)`` probability of the true label in each training pass
        bound: the bound of ``stop_when_stable``
    """
    epochs = len(exact)
    whole = exact.mean(axis=0, dtype=np.float64)
    results = []
    for source, every, stops in (
        *[(exact, every, False) for every in (2, 3, 5, 10)],
        (online, 1, False),
        *[(exact, every, True) for every in (1, 2, 3)],
        (online, 1, True),
    ):
        rows = np.array(TrainingOptions(epochs, measure_every=every).measured_epochs) - 1
        way = ["measure='online'"] if source is online else [] if every == 1 else [f"measure_every={every}"]
        if stops:
            stability = RankingStability(len(whole), len(rows), bound)
            stop = next((end for end, row in enumerate(rows, start=1) if stability.add(source[row])), len(rows))
            rows = rows[:stop]
            way.append(f"stop_when_stable={bound:g}")
        ranking = source[rows].mean(axis=0, dtype=np.float64)
        measured = 0 if source is online else len(rows)
        results.append(Ranking(", ".join(way), spearman(ranking, whole), int(rows[-1]) + 1, measured))
    return results


def settling(probabilities: NDArray[np.float32], whole: NDArray[np.float32]) -> list[tuple[int, float]]:
    """For each tenth of the epochs: their number, and the correlation of their ranking with the exact one over all."""
    final, epochs = whole.mean(axis=0, dtype=np.float64), len(whole)
    ends = [round(epochs * tenth / 10) for tenth in range(1, 10)]
    return [(end, spearman(probabilities[:end].mean(axis=0, dtype=np.float64), final)) for end in ends]


def measure(cifar10: Path, samples: int = 2000, epochs: int = 100) -> list[Result]:
    """Time until ResNet-20 has a trusted ranking, compared with the usual loop over all epochs.

    Args:
        cifar10: the CIFAR-10 image tree
        samples (2000): number of images
        epochs (100): number of epochs of the whole training
    """
    options = argparse.Namespace(
        cifar10=cifar10, samples=samples, epochs=epochs, batch_size=64, device="auto", precision="auto", keep=None
    )
    exact, _ = observe(options, "resnet20")
    pixels, labels, classes = load(cifar10, "train", samples)
    recipe = TrainingOptions(epochs, 64, default_learning_rate(64), stop_when_stable=DEFAULT_BOUND)
    start = time.perf_counter()
    placement = choose_placement()
    result = train("resnet20", NETWORKS["resnet20"], TrainingData(pixels, labels, len(classes)), recipe, 0, placement)
    ours = time.perf_counter() - start
    correlation = spearman(result.scores()["learnability"], exact.mean(axis=0, dtype=np.float64))
    files, names = read_tree(cifar10)
    usual = UsualLoop(
        NETWORKS["resnet20"](10, 3), [files[index] for index in stratified(names, samples)], labels, placement.device
    )
    usual.epoch()
    theirs = statistics.median(usual.epoch() for _ in range(3)) * epochs
    trained = len(result.reports)
    return [
        Result(
            stage=f"resnet20: a ranking of {samples:,} images, {placement.precision}, stop_when_stable",
            ours=f"{ours:.0f} s, {trained} epochs",
            theirs=f"the usual loop, {epochs} epochs: {theirs:.0f} s (from three)",
            ratio=theirs / ours,
            goal=f"4 times, Spearman {TRUSTED} with all {epochs} epochs",
            met=theirs / ours >= 4 and correlation >= TRUSTED,
            note=f"Spearman {correlation:.3f} at {trained / epochs:.0%} of the epochs",
        )
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", type=Path, required=True, help="the CIFAR-10 image tree")
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--models", nargs="+", default=["resnet20", "mobilenet", "vgg16"])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--keep", type=Path, help="folder that stores the probabilities of each training")
    options = parser.parse_args()
    print(f"{options.samples} images, {options.epochs} epochs\n")
    print("| network | measurement | Spearman with exact, all epochs | epochs trained | epochs measured |")
    print("|---|---|---|---|---|")
    curves = []
    for model in options.models:
        exact, online = observe(options, model)
        for ranking in rankings(exact, online):
            numbers = f"{ranking.correlation:.3f} | {ranking.epochs} | {ranking.measured}"
            print(f"| {model} | {ranking.way} | {numbers} |", flush=True)
        for name, source in (("exact", exact), ("online", online)):
            points = ", ".join(f"{end}: {correlation:.3f}" for end, correlation in settling(source, exact))
            curves.append(f"{model}, {name}, over the first epochs: {points}")
    print("", *curves, sep="\n")


if __name__ == "__main__":
    main()
