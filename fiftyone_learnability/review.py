"""The review of suggested labels, one by one: a curator accepts, keeps or skips each, and can take decisions back."""

from __future__ import annotations

import fiftyone.core.collections as foc
import fiftyone.core.view as fov

from .dataset.decisions import (
    check_decision_field,
    choose_review_target,
    make_decision_field,
    record_decisions,
    review_target,
    take_back,
)
from .dataset.internals import root_dataset
from .dataset.label_fields import choose_fix_field
from .dataset.recovery import recover
from .dataset.samples import check_collection, check_images
from .dataset.suggestions import (
    ACCEPTED,
    KEPT,
    SKIPPED,
    check_suggested,
    has_decisions,
    judged_field,
    queue_order,
    read_suggestions,
)
from .scores.checks import check_integer
from .scores.label_errors import HARD, MISLABELLED


def start_label_review(samples: foc.SampleCollection, into: str | None = None, *, in_place: bool = False) -> str:
    """Choose where the review of suggested labels writes the accepted ones. The dataset remembers it.

    Args:
        samples: a dataset or view with suggestions
        into (None): a copy of the label field, by default ``<label field>_fixed``; made if it does not exist
        in_place (False): True for the label field itself. The first label of each changed sample is then kept in
            ``<label field>_original``

    Returns:
        the field

    Raises:
        ValueError: if there are no suggestions, or the field cannot take labels; see
            :func:`fiftyone_learnability.apply_label_fixes`
        WriteError: if the database fails; the dataset is unchanged
    """
    check_images(samples)
    dataset = root_dataset(samples)
    recover(dataset)
    check_suggested(samples, applied=True)
    label_field = judged_field(dataset)
    target = choose_fix_field(dataset, label_field, into, in_place)
    choose_review_target(dataset, label_field, target)
    return target


def review_queue(samples: foc.SampleCollection, verdict: str = MISLABELLED) -> fov.DatasetView:
    """Return the samples whose suggestion is still to be decided, the strongest contradiction first.

    A suggestion is decided if the sample has the suggested label, in the label field or in a copy with accepted
    suggestions, or if a curator kept its label. Skipped ones come last. A kept label is never asked about again, also
    when suggestions are computed anew, unless another label is suggested then or the label was changed.

    Args:
        samples: a dataset or view with suggestions
        verdict ("mislabelled"): "mislabelled" (probably), or "hard" (but plausible)

    Returns:
        the view

    Raises:
        ValueError: if there are no suggestions, their label field is gone, or the verdict is another one
    """
    check_collection(samples)
    check_suggested(samples, applied=True)
    if verdict not in (MISLABELLED, HARD):
        raise ValueError(f"verdict must be {MISLABELLED!r} or {HARD!r}, not {verdict!r}")
    suggestions = read_suggestions(samples, judged_field(root_dataset(samples)))
    return samples.select([one.id for one in queue_order(suggestions) if one.verdict == verdict], ordered=True)


def decide_labels(samples: foc.SampleCollection, decision: str) -> int:
    """Accept or skip the suggested labels of samples, or keep the given ones.

    The decision is written into the field ``learnability_decision``, a Classification whose label is the decision, with
    the given and the suggested label and the time. Accepted labels go where :func:`start_label_review` said, by
    default into ``<label field>_fixed``. Samples without a suggestion, or with one that is accepted or kept already,
    stay as they are. :func:`undo_decisions` takes decisions back.

    Example::

        queue = fol.review_queue(dataset)
        fol.decide_labels(queue[:1], "accepted")  # the suggested label is right
        fol.decide_labels(queue[1:2], "kept")  # the given label is right: never ask again

    Args:
        samples: the samples; their suggestions get the same decision
        decision: "accepted", "kept", or "skipped", which puts the decision off

    Returns:
        the number of samples that the decision was written to

    Raises:
        ValueError: if there are no suggestions, the decision is another one, or a field cannot be written
        WriteError: if the database fails while the copy of the label field is made; the dataset is unchanged
    """
    check_images(samples)
    dataset = root_dataset(samples)
    recover(dataset)
    check_suggested(samples, applied=True)
    if decision not in (ACCEPTED, KEPT, SKIPPED):
        raise ValueError(f"decision must be {ACCEPTED!r}, {KEPT!r} or {SKIPPED!r}, not {decision!r}")
    label_field, target = judged_field(dataset), None
    suggestions = [one for one in read_suggestions(samples, label_field) if one.is_open]
    check_decision_field(dataset)
    if decision == ACCEPTED:
        target = review_target(dataset, label_field) or start_label_review(samples)
    elif not has_decisions(dataset):
        make_decision_field(dataset)
    return record_decisions(dataset, label_field, target, decision, suggestions)


def undo_decisions(samples: foc.SampleCollection, count: int = 1) -> list[str]:
    """Take back the last decisions of the review on a dataset, also those of other people.

    The suggestions are then to be decided again, and labels that were replaced return, except where somebody has
    changed the label again since. What :func:`fiftyone_learnability.apply_label_fixes` has applied stays.

    Args:
        samples: the dataset, or a view of it
        count (1): the number of calls of :func:`decide_labels`, or clicks in the App, to take back

    Returns:
        the ids of the samples that they were about

    Raises:
        ValueError: if the count is not a positive whole number, or a field is read-only
    """
    check_collection(samples)
    count = check_integer("count", count, at_least=1)
    dataset = root_dataset(samples)
    recover(dataset)
    if not has_decisions(dataset):
        return []
    check_decision_field(dataset)
    ids: list[str] = []
    for _ in range(count):
        taken = take_back(dataset)
        if not taken:
            break
        ids += taken
    return ids
