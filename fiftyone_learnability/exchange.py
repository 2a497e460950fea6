"""Exports scores to files and tables, imports them from files, and hands predictions to other tools."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import fiftyone.core.collections as foc
import numpy as np
from numpy.typing import NDArray

from .dataset.fields import WriteReport
from .dataset.imported import prepare_scores
from .dataset.internals import root_dataset
from .dataset.notes import score_field
from .dataset.registry import describe_no_run
from .dataset.runs import load_model_results
from .dataset.scored import (
    check_scored,
    choose_models,
    describe_no_scores,
    find_scores,
    label_path_of,
    resolve_name,
    warn_of_no_labels,
)
from .dataset.suggestions import CONTRADICTION, SUGGESTION, VERDICT, describe_no_suggestions, find_decisions
from .experiment.results import ModelResults
from .experiment.results_file import read_model_name
from .experiment.score_files import (
    check_replaceable,
    check_score_path,
    ending_of,
    read_columns,
    read_table,
    write_table,
)
from .scores.catalog import SCORES
from .scores.checks import check_bool, check_names
from .scores.formulas import IntArray

if TYPE_CHECKING:
    import pandas as pd


class Predictions(NamedTuple):
    """The mean predictions of a network, in the form that other tools take.

    Attributes:
        ids: ``(N,)`` sample ids
        labels: ``(N,)`` the label that each sample had in training, an index into ``classes``
        pred_probs: ``(N, classes)`` mean probabilities over epochs and runs; rows sum to 1
        classes: the names of the classes
    """

    ids: NDArray[np.str_]
    labels: IntArray
    pred_probs: NDArray[np.float64]
    classes: tuple[str, ...]


def import_scores(
    samples: foc.SampleCollection,
    path: str | Path,
    name: str | Sequence[str] | None = None,
    *,
    models: str | Sequence[str] | None = None,
    **options: Any,
) -> list[WriteReport]:
    """Read scores from a file and write them as fields. Each model becomes a run of its own.

    All models are checked before the first one is written.

    Args:
        samples: a dataset or view
        path: a csv, npz or parquet file with a column ``id`` or ``filepath`` and scores, or a file written by
            :func:`export_scores` or :meth:`ModelResults.to_npz`
        name (None): the name to save the scores under, or one for each model, in their order. Files of
            :func:`export_scores` and :meth:`ModelResults.to_npz` name their models themselves; other files need it
        models (None): the models to take from a file that names them, by default all
        **options: see :func:`write_scores`

    Returns:
        what was written, for each model

    Raises:
        ValueError: if the file cannot be read, it does not have one of ``models``, ``name`` has not one name for each
            model, or a ``key`` is given for several models; see also :func:`write_scores`
    """
    path = check_score_path(path)
    sources: list[Any]
    if (results := _read_results(path)) is not None:
        chosen = _choose_models(path, [results.model], models)
        sources = [results]
    else:
        table = read_table(path)
        chosen = _choose_models(path, _exported_models(table.columns), models)
        sources = [_columns_of(table, model) for model in chosen] or [table]
    names = _choose_names(path, chosen, name)
    if options.get("key") is not None and len(names) > 1:
        raise ValueError(
            f"the key {options['key']!r} is for one run, and {path.name} has {', '.join(chosen)}: choose one with "
            "models="
        )
    pairs = zip(sources, names, strict=True)
    prepared = [prepare_scores(samples, source, saved_as, **options) for source, saved_as in pairs]
    return [model.write() for model in prepared]


def models_in(path: str | Path) -> list[str]:
    """Return the models that a file of scores names; none for a file of another tool.

    This reads the names of the columns alone.

    Args:
        path: a csv, npz or parquet file

    Raises:
        ValueError: if the file cannot be read
    """
    path = check_score_path(path)
    model = read_model_name(path) if ending_of(path) == ".npz" else None
    return _exported_models(read_columns(path)) if model is None else [model]


def pred_probs(samples: foc.SampleCollection, model: str) -> Predictions:
    """Return the mean predictions of a network in the form that cleanlab and other tools take.

    They are averaged over all epochs of the training, for images that the network was trained on. Tools that expect
    predictions for held-out images therefore get predictions of a network that has seen the label, averaged with those
    from before it was learned.

    Example::

        predictions = fol.pred_probs(dataset, "resnet20")
        cleanlab.filter.find_label_issues(predictions.labels, predictions.pred_probs)

    Args:
        samples: a dataset or view with scores
        model: the network

    Returns:
        ids, labels, probabilities and classes of the samples that the run has, in the order of the collection

    Raises:
        ValueError: if the network has no scores, or its run did not keep its predictions
    """
    model = check_scored(samples, model)
    result = load_model_results(root_dataset(samples), [model]).get(model)
    if result is None:
        raise ValueError(describe_no_run(root_dataset(samples), model))
    if result.prediction is None:
        raise ValueError(f"the run of {model!r} has not kept its predictions: compute it again")
    row_of = {id: row for row, id in enumerate(result.ids.tolist())}
    ids = [id for id in samples.values("id") if id in row_of]
    rows = np.array([row_of[id] for id in ids], dtype=np.int64)
    probabilities = result.prediction[rows].astype(np.float64)
    # stored in half precision, the rows do not sum to exactly 1, which some tools check
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return Predictions(np.array(ids, np.str_), result.labels[rows], probabilities, result.classes)


def scores_table(samples: foc.SampleCollection, models: str | Sequence[str] | None = None) -> pd.DataFrame:
    """Return all scores of a collection as a table.

    Args:
        samples: a dataset or view with scores
        models (None): the networks, by default all, and the consensus

    Returns:
        one row per sample: id, filepath, label, then the fields of each network, such as ``learnability_<model>`` and
        ``learnability_rank_<model>``. If labels were suggested, the columns ``suggested_label``, ``contradiction``,
        ``verdict`` and ``decision`` follow; the decision is "accepted", "kept" or "skipped", None without one

    Raises:
        ValueError: if there are no scores
    """
    import pandas as pd

    models = choose_models(samples, models, derived=True)
    if not models:
        raise ValueError(describe_no_scores(samples))
    for model in models:
        check_scored(samples, model)
    # imported scores may have no label field
    label_at = next(filter(None, (label_path_of(samples, model) for model in models)), None)
    if label_at is None:
        warn_of_no_labels(samples, models[0])
    fields = {score_field(model, score): score for model in models for score in find_scores(samples, model)}
    ids, files, *columns = samples.values(["id", "filepath", *fields])
    table: dict[str, Any] = {
        "id": np.array(ids, dtype=np.str_),
        "filepath": files,
        # dtype=object: beside a None, pandas would turn 3 into 3.0
        "label": pd.Series(samples.values(label_at) if label_at else [None] * len(ids), dtype=object),
    }
    for (field, score), column in zip(fields.items(), columns, strict=True):
        # Int64: ranks are integers, some of them missing
        table[field] = pd.array(column, dtype="Int64") if score == "rank" else np.array(column, dtype=np.float64)
    return pd.DataFrame({**table, **_suggestion_columns(samples, ids)})


def _suggestion_columns(samples: foc.SampleCollection, ids: Sequence[str]) -> dict[str, Any]:
    """The columns of suggested labels, in the order of the ids; none if the collection has no suggestions."""
    import pandas as pd

    if describe_no_suggestions(samples, applied=False) is not None:
        return {}
    suggested, contradiction, verdicts = samples.values([f"{SUGGESTION}.label", CONTRADICTION, VERDICT])
    decisions = find_decisions(samples)
    return {
        "suggested_label": pd.Series(suggested, dtype=object),
        "contradiction": np.array(contradiction, dtype=np.float64),
        "verdict": pd.Series(verdicts, dtype=object),
        "decision": pd.Series([decisions.get(id) for id in ids], dtype=object),
    }


def export_scores(
    samples: foc.SampleCollection,
    path: str | Path,
    models: str | Sequence[str] | None = None,
    *,
    overwrite: bool = False,
) -> int:
    """Write all scores of a collection to a file.

    Args:
        samples: a dataset or view with scores
        path: the file. ``.csv`` and ``.parquet`` (which needs pyarrow) hold the table of :func:`scores_table`;
            ``.npz`` holds its columns as arrays, with NaN for a missing rank
        models (None): the networks, by default all, and the consensus
        overwrite (False): True replaces any file. A file of exported scores is replaced in any case

    Returns:
        the number of samples

    Raises:
        ValueError: if there are no scores, the file has another ending, it exists and holds anything but exported
            scores, or pyarrow is missing for a parquet file
    """
    path = check_score_path(path)
    if not check_bool("overwrite", overwrite):
        check_replaceable(path, ", or replace it with overwrite=True")
    table = scores_table(samples, models)
    write_table(table, path)
    return len(table)


def _read_results(path: Path) -> ModelResults | None:
    """The results of a run, or None if the file does not hold any."""
    if ending_of(path) != ".npz" or not path.is_file():
        return None
    try:
        return ModelResults.from_npz(path)
    # any other npz file is read as a table; a damaged one is then refused there
    except Exception:  # noqa: BLE001
        return None


def _choose_models(path: Path, named: list[str], models: str | Sequence[str] | None) -> list[str]:
    """Return the models to take, of those that a file names; none if it names none."""
    if models is None:
        return named
    chosen = [resolve_name(model, named) for model in check_names("models", models)]
    for model in chosen:
        if model not in named:
            raise ValueError(f"{path.name} has no model {model!r}; it has: {', '.join(named) or 'none'}")
    return chosen


def _choose_names(path: Path, models: list[str], name: str | Sequence[str] | None) -> list[str]:
    """Return the names to save the models of a file under."""
    if name is None:
        if not models:
            raise ValueError(f"{path.name} does not name its model: give name=")
        return models
    names = check_names("name", name)
    if len(names) != max(len(models), 1) or len(set(names)) < len(names):
        taken = ", ".join(models) or "no model that it names"
        raise ValueError(
            f"name must be one name for each of the models of {path.name}, each once, not {', '.join(names)}: it has "
            f"{taken}. Choose some of them with models="
        )
    return names


def _exported_models(columns: Iterable[str]) -> list[str]:
    """The models in a table that :func:`export_scores` wrote; none for other tables."""
    prefix, columns = "learnability_rank_", list(columns)
    ranked = [column.removeprefix(prefix) for column in columns if column.startswith(prefix)]
    return [model for model in ranked if score_field(model) in columns and model != "consensus"]


def _columns_of(table: pd.DataFrame, model: str) -> pd.DataFrame:
    """The scores of one model in a table that :func:`export_scores` wrote, under their own names."""
    columns = {score_field(model, score): score for score in SCORES if not SCORES[score].derived}
    kept = [column for column in table if column in columns or column in ("id", "filepath")]
    return table[kept].rename(columns=columns)
