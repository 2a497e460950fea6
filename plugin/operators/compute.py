"""The operator that trains networks over the current dataset or view and writes learnability onto its samples."""

from __future__ import annotations

import importlib.util
import queue as queues
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.core.collections as foc
import fiftyone.operators as foo
import fiftyone.operators.types as types

from fiftyone_learnability import ModelResults, ProgressEvent, compute_learnability
from fiftyone_learnability.dataset.appearance import PANEL
from fiftyone_learnability.dataset.columns import left_journals
from fiftyone_learnability.dataset.fields import choose_key
from fiftyone_learnability.dataset.internals import dataset_id
from fiftyone_learnability.dataset.notes import fields_of, owning_run, score_field
from fiftyone_learnability.dataset.registration import recover
from fiftyone_learnability.dataset.registry import check_identifier, list_runs
from fiftyone_learnability.dataset.retry import retry_while_unreachable
from fiftyone_learnability.dataset.samples import (
    check_images,
    find_label_fields,
    is_empty,
    label_path,
    name_of,
    reading,
)
from fiftyone_learnability.experiment.rate import estimate_seconds, known_rates
from fiftyone_learnability.scores.catalog import DEFAULT_SCORES, SCORES, choose_scores
from fiftyone_learnability.scores.checks import short_repr

from ..jobs.job import CANCELLED, queue_job, set_remarks, start_job
from ..jobs.processes import start_process
from ..jobs.progress_reporter import ProgressReporter
from ..names import NETWORKS, format_count, format_duration, network_label
from ..private_dataset import private_dataset
from .forms import add_list_input
from .params import read_bool, read_choice, read_choices, read_integer, read_positive, read_text, warn_of_selection

PRESETS = {"paper": 200, "standard": 60, "quick": 20}
CUSTOM, CUSTOM_EPOCHS = "custom", 100
DEVICES = ("auto", "cpu", "cuda", "mps")
MEASUREMENTS = {"exact": "Exact: all images after each epoch", "online": "Online: while training, at no cost"}
BACKGROUND, SCHEDULED, NOW = "background", "scheduled", "now"
LONGEST_IMMEDIATE_SECONDS = 600.0
DEFAULT_SIZE = 32
ALL = "all"


@dataclass(frozen=True)
class Request:
    """What the form asks for.

    Attributes:
        label_field: the field of the labels
        models: the networks
        options: the other arguments of :func:`fiftyone_learnability.compute_learnability`
        how: "background", "scheduled" or "now"
    """

    label_field: str
    models: list[str]
    options: dict[str, Any]
    how: str

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> Request:
        """Reads the params of a form, or of whoever calls the operator without one.

        Raises:
            ValueError: if an option is not possible, or a network is not one of the App's: other ones are for the SDK
                and the command line
        """
        models = ["resnet20"] if params.get("models") is None else params["models"]
        if not isinstance(models, (list, tuple)) or not models or len(set(map(str, models))) < len(models):
            raise ValueError(f"models must be a list of at least one network, each once, not {short_repr(models)}")
        for model in models:
            if not isinstance(model, str) or model not in NETWORKS:
                raise ValueError(f"unknown network {short_repr(model)}: choose from {', '.join(NETWORKS)}")
        preset = read_choice(params, "preset", (*PRESETS, CUSTOM), CUSTOM if "epochs" in params else "paper")
        options: dict[str, Any] = {
            "epochs": PRESETS[preset]
            if preset in PRESETS
            else read_integer(params, "epochs", CUSTOM_EPOCHS, 1, 10_000),
            "runs": read_integer(params, "runs", 1, 1, 100),
            "overwrite": read_bool(params, "overwrite"),
            "skip_failures": read_bool(params, "skip_failures"),
            "horizontal_flip": read_bool(params, "horizontal_flip", True),
        }
        options["scores"] = _scores(params, options["runs"])
        for name, low, high in (("batch_size", 2, 65_536), ("seed", 0, 2**31), ("image_size", 8, 1024)):
            if params.get(name) is not None:
                options[name] = read_integer(params, name, low, low, high)
        if params.get("measure"):
            options["measure"] = read_choice(params, "measure", tuple(MEASUREMENTS), "exact")
        if params.get("measure_every") is not None:
            options["measure_every"] = read_integer(params, "measure_every", 1, 1, options["epochs"])
        if read_bool(params, "stop_when_stable"):
            options["stop_when_stable"] = True
        if params.get("lr") is not None:
            options["lr"] = read_positive(params, "lr", 0.1, 1000)
        if params.get("device"):
            options["device"] = read_choice(params, "device", DEVICES, "auto")
        if key := read_text(params, "key"):
            options["key"] = key
        how = read_choice(params, "how", (BACKGROUND, SCHEDULED, NOW), BACKGROUND)
        return cls(read_text(params, "label_field") or "ground_truth", list(models), options, how)

    @property
    def title(self) -> str:
        """One line that says what is computed."""
        networks = ", ".join(network_label(model) for model in self.models)
        runs = f", {self.options['runs']} runs each" if self.options["runs"] > 1 else ""
        return f"Learnability by {networks}: {self.options['epochs']} epochs{runs}"

    @property
    def image_size(self) -> int:
        """The size of the images in pixels."""
        return self.options.get("image_size", DEFAULT_SIZE)

    def estimate(self, num_samples: int) -> float | None:
        """The seconds that it will take, None as long as the speed of this machine is not known."""
        rates = known_rates(self.models, self.image_size, self.options.get("device", "auto"))
        if len(rates) < len(self.models):
            return None
        return estimate_seconds(rates, num_samples, self.options["epochs"], self.options["runs"])


