"""What a field's info says, and how fields are called."""

from __future__ import annotations

from typing import Any

import fiftyone as fo
import pytest

from fiftyone_learnability.dataset.notes import (
    FieldNote,
    fields_of,
    is_owner,
    note_of,
    notes_of,
    owning_run,
    score_field,
    set_run,
)

# what the database holds: notes of existing datasets must still be understood
STORED = [
    (
        FieldNote("mine", "vgg16", "aum", 200, 2),
        {"run": "mine", "model": "vgg16", "score": "aum", "epochs": 200, "runs": 2},
    ),
    (
        FieldNote("consensus", "consensus", "rank", 0, 1, derived=True),
        {"run": "consensus", "model": "consensus", "score": "rank", "epochs": 0, "runs": 1, "derived": True},
    ),
    (FieldNote("fixes", score="verdict"), {"run": "fixes", "score": "verdict"}),
    (FieldNote(copy_of="ground_truth"), {"copy_of": "ground_truth"}),
    (FieldNote(original_of="ground_truth"), {"original_of": "ground_truth"}),
    (FieldNote(writing=True), {"writing": True}),
]


NAMES = [
    *("learnability_vgg16_aum", "learnability_rank_consensus", "learnability_verdict", "any_name"),
    *("ground_truth_original", "any_name"),
]


@pytest.mark.parametrize(
    ("note", "entry", "name"), [(*stored, name) for stored, name in zip(STORED, NAMES, strict=True)]
)
def test_notes_of_0_1_count_under_the_names_of_0_1(
    dataset: fo.Dataset, note: FieldNote, entry: dict[str, Any], name: str
) -> None:
    assert note.to_info() == {"learnability": entry}
    dataset.add_sample_field(name, fo.FloatField, info=note.to_info())
    assert note_of(dataset.get_field(name)) == note
    assert notes_of(dataset) == {name: note}
    if name != "any_name":
        dataset.rename_sample_field(name, "renamed")
        assert note_of(dataset.get_field("renamed")) == FieldNote()


def test_a_note_counts_only_under_the_name_that_it_says(dataset: fo.Dataset) -> None:
    note = FieldNote("mine", "a", "learnability", run_id="1", field="learnability_a")
    dataset.add_sample_field("learnability_a", fo.FloatField, info=note.to_info())
    dataset.clone_sample_field("learnability_a", "backup")
    assert notes_of(dataset) == {"learnability_a": note}
    dataset.rename_sample_field("learnability_a", "kept")
    assert notes_of(dataset) == {}
    dataset.rename_sample_field("kept", "learnability_a")
    assert notes_of(dataset) == {"learnability_a": note}


@pytest.mark.parametrize("info", [None, {}, {"by": "hand"}, {"learnability": None}, {"learnability": "mine"}])
def test_fields_of_other_programs_have_empty_notes(dataset: fo.Dataset, info: dict[str, Any] | None) -> None:
    dataset.add_sample_field("theirs", fo.FloatField, info=info)
    assert note_of(dataset.get_field("theirs")) == note_of(dataset.get_field("missing")) == FieldNote()
    assert notes_of(dataset) == {}
    assert owning_run(dataset, "theirs") is owning_run(dataset, "missing") is None


def test_another_run_changes_nothing_else_of_the_info(dataset: fo.Dataset) -> None:
    info = {"learnability": {"run": "old", "model": "a", "unknown": 1}, "by": "hand"}
    dataset.add_sample_field("noted", fo.FloatField, info=info)
    set_run(dataset, ["noted"], "new")
    dataset.reload()
    changed = {"learnability": {"run": "new", "model": "a", "unknown": 1}, "by": "hand"}
    assert dataset.get_field("noted").info == changed


def test_the_owner_has_the_id_or_is_a_run_of_0_1_with_the_key_and_the_network() -> None:
    note, old = FieldNote("mine", "a", "rank", run_id="1", field="learnability_rank_a"), FieldNote("mine", "a", "rank")
    assert is_owner({"run_id": "1"}, "renamed", note)
    assert not is_owner({"run_id": "2"}, "mine", note)
    assert not is_owner({}, "mine", note)
    assert is_owner({"models": ["a"], "run_id": "1", "package_version": "0.1.0"}, "mine", old)
    assert is_owner({"models": ["a"]}, "mine", old)
    # fields that a merged dataset has brought
    assert not is_owner({"models": ["b"]}, "mine", old)
    assert not is_owner({"models": ["a"]}, "another", old)
    assert not is_owner({"models": ["a"], "run_id": "1", "package_version": "0.2.0"}, "mine", old)


def test_names_of_fields() -> None:
    assert fields_of(["a", "b"]) == [
        "learnability_a",
        "learnability_rank_a",
        "learnability_b",
        "learnability_rank_b",
    ]
    assert score_field("a", "aum") == "learnability_a_aum"
    assert score_field("consensus", "disagreement") == "learnability_disagreement"
