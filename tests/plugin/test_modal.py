"""The panel in the modal of a sample, in a real browser: it shows this sample, and follows to the next one."""

from __future__ import annotations

from collections.abc import Callable

import fiftyone as fo
import numpy as np
import pytest

import fiftyone_learnability as fol

pytest.importorskip("playwright")

from playwright.sync_api import Locator, expect

from .browser import App
from .made_up import write_contradicted_scores

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(1200)]

COUNT, EPOCHS = 60, 5
NAME = "learnability_sample"


@pytest.fixture
def dataset(digits: tuple[list[str], list[str]], make_dataset: Callable[..., fo.Dataset]) -> fo.Dataset:
    """Images with scores of two networks and suggested labels; the third image has no scores."""
    made = make_dataset(digits[0][:COUNT], list(digits[1][:COUNT]), name="modal")
    write_contradicted_scores(made, ("resnet20", "vgg16"), EPOCHS)
    fol.suggest_label_fixes(made)
    third = made[made.values("id")[2]]
    third["learnability_resnet20"] = third["learnability_vgg16"] = None
    third.save()
    return made


def open_first_sample(app: App) -> Locator:
    """Open the first sample of the grid with the panel beside it; return the panel."""
    app.page.locator("[data-cy=fo-grid] [data-cy=looker]").first.click()
    modal = app.page.locator("[data-cy=modal]")
    expect(modal).to_be_visible()
    app.settle()
    tab = modal.locator(f"[data-cy=panel-tab-{NAME}]")
    split = modal.get_by_role("button", name="Split horizontally")
    app.press(tab)
    # the session remembers a modal that was split before
    if split.count():
        app.press(split.first)
    return app.page.locator(f"[data-cy=panel-content-{NAME}]")


def test_the_sample_in_the_modal(app: App, dataset: fo.Dataset) -> None:
    results = fol.load_results(dataset, "learnability")
    app.open(dataset.name)
    panel = open_first_sample(app)
    plot = panel.locator(".js-plotly-plot")
    for index, id in enumerate(dataset.values("id")[:4]):
        sample = dataset[id]
        if sample.learnability_resnet20 is None:
            expect(panel).to_contain_text("This sample has no scores.")
            expect(plot).to_have_count(0)
        else:
            expect(panel).to_contain_text(f"Label {sample.ground_truth.label}")
            expect(panel).to_contain_text(f"{sample.learnability_rank_resnet20} of {COUNT}")
            row = results["resnet20"].ids.tolist().index(id)
            expect(plot).to_have_count(1)
            app.settle()
            lines = plot.evaluate("plot => plot.data.map(({name, y}) => ({name, y}))")
            assert [line["name"] for line in lines[:2]] == ["ResNet-20", "VGG-16"]
            np.testing.assert_allclose(lines[0]["y"], results["resnet20"].dynamics[:, row].astype(float), atol=6e-4)
        app.screenshot(f"sample-{index}")
        app.page.keyboard.press("ArrowRight")


def test_the_grid_s_slice_of_a_group(
    app: App, digits: tuple[list[str], list[str]], make_dataset: Callable[..., fo.Dataset]
) -> None:
    dataset = make_dataset([], [], name="modal-groups")
    dataset.add_group_field("group", default="left")
    for index in range(20):
        group = fo.Group()
        dataset.add_samples(
            [
                fo.Sample(
                    digits[0][20 * number + index],
                    ground_truth=fo.Classification(label=digits[1][20 * number + index]),
                    group=group.element(name),
                )
                for number, name in enumerate(("left", "right"))
            ],
            progress=False,
        )
    write_contradicted_scores(dataset.select_group_slices("left"), ("resnet20",), EPOCHS)
    app.open(dataset.name)
    app.page.get_by_title("Light mode").click()
    panel = open_first_sample(app)
    expect(panel).to_contain_text(f"{dataset.first().learnability_rank_resnet20} of 20")
    expect(panel.locator(".js-plotly-plot")).to_have_count(1)
    app.settle()
    app.screenshot("light")
    # FiftyOne tells a panel nothing about the slice that is chosen in the modal, so the panel names its own
    expect(panel).to_contain_text("Slice left of the group")
