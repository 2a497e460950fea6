"""What a network does in training is tried before it is trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fiftyone_learnability.training.device import Placement
from fiftyone_learnability.training.networks import NetworkFactory
from fiftyone_learnability.training.result import predict_logits
from fiftyone_learnability.training.trial import try_training

from .small import CPU, SHORT, SmallNet, random_images, run, true_probabilities


class LeNet(nn.Module):
    """As in most tutorials: flattened by ``view``, which needs contiguous images."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(in_channels, 4, 3), nn.ReLU(), nn.MaxPool2d(2))
        self.head = nn.Linear(4 * 5 * 5, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        return self.head(x.view(x.size(0), -1))


class Wrapped(SmallNet):
    """A network whose forward is changed by a function of itself and its logits."""

    def __init__(self, num_classes: int, in_channels: int, change: Callable[[nn.Module, Tensor], Any]) -> None:
        super().__init__(num_classes, in_channels)
        self.change = change

    def forward(self, x: Tensor) -> Any:
        return self.change(self, super().forward(x))


def wrapped(change: Callable[[nn.Module, Tensor], Any]) -> NetworkFactory:
    return lambda num_classes, in_channels: Wrapped(num_classes, in_channels, change)


def fail_in_training(network: nn.Module, logits: Tensor) -> Tensor:
    if network.training:
        raise KeyError("no such branch")
    return logits


def run_out_of_memory(network: nn.Module, logits: Tensor) -> Tensor:
    if network.training:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    return logits


def place(factory: NetworkFactory, num_classes: int = 3, channels: int = 3, size: int = 12) -> Placement:
    return try_training("net", factory, num_classes, channels, size, SHORT, CPU)[1]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_network_that_flattens_by_view_gets_contiguous_images(rng: np.random.Generator, channels: int) -> None:
    images, labels = random_images(rng, 20, 12, channels), rng.integers(0, 3, 20)
    with pytest.raises(RuntimeError, match="view size is not compatible"):
        run(images, labels, factory=LeNet)
    placement = place(LeNet, channels=channels)
    assert placement.layout == torch.contiguous_format
    result = run(images, labels, factory=LeNet, placement=placement)
    assert result.placement == placement
    probabilities = true_probabilities(predict_logits(result, images), labels)
    np.testing.assert_allclose(result.tracker.last_probabilities, probabilities, atol=1e-5)


def test_other_networks_are_trained_in_the_fastest_layout(noise: tuple[np.ndarray, np.ndarray]) -> None:
    placement = place(SmallNet)
    assert placement.layout == torch.channels_last
    expected, found = run(*noise), run(*noise, placement=placement)
    assert found.placement == expected.placement == placement
    np.testing.assert_array_equal(found.scores()["learnability"], expected.scores()["learnability"])


@pytest.mark.parametrize(
    ("factory", "cause"),
    [
        (lambda num_classes, in_channels: SmallNet(num_classes, in_channels).requires_grad_(False), "are frozen"),
        (lambda num_classes, in_channels: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), "it has no weights"),
        (wrapped(lambda network, logits: logits.detach()), "do not depend on any weight that is trained"),
        (
            wrapped(lambda network, logits: (logits, logits) if network.training else logits),
            r"in training mode it must return logits of shape \(2, 3\) for two images, not tuple; .* aux_logits=False",
        ),
        (wrapped(lambda network, logits: {"out": logits} if network.training else logits), "not dict"),
        (wrapped(lambda network, logits: logits[:, :2] if network.training else logits), r"not \(2, 2\) of"),
        (wrapped(lambda network, logits: logits.long() if network.training else logits), "of torch.int64"),
        (
            wrapped(fail_in_training),
            "a step with two images of 3x12x12 in float32 on cpu raised KeyError: 'no such branch",
        ),
        (wrapped(run_out_of_memory), "cpu has no memory for a step with two images .*: choose another device"),
        (lambda num_classes, in_channels: SmallNet(num_classes, in_channels).double(), "RuntimeError: .*Double"),
    ],
)
def test_the_message_names_network_and_cause(factory: NetworkFactory, cause: str) -> None:
    with pytest.raises(ValueError, match=rf"^the network 'net' .*{cause}") as caught:
        place(factory)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shared", [lambda network: network, lambda network: nn.Sequential(network)])
def test_a_factory_that_does_not_build_anew_is_refused(shared: Callable[[nn.Module], nn.Module]) -> None:
    """Each training would continue the one before."""
    kept = SmallNet(3, 3)
    before = {name: value.clone() for name, value in kept.state_dict().items()}
    with pytest.raises(
        ValueError, match=r"'net' cannot be trained: its factory returns the same network.*copy\.deepcopy"
    ):
        place(lambda num_classes, in_channels: shared(kept))
    for name, value in kept.state_dict().items():
        assert torch.equal(value, before[name])


def test_the_trial_draws_nothing_from_the_callers_random_state() -> None:
    torch.manual_seed(51)
    expected = torch.rand(1)
    torch.manual_seed(51)
    place(SmallNet)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_the_settings_of_the_caller_change_nothing_and_return(
    noise: tuple[np.ndarray, np.ndarray], precision: str
) -> None:
    placement = Placement(torch.device("cpu"), precision, "chosen by the test")
    expected = run(*noise, placement=placement).scores()

    def check() -> None:
        try_training("net", SmallNet, 3, 3, 12, SHORT, placement)
        result = run(*noise, placement=placement)
        for name, values in expected.items():
            np.testing.assert_array_equal(result.scores()[name], values)
        predict_logits(result, noise[0])

    for context in (torch.no_grad(), torch.inference_mode(), torch.device("meta"), torch.autocast("cpu")):
        with context:
            before = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_device()
            autocasts = torch.is_autocast_enabled("cpu")
            check()
            assert before == (
                torch.is_grad_enabled(),
                torch.is_inference_mode_enabled(),
                torch.get_default_device(),
            )
            assert torch.is_autocast_enabled("cpu") == autocasts
    try:
        torch.set_grad_enabled(False)
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        check()
        assert not torch.is_grad_enabled()
        assert torch.get_default_dtype() == torch.float64
        assert torch.get_default_device().type == "meta"
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)
        torch.set_grad_enabled(True)
