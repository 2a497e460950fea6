from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode

from fiftyone_learnability.training import measuring
from fiftyone_learnability.training.augmentation import EpochDraws
from fiftyone_learnability.training.device import Placement, choose_placement
from fiftyone_learnability.training.learner import Learner
from fiftyone_learnability.training.options import TrainingOptions
from fiftyone_learnability.training.pixels import TrainingData
from fiftyone_learnability.training.result import predict_logits
from fiftyone_learnability.training.schedule import learning_rate

from .small import (
    CPU,
    PLAIN,
    SHORT,
    Linear,
    SmallNet,
    linear,
    normalised,
    random_images,
    read_digits,
    run,
)


def test_the_steps_are_those_of_sgd_with_nesterov_momentum(rng: np.random.Generator) -> None:
    """A softmax regression, trained a second time in numpy."""
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


def test_momenta_that_start_at_zero_give_the_same_bits() -> None:
    """Twenty steps; without them the fused optimizer could not be used with a loss that is scaled."""
    rng = np.random.default_rng(51)
    data = TrainingData(random_images(rng, 64, 12, 3), rng.integers(0, 3, 64), 3)
    options = replace(SHORT, epochs=5)
    learners = [Learner("net", SmallNet, data, options, 0, CPU, pytest.fail) for _ in range(2)]
    zeros = [state["momentum_buffer"] for state in learners[0].optimizer.state.values()]
    assert len(zeros) == len(list(learners[0].network.parameters()))
    assert not any(momentum.any() for momentum in zeros)
    # as SGD makes them, at its first step
    learners[1].optimizer.state.clear()
    for epoch in range(1, 6):
        for learner in learners:
            learner.train_epoch(epoch, lambda count: None)
    first, second = (learner.network.state_dict() for learner in learners)
    assert all(value.numpy().tobytes() == second[name].numpy().tobytes() for name, value in first.items())


def test_a_step_that_overflows_leaves_momenta_that_can_be_continued() -> None:
    """The fused optimizer skips such a step by itself; on a CPU it does the same as on a GPU."""
    rng = np.random.default_rng(51)
    data = TrainingData(random_images(rng, 16, 12, 3), rng.integers(0, 3, 16), 3)
    learner = Learner("net", SmallNet, data, SHORT, 0, replace(CPU, precision="fp16"), pytest.fail)
    fused = torch.optim.SGD(learner.network.parameters(), lr=0.1, momentum=0.9, nesterov=True, fused=True)
    fused.state.update(learner.optimizer.state)
    learner.optimizer = fused
    before = [parameter.detach().clone() for parameter in learner.network.parameters()]
    handle = learner.network.head.register_forward_hook(lambda module, args, output: output * torch.inf)
    learner.train_epoch(1, lambda count: None)
    handle.remove()
    for parameter, old in zip(learner.network.parameters(), before, strict=True):
        assert torch.equal(parameter, old)
        assert not fused.state[parameter]["momentum_buffer"].any()
    learner.train_epoch(2, lambda count: None)
    for parameter, old in zip(learner.network.parameters(), before, strict=True):
        assert parameter.isfinite().all()
        assert not torch.equal(parameter, old)


class Recorder(Linear):
    """Records its input, in training mode and in eval mode."""

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
    # the first pass in eval mode checks the network; then each epoch measures all images in order
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


def test_the_reports_hold_loss_and_accuracy_of_the_training_pass(noise: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = noise
    # a rate so low that nothing is learned; batches of two sizes, which an unweighted mean over batches would get wrong
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


def test_images_of_one_colour_can_be_trained_on() -> None:
    result = run(np.full((8, 8, 8, 3), 200, dtype=np.uint8), np.arange(8) % 3)
    assert np.isfinite(result.tracker.scores()["learnability"]).all()
    assert np.abs(result.mean - 200 / 255).max() < 1e-6
    assert result.std.tolist() == [1, 1, 1]


def test_bf16_gives_nearly_the_scores_of_float32(noise: tuple[np.ndarray, np.ndarray]) -> None:
    seen: set[torch.dtype] = set()

    def factory(num_classes: int, in_channels: int) -> nn.Module:
        network = SmallNet(num_classes, in_channels)
        network.features[0].register_forward_hook(lambda *args: seen.add(args[2].dtype))
        return network

    options = replace(SHORT, lr=0.01)
    exact = run(*noise, options).tracker.scores()["learnability"]
    rough = run(*noise, options, factory=factory, placement=Placement(torch.device("cpu"), "bf16", ""))
    assert torch.bfloat16 in seen
    found = rough.tracker.scores()["learnability"]
    assert 0 < np.abs(found - exact).max() < 0.1
    assert predict_logits(rough, noise[0]).dtype == np.float32


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU is available")
def test_a_gpu_gives_nearly_the_scores_of_the_cpu(digits: tuple[list[str], list[str]]) -> None:
    images, labels = read_digits(digits, 400, 16)
    # a low rate, because at a high one rounding differences grow; another seed correlates by 0.4, bf16 by 0.98
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
@pytest.mark.parametrize("precision", ["float32", "bf16", "fp16"])
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


WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "unique", "_unique2", "equal", "is_nonzero", "item"}
"""Operations that wait for a GPU: they return values to Python, or their output shape depends on values."""


class Waits(TorchDispatchMode):
    """Counts the operations that would wait for a GPU if the tensors were on one."""

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
    """Counted on the CPU, which runs the same code: waits must not grow with the number of batches."""
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


def test_waits_are_counted() -> None:
    with Waits() as waits:
        values = torch.arange(3.0)
        float(values.sum())
        values[values > 1]
        bool(values.any())
        values.tolist()
    assert waits.names.count("_local_scalar_dense") >= 2
    assert len(waits.names) >= 3
