"""The choice of device and precision; every choice states its reason."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from ..scores.checks import short_repr
from .options import PRECISIONS

FIRST_RIGHT_MPS = (2, 14)
"""The version of torch from which on no wrong gradient of our networks' layers is known on MPS. Before it, the backward
pass of batch norms was wrong for some memory layouts (pytorch issues 156555 and 175189, mended by pull request 188371),
and amax of int64 was missing (141948)."""


@dataclass(frozen=True)
class Placement:
    """Device and precision of a training.

    Attributes:
        device: the device
        precision: "float32", "bf16" or "fp16", the type that autocast computes convolutions in
        reason: a sentence that says what was chosen and why
        is_chosen: True if the precision was chosen here, so that a network may get another one; False if the user asked
            for it
        layout: the memory layout of one network and its images; None where none is chosen yet
    """

    device: torch.device
    precision: str
    reason: str
    is_chosen: bool = False
    layout: torch.memory_format | None = None

    @property
    def autocast_dtype(self) -> torch.dtype | None:
        """The type for autocast; None if everything is computed in float32."""
        return {"float32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[self.precision]


@contextmanager
def autocast(placement: Placement) -> Iterator[None]:
    """Compute in the precision of a placement wherever that pays."""
    dtype = placement.autocast_dtype
    try:
        with torch.autocast(placement.device.type, dtype=dtype, enabled=dtype is not None):
            yield
    finally:
        # within an autocast of the caller, torch would keep the converted weights beyond the next training step
        torch.clear_autocast_cache()


def choose_placement(device: str = "auto", precision: str = "auto", deterministic: bool = False) -> Placement:
    """Choose device and precision.

    Args:
        device ("auto"): "auto" takes cuda, then mps if this torch computes right there, then cpu; or any torch device,
            such as "cuda:1"
        precision ("auto"): "auto" takes bf16 on GPUs that compute it, fp16 with loss scaling on older ones, bf16 on
            CPUs with matrix units for it (AMX), and float32 elsewhere; or one of "float32", "bf16", "fp16"
        deterministic (False): True takes only devices that give the same bits each time: not mps

    Returns:
        the choice with its reason

    Raises:
        ValueError: if this machine does not have the device or the precision
    """
    if device != "auto":
        chosen, why = _named_device(device), "as asked"
    elif torch.cuda.is_available():
        chosen, why = torch.device("cuda"), "a CUDA GPU is available"
    elif torch.backends.mps.is_available():
        doubt = "deterministic=True, which MPS does not offer" if deterministic else doubt_about_mps()
        chosen, why = torch.device("mps"), "no CUDA GPU, but Apple's MPS is available"
        if doubt:
            chosen, why = torch.device("cpu"), f"Apple's MPS is available but not used: {doubt}"
    else:
        chosen, why = torch.device("cpu"), "no GPU was found"
    name = torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else f"{torch.get_num_threads()} threads"
    if chosen.type == "mps":
        name = "Apple GPU"
        if deterministic:
            raise ValueError("deterministic=True is not possible on device 'mps'; use 'auto' or 'cpu'")
        if device != "auto" and (doubt := doubt_about_mps()):
            why += f", although {doubt}"

    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, not {short_repr(precision)}")
    if precision == "fp16" and chosen.type != "cuda":
        raise ValueError(f"precision 'fp16' needs a CUDA GPU; on {chosen.type} use 'float32' or 'auto'")
    is_chosen, precision_why = precision == "auto", "as asked"
    if is_chosen:
        precision, precision_why = _fastest_precision(chosen)
    reason = f"device {chosen} ({name}): {why}; precision {precision}: {precision_why}"
    return Placement(chosen, precision, reason, is_chosen)


def doubt_about_mps() -> str | None:
    """Why trainings on Apple's MPS are not to be trusted with this torch; None if no reason is known."""
    # 2.4.1+cpu, 2.14.0a0+git1234
    version = tuple(map(int, re.findall(r"\d+", torch.__version__)[:2]))
    if version >= FIRST_RIGHT_MPS:
        return None
    needed = ".".join(map(str, FIRST_RIGHT_MPS))
    return f"torch {torch.__version__} may compute wrong gradients of batch norms there; torch {needed} is mended"


def _fastest_precision(device: torch.device) -> tuple[str, str]:
    """The fastest precision on a device that still trains well, and why."""
    if device.type == "cuda":
        if torch.cuda.get_device_capability(device) >= (8, 0):
            return "bf16", "this GPU computes bf16 natively"
        return "fp16", "this GPU has no native bf16; the loss is scaled"
    if device.type == "cpu":
        if has_bf16_matrices():
            return "bf16", "this CPU has matrix units for bf16 (AMX)"
        return "float32", "this CPU has no matrix units for bf16 (AMX)"
    return "float32", f"lower precision does not pay on {device.type}"


def has_bf16_matrices() -> bool:
    """Return True if this CPU has matrix units for bf16 (AMX).

    Their speed is not measured: on one and the same machine the gain varied between two and fourteen times
    (benchmarks/options.py), and a training that another process resumes must choose the same precision.
    """
    # older versions of torch do not report it
    capabilities = getattr(torch.cpu, "get_capabilities", dict[str, bool])()
    return bool(capabilities.get("amx_bf16", False))


def _named_device(name: str) -> torch.device:
    if not isinstance(name, (str, torch.device)):
        raise ValueError(f"device must be 'auto', 'cpu', 'cuda', 'cuda:<n>' or 'mps', not {short_repr(name)}")
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
