"""Writes a run: the fields of its scores, and the run itself, all or nothing."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import fiftyone as fo
import fiftyone.core.collections as foc
import numpy as np

from ..experiment.results import ModelResults
from ..scores.catalog import DEFAULT_SCORES, SCORES
from .appearance import show_in_app
from .columns import Column, Companion, WriteError, is_being_written, write_columns
from .internals import root_dataset
from .notes import FieldNote, owning_run, score_field
from .registration import Registration, is_replaced, recover
from .registry import METHOD, LearnabilityRunConfig, check_identifier, list_runs

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WriteReport:
    """What was written.

    Attributes:
        key: the key of the run
        fields: the fields that were written
        num_written: the samples that got values
        vanished: the ids of samples that are no longer in the dataset
        remarks ([]): what did not go as planned, a sentence each
    """

    key: str
    fields: list[str]
    num_written: int
    vanished: list[str]
    remarks: list[str] = dataclasses.field(default_factory=list)


def choose_key(
    dataset: fo.Dataset,
    models: Sequence[str],
    key: str | None,
    overwrite: bool,
    scores: Sequence[str] = DEFAULT_SCORES,
    default: str = METHOD,
) -> str:
    """Chooses the key of a new run and checks that it can be written, before anything is trained.

    Args:
        dataset: the dataset to be written to
        models: the names of the networks
        key: the key; None chooses learnability, learnability_2 and so on, or the run that is overwritten
        overwrite: whether existing fields and an existing run of that key may be replaced
        scores (("learnability", "rank")): the scores to be written
        default ("learnability"): what a key that is chosen begins with

    Returns:
        the key

    Raises:
        ValueError: if the key is no identifier or belongs to a run of another kind; if it or a field exists and
            ``overwrite`` is false; or if a field exists that this package did not write and whose type does not fit
    """
    fields = {score_field(model, score): _type_of(score) for model in models for score in scores}
    return choose_key_for(dataset, fields, key, overwrite, models, default)


def choose_key_for(
    dataset: fo.Dataset,
    fields: Mapping[str, type[fo.Field]],
    key: str | None,
    overwrite: bool,
    models: Sequence[str] = (),
    default: str = METHOD,
) -> str:
    """:func:`choose_key` for any fields.

    Args:
        dataset: the dataset to be written to
        fields: the types of the fields by name
        key: the key, or None
        overwrite: whether existing fields and an existing run of that key may be replaced
        models (()): the networks that the fields are about
        default ("learnability"): what a key that is chosen begins with
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
    for name, ftype in fields.items():
        field = dataset.get_field(name)
        if field is None:
            continue
        owner = owning_run(dataset, name)
        by = f"written by the run {owner!r}" if owner else "which this package did not write"
        if is_being_written(dataset, name):
            by = "which another process is writing, or was when it was ended"
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
        if owner in list_runs(dataset) and is_replaced(dataset, owner, fields, models):
            return owner
    candidates = (default if number == 1 else f"{default}_{number}" for number in count(1))
    return next(candidate for candidate in candidates if candidate not in runs)


def write_results(
    samples: foc.SampleCollection,
    results: dict[str, ModelResults],
    key: str,
    settings: dict[str, Any],
    overwrite: bool = False,
    scores: Sequence[str] = DEFAULT_SCORES,
) -> WriteReport:
    """Writes the scores of all networks onto the samples and registers the run, all or nothing.

    Args:
        samples: the collection that was scored; its dataset is written to
        results: the results by network
        key: the key of the run, from :func:`choose_key`
        settings: what else describes the run, in values that JSON holds
        overwrite: whether existing fields and an existing run of that key may be replaced
        scores (("learnability", "rank")): the scores to be written

    Returns:
        what was written, with the ids that vanished meanwhile

    Raises:
        ValueError: if the key or a field has come to exist meanwhile and ``overwrite`` is false
        WriteError: if the database fails; the dataset is as it was before
    """
    first = next(iter(results.values()))
    for model, result in results.items():
        # one array of ids serves all networks, since they were trained on the same samples
        if not np.array_equal(result.ids, first.ids):
            raise ValueError(f"the results of {model!r} are of other samples than those before it")
    columns = [column for model, result in results.items() for column in score_columns(result, model, key, scores)]
    settings = {**settings, "scores": list(scores)}
    return write_run(samples, first.ids.tolist(), columns, key, settings, results, overwrite)


