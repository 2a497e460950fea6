"""The learning rate of each training step."""

from __future__ import annotations

import math

WARMUP_EPOCHS = 2.0
WARMUP_SHARE = 0.1
"""The warm-up takes WARMUP_EPOCHS, but at most this share of a run."""


def learning_rate(step: int, total_steps: int, steps_per_epoch: int, peak: float) -> float:
    """Learning rate of one step: a linear warm-up over 2 epochs (a tenth of a short run), then a cosine to zero.

    Args:
        step: the step, counted from 0
        total_steps: steps of the whole run
        steps_per_epoch: steps of one epoch
        peak: learning rate at the end of the warm-up
    """
    warmup = max(1.0, min(WARMUP_EPOCHS * steps_per_epoch, WARMUP_SHARE * total_steps))
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    return peak * (1 + math.cos(math.pi * (step - warmup) / (total_steps - warmup))) / 2
