from __future__ import annotations

from collections.abc import Callable
from typing import Any

import fiftyone as fo
import numpy as np
import pytest
from bson import ObjectId

from fiftyone_learnability.dataset.internals import serialize_stages

from ..harness import PanelHarness, plugin_module, through_browser
from ..made_up import write_scores


@pytest.fixture
def scope() -> Any:
    return plugin_module("panel.scope")


def test_a_long_view_is_hashed_once_per_event(
    make_dataset: Callable[..., fo.Dataset], scope: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = make_dataset([f"/no/{index}.png" for index in range(20)], list("ab") * 10)
    write_scores(dataset, {"vgg16": np.linspace(0, 1, 20)})
    panel = PanelHarness(dataset, follow=False)
    panel.open()
    panel.show(dataset.select(dataset.values("id")[:10]))
    fingerprint, hashed = scope.fingerprint, []
    monkeypatch.setattr(scope, "fingerprint", lambda stages: hashed.append(stages) or fingerprint(stages))
    panel.event("on_change_view")
    assert len(hashed) == 1


def test_a_saved_view_keeps_its_name(make_dataset: Callable[..., fo.Dataset]) -> None:
    dataset = make_dataset([f"/no/{index}.png" for index in range(20)], list("ab") * 10)
    write_scores(dataset, {"vgg16": np.linspace(0, 1, 20)})
    dataset.save_view("The first ones", dataset.limit(10))
    panel = PanelHarness(dataset)
    panel.open()
    panel.stages, panel.view_name = through_browser(serialize_stages(dataset.limit(10))), "The first ones"
    panel.event("on_change_view")
    panel.event("on_hardest")
    panel.event("on_histogram_click", idx=0)
    assert panel.view_name is None
    assert len(panel.ids) == 1
    assert panel.layout["about_shown"]["default"].startswith("Showing **1** of 10: learnability by VGG-16 0 to ")
    panel.event("on_reset")
    assert panel.view_name == "The first ones"
    # a deleted one is shown by its samples
    panel.event("on_hardest")
    dataset.delete_saved_view("The first ones")
    panel.event("on_reset")
    assert (panel.view_name, len(panel.ids)) == (None, 10)


def test_a_view_that_was_saved_is_the_user_s(make_dataset: Callable[..., fo.Dataset]) -> None:
    dataset = make_dataset([f"/no/{index}.png" for index in range(20)], list("ab") * 10)
    write_scores(dataset, {"vgg16": np.linspace(0, 1, 20)})
    panel = PanelHarness(dataset)
    panel.open()
    panel.event("on_histogram_click", idx=0)
    dataset.save_view("mine", panel.view)
    panel.view_name = "mine"
    panel.event("on_change_view")
    assert "shown" not in panel.layout
    assert sum(panel.data["histogram"][0]["y"]) == 1


def test_back_to_an_earlier_view_of_the_panel(make_dataset: Callable[..., fo.Dataset]) -> None:
    """The browser's back button shows it again; another panel knows it, too."""
    dataset = make_dataset([f"/no/{index}.png" for index in range(20)], list("ab") * 10)
    write_scores(dataset, {"vgg16": np.linspace(0, 1, 20)})
    panel = PanelHarness(dataset)
    panel.open()
    whole = panel.data
    panel.event("on_histogram_click", idx=0)
    first, line = panel.stages, panel.layout["about_shown"]["default"]
    panel.event("on_histogram_click", idx=39)
    for shown in (panel, PanelHarness(dataset)):
        shown.stages = first
        shown.event("on_change_view")
        assert shown.layout["about_shown"]["default"] == line
        assert shown.data == whole


def test_the_line_counts_what_the_grid_shows(make_dataset: Callable[..., fo.Dataset]) -> None:
    dataset = make_dataset([f"/no/{index}.png" for index in range(20)], list("ab") * 10)
    write_scores(dataset, {"vgg16": np.linspace(0, 1, 20)})
    panel = PanelHarness(dataset)
    panel.open()
    panel.event("on_hardest")
    assert panel.layout["about_shown"]["default"] == "Sorted by learnability by VGG-16, hardest first"
    panel.event("on_histogram_box", data=[{"idx": 0}, {"idx": 19}])
    assert panel.layout["about_shown"]["default"] == "Showing **10** of 20: learnability by VGG-16 0 to 0.5"
    # a filter that the user adds is not counted
    panel.filters = {"ground_truth.label": {"values": ["a"], "exclude": False, "isMatching": True}}
    panel.event("on_change_view")
    assert panel.layout["about_shown"]["default"] == "Learnability by VGG-16 0 to 0.5"
    panel.event("on_histogram_box", data=[{"idx": 0}, {"idx": 19}])
    assert panel.layout["about_shown"]["default"] == "Showing **5** of 10: learnability by VGG-16 0 to 0.5"


def test_what_is_shown_is_framed_in_its_plot(make_dataset: Callable[..., fo.Dataset]) -> None:
    dataset = make_dataset([f"/no/{index}.png" for index in range(20)], list("ab") * 10)
    write_scores(dataset, {"vgg16": np.linspace(0, 1, 20), "resnet20": np.linspace(0, 1, 20)})
    panel = PanelHarness(dataset)
    panel.open()

    def frames(plot: str) -> list[dict[str, Any]]:
        frames: list[dict[str, Any]] = panel.layout[f"{plot}_plot"]["view"]["layout"].get("shapes", [])
        # the diagonal is a line
        frames = [shape for shape in frames if shape["type"] == "rect"]
        return [{name: round(shape[name], 6) for name in ("x0", "x1", "y0", "y1")} for shape in frames]

    panel.event("on_histogram_box", data=[{"idx": 0}, {"idx": 1}])
    assert frames("histogram") == [{"x0": 0, "x1": 0.05, "y0": 0, "y1": 1}]
    assert frames("pair") == []
    panel.event("on_pair_click", idx=0)
    assert frames("histogram") == []
    assert frames("pair") == [{"x0": 0, "x1": 0.125, "y0": 0, "y1": 0.125}]
    # the frame belongs to the plot of these networks only
    panel.choose("first", "resnet20" if panel.chosen["first"] == "VGG-16" else "vgg16")
    assert frames("pair") == []
    panel.tab("classes")
    panel.event("on_class", idx=[1, 19])
    assert frames("classes") == [{"x0": 0.95, "x1": 1, "y0": 0.5, "y1": 1.5}]
    panel.event("on_reset")
    assert frames("classes") == []


def test_a_fingerprint_ignores_what_the_browser_changes(scope: Any) -> None:
    fingerprint = scope.fingerprint
    ids = [str(ObjectId()) for _ in range(3)]
    stage = {"_cls": "fiftyone.core.stages.Select", "kwargs": [["sample_ids", ids], ["ordered", False]], "_uuid": "1"}
    assert fingerprint([stage]) == fingerprint([{**stage, "_uuid": "2"}])
    assert fingerprint([{"a": 1.0, "b": [1.0, "x"]}]) == fingerprint([{"a": 1, "b": (1, "x")}])
    others = [[["sample_ids", ids[::-1]], ["ordered", False]], [["sample_ids", ids], ["ordered", True]]]
    assert len({fingerprint([stage]), *(fingerprint([{**stage, "kwargs": other}]) for other in others)}) == 3


def test_a_reset_unticks_only_what_the_panel_has_ticked(make_dataset: Callable[..., fo.Dataset]) -> None:
    dataset = make_dataset([f"/no/{index}.png" for index in range(20)], list("ab") * 10)
    write_scores(dataset, {"resnet20": np.linspace(0, 1, 20), "vgg16": np.linspace(1, 0, 20)})
    panel = PanelHarness(dataset, active_fields=["tags", "learnability_vgg16"])
    panel.open()
    panel.choose("first", "vgg16")
    panel.event("on_hardest")
    assert panel.active_fields == ["tags", "learnability_vgg16", "learnability_rank_vgg16"]
    # the fields of another view take their place
    panel.choose("first", "resnet20")
    panel.event("on_easiest")
    assert panel.active_fields[2:] == ["learnability_resnet20", "learnability_rank_resnet20"]
    panel.active_fields = [*panel.active_fields, "ground_truth"]
    panel.event("on_reset")
    assert panel.active_fields == ["tags", "learnability_vgg16", "ground_truth"]


def test_a_reset_restores_filters_and_the_saved_view_they_belong_to(make_dataset: Callable[..., fo.Dataset]) -> None:
    dataset = make_dataset([f"/no/{index}.png" for index in range(20)], list("ab") * 10)
    write_scores(dataset, {"vgg16": np.linspace(0, 1, 20)})
    dataset.save_view("The first ones", dataset.limit(10))
    of_label = {"ground_truth.label": {"values": ["a"], "exclude": False, "isMatching": True}}
    of_score = {"learnability_vgg16": {"range": [0, 0.3], "exclude": False, "isMatching": False}}
    panel = PanelHarness(dataset, view_name="The first ones", filters=of_label)
    panel.stages = through_browser(serialize_stages(dataset.limit(10)))
    panel.open()
    panel.event("on_hardest")
    assert (panel.view_name, panel.filters, len(panel.ids)) == (None, {}, 5)
    # filters that the user adds to what the panel shows, and another click
    panel.filters = of_score
    panel.event("on_easiest")
    assert len(panel.ids) == 3
    panel.event("on_reset")
    assert (panel.view_name, panel.filters) == ("The first ones", {**of_label, **of_score})
    # the filters belong to that view alone
    panel = PanelHarness(dataset, filters=of_label, follow=False)
    panel.open()
    panel.event("on_hardest")
    panel.event("on_reset")
    assert not panel.show(dataset.limit(3)).called("set_filters")
    assert not panel.show(None).called("set_filters")
