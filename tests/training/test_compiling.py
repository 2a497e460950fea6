from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fiftyone_learnability.training import run as training
from fiftyone_learnability.training.compiling import Compilation
from fiftyone_learnability.training.options import TrainingOptions
from fiftyone_learnability.training.run import TrainingData, train

from .small import CPU, Callbacks, SmallNet, random_images

GPU = torch.device("cuda")
IMAGES = torch.zeros(1, 2)


class Compiler:
    """Stands in for torch.compile."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.asked: list[dict[str, Any]] = []

    def __call__(self, network: nn.Module, **options: Any) -> Callable[[Tensor], Tensor]:
        self.asked.append(options)

        def compiled(images: Tensor) -> Tensor:
            if self.error is not None:
                raise self.error
            return network(images) + 100

        return compiled


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Compiler:
    compiler = Compiler()
    monkeypatch.setattr(torch, "compile", compiler)
    return compiler


def is_compiled(compilation: Compilation) -> bool:
    compiled = float(compilation(IMAGES).detach()[0, 0]) > 50
    assert compiled == compilation.active
    return compiled


def epochs(compilation: Compilation, seconds: list[float], left: int = 1000) -> list[bool]:
    """Whether the network is called compiled after each epoch."""
    found = []
    for number, each in enumerate(seconds, start=1):
        compilation.end_epoch(number, left - number, each)
        found.append(is_compiled(compilation))
    return found


def test_on_a_cpu_only_what_is_asked_for_is_compiled(compiler: Compiler) -> None:
    for mode in ("auto", False):
        assert epochs(Compilation(nn.Linear(2, 1), mode, CPU.device), [9.0] * 6) == [False] * 6  # type: ignore[arg-type]
    assert compiler.asked == []
    assert epochs(Compilation(nn.Linear(2, 1), True, CPU.device), [9.0] * 6) == [True] * 6
    assert compiler.asked == [{"dynamic": False}]


def test_on_a_gpu_it_is_tried_and_kept_where_it_is_faster(compiler: Compiler) -> None:
    told: list[str] = []
    compilation = Compilation(nn.Linear(2, 1), "auto", GPU, 1, told.append)
    # the first epoch and the one that compiles take longer and do not count
    assert epochs(compilation, [9, 4, 60, 3, 3, 5]) == [False, True, True, True, True, True]
    assert compiler.asked == [{"dynamic": False, "mode": "reduce-overhead"}]
    assert told == ["is trained compiled from here on: 3.00 s an epoch instead of 4.00 s"]


def test_on_a_gpu_it_is_given_up_where_it_is_not_faster(compiler: Compiler) -> None:
    told: list[str] = []
    compilation = Compilation(nn.Linear(2, 1), "auto", GPU, 1, told.append)
    assert epochs(compilation, [9, 4, 60, 3.9, 3, 1]) == [False, True, True, False, False, False]
    assert told == ["goes on without being compiled, which does not pay: 3.90 s an epoch instead of 4.00 s"]


def test_a_short_training_is_not_worth_the_try(compiler: Compiler) -> None:
    compilation = Compilation(nn.Linear(2, 1), "auto", GPU)
    assert epochs(compilation, [9, 4, 4, 4], left=20) == [False] * 4
    assert compiler.asked == []


@pytest.mark.parametrize(("period", "judged"), [(1, 4), (2, 4), (3, 5), (4, 6)])
def test_epochs_with_a_measurement_are_compared_with_such(compiler: Compiler, period: int, judged: int) -> None:
    told: list[str] = []
    compilation = Compilation(nn.Linear(2, 1), "auto", GPU, period, told.append)
    # a measurement takes a second, what is compiled half of the time of the rest
    seconds = [(1 if number > 2 else 2) + (number % period == 0) for number in range(1, 10)]
    found = epochs(compilation, [float(each) for each in seconds])
    assert found[judged - 1 :] == [True] * (10 - judged)
    assert (judged - 2) % period == 0
    assert "is trained compiled" in told[0]


@pytest.mark.parametrize(
    "error", [RuntimeError("no C++ compiler was found"), torch.OutOfMemoryError("CUDA out of memory")]
)
def test_a_compiler_that_fails_is_told_and_done_without(compiler: Compiler, error: Exception) -> None:
    told: list[str] = []
    compilation = Compilation(nn.Linear(2, 1), "auto", GPU, 1, told.append)
    assert not compilation.give_up_after(error)
    assert not compilation.was_given_up()
    epochs(compilation, [9, 4])
    assert compilation.give_up_after(error)
    assert compilation.was_given_up()
    assert not compilation.was_given_up()
    assert told == [f"could not be trained compiled ({type(error).__name__}) and goes on without"]
    assert epochs(compilation, [4] * 6) == [False] * 6
    # where it was asked for, it is an error
    assert not Compilation(nn.Linear(2, 1), True, CPU.device).give_up_after(error)


def test_a_torch_that_cannot_compile_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("Dynamo is not supported on Python 3.99+")

    monkeypatch.setattr(torch, "compile", refuse)
    told: list[str] = []
    compilation = Compilation(nn.Linear(2, 1), "auto", GPU, 1, told.append)
    assert epochs(compilation, [9, 4, 4]) == [False] * 3
    assert told == ["cannot be compiled (RuntimeError)"]


class Forced(Compilation):
    """Compiles unasked on a CPU too, from the second epoch on."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._may_try = True

    def end_epoch(self, epochs_done: int, epochs_left: int, seconds: float) -> None:
        super().end_epoch(epochs_done + 1, 10**9, seconds)


