"""FiftyOne stores runs with the names of our classes."""

from __future__ import annotations

import base64
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import fiftyone as fo
import pytest

from fiftyone_learnability.dataset import registry
from fiftyone_learnability.dataset.notes import fields_of
from fiftyone_learnability.dataset.registry import LearnabilityRun, LearnabilityRunConfig

from .helpers import make_results, write_results

SETTINGS = {"label_field": "ground_truth", "epochs": 3, "runs": 2}


@pytest.fixture
def dataset(make_dataset: Callable[..., fo.Dataset]) -> fo.Dataset:
    """Eight samples with a run."""
    dataset = make_dataset([f"/nowhere/{number}.png" for number in range(8)], ["a", "b"] * 4)
    write_results(dataset, make_results(dataset, "a"), "first", SETTINGS)
    return dataset


def test_the_settings_are_loaded_as_our_class(dataset: fo.Dataset) -> None:
    dataset.reload()
    dataset.clear_cache()
    info = dataset.get_run_info("first")
    assert type(info.config) is LearnabilityRunConfig
    assert type(info.config.build()) is LearnabilityRun
    assert info.config.models == ["a"]
    assert {name: getattr(info.config, name) for name in SETTINGS} == SETTINGS
    assert info.config.build().get_fields(dataset, "first") == fields_of(["a"])


@pytest.mark.parametrize("piece", [4, 100, 2**20])
def test_results_are_decoded_in_pieces(dataset: fo.Dataset, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "PIECE", piece)
    kept = dataset.load_run_results("first", cache=False).archives
    assert registry.unpacked(kept) == {"a": base64.b64decode(kept["a"])}


def test_threads_can_read_the_results_of_a_run_at_once(dataset: fo.Dataset) -> None:
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda _: registry.read_results(dataset, "first"), range(100)))
    assert {tuple(result.archives) for result in results if result is not None} == {("a",)}


def test_the_view_of_a_run_is_loaded(dataset: fo.Dataset) -> None:
    view = dataset.sort_by("filepath", reverse=True).limit(3)
    write_results(view, make_results(view, "c"), "third", SETTINGS)
    dataset.reload()
    dataset.clear_cache()
    assert dataset.load_run_view("third").values("id") == view.values("id")
