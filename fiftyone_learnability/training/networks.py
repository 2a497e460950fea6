"""Networks by name: how users name them, how they are built and checked, and how each trains fastest."""

from __future__ import annotations

import importlib
import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..scores.catalog import check_network_name
from ..scores.checks import are_probabilities, plain_name, short_repr, shorten
from .architectures import VGG16, MobileNet, ResNet20
from .device import Placement

NetworkFactory = Callable[..., nn.Module]
"""Builds a network: ``factory(num_classes=10, in_channels=3) -> nn.Module`` that maps ``(B, C, H, W)`` to logits."""

NETWORKS: Mapping[str, NetworkFactory] = {"resnet20": ResNet20, "vgg16": VGG16, "mobilenet": MobileNet}
"""The networks of the paper by name."""


def resolve_networks(models: str | Sequence[str] | Mapping[str, NetworkFactory | str]) -> dict[str, NetworkFactory]:
    """Turn the names of networks into factories.

    Args:
        models: names, or a mapping of names of your choice to factories. A name is one of :data:`NETWORKS`, also
            spelled as in the App ("ResNet-20"),
            ``"torchvision/<name>"``, ``"timm/<name>"`` (always without pretrained weights), or
            ``"<module>:<factory>"``, which imports that module: never pass a name from an untrusted source. In a
            mapping, ``"<module>:<factory>"`` may stand in place of a factory

    Returns:
        factories by the name that becomes part of field names, such as ``resnet20``, ``resnet18`` for
        ``"torchvision/resnet18"`` or ``make_net`` for ``"mypackage.nets:make_net"``

    Raises:
        ValueError: if a network does not exist, none is given, two share a name, or a name cannot be part of a field
            name
        TypeError: if a network is neither a name nor in a mapping
    """
    if isinstance(models, str):
        models = [models]
    if not isinstance(models, (Mapping, Sequence)):
        raise TypeError(
            f"models must be names of networks, or a mapping of names to factories, not {short_repr(models)}"
        )
    factories: dict[str, NetworkFactory] = {}
    for model in models:
        name, factory = _own_network(model, models[model]) if isinstance(models, Mapping) else _find_network(model)
        check_network_name(name)
        _check_signature(name, factory)
        if name in factories:
            raise ValueError(f"the network {name!r} is given twice")
        factories[name] = factory
    if not factories:
        raise ValueError(f"no network given: choose from {', '.join(NETWORKS)}")
    return factories


def _own_network(name: object, factory: object) -> tuple[str, NetworkFactory]:
    """Name and factory of an entry in a mapping."""
    if isinstance(factory, str):
        factory = _import_factory(factory)
    if not isinstance(name, str):
        raise TypeError(f"models: the name of a network must be a text, not {short_repr(name)}")
    if isinstance(factory, nn.Module):
        raise TypeError(
            f"models: the network {name!r} is a network already ({type(factory).__name__}), but each training builds "
            "its own: give a factory(num_classes=..., in_channels=...) -> nn.Module"
        )
    if not callable(factory):
        raise TypeError(
            f"models: the network {name!r} needs a factory(num_classes=..., in_channels=...) -> nn.Module, "
            f"not {short_repr(factory)}"
        )
    return name, factory


def _check_signature(name: str, factory: NetworkFactory) -> None:
    """Check that a factory can be called as it will be.

    Raises:
        TypeError: if it cannot
    """
    try:
        signature = inspect.signature(factory)
    # some builtins have none
    except ValueError:
        return
    try:
        signature.bind(num_classes=10, in_channels=3)
    except TypeError as error:
        raise TypeError(
            f"the factory of the network {name!r} is called as factory(num_classes=..., in_channels=...), which "
            f"{short_repr(factory)} does not take ({error}): wrap it, as in lambda num_classes, in_channels: "
            "MyNet(num_classes)"
        ) from None


def _find_network(model: object) -> tuple[str, NetworkFactory]:
    """Name and factory of a network that a user has named."""
    if not isinstance(model, str):
        raise TypeError(
            f"{model!r} has no name: pass networks of your own as a mapping, "
            "models={'my_net': factory} with factory(num_classes=..., in_channels=...) -> nn.Module"
        )
    if ":" in model:
        return model.rpartition(":")[2], _import_factory(model)
    library, _, network = model.rpartition("/")
    name = re.sub(r"\W", "_", network)
    if library == "torchvision":
        return name, _torchvision_factory(network)
    if library == "timm":
        return name, _timm_factory(network)
    # "ResNet-20", as the App writes it
    known = plain_name(model)
    if known in NETWORKS:
        return known, NETWORKS[known]
    raise ValueError(
        f"unknown network {short_repr(model)}: choose from {', '.join(NETWORKS)}, or name a network of another library "
        "like 'torchvision/resnet18' or 'timm/convnext_atto', or a factory of your own like 'mypackage.nets:make_net'"
    )


def _import_factory(name: str) -> NetworkFactory:
    """Import the factory named ``"<module>:<factory>"``.

    Raises:
        ValueError: if the name has another form, or the factory does not exist
    """
    module, _, attribute = name.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), attribute)):
        raise ValueError(f"{name!r} must be '<module>:<factory>', such as 'mypackage.nets:make_net'")
    try:
        factory = getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise ValueError(f"the network {name!r} cannot be imported: {error}") from error
    except AttributeError:
        raise ValueError(f"the module {module!r} has no {attribute!r}") from None
    if not callable(factory):
        raise ValueError(f"{name!r} is no factory: it must be called as factory(num_classes=..., in_channels=...)")
    return factory


