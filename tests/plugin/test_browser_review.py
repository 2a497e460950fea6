"""A curator judges more than a hundred suggested labels in a real browser, with nothing but clicks."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import fiftyone as fo
import pytest

import fiftyone_learnability as fol

pytest.importorskip("playwright")

from playwright.sync_api import expect

from .browser import App
from .made_up import write_contradicted_scores

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(1200)]

COUNT = 1_100
"""Images; the label of every tenth is contradicted."""


@pytest.fixture(scope="module")
def images(request: pytest.FixtureRequest) -> tuple[list[str], list[str]]:
    """Files and labels of images of ten classes; of CIFAR-10 where it is available."""
    if os.environ.get("CIFAR10") or os.environ.get("REQUIRE_ALL") == "1":
        files, labels = request.getfixturevalue("cifar10_train")(COUNT)
    else:
        files, labels = request.getfixturevalue("digits")
    return files[:COUNT], labels[:COUNT]


class Curator:
    """Looks at the panel and clicks. It knows the true label of each image by its file."""

    def __init__(self, app: App, truth: dict[str, str]) -> None:
        self.app, self.truth = app, truth

    @property
    def decided(self) -> int:
        """How many suggestions the panel says are decided."""
        match = re.search(r"(\d+) of \d+ decided", self.app.panel.inner_text())
        return int(match.group(1)) if match else -1

    @property
    def image(self) -> str:
        """The file of the image that the panel asks about."""
        source = self.app.panel.locator("img[alt*=', suggested ']").first.get_attribute("src")
        assert source is not None
        return unquote(source.split("filepath=")[1])

    def answer(self) -> str:
        """The name of the right button."""
        button, truth = self.app.panel.get_by_role("button", name=re.compile("^Accept ")).first, self.truth[self.image]
        # the text of the icon comes first
        suggested = button.inner_text().rpartition("Accept ")[2].strip()
        return f"Accept {suggested}" if suggested == truth else f"Keep {truth}"

    def judge(self) -> str:
        """Click the right button, and wait for the next image; return the file of this one."""
        before, file = self.decided, self.image
        self.app.button(self.answer()).click()
        self.wait_for(before + 1)
        return file

    def wait_for(self, count: int) -> None:
        expect(self.app.panel).to_contain_text(f"{count} of ")
        self.app.until(lambda: self.decided == count, f"{count} decided", lambda: self.decided)

    def open(self) -> None:
        self.app.open_panel()
        self.app.press(self.app.tab("Labels"))
        self.app.press(self.app.button("Review one by one"))


def test_a_hundred_suggestions(
    app: App, images: tuple[list[str], list[str]], make_dataset: Callable[..., fo.Dataset]
) -> None:
    files, truth = images
    classes = sorted(set(truth))
    # the suggestion is the next class: right where the given label is the class before, wrong for every fifth of them
    given = [
        classes[classes.index(label) - 1] if index % 10 == 0 and index % 50 else label
        for index, label in enumerate(truth)
    ]
    dataset = make_dataset(files, given, name="queue", persistent=True)
    write_contradicted_scores(dataset, ["resnet20", "vgg16"], epochs=20)
    fol.suggest_label_fixes(dataset)
    total = len(fol.review_queue(dataset))
    assert total == COUNT / 10
    curator = Curator(app, dict(zip(files, truth, strict=True)))
    app.open(dataset.name)
    app.close_panel()
    curator.open()
    app.press(app.form_button("Start review"))
    expect(app.form).to_be_hidden()
    curator.wait_for(0)
    app.settle()
    app.screenshot("first")
    for width in (400, 800):
        app.set_panel_width(width)
        app.settle()
        app.screenshot(f"{width}-pixels")
        assert app.overflowing() == [], f"at {width} pixels"
    app.page.set_viewport_size({"width": 1600, "height": 1000})
    app.settle()
    undo_and_reload(app, curator)
    start, begun = time.monotonic(), curator.decided
    while curator.decided < total:
        curator.judge()
    seconds = time.monotonic() - start
    print(f"\n{total - begun} suggestions judged in {seconds:.0f} s, {seconds / (total - begun):.2f} s each")
    expect(app.panel).to_contain_text(f"All {total} suggestions in this view are decided")
    app.settle()
    app.screenshot("done")
    app.press(app.button("Overview"))
    expect(app.panel).to_contain_text("were kept")
    app.settle()
    app.screenshot("overview")
    dataset.reload()
    fixed: dict[str, Any] = dict(zip(*dataset.values(["filepath", "ground_truth_fixed.label"]), strict=True))
    assert fixed == curator.truth
    assert dataset.values("ground_truth.label") == given


def undo_and_reload(app: App, curator: Curator) -> None:
    """Take a decision back, put one off, and go on after a reload of the page."""
    first = curator.judge()
    second = curator.judge()
    app.press(app.button("Undo"))
    curator.wait_for(1)
    assert curator.image == second != first
    app.press(app.button("Skip"))
    expect(app.panel).to_contain_text("1 skipped for later")
    assert curator.image not in (first, second)
    app.settle(0.3)
    keys = app.panel.locator("button[accesskey]")
    assert keys.evaluate_all("all => all.map(one => one.accessKey)") == ["a", "k", "s", "z"]
    third = curator.judge()
    app.settle()
    app.screenshot("third")
    shown = curator.image
    app.reload()
    app.open_panel()
    curator.wait_for(2)
    assert curator.image == shown
    assert shown not in (first, second, third)
    assert not app.form.is_visible()
