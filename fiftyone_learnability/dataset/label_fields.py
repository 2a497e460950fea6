"""Writes corrected labels into a copy of a label field, or into the field itself after saving the old ones.

A label field may lie inside an embedded document, as ``meta.weather`` does. The field of its old labels then stands
beside it, and a copy stands beside it or among the fields of the dataset.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import fiftyone as fo
from bson import ObjectId

from ..scores.checks import LONGEST_NAME, check_bool, short_repr
from .columns import Column, Companion, write_columns
from .internals import sample_collection
from .notes import FieldNote, note_of, notes_of
from .samples import label_path
from .target import check_writable

RESERVED = "learnability_decision"
"""The field of decisions, see :data:`.suggestions.DECISION`, which a copy must not take."""


def choose_fix_field(dataset: fo.Dataset, label_field: str, into: str | None, in_place: bool) -> str:
    """Choose the field that corrected labels go into, and check that it can take them.

    Args:
        dataset: the dataset
        label_field: the field of the given labels
        into: the copy of the label field, or None for ``<label field>_fixed``. The copy of ``meta.weather`` may be
            ``meta.<name>`` or ``<name>``
        in_place: True for the label field itself

    Returns:
        the path of the field

    Raises:
        ValueError: if the field cannot take labels, or ``<label field>_original`` is needed and taken
    """
    check_bool("in_place", in_place)
    if into is not None:
        _check_field_name(dataset, label_field, into)
    # the label field may have been deleted since
    label_path(dataset, label_field)
    if into == RESERVED:
        raise ValueError(f"into: {into!r} is the field of decisions about suggested labels: choose another name")
    check_writable(
        dataset, [label_field, original_field(label_field)] if in_place else [into or f"{label_field}_fixed"]
    )
    if in_place:
        if into is not None:
            raise ValueError("give either into or in_place=True")
        original = dataset.get_field(original_field(label_field))
        if original is not None and note_of(original).original_of != label_field:
            raise ValueError(
                f"the old labels would be kept in {original_field(label_field)!r}, a field that this package did not "
                "write: rename it first"
            )
        return label_field
    target = into or f"{label_field}_fixed"
    if target == label_field:
        raise ValueError(
            f"into is the label field {target!r} itself: to change it, set in_place=True "
            "(in the App, tick “Change the original labels”)"
        )
    existing = dataset.get_field(target)
    if existing is not None and note_of(existing).copy_of != label_field:
        raise ValueError(f"into: the field {target!r} exists and is not a copy of {label_field!r}: choose another name")
    return target


def write_labels(dataset: fo.Dataset, label_field: str, target: str, labels: Mapping[str, str]) -> int:
    """Write corrected labels. A new copy of the label field also gets the labels of all other samples.

    A sample that has lost the embedded document of the target since the suggestion is left as it is.

    Args:
        dataset: the dataset
        label_field: the field of the given labels
        target: the field to write, from :func:`choose_fix_field`
        labels: the corrected label of each sample id

    Returns:
        the number of samples whose label in ``target`` changed

    Raises:
        WriteError: if the database fails; the dataset is unchanged
    """
    field = dataset.get_field(label_field)
    rows = list(_read_rows(dataset, label_field, target, labels))
    changes = [row for row in rows if label_of(row.old) != label_of(row.new)]
    # write only the changes to an existing field, so that other people's edits in the meantime survive
    written = changes if dataset.has_field(target) else rows
    if written:
        columns = _make_columns(field, label_field, target, written)
        write_columns(dataset, [row.id for row in written], columns, Companion(), keep_others=True)
    return len(changes)


def prepare_fix_field(dataset: fo.Dataset, label_field: str, target: str) -> None:
    """Make the fields that single corrected labels are written into: the copy, or the field of the old labels.

    Args:
        dataset: the dataset
        label_field: the field of the given labels
        target: the field to write, from :func:`choose_fix_field`

    Raises:
        WriteError: if the database fails; the dataset is unchanged
    """
    if target != label_field:
        write_labels(dataset, label_field, target, {})
    elif not dataset.has_field(original_field(label_field)):
        column = _make_columns(dataset.get_field(label_field), label_field, target, [])[0]
        dataset.add_sample_field(
            column.name, column.ftype, description=column.description, info=column.info, **column.options
        )


def find_copies(dataset: fo.Dataset, label_field: str) -> list[str]:
    """Return the copies of a label field with accepted suggestions."""
    fields = dataset.get_field_schema(flat=True) if "." in label_field else notes_of(dataset)
    return [path for path in fields if note_of(dataset.get_field(path)).copy_of == label_field]


def classification(label: str, confidence: float | None = None) -> dict[str, Any]:
    """Return a ``fo.Classification`` as MongoDB holds it."""
    document = {"_id": ObjectId(), "_cls": "Classification", "tags": [], "label": label}
    return document if confidence is None else {**document, "confidence": confidence}


class _Row(NamedTuple):
    """The labels of a sample as MongoDB holds them: documents, or plain values.

    Attributes:
        id: the sample
        old: the present label in the target
        new: the label to write
        original: the first label, if an earlier correction changed it in place
    """

    id: str
    old: Any
    new: Any
    original: Any


def _read_rows(dataset: fo.Dataset, label_field: str, target: str, labels: Mapping[str, str]) -> Iterator[_Row]:
    field, original = dataset.get_field(label_field), original_field(label_field)
    inside = target.rpartition(".")[0]
    for document in sample_collection(dataset).find({}, dict.fromkeys((label_field, target, original), 1)):
        if inside and not isinstance(value_at(document, inside), dict):
            continue
        id = str(document["_id"])
        old = value_at(document, target)
        if old is None:
            # the copy is new, or the sample was added after it was made
            old = value_at(document, label_field)
        new = corrected(field, old, labels[id]) if id in labels else old
        yield _Row(id, old, new, value_at(document, original))


def value_at(document: Any, path: str) -> Any:
    """The value at a path in a document of MongoDB, None if it is not there."""
    for name in path.split("."):
        document = document.get(name) if isinstance(document, dict) else None
    return document


def _make_columns(field: fo.Field, label_field: str, target: str, rows: Sequence[_Row]) -> list[Column]:
    ftype = type(field)
    options = {"embedded_doc_type": fo.Classification} if isinstance(field, fo.EmbeddedDocumentField) else {}
    new = [row.new for row in rows]
    if target != label_field:
        description = f"A copy of {label_field} with accepted suggestions"
        return [
            Column(target, ftype, description, FieldNote(copy_of=label_field, field=target).to_info(), new, options)
        ]
    originals = [row.old if row.original is None else row.original for row in rows]
    description = f"What {label_field} held before a suggestion was applied"
    info = FieldNote(original_of=label_field, field=original_field(label_field)).to_info()
    return [
        Column(original_field(label_field), ftype, description, info, originals, options),
        Column(label_field, ftype, field.description, field.info, new, options),
    ]


def original_field(label_field: str) -> str:
    """Return the field that keeps the first labels of a label field that is corrected in place."""
    return f"{label_field}_original"


def corrected(field: fo.Field, old: Any, label: str) -> Any:
    """A corrected label as its field holds it."""
    if isinstance(field, fo.EmbeddedDocumentField):
        # tags and other attributes describe the old label, so a new one starts without them
        return old if label_of(old) == label else classification(label)
    if isinstance(field, fo.IntField):
        return int(label)
    if isinstance(field, fo.BooleanField):
        return label == "True"
    return label


def label_of(value: Any) -> Any:
    """The label in a value of a label field as MongoDB holds it."""
    return value.get("label") if isinstance(value, dict) else value


def _check_field_name(dataset: fo.Dataset, label_field: str, into: str) -> None:
    parent = label_field.rpartition(".")[0]
    beside = isinstance(into, str) and parent != "" and into.startswith(f"{parent}.")
    name = into[len(parent) + 1 :] if beside else into
    if not isinstance(name, str) or not name.isidentifier():
        hint = f", or {parent}.<identifier>" if parent else ""
        raise ValueError(f"into must be the name of a field, an identifier{hint}, not {short_repr(into)}")
    if len(into) > LONGEST_NAME:
        raise ValueError(f"into is too long, {short_repr(into)}: at most {LONGEST_NAME} characters are allowed")
    # a field with such a name would hide an attribute of FiftyOne's documents and could break the dataset
    owner = dataset.get_field(parent).document_type if beside else fo.Sample
    hidden = not dataset.has_field(into) and hasattr(owner, name)
    if hidden or name.startswith("_") or into in ("pk", "frames", "groups"):
        raise ValueError(f"into: FiftyOne reserves the name {into!r}: choose another name")
