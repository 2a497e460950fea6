"""The operators that suggest labels and apply accepted suggestions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import fiftyone as fo
import numpy as np
import pytest

import fiftyone_learnability as fol

from ..harness import execute, form
from ..made_up import write_scores
from ..review_case import COUNT, ReviewCase
from .helpers import in_view

MakeDataset = Callable[..., fo.Dataset]


FIELDS = ["learnability_suggestion", "learnability_contradiction", "learnability_verdict"]


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


def test_the_form_of_suggest(predicted: ReviewCase) -> None:
    shown = form("suggest_label_fixes", predicted.dataset)
    assert not shown.invalid
    # only networks with stored predictions
    assert shown.choices("models") == shown.defaults["models"] == ["resnet20", "vgg16"]
    assert "threshold" not in shown.fields
    assert "overwrite" not in shown.fields
    assert f"**{COUNT}** samples" in shown.defaults["consequences"]
    assert all(f"`{field}`" in shown.defaults["consequences"] for field in FIELDS)
    assert form("suggest_label_fixes", predicted.dataset, {"advanced": True}).defaults["threshold"] == 0.75
    for params in ({"models": []}, {"models": ["mobilenet"]}, {"advanced": True, "threshold": 0.5}):
        assert form("suggest_label_fixes", predicted.dataset, params).invalid


def test_suggest(predicted: ReviewCase) -> None:
    params = {"models": ["resnet20", "vgg16"], "threshold": 0.8}
    answer = execute("suggest_label_fixes", predicted.dataset, params)
    counts = {name: len(predicted.with_verdict(name, 0.8)) for name in ("mislabelled", "hard")}
    assert answer.result == counts
    assert answer.called("reload_dataset")
    assert f"{counts['mislabelled']} probably mislabelled" in answer.called("notify")[0]["message"]
    predicted.dataset.reload()
    verdicts = predicted.dataset.values("learnability_verdict")
    expected = [
        None if label is None else predicted.verdict(index, 0.8) for index, label in enumerate(predicted.labels)
    ]
    assert verdicts == expected
    # again only if the box is ticked
    shown = form("suggest_label_fixes", predicted.dataset, params)
    assert shown.invalid
    assert "overwrite" in shown.fields
    with pytest.raises(ValueError, match="overwrite"):
        execute("suggest_label_fixes", predicted.dataset, params)
    assert not form("suggest_label_fixes", predicted.dataset, {**params, "overwrite": True}).invalid
    answer = execute("suggest_label_fixes", predicted.dataset, {"overwrite": True})
    assert answer.result["mislabelled"] == len(predicted.with_verdict("mislabelled"))


def test_suggest_keeps_to_its_target(predicted: ReviewCase) -> None:
    request = in_view(predicted.dataset.limit(20))
    assert "**20** samples" in form("suggest_label_fixes", predicted.dataset, **request).defaults["consequences"]
    execute("suggest_label_fixes", predicted.dataset, **request)
    predicted.dataset.reload()
    labelled = sum(label is not None for label in predicted.labels[:20])
    assert predicted.dataset.count("learnability_verdict") == labelled


def test_suggest_needs_predictions(make_dataset: MakeDataset) -> None:
    dataset = make_dataset([f"/no/{index}.png" for index in range(10)], list("ab") * 5)
    for reason in ("no scores", "stored its predictions"):
        shown = form("suggest_label_fixes", dataset)
        assert shown.invalid
        assert reason in shown.reasons
        with pytest.raises(ValueError, match=reason):
            execute("suggest_label_fixes", dataset)
        write_scores(dataset, {"resnet20": np.linspace(0, 1, 10)}, overwrite=True)


def test_networks_with_different_classes_are_not_mixed(predicted: ReviewCase) -> None:
    predictions = {"other": np.full((COUNT, 2), 0.5, np.float32)}
    write_scores(predicted.dataset, {"other": np.linspace(0, 1, COUNT)}, "third", predictions=predictions)
    shown = form("suggest_label_fixes", predicted.dataset)
    assert shown.choices("models") == ["resnet20", "vgg16", "other"]
    assert shown.defaults["models"] == ["resnet20", "vgg16"]
    mixed = {"models": ["resnet20", "other"]}
    assert form("suggest_label_fixes", predicted.dataset, mixed).invalid
    with pytest.raises(ValueError, match="different classes"):
        execute("suggest_label_fixes", predicted.dataset, mixed)


@pytest.mark.parametrize(("params", "culprit"), BAD_SUGGEST, ids=lambda value: str(value))
def test_suggest_refuses(predicted: ReviewCase, params: dict[str, Any], culprit: str) -> None:
    with pytest.raises(ValueError, match=culprit):
        execute("suggest_label_fixes", predicted.dataset, params)
    assert not any(predicted.dataset.has_field(field) for field in FIELDS)


BAD_APPLY = [
    ({"into": "two words"}, "two words"),
    ({"into": "ground_truth"}, "in_place"),
    ({"into": "filepath"}, "filepath"),
    ({"into": 7}, "into"),
    ({"in_place": "yes"}, "in_place"),
    ({"in_place": 1}, "in_place"),
]


def test_apply_into_a_copy(reviewed: ReviewCase) -> None:
    wrong, hard = reviewed.with_verdict("mislabelled"), reviewed.with_verdict("hard")
    learned = reviewed.with_verdict("learned")[:2]
    chosen = reviewed.select([*wrong[:3], *hard[:2], *learned])
    shown = form("apply_label_fixes", reviewed.dataset, **chosen)
    assert not shown.invalid
    assert shown.defaults["into"] == "ground_truth_fixed"
    assert shown.defaults["in_place"] is False
    text = "**5** of 7 labels in `ground_truth_fixed` will change: 3 probably mislabelled, 2 hard but plausible"
    assert text in shown.defaults["consequences"]
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
    # again: these are done, and further ones are added
    shown = form("apply_label_fixes", reviewed.dataset, **chosen)
    assert shown.invalid
    assert "**0** of 7" in shown.defaults["consequences"]
    more = reviewed.select(wrong[2:5])
    assert "**2** of 3" in form("apply_label_fixes", reviewed.dataset, **more).defaults["consequences"]
    assert execute("apply_label_fixes", reviewed.dataset, **more).result["changed"] == 2


def test_apply_to_a_tagged_view(reviewed: ReviewCase) -> None:
    wrong = reviewed.with_verdict("mislabelled")
    reviewed.dataset.select([reviewed.ids[index] for index in wrong[:6]]).tag_samples("right")
    request = in_view(reviewed.dataset.match_tags("right"))
    answer = execute("apply_label_fixes", reviewed.dataset, {"into": "mine"}, **request)
    assert answer.result == {"field": "mine", "changed": 6}


def test_apply_in_place_only_when_ticked(reviewed: ReviewCase) -> None:
    wrong = reviewed.with_verdict("mislabelled")[:2]
    chosen = reviewed.select(wrong)
    shown = form("apply_label_fixes", reviewed.dataset, {"in_place": True}, **chosen)
    assert not shown.invalid
    assert "into" not in shown.fields
    assert "keeps the replaced labels in ground_truth_original" in shown.fields["in_place"]["view"]["description"]
    assert "labels in `ground_truth` will change" in shown.defaults["consequences"]
    # `into` is what the form showed before the box was ticked
    params = {"in_place": True, "into": "ground_truth_fixed"}
    answer = execute("apply_label_fixes", reviewed.dataset, params, **chosen)
    assert answer.result == {"field": "ground_truth", "changed": 2}
    reviewed.dataset.reload()
    kept = [label if index in wrong else None for index, label in enumerate(reviewed.labels)]
    assert reviewed.dataset.values("ground_truth_original.label") == kept
    assert reviewed.dataset[reviewed.ids[wrong[0]]].ground_truth.label == reviewed.suggested[wrong[0]]
    assert not reviewed.dataset.has_field("ground_truth_fixed")


def test_apply_never_takes_the_whole_dataset(reviewed: ReviewCase) -> None:
    # sorting, or hiding fields, leaves no sample out
    hardest = in_view(fol.sort_by_learnability(reviewed.dataset, "resnet20"))
    bare = in_view(reviewed.dataset.select_fields("ground_truth"))
    whole = {**in_view(reviewed.dataset.limit(9)), "view_target": "DATASET"}
    requests: list[dict[str, Any]] = [{}, {"view_target": "DATASET"}, whole, hardest, bare]
    for request in requests:
        shown = form("apply_label_fixes", reviewed.dataset, **request)
        assert shown.invalid
        assert "consequences" not in shown.fields
        with pytest.raises(ValueError, match="choose the samples"):
            execute("apply_label_fixes", reviewed.dataset, **request)
    assert not reviewed.dataset.has_field("ground_truth_fixed")
    # a selection counts as chosen, even one of all samples
    everything = {**hardest, **reviewed.select(list(range(COUNT)))}
    assert not form("apply_label_fixes", reviewed.dataset, **everything).invalid
    # and so does a filter
    filters = {"learnability_verdict": {"values": ["mislabelled"], "exclude": False, "isMatching": True}}
    answer = execute("apply_label_fixes", reviewed.dataset, filters=filters, view_target="CURRENT_VIEW")
    assert answer.result["changed"] == len(reviewed.with_verdict("mislabelled"))


@pytest.mark.parametrize(("params", "culprit"), BAD_APPLY, ids=lambda value: str(value))
def test_apply_refuses(reviewed: ReviewCase, params: dict[str, Any], culprit: str) -> None:
    chosen = reviewed.select(reviewed.with_verdict("mislabelled")[:2])
    with pytest.raises(ValueError, match=culprit):
        execute("apply_label_fixes", reviewed.dataset, params, **chosen)
    shown = form("apply_label_fixes", reviewed.dataset, params, **chosen)
    assert shown.invalid
    assert culprit in shown.text
    assert reviewed.dataset.values("ground_truth.label") == reviewed.labels


def test_apply_needs_suggestions(predicted: ReviewCase) -> None:
    chosen = predicted.select([0])
    shown = form("apply_label_fixes", predicted.dataset, **chosen)
    assert shown.invalid
    assert "Suggest label fixes" in shown.reasons
    with pytest.raises(ValueError, match="no suggested labels"):
        execute("apply_label_fixes", predicted.dataset, **chosen)
    fol.suggest_label_fixes(predicted.dataset)
    predicted.dataset.delete_sample_field("ground_truth")
    with pytest.raises(ValueError, match="was deleted or renamed"):
        execute("apply_label_fixes", predicted.dataset, **chosen)
