"""Bins of scores, and the way back from a bin to the samples in it.

What a plot counts and what a click on it shows in the grid must be the same samples. So both stand on the same edges:
numpy counts with them, and MongoDB matches with them (:func:`within`). A bin has its lower edge; its upper edge belongs
to it only if it is the last of all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from fiftyone import ViewField as F
from numpy.typing import NDArray

from fiftyone_learnability.scores.catalog import SCORES

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Histogram2D:
    """The 2-D histogram of two scores.

    Attributes:
        x: ``(B + 1,)`` edges of the bins of the first score
        y: ``(C + 1,)`` edges of the bins of the second
        counts: ``(B, C)`` samples by bin of the first score (rows) and of the second (columns)
    """

    x: FloatArray
    y: FloatArray
    counts: NDArray[np.int64]

    @property
    def cells(self) -> NDArray[np.int64]:
        """``(K, 2)`` bins of the cells that hold samples, in the order of the points drawn."""
        return np.argwhere(self.counts)

    def match(self, points: list[int], x_field: str, y_field: str) -> F | None:
        """An expression for the samples of all cells in the rectangle that some points span.

        Args:
            points: positions of points that were drawn; of a plot that has changed meanwhile, they may be too large
            x_field: the field of the first score
            y_field: the field of the second

        Returns:
            the expression, None if there is no such point
        """
        cells = self.cells
        points = [point for point in points if point < len(cells)]
        if not points:
            return None
        low, high = cells[points].min(axis=0).tolist(), cells[points].max(axis=0).tolist()
        return within(x_field, self.x, low[0], high[0]) & within(y_field, self.y, low[1], high[1])


def bin_two(first: FloatArray, second: FloatArray, x: FloatArray, y: FloatArray) -> Histogram2D:
    """Counts the samples that have both scores, as finite numbers.

    Args:
        first: ``(N,)`` the first score, NaN for none
        second: ``(N,)`` the second
        x: the edges of the first
        y: the edges of the second
    """
    both = np.isfinite(first) & np.isfinite(second)
    counts = np.histogram2d(first[both], second[both], bins=(x, y))[0]
    return Histogram2D(x, y, counts.astype(np.int64))


def score_edges(score: str, bins: int, values: FloatArray, num_ranks: int = 1) -> FloatArray:
    """The edges of equal bins over a score.

    They span all values that the score can take, where the catalog says so and the values respect it: scores from
    elsewhere, and the consensus, are called learnability and do not lie in [0, 1].

    Args:
        score: the name of the score
        bins: how many, at most where values are whole
        values: values that have to lie in a bin if they are finite
        num_ranks: the largest rank, which ranks go up to in any part of a dataset
    """
    known = values[np.isfinite(values)]
    least, largest = SCORES[score].limits
    low = float(known.min(initial=np.inf))
    high = float(known.max(initial=-np.inf))
    if score == "rank":
        high = max(high, float(num_ranks))
    if not low <= high:
        low, high = least or 0.0, 1.0 if largest is None else largest
    if least is not None and low >= least:
        low = least
    if largest is not None and high <= largest:
        high = largest
    if SCORES[score].whole and (known == np.rint(known)).all():
        # between whole numbers, so that each of them falls into one bin and all bins are as wide
        low, high = np.floor(low), np.ceil(high)
        width = max(1.0, np.ceil((high - low + 1) / bins))
        return low - 0.5 + width * np.arange(int(np.ceil((high - low + 1) / width)) + 1, dtype=np.float64)
    # where all values are the same, bins between them could not be told apart
    scale = max(abs(low), abs(high))
    if high - low <= 1e-9 * scale or high == low:
        low, high = low - (0.05 * scale or 0.5), high + (0.05 * scale or 0.5)
    return np.linspace(low, high, bins + 1)


def within(field: str, edges: FloatArray, first: int, last: int) -> F:
    """An expression for the values in some bins.

    Args:
        field: the field of the score
        edges: the edges of all bins
        first: the first bin
        last: the last one
    """
    low, high = float(edges[first]), float(edges[last + 1])
    # what is missing or NaN is less than every number for MongoDB, what is infinite is more than the last edge
    return (F(field) >= low) & (F(field) <= high if last == len(edges) - 2 else F(field) < high)


def left_out(*scores: FloatArray) -> str:
    """Says how many samples a plot of some scores leaves out, and why; empty if none.

    Args:
        *scores: ``(N,)`` the scores; a sample without one of them is missing, one with an infinite one is infinite
    """
    missing = np.logical_or.reduce([np.isnan(values) for values in scores])
    infinite = np.logical_or.reduce([np.isinf(values) for values in scores]) & ~missing
    parts = [
        f"{count:,} {why}"
        for count, why in ((missing.sum(), "without a value"), (infinite.sum(), "with an infinite one"))
        if count
    ]
    return f"left out: {', '.join(parts)}" if parts else ""


def rounded(values: FloatArray) -> list[float]:
    """Positions for a plot, with no more digits than are seen, whatever their size."""
    return [float(f"{value:.7g}") for value in values.tolist()]
