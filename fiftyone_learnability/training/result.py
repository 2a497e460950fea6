"""The outcome of a training run."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..scores.formulas import FloatArray
from .arithmetic import arithmetic
from .context import own_settings
from .device import Placement
from .measuring import measure
from .observer import EpochReport
from .pixels import ResidentImages
from .tracker import LearnabilityTracker


@dataclass
class TrainingResult:
    """A finished training run.

    Attributes:
        tracker: the accumulated scores
        reports: one report per epoch
        network: the trained network, on the device
        mean: ``(C,)`` mean of the training images in [0, 1]
        std: ``(C,)`` standard deviation of the training images in [0, 1]
        placement: device, precision and layout of the run
        dynamics: ``(M, N)`` float16 probability of the true label after each measured epoch; None if not recorded
        seconds: wall time of the whole run
        incidents: one sentence per departure from plan, for example a lack of memory
        stopped: why the training ended before its last epoch; None if it did not
    """

    tracker: LearnabilityTracker
    reports: list[EpochReport]
    network: nn.Module
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    placement: Placement
    dynamics: NDArray[np.float16] | None = None
    seconds: float = 0.0
    incidents: list[str] = field(default_factory=list)
    stopped: str | None = None

    def scores(self) -> dict[str, FloatArray]:
        """``(N,)`` each score over the measured epochs, by name; see :meth:`LearnabilityTracker.scores`.

        The learned epoch counts all epochs of the training, measured or not, so that it compares with that of a
        training measured more often. Where the last epoch misses, it is the last epoch plus one.
        """
        scores = self.tracker.scores()
        measured = [report.epoch for report in self.reports if report.measured_accuracy is not None]
        if len(measured) < len(self.reports):
            epochs = np.array([*measured, self.reports[-1].epoch + 1], np.float64)
            scores["learned_epoch"] = epochs[scores["learned_epoch"].astype(np.int64) - 1]
        return scores


def predict_logits(result: TrainingResult, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Logits of a trained network for images, in eval mode, normalised like its training images.

    Args:
        result: a finished training run
        images: ``(M, H, W, C)`` uint8, with the size and channels of the training images

    Returns:
        ``(M, classes)`` logits
    """
    device = result.placement.device
    with own_settings(device), arithmetic(device):
        data = ResidentImages(images, result.mean, result.std, device, result.placement.layout)
        parts = [logits.cpu() for _, logits in measure(result.network, data, result.placement)]
        return torch.cat(parts).numpy()
