"""What a curator does in the App, in a real browser: compute, watch, choose, tag; cancel and fail; at every size."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from itertools import combinations, product
from pathlib import Path
from typing import Any

import fiftyone as fo
import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

import fiftyone_learnability as fol

pytest.importorskip("playwright")

from playwright.sync_api import expect

from scripts.server import processes_of_database, serve

from .browser import App, browse

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

Images = tuple[list[str], list[str]]
RESNET, MOBILENET = "learnability_resnet20", "learnability_mobilenet"


@pytest.fixture(scope="module")
def images(request: pytest.FixtureRequest) -> Images:
    """Files and labels of 200 images of four classes: of CIFAR-10 where there is one."""
    if os.environ.get("CIFAR10") or os.environ.get("REQUIRE_ALL") == "1":
        files, labels = request.getfixturevalue("cifar10_train")(500)
    else:
        files, labels = request.getfixturevalue("digits")
    classes = sorted(set(labels))[:4]
    chosen = [index for label in classes for index in [i for i, one in enumerate(labels) if one == label][:50]]
    return [files[index] for index in chosen], [labels[index] for index in chosen]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The address of an App."""
    with serve() as address:
        yield address


@pytest.fixture
def app(
    url: str, chromium: str, make_dataset: Callable[..., fo.Dataset], request: pytest.FixtureRequest
) -> Iterator[App]:
    """A page of the App in which nothing may go wrong; it is closed before the datasets are deleted."""
    with browse(url, chromium, request.node.originalname.removeprefix("test_")) as page:
        yield page
        # where the test fails, this tells most
        page.screenshot("at-the-end")
        assert page.errors == []


def test_from_images_to_tags(app: App, images: Images, make_dataset: Callable[..., fo.Dataset]) -> None:
    dataset = make_dataset(*images, name="journey", persistent=True)
    app.open(dataset.name)
    app.expect_count(200)
    app.settle()
    app.screenshot("no-scores")
    compute_from_the_grid(app)
    watch_it_over_a_reload(app, dataset)
    explore_the_plots(app, dataset)
    sort_and_tag(app, dataset)
    look_at_classes_examples_and_curves(app, dataset)
    find_all_again(app)


def compute_from_the_grid(app: App) -> None:
    app.open_panel()
    expect(app.panel).to_contain_text("No scores yet")
    expect(app.panel).to_contain_text("200 samples")
    app.screenshot("empty-panel")
    app.press_grid_button()
    expect(app.form).to_contain_text(re.compile("speed of this machine is being measured|at this machine's measured"))
    app.add_in_form("MobileNet")
    app.choose_in_form("Paper: 200 epochs", "Other")
    app.form_input("Epochs").fill("6")
    app.press(app.form.get_by_text("More options"))
    app.form_input("Batch size").fill("32")
    app.form_input("Learning rate").fill("0.05")
    for field in (RESNET, "learnability_rank_resnet20", MOBILENET, "learnability_rank_mobilenet"):
        expect(app.form.get_by_text(field, exact=True)).to_be_visible()
    # what the server made of the last field typed into; the form sends it after a moment
    app.settle()
    app.screenshot("form")
    app.press(app.form_button("Compute"))
    expect(app.form).to_be_hidden()


def watch_it_over_a_reload(app: App, dataset: fo.Dataset) -> None:
    expect(app.panel).to_contain_text("Learnability by ResNet-20, MobileNet: 6 epochs")
    expect(app.panel).to_contain_text("Starting")
    app.screenshot("starting")
    progress = re.compile(r"epoch [1-6]/6, (loss [\d.]+, )?accuracy [\d.]+, .*left")
    expect(app.panel).to_contain_text(progress, timeout=120_000)
    app.screenshot("training")
    before = app.percent
    app.reload()
    expect(app.panel).to_contain_text(progress)
    assert app.button("Cancel").is_visible()
    app.until(lambda: before < app.percent, f"more than {before} %")
    app.screenshot("after-a-reload")
    # from here on the page is not reloaded
    expect(app.in_sidebar(RESNET)).to_be_visible(timeout=240_000)
    expect(app.panel).to_contain_text("200 samples with scores by ResNet-20 and MobileNet")
    expect(app.button("Cancel")).to_have_count(0)
    expect(app.plots()).to_have_count(3)
    dataset.reload()
    assert set(dataset.values("learnability_rank_mobilenet")) == set(range(1, 201))
    app.settle()
    app.screenshot("done")


