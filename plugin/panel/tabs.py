"""The choices that the user makes in the panel, and the plots of each tab."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import numpy as np
from numpy.typing import NDArray

from fiftyone_learnability import compare_scores
from fiftyone_learnability.dataset.arrays import find_ids, pack_ids
from fiftyone_learnability.scores.comparison import Comparison

from ..archives import load_dynamics, load_training_curves
from ..memory import remember
from . import figures
from .binning import FloatArray, Histogram2D, bin_two, score_edges
from .data_map import MAP_SCORES, DataMap, draw_map, make_map
from .events import selected
from .review import draw_changes, scope_review
from .table import ScoreTable

TABS = {
    "compare": "Compare",
    "map": "Data map",
    "labels": "Labels",
    "examples": "Examples",
    "classes": "Classes",
    "curves": "Curves",
}
SAME = "same"
"""The choice of the second score that always equals the first."""

ORDERS = {"hardest": "Hardest first", "easiest": "Easiest first", "name": "By name"}
NUM_EXAMPLES = 8
MOST_CURVES = 6

Plots = dict[str, figures.Figure]
"""Plots by the name of the panel property that shows each."""


@dataclass(frozen=True)
class Choice:
    """The user's choices.

    Attributes:
        tab: the open tab, one of :data:`TABS`
        first: the network (or the consensus) for sorting, tagging and the plots of one network
        quantity: its score
        second: the network that it is compared with; a different one unless two scores of one network are compared
        against: the score of the second network, or :data:`SAME`
        order: the order of classes, one of :data:`ORDERS`
    """

    tab: str
    first: str
    quantity: str
    second: str
    against: str
    order: str

    @classmethod
    def read(cls, ctx: foo.ExecutionContext, table: ScoreTable) -> Choice:
        """Read the choices from the panel's state; a choice that does not exist gets its default.

        Args:
            ctx: the context of the event
            table: the scores of the samples in the panel's scope
        """
        first, second, quantity, against = (
            ctx.panel.get_state(f"controls.{name}") for name in ("first", "second", "quantity", "against")
        )
        if first not in table.sources:
            first = next(iter(table.sources), "")
        scores = table.scores.get(first, ())
        if quantity not in scores:
            quantity = next(iter(scores), "learnability")
        if second not in table.sources:
            second = None
        if second in (None, first) and not (second == first and against in scores and against != quantity):
            # comparing a score with itself shows nothing
            second = next((model for model in table.sources if model != first), first)
        if second != first:
            against = against if against in table.scores[second] else SAME
            if against == SAME and quantity not in table.scores[second]:
                against = "learnability"
        elif against not in scores or against == quantity:
            against = next(iter(comparable_scores(table, first, quantity)), SAME)
        tab, order = ctx.panel.get_state("tab"), ctx.panel.get_state("sorting.order")
        return cls(_one_of(tab, TABS), first, quantity, second, against, _one_of(order, ORDERS))

    @property
    def pair(self) -> tuple[str, str]:
        """The two networks."""
        return self.first, self.second

    @property
    def x(self) -> figures.Axis:
        """Network and score of the x axis."""
        return self.first, self.quantity

    @property
    def y(self) -> figures.Axis:
        """Network and score of the y axis; those of the x axis if there is nothing to compare."""
        return self.second, self.quantity if self.against == SAME else self.against


def comparable_scores(table: ScoreTable, model: str, score: str) -> list[str]:
    """Return the scores of a network that one of its scores can be compared with, the most useful first.

    Rank orders samples exactly as learnability does, so comparing those two comes last, and never alone.
    """
    others = [name for name in table.scores.get(model, ()) if name != score]
    independent = [name for name in others if {name, score} != {"learnability", "rank"}]
    return [*independent, *(name for name in others if name not in independent)] if independent else []


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
        return {} if review is None or not review.changes else {"changes": draw_changes(review)}
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
    """Return the scores that the data map of a network needs and that are not fields yet."""
    return [score for score in MAP_SCORES if score not in table.scores.get(model, ())]


def bin_map(table: ScoreTable, choice: Choice) -> DataMap:
    """Compute the data map of the first network."""
    return make_map(*(table.values(choice.first, score) for score in MAP_SCORES))


def class_rows(table: ScoreTable, choice: Choice) -> figures.ClassRows:
    """Compute the distribution of learnability in each class."""
    hardest_first = {"hardest": True, "easiest": False}.get(choice.order)
    return figures.class_distribution(
        table.values(choice.first, "learnability"), table.labels, table.classes, hardest_first, choice.first
    )


def find_examples(table: ScoreTable, choice: Choice) -> dict[str, NDArray[np.int64]]:
    """Return the indices of the easiest and hardest samples by the sum of both networks' ranks, as in Figure 1c."""
    ranks = table.values(choice.first, "rank") + table.values(choice.second, "rank")
    known = np.flatnonzero(~np.isnan(ranks))
    order = known[np.argsort(ranks[known], kind="stable")]
    return {"easiest": order[:NUM_EXAMPLES], "hardest": order[::-1][:NUM_EXAMPLES]}


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
            column = int(np.searchsorted(dynamics.ids, sample))
            if column == len(dynamics.ids) or dynamics.ids[column] != sample:
                continue
            row = rows[sample]
            label = table.classes[table.labels[row]] if row >= 0 and table.labels[row] >= 0 else "?"
            curves.append((f"{label} …{sample[-4:]}", model, dynamics.epochs, dynamics.probabilities[:, column]))
    return curves


def _one_of(value: Any, choices: dict[str, str]) -> str:
    return value if value in choices else next(iter(choices))
