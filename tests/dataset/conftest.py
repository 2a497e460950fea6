"""Fixtures for the tests of datasets."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import fiftyone as fo


@pytest.fixture
def dataset(make_dataset: Callable[..., fo.Dataset]) -> fo.Dataset:
    """Twelve samples without image files."""
    return make_dataset([f"/nowhere/{number}.png" for number in range(12)], ["a", "b"] * 6)
