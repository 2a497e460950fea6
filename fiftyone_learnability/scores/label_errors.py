"""How much a training contradicts the labels it was given, and what it would have called the samples instead.

All rests on the mean prediction: what the network took a sample for, on average over the epochs of a training that had
the given label before its eyes. A wrong label is one against which the network settles on one other class; a hard
sample is one about which it never settles. Numpy alone is needed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .checks import check_number
from .formulas import FloatArray, IntArray

SMOOTHING = 0.05
"""What is added to both probabilities, chosen on planted errors (``benchmarks/label_errors.py``)."""

THRESHOLD = 0.75
"""From this contradiction on a label is called probably wrong: the other class had three times its probability."""

SETTLED = 0.25
"""The mean probability that the other class must have: one of many small ones is nothing that was settled on."""

MISLABELLED, HARD, LEARNED = "mislabelled", "hard", "learned"


def contradiction(mean_prediction: ArrayLike, labels: ArrayLike, smoothing: float = SMOOTHING) -> FloatArray:
    r"""How much the network preferred one other class to the label of each sample.

    .. math:: C_i = \frac{m_i + \epsilon}{L_i + m_i + 2 \epsilon}, \qquad m_i = \max_{k \ne y_i} \bar p_{ik}

    with the learnability :math:`L_i = \bar p_{iy_i}`. Without smoothing (:math:`\epsilon = 0`) it is the share of the
    best other class among the two, which makes much of small probabilities; with much smoothing it orders like the
    margin :math:`m_i - L_i`. The first finds labels replaced by any class best, the second those replaced by a similar
    class; in between lies what does well at both.

    Args:
        mean_prediction: ``(N, classes)`` mean over epochs of the probabilities, of at least two classes
        labels: ``(N,)`` given class
        smoothing (0.05): epsilon, not negative

    Returns:
        ``(N,)`` in [0, 1]; above 0.5 where another class was preferred

    Raises:
        ValueError: if the shapes do not fit

    Example::

        >>> contradiction([[0.1, 0.9], [0.9, 0.1]], [0, 0]).round(3)
        array([0.864, 0.136])
    """
    check_number("smoothing", smoothing, at_least=0)
    given, best, _ = _two_classes(mean_prediction, labels)
    # without smoothing, two classes that were never predicted are even
    total = given + best + 2 * smoothing
    return np.divide(best + smoothing, total, out=np.full_like(total, 0.5), where=total > 0)


def suggest_labels(mean_prediction: ArrayLike, labels: ArrayLike) -> tuple[IntArray, FloatArray]:
    """The class that the network would put in place of each label, and how sure it was.

    Args:
        mean_prediction: ``(N, classes)`` mean over epochs of the probabilities, of at least two classes
        labels: ``(N,)`` given class

    Returns:
        ``(N,)`` class with the largest mean probability other than the label, and ``(N,)`` that probability

    Raises:
        ValueError: if the shapes do not fit

    Example::

        >>> suggest_labels([[0.1, 0.7, 0.2]], [0])
        (array([1]), array([0.7]))
    """
    _, best, other = _two_classes(mean_prediction, labels)
    return other, best


def judge(contradiction: ArrayLike, confidence: ArrayLike, threshold: float = THRESHOLD) -> NDArray[np.str_]:
    """Tells labels that are probably wrong from samples that are hard but plausible.

    Args:
        contradiction: ``(N,)`` of :func:`contradiction`
        confidence: ``(N,)`` mean probability of the other class, of :func:`suggest_labels`
        threshold (0.75): from where on a label is called probably wrong, in (0.5, 1]

    Returns:
        ``(N,)``: "mislabelled" from the threshold on, where the network settled on one other class; "hard" above 0.5,
        where it preferred another class without settling on it; "learned" below

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


def _two_classes(mean_prediction: ArrayLike, labels: ArrayLike) -> tuple[FloatArray, FloatArray, IntArray]:
    """The mean probability of the label, that of the best other class, and which one that is."""
    p, given = np.asarray(mean_prediction, dtype=np.float64), np.asarray(labels)
    if p.ndim != 2 or p.shape[1] < 2:
        raise ValueError(f"mean_prediction must have the shape (samples, classes), two at least, not {p.shape}")
    if given.shape != p.shape[:1]:
        raise ValueError(f"labels must have the shape {p.shape[:1]}, not {given.shape}")
    if given.size and not (given.min() >= 0 and given.max() < p.shape[1]):
        raise ValueError(f"labels must lie in 0..{p.shape[1] - 1}, not {given.min()}..{given.max()}")
    rows = np.arange(len(p))
    others = p.copy()
    others[rows, given] = -1.0
    other = others.argmax(axis=1).astype(np.int64)
    return p[rows, given], p[rows, other], other
