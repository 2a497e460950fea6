"""A world for each case, in which networks train in no time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .world import World


@pytest.fixture(scope="module")
def common(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Where datasets are kept that many cases are played with, because none of them may change them."""
    from .world import World

    made = World(tmp_path_factory.mktemp("common"))
    yield made
    made.clear()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, common: World) -> Iterator[World]:
    """An empty folder, a cache of its own, and tiny networks in place of the real ones."""
    # FiftyOne may not be imported before its database is chosen, see the conftest above
    from fiftyone_learnability.training import networks

    from .world import World

    folder = tmp_path / "files"
    folder.mkdir()
    made = World(folder, common)
    # a case that fails leaves its run there to be gone on with, which another case is not to find
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(networks, "NETWORKS", dict.fromkeys(networks.NETWORKS, made.network))
    yield made
    made.clear()
