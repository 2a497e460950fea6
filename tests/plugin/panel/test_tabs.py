"""Histograms, classes and choices of every kind of score; NumPy counts again what a click has to show."""

from __future__ import annotations

import json
from typing import Any

import fiftyone as fo
import numpy as np
import pytest

import fiftyone_learnability as fol
from fiftyone_learnability.scores.catalog import SCORES

from ..harness import PanelHarness, plugin_module
from ..made_up import write_scores
from .cases import COUNT, ScoredDataset, Values, inside, positions


def edges_between(centres: list[float], values: Values, limits: tuple[float | None, float | None]) -> Values:
    """Return the edges of as many bins as a plot shows, between limits; None means the smallest or largest value."""
    known = values[np.isfinite(values)]
    low, high = (own if limit is None else limit for limit, own in zip(limits, (known.min(), known.max()), strict=True))
    return np.linspace(low, high, len(centres) + 1)


def whole_edges(centres: list[float], low: float) -> Values:
    width = round(centres[1] - centres[0])
    return low - 0.5 + width * np.arange(len(centres) + 1)


def edges_of(score: str, centres: list[float], values: Values) -> Values:
    """Return the edges that a plot has to have by the definition of the score."""
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
    scored: ScoredDataset, x: tuple[str, str], y: tuple[str, str], rng: np.random.Generator
) -> None:
    panel = scored.open_panel(first=x[0], quantity=x[1], second=y[0], against=y[1])
    heat, points = panel.data["pair"]
    first, second = scored.values[x], scored.values[y]
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
        assert sorted(panel.ids) == scored.chosen(columns[column] & rows[row])
        assert points["text"][index].split()[0] == str(len(panel.ids))
    # a box over everything shows all samples that are counted
    panel.event("on_pair_box", data=[{"idx": index} for index in range(len(places))])
    assert sorted(panel.ids) == scored.chosen(known)
    for _ in range(4):
        picked = rng.choice(len(places), 3, replace=False).tolist()
        panel.event("on_pair_box", data=[{"idx": index} for index in picked])
        some = np.array([places[index] for index in picked])
        (left, low), (end, high) = some.min(axis=0), some.max(axis=0)
        in_box = columns[left : end + 1].any(axis=0) & rows[low : high + 1].any(axis=0)
        assert sorted(panel.ids) == scored.chosen(in_box)


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
def test_bars_of_any_score_show_exactly_their_samples(scored: ScoredDataset, place: tuple[str, str]) -> None:
    panel = scored.open_panel(first=place[0], quantity=place[1])
    (bars,) = panel.data["histogram"]
    values = scored.values[place]
    known = np.isfinite(values)
    assert sum(bars["y"]) == known.sum()
    seen: list[str] = []
    for bin in np.flatnonzero(bars["y"]).tolist():
        panel.event("on_histogram_click", idx=bin)
        assert len(panel.ids) == bars["y"][bin]
        low, high = bars["x"][bin] - bars["width"] / 2, bars["x"][bin] + bars["width"] / 2
        chosen = values[np.isin(scored.ids, panel.ids)]
        slack = 1e-5 * max(1, abs(low), abs(high))
        assert ((chosen >= low - slack) & (chosen <= high + slack)).all()
        seen += panel.ids
    # each sample is in one bar
    assert sorted(seen) == scored.chosen(known)
    panel.event("on_histogram_box", data=[{"idx": 0}, {"idx": len(bars["y"]) - 1}])
    assert sorted(panel.ids) == scored.chosen(known)


def test_the_caption_says_what_is_omitted(scored: ScoredDataset) -> None:
    panel = scored.open_panel(first="resnet20", quantity="forgetting", second="resnet20", against="ambiguity")
    layout = panel.layout
    assert "omitted: 21 with an infinite value" in layout["about_histogram"]["default"]
    missing = np.isnan(scored.values["resnet20", "ambiguity"])
    infinite = np.isinf(scored.values["resnet20", "forgetting"]) & ~missing
    caption = f"omitted: 17 without a value, {infinite.sum()} with an infinite value"
    assert caption in layout["about_pair"]["default"]
    assert "infinite = never predicted" in layout["about_score"]["default"]
    layout = scored.open_panel(first="resnet20", quantity="aum").layout
    assert "omitted" not in layout["about_histogram"]["default"]


def titles(panel: PanelHarness) -> tuple[str, str]:
    """Return the titles of the axes of the 2-D histogram."""
    layout = panel.layout["pair_plot"]["view"]["layout"]
    return layout["xaxis"]["title"]["text"], layout["yaxis"]["title"]["text"]


