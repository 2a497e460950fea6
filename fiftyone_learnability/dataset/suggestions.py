"""The fields of suggested labels, and what has become of each suggestion."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import fiftyone as fo
import fiftyone.core.collections as foc
from fiftyone import ViewField as F

from ..scores.label_errors import HARD, MISLABELLED
from .internals import root_dataset
from .label_fields import RESERVED, find_copies
from .notes import FieldNote, moved_fields, note_of, notes_of, owning_run
from .samples import check_collection, label_path

SUGGESTION = "learnability_suggestion"
"""The field of the suggested label, a ``fo.Classification`` with a confidence; None where the label is preferred."""

CONTRADICTION = "learnability_contradiction"
"""The field that ranks samples by how strongly the training contradicts their labels, 0..1."""

VERDICT = "learnability_verdict"
"""The field that holds "mislabelled" (probably), "hard" (but plausible) or "learned"."""

DECISION = RESERVED
"""The field of what a curator decided about the suggestion, a ``fo.Classification``."""

DECISION_SCORE = "decision"
"""The score in the note of :data:`DECISION`. The field belongs to no run: it outlives the suggestions."""

OPEN, ACCEPTED, KEPT, SKIPPED = "open", "accepted", "kept", "skipped"


@dataclass(frozen=True, eq=False)
class Suggestion:
    """A suggested label.

    Attributes:
        id: the id of the sample
        filepath: its image file
        given: the given label
        suggested: the suggested label
        confidence: the mean probability of the suggested label, None if it is not known
        contradiction: how strongly the training contradicts the given label
        verdict: "mislabelled" or "hard"
        fixed: the label in the field or in a copy that equals the suggestion, None if there is none
        state: "accepted" if there is one; "kept" if a curator kept this label against this suggestion; "skipped" if a
            curator has put off the decision; "open" otherwise
        decided_at: when the curator decided, None if open
    """

    id: str
    filepath: str
    given: Any
    suggested: str
    confidence: float | None
    contradiction: float
    verdict: str
    fixed: Any
    state: str
    decided_at: datetime | None

    @property
    def is_open(self) -> bool:
        """True if the suggestion is still to be decided."""
        return self.state in (OPEN, SKIPPED)


def describe_no_suggestions(samples: foc.SampleCollection, applied: bool = True) -> str | None:
    """Say what is missing before suggested labels can be applied, or only shown; None if nothing."""
    dataset = root_dataset(samples)
    present, moved = notes_of(dataset), moved_fields(dataset)
    fields = (SUGGESTION, CONTRADICTION, VERDICT)
    if not any(field in present or field in moved for field in fields):
        return "there are no suggested labels yet: run suggest_label_fixes first"
    again = "run suggest_label_fixes again with overwrite=True"
    for field in fields:
        if field in present and samples.has_field(field):
            continue
        if field in present:
            return f"the view leaves out the field {field!r} of the suggested labels"
        was = f"is now {moved[field][0]!r}" if field in moved else "is missing"
        return f"the field {field!r} of the suggested labels {was}: {again}"
    if applied and owning_run(dataset, CONTRADICTION) is None:
        run = present[CONTRADICTION].run
        return (
            f"the dataset {dataset.name!r} has suggested labels but not the run {run!r} that knows for which field, as "
            f"after cloning a view: {again}"
        )
    return None


def check_suggested(samples: foc.SampleCollection, applied: bool) -> None:
    """Check that there are suggested labels.

    Args:
        samples: a dataset or view
        applied: True if they are to be applied, False if they are only shown

    Raises:
        ValueError: if something is missing
    """
    check_collection(samples)
    if problem := describe_no_suggestions(samples, applied):
        raise ValueError(problem)


def judged_field(dataset: fo.Dataset) -> str:
    """Return the label field that the suggestions were made for; :func:`check_suggested` says if it is known."""
    return str(dataset.get_run_info(owning_run(dataset, CONTRADICTION)).config.label_field)


def read_suggestions(samples: foc.SampleCollection, label_field: str) -> list[Suggestion]:
    """Read the suggestions for samples that have a label, the strongest contradiction first.

    Args:
        samples: a dataset or view with suggestions
        label_field: the field that they were made for

    Raises:
        ValueError: if the label field is gone
    """
    dataset = root_dataset(samples)
    path = label_path(dataset, label_field)
    copies = copies_of_labels(dataset, label_field, path)
    decided = [f"{DECISION}.{name}" for name in ("label", "given", "suggested", "at")] if has_decisions(dataset) else []
    suggestion = [f"{SUGGESTION}.label", f"{SUGGESTION}.confidence"]
    paths = ["id", "filepath", *suggestion, CONTRADICTION, VERDICT, path, *decided, *copies]
    contradicted = samples.match(F(VERDICT).is_in([MISLABELLED, HARD]))
    suggestions = []
    for id, file, suggested, confidence, contradiction, verdict, given, *rest in zip(
        *contradicted.values(paths), strict=True
    ):
        if suggested is None or given is None:
            continue
        decision, kept_label, against, at = rest[: len(decided)] or (None, None, None, None)
        fixed = next(
            (label for label in (given, *rest[len(decided) :]) if label is not None and str(label) == suggested), None
        )
        state = ACCEPTED if fixed is not None else OPEN
        # a decision is about one pair of labels: another suggestion, or a label that changed, is a new question
        if state == OPEN and decision in (KEPT, SKIPPED) and (kept_label, against) == (str(given), suggested):
            state = decision
        decided_at = None if state == OPEN else at
        suggestions.append(
            Suggestion(id, file, given, suggested, confidence, contradiction, verdict, fixed, state, decided_at)
        )
    return sorted(suggestions, key=lambda one: -(one.contradiction or 0))


def find_decisions(samples: foc.SampleCollection) -> dict[str, str]:
    """Return what became of suggestions, by sample id: "accepted", "kept" or "skipped"; others are left out.

    Args:
        samples: a dataset or view with suggestions
    """
    if describe_no_suggestions(samples) is not None:
        # without the run nothing says which labels the suggestions are about
        return {}
    label_field = judged_field(root_dataset(samples))
    if samples.get_field(label_field) is None:
        return {}
    return {one.id: one.state for one in read_suggestions(samples, label_field) if one.state != OPEN}


def copies_of_labels(dataset: fo.Dataset, label_field: str, path: str) -> tuple[str, ...]:
    """Return the paths of the labels in the copies of a label field, whose own labels have the path ``path``."""
    suffix = path.removeprefix(label_field)
    return tuple(f"{copy}{suffix}" for copy in find_copies(dataset, label_field))


def queue_order(suggestions: list[Suggestion]) -> list[Suggestion]:
    """Return the suggestions that are to be decided: open ones first, then the skipped ones, the last of them last."""
    skipped = sorted((one for one in suggestions if one.state == SKIPPED), key=lambda one: str(one.decided_at))
    return [*(one for one in suggestions if one.state == OPEN), *skipped]


def has_decisions(dataset: fo.Dataset) -> bool:
    """True if a curator has decided about suggestions of the dataset."""
    return decision_note(dataset) is not None


def decision_note(dataset: fo.Dataset) -> FieldNote | None:
    """Return the note of the field of decisions, None if there is no such field of this package."""
    note = note_of(dataset.get_field(DECISION))
    return note if note.score == DECISION_SCORE else None
