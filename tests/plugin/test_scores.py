"""Any score against any other, and the data map: what a click shows is counted anew with numpy from the raw values."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import fiftyone as fo
import numpy as np
import pytest
from numpy.typing import NDArray

import fiftyone_learnability as fol

from .harness import PanelHarness, plugin_module
from .made_up import MODELS, add_samples, awkward_scores, write_scores
from .test_panel import inside

COUNT = 300
Values = NDArray[np.float64]


@dataclass
class Case:
    """A dataset and, by (network, score), what was written to it in the order of its samples."""

    dataset: fo.Dataset
    ids: NDArray[Any]
    values: dict[tuple[str, str], Values]

    def chosen(self, mask: NDArray[np.bool_]) -> list[str]:
        return sorted(self.ids[mask].tolist())


def awkward(count: int, low: float, high: float, rng: np.random.Generator) -> Values:
    """Values of which half lie on the edges of bins between two limits or just beside them, the limits among them."""
    edges = np.concatenate([np.linspace(low, high, bins + 1) for bins in (8, 9, 10, 17, 40)])
    values = rng.uniform(low, high, count)
    on = rng.choice(count, count // 2, replace=False)
    near = np.concatenate([edges, np.nextafter(edges, low), np.nextafter(edges, high)])
    values[on] = np.clip(rng.choice(near, len(on)), low, high)
    values[:4] = [low, high, low, high]
    return rng.permutation(values)


@pytest.fixture(scope="module")
def case() -> Iterator[Case]:
    """Two trained networks, one with all scores; one from elsewhere, without limits; and their consensus."""
    rng = np.random.default_rng(11)
    dataset = fo.Dataset()
    ids = np.array(add_samples(dataset, [None if index % 30 == 0 else "ab"[index % 2] for index in range(COUNT)]))
    ease = {model: awkward_scores(COUNT, 10, rng) for model in MODELS[:2]}
    forgetting = rng.integers(0, 90, COUNT).astype(float)
    forgetting[rng.choice(COUNT, 21, replace=False)] = np.inf
    ambiguity = awkward(COUNT, 0.2, 1.7, rng)
    ambiguity[rng.choice(COUNT, 17, replace=False)] = np.nan
    measured = {
        "hits": rng.integers(0, 5, COUNT) / 4,
        "variability": awkward(COUNT, 0, 0.5, rng),
        "forgetting": forgetting,
        "learned_epoch": rng.integers(1, 6, COUNT).astype(float),
        "aum": awkward(COUNT, -7.3, 11.9, rng),
        "ambiguity": ambiguity,
    }
    written = ["learnability", "rank", *measured]
    write_scores(dataset, {"resnet20": ease["resnet20"]}, "all", more={"resnet20": measured}, written=written)
    write_scores(dataset, {"vgg16": ease["vgg16"]}, "two", more={"vgg16": measured})
    own = rng.normal(40, 25, COUNT)
    own[::50] = -80.0
    table = {"id": ids[:-30], "learnability": own[:-30], "forgetting": np.full(COUNT - 30, 1.5)}
    fol.write_scores(dataset, table, "mine", key="mine")
    fol.write_consensus(dataset, ["resnet20", "vgg16"])
    paths = {
        (note["model"], note["score"]): name
        for name, field in dataset.get_field_schema().items()
        if (note := (field.info or {}).get("learnability"))
    }
    values = {
        place: np.array([np.nan if one is None else one for one in dataset.values(path)], float)
        for place, path in paths.items()
    }
    yield Case(dataset, ids, values)
    dataset.delete()


def open_with(case: Case, **controls: str) -> PanelHarness:
    panel = PanelHarness(case.dataset, follow=False)
    panel.state["controls"] = controls
    panel.open()
    return panel


def edges_between(centres: list[float], values: Values, limits: tuple[float | None, float | None]) -> Values:
    """The edges of as many bins as a plot shows, over limits or what is in place of None, the values' own."""
    known = values[np.isfinite(values)]
    low, high = (own if limit is None else limit for limit, own in zip(limits, (known.min(), known.max()), strict=True))
    return np.linspace(low, high, len(centres) + 1)


def whole_edges(centres: list[float], low: float) -> Values:
    width = round(centres[1] - centres[0])
    return low - 0.5 + width * np.arange(len(centres) + 1)


