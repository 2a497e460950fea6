"""The formulas of the difficulty scores, as pure functions of what a training run recorded.

Notation: sample i has label y; p(t) = softmax(z(t)) are the class probabilities that the network predicts for it after
epoch t = 1..T. The axes of arrays are epochs, samples, classes, in this order.

The functions at the end finish a score from sums over epochs. The formulas over whole arrays use them, and so does
:class:`~fiftyone_learnability.training.tracker.LearnabilityTracker`, which keeps only sums.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def learnability(true_probabilities: ArrayLike) -> FloatArray:
    r"""Learnability of each sample over one training run: the mean probability of its label over epochs.

    .. math:: L_i = \frac{1}{T} \sum_{t=1}^{T} p_{y_i}(t)

    Eq. 1 of "Sample-wise learnability" (arXiv 1901.02347) for one run. Its expectation is the mean over runs.

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
    return mean_over_epochs(p.sum(axis=0), len(p))


def hits(predictions: ArrayLike, labels: ArrayLike) -> FloatArray:
    r"""Share of epochs after which each sample is classified correctly.

    .. math:: H_i = \frac{1}{T} \sum_{t=1}^{T} 1[\arg\max_k p_k(t) = y_i]

    The "hits and misses" of "Sample-wise learnability" (arXiv 1901.02347); the correctness of Dataset Cartography
    (Swayamdipta et al. 2020).

    Args:
        predictions: ``(T, N)`` predicted class after each epoch
        labels: ``(N,)`` true class

    Returns:
        ``(N,)`` share of hits in [0, 1]

    Raises:
        ValueError: if the shapes do not match

    Example::

        >>> hits([[0, 2], [0, 1]], [0, 1])
        array([1. , 0.5])
    """
    predicted, true = np.asarray(predictions), np.asarray(labels)
    _check_epochs_by_samples(predicted, "predictions")
    if true.shape != predicted.shape[1:]:
        raise ValueError(f"labels must have the shape {predicted.shape[1:]}, not {true.shape}")
    return mean_over_epochs((predicted == true).sum(axis=0, dtype=np.float64), len(predicted))


def learnability_rank(learnability: ArrayLike) -> IntArray:
    r"""Rank of each sample from easiest (1) to hardest (N).

    .. math:: R_i = \sum_{j=1}^{N} 1[L_i \le L_j]

    Eq. 2 of "Sample-wise learnability" (arXiv 1901.02347). Samples of equal learnability share the larger rank.

    Args:
        learnability: ``(N,)`` learnability of each sample

    Returns:
        ``(N,)`` ranks in 1..N

    Raises:
        ValueError: if the array is not one-dimensional or contains NaN, which cannot be ordered

    Example::

        >>> learnability_rank([0.9, 0.1, 0.5, 0.5])
        array([1, 4, 3, 3])
    """
    scores = np.asarray(learnability)
    if scores.ndim != 1:
        raise ValueError(f"learnability must have one dimension, not the shape {scores.shape}")
    if np.isnan(scores).any():
        raise ValueError("learnability contains NaN: remove samples without a score before ranking")
    # N less the number of smaller values is the number of values at least as large
    return scores.size - tie_bounds(scores)[0]


def tie_bounds(values: NDArray[Any]) -> tuple[IntArray, IntArray]:
    """Count for each value the smaller values, and the values that are smaller or equal. All ranks follow from these.

    It sorts once. For a million values, a binary search for each of them would take ten times as long.

    Args:
        values: ``(N,)`` values without NaN

    Returns:
        ``(N,)`` number of smaller values, and ``(N,)`` number of smaller or equal values, the value itself included
    """
    order = np.argsort(values)
    ascending = values[order]
    starts = np.flatnonzero(np.concatenate([[True], ascending[1:] != ascending[:-1]])[: len(values)])
    sizes = np.diff(starts, append=len(values))
    smaller, at_most = np.empty(len(values), np.int64), np.empty(len(values), np.int64)
    smaller[order] = np.repeat(starts, sizes)
    at_most[order] = np.repeat(starts + sizes, sizes)
    return smaller, at_most


def variability(true_probabilities: ArrayLike) -> FloatArray:
    r"""Variability of each sample: the standard deviation over epochs of the probability of its label.

    .. math:: \sigma_i = \sqrt{\frac{1}{T} \sum_{t=1}^{T} (p_{y_i}(t) - L_i)^2}

    The variability of Dataset Cartography (Swayamdipta et al. 2020, arXiv 2009.10795), a population standard deviation.

    Args:
        true_probabilities: ``(T, N)`` probability of the true label after each epoch

    Returns:
        ``(N,)`` variability in [0, 0.5]; high where the prediction changed most

    Raises:
        ValueError: if the array is not ``(T, N)`` with T >= 1

    Example::

        >>> variability([[0.2, 0.9], [0.6, 0.9]]).round(3)
        array([0.2, 0. ])
    """
    p = np.asarray(true_probabilities, dtype=np.float64)
    _check_epochs_by_samples(p, "true_probabilities")
    return deviation_over_epochs(((p - p.mean(axis=0)) ** 2).sum(axis=0), len(p))


