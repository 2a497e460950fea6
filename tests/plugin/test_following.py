"""The open panel and the App, in a real browser: neither disturbs the other.

A panel that writes its state in answer to an event of the App makes the App reload its page; the sidebar then loses its
filters. Plots whose data are in the state are merged with what it holds of earlier ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import fiftyone as fo
import numpy as np
import pytest

import fiftyone_learnability as fol

pytest.importorskip("playwright")

from playwright.sync_api import expect

from .browser import App
from .made_up import write_contradicted_scores

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(1200)]

MODELS = ("resnet20", "vgg16")
COUNT, EPOCHS = 300, 5
TABS = ("Data map", "Labels", "Examples", "Classes", "Curves", "Compare")
RELOADS = {"setSpacesMutation", "DatasetPageQuery"}
"""What the page asks for when it reloads itself."""


@pytest.fixture(scope="module")
def dataset(digits: tuple[list[str], list[str]]) -> Iterator[fo.Dataset]:
    """300 images of ten classes with made-up scores of two networks, dynamics, and suggested labels."""
    made = fo.Dataset("following", persistent=True)
    files, labels = digits[0][:COUNT], digits[1][:COUNT]
    made.add_samples(
        [
            fo.Sample(file, ground_truth=fo.Classification(label=label))
            for file, label in zip(files, labels, strict=True)
        ],
        progress=False,
    )
    write_contradicted_scores(made, MODELS, EPOCHS)
    fol.suggest_label_fixes(made)
    made.save_view("Some of them", made.match(fo.ViewField("ground_truth.label").is_in(sorted(set(labels))[:2])))
    yield made
    made.delete()


def open_panel(app: App, dataset: fo.Dataset) -> None:
    """Open the dataset and a new panel: an open one remembers what was chosen in the test before."""
    app.open(dataset.name)
    app.close_panel()
    app.open_panel()
    expect(app.plots()).to_have_count(3)
    app.settle()


def filter_labels(app: App, dataset: fo.Dataset, label: str) -> int:
    """Filter by a label in the sidebar; return how many samples have it."""
    app.page.locator("[data-cy=sidebar-field-arrow-enabled-ground_truth]").click()
    search = app.page.locator("[data-cy='selector-sidebar-search-ground_truth.label']")
    search.click()
    search.fill(label)
    app.page.locator("[data-cy^=selector-result]").get_by_text(label, exact=True).click()
    count = dataset.values("ground_truth.label").count(label)
    app.expect_count(count)
    app.settle(3)
    return count


def watch(app: App, seconds: float, count: int) -> list[str]:
    """Return what the page asks for during some seconds, in which the grid shows the same number of samples."""
    for _ in range(int(seconds * 10)):
        app.page.wait_for_timeout(100)
        assert app.count == count, f"{app.count} samples in place of {count} after {app.requests}"
    return app.requests


def test_sidebar_filters_stay(app: App, dataset: fo.Dataset) -> None:
    open_panel(app, dataset)
    count = filter_labels(app, dataset, "7")
    expect(app.panel).to_contain_text(f"{count} samples with scores by ResNet-20 and VGG-16")
    app.requests.clear()
    assert not RELOADS & set(watch(app, 20, count))
    for name in TABS:
        app.press(app.tab(name))
        app.settle()
        assert [request for request in app.requests if request != "on_timer"] == ["on_tab"], name
        assert not RELOADS & set(watch(app, 5, count)), name
        app.requests.clear()
    for index in range(2):
        app.choose_in_panel(index, app.other_options(index)[0])
        app.settle()
        assert not RELOADS & set(watch(app, 3, count))
    app.screenshot("filtered")


def test_a_point_shows_as_many_samples_as_it_says(app: App, dataset: fo.Dataset) -> None:
    """Also under a filter of the sidebar, which the App drops with every new view."""
    open_panel(app, dataset)
    count = filter_labels(app, dataset, "7")
    expect(app.panel).to_contain_text(f"{count} samples with scores")
    pair = app.plots().nth(1)
    points: dict[str, Any] = pair.evaluate("plot => (({x, y, text}) => ({x, y, text}))(plot.data[1])")
    sizes = [int(text.split()[0]) for text in points["text"]]
    assert sum(sizes) == count
    index = int(np.argmax(sizes))
    before = app.traces(1)
    app.click(1, points["x"][index], points["y"][index])
    app.expect_count(sizes[index])
    app.settle()
    expect(app.panel).to_contain_text(f"Showing {sizes[index]} of {count}: learnability by ResNet-20")
    app.screenshot("clicked")
    assert app.traces(1) == before
    # the filter returns to the sidebar; the view that the panel made of it is gone
    app.press(app.button("Reset"))
    app.expect_count(count)
    app.settle(3)
    assert app.count == count
    assert not app.sent["view"]
    assert app.sent["filters"]["ground_truth.label"]["values"] == ["7"]
    expect(app.panel).to_contain_text(f"{count} samples with scores")
    app.screenshot("reset")


def test_plots_are_those_of_the_view(app: App, dataset: fo.Dataset) -> None:
    open_panel(app, dataset)
    for name, plots in (("Compare", 3), ("Data map", 1), ("Labels", 1), ("Classes", 1)):
        app.press(app.tab(name))
        expect(app.plots()).to_have_count(plots)
        app.settle()
        choose_view(app, dataset, "Some of them")
        following = everything_drawn(app)
        app.close_panel()
        app.open_panel()
        app.press(app.tab(name))
        expect(app.plots()).to_have_count(plots)
        app.settle()
        assert everything_drawn(app) == following, name
        app.screenshot(f"view-{name}")
        choose_view(app, dataset, None)


def choose_view(app: App, dataset: fo.Dataset, name: str | None) -> None:
    """Choose a saved view in the App, or none."""
    selection = app.page.locator("[data-cy=saved-views-selection]")
    if name is None:
        app.page.locator("[data-cy=saved-views-btn-selection-clear]").click()
    else:
        selection.click()
        app.page.locator("[data-cy$=-selection-option]").get_by_text(name).click()
    app.expect_count(len(dataset if name is None else dataset.load_saved_view(name)))
    app.settle()


def everything_drawn(app: App) -> Any:
    """All data of all plots of the panel."""
    return app.plots().evaluate_all("plots => plots.map(plot => JSON.stringify(plot.data))")


def test_a_reset_takes_back_only_what_the_panel_did(app: App, dataset: fo.Dataset) -> None:
    open_panel(app, dataset)
    expect(app.button("Reset")).to_have_count(0)
    choose_view(app, dataset, "Some of them")
    count = app.count
    expect(app.button("Reset")).to_have_count(0)
    app.press(app.button("Hardest first"))
    expect(app.panel).to_contain_text("Sorted by learnability by ResNet-20, hardest first")
    selection = app.page.locator("[data-cy=saved-views-selection]")
    app.press(app.button("Reset"))
    app.settle()
    expect(selection).to_contain_text("Some of them")
    assert app.count == count
    app.screenshot("reset")


def test_a_wheel_over_a_plot_scrolls_the_panel(app: App, dataset: fo.Dataset) -> None:
    open_panel(app, dataset)
    plot = app.plots().nth(1)
    box = plot.bounding_box()
    assert box is not None
    ranges: Callable[[], Any] = lambda: plot.evaluate("p => [p._fullLayout.xaxis.range, p._fullLayout.yaxis.range]")  # noqa: E731
    before = ranges()
    app.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    app.page.mouse.wheel(0, 300)
    app.until(lambda: (plot.bounding_box() or box)["y"] < box["y"] - 200, "the panel to scroll")
    assert ranges() == before
    # the tool bar and the tabs are still there
    expect(app.button("Hardest first")).to_be_in_viewport()
    expect(app.tab("Curves")).to_be_in_viewport()
    app.screenshot("scrolled")
