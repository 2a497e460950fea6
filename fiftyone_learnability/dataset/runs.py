"""Registered runs: list, load, rename and delete them together with their fields."""

from __future__ import annotations

from collections.abc import Sequence

import fiftyone as fo

from ..experiment.results import ModelResults
from ..scores.checks import short_repr
from .notes import fields_of_run
from .recovery import recover
from .registry import check_identifier, find_run, list_runs, read_results
from .target import check_writable

__all__ = ["delete_run", "list_runs", "load_model_results", "load_results", "rename_run"]


def load_results(dataset: fo.Dataset, key: str) -> dict[str, ModelResults]:
    """Load the results of a run.

    Args:
        dataset: the dataset
        key: the key of the run

    Returns:
        the results by network

    Raises:
        ValueError: if there is no such run
    """
    _check_key(dataset, key)
    results = read_results(dataset, key)
    return results.models if results is not None else {}


def load_model_results(dataset: fo.Dataset, models: Sequence[str]) -> dict[str, ModelResults]:
    """Load the results of networks from their runs; each run is read once.

    Args:
        dataset: the dataset
        models: the networks

    Returns:
        the results by network, without networks whose run was deleted
    """
    runs: dict[str, dict[str, ModelResults]] = {}
    results = {}
    for model in models:
        key = find_run(dataset, model)
        if key is None:
            continue
        if key not in runs:
            runs[key] = load_results(dataset, key)
        if model in runs[key]:
            results[model] = runs[key][model]
    return results


def delete_run(dataset: fo.Dataset, key: str) -> list[str]:
    """Delete a run with its fields and indexes.

    Args:
        dataset: the dataset
        key: the key of the run

    Returns:
        the fields that were deleted: those that the run wrote, if they still have their names. Copies and renamed
        fields stay

    Raises:
        ValueError: if there is no such run, or a field is read-only
    """
    recover(dataset)
    _check_key(dataset, key)
    # FiftyOne would delete the run and leave the field
    check_writable(dataset, fields_of_run(dataset, key))
    before = set(dataset.get_field_schema())
    dataset.delete_run(key)
    return sorted(before - set(dataset.get_field_schema()))


def rename_run(dataset: fo.Dataset, key: str, new_key: str) -> None:
    """Give a run another key; its fields keep their names.

    Args:
        dataset: the dataset
        key: the key of the run
        new_key: the new key, an identifier that no run has

    Raises:
        ValueError: if there is no such run, or the new key is not possible
    """
    recover(dataset)
    _check_key(dataset, key)
    check_identifier(new_key)
    dataset.rename_run(key, new_key)


def _check_key(dataset: fo.Dataset, key: str) -> None:
    keys = list_runs(dataset)
    if key not in keys:
        raise ValueError(
            f"the dataset {dataset.name!r} has no learnability run {short_repr(key)}; "
            f"it has: {', '.join(keys) or 'none'}"
        )