def test_the_pair_is_square_and_has_a_diagonal_if_both_axes_show_the_same_score(scored: ScoredDataset) -> None:
    panel = scored.open_panel(first="resnet20", quantity="aum", second="resnet20", against="ambiguity")
    layout = panel.layout["pair_plot"]["view"]["layout"]
    (left, right), (low, high) = layout["xaxis"]["range"], layout["yaxis"]["range"]
    assert layout["yaxis"]["scaleanchor"] == "x"
    assert layout["yaxis"]["scaleratio"] * (high - low) == pytest.approx(right - left)
    assert layout["xaxis"]["constrain"] == layout["yaxis"]["constrain"] == "domain"
    assert layout["shapes"] == []
    panel = scored.open_panel(first="resnet20", quantity="rank", second="vgg16")
    layout = panel.layout["pair_plot"]["view"]["layout"]
    (diagonal,) = layout["shapes"]
    assert [diagonal["x0"], diagonal["x1"]] == [diagonal["y0"], diagonal["y1"]] == layout["xaxis"]["range"]
    matrix = panel.layout["matrix_plot"]["view"]["layout"]
    assert matrix["yaxis"]["scaleanchor"] == "x"
    assert matrix["yaxis"]["scaleratio"] == 1
    assert (matrix["xaxis"]["range"], matrix["yaxis"]["range"]) == ([-0.5, 2.5], [2.5, -0.5])


def test_the_badges_offer_what_was_measured(scored: ScoredDataset) -> None:
    panel = PanelHarness(scored.dataset)
    panel.open()
    assert panel.chosen == {
        "first": "ResNet-20",
        "quantity": "Learnability",
        "second": "VGG-16",
        "against": "Learnability",
    }
    assert panel.options("first") == ["ResNet-20", "VGG-16", "mine", "Consensus"]
    # what is chosen comes first, because a badge shows the first one
    assert panel.options("second") == ["VGG-16", "ResNet-20", "mine", "Consensus"]
    of_resnet = ["learnability", "rank", "hits", "variability", "forgetting", "learned_epoch", "aum", "ambiguity"]
    assert panel.options("quantity") == [SCORES[score].title for score in of_resnet]
    # only learnability and rank of this network are fields
    assert panel.options("against") == panel.options("quantity")
    # the second score follows the first until another is chosen
    assert panel.data["pair"][1]["hovertemplate"].count("ResNet-20") == 1
    panel.choose("quantity", "rank")
    assert titles(panel) == ("rank by ResNet-20", "rank by VGG-16")
    panel.choose("quantity", "aum")
    assert titles(panel) == ("AUM by ResNet-20", "AUM by VGG-16")
    # if the other network does not have the score, its learnability is shown
    panel.choose("second", "mine")
    assert panel.chosen["against"] == "Learnability"
    assert titles(panel) == ("AUM by ResNet-20", "learnability by mine")
    # the same network twice, with two scores
    panel.choose("second", "resnet20")
    assert panel.chosen["second"] == "ResNet-20"
    assert titles(panel)[1] == "learnability by ResNet-20"
    # the newly chosen network does not have the score
    panel.choose("first", "mine")
    assert (panel.chosen["first"], panel.chosen["quantity"]) == ("mine", "Learnability")


def test_swapping_a_pair_keeps_its_scores(scored: ScoredDataset) -> None:
    panel = scored.open_panel(first="resnet20", second="vgg16")
    panel.event("on_matrix", idx=[1, 0])
    assert titles(panel) == ("learnability by VGG-16", "learnability by ResNet-20")


def test_networks_of_the_same_name_can_be_told_apart(make_dataset: Any) -> None:
    dataset = make_dataset([f"/no/{index}.png" for index in range(20)], list("ab") * 10)
    for model in ("resnet20", "ResNet-20", "vgg16"):
        write_scores(dataset, {model: np.linspace(0, 1, 20)}, model.replace("-", "_"))
    panel = PanelHarness(dataset)
    panel.open()
    assert sorted(panel.options("first")) == ["ResNet-20 (ResNet-20)", "ResNet-20 (resnet20)", "VGG-16"]
    panel.event("on_first", value="ResNet-20 (ResNet-20)")
    assert titles(panel)[0] == "learnability by ResNet-20"
    assert panel.chosen["first"] == "ResNet-20 (ResNet-20)"


