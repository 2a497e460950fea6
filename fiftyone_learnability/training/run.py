"""One training run: a network, the images, one seed; and after every epoch the measurement that the scores rest on.

The recipe is one for all networks, which is the paper's condition for comparing them: SGD with Nesterov momentum 0.9,
weight decay, a learning rate that rises linearly, then falls along a cosine to zero; random crops and flips. The images
stay on the device as uint8, channels last, so that no DataLoader is waited for; nothing in an epoch waits for the
device but its end.

Three switches trade exactness for time, and are off unless asked for: the probabilities may be those of the training
pass itself, or be measured after each k-th epoch only, and a training may end once its ranking has settled.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ..scores.formulas import FloatArray
from .augmentation import EpochDraws, crop_and_flip, epoch_seed
from .compiling import Compilation
from .device import Placement, autocast
from .measuring import folds_safely, measure
from .memory import kept_memory
from .networks import NetworkFactory, build_network, fastest_layout, fastest_placement
from .options import TrainingOptions, default_el2n_epoch
from .pixels import ResidentImages, channel_statistics
from .stopping import RankingStability
from .tracker import LearnabilityTracker

MOMENTUM = 0.9
WARMUP_EPOCHS = 2.0
WARMUP_SHARE = 0.1
SMALLEST_PART = 2
"""The fewest images that a batch is divided into for lack of memory: a batch norm needs two."""


class TrainingDivergedError(RuntimeError):
    """The loss of a training run is no longer a finite number."""


class TrainingStateError(ValueError):
    """The state that a training run is to go on from is none of the same run."""


class TrainingMemoryError(RuntimeError):
    """The device has no memory for a training run, however small the parts that its batches are taken in."""


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Labelled images to train on.

    Attributes:
        images: ``(N, H, W, C)`` uint8, N >= 2, H = W, C = 1 or 3
        labels: ``(N,)`` class of each image, in 0..num_classes-1
        num_classes: number of classes

    Raises:
        ValueError: if shapes, types or labels do not fit together
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    num_classes: int

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if images.ndim != 4 or images.dtype != np.uint8 or images.shape[3] not in (1, 3) or len(images) < 2:
            raise ValueError(
                f"images must be at least two, (N, H, W, 1 or 3) in uint8, not {images.shape} in {images.dtype}"
            )
        if labels.shape != images.shape[:1]:
            raise ValueError(f"labels must have the shape {images.shape[:1]}, not {labels.shape}")
        if labels.min() < 0 or labels.max() >= self.num_classes:
            raise ValueError(f"labels must lie in 0..{self.num_classes - 1}, not {labels.min()}..{labels.max()}")

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class EpochReport:
    """What one epoch of a run showed.

    Attributes:
        epoch: the epoch, counted from 1
        epochs: T, the number of epochs of the run
        train_loss: mean cross-entropy over the augmented training images, while training
        train_accuracy: accuracy on the augmented training images, while training
        measured_accuracy: accuracy on the clean training images, after the epoch, in eval mode (that of the training
            pass if ``measure`` is "online"); None if the epoch was not measured
        seconds: wall time of the epoch with its measurement
        num_samples: N, the training images
    """

    epoch: int
    epochs: int
    train_loss: float
    train_accuracy: float
    measured_accuracy: float | None
    seconds: float
    num_samples: int


class TrainingObserver:
    """Follows a training run; override what you need. An exception that a method raises ends the training."""

    def on_epoch(self, report: EpochReport) -> None:
        """Called after each epoch, after :meth:`on_state`."""

    def on_batch(self, count: int) -> None:
        """Called after each training step with its number of images."""

    def on_state(self, epoch: int, state: dict[str, Any]) -> None:
        """Called after each epoch with the state to resume from.

        Args:
            epoch: the epoch that has ended, counted from 1
            state: numbers, texts and tensors that ``torch.load(weights_only=True)`` reads; they no longer change
        """

    def on_incident(self, sentence: str) -> None:
        """Called with one sentence when the run departs from plan, for example when memory runs out."""


@dataclass
class TrainingResult:
    """A finished training run.

    Attributes:
        tracker: the accumulated scores
        reports: one report an epoch
        dynamics: ``(M, N)`` float16 probability of the true label after each measured epoch; None if it was not
            recorded
        network: the trained network, on the device
        mean: ``(C,)`` mean of the training images in [0, 1]
        std: ``(C,)`` standard deviation, likewise
        placement: where it was trained
        seconds: wall time of the whole run
        incidents: what did not go as planned, such as a want of memory, a sentence each
        stopped: why the training ended before its last epoch; None if it did not
    """

    tracker: LearnabilityTracker
    reports: list[EpochReport]
    network: nn.Module
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    placement: Placement
    dynamics: NDArray[np.float16] | None = None
    seconds: float = 0.0
    incidents: list[str] = field(default_factory=list)
    stopped: str | None = None

    def scores(self) -> dict[str, FloatArray]:
        """``(N,)`` each score over the measured epochs, by name; see :meth:`LearnabilityTracker.scores`.

        The learned epoch is one of the training, so that it can be compared with that of a training which was measured
        more often; where the label is not predicted in the end it is one above the last.
        """
        scores = self.tracker.scores()
        measured = [report.epoch for report in self.reports if report.measured_accuracy is not None]
        if len(measured) < len(self.reports):
            epochs = np.array([*measured, self.reports[-1].epoch + 1], np.float64)
            scores["learned_epoch"] = epochs[scores["learned_epoch"].astype(np.int64) - 1]
        return scores


def learning_rate(step: int, total_steps: int, steps_per_epoch: int, peak: float) -> float:
    """The learning rate of a step: a linear rise over 2 epochs (a tenth of a short run), then a cosine to zero.

    Args:
        step: the step, counted from 0
        total_steps: the steps of the whole run
        steps_per_epoch: the steps of one epoch
        peak: the rate at the end of the rise
    """
    warmup = max(1.0, min(WARMUP_EPOCHS * steps_per_epoch, WARMUP_SHARE * total_steps))
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    return peak * (1 + math.cos(math.pi * (step - warmup) / (total_steps - warmup))) / 2


def predict_logits(result: TrainingResult, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The logits of a trained network for images, in eval mode, normalised as its training images were.

    Args:
        result: a finished training run
        images: ``(M, H, W, C)`` uint8, of the size and channels it was trained with

    Returns:
        ``(M, classes)`` logits
    """
    device = result.placement.device
    layout = fastest_layout(result.network, result.placement)
    data = ResidentImages(images, result.mean, result.std, device, layout)
    parts = [logits.cpu() for _, logits in measure(result.network, data, result.placement)]
    return torch.cat(parts).numpy()


