"""Which scores a collection has, and their values."""

from __future__ import annotations

from collections.abc import Callable

import fiftyone as fo
import numpy as np
import pytest

import fiftyone_learnability as fol
from fiftyone_learnability.dataset.scored import label_path_of

from .helpers import SETTINGS, make_results, write_results


@pytest.fixture
def dataset(make_dataset: Callable[..., fo.Dataset]) -> fo.Dataset:
    """Forty samples with scores of three networks; the second lacks the first ten, the third the last ten."""
    dataset = make_dataset([f"/nowhere/{number}.png" for number in range(40)], ["a", "b"] * 20)
    for model, view in {"a": dataset.view(), "b": dataset.skip(10), "c": dataset.limit(30)}.items():
        write_results(view, make_results(view, model), model, SETTINGS)
    return dataset


def test_networks_are_found_in_the_order_of_writing(dataset: fo.Dataset) -> None:
    dataset.add_sample_field("learnability_mine", fo.FloatField)
    assert fol.find_models(dataset) == ["a", "b", "c"]
    assert fol.find_models(dataset.limit(1)) == ["a", "b", "c"]
    assert fol.find_models(dataset.select_fields(["learnability_c", "learnability_rank_a"])) == ["c"]


def test_scores_are_loaded_with_gaps(dataset: fo.Dataset) -> None:
    ids, scores = fol.load_scores(dataset)
    assert ids.tolist() == dataset.values("id")
    assert list(scores) == ["a", "b", "c"]
    for model, column in scores.items():
        expected = [np.nan if value is None else value for value in dataset.values(f"learnability_{model}")]
        np.testing.assert_array_equal(column, expected)
    assert np.isnan(scores["b"]).sum() == 10
    assert list(fol.load_scores(dataset, ["c"])[1]) == ["c"]


def test_no_scores(make_dataset: Callable[..., fo.Dataset]) -> None:
    dataset = make_dataset(["/nowhere/1.png"], ["a"])
    assert fol.find_models(dataset) == []
    ids, scores = fol.load_scores(dataset)
    assert ids.tolist() == dataset.values("id")
    assert scores == {}


def test_a_network_without_scores_is_refused(dataset: fo.Dataset) -> None:
    with pytest.raises(ValueError, match="'vgg16' has no scores; the networks that do: a, b, c"):
        fol.load_scores(dataset, ["vgg16"])


def test_the_labels_of_a_network(dataset: fo.Dataset) -> None:
    assert label_path_of(dataset, "a") == "ground_truth.label"
    dataset.delete_sample_field("ground_truth")
    assert label_path_of(dataset, "a") is None