class ComputeLearnability(foo.Operator):
    """Trains networks over images and writes learnability and rank onto the samples."""

    @property
    def config(self) -> foo.OperatorConfig:
        """What FiftyOne needs to know of the operator."""
        return foo.OperatorConfig(
            name="compute_learnability",
            label="Compute learnability",
            description="Train networks on the images and score how easily each one is learned",
            icon="/plugin/assets/icon.svg",
            dynamic=True,
            execute_as_generator=True,
            risk_level=types.RiskLevel.MEDIUM,
        )

    def resolve_placement(self, ctx: foo.ExecutionContext) -> types.Placement:
        """The button in the grid's bar."""
        return types.Placement(
            types.Places.SAMPLES_GRID_SECONDARY_ACTIONS,
            types.Button(label="Compute learnability", icon="/plugin/assets/icon.svg", prompt=True),
        )

    def resolve_input(self, ctx: foo.ExecutionContext) -> types.Property:
        """The form: what to train on what, for how long and how, what it costs and what it writes."""
        inputs = types.Object()
        form = types.Property(inputs, view=types.View(label="Compute learnability", submit_button_label="Compute"))
        _take_back(ctx)
        samples = ctx.target_view(require_flat=True)
        problem = _unusable(samples)
        if problem:
            inputs.view("unusable", types.Error(label="Learnability cannot be computed here", description=problem))
            form.invalid, form.error_message = True, problem
            return form
        _ask_what(inputs, ctx, samples)
        _ask_how(inputs, ctx)
        _ask_advanced(inputs, ctx)
        try:
            request = Request.from_params(ctx.params)
            # as long as nothing is chosen, the form has a default of its own
            if ctx.params.get("label_field"):
                label_path(samples, request.label_field)
        except ValueError as error:
            inputs.view("wrong", types.Error(label=str(error)))
            form.invalid, form.error_message = True, str(error)
            return form
        _tell_consequences(inputs, ctx, form, request, samples)
        return form

    def execute(self, ctx: foo.ExecutionContext) -> Iterator[Any]:
        """Starts a background job, schedules one, or trains on the spot."""
        if ctx.delegated:
            _compute_delegated(ctx)
            return
        request = Request.from_params(ctx.params)
        _take_back(ctx)
        samples = ctx.target_view(require_flat=True)
        # what can be known to be wrong is said now rather than by a failed job
        if problem := _unusable(samples):
            raise ValueError(problem)
        label_path(samples, request.label_field)
        options = request.options
        choose_key(ctx.dataset, request.models, options.get("key"), options["overwrite"], options["scores"])
        if request.how == NOW:
            with private_dataset(ctx):
                yield from _compute_now(ctx, request, ctx.target_view(require_flat=True))
            return
        job_id = queue_job(ctx, request.title)
        if request.how == SCHEDULED:
            yield ctx.ops.notify("Scheduled: `fiftyone delegated launch` will run it", variant="success")
        else:
            start_job(job_id)
        yield ctx.ops.open_panel(PANEL, is_active=True, layout="horizontal")

    def __call__(self, sample_collection: foc.SampleCollection, **options: Any) -> dict[str, ModelResults]:
        """Computes learnability from a notebook or script.

        Args:
            sample_collection: a dataset or view of images
            **options: see :func:`fiftyone_learnability.compute_learnability`, which this calls; FiftyOne's own way to
                run operators from the SDK would give up after ten minutes

        Returns:
            the results by network
        """
        return compute_learnability(sample_collection, **options)


