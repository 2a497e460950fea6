"""Histograms, classes and choices of every kind of score; NumPy counts again what a click has to show."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import fiftyone_learnability as fol
from fiftyone_learnability.scores.catalog import SCORES

from ..harness import PanelHarness
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


def test_the_badges_offer_the_written_scores(scored: ScoredDataset) -> None:
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
    # the others were measured but not written
    assert panel.options("against") == ["Learnability", "Rank"]
    # the second score follows the first until another is chosen
    assert panel.data["pair"][1]["hovertemplate"].count("ResNet-20") == 1
    panel.choose("quantity", "rank")
    assert titles(panel) == ("rank by ResNet-20", "rank by VGG-16")
    # if the other network does not have the score, its learnability is shown
    panel.choose("quantity", "aum")
    assert panel.chosen["against"] == "Learnability"
    assert titles(panel) == ("AUM by ResNet-20", "learnability by VGG-16")
    # the same network twice, with two scores
    panel.choose("second", "resnet20")
    assert panel.chosen["second"] == "ResNet-20"
    assert titles(panel)[1] == "learnability by ResNet-20"
    # the newly chosen network does not have the score
    panel.choose("first", "vgg16")
    assert (panel.chosen["first"], panel.chosen["quantity"]) == ("VGG-16", "Learnability")


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
    (trace,) = panel.data["matrix"]
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
    assert panel.options("against") == ["AUM", "Rank"]
    panel.choose("quantity", "aum")
    assert panel.chosen["against"] == "Learnability"
    assert "Compute a second network" not in panel.shown.text()


def test_a_network_with_one_score_offers_more_scores(make_dataset: Any) -> None:
    dataset = make_dataset([f"/no/{index}.png" for index in range(20)], list("ab") * 10)
    write_scores(dataset, {"resnet20": np.linspace(0, 1, 20)})
    panel = PanelHarness(dataset)
    assert panel.open().drawn == ["histogram"]
    assert panel.layout["more"]["view"]["label"] == "Write more scores"
    (prompt,) = panel.event("on_write_scores").called("prompt_user_for_operation")
    assert prompt["operator_uri"].endswith("/write_learnability_scores")
    assert prompt["params"] == {"models": ["resnet20"]}


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


def test_new_scores_appear_in_the_open_panel(make_dataset: Any, rng: np.random.Generator) -> None:
    dataset = make_dataset([f"/no/{index}.png" for index in range(40)], list("ab") * 20)
    write_scores(dataset, {"resnet20": rng.random(40)}, more={"resnet20": {"aum": rng.normal(size=40)}})
    panel = PanelHarness(dataset)
    assert panel.open().drawn == ["histogram"]
    fol.add_scores(dataset)
    assert panel.event("on_written").drawn == ["pair"]
    dataset.delete_sample_field("learnability_resnet20_aum")
    panel.event("on_change_view")
    assert list(panel.data) == ["histogram"]
