"""The panel in the modal shows the scores and curves of the sample there, and of no other."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import fiftyone as fo
import numpy as np
import pytest

import fiftyone_learnability as fol

from ..harness import SAMPLE_PANEL, PanelHarness
from ..made_up import write_contradicted_scores, write_scores

COUNT, EPOCHS = 40, 5
MODELS = ("resnet20", "vgg16")


@pytest.fixture
def dataset(make_dataset: Callable[..., fo.Dataset]) -> fo.Dataset:
    made = make_dataset([f"/no/{index}.png" for index in range(COUNT)], ["a|b", "c*"] * (COUNT // 2))
    write_contradicted_scores(made, MODELS, EPOCHS)
    made.delete_sample_field("learnability_vgg16_hits")
    return made


def open_modal(dataset: fo.Dataset, id: str | None) -> PanelHarness:
    panel = PanelHarness(dataset, uri=SAMPLE_PANEL, current_sample=id)
    panel.open()
    return panel


def rows(panel: PanelHarness) -> dict[str, list[str]]:
    """The table of scores: the cells of each row by its title."""
    lines = [line.strip("|").split("|") for line in panel.layout["scores"]["default"].splitlines()]
    return {title.strip(): [cell.strip() for cell in cells] for title, *cells in lines}


def test_it_shows_the_scores_and_curves_of_its_sample(dataset: fo.Dataset) -> None:
    fol.suggest_label_fixes(dataset)
    results = fol.load_results(dataset, "learnability")
    panel = open_modal(dataset, dataset.first().id)
    for index, sample in enumerate(dataset):
        panel.open_sample(sample.id)
        places = {model: results[model].ids.tolist().index(sample.id) for model in MODELS}
        table = rows(panel)
        assert table[""] == ["ResNet-20", "VGG-16"]
        assert table["Rank"] == [f"{sample[f'learnability_rank_{model}']} of 40" for model in MODELS]
        # whether they are fields or not
        for title, score in (("Learnability", "learnability"), ("Hits", "hits"), ("Variability", "variability")):
            expected = [f"{results[model].score(score)[places[model]]:.3g}" for model in MODELS]
            assert table[title] == expected
        about = panel.layout["about_sample"]["default"]
        assert about.startswith(r"Label **a\|b**" if index % 2 == 0 else r"Label **c\***")
        assert ("**Probably mislabelled**" in about) == (sample.learnability_verdict == "mislabelled")
        assert ("Suggested label" in about) == (sample.learnability_suggestion is not None)
        traces = {trace["name"]: trace for trace in panel.data["curves"]}
        for model, name in (("resnet20", "ResNet-20"), ("vgg16", "VGG-16")):
            assert traces[name]["x"] == list(range(1, EPOCHS + 1))
            curve = results[model].dynamics[:, places[model]].astype(float)
            np.testing.assert_allclose(traces[name]["y"], curve, atol=6e-4)
        other = "c*" if index % 2 == 0 else "a|b"
        mean = results["vgg16"].prediction[places["vgg16"], results["vgg16"].classes.index(other)]
        np.testing.assert_allclose(panel.data["curves"][-1]["y"], [mean, mean], atol=6e-4)
        assert table["Most probable other label"][1].endswith(f"({mean:.2f})")
        json.dumps(panel.shown.calls, allow_nan=False)


def test_the_event_says_which_sample_it_is_about(dataset: fo.Dataset) -> None:
    """The context that comes with it may still hold the sample before."""
    first, second = dataset.limit(2).values("id")
    panel = open_modal(dataset, first)
    panel.event("on_change_current_sample", value=second)
    assert rows(panel)["Rank"][0] == f"{dataset[second].learnability_rank_resnet20} of 40"


def test_a_sample_without_scores(dataset: fo.Dataset) -> None:
    dataset.add_sample(fo.Sample("/no/new.png"))
    panel = open_modal(dataset, dataset.first().id)
    for id in (dataset.last().id, None, "0" * 24, "x", {"$gt": 0}):
        panel.event("on_change_current_sample", value=id)
        assert panel.layout["about_sample"]["default"] == "This sample has no scores."
        assert "scores" not in panel.layout
        assert not panel.data


def test_scores_of_one_network_and_no_curves(make_dataset: Callable[..., fo.Dataset]) -> None:
    dataset = make_dataset([f"/no/{index}.png" for index in range(COUNT)], [None, "a"] * (COUNT // 2))
    panel = open_modal(dataset, dataset.first().id)
    assert "compute learnability" in panel.layout["about_sample"]["default"]
    write_scores(dataset, {"resnet20": np.linspace(0, 1, COUNT)})
    write_scores(dataset.limit(1), {"vgg16": np.full(1, 0.5)}, "other")
    panel.open_sample(dataset.first().id)
    assert panel.layout["about_sample"]["default"] == "No label"
    assert rows(panel)["Rank"] == ["40 of 40", "1 of 1"]
    assert "kept no curves" in panel.layout["about_curves"]["default"]
    panel.open_sample(dataset.last().id)
    assert rows(panel)["Rank"] == ["1 of 40", ""]
    dataset.delete_samples(dataset.limit(2).skip(1))
    panel.open_sample(dataset.first().id)
    assert rows(panel)["Rank"][0] == "40 of 40"


def test_only_events_are_called(dataset: fo.Dataset) -> None:
    panel: Any = open_modal(dataset, dataset.first().id)
    with pytest.raises(ValueError, match="must name an event"):
        panel.event("render")
