"""Writes what a curator decides about suggested labels, sample by sample, and takes it back.

A decision and the label that it changes lie in one document of MongoDB, so one update writes both or neither. That
takes a millisecond, while writing whole fields takes seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

import fiftyone as fo
from bson import ObjectId
from pymongo import UpdateOne

from .appearance import show_in_app
from .internals import reload_samples, sample_collection, set_field_metadata
from .label_fields import (
    choose_fix_field,
    classification,
    corrected,
    label_of,
    original_field,
    prepare_fix_field,
    value_at,
)
from .notes import FieldNote
from .suggestions import ACCEPTED, DECISION, DECISION_SCORE, SUGGESTION, Suggestion, decision_note
from .target import check_writable

_BATCH = 10_000
"""Samples read and written at a time."""


def check_decision_field(dataset: fo.Dataset) -> None:
    """Check that decisions can be written.

    Raises:
        ValueError: if their field is read-only, or another field has its name
    """
    if dataset.has_field(DECISION) and decision_note(dataset) is None:
        raise ValueError(f"the field {DECISION!r} exists and holds no decisions of this package: rename it first")
    check_writable(dataset, [DECISION])


def make_decision_field(dataset: fo.Dataset, target: str | None = None) -> None:
    """Add the field of decisions if the dataset does not have it.

    Args:
        dataset: the dataset
        target (None): the field that accepted labels go into from now on; None leaves it as it is

    Raises:
        ValueError: see :func:`check_decision_field`
    """
    check_decision_field(dataset)
    note, description = decision_note(dataset), "What was decided about the suggested label: accepted, kept or skipped"
    into = note.accepts_into if target is None and note is not None else target
    new = FieldNote(score=DECISION_SCORE, field=DECISION, accepts_into=into)
    if note is None:
        dataset.add_sample_field(
            DECISION,
            fo.EmbeddedDocumentField,
            embedded_doc_type=fo.Classification,
            description=description,
            info=new.to_info(),
        )
        show_in_app(dataset, [DECISION])
    elif new != note:
        field = dataset.get_field(DECISION)
        set_field_metadata(dataset, {DECISION: (field.description, {**field.info, **new.to_info()})})


def review_target(dataset: fo.Dataset, label_field: str) -> str | None:
    """Return the field that accepted labels go into, None if it was not chosen or cannot take them any more.

    Args:
        dataset: the dataset
        label_field: the field that the suggestions were made for
    """
    note = decision_note(dataset)
    target = None if note is None else note.accepts_into
    if target is None or not dataset.has_field(target):
        return None
    try:
        in_place = target == label_field
        choose_fix_field(dataset, label_field, None if in_place else target, in_place)
    except ValueError:
        return None
    needed = original_field(label_field) if in_place else target
    return target if dataset.has_field(needed) else None


def choose_review_target(dataset: fo.Dataset, label_field: str, target: str) -> None:
    """Choose the field that accepted labels go into, and make the fields that this takes.

    Args:
        dataset: the dataset
        label_field: the field that the suggestions were made for
        target: the field, from :func:`.label_fields.choose_fix_field`
    """
    check_decision_field(dataset)
    prepare_fix_field(dataset, label_field, target)
    make_decision_field(dataset, target)


def record_decisions(
    dataset: fo.Dataset, label_field: str, target: str | None, decision: str, suggestions: Sequence[Suggestion]
) -> int:
    """Write a decision about suggestions; accepted ones also go into the target.

    A sample that was changed or decided meanwhile is left as it is.

    Args:
        dataset: the dataset
        label_field: the field that the suggestions were made for
        target: the field that accepted labels go into
        decision: "accepted", "kept" or "skipped"
        suggestions: the suggestions, from :func:`.suggestions.read_suggestions`

    Returns:
        the number of samples that were written
    """
    now, written = datetime.now(timezone.utc), 0
    for start in range(0, len(suggestions), _BATCH):
        batch = {one.id: one for one in suggestions[start : start + _BATCH]}
        fields = [label_field, DECISION, SUGGESTION, *([target, original_field(label_field)] if target else [])]
        query = {"_id": {"$in": [ObjectId(id) for id in batch]}}
        updates = []
        for document in sample_collection(dataset).find(query, dict.fromkeys(fields, 1)):
            one = batch[str(document["_id"])]
            if str(label_of(value_at(document, label_field))) != str(one.given):
                continue
            note = {"given": str(one.given), "suggested": one.suggested, "at": now}
            changes: dict[str, Any] = {}
            if decision == ACCEPTED and target is not None:
                changes = _accepted(dataset, document, label_field, target, one.suggested)
                if not changes:
                    continue
                note |= {"into": target, "replaced": value_at(document, target)}
            changes |= {DECISION: {**classification(decision), **note}, "last_modified_at": now}
            seen = {
                "_id": document["_id"],
                f"{SUGGESTION}.label": one.suggested,
                label_field: value_at(document, label_field),
                f"{DECISION}.at": value_at(document, f"{DECISION}.at"),
            }
            updates.append(UpdateOne(seen, {"$set": changes}))
        if updates:
            written += sample_collection(dataset).bulk_write(updates, ordered=False).modified_count
    reload_samples(dataset)
    return written


def _accepted(
    dataset: fo.Dataset, document: dict[str, Any], label_field: str, target: str, suggested: str
) -> dict[str, Any]:
    """Return the changes of labels that accepting a suggestion takes; none if the sample cannot hold them."""
    parent = target.rpartition(".")[0]
    if parent and not isinstance(value_at(document, parent), dict):
        return {}
    given = value_at(document, label_field)
    changes = {target: corrected(dataset.get_field(label_field), given, suggested)}
    if target == label_field:
        original = value_at(document, original_field(label_field))
        changes[original_field(label_field)] = given if original is None else original
    return changes


def take_back(dataset: fo.Dataset) -> list[str]:
    """Take back the last decision, with all samples that it was about.

    The label that it replaced returns, unless somebody has changed the label again since.

    Returns:
        the ids of the samples, none if there is no decision
    """
    samples = sample_collection(dataset)
    latest = samples.find_one({f"{DECISION}.at": {"$type": "date"}}, {DECISION: 1}, sort=[(f"{DECISION}.at", -1)])
    if latest is None:
        return []
    now, updates, ids = datetime.now(timezone.utc), [], []
    for document in samples.find({f"{DECISION}.at": latest[DECISION]["at"]}):
        changes = {DECISION: None, "last_modified_at": now, **_before(dataset, document)}
        seen = {"_id": document["_id"], f"{DECISION}.at": latest[DECISION]["at"]}
        updates.append(UpdateOne(seen, {"$set": changes}))
        ids.append(str(document["_id"]))
    samples.bulk_write(updates, ordered=False)
    reload_samples(dataset)
    return ids


def _before(dataset: fo.Dataset, document: dict[str, Any]) -> dict[str, Any]:
    """Return the changes that give a sample the labels before its decision."""
    decision = document[DECISION]
    target, replaced = decision.get("into"), decision.get("replaced")
    if decision.get("label") != ACCEPTED or target is None or not dataset.has_field(target):
        return {}
    if str(label_of(value_at(document, target))) != decision["suggested"]:
        return {}
    changes, original = {target: replaced}, original_field(target)
    if dataset.has_field(original) and label_of(value_at(document, original)) == label_of(replaced):
        changes[original] = None
    return changes
