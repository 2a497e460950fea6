"""Sums over the epochs of one run, from which the scores are computed: O(N) memory, whatever the number of epochs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from ..scores.formulas import (
    FloatArray,
    deviation_over_epochs,
    forgetting_of_counts,
    learned_epoch_of_streak,
    mean_over_epochs,
)
from .epoch_buffer import Epoch


@dataclass
class RunSums:
    """Sums over the epochs that saw each of N samples: ``(N,)`` tensors on the CPU.

    Attributes:
        epoch_count: int64, number of epochs
        hit_count: int64, number of hits
        probability_sum: float64, sum of the probabilities of the label
        squares: float64, sum of the squared deviations of the probability from its mean
        margin_sum: float64, sum of the margins
        forgotten: int64, number of misses right after a hit
        streak: int64, number of hits in a row at the end
        first_hit: bool, True if the first epoch was a hit
        error: float64, length of the error vector after the epoch of EL2N, NaN before
    """

    epoch_count: Tensor
    hit_count: Tensor
    probability_sum: Tensor
    squares: Tensor
    margin_sum: Tensor
    forgotten: Tensor
    streak: Tensor
    first_hit: Tensor
    error: Tensor

    @classmethod
    def zeros(cls, num_samples: int) -> RunSums:
        """The sums before the first epoch."""

        def zeros(dtype: torch.dtype) -> Tensor:
            return torch.zeros(num_samples, dtype=dtype)

        return cls(
            epoch_count=zeros(torch.int64),
            hit_count=zeros(torch.int64),
            probability_sum=zeros(torch.float64),
            squares=zeros(torch.float64),
            margin_sum=zeros(torch.float64),
            forgotten=zeros(torch.int64),
            streak=zeros(torch.int64),
            first_hit=zeros(torch.bool),
            error=torch.full((num_samples,), torch.nan, dtype=torch.float64),
        )

    def add(self, epoch: Epoch, takes_error: bool) -> None:
        """Add an epoch.

        Args:
            epoch: the epoch
            takes_error: True if EL2N is taken after this epoch
        """
        seen, hit = epoch.seen, epoch.hit
        value = torch.where(seen, epoch.probability.double(), 0.0)
        before = self.probability_sum / self.epoch_count.clamp(min=1)
        self.forgotten += seen & ~hit & (self.streak > 0)
        self.streak.add_(seen).mul_(hit | ~seen)
        self.first_hit |= hit & (self.epoch_count == 0)
        self.epoch_count += seen
        self.hit_count += hit
        self.probability_sum += value
        self.margin_sum += torch.where(seen, epoch.margin.double(), 0.0)
        # Welford's update: exactly zero for a probability that never moves
        after = self.probability_sum / self.epoch_count.clamp(min=1)
        self.squares += (value - before).mul_(value - after).mul_(seen)
        if takes_error:
            self.error = torch.where(seen, epoch.error.double(), torch.nan)

    def merge(self, later: RunSums) -> None:
        """Add the sums of other samples, or of later epochs."""
        ours, theirs = self.epoch_count, later.epoch_count
        both = (ours > 0) & (theirs > 0)
        # the parallel form of Welford's update (Chan et al. 1979)
        between = later.probability_sum / theirs.clamp(min=1) - self.probability_sum / ours.clamp(min=1)
        weight = ours.double() * theirs.double() / (ours + theirs).clamp(min=1)
        self.squares += later.squares + torch.where(both, between.square() * weight, 0.0)
        self.forgotten += later.forgotten + (both & (self.streak > 0) & ~later.first_hit)
        self.streak = torch.where(later.streak == theirs, self.streak + later.streak, later.streak)
        self.first_hit = torch.where(ours > 0, self.first_hit, later.first_hit)
        # the early epoch of the later part is not early for samples that had epochs before
        self.error = torch.where(ours > 0, self.error, later.error)
        self.probability_sum += later.probability_sum
        self.margin_sum += later.margin_sum
        self.hit_count += later.hit_count
        self.epoch_count += later.epoch_count

    def scores(self) -> dict[str, FloatArray]:
        """``(N,)`` each score that needs no mean prediction, by name; NaN for a sample without epochs."""
        epochs, hits = self.epoch_count.numpy(), self.hit_count.numpy()
        return {
            "learnability": mean_over_epochs(self.probability_sum.numpy(), epochs),
            "hits": mean_over_epochs(hits, epochs),
            "variability": deviation_over_epochs(self.squares.numpy(), epochs),
            "forgetting": forgetting_of_counts(self.forgotten.numpy(), hits, epochs),
            "learned_epoch": learned_epoch_of_streak(self.streak.numpy(), epochs),
            "aum": mean_over_epochs(self.margin_sum.numpy(), epochs),
            "el2n": self.error.numpy().copy(),
        }

    def state_dict(self) -> dict[str, Tensor]:
        """Copies of the tensors by name."""
        return {entry.name: getattr(self, entry.name).clone() for entry in fields(self)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any], num_samples: int) -> RunSums:
        """The sums in a state that :meth:`state_dict` has returned.

        Raises:
            ValueError: if the state lacks a tensor, or has one of another type or number of samples
        """
        sums = {}
        for name, wanted in cls.zeros(num_samples).state_dict().items():
            tensor = state.get(name)
            if not isinstance(tensor, Tensor) or tensor.dtype != wanted.dtype or tensor.ndim != 1:
                raise ValueError(f"the state has no tensor {name} of {wanted.dtype}")
            if tensor.shape != wanted.shape:
                raise ValueError(f"the state has {len(tensor)} samples; this tracker has {len(wanted)}")
            sums[name] = tensor.cpu().clone()
        return cls(**sums)
