"""Finding planted label errors on CIFAR-10: the scores of one training, compared with cleanlab and cross-validation.

    python -m benchmarks.label_errors --cifar10 DIR --samples 5000 --epochs 20 --keep FOLDER
    python -m benchmarks.label_errors --cifar10 DIR --imbalance 120:40 --errors none:0 uniform:0.1 --batch-size 16

For each kind and share of errors it replaces labels of real images: "uniform" by any other class, "classwise" by the
most similar class. Our scores come from one training on all images. cleanlab gets out-of-sample probabilities, as it
recommends, from three trainings with the same options on two thirds of the images each, which take longer together. It
prints AUROC, average precision, the precision among as many samples as there are errors, the processor time, and how
many samples each method flags by itself. With --imbalance MANY:FEW the first half of the classes has MANY images each
and the other half FEW. It then also prints which share of the clean images of frequent and of rare classes is flagged,
with and without the correction for the frequency of classes; "none:0" plants no errors. With --keep FOLDER it saves the
result of each training there, and does not repeat a training whose result is there with the same settings.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold

from fiftyone_learnability.scores.label_errors import (
    MISLABELLED,
    contradiction,
    correct_prior,
    judge,
    suggest_labels,
)
from fiftyone_learnability.training.device import choose_placement
from fiftyone_learnability.training.networks import resolve_networks
from fiftyone_learnability.training.result import TrainingResult, predict_logits
from fiftyone_learnability.training.run import EpochReport, TrainingData, TrainingObserver, train

from .cifar10 import load, load_or_run, make_parser, recipe_of, replace_labels

SIMILAR = {
    "airplane": "bird",
    "automobile": "truck",
    "bird": "airplane",
    "cat": "dog",
    "deer": "horse",
    "dog": "cat",
    "frog": "deer",
    "horse": "deer",
    "ship": "airplane",
    "truck": "automobile",
}
FOLDS = 3
ROWS = ("uniform:0.05", "uniform:0.1", "uniform:0.4", "classwise:0.05", "classwise:0.1", "classwise:0.4")

Outcome = dict[str, Any]
"""Arrays and numbers by name, which can be saved."""


def main() -> None:
    parser = make_parser(__doc__, epochs=20, batch_size=64)
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--errors", nargs="+", default=list(ROWS), metavar="KIND:SHARE")
    parser.add_argument("--smoothing", type=float, nargs="+", default=[], help="further smoothings to try")
    parser.add_argument("--seed", type=int, default=0, help="the seed of the trainings; the errors do not depend on it")
    parser.add_argument("--imbalance", metavar="MANY:FEW", help="images of each frequent and of each rare class")
    parser.add_argument("--without-cleanlab", action="store_true", help="train once for each row, without the folds")
    options = parser.parse_args()

    pixels, true, classes = _load_images(options)
    folds_text = "without cleanlab" if options.without_cleanlab else f"{FOLDS} folds for cleanlab"
    print(f"{len(true)} images, {options.model}, {options.epochs} epochs, {folds_text}", flush=True)
    for row in options.errors:
        kind, share = row.split(":")
        labels, wrong = plant(true, classes, kind, float(share))
        data = TrainingData(pixels, labels, len(classes))
        print(f"\n{kind}, {float(share):.0%}: {wrong.sum()} wrong labels")
        ours = _load_or_train(options, f"ours-{kind}-{share}", data, train_once)
        if options.imbalance:
            print_clean_flags(ours, labels, wrong, true < len(classes) // 2)
        if not wrong.any():
            continue
        folds = None
        if not options.without_cleanlab:
            folds = _load_or_train(options, f"folds-{kind}-{share}", data, train_folds)
        print_rows(ours, folds, labels, wrong, options.smoothing)


def print_rows(
    ours: Outcome, folds: Outcome | None, labels: NDArray[np.int64], wrong: NDArray[np.bool_], smoothings: list[float]
) -> None:
    """Print how well each score of one training, and of cleanlab if there are folds, finds the wrong labels."""
    print(f"  {'score':<42} {'AUROC':>6} {'AP':>6} {'P@n':>6} {'CPU s':>6}")
    for name, hardness in score_training(ours, labels, smoothings).items():
        _print_score(name, wrong, hardness, float(ours["seconds"]))
    if folds is not None:
        for name, hardness in score_folds(folds, labels).items():
            _print_score(f"cleanlab {name}", wrong, hardness, float(folds["seconds"]))
    _print_flags("verdict: mislabelled", wrong, flag(correct_prior(ours["prediction"]), labels))
    _print_flags("  without correction for class frequency", wrong, flag(ours["prediction"], labels))
    if folds is not None:
        _print_flags("cleanlab find_label_issues", wrong, find_label_issues(labels, folds["prediction"]))


def print_clean_flags(
    ours: Outcome, labels: NDArray[np.int64], wrong: NDArray[np.bool_], frequent: NDArray[np.bool_]
) -> None:
    """Print which share of the clean images of frequent and of rare classes is flagged."""
    corrected = flag(correct_prior(ours["prediction"]), labels)
    for name, flagged in (("corrected", corrected), ("uncorrected", flag(ours["prediction"], labels))):
        many, few = flagged[frequent & ~wrong].mean(), flagged[~frequent & ~wrong].mean()
        print(f"  clean images flagged, {name}: {many:.1%} of frequent classes, {few:.1%} of rare ones", flush=True)


def flag(prediction: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which labels are called mislabelled."""
    _, confidence = suggest_labels(prediction, labels)
    return judge(contradiction(prediction, labels), confidence) == MISLABELLED


