"""The plots and pictures of each tab."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

import fiftyone as fo
import fiftyone.operators as foo
import numpy as np
from numpy.typing import NDArray

from fiftyone_learnability import compare_scores
from fiftyone_learnability.dataset.arrays import find_ids, pack_ids, unpack_ids
from fiftyone_learnability.scores.comparison import Comparison

from ..archives import load_dynamics, load_training_curves
from ..memory import remember
from . import figures
from .binning import FloatArray, Histogram2D, bin_two, score_edges
from .choices import OVERVIEW, Choice
from .data_map import MAP_SCORES, DataMap, draw_map, make_map
from .embedding import bin_points, draw_points
from .events import selected
from .review import draw_changes, scope_review
from .table import ScoreTable, dataset_state

NUM_EXAMPLES = 8
MOST_CURVES = 6

Plots = dict[str, figures.Figure]
"""Plots by name."""


def draw_plots(ctx: foo.ExecutionContext, table: ScoreTable, choice: Choice) -> Plots:
    """Draw the plots of the open tab.

    Args:
        ctx: the context of the event
        table: the scores of the samples in the panel's scope
        choice: the user's choices
    """
    if choice.tab == "curves":
        return _curve_plots(ctx.dataset, table, selected(ctx))
    if choice.tab == "labels":
        review = scope_review(ctx)
        if review is None or not review.changes or (choice.review != OVERVIEW and review.target is not None):
            return {}
        return {"changes": draw_changes(review)}
    if choice.tab == "embeddings":
        plot = embedding_map(ctx.dataset, table, choice)
        return {} if plot is None else {"embeddings": draw_points(plot, choice.x)}
    # an event needs the plots twice: once to send their data, once to lay them out
    return remember(("plots", table.version, choice), lambda: _score_plots(table, choice))


def _score_plots(table: ScoreTable, choice: Choice) -> Plots:
    if choice.tab == "compare":
        plots: Plots = {}
        if len(table.models) > 1:
            plots["matrix"] = figures.correlation_matrix(comparison(table), choice.pair)
        if choice.x != choice.y:
            plots["pair"] = figures.pair_histogram(pair_histogram(table, choice), choice.x, choice.y)
        values, edges = table.values(*choice.x), histogram_edges(table, choice)
        plots["histogram"] = figures.score_histogram(values, edges, choice.x)
        return plots
    if choice.tab == "map" and not missing_for_map(table, choice.first):
        return {"map": draw_map(bin_map(table, choice), choice.first)}
    if choice.tab == "classes" and table.label_path:
        return {"classes": class_rows(table, choice).plot}
    return {}


def _curve_plots(dataset: fo.Dataset, table: ScoreTable, chosen: list[str]) -> Plots:
    plots: Plots = {}
    curves = selected_curves(dataset, table, chosen)
    if curves:
        plots["samples"] = figures.sample_curves(curves)
    trainings = ((model, load_training_curves(dataset, model)) for model in table.models)
    plots["trainings"] = figures.training_curves({model: arrays for model, arrays in trainings if arrays is not None})
    return plots


def comparison(table: ScoreTable) -> Comparison:
    """Return the correlations of all networks."""
    return remember(("comparison", table.version), lambda: compare_scores(table.learnability))


def pair_histogram(table: ScoreTable, choice: Choice) -> Histogram2D:
    """Count the samples by both axes; two axes of the same score have the same edges, so equals lie on the diagonal."""
    first, second = table.values(*choice.x), table.values(*choice.y)
    bins = int(np.clip(np.sqrt((np.isfinite(first) & np.isfinite(second)).sum() / 3), 8, 40))
    if choice.x[1] == choice.y[1]:
        x = y = score_edges(choice.x[1], bins, np.concatenate([first, second]), table.num_ranks)
    else:
        x, y = (
            score_edges(score, bins, values, table.num_ranks)
            for (_, score), values in ((choice.x, first), (choice.y, second))
        )
    return bin_two(first, second, x, y)


def histogram_edges(table: ScoreTable, choice: Choice) -> FloatArray:
    """Return the edges of the bars of the x axis's score."""
    return score_edges(choice.quantity, figures.HISTOGRAM_BINS, table.values(*choice.x), table.num_ranks)


