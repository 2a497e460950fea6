"""A run owns what it wrote and still has its name; copies, renamed fields and merged scores are the user's."""

from __future__ import annotations

from collections.abc import Callable

import fiftyone as fo
import numpy as np
import pytest

import fiftyone_learnability as fol
from fiftyone_learnability.dataset.notes import fields_of, owning_run
from fiftyone_learnability.dataset.registry import id_of_run
from fiftyone_learnability.dataset.target import MOST_INDEXES, choose_target

from .helpers import EVERY, make_results, state, values_of, write, write_results, write_scores

A = fields_of(["a"])


def rename(dataset: fo.Dataset, names: list[str], suffix: str = "_kept") -> list[str]:
    """Rename fields and return their new names."""
    for name in names:
        dataset.rename_sample_field(name, f"{name}{suffix}")
    return [f"{name}{suffix}" for name in names]


@pytest.mark.parametrize("key", [None, "another"])
def test_renamed_scores_and_their_run_stay_when_the_network_is_trained_again(
    dataset: fo.Dataset, key: str | None
) -> None:
    write(dataset, "a", key="first")
    kept = rename(dataset, A)
    values, results = {name: values_of(dataset, name) for name in kept}, fol.load_results(dataset, "first")
    new = write(dataset, "a", key=key, seed=1)
    assert {name: values_of(dataset, name) for name in kept} == values
    assert sorted(fol.list_runs(dataset)) == sorted(["first", new])
    assert dataset.get_run_info("first").config.models == ["a"]
    np.testing.assert_array_equal(fol.load_results(dataset, "first")["a"].rank, results["a"].rank)
    assert fol.find_models(dataset) == ["a"]
    assert owning_run(dataset, "learnability_a") == new


def test_a_run_whose_fields_were_deleted_stays_when_the_network_is_trained_again(dataset: fo.Dataset) -> None:
    write(dataset, "a", key="first")
    dataset.delete_sample_fields(A)
    write(dataset, "a", key="second")
    assert fol.list_runs(dataset) == ["first", "second"]
    assert set(fol.load_results(dataset, "first")) == {"a"}


def test_imported_scores_that_were_renamed_stay(dataset: fo.Dataset) -> None:
    table = {"id": dataset.values("id"), "learnability": np.linspace(0, 1, 12)}
    fol.write_scores(dataset, table, "mine")
    kept = rename(dataset, fields_of(["mine"]))
    fol.write_scores(dataset, {**table, "learnability": np.linspace(1, 0, 12)}, "mine")
    assert all(dataset.has_field(name) for name in kept)
    assert fol.list_runs(dataset) == ["imported", "imported_2"]


def test_other_scores_of_a_network_are_not_deleted_without_overwrite(dataset: fo.Dataset) -> None:
    write_scores(dataset, "a", scores=EVERY, key="first")
    rename(dataset, A)
    before = state(dataset)
    with pytest.raises(ValueError, match="already has the field 'learnability_a_hits', written by the run 'first'"):
        write(dataset, "a")
    assert state(dataset) == before


def test_overwriting_leaves_what_the_run_no_longer_owns(dataset: fo.Dataset) -> None:
    write_scores(dataset, "a", "b", scores=EVERY, key="first")
    dataset.clone_sample_field("learnability_a", "backup")
    dataset.rename_sample_field("learnability_a_hits", "my_hits")
    kept = {name: values_of(dataset, name) for name in ("backup", "my_hits")}
    write(dataset, "a", "b", key="first", seed=4, overwrite=True)
    assert {name: values_of(dataset, name) for name in kept} == kept
    assert fol.find_models(dataset) == ["a", "b"]
    assert fol.find_scores(dataset, "a") == ["learnability", "rank"]
    assert sorted(fol.delete_run(dataset, "first")) == sorted(fields_of(["a", "b"]))
    assert {name: values_of(dataset, name) for name in kept} == kept


def test_a_copy_is_no_score_and_survives_its_run(dataset: fo.Dataset) -> None:
    write(dataset, "a", key="first")
    dataset.clone_sample_field("learnability_a", "backup")
    values = values_of(dataset, "backup")
    assert fol.find_models(dataset) == ["a"]
    assert owning_run(dataset, "backup") is None
    assert sorted(fol.delete_run(dataset, "first")) == sorted(A)
    assert values_of(dataset, "backup") == values


@pytest.mark.parametrize("end", [lambda dataset: fol.delete_run(dataset, "learnability"), None])
def test_scores_of_a_merged_dataset_are_not_the_run_s(
    dataset: fo.Dataset, make_dataset: Callable[..., fo.Dataset], end: Callable[[fo.Dataset], object] | None
) -> None:
    other = make_dataset(dataset.values("filepath"), ["a", "b"] * 6)
    write(dataset, "a")
    write(other, "b")
    dataset.merge_samples(other)
    assert fol.list_runs(dataset) == ["learnability"]
    merged = {name: values_of(dataset, name) for name in fields_of(["b"])}
    if end is None:
        write(dataset, "a", key="learnability", overwrite=True)
    else:
        end(dataset)
    assert {name: values_of(dataset, name) for name in merged} == merged
    with pytest.raises(ValueError, match="written by the run 'learnability', which the dataset does not have"):
        write(dataset, "b")


def test_unowned_scores_of_a_network_are_never_mixed_with_new_ones(dataset: fo.Dataset) -> None:
    write_scores(dataset, "a", scores=EVERY, key="first")
    clone = dataset.limit(12).clone()
    try:
        before = state(clone)
        with pytest.raises(ValueError, match=r"'learnability_a_hits'.*rename or delete it, because the network 'a'"):
            write(clone, "a", overwrite=True)
        assert state(clone) == before
    finally:
        clone.delete()