def explore_the_plots(app: App, dataset: fo.Dataset) -> None:
    first, second = scores(dataset, RESNET), scores(dataset, MOBILENET)
    assert app.traces(0)[0]["z"][0][1] == pytest.approx(np.corrcoef(first, second)[0, 1], abs=1e-3)

    # a cell of the 2-D histogram
    seen = app.watch_samples_of_panel()
    edges = edges_of(app.traces(1)[0]["x"])
    counts = np.histogram2d(first, second, bins=(edges, edges))[0]
    row, column = np.unravel_index(counts.argmax(), counts.shape)
    app.click(1, middle(edges, row), middle(edges, column))
    app.expect_count(int(counts[row, column]))
    app.settle()
    app.screenshot("cell")

    # a box around more cells; a cell belongs to it if its middle does
    (a0, a1), (b0, b1) = telling_box(counts)
    inside = int(counts[a0 : a1 + 1, b0 : b1 + 1].sum())
    assert counts[row, column] != inside < 200, "no box tells anything apart"
    step = edges[1] - edges[0]
    app.drag(1, (edges[a0] + 0.3 * step, edges[b0] + 0.3 * step), (edges[a1] + 0.7 * step, edges[b1] + 0.7 * step))
    app.expect_count(inside)
    app.settle()
    app.screenshot("box")

    # bars of one network
    edges = edges_of(app.traces(2)[0]["x"])
    bars = np.histogram(first, bins=edges)[0]
    app.click(2, middle(edges, bars.argmax()), bars.max() / 2)
    app.expect_count(int(bars.max()))

    app.press(app.button("Reset"))
    app.expect_count(200)
    app.settle()
    # what the panel speaks of has not been narrowed by its own filters, not even for a moment
    assert set(seen) == {"200 samples with scores by ResNet-20 and MobileNet"}

    # the other cell of the matrix turns the pair around
    assert app.chosen == ["ResNet-20", "Learnability", "MobileNet", "The same"]
    app.click(0, "ResNet-20", "MobileNet")
    app.until(
        lambda: app.chosen == ["MobileNet", "Learnability", "ResNet-20", "The same"],
        "the pair turned around",
        lambda: app.chosen,
    )
    app.until(lambda: app.axis_title(1) == "learnability by MobileNet", "its axes to follow", lambda: app.axis_title(1))
    app.click(0, "MobileNet", "ResNet-20")
    app.until(lambda: app.axis_title(1) == "learnability by ResNet-20", "the first pair", lambda: app.axis_title(1))
    app.choose_in_panel(1, "Rank")
    app.until(lambda: app.axis_title(1) == "rank by ResNet-20", "ranks", lambda: app.axis_title(1))
    app.screenshot("ranks")
    app.choose_in_panel(1, "Learnability")


def sort_and_tag(app: App, dataset: fo.Dataset) -> None:
    ids, ranks = dataset.values("id"), scores(dataset, "learnability_rank_resnet20")
    hardest = [ids[index] for index in np.argsort(scores(dataset, RESNET), kind="stable")]
    assert ranks[ids.index(hardest[0])] == 200
    app.show_field("learnability_rank_resnet20")
    app.press(app.button("Hardest first"))
    app.until(
        lambda: app.shown_values("learnability_rank_resnet20")[:3] == ["200", "199", "198"],
        "the hardest first",
        lambda: app.shown_values("learnability_rank_resnet20"),
    )
    app.settle()
    app.screenshot("hardest-first")
    app.press(app.button("Easiest first"))
    app.until(
        lambda: app.shown_values("learnability_rank_resnet20")[:3] == ["1", "2", "3"],
        "the easiest first",
        lambda: app.shown_values("learnability_rank_resnet20"),
    )
    app.press(app.button("Disagreement"))
    app.expect_count(int((scores(dataset, "learnability_rank_mobilenet") > ranks).sum()))
    app.press(app.button("Reset"))
    app.expect_count(200)

    app.press(app.button("Tag"))
    app.form_input("Number").fill("10")
    app.settle()
    app.screenshot("tag-form")
    app.press(app.form_button("Execute"))
    expect(app.form).to_be_hidden()
    app.until(lambda: len(dataset.match_tags("hard")) == 10, "ten tagged samples")
    assert set(dataset.match_tags("hard").values("id")) == set(hardest[:10])
    app.expect_tag("hard")
    app.screenshot("tagged")


