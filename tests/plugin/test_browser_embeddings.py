"""The tab of embeddings in a real browser: its points, its colours, and a click on one of them."""

from __future__ import annotations

from collections.abc import Callable

import fiftyone as fo
import fiftyone.brain as fob
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("playwright")

from playwright.sync_api import expect

from .browser import App
from .made_up import write_contradicted_scores

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_point_shows_its_images(
    app: App, digits: tuple[list[str], list[str]], make_dataset: Callable[..., fo.Dataset]
) -> None:
    dataset = make_dataset(digits[0][:600], digits[1][:600], name="placed", persistent=True)
    write_contradicted_scores(dataset, ["resnet20", "vgg16"])
    pixels = np.array([np.asarray(Image.open(file).convert("L").resize((8, 8)), float).ravel() for file in digits[0]])
    centred = pixels[:600] - pixels[:600].mean(axis=0)
    points = centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
    fob.compute_visualization(dataset, points=points, brain_key="pca", verbose=False)
    app.open(dataset.name)
    app.close_panel()
    app.open_panel()
    app.press(app.tab("Embeddings"))
    expect(app.plots()).to_have_count(1)
    app.settle()
    app.screenshot("embeddings")
    texts, colours = app.plots().first.evaluate("plot => [plot.data[0].text, plot.data[0].marker.color]")
    counts = np.array([int(text.split()[0]) for text in texts])
    assert counts.sum() == 600
    mean = np.mean(dataset.values("learnability_resnet20"))
    assert (counts * np.array(colours)).sum() / 600 == pytest.approx(mean, rel=1e-5)
    most = int(counts.argmax())
    trace = app.traces(0)[0]
    app.click(0, trace["x"][most], trace["y"][most])
    app.expect_count(int(counts[most]))
    app.settle()
    assert app.plots().first.evaluate("plot => plot.data[0].selectedpoints") == [most]
    app.screenshot("a-place")
    middle_x, middle_y = float(np.median(trace["x"])), float(np.median(trace["y"]))
    left, bottom = min(trace["x"]), min(trace["y"])
    app.lasso(0, [(left, bottom), (middle_x, bottom), (middle_x, middle_y), (left, middle_y)])
    right_or_above = np.flatnonzero((np.array(trace["x"]) > middle_x) | (np.array(trace["y"]) > middle_y))
    app.until(lambda: app.count > counts[most], "the samples in the lasso", lambda: app.count)
    app.settle()
    drawn = app.plots().first.evaluate("plot => plot.data[0].selectedpoints")
    assert app.count == counts[drawn].sum()
    assert not set(drawn) & set(right_or_above.tolist())
    app.screenshot("a-lasso")
