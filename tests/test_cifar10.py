"""The purpose of the scores, on real images: they find wrong labels, and networks and seeds agree on them."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import fiftyone as fo
import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

import fiftyone_learnability as fol
from benchmarks import label_errors
from benchmarks.cifar10 import load, replace_labels
from fiftyone_learnability.scores.label_errors import contradiction
from fiftyone_learnability.training.run import TrainingData

ROOT = Path(__file__).resolve().parent.parent

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

Choose = Callable[[int], tuple[list[str], list[str]]]


@pytest.fixture(autouse=True)
def _all_processors() -> Iterator[None]:
    """Train on all processors, shared with the other test processes: threads that share one wait for each other."""
    threads = torch.get_num_threads()
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
    yield
    torch.set_num_threads(threads)


def test_low_learnability_finds_replaced_labels(cifar10_train: Choose, make_dataset: Callable[..., fo.Dataset]) -> None:
    files, labels = cifar10_train(2000)
    classes, numbers = np.unique(labels, return_inverse=True)
    given, wrong = replace_labels(numbers.astype(np.int64), len(classes), 0.1, seed=0)
    dataset = make_dataset(files, classes[given].tolist())
    result = fol.compute_learnability(dataset, epochs=12, batch_size=32, progress=False)["resnet20"]
    wrong_by_file = dict(zip(files, wrong, strict=True))
    is_wrong = [wrong_by_file[file] for file in result.filepaths]
    auroc = roc_auc_score(is_wrong, -result.learnability)
    print(f"AUROC {auroc:.3f}")
    # chance is .5
    assert auroc > 0.85
    # hits rank less well, because many samples share a count
    assert auroc > roc_auc_score(is_wrong, -result.score("hits"))


def test_one_training_finds_wrong_labels_better_than_cross_validation(cifar10: Path) -> None:
    pixels, true, classes = load(cifar10, "train", 2000)
    labels, wrong = label_errors.plant(true, classes, "classwise", 0.1)
    options = argparse.Namespace(model="resnet20", epochs=12, batch_size=32, lr=None, seed=0, device="cpu")
    data = TrainingData(pixels, labels, len(classes))
    ours, folds = label_errors.train_once(options, data), label_errors.train_folds(options, data)
    hardness = {
        "ours": contradiction(ours["prediction"], labels),
        "cleanlab": label_errors.score_folds(folds, labels)["self_confidence"],
    }
    quality = {name: (roc_auc_score(wrong, h), average_precision_score(wrong, h)) for name, h in hardness.items()}
    print(f"AUROC and average precision {quality}; {ours['seconds']:.0f} s against {folds['seconds']:.0f} s")
    assert quality["ours"][0] > quality["cleanlab"][0]
    assert quality["ours"][1] > quality["cleanlab"][1]


def test_networks_and_seeds_agree(cifar10_train: Choose, make_dataset: Callable[..., fo.Dataset]) -> None:
    dataset = make_dataset(*cifar10_train(1000))
    results = fol.compute_learnability(
        dataset, models=["resnet20", "mobilenet"], runs=2, epochs=12, batch_size=32, progress=False
    )
    seeds = fol.compare_scores(dict(zip("ab", results["resnet20"].run_learnability, strict=True))).pearson[0, 1]
    models = fol.compare_models(dataset).pearson[0, 1]
    print(f"Pearson between seeds {seeds:.3f}, between networks {models:.3f}")
    assert seeds > 0.6
    assert models > 0.5


def test_the_demo_ends_with_results(cifar10: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "scripts.demo", "--out", str(tmp_path), "--cifar10", str(cifar10)]
    done = subprocess.run(
        [*command, "--samples", "100", "--epochs", "1"], cwd=ROOT, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr
    for model in ("resnet20", "vgg16", "mobilenet"):
        assert f"Hardest for {model}" in done.stdout
    assert "resnet20 ~ vgg16" in done.stdout
    assert str(tmp_path / "figure1.png") in done.stdout
    assert (tmp_path / "figure1.png").read_bytes().startswith(b"\x89PNG")
    assert "`make app` opens the App" in done.stdout
