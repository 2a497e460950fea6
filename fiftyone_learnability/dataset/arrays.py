"""Reads ids and numbers of many samples from MongoDB into arrays.

One document per sample is slow to send and to decode. Instead, the server packs the values of some ten thousand samples
into arrays within one document, and converts every number to a double. In the bytes of such an array the values stand
at known offsets, so numpy reads all of them at once.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import bson
import fiftyone.core.collections as foc
import numpy as np
from bson import ObjectId
from numpy.typing import NDArray
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from .internals import parent_dataset, pipeline_of, sample_collection

Ids = NDArray[np.bytes_]
"""``(N,)`` sample ids of 12 bytes each; as a numpy string, an id takes 96."""

ROWS = 20_000
"""The largest number of samples packed into one document."""

_MOST_BYTES = 6_000_000
"""The bytes of numbers and ids in one document. MongoDB allows 16 MB; the rest is for labels."""

_READERS = 2
"""Documents read in parallel: the server makes one while numpy decodes another."""

_DOUBLE, _ARRAY, _ID, _NULL, _INT, _LONG = 1, 4, 7, 10, 16, 18
_WIDTH = {_DOUBLE: 8, _ID: 12, _NULL: 0, _INT: 4, _LONG: 8}


def pack_ids(ids: Sequence[str] | NDArray[np.str_]) -> Ids:
    """Pack ids into bytes.

    Args:
        ids: ``(N,)`` ids of 24 hexadecimal digits

    Raises:
        ValueError: if one is not an id
    """
    texts = ids.tolist() if isinstance(ids, np.ndarray) else ids
    try:
        packed = bytes.fromhex("".join(texts))
    except ValueError:
        packed = b""
    # fromhex skips spaces between digits
    if len(packed) != 12 * len(texts) or any(len(text) != 24 for text in texts):
        wrong = next(text for text in texts if not re.fullmatch("[0-9a-fA-F]{24}", text))
        raise ValueError(f"{wrong!r} is not the id of a sample: an id has 24 hexadecimal digits")
    return np.frombuffer(packed, "S12")


def unpack_ids(ids: Ids) -> list[str]:
    """Unpack ids from bytes into strings.

    Args:
        ids: ``(N,)`` packed ids
    """
    # tolist() would strip zeros at the end
    text = ids.tobytes().hex()
    return [text[at : at + 24] for at in range(0, len(text), 24)]


def find_ids(ids: Ids, among: Ids) -> NDArray[np.int64]:
    """Find the positions of ids in a sorted array.

    Args:
        ids: ``(N,)`` ids
        among: ``(M,)`` sorted ids

    Returns:
        ``(N,)`` their positions in ``among``, -1 for those that are not in it
    """
    if not len(among):
        return np.full(len(ids), -1)
    positions = np.minimum(np.searchsorted(among, ids), len(among) - 1)
    return np.where(among[positions] == ids, positions, -1)


def read_ids(collection: Collection, pipeline: Sequence[Mapping[str, Any]] = ()) -> Ids:
    """Read the ids of samples.

    Args:
        collection: the samples
        pipeline (()): an aggregation that selects some of them

    Returns:
        ``(N,)`` ids, sorted
    """
    groups = 1 + collection.estimated_document_count() // (10 * ROWS)
    # random groups, so that none outgrows a document. $convert rather than $floor: with it MongoDB picks an engine that
    # is several times as fast here
    group = {"$convert": {"input": {"$multiply": [{"$rand": {}}, groups]}, "to": "int"}}
    steps = [*pipeline, {"$group": {"_id": group, "ids": {"$push": "$_id"}}}]
    parts = [np.empty(0, "S12")]
    for batch in collection.aggregate_raw_batches(steps, allowDiskUse=True):
        parts += [_parse_ids(document["ids"]) for document in _documents(batch)]
    return np.sort(np.concatenate(parts))


def ids_in_view(view: foc.SampleCollection) -> Ids:
    """Read the ids of the samples of a dataset or view.

    Args:
        view: the dataset or view

    Returns:
        ``(N,)`` ids, sorted
    """
    return read_ids(sample_collection(parent_dataset(view)), pipeline_of(view))


def read_columns(
    collection: Collection, match: Mapping[str, Any], fields: Sequence[str], label_path: str | None
) -> tuple[Ids, list[NDArray[np.float64]], NDArray[np.int64], list[Any]]:
    """Read number fields, and a label field.

    Args:
        collection: the samples
        match: a filter on them
        fields: the number fields
        label_path: the path of the label, or None

    Returns:
        ``(N,)`` ids, sorted; ``(N,)`` values of each field, NaN where there is no number; ``(N,)`` index of each
        sample's label into the last item, -1 where it is missing or neither string nor int; and the labels
    """
    rows = max(1, min(ROWS, _MOST_BYTES // (16 * len(fields) + 20)))

    def read(part: Mapping[str, Any]) -> _Part:
        both = {"$and": [part, match]} if part and match else part or match
        try:
            return _read_packed(collection, both, fields, label_path)
        except OperationFailure:
            # most likely the labels are too long for one document; any other failure occurs again here
            return _read_one_by_one(collection, both, fields, label_path)

    with ThreadPoolExecutor(_READERS) as readers:
        parts = list(readers.map(read, _split(collection, rows)))
    label_index: dict[Any, int] = {}
    ids = np.concatenate([part[0] for part in parts])
    columns = [np.concatenate(column) for column in zip(*(part[1] for part in parts), strict=True)]
    codes = [np.empty(0, np.int64)]
    for _, _, labels in parts:
        codes.append(_index_labels(labels, label_index))
    return ids, columns, np.concatenate(codes), list(label_index)


def read_columns_of(
    collection: Collection, ids: Ids, fields: Sequence[str], label_path: str | None
) -> tuple[Ids, list[NDArray[np.float64]], list[Any]]:
    """Read numeric fields and a label field of a few samples.

    Args:
        collection: the samples
        ids: ``(N,)`` their ids, at most a few thousand
        fields: the numeric fields
        label_path: the path of the label, or None

    Returns:
        the ids that still exist, sorted; the values of each field, NaN where there is no number; and the labels
    """
    keys = [ObjectId(id) for id in unpack_ids(ids)]
    return _read_one_by_one(collection, {"_id": {"$in": keys}}, fields, label_path)


_Part = tuple[Ids, list[NDArray[np.float64]], list[Any]]


def _split(collection: Collection, rows: int) -> Iterator[dict[str, Any]]:
    """Split all samples into ranges of ids with so many samples each."""
    after: dict[str, Any] = {}
    while True:
        # the hint keeps the server in the index, without reading samples
        found = collection.find(
            {"_id": after} if after else {}, {"_id": 1}, sort=[("_id", 1)], skip=rows - 1, limit=1, hint="_id_"
        )
        last = next(iter(found), None)
        if last is None:
            yield {"_id": after} if after else {}
            return
        yield {"_id": {**after, "$lte": last["_id"]}}
        after = {"$gt": last["_id"]}


def _as_double(field: str) -> dict[str, Any]:
    nan = float("nan")
    return {"$convert": {"input": f"${field}", "to": "double", "onError": nan, "onNull": nan}}


def _label_or_none(path: str) -> dict[str, Any]:
    return {"$ifNull": [f"${path}", None]}


def _read_packed(
    collection: Collection, match: Mapping[str, Any], fields: Sequence[str], label_path: str | None
) -> _Part:
    """Read samples packed into one document."""
    arrays: dict[str, Any] = {"ids": {"$push": "$_id"}}
    arrays |= {f"f{index}": {"$push": _as_double(field)} for index, field in enumerate(fields)}
    if label_path is not None:
        arrays["labels"] = {"$push": _label_or_none(label_path)}
    steps: list[dict[str, Any]] = [{"$match": match}, {"$group": {"_id": None, **arrays}}]
    for batch in collection.aggregate_raw_batches(steps, hint="_id_"):
        for part in _documents(batch):
            ids = _parse_ids(part["ids"])
            columns = [
                _parse(part[f"f{index}"], _DOUBLE).view("<f8")[:, 0].astype(np.float64, copy=False)
                for index in range(len(fields))
            ]
            return ids, columns, [None] * len(ids) if label_path is None else _decode(part["labels"])
    return np.empty(0, "S12"), [np.empty(0) for _ in fields], []


def _read_one_by_one(
    collection: Collection, match: Mapping[str, Any], fields: Sequence[str], label_path: str | None
) -> _Part:
    """Read samples with one document for each, so that labels may be of any length."""
    values: dict[str, Any] = {f"f{index}": _as_double(field) for index, field in enumerate(fields)}
    values["label"] = {"$literal": None} if label_path is None else _label_or_none(label_path)
    rows = list(collection.aggregate([{"$match": match}, {"$project": values}], hint="_id_"))
    ids = np.frombuffer(b"".join(row["_id"].binary for row in rows), "S12")
    columns = [np.array([row[f"f{index}"] for row in rows], np.float64) for index in range(len(fields))]
    return ids, columns, [row["label"] for row in rows]


def _index_labels(labels: Sequence[Any], index: dict[Any, int]) -> NDArray[np.int64]:
    """Return the index of each label, -1 if it has none; new labels are added to the index."""
    try:
        distinct = set(labels)
    except TypeError:
        # lists and documents, which FiftyOne would not have stored as labels
        labels = [label if isinstance(label, Hashable) else None for label in labels]
        distinct = set(labels)
    for label in distinct:
        if isinstance(label, (str, int)):
            index.setdefault(label, len(index))
    return np.fromiter(map(index.get, labels, itertools.repeat(-1)), np.int64, len(labels))


def _documents(batch: bytes) -> Iterator[dict[str, memoryview]]:
    """Yield the undecoded arrays of each document in a batch by name."""
    data, start = memoryview(batch), 0
    while start < len(data):
        end = start + int.from_bytes(data[start : start + 4], "little")
        arrays, at = {}, start + 4
        while at < end - 1:
            kind = data[at]
            stop = batch.index(0, at)
            name, at = bytes(data[at + 1 : stop]).decode(), stop + 1
            size = int.from_bytes(data[at : at + 4], "little") if kind == _ARRAY else _WIDTH[kind]
            if kind == _ARRAY:
                arrays[name] = data[at : at + size]
            at += size
        yield arrays
        start = end


def _parse_ids(array: memoryview) -> Ids:
    """Return the values of a BSON array of ids."""
    return _parse(array, _ID).view("S12")[:, 0]


def _parse(array: memoryview, kind: int) -> NDArray[np.uint8]:
    """Return the values of a BSON array whose values all have one type, ``(N, bytes per value)``.

    BSON names the elements "0", "1", ...: those with equally many digits have equal distances.

    Raises:
        ValueError: if the types differ
    """
    width = _WIDTH[kind]
    data = np.frombuffer(array, np.uint8)
    values, at, most = [np.empty((0, width), np.uint8)], 4, 10
    digits = 0
    while at < len(data) - 1:
        digits += 1
        stride = 1 + digits + 1 + width
        count = min(most, (len(data) - 1 - at) // stride)
        rows = data[at : at + count * stride].reshape(count, stride)
        if not (rows[:, 0] == kind).all():
            raise ValueError("the database returned an array of mixed types")
        values.append(rows[:, -width:])
        at += count * stride
        most = 9 * 10**digits
    return np.concatenate(values)


def _decode(array: memoryview) -> list[Any]:
    """Decode a BSON array of any values."""
    body = b"\x04a\x00" + bytes(array) + b"\x00"
    return list(bson.decode((len(body) + 4).to_bytes(4, "little") + body)["a"])
