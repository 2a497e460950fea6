"""Fixtures that the tests of operators and panel share."""

from __future__ import annotations

from collections.abc import Callable

import fiftyone as fo
import pytest

import fiftyone_learnability as fol

from .review_case import ReviewCase, make_review_case


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
