"""torch's global settings during a training: its own ones, whatever the caller has set.

A notebook may have switched gradients off, or chosen another default dtype or device. A training must neither fail for
that nor give other scores, and it leaves all of it as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch


@contextmanager
def own_settings(device: torch.device) -> Iterator[None]:
    """Use torch's standard settings, and restore the caller's settings and random state at the end.

    Gradients are on, autocast is off, and new tensors are float32 on the CPU.

    Args:
        device: the device of the training
    """
    dtype = torch.get_default_dtype()
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[device] if device.type == "cuda" else []))
        stack.enter_context(torch.inference_mode(mode=False))
        stack.enter_context(torch.enable_grad())
        for kind in {"cpu", device.type}:
            stack.enter_context(torch.autocast(kind, enabled=False))
        # only where it is needed, because it slows every call of torch down
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        stack.callback(torch.set_default_dtype, dtype)
        torch.set_default_dtype(torch.float32)
        yield
