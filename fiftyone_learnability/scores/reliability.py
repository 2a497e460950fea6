"""How far learnability can be trusted: agreement between seeds against agreement between networks.

Two runs of one network differ in nothing but their seed, so their correlation is the ceiling for the correlation of one
network with another. Both are measured here in the same way, between single runs. The same measure says how many runs
are enough, and the learnability over the first epochs against that over all says how many epochs are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .checks import check_integer, check_number
from .comparison import centred_ranks, correlate
from .consensus import standardize
from .formulas import FloatArray, IntArray, learnability_rank

if TYPE_CHECKING:
    import pandas as pd


class Interval(NamedTuple):
    """A statistic with its confidence interval.

    Attributes:
        value: the statistic of the samples as they are
        low: the lower bound
        high: the upper bound
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


class Agreement(NamedTuple):
    """The correlation of two runs, or what follows from it, for each of the paper's two quantities.

    Attributes:
        learnability: of learnability L
        rank: of learnability rank R
    """

    learnability: Interval
    rank: Interval


@dataclass(frozen=True, eq=False)
class Reliability:
    """Agreement between the seeds of one network, and between networks, over the samples that every run has.

    Attributes:
        runs: the number of runs R of each network
        num_samples: the samples that every run of every network has
        seeds: the mean Pearson correlation over the pairs of runs of one network, for each with two or more: its
            ceiling
        models: the mean Pearson correlation over the pairs of one run of each network, for each pair of networks
        corrected: the correlation of each pair of networks corrected for attenuation, r_ab / sqrt(r_aa r_bb) (Spearman
            1904), where both have a ceiling: what it would be between means over endless runs. It may exceed 1, by
            chance. NaN where a ceiling is not positive
        confidence: the share of resamples within the intervals
    """

    runs: dict[str, int]
    num_samples: int
    seeds: dict[str, Agreement]
    models: dict[tuple[str, str], Agreement]
    corrected: dict[tuple[str, str], Agreement]
    confidence: float

    def table(self) -> str:
        """Seeds and networks under each other as text: Pearson of L and of R with intervals, and corrected."""
        head = (
            "between",
            "runs",
            f"Pearson of L [{100 * self.confidence:g} %]",
            f"of R [{100 * self.confidence:g} %]",
            "corrected L (R)",
        )
        rows: list[tuple[str, ...]] = [head]
        for model, seeds in self.seeds.items():
            rows.append((f"seeds of {model}", str(self.runs[model]), *map(str, seeds), ""))
        for (a, b), models in self.models.items():
            corrected = self.corrected.get((a, b))
            last = f"{corrected.learnability.value:.3f} ({corrected.rank.value:.3f})" if corrected else "-"
            rows.append((f"{a} ~ {b}", f"{self.runs[a]} x {self.runs[b]}", *map(str, models), last))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]
        return "\n".join(lines)

    def to_pandas(self) -> pd.DataFrame:
        """One row for each network with a ceiling and for each pair of networks.

        The columns: between ("seeds" or "models"), model_a, model_b, runs_a, runs_b, num_samples, and pearson,
        pearson_rank, corrected and corrected_rank, each followed by its _low and _high; NaN where nothing is corrected.
        """
        import pandas as pd

        nowhere = Interval(np.nan, np.nan, np.nan)
        rows = [("seeds", (model, model), agreement) for model, agreement in self.seeds.items()]
        rows += [("models", pair, agreement) for pair, agreement in self.models.items()]
        table = []
        for between, (a, b), agreement in rows:
            # no pair of networks is a network with itself
            corrected = self.corrected.get((a, b), Agreement(nowhere, nowhere))
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
            table.append(row)
        return pd.DataFrame(table)

    def __str__(self) -> str:
        return self.table()


