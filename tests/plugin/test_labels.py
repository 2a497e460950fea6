"""Label review: the tab, what its buttons show in the grid, and the operators that suggest and apply labels."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import fiftyone as fo
import numpy as np
import pytest
from numpy.typing import NDArray

import fiftyone_learnability as fol
from fiftyone_learnability.scores.label_errors import SMOOTHING

from .harness import Answer, PanelHarness, execute, form, plugin_module, through_browser
from .made_up import write_scores

COUNT = 120
CLASSES = ("ant", "bee", "$cow")
FIELDS = ["learnability_suggestion", "learnability_contradiction", "learnability_verdict"]
MakeDataset = Callable[..., fo.Dataset]


@dataclass
class Case:
    """A dataset of two networks with predictions, and what has to be said of its samples, in their order."""

    dataset: fo.Dataset
    ids: list[str]
    labels: list[str | None]
    contradiction: NDArray[np.float64]
    suggested: list[str]

    def verdict(self, index: int, threshold: float = 0.75) -> str:
        value = self.contradiction[index]
        return "mislabelled" if value >= threshold else "hard" if value > 0.5 else "learned"

    def of(self, verdict: str, threshold: float = 0.75) -> list[int]:
        """The samples of a verdict, most contradicted first."""
        found = [i for i in range(COUNT) if self.labels[i] is not None and self.verdict(i, threshold) == verdict]
        return sorted(found, key=lambda index: -self.contradiction[index])


@pytest.fixture
def case(make_dataset: MakeDataset) -> Case:
    """Some samples have no label; the predictions of the two networks differ."""
    rng = np.random.default_rng(5)
    labels = [None if index % 40 == 7 else CLASSES[index % 3] for index in range(COUNT)]
    dataset = make_dataset([f"/no/{index}.png" for index in range(COUNT)], labels)
    predictions = {
        model: rng.dirichlet([0.4, 0.4, 0.4], COUNT).astype(np.float16).astype(np.float32)
        for model in ("resnet20", "vgg16")
    }
    scores = {model: rng.random(COUNT) for model in predictions}
    write_scores(dataset, scores, predictions=predictions, classes=CLASSES)
    write_scores(dataset, {"mobilenet": rng.random(COUNT)}, "bare")
    mean = np.mean([values.astype(float) for values in predictions.values()], axis=0)
    given = np.array([0 if label is None else CLASSES.index(label) for label in labels])
    own = mean[np.arange(COUNT), given]
    others = mean.copy()
    others[np.arange(COUNT), given] = -1
    best = others.max(axis=1)
    suggested = [CLASSES[index] for index in others.argmax(axis=1)]
    return Case(dataset, dataset.values("id"), labels, (best + SMOOTHING) / (own + best + 2 * SMOOTHING), suggested)


@pytest.fixture
def reviewed(case: Case) -> Case:
    fol.suggest_label_fixes(case.dataset)
    assert len(case.of("mislabelled")) > 15
    assert len(case.of("hard")) > 5
    return case


def open_labels(case: Case, **options: Any) -> tuple[PanelHarness, Answer]:
    panel = PanelHarness(case.dataset, **options)
    panel.open()
    return panel, panel.tab("labels")


# the tab


def test_without_suggestions_there_is_a_button(case: Case) -> None:
    panel, answer = open_labels(case)
    assert not answer.drawn
    assert "contradicts" in answer.layout["about_labels"]["default"]
    assert answer.layout["suggest"]["view"]["label"] == "Suggest label fixes"
    (prompt,) = panel.event("on_suggest").called("prompt_user_for_operation")
    assert prompt["operator_uri"].endswith("/suggest_label_fixes")
    # stray events of a layout that is gone
    for method in ("on_mislabelled", "on_hard", "on_change_of_label"):
        assert not panel.event(method, idx=[0, 0]).called("set_view")
    execute("suggest_label_fixes", case.dataset)
    answer = panel.event(prompt["on_success"].rpartition("#")[2])
    assert answer.drawn == ["changes"]
    assert "show_mislabelled" in answer.layout["label_actions"]["type"]["properties"]


def test_it_counts_and_says_what_that_rests_on(reviewed: Case) -> None:
    _, answer = open_labels(reviewed)
    text = answer.layout["about_labels"]["default"]
    assert f"**{len(reviewed.of('mislabelled'))}** probably mislabelled" in text
    assert f"**{len(reviewed.of('hard'))}** hard but plausible" in text
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
def test_a_button_shows_its_samples_with_both_labels(reviewed: Case, method: str, verdict: str) -> None:
    panel, _ = open_labels(reviewed)
    answer = panel.event(method)
    assert panel.ids == [reviewed.ids[index] for index in reviewed.of(verdict)]
    (call,) = answer.called("set_active_fields")
    assert call["fields"] == ["ground_truth", "learnability_suggestion", "learnability_verdict"]
    # the panel still speaks of all samples
    assert not panel.event("on_change_view").drawn


def test_what_the_grid_shows_already_stays(reviewed: Case) -> None:
    panel, _ = open_labels(reviewed)
    panel.active_fields = ["tags", "learnability_suggestion"]
    (call,) = panel.event("on_hard").called("set_active_fields")
    assert call["fields"] == ["tags", "learnability_suggestion", "ground_truth", "learnability_verdict"]
    panel.active_fields = call["fields"]
    assert not panel.event("on_hard").called("set_active_fields")


def test_a_cell_shows_exactly_its_samples(reviewed: Case) -> None:
    panel, _ = open_labels(reviewed)
    (heat,) = panel.data["changes"]
    changes = Counter((reviewed.labels[index], reviewed.suggested[index]) for index in reviewed.of("mislabelled"))
    assert heat["y"] == sorted({old for old, _ in changes}, key=str)
    assert heat["x"] == sorted({new for _, new in changes})
    for row, old in enumerate(heat["y"]):
        for column, new in enumerate(heat["x"]):
            assert heat["z"][row][column] == (changes[old, new] or None)
            if changes[old, new]:
                answer = panel.event("on_change_of_label", idx=[row, column])
                expected = [
                    i for i in reviewed.of("mislabelled") if (reviewed.labels[i], reviewed.suggested[i]) == (old, new)
                ]
                assert panel.ids == [reviewed.ids[index] for index in expected]
                assert answer.called("set_active_fields")
    assert sum(changes.values()) == len(reviewed.of("mislabelled"))
    for idx in ([9, 0], [0, 9], None, 3):
        assert not panel.event("on_change_of_label", idx=idx).called("set_view")


def test_it_follows_the_view_and_the_sidebar(reviewed: Case) -> None:
    panel, _ = open_labels(reviewed)
    ants = [index for index in reviewed.of("mislabelled") if reviewed.labels[index] == "ant"]
    answer = panel.show(reviewed.dataset.match(fo.ViewField("ground_truth.label") == "ant"))
    assert answer.drawn == ["changes"]
    assert f"**{len(ants)}** probably mislabelled" in answer.layout["about_labels"]["default"]
    assert panel.data["changes"][0]["y"] == ["ant"]
    panel.event("on_mislabelled")
    assert panel.ids == [reviewed.ids[index] for index in ants]
    panel.show(None)
    panel.filters = {"ground_truth.label": {"values": ["bee"], "exclude": False, "isMatching": True}}
    bees = [index for index in reviewed.of("hard") if reviewed.labels[index] == "bee"]
    answer = panel.event("on_change_view")
    assert f"**{len(bees)}** hard but plausible" in answer.layout["about_labels"]["default"]


def test_of_too_many_classes_the_most_frequent_are_drawn(make_dataset: MakeDataset) -> None:
    classes = [f"class {index:02}" for index in range(40)]
    labels = [*classes, *classes[:10]]
    dataset = make_dataset([f"/no/{index}.png" for index in range(50)], labels)
    # every sample is taken for one of the next class
    predictions = np.zeros((50, 40), np.float32)
    predictions[np.arange(50), [(classes.index(label) + 1) % 40 for label in labels]] = 1
    write_scores(dataset, {"resnet20": np.linspace(0, 1, 50)}, predictions={"resnet20": predictions}, classes=classes)
    fol.suggest_label_fixes(dataset)
    panel = PanelHarness(dataset)
    panel.open()
    answer = panel.tab("labels")
    (heat,) = panel.data["changes"]
    assert len(heat["x"]) == len(heat["y"]) == 30
    assert set(classes[:10]) <= set(heat["y"])
    drawn = sum(count or 0 for line in heat["z"] for count in line)
    assert f"{50 - drawn} in other classes" in answer.layout["about_changes"]["default"]
    assert drawn >= 20


def test_accepting_needs_a_selection(reviewed: Case) -> None:
    panel, _ = open_labels(reviewed)
    answer = panel.event("on_accept")
    assert not answer.called("prompt_user_for_operation")
    assert "Select samples" in answer.called("notify")[0]["message"]
    panel.select(*reviewed.ids[:3])
    (prompt,) = panel.event("on_accept").called("prompt_user_for_operation")
    assert prompt["operator_uri"].endswith("/apply_label_fixes")
    assert prompt["params"] == {"view_target": "SELECTED_SAMPLES"}


def test_accepted_labels_are_no_longer_to_be_changed(reviewed: Case) -> None:
    panel, _ = open_labels(reviewed)
    wrong = reviewed.of("mislabelled")
    chosen = [reviewed.ids[index] for index in wrong[:4]]
    execute("apply_label_fixes", reviewed.dataset, {"in_place": True}, selected=chosen, view_target="SELECTED_SAMPLES")
    answer = panel.event("on_written")
    assert answer.drawn == ["changes"]
    assert "4 of them have the suggested label by now" in answer.layout["about_labels"]["default"]
    left = sum(count or 0 for line in panel.data["changes"][0]["z"] for count in line)
    assert left == len(wrong) - 4


def test_labels_accepted_in_a_copy_are_no_longer_to_be_changed(reviewed: Case) -> None:
    panel, _ = open_labels(reviewed)
    wrong = reviewed.of("mislabelled")
    accept(reviewed, wrong[:4])
    answer = panel.event("on_written")
    assert answer.drawn == ["changes"]
    text = answer.layout["about_labels"]["default"]
    assert f"**{len(wrong)}** probably mislabelled (4 of them have the suggested label by now)" in text
    # each is counted once, in whichever copies it was accepted, and in the labels themselves too
    accept(reviewed, wrong[3:6], into="mine")
    accept(reviewed, wrong[5:7], in_place=True)
    answer = panel.event("on_written")
    assert "(7 of them have" in answer.layout["about_labels"]["default"]
    (heat,) = panel.data["changes"]
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
    # the button shows them all the same
    panel.event("on_mislabelled")
    assert panel.ids == [reviewed.ids[index] for index in wrong]
    # what is accepted only in a copy comes back when that is deleted
    reviewed.dataset.delete_sample_fields(["ground_truth_fixed", "mine"])
    answer = panel.event("on_change_view")
    assert "(2 of them have" in answer.layout["about_labels"]["default"]


def test_only_copies_of_the_labels_count_as_accepted(reviewed: Case) -> None:
    wrong = reviewed.of("mislabelled")
    # somebody else's field, with all the suggested labels
    reviewed.dataset.add_sample_field("theirs", fo.EmbeddedDocumentField, embedded_doc_type=fo.Classification)
    reviewed.dataset.set_values("theirs", [fo.Classification(label=label) for label in reviewed.suggested])
    # a copy that holds the given labels of all others
    accept(reviewed, reviewed.of("hard")[:1])
    panel, answer = open_labels(reviewed)
    assert "by now" not in answer.layout["about_labels"]["default"]
    assert sum(count or 0 for line in panel.data["changes"][0]["z"] for count in line) == len(wrong)


def test_when_all_are_accepted_there_is_no_picture(reviewed: Case) -> None:
    panel, _ = open_labels(reviewed)
    wrong = reviewed.of("mislabelled")
    accept(reviewed, wrong)
    answer = panel.event("on_written")
    assert "changes" not in answer.layout
    assert f"({len(wrong)} of them have" in answer.layout["about_labels"]["default"]
    assert not panel.event("on_change_of_label", idx=[0, 0]).called("set_view")


def test_a_deleted_run_leaves_the_button(reviewed: Case) -> None:
    panel, _ = open_labels(reviewed)
    fol.delete_run(reviewed.dataset, "label_fixes")
    answer = panel.event("on_change_view")
    assert answer.layout["suggest"]["view"]["label"] == "Suggest label fixes"
    assert "label_actions" not in answer.layout


# suggest


def test_the_form_of_suggest(case: Case) -> None:
    shown = form("suggest_label_fixes", case.dataset)
    assert not shown.invalid
    # only those that have kept their predictions
    assert shown.choices("models") == shown.defaults["models"] == ["resnet20", "vgg16"]
    assert "threshold" not in shown.fields
    assert "overwrite" not in shown.fields
    assert f"**{COUNT}** samples" in shown.defaults["consequences"]
    assert all(f"`{field}`" in shown.defaults["consequences"] for field in FIELDS)
    assert form("suggest_label_fixes", case.dataset, {"advanced": True}).defaults["threshold"] == 0.75
    for params in ({"models": []}, {"models": ["mobilenet"]}, {"advanced": True, "threshold": 0.5}):
        assert form("suggest_label_fixes", case.dataset, params).invalid


def test_suggest(case: Case) -> None:
    params = {"models": ["resnet20", "vgg16"], "threshold": 0.8}
    answer = execute("suggest_label_fixes", case.dataset, params)
    counts = {name: len(case.of(name, 0.8)) for name in ("mislabelled", "hard")}
    assert answer.result == counts
    assert answer.called("reload_dataset")
    assert f"{counts['mislabelled']} probably mislabelled" in answer.called("notify")[0]["message"]
    case.dataset.reload()
    verdicts = case.dataset.values("learnability_verdict")
    expected = [None if label is None else case.verdict(index, 0.8) for index, label in enumerate(case.labels)]
    assert verdicts == expected
    # again only when it is ticked
    shown = form("suggest_label_fixes", case.dataset, params)
    assert shown.invalid
    assert "overwrite" in shown.fields
    with pytest.raises(ValueError, match="overwrite"):
        execute("suggest_label_fixes", case.dataset, params)
    assert not form("suggest_label_fixes", case.dataset, {**params, "overwrite": True}).invalid
    answer = execute("suggest_label_fixes", case.dataset, {"overwrite": True})
    assert answer.result["mislabelled"] == len(case.of("mislabelled"))


def test_suggest_keeps_to_its_target(case: Case) -> None:
    view = through_browser(case.dataset.limit(20)._serialize())
    request = {"view": view, "view_target": "CURRENT_VIEW"}
    assert "**20** samples" in form("suggest_label_fixes", case.dataset, **request).defaults["consequences"]
    execute("suggest_label_fixes", case.dataset, **request)
    case.dataset.reload()
    labelled = sum(label is not None for label in case.labels[:20])
    assert case.dataset.count("learnability_verdict") == labelled


def test_suggest_needs_predictions(make_dataset: MakeDataset) -> None:
    dataset = make_dataset([f"/no/{index}.png" for index in range(10)], list("ab") * 5)
    for said in ("no scores", "stored its predictions"):
        shown = form("suggest_label_fixes", dataset)
        assert shown.invalid
        assert said in shown.schema["error_message"]
        with pytest.raises(ValueError, match=said):
            execute("suggest_label_fixes", dataset)
        write_scores(dataset, {"resnet20": np.linspace(0, 1, 10)}, overwrite=True)


def test_networks_of_other_classes_are_not_mixed(case: Case) -> None:
    predictions = {"other": np.full((COUNT, 2), 0.5, np.float32)}
    write_scores(case.dataset, {"other": np.linspace(0, 1, COUNT)}, "third", predictions=predictions)
    shown = form("suggest_label_fixes", case.dataset)
    assert shown.choices("models") == ["resnet20", "vgg16", "other"]
    assert shown.defaults["models"] == ["resnet20", "vgg16"]
    mixed = {"models": ["resnet20", "other"]}
    assert form("suggest_label_fixes", case.dataset, mixed).invalid
    with pytest.raises(ValueError, match="different classes"):
        execute("suggest_label_fixes", case.dataset, mixed)


BAD_SUGGEST = [
    ({"models": "resnet20"}, "models"),
    ({"models": []}, "models"),
    ({"models": ["mobilenet"]}, "mobilenet"),
    ({"models": ["vgg16", "vgg16"]}, "models"),
    ({"models": [3]}, "models"),
    ({"threshold": 0.5}, "threshold"),
    ({"threshold": 1.1}, "threshold"),
    ({"threshold": "high"}, "threshold"),
    ({"overwrite": "yes"}, "overwrite"),
]


@pytest.mark.parametrize(("params", "culprit"), BAD_SUGGEST, ids=lambda value: str(value))
def test_suggest_refuses(case: Case, params: dict[str, Any], culprit: str) -> None:
    with pytest.raises(ValueError, match=culprit):
        execute("suggest_label_fixes", case.dataset, params)
    assert not any(case.dataset.has_field(field) for field in FIELDS)


# apply


def selected(case: Case, indices: list[int]) -> dict[str, Any]:
    return {"selected": [case.ids[index] for index in indices], "view_target": "SELECTED_SAMPLES"}


def accept(case: Case, indices: list[int], **params: Any) -> None:
    answer = execute("apply_label_fixes", case.dataset, params, **selected(case, indices))
    assert answer.called("reload_dataset")


def test_apply_into_a_copy(reviewed: Case) -> None:
    wrong, hard = reviewed.of("mislabelled"), reviewed.of("hard")
    learned = reviewed.of("learned")[:2]
    chosen = selected(reviewed, [*wrong[:3], *hard[:2], *learned])
    shown = form("apply_label_fixes", reviewed.dataset, **chosen)
    assert not shown.invalid
    assert shown.defaults["into"] == "ground_truth_fixed"
    assert shown.defaults["in_place"] is False
    said = "**5** of 7 labels in `ground_truth_fixed` will change: 3 probably mislabelled, 2 hard but plausible"
    assert said in shown.defaults["consequences"]
    assert "Only the 7 selected samples" in shown.text
    answer = execute("apply_label_fixes", reviewed.dataset, shown.defaults, **chosen)
    assert answer.result == {"field": "ground_truth_fixed", "changed": 5}
    assert answer.called("reload_dataset")
    reviewed.dataset.reload()
    assert reviewed.dataset.values("ground_truth.label") == reviewed.labels
    expected = [
        reviewed.suggested[index] if index in (*wrong[:3], *hard[:2]) else label
        for index, label in enumerate(reviewed.labels)
    ]
    assert reviewed.dataset.values("ground_truth_fixed.label") == expected
    # once more: nothing is left, and the next ones are added
    shown = form("apply_label_fixes", reviewed.dataset, **chosen)
    assert shown.invalid
    assert "**0** of 7" in shown.defaults["consequences"]
    more = selected(reviewed, wrong[2:5])
    assert "**2** of 3" in form("apply_label_fixes", reviewed.dataset, **more).defaults["consequences"]
    assert execute("apply_label_fixes", reviewed.dataset, **more).result["changed"] == 2


def test_apply_to_a_tagged_view(reviewed: Case) -> None:
    wrong = reviewed.of("mislabelled")
    reviewed.dataset.select([reviewed.ids[index] for index in wrong[:6]]).tag_samples("right")
    view = through_browser(reviewed.dataset.match_tags("right")._serialize())
    answer = execute("apply_label_fixes", reviewed.dataset, {"into": "mine"}, view=view, view_target="CURRENT_VIEW")
    assert answer.result == {"field": "mine", "changed": 6}


def test_apply_in_place_only_when_ticked(reviewed: Case) -> None:
    wrong = reviewed.of("mislabelled")[:2]
    chosen = selected(reviewed, wrong)
    shown = form("apply_label_fixes", reviewed.dataset, {"in_place": True}, **chosen)
    assert not shown.invalid
    assert "into" not in shown.fields
    assert "keeps the replaced labels in ground_truth_original" in shown.fields["in_place"]["view"]["description"]
    assert "labels in `ground_truth` will change" in shown.defaults["consequences"]
    # what stood in the form before it was ticked does not matter
    params = {"in_place": True, "into": "ground_truth_fixed"}
    answer = execute("apply_label_fixes", reviewed.dataset, params, **chosen)
    assert answer.result == {"field": "ground_truth", "changed": 2}
    reviewed.dataset.reload()
    kept = [label if index in wrong else None for index, label in enumerate(reviewed.labels)]
    assert reviewed.dataset.values("ground_truth_original.label") == kept
    assert reviewed.dataset[reviewed.ids[wrong[0]]].ground_truth.label == reviewed.suggested[wrong[0]]
    assert not reviewed.dataset.has_field("ground_truth_fixed")


def test_apply_never_takes_the_whole_dataset(reviewed: Case) -> None:
    view = through_browser(reviewed.dataset.limit(9)._serialize())
    # what sorts, or leaves fields out, filters nothing
    hardest = through_browser(fol.sort_by_learnability(reviewed.dataset, "resnet20")._serialize())
    bare = through_browser(reviewed.dataset.select_fields("ground_truth")._serialize())
    requests: list[dict[str, Any]] = [{}, {"view_target": "DATASET"}, {"view": view, "view_target": "DATASET"}]
    requests += [{"view": stages, "view_target": "CURRENT_VIEW"} for stages in (hardest, bare)]
    for request in requests:
        shown = form("apply_label_fixes", reviewed.dataset, **request)
        assert shown.invalid
        assert "consequences" not in shown.fields
        with pytest.raises(ValueError, match="choose the samples"):
            execute("apply_label_fixes", reviewed.dataset, **request)
    assert not reviewed.dataset.has_field("ground_truth_fixed")
    # a selection is a choice, even of all
    everything = {"view": hardest, **selected(reviewed, list(range(COUNT)))}
    assert not form("apply_label_fixes", reviewed.dataset, **everything).invalid
    # so is a filter
    filters = {"learnability_verdict": {"values": ["mislabelled"], "exclude": False, "isMatching": True}}
    answer = execute("apply_label_fixes", reviewed.dataset, filters=filters, view_target="CURRENT_VIEW")
    assert answer.result["changed"] == len(reviewed.of("mislabelled"))


BAD_APPLY = [
    ({"into": "two words"}, "two words"),
    ({"into": "ground_truth"}, "in_place"),
    ({"into": "filepath"}, "filepath"),
    ({"into": 7}, "into"),
    ({"in_place": "yes"}, "in_place"),
    ({"in_place": 1}, "in_place"),
]


@pytest.mark.parametrize(("params", "culprit"), BAD_APPLY, ids=lambda value: str(value))
def test_apply_refuses(reviewed: Case, params: dict[str, Any], culprit: str) -> None:
    chosen = selected(reviewed, reviewed.of("mislabelled")[:2])
    with pytest.raises(ValueError, match=culprit):
        execute("apply_label_fixes", reviewed.dataset, params, **chosen)
    shown = form("apply_label_fixes", reviewed.dataset, params, **chosen)
    assert shown.invalid
    assert culprit in shown.text
    assert reviewed.dataset.values("ground_truth.label") == reviewed.labels


def test_apply_needs_suggestions(case: Case) -> None:
    chosen = selected(case, [0])
    shown = form("apply_label_fixes", case.dataset, **chosen)
    assert shown.invalid
    assert "Suggest label fixes" in shown.schema["error_message"]
    with pytest.raises(ValueError, match="no suggested labels"):
        execute("apply_label_fixes", case.dataset, **chosen)
    fol.suggest_label_fixes(case.dataset)
    case.dataset.delete_sample_field("ground_truth")
    with pytest.raises(ValueError, match="gone"):
        execute("apply_label_fixes", case.dataset, **chosen)
    # the tab has nothing to say of given labels, and still shows the samples
    panel, answer = open_labels(case)
    assert not answer.drawn
    answer = panel.event("on_mislabelled")
    assert answer.called("set_active_fields")[0]["fields"] == FIELDS[::2]
    json.dumps(answer.calls, allow_nan=False)


def test_the_review_of_labels_that_are_no_texts(make_dataset: MakeDataset) -> None:
    dataset = make_dataset([f"/no/{index}.png" for index in range(12)], ["x"] * 12)
    dataset.add_sample_field("digit", fo.IntField)
    dataset.set_values("digit", [index % 2 for index in range(12)])
    # the last four are taken for the other one
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
    (heat,) = panel.data["changes"]
    assert (heat["x"], heat["y"], heat["z"]) == (["0", "1"], ["0", "1"], [[None, 2], [2, None]])
    panel.event("on_change_of_label", idx=[1, 0])
    assert panel.view.values("digit") == [1, 1]
    chosen = {"selected": panel.ids, "view_target": "SELECTED_SAMPLES"}
    assert "**2** of 2" in form("apply_label_fixes", dataset, **chosen).defaults["consequences"]
    assert execute("apply_label_fixes", dataset, **chosen).result == {"field": "digit_fixed", "changed": 2}
    answer = panel.event("on_written")
    assert "(2 of them have" in answer.layout["about_labels"]["default"]
    (heat,) = panel.data["changes"]
    assert (heat["x"], heat["y"], heat["z"]) == (["1"], ["0"], [[2]])
    # one of the cell is accepted: the number that the copy holds is told from the other
    panel.event("on_change_of_label", idx=[0, 0])
    first, other = panel.ids
    execute("apply_label_fixes", dataset, selected=[first], view_target="SELECTED_SAMPLES")
    panel.event("on_written")
    assert panel.data["changes"][0]["z"] == [[1]]
    panel.event("on_change_of_label", idx=[0, 0])
    assert panel.ids == [other]


def test_the_review_is_remembered(reviewed: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of the grid asks for it several times."""
    panel, _ = open_labels(reviewed)
    review = plugin_module("panel.review")
    monkeypatch.setattr(review, "_read", lambda *_: pytest.fail("read again"))
    panel.event("on_change_view")
    panel.event("on_mislabelled")
