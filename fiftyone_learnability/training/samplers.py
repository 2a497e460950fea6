"""Torch samplers that choose training samples by difficulty.

A curriculum shows easy samples first and in the end all of them. Importance sampling shows hard samples more often and
corrects for it, so that the training objective stays the same.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch.utils.data import Sampler

from ..scores.checks import check_integer
from ..scores.formulas import IntArray
from ..scores.pacing import importance_weights, pacing


class CurriculumSampler(Sampler[int]):
    """Shows a DataLoader the easiest samples first, and more of them with each epoch.

    An epoch is one shuffled pass over the samples that are available, so early epochs are short. If the number of steps
    per epoch must not change, for example because of a learning rate schedule, set ``num_samples``: each epoch then has
    that many samples. If fewer are available, all of them come equally often, plus or minus once.

    As with torch's DistributedSampler, call :meth:`set_epoch` before each epoch; otherwise every epoch is the first
    one. The order depends on seed and epoch alone, and torch's random state does not change.

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
        epochs (10): number of epochs over which the share grows, from ``start`` in epoch 0 to 1 in epoch ``epochs``
        start (0.2): share of the samples that is available at the beginning, above 0 and at most 1
        power (2.0): parameter of "root"
        steps (5): parameter of "step"
        num_samples (None): samples per epoch, by default as many as are available
        seed (0): seed of the shuffling

    Raises:
        ValueError: if an argument is not as described, or a position is repeated or negative
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
        self.epochs, self.seed = check_integer("epochs", epochs, 1), check_integer("seed", seed, 0)
        self.num_samples = None if num_samples is None else check_integer("num_samples", num_samples, 1)
        self.pacing, self.start, self.power, self.steps = pacing, start, power, steps
        self.epoch = 0
        # raises for a pacing option that is out of range now, not during the training
        self.share(0)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that comes next, counted from 0; call it before each epoch."""
        self.epoch = check_integer("epoch", epoch, 0)

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
        # shuffled passes, the last one cut short
        passes = [generator.permutation(available) for _ in range(-(-count // len(available)))]
        return iter(np.concatenate(passes)[:count].tolist())


class ImportanceSampler(Sampler[int]):
    """Draws hard samples more often, with replacement, and holds the corrections that keep the loss unbiased.

    The dataset must return the position of each sample, so that the loop can correct its loss::

        sampler = ImportanceSampler(1 - learnability)
        loader = DataLoader(dataset, batch_size=128, sampler=sampler)
        for epoch in range(30):
            sampler.set_epoch(epoch)
            for images, labels, positions in loader:
                losses = F.cross_entropy(network(images), labels, reduction="none")
                (losses * sampler.corrections[positions]).mean().backward()

    As with torch's DistributedSampler, call :meth:`set_epoch` before each epoch; otherwise every epoch draws the same
    samples.

    Args:
        difficulty: ``(N,)`` difficulty of each sample of the dataset, in its order; see :func:`importance_weights`
        smoothing (0.5): see :func:`importance_weights`
        num_samples (None): samples per epoch, by default N
        seed (0): seed of the drawing

    Attributes:
        probabilities: ``(N,)`` probability of drawing each sample
        corrections: ``(N,)`` float32 tensor, the factor for the loss of each sample

    Raises:
        ValueError: if an argument is not as described
    """

    def __init__(
        self, difficulty: ArrayLike, smoothing: float = 0.5, *, num_samples: int | None = None, seed: int = 0
    ) -> None:
        super().__init__()
        self.probabilities, corrections = importance_weights(difficulty, smoothing)
        self.corrections = torch.from_numpy(corrections.astype(np.float32))
        count = len(self.probabilities) if num_samples is None else num_samples
        self.num_samples, self.seed = check_integer("num_samples", count, 1), check_integer("seed", seed, 0)
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that comes next, counted from 0; call it before each epoch."""
        self.epoch = check_integer("epoch", epoch, 0)

    def __len__(self) -> int:
        return self.num_samples

    def __iter__(self) -> Iterator[int]:
        generator = np.random.default_rng((self.seed, self.epoch))
        return iter(generator.choice(len(self.probabilities), self.num_samples, p=self.probabilities).tolist())


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
