"""The operators that suggest labels where the training contradicts the given ones, and apply what a curator accepts."""

from __future__ import annotations

from collections import Counter
from typing import Any

import fiftyone as fo
import fiftyone.core.collections as foc
import fiftyone.operators as foo
import fiftyone.operators.types as types

from fiftyone_learnability import apply_label_fixes, find_models, suggest_label_fixes
from fiftyone_learnability.dataset.internals import parent_dataset, root_dataset, stages_of
from fiftyone_learnability.dataset.notes import INFO_KEY, owning_run
from fiftyone_learnability.dataset.registry import list_runs
from fiftyone_learnability.dataset.samples import label_path
from fiftyone_learnability.labels import CONTRADICTION, SUGGESTION, VERDICT, check_copy_name
from fiftyone_learnability.scores.label_errors import HARD, MISLABELLED, THRESHOLD

from ..names import format_count
from ..panel.table import predicted_classes
from ..private_dataset import private_dataset
from .forms import ScoreOperator, ask_overwrite, ask_several, networks_named, refuse
from .params import read_bool, read_choices, read_number, read_text, warn_of_selection


class SuggestLabelFixes(ScoreOperator):
    """Suggests other labels for samples whose labels the training contradicts."""

    title = "Suggest label fixes"

    @property
    def config(self) -> foo.OperatorConfig:
        """What FiftyOne needs to know of the operator."""
        return foo.OperatorConfig(
            name="suggest_label_fixes",
            label=self.title,
            description="Find labels that the training contradicts and suggest others; no label is changed",
            icon="rule",
            dynamic=True,
            risk_level=types.RiskLevel.MEDIUM,
        )

    def lacks(self, ctx: foo.ExecutionContext) -> str | None:
        """A network that has kept its predictions is needed."""
        return super().lacks(ctx) or (
            None
            if _predicting(ctx.dataset)
            else "No run has kept its predictions, which the suggestions are made of: compute learnability again"
        )

    def ask(self, ctx: foo.ExecutionContext, inputs: types.Object, form: types.Property) -> None:
        """Networks, threshold, and whether to replace."""
        samples = ctx.target_view()
        ask_several(
            inputs,
            "models",
            "Networks",
            networks_named(list(_predicting(ctx.dataset))),
            _alike(ctx.dataset),
            "Whose mean predictions are averaged",
        )
        inputs.bool("advanced", default=False, label="More options", view=types.SwitchView())
        if ctx.params.get("advanced"):
            about = (
                "The contradiction from which on a label is called probably wrong; 0.75 is three times its probability"
            )
            inputs.float("threshold", default=THRESHOLD, min=0.5, max=1, label="Threshold", description=about)
        try:
            _read(ctx)
            if ctx.dataset.has_field(CONTRADICTION):
                ask_overwrite(ctx, inputs, form, "There are suggestions", "them, and the verdicts")
        except ValueError as error:
            inputs.view("wrong", types.Error(label=str(error)))
            refuse(form, str(error))
        warn_of_selection(inputs, ctx, len(samples))
        written = ", ".join(f"`{field}`" for field in (SUGGESTION, CONTRADICTION, VERDICT))
        inputs.md(
            f"Judges **{format_count(len(samples))}** samples. Writes {written}. No label is changed.",
            name="consequences",
        )

    def execute(self, ctx: foo.ExecutionContext) -> dict[str, Any]:
        """Suggests them."""
        if problem := self.lacks(ctx):
            raise ValueError(problem)
        models, threshold = _read(ctx)
        with private_dataset(ctx):
            found = suggest_label_fixes(
                ctx.target_view(), models, threshold=threshold, overwrite=read_bool(ctx.params, "overwrite")
            )
        counts = Counter(found["verdict"].tolist())
        wrong, hard = counts[MISLABELLED], counts[HARD]
        ctx.ops.reload_dataset()
        ctx.ops.notify(
            f"{format_count(wrong)} probably mislabelled, {format_count(hard)} hard but plausible", variant="success"
        )
        return {"mislabelled": wrong, "hard": hard}


