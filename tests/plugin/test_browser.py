"""A curator's work in the App, in a real browser: compute, cancel, choose, tag, review labels; at every size."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from itertools import combinations, product
from pathlib import Path
from typing import Any

import fiftyone as fo
import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

import fiftyone_learnability as fol
from fiftyone_learnability.dataset.internals import sample_collection
from fiftyone_learnability.dataset.runs import load_model_results

pytest.importorskip("playwright")

from playwright.sync_api import expect

from scripts.server import processes_of_database

from .browser import App
from .made_up import MODELS, write_contradicted_scores

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1200)]

Images = tuple[list[str], list[str]]
RESNET, MOBILENET = "learnability_resnet20", "learnability_mobilenet"
RESNET_RANK, MOBILENET_RANK = "learnability_rank_resnet20", "learnability_rank_mobilenet"
PROGRESS = re.compile(r"ResNet-20: epoch \d+ of 10000, accuracy \d+%, .*left")


@pytest.fixture(scope="module")
def images(request: pytest.FixtureRequest) -> Images:
    """Files and labels of 200 images of four classes; of CIFAR-10 where it is available."""
    if os.environ.get("CIFAR10") or os.environ.get("REQUIRE_ALL") == "1":
        files, labels = request.getfixturevalue("cifar10_train")(500)
    else:
        files, labels = request.getfixturevalue("digits")
    classes = sorted(set(labels))[:4]
    chosen = [index for name in classes for index in [i for i, label in enumerate(labels) if label == name][:50]]
    return [files[index] for index in chosen], [labels[index] for index in chosen]


def test_from_images_to_reviewed_labels(app: App, images: Images, make_dataset: Callable[..., fo.Dataset]) -> None:
    files, labels = images
    classes = sorted(set(labels))
    # every tenth image gets the label of the next class
    given = [
        classes[(classes.index(label) + 1) % 4] if index % 10 == 0 else label for index, label in enumerate(labels)
    ]
    dataset = make_dataset(files, given, name="journey", persistent=True)
    app.open(dataset.name)
    app.expect_count(200)
    start_from_the_grid(app)
    watch_over_a_reload_and_cancel(app, dataset)
    compute_from_the_panel(app, dataset)
    explore_the_plots(app, dataset)
    sort_and_tag(app, dataset)
    look_at_classes_and_examples(app, dataset)
    look_at_curves(app, dataset)
    reload_and_find_everything(app)
    explore_the_data_map(app, dataset)
    review_labels(app, dataset, given)


def start_from_the_grid(app: App) -> None:
    """Start a training that continues until it is cancelled."""
    app.open_panel()
    expect(app.panel).to_contain_text("No scores yet")
    expect(app.panel).to_contain_text("200 samples")
    app.press_grid_button()
    fill_the_form(app, "10000")
    for field in (RESNET, RESNET_RANK, MOBILENET, MOBILENET_RANK):
        expect(app.form.get_by_text(field, exact=True)).to_be_visible()
    expect(app.form).to_contain_text("at this machine's measured speed")
    # show what the server says to the last input, which the form sends after a moment
    app.settle()
    app.screenshot("form")
    app.press(app.form_button("Compute"))
    expect(app.form).to_be_hidden()


def fill_the_form(app: App, epochs: str) -> None:
    app.add_in_form("MobileNet")
    app.choose_in_form("Paper: 200 epochs", "Other")
    app.form_input("Epochs").fill(epochs)
    app.press(app.form.get_by_text("More options"))
    app.form_input("Batch size").fill("32")
    app.form_input("Learning rate").fill("0.05")


def watch_over_a_reload_and_cancel(app: App, dataset: fo.Dataset) -> None:
    expect(app.panel).to_contain_text("Learnability by ResNet-20, MobileNet: 10000 epochs")
    expect(app.panel).to_contain_text(PROGRESS)
    app.screenshot("training")
    before = app.epoch
    app.reload()
    expect(app.panel).to_contain_text(PROGRESS)
    app.until(lambda: before < app.epoch, f"more than {before} epochs", lambda: app.epoch)
    trained_by = workers()
    assert trained_by, "no process trains"
    app.press(app.button("Cancel"))
    expect(app.panel).to_contain_text("Cancelled by user")
    assert psutil.wait_procs(trained_by, timeout=120)[1] == []
    assert workers() == []
    dataset.reload()
    assert [name for name in dataset.get_field_schema() if "learnability" in name] == []
    assert fol.list_runs(dataset) == []


def compute_from_the_panel(app: App, dataset: fo.Dataset) -> None:
    app.press(app.button("Compute learnability"))
    fill_the_form(app, "6")
    app.press(app.form_button("Compute"))
    expect(app.form).to_be_hidden()
    # from here on the page is not reloaded until the curves
    expect(app.in_sidebar(RESNET)).to_be_visible(timeout=300_000)
    expect(app.panel).to_contain_text("200 samples with scores by ResNet-20 and MobileNet")
    expect(app.button("Cancel")).to_have_count(0)
    expect(app.plots()).to_have_count(3)
    dataset.reload()
    assert set(dataset.values(MOBILENET_RANK)) == set(range(1, 201))
    app.settle()
    app.screenshot("panel")


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

    # a box around several cells; a cell belongs to it if its middle does
    (a0, a1), (b0, b1) = half_box(counts)
    inside = int(counts[a0 : a1 + 1, b0 : b1 + 1].sum())
    assert counts[row, column] != inside < 200, "the box must hold some samples, and another number than the cell"
    step = edges[1] - edges[0]
    app.drag(1, (edges[a0] + 0.3 * step, edges[b0] + 0.3 * step), (edges[a1] + 0.7 * step, edges[b1] + 0.7 * step))
    app.expect_count(inside)

    # a bar of one network
    edges = edges_of(app.traces(2)[0]["x"])
    bars = np.histogram(first, bins=edges)[0]
    app.click(2, middle(edges, bars.argmax()), bars.max() / 2)
    app.expect_count(int(bars.max()))

    app.press(app.button("Reset"))
    app.expect_count(200)
    app.settle()
    # its own filters have never narrowed what the panel covers
    assert set(seen) == {"200 samples with scores by ResNet-20 and MobileNet"}

    # the opposite cell of the matrix swaps the pair
    assert app.chosen == ["ResNet-20", "Learnability", "MobileNet", "Learnability"]
    app.click(0, "ResNet-20", "MobileNet")
    app.until(
        lambda: app.chosen == ["MobileNet", "Learnability", "ResNet-20", "Learnability"],
        "the swapped pair",
        lambda: app.chosen,
    )
    expect_axis_title(app, "learnability by MobileNet")
    app.click(0, "MobileNet", "ResNet-20")
    expect_axis_title(app, "learnability by ResNet-20")
    app.choose_in_panel(1, "Rank")
    expect_axis_title(app, "rank by ResNet-20")
    app.choose_in_panel(1, "Learnability")


def expect_axis_title(app: App, title: str) -> None:
    app.until(lambda: app.axis_title(1) == title, f"the axis {title!r}", lambda: app.axis_title(1))


def sort_and_tag(app: App, dataset: fo.Dataset) -> None:
    ids, ranks = dataset.values("id"), scores(dataset, RESNET_RANK)
    hardest = [ids[index] for index in np.argsort(scores(dataset, RESNET), kind="stable")]
    assert ranks[ids.index(hardest[0])] == 200
    # the panel ticks the score and the rank, so the grid shows them
    app.press(app.button("Hardest first"))
    app.expect_values(RESNET_RANK, "200", "199", "198")
    app.press(app.button("Easiest first"))
    app.expect_values(RESNET_RANK, "1", "2", "3")
    app.screenshot("sorted")
    app.press(app.button("Easier for ResNet-20"))
    app.expect_count(int((scores(dataset, MOBILENET_RANK) > ranks).sum()))
    app.press(app.button("Easier for MobileNet"))
    app.expect_count(int((scores(dataset, MOBILENET_RANK) < ranks).sum()))
    app.press(app.button("Either way"))
    app.expect_count(int((scores(dataset, MOBILENET_RANK) != ranks).sum()))
    app.press(app.button("Reset"))
    app.expect_count(200)
    app.until(lambda: not app.shown_values(RESNET_RANK), "the grid without ranks")

    app.press(app.button("Tag"))
    app.form_input("Number").fill("10")
    app.settle()
    app.press(app.form_button("Tag"))
    expect(app.form).to_be_hidden()
    app.until(lambda: len(dataset.match_tags("hard")) == 10, "ten tagged samples")
    assert set(dataset.match_tags("hard").values("id")) == set(hardest[:10])
    app.expect_tag("hard")


def look_at_classes_and_examples(app: App, dataset: fo.Dataset) -> None:
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
    # the table beside it: the first class as a whole
    first = app.panel.locator("tbody td").first
    app.press(first)
    app.expect_count(int((labels == label).sum()))
    # the cell is marked
    expect(first).not_to_have_css("background-color", "rgba(0, 0, 0, 0)")
    expect(app.panel).to_contain_text(f"Showing {(labels == label).sum()} of 200: {label}")

    app.press(app.tab("Examples"))
    pictures = app.panel.locator("img")
    expect(pictures).to_have_count(24)
    app.until(
        lambda: pictures.evaluate_all("all => all.every(image => image.complete && image.naturalWidth > 0)"),
        "the pictures",
    )
    app.screenshot("examples")
    both = scores(dataset, RESNET_RANK) + scores(dataset, MOBILENET_RANK)
    third = dataset[dataset.values("id")[np.argsort(both, kind="stable")[2]]]
    assert Path(third.filepath).name in str(pictures.nth(2).get_attribute("src"))
    app.press(pictures.nth(2))
    app.expect_count(1)
    app.expect_values(RESNET_RANK, str(third[RESNET_RANK]))
    app.press(app.button("Reset"))
    app.expect_count(200)


def look_at_curves(app: App, dataset: fo.Dataset) -> None:
    app.press(app.tab("Curves"))
    expect(app.panel).to_contain_text("Select samples")
    expect(app.plots()).to_have_count(1)
    app.toggle_selection(2)
    expect(app.plots()).to_have_count(2)
    # two samples, two networks, six epochs
    app.until(lambda: len(app.traces(0)) == 4, "a curve for each sample and network", lambda: app.traces(0))
    means = {round(float(np.mean(trace["y"])), 2) for trace in app.traces(0)}
    chosen = dataset.sort_by("id").limit(2)
    assert means == {round(value, 2) for field in (RESNET, MOBILENET) for value in chosen.values(field)}
    assert all(len(trace["y"]) == 6 for trace in app.traces(0))
    app.screenshot("curves")


def reload_and_find_everything(app: App) -> None:
    app.reload()
    expect(app.tab("Curves")).to_have_attribute("aria-selected", "true")
    expect(app.plots().first).to_be_visible()
    expect(app.page.locator("[data-cy=sidebar-group-entry-LEARNABILITY]")).to_be_visible()
    app.expect_tag("hard")
    app.press(app.tab("Compare"))
    expect(app.plots()).to_have_count(3)
    app.press(app.button("Compute"))
    expect(app.form).to_contain_text("There are scores of this name already")
    expect(app.form).to_contain_text("The new scores are called resnet20_2")
    # two samples are still selected, and the form would train on them only
    expect(app.form).to_contain_text("Current selection")
    expect(app.form).to_contain_text(re.compile(r"(?<!\d)2 images"))
    app.press(app.form_button("Cancel"))
    expect(app.form).to_be_hidden()
    app.toggle_selection(2)
    app.press(app.tab("Curves"))
    expect(app.panel).to_contain_text("Select samples")


def explore_the_data_map(app: App, dataset: fo.Dataset) -> None:
    app.press(app.tab("Data map"))
    # until it is drawn, the plot of the tab before is there
    app.until(lambda: app.plots().count() == 1 and app.axis_title(0) == "variability by ResNet-20", "the map")
    # an event that is on its way, such as that of the end of the selection, draws it again
    app.settle()
    assert not dataset.has_field(f"{RESNET}_variability")
    measured, learnability = load_model_results(dataset, ["resnet20"])["resnet20"], scores(dataset, RESNET)
    variability = dict(zip(measured.ids, measured.score("variability"), strict=True))
    marks = app.traces(0)[0]
    rows = np.unique(marks["y"])
    half = np.diff(rows).min() / 2
    # the drawn cells reach from the hardest sample to the most variable one
    assert rows[0] == pytest.approx(learnability.min(), abs=half)
    assert max(marks["x"]) == pytest.approx(max(variability.values()), abs=np.diff(np.unique(marks["x"])).min() / 2)
    app.settle()
    app.screenshot("data-map")
    # a box over the lower rows takes the cells whose middles it holds
    lower = rows[np.searchsorted(rows, np.median(learnability)) - 1] + half
    app.drag(0, (0.001, 0.001), (0.499, lower))
    expected = int((learnability < lower).sum())
    assert 0 < expected < 200
    app.expect_count(expected)
    app.press(app.button("Reset"))
    app.expect_count(200)
    # sorted without a field, then the field
    app.press(app.tab("Compare"))
    app.choose_in_panel(1, "Variability")
    app.press(app.button("Highest first"))
    expect(app.panel).to_contain_text("Showing 200 of 200: sorted by variability by ResNet-20, highest first")
    app.press(app.button("Write variability as a field"))
    app.until(lambda: dataset.reload() or dataset.has_field(f"{RESNET}_variability"), "the scores")
    assert dict(zip(*dataset.values(["id", f"{RESNET}_variability"]), strict=True)) == pytest.approx(variability)
    app.choose_in_panel(1, "Learnability")
    app.press(app.button("Reset"))
    app.expect_count(200)


def review_labels(app: App, dataset: fo.Dataset, given: list[str]) -> None:
    app.press(app.tab("Labels"))
    app.press(app.button("Suggest label fixes"))
    app.press(app.form_button("Suggest"))
    expect(app.form).to_be_hidden()
    expect(app.panel).to_contain_text(re.compile(r"\d+ probably mislabelled, \d+ hard but plausible"))
    dataset.reload()
    verdicts = dataset.values("learnability_verdict")
    wrong, hard = verdicts.count("mislabelled"), verdicts.count("hard")
    expect(app.panel).to_contain_text(f"{wrong} probably mislabelled, {hard} hard but plausible")
    shown, verdict = (wrong, "mislabelled") if wrong else (hard, "hard")
    app.press(app.button("Show probably mislabelled" if wrong else "Show hard but plausible"))
    app.expect_count(shown)
    most = fol.label_problems(dataset, verdict).first()
    app.expect_values("learnability_suggestion", most.learnability_suggestion.label)
    app.expect_values("ground_truth", most.ground_truth.label)
    app.settle()
    app.screenshot("label-review")

    app.toggle_selection(1)
    app.press(app.button("Accept selected"))
    expect(app.form).to_contain_text(re.compile(r"1 of 1 labels in ground_truth_fixed will change"))
    app.press(app.form_button("Accept"))
    expect(app.form).to_be_hidden()
    app.until(lambda: dataset.reload() or dataset.has_field("ground_truth_fixed"), "the copy")
    fixed = dict(zip(*dataset.values(["id", "ground_truth_fixed.label"]), strict=True))
    kept = dict(zip(*dataset.values(["id", "ground_truth.label"]), strict=True))
    assert fixed[most.id] == most.learnability_suggestion.label
    assert {id for id in fixed if fixed[id] != kept[id]} == {most.id}, "the other labels are copied unchanged"
    assert sorted(kept.values()) == sorted(given), "the original labels are unchanged"


def test_a_failed_run(app: App, images: Images, make_dataset: Callable[..., fo.Dataset], tmp_path: Path) -> None:
    bad = tmp_path / "no-image.png"
    bad.write_text("this is no image")
    dataset = make_dataset([*images[0], str(bad)], [*images[1], images[1][0]], name="broken", persistent=True)
    app.open(dataset.name)
    app.open_panel()
    app.press(app.button("Compute learnability"))
    app.press(app.form_button("Compute"))
    expect(app.panel).to_contain_text(bad.name)
    expect(app.panel).to_contain_text("1 of 201 images cannot be read")
    expect(app.panel).to_contain_text("repair or remove")
    app.press(app.button("Dismiss"))
    expect(app.panel).not_to_contain_text("cannot be read")
    app.reload()
    expect(app.panel).to_contain_text("No scores yet")
    expect(app.panel).not_to_contain_text("cannot be read")


@pytest.mark.slow
def test_the_panel_fits_and_looks_right(app: App, images: Images, make_dataset: Callable[..., fo.Dataset]) -> None:
    dataset = make_dataset(images[0][::2], images[1][::2], name="looks", persistent=True)
    write_contradicted_scores(dataset, MODELS)
    fol.suggest_label_fixes(dataset)
    # one step teaches a network nothing, of which the panel warns
    fol.compute_learnability(dataset, models="resnet20", name="short", epochs=1, batch_size=128, progress=False)
    app.open(dataset.name)
    app.open_panel()
    expect(app.panel).to_contain_text("did not learn clearly more than chance")
    # the check must find an element that is too wide
    app.panel.evaluate("panel => panel.insertAdjacentHTML('beforeend', '<p id=wide style=width:3000px>wide</p>')")
    assert [part for part in app.overflowing() if part.startswith("P ")]
    app.page.locator("#wide").evaluate("wide => wide.remove()")
    for theme, other in (("dark", "light"), ("light", "dark")):
        for width in (400, 800, 1200):
            app.set_panel_width(width)
            for name in ("Compare", "Data map", "Labels", "Examples", "Classes", "Curves"):
                app.press(app.tab(name))
                expect(app.panel.locator("img" if name == "Examples" else ".js-plotly-plot").first).to_be_visible()
                app.settle()
                app.screenshot(f"{theme}-{width}-{name.lower().replace(' ', '-')}")
                assert app.overflowing() == [], f"{name} at {width} px"
                assert app.unused_width() < 50, f"{name} at {width} px"
                assert app.colliding() == [], f"{name} at {width} px"
                for index in range(2 if name == "Compare" else 0):
                    across, up = app.sides(index)
                    assert across == pytest.approx(up, abs=2), f"plot {index} at {width} px is not square"
                    assert across > 150, f"plot {index} at {width} px is too small"
        app.page.get_by_title(f"{other.capitalize()} mode").click()
        expect(app.page.get_by_title(f"{theme.capitalize()} mode")).to_be_visible()
    app.set_panel_width(700)
    top, *others = (app.button(label).bounding_box()["y"] for label in ("Hardest first", "Tag", "Compute"))
    assert others == [top, top], "the tool bar takes more than one row at 700 px"


def scores(dataset: fo.Dataset, field: str) -> NDArray[np.float64]:
    """The values of a field, read from the database."""
    return np.array([document[field] for document in sample_collection(dataset).find({}, {field: 1})], np.float64)


def edges_of(centres: list[float]) -> NDArray[np.float64]:
    """The edges of equal bins with these centres."""
    half = (centres[1] - centres[0]) / 2
    # centres are drawn with five digits
    return np.round(np.append(np.array(centres) - half, centres[-1] + half), 4)


def middle(edges: NDArray[np.float64], index: Any) -> float:
    """The middle of a bin."""
    return float(edges[index] + edges[index + 1]) / 2


def half_box(counts: NDArray[np.float64]) -> tuple[tuple[int, int], tuple[int, int]]:
    """The first and last rows and columns of a box of at least four cells that holds about half of the samples."""
    spans = list(combinations(range(len(counts)), 2))

    def distance(box: tuple[tuple[int, int], tuple[int, int]]) -> float:
        (a0, a1), (b0, b1) = box
        return abs(counts[a0 : a1 + 1, b0 : b1 + 1].sum() - counts.sum() / 2)

    return min(product(spans, spans), key=distance)


def workers() -> list[psutil.Process]:
    """The processes that train in the background, with their children."""
    found = [process for process in processes_of_database() if any("worker.py" in part for part in process.cmdline())]
    return found + [child for process in found for child in process.children(recursive=True)]
