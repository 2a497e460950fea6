"""The panel, event by event; NumPy counts again which samples the grid has to show."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import fiftyone as fo
import numpy as np
import pytest
from bson import ObjectId
from numpy.typing import NDArray

import fiftyone_learnability as fol
from fiftyone_learnability.dataset.internals import dataset_id, get_database

from ..harness import Answer, PanelHarness, execute, plugin_module
from ..made_up import MODELS, add_samples, awkward_scores, write_scores
from ..review_case import ReviewCase
from .cases import Values, inside, inside_any

COUNT, BINS, EPOCHS = 220, 8, 4
CLASSES = ("ant", "bee", "$cow", "dog")


@dataclass
class Case:
    """A dataset and the labels, scores and ranks of its samples, in their order."""

    dataset: fo.Dataset
    ids: NDArray[Any]
    labels: NDArray[Any]
    scores: dict[str, Values]
    ranks: dict[str, Values]

    def values(self, model: str, quantity: str) -> Values:
        return (self.scores if quantity == "learnability" else self.ranks)[model]

    def chosen(self, mask: NDArray[np.bool_]) -> list[str]:
        return sorted(self.ids[mask].tolist())


@pytest.fixture(scope="module")
def case() -> Iterator[Case]:
    """Three networks, of which the third has not scored 60 samples. Some scores are NaN, some labels are missing."""
    rng = np.random.default_rng(7)
    dataset = fo.Dataset()
    labels = [None if index % 25 == 0 else CLASSES[index * 5 // 3 % 4] for index in range(COUNT)]
    ids = np.array(add_samples(dataset, labels))
    scores = {model: awkward_scores(COUNT, BINS, rng) for model in MODELS}
    dynamics = {model: rng.random((EPOCHS, COUNT)).astype(np.float16) for model in MODELS}
    write_scores(dataset, {model: scores[model] for model in MODELS[:2]}, "both", epochs=EPOCHS, dynamics=dynamics)
    scores["mobilenet"][-60:] = np.nan
    part = dataset.limit(COUNT - 60)
    few = {"mobilenet": dynamics["mobilenet"][:, :-60]}
    write_scores(part, {"mobilenet": scores["mobilenet"][:-60]}, "third", epochs=EPOCHS, dynamics=few)
    # values that a user may have edited
    scores["resnet20"][[3, 4]] = np.nan
    dataset.set_values("learnability_resnet20", {ids[3]: float("nan"), ids[4]: None}, key_field="id")
    ranks = {
        model: np.array([np.nan if rank is None else rank for rank in dataset.values(f"learnability_rank_{model}")])
        for model in MODELS
    }
    yield Case(dataset, ids, np.array(labels, dtype=object), scores, ranks)
    dataset.delete()


@pytest.fixture
def panel(case: Case) -> PanelHarness:
    harness = PanelHarness(case.dataset)
    harness.open()
    return harness


def open_panel(case: Case, first: str, second: str, quantity: str) -> PanelHarness:
    """Open the panel with these choices; the App's answer to new views is not played."""
    panel = PanelHarness(case.dataset, follow=False)
    panel.open()
    for name, value in (("first", first), ("second", second), ("quantity", quantity)):
        panel.choose(name, value)
    return panel


def counted(panel: PanelHarness) -> str:
    """Return how many samples the panel says that it shows."""
    return str(re.findall(r"Showing \*\*([\d,]+)\*\* of", panel.layout["about_shown"]["default"])[0])


def examples(panel: PanelHarness, name: str) -> list[tuple[str, str, str, str]]:
    """Return id, label, ranks and picture of the easiest or hardest samples that the panel shows."""
    cells = [part["type"]["properties"] for key, part in panel.layout.items() if re.fullmatch(rf"{name}_\d+", key)]
    return [
        (cell["picture"]["view"]["params"]["id"], *captions(cell["caption"]), cell["picture"]["default"])
        for cell in cells
    ]


def captions(caption: dict[str, Any]) -> tuple[str, str]:
    """Return label and ranks below a picture."""
    label, _, ranks = caption["default"].partition("\n")
    return label.strip(), ranks


def interval(panel: PanelHarness) -> int:
    """Return the milliseconds between two looks at the job."""
    (timer,) = [part for name, part in panel.layout.items() if name.startswith("timer_")]
    milliseconds: int = timer["view"]["interval"]
    return milliseconds


def edges_of(centres: list[float], quantity: str, bins: int) -> Values:
    """Return the edges of the bins of a plot."""
    if quantity == "learnability":
        return np.linspace(0, 1, bins + 1)
    # bins of ranks begin at 0.5 and hold equally many whole numbers
    width = round(centres[1] - centres[0])
    return 0.5 + width * np.arange(bins + 1)


# datasets with few scores or none


