"""When the ranking of a training has settled, so that further epochs would hardly change it.

Learnability is a mean over epochs, so that each epoch moves it less than the one before. The ranking over the epochs so
far is compared with that of one window, a tenth of the training, ago; where the two agree well enough, what is left of
the training would move it little more than that window did. How near the ranking then is to that of the whole training
is measured by benchmarks/ranking.py; docs/performance.md has the figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..scores.comparison import spearman
from ..scores.formulas import FloatArray
from .options import DEFAULT_BOUND

WINDOWS = 10
"""The windows that a training is divided into."""


class RankingStability:
    """Watches the ranking of one training.

    Args:
        num_samples: N
        epochs: M, the epochs that the whole training measures
        bound: the rank correlation from which on the ranking is stable, between 0 and 1
    """

    def __init__(self, num_samples: int, epochs: int, bound: float = DEFAULT_BOUND) -> None:
        self.bound = bound
        self.window = max(1, round(epochs / WINDOWS))
        self.correlation: float | None = None
        """Spearman's correlation of the ranking with that of one window before, None until there are two windows."""
        self._epochs = 0
        self._sum = np.zeros(num_samples)
        self._before: FloatArray | None = None

    def add(self, probabilities: NDArray[np.float32]) -> bool:
        """Adds an epoch.

        Args:
            probabilities: ``(N,)`` probability of the true label after it; NaN where it is not known

        Returns:
            whether the ranking is stable; always false between the ends of windows
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
        """One line that says how stable the ranking is."""
        epochs = f"{self.window} measured epoch{'s' if self.window > 1 else ''}"
        return f"it correlates to {self.correlation:.3f} (Spearman) with that of {epochs} before"

    def state_dict(self) -> dict[str, Any]:
        """All that the next epochs depend on, as tensors and numbers that ``torch.load(weights_only=True)`` reads."""
        before = None if self._before is None else torch.from_numpy(self._before.copy())
        return {"epochs": self._epochs, "sum": torch.from_numpy(self._sum.copy()), "before": before}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a state.

        Raises:
            ValueError: if it is not one of as many samples
        """
        for name in ("sum", "before"):
            found = state[name]
            if name == "before" and found is None:
                continue
            if not isinstance(found, Tensor) or found.dtype != torch.float64 or found.shape != self._sum.shape:
                raise ValueError(f"the state's {name} of probabilities is not of {len(self._sum)} samples")
        if not isinstance(state["epochs"], int) or state["epochs"] < 0:
            raise ValueError("the state counts its epochs in what is no number")
        self._epochs = state["epochs"]
        self._sum = state["sum"].numpy().copy()
        self._before = None if state["before"] is None else state["before"].numpy().copy()
