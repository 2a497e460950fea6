"""Training by difficulty: which samples an epoch sees, how much each counts, and torch samplers that do it.

Three ways, which can be told apart by what they do to the objective: a curriculum shows easy samples first and in the
end all of them; self-paced weights leave out what is too hard at the moment; importance sampling shows hard samples
more often and corrects for it, so that the objective stays the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch.utils.data import Sampler

from .scores import FloatArray, IntArray

PACINGS = ("linear", "root", "step")
"""The pacing functions by name."""

KINDS = ("hard", "linear", "logarithmic")
"""The kinds of self-paced weights."""


def linear(progress: float, start: float = 0.2) -> float:
    r"""The share of the data that is available when it grows evenly.

    .. math:: c(t) = c_0 + (1 - c_0) \, t

    The linear competence of Platanios et al. 2019 (arXiv 1903.09848).

    Args:
        progress: t in [0, 1]
        start (0.2): c_0, the share at the beginning, above 0 and at most 1

    Returns:
        the share, from ``start`` to 1

    Raises:
        ValueError: if an argument is not as described

    Example::

        >>> linear(0.5, start=0.5)
        0.75
    """
    _check_progress(progress, start)
    return start + (1 - start) * progress


def root(progress: float, start: float = 0.2, power: float = 2.0) -> float:
    r"""The share of the data that is available when it grows fast at first and ever more slowly.

    .. math:: c(t) = \left( c_0^p + (1 - c_0^p) \, t \right)^{1/p}

    The root-p competence of Platanios et al. 2019 (arXiv 1903.09848), with p = 2 their square root: the growth is in
    inverse proportion to what is there, so that each new sample is drawn equally often before the next ones come.

    Args:
        progress: t in [0, 1]
        start (0.2): c_0, the share at the beginning, above 0 and at most 1
        power (2.0): p, at least 1; 1 is :func:`linear`

    Returns:
        the share, from ``start`` to 1

    Raises:
        ValueError: if an argument is not as described

    Example::

        >>> root(0.25, start=0.5)
        0.6614378277661477
    """
    _check_progress(progress, start)
    if not (math.isfinite(power) and power >= 1):
        raise ValueError(f"power must be a number of at least 1, not {power}")
    return (start**power + (1 - start**power) * progress) ** (1 / power)


def step(progress: float, start: float = 0.2, steps: int = 5) -> float:
    r"""The share of the data that is available when it grows in stairs, by the same factor each time.

    .. math:: c(t) = c_0 \, b^{\lfloor t s \rfloor}, \quad b = c_0^{-1/s}

    The fixed exponential pacing of Hacohen and Weinshall 2019 (arXiv 1904.03626), with the factor b (their "increase")
    chosen so that the last of the s stairs reaches all data.

    Args:
        progress: t in [0, 1]
        start (0.2): c_0, the share at the beginning, above 0 and at most 1
        steps (5): s, the number of times the share grows, at least 1

    Returns:
        the share, from ``start`` to 1

    Raises:
        ValueError: if an argument is not as described

    Example::

        >>> [step(progress, start=0.25, steps=2) for progress in (0.0, 0.49, 0.5, 1.0)]
        [0.25, 0.25, 0.5, 1.0]
    """
    _check_progress(progress, start)
    if steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")
    # progress is often a quotient of epochs, and 15 / 22 * 22 falls short of 15: a stair must not come an epoch late
    stairs = math.floor(progress * steps + 1e-9)
    return start ** (1 - stairs / steps)


def pacing(name: str, progress: float, start: float = 0.2, *, power: float = 2.0, steps: int = 5) -> float:
    """The share of the data, easiest first, that is available at some point of the training.

    Args:
        name: "linear" (:func:`linear`), "root" (:func:`root`) or "step" (:func:`step`)
        progress: how much of the growth is over, in [0, 1]
        start (0.2): the share at the beginning, above 0 and at most 1
        power (2.0): for "root"
        steps (5): for "step"

    Returns:
        the share, from ``start`` to 1

    Raises:
        ValueError: if an argument is not as described

    Example::

        >>> [round(pacing(name, 0.5), 3) for name in ("linear", "root", "step")]
        [0.6, 0.721, 0.381]
    """
    if name == "linear":
        return linear(progress, start)
    if name == "root":
        return root(progress, start, power)
    if name == "step":
        return step(progress, start, steps)
    raise ValueError(f"pacing must be one of {', '.join(PACINGS)}, not {name!r}")


def self_paced_weights(difficulty: ArrayLike, threshold: float, kind: str = "hard") -> FloatArray:
    r"""How much each sample counts when a learner leaves out what is too hard for it.

    The weights minimise :math:`\sum_i v_i d_i + f(v; \lambda)` over v in [0, 1], in closed form; 0 where
    :math:`d_i \ge \lambda`, and where :math:`d_i < \lambda`

    .. math::

        \text{hard: } v_i = 1, \quad
        \text{linear: } v_i = 1 - d_i / \lambda, \quad
        \text{logarithmic: } v_i = \frac{\log(d_i + \zeta)}{\log \zeta}, \ \zeta = 1 - \lambda

    Hard: Kumar et al. 2010, "Self-paced learning for latent variable models", with :math:`f = -\lambda \sum v_i`.
    Linear and logarithmic: Jiang et al. 2014, "Easy samples first", with
    :math:`f = \lambda \sum (v_i^2 / 2 - v_i)` and :math:`f = \sum (\zeta v_i - \zeta^{v_i} / \log \zeta)`. Raise the
    threshold as the training proceeds.

    Args:
        difficulty: ``(N,)`` difficulty of each sample, not negative: a loss, or 1 - learnability
        threshold: lambda, above 0; below 1 for "logarithmic"
        kind ("hard"): "hard", "linear" or "logarithmic"

    Returns:
        ``(N,)`` weights in [0, 1]

    Raises:
        ValueError: if an argument is not as described

    Example::

        >>> self_paced_weights([0.0, 0.2, 0.5], 0.4, "linear")
        array([1. , 0.5, 0. ])
    """
    d = _check_difficulty(difficulty)
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
    if not (math.isfinite(threshold) and threshold > 0):
        raise ValueError(f"threshold must be a positive number, not {threshold}")
    if kind == "hard":
        return (d < threshold).astype(np.float64)
    if kind == "linear":
        return np.maximum(0.0, 1 - d / threshold)
    if threshold >= 1:
        raise ValueError(f"threshold must be below 1 for logarithmic weights, not {threshold}")
    # log(d + 1 - threshold) / log(1 - threshold), which is 0 at the threshold; clipped, for the logarithms are rounded
    return np.clip(np.log1p(np.minimum(d, threshold) - threshold) / math.log1p(-threshold), 0, 1)


def importance_weights(difficulty: ArrayLike, smoothing: float = 0.5) -> tuple[FloatArray, FloatArray]:
    r"""How often to draw each sample so that hard ones come more often, and what makes up for it.

    .. math:: p_i = (1 - s) \frac{d_i}{\sum_j d_j} + \frac{s}{N}, \qquad w_i = \frac{1}{N p_i}

    A mean over samples drawn with the probabilities p, each multiplied by its correction w, is an unbiased estimate of
    the mean over all samples, whatever is averaged: :math:`\sum_i p_i w_i l_i = \frac{1}{N} \sum_i l_i`.

    The smoothing s trades variance. With s = 1 the sampling is uniform. The smaller s, the lower the variance where the
    difficulty is in proportion to the size of what is averaged (loss or gradient), and the higher where it is not: a
    sample that counts as easy and is not comes rarely and then with a large correction. No correction exceeds 1/s, so
    the second moment is at most 1/s times that of uniform sampling. One half is the mixture of Needell et al. 2014
    (arXiv 1310.5715); for deep networks see Katharopoulos and Fleuret 2018 (arXiv 1803.00942).

    Args:
        difficulty: ``(N,)`` difficulty of each sample, not negative, such as 1 - learnability; where all are 0, none
            is preferred
        smoothing (0.5): s, above 0 and at most 1

    Returns:
        ``(N,)`` probabilities, which sum to 1, and ``(N,)`` corrections

    Raises:
        ValueError: if an argument is not as described

    Example::

        >>> probabilities, corrections = importance_weights([0.0, 1.0], smoothing=0.5)
        >>> probabilities, corrections.round(3)
        (array([0.25, 0.75]), array([2.   , 0.667]))
    """
    d = _check_difficulty(difficulty)
    if not 0 < smoothing <= 1:
        raise ValueError(f"smoothing must be above 0 and at most 1, not {smoothing}")
    count, largest = len(d), d.max()
    # by the largest first, so that no sum overflows
    d = d / largest if largest > 0 else np.ones(count)
    probabilities = (1 - smoothing) * d / d.sum() + smoothing / count
    return probabilities, 1 / (count * probabilities)


class CurriculumSampler(Sampler[int]):
    """Shows a DataLoader the easiest samples first and more of them each epoch.

    An epoch is one pass, shuffled anew, over the samples that are available: epochs are short at first. Where the
    number of steps in an epoch must not change, as a learning rate schedule may ask for, give ``num_samples``: an epoch
    then has that many, and where fewer are available each comes equally often, give or take once.

    Like torch's DistributedSampler it must be told the epoch; without that it stays at the first. The order depends on
    seed and epoch alone, and the random state of torch is left as it is.

    Example::

        sampler = CurriculumSampler(order, epochs=10)
        loader = DataLoader(dataset, batch_size=128, sampler=sampler)
        for epoch in range(30):
            sampler.set_epoch(epoch)
            for images, labels in loader:
                ...

    Args:
        order: ``(N,)`` positions in the dataset, easiest first
        pacing ("linear"): the pacing function, see :func:`pacing`
        epochs (10): the epochs over which the share grows: in epoch 0 it is ``start``, from epoch ``epochs`` on it is 1
        start (0.2): the share at the beginning, above 0 and at most 1
        power (2.0): for "root"
        steps (5): for "step"
        num_samples (None): the samples of each epoch, by default as many as are available
        seed (0): the seed of the shuffling

    Raises:
        ValueError: if an argument is not as described, or a position comes twice or is negative
    """

    def __init__(
        self,
        order: ArrayLike,
        pacing: str = "linear",
        *,
        epochs: int = 10,
        start: float = 0.2,
        power: float = 2.0,
        steps: int = 5,
        num_samples: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.order = _check_order(order)
        _check_at_least("epochs", epochs, 1)
        _check_at_least("seed", seed, 0)
        if num_samples is not None:
            _check_at_least("num_samples", num_samples, 1)
        self.pacing, self.epochs, self.start, self.power, self.steps = pacing, epochs, start, power, steps
        self.num_samples, self.seed, self.epoch = num_samples, seed, 0
        # an option that does not fit shall fail here, not in the training
        self.share(0)

    def set_epoch(self, epoch: int) -> None:
        """Says which epoch comes next, counted from 0; call it before each epoch."""
        _check_at_least("epoch", epoch, 0)
        self.epoch = epoch

    def share(self, epoch: int) -> float:
        """The share of the samples that is available in an epoch, counted from 0."""
        progress = min(1.0, epoch / self.epochs)
        return pacing(self.pacing, progress, self.start, power=self.power, steps=self.steps)

    @property
    def num_available(self) -> int:
        """The number of samples that are available in this epoch, at least one."""
        return max(1, round(self.share(self.epoch) * len(self.order)))

    def __len__(self) -> int:
        return self.num_available if self.num_samples is None else self.num_samples

    def __iter__(self) -> Iterator[int]:
        generator = np.random.default_rng((self.seed, self.epoch))
        available, count = self.order[: self.num_available], len(self)
        # one shuffled pass after the other, the last one cut short
        passes = [generator.permutation(available) for _ in range(-(-count // len(available)))]
        return iter(np.concatenate(passes)[:count].tolist())


class ImportanceSampler(Sampler[int]):
    """Draws hard samples more often, with replacement, and holds the corrections that keep the loss unbiased.

    The dataset must give the position of each sample along with it, so that its loss can be corrected::

        sampler = ImportanceSampler(1 - learnability)
        loader = DataLoader(dataset, batch_size=128, sampler=sampler)
        for epoch in range(30):
            sampler.set_epoch(epoch)
            for images, labels, positions in loader:
                losses = F.cross_entropy(network(images), labels, reduction="none")
                (losses * sampler.corrections[positions]).mean().backward()

    Like torch's DistributedSampler it must be told the epoch; without that each epoch draws the same samples.

    Args:
        difficulty: ``(N,)`` difficulty of each sample of the dataset, in its order; see :func:`importance_weights`
        smoothing (0.5): likewise
        num_samples (None): the samples of an epoch, by default N
        seed (0): the seed of the drawing

    Attributes:
        probabilities: ``(N,)`` with which each sample is drawn
        corrections: ``(N,)`` float32 tensor, by which its loss is to be multiplied

    Raises:
        ValueError: if an argument is not as described
    """

    def __init__(
        self, difficulty: ArrayLike, smoothing: float = 0.5, *, num_samples: int | None = None, seed: int = 0
    ) -> None:
        super().__init__()
        self.probabilities, corrections = importance_weights(difficulty, smoothing)
        self.corrections = torch.from_numpy(corrections.astype(np.float32))
        self.num_samples = len(self.probabilities) if num_samples is None else num_samples
        _check_at_least("num_samples", self.num_samples, 1)
        _check_at_least("seed", seed, 0)
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Says which epoch comes next, counted from 0; call it before each epoch."""
        _check_at_least("epoch", epoch, 0)
        self.epoch = epoch

    def __len__(self) -> int:
        return self.num_samples

    def __iter__(self) -> Iterator[int]:
        generator = np.random.default_rng((self.seed, self.epoch))
        return iter(generator.choice(len(self.probabilities), self.num_samples, p=self.probabilities).tolist())


