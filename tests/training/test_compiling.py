from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fiftyone_learnability.training.compiling import CompiledStepError, NetworkCall
from fiftyone_learnability.training.options import TrainingOptions
from fiftyone_learnability.training.run import TrainingData, train

from .small import CPU, Callbacks, SmallNet, random_images

IMAGES = torch.zeros(1, 2)


class Compiler:
    """Stands in for torch.compile: adds 100 to all logits, or fails in one call of the compiled network."""

    def __init__(self, fails_at: int = 0, error: Exception | None = None) -> None:
        self.fails_at, self.error = fails_at, error
        self.settings: list[dict[str, Any]] = []
        self.calls = 0

    def __call__(self, network: nn.Module, **settings: Any) -> Callable[[Tensor], Tensor]:
        self.settings.append(settings)

        def compiled(images: Tensor) -> Tensor:
            self.calls += 1
            if self.error is not None:
                if self.calls == self.fails_at:
                    raise self.error
                return network(images)
            return network(images) + 100

        return compiled


@pytest.fixture
def data(rng: np.random.Generator) -> TrainingData:
    return TrainingData(random_images(rng, 64, 12, 3), rng.integers(0, 3, 64), 3)


@pytest.mark.parametrize(
    ("device", "settings"), [("cpu", {"dynamic": False}), ("cuda", {"dynamic": False, "mode": "reduce-overhead"})]
)
def test_a_network_is_compiled_on_request_only(
    monkeypatch: pytest.MonkeyPatch, device: str, settings: dict[str, Any]
) -> None:
    compiler = Compiler()
    monkeypatch.setattr(torch, "compile", compiler)
    incidents: list[str] = []
    plain = NetworkCall(nn.Linear(2, 1), False, torch.device(device), incidents.append)
    assert (plain.is_compiled, compiler.settings) == (False, [])
    assert plain(IMAGES).item() < 50
    compiled = NetworkCall(nn.Linear(2, 1), True, torch.device(device), incidents.append)
    assert (compiled.is_compiled, compiler.settings) == (True, [settings])
    assert compiled(IMAGES).item() > 50
    assert incidents == []


def test_a_torch_that_cannot_compile_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(network: nn.Module, **settings: Any) -> None:
        raise RuntimeError("Python 3.99 is not supported\nuntil torch 9")

    monkeypatch.setattr(torch, "compile", refuse)
    incidents: list[str] = []
    call = NetworkCall(nn.Linear(2, 1), True, CPU.device, incidents.append)
    assert not call.is_compiled
    assert call(IMAGES).shape == (1, 1)
    assert incidents == [
        "torch.compile failed (RuntimeError: Python 3.99 is not supported); the network is trained uncompiled"
    ]


def test_an_error_in_an_uncompiled_step_is_raised_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", Compiler())
    for compile, expected in ((False, KeyError), (True, CompiledStepError)):
        call = NetworkCall(nn.Linear(2, 1), compile, CPU.device, lambda sentence: None)
        with pytest.raises(expected), call.step():
            raise KeyError
        assert not call.is_compiled


@pytest.mark.parametrize(
    "error", [RuntimeError("cannot compile the backward pass"), torch.OutOfMemoryError("CUDA out of memory")]
)
def test_an_epoch_that_failed_compiled_starts_over_uncompiled(
    data: TrainingData, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    options = TrainingOptions(epochs=4, batch_size=16, compile=True)
    expected = train("net", SmallNet, data, TrainingOptions(epochs=4, batch_size=16), 0, CPU)
    compiler = Compiler(fails_at=7, error=error)  # in the middle of the second epoch
    monkeypatch.setattr(torch, "compile", compiler)
    incidents: list[str] = []
    result = train("net", SmallNet, data, options, 0, CPU, Callbacks(on_incident=incidents.append))
    assert compiler.calls == 7
    reason = f"{type(error).__name__}: {error}"
    assert incidents == [f"net: torch.compile failed ({reason}); the network is trained uncompiled"]
    # batches were not split, and the scores are those of an uncompiled training
    assert result.incidents == []
    np.testing.assert_array_equal(result.scores()["learnability"], expected.scores()["learnability"])


def test_an_error_of_an_observer_is_not_taken_for_the_compilers(
    data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", Compiler())
    counts = []

    def cancel(count: int) -> None:
        counts.append(count)
        if len(counts) == 6:
            raise RuntimeError("cancelled")

    options = TrainingOptions(epochs=4, batch_size=16, compile=True)
    with pytest.raises(RuntimeError, match="cancelled"):
        train("net", SmallNet, data, options, 0, CPU, Callbacks(on_batch=cancel))
    assert len(counts) == 6


@pytest.mark.slow
def test_a_compiled_training_gives_nearly_the_scores_of_a_plain_one(data: TrainingData) -> None:
    """With the real compiler."""
    incidents: list[str] = []
    scores = {
        compile: train(
            "net",
            SmallNet,
            data,
            TrainingOptions(epochs=2, batch_size=16, compile=compile),
            0,
            CPU,
            Callbacks(on_incident=incidents.append),
        ).scores()
        for compile in (False, True)
    }
    assert incidents == []
    np.testing.assert_allclose(scores[True]["learnability"], scores[False]["learnability"], atol=1e-3)
