"""The operator that trains networks over the current dataset or view and writes learnability onto its samples."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import fiftyone as fo
import fiftyone.core.collections as foc
import fiftyone.operators as foo
import fiftyone.operators.types as types
from fiftyone import ViewExpression as E
from fiftyone import ViewField as F

from fiftyone_learnability import ModelResults, compute_learnability
from fiftyone_learnability.dataset.appearance import PANEL
from fiftyone_learnability.dataset.internals import dataset_id, root_dataset, serialize_stages
from fiftyone_learnability.dataset.journal import find_abandoned
from fiftyone_learnability.dataset.notes import fields_of
from fiftyone_learnability.dataset.recovery import recover
from fiftyone_learnability.dataset.registry import check_identifier, list_runs
from fiftyone_learnability.dataset.samples import check_images, find_label_fields, is_empty, label_path, reading
from fiftyone_learnability.dataset.scored import resolve_name
from fiftyone_learnability.dataset.target import choose_target, free_names
from fiftyone_learnability.experiment.rate import estimate_seconds, known_rates
from fiftyone_learnability.scores.catalog import DEFAULT_SCORES, SCORES, check_network_name
from fiftyone_learnability.scores.checks import short_repr
from fiftyone_learnability.training.options import IF_SAME, RunSettings, public_settings

from ..changes import last_change
from ..jobs.job import queue_job, start_job
from ..memory import remember
from ..names import MEASURE_SPEED, NETWORKS, format_count, format_duration, network_label
from ..private_dataset import private_dataset
from .forms import (
    ScoreOperator,
    add_existing_input,
    add_list_input,
    quote_fields,
    read_existing,
    refuse,
    show_error,
)
from .params import read_choice, read_choices, read_text, warn_of_selection
from .settings import FORM_SETTINGS, add_setting, read_setting
from .training import compute_delegated, compute_now

PRESETS = {"paper": RunSettings.epochs, "standard": 60, "quick": 20}
CUSTOM, CUSTOM_EPOCHS = "custom", 100
BACKGROUND, SCHEDULED, NOW = "background", "scheduled", "now"
LONGEST_IMMEDIATE_SECONDS = 600.0
LONG_SECONDS = 3600.0
"""From this estimate on, the form suggests how to train less."""

ALL = "all"
MEASURED_SCORES = {name: score.title for name, score in SCORES.items() if not score.derived}


@dataclass(frozen=True)
class Request:
    """The values of the form.

    Attributes:
        models: the networks
        settings: the settings of the run
        how: "background", "scheduled" or "now"
        keep: True if the scores get other names where scores of these names exist
    """

    models: list[str]
    settings: RunSettings
    how: str
    keep: bool = False

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
                raise ValueError(f"models: unknown network {short_repr(model)}: choose from {', '.join(NETWORKS)}")
        values = {name: read_setting(params, name) for name in FORM_SETTINGS}
        _check_names(values["name"] or ())
        keep, overwrite = read_existing(params)
        settings = RunSettings(
            epochs=_read_epochs(params),
            scores=_read_scores(params),
            label_field=read_text(params, "label_field") or RunSettings.label_field,
            overwrite=overwrite,
            # a user who cancels a job and starts another one means the new one
            resume=IF_SAME,
            **{name: value for name, value in values.items() if value is not None},
        )
        how = read_choice(params, "how", (BACKGROUND, SCHEDULED, NOW), BACKGROUND)
        settings.names_of(models)
        return cls(list(models), settings, how, keep)

    def named(self, samples: foc.SampleCollection) -> Request:
        """Return the same request with the names that the scores will get.

        Args:
            samples: the collection to score
        """
        names = free_names(samples, self.names, self.settings.scores) if self.keep else self.names
        return self if names == self.names else replace(self, settings=replace(self.settings, name=tuple(names)))

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

    def check_target(self, samples: foc.SampleCollection) -> None:
        """Check that the run and its fields can be written.

        Raises:
            ValueError: if they cannot
        """
        settings = self.settings
        choose_target(samples, self.names, settings.key, settings.overwrite, settings.scores)

    def estimate(self, num_samples: int, epochs: int | None = None) -> float | None:
        """Return the expected seconds, None if the speed of this machine is not known yet.

        Args:
            num_samples: the number of images to train on
            epochs (None): another number of epochs
        """
        rates = known_rates(self.models, self.settings.pixels, self.settings.device)
        if len(rates) < len(self.models):
            return None
        return estimate_seconds(rates, num_samples, epochs or self.settings.epochs, self.settings.runs)


def _check_names(names: Iterable[str]) -> None:
    try:
        for name in names:
            check_network_name(name)
    except ValueError as error:
        raise ValueError(f"name: {error}") from error


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


class ComputeLearnability(ScoreOperator):
    """Trains networks over images and writes learnability and rank onto the samples."""

    config = foo.OperatorConfig(
        name="compute_learnability",
        label="Compute learnability",
        description="Train networks on the images and score how easily each one is learned",
        icon="/plugin/assets/icon.svg",
        dynamic=True,
        execute_as_generator=True,
        risk_level=types.RiskLevel.MEDIUM,
    )
    verb = "Compute"

    def resolve_placement(self, ctx: foo.ExecutionContext) -> types.Placement:
        """Return the button above the grid."""
        return types.Placement(
            types.Places.SAMPLES_GRID_SECONDARY_ACTIONS,
            types.Button(label="Compute learnability", icon="/plugin/assets/icon.svg", prompt=True),
        )

    def missing(self, ctx: foo.ExecutionContext) -> str | None:
        """Images with labels are needed, and torch."""
        _recover(ctx)
        return _find_problem(ctx.target_view(require_flat=True))

    def add_inputs(self, ctx: foo.ExecutionContext, inputs: types.Object) -> None:
        """Add labels, networks, length and options, then what will be written and how long that takes."""
        samples = ctx.target_view(require_flat=True)
        default = _add_training_inputs(inputs, ctx, samples)
        _add_run_input(inputs)
        _add_advanced_inputs(inputs, ctx)
        try:
            request = Request.from_params(ctx.params)
            # until the user chooses a field, the form shows a default of its own
            count = _count_labelled(samples, ctx.params.get("label_field") or default)
        except ValueError as error:
            show_error(inputs, error)
            return
        request = _add_target(inputs, ctx, request, samples)
        warn_of_selection(inputs, ctx, len(samples))
        seconds = request.estimate(count)
        _add_advice(inputs, request, count, seconds)
        left_out = len(samples) - count
        about = f"**{format_count(count)}** image{'' if count == 1 else 's'}"
        if left_out:
            about += f" with a label; **{format_count(left_out)}** without one are left out"
        if seconds is None:
            _add_measurement(inputs, ctx, request)
        else:
            at_most = "at most " if request.settings.stop_when_stable else "about "
            about += f".\n\nTakes {at_most}**{format_duration(seconds)}** at this machine's measured speed"
            if request.how == NOW and seconds > LONGEST_IMMEDIATE_SECONDS:
                refuse(inputs.properties["how"], "Too long to run now: run it in the background")
        inputs.md(f"{about}.\n\nWrites {quote_fields(request.fields)}.", name="consequences")

    def run(self, ctx: foo.ExecutionContext) -> Iterator[Any]:
        """Start a background job, schedule one, or train right away."""
        request = Request.from_params(ctx.params)
        if ctx.delegated:
            compute_delegated(ctx, request.models, request.settings)
            return
        samples = ctx.target_view(require_flat=True)
        # refuse now what would make a job fail later
        label_path(samples, request.settings.label_field)
        _count_labelled(samples, request.settings.label_field)
        request = request.named(samples)
        request.check_target(samples)
        if request.how == NOW:
            with private_dataset(ctx):
                samples = ctx.target_view(require_flat=True)
                for fraction, label in compute_now(samples, request.models, request.settings):
                    yield ctx.ops.set_progress(label=label, progress=fraction)
            yield ctx.ops.reload_dataset()
        else:
            # the names as they are now: when the job is run again, its own scores must not give it others
            names = {"name": ", ".join(request.names), "existing": None} if request.keep else {}
            job_id = queue_job(ctx, request.title, {**ctx.params, **names})
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


def _add_training_inputs(inputs: types.Object, ctx: foo.ExecutionContext, samples: foc.SampleCollection) -> str:
    """Add labels, networks and length; return the label field that is chosen at first."""
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
    return default


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


def _add_target(
    inputs: types.Object,
    ctx: foo.ExecutionContext,
    request: Request,
    samples: foc.SampleCollection,
) -> Request:
    """Ask what becomes of scores that exist, or say why the run cannot be written; return the request with names."""
    key, names = request.settings.key, request.names
    try:
        if key is not None:
            check_identifier(key)
        is_key_taken = key in list_runs(ctx.dataset)
    except ValueError as error:
        show_error(inputs, ValueError(f"key: {error}"))
        return request
    free = free_names(samples, names, request.settings.scores)
    if free != names or is_key_taken:
        existing = [name for name in request.fields if ctx.dataset.has_field(name)]
        add_existing_input(inputs, existing or [f"the run {key}"], free)
        if not request.settings.overwrite:
            request = replace(request, keep=True).named(samples)
    try:
        request.check_target(samples)
    except ValueError as error:
        at = "key" if is_key_taken and request.keep else "existing"
        show_error(inputs, ValueError(f"{at}: {error}") if at in inputs.properties else error)
    return request


def _count_labelled(samples: foc.SampleCollection, label_field: str) -> int:
    """Return the number of samples with a label.

    Raises:
        ValueError: if the field does not fit, or has fewer than two classes
    """
    try:
        path = label_path(samples, label_field)
    except ValueError as error:
        raise ValueError(f"label_field: {error}") from error

    def count() -> tuple[int, list[Any]]:
        """Count the labels, and return one or two of the classes."""
        labelled = samples.exists(path)
        first = labelled.limit(1).values(path)
        # $literal, because MongoDB would take a class "$x" for a field
        others = labelled.match(F(path) != E({"$literal": first[0]})).limit(1).values(path) if first else []
        return labelled.count(), first + others

    dataset = root_dataset(samples)
    state = (str(dataset_id(dataset)), *last_change(dataset))
    stages = "" if isinstance(samples, fo.Dataset) else str(serialize_stages(samples))
    total, classes = remember(("labelled", state, stages, path), count)
    if not classes:
        raise ValueError(f"label_field: none of the {len(samples)} samples has a label in the field {label_field!r}")
    if len(classes) < 2:
        raise ValueError(
            f"label_field: the field {label_field!r} has only one class, {short_repr(classes[0])}: training needs at "
            "least two"
        )
    return total


def _add_advice(inputs: types.Object, request: Request, count: int, seconds: float | None) -> None:
    """Suggest how to train less if the estimate is long."""
    settings = request.settings
    if seconds is None or seconds < LONG_SECONDS or settings.epochs <= min(PRESETS.values()):
        return
    if not settings.stop_when_stable:
        shorter = " or ".join(
            f"{name.capitalize()} ({epochs} epochs, about {format_duration(request.estimate(count, epochs) or 0)})"
            for name, epochs in PRESETS.items()
            if epochs < settings.epochs
        )
        advice = types.Notice(
            label=f"{settings.epochs} epochs take about {format_duration(seconds)} on this machine",
            description="Often the ranking of the images has settled before half of the epochs: let the training stop "
            f"then. Or choose a shorter length: {shorter}. Short trainings rank less exactly.",
        )
        inputs.view("advice", advice)
    if "stop_when_stable" not in inputs.properties:
        add_setting(inputs, "stop_when_stable")


def _add_measurement(inputs: types.Object, ctx: foo.ExecutionContext, request: Request) -> None:
    """Let the page measure this machine's speed; the form is resolved again when that is done."""
    asked = {"models": request.models, "image_size": request.settings.pixels, "device": request.settings.device}
    answer = ctx.params.get("speed")
    answer = answer.get("data") if isinstance(answer, dict) else None
    if isinstance(answer, dict) and all(answer.get(name) == value for name, value in asked.items()):
        inputs.view("unmeasured", types.Notice(label="The speed of this machine could not be measured: no estimate"))
        return
    inputs.loader(
        "speed",
        types.Object(),
        operator=MEASURE_SPEED,
        params=asked,
        label="Measuring how fast this machine trains, for an estimate of the time…",
        dependencies=list(asked),
    )
