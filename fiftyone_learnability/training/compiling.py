"""Whether a network is trained through ``torch.compile``: tried where it may pay, kept where it is measured to.

Compiling takes a minute or so, and what it gains depends on network, device and versions. So on a GPU, where small
networks spend most of their time on launching kernels, a training begins uncompiled; if what is left of it is long
enough for the minute not to matter, the next epochs run compiled (with CUDA graphs), and go on so only if they are
faster. On a CPU nothing is tried unasked: there the gain is small and the promise that the same seed gives the same
bits is worth more; see docs/performance.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

WORTH_SECONDS = 600.0
"""What must be left of a training for compiling to be tried: ten times what it usually takes."""

ENOUGH = 0.95
"""An epoch that is compiled must take at most this share of one that is not."""

_TIMED = 2
"""The epoch that a compiled one is compared with: the first takes longer than others."""


class Compilation:
    """Calls a network, compiled or not.

    Args:
        network: the network
        mode: whether it is compiled; "auto" decides as the module says
        device: where it is trained
        period (1): each how many epochs there is a measurement, so that like is compared with like
        tell: takes a sentence for people
    """

    def __init__(
        self,
        network: nn.Module,
        mode: bool | Literal["auto"],
        device: torch.device,
        period: int = 1,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.network, self.tell = network, tell
        self._device = device
        self._must = mode is True
        self._may_try = mode == "auto" and device.type == "cuda"
        self._compiled: Callable[[Tensor], Tensor] | None = self._compile() if self._must else None
        self._seconds: dict[int, float] = {}
        self._was_given_up = False
        # the first epoch that is compiled takes longer
        self._judged = _TIMED + period * math.ceil(2 / period)

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
        return self._compiled(images)

    def give_up_after(self, error: Exception) -> bool:
        """Goes on without compiling where that nobody asked for may be what has failed.

        Compilers fail in many ways: there may be none, it may not know an operation, or graphs take more memory.

        Args:
            error: what a step has raised

        Returns:
            whether it was compiled unasked, so that the epoch should be tried without
        """
        if self._compiled is None or self._must:
            return False
        self._was_given_up = True
        self._give_up(f"could not be trained compiled ({type(error).__name__}) and goes on without")
        return True

    def was_given_up(self) -> bool:
        """Whether :meth:`give_up_after` has just done so; asked once."""
        was, self._was_given_up = self._was_given_up, False
        return was

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
                try:
                    self._compiled = self._compile()
                # where torch cannot compile at all, such as with a Python that is too new for it
                except Exception as error:  # noqa: BLE001
                    self._give_up(f"cannot be compiled ({type(error).__name__})")
            else:
                self._may_try = False
        elif epochs_done == self._judged:
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
