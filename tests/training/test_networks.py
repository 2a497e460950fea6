from __future__ import annotations

import re
import sys
from types import SimpleNamespace

import pytest
import torch
import torchvision
from torch import nn

from fiftyone_learnability.training.architectures import VGG16, MobileNet, ResNet20
from fiftyone_learnability.training.device import Placement
from fiftyone_learnability.training.networks import (
    NETWORKS,
    NetworkFactory,
    build_network,
    fastest_layout,
    fastest_placement,
    resolve_networks,
)

from .small import SmallNet


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


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
        # where batch norms had wrong gradients with channels last (pytorch issue 175189)
        ("resnet20", "mps", "float32", torch.contiguous_format),
        ("mobilenet", "mps", "float32", torch.contiguous_format),
    ],
)
def test_each_network_gets_the_layout_measured_to_be_fastest(
    name: str, device: str, precision: str, layout: torch.memory_format
) -> None:
    placement = Placement(torch.device(device), precision, "")
    assert fastest_layout(NETWORKS[name](10, 3), placement) == layout


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
    # the name of a built-in network may be used for another factory
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
def test_names_unknown_to_torchvision_are_an_error(name: str) -> None:
    with pytest.raises(ValueError, match="torchvision has no classification network"):
        resolve_networks(name)


def test_without_timm_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
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


@pytest.mark.parametrize("name", ["resnet21", "ResNet-21", "", "keras/resnet20", "/resnet20", "resnet.20"])
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


def test_a_name_must_not_clash_with_other_fields() -> None:
    for name in ("rank_net", "consensus", "verdict"):
        with pytest.raises(ValueError, match="would clash with fields of this package"):
            resolve_networks({name: SmallNet})
    assert list(resolve_networks({"ranknet": SmallNet})) == ["ranknet"]


@pytest.mark.parametrize("models", [[], {}, ()])
def test_an_empty_choice_of_networks_is_an_error(models: object) -> None:
    with pytest.raises(ValueError, match="no network given"):
        resolve_networks(models)


@pytest.mark.parametrize("model", [SmallNet, SmallNet(), 3, None])
def test_a_network_without_a_name_is_an_error(model: object) -> None:
    with pytest.raises(TypeError, match="has no name: pass networks of your own as a mapping"):
        resolve_networks([model])


def test_build_returns_an_untrained_network_in_training_mode() -> None:
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
    ("result", "returned"),
    [
        (torch.zeros(2, 11), "(2, 11)"),
        (torch.zeros(2, 10, 1, 1), "(2, 10, 1, 1)"),
        (torch.zeros(10), "(10,)"),
        ((torch.zeros(2, 10),), "tuple"),
        (None, "NoneType"),
    ],
)
def test_build_rejects_outputs_that_are_not_logits(result: object, returned: str) -> None:
    with pytest.raises(ValueError, match=re.escape("must return logits of shape (2, 10) for (2, 3, 32, 32) images, n")):
        build_network("flat", lambda num_classes, in_channels: Flat(result), 10, 3, 32)
    with pytest.raises(ValueError, match=re.escape(f"not {returned}")):
        build_network("flat", lambda num_classes, in_channels: Flat(result), 10, 3, 32)


class Fixed(nn.Module):
    """A network with another signature than that of a factory."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()


@pytest.mark.parametrize("factory", [Fixed, lambda num_classes: SmallNet(num_classes)])
def test_a_factory_of_another_signature_is_told_the_right_one(factory: NetworkFactory) -> None:
    with pytest.raises(TypeError, match=r"'mine' is called as factory\(num_classes=\.\.\., in_channels=.*lambda num"):
        resolve_networks({"mine": factory})
    with pytest.raises(TypeError, match=r"'mine' is a network already \(Fixed\).*give a factory\(num_classes="):
        resolve_networks({"mine": Fixed()})


def test_greyscale_images_need_in_channels() -> None:
    with pytest.raises(ValueError, match=r"'colour' does not take .*; all images are greyscale: .* for in_channels"):
        build_network("colour", lambda num_classes, in_channels: SmallNet(num_classes), 4, 1, 16)


def test_build_rejects_probabilities() -> None:
    with pytest.raises(ValueError, match=r"the network 'ended' returns probabilities, not logits: leave out the soft"):
        build_network("ended", lambda num_classes, in_channels: nn.Sequential(SmallNet(3), nn.Softmax(1)), 3, 3, 16)
    # with one class there is nothing to choose
    build_network("one", lambda num_classes, in_channels: nn.Sequential(SmallNet(1), nn.Softmax(1)), 1, 3, 16)
    factory = resolve_networks("resnet20")["resnet20"]
    build_network("usual", lambda num_classes, in_channels: nn.Sequential(factory(), nn.LogSoftmax(1)), 10, 3, 32)


def test_build_rejects_a_network_that_does_not_take_the_images() -> None:
    with pytest.raises(ValueError, match=r"'grey' does not take images of shape \(2, 3, 16, 16\)"):
        build_network("grey", lambda num_classes, in_channels: SmallNet(num_classes, 1), 4, 3, 16)
    # a vision transformer asserts its image size, which is no RuntimeError
    factory = resolve_networks("torchvision/vit_b_32")["vit_b_32"]
    with pytest.raises(ValueError, match=r"'vit_b_32' does not take images of shape \(2, 3, 32, 32\)"):
        build_network("vit_b_32", factory, 4, 3, 32)


@pytest.mark.parametrize(
    ("written", "name"),
    [("ResNet-20", "resnet20"), ("VGG-16", "vgg16"), ("MobileNet", "mobilenet"), ("VGG 16", "vgg16")],
)
def test_networks_may_be_written_as_in_the_app(written: str, name: str) -> None:
    assert resolve_networks([written]) == {name: NETWORKS[name]}
