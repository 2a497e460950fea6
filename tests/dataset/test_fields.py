"""A run is written in one pass, with all its fields or none, whatever fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import fiftyone as fo
import fiftyone.core.collections as foc
import numpy as np
import pytest
from bson import ObjectId
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

import fiftyone_learnability as fol
from fiftyone_learnability.dataset import columns, registration, staging
from fiftyone_learnability.dataset.columns import WriteError
from fiftyone_learnability.dataset.internals import get_database
from fiftyone_learnability.dataset.notes import fields_of, score_field
from fiftyone_learnability.scores.catalog import SCORES

from .helpers import (
    EVERY,
    SETTINGS,
    fails_at,
    make_results,
    raiser,
    scratch_collections,
    state,
    values_of,
    write,
    write_results,
    write_scores,
)


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    yield
    assert scratch_collections() == []


def test_values_ranks_types_texts_and_indexes(dataset: fo.Dataset) -> None:
    results = make_results(dataset, "a", "b", runs=2)
    report = write_results(dataset, results, "mine", SETTINGS)
    assert report.key == "mine"
    assert report.num_written == 12
    assert report.vanished == []
    expected = ["learnability_a", "learnability_rank_a", "learnability_b", "learnability_rank_b"]
    assert report.fields == expected
    fresh = state(dataset)
    for model, result in results.items():
        score, rank = f"learnability_{model}", f"learnability_rank_{model}"
        assert values_of(dataset, score) == dict(zip(result.ids, result.learnability, strict=True))
        assert values_of(dataset, rank) == dict(zip(result.ids, result.rank, strict=True))
        assert isinstance(dataset.get_field(score), fo.FloatField)
        assert isinstance(dataset.get_field(rank), fo.IntField)
        # as floats and integers in the database, which FiftyOne's schema alone would not show
        document = fresh["samples"][result.ids[0]]
        assert type(document[score]) is float
        assert type(document[rank]) is int
        for name, kind in ((score, "learnability"), (rank, "rank")):
            stored = fresh["fields"][name]
            assert model in stored["description"]
            assert "12 samples, 3 epochs, mean of 2 runs" in stored["description"]
            info = {"run": "mine", "model": model, "score": kind, "epochs": 3, "runs": 2}
            run_id = dataset.get_run_info("mine").config.run_id
            assert stored["info"] == {"learnability": {**info, "run_id": run_id, "field": name}}
    assert set(expected) <= set(dataset.list_indexes())
    assert dataset.get_field("learnability_a").description.endswith("(12 samples, 3 epochs, mean of 2 runs)")


def test_other_fields_keep_their_values_and_samples_are_marked_as_modified(dataset: fo.Dataset) -> None:
    before, modified = state(dataset)["samples"], values_of(dataset, "last_modified_at")
    write(dataset, "a")
    after = state(dataset)["samples"]
    for id, document in after.items():
        kept = {name: value for name, value in document.items() if not name.startswith("learnability")}
        assert kept == before[id]
    assert all(time > modified[id] for id, time in values_of(dataset, "last_modified_at").items())


def test_samples_in_memory_see_the_values(dataset: fo.Dataset) -> None:
    sample = dataset.first()
    write(dataset, "a")
    assert sample["learnability_a"] == values_of(dataset, "learnability_a")[sample.id]
    write(dataset, "a", seed=1, overwrite=True)
    assert sample["learnability_a"] == values_of(dataset, "learnability_a")[sample.id]


def test_values_are_moved_in_one_pass(dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    merges: list[list[dict[str, Any]]] = []
    aggregate = Collection.aggregate

    def spy(self: Collection, pipeline: list[dict[str, Any]], *args: Any, **kwargs: Any) -> Any:
        merges.extend([pipeline] if any("$merge" in stage for stage in pipeline) else [])
        return aggregate(self, pipeline, *args, **kwargs)

    monkeypatch.setattr(Collection, "aggregate", spy)
    write(dataset, "a", "b", "c")
    assert len(merges) == 1
    assert all(value is not None for value in values_of(dataset, "learnability_c").values())


def test_more_samples_than_a_batch(dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "STAGING_BATCH", 5)
    results = make_results(dataset, "a")
    write_results(dataset, results, "mine", SETTINGS)
    assert values_of(dataset, "learnability_a") == dict(zip(results["a"].ids, results["a"].learnability, strict=True))


def test_samples_without_a_result_keep_none(dataset: fo.Dataset) -> None:
    view = dataset.limit(7)
    report = write_results(view, make_results(view, "a"), "mine", SETTINGS)
    assert report.num_written == 7
    scored = set(view.values("id"))
    assert {id for id, value in values_of(dataset, "learnability_a").items() if value is not None} == scored
    assert {id for id, value in values_of(dataset, "learnability_rank_a").items() if value is not None} == scored
    assert dataset.count("learnability_a") == 7


def test_deleted_samples_are_reported_and_the_others_written(dataset: fo.Dataset) -> None:
    results = make_results(dataset, "a")
    gone = dataset.values("id")[3:6]
    dataset.delete_samples(gone)
    report = write_results(dataset, results, "mine", SETTINGS)
    assert sorted(report.vanished) == sorted(gone)
    assert report.num_written == 9
    expected = dict(zip(results["a"].ids, results["a"].learnability, strict=True))
    for id in gone:
        del expected[id]
    assert values_of(dataset, "learnability_a") == expected
    assert len(state(dataset)["samples"]) == 9, "a deleted sample must not come back"


def test_a_sample_deleted_at_the_last_moment_stays_deleted(
    dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, gone = make_results(dataset, "a"), dataset.first().id
    merge = columns.merge

    def delete_first(source: Collection, target: Collection, *rest: Any) -> None:
        target.delete_one({"_id": ObjectId(gone)})
        merge(source, target, *rest)

    monkeypatch.setattr(columns, "merge", delete_first)
    write_results(dataset, results, "mine", SETTINGS)
    assert len(state(dataset)["samples"]) == 11


def test_nothing_is_written_if_all_samples_were_deleted(dataset: fo.Dataset) -> None:
    results = make_results(dataset, "a")
    dataset.delete_samples(dataset.values("id"))
    before = state(dataset)
    with pytest.raises(WriteError, match="no scored sample is in the dataset"):
        write_results(dataset, results, "mine", SETTINGS)
    assert state(dataset) == before


@pytest.mark.parametrize("how", ["here", "elsewhere"])
def test_a_deleted_dataset_is_a_write_error(dataset: fo.Dataset, how: str) -> None:
    results = make_results(dataset, "a")
    if how == "here":
        dataset.delete()
    else:
        # bypass this process, which still believes that the dataset exists
        get_database().datasets.delete_one({"name": dataset.name})
    with pytest.raises(WriteError, match=r"cannot be reached.*nothing was written"):
        write_results(dataset, results, "mine", SETTINGS)


def test_results_of_different_samples_are_refused(dataset: fo.Dataset) -> None:
    results = make_results(dataset, "a") | make_results(dataset.limit(3), "b")
    before = state(dataset)
    with pytest.raises(ValueError, match="'b' are for other samples"):
        write_results(dataset, results, "mine", SETTINGS)
    assert state(dataset) == before


FAILURES: dict[str, Callable[[pytest.MonkeyPatch, BaseException], None]] = {
    "staging": lambda patch, error: patch.setattr(staging, "insert", raiser(error)),
    "staging the rest": lambda patch, error: patch.setattr(staging, "insert", fails_at(staging.insert, 2, error)),
    "registering": lambda patch, error: patch.setattr(registration, "register", raiser(error)),
    "saving the results": lambda patch, error: patch.setattr(foc.SampleCollection, "save_run_results", raiser(error)),
    "declaring the first field": lambda patch, error: patch.setattr(columns, "declare", raiser(error)),
    "declaring the second network": lambda patch, error: patch.setattr(
        columns, "declare", fails_at(columns.declare, 2, error)
    ),
    "merging": lambda patch, error: patch.setattr(columns, "merge", fails_at(columns.merge, 1, error)),
    "after merging": lambda patch, error: patch.setattr(columns, "merge", _merge_then_raise(error)),
    "the indexes": lambda patch, error: patch.setattr(columns, "create_indexes", raiser(error)),
    "after the indexes": lambda patch, error: patch.setattr(columns, "reveal", raiser(error)),
    "the key of the run": lambda patch, error: patch.setattr(fo.Dataset, "rename_run", _rename_fails(error, "before")),
    "after the key of the run": lambda patch, error: patch.setattr(
        fo.Dataset, "rename_run", _rename_fails(error, "after")
    ),
}
"""The places where writing is made to fail."""

NEEDS_OTHERS = "staging the rest"
"""Fails only if samples without a result are cleared."""


def _merge_then_raise(error: BaseException) -> Callable[[Collection, Collection], None]:
    merge, calls = columns.merge, []

    def merge_then_raise(source: Collection, target: Collection, *rest: Any) -> None:
        merge(source, target, *rest)
        calls.append(None)
        # the second call is the one that puts the old values back
        if len(calls) == 1:
            raise error

    return merge_then_raise


def _rename_fails(error: BaseException, when: str) -> Callable[[fo.Dataset, str, str], None]:
    rename = fo.Dataset.rename_run

    def rename_or_fail(self: fo.Dataset, key: str, new_key: str) -> None:
        last = "_pending_" in key
        if last and when == "before":
            raise error
        rename(self, key, new_key)
        if last and when == "after":
            raise error

    return rename_or_fail


@pytest.mark.parametrize("where", [name for name in FAILURES if name != NEEDS_OTHERS])
def test_a_failure_leaves_no_new_field(dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    write(dataset, "old", key="older")
    results, before = make_results(dataset, "a", "b"), state(dataset)
    with monkeypatch.context() as patch:
        FAILURES[where](patch, OperationFailure("disk full"))
        with pytest.raises((WriteError, OperationFailure), match="disk full"):
            write_results(dataset, results, "mine", SETTINGS)
    assert state(dataset) == before
    # and the dataset object agrees with the database
    assert dataset.list_runs() == ["older"]
    assert fol.find_models(dataset) == ["old"]
    # nothing stands in the way of another try
    write_results(dataset, results, "mine", SETTINGS)
    assert dataset.count("learnability_b") == 12


@pytest.mark.parametrize("where", FAILURES)
@pytest.mark.parametrize("same_key", [True, False])
def test_a_failure_puts_overwritten_fields_and_runs_back(
    dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch, where: str, same_key: bool
) -> None:
    # the old run has a network that the new one has, and one that it has not; the new one has one more, and a run of
    # one network alone is replaced by any new one
    write(dataset, "a", "old", key="older")
    write(dataset, "c", key="single")
    dataset.drop_index("learnability_a")
    # four samples are no longer labelled
    results, before = make_results(dataset.limit(8), "a", "b", "c", seed=1), state(dataset)
    key = "older" if same_key else "mine"
    old_scores = {name: values_of(dataset, name) for name in ("learnability_a", "learnability_rank_c")}
    with monkeypatch.context() as patch:
        FAILURES[where](patch, OperationFailure("disk full"))
        with pytest.raises((WriteError, OperationFailure), match="disk full"):
            write_results(dataset, results, key, SETTINGS, overwrite=True)
    assert state(dataset) == before
    assert {name: values_of(dataset, name) for name in old_scores} == old_scores
    assert dataset.list_runs() == ["older", "single"]
    assert set(fol.load_results(dataset, "older")) == {"a", "old"}
    write_results(dataset, results, key, SETTINGS, overwrite=True)
    assert dataset.count("learnability_a") == 8


def test_an_interrupt_while_writing_rolls_back_too(dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    before = state(dataset)
    with monkeypatch.context() as patch:
        FAILURES["after merging"](patch, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            write(dataset, "a")
    assert state(dataset) == before


def test_the_message_names_the_reason_of_a_failure(dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "create_indexes", raiser(OperationFailure("disk full")))
    with pytest.raises(WriteError) as caught:
        write(dataset, "a")
    assert dataset.name in str(caught.value)
    assert "disk full" in str(caught.value)
    assert "as they were" in str(caught.value)
    assert isinstance(caught.value.__cause__, OperationFailure)


def test_chosen_scores_have_fields_with_types_texts_and_indexes(dataset: fo.Dataset) -> None:
    results = make_results(dataset, "a", "b", runs=2)
    report = write_results(dataset, results, "mine", SETTINGS, scores=EVERY)
    assert report.fields == fields_of(["a", "b"], EVERY)
    assert report.fields[:6] == [
        "learnability_a",
        "learnability_rank_a",
        "learnability_a_hits",
        "learnability_a_variability",
        "learnability_a_aum",
        "learnability_a_spread",
    ]
    fresh = state(dataset)
    for model, result in results.items():
        for name in EVERY:
            field = score_field(model, name)
            assert values_of(dataset, field) == dict(zip(result.ids, result.score(name).tolist(), strict=True))
            assert type(dataset.get_field(field)) is (fo.IntField if name == "rank" else fo.FloatField)
            assert type(fresh["samples"][result.ids[0]][field]) is (int if name == "rank" else float)
            description = fresh["fields"][field]["description"]
            assert f"{SCORES[name].title if name != 'rank' else 'Learnability rank'} by {model}: " in description
            assert description.endswith("(12 samples, 3 epochs, mean of 2 runs)")
            if name != "rank":
                assert SCORES[name].description in description
            info = {"run": "mine", "model": model, "score": name, "epochs": 3, "runs": 2}
            info |= {"run_id": dataset.get_run_info("mine").config.run_id, "field": field}
            assert fresh["fields"][field]["info"] == {"learnability": info}
            # MongoDB has room for 64
            assert (f"{field}_1" in fresh["indexes"]) == (name in ("learnability", "rank"))
        assert fol.find_scores(dataset, model) == list(EVERY)
    assert fol.find_models(dataset) == ["a", "b"]
    assert dataset.get_run_info("mine").config.scores == list(EVERY)
    assert sorted(fol.delete_run(dataset, "mine")) == sorted(report.fields)


def test_nan_is_stored_as_none_and_infinity_as_itself(dataset: fo.Dataset) -> None:
    result = make_results(dataset, "a")["a"]
    result.run_scores["forgetting"] = np.array([[np.inf, 0.0, np.nan] * 4])
    result.run_scores["learned_epoch"] = np.array([[1.0, 2.0, 4.0] * 4])
    write_results(
        dataset, {"a": result}, "mine", SETTINGS, scores=("learnability", "rank", "forgetting", "learned_epoch")
    )
    expected = dict(zip(result.ids.tolist(), [np.inf, 0.0, None] * 4, strict=True))
    assert values_of(dataset, "learnability_a_forgetting") == expected
    # means over runs in general, so that whole numbers are floats too
    assert isinstance(dataset.get_field("learnability_a_learned_epoch"), fo.FloatField)
    assert dataset.match(fo.ViewField("learnability_a_forgetting") == np.inf).count() == 4


@pytest.mark.parametrize("where", ["the indexes", "merging", "the key of the run"])
def test_a_failure_keeps_scores_that_only_the_old_run_has(
    dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    write_scores(dataset, "a", scores=EVERY, key="mine")
    before = state(dataset)
    with monkeypatch.context() as patch:
        FAILURES[where](patch, OperationFailure("disk full"))
        with pytest.raises(WriteError, match="disk full"):
            write_scores(dataset, "a", scores=("learnability", "rank", "hits", "aum"), key="mine", seed=1)
    assert state(dataset) == before