def bootstrap_correlation(
    x: ArrayLike, y: ArrayLike, num_resamples: int = 1000, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """The Pearson correlation of two scores of the same samples, with a percentile bootstrap interval.

    The samples are drawn with replacement, N of them at a time (Efron 1979). Samples that lack a score are left out
    first. So are resamples in which a score is the same for all, which only happens to a handful of samples.

    Args:
        x: ``(N,)`` one score, NaN where a sample has none
        y: ``(N,)`` the other score, likewise
        num_resamples (1000): how often the samples are drawn
        confidence (0.95): the share of resamples within the interval
        seed (0): of the draws

    Returns:
        the correlation and its interval; NaN where fewer than two samples have both scores or one does not vary

    Raises:
        ValueError: if the arrays are not of one length, there is no resample, or the confidence is not between 0 and 1

    Example::

        >>> bootstrap_correlation([0.1, 0.5, 0.9], [0.2, 0.6, 1.0]).value
        1.0
    """
    first, second = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(f"the scores must be arrays of one length, not of the shapes {first.shape} and {second.shape}")
    _check_resampling(num_resamples, confidence)
    pair = np.stack([first, second])
    pair = pair[:, ~np.isnan(pair).any(axis=0)]
    whole, resampled = _correlate([pair], num_resamples, seed)[0]
    return _interval(whole[:, 0, 1], resampled[:, 0, 1], confidence)


def measure_reliability(
    run_learnability: Mapping[str, ArrayLike], num_resamples: int = 1000, confidence: float = 0.95, seed: int = 0
) -> Reliability:
    """Measures how far the runs of each network agree, and how far networks do.

    A correlation between networks is a mean over pairs of single runs, one of each, as that between seeds is: the mean
    over runs of a network is less noisy than a run, so that a correlation of means could exceed the ceiling.

    All is measured over the samples that every run of every network has, and the ranks are taken once among them, not
    again in each resample. The intervals are percentile bootstrap intervals over samples, from the same resamples for
    all correlations: they say how much depends on which samples there are, not on which seeds were drawn. A resample
    that has no value of a correlation, which only happens to a handful of samples, is left out of its interval.

    Args:
        run_learnability: ``(R, N)`` learnability of the same N samples in each run, by network; NaN where a run has
            none
        num_resamples (1000): how often the samples are drawn
        confidence (0.95): the share of resamples within the intervals
        seed (0): of the draws

    Returns:
        the correlations with their intervals; NaN where there are fewer than two common samples or a run gives the same
        learnability to all of them

    Raises:
        ValueError: if there is but one network with but one run, the arrays are not ``(R, N)`` with R >= 1 and the same
            N, there is no resample, or the confidence is not between 0 and 1

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

    # which rows of the table belong to which network, and which pairs of them to which correlation
    ends = np.cumsum(list(runs.values()))
    rows = {model: np.arange(end - runs[model], end) for model, end in zip(runs, ends, strict=True)}
    pairs: dict[tuple[str, str], NDArray[np.intp]] = {}
    for model in runs:
        if runs[model] > 1:
            pairs[model, model] = rows[model][np.stack(np.triu_indices(runs[model], 1))]
    for a, b in combinations(runs, 2):
        pairs[a, b] = np.stack(np.meshgrid(rows[a], rows[b])).reshape(2, -1)

    found: dict[tuple[str, str], list[Interval]] = {pair: [] for pair in pairs}
    corrected: dict[tuple[str, str], list[Interval]] = {
        (a, b): [] for a, b in pairs if a != b and (a, a) in pairs and (b, b) in pairs
    }
    for correlations in _correlate([table, ranks], num_resamples, seed):
        means = {
            pair: [matrices[:, first, second].mean(axis=1) for matrices in correlations]
            for pair, (first, second) in pairs.items()
        }
        for pair, (whole, resampled) in means.items():
            found[pair].append(_interval(whole, resampled, confidence))
        for a, b in corrected:
            whole, resampled = map(_correct, means[a, b], means[a, a], means[b, b])
            corrected[a, b].append(_interval(whole, resampled, confidence))
    return Reliability(
        runs=runs,
        num_samples=table.shape[1],
        seeds={a: Agreement(*intervals) for (a, b), intervals in found.items() if a == b},
        models={pair: Agreement(*intervals) for pair, intervals in found.items() if pair[0] != pair[1]},
        corrected={pair: Agreement(*intervals) for pair, intervals in corrected.items()},
        confidence=confidence,
    )


def reliability_of_mean(seed_correlation: ArrayLike, runs: ArrayLike) -> FloatArray:
    r"""How reliable the mean over r runs is, given the correlation between single runs.

    .. math:: \rho_r = \frac{r \rho}{1 + (r - 1) \rho}

    the correlation to be expected between the means over r runs and over r other runs (Spearman 1910, Brown 1910).

    Args:
        seed_correlation: the correlation between seeds, in [-1, 1]
        runs: the numbers of runs, at least 1; both arguments are broadcast

    Returns:
        the reliability for each number of runs; NaN where the correlation is negative, as runs that measure the same
        thing cannot have it but by chance

    Raises:
        ValueError: if there is a correlation outside [-1, 1], or a number of runs below 1

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


class EpochStability(NamedTuple):
    """How the order of the samples settles over the epochs of training.

    Attributes:
        epochs: ``(P,)`` the epochs, counted from 1, rising, the last that was measured at the end
        correlation: ``(P,)`` Spearman correlation of the learnability over so many epochs with that over all
    """

    epochs: IntArray
    correlation: FloatArray


def epoch_stability(
    dynamics: ArrayLike, max_points: int | None = None, epochs: ArrayLike | None = None
) -> EpochStability:
    """How well the learnability over the first t epochs orders the samples, against that over all T.

    The first epochs of a long training are not a short training: its learning rate would fall sooner. And since they
    are part of the whole, the correlation reaches 1 at T by construction.

    Args:
        dynamics: ``(T, N)`` probability of the true label after each epoch; samples with a NaN are left out
        max_points (None): at how many epochs to look at most, evenly spaced from the first to the last; all by default
        epochs (None): ``(T,)`` the epochs that the rows stand for, by default 1, 2, ..., T

    Returns:
        the epochs, and Spearman's correlation at each; NaN where fewer than two samples are left or all have the same
        learnability

    Raises:
        ValueError: if the array is not ``(T, N)`` with T >= 1, there is not an epoch for each row, or max_points is
            below 2

    Example::

        >>> epoch_stability([[0.2, 0.1, 0.3], [0.1, 0.4, 0.9]]).correlation
        array([0.5, 1. ])
    """
    p = np.asarray(dynamics)
    if p.ndim != 2 or len(p) < 1:
        raise ValueError(f"dynamics must have the shape (epochs, samples) with at least one epoch, not {p.shape}")
    if max_points is not None:
        check_integer("max_points", max_points, 2)
    numbers = np.arange(1, len(p) + 1) if epochs is None else np.asarray(epochs, dtype=np.int64)
    if numbers.shape != (len(p),):
        raise ValueError(f"epochs must have the shape ({len(p)},), as many as dynamics has rows, not {numbers.shape}")
    rows = np.arange(len(p))
    if max_points is not None and max_points < len(p):
        rows = np.linspace(0, len(p) - 1, max_points).round().astype(np.int64)
    seen = ~np.isnan(p.sum(axis=0, dtype=np.float64))
    # the sum orders the samples as the mean does, and float64 adds half precision exactly, so that ties stay ties
    total = np.zeros(int(seen.sum()))
    ranks = []
    wanted = set(rows.tolist())
    for index, row in enumerate(p):
        total += row[seen]
        if index in wanted:
            ranks.append(centred_ranks(total))
    correlation = np.array([correlate(rank, ranks[-1]) for rank in ranks])
    return EpochStability(numbers[rows], correlation)


def epochs_enough(stability: EpochStability, bound: float = 0.97) -> int:
    """The number of epochs from which on the order of the samples is settled.

    Args:
        stability: what :func:`epoch_stability` found
        bound (0.97): the correlation with the final order that is settled enough

    Returns:
        the first of the epochs from which on the correlation stays at or above the bound

    Raises:
        ValueError: if it does not do so even at the last, because it is NaN there or the bound is above 1

    Example::

        >>> epochs_enough(EpochStability(np.array([1, 2, 3, 4]), np.array([0.98, 0.9, 0.97, 1.0])))
        3
    """
    # written so that NaN is below
    below = np.flatnonzero(~(stability.correlation >= bound))
    first = below[-1] + 1 if below.size else 0
    if first == len(stability.epochs):
        raise ValueError(f"the correlation does not reach {bound}: {stability.correlation[-1:]} at the last epoch")
    return int(stability.epochs[first])


def _check_resampling(num_resamples: int, confidence: float) -> None:
    check_integer("num_resamples", num_resamples, 1)
    check_number("confidence", confidence, above=0, below=1)


def _correlate(tables: list[FloatArray], num_resamples: int, seed: int) -> list[tuple[FloatArray, FloatArray]]:
    """Correlates the rows of each ``(S, N)`` table, over all samples ``(1, S, S)`` and in resamples ``(B, S, S)``.

    The resamples are the same for all tables.
    """
    num_samples = tables[0].shape[1]
    if num_samples < 2:
        shapes = [(len(table), len(table)) for table in tables]
        return [(np.full((1, *shape), np.nan), np.full((num_resamples, *shape), np.nan)) for shape in shapes]
    # of order 1, so that little is lost where one moment is subtracted from another
    scaled = [np.stack([standardize(row) for row in table]) for table in tables]
    whole = [_weighted_correlations(np.ones((1, num_samples)), table) for table in scaled]
    resampled: list[list[FloatArray]] = [[] for _ in tables]
    for weights in _draw_weights(num_samples, num_resamples, seed):
        for table, chunks in zip(scaled, resampled, strict=True):
            chunks.append(_weighted_correlations(weights, table))
    return [(first, np.concatenate(chunks)) for first, chunks in zip(whole, resampled, strict=True)]


def _draw_weights(num_samples: int, num_resamples: int, seed: int) -> Iterator[FloatArray]:
    """How often each resample holds each sample, ``(B, N)`` for some resamples at a time."""
    rng = np.random.default_rng(seed)
    # 32 MB of weights at a time
    size = max(1, 4_000_000 // num_samples)
    for start in range(0, num_resamples, size):
        weights = np.empty((min(size, num_resamples - start), num_samples))
        for row in weights:
            row[:] = np.bincount(rng.integers(0, num_samples, num_samples), minlength=num_samples)
        yield weights


def _weighted_correlations(weights: FloatArray, table: FloatArray) -> FloatArray:
    """Correlates the rows of a standardized ``(S, N)`` table under each of ``(B, N)`` weights that add up to N.

    Moments are matrix products with the weights: nothing is resampled but the weights.

    Returns:
        ``(B, S, S)`` correlations, NaN where a row does not vary
    """
    size, num_samples = table.shape
    mean = weights @ table.T / num_samples
    product = np.empty((len(weights), size, size))
    for row in range(size):
        moments = weights @ (table[row] * table[row:]).T / num_samples
        product[:, row, row:] = product[:, row:, row] = moments
    covariance = product - mean[:, :, None] * mean[:, None, :]
    square, variance = (np.diagonal(array, axis1=1, axis2=2) for array in (product, covariance))
    # the same value throughout leaves a variance of rounding errors
    deviation = np.sqrt(np.where(variance > 1e-12 * square, variance, np.nan))
    return np.clip(covariance / (deviation[:, :, None] * deviation[:, None, :]), -1, 1)


def _correct(between: FloatArray, first: FloatArray, second: FloatArray) -> FloatArray:
    """The correlation corrected for attenuation, NaN where a ceiling is not positive."""
    return between / np.sqrt(np.where((first > 0) & (second > 0), first * second, np.nan))


def _interval(whole: FloatArray, resampled: FloatArray, confidence: float) -> Interval:
    """The statistic with its percentile interval, of the resamples that have one."""
    resampled = resampled[~np.isnan(resampled)]
    value = float(whole[0])
    if np.isnan(value) or not resampled.size:
        return Interval(value, np.nan, np.nan)
    low, high = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(value, float(low), float(high))
