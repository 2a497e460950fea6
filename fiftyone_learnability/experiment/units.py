"""The training runs of an experiment as independent units: (network, seed) + images -> one record.

A unit depends on its own arguments alone, so that units can be run in turn, as here, or anywhere else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..science.device import Placement
from ..science.networks import NetworkFactory
from ..science.scores import FloatArray
from ..science.training import TrainingDivergedError, TrainingOptions, train
from .progress import Progress
from .results import RunRecord

CHECKPOINT_SECONDS = 60.0
"""The least time between two checkpoints of a training: short epochs need not each be on disk."""


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

    Args:
        store: where to
        unit: which training it is
        seconds (None): the least time between two, by default :data:`CHECKPOINT_SECONDS`
    """

    def __init__(self, store: UnitStore, unit: TrainingUnit, seconds: float | None = None) -> None:
        self.store, self.unit = store, unit
        self.seconds = CHECKPOINT_SECONDS if seconds is None else seconds
        self.saved = time.monotonic()

    def __call__(self, epoch: int, make_state: Callable[[], dict[str, Any]]) -> None:
        """Is called after each epoch."""
        if time.monotonic() - self.saved >= self.seconds:
            self.store.save_checkpoint(self.unit, make_state())
            self.saved = time.monotonic()


@contextmanager
def _dropping(store: UnitStore | None, unit: TrainingUnit) -> Iterator[None]:
    """Keeps nothing of a training that diverged: it would only diverge again."""
    try:
        yield
    except TrainingDivergedError:
        if store is not None:
            store.drop_checkpoint(unit)
        raise


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
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    num_classes: int,
    options: TrainingOptions,
    placement: Placement,
    progress: Progress,
    record_dynamics: bool = False,
    record_predictions: bool = True,
    el2n_epoch: int | None = None,
    store: UnitStore | None = None,
) -> Iterator[RunRecord]:
    """Trains the units one after the other and yields each record as it is done.

    Args:
        units: what to train
        factories: the networks by name
        images: ``(N, H, W, C)`` uint8
        labels: ``(N,)`` class of each image
        num_classes: the number of classes
        options: the recipe, the same for all units
        placement: device and precision
        progress: where to tell how far it is
        record_dynamics (False): whether the records keep the probability of the true label after every epoch
        record_predictions (True): whether the records keep the mean prediction
        el2n_epoch (None): the early epoch for EL2N, by default a tenth of the training
        store (None): keeps checkpoints and records, and gives those that an earlier process has left
    """
    for number, unit in enumerate(units):
        record = None if store is None else store.load_record(unit)
        if record is not None:
            progress.say(f"{unit.title}: already trained")
            yield record
            continue
        state = None if store is None else store.load_checkpoint(unit)
        if state is not None:
            progress.say(f"{unit.title}: going on after epoch {len(state['reports'])} of {options.epochs}")
        done = 0 if state is None else len(state["reports"])
        with (
            progress.training(
                unit.model, unit.run, unit.runs, number, len(units), len(images), options.epochs, done
            ) as (on_epoch, on_batch),
            _dropping(store, unit),
        ):
            result = train(
                unit.model,
                factories[unit.model],
                images,
                labels,
                num_classes,
                options,
                unit.seed,
                placement,
                on_epoch,
                on_batch,
                record_dynamics,
                record_predictions,
                el2n_epoch,
                state=state,
                on_state=None if store is None else Checkpoints(store, unit),
            )

        def curve(name: str, reports: list = result.reports) -> FloatArray:
            return np.array([getattr(report, name) for report in reports], dtype=np.float64)

        record = RunRecord(
            model=unit.model,
            seed=unit.seed,
            scores=result.tracker.scores(),
            train_loss=curve("train_loss"),
            train_accuracy=curve("train_accuracy"),
            measured_accuracy=curve("measured_accuracy"),
            epoch_seconds=curve("seconds"),
            dynamics=result.dynamics,
            prediction=result.tracker.mean_prediction,
        )
        if store is not None:
            store.save_record(unit, record)
        yield record