class ApplyLabelFixes(ScoreOperator):
    """Puts suggested labels into a copy of the label field, or into the field itself."""

    title = "Apply label suggestions"

    @property
    def config(self) -> foo.OperatorConfig:
        """What FiftyOne needs to know of the operator."""
        return foo.OperatorConfig(
            name="apply_label_fixes",
            label=self.title,
            description="Accept the suggested labels of the selected samples, or of those in the view",
            icon="done_all",
            dynamic=True,
            risk_level=types.RiskLevel.HIGH,
        )

    def lacks(self, ctx: foo.ExecutionContext) -> str | None:
        """Suggestions are needed, and the labels they are about."""
        if owning_run(ctx.dataset, CONTRADICTION) not in list_runs(ctx.dataset):
            return "There are no suggested labels yet: run “Suggest label fixes” first"
        label_field = _label_field(ctx.dataset)
        if not ctx.dataset.has_field(label_field):
            return f"The field {label_field!r}, whose labels the suggestions are about, is gone"
        return None

    def ask(self, ctx: foo.ExecutionContext, inputs: types.Object, form: types.Property) -> None:
        """Which samples, and where to."""
        samples, label_field = ctx.target_view(), _label_field(ctx.dataset)
        if not _chosen(samples):
            problem = "Select samples in the grid, or show a view of those whose suggestions you accept"
            inputs.view("unchosen", types.Warning(label="Not all samples at once", description=problem))
            refuse(form, problem)
            return
        inputs.bool(
            "in_place",
            default=False,
            label="Change the original labels",
            description=f"Writes into {label_field} itself; the labels that change are kept in {label_field}_original",
        )
        if ctx.params.get("in_place") is not True:
            about = f"A copy of {label_field} with all its labels, made if there is none; {label_field} stays as it is"
            inputs.str("into", default=f"{label_field}_fixed", required=True, label="Into", description=about)
        warn_of_selection(inputs, ctx, len(samples))
        try:
            into = _target(ctx.dataset, ctx.params)
        except ValueError as error:
            inputs.view("wrong", types.Error(label=str(error)))
            refuse(form, str(error))
            return
        changes = _count_changes(samples, label_field, into)
        total = sum(changes.values())
        inputs.md(
            f"**{format_count(total)}** of {format_count(len(samples))} labels in `{into or label_field}` will change: "
            f"{format_count(changes[MISLABELLED])} probably mislabelled, {format_count(changes[HARD])} hard but "
            "plausible.",
            name="consequences",
        )
        if not total:
            refuse(form, "There is nothing to change")

    def execute(self, ctx: foo.ExecutionContext) -> dict[str, Any]:
        """Applies them."""
        if problem := self.lacks(ctx):
            raise ValueError(problem)
        if not _chosen(ctx.target_view()):
            raise ValueError("choose the samples whose suggestions are accepted: a selection, or a view")
        into = _target(ctx.dataset, ctx.params)
        with private_dataset(ctx):
            field, changed = apply_label_fixes(ctx.target_view(), into, in_place=into is None)
        ctx.ops.reload_dataset()
        ctx.ops.notify(
            f"Changed {format_count(changed)} {'label' if changed == 1 else 'labels'} in {field}", variant="success"
        )
        return {"field": field, "changed": changed}


def _predicting(dataset: fo.Dataset) -> dict[str, tuple[str, ...]]:
    """The classes of each network that has kept its predictions."""
    found = {model: predicted_classes(dataset, model) for model in find_models(dataset)}
    return {model: classes for model, classes in found.items() if classes}


def _alike(dataset: fo.Dataset) -> list[str]:
    """The networks whose predictions are of the same classes as those of the first."""
    predicting = _predicting(dataset)
    first = next(iter(predicting.values()), ())
    return [model for model, classes in predicting.items() if classes == first]


def _read(ctx: foo.ExecutionContext) -> tuple[list[str], float]:
    """Networks and threshold.

    Raises:
        ValueError: if they are not possible
    """
    predicting = _predicting(ctx.dataset)
    models = read_choices(ctx.params, "models", predicting, _alike(ctx.dataset))
    if len({predicting[model] for model in models}) > 1:
        raise ValueError(f"models: {', '.join(models)} were trained with other classes and cannot be averaged")
    return models, read_number(ctx.params, "threshold", THRESHOLD, 0.5, 1)


def _label_field(dataset: fo.Dataset) -> str:
    return str(dataset.get_run_info(owning_run(dataset, CONTRADICTION)).config.label_field)


def _chosen(samples: foc.SampleCollection) -> bool:
    """Whether somebody has chosen these samples: selected them, or narrowed the dataset by a view or a filter."""
    if isinstance(samples, fo.Dataset):
        return False
    # what only sorts, as "Hardest first" does, chooses none
    return (
        any(isinstance(stage, fo.Select) for stage in stages_of(samples))
        or len(samples) < parent_dataset(samples).count()
    )


def _target(dataset: fo.Dataset, params: dict[str, Any]) -> str | None:
    """The field that gets the suggestions, None for the labels themselves.

    Raises:
        ValueError: if it cannot be that
    """
    label_field = _label_field(dataset)
    given = read_text(params, "into")
    if read_bool(params, "in_place"):
        # what stood in the form before the tick was set is of no more concern
        return None
    into = given or f"{label_field}_fixed"
    check_copy_name(into)
    existing = dataset.get_field(into)
    if into == label_field:
        raise ValueError(f"into is {into!r} itself: to change it, tick “Change the original labels” (in_place=True)")
    if existing is not None and (existing.info or {}).get(INFO_KEY, {}).get("copy_of") != label_field:
        raise ValueError(f"into: the field {into!r} exists and is not a copy of {label_field!r}")
    return into


def _count_changes(samples: foc.SampleCollection, label_field: str, into: str | None) -> Counter[str]:
    """How many labels will change, by verdict."""
    dataset = root_dataset(samples)
    target = into if into is not None and dataset.has_field(into) else label_field
    paths = [VERDICT, f"{SUGGESTION}.label", label_path(dataset, target)]
    rows = zip(*samples.exists(SUGGESTION).values(paths), strict=True)
    return Counter(verdict for verdict, suggested, label in rows if label is None or str(label) != suggested)
