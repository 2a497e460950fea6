"""Writes whole fields onto samples: all of them in one pass, or none.

MongoDB without a replica set has no transactions. What comes near: the values are staged in a collection of their own,
so that whatever takes long or depends on this process is over before a sample is touched; then one ``$merge`` moves
them, inside the server. What was there before is kept until all is done, and put back if anything fails.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import islice
from typing import Any

import fiftyone as fo
from bson import ObjectId
from pymongo.collection import Collection

_STAGING_BATCH = 10_000


class WriteError(RuntimeError):
    """The scores could not be written; the dataset is as it was before."""


@dataclass(frozen=True, eq=False)
class Column:
    """A field to be written.

    Attributes:
        name: the name of the field
        ftype: its type
        description: what it says of itself
        info: what this package notes in the field
        values: ``(N,)`` values as MongoDB takes them
        options: further arguments of ``add_sample_field``
        index: the path to be indexed, None for no index
    """

    name: str
    ftype: type[fo.Field]
    description: str
    info: dict[str, Any]
    values: Sequence[Any]
    options: dict[str, Any] = field(default_factory=dict)
    index: str | None = None


class Procedure:
    """What is to happen in the database together with the writing of columns: nothing, unless a subclass says so."""

    def begin(self) -> None:
        """Is called before the dataset is touched."""

    def finish(self) -> None:
        """Is called when all values are in place; the last thing that may fail."""

    def undo(self) -> None:
        """Takes back what the other two have done, as far as they came."""


def write_columns(
    dataset: fo.Dataset,
    ids: Sequence[str],
    columns: Sequence[Column],
    procedure: Procedure,
    keep_others: bool = False,
) -> list[str]:
    """Writes columns onto the samples of a dataset, all or none.

    Samples without a value keep None in new fields, and get None in fields that exist, so that a field never mixes two
    runs.

    Args:
        dataset: the dataset
        ids: ``(N,)`` sample ids
        columns: the columns, each with a value for each id
        procedure: what is to happen with it
        keep_others (False): whether samples that are not named keep what they have in fields that exist

    Returns:
        the ids that are no longer in the dataset, whose values are not written

    Raises:
        WriteError: if no id is in the dataset, or the database fails; the dataset is as it was before
    """
    before = {column.name: found for column in columns if (found := dataset.get_field(column.name)) is not None}
    collection: Collection = dataset._sample_collection
    with _scratch(collection, "staging") as staging, _scratch(collection, "backup") as backup:
        vanished = _stage(staging, collection, ids, columns, clear_others=bool(before) and not keep_others)
        if len(vanished) == len(ids):
            raise WriteError(f"no scored sample is in the dataset {dataset.name!r} any more: nothing was written")
        if before:
            keep = {name: {"$ifNull": [f"${name}", None]} for name in before}
            collection.aggregate([{"$project": keep}, {"$out": backup.name}])
        was = _State(
            texts={name: (found.description, found.info) for name, found in before.items()},
            indexes=set(dataset.list_indexes()),
        )
        try:
            procedure.begin()
            for column in columns:
                _declare(dataset, column)
            _merge(staging, collection)
            for column in columns:
                if column.index is not None:
                    dataset.create_index(column.index)
            procedure.finish()
        except BaseException as error:
            procedure.undo()
            _roll_back(dataset, collection, backup, columns, was)
            if isinstance(error, Exception):
                raise WriteError(
                    f"writing to the dataset {dataset.name!r} failed: {error}; its fields are as they were"
                ) from error
            raise
    fo.Sample._reload_docs(dataset._sample_collection_name)
    return vanished


@contextmanager
def _scratch(collection: Collection, purpose: str) -> Iterator[Collection]:
    """A collection of our own beside that of the samples, dropped in the end."""
    scratch = collection.database[f"learnability.{purpose}.{ObjectId()}"]
    try:
        yield scratch
    finally:
        scratch.drop()


def _stage(
    staging: Collection, collection: Collection, ids: Sequence[str], columns: Sequence[Column], clear_others: bool
) -> list[str]:
    """Puts one document a sample, with all its new values, into the staging collection.

    Returns:
        the ids that have a value but are no longer in the collection
    """
    present = {document["_id"] for document in collection.find({}, {"_id": 1})}
    names = [column.name for column in columns]
    now = datetime.now(timezone.utc)
    keys = [ObjectId(id) for id in ids]
    rows = zip(keys, zip(*(column.values for column in columns), strict=True), strict=True)
    _insert(
        staging,
        (
            dict(zip(names, values, strict=True), _id=key, last_modified_at=now)
            for key, values in rows
            if key in present
        ),
    )
    if clear_others:
        nothing = dict.fromkeys(names)
        _insert(staging, ({"_id": key, "last_modified_at": now, **nothing} for key in present.difference(keys)))
    return [str(key) for key in keys if key not in present]


def _insert(staging: Collection, documents: Iterator[dict[str, Any]]) -> None:
    while batch := list(islice(documents, _STAGING_BATCH)):
        staging.insert_many(batch, ordered=False)


def _merge(source: Collection, target: Collection) -> None:
    """Moves the values over inside the server; ids that are not in the target are left out."""
    source.aggregate(
        [{"$merge": {"into": target.name, "on": "_id", "whenMatched": "merge", "whenNotMatched": "discard"}}]
    )


def _declare(dataset: fo.Dataset, column: Column) -> None:
    """Adds a field to the schema, or renews what an existing one says of itself."""
    found = dataset.get_field(column.name)
    if found is None:
        dataset.add_sample_field(
            column.name, column.ftype, description=column.description, info=column.info, **column.options
        )
    else:
        found.description, found.info = column.description, column.info
        found.save()


@dataclass(frozen=True)
class _State:
    """What writing may change besides values: texts of the fields to be overwritten, indexes."""

    texts: dict[str, tuple[str | None, dict[str, Any] | None]]
    indexes: set[str]


def _roll_back(
    dataset: fo.Dataset, collection: Collection, backup: Collection, columns: Sequence[Column], was: _State
) -> None:
    """Puts the dataset back as it was before."""
    names = [column.name for column in columns]
    new = [name for name in names if name not in was.texts and dataset.get_field(name) is not None]
    if new:
        dataset.delete_sample_fields(new)
    if was.texts:
        _merge(backup, collection)
        for name, (description, info) in was.texts.items():
            found = dataset.get_field(name)
            found.description, found.info = description, info
            found.save()
    ours = {column.index for column in columns if column.index is not None and column.name in was.texts}
    for name in ours.intersection(dataset.list_indexes()).difference(was.indexes):
        dataset.drop_index(name)
