from __future__ import annotations

import re
import sys
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from fiftyone_learnability.training.device import Placement
from fiftyone_learnability.training.networks import (
    NETWORKS,
    VGG16,
    BasicBlock,
    MobileNet,
    ResNet20,
    build_network,
    fastest_layout,
    fastest_placement,
    resolve_networks,
)

from .small import SmallNet


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


@pytest.mark.parametrize(
    ("name", "device", "precision", "is_chosen", "expected"),
    [
        ("mobilenet", "cpu", "bf16", True, "float32"),
        ("mobilenet", "cpu", "bf16", False, "bf16"),
        ("mobilenet", "cuda", "bf16", True, "bf16"),
        ("resnet20", "cpu", "bf16", True, "bf16"),
        ("vgg16", "cpu", "bf16", True, "bf16"),
        ("mobilenet", "cpu", "float32", True, "float32"),
    ],
)
def test_depthwise_convolutions_stay_in_float32_on_a_cpu_unless_asked(
    name: str, device: str, precision: str, is_chosen: bool, expected: str
) -> None:
    placement = Placement(torch.device(device), precision, "", is_chosen)
    assert fastest_placement(NETWORKS[name](10, 3), placement).precision == expected


@pytest.mark.parametrize(
    ("name", "device", "precision", "layout"),
    [
        ("vgg16", "cpu", "float32", torch.contiguous_format),
        ("vgg16", "cpu", "bf16", torch.channels_last),
        ("vgg16", "cuda", "float32", torch.channels_last),
        ("resnet20", "cpu", "float32", torch.channels_last),
    ],
)
def test_the_layout_is_that_which_was_measured_to_be_fastest(
    name: str, device: str, precision: str, layout: torch.memory_format
) -> None:
    placement = Placement(torch.device(device), precision, "")
    assert fastest_layout(NETWORKS[name](10, 3), placement) == layout


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


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("size", "channels"), [(32, 3), (32, 1), (28, 1), (8, 3), (33, 3), (64, 3), (1, 1)])
def test_other_sizes_and_channels(name: str, size: int, channels: int) -> None:
    network = build_network(name, NETWORKS[name], 7, channels, size)
    with torch.no_grad():
        logits = network.eval()(torch.rand(2, channels, size, size))
    assert logits.shape == (2, 7)
    assert logits.isfinite().all()


def test_names_become_factories_in_order() -> None:
    assert resolve_networks(["vgg16", "resnet20"]) == {"vgg16": VGG16, "resnet20": ResNet20}
    assert list(resolve_networks(["vgg16", "resnet20", "mobilenet"])) == ["vgg16", "resnet20", "mobilenet"]
    assert resolve_networks("mobilenet") == {"mobilenet": MobileNet}


def test_a_mapping_names_networks_of_your_own() -> None:
    assert resolve_networks({"my_net": SmallNet}) == {"my_net": SmallNet}
    # a name of ours may be given to another factory
    assert resolve_networks({"resnet20": SmallNet}) == {"resnet20": SmallNet}


@pytest.mark.parametrize("channels", [1, 3])
def test_torchvision_networks_by_name(channels: int) -> None:
    factories = resolve_networks(["torchvision/resnet18", "resnet20"])
    assert list(factories) == ["resnet18", "resnet20"]
    network = build_network("resnet18", factories["resnet18"], 5, channels, 32)
    assert count(network) == count(torchvision.models.resnet18(num_classes=5))


def test_grey_images_look_grey_to_a_torchvision_network() -> None:
    factory = resolve_networks("torchvision/squeezenet1_1")["squeezenet1_1"]
    network = factory(num_classes=4, in_channels=1).eval()
    x = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(network(x), network.network(x.repeat(1, 3, 1, 1)))


@pytest.mark.filterwarnings("ignore:The default weight initialization:FutureWarning")
def test_a_network_with_auxiliary_outputs_returns_logits_in_training_too() -> None:
    factory = resolve_networks("torchvision/googlenet")["googlenet"]
    network = build_network("googlenet", factory, 3, 3, 64)
    assert network.training
    assert network(torch.rand(2, 3, 64, 64)).shape == (2, 3)


@pytest.mark.parametrize("name", ["torchvision/no_such_net", "torchvision/", "torchvision/fcn_resnet50"])
def test_torchvision_has_to_know_the_name(name: str) -> None:
    with pytest.raises(ValueError, match="torchvision has no classification network"):
        resolve_networks(name)


def test_timm_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match="'timm/convnext_atto' needs the package timm: pip install timm"):
        resolve_networks("timm/convnext_atto")


