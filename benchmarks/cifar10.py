"""The paper's experiment on CIFAR-10, as large as time allows: accuracies, correlations, and label noise as a control.

    python -m benchmarks.cifar10 --cifar10 DIR --samples 5000 --epochs 24
    python -m benchmarks.cifar10 --cifar10 DIR --samples 5000 --epochs 24 --models resnet20 --noise 0.1

Without noise it prints, for each network, the accuracy on the test images and the time, and then the paper's Table 1.
With noise it replaces the labels of that share of the images by a wrong class and prints how well low learnability
finds them (AUROC and average precision). With --keep FOLDER each training's result is kept there, and a training whose
result is there with the same settings is not repeated. The database is not needed: this is the package's science alone.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from fiftyone_learnability.images.decode import decode_images
from fiftyone_learnability.scores.comparison import compare_scores
from fiftyone_learnability.training.device import choose_placement
from fiftyone_learnability.training.networks import resolve_networks
from fiftyone_learnability.training.options import TrainingOptions, default_learning_rate
from fiftyone_learnability.training.result import predict_logits
from fiftyone_learnability.training.run import EpochReport, TrainingData, TrainingObserver, train
from scripts.images import read_tree, stratified


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--cifar10", type=Path, required=True, help="the CIFAR-10 image tree, DIR/{train,test}/<class>/*"
    )
    parser.add_argument("--samples", type=int, default=5000, help="training images, the same number of each class")
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--models", nargs="+", default=["resnet20", "mobilenet", "vgg16"])
    parser.add_argument("--batch-size", type=int, default=TrainingOptions.batch_size)
    parser.add_argument("--lr", type=float, help="by default 0.1 for batches of 128, in proportion for others")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--noise", type=float, default=0.0, help="the share of training labels to replace")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--keep", type=Path, help="a folder for the results of single trainings")
    options = parser.parse_args()

    pixels, labels, classes = load(options.cifar10, "train", options.samples)
    test_pixels, test_labels, _ = load(options.cifar10, "test", 10_000)
    labels, wrong = replace_labels(labels, len(classes), options.noise, options.seed)
    placement = choose_placement(options.device)
    lr = options.lr or default_learning_rate(options.batch_size)
    recipe = TrainingOptions(epochs=options.epochs, batch_size=options.batch_size, lr=lr)
    print(f"{len(labels)} training images, {options.epochs} epochs, {recipe}; {placement.reason}", flush=True)

    scores: dict[str, NDArray[np.float64]] = {}
    for name, factory in resolve_networks(options.models).items():
        for seed in range(options.seed, options.seed + options.runs):
            title = name if options.runs == 1 else f"{name}.seed{seed}"
            kept = options.keep / f"{name}.seed{seed}.noise{options.noise}.npz" if options.keep else None
            settings = f"{recipe} {len(labels)} samples"
            if kept is not None and kept.exists() and str((done := np.load(kept))["settings"]) == settings:
                scores[title] = done["learnability"]
                print(f"{done['line']} (kept from before)", flush=True)
                continue
            result = train(
                name, factory, TrainingData(pixels, labels, len(classes)), recipe, seed, placement, EpochPrinter(name)
            )
            scores[title] = result.tracker.scores()["learnability"]
            accuracy = (predict_logits(result, test_pixels).argmax(axis=1) == test_labels).mean()
            line = (
                f"{title}: test accuracy {accuracy:.3f}, accuracy on the training images "
                f"{result.reports[-1].measured_accuracy:.3f}, mean learnability {scores[title].mean():.3f}, "
                f"{result.seconds:.0f} s"
            )
            if wrong.any():
                hardness = 1 - scores[title]
                line += (
                    f"; finding the {wrong.sum()} replaced labels: AUROC {roc_auc_score(wrong, hardness):.3f}, "
                    f"average precision {average_precision_score(wrong, hardness):.3f}"
                )
            print(line, flush=True)
            if kept is not None:
                kept.parent.mkdir(parents=True, exist_ok=True)
                np.savez(kept, learnability=scores[title], line=line, settings=settings)
    if len(scores) > 1:
        print(compare_scores(scores))


def load(folder: Path, split: str, count: int) -> tuple[NDArray[np.uint8], NDArray[np.int64], list[str]]:
    """The first images of each class as pixels, their classes as numbers, and the names of the classes."""
    files, names = read_tree(folder, split)
    chosen = stratified(names, count)
    classes, labels = np.unique([names[index] for index in chosen], return_inverse=True)
    return decode_images([files[index] for index in chosen], 32).pixels, labels.astype(np.int64), classes.tolist()


def replace_labels(
    labels: NDArray[np.int64], num_classes: int, share: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Replaces a share of the labels by another class, each other class alike; returns them and which were replaced."""
    generator = np.random.default_rng(seed)
    wrong = np.zeros(len(labels), dtype=np.bool_)
    wrong[generator.choice(len(labels), round(share * len(labels)), replace=False)] = True
    shifts = generator.integers(1, num_classes, len(labels))
    return np.where(wrong, (labels + shifts) % num_classes, labels), wrong


class EpochPrinter(TrainingObserver):
    """Prints one line per epoch on standard error."""

    def __init__(self, name: str) -> None:
        self.name = name

    def on_epoch(self, report: EpochReport) -> None:
        """Print the epoch's loss, accuracy and rate."""
        print(
            f"{self.name} {report.epoch}/{report.epochs}: loss {report.train_loss:.3f}, measured accuracy "
            f"{report.measured_accuracy:.3f}, {report.num_samples / report.seconds:.0f} samples/s",
            file=sys.stderr,
        )


if __name__ == "__main__":
    main()