def missing_for_map(table: ScoreTable, model: str) -> list[str]:
    """Return the scores that the data map of a network needs and that were not measured."""
    return [score for score in MAP_SCORES if score not in table.scores.get(model, ())]


def bin_map(table: ScoreTable, choice: Choice) -> DataMap:
    """Compute the data map of the first network."""
    return make_map(*(table.values(choice.first, score) for score in MAP_SCORES))


def embedding_map(dataset: fo.Dataset, table: ScoreTable, choice: Choice) -> DataMap | None:
    """Compute the cells of the chosen visualization; None if it places no sample that has the score."""
    return bin_points(dataset, table, choice.embedding, choice.x) if choice.embedding else None


def class_rows(table: ScoreTable, choice: Choice) -> figures.ClassRows:
    """Compute the distribution of learnability in each class."""
    hardest_first = {"hardest": True, "easiest": False}.get(choice.order)
    return figures.class_distribution(
        table.values(choice.first, "learnability"), table.labels, table.classes, hardest_first, choice.first
    )


@dataclass(frozen=True)
class Example:
    """An easy or hard sample.

    Attributes:
        id: its id
        label: its label, "" for none
        ranks: its rank by each of the two networks, in words
        picture: the address of its image
    """

    id: str
    label: str
    ranks: str
    picture: str


def find_examples(dataset: fo.Dataset, table: ScoreTable, choice: Choice) -> dict[str, list[Example]]:
    """Return the "easiest" and "hardest" samples by the sum of both networks' ranks, as in Figure 1c."""
    # an image may be moved while its scores stay
    state = dataset_state(dataset)
    return remember(("examples", table.version, choice.pair, state), lambda: _read_examples(dataset, table, choice))


def _read_examples(dataset: fo.Dataset, table: ScoreTable, choice: Choice) -> dict[str, list[Example]]:
    models = list(dict.fromkeys(choice.pair))
    ranks = np.sum([table.values(model, "rank") for model in models], axis=0)
    known = np.flatnonzero(~np.isnan(ranks))
    order = known[np.argsort(ranks[known], kind="stable")]
    extremes = {"easiest": order[:NUM_EXAMPLES], "hardest": order[::-1][:NUM_EXAMPLES]}
    ids = unpack_ids(table.ids[np.concatenate(list(extremes.values()))])
    files = dict(zip(*dataset.select(ids).values(["id", "filepath"]), strict=True))

    def example(index: int) -> Example:
        (id,) = unpack_ids(table.ids[index : index + 1])
        label = table.classes[table.labels[index]] if table.labels[index] >= 0 else ""
        words = [f"{int(table.values(model, 'rank')[index]):,}" for model in models]
        return Example(id, str(label), " / ".join(words), picture_of(files.get(id, "")))

    return {name: [example(index) for index in indices.tolist()] for name, indices in extremes.items()}


def picture_of(filepath: str) -> str:
    """Return the address of an image on the App's server."""
    return f"/media?filepath={quote(filepath)}"


def selected_curves(
    dataset: fo.Dataset, table: ScoreTable, chosen: list[str]
) -> list[tuple[str, str, NDArray[np.int64], NDArray[np.float16]]]:
    """Return a curve per network of the first selected samples, for :func:`figures.sample_curves`."""
    curves, chosen = [], chosen[:MOST_CURVES]
    rows = dict(zip(chosen, find_ids(pack_ids(chosen), table.ids).tolist(), strict=True))
    for model in table.models if chosen else ():
        dynamics = load_dynamics(dataset, model)
        if dynamics is None:
            continue
        for sample in chosen:
            column, row = dynamics.find(sample), rows[sample]
            if column < 0:
                continue
            label = table.classes[table.labels[row]] if row >= 0 and table.labels[row] >= 0 else "?"
            curves.append((f"{label} …{sample[-4:]}", model, dynamics.epochs, dynamics.probabilities[:, column]))
    return curves
