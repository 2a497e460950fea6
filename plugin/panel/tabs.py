"""What each tab of the panel draws, from the scores and from what is chosen."""

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

from ..memory import remember
from . import figures
from .binning import FloatArray, Histogram2D, bin_two, score_edges
from .data_map import MAP_SCORES, DataMap, draw_map, make_map
from .events import selected
from .review import draw_changes
from .scope import scope_review
from .table import ScoreTable, load_dynamics, load_training_curves

TABS = {
    "compare": "Compare",
    "map": "Data map",
    "labels": "Labels",
    "examples": "Examples",
    "classes": "Classes",
    "curves": "Curves",
}
SAME = "same"
"""The choice of the second score that follows the first."""

ORDERS = {"hardest": "Hardest first", "easiest": "Easiest first", "name": "By name"}
NUM_EXAMPLES = 8
MOST_CURVES = 6

Plots = dict[str, tuple[list[figures.Trace], dict[str, Any]]]


@dataclass(frozen=True)
class Choice:
    """What is chosen in the panel.

    Attributes:
        tab: the open tab, one of :data:`TABS`
        first: the network (or the consensus) that sorting, tagging and the plots of one network are about
        quantity: the score of it that is shown
        second: the network it is compared with, by default another one
        against: the score of that, or :data:`SAME`
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
        """What the panel's state says, or the default where it says nothing that exists."""
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
            # no score is compared with itself
            second = next((model for model in table.sources if model != first), first)
        if second != first:
            against = against if against in table.scores[second] else SAME
            if against == SAME and quantity not in table.scores[second]:
                against = "learnability"
        elif against not in scores or against == quantity:
            against = next(iter(others(table, first, quantity)), SAME)
        tab, order = ctx.panel.get_state("tab"), ctx.panel.get_state("sorting.order")
        return cls(_one_of(tab, TABS), first, quantity, second, against, _one_of(order, ORDERS))

    @property
    def pair(self) -> tuple[str, str]:
        """Both networks."""
        return self.first, self.second

    @property
    def x(self) -> figures.Axis:
        """Network and score that are shown."""
        return self.first, self.quantity

    @property
    def y(self) -> figures.Axis:
        """Network and score that they are compared with; the same where there is nothing to compare."""
        return self.second, self.quantity if self.against == SAME else self.against


def others(table: ScoreTable, model: str, score: str) -> list[str]:
    """The scores of a network that one of its scores can be compared with.

    A rank is another way to write the learnability it was made of: they are compared only if there is more to see.
    """
    beside = [name for name in table.scores.get(model, ()) if name != score]
    telling = [name for name in beside if {name, score} != {"learnability", "rank"}]
    return [*telling, *(name for name in beside if name not in telling)] if telling else []


def draw_plots(ctx: foo.ExecutionContext, table: ScoreTable, choice: Choice) -> Plots:
    """Traces and layout of each plot of the open tab, by the name of its place in the panel.

    Args:
        ctx: the context of the event
        table: the scores of the samples that the panel speaks of
        choice: what is chosen
    """
    if choice.tab == "curves":
        return _curve_plots(ctx.dataset, table, selected(ctx))
    if choice.tab == "labels":
        review = scope_review(ctx)
        return {} if review is None or not review.changes else {"changes": draw_changes(review)}
    # an event draws what is new, and lays out what is there: the same plots
    return remember(("plots", id(table), choice), lambda: _score_plots(table, choice), table)


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
    trainings = {model: load_training_curves(dataset, model) for model in table.models}
    plots["trainings"] = figures.training_curves({name: one for name, one in trainings.items() if one is not None})
    return plots


def comparison(table: ScoreTable) -> Comparison:
    """The correlations of all networks."""
    return remember(("comparison", id(table)), lambda: compare_scores(table.learnability), table)


def pair_histogram(table: ScoreTable, choice: Choice) -> Histogram2D:
    """The 2-D histogram of what is compared; equal scores share their edges, and agree on the diagonal."""
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
    """The edges of the bars of the score that is shown."""
    return score_edges(choice.quantity, figures.HISTOGRAM_BINS, table.values(*choice.x), table.num_ranks)


def missing_for_map(table: ScoreTable, model: str) -> list[str]:
    """The scores that a network's data map needs and that are no fields yet."""
    return [score for score in MAP_SCORES if score not in table.scores.get(model, ())]


def bin_map(table: ScoreTable, choice: Choice) -> DataMap:
    """The cells of the data map of the shown network."""
    return make_map(*(table.values(choice.first, score) for score in MAP_SCORES))


def class_rows(table: ScoreTable, choice: Choice) -> figures.ClassRows:
    """The distribution of learnability in each class."""
    hardest_first = {"hardest": True, "easiest": False}.get(choice.order)
    return figures.class_distribution(
        table.values(choice.first, "learnability"), table.labels, table.classes, hardest_first, choice.first
    )


def find_examples(table: ScoreTable, choice: Choice) -> dict[str, NDArray[np.int64]]:
    """The samples that are easiest, and hardest, for both networks: by the sum of their ranks, as in Figure 1c."""
    ranks = table.values(choice.first, "rank") + table.values(choice.second, "rank")
    known = np.flatnonzero(~np.isnan(ranks))
    order = known[np.argsort(ranks[known], kind="stable")]
    return {"easiest": order[:NUM_EXAMPLES], "hardest": order[::-1][:NUM_EXAMPLES]}


def selected_curves(
    dataset: fo.Dataset, table: ScoreTable, chosen: list[str]
) -> list[tuple[str, str, NDArray[np.int64], NDArray[np.float16]]]:
    """(label and short id, network, measured epochs, probabilities after each) of the first selected samples."""
    curves, chosen = [], chosen[:MOST_CURVES]
    places = dict(zip(chosen, find_ids(pack_ids(chosen), table.ids).tolist(), strict=True))
    for model in table.models if chosen else ():
        dynamics = load_dynamics(dataset, model)
        if dynamics is None:
            continue
        ids, epochs, probabilities = dynamics
        for sample in chosen:
            column = int(np.searchsorted(ids, sample))
            if column == len(ids) or ids[column] != sample:
                continue
            place = places[sample]
            label = table.classes[table.labels[place]] if place >= 0 and table.labels[place] >= 0 else "?"
            curves.append((f"{label} …{sample[-4:]}", model, epochs, probabilities[:, column]))
    return curves


def _one_of(value: Any, choices: dict[str, str]) -> str:
    return value if value in choices else next(iter(choices))
