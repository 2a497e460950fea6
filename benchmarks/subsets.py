"""Which part of CIFAR-10 to train on: the accuracy that subsets chosen by difficulty reach, against random ones.

    python -m benchmarks.subsets --cifar10 DIR --samples 5000 --epochs 20 --fractions 0.3 0.5 --scores FILE.npz

Each subset keeps the balance of classes. All trainings have the same recipe and number of epochs, so that those on
smaller subsets take fewer steps. It prints, for each fraction and strategy, the accuracy on the 10,000 test images
(mean and range over the seeds) and the difference to random. A seed is that of the training and of the choice, where
that is drawn. --scores names an npz file with the learnability of each training image, in the order in which they are
loaded; without it ResNet-20 is trained on all of them first. With --keep FOLDER the result of each training is kept
there, and a training whose result is there with the same settings is not repeated. The database is not needed.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from benchmarks.cifar10 import EpochPrinter, load
from fiftyone_learnability.scores.formulas import FloatArray
from fiftyone_learnability.scores.subsets import STRATEGIES, choose_subset
from fiftyone_learnability.training.device import choose_placement
from fiftyone_learnability.training.networks import resolve_networks
from fiftyone_learnability.training.options import TrainingOptions, default_learning_rate
from fiftyone_learnability.training.result import TrainingResult, predict_logits
from fiftyone_learnability.training.run import TrainingData, train

NETWORK = "resnet20"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--cifar10", type=Path, required=True, help="the CIFAR-10 image tree, DIR/{train,test}/<class>/*"
    )
    parser.add_argument("--samples", type=int, default=5000, help="training images, the same number of each class")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--fractions", type=float, nargs="+", default=[0.3, 0.5])
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=list(STRATEGIES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--scores", type=Path, help="an npz file with the array learnability")
    parser.add_argument("--batch-size", type=int, default=TrainingOptions.batch_size)
    parser.add_argument("--lr", type=float, help="by default 0.1 for batches of 128, in proportion for others")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--keep", type=Path, help="a folder for the results of single trainings")
    options = parser.parse_args()

    pixels, labels, classes = load(options.cifar10, "train", options.samples)
    test_pixels, test_labels, _ = load(options.cifar10, "test", 10_000)
    placement = choose_placement(options.device)
    lr = options.lr or default_learning_rate(options.batch_size)
    recipe = TrainingOptions(epochs=options.epochs, batch_size=options.batch_size, lr=lr)
    factory = resolve_networks([NETWORK])[NETWORK]
    print(f"{len(labels)} training images, {NETWORK}, {recipe}; {placement.reason}", flush=True)

    def train_on(chosen: np.ndarray, seed: int, title: str) -> TrainingResult:
        data = TrainingData(pixels[chosen], labels[chosen], len(classes))
        return train(NETWORK, factory, data, recipe, seed, placement, EpochPrinter(title))

    everything = np.arange(len(labels))
    if options.scores is not None:
        learnability = read_scores(options.scores, len(labels))
    else:
        kept = options.keep / "scores.npz" if options.keep else None
        settings = settings_of(recipe, len(labels), everything)
        if kept is not None and kept.exists() and str((done := np.load(kept))["settings"]) == settings:
            learnability = done["learnability"]
        else:
            learnability = train_on(everything, 0, "scores").tracker.scores()["learnability"]
            if kept is not None:
                kept.parent.mkdir(parents=True, exist_ok=True)
                np.savez(kept, learnability=learnability, settings=settings)

    accuracies: dict[tuple[float, str], list[float]] = defaultdict(list)
    for fraction in options.fractions:
        for strategy in options.strategies:
            for seed in options.seeds:
                title = f"{strategy} {fraction:g} seed {seed}"
                chosen = choose_subset(learnability, fraction, strategy, classes=labels, seed=seed)
                # in the order of the images: the order of the subset is no part of the comparison
                chosen.sort()
                kept = options.keep / f"{strategy}.{fraction:g}.seed{seed}.npz" if options.keep else None
                settings = settings_of(recipe, len(labels), chosen)
                if kept is not None and kept.exists() and str((done := np.load(kept))["settings"]) == settings:
                    accuracy, note = float(done["accuracy"]), " (kept from before)"
                else:
                    result = train_on(chosen, seed, title)
                    accuracy = float((predict_logits(result, test_pixels).argmax(axis=1) == test_labels).mean())
                    note = f", {result.seconds:.0f} s"
                    if kept is not None:
                        kept.parent.mkdir(parents=True, exist_ok=True)
                        np.savez(kept, accuracy=accuracy, settings=settings)
                print(f"{title}: {len(chosen)} images, test accuracy {accuracy:.4f}{note}", file=sys.stderr, flush=True)
                accuracies[fraction, strategy].append(accuracy)
    print(table(accuracies))


def read_scores(path: Path, count: int) -> FloatArray:
    """The learnability in a file, one of each training image."""
    with np.load(path) as file:
        if "learnability" not in file.files:
            sys.exit(f"{path} has no array learnability, only {', '.join(file.files)}")
        learnability = file["learnability"].astype(np.float64)
    if learnability.shape != (count,):
        sys.exit(f"{path} has learnability of the shape {learnability.shape}, but there are {count} training images")
    return learnability


def settings_of(recipe: TrainingOptions, count: int, chosen: np.ndarray) -> str:
    """What a kept result depends on, besides the seed in its name: the recipe, and which of the images were used."""
    return f"{recipe} {count} samples {hashlib.sha256(chosen.astype('<i8').tobytes()).hexdigest()}"


def table(accuracies: dict[tuple[float, str], list[float]]) -> str:
    """One row a fraction and strategy: mean and range over the seeds, and the difference of means to random."""
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