@pytest.mark.parametrize(
    "error", [RuntimeError("cannot compile the backward pass"), torch.OutOfMemoryError("CUDA out of memory")]
)
def test_an_epoch_that_failed_compiled_begins_anew(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    images, labels = random_images(rng, 64, 12, 3), rng.integers(0, 3, 64)
    options = TrainingOptions(epochs=4, batch_size=16)
    expected = train("net", SmallNet, TrainingData(images, labels, 3), options, 0, CPU)
    calls = []

    def compile(network: nn.Module, **settings: Any) -> Callable[[Tensor], Tensor]:
        def compiled(images: Tensor) -> Tensor:
            calls.append(None)
            # in the middle of an epoch
            if len(calls) == 3:
                raise error
            return network(images)

        return compiled

    monkeypatch.setattr(torch, "compile", compile)
    monkeypatch.setattr(training, "Compilation", Forced)
    told: list[str] = []
    result = train(
        "net", SmallNet, TrainingData(images, labels, 3), options, 0, CPU, Callbacks(on_incident=told.append)
    )
    assert len(calls) == 3
    assert told == [f"net could not be trained compiled ({type(error).__name__}) and goes on without"]
    assert result.incidents == []
    # the same parts, and the same bits
    np.testing.assert_array_equal(result.scores()["learnability"], expected.scores()["learnability"])


def test_what_a_callback_raises_is_not_taken_for_a_failed_compiler(
    rng: np.random.Generator, compiler: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "Compilation", Forced)
    images, labels = random_images(rng, 64, 12, 3), rng.integers(0, 3, 64)
    seen = []

    def cancel(count: int) -> None:
        seen.append(count)
        if len(seen) == 6:
            raise RuntimeError("cancelled")

    options = TrainingOptions(epochs=4, batch_size=16)
    with pytest.raises(RuntimeError, match="cancelled"):
        train("net", SmallNet, TrainingData(images, labels, 3), options, 0, CPU, Callbacks(on_batch=cancel))
    assert len(seen) == 6


@pytest.mark.slow
def test_a_compiled_training_gives_nearly_the_scores_of_a_plain_one(rng: np.random.Generator) -> None:
    """With the real compiler."""
    images, labels = random_images(rng, 64, 12, 3), rng.integers(0, 3, 64)
    found = {}
    for compile in (False, True):
        options = TrainingOptions(epochs=2, batch_size=16, compile=compile)
        found[compile] = train("net", SmallNet, TrainingData(images, labels, 3), options, 0, CPU).scores()
    np.testing.assert_allclose(found[True]["learnability"], found[False]["learnability"], atol=1e-3)
