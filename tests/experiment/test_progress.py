from __future__ import annotations

import pytest

from fiftyone_learnability.experiment.progress import Progress, ProgressEvent
from fiftyone_learnability.experiment.units import TrainingUnit
from fiftyone_learnability.training.observer import EpochReport


def report(epoch: int, seconds: float) -> EpochReport:
    return EpochReport(epoch, 4, 1.5 / epoch, 0.25, 0.5, seconds, num_samples=100)


def go_through(progress: Progress) -> None:
    """Report every kind of progress."""
    progress.say("training on the CPU")
    with progress.counting("images", 30, "reading images") as advance:
        for _ in range(3):
            advance(10)
    with progress.training(TrainingUnit("resnet20", 1, 2, 3), 4, 6, 100, 4) as observer:
        for epoch in range(1, 5):
            for _ in range(4):
                observer.on_batch(25)
            observer.on_epoch(report(epoch, seconds=2.0 * epoch))


def test_silence(capsys: pytest.CaptureFixture[str]) -> None:
    go_through(Progress(False))
    assert capsys.readouterr() == ("", "")


def test_bars_and_messages_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    go_through(Progress())
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.replace("\r", "\n").splitlines()
    assert lines[0] == "training on the CPU"
    assert any(line.startswith("reading images: 100%|") for line in lines)
    last = lines[-1]
    assert last.startswith("resnet20 run 2/3: 100%|")
    assert "samples/s" in last
    assert "epoch 4/4, loss 0.375, accuracy 0.500" in last


def test_a_callback_receives_everything_and_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    events: list[ProgressEvent] = []
    go_through(Progress(events.append))
    assert capsys.readouterr() == ("", "")
    assert [event.stage for event in events] == ["notice"] + ["images"] * 3 + ["training"] * 4
    assert events[0].message == "training on the CPU"
    assert [event.fraction for event in events[1:4]] == pytest.approx([1 / 3, 2 / 3, 1])
    assert events[1].message == "reading images: 10 of 30"
    assert events[1].model is None


def test_the_numbers_of_a_training() -> None:
    events: list[ProgressEvent] = []
    go_through(Progress(events.append))
    training = events[4:]
    # four of six trainings came before
    assert [event.fraction for event in training] == pytest.approx([(4 + epoch / 4) / 6 for epoch in (1, 2, 3, 4)])
    assert [event.samples_per_second for event in training] == [50, 25, 100 / 6, 12.5]
    # 2, 6, 12, 20 seconds so far
    assert [event.seconds_left for event in training] == pytest.approx([2 * 3, 3 * 2, 4 * 1, 0])
    second = training[1]
    assert (second.model, second.run, second.epoch, second.epochs) == ("resnet20", 2, 2, 4)
    assert (second.loss, second.accuracy) == (0.75, 0.5)
    assert second.message == "resnet20 run 2/3: epoch 2/4, loss 0.750, accuracy 0.500"


def test_the_only_run_has_no_number() -> None:
    events: list[ProgressEvent] = []
    with Progress(events.append).training(TrainingUnit("vgg16", 0, 1, 1), 0, 1, 100, 4) as observer:
        observer.on_epoch(report(1, 1.0))
    assert events[0].message.startswith("vgg16: epoch 1/4")


@pytest.mark.parametrize("step", [1, 7, 64])
def test_counting_reports_about_a_hundred_steps(step: int) -> None:
    events: list[ProgressEvent] = []
    total = 10_000
    with Progress(events.append).counting("images", total, "reading") as advance:
        for start in range(0, total, step):
            advance(min(step, total - start))
    fractions = [event.fraction for event in events]
    assert fractions == sorted(set(fractions))
    assert fractions[-1] == 1
    assert 70 <= len(events) <= 101
    assert all(0 < fraction <= 1 for fraction in fractions)


def test_counting_nothing_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    events: list[ProgressEvent] = []
    for progress in (Progress(events.append), Progress(True)):
        with progress.counting("images", 0, "reading"):
            pass
    assert events == []
    assert capsys.readouterr().err.strip().startswith("reading:")


def test_progress_that_is_not_a_function_is_refused() -> None:
    with pytest.raises(ValueError, match="progress must be True, False, None or a function, not 'bar'"):
        Progress("bar")  # type: ignore[arg-type]


def test_a_resumed_training_starts_where_it_was() -> None:
    events: list[ProgressEvent] = []
    with Progress(events.append).training(TrainingUnit("vgg16", 0, 1, 1), 0, 1, 100, 4, done=2) as observer:
        observer.on_epoch(report(3, 2.0))
        observer.on_incident("out of memory")
    assert [event.stage for event in events] == ["training", "notice"]
    # the speed is that of the one epoch trained here
    assert (events[0].fraction, events[0].seconds_left) == (0.75, 2.0)
    assert events[1].message == "out of memory"


def test_a_callback_that_raises_ends_the_work() -> None:
    def stop(event: ProgressEvent) -> None:
        raise InterruptedError("enough")

    with pytest.raises(InterruptedError, match="enough"):
        go_through(Progress(stop))