def look_at_classes_examples_and_curves(app: App, dataset: fo.Dataset) -> None:
    first = scores(dataset, RESNET)
    labels = np.array(dataset.values("ground_truth.label"))
    app.press(app.tab("Classes"))
    expect(app.plots()).to_have_count(1)
    rows = app.traces(0)[0]["y"]
    means = {str(label): first[labels == label].mean() for label in set(labels)}
    assert [row.split(" ")[0] for row in rows] == sorted(means, key=lambda label: means[label]), "hardest first"
    label = rows[0].split(" ")[0]
    edges = np.linspace(0, 1, 21)
    counts = np.histogram(first[labels == label], bins=edges)[0]
    app.screenshot("classes")
    app.click(0, middle(edges, counts.argmax()), rows[0])
    app.expect_count(int(counts.max()))
    app.settle()
    app.screenshot("class-cell")

    app.press(app.tab("Examples"))
    pictures = app.panel.locator("img")
    expect(pictures).to_have_count(16)
    app.until(
        lambda: pictures.evaluate_all("all => all.every(one => one.complete && one.naturalWidth > 0)"), "the pictures"
    )
    app.screenshot("examples")
    both = scores(dataset, "learnability_rank_resnet20") + scores(dataset, "learnability_rank_mobilenet")
    third = dataset[dataset.values("id")[np.argsort(both, kind="stable")[2]]]
    assert Path(third.filepath).name in str(pictures.nth(2).get_attribute("src"))
    app.press(pictures.nth(2))
    app.expect_count(1)
    app.until(
        lambda: app.shown_values("learnability_rank_resnet20") == [str(third.learnability_rank_resnet20)],
        f"the sample of rank {third.learnability_rank_resnet20}",
        lambda: app.shown_values("learnability_rank_resnet20"),
    )
    app.press(app.button("Reset"))
    app.expect_count(200)

    app.press(app.tab("Curves"))
    expect(app.panel).to_contain_text("Select samples")
    expect(app.plots()).to_have_count(1)
    app.screenshot("trainings")
    app.select(2)
    expect(app.plots()).to_have_count(2)
    # two samples, two networks, six epochs
    app.until(lambda: len(app.traces(0)) == 4, "a curve for each sample and network", lambda: app.traces(0))
    means = {round(float(np.mean(trace["y"])), 2) for trace in app.traces(0)}
    chosen = dataset.sort_by("id").limit(2)
    assert means == {round(value, 2) for field in (RESNET, MOBILENET) for value in chosen.values(field)}
    assert all(len(trace["y"]) == 6 for trace in app.traces(0))
    app.screenshot("curves")


def find_all_again(app: App) -> None:
    app.reload()
    expect(app.tab("Curves")).to_have_attribute("aria-selected", "true")
    expect(app.plots().first).to_be_visible()
    group = app.page.locator("[data-cy=sidebar-group-entry-LEARNABILITY]")
    expect(group).to_be_visible()
    app.expect_tag("hard")
    app.press(app.tab("Compare"))
    expect(app.plots()).to_have_count(3)
    app.screenshot("found-again")
    app.press(app.button("Compute"))
    expect(app.form).to_contain_text("Scores exist already")
    expect(app.form_button("Compute")).to_be_disabled()
    # two samples are still selected, and the form would train on them only
    expect(app.form).to_contain_text("Current selection")
    expect(app.form).to_contain_text(re.compile(r"(?<!\d)2 images"))
    app.screenshot("form-over-scores")
    app.press(app.form_button("Cancel"))


