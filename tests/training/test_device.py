from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fiftyone_learnability.training import device
from fiftyone_learnability.training.device import Placement, choose_placement, has_bf16_matrices
from fiftyone_learnability.training.options import PRECISIONS


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretends that the machine has other devices."""

    def pretend(
        cuda: int = 0,
        capability: tuple[int, int] = (9, 0),
        mps: bool = False,
        amx: bool = False,
        version: str = "2.14.0",
    ) -> None:
        monkeypatch.setattr(torch, "__version__", version)
        monkeypatch.setattr(device, "has_bf16_matrices", lambda: amx)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Some GPU")
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return pretend


@pytest.mark.parametrize(
    ("has", "chosen", "precision", "reasons"),
    [
        ({}, "cpu", "float32", ["no GPU was found", "threads", "this CPU has no matrix units for bf16 (AMX)"]),
        ({"amx": True}, "cpu", "bf16", ["no GPU was found", "this CPU has matrix units for bf16 (AMX)"]),
        ({"mps": True}, "mps", "float32", ["Apple GPU", "MPS is available", "does not pay on mps"]),
        ({"mps": True, "version": "2.14.0a0+git12"}, "mps", "float32", ["MPS is available"]),
        (
            {"mps": True, "version": "2.13.1+cpu"},
            "cpu",
            "float32",
            [
                "Apple's MPS is available but not used: torch 2.13.1+cpu may compute wrong gradients",
                "torch 2.14 is mended",
            ],
        ),
        ({"mps": True, "version": "2.4.0"}, "cpu", "float32", ["threads", "not used: torch 2.4.0 may"]),
        ({"cuda": 1}, "cuda", "bf16", ["Some GPU", "a CUDA GPU is available", "computes bf16 natively"]),
        ({"cuda": 1, "capability": (8, 0), "mps": True}, "cuda", "bf16", ["computes bf16 natively"]),
        ({"cuda": 2, "capability": (7, 5)}, "cuda", "fp16", ["no native bf16; the loss is scaled"]),
    ],
)
def test_auto_takes_the_best_device_and_says_why(
    machine: Callable[..., None], has: dict[str, object], chosen: str, precision: str, reasons: list[str]
) -> None:
    machine(**has)
    placement = choose_placement()
    assert placement.device == torch.device(chosen)
    assert placement.precision == precision
    for reason in reasons:
        assert reason in placement.reason


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="no /proc/cpuinfo to compare with")
def test_matrix_units_are_those_that_the_system_reports() -> None:
    flags = Path("/proc/cpuinfo").read_text().split()
    assert has_bf16_matrices() == ("amx_bf16" in flags and hasattr(torch.cpu, "get_capabilities"))


def test_a_torch_that_does_not_report_matrix_units_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not has_bf16_matrices()


def test_a_requested_device_and_precision_are_taken(machine: Callable[..., None]) -> None:
    machine(cuda=2)
    placement = choose_placement("cuda:1", "fp16")
    assert placement.device == torch.device("cuda:1")
    assert placement.precision == "fp16"
    assert placement.reason == "device cuda:1 (Some GPU): as asked; precision fp16: as asked"
    assert choose_placement("cpu", "bf16").precision == "bf16"
    assert choose_placement("cpu").precision == "float32"


def test_mps_is_taken_on_request_with_a_warning(machine: Callable[..., None]) -> None:
    machine(mps=True, version="2.8.0")
    placement = choose_placement("mps")
    assert placement.device.type == "mps"
    assert "as asked, although torch 2.8.0 may compute wrong gradients of batch norms there" in placement.reason


def test_a_deterministic_training_does_not_run_on_mps(machine: Callable[..., None]) -> None:
    machine(mps=True)
    placement = choose_placement(deterministic=True)
    assert placement.device.type == "cpu"
    assert "not used: deterministic=True, which MPS does not offer" in placement.reason
    with pytest.raises(ValueError, match="deterministic=True is not possible on device 'mps'; use 'auto' or 'cpu'"):
        choose_placement("mps", deterministic=True)
    machine(cuda=1)
    assert choose_placement(deterministic=True).device.type == "cuda"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cuda", "device 'cuda' does not exist: 0 CUDA GPUs are available; use 'auto' or 'cpu'"),
        ("cuda:1", "device 'cuda:1' does not exist: 0 CUDA GPUs"),
        ("mps", "device 'mps' is not available here"),
        ("meta", "device 'meta' is not supported"),
        ("gpu", "unknown device 'gpu': use 'auto', 'cpu', 'cuda', 'cuda:<n>' or 'mps'"),
        ("", "unknown device ''"),
    ],
)
def test_a_missing_device_is_an_error(machine: Callable[..., None], name: str, message: str) -> None:
    machine()
    with pytest.raises(ValueError, match=message):
        choose_placement(name)


def test_a_gpu_beyond_the_last_is_an_error(machine: Callable[..., None]) -> None:
    machine(cuda=2)
    assert choose_placement("cuda:1").device.index == 1
    with pytest.raises(ValueError, match="'cuda:2' does not exist: 2 CUDA GPUs"):
        choose_placement("cuda:2")


def test_a_missing_precision_is_an_error(machine: Callable[..., None]) -> None:
    machine()
    with pytest.raises(ValueError, match="precision must be one of auto, float32, bf16, fp16, not 'float16'"):
        choose_placement("cpu", "float16")
    with pytest.raises(ValueError, match="'fp16' needs a CUDA GPU; on cpu use 'float32' or 'auto'"):
        choose_placement("cpu", "fp16")


def test_each_precision_has_its_autocast_type() -> None:
    expected = {"float32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
    assert set(PRECISIONS) == {"auto", *expected}
    for precision, dtype in expected.items():
        assert Placement(torch.device("cpu"), precision, "").autocast_dtype is dtype
