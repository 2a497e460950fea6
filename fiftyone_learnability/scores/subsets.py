"""Subsets of samples by difficulty, and the order of samples from easy to hard.

Samples of equal learnability are ordered by position, so that the same call always returns the same subset. Without
ties the subset does not depend on the order of the samples.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .checks import check_integer, check_number
from .formulas import FloatArray, IntArray

STRATEGIES = ("hardest", "easiest", "mid", "stratified", "random")
"""The names of the strategies to choose a subset."""


def choose_subset(
    learnability: ArrayLike,
    fraction: float,
    strategy: str = "stratified",
    *,
    classes: ArrayLike | None = None,
    seed: int = 0,
) -> IntArray:
    r"""Choose a share of the samples by their learnability.

    ``hardest`` and ``easiest`` take one end of the order, ``mid`` the samples around the median, and ``random`` is the
    baseline. ``stratified`` covers all difficulties: it splits the ordered samples into as many strata as there are
    samples to choose, of sizes that differ by at most one, and draws one sample from each.

    The subset has ``round(fraction * N)`` samples, at least one. With ``classes`` the strategy is applied within each
    class, and the subset keeps the class balance: class c gets its quota

    .. math:: q_c = n \, N_c / N

    rounded down. The remaining samples go to the classes with the largest remainders, one each, and to the lower class
    number first if remainders are equal.

    Which strategy is best depends on the amount of data: the hardest samples if there is plenty, the easiest if there
    is little (Sorscher et al. 2022, arXiv 2206.14486). For small subsets, covering all difficulties is better than both
    (Zheng et al. 2023, arXiv 2210.15809).

    Args:
        learnability: ``(N,)`` learnability of each sample, or another score that is high for easy samples
        fraction: the share to choose, above 0 and at most 1
        strategy ("stratified"): one of :data:`STRATEGIES`
        classes (None): ``(N,)`` class of each sample; by default all samples belong to one class
        seed (0): the seed of "stratified" and "random"

    Returns:
        ``(n,)`` positions of the chosen samples, easiest first

    Raises:
        ValueError: if the scores are not one-dimensional, empty or contain NaN, or an option is out of range

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
    class_numbers = _number_classes(classes, len(scores))
    size = max(1, round(fraction * len(scores)))
    order = order_by_difficulty(scores)
    generator = np.random.default_rng(seed)
    chosen = np.zeros(len(scores), dtype=np.bool_)
    quotas = _apportion(np.bincount(class_numbers), size).tolist()
    for members, quota in zip(_split_by_class(order, class_numbers), quotas, strict=True):
        chosen[members[_choose_in_order(len(members), quota, strategy, generator)]] = True
    return order[chosen[order]]


def order_by_difficulty(learnability: ArrayLike, classes: ArrayLike | None = None) -> IntArray:
    r"""Order the samples from easiest to hardest.

    With ``classes`` the order is balanced, so that a curriculum does not begin with the easy classes alone: sample
    r = 0, 1, ... of the N_c samples of its class, from easy to hard, is placed at (r + 1/2) / N_c. Every prefix of
    the order then contains about the same share of each class.

    Args:
        learnability: ``(N,)`` learnability of each sample, or another score that is high for easy samples
        classes (None): ``(N,)`` class of each sample

    Returns:
        ``(N,)`` positions

    Raises:
        ValueError: if the scores are not one-dimensional, empty or contain NaN, or the classes have another shape

    Example::

        >>> order_by_difficulty([0.5, 0.9, 0.7, 0.1])
        array([1, 2, 0, 3])
        >>> order_by_difficulty([0.5, 0.9, 0.7, 0.1], classes=[0, 1, 1, 0])
        array([1, 0, 2, 3])
    """
    scores = _check_scores(learnability)
    # stable, so that ties are ordered by position
    order = np.argsort(-scores, kind="stable").astype(np.int64)
    if classes is None:
        return order
    place = np.empty(len(scores))
    for members in _split_by_class(order, _number_classes(classes, len(scores))):
        place[members] = (2 * np.arange(len(members)) + 1) / (2 * len(members))
    return order[np.argsort(place[order], kind="stable")]


def _choose_in_order(count: int, quota: int, strategy: str, generator: np.random.Generator) -> IntArray:
    """Choose ``quota`` of ``count`` samples, which are numbered from easiest to hardest."""
    if strategy == "easiest":
        return np.arange(quota)
    if strategy == "hardest":
        return np.arange(count - quota, count)
    if strategy == "mid":
        return np.arange(quota) + (count - quota) // 2
    if strategy == "random":
        return generator.choice(count, quota, replace=False)
    # the bounds i * count / quota are rounded, so that the larger strata are spread over all difficulties
    bounds = (2 * np.arange(quota + 1) * count + quota) // max(1, 2 * quota)
    return generator.integers(bounds[:-1], bounds[1:])


def _split_by_class(order: IntArray, class_numbers: IntArray) -> list[IntArray]:
    """Split the ordered positions by class; they stay in order."""
    grouped = order[np.argsort(class_numbers[order], kind="stable")]
    return np.split(grouped, np.cumsum(np.bincount(class_numbers))[:-1])


def _apportion(counts: IntArray, size: int) -> IntArray:
    """Divide ``size`` in proportion to ``counts`` by the method of largest remainders, exactly, in integers."""
    shares, remainders = np.divmod(counts * size, counts.sum())
    # stable, so that the lower class number comes first if remainders are equal
    first = np.argsort(-remainders, kind="stable")[: size - shares.sum()]
    shares[first] += 1
    return shares


def _check_scores(learnability: ArrayLike) -> FloatArray:
    scores = np.asarray(learnability, dtype=np.float64)
    if scores.ndim != 1:
        raise ValueError(f"learnability must have one dimension, not the shape {scores.shape}")
    if not len(scores):
        raise ValueError("learnability is empty: there are no samples to choose from")
    if missing := int(np.isnan(scores).sum()):
        raise ValueError(f"learnability is NaN for {missing} of {len(scores)} samples: remove samples without a score")
    return scores


def _number_classes(classes: ArrayLike | None, count: int) -> IntArray:
    """Number the classes from 0 without gaps."""
    if classes is None:
        return np.zeros(count, dtype=np.int64)
    values: NDArray[np.generic] = np.asarray(classes)
    if values.shape != (count,):
        raise ValueError(f"classes must have the shape {(count,)}, not {values.shape}")
    return np.unique(values, return_inverse=True)[1].astype(np.int64)
