"""A world for each case, with networks that train in no time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .world import World


@pytest.fixture(scope="module")
def common(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world of datasets shared by cases that must not change them."""
    from .world import World

    made = World(tmp_path_factory.mktemp("common"))
    yield made
    made.clear()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, common: World) -> Iterator[World]:
    """An empty folder, an empty cache, and tiny networks in place of the real ones."""
    # tests/conftest.py chooses the database before FiftyOne is imported
    from fiftyone_learnability.training import networks

    from .world import World

    folder = tmp_path / "files"
    folder.mkdir()
    made = World(folder, common)
    # a failed case leaves an unfinished run there, which no other case must find
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(networks, "NETWORKS", dict.fromkeys(networks.NETWORKS, made.network))
    yield made
    made.clear()
