"""Writes a run: the fields of its scores and the run itself, all or nothing."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import fiftyone as fo
import numpy as np

from ..experiment.results import ModelResults
from ..scores.catalog import SCORES
from .appearance import show_in_app
from .columns import Column, Companion, WriteError, write_columns
from .notes import FieldNote, score_field, sign
from .recovery import recover
from .registration import Registration
from .registry import LearnabilityRunConfig
from .target import WriteTarget, check_indexes, is_indexed, type_of

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WriteReport:
    """The outcome of a write.

    Attributes:
        key: the key of the run
        fields: the fields that were written
        num_written: the number of samples that got values
        vanished: the ids of scored samples that are no longer in the dataset
        remarks ([]): what did not go as planned, a sentence each
    """

    key: str
    fields: list[str]
    num_written: int
    vanished: list[str]
    remarks: list[str] = dataclasses.field(default_factory=list)


def write_results(target: WriteTarget, results: dict[str, ModelResults], settings: dict[str, Any]) -> WriteReport:
    """Write the scores of networks onto the samples and register the run, all or nothing.

    Args:
        target: where to write, with the networks and their scores
        results: the results by network, all over the same samples
        settings: the settings of the run, in values that JSON can hold

    Returns:
        what was written, and the ids of samples that vanished in the meantime

    Raises:
        ValueError: if the key or a field was created in the meantime and may not be replaced
        WriteError: if the database fails; the dataset is as it was before
    """
    first = next(iter(results.values()))
    for model, result in results.items():
        # write_run takes one array of ids for all networks
        if not np.array_equal(result.ids, first.ids):
            raise ValueError(f"the results of {model!r} are for other samples than those of {first.model!r}")
    columns = [column for model, result in results.items() for column in score_columns(result, model, target.scores)]
    known = {model: result.evidence for model, result in results.items()}
    evidence = {model: entry.to_config() for model, entry in known.items() if entry is not None}
    settings = {**settings, "scores": list(target.scores), "evidence": evidence}
    return write_run(target, first.ids.tolist(), columns, settings, results)


def write_run(
    target: WriteTarget,
    ids: Sequence[str],
    columns: Sequence[Column],
    settings: dict[str, Any],
    results: dict[str, ModelResults],
) -> WriteReport:
    """Write columns onto the samples and register them as a run, all or nothing.

    Args:
        target: where to write
        ids: ``(N,)`` sample ids
        columns: the fields of the target
        settings: the settings of the run, in values that JSON can hold
        results: the results by network that the run keeps, possibly none

    Returns:
        what was written, and the ids of samples that vanished in the meantime

    Raises:
        ValueError: if the key or a field was created in the meantime and may not be replaced
        WriteError: if the database fails; the dataset is as it was before
    """
    try:
        # the first line fails if this process deleted the dataset, the second if another process did
        dataset = target.dataset
        dataset.reload()
    except Exception as error:
        raise WriteError(f"the dataset cannot be reached: {str(error).rstrip('.')}; nothing was written") from error
    recover(dataset)
    target.check(ids)
    columns = signed(columns, target.key, target.run_id)
    config = LearnabilityRunConfig(models=list(target.models), **{**settings, "run_id": target.run_id})
    registration = Registration(target, config, results)
    vanished = write_columns(dataset, ids, columns, registration)
    names = [column.name for column in columns]
    _show(dataset, names)
    return WriteReport(target.key, names, len(ids) - len(vanished), vanished)


def add_columns(
    dataset: fo.Dataset, ids: Sequence[str], columns: Sequence[Column], companion: Companion | None = None
) -> list[str]:
    """Add columns to an existing run, all or none.

    Args:
        dataset: the dataset
        ids: ``(N,)`` sample ids
        columns: the fields; their notes name the key of the run
        companion (None): what else changes in the database with them

    Returns:
        the ids of samples that are no longer in the dataset

    Raises:
        ValueError: if the indexes would be more than MongoDB allows
        WriteError: if the database fails; the dataset is as it was before
    """
    recover(dataset)
    check_indexes(dataset, [column.index for column in columns if column.index is not None])
    vanished = write_columns(dataset, ids, columns, companion or Companion())
    _show(dataset, [column.name for column in columns])
    return vanished


def signed(columns: Sequence[Column], key: str, run_id: str | None) -> list[Column]:
    """Return columns whose notes name the run that owns them.

    Args:
        columns: the columns
        key: the key of the run
        run_id: the unique id of the run, None for runs of 0.1.0 without one
    """
    return [dataclasses.replace(column, info=sign(column.info, column.name, key, run_id)) for column in columns]


def score_columns(result: ModelResults, model: str, scores: Sequence[str], derived: bool = False) -> list[Column]:
    """Make the columns of a network's scores.

    Args:
        result: the results of the network
        model: the name of the network
        scores: the names of the scores
        derived (False): True if they are computed from the scores of several networks
    """
    runs, epochs = result.train_loss.shape
    basis = f"{result.num_samples} samples"
    if epochs:
        planned = result.config.get("epochs", epochs)
        basis += f", {epochs} epochs" if planned == epochs else f", stopped after {epochs} of {planned} epochs"
        basis += f", mean of {runs} runs" if runs > 1 else ""
    columns = []
    for name in scores:
        score = SCORES[name]
        title, meaning = score.title, score.description
        if name == "rank":
            title, meaning = "Learnability rank", f"1 = easiest, {result.num_samples} = hardest"
        field = score_field(model, name)
        columns.append(
            Column(
                name=field,
                ftype=type_of(name),
                description=f"{title} by {model}: {meaning} ({basis})",
                info=FieldNote(None, model, name, epochs, runs, derived).to_info(),
                # FiftyOne stores a missing value as None; NaN is the only value unequal to itself
                values=[None if value != value else value for value in result.score(name).tolist()],
                index=field if is_indexed(name) else None,
            )
        )
    return columns


def _show(dataset: fo.Dataset, fields: list[str]) -> None:
    try:
        show_in_app(dataset, fields)
    # the scores are written; a sidebar that cannot be changed must not look like a failed write
    except Exception:
        _logger.warning("the fields could not be put into their own sidebar group", exc_info=True)
