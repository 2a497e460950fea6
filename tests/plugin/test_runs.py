"""The panel says what each network's scores rest on, and which runs there are."""

from __future__ import annotations

from collections.abc import Callable

import fiftyone as fo
import numpy as np
import pytest

import fiftyone_learnability as fol
from tests.dataset.helpers import write_results
from tests.dataset.test_evidence import results_of

from .harness import PanelHarness, plugin_module
from .made_up import write_scores

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


def test_the_panel_describes_only_the_newest_runs(dataset: fo.Dataset) -> None:
    for index in range(20):
        write_scores(dataset, {f"net_{index}": np.linspace(0, 1, 40)}, f"run_{index}")
    panel = PanelHarness(dataset)
    panel.open()
    layout = panel.tab("runs").layout
    assert len([name for name in layout if name.startswith("about_run_")]) == plugin_module("panel.layout").MOST_RUNS
    assert "older runs" in layout["more_runs"]["default"]