def plant(
    true: NDArray[np.int64], classes: list[str], kind: str, share: float
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Replace a share of the labels by any other class or by the most similar one; return labels and replacements."""
    labels, wrong = replace_labels(true, len(classes), share, seed=0)
    if kind == "uniform" or not share:
        return labels, wrong
    if kind != "classwise":
        raise SystemExit(f"unknown kind of errors {kind!r}: uniform or classwise")
    similar = np.array([classes.index(SIMILAR[name]) for name in classes])
    return np.where(wrong, similar[true], true), wrong


def train_once(options: argparse.Namespace, data: TrainingData) -> Outcome:
    """Train once on all images: scores, mean prediction and processor time."""
    start = time.process_time()
    tracker = _train(options, data).tracker
    return {**tracker.scores(), "prediction": tracker.mean_prediction, "seconds": time.process_time() - start}


def train_folds(options: argparse.Namespace, data: TrainingData) -> Outcome:
    """Cross-validate: out-of-sample probabilities, and the processor time without our measurements."""
    prediction = np.zeros((len(data), data.num_classes))
    seconds = 0.0
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=options.seed)
    for inside, outside in folds.split(data.images, data.labels):
        clock = _TrainingClock()
        part = TrainingData(data.images[inside], data.labels[inside], data.num_classes)
        result = _train(options, part, clock)
        seconds += clock.seconds
        prediction[outside] = softmax(predict_logits(result, data.images[outside]).astype(np.float64), axis=1)
    return {"prediction": prediction, "seconds": seconds}


class _TrainingClock(TrainingObserver):
    """Measures the processor time of a training without our measurements, which cross-validation does not need."""

    def __init__(self) -> None:
        self.seconds, self._since = 0.0, time.process_time()

    def on_batch(self, count: int) -> None:
        self.seconds, self._since = self.seconds + time.process_time() - self._since, time.process_time()

    def on_epoch(self, report: EpochReport) -> None:
        self._since = time.process_time()


def score_training(
    outcome: Outcome, labels: NDArray[np.int64], smoothings: list[float]
) -> dict[str, NDArray[np.float64]]:
    """Score how suspicious each label is, by the results of one training."""
    prediction = correct_prior(outcome["prediction"])
    return {
        "contradiction (suggest_label_fixes)": contradiction(prediction, labels),
        "  without correction for class frequency": contradiction(outcome["prediction"], labels),
        **{f"  with smoothing {value:g}": contradiction(prediction, labels, value) for value in smoothings},
        "1 - learnability": -outcome["learnability"],
        "1 - hits": -outcome["hits"],
        "-AUM": -outcome["aum"],
    }


def score_folds(outcome: Outcome, labels: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """Score how suspicious each label is, by cleanlab's methods; self_confidence is its default."""
    return {
        method: -get_label_quality_scores(labels, outcome["prediction"], method=method)
        for method in ("self_confidence", "normalized_margin", "confidence_weighted_entropy")
    }


def _load_images(options: argparse.Namespace) -> tuple[NDArray[np.uint8], NDArray[np.int64], list[str]]:
    if options.imbalance is None:
        return load(options.cifar10, "train", options.samples)
    many, few = map(int, options.imbalance.split(":"))
    pixels, true, classes = load(options.cifar10, "train", 10 * many)
    position = np.array([np.count_nonzero(true[:row] == label) for row, label in enumerate(true)])
    kept = (true < len(classes) // 2) | (position < few)
    return pixels[kept], true[kept], classes


def _train(options: argparse.Namespace, data: TrainingData, observer: TrainingObserver | None = None) -> TrainingResult:
    factory = resolve_networks([options.model])[options.model]
    placement = choose_placement(options.device)
    return train(options.model, factory, data, recipe_of(options), options.seed, placement, observer)


def _load_or_train(
    options: argparse.Namespace,
    name: str,
    data: TrainingData,
    run: Callable[[argparse.Namespace, TrainingData], Outcome],
) -> Outcome:
    path = options.keep / f"{name}.npz" if options.keep else None
    settings = f"{options.model} {recipe_of(options)} {len(data)} samples seed {options.seed}"
    settings += f" imbalance {options.imbalance}" if options.imbalance else ""
    return load_or_run(path, settings, lambda: run(options, data))


def _print_score(name: str, wrong: NDArray[np.bool_], hardness: NDArray[np.float64], seconds: float) -> None:
    first = np.argsort(-hardness, kind="stable")[: wrong.sum()]
    print(
        f"  {name:<42} {roc_auc_score(wrong, hardness):6.3f} {average_precision_score(wrong, hardness):6.3f} "
        f"{wrong[first].mean():6.3f} {seconds:6.0f}",
        flush=True,
    )


def _print_flags(name: str, wrong: NDArray[np.bool_], flagged: NDArray[np.bool_]) -> None:
    precision = wrong[flagged].mean() if flagged.any() else np.nan
    print(
        f"  {name}: {flagged.sum()} flagged, precision {precision:.3f}, recall {wrong[flagged].sum() / wrong.sum():.3f}"
    )


if __name__ == "__main__":
    main()
