"""The panel says what each network's scores rest on, and which runs there are."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import fiftyone as fo
import numpy as np
import pytest

import fiftyone_learnability as fol
from fiftyone_learnability.dataset.registry import LearnabilityRun
from tests.dataset.helpers import write_results
from tests.dataset.test_evidence import results_of

from .harness import PanelHarness, form, plugin_module
from .made_up import write_scores
from .operators.helpers import in_view

MakeDataset = Callable[..., fo.Dataset]


@pytest.fixture
def dataset(make_dataset: MakeDataset) -> fo.Dataset:
    """Forty samples with scores of a network that learned, in two runs, and of one that did not learn."""
    dataset = make_dataset([f"/no/{index}.png" for index in range(40)], ["a", "b"] * 20)
    for model, accuracies in {"dead": (0.5,), "resnet20": (0.9, 0.95)}.items():
        result = results_of(dataset, model, *accuracies, predicts=0 if model == "dead" else None)
        settings = {"label_field": "ground_truth", "epochs": 2, "batch_size": 64, "lr": 0.05, "runs": len(accuracies)}
        write_results(dataset, {model: result}, f"run_{model}", {**settings, "num_samples": 40})
    return dataset


def trust(dataset: fo.Dataset) -> list[str]:
    """The lines of the panel that say what each network's scores rest on."""
    return PanelHarness(dataset).open().layout["trust"]["default"].split("  \n")


def test_each_network_has_one_line(dataset: fo.Dataset) -> None:
    today = f"{dataset.get_run_info('run_resnet20').timestamp:%Y-%m-%d}"
    resnet = f"**ResNet-20** 90 to 95% accurate (chance 50%), 2 epochs, labels of ground_truth, {today}"
    # the warning says all of the other one
    assert trust(dataset) == [resnet]
    fol.write_scores(dataset, {"id": dataset.values("id"), "learnability": np.linspace(0, 1, 40)}, "mine", key="mine")
    fol.write_consensus(dataset, ["resnet20", "mine"])
    assert trust(dataset) == [
        resnet,
        f"**mine** accuracy not known, imported, labels of ground_truth, {today}",
        f"**Consensus** of ResNet-20 and mine, {today}",
    ]
    # without its run, nothing is known of a network
    clone = dataset.view().clone()
    assert trust(clone)[0] == "**dead** its run was deleted, so its accuracy is not known"
    clone.delete()


def test_a_line_does_not_repeat_the_warning_of_differing_epochs(dataset: fo.Dataset) -> None:
    write_scores(dataset, {"vgg16": np.linspace(0, 1, 40)}, "other", epochs=7)
    layout = PanelHarness(dataset).open().layout
    assert "vgg16 over 7" in layout["epochs"]["view"]["description"]
    assert "epochs" not in layout["trust"]["default"]


def test_the_runs_of_the_panel(dataset: fo.Dataset) -> None:
    config = dataset.get_run_info("run_resnet20").config
    config.remarks = ["2 samples were deleted meanwhile"]
    LearnabilityRun.update_run_config(dataset, "run_resnet20", config)
    panel = PanelHarness(dataset)
    panel.open()
    layout = panel.tab("runs").layout
    assert "trust" not in layout, "the tab says the same"
    text = layout["about_run_run_resnet20"]["default"]
    for part in (
        "run_resnet20",
        "**ResNet-20**: 40 samples, labels of ground_truth",
        "2 epochs, 2 runs, batch size 64",
        "ResNet-20: 90 to 95% accurate (chance 50%)",
        "* 2 samples were deleted meanwhile",
        "learnability_rank_resnet20",
    ):
        assert part in text
    assert "learning rate" not in text, "it follows from the batch size"
    names = list(layout)
    assert names.index("about_run_run_resnet20") < names.index("about_run_run_dead"), "the newest first"
    # a network that the App does not offer cannot be computed again
    assert "again_run_resnet20" in layout
    assert "again_run_dead" not in layout
    for action in ("rename", "delete"):
        (prompt,) = panel.event("on_run_action", action=action, run="run_dead").called("prompt_user_for_operation")
        assert prompt["params"] == {"key": "run_dead", "action": action}
        shown = form("manage_learnability_runs", dataset, prompt["params"])
        assert ("deletes" in shown.fields) == (action == "delete")
    answer = panel.event("on_run_action", action="again", run="run_resnet20")
    (prompt,) = answer.called("prompt_user_for_operation")
    assert (prompt["params"]["epochs"], prompt["params"]["view_target"]) == (2, "DATASET")
    assert not answer.called("set_view")
    (notice,) = panel.event("on_run_action", action="again", run="run_dead").called("notify")
    assert "cannot be computed again" in notice["message"]
    for params in ({"action": "delete", "run": "gone"}, {"action": "os:system", "run": "run_dead"}, {}):
        assert not panel.event("on_run_action", **params).called("prompt_user_for_operation")


def test_the_panel_describes_only_the_newest_runs(dataset: fo.Dataset) -> None:
    for index in range(20):
        write_scores(dataset, {f"net_{index}": np.linspace(0, 1, 40)}, f"run_{index}")
    panel = PanelHarness(dataset)
    panel.open()
    layout = panel.tab("runs").layout
    assert len([name for name in layout if name.startswith("about_run_")]) == plugin_module("panel.layout").MOST_RUNS
    assert "older runs" in layout["more_runs"]["default"]


def test_a_run_is_described_and_computed_again(digit_dataset: fo.Dataset) -> None:
    view = digit_dataset.limit(40)
    view.set_values("ground_truth.label", [None, *view.values("ground_truth.label")[1:]])
    options: dict[str, Any] = {"epochs": 2, "batch_size": 16, "device": "cpu", "horizontal_flip": False}
    fol.compute_learnability(view, models=["resnet20"], name="mine", key="first", runs=2, progress=False, **options)
    run = plugin_module("runs").describe_run(digit_dataset, "first")
    assert (run.title, run.num_samples, run.label_field) == ("mine", 39, "ground_truth")
    assert run.settings.startswith("2 epochs, 2 runs, batch size 16, no mirror images, device cpu, precision ")
    assert "learning rate" not in run.settings, "it follows from the batch size"
    assert run.remarks[0] == "left out: 1 without a label"
    (accuracy,) = run.accuracy
    assert re.fullmatch(r"mine: \d+( to \d+)?% accurate \(chance \d+%\)", accuracy)
    assert set(run.fields) == {"learnability_mine", "learnability_rank_mine"}
    # the same settings again, on the same samples
    panel = PanelHarness(digit_dataset)
    panel.open()
    answer = panel.event("on_run_action", action="again", run="first")
    assert panel.ids == view.values("id")
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
