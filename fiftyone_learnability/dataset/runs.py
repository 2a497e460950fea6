"""Registered runs: load, rename and delete them together with their fields."""

from __future__ import annotations

from collections.abc import Sequence

import fiftyone as fo

from ..experiment.results import ModelResults
from ..scores.checks import short_repr
from .notes import owning_run, score_field
from .registry import check_identifier, list_runs


def load_results(dataset: fo.Dataset, key: str) -> dict[str, ModelResults]:
    """Loads the results of a run.

    Args:
        dataset: the dataset
        key: the key of the run

    Returns:
        the results by network

    Raises:
        ValueError: if there is no such run
    """
    _check_key(dataset, key)
    results = dataset.load_run_results(key, cache=False, load_view=False)
    return results.models if results is not None else {}


def load_model_results(dataset: fo.Dataset, models: Sequence[str]) -> dict[str, ModelResults]:
    """Loads the results of networks, wherever their runs are; each run is read once.

    Args:
        dataset: the dataset
        models: the networks

    Returns:
        the results by network, without networks whose run is gone
    """
    runs: dict[str, dict[str, ModelResults]] = {}
    found = {}
    for model in models:
        key = owning_run(dataset, score_field(model))
        if key is None or key not in dataset.list_runs():
            continue
        if key not in runs:
            runs[key] = load_results(dataset, key)
        if model in runs[key]:
            found[model] = runs[key][model]
    return found


def delete_run(dataset: fo.Dataset, key: str) -> list[str]:
    """Deletes a run with its fields and indexes.

    Args:
        dataset: the dataset
        key: the key of the run

    Returns:
        the fields that were deleted

    Raises:
        ValueError: if there is no such run
    """
    _recover(dataset)
    _check_key(dataset, key)
    before = set(dataset.get_field_schema())
    dataset.delete_run(key)
    return sorted(before - set(dataset.get_field_schema()))


def rename_run(dataset: fo.Dataset, key: str, new_key: str) -> None:
    """Gives a run another key; the names of its fields stay.

    Args:
        dataset: the dataset
        key: the key of the run
        new_key: the new key, an identifier that no run has

    Raises:
        ValueError: if there is no such run, or the new key is not possible
    """
    _recover(dataset)
    _check_key(dataset, key)
    check_identifier(new_key)
    dataset.rename_run(key, new_key)


def _recover(dataset: fo.Dataset) -> None:
    """Takes back, or completes, what a process that was killed had begun, before its runs are changed."""
    # which stands on this module
    from .registration import recover

    recover(dataset)


def _check_key(dataset: fo.Dataset, key: str) -> None:
    keys = list_runs(dataset)
    if key not in keys:
        raise ValueError(
            f"the dataset {dataset.name!r} has no learnability run {short_repr(key)}; it has: "
            f"{', '.join(keys) or 'none'}"
        )