def test_without_scores_the_panel_offers_to_compute_them(make_dataset: Any) -> None:
    dataset = make_dataset(["/no/a.png", "/no/b.png"], ["a", "b"])
    panel = PanelHarness(dataset)
    answer = panel.open()
    assert "**2** samples" in answer.layout["nothing"]["default"]
    assert answer.layout["compute"]["view"]["label"] == "Compute learnability"
    assert not answer.drawn
    (prompt,) = panel.event("on_compute").called("prompt_user_for_operation")
    assert prompt["operator_uri"].endswith("/compute_learnability")
    assert prompt["on_success"].endswith("#on_written")
    # stray events change nothing
    for method in ("on_change_view", "on_change_selected", "on_timer", "on_change_dataset"):
        assert not panel.event(method).drawn


def test_one_network_has_no_comparison(make_dataset: Any) -> None:
    dataset = make_dataset([f"/no/{index}.png" for index in range(20)], list("ab") * 10)
    write_scores(dataset, {"resnet20": np.linspace(0, 1, 20)})
    panel = PanelHarness(dataset)
    answer = panel.open()
    assert answer.drawn == ["histogram"]
    assert "matrix" not in answer.layout
    assert not {"first", "second", "first_easier", "second_easier"} & set(answer.layout)
    panel.event("on_histogram_click", idx=0)
    assert panel.ids == dataset.values("id")[:1]
    # a stray event
    assert not panel.event("on_first_easier").called("set_view")
    panel.tab("examples")
    assert [ranks for _, _, ranks, _ in examples(panel, "easiest")] == [str(rank) for rank in range(1, 13)]


# exactness


@pytest.mark.parametrize(
    ("pair", "quantity"),
    [
        (("resnet20", "vgg16"), "learnability"),
        (("resnet20", "vgg16"), "rank"),
        (("mobilenet", "resnet20"), "learnability"),
    ],
)
def test_a_cell_shows_exactly_its_samples(case: Case, pair: tuple[str, str], quantity: str) -> None:
    panel = open_panel(case, *pair, quantity)
    heat, points = panel.data["pair"]
    first, second = (case.values(model, quantity) for model in pair)
    edges = edges_of(heat["x"], quantity, len(heat["x"]))
    cells = np.array(
        [
            [inside(first, edges, column) & inside(second, edges, row) for column in range(len(edges) - 1)]
            for row in range(len(edges) - 1)
        ]
    )
    # the heatmap shows the logarithm of the counts
    drawn = np.array([[0 if value is None else round(10**value) for value in line] for line in heat["z"]])
    np.testing.assert_array_equal(drawn, cells.sum(axis=2))
    assert drawn.sum() == (~np.isnan(first) & ~np.isnan(second)).sum()
    assert len(points["x"]) == (drawn > 0).sum() > 20
    seen: set[str] = set()
    for index, (x, y, text) in enumerate(zip(points["x"], points["y"], points["text"], strict=True)):
        panel.event("on_pair_click", idx=index)
        column, row = (int(np.searchsorted(edges, centre)) - 1 for centre in (x, y))
        assert sorted(panel.ids) == case.chosen(cells[row, column])
        assert text.split()[0] == str(len(panel.ids)) == counted(panel)
        seen.update(panel.ids)
    assert len(seen) == drawn.sum()


@pytest.mark.parametrize("quantity", ["learnability", "rank"])
def test_a_box_shows_exactly_its_samples(case: Case, quantity: str, rng: np.random.Generator) -> None:
    panel = open_panel(case, "resnet20", "vgg16", quantity)
    heat, points = panel.data["pair"]
    centres = np.array(heat["x"])
    edges = edges_of(heat["x"], quantity, len(centres))
    xs, ys = np.array(points["x"]), np.array(points["y"])
    first, second = case.values("resnet20", quantity), case.values("vgg16", quantity)
    boxes = [(0, len(centres) - 1, 0, len(centres) - 1)]
    boxes += [(*sorted(rng.integers(0, len(centres), 2)), *sorted(rng.integers(0, len(centres), 2))) for _ in range(8)]
    for left, right, low, high in boxes:
        caught = (xs >= centres[left]) & (xs <= centres[right]) & (ys >= centres[low]) & (ys <= centres[high])
        if not caught.any():
            continue
        data = [{"idx": int(index), "x": xs[index], "y": ys[index]} for index in np.flatnonzero(caught)]
        rng.shuffle(data)
        panel.event("on_pair_box", data=data)
        expected = inside_any(first, edges, left, right) & inside_any(second, edges, low, high)
        assert sorted(panel.ids) == case.chosen(expected)
        assert counted(panel) == str(expected.sum())


