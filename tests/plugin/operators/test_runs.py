"""The operator that renames and deletes runs."""

from __future__ import annotations

from typing import Any

import fiftyone as fo
import numpy as np

import fiftyone_learnability as fol
from fiftyone_learnability.dataset.registry import LearnabilityRun

from ..harness import execute, form
from ..made_up import write_scores
from .helpers import learnability_fields


def test_rename_a_run(scored: fo.Dataset) -> None:
    shown = form("manage_learnability_runs", scored, {"key": "learnability", "new_key": "first"})
    assert not shown.invalid
    assert "**ResNet-20 and VGG-16**: 40 samples, labels of ground_truth" in shown.defaults["about"]
    answer = execute("manage_learnability_runs", scored, {"key": "learnability", "new_key": "first"})
    assert answer.result == {"key": "first"}
    assert fol.list_runs(scored) == ["first"]
    assert "learnability_vgg16" in fol.delete_run(scored, "first")
    assert form("manage_learnability_runs", scored).invalid


def test_the_form_of_rename_refuses_a_bad_key(kept: fo.Dataset) -> None:
    for key in ("two words", "learnability"):
        shown = form("manage_learnability_runs", kept, {"key": "learnability", "new_key": key})
        assert shown.fields["new_key"]["invalid"]
        assert key in shown.fields["new_key"]["error_message"]


def test_delete_a_run(scored: fo.Dataset) -> None:
    params: dict[str, Any] = {"key": "learnability", "action": "delete"}
    shown = form("manage_learnability_runs", scored, params)
    assert shown.invalid
    fields = ["learnability_resnet20", "learnability_rank_resnet20", "learnability_vgg16", "learnability_rank_vgg16"]
    assert sorted(shown.fields["deletes"]["view"]["description"].split(", ")) == sorted(fields)
    params["confirmed"] = True
    assert not form("manage_learnability_runs", scored, params).invalid
    answer = execute("manage_learnability_runs", scored, params)
    assert len(answer.result["deleted"]) == 4
    assert answer.called("reload_dataset")
    assert not fol.list_runs(scored)
    assert not [name for name in scored.get_field_schema() if name.startswith("learnability")]


def test_the_form_describes_every_kind_of_run(scored: fo.Dataset) -> None:
    rng = np.random.default_rng(1)
    predictions = {"mobilenet": rng.dirichlet([1, 1], 40).astype(np.float32)}
    write_scores(scored, {"mobilenet": rng.random(40)}, "third", predictions=predictions)
    fol.write_consensus(scored, ["resnet20", "vgg16"], key="both")
    fol.write_scores(scored, {"id": scored.values("id"), "learnability": rng.random(40)}, "mine", key="mine")
    fol.suggest_label_fixes(scored, key="fixes")
    fol.delete_run(scored, "third")
    titles = {
        "learnability": "**ResNet-20 and VGG-16**: 40 samples",
        "both": "**Consensus of ResNet-20 and VGG-16**: 40 samples",
        "mine": "**Imported scores of mine**: 40 samples",
        "fixes": "**Suggested labels by MobileNet**: 40 samples",
    }
    assert set(fol.list_runs(scored)) == set(titles)
    for key, text in titles.items():
        shown = form("manage_learnability_runs", scored, {"key": key, "new_key": "other"})
        assert not shown.invalid
        assert shown.defaults["about"].startswith(text)
        params = {"key": key, "action": "delete", "confirmed": True}
        assert not form("manage_learnability_runs", scored, params).invalid
    # later runs have replaced the fields of all its networks
    config = scored.get_run_info("learnability").config
    config.models = []
    LearnabilityRun.update_run_config(scored, "learnability", config)
    about = form("manage_learnability_runs", scored, {"key": "learnability"}).defaults["about"]
    assert about.startswith("**networks that were computed again since**: 40 samples")
    for key in titles:
        assert execute("manage_learnability_runs", scored, {"key": key, "action": "delete", "confirmed": True}).result
    assert not learnability_fields(scored)