def test_an_option_that_does_not_exist_changes_nothing(scored: ScoredDataset) -> None:
    panel = scored.open_panel(first="vgg16")
    for value in ("Nothing", None, 5, ["VGG-16"], {"$gt": 0}):
        for name in ("first", "quantity", "second", "against"):
            panel.event(f"on_{name}", value=value)
        panel.event("on_tab", tab=value)
        panel.event("on_order", order=value)
    assert panel.chosen["first"] == "VGG-16"
    assert "pair" in panel.data


def test_the_matrix_does_not_contain_the_consensus(scored: ScoredDataset) -> None:
    panel = scored.open_panel(first="consensus", second="vgg16")
    trace, _ = panel.data["matrix"]
    assert trace["x"] == ["ResNet-20", "VGG-16", "mine"]
    first, second = scored.values["resnet20", "learnability"], scored.values["mine", "learnability"]
    known = np.isfinite(second)
    assert trace["z"][0][2] == pytest.approx(np.corrcoef(first[known], second[known])[0, 1], abs=1e-4)
    # no cell is framed, because the pair contains the consensus
    assert panel.layout["matrix_plot"]["view"]["layout"]["shapes"] == []
    assert "ResNet-20, VGG-16, mine and Consensus" in panel.layout["scope"]["default"]


def test_the_consensus_sorts_the_grid(scored: ScoredDataset) -> None:
    panel = scored.open_panel(first="consensus", second="mine")
    of_id = dict(zip(scored.ids, scored.values["consensus", "learnability"], strict=True))
    panel.event("on_hardest")
    assert [of_id[id] for id in panel.ids] == sorted(of_id.values())
    for tab in ("map", "labels", "examples", "classes", "curves", "compare"):
        panel.tab(tab)
    assert sum(panel.data["histogram"][0]["y"]) == COUNT


@pytest.mark.parametrize("model", ["mine", "consensus"])
def test_classes_of_learnability_without_limits(scored: ScoredDataset, model: str) -> None:
    panel = scored.open_panel(first=model)
    panel.tab("classes")
    (heat,) = panel.data["classes"]
    values = scored.values[model, "learnability"]
    labels = np.array([label or "" for label in scored.dataset.values("ground_truth.label")])
    seen = []
    for row, line in enumerate(heat["z"]):
        for column, share in enumerate(line):
            if share is not None:
                panel.event("on_class", idx=[row, column])
                assert heat["text"][row][column].split()[0] == str(len(panel.ids))
                seen += panel.ids
    assert sorted(seen) == scored.chosen(np.isfinite(values) & (labels != ""))


def test_messages_to_the_browser_are_json(scored: ScoredDataset) -> None:
    """JavaScript knows neither NaN nor Infinity."""
    panel = scored.open_panel(first="resnet20", quantity="forgetting", second="mine")
    for tab in ("map", "labels", "examples", "classes", "compare", "curves"):
        answer = panel.tab(tab)
        json.dumps(answer.calls, allow_nan=False)
    # imported scores have no epochs to draw
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
    assert panel.options("second") == []
    assert panel.options("against") == ["Hits", "AUM", "Rank"]
    panel.choose("quantity", "hits")
    assert panel.chosen["against"] == "Learnability"
    assert "Compute a second network" not in panel.shown.text()


def test_a_network_with_one_score_has_nothing_to_compare(make_dataset: Any) -> None:
    dataset = make_dataset([f"/no/{index}.png" for index in range(20)], list("ab") * 10)
    write_scores(dataset, {"resnet20": np.linspace(0, 1, 20)})
    panel = PanelHarness(dataset)
    assert panel.open().drawn == ["histogram"]
    assert "Compute a second network" in panel.layout["about_pair"]["default"]
    assert "write" not in panel.layout


def test_equal_scores_share_a_bin(make_dataset: Any) -> None:
    dataset = make_dataset([f"/no/{index}.png" for index in range(20)], list("ab") * 10)
    same = {"aum": np.full(20, -3.0), "spread": np.zeros(20), "ambiguity": np.full(20, np.nan)}
    write_scores(
        dataset, {"resnet20": np.full(20, 0.5)}, more={"resnet20": same}, written=["learnability", "rank", "aum"]
    )
    panel = PanelHarness(dataset)
    panel.open()
    panel.choose("quantity", "aum")
    (bars,) = panel.data["histogram"]
    assert sorted(bars["y"])[-2:] == [0, 20]
    panel.event("on_histogram_click", idx=bars["y"].index(20))
    assert len(panel.ids) == 20