def _check_progress(progress: float, start: float) -> None:
    if not 0 <= progress <= 1:
        raise ValueError(f"progress must lie in [0, 1], not {progress}")
    if not 0 < start <= 1:
        raise ValueError(f"start must be above 0 and at most 1, not {start}")


def _check_difficulty(difficulty: ArrayLike) -> FloatArray:
    d = np.asarray(difficulty, dtype=np.float64)
    if d.ndim != 1 or not len(d):
        raise ValueError(f"difficulty must have the shape (samples,) with at least one sample, not {d.shape}")
    if missing := int(np.isnan(d).sum()):
        raise ValueError(f"difficulty holds NaN for {missing} of {len(d)} samples: leave out those without a score")
    if not np.isfinite(d).all() or d.min() < 0:
        raise ValueError(f"difficulty must be finite and not negative, but lies in {d.min()}..{d.max()}")
    return d


def _check_order(order: ArrayLike) -> IntArray:
    positions = np.asarray(order)
    if positions.ndim != 1 or not len(positions):
        raise ValueError(f"order must have the shape (samples,) with at least one sample, not {positions.shape}")
    if not np.issubdtype(positions.dtype, np.integer):
        raise ValueError(f"order must hold positions, which are whole numbers, not {positions.dtype}")
    if positions.min() < 0:
        raise ValueError(f"order must hold positions of at least 0, not {positions.min()}")
    if len(np.unique(positions)) < len(positions):
        raise ValueError("order holds some positions more than once")
    return positions.astype(np.int64)


def _check_at_least(name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, not {value!r}")
