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


def test_a_network_that_flattens_by_view_gets_contiguous_images(noise: tuple[np.ndarray, np.ndarray]) -> None:
    network = LeNet(3, 3)
    assert try_training("lenet", network, CPU, 3, 3, 12) == torch.contiguous_format
    assert try_training("small", SmallNet(3, 3), CPU, 3, 3, 12) == torch.channels_last
    images, labels = noise
    result = run(images, labels, factory=LeNet)
    assert result.layout == torch.contiguous_format
    probabilities = true_probabilities(predict_logits(result, images), labels)
    np.testing.assert_allclose(result.tracker.last_probabilities, probabilities, atol=1e-5)


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
        (
            wrapped(fail_in_training),
            "two images of 3x12x12 in float32 on cpu raised KeyError: 'no such branch",
        ),
        (lambda num_classes, in_channels: SmallNet(num_classes, in_channels).double(), "RuntimeError: .*Double"),
    ],
)
def test_the_message_names_network_and_cause(factory: NetworkFactory, cause: str, rng: np.random.Generator) -> None:
    images = random_images(rng, 10, 12, 3)
    with pytest.raises(ValueError, match=rf"^the network 'net' .*{cause}") as caught:
        run(images, rng.integers(0, 3, 10), factory=factory)
    assert "\n" not in str(caught.value)


def test_a_network_that_cannot_be_copied_is_trained(noise: tuple[np.ndarray, np.ndarray]) -> None:
    class Uncopyable(SmallNet):
        def __deepcopy__(self, memo: Any) -> Any:
            raise TypeError("holds a lock")

    expected = run(*noise).scores()["learnability"]
    found = run(*noise, factory=Uncopyable).scores()["learnability"]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_trial_does_not_train_the_network_of_the_run(noise: tuple[np.ndarray, np.ndarray]) -> None:
    kept = SmallNet(3, 3)

    def stop(count: int) -> None:
        raise InterruptedError

    factory = lambda num_classes, in_channels: kept  # noqa: E731
    with pytest.raises(InterruptedError):
        run(*noise, SHORT, factory=factory, on_batch=stop)
    assert kept.features[1].num_batches_tracked == 1


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_the_settings_of_the_caller_change_nothing_and_return(
    noise: tuple[np.ndarray, np.ndarray], precision: str
) -> None:
    placement = Placement(torch.device("cpu"), precision, "chosen by the test")
    expected = run(*noise, placement=placement).scores()

    def check() -> None:
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
