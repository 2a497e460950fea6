"""Operators that write more fields from scores the runs have measured: further scores, and the consensus."""

from __future__ import annotations

from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import fiftyone.operators.types as types

from fiftyone_learnability import add_scores, find_models, find_scores, write_consensus
from fiftyone_learnability.consensus import CONSENSUS
from fiftyone_learnability.dataset.evidence import find_unlearned
from fiftyone_learnability.dataset.notes import score_field
from fiftyone_learnability.dataset.scored import models_of_runs
from fiftyone_learnability.scores.catalog import SCORES

from ..archives import measured_scores
from ..names import format_count, format_models
from ..private_dataset import private_dataset
from .forms import (
    ScoreOperator,
    add_list_input,
    count_of,
    find_lost_run,
    label_networks,
    quote_fields,
    require_overwrite,
    show_error,
    warn_of_unlearned,
)
from .params import read_bool, read_choices, warn_of_selection

ALL = "all"


class WriteScores(ScoreOperator):
    """Writes further scores of networks that were trained."""

    config = foo.OperatorConfig(
        name="write_learnability_scores",
        label="Write more scores",
        description="Write further scores that a run has measured: hits, variability, forgetting and others",
        icon="add_chart",
        dynamic=True,
        risk_level=types.RiskLevel.MEDIUM,
        view_target=False,
    )
    verb = "Write"

    def missing(self, ctx: foo.ExecutionContext) -> str | None:
        """Return why there is nothing to write, None if a measured score has no field yet."""
        if _unwritten_scores(ctx.dataset):
            return None
        lost = super().missing(ctx) or find_lost_run(ctx.dataset)
        return lost or "All scores that the runs have measured are written already"

    def add_inputs(self, ctx: foo.ExecutionContext, inputs: types.Object) -> None:
        """Add networks and scores."""
        unwritten = _unwritten_scores(ctx.dataset)
        add_list_input(inputs, "models", "Networks", label_networks(list(unwritten)), list(unwritten))
        choices = {name: f"{SCORES[name].title}: {SCORES[name].description}" for name in _union(unwritten)}
        add_list_input(inputs, "scores", "Scores", {ALL: "All that were measured", **choices}, [ALL])
        try:
            chosen = _read_scores(ctx.dataset, ctx.params)
        except ValueError as error:
            show_error(inputs, error)
            return
        fields = [score_field(model, score) for model, scores in chosen.items() for score in scores]
        inputs.md(f"Writes {quote_fields(fields)}.", name="consequences")

    def run(self, ctx: foo.ExecutionContext) -> dict[str, Any]:
        """Write the scores."""
        chosen, added = _read_scores(ctx.dataset, ctx.params), []
        with private_dataset(ctx):
            for model, scores in chosen.items():
                added += add_scores(ctx.dataset, scores, [model])
        ctx.ops.reload_dataset()
        ctx.ops.notify(f"Wrote {', '.join(added)}", variant="success")
        return {"fields": added}


class ComputeConsensus(ScoreOperator):
    """Writes the consensus of several networks and their disagreement."""

    config = foo.OperatorConfig(
        name="compute_consensus",
        label="Compute consensus",
        description="Write the mean standardized learnability of several networks, and their disagreement",
        icon="join_inner",
        dynamic=True,
        risk_level=types.RiskLevel.MEDIUM,
    )
    verb = "Compute"

    def missing(self, ctx: foo.ExecutionContext) -> str | None:
        """Two networks are needed."""
        return None if len(find_models(ctx.dataset)) > 1 else "A consensus needs the scores of at least two networks"

    def add_inputs(self, ctx: foo.ExecutionContext, inputs: types.Object) -> None:
        """Add the networks, and a warning if there is a consensus."""
        samples, models = ctx.target_view(), find_models(ctx.dataset)
        unlearned = find_unlearned(ctx.dataset, models)
        default = [model for model in models if model not in unlearned]
        add_list_input(inputs, "models", "Networks", label_networks(models), default)
        fields = [score_field(CONSENSUS, score) for score in ("learnability", "rank", "disagreement")]
        present = [field for field in fields if ctx.dataset.has_field(field)]
        chosen: list[str] = []
        try:
            chosen = read_choices(ctx.params, "models", models, default, 2)
            if present:
                require_overwrite(ctx, inputs, "A consensus already exists", quote_fields(present))
        except ValueError as error:
            show_error(inputs, error)
        warn_of_unlearned(inputs, unlearned, chosen)
        warn_of_selection(inputs, ctx, len(samples))
        inputs.md(
            f"Covers **{format_count(len(samples))}** samples. Writes {quote_fields(fields)}. "
            "Learnability is standardized: 0 is average, higher is easier.",
            name="consequences",
        )

    def run(self, ctx: foo.ExecutionContext) -> dict[str, Any]:
        """Write the consensus."""
        networks = find_models(ctx.dataset)
        unlearned = find_unlearned(ctx.dataset, networks)
        default = [model for model in networks if model not in unlearned]
        models = read_choices(ctx.params, "models", networks, default, 2)
        with private_dataset(ctx):
            report = write_consensus(ctx.target_view(), models, overwrite=read_bool(ctx.params, "overwrite"))
        ctx.ops.reload_dataset()
        wrote = f"Wrote the consensus of {format_models(models)} to {count_of(report.num_written, 'sample')}"
        ctx.ops.notify("; ".join([wrote, *report.remarks]), variant="warning" if report.remarks else "success")
        return {"key": report.key, "fields": report.fields, "samples": report.num_written}


def _unwritten_scores(dataset: fo.Dataset) -> dict[str, list[str]]:
    """Return the measured scores of each network that have no field yet."""
    unwritten = {}
    # also of networks whose fields were deleted or renamed
    for model in dict.fromkeys([*find_models(dataset), *models_of_runs(dataset)]):
        written = find_scores(dataset, model)
        if scores := [score for score in measured_scores(dataset, model) if score not in written]:
            unwritten[model] = scores
    return unwritten


def _union(unwritten: dict[str, list[str]]) -> list[str]:
    return [score for score in SCORES if any(score in scores for scores in unwritten.values())]


def _read_scores(dataset: fo.Dataset, params: dict[str, Any]) -> dict[str, list[str]]:
    """Return the scores to write, by network.

    Raises:
        ValueError: if a param is invalid, or the run of a network has not measured a score
    """
    unwritten = _unwritten_scores(dataset)
    models = read_choices(params, "models", unwritten, list(unwritten))
    possible = {model: unwritten[model] for model in models}
    scores = read_choices(params, "scores", [ALL, *_union(possible)], [ALL])
    if ALL in scores:
        return possible
    for model in models:
        unmeasured = [score for score in scores if score not in measured_scores(dataset, model)]
        if unmeasured:
            raise ValueError(f"scores: the run of {format_models([model])} has not measured {', '.join(unmeasured)}")
    chosen = {model: [score for score in possible[model] if score in scores] for model in models}
    return {model: names for model, names in chosen.items() if names}
