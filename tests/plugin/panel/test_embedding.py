"""The tab of embeddings: what is drawn of a visualization of FiftyOne's brain, and what a click or a lasso shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import fiftyone as fo
import fiftyone.brain as fob
import numpy as np
import pytest
from numpy.typing import NDArray

from ..harness import PanelHarness
from ..made_up import add_samples, write_scores

COUNT = 400


@pytest.fixture(scope="module")
def placed() -> Iterator[tuple[fo.Dataset, NDArray[np.float64], NDArray[np.float64]]]:
    """A dataset with a visualization of all samples but the last; the places, and the learnability."""
    rng = np.random.default_rng(6)
    dataset = fo.Dataset()
    add_samples(dataset, ["a", "b"] * (COUNT // 2))
    learnability = rng.random(COUNT)
    learnability[:5] = np.nan
    write_scores(dataset.skip(5), {"resnet20": learnability[5:]})
    write_scores(dataset, {"vgg16": rng.random(COUNT)}, "other")
    places = np.concatenate([rng.normal(0, 1, (COUNT // 2, 2)), rng.normal(8, 2, (COUNT // 2, 2))])
    fob.compute_visualization(dataset.limit(COUNT - 1), points=places[:-1], brain_key="umap", verbose=False)
    yield dataset, places, learnability
    dataset.delete()


def open_tab(dataset: fo.Dataset) -> PanelHarness:
    panel = PanelHarness(dataset)
    panel.open()
    panel.tab("embeddings")
    return panel


def test_the_tab_is_there_if_a_visualization_is(make_dataset: Callable[..., fo.Dataset]) -> None:
    dataset = make_dataset([], [])
    add_samples(dataset, ["a", "b"] * 10)
    write_scores(dataset, {"resnet20": np.linspace(0, 1, 20)})
    panel = open_tab(dataset)
    assert "tab_embeddings" not in panel.layout
    assert "about_histogram" in panel.layout
    for event in ("on_embeddings_click", "on_embeddings_lasso", "on_embedding"):
        assert not panel.event(event, idx=0, data=[{"idx": 0}]).called("set_view")
    fob.compute_visualization(dataset, points=np.eye(20)[:, :2], brain_key="first", verbose=False)
    panel.event("on_change_view")
    assert "tab_embeddings" in panel.layout
    assert panel.tab("embeddings").drawn == ["embeddings"]
    assert not [name for name in panel.layout if name.startswith("embedding_first")]
    # of several, one is chosen, the latest first
    fob.compute_visualization(dataset, points=np.eye(20)[:, 1:4], brain_key="second", verbose=False)
    panel = open_tab(dataset)
    assert "**second**" in panel.layout["about_embeddings"]["default"]
    answer = panel.event("on_embedding", **panel.layout["embedding_first"]["view"]["params"])
    assert answer.drawn == ["embeddings"]
    assert "**first**" in panel.layout["about_embeddings"]["default"]
    panel.event("on_embedding", embedding="none such")
    dataset.delete_brain_runs()
    panel.event("on_change_view")
    assert "tab_embeddings" not in panel.layout


def test_points_and_colours_are_exact(placed: tuple[fo.Dataset, NDArray[Any], NDArray[Any]]) -> None:
    dataset, places, learnability = placed
    panel = open_tab(dataset)
    ids = np.array(dataset.values("id"))
    (trace,) = panel.data["embeddings"]
    known = np.isfinite(learnability)
    known[-1] = False
    bins = int(np.sqrt(COUNT - 1))
    edges = [np.linspace(places[:-1, axis].min(), places[:-1, axis].max(), bins + 1) for axis in (0, 1)]
    seen = []
    for index, (x, y) in enumerate(zip(trace["x"], trace["y"], strict=True)):
        inside = known.copy()
        for axis, centre in enumerate((x, y)):
            bin = int(np.searchsorted(edges[axis], centre)) - 1
            last = bin == bins - 1
            inside &= (places[:, axis] >= edges[axis][bin]) & (
                (places[:, axis] <= edges[axis][bin + 1]) if last else (places[:, axis] < edges[axis][bin + 1])
            )
        assert trace["text"][index].split()[0] == str(inside.sum())
        assert trace["marker"]["color"][index] == pytest.approx(learnability[inside].mean(), rel=1e-5)
        panel.event("on_embeddings_click", idx=index)
        assert sorted(panel.ids) == sorted(ids[inside])
        assert panel.data["embeddings"][0]["selectedpoints"] == [index]
        seen += panel.ids
    assert sorted(seen) == sorted(ids[known])
    panel.event("on_embeddings_lasso", data=[{"idx": index} for index in range(len(trace["x"]))])
    assert sorted(panel.ids) == sorted(ids[known])
    assert f"Showing **{known.sum()}** of {COUNT}" in panel.layout["about_shown"]["default"]
    assert not panel.event("on_embeddings_lasso", data=[{"idx": 10**6}]).called("set_view")


def test_the_score_and_the_view_are_followed(placed: tuple[fo.Dataset, NDArray[Any], NDArray[Any]]) -> None:
    dataset, _, learnability = placed
    panel = open_tab(dataset)
    panel.choose("quantity", "rank")
    ranks = np.array(dataset.values("learnability_rank_resnet20"), float)
    (trace,) = panel.data["embeddings"]
    sizes = np.array([int(text.split()[0]) for text in trace["text"]])
    shown = np.isfinite(ranks) & (np.arange(COUNT) < COUNT - 1)
    assert (sizes * trace["marker"]["color"]).sum() == pytest.approx(ranks[shown].sum(), rel=1e-5)
    panel.show(dataset.limit(50))
    (trace,) = panel.data["embeddings"]
    assert sum(int(text.split()[0]) for text in trace["text"]) == np.isfinite(learnability[:50]).sum()
    panel.show(dataset.skip(COUNT - 1))
    assert "has none of these samples" in panel.layout["about_embeddings"]["default"]


def test_a_visualization_of_patches_is_left_out(make_dataset: Callable[..., fo.Dataset]) -> None:
    dataset = make_dataset([], [])
    boxes = fo.Detections(detections=[fo.Detection(label="a", bounding_box=[0, 0, 1, 1])])
    dataset.add_samples([fo.Sample(f"/no/{index}.png", boxes=boxes.copy()) for index in range(4)], progress=False)
    write_scores(dataset, {"resnet20": np.linspace(0, 1, 4)})
    points = np.random.default_rng(0).random((4, 2))
    fob.compute_visualization(dataset, patches_field="boxes", points=points, brain_key="patches", verbose=False)
    assert "tab_embeddings" not in open_tab(dataset).layout
