"""The panel's tab "Labels": what it counts and draws, and which samples its buttons and cells show."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import fiftyone as fo
import fiftyone.core.collections as foc
import numpy as np
import pytest

import fiftyone_learnability as fol

from ..harness import Answer, PanelHarness, execute, form
from ..made_up import write_scores
from ..review_case import ReviewCase

MakeDataset = Callable[..., fo.Dataset]


def open_labels(predicted: ReviewCase, **options: Any) -> tuple[PanelHarness, Answer]:
    panel = PanelHarness(predicted.dataset, **options)
    panel.open()
    return panel, panel.tab("labels")


def test_without_suggestions_there_is_a_button(predicted: ReviewCase) -> None:
    panel, answer = open_labels(predicted)
    assert not answer.drawn
    assert "contradicts" in answer.layout["about_labels"]["default"]
    assert answer.layout["suggest"]["view"]["label"] == "Suggest label fixes"
    (prompt,) = panel.event("on_suggest").called("prompt_user_for_operation")
    assert prompt["operator_uri"].endswith("/suggest_label_fixes")
    # events of controls that are no longer shown
    for method in ("on_mislabelled", "on_hard", "on_change_of_label"):
        assert not panel.event(method, idx=[0, 0]).called("set_view")
    execute("suggest_label_fixes", predicted.dataset)
    answer = panel.event(prompt["on_success"].rpartition("#")[2])
    assert answer.drawn == ["changes"]
    assert "show_mislabelled" in answer.layout["label_actions"]["type"]["properties"]


def test_it_counts_labels_and_names_the_networks(reviewed: ReviewCase) -> None:
    _, answer = open_labels(reviewed)
    text = answer.layout["about_labels"]["default"]
    assert f"**{len(reviewed.with_verdict('mislabelled'))}** probably mislabelled" in text
    assert f"**{len(reviewed.with_verdict('hard'))}** hard but plausible" in text
    assert "ResNet-20 and VGG-16" in text
    assert "settled on one other class" in text
    assert "at least 3 times the probability" in text
    fol.suggest_label_fixes(reviewed.dataset, ["vgg16"], threshold=0.8, overwrite=True)
    _, answer = open_labels(reviewed)
    text = answer.layout["about_labels"]["default"]
    assert "VGG-16" in text
    assert "ResNet-20" not in text
    assert "at least 4 times" in text


@pytest.mark.parametrize(("method", "verdict"), [("on_mislabelled", "mislabelled"), ("on_hard", "hard")])
def test_a_button_shows_its_samples_with_both_labels(reviewed: ReviewCase, method: str, verdict: str) -> None:
    panel, _ = open_labels(reviewed)
    answer = panel.event(method)
    assert panel.ids == [reviewed.ids[index] for index in reviewed.with_verdict(verdict)]
    assert f"Showing **{len(panel.ids)}** of {len(reviewed.ids)}: " in panel.layout["about_shown"]["default"]
    (call,) = answer.called("set_active_fields")
    assert call["fields"] == ["ground_truth", "learnability_suggestion", "learnability_verdict"]
    # the panel still covers all samples
    assert not panel.event("on_change_view").drawn


def test_fields_that_the_grid_shows_stay(reviewed: ReviewCase) -> None:
    panel, _ = open_labels(reviewed)
    panel.active_fields = ["tags", "learnability_suggestion"]
    (call,) = panel.event("on_hard").called("set_active_fields")
    assert call["fields"] == ["tags", "learnability_suggestion", "ground_truth", "learnability_verdict"]
    panel.active_fields = call["fields"]
    assert not panel.event("on_hard").called("set_active_fields")


def test_a_cell_shows_exactly_its_samples(reviewed: ReviewCase) -> None:
    panel, _ = open_labels(reviewed)
    heat, _ = panel.data["changes"]
    wrong = reviewed.with_verdict("mislabelled")
    changes = Counter((reviewed.labels[index], reviewed.suggested[index]) for index in wrong)
    assert heat["y"] == sorted({old for old, _ in changes}, key=str)
    assert heat["x"] == sorted({new for _, new in changes})
    for row, old in enumerate(heat["y"]):
        for column, new in enumerate(heat["x"]):
            assert heat["z"][row][column] == (changes[old, new] or None)
            if changes[old, new]:
                panel.event("on_change_of_label", idx=[row, column])
                expected = [i for i in wrong if (reviewed.labels[i], reviewed.suggested[i]) == (old, new)]
                assert panel.ids == [reviewed.ids[index] for index in expected]
                assert f"Showing **{len(expected)}** of" in panel.layout["about_shown"]["default"]
                assert panel.active_fields == ["ground_truth", "learnability_suggestion", "learnability_verdict"]
    assert sum(changes.values()) == len(wrong)
    for idx in ([9, 0], [0, 9], None, 3):
        assert not panel.event("on_change_of_label", idx=idx).called("set_view")


def test_it_follows_the_view_and_the_sidebar(reviewed: ReviewCase) -> None:
    panel, _ = open_labels(reviewed)
    ants = [index for index in reviewed.with_verdict("mislabelled") if reviewed.labels[index] == "ant"]
    answer = panel.show(reviewed.dataset.match(fo.ViewField("ground_truth.label") == "ant"))
    assert answer.drawn == ["changes"]
    assert f"**{len(ants)}** probably mislabelled" in answer.layout["about_labels"]["default"]
    assert panel.data["changes"][0]["y"] == ["ant"]
    panel.event("on_mislabelled")
    assert panel.ids == [reviewed.ids[index] for index in ants]
    panel.show(None)
    panel.filters = {"ground_truth.label": {"values": ["bee"], "exclude": False, "isMatching": True}}
    bees = [index for index in reviewed.with_verdict("hard") if reviewed.labels[index] == "bee"]
    answer = panel.event("on_change_view")
    assert f"**{len(bees)}** hard but plausible" in answer.layout["about_labels"]["default"]


def test_only_the_most_frequent_of_many_classes_are_drawn(make_dataset: MakeDataset) -> None:
    classes = [f"class {index:02}" for index in range(40)]
    labels = [*classes, *classes[:10]]
    dataset = make_dataset([f"/no/{index}.png" for index in range(50)], labels)
    # the networks predict the next class for every sample
    predictions = np.zeros((50, 40), np.float32)
    predictions[np.arange(50), [(classes.index(label) + 1) % 40 for label in labels]] = 1
    write_scores(dataset, {"resnet20": np.linspace(0, 1, 50)}, predictions={"resnet20": predictions}, classes=classes)
    fol.suggest_label_fixes(dataset)
    panel = PanelHarness(dataset)
    panel.open()
    answer = panel.tab("labels")
    heat, _ = panel.data["changes"]
    assert len(heat["x"]) == len(heat["y"]) == 30
    assert set(classes[:10]) <= set(heat["y"])
    drawn = sum(count or 0 for line in heat["z"] for count in line)
    assert f"{50 - drawn} samples in less frequent classes" in answer.layout["about_changes"]["default"]
    assert drawn >= 20


def test_accepting_needs_a_selection(reviewed: ReviewCase) -> None:
    panel, _ = open_labels(reviewed)
    answer = panel.event("on_accept")
    assert not answer.called("prompt_user_for_operation")
    assert "Select samples" in answer.called("notify")[0]["message"]
    panel.select(*reviewed.ids[:3])
    (prompt,) = panel.event("on_accept").called("prompt_user_for_operation")
    assert prompt["operator_uri"].endswith("/apply_label_fixes")
    assert prompt["params"] == {"view_target": "SELECTED_SAMPLES"}


def test_accepted_labels_are_no_longer_to_be_changed(reviewed: ReviewCase) -> None:
    panel, _ = open_labels(reviewed)
    wrong = reviewed.with_verdict("mislabelled")
    chosen = [reviewed.ids[index] for index in wrong[:4]]
    execute("apply_label_fixes", reviewed.dataset, {"in_place": True}, selected=chosen, view_target="SELECTED_SAMPLES")
    answer = panel.event("on_written")
    assert answer.drawn == ["changes"]
    assert "4 of them have the suggested label now" in answer.layout["about_labels"]["default"]
    left = sum(count or 0 for line in panel.data["changes"][0]["z"] for count in line)
    assert left == len(wrong) - 4


def test_labels_accepted_in_a_copy_are_no_longer_to_be_changed(reviewed: ReviewCase) -> None:
    panel, _ = open_labels(reviewed)
    wrong = reviewed.with_verdict("mislabelled")
    reviewed.accept(wrong[:4])
    answer = panel.event("on_written")
    assert answer.drawn == ["changes"]
    text = answer.layout["about_labels"]["default"]
    assert f"**{len(wrong)}** probably mislabelled (4 of them have the suggested label now)" in text
    # a suggestion counts once, whether it was accepted in one copy, in several, or in the labels themselves
    reviewed.accept(wrong[3:6], into="mine")
    reviewed.accept(wrong[5:7], in_place=True)
    answer = panel.event("on_written")
    assert "(7 of them have" in answer.layout["about_labels"]["default"]
    heat, _ = panel.data["changes"]
    changes = Counter((reviewed.labels[index], reviewed.suggested[index]) for index in wrong[7:])
    for row, old in enumerate(heat["y"]):
        for column, new in enumerate(heat["x"]):
            assert heat["z"][row][column] == (changes[old, new] or None)
            expected = [i for i in wrong[7:] if (reviewed.labels[i], reviewed.suggested[i]) == (old, new)]
            answer = panel.event("on_change_of_label", idx=[row, column])
            assert bool(answer.called("set_view")) == bool(expected)
            if expected:
                assert panel.ids == [reviewed.ids[index] for index in expected]
    assert sum(changes.values()) == len(wrong) - 7
    # the button still shows all of them
    panel.event("on_mislabelled")
    assert panel.ids == [reviewed.ids[index] for index in wrong]
    # deleting the copies takes back what was accepted only there
    reviewed.dataset.delete_sample_fields(["ground_truth_fixed", "mine"])
    answer = panel.event("on_change_view")
    assert "(2 of them have" in answer.layout["about_labels"]["default"]


def test_only_copies_of_the_labels_count_as_accepted(reviewed: ReviewCase) -> None:
    wrong = reviewed.with_verdict("mislabelled")
    # a field that is no copy, with all the suggested labels
    reviewed.dataset.add_sample_field("theirs", fo.EmbeddedDocumentField, embedded_doc_type=fo.Classification)
    reviewed.dataset.set_values("theirs", [fo.Classification(label=label) for label in reviewed.suggested])
    # a copy in which the other samples keep their given labels
    reviewed.accept(reviewed.with_verdict("hard")[:1])
    panel, answer = open_labels(reviewed)
    assert "label now" not in answer.layout["about_labels"]["default"]
    assert sum(count or 0 for line in panel.data["changes"][0]["z"] for count in line) == len(wrong)


def test_when_all_are_accepted_there_is_no_picture(reviewed: ReviewCase) -> None:
    panel, _ = open_labels(reviewed)
    wrong = reviewed.with_verdict("mislabelled")
    reviewed.accept(wrong)
    answer = panel.event("on_written")
    assert "changes" not in answer.layout
    assert f"({len(wrong)} of them have" in answer.layout["about_labels"]["default"]
    assert not panel.event("on_change_of_label", idx=[0, 0]).called("set_view")


def test_after_deleting_the_run_the_button_returns(reviewed: ReviewCase) -> None:
    panel, _ = open_labels(reviewed)
    fol.delete_run(reviewed.dataset, "label_fixes")
    answer = panel.event("on_change_view")
    assert answer.layout["suggest"]["view"]["label"] == "Suggest label fixes"
    assert "label_actions" not in answer.layout


def test_the_review_of_integer_labels(make_dataset: MakeDataset) -> None:
    dataset = make_dataset([f"/no/{index}.png" for index in range(12)], ["x"] * 12)
    dataset.add_sample_field("digit", fo.IntField)
    dataset.set_values("digit", [index % 2 for index in range(12)])
    # the networks predict the other class for the last four
    right = np.eye(2, dtype=np.float32)[[(index + (index >= 8)) % 2 for index in range(12)]]
    write_scores(
        dataset,
        {"resnet20": np.linspace(0, 1, 12)},
        predictions={"resnet20": right},
        classes=("0", "1"),
        label_field="digit",
    )
    fol.suggest_label_fixes(dataset)
    panel = PanelHarness(dataset)
    panel.open()
    panel.tab("labels")
    heat, _ = panel.data["changes"]
    assert (heat["x"], heat["y"], heat["z"]) == (["0", "1"], ["0", "1"], [[None, 2], [2, None]])
    panel.event("on_change_of_label", idx=[1, 0])
    assert panel.view.values("digit") == [1, 1]
    chosen = {"selected": panel.ids, "view_target": "SELECTED_SAMPLES"}
    assert "**2** of 2" in form("apply_label_fixes", dataset, **chosen).defaults["consequences"]
    assert execute("apply_label_fixes", dataset, **chosen).result == {"field": "digit_fixed", "changed": 2}
    answer = panel.event("on_written")
    assert "(2 of them have" in answer.layout["about_labels"]["default"]
    heat, _ = panel.data["changes"]
    assert (heat["x"], heat["y"], heat["z"]) == (["1"], ["0"], [[2]])
    # accept one sample of the cell: the copy holds integers, the suggestion is a string
    panel.event("on_change_of_label", idx=[0, 0])
    first, other = panel.ids
    execute("apply_label_fixes", dataset, selected=[first], view_target="SELECTED_SAMPLES")
    panel.event("on_written")
    assert panel.data["changes"][0]["z"] == [[1]]
    panel.event("on_change_of_label", idx=[0, 0])
    assert panel.ids == [other]


def test_the_review_is_remembered(reviewed: ReviewCase, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of the grid asks for it several times."""
    panel, _ = open_labels(reviewed)
    monkeypatch.setattr(foc.SampleCollection, "values", lambda *_: pytest.fail("read again"))
    panel.event("on_change_view")
    panel.event("on_mislabelled")
    with pytest.raises(pytest.fail.Exception, match="read again"):
        panel.show(reviewed.dataset.limit(3))


def test_without_the_label_field_the_tab_still_shows_the_samples(reviewed: ReviewCase) -> None:
    reviewed.dataset.delete_sample_field("ground_truth")
    panel, answer = open_labels(reviewed)
    assert not answer.drawn
    answer = panel.event("on_mislabelled")
    assert answer.called("set_active_fields")[0]["fields"] == ["learnability_suggestion", "learnability_verdict"]
    json.dumps(answer.calls, allow_nan=False)
