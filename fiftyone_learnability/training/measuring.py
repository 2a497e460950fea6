"""The measuring pass: what a network says of clean images, in eval mode, faster than by calling it as it is.

A batch norm in eval mode is a scaling and a shift of what the convolution before it gives, and goes into that
convolution's weights (Jacob et al. 2018, arXiv 1712.05877, section 3.2): the same function, but for the order of
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
"""Images in a batch of the measuring pass. On a CPU more of them no longer fit into its caches."""

_ROWS_AT_ONCE = 4096
"""Images that are measured within one autocast, which converts the weights once."""


@torch.no_grad()
def measure(
    network: nn.Module, images: ResidentImages, placement: Placement, parts: int = 1, folds: bool = False
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields the logits of the clean images, all of them, in eval mode; nothing waits for the device.

    Args:
        network: the network, which is not changed
        images: the images
        placement: where, and in which precision
        parts (1): into how many parts batches are divided for lack of memory
        folds (False): whether batch norms may be folded, see :func:`folds_safely`

    Yields:
        ``(B,)`` indices of images, and their ``(B, classes)`` logits in float32
    """
    was_training = network.training
    network.eval()
    called = fold_batch_norms(network) if folds else network
    size = CPU_BATCH if placement.device.type == "cpu" else GPU_BATCH
    size = max(1, size // parts)
    indices = torch.arange(len(images), device=placement.device)
    try:
        for several in indices.split(size * max(1, _ROWS_AT_ONCE // size)):
            with autocast(placement):
                logits = [called(images.batch(part)).float() for part in several.split(size)]
            yield several, torch.cat(logits)
    finally:
        network.train(was_training)


@torch.no_grad()
def fold_batch_norms(network: nn.Module) -> nn.Module:
    """A copy of a network in eval mode whose batch norms are part of the convolutions before them.

    Only those are folded whose place is certain: where a plain ``nn.Sequential`` holds the norm right behind the
    convolution, and nobody has hooked into either.

    Args:
        network: the network, in eval mode

    Returns:
        the copy, or the network itself if it has nothing to fold or cannot be copied
    """
    if not any(_foldable(module) for module in network.modules()):
        return network
    try:
        folded = copy.deepcopy(network)
    # a network of somebody's own may hold what cannot be copied, and is then called as it is
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
    """Whether a network says the same with its batch norms folded: somebody's own may call their layers as it likes.

    Args:
        network: the network, on the CPU; it is not changed
        in_channels: the channels of the images
        image_size: height and width of the images in pixels
    """
    generator = torch.Generator().manual_seed(0)
    try:
        tried = copy.deepcopy(network).eval()
        for module in tried.modules():
            # one that has seen nothing yet changes nothing, wherever it stands
            if (
                isinstance(module, nn.BatchNorm2d)
                and module.running_mean is not None
                and module.running_var is not None
            ):
                module.running_mean.normal_(generator=generator)
                module.running_var.uniform_(0.5, 2, generator=generator)
        images = torch.randn((2, in_channels, image_size, image_size), generator=generator)
        expected = tried(images)
        found = fold_batch_norms(tried)(images)
    # whatever a network of somebody's own stumbles over: it is called as it is
    except Exception:  # noqa: BLE001
        return False
    scale = expected.abs().max().clamp(min=1e-30)
    return bool(torch.allclose(found / scale, expected / scale, rtol=0, atol=1e-4))


def _foldable(module: nn.Module) -> list[int]:
    """The positions in a container at which a convolution stands that can take up the norm behind it."""
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
