"""Which scores a collection has, and their values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import fiftyone.core.collections as foc
import numpy as np
from numpy.typing import NDArray

from ..experiment.results import ModelResults
from ..scores.catalog import SCORES
from ..scores.checks import check_names, short_repr, shorten
from ..scores.formulas import FloatArray
from .notes import notes_of, owning_run, score_field
from .samples import check_collection, label_path


def find_models(samples: foc.SampleCollection, derived: bool = False) -> list[str]:
    """Return the networks whose learnability a collection has, in the order in which they were written.

    Args:
        samples: a dataset or view
        derived (False): whether to include the consensus, which has scores but is no network
    """
    check_collection(samples)
    return [
        note.model
        for note in notes_of(samples).values()
        if note.model is not None and note.score == "learnability" and (derived or not note.derived)
    ]


def names_of(models: str | Sequence[str]) -> list[str]:
    """Return one or several networks as a list."""
    return check_names("models", models)


def choose_models(
    samples: foc.SampleCollection, models: str | Sequence[str] | None, derived: bool = False
) -> list[str]:
    """Return the given networks, or all that :func:`find_models` finds.

    Args:
        samples: a dataset or view
        models: one name, several, or None for all
        derived (False): see :func:`find_models`
    """
    check_collection(samples)
    return find_models(samples, derived) if models is None else names_of(models)


def choose_results(results: Mapping[str, ModelResults], models: str | Sequence[str] | None) -> dict[str, ModelResults]:
    """Return the results of some networks.

    Args:
        results: results by network
        models: one name, several, or None for all

    Raises:
        ValueError: if there are no results of a network
    """
    names = list(results) if models is None else names_of(models)
    if missing := [name for name in names if name not in results]:
        present = ", ".join(results) or "none"
        raise ValueError(f"there are no results of {', '.join(map(short_repr, missing))}; there are: {present}")
    return {name: results[name] for name in names}


def find_scores(samples: foc.SampleCollection, model: str) -> list[str]:
    """Return the scores of a network that a collection has as fields, in the order of the catalog.

    Args:
        samples: a dataset or view
        model: the network
    """
    check_collection(samples)
    present = {note.score for note in notes_of(samples).values() if note.model == model}
    return [name for name in SCORES if name in present]


def load_scores(
    samples: foc.SampleCollection, models: str | Sequence[str] | None = None
) -> tuple[NDArray[np.str_], dict[str, FloatArray]]:
    """Read learnability from the fields of a collection.

    Args:
        samples: a dataset or view
        models (None): the networks, by default all that :func:`find_models` finds

    Returns:
        ``(N,)`` ids of all samples, and ``(N,)`` learnability by network, NaN where a sample has none

    Raises:
        ValueError: if a network has no scores in the collection
    """
    models = choose_models(samples, models)
    for model in models:
        check_scored(samples, model)
    if not models:
        return np.array(samples.values("id"), dtype=np.str_), {}
    ids, *columns = samples.values(["id", *map(score_field, models)])
    scores = {model: np.array(column, dtype=np.float64) for model, column in zip(models, columns, strict=True)}
    return np.array(ids, dtype=np.str_), scores


def check_scored(samples: foc.SampleCollection, model: str) -> None:
    """Check that a network has scores in a collection.

    Raises:
        ValueError: if it has none; the message names the networks that have
    """
    models = find_models(samples, derived=True)
    if model not in models:
        names = shorten(", ".join(models), 300) or "none"
        raise ValueError(f"the network {short_repr(model)} has no scores; the networks that do: {names}")


def label_path_of(samples: foc.SampleCollection, model: str) -> str | None:
    """Return the path of the labels that a network was trained with; None if there are none, or no longer."""
    key = owning_run(samples, score_field(model))
    if key is None:
        return None
    try:
        label_field = samples.get_run_info(key).config.label_field
        # imported scores may come without labels
        return None if label_field is None else label_path(samples, label_field)
    except ValueError:
        return None
