from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from fiftyone_learnability.training import measuring
from fiftyone_learnability.training.device import Placement
from fiftyone_learnability.training.measuring import fold_batch_norms, folds_safely, measure, measuring_batch
from fiftyone_learnability.training.networks import NETWORKS
from fiftyone_learnability.training.pixels import ResidentImages

from .small import CPU, Linear, SmallNet, random_images


def used(network: nn.Module, channels: int = 3, size: int = 16) -> nn.Module:
    """A network with trained-looking batch norms."""
    generator = torch.Generator().manual_seed(51)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 2, generator=generator)
                module.bias.uniform_(-1, 1, generator=generator)
        for _ in range(3):
            network(2 * torch.randn(16, channels, size, size, generator=generator) + 1)
    return network.eval()


def count(network: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(module, kind) for module in network.modules())


@pytest.mark.parametrize("name", NETWORKS)
def test_folding_does_not_change_the_logits(name: str) -> None:
    network = used(NETWORKS[name](10, 3))
    before = copy.deepcopy(network.state_dict())
    folded = fold_batch_norms(network)
    assert count(network, nn.BatchNorm2d) > 12
    assert count(folded, nn.BatchNorm2d) == 0
    images = torch.randn(7, 3, 16, 16, generator=torch.Generator().manual_seed(52))
    with torch.no_grad():
        plain = network(images)
        scale = plain.abs().max()
        torch.testing.assert_close(folded(images) / scale, plain / scale, rtol=0, atol=2e-6)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


class Odd(nn.Sequential):
    """A container that computes more than its layers."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 1


def plain_pair() -> list[nn.Module]:
    return [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)]


def hooked(index: int) -> nn.Module:
    pair = plain_pair()
    pair[index].register_forward_hook(lambda module, args, output: output + 1)
    return nn.Sequential(*pair)


UNFOLDABLE: dict[str, Callable[[], nn.Module]] = {
    "a subclass of Sequential": lambda: Odd(*plain_pair()),
    "a layer between": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)),
    "the norm first": lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)),
    "statistics of the batch": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)),
    "a hooked convolution": lambda: hooked(0),
    "a hooked norm": lambda: hooked(1),
    "weights that are computed": lambda: nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4)
    ),
}


@pytest.mark.parametrize("build", UNFOLDABLE.values(), ids=UNFOLDABLE)
def test_uncertain_batch_norms_are_not_folded(build: Callable[[], nn.Module]) -> None:
    network = used(build())
    assert fold_batch_norms(network) is network


def test_a_part_that_stays_in_training_mode_is_not_folded() -> None:
    network = used(nn.Sequential(*plain_pair(), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)))
    network[1].train()
    assert count(fold_batch_norms(network), nn.BatchNorm2d) == 1


class Unusual(nn.Module):
    """Calls the layers of a container one by one, and uses the values between them."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(*plain_pair())

    def forward(self, x: Tensor) -> Tensor:
        between = self.features[0](x)
        return (self.features[1](between) + between).mean((2, 3))


class Plain(Unusual):
    """Calls the container as a whole."""

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x).mean((2, 3))


def test_unsafe_folding_is_detected() -> None:
    for safe in (SmallNet(5, 3), Plain(), nn.Sequential(nn.Flatten(), nn.Linear(3 * 256, 2))):
        assert folds_safely(safe, 3, 16)
    before = Unusual()
    state = copy.deepcopy(before.state_dict())
    # its fresh batch norm changes nothing, so the check needs other statistics
    assert not folds_safely(before, 3, 16)
    assert all(torch.equal(value, state[name]) for name, value in before.state_dict().items())
    assert before.training
    assert not folds_safely(Uncopyable(), 3, 16)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_networks_of_the_paper_fold_safely(name: str) -> None:
    assert folds_safely(NETWORKS[name](10, 3), 3, 32)


def test_a_shared_convolution_is_folded_where_that_is_safe() -> None:
    shared = nn.Conv2d(3, 3, 3, padding=1)
    network = used(nn.Sequential(shared, nn.BatchNorm2d(3), nn.ReLU(), shared, nn.Flatten()))
    folded = fold_batch_norms(network)
    images = torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(folded(images), network(images), rtol=1e-4, atol=1e-5)
    assert count(folded, nn.BatchNorm2d) == 0


