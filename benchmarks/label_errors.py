"""Finding planted label errors: scores of one training against cleanlab with cross-validation, the way it recommends.

    python -m benchmarks.label_errors --cifar10 DIR --samples 5000 --epochs 20 --keep FOLDER

For each kind and share of errors the labels of real images are replaced: "uniform" by any other class, "classwise" by
the class that is most easily taken for it. Ours is one training of the network over all images; cleanlab gets
out-of-sample probabilities of three trainings with the same recipe, each on two thirds of them, which together take
longer. Printed are AUROC, average precision, the precision among as many samples as there are errors, the processor
time, and what each flags by itself. With --keep FOLDER each training's result is kept there, and a training that is
there with the same settings is not repeated.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold

from fiftyone_learnability.scores.label_errors import MISLABELLED, contradiction, judge, suggest_labels
from fiftyone_learnability.training.device import choose_placement
from fiftyone_learnability.training.networks import resolve_networks
from fiftyone_learnability.training.options import TrainingOptions, default_learning_rate
from fiftyone_learnability.training.result import predict_logits
from fiftyone_learnability.training.run import EpochReport, TrainingData, TrainingObserver, train

from .cifar10 import load, replace_labels

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

Found = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", type=Path, required=True, help="the CIFAR-10 image tree")
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--errors", nargs="+", default=list(ROWS), metavar="KIND:SHARE")
    parser.add_argument("--smoothing", type=float, nargs="+", default=[], help="other smoothings to try")
    parser.add_argument("--seed", type=int, default=0, help="of the trainings; the errors are always the same")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--keep", type=Path, help="a folder for the results of single trainings")
    options = parser.parse_args()

    pixels, true, classes = load(options.cifar10, "train", options.samples)
    print(f"{len(true)} images, {options.model}, {options.epochs} epochs, {FOLDS} folds for cleanlab", flush=True)
    for row in options.errors:
        kind, share = row.split(":")
        labels, wrong = plant(true, classes, kind, float(share))
        ours = _kept(options, "ours", row, lambda: train_once(options, pixels, labels, len(classes)))  # noqa: B023
        theirs = _kept(options, "folds", row, lambda: train_folds(options, pixels, labels, len(classes)))  # noqa: B023
        print(f"\n{kind}, {float(share):.0%}: {wrong.sum()} wrong labels")
        print(f"  {'score':<36} {'AUROC':>6} {'AP':>6} {'P@n':>6} {'CPU s':>6}")
        for name, hardness in ours_by_name(ours, labels, options.smoothing).items():
            _tell(name, wrong, hardness, float(ours["seconds"]))
        for name, hardness in theirs_by_name(theirs, labels).items():
            _tell(f"cleanlab {name}", wrong, hardness, float(theirs["seconds"]))
        _, confidence = suggest_labels(ours["prediction"], labels)
        flagged = judge(contradiction(ours["prediction"], labels), confidence) == MISLABELLED
        _tell_flags("verdict: mislabelled", wrong, flagged)
        _tell_flags("cleanlab find_label_issues", wrong, find_label_issues(labels, theirs["prediction"]))


def plant(
    true: NDArray[np.int64], classes: list[str], kind: str, share: float
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Replaces a share of the labels: by any other class, or by the similar one; returns them and which were."""
    labels, wrong = replace_labels(true, len(classes), share, seed=0)
    if kind == "uniform":
        return labels, wrong
    if kind != "classwise":
        raise SystemExit(f"unknown kind of errors {kind!r}: uniform or classwise")
    similar = np.array([classes.index(SIMILAR[name]) for name in classes])
    return np.where(wrong, similar[true], true), wrong


def train_once(
    options: argparse.Namespace, pixels: NDArray[np.uint8], labels: NDArray[np.int64], classes: int
) -> Found:
    """All that one training has measured."""
    start = time.process_time()
    result = _train(options, pixels, labels, classes)
    prediction = result.tracker.mean_prediction
    return {**result.tracker.scores(), "prediction": prediction, "seconds": time.process_time() - start}


