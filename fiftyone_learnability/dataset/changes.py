"""What others did to a dataset while networks were trained on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import fiftyone.core.collections as foc
from bson import ObjectId

from ..experiment.results import ModelResults
from .internals import root_dataset
from .samples import label_path


@dataclass(frozen=True)
class Changes:
    """The ids of samples that were changed meanwhile.

    Attributes:
        vanished: samples that were deleted; nothing is written for them
        relabelled: samples with another label; their scores are those of the label that was learned
        moved: samples with another file; their scores are those of the image that was learned
        added: samples that were not there; they have no scores
    """

    vanished: list[str] = field(default_factory=list)
    relabelled: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)

    def sentences(self) -> list[str]:
        """What is to be said of them, a line for each kind."""
        told = (
            ("samples that vanished from the dataset meanwhile", self.vanished, "the others were written"),
            (
                "samples whose label was changed meanwhile",
                self.relabelled,
                "their scores are those of the label before",
            ),
            ("samples whose file was changed meanwhile", self.moved, "their scores are those of the image before"),
            ("samples that were added meanwhile", self.added, "they have no scores"),
        )
        return [f"{what}: {len(ids)} ({some(ids)}); {then}" for what, ids, then in told if ids]


def find_changes(samples: foc.SampleCollection, result: ModelResults, label_field: str, newest: str) -> Changes:
    """Compares a collection with what was learned of it.

    Args:
        samples: the collection that was scored
        result: the results of one network, which name its samples, files and labels
        label_field: the field of the labels
        newest: the id of the sample that was made last when they were read
    """
    dataset = root_dataset(samples)
    try:
        path = label_path(dataset, label_field)
    except ValueError:
        # the field was deleted or renamed: so were all labels
        path = None
    # of the whole dataset: a sample may have left the view with its label
    ids, files = dataset.values(["id", "filepath"])
    labels = [None] * len(ids) if path is None else dataset.values(path)
    now = dict(zip(ids, zip(files, labels, strict=True), strict=True))
    learned = result.ids.tolist()
    vanished, relabelled, moved = [], [], []
    for id, file, number in zip(learned, result.filepaths.tolist(), result.labels.tolist(), strict=True):
        if id not in now:
            vanished.append(id)
            continue
        file_now, label_now = now[id]
        if label_now is None or str(label_now) != result.classes[number]:
            relabelled.append(id)
        if file_now != file:
            moved.append(id)
    here = ids if samples is dataset else samples.values("id")
    known = set(learned)
    # those without a label or with an unreadable image were there before; an id tells the second it was made in
    before = ObjectId(newest).generation_time
    added = [id for id in here if id not in known and ObjectId(id).generation_time > before]
    return Changes(vanished, relabelled, moved, added)


def some(things: Sequence[str], most: int = 5) -> str:
    """The first of many, and how many more there are, for messages."""
    more = f" and {len(things) - most} more" if len(things) > most else ""
    return "; ".join(things[:most]) + more