@pytest.mark.parametrize("quantity", ["learnability", "rank"])
def test_a_bar_and_a_range_show_exactly_their_samples(case: Case, quantity: str) -> None:
    panel = open_panel(case, "resnet20", "vgg16", quantity)
    (bars,) = panel.data["histogram"]
    edges = edges_of(bars["x"], quantity, len(bars["x"]))
    values = case.values("resnet20", quantity)
    assert sum(bars["y"]) == (~np.isnan(values)).sum()
    for bin, height in enumerate(bars["y"]):
        panel.event("on_histogram_click", idx=bin)
        assert sorted(panel.ids) == case.chosen(inside(values, edges, bin))
        assert len(panel.ids) == height == int(counted(panel))
    last = len(bars["x"]) - 1
    for low, high in ((0, last), (0, 0), (last, last), (3, 11), (20, last)):
        panel.event("on_histogram_box", data=[{"idx": bin} for bin in range(high, low - 1, -1)])
        assert sorted(panel.ids) == case.chosen(inside_any(values, edges, low, high))


@pytest.mark.parametrize("order", ["hardest", "easiest", "name"])
def test_a_cell_of_a_class_shows_exactly_its_samples(case: Case, order: str) -> None:
    panel = PanelHarness(case.dataset, follow=False)
    panel.open()
    panel.tab("classes")
    answer = panel.choose("order", order)
    (heat,) = panel.data["classes"]
    assert answer.drawn == ([] if order == "hardest" else ["classes"])
    values, edges = case.scores["resnet20"], np.linspace(0, 1, 21)
    known = ~np.isnan(values)
    means = {name: values[known & (case.labels == name)].mean() for name in CLASSES}
    names = sorted(CLASSES) if order == "name" else sorted(CLASSES, key=means.__getitem__, reverse=order == "easiest")
    assert heat["y"] == [f"{name} ({means[name]:.2f})" for name in names]
    shown = 0
    for row, name in enumerate(names):
        of_class = known & (case.labels == name)
        for column in range(20):
            expected = of_class & inside(values, edges, column)
            share = heat["z"][row][column]
            assert share == (round(expected.sum() / of_class.sum(), 4) if expected.any() else None)
            if share is not None:
                assert heat["text"][row][column] == f"{expected.sum()} of {of_class.sum()}"
                panel.event("on_class", idx=[row, column])
                assert sorted(panel.ids) == case.chosen(expected)
                assert counted(panel) == str(expected.sum())
                shown += expected.sum()
    assert shown == (known & (case.labels != None)).sum()  # noqa: E711


# the other controls


def test_the_matrix_shows_correlations_and_chooses_the_pair(case: Case, panel: PanelHarness) -> None:
    trace, shown = panel.data["matrix"]
    texts = dict(zip(zip(shown["y"], shown["x"], strict=True), shown["text"], strict=True))
    assert len(texts) == 6
    pairs = {}
    for row, first in enumerate(MODELS):
        for column, second in enumerate(MODELS):
            both = ~np.isnan(case.scores[first]) & ~np.isnan(case.scores[second])
            pairs[row, column] = np.corrcoef(case.scores[first][both], case.scores[second][both])[0, 1]
            if row == column:
                assert trace["z"][row][column] is None
            else:
                assert trace["z"][row][column] == pytest.approx(pairs[row, column], abs=1e-4)
                names = trace["y"][row], trace["x"][column]
                assert texts[names].startswith(f"{pairs[row, column]:.3f}<br>(")
    assert not panel.event("on_matrix", idx=[1, 1]).drawn
    assert sorted(panel.event("on_matrix", idx=[2, 1]).drawn) == ["histogram", "pair"]
    assert panel.chosen == {
        "first": "MobileNet",
        "quantity": "Learnability",
        "second": "VGG-16",
        "against": "Learnability",
    }
    assert pair_total(panel) == (~np.isnan(case.scores["mobilenet"]) & ~np.isnan(case.scores["vgg16"])).sum()
    # the layout frames the pair in both of its cells
    shapes = panel.layout["matrix_plot"]["view"]["layout"]["shapes"]
    assert {(shape["x0"] + 0.5, shape["y0"] + 0.5) for shape in shapes} == {(1, 2), (2, 1)}


def pair_total(panel: PanelHarness) -> int:
    """Return the number of samples that the 2-D histogram counts."""
    return sum(int(text.split()[0].replace(",", "")) for text in panel.data["pair"][1]["text"])


def test_a_network_is_never_compared_with_itself(panel: PanelHarness) -> None:
    panel.choose("second", "resnet20")
    assert panel.chosen["second"] == "VGG-16"
    panel.choose("first", "vgg16")
    assert panel.chosen == {
        "first": "VGG-16",
        "second": "ResNet-20",
        "quantity": "Learnability",
        "against": "Learnability",
    }


@pytest.mark.parametrize(("method", "sign"), [("on_hardest", 1), ("on_easiest", -1)])
def test_sorting(case: Case, panel: PanelHarness, method: str, sign: int) -> None:
    panel.choose("first", "vgg16")
    assert not panel.event(method).drawn
    of_id = dict(zip(case.ids, case.scores["vgg16"], strict=True))
    shown = [of_id[id] for id in panel.ids]
    assert shown == sorted(of_id.values(), reverse=sign < 0)
    # the grid shows score and rank on the samples
    assert panel.active_fields == ["learnability_vgg16", "learnability_rank_vgg16"]


