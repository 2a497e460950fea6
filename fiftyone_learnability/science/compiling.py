"""Whether a network is trained through ``torch.compile``: tried where it may pay, kept where it is measured to.

Compiling takes a minute or so, and what it gains depends on network, device and versions. So on a GPU, where small
networks spend most of their time on launching kernels, a training begins uncompiled; if what is left of it is long
enough for the minute not to matter, the next epochs run compiled (with CUDA graphs), and go on so only if they are
faster. On a CPU nothing is tried unasked: there the gain is small and the promise that the same seed gives the same
bits is worth more; see docs/performance.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

WORTH_SECONDS = 600.0
"""What must be left of a training for compiling to be tried: ten times what it usually takes."""

ENOUGH = 0.95
"""An epoch that is compiled must take at most this share of one that is not."""

_TIMED, _COMPILED = 2, 4
"""The epochs that are compared: the first ones, and that in which compiling happens, take longer than others."""


class Compilation:
    """Calls a network, compiled or not.

    Args:
        network: the network
        mode: whether it is compiled; "auto" decides as the module says
        device: where it is trained
        tell: takes a sentence for people
    """

    def __init__(
        self,
        network: nn.Module,
        mode: bool | Literal["auto"],
        device: torch.device,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.network, self.tell = network, tell
        self._device = device
        self._must = mode is True
        self._may_try = mode == "auto" and device.type == "cuda"
        self._compiled: Callable[[Tensor], Tensor] | None = self._compile() if self._must else None
        self._seconds: dict[int, float] = {}

    @property
    def active(self) -> bool:
        """Whether the network is called compiled."""
        return self._compiled is not None

    def __call__(self, images: Tensor) -> Tensor:
        """``(B, classes)`` logits of ``(B, C, H, W)`` images."""
        if self._compiled is None:
            return self.network(images)
        # the memory of the graph's outputs is used again from here on
        torch.compiler.cudagraph_mark_step_begin()
        try:
            return self._compiled(images)
        except torch.OutOfMemoryError:
            raise
        # compilers fail in many ways: there may be none, or it may not know an operation
        except Exception as error:
            if self._must:
                raise
            self._give_up(f"could not be compiled ({type(error).__name__}) and goes on without")
            return self.network(images)

    def end_epoch(self, epochs_done: int, epochs_left: int, seconds: float) -> None:
        """Decides how the next epoch is to be called.

        Args:
            epochs_done: the epochs that this process has trained
            epochs_left: those that are left
            seconds: wall time of the last one
        """
        if not self._may_try:
            return
        self._seconds[epochs_done] = seconds
        if epochs_done == _TIMED:
            if epochs_left * seconds >= WORTH_SECONDS:
                self._compiled = self._compile()
            else:
                self._may_try = False
        elif epochs_done == _COMPILED:
            before = self._seconds[_TIMED]
            times = f"{seconds:.2f} s an epoch instead of {before:.2f} s"
            if seconds <= ENOUGH * before:
                self.tell(f"is trained compiled from here on: {times}")
                self._may_try = False
            else:
                self._give_up(f"goes on without being compiled, which does not pay: {times}")

    def _compile(self) -> Callable[[Tensor], Tensor]:
        options: dict[str, Any] = {"mode": "reduce-overhead"} if self._device.type == "cuda" else {}
        # the batches of an epoch have two sizes at most
        return torch.compile(self.network, dynamic=False, **options)

    def _give_up(self, why: str) -> None:
        self._compiled, self._may_try = None, False
        self.tell(why)
