"""The training runs of an experiment as independent units: (network, seed) + images -> one record.

A unit depends on its own arguments alone, so that units can be run in turn, as here, or anywhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..science.device import Placement
from ..science.networks import NetworkFactory
from ..science.scores import FloatArray
from ..science.training import TrainingOptions, train
from .progress import Progress
from .results import RunRecord


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
    """
    for number, unit in enumerate(units):
        with progress.training(unit.model, unit.run, unit.runs, number, len(units), len(images), options.epochs) as (
            on_epoch,
            on_batch,
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
            )

        def curve(name: str, reports: list = result.reports) -> FloatArray:
            return np.array([getattr(report, name) for report in reports], dtype=np.float64)

        yield RunRecord(
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
