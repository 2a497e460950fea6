from __future__ import annotations

import io
import math
import random
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode

from fiftyone_learnability.scores.formulas import hits, learnability
from fiftyone_learnability.training import measuring
from fiftyone_learnability.training.augmentation import EpochDraws
from fiftyone_learnability.training.device import Placement, choose_placement
from fiftyone_learnability.training.networks import NETWORKS, NetworkFactory
from fiftyone_learnability.training.options import TrainingOptions
from fiftyone_learnability.training.result import predict_logits
from fiftyone_learnability.training.run import (
    EpochReport,
    TrainingData,
    TrainingDivergedError,
    TrainingMemoryError,
    TrainingResult,
    train,
)
from fiftyone_learnability.training.schedule import learning_rate

from .small import CPU, Callbacks, Linear, SmallNet, random_images, read_digits

SHORT = TrainingOptions(epochs=2, batch_size=16, lr=0.1, crop_padding=2)
PLAIN = TrainingOptions(epochs=1, batch_size=4, lr=0.1, crop_padding=0, horizontal_flip=False)


def run(
    images: np.ndarray,
    labels: np.ndarray,
    options: TrainingOptions = SHORT,
    seed: int = 0,
    factory: NetworkFactory = SmallNet,
    num_classes: int = 3,
    placement: Placement = CPU,
    state: dict[str, Any] | None = None,
    **callbacks: Callable[..., object],
) -> TrainingResult:
    data = TrainingData(images, labels, num_classes)
    return train("net", factory, data, options, seed, placement, Callbacks(**callbacks), state)


def linear(in_features: int) -> NetworkFactory:
    return lambda num_classes, in_channels: Linear(num_classes, in_features)


def normalised(images: np.ndarray) -> Tensor:
    """What the network is to see, in double precision until the last step."""
    values = images / 255
    values = (values - values.mean(axis=(0, 1, 2))) / values.std(axis=(0, 1, 2))
    return torch.from_numpy(values.transpose(0, 3, 1, 2).astype(np.float32))