def test_sorting_omits_samples_without_a_score(case: Case, panel: PanelHarness) -> None:
    panel.choose("first", "mobilenet")
    panel.event("on_hardest")
    assert sorted(panel.ids) == case.chosen(~np.isnan(case.scores["mobilenet"]))


def test_disagreement_in_either_direction(case: Case, panel: PanelHarness) -> None:
    panel.event("on_matrix", idx=[2, 0])
    for method, sign, label in (("on_first_easier", 1, "MobileNet"), ("on_second_easier", -1, "ResNet-20")):
        assert panel.layout[method.removeprefix("on_")]["view"]["label"] == f"Easier for {label}"
        panel.event(method)
        difference = sign * (case.ranks["resnet20"] - case.ranks["mobilenet"])
        of_id = dict(zip(case.ids, difference, strict=True))
        assert sorted(panel.ids) == case.chosen(difference > 0)
        assert counted(panel) == str((difference > 0).sum())
        shown = [of_id[id] for id in panel.ids]
        assert shown == sorted(shown, reverse=True)
        assert set(panel.active_fields) == {"learnability_rank_mobilenet", "learnability_rank_resnet20"}
    panel.event("on_either_easier")
    difference = abs(difference)
    of_id = dict(zip(case.ids, difference, strict=True))
    assert sorted(panel.ids) == case.chosen(difference > 0)
    assert counted(panel) == str((difference > 0).sum())
    shown = [of_id[id] for id in panel.ids]
    assert shown == sorted(shown, reverse=True)


def test_the_strips_are_the_extremes_of_the_sum_of_ranks(case: Case, panel: PanelHarness) -> None:
    panel.event("on_matrix", idx=[2, 0])
    panel.tab("examples")
    sums = case.ranks["mobilenet"] + case.ranks["resnet20"]
    known = np.sort(sums[~np.isnan(sums)])
    of_id = dict(zip(case.ids, range(COUNT), strict=True))
    for name, expected in (("easiest", known[:12]), ("hardest", known[::-1][:12])):
        shown = examples(panel, name)
        indices = [of_id[id] for id, *_ in shown]
        assert [sums[index] for index in indices] == expected.tolist()
        assert len(set(indices)) == 12
        for example, index in zip(shown, indices, strict=True):
            ranks = f"{int(case.ranks['mobilenet'][index])} / {int(case.ranks['resnet20'][index])}"
            picture = f"/media?filepath={quote(f'/no/such/{index}.png')}"
            assert example == (case.ids[index], case.labels[index] or "", ranks, picture)
        panel.event("on_example", id=shown[2][0])
        assert panel.ids == [shown[2][0]]
        assert counted(panel) == "1"
        assert framed_examples(panel) == [shown[2][0]]
    panel.event("on_reset")
    assert framed_examples(panel) == []


def framed_examples(panel: PanelHarness) -> list[str]:
    """Return the ids of the examples whose pictures have a visible frame."""
    cells = [part["type"]["properties"] for key, part in panel.layout.items() if re.fullmatch(r"[a-z]+est_\d+", key)]
    pictures = [cell["picture"]["view"] for cell in cells]
    borders = {view["params"]["id"]: view["componentsProps"]["image"]["style"]["border"] for view in pictures}
    return [id for id, border in borders.items() if "transparent" not in border]


def test_more_examples_are_shown_with_one_event_each(make_dataset: Any) -> None:
    files = [f"/no/{index}.png" for index in range(60)]
    dataset = make_dataset(files, list("ab") * 30)
    write_scores(dataset, {"resnet20": np.linspace(0, 1, 60)})
    panel = PanelHarness(dataset)
    panel.open()
    panel.tab("examples")
    for expected in (12, 24, 48):
        for name, ranks in (("easiest", range(1, 61)), ("hardest", range(60, 0, -1))):
            assert [int(rank) for _, _, rank, _ in examples(panel, name)] == list(ranks)[:expected]
        assert ("more" in panel.layout) == (expected < 48)
        panel.event("on_more")
    # another tab begins with few again
    panel.tab("compare")
    panel.tab("examples")
    assert len(examples(panel, "easiest")) == 12


def test_examples_show_thumbnails_and_suggested_labels(reviewed: ReviewCase) -> None:
    dataset = reviewed.dataset
    dataset.set_values("thumbnail_path", [f"/small/{index}.png" for index in range(len(reviewed.ids))])
    dataset.app_config.media_fields = ["filepath", "thumbnail_path"]
    dataset.app_config.grid_media_field = "thumbnail_path"
    dataset.save()
    panel = PanelHarness(dataset)
    panel.open()
    panel.tab("examples")
    shown = [*examples(panel, "easiest"), *examples(panel, "hardest")]
    suggested = 0
    for id, caption, _, picture in shown:
        index = reviewed.ids.index(id)
        assert picture == f"/media?filepath=/small/{index}.png"
        label = reviewed.labels[index] or ""
        contradicted = reviewed.labels[index] is not None and reviewed.verdict(index) in ("mislabelled", "hard")
        assert caption == (f"{label} → {reviewed.suggested[index]}?" if contradicted else label)
        suggested += contradicted
    assert 0 < suggested < len(shown)


