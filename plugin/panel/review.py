"""The review of suggested labels: how many there are, what they are based on, and which label would become which."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import fiftyone as fo
import fiftyone.core.collections as foc
import fiftyone.operators as foo
from fiftyone import ViewExpression as E
from fiftyone import ViewField as F

from fiftyone_learnability.dataset.decisions import review_target
from fiftyone_learnability.dataset.notes import owning_run
from fiftyone_learnability.dataset.samples import label_path
from fiftyone_learnability.dataset.suggestions import (
    ACCEPTED,
    CONTRADICTION,
    DECISION,
    KEPT,
    SUGGESTION,
    VERDICT,
    Suggestion,
    copies_of_labels,
    describe_no_suggestions,
    has_decisions,
    judged_field,
    queue_order,
    read_suggestions,
)
from fiftyone_learnability.scores.label_errors import HARD, MISLABELLED, THRESHOLD

from ..memory import remember
from ..names import format_models
from .figures import SCALE, Figure, cell_texts, layout
from .scope import Scope, build_view, scope_of
from .table import dataset_state

MOST_CLASSES = 30
"""The largest number of rows, and of columns, in the heatmap of given and suggested labels."""


@dataclass(frozen=True, eq=False)
class Review:
    """The suggestions for the samples in the panel's scope.

    Attributes:
        label_field: the field of the labels in question, None if it is gone
        path: the path of its labels
        copies: the paths of the labels in copies of the field, which accepted suggestions are written to
        counts: number of samples by verdict
        changes: number of samples that are probably mislabelled and not decided, by (given, suggested) label
        states: number of samples by verdict and state, see :class:`Suggestion`
        queues: by verdict, the suggestions that are still to be decided, in the order in which to ask
        target: the field that accepted labels go into, None if it was not chosen yet
        decided: True if there are decisions, which can be taken back
        accepted_values: the value in a copy by accepted suggestion: the suggestion is a text, the value may be a number
        models: the networks that the suggestions are based on
        threshold: labels with at least this contradiction are called probably mislabelled
        remarks: what must be said about the suggestions, a sentence each
    """

    label_field: str | None
    path: str | None
    copies: tuple[str, ...]
    counts: Counter[str]
    changes: Counter[tuple[Any, str]]
    states: Counter[tuple[str, str]]
    queues: dict[str, list[Suggestion]]
    target: str | None
    decided: bool
    accepted_values: dict[str, Any]
    models: tuple[str, ...]
    threshold: float
    remarks: tuple[str, ...]

    @property
    def given(self) -> list[Any]:
        """The given labels, in the order of the heatmap's rows."""
        return _most_frequent(self.changes, 0)

    @property
    def suggested(self) -> list[str]:
        """The suggested labels, in the order of the heatmap's columns."""
        return _most_frequent(self.changes, 1)

    def num_decided(self, verdict: str) -> int:
        """Return the number of suggestions with a verdict that are accepted or kept."""
        return self.states[verdict, ACCEPTED] + self.states[verdict, KEPT]

    @property
    def num_shown(self) -> int:
        """The number of samples that the heatmap counts."""
        rows, columns = set(self.given), set(self.suggested)
        return sum(count for (old, new), count in self.changes.items() if old in rows and new in columns)

    @property
    def basis(self) -> str:
        """An explanation of the verdicts for users."""
        times = f"{self.threshold / (1 - self.threshold):.3g}" if self.threshold < 1 else "infinitely many"
        by = format_models(self.models) or "networks that are not known here, as the run is gone"
        return (
            f"Based on the training of {by}. *Probably mislabelled*: the training settled on "
            f"one other class. Averaged over all epochs, and corrected for how often each class is predicted, that "
            f"class had at least {times} times the probability of the given label, and at least a quarter of all "
            "probability. *Hard but plausible*: the training preferred another class without settling on it, as with "
            "atypical and ambiguous images."
        )


def scope_review(ctx: foo.ExecutionContext) -> Review | None:
    """Return the review of the samples in the panel's scope, None if no labels were suggested."""
    return load_review(ctx.dataset, scope_of(ctx))


def load_review(dataset: fo.Dataset, scope: Scope) -> Review | None:
    """Return the review of the samples in a scope, None if no labels were suggested.

    Args:
        dataset: the dataset
        scope: the scope
    """
    if describe_no_suggestions(dataset, applied=False) is not None:
        return None
    key = owning_run(dataset, CONTRADICTION)
    target = None if key is None else review_target(dataset, judged_field(dataset))
    # the target can change without any sample
    return remember(
        ("review", key, dataset_state(dataset), scope.fingerprint, target, has_decisions(dataset)),
        lambda: _read(dataset, key, build_view(dataset, scope.stages), target),
    )


