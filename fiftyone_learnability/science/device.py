"""Which device and precision to train with, and why: every choice comes with its reason."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from .checks import shown

PRECISIONS = ("auto", "float32", "bf16", "fp16")

CPU_BF16_FROM = 3.0
"""How many times as fast as float32 a CPU must multiply matrices in bf16 for it to be chosen.

With AMX it is ten times as fast, without it at most twice, and where bf16 is emulated slower; so whichever it is, the
choice, and with it the scores, does not depend on how busy the machine is.
"""


@dataclass(frozen=True)
class Placement:
    """Where and in which precision to train.

    Attributes:
        device: the device
        precision: "float32", "bf16" or "fp16", the type that autocast computes convolutions in
        reason: a sentence for people that says what was chosen and why
        is_chosen: whether the precision was chosen here rather than asked for, so that a network may have another one
    """

    device: torch.device
    precision: str
    reason: str
    is_chosen: bool = False

    @property
    def autocast_dtype(self) -> torch.dtype | None:
        """The type for autocast, None where all is computed in float32."""
        return {"float32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[self.precision]


@contextmanager
def autocast(placement: Placement) -> Iterator[None]:
    """Within it, what pays in lower precision is computed in that of a placement."""
    dtype = placement.autocast_dtype
    with torch.autocast(placement.device.type, dtype=dtype, enabled=dtype is not None):
        yield


def choose_placement(device: str = "auto", precision: str = "auto") -> Placement:
    """Chooses device and precision.

    Args:
        device ("auto"): "auto" takes cuda, then mps, then cpu; or any torch device, such as "cuda:1"
        precision ("auto"): "auto" takes bf16 on GPUs that compute it, fp16 with loss scaling on older ones, bf16 on
            CPUs that are measured to multiply matrices at least :data:`CPU_BF16_FROM` times as fast in it, and float32
            elsewhere; or one of "float32", "bf16", "fp16"

    Returns:
        the choice with its reason

    Raises:
        ValueError: if the device or the precision does not exist here
    """
    if device == "auto":
        if torch.cuda.is_available():
            chosen, why = torch.device("cuda"), "a CUDA GPU is available"
        elif torch.backends.mps.is_available():
            chosen, why = torch.device("mps"), "no CUDA GPU, but Apple's MPS is available"
        else:
            chosen, why = torch.device("cpu"), "no GPU was found"
    else:
        chosen, why = _named_device(device), "as asked"
    name = torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else f"{torch.get_num_threads()} threads"
    if chosen.type == "mps":
        name = "Apple GPU"

    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, not {shown(precision)}")
    if precision == "fp16" and chosen.type != "cuda":
        raise ValueError(f"precision 'fp16' needs a CUDA GPU; on {chosen.type} use 'float32' or 'auto'")
    if precision != "auto":
        precision_why = "as asked"
    elif chosen.type == "cuda" and torch.cuda.get_device_capability(chosen) >= (8, 0):
        precision, precision_why = "bf16", "this GPU computes bf16 natively"
    elif chosen.type == "cuda":
        precision, precision_why = "fp16", "this GPU has no native bf16; the loss is scaled"
    elif chosen.type == "cpu":
        gain = cpu_bf16_gain()
        precision = "bf16" if gain >= CPU_BF16_FROM else "float32"
        precision_why = f"this CPU multiplies matrices {gain:.1f} times as fast in bf16 as in float32"
    else:
        precision, precision_why = "float32", f"lower precision does not pay on {chosen.type}"
    reason = f"device {chosen} ({name}): {why}; precision {precision}: {precision_why}"
    return Placement(chosen, precision, reason, precision_why != "as asked")


@functools.cache
def cpu_bf16_gain() -> float:
    """How many times as fast as in float32 this CPU multiplies matrices in bf16, measured once in a process."""
    # a small product first: where bf16 is emulated, a large one would take a second
    gain = _bf16_gain(256)
    return gain if gain < 1 else _bf16_gain(1024)


def _bf16_gain(size: int) -> float:
    best = {torch.float32: float("inf"), torch.bfloat16: float("inf")}
    factors = torch.full((size, size), 0.5)
    # in turn, and the best of each, since other programs run too; the first round is one to warm up
    for _ in range(4):
        for dtype in best:
            matrix = factors.to(dtype)
            start = time.perf_counter()
            matrix @ matrix
            best[dtype] = min(best[dtype], time.perf_counter() - start)
    return best[torch.float32] / best[torch.bfloat16]


def _named_device(name: str) -> torch.device:
    if not isinstance(name, (str, torch.device)):
        raise ValueError(f"device must be 'auto', 'cpu', 'cuda', 'cuda:<n>' or 'mps', not {shown(name)}")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"unknown device {name!r}: use 'auto', 'cpu', 'cuda', 'cuda:<n>' or 'mps'") from error
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise ValueError(f"device {name!r} does not exist: {count} CUDA GPUs are available; use 'auto' or 'cpu'")
    elif device.type == "mps":
        if not torch.backends.mps.is_available():
            raise ValueError("device 'mps' is not available here; use 'auto' or 'cpu'")
    elif device.type != "cpu":
        raise ValueError(f"device {name!r} is not supported: use 'auto', 'cpu', 'cuda', 'cuda:<n>' or 'mps'")
    return device
