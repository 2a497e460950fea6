from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import fiftyone_learnability as fol

from ..harness import PanelHarness, plugin_module
from ..made_up import write_scores
from .cases import COUNT, ScoredDataset, inside, inside_any, positions


def test_the_data_map_is_exact(scored: ScoredDataset, rng: np.random.Generator) -> None:
    panel = scored.open_panel(first="resnet20")
    answer = panel.tab("map")
    assert answer.drawn == ["map"]
    (trace,) = panel.data["map"]
    variability, learnability, hits = (
        scored.values["resnet20", score] for score in ("variability", "learnability", "hits")
    )
    bins = int(np.sqrt(COUNT))
    right, up = np.linspace(0, 0.5, bins + 1), np.linspace(0, 1, bins + 1)
    seen: list[str] = []
    places = []
    for index, (x, y) in enumerate(positions(trace)):
        column, row = int(np.searchsorted(right, x)) - 1, int(np.searchsorted(up, y)) - 1
        places.append((column, row))
        cell = inside(variability, right, column) & inside(learnability, up, row)
        panel.event("on_map_click", idx=index)
        assert sorted(panel.ids) == scored.chosen(cell)
        assert trace["text"][index].split()[0] == str(cell.sum())
        assert trace["marker"]["color"][index] == pytest.approx(hits[cell].mean(), abs=1e-3)
        seen += panel.ids
    assert sorted(seen) == scored.chosen(np.ones(COUNT, bool))
    for _ in range(5):
        picked = rng.choice(len(places), 4, replace=False).tolist()
        panel.event("on_map_box", data=[{"idx": index} for index in picked])
        some = np.array([places[index] for index in picked])
        (left, low), (end, high) = some.min(axis=0), some.max(axis=0)
        expected = inside_any(variability, right, left, end) & inside_any(learnability, up, low, high)
        assert sorted(panel.ids) == scored.chosen(expected)
    shape = answer.layout["map_plot"]["view"]["layout"]
    names = {note["text"]: (note["x"], note["y"]) for note in shape["annotations"]}
    assert names["<b>easy to learn</b>"][1] > names["<b>ambiguous</b>"][1] > names["<b>hard to learn</b>"][1]
    assert names["<b>ambiguous</b>"][0] > 0.5 > names["<b>hard to learn</b>"][0]
    # the names stand beside the cells, whose range is [0, 0.5] x [0, 1], in strips of 8 %
    assert shape["xaxis"]["range"] == pytest.approx([0, 0.54])
    assert shape["yaxis"]["range"] == pytest.approx([-0.08, 1.08])
    assert {names["<b>easy to learn</b>"][1], names["<b>hard to learn</b>"][1]} == {0, 1}
    assert names["<b>ambiguous</b>"][0] == 1
    assert shape["xaxis"]["title"]["text"] == "variability by ResNet-20"
    # a point of an outdated map
    assert not panel.event("on_map_click", idx=10_000).called("set_view")


def test_the_data_map_does_not_grow(make_dataset: Any, rng: np.random.Generator) -> None:
    module = plugin_module("panel.data_map")
    sizes = []
    for count in (20_000, 200_000):
        made = module.make_map(rng.uniform(0, 0.5, count), rng.random(count), rng.random(count))
        traces, shape = module.draw_map(made, "resnet20")
        assert made.cells.counts.sum() == count
        assert len(traces[0]["x"]) <= 3600
        sizes.append(len(json.dumps([traces, shape])))
    assert sizes[1] < 1.1 * sizes[0] < 300_000


def test_unknown_hits_do_not_affect_the_colour(rng: np.random.Generator) -> None:
    module = plugin_module("panel.data_map")
    made = module.make_map(np.array([0.1, 0.1, 0.4]), np.array([0.5, 0.5, 0.9]), np.array([0.25, np.nan, np.nan]))
    (trace,), _ = module.draw_map(made, "resnet20")
    assert trace["marker"]["color"] == [0.25, None]
    assert [text.split()[0] for text in trace["text"]] == ["2", "1"]
    json.dumps(trace, allow_nan=False)


def test_the_data_map_needs_no_fields(make_dataset: Any, rng: np.random.Generator) -> None:
    dataset = make_dataset([f"/no/{index}.png" for index in range(40)], list("ab") * 20)
    measured = {"hits": rng.random(40), "variability": rng.uniform(0, 0.5, 40)}
    write_scores(dataset, {"resnet20": rng.random(40)}, more={"resnet20": measured})
    drawn = []
    for _ in range(2):
        panel = PanelHarness(dataset)
        panel.open()
        assert panel.tab("map").drawn == ["map"]
        drawn.append(panel.data["map"])
        shown = []
        for index, text in enumerate(panel.data["map"][0]["text"]):
            panel.event("on_map_click", idx=index)
            assert text.split()[0] == str(len(panel.ids))
            shown += panel.ids
        assert sorted(shown) == sorted(dataset.values("id"))
        # now the same from fields
        fol.add_scores(dataset)
    assert drawn[0] == drawn[1]


def test_the_data_map_says_why_it_is_empty(scored: ScoredDataset) -> None:
    for model in ("mine", "consensus"):
        panel = scored.open_panel(first=model)
        answer = panel.tab("map")
        assert not answer.drawn
        assert "trained here" in answer.layout["about_map"]["default"]
        assert not panel.event("on_map_click", idx=0).called("set_view")
