"""The samples to train on: their ids, files and labels, checked before anything is trained."""

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
from .notes import note_of, refresh

_BUILT_IN_FIELDS = ("id", "filepath", "tags", "metadata")
_SCALAR_FIELDS = (fo.StringField, fo.IntField, fo.BooleanField)


@dataclass(frozen=True, eq=False)
class LabelledSamples:
    """The samples of a collection that have a label, ordered by id.

    Because of this order, scores do not depend on how a view is sorted.

    Attributes:
        ids: ``(N,)`` sample ids
        filepaths: ``(N,)`` image files
        labels: ``(N,)`` class of each sample, an index into ``classes``
        classes: the names of the classes, sorted
        num_unlabelled: the number of samples without a label, which are left out
        newest: the id of the newest sample of the collection, labelled or not
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
        """Return the samples for which ``keep`` is true; the classes stay as they are."""
        return replace(self, ids=self.ids[keep], filepaths=self.filepaths[keep], labels=self.labels[keep])


def find_label_fields(samples: foc.SampleCollection) -> list[str]:
    """Return the top-level fields of a collection that can serve as labels.

    Args:
        samples: a dataset or view

    Returns:
        the names of ``fo.Classification``, string, int and bool fields, without built-in fields and scores. Corrected
        copies of a label field are included
    """
    return [
        name
        for name, field in samples.get_field_schema().items()
        if name not in _BUILT_IN_FIELDS
        and note_of(field).run is None
        and (_is_classification(field) or isinstance(field, _SCALAR_FIELDS))
    ]


def read_samples(samples: foc.SampleCollection, label_field: str) -> LabelledSamples:
    """Read ids, files and labels of the samples that have a label.

    Args:
        samples: a dataset or view of images
        label_field: a ``fo.Classification`` field, or a string, int or bool field

    Returns:
        the labelled samples

    Raises:
        ValueError: if the collection is empty or holds other media than images, the field does not exist or has another
            type, or there are fewer than two classes
    """
    with reading(samples):
        check_images(samples)
        # before the fields: an empty dataset may have none yet
        if is_empty(samples):
            raise ValueError(f"{_name(samples)} is empty: there is nothing to learn")
        values_path = label_path(samples, label_field)
        ids, filepaths, labels = samples.values(["id", "filepath", values_path])
    if len(set(ids)) < len(ids):
        raise ValueError(f"{_name(samples)} holds some samples more than once")
    labelled = [index for index, label in enumerate(labels) if label is not None]
    if not labelled:
        raise ValueError(f"none of the {len(ids)} samples of {_name(samples)} has a label in the field {label_field!r}")
    _check_values(label_field, [(ids[index], filepaths[index], labels[index]) for index in labelled])
    classes = sorted({labels[index] for index in labelled})
    if len(classes) < 2:
        raise ValueError(
            f"the field {label_field!r} has only one class, {short_repr(classes[0])}: training needs at least two"
        )
    labelled.sort(key=lambda index: ids[index])
    class_index = {label: k for k, label in enumerate(classes)}
    return LabelledSamples(
        ids=np.array([ids[index] for index in labelled]),
        filepaths=np.array([filepaths[index] for index in labelled]),
        labels=np.array([class_index[labels[index]] for index in labelled], dtype=np.int64),
        classes=tuple(str(label) for label in classes),
        num_unlabelled=len(ids) - len(labelled),
        newest=max(ids),
    )


def name_of(id: ObjectId) -> str | None:
    """Return the present name of the dataset with an id, None if it was deleted."""
    document = get_database().datasets.find_one({"_id": id}, {"name": 1})
    return None if document is None else str(document["name"])


def check_collection(samples: foc.SampleCollection) -> None:
    """Check that something is a FiftyOne dataset or view, and see what other processes have written to it.

    Raises:
        TypeError: if it is not
    """
    if not isinstance(samples, foc.SampleCollection):
        raise TypeError(f"samples must be a FiftyOne dataset or view, not {type(samples).__name__}")
    refresh(samples)


def check_images(samples: foc.SampleCollection) -> None:
    """Check that a collection consists of plain image samples.

    Args:
        samples: a dataset or view

    Raises:
        TypeError: if it is not a FiftyOne collection
        ValueError: if it holds other media, or samples that exist only in a view
    """
    check_collection(samples)
    if is_generated(samples):
        raise ValueError(
            f"{_name(samples)} is a view of patches, clips or frames, whose samples exist only in the view and cannot "
            "keep scores; export them as images into a dataset of their own and compute learnability there"
        )
    media = samples.media_type
    if media == fom.GROUP:
        slices = ", ".join(sorted(samples.group_slices or []))
        if not slices:
            raise ValueError(f"{_name(samples)} is grouped by a field: ungroup it with .flatten()")
        raise ValueError(
            f"{_name(samples)} is grouped: choose the slice to train on, as in "
            f"samples.select_group_slices('<slice>'); its slices are {slices}"
        )
    # an empty dataset has no media type yet
    if media != fom.IMAGE and (media is not None or len(samples)):
        raise ValueError(f"{_name(samples)} holds {media} samples; learnability is computed over images")


def label_path(samples: foc.SampleCollection, label_field: str) -> str:
    """Return the path of a label field's values.

    Args:
        samples: a dataset or view
        label_field: a ``fo.Classification`` field, or a string, int or bool field

    Returns:
        the path that ``samples.values()`` takes

    Raises:
        TypeError: if the name is not a string
        ValueError: if the field does not exist or has another type
    """
    if not isinstance(label_field, str):
        raise TypeError(f"label_field must be the name of a field, not {short_repr(label_field)}")
    field = samples.get_field(label_field)
    if _is_classification(field):
        return f"{label_field}.label"
    if isinstance(field, _SCALAR_FIELDS) and label_field != "filepath" and not _is_label_of(samples, label_field):
        return label_field
    raise ValueError(
        f"{_describe_misfit(samples, label_field, field)}: {', '.join(find_label_fields(samples)) or 'none'}"
    )


def _describe_misfit(samples: foc.SampleCollection, label_field: str, field: fo.Field | None) -> str:
    """Say why a field cannot serve as labels, up to the list of those that can."""
    if field is None:
        return f"{_name(samples)} has no field {short_repr(label_field)}; the fields that hold labels are"
    if label_field == "filepath":
        return "the field 'filepath' holds no labels; the fields that do are"
    if _is_label_of(samples, label_field):
        return (
            f"{label_field!r} is a part of a label field: give {label_field.rpartition('.')[0]!r}; the label fields are"
        )
    kind = field.document_type if isinstance(field, fo.EmbeddedDocumentField) else type(field)
    return (
        f"the field {label_field!r} is of type {kind.__name__}; a label field is a Classification, string, int or bool "
        "field; the fields that fit are"
    )


def _is_classification(field: fo.Field | None) -> bool:
    return isinstance(field, fo.EmbeddedDocumentField) and issubclass(field.document_type, fo.Classification)


def _is_label_of(samples: foc.SampleCollection, path: str) -> bool:
    """True for the path of a classification's label."""
    parent, dot, name = path.rpartition(".")
    return bool(dot) and name == "label" and _is_classification(samples.get_field(parent))


