"""Scores onto samples other than by our own training: of a model of yours, from a table, or more of a run's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import fiftyone.core.collections as foc
import numpy as np
from numpy.typing import NDArray

from ._version import __version__
from .dataset.columns import Column
from .dataset.fields import WriteReport, add_columns, choose_key, score_columns, write_results
from .dataset.internals import root_dataset
from .dataset.notes import INFO_KEY, score_field
from .dataset.registration import NotingScores, recover
from .dataset.runs import load_model_results
from .dataset.samples import check_images, find_label_fields, label_path
from .dataset.scored import check_scored, choose_models, find_scores
from .experiment.results import ModelResults
from .scores.catalog import SCORES, choose_scores, is_reserved
from .scores.checks import LONGEST_NAME, check_bool, short_repr, shorten
from .scores.formulas import IntArray

if TYPE_CHECKING:
    import pandas as pd

    from .training.tracker import LearnabilityTracker

IMPORTED = "imported"
"""What the keys of runs begin with whose scores were not measured by :func:`compute_learnability`."""


def write_scores(
    samples: foc.SampleCollection,
    source: LearnabilityTracker | ModelResults | pd.DataFrame | Mapping[str, Any],
    name: str,
    *,
    label_field: str | None = None,
    classes: Sequence[str] | None = None,
    learnability: str = "learnability",
    scores: str | Sequence[str] = "all",
    key: str | None = None,
    overwrite: bool = False,
) -> WriteReport:
    """Writes the scores of a model of your own onto the samples: the same fields, panel and comparisons.

    Example::

        tracker = fol.LearnabilityTracker(ids=dataset.values("id"))
        ...  # train, with tracker.update(ids, logits, labels) and tracker.end_epoch()
        fol.write_scores(dataset, tracker, name="my_model")

    Args:
        samples: a dataset or view
        source: a tracker; the results of a run; or a table with a column ``id`` or ``filepath`` and scores in columns
            that are called as in :data:`fiftyone_learnability.scores.catalog.SCORES`. Where there are ids and files,
            files are looked at if the collection has none of the ids. The ids of a tracker may be sample ids or file
            paths; one without ids has its samples in the order of the collection
        name: the name of the model, an identifier; the fields are ``learnability_<name>`` and so on
        label_field (None): the field of the labels that it was trained with, ``ground_truth`` if there is one: what
            tables and the panel show beside the scores
        classes (None): the names of the classes in the order of the model's outputs. With them, the mean predictions
            of a tracker are kept, which suggest labels
        learnability ("learnability"): the column that is taken as learnability where a table has another one; high
            must be easy
        scores ("all"): the scores to be written besides learnability and rank, or "all" that the source has
        key (None): the key of the run; chosen if not given
        overwrite (False): whether existing fields of that name may be replaced

    Returns:
        what was written; its ``vanished`` are the ids or files that are not in the collection

    Raises:
        TypeError: if the source is something else
        ValueError: if the name is not possible, samples cannot be found, or scores are not numbers
        WriteError: if the scores cannot be written; the dataset is as it was before
    """
    prepared = prepare_scores(
        samples,
        source,
        name,
        label_field=label_field,
        classes=classes,
        learnability=learnability,
        scores=scores,
        key=key,
        overwrite=overwrite,
    )
    return write_prepared(samples, prepared, key, overwrite)


class PreparedScores(NamedTuple):
    """What is to be written of a model, checked.

    Attributes:
        result: its scores
        settings: what describes the run
        scores: the names of the scores to be written
        unknown: the ids or files that are not in the collection
    """

    result: ModelResults
    settings: dict[str, Any]
    scores: list[str]
    unknown: list[str]


def prepare_scores(
    samples: foc.SampleCollection,
    source: Any,
    name: str,
    *,
    label_field: str | None = None,
    classes: Sequence[str] | None = None,
    learnability: str = "learnability",
    scores: str | Sequence[str] = "all",
    key: str | None = None,
    overwrite: bool = False,
) -> PreparedScores:
    """Checks all that :func:`write_scores` takes, as it does, and writes nothing of it."""
    check_name(name)
    overwrite = check_bool("overwrite", overwrite)
    if classes is not None and (isinstance(classes, str) or not isinstance(classes, Sequence)):
        raise TypeError(f"classes must be a list of names, not {short_repr(classes)}")
    check_images(samples)
    recover(root_dataset(samples))
    if label_field is None and "ground_truth" in find_label_fields(samples):
        label_field = "ground_truth"
    if isinstance(source, ModelResults):
        result, unknown = _of_results(samples, source, name)
    else:
        result, unknown = _of_scores(samples, source, name, label_field, classes, learnability)
    chosen = result.scores if scores == "all" else choose_scores(scores, 2 if "spread" in result.scores else 1)
    written = [score for score in result.scores if score in chosen]
    choose_key(root_dataset(samples), [name], key, overwrite, written, default=IMPORTED)
    runs, epochs = result.train_loss.shape
    settings = {
        "label_field": label_field,
        "kind": IMPORTED,
        "epochs": epochs,
        "runs": runs,
        "num_samples": len(result.ids),
        "package_version": __version__,
    }
    return PreparedScores(result, settings, written, unknown)


def check_name(name: str) -> None:
    """Checks that a model can be called so.

    Raises:
        ValueError: if it cannot
    """
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"name must be an identifier: letters, digits and underscores, not {short_repr(name)}")
    if len(name) > LONGEST_NAME:
        raise ValueError(f"the name {short_repr(name)} is too long: {LONGEST_NAME} characters are the most")
    if is_reserved(name):
        raise ValueError(f"the name {name!r} is taken by fields of this package: choose another one")


def _of_results(samples: foc.SampleCollection, source: ModelResults, name: str) -> tuple[ModelResults, list[str]]:
    """The results of a run, perhaps of another dataset of the same images, for the samples that are here."""
    here = set(samples.values("id"))
    names = source.ids if any(id in here for id in source.ids.tolist()) else source.filepaths
    ids, rows, unknown = _match(samples, names.tolist())
    result = replace(
        source,
        model=name,
        ids=ids,
        filepaths=np.array(samples.select(ids.tolist(), ordered=True).values("filepath"), dtype=np.str_),
        labels=source.labels[rows],
        run_scores={score: values[:, rows] for score, values in source.run_scores.items()},
        dynamics=None if source.dynamics is None else source.dynamics[:, rows],
        prediction=None if source.prediction is None else source.prediction[rows],
    )
    return result, unknown


def _of_scores(
    samples: foc.SampleCollection,
    source: Any,
    name: str,
    label_field: str | None,
    classes: Sequence[str] | None,
    learnability: str,
) -> tuple[ModelResults, list[str]]:
    """The scores of a tracker or table as the results of one run."""
    if hasattr(source, "state_dict"):
        names, scores, prediction, accuracies = _from_tracker(samples, source)
    else:
        names, scores = _from_table(samples, source, learnability)
        prediction, accuracies = None, np.empty(0)
    ids, rows, unknown = _match(samples, names)
    labels, known = _labels(samples, label_field, ids, classes)
    if prediction is not None:
        if classes is None:
            prediction = None
        elif len(classes) != prediction.shape[1]:
            raise ValueError(f"classes must name the {prediction.shape[1]} outputs of the model, not {len(classes)}")
    curve = np.asarray(accuracies, dtype=np.float64)[None]
    nothing = np.full(curve.shape, np.nan)
    result = ModelResults(
        model=name,
        ids=ids,
        filepaths=np.array(samples.select(ids.tolist(), ordered=True).values("filepath"), dtype=np.str_),
        labels=labels,
        classes=known,
        run_scores={score: values[rows][None] for score, values in scores.items()},
        train_loss=nothing,
        train_accuracy=nothing,
        measured_accuracy=curve,
        epoch_seconds=np.zeros(curve.shape),
        config={"seeds": [0]},
        prediction=None if prediction is None else prediction[rows].astype(np.float16),
    )
    return result, unknown


def write_prepared(
    samples: foc.SampleCollection, prepared: PreparedScores, key: str | None, overwrite: bool
) -> WriteReport:
    """Writes what :func:`prepare_scores` has checked."""
    result, settings, scores, unknown = prepared
    key = choose_key(root_dataset(samples), [result.model], key, overwrite, scores, default=IMPORTED)
    report = write_results(samples, {result.model: result}, key, settings, overwrite, scores)
    return WriteReport(report.key, report.fields, report.num_written, [*unknown, *report.vanished])


def add_scores(
    samples: foc.SampleCollection, scores: str | Sequence[str] = "all", models: str | Sequence[str] | None = None
) -> list[str]:
    """Writes further scores of networks that have been trained: every run keeps all that it has measured.

    Args:
        samples: a dataset or view with scores
        scores ("all"): names of scores, or "all" for all that the run has
        models (None): the networks, by default all

    Returns:
        the fields that were added

    Raises:
        ValueError: if a network has no scores, or its run does not have one that was asked for
        WriteError: if the database fails; the dataset is as it was before
    """
    dataset = root_dataset(samples)
    models = list(dict.fromkeys(choose_models(samples, models)))
    for model in models:
        check_scored(samples, model)
    results = load_model_results(dataset, models)
    columns: list[tuple[ModelResults, Column]] = []
    noted: dict[str, list[str]] = {}
    for model in models:
        if model not in results:
            raise ValueError(f"the run of {model!r} is gone: compute its scores again")
        key, result = dataset.get_field(score_field(model)).info[INFO_KEY]["run"], results[model]
        wanted = result.scores if scores == "all" else choose_scores(scores, len(result.run_learnability))
        lacking = [name for name in wanted if name not in result.scores]
        if lacking:
            raise ValueError(f"the run {key!r} of {model!r} has not measured {', '.join(lacking)}")
        there = find_scores(dataset, model)
        new = [name for name in wanted if name not in there]
        for field in (score_field(model, name) for name in new):
            if dataset.has_field(field):
                raise ValueError(f"there is a field {field!r} which is no score of {model!r}: rename or delete it")
        columns += [(result, column) for column in score_columns(result, model, key, new)]
        noted[key] = noted.get(key, []) + new
    if not columns:
        return []
    ids = sorted({id for result, _ in columns for id in result.ids.tolist()})
    spread = []
    for result, column in columns:
        value_of = dict(zip(result.ids.tolist(), column.values, strict=True))
        spread.append(replace(column, values=[value_of.get(id) for id in ids]))
    add_columns(dataset, ids, spread, NotingScores(dataset, noted))
    return [column.name for column in spread]


def _from_tracker(
    samples: foc.SampleCollection, tracker: Any
) -> tuple[list[str], dict[str, NDArray[np.float64]], NDArray[np.float32] | None, NDArray[np.float64]]:
    if tracker.epochs == 0:
        raise ValueError("the tracker has no epoch yet: call end_epoch() after each epoch")
    names = tracker.ids
    if names is None:
        names = samples.values("id")
        if len(names) != tracker.num_samples:
            raise ValueError(
                f"the tracker has {tracker.num_samples} samples, the collection {len(names)}: without ids they must be "
                "the same, in the same order; make it with LearnabilityTracker(ids=...)"
            )
    seen = tracker.epoch_counts > 0
    scores = {name: values[seen] for name, values in tracker.scores().items() if not np.isnan(values[seen]).all()}
    prediction = tracker.mean_prediction
    chosen = [str(name) for name, was_seen in zip(names, seen.tolist(), strict=True) if was_seen]
    return chosen, scores, None if prediction is None else prediction[seen], tracker.accuracies


def _from_table(
    samples: foc.SampleCollection, source: Any, learnability: str
) -> tuple[list[str], dict[str, NDArray[np.float64]]]:
    import pandas as pd

    if not isinstance(source, (pd.DataFrame, Mapping)):
        raise TypeError(f"source must be a LearnabilityTracker, a table or a mapping, not {type(source).__name__}")
    try:
        table = pd.DataFrame(dict(source)) if isinstance(source, Mapping) else source
    except ValueError as error:
        raise ValueError(f"the columns of the table do not make rows: {error}") from error
    if not table.columns.is_unique or table.columns.nlevels > 1:
        raise ValueError(f"the table must have each column once, under one name; it has {columns_of(table)}")
    column = next((name for name in ("id", "filepath") if name in table), None)
    if column is None:
        raise ValueError(f"the table names no samples: it needs a column id or filepath; it has {columns_of(table)}")
    if column == "id" and "filepath" in table and not table["id"].astype(str).isin(samples.values("id")).any():
        # the same images in another dataset have other ids
        column = "filepath"
    if learnability not in table:
        raise ValueError(
            f"the table has no column {short_repr(learnability)}; it has {columns_of(table)}: name the one to be taken "
            "as learnability (high is easy) with learnability="
        )
    wanted = {
        name: name
        for name, score in SCORES.items()
        if name in table and not score.derived and name not in ("rank", "learnability")
    }
    scores = {}
    for score, name in {"learnability": learnability, **wanted}.items():
        # dates and complex numbers would pass for numbers
        if len(table) and table[name].dtype.kind in "mMc":
            raise ValueError(f"the column {name!r} holds what is not a number: {short_repr(table[name].iloc[0])}")
        try:
            numbers = pd.to_numeric(table[name], errors="coerce")
        # such as whole numbers too large for any float
        except (OverflowError, TypeError, ValueError) as error:
            raise ValueError(f"the column {name!r} holds what is not a number: {error}") from error
        if len(strange := table[name][numbers.isna() & table[name].notna()]):
            raise ValueError(f"the column {name!r} holds what is not a number: {short_repr(strange.iloc[0])}")
        scores[score] = numbers.to_numpy(np.float64, na_value=np.nan)
    if np.isinf(scores["learnability"]).any():
        raise ValueError(f"the column {learnability!r} holds infinite values, which cannot be learnability")
    known = ~np.isnan(scores["learnability"])
    if not known.any():
        raise ValueError(f"the column {learnability!r} holds no numbers")
    if (nameless := int(table[column].isna().to_numpy()[known].sum())) > 0:
        raise ValueError(f"{nameless} rows of the table have nothing in the column {column!r}: name their samples")
    names = table[column].astype(str).to_numpy()[known].tolist()
    return names, {score: values[known] for score, values in scores.items()}


def _match(samples: foc.SampleCollection, names: list[str]) -> tuple[NDArray[np.str_], IntArray, list[str]]:
    """Finds samples by id or file: the ids, sorted, the row of each, and the names that were not found."""
    ids, files = samples.values(["id", "filepath"])
    if not ids:
        raise ValueError("the collection is empty: there is nothing to be scored")
    if len(set(names)) < len(names):
        twice = Counter(names).most_common(1)[0][0]
        raise ValueError(f"the scores name the sample {short_repr(twice)} more than once")
    here = set(ids)
    by_name = {id: id for id in ids}
    if not any(name in here for name in names):
        by_name = dict(zip(files, ids, strict=True))
        if len(by_name) < len(files):
            raise ValueError("some samples share a file, so that files do not tell them apart: name samples by id")
        if not any(name in by_name for name in names):
            # a dataset that has moved keeps the names of its files
            by_name = {Path(file).name: id for file, id in zip(files, ids, strict=True)}
            ends = [Path(name).name for name in names]
            if len(by_name) < len(files) or len(set(ends)) < len(ends) or not any(end in by_name for end in ends):
                raise ValueError(
                    f"none of the {len(names)} scored samples is in the collection: the scores name them like "
                    f"{short_repr(names[0])}, the collection like {ids[0]!r} and {short_repr(files[0])}"
                )
            by_name = {name: by_name[end] for name, end in zip(names, ends, strict=True) if end in by_name}
    found = sorted((by_name[name], row) for row, name in enumerate(names) if name in by_name)
    unknown = [name for name in names if name not in by_name]
    return np.array([id for id, _ in found], np.str_), np.array([row for _, row in found], np.int64), unknown


def _labels(
    samples: foc.SampleCollection, label_field: str | None, ids: NDArray[np.str_], classes: Sequence[str] | None
) -> tuple[IntArray, tuple[str, ...]]:
    """The class of each sample as a number, -1 where there is none, and the names of the classes."""
    given = tuple(str(name) for name in classes or ())
    if label_field is None:
        return np.full(len(ids), -1, dtype=np.int64), given
    values = samples.select(ids.tolist(), ordered=True).values(label_path(samples, label_field))
    names = [None if value is None else str(value) for value in values]
    known = given or tuple(sorted({name for name in names if name is not None}))
    number = {name: index for index, name in enumerate(known)}
    strange = sorted({name for name in names if name is not None and name not in number})
    if strange:
        raise ValueError(
            f"the field {label_field!r} has labels that classes does not name: {', '.join(map(shorten, strange[:5]))}"
        )
    return np.array([-1 if name is None else number[name] for name in names], dtype=np.int64), known


def columns_of(table: pd.DataFrame) -> str:
    """The columns of a table, for messages."""
    return shorten(", ".join(map(str, table.columns)), 300) or "no columns"
