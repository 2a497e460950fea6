"""The operator that trains networks over the current dataset or view and writes learnability onto its samples."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fiftyone.core.collections as foc
import fiftyone.operators as foo
import fiftyone.operators.types as types

from fiftyone_learnability import ModelResults, compute_learnability
from fiftyone_learnability.dataset.appearance import PANEL
from fiftyone_learnability.dataset.journal import find_abandoned
from fiftyone_learnability.dataset.notes import fields_of
from fiftyone_learnability.dataset.recovery import recover
from fiftyone_learnability.dataset.registry import check_identifier, list_runs
from fiftyone_learnability.dataset.samples import check_images, find_label_fields, is_empty, label_path, reading
from fiftyone_learnability.dataset.scored import resolve_name
from fiftyone_learnability.dataset.target import choose_target
from fiftyone_learnability.experiment.rate import estimate_seconds, known_rates
from fiftyone_learnability.scores.catalog import DEFAULT_SCORES, SCORES
from fiftyone_learnability.scores.checks import short_repr
from fiftyone_learnability.training.options import IF_SAME, RunSettings, public_settings

from ..jobs.job import queue_job, start_job
from ..jobs.processes import start_process
from ..names import NETWORKS, format_count, format_duration, network_label
from ..private_dataset import private_dataset
from .forms import add_list_input, quote_fields, refuse, show_error
from .params import read_bool, read_choice, read_choices, read_text, warn_of_selection
from .settings import FORM_SETTINGS, add_setting, read_setting
from .training import compute_delegated, compute_now

PRESETS = {"paper": RunSettings.epochs, "standard": 60, "quick": 20}
CUSTOM, CUSTOM_EPOCHS = "custom", 100
BACKGROUND, SCHEDULED, NOW = "background", "scheduled", "now"
LONGEST_IMMEDIATE_SECONDS = 600.0
ALL = "all"
MEASURED_SCORES = {name: score.title for name, score in SCORES.items() if not score.derived}


@dataclass(frozen=True)
class Request:
    """The values of the form.

    Attributes:
        models: the networks
        settings: the settings of the run
        how: "background", "scheduled" or "now"
    """

    models: list[str]
    settings: RunSettings
    how: str

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> Request:
        """Read the params of the form, or of a caller that has not used it.

        Raises:
            ValueError: if a setting is not possible, or a network is not one that the App offers
        """
        models = ["resnet20"] if params.get("models") is None else params["models"]
        is_list = isinstance(models, (list, tuple)) and len(models) > 0
        # "ResNet-20" is understood too
        models = [resolve_name(model, list(NETWORKS)) for model in models] if is_list else models
        if not is_list or len(set(map(str, models))) < len(models):
            raise ValueError(f"models must be a list of at least one network, each once, not {short_repr(models)}")
        for model in models:
            if not isinstance(model, str) or model not in NETWORKS:
                raise ValueError(f"unknown network {short_repr(model)}: choose from {', '.join(NETWORKS)}")
        values = {name: read_setting(params, name) for name in FORM_SETTINGS}
        settings = RunSettings(
            epochs=_read_epochs(params),
            scores=_read_scores(params),
            label_field=read_text(params, "label_field") or RunSettings.label_field,
            overwrite=read_bool(params, "overwrite"),
            # a user who cancels a job and starts another one means the new one
            resume=IF_SAME,
            **{name: value for name, value in values.items() if value is not None},
        )
        how = read_choice(params, "how", (BACKGROUND, SCHEDULED, NOW), BACKGROUND)
        settings.names_of(models)
        return cls(list(models), settings, how)

    @property
    def title(self) -> str:
        """One line that names networks, epochs and runs."""
        networks = ", ".join(network_label(model) for model in self.models)
        runs = f", {self.settings.runs} runs each" if self.settings.runs > 1 else ""
        return f"Learnability by {networks}: {self.settings.epochs} epochs{runs}"

    @property
    def names(self) -> list[str]:
        """The names of the scores, one for each network."""
        return self.settings.names_of(self.models)

    @property
    def fields(self) -> list[str]:
        """The fields that will be written."""
        return fields_of(self.names, self.settings.scores)

    def check_target(self, ctx: foo.ExecutionContext) -> None:
        """Check that the run and its fields can be written.

        Raises:
            ValueError: if they cannot
        """
        settings = self.settings
        samples = ctx.target_view(require_flat=True)
        choose_target(samples, self.names, settings.key, settings.overwrite, settings.scores)

    def estimate(self, num_samples: int) -> float | None:
        """Return the expected seconds, None if the speed of this machine is not known yet."""
        rates = known_rates(self.models, self.settings.pixels, self.settings.device)
        if len(rates) < len(self.models):
            return None
        return estimate_seconds(rates, num_samples, self.settings.epochs, self.settings.runs)


def _read_epochs(params: dict[str, Any]) -> int:
    preset = read_choice(params, "preset", (*PRESETS, CUSTOM), CUSTOM if "epochs" in params else "paper")
    if preset != CUSTOM:
        return PRESETS[preset]
    epochs = read_setting(params, "epochs")
    return CUSTOM_EPOCHS if epochs is None else epochs


def _read_scores(params: dict[str, Any]) -> tuple[str, ...]:
    if params.get("scores") == ALL:
        return (ALL,)
    # an empty choice is fine: learnability and rank are always written
    return tuple(read_choices(params, "scores", [ALL, *MEASURED_SCORES], list(DEFAULT_SCORES), least=0))


class ComputeLearnability(foo.Operator):
    """Trains networks over images and writes learnability and rank onto the samples."""

    @property
    def config(self) -> foo.OperatorConfig:
        """The registration of the operator."""
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
        """Return the button above the grid."""
        return types.Placement(
            types.Places.SAMPLES_GRID_SECONDARY_ACTIONS,
            types.Button(label="Compute learnability", icon="/plugin/assets/icon.svg", prompt=True),
        )

    def resolve_input(self, ctx: foo.ExecutionContext) -> types.Property:
        """Return the form: labels, networks, length and options, then what it will write and how long it takes."""
        inputs = types.Object()
        form = types.Property(inputs, view=types.View(label="Compute learnability", submit_button_label="Compute"))
        _recover(ctx)
        samples = ctx.target_view(require_flat=True)
        if problem := _find_problem(samples):
            inputs.view("unusable", types.Error(label="Learnability cannot be computed here", description=problem))
            refuse(form, problem)
            return form
        _add_training_inputs(inputs, ctx, samples)
        _add_run_input(inputs)
        _add_advanced_inputs(inputs, ctx)
        try:
            request = Request.from_params(ctx.params)
            # until the user chooses a field, the form shows a default of its own
            if ctx.params.get("label_field"):
                label_path(samples, request.settings.label_field)
        except ValueError as error:
            show_error(inputs, form, error)
            return form
        _add_target(inputs, ctx, form, request)
        _add_estimate(inputs, ctx, form, request, len(samples))
        return form

    def execute(self, ctx: foo.ExecutionContext) -> Iterator[Any]:
        """Start a background job, schedule one, or train right away."""
        request = Request.from_params(ctx.params)
        models, settings = request.models, request.settings
        if ctx.delegated:
            compute_delegated(ctx, models, settings)
            return
        _recover(ctx)
        samples = ctx.target_view(require_flat=True)
        # refuse now what would make a job fail later
        if problem := _find_problem(samples):
            raise ValueError(problem)
        label_path(samples, settings.label_field)
        request.check_target(ctx)
        if request.how == NOW:
            with private_dataset(ctx):
                for event in compute_now(ctx.target_view(require_flat=True), models, settings):
                    yield ctx.ops.set_progress(label=event.message, progress=event.fraction)
            yield ctx.ops.reload_dataset()
        else:
            job_id = queue_job(ctx, request.title)
            if request.how == SCHEDULED:
                yield ctx.ops.notify("Scheduled: `fiftyone delegated launch` will run it", variant="success")
            else:
                start_job(job_id)
        yield ctx.ops.open_panel(PANEL, is_active=True, layout="horizontal")

    def __call__(self, sample_collection: foc.SampleCollection, **options: Any) -> dict[str, ModelResults]:
        """Compute learnability from a notebook or script.

        This calls the function itself: FiftyOne's own way to run operators from the SDK gives up after ten minutes.

        Args:
            sample_collection: a dataset or view of images
            **options: the arguments of :func:`fiftyone_learnability.compute_learnability`

        Returns:
            the results by network
        """
        return compute_learnability(sample_collection, **options)


def _recover(ctx: foo.ExecutionContext) -> None:
    """Roll back what a killed job has half written, so that the form does not ask whether to replace it."""
    if find_abandoned(ctx.dataset):
        with private_dataset(ctx):
            recover(ctx.dataset)


def _find_problem(samples: foc.SampleCollection) -> str | None:
    """Return why learnability cannot be computed, None if it can."""
    missing = [name for name in ("torch", "torchvision") if importlib.util.find_spec(name) is None]
    if missing:
        return f"Training needs {' and '.join(missing)}: pip install torch torchvision, then restart the App"
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


def _add_training_inputs(inputs: types.Object, ctx: foo.ExecutionContext, samples: foc.SampleCollection) -> None:
    fields = find_label_fields(samples)
    default = RunSettings.label_field if RunSettings.label_field in fields else fields[0]
    labels = public_settings()["label_field"]
    inputs.enum("label_field", fields, default=default, required=True, label=labels.title, description=labels.help)
    add_list_input(inputs, "models", "Networks", NETWORKS, ["resnet20"])
    presets = types.DropdownView()
    for name, epochs in PRESETS.items():
        presets.add_choice(name, label=f"{name.capitalize()}: {epochs} epochs")
    presets.add_choice(CUSTOM, label="Other")
    inputs.enum("preset", presets.values(), default="paper", required=True, label="Length", view=presets)
    if ctx.params.get("preset") == CUSTOM:
        add_setting(inputs, "epochs", default=CUSTOM_EPOCHS, required=True)


def _add_run_input(inputs: types.Object) -> None:
    how = types.RadioGroup(orientation="vertical")
    how.add_choice(BACKGROUND, label="In the background", description="Continues when the page is closed")
    how.add_choice(SCHEDULED, label="Scheduled", description="Waits for fiftyone delegated launch")
    how.add_choice(NOW, label="Now", description="For small jobs; keep the page open")
    inputs.enum("how", how.values(), default=BACKGROUND, required=True, label="Run", view=how)


def _add_advanced_inputs(inputs: types.Object, ctx: foo.ExecutionContext) -> None:
    inputs.bool("advanced", default=False, label="More options", view=types.SwitchView())
    if not ctx.params.get("advanced"):
        return
    description = "Learnability and rank are always written. All scores are measured and can be written later"
    scores = {ALL: "All", **MEASURED_SCORES}
    add_list_input(inputs, "scores", public_settings()["scores"].title, scores, list(DEFAULT_SCORES), description)
    for name in FORM_SETTINGS:
        add_setting(inputs, name)


def _add_target(inputs: types.Object, ctx: foo.ExecutionContext, form: types.Property, request: Request) -> None:
    """Show what will be replaced and ask for consent, or say why the run cannot be written."""
    key, overwrite = request.settings.key, request.settings.overwrite
    try:
        if key is not None:
            check_identifier(key)
        existing = [name for name in request.fields if ctx.dataset.has_field(name)]
        if existing or (key is not None and key in list_runs(ctx.dataset)):
            replaced = quote_fields(existing) or f"the run `{key}`"
            warning = types.Warning(label="Scores already exist", description=f"This would replace {replaced}")
            inputs.view("replaces", warning)
            inputs.bool("overwrite", default=False, label="Replace them")
        request.check_target(ctx)
    except ValueError as error:
        if key is None and not overwrite:
            refuse(form, "Tick “Replace them” to continue, or give the new scores a name under “More options”")
            return
        refuse(form, str(error))
        inputs.view("clash", types.Error(label="The run cannot be written", description=str(error)))


def _add_estimate(
    inputs: types.Object, ctx: foo.ExecutionContext, form: types.Property, request: Request, num_samples: int
) -> None:
    """Show how many images will be trained on, for how long, and which fields will be written."""
    warn_of_selection(inputs, ctx, num_samples)
    seconds = request.estimate(num_samples)
    if seconds is None:
        measure_rates(request)
        duration = "the speed of this machine is being measured; change any input to see the estimate"
    else:
        duration = f"about **{format_duration(seconds)}** at this machine's measured speed"
        if request.how == NOW and seconds > LONGEST_IMMEDIATE_SECONDS:
            refuse(form, "Too long to run now: run it in the background")
            inputs.view("long", types.Warning(label="Too long to run now", description="Run it in the background"))
    text = f"**{format_count(num_samples)}** images, {duration}.\n\nWrites {quote_fields(request.fields)}."
    inputs.md(text, name="consequences")


MEASURING_SECONDS = 120.0
"""How long a measurement of the speed may take before another one is started."""

measuring_since: dict[tuple[str, ...], float] = {}
"""When the measurements of this process were started."""


def measure_rates(request: Request) -> None:
    """Measure in another process how fast this machine trains, unless that is already under way.

    Args:
        request: names networks, image size and device
    """
    image_size, device = str(request.settings.pixels), request.settings.device
    measurement = (*request.models, image_size, device)
    if time.monotonic() - measuring_since.get(measurement, -1e9) < MEASURING_SECONDS:
        return
    measuring_since[measurement] = time.monotonic()
    root = Path(__file__).resolve().parents[2]
    code = (
        "import sys; sys.path.append(sys.argv.pop(1)); from fiftyone_learnability.experiment.rate import main; main()"
    )
    options = ["--image-size", image_size, "--device", device]
    start_process([sys.executable, "-c", code, str(root), *request.models, *options])
