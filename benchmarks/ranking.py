"""How near the cheaper measurements come to the exact ranking, and how few epochs are enough for it.

    python -m benchmarks.ranking --cifar10 DIR --samples 2000 --epochs 100

One training of each network, in which everything is seen: the probabilities after each epoch, on all clean images
(``measure="exact"``), and those of the training passes themselves (``measure="online"``). The measurement changes
nothing of a training, so that what ``measure_every=k`` and ``stop_when_stable`` would have found in this very training
follows from them. Printed is the Spearman correlation of each ranking with the exact one over all epochs. With --keep
FOLDER each training is kept there, and one that is there with the same settings is not repeated.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fiftyone_learnability.science.augmentation import EpochDraws
from fiftyone_learnability.science.device import choose_placement
from fiftyone_learnability.science.networks import resolve_networks
from fiftyone_learnability.science.training import EpochReport, TrainingOptions, default_learning_rate, train

from .cifar10 import load, tell


class _Watched(nn.Module):
    """A network that keeps the logits which it gives while it is trained."""

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
    """``(T, N)`` probability of the true label, after each epoch and in each epoch's training pass."""
    name = f"ranking-{model}-{options.samples}-{options.epochs}-{options.batch_size}-{options.precision}.npz"
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

    def on_state(epoch: int, state: dict[str, Any]) -> None:
        sums.append(state["tracker"]["probability_sum"].numpy().copy())

    def on_epoch(report: EpochReport) -> None:
        tell(model, report)
        order = EpochDraws.draw(len(labels), 4, True, 0, report.epoch, torch.device("cpu")).order.numpy()
        probabilities = torch.cat(logits).softmax(dim=1).numpy()
        logits.clear()
        seen = np.empty(len(labels), np.float32)
        seen[order] = probabilities[np.arange(len(order)), labels[order]]
        online.append(seen)

    placement = choose_placement(options.device, options.precision)
    train(model, watch, pixels, labels, len(classes), recipe, 0, placement, on_epoch, on_state=on_state)
    exact = np.diff(np.array(sums), axis=0, prepend=0.0).astype(np.float32)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, exact=exact, online=np.array(online))
    return exact, np.array(online)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", type=Path, required=True, help="the CIFAR-10 image tree")
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--models", nargs="+", default=["resnet20", "mobilenet", "vgg16"])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--keep", type=Path, help="a folder for the probabilities of single trainings")
    options = parser.parse_args()
    for model in options.models:
        observe(options, model)


if __name__ == "__main__":
    main()
