"""The networks of the paper, in their CIFAR form: ResNet-20, VGG-16 and MobileNet.

All three take ``(B, C, H, W)`` images with C = 1 or 3 and return ``(B, num_classes)`` logits. They are made for
32-pixel images; a global average pool (and, in VGG-16, pooling that rounds up) lets them take other sizes too.
Convolutions before a batch norm have no bias (the norm's own shift makes it redundant). All convolutions are
initialised after He et al. 2015, so that no network has an advantage from its initialisation.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F


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
        # in place, which saves passes over memory: 1 to 2 % of a training on a CPU
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
        num_classes (10): number of logits
        in_channels (3): channels of the images, 1 or 3
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

    The convolutions are those of Simonyan and Zisserman 2015, table 1. One linear layer replaces the three large fully
    connected layers for 224-pixel images, as is usual on CIFAR.

    Args:
        num_classes (10): number of logits
        in_channels (3): channels of the images, 1 or 3
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
            # rounding up changes nothing at 32 pixels and keeps smaller images from shrinking to nothing
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
        num_classes (10): number of logits
        in_channels (3): channels of the images, 1 or 3
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
