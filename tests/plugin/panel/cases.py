"""Datasets with known scores, and NumPy's own count of what a bin of them holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import fiftyone as fo
import numpy as np
from numpy.typing import NDArray

import fiftyone_learnability as fol
from fiftyone_learnability.dataset.notes import score_field

from ..harness import PanelHarness
from ..made_up import MODELS, add_samples, awkward_scores, write_scores

Values = NDArray[np.float64]
Mask = NDArray[np.bool_]

COUNT = 300


@dataclass
class ScoredDataset:
    """A dataset and the scores that were written to it.

    Attributes:
        dataset: the dataset
        ids: ``(N,)`` the ids of its samples
        values: ``(N,)`` values by (network, score), NaN where a sample has none
    """

    dataset: fo.Dataset
    ids: NDArray[Any]
    values: dict[tuple[str, str], Values]

    def chosen(self, mask: Mask) -> list[str]:
        return sorted(self.ids[mask].tolist())

    def open_panel(self, **controls: str) -> PanelHarness:
        """Open the panel with these choices; the App's answer to new views is not played."""
        panel = PanelHarness(self.dataset, follow=False)
        panel.open()
        for name, value in controls.items():
            panel.choose(name, value)
        return panel


def make_scored_dataset() -> ScoredDataset:
    """Make a dataset of two trained networks, one of them with all scores, imported scores, and a consensus."""
    rng = np.random.default_rng(11)
    dataset = fo.Dataset()
    ids = np.array(add_samples(dataset, [None if index % 30 == 0 else "ab"[index % 2] for index in range(COUNT)]))
    learnability = {model: awkward_scores(COUNT, 10, rng) for model in MODELS[:2]}
    forgetting = rng.integers(0, 90, COUNT).astype(float)
    forgetting[rng.choice(COUNT, 21, replace=False)] = np.inf
    ambiguity = _awkward(0.2, 1.7, rng)
    ambiguity[rng.choice(COUNT, 17, replace=False)] = np.nan
    measured = {
        "hits": rng.integers(0, 5, COUNT) / 4,
        "variability": _awkward(0, 0.5, rng),
        "forgetting": forgetting,
        "learned_epoch": rng.integers(1, 6, COUNT).astype(float),
        "aum": _awkward(-7.3, 11.9, rng),
        "ambiguity": ambiguity,
    }
    written = ["learnability", "rank", *measured]
    write_scores(dataset, {"resnet20": learnability["resnet20"]}, "all", more={"resnet20": measured}, written=written)
    write_scores(dataset, {"vgg16": learnability["vgg16"]}, "two", more={"vgg16": measured})
    # imported scores need not respect the limits of learnability
    imported = rng.normal(40, 25, COUNT)
    imported[::50] = -80.0
    table = {"id": ids[:-30], "learnability": imported[:-30], "forgetting": np.full(COUNT - 30, 1.5)}
    fol.write_scores(dataset, table, "mine", key="mine")
    fol.write_consensus(dataset, ["resnet20", "vgg16"])
    scores = {
        "resnet20": written,
        "vgg16": ["learnability", "rank"],
        "mine": ["learnability", "rank", "forgetting"],
        "consensus": ["learnability", "rank", "disagreement"],
    }
    values = {
        (model, score): np.array(dataset.values(score_field(model, score)), float)
        for model, names in scores.items()
        for score in names
    }
    return ScoredDataset(dataset, ids, values)


def _awkward(low: float, high: float, rng: np.random.Generator) -> Values:
    """Return values of which half lie on the edges of bins or just beside them, including both limits."""
    edges = np.concatenate([np.linspace(low, high, bins + 1) for bins in (8, 9, 10, 17, 40)])
    values = rng.uniform(low, high, COUNT)
    on_edges = rng.choice(COUNT, COUNT // 2, replace=False)
    near = np.concatenate([edges, np.nextafter(edges, low), np.nextafter(edges, high)])
    values[on_edges] = np.clip(rng.choice(near, len(on_edges)), low, high)
    values[:4] = [low, high, low, high]
    return rng.permutation(values)


def inside(values: Values, edges: Values, bin: int) -> Mask:
    """Return which values lie in a bin; only the last bin includes its upper edge."""
    with np.errstate(invalid="ignore"):
        below = values <= edges[-1] if bin == len(edges) - 2 else values < edges[bin + 1]
        return (values >= edges[bin]) & below


def inside_any(values: Values, edges: Values, first: int, last: int) -> Mask:
    """Return which values lie in the bins from ``first`` to ``last``."""
    return np.any([inside(values, edges, bin) for bin in range(first, last + 1)], axis=0)


def positions(trace: dict[str, Any]) -> list[tuple[float, float]]:
    """Return x and y of each point of a plot."""
    return list(zip(trace["x"], trace["y"], strict=True))