def test_curves_of_the_selected_samples(case: Case, panel: PanelHarness) -> None:
    answer = panel.tab("curves")
    assert answer.drawn == ["trainings"]
    assert "Select samples" in answer.layout["about_samples"]["default"]
    assert [trace["name"] for trace in panel.data["trainings"]] == ["ResNet-20", "VGG-16", "MobileNet"]
    for number, trace in zip((0, 1, 0), panel.data["trainings"], strict=True):
        np.testing.assert_allclose(trace["y"], np.linspace(0.1 + number / 10, 0.9, EPOCHS), atol=1e-4)
        np.testing.assert_allclose(trace["customdata"], 1 - np.array(trace["y"]), atol=2e-4)
    # a sample that all networks have scored, and one that the third has not
    chosen = [case.ids[10].item(), case.ids[-1].item()]
    answer = panel.select(*chosen)
    assert answer.drawn == ["samples"]
    stored = {
        model: fol.load_results(case.dataset, key)[model]
        for model, key in zip(MODELS, ("both", "both", "third"), strict=True)
    }
    lines = {trace["name"]: trace["y"] for trace in panel.data["samples"]}
    assert len(lines) == len(panel.data["samples"]) == 5
    for index, id in ((10, chosen[0]), (COUNT - 1, chosen[1])):
        for model, label in zip(MODELS, ("ResNet-20", "VGG-16", "MobileNet"), strict=True):
            result = stored[model]
            if id in result.ids:
                expected = result.dynamics[:, result.ids.tolist().index(id)]
                line = lines[f"{case.labels[index]}, {index}.png, {label}"]
                np.testing.assert_allclose(line, expected.astype(float), atol=6e-4)
    # beside the plot are the samples, each in the colour of its lines
    strip = panel.layout["selected_samples"]["type"]["properties"]
    for number, index in enumerate((10, COUNT - 1)):
        cell = strip[f"selected_{number}"]["type"]["properties"]
        assert cell["caption"]["default"] == f"{case.labels[index]}  \n{index}.png"
        assert cell["picture"]["default"] == f"/media?filepath={quote(f'/no/such/{index}.png')}"
        colours = {trace["line"]["color"] for trace in panel.data["samples"] if f"{index}.png" in trace["name"]}
        border = cell["picture"]["view"]["componentsProps"]["image"]["style"]["border"]
        assert {border} == {f"3px solid {colour}" for colour in colours}
    about = answer.layout["about_samples"]["default"]
    assert about.endswith("ResNet-20 solid, VGG-16 dotted, MobileNet dashed")
    assert not panel.event("on_change_selected").drawn
    # of many selected samples, the first ones are drawn
    answer = panel.select(*case.ids[:9].tolist())
    assert len(panel.data["samples"]) == 6 * 3
    assert "the first 6 of 9" in answer.layout["about_samples"]["default"]
    panel.select()
    assert "samples" not in panel.data


def test_runs_without_dynamics_have_no_curves(make_dataset: Any) -> None:
    dataset = make_dataset([f"/no/{index}.png" for index in range(10)], list("ab") * 5)
    write_scores(dataset, {"resnet20": np.linspace(0, 1, 10)})
    panel = PanelHarness(dataset)
    panel.open()
    panel.tab("curves")
    answer = panel.select(dataset.first().id)
    assert list(panel.data) == ["trainings"]
    assert "kept no curves" in answer.layout["about_samples"]["default"]
    # now the run is gone, but its fields are not
    get_database().datasets.update_one({"_id": dataset_id(dataset)}, {"$set": {"runs": {}}})
    dataset.reload()
    answer = panel.event("on_load")
    assert panel.data["trainings"] == []
    panel.tab("compare")
    assert sum(panel.data["histogram"][0]["y"]) == 10


def test_without_labels_there_are_no_classes(make_dataset: Any) -> None:
    dataset = make_dataset([f"/no/{index}.png" for index in range(10)], list("ab") * 5)
    write_scores(dataset, {"resnet20": np.linspace(0, 1, 10)})
    dataset.delete_sample_field("ground_truth")
    panel = PanelHarness(dataset)
    panel.open()
    answer = panel.tab("classes")
    assert "gone" in answer.layout["about_classes"]["default"]
    panel.tab("examples")
    assert {label for _, label, *_ in examples(panel, "hardest")} == {""}


def test_tag_and_save_open_forms(panel: PanelHarness) -> None:
    panel.choose("first", "vgg16")
    (prompt,) = panel.event("on_tag").called("prompt_user_for_operation")
    assert prompt["operator_uri"].endswith("/tag_by_difficulty")
    assert prompt["params"] == {"model": "vgg16"}
    (prompt,) = panel.event("on_save_view").called("prompt_user_for_operation")
    assert prompt["operator_uri"] == "@voxel51/operators/save_view"


