"""Which scores a collection has, and their values."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import fiftyone as fo
import fiftyone.core.collections as foc
import numpy as np
from numpy.typing import NDArray

from ..experiment.results import ModelResults
from ..scores.catalog import SCORES
from ..scores.checks import check_names, plain_name, short_repr, shorten
from ..scores.formulas import FloatArray
from .internals import root_dataset, run_settings
from .notes import METHOD, moved_fields, notes_of, score_field
from .registry import describe_no_run, find_run
from .runs import load_model_results
from .samples import check_collection, find_label_fields, label_path

_logger = logging.getLogger(__name__)


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
    """Return the given networks by their names in the collection, or all that :func:`find_models` finds.

    Args:
        samples: a dataset or view
        models: one name, several, or None for all
        derived (False): see :func:`find_models`
    """
    if models is None:
        return find_models(samples, derived)
    check_collection(samples)
    present = _known_models(samples)
    return [resolve_name(name, present) for name in names_of(models)]


def resolve_name(name: str, present: Sequence[str]) -> str:
    """Return a network as it is called in its fields, though it may be written as in the App: "ResNet-20".

    Args:
        name: the network as a user has written it
        present: the networks that there are. A name that fits none, or several, is returned as it is
    """
    if name in present or not isinstance(name, str):
        return name
    alike = [model for model in present if plain_name(model) == plain_name(name)]
    return alike[0] if len(alike) == 1 else name


def _known_models(samples: foc.SampleCollection) -> list[str]:
    """Return the networks that have scores in a collection, also the consensus, and those that have a run."""
    return list(dict.fromkeys([*find_models(samples, derived=True), *models_of_runs(samples)]))


def models_of_runs(samples: foc.SampleCollection) -> list[str]:
    """Return the networks of a dataset's runs, without the consensus."""
    runs = run_settings(root_dataset(samples), METHOD).values()
    return [model for settings in runs if not _is_derived(settings) for model in settings.get("models") or ()]


def _is_derived(settings: Mapping[str, Any]) -> bool:
    """True for the settings of a run that combines networks: it writes scores that no network has alone."""
    return any(name in SCORES and SCORES[name].derived for name in settings.get("scores") or ())


def choose_results(results: Mapping[str, ModelResults], models: str | Sequence[str] | None) -> dict[str, ModelResults]:
    """Return the results of some networks.

    Args:
        results: results by network
        models: one name, several, or None for all

    Raises:
        ValueError: if there are no results of a network
    """
    names = list(results) if models is None else [resolve_name(name, list(results)) for name in names_of(models)]
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
    models = [check_scored(samples, model) for model in choose_models(samples, models)]
    if not models:
        return np.array(samples.values("id"), dtype=np.str_), {}
    ids, *columns = samples.values(["id", *map(score_field, models)])
    scores = {model: np.array(column, dtype=np.float64) for model, column in zip(models, columns, strict=True)}
    return np.array(ids, dtype=np.str_), scores


def check_scored(samples: foc.SampleCollection, model: str, *scores: str) -> str:
    """Check that a network has scores in a collection.

    Args:
        samples: a dataset or view
        model: the network, also written as in the App
        *scores: scores besides learnability that it must have as fields

    Returns:
        the network as it is called in its fields

    Raises:
        ValueError: if it has none; the message names the networks that have, or the field that is missing
    """
    models = find_models(samples, derived=True)
    model = resolve_name(model, _known_models(samples))
    if model not in models:
        names = shorten(", ".join(models), 300) or "none"
        where = _describe_missing(samples, model, "learnability")
        found = f"the network {short_repr(model)} has no scores; the networks that do: {names}"
        raise ValueError(f"{found}; {where}" if where else found)
    present = find_scores(samples, model)
    for score in scores:
        if score not in present:
            lost = f"the field {score_field(model, score)!r} was deleted or renamed, and "
            where = _describe_missing(samples, model, score)
            raise ValueError(where or lost + describe_no_run(root_dataset(samples), model))
    return model


