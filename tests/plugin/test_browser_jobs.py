"""What helps after a job has failed or was cancelled, and the runs of the panel, in a real browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import fiftyone as fo
import pytest

import fiftyone_learnability as fol
from fiftyone_learnability.experiment.rate import remember_rate

pytest.importorskip("playwright")

from playwright.sync_api import expect

from scripts.server import serve

from .browser import App

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache folder of the App and its jobs."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def url(cache: Path) -> Iterator[str]:
    """The address of an App on a machine whose speed is known."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        remember_rate("resnet20", 32, "auto", 100.0)
        with serve() as address:
            yield address


def test_from_a_failure_to_scores_and_from_a_cancel_to_a_resume(
    app: App, cache: Path, digits: tuple[list[str], list[str]], make_dataset: Callable[..., fo.Dataset], tmp_path: Path
) -> None:
    chosen = [index for index, label in enumerate(digits[1]) if label in "014"][:120]
    files, labels = ([part[index] for index in chosen] for part in digits)
    for index in (7, 50):
        files[index] = str(tmp_path / f"no-image-{index}.png")
        Path(files[index]).write_text("this is no image")
    dataset = make_dataset(files, labels, name="remedies", persistent=True)
    app.open(dataset.name)
    app.open_panel()
    fail_and_run_without_the_images(app, dataset)
    rename_the_run(app, dataset)
    compute_again_cancel_and_resume(app, dataset, cache)
    delete_the_run(app, dataset)


def fail_and_run_without_the_images(app: App, dataset: fo.Dataset) -> None:
    app.press(app.button("Compute learnability"))
    app.choose_in_form("Paper: 200 epochs", "Other")
    app.form_input("Epochs").fill("4")
    app.press(app.form.get_by_text("More options"))
    app.form_input("Batch size").fill("16")
    app.settle()
    app.press(app.form_button("Compute"))
    expect(app.form).to_be_hidden()
    expect(app.panel).to_contain_text("2 of 120 images cannot be read")
    app.settle()
    app.screenshot("failed")
    app.press(app.button("Show these images"))
    app.expect_count(2)
    expect(app.panel).to_contain_text("Showing 2 of 120: images that cannot be read")
    app.screenshot("unreadable")
    app.press(app.button("Reset"))
    app.expect_count(120)
    app.press(app.button("Run again without them"))
    expect(app.panel).to_contain_text("118 of 120 samples with scores by ResNet-20", timeout=300_000)
    expect(app.panel).to_contain_text("% accurate (chance")
    app.settle()
    app.screenshot("scores")


def rename_the_run(app: App, dataset: fo.Dataset) -> None:
    app.press(app.tab("Runs"))
    expect(app.panel).to_contain_text("118 samples, labels of ground_truth")
    expect(app.panel).to_contain_text("4 epochs, batch size 16")
    expect(app.panel).to_contain_text("left out: 2 with an image that cannot be read")
    app.settle()
    app.screenshot("runs")
    app.press(app.button("Rename"))
    app.form_input("New key").fill("first")
    app.settle()
    app.press(app.form_button("Rename run"))
    expect(app.form).to_be_hidden()
    app.until(lambda: dataset.reload() or fol.list_runs(dataset) == ["first"], "the new key")
    expect(app.panel).to_contain_text("first")


def compute_again_cancel_and_resume(app: App, dataset: fo.Dataset, cache: Path) -> None:
    app.press(app.button("Compute again"))
    expect(app.form_input("Epochs")).to_have_value("4")
    expect(app.form_input("Batch size")).to_have_value("16")
    expect(app.form).to_contain_text("There are scores of this name already")
    app.form_input("Epochs").fill("10000")
    app.press(app.form.get_by_text("Leave out images that cannot be read"))
    app.settle()
    app.screenshot("again")
    app.press(app.form_button("Compute"))
    expect(app.form).to_be_hidden()
    # a checkpoint is saved once a minute
    reached = [0]

    def is_saved() -> bool:
        saved = any(cache.rglob("*.pt"))
        reached[0] = reached[0] if saved else max(reached[0], app.epoch)
        return saved

    app.until(is_saved, "a checkpoint", lambda: app.epoch, seconds=300)
    assert reached[0] > 5
    app.press(app.button("Cancel"))
    expect(app.panel).to_contain_text("Nothing was written")
    app.settle()
    app.screenshot("cancelled")
    app.press(app.button("Resume"))
    app.until(lambda: app.epoch > 0, "the training")
    assert app.epoch >= reached[0]
    app.screenshot("resumed")
    app.press(app.button("Cancel"))
    app.press(app.button("Dismiss"))


def delete_the_run(app: App, dataset: fo.Dataset) -> None:
    app.press(app.button("Delete"))
    expect(app.form).to_contain_text("learnability_resnet20")
    app.press(app.form.get_by_text("Delete the fields"))
    app.settle()
    app.screenshot("delete")
    app.press(app.form_button("Delete run"))
    expect(app.form).to_be_hidden()
    expect(app.panel).to_contain_text("No scores yet")
    dataset.reload()
    assert [name for name in dataset.get_field_schema() if "learnability" in name] == []
