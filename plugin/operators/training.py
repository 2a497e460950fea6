"""Computes learnability for the operator: in a delegated operation, or in a thread of the App's server."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import fiftyone as fo
import fiftyone.core.collections as foc
import fiftyone.operators as foo
from pymongo.errors import PyMongoError

from fiftyone_learnability import ProgressEvent, compute_learnability
from fiftyone_learnability.dataset.internals import dataset_id
from fiftyone_learnability.dataset.notes import owning_run, score_field
from fiftyone_learnability.dataset.retry import retry_while_unreachable
from fiftyone_learnability.dataset.samples import name_of
from fiftyone_learnability.experiment.rate import known_rates
from fiftyone_learnability.preparation import UnreadableImagesError
from fiftyone_learnability.training.options import RunSettings

from ..jobs.job import keep_unreadable, set_remarks
from ..jobs.progress_reporter import ProgressReporter
from ..jobs.remedies import CANCELLED
from ..jobs.time_left import TimeLeft, round_duration
from ..names import format_duration, network_label

LOADING = "Loading PyTorch"


def compute_delegated(ctx: foo.ExecutionContext, models: list[str], settings: RunSettings) -> None:
    """Train in a delegated operation and report the progress to the database.

    Args:
        ctx: the context of the operation
        models: the networks
        settings: the settings
    """
    job_id = str(ctx.request_params["run_doc"])
    narrator = Narrator(models, settings)

    with ProgressReporter(ctx, job_id) as reporter:
        reporter.report(0.0, LOADING)

        def progress(event: ProgressEvent) -> None:
            if event.stage == "writing" and event.fraction == 0:
                reporter.begin_writing()
            elif event.stage in ("notice", "writing"):
                # the job's label stays that of writing, which can no longer be cancelled
                print(event.message, flush=True)
            else:
                reporter.report(event.fraction if event.stage == "training" else 0.0, narrator.describe(event))

        try:
            samples = ctx.target_view(require_flat=True)
            results = compute_learnability(samples, models=models, progress=progress, **settings.arguments())
        except Exception as error:
            # FiftyOne tries only once to store how the operation ended
            reporter.wait_for_database()
            if isinstance(error, UnreadableImagesError):
                with suppress(PyMongoError):
                    keep_unreadable(job_id, error)
            raise
        try:
            retry_while_unreachable(lambda: _keep_remarks(ctx, job_id, next(iter(results))))
        # the scores are written: the job must not fail any more
        except Exception as error:  # noqa: BLE001
            print(f"the remarks of the run could not be stored: {error}", flush=True)


class Narrator:
    """Describes the progress of a job in the words of the form, with the time left of all of it.

    Args:
        models: the networks
        settings: the settings
        clock (time.monotonic): tells the time in seconds
    """

    def __init__(self, models: list[str], settings: RunSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._runs = settings.runs
        self._labels = {
            name: network_label(model) if name == model else f"{network_label(model)} as {name}"
            for model, name in zip(models, settings.names_of(models), strict=True)
        }
        rates = known_rates(models, settings.pixels, settings.device)
        known = len(rates) == len(models)
        weights = [1 / rates[model] if known else 1.0 for model in models for _ in range(settings.runs)]
        self._time_left = TimeLeft(weights, clock)
        # a training that stops once it is stable ends sooner
        self._at_most = "at most " if settings.stop_when_stable else ""
        self._training: tuple[str, int] | None = None
        self._accuracy = ""

    def describe(self, event: ProgressEvent) -> str:
        """Return one line about an event."""
        if event.stage != "training" or event.model is None:
            return event.message[:1].upper() + event.message[1:]
        if self._training != (event.model, event.run):
            self._training, self._accuracy = (event.model, event.run), ""
        run = f", run {event.run} of {self._runs}" if self._runs > 1 else ""
        epoch = min(event.epoch + (event.loss is None), event.epochs)
        if event.accuracy is not None:
            self._accuracy = f", accuracy {event.accuracy:.0%}"
        seconds = self._time_left.update(event.fraction)
        left = "" if seconds is None else f", {self._at_most}{format_duration(round_duration(seconds))} left"
        return (
            f"{self._labels.get(event.model, event.model)}{run}: epoch {epoch} of {event.epochs}{self._accuracy}{left}"
        )


def _keep_remarks(ctx: foo.ExecutionContext, job_id: str, model: str) -> None:
    """Store the remarks of the run that has just been written with its job."""
    name = name_of(dataset_id(ctx.dataset))
    if name is None:
        return
    dataset = fo.load_dataset(name, reload=True)
    run = owning_run(dataset, score_field(model))
    if run is not None:
        set_remarks(job_id, getattr(dataset.get_run_info(run).config, "remarks", []))


def compute_now(samples: foc.SampleCollection, models: list[str], settings: RunSettings) -> Iterator[tuple[float, str]]:
    """Train in a thread of the server; closing this generator, as happens when the page is left, ends the training.

    Args:
        samples: the collection to score
        models: the networks
        settings: the settings

    Returns:
        the finished fraction and one line about it, again and again
    """
    narrator = Narrator(models, settings)
    events: queue.Queue[ProgressEvent | BaseException | None] = queue.Queue()
    closed = threading.Event()

    def progress(event: ProgressEvent) -> None:
        if closed.is_set():
            raise RuntimeError(CANCELLED)
        events.put(event)

    def work() -> None:
        try:
            compute_learnability(samples, models=models, progress=progress, **settings.arguments())
            events.put(None)
        # raised again in the thread of the generator
        except BaseException as error:  # noqa: BLE001
            events.put(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        while (event := events.get()) is not None:
            if isinstance(event, BaseException):
                raise event
            if events.empty() and event.stage != "notice":
                yield event.fraction, narrator.describe(event)
    finally:
        closed.set()
