"""The measurement of small data sets: batch norms' running statistics against those estimated anew.

    python -m benchmarks.small_data --cifar10 DIR --samples 500 --epochs 30

Prints, for one training on few images, how well the learnability agrees (Pearson) with that under exact statistics,
taken over all images at once with the weights as they are: as it is measured, and as running statistics would give it.
Then the agreement of two seeds, the final accuracies, and the share of an epoch's time that the estimate takes.
"""

from __future__ import annotations

import copy
import time

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fiftyone_learnability.training.device import choose_placement
from fiftyone_learnability.training.learner import Learner
from fiftyone_learnability.training.networks import resolve_networks
from fiftyone_learnability.training.options import TrainingOptions
from fiftyone_learnability.training.pixels import TrainingData
from fiftyone_learnability.training.run import EpochReport, TrainingObserver, train

from .cifar10 import load, make_parser, recipe_of


class Statistics(TrainingObserver):
    """Measures the network of a training after each epoch, with running and with exact statistics.

    Args:
        data: the training images
        network: the network, once it is built
    """

    def __init__(self, data: TrainingData, network: list[nn.Module]) -> None:
        self._labels, self._network = torch.from_numpy(data.labels)[:, None], network
        mean, std = map(torch.from_numpy, data.statistics)
        self._inputs = ((torch.from_numpy(data.images) / 255 - mean) / std).permute(0, 3, 1, 2)
        self.running: list[NDArray[np.float32]] = []
        self.exact: list[NDArray[np.float32]] = []
        self.accuracy = 0.0

    @torch.no_grad()
    def on_epoch(self, report: EpochReport) -> None:
        """Measure the network twice."""
        network = copy.deepcopy(self._network[0]).eval()
        logits = network(self._inputs)
        self.accuracy = float((logits.argmax(1) == self._labels[:, 0]).float().mean())
        self.running.append(self._probabilities(logits))
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
                module.train()
        network(self._inputs)
        self.exact.append(self._probabilities(network.eval()(self._inputs)))

    def _probabilities(self, logits: Tensor) -> NDArray[np.float32]:
        return logits.softmax(1).gather(1, self._labels)[:, 0].numpy()


def main() -> None:
    parser = make_parser(__doc__, epochs=30, batch_size=128)
    parser.set_defaults(samples=500, device="cpu")
    parser.add_argument("--models", nargs="+", default=["resnet20"])
    options = parser.parse_args()
    pixels, labels, classes = load(options.cifar10, "train", options.samples)
    data, recipe = TrainingData(pixels, labels, len(classes)), recipe_of(options)
    print(f"{len(data)} images, {recipe.steps_per_epoch(len(data))} steps an epoch, {options.epochs} epochs")
    for name in options.models:
        compare(name, data, recipe)


def compare(name: str, data: TrainingData, recipe: TrainingOptions) -> None:
    """Train a network with two seeds and print how its measurements agree."""
    ((name, factory),) = resolve_networks([name]).items()
    network: list[nn.Module] = []

    def build(num_classes: int, in_channels: int) -> nn.Module:
        network[:] = [factory(num_classes=num_classes, in_channels=in_channels)]
        return network[0]

    placement = choose_placement("cpu", "float32")
    observer = Statistics(data, network)
    result = train(name, build, data, recipe, 0, placement, observer)
    measured = result.scores()["learnability"]
    running, exact = (np.mean(rows, axis=0) for rows in (observer.running, observer.exact))
    other = train(name, factory, data, recipe, 1, placement).scores()["learnability"]
    print(
        f"{name}: agreement with exact statistics: as measured {correlation(measured, exact):.3f}, with running "
        f"statistics {correlation(running, exact):.3f}; of two seeds {correlation(measured, other):.3f}; final "
        f"accuracy {result.reports[-1].measured_accuracy:.3f}, with running statistics {observer.accuracy:.3f}; the "
        f"estimate takes {share_of_time(Learner(name, factory, data, recipe, 0, placement, print)):.0%} of an epoch"
    )


def correlation(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Pearson's correlation."""
    return float(np.corrcoef(one, other)[0, 1])


def share_of_time(learner: Learner) -> float:
    """The time of estimating statistics as a share of that of training an epoch, medians of three."""
    seconds: dict[str, list[float]] = {"training": [], "estimate": []}
    for epoch in range(1, 5):
        for what, call in (
            ("training", lambda: learner.train_epoch(epoch, lambda count: None)),  # noqa: B023
            ("estimate", lambda: learner.refresh_statistics(epoch)),  # noqa: B023
        ):
            start = time.perf_counter()
            call()
            seconds[what].append(time.perf_counter() - start)
    # the first of each is slower
    return float(np.median(seconds["estimate"][1:]) / np.median(seconds["training"][1:]))


if __name__ == "__main__":
    main()