def _check_values(label_field: str, rows: list[tuple[str, object, object]]) -> None:
    """Check the types of files and labels: FiftyOne does not check values that MongoDB or a view made."""
    first_id, _, first_label = rows[0]
    for id, file, label in rows:
        if not isinstance(file, str):
            raise ValueError(f"the sample {id} has the filepath {short_repr(file)}, not a string: repair or remove it")
        if not isinstance(label, (str, int)):
            raise ValueError(
                f"the sample {id} has the label {short_repr(label)} in the field {label_field!r}; labels are strings, "
                "ints or bools: repair or remove it"
            )
        if type(label) is not type(first_label):
            raise ValueError(
                f"the field {label_field!r} mixes types of labels: the sample {first_id} has "
                f"{short_repr(first_label)}, the sample {id} has {short_repr(label)}: give all labels the same type"
            )


def is_empty(samples: foc.SampleCollection) -> bool:
    """True if a collection has no samples."""
    # len(dataset) is an estimate, which is 0 after the server was killed
    return not samples.limit(1).values("id")


@contextmanager
def reading(samples: foc.SampleCollection) -> Iterator[None]:
    """Name the collection that MongoDB fails to read.

    Raises:
        ValueError: if reading fails, for example because a view has a custom stage that MongoDB rejects
    """
    try:
        yield
    except OperationFailure as error:
        message = (error.details or {}).get("errmsg", error)
        raise ValueError(f"{_name(samples)} cannot be read; the database reports: {short_repr(message)}") from error


def _name(samples: foc.SampleCollection) -> str:
    if isinstance(samples, fo.Dataset):
        return f"the dataset {samples.name!r}"
    return f"the view of the dataset {samples.dataset_name!r}"
