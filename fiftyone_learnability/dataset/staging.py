"""Moves values into and out of the samples inside the MongoDB server.

A field inside an embedded document, such as ``meta.weather``, has a flat name in the collections of a write, see
:func:`flatten`. It is changed inside its document, where other values stay; a sample without the document is left as it
is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timezone
from itertools import islice
from typing import Any

import numpy as np
from bson import ObjectId
from pymongo.collection import Collection

from .arrays import find_ids, pack_ids, read_ids, unpack_ids

STAGING_BATCH = 2_000
"""Documents in one insert."""

PARALLEL_MERGE = 10_000
"""From this many samples on, the values are moved in two halves in parallel."""

_DOT = "\u2024"
"""Stands for a dot, which MongoDB would take for a step into a document. It looks like one."""


def flatten(path: str) -> str:
    """Return the name of a field in the collections of a write; only a path with dots differs from its name there."""
    return path.replace(".", _DOT)


def unflatten(name: str) -> str:
    """Return the path of a field from its name in the collections of a write."""
    return name.replace(_DOT, ".")


def stage(
    staging: Collection, samples: Collection, ids: Sequence[str], columns: dict[str, Sequence[Any]], clear_others: bool
) -> list[str]:
    """Insert one document per sample, with all its new values, into the staging collection.

    Args:
        staging: the staging collection
        samples: the samples of the dataset
        ids: ``(N,)`` sample ids
        columns: ``(N,)`` values by field
        clear_others: True to stage None for the other samples of the dataset

    Returns:
        the ids that are not in the dataset; nothing is staged for them
    """
    dataset_ids = read_ids(samples)
    now = datetime.now(timezone.utc)
    packed = pack_ids(ids)
    is_present = find_ids(packed, dataset_ids) >= 0
    columns = {flatten(path): values for path, values in columns.items()}
    rows = zip(ids, is_present.tolist(), zip(*columns.values(), strict=True), strict=True)
    insert(
        staging,
        (
            dict(zip(columns, values, strict=True), _id=ObjectId(id), last_modified_at=now)
            for id, present, values in rows
            if present
        ),
    )
    if clear_others:
        nothing = dict.fromkeys(columns)
        others = unpack_ids(dataset_ids[find_ids(dataset_ids, np.sort(packed)) < 0])
        insert(staging, ({"_id": ObjectId(id), "last_modified_at": now, **nothing} for id in others))
    return [ids[index] for index in np.flatnonzero(~is_present).tolist()]


def insert(staging: Collection, documents: Iterator[dict[str, Any]]) -> None:
    """Insert documents in batches; the next batch is made while the server takes in the one before."""
    with ThreadPoolExecutor(1) as sender:
        sent: Future[Any] | None = None
        while batch := list(islice(documents, STAGING_BATCH)):
            if sent is not None:
                sent.result()
            sent = sender.submit(staging.insert_many, batch, ordered=False)
        if sent is not None:
            sent.result()


def merge(staging: Collection, samples: Collection, names: Sequence[str]) -> None:
    """Move staged values onto the samples; ids that are not in the dataset are skipped.

    Args:
        staging: the staging collection
        samples: the samples of the dataset
        names: the staged fields
    """
    matched: Any = "merge"
    if any("." in name for name in names):
        matched = _assign({name: f"$$new.{flatten(name)}" for name in (*names, "last_modified_at")})
    parts: list[dict[str, Any]] = [{}]
    if (count := staging.estimated_document_count()) >= PARALLEL_MERGE:
        middle = next(staging.find({}, {"_id": 1}, sort=[("_id", 1)], skip=count // 2, limit=1))["_id"]
        parts = [{"_id": {"$lt": middle}}, {"_id": {"$gte": middle}}]

    def move(part: dict[str, Any]) -> None:
        staging.aggregate([{"$match": part}, {"$merge": {**_into(samples), "whenMatched": matched}}])

    # if one part fails, the pool still waits for the other, so that an undo starts after both
    with ThreadPoolExecutor(len(parts)) as movers:
        list(movers.map(move, parts))


def back_up(samples: Collection, backup: Collection, names: Sequence[str], staging: Collection | None) -> None:
    """Copy the values of fields to the backup collection.

    Args:
        samples: the samples of the dataset
        backup: the backup collection
        names: the fields
        staging: the staging collection, to copy only samples that are staged; None to copy all
    """
    values = {"$project": {flatten(name): {"$ifNull": [f"${name}", None]} for name in names}}
    if staging is None:
        samples.aggregate([values, {"$out": backup.name}])
        return
    # from the staged samples, since they may be a few among millions
    sample = {"from": samples.name, "localField": "_id", "foreignField": "_id", "pipeline": [values], "as": "before"}
    rows: list[dict[str, Any]] = [{"$unwind": "$before"}, {"$replaceRoot": {"newRoot": "$before"}}]
    staging.aggregate([{"$project": {"_id": 1}}, {"$lookup": sample}, *rows, {"$out": backup.name}])


def restore(samples: Collection, backup: Collection, names: Sequence[str], staging: Collection) -> None:
    """Give fields the values in the backup, except where a sample no longer has the staged value.

    Args:
        samples: the samples of the dataset
        backup: the backup collection
        names: the fields
        staging: the staging collection
    """
    staged = {"from": staging.name, "localField": "_id", "foreignField": "_id", "as": "staged"}
    values = {
        name: {"$cond": [{"$eq": [f"${name}", f"$$new.staged.{flatten(name)}"]}, f"$$new.{flatten(name)}", f"${name}"]}
        for name in names
    }
    backup.aggregate(
        [
            {"$lookup": staged},
            {"$set": {"staged": {"$first": "$staged"}}},
            {"$merge": {**_into(samples), "whenMatched": _assign(values)}},
        ]
    )


def _assign(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the steps of a pipeline that give fields the values of expressions."""
    plain = {name: value for name, value in values.items() if "." not in name}
    # one step each, since two fields may share their document
    nested = [_assign_inside(name.split("."), value) for name, value in values.items() if "." in name]
    return [{"$set": assignment} for assignment in (plain, *nested) if assignment]


def _assign_inside(steps: Sequence[str], value: Any, parent: str = "$") -> dict[str, Any]:
    """Return the assignment of a value inside documents; values that are not documents stay unchanged."""
    if len(steps) == 1:
        return {steps[0]: value}
    path = f"{parent}{steps[0]}"
    inside = {"$mergeObjects": [path, _assign_inside(steps[1:], value, f"{path}.")]}
    return {steps[0]: {"$cond": [{"$eq": [{"$type": path}, "object"]}, inside, path]}}


def _into(samples: Collection) -> dict[str, Any]:
    return {"into": samples.name, "on": "_id", "whenNotMatched": "discard"}
