"""How far learnability can be trusted: the agreement between seeds and between networks.

Two runs of one network differ only in their seed, so their correlation is the *reliability* of a single run. The
correlation of two networks is at most the root of the product of their reliabilities (Spearman 1904): it may exceed the
smaller of the two. All correlations are measured between single runs. From the reliability follows how many runs are
enough.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .checks import check_integer, check_number
from .consensus import standardize
from .formulas import FloatArray, learnability_rank

if TYPE_CHECKING:
    import pandas as pd


class Interval(NamedTuple):
    """A statistic with its confidence interval.

    Attributes:
        value: the statistic over all samples
        low: the lower bound
        high: the upper bound
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


_UNKNOWN = Interval(np.nan, np.nan, np.nan)


class Agreement(NamedTuple):
    """A correlation, or a number derived from correlations, for each of the paper's two quantities.

    Attributes:
        learnability: for learnability L
        rank: for learnability rank R
    """

    learnability: Interval
    rank: Interval


@dataclass(frozen=True, eq=False)
class Reliability:
    """Agreement between seeds and between networks, over the samples that all runs have scored.

    Attributes:
        runs: the number of runs of each network
        num_samples: the number of samples that all runs of all networks have scored
        seeds: for each network with at least two runs, the mean Pearson correlation over its pairs of runs: its
            reliability
        models: for each pair of networks, the mean Pearson correlation over the pairs of one run of each
        corrected: for each pair of networks with a reliability, their correlation corrected for attenuation,
            r_ab / sqrt(r_aa r_bb) (Spearman 1904): the expected correlation between means over infinitely many runs. It
            may exceed 1 by chance. NaN where a reliability is not positive
        confidence: the share of resamples within the intervals
    """

    runs: dict[str, int]
    num_samples: int
    seeds: dict[str, Agreement]
    models: dict[tuple[str, str], Agreement]
    corrected: dict[tuple[str, str], Agreement]
    confidence: float

    def table(self) -> str:
        """Format a table of seeds and pairs of networks: Pearson of L and of R with intervals, and corrected."""
        interval = f"[{100 * self.confidence:g} %]"
        rows = [("between", "runs", f"Pearson of L {interval}", f"of R {interval}", "corrected L (R)")]
        for model, (of_learnability, of_rank) in self.seeds.items():
            rows.append((f"seeds of {model}", str(self.runs[model]), str(of_learnability), str(of_rank), ""))
        for (a, b), (of_learnability, of_rank) in self.models.items():
            corrected = self.corrected.get((a, b))
            last = f"{corrected.learnability.value:.3f} ({corrected.rank.value:.3f})" if corrected else "-"
            rows.append((f"{a} ~ {b}", f"{self.runs[a]} x {self.runs[b]}", str(of_learnability), str(of_rank), last))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]
        return "\n".join(lines)

    def to_pandas(self) -> pd.DataFrame:
        """Return one row for each network with a reliability and for each pair of networks.

        The columns are between ("seeds" or "models"), model_a, model_b, runs_a, runs_b, num_samples, and pearson,
        pearson_rank, corrected and corrected_rank, each followed by its _low and _high; NaN where nothing is corrected.
        """
        import pandas as pd

        pairs = [("seeds", (model, model), agreement) for model, agreement in self.seeds.items()]
        pairs += [("models", pair, agreement) for pair, agreement in self.models.items()]
        rows = []
        for between, (a, b), agreement in pairs:
            corrected = self.corrected.get((a, b), Agreement(_UNKNOWN, _UNKNOWN))
            row = {
                "between": between,
                "model_a": a,
                "model_b": b,
                "runs_a": self.runs[a],
                "runs_b": self.runs[b],
                "num_samples": self.num_samples,
            }
            for name, interval in zip(
                ("pearson", "pearson_rank", "corrected", "corrected_rank"), (*agreement, *corrected), strict=True
            ):
                row |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
            rows.append(row)
        return pd.DataFrame(rows)

    def __str__(self) -> str:
        return self.table()


