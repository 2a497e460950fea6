"""The options of a training run, checked when they are made. Loads no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

DEFAULT_BOUND = 0.98
"""Spearman's correlation between the ranking now and one window ago from which on it counts as settled."""


MEASUREMENTS = ("exact", "online")
"""Where probabilities are taken: after the epoch, on all clean images; or in the training pass itself."""


def default_learning_rate(batch_size: int) -> float:
    """The peak learning rate that goes with a batch size: 0.1 for 128 images, in proportion for others.

    The linear scaling rule of Goyal et al. 2017 (arXiv 1706.02677). Without it a small batch, which small data sets
    need to get enough steps, would be trained at a rate that VGG-16 does not learn at.

    Args:
        batch_size: images in a step
    """
    return 0.1 * batch_size / 128


def default_el2n_epoch(epochs: int) -> int:
    """The early epoch for EL2N: a tenth of the training, epoch 20 of 200 as in Paul et al. 2021 (arXiv 2107.07075).

    Args:
        epochs: T, the epochs of the training
    """
    return max(1, round(epochs / 10))


@dataclass(frozen=True)
class TrainingOptions:
    """The options of a training run, the same for all networks.

    Attributes:
        epochs: T, the number of passes over the images
        batch_size: images in a step, at least two; the batches of an epoch differ by at most one image, and none is
            dropped
        lr: the learning rate at the end of the warm-up
        weight_decay: the weight decay, on all weights
        crop_padding: pixels of padding for the random crop; 0 for no crop
        horizontal_flip: whether half of the images are mirrored
        measure: "exact" measures the clean images in eval mode after the epoch; "online" takes the probabilities from
            the training pass, of augmented images while the weights change, which costs nothing
        measure_every: k, so that the epochs T, T - k, T - 2k, ... are measured and the others left out
        stop_when_stable: the training ends once its ranking has settled to this rank correlation, see
            :class:`~fiftyone_learnability.training.stopping.RankingStability`; None trains to the end
        compile: True compiles the network with ``torch.compile``; if that fails, it is trained uncompiled
        record_dynamics: True keeps the probability of every label after every measured epoch: two bytes each
        record_predictions: True keeps the mean prediction: eight bytes per sample and class
        el2n_epoch: the early epoch after which EL2N is taken, or the next measured one; None for
            :func:`default_el2n_epoch`
    """

    epochs: int = 200
    batch_size: int = 128
    lr: float = 0.1
    weight_decay: float = 5e-4
    crop_padding: int = 4
    horizontal_flip: bool = True
    measure: str = "exact"
    measure_every: int = 1
    stop_when_stable: float | None = None
    compile: bool = False
    record_dynamics: bool = False
    record_predictions: bool = True
    el2n_epoch: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 2), ("crop_padding", 0), ("measure_every", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
                raise ValueError(f"{name} must be a whole number of at least {least}, not {value!r}")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ValueError(f"lr must be a positive number, not {self.lr!r}")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise ValueError(f"weight_decay must not be negative, not {self.weight_decay!r}")
        if self.measure not in MEASUREMENTS:
            raise ValueError(f"measure must be 'exact' or 'online', not {self.measure!r}")
        if self.measure_every > self.epochs:
            raise ValueError(
                f"measure_every must be at most {self.epochs}, the epochs of the training, not {self.measure_every}"
            )
        if self.stop_when_stable is not None and not 0 < self.stop_when_stable < 1:
            raise ValueError(
                f"stop_when_stable must be a rank correlation between 0 and 1, such as {DEFAULT_BOUND}, not "
                f"{self.stop_when_stable!r}"
            )
        if not isinstance(self.compile, bool):
            raise ValueError(f"compile must be True or False, not {self.compile!r}")
        if self.el2n_epoch is not None and not 1 <= self.el2n_epoch <= self.epochs:
            raise ValueError(
                f"el2n_epoch must lie in 1..{self.epochs}, the epochs of the training, not {self.el2n_epoch}"
            )

    @property
    def measured_epochs(self) -> range:
        """The epochs that are measured, counted from 1, if the training runs to its end; the last always is."""
        return range((self.epochs - 1) % self.measure_every + 1, self.epochs + 1, self.measure_every)
