from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from fiftyone_learnability.training.architectures import VGG16, BasicBlock, MobileNet, ResNet20
from fiftyone_learnability.training.networks import NETWORKS


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def resnet20_weights(channels: int, classes: int) -> int:
    """He et al. 2016, section 4.2 with n = 3: 6n + 2 layers; each batch norm has two weights a channel."""
    total = 9 * channels * 16 + 2 * 16
    before = 16
    for width in (16, 32, 64):
        total += 9 * before * width + 5 * 9 * width * width + 6 * 2 * width
        before = width
    return total + 64 * classes + classes


def vgg16_weights(channels: int, classes: int) -> int:
    """Simonyan and Zisserman 2015, table 1, column D."""
    widths = [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    pairs = pairwise([channels, *widths])
    return sum(9 * before * width + 2 * width for before, width in pairs) + 512 * classes + classes


def mobilenet_weights(channels: int, classes: int) -> int:
    """Howard et al. 2017, table 1."""
    widths = [32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024]
    total = 9 * channels * 32 + 2 * 32
    for before, width in pairwise(widths):
        total += 9 * before + 2 * before + before * width + 2 * width
    return total + 1024 * classes + classes


WEIGHTS = {"resnet20": resnet20_weights, "vgg16": vgg16_weights, "mobilenet": mobilenet_weights}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("channels", "classes"), [(3, 10), (1, 10), (3, 2), (1, 137)])
def test_the_number_of_weights_is_that_of_the_paper(name: str, channels: int, classes: int) -> None:
    network = NETWORKS[name](num_classes=classes, in_channels=channels)
    assert count(network) == WEIGHTS[name](channels, classes)


def test_the_number_of_weights_agrees_with_other_implementations() -> None:
    # 0.27 M in He et al. 2016, table 6; 14.7 M and 3.2 M in the usual CIFAR collections
    assert count(ResNet20()) == 269_722
    assert count(MobileNet()) == 3_217_226
    # torchvision's convolutions carry biases that the batch norms make redundant
    theirs = sum(parameter.numel() for parameter in torchvision.models.vgg16_bn(weights=None).features.parameters())
    biases = 2 * 64 + 2 * 128 + 3 * 256 + 6 * 512
    assert count(VGG16()) == theirs - biases + 512 * 10 + 10 == 14_724_042


@pytest.mark.parametrize(("name", "layers"), [("resnet20", 20), ("vgg16", 14), ("mobilenet", 28)])
def test_the_number_of_weighted_layers(name: str, layers: int) -> None:
    modules = list(NETWORKS[name]().modules())
    convolutions = [module for module in modules if isinstance(module, nn.Conv2d)]
    linear = [module for module in modules if isinstance(module, nn.Linear)]
    norms = [module for module in modules if isinstance(module, nn.BatchNorm2d)]
    assert len(convolutions) + len(linear) == layers
    assert len(norms) == len(convolutions)
    assert all(convolution.bias is None for convolution in convolutions)


def feature_maps(network: nn.Module, layers: list[nn.Module], size: int = 32) -> list[tuple[int, int, int]]:
    """(channels, height, width) after each layer, for one image."""
    shapes: list[tuple[int, int, int]] = []
    handles = [layer.register_forward_hook(lambda *args: shapes.append(tuple(args[2].shape[1:]))) for layer in layers]
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, size, size))
    for handle in handles:
        handle.remove()
    return shapes


def test_resnet20_stage_by_stage() -> None:
    network = ResNet20()
    expected = [(16, 32, 32)] * 4 + [(32, 16, 16)] * 3 + [(64, 8, 8)] * 3
    assert feature_maps(network, [network.stem, *network.blocks]) == expected


def test_vgg16_stage_by_stage() -> None:
    network = VGG16()
    pools = [layer for layer in network.features if isinstance(layer, nn.MaxPool2d)]
    assert feature_maps(network, pools) == [(64, 16, 16), (128, 8, 8), (256, 4, 4), (512, 2, 2), (512, 1, 1)]
    convolutions = [layer for layer in network.features if isinstance(layer, nn.Conv2d)]
    assert feature_maps(network, convolutions) == [
        *[(64, 32, 32)] * 2,
        *[(128, 16, 16)] * 2,
        *[(256, 8, 8)] * 3,
        *[(512, 4, 4)] * 3,
        *[(512, 2, 2)] * 3,
    ]


def test_mobilenet_stage_by_stage() -> None:
    network = MobileNet()
    expected = [
        *[(32, 32, 32), (64, 32, 32)],
        *[(128, 16, 16)] * 2,
        *[(256, 8, 8)] * 2,
        *[(512, 4, 4)] * 6,
        *[(1024, 2, 2)] * 2,
    ]
    assert feature_maps(network, [network.stem, *network.blocks]) == expected
    depthwise = [module for module in network.modules() if isinstance(module, nn.Conv2d) and module.groups > 1]
    assert len(depthwise) == 13
    assert all(layer.groups == layer.in_channels == layer.out_channels for layer in depthwise)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_block_without_residual_is_its_option_a_shortcut(stride: int, rng: np.random.Generator) -> None:
    widths = (4, 4) if stride == 1 else (4, 8)
    block = BasicBlock(*widths, stride=stride).eval()
    nn.init.zeros_(block.residual[-1].weight)
    x = rng.normal(size=(2, 4, 6, 6)).astype(np.float32)
    expected = np.zeros((2, widths[1], 6 // stride, 6 // stride), dtype=np.float32)
    first = (widths[1] - 4) // 2
    expected[:, first : first + 4] = x[:, :, ::stride, ::stride]
    with torch.no_grad():
        found = block(torch.from_numpy(x)).numpy()
    np.testing.assert_array_equal(found, np.maximum(expected, 0))


def test_a_block_adds_its_residual_before_the_last_relu(rng: np.random.Generator) -> None:
    block = BasicBlock(4, 4, stride=1).eval()
    x = torch.from_numpy(rng.normal(size=(2, 4, 6, 6)).astype(np.float32))
    kernels = [module.weight for module in block.residual if isinstance(module, nn.Conv2d)]
    scale = 1 / np.sqrt(1 + 1e-5)  # a fresh batch norm in eval mode
    inner = F.relu(F.conv2d(x, kernels[0], padding=1) * scale)
    expected = F.relu(F.conv2d(inner, kernels[1], padding=1) * scale + x)
    with torch.no_grad():
        torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize("name", NETWORKS)
def test_convolutions_are_initialised_after_he(name: str) -> None:
    torch.manual_seed(51)
    for module in NETWORKS[name]().modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 2000:
            fan_out = module.out_channels * module.kernel_size[0] ** 2 / module.groups
            # torch takes a depthwise convolution's fan-out over all its groups
            fan_out *= module.groups
            assert float(module.weight.detach().std()) == pytest.approx((2 / fan_out) ** 0.5, rel=0.1)
