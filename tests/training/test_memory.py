from __future__ import annotations

import ctypes
import sys

import psutil
import pytest
import torch

from fiftyone_learnability.training.memory import (
    available_memory,
    copy_tensors,
    find_glibc,
    is_out_of_memory,
    keep_freed_memory,
    on_cpu,
)

CPU = torch.device("cpu")
BLOCK = 400 * 2**20  # more than other tests may have left free in the heap


def resident() -> int:
    return psutil.Process().memory_info().rss


@pytest.mark.skipif(find_glibc() is None, reason="another C library, which is left as it is")
def test_memory_is_kept_within_and_returned_afterwards() -> None:
    torch.ones(BLOCK // 4)
    before = resident()
    with keep_freed_memory(CPU):
        torch.ones(BLOCK // 4)
        assert resident() - before > 0.5 * BLOCK
    assert resident() - before < 0.25 * BLOCK
    # later blocks are no longer kept
    torch.ones(BLOCK // 4)
    assert resident() - before < 0.25 * BLOCK


def test_memory_is_returned_after_an_error() -> None:
    before = resident()

    def fail() -> None:
        with keep_freed_memory(CPU):
            torch.ones(BLOCK // 4)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert resident() - before < 0.25 * BLOCK


def test_other_systems_and_devices_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    # the C library of musl
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert find_glibc() is None
    with keep_freed_memory(CPU), keep_freed_memory(torch.device("cuda")):
        pass
    monkeypatch.undo()
    monkeypatch.setattr(sys, "platform", "darwin")
    assert find_glibc() is None


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.83 GB)"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        MemoryError(),
    ],
)
def test_a_lack_of_memory_is_recognised(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", [RuntimeError("CUDA error: an illegal memory access"), ValueError("out of memory")])
def test_other_errors_are_not_taken_for_a_lack_of_memory(error: Exception) -> None:
    assert not is_out_of_memory(error)


def test_a_copy_shares_no_tensor_and_keeps_the_attributes_of_a_state() -> None:
    network = torch.nn.BatchNorm1d(2)
    copied = copy_tensors({"network": network.state_dict(), "numbers": [1, (2.0, "three")]})
    assert copied["numbers"] == [1, (2.0, "three")]
    assert copied["network"]._metadata == network.state_dict()._metadata
    with torch.no_grad():
        network.weight.fill_(7)
    assert copied["network"]["weight"].tolist() == [1, 1]


def test_tensors_on_the_cpu_are_not_copied_to_it() -> None:
    values = {"weights": [torch.ones(2)]}
    assert on_cpu(values)["weights"][0].data_ptr() == values["weights"][0].data_ptr()
    assert copy_tensors(values)["weights"][0].data_ptr() != values["weights"][0].data_ptr()


def test_memory_that_torch_keeps_is_available(monkeypatch: pytest.MonkeyPatch) -> None:
    assert available_memory(CPU) is None
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 9000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 500)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 300)
    assert available_memory(torch.device("cuda")) == 1200
