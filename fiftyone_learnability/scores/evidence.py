"""Whether a network has learned anything: its final accuracy, held against chance.

A network that learned nothing still ranks samples, agrees or disagrees with others, and contradicts labels. None of
this says anything about the samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

SIGNIFICANCE = 0.01
"""The probability above which chance explains an accuracy."""

MARGIN = 0.05
"""A network must have come this far from chance to an accuracy of 1, or have reached one and a half times chance."""


@dataclass(frozen=True)
class Evidence:
    """The final accuracy of each run of a network, and what chance would give.

    Attributes:
        accuracy: the accuracy of each run on its clean training images after the last epoch
        chance: the share of the largest class, see :func:`chance_accuracy`
        num_samples: the number of training images
    """

    accuracy: tuple[float, ...]
    chance: float
    num_samples: int

    @classmethod
    def from_config(cls, entry: Mapping[str, Any]) -> Evidence:
        """Read what :meth:`to_config` returned."""
        return cls(tuple(entry["accuracy"]), entry["chance"], entry["num_samples"])

    def to_config(self) -> dict[str, Any]:
        """Return the attributes as values that JSON can hold."""
        return {**asdict(self), "accuracy": list(self.accuracy)}

    @property
    def learned(self) -> tuple[bool, ...]:
        """Whether each run exceeds chance, see :func:`exceeds_chance`."""
        return tuple(exceeds_chance(accuracy, self.num_samples, self.chance) for accuracy in self.accuracy)

    @property
    def problem(self) -> str | None:
        """Why the network is no evidence; None if any of its runs has learned.

        A run that learned nothing adds about the same to the scores of all samples, so it does not change what the
        other runs say.
        """
        if any(self.learned):
            return None
        accuracy = ", ".join(f"{value:.3f}" for value in self.accuracy)
        return (
            f"did not learn clearly more than chance: its final accuracy on the {self.num_samples} training images is "
            f"{accuracy}, and the largest class alone gives {self.chance:.3f}"
        )


def chance_accuracy(labels: ArrayLike) -> float:
    """Compute the accuracy of the best constant answer: the share of the largest class.

    It is never below 1 / classes, the accuracy of guessing.

    Args:
        labels: ``(N,)`` class of each sample; samples with the class -1 have no label and do not count

    Returns:
        the share, NaN if no sample has a label

    Example::

        >>> chance_accuracy([0, 0, 0, 1])
        0.75
    """
    known = np.asarray(labels)
    known = known[known >= 0]
    return float(np.unique(known, return_counts=True)[1].max() / len(known)) if known.size else float("nan")


def exceeds_chance(accuracy: float, num_samples: int, chance: float) -> bool:
    r"""Test whether an accuracy exceeds chance.

    Two conditions must hold. The accuracy is significant: the one-sided binomial probability of at least as many hits,
    :math:`P(X \ge a N)` with :math:`X \sim B(N, c)`, is below 0.01. And it is large: above
    :math:`c + \min(0.05 (1 - c), c / 2)`, because with many samples the smallest difference is significant. The term
    c / 2 matters from about ten classes on: with 1,000 classes an accuracy of .04 is forty times chance.

    Args:
        accuracy: a, the share of samples that the network classifies correctly
        num_samples: N
        chance: c, see :func:`chance_accuracy`, below 1

    Returns:
        True if the network has learned something

    Example::

        >>> exceeds_chance(0.098, 5000, 0.1), exceeds_chance(0.25, 5000, 0.1)
        (False, True)
    """
    is_large = accuracy > chance + min(MARGIN * (1 - chance), chance / 2)
    return is_large and binomial_tail(round(accuracy * num_samples), num_samples, chance) < SIGNIFICANCE


def binomial_tail(hits: int, trials: int, probability: float) -> float:
    r"""Compute the probability of at least so many hits, :math:`P(X \ge k)` with :math:`X \sim B(N, p)`.

    Args:
        hits: k, in 0..N
        trials: N
        probability: p, between 0 and 1

    Example::

        >>> binomial_tail(2, 2, 0.5)
        0.25
    """
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, trials + 1)))])
    k = np.arange(hits, trials + 1)
    log_ways = log_factorial[trials] - log_factorial[k] - log_factorial[trials - k]
    terms = np.exp(log_ways + k * np.log(probability) + (trials - k) * np.log1p(-probability))
    return float(min(terms.sum(), 1.0))
