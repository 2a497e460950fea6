from __future__ import annotations

from collections.abc import Callable
from typing import Any

import fiftyone as fo
import numpy as np
import pytest

import fiftyone_learnability as fol

from .harness import plugin_module
from .made_up import write_scores

COUNT, EPOCHS = 12, 4


@pytest.fixture
def archives() -> Any:
    return plugin_module("archives")


@pytest.fixture
def dataset(make_dataset: Callable[..., fo.Dataset], rng: np.random.Generator) -> fo.Dataset:
    """ResNet-20 with everything that a run can keep, VGG-16 with its scores alone."""
    dataset = make_dataset([f"/no/{index}.png" for index in range(COUNT)], list("ab") * (COUNT // 2))
    write_scores(
        dataset,
        {"resnet20": rng.random(COUNT)},
        "full",
        epochs=EPOCHS,
        dynamics={"resnet20": rng.random((EPOCHS, COUNT)).astype(np.float16)},
        more={"resnet20": {"hits": rng.random(COUNT)}},
        predictions={"resnet20": rng.dirichlet([1, 1], COUNT).astype(np.float32)},
    )
    write_scores(dataset, {"vgg16": rng.random(COUNT)}, "bare", epochs=EPOCHS)
    return dataset


def test_the_arrays_of_a_run(archives: Any, dataset: fo.Dataset) -> None:
    results = fol.load_results(dataset, "full")["resnet20"]
    dynamics = archives.load_dynamics(dataset, "resnet20")
    np.testing.assert_array_equal(dynamics.ids, results.ids)
    np.testing.assert_array_equal(dynamics.epochs, np.arange(1, EPOCHS + 1))
    np.testing.assert_array_equal(dynamics.probabilities, results.dynamics)
    curves = archives.load_training_curves(dataset, "resnet20")
    np.testing.assert_array_equal(curves["train_loss"], results.train_loss)
    assert archives.measured_scores(dataset, "resnet20") == ("learnability", "rank", "hits")
    assert archives.predicted_classes(dataset, "resnet20") == ("a", "b")


def test_arrays_that_a_run_does_not_have(archives: Any, dataset: fo.Dataset) -> None:
    assert archives.load_dynamics(dataset, "vgg16") is None
    assert archives.measured_scores(dataset, "vgg16") == ("learnability", "rank")
    assert archives.predicted_classes(dataset, "vgg16") == ()
    # a network without scores, and one whose run is gone
    fol.delete_run(dataset, "full")
    for model in ("mobilenet", "resnet20"):
        assert archives.load_dynamics(dataset, model) is None
        assert archives.load_training_curves(dataset, model) is None
        assert archives.measured_scores(dataset, model) == ()
        assert archives.predicted_classes(dataset, model) == ()


def test_a_new_run_with_an_old_key_is_read(archives: Any, dataset: fo.Dataset, rng: np.random.Generator) -> None:
    archives.load_dynamics(dataset, "resnet20")
    fol.delete_run(dataset, "full")
    dynamics = rng.random((2, COUNT)).astype(np.float16)
    write_scores(dataset, {"resnet20": rng.random(COUNT)}, "full", epochs=2, dynamics={"resnet20": dynamics})
    np.testing.assert_array_equal(archives.load_dynamics(dataset, "resnet20").epochs, [1, 2])
    assert archives.measured_scores(dataset, "resnet20") == ("learnability", "rank")
