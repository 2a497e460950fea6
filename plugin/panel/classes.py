"""The classes as a curator reads them: how many samples, how hard, how many probably mislabelled, confused with what.

What a class is confused with comes from the suggested labels. As long as there are none, it comes from the predictions
that the network made over its training, if its run keeps them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import fiftyone.core.collections as foc
import fiftyone.core.view as fov
import fiftyone.operators as foo
import numpy as np
from fiftyone import ViewExpression as E
from fiftyone import ViewField as F
from numpy.typing import NDArray

from fiftyone_learnability import label_problems
from fiftyone_learnability.dataset.arrays import Ids, find_ids, unpack_ids
from fiftyone_learnability.dataset.notes import score_field

from ..archives import Predictions, load_predictions
from ..memory import remember
from ..names import format_count, score_label
from .binning import Bins, FloatArray, rounded, score_edges
from .choices import Choice
from .figures import SCALE, Figure, layout
from .review import Review, match_suggestion, scope_review
from .table import ScoreTable

Indices = NDArray[np.int64]

FIRST_CLASSES = 50
"""The number of classes that are shown at first."""

BINS = 20

CLASS, SAMPLES, MEAN, MISLABELLED, CONFUSED = "class", "samples", "mean", "mislabelled", "confused"
COLUMNS = {
    CLASS: "Class",
    SAMPLES: "Samples",
    MEAN: "Mean",
    MISLABELLED: "Probably mislabelled",
    CONFUSED: "Most confused with",
}
"""The columns of the table, by name."""


@dataclass(frozen=True)
class ClassRow:
    """What the panel says of a class.

    Attributes:
        index: its index in the table of scores
        label: the class
        bins: the number of samples in each bin of learnability
        mean: mean learnability
        mislabelled: number of samples that are probably mislabelled and not decided, None if it is not known
        confused_with: the class that its samples are most often suggested, or predicted, to be; None for none
        confused: how many are
    """

    index: int
    label: Any
    bins: tuple[int, ...]
    mean: float
    mislabelled: int | None
    confused_with: str | None
    confused: int

    @property
    def count(self) -> int:
        """The number of samples that the network has scored."""
        return sum(self.bins)

    def cell(self, column: str) -> str:
        """Return the text of a cell of the table."""
        if column == CLASS:
            return str(self.label)
        if column == SAMPLES:
            return format_count(self.count)
        if column == MEAN:
            return f"{self.mean:.2f}"
        if column == MISLABELLED:
            number = self.mislabelled or 0
            return f"{format_count(number)} ({number / self.count:.1%})" if number else "-"
        return f"{self.confused_with} ({format_count(self.confused)})" if self.confused_with else "-"


@dataclass(frozen=True, eq=False)
class Classes:
    """The classes of the samples in the panel's scope.

    Attributes:
        rows: the classes that have samples, in the chosen order
        edges: the edges of the bins of learnability
        review: the suggested labels that tell which labels are probably wrong, None if there are none
        predictions: the predictions that tell what a class is confused with in place of suggestions, None for none
    """

    rows: list[ClassRow]
    edges: FloatArray
    review: Review | None
    predictions: Predictions | None

    @property
    def columns(self) -> list[str]:
        """The names of the columns about which anything is known."""
        if self.review is not None:
            return list(COLUMNS)
        return [name for name in COLUMNS if name != MISLABELLED and (name != CONFUSED or self.predictions is not None)]


def scope_classes(ctx: foo.ExecutionContext, table: ScoreTable, choice: Choice) -> Classes:
    """Return the classes of the samples in the panel's scope.

    Args:
        ctx: the context of the event
        table: their scores
        choice: the user's choices
    """
    review = scope_review(ctx)
    if review is not None and review.path != table.label_path:
        # it is about other labels
        review = None
    predictions = load_predictions(ctx.dataset, choice.first) if review is None else None
    # a review is another object after each change of it
    key = "classes", table.version, choice.first, choice.order, review, predictions is None
    return remember(key, lambda: _count(table, choice, review, predictions))


def _count(table: ScoreTable, choice: Choice, review: Review | None, predictions: Predictions | None) -> Classes:
    values, labels = table.values(choice.first, "learnability"), table.labels
    known = np.isfinite(values) & (labels >= 0)
    edges = score_edges("learnability", BINS, values)
    column = np.clip(np.searchsorted(edges, values[known], side="right") - 1, 0, len(edges) - 2)
    counts = np.zeros((len(table.classes), len(edges) - 1), np.int64)
    np.add.at(counts, (labels[known], column), 1)
    sums = np.bincount(labels[known], values[known], len(table.classes))
    confusions = _predicted(table, predictions) if review is None else review.changes
    of_class: dict[Any, Counter[str]] = {}
    for (given, other), number in confusions.items():
        of_class.setdefault(given, Counter())[other] += number
    rows = []
    for index, label in enumerate(table.classes):
        size = int(counts[index].sum())
        if size:
            others = of_class.get(label, Counter())
            # of equally frequent classes the first by name, so that the same samples always give the same answer
            most, confused = min(others.items(), key=lambda item: (-item[1], item[0]), default=(None, 0))
            mislabelled = None if review is None else others.total()
            bins = tuple(counts[index].tolist())
            rows.append(ClassRow(index, label, bins, float(sums[index] / size), mislabelled, most, confused))
    return Classes(_sort(rows, choice.order), edges, review, predictions)


def _sort(rows: list[ClassRow], order: str) -> list[ClassRow]:
    if order == "mislabelled":
        return sorted(rows, key=lambda row: -(row.mislabelled or 0) / row.count)
    if order in ("hardest", "easiest"):
        return sorted(rows, key=lambda row: row.mean, reverse=order == "easiest")
    return rows


def _predicted(table: ScoreTable, predictions: Predictions | None) -> Counter[tuple[Any, str]]:
    """Count the samples whose label is not the class that was predicted most, by both."""
    if predictions is None:
        return Counter()
    given, predicted, _ = _given_and_predicted(table, predictions)
    pairs, counts = np.unique(np.stack([given, predicted]), axis=1, return_counts=True)
    found: Counter[tuple[Any, str]] = Counter()
    for label, best, number in zip(*pairs.tolist(), counts.tolist(), strict=True):
        if str(table.classes[label]) != predictions.classes[best]:
            found[table.classes[label], predictions.classes[best]] = number
    return found


def _given_and_predicted(table: ScoreTable, predictions: Predictions) -> tuple[Indices, Indices, Ids]:
    """Return the indices of label and of predicted class, and the id, of each sample that has both."""
    places = find_ids(table.ids, predictions.ids)
    known = (places >= 0) & (table.labels >= 0)
    return table.labels[known], predictions.best[places[known]], table.ids[known]


@dataclass(frozen=True, eq=False)
class CellSamples:
    """The samples that belong to a cell of the table.

    Attributes:
        what: what they are, in words
        count: their number
        narrow: selects them in a view
        review: the suggested labels that they were found by, None if they were found otherwise
    """

    what: str
    count: int
    narrow: Callable[[foc.SampleCollection], fov.DatasetView]
    review: Review | None = None


def samples_of_cell(classes: Classes, table: ScoreTable, choice: Choice, row: int, column: int) -> CellSamples | None:
    """Return the samples that belong to a cell of the table, None if there are none.

    Args:
        classes: the classes
        table: the scores
        choice: the user's choices
        row: the row of the cell; those that are not shown count too
        column: its column
    """
    if row >= len(classes.rows) or column >= len(classes.columns) or not table.label_path:
        return None
    of, name, review = classes.rows[row], classes.columns[column], classes.review
    # $literal, because MongoDB would take a class "$x" for a field
    inside = F(table.label_path) == E({"$literal": of.label})
    if name == MISLABELLED and review is not None and of.mislabelled:
        others = [suggested for given, suggested in review.changes if given == of.label]
        wrong = E.any([match_suggestion(review, of.label, suggested) for suggested in others])
        what = f"{of.label}, probably mislabelled, most contradicted first"
        return CellSamples(what, of.mislabelled, lambda view: label_problems(view.match(wrong)), review)
    if name == CONFUSED and of.confused_with is not None:
        if review is not None:
            wrong = match_suggestion(review, of.label, of.confused_with)
            what = f"labelled {of.label}, suggested {of.confused_with}"
            return CellSamples(what, of.confused, lambda view: label_problems(view.match(wrong)), review)
        ids = _ids_predicted(table, classes.predictions, of)
        what = f"labelled {of.label}, predicted {of.confused_with}"
        return CellSamples(what, len(ids), lambda view: view.select(ids))
    if name in (MISLABELLED, CONFUSED):
        return None
    inside &= Bins(classes.edges, 0, len(classes.edges) - 2).match(score_field(choice.first))
    return CellSamples(f"{of.label}", of.count, lambda view: view.match(inside))


def _ids_predicted(table: ScoreTable, predictions: Predictions | None, row: ClassRow) -> list[str]:
    assert predictions is not None, "the class comes from predictions"
    given, predicted, ids = _given_and_predicted(table, predictions)
    best = predictions.classes.index(str(row.confused_with))
    return unpack_ids(ids[(given == row.index) & (predicted == best)])


def tabulate(classes: Classes, count: int, marked: tuple[int, int] | None) -> dict[str, Any]:
    """Return the table of the first classes, as FiftyOne's ``TableView`` takes it.

    Args:
        classes: the classes
        count: how many are shown
        marked: the row and column of the cell whose samples the grid shows
    """
    return {
        "columns": classes.columns,
        "rows": [[row.cell(column) for column in classes.columns] for row in classes.rows[:count]],
        "selected_cells": [] if marked is None else [list(marked)],
    }


def draw_classes(classes: Classes, count: int, model: str) -> Figure:
    """Draw the distribution of learnability in the first classes, one row per class.

    Args:
        classes: the classes
        count: how many are shown
        model: the network
    """
    rows, edges = classes.rows[:count], classes.edges
    heatmap = {
        "type": "heatmap",
        "x": rounded((edges[:-1] + edges[1:]) / 2),
        "y": [f"{row.label} ({row.mean:.2f})" for row in rows],
        "z": [[round(number / row.count, 4) if number else None for number in row.bins] for row in rows],
        "text": [[f"{number:,} of {row.count:,}" for number in row.bins] for row in rows],
        "hovertemplate": "%{y}<br>%{text} at %{x:.2f}<extra></extra>",
        "colorscale": SCALE,
        "showscale": False,
        "ygap": 2,
    }
    return [heatmap], layout(
        110 + 24 * len(rows),
        score_label("learnability", model),
        xaxis={"range": [float(edges[0]), float(edges[-1])]},
        # of the default, Plotly would omit every other name
        yaxis={"autorange": "reversed", "type": "category", "dtick": 1},
    )
