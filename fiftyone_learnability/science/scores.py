"""Difficulty scores as pure functions on the recorded dynamics of one or more training runs.

Notation: sample i has label y; p(t) = softmax(z(t)) are the probabilities the model gives it after epoch t = 1..T.
Arrays put epochs first, samples second, classes last. Numpy alone is needed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def learnability(true_probabilities: ArrayLike) -> FloatArray:
    r"""The learnability of each sample over one training run: how probable its label was, on average over epochs.

    .. math:: L_i = \frac{1}{T} \sum_{t=1}^{T} p_{y_i}(t)

    Eq. 1 of "Sample-wise learnability" (arXiv 1901.02347) for one run; its expectation is the mean of this over runs.

    Args:
        true_probabilities: ``(T, N)`` probability of the true label after each epoch, in [0, 1]

    Returns:
        ``(N,)`` learnability in [0, 1]; 1 is easiest

    Raises:
        ValueError: if the array is not ``(T, N)`` with T >= 1, or holds a value outside [0, 1]

    Example::

        >>> learnability([[0.2, 0.9], [0.6, 1.0]])
        array([0.4 , 0.95])
    """
    p = np.asarray(true_probabilities, dtype=np.float64)
    _check_epochs_by_samples(p, "true_probabilities")
    # written so that NaN fails too
    if not np.all((p >= 0) & (p <= 1)):
        raise ValueError("true_probabilities must lie in [0, 1]")
    return p.mean(axis=0)


def hits(predictions: ArrayLike, labels: ArrayLike) -> FloatArray:
    r"""The share of epochs after which each sample is classified correctly.

    .. math:: H_i = \frac{1}{T} \sum_{t=1}^{T} 1[\arg\max_k p_k(t) = y_i]

    The "hits and misses" of "Sample-wise learnability" (arXiv 1901.02347); the correctness of Dataset Cartography
    (Swayamdipta et al. 2020).

    Args:
        predictions: ``(T, N)`` predicted class after each epoch
        labels: ``(N,)`` true class

    Returns:
        ``(N,)`` share of hits in [0, 1]

    Raises:
        ValueError: if the shapes do not fit

    Example::

        >>> hits([[0, 2], [0, 1]], [0, 1])
        array([1. , 0.5])
    """
    predicted, true = np.asarray(predictions), np.asarray(labels)
    _check_epochs_by_samples(predicted, "predictions")
    if true.shape != predicted.shape[1:]:
        raise ValueError(f"labels must have the shape {predicted.shape[1:]}, not {true.shape}")
    return (predicted == true).mean(axis=0, dtype=np.float64)


def learnability_rank(learnability: ArrayLike) -> IntArray:
    r"""The position of each sample from easiest (1) to hardest (N).

    .. math:: R_i = \sum_{j=1}^{N} 1[L_i \le L_j]

    Eq. 2 of "Sample-wise learnability" (arXiv 1901.02347). Samples with equal learnability share the larger number.

    Args:
        learnability: ``(N,)`` learnability of each sample

    Returns:
        ``(N,)`` ranks in 1..N

    Raises:
        ValueError: if the array is not one-dimensional or holds NaN, which has no place in an order

    Example::

        >>> learnability_rank([0.9, 0.1, 0.5, 0.5])
        array([1, 4, 3, 3])
    """
    scores = np.asarray(learnability)
    if scores.ndim != 1:
        raise ValueError(f"learnability must have one dimension, not the shape {scores.shape}")
    if np.isnan(scores).any():
        raise ValueError("learnability holds NaN: leave out samples without a score before ranking")
    # N minus the number of strictly smaller values is the number of values at least as large
    return (scores.size - np.searchsorted(np.sort(scores), scores, side="left")).astype(np.int64)


def _check_epochs_by_samples(array: NDArray[np.generic], name: str) -> None:
    if array.ndim != 2 or array.shape[0] < 1:
        raise ValueError(f"{name} must have the shape (epochs, samples) with at least one epoch, not {array.shape}")
