"""Scores in and out: written from your own training, added from a run, read from files, exported, as pred_probs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import fiftyone.core.collections as foc
import numpy as np
from numpy.typing import NDArray

from ._version import __version__
from .compare import check_scored, find_models, find_scores, label_path_of
from .dataset.columns import Column
from .dataset.fields import NotingScores, WriteReport, add_columns, choose_key, score_columns, write_results
from .dataset.registry import INFO_KEY, load_model_results, score_field
from .dataset.samples import check_images, find_label_fields, label_path
from .experiment.results import ModelResults
from .science.catalog import SCORES, choose_scores
from .science.scores import IntArray

if TYPE_CHECKING:
    import pandas as pd

    from .science.tracker import LearnabilityTracker

IMPORTED = "imported"
"""What the keys of runs begin with whose scores were not measured by :func:`compute_learnability`."""

_TAKEN = ("consensus", "disagreement", "suggestion", "contradiction", "verdict")
"""What models cannot be called: their fields would be those of this package's own."""

_ENDINGS = (".csv", ".npz", ".parquet")


class Predictions(NamedTuple):
    """The mean predictions of a network, as other tools take them.

    Attributes:
        ids: ``(N,)`` sample ids
        labels: ``(N,)`` the label that each sample had in training, an index into ``classes``
        pred_probs: ``(N, classes)`` mean over epochs and runs of the probabilities; rows sum to 1
        classes: the names of the classes
    """

    ids: NDArray[np.str_]
    labels: IntArray
    pred_probs: NDArray[np.float64]
    classes: tuple[str, ...]


