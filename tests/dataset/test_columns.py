"""Columns are written completely or not at all, together with a companion."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import fiftyone as fo
import pytest
from bson import ObjectId
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from fiftyone_learnability.dataset import columns, staging
from fiftyone_learnability.dataset.columns import Column, Companion, WriteError, write_columns

from .helpers import fails_at, raiser, scratch_collections, state, values_of

ERROR = OperationFailure("disk full")


@pytest.fixture
def dataset(make_dataset: Callable[..., fo.Dataset]) -> fo.Dataset:
    """Six samples without image files."""
    return make_dataset([f"/nowhere/{number}.png" for number in range(6)], ["a", "b"] * 3)


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    yield
    assert scratch_collections() == []


class Watching(Companion):
    """Records its calls and the dataset's state at each; raises at one of them if asked to."""

    calls: ClassVar[list[str]] = []
    states: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, dataset: fo.Dataset, fails: str | None = None) -> None:
        self.dataset, self.fails = dataset, fails
        self.calls.clear()
        self.states.clear()

    def begin(self) -> None:
        self._record("begin")

    def finish(self) -> None:
        self._record("finish")

    @classmethod
    def undo(cls, dataset: fo.Dataset, note: dict[str, Any]) -> None:
        cls.calls.append("undo")

    @classmethod
    def tidy(cls, dataset: fo.Dataset, note: dict[str, Any]) -> None:
        cls.calls.append("tidy")

    def _record(self, call: str) -> None:
        self.calls.append(call)
        self.states.append(state(self.dataset))
        if call == self.fails:
            raise ERROR


def numbers(name: str = "number", values: list[Any] | None = None, **options: Any) -> Column:
    return Column(name, fo.FloatField, f"{name}s", {"by": name}, values or [0.5, 1.5, 2.5, 3.5, 4.5, 5.5], **options)


def write(dataset: fo.Dataset, *written: Column, companion: Companion | None = None) -> list[str]:
    return write_columns(dataset, dataset.values("id"), written, companion or Companion())


def test_columns_of_any_type(dataset: fo.Dataset) -> None:
    label = {"_id": ObjectId(), "_cls": "Classification", "tags": [], "label": "cat", "confidence": 0.25}
    labels = Column(
        "animal",
        fo.EmbeddedDocumentField,
        "an animal",
        {"by": "hand"},
        [label, None, label, None, None, None],
        {"embedded_doc_type": fo.Classification},
        index="animal.label",
    )
    words = Column("word", fo.StringField, "a word", {}, ["x", None, "", "y", "z", "x"], index="word")
    assert write(dataset, labels, words, numbers()) == []
    assert dataset.values("animal.label") == ["cat", None, "cat", None, None, None]
    assert dataset.first().animal.confidence == 0.25
    assert dataset.values("word") == words.values
    assert dataset.values("number") == [0.5, 1.5, 2.5, 3.5, 4.5, 5.5]
    assert dataset.get_field("animal").document_type is fo.Classification
    assert (dataset.get_field("animal").description, dataset.get_field("animal").info) == ("an animal", {"by": "hand"})
    assert isinstance(dataset.get_field("word"), fo.StringField)
    assert {"animal.label", "word"} <= set(dataset.list_indexes())
    # only what asks for an index has one
    assert "number" not in dataset.list_indexes()


def test_a_companion_is_called_before_and_after_the_values(dataset: fo.Dataset) -> None:
    before, watching = state(dataset), Watching(dataset)
    write(dataset, numbers("one", index="one"), numbers("two"), companion=watching)
    assert watching.calls == ["begin", "finish", "tidy"]
    # before the dataset is touched, and when all is in place
    assert watching.states[0] == before
    assert watching.states[1] == state(dataset)
    assert "one_1" in watching.states[1]["indexes"]
    assert all(document["two"] is not None for document in watching.states[1]["samples"].values())


PLACES: dict[str, tuple[Any, str, Callable[..., Any]]] = {
    "declaring": (columns, "declare", fails_at),
    "merging": (columns, "merge", fails_at),
    "the indexes": (columns, "create_indexes", fails_at),
    "showing": (columns, "reveal", fails_at),
}


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize(
    ("where", "calls"),
    [
        ("begin", ["begin", "undo"]),
        ("declaring", ["begin", "undo"]),
        ("merging", ["begin", "undo"]),
        ("the indexes", ["begin", "undo"]),
        ("showing", ["begin", "undo"]),
        ("finish", ["begin", "finish", "undo"]),
    ],
)
def test_a_failure_is_undone(
    dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch, where: str, calls: list[str], existing: bool
) -> None:
    if existing:
        write(dataset, numbers("one", [7.0] * 6))
    before = state(dataset)
    watching = Watching(dataset, fails=where)
    with monkeypatch.context() as patch:
        if where in PLACES:
            target, name, stub = PLACES[where]
            patch.setattr(target, name, stub(getattr(target, name), 1, ERROR))
        with pytest.raises(WriteError, match=rf"'{dataset.name}' failed: disk full; its fields are as they were"):
            write(dataset, numbers("one", index="one"), numbers("two", index="two"), companion=watching)
    assert watching.calls == calls
    assert state(dataset) == before
    assert dataset.has_field("one") == existing
    write(dataset, numbers("one", index="one"), numbers("two", index="two"))
    assert dataset.values("one") == dataset.values("two")