def edges_of(score: str, centres: list[float], values: Values) -> Values:
    """The edges that a plot has to have, from the definition of the score."""
    if score in ("rank", "learned_epoch"):
        return whole_edges(centres, 1)
    if score == "forgetting" and (values[np.isfinite(values)] % 1 == 0).all():
        return whole_edges(centres, 0)
    known = values[np.isfinite(values)]
    limits: dict[str, tuple[float | None, float | None]] = {
        "hits": (0, 1),
        "variability": (0, 0.5),
        "ambiguity": (0, None),
        "disagreement": (0, None),
    }
    if score == "learnability":
        respected = known.min() >= 0 and known.max() <= 1
        return edges_between(centres, values, (0, 1) if respected else (None, None))
    return edges_between(centres, values, limits.get(score, (None, None)))


PAIRS = [
    (("resnet20", "aum"), ("vgg16", "learnability")),
    (("resnet20", "forgetting"), ("resnet20", "variability")),
    (("resnet20", "ambiguity"), ("resnet20", "learned_epoch")),
    (("resnet20", "hits"), ("mine", "learnability")),
    (("mine", "learnability"), ("vgg16", "rank")),
    (("consensus", "learnability"), ("consensus", "disagreement")),
    (("vgg16", "rank"), ("consensus", "rank")),
]


