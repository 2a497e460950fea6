"""How many epochs are enough: from when on the first epochs order the samples as all epochs do."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .checks import check_integer
from .comparison import centred_ranks, correlate
from .formulas import FloatArray, IntArray


class EpochStability(NamedTuple):
    """How the order of the samples settles over the epochs of training.

    Attributes:
        epochs: ``(P,)`` increasing epochs, counted from 1; the last one is the last measured epoch
        correlation: ``(P,)`` Spearman correlation between the learnability over the epochs so far and that over all
            epochs
    """

    epochs: IntArray
    correlation: FloatArray


def epoch_stability(
    dynamics: ArrayLike, max_points: int | None = None, epochs: ArrayLike | None = None
) -> EpochStability:
    """Correlate the learnability over the first t epochs with the learnability over all T epochs.

    The first epochs of a long training differ from a short training, in which the learning rate falls sooner. The
    correlation reaches 1 at T by construction, because the first epochs are part of all epochs.

    Args:
        dynamics: ``(T, N)`` probability of the true label after each epoch; samples with a NaN are left out
        max_points (None): the number of epochs to look at, evenly spaced from the first to the last; by default all
        epochs (None): ``(T,)`` the epochs that the rows belong to, by default 1, 2, ..., T

    Returns:
        the epochs, and Spearman's correlation at each; NaN where fewer than two samples are left, or all have the same
        learnability

    Raises:
        ValueError: if the array is not ``(T, N)`` with T >= 1, epochs is of another length, or max_points is below 2

    Example::

        >>> epoch_stability([[0.2, 0.1, 0.3], [0.1, 0.4, 0.9]]).correlation
        array([0.5, 1. ])
    """
    p = np.asarray(dynamics)
    if p.ndim != 2 or len(p) < 1:
        raise ValueError(f"dynamics must have the shape (epochs, samples) with at least one epoch, not {p.shape}")
    if max_points is not None:
        check_integer("max_points", max_points, 2)
    numbers = np.arange(1, len(p) + 1) if epochs is None else np.asarray(epochs, dtype=np.int64)
    if numbers.shape != (len(p),):
        raise ValueError(f"epochs must have the shape ({len(p)},), one for each row of dynamics, not {numbers.shape}")
    rows = np.arange(len(p))
    if max_points is not None and max_points < len(p):
        rows = np.linspace(0, len(p) - 1, max_points).round().astype(np.int64)
    measured = ~np.isnan(p.sum(axis=0, dtype=np.float64))
    # sums order the samples as means do, and sums of float16 are exact in float64, so that ties stay ties
    total = np.zeros(int(measured.sum()))
    ranks = []
    chosen = set(rows.tolist())
    for index, row in enumerate(p):
        total += row[measured]
        if index in chosen:
            ranks.append(centred_ranks(total))
    return EpochStability(numbers[rows], np.array([correlate(rank, ranks[-1]) for rank in ranks]))


def epochs_enough(stability: EpochStability, bound: float = 0.97) -> int:
    """Find the epoch from which on the order of the samples is settled.

    Args:
        stability: the result of :func:`epoch_stability`
        bound (0.97): the correlation with the final order that counts as settled

    Returns:
        the first epoch from which on the correlation stays at or above the bound

    Raises:
        ValueError: if the last correlation is below the bound or NaN

    Example::

        >>> epochs_enough(EpochStability(np.array([1, 2, 3, 4]), np.array([0.98, 0.9, 0.97, 1.0])))
        3
    """
    # negated, so that NaN counts as below
    below = np.flatnonzero(~(stability.correlation >= bound))
    first = below[-1] + 1 if below.size else 0
    if first == len(stability.epochs):
        raise ValueError(f"the correlation does not reach {bound}: {stability.correlation[-1:]} at the last epoch")
    return int(stability.epochs[first])