@pytest.fixture
def unwritten(make_dataset: Any, rng: np.random.Generator) -> tuple[fo.Dataset, Values]:
    """A dataset after a run with default scores, and the AUM that the run measured; some samples have no AUM."""
    dataset = make_dataset([f"/no/{index}.png" for index in range(80)], list("ab") * 40)
    aum = rng.normal(size=80)
    aum[::9] = np.nan
    write_scores(dataset, {"resnet20": rng.random(80)}, more={"resnet20": {"aum": aum}})
    return dataset, aum


def test_a_measured_score_needs_no_field(unwritten: tuple[fo.Dataset, Values]) -> None:
    dataset, aum = unwritten
    ids = np.array(dataset.values("id"))
    panel = PanelHarness(dataset)
    assert panel.open().drawn == ["pair", "histogram"]
    panel.choose("quantity", "aum")
    (bars,) = panel.data["histogram"]
    known = np.isfinite(aum)
    assert sum(bars["y"]) == known.sum()
    assert "omitted: 9 without a value" in panel.layout["about_histogram"]["default"]
    seen: list[str] = []
    for bin in np.flatnonzero(bars["y"]).tolist():
        panel.event("on_histogram_click", idx=bin)
        assert len(panel.ids) == bars["y"][bin]
        seen += panel.ids
    assert sorted(seen) == sorted(ids[known])
    # a cell of a score that is a field and one that is none
    points = panel.data["pair"][1]
    for index, text in enumerate(points["text"]):
        panel.event("on_pair_click", idx=index)
        assert text.split()[0] == str(len(panel.ids))
    for method, sign in (("on_highest", -1), ("on_lowest", 1)):
        panel.event(method)
        order = np.argsort(sign * aum, kind="stable")[: known.sum()]
        assert panel.ids == ids[order].tolist()
    assert not dataset.has_field("learnability_resnet20_aum")


def test_sorting_by_a_field(scored: ScoredDataset) -> None:
    panel = scored.open_panel(first="resnet20", quantity="aum")
    assert "write" not in panel.layout
    values = dict(zip(scored.ids, scored.values["resnet20", "aum"], strict=True))
    panel.event("on_highest")
    assert [values[id] for id in panel.ids] == sorted(values.values(), reverse=True)
    assert panel.active_fields == ["learnability_resnet20_aum"]


def test_a_score_without_a_field_sorts_so_many_samples(
    unwritten: tuple[fo.Dataset, Values], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, aum = unwritten
    monkeypatch.setattr(plugin_module("panel.panel"), "MOST_SORTED", 5)
    panel = PanelHarness(dataset)
    panel.open()
    panel.choose("quantity", "aum")
    panel.event("on_lowest")
    order = np.argsort(aum, kind="stable")[:5]
    assert panel.ids == [dataset.values("id")[index] for index in order]
    assert panel.layout["about_shown"]["default"].endswith("sorted by AUM by ResNet-20, lowest first, the first 5")
    panel.event("on_highest")
    assert panel.ids == [dataset.values("id")[index] for index in np.argsort(-aum, kind="stable")[:5]]
    # as a field, it has no limit
    panel.event("on_write")
    panel.event("on_lowest")
    assert len(panel.ids) == 71


def test_a_score_is_written_with_one_click(unwritten: tuple[fo.Dataset, Values]) -> None:
    dataset, aum = unwritten
    panel = PanelHarness(dataset)
    panel.open()
    assert "write" not in panel.layout
    panel.choose("quantity", "aum")
    assert panel.layout["write"]["view"]["label"] == "Write AUM as a field"
    answer = panel.event("on_write")
    assert answer.called("reload_dataset")
    assert answer.called("notify")[0]["message"] == "Wrote learnability_resnet20_aum"
    assert "write" not in panel.layout
    np.testing.assert_allclose(np.array(dataset.values("learnability_resnet20_aum"), float), aum)
    # the second click of a double click
    assert not panel.event("on_write").called("reload_dataset")


def test_new_scores_appear_in_the_open_panel(make_dataset: Any, rng: np.random.Generator) -> None:
    dataset = make_dataset([f"/no/{index}.png" for index in range(40)], list("ab") * 20)
    write_scores(dataset, {"resnet20": rng.random(40)}, more={"resnet20": {"aum": rng.normal(size=40)}})
    panel = PanelHarness(dataset)
    panel.open()
    panel.choose("quantity", "aum")
    drawn = panel.data
    fol.add_scores(dataset)
    panel.event("on_written")
    assert "write" not in panel.layout
    dataset.delete_sample_field("learnability_resnet20_aum")
    panel.event("on_change_view")
    assert "write" in panel.layout
    assert panel.data == drawn
