"""Operators that suggest labels where the training contradicts the given ones, and apply accepted suggestions."""

from __future__ import annotations

from collections import Counter
from typing import Any

import fiftyone as fo
import fiftyone.core.collections as foc
import fiftyone.operators as foo
import fiftyone.operators.types as types

from fiftyone_learnability import apply_label_fixes, find_models, start_label_review, suggest_label_fixes
from fiftyone_learnability.dataset.evidence import find_unlearned
from fiftyone_learnability.dataset.internals import parent_dataset, root_dataset, stages_of
from fiftyone_learnability.dataset.label_fields import choose_fix_field
from fiftyone_learnability.dataset.notes import owning_run
from fiftyone_learnability.dataset.samples import label_path
from fiftyone_learnability.dataset.suggestions import (
    CONTRADICTION,
    SUGGESTION,
    VERDICT,
    describe_no_suggestions,
    judged_field,
)
from fiftyone_learnability.scores.label_errors import HARD, MISLABELLED, THRESHOLD

from ..archives import predicted_classes
from ..names import format_count
from ..private_dataset import private_dataset
from .forms import (
    ScoreOperator,
    add_list_input,
    count_of,
    find_lost_run,
    hold,
    label_networks,
    quote_fields,
    require_overwrite,
    sentence,
    show_error,
    warn_of_unlearned,
)
from .params import read_bool, read_choices, read_number, read_text, warn_of_selection


class SuggestLabelFixes(ScoreOperator):
    """Suggests another label for each sample whose label the training contradicts."""

    config = foo.OperatorConfig(
        name="suggest_label_fixes",
        label="Suggest label fixes",
        description="Find labels that the training contradicts and suggest others; no label is changed",
        icon="rule",
        dynamic=True,
        risk_level=types.RiskLevel.MEDIUM,
    )
    verb = "Suggest"

    def missing(self, ctx: foo.ExecutionContext) -> str | None:
        """A network with stored predictions is needed."""
        if problem := super().missing(ctx):
            return problem
        if _classes_by_network(ctx.dataset):
            return None
        if problem := find_lost_run(ctx.dataset):
            return problem
        return "No run has stored its predictions, which suggestions are made from: compute learnability again"

    def add_inputs(self, ctx: foo.ExecutionContext, inputs: types.Object) -> None:
        """Add networks and threshold, and a warning if there are suggestions."""
        samples = ctx.target_view()
        add_list_input(
            inputs,
            "models",
            "Networks",
            label_networks(list(_classes_by_network(ctx.dataset))),
            _default_networks(ctx.dataset),
            "Their mean predictions are averaged",
        )
        inputs.bool("advanced", default=False, label="More options", view=types.SwitchView())
        if ctx.params.get("advanced"):
            description = (
                "From this contradiction on, a label counts as probably mislabelled. At 0.75, another class is three "
                "times as probable as the label"
            )
            inputs.float("threshold", default=THRESHOLD, min=0.5, max=1, label="Threshold", description=description)
        models: list[str] = []
        try:
            models, _ = _read_networks(ctx)
            if ctx.dataset.has_field(CONTRADICTION):
                require_overwrite(ctx, inputs, "There are suggestions already", "them and the verdicts")
        except ValueError as error:
            show_error(inputs, error)
        warn_of_unlearned(inputs, find_unlearned(ctx.dataset, list(_classes_by_network(ctx.dataset))), models)
        warn_of_selection(inputs, ctx, len(samples))
        inputs.md(
            f"Judges **{format_count(len(samples))}** samples. Writes "
            f"{quote_fields([SUGGESTION, CONTRADICTION, VERDICT])}. No label is changed.",
            name="consequences",
        )

    def run(self, ctx: foo.ExecutionContext) -> dict[str, Any]:
        """Write the suggestions."""
        models, threshold = _read_networks(ctx)
        with private_dataset(ctx):
            problems = suggest_label_fixes(
                ctx.target_view(), models, threshold=threshold, overwrite=read_bool(ctx.params, "overwrite")
            )
        counts = Counter(problems["verdict"].tolist())
        ctx.ops.reload_dataset()
        remarks = getattr(ctx.dataset.get_run_info(owning_run(ctx.dataset, CONTRADICTION)).config, "remarks", [])
        ctx.ops.notify("; ".join([_verdicts_in_words(counts), *remarks]), variant="warning" if remarks else "success")
        return {"mislabelled": counts[MISLABELLED], "hard": counts[HARD]}