def _scores(params: dict[str, Any], runs: int) -> list[str]:
    """The scores that will be written.

    Raises:
        ValueError: if they are none, or the spread of a single run is asked for
    """
    if params.get("scores") == ALL:
        return list(choose_scores(ALL, runs))
    measured = [name for name, score in SCORES.items() if not score.derived]
    # nothing chosen is no mistake: two scores are always written
    chosen = read_choices(params, "scores", [ALL, *measured], list(DEFAULT_SCORES), least=0)
    return list(choose_scores(ALL if ALL in chosen else chosen, runs))


def _take_back(ctx: foo.ExecutionContext) -> None:
    """Takes back what a job had half written when it was killed: no form is to ask whether it may be replaced."""
    if left_journals(ctx.dataset):
        with private_dataset(ctx):
            recover(ctx.dataset)


def _unusable(samples: foc.SampleCollection) -> str | None:
    missing = [name for name in ("torch", "torchvision") if importlib.util.find_spec(name) is None]
    if missing:
        return f"Training needs {' and '.join(missing)}: pip install torch torchvision, then start the App anew"
    try:
        with reading(samples):
            check_images(samples)
            empty = is_empty(samples)
    except ValueError as error:
        return str(error)
    if empty:
        return "There are no samples to train on"
    if not find_label_fields(samples):
        return "There is no Classification, string, int or bool field to take the labels from"
    return None


def _ask_what(inputs: types.Object, ctx: foo.ExecutionContext, samples: foc.SampleCollection) -> None:
    fields = find_label_fields(samples)
    inputs.enum(
        "label_field",
        fields,
        default="ground_truth" if "ground_truth" in fields else fields[0],
        required=True,
        label="Labels",
        description="The field whose labels the networks learn",
    )
    models = types.DropdownView(multiple=True)
    for name, label in NETWORKS.items():
        models.add_choice(name, label=label)
    inputs.list("models", types.String(), default=["resnet20"], required=True, label="Networks", view=models)
    presets = types.DropdownView()
    for name, epochs in PRESETS.items():
        presets.add_choice(name, label=f"{name.capitalize()}: {epochs} epochs")
    presets.add_choice(CUSTOM, label="Other")
    inputs.enum("preset", presets.values(), default="paper", required=True, label="Length", view=presets)
    if ctx.params.get("preset") == CUSTOM:
        inputs.int("epochs", default=CUSTOM_EPOCHS, min=1, max=10_000, required=True, label="Epochs")


def _ask_how(inputs: types.Object, ctx: foo.ExecutionContext) -> None:
    how = types.RadioGroup(orientation="vertical")
    how.add_choice(BACKGROUND, label="In the background", description="Goes on when the page is closed")
    how.add_choice(SCHEDULED, label="Scheduled", description="Waits for fiftyone delegated launch")
    how.add_choice(NOW, label="Now", description="For small jobs; keep the page open")
    inputs.enum("how", how.values(), default=BACKGROUND, required=True, label="Run", view=how)