class Uncopyable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(*plain_pair())

    def __deepcopy__(self, memo: object) -> nn.Module:
        raise TypeError("holds an open file")

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x).mean((2, 3))


def test_a_network_that_cannot_be_copied_is_not_folded() -> None:
    network = used(Uncopyable())
    assert fold_batch_norms(network) is network


@given(st.integers(2, 40), st.integers(1, 9), st.integers(1, 3), st.booleans())
def test_every_image_is_measured_once_with_the_logits_of_the_plain_network(
    samples: int, batch: int, at_once: int, folds: bool
) -> None:
    rng = np.random.default_rng(samples)
    pixels = random_images(rng, samples, 8, 3)
    images = ResidentImages(pixels, np.full(3, 0.5, np.float32), np.full(3, 0.25, np.float32), CPU.device)
    network = used(SmallNet(5, 3), size=8).train()
    before = copy.deepcopy(network.state_dict())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "ROWS_AT_ONCE", at_once * batch)
        measured = list(measure(network, images, CPU, batch, folds))
    assert torch.cat([indices for indices, _ in measured]).tolist() == list(range(samples))
    # the same in eval mode, by hand
    plain = torch.from_numpy(((pixels / 255 - 0.5) / 0.25).transpose(0, 3, 1, 2).astype(np.float32))
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    with torch.no_grad():
        expected = network.eval()(plain)
    torch.testing.assert_close(torch.cat([logits for _, logits in measured]), expected, rtol=1e-4, atol=1e-4)


def test_the_mode_of_the_network_is_restored_even_after_an_error() -> None:
    pixels = random_images(np.random.default_rng(0), 4, 8, 3)
    images = ResidentImages(pixels, np.zeros(3, np.float32), np.ones(3, np.float32), CPU.device)
    network = SmallNet(5, 1).train()
    with pytest.raises(RuntimeError, match="channels"):
        list(measure(network, images, CPU))
    assert network.training
    network.eval()
    list(measure(Linear(2, 3 * 64).eval(), images, CPU))
    assert not network.training


def test_lower_precision_gives_float32_logits() -> None:
    pixels = random_images(np.random.default_rng(0), 30, 8, 3)
    images = ResidentImages(pixels, np.full(3, 0.5, np.float32), np.full(3, 0.25, np.float32), CPU.device)
    network = used(SmallNet(5, 3), size=8)
    (exact,) = measure(network, images, CPU, folds=True)
    (rough,) = measure(network, images, Placement(CPU.device, "bf16", ""), folds=True)
    assert rough[1].dtype == torch.float32
    difference = (rough[1] - exact[1]).abs().max()
    assert 0 < difference < 0.05 * exact[1].abs().max()


@pytest.mark.parametrize(
    ("device", "size", "at_least", "memory", "expected"),
    [
        ("cpu", 32, 1, None, 128),
        ("cpu", 64, 16, None, 128),
        # large images: fewer, but as many as a training step takes
        ("cpu", 256, 1, None, 8),
        ("cpu", 256, 64, None, 64),
        ("cpu", 32, 1000, None, 128),
        ("cuda", 32, 1, None, 1000),
        ("cuda", 64, 1, None, 1000),
        ("cuda", 224, 1, None, 81),
        ("cuda", 224, 128, None, 128),
        ("cuda", 1024, 1, None, 3),
        # half of the memory, at 768 bytes a pixel
        ("cuda", 32, 1, 2 * 768 * 32**2 * 50, 50),
        ("cuda", 32, 128, 2 * 768 * 32**2 * 50, 128),
        ("cuda", 32, 1, 80 * 10**9, 1000),
        ("cuda", 1024, 1, 0, 1),
    ],
)
def test_as_many_images_are_measured_at_once_as_fit(
    device: str, size: int, at_least: int, memory: int | None, expected: int
) -> None:
    assert measuring_batch(torch.device(device), size, at_least, memory) == expected