def test_nothing_begins_where_staging_fails(dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    before, watching = state(dataset), Watching(dataset)
    with monkeypatch.context() as patch:
        patch.setattr(staging, "insert", raiser(ERROR))
        with pytest.raises((WriteError, OperationFailure), match="disk full"):
            write(dataset, numbers(), companion=watching)
    assert watching.calls == []
    assert state(dataset) == before


def test_an_interrupt_is_undone_and_raised_again(dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    write(dataset, numbers("one", [7.0] * 6))
    before, watching = state(dataset), Watching(dataset)
    with monkeypatch.context() as patch:
        patch.setattr(columns, "merge", fails_at(columns.merge, 1, KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            write(dataset, numbers("one"), numbers("two"), companion=watching)
    assert watching.calls == ["begin", "undo"]
    assert state(dataset) == before


def test_an_existing_field_is_replaced_and_cleared_elsewhere(dataset: fo.Dataset) -> None:
    dataset.add_sample_field("number", fo.FloatField, description="old", info={"old": True})
    dataset.set_values("number", [9.0] * 6)
    ids = dataset.values("id")
    write_columns(dataset, ids[1:3], [numbers(values=[0.5, 1.5])], Companion())
    assert dataset.values("number") == [None, 0.5, 1.5, None, None, None]
    assert (dataset.get_field("number").description, dataset.get_field("number").info) == ("numbers", {"by": "number"})


def test_a_new_field_beside_an_existing_one_is_empty_elsewhere(dataset: fo.Dataset) -> None:
    write(dataset, numbers("old"))
    ids = dataset.values("id")
    write_columns(dataset, ids[:2], [numbers("old", [0.5, 1.5]), numbers("new", [2.5, 3.5])], Companion())
    assert dataset.values("old") == [0.5, 1.5, *[None] * 4]
    assert dataset.values("new") == [2.5, 3.5, *[None] * 4]


def test_deleted_samples_are_reported_and_the_others_written(dataset: fo.Dataset) -> None:
    ids = dataset.values("id")
    dataset.delete_samples(ids[:2])
    assert write_columns(dataset, ids, [numbers()], Companion()) == ids[:2]
    assert values_of(dataset, "number") == dict(zip(ids[2:], [2.5, 3.5, 4.5, 5.5], strict=True))
    dataset.delete_samples(ids[2:])
    before, watching = state(dataset), Watching(dataset)
    with pytest.raises(WriteError, match="no scored sample is in the dataset"):
        write_columns(dataset, ids, [numbers("other")], watching)
    assert watching.calls == []
    assert state(dataset) == before


@pytest.mark.parametrize("count", [5, 7])
def test_every_column_needs_a_value_for_each_sample(dataset: fo.Dataset, count: int) -> None:
    before = state(dataset)
    with pytest.raises(ValueError, match="zip"):
        write(dataset, numbers(), numbers("other", [0.5] * count))
    with pytest.raises(ValueError, match="zip"):
        write(dataset, numbers(values=[0.5] * count))
    assert state(dataset) == before


def halves(monkeypatch: pytest.MonkeyPatch, fails: str | None = None) -> list[str]:
    """Make values move in two halves, and record them. One may fail while the other is still moving."""
    monkeypatch.setattr(staging, "PARALLEL_MERGE", 2)
    aggregate, seen, both = Collection.aggregate, [], threading.Barrier(2)

    def watched(self: Collection, pipeline: list[dict[str, Any]], *args: Any, **kwargs: Any) -> Any:
        if "$merge" in pipeline[-1] and self.name.startswith("learnability.staging."):
            (half,) = pipeline[0]["$match"]["_id"]
            seen.append(half)
            both.wait(10)
            if half == fails:
                raise ERROR
            time.sleep(0.2 if fails else 0)
        return aggregate(self, pipeline, *args, **kwargs)

    monkeypatch.setattr(Collection, "aggregate", watched)
    return seen


@pytest.mark.parametrize("existing", [False, True])
def test_many_values_move_in_two_halves(dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch, existing: bool) -> None:
    if existing:
        write(dataset, numbers("one", [7.0] * 6))
    ids = dataset.values("id")
    seen = halves(monkeypatch)
    # ids in any order
    write_columns(dataset, ids[::-1], [numbers("one", index="one"), numbers("two", [None, *range(5)])], Companion())
    assert sorted(seen) == ["$gte", "$lt"]
    assert dataset.values("one") == [5.5, 4.5, 3.5, 2.5, 1.5, 0.5]
    assert dataset.values("two") == [4, 3, 2, 1, 0, None]


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("fails", ["$lt", "$gte"])
def test_a_half_that_fails_is_undone_with_the_other(
    dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch, fails: str, existing: bool
) -> None:
    if existing:
        write(dataset, numbers("one", [7.0] * 6))
    before = state(dataset)
    with monkeypatch.context() as patch:
        seen = halves(patch, fails)
        with pytest.raises(WriteError, match="disk full"):
            write(dataset, numbers("one", index="one"), numbers("two"))
    assert sorted(seen) == ["$gte", "$lt"]
    # at once, and for good: nothing comes after the undoing
    assert state(dataset) == before
    time.sleep(0.3)
    assert state(dataset) == before


def test_indexes_equal_those_of_fiftyone(dataset: fo.Dataset) -> None:
    write(dataset, numbers("one", index="one"))
    # once more, where it is there
    write(dataset, numbers("one", index="one"), numbers("two", index="two"))
    found = dataset.get_index_information()
    dataset.drop_index("one")
    dataset.drop_index("two")
    dataset.create_index("one")
    dataset.create_index("two")
    assert dataset.get_index_information() == found


@pytest.mark.parametrize("id", ["", "x" * 24, "0" * 23, "00 " * 8])
def test_invalid_ids_are_refused(dataset: fo.Dataset, id: str) -> None:
    before = state(dataset)
    with pytest.raises(ValueError, match="is not the id of a sample: an id has 24 hexadecimal digits"):
        write_columns(dataset, [*dataset.values("id")[:5], id], [numbers()], Companion())
    assert state(dataset) == before
