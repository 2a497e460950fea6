"""What a field's info says, and how fields are called."""

from __future__ import annotations

from typing import Any

import fiftyone as fo
import pytest

from fiftyone_learnability.dataset.notes import (
    FieldNote,
    fields_of,
    fields_of_run,
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
    (FieldNote("fixes", score="verdict"), {"run": "fixes", "model": None, "score": "verdict"}),
    (FieldNote(copy_of="ground_truth"), {"copy_of": "ground_truth"}),
    (FieldNote(original_of="ground_truth"), {"original_of": "ground_truth"}),
    (FieldNote(writing=True), {"writing": True}),
]


@pytest.mark.parametrize(("note", "entry"), STORED)
def test_the_stored_form_of_notes_does_not_change(dataset: fo.Dataset, note: FieldNote, entry: dict[str, Any]) -> None:
    assert note.to_info() == {"learnability": entry}
    dataset.add_sample_field("noted", fo.FloatField, info=note.to_info())
    assert note_of(dataset.get_field("noted")) == note
    assert notes_of(dataset) == {"noted": note}


@pytest.mark.parametrize("info", [None, {}, {"by": "hand"}, {"learnability": None}, {"learnability": "mine"}])
def test_fields_of_other_programs_have_empty_notes(dataset: fo.Dataset, info: dict[str, Any] | None) -> None:
    dataset.add_sample_field("theirs", fo.FloatField, info=info)
    assert note_of(dataset.get_field("theirs")) == note_of(dataset.get_field("missing")) == FieldNote()
    assert notes_of(dataset) == {}
    assert owning_run(dataset, "theirs") is owning_run(dataset, "missing") is None


def test_another_run_changes_nothing_else_of_the_info(dataset: fo.Dataset) -> None:
    info = {"learnability": {"run": "old", "model": "a", "unknown": 1}, "by": "hand"}
    dataset.add_sample_field("noted", fo.FloatField, info=info)
    set_run(dataset.get_field("noted"), "new")
    dataset.reload()
    changed = {"learnability": {"run": "new", "model": "a", "unknown": 1}, "by": "hand"}
    assert dataset.get_field("noted").info == changed
    assert fields_of_run(dataset, "new") == ["noted"]
    assert fields_of_run(dataset, "old") == []


def test_names_of_fields() -> None:
    assert fields_of(["a", "b"]) == [
        "learnability_a",
        "learnability_rank_a",
        "learnability_b",
        "learnability_rank_b",
    ]
    assert score_field("a", "aum") == "learnability_a_aum"
    assert score_field("consensus", "disagreement") == "learnability_disagreement"