def true_probabilities(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return softmax(logits.astype(np.float64), axis=1)[np.arange(len(labels)), labels]


@pytest.fixture
def noise(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """50 random images of 12 pixels and their classes."""
    return random_images(rng, 50, 12, 3), rng.integers(0, 3, 50)


def bits(result: TrainingResult) -> list[bytes]:
    """All that a run leaves, to be compared bit for bit."""
    weights = [value.numpy().tobytes() for value in result.network.state_dict().values()]
    curves = [np.array([report.train_loss, report.measured_accuracy]).tobytes() for report in result.reports]
    return [result.tracker.scores()["learnability"].tobytes(), *weights, *curves]


def test_the_same_seed_gives_the_same_bits(noise: tuple[np.ndarray, np.ndarray]) -> None:
    torch.manual_seed(1)
    first = bits(run(*noise))
    torch.manual_seed(2)
    torch.rand(17)
    assert bits(run(*noise)) == first


def test_another_seed_gives_other_scores(noise: tuple[np.ndarray, np.ndarray]) -> None:
    first, second = (run(*noise, seed=seed).tracker.scores()["learnability"] for seed in (0, 1))
    assert np.abs(first - second).max() > 1e-3


def test_the_callers_random_state_is_left_alone(noise: tuple[np.ndarray, np.ndarray]) -> None:
    torch.manual_seed(51)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002

    def stop(report: EpochReport) -> None:
        raise KeyboardInterrupt

    run(*noise)
    assert torch.equal(torch.get_rng_state(), states[0])
    with pytest.raises(KeyboardInterrupt):
        run(*noise, on_epoch=stop)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.random.get_state()[1].tolist() == states[2]  # noqa: NPY002


def test_images_and_labels_are_left_alone(noise: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = noise
    copies = images.copy(), labels.copy()
    run(images, labels)
    np.testing.assert_array_equal(images, copies[0])
    np.testing.assert_array_equal(labels, copies[1])


class WithDropout(SmallNet):
    """Keeps the masks of its dropout, seen in training mode."""

    masks: list[Tensor]

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes, in_channels)
        self.dropout = nn.Dropout(0.5)
        self.masks = []

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.masks.append(self.dropout(torch.ones(8, 8)))
        return self.head(self.dropout(self.features(x).amax((2, 3))))


def test_dropout_is_reproducible_and_differs_between_epochs(noise: tuple[np.ndarray, np.ndarray]) -> None:
    torch.manual_seed(1)
    first = run(*noise, factory=WithDropout)
    torch.manual_seed(2)
    second = run(*noise, factory=WithDropout)
    assert bits(first) == bits(second)
    # nor does it matter what a callback draws
    third = run(*noise, factory=WithDropout, on_epoch=lambda report: torch.rand(report.epoch))
    assert bits(first) == bits(third)
    masks = [mask.numpy().tobytes() for mask in first.network.masks]
    assert len(set(masks)) == len(masks) == 2 * 4


@pytest.mark.parametrize("channels", [1, 3])
def test_the_measurement_is_that_of_the_final_network_on_clean_images(channels: int, rng: np.random.Generator) -> None:
    # more images than one batch of the measurement, and a last batch that is not full
    images, labels = random_images(rng, 1203, 6, channels), rng.integers(0, 3, 1203)
    result = run(images, labels, replace(SHORT, epochs=1, batch_size=128))
    network = result.network.eval()
    with torch.no_grad():
        logits = network(normalised(images)).numpy()
    np.testing.assert_allclose(predict_logits(result, images), logits, atol=1e-4)
    scores = result.tracker.scores()
    np.testing.assert_allclose(scores["learnability"], true_probabilities(logits, labels), atol=1e-5)
    predicted = predict_logits(result, images)
    np.testing.assert_allclose(scores["learnability"], true_probabilities(predicted, labels), atol=1e-7)
    np.testing.assert_array_equal(scores["hits"], predicted.argmax(axis=1) == labels)
    assert result.reports[0].measured_accuracy == (predicted.argmax(axis=1) == labels).mean()


def test_learnability_is_the_mean_over_all_epochs(noise: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = noise
    made: list[nn.Module] = []
    recorded: list[np.ndarray] = []

    def factory(num_classes: int, in_channels: int) -> nn.Module:
        made.append(SmallNet(num_classes, in_channels))
        return made[-1]

    def record(report: EpochReport) -> None:
        (network,) = made
        assert network.training
        network.eval()
        with torch.no_grad():
            recorded.append(network(normalised(images)).numpy())
        network.train()

    result = run(images, labels, replace(SHORT, epochs=4), factory=factory, on_epoch=record)
    assert [report.epoch for report in result.reports] == [1, 2, 3, 4]
    probabilities = np.stack([true_probabilities(logits, labels) for logits in recorded])
    predictions = np.stack([logits.argmax(axis=1) for logits in recorded])
    assert np.ptp(probabilities, axis=0).max() > 0.01  # the epochs differ
    scores = result.tracker.scores()
    np.testing.assert_allclose(scores["learnability"], learnability(probabilities), atol=1e-5)
    np.testing.assert_allclose(scores["hits"], hits(predictions, labels), atol=1e-12)
    accuracies = [report.measured_accuracy for report in result.reports]
    np.testing.assert_allclose(accuracies, (predictions == labels).mean(axis=1), atol=1e-12)
    assert (result.tracker.epoch_counts == 4).all()


def test_the_steps_are_those_of_sgd_with_nesterov_momentum(rng: np.random.Generator) -> None:
    """A softmax regression, trained once more in numpy."""
    images, labels = random_images(rng, 10, 2, 3), rng.integers(0, 3, 10)
    options = replace(PLAIN, epochs=3, lr=0.2, weight_decay=0.01)
    initial: list[np.ndarray] = []

    def factory(num_classes: int, in_channels: int) -> nn.Module:
        network = Linear(num_classes, 12)
        initial.extend(parameter.detach().double().numpy().copy() for parameter in network.parameters())
        return network

    result = run(images, labels, options, seed=7, factory=factory)

    x = normalised(images).double().numpy().reshape(10, 12)
    weight, bias = initial
    momentum = [np.zeros_like(weight), np.zeros_like(bias)]
    step, losses = 0, []
    for epoch in (1, 2, 3):
        order = EpochDraws.draw(10, 0, False, 7, epoch, torch.device("cpu")).order.numpy()
        losses.append(0.0)
        for index in np.array_split(order, 3):
            logits = x[index] @ weight.T + bias
            losses[-1] -= log_softmax(logits, axis=1)[np.arange(len(index)), labels[index]].sum() / 10
            error = (softmax(logits, axis=1) - np.eye(3)[labels[index]]) / len(index)
            gradients = [error.T @ x[index] + 0.01 * weight, error.sum(axis=0) + 0.01 * bias]
            momentum = [0.9 * m + g for m, g in zip(momentum, gradients, strict=True)]
            # 9 steps, of which the first is the warm-up: half the peak, then a cosine from the peak
            rate = 0.1 if step == 0 else 0.2 * math.cos(math.pi / 2 * (step - 1) / 8) ** 2
            weight, bias = (
                w - rate * (g + 0.9 * m) for w, g, m in zip((weight, bias), gradients, momentum, strict=True)
            )
            step += 1
    np.testing.assert_allclose(result.network.layer.weight.detach().numpy(), weight, atol=1e-5)
    np.testing.assert_allclose(result.network.layer.bias.detach().numpy(), bias, atol=1e-5)
    np.testing.assert_allclose([report.train_loss for report in result.reports], losses, atol=1e-5)


class Recorder(Linear):
    """Keeps what it is shown, in training and in the measurement."""

    def __init__(self, num_classes: int, in_features: int) -> None:
        super().__init__(num_classes, in_features)
        self.shown: dict[bool, list[Tensor]] = {True: [], False: []}

    def forward(self, x: Tensor) -> Tensor:
        self.shown[self.training].append(x.detach().clone())
        return super().forward(x)


@pytest.mark.parametrize(("count", "batch_size", "sizes"), [(50, 16, {12, 13}), (5, 16, {5}), (48, 16, {16})])
def test_batches_show_every_image_once_an_epoch(count: int, batch_size: int, sizes: set[int]) -> None:
    # the colour of an image is its number
    images = np.zeros((count, 4, 4, 3), dtype=np.uint8)
    images += np.arange(count, dtype=np.uint8)[:, None, None, None]
    counted: list[int] = []
    result = run(
        images,
        np.arange(count) % 3,
        replace(PLAIN, epochs=3, batch_size=batch_size),
        factory=lambda num_classes, in_channels: Recorder(num_classes, 48),
        on_batch=counted.append,
    )
    shades = images[:, 0, 0, 0] / 255
    shades = (shades - shades.mean()) / shades.std()

    def numbers(batches: list[Tensor]) -> list[int]:
        values = torch.cat(batches)[:, 0, 0, 0].numpy()
        return np.abs(values[:, None] - shades).argmin(axis=1).tolist()

    shown = result.network.shown
    assert set(map(len, shown[True])) == sizes
    assert counted == [len(batch) for batch in shown[True]]
    steps = len(shown[True]) // 3
    orders = [numbers(shown[True][epoch * steps : (epoch + 1) * steps]) for epoch in range(3)]
    for order in orders:
        assert sorted(order) == list(range(count))
    assert orders[0] != orders[1] != orders[2]
    # the first pass in eval mode is the check of the network, then each image in turn, each epoch
    assert numbers(shown[False][1:]) == list(range(count)) * 3


def test_training_sees_crops_and_flips_and_the_measurement_does_not(rng: np.random.Generator) -> None:
    images = random_images(rng, 8, 5, 3)
    options = TrainingOptions(epochs=1, batch_size=8, crop_padding=2)
    result = run(
        images, np.arange(8) % 3, options, factory=lambda num_classes, in_channels: Recorder(num_classes, 75), seed=3
    )
    clean = normalised(images)
    draws = EpochDraws.draw(8, 2, True, 3, 1, torch.device("cpu"))
    assert draws.flips.any()
    assert not draws.flips.all()
    for shown, index in zip(result.network.shown[True][0], draws.order.tolist(), strict=True):
        padded = np.pad(clean[index].numpy(), ((0, 0), (2, 2), (2, 2)))
        row, column = int(draws.rows[index]), int(draws.columns[index])
        crop = padded[:, row : row + 5, column : column + 5]
        np.testing.assert_allclose(shown.numpy(), crop[:, :, ::-1] if draws.flips[index] else crop, atol=1e-5)
    torch.testing.assert_close(torch.cat(result.network.shown[False][1:]), clean, atol=1e-5, rtol=0)


def test_the_reports_tell_loss_and_accuracy_while_training(noise: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = noise
    # a rate so low that nothing is learned; 50 images make batches of two sizes, which a mean of means would not weigh
    result = run(images, labels, replace(PLAIN, lr=1e-12, batch_size=8), factory=linear(432))
    logits = predict_logits(result, images).astype(np.float64)
    (report,) = result.reports
    assert report.train_loss == pytest.approx(-log_softmax(logits, axis=1)[np.arange(50), labels].mean(), abs=1e-5)
    assert report.train_accuracy == (logits.argmax(axis=1) == labels).mean()
    assert (report.epoch, report.epochs, report.num_samples) == (1, 1, 50)
    assert 0 < report.seconds <= result.seconds


def test_each_step_has_its_learning_rate(noise: tuple[np.ndarray, np.ndarray]) -> None:
    rates: list[float] = []
    handle = register_optimizer_step_pre_hook(lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"]))
    try:
        run(*noise, replace(SHORT, epochs=3))
    finally:
        handle.remove()
    assert rates == [learning_rate(step, 12, 4, 0.1) for step in range(12)]


def test_images_of_one_colour_are_no_error() -> None:
    result = run(np.full((8, 8, 8, 3), 200, dtype=np.uint8), np.arange(8) % 3)
    assert np.isfinite(result.tracker.scores()["learnability"]).all()
    assert np.abs(result.mean - 200 / 255).max() < 1e-6
    assert result.std.tolist() == [1, 1, 1]


@pytest.mark.parametrize("batch_size", [8, 50])
def test_a_training_that_diverges_says_what_to_try(noise: tuple[np.ndarray, np.ndarray], batch_size: int) -> None:
    # with one step an epoch the loss is finite, and the outputs after it are not
    options = TrainingOptions(epochs=3, batch_size=batch_size, lr=1e30)
    with pytest.raises(TrainingDivergedError, match=r"^net: .*not finite in epoch 1 of 3: .*try a lower one, such as"):
        run(*noise, options)


class BecomesNaN(SmallNet):
    """Returns NaN in training or in eval mode, but not when it is first tried."""

    def __init__(self, num_classes: int, in_channels: int, in_training: bool, where: slice) -> None:
        super().__init__(num_classes, in_channels)
        self.calls, self.in_training, self.where = 0, in_training, where

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        self.calls += 1
        if self.calls > 1 and self.training == self.in_training:
            mask = torch.zeros(len(x), 1)
            mask[self.where] = torch.nan
            logits = logits + mask
        return logits


@pytest.mark.parametrize(
    ("in_training", "where", "message"),
    [
        (True, slice(None), "the training loss is not finite in epoch 1 of 2"),
        (True, slice(1), "the training loss is not finite in epoch 1 of 2"),
        (False, slice(None), "the network's outputs are not finite in epoch 1 of 2"),
        (False, slice(1), "the network's outputs are not finite in epoch 1 of 2"),
    ],
)
def test_a_network_that_returns_nan_has_diverged(
    noise: tuple[np.ndarray, np.ndarray], in_training: bool, where: slice, message: str
) -> None:
    with pytest.raises(TrainingDivergedError, match=message) as caught:
        run(
            *noise,
            factory=lambda num_classes, in_channels: BecomesNaN(num_classes, in_channels, in_training, where),
        )
    assert "lr=0.1; try a lower one, such as lr=0.025" in str(caught.value)
    assert isinstance(caught.value, RuntimeError)


class Roomy(nn.Module):
    """A network without batch norm on a device that has room for so many images at a time, from some call on."""

    def __init__(self, num_classes: int, in_channels: int, room: int, calls: int = 1, message: str = "") -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, num_classes)
        )
        self.room, self.calls, self.message = room, calls, message or "CUDA out of memory. Tried to allocate 2.00 GiB"
        self.sizes: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        # the first call is that which tries the network out
        self.sizes.append(len(x))
        if len(x) > self.room and len(self.sizes) > self.calls:
            raise torch.cuda.OutOfMemoryError(self.message)
        return self.layers(x)


def short_of_memory(
    noise: tuple[np.ndarray, np.ndarray], options: TrainingOptions, **limits: Any
) -> tuple[TrainingResult, list[str]]:
    told: list[str] = []
    result = run(
        *noise,
        replace(options, record_dynamics=True),
        factory=lambda num_classes, in_channels: Roomy(num_classes, in_channels, **limits),
        on_incident=told.append,
    )
    return result, told


@pytest.mark.parametrize(("room", "parts"), [(16, 1), (15, 2), (7, 4), (4, 4)])
def test_batches_that_do_not_fit_are_taken_in_parts_and_the_recipe_stays(
    noise: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch, room: int, parts: int
) -> None:
    monkeypatch.setattr(measuring, "CPU_BATCH", 16)
    options = replace(SHORT, epochs=3)
    expected, nothing = short_of_memory(noise, options, room=10**9)
    assert nothing == expected.incidents == []
    result, told = short_of_memory(noise, options, room=room)
    assert len(told) == len(result.incidents) == int(math.log2(parts))
    if parts > 1:
        assert told[-1] == f"net: {result.incidents[-1]}"
        assert (
            f"cpu ran out of memory in epoch 1 of 3: from there on each batch of 16 is split into {parts} parts"
            in told[-1]
        )
    # gradients of the parts add up to that of the whole, but for the order of adding
    for name, value in expected.network.state_dict().items():
        torch.testing.assert_close(result.network.state_dict()[name], value, rtol=1e-3, atol=1e-5)
    for name, values in expected.tracker.scores().items():
        np.testing.assert_allclose(result.tracker.scores()[name], values, rtol=1e-3, atol=1e-5)
    losses = [[report.train_loss for report in run.reports] for run in (result, expected)]
    np.testing.assert_allclose(*losses, rtol=1e-4)
    network = result.network
    assert isinstance(network, Roomy)
    assert max(network.sizes[-4:]) <= room


@pytest.mark.parametrize("calls", [9, 11, 13, 15])
def test_an_epoch_that_ran_out_of_memory_begins_anew(
    noise: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    """In a step or in the measurement of the second epoch: its samples are not counted twice."""
    # one call tries the network out, then each epoch has four steps and measures four batches
    monkeypatch.setattr(measuring, "CPU_BATCH", 16)
    options = replace(SHORT, epochs=3)
    expected, _ = short_of_memory(noise, options, room=10**9)
    result, told = short_of_memory(noise, options, room=10, calls=calls)
    assert all("in epoch 2 of 3" in line for line in told)
    assert told
    assert result.tracker.epoch_counts.tolist() == [3] * 50
    assert [report.epoch for report in result.reports] == [1, 2, 3]
    assert result.dynamics is not None
    assert expected.dynamics is not None
    assert result.dynamics[0].tobytes() == expected.dynamics[0].tobytes()
    np.testing.assert_allclose(result.dynamics, expected.dynamics, atol=2e-3)


def test_gradients_are_scaled_anew_after_a_step_without_memory(
    noise: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that fails has noted already that its gradients are brought to their true size."""
    half = replace(CPU, precision="fp16")
    options = replace(SHORT, epochs=2)

    def train_in_half() -> TrainingResult:
        factory = lambda num_classes, in_channels: Roomy(num_classes, in_channels, 10**9)  # noqa: E731
        return run(*noise, options, factory=factory, placement=half)

    expected = train_in_half()
    step, calls = torch.optim.SGD.step, []

    def fail_once(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(None)
        if len(calls) == 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.SGD, "step", fail_once)
    result = train_in_half()
    assert len(result.incidents) == 1
    for name, value in expected.network.state_dict().items():
        torch.testing.assert_close(result.network.state_dict()[name], value, rtol=0.05, atol=0.01)


def test_no_memory_at_all_says_what_to_do(noise: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(TrainingMemoryError, match=r"^net: cpu ran out of memory.*into 4 parts: choose another device"):
        short_of_memory(noise, SHORT, room=1)


def test_another_error_of_a_network_is_not_taken_for_a_want_of_memory(noise: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(RuntimeError, match="an illegal memory access") as caught:
        short_of_memory(noise, SHORT, room=1, message="CUDA error: an illegal memory access was encountered")
    assert not isinstance(caught.value, TrainingMemoryError)


def test_a_state_does_not_change_while_the_training_goes_on(noise: tuple[np.ndarray, np.ndarray]) -> None:
    states: list[tuple[dict[str, Any], bytes]] = []

    def keep(epoch: int, state: dict[str, Any]) -> None:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        states.append((state, buffer.getvalue()))

    options = replace(SHORT, epochs=4, record_dynamics=True)
    run(*noise, options, on_state=keep)
    for state, saved in states:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        assert buffer.getvalue() == saved
        # a training that goes on from it leaves it alone too
        run(*noise, options, state=state)
        buffer = io.BytesIO()
        torch.save(state, buffer)
        assert buffer.getvalue() == saved


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((4, 8, 8, 3))}, r"in uint8, not \(4, 8, 8, 3\) in float64"),
        ({"images": np.zeros((4, 8, 8), np.uint8)}, r"images must be at least two, .*not \(4, 8, 8\)"),
        ({"images": np.zeros((4, 3, 8, 8), np.uint8)}, r"not \(4, 3, 8, 8\)"),
        ({"images": np.zeros((4, 8, 8, 4), np.uint8)}, r"not \(4, 8, 8, 4\)"),
        ({"images": np.zeros((1, 8, 8, 3), np.uint8), "labels": np.zeros(1, int)}, "images must be at least two"),
        ({"labels": np.zeros(3, int)}, r"labels must have the shape \(4,\), not \(3,\)"),
        ({"labels": np.zeros((4, 1), int)}, r"labels must have the shape \(4,\), not \(4, 1\)"),
        ({"labels": np.array([0, 1, 2, 3])}, r"labels must lie in 0\.\.2, not 0\.\.3"),
        ({"labels": np.array([0, 1, 2, -1])}, r"labels must lie in 0\.\.2, not -1\.\.2"),
        ({"seed": -1}, "seed must not be negative, not -1"),
    ],
)
def test_arguments_that_do_not_fit_together(change: dict[str, object], message: str) -> None:
    arguments = {"images": np.zeros((4, 8, 8, 3), np.uint8), "labels": np.zeros(4, int), **change}
    with pytest.raises(ValueError, match=message):
        run(**arguments)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_networks_of_the_paper_train(name: str, channels: int, rng: np.random.Generator) -> None:
    images, labels = random_images(rng, 16, 16, channels), np.arange(16) % 4
    result = run(images, labels, TrainingOptions(epochs=1, batch_size=8), factory=NETWORKS[name], num_classes=4)
    scores = result.tracker.scores()
    assert ((scores["learnability"] >= 0) & (scores["learnability"] <= 1)).all()
    assert np.ptp(scores["learnability"]) > 0
    assert predict_logits(result, images[:3]).shape == (3, 4)
    assert result.mean.shape == result.std.shape == (channels,)


def test_bf16_measures_nearly_what_float32_does(noise: tuple[np.ndarray, np.ndarray]) -> None:
    seen: set[torch.dtype] = set()

    def factory(num_classes: int, in_channels: int) -> nn.Module:
        network = SmallNet(num_classes, in_channels)
        network.features[0].register_forward_hook(lambda *args: seen.add(args[2].dtype))
        return network

    exact = run(*noise).tracker.scores()["learnability"]
    rough = run(*noise, factory=factory, placement=Placement(torch.device("cpu"), "bf16", ""))
    assert torch.bfloat16 in seen
    found = rough.tracker.scores()["learnability"]
    assert 0 < np.abs(found - exact).max() < 0.1
    assert predict_logits(rough, noise[0]).dtype == np.float32


def test_a_network_overfits_a_few_digits(digits: tuple[list[str], list[str]]) -> None:
    images, labels = read_digits(digits, 60, 16)
    options = TrainingOptions(epochs=20, batch_size=16, crop_padding=0, horizontal_flip=False)
    result = run(images, labels, options, num_classes=10)
    assert result.reports[-1].measured_accuracy > 0.95
    assert result.reports[-1].train_loss < 0.3 < 1 < result.reports[0].train_loss
    # learnability remembers the way there
    assert result.tracker.scores()["hits"].mean() < result.reports[-1].measured_accuracy


def test_planted_label_noise_has_low_learnability(digits: tuple[list[str], list[str]]) -> None:
    images, labels = read_digits(digits, 800, 16)
    rng = np.random.default_rng(51)
    wrong = np.zeros(800, dtype=bool)
    wrong[rng.choice(800, 80, replace=False)] = True
    given_labels = np.where(wrong, (labels + rng.integers(1, 10, 800)) % 10, labels)
    options = TrainingOptions(epochs=8, batch_size=64, crop_padding=1, horizontal_flip=False)
    scores = run(images, given_labels, options, num_classes=10).tracker.scores()
    assert roc_auc_score(wrong, -scores["learnability"]) > 0.95
    # the control: the same training on the right labels says nothing of where the noise was to be
    clean = run(images, labels, options, num_classes=10).tracker.scores()
    assert 0.35 < roc_auc_score(wrong, -clean["learnability"]) < 0.65


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU is available")
def test_a_gpu_gives_nearly_the_scores_of_the_cpu(digits: tuple[list[str], list[str]]) -> None:
    images, labels = read_digits(digits, 400, 16)
    # a low rate, since a high one lets differences of rounding grow; another seed correlates by 0.4, bf16 by 0.98
    options = TrainingOptions(epochs=6, batch_size=64, lr=0.01, crop_padding=1, horizontal_flip=False)
    placement = choose_placement("cuda")
    assert placement.precision in ("bf16", "fp16")
    state = torch.cuda.get_rng_state()
    on_gpu = run(images, labels, options, num_classes=10, placement=placement)
    assert torch.equal(torch.cuda.get_rng_state(), state)
    on_cpu = run(images, labels, options, num_classes=10)
    found, expected = (result.tracker.scores()["learnability"] for result in (on_gpu, on_cpu))
    assert next(on_gpu.network.parameters()).is_cuda
    assert np.isfinite(found).all()
    assert spearmanr(found, expected).statistic > 0.95


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU is available")
# the scaler of fp16 looks in each step whether it overflowed
@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("compile", [False, True])
def test_a_gpu_is_not_waited_for_within_an_epoch(rng: np.random.Generator, precision: str, compile: bool) -> None:
    images, labels = random_images(rng, 256, 16, 3), rng.integers(0, 3, 256)
    batches = 0

    def on_batch(count: int) -> None:
        nonlocal batches
        batches += 1
        # the first epoch chooses algorithms, and compiles; between epochs the device is waited for
        is_within = batches > 8 and batches % 8
        torch.cuda.set_sync_debug_mode("error" if is_within else "default")

    placement = choose_placement("cuda", precision)
    for measure in ("exact", "online"):
        batches = 0
        options = TrainingOptions(epochs=3, batch_size=32, lr=0.01, measure=measure, compile=compile)
        try:
            result = run(images, labels, options, placement=placement, on_batch=on_batch)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert batches == 24
        assert np.isfinite(result.scores()["learnability"]).all()


def test_no_warning_is_given(noise: tuple[np.ndarray, np.ndarray]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(*noise)


class Watched(SmallNet):
    """Keeps the logits that it gives while it is trained."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes, in_channels)
        self.kept: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        if self.training:
            self.kept.append(logits.detach().clone())
        return logits


@pytest.mark.parametrize("every", [1, 2])
def test_online_scores_are_those_of_the_training_pass(noise: tuple[np.ndarray, np.ndarray], every: int) -> None:
    images, labels = noise
    options = replace(SHORT, epochs=3, measure="online", measure_every=every)
    result = run(images, labels, options, factory=Watched)
    assert isinstance(result.network, Watched)
    logits = torch.cat(result.network.kept).reshape(3, 50, 3).numpy()
    expected = np.empty((3, 50))
    for epoch in range(3):
        order = EpochDraws.draw(50, 2, True, 0, epoch + 1, CPU.device).order.numpy()
        expected[epoch, order] = true_probabilities(logits[epoch], labels[order])
    np.testing.assert_allclose(result.scores()["learnability"], expected[::every].mean(axis=0), rtol=1e-5)
    reports = [report for report in result.reports if report.measured_accuracy is not None]
    assert [report.epoch for report in reports] == list(range(1, 4, every))
    # what is measured is the training pass, so that both tell the same accuracy
    for report in reports:
        assert report.measured_accuracy == pytest.approx(report.train_accuracy)


@pytest.mark.parametrize(("epochs", "every"), [(5, 1), (5, 2), (5, 3), (5, 5), (6, 4)])
@pytest.mark.parametrize("measure", ["exact", "online"])
def test_how_it_is_measured_changes_nothing_of_the_training(
    noise: tuple[np.ndarray, np.ndarray], measure: str, epochs: int, every: int
) -> None:
    options = replace(SHORT, epochs=epochs)
    expected = run(*noise, options)
    result = run(*noise, replace(options, measure=measure, measure_every=every))
    weights, others = (network.network.state_dict() for network in (expected, result))
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    assert [report.train_loss for report in result.reports] == [report.train_loss for report in expected.reports]


@pytest.mark.parametrize(("epochs", "every"), [(5, 2), (5, 3), (5, 5), (6, 4), (6, 1)])
def test_each_kth_epoch_is_measured_and_the_last(noise: tuple[np.ndarray, np.ndarray], epochs: int, every: int) -> None:
    def training(every: int) -> TrainingResult:
        return run(*noise, replace(SHORT, epochs=epochs, measure_every=every, record_dynamics=True, el2n_epoch=2))

    every_epoch, result = training(1), training(every)
    measured = sorted(range(epochs, 0, -every))
    assert list(replace(SHORT, epochs=epochs, measure_every=every).measured_epochs) == measured
    assert [report.epoch for report in result.reports if report.measured_accuracy is not None] == measured
    dynamics = every_epoch.dynamics
    assert dynamics is not None
    assert result.dynamics is not None
    rows = [epoch - 1 for epoch in measured]
    np.testing.assert_array_equal(result.dynamics, dynamics[rows])
    scores = result.scores()
    np.testing.assert_allclose(scores["learnability"], dynamics[rows].mean(axis=0, dtype=np.float64), atol=1e-3)
    # the learned epoch is one of the training, not of the measurements
    expected = result.tracker.scores()["learned_epoch"]
    wanted = [measured[int(one) - 1] if one <= len(measured) else epochs + 1 for one in expected]
    assert scores["learned_epoch"].tolist() == wanted
    assert len(set(wanted)) > 1
    # EL2N is that of the first measured epoch from the second on
    early = run(*noise, replace(SHORT, epochs=epochs))
    assert early.reports[-1].epoch == epochs
    until = next(epoch for epoch in measured if epoch >= 2)
    el2n = run(*noise, replace(SHORT, epochs=epochs, el2n_epoch=until)).scores()["el2n"]
    np.testing.assert_array_equal(scores["el2n"], el2n)


def test_a_training_ends_when_its_ranking_is_stable(noise: tuple[np.ndarray, np.ndarray]) -> None:
    options = replace(SHORT, epochs=10)
    states: list[dict[str, Any]] = []
    told: list[str] = []

    def training(stop: float | None, state: Any = None) -> TrainingResult:
        return run(
            *noise,
            replace(options, stop_when_stable=stop, record_dynamics=True),
            state=state,
            on_state=lambda epoch, state: states.append(state),
            on_incident=told.append,
        )

    whole = training(None)
    assert whole.stopped is None
    assert whole.dynamics is not None
    sums = [state["tracker"]["probability_sum"].numpy() for state in states]
    changes = [spearmanr(sums[epoch], sums[epoch - 1]).statistic for epoch in range(1, 9)]
    bound = float(np.median(changes))
    epochs = next(epoch for epoch, change in enumerate(changes, start=2) if change >= bound - 1e-9)
    states.clear()
    result = training(bound - 1e-9)
    assert len(result.reports) == epochs < 10
    assert result.stopped is not None
    assert result.stopped.startswith(f"stopped after {epochs} of 10 epochs because the ranking is stable: its Spearman")
    assert told == [f"net: {result.stopped}"]
    np.testing.assert_array_equal(result.dynamics, whole.dynamics[:epochs])
    np.testing.assert_array_equal(result.scores()["learnability"], sums[epochs - 1] / epochs)
    # from each of its states it comes to the same end, from that of the end too
    assert len(states) == epochs
    for state in states.copy():
        again = training(bound - 1e-9, state)
        assert (bits(again), again.stopped) == (bits(result), result.stopped)


def test_a_training_does_not_end_before_its_early_epoch(noise: tuple[np.ndarray, np.ndarray]) -> None:
    options = replace(SHORT, epochs=10, stop_when_stable=1e-6)
    assert len(run(*noise, options).reports) < 5
    late = run(*noise, replace(options, el2n_epoch=7))
    assert len(late.reports) >= 7
    assert not np.isnan(late.scores()["el2n"]).any()


WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "unique", "_unique2", "equal", "is_nonzero", "item"}
"""Operations whose result the program looks at, or whose shape depends on it: a GPU is waited for."""


class Waits(TorchDispatchMode):
    """Counts what would wait for a GPU, were the tensors on one."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        by_mask = name in ("index", "index_put", "index_put_") and any(
            one is not None and one.dtype == torch.bool for one in args[1]
        )
        if name in WAITING or by_mask:
            self.names.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("measure", ["exact", "online"])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_no_batch_waits_for_the_device(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, measure: str, precision: str
) -> None:
    """The code is that of a GPU: its waits are counted on the CPU, and must not grow with the batches."""
    monkeypatch.setattr(measuring, "CPU_BATCH", 16)
    waits_of_run: list[int] = []
    for count in (32, 320):
        images, labels = random_images(rng, count, 8, 3), rng.integers(0, 3, count)
        waits_after_batch: list[int] = []
        with Waits() as waits:
            run(
                images,
                labels,
                replace(SHORT, epochs=1, measure=measure),
                placement=Placement(torch.device("cpu"), precision, ""),
                on_batch=lambda _, waits=waits, after=waits_after_batch: after.append(len(waits.names)),
            )
        # on a CPU the tracker checks the first batch of an epoch
        assert set(waits_after_batch) == {waits_after_batch[0]}
        waits_of_run.append(len(waits.names))
    assert waits_of_run[0] == waits_of_run[1]


def test_waits_are_seen() -> None:
    with Waits() as waits:
        values = torch.arange(3.0)
        float(values.sum())
        values[values > 1]
        bool(values.any())
        values.tolist()
    assert waits.names.count("_local_scalar_dense") >= 2
    assert len(waits.names) >= 3