class _FixOperator(ScoreOperator):
    """An operator that writes suggested labels, or is about to."""

    def missing(self, ctx: foo.ExecutionContext) -> str | None:
        """Suggestions are needed, and the label field that they were made for."""
        if problem := describe_no_suggestions(ctx.dataset):
            return sentence(problem.replace("suggest_label_fixes", "“Suggest label fixes”"))
        label_field = judged_field(ctx.dataset)
        if not ctx.dataset.has_field(label_field):
            return f"The field {label_field!r}, which the suggestions were made for, was deleted or renamed"
        return None


class ApplyLabelFixes(_FixOperator):
    """Writes suggested labels into a copy of the label field, or into the field itself."""

    config = foo.OperatorConfig(
        name="apply_label_fixes",
        label="Apply label suggestions",
        description="Accept the suggested labels of the selected samples, or of those in the view",
        icon="done_all",
        dynamic=True,
        risk_level=types.RiskLevel.HIGH,
    )
    verb = "Accept"

    def add_inputs(self, ctx: foo.ExecutionContext, inputs: types.Object) -> None:
        """Add where the suggestions go."""
        samples, label_field = ctx.target_view(), judged_field(ctx.dataset)
        if not _is_chosen(samples):
            problem = "Select samples in the grid, or show a view of those whose suggestions you accept"
            inputs.view("unchosen", types.Warning(label="All samples at once are not allowed", description=problem))
            hold(inputs, problem)
            return
        _add_target_inputs(ctx, inputs, label_field)
        warn_of_selection(inputs, ctx, len(samples))
        try:
            into = _read_target(ctx.dataset, ctx.params)
        except ValueError as error:
            show_error(inputs, error)
            return
        changes = _count_changes(samples, label_field, into)
        total = sum(changes.values())
        inputs.md(
            f"**{format_count(total)}** of {format_count(len(samples))} labels in `{into or label_field}` will change: "
            f"{_verdicts_in_words(changes)}.",
            name="consequences",
        )
        if not total:
            hold(inputs, "There is nothing to change")

    def run(self, ctx: foo.ExecutionContext) -> dict[str, Any]:
        """Write the accepted labels."""
        if not _is_chosen(ctx.target_view()):
            raise ValueError("choose the samples whose suggestions are accepted: a selection, or a view")
        into = _read_target(ctx.dataset, ctx.params)
        with private_dataset(ctx):
            field, changed = apply_label_fixes(ctx.target_view(), into, in_place=into is None)
        ctx.ops.reload_dataset()
        if ctx.selected:
            # what is accepted needs no further attention
            accepted = set(ctx.target_view().exists(SUGGESTION).values("id"))
            ctx.ops.set_selected_samples([id for id in ctx.selected if id not in accepted])
        ctx.ops.notify(f"Changed {count_of(changed, 'label')} in {field}", variant="success")
        return {"field": field, "changed": changed}


class ReviewLabelFixes(_FixOperator):
    """Asks where accepted labels go, before the panel asks about one suggestion after the other."""

    config = foo.OperatorConfig(
        name="review_label_fixes",
        label="Review label suggestions",
        description="Choose where the panel's review of suggested labels writes the accepted ones",
        icon="fact_check",
        dynamic=True,
        risk_level=types.RiskLevel.MEDIUM,
    )
    verb = "Start review"

    def add_inputs(self, ctx: foo.ExecutionContext, inputs: types.Object) -> None:
        """Add where accepted labels go."""
        inputs.md(
            "The panel then shows one image after the other, and you accept its suggested label or keep the given one.",
            name="about",
        )
        _add_target_inputs(ctx, inputs, judged_field(ctx.dataset))
        try:
            into = _read_target(ctx.dataset, ctx.params)
        except ValueError as error:
            show_error(inputs, error)
            return
        if into is not None and not ctx.dataset.has_field(into):
            copied = f"All {format_count(ctx.dataset.count())} labels are copied into `{into}` first."
            inputs.md(copied, name="consequences")

    def run(self, ctx: foo.ExecutionContext) -> dict[str, Any]:
        """Remember where accepted labels go, and make that field."""
        into = _read_target(ctx.dataset, ctx.params)
        with private_dataset(ctx):
            field = start_label_review(ctx.dataset, into, in_place=into is None)
        # without reloading the dataset in the App, which would drop the filters that choose what is reviewed
        return {"field": field}


