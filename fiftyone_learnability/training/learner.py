"""A network with its optimizer and training images: the training loop of one epoch.

All networks get the same training options, which is the paper's condition for comparing them: SGD with Nesterov
momentum 0.9, weight decay, a linear warm-up and then a cosine to zero, random crops and flips. The images stay on the
device as uint8, channels last, so there is no DataLoader to wait for, and within an epoch nothing waits for the device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .augmentation import EpochDraws, crop_and_flip, epoch_seed
from .batch_statistics import estimate_statistics, restored_statistics, stale_norms
from .compiling import NetworkCall
from .device import Placement, autocast
from .measuring import folds_safely, measuring_batch
from .memory import available_memory, copy_tensors, free_cached_memory
from .networks import NetworkFactory, build_network, fastest_placement
from .options import TrainingOptions
from .pixels import ResidentImages, TrainingData
from .schedule import learning_rate
from .tracker import LearnabilityTracker

MOMENTUM = 0.9


class Learner:
    """A network that is trained one epoch at a time.

    Args:
        name: name of the network, for messages
        factory: builds the network
        data: training images and labels
        options: training options
        seed: seed of initialisation, order and augmentation
        placement: device, precision and layout of the network; what is not chosen yet is chosen for speed
        on_incident: called with one sentence if the network cannot be compiled

    Attributes:
        parts: number of parts that each training batch is split into for lack of memory
        measuring_batch: number of images that are measured at once
        folds: True if the measuring pass may fold batch norms into convolutions
        stale: norms whose running statistics are not good enough for a measurement
    """

    def __init__(
        self,
        name: str,
        factory: NetworkFactory,
        data: TrainingData,
        options: TrainingOptions,
        seed: int,
        placement: Placement,
        on_incident: Callable[[str], None],
    ) -> None:
        device, (_, size, _, channels) = placement.device, data.images.shape
        self.options, self.seed = options, seed
        self.mean, self.std = data.statistics
        self.labels = torch.as_tensor(data.labels, dtype=torch.int64).to(device)
        torch.manual_seed(epoch_seed(seed, 0))
        network = build_network(name, factory, data.num_classes, channels, size)
        self.placement = fastest_placement(network, placement)
        self.folds = folds_safely(network, channels, size)
        layout = self.placement.layout
        self.network = network.to(device, memory_format=layout)  # type: ignore[call-overload]
        self.images = ResidentImages(data.images, self.mean, self.std, device, layout)
        self.optimizer = torch.optim.SGD(
            self.network.parameters(),
            lr=options.lr,
            momentum=MOMENTUM,
            weight_decay=options.weight_decay,
            nesterov=True,
            # one kernel for all weights, which also sees on the device whether the scaler skips a step; on a CPU it
            # gains nothing
            fused=device.type == "cuda",
        )
        # zeros give the same first step. If the scaler skips it, momenta that the fused optimizer made would be unset
        for parameter in self.network.parameters():
            self.optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        self.scaler = self._new_scaler()
        self.steps_per_epoch = options.steps_per_epoch(len(data))
        self.stale = stale_norms(self.network, self.steps_per_epoch)
        self.parts = 1
        # not by the memory available where the same arguments must give the same bits
        memory = None if options.deterministic else available_memory(device)
        self.measuring_batch = measuring_batch(device, size, math.ceil(len(data) / self.steps_per_epoch), memory)
        self.call = NetworkCall(self.network, options.compile, device, lambda text: on_incident(f"{name}: {text}"))

    def _new_scaler(self) -> torch.GradScaler:
        return torch.GradScaler(self.placement.device.type, enabled=self.placement.precision == "fp16")

    def train_epoch(
        self, epoch: int, on_batch: Callable[[int], None], tracker: LearnabilityTracker | None = None
    ) -> Tensor:
        """Train for one epoch.

        Args:
            epoch: the epoch, counted from 1; with the seed it determines all randomness
            on_batch: called with the number of images after each step
            tracker (None): records the logits of the training pass

        Returns:
            ``(2,)`` sum of losses and number of hits over the augmented images, on the device

        Raises:
            CompiledStepError: if a step of the compiled network fails; the network is uncompiled from then on
        """
        options, device = self.options, self.placement.device
        # dropout and the like in other people's networks draw from torch's global state
        torch.manual_seed(epoch_seed(self.seed, epoch))
        draws = EpochDraws.draw(
            len(self.images), options.crop_padding, options.horizontal_flip, self.seed, epoch, device
        )
        # summed on the device, so that no step waits for it
        totals = torch.zeros(2, device=device)
        steps = self.steps_per_epoch
        for step, index in enumerate(draws.order.tensor_split(steps), start=(epoch - 1) * steps):
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(step, options.epochs * steps, steps, options.lr)
            self.optimizer.zero_grad(set_to_none=True)
            for part in index.tensor_split(self.parts):
                labels = self.labels[part]
                logits, loss = self._backward(self._augment(part, draws), labels, len(part) / len(index))
                totals[0] += loss.detach() * len(part)
                totals[1] += (logits.detach().argmax(dim=1) == labels).sum()
                if tracker is not None:
                    tracker.update(part, logits, labels)
            self.scaler.step(self.optimizer)
            self.scaler.update()
            on_batch(len(index))
        return totals

    def _augment(self, part: Tensor, draws: EpochDraws) -> Tensor:
        cropped = crop_and_flip(
            self.images.batch(part), draws.rows[part], draws.columns[part], draws.flips[part], self.options.crop_padding
        )
        return self.images.in_layout(cropped)

    def _backward(self, batch: Tensor, labels: Tensor, share: float) -> tuple[Tensor, Tensor]:
        """Add a part's gradients, weighted by its share of the batch; return its logits and mean loss."""
        with self.call.step():
            with autocast(self.placement):
                # a CUDA graph would overwrite the gradients of one part with those of the next
                logits = self.call(batch) if self.parts == 1 else self.network(batch)
                loss = F.cross_entropy(logits, labels)
            self.scaler.scale(loss if self.parts == 1 else loss * share).backward()
        return logits, loss

    @contextmanager
    def fresh_statistics(self, epoch: int) -> Iterator[None]:
        """Measure with fresh statistics in place of stale ones; see :mod:`.batch_statistics`."""
        with restored_statistics(self.stale):
            self.refresh_statistics(epoch)
            yield

    def refresh_statistics(self, epoch: int) -> None:
        """Replace stale statistics by those over the batches of an epoch, of clean images."""
        if not self.stale:
            return
        order = EpochDraws.draw(len(self.images), 0, False, self.seed, epoch, self.placement.device).order
        batches = [
            part for index in order.tensor_split(self.steps_per_epoch) for part in index.tensor_split(self.parts)
        ]
        estimate_statistics(self.network, self.stale, self.images, batches, self.placement)

    def free_memory(self) -> None:
        """Free what a failed step has left on the device."""
        self.optimizer.zero_grad(set_to_none=True)
        free_cached_memory(self.placement.device)

    def state_dict(self) -> dict[str, Any]:
        """The state to resume from, not copied. Randomness needs no state: it depends on seed and epoch."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "lr": float(self.options.lr),
            "parts": self.parts,
            "measuring_batch": self.measuring_batch,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from the state of a learner with the same arguments."""
        self.network.load_state_dict(state["network"])
        # how to step is up to the options; the copy, because the optimizer continues in the tensors that it is given
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": copy_tensors(state["optimizer"]["state"]), "param_groups": groups})
        # a new scaler: after a step that ran out of memory the old one still holds what it found about its gradients
        self.scaler = self._new_scaler()
        self.scaler.load_state_dict(state["scaler"])
        self.parts, self.measuring_batch = state["parts"], state["measuring_batch"]
