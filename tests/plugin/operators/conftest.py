"""Fixtures of the operators' tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import fiftyone as fo
import numpy as np
import pytest

from ..made_up import add_samples, write_scores

MakeDataset = Callable[..., fo.Dataset]


@pytest.fixture(autouse=True)
def folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder of files for each test, and one of measured speeds."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("FIFTYONE_LEARNABILITY_DIR", str(tmp_path))


@pytest.fixture
def unscored(make_dataset: MakeDataset) -> fo.Dataset:
    """10 samples of two classes, without scores."""
    return make_dataset([f"/no/{index}.png" for index in range(10)], list("ab") * 5)


@pytest.fixture
def scored(make_dataset: MakeDataset) -> fo.Dataset:
    """40 samples of two classes. The last ones are easiest for resnet20, the first ones for vgg16."""
    dataset = make_dataset([f"/no/{index}.png" for index in range(40)], ["a"] * 30 + ["b"] * 10)
    write_scores(dataset, {"resnet20": np.linspace(0, 1, 40), "vgg16": np.linspace(1, 0, 40)})
    return dataset


@pytest.fixture(scope="module")
def kept() -> Iterator[fo.Dataset]:
    """A dataset like ``scored``, shared by tests that change nothing."""
    dataset = fo.Dataset()
    add_samples(dataset, ["a"] * 30 + ["b"] * 10)
    write_scores(dataset, {"resnet20": np.linspace(0, 1, 40), "vgg16": np.linspace(1, 0, 40)})
    for key in ("taken", "foreign"):
        dataset.register_run(key, dataset.init_run())
    yield dataset
    dataset.delete()


@pytest.fixture
def measured_scores(unscored: fo.Dataset) -> fo.Dataset:
    """10 samples. The run of resnet20 has measured hits, variability, forgetting and aum, that of vgg16 only hits."""
    rng = np.random.default_rng(2)
    names = {"resnet20": ["hits", "variability", "forgetting", "aum"], "vgg16": ["hits"]}
    more = {model: {name: rng.random(10) for name in measured} for model, measured in names.items()}
    write_scores(unscored, {"resnet20": np.linspace(0, 1, 10), "vgg16": rng.random(10)}, more=more)
    return unscored
