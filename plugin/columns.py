"""Reads many numbers of many samples out of MongoDB, several times as fast as through Python's dicts.

The server makes every document the same: id, a double for each field, then the label. So numpy finds the numbers at
known places of the bytes that the server sends, and only the labels that differ are decoded.
"""

from __future__ import annotations

from typing import Any

import bson
import numpy as np
from numpy.typing import NDArray
from pymongo.collection import Collection

_ID_AT = 9
"""Where an id begins: behind the length of the document, the type of the id and its name."""

_LABEL = "label"


def read_columns(
    collection: Collection, match: dict[str, Any], fields: list[str], label_path: str | None
) -> tuple[NDArray[np.str_], list[NDArray[np.float64]], list[Any]]:
    """Reads fields of numbers, and a label.

    Args:
        collection: the samples
        match: which of them
        fields: the fields of numbers
        label_path: the path of the label, None for none

    Returns:
        ``(N,)`` ids, ``(N,)`` values of each field, NaN where there is no number, and the label of each sample, or None
    """
    names = [f"f{index}" for index in range(len(fields))]
    nan = float("nan")
    row: dict[str, Any] = {
        name: {"$convert": {"input": f"${field}", "to": "double", "onError": nan, "onNull": nan}}
        for name, field in zip(names, fields, strict=True)
    }
    row[_LABEL] = {"$ifNull": [f"${label_path}", None]} if label_path else {"$literal": None}
    # behind the type and the name of each number
    at, places = _ID_AT + 12, []
    for name in names:
        places.append(at + len(name) + 2)
        at += len(name) + 2 + 8
    ids: list[NDArray[np.str_]] = [np.empty(0, "U24")]
    columns: list[list[NDArray[np.float64]]] = [[np.empty(0)] for _ in fields]
    labels: list[Any] = []
    decoded: dict[bytes, Any] = {}
    for batch in collection.aggregate_raw_batches([{"$match": match}, {"$project": row}], batchSize=20_000):
        starts, end = [], 0
        while end < len(batch):
            starts.append(end)
            length = int.from_bytes(batch[end : end + 4], "little")
            end += length
            label = batch[starts[-1] + at : end]
            if label not in decoded:
                # what is left of the document, as a document of its own
                decoded[label] = bson.decode((len(label) + 4).to_bytes(4, "little") + label)[_LABEL]
            labels.append(decoded[label])
        data, rows = np.frombuffer(batch, np.uint8), np.array(starts, np.int64)[:, None]
        hexadecimal = data[rows + np.arange(_ID_AT, _ID_AT + 12)].tobytes().hex().encode()
        ids.append(np.frombuffer(hexadecimal, "S24").astype("U24"))
        for column, place in zip(columns, places, strict=True):
            column.append(data[rows + np.arange(place, place + 8)].view("<f8")[:, 0].astype(np.float64))
    return np.concatenate(ids), [np.concatenate(column) for column in columns], labels
