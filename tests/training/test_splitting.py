from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fiftyone_learnability.training import measuring
from fiftyone_learnability.training.options import TrainingOptions
from fiftyone_learnability.training.run import (
    TrainingMemoryError,
    TrainingResult,
)

from .small import (
    CPU,
    SHORT,
    run,
)


class Roomy(nn.Module):
    """A network without batch norm that runs out of memory for batches larger than ``room``, after ``calls`` calls."""

    def __init__(self, num_classes: int, in_channels: int, room: int, calls: int = 1, message: str = "") -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, num_classes)
        )
        self.room, self.calls, self.message = room, calls, message or "CUDA out of memory. Tried to allocate 2.00 GiB"
        self.sizes: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.sizes.append(len(x))
        if len(x) > self.room and len(self.sizes) > self.calls:
            raise torch.cuda.OutOfMemoryError(self.message)
        return self.layers(x)


def short_of_memory(
    noise: tuple[np.ndarray, np.ndarray], options: TrainingOptions, **limits: Any
) -> tuple[TrainingResult, list[str]]:
    incidents: list[str] = []
    result = run(
        *noise,
        replace(options, record_dynamics=True),
        factory=lambda num_classes, in_channels: Roomy(num_classes, in_channels, **limits),
        on_incident=incidents.append,
    )
    return result, incidents


@pytest.mark.parametrize(("room", "parts", "measured"), [(16, 1, 16), (7, 2, 4), (4, 4, 4)])
def test_batches_that_do_not_fit_are_split_and_the_training_stays_the_same(
    noise: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch, room: int, parts: int, measured: int
) -> None:
    monkeypatch.setattr(measuring, "CPU_BATCH", 16)
    options = replace(SHORT, epochs=3)
    expected, nothing = short_of_memory(noise, options, room=10**9)
    assert nothing == expected.incidents == []
    result, incidents = short_of_memory(noise, options, room=room)
    splits, halvings = int(math.log2(parts)), int(math.log2(16 / measured))
    assert (len(incidents), len(result.incidents)) == (splits + halvings, splits)
    assert [line.removeprefix("net: ") for line in incidents[:splits]] == result.incidents
    if parts > 1:
        assert (
            f"cpu ran out of memory in epoch 1 of 3: from there on each batch of 16 is split into {parts} parts"
            in incidents[splits - 1]
        )
    # the gradients of the parts add up to that of the batch, apart from rounding
    for name, value in expected.network.state_dict().items():
        torch.testing.assert_close(result.network.state_dict()[name], value, rtol=1e-3, atol=1e-5)
    for name, values in expected.tracker.scores().items():
        np.testing.assert_allclose(result.tracker.scores()[name], values, rtol=1e-3, atol=1e-5)
    losses = [[report.train_loss for report in run.reports] for run in (result, expected)]
    np.testing.assert_allclose(*losses, rtol=1e-4)
    network = result.network
    assert isinstance(network, Roomy)
    assert max(network.sizes[-4:]) <= room


@pytest.mark.parametrize(("room", "measured"), [(15, 8), (13, 8)])
def test_a_measurement_that_does_not_fit_changes_nothing_of_the_training(
    noise: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch, room: int, measured: int
) -> None:
    monkeypatch.setattr(measuring, "CPU_BATCH", 16)
    options = replace(SHORT, epochs=3)
    expected, _ = short_of_memory(noise, options, room=10**9)
    result, incidents = short_of_memory(noise, options, room=room)
    assert incidents == [
        f"net: cpu ran out of memory while measuring in epoch 1 of 3: from there on {measured} images are measured at "
        "once, not 16; the training does not change"
    ]
    assert result.incidents == []
    for name, value in expected.network.state_dict().items():
        assert torch.equal(result.network.state_dict()[name], value)
    assert [report.train_loss for report in result.reports] == [report.train_loss for report in expected.reports]
    for name, values in expected.tracker.scores().items():
        np.testing.assert_allclose(result.tracker.scores()[name], values, rtol=1e-6, atol=1e-7)
    assert result.tracker.epoch_counts.tolist() == [3] * 50


def test_a_resumed_training_measures_as_many_images_at_once(
    noise: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "CPU_BATCH", 16)
    states: list[dict[str, Any]] = []
    roomy = lambda num_classes, in_channels: Roomy(num_classes, in_channels, 15)  # noqa: E731
    run(*noise, SHORT, factory=roomy, on_state=lambda epoch, state: states.append(state()))
    incidents: list[str] = []
    run(*noise, SHORT, factory=roomy, state=states[0], on_incident=incidents.append)
    assert incidents == []


class RoomyTraining(Roomy):
    """Trains on any batch, and cannot measure a single image after its trial."""

    trials = 1

    def forward(self, x: Tensor) -> Tensor:
        self.room = 10**9
        if not self.training:
            RoomyTraining.trials -= 1
            self.room = 10**9 if RoomyTraining.trials >= 0 else 0
        return super().forward(x)


def test_without_memory_to_measure_one_image_the_error_says_what_to_do(noise: tuple[np.ndarray, np.ndarray]) -> None:
    factory = lambda num_classes, in_channels: RoomyTraining(num_classes, in_channels, 0)  # noqa: E731
    with pytest.raises(
        TrainingMemoryError, match=r"^net: cpu ran out of memory while measuring a single image.*choose"
    ):
        run(*noise, SHORT, factory=factory)


@pytest.mark.parametrize("calls", [9, 11, 13, 15])
def test_an_epoch_that_ran_out_of_memory_starts_over(
    noise: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    """Out of memory in a step or in the measurement of the second epoch: no sample is counted twice."""
    # one call checks the network, then each epoch has four steps and measures four batches
    monkeypatch.setattr(measuring, "CPU_BATCH", 16)
    options = replace(SHORT, epochs=3)
    expected, _ = short_of_memory(noise, options, room=10**9)
    result, incidents = short_of_memory(noise, options, room=10, calls=calls)
    # calls after the fourth step of the epoch are of its measurement; the next epoch then splits its steps
    is_measuring = calls >= 13
    assert ("while measuring" in incidents[0], "in epoch 2 of 3" in incidents[0]) == (is_measuring, True)
    assert [("epoch 3" in line) for line in result.incidents] == [is_measuring]
    assert result.tracker.epoch_counts.tolist() == [3] * 50
    assert [report.epoch for report in result.reports] == [1, 2, 3]
    assert result.dynamics is not None
    assert expected.dynamics is not None
    assert result.dynamics[0].tobytes() == expected.dynamics[0].tobytes()
    np.testing.assert_allclose(result.dynamics, expected.dynamics, atol=2e-3)


def test_the_gradient_scaler_is_reset_after_a_step_without_memory(
    noise: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scaler remembers that it has unscaled the gradients of the step that failed."""
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


def test_without_memory_for_the_trial_the_error_says_what_to_do(noise: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(
        TrainingMemoryError, match=r"^net: cpu has too little memory for 50 images .* and the network: choose"
    ):
        short_of_memory(noise, SHORT, room=1)


def test_without_memory_for_two_images_the_error_says_what_to_do(noise: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(TrainingMemoryError, match=r"^net: cpu ran out of memory.*into 4 parts: choose another device"):
        short_of_memory(noise, SHORT, room=1, calls=3)


def test_another_error_is_not_taken_for_a_lack_of_memory(noise: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(RuntimeError, match="an illegal memory access") as caught:
        short_of_memory(noise, SHORT, room=1, calls=3, message="CUDA error: an illegal memory access was encountered")
    assert not isinstance(caught.value, TrainingMemoryError)
