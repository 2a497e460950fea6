"""Which existing runs a new run replaces, and what it takes from the others."""

from __future__ import annotations

from dataclasses import replace

import fiftyone as fo
import fiftyone.core.runs as fors
import numpy as np
import pytest

import fiftyone_learnability as fol
from fiftyone_learnability import ProgressEvent
from fiftyone_learnability.dataset.notes import fields_of
from fiftyone_learnability.dataset.target import choose_target

from .helpers import EVERY, SETTINGS, learn, make_results, state, tiny, values_of, write, write_results, write_scores


def test_overwriting_replaces_values_and_clears_other_samples(dataset: fo.Dataset) -> None:
    write(dataset, "a")
    stored_results = state(dataset)["stored_results"]
    old = values_of(dataset, "learnability_a")
    # the others are no longer labelled
    results = make_results(dataset.limit(5), "a", seed=1)
    assert choose_target(dataset, ["a"], None, overwrite=True).key == "learnability"
    write_results(dataset, results, "learnability", {**SETTINGS, "epochs": 9}, overwrite=True)
    new = values_of(dataset, "learnability_a")
    expected = dict.fromkeys(old) | dict(zip(results["a"].ids, results["a"].learnability, strict=True))
    assert new == expected
    assert sum(value is None for value in values_of(dataset, "learnability_rank_a").values()) == 7
    assert dataset.list_runs() == ["learnability"]
    assert dataset.get_run_info("learnability").config.epochs == 9
    assert "5 samples" in dataset.get_field("learnability_a").description
    stored = fol.load_results(dataset, "learnability")["a"]
    np.testing.assert_array_equal(stored.learnability, results["a"].learnability)
    assert state(dataset)["stored_results"] == stored_results, "the results of the replaced run must go"


def test_overwriting_a_run_by_its_key_deletes_its_other_fields(dataset: fo.Dataset) -> None:
    write(dataset, "a", "b", key="mine")
    write(dataset, "b", "c", key="mine", seed=1, overwrite=True)
    assert fol.find_models(dataset) == ["b", "c"]
    assert "learnability_a" not in dataset.list_indexes()
    assert not any("learnability_a" in document for document in state(dataset)["samples"].values())
    assert dataset.list_runs() == ["mine"]
    assert set(fol.load_results(dataset, "mine")) == {"b", "c"}
    assert sorted(fol.delete_run(dataset, "mine")) == sorted(fields_of(["b", "c"]))


def test_what_a_replaced_run_loses_is_named_before(digit_dataset: fo.Dataset, caplog: pytest.LogCaptureFixture) -> None:
    learn(digit_dataset, models={"tiny": tiny, "other": tiny}, key="mine")
    learn(digit_dataset, models={"tiny": tiny, "other": tiny}, key="mine", overwrite=True)
    assert not any("will be deleted" in message for message in caplog.messages)

    def never(event: ProgressEvent) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(digit_dataset, key="mine", overwrite=True, progress=never)
    (said,) = [message for message in caplog.messages if "will be deleted" in message]
    assert "the whole run 'mine': learnability_other, learnability_rank_other will be deleted" in said
    assert fol.find_models(digit_dataset) == ["tiny", "other"]


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
    # other datasets of the same database may have some too
    before = state(dataset)["stored_results"]
    write(dataset, "a")
    write(dataset, "b")
    key = write(dataset, "a", "b", seed=1, overwrite=True)
    assert dataset.list_runs() == [key]
    assert set(fol.load_results(dataset, key)) == {"a", "b"}
    assert state(dataset)["stored_results"] == before + 1


def test_a_run_by_another_key_takes_a_network_over(dataset: fo.Dataset) -> None:
    write(dataset, "a", "b", key="first")
    write(dataset, "b", key="second", seed=1, overwrite=True)
    assert dataset.list_runs() == ["first", "second"]
    assert dataset.get_run_info("first").config.models == ["a"]
    assert fol.delete_run(dataset, "first") == fields_of(["a"])
    assert fol.find_models(dataset) == ["b"]
    assert dataset.count("learnability_b") == 12


def test_overwrite_is_allowed_before_anything_exists(dataset: fo.Dataset) -> None:
    assert write(dataset, "a", overwrite=True) == "learnability"
    assert dataset.count("learnability_a") == 12


@pytest.mark.parametrize("key", ["mine", "other"])
def test_overwriting_with_fewer_scores_deletes_the_old_ones(dataset: fo.Dataset, key: str) -> None:
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


def test_taking_a_network_over_deletes_all_its_old_scores(dataset: fo.Dataset) -> None:
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


def test_runs_without_networks_are_kept(dataset: fo.Dataset) -> None:
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


def test_a_run_without_fields_is_not_replaced(dataset: fo.Dataset) -> None:
    result = make_results(dataset, "a")["a"]
    prediction = np.full((12, 2), 0.5, np.float16)
    write_results(dataset, {"a": replace(result, prediction=prediction)}, "networks", SETTINGS)
    fol.suggest_label_fixes(dataset)
    dataset.delete_sample_fields(["learnability_contradiction", "learnability_suggestion", "learnability_verdict"])
    write(dataset, "b")
    assert dataset.list_runs() == ["label_fixes", "learnability", "networks"]
