from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import backends

from fiftyone_learnability.training.arithmetic import WORKSPACE, arithmetic

from .small import SHORT, run

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
HAS_PARTS = hasattr(backends.cudnn, "conv")
"""Since torch 2.9 each part of a library has a precision of its own."""


def settings() -> dict[str, Any]:
    """All settings of torch that decide how it computes."""
    found: dict[str, Any] = {
        "algorithms": torch.get_deterministic_debug_mode(),
        "deterministic": backends.cudnn.deterministic,
        "benchmark": backends.cudnn.benchmark,
        "fill": torch.utils.deterministic.fill_uninitialized_memory,
        "workspace": os.environ.get(WORKSPACE),
    }
    found["tf32"] = older_setting(lambda: backends.cudnn.allow_tf32)
    found["matmul"] = older_setting(torch.get_float32_matmul_precision)
    if HAS_PARTS:
        for part in (backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul, backends.mkldnn.matmul):
            found[str(len(found))] = part.fp32_precision
    return found


def older_setting(read: Callable[[], Any]) -> Any:
    try:
        return read()
    # the caller has mixed older and newer settings
    except RuntimeError:
        return "unreadable"


def is_full_float32() -> bool:
    """True if neither a convolution nor a matrix product of float32 rounds to less."""
    if not HAS_PARTS:
        return not backends.cudnn.allow_tf32 and torch.get_float32_matmul_precision() == "highest"
    parts = (backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul, backends.mkldnn.matmul)
    return {part.fp32_precision for part in parts} <= {"ieee", "none"}


def set_precision_of_parts() -> None:
    if not HAS_PARTS:
        pytest.skip("this torch has no precision of each part")
    backends.cudnn.conv.fp32_precision = "ieee"
    backends.cuda.matmul.fp32_precision = "tf32"


CALLERS: dict[str, Callable[[], None]] = {
    "nothing": lambda: None,
    "TF32 for matrix products": lambda: torch.set_float32_matmul_precision("high"),
    "bf16 for matrix products": lambda: torch.set_float32_matmul_precision("medium"),
    "the precision of parts": set_precision_of_parts,
    "deterministic algorithms": lambda: torch.use_deterministic_algorithms(True),
    "a choice by speed": lambda: setattr(backends.cudnn, "benchmark", True),
}


@pytest.fixture(params=CALLERS.values(), ids=CALLERS)
def caller(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A caller that has changed settings of torch."""
    monkeypatch.delenv(WORKSPACE, raising=False)
    request.param()
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_float32_matmul_precision("highest")
    backends.cudnn.benchmark, backends.cudnn.allow_tf32 = False, True


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("device", [CPU, CUDA], ids=str)
def test_float32_is_float32_and_the_callers_settings_return(
    caller: None, device: torch.device, deterministic: bool
) -> None:
    before = settings()
    assert not is_full_float32()

    def fail() -> None:
        with arithmetic(device, deterministic):
            assert is_full_float32()
            # a network may use this context, which reads the older settings
            if before["tf32"] != "unreadable":
                with backends.cudnn.flags(enabled=False):
                    pass
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert settings() == before


def test_deterministic_training_chooses_no_algorithm_by_its_speed(caller: None) -> None:
    strict = torch.get_deterministic_debug_mode() == 2
    with arithmetic(CUDA, deterministic=True):
        assert (backends.cudnn.deterministic, backends.cudnn.benchmark) == (True, False)
        # an operation that is not deterministic is warned of, unless the caller refuses it
        assert torch.get_deterministic_debug_mode() == 1 + strict
        assert os.environ[WORKSPACE] == ":4096:8"
    before = settings()
    with arithmetic(CUDA), arithmetic(CPU, deterministic=True):
        within = settings()
    assert {name: within[name] for name in ("algorithms", "deterministic", "benchmark", "workspace")} == {
        name: before[name] for name in ("algorithms", "deterministic", "benchmark", "workspace")
    }


def test_a_workspace_of_the_caller_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WORKSPACE, ":16:8")
    with arithmetic(CUDA, deterministic=True):
        assert os.environ[WORKSPACE] == ":16:8"
    assert os.environ[WORKSPACE] == ":16:8"


def test_a_training_computes_float32_in_full(noise: tuple[np.ndarray, np.ndarray]) -> None:
    torch.set_float32_matmul_precision("medium")
    try:
        before, seen = settings(), []
        rounded = run(*noise, on_batch=lambda count: seen.append(is_full_float32()))
        assert settings() == before
    finally:
        torch.set_float32_matmul_precision("highest")
    assert len(seen) == 8
    assert all(seen)
    exact = run(*noise, replace(SHORT, deterministic=True))
    np.testing.assert_array_equal(rounded.scores()["learnability"], exact.scores()["learnability"])