def forgetting(correct: ArrayLike) -> FloatArray:
    r"""Number of times each sample was forgotten: classified correctly after one epoch and wrongly after the next.

    .. math:: F_i = \sum_{t=2}^{T} 1[\text{hit at } t-1 \text{ and miss at } t]

    The forgetting events of Toneva et al. 2019 (arXiv 1812.05159). As in that paper, a sample that
    was never classified correctly gets infinity: it was never learned, which must not look like never forgotten.

    Args:
        correct: ``(T, N)`` True where a sample was classified correctly after an epoch

    Returns:
        ``(N,)`` number of forgetting events; infinity for a sample without a hit

    Raises:
        ValueError: if the array is not ``(T, N)`` with T >= 1

    Example::

        >>> forgetting([[True, True, False], [False, True, False], [True, True, False]])
        array([ 1.,  0., inf])
    """
    hit = np.asarray(correct, dtype=np.bool_)
    _check_epochs_by_samples(hit, "correct")
    return forgetting_of_counts((hit[:-1] & ~hit[1:]).sum(axis=0), hit.sum(axis=0), len(hit))


def learned_epoch(correct: ArrayLike) -> IntArray:
    r"""First epoch from which on each sample is always classified correctly.

    The iteration learned of Baldock et al. 2021 (arXiv 2106.09647), counted in epochs.

    Args:
        correct: ``(T, N)`` True where a sample was classified correctly after an epoch

    Returns:
        ``(N,)`` epochs in 1..T; T + 1 for a sample that is wrong after the last epoch

    Raises:
        ValueError: if the array is not ``(T, N)`` with T >= 1

    Example::

        >>> learned_epoch([[True, True, False], [False, True, True], [True, True, False]])
        array([3, 1, 4])
    """
    hit = np.asarray(correct, dtype=np.bool_)
    _check_epochs_by_samples(hit, "correct")
    streak = np.logical_and.accumulate(hit[::-1], axis=0).sum(axis=0)
    return learned_epoch_of_streak(streak, len(hit)).astype(np.int64)


def aum(logits: ArrayLike, labels: ArrayLike) -> FloatArray:
    r"""Area under the margin: the mean over epochs of the label's logit less the largest other logit.

    .. math:: AUM_i = \frac{1}{T} \sum_{t=1}^{T} (z_{y_i}(t) - \max_{k \ne y_i} z_k(t))

    Pleiss et al. 2020 (arXiv 2001.10528).

    Args:
        logits: ``(T, N, classes)`` logits of at least two classes after each epoch
        labels: ``(N,)`` true class

    Returns:
        ``(N,)`` mean margin; negative where the network preferred another class

    Raises:
        ValueError: if the shapes do not match, or a label is not one of the classes

    Example::

        >>> aum([[[2.0, 0.5, 1.0]], [[0.0, 3.0, 1.0]]], [0])
        array([-1.])
    """
    z, true = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    _check_epochs_by_samples_by_classes(z, "logits")
    _check_labels(true, z)
    if z.shape[2] < 2:
        raise ValueError("AUM needs the logits of at least two classes")
    index = true[None, :, None]
    label = np.take_along_axis(z, index, axis=2)[..., 0]
    others = z.copy()
    np.put_along_axis(others, np.broadcast_to(index, (len(z), *index.shape[1:])), -np.inf, axis=2)
    return mean_over_epochs((label - others.max(axis=2)).sum(axis=0), len(z))


def el2n(probabilities: ArrayLike, labels: ArrayLike) -> FloatArray:
    r"""Length of the error vector of each sample early in training.

    .. math:: EL2N_i = \lVert p(t^*) - \text{onehot}(y_i) \rVert_2

    Paul et al. 2021 (arXiv 2107.07075), who average it over runs.

    Args:
        probabilities: ``(N, classes)`` probabilities after the early epoch
        labels: ``(N,)`` true class

    Returns:
        ``(N,)`` length in [0, sqrt(2)]; high is hard

    Raises:
        ValueError: if the shapes do not match, or a label is not one of the classes

    Example::

        >>> el2n([[0.6, 0.4]], [1]).round(3)
        array([0.849])
    """
    p, true = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    if p.ndim != 2:
        raise ValueError(f"probabilities must have the shape (samples, classes), not {p.shape}")
    _check_labels(true, p[None])
    return np.sqrt(((p - np.eye(p.shape[1])[true]) ** 2).sum(axis=1))


