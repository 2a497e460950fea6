"""The trial of a network: one training step and one measurement of two images, by the code of the training itself.

What passes in eval mode may fail in training: a ``view`` in the channels-last layout, auxiliary outputs, frozen
weights.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from .arithmetic import arithmetic
from .context import own_settings
from .device import Placement, autocast
from .learner import Learner
from .measuring import measure
from .memory import is_out_of_memory
from .networks import NetworkFactory, build_network, describe_error, fastest_placement
from .options import TrainingOptions
from .pixels import TrainingData


def try_training(
    name: str,
    factory: NetworkFactory,
    num_classes: int,
    in_channels: int,
    image_size: int,
    options: TrainingOptions,
    placement: Placement,
) -> tuple[nn.Module, Placement]:
    """Train a network for one step, and choose precision and memory layout of its trainings.

    Args:
        name: name of the network, for messages
        factory: builds the network
        num_classes: number of logits
        in_channels: channels of the images, 1 or 3
        image_size: height and width of the images in pixels
        options: training options
        placement: device and precision for all networks

    Returns:
        a network that was not trained, and the placement of its trainings: the fastest layout that works; a network
        that flattens with ``view()`` needs contiguous images

    Raises:
        ValueError: if the network cannot be built or trained, or is not built anew in each call; the message says why
    """
    images = np.random.default_rng(0).integers(0, 256, (2, image_size, image_size, in_channels), dtype=np.uint8)
    data = TrainingData(images, np.arange(2), num_classes)
    options = replace(options, compile=False)
    with own_settings(placement.device), arithmetic(placement.device, options.deterministic):
        network = build_network(name, factory, num_classes, in_channels, image_size)
        fastest = fastest_placement(network, placement)
        failure: str | None = None
        for layout in dict.fromkeys([fastest.layout, torch.contiguous_format]):
            chosen = replace(fastest, layout=layout)
            failure = _find_failure(name, factory, data, options, chosen, network)
            if failure is None:
                return network, chosen
    raise ValueError(f"the network {name!r} cannot be trained: {failure}")


class _UnsuitableNetworkError(Exception):
    """A network raises no error, but cannot be trained."""


def _find_failure(
    name: str,
    factory: NetworkFactory,
    data: TrainingData,
    options: TrainingOptions,
    placement: Placement,
    other: nn.Module,
) -> str | None:
    """Why a network cannot be trained in the layout of a placement; None if it can. ``other`` is another one."""
    try:
        _check_weights(other)
        learner = Learner(name, factory, data, options, 0, placement, lambda sentence: None)
        if not set(map(id, learner.network.parameters())).isdisjoint(map(id, other.parameters())):
            raise _UnsuitableNetworkError(
                "its factory returns the same network each time, so each training would continue the one before: "
                "build a new network in each call, or return copy.deepcopy(network)"
            )
        _check_output(learner, data.num_classes)
        learner.train_epoch(1, lambda count: None)
        for _ in measure(learner.network, learner.images, learner.placement, folds=learner.folds):
            pass
    except _UnsuitableNetworkError as error:
        return str(error)
    # a user's network may raise anything
    except Exception as error:  # noqa: BLE001
        _, size, _, channels = data.images.shape
        where = f"a step with two images of {channels}x{size}x{size} in {placement.precision}"
        if is_out_of_memory(error):
            return f"{placement.device} has no memory for {where}: choose another device, or a smaller image_size"
        return f"{where} on {placement.device} raised {describe_error(error)}"
    return None


def _check_weights(network: nn.Module) -> None:
    parameters = list(network.parameters())
    if not any(parameter.requires_grad for parameter in parameters):
        raise _UnsuitableNetworkError(
            "all its weights are frozen (requires_grad=False)" if parameters else "it has no weights"
        )


def _check_output(learner: Learner, num_classes: int) -> None:
    """Check what the network returns in training mode, where its loss would fail with another message."""
    with autocast(learner.placement):
        logits = learner.network(learner.images.batch(torch.arange(2, device=learner.placement.device)))
    if not isinstance(logits, Tensor):
        returned = f"{type(logits).__name__}; networks of torchvision take aux_logits=False"
    elif logits.shape != (2, num_classes) or not logits.is_floating_point():
        returned = f"{tuple(logits.shape)} of {logits.dtype}"
    elif logits.requires_grad:
        return
    else:
        raise _UnsuitableNetworkError(
            "its logits do not depend on any weight that is trained: its forward switches gradients off, by no_grad() "
            "or detach(), or only unused weights are not frozen"
        )
    raise _UnsuitableNetworkError(
        f"in training mode it must return logits of shape (2, {num_classes}) for two images, not {returned}"
    )
