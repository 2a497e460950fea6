"""The progress reports of a training run. Does not import torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class EpochReport:
    """Figures of one epoch of a run.

    Attributes:
        epoch: the epoch, counted from 1
        epochs: T, the number of epochs of the run
        train_loss: mean cross-entropy over the augmented training images, while training
        train_accuracy: accuracy on the augmented training images, while training
        measured_accuracy: accuracy on the clean training images after the epoch, in eval mode (if ``measure`` is
            "online": accuracy of the training pass); None if the epoch was not measured
        seconds: wall time of the epoch, including its measurement
        num_samples: N, the number of training images
    """

    epoch: int
    epochs: int
    train_loss: float
    train_accuracy: float
    measured_accuracy: float | None
    seconds: float
    num_samples: int


class TrainingObserver:
    """Follows a training run; override what you need. An exception that a method raises ends the training."""

    def on_epoch(self, report: EpochReport) -> None:
        """Called after each epoch, after :meth:`on_state`."""

    def on_batch(self, count: int) -> None:
        """Called after each training step with its number of images."""

    def on_state(self, epoch: int, state: Callable[[], dict[str, Any]]) -> None:
        """Called after each epoch.

        Args:
            epoch: the epoch that has ended, counted from 1
            state: returns the state to resume from, also later: numbers, texts and tensors that
                ``torch.load(weights_only=True)`` reads and that no longer change. Only this call copies them from the
                device, so call it for a state that you keep
        """

    def on_incident(self, sentence: str) -> None:
        """Called with one sentence when the run departs from plan, for example when memory runs out."""
