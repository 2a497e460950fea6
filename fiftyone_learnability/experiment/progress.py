"""Progress of the work, shown as bars or handed to a callback. Loads no torch."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..scores.checks import short_repr
from ..training.observer import EpochReport, TrainingObserver

if TYPE_CHECKING:
    from .units import TrainingUnit


@dataclass(frozen=True)
class ProgressEvent:
    """One step of the work, as a callback receives it.

    Attributes:
        stage: "images", "training" or "writing"; "notice" for a message, such as the chosen device
        fraction: the finished share of the stage, 0..1; for training, the share of all epochs of all trainings; 0 for
            a notice
        message: one line for people
        model: the network in training, None in other stages
        run: the number of the repeat, counted from 1
        epoch: the finished epochs of this training
        epochs: all epochs of this training
        loss: the mean training loss of the epoch, None within an epoch
        accuracy: the share of training images classified correctly after the epoch
        samples_per_second: training images per second, the measurement included
        seconds_left: the time that this training will still take at its mean speed so far
    """

    stage: str
    fraction: float
    message: str
    model: str | None = None
    run: int = 0
    epoch: int = 0
    epochs: int = 0
    loss: float | None = None
    accuracy: float | None = None
    samples_per_second: float | None = None
    seconds_left: float | None = None


ProgressCallback = Callable[[ProgressEvent], None]


class Progress:
    """Shows progress as bars, hands it to a callback, or does neither.

    Args:
        progress (True): True for bars and messages on standard error, False for silence, or a callback that receives
            each :class:`ProgressEvent`; an exception that it raises ends the work

    Raises:
        ValueError: if ``progress`` is something else
    """

    def __init__(self, progress: bool | ProgressCallback = True) -> None:
        if not isinstance(progress, bool) and not callable(progress):
            raise ValueError(f"progress must be True, False, None or a function, not {short_repr(progress)}")
        self._callback = progress if callable(progress) else None
        self._bars = progress is True

    def say(self, message: str) -> None:
        """Print a message where bars are shown; a callback receives it as a notice."""
        self._print_and_report(ProgressEvent("notice", 0.0, message))

    def finish(self, stage: str, message: str) -> None:
        """Announce that a stage is done, and with what result."""
        self._print_and_report(ProgressEvent(stage, 1.0, message))

    def _print_and_report(self, event: ProgressEvent) -> None:
        if self._bars:
            print(event.message, file=sys.stderr, flush=True)
        self.report(event)

    def report(self, event: ProgressEvent) -> None:
        """Hand an event to the callback, if there is one."""
        if self._callback is not None:
            self._callback(event)

    @contextmanager
    def counting(self, stage: str, total: int, message: str) -> Iterator[Callable[[int], None]]:
        """Follow a stage that counts: yields a function to call with each number of finished things.

        A callback receives about a hundred events.
        """
        done, reported = 0, 0
        with self._bar(total, message, unit=" images") as bar:

            def advance(count: int) -> None:
                nonlocal done, reported
                done += count
                bar.update(count)
                if done == total or done - reported >= total / 100:
                    reported = done
                    self.report(ProgressEvent(stage, done / total, f"{message}: {done} of {total}"))

            yield advance

    @contextmanager
    def training(
        self, unit: TrainingUnit, position: int, num_units: int, num_samples: int, epochs: int, done: int = 0
    ) -> Iterator[TrainingProgress]:
        """Follow one training: yields its observer.

        Args:
            unit: the training
            position: its position among all trainings, counted from 0
            num_units: the number of all trainings
            num_samples: the number of training images
            epochs: the epochs of this training
            done (0): the epochs that an earlier process has trained
        """
        with self._bar(num_samples * epochs, unit.title, unit=" samples") as bar:
            yield TrainingProgress(self, bar, unit, position, num_units, num_samples, epochs, done)

    @contextmanager
    def _bar(self, total: int, title: str, unit: str) -> Iterator[_Bar]:
        if not self._bars:
            yield _Bar()
            return
        from tqdm.auto import tqdm

        # a log file gets one line every half minute, a terminal ten redraws per second
        interval = 0.1 if sys.stderr.isatty() else 30
        with tqdm(
            total=total,
            desc=title,
            unit=unit,
            smoothing=0.05,
            mininterval=interval,
            bar_format="{desc}: {percentage:3.0f}%|{bar:20}| {rate_fmt}, {elapsed} elapsed, {remaining} left{postfix}",
        ) as bar:
            yield bar


class TrainingProgress(TrainingObserver):
    """Follows one training with a bar and events.

    Args:
        progress: receives the events
        bar: the bar
        unit: the training
        position: its position among all trainings, counted from 0
        num_units: the number of all trainings
        num_samples: the number of training images
        epochs: the epochs of this training
        done: the epochs that an earlier process has trained
    """

    def __init__(
        self,
        progress: Progress,
        bar: _Bar,
        unit: TrainingUnit,
        position: int,
        num_units: int,
        num_samples: int,
        epochs: int,
        done: int,
    ) -> None:
        self._progress, self._bar, self._unit = progress, bar, unit
        self._position, self._num_units = position, num_units
        self._num_samples, self._epochs = num_samples, epochs
        self._done = self._epoch = done
        self._trained = 0
        self._seconds = 0.0
        self._accuracy = ""
        self._reported_at = time.monotonic()
        bar.update(num_samples * done)
        bar.set_postfix_str(f"epoch {done}/{epochs}", refresh=True)

    def on_epoch(self, report: EpochReport) -> None:
        """Report a finished epoch."""
        self._seconds += report.seconds
        self._epoch, self._trained = report.epoch, 0
        if report.measured_accuracy is not None:
            self._accuracy = f", accuracy {report.measured_accuracy:.3f}"
        numbers = f"epoch {report.epoch}/{self._epochs}, loss {report.train_loss:.3f}{self._accuracy}"
        self._bar.set_postfix_str(numbers)
        self._report(
            numbers,
            loss=report.train_loss,
            accuracy=report.measured_accuracy,
            samples_per_second=report.num_samples / report.seconds,
        )

    def on_batch(self, count: int) -> None:
        """Report progress within an epoch, which may take minutes, about once per second."""
        self._bar.update(count)
        self._trained += count
        if time.monotonic() - self._reported_at >= 1:
            self._report(f"epoch {self._epoch + 1}/{self._epochs}{self._accuracy}")

    def on_incident(self, sentence: str) -> None:
        """Pass the sentence on to the user."""
        self._progress.say(sentence)

    def _report(self, text: str, **numbers: Any) -> None:
        self._reported_at = time.monotonic()
        # after memory ran out an epoch is repeated, so more images than there are may have been trained
        epochs = self._epoch + min(self._trained / self._num_samples, 1)
        trained_here = self._epoch - self._done
        self._progress.report(
            ProgressEvent(
                stage="training",
                fraction=(self._position + epochs / self._epochs) / self._num_units,
                message=f"{self._unit.title}: {text}",
                model=self._unit.model,
                run=self._unit.run,
                epoch=self._epoch,
                epochs=self._epochs,
                seconds_left=self._seconds / trained_here * (self._epochs - epochs) if trained_here else None,
                **numbers,
            )
        )


class _Bar:
    """A bar that shows nothing."""

    def update(self, count: int) -> None: ...

    def set_postfix_str(self, text: str, refresh: bool = True) -> None: ...
