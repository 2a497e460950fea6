"""How far networks agree on what is easy and what is hard: the correlations of the paper's Table 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..science.scores import FloatArray, IntArray, tie_bounds

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
    # of networks that have all samples, each is ranked once for all its pairs
    known = [~np.isnan(one) for one in values]
    ranked: dict[int, _Ranks] = {}
    for a in range(len(values)):
        for b in range(a, len(values)):
            both = known[a] & known[b]
            x, y = (values[a], values[b]) if both.all() else (values[a][both], values[b][both])
            num_samples[a, b] = num_samples[b, a] = x.size
            if x.size < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
                continue
            if x.size == both.size:
                first, second = (ranked.get(one) or ranked.setdefault(one, _rank(values[one])) for one in (a, b))
            else:
                first, second = _rank(x), _rank(y)
            for matrix, one, other in (
                (pearson, x, y),
                (pearson_rank, first.learnability, second.learnability),
                (spearman, first.mean, second.mean),
            ):
                same = a == b and np.isfinite(one).all()
                matrix[a, b] = matrix[b, a] = 1.0 if same else np.corrcoef(one, other)[0, 1]
    return Comparison(tuple(arrays), num_samples, pearson, pearson_rank, spearman)


class _Ranks(NamedTuple):
    """The ranks of N values: that of Eq. 2, and that of Spearman, where ties share the mean."""

    learnability: IntArray
    mean: FloatArray


def _rank(values: FloatArray) -> _Ranks:
    smaller, at_most = tie_bounds(values)
    return _Ranks(values.size - smaller, (smaller + at_most + 1) / 2)
