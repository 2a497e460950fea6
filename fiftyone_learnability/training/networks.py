"""The networks of the paper, in their CIFAR form, and the way to name any other network.

All three take ``(B, C, H, W)`` images with C = 1 or 3 and return ``(B, num_classes)`` logits. They are written for
32-pixel images; a global average pool (and, in VGG-16, pooling that rounds up) lets them take other sizes too.
Convolutions that a batch norm follows carry no bias (the norm's own shift makes it redundant) and are initialised after
He et al. 2015, so that no network has an advantage from its initialisation.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..scores.catalog import is_reserved
from ..scores.checks import LONGEST_NAME, short_repr
from .device import Placement

NetworkFactory = Callable[..., nn.Module]
"""Builds a network: ``factory(num_classes=10, in_channels=3) -> nn.Module`` that maps ``(B, C, H, W)`` to logits."""


def _conv_bn(
    in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    conv = nn.Conv2d(
        in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, groups=groups, bias=False
    )
    return [conv, nn.BatchNorm2d(out_channels)]


def _initialise(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with an option-A shortcut (He et al. 2016, section 4.2).

    Option A has no weights: where the block halves the image and doubles the channels, the shortcut takes every second
    pixel and pads the new channels with zeros.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            *_conv_bn(in_channels, out_channels, stride=stride),
            nn.ReLU(inplace=True),
            *_conv_bn(out_channels, out_channels),
        )
        self.stride = stride
        self.new_channels = out_channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        # in place: a map that is not made anew saves its way through memory, 1 to 2 % of a training on a CPU
        out = self.residual(x)
        out += self.shortcut(x)
        return F.relu(out, inplace=True)

    def shortcut(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` input in the shape of the residual."""
        if self.stride == 1 and not self.new_channels:
            return x
        before = self.new_channels // 2
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.new_channels - before))


class ResNet20(nn.Module):
    """ResNet-20 for CIFAR: 3 stages of 3 blocks with 16, 32, 64 channels, 0.27 M weights (He et al. 2016, table 6).

    Args:
        num_classes (10): the number of logits
        in_channels (3): the channels of the images, 1 or 3
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        channels = 16
        for width, first_stride in ((16, 1), (32, 2), (64, 2)):
            for index in range(3):
                blocks.append(BasicBlock(channels, width, first_stride if index == 0 else 1))
                channels = width
        self.stem = nn.Sequential(*_conv_bn(in_channels, 16), nn.ReLU(inplace=True))
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(channels, num_classes)
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


class VGG16(nn.Module):
    """VGG-16: the 13 convolutions of configuration D with batch norm and a CIFAR head, 14.7 M weights.

    The convolutions are those of Simonyan and Zisserman 2015, table 1. The three large fully connected layers, made for
    224-pixel images, give way to one linear layer, as is usual on CIFAR.

    Args:
        num_classes (10): the number of logits
        in_channels (3): the channels of the images, 1 or 3
    """

    CONFIGURATION_D: Sequence[Sequence[int]] = ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3)

    def __init__(self, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for stage in self.CONFIGURATION_D:
            for width in stage:
                layers += [*_conv_bn(channels, width), nn.ReLU(inplace=True)]
                channels = width
            # rounding up changes nothing at 32 pixels and keeps images below 32 pixels from shrinking to nothing
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(channels, num_classes)
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean((2, 3)))


class MobileNet(nn.Module):
    """MobileNet v1: 13 depthwise-separable blocks with CIFAR strides, 3.2 M weights.

    Widths and order are those of Howard et al. 2017, table 1. The stem keeps the resolution (stride 1 in place of 2),
    which leaves four halvings: 32 pixels end at 2x2, where the paper's 224 pixels end at 7x7.

    Args:
        num_classes (10): the number of logits
        in_channels (3): the channels of the images, 1 or 3
    """

    BLOCKS: Sequence[tuple[int, int]] = (
        (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
        (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1),
    )  # fmt: skip
    """(output channels, stride of the depthwise convolution) of each block."""

    def __init__(self, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_conv_bn(in_channels, 32), nn.ReLU(inplace=True))
        blocks: list[nn.Module] = []
        channels = 32
        for width, stride in self.BLOCKS:
            blocks.append(
                nn.Sequential(
                    *_conv_bn(channels, channels, stride=stride, groups=channels),
                    nn.ReLU(inplace=True),
                    *_conv_bn(channels, width, kernel_size=1),
                    nn.ReLU(inplace=True),
                )
            )
            channels = width
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(channels, num_classes)
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


def fastest_placement(network: nn.Module, placement: Placement) -> Placement:
    """The placement of a network: that of all, but for float32 where bf16 was chosen and does not pay.

    That is where a CPU computes depthwise convolutions, which gain nothing from its matrix units: MobileNet is trained
    a fifth faster in float32, as benchmarks/options.py measures.

    Args:
        network: the network
        placement: what was chosen for all networks, or asked for, which stays
    """
    if not placement.is_chosen or placement.device.type != "cpu" or placement.precision != "bf16":
        return placement
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    is_depthwise = any(1 < module.groups == module.in_channels for module in convolutions)
    return replace(placement, precision="float32") if is_depthwise else placement


def fastest_layout(network: nn.Module, placement: Placement) -> torch.memory_format:
    """The memory layout that a network is trained fastest in: channels last nearly everywhere.

    VGG-16, whose convolutions are all wide, is the exception on a CPU in float32, as benchmarks/options.py measures.

    Args:
        network: the network
        placement: where, and in which precision
    """
    contiguous = isinstance(network, VGG16) and placement.device.type == "cpu" and placement.precision == "float32"
    return torch.contiguous_format if contiguous else torch.channels_last


NETWORKS: Mapping[str, NetworkFactory] = {"resnet20": ResNet20, "vgg16": VGG16, "mobilenet": MobileNet}
"""The networks of the paper by name."""


class _GreyToRGB(nn.Module):
    """Shows one-channel images to a network that was made for three channels."""

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

    # the two Inceptions would return tuples while they are trained
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


def _named_factory(name: str) -> NetworkFactory:
    """Imports the factory that ``"<module>:<factory>"`` names.

    Raises:
        ValueError: if it is not so named, or there is no such factory
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


