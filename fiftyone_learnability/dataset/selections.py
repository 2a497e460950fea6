"""Selects and tags many samples by id, more than MongoDB takes in one command."""

from __future__ import annotations

from collections.abc import Sequence

import bson
import fiftyone as fo
import fiftyone.core.collections as foc
import fiftyone.core.view as fov
import numpy as np
from bson import ObjectId
from fiftyone import ViewField as F

from .arrays import find_ids, pack_ids, read_ids, unpack_ids
from .internals import pipeline_of, reload_samples, root_dataset, sample_collection
from .target import check_writable

MOST_BYTES = 16_000_000
"""The largest view in bytes. MongoDB takes commands of 16 MiB (16,777,216 bytes), of which the rest is for what is done
with the view. An id takes 20 bytes, so a view holds about 800,000 of them."""

TAG_BATCH = 100_000
"""The number of samples tagged in one command."""


def select_samples(samples: foc.SampleCollection, ids: Sequence[str]) -> fov.DatasetView | None:
    """Return a view of some samples of a collection, in the order of the collection.

    A view that would hold too many ids excludes all other samples of the dataset instead, also those that are added
    later.

    Args:
        samples: a dataset or view
        ids: the ids of the samples

    Returns:
        the view; None if neither the ids nor those of the other samples fit into a view
    """
    view = samples.select(ids)
    if _fits(view):
        return view
    dataset_ids = read_ids(sample_collection(root_dataset(samples)))
    others = unpack_ids(dataset_ids[find_ids(dataset_ids, np.sort(pack_ids(ids))) < 0])
    # an id begins with the time at which it was made
    view = samples.exclude(others).match(F("_id").to_string() <= max(ids))
    return view if _fits(view) else None


def tag_samples(dataset: fo.Dataset, ids: Sequence[str], tag: str) -> None:
    """Tag samples, in batches.

    Args:
        dataset: the dataset
        ids: the ids of the samples
        tag: the tag; samples that have it are left as they are

    Raises:
        ValueError: if the field of the tags is read-only
    """
    check_writable(dataset, ["tags"])
    # FiftyOne takes a missing list of tags for an empty one, and $addToSet does not
    tags = {"$concatArrays": [{"$ifNull": ["$tags", []]}, [{"$literal": tag}]]}
    for start in range(0, len(ids), TAG_BATCH):
        batch = [ObjectId(id) for id in ids[start : start + TAG_BATCH]]
        sample_collection(dataset).update_many(
            {"_id": {"$in": batch}, "tags": {"$ne": tag}}, [{"$set": {"tags": tags, "last_modified_at": "$$NOW"}}]
        )
    reload_samples(dataset)


def _fits(view: fov.DatasetView) -> bool:
    """True if MongoDB takes the view in one command."""
    return len(bson.encode({"pipeline": pipeline_of(view)})) <= MOST_BYTES
