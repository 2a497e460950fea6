"""Learning curves and dynamics of training runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..scores.formulas import FloatArray, IntArray

CURVES = ("train_loss", "train_accuracy", "measured_accuracy", "epoch_seconds")
"""The names of the learning curves of a run."""


def measured_epochs(measured_accuracy: FloatArray) -> IntArray:
    """Find the epochs that were measured in any run.

    Args:
        measured_accuracy: ``(R, T)`` accuracy after each epoch, NaN where an epoch was not measured

    Returns:
        ``(M,)`` epochs, counted from 1
    """
    return np.flatnonzero(~np.isnan(measured_accuracy).all(axis=0)) + 1


def average_runs(arrays: Sequence[NDArray[Any] | None]) -> NDArray[np.float16] | None:
    """Average arrays over runs; None if a run has no array."""
    recorded = [array for array in arrays if array is not None]
    if len(recorded) < len(arrays):
        return None
    # summed in float32: float16 is precise enough to store a probability, but not to add them up
    return np.asarray(np.mean(recorded, axis=0, dtype=np.float32), dtype=np.float16)
