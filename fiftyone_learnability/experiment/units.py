"""The trainings of an experiment as units: (network, seed) + images -> one record.

A unit depends on its own arguments alone, so units can run in turn, as here, or on any executor. One exception: with
``stop_when_stable`` the first run of a network decides after how many epochs all of them stop, because means over
different numbers of epochs cannot be compared. The first run must then end before the others start.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from ..scores.evidence import Evidence, chance_accuracy
from ..scores.formulas import FloatArray
from ..training.device import Placement
from ..training.networks import NetworkFactory
from ..training.observer import EpochReport, TrainingObserver
from ..training.options import TrainingOptions
from ..training.pixels import TrainingData
from ..training.result import TrainingResult
from ..training.run import TrainingDivergedError, TrainingStateError, train
from .progress import Progress, TrainingProgress
from .results import RunRecord

CHECKPOINT_SECONDS = 60.0
"""The least time between two checkpoints of a training: short epochs need not all be saved."""

RESTART_SHARE = 0.25
"""The share of the learning rate at which a diverged training is restarted."""


@dataclass(frozen=True)
class TrainingUnit:
    """One training to do.

    Attributes:
        model: the name of the network
        seed: the seed
        run: the number of this repeat of the network, counted from 1
        runs: the number of repeats of the network
    """

    model: str
    seed: int
    run: int
    runs: int

    @property
    def title(self) -> str:
        """Name of the training in messages."""
        return self.model if self.runs == 1 else f"{self.model} run {self.run}/{self.runs}"


class UnitStore(Protocol):
    """Keeps records and checkpoints; see :class:`fiftyone_learnability.experiment.run_directory.RunDirectory`."""

    def load_record(self, unit: TrainingUnit) -> RunRecord | None:
        """Return the record of a finished training."""

    def save_record(self, unit: TrainingUnit, record: RunRecord) -> None:
        """Keep the record of a finished training."""

    def load_checkpoint(self, unit: TrainingUnit) -> dict[str, Any] | None:
        """Return the state of an unfinished training."""

    def save_checkpoint(self, unit: TrainingUnit, state: Mapping[str, Any]) -> None:
        """Keep the state of an unfinished training."""

    def drop_checkpoint(self, unit: TrainingUnit) -> None:
        """Delete the state of a training that cannot be continued."""


class _NoStore:
    """Keeps nothing."""

    def load_record(self, unit: TrainingUnit) -> RunRecord | None:
        return None

    def save_record(self, unit: TrainingUnit, record: RunRecord) -> None: ...

    def load_checkpoint(self, unit: TrainingUnit) -> dict[str, Any] | None:
        return None

    def save_checkpoint(self, unit: TrainingUnit, state: Mapping[str, Any]) -> None: ...

    def drop_checkpoint(self, unit: TrainingUnit) -> None: ...


class Checkpoints:
    """Saves the state of a training after its epochs, at most once per :data:`CHECKPOINT_SECONDS`.

    A state is copied from the device when it is saved. As a context manager it saves the last state when an error or an
    interrupt ends the training. It deletes the checkpoint if the training diverged, since it would only diverge again.

    Args:
        store: keeps the checkpoints
        unit: the training
    """

    def __init__(self, store: UnitStore, unit: TrainingUnit) -> None:
        self._store, self._unit = store, unit
        self._saved_at = time.monotonic()
        self._unsaved: Callable[[], dict[str, Any]] | None = None

    def add(self, state: Callable[[], dict[str, Any]]) -> None:
        """Take the state after an epoch; see :meth:`TrainingObserver.on_state`."""
        self._unsaved = state
        if time.monotonic() - self._saved_at >= CHECKPOINT_SECONDS:
            self._save()

    def _save(self) -> None:
        if self._unsaved is not None:
            self._store.save_checkpoint(self._unit, self._unsaved())
            self._saved_at, self._unsaved = time.monotonic(), None

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            return
        if issubclass(kind, TrainingDivergedError):
            self._store.drop_checkpoint(self._unit)
            return
        # a GPU that failed can no longer be read: the checkpoint before stays, and the error that it failed with counts
        with suppress(RuntimeError):
            self._save()


def plan_units(models: list[str], runs: int, seed: int) -> list[TrainingUnit]:
    """Return the units of an experiment: each network with the seeds seed, seed + 1, ..., seed + runs - 1.

    Args:
        models: the names of the networks
        runs: the number of repeats of each network
        seed: the first seed
    """
    return [TrainingUnit(model, seed + run, run + 1, runs) for model in models for run in range(runs)]


def run_in_turn(
    units: list[TrainingUnit],
    factories: Mapping[str, NetworkFactory],
    data: TrainingData,
    options: TrainingOptions,
    placements: Mapping[str, Placement],
    progress: Progress,
    store: UnitStore | None = None,
    restart_diverged: bool = False,
) -> Iterator[RunRecord]:
    """Train the units one after the other and yield each record as soon as it is done.

    Args:
        units: the trainings to do
        factories: the networks by name
        data: training images and labels
        options: the training options, the same for all units
        placements: device, precision and layout of each network
        progress: shows the progress
        store (None): keeps checkpoints and records, and returns those of an earlier process
        restart_diverged (False): restart a training that diverges, once, at a quarter of the learning rate

    Raises:
        TrainingDivergedError: if a training diverges, or diverges again after its restart
        TrainingMemoryError: if the device has no memory for a training
    """
    store = store or _NoStore()
    trainer = _UnitTrainer(factories, data, options, placements, progress, store, restart_diverged, len(units))
    stop_after: dict[str, int] = {}
    for position, unit in enumerate(units):
        record = store.load_record(unit)
        epochs = stop_after.get(unit.model)
        if record is not None and epochs not in (None, len(record.train_loss)):
            # the first run was damaged and trained again, on a GPU that gave other bits
            progress.say(f"{unit.title}: trained again, for {epochs} epochs as the first run")
            record = None
        if record is not None:
            progress.say(f"{unit.title}: already trained")
            for incident in record.incidents:
                progress.say(f"{unit.title}: {incident}")
        else:
            record = trainer.train(unit, position, epochs)
            store.save_record(unit, record)
        if options.stop_when_stable is not None:
            stop_after.setdefault(unit.model, len(record.train_loss))
        yield record


@dataclass(frozen=True)
class _UnitTrainer:
    """Trains units, continuing from checkpoints and restarting diverged trainings."""

    factories: Mapping[str, NetworkFactory]
    data: TrainingData
    options: TrainingOptions
    placements: Mapping[str, Placement]
    progress: Progress
    store: UnitStore
    restart_diverged: bool
    num_units: int

    def train(self, unit: TrainingUnit, position: int, stop_after: int | None) -> RunRecord:
        """Train a unit, from its checkpoint if there is one, for as many epochs as the first run of its network."""
        options, state = self._starting_point(unit)
        result = None
        while result is None:
            done = 0 if state is None else len(state["reports"])
            epochs = stop_after or options.epochs
            shown = self.progress.training(unit, position, self.num_units, len(self.data), epochs, done)
            try:
                with shown as progress, Checkpoints(self.store, unit) as checkpoints:
                    observer = _UnitObserver(progress, checkpoints)
                    factory, placement = self.factories[unit.model], self.placements[unit.model]
                    result = train(
                        unit.model, factory, self.data, options, unit.seed, placement, observer, state, stop_after
                    )
            except TrainingStateError as error:
                self._discard_checkpoint(unit, str(error))
                options, state = self.options, None
            except TrainingDivergedError as error:
                if not self.restart_diverged or options.lr != self.options.lr:
                    raise
                options, state = replace(self.options, lr=RESTART_SHARE * self.options.lr), None
                self.progress.say(f"{error}. Restarting with lr={options.lr:g}")
        return self._record(unit, result, options)

    def _starting_point(self, unit: TrainingUnit) -> tuple[TrainingOptions, dict[str, Any] | None]:
        """Return the options to train with and the state to continue from."""
        state = self.store.load_checkpoint(unit)
        if state is None:
            return self.options, None
        if state["lr"] not in (self.options.lr, RESTART_SHARE * self.options.lr):
            self._discard_checkpoint(unit, f"lr={state['lr']}")
            return self.options, None
        self.progress.say(f"{unit.title}: continuing after epoch {len(state['reports'])} of {self.options.epochs}")
        # a restarted training has a lower rate
        return replace(self.options, lr=state["lr"]), state

    def _discard_checkpoint(self, unit: TrainingUnit, reason: str) -> None:
        self.store.drop_checkpoint(unit)
        self.progress.say(f"the checkpoint of {unit.title} is damaged ({reason}): starting over")

    def _record(self, unit: TrainingUnit, result: TrainingResult, options: TrainingOptions) -> RunRecord:
        incidents = [*result.incidents, *filter(None, [result.stopped])]
        accuracy = [report.measured_accuracy for report in result.reports if report.measured_accuracy is not None]
        problem = Evidence((accuracy[-1],), chance_accuracy(self.data.labels), len(self.data)).problem
        if problem is not None:
            incidents.append(f"{problem}; its scores may say nothing about the images")
            self.progress.say(f"{unit.title} {incidents[-1]}")
        if options.lr != self.options.lr:
            incidents.insert(0, f"diverged at lr={self.options.lr:g} and was restarted with lr={options.lr:g}")

        def curve(name: str) -> FloatArray:
            return np.array([getattr(report, name) for report in result.reports], dtype=np.float64)

        return RunRecord(
            model=unit.model,
            seed=unit.seed,
            scores=result.scores(),
            train_loss=curve("train_loss"),
            train_accuracy=curve("train_accuracy"),
            measured_accuracy=curve("measured_accuracy"),
            epoch_seconds=curve("seconds"),
            dynamics=result.dynamics,
            prediction=result.tracker.mean_prediction,
            incidents=tuple(incidents),
        )


class _UnitObserver(TrainingObserver):
    """Passes the events of a training to its progress and its checkpoints."""

    def __init__(self, progress: TrainingProgress, checkpoints: Checkpoints) -> None:
        self._progress, self._checkpoints = progress, checkpoints

    def on_epoch(self, report: EpochReport) -> None:
        self._progress.on_epoch(report)

    def on_batch(self, count: int) -> None:
        self._progress.on_batch(count)

    def on_state(self, epoch: int, state: Callable[[], dict[str, Any]]) -> None:
        self._checkpoints.add(state)

    def on_incident(self, sentence: str) -> None:
        self._progress.on_incident(sentence)
