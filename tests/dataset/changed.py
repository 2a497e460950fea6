"""A dataset with everything that this package writes, and what users do to its fields and runs afterwards."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.core.runs as fors
import numpy as np

import fiftyone_learnability as fol
from tests.plugin.made_up import write_scores

COUNT = 24
RAW = ("NoneType", "Dataset has no field", "DatasetView has no field", "Dataset has no run", "has no attribute")
"""Parts of messages that are Python's and FiftyOne's own."""

LEARNABILITY, RANK = "learnability_resnet20", "learnability_rank_resnet20"


def write_everything(dataset: fo.Dataset) -> None:
    """Write scores of two networks as the run "mine", suggested labels as "label_fixes" and a consensus."""
    rng = np.random.default_rng(4)
    models = ("resnet20", "vgg16")
    write_scores(
        dataset,
        {model: rng.random(COUNT) for model in models},
        "mine",
        dynamics={model: rng.random((4, COUNT)).astype(np.float16) for model in models},
        more={model: {name: rng.random(COUNT) for name in ("hits", "variability")} for model in models},
        predictions={model: rng.dirichlet([1, 1], COUNT).astype(np.float32) for model in models},
    )
    fol.suggest_label_fixes(dataset)
    fol.write_consensus(dataset)


def _field(*names: str, new: str | None = None) -> Callable[[fo.Dataset], fo.Dataset]:
    def change(dataset: fo.Dataset) -> fo.Dataset:
        if new is None:
            dataset.delete_sample_fields(list(names))
        else:
            dataset.rename_sample_field(names[0], new)
        return dataset

    return change


def _run(key: str, new_key: str | None = None) -> Callable[[fo.Dataset], fo.Dataset]:
    def change(dataset: fo.Dataset) -> fo.Dataset:
        if new_key is None:
            fors.Run.delete_run(dataset, key, cleanup=False)
        else:
            dataset.rename_run(key, new_key)
        return dataset

    return change


def _add_exported(dataset: fo.Dataset) -> fo.Dataset:
    """Add the samples of a dataset on disk to another one: FiftyOne then leaves the runs behind."""
    added = fo.Dataset()
    added.add_sample(fo.Sample("/no/before.png"))
    with tempfile.TemporaryDirectory() as folder:
        dataset.export(folder, dataset_type=fo.types.FiftyOneDataset, export_media=False, progress=False)
        added.add_dir(folder, dataset_type=fo.types.FiftyOneDataset, progress=False)
    return added


def _add_images(dataset: fo.Dataset) -> fo.Dataset:
    """New images, which no network has seen."""
    dataset.add_samples([fo.Sample(str(Path("/no") / f"new{number}.png")) for number in range(2)], progress=False)
    return dataset


CHANGES: dict[str, Callable[[fo.Dataset], fo.Dataset]] = {
    "learnability renamed": _field(LEARNABILITY, new="difficulty"),
    "learnability deleted": _field(LEARNABILITY),
    "rank renamed": _field(RANK, new="place"),
    "rank deleted": _field(RANK),
    "both deleted": _field(LEARNABILITY, RANK),
    "labels renamed": _field("ground_truth", new="gt"),
    "labels deleted": _field("ground_truth"),
    "suggestion deleted": _field("learnability_suggestion"),
    "contradiction renamed": _field("learnability_contradiction", new="doubt"),
    "verdict deleted": _field("learnability_verdict"),
    "consensus deleted": _field("learnability_consensus"),
    "consensus rank deleted": _field("learnability_rank_consensus"),
    "run deleted": _run("mine"),
    "run of the suggestions deleted": _run("label_fixes"),
    "run renamed": _run("mine", "yours"),
    "run of the suggestions renamed": _run("label_fixes", "fixes"),
    "cloned": fo.Dataset.clone,
    "view cloned": lambda dataset: dataset.limit(20).clone(),
    "exported and added": _add_exported,
    "images added": _add_images,
}
"""By what was changed; each returns the dataset to look at."""


def message(call: Callable[[], Any]) -> str:
    """What a call says that is refused; empty if it is not."""
    try:
        call()
    except (ValueError, TypeError) as error:
        return str(error)
    return ""
