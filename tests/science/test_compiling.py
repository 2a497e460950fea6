from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fiftyone_learnability.science.compiling import Compilation
from fiftyone_learnability.science.training import TrainingOptions, train

from .small import CPU, SmallNet, random_images

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
    compilation = Compilation(nn.Linear(2, 1), "auto", GPU, told.append)
    # the first epoch and the one that compiles take longer and do not count
    assert epochs(compilation, [9, 4, 60, 3, 3, 5]) == [False, True, True, True, True, True]
    assert compiler.asked == [{"dynamic": False, "mode": "reduce-overhead"}]
    assert told == ["is trained compiled from here on: 3.00 s an epoch instead of 4.00 s"]


def test_on_a_gpu_it_is_given_up_where_it_is_not_faster(compiler: Compiler) -> None:
    told: list[str] = []
    compilation = Compilation(nn.Linear(2, 1), "auto", GPU, told.append)
    assert epochs(compilation, [9, 4, 60, 3.9, 3, 1]) == [False, True, True, False, False, False]
    assert told == ["goes on without being compiled, which does not pay: 3.90 s an epoch instead of 4.00 s"]


def test_a_short_training_is_not_worth_the_try(compiler: Compiler) -> None:
    compilation = Compilation(nn.Linear(2, 1), "auto", GPU)
    assert epochs(compilation, [9, 4, 4, 4], left=20) == [False] * 4
    assert compiler.asked == []


def test_a_compiler_that_fails_is_told_and_done_without(compiler: Compiler) -> None:
    told: list[str] = []
    compiler.error = RuntimeError("no C++ compiler was found")
    compilation = Compilation(nn.Linear(2, 1), "auto", GPU, told.append)
    assert epochs(compilation, [9, 4, 4]) == [False] * 3
    assert told == ["could not be compiled (RuntimeError) and goes on without"]
    # where it was asked for, it is an error
    with pytest.raises(RuntimeError, match="no C"):
        Compilation(nn.Linear(2, 1), True, CPU.device)(IMAGES)


def test_a_want_of_memory_is_no_failure_of_the_compiler(compiler: Compiler) -> None:
    compiler.error = torch.OutOfMemoryError("CUDA out of memory")
    compilation = Compilation(nn.Linear(2, 1), "auto", GPU)
    compilation.end_epoch(2, 1000, 9.0)
    with pytest.raises(torch.OutOfMemoryError):
        compilation(IMAGES)
    assert compilation.active


@pytest.mark.slow
def test_a_compiled_training_gives_nearly_the_scores_of_a_plain_one(rng: np.random.Generator) -> None:
    """With the real compiler."""
    images, labels = random_images(rng, 64, 12, 3), rng.integers(0, 3, 64)
    found = {}
    for compile in (False, True):
        options = TrainingOptions(epochs=2, batch_size=16, compile=compile)
        found[compile] = train("net", SmallNet, images, labels, 3, options, 0, CPU).scores()
    np.testing.assert_allclose(found[True]["learnability"], found[False]["learnability"], atol=1e-3)