def train_folds(
    options: argparse.Namespace, pixels: NDArray[np.uint8], labels: NDArray[np.int64], classes: int
) -> Found:
    """Out-of-sample probabilities, and the processor time of the trainings without our measurement."""
    prediction = np.zeros((len(labels), classes))
    seconds = 0.0
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=options.seed)
    for inside, outside in folds.split(pixels, labels):
        clock = _TrainingClock()
        result = _train(options, pixels[inside], labels[inside], classes, clock)
        seconds += clock.seconds
        prediction[outside] = softmax(predict_logits(result, pixels[outside]).astype(np.float64), axis=1)
    return {"prediction": prediction, "seconds": seconds}


class _TrainingClock(TrainingObserver):
    """Counts the processor time of a training without its measuring passes, which cross-validation has no use for."""

    def __init__(self) -> None:
        self.seconds, self._since = 0.0, time.process_time()

    def on_batch(self, count: int) -> None:
        self.seconds, self._since = self.seconds + time.process_time() - self._since, time.process_time()

    def on_epoch(self, report: EpochReport) -> None:
        self._since = time.process_time()


def ours_by_name(ours: Found, labels: NDArray[np.int64], smoothings: list[float]) -> dict[str, NDArray[np.float64]]:
    """How suspicious each sample is, by score."""
    return {
        "contradiction (suggest_label_fixes)": contradiction(ours["prediction"], labels),
        **{f"  with smoothing {value:g}": contradiction(ours["prediction"], labels, value) for value in smoothings},
        "1 - learnability": -ours["learnability"],
        "1 - hits": -ours["hits"],
        "-AUM": -ours["aum"],
    }


def theirs_by_name(theirs: Found, labels: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """How suspicious each sample is, by cleanlab's scores; self-confidence is its default."""
    return {
        method: -get_label_quality_scores(labels, theirs["prediction"], method=method)
        for method in ("self_confidence", "normalized_margin", "confidence_weighted_entropy")
    }


def _train(
    options: argparse.Namespace,
    pixels: NDArray[np.uint8],
    labels: NDArray[np.int64],
    classes: int,
    observer: TrainingObserver | None = None,
) -> Any:
    lr = default_learning_rate(options.batch_size)
    recipe = TrainingOptions(epochs=options.epochs, batch_size=options.batch_size, lr=lr)
    factory = resolve_networks([options.model])[options.model]
    placement = choose_placement(options.device)
    data = TrainingData(pixels, labels, classes)
    return train(options.model, factory, data, recipe, options.seed, placement, observer)


def _kept(options: argparse.Namespace, what: str, row: str, make: Any) -> Found:
    settings = f"{options.model}-{options.samples}-{options.epochs}-{options.batch_size}-{options.seed}"
    path = options.keep / f"{what}-{settings}-{row.replace(':', '-')}.npz" if options.keep else None
    if path is not None and path.exists():
        with np.load(path) as archive:
            return dict(archive)
    found = make()
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **found)
    return found


def _tell(name: str, wrong: NDArray[np.bool_], hardness: NDArray[np.float64], seconds: float) -> None:
    first = np.argsort(-hardness, kind="stable")[: wrong.sum()]
    print(
        f"  {name:<36} {roc_auc_score(wrong, hardness):6.3f} {average_precision_score(wrong, hardness):6.3f} "
        f"{wrong[first].mean():6.3f} {seconds:6.0f}",
        flush=True,
    )


def _tell_flags(name: str, wrong: NDArray[np.bool_], flagged: NDArray[np.bool_]) -> None:
    precision = wrong[flagged].mean() if flagged.any() else np.nan
    print(
        f"  {name}: {flagged.sum()} flagged, precision {precision:.3f}, recall {wrong[flagged].sum() / wrong.sum():.3f}"
    )


if __name__ == "__main__":
    main()