def _copied(value: Any) -> Any:
    """A state with copies of its tensors, on the CPU."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        # with what torch notes beside the entries
        copied = copy.copy(value)
        copied.update({key: _copied(one) for key, one in value.items()})
        return copied
    if isinstance(value, (list, tuple)):
        return type(value)(_copied(one) for one in value)
    return value


_MEMORY_MESSAGES = ("out of memory", "not enough memory", "can't allocate memory", "ALLOC_FAILED")


def _is_out_of_memory(error: Exception) -> bool:
    """Whether a device had no memory, for which only some devices and libraries have an error of its own."""
    known = isinstance(error, RuntimeError) and any(message in str(error) for message in _MEMORY_MESSAGES)
    return known or isinstance(error, MemoryError)


@contextmanager
def _own_randomness(device: torch.device) -> Iterator[None]:
    """Leaves the caller's random state as it was."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        yield


def train(
    name: str,
    factory: NetworkFactory,
    data: TrainingData,
    options: TrainingOptions,
    seed: int,
    placement: Placement,
    observer: TrainingObserver | None = None,
    state: Mapping[str, Any] | None = None,
) -> TrainingResult:
    """Train one network and record the probability of every image's true label after every epoch.

    The measurement, unless the options ask for a cheaper one, is that of "Sample-wise learnability" (arXiv 1901.02347):
    after each epoch, the model in eval mode over all clean training images, and the float32 softmax of its logits. On
    the CPU the result depends on the arguments alone, bit for bit (given the same number of threads and version of
    torch). How and in which epochs a run is measured does not change the training.

    If the device has no memory for a batch, the epoch starts over with batches split into twice as many parts, whose
    gradients are summed: the same step, except that batch norms see the parts.

    Args:
        name: name of the network, for messages
        factory: builds the network
        data: training images and labels
        options: training options
        seed: seed of initialisation, order and augmentation, not negative
        placement: device and precision
        observer (None): follows the run
        state (None): state of a run with the same arguments, as :meth:`TrainingObserver.on_state` gets it, to resume
            from; on the CPU the result equals, bit for bit, that of an uninterrupted run

    Returns:
        the finished run

    Raises:
        ValueError: if ``seed`` is negative
        TrainingStateError: if ``state`` does not belong to a run with these arguments
        TrainingDivergedError: if the loss or the outputs of the network are not finite
        TrainingMemoryError: if the device has no memory even for parts of two images
    """
    if seed < 0:
        raise ValueError(f"seed must not be negative, not {seed}")
    observer = TrainingObserver() if observer is None else observer
    start = time.perf_counter()
    with _own_randomness(placement.device), kept_memory(placement.device):
        try:
            run = _Run(name, factory, data, options, seed, placement, observer)
        except Exception as error:
            if not _is_out_of_memory(error):
                raise
            raise TrainingMemoryError(
                f"{name}: {placement.device} has no memory for {len(data)} images of {data.images[0].nbytes} bytes and "
                "the network: choose another device, or a smaller image_size"
            ) from error
        if state is not None:
            try:
                run.load_state_dict(state)
            # the state may come from a foreign file, and torch has no one error for what can be wrong with it
            except Exception as error:
                raise TrainingStateError(f"{name}: the state does not fit: {error}") from error
        run.train()
    run.result.seconds = time.perf_counter() - start
    return run.result


