"""Reads ids and numbers of many samples out of MongoDB as arrays.

A document for each sample costs the server and this process more than what is in it. So the server puts the values of
some ten thousand samples into arrays, one document for all of them, and makes each number a double: in the bytes of
such an array, values stand at places that are known, where numpy finds them all at once.
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
"""``(N,)`` sample ids as the 12 bytes that they are; a twelfth of the memory that they take as numpy's texts."""

_ROWS = 20_000
_MOST_BYTES = 6_000_000
"""What a document may hold of numbers and ids: MongoDB allows 16 MB, of which labels are to have the rest."""

_READERS = 2
"""How many parts are read at a time: the server makes one while numpy takes another apart."""

_DOUBLE, _ARRAY, _ID, _NULL, _INT, _LONG = 1, 4, 7, 10, 16, 18
_WIDTH = {_DOUBLE: 8, _ID: 12, _NULL: 0, _INT: 4, _LONG: 8}


def pack_ids(ids: Sequence[str] | NDArray[np.str_]) -> Ids:
    """Ids as bytes.

    Args:
        ids: ``(N,)`` ids as texts of 24 hexadecimal digits

    Raises:
        ValueError: if one is something else
    """
    texts = ids.tolist() if isinstance(ids, np.ndarray) else ids
    try:
        packed = bytes.fromhex("".join(texts))
    except ValueError:
        packed = b""
    # spaces between digits would be passed over
    if len(packed) != 12 * len(texts) or any(len(text) != 24 for text in texts):
        wrong = next(text for text in texts if not re.fullmatch("[0-9a-fA-F]{24}", text))
        raise ValueError(f"{wrong!r} is no id of a sample: an id has 24 hexadecimal digits")
    return np.frombuffer(packed, "S12")


def unpack_ids(ids: Ids) -> list[str]:
    """Ids as texts.

    Args:
        ids: ``(N,)`` ids as bytes
    """
    # not through tolist(), which takes zeros off the end
    text = ids.tobytes().hex()
    return [text[at : at + 24] for at in range(0, len(text), 24)]


def find_ids(ids: Ids, among: Ids) -> NDArray[np.int64]:
    """Where ids stand among others.

    Args:
        ids: ``(N,)`` ids
        among: ``(M,)`` ids, sorted

    Returns:
        ``(N,)`` their positions, -1 for those that are not there
    """
    if not len(among):
        return np.full(len(ids), -1)
    places = np.minimum(np.searchsorted(among, ids), len(among) - 1)
    return np.where(among[places] == ids, places, -1)


def read_ids(collection: Collection, pipeline: Sequence[Mapping[str, Any]] = ()) -> Ids:
    """Reads the ids of samples.

    Args:
        collection: the samples
        pipeline (()): stages that leave the samples in question

    Returns:
        ``(N,)`` ids, sorted
    """
    groups = 1 + collection.estimated_document_count() // (10 * _ROWS)
    # at random, so that none holds more than a document can; a conversion keeps the server from an engine of it that is
    # several times as slow at this
    number = {"$convert": {"input": {"$multiply": [{"$rand": {}}, groups]}, "to": "int"}}
    steps = [*pipeline, {"$group": {"_id": number, "ids": {"$push": "$_id"}}}]
    found = [np.empty(0, "S12")]
    for batch in collection.aggregate_raw_batches(steps, allowDiskUse=True):
        found += [_parse(part["ids"], _ID).view("S12")[:, 0] for part in _documents(batch)]
    return np.sort(np.concatenate(found))


def ids_in_view(view: foc.SampleCollection) -> Ids:
    """Reads the ids of the samples of a dataset or view.

    Args:
        view: the dataset or view

    Returns:
        ``(N,)`` ids, sorted
    """
    return read_ids(sample_collection(parent_dataset(view)), pipeline_of(view))


