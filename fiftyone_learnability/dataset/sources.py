"""Reads the scores of a tracker or a table, whose samples are identified by id or file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import fiftyone.core.collections as foc
import numpy as np
from numpy.typing import NDArray

from ..experiment.score_files import describe_columns
from ..scores.catalog import SCORES
from ..scores.checks import short_repr
from ..scores.formulas import FloatArray, IntArray

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class SourceScores:
    """The scores of one model, whose samples are not yet looked up in a dataset.

    Attributes:
        names: N sample ids or file paths
        scores: ``(N,)`` values of each score; NaN where a sample has none
        prediction (None): ``(N, classes)`` mean predictions
        accuracies: ``(epochs,)`` accuracy after each epoch; empty if not known
        labels (None): ``(N,)`` label that the model was trained with, an index into its outputs; -1 if unknown
    """

    names: list[str]
    scores: dict[str, FloatArray]
    prediction: NDArray[np.float32] | None
    accuracies: FloatArray
    labels: IntArray | None = None


def read_source(samples: foc.SampleCollection, source: Any, learnability: str) -> SourceScores:
    """Read the scores of a tracker or a table.

    Args:
        samples: a dataset or view. A tracker without ids has its samples in this order; a table with ids and files is
            matched by file if no id occurs here
        source: a :class:`fiftyone_learnability.LearnabilityTracker`, a table, or a mapping of columns
        learnability: the column of a table that becomes learnability; ignored for a tracker

    Raises:
        TypeError: if the source is something else
        ValueError: if it has no scores, or its columns do not hold numbers
    """
    # a tracker is recognized by its method: checking its type would import torch
    if hasattr(source, "state_dict"):
        return _read_tracker(samples, source)
    return _read_columns(samples, source, learnability)


def _read_tracker(samples: foc.SampleCollection, tracker: Any) -> SourceScores:
    if tracker.epochs == 0:
        raise ValueError("the tracker has no epoch yet: call end_epoch() after each epoch")
    if tracker.pending:
        raise ValueError(
            f"the tracker has {tracker.pending} rows of an epoch that has not ended, which no score counts: call "
            "end_epoch() to count them, or drop_epoch() to leave them out"
        )
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
    seen_names = [str(name) for name, was_seen in zip(names, seen.tolist(), strict=True) if was_seen]
    return SourceScores(
        seen_names, scores, None if prediction is None else prediction[seen], tracker.accuracies, tracker.labels[seen]
    )


def _read_columns(samples: foc.SampleCollection, source: Any, learnability: str) -> SourceScores:
    table = _as_table(source)
    name_column = _name_column(samples, table)
    if learnability not in table:
        raise ValueError(
            f"the table has no column {short_repr(learnability)}; it has {describe_columns(table)}: choose the column "
            "that serves as learnability (high is easy) with learnability="
        )
    others = [name for name, score in SCORES.items() if not score.derived and name not in ("learnability", "rank")]
    columns = {"learnability": learnability, **{name: name for name in others if name in table}}
    scores = {score: _to_numbers(table, column) for score, column in columns.items()}
    if np.isinf(scores["learnability"]).any():
        raise ValueError(f"the column {learnability!r} holds infinite values, which cannot be learnability")
    scored = ~np.isnan(scores["learnability"])
    if not scored.any():
        raise ValueError(f"the column {learnability!r} holds no numbers")
    if (unnamed := int(table[name_column].isna().to_numpy()[scored].sum())) > 0:
        raise ValueError(f"{unnamed} rows of the table have an empty {name_column!r}: fill in which samples they are")
    names = table[name_column].astype(str).to_numpy()[scored].tolist()
    return SourceScores(names, {score: values[scored] for score, values in scores.items()}, None, np.empty(0))


def _as_table(source: Any) -> pd.DataFrame:
    import pandas as pd

    if not isinstance(source, (pd.DataFrame, Mapping)):
        raise TypeError(f"source must be a LearnabilityTracker, a table or a mapping, not {type(source).__name__}")
    if isinstance(source, Mapping) and source and all(map(np.isscalar, source.values())):
        raise ValueError(
            "the mapping must hold columns, not one value for each key: give scores by sample as "
            "{'id': list(scores), 'learnability': list(scores.values())}"
        )
    try:
        table = pd.DataFrame(dict(source)) if isinstance(source, Mapping) else source
    except ValueError as error:
        raise ValueError(f"the columns of the table do not make rows: {error}") from error
    if not table.columns.is_unique or table.columns.nlevels > 1:
        raise ValueError(f"the table must have each column once, with a plain name; it has {describe_columns(table)}")
    return table


def _name_column(samples: foc.SampleCollection, table: pd.DataFrame) -> str:
    """The column that identifies the samples: "id" or "filepath"."""
    column = next((name for name in ("id", "filepath") if name in table), None)
    if column is None:
        raise ValueError(
            f"the table does not identify its samples: it needs a column id or filepath; it has "
            f"{describe_columns(table)}"
        )
    # the same images have other ids in another dataset
    if column == "id" and "filepath" in table and not table["id"].astype(str).isin(samples.values("id")).any():
        return "filepath"
    return column


def _to_numbers(table: pd.DataFrame, column: str) -> FloatArray:
    """A column as floats, NaN where it is empty."""
    import pandas as pd

    message = f"the column {column!r} holds something that is not a number"
    # pandas would convert dates and complex numbers
    if len(table) and table[column].dtype.kind in "mMc":
        raise ValueError(f"{message}: {short_repr(table[column].iloc[0])}")
    try:
        numbers = pd.to_numeric(table[column], errors="coerce")
    # for example an integer that no float can hold
    except (OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"{message}: {error}") from error
    wrong = table[column][numbers.isna() & table[column].notna()]
    if len(wrong):
        raise ValueError(f"{message}: {short_repr(wrong.iloc[0])}")
    return numbers.to_numpy(np.float64, na_value=np.nan)
