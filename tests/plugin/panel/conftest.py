"""Fixtures of the panel's tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .cases import ScoredDataset


@pytest.fixture(scope="package")
def scored() -> Iterator[ScoredDataset]:
    """Every kind of score. Tests do not change this dataset."""
    # not before pytest is configured, since this imports fiftyone
    from .cases import make_scored_dataset

    made = make_scored_dataset()
    yield made
    made.dataset.delete()
