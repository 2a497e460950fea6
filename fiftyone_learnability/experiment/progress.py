"""Tells people, or a program, how far the work is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..training.run import EpochReport


@dataclass(frozen=True)
class ProgressEvent:
    """One step of the work, as a callback gets it.

    Attributes:
        stage: "images", "training" or "writing"; "notice" for a line that is worth reading, such as the device chosen
        fraction: the share of the stage that is done, 0..1; over all trainings, each counted alike; 0 for a notice
        message: one line for people
        model: the network in training, None in other stages
        run: the number of this network's training, counted from 1
        epoch: the epochs that have ended in this training
        epochs: the epochs of this training
        loss: the mean training loss of the epoch
        accuracy: the share of training images classified correctly after the epoch
        samples_per_second: training images a second, the measurement included
        seconds_left: the time that this training still takes, at the rate so far
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
    """Shows progress as bars, hands it to a callback, or keeps quiet.

    Args:
        progress (True): True for bars and messages on standard error, False for silence, or a callback that takes each
            :class:`ProgressEvent`. An exception that a callback raises ends the work
    """

    def __init__(self, progress: bool | ProgressCallback = True) -> None:
        self._callback = progress if callable(progress) else None
        self._bars = progress is True

    def say(self, message: str) -> None:
        """Prints a line for people where bars are shown; a callback gets it as a notice."""
        self._tell(ProgressEvent("notice", 0.0, message))

    def finish(self, stage: str, message: str) -> None:
        """Says that a stage is done, and what came of it."""
        self._tell(ProgressEvent(stage, 1.0, message))

    def _tell(self, event: ProgressEvent) -> None:
        if self._bars:
            print(event.message, file=sys.stderr, flush=True)
        self.report(event)

    def report(self, event: ProgressEvent) -> None:
        """Hands an event to the callback, if there is one."""
        if self._callback is not None:
            self._callback(event)

    @contextmanager
    def counting(self, stage: str, total: int, message: str) -> Iterator[Callable[[int], None]]:
        """A stage that counts things: yields the function to call with each number of things done.

        The callback, if there is one, hears of about a hundred steps.
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
        self,
        model: str,
        run: int,
        runs: int,
        finished_units: int,
        units: int,
        num_samples: int,
        epochs: int,
        done: int = 0,
    ) -> Iterator[tuple[Callable[[EpochReport], None], Callable[[int], None]]]:
        """One training: yields the functions to call after each epoch and each batch.

        Args:
            model: the network
            run: the number of this network's training, counted from 1
            runs: how many trainings this network has
            finished_units: the trainings, of all networks, that came before
            units: the trainings of all networks
            num_samples: the training images
            epochs: the epochs of this training
            done (0): the epochs of it that an earlier process has trained
        """
        title = model if runs == 1 else f"{model} run {run}/{runs}"
        seconds, ended, trained, accuracy = 0.0, done, 0, ""
        heard = time.monotonic()
        with self._bar(num_samples * epochs, title, unit=" samples") as bar:
            bar.update(num_samples * done)
            bar.set_postfix_str(f"epoch {done}/{epochs}", refresh=True)

            def on_epoch(report: EpochReport) -> None:
                nonlocal seconds, ended, trained, accuracy, heard
                seconds += report.seconds
                ended, trained, heard = report.epoch, 0, time.monotonic()
                if report.measured_accuracy is not None:
                    accuracy = f", accuracy {report.measured_accuracy:.3f}"
                numbers = f"epoch {report.epoch}/{epochs}, loss {report.train_loss:.3f}{accuracy}"
                bar.set_postfix_str(numbers)
                self.report(
                    ProgressEvent(
                        stage="training",
                        fraction=(finished_units + report.epoch / epochs) / units,
                        message=f"{title}: {numbers}",
                        model=model,
                        run=run,
                        epoch=report.epoch,
                        epochs=epochs,
                        loss=report.train_loss,
                        accuracy=report.measured_accuracy,
                        samples_per_second=report.num_samples / report.seconds,
                        seconds_left=seconds / (report.epoch - done) * (epochs - report.epoch),
                    )
                )

            def on_batch(count: int) -> None:
                nonlocal trained, heard
                bar.update(count)
                trained += count
                # an epoch may take minutes: within it, about one event a second
                if time.monotonic() - heard >= 1:
                    heard = time.monotonic()
                    share = trained / num_samples
                    left = seconds / (ended - done) * (epochs - ended - share) if ended > done else None
                    self.report(
                        ProgressEvent(
                            stage="training",
                            fraction=(finished_units + (ended + min(share, 1)) / epochs) / units,
                            message=f"{title}: epoch {ended + 1}/{epochs}{accuracy}",
                            model=model,
                            run=run,
                            epoch=ended,
                            epochs=epochs,
                            seconds_left=left,
                        )
                    )

            yield on_epoch, on_batch

    @contextmanager
    def _bar(self, total: int, title: str, unit: str) -> Iterator[_Bar]:
        if not self._bars:
            yield _Bar()
            return
        from tqdm.auto import tqdm

        # a log file gets a line every half minute in place of ten redrawings a second
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


class _Bar:
    """A bar that shows nothing."""

    def update(self, count: int) -> None: ...

    def set_postfix_str(self, text: str, refresh: bool = True) -> None: ...
