"""The forms of the operators in a real browser: as they open, with an error, and after a failure."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import fiftyone as fo
import numpy as np
import pytest

from fiftyone_learnability.experiment.rate import cache_file, remember_rate

pytest.importorskip("playwright")

from playwright.sync_api import expect

from scripts.server import serve

from .browser import App
from .made_up import write_scores

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]

FILES = "FIFTYONE_LEARNABILITY_DIR"
RED = re.compile(r"rgb\(2[0-9]{2}, ?[0-6]?[0-9], ?[0-6]?[0-9]\)")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an App with a folder of files and of measured speeds of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv(FILES, str(tmp_path_factory.mktemp("files")))
        with serve() as address:
            yield address


@pytest.fixture
def scored(make_dataset: Callable[..., fo.Dataset], digits: tuple[list[str], list[str]]) -> fo.Dataset:
    """20 images of which 2 have no label, with scores of two networks."""
    files, labels = digits
    dataset = make_dataset(files[:20], [None, None, *labels[2:20]], persistent=True)
    write_scores(dataset, {"resnet20": np.linspace(0, 1, 20), "vgg16": np.linspace(1, 0, 20)})
    return dataset


def red_texts(app: App) -> list[str]:
    """The texts that the form draws in red."""
    texts: list[list[str]] = app.form.locator("p, span").evaluate_all(
        "all => all.map((part) => [getComputedStyle(part).color, part.innerText.trim()])"
    )
    return [text for color, text in texts if text and RED.match(color)]


def test_compute(app: App, scored: fo.Dataset) -> None:
    cache_file().unlink(missing_ok=True)
    app.open(scored.name)
    app.open_form("Compute learnability")
    # this machine's speed is measured while the form is open, and the estimate appears by itself
    expect(app.form).to_contain_text("18 images with a label; 2 without one are left out")
    expect(app.form).to_contain_text("at this machine's measured speed")
    # scores of the network exist: as the form opens, nothing is lost, nothing is red, and it can be submitted
    expect(app.form).to_contain_text("The new scores are called resnet20_2")
    assert red_texts(app) == []
    expect(app.form_button("Compute")).to_be_enabled()
    app.screenshot("existing")
    app.close_form()
    # a machine on which 200 epochs take three hours
    remember_rate("resnet20", 32, "auto", 0.333)
    app.open_form("Compute learnability")
    expect(app.form).to_contain_text("200 epochs take about 3.0 hours on this machine")
    app.screenshot("advice")
    app.press(app.form.get_by_text("Stop when the ranking is stable"))
    expect(app.form).to_contain_text("Takes at most 3.0 hours")
    app.press(app.form.get_by_text("More options"))
    app.form_input("Runs").fill("0")
    app.settle()
    app.until(lambda: len(red_texts(app)) > 0, "an error")
    assert red_texts(app) == ["Must be a whole number from 1 to 100, not 0"]
    expect(app.form_button("Compute")).to_be_disabled()
    app.screenshot("error-at-its-field")
    app.close_form()


def test_export_and_import(app: App, scored: fo.Dataset) -> None:
    folder = Path(os.environ[FILES])
    app.open(scored.name)
    app.open_form("Export learnability scores")
    app.form_input("File").fill("scores.csv")
    app.settle()
    app.press(app.form_button("Export"))
    expect(app.form).to_be_hidden()
    app.until(lambda: (folder / "scores.csv").exists(), "the file")

    app.open_form("Import learnability scores")
    expect(app.form).to_contain_text("on the server: scores.csv")
    assert red_texts(app) == []
    expect(app.form_button("Import")).to_be_disabled()
    app.screenshot("import-empty")
    app.form_input("File").fill("scores.csv")
    expect(app.form).to_contain_text("The new scores are called resnet20_2 and vgg16_2")
    app.settle()
    app.screenshot("import")
    app.press(app.form_button("Import"))
    expect(app.form).to_be_hidden()
    app.until(lambda: scored.reload() or scored.has_field("learnability_vgg16_2"), "the scores")
    assert scored.values("learnability_vgg16_2") == pytest.approx(scored.values("learnability_vgg16"))

    # a file whose content is wrong: only reading it shows that
    (folder / "theirs.csv").write_text("id,learnability\n" + "".join(f"{id},soon\n" for id in scored.values("id")))
    app.open_form("Import learnability scores")
    app.form_input("File").fill("theirs.csv")
    expect(app.form).to_contain_text("A name for these scores")
    app.form_input("Save as").fill("mine")
    app.settle()
    app.press(app.form_button("Import"))
    expect(app.form).to_contain_text("This did not work")
    expect(app.form).to_contain_text("soon")
    expect(app.form).not_to_contain_text("Error occurred")
    app.screenshot("import-failed")
    app.press(app.form_button("Close"))
    expect(app.form).to_be_hidden()
