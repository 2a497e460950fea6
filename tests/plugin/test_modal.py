"""The panel in the modal of a sample, in a real browser: it shows this sample, and follows to the next one."""

from __future__ import annotations

from collections.abc import Callable

import fiftyone as fo
import numpy as np
import pytest

import fiftyone_learnability as fol

pytest.importorskip("playwright")

from playwright.sync_api import expect

from .browser import App
from .made_up import write_contradicted_scores

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(1200)]

COUNT, EPOCHS = 60, 5
NAME = "learnability_sample"


def test_the_sample_in_the_modal(
    app: App, digits: tuple[list[str], list[str]], make_dataset: Callable[..., fo.Dataset]
) -> None:
    dataset = make_dataset(digits[0][:COUNT], list(digits[1][:COUNT]), name="modal")
    write_contradicted_scores(dataset, ("resnet20", "vgg16"), EPOCHS)
    fol.suggest_label_fixes(dataset)
    results = fol.load_results(dataset, "learnability")
    dataset.add_sample(fo.Sample(digits[0][COUNT]))
    app.open(dataset.name)
    app.page.locator("[data-cy=fo-grid] [data-cy=looker]").first.click()
    modal = app.page.locator("[data-cy=modal]")
    expect(modal).to_be_visible()
    app.press(modal.locator(f"[data-cy=panel-tab-{NAME}]"))
    panel = app.page.locator(f"[data-cy=panel-content-{NAME}]")
    plot = panel.locator(".js-plotly-plot")
    # beside the image
    app.press(modal.get_by_role("button", name="Split horizontally").first)
    ids = dataset.values("id")
    for index in range(3):
        sample = dataset[ids[index]]
        expect(panel).to_contain_text(f"Label {sample.ground_truth.label}")
        expect(panel).to_contain_text(f"{sample.learnability_rank_resnet20} of {COUNT}")
        row = results["resnet20"].ids.tolist().index(ids[index])
        expected = results["resnet20"].dynamics[:, row].astype(float)
        expect(plot).to_have_count(1)
        app.settle()
        lines = plot.evaluate("plot => plot.data.map(({name, y}) => ({name, y}))")
        assert [line["name"] for line in lines[:2]] == ["ResNet-20", "VGG-16"]
        np.testing.assert_allclose(lines[0]["y"], expected, atol=6e-4)
        app.screenshot(f"sample-{index}")
        app.page.keyboard.press("ArrowRight")
