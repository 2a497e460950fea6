"""One training run: train a network with one seed and measure, after every epoch, what the scores are made of.

Three options trade exactness for time and are off by default: take the probabilities from the training pass itself,
measure every k-th epoch only, and stop once the ranking has settled.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import torch

from .arithmetic import arithmetic
from .compiling import CompiledStepError
from .context import own_settings
from .device import Placement
from .learner import Learner
from .measuring import measure
from .memory import copy_tensors, is_out_of_memory, keep_freed_memory, on_cpu
from .networks import NetworkFactory
from .observer import EpochReport, TrainingObserver
from .options import TrainingOptions
from .pixels import TrainingData
from .result import TrainingResult
from .stopping import RankingStability
from .tracker import LearnabilityTracker

SMALLEST_PART = 2
"""The fewest images in a part of a batch: a batch norm needs two."""


class TrainingDivergedError(RuntimeError):
    """The loss or the outputs of a training run are no longer finite."""


class TrainingStateError(ValueError):
    """A state to resume from does not belong to the training run."""


class TrainingMemoryError(RuntimeError):
    """The device runs out of memory even with batches split into the smallest parts."""


def train(
    name: str,
    factory: NetworkFactory,
    data: TrainingData,
    options: TrainingOptions,
    seed: int,
    placement: Placement,
    observer: TrainingObserver | None = None,
    state: Mapping[str, Any] | None = None,
    stop_after: int | None = None,
) -> TrainingResult:
    """Train one network and record the probability of every image's true label after every epoch.

    By default, the probabilities are measured as in "Sample-wise learnability" (arXiv 1901.02347): after each epoch,
    the model in eval mode predicts all clean training images, and the softmax of its logits is taken in float32. On
    the CPU the result depends on the arguments alone, bit for bit (given the same number of threads and version of
    torch), whatever torch's global settings are; on CUDA it does so with ``options.deterministic`` (given the same GPU
    and versions too). How and in which epochs a run is measured does not change the training.

    With few steps per epoch the measurement takes fresh statistics in place of the running statistics of batch norms,
    which lag behind the weights, and the trained network keeps them; :mod:`.batch_statistics` has criterion and cost.

    If the device runs out of memory for a batch, the epoch starts over with batches split into twice as many parts,
    whose gradients are summed: the same step, except that batch norms see the parts. A measurement that does not fit
    starts over with smaller batches, which does not change the training.

    Args:
        name: name of the network, for messages
        factory: builds the network
        data: training images and labels
        options: training options
        seed: seed of initialisation, order and augmentation, not negative
        placement: device, precision and layout; see :func:`.trial.try_training`
        observer (None): follows the run
        state (None): state of a run with the same arguments, of :meth:`TrainingObserver.on_state`, to resume from. On
            the CPU, and with ``options.deterministic`` on CUDA, the result equals that of an uninterrupted run bit for
            bit
        stop_after (None): the epoch after which an earlier run of the network stopped because its ranking was stable:
            with ``options.stop_when_stable`` this run stops there too, and not elsewhere

    Returns:
        the finished run

    Raises:
        ValueError: if ``seed`` is negative
        TrainingStateError: if ``state`` does not belong to a run with these arguments
        TrainingDivergedError: if the loss or the outputs of the network are not finite
        TrainingMemoryError: if the device runs out of memory even for parts of two images, or to measure one
    """
    if seed < 0:
        raise ValueError(f"seed must not be negative, not {seed}")
    start = time.perf_counter()
    device = placement.device
    with own_settings(device), keep_freed_memory(device), arithmetic(device, options.deterministic):
        try:
            run = _Run(name, factory, data, options, seed, placement, observer or TrainingObserver(), stop_after)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise TrainingMemoryError(
                f"{name}: {placement.device} has too little memory for {len(data)} images of {data.images[0].nbytes} "
                "bytes and the network: choose another device, or a smaller image_size"
            ) from error
        if state is not None:
            try:
                run.load_state_dict(state)
            # torch raises errors of many types for weights that do not fit
            except Exception as error:
                raise TrainingStateError(f"{name}: the state does not fit: {error}") from error
        run.train()
    run.result.seconds = time.perf_counter() - start
    return run.result


class _Run:
    """One training run under way; takes the arguments of :func:`train`."""

    def __init__(
        self,
        name: str,
        factory: NetworkFactory,
        data: TrainingData,
        options: TrainingOptions,
        seed: int,
        placement: Placement,
        observer: TrainingObserver,
        stop_after: int | None,
    ) -> None:
        self.name, self.options, self.observer, self.stop_after = name, options, observer, stop_after
        self.learner = learner = Learner(name, factory, data, options, seed, placement, observer.on_incident)
        self.measured_epochs = options.measured_epochs
        self.tracker = LearnabilityTracker(
            len(data),
            placement.device,
            predictions=options.record_predictions,
            # the tracker counts measured epochs only
            el2n_epoch=self.measured_epochs.index(options.measured_el2n_epoch) + 1,
        )
        self.result = TrainingResult(self.tracker, [], learner.network, learner.mean, learner.std, learner.placement)
        if options.record_dynamics:
            self.result.dynamics = np.empty((len(self.measured_epochs), len(data)), np.float16)
        self.stability: RankingStability | None = None
        if options.stop_when_stable is not None:
            self.stability = RankingStability(len(data), len(self.measured_epochs), options.stop_when_stable)

    def train(self) -> None:
        """Train from the first missing epoch to the last one, or until the ranking is stable."""
        result, state = self.result, self._snapshot()
        for epoch in range(len(result.reports) + 1, self.options.epochs + 1):
            if result.stopped is not None:
                break
            report = self._epoch_with_retries(epoch, state)
            self._record(report)
            state = self._snapshot()
            self.observer.on_state(epoch, partial(on_cpu, state))
            self.observer.on_epoch(report)
        if result.stopped is not None:
            self.observer.on_incident(f"{self.name}: {result.stopped}")
        if result.dynamics is not None:
            result.dynamics = result.dynamics[: self.tracker.epochs]
        # no training step follows: the network keeps the statistics that it was measured with
        self.learner.refresh_statistics(len(result.reports))

    def _epoch_with_retries(self, epoch: int, state: dict[str, Any]) -> EpochReport:
        """Train and measure one epoch; start it over from ``state`` if the compiler fails or memory runs out."""
        while True:
            try:
                return self._epoch(epoch)
            except CompiledStepError:
                needs_memory = False
            except TrainingMemoryError:
                raise
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                needs_memory = True
            # not in the except clauses, where the error still holds the tensors of the failed step
            self.learner.free_memory()
            if needs_memory:
                state = self._split_batches(state, epoch)
            self.load_state_dict(state)

    def _epoch(self, epoch: int) -> EpochReport:
        start = time.perf_counter()
        learner, tracker, options = self.learner, self.tracker, self.options
        is_measured = epoch in self.measured_epochs
        online = tracker if is_measured and options.measure == "online" else None
        totals = learner.train_epoch(epoch, self.observer.on_batch, online)
        if is_measured and options.measure == "exact":
            with learner.fresh_statistics(epoch):
                self._measure(epoch)
        # the first wait for the device in this epoch
        loss, accuracy = (total / tracker.num_samples for total in totals.tolist())
        if not math.isfinite(loss):
            raise TrainingDivergedError(self._divergence("the training loss is", epoch))
        try:
            measured = tracker.end_epoch() if is_measured else None
        except FloatingPointError as error:
            raise TrainingDivergedError(self._divergence("the network's outputs are", epoch)) from error
        seconds = time.perf_counter() - start
        return EpochReport(epoch, options.epochs, loss, accuracy, measured, seconds, tracker.num_samples)

    def _measure(self, epoch: int) -> None:
        """Measure all images; start over with smaller batches if memory runs out.

        Raises:
            TrainingMemoryError: if a single image does not fit
        """
        learner, tracker = self.learner, self.tracker
        while True:
            batch = learner.measuring_batch
            try:
                for indices, logits in measure(
                    learner.network, learner.images, learner.placement, batch, learner.folds
                ):
                    tracker.update(indices, logits, learner.labels[indices])
                return
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            # not in the except clause, where the error still holds the tensors of the failed batch
            learner.free_memory()
            tracker.drop_epoch()
            if batch == 1:
                raise TrainingMemoryError(
                    f"{self.name}: {self._shortage(epoch, ' while measuring a single image')}: choose another device, "
                    "a smaller image_size or another network"
                )
            learner.measuring_batch = batch // 2
            self.observer.on_incident(
                f"{self.name}: {self._shortage(epoch, ' while measuring')}: from there on {batch // 2} images are "
                f"measured at once, not {batch}; the training does not change"
            )

    def _shortage(self, epoch: int, where: str = "") -> str:
        device = self.learner.placement.device
        return f"{device} ran out of memory{where} in epoch {epoch} of {self.options.epochs}"

    def _divergence(self, subject: str, epoch: int) -> str:
        lr = self.options.lr
        return (
            f"{self.name}: {subject} not finite in epoch {epoch} of {self.options.epochs}: the training diverged at "
            f"lr={lr}; try a lower one, such as lr={lr / 4:g}"
        )

    def _record(self, report: EpochReport) -> None:
        """Record a finished epoch, and decide whether the training stops after it."""
        result = self.result
        result.reports.append(report)
        if report.measured_accuracy is None:
            return
        probabilities = self.tracker.last_probabilities
        if result.dynamics is not None:
            result.dynamics[self.tracker.epochs - 1] = probabilities
        if self.stability is None or report.epoch == self.options.epochs:
            return
        is_stable = self.stability.add(probabilities)
        if self.stop_after is None:
            # EL2N needs its epoch, which may be any that the user chooses
            is_last = is_stable and self.tracker.epochs >= self.tracker.el2n_epoch
            reason = "because the ranking is stable"
        else:
            is_last, reason = report.epoch == self.stop_after, "as the first run did"
        if is_last:
            result.stopped = (
                f"stopped after {report.epoch} of {self.options.epochs} epochs {reason}: {self.stability.describe()}"
            )

    def _split_batches(self, state: dict[str, Any], epoch: int) -> dict[str, Any]:
        """The state before an epoch, changed to split batches into twice as many parts.

        Raises:
            TrainingMemoryError: if the parts would be too small
        """
        learner, batch_size = self.learner, self.options.batch_size
        parts = 2 * learner.parts
        shortage = self._shortage(epoch)
        if len(learner.images) // learner.steps_per_epoch // parts < SMALLEST_PART:
            raise TrainingMemoryError(
                f"{self.name}: {shortage}, although batches of {batch_size} are split into {learner.parts} parts: "
                "choose another device, a smaller image_size or another network"
            )
        incident = (
            f"{shortage}: from there on each batch of {batch_size} is split into {parts} parts, whose gradients are "
            "summed"
        )
        self.observer.on_incident(f"{self.name}: {incident}")
        return {**state, "parts": parts, "incidents": [*state["incidents"], incident]}

    def _snapshot(self) -> dict[str, Any]:
        """The state after an epoch, to start the next one over or to resume from.

        Its tensors are copies, so that the training may continue. They stay on the device, so that nothing waits for
        it, or go to the CPU if the device has no room for them.
        """
        try:
            return self._copy_state(on_device=True)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        return self._copy_state(on_device=False)

    def _copy_state(self, on_device: bool) -> dict[str, Any]:
        result = self.result
        # the largest array is not copied: the rows of finished epochs no longer change
        dynamics = None if result.dynamics is None else torch.from_numpy(result.dynamics[: self.tracker.epochs])
        return {
            "reports": [asdict(report) for report in result.reports],
            **copy_tensors(self.learner.state_dict(), None if on_device else "cpu"),
            "incidents": list(result.incidents),
            "stopped": result.stopped,
            "stability": None if self.stability is None else self.stability.state_dict(),
            "tracker": self.tracker.state_dict(on_device=on_device),
            "dynamics": dynamics,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from the state of a run with the same arguments."""
        result = self.result
        result.reports[:] = [EpochReport(**report) for report in state["reports"]]
        self.learner.load_state_dict(state)
        self.tracker.load_state_dict(state["tracker"])
        result.incidents[:] = state["incidents"]
        result.stopped = state["stopped"]
        if result.dynamics is not None:
            result.dynamics[: self.tracker.epochs] = state["dynamics"].numpy()
        if self.stability is not None:
            self.stability.load_state_dict(state["stability"])