# views and filters


def every_click(panel: PanelHarness) -> list[tuple[str, dict[str, Any]]]:
    """Return events that filter the grid, some of them at the ends of the scale."""
    cells = len(panel.data["pair"][1]["x"])
    return [
        ("on_pair_click", {"idx": 0}),
        ("on_pair_click", {"idx": cells // 2}),
        ("on_pair_click", {"idx": cells - 1}),
        ("on_pair_box", {"data": [{"idx": index} for index in range(cells)]}),
        ("on_histogram_click", {"idx": 0}),
        ("on_histogram_click", {"idx": len(panel.data["histogram"][0]["y"]) - 1}),
        ("on_hardest", {}),
        ("on_class", {"idx": [1, 19]}),
        ("on_example", {"id": panel.dataset.first().id}),
        ("on_first_easier", {}),
    ]


@pytest.mark.parametrize("quantity", ["learnability", "rank"])
def test_it_does_not_follow_its_own_filter(case: Case, panel: PanelHarness, quantity: str) -> None:
    panel.choose("quantity", quantity)
    before, total = json.dumps(panel.data), pair_total(panel)
    alone = {}
    for number, (method, params) in enumerate(every_click(panel)):
        panel.stages = []
        assert not panel.event(method, **params).drawn
        alone[number] = panel.ids
        assert alone[number]
    # each event replaces the filter of the one before
    for number, (method, params) in enumerate(every_click(panel)):
        answer = panel.event(method, **params)
        assert not answer.drawn
        assert panel.ids == alone[number]
    assert json.dumps(panel.data) == before
    assert pair_total(panel) == total
    panel.event("on_reset")
    assert panel.stages == []
    assert not panel.event("on_change_view").drawn


def test_it_follows_the_view(case: Case, panel: PanelHarness) -> None:
    ants = case.dataset.match(fo.ViewField("ground_truth.label") == "ant")
    answer = panel.show(ants)
    assert sorted(answer.drawn) == ["histogram", "matrix", "pair"]
    of_ants = case.labels == "ant"
    known = ~np.isnan(case.scores["resnet20"]) & of_ants
    assert pair_total(panel) == (known & ~np.isnan(case.scores["vgg16"])).sum()
    assert f"**{of_ants.sum()}** samples" in answer.layout["scope"]["default"]
    assert not panel.event("on_change_view").drawn
    # clicks show samples of the view only, and a reset goes back to it
    edges = np.linspace(0, 1, 41)
    for bin in (0, 39, 30):
        panel.event("on_histogram_click", idx=bin)
        assert sorted(panel.ids) == case.chosen(of_ants & inside(case.scores["resnet20"], edges, bin))
    answer = panel.event("on_reset")
    assert not answer.called("clear_view")
    assert sorted(panel.ids) == case.chosen(of_ants)
    # without a filter of its own, there is nothing to take back, and no button for it
    assert "reset" not in panel.layout
    answer = panel.event("on_reset")
    assert not answer.called("clear_view")
    assert sorted(panel.ids) == case.chosen(of_ants)


def test_ranks_of_a_view_are_those_of_the_run(case: Case, panel: PanelHarness) -> None:
    panel.choose("quantity", "rank")
    ants = case.labels == "ant"
    panel.show(case.dataset.match(fo.ViewField("ground_truth.label") == "ant"))
    (bars,) = panel.data["histogram"]
    edges = edges_of(bars["x"], "rank", len(bars["x"]))
    for bin in np.flatnonzero(bars["y"]).tolist()[::5]:
        panel.event("on_histogram_click", idx=bin)
        assert sorted(panel.ids) == case.chosen(ants & inside(case.ranks["resnet20"], edges, bin))


def test_it_follows_what_the_user_adds_to_its_filter(case: Case, panel: PanelHarness) -> None:
    panel.event("on_histogram_click", idx=30)
    filtered = panel.ids
    assert len(filtered) > 2
    panel.show(panel.view.limit(2))
    assert pair_total(panel) == 2
    # when the user removes the panel's filter, the panel shows the whole dataset
    panel.show(None)
    assert pair_total(panel) == COUNT - 2


def test_it_follows_the_sidebar(case: Case, panel: PanelHarness) -> None:
    panel.filters = {"ground_truth.label": {"values": ["bee"], "exclude": False, "isMatching": True}}
    answer = panel.event("on_change_view")
    bees = case.labels == "bee"
    assert sorted(answer.drawn) == ["histogram", "matrix", "pair"]
    assert pair_total(panel) == (bees & ~np.isnan(case.scores["resnet20"]) & ~np.isnan(case.scores["vgg16"])).sum()
    assert not panel.event("on_change_view").drawn
    # a click keeps the filter, although the App drops those of the sidebar with every new view
    assert not panel.event("on_histogram_click", idx=39).drawn
    assert panel.filters == {}
    assert sorted(panel.ids) == case.chosen(bees & inside(case.scores["resnet20"], np.linspace(0, 1, 41), 39))
    # a filter that the user adds then narrows further
    scores = case.scores["resnet20"]
    panel.filters = {"learnability_resnet20": {"range": [0.98, 0.99], "exclude": False, "isMatching": False}}
    panel.event("on_change_view")
    assert sum(panel.data["histogram"][0]["y"]) == (bees & (scores >= 0.98) & (scores <= 0.99)).sum()
    panel.filters = {}
    panel.event("on_change_view")
    # a reset restores the filter in the sidebar; it does not become a stage of the view
    panel.event("on_reset")
    assert panel.stages == []
    assert panel.filters == {"ground_truth.label": {"values": ["bee"], "exclude": False, "isMatching": True}}
    assert pair_total(panel) == (bees & ~np.isnan(scores) & ~np.isnan(case.scores["vgg16"])).sum()
    # the user can take it away then
    panel.filters = {}
    for _ in range(2):
        panel.event("on_change_view")
    assert panel.filters == {}
    assert pair_total(panel) == COUNT - 2


def test_it_follows_a_saved_view(case: Case, panel: PanelHarness) -> None:
    case.dataset.save_view("dogs", case.dataset.match(fo.ViewField("ground_truth.label") == "dog"))
    try:
        panel.view_name = "dogs"
        panel.event("on_change_view")
        dogs = (case.labels == "dog") & ~np.isnan(case.scores["resnet20"]) & ~np.isnan(case.scores["vgg16"])
        assert pair_total(panel) == dogs.sum()
        panel.event("on_histogram_click", idx=39)
        assert sorted(panel.ids) == case.chosen(
            (case.labels == "dog") & inside(case.scores["resnet20"], np.linspace(0, 1, 41), 39)
        )
        assert pair_total(panel) == dogs.sum()
    finally:
        case.dataset.delete_saved_view("dogs")


def test_an_empty_view(case: Case, panel: PanelHarness) -> None:
    panel.show(case.dataset.match(fo.ViewField("ground_truth.label") == "unicorn"))
    assert pair_total(panel) == 0
    for tab in ("examples", "classes", "curves", "compare"):
        panel.tab(tab)
    panel.event("on_pair_box", data=[{"idx": 5}])
    panel.tab("examples")
    assert examples(panel, "easiest") == examples(panel, "hardest") == []


def test_it_notices_new_scores_and_deleted_samples(make_dataset: Any) -> None:
    dataset = make_dataset([f"/no/{index}.png" for index in range(20)], list("ab") * 10)
    write_scores(dataset, {"resnet20": np.linspace(0, 1, 20), "vgg16": np.linspace(0, 1, 20)})
    panel = PanelHarness(dataset)
    panel.open()
    (trace,) = panel.data["histogram"]
    assert trace["y"][0] == 1
    write_scores(dataset, {"resnet20": np.full(20, 0.01), "vgg16": np.linspace(0, 1, 20)}, overwrite=True)
    panel.event("on_change_view")
    assert panel.data["histogram"][0]["y"][0] == 20
    dataset.delete_samples(dataset.limit(5))
    panel.event("on_change_view")
    assert panel.data["histogram"][0]["y"][0] == 15
    fol.delete_run(dataset, "learnability")
    assert "nothing" in panel.event("on_change_view").layout


def test_another_dataset_starts_over(case: Case, panel: PanelHarness, make_dataset: Any) -> None:
    panel.event("on_matrix", idx=[2, 1])
    panel.event("on_pair_click", idx=0)
    other = make_dataset([f"/no/{index}.png" for index in range(20)], list("ab") * 10)
    write_scores(other, {"vgg16": np.linspace(0, 1, 20)})
    panel.dataset, panel.stages = other, []
    answer = panel.event("on_change_dataset")
    assert answer.drawn == ["histogram"]
    assert panel.chosen == {"quantity": "Learnability"}
    assert "shown" not in panel.layout
    # back there, the choices are as they were
    panel.dataset = case.dataset
    panel.event("on_change_dataset")
    assert panel.chosen["first"] == "MobileNet"


# messages to the browser


def test_an_event_draws_only_what_has_changed(panel: PanelHarness) -> None:
    for method in ("on_change_view", "on_change_view", "on_first", "on_tab", "on_order"):
        assert not panel.event(method).drawn
    assert panel.tab("classes").drawn == ["classes"]
    assert not panel.tab("classes").drawn
    assert panel.tab("examples").drawn == []


def test_events_that_change_nothing_send_nothing(panel: PanelHarness) -> None:
    """Above all not the data of the plots, every few seconds."""
    assert panel.tick().calls == []
    assert panel.select(panel.dataset.first().id).calls == []
    panel.tab("curves")
    assert panel.select(panel.dataset.last().id).output is not None


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("on_pair_click", {"idx": [3, 4]}),
        ("on_pair_click", {}),
        ("on_pair_click", {"idx": 10_000}),
        ("on_pair_box", {"data": []}),
        ("on_pair_box", {}),
        ("on_pair_box", {"data": [{"idx": 10_000}]}),
        ("on_histogram_click", {"idx": [0, 1]}),
        ("on_histogram_box", {"data": []}),
        ("on_histogram_click", {"idx": 40}),
    ],
)
def test_events_without_a_place_do_nothing(panel: PanelHarness, method: str, params: dict[str, Any]) -> None:
    answer = panel.event(method, **params)
    assert [name for name, _ in answer.calls] == ["show_panel_output"]