@pytest.mark.parametrize(("x", "y"), PAIRS, ids=str)
def test_a_cell_of_any_two_scores_shows_exactly_its_samples(
    case: Case, x: tuple[str, str], y: tuple[str, str], rng: np.random.Generator
) -> None:
    panel = open_with(case, first=x[0], quantity=x[1], second=y[0], against=y[1])
    heat, points = panel.data["pair"]
    first, second = case.values[x], case.values[y]
    right, up = edges_of(x[1], heat["x"], first), edges_of(y[1], heat["y"], second)
    np.testing.assert_allclose(heat["x"], (right[:-1] + right[1:]) / 2, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(heat["y"], (up[:-1] + up[1:]) / 2, rtol=1e-6, atol=1e-6)
    columns = np.array([inside(first, right, bin) for bin in range(len(right) - 1)])
    rows = np.array([inside(second, up, bin) for bin in range(len(up) - 1)])
    drawn = np.array([[0 if value is None else round(10**value) for value in line] for line in heat["z"]])
    np.testing.assert_array_equal(drawn, (rows[:, None] & columns[None]).sum(axis=2))
    known = np.isfinite(first) & np.isfinite(second)
    assert drawn.sum() == known.sum() > 200
    places = [(int(np.searchsorted(right, a)) - 1, int(np.searchsorted(up, b)) - 1) for a, b in positions(points)]
    assert len(places) == (drawn > 0).sum() > 15
    for index, (column, row) in list(enumerate(places))[:: max(1, len(places) // 25)]:
        panel.event("on_pair_click", idx=index)
        assert sorted(panel.ids) == case.chosen(columns[column] & rows[row])
        assert points["text"][index].split()[0] == str(len(panel.ids))
    # a box over everything: all that is counted, and nothing that is left out
    panel.event("on_pair_box", data=[{"idx": index} for index in range(len(places))])
    assert sorted(panel.ids) == case.chosen(known)
    for _ in range(4):
        caught = rng.choice(len(places), 3, replace=False).tolist()
        panel.event("on_pair_box", data=[{"idx": index} for index in caught])
        some = np.array([places[index] for index in caught])
        (left, low), (end, high) = some.min(axis=0), some.max(axis=0)
        assert sorted(panel.ids) == case.chosen(columns[left : end + 1].any(axis=0) & rows[low : high + 1].any(axis=0))


def positions(trace: dict[str, Any]) -> list[tuple[float, float]]:
    return list(zip(trace["x"], trace["y"], strict=True))


@pytest.mark.parametrize(
    "place",
    [
        ("resnet20", "aum"),
        ("resnet20", "forgetting"),
        ("resnet20", "ambiguity"),
        ("mine", "learnability"),
        ("mine", "forgetting"),
        ("consensus", "disagreement"),
    ],
    ids=str,
)
def test_bars_of_any_score_show_exactly_their_samples(case: Case, place: tuple[str, str]) -> None:
    panel = open_with(case, first=place[0], quantity=place[1])
    (bars,) = panel.data["histogram"]
    values = case.values[place]
    known = np.isfinite(values)
    assert sum(bars["y"]) == known.sum()
    seen: list[str] = []
    for bin in np.flatnonzero(bars["y"]).tolist():
        panel.event("on_histogram_click", idx=bin)
        assert len(panel.ids) == bars["y"][bin]
        low, high = bars["x"][bin] - bars["width"] / 2, bars["x"][bin] + bars["width"] / 2
        chosen = values[np.isin(case.ids, panel.ids)]
        slack = 1e-5 * max(1, abs(low), abs(high))
        assert ((chosen >= low - slack) & (chosen <= high + slack)).all()
        seen += panel.ids
    # each sample in one bar
    assert sorted(seen) == case.chosen(known)
    panel.event("on_histogram_box", data=[{"idx": 0}, {"idx": len(bars["y"]) - 1}])
    assert sorted(panel.ids) == case.chosen(known)


def test_the_caption_says_what_is_left_out(case: Case) -> None:
    panel = open_with(case, first="resnet20", quantity="forgetting", second="resnet20", against="ambiguity")
    layout = panel.event("on_timer").layout
    assert "left out: 21 with an infinite one" in layout["about_histogram"]["default"]
    missing = np.isnan(case.values["resnet20", "ambiguity"])
    infinite = np.isinf(case.values["resnet20", "forgetting"]) & ~missing
    said = f"left out: 17 without a value, {infinite.sum()} with an infinite one"
    assert said in layout["about_pair"]["default"]
    assert "infinite = never predicted" in layout["about_score"]["default"]
    layout = open_with(case, first="resnet20", quantity="aum").event("on_timer").layout
    assert "left out" not in layout["about_histogram"]["default"]


def dropdown(panel: PanelHarness, name: str) -> list[str]:
    controls = panel.event("on_timer").layout["controls"]["type"]["properties"]
    return [choice["value"] for choice in controls[name]["view"]["choices"]] if name in controls else []


def test_the_dropdowns_offer_what_is_written(case: Case) -> None:
    panel = PanelHarness(case.dataset)
    panel.open()
    assert panel.state["controls"] == {
        "first": "resnet20",
        "quantity": "learnability",
        "second": "vgg16",
        "against": "same",
    }
    assert dropdown(panel, "first") == dropdown(panel, "second") == ["resnet20", "vgg16", "mine", "consensus"]
    of_resnet = ["learnability", "rank", "hits", "variability", "forgetting", "learned_epoch", "aum", "ambiguity"]
    assert dropdown(panel, "quantity") == of_resnet
    # measured, but no fields
    assert dropdown(panel, "against") == ["same", "learnability", "rank"]
    # the second score follows the first as long as nothing else is chosen
    assert panel.data["pair"][1]["hovertemplate"].count("ResNet-20") == 1
    panel.choose("controls.quantity", "rank")
    view = panel.event("on_timer").layout["pair"]["view"]["layout"]
    assert (view["xaxis"]["title"]["text"], view["yaxis"]["title"]["text"]) == ("rank by ResNet-20", "rank by VGG-16")
    # a score that the other has not is compared with its learnability
    panel.choose("controls.quantity", "aum")
    assert panel.state["controls"]["against"] == "learnability"
    view = panel.event("on_timer").layout["pair"]["view"]["layout"]
    titles = (view["xaxis"]["title"]["text"], view["yaxis"]["title"]["text"])
    assert titles == ("AUM by ResNet-20", "learnability by VGG-16")
    # the same network twice, with two scores
    panel.choose("controls.second", "resnet20")
    assert panel.state["controls"]["second"] == "resnet20"
    assert panel.event("on_timer").layout["pair"]["view"]["layout"]["yaxis"]["title"]["text"] == (
        "learnability by ResNet-20"
    )
    # a score that the newly chosen network has not
    panel.choose("controls.first", "vgg16")
    assert (panel.state["controls"]["first"], panel.state["controls"]["quantity"]) == ("vgg16", "learnability")
    assert not panel.event("on_control").drawn


def test_the_matrix_is_of_networks(case: Case) -> None:
    panel = open_with(case, first="consensus", second="vgg16")
    (trace,) = panel.data["matrix"]
    assert trace["x"] == ["ResNet-20", "VGG-16", "mine"]
    first, second = case.values["resnet20", "learnability"], case.values["mine", "learnability"]
    known = np.isfinite(second)
    assert trace["z"][0][2] == pytest.approx(np.corrcoef(first[known], second[known])[0, 1], abs=1e-4)
    # nothing is framed, since the consensus is no network
    assert panel.event("on_timer").layout["matrix"]["view"]["layout"]["shapes"] == []
    assert "ResNet-20, VGG-16, mine and Consensus" in panel.event("on_timer").layout["scope"]["default"]


def test_the_consensus_sorts_the_grid(case: Case) -> None:
    panel = open_with(case, first="consensus", second="mine")
    of_id = dict(zip(case.ids, case.values["consensus", "learnability"], strict=True))
    panel.event("on_hardest")
    assert [of_id[id] for id in panel.ids] == sorted(of_id.values())
    for tab in ("map", "labels", "examples", "classes", "curves", "compare"):
        panel.tab(tab)
    assert sum(panel.data["histogram"][0]["y"]) == COUNT


@pytest.mark.parametrize("model", ["mine", "consensus"])
def test_classes_of_learnability_without_limits(case: Case, model: str) -> None:
    panel = open_with(case, first=model)
    panel.tab("classes")
    (heat,) = panel.data["classes"]
    values = case.values[model, "learnability"]
    labels = np.array([label or "" for label in case.dataset.values("ground_truth.label")])
    seen = []
    for row, line in enumerate(heat["z"]):
        for column, share in enumerate(line):
            if share is not None:
                panel.event("on_class", idx=[row, column])
                assert heat["text"][row][column].split()[0] == str(len(panel.ids))
                seen += panel.ids
    assert sorted(seen) == case.chosen(np.isfinite(values) & (labels != ""))


def test_what_is_sent_is_json(case: Case) -> None:
    """JavaScript knows neither NaN nor Infinity."""
    panel = open_with(case, first="resnet20", quantity="forgetting", second="mine")
    for tab in ("map", "labels", "examples", "classes", "curves", "compare"):
        answer = panel.tab(tab)
        json.dumps(answer.calls, allow_nan=False)
    json.dumps(panel.data, allow_nan=False)
    # the network from elsewhere has no epochs to draw
    assert {trace["name"] for trace in panel.data["trainings"]} == {"ResNet-20", "VGG-16"}


def test_one_network_shows_two_of_its_scores(make_dataset: Any, rng: np.random.Generator) -> None:
    dataset = make_dataset([f"/no/{index}.png" for index in range(60)], list("ab") * 30)
    aum = rng.normal(0, 4, 60)
    write_scores(
        dataset,
        {"resnet20": rng.random(60)},
        more={"resnet20": {"aum": aum, "hits": rng.random(60)}},
        written=["learnability", "rank", "aum"],
    )
    panel = PanelHarness(dataset)
    assert panel.open().drawn == ["pair", "histogram"]
    assert panel.state["controls"]["against"] == "aum"
    assert dropdown(panel, "second") == []
    assert dropdown(panel, "against") == ["aum", "rank"]
    panel.choose("controls.quantity", "aum")
    assert panel.state["controls"]["against"] == "learnability"
    assert "Compute a second network" not in panel.event("on_timer").text()


def test_one_network_with_nothing_to_compare_offers_more_scores(make_dataset: Any) -> None:
    dataset = make_dataset([f"/no/{index}.png" for index in range(20)], list("ab") * 10)
    write_scores(dataset, {"resnet20": np.linspace(0, 1, 20)})
    panel = PanelHarness(dataset)
    assert panel.open().drawn == ["histogram"]
    assert panel.event("on_timer").layout["more"]["view"]["label"] == "Write more scores"
    (prompt,) = panel.event("on_write_scores").called("prompt_user_for_operation")
    assert prompt["operator_uri"].endswith("/write_learnability_scores")
    assert prompt["params"] == {"models": ["resnet20"]}


def test_scores_that_are_all_the_same(make_dataset: Any) -> None:
    dataset = make_dataset([f"/no/{index}.png" for index in range(20)], list("ab") * 10)
    same = {"aum": np.full(20, -3.0), "spread": np.zeros(20), "ambiguity": np.full(20, np.nan)}
    write_scores(
        dataset, {"resnet20": np.full(20, 0.5)}, more={"resnet20": same}, written=["learnability", "rank", "aum"]
    )
    panel = PanelHarness(dataset)
    panel.state["controls"] = {"quantity": "aum"}
    panel.open()
    (bars,) = panel.data["histogram"]
    assert sorted(bars["y"])[-2:] == [0, 20]
    panel.event("on_histogram_click", idx=bars["y"].index(20))
    assert len(panel.ids) == 20


@pytest.mark.parametrize("values", [[], [np.nan], [np.inf, -np.inf], [0.0], [1e-300, 2e-300], [1e9, 1e9 + 1e-6]])
@pytest.mark.parametrize("score", ["learnability", "rank", "forgetting", "aum", "variability", "spread"])
def test_edges_hold_whatever_there_is(score: str, values: list[float]) -> None:
    binning = plugin_module("panel.binning")
    array = np.array(values, float)
    edges = binning.score_edges(score, 10, array)
    known = array[np.isfinite(array)]
    assert np.isfinite(edges).all()
    assert (np.diff(edges) > 0).all()
    assert len(edges) <= 12
    assert np.histogram(known, edges)[0].sum() == len(known)


# the data map


def test_the_data_map_is_exact(case: Case, rng: np.random.Generator) -> None:
    panel = open_with(case, first="resnet20")
    answer = panel.tab("map")
    assert answer.drawn == ["map"]
    (trace,) = panel.data["map"]
    variability, learnability, hits = (
        case.values["resnet20", score] for score in ("variability", "learnability", "hits")
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
        assert sorted(panel.ids) == case.chosen(cell)
        assert trace["text"][index].split()[0] == str(cell.sum())
        assert trace["marker"]["color"][index] == pytest.approx(hits[cell].mean(), abs=1e-3)
        seen += panel.ids
    assert sorted(seen) == case.chosen(np.ones(COUNT, bool))
    for _ in range(5):
        caught = rng.choice(len(places), 4, replace=False).tolist()
        panel.event("on_map_box", data=[{"idx": index} for index in caught])
        some = np.array([places[index] for index in caught])
        (left, low), (end, high) = some.min(axis=0), some.max(axis=0)
        expected = np.any([inside(variability, right, bin) for bin in range(left, end + 1)], axis=0)
        expected &= np.any([inside(learnability, up, bin) for bin in range(low, high + 1)], axis=0)
        assert sorted(panel.ids) == case.chosen(expected)
    shape = answer.layout["map"]["view"]["layout"]
    names = {note["text"]: (note["x"], note["y"]) for note in shape["annotations"]}
    assert names["<b>easy to learn</b>"][1] > names["<b>ambiguous</b>"][1] > names["<b>hard to learn</b>"][1]
    assert names["<b>ambiguous</b>"][0] > 0.5 > names["<b>hard to learn</b>"][0]
    assert shape["xaxis"]["title"]["text"] == "variability by ResNet-20"
    # a point of a map that has changed meanwhile
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


def test_hits_that_are_not_known_leave_the_colour_open(rng: np.random.Generator) -> None:
    module = plugin_module("panel.data_map")
    made = module.make_map(np.array([0.1, 0.1, 0.4]), np.array([0.5, 0.5, 0.9]), np.array([0.25, np.nan, np.nan]))
    (trace,), _ = module.draw_map(made, "resnet20")
    assert trace["marker"]["color"] == [0.25, None]
    assert [text.split()[0] for text in trace["text"]] == ["2", "1"]
    json.dumps(trace, allow_nan=False)


def test_the_data_map_writes_what_it_needs(make_dataset: Any, rng: np.random.Generator) -> None:
    dataset = make_dataset([f"/no/{index}.png" for index in range(40)], list("ab") * 20)
    measured = {"hits": rng.random(40), "variability": rng.uniform(0, 0.5, 40), "aum": rng.random(40)}
    write_scores(dataset, {"resnet20": rng.random(40)}, more={"resnet20": measured})
    panel = PanelHarness(dataset)
    panel.open()
    answer = panel.tab("map")
    assert not answer.drawn
    assert "variability and hits by ResNet-20" in answer.layout["about_map"]["default"]
    assert answer.layout["write_map"]["view"]["label"] == "Write variability and hits"
    answer = panel.event("on_write_map")
    assert answer.called("reload_dataset")
    assert answer.called("notify")[0]["variant"] == "success"
    assert answer.drawn == ["map"]
    assert "write_map" not in answer.layout
    dataset.reload()
    assert dataset.values("learnability_resnet20_hits") == pytest.approx(measured["hits"].tolist())
    # and nothing else, nor twice
    assert not dataset.has_field("learnability_resnet20_aum")
    assert not panel.event("on_write_map").called("reload_dataset")


def test_the_data_map_says_what_cannot_be_drawn(case: Case) -> None:
    for model in ("mine", "consensus"):
        panel = open_with(case, first=model)
        answer = panel.tab("map")
        assert not answer.drawn
        assert "trained here" in answer.layout["about_map"]["default"]
        assert "write_map" not in answer.layout
        (told,) = panel.event("on_write_map").called("notify")
        assert told["variant"] == "error"
        assert not panel.event("on_map_click", idx=0).called("set_view")


def test_new_scores_appear_in_the_open_panel(make_dataset: Any, rng: np.random.Generator) -> None:
    dataset = make_dataset([f"/no/{index}.png" for index in range(40)], list("ab") * 20)
    write_scores(dataset, {"resnet20": rng.random(40)}, more={"resnet20": {"aum": rng.normal(size=40)}})
    panel = PanelHarness(dataset)
    assert panel.open().drawn == ["histogram"]
    fol.add_scores(dataset)
    assert panel.event("on_written").drawn == ["pair", "histogram"]
    dataset.delete_sample_field("learnability_resnet20_aum")
    assert panel.event("on_change_view").drawn == ["histogram"]
