"""Label errors: how strongly training contradicts each label, and which label it suggests instead.

Everything is computed from the mean prediction, the mean over epochs of the predicted probabilities, although training
used the given label. If the network settles on one other class, the label is probably wrong. If it settles on none, the
sample is hard. A network predicts frequent classes too often, above all early in training, so the prediction is first
corrected for the frequency of each class, see :func:`correct_prior`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .checks import check_number
from .formulas import FloatArray, IntArray

SMOOTHING = 0.05
"""Added to both probabilities of the contradiction. Tuned on planted errors by ``benchmarks/label_errors.py``."""

THRESHOLD = 0.75
"""A label with at least this contradiction is probably wrong: another class had three times its probability."""

SETTLED = 0.25
"""The network has settled on a class only if its mean probability is at least this."""

MISLABELLED, HARD, LEARNED = "mislabelled", "hard", "learned"


def correct_prior(mean_prediction: ArrayLike) -> FloatArray:
    r"""Correct mean predictions for how often the network predicts each class.

    .. math:: q_{ik} = \frac{\bar p_{ik} / \pi_k}{\sum_j \bar p_{ij} / \pi_j}, \qquad
        \pi_k = \frac{1}{N} \sum_i \bar p_{ik}

    By Bayes' rule this replaces the prior of the network by equal frequencies (Saerens 2002, "Adjusting the outputs of
    a classifier to new a priori probabilities"). Without it, all images of a rare class can count as mislabelled. Where
    all classes are predicted equally often, nothing changes.

    Args:
        mean_prediction: ``(N, classes)`` mean over epochs of the probabilities, of all samples that the network trained
            on

    Returns:
        ``(N, classes)`` corrected probabilities, whose rows add up to 1; a class that is never predicted keeps 0

    Raises:
        ValueError: if the array does not have two dimensions

    Example::

        >>> correct_prior([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4]]).round(3)
        array([[0.692, 0.308],
               [0.692, 0.308],
               [0.273, 0.727]])
    """
    p = np.asarray(mean_prediction, dtype=np.float64)
    if p.ndim != 2:
        raise ValueError(f"mean_prediction must have the shape (samples, classes), not {p.shape}")
    prior = p.sum(axis=0)
    weighted = np.divide(p, prior, out=np.zeros_like(p), where=prior > 0)
    total = weighted.sum(axis=1, keepdims=True)
    return np.divide(weighted, total, out=weighted, where=total > 0)


def contradiction(mean_prediction: ArrayLike, labels: ArrayLike, smoothing: float = SMOOTHING) -> FloatArray:
    r"""Contradiction of each label: how much the network preferred one other class.

    .. math:: C_i = \frac{m_i + \epsilon}{L_i + m_i + 2 \epsilon}, \qquad m_i = \max_{k \ne y_i} \bar p_{ik}

    with the learnability :math:`L_i = \bar p_{iy_i}`. Without smoothing (:math:`\epsilon = 0`) it is the probability
    of the best other class relative to both, which gives weight to small probabilities. With strong smoothing it orders
    samples like the margin :math:`m_i - L_i`. The former is best at finding labels replaced by any class, the latter at
    finding labels replaced by a similar class. The default does well at both.

    Args:
        mean_prediction: ``(N, classes)`` mean over epochs of the probabilities of at least two classes
        labels: ``(N,)`` given class
        smoothing (0.05): epsilon, at least 0

    Returns:
        ``(N,)`` contradiction in [0, 1]; above 0.5 where the network preferred another class

    Raises:
        ValueError: if the shapes do not match, a label is not one of the classes, or the smoothing is negative

    Example::

        >>> contradiction([[0.1, 0.9], [0.9, 0.1]], [0, 0]).round(3)
        array([0.864, 0.136])
    """
    check_number("smoothing", smoothing, at_least=0)
    given, best, _ = _compare_classes(mean_prediction, labels)
    # without smoothing, neither of two classes of probability 0 is preferred
    total = given + best + 2 * smoothing
    return np.divide(best + smoothing, total, out=np.full_like(total, 0.5), where=total > 0)


def suggest_labels(mean_prediction: ArrayLike, labels: ArrayLike) -> tuple[IntArray, FloatArray]:
    """Suggest another class for each label.

    Args:
        mean_prediction: ``(N, classes)`` mean over epochs of the probabilities of at least two classes
        labels: ``(N,)`` given class

    Returns:
        ``(N,)`` class with the largest mean probability except for the label, and ``(N,)`` this probability

    Raises:
        ValueError: if the shapes do not match, or a label is not one of the classes

    Example::

        >>> suggest_labels([[0.1, 0.7, 0.2]], [0])
        (array([1]), array([0.7]))
    """
    _, best, suggested = _compare_classes(mean_prediction, labels)
    return suggested, best


def judge(contradiction: ArrayLike, confidence: ArrayLike, threshold: float = THRESHOLD) -> NDArray[np.str_]:
    """Separate labels that are probably wrong from samples that are hard but plausible.

    Args:
        contradiction: ``(N,)`` from :func:`contradiction`
        confidence: ``(N,)`` mean probability of the suggested class, from :func:`suggest_labels`
        threshold (0.75): the contradiction from which on a label is probably wrong, in (0.5, 1]

    Returns:
        ``(N,)`` verdict: "mislabelled" if the contradiction reaches the threshold and the network settled on the
        suggested class; otherwise "hard" if the contradiction is above 0.5, and "learned" if not

    Raises:
        ValueError: if the threshold is out of range

    Example::

        >>> judge([0.9, 0.9, 0.6, 0.2], [0.8, 0.1, 0.5, 0.1]).tolist()
        ['mislabelled', 'hard', 'hard', 'learned']
    """
    check_number("threshold", threshold, above=0.5, at_most=1)
    values = np.asarray(contradiction, dtype=np.float64)
    settled = np.asarray(confidence, dtype=np.float64) >= SETTLED
    return np.where((values >= threshold) & settled, MISLABELLED, np.where(values > 0.5, HARD, LEARNED))


def _compare_classes(mean_prediction: ArrayLike, labels: ArrayLike) -> tuple[FloatArray, FloatArray, IntArray]:
    """Return the mean probability of the label, that of the best other class, and this class."""
    p, given = np.asarray(mean_prediction, dtype=np.float64), np.asarray(labels)
    if p.ndim != 2 or p.shape[1] < 2:
        raise ValueError(
            f"mean_prediction must have the shape (samples, classes) of at least two classes, not {p.shape}"
        )
    if given.shape != p.shape[:1]:
        raise ValueError(f"labels must have the shape {p.shape[:1]}, not {given.shape}")
    if given.size and not (given.min() >= 0 and given.max() < p.shape[1]):
        raise ValueError(f"labels must lie in 0..{p.shape[1] - 1}, not {given.min()}..{given.max()}")
    rows = np.arange(len(p))
    others = p.copy()
    others[rows, given] = -1.0
    best = others.argmax(axis=1).astype(np.int64)
    return p[rows, given], p[rows, best], best