def mean_prediction(probabilities: ArrayLike) -> FloatArray:
    r"""Mean over epochs of the predicted class probabilities of each sample.

    .. math:: \bar p_i = \frac{1}{T} \sum_{t=1}^{T} p_i(t)

    The class of its largest entry is the suggested label. Its entry for the true label is the learnability, and its
    entropy the ambiguity (:func:`ambiguity`).

    Args:
        probabilities: ``(T, N, classes)`` probabilities after each epoch

    Returns:
        ``(N, classes)`` mean probabilities

    Raises:
        ValueError: if the array has another shape
    """
    p = np.asarray(probabilities, dtype=np.float64)
    _check_epochs_by_samples_by_classes(p, "probabilities")
    return mean_over_epochs(p.sum(axis=0), len(p))


def ambiguity(mean_prediction: ArrayLike) -> FloatArray:
    r"""Ambiguity of each sample: the entropy of its mean prediction, in nats.

    .. math:: H_i = -\sum_k \bar p_{ik} \ln \bar p_{ik}

    Args:
        mean_prediction: ``(N, classes)`` mean probabilities

    Returns:
        ``(N,)`` entropy in [0, ln classes]

    Raises:
        ValueError: if the array has another shape

    Example::

        >>> ambiguity([[1.0, 0.0], [0.5, 0.5]]).round(3)
        array([0.   , 0.693])
    """
    p = np.asarray(mean_prediction, dtype=np.float64)
    if p.ndim != 2:
        raise ValueError(f"mean_prediction must have the shape (samples, classes), not {p.shape}")
    # 0 ln 0 = 0. Subtracted from 0, because a minus sign would turn 0 into -0
    return np.maximum(0.0, 0.0 - (p * np.log(np.where(p > 0, p, 1.0))).sum(axis=1))


def mean_over_epochs(total: ArrayLike, epochs: ArrayLike) -> FloatArray:
    """Mean over epochs, from a sum over epochs: learnability, hits, AUM and mean prediction.

    Args:
        total: ``(N, ...)`` sum over the epochs of each sample
        epochs: the number of epochs, of all samples or of each

    Returns:
        ``(N, ...)`` mean, NaN for a sample without epochs
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.divide(total, epochs), dtype=np.float64)


def deviation_over_epochs(squares: ArrayLike, epochs: ArrayLike) -> FloatArray:
    """Population standard deviation over epochs, from a sum of squares: variability.

    Args:
        squares: ``(N,)`` sum over the epochs of the squared deviations from the mean
        epochs: the number of epochs, of all samples or ``(N,)`` of each

    Returns:
        ``(N,)`` standard deviation, NaN for a sample without epochs
    """
    # a sum that is updated epoch by epoch may be rounded to just below zero
    return np.sqrt(mean_over_epochs(np.maximum(squares, 0.0), epochs))


def forgetting_of_counts(events: ArrayLike, num_hits: ArrayLike, epochs: ArrayLike) -> FloatArray:
    """Number of forgetting events, from counts over epochs.

    Args:
        events: ``(N,)`` number of epochs with a miss right after a hit
        num_hits: ``(N,)`` number of epochs with a hit
        epochs: the number of epochs, of all samples or ``(N,)`` of each

    Returns:
        ``(N,)`` number of events; infinity for a sample without a hit, NaN for a sample without epochs
    """
    never_hit = np.where(np.asarray(epochs) > 0, np.inf, np.nan)
    return np.where(np.asarray(num_hits) > 0, np.asarray(events, dtype=np.float64), never_hit)


def learned_epoch_of_streak(streak: ArrayLike, epochs: ArrayLike) -> FloatArray:
    """Learned epoch, from the number of consecutive hits at the end.

    Args:
        streak: ``(N,)`` number of hits after the last miss
        epochs: T, the number of epochs, of all samples or ``(N,)`` of each

    Returns:
        ``(N,)`` T + 1 - streak, NaN for a sample without epochs
    """
    count = np.asarray(epochs, dtype=np.float64)
    return np.where(count > 0, count + 1 - np.asarray(streak), np.nan)


def _check_epochs_by_samples_by_classes(array: FloatArray, name: str) -> None:
    if array.ndim != 3 or array.shape[0] < 1:
        raise ValueError(
            f"{name} must have the shape (epochs, samples, classes) with at least one epoch, not {array.shape}"
        )


def _check_labels(labels: NDArray[np.generic], array: FloatArray) -> None:
    if labels.shape != array.shape[1:2]:
        raise ValueError(f"labels must have the shape {array.shape[1:2]}, not {labels.shape}")
    classes = array.shape[2]
    if labels.size and not (labels.min() >= 0 and labels.max() < classes):
        raise ValueError(f"labels must lie in 0..{classes - 1}, not {labels.min()}..{labels.max()}")


def _check_epochs_by_samples(array: NDArray[np.generic], name: str) -> None:
    if array.ndim != 2 or array.shape[0] < 1:
        raise ValueError(f"{name} must have the shape (epochs, samples) with at least one epoch, not {array.shape}")