def _add_target_inputs(ctx: foo.ExecutionContext, inputs: types.Object, label_field: str) -> None:
    """Add where accepted labels go: into a copy of the label field, or into the field itself."""
    inputs.bool(
        "in_place",
        default=False,
        label="Change the original labels",
        description=f"Writes to {label_field} itself and keeps the replaced labels in {label_field}_original",
    )
    if ctx.params.get("in_place") is not True:
        description = f"A copy of {label_field}, made if it does not exist; {label_field} stays as it is"
        inputs.str("into", default=f"{label_field}_fixed", required=True, label="Into", description=description)


def _verdicts_in_words(counts: Counter[str]) -> str:
    return f"{format_count(counts[MISLABELLED])} probably mislabelled, {format_count(counts[HARD])} hard but plausible"


def _classes_by_network(dataset: fo.Dataset) -> dict[str, tuple[str, ...]]:
    """Return the classes of each network whose run has stored its predictions."""
    classes = {model: predicted_classes(dataset, model) for model in find_models(dataset)}
    return {model: names for model, names in classes.items() if names}


def _default_networks(dataset: fo.Dataset) -> list[str]:
    """Return the networks that learned something and predict the same classes as the first of these."""
    classes = _classes_by_network(dataset)
    unlearned = find_unlearned(dataset, list(classes))
    classes = {model: names for model, names in classes.items() if model not in unlearned}
    first = next(iter(classes.values()), ())
    return [model for model, names in classes.items() if names == first]


def _read_networks(ctx: foo.ExecutionContext) -> tuple[list[str], float]:
    """Return networks and threshold.

    Raises:
        ValueError: if a param is invalid, or the networks were trained with different classes
    """
    classes = _classes_by_network(ctx.dataset)
    models = read_choices(ctx.params, "models", classes, _default_networks(ctx.dataset))
    if len({classes[model] for model in models}) > 1:
        raise ValueError(f"models: {', '.join(models)} were trained with different classes and cannot be averaged")
    return models, read_number(ctx.params, "threshold", THRESHOLD, 0.5, 1)


def _is_chosen(samples: foc.SampleCollection) -> bool:
    """True for a selection, a view or a filter that leaves samples out; sorting alone chooses nothing."""
    if isinstance(samples, fo.Dataset):
        return False
    selected = any(isinstance(stage, fo.Select) for stage in stages_of(samples))
    return selected or len(samples) < parent_dataset(samples).count()


def _read_target(dataset: fo.Dataset, params: dict[str, Any]) -> str | None:
    """Return the field that the suggestions go to; None for the label field itself.

    Raises:
        ValueError: if the field cannot take them
    """
    label_field = judged_field(dataset)
    into, in_place = read_text(params, "into") or None, read_bool(params, "in_place")
    # with in_place, `into` can hold what the form showed before the box was ticked
    target = choose_fix_field(dataset, label_field, None if in_place else into, in_place)
    return None if in_place else target


def _count_changes(samples: foc.SampleCollection, label_field: str, into: str | None) -> Counter[str]:
    """Count the labels that will change, by verdict."""
    dataset = root_dataset(samples)
    target = into if into is not None and dataset.has_field(into) else label_field
    paths = [VERDICT, f"{SUGGESTION}.label", label_path(dataset, target)]
    rows = zip(*samples.exists(SUGGESTION).values(paths), strict=True)
    return Counter(verdict for verdict, suggested, label in rows if label is None or str(label) != suggested)
