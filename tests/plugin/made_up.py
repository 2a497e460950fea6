"""Datasets with made-up scores, many of them on edges of bins, tied or missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import fiftyone as fo
import numpy as np
from numpy.typing import NDArray

from fiftyone_learnability.experiment.results import ModelResults, RunRecord
from fiftyone_learnability.scores.catalog import DEFAULT_SCORES
from tests.dataset.helpers import write_results

MODELS = ("resnet20", "vgg16", "mobilenet")


def add_samples(dataset: fo.Dataset, labels: Sequence[str | None]) -> list[str]:
    """Add a sample for each label, without images; return their ids."""
    return dataset.add_samples(
        [
            fo.Sample(f"/no/such/{index}.png", ground_truth=None if label is None else fo.Classification(label=label))
            for index, label in enumerate(labels)
        ],
        progress=False,
    )


def write_scores(
    samples: fo.Dataset | fo.DatasetView,
    scores: Mapping[str, NDArray[np.float64]],
    key: str = "learnability",
    *,
    epochs: int = 4,
    dynamics: Mapping[str, NDArray[np.float16]] | None = None,
    label_field: str = "ground_truth",
    overwrite: bool = False,
    more: Mapping[str, Mapping[str, NDArray[np.float64]]] | None = None,
    written: Sequence[str] = DEFAULT_SCORES,
    predictions: Mapping[str, NDArray[np.float32]] | None = None,
    classes: Sequence[str] = ("a", "b"),
    labels: NDArray[np.int64] | None = None,
) -> None:
    """Write scores as if networks had been trained. Arrays have the order of the collection.

    Args:
        samples: the samples
        scores: learnability by network
        key: the key of the run
        epochs: its epochs
        dynamics: ``(epochs, N)`` dynamics by network
        label_field: the field of the labels
        overwrite: True replaces existing fields
        more: further measured scores by network
        written: the scores that become fields
        predictions: mean predictions by network
        classes: the classes of the predictions
        labels: ``(N,)`` the labels that the networks were trained with, as indices into the classes; by default 0
    """
    ids = np.array(samples.values("id"))
    order = np.argsort(ids)
    results = {}
    for number, (model, values) in enumerate(scores.items()):
        curve = np.linspace(0.1 + number / 10, 0.9, epochs)
        probabilities = None if dynamics is None else dynamics[model][:, order]
        record = RunRecord(
            model,
            0,
            {
                "learnability": values[order],
                **{name: array[order] for name, array in (more or {}).get(model, {}).items()},
            },
            1 - curve,
            curve,
            curve,
            np.ones(epochs),
            probabilities,
            None if predictions is None else predictions[model][order],
        )
        results[model] = ModelResults.from_runs(
            [record],
            ids[order],
            np.array([f"{id}.png" for id in ids[order]]),
            np.zeros(len(ids), np.int64) if labels is None else labels[order],
            tuple(classes),
            {},
        )
    settings: dict[str, Any] = {"label_field": label_field, "epochs": epochs, "num_samples": len(ids)}
    write_results(samples, results, key, settings, overwrite, written)


def write_contradicted_scores(dataset: fo.Dataset, models: Sequence[str], epochs: int = 5) -> None:
    """Write all that the panel can show, as if networks had learned the labels and contradicted every tenth.

    Args:
        dataset: a dataset with labels of at least two classes
        models: the networks
        epochs: their epochs
    """
    rng = np.random.default_rng(3)
    labels = dataset.values("ground_truth.label")
    classes, count = sorted(set(labels)), len(labels)
    right = np.array([classes.index(label) for label in labels])
    predicted = np.where(np.arange(count) % 10 == 0, (right + 1) % len(classes), right)
    predictions = 0.2 / len(classes) + 0.8 * np.eye(len(classes), dtype=np.float32)[predicted]
    measured = {"variability": rng.uniform(0, 0.5, count), "hits": rng.integers(0, epochs + 1, count) / epochs}
    write_scores(
        dataset,
        {model: np.clip(rng.beta(3, 1, count) - (predicted != right) * 0.5, 0, 1) for model in models},
        epochs=epochs,
        dynamics={model: rng.random((epochs, count)).astype(np.float16) for model in models},
        more=dict.fromkeys(models, measured),
        written=["learnability", "rank", *measured],
        predictions=dict.fromkeys(models, predictions),
        classes=classes,
        labels=right,
    )


def awkward_scores(count: int, bins: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return scores of which a third lie on edges of bins or just beside them, including 0 and 1, and many are tied."""
    edges = np.concatenate([np.linspace(0, 1, bins + 1), np.linspace(0, 1, 41), np.linspace(0, 1, 21)])
    values = rng.beta(2, 1.2, count)
    on_edges = rng.choice(count, count // 3, replace=False)
    near = np.concatenate([edges, np.nextafter(edges, 0), np.nextafter(edges[edges < 1], 1)])
    values[on_edges] = rng.choice(near, len(on_edges))
    values[rng.choice(count, 12, replace=False)] = [0.0] * 6 + [1.0] * 6
    values[rng.choice(count, count // 10, replace=False)] = values[0]
    return values
