"""How far networks agree on what is easy and what is hard: the correlations of the paper's Table 1."""

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
    """Pairwise agreement of M networks, each pair over the samples that both have.

    Attributes:
        models: the names of the networks
        num_samples: ``(M, M)`` the samples that both have
        pearson: ``(M, M)`` Pearson correlation of learnability L
        pearson_rank: ``(M, M)`` Pearson correlation of learnability rank R, ranked among the samples that both have
        spearman: ``(M, M)`` Spearman correlation of L
    """

    models: tuple[str, ...]
    num_samples: IntArray
    pearson: FloatArray
    pearson_rank: FloatArray
    spearman: FloatArray

    def table(self) -> str:
        """The paper's Table 1 as text: Pearson of L, with that of R in parentheses, and Spearman of L."""
        pairs = list(combinations(range(len(self.models)), 2))
        names = [f"{self.models[a]} ~ {self.models[b]}" for a, b in pairs]
        width = max([len("pair"), *map(len, names)])
        lines = [f"{'pair':<{width}}  Pearson of L (of R)  Spearman  samples"]
        for name, (a, b) in zip(names, pairs, strict=True):
            pearson = f"{self.pearson[a, b]:.3f} ({self.pearson_rank[a, b]:.3f})"
            lines.append(f"{name:<{width}}  {pearson:>19}  {self.spearman[a, b]:>8.3f}  {self.num_samples[a, b]:>7}")
        return "\n".join(lines)

    def to_pandas(self) -> pd.DataFrame:
        """One row a pair: model_a, model_b, pearson, pearson_rank, spearman, num_samples."""
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
    """Compares the learnability that networks give to the same samples.

    Args:
        scores: ``(N,)`` learnability of the same N samples by network; NaN where a network has none

    Returns:
        the correlations of each pair, as in Table 1 of "Sample-wise learnability" (arXiv 1901.02347); NaN where
        two networks share fewer than two samples or one has the same learnability for all of them

    Raises:
        ValueError: if there are fewer than two networks, or their arrays differ in length

    Example::

        >>> compare_scores({"a": [0.1, 0.5, 0.9], "b": [0.2, 0.6, 1.0]}).pearson[0, 1].round(3)
        np.float64(1.0)
    """
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in scores.items()}
    shapes = {values.shape for values in arrays.values()}
    if len(arrays) < 2:
        raise ValueError(f"a comparison needs at least two networks, not {len(arrays)}")
    if len(shapes) > 1 or len(next(iter(shapes))) != 1:
        raise ValueError(f"the scores must be arrays of one length, not of the shapes {sorted(shapes)}")
    size = (len(arrays), len(arrays))
    num_samples = np.zeros(size, dtype=np.int64)
    pearson, pearson_rank, spearman = (np.full(size, np.nan) for _ in range(3))
    values = list(arrays.values())
    # networks that have all samples are prepared once for all their pairs
    known = [~np.isnan(one) for one in values]
    whole = [_standardize(one) if mask.all() else None for one, mask in zip(values, known, strict=True)]
    for a in range(len(values)):
        for b in range(a, len(values)):
            both = known[a] & known[b]
            num_samples[a, b] = num_samples[b, a] = both.sum()
            first, second = (whole[a], whole[b]) if both.all() else (_standardize(values[one][both]) for one in (a, b))
            if first is None or second is None:
                continue
            for matrix, one, other in zip((pearson, pearson_rank, spearman), first, second, strict=True):
                correlation = np.clip(one @ other, -1, 1)
                # but for rounding, what correlates with itself at all does so perfectly
                matrix[a, b] = matrix[b, a] = 1.0 if a == b and np.isfinite(correlation) else correlation
    return Comparison(tuple(arrays), num_samples, pearson, pearson_rank, spearman)


class _Standardized(NamedTuple):
    """N values and their ranks, each less its mean and of norm 1, so that products are correlations.

    Attributes:
        values: the values
        ranks: those of Eq. 2
        mean_ranks: those of Spearman, where ties share the mean of their ranks
    """

    values: FloatArray
    ranks: FloatArray
    mean_ranks: FloatArray


def _standardize(values: FloatArray) -> _Standardized | None:
    """None if there are fewer than two values, or all are equal."""
    if values.size < 2 or np.ptp(values) == 0:
        return None
    smaller, at_most = tie_bounds(values)
    return _Standardized(*(_of_norm_one(one) for one in (values, values.size - smaller, (smaller + at_most + 1) / 2)))


def _of_norm_one(values: FloatArray | IntArray) -> FloatArray:
    centred = values - values.mean()
    # so that no square is too large for a float, or too small
    centred /= np.abs(centred).max()
    return centred / np.linalg.norm(centred)
