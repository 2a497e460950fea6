"""What the panel says of suggested labels: how many, what they rest on, and which label would become which."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

import fiftyone as fo
import fiftyone.core.collections as foc
import fiftyone.operators as foo
from fiftyone import ViewExpression as E
from fiftyone import ViewField as F

from fiftyone_learnability.dataset.registry import list_runs, owning_run
from fiftyone_learnability.dataset.samples import label_path
from fiftyone_learnability.labels import CONTRADICTION, SUGGESTION, VERDICT
from fiftyone_learnability.science.label_errors import HARD, MISLABELLED, THRESHOLD

from .figures import SCALE, Trace, layout
from .names import listed
from .scores import build_view, remember, state_of

MOST_CLASSES = 30
"""The rows and columns that the picture of given and suggested labels has at most."""


@dataclass(frozen=True, eq=False)
class Review:
    """The suggestions for the samples that the panel speaks of.

    Attributes:
        label_field: the field of the labels that are contradicted, None if it is gone
        path: where its labels stand
        counts: the samples by verdict
        changes: the samples that are probably mislabelled, by given and suggested label
        accepted: how many of those have the suggested label by now
        of: the networks that the suggestions rest on
        threshold: the contradiction from which on a label is called probably wrong
    """

    label_field: str | None
    path: str | None
    counts: Counter[str]
    changes: Counter[tuple[Any, str]]
    accepted: int
    of: tuple[str, ...]
    threshold: float

    @property
    def given(self) -> list[Any]:
        """The given labels that the picture shows, in the order of its rows."""
        return _most_frequent(self.changes, 0)

    @property
    def suggested(self) -> list[str]:
        """The suggested labels that the picture shows, in the order of its columns."""
        return _most_frequent(self.changes, 1)

    @property
    def shown(self) -> int:
        """The samples that the picture counts."""
        rows, columns = set(self.given), set(self.suggested)
        return sum(count for (old, new), count in self.changes.items() if old in rows and new in columns)

    @property
    def basis(self) -> str:
        """One line that says what the verdicts rest on."""
        times = f"{self.threshold / (1 - self.threshold):.3g}" if self.threshold < 1 else "infinitely many"
        return (
            f"By the training of {listed(self.of)}. *Probably mislabelled*: it settled on one other class, which had "
            f"at least {times} times the probability of the given one over the whole training. *Hard but plausible*: "
            "it preferred another class without settling on it, as with atypical and ambiguous images."
        )


def load_review(dataset: fo.Dataset, stages: list[dict[str, Any]], filters: dict[str, Any] | None) -> Review | None:
    """The suggestions for the samples that stages and filters leave; None if nothing was suggested.

    Args:
        dataset: the dataset
        stages: the stages of the view, serialized
        filters: the filters of the App's sidebar
    """
    key = owning_run(dataset, CONTRADICTION)
    if key is None or not all(dataset.has_field(name) for name in (SUGGESTION, VERDICT)):
        return None
    scope = json.dumps([stages, filters], sort_keys=True, default=str)
    return remember(
        ("review", key, *state_of(dataset), scope), lambda: _read(dataset, key, build_view(dataset, stages, filters))
    )


def _read(dataset: fo.Dataset, key: str, samples: foc.SampleCollection) -> Review:
    config = dataset.get_run_info(key).config if key in list_runs(dataset) else None
    label_field = getattr(config, "label_field", None)
    try:
        path = None if label_field is None else label_path(dataset, label_field)
    except ValueError:
        label_field = path = None
    contradicted = samples.match(F(VERDICT).is_in([MISLABELLED, HARD]))
    verdicts, suggested, *given = contradicted.values([VERDICT, f"{SUGGESTION}.label", *([path] if path else [])])
    changes: Counter[tuple[Any, str]] = Counter()
    accepted = 0
    for verdict, new, old in zip(verdicts, suggested, given[0] if given else [None] * len(verdicts), strict=True):
        if verdict != MISLABELLED or old is None or new is None:
            continue
        # once a suggestion is accepted in the labels themselves, there is nothing left to change
        if str(old) == new:
            accepted += 1
        else:
            changes[old, new] += 1
    return Review(
        label_field,
        path,
        Counter(verdicts),
        changes,
        accepted,
        tuple(getattr(config, "of", ())),
        getattr(config, "threshold", THRESHOLD),
    )


def match_change(review: Review, row: int, column: int) -> F | None:
    """An expression for the given and the suggested label of a cell of the picture, None if it has no such cell.

    Args:
        review: what is drawn
        row: the row, from the top
        column: the column
    """
    given, suggested = review.given, review.suggested
    if review.path is None or row >= len(given) or column >= len(suggested):
        return None
    # not bare, since MongoDB would take a class "$x" for a field
    old, new = E({"$literal": given[row]}), E({"$literal": suggested[column]})
    return (F(review.path) == old) & (F(f"{SUGGESTION}.label") == new)


def draw_changes(review: Review) -> tuple[list[Trace], dict[str, Any]]:
    """The picture of given labels (rows) and suggested ones (columns): how many are probably mislabelled so."""
    given, suggested = review.given, review.suggested
    counts = [[review.changes.get((old, new), 0) for new in suggested] for old in given]
    heat = {
        "type": "heatmap",
        "x": [str(label) for label in suggested],
        "y": [str(label) for label in given],
        "z": [[count or None for count in line] for line in counts],
        "text": [[f"{count:,}" if count else "" for count in line] for line in counts],
        "texttemplate": "%{text}",
        "hovertemplate": "given %{y}<br>suggested %{x}<br>%{text} samples<extra></extra>",
        "colorscale": SCALE,
        "showscale": False,
        "xgap": 2,
        "ygap": 2,
    }
    return [heat], layout(
        130 + 26 * len(given),
        "suggested label",
        "given label",
        # labels such as "3" are no numbers
        xaxis={"type": "category", "fixedrange": True},
        yaxis={"type": "category", "autorange": "reversed", "fixedrange": True},
    )


def show_labels(ctx: foo.ExecutionContext, review: Review) -> None:
    """Has the grid write given and suggested label, and the verdict, on each sample, beside what it writes already."""
    wanted = [name for name in (review.label_field, SUGGESTION, VERDICT) if name]
    active = list(ctx.active_fields or [])
    if any(name not in active for name in wanted):
        ctx.ops.set_active_fields([*active, *(name for name in wanted if name not in active)])


def _most_frequent(changes: Counter[Any], side: int) -> list[Any]:
    """The labels of one side of the changes, by name; of too many the most frequent."""
    totals: Counter[Any] = Counter()
    for pair, count in changes.items():
        totals[pair[side]] += count
    return sorted((label for label, _ in totals.most_common(MOST_CLASSES)), key=str)