class _GreyToRGB(nn.Module):
    """Shows one-channel images to a network for three channels."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x.expand(-1, 3, -1, -1))


def _torchvision_factory(name: str) -> NetworkFactory:
    import torchvision

    if name not in torchvision.models.list_models(module=torchvision.models):
        raise ValueError(
            f"torchvision has no classification network {name!r}; torchvision.models.list_models() lists them"
        )

    # by default these two return tuples in training mode
    options = {"aux_logits": False} if name in ("googlenet", "inception_v3") else {}

    def factory(num_classes: int, in_channels: int) -> nn.Module:
        network = torchvision.models.get_model(name, weights=None, num_classes=num_classes, **options)
        return network if in_channels == 3 else _GreyToRGB(network)

    return factory


def _timm_factory(name: str) -> NetworkFactory:
    try:
        import timm
    except ImportError as error:
        raise ValueError(f"the network 'timm/{name}' needs the package timm: pip install timm") from error
    if not timm.is_model(name):
        raise ValueError(f"timm has no network {name!r}; timm.list_models() lists them")

    def factory(num_classes: int, in_channels: int) -> nn.Module:
        return timm.create_model(name, pretrained=False, num_classes=num_classes, in_chans=in_channels)

    return factory


def build_network(name: str, factory: NetworkFactory, num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    """Build a network and check that it takes the images and returns logits.

    Args:
        name: name of the network, for messages
        factory: see :data:`NetworkFactory`
        num_classes: number of logits
        in_channels: channels of the images, 1 or 3
        image_size: height and width of the images in pixels

    Returns:
        the network, on the CPU, in training mode

    Raises:
        ValueError: if the network cannot be built, does not take ``(B, in_channels, image_size, image_size)`` images,
            or does not return ``(B, num_classes)`` logits
    """
    try:
        network = factory(num_classes=num_classes, in_channels=in_channels)
    # a user's factory may raise anything
    except Exception as error:
        raise ValueError(
            f"the network {name!r} cannot be built: its factory(num_classes={num_classes}, in_channels={in_channels}) "
            f"raised {describe_error(error)}"
        ) from error
    if not isinstance(network, nn.Module):
        raise ValueError(f"the factory of the network {name!r} must return an nn.Module, not {short_repr(network)}")
    shape = (2, in_channels, image_size, image_size)
    # in eval mode, because in training mode the pass would change the running statistics of batch norms
    network.eval()
    try:
        with torch.no_grad():
            logits = network(torch.linspace(-1, 1, math.prod(shape)).view(shape))
    # a user's network may raise anything
    except Exception as error:
        grey = "; all images are greyscale: build the first layer for in_channels" if in_channels == 1 else ""
        raise ValueError(
            f"the network {name!r} does not take images of shape {shape}: {describe_error(error)}{grey}"
        ) from error
    if not isinstance(logits, Tensor) or logits.shape != (2, num_classes):
        returned = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ValueError(
            f"the network {name!r} must return logits of shape (2, {num_classes}) for {shape} images, not {returned}"
        )
    # fake tensors have no values
    if type(logits) is Tensor and are_probabilities(logits.detach().double().numpy()):
        raise ValueError(
            f"the network {name!r} returns probabilities, not logits: leave out the softmax at its end, which the loss "
            "and the scores take themselves"
        )
    return network.train()


def describe_error(error: Exception) -> str:
    """Describe an error that a user's network raised: its type and its text, on one line."""
    return shorten(" ".join(f"{type(error).__name__}: {error}".split()), 500)


def fastest_placement(network: nn.Module, placement: Placement) -> Placement:
    """The placement for one network: with its layout, and float32 where bf16 was chosen automatically but does not pay.

    It does not pay for depthwise convolutions on a CPU, which cannot use its matrix units: MobileNet trains a fifth
    faster in float32 (benchmarks/options.py).

    Args:
        network: the network
        placement: the placement for all networks; a precision that the user asked for stays, and so does a layout
    """
    if placement.is_chosen and placement.device.type == "cpu" and placement.precision == "bf16":
        convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
        if any(1 < module.groups == module.in_channels for module in convolutions):
            placement = replace(placement, precision="float32")
    return replace(placement, layout=placement.layout or fastest_layout(network, placement))


def fastest_layout(network: nn.Module, placement: Placement) -> torch.memory_format:
    """The memory layout in which a network trains fastest: channels last nearly everywhere.

    The exceptions are VGG-16 on a CPU in float32, whose convolutions are all wide (benchmarks/options.py), and Apple's
    MPS, where the gradients of batch norms were wrong with channels last (pytorch issue 175189).

    Args:
        network: the network
        placement: device and precision
    """
    is_wide = isinstance(network, VGG16) and placement.device.type == "cpu" and placement.precision == "float32"
    contiguous = is_wide or placement.device.type == "mps"
    return torch.contiguous_format if contiguous else torch.channels_last
