"""The buffer as it works for a GPU, which it must not wait for; the tests of the tracker show its results."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fiftyone_learnability.training import epoch_buffer
from fiftyone_learnability.training.epoch_buffer import EpochBuffer

from .test_learner import Waits

CPU = torch.device("cpu")


def buffer_of(can_look: bool, samples: int = 40) -> EpochBuffer:
    """A buffer on the CPU; without looking it does what one on a GPU does."""
    buffer = EpochBuffer(samples, CPU, keep_predictions=True)
    buffer.can_look, buffer.needs_error = can_look, True
    return buffer


def batches(rng: np.random.Generator) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Batches in which some samples occur twice, some never, and some logits are equal."""
    indices = [torch.from_numpy(rng.integers(0, 30, 8)) for _ in range(6)]
    return [
        (index, torch.from_numpy(rng.integers(-2, 3, (8, 5)).astype(np.float32)), torch.from_numpy(index.numpy() % 5))
        for index in indices
    ]


def test_without_looking_at_values_the_epoch_is_the_same(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(epoch_buffer, "ROWS_AT_ONCE", 16)
    given = batches(rng)
    epochs = []
    for can_look in (False, True):
        buffer = buffer_of(can_look)
        for batch in given:
            buffer.add(*batch)
        epochs.append(buffer.read())
    for name, values in vars(epochs[0]).items():
        expected = vars(epochs[1])[name]
        assert torch.equal(values[epochs[0].seen], expected[epochs[1].seen]), name


@pytest.mark.parametrize(
    ("index", "label", "error", "message"),
    [
        # torch's cross_entropy ignores this label, so many loops have it
        (3, -100, ValueError, r"labels must lie in 0\.\.4, not -100\.\.4"),
        (3, 5, ValueError, r"labels must lie in 0\.\.4, not 0\.\.5"),
        (40, 0, IndexError, r"indices must lie in 0\.\.39, not 0\.\.40"),
        (-1, 0, IndexError, r"indices must lie in 0\.\.39, not -1\.\."),
    ],
)
def test_what_is_out_of_range_is_reported_at_the_end_and_never_used(
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
    index: int,
    label: int,
    error: type[Exception],
    message: str,
) -> None:
    """Used as an index on a CUDA GPU it would end all use of the GPU; here torch would raise its own error at once."""
    monkeypatch.setattr(epoch_buffer, "ROWS_AT_ONCE", 16)
    given = batches(rng)
    buffer = buffer_of(can_look=False)
    with Waits() as waits:
        for indices, logits, labels in given:
            buffer.add(indices, logits, labels)
        indices, logits, labels = (values.clone() for values in given[0])
        indices[2], labels[2] = index, label
        buffer.add(indices, logits, labels)
        buffer.add(*given[1])
    assert waits.names == []
    with pytest.raises(error, match=message):
        buffer.read()
    buffer.clear()
    buffer.add(*given[0])
    assert buffer.read().seen.any()


class Maxima(TorchDispatchMode):
    """Records the types of values whose maxima are scattered."""

    def __init__(self) -> None:
        super().__init__()
        self.types: list[torch.dtype] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__.startswith("scatter_reduce"):
            self.types.append(args[0].dtype)
        return func(*args, **(kwargs or {}))


def test_no_maxima_of_int64_are_scattered(rng: np.random.Generator) -> None:
    """Apple's MPS lacked them (pytorch pull request 141948)."""
    buffer = buffer_of(can_look=False)
    with Maxima() as maxima:
        for batch in batches(rng):
            buffer.add(*batch)
        buffer.read()
    assert maxima.types == [torch.int32]
