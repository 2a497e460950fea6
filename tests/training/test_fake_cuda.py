"""One epoch on a CUDA GPU that is not there: torch's fake tensors have the device "cuda" and no values.

Torch raises an error where a tensor of the CPU meets one of the GPU, and where Python asks for a value of the GPU. Not
covered: the backward pass itself, whose gradients are zeros here, folded batch norms (they need a copy, which fake
parameters refuse), CUDA graphs, and what cuDNN chooses.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fiftyone_learnability.training import learner as learner_module
from fiftyone_learnability.training.device import Placement
from fiftyone_learnability.training.learner import Learner
from fiftyone_learnability.training.measuring import measure
from fiftyone_learnability.training.memory import copy_tensors
from fiftyone_learnability.training.networks import NETWORKS
from fiftyone_learnability.training.options import TrainingOptions
from fiftyone_learnability.training.pixels import TrainingData
from fiftyone_learnability.training.tracker import LearnabilityTracker
from fiftyone_learnability.training.trial import try_training

from .small import random_images

CUDA = torch.device("cuda", 0)
STEPS = 4
OPTIONS = TrainingOptions(epochs=3, batch_size=16, lr=0.1, crop_padding=2)


class Traffic(TorchDispatchMode):
    """Counts what passes between CPU and GPU, and steps of the fused optimizer, which no fake tensor can take.

    Attributes:
        to_device: copies from the CPU to the GPU, which do not wait
        waits: operations that wait for the GPU
        steps: steps of the fused optimizer
    """

    def __init__(self) -> None:
        super().__init__()
        self.to_device, self.steps = 0, 0
        self.waits: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name == "_fused_sgd_":
            self.steps += 1
            return None
        source = {tensor.device.type for tensor in tensors_of(args[1:] if name == "copy_" else args)}
        if name == "_local_scalar_dense" and source == {"cuda"}:
            self.waits.append(name)
        result = func(*args, **(kwargs or {}))
        if name in ("_to_copy", "copy_"):
            way = (source, result.device.type)
            self.to_device += way == ({"cpu"}, "cuda")
            if way == ({"cuda"}, "cpu"):
                self.waits.append(name)
        return result


def tensors_of(values: Any) -> list[Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, Tensor)]


def move(network: nn.Module, device: torch.device, memory_format: torch.memory_format) -> nn.Module:
    """Stands in for ``nn.Module.to``, which changes parameters in a way that fake tensors refuse."""
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, nn.Parameter(parameter.detach().to(device)))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, buffer.to(device))
    return network


@pytest.fixture
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(nn.Module, "to", move)
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (8 * 10**9, 16 * 10**9))
    # it compares values
    monkeypatch.setattr(learner_module, "folds_safely", lambda network, in_channels, image_size: False)
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


def fake_learner(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator, name: str, precision: str) -> Learner:
    count = 16 * STEPS
    data = TrainingData(random_images(rng, count, 32, 3), rng.integers(0, 10, count), 10)
    learner = Learner(name, NETWORKS[name], data, OPTIONS, 0, Placement(CUDA, precision, ""), pytest.fail)

    def backward(loss: Tensor) -> None:
        """There is no CUDA engine without a GPU."""
        assert loss.device == CUDA
        for parameter in learner.network.parameters():
            parameter.grad = torch.zeros_like(parameter)

    monkeypatch.setattr(Tensor, "backward", backward)
    return learner


@pytest.mark.parametrize("precision", ["float32", "bf16", "fp16"])
@pytest.mark.parametrize("name", NETWORKS)
def test_an_epoch_waits_for_the_gpu_once(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, fake_gpu: None, name: str, precision: str
) -> None:
    learner = fake_learner(monkeypatch, rng, name, precision)
    tracker = LearnabilityTracker(len(learner.images), CUDA)
    waits: list[int] = []
    with Traffic() as traffic:
        totals = learner.train_epoch(1, lambda count: waits.append(len(traffic.waits)))
        for indices, logits in measure(
            learner.network, learner.images, learner.placement, learner.measuring_batch, learner.folds
        ):
            assert (logits.device, logits.dtype) == (CUDA, torch.float32)
            tracker.update(indices, logits, learner.labels[indices])
        assert totals.device == CUDA
        assert (waits, traffic.waits) == ([0] * STEPS, [])
        # the draws of the epoch: order, rows, columns and flips
        assert traffic.to_device == 4
        # fp16 included: the scaler leaves the check for overflow to the fused optimizer
        assert traffic.steps == STEPS
        # then the values arrive on the CPU, where a fake tensor has none to show
        with pytest.raises(DataDependentOutputException):
            tracker.end_epoch()
        assert traffic.waits == ["_to_copy"]


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_the_state_of_an_epoch_stays_on_the_gpu(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, fake_gpu: None, precision: str
) -> None:
    learner = fake_learner(monkeypatch, rng, "resnet20", precision)
    tracker = LearnabilityTracker(len(learner.images), CUDA)
    with Traffic() as traffic:
        learner.train_epoch(1, lambda count: None)
        state = copy_tensors(learner.state_dict())
        state["tracker"] = tracker.state_dict(on_device=True)
        learner.load_state_dict(state)
    assert traffic.waits == []
    assert {tensor.device for tensor in tensors_of([state["network"], state["optimizer"]])} == {CUDA}
    # control: a checkpoint copies each tensor to the CPU
    with Traffic() as traffic:
        copied = copy_tensors(state, "cpu")
    assert len(traffic.waits) >= len(tensors_of([copied["network"], copied["optimizer"]]))


@pytest.mark.parametrize("precision", ["float32", "bf16", "fp16"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_trial_on_a_gpu(monkeypatch: pytest.MonkeyPatch, fake_gpu: None, name: str, precision: str) -> None:
    networks: list[nn.Module] = []
    losses: list[Tensor] = []

    def build(num_classes: int, in_channels: int) -> nn.Module:
        networks.append(NETWORKS[name](num_classes, in_channels))
        return networks[-1]

    def backward(loss: Tensor) -> None:
        """There is no CUDA engine without a GPU."""
        losses.append(loss)
        for parameter in networks[-1].parameters():
            parameter.grad = torch.zeros_like(parameter)

    monkeypatch.setattr(Tensor, "backward", backward)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: torch.zeros(16, dtype=torch.uint8))
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: None)
    with Traffic() as traffic:
        _, placement = try_training(name, build, 10, 3, 32, OPTIONS, Placement(CUDA, precision, ""))
    assert {tensor.device for tensor in networks[-1].state_dict().values()} == {CUDA}
    assert (placement.precision, placement.layout) == (precision, torch.channels_last)
    assert [loss.device for loss in losses] == [CUDA]
    assert (traffic.steps, traffic.waits) == (1, [])


def test_tensors_of_two_devices_and_waits_are_seen(fake_gpu: None) -> None:
    """A control of the other tests."""
    with Traffic() as traffic:
        values = torch.zeros(3, device=CUDA)
        with pytest.raises(RuntimeError, match="device"):
            values + torch.zeros(3)
        with pytest.raises(DataDependentOutputException):
            float(values.sum())
        values.cpu()
        torch.zeros(3).to(CUDA)
    assert traffic.waits == ["_local_scalar_dense", "_to_copy"]
    assert traffic.to_device == 1