def read_columns(
    collection: Collection, match: Mapping[str, Any], fields: Sequence[str], label_path: str | None
) -> tuple[Ids, list[NDArray[np.float64]], NDArray[np.int64], list[Any]]:
    """Reads fields of numbers, and a label.

    Args:
        collection: the samples
        match: which of them
        fields: the fields of numbers
        label_path: the path of the label, None for none

    Returns:
        ``(N,)`` ids, sorted; ``(N,)`` values of each field, NaN where there is no number; ``(N,)`` index of each
        sample's label, -1 for none or one that is neither text nor whole number; and the labels that there are
    """
    rows = max(1, min(_ROWS, _MOST_BYTES // (16 * len(fields) + 20)))

    def read(part: Mapping[str, Any]) -> _Part:
        chosen = {"$and": [part, match]} if part and match else part or match
        try:
            return _read_together(collection, chosen, fields, label_path)
        except OperationFailure:
            # its labels are too long for one document, or the failure comes again
            return _read_one_by_one(collection, chosen, fields, label_path)

    with ThreadPoolExecutor(_READERS) as readers:
        parts = list(readers.map(read, _split(collection, rows)))
    numbers: dict[Any, int] = {}
    ids = np.concatenate([part[0] for part in parts])
    columns = [np.concatenate(column) for column in zip(*(part[1] for part in parts), strict=True)]
    codes = [np.empty(0, np.int64)]
    for _, _, labels in parts:
        codes.append(_number_labels(labels, numbers))
    return ids, columns, np.concatenate(codes), list(numbers)


def read_columns_of(
    collection: Collection, ids: Ids, fields: Sequence[str], label_path: str | None
) -> tuple[Ids, list[NDArray[np.float64]], list[Any]]:
    """Reads fields of numbers, and a label, of a few samples.

    Args:
        collection: the samples
        ids: ``(N,)`` their ids, at most some thousands
        fields: the fields of numbers
        label_path: the path of the label, None for none

    Returns:
        the ids that are still there, sorted; the values of each field, NaN where there is no number; and the labels
    """
    keys = [ObjectId(id) for id in unpack_ids(ids)]
    return _read_one_by_one(collection, {"_id": {"$in": keys}}, fields, label_path)


_Part = tuple[Ids, list[NDArray[np.float64]], list[Any]]


def _split(collection: Collection, rows: int) -> Iterator[dict[str, Any]]:
    """Ranges of ids of so many samples each, that together are all."""
    after: dict[str, Any] = {}
    while True:
        # along the index: no sample is looked at
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


def _read_together(
    collection: Collection, match: Mapping[str, Any], fields: Sequence[str], label_path: str | None
) -> _Part:
    wanted: dict[str, Any] = {"ids": {"$push": "$_id"}}
    wanted |= {f"f{index}": {"$push": _as_double(field)} for index, field in enumerate(fields)}
    if label_path is not None:
        wanted["labels"] = {"$push": _label_or_none(label_path)}
    steps: list[dict[str, Any]] = [{"$match": match}, {"$group": {"_id": None, **wanted}}]
    for batch in collection.aggregate_raw_batches(steps, hint="_id_"):
        for part in _documents(batch):
            ids = _parse(part["ids"], _ID).view("S12")[:, 0]
            columns = [
                _parse(part[f"f{index}"], _DOUBLE).view("<f8")[:, 0].astype(np.float64, copy=False)
                for index in range(len(fields))
            ]
            return ids, columns, [None] * len(ids) if label_path is None else _decode(part["labels"])
    return np.empty(0, "S12"), [np.empty(0) for _ in fields], []


def _read_one_by_one(
    collection: Collection, match: Mapping[str, Any], fields: Sequence[str], label_path: str | None
) -> _Part:
    """The same with a document for each sample, however long its label."""
    wanted: dict[str, Any] = {f"f{index}": _as_double(field) for index, field in enumerate(fields)}
    wanted["label"] = {"$literal": None} if label_path is None else _label_or_none(label_path)
    found = list(collection.aggregate([{"$match": match}, {"$project": wanted}], hint="_id_"))
    ids = np.frombuffer(b"".join(row["_id"].binary for row in found), "S12")
    columns = [np.array([row[f"f{index}"] for row in found], np.float64) for index in range(len(fields))]
    return ids, columns, [row["label"] for row in found]


def _number_labels(labels: Sequence[Any], numbers: dict[Any, int]) -> NDArray[np.int64]:
    """The number of each label, which new ones are given."""
    try:
        different = set(labels)
    except TypeError:
        # what only a hostile hand puts there
        labels = [label if isinstance(label, Hashable) else None for label in labels]
        different = set(labels)
    for label in different:
        if isinstance(label, (str, int)):
            numbers.setdefault(label, len(numbers))
    return np.fromiter(map(numbers.get, labels, itertools.repeat(-1)), np.int64, len(labels))


def _documents(batch: bytes) -> Iterator[dict[str, memoryview]]:
    """The arrays of each document in a batch by name, as they are."""
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


def _parse(array: memoryview, kind: int) -> NDArray[np.uint8]:
    """The values of a BSON array whose values are all of a kind, ``(N, bytes of each)``.

    The names of its elements are "0", "1" and so on, so that those with as many digits are equally far apart.

    Raises:
        ValueError: if they are not
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
            raise ValueError("the database has put values of several types into an array of one")
        values.append(rows[:, -width:])
        at += count * stride
        most = 9 * 10**digits
    return np.concatenate(values)


def _decode(array: memoryview) -> list[Any]:
    """The values of a BSON array of any."""
    body = b"\x04a\x00" + bytes(array) + b"\x00"
    return list(bson.decode((len(body) + 4).to_bytes(4, "little") + body)["a"])
