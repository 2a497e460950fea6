"""Calls a network, through ``torch.compile`` on request, and falls back to plain calls if that fails.

Compiling takes most of a minute, and its gain depends on network, device and versions; a compiled network also rounds
differently. So it happens on request only; docs/performance.md has the figures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..scores.checks import shorten


class CompiledStepError(RuntimeError):
    """A step of a compiled network failed; the network is called uncompiled from now on."""


class NetworkCall:
    """Calls a network, compiled or not.

    Compilers fail in many ways: there may be no compiler, it may not know an operation, CUDA graphs may need too much
    memory. None of them should end a training.

    Args:
        network: the network, on its device
        compile: True compiles it with ``torch.compile``, for a GPU with CUDA graphs
        device: device of the network
        on_failure: called with one sentence if the network cannot be compiled
    """

    def __init__(
        self, network: nn.Module, compile: bool, device: torch.device, on_failure: Callable[[str], None]
    ) -> None:
        self.network, self._on_failure = network, on_failure
        self._compiled: Callable[[Tensor], Tensor] | None = None
        if not compile:
            return
        settings: dict[str, Any] = {"mode": "reduce-overhead"} if device.type == "cuda" else {}
        try:
            # the batches of an epoch have two sizes at most
            self._compiled = torch.compile(network, dynamic=False, **settings)
        # for example a Python that is too new for this torch
        except Exception as error:  # noqa: BLE001
            self._give_up(error)

    @property
    def is_compiled(self) -> bool:
        """True while calls go through the compiled network."""
        return self._compiled is not None

    def __call__(self, images: Tensor) -> Tensor:
        """``(B, classes)`` logits of ``(B, C, H, W)`` images."""
        if self._compiled is None:
            return self.network(images)
        # a CUDA graph reuses the memory of its outputs from here on
        torch.compiler.cudagraph_mark_step_begin()
        return self._compiled(images)

    @contextmanager
    def step(self) -> Iterator[None]:
        """Wraps the forward and backward pass of one step.

        Raises:
            CompiledStepError: if the step fails while the network is compiled; repeat the epoch then
        """
        try:
            yield
        except Exception as error:
            if self._compiled is None:
                raise
            self._give_up(error)
            raise CompiledStepError from error

    def _give_up(self, error: Exception) -> None:
        self._compiled = None
        reason = shorten(f"{type(error).__name__}: {error}".splitlines()[0])
        self._on_failure(f"torch.compile failed ({reason}); the network is trained uncompiled")
