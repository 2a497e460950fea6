"""What each tab of the panel draws, from the scores and from what is chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import numpy as np
from numpy.typing import NDArray

from fiftyone_learnability import compare_scores
from fiftyone_learnability.dataset.registry import rank_field, score_field
from fiftyone_learnability.experiment.comparison import Comparison

from . import figures
from .scores import ScoreTable, load_dynamics, load_training_curves, remember

TABS = {"compare": "Compare", "examples": "Examples", "classes": "Classes", "curves": "Curves"}
QUANTITIES = {"learnability": "Learnability", "rank": "Rank"}
ORDERS = {"hardest": "Hardest first", "easiest": "Easiest first", "name": "By name"}
NUM_EXAMPLES = 8
MOST_CURVES = 6

Plots = dict[str, tuple[list[figures.Trace], dict[str, Any]]]


@dataclass(frozen=True)
class Choice:
    """What is chosen in the panel.

    Attributes:
        tab: the open tab, one of :data:`TABS`
        quantity: "learnability" or "rank"
        first: the network that sorting, tagging and the plots of one network are about
        second: the network it is compared with; the same where there is only one
        order: the order of classes, one of :data:`ORDERS`
    """

    tab: str
    quantity: str
    first: str
    second: str
    order: str

    @classmethod
    def read(cls, ctx: foo.ExecutionContext, table: ScoreTable) -> Choice:
        """What the panel's state says, or the default where it says nothing that exists."""
        first, second = ctx.panel.get_state("controls.first"), ctx.panel.get_state("controls.second")
        if first not in table.models:
            first = next(iter(table.models), "")
        if second not in table.models or second == first:
            second = next((model for model in table.models if model != first), first)
        return cls(
            _one_of(ctx.panel.get_state("tab"), TABS),
            _one_of(ctx.panel.get_state("controls.quantity"), QUANTITIES),
            first,
            second,
            _one_of(ctx.panel.get_state("sorting.order"), ORDERS),
        )

    @property
    def pair(self) -> tuple[str, str]:
        """Both networks."""
        return self.first, self.second

    def field(self, model: str) -> str:
        """The field of the chosen quantity of a network."""
        return score_field(model) if self.quantity == "learnability" else rank_field(model)


def draw_plots(dataset: fo.Dataset, table: ScoreTable, choice: Choice, selected: list[str]) -> Plots:
    """Traces and layout of each plot of the open tab, by the name of its place in the panel.

    Args:
        dataset: the dataset
        table: the scores of the samples that the panel speaks of
        choice: what is chosen
        selected: the ids of the selected samples
    """
    if choice.tab == "curves":
        return _curve_plots(dataset, table, selected)
    # an event draws what is new, and lays out what is there: the same plots
    return remember(("plots", id(table), choice), lambda: _score_plots(table, choice), table)


def _score_plots(table: ScoreTable, choice: Choice) -> Plots:
    if choice.tab == "compare":
        plots: Plots = {}
        if len(table.models) > 1:
            plots["matrix"] = figures.correlation_matrix(comparison(table), choice.pair)
            plots["pair"] = figures.pair_histogram(pair_histogram(table, choice), choice.pair, choice.quantity)
        plots["histogram"] = figures.score_histogram(
            table.values(choice.first, choice.quantity), choice.quantity, table.num_ranks, choice.first
        )
        return plots
    if choice.tab == "classes" and table.label_path:
        return {"classes": class_rows(table, choice).plot}
    return {}


def _curve_plots(dataset: fo.Dataset, table: ScoreTable, selected: list[str]) -> Plots:
    plots: Plots = {}
    curves = selected_curves(dataset, table, selected)
    if curves:
        plots["samples"] = figures.sample_curves(curves)
    trainings = {model: load_training_curves(dataset, model) for model in table.models}
    plots["trainings"] = figures.training_curves({name: one for name, one in trainings.items() if one is not None})
    return plots


def comparison(table: ScoreTable) -> Comparison:
    """The correlations of all networks."""
    return remember(("comparison", id(table)), lambda: compare_scores(table.learnability), table)


def pair_histogram(table: ScoreTable, choice: Choice) -> figures.PairHistogram:
    """The 2-D histogram of the chosen pair."""
    first, second = (table.values(model, choice.quantity) for model in choice.pair)
    return figures.bin_pair(first, second, choice.quantity, table.num_ranks)


def class_rows(table: ScoreTable, choice: Choice) -> figures.ClassRows:
    """The distribution of learnability in each class."""
    hardest_first = {"hardest": True, "easiest": False}.get(choice.order)
    return figures.class_distribution(
        table.learnability[choice.first], table.labels, table.classes, hardest_first, choice.first
    )


def find_examples(table: ScoreTable, choice: Choice) -> dict[str, NDArray[np.int64]]:
    """The samples that are easiest, and hardest, for both networks: by the sum of their ranks, as in Figure 1c."""
    ranks = table.rank[choice.first] + table.rank[choice.second]
    known = np.flatnonzero(~np.isnan(ranks))
    order = known[np.argsort(ranks[known], kind="stable")]
    return {"easiest": order[:NUM_EXAMPLES], "hardest": order[::-1][:NUM_EXAMPLES]}


def selected_curves(
    dataset: fo.Dataset, table: ScoreTable, selected: list[str]
) -> list[tuple[str, str, NDArray[np.float16]]]:
    """(label and short id, network, probabilities after each epoch) of the first selected samples."""
    curves = []
    position = {id: index for index, id in enumerate(table.ids.tolist())} if selected else {}
    for model in table.models if selected else ():
        dynamics = load_dynamics(dataset, model)
        if dynamics is None:
            continue
        ids, probabilities = dynamics
        for sample in selected[:MOST_CURVES]:
            column = int(np.searchsorted(ids, sample))
            if column == len(ids) or ids[column] != sample:
                continue
            index = position.get(sample)
            label = table.classes[table.labels[index]] if index is not None and table.labels[index] >= 0 else "?"
            curves.append((f"{label} …{sample[-4:]}", model, probabilities[:, column]))
    return curves


def _one_of(value: Any, choices: dict[str, str]) -> str:
    return value if value in choices else next(iter(choices))