def test_the_runs_of_a_clone_own_the_fields_of_the_clone(dataset: fo.Dataset) -> None:
    write(dataset, "a", key="first")
    before = state(dataset)
    clone = dataset.clone()
    try:
        assert owning_run(clone, "learnability_a") == "first"
        write(clone, "a", seed=3, overwrite=True)
        assert fol.list_runs(clone) == ["first"]
        assert sorted(fol.delete_run(clone, "first")) == sorted(A)
        assert state(dataset)["samples"] == before["samples"]
        assert fol.list_runs(dataset) == ["first"]
    finally:
        clone.delete()


def test_the_id_survives_renaming_the_run(dataset: fo.Dataset) -> None:
    write(dataset, "a", key="first")
    id = id_of_run(dataset, "first")
    fol.rename_run(dataset, "first", "second")
    assert id is not None
    assert id_of_run(dataset, "second") == id
    assert owning_run(dataset, "learnability_a") == "second"


def test_scores_outside_the_view_are_not_deleted(dataset: fo.Dataset) -> None:
    first, rest = dataset.limit(5), dataset.skip(5)
    write_results(first, make_results(first, "a"), "first", {})
    before = state(dataset)
    with pytest.raises(ValueError, match=r"5 samples outside this call have values.*name=, or delete the run 'first'"):
        choose_target(rest, ["a"], None, overwrite=True)
    with pytest.raises(ValueError, match="5 samples outside this call"):
        write_results(rest, make_results(rest, "a"), "first", {}, overwrite=True)
    table = {"id": rest.values("id"), "learnability": [0.5] * 7}
    with pytest.raises(ValueError, match="5 samples outside this call"):
        fol.write_scores(dataset, table, "a", overwrite=True)
    assert state(dataset) == before
    # the same samples, or more, may be scored again
    write_results(first, make_results(first, "a", seed=1), "first", {}, overwrite=True)
    write(dataset, "a", overwrite=True)
    assert dataset.count("learnability_a") == 12


def test_a_run_that_began_before_other_scores_were_written_does_not_delete_them(dataset: fo.Dataset) -> None:
    first, rest = dataset.limit(5), dataset.skip(5)
    target = choose_target(rest, ["a"], "second", overwrite=True)
    write_results(first, make_results(first, "a"), "first", {})
    with pytest.raises(ValueError, match="5 samples outside this call"):
        write_results(target.samples, make_results(rest, "a"), target.key, {}, overwrite=True)
    assert dataset.count("learnability_a") == 5


@pytest.mark.parametrize("name", ["learnability_a", "learnability_a_hits"])
def test_a_read_only_score_is_refused_by_name(dataset: fo.Dataset, name: str) -> None:
    write_scores(dataset, "a", scores=EVERY, key="first")
    field = dataset.get_field(name)
    field.read_only = True
    field.save()
    before = state(dataset)
    with pytest.raises(ValueError, match=f"the field '{name}' is read-only"):
        choose_target(dataset, ["a"], None, overwrite=True)
    with pytest.raises(ValueError, match=f"the field '{name}' is read-only"):
        fol.delete_run(dataset, "first")
    assert state(dataset) == before
    fol.rename_run(dataset, "first", "second")
    assert owning_run(dataset, name) == "second"
    field = dataset.get_field(name)
    field.read_only = False
    field.save()
    assert write(dataset, "a", overwrite=True) == "second"


def fill_indexes(dataset: fo.Dataset, free: int) -> None:
    """Index fields until as many more indexes are possible."""
    for number in range(MOST_INDEXES - len(state(dataset)["indexes"]) - free):
        dataset.add_sample_field(f"f{number}", fo.IntField)
        dataset.create_index(f"f{number}")


def test_more_indexes_than_mongodb_allows_are_refused_and_the_advice_works(dataset: fo.Dataset) -> None:
    fill_indexes(dataset, 1)
    with pytest.raises(ValueError, match=r"has 63 indexes and .* would need 2 more.*drop 1 or more"):
        choose_target(dataset, ["a"], None)
    with pytest.raises(ValueError, match="would need 2 more"):
        write_results(dataset, make_results(dataset, "a"), "first", {})
    dataset.drop_index("f0")
    write(dataset, "a")
    assert len(state(dataset)["indexes"]) == MOST_INDEXES
    # its indexes are there already
    write(dataset, "a", overwrite=True)


def test_a_dataset_object_sees_what_another_process_wrote(dataset: fo.Dataset) -> None:
    from fiftyone_learnability.dataset.internals import unshared_dataset

    write(unshared_dataset(dataset.name), "a", key="theirs")
    assert fol.find_models(dataset) == ["a"]
    fol.rename_run(unshared_dataset(dataset.name), "theirs", "renamed")
    assert fol.list_runs(dataset) == ["renamed"]
    with pytest.raises(ValueError, match="already has the field 'learnability_a', written by the run 'renamed'"):
        choose_target(dataset, ["a"], None)
    write(unshared_dataset(dataset.name), "b", key="more")
    assert len(fol.hardest_samples(dataset.limit(6), "b", 3)) == 3
    fol.delete_run(unshared_dataset(dataset.name), "renamed")
    assert fol.find_models(dataset) == ["b"]


def test_reading_keeps_unsaved_changes_of_the_dataset(dataset: fo.Dataset) -> None:
    write(dataset, "a")
    dataset.info["mine"] = 1
    fol.find_models(dataset)
    fol.list_runs(dataset)
    assert dataset.info["mine"] == 1
