"""Writing: all fields in one pass, all of them or none, whatever fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import fiftyone as fo
import fiftyone.core.collections as foc
import fiftyone.core.runs as fors
import numpy as np
import pytest
from bson import ObjectId
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

import fiftyone_learnability as fol
from fiftyone_learnability.dataset import columns, registration, staging
from fiftyone_learnability.dataset.columns import WriteError
from fiftyone_learnability.dataset.notes import fields_of, score_field
from fiftyone_learnability.dataset.target import choose_target
from fiftyone_learnability.experiment.results import ModelResults
from fiftyone_learnability.scores.catalog import SCORES

from .helpers import (
    SETTINGS,
    fails_at,
    make_results,
    raiser,
    scratch_collections,
    state,
    values_of,
    write,
    write_results,
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
            assert stored["info"] == {"learnability": info}
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


def test_vanished_samples_are_reported_and_the_others_written(dataset: fo.Dataset) -> None:
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
    assert len(state(dataset)["samples"]) == 9, "a vanished sample must not come back"


def test_a_sample_that_vanishes_at_the_last_moment_does_not_come_back(
    dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, gone = make_results(dataset, "a"), dataset.first().id
    merge = columns.merge

    def delete_first(source: Collection, target: Collection) -> None:
        target.delete_one({"_id": ObjectId(gone)})
        merge(source, target)

    monkeypatch.setattr(columns, "merge", delete_first)
    write_results(dataset, results, "mine", SETTINGS)
    assert len(state(dataset)["samples"]) == 11


def test_nothing_is_written_where_all_samples_vanished(dataset: fo.Dataset) -> None:
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
        # past this process, which goes on thinking that the dataset exists
        fo.core.odm.get_db_conn().datasets.delete_one({"name": dataset.name})
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
"""Where writing is made to fail, and how."""

NEEDS_OTHERS = "staging the rest"
"""Fails only where samples that have no result get None."""


def _merge_then_raise(error: BaseException) -> Callable[[Collection, Collection], None]:
    merge, calls = columns.merge, []

    def merge_then_raise(source: Collection, target: Collection) -> None:
        merge(source, target)
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
    view = dataset.limit(8)
    results, before = make_results(view, "a", "b", "c", seed=1), state(dataset)
    key = "older" if same_key else "mine"
    old_scores = {name: values_of(dataset, name) for name in ("learnability_a", "learnability_rank_c")}
    with monkeypatch.context() as patch:
        FAILURES[where](patch, OperationFailure("disk full"))
        with pytest.raises((WriteError, OperationFailure), match="disk full"):
            write_results(view, results, key, SETTINGS, overwrite=True)
    assert state(dataset) == before
    assert {name: values_of(dataset, name) for name in old_scores} == old_scores
    assert dataset.list_runs() == ["older", "single"]
    assert set(fol.load_results(dataset, "older")) == {"a", "old"}
    write_results(view, results, key, SETTINGS, overwrite=True)
    assert dataset.count("learnability_a") == 8


def test_an_interrupt_while_writing_rolls_back_too(dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    before = state(dataset)
    with monkeypatch.context() as patch:
        FAILURES["after merging"](patch, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            write(dataset, "a")
    assert state(dataset) == before


def test_the_reason_of_a_failure_is_said(dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "create_indexes", raiser(OperationFailure("disk full")))
    with pytest.raises(WriteError) as caught:
        write(dataset, "a")
    assert dataset.name in str(caught.value)
    assert "disk full" in str(caught.value)
    assert "as they were" in str(caught.value)
    assert isinstance(caught.value.__cause__, OperationFailure)


def test_without_overwrite_nothing_is_replaced(dataset: fo.Dataset) -> None:
    key = write(dataset, "a")
    before = state(dataset)
    with pytest.raises(ValueError, match=rf"already has the field 'learnability_a', written by the run '{key}'"):
        choose_target(dataset, ["b", "a"], None, overwrite=False)
    with pytest.raises(ValueError, match=rf"already has a run '{key}'.*overwrite=True"):
        choose_target(dataset, ["b"], key, overwrite=False)
    # what came to exist during the training
    with pytest.raises(ValueError, match="already has the field"):
        write_results(dataset, make_results(dataset, "a"), "another", SETTINGS)
    with pytest.raises(ValueError, match="already has a run"):
        write_results(dataset, make_results(dataset, "b"), key, SETTINGS)
    assert state(dataset) == before


def test_a_rank_field_alone_is_enough_to_refuse(dataset: fo.Dataset) -> None:
    dataset.add_sample_field("learnability_rank_a", fo.IntField)
    with pytest.raises(ValueError, match=r"'learnability_rank_a', which this package did not write.*overwrite=True"):
        choose_target(dataset, ["a"], None, overwrite=False)


def test_a_field_of_the_users_own(dataset: fo.Dataset) -> None:
    dataset.add_sample_field("learnability_a", fo.FloatField, description="mine")
    dataset.set_values("learnability_a", [7.0] * 12)
    with pytest.raises(ValueError, match="which this package did not write"):
        write(dataset, "a")
    assert dataset.distinct("learnability_a") == [7.0]
    assert dataset.get_field("learnability_a").description == "mine"
    write(dataset, "a", overwrite=True)
    assert max(dataset.values("learnability_a")) < 1


@pytest.mark.parametrize("ftype", [fo.StringField, fo.IntField, fo.ListField])
def test_a_field_of_another_type_is_never_replaced(dataset: fo.Dataset, ftype: type[fo.Field]) -> None:
    dataset.add_sample_field("learnability_a", ftype)
    before = state(dataset)
    with pytest.raises(ValueError, match=f"is a {ftype.__name__}.*cannot be replaced by a FloatField"):
        write(dataset, "a", overwrite=True)
    assert state(dataset) == before


def test_a_run_of_another_kind_is_never_replaced(dataset: fo.Dataset) -> None:
    dataset.register_run("theirs", fors.RunConfig(method="other"))
    before = state(dataset)
    for overwrite in (False, True):
        with pytest.raises(ValueError, match="'theirs' belongs to a run of another kind"):
            write(dataset, "a", key="theirs", overwrite=overwrite)
    assert state(dataset) == before


@pytest.mark.parametrize("key", ["", "two words", "1st", "a-b", "a.b", 7])
def test_keys_must_be_identifiers(dataset: fo.Dataset, key: Any) -> None:
    with pytest.raises(ValueError, match="must be an identifier"):
        choose_target(dataset, ["a"], key, overwrite=False)


def test_keys_are_chosen_in_turn(dataset: fo.Dataset) -> None:
    assert write(dataset, "a") == "learnability"
    assert write(dataset, "b") == "learnability_2"
    dataset.register_run("learnability_3", fors.RunConfig(method="other"))
    assert write(dataset, "c") == "learnability_4"
    fol.delete_run(dataset, "learnability_2")
    assert write(dataset, "d") == "learnability_2"


def test_overwriting_replaces_values_and_clears_those_of_other_samples(dataset: fo.Dataset) -> None:
    write(dataset, "a")
    old = values_of(dataset, "learnability_a")
    view = dataset.limit(5)
    results = make_results(view, "a", seed=1)
    assert choose_target(dataset, ["a"], None, overwrite=True).key == "learnability"
    write_results(view, results, "learnability", {**SETTINGS, "epochs": 9}, overwrite=True)
    new = values_of(dataset, "learnability_a")
    expected = dict.fromkeys(old) | dict(zip(results["a"].ids, results["a"].learnability, strict=True))
    assert new == expected
    assert sum(value is None for value in values_of(dataset, "learnability_rank_a").values()) == 7
    assert dataset.list_runs() == ["learnability"]
    assert dataset.get_run_info("learnability").config.epochs == 9
    assert "5 samples" in dataset.get_field("learnability_a").description
    stored = fol.load_results(dataset, "learnability")["a"]
    np.testing.assert_array_equal(stored.learnability, results["a"].learnability)
    assert state(dataset)["stored_results"] == 1, "the results of the replaced run must go"


def test_overwriting_a_run_by_its_key_drops_what_only_it_had(dataset: fo.Dataset) -> None:
    write(dataset, "a", "b", key="mine")
    write(dataset, "b", "c", key="mine", seed=1, overwrite=True)
    assert fol.find_models(dataset) == ["b", "c"]
    assert "learnability_a" not in dataset.list_indexes()
    assert not any("learnability_a" in document for document in state(dataset)["samples"].values())
    assert dataset.list_runs() == ["mine"]
    assert set(fol.load_results(dataset, "mine")) == {"b", "c"}
    assert sorted(fol.delete_run(dataset, "mine")) == sorted(fields_of(["b", "c"]))


def test_overwriting_one_network_without_a_key_keeps_the_others_of_its_run(dataset: fo.Dataset) -> None:
    write(dataset, "a", "b")
    others = values_of(dataset, "learnability_b")
    key = write(dataset, "a", seed=1, overwrite=True)
    assert key == "learnability_2"
    assert values_of(dataset, "learnability_b") == others
    assert dataset.get_run_info("learnability").config.models == ["b"]
    assert fol.delete_run(dataset, key) == fields_of(["a"])
    assert values_of(dataset, "learnability_b") == others


def test_overwriting_networks_of_two_runs_replaces_both(dataset: fo.Dataset) -> None:
    write(dataset, "a")
    write(dataset, "b")
    key = write(dataset, "a", "b", seed=1, overwrite=True)
    assert dataset.list_runs() == [key]
    assert set(fol.load_results(dataset, key)) == {"a", "b"}
    assert state(dataset)["stored_results"] == 1


def test_a_run_by_another_key_takes_a_network_over(dataset: fo.Dataset) -> None:
    write(dataset, "a", "b", key="first")
    write(dataset, "b", key="second", seed=1, overwrite=True)
    assert dataset.list_runs() == ["first", "second"]
    assert dataset.get_run_info("first").config.models == ["a"]
    assert fol.delete_run(dataset, "first") == fields_of(["a"])
    assert fol.find_models(dataset) == ["b"]
    assert dataset.count("learnability_b") == 12


def test_overwriting_what_does_not_exist_yet(dataset: fo.Dataset) -> None:
    assert write(dataset, "a", overwrite=True) == "learnability"
    assert dataset.count("learnability_a") == 12


EVERY = ("learnability", "rank", "hits", "variability", "aum", "spread")


def write_scores(
    dataset: fo.Dataset, *models: str, scores: tuple[str, ...], key: str, runs: int = 2, seed: int = 0
) -> dict[str, ModelResults]:
    """Writes these made-up scores, whatever is there, and returns the results."""
    results = make_results(dataset, *models, runs=runs, seed=seed)
    write_results(dataset, results, key, {**SETTINGS, "runs": runs}, overwrite=True, scores=scores)
    return results


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
            assert fresh["fields"][field]["info"] == {"learnability": info}
            # MongoDB has room for 64
            assert (f"{field}_1" in fresh["indexes"]) == (name in ("learnability", "rank"))
        assert fol.find_scores(dataset, model) == list(EVERY)
    assert fol.find_models(dataset) == ["a", "b"]
    assert dataset.get_run_info("mine").config.scores == list(EVERY)
    assert sorted(fol.delete_run(dataset, "mine")) == sorted(report.fields)


def test_a_score_that_is_no_number_is_no_value_but_infinity_is_one(dataset: fo.Dataset) -> None:
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


def test_any_chosen_score_in_the_way_is_enough_to_refuse(dataset: fo.Dataset) -> None:
    dataset.add_sample_field("learnability_a_hits", fo.IntField)
    before = state(dataset)
    with pytest.raises(ValueError, match=r"'learnability_a_hits', which this package did not write"):
        choose_target(dataset, ["a"], None, False, EVERY)
    with pytest.raises(ValueError, match=r"is a IntField.*cannot be replaced by a FloatField"):
        write_scores(dataset, "a", scores=EVERY, key="mine")
    assert state(dataset) == before
    # what is not written is not in the way
    assert choose_target(dataset, ["a"], None, False).key == "learnability"


@pytest.mark.parametrize("key", ["mine", "other"])
def test_overwriting_with_fewer_scores_leaves_none_of_the_old_ones(dataset: fo.Dataset, key: str) -> None:
    write_scores(dataset, "a", scores=EVERY, key="mine")
    assert choose_target(dataset, ["a"], None, True).key == "mine"
    results = write_scores(dataset, "a", scores=("learnability", "rank", "aum"), key=key, runs=1, seed=1)
    left = ["learnability_a", "learnability_rank_a", "learnability_a_aum"]
    after = state(dataset)
    assert [name for name in after["fields"] if name.startswith("learnability")] == left
    assert [name for name in after["indexes"] if name.startswith("learnability")] == sorted(f"{n}_1" for n in left[:2])
    assert not any("learnability_a_hits" in document for document in after["samples"].values())
    assert dataset.list_runs() == [key]
    assert fol.find_scores(dataset, "a") == ["learnability", "rank", "aum"]
    aum = dict(zip(results["a"].ids, results["a"].score("aum"), strict=True))
    assert values_of(dataset, "learnability_a_aum") == aum
    assert fol.delete_run(dataset, key) == sorted(left)


def test_a_run_that_takes_a_network_over_leaves_none_of_its_old_scores(dataset: fo.Dataset) -> None:
    write_scores(dataset, "a", "b", scores=EVERY, key="first")
    kept = {name: values_of(dataset, name) for name in fields_of(["a"], EVERY)}
    write_scores(dataset, "b", scores=("learnability", "rank", "hits"), key="second", seed=1)
    assert fol.find_scores(dataset, "b") == ["learnability", "rank", "hits"]
    assert {name: values_of(dataset, name) for name in kept} == kept
    assert "learnability_b_aum" not in dataset.list_indexes()
    assert dataset.get_run_info("first").config.models == ["a"]
    assert fol.delete_run(dataset, "first") == sorted(kept)
    assert fol.find_models(dataset) == ["b"]
    assert dataset.count("learnability_b_hits") == 12


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


def test_runs_that_own_no_network_outlive_others(dataset: fo.Dataset) -> None:
    rng = np.random.default_rng(2)
    results = make_results(dataset, "a", "b")
    results = {
        model: replace(result, prediction=rng.dirichlet([1, 1], 12).astype(np.float16))
        for model, result in results.items()
    }
    write_results(dataset, results, "networks", SETTINGS)
    fol.write_consensus(dataset)
    fol.suggest_label_fixes(dataset)
    dataset.register_run("theirs", fors.RunConfig(method="other"))
    ours = ["learnability_consensus", "learnability_disagreement", "learnability_rank_consensus"]
    ours += ["learnability_contradiction", "learnability_suggestion", "learnability_verdict"]
    before = state(dataset)
    kept = {name: values_of(dataset, name) for name in ours}
    write(dataset, "c", overwrite=True)
    write(dataset, "a", "b", key="anew", seed=3, overwrite=True)
    after = state(dataset)
    assert dataset.list_runs() == ["anew", "consensus", "label_fixes", "learnability", "theirs"]
    for key in ("consensus", "label_fixes", "theirs"):
        assert after["runs"][key] == before["runs"][key]
    assert {name: after["fields"][name] for name in ours} == {name: before["fields"][name] for name in ours}
    assert {name: values_of(dataset, name) for name in ours} == kept
    # nor do they take each other's place
    assert fol.write_consensus(dataset, overwrite=True).key == "consensus"
    assert len(fol.list_runs(dataset)) == 4
    for key in ("learnability", "anew"):
        fol.delete_run(dataset, key)
    assert fol.list_runs(dataset) == ["consensus", "label_fixes"]
    assert fol.delete_run(dataset, "label_fixes") == sorted(ours[3:])
    assert fol.delete_run(dataset, "consensus") == sorted(ours[:3])


def test_a_run_whose_fields_are_gone_is_not_taken_for_replaced(dataset: fo.Dataset) -> None:
    result = make_results(dataset, "a")["a"]
    prediction = np.full((12, 2), 0.5, np.float16)
    write_results(dataset, {"a": replace(result, prediction=prediction)}, "networks", SETTINGS)
    fol.suggest_label_fixes(dataset)
    dataset.delete_sample_fields(["learnability_contradiction", "learnability_suggestion", "learnability_verdict"])
    write(dataset, "b")
    assert dataset.list_runs() == ["label_fixes", "learnability", "networks"]
