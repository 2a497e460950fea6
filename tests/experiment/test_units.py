from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from fiftyone_learnability.experiment import units as units_module
from fiftyone_learnability.experiment.progress import Progress, ProgressEvent
from fiftyone_learnability.experiment.results import RunRecord
from fiftyone_learnability.experiment.units import Checkpoints, TrainingUnit, plan_units, run_in_turn
from fiftyone_learnability.training.options import TrainingOptions
from fiftyone_learnability.training.run import TrainingData, train
from tests.training.small import CPU, Linear, SmallNet, random_images

OPTIONS = TrainingOptions(epochs=3, batch_size=8, crop_padding=1)


@pytest.fixture
def noise(rng: np.random.Generator) -> TrainingData:
    return TrainingData(random_images(rng, 20, 8, 3), rng.integers(0, 3, 20), 3)


FACTORIES = {"small": SmallNet, "linear": lambda num_classes, in_channels: Linear(num_classes, 192)}
PLACEMENTS = dict.fromkeys(FACTORIES, CPU)


def test_each_network_gets_each_seed() -> None:
    assert plan_units(["a", "b"], runs=2, seed=51) == [
        TrainingUnit("a", 51, 1, 2),
        TrainingUnit("a", 52, 2, 2),
        TrainingUnit("b", 51, 1, 2),
        TrainingUnit("b", 52, 2, 2),
    ]
    assert plan_units([], runs=2, seed=51) == []


def test_a_record_is_what_the_training_gives_alone(noise: TrainingData) -> None:
    units = plan_units(["small", "linear"], runs=2, seed=3)
    records = list(run_in_turn(units, FACTORIES, noise, OPTIONS, PLACEMENTS, Progress(False)))
    assert [(record.model, record.seed) for record in records] == [(unit.model, unit.seed) for unit in units]
    # in another order, so that no unit can depend on those before it
    for unit, record in reversed(list(zip(units, records, strict=True))):
        alone = train(unit.model, FACTORIES[unit.model], noise, OPTIONS, unit.seed, CPU)
        scores = alone.tracker.scores()
        assert record.scores.keys() == scores.keys()
        for name, values in scores.items():
            np.testing.assert_array_equal(record.scores[name], values)
        np.testing.assert_array_equal(record.prediction, alone.tracker.mean_prediction)
        for name in ("train_loss", "train_accuracy", "measured_accuracy"):
            assert getattr(record, name).tolist() == [getattr(report, name) for report in alone.reports]
        assert record.epoch_seconds.shape == (3,)
        assert (record.epoch_seconds > 0).all()
    assert not np.array_equal(records[0].scores["learnability"], records[1].scores["learnability"])


def test_all_runs_of_a_network_stop_where_its_first_does(noise: TrainingData) -> None:
    options = TrainingOptions(epochs=20, batch_size=8, crop_padding=1, stop_when_stable=0.9)
    alone = [train("small", SmallNet, noise, options, seed, CPU) for seed in range(8)]
    stops = [len(result.reports) for result in alone]
    # left to themselves, the runs stop after different numbers of epochs
    other = next(seed for seed in range(8) if stops[seed] != stops[0])
    units = [TrainingUnit("small", 0, 1, 2), TrainingUnit("small", other, 2, 2)]
    first, second = run_in_turn(units, FACTORIES, noise, options, PLACEMENTS, Progress(False))
    assert len(first.train_loss) == len(second.train_loss) == stops[0]
    np.testing.assert_array_equal(first.scores["learnability"], alone[0].scores()["learnability"])
    # each network has its own number of epochs
    (linear,) = run_in_turn(plan_units(["linear"], 1, 3), FACTORIES, noise, options, PLACEMENTS, Progress(False))
    more = [*units, TrainingUnit("linear", 3, 1, 1)]
    *_, last = run_in_turn(more, FACTORIES, noise, options, PLACEMENTS, Progress(False))
    np.testing.assert_array_equal(last.scores["learnability"], linear.scores["learnability"])


def test_a_kept_run_of_another_length_is_trained_again(noise: TrainingData) -> None:
    """The record of the first run was damaged, and it stops elsewhere when it is trained again."""
    options = TrainingOptions(epochs=20, batch_size=8, crop_padding=1, stop_when_stable=0.9)
    units = [TrainingUnit("small", 0, run, 2) for run in (1, 2)]
    run = partial(run_in_turn, units, FACTORIES, noise, placements=PLACEMENTS, progress=Progress(False))
    whole = next(run(replace(options, stop_when_stable=None)))
    store = Records({2: whole})
    first, second = run(options, store=store)
    assert len(first.train_loss) == len(second.train_loss) < 20
    assert store.records == {1: first, 2: second}
    assert list(run(options, store=store)) == [first, second]


