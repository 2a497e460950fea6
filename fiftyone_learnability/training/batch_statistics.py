"""Fresh statistics of batch norms for the measurement after an epoch of few steps.

In eval mode a batch norm uses running statistics: with momentum m, each training step keeps the share 1 - m of what
they were. They average over about 1/m steps, during which the weights change. With few steps per epoch they lag behind
the weights by several epochs, and a measurement with them says little about the weights: a torchvision mobilenet_v3
(momentum 0.01) stays at chance for dozens of epochs while its training loss falls.

The criterion: statistics are *stale* if more than :data:`MOST_HISTORY` of them stems from earlier epochs, that is if
(1 - m) ** steps > 0.05: fewer than 29 steps per epoch at torch's default momentum 0.1, fewer than 299 at 0.01. Then the
mean of the batch statistics over one epoch of clean images, with the weights as they are, takes their place while the
network is measured (the "precise" batch norm of Wu & Johnson 2021, arXiv 2105.07576, section 3). The running statistics
return afterwards, so that the training does not change by a bit, and neither does a run with enough steps.

The cost is one more forward pass over the images for each measurement, a fifth to a third of an epoch's time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .device import Placement, autocast
from .pixels import ResidentImages

MOST_HISTORY = 0.05
"""The largest share of running statistics that may stem from earlier epochs."""

_NORMS = (
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm),
    *(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
)


def stale_norms(network: nn.Module, steps: int) -> list[nn.Module]:
    """The norms of a network whose running statistics lag behind its weights.

    Frozen statistics are left alone: those of momentum 0, and of norms that the network keeps in eval mode.

    Args:
        network: the network, in training mode
        steps: training steps per epoch
    """
    return [
        module
        for module in network.modules()
        if isinstance(module, _NORMS)
        and module.track_running_stats
        and module.training
        and module.momentum != 0
        # without a momentum, the statistics are the mean over all steps so far
        and (module.momentum is None or (1 - module.momentum) ** steps > MOST_HISTORY)
    ]


@torch.no_grad()
def estimate_statistics(
    network: nn.Module,
    norms: Sequence[nn.Module],
    images: ResidentImages,
    batches: Sequence[Tensor],
    placement: Placement,
) -> None:
    """Set the running statistics of some norms to the mean of the batch statistics, weighted by size.

    All else is in eval mode: nothing is drawn at random, and each norm sees what it will see while measured.

    Args:
        network: the network
        norms: the norms
        images: the clean images
        batches: ``(B,)`` indices of the images of each batch, at least two
        placement: device and precision
    """
    was_training, momenta = network.training, [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.training = True
    seen = 0
    try:
        for batch in batches:
            seen += len(batch)
            for norm in norms:
                norm.momentum = len(batch) / seen  # type: ignore[assignment]
            with autocast(placement):
                network(images.batch(batch))
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        network.train(was_training)


@contextmanager
def restored_statistics(norms: Sequence[nn.Module]) -> Iterator[None]:
    """Restore the running statistics of some norms at the end, in place."""
    buffers = [buffer for norm in norms for buffer in norm.buffers(recurse=False)]
    before = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)
