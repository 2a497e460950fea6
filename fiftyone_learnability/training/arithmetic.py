"""How torch computes during a training; the caller's settings return afterwards.

float32 means float32: by default cuDNN computes convolutions of float32 in TF32, with 10 bits of precision in place of
23, and a caller may have allowed the same for matrix products. On request a GPU computes the same bits each time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import torch
from torch import backends

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
"""The environment variable without which cuBLAS may compute different bits each time."""

_Switch = tuple[Callable[[], Any], Callable[[Any], None], Any]
"""How a setting of torch is read and written, and its value during a training."""


@contextmanager
def arithmetic(device: torch.device, deterministic: bool = False) -> Iterator[None]:
    """Compute float32 without TF32, and the same bits each time if asked, until the context ends.

    Args:
        device: the device of the training
        deterministic (False): True makes a CUDA GPU compute the same bits each time; torch warns of a layer that
            cannot. A CPU does so in any case
    """
    switches = _full_float32()
    if deterministic and device.type == "cuda":
        switches += _same_bits()
    before = [(write, read(), wanted) for read, write, wanted in switches]
    # "none" is full precision too, as an older setting of torch has chosen it
    changes = [(write, value, wanted) for write, value, wanted in before if value not in (wanted, "none")]
    try:
        for write, _, wanted in changes:
            write(wanted)
        yield
    finally:
        for write, value, _ in changes:
            write(value)


def _full_float32() -> list[_Switch]:
    """The settings that decide what float32 means, those first that change others."""
    switches = [
        _attribute(backends.cudnn, "allow_tf32", False),
        (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "highest"),
    ]
    # since torch 2.9
    for library, parts in (
        (backends.cudnn, ("conv", "rnn")),
        (backends.cuda, ("matmul",)),
        (backends.mkldnn, ("conv", "rnn", "matmul")),
    ):
        switches += [
            _attribute(getattr(library, part), "fp32_precision", "ieee")
            for part in parts
            if hasattr(getattr(library, part, None), "fp32_precision")
        ]
    return [switch for switch in switches if _is_readable(switch[0])]


def _is_readable(read: Callable[[], Any]) -> bool:
    """False for an older setting of torch if the caller has changed the newer ones in its place."""
    with suppress(RuntimeError):
        read()
        return True
    return False


def _same_bits() -> list[_Switch]:
    """The settings under which CUDA computes the same bits each time."""
    return [
        _attribute(backends.cudnn, "deterministic", True),
        # it would choose algorithms by their speed at the moment
        _attribute(backends.cudnn, "benchmark", False),
        # 1 warns of an operation that is not deterministic, 2 refuses it
        (
            torch.get_deterministic_debug_mode,
            torch.set_deterministic_debug_mode,
            max(torch.get_deterministic_debug_mode(), 1),
        ),
        # costs time and changes no result
        _attribute(torch.utils.deterministic, "fill_uninitialized_memory", False),
        (partial(os.environ.get, WORKSPACE), _set_workspace, os.environ.get(WORKSPACE) or ":4096:8"),
    ]


def _attribute(owner: Any, name: str, wanted: Any) -> _Switch:
    return partial(getattr, owner, name), partial(setattr, owner, name), wanted


def _set_workspace(value: str | None) -> None:
    if value is None:
        del os.environ[WORKSPACE]
    else:
        os.environ[WORKSPACE] = value
