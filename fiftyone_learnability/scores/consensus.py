"""What several networks say together of each sample: their consensus, and how far they disagree.

Networks differ in how much they learn over all, so their learnability is standardized before it is averaged: it then
says where a sample stands among the others, in standard deviations, for each network alike. Numpy alone is needed.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from .formulas import FloatArray


def standardize(scores: ArrayLike) -> FloatArray:
    r"""The distance of each score from the mean, in standard deviations.

    .. math:: z_i = \frac{L_i - \bar L}{\sigma_L}

    with the population deviation. NaN stays NaN and counts for neither the mean nor the deviation.

    Args:
        scores: ``(N,)`` scores of one network, NaN where a sample has none

    Returns:
        ``(N,)`` z-scores; zeros where all scores are the same, as none then stands out

    Raises:
        ValueError: if the array is not one-dimensional or holds an infinity, which has no distance from anything

    Example::

        >>> standardize([0.5, 0.5, float("nan"), 0.9]).round(3)
        array([-0.707, -0.707,    nan,  1.414])
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"scores must have one dimension, not the shape {values.shape}")
    if np.isinf(values).any():
        raise ValueError("scores holds an infinity: it cannot be standardized")
    have = ~np.isnan(values)
    z = np.full(values.shape, np.nan)
    z[have] = 0.0
    some = values[have]
    # the range is exactly 0 for equal scores, where rounding leaves their deviation a little above it
    if some.size and np.ptp(some) > 0:
        # moved to [0, 1] first, so that a tiny range is not lost to rounding nor when it is squared
        unit = (some - some.min()) / np.ptp(some)
        z[have] = (unit - unit.mean()) / unit.std()
    return z


def consensus(scores: Mapping[str, ArrayLike]) -> FloatArray:
    r"""How easy each sample is for all networks together: the mean of their standardized learnability.

    .. math:: C_i = \frac{1}{M} \sum_{m=1}^{M} z_i^{(m)}

    A sample that lacks the score of any network gets NaN, and the scores are standardized among the samples that all
    networks have. A mean over those networks that happen to have a sample would compare samples by different
    judges.

    Args:
        scores: ``(N,)`` learnability of the same N samples by network, of two or more; NaN where a network has none

    Returns:
        ``(N,)`` consensus in standard deviations: 0 is the average sample, high is easy for all, low is hard for all

    Raises:
        ValueError: if there are fewer than two networks, or their arrays differ in length

    Example::

        >>> consensus({"a": [0.1, 0.5, 0.9], "b": [0.7, 0.8, 0.9]}).round(3)
        array([-1.225,  0.   ,  1.225])
    """
    return _standardize_all(scores).mean(axis=0)


def score_disagreement(scores: Mapping[str, ArrayLike]) -> FloatArray:
    r"""How far networks differ on each sample: the deviation of their standardized learnability.

    .. math:: D_i = \sqrt{\frac{1}{M} \sum_{m=1}^{M} (z_i^{(m)} - C_i)^2}

    a population deviation; for two networks it is half the distance between them. Samples and networks are taken as in
    :func:`consensus`.

    Args:
        scores: ``(N,)`` learnability of the same N samples by network, of two or more; NaN where a network has none

    Returns:
        ``(N,)`` disagreement, 0 where a sample stands equally for all networks; NaN as in :func:`consensus`

    Raises:
        ValueError: if there are fewer than two networks, or their arrays differ in length

    Example::

        >>> score_disagreement({"a": [0.1, 0.5, 0.9], "b": [0.9, 0.8, 0.7]}).round(3)
        array([1.225, 0.   , 1.225])
    """
    return _standardize_all(scores).std(axis=0)


def _standardize_all(scores: Mapping[str, ArrayLike]) -> FloatArray:
    """``(M, N)`` z-scores among the samples that all networks have, NaN elsewhere."""
    arrays = [np.asarray(values, dtype=np.float64) for values in scores.values()]
    shapes = {values.shape for values in arrays}
    if len(arrays) < 2:
        raise ValueError(f"a consensus needs at least two networks, not {len(arrays)}")
    if len(shapes) > 1 or len(next(iter(shapes))) != 1:
        raise ValueError(f"the scores must be arrays of one length, not of the shapes {sorted(shapes)}")
    table = np.stack(arrays)
    lacking = np.isnan(table).any(axis=0)
    return np.stack([standardize(np.where(lacking, np.nan, values)) for values in table])
