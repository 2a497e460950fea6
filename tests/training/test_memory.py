from __future__ import annotations

import ctypes
import sys

import psutil
import pytest
import torch

from fiftyone_learnability.training import memory
from fiftyone_learnability.training.memory import kept_memory

CPU = torch.device("cpu")
BLOCK = 400 * 2**20  # more than what other tests may have left free in the heap


def resident() -> int:
    return psutil.Process().memory_info().rss


@pytest.mark.skipif(memory._glibc() is None, reason="another C library, whose memory is left as it is")
def test_memory_is_kept_within_and_given_back_after() -> None:
    torch.ones(BLOCK // 4)
    before = resident()
    with kept_memory(CPU):
        torch.ones(BLOCK // 4)
        assert resident() - before > 0.5 * BLOCK
    assert resident() - before < 0.25 * BLOCK
    # and from there on as before
    torch.ones(BLOCK // 4)
    assert resident() - before < 0.25 * BLOCK


def test_it_is_given_back_whatever_happens() -> None:
    before = resident()

    def fail() -> None:
        with kept_memory(CPU):
            torch.ones(BLOCK // 4)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert resident() - before < 0.25 * BLOCK


def test_elsewhere_nothing_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> ctypes.CDLL:
        raise OSError("no such library")

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    with kept_memory(CPU), kept_memory(torch.device("cuda")):
        pass
    monkeypatch.setattr(sys, "platform", "darwin")
    assert memory._glibc() is None