def write_scores(
    samples: foc.SampleCollection,
    source: LearnabilityTracker | pd.DataFrame | Mapping[str, Any],
    name: str,
    *,
    label_field: str | None = None,
    classes: Sequence[str] | None = None,
    learnability: str = "learnability",
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
        source: a tracker; or a table with a column ``id`` or ``filepath`` and scores in columns that are called as in
            :data:`fiftyone_learnability.science.catalog.SCORES`; where it has both, files are looked at if the
            collection has none of the ids. The ids of a tracker may be sample ids or file paths;
            one without ids has its samples in the order of the collection
        name: the name of the model, an identifier; the fields are ``learnability_<name>`` and so on
        label_field (None): the field of the labels that it was trained with, ``ground_truth`` if there is one: what
            tables and the panel show beside the scores
        classes (None): the names of the classes in the order of the model's outputs. With them, the mean predictions
            of a tracker are kept, which suggest labels
        learnability ("learnability"): the column that is taken as learnability where a table has another one; high
            must be easy
        key (None): the key of the run; chosen if not given
        overwrite (False): whether existing fields of that name may be replaced

    Returns:
        what was written; its ``vanished`` are the ids or files that are not in the collection

    Raises:
        TypeError: if the source is something else
        ValueError: if the name is not possible, samples cannot be found, or scores are not numbers
        WriteError: if the scores cannot be written; the dataset is as it was before
    """
    prepared = _prepare(
        samples,
        source,
        name,
        label_field=label_field,
        classes=classes,
        learnability=learnability,
        key=key,
        overwrite=overwrite,
    )
    return _write(samples, prepared, key, overwrite)


class _Prepared(NamedTuple):
    """What is to be written of a model."""

    result: ModelResults
    settings: dict[str, Any]
    scores: list[str]
    unknown: list[str]


def _prepare(
    samples: foc.SampleCollection,
    source: Any,
    name: str,
    *,
    label_field: str | None = None,
    classes: Sequence[str] | None = None,
    learnability: str = "learnability",
    key: str | None = None,
    overwrite: bool = False,
) -> _Prepared:
    """Checks all that :func:`write_scores` takes, and writes nothing."""
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"name must be an identifier: letters, digits and underscores, not {name!r}")
    if name.startswith("rank_") or name in _TAKEN:
        raise ValueError(f"the name {name!r} is taken by fields of this package: choose another one")
    check_images(samples)
    if hasattr(source, "state_dict"):
        names, scores, prediction, accuracies = _from_tracker(samples, source)
    else:
        names, scores = _from_table(samples, source, learnability)
        prediction, accuracies = None, np.empty(0)
    written = [score for score in SCORES if score in scores or score == "rank"]
    choose_key(samples._root_dataset, [name], key, overwrite, written, default=IMPORTED)
    ids, rows, unknown = _match(samples, names)
    if label_field is None and "ground_truth" in find_label_fields(samples):
        label_field = "ground_truth"
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
    settings = {
        "label_field": label_field,
        "kind": IMPORTED,
        "epochs": curve.shape[1],
        "runs": 1,
        "num_samples": len(ids),
        "package_version": __version__,
    }
    return _Prepared(result, settings, written, unknown)


def _write(samples: foc.SampleCollection, prepared: _Prepared, key: str | None, overwrite: bool) -> WriteReport:
    result, settings, scores, unknown = prepared
    key = choose_key(samples._root_dataset, [result.model], key, overwrite, scores, default=IMPORTED)
    report = write_results(samples, {result.model: result}, key, settings, overwrite, scores)
    return WriteReport(report.key, report.fields, report.num_written, [*unknown, *report.vanished])


def import_scores(
    samples: foc.SampleCollection, path: str | Path, name: str | None = None, **options: Any
) -> list[WriteReport]:
    """Reads somebody's scores from a file into the same fields; each model is a run of its own.

    Everything is checked before anything is written.

    Args:
        samples: a dataset or view
        path: a csv, npz or parquet file with a column ``id`` or ``filepath`` and scores, or one that
            :func:`export_scores` or :meth:`ModelResults.to_npz` wrote
        name (None): the name of the model; of a file of :func:`export_scores`, which names its models, it chooses one,
            and None takes all
        **options: see :func:`write_scores`

    Returns:
        what was written, for each model

    Raises:
        ValueError: if the file cannot be read, a ``key`` is given for several models, or see :func:`write_scores`
    """
    path = Path(path)
    table = read_table(path)
    models = _models_of(table)
    if not models:
        if name is None:
            raise ValueError(f"{path.name} does not name its model: give name=")
        return [write_scores(samples, table, name, **options)]
    if name is not None:
        if name not in models:
            raise ValueError(f"{path.name} has no model {name!r}; it has: {', '.join(models)}")
        models = [name]
    key, overwrite = options.get("key"), options.get("overwrite", False)
    if key is not None and len(models) > 1:
        raise ValueError(f"the key {key!r} is for one run, and {path.name} has {', '.join(models)}: choose by name=")
    prepared = []
    for model in models:
        columns = {score_field(model, name): name for name, score in SCORES.items() if not score.derived}
        kept = [column for column in table if column in columns or column in ("id", "filepath")]
        prepared.append(_prepare(samples, table[kept].rename(columns=columns), model, **options))
    return [_write(samples, one, key, overwrite) for one in prepared]


def add_scores(
    samples: foc.SampleCollection, scores: str | Sequence[str] = "all", models: Sequence[str] | None = None
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
    dataset = samples._root_dataset
    models = find_models(samples) if models is None else list(dict.fromkeys(models))
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


def pred_probs(samples: foc.SampleCollection, model: str) -> Predictions:
    """The mean predictions of a network for the samples of a collection, as cleanlab and others take them.

    They are the means over all epochs of the training, for images that were trained on. Tools that expect predictions
    for held-out images get something that has seen the label, though averaged over the epochs before it was learned.

    Example::

        found = fol.pred_probs(dataset, "resnet20")
        cleanlab.filter.find_label_issues(found.labels, found.pred_probs)

    Args:
        samples: a dataset or view with scores
        model: the network

    Returns:
        ids, labels, probabilities and classes, of the samples that the run has, in the order of the collection

    Raises:
        ValueError: if the network has no scores, or its run has not kept its predictions
    """
    check_scored(samples, model)
    result = load_model_results(samples._root_dataset, [model]).get(model)
    if result is None or result.prediction is None:
        raise ValueError(f"the run of {model!r} has not kept its predictions: compute it again")
    position = {id: index for index, id in enumerate(result.ids.tolist())}
    ids = [id for id in samples.values("id") if id in position]
    rows = np.array([position[id] for id in ids], dtype=np.int64)
    probabilities = result.prediction[rows].astype(np.float64)
    # half precision leaves sums a little off one, which some tools check
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return Predictions(np.array(ids, np.str_), result.labels[rows], probabilities, result.classes)


def scores_table(samples: foc.SampleCollection, models: Sequence[str] | None = None) -> pd.DataFrame:
    """All scores of a collection as a table.

    Args:
        samples: a dataset or view with scores
        models (None): the networks, by default all, and the consensus

    Returns:
        one row a sample: id, filepath, label, then the fields of each network, such as ``learnability_<model>`` and
        ``learnability_rank_<model>``

    Raises:
        ValueError: if there are no scores
    """
    import pandas as pd

    models = find_models(samples, derived=True) if models is None else models
    if not models:
        raise ValueError("there are no scores to export: compute learnability first")
    for model in models:
        check_scored(samples, model)
    label_at = label_path_of(samples, models[0])
    fields = {score_field(model, score): score for model in models for score in find_scores(samples, model)}
    ids, files, *columns = samples.values(["id", "filepath", *fields])
    table: dict[str, Any] = {
        "id": np.array(ids, dtype=np.str_),
        "filepath": files,
        # as they are: beside a None, pandas would make 3 a 3.0
        "label": pd.Series(samples.values(label_at) if label_at else [None] * len(ids), dtype=object),
    }
    for (field, score), column in zip(fields.items(), columns, strict=True):
        # ranks are whole numbers that may be missing
        table[field] = pd.array(column, dtype="Int64") if score == "rank" else np.array(column, dtype=np.float64)
    return pd.DataFrame(table)


def export_scores(samples: foc.SampleCollection, path: str | Path, models: Sequence[str] | None = None) -> int:
    """Writes all scores of a collection into a file.

    Args:
        samples: a dataset or view with scores
        path: the file; ``.csv`` and ``.parquet`` (which needs pyarrow) give the table of :func:`scores_table`, ``.npz``
            the same columns as arrays, NaN for a missing rank
        models (None): the networks, by default all, and the consensus

    Returns:
        the number of samples

    Raises:
        ValueError: if there are no scores, or the ending is another one
    """
    path = check_ending(path)
    table = scores_table(samples, models)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        table.to_csv(path, index=False)
    elif path.suffix == ".parquet":
        table.astype({"label": "string"}).to_parquet(path, index=False)
    else:
        text: dict[str, Any] = {
            name: np.array(["" if value is None else str(value) for value in table[name]], np.str_)
            for name in ("id", "filepath", "label")
        }
        numbers = {
            name: table[name].to_numpy(np.float64, na_value=np.nan) for name in table.columns if name not in text
        }
        np.savez_compressed(path, **text, **numbers)
    return len(table)


def read_table(path: str | Path) -> pd.DataFrame:
    """Reads the scores in a file.

    Args:
        path: a csv, npz or parquet file; of an npz file the one-dimensional arrays of the length of ``id`` or
            ``filepath`` are taken, and nothing that is pickled

    Raises:
        ValueError: if it cannot be read, or has neither ids nor files
    """
    import pandas as pd

    path = check_ending(path)
    try:
        if path.suffix == ".csv":
            text = {"id": str, "filepath": str, "label": str}
            # by default the last digit may be another one
            table = pd.read_csv(path, dtype=text, float_precision="round_trip")
        elif path.suffix == ".parquet":
            table = pd.read_parquet(path)
        else:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            # the results of one network name their samples in the plural
            arrays = {{"ids": "id", "filepaths": "filepath"}.get(name, name): array for name, array in arrays.items()}
            for name, array in list(arrays.items()):
                if name.startswith("run_") and array.ndim == 2:
                    arrays.setdefault(name.removeprefix("run_"), array.mean(axis=0))
            lengths = {len(arrays[name]) for name in ("id", "filepath") if name in arrays and arrays[name].ndim == 1}
            table = pd.DataFrame(
                {name: array for name, array in arrays.items() if array.ndim == 1 and {len(array)} == lengths}
            )
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}") from None
    except ImportError as error:
        raise ValueError(f"parquet files need pyarrow: pip install pyarrow ({error})") from error
    except Exception as error:
        raise ValueError(f"{path} cannot be read as a {path.suffix[1:]} file: {error}") from error
    if not {"id", "filepath"} & set(table.columns):
        raise ValueError(f"{path.name} names no samples: it needs a column id or filepath; it has {_listed(table)}")
    return table


def check_ending(path: str | Path) -> Path:
    """The path, if its ending is that of a file that scores can be in.

    Raises:
        ValueError: if it is not
    """
    path = Path(path)
    if path.suffix not in _ENDINGS:
        raise ValueError(f"{path.name!r} must end in {', '.join(_ENDINGS[:-1])} or {_ENDINGS[-1]}")
    return path


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
    table = pd.DataFrame(dict(source)) if isinstance(source, Mapping) else source
    column = next((name for name in ("id", "filepath") if name in table), None)
    if column is None:
        raise ValueError(f"the table names no samples: it needs a column id or filepath; it has {_listed(table)}")
    if column == "id" and "filepath" in table and not table["id"].astype(str).isin(samples.values("id")).any():
        # the same images in another dataset have other ids
        column = "filepath"
    if learnability not in table:
        raise ValueError(
            f"the table has no column {learnability!r}; it has {_listed(table)}: name the one to be taken as "
            "learnability (high is easy) with learnability="
        )
    wanted = {
        name: name
        for name, score in SCORES.items()
        if name in table and not score.derived and name not in ("rank", "learnability")
    }
    scores = {}
    for score, name in {"learnability": learnability, **wanted}.items():
        numbers = pd.to_numeric(table[name], errors="coerce")
        if len(strange := table[name][numbers.isna() & table[name].notna()]):
            raise ValueError(f"the column {name!r} holds what is not a number: {strange.iloc[0]!r}")
        scores[score] = numbers.to_numpy(np.float64, na_value=np.nan)
    if np.isinf(scores["learnability"]).any():
        raise ValueError(f"the column {learnability!r} holds infinite values, which cannot be learnability")
    known = ~np.isnan(scores["learnability"])
    if not known.any():
        raise ValueError(f"the column {learnability!r} holds no numbers")
    names = table[column].astype(str).to_numpy()[known].tolist()
    return names, {score: values[known] for score, values in scores.items()}


def _match(samples: foc.SampleCollection, names: list[str]) -> tuple[NDArray[np.str_], IntArray, list[str]]:
    """Finds samples by id or file: the ids, sorted, the row of each, and the names that were not found."""
    ids, files = samples.values(["id", "filepath"])
    if not ids:
        raise ValueError("the collection is empty: there is nothing to be scored")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the scores name the sample {twice!r} more than once")
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
                    f"{names[0]!r}, the collection like {ids[0]!r} and {files[0]!r}"
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
        raise ValueError(f"the field {label_field!r} has labels that classes does not name: {', '.join(strange[:5])}")
    return np.array([-1 if name is None else number[name] for name in names], dtype=np.int64), known


def _models_of(table: pd.DataFrame) -> list[str]:
    """The models that the columns of an exported table name."""
    marker = "learnability_rank_"
    ranked = [column.removeprefix(marker) for column in table.columns if column.startswith(marker)]
    return [model for model in ranked if score_field(model) in table and model != "consensus"]


def _listed(table: pd.DataFrame) -> str:
    return ", ".join(map(str, table.columns)) or "no columns"
