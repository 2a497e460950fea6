"""What the panel says of suggested labels: how many, what they rest on, and which label would become which."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import fiftyone as fo
import fiftyone.core.collections as foc
import fiftyone.operators as foo
from fiftyone import ViewExpression as E
from fiftyone import ViewField as F

from fiftyone_learnability.dataset.notes import notes_of, owning_run
from fiftyone_learnability.dataset.registry import list_runs
from fiftyone_learnability.dataset.samples import label_path
from fiftyone_learnability.labels import CONTRADICTION, SUGGESTION, VERDICT
from fiftyone_learnability.scores.label_errors import HARD, MISLABELLED, THRESHOLD

from ..memory import remember
from ..names import format_models
from .figures import SCALE, Trace, layout
from .table import Scope, build_view, state_of

MOST_CLASSES = 30
"""The rows and columns that the picture of given and suggested labels has at most."""


@dataclass(frozen=True, eq=False)
class Review:
    """The suggestions for the samples that the panel speaks of.

    Attributes:
        label_field: the field of the labels that are contradicted, None if it is gone
        path: where its labels stand
        copies: where the labels stand in the copies of the field that accepted suggestions go into
        counts: the samples by verdict
        changes: the samples that are probably mislabelled and not accepted, by given and suggested label
        accepted: how many that are probably mislabelled have the suggested label by now, in the field or in a copy
        written: what a copy holds for each suggested label that was accepted there, a text or a number
        of: the networks that the suggestions rest on
        threshold: the contradiction from which on a label is called probably wrong
    """

    label_field: str | None
    path: str | None
    copies: tuple[str, ...]
    counts: Counter[str]
    changes: Counter[tuple[Any, str]]
    accepted: int
    written: dict[str, Any]
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
            f"By the training of {format_models(self.of)}. *Probably mislabelled*: it settled on one other class, "
            f"which had at least {times} times the probability of the given one over the whole training, and a quarter "
            "of it all. *Hard but plausible*: it preferred another class without settling on it, as with atypical and "
            "ambiguous images."
        )


def load_review(dataset: fo.Dataset, scope: Scope) -> Review | None:
    """The suggestions for the samples of a scope; None if nothing was suggested.

    Args:
        dataset: the dataset
        scope: what the panel speaks of
    """
    key = owning_run(dataset, CONTRADICTION)
    if key is None or not all(dataset.has_field(name) for name in (SUGGESTION, VERDICT)):
        return None
    return remember(
        ("review", key, *state_of(dataset), scope.mark),
        lambda: _read(dataset, key, build_view(dataset, scope.stages, scope.filters)),
    )


def _read(dataset: fo.Dataset, key: str, samples: foc.SampleCollection) -> Review:
    config = dataset.get_run_info(key).config if key in list_runs(dataset) else None
    label_field = getattr(config, "label_field", None)
    try:
        path = None if label_field is None else label_path(dataset, label_field)
    except ValueError:
        label_field = path = None
    copies = () if label_field is None or path is None else _copies(dataset, label_field, path)
    contradicted = samples.match(F(VERDICT).is_in([MISLABELLED, HARD]))
    verdicts, suggested, *labels = contradicted.values(
        [VERDICT, f"{SUGGESTION}.label", *([path, *copies] if path else [])]
    )
    changes: Counter[tuple[Any, str]] = Counter()
    accepted = 0
    written: dict[str, Any] = {}
    # without the field of the labels there is nothing to change
    for verdict, new, old, *copied in zip(verdicts, suggested, *labels, strict=True) if labels else ():
        if verdict != MISLABELLED or old is None or new is None:
            continue
        fixed = next((label for label in copied if label is not None and str(label) == new), None)
        if fixed is not None:
            written[new] = fixed
        if fixed is not None or str(old) == new:
            accepted += 1
        else:
            changes[old, new] += 1
    return Review(
        label_field,
        path,
        copies,
        Counter(verdicts),
        changes,
        accepted,
        written,
        tuple(getattr(config, "of", ())),
        getattr(config, "threshold", THRESHOLD),
    )


def _copies(dataset: fo.Dataset, label_field: str, path: str) -> tuple[str, ...]:
    """Where the labels stand in the copies of a label field, whose own stand at ``path``."""
    within = path.removeprefix(label_field)
    return tuple(f"{name}{within}" for name, note in notes_of(dataset).items() if note.copy_of == label_field)


def match_change(review: Review, row: int, column: int) -> F | None:
    """An expression for the samples that a cell of the picture counts, None if it counts none.

    Only the verdict is left to be matched.

    Args:
        review: what is drawn
        row: the row, from the top
        column: the column
    """
    given, suggested = review.given, review.suggested
    if review.path is None or row >= len(given) or column >= len(suggested):
        return None
    if not review.changes.get((given[row], suggested[column])):
        return None
    # not bare, since MongoDB would take a class "$x" for a field
    old, new = E({"$literal": given[row]}), E({"$literal": suggested[column]})
    inside = (F(review.path) == old) & (F(f"{SUGGESTION}.label") == new)
    if suggested[column] in review.written:
        # a suggestion that was accepted in any copy is not counted
        fixed = E({"$literal": review.written[suggested[column]]})
        for copy in review.copies:
            inside &= F(copy) != fixed
    return inside


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
