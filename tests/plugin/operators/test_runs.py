"""The operator that renames and deletes runs."""

from __future__ import annotations

import re
from typing import Any

import fiftyone as fo
import numpy as np
import pytest

import fiftyone_learnability as fol
from fiftyone_learnability.dataset.registry import LearnabilityRun

from ..harness import execute, form, plugin_module
from ..made_up import write_scores
from .helpers import in_view, learnability_fields, shown_ids


def test_rename_a_run(scored: fo.Dataset) -> None:
    shown = form("manage_learnability_runs", scored, {"key": "learnability", "new_key": "first"})
    assert not shown.invalid
    assert "**ResNet-20 and VGG-16**: 40 samples, labels of `ground_truth`" in shown.defaults["about"]
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
    fields = ("learnability_resnet20", "learnability_rank_resnet20", "learnability_vgg16", "learnability_rank_vgg16")
    assert shown.fields["deletes"]["view"]["description"] == ", ".join(f"`{field}`" for field in fields)
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


def test_a_run_is_described_and_computed_again(digit_dataset: fo.Dataset) -> None:
    view = digit_dataset.limit(40)
    view.set_values("ground_truth.label", [None, *view.values("ground_truth.label")[1:]])
    options: dict[str, Any] = {"epochs": 2, "batch_size": 16, "device": "cpu", "horizontal_flip": False}
    fol.compute_learnability(view, models=["resnet20"], name="mine", key="first", runs=2, **options)
    run = plugin_module("runs").describe_run(digit_dataset, "first")
    assert (run.title, run.num_samples, run.label_field) == ("mine", 39, "ground_truth")
    assert run.settings.startswith("2 epochs, runs 2, batch size 16, device cpu, precision ")
    assert run.settings.endswith(", no mirror images")
    assert "learning rate" not in run.settings, "it follows from the batch size"
    (accuracy,) = run.accuracy
    assert re.fullmatch(r"mine: final accuracy \d+% and \d+% on its training images, chance \d+%", accuracy)
    assert set(run.fields) == {"learnability_mine", "learnability_rank_mine"}
    # the same settings again, on the same samples
    params = {"key": "first", "action": "again"}
    shown = form("manage_learnability_runs", digit_dataset, params)
    assert not shown.invalid
    assert shown.schema["view"]["submit_button_label"] == "Open the form"
    answer = execute("manage_learnability_runs", digit_dataset, params)
    assert shown_ids(answer, digit_dataset) == view.values("id")
    (prompt,) = answer.called("prompt_user_for_operation")
    again = plugin_module("operators.compute").Request.from_params(prompt["params"])
    assert again.names == ["mine"]
    stored = digit_dataset.get_run_info("first").config
    for name in ("epochs", "runs", "seed", "batch_size", "lr", "horizontal_flip", "measure", "stop_when_stable"):
        assert getattr(again.settings, name) == getattr(stored, name), name
    assert again.settings.pixels == stored.image_size
    # their scores exist: the form asks
    shown = form("compute_learnability", digit_dataset, prompt["params"], **in_view(view))
    assert not shown.invalid
    assert "existing" in shown.fields


def test_runs_that_the_app_cannot_compute_again(scored: fo.Dataset) -> None:
    write_scores(scored, {"another_net": np.linspace(0, 1, 40)}, "other")
    fol.write_consensus(scored, ["resnet20", "vgg16"], key="both")
    for key in ("other", "both"):
        shown = form("manage_learnability_runs", scored, {"key": key})
        assert shown.choices("action") == ["rename", "delete"]
        with pytest.raises(ValueError, match="cannot be computed again"):
            execute("manage_learnability_runs", scored, {"key": key, "action": "again"})
    assert form("manage_learnability_runs", scored, {"key": "learnability"}).choices("action")[2] == "again"
    described = plugin_module("runs").describe_runs(scored)
    assert {run.key for run in described} == {"learnability", "other", "both"}
