"""The measuring pass: the logits of a network for all clean images, in eval mode.

A batch norm in eval mode scales and shifts the output of the convolution before it, and can be folded into that
convolution's weights (Jacob et al. 2018, arXiv 1712.05877, section 3.2): the same function, apart from the order of
rounding, with half of the passes over memory.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .device import Placement, autocast
from .pixels import ResidentImages

CPU_BATCH, GPU_BATCH = 128, 1000
"""The most images in a batch of the measuring pass; on a CPU, larger batches no longer fit into its caches."""

LARGEST_IMAGES = 64
"""Height and width in pixels up to which a batch has that many images; of larger ones it has fewer, by their area."""

BYTES_PER_PIXEL = 3 * 64 * 4
"""Memory that a pixel needs in the measuring pass: input, output and workspace of a layer of 64 float32 channels."""

ROWS_AT_ONCE = 4096
"""Images measured within one autocast, which converts the weights once."""


def measuring_batch(device: torch.device, image_size: int, at_least: int = 1, memory: int | None = None) -> int:
    """The number of images to measure at once: as many as the device works well with, fewer where they are large.

    Args:
        device: the device
        image_size: height and width of the images in pixels
        at_least (1): a batch that is known to fit, such as that of a training step, which needs more memory
        memory (None): bytes that the device can still allocate; half of them are used
    """
    most = CPU_BATCH if device.type == "cpu" else GPU_BATCH
    area = max(image_size, LARGEST_IMAGES) ** 2
    batch = most * LARGEST_IMAGES**2 // area
    if memory is not None:
        batch = min(batch, memory // 2 // (BYTES_PER_PIXEL * image_size**2))
    return min(most, max(at_least, batch, 1))


@torch.no_grad()
def measure(
    network: nn.Module, images: ResidentImages, placement: Placement, batch: int | None = None, folds: bool = False
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the logits of all images, in eval mode, without waiting for the device.

    Args:
        network: the network; it does not change
        images: the clean images
        placement: device and precision
        batch (None): number of images in a batch; by default what :func:`measuring_batch` advises
        folds (False): True folds batch norms, see :func:`folds_safely`

    Yields:
        ``(B,)`` indices of images, and their ``(B, classes)`` logits in float32
    """
    was_training = network.training
    network.eval()
    measured = fold_batch_norms(network) if folds else network
    size = batch or measuring_batch(placement.device, images.size)
    indices = torch.arange(len(images), device=placement.device)
    try:
        for several in indices.split(size * max(1, ROWS_AT_ONCE // size)):
            with autocast(placement):
                logits = [measured(images.batch(part)).float() for part in several.split(size)]
            yield several, torch.cat(logits)
    finally:
        network.train(was_training)


@torch.no_grad()
def fold_batch_norms(network: nn.Module) -> nn.Module:
    """A copy of a network in eval mode with its batch norms folded into the convolutions before them.

    Only a batch norm that directly follows a convolution in a plain ``nn.Sequential`` is folded, and only if neither
    has a hook.

    Args:
        network: the network, in eval mode

    Returns:
        the copy, or the network itself if it has nothing to fold or cannot be copied
    """
    if not any(_foldable(module) for module in network.modules()):
        return network
    try:
        folded = copy.deepcopy(network)
    # a user's network may hold anything
    except Exception:  # noqa: BLE001
        return network
    for module in list(folded.modules()):
        for index in _foldable(module):
            conv, norm = module[index], module[index + 1]  # type: ignore[index]
            module[index] = fuse_conv_bn_eval(conv, norm)  # type: ignore[operator]
            module[index + 1] = nn.Identity()  # type: ignore[operator]
    return folded


@torch.no_grad()
def folds_safely(network: nn.Module, in_channels: int, image_size: int) -> bool:
    """Return True if a network gives the same logits with its batch norms folded.

    This is tried out, because a network may call its layers in any order, whatever container they are in.

    Args:
        network: the network, on the CPU; it does not change
        in_channels: channels of the images
        image_size: height and width of the images in pixels
    """
    generator = torch.Generator().manual_seed(0)
    try:
        tried = copy.deepcopy(network).eval()
        for module in tried.modules():
            # a fresh batch norm changes nothing, wherever it is called
            if (
                isinstance(module, nn.BatchNorm2d)
                and module.running_mean is not None
                and module.running_var is not None
            ):
                module.running_mean.normal_(generator=generator)
                module.running_var.uniform_(0.5, 2, generator=generator)
        images = torch.randn((2, in_channels, image_size, image_size), generator=generator)
        expected = tried(images)
        folded = fold_batch_norms(tried)(images)
    # a user's network may raise anything, and is then measured unfolded
    except Exception:  # noqa: BLE001
        return False
    scale = expected.abs().max().clamp(min=1e-30)
    return bool(torch.allclose(folded / scale, expected / scale, rtol=0, atol=1e-4))


def _foldable(module: nn.Module) -> list[int]:
    """The positions in a container of convolutions into which the batch norm behind them can be folded."""
    if type(module) is not nn.Sequential:
        return []
    return [
        index
        for index, (first, second) in enumerate(zip(module, list(module)[1:], strict=False))
        if type(first) is nn.Conv2d
        and type(second) is nn.BatchNorm2d
        and second.track_running_stats
        and not (first.training or second.training)
        and not (_is_hooked(first) or _is_hooked(second))
    ]


def _is_hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)
