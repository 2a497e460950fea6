"""Correlations between the scores of networks, as in Table 1 of the paper; Spearman's correlation for all modules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .formulas import FloatArray, IntArray, tie_bounds

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Comparison:
    """Pairwise correlations of M networks, each over the samples that both networks have scored.

    Attributes:
        models: the names of the networks
        num_samples: ``(M, M)`` number of samples that both networks have scored
        pearson: ``(M, M)`` Pearson correlation of learnability L
        pearson_rank: ``(M, M)`` Pearson correlation of learnability rank R among these samples
        spearman: ``(M, M)`` Spearman correlation of L
    """

    models: tuple[str, ...]
    num_samples: IntArray
    pearson: FloatArray
    pearson_rank: FloatArray
    spearman: FloatArray

    def table(self) -> str:
        """Format the paper's Table 1: Pearson of L, Pearson of R in parentheses, and Spearman of L."""
        pairs = list(combinations(range(len(self.models)), 2))
        names = [f"{self.models[a]} ~ {self.models[b]}" for a, b in pairs]
        width = max([len("pair"), *map(len, names)])
        lines = [f"{'pair':<{width}}  Pearson of L (of R)  Spearman  samples"]
        for name, (a, b) in zip(names, pairs, strict=True):
            pearson = f"{self.pearson[a, b]:.3f} ({self.pearson_rank[a, b]:.3f})"
            lines.append(f"{name:<{width}}  {pearson:>19}  {self.spearman[a, b]:>8.3f}  {self.num_samples[a, b]:>7}")
        return "\n".join(lines)

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per pair of networks: model_a, model_b, pearson, pearson_rank, spearman, num_samples."""
        import pandas as pd

        names = ("pearson", "pearson_rank", "spearman", "num_samples")
        return pd.DataFrame(
            [
                {
                    "model_a": self.models[a],
                    "model_b": self.models[b],
                    **{name: getattr(self, name)[a, b] for name in names},
                }
                for a, b in combinations(range(len(self.models)), 2)
            ]
        )

    def __str__(self) -> str:
        return self.table()


def compare_scores(scores: Mapping[str, ArrayLike]) -> Comparison:
    """Correlate the learnability of the same samples by several networks.

    Args:
        scores: for each network, ``(N,)`` learnability of the same N samples; NaN where a sample has no score

    Returns:
        the correlations of each pair, as in Table 1 of "Sample-wise learnability" (arXiv 1901.02347); NaN where
        two networks share fewer than two samples, or one of them has the same learnability for all of these

    Raises:
        ValueError: if there are fewer than two networks, or the arrays differ in length

    Example::

        >>> compare_scores({"a": [0.1, 0.5, 0.9], "b": [0.2, 0.6, 1.0]}).pearson[0, 1].round(3)
        np.float64(1.0)
    """
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in scores.items()}
    shapes = {values.shape for values in arrays.values()}
    if len(arrays) < 2:
        raise ValueError(f"a comparison needs at least two networks, not {len(arrays)}")
    if len(shapes) > 1 or len(next(iter(shapes))) != 1:
        raise ValueError(f"the scores must be one-dimensional arrays of equal length, not of shapes {sorted(shapes)}")
    size = (len(arrays), len(arrays))
    num_samples = np.zeros(size, dtype=np.int64)
    matrices = [np.full(size, np.nan) for _ in range(3)]
    values = list(arrays.values())
    known = [~np.isnan(row) for row in values]
    # a network that has all samples is centred once for all its pairs
    complete = [_centre(row) if mask.all() else None for row, mask in zip(values, known, strict=True)]
    for a in range(len(values)):
        for b in range(a, len(values)):
            both = known[a] & known[b]
            num_samples[a, b] = num_samples[b, a] = both.sum()
            first, second = (
                centred if centred is not None and both.all() else _centre(row[both])
                for centred, row in ((complete[a], values[a]), (complete[b], values[b]))
            )
            for matrix, x, y in zip(matrices, first, second, strict=True):
                correlation = correlate(x, y)
                # rounding must not keep a network from agreeing with itself
                matrix[a, b] = matrix[b, a] = 1.0 if a == b and np.isfinite(correlation) else correlation
    return Comparison(tuple(arrays), num_samples, *matrices)


def spearman(first: ArrayLike, second: ArrayLike) -> float:
    """Spearman's rank correlation over the samples that have both values; ties share their mean rank.

    Args:
        first: ``(N,)`` values, NaN where a sample has none
        second: ``(N,)`` values of the same samples, NaN where a sample has none

    Returns:
        the correlation; NaN where fewer than two samples have both values, or either is the same for all of them

    Example::

        >>> spearman([0.1, 0.5, 0.9, 0.7], [1.0, 2.0, 4.0, float("nan")])
        1.0
    """
    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    known = ~(np.isnan(x) | np.isnan(y))
    return correlate(centred_ranks(x[known]), centred_ranks(y[known]))


def centred_ranks(values: FloatArray) -> FloatArray:
    """Rank values as Spearman does, and subtract the mean rank.

    Args:
        values: ``(N,)`` values without NaN

    Returns:
        ``(N,)`` ranks from the smallest value to the largest, ties at the mean of their ranks; the sum is 0
    """
    return _centred_mean_ranks(*tie_bounds(values))


def _centred_mean_ranks(smaller: IntArray, at_most: IntArray) -> FloatArray:
    return (smaller + at_most + 1) / 2 - (smaller.size + 1) / 2


def correlate(first: FloatArray, second: FloatArray) -> float:
    """Pearson's correlation of values whose mean is 0.

    Args:
        first: ``(N,)`` values less their mean
        second: ``(N,)`` values less their mean

    Returns:
        the correlation in [-1, 1]; NaN where either array is all 0
    """
    scale = np.sqrt((first @ first) * (second @ second))
    return float(np.clip(first @ second / scale, -1, 1)) if scale > 0 else np.nan


class _Centred(NamedTuple):
    """The learnability of one network in the three forms that are correlated, each less its mean."""

    values: FloatArray
    ranks: FloatArray
    mean_ranks: FloatArray


def _centre(values: FloatArray) -> _Centred:
    # a constant is zero exactly: its mean may differ from it by rounding
    centred = values - values.mean() if values.size and np.ptp(values) > 0 else np.zeros_like(values)
    # scaled to 1, so that no square overflows or vanishes
    centred /= np.abs(centred).max(initial=0) or 1.0
    # sorted once for both kinds of ranks
    smaller, at_most = tie_bounds(values)
    ranks = values.size - smaller
    return _Centred(centred, ranks - (ranks.mean() if ranks.size else 0.0), _centred_mean_ranks(smaller, at_most))
