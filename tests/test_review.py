"""The review of suggested labels: what leaves the queue, what is written, and what comes back."""

from __future__ import annotations

from typing import Any

import fiftyone as fo
import pytest
from fiftyone import ViewField as F

import fiftyone_learnability as fol
from fiftyone_learnability.dataset.internals import sample_collection
from fiftyone_learnability.dataset.suggestions import read_suggestions

from .dataset.test_label_fields import FIXED, embedded, labels_at, others
from .test_labels import LABELS, P, dataset, scalars, values, write

__all__ = ["dataset", "embedded", "scalars"]

DECISION = "learnability_decision"


def named(samples: fo.Dataset | fo.DatasetView) -> list[int]:
    """The numbers in the file names of samples."""
    return [int(file.removeprefix("/no/").removesuffix(".png")) for file in samples.values("filepath")]


def pick(dataset: fo.Dataset, *numbers: int) -> fo.DatasetView:
    return dataset.match(F("filepath").is_in([f"/no/{number}.png" for number in numbers]))


def documents(dataset: fo.Dataset) -> list[dict[str, Any]]:
    """The samples as MongoDB holds them, without what is None, and without the ids of labels and the time."""

    def clean(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {name: clean(part) for name, part in value.items() if part is not None and name != "_id"}

    found = sample_collection(dataset).find({}, {"last_modified_at": 0}, sort=[("filepath", 1)])
    return [clean(document) for document in found]


@pytest.fixture
def suggested(dataset: fo.Dataset) -> fo.Dataset:
    """Eight samples, of which 0 and 3 are probably mislabelled, and 1 and 6 are hard."""
    fol.suggest_label_fixes(dataset)
    return dataset


def test_the_queue_begins_with_the_strongest_contradiction(suggested: fo.Dataset) -> None:
    assert named(fol.review_queue(suggested)) == [0, 3]
    assert named(fol.review_queue(suggested, "hard")) == [1, 6]
    assert named(fol.review_queue(suggested.match(F("ground_truth.label") == "dog"))) == [3]
    assert not suggested.has_field(DECISION)


def test_accepted_labels_go_into_a_copy(suggested: fo.Dataset) -> None:
    assert fol.decide_labels(pick(suggested, 0), "accepted") == 1
    assert values(suggested, "ground_truth.label") == LABELS
    assert values(suggested, "ground_truth_fixed.label") == ["dog", *LABELS[1:]]
    assert named(fol.review_queue(suggested)) == [3]
    decision = suggested.sort_by("filepath").first()[DECISION]
    assert (decision.label, decision.given, decision.suggested) == ("accepted", "cat", "dog")
    assert (decision.into, decision.replaced.label) == ("ground_truth_fixed", "cat")
    # the same as the call for many samples
    assert fol.apply_label_fixes(pick(suggested, 0)) == ("ground_truth_fixed", 0)
    assert fol.decide_labels(suggested, "accepted") == 3
    assert fol.apply_label_fixes(suggested) == ("ground_truth_fixed", 0)
    assert named(fol.review_queue(suggested)) == []


def test_accepted_labels_go_where_the_curator_said(suggested: fo.Dataset) -> None:
    assert fol.start_label_review(suggested, in_place=True) == "ground_truth"
    before = documents(suggested)
    # also in another process, which has loaded the dataset anew
    suggested.reload()
    fol.decide_labels(pick(suggested, 0, 3), "accepted")
    assert values(suggested, "ground_truth.label") == ["dog", "cat", "cat", "cat", *LABELS[4:]]
    assert values(suggested, "ground_truth_original.label") == ["cat", None, None, "dog", *[None] * 4]
    assert not suggested.has_field("ground_truth_fixed")
    assert sorted(named(suggested.select(fol.undo_decisions(suggested)))) == [0, 3]
    assert documents(suggested) == before
    assert fol.start_label_review(suggested, "mine") == "mine"
    fol.decide_labels(pick(suggested, 3), "accepted")
    assert values(suggested, "mine.label") == [*LABELS[:3], "cat", *LABELS[4:]]
    # if the copy is gone, the default is made
    suggested.delete_sample_field("mine")
    fol.decide_labels(pick(suggested, 3), "accepted")
    assert values(suggested, "ground_truth_fixed.label")[3] == "cat"


def test_a_kept_label_is_never_asked_about_again(suggested: fo.Dataset) -> None:
    assert fol.decide_labels(pick(suggested, 0), "kept") == 1
    assert named(fol.review_queue(suggested)) == [3]
    assert values(suggested, "ground_truth.label") == LABELS
    assert not suggested.has_field("ground_truth_fixed")
    fol.suggest_label_fixes(suggested, overwrite=True)
    assert named(fol.review_queue(suggested)) == [3]
    fol.delete_run(suggested, "label_fixes")
    assert values(suggested, f"{DECISION}.label")[0] == "kept"
    fol.suggest_label_fixes(suggested)
    assert named(fol.review_queue(suggested)) == [3]


def test_another_suggestion_is_another_question(suggested: fo.Dataset) -> None:
    fol.decide_labels(pick(suggested, 0, 3), "kept")
    other = [list(row) for row in P]
    other[0] = [0.0625, 0.0625, 0.875]
    write(suggested, "one", other, overwrite=True)
    fol.suggest_label_fixes(suggested, overwrite=True)
    assert [named(fol.review_queue(suggested)), values(suggested, "learnability_suggestion.label")[0]] == [[0], "owl"]
    # and so is another label
    third = pick(suggested, 3).first()
    third["ground_truth"].label = "owl"
    third.save()
    assert sorted(named(fol.review_queue(suggested))) == [0, 3]


def test_skipped_suggestions_come_last(suggested: fo.Dataset) -> None:
    fol.suggest_label_fixes(suggested, threshold=0.51, overwrite=True)
    queue = named(fol.review_queue(suggested))
    assert len(queue) == 4
    for _ in range(5):
        fol.decide_labels(fol.review_queue(suggested)[:1], "skipped")
        queue = [*queue[1:], queue[0]]
        assert named(fol.review_queue(suggested)) == queue
    fol.decide_labels(fol.review_queue(suggested)[:1], "kept")
    assert named(fol.review_queue(suggested)) == queue[1:]


def test_a_decision_stands_until_it_is_taken_back(suggested: fo.Dataset) -> None:
    fol.decide_labels(pick(suggested, 0), "kept")
    fol.decide_labels(pick(suggested, 3), "accepted")
    for decision in ("accepted", "kept", "skipped"):
        assert fol.decide_labels(pick(suggested, 0, 3), decision) == 0
    # samples without a suggestion, and one without a label
    assert fol.decide_labels(pick(suggested, 2, 7), "kept") == 0
    assert values(suggested, f"{DECISION}.label") == ["kept", None, None, "accepted", *[None] * 4]


def test_undo_takes_back_the_last_decisions(suggested: fo.Dataset) -> None:
    assert fol.undo_decisions(suggested) == []
    fol.start_label_review(suggested)
    states = [documents(suggested)]
    for number, decision in ((0, "accepted"), (3, "kept"), (1, "skipped"), (6, "accepted")):
        fol.decide_labels(pick(suggested, number), decision)
        states.append(documents(suggested))
    states.pop()
    for number in (6, 1):
        assert named(suggested.select(fol.undo_decisions(suggested))) == [number]
        assert documents(suggested) == states.pop()
    assert sorted(named(suggested.select(fol.undo_decisions(suggested, 9)))) == [0, 3]
    assert documents(suggested) == states[0]
    assert fol.undo_decisions(suggested) == []


def test_undo_leaves_labels_that_were_changed_since(suggested: fo.Dataset) -> None:
    fol.decide_labels(pick(suggested, 0), "accepted")
    first = pick(suggested, 0).first()
    first["ground_truth_fixed"] = fo.Classification(label="owl")
    first.save()
    fol.undo_decisions(suggested)
    assert values(suggested, "ground_truth_fixed.label")[0] == "owl"
    assert values(suggested, DECISION) == [None] * 8
    # nor is a copy brought back that was deleted
    fol.decide_labels(pick(suggested, 0), "accepted")
    suggested.delete_sample_field("ground_truth_fixed")
    fol.undo_decisions(suggested)
    assert "ground_truth_fixed" not in documents(suggested)[0]


def test_the_first_label_survives_several_corrections(suggested: fo.Dataset) -> None:
    fol.start_label_review(suggested, in_place=True)
    fol.decide_labels(pick(suggested, 0), "accepted")
    other = [list(row) for row in P]
    other[0] = [0.0625, 0.0625, 0.875]
    write(suggested, "one", other, overwrite=True)
    fol.suggest_label_fixes(suggested, overwrite=True)
    fol.decide_labels(pick(suggested, 0), "accepted")
    labels = ("ground_truth.label", "ground_truth_original.label")
    assert [values(suggested, path)[0] for path in labels] == ["owl", "cat"]
    fol.undo_decisions(suggested)
    assert [values(suggested, path)[0] for path in labels] == ["dog", "cat"]


def test_labels_that_are_plain_values(scalars: tuple[fo.Dataset, list[Any]]) -> None:
    dataset, labels = scalars
    fol.suggest_label_fixes(dataset)
    assert fol.decide_labels(dataset, "accepted") == 1
    assert values(dataset, "target_fixed") == [labels[2], *labels[1:]]
    assert len(fol.review_queue(dataset)) == 0
    fol.undo_decisions(dataset)
    assert values(dataset, "target_fixed") == labels
    fol.start_label_review(dataset, in_place=True)
    fol.decide_labels(dataset, "accepted")
    assert values(dataset, "target") == [labels[2], *labels[1:]]
    assert values(dataset, "target_original") == [labels[0], *[None] * 5]
    fol.undo_decisions(dataset)
    assert values(dataset, "target") == labels
    assert fol.decide_labels(dataset, "kept") == 1
    assert len(fol.review_queue(dataset)) == 0


def test_labels_inside_documents(embedded: tuple[fo.Dataset, str]) -> None:
    dataset, path = embedded
    before, given = others(dataset), labels_at(dataset, path)
    assert fol.start_label_review(dataset) == f"{path}_fixed"
    fol.decide_labels(dataset, "accepted")
    assert labels_at(dataset, f"{path}_fixed") == FIXED
    assert labels_at(dataset, path) == given
    assert others(dataset, f"{path}_fixed", DECISION) == before
    fol.undo_decisions(dataset)
    assert labels_at(dataset, f"{path}_fixed") == given
    assert fol.start_label_review(dataset, in_place=True) == path
    fol.decide_labels(dataset, "accepted")
    assert labels_at(dataset, path) == FIXED
    assert [value for value in labels_at(dataset, f"{path}_original") if value] == ["cat", "dog"]
    assert len(list(dataset)) == len(FIXED)
    fol.undo_decisions(dataset)
    assert others(dataset, f"{path}_fixed", f"{path}_original", DECISION) == before


def test_suggestions_that_changed_meanwhile_are_not_decided(
    suggested: fo.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    fol.start_label_review(suggested)

    def read_then_change(samples: Any, label_field: str) -> Any:
        suggestions = read_suggestions(samples, label_field)
        sample = pick(suggested, 0).first()
        sample["ground_truth"] = fo.Classification(label="owl")
        sample.save()
        return suggestions

    monkeypatch.setattr("fiftyone_learnability.review.read_suggestions", read_then_change)
    assert fol.decide_labels(pick(suggested, 0, 3), "accepted") == 1
    assert values(suggested, f"{DECISION}.label") == [None, None, None, "accepted", *[None] * 4]
    assert values(suggested, "ground_truth_fixed.label") == [*LABELS[:3], "cat", *LABELS[4:]]


def test_what_cannot_be_reviewed(dataset: fo.Dataset) -> None:
    for call in (fol.start_label_review, fol.review_queue, lambda it: fol.decide_labels(it, "kept")):
        with pytest.raises(ValueError, match="no suggested labels yet"):
            call(dataset)
    fol.suggest_label_fixes(dataset)
    with pytest.raises(ValueError, match="decision must be 'accepted', 'kept' or 'skipped', not 'wrong'"):
        fol.decide_labels(dataset, "wrong")
    with pytest.raises(ValueError, match="verdict must be 'mislabelled' or 'hard', not 'learned'"):
        fol.review_queue(dataset, "learned")
    with pytest.raises(ValueError, match="count"):
        fol.undo_decisions(dataset, 0)
    with pytest.raises(ValueError, match="into: 'learnability_decision' is the field of decisions"):
        fol.start_label_review(dataset, DECISION)
    dataset.add_sample_field(DECISION, fo.StringField)
    before = documents(dataset)
    for decide in (lambda: fol.decide_labels(dataset, "accepted"), lambda: fol.start_label_review(dataset)):
        with pytest.raises(ValueError, match="'learnability_decision' exists and holds no decisions of this package"):
            decide()
    assert documents(dataset) == before
    assert not dataset.has_field("ground_truth_fixed")
    assert fol.undo_decisions(dataset) == []