def bootstrap_correlation(
    x: ArrayLike, y: ArrayLike, num_resamples: int = 1000, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """Pearson correlation of two scores of the same samples, with a percentile bootstrap interval.

    Each resample draws N samples with replacement (Efron 1979). Samples without one of the scores are left out first.
    Resamples in which a score is constant are left out too; this happens only with very few samples.

    Args:
        x: ``(N,)`` scores, NaN where a sample has no score
        y: ``(N,)`` other scores of the same samples, in the same form
        num_resamples (1000): the number of resamples
        confidence (0.95): the share of resamples within the interval
        seed (0): the seed of the draws

    Returns:
        the correlation and its interval; NaN where fewer than two samples have both scores, or a score is constant

    Raises:
        ValueError: if the arrays differ in length, there is no resample, or the confidence is not between 0 and 1

    Example::

        >>> bootstrap_correlation([0.1, 0.5, 0.9], [0.2, 0.6, 1.0]).value
        1.0
    """
    first, second = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(
            f"the scores must be one-dimensional arrays of equal length, not of shapes {first.shape} and {second.shape}"
        )
    _check_resampling(num_resamples, confidence)
    pair = np.stack([first, second])
    pair = pair[:, ~np.isnan(pair).any(axis=0)]
    over_all, resampled = _correlate_rows([pair], num_resamples, seed)[0]
    return _interval(over_all[:, 0, 1], resampled[:, 0, 1], confidence)


def measure_reliability(
    run_learnability: Mapping[str, ArrayLike], num_resamples: int = 1000, confidence: float = 0.95, seed: int = 0
) -> Reliability:
    """Measure the agreement between the runs of each network, and between networks.

    The correlation between two networks is the mean over pairs of single runs, one of each network, just as the
    correlation between seeds is a mean over pairs of single runs. A mean over runs is less noisy than a single run, so
    a correlation between means could exceed the bound that the reliabilities of single runs set.

    Only samples that all runs of all networks have scored count, and ranks are taken once among these samples, not in
    each resample. The intervals are percentile bootstrap intervals over samples, with the same resamples for all
    correlations. They describe the dependence on the choice of samples, not on the choice of seeds. Resamples in
    which a correlation is undefined are left out of its interval; this happens only with very few samples.

    Args:
        run_learnability: for each network, ``(R, N)`` learnability of the same N samples in each run; NaN where a
            sample has no score
        num_resamples (1000): the number of resamples
        confidence (0.95): the share of resamples within the intervals
        seed (0): the seed of the draws

    Returns:
        the correlations with their intervals; NaN where there are fewer than two common samples, or a run gives the
        same learnability to all of them

    Raises:
        ValueError: if there are fewer than two runs in total, the arrays are not ``(R, N)`` with R >= 1 and the same N,
            there is no resample, or the confidence is not between 0 and 1

    Example::

        >>> runs = {"a": [[0.1, 0.5, 0.9], [0.2, 0.5, 0.8]], "b": [[0.3, 0.6, 0.9]]}
        >>> measure_reliability(runs).seeds["a"].learnability.value
        1.0
    """
    arrays = {model: np.asarray(values, dtype=np.float64) for model, values in run_learnability.items()}
    shapes = [values.shape for values in arrays.values()]
    if any(len(shape) != 2 or shape[0] < 1 for shape in shapes) or len({shape[1] for shape in shapes}) > 1:
        raise ValueError(f"the learnability must have the shape (runs, samples) for the same samples, not {shapes}")
    runs = {model: len(values) for model, values in arrays.items()}
    if sum(runs.values()) < 2:
        raise ValueError("reliability needs at least two runs, of one network or of two")
    _check_resampling(num_resamples, confidence)
    table = np.concatenate(list(arrays.values()))
    table = table[:, ~np.isnan(table).any(axis=0)]
    ranks = np.stack([learnability_rank(values) for values in table]).astype(np.float64)

    pairs = _pairs_of_rows(runs)
    agreements: dict[tuple[str, str], list[Interval]] = {pair: [] for pair in pairs}
    corrected: dict[tuple[str, str], list[Interval]] = {
        (a, b): [] for a, b in pairs if a != b and (a, a) in pairs and (b, b) in pairs
    }
    for correlations in _correlate_rows([table, ranks], num_resamples, seed):
        means = {
            pair: [matrices[:, first, second].mean(axis=1) for matrices in correlations]
            for pair, (first, second) in pairs.items()
        }
        for pair, (over_all, resampled) in means.items():
            agreements[pair].append(_interval(over_all, resampled, confidence))
        for a, b in corrected:
            over_all, resampled = map(_correct_attenuation, means[a, b], means[a, a], means[b, b])
            corrected[a, b].append(_interval(over_all, resampled, confidence))
    return Reliability(
        runs=runs,
        num_samples=table.shape[1],
        seeds={a: Agreement(*intervals) for (a, b), intervals in agreements.items() if a == b},
        models={pair: Agreement(*intervals) for pair, intervals in agreements.items() if pair[0] != pair[1]},
        corrected={pair: Agreement(*intervals) for pair, intervals in corrected.items()},
        confidence=confidence,
    )


def reliability_of_mean(seed_correlation: ArrayLike, runs: ArrayLike) -> FloatArray:
    r"""Reliability of the mean over r runs, from the correlation between single runs.

    .. math:: \rho_r = \frac{r \rho}{1 + (r - 1) \rho}

    This is the expected correlation between the mean over r runs and the mean over r other runs (Spearman 1910, Brown
    1910).

    Args:
        seed_correlation: the correlation between seeds, in [-1, 1]
        runs: the number of runs, at least 1; both arguments are broadcast

    Returns:
        the reliability for each number of runs; NaN where the correlation is negative, which between runs that measure
        the same thing is due to chance

    Raises:
        ValueError: if a correlation is outside [-1, 1] or a number of runs is below 1

    Example::

        >>> reliability_of_mean(0.8, [1, 2, 5]).round(3)
        array([0.8  , 0.889, 0.952])
    """
    rho, number = np.asarray(seed_correlation, dtype=np.float64), np.asarray(runs, dtype=np.float64)
    if np.any(np.abs(rho) > 1):
        raise ValueError(f"seed_correlation must lie in [-1, 1], not {rho}")
    if not np.all(number >= 1):
        raise ValueError(f"runs must be at least 1, not {number}")
    rho = np.where(rho < 0, np.nan, rho)
    return np.asarray(number * rho / (1 + (number - 1) * rho))


def _check_resampling(num_resamples: int, confidence: float) -> None:
    check_integer("num_resamples", num_resamples, 1)
    check_number("confidence", confidence, above=0, below=1)


def _pairs_of_rows(runs: Mapping[str, int]) -> dict[tuple[str, str], NDArray[np.intp]]:
    """Find the rows to correlate in a table that holds the runs of all networks one after the other.

    Returns:
        for each network with at least two runs (as a pair with itself) and each pair of networks, ``(2, P)`` rows of
        the P pairs of runs
    """
    ends = np.cumsum(list(runs.values()))
    rows = {model: np.arange(end - runs[model], end) for model, end in zip(runs, ends, strict=True)}
    pairs = {
        (model, model): rows[model][np.stack(np.triu_indices(count, 1))] for model, count in runs.items() if count > 1
    }
    for a, b in combinations(runs, 2):
        pairs[a, b] = np.stack(np.meshgrid(rows[a], rows[b])).reshape(2, -1)
    return pairs


def _correlate_rows(tables: list[FloatArray], num_resamples: int, seed: int) -> list[tuple[FloatArray, FloatArray]]:
    """Correlate the rows of each ``(S, N)`` table: ``(1, S, S)`` over all samples, ``(B, S, S)`` in resamples.

    The resamples are the same for all tables.
    """
    num_samples = tables[0].shape[1]
    if num_samples < 2:
        shapes = [(len(table), len(table)) for table in tables]
        return [(np.full((1, *shape), np.nan), np.full((num_resamples, *shape), np.nan)) for shape in shapes]
    # standardized, so that the subtraction of moments loses little precision
    scaled = [np.stack([standardize(row) for row in table]) for table in tables]
    over_all = [_weighted_correlations(np.ones((1, num_samples)), table) for table in scaled]
    resampled: list[list[FloatArray]] = [[] for _ in tables]
    for weights in _draw_weights(num_samples, num_resamples, seed):
        for table, chunks in zip(scaled, resampled, strict=True):
            chunks.append(_weighted_correlations(weights, table))
    return [(first, np.concatenate(chunks)) for first, chunks in zip(over_all, resampled, strict=True)]


def _draw_weights(num_samples: int, num_resamples: int, seed: int) -> Iterator[FloatArray]:
    """Yield ``(B, N)`` numbers of times that each resample contains each sample, for some resamples at a time."""
    rng = np.random.default_rng(seed)
    # 32 MB of weights at a time
    size = max(1, 4_000_000 // num_samples)
    for start in range(0, num_resamples, size):
        weights = np.empty((min(size, num_resamples - start), num_samples))
        for row in weights:
            row[:] = np.bincount(rng.integers(0, num_samples, num_samples), minlength=num_samples)
        yield weights


def _weighted_correlations(weights: FloatArray, table: FloatArray) -> FloatArray:
    """Correlate the rows of a standardized ``(S, N)`` table under each row of ``(B, N)`` weights that add up to N.

    The moments are matrix products with the weights, so that no scores are copied for a resample.

    Returns:
        ``(B, S, S)`` correlations, NaN where a row is constant
    """
    size, num_samples = table.shape
    mean = weights @ table.T / num_samples
    product = np.empty((len(weights), size, size))
    for row in range(size):
        moments = weights @ (table[row] * table[row:]).T / num_samples
        product[:, row, row:] = product[:, row:, row] = moments
    covariance = product - mean[:, :, None] * mean[:, None, :]
    square, variance = (np.diagonal(array, axis1=1, axis2=2) for array in (product, covariance))
    # rounding leaves a small variance where all values are equal
    deviation = np.sqrt(np.where(variance > 1e-12 * square, variance, np.nan))
    return np.clip(covariance / (deviation[:, :, None] * deviation[:, None, :]), -1, 1)


def _correct_attenuation(between: FloatArray, first: FloatArray, second: FloatArray) -> FloatArray:
    """Divide a correlation by the root of the product of both reliabilities; NaN where one is not positive."""
    return between / np.sqrt(np.where((first > 0) & (second > 0), first * second, np.nan))


def _interval(over_all: FloatArray, resampled: FloatArray, confidence: float) -> Interval:
    """Return the statistic with its percentile interval. Resamples in which it is undefined are left out."""
    resampled = resampled[~np.isnan(resampled)]
    value = float(over_all[0])
    if np.isnan(value) or not resampled.size:
        return _UNKNOWN._replace(value=value)
    low, high = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(value, float(low), float(high))
