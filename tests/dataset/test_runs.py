"""Runs are listed, loaded, renamed, cloned and deleted, by FiftyOne's methods and by ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import fiftyone as fo
import fiftyone.core.runs as fors
import numpy as np
import pytest

import fiftyone_learnability as fol
from fiftyone_learnability.dataset.notes import fields_of, owning_run
from fiftyone_learnability.experiment.results import ModelResults

from .helpers import make_results, state, write_results

SETTINGS = {"label_field": "ground_truth", "epochs": 3, "runs": 2}
A, B = fields_of(["a"]), fields_of(["b"])
LOADERS = {
    "ours": fol.load_results,
    "FiftyOne's": lambda dataset, key: dataset.load_run_results(key).models,
}
DELETERS: dict[str, Callable[[fo.Dataset, str], Any]] = {
    "ours": fol.delete_run,
    "FiftyOne's": lambda dataset, key: dataset.delete_run(key),
}
RENAMERS: dict[str, Callable[[fo.Dataset, str, str], None]] = {
    "ours": fol.rename_run,
    "FiftyOne's": lambda dataset, key, new_key: dataset.rename_run(key, new_key),
}


@pytest.fixture
def dataset(make_dataset: Callable[..., fo.Dataset]) -> fo.Dataset:
    """Eight samples with two runs of learnability, and a run of another kind."""
    dataset = make_dataset([f"/nowhere/{number}.png" for number in range(8)], ["a", "b"] * 4)
    write_results(dataset, results_of(dataset, "a"), "first", SETTINGS)
    write_results(dataset, results_of(dataset, "b"), "second", SETTINGS)
    dataset.register_run("theirs", fors.RunConfig(method="other"))
    return dataset


def results_of(dataset: fo.Dataset, model: str) -> dict[str, ModelResults]:
    return make_results(dataset, model, runs=2, seed=ord(model))


def forget(dataset: fo.Dataset) -> None:
    """Make FiftyOne read the dataset and its runs from the database again."""
    dataset.reload()
    dataset.clear_cache()


def test_runs_are_listed(dataset: fo.Dataset) -> None:
    assert fol.list_runs(dataset) == ["first", "second"]
    assert dataset.list_runs(method="learnability") == ["first", "second"]
    assert dataset.list_runs() == ["first", "second", "theirs"]


@pytest.mark.parametrize("load", LOADERS.values(), ids=LOADERS)
def test_results_are_loaded_completely(dataset: fo.Dataset, load: Callable[..., dict[str, ModelResults]]) -> None:
    forget(dataset)
    expected, loaded = results_of(dataset, "a")["a"], load(dataset, "first")
    assert list(loaded) == ["a"]
    assert loaded["a"].classes == expected.classes
    assert loaded["a"].config == expected.config
    for name in (
        *("ids", "filepaths", "labels", "run_learnability", "train_loss", "train_accuracy"),
        *("measured_accuracy", "epoch_seconds", "learnability", "rank", "spread"),
    ):
        array, other = getattr(loaded["a"], name), getattr(expected, name)
        np.testing.assert_array_equal(array, other)
        assert array.dtype == other.dtype
    curves = loaded["a"].learning_curves()
    assert curves["epoch"].tolist() == [1, 2, 3] * 2
    assert curves["seed"].tolist() == [0] * 3 + [1] * 3
    np.testing.assert_array_equal(curves["train_loss"], expected.train_loss.ravel())


@pytest.mark.parametrize("delete", DELETERS.values(), ids=DELETERS)
def test_deleting_includes_fields_and_indexes_and_leaves_others(
    dataset: fo.Dataset, delete: Callable[[fo.Dataset, str], Any]
) -> None:
    before = state(dataset)
    delete(dataset, "first")
    after = state(dataset)
    assert set(before["fields"]) - set(after["fields"]) == set(A)
    assert set(before["indexes"]) - set(after["indexes"]) == {f"{name}_1" for name in A}
    assert set(before["runs"]) - set(after["runs"]) == {"first"}
    assert after["stored_results"] == before["stored_results"] - 1
    assert after["all_runs"] == before["all_runs"] - 1
    for id, document in after["samples"].items():
        assert document == {name: value for name, value in before["samples"][id].items() if name not in A}
    assert set(fol.load_results(dataset, "second")) == {"b"}


def test_deleting_returns_the_fields(dataset: fo.Dataset) -> None:
    assert fol.delete_run(dataset, "second") == sorted(B)


def test_all_runs_can_be_deleted(dataset: fo.Dataset) -> None:
    dataset.delete_runs()
    assert not [name for name in dataset.get_field_schema() if name.startswith("learnability")]


def test_deleting_leaves_a_new_field_of_the_same_name(dataset: fo.Dataset) -> None:
    dataset.delete_sample_field("learnability_a")
    dataset.add_sample_field("learnability_a", fo.StringField)
    assert fol.delete_run(dataset, "first") == ["learnability_rank_a"]
    assert dataset.has_sample_field("learnability_a")


@pytest.mark.parametrize("rename", RENAMERS.values(), ids=RENAMERS)
def test_a_renamed_run_keeps_its_fields_and_results(
    dataset: fo.Dataset, rename: Callable[[fo.Dataset, str, str], None]
) -> None:
    rename(dataset, "first", "renamed")
    forget(dataset)
    assert fol.list_runs(dataset) == ["renamed", "second"]
    assert {owning_run(dataset, name) for name in A} == {"renamed"}
    assert {owning_run(dataset, name) for name in B} == {"second"}
    # in the database, not only in memory
    assert state(dataset)["fields"]["learnability_a"]["info"]["learnability"]["run"] == "renamed"
    np.testing.assert_array_equal(
        fol.load_results(dataset, "renamed")["a"].learnability, results_of(dataset, "a")["a"].learnability
    )


@pytest.mark.parametrize("rename", RENAMERS.values(), ids=RENAMERS)
def test_a_renamed_run_is_deleted_with_its_fields(
    dataset: fo.Dataset, rename: Callable[[fo.Dataset, str, str], None]
) -> None:
    rename(dataset, "first", "renamed")
    forget(dataset)
    assert fol.delete_run(dataset, "renamed") == sorted(A)
    assert not set(A) & set(state(dataset)["fields"])
    assert set(B) <= set(state(dataset)["fields"])


def test_the_old_key_of_a_renamed_run_is_free(dataset: fo.Dataset) -> None:
    fol.rename_run(dataset, "first", "renamed")
    write_results(dataset, make_results(dataset, "c"), "first", SETTINGS)
    assert fol.delete_run(dataset, "first") == sorted(fields_of(["c"]))
    assert set(A) <= set(dataset.get_field_schema())


@pytest.mark.parametrize("new_key", ["two words", "1st", ""])
def test_the_new_key_must_be_an_identifier(dataset: fo.Dataset, new_key: str) -> None:
    with pytest.raises(ValueError, match="must be an identifier"):
        fol.rename_run(dataset, "first", new_key)


@pytest.mark.parametrize("new_key", ["second", "theirs", "first"])
def test_a_run_is_not_renamed_over_another(dataset: fo.Dataset, new_key: str) -> None:
    before = state(dataset)
    with pytest.raises(ValueError, match=f"'{new_key}' already exists"):
        fol.rename_run(dataset, "first", new_key)
    assert state(dataset) == before


@pytest.mark.parametrize("key", ["missing", "theirs"])
def test_other_runs_are_not_touched(dataset: fo.Dataset, key: str) -> None:
    before = state(dataset)
    for call in (fol.load_results, fol.delete_run, lambda dataset, key: fol.rename_run(dataset, key, "new")):
        with pytest.raises(ValueError, match=rf"no learnability run '{key}'; it has: first, second"):
            call(dataset, key)
    assert state(dataset) == before


def test_a_dataset_without_runs(make_dataset: Callable[..., fo.Dataset]) -> None:
    with pytest.raises(ValueError, match="it has: none"):
        fol.delete_run(make_dataset([], []), "first")


def test_a_clone_has_its_own_runs(dataset: fo.Dataset) -> None:
    clone = dataset.clone()
    try:
        assert fol.list_runs(clone) == ["first", "second"]
        assert fol.find_models(clone) == ["a", "b"]
        assert set(A + B) <= set(clone.list_indexes())
        assert fol.delete_run(clone, "first") == sorted(A)
        assert fol.list_runs(dataset) == ["first", "second"]
        assert set(A) <= set(state(dataset)["fields"])
        expected = results_of(dataset, "a")["a"].learnability
        np.testing.assert_array_equal(fol.load_results(dataset, "first")["a"].learnability, expected)
    finally:
        clone.delete()


def test_the_clone_of_a_view_has_fields_without_runs(dataset: fo.Dataset) -> None:
    clone = dataset.limit(5).clone()
    try:
        assert fol.list_runs(clone) == []
        assert fol.find_models(clone) == ["a", "b"]
        assert fol.hardest_samples(clone, "a", 2)["learnability"].is_monotonic_increasing
        # the run is gone, but its fields are not anybody's
        with pytest.raises(ValueError, match="already has the field 'learnability_a', written by the run 'first'"):
            write_results(clone, make_results(clone, "a"), "new", SETTINGS)
        write_results(clone, make_results(clone, "a"), "new", SETTINGS, overwrite=True)
        assert fol.delete_run(clone, "new") == sorted(A)
        assert set(B) <= set(clone.get_field_schema())
    finally:
        clone.delete()