def write_run(
    samples: foc.SampleCollection,
    ids: Sequence[str],
    columns: Sequence[Column],
    key: str,
    settings: dict[str, Any],
    results: dict[str, ModelResults],
    overwrite: bool = False,
) -> WriteReport:
    """Writes columns onto the samples and registers them as a run, all or nothing.

    Args:
        samples: the collection that was scored; its dataset is written to
        ids: ``(N,)`` sample ids
        columns: the fields, whose info names the key
        key: the key of the run
        settings: what describes the run, in values that JSON holds
        results: the results by network that the run keeps, perhaps none
        overwrite: whether existing fields and an existing run of that key may be replaced

    Returns:
        what was written, with the ids that vanished meanwhile

    Raises:
        ValueError: if the key or a field has come to exist meanwhile and ``overwrite`` is false
        WriteError: if the database fails; the dataset is as it was before
    """
    try:
        # the first of these fails where this process has deleted the dataset, the second where another has
        dataset = root_dataset(samples)
        dataset.reload()
    except Exception as error:
        raise WriteError(f"the dataset cannot be reached: {str(error).rstrip('.')}; nothing was written") from error
    recover(dataset)
    fields = {column.name: column.ftype for column in columns}
    models = list(results)
    choose_key_for(dataset, fields, key, overwrite, models)
    registration = Registration(samples, key, LearnabilityRunConfig(models=models, **settings), results, fields)
    vanished = write_columns(dataset, ids, columns, registration)
    _show(dataset, list(fields))
    return WriteReport(key, list(fields), len(ids) - len(vanished), vanished)


def add_columns(
    dataset: fo.Dataset, ids: Sequence[str], columns: Sequence[Column], procedure: Companion | None = None
) -> list[str]:
    """Adds columns to a run that exists, all or none.

    Args:
        dataset: the dataset
        ids: ``(N,)`` sample ids
        columns: the fields, whose info names the key of the run
        procedure (None): what else is to happen with it

    Returns:
        the ids that are no longer in the dataset

    Raises:
        WriteError: if the database fails; the dataset is as it was before
    """
    recover(dataset)
    vanished = write_columns(dataset, ids, columns, procedure or Companion())
    _show(dataset, [column.name for column in columns])
    return vanished


def score_columns(
    result: ModelResults, model: str, key: str, scores: Sequence[str], derived: bool = False
) -> list[Column]:
    """The fields of a network's scores.

    Args:
        result: the results of the network
        model: the network
        key: the key of the run
        scores: the names of the scores
        derived (False): whether they are computed from the scores of several networks
    """
    runs, epochs = result.train_loss.shape
    over = f"{result.num_samples} samples"
    if epochs:
        over += f", {epochs} epochs" + (f", mean of {runs} runs" if runs > 1 else "")
    columns = []
    for name in scores:
        score = SCORES[name]
        text = f"1 = easiest, {result.num_samples} = hardest" if name == "rank" else score.description
        title = "Learnability rank" if name == "rank" else score.title
        field = score_field(model, name)
        columns.append(
            Column(
                name=field,
                ftype=_type_of(name),
                description=f"{title} by {model}: {text} ({over})",
                info=FieldNote(key, model, name, epochs, runs, derived).to_info(),
                # what is not a number is no value
                values=[None if value != value else value for value in result.score(name).tolist()],
                # MongoDB has room for 64 indexes; these two are what everybody sorts by
                index=field if name in DEFAULT_SCORES or score.derived else None,
            )
        )
    return columns


def _type_of(score: str) -> type[fo.Field]:
    # others are means over runs, whole though they may be in one
    return fo.IntField if score == "rank" else fo.FloatField


def _show(dataset: fo.Dataset, fields: list[str]) -> None:
    try:
        show_in_app(dataset, fields)
    # how the scores are shown must not make them seem unwritten
    except Exception:
        _logger.warning("the fields could not be put into a sidebar group of their own", exc_info=True)
