from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from fiftyone_learnability.training.architectures import ResNet20
from fiftyone_learnability.training.batch_statistics import estimate_statistics, restored_statistics, stale_norms
from fiftyone_learnability.training.options import TrainingOptions
from fiftyone_learnability.training.pixels import ResidentImages, channel_statistics
from fiftyone_learnability.training.result import TrainingResult

from .small import CPU, SHORT, SmallNet, normalised, read_digits, run, true_probabilities


class Slow(SmallNet):
    """Batch norms of the momentum of torchvision's mobilenet_v3."""

    def __init__(self, num_classes: int, in_channels: int, momentum: float | None = 0.01) -> None:
        super().__init__(num_classes, in_channels)
        for norm in norms_of(self):
            norm.momentum = momentum


def norms_of(network: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


def bits(network: nn.Module) -> list[bytes]:
    return [value.numpy().tobytes() for value in network.state_dict().values()]


@pytest.mark.parametrize(
    ("momentum", "steps", "stale"),
    [(0.1, 28, True), (0.1, 29, False), (0.01, 298, True), (0.01, 299, False), (None, 10_000, True), (0.0, 1, False)],
)
def test_statistics_are_stale_if_a_twentieth_is_of_earlier_epochs(
    momentum: float | None, steps: int, stale: bool
) -> None:
    network = Slow(10, 3, momentum)
    assert stale_norms(network, steps) == (norms_of(network) if stale else [])


def test_frozen_and_missing_statistics_are_left_alone() -> None:
    network = nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3, track_running_stats=False), nn.GroupNorm(1, 3))
    assert stale_norms(network, 4) == [network[0]]
    network[0].eval()
    assert stale_norms(network, 4) == []
    for name in ("resnet18", "mobilenet_v3_small"):
        whole = torchvision.models.get_model(name, num_classes=4)
        assert len(stale_norms(whole, 4)) == len(norms_of(whole)) > 10


def test_estimated_statistics_are_the_mean_over_batches(rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, (50, 8, 8, 3), dtype=np.uint8)
    images = ResidentImages(pixels, *channel_statistics(pixels), torch.device("cpu"))
    network = nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Dropout(0.9), nn.Conv2d(5, 4, 3), nn.BatchNorm2d(4)
    )
    before, momentum = bits(network), network[1].momentum
    order = torch.randperm(50)
    batches = order.tensor_split([16, 32])
    torch.manual_seed(51)
    expected_random = torch.rand(1)
    torch.manual_seed(51)
    with restored_statistics(norms_of(network)):
        estimate_statistics(network, norms_of(network), images, batches, CPU)
        inputs = normalised(pixels)
        for norm, depth in ((network[1], 1), (network[4], 4)):
            before_norm = copy.deepcopy(network[:depth]).eval()
            for earlier in norms_of(before_norm):
                earlier.train()
            seen = [before_norm(inputs[batch]) for batch in batches]
            share = torch.tensor([len(batch) / 50 for batch in batches])
            means = torch.stack([value.mean((0, 2, 3)) for value in seen])
            variances = torch.stack([value.transpose(0, 1).flatten(1).var(1) for value in seen])
            torch.testing.assert_close(norm.running_mean, share @ means, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(norm.running_var, share @ variances, atol=1e-5, rtol=1e-4)
    # nothing is drawn at random, and the training goes on as if nothing had happened
    assert torch.equal(torch.rand(1), expected_random)
    assert bits(network) == before
    assert network[1].momentum == momentum
    assert all(module.training for module in network.modules())


def test_statistics_are_restored_after_an_error() -> None:
    network = SmallNet(4, 3)
    before = bits(network)
    with pytest.raises(KeyboardInterrupt), restored_statistics(norms_of(network)):  # noqa: PT012
        network(torch.rand(4, 3, 8, 8))
        raise KeyboardInterrupt
    assert bits(network) == before


def test_the_training_is_the_same_with_fresh_statistics(noise: tuple[np.ndarray, np.ndarray]) -> None:
    """Neither weights nor losses change, and the run can be resumed from any of its states."""
    states: list[dict[str, Any]] = []
    options = replace(SHORT, epochs=4)
    result = run(*noise, options, on_state=lambda epoch, state: states.append(state()))
    unmeasured = run(*noise, replace(options, measure_every=4, el2n_epoch=4))
    assert [one.train_loss for one in result.reports] == [one.train_loss for one in unmeasured.reports]
    assert bits(result.network) == bits(unmeasured.network)
    for state in states.copy():
        again = run(*noise, options, state=copy.deepcopy(state))
        assert bits(again.network) == bits(result.network)
        for name, values in result.scores().items():
            np.testing.assert_array_equal(again.scores()[name], values)


def fresh_probabilities(network: nn.Module, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The oracle: probabilities with the statistics of all images at once, in a copy."""
    copied = copy.deepcopy(network).eval()
    for norm in norms_of(copied):
        norm.momentum = 1.0
        norm.train()
    with torch.no_grad():
        inputs = normalised(images)
        copied(inputs)
        return true_probabilities(copied.eval()(inputs).numpy(), labels)


def learn_digits(
    digits: tuple[list[str], list[str]], factory: type[nn.Module], options: TrainingOptions
) -> tuple[TrainingResult, np.ndarray]:
    """A run over 200 digits, and the learnability under the oracle's statistics."""
    images, labels = read_digits(digits, 200, 16)
    made: list[nn.Module] = []
    probabilities: list[np.ndarray] = []

    def build(num_classes: int, in_channels: int) -> nn.Module:
        made.append(factory(num_classes, in_channels))
        return made[-1]

    def measure(report: object) -> None:
        probabilities.append(fresh_probabilities(made[0], images, labels))

    result = run(images, labels, options, factory=build, num_classes=10, on_epoch=measure)
    return result, np.mean(probabilities, axis=0)


@pytest.mark.parametrize("factory", [SmallNet, Slow, ResNet20])
def test_with_few_steps_learnability_is_that_under_fresh_statistics(
    digits: tuple[list[str], list[str]], factory: type[nn.Module]
) -> None:
    options = TrainingOptions(epochs=10, batch_size=50, lr=0.05, crop_padding=1, horizontal_flip=False)
    result, expected = learn_digits(digits, factory, options)
    assert np.corrcoef(result.scores()["learnability"], expected)[0, 1] > 0.98


def test_a_network_of_low_momentum_measures_what_it_has_learned(digits: tuple[list[str], list[str]]) -> None:
    """With its running statistics it would stay at chance while its loss falls."""
    options = TrainingOptions(epochs=15, batch_size=50, lr=0.05, crop_padding=1, horizontal_flip=False)
    result, _ = learn_digits(digits, Slow, options)
    losses = [report.train_loss for report in result.reports]
    assert losses[-1] < 0.5 * losses[0]
    assert result.reports[-1].measured_accuracy is not None
    assert result.reports[-1].measured_accuracy > 0.6
