"""Operators that choose samples by difficulty: sort, tag, show disagreement; and the one that opens the panel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import fiftyone.core.collections as foc
import fiftyone.operators as foo
import fiftyone.operators.types as types

from fiftyone_learnability import disagreement, find_models, sort_by_learnability, tag_by_difficulty
from fiftyone_learnability.dataset.appearance import PANEL
from fiftyone_learnability.dataset.notes import fields_of, rank_field
from fiftyone_learnability.scores.checks import LONGEST_NAME, MOST_SAMPLES

from ..names import format_count
from ..thumbnails import tick_fields
from .forms import (
    EASIEST,
    HARDEST,
    ScoreOperator,
    add_model_input,
    add_radio_input,
    count_of,
    preferred_networks,
    show_error,
)
from .params import read_bool, read_choice, read_integer, read_number, read_text, warn_of_selection

_ENDS = {HARDEST: "Hardest", EASIEST: "Easiest"}


class SortByLearnability(ScoreOperator):
    """Sorts the grid by how easily a network learned each sample."""

    config = foo.OperatorConfig(
        name="sort_by_learnability",
        label="Sort by learnability",
        description="Show the hardest or the easiest samples first",
        icon="sort",
        dynamic=True,
        risk_level=types.RiskLevel.LOW,
    )
    verb = "Sort"

    def add_inputs(self, ctx: foo.ExecutionContext, inputs: types.Object) -> None:
        """Add network and direction."""
        add_model_input(ctx, inputs, "model", "Network")
        add_radio_input(inputs, "first", "First", _ENDS)

    def run(self, ctx: foo.ExecutionContext) -> None:
        """Set the sorted view."""
        easiest = read_choice(ctx.params, "first", _ENDS, HARDEST) == EASIEST
        model = _read_model(ctx, "model")
        ctx.ops.set_view(sort_by_learnability(ctx.view, model, easiest_first=easiest))
        tick_fields(ctx, fields_of([model]))


class TagByDifficulty(ScoreOperator):
    """Tags the hardest or easiest samples."""

    config = foo.OperatorConfig(
        name="tag_by_difficulty",
        label="Tag hardest or easiest",
        description="Tag the hardest or easiest samples, overall or of each class",
        icon="local_offer",
        dynamic=True,
        risk_level=types.RiskLevel.LOW,
    )
    verb = "Tag"

    def add_inputs(self, ctx: foo.ExecutionContext, inputs: types.Object) -> None:
        """Add network, number of samples and tag."""
        samples = ctx.target_view()
        add_model_input(ctx, inputs, "model", "Network")
        add_radio_input(inputs, "which", "Samples", _ENDS)
        add_radio_input(inputs, "unit", "How many", {"count": "Number", "percent": "Percent"})
        if ctx.params.get("unit") == "percent":
            inputs.float("percent", default=1.0, min=0.01, max=100, required=True, label="Percent")
        else:
            inputs.int("count", default=100, min=1, required=True, label="Number")
        inputs.bool("per_class", default=False, label="Of each class")
        inputs.str("tag", default=_default_tag(ctx.params.get("which")), required=True, label="Tag")
        try:
            _read_tag(ctx.params, HARDEST)
        except ValueError as error:
            show_error(inputs, error)
        warn_of_selection(inputs, ctx, len(samples))
        inputs.md(f"Chosen among **{format_count(len(samples))}** samples", name="among")

    def run(self, ctx: foo.ExecutionContext) -> dict[str, Any]:
        """Tag the samples."""
        by_count = read_choice(ctx.params, "unit", ("count", "percent"), "count") == "count"
        which = read_choice(ctx.params, "which", _ENDS, HARDEST)
        tag = _read_tag(ctx.params, which)
        tagged = tag_by_difficulty(
            ctx.target_view(),
            _read_model(ctx, "model"),
            which,
            tag=tag,
            count=read_integer(ctx.params, "count", 100, 1) if by_count else None,
            percent=None if by_count else read_number(ctx.params, "percent", 1.0, 0, 100),
            per_class=read_bool(ctx.params, "per_class"),
        )
        ctx.ops.reload_dataset()
        ctx.ops.notify(f"Tagged {count_of(tagged, 'sample')} as “{tag}”", variant="success")
        return {"tagged": tagged, "tag": tag}

    def __call__(self, sample_collection: foc.SampleCollection, model: str, **options: Any) -> int:
        """Tag samples from a notebook or script.

        Args:
            sample_collection: a dataset or view with scores
            model: the network
            **options: see :func:`fiftyone_learnability.tag_by_difficulty`

        Returns:
            the number of tagged samples
        """
        return tag_by_difficulty(sample_collection, model, **options)


class ShowDisagreement(ScoreOperator):
    """Shows the samples that one network finds easy and another one hard."""

    config = foo.OperatorConfig(
        name="show_disagreement",
        label="Show disagreement",
        description="Show what is easy for one network and hard for another",
        icon="compare_arrows",
        dynamic=True,
        risk_level=types.RiskLevel.LOW,
    )
    verb = "Show"

    def missing(self, ctx: foo.ExecutionContext) -> str | None:
        """Two networks are needed."""
        if len(find_models(ctx.dataset)) > 1:
            return None
        return "Disagreement needs the scores of two networks: compute learnability with another one"

    def add_inputs(self, ctx: foo.ExecutionContext, inputs: types.Object) -> None:
        """Add both networks and the number of samples."""
        models = preferred_networks(ctx.dataset)
        add_model_input(ctx, inputs, "easy_for", "Easy for", default=models[0])
        add_model_input(ctx, inputs, "hard_for", "Hard for", default=models[1])
        inputs.bool("either_way", default=False, label="Also the other way round")
        inputs.int("limit", default=100, min=1, max=MOST_SAMPLES, required=True, label="Maximum number of samples")
        try:
            _read_pair(ctx)
        except ValueError as error:
            show_error(inputs, error)

    def run(self, ctx: foo.ExecutionContext) -> None:
        """Set the view."""
        limit = read_integer(ctx.params, "limit", 100, 1, MOST_SAMPLES)
        pair, either_way = _read_pair(ctx), read_bool(ctx.params, "either_way")
        ctx.ops.set_view(disagreement(ctx.view, *pair, limit, either_way))
        tick_fields(ctx, [rank_field(model) for model in pair])


class CompareModels(foo.Operator):
    """Opens the panel."""

    config = foo.OperatorConfig(
        name="compare_learnability",
        label="Compare models by learnability",
        description="Open the panel that compares how networks rank the samples",
        icon="insights",
        risk_level=types.RiskLevel.LOW,
        view_target=False,
    )

    def execute(self, ctx: foo.ExecutionContext) -> None:
        """Open the panel next to the grid."""
        ctx.ops.open_panel(PANEL, is_active=True, layout="horizontal")


def _read_model(ctx: foo.ExecutionContext, name: str, default: str | None = None) -> str:
    models = preferred_networks(ctx.dataset, derived=True)
    return read_choice(ctx.params, name, models, default or models[0])


def _read_pair(ctx: foo.ExecutionContext) -> tuple[str, str]:
    """Return the network that finds the samples easy, and the one that finds them hard.

    Raises:
        ValueError: if they are the same, or one of them has no scores
    """
    models = preferred_networks(ctx.dataset)
    easy_for, hard_for = _read_model(ctx, "easy_for", models[0]), _read_model(ctx, "hard_for", models[1])
    if easy_for == hard_for:
        raise ValueError(f"hard_for must be another network than easy_for, not {hard_for!r} twice")
    return easy_for, hard_for


def _default_tag(which: Any) -> str:
    return "easy" if which == EASIEST else "hard"


def _read_tag(params: Mapping[str, Any], which: str) -> str:
    """Return the tag to write, by default the one for ``which`` samples.

    Raises:
        ValueError: if it is empty, too long, or not a string
    """
    if params.get("tag") is None:
        return _default_tag(which)
    tag = read_text(params, "tag")
    if tag is None or len(tag) > LONGEST_NAME:
        raise ValueError(f"tag must not be empty or longer than {LONGEST_NAME} characters")
    return tag
