"""Fixtures that the tests of operators and panel share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import fiftyone as fo
import pytest

import fiftyone_learnability as fol
from fiftyone_learnability.experiment.rate import remember_rate

from .review_case import ReviewCase, make_review_case

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from .browser import App


@pytest.fixture
def predicted(make_dataset: Callable[..., fo.Dataset]) -> ReviewCase:
    """A dataset with the predictions of two networks, for which no labels are suggested yet."""
    return make_review_case(make_dataset)


@pytest.fixture
def reviewed(predicted: ReviewCase) -> ReviewCase:
    """The same dataset with suggested labels."""
    fol.suggest_label_fixes(predicted.dataset)
    assert len(predicted.with_verdict("mislabelled")) > 15
    assert len(predicted.with_verdict("hard")) > 5
    return predicted


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an App on a machine whose speed is known: no form measures it beside the training."""
    from scripts.server import serve

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        for model in ("resnet20", "mobilenet"):
            remember_rate(model, 32, "auto", 100.0)
        with serve() as address:
            yield address


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """A Chromium."""
    # not before the test: playwright may not be installed
    from .browser import start_browser

    with start_browser(chromium) as started:
        yield started


@pytest.fixture
def app(
    url: str, browser: Browser, make_dataset: Callable[..., fo.Dataset], request: pytest.FixtureRequest
) -> Iterator[App]:
    """A page of the App that must show no error; it closes before the datasets are deleted."""
    from .browser import open_page

    with open_page(browser, url, request.node.originalname.removeprefix("test_")) as page:
        yield page
        # the best clue when a test fails
        page.screenshot("at-the-end")
        assert page.errors == []