def test_cancelled_and_failed_runs(
    app: App, images: Images, make_dataset: Callable[..., fo.Dataset], tmp_path: Path
) -> None:
    dataset = make_dataset(*images, name="cancelled", persistent=True)
    app.open(dataset.name)
    app.open_panel()
    app.press(app.button("Compute learnability"))
    app.press(app.form_button("Compute"))
    expect(app.panel).to_contain_text(re.compile(r"epoch \d+/200, .*accuracy [\d.]+, .*left"), timeout=120_000)
    trained_by = workers()
    assert trained_by, "no process trains"
    app.press(app.button("Cancel"))
    expect(app.panel).to_contain_text("Cancelled by user")
    app.screenshot("cancelled")
    assert psutil.wait_procs(trained_by, timeout=60)[1] == []
    assert workers() == []
    dataset.reload()
    assert [name for name in dataset.get_field_schema() if "learnability" in name] == []
    assert fol.list_runs(dataset) == []
    app.press(app.button("Compute learnability"))
    expect(app.form_button("Compute")).to_be_enabled()
    app.press(app.form_button("Cancel"))

    bad = tmp_path / "no-image.png"
    bad.write_text("this is no image")
    broken = make_dataset([*images[0], str(bad)], [*images[1], images[1][0]], name="broken", persistent=True)
    app.open(broken.name)
    app.open_panel()
    app.press(app.button("Compute learnability"))
    app.press(app.form_button("Compute"))
    expect(app.panel).to_contain_text(bad.name, timeout=120_000)
    expect(app.panel).to_contain_text("1 of 201 images cannot be read")
    expect(app.panel).to_contain_text("repair or remove")
    app.screenshot("failed")
    app.press(app.button("Dismiss"))
    expect(app.panel).not_to_contain_text("cannot be read")
    app.reload()
    expect(app.panel).to_contain_text("No scores yet")
    expect(app.panel).not_to_contain_text("cannot be read")


