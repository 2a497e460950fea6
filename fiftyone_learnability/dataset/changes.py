"""Changes that others made to a dataset while networks were trained on it."""

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
    """The ids of samples that changed during the training.

    Attributes:
        vanished: deleted samples; nothing is written for them
        relabelled: samples with another label; their scores are for the label that was trained on
        moved: samples with another file; their scores are for the image that was trained on
        added: new samples; they have no scores
    """

    vanished: list[str] = field(default_factory=list)
    relabelled: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)

    def sentences(self) -> list[str]:
        """Describe the changes, one line for each kind."""
        kinds = (
            ("samples deleted during the run", self.vanished, "only the others were written"),
            ("samples relabelled during the run", self.relabelled, "their scores are for the old label"),
            ("samples whose file changed during the run", self.moved, "their scores are for the old image"),
            ("samples added during the run", self.added, "they have no scores"),
        )
        return [f"{kind}: {len(ids)} ({some(ids)}); {effect}" for kind, ids, effect in kinds if ids]


def find_changes(samples: foc.SampleCollection, result: ModelResults, label_field: str, newest: str) -> Changes:
    """Compare a collection with what was trained on.

    Args:
        samples: the collection that was scored
        result: the results of one network, with the ids, files and labels of its samples
        label_field: the field of the labels
        newest: the id of the newest sample when the samples were read
    """
    dataset = root_dataset(samples)
    try:
        path = label_path(dataset, label_field)
    except ValueError:
        # the field was deleted or renamed, and all labels with it
        path = None
    # read the whole dataset: a relabelled sample may have left the view
    ids, files = dataset.values(["id", "filepath"])
    labels = [None] * len(ids) if path is None else dataset.values(path)
    current = dict(zip(ids, zip(files, labels, strict=True), strict=True))
    trained = result.ids.tolist()
    vanished, relabelled, moved = [], [], []
    for id, file, number in zip(trained, result.filepaths.tolist(), result.labels.tolist(), strict=True):
        if id not in current:
            vanished.append(id)
            continue
        current_file, current_label = current[id]
        if current_label is None or str(current_label) != result.classes[number]:
            relabelled.append(id)
        if current_file != file:
            moved.append(id)
    view_ids = ids if samples is dataset else samples.values("id")
    known = set(trained)
    # unlabelled and unreadable samples are not in the results, but their ids are older
    start = ObjectId(newest).generation_time
    added = [id for id in view_ids if id not in known and ObjectId(id).generation_time > start]
    return Changes(vanished, relabelled, moved, added)


def some(items: Sequence[str], most: int = 5) -> str:
    """Return the first of many items, and how many more there are, for messages."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return "; ".join(items[:most]) + more
