"""The trial of a network: one training step and one measurement of two images, as the training will do them.

What passes in eval mode may fail in training: a ``view`` in the channels-last layout, auxiliary outputs, frozen
weights.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .device import Placement, autocast
from .memory import is_out_of_memory
from .networks import NetworkFactory, describe_error, fastest_layout


def try_training(
    name: str, network: nn.Module, placement: Placement, num_classes: int, in_channels: int, image_size: int
) -> torch.memory_format:
    """Try a network in training, and choose its memory layout.

    Args:
        name: name of the network, for messages
        network: the network, in training mode; it is trained and moved to the device
        placement: device and precision of the network
        num_classes: number of logits
        in_channels: channels of the images, 1 or 3
        image_size: height and width of the images in pixels

    Returns:
        the fastest layout that works; a network that flattens with ``view()`` needs contiguous images

    Raises:
        ValueError: if the network cannot be trained; the message says why
    """
    parameters = list(network.parameters())
    if not any(parameter.requires_grad for parameter in parameters):
        reason = "all its weights are frozen (requires_grad=False)" if parameters else "it has no weights"
        raise ValueError(f"the network {name!r} cannot be trained: {reason}")
    generator = torch.Generator().manual_seed(0)
    images = torch.randn((2, in_channels, image_size, image_size), generator=generator)
    fastest = fastest_layout(network, placement)
    failure: str | None = None
    for layout in dict.fromkeys([fastest, torch.contiguous_format]):
        failure = _failure_in(layout, network, images, placement, num_classes)
        if failure is None:
            return layout
    raise ValueError(f"the network {name!r} cannot be trained: {failure}")


class _UnsuitableOutputError(Exception):
    """What a network returns cannot be trained on."""


def _failure_in(
    layout: torch.memory_format, network: nn.Module, images: Tensor, placement: Placement, num_classes: int
) -> str | None:
    """Why the network cannot be trained in a layout; None if it can."""
    try:
        _try_layout(layout, network, images.contiguous(memory_format=layout), placement, num_classes)
    except _UnsuitableOutputError as error:
        return str(error)
    # a user's network may raise anything
    except Exception as error:
        if is_out_of_memory(error):
            raise
        shape = "x".join(map(str, images.shape[1:]))
        return (
            f"a step with two images of {shape} in {placement.precision} on {placement.device} raised "
            f"{describe_error(error)}"
        )
    return None


def _try_layout(
    layout: torch.memory_format, network: nn.Module, images: Tensor, placement: Placement, num_classes: int
) -> None:
    """Train one step and measure in one layout."""
    device = placement.device
    network = network.to(device, memory_format=layout)  # type: ignore[call-overload]
    images = images.to(device)
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, nesterov=True)
    with autocast(placement):
        logits = network(images)
        _check_logits(logits, num_classes, "training")
        loss = F.cross_entropy(logits, torch.zeros(len(images), dtype=torch.int64, device=device))
    if not loss.requires_grad:
        raise _UnsuitableOutputError(
            "its logits do not depend on any weight that is trained: its forward switches gradients off, by no_grad() "
            "or detach(), or only unused weights are not frozen"
        )
    loss.backward()
    optimizer.step()
    network.eval()
    with torch.no_grad(), autocast(placement):
        _check_logits(network(images), num_classes, "eval")
    network.train()


def _check_logits(logits: object, num_classes: int, mode: str) -> None:
    if isinstance(logits, Tensor) and logits.shape == (2, num_classes) and logits.is_floating_point():
        return
    returned = f"{tuple(logits.shape)} of {logits.dtype}" if isinstance(logits, Tensor) else type(logits).__name__
    advice = "" if isinstance(logits, Tensor) else "; networks of torchvision take aux_logits=False"
    raise _UnsuitableOutputError(
        f"in {mode} mode it must return logits of shape (2, {num_classes}) for two images, not {returned}{advice}"
    )


def copy_network(network: nn.Module, factory: NetworkFactory, num_classes: int, in_channels: int) -> nn.Module:
    """A copy of a network, or a new one from its factory if it cannot be copied."""
    try:
        return copy.deepcopy(network)
    # a user's network may hold anything
    except Exception:  # noqa: BLE001
        return factory(num_classes=num_classes, in_channels=in_channels).train()
