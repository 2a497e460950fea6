"""Memory that is kept from one training step to the next, in place of being fetched from the system each time.

A step needs the same large blocks as the one before. glibc maps each anew from the system and gives it back at once,
which fills it with zeros page by page: a tenth of the time of small networks on a CPU.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# <malloc.h>
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MOST, _GLIBCS_MOST = 2**30, 32 * 2**20
"""Below this many bytes blocks are kept: during a training, and at most if glibc is left to itself."""


@contextmanager
def kept_memory(device: torch.device) -> Iterator[None]:
    """Within it this process keeps the memory that it frees; afterwards it is given back to the system.

    It does so with glibc alone, and only if a CPU computes; elsewhere nothing happens.

    Args:
        device: where is trained
    """
    library = _glibc() if device.type == "cpu" else None
    if library is None:
        yield
        return
    library.mallopt(_M_MMAP_THRESHOLD, _MOST)
    library.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        library.mallopt(_M_MMAP_THRESHOLD, _GLIBCS_MOST)
        library.mallopt(_M_TRIM_THRESHOLD, 2 * _GLIBCS_MOST)
        library.malloc_trim(ctypes.c_size_t(0))


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018
    # musl and others have neither
    except (OSError, AttributeError):
        return None
    return library