def test_runs_of_identical_dynamics_get_identical_scores(noise: TrainingData) -> None:
    """Two runs of one seed: however long they train, they do not differ."""
    options = TrainingOptions(epochs=20, batch_size=8, crop_padding=1, stop_when_stable=0.9)
    units = [TrainingUnit("small", 0, run, 2) for run in (1, 2)]
    first, second = run_in_turn(units, FACTORIES, noise, options, PLACEMENTS, Progress(False))
    for name, values in first.scores.items():
        np.testing.assert_array_equal(second.scores[name], values)


def ended_epochs(events: list[ProgressEvent]) -> list[ProgressEvent]:
    """The events at the end of an epoch: how many come within one depends on the speed of the machine."""
    return [event for event in events if event.loss is not None]


def test_a_record_comes_as_soon_as_its_unit_is_done(noise: TrainingData) -> None:
    events: list[ProgressEvent] = []
    units = plan_units(["linear"], runs=3, seed=0)
    records = run_in_turn(units, FACTORIES, noise, OPTIONS, PLACEMENTS, Progress(events.append))
    assert events == []
    assert next(records).seed == 0
    assert [event.run for event in ended_epochs(events)] == [1, 1, 1]


def test_the_callback_follows_all_trainings(noise: TrainingData) -> None:
    events: list[ProgressEvent] = []
    units = plan_units(["small", "linear"], runs=2, seed=0)
    records = list(run_in_turn(units, FACTORIES, noise, OPTIONS, PLACEMENTS, Progress(events.append)))
    # networks learn nothing from noise, and a notice says so
    notices = [event.message for event in events if event.stage == "notice"]
    assert all("did not learn clearly more than chance" in notice for notice in notices)
    events = [event for event in events if event.stage != "notice"]
    assert all(event.stage == "training" and event.epochs == 3 for event in events)
    fractions = [event.fraction for event in events]
    assert fractions == sorted(fractions)
    events = ended_epochs(events)
    np.testing.assert_allclose([event.fraction for event in events], np.arange(1, 13) / 12)
    order = [(event.model, event.run, event.epoch) for event in events]
    assert order == [(model, run, epoch) for model in FACTORIES for run in (1, 2) for epoch in (1, 2, 3)]
    assert [event.loss for event in events] == np.concatenate([record.train_loss for record in records]).tolist()
    assert [event.accuracy for event in events[:3]] == records[0].measured_accuracy.tolist()


def test_a_callback_that_raises_ends_the_work(noise: TrainingData) -> None:
    events: list[ProgressEvent] = []

    def stop(event: ProgressEvent) -> None:
        events.append(event)
        if event.epoch == 2:
            raise InterruptedError("enough")

    units = plan_units(["linear"], runs=2, seed=0)
    with pytest.raises(InterruptedError, match="enough"):
        list(run_in_turn(units, FACTORIES, noise, OPTIONS, PLACEMENTS, Progress(stop)))
    assert [event.epoch for event in ended_epochs(events)] == [1, 2]


class Records:
    """Keeps the record of each run, and no checkpoints."""

    def __init__(self, records: dict[int, RunRecord]) -> None:
        self.records = records

    def load_record(self, unit: TrainingUnit) -> RunRecord | None:
        return self.records.get(unit.run)

    def save_record(self, unit: TrainingUnit, record: RunRecord) -> None:
        self.records[unit.run] = record

    def load_checkpoint(self, unit: TrainingUnit) -> None:
        return None

    def save_checkpoint(self, unit: TrainingUnit, state: Mapping[str, Any]) -> None: ...

    def drop_checkpoint(self, unit: TrainingUnit) -> None: ...


class Store:
    """Keeps checkpoints in a list; the other methods are not called."""

    def __init__(self) -> None:
        self.saved: list[Any] = []

    def save_checkpoint(self, unit: TrainingUnit, state: Mapping[str, Any]) -> None:
        self.saved.append(dict(state))


def test_a_state_is_copied_from_the_device_only_for_a_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(units_module.time, "monotonic", lambda: now)
    copied: list[int] = []

    def state(epoch: int) -> dict[str, Any]:
        copied.append(epoch)
        return {"epoch": epoch}

    store: Any = Store()
    with pytest.raises(KeyboardInterrupt), Checkpoints(store, TrainingUnit("net", 0, 1, 1)) as checkpoints:  # noqa: PT012
        for epoch in range(1, 8):
            now += units_module.CHECKPOINT_SECONDS / 2
            checkpoints.add(partial(state, epoch))
        assert copied == [2, 4, 6]
        raise KeyboardInterrupt
    # the last finished epoch is not lost
    assert copied == [2, 4, 6, 7]
    assert store.saved == [{"epoch": epoch} for epoch in copied]


def test_a_gpu_that_failed_leaves_its_error_and_the_checkpoint_before() -> None:
    """Nothing can be copied from it any more."""

    def state() -> dict[str, Any]:
        raise RuntimeError("CUDA error: device-side assert triggered")

    store: Any = Store()
    unit = TrainingUnit("net", 0, 1, 1)
    with pytest.raises(RuntimeError, match="an illegal memory access"), Checkpoints(store, unit) as checkpoints:  # noqa: PT012
        checkpoints.add(state)
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    assert store.saved == []
