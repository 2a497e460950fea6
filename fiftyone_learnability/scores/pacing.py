"""Pacing functions and sample weights for curricula and importance sampling."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from .checks import check_integer, check_number
from .formulas import FloatArray

PACINGS = ("linear", "root", "step")
"""The names of the pacing functions."""

KINDS = ("hard", "linear", "logarithmic")
"""The kinds of self-paced weights."""


def linear(progress: float, start: float = 0.2) -> float:
    r"""Share of the data that is available, growing linearly.

    .. math:: c(t) = c_0 + (1 - c_0) \, t

    The linear competence of Platanios et al. 2019 (arXiv 1903.09848).

    Args:
        progress: t in [0, 1]
        start (0.2): c_0, the initial share, above 0 and at most 1

    Returns:
        the share, from ``start`` to 1

    Raises:
        ValueError: if an argument is out of range

    Example::

        >>> linear(0.5, start=0.5)
        0.75
    """
    _check_progress(progress, start)
    return start + (1 - start) * progress


def root(progress: float, start: float = 0.2, power: float = 2.0) -> float:
    r"""Share of the data that is available, growing fast at first and then ever more slowly.

    .. math:: c(t) = \left( c_0^p + (1 - c_0^p) \, t \right)^{1/p}

    The root-p competence of Platanios et al. 2019 (arXiv 1903.09848). With p = 2, their square-root competence, the
    share grows in inverse proportion to itself, so that all new samples have equal time to be drawn before more follow.

    Args:
        progress: t in [0, 1]
        start (0.2): c_0, the initial share, above 0 and at most 1
        power (2.0): p, at least 1; 1 is :func:`linear`

    Returns:
        the share, from ``start`` to 1

    Raises:
        ValueError: if an argument is out of range

    Example::

        >>> root(0.25, start=0.5)
        0.6614378277661477
    """
    _check_progress(progress, start)
    check_number("power", power, at_least=1)
    return (start**power + (1 - start**power) * progress) ** (1 / power)


def step(progress: float, start: float = 0.2, steps: int = 5) -> float:
    r"""Share of the data that is available, growing in steps by the same factor.

    .. math:: c(t) = c_0 \, b^{\lfloor t s \rfloor}, \quad b = c_0^{-1/s}

    The fixed exponential pacing of Hacohen and Weinshall 2019 (arXiv 1904.03626). The factor b, their "increase", is
    such that the last of the s steps reaches all data.

    Args:
        progress: t in [0, 1]
        start (0.2): c_0, the initial share, above 0 and at most 1
        steps (5): s, the number of steps, at least 1

    Returns:
        the share, from ``start`` to 1

    Raises:
        ValueError: if an argument is out of range

    Example::

        >>> [step(progress, start=0.25, steps=2) for progress in (0.0, 0.49, 0.5, 1.0)]
        [0.25, 0.25, 0.5, 1.0]
    """
    _check_progress(progress, start)
    check_integer("steps", steps, 1)
    # progress is often a quotient of epochs, and 15 / 22 * 22 is rounded to below 15, which would delay a step
    taken = math.floor(progress * steps + 1e-9)
    return start ** (1 - taken / steps)


def pacing(name: str, progress: float, start: float = 0.2, *, power: float = 2.0, steps: int = 5) -> float:
    """Share of the data, easiest first, that is available at a point of the training.

    Args:
        name: "linear" (:func:`linear`), "root" (:func:`root`) or "step" (:func:`step`)
        progress: the position between the start of the growth (0) and its end (1)
        start (0.2): the initial share, above 0 and at most 1
        power (2.0): the power for "root"
        steps (5): the number of steps for "step"

    Returns:
        the share, from ``start`` to 1

    Raises:
        ValueError: if an argument is out of range

    Example::

        >>> [round(pacing(name, 0.5), 3) for name in ("linear", "root", "step")]
        [0.6, 0.721, 0.381]
    """
    if name == "linear":
        return linear(progress, start)
    if name == "root":
        return root(progress, start, power)
    if name == "step":
        return step(progress, start, steps)
    raise ValueError(f"pacing must be one of {', '.join(PACINGS)}, not {name!r}")


def self_paced_weights(difficulty: ArrayLike, threshold: float, kind: str = "hard") -> FloatArray:
    r"""Weights of samples in self-paced learning, which leaves out samples that are still too hard.

    The weights minimise :math:`\sum_i v_i d_i + f(v; \lambda)` over v in [0, 1]. They are 0 where
    :math:`d_i \ge \lambda`. Where :math:`d_i < \lambda`,

    .. math::

        \text{hard: } v_i = 1, \quad
        \text{linear: } v_i = 1 - d_i / \lambda, \quad
        \text{logarithmic: } v_i = \frac{\log(d_i + \zeta)}{\log \zeta}, \ \zeta = 1 - \lambda

    Hard: Kumar et al. 2010, "Self-paced learning for latent variable models", with :math:`f = -\lambda \sum v_i`.
    Linear and logarithmic: Jiang et al. 2014, "Easy samples first", with
    :math:`f = \lambda \sum (v_i^2 / 2 - v_i)` and :math:`f = \sum (\zeta v_i - \zeta^{v_i} / \log \zeta)`. Raise
    the threshold during training.

    Args:
        difficulty: ``(N,)`` difficulty of each sample, at least 0: a loss, or 1 - learnability
        threshold: lambda, above 0, and below 1 for "logarithmic"
        kind ("hard"): "hard", "linear" or "logarithmic"

    Returns:
        ``(N,)`` weights in [0, 1]

    Raises:
        ValueError: if an argument is out of range, or the difficulty is not a one-dimensional array of finite numbers

    Example::

        >>> self_paced_weights([0.0, 0.2, 0.5], 0.4, "linear")
        array([1. , 0.5, 0. ])
    """
    d = _check_difficulty(difficulty)
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
    check_number("threshold", threshold, above=0)
    if kind == "hard":
        return (d < threshold).astype(np.float64)
    if kind == "linear":
        return np.maximum(0.0, 1 - d / threshold)
    if threshold >= 1:
        raise ValueError(f"threshold must be below 1 for logarithmic weights, not {threshold}")
    # log(d + 1 - threshold) / log(1 - threshold), clipped because of rounding
    return np.clip(np.log1p(np.minimum(d, threshold) - threshold) / math.log1p(-threshold), 0, 1)


def importance_weights(difficulty: ArrayLike, smoothing: float = 0.5) -> tuple[FloatArray, FloatArray]:
    r"""Probabilities that draw hard samples more often, and weights that keep the mean loss unbiased.

    .. math:: p_i = (1 - s) \frac{d_i}{\sum_j d_j} + \frac{s}{N}, \qquad w_i = \frac{1}{N p_i}

    If samples are drawn with the probabilities p, the mean of any quantity l, each value multiplied by its correction
    w, is an unbiased estimate of the mean over all samples: :math:`\sum_i p_i w_i l_i = \frac{1}{N} \sum_i l_i`.

    The smoothing s controls the variance. With s = 1, sampling is uniform. A smaller s lowers the variance if the
    difficulty is proportional to l (a loss or the norm of a gradient). Otherwise it raises the variance: a sample of
    low difficulty but large l is drawn rarely, and then gets a large correction. No correction exceeds 1/s, so the
    second moment is at most 1/s times that of uniform sampling. One half is the mixture of Needell et al. 2014 (arXiv
    1310.5715); for deep networks see Katharopoulos and Fleuret 2018 (arXiv 1803.00942).

    Args:
        difficulty: ``(N,)`` difficulty of each sample, at least 0, such as 1 - learnability; if all are 0, sampling is
            uniform
        smoothing (0.5): s, above 0 and at most 1

    Returns:
        ``(N,)`` probabilities that add up to 1, and ``(N,)`` corrections

    Raises:
        ValueError: if an argument is out of range

    Example::

        >>> probabilities, corrections = importance_weights([0.0, 1.0], smoothing=0.5)
        >>> probabilities, corrections.round(3)
        (array([0.25, 0.75]), array([2.   , 0.667]))
    """
    d = _check_difficulty(difficulty)
    check_number("smoothing", smoothing, above=0, at_most=1)
    count, largest = len(d), d.max()
    # divided by the largest first, so that the sum cannot overflow
    d = d / largest if largest > 0 else np.ones(count)
    probabilities = (1 - smoothing) * d / d.sum() + smoothing / count
    return probabilities, 1 / (count * probabilities)


def _check_progress(progress: float, start: float) -> None:
    check_number("progress", progress, at_least=0, at_most=1)
    check_number("start", start, above=0, at_most=1)


def _check_difficulty(difficulty: ArrayLike) -> FloatArray:
    d = np.asarray(difficulty, dtype=np.float64)
    if d.ndim != 1 or not len(d):
        raise ValueError(f"difficulty must have the shape (samples,) with at least one sample, not {d.shape}")
    if missing := int(np.isnan(d).sum()):
        raise ValueError(f"difficulty is NaN for {missing} of {len(d)} samples: remove samples without a score")
    if not np.isfinite(d).all() or d.min() < 0:
        raise ValueError(f"difficulty must be finite and not negative, but lies in {d.min()}..{d.max()}")
    return d