def test_timm_networks_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    # timm is an optional extra: this stands in for it
    calls = []

    def create_model(name: str, **options: object) -> nn.Module:
        calls.append((name, options))
        return SmallNet(options["num_classes"], options["in_chans"])

    fake = SimpleNamespace(is_model=lambda name: name == "conv.next", create_model=create_model)
    monkeypatch.setitem(sys.modules, "timm", fake)
    factories = resolve_networks("timm/conv.next")
    assert list(factories) == ["conv_next"]
    build_network("conv_next", factories["conv_next"], 4, 1, 16)
    assert calls == [("conv.next", {"pretrained": False, "num_classes": 4, "in_chans": 1})]
    with pytest.raises(ValueError, match="timm has no network 'other'"):
        resolve_networks("timm/other")


@pytest.mark.parametrize("name", ["resnet21", "ResNet20", "", "keras/resnet20", "/resnet20", "resnet20 "])
def test_unknown_names_list_the_known_ones(name: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"unknown network {name!r}: choose from resnet20, vgg16, mobile")):
        resolve_networks([name])


@pytest.mark.parametrize("models", [["resnet20", "resnet20"], ["torchvision/alexnet", "torchvision/alexnet"]])
def test_two_networks_must_not_share_a_name(models: list[str]) -> None:
    with pytest.raises(ValueError, match="is given twice"):
        resolve_networks(models)


@pytest.mark.parametrize("name", ["", "my net", "my.net", "_net", "$net", "netz_ä", "net\n", "a/b"])
def test_a_name_must_fit_into_a_field_name(name: str) -> None:
    with pytest.raises(ValueError, match="must consist of letters, digits and underscores"):
        resolve_networks({name: SmallNet})


def test_a_name_must_not_look_like_a_field_of_ours() -> None:
    for name in ("rank_net", "consensus", "verdict"):
        with pytest.raises(ValueError, match="would clash with fields of this package"):
            resolve_networks({name: SmallNet})
    assert list(resolve_networks({"ranknet": SmallNet})) == ["ranknet"]


@pytest.mark.parametrize("models", [[], {}, ()])
def test_no_network_is_an_error(models: object) -> None:
    with pytest.raises(ValueError, match="no network given"):
        resolve_networks(models)


@pytest.mark.parametrize("model", [SmallNet, SmallNet(), 3, None])
def test_a_network_without_a_name_is_an_error(model: object) -> None:
    with pytest.raises(TypeError, match="has no name: pass networks of your own as a mapping"):
        resolve_networks([model])


def test_build_returns_the_network_untouched_and_in_training_mode() -> None:
    network = build_network("small", SmallNet, 4, 1, 16)
    assert all(module.training for module in network.modules())
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert all(int(norm.num_batches_tracked) == 0 and float(norm.running_mean.abs().sum()) == 0 for norm in norms)


class Flat(nn.Module):
    def __init__(self, result: object) -> None:
        super().__init__()
        self.result = result

    def forward(self, x: torch.Tensor) -> object:
        return self.result


@pytest.mark.parametrize(
    ("result", "found"),
    [
        (torch.zeros(2, 11), "(2, 11)"),
        (torch.zeros(2, 10, 1, 1), "(2, 10, 1, 1)"),
        (torch.zeros(10), "(10,)"),
        ((torch.zeros(2, 10),), "tuple"),
        (None, "NoneType"),
    ],
)
def test_build_rejects_what_are_no_logits(result: object, found: str) -> None:
    with pytest.raises(ValueError, match=re.escape("must return logits of shape (2, 10) for (2, 3, 32, 32) images, n")):
        build_network("flat", lambda num_classes, in_channels: Flat(result), 10, 3, 32)
    with pytest.raises(ValueError, match=re.escape(f"not {found}")):
        build_network("flat", lambda num_classes, in_channels: Flat(result), 10, 3, 32)


def test_build_rejects_a_network_that_does_not_take_the_images() -> None:
    with pytest.raises(ValueError, match=r"'grey' does not take images of shape \(2, 3, 16, 16\)"):
        build_network("grey", lambda num_classes, in_channels: SmallNet(num_classes, 1), 4, 3, 16)
    # a vision transformer asserts its image size, which is no RuntimeError
    factory = resolve_networks("torchvision/vit_b_32")["vit_b_32"]
    with pytest.raises(ValueError, match=r"'vit_b_32' does not take images of shape \(2, 3, 32, 32\)"):
        build_network("vit_b_32", factory, 4, 3, 32)
