"""Helpers for tests of datasets: a network that trains in milliseconds, random results, and a dataset's state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.core.collections as foc
import numpy as np
import pytest
from pymongo.collection import Collection
from torch import nn

import fiftyone_learnability as fol
from fiftyone_learnability.dataset import fields
from fiftyone_learnability.dataset.fields import WriteReport
from fiftyone_learnability.dataset.internals import get_database
from fiftyone_learnability.dataset.target import WriteTarget, choose_target
from fiftyone_learnability.experiment.results import ModelResults, RunRecord
from fiftyone_learnability.scores.catalog import DEFAULT_SCORES

SETTINGS = {"label_field": "ground_truth", "epochs": 3}
"""The settings of a run that was not trained."""


def tiny(num_classes: int, in_channels: int) -> nn.Module:
    """A linear network on 4x4 means, which takes milliseconds per epoch."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * in_channels, num_classes))


def learn(samples: foc.SampleCollection, *models: str, **options: Any) -> dict[str, ModelResults]:
    """Compute learnability with tiny networks of these names, without progress by default."""
    defaults = {
        "models": dict.fromkeys(models or ("tiny",), tiny),
        "epochs": 2,
        "batch_size": 16,
        "crop_padding": 0,
        "horizontal_flip": False,
        "device": "cpu",
        "progress": False,
    }
    return fol.compute_learnability(samples, **{**defaults, **options})


def make_results(samples: foc.SampleCollection, *models: str, runs: int = 1, seed: int = 0) -> dict[str, ModelResults]:
    """Make results with random scores for all samples of a collection, by networks that classify all of them right."""
    rng = np.random.default_rng(seed)
    ids = np.array(sorted(samples.values("id")))
    count, epochs = len(ids), 3

    def record(model: str, number: int) -> RunRecord:
        curves = [rng.random(epochs) for _ in range(4)]
        scores = {name: rng.random(count) for name in ("learnability", "hits", "variability", "aum")}
        curves[2][-1] = 1
        return RunRecord(model, number, scores, *curves)

    return {
        model: ModelResults.from_runs(
            [record(model, number) for number in range(runs)],
            ids,
            np.array([f"{id}.png" for id in ids]),
            np.arange(count) % 2,
            ("a", "b"),
            {"label_field": "ground_truth"},
        )
        for model in models
    }


def raiser(error: BaseException) -> Callable[..., None]:
    """Return a function that raises."""

    def fail(*args: Any, **kwargs: Any) -> None:
        raise error

    return fail


def fails_at(function: Callable[..., Any], call: int, error: BaseException) -> Callable[..., Any]:
    """Return the function with one call, counted from 1, that raises instead."""
    calls = 0

    def sometimes(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise error
        return function(*args, **kwargs)

    return sometimes


def fail_at_merge(patch: pytest.MonkeyPatch, error: BaseException, after: bool = False) -> None:
    """Make the first move of staged values onto the samples raise, before or after the server has done it."""
    aggregate, moves = Collection.aggregate, []

    def failing(self: Collection, pipeline: Sequence[dict[str, Any]], *args: Any, **kwargs: Any) -> Any:
        is_first = ".staging." in self.name and any("$merge" in stage for stage in pipeline) and not moves
        if is_first:
            moves.append(self.name)
        if is_first and not after:
            raise error
        answer = aggregate(self, pipeline, *args, **kwargs)
        if is_first:
            raise error
        return answer

    patch.setattr(Collection, "aggregate", failing)


def values_of(dataset: fo.Dataset, field: str) -> dict[str, Any]:
    """Return the values of a field by sample id."""
    view = dataset.select_group_slices(_allow_mixed=True) if dataset.media_type == "group" else dataset
    return dict(zip(*view.values(["id", field]), strict=True))


def state(dataset: fo.Dataset) -> dict[str, Any]:
    """Return what the database holds of a dataset, except the modification times of its samples.

    It is read from MongoDB, not through the dataset object, which may have cached something else.
    """
    database = get_database()
    document = database.datasets.find_one({"name": dataset.name})
    samples = database[document["sample_collection_name"]]
    runs = {key: database.runs.find_one({"_id": id}) for key, id in (document.get("runs") or {}).items()}
    return {
        "fields": {
            field["name"]: {key: field.get(key) for key in ("ftype", "subfield", "description", "info")}
            for field in document["sample_fields"]
        },
        "indexes": sorted(samples.index_information()),
        "runs": {key: (run["config"], run.get("results")) for key, run in runs.items()},
        "all_runs": database.runs.count_documents({"_dataset_id": document["_id"]}),
        "stored_results": database["fs.files"].count_documents({}),
        "samples": {
            str(sample["_id"]): {key: value for key, value in sample.items() if key not in ("_id", "last_modified_at")}
            for sample in samples.find()
        },
    }


def scratch_collections() -> Sequence[str]:
    """Return the temporary collections that writes left behind; there should be none."""
    return [name for name in get_database().list_collection_names() if name.startswith("learnability.")]


def nothing_left_in(cache: Path) -> bool:
    """True if no run left anything in a cache."""
    return not list((cache / "fiftyone-learnability" / "runs").glob("*"))


def same_results(one: dict[str, ModelResults], other: dict[str, ModelResults]) -> bool:
    """True if two results agree bit for bit, except for the seconds that the epochs took."""

    def bits(results: dict[str, ModelResults]) -> dict[str, Any]:
        return {
            model: {
                "config": result.config,
                "classes": result.classes,
                **{
                    name: (array.dtype, array.shape, array.tobytes())
                    for name, array in {**vars(result), **result.run_scores}.items()
                    if isinstance(array, np.ndarray) and name != "epoch_seconds"
                },
            }
            for model, result in results.items()
        }

    return bits(one) == bits(other)


def write(dataset: fo.Dataset, *models: str, key: str | None = None, seed: int = 0, overwrite: bool = False) -> str:
    """Write random scores and return the key of the run."""
    target = choose_target(dataset, list(models), key, overwrite)
    fields.write_results(target, make_results(dataset, *models, seed=seed), SETTINGS)
    return target.key


def write_results(
    samples: foc.SampleCollection,
    results: dict[str, ModelResults],
    key: str,
    settings: dict[str, Any],
    overwrite: bool = False,
    scores: Sequence[str] = DEFAULT_SCORES,
) -> WriteReport:
    """Write results under a known key."""
    target = WriteTarget.of_scores(samples, list(results), key, scores, overwrite)
    return fields.write_results(target, results, settings)


EVERY = ("learnability", "rank", "hits", "variability", "aum", "spread")


def write_scores(
    dataset: fo.Dataset, *models: str, scores: tuple[str, ...], key: str, runs: int = 2, seed: int = 0
) -> dict[str, ModelResults]:
    """Write random scores, over existing ones too, and return the results."""
    results = make_results(dataset, *models, runs=runs, seed=seed)
    write_results(dataset, results, key, {**SETTINGS, "runs": runs}, overwrite=True, scores=scores)
    return results
