"""Bins of scores, and the way back from a bin to its samples.

A click on a bin must show exactly the samples that the plot counts. So both use the same edges: NumPy counts with them,
and MongoDB matches with them (:meth:`Bins.match`). A bin includes its lower edge; only the last bin includes its upper
edge too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from fiftyone import ViewField as F
from numpy.typing import NDArray

from fiftyone_learnability.scores.catalog import SCORES

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Bins:
    """Consecutive bins.

    Attributes:
        edges: ``(B + 1,)`` the edges of all bins
        first: the first bin
        last: the last bin, included
    """

    edges: FloatArray
    first: int
    last: int

    @property
    def limits(self) -> tuple[float, float]:
        """The outer edges."""
        return float(self.edges[self.first]), float(self.edges[self.last + 1])

    def match(self, field: str) -> F:
        """Return an expression that matches the values in the bins.

        Args:
            field: the field of the score
        """
        low, high = self.limits
        # MongoDB sorts missing values and NaN below every number; infinity lies above the last edge
        return (F(field) >= low) & (F(field) <= high if self.last == len(self.edges) - 2 else F(field) < high)

    def contain(self, values: FloatArray) -> NDArray[np.bool_]:
        """Return which values lie in the bins, as :meth:`match` does.

        Args:
            values: ``(N,)`` values, NaN for none
        """
        low, high = self.limits
        with np.errstate(invalid="ignore"):
            return (values >= low) & ((values <= high) if self.last == len(self.edges) - 2 else (values < high))

    def describe(self, score: str) -> str:
        """Return the range of a score for users, such as "0.2 to 0.4"."""
        low, high = self.limits
        if SCORES[score].is_integer and low % 1 == 0.5:
            # the edges lie between whole numbers
            first, last = int(low + 0.5), int(high - 0.5)
            return f"{first:,}" if first == last else f"{first:,} to {last:,}"
        return f"{low:.3g} to {high:.3g}"


@dataclass(frozen=True, eq=False)
class Histogram2D:
    """The 2-D histogram of two scores.

    Attributes:
        x: ``(B + 1,)`` edges of the bins of the first score
        y: ``(C + 1,)`` edges of the bins of the second score
        counts: ``(B, C)`` number of samples in each cell
    """

    x: FloatArray
    y: FloatArray
    counts: NDArray[np.int64]

    @property
    def cells(self) -> NDArray[np.int64]:
        """``(K, 2)`` bins of the cells that hold samples, in the order in which plots draw them."""
        return np.argwhere(self.counts)

    def around(self, points: list[int]) -> tuple[Bins, Bins] | None:
        """Return the smallest rectangle around some cells, as bins of the first and of the second score.

        Args:
            points: indices into :attr:`cells`; indices that are too large, as of an outdated plot, are ignored

        Returns:
            the bins, None if there is no cell
        """
        cells = self.cells
        points = [point for point in points if point < len(cells)]
        if not points:
            return None
        low, high = cells[points].min(axis=0).tolist(), cells[points].max(axis=0).tolist()
        return Bins(self.x, low[0], high[0]), Bins(self.y, low[1], high[1])


def bin_two(first: FloatArray, second: FloatArray, x: FloatArray, y: FloatArray) -> Histogram2D:
    """Count the samples that have finite values of both scores.

    Args:
        first: ``(N,)`` the first score, NaN for none
        second: ``(N,)`` the second score
        x: the edges of the first score
        y: the edges of the second score
    """
    both = np.isfinite(first) & np.isfinite(second)
    counts = np.histogram2d(first[both], second[both], bins=(x, y))[0]
    return Histogram2D(x, y, counts.astype(np.int64))


def score_edges(score: str, bins: int, values: FloatArray, num_ranks: int = 1) -> FloatArray:
    """Return the edges of equal bins over a score.

    They span the limits that the catalog gives for the score. Imported scores and the consensus are called learnability
    too but need not respect its limits; then the bins span the values.

    Args:
        score: the name of the score
        bins: the number of bins; for whole numbers, the largest number of bins
        values: the values, each of which lies in a bin if it is finite
        num_ranks: the largest rank in the dataset
    """
    known = values[np.isfinite(values)]
    least, largest = SCORES[score].limits
    low = float(known.min(initial=np.inf))
    high = float(known.max(initial=-np.inf))
    if score == "rank":
        high = max(high, float(num_ranks))
    if not low <= high:
        # there are no values
        low, high = least or 0.0, 1.0 if largest is None else largest
    if least is not None and low >= least:
        low = least
    if largest is not None and high <= largest:
        high = largest
    if SCORES[score].is_integer and (known == np.rint(known)).all():
        # put the edges between whole numbers, so that every bin holds equally many of them
        low, high = np.floor(low), np.ceil(high)
        width = max(1.0, np.ceil((high - low + 1) / bins))
        return low - 0.5 + width * np.arange(int(np.ceil((high - low + 1) / width)) + 1, dtype=np.float64)
    # widen a range that floating point cannot divide into bins
    scale = max(abs(low), abs(high))
    if high - low <= 1e-9 * scale or high == low:
        low, high = low - (0.05 * scale or 0.5), high + (0.05 * scale or 0.5)
    return np.linspace(low, high, bins + 1)


def describe_omitted(*scores: FloatArray) -> str:
    """Say how many samples a plot of some scores omits, and why; empty if it omits none.

    Args:
        *scores: ``(N,)`` each of the scores
    """
    missing = np.logical_or.reduce([np.isnan(values) for values in scores])
    infinite = np.logical_or.reduce([np.isinf(values) for values in scores]) & ~missing
    reasons = ((missing.sum(), "without a value"), (infinite.sum(), "with an infinite value"))
    parts = [f"{count:,} {reason}" for count, reason in reasons if count]
    return f"omitted: {', '.join(parts)}" if parts else ""


def rounded(values: FloatArray) -> list[float]:
    """Return positions in a plot with seven significant digits, which keeps messages to the browser short."""
    return [float(f"{value:.7g}") for value in values.tolist()]
