"""Test accuracy after training on subsets of CIFAR-10 that are chosen by difficulty, compared with random subsets.

    python -m benchmarks.subsets --cifar10 DIR --samples 5000 --epochs 20 --fractions 0.3 0.5 --scores FILE.npz

Each subset keeps the class balance. All trainings have the same options and number of epochs, so training on a smaller
subset takes fewer steps. For each fraction and strategy the benchmark prints the accuracy on the 10,000 test images
(mean and range over the seeds) and the difference from random. A seed determines the training, and the subset if it is
drawn. --scores names an npz file with the learnability of each training image, in the order of loading; without it,
ResNet-20 is trained on all of them first. With --keep FOLDER it saves the result of each training there, and does not
repeat a training whose result is there with the same settings. It needs no database.
"""

from __future__ import annotations

import hashlib
import sys
from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fiftyone_learnability.scores.formulas import FloatArray, IntArray
from fiftyone_learnability.scores.subsets import STRATEGIES, choose_subset
from fiftyone_learnability.training.device import choose_placement
from fiftyone_learnability.training.networks import resolve_networks
from fiftyone_learnability.training.options import TrainingOptions
from fiftyone_learnability.training.result import TrainingResult
from fiftyone_learnability.training.run import TrainingData, train

from .cifar10 import EpochPrinter, accuracy_on, load, load_or_run, make_parser, recipe_of

NETWORK = "resnet20"


def main() -> None:
    parser = make_parser(__doc__, epochs=20, batch_size=128)
    parser.add_argument("--fractions", type=float, nargs="+", default=[0.3, 0.5])
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=list(STRATEGIES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--scores", type=Path, help="an npz file with the array learnability")
    options = parser.parse_args()

    pixels, labels, classes = load(options.cifar10, "train", options.samples)
    test_pixels, test_labels, _ = load(options.cifar10, "test", 10_000)
    placement = choose_placement(options.device)
    recipe = recipe_of(options)
    factory = resolve_networks([NETWORK])[NETWORK]
    print(f"{len(labels)} training images, {NETWORK}, {recipe}; {placement.reason}", flush=True)

    def train_on(chosen: IntArray, seed: int, title: str) -> TrainingResult:
        data = TrainingData(pixels[chosen], labels[chosen], len(classes))
        return train(NETWORK, factory, data, recipe, seed, placement, EpochPrinter(title))

    def measure_scores() -> dict[str, Any]:
        return {"learnability": train_on(np.arange(len(labels)), 0, "scores").tracker.scores()["learnability"]}

    def measure_accuracy(chosen: IntArray, seed: int, title: str) -> dict[str, Any]:
        result = train_on(chosen, seed, title)
        return {"accuracy": accuracy_on(result, test_pixels, test_labels), "seconds": result.seconds}

    if options.scores is not None:
        learnability = read_scores(options.scores, len(labels))
    else:
        path = options.keep / "scores.npz" if options.keep else None
        settings = settings_of(recipe, len(labels), np.arange(len(labels)))
        learnability = load_or_run(path, settings, measure_scores)["learnability"]

    accuracies: dict[tuple[float, str], list[float]] = defaultdict(list)
    for fraction in options.fractions:
        for strategy in options.strategies:
            for seed in options.seeds:
                title = f"{strategy} {fraction:g} seed {seed}"
                # in the order of the images, so that strategies differ only in which images they choose
                chosen = np.sort(choose_subset(learnability, fraction, strategy, classes=labels, seed=seed))
                path = options.keep / f"{strategy}.{fraction:g}.seed{seed}.npz" if options.keep else None
                settings = settings_of(recipe, len(labels), chosen)
                result = load_or_run(path, settings, partial(measure_accuracy, chosen, seed, title))
                accuracy = float(result["accuracy"])
                print(
                    f"{title}: {len(chosen)} images, test accuracy {accuracy:.4f}, {result['seconds']:.0f} s",
                    file=sys.stderr,
                    flush=True,
                )
                accuracies[fraction, strategy].append(accuracy)
    print(table(accuracies))


def read_scores(path: Path, count: int) -> FloatArray:
    """Read the learnability of each training image from a file."""
    with np.load(path) as file:
        if "learnability" not in file.files:
            sys.exit(f"{path} has no array learnability, only {', '.join(file.files)}")
        learnability = file["learnability"].astype(np.float64)
    if learnability.shape != (count,):
        sys.exit(f"{path} has learnability of the shape {learnability.shape}, but there are {count} training images")
    return learnability


def settings_of(recipe: TrainingOptions, count: int, chosen: IntArray) -> str:
    """Describe what a saved result depends on, except for the seed: training options and images."""
    return f"{recipe} {count} samples {hashlib.sha256(chosen.astype('<i8').tobytes()).hexdigest()}"


def table(accuracies: Mapping[tuple[float, str], list[float]]) -> str:
    """Format one row per fraction and strategy: mean and range over seeds, and the difference from random."""
    lines = ["| fraction | strategy | test accuracy | lowest | highest | against random |", "|---|---|---|---|---|---|"]
    for (fraction, strategy), values in accuracies.items():
        mean = float(np.mean(values))
        random = accuracies.get((fraction, "random"))
        difference = f"{mean - float(np.mean(random)):+.4f}" if random and strategy != "random" else ""
        cells = [f"{fraction:g}", strategy, f"{mean:.4f}", f"{min(values):.4f}", f"{max(values):.4f}", difference]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
