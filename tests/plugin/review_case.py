"""A dataset with predictions of two networks, and an independent computation of the labels they suggest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import fiftyone as fo
import numpy as np
from numpy.typing import NDArray

from fiftyone_learnability.scores.label_errors import SMOOTHING

from .harness import execute
from .made_up import write_scores

COUNT = 120
CLASSES = ("ant", "bee", "$cow")


@dataclass
class ReviewCase:
    """A dataset and what must be said about its samples, in their order.

    Attributes:
        dataset: the dataset; mobilenet has scores but no predictions
        ids: the ids of the samples
        labels: the given labels; some samples have none
        contradiction: how strongly the training contradicts the given label, 0..1
        suggested: the suggested labels
    """

    dataset: fo.Dataset
    ids: list[str]
    labels: list[str | None]
    contradiction: NDArray[np.float64]
    suggested: list[str]

    def verdict(self, index: int, threshold: float = 0.75) -> str:
        """The verdict on a sample."""
        value = self.contradiction[index]
        return "mislabelled" if value >= threshold else "hard" if value > 0.5 else "learned"

    def with_verdict(self, verdict: str, threshold: float = 0.75) -> list[int]:
        """The indices of the samples with a verdict, most contradicted first."""
        indices = [i for i in range(COUNT) if self.labels[i] is not None and self.verdict(i, threshold) == verdict]
        return sorted(indices, key=lambda index: -self.contradiction[index])

    def select(self, indices: list[int]) -> dict[str, Any]:
        """The request of a user who has selected samples in the grid."""
        return {"selected": [self.ids[index] for index in indices], "view_target": "SELECTED_SAMPLES"}

    def accept(self, indices: list[int], **params: Any) -> None:
        """Accept the suggestions for samples."""
        answer = execute("apply_label_fixes", self.dataset, params, **self.select(indices))
        assert answer.called("reload_dataset")


def make_review_case(make_dataset: Callable[..., fo.Dataset]) -> ReviewCase:
    """Make the dataset; the predictions of the two networks differ."""
    rng = np.random.default_rng(5)
    labels = [None if index % 40 == 7 else CLASSES[index % 3] for index in range(COUNT)]
    dataset = make_dataset([f"/no/{index}.png" for index in range(COUNT)], labels)
    predictions = {
        model: rng.dirichlet([0.4, 0.4, 0.4], COUNT).astype(np.float16).astype(np.float32)
        for model in ("resnet20", "vgg16")
    }
    scores = {model: rng.random(COUNT) for model in predictions}
    write_scores(dataset, scores, predictions=predictions, classes=CLASSES)
    write_scores(dataset, {"mobilenet": rng.random(COUNT)}, "without_predictions")
    ratios = [values.astype(float) / values.astype(float).mean(axis=0) for values in predictions.values()]
    mean = np.mean([values / values.sum(axis=1, keepdims=True) for values in ratios], axis=0)
    given = np.array([0 if label is None else CLASSES.index(label) for label in labels])
    own = mean[np.arange(COUNT), given]
    others = mean.copy()
    others[np.arange(COUNT), given] = -1
    best = others.max(axis=1)
    suggested = [CLASSES[index] for index in others.argmax(axis=1)]
    contradiction = (best + SMOOTHING) / (own + best + 2 * SMOOTHING)
    return ReviewCase(dataset, dataset.values("id"), labels, contradiction, suggested)
