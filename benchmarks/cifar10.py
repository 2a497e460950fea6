"""The paper's experiment on CIFAR-10: test accuracies and correlations; with label noise, how many errors are found.

    python -m benchmarks.cifar10 --cifar10 DIR --samples 5000 --epochs 24
    python -m benchmarks.cifar10 --cifar10 DIR --samples 5000 --epochs 24 --models resnet20 --noise 0.1

Without noise it prints the test accuracy and the time of each network, and then the paper's Table 1. With noise it
replaces this share of the labels by wrong classes and prints how well low learnability finds them (AUROC and average
precision). With --keep FOLDER it saves the result of each training there, and does not repeat a training whose result
is there with the same settings. It needs no database.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from fiftyone_learnability.images.decode import decode_images
from fiftyone_learnability.scores.comparison import compare_scores
from fiftyone_learnability.training.device import choose_placement
from fiftyone_learnability.training.networks import NetworkFactory, resolve_networks
from fiftyone_learnability.training.options import TrainingOptions, default_learning_rate
from fiftyone_learnability.training.result import TrainingResult, predict_logits
from fiftyone_learnability.training.run import EpochReport, TrainingData, TrainingObserver, train
from scripts.images import read_tree, stratified


def main() -> None:
    parser = make_parser(__doc__, epochs=24, batch_size=128)
    parser.add_argument("--models", nargs="+", default=["resnet20", "mobilenet", "vgg16"])
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--noise", type=float, default=0.0, help="the share of training labels to replace")
    options = parser.parse_args()

    pixels, labels, classes = load(options.cifar10, "train", options.samples)
    test_pixels, test_labels, _ = load(options.cifar10, "test", 10_000)
    labels, wrong = replace_labels(labels, len(classes), options.noise, options.seed)
    data = TrainingData(pixels, labels, len(classes))
    placement = choose_placement(options.device)
    recipe = recipe_of(options)
    print(f"{len(labels)} training images, {options.epochs} epochs, {recipe}; {placement.reason}", flush=True)

    def run(name: str, factory: NetworkFactory, seed: int, title: str) -> dict[str, Any]:
        result = train(name, factory, data, recipe, seed, placement, EpochPrinter(name))
        learnability = result.tracker.scores()["learnability"]
        line = describe(title, result, accuracy_on(result, test_pixels, test_labels), learnability, wrong)
        return {"learnability": learnability, "line": line}

    scores: dict[str, NDArray[np.float64]] = {}
    for name, factory in resolve_networks(options.models).items():
        for seed in range(options.seed, options.seed + options.runs):
            title = name if options.runs == 1 else f"{name}.seed{seed}"
            path = options.keep / f"{name}.seed{seed}.noise{options.noise}.npz" if options.keep else None
            kept = load_or_run(path, f"{recipe} {len(labels)} samples", partial(run, name, factory, seed, title))
            scores[title] = kept["learnability"]
            print(kept["line"], flush=True)
    if len(scores) > 1:
        print(compare_scores(scores))


def describe(
    title: str,
    result: TrainingResult,
    accuracy: float,
    learnability: NDArray[np.float64],
    wrong: NDArray[np.bool_],
) -> str:
    """Summarize one training in a line."""
    line = (
        f"{title}: test accuracy {accuracy:.3f}, accuracy on the training images "
        f"{result.reports[-1].measured_accuracy:.3f}, mean learnability {learnability.mean():.3f}, "
        f"{result.seconds:.0f} s"
    )
    if wrong.any():
        hardness = 1 - learnability
        line += (
            f"; finding the {wrong.sum()} replaced labels: AUROC {roc_auc_score(wrong, hardness):.3f}, "
            f"average precision {average_precision_score(wrong, hardness):.3f}"
        )
    return line


# shared with the other benchmarks on CIFAR-10


def make_parser(description: str | None, epochs: int, batch_size: int) -> argparse.ArgumentParser:
    """Make a parser with the options that all benchmarks on CIFAR-10 share.

    Args:
        description: the text of --help
        epochs: the default of --epochs
        batch_size: the default of --batch-size
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--cifar10", type=Path, required=True, help="the CIFAR-10 image tree, DIR/{train,test}/<class>/*"
    )
    parser.add_argument("--samples", type=int, default=5000, help="training images, the same number of each class")
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--batch-size", type=int, default=batch_size)
    parser.add_argument("--lr", type=float, help="peak learning rate; default: 0.1 at batch size 128, scaled with it")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--keep", type=Path, help="the folder in which to save the result of each training")
    return parser


def recipe_of(options: argparse.Namespace, **changes: Any) -> TrainingOptions:
    """Make the training options of a command line."""
    lr = options.lr or default_learning_rate(options.batch_size)
    return TrainingOptions(epochs=options.epochs, batch_size=options.batch_size, lr=lr, **changes)


def load(folder: Path, split: str, count: int) -> tuple[NDArray[np.uint8], NDArray[np.int64], list[str]]:
    """Load the first images of each class: pixels, class numbers, and class names."""
    files, names = read_tree(folder, split)
    chosen = stratified(names, count)
    classes, labels = np.unique([names[index] for index in chosen], return_inverse=True)
    return decode_images([files[index] for index in chosen], 32).pixels, labels.astype(np.int64), classes.tolist()


def replace_labels(
    labels: NDArray[np.int64], num_classes: int, share: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Replace a share of the labels by other classes, all equally likely; return the labels and which were replaced."""
    generator = np.random.default_rng(seed)
    wrong = np.zeros(len(labels), dtype=np.bool_)
    wrong[generator.choice(len(labels), round(share * len(labels)), replace=False)] = True
    shifts = generator.integers(1, num_classes, len(labels))
    return np.where(wrong, (labels + shifts) % num_classes, labels), wrong


def accuracy_on(result: TrainingResult, pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> float:
    """Compute the accuracy of a trained network."""
    return float((predict_logits(result, pixels).argmax(axis=1) == labels).mean())


def load_or_run(path: Path | None, settings: str, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Load an earlier result with the same settings, or compute and save it.

    Args:
        path: the npz file of the result; None to save nothing
        settings: everything that the result depends on
        run: computes the result, arrays by name
    """
    if path is not None and path.exists():
        with np.load(path) as archive:
            if "settings" in archive and str(archive["settings"]) == settings:
                print(f"{path} is from an earlier run", file=sys.stderr)
                return {name: archive[name] for name in archive.files if name != "settings"}
    result = run()
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **result, settings=settings)
    return result


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
