"""Memory of the CPU and the device during a training run."""

from __future__ import annotations

import copy
import ctypes
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

# <malloc.h>
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEEP_BELOW, _GLIBC_KEEPS_BELOW = 2**30, 32 * 2**20
"""Size in bytes below which freed blocks are kept: during a training, and at most by glibc's own choice."""

_OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "ALLOC_FAILED")


def is_out_of_memory(error: Exception) -> bool:
    """True if a device ran out of memory; only some devices and libraries raise an error type of their own for it."""
    known = isinstance(error, RuntimeError) and any(message in str(error) for message in _OUT_OF_MEMORY)
    return known or isinstance(error, MemoryError)


def copy_tensors(value: Any, device: str | None = None) -> Any:
    """A copy of nested dicts, lists and tuples whose tensors are copied too.

    Args:
        value: the dicts, lists and tuples
        device (None): where the copies are kept; by default each stays on its device, and nothing waits for it
    """
    return _change_tensors(value, lambda tensor: tensor.detach().to(device or tensor.device, copy=True))


def on_cpu(value: Any) -> Any:
    """Nested dicts, lists and tuples with their tensors on the CPU; tensors that are there already are not copied."""
    return _change_tensors(value, lambda tensor: tensor.detach().cpu())


def _change_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        # a module's state_dict carries attributes beside its entries
        changed = copy.copy(value)
        changed.update({key: _change_tensors(entry, change) for key, entry in value.items()})
        return changed
    if isinstance(value, (list, tuple)):
        return type(value)(_change_tensors(entry, change) for entry in value)
    return value


def free_cached_memory(device: torch.device) -> None:
    """Return to the device the memory that torch keeps for later tensors."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def available_memory(device: torch.device) -> int | None:
    """Bytes that torch can still allocate on a CUDA GPU; None for other devices, which do not tell."""
    if device.type != "cuda":
        return None
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + kept


@contextmanager
def keep_freed_memory(device: torch.device) -> Iterator[None]:
    """Keep the memory that this process frees, instead of returning it to the system, until the context ends.

    Each training step needs the same large blocks as the one before. By default glibc maps each block from the system
    and returns it at once, so the system fills it with zeros page by page: a tenth of the time of small networks on a
    CPU. Other C libraries, and trainings on other devices, are left as they are.

    Args:
        device: the device of the training
    """
    library = find_glibc() if device.type == "cpu" else None
    if library is None:
        yield
        return
    library.mallopt(_M_MMAP_THRESHOLD, _KEEP_BELOW)
    library.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        library.mallopt(_M_MMAP_THRESHOLD, _GLIBC_KEEPS_BELOW)
        library.mallopt(_M_TRIM_THRESHOLD, 2 * _GLIBC_KEEPS_BELOW)
        library.malloc_trim(ctypes.c_size_t(0))


def find_glibc() -> ctypes.CDLL | None:
    """This process's C library if it is glibc, None otherwise."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    # musl lacks it
    return library if hasattr(library, "gnu_get_libc_version") else None
