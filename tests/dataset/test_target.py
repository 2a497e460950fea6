"""Keys are chosen, and nothing is replaced without overwrite=True."""

from __future__ import annotations

from typing import Any

import fiftyone as fo
import fiftyone.core.runs as fors
import pytest

import fiftyone_learnability as fol
from fiftyone_learnability.dataset import target
from fiftyone_learnability.dataset.target import choose_target

from .helpers import EVERY, SETTINGS, make_results, state, write, write_results


def test_without_overwrite_nothing_is_replaced(dataset: fo.Dataset) -> None:
    key = write(dataset, "a")
    before = state(dataset)
    with pytest.raises(ValueError, match=rf"already has the field 'learnability_a', written by the run '{key}'"):
        choose_target(dataset, ["b", "a"], None, overwrite=False)
    with pytest.raises(ValueError, match=rf"already has a run '{key}'.*overwrite=True"):
        choose_target(dataset, ["b"], key, overwrite=False)
    # created during the training
    with pytest.raises(ValueError, match="already has the field"):
        write_results(dataset, make_results(dataset, "a"), "another", SETTINGS)
    with pytest.raises(ValueError, match="already has a run"):
        write_results(dataset, make_results(dataset, "b"), key, SETTINGS)
    assert state(dataset) == before


def test_a_rank_field_alone_is_enough_to_refuse(dataset: fo.Dataset) -> None:
    dataset.add_sample_field("learnability_rank_a", fo.IntField)
    with pytest.raises(ValueError, match=r"'learnability_rank_a', which this package did not write.*overwrite=True"):
        choose_target(dataset, ["a"], None, overwrite=False)


def test_a_field_of_the_user(dataset: fo.Dataset) -> None:
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


def test_any_existing_score_field_is_enough_to_refuse(dataset: fo.Dataset) -> None:
    dataset.add_sample_field("learnability_a_hits", fo.IntField)
    before = state(dataset)
    with pytest.raises(ValueError, match=r"'learnability_a_hits', which this package did not write"):
        choose_target(dataset, ["a"], None, False, EVERY)
    with pytest.raises(ValueError, match=r"is a IntField.*cannot be replaced by a FloatField"):
        choose_target(dataset, ["a"], "mine", True, EVERY)
    assert state(dataset) == before
    # scores that are not written do not clash
    assert choose_target(dataset, ["a"], None, False).key == "learnability"


def test_a_view_that_a_run_cannot_keep(dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target, "MOST_VIEW_BYTES", 300)
    before = state(dataset)
    for key in (None, "mine"):
        with pytest.raises(ValueError, match=r"about 500,000 ids: tag its samples and give dataset.match_tags"):
            choose_target(dataset.select(dataset.values("id")), ["a"], key)
    assert state(dataset) == before
    # a dataset has no view to keep
    choose_target(dataset, ["a"], None)
    choose_target(dataset.match_tags("new"), ["a"], None)
