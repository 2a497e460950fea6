"""Datasets of any size without images, with random results of trainings; a million samples take seconds.

They need their own database, which :func:`own_database` starts.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scripts.database import use_own_database

if TYPE_CHECKING:
    import fiftyone as fo

    from fiftyone_learnability.experiment.results import ModelResults

MODELS = ("resnet20", "vgg16", "mobilenet")
NUM_CLASSES = 10

_CHUNK = 1_000
_OURS = "LEARNABILITY_BENCHMARK_DATABASE"
"""Set while FiftyOne uses a benchmark database, so that it is not mistaken for the user's."""


def own_database() -> None:
    """Make FiftyOne, here and in child processes, use a database that is deleted when this process ends.

    Raises:
        RuntimeError: if fiftyone was imported before, with another database
    """
    if _OURS in os.environ:
        # started by an earlier benchmark or by the parent process
        return
    folder = tempfile.mkdtemp(prefix="learnability-benchmark-")
    # registered first, so it runs last, after mongod has stopped
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    use_own_database(Path(folder) / "db")
    os.environ.update({"FIFTYONE_DEFAULT_DATASET_DIR": folder, _OURS: folder})


def synthetic_dataset(count: int) -> fo.Dataset:
    """Make a dataset inside MongoDB whose samples look as if FiftyOne had added them.

    Args:
        count: the number of samples, a multiple of 1,000

    Raises:
        ValueError: if ``count`` is not a multiple of 1,000
    """
    import fiftyone as fo

    from fiftyone_learnability.dataset.internals import sample_collection

    if count % _CHUNK:
        raise ValueError(f"count must be a multiple of {_CHUNK}, not {count}")
    dataset = fo.Dataset()
    # a template for all others
    dataset.add_sample(fo.Sample("/no/such/0.png", ground_truth=fo.Classification(label="class 0")))
    collection = sample_collection(dataset)
    nine = {"$substrCP": [{"$toString": {"$add": ["$number", 1_000_000_000]}}, 1, 9]}
    made: dict[str, Any] = {
        "_id": {"$toObjectId": {"$concat": ["656565656565656", nine]}},
        "filepath": {"$concat": ["/no/such/", nine, ".png"]},
        "_rand": {"$rand": {}},
        "ground_truth._id": {"$toObjectId": {"$concat": ["656565656565657", nine]}},
        "ground_truth.label": {"$concat": ["class ", {"$toString": {"$mod": ["$number", NUM_CLASSES]}}]},
    }
    collection.aggregate(
        [
            {"$set": {"chunk": {"$range": [0, count // _CHUNK]}}},
            {"$unwind": "$chunk"},
            {"$set": {"place": {"$range": [0, _CHUNK]}}},
            {"$unwind": "$place"},
            {"$set": {"number": {"$add": [{"$multiply": ["$chunk", _CHUNK]}, "$place"]}}},
            {"$set": made},
            {"$unset": ["chunk", "place", "number"]},
            # replaces the template and keeps its indexes
            {"$out": collection.name},
        ]
    )
    dataset.reload()
    return dataset


def sample_ids(count: int) -> list[str]:
    """Return the ids of a synthetic dataset, in order."""
    return [f"656565656565656{number:09d}" for number in range(count)]


def synthetic_results(count: int, epochs: int, dynamics: bool, scores: tuple[str, ...] = ()) -> dict[str, ModelResults]:
    """Make results of three networks over a synthetic dataset, which correlate about as strongly as in the paper.

    Args:
        count: the number of samples
        epochs: the epochs of each training
        dynamics: True to keep the probability of each label after each epoch
        scores: further scores beside learnability, drawn at random
    """
    from fiftyone_learnability.experiment.results import ModelResults, RunRecord

    rng = np.random.default_rng(0)
    ids = np.array(sample_ids(count))
    files = np.array([f"/no/such/{number:09d}.png" for number in range(count)])
    classes = tuple(f"class {number}" for number in range(NUM_CLASSES))
    ease = rng.normal(1, 1.5, count).astype(np.float32)
    results = {}
    for model in MODELS:
        own = ease + rng.normal(0, 0.7, count).astype(np.float32)
        if dynamics:
            kept = np.empty((epochs, count), np.float16)
            for epoch, speed in enumerate(np.linspace(-2, 2, epochs)):
                kept[epoch] = 1 / (1 + np.exp(-(own + speed)))
            learnability = kept.mean(axis=0, dtype=np.float64)
        else:
            kept, learnability = None, 1 / (1 + np.exp(-own.astype(np.float64)))
        measured = {"learnability": learnability, **{name: rng.random(count) / 2 for name in scores}}
        loss, trained, right, seconds = (rng.random(epochs) for _ in range(4))
        record = RunRecord(model, 0, measured, loss, trained, right, seconds, kept)
        results[model] = ModelResults.from_runs([record], ids, files, np.arange(count) % NUM_CLASSES, classes, {})
    return results


def settings_of(count: int, epochs: int) -> dict[str, Any]:
    """Return the settings of a run with such results."""
    return {"label_field": "ground_truth", "epochs": epochs, "num_samples": count}