class _Run:
    """The state of one training run."""

    def __init__(
        self,
        name: str,
        factory: NetworkFactory,
        data: TrainingData,
        options: TrainingOptions,
        seed: int,
        placement: Placement,
        observer: TrainingObserver,
    ) -> None:
        images = data.images
        device = placement.device
        self.name, self.options, self.seed = name, options, seed
        self.observer = observer
        mean, std = channel_statistics(images)
        el2n_epoch = options.el2n_epoch or default_el2n_epoch(options.epochs)
        # the tracker counts the epochs that it sees
        early = sum(epoch < el2n_epoch for epoch in options.measured_epochs) + 1
        tracker = LearnabilityTracker(len(data), device, predictions=options.record_predictions, el2n_epoch=early)
        self.labels = torch.as_tensor(data.labels, dtype=torch.int64).to(device)
        torch.manual_seed(epoch_seed(seed, 0))
        network = build_network(name, factory, data.num_classes, images.shape[3], images.shape[1])
        self.placement = placement = fastest_placement(network, placement)
        self.folds = folds_safely(network, images.shape[3], images.shape[1])
        layout = fastest_layout(network, placement)
        self.network = network.to(device, memory_format=layout)  # type: ignore[call-overload]
        self.images = ResidentImages(images, mean, std, device, layout)
        self.optimizer = torch.optim.SGD(
            self.network.parameters(),
            lr=options.lr,
            momentum=MOMENTUM,
            weight_decay=options.weight_decay,
            nesterov=True,
            # one kernel for all weights; on a CPU it gains nothing, and where a scaler skips the first step it would go
            # on with momenta that were never set
            fused=device.type == "cuda" and placement.precision != "fp16",
        )
        self.scaler = self._new_scaler()
        # never a batch of one image, whose statistics a batch norm over 1x1 maps cannot take
        self.steps_per_epoch = max(1, min(math.ceil(len(images) / options.batch_size), len(images) // 2))
        # how many parts each batch is taken in
        self.parts = 1
        self.result = TrainingResult(tracker, [], self.network, mean, std, placement)
        self.measured_epochs = options.measured_epochs
        if options.record_dynamics:
            self.result.dynamics = np.empty((len(self.measured_epochs), len(data)), np.float16)
        self.stability: RankingStability | None = None
        if options.stop_when_stable is not None:
            self.stability = RankingStability(len(images), len(self.measured_epochs), options.stop_when_stable)
        self.epochs_here = 0
        self.forward = Compilation(
            self.network,
            options.compile,
            device,
            options.measure_every,
            lambda text: observer.on_incident(f"{name} {text}"),
        )
        # whether it is the network that is called, rather than what others have asked to be called
        self.in_step = False

    def _new_scaler(self) -> torch.GradScaler:
        return torch.GradScaler(self.placement.device.type, enabled=self.placement.precision == "fp16")

    def state_dict(self) -> dict[str, Any]:
        """All that the next epochs depend on: their randomness comes from (seed, epoch), and need not be kept.

        Its tensors are copies on the CPU, so that the training may go on meanwhile.
        """
        result = self.result
        state = {
            "reports": [asdict(report) for report in result.reports],
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "lr": float(self.options.lr),
            "parts": self.parts,
            "incidents": result.incidents,
            "stopped": result.stopped,
            "stability": None if self.stability is None else self.stability.state_dict(),
        }
        # the largest of all, of which the epochs that are done do not change, is not copied
        measured = result.tracker.epochs
        dynamics = None if result.dynamics is None else torch.from_numpy(result.dynamics[:measured])
        return {**_copied(state), "tracker": result.tracker.state_dict(), "dynamics": dynamics}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from the state of a run with the same arguments.

        Raises:
            Exception: if it is none, of whatever kind; the run is then as good as lost
        """
        reports = [EpochReport(**report) for report in state["reports"]]
        if any((report.measured_accuracy is None) == (report.epoch in self.measured_epochs) for report in reports):
            raise ValueError("it has not measured the epochs that it should have")
        if [report.epoch for report in reports] != list(range(1, min(len(reports), self.options.epochs) + 1)):
            raise ValueError(f"it reports {len(reports)} epochs that are not the first of {self.options.epochs}")
        self.result.reports[:] = reports
        self.network.load_state_dict(state["network"])
        # how to step is said by the options; and the optimizer would go on in the very tensors that it is given
        ours = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": _copied(state["optimizer"]["state"]), "param_groups": ours})
        for weights, kept in self.optimizer.state.items():
            momentum = kept.get("momentum_buffer")
            if momentum is not None and momentum.shape != weights.shape:
                raise ValueError(f"it has a momentum of {tuple(momentum.shape)} for weights of {tuple(weights.shape)}")
        # a new one: that of a step which ran out of memory still holds what it had found of its gradients
        self.scaler = self._new_scaler()
        self.scaler.load_state_dict(state["scaler"])
        self.result.tracker.load_state_dict(state["tracker"])
        measured = sum(report.epoch in self.measured_epochs for report in reports)
        if self.result.tracker.epochs != measured:
            raise ValueError(f"it has scores of {self.result.tracker.epochs} epochs and measured {measured}")
        if not 1 <= state["parts"] <= len(self.images):
            raise ValueError(f"it takes batches in {state['parts']} parts")
        self.parts = state["parts"]
        self.result.incidents[:] = state["incidents"]
        if (kept := self.result.dynamics) is not None:
            dynamics = state["dynamics"].numpy()
            if dynamics.dtype != kept.dtype or dynamics.shape != (measured, *kept.shape[1:]):
                raise ValueError(f"it has dynamics of {dynamics.shape} in {dynamics.dtype}")
            kept[:measured] = dynamics
        if self.stability is not None:
            self.stability.load_state_dict(state["stability"])
        stopped = state["stopped"]
        if stopped is not None and (not isinstance(stopped, str) or self.stability is None or not measured):
            raise ValueError("it says that it was stopped, and cannot have been")
        self.result.stopped = stopped

    def train(self) -> None:
        """Train from the epoch that follows the state to the last one, or until the ranking is stable."""
        latest, result = self.state_dict(), self.result
        for epoch in range(len(result.reports) + 1, self.options.epochs + 1):
            if result.stopped is not None:
                break
            while (report := self.try_epoch(epoch)) is None:
                # all randomness comes from (seed, epoch), so the epoch can start over
                if not self.forward.was_given_up():
                    latest = self.with_smaller_parts(latest, epoch)
                self.load_state_dict(latest)
            self.add(report)
            latest = self.state_dict()
            self.observer.on_state(epoch, latest)
            self.observer.on_epoch(report)
        if result.stopped is not None:
            self.observer.on_incident(f"{self.name}: {result.stopped}")
        if result.dynamics is not None:
            result.dynamics = result.dynamics[: result.tracker.epochs]

    def add(self, report: EpochReport) -> None:
        """Takes up an epoch that went well, and looks whether the training may end with it."""
        result = self.result
        result.reports.append(report)
        self.epochs_here += 1
        self.forward.end_epoch(self.epochs_here, self.options.epochs - report.epoch, report.seconds)
        if report.measured_accuracy is None:
            return
        probabilities = result.tracker.last_probabilities
        if result.dynamics is not None:
            result.dynamics[result.tracker.epochs - 1] = probabilities
        if self.stability is None or report.epoch == self.options.epochs:
            return
        is_stable = self.stability.add(probabilities)
        # EL2N is taken in an early epoch, but which one is up to the user
        if is_stable and result.tracker.epochs >= result.tracker.el2n_epoch:
            result.stopped = (
                f"stopped after {report.epoch} of {self.options.epochs} epochs, its ranking being stable: "
                f"{self.stability.describe()}"
            )

    def try_epoch(self, epoch: int) -> EpochReport | None:
        """Trains and measures; None if it must be begun anew, after which the state is undefined.

        That is where the device has no memory for it, or a compiler that was not asked for has failed.
        """
        try:
            return self.epoch(epoch)
        except Exception as error:
            if not (self.in_step and self.forward.give_up_after(error)) and not _is_out_of_memory(error):
                raise
        finally:
            self.in_step = False
        # here, where the error no longer keeps what was allocated
        self.optimizer.zero_grad(set_to_none=True)
        if self.placement.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def with_smaller_parts(self, state: dict[str, Any], epoch: int) -> dict[str, Any]:
        """The state from before an epoch, with batches that are taken in twice as many parts.

        Raises:
            TrainingMemoryError: if the parts would be too small
        """
        smallest = len(self.images) // self.steps_per_epoch // (2 * self.parts)
        where = f"{self.placement.device} ran out of memory in epoch {epoch} of {self.options.epochs}"
        if smallest < SMALLEST_PART:
            raise TrainingMemoryError(
                f"{self.name}: {where}, although batches of {self.options.batch_size} are taken in {self.parts} parts: "
                "choose another device, a smaller image_size or another network"
            )
        parts = 2 * self.parts
        incident = (
            f"{where}: from there on each batch of {self.options.batch_size} is taken in {parts} parts, whose "
            "gradients are summed"
        )
        self.observer.on_incident(f"{self.name}: {incident}")
        return {**state, "parts": parts, "incidents": [*state["incidents"], incident]}

    def epoch(self, epoch: int) -> EpochReport:
        start = time.perf_counter()
        tracker = self.result.tracker
        is_measured = epoch in self.measured_epochs
        totals = self._train_epoch(epoch, tracker if is_measured and self.options.measure == "online" else None)
        if is_measured and self.options.measure == "exact":
            for indices, logits in measure(self.network, self.images, self.placement, self.parts, self.folds):
                tracker.update(indices, logits, self.labels[indices])
        # here the device is waited for, and nowhere before
        loss, accuracy = (total / len(self.images) for total in totals.tolist())
        if not math.isfinite(loss):
            raise TrainingDivergedError(self._advice(epoch, "the training loss is"))
        try:
            measured = tracker.end_epoch() if is_measured else None
        except FloatingPointError as error:
            raise TrainingDivergedError(self._advice(epoch, "the network's outputs are")) from error
        seconds = time.perf_counter() - start
        return EpochReport(epoch, self.options.epochs, loss, accuracy, measured, seconds, len(self.images))

    def _train_epoch(self, epoch: int, tracker: LearnabilityTracker | None) -> Tensor:
        """Trains for an epoch; gives the sums of losses and hits, on the device, and shows all logits to a tracker."""
        count, options = len(self.images), self.options
        # dropout and the like of networks that are not ours draw from torch's own state
        torch.manual_seed(epoch_seed(self.seed, epoch))
        draws = EpochDraws.draw(
            count, options.crop_padding, options.horizontal_flip, self.seed, epoch, self.placement.device
        )
        # summed on the device, so that no step waits for it
        totals = torch.zeros(2, device=self.placement.device)
        step = (epoch - 1) * self.steps_per_epoch
        for index in draws.order.tensor_split(self.steps_per_epoch):
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(
                    step, options.epochs * self.steps_per_epoch, self.steps_per_epoch, options.lr
                )
            self.optimizer.zero_grad(set_to_none=True)
            for part in index.tensor_split(self.parts):
                batch = crop_and_flip(
                    self.images.batch(part),
                    draws.rows[part],
                    draws.columns[part],
                    draws.flips[part],
                    options.crop_padding,
                ).contiguous(memory_format=self.images.layout)
                labels = self.labels[part]
                self.in_step = True
                with autocast(self.placement):
                    # a graph of CUDA's would overwrite the gradients of one part with those of the next
                    logits = self.forward(batch) if self.parts == 1 else self.network(batch)
                    loss = F.cross_entropy(logits, labels)
                share = loss if self.parts == 1 else loss * (len(part) / len(index))
                self.scaler.scale(share).backward()
                self.in_step = False
                totals[0] += loss.detach() * len(part)
                totals[1] += (logits.detach().argmax(dim=1) == labels).sum()
                if tracker is not None:
                    tracker.update(part, logits, labels)
            self.scaler.step(self.optimizer)
            self.scaler.update()
            step += 1
            self.observer.on_batch(len(index))
        return totals

    def _advice(self, epoch: int, what: str) -> str:
        return (
            f"{self.name}: {what} not finite in epoch {epoch} of {self.options.epochs}: the training diverged at lr="
            f"{self.options.lr}; try a lower one, such as lr={self.options.lr / 4:g}"
        )
