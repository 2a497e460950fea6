"""The review of suggestions one by one: what is asked, what the buttons write, and what is asked next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import fiftyone as fo
import pytest

import fiftyone_learnability as fol

from ..harness import Answer, PanelHarness, execute, plugin_module
from ..made_up import add_samples, write_contradicted_scores
from ..review_case import ReviewCase

DECISION = "learnability_decision"


def start(reviewed: ReviewCase, **params: Any) -> PanelHarness:
    """Open the panel and begin the review."""
    panel = PanelHarness(reviewed.dataset)
    panel.open()
    panel.tab("labels")
    (prompt,) = panel.event("on_review", review="mislabelled").called("prompt_user_for_operation")
    assert prompt["operator_uri"].endswith("/review_label_fixes")
    execute("review_label_fixes", reviewed.dataset, params)
    panel.event(prompt["on_success"].rpartition("#")[2])
    return panel


def asked(panel: PanelHarness) -> str:
    """The id of the sample that the panel asks about."""
    params = {name: params_of(panel, name) for name in ("accepted", "kept", "skipped")}
    assert {name: one["decision"] for name, one in params.items()} == {name: name for name in params}
    (id,) = {one["id"] for one in params.values()}
    return str(id)


def params_of(panel: PanelHarness, name: str) -> dict[str, Any]:
    params: dict[str, Any] = panel.layout[name]["view"]["params"]
    return params


def answer(panel: PanelHarness, decision: str) -> Answer:
    """Press one of the buttons."""
    return panel.event("on_decide", **params_of(panel, decision))


def progress(panel: PanelHarness) -> str:
    return str(panel.layout["review_progress"]["default"])


def labels(reviewed: ReviewCase, field: str) -> dict[str, Any]:
    dataset = reviewed.dataset
    return dict(zip(dataset.values("id"), dataset.values(field), strict=True))


def test_each_suggestion_is_asked_about_once(reviewed: ReviewCase) -> None:
    panel = start(reviewed)
    wrong = reviewed.with_verdict("mislabelled")
    for number, index in enumerate(wrong):
        assert asked(panel) == reviewed.ids[index]
        assert progress(panel).startswith(f"**{number} of {len(wrong)}** decided")
        given, suggested = reviewed.labels[index], reviewed.suggested[index]
        assert panel.layout["accepted"]["view"]["label"] == f"Accept {suggested}"
        assert panel.layout["kept"]["view"]["label"] == f"Keep {given}"
        text = panel.layout["both_labels"]["default"]
        assert f"Given label: **{given}**" in text
        assert f"Suggested label: **{suggested}**" in text
        assert f"Contradiction {reviewed.contradiction[index]:.2f}" in text
        assert panel.layout["picture"]["view"]["alt"]
        done = answer(panel, "accepted" if number % 2 else "kept")
        # the grid stays as it is
        assert not done.called("set_view")
        assert not done.called("reload_dataset")
    assert f"All **{len(wrong)}** suggestions in this view are decided" in panel.layout["review_done"]["default"]
    assert "suggestion" not in panel.layout
    fixed, kept = labels(reviewed, "ground_truth_fixed.label"), labels(reviewed, f"{DECISION}.label")
    for number, index in enumerate(wrong):
        id = reviewed.ids[index]
        assert kept[id] == ("accepted" if number % 2 else "kept")
        assert fixed[id] == (reviewed.suggested[index] if number % 2 else reviewed.labels[index])
    assert reviewed.dataset.values("ground_truth.label") == reviewed.labels
    # the overview counts what became of them, and has nothing to change any more
    shown = panel.event("on_review", review="overview")
    half = len(wrong) // 2
    assert (
        f"({half} of them have the suggested label now, {len(wrong) - half} were kept)"
        in (shown.layout["about_labels"]["default"])
    )
    assert "changes" not in panel.data
    # decisions can still be taken back
    panel.event("on_review", review="mislabelled")
    panel.event("on_undo")
    assert asked(panel) == reviewed.ids[wrong[-1]]


def test_a_reload_goes_on_where_the_curator_was(reviewed: ReviewCase) -> None:
    panel = start(reviewed)
    for decision in ("accepted", "skipped", "kept"):
        answer(panel, decision)
    before = asked(panel), progress(panel)
    again = PanelHarness(reviewed.dataset)
    again.open()
    again.tab("labels")
    # nothing is asked again
    assert not again.event("on_review", review="mislabelled").called("prompt_user_for_operation")
    assert (asked(again), progress(again)) == before
    fol.suggest_label_fixes(reviewed.dataset, overwrite=True)
    again.event("on_written")
    assert (asked(again), progress(again)) == before


def test_skipped_suggestions_come_back_at_the_end(reviewed: ReviewCase) -> None:
    panel = start(reviewed)
    wrong = reviewed.with_verdict("mislabelled")
    for _ in wrong:
        answer(panel, "skipped")
    assert f"**0 of {len(wrong)}** decided" in progress(panel)
    assert f"{len(wrong)} skipped for later" in progress(panel)
    assert asked(panel) == reviewed.ids[wrong[0]]
    answer(panel, "kept")
    assert asked(panel) == reviewed.ids[wrong[1]]


def test_undo_asks_again(reviewed: ReviewCase) -> None:
    panel = start(reviewed)
    before = labels(reviewed, "ground_truth_fixed.label")
    ids = []
    for decision in ("accepted", "kept", "skipped"):
        ids.append(asked(panel))
        answer(panel, decision)
    for id in reversed(ids):
        panel.event("on_undo")
        assert asked(panel) == id
    assert labels(reviewed, "ground_truth_fixed.label") == before
    assert set(labels(reviewed, DECISION).values()) == {None}
    said = panel.event("on_undo").called("notify")
    assert "nothing to take back" in said[0]["message"]
    # a decision about the other kind of suggestions is asked about among those
    panel.event("on_review", review="hard")
    id = asked(panel)
    answer(panel, "kept")
    panel.event("on_review", review="mislabelled")
    panel.event("on_undo")
    assert asked(panel) == id == reviewed.ids[reviewed.with_verdict("hard")[0]]


def test_a_second_click_decides_nothing(reviewed: ReviewCase) -> None:
    panel = start(reviewed)
    params = params_of(panel, "accepted")
    panel.event("on_decide", **params)
    following = asked(panel)
    for decision in ("accepted", "kept", "skipped"):
        panel.event("on_decide", **{**params, "decision": decision})
    assert asked(panel) == following
    decided = labels(reviewed, f"{DECISION}.label")
    assert [label for label in decided.values() if label] == ["accepted"]
    for bad in ({}, {"id": 7}, {"id": following}, {"id": following, "decision": "wrong"}, {"id": reviewed.ids[0]}):
        panel.event("on_decide", **bad)
    assert labels(reviewed, f"{DECISION}.label") == decided
    for bad_review in (None, 3, "learned"):
        panel.event("on_review", review=bad_review)


def test_accepted_labels_go_where_the_form_said(reviewed: ReviewCase) -> None:
    panel = start(reviewed, in_place=True)
    id = asked(panel)
    assert "`ground_truth`" in panel.layout["about_target"]["default"]
    answer(panel, "accepted")
    index = reviewed.ids.index(id)
    assert labels(reviewed, "ground_truth.label")[id] == reviewed.suggested[index]
    assert labels(reviewed, "ground_truth_original.label")[id] == reviewed.labels[index]
    (prompt,) = panel.event("on_change_target").called("prompt_user_for_operation")
    execute("review_label_fixes", reviewed.dataset, {"into": "mine"})
    panel.event(prompt["on_success"].rpartition("#")[2])
    assert "`mine`" in panel.layout["about_target"]["default"]
    id = asked(panel)
    answer(panel, "accepted")
    assert labels(reviewed, "mine.label")[id] == reviewed.suggested[reviewed.ids.index(id)]
    # if the copy is gone, the panel shows the overview, and asks again
    reviewed.dataset.delete_sample_field("mine")
    panel.event("on_change_view")
    assert "review" in panel.layout
    assert panel.event("on_review", review="mislabelled").called("prompt_user_for_operation")


def test_a_decision_reads_no_scores_again(reviewed: ReviewCase, monkeypatch: pytest.MonkeyPatch) -> None:
    panel = start(reviewed)
    table = plugin_module("panel.table")
    with monkeypatch.context() as patch:
        read_columns_of = table.read_columns_of
        patch.setattr(table, "read_columns", lambda *_: pytest.fail("read again"))
        patch.setattr(
            table,
            "read_columns_of",
            lambda samples, ids, fields, path: (
                pytest.fail("read again") if fields else read_columns_of(samples, ids, fields, path)
            ),
        )
        for decision in ("accepted", "kept", "skipped"):
            answer(panel, decision)
        panel.event("on_undo")
    # labels that change in place are read
    execute("review_label_fixes", reviewed.dataset, {"in_place": True})
    panel.event("on_change_view")
    id = asked(panel)
    index = reviewed.ids.index(id)
    answer(panel, "accepted")
    shown = table.load_scores(reviewed.dataset, plugin_module("panel.scope").Scope.of([]))
    row = shown.ids.tolist().index(bytes.fromhex(id))
    assert shown.classes[shown.labels[row]] == reviewed.suggested[index]


def test_accepted_samples_are_deselected(reviewed: ReviewCase) -> None:
    panel = start(reviewed)
    first, *_ = (reviewed.ids[index] for index in reviewed.with_verdict("mislabelled"))
    other = reviewed.ids[reviewed.with_verdict("learned")[0]]
    panel.select(first, other)
    (call,) = answer(panel, "accepted").called("set_selected_samples")
    assert [sample["id"] for sample in call["samples"]] == [other]
    panel.select(other)
    assert not answer(panel, "accepted").called("set_selected_samples")


def test_only_the_samples_in_view_are_asked_about(reviewed: ReviewCase) -> None:
    panel = start(reviewed)
    ants = [index for index in reviewed.with_verdict("mislabelled") if reviewed.labels[index] == "ant"]
    panel.show(reviewed.dataset.match(fo.ViewField("ground_truth.label") == "ant"))
    for index in ants:
        assert asked(panel) == reviewed.ids[index]
        answer(panel, "kept")
    assert "in this view are decided" in panel.layout["review_done"]["default"]
    panel.show(None)
    assert "review_done" not in panel.layout
    # an answer about a sample that the view leaves out
    panel.show(reviewed.dataset.limit(1))
    panel.event("on_undo")
    panel.show(reviewed.dataset.exclude(reviewed.ids[ants[-1]]))


def test_kept_labels_leave_the_picture_of_changes(reviewed: ReviewCase) -> None:
    panel = start(reviewed)
    wrong = reviewed.with_verdict("mislabelled")
    for _ in range(4):
        answer(panel, "kept")
    panel.event("on_review", review="overview")
    heat, _ = panel.data["changes"]
    assert sum(count or 0 for line in heat["z"] for count in line) == len(wrong) - 4
    for row, old in enumerate(heat["y"]):
        for column, new in enumerate(heat["x"]):
            if heat["z"][row][column]:
                panel.event("on_change_of_label", idx=[row, column])
                pairs = [i for i in wrong[4:] if (reviewed.labels[i], reviewed.suggested[i]) == (old, new)]
                assert panel.ids == [reviewed.ids[index] for index in pairs]


def test_the_learning_curve_and_the_next_images_stand_beside(make_dataset: Callable[..., fo.Dataset]) -> None:
    dataset = make_dataset([], [])
    ids = add_samples(dataset, ["cat", "dog"] * 60)
    write_contradicted_scores(dataset, ["resnet20", "vgg16"])
    fol.suggest_label_fixes(dataset)
    case = ReviewCase(dataset, ids, ["cat", "dog"] * 60, [], [])  # type: ignore[arg-type]
    panel = start(case)
    (first, second) = panel.data["suggestion_curve"]
    archive = fol.load_results(dataset, "learnability")["resnet20"]
    column = archive.ids.tolist().index(asked(panel))
    assert first["y"] == pytest.approx(archive.dynamics[:, column], abs=1e-3)
    assert (first["name"], second["name"]) == ("ResNet-20", "VGG-16")
    pictures = [panel.layout[f"next_{index}"]["type"]["properties"]["picture"]["default"] for index in range(8)]
    for picture in pictures[:3]:
        answer(panel, "kept")
        assert panel.layout["suggested_image"]["type"]["properties"]["picture"]["default"] == picture
