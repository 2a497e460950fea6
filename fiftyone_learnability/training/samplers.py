"""Training by difficulty: which samples an epoch sees, how much each counts, and torch samplers that do it.

Three ways, which can be told apart by what they do to the objective: a curriculum shows easy samples first and in the
end all of them; self-paced weights leave out what is too hard at the moment; importance sampling shows hard samples
more often and corrects for it, so that the objective stays the same.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch.utils.data import Sampler

from ..scores.formulas import IntArray
from ..scores.pacing import importance_weights, pacing


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
