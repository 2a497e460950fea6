"""Ids and numbers read as arrays equal those in the documents, whatever the documents hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import fiftyone as fo
import numpy as np
import pytest
from bson import Decimal128, Int64, ObjectId
from fiftyone import ViewField as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from fiftyone_learnability.dataset import arrays
from fiftyone_learnability.dataset.arrays import find_ids, ids_in_view, pack_ids, read_columns, read_ids, unpack_ids
from fiftyone_learnability.dataset.internals import get_database, sample_collection

MISSING = object()
NUMBERS: list[Any] = [0.1, -0.0, 7, Int64(2**40), 2**62 + 1, None, math.inf, -math.inf, math.nan, MISSING, True]
NO_NUMBERS: list[Any] = ["text", "", [1.0], {"a": 1}, ObjectId(), b"\x00"]
LABELS: list[Any] = [
    "ant",
    "",
    "$bee",
    "ä" * 300,
    3,
    True,
    None,
    MISSING,
    2.5,
    ["ant"],
    {"ant": 1},
    datetime(2020, 1, 1),
]


@pytest.fixture(scope="module")
def collection() -> Iterator[Collection]:
    """A collection for these tests."""
    made = get_database()["learnability.test_arrays"]
    yield made
    made.drop()


def fill(collection: Collection, rows: list[tuple[Any, Any, Any]]) -> list[ObjectId]:
    """Fill a collection with documents of two numbers and a label, not in the order of their ids."""
    collection.delete_many({})
    documents = []
    for index, row in enumerate(rows):
        document: dict[str, Any] = {"filler": "x" * (index % 7)}
        document |= {name: value for name, value in zip("abc", row, strict=True) if value is not MISSING}
        if "c" in document:
            document["c"] = {"name": document["c"]}
        # zeros at the end are a part of an id
        documents.append({"_id": ObjectId(f"{index * 7919 % 10_007:018x}000000"), **document})
    if documents:
        collection.insert_many(documents)
    return [document["_id"] for document in documents]


def as_number(value: Any) -> float:
    """Return what MongoDB converts to a double; NaN for everything else."""
    return float(value) if isinstance(value, (int, float)) else math.nan


def check(collection: Collection, rows: list[tuple[Any, Any, Any]]) -> None:
    """Compare the arrays with the documents."""
    there = fill(collection, rows)
    order = sorted(range(len(rows)), key=lambda index: there[index])
    ids, columns, codes, labels = read_columns(collection, {}, ["a", "b"], "c.name")
    assert unpack_ids(ids) == [str(there[index]) for index in order]
    for column, place in zip(columns, (0, 1), strict=True):
        np.testing.assert_array_equal(column, [as_number(rows[index][place]) for index in order])
        assert column.dtype == np.float64
    read = [None if code < 0 else labels[code] for code in codes]
    # True is 1 for Python, and no other label is
    expected = [rows[index][2] if isinstance(rows[index][2], (str, int)) else None for index in order]
    assert read == expected
    assert len(set(labels)) == len(labels)
    assert unpack_ids(read_ids(collection)) == unpack_ids(ids)


VALUES = st.one_of(
    st.sampled_from([*NUMBERS, *NO_NUMBERS]), st.floats(), st.integers(-(2**63), 2**63 - 1), st.booleans()
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rows=st.lists(st.tuples(VALUES, VALUES, st.sampled_from(LABELS)), max_size=130),
    together=st.sampled_from([3, 10, 11, 1000]),
)
def test_columns_are_read_whatever_documents_hold(
    collection: Collection, rows: list[tuple[Any, Any, Any]], together: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "ROWS", together)
        check(collection, rows)


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 99, 100, 101, 1000, 1001])
def test_any_number_of_documents(collection: Collection, count: int) -> None:
    check(collection, [(index / 3, index, f"class {index % 4}") for index in range(count)])


def test_mongodb_converts_strings_and_decimals(collection: Collection) -> None:
    fill(collection, [("2.5", Decimal128("0.25"), None)])
    assert [column.tolist() for column in read_columns(collection, {}, ["a", "b"], None)[1]] == [[2.5], [0.25]]


def test_labels_too_long_for_one_document_are_read_one_by_one(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    aggregate, calls = Collection.aggregate, []

    def counted(*args: Any, **options: Any) -> Any:
        calls.append(args)
        return aggregate(*args, **options)

    # which sends one document for each sample, while packed ones come as raw batches
    monkeypatch.setattr(Collection, "aggregate", counted)
    # 18 MB in all, where a document holds 16
    check(collection, [(0.5, None, f"{index % 5}" + "x" * 60_000) for index in range(300)])
    assert len(calls) == 1


def test_more_documents_than_fit_into_one_part(collection: Collection) -> None:
    count = 10_007
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "ROWS", 4_001)
        check(collection, [(index / 3, None if index % 3 else index, "ab"[index % 2]) for index in range(count)])
    check(collection, [(index / 3, None if index % 3 else index, "ab"[index % 2]) for index in range(count)])


def test_some_documents_and_fields(collection: Collection) -> None:
    there = fill(collection, [(index, -index, "ab"[index % 2]) for index in range(30)])
    ids, (column,), codes, labels = read_columns(collection, {"a": {"$lt": 3}}, ["b"], None)
    wanted = sorted(range(3), key=lambda index: there[index])
    assert unpack_ids(ids) == [str(there[index]) for index in wanted]
    assert column.tolist() == [-index for index in wanted]
    assert (codes.tolist(), labels) == ([-1, -1, -1], [])
    ids, columns, codes, labels = read_columns(collection, {"a": -1}, [], "c.name")
    assert (len(ids), columns, len(codes), labels) == (0, [], 0, [])


def test_other_failures_are_raised(collection: Collection) -> None:
    with pytest.raises(OperationFailure, match="unknown operator"):
        read_columns(collection, {"a": {"$nonsense": 1}}, ["a"], None)


def test_fields_of_a_dataset_are_read_as_fiftyone_reads_them(make_dataset: Callable[..., fo.Dataset]) -> None:
    dataset = make_dataset([f"/nowhere/{index}.png" for index in range(50)], ["a", "b", "c", "d", "e"] * 10)
    dataset.set_values("score", [None if index % 7 == 0 else index / 9 for index in range(50)])
    dataset.set_values("rank", [None if index % 5 == 0 else 50 - index for index in range(50)])
    for view in (dataset, dataset.match(F("rank") > 20), dataset.shuffle(seed=1).limit(9), dataset.limit(0)):
        assert unpack_ids(ids_in_view(view)) == sorted(view.values("id"))
    ids, columns, codes, labels = read_columns(sample_collection(dataset), {}, ["score", "rank"], "ground_truth.label")
    view = dataset.select(unpack_ids(ids), ordered=True)
    for column, field in zip(columns, ("score", "rank"), strict=True):
        np.testing.assert_array_equal(column, np.array(view.values(field), float))
    assert [labels[code] for code in codes] == view.values("ground_truth.label")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(min_size=12, max_size=12), max_size=30), st.lists(st.binary(min_size=12, max_size=12)))
def test_ids_are_found(some: list[bytes], more: list[bytes]) -> None:
    texts = [one.hex() for one in some]
    packed = pack_ids(texts)
    assert unpack_ids(packed) == texts
    assert pack_ids(np.array(texts, "U24")).tobytes() == b"".join(some)
    among = sorted({*some[::2], *more})
    found = find_ids(packed, np.array(among, "S12"))
    assert found.tolist() == [among.index(one) if one in among else -1 for one in some]


@pytest.mark.parametrize("wrong", ["", "0" * 23, "0" * 25, "x" * 24, "00 " * 8])
def test_invalid_ids_are_named(wrong: str) -> None:
    with pytest.raises(ValueError, match=f"^'{wrong}' is not the id of a sample"):
        pack_ids(["0" * 24, wrong, "f" * 24])
