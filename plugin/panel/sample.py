"""The panel beside a sample in the App's modal: what each network says about this sample, and how it learned it.

In a group, FiftyOne does not tell a panel which slice the modal shows: the sample is that of the grid's slice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import fiftyone.operators.types as types
import numpy as np
from bson import ObjectId

from fiftyone_learnability.dataset.arrays import find_ids, pack_ids
from fiftyone_learnability.dataset.internals import sample_collection
from fiftyone_learnability.labels import SUGGESTION, VERDICT
from fiftyone_learnability.scores.catalog import SCORES
from fiftyone_learnability.scores.label_errors import HARD, LEARNED, MISLABELLED

from ..archives import OtherLabel, load_dynamics, other_label
from ..names import format_count, network_label
from . import figures
from .events import check_event, is_id
from .scope import Scope
from .table import ScoreTable, load_scores

_VERDICTS = {
    MISLABELLED: "**Probably mislabelled**",
    HARD: "**Hard but plausible**",
    LEARNED: "The training agrees with the label",
}


class SamplePanel(foo.Panel):
    """Shows the scores of the sample in the modal, and the curves of its label."""

    @property
    def config(self) -> foo.PanelConfig:
        """Name, label and icon of the panel."""
        return foo.PanelConfig(
            name="learnability_sample",
            label="Learnability",
            icon="insights",
            category=foo.Categories.ANALYZE,
            surfaces="modal",
            help_markdown="The scores of this sample, and how the networks learned it.",
        )

    def execute(self, ctx: foo.ExecutionContext) -> Any:
        """Check an event, then lay out the panel."""
        check_event(ctx)
        return super().execute(ctx)

    def on_load(self, ctx: foo.ExecutionContext) -> None:
        """Open the panel."""

    def on_change_current_sample(self, ctx: foo.ExecutionContext) -> None:
        """Follow the user to another sample."""

    def on_change_dataset(self, ctx: foo.ExecutionContext) -> None:
        """Follow the App to another dataset."""

    def render(self, ctx: foo.ExecutionContext) -> types.Property:
        """Lay out the panel."""
        root = types.Object()
        # the event says which sample it is about; the context may still hold the one before
        id = ctx.params.get("value") if _is_about_sample(ctx) else ctx.current_sample
        table = load_scores(ctx.dataset, Scope.of([]))
        row = int(find_ids(pack_ids([id]), table.ids)[0]) if is_id(id) else -1
        if row < 0:
            text = "This sample has no scores." if table.sources else "No scores yet: compute learnability first."
            root.md(text, name="about_sample")
        else:
            sample = _Sample(ctx.dataset, table, row, id)
            root.md(sample.describe(), name="about_sample")
            root.md(sample.list_scores(), name="scores")
            traces, shape = sample.draw()
            if traces:
                root.md("Probability of the label after each epoch", name="about_curves")
                height = f"{shape['height']}px"
                root.plot("curves_plot", data=traces, layout=shape, config=figures.CONFIG, height=height, width="100%")
            else:
                root.md("The runs of these scores kept no curves of single samples.", name="about_curves")
        sx = {"padding": "0 12px 4px", "flexWrap": "nowrap", "gridTemplateColumns": "minmax(0, 1fr)"}
        return types.Property(
            root, view=types.GridView(orientation="vertical", gap=1, componentsProps={"grid": {"sx": sx}})
        )


def _is_about_sample(ctx: foo.ExecutionContext) -> bool:
    return ctx.params.get("__method__") == "on_change_current_sample"


@dataclass(frozen=True)
class _Sample:
    """A sample with scores.

    Attributes:
        dataset: its dataset
        table: the scores of all samples
        row: its row in the table
        id: its id
    """

    dataset: fo.Dataset
    table: ScoreTable
    row: int
    id: str

    def describe(self) -> str:
        """Return its label, and the verdict on it if labels were suggested."""
        table = self.table
        index = int(table.labels[self.row])
        label = f"Label **{_plain(table.classes[index])}**" if index >= 0 else "No label"
        group = self.dataset.group_field
        wanted = [VERDICT, SUGGESTION, *([group] if group else [])]
        fields = sample_collection(self.dataset).find_one({"_id": ObjectId(self.id)}, wanted) or {}
        if group:
            label = f"Slice **{_plain((fields.get(group) or {}).get('name'))}** of the group  \n{label}"
        suggestion = (fields.get(SUGGESTION) or {}).get("label")
        verdict = _VERDICTS.get(fields.get(VERDICT) or "")
        return "  \n".join(
            part
            for part in (label, verdict, f"Suggested label **{_plain(suggestion)}**" if suggestion else None)
            if part
        )

    def list_scores(self) -> str:
        """Return a table of its scores, a column for each network."""
        sources = self.table.sources
        lines = ["| | " + " | ".join(map(network_label, sources)) + " |", "|---" * (len(sources) + 1) + "|"]
        for score in SCORES:
            cells = [self._describe_score(model, score) for model in sources]
            if any(cells):
                lines.append(f"| {SCORES[score].title} | " + " | ".join(cells) + " |")
        others = [self._other(model) for model in sources]
        if any(others):
            cells = ["" if other is None else f"{_plain(other.name)} ({other.mean:.2f})" for other in others]
            lines.append("| Most probable other label | " + " | ".join(cells) + " |")
        return "\n".join(lines)

    def _describe_score(self, model: str, score: str) -> str:
        values = self.table.values(model, score)
        value = values[self.row]
        if np.isnan(value):
            return ""
        if score == "rank":
            # some of the ranked samples may have been deleted
            return (
                f"{format_count(int(value))} of {format_count(int(max(np.isfinite(values).sum(), np.nanmax(values))))}"
            )
        return f"{value:,.0f}" if SCORES[score].is_integer and value % 1 == 0 else f"{value:.3g}"

    def _other(self, model: str) -> OtherLabel | None:
        return other_label(self.dataset, model, self.id)

    def draw(self) -> figures.Figure:
        """Draw the probability of its label after each epoch, and the mean one of the most probable other label."""
        curves = []
        for model in self.table.models:
            dynamics = load_dynamics(self.dataset, model)
            column = -1 if dynamics is None else dynamics.find(self.id)
            if dynamics is not None and column >= 0:
                curves.append(figures.Curve(self.id, "", model, dynamics.epochs, dynamics.probabilities[:, column]))
        if not curves:
            return [], {}
        traces, shape = figures.sample_curves(curves)
        for curve, line in zip(curves, list(traces), strict=True):
            other = self._other(curve.model)
            if other is not None:
                name = f"{network_label(curve.model)}: {other.name}, mean"
                traces.append(figures.level(curve.epochs, other.mean, name, line["line"]["color"]))
        return traces, {**shape, "showlegend": True, "shapes": [figures.HALF], "annotations": [figures.ABOUT_HALF]}


def _plain(label: Any) -> str:
    """Return a label as text for Markdown, which must not take its characters for formatting."""
    return "".join(f"\\{character}" if character in r"\`*_{}[]()#+-.!|<>~" else character for character in str(label))