def _ask_advanced(inputs: types.Object, ctx: foo.ExecutionContext) -> None:
    inputs.bool("advanced", default=False, label="More options", view=types.SwitchView())
    if not ctx.params.get("advanced"):
        return
    runs = inputs.int("runs", default=1, min=1, max=100, label="Runs", description="Trainings of each network")
    if _out_of_range(ctx.params.get("runs"), 1, 100):
        runs.invalid, runs.error_message = True, "from 1 to 100"
    scores = {name: score.title for name, score in SCORES.items() if not score.derived}
    about = "Learnability and rank are always written; all are measured, and can be written later"
    add_list_input(inputs, "scores", "Scores", {ALL: "All", **scores}, list(DEFAULT_SCORES), about)
    inputs.str("key", label="Run key", description="Names the run; chosen if left empty")
    measure = types.DropdownView()
    for name, label in MEASUREMENTS.items():
        measure.add_choice(name, label=label)
    inputs.enum("measure", measure.values(), default="exact", label="Measurement", view=measure)
    inputs.int(
        "measure_every",
        default=1,
        min=1,
        label="Measure every",
        description="1 = after each epoch, 2 = each second one",
    )
    inputs.bool(
        "stop_when_stable",
        default=False,
        label="Stop when the ranking is stable",
        description="Often after less than half of the epochs; the learning rate does not fall to zero then",
    )
    inputs.int("batch_size", default=128, min=2, label="Batch size")
    rate = "The highest one; if left empty, 0.1 for batches of 128, in proportion for others"
    inputs.float("lr", min=0.0, label="Learning rate", description=rate)
    inputs.int("image_size", default=DEFAULT_SIZE, min=8, max=1024, label="Image size in pixels")
    inputs.int("seed", default=0, min=0, label="Seed")
    inputs.enum("device", list(DEVICES), default="auto", label="Device")
    inputs.bool("horizontal_flip", default=True, label="Mirror images", description="Not for digits and letters")
    inputs.bool("skip_failures", default=False, label="Leave out images that cannot be read")


def _out_of_range(value: Any, low: int, high: int) -> bool:
    return value is not None and (not isinstance(value, (int, float)) or not low <= value <= high)


def _tell_consequences(
    inputs: types.Object,
    ctx: foo.ExecutionContext,
    form: types.Property,
    request: Request,
    samples: foc.SampleCollection,
) -> None:
    """What will be written and replaced, and how long it takes."""
    key = request.options.get("key")
    try:
        if key:
            check_identifier(key)
        present = [name for name in fields_of(request.models, request.options["scores"]) if ctx.dataset.has_field(name)]
        if present or (key and key in list_runs(ctx.dataset)):
            what = ", ".join(f"`{name}`" for name in present) or f"the run `{key}`"
            inputs.view(
                "replaces", types.Warning(label="Scores exist already", description=f"This would replace {what}")
            )
            inputs.bool("overwrite", default=False, label="Replace them")
        choose_key(ctx.dataset, request.models, key, request.options["overwrite"], request.options["scores"])
    except ValueError as error:
        form.invalid = True
        form.error_message = str(error) if key or request.options["overwrite"] else "Tick “Replace them” to go on"
        if key or request.options["overwrite"]:
            inputs.view("clash", types.Error(label="The run cannot be written", description=str(error)))
    count = len(samples)
    warn_of_selection(inputs, ctx, count)
    seconds = request.estimate(count)
    if seconds is None:
        measure_rates(request)
        time_text = "the speed of this machine is being measured; the estimate shows when you change something here"
    else:
        time_text = f"about **{format_duration(seconds)}** at this machine's measured speed"
        if request.how == NOW and seconds > LONGEST_IMMEDIATE_SECONDS:
            form.invalid, form.error_message = True, "Too long to run now: run it in the background"
            inputs.view("long", types.Warning(label="Too long to run now", description="Run it in the background"))
    written = ", ".join(f"`{name}`" for name in fields_of(request.models, request.options["scores"]))
    inputs.md(f"**{format_count(count)}** images, {time_text}.\n\nWrites {written}.", name="consequences")


