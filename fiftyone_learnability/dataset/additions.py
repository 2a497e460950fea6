"""Adds further scores of a stored run to its fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import fiftyone as fo
import fiftyone.core.collections as foc

from ..experiment.results import ModelResults
from ..scores.catalog import choose_scores
from .columns import Column
from .fields import add_columns, score_columns, signed
from .internals import root_dataset
from .notes import score_field
from .registration import AddedScores
from .registry import describe_no_run, find_run, id_of_run
from .runs import load_model_results
from .scored import check_scored, choose_models, describe_no_scores, find_scores


def add_scores(
    samples: foc.SampleCollection, scores: str | Sequence[str] = "all", models: str | Sequence[str] | None = None
) -> list[str]:
    """Write further scores of trained networks. A run keeps everything it measured, so nothing is trained again.

    Args:
        samples: a dataset or view with scores. The scores are written for all samples of the run, also beyond a view
        scores ("all"): names of scores, or "all" that the run has. Learnability and rank are written too where their
            fields were deleted or renamed
        models (None): the networks, by default all

    Returns:
        the fields that were added

    Raises:
        ValueError: if there are no networks, a network has no run, or its run did not measure one of ``scores``
        WriteError: if the database fails; the dataset is unchanged
    """
    dataset = root_dataset(samples)
    models = list(dict.fromkeys(choose_models(samples, models)))
    if not models:
        raise ValueError(describe_no_scores(samples))
    for model in models:
        if find_run(dataset, model) is None:
            check_scored(samples, model)
    results = load_model_results(dataset, models)
    columns: list[tuple[ModelResults, Column]] = []
    added: dict[str, list[str]] = {}
    for model in models:
        key = find_run(dataset, model)
        if key is None or model not in results:
            raise ValueError(describe_no_run(dataset, model))
        new = _choose_new(dataset, model, key, results[model], scores)
        new_columns = signed(score_columns(results[model], model, new), key, id_of_run(dataset, key))
        columns += [(results[model], column) for column in new_columns]
        added.setdefault(key, []).extend(new)
    if not columns:
        return []
    ids = sorted({id for result, _ in columns for id in result.ids.tolist()})
    aligned = []
    for result, column in columns:
        value_of = dict(zip(result.ids.tolist(), column.values, strict=True))
        aligned.append(replace(column, values=[value_of.get(id) for id in ids]))
    add_columns(dataset, ids, aligned, AddedScores(dataset, added))
    return [column.name for column in aligned]


def _choose_new(
    dataset: fo.Dataset, model: str, key: str, result: ModelResults, scores: str | Sequence[str]
) -> list[str]:
    """The requested scores of a network that have no field yet."""
    requested = result.scores if scores == "all" else choose_scores(scores, len(result.run_learnability))
    if missing := [name for name in requested if name not in result.scores]:
        raise ValueError(f"the run {key!r} of {model!r} did not measure {', '.join(missing)}")
    written = find_scores(dataset, model)
    new = [name for name in requested if name not in written]
    for field in (score_field(model, name) for name in new):
        if dataset.has_field(field):
            raise ValueError(f"the field {field!r} exists but is not a score of {model!r}: rename or delete it")
    return new
