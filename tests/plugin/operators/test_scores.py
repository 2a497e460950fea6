"""The operators that write further scores and the consensus."""

from __future__ import annotations

from typing import Any

import fiftyone as fo
import numpy as np
import pytest

from ..harness import execute, form
from ..made_up import write_scores
from .helpers import in_view, learnability_fields, shown_ids


def test_the_form_of_write_scores(measured_scores: fo.Dataset) -> None:
    shown = form("write_learnability_scores", measured_scores)
    assert not shown.invalid
    assert shown.choices("models") == shown.defaults["models"] == ["resnet20", "vgg16"]
    assert shown.choices("scores") == ["all", "hits", "variability", "forgetting", "aum"]
    assert shown.defaults["scores"] == ["all"]
    assert "`learnability_vgg16_hits`" in shown.defaults["consequences"]
    assert "`learnability_resnet20_aum`" in shown.defaults["consequences"]
    assert "vgg16_aum" not in shown.defaults["consequences"]
    # VGG-16 has not measured it
    asked = {"models": ["resnet20", "vgg16"], "scores": ["aum"]}
    shown = form("write_learnability_scores", measured_scores, asked)
    assert shown.invalid
    assert "VGG-16" in shown.red["scores"]
    assert not form("write_learnability_scores", measured_scores, {**asked, "models": ["resnet20"]}).invalid


def test_write_scores(measured_scores: fo.Dataset) -> None:
    before = learnability_fields(measured_scores)
    params = {"models": ["resnet20"], "scores": ["forgetting", "hits"]}
    answer = execute("write_learnability_scores", measured_scores, params)
    assert answer.result == {"fields": ["learnability_resnet20_hits", "learnability_resnet20_forgetting"]}
    assert answer.called("reload_dataset")
    assert learnability_fields(measured_scores) - before == set(answer.result["fields"])
    # the other scores of both networks
    assert form("write_learnability_scores", measured_scores).choices("scores") == ["all", "hits", "variability", "aum"]
    answer = execute("write_learnability_scores", measured_scores)
    assert set(answer.result["fields"]) == {
        "learnability_resnet20_variability",
        "learnability_resnet20_aum",
        "learnability_vgg16_hits",
    }
    shown = form("write_learnability_scores", measured_scores)
    assert shown.invalid
    assert "written already" in shown.reasons
    with pytest.raises(ValueError, match="written already"):
        execute("write_learnability_scores", measured_scores)


BAD_WRITE = [
    ({"models": "resnet20"}, "models"),
    ({"models": []}, "models"),
    ({"models": ["alexnet"]}, "alexnet"),
    ({"scores": ["learned_epoch"]}, "learned_epoch"),
    ({"scores": "hits"}, "scores"),
    ({"scores": []}, "scores"),
    ({"scores": ["hits", "hits"]}, "scores"),
    ({"models": ["vgg16"], "scores": ["aum"]}, "aum"),
    ({"scores": ["hits", "aum"]}, "aum"),
]


@pytest.mark.parametrize(("params", "culprit"), BAD_WRITE, ids=lambda value: str(value))
def test_write_scores_refuses(measured_scores: fo.Dataset, params: dict[str, Any], culprit: str) -> None:
    before = learnability_fields(measured_scores)
    with pytest.raises(ValueError, match=culprit):
        execute("write_learnability_scores", measured_scores, params)
    assert form("write_learnability_scores", measured_scores, params).invalid
    assert learnability_fields(measured_scores) == before


def test_consensus(measured_scores: fo.Dataset) -> None:
    shown = form("compute_consensus", measured_scores)
    assert not shown.invalid
    assert shown.choices("models") == shown.defaults["models"] == ["resnet20", "vgg16"]
    assert "overwrite" not in shown.fields
    answer = execute("compute_consensus", measured_scores, shown.defaults)
    assert answer.result["samples"] == 10
    assert answer.called("reload_dataset")
    assert {
        "learnability_consensus",
        "learnability_rank_consensus",
        "learnability_disagreement",
    } <= learnability_fields(measured_scores)
    first, second = (np.array(measured_scores.values(f"learnability_{model}")) for model in ("resnet20", "vgg16"))
    mean = ((first - first.mean()) / first.std() + (second - second.mean()) / second.std()) / 2
    np.testing.assert_allclose(measured_scores.values("learnability_consensus"), mean)
    # one can sort by it as by a network
    assert "consensus" in form("sort_by_learnability", measured_scores).choices("model")
    answer = execute("sort_by_learnability", measured_scores, {"model": "consensus"})
    assert shown_ids(answer, measured_scores) == [measured_scores.values("id")[index] for index in np.argsort(mean)]
    # a second consensus replaces it only if the box is ticked
    shown = form("compute_consensus", measured_scores)
    assert shown.invalid
    assert "`learnability_disagreement`" in shown.fields["replaces"]["view"]["description"]
    with pytest.raises(ValueError, match="overwrite"):
        execute("compute_consensus", measured_scores)
    assert not form("compute_consensus", measured_scores, {"overwrite": True}).invalid
    assert execute("compute_consensus", measured_scores, {"overwrite": True}).result["samples"] == 10
    # nor do the samples outside a view lose theirs
    with pytest.raises(ValueError, match="3 samples outside this call"):
        execute("compute_consensus", measured_scores, {"overwrite": True}, **in_view(measured_scores.limit(7)))


def test_a_consensus_needs_two_networks(unscored: fo.Dataset) -> None:
    write_scores(unscored, {"resnet20": np.linspace(0, 1, 10)})
    assert form("compute_consensus", unscored).invalid
    with pytest.raises(ValueError, match="two networks"):
        execute("compute_consensus", unscored)


@pytest.mark.parametrize(
    ("params", "culprit"),
    [
        ({"models": ["resnet20"]}, "models"),
        ({"models": ["resnet20", "alexnet"]}, "alexnet"),
        ({"models": "all"}, "models"),
    ],
    ids=lambda value: str(value),
)
def test_consensus_refuses(measured_scores: fo.Dataset, params: dict[str, Any], culprit: str) -> None:
    assert form("compute_consensus", measured_scores, params).invalid
    with pytest.raises(ValueError, match=culprit):
        execute("compute_consensus", measured_scores, params)
    assert "learnability_consensus" not in learnability_fields(measured_scores)
    with pytest.raises(ValueError, match="overwrite"):
        execute("compute_consensus", measured_scores, {"overwrite": "yes"})
