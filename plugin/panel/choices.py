"""What the user has chosen in each open panel: the tab, the networks, their scores, and the order of classes.

The server remembers the choices. In the panel's state, each of them would make the App reload its page.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import fiftyone.operators as foo

from fiftyone_learnability.scores.catalog import SCORES
from fiftyone_learnability.scores.label_errors import HARD, MISLABELLED

from ..memory import Recent
from ..names import network_label
from .embedding import find_visualizations
from .figures import Axis
from .scope import panel_key
from .table import ScoreTable, scope_table

TABS = {
    "compare": "Compare",
    "map": "Data map",
    "labels": "Labels",
    "examples": "Examples",
    "classes": "Classes",
    "curves": "Curves",
    "embeddings": "Embeddings",
    "runs": "Runs",
}
SAME = "same"
"""The choice of the second score that always equals the first."""

OVERVIEW = "overview"
REVIEWS = (OVERVIEW, MISLABELLED, HARD)
"""What the tab of labels shows: the overview, or the review of the suggestions with a verdict, one by one."""

ORDERS = {
    "hardest": "Hardest class first",
    "easiest": "Easiest class first",
    "mislabelled": "Most mislabelled first",
    "name": "By name",
}
MOST_MORE = 12
"""The largest number of times that "Show more" counts."""


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
        review: what the tab of labels shows, one of :data:`REVIEWS`
        embedding: the key of the visualization that the tab of embeddings shows, "" if there is none
        more: how many times "Show more" was pressed; choices that differ in nothing else are equal
    """

    tab: str
    first: str
    quantity: str
    second: str
    against: str
    order: str
    review: str = OVERVIEW
    embedding: str = ""
    more: int = field(default=0, compare=False)

    @classmethod
    def read(cls, ctx: foo.ExecutionContext) -> Choice:
        """Return the choices in a panel; one that was not made, or does not exist any more, gets its default."""
        chosen, table = _chosen.get(panel_key(ctx)) or {}, scope_table(ctx)
        first, second = chosen.get("first"), chosen.get("second")
        quantity, against = chosen.get("quantity"), chosen.get("against")
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
            against = against if against in table.scores[second] and against != quantity else SAME
            if against == SAME and quantity not in table.scores[second]:
                against = "learnability"
        elif against not in scores or against == quantity:
            against = next(iter(comparable_scores(table, first, quantity)), SAME)
        tab, order, review = (
            str(name) if name in names else next(iter(names))
            for name, names in (
                (chosen.get("tab"), list(TABS)),
                (chosen.get("order"), list(ORDERS)),
                (chosen.get("review"), list(REVIEWS)),
            )
        )
        visualizations = find_visualizations(ctx.dataset)
        if tab == "embeddings" and not visualizations:
            tab = next(iter(TABS))
        embedding = chosen.get("embedding", "")
        if embedding not in visualizations:
            embedding = next(iter(visualizations), "")
        more = min(int(chosen.get("more", 0)), MOST_MORE)
        return cls(tab, first, quantity, second, against, order, review, embedding, more)

    @property
    def pair(self) -> tuple[str, str]:
        """The two networks."""
        return self.first, self.second

    @property
    def x(self) -> Axis:
        """Network and score of the x axis."""
        return self.first, self.quantity

    @property
    def y(self) -> Axis:
        """Network and score of the y axis; those of the x axis if there is nothing to compare."""
        return self.second, self.quantity if self.against == SAME else self.against


_chosen: Recent[tuple[Any, str], dict[str, Any]] = Recent(200)
"""The choices that were made, by dataset and panel."""


def choose(ctx: foo.ExecutionContext, **choices: Any) -> None:
    """Remember choices of the user, named as in :class:`Choice`; what is neither a text nor a number is ignored."""
    known, table = asdict(Choice.read(ctx)), scope_table(ctx)
    first = choices.get("first") or known["first"]
    if choices.get("second") == first:
        # two scores of one network
        others = comparable_scores(table, first, known["quantity"])
        choices = {"against": next(iter(others), None), **choices}
    made = {name: value for name, value in choices.items() if isinstance(value, (str, int))}
    _chosen.put(panel_key(ctx), {**known, **made})
    # what is drawn is what stays chosen, such as another second network once the first is the same
    _chosen.put(panel_key(ctx), asdict(Choice.read(ctx)))


def comparable_scores(table: ScoreTable, model: str, score: str) -> list[str]:
    """Return the scores of a network that one of its scores can be compared with, the most useful first.

    Rank orders samples exactly as learnability does, so comparing those two comes last, and never alone.
    """
    others = [name for name in table.scores.get(model, ()) if name != score]
    independent = [name for name in others if {name, score} != {"learnability", "rank"}]
    return [*independent, *(name for name in others if name not in independent)] if independent else []


def options_of(table: ScoreTable, choice: Choice, name: str) -> dict[str, str]:
    """Return what can be chosen for a part of the choices, the present choice first.

    Args:
        table: the scores of the samples in the panel's scope
        choice: the present choices
        name: "first", "quantity", "second" or "against"

    Returns:
        the text for users by value; texts differ
    """
    if name in ("first", "second"):
        present, texts = getattr(choice, name), {model: network_label(model) for model in table.sources}
    elif name == "quantity":
        present, texts = choice.quantity, _titles(table.scores.get(choice.first, ()))
    elif choice.first != choice.second:
        present, texts = choice.y[1], _titles(table.scores.get(choice.second, ()))
    else:
        present, texts = choice.y[1], _titles(comparable_scores(table, choice.first, choice.quantity))
    seen = list(texts.values())
    texts = {value: text if seen.count(text) == 1 else f"{text} ({value})" for value, text in texts.items()}
    return {present: texts[present], **texts} if present in texts else texts


def option_named(table: ScoreTable, choice: Choice, name: str, text: Any) -> str | None:
    """Return the value of an option that the user chose by its text, None if there is no such option."""
    return next((value for value, other in options_of(table, choice, name).items() if other == text), None)


def _titles(scores: Iterable[str]) -> dict[str, str]:
    return {score: SCORES[score].title for score in scores}