def resolve_networks(models: str | Sequence[str] | Mapping[str, NetworkFactory | str]) -> dict[str, NetworkFactory]:
    """Turns what a user calls networks into factories.

    Args:
        models: names, or a mapping of a name of your own to a factory. A name is one of :data:`NETWORKS`,
            ``"torchvision/<name>"``, ``"timm/<name>"`` (always without pretrained weights), or
            ``"<module>:<factory>"``, whose module is imported: never pass on what somebody else has named. In a mapping
            a factory may be named so too

    Returns:
        factories by the name that goes into field names, such as ``resnet20``, ``resnet18`` for
        ``"torchvision/resnet18"`` or ``make_net`` for ``"mypackage.nets:make_net"``

    Raises:
        ValueError: if there is no such network, none is given, two share a name, or a name cannot be part of a field's
            name
        TypeError: if a network is neither a name nor has a name
    """
    if isinstance(models, str):
        models = [models]
    if not isinstance(models, (Mapping, Sequence)):
        raise TypeError(
            f"models must be names of networks, or a mapping of names to factories, not {short_repr(models)}"
        )
    factories: dict[str, NetworkFactory] = {}
    for model in models:
        if isinstance(models, Mapping):
            name, factory = model, models[model]
            if isinstance(factory, str):
                factory = _named_factory(factory)
            if not isinstance(name, str):
                raise TypeError(f"models: the name of a network must be a text, not {short_repr(name)}")
            if not callable(factory):
                raise TypeError(
                    f"models: the network {name!r} needs a factory(num_classes=..., in_channels=...) -> nn.Module, "
                    f"not {short_repr(factory)}"
                )
        elif not isinstance(model, str):
            raise TypeError(
                f"{model!r} has no name: pass networks of your own as a mapping, "
                "models={'my_net': factory} with factory(num_classes=..., in_channels=...) -> nn.Module"
            )
        else:
            library, _, rest = model.rpartition("/")
            name = re.sub(r"\W", "_", rest)
            if ":" in model:
                name, factory = model.rpartition(":")[2], _named_factory(model)
            elif library == "torchvision":
                factory = _torchvision_factory(rest)
            elif library == "timm":
                factory = _timm_factory(rest)
            elif model in NETWORKS:
                factory = NETWORKS[model]
            else:
                raise ValueError(
                    f"unknown network {short_repr(model)}: choose from {', '.join(NETWORKS)}, or name one of "
                    "another library as 'torchvision/resnet18' or 'timm/convnext_atto', or a factory of your own as "
                    "'mypackage.nets:make_net'"
                )
        if not re.fullmatch(r"[a-z0-9][a-z0-9_]*", name, re.IGNORECASE):
            raise ValueError(
                f"the name {short_repr(name)} of a network must consist of letters, digits and underscores"
            )
        if len(name) > LONGEST_NAME:
            raise ValueError(
                f"the name {short_repr(name)} of a network is too long: {LONGEST_NAME} letters are the most"
            )
        if is_reserved(name):
            raise ValueError(
                f"the name {name!r} of a network would clash with fields of this package: choose another one"
            )
        if name in factories:
            raise ValueError(f"the network {name!r} is given twice")
        factories[name] = factory
    if not factories:
        raise ValueError(f"no network given: choose from {', '.join(NETWORKS)}")
    return factories


def build_network(name: str, factory: NetworkFactory, num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    """Builds a network and checks that it takes the images and returns logits.

    Args:
        name: what messages call it
        factory: see :data:`NetworkFactory`
        num_classes: the number of logits
        in_channels: the channels of the images, 1 or 3
        image_size: height and width of the images in pixels

    Returns:
        the network, on the CPU, in training mode

    Raises:
        ValueError: if the network cannot take ``(B, in_channels, image_size, image_size)`` images or does not return
            ``(B, num_classes)`` logits
    """
    try:
        network = factory(num_classes=num_classes, in_channels=in_channels)
    # whatever somebody's own factory stumbles over
    except Exception as error:
        raise ValueError(
            f"the network {name!r} cannot be built: its factory(num_classes={num_classes}, in_channels={in_channels}) "
            f"raised {type(error).__name__}: {error}"
        ) from error
    if not isinstance(network, nn.Module):
        raise ValueError(f"the factory of the network {name!r} must return an nn.Module, not {short_repr(network)}")
    shape = (2, in_channels, image_size, image_size)
    # in eval mode, since a forward pass in training mode would change the running statistics of batch norms
    network.eval()
    try:
        with torch.no_grad():
            logits = network(torch.zeros(shape))
    except (RuntimeError, AssertionError, ValueError) as error:  # vision transformers assert their image size
        raise ValueError(f"the network {name!r} does not take images of shape {shape}: {error}") from error
    if not isinstance(logits, Tensor) or logits.shape != (2, num_classes):
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ValueError(
            f"the network {name!r} must return logits of shape (2, {num_classes}) for {shape} images, not {found}"
        )
    return network.train()
