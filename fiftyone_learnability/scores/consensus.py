"""Consensus and disagreement of several networks on the difficulty of each sample.

Some networks learn more than others overall. Their learnability is therefore standardized before it is averaged, so
that it measures the position of a sample among all samples, in standard deviations.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from .formulas import FloatArray


def standardize(scores: ArrayLike) -> FloatArray:
    r"""Standardize scores: the distance of each from the mean, in standard deviations.

    .. math:: z_i = \frac{L_i - \bar L}{\sigma_L}

    with the population standard deviation. NaN stays NaN and is ignored in the mean and the deviation.

    Args:
        scores: ``(N,)`` scores of one network, NaN where a sample has no score

    Returns:
        ``(N,)`` z-scores; zeros if all scores are equal

    Raises:
        ValueError: if the array is not one-dimensional or contains an infinite value

    Example::

        >>> standardize([0.5, 0.5, float("nan"), 0.9]).round(3)
        array([-0.707, -0.707,    nan,  1.414])
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"scores must have one dimension, not the shape {values.shape}")
    if np.isinf(values).any():
        raise ValueError("scores contains infinite values, which cannot be standardized")
    known = ~np.isnan(values)
    z = np.full(values.shape, np.nan)
    z[known] = 0.0
    scored = values[known]
    # the range of equal scores is exactly 0; their standard deviation may not be, because of rounding
    if scored.size and np.ptp(scored) > 0:
        # scaled to [0, 1] first, so that a tiny range does not vanish when it is squared
        unit = (scored - scored.min()) / np.ptp(scored)
        z[known] = (unit - unit.mean()) / unit.std()
    return z


def consensus(scores: Mapping[str, ArrayLike]) -> FloatArray:
    r"""Consensus of each sample: the mean over networks of the standardized learnability.

    .. math:: C_i = \frac{1}{M} \sum_{m=1}^{M} z_i^{(m)}

    A sample gets NaN unless all networks have scored it, and the scores are standardized among the samples that all
    networks have scored. Otherwise samples would be compared by different sets of networks.

    Args:
        scores: for each of two or more networks, ``(N,)`` learnability of the same N samples; NaN where a sample has no
            score

    Returns:
        ``(N,)`` consensus in standard deviations: 0 is average, high is easy for all, low is hard for all

    Raises:
        ValueError: if there are fewer than two networks, or the arrays differ in length

    Example::

        >>> consensus({"a": [0.1, 0.5, 0.9], "b": [0.7, 0.8, 0.9]}).round(3)
        array([-1.225,  0.   ,  1.225])
    """
    return _standardize_all(scores).mean(axis=0)


def score_disagreement(scores: Mapping[str, ArrayLike]) -> FloatArray:
    r"""Disagreement on each sample: the standard deviation over networks of the standardized learnability.

    .. math:: D_i = \sqrt{\frac{1}{M} \sum_{m=1}^{M} (z_i^{(m)} - C_i)^2}

    This is the population standard deviation. For two networks it is half the distance between them. Samples that a
    network has not scored are treated as in :func:`consensus`.

    Args:
        scores: for each of two or more networks, ``(N,)`` learnability of the same N samples; NaN where a sample has no
            score

    Returns:
        ``(N,)`` disagreement, 0 where a sample has the same position for all networks; NaN as in :func:`consensus`

    Raises:
        ValueError: if there are fewer than two networks, or the arrays differ in length

    Example::

        >>> score_disagreement({"a": [0.1, 0.5, 0.9], "b": [0.9, 0.8, 0.7]}).round(3)
        array([1.225, 0.   , 1.225])
    """
    return _standardize_all(scores).std(axis=0)


def _standardize_all(scores: Mapping[str, ArrayLike]) -> FloatArray:
    """Return ``(M, N)`` z-scores among the samples that all networks have scored, NaN elsewhere."""
    arrays = [np.asarray(values, dtype=np.float64) for values in scores.values()]
    shapes = {values.shape for values in arrays}
    if len(arrays) < 2:
        raise ValueError(f"a consensus needs at least two networks, not {len(arrays)}")
    if len(shapes) > 1 or len(next(iter(shapes))) != 1:
        raise ValueError(f"the scores must be one-dimensional arrays of equal length, not of shapes {sorted(shapes)}")
    table = np.stack(arrays)
    incomplete = np.isnan(table).any(axis=0)
    return np.stack([standardize(np.where(incomplete, np.nan, values)) for values in table])
