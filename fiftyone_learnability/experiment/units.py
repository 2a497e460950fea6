"""The training runs of an experiment as independent units: (network, seed) + images -> one record.

A unit depends on its own arguments alone, so that units can be run in turn, as here, or anywhere else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from ..scores.formulas import FloatArray
from ..training.device import Placement
from ..training.networks import NetworkFactory
from ..training.options import TrainingOptions
from ..training.run import (
    EpochReport,
    TrainingData,
    TrainingDivergedError,
    TrainingObserver,
    TrainingStateError,
    train,
)
from .progress import Progress
from .results import RunRecord

CHECKPOINT_SECONDS = 60.0
"""The least time between two checkpoints of a training: short epochs need not each be on disk."""


RESTART_SHARE = 0.25
"""The share of the learning rate with which a training that diverged is restarted."""


@dataclass(frozen=True)
class TrainingUnit:
    """One training run to do.

    Attributes:
        model: the name of the network
        seed: the seed
        run: the number of this run of the network, counted from 1
        runs: how many runs the network has
    """

    model: str
    seed: int
    run: int
    runs: int

    @property
    def title(self) -> str:
        """Which training it is, for people."""
        return self.model if self.runs == 1 else f"{self.model} run {self.run}/{self.runs}"


class UnitStore(Protocol):
    """Keeps what has been trained; see :class:`fiftyone_learnability.experiment.run_directory.RunDirectory`."""

    def load_record(self, unit: TrainingUnit) -> RunRecord | None:
        """The record of a finished training."""

    def save_record(self, unit: TrainingUnit, record: RunRecord) -> None:
        """Keeps the record of a finished training."""

    def load_checkpoint(self, unit: TrainingUnit) -> dict[str, Any] | None:
        """The state of a training under way."""

    def save_checkpoint(self, unit: TrainingUnit, state: Mapping[str, Any]) -> None:
        """Keeps the state of a training under way."""

    def drop_checkpoint(self, unit: TrainingUnit) -> None:
        """Deletes the state of a training that is not worth going on with."""


class Checkpoints:
    """Saves the state of a training after its epochs, but not more often than every so many seconds.

    As a context it also saves what is not saved yet when an error or an interrupt ends the training, and deletes all if
    the training diverged: it would only diverge again.

    Args:
        store: where to
        unit: which training it is
        seconds (None): the least time between two, by default :data:`CHECKPOINT_SECONDS`
    """

    def __init__(self, store: UnitStore, unit: TrainingUnit, seconds: float | None = None) -> None:
        self.store, self.unit = store, unit
        self.seconds = CHECKPOINT_SECONDS if seconds is None else seconds
        self._saved_at = time.monotonic()
        self._unsaved: dict[str, Any] | None = None

    def __call__(self, epoch: int, state: dict[str, Any]) -> None:
        """Is called after each epoch, with a state that does not change any more."""
        self._unsaved = state
        if time.monotonic() - self._saved_at >= self.seconds:
            self._save()

    def _save(self) -> None:
        if self._unsaved is not None:
            self.store.save_checkpoint(self.unit, self._unsaved)
            self._saved_at, self._unsaved = time.monotonic(), None

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            return
        if issubclass(kind, TrainingDivergedError):
            self.store.drop_checkpoint(self.unit)
        else:
            self._save()


def plan_units(models: list[str], runs: int, seed: int) -> list[TrainingUnit]:
    """The units of an experiment: each network with the seeds seed, seed + 1, ..., seed + runs - 1.

    Args:
        models: the names of the networks
        runs: how many runs each network gets
        seed: the first seed
    """
    return [TrainingUnit(model, seed + run, run + 1, runs) for model in models for run in range(runs)]


def run_in_turn(
    units: list[TrainingUnit],
    factories: Mapping[str, NetworkFactory],
    data: TrainingData,
    options: TrainingOptions,
    placement: Placement,
    progress: Progress,
    store: UnitStore | None = None,
    restart_diverged: bool = False,
) -> Iterator[RunRecord]:
    """Trains the units one after the other and yields each record as it is done.

    Args:
        units: what to train
        factories: the networks by name
        data: training images and labels
        options: training options, the same for all units
        placement: device and precision
        progress: where to tell how far it is
        store (None): keeps checkpoints and records, and gives those that an earlier process has left
        restart_diverged (False): whether a training that diverges is restarted, once, at a quarter of the rate

    Raises:
        TrainingDivergedError: if a training diverges, or does so again
        TrainingMemoryError: if the device has no memory for a training
    """
    for number, unit in enumerate(units):
        record = None if store is None else store.load_record(unit)
        if record is not None:
            progress.say(f"{unit.title}: already trained")
            yield record
            continue
        state = None if store is None else store.load_checkpoint(unit)
        recipe = options
        if state is not None and store is not None and state["lr"] not in (options.lr, RESTART_SHARE * options.lr):
            _leave_aside(store, unit, f"lr={state['lr']}", progress)
            state = None
        if state is not None:
            # that of a training which was restarted is a lower one
            recipe = replace(options, lr=state["lr"])
            progress.say(f"{unit.title}: going on after epoch {len(state['reports'])} of {options.epochs}")
        result = None
        while result is None:
            done = 0 if state is None else len(state["reports"])
            checkpoints = None if store is None else Checkpoints(store, unit)
            try:
                with (
                    progress.training(
                        unit.model, unit.run, unit.runs, number, len(units), len(data), options.epochs, done
                    ) as (on_epoch, on_batch),
                    checkpoints or nullcontext(),
                ):
                    result = train(
                        unit.model,
                        factories[unit.model],
                        data,
                        recipe,
                        unit.seed,
                        placement,
                        _UnitObserver(progress, on_epoch, on_batch, checkpoints),
                        state,
                    )
            except TrainingStateError as error:
                if store is None or state is None:
                    raise
                _leave_aside(store, unit, str(error), progress)
                recipe, state = options, None
            except TrainingDivergedError as error:
                if not restart_diverged or recipe.lr != options.lr:
                    raise
                recipe, state = replace(options, lr=RESTART_SHARE * options.lr), None
                progress.say(f"{error}. It is restarted with lr={recipe.lr:g}")
        incidents = [*result.incidents, *filter(None, [result.stopped])]
        if recipe.lr != options.lr:
            incidents.insert(0, f"diverged at lr={options.lr:g} and was restarted with lr={recipe.lr:g}")

        def curve(name: str, reports: list = result.reports) -> FloatArray:
            return np.array([getattr(report, name) for report in reports], dtype=np.float64)

        record = RunRecord(
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
        if store is not None:
            store.save_record(unit, record)
        yield record


class _UnitObserver(TrainingObserver):
    """Passes what happens in a training on to its progress and its checkpoints."""

    def __init__(
        self,
        progress: Progress,
        on_epoch: Callable[[EpochReport], None],
        on_batch: Callable[[int], None],
        checkpoints: Checkpoints | None,
    ) -> None:
        self._progress, self._on_epoch, self._on_batch = progress, on_epoch, on_batch
        self._checkpoints = checkpoints

    def on_epoch(self, report: EpochReport) -> None:
        self._on_epoch(report)

    def on_batch(self, count: int) -> None:
        self._on_batch(count)

    def on_state(self, epoch: int, state: dict[str, Any]) -> None:
        if self._checkpoints is not None:
            self._checkpoints(epoch, state)

    def on_incident(self, sentence: str) -> None:
        self._progress.say(sentence)


def _leave_aside(store: UnitStore, unit: TrainingUnit, why: str, progress: Progress) -> None:
    store.drop_checkpoint(unit)
    progress.say(f"the checkpoint of {unit.title} is damaged and left aside ({why}): it starts anew")
