"""Which samples there are to learn: their ids, files and labels, checked before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import fiftyone as fo
import fiftyone.core.collections as foc
import fiftyone.core.media as fom
import numpy as np
from bson import ObjectId
from numpy.typing import NDArray
from pymongo.errors import OperationFailure

from ..scores.checks import short_repr
from ..scores.formulas import IntArray
from .internals import get_database, is_generated
from .notes import note_of


@dataclass(frozen=True, eq=False)
class LabelledSamples:
    """The samples of a collection that have a label, in the order of their ids.

    The order of ids, rather than that of the view, makes scores independent of how a view is sorted.

    Attributes:
        ids: ``(N,)`` sample ids
        filepaths: ``(N,)`` image files
        labels: ``(N,)`` class of each sample, an index into ``classes``
        classes: the names of the classes, sorted
        num_unlabelled: the samples of the collection that have no label and are left out
        newest: the id of the sample that was made last, also among those without a label
    """

    ids: NDArray[np.str_]
    filepaths: NDArray[np.str_]
    labels: IntArray
    classes: tuple[str, ...]
    num_unlabelled: int
    newest: str

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, keep: NDArray[np.bool_]) -> LabelledSamples:
        """The samples for which ``keep`` is true; the classes stay as they are."""
        return replace(self, ids=self.ids[keep], filepaths=self.filepaths[keep], labels=self.labels[keep])


def find_label_fields(samples: foc.SampleCollection) -> list[str]:
    """The top-level fields of a collection that can serve as labels.

    Args:
        samples: a dataset or view

    Returns:
        the names of ``fo.Classification``, string, int and bool fields, without FiftyOne's own and this package's
    """
    names = []
    for name, field in samples.get_field_schema().items():
        # copies of labels with corrections are this package's too, but to be learned from
        own = name in _FIFTYONES or note_of(field).run is not None
        if not own and (_is_classification(field) or isinstance(field, _SCALAR_FIELDS)):
            names.append(name)
    return names


def read_samples(samples: foc.SampleCollection, label_field: str) -> LabelledSamples:
    """Reads ids, files and labels of the samples that have a label.

    Args:
        samples: a dataset or view of images
        label_field: a ``fo.Classification`` field, or a string, int or bool field

    Returns:
        the labelled samples

    Raises:
        ValueError: if the collection is empty or does not consist of images, the field does not exist or is of another
            type, or fewer than two classes are left
    """
    with reading(samples):
        check_images(samples)
        # of an empty dataset the fields are not the trouble
        if is_empty(samples):
            raise ValueError(f"{_name(samples)} is empty: there is nothing to learn")
        values_path = label_path(samples, label_field)
        ids, filepaths, labels = samples.values(["id", "filepath", values_path])
    if len(set(ids)) < len(ids):
        raise ValueError(f"{_name(samples)} holds some samples more than once")
    labelled = [index for index, label in enumerate(labels) if label is not None]
    if not labelled:
        raise ValueError(f"none of the {len(ids)} samples of {_name(samples)} has a label in the field {label_field!r}")
    _check_types(label_field, [(ids[index], filepaths[index], labels[index]) for index in labelled])
    classes = sorted({labels[index] for index in labelled})
    if len(classes) < 2:
        raise ValueError(
            f"the field {label_field!r} has only one class, {short_repr(classes[0])}: a network needs at least two to "
            "learn"
        )
    labelled.sort(key=lambda index: ids[index])
    number = {label: k for k, label in enumerate(classes)}
    return LabelledSamples(
        ids=np.array([ids[index] for index in labelled]),
        filepaths=np.array([filepaths[index] for index in labelled]),
        labels=np.array([number[labels[index]] for index in labelled], dtype=np.int64),
        classes=tuple(str(label) for label in classes),
        num_unlabelled=len(ids) - len(labelled),
        newest=max(ids),
    )


def name_of(dataset_id: ObjectId) -> str | None:
    """What a dataset is called now, None if it is there no longer.

    Args:
        dataset_id: its id, which it keeps under another name
    """
    found = get_database().datasets.find_one({"_id": dataset_id}, {"name": 1})
    return None if found is None else str(found["name"])


def is_empty(samples: foc.SampleCollection) -> bool:
    """Whether a collection has no samples.

    ``len(dataset)`` asks MongoDB for an estimate, which is 0 after the server was killed.
    """
    return not samples.limit(1).values("id")


@contextmanager
def reading(samples: foc.SampleCollection) -> Iterator[None]:
    """Says of which collection it is that the database refuses to read.

    Raises:
        ValueError: if it does, as it does for a view with a stage of somebody's own that MongoDB does not understand
    """
    try:
        yield
    except OperationFailure as error:
        message = (error.details or {}).get("errmsg", error)
        raise ValueError(f"{_name(samples)} cannot be read; the database says of it: {short_repr(message)}") from error


def _check_types(label_field: str, rows: list[tuple[str, object, object]]) -> None:
    """Checks what FiftyOne does not: values that were written past it, or made by a view, may be of any type."""
    kind = type(rows[0][2])
    for id, file, label in rows:
        if not isinstance(file, str):
            raise ValueError(
                f"the sample {id} has the filepath {short_repr(file)}, which is no path: repair or remove it"
            )
        if not isinstance(label, (str, int)):
            raise ValueError(
                f"the sample {id} has the label {short_repr(label)} in the field {label_field!r}, which is neither a "
                "text nor a whole number nor True or False: repair or remove it"
            )
        if type(label) is not kind:
            raise ValueError(
                f"the field {label_field!r} holds labels of several types: the sample {rows[0][0]} has "
                f"{short_repr(rows[0][2])}, the sample {id} has {short_repr(label)}: make them all texts, or all "
                "numbers"
            )


def check_images(samples: foc.SampleCollection) -> None:
    """Checks that a collection consists of plain image samples.

    Args:
        samples: a dataset or view

    Raises:
        TypeError: if it is not a FiftyOne collection
        ValueError: if it holds other media, or samples that a view has generated
    """
    if not isinstance(samples, foc.SampleCollection):
        raise TypeError(f"samples must be a FiftyOne dataset or view, not {type(samples).__name__}")
    if is_generated(samples):
        raise ValueError(
            f"{_name(samples)} is a view of patches, clips or frames, which are made anew with each view and cannot "
            "keep scores; export them as images into a dataset of their own and compute learnability there"
        )
    media = samples.media_type
    if media == fom.GROUP:
        slices = ", ".join(sorted(samples.group_slices or []))
        if not slices:
            raise ValueError(f"{_name(samples)} is grouped by a field: take its samples one by one, with .flatten()")
        raise ValueError(
            f"{_name(samples)} is grouped: choose the slice to learn, as in "
            f"samples.select_group_slices('<slice>'); its slices are {slices}"
        )
    # the media type of an empty dataset is not known yet
    if media != fom.IMAGE and (media is not None or len(samples)):
        raise ValueError(f"{_name(samples)} holds {media} samples; learnability is computed over images")


_FIFTYONES = ("id", "filepath", "tags", "metadata")
_SCALAR_FIELDS = (fo.StringField, fo.IntField, fo.BooleanField)


def _is_classification(field: fo.Field) -> bool:
    return isinstance(field, fo.EmbeddedDocumentField) and issubclass(field.document_type, fo.Classification)


def label_path(samples: foc.SampleCollection, label_field: str) -> str:
    """Where the values of a label field stand.

    Args:
        samples: a dataset or view
        label_field: a ``fo.Classification`` field, or a string, int or bool field

    Returns:
        the path that ``samples.values()`` takes

    Raises:
        TypeError: if the name is no text
        ValueError: if the field does not exist or is of another type
    """
    fitting = ", ".join(find_label_fields(samples)) or "none"
    if not isinstance(label_field, str):
        raise TypeError(f"label_field must be the name of a field, not {short_repr(label_field)}")
    field = samples.get_field(label_field)
    if field is None:
        raise ValueError(
            f"{_name(samples)} has no field {short_repr(label_field)}; the fields that hold labels are: {fitting}"
        )
    if label_field == "filepath":
        raise ValueError(f"the field 'filepath' holds no labels; the fields that do are: {fitting}")
    parent, dot, rest = label_field.rpartition(".")
    if dot and rest == "label" and _is_classification(samples.get_field(parent)):
        raise ValueError(f"{label_field!r} is a part of the label field {parent!r}: give that")
    if _is_classification(field):
        return f"{label_field}.label"
    if isinstance(field, _SCALAR_FIELDS):
        return label_field
    kind = field.document_type if isinstance(field, fo.EmbeddedDocumentField) else type(field)
    raise ValueError(
        f"the field {label_field!r} is of type {kind.__name__}; a label field is a Classification, string, int or bool "
        f"field; the fields that fit are: {fitting}"
    )


def _name(samples: foc.SampleCollection) -> str:
    if isinstance(samples, fo.Dataset):
        return f"the dataset {samples.name!r}"
    return f"the view of the dataset {samples.dataset_name!r}"