def test_messages_stay_small(make_dataset: Any, rng: np.random.Generator) -> None:
    count = 2000
    dataset = make_dataset([f"/a/folder/with/a/long/name/{index:06}.png" for index in range(count)], list("ab") * 1000)
    dynamics = {model: rng.random((50, count)).astype(np.float16) for model in MODELS}
    write_scores(dataset, {model: rng.random(count) for model in MODELS}, epochs=50, dynamics=dynamics)
    panel = PanelHarness(dataset)
    answers: list[Answer] = [panel.open()]
    clicks = every_click(panel)[:7]
    for tab in ("examples", "classes", "curves", "compare"):
        answers.append(panel.tab(tab))
        answers.append(panel.select(*dataset.values("id")))
        for method, params in clicks:
            answers.append(panel.event(method, **params))
        panel.show(dataset.select(dataset.values("id")[::2]))
    assert max(answer.kilobytes for answer in answers) < 150


# jobs


@pytest.fixture
def queued(make_dataset: Any, digits: tuple[list[str], list[str]]) -> fo.Dataset:
    dataset = make_dataset([digits[0][0], digits[0][1]], ["a", "b"])
    execute("compute_learnability", dataset, {"how": "scheduled", "preset": "custom", "epochs": 7})
    return dataset


def operation_of(dataset: fo.Dataset) -> ObjectId:
    return get_database()["delegated_ops"].find_one({"dataset_id": dataset_id(dataset)})["_id"]


