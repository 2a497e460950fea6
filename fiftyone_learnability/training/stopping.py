"""Detects when the ranking of a training run has settled, so that further epochs would hardly change it.

Learnability is a mean over epochs, so each epoch moves it less than the one before. The ranking over the epochs so far
is compared with the ranking one window (a tenth of the training) earlier. If the two agree well enough, the rest of the
training would move the ranking little more than that window did. benchmarks/ranking.py measures how close the settled
ranking is to that of the whole training; docs/performance.md has the figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..scores.comparison import spearman
from ..scores.formulas import FloatArray
from .options import DEFAULT_BOUND

WINDOWS = 10
"""Number of windows in a training."""


class RankingStability:
    """Watches the ranking of one training run.

    Args:
        num_samples: N
        epochs: M, the number of epochs that the whole training measures
        bound: rank correlation from which on the ranking is stable, between 0 and 1

    Attributes:
        window: number of measured epochs in a window
        correlation: Spearman's correlation of the latest ranking with that one window earlier; None before the end of
            the second window
    """

    def __init__(self, num_samples: int, epochs: int, bound: float = DEFAULT_BOUND) -> None:
        self.bound = bound
        self.window = max(1, round(epochs / WINDOWS))
        self.correlation: float | None = None
        self._epochs = 0
        self._sum = np.zeros(num_samples)
        self._before: FloatArray | None = None

    def add(self, probabilities: NDArray[np.float32]) -> bool:
        """Add a measured epoch.

        Args:
            probabilities: ``(N,)`` probability of the true label after the epoch; NaN where unknown

        Returns:
            True if a window ends with this epoch and the ranking is stable
        """
        self._sum += probabilities
        self._epochs += 1
        if self._epochs % self.window:
            return False
        if self._before is not None:
            self.correlation = spearman(self._sum, self._before)
        self._before = self._sum.copy()
        return self.correlation is not None and self.correlation >= self.bound

    def describe(self) -> str:
        """A clause that says how stable the ranking is."""
        epochs = f"{self.window} measured epoch{'s' if self.window > 1 else ''}"
        return f"its Spearman correlation with the ranking {epochs} earlier is {self.correlation:.3f}"

    def state_dict(self) -> dict[str, Any]:
        """The state to resume from: tensors and numbers that ``torch.load(weights_only=True)`` reads."""
        before = None if self._before is None else torch.from_numpy(self._before.copy())
        return {"epochs": self._epochs, "sum": torch.from_numpy(self._sum.copy()), "before": before}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from a state of a run over the same samples."""
        self._epochs = state["epochs"]
        self._sum = state["sum"].numpy().copy()
        self._before = None if state["before"] is None else state["before"].numpy().copy()