def describe_no_scores(samples: foc.SampleCollection) -> str:
    """Say why a collection has no scores, and what to do."""
    dataset = root_dataset(samples)
    moved = [note.model for _, note in moved_fields(dataset).values() if note.model is not None and not note.derived]
    for model in [*find_models(dataset), *moved, *models_of_runs(dataset)]:
        if where := _describe_missing(samples, model, "learnability"):
            return f"no field has the name of a score; {where}"
    return "there are no scores yet: compute learnability first"


def _describe_missing(samples: foc.SampleCollection, model: str, score: str) -> str | None:
    """Say where a score of a network is that a collection lacks, and what to do; None if nothing is known of it."""
    dataset, field = root_dataset(samples), score_field(model, score)
    if score in find_scores(dataset, model):
        return f"the view leaves out the field {field!r}"
    moved = moved_fields(dataset)
    if field in moved:
        name, _ = moved[field]
        return f"the field {name!r} holds the {score} of {model!r}: rename it to {field!r} to use it as such"
    key = find_run(dataset, model)
    if key is None:
        return None
    is_derived = _is_derived(run_settings(dataset, METHOD)[key])
    call = "write_consensus(dataset, overwrite=True)" if is_derived else f"add_scores(dataset, {score!r}, {model!r})"
    return f"the field {field!r} was deleted or renamed: {call} writes it again"


def label_path_of(samples: foc.SampleCollection, model: str) -> str | None:
    """Return the path of the labels that a network was trained with; None if there are none, or no longer."""
    label_field = label_field_of(samples, model)
    try:
        return None if label_field is None else label_path(samples, label_field)
    except ValueError:
        return None


def label_field_of(samples: foc.SampleCollection, model: str) -> str | None:
    """Return the field of the labels that a network was trained with; None if its run is gone or names none."""
    dataset = root_dataset(samples)
    key = find_run(dataset, model)
    # imported scores may come without labels
    return None if key is None else getattr(dataset.get_run_info(key).config, "label_field", None)


def describe_no_labels(samples: foc.SampleCollection, model: str, or_else: str = "") -> str:
    """Say why :func:`label_path_of` finds no labels, and what to do.

    Args:
        samples: a dataset or view
        model: the network
        or_else (""): what helps besides bringing the field back
    """
    dataset, label_field = root_dataset(samples), label_field_of(samples, model)
    tail = f": {or_else}" if or_else else ""
    if find_run(dataset, model) is None:
        return describe_no_run(dataset, model) + tail
    if label_field is None:
        return f"the scores of {model!r} were imported without a label field{tail}"
    field = f"the field {label_field!r} with the labels that {model!r} was trained with"
    if dataset.get_field(label_field) is not None and samples.get_field(label_field) is None:
        return f"the view leaves out {field}{tail}"
    result = load_model_results(dataset, [model]).get(model)
    alike = [] if result is None else _fields_with_classes(dataset, result.classes)
    if not alike:
        return f"{field} was deleted or renamed{tail}"
    rename = f"rename it back if it is now {' or '.join(map(repr, alike))}, which has the same classes"
    return f"{field} was deleted or renamed: {rename}{f'; or {or_else}' if or_else else ''}"


def warn_of_no_labels(samples: foc.SampleCollection, model: str) -> None:
    """Log that the labels that a network was trained with are gone, for calls that go on without them."""
    is_without = find_run(root_dataset(samples), model) is not None and label_field_of(samples, model) is None
    if not is_without and label_path_of(samples, model) is None:
        _logger.warning(f"the column label stays empty: {describe_no_labels(samples, model)}")


def _fields_with_classes(dataset: fo.Dataset, classes: Sequence[str]) -> list[str]:
    """Return the label fields whose labels are all among some classes, and at least two of these."""
    fields = find_label_fields(dataset)
    labels = {name: set(map(str, dataset.distinct(label_path(dataset, name)))) for name in fields}
    return [name for name in fields if len(labels[name]) > 1 and labels[name] <= set(classes)]
