"""Computes learnability for the operator: in a delegated operation, or in a thread of the App's server."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import fiftyone as fo
import fiftyone.core.collections as foc
import fiftyone.operators as foo

from fiftyone_learnability import ProgressEvent, compute_learnability
from fiftyone_learnability.dataset.internals import dataset_id
from fiftyone_learnability.dataset.notes import owning_run, score_field
from fiftyone_learnability.dataset.retry import retry_while_unreachable
from fiftyone_learnability.dataset.samples import name_of
from fiftyone_learnability.training.options import RunSettings

from ..jobs.job import CANCELLED, set_remarks
from ..jobs.progress_reporter import ProgressReporter
from ..names import format_duration


def compute_delegated(ctx: foo.ExecutionContext, models: list[str], settings: RunSettings) -> None:
    """Train in a delegated operation and report the progress to the database.

    Args:
        ctx: the context of the operation
        models: the networks
        settings: the settings
    """
    job_id = str(ctx.request_params["run_doc"])
    scope = " for this training" if len(models) * settings.runs > 1 else ""

    with ProgressReporter(ctx, job_id) as reporter:

        def progress(event: ProgressEvent) -> None:
            if event.stage == "writing" and event.fraction == 0:
                reporter.begin_writing()
            elif event.stage in ("notice", "writing"):
                # the job's label stays that of writing, which can no longer be cancelled
                print(event.message, flush=True)
            else:
                left = f", {format_duration(event.seconds_left)} left{scope}" if event.seconds_left else ""
                reporter.report(event.fraction if event.stage == "training" else 0.0, event.message + left)

        try:
            samples = ctx.target_view(require_flat=True)
            results = compute_learnability(samples, models=models, progress=progress, **settings.arguments())
        except Exception:
            # FiftyOne tries only once to store how the operation ended
            reporter.wait_for_database()
            raise
        try:
            retry_while_unreachable(lambda: _keep_remarks(ctx, job_id, next(iter(results))))
        # the scores are written: the job must not fail any more
        except Exception as error:  # noqa: BLE001
            print(f"the remarks of the run could not be stored: {error}", flush=True)


def _keep_remarks(ctx: foo.ExecutionContext, job_id: str, model: str) -> None:
    """Store the remarks of the run that has just been written with its job."""
    name = name_of(dataset_id(ctx.dataset))
    if name is None:
        return
    dataset = fo.load_dataset(name, reload=True)
    run = owning_run(dataset, score_field(model))
    if run is not None:
        set_remarks(job_id, getattr(dataset.get_run_info(run).config, "remarks", []))


def compute_now(samples: foc.SampleCollection, models: list[str], settings: RunSettings) -> Iterator[ProgressEvent]:
    """Train in a thread of the server; closing this generator, as happens when the page is left, ends the training.

    Args:
        samples: the collection to score
        models: the networks
        settings: the settings

    Returns:
        the latest progress, again and again
    """
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
                yield event
    finally:
        closed.set()