def test_a_job_shows_its_progress_and_its_end(queued: fo.Dataset) -> None:
    service, id = plugin_module("jobs.job").DelegatedOperationService(), operation_of(queued)
    panel = PanelHarness(queued)
    layout = panel.open().layout
    assert layout["job_title"]["default"] == "**Learnability by ResNet-20: 7 epochs**"
    assert "delegated launch" in layout["job_progress"]["view"]["label"]
    assert "compute" not in layout
    assert interval(panel) == 2000
    service.set_running(id)
    service.set_progress(id, fo.operators.executor.ExecutionProgress(progress=0.25, label="epoch 2/7"))
    progress = panel.tick().layout["job_progress"]
    assert (progress["default"], progress["view"]["label"]) == (0.25, "epoch 2/7")
    assert panel.tick().calls == []
    # when it ends, the panel draws the new fields and looks less often
    write_scores(queued, {"resnet20": np.array([0.2, 0.8])})
    service.set_completed(id, fo.operators.executor.ExecutionResult())
    other = PanelHarness(queued, shown=panel.shown)
    answer = panel.tick()
    assert answer.called("reload_dataset")
    assert "done" in answer.called("notify")[0]["message"]
    assert answer.drawn == ["histogram"]
    assert "job_title" not in answer.layout
    assert interval(panel) == 15000
    assert panel.tick().calls == []
    # another window that has shown the running job notices its end, too
    assert other.tick().called("reload_dataset")
    assert not PanelHarness(queued).open().called("reload_dataset")


def test_a_job_can_be_cancelled_and_dismissed(queued: fo.Dataset) -> None:
    panel = PanelHarness(queued)
    panel.open()
    answer = panel.event("on_cancel")
    alert = answer.layout["job_failed"]["view"]
    sentence = "Cancelled by user. Nothing was written. “Resume” goes on where it stopped."
    assert (alert["severity"], alert["description"]) == ("info", sentence)
    assert "cancel" not in answer.layout
    assert "compute" in answer.layout
    # a double click
    assert "Too late" in panel.event("on_cancel").called("notify")[0]["message"]
    answer = panel.event("on_dismiss")
    assert "job_failed" not in answer.layout
    assert panel.tick().calls == []
    assert "job_failed" not in PanelHarness(queued).open().layout


def test_a_job_that_is_writing_cannot_be_cancelled(queued: fo.Dataset) -> None:
    jobs, id = plugin_module("jobs.job"), operation_of(queued)
    service = jobs.DelegatedOperationService()
    service.set_running(id)
    service.set_progress(id, fo.operators.executor.ExecutionProgress(progress=1.0, label=jobs.WRITING))
    panel = PanelHarness(queued)
    panel.open()
    answer = panel.event("on_cancel")
    assert "Too late" in answer.called("notify")[0]["message"]
    assert "cancel" in panel.layout


def test_a_job_of_another_dataset_is_not_shown(queued: fo.Dataset, case: Case) -> None:
    assert "job_title" not in PanelHarness(case.dataset).open().layout
