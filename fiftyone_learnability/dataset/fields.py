"""Writes scores onto samples: every field of a run in one pass, all of them or none.

MongoDB without a replica set has no transactions. What comes near: the values are staged in a collection of their own,
so that whatever takes long or depends on this process is over before a sample is touched; then one ``$merge`` moves
them, inside the server. What was there before is kept until the run is registered, and put back if anything fails.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import count, islice
from typing import Any

import fiftyone as fo
import fiftyone.core.collections as foc
import numpy as np
from bson import ObjectId
from pymongo.collection import Collection

from ..experiment.results import ModelResults
from .appearance import show_in_app
from .registry import (
    INFO_KEY,
    METHOD,
    LearnabilityRun,
    LearnabilityRunConfig,
    check_identifier,
    fields_of,
    list_runs,
    owning_run,
    rank_field,
    register,
    score_field,
)

_STAGING_BATCH = 10_000
_logger = logging.getLogger(__name__)


class WriteError(RuntimeError):
    """The scores could not be written; the dataset is as it was before."""


@dataclass(frozen=True)
class WriteReport:
    """What was written.

    Attributes:
        key: the key of the run
        fields: the fields that were written
        num_written: the samples that got values
        vanished: the ids of samples that are no longer in the dataset
    """

    key: str
    fields: list[str]
    num_written: int
    vanished: list[str]


def choose_key(dataset: fo.Dataset, models: list[str], key: str | None, overwrite: bool) -> str:
    """Chooses the key of a new run and checks that it can be written, before anything is trained.

    Args:
        dataset: the dataset to be written to
        models: the names of the networks
        key: the key; None chooses learnability, learnability_2 and so on, or the run that is overwritten
        overwrite: whether existing fields and an existing run of that key may be replaced

    Returns:
        the key

    Raises:
        ValueError: if the key is no identifier or belongs to a run of another kind; if it or a field exists and
            ``overwrite`` is false; or if a field exists that this package did not write and whose type does not fit
    """
    runs = dataset.list_runs()
    if key is not None:
        check_identifier(key)
        if key in runs:
            if key not in list_runs(dataset):
                raise ValueError(f"the run key {key!r} belongs to a run of another kind: choose another key")
            if not overwrite:
                raise ValueError(
                    f"the dataset {dataset.name!r} already has a run {key!r}: choose another key, delete the run, or "
                    "replace it with overwrite=True"
                )
    owners = []
    for name, ftype in zip(fields_of(models), (fo.FloatField, fo.IntField) * len(models), strict=True):
        field = dataset.get_field(name)
        if field is None:
            continue
        owner = owning_run(dataset, name)
        by = f"written by the run {owner!r}" if owner else "which this package did not write"
        if not overwrite:
            raise ValueError(
                f"the dataset {dataset.name!r} already has the field {name!r}, {by}: delete it, leave its network "
                "out, or replace it with overwrite=True"
            )
        if not isinstance(field, ftype):
            raise ValueError(
                f"the field {name!r} is a {type(field).__name__}, {by}: it cannot be replaced by a {ftype.__name__}; "
                "rename or delete it first"
            )
        owners.append(owner)
    if key is not None:
        return key
    # a rerun with overwrite takes the place of the run it replaces, unless that has other networks, which would be lost
    for owner in owners:
        if owner in list_runs(dataset) and set(dataset.get_run_info(owner).config.models) <= set(models):
            return owner
    candidates = (METHOD if number == 1 else f"{METHOD}_{number}" for number in count(1))
    return next(candidate for candidate in candidates if candidate not in runs)


def write_results(
    samples: foc.SampleCollection,
    results: dict[str, ModelResults],
    key: str,
    settings: dict[str, Any],
    overwrite: bool = False,
) -> WriteReport:
    """Writes scores and ranks of all networks onto the samples and registers the run, all or nothing.

    Samples of the dataset that have no result keep None in new fields, and get None in fields that are overwritten, so
    that a field never mixes two runs.

    Args:
        samples: the collection that was scored; its dataset is written to
        results: the results by network
        key: the key of the run, from :func:`choose_key`
        settings: what else describes the run, in values that JSON holds
        overwrite: whether existing fields and an existing run of that key may be replaced

    Returns:
        what was written, with the ids that vanished meanwhile

    Raises:
        ValueError: if the key or a field has come to exist meanwhile and ``overwrite`` is false
        WriteError: if the database fails; the dataset is as it was before
    """
    try:
        # the first of these fails where this process has deleted the dataset, the second where another has
        dataset = samples._root_dataset
        dataset.reload()
    except Exception as error:
        raise WriteError(f"the dataset cannot be reached: {str(error).rstrip('.')}; nothing was written") from error
    models = list(results)
    choose_key(dataset, models, key, overwrite)
    fields = fields_of(models)
    before = {name: field for name in fields if (field := dataset.get_field(name)) is not None}
    collection: Collection = dataset._sample_collection

    with _scratch(collection, "staging") as staging, _scratch(collection, "backup") as backup:
        vanished = _stage(staging, collection, results, clear_others=bool(before))
        if len(vanished) == next(iter(results.values())).num_samples:
            raise WriteError(f"no scored sample is in the dataset {dataset.name!r} any more: nothing was written")
        if before:
            keep = {name: {"$ifNull": [f"${name}", None]} for name in before}
            collection.aggregate([{"$project": keep}, {"$out": backup.name}])
        was = _State(
            texts={name: (field.description, field.info) for name, field in before.items()},
            indexes=set(dataset.list_indexes()),
            runs=set(dataset.list_runs()),
        )
        pending = f"{key}_pending_{ObjectId()}"
        # runs that this one replaces step aside, to be deleted when nothing can fail any more
        aside = {old_key: f"{old_key}_replaced_{ObjectId()}" for old_key in _replaced_runs(dataset, key, models)}
        try:
            config = LearnabilityRunConfig(models=models, **settings)
            register(samples, pending, config, results)
            for old_key, other_key in aside.items():
                dataset.rename_run(old_key, other_key)
            for model in models:
                _declare(dataset, model, key, results[model])
            _merge(staging, collection)
            for name in fields:
                dataset.create_index(name)
            dataset.rename_run(pending, key)
        except BaseException as error:
            _roll_back(dataset, collection, backup, fields, was, key, pending, aside)
            if isinstance(error, Exception):
                raise WriteError(
                    f"writing to the dataset {dataset.name!r} failed: {error}; its fields are as they were"
                ) from error
            raise
    _drop_replaced(dataset, key, models, aside)
    try:
        show_in_app(dataset, fields)
    # how the scores are shown must not make them seem unwritten
    except Exception:
        _logger.warning("the fields could not be put into a sidebar group of their own", exc_info=True)
    fo.Sample._reload_docs(dataset._sample_collection_name)
    return WriteReport(key, fields, next(iter(results.values())).num_samples - len(vanished), vanished)


@contextmanager
def _scratch(collection: Collection, purpose: str) -> Iterator[Collection]:
    """A collection of our own beside that of the samples, dropped in the end."""
    scratch = collection.database[f"learnability.{purpose}.{ObjectId()}"]
    try:
        yield scratch
    finally:
        scratch.drop()


def _stage(
    staging: Collection, collection: Collection, results: dict[str, ModelResults], clear_others: bool
) -> list[str]:
    """Puts one document a sample, with all its new values, into the staging collection.

    Returns:
        the ids that have a result but are no longer in the collection
    """
    present = {document["_id"] for document in collection.find({}, {"_id": 1})}
    ids = [ObjectId(id) for id in next(iter(results.values())).ids]
    names = ["last_modified_at"]
    now = datetime.now(timezone.utc)
    columns: list[list[Any]] = [[now] * len(ids)]
    for model, result in results.items():
        # one array of ids serves all networks, since they were trained on the same samples
        if not np.array_equal(result.ids, next(iter(results.values())).ids):
            raise ValueError(f"the results of {model!r} are of other samples than those before it")
        names += [score_field(model), rank_field(model)]
        columns += [result.learnability.tolist(), result.rank.tolist()]
    documents = (
        dict(zip(names, values, strict=True), _id=id)
        for id, values in zip(ids, zip(*columns, strict=True), strict=True)
        if id in present
    )
    _insert(staging, documents)
    if clear_others:
        nothing = dict.fromkeys(names[1:])
        _insert(staging, ({"_id": id, "last_modified_at": now, **nothing} for id in present.difference(ids)))
    return [str(id) for id in ids if id not in present]


def _insert(staging: Collection, documents: Iterator[dict[str, Any]]) -> None:
    while batch := list(islice(documents, _STAGING_BATCH)):
        staging.insert_many(batch, ordered=False)


def _merge(source: Collection, target: Collection) -> None:
    """Moves the values over inside the server; ids that are not in the target are left out."""
    source.aggregate(
        [{"$merge": {"into": target.name, "on": "_id", "whenMatched": "merge", "whenNotMatched": "discard"}}]
    )


def _declare(dataset: fo.Dataset, model: str, key: str, result: ModelResults) -> None:
    """Adds the fields of a network to the schema, or renews what existing ones say of themselves."""
    runs, epochs = result.train_loss.shape
    over = f"{result.num_samples} samples, {epochs} epochs" + (f", mean of {runs} runs" if runs > 1 else "")
    texts = {
        score_field(model): (
            fo.FloatField,
            f"Learnability by {model}: mean probability of the true label after each epoch; 1 = easiest ({over})",
        ),
        rank_field(model): (
            fo.IntField,
            f"Learnability rank by {model}: 1 = easiest, {result.num_samples} = hardest ({over})",
        ),
    }
    for name, (ftype, description) in texts.items():
        score = "learnability" if name == score_field(model) else "rank"
        info = {INFO_KEY: {"run": key, "model": model, "score": score, "epochs": epochs, "runs": runs}}
        field = dataset.get_field(name)
        if field is None:
            dataset.add_sample_field(name, ftype, description=description, info=info)
        else:
            field.description, field.info = description, info
            field.save()


def _replaced_runs(dataset: fo.Dataset, key: str, models: list[str]) -> list[str]:
    """The runs that a new one replaces: that of the same key, and those of which it leaves no network."""
    return [
        old_key
        for old_key in list_runs(dataset)
        if old_key == key or not set(dataset.get_run_info(old_key).config.models).difference(models)
    ]


def _drop_replaced(dataset: fo.Dataset, key: str, models: list[str], aside: dict[str, str]) -> None:
    """Deletes the runs that a new one has replaced, and takes its networks away from the others."""
    for other_key in aside.values():
        # the cleanup finds no fields but those that only the old run had
        LearnabilityRun.delete_run(dataset, other_key)
    for other_key in list_runs(dataset):
        config = dataset.get_run_info(other_key).config
        left = [model for model in config.models if model not in models]
        if other_key != key and left != config.models:
            config.models = left
            LearnabilityRun.update_run_config(dataset, other_key, config)


@dataclass(frozen=True)
class _State:
    """What writing may change besides values: texts of the fields to be overwritten, indexes, keys of runs."""

    texts: dict[str, tuple[str | None, dict[str, Any] | None]]
    indexes: set[str]
    runs: set[str]


def _roll_back(
    dataset: fo.Dataset,
    collection: Collection,
    backup: Collection,
    fields: list[str],
    was: _State,
    key: str,
    pending: str,
    aside: dict[str, str],
) -> None:
    """Puts the dataset back as it was before."""
    runs = dataset.list_runs()
    if pending in runs:
        LearnabilityRun.delete_run(dataset, pending, cleanup=False)
    elif key in runs and (key not in was.runs or aside.get(key) in runs):
        # the new run already had its key
        LearnabilityRun.delete_run(dataset, key, cleanup=False)
    for old_key, other_key in aside.items():
        if other_key in runs:
            dataset.rename_run(other_key, old_key)
    new = [name for name in fields if name not in was.texts and dataset.get_field(name) is not None]
    if new:
        dataset.delete_sample_fields(new)
    if was.texts:
        _merge(backup, collection)
        for name, (description, info) in was.texts.items():
            field = dataset.get_field(name)
            field.description, field.info = description, info
            field.save()
    for name in set(dataset.list_indexes()).intersection(was.texts).difference(was.indexes):
        dataset.drop_index(name)