def _read(dataset: fo.Dataset, key: str | None, samples: foc.SampleCollection, target: str | None) -> Review:
    config = None if key is None else dataset.get_run_info(key).config
    label_field = getattr(config, "label_field", None)
    try:
        path = None if label_field is None else label_path(dataset, label_field)
    except ValueError:
        label_field = path = None
    # without the field of the labels, no label can change
    suggestions = [] if label_field is None else read_suggestions(samples, label_field)
    wrong = [one for one in suggestions if one.verdict == MISLABELLED]
    return Review(
        label_field=label_field,
        path=path,
        copies=() if label_field is None or path is None else copies_of_labels(dataset, label_field, path),
        counts=Counter(samples.match(F(VERDICT).is_in([MISLABELLED, HARD])).values(VERDICT)),
        changes=Counter((one.given, one.suggested) for one in wrong if one.is_open),
        states=Counter((one.verdict, one.state) for one in suggestions),
        queues={
            verdict: queue_order([one for one in suggestions if one.verdict == verdict])
            for verdict in (MISLABELLED, HARD)
        },
        target=target,
        decided=has_decisions(dataset),
        accepted_values={one.suggested: one.fixed for one in wrong if one.fixed is not None},
        models=tuple(getattr(config, "of", ())),
        threshold=getattr(config, "threshold", THRESHOLD),
        remarks=tuple(getattr(config, "remarks", ())),
    )


def match_change(review: Review, row: int, column: int) -> F | None:
    """Return an expression that matches the samples of a cell of the heatmap; None if the cell is empty.

    The expression does not match the verdict.

    Args:
        review: the review
        row: the row, from the top
        column: the column
    """
    given, suggested = review.given, review.suggested
    if review.path is None or row >= len(given) or column >= len(suggested):
        return None
    if not review.changes.get((given[row], suggested[column])):
        return None
    return match_suggestion(review, given[row], suggested[column])


def match_suggestion(review: Review, given: Any, suggested: str) -> F:
    """Return an expression that matches the samples with both labels that are not decided.

    The expression does not match the verdict.

    Args:
        review: the review
        given: the given label
        suggested: the suggested label
    """
    # $literal, because MongoDB would take a class "$x" for a field
    old, new = E({"$literal": given}), E({"$literal": suggested})
    inside = (F(review.path) == old) & (F(f"{SUGGESTION}.label") == new)
    if suggested in review.accepted_values:
        # the heatmap does not count a suggestion that was accepted in a copy
        fixed = E({"$literal": review.accepted_values[suggested]})
        for copy in review.copies:
            inside &= F(copy) != fixed
    if review.decided:
        # nor one that was turned down
        pair = {"label": KEPT, "given": str(given), "suggested": suggested}
        kept = [F(f"{DECISION}.{name}") == E({"$literal": value}) for name, value in pair.items()]
        inside &= ~(kept[0] & kept[1] & kept[2])
    return inside


def draw_changes(review: Review) -> Figure:
    """Draw the number of probably mislabelled samples by given label (rows) and suggested label (columns)."""
    given, suggested = review.given, review.suggested
    counts = [[review.changes.get((old, new), 0) for new in suggested] for old in given]
    texts = [[f"{count:,}" if count else "" for count in row] for row in counts]
    heatmap = {
        "type": "heatmap",
        "x": [str(label) for label in suggested],
        "y": [str(label) for label in given],
        "z": [[count or None for count in row] for row in counts],
        "zmin": 0,
        "zmax": max(max(row) for row in counts),
        "text": texts,
        "hovertemplate": "given %{y}<br>suggested %{x}<br>%{text} samples<extra></extra>",
        "colorscale": SCALE,
        "showscale": False,
        "xgap": 2,
        "ygap": 2,
    }
    # "category", because Plotly would take labels such as "3" for numbers
    return [heatmap, cell_texts(heatmap, texts)], layout(
        130 + 26 * len(given),
        "suggested label",
        "given label",
        xaxis={"type": "category", "range": [-0.5, len(suggested) - 0.5], "fixedrange": True},
        yaxis={"type": "category", "range": [len(given) - 0.5, -0.5], "fixedrange": True},
    )


def label_fields(review: Review) -> list[str]:
    """Return the fields that show the given label, the suggested label and the verdict on a sample."""
    return [name for name in (review.label_field, SUGGESTION, VERDICT) if name]


def _most_frequent(changes: Counter[Any], side: int) -> list[Any]:
    """Return the labels on one side of the changes, sorted by name; if there are too many, the most frequent."""
    totals: Counter[Any] = Counter()
    for pair, count in changes.items():
        totals[pair[side]] += count
    return sorted((label for label, _ in totals.most_common(MOST_CLASSES)), key=str)
