"""Which samples to train on when not all can be: subsets by difficulty, as pure functions on learnability.

High learnability is easy. Samples of equal learnability stand in the order of their positions, so that the same call
gives the same subset; without ties the subset does not depend on the order in which the samples come. Numpy alone is
needed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .checks import check_integer, check_number
from .formulas import FloatArray, IntArray

STRATEGIES = ("hardest", "easiest", "mid", "stratified", "random")
"""The ways to choose a subset."""


def choose_subset(
    learnability: ArrayLike,
    fraction: float,
    strategy: str = "stratified",
    *,
    classes: ArrayLike | None = None,
    seed: int = 0,
) -> IntArray:
    r"""Chooses a share of the samples by how easily they are learned.

    ``hardest`` and ``easiest`` take one end of the order, ``mid`` those around the median. ``random`` is what the
    others must beat. ``stratified`` covers all difficulties: the samples in order of difficulty are split into as many
    strata as there are samples to choose, of sizes that differ by at most one, and one of each is taken at random.

    The subset has ``round(fraction * N)`` samples, at least one. With ``classes`` each strategy works within each
    class, and the subset keeps the balance of classes: class c gets its quota

    .. math:: q_c = n \, N_c / N

    rounded down, and what is left over goes one each to the classes of the largest remainders, the lower class number
    first among equals.

    Which end pays off depends on how much data there is: the hardest where it is plenty, the easiest where it is scarce
    (Sorscher et al. 2022, arXiv 2206.14486); at high pruning rates coverage beats both (Zheng et al. 2023, arXiv
    2210.15809).

    Args:
        learnability: ``(N,)`` learnability of each sample, or another score that is higher for easier samples
        fraction: the share to choose, above 0 and at most 1
        strategy ("stratified"): one of :data:`STRATEGIES`
        classes (None): ``(N,)`` class of each sample; without it, all count as one class
        seed (0): for the strategies that draw

    Returns:
        ``(n,)`` positions of the chosen samples, easiest first

    Raises:
        ValueError: if the scores are not one-dimensional, empty or hold NaN, or an option is not as described

    Example::

        >>> choose_subset([0.9, 0.1, 0.5, 0.7], 0.5, "hardest")
        array([2, 1])
        >>> choose_subset([0.9, 0.1, 0.5, 0.7], 0.5, "hardest", classes=[0, 1, 1, 0])
        array([3, 1])
    """
    scores = _check_scores(learnability)
    check_number("fraction", fraction, above=0, at_most=1)
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)}, not {strategy!r}")
    check_integer("seed", seed, 0)
    numbers = _class_numbers(classes, len(scores))
    size = max(1, round(fraction * len(scores)))
    order = order_by_difficulty(scores)
    generator = np.random.default_rng(seed)
    chosen = np.zeros(len(scores), dtype=np.bool_)
    takes = _apportion(np.bincount(numbers), size).tolist()
    for members, take in zip(_by_class(order, numbers), takes, strict=True):
        chosen[members[_choose_in_order(len(members), take, strategy, generator)]] = True
    return order[chosen[order]]


def order_by_difficulty(learnability: ArrayLike, classes: ArrayLike | None = None) -> IntArray:
    r"""The positions of the samples, easiest first.

    With ``classes`` the order is balanced: sample number r = 0, 1, ... of the N_c of its class, by difficulty, stands
    at (r + 1/2) / N_c. Each prefix then holds about the same share of every class (of classes of equal size the same
    number, give or take one), so that a curriculum does not begin with the easy classes alone.

    Args:
        learnability: ``(N,)`` learnability of each sample, or another score that is higher for easier samples
        classes (None): ``(N,)`` class of each sample

    Returns:
        ``(N,)`` positions

    Raises:
        ValueError: if the scores are not one-dimensional, empty or hold NaN, or the classes are of another shape

    Example::

        >>> order_by_difficulty([0.5, 0.9, 0.7, 0.1])
        array([1, 2, 0, 3])
        >>> order_by_difficulty([0.5, 0.9, 0.7, 0.1], classes=[0, 1, 1, 0])
        array([1, 0, 2, 3])
    """
    scores = _check_scores(learnability)
    # stable, so that ties stay in the order of positions
    order = np.argsort(-scores, kind="stable").astype(np.int64)
    if classes is None:
        return order
    numbers = _class_numbers(classes, len(scores))
    place = np.empty(len(scores))
    for members in _by_class(order, numbers):
        place[members] = (2 * np.arange(len(members)) + 1) / (2 * len(members))
    return order[np.argsort(place[order], kind="stable")]


def _choose_in_order(count: int, take: int, strategy: str, generator: np.random.Generator) -> IntArray:
    """Which of ``count`` samples, from easiest to hardest, are taken."""
    if strategy == "easiest":
        return np.arange(take)
    if strategy == "hardest":
        return np.arange(count - take, count)
    if strategy == "mid":
        return np.arange(take) + (count - take) // 2
    if strategy == "random":
        # of the order, not of the positions: the samples drawn do not depend on how they were numbered
        return generator.choice(count, take, replace=False)
    # the bounds i * count / take, rounded, so that the larger strata are spread over all difficulties
    bounds = (2 * np.arange(take + 1) * count + take) // max(1, 2 * take)
    return generator.integers(bounds[:-1], bounds[1:])


def _by_class(order: IntArray, numbers: IntArray) -> list[IntArray]:
    """The positions of each class, in the order given."""
    grouped = order[np.argsort(numbers[order], kind="stable")]
    return np.split(grouped, np.cumsum(np.bincount(numbers))[:-1])


def _apportion(counts: IntArray, size: int) -> IntArray:
    """Shares ``size`` out in proportion to ``counts`` by the largest remainder, in whole numbers and so exactly."""
    shares, remainders = np.divmod(counts * size, counts.sum())
    # stable, so that the lower class number comes first among equals
    first = np.argsort(-remainders, kind="stable")[: size - shares.sum()]
    shares[first] += 1
    return shares


def _check_scores(learnability: ArrayLike) -> FloatArray:
    scores = np.asarray(learnability, dtype=np.float64)
    if scores.ndim != 1:
        raise ValueError(f"learnability must have one dimension, not the shape {scores.shape}")
    if not len(scores):
        raise ValueError("learnability is empty: there is nothing to choose from")
    if missing := int(np.isnan(scores).sum()):
        raise ValueError(
            f"learnability holds NaN for {missing} of {len(scores)} samples: leave out those without a score"
        )
    return scores


def _class_numbers(classes: ArrayLike | None, count: int) -> IntArray:
    """The classes as numbers from 0 without gaps."""
    if classes is None:
        return np.zeros(count, dtype=np.int64)
    given: NDArray[np.generic] = np.asarray(classes)
    if given.shape != (count,):
        raise ValueError(f"classes must have the shape {(count,)}, not {given.shape}")
    return np.unique(given, return_inverse=True)[1].astype(np.int64)