def test_data_map_and_label_review(app: App, images: Images, make_dataset: Callable[..., fo.Dataset]) -> None:
    files, labels = images
    classes = sorted(set(labels))
    # every tenth image gets the label of the next class
    given = [
        classes[(classes.index(label) + 1) % 4] if index % 10 == 0 else label for index, label in enumerate(labels)
    ]
    dataset = make_dataset(files, given, name="review", persistent=True)
    fol.compute_learnability(dataset, epochs=10, batch_size=16, progress=False)
    app.open(dataset.name)
    app.open_panel()

    app.press(app.tab("Data map"))
    app.press(app.button("Write variability and hits"))
    app.until(lambda: dataset.reload() or dataset.has_field(f"{RESNET}_variability"), "the scores")
    # until then there is the histogram of the tab before
    app.until(lambda: app.plots().count() == 1 and app.traces(0)[0]["type"] == "scatter", "the map")
    variability, learnability = scores(dataset, f"{RESNET}_variability"), scores(dataset, RESNET)
    assert scores(dataset, f"{RESNET}_hits").shape == (200,)
    marks = app.traces(0)[0]
    rows = np.unique(marks["y"])
    half = np.diff(rows).min() / 2
    # the cells that are drawn reach from the hardest sample to the one that moved most
    assert rows[0] == pytest.approx(learnability.min(), abs=half)
    assert max(marks["x"]) == pytest.approx(variability.max(), abs=np.diff(np.unique(marks["x"])).min() / 2)
    app.settle()
    app.screenshot("data-map")
    # a box over the lower rows takes those whose middles it holds
    lower = rows[np.searchsorted(rows, np.median(learnability)) - 1] + half
    app.drag(0, (0.001, 0.001), (0.499, lower))
    expected = int((learnability < lower).sum())
    assert 0 < expected < 200
    app.expect_count(expected)
    app.settle()
    app.screenshot("data-map-box")
    app.press(app.button("Reset"))
    app.expect_count(200)

    app.press(app.tab("Labels"))
    app.press(app.button("Suggest label fixes"))
    app.press(app.form_button("Execute"))
    expect(app.form).to_be_hidden()
    expect(app.panel).to_contain_text(re.compile(r"\d+ probably mislabelled, \d+ hard but plausible"))
    dataset.reload()
    verdicts = dataset.values("learnability_verdict")
    wrong, hard = verdicts.count("mislabelled"), verdicts.count("hard")
    expect(app.panel).to_contain_text(f"{wrong} probably mislabelled, {hard} hard but plausible")
    app.settle()
    app.screenshot("labels")
    shown, verdict = (wrong, "mislabelled") if wrong else (hard, "hard")
    app.press(app.button("Show probably mislabelled" if wrong else "Show hard but plausible"))
    app.expect_count(shown)
    view = fol.label_problems(dataset, verdict)
    most = view.first()
    app.until(
        lambda: app.shown_values("learnability_suggestion")[:1] == [most.learnability_suggestion.label],
        f"the suggestion {most.learnability_suggestion.label} on the first sample",
        lambda: app.shown_values("learnability_suggestion"),
    )
    assert app.shown_values("ground_truth")[:1] == [most.ground_truth.label]
    app.settle()
    app.screenshot("label-review")

    app.select(1)
    app.press(app.button("Accept selected"))
    expect(app.form).to_contain_text(re.compile(r"1 of 1 labels in ground_truth_fixed will change"))
    app.settle()
    app.screenshot("accept")
    app.press(app.form_button("Execute"))
    expect(app.form).to_be_hidden()
    app.until(lambda: dataset.reload() or dataset.has_field("ground_truth_fixed"), "the copy")
    fixed = dict(zip(*dataset.values(["id", "ground_truth_fixed.label"]), strict=True))
    kept = dict(zip(*dataset.values(["id", "ground_truth.label"]), strict=True))
    assert fixed[most.id] == most.learnability_suggestion.label
    assert {id for id in fixed if fixed[id] != kept[id]} == {most.id}, "the others are copied as they are"
    assert sorted(kept.values()) == sorted(given), "the labels themselves are as they were"


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_looks(app: App, theme: str, images: Images, make_dataset: Callable[..., fo.Dataset]) -> None:
    dataset = make_dataset(images[0][::2], images[1][::2], name=f"looks-{theme}", persistent=True)
    fol.compute_learnability(dataset, models=["resnet20", "vgg16", "mobilenet"], epochs=2, scores="all", progress=False)
    fol.suggest_label_fixes(dataset)
    app.open(dataset.name)
    if theme == "light":
        app.page.get_by_title("Light mode").click()
        expect(app.page.get_by_title("Dark mode")).to_be_visible()
    app.open_panel()
    # what finds nothing too wide must find what is
    app.panel.evaluate("panel => panel.insertAdjacentHTML('beforeend', '<p id=wide style=width:3000px>wide</p>')")
    assert [part for part in app.overflowing() if part.startswith("P ")]
    app.page.locator("#wide").evaluate("wide => wide.remove()")
    for width in (400, 800, 1200):
        app.give_the_panel(width)
        for name in ("Compare", "Data map", "Labels", "Examples", "Classes", "Curves"):
            app.press(app.tab(name))
            expect(app.panel.locator("img" if name == "Examples" else ".js-plotly-plot").first).to_be_visible()
            app.settle()
            app.screenshot(f"{theme}-{width}-{name.lower().replace(' ', '-')}")
            assert app.overflowing() == [], f"{name} at {width} px"
            assert app.unused_width() < 50, f"{name} at {width} px"


def scores(dataset: fo.Dataset, field: str) -> NDArray[np.float64]:
    """The values of a field, from the database."""
    return np.array([document[field] for document in dataset._sample_collection.find({}, {field: 1})], np.float64)


def edges_of(centres: list[float]) -> NDArray[np.float64]:
    """The edges of equal bins whose middles are drawn."""
    half = (centres[1] - centres[0]) / 2
    # middles are drawn with five digits
    return np.round(np.append(np.array(centres) - half, centres[-1] + half), 4)


def middle(edges: NDArray[np.float64], index: Any) -> float:
    """The middle of a bin."""
    return float(edges[index] + edges[index + 1]) / 2


def telling_box(counts: NDArray[np.float64]) -> tuple[tuple[int, int], tuple[int, int]]:
    """The first and last rows and columns of a box of at least four cells that holds about half of all."""
    spans = list(combinations(range(len(counts)), 2))

    def distance(box: tuple[tuple[int, int], tuple[int, int]]) -> float:
        (a0, a1), (b0, b1) = box
        return abs(counts[a0 : a1 + 1, b0 : b1 + 1].sum() - counts.sum() / 2)

    return min(product(spans, spans), key=distance)


def workers() -> list[psutil.Process]:
    """The processes that train in the background, with their children."""
    found = [process for process in processes_of_database() if any("worker.py" in part for part in process.cmdline())]
    return found + [child for process in found for child in process.children(recursive=True)]
