"""The operators that use the scores: sort, tag, show disagreement, manage runs, open the panel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import fiftyone as fo
import fiftyone.core.collections as foc
import fiftyone.operators as foo
import fiftyone.operators.types as types

from fiftyone_learnability import (
    delete_run,
    disagreement,
    find_models,
    list_runs,
    rename_run,
    sort_by_learnability,
    tag_by_difficulty,
)
from fiftyone_learnability.dataset.appearance import PANEL
from fiftyone_learnability.dataset.registry import check_identifier
from fiftyone_learnability.scores.checks import LONGEST_NAME, MOST

from ..names import format_count, format_models
from ..private_dataset import private_dataset
from .forms import EASIEST, HARDEST, ScoreOperator, ask_model
from .params import read_bool, read_choice, read_integer, read_positive, read_text, warn_of_selection


class SortByLearnability(ScoreOperator):
    """Sorts the grid by how easily a network learned each sample."""

    title = "Sort by learnability"

    @property
    def config(self) -> foo.OperatorConfig:
        """What FiftyOne needs to know of the operator."""
        return foo.OperatorConfig(
            name="sort_by_learnability",
            label=self.title,
            description="Show the hardest or the easiest samples first",
            icon="sort",
            dynamic=True,
            risk_level=types.RiskLevel.LOW,
        )

    def ask(self, ctx: foo.ExecutionContext, inputs: types.Object, form: types.Property) -> None:
        """Network and direction."""
        ask_model(ctx, inputs, "model", "Network")
        _ask_which(inputs, "first", "First")

    def execute(self, ctx: foo.ExecutionContext) -> None:
        """Sets the view."""
        easiest = read_choice(ctx.params, "first", (HARDEST, EASIEST), HARDEST) == EASIEST
        ctx.ops.set_view(sort_by_learnability(ctx.view, _model(ctx, "model"), easiest_first=easiest))


class TagByDifficulty(ScoreOperator):
    """Tags the hardest or easiest samples."""

    title = "Tag hardest or easiest"

    @property
    def config(self) -> foo.OperatorConfig:
        """What FiftyOne needs to know of the operator."""
        return foo.OperatorConfig(
            name="tag_by_difficulty",
            label=self.title,
            description="Tag the hardest or easiest samples, overall or of each class",
            icon="local_offer",
            dynamic=True,
            risk_level=types.RiskLevel.LOW,
        )

    def ask(self, ctx: foo.ExecutionContext, inputs: types.Object, form: types.Property) -> None:
        """Which samples, how many, and the tag."""
        samples = ctx.target_view()
        ask_model(ctx, inputs, "model", "Network")
        _ask_which(inputs, "which", "Samples")
        unit = types.RadioGroup(orientation="horizontal")
        unit.add_choice("count", label="Number")
        unit.add_choice("percent", label="Percent")
        inputs.enum("unit", unit.values(), default="count", required=True, label="How many", view=unit)
        if ctx.params.get("unit") == "percent":
            inputs.float("percent", default=1.0, min=0.01, max=100, required=True, label="Percent")
        else:
            inputs.int("count", default=100, min=1, required=True, label="Number")
        inputs.bool("per_class", default=False, label="Of each class")
        default = "easy" if ctx.params.get("which") == EASIEST else "hard"
        tag = inputs.str("tag", default=default, required=True, label="Tag")
        try:
            _tag(ctx.params, HARDEST)
        except ValueError as error:
            tag.invalid, tag.error_message = True, str(error)
        warn_of_selection(inputs, ctx, len(samples))
        inputs.md(f"Chosen among **{format_count(len(samples))}** samples", name="among")

    def execute(self, ctx: foo.ExecutionContext) -> dict[str, Any]:
        """Tags."""
        by_count = read_choice(ctx.params, "unit", ("count", "percent"), "count") == "count"
        which = read_choice(ctx.params, "which", (HARDEST, EASIEST), HARDEST)
        tag = _tag(ctx.params, which)
        tagged = tag_by_difficulty(
            ctx.target_view(),
            _model(ctx, "model"),
            which,
            tag=tag,
            count=read_integer(ctx.params, "count", 100, 1) if by_count else None,
            percent=None if by_count else read_positive(ctx.params, "percent", 1.0, 100),
            per_class=read_bool(ctx.params, "per_class"),
        )
        ctx.ops.reload_dataset()
        ctx.ops.notify(f"Tagged {format_count(tagged)} samples “{tag}”", variant="success")
        return {"tagged": tagged, "tag": tag}

    def __call__(self, sample_collection: foc.SampleCollection, model: str, **options: Any) -> int:
        """Tags from a notebook or script.

        Args:
            sample_collection: a dataset or view with scores
            model: the network
            **options: see :func:`fiftyone_learnability.tag_by_difficulty`

        Returns:
            the number of samples that carry the tag
        """
        return tag_by_difficulty(sample_collection, model, **options)


class ShowDisagreement(ScoreOperator):
    """Shows the samples that one network finds easy and another hard."""

    title = "Show disagreement"

    @property
    def config(self) -> foo.OperatorConfig:
        """What FiftyOne needs to know of the operator."""
        return foo.OperatorConfig(
            name="show_disagreement",
            label=self.title,
            description="Show what is easy for one network and hard for another",
            icon="compare_arrows",
            dynamic=True,
            risk_level=types.RiskLevel.LOW,
        )

    def lacks(self, ctx: foo.ExecutionContext) -> str | None:
        """Two networks are needed."""
        return (
            None if len(find_models(ctx.dataset)) > 1 else "This needs the scores of two networks: compute another one"
        )

    def ask(self, ctx: foo.ExecutionContext, inputs: types.Object, form: types.Property) -> None:
        """Both networks and how many samples."""
        models = find_models(ctx.dataset)
        ask_model(ctx, inputs, "easy_for", "Easy for")
        ask_model(ctx, inputs, "hard_for", "Hard for", default=models[1])
        inputs.int("limit", default=100, min=1, max=MOST, required=True, label="Samples at most")
        if ctx.params.get("easy_for", models[0]) == ctx.params.get("hard_for", models[1]):
            form.invalid, form.error_message = True, "Choose two different networks"

    def execute(self, ctx: foo.ExecutionContext) -> None:
        """Sets the view."""
        problem = self.lacks(ctx)
        if problem:
            raise ValueError(problem)
        models = find_models(ctx.dataset)
        limit = read_integer(ctx.params, "limit", 100, 1, MOST)
        sources = find_models(ctx.dataset, derived=True)
        easy_for = read_choice(ctx.params, "easy_for", sources, models[0])
        hard_for = read_choice(ctx.params, "hard_for", sources, models[1])
        if easy_for == hard_for:
            raise ValueError(f"easy_for and hard_for must be two networks, not {easy_for!r} twice")
        ctx.ops.set_view(disagreement(ctx.view, easy_for, hard_for, limit))


class ManageRuns(ScoreOperator):
    """Renames or deletes a run."""

    title = "Manage learnability runs"

    @property
    def config(self) -> foo.OperatorConfig:
        """What FiftyOne needs to know of the operator."""
        return foo.OperatorConfig(
            name="manage_learnability_runs",
            label=self.title,
            description="Rename a learnability run, or delete it with its fields",
            icon="settings",
            dynamic=True,
            risk_level=types.RiskLevel.HIGH,
        )

    def lacks(self, ctx: foo.ExecutionContext) -> str | None:
        """A run is needed."""
        return None if list_runs(ctx.dataset) else "There are no learnability runs on this dataset"

    def ask(self, ctx: foo.ExecutionContext, inputs: types.Object, form: types.Property) -> None:
        """The run, and what to do with it."""
        runs = list_runs(ctx.dataset)
        inputs.enum("key", runs, default=runs[0], required=True, label="Run")
        key = ctx.params.get("key", runs[0])
        if key in runs:
            inputs.md(_describe(ctx.dataset, key), name="about")
        actions = types.RadioGroup(orientation="horizontal")
        actions.add_choice("rename", label="Rename")
        actions.add_choice("delete", label="Delete")
        inputs.enum("action", actions.values(), default="rename", required=True, label="Action", view=actions)
        if ctx.params.get("action") == "delete":
            inputs.view("deletes", types.Warning(label="This deletes the run's fields from all samples"))
            inputs.bool("confirmed", default=False, label="Delete them")
            if not ctx.params.get("confirmed"):
                form.invalid, form.error_message = True, "Tick “Delete them” to go on"
            return
        new_key = inputs.str("new_key", required=True, label="New key")
        try:
            _check_new_key(ctx.dataset, ctx.params.get("new_key"))
        except ValueError as error:
            if ctx.params.get("new_key"):
                new_key.invalid, new_key.error_message = True, str(error)

    def execute(self, ctx: foo.ExecutionContext) -> dict[str, Any]:
        """Renames or deletes."""
        if problem := self.lacks(ctx):
            raise ValueError(problem)
        runs = list_runs(ctx.dataset)
        key = read_choice(ctx.params, "key", runs, "" if len(runs) > 1 else runs[0])
        action = read_choice(ctx.params, "action", ("rename", "delete"), "rename")
        if action == "delete":
            if not read_bool(ctx.params, "confirmed"):
                raise ValueError("deleting a run must be confirmed: confirmed=True")
            with private_dataset(ctx):
                deleted = delete_run(ctx.dataset, key)
            ctx.ops.reload_dataset()
            return {"deleted": deleted}
        _check_new_key(ctx.dataset, ctx.params.get("new_key"))
        with private_dataset(ctx):
            rename_run(ctx.dataset, key, ctx.params["new_key"])
        return {"key": ctx.params["new_key"]}


class CompareModels(foo.Operator):
    """Opens the panel."""

    @property
    def config(self) -> foo.OperatorConfig:
        """What FiftyOne needs to know of the operator."""
        return foo.OperatorConfig(
            name="compare_learnability",
            label="Compare models by learnability",
            description="Open the panel that compares how networks rank the samples",
            icon="insights",
            risk_level=types.RiskLevel.LOW,
            view_target=False,
        )

    def execute(self, ctx: foo.ExecutionContext) -> None:
        """Opens the panel beside the grid."""
        ctx.ops.open_panel(PANEL, is_active=True, layout="horizontal")


def _ask_which(inputs: types.Object, name: str, label: str) -> None:
    which = types.RadioGroup(orientation="horizontal")
    which.add_choice(HARDEST, label="Hardest")
    which.add_choice(EASIEST, label="Easiest")
    inputs.enum(name, which.values(), default=HARDEST, required=True, label=label, view=which)


def _model(ctx: foo.ExecutionContext, name: str) -> str:
    models = find_models(ctx.dataset, derived=True)
    if not models:
        raise ValueError("there are no scores yet: run compute_learnability first")
    return read_choice(ctx.params, name, models, models[0])


def _tag(params: Mapping[str, Any], which: str) -> str:
    """The tag.

    Raises:
        ValueError: if it is empty, no text, or longer than a tag can be
    """
    if params.get("tag") is None:
        return "easy" if which == EASIEST else "hard"
    tag = read_text(params, "tag")
    if tag is None or len(tag) > LONGEST_NAME:
        raise ValueError(f"tag must not be empty, nor longer than {LONGEST_NAME} characters")
    return tag


def _check_new_key(dataset: fo.Dataset, key: Any) -> None:
    try:
        check_identifier(key)
    except ValueError as error:
        raise ValueError(f"new_key: {error}") from error
    if len(key) > LONGEST_NAME:
        raise ValueError(f"new_key must not be longer than {LONGEST_NAME} characters")
    if key in dataset.list_runs():
        raise ValueError(f"new_key: the dataset already has a run {key!r}")


def _describe(dataset: fo.Dataset, key: str) -> str:
    info = dataset.get_run_info(key)
    config = info.config
    kind, of = getattr(config, "kind", ""), format_models(getattr(config, "of", ()))
    # what else a run has taken over since is no longer its own
    networks = format_models(config.models) or "networks that were computed anew since"
    at_most = "up to " if getattr(config, "stop_when_stable", None) else ""
    epochs = f", {at_most}{config.epochs} epochs" if config.epochs else ""
    what = {
        "consensus": f"Consensus of {of}",
        "imported": f"Scores from elsewhere, {networks}",
        "label_fixes": f"Suggested labels by {of}",
    }.get(kind, networks)
    about = f"{what}: {format_count(config.num_samples)} samples{epochs}, {info.timestamp:%Y-%m-%d %H:%M}"
    return "\n".join((about, *(f"* {remark}" for remark in getattr(config, "remarks", []))))