_measuring: dict[tuple[str, ...], float] = {}


def measure_rates(request: Request) -> None:
    """Starts to measure how fast this machine trains, in a process of its own, unless that is going on."""
    device = request.options.get("device", "auto")
    job = (*request.models, str(request.image_size), device)
    if time.monotonic() - _measuring.get(job, -1e9) < 120:
        return
    _measuring[job] = time.monotonic()
    root = Path(__file__).resolve().parents[2]
    code = (
        "import sys; sys.path.append(sys.argv.pop(1)); from fiftyone_learnability.experiment.rate import main; main()"
    )
    options = ["--image-size", str(request.image_size), "--device", device]
    start_process([sys.executable, "-c", code, str(root), *request.models, *options])


def _compute_delegated(ctx: foo.ExecutionContext) -> None:
    """Trains in a delegated operation, telling the database how far it is."""
    request = Request.from_params(ctx.params)
    job_id = str(ctx.request_params["run_doc"])

    with ProgressReporter(ctx, job_id) as reporter:

        def progress(event: ProgressEvent) -> None:
            if event.stage == "writing" and event.fraction == 0:
                reporter.begin_writing()
            elif event.stage in ("notice", "writing"):
                # the label of writing stays to the end, since what is written can no longer be cancelled
                print(event.message, flush=True)
            else:
                several = len(request.models) * request.options["runs"] > 1
                of = " for this training" if several else ""
                left = f", {format_duration(event.seconds_left)} left{of}" if event.seconds_left else ""
                reporter.report(event.fraction if event.stage == "training" else 0.0, event.message + left)

        try:
            compute_learnability(
                ctx.target_view(require_flat=True),
                request.label_field,
                request.models,
                # who has cancelled a job and starts another means the other
                resume="if_same",
                progress=progress,
                **request.options,
            )
        except Exception:
            # FiftyOne tries only once to note how it ended
            reporter.wait_for_database()
            raise
        try:
            retry_while_unreachable(lambda: _keep_remarks(ctx, job_id, request.models[0]))
        # what is written has not failed
        except Exception as error:  # noqa: BLE001
            print(f"what the run has to say of itself could not be noted: {error}", flush=True)


def _keep_remarks(ctx: foo.ExecutionContext, job_id: str, model: str) -> None:
    """Notes what the run that has just been written has to say of itself."""
    name = name_of(dataset_id(ctx.dataset))
    if name is None:
        return
    dataset = fo.load_dataset(name, reload=True)
    run = owning_run(dataset, score_field(model))
    if run is not None:
        set_remarks(job_id, getattr(dataset.get_run_info(run).config, "remarks", []))


def _compute_now(ctx: foo.ExecutionContext, request: Request, samples: foc.SampleCollection) -> Iterator[Any]:
    """Trains in a thread of the server while the page shows a bar; ends when the page goes."""
    events: queues.Queue[ProgressEvent | BaseException | None] = queues.Queue()
    gone = threading.Event()

    def progress(event: ProgressEvent) -> None:
        if gone.is_set():
            raise RuntimeError(CANCELLED)
        events.put(event)

    def work() -> None:
        try:
            compute_learnability(
                samples, request.label_field, request.models, resume="if_same", progress=progress, **request.options
            )
            events.put(None)
        # handed over to the generator, which raises it
        except BaseException as error:  # noqa: BLE001
            events.put(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        while (event := events.get()) is not None:
            if isinstance(event, BaseException):
                raise event
            if events.empty() and event.stage != "notice":
                yield ctx.ops.set_progress(label=event.message, progress=event.fraction)
    finally:
        gone.set()
    yield ctx.ops.reload_dataset()
    yield ctx.ops.open_panel(PANEL, is_active=True, layout="horizontal")
