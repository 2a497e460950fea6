"""The Learnability panel: its events, and what they do to the panel and the grid.

An event sends new plot data (``panel.data``) only for the open tab, and only if something that the plots depend on has
changed. FiftyOne sends many events twice, and some when the panel is mounted or its state is set. After each event,
``render`` lays out the panel.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any
from urllib.parse import quote

import fiftyone.operators as foo
import fiftyone.operators.types as types
from fiftyone import ViewExpression as E
from fiftyone import ViewField as F

from fiftyone_learnability import add_scores, disagreement, label_problems, sort_by_learnability
from fiftyone_learnability.dataset.appearance import PANEL
from fiftyone_learnability.dataset.arrays import unpack_ids
from fiftyone_learnability.dataset.notes import score_field
from fiftyone_learnability.scores.label_errors import HARD, MISLABELLED

from ..archives import load_ahead
from ..jobs.job import Job, cancel_job, dismiss_job, latest_job
from ..names import APPLY_FIXES, COMPUTE, SAVE_VIEW, SUGGEST_FIXES, TAG, WRITE_SCORES, network_label
from ..private_dataset import private_dataset
from .binning import match_bins
from .data_map import MAP_SCORES
from .events import boxed, cell, check_event, clicked, sample_id, selected
from .layout import lay_out
from .review import match_change, scope_review, show_label_fields
from .scope import fingerprint, reset, scope_of, show
from .table import ScoreTable, dataset_state, scope_table
from .tabs import (
    Choice,
    bin_map,
    class_rows,
    draw_plots,
    find_examples,
    histogram_edges,
    missing_for_map,
    pair_histogram,
)


class LearnabilityPanel(foo.Panel):
    """Compare how networks rank the samples, and sort, filter and tag the grid by difficulty."""

    @property
    def config(self) -> foo.PanelConfig:
        """Name, label and icon of the panel."""
        return foo.PanelConfig(
            name=PANEL,
            label="Learnability",
            icon="insights",
            help_markdown="See which samples networks find easy or hard to learn. Click in a plot or drag a box to "
            "show its samples in the grid.",
        )

    def execute(self, ctx: foo.ExecutionContext) -> Any:
        """Check an event, then handle it."""
        check_event(ctx)
        return super().execute(ctx)

    # events of the App

    def on_load(self, ctx: foo.ExecutionContext) -> None:
        """Draw the panel when it opens."""
        self._update_job(ctx)
        self._draw(ctx)
        # only now: loading in parallel would make the first plots take several times as long
        load_ahead(ctx.dataset, scope_table(ctx).models)

    def on_change_dataset(self, ctx: foo.ExecutionContext) -> None:
        """Reset the panel for another dataset."""
        ctx.panel.set_state({"own": {}, "controls": {}})
        self.on_load(ctx)

    def on_change_view(self, ctx: foo.ExecutionContext) -> None:
        """Draw for a new view or new filters, except those that the panel itself has set."""
        if ctx.panel.get_state("drawn") != self._hash_drawn(ctx):
            self._draw(ctx)

    def on_change_selected(self, ctx: foo.ExecutionContext) -> None:
        """Draw the curves of the selected samples."""
        self.on_change_view(ctx)

    def on_timer(self, ctx: foo.ExecutionContext) -> None:
        """Show the progress of the job; when it completes, load the new fields."""
        before = ctx.panel.get_state("job") or {}
        job = self._update_job(ctx)
        if job is not None and job.state == "completed" and before.get("state") in ("queued", "running"):
            ctx.ops.reload_dataset()
            # the panel itself shows the remarks
            ctx.ops.notify(f"{job.title}: done", variant="warning" if job.remarks else "success")
            self._draw(ctx)

    def _update_job(self, ctx: foo.ExecutionContext) -> Job | None:
        """Put the dataset's latest job into the panel's state and return it."""
        job = latest_job(ctx.dataset)
        state = {} if job is None else asdict(job)
        if state != ctx.panel.get_state("job"):
            ctx.panel.set_state("job", state)
        return job

    # events of the panel's own controls

    def on_tab(self, ctx: foo.ExecutionContext) -> None:
        """Draw the tab that was opened."""
        self.on_change_view(ctx)

    def on_control(self, ctx: foo.ExecutionContext) -> None:
        """Draw for the chosen networks, scores or order."""
        self.on_change_view(ctx)
        # nothing is compared with itself: the dropdowns show what is drawn instead
        self._set_controls(ctx, self._choice(ctx))

    def on_compute(self, ctx: foo.ExecutionContext) -> None:
        """Open the form that starts a computation."""
        ctx.prompt(COMPUTE, on_success=self.on_timer)

    def on_cancel(self, ctx: foo.ExecutionContext) -> None:
        """Cancel the job."""
        job = latest_job(ctx.dataset)
        if job is not None and not cancel_job(job.id):
            ctx.ops.notify("Too late to cancel: the scores are being written", variant="warning")
        self._update_job(ctx)

    def on_dismiss(self, ctx: foo.ExecutionContext) -> None:
        """Remove the message of an ended job."""
        job = latest_job(ctx.dataset)
        if job is not None:
            # has no effect on a job that another page has started meanwhile
            dismiss_job(job.id)
        self._update_job(ctx)

    def on_hardest(self, ctx: foo.ExecutionContext) -> None:
        """Sort the grid, hardest first."""
        show(ctx, lambda view: sort_by_learnability(view, self._choice(ctx).first))

    def on_easiest(self, ctx: foo.ExecutionContext) -> None:
        """Sort the grid, easiest first."""
        show(ctx, lambda view: sort_by_learnability(view, self._choice(ctx).first, easiest_first=True))

    def on_disagreement(self, ctx: foo.ExecutionContext) -> None:
        """Show the samples that the first network finds easier than the second, largest difference first."""
        first, second = self._choice(ctx).pair
        if first == second:
            ctx.ops.notify("Choose two networks to see where they disagree", variant="info")
            return
        show(ctx, lambda view: disagreement(view, first, second))

    def on_write_map(self, ctx: foo.ExecutionContext) -> None:
        """Write the scores that the data map needs and that the run has measured."""
        table, model = scope_table(ctx), self._choice(ctx).first
        missing = missing_for_map(table, model)
        if not missing:
            # the second click of a double click
            return
        try:
            with private_dataset(ctx):
                added = add_scores(ctx.dataset, missing, [model])
        except ValueError as error:
            ctx.ops.notify(f"The scores cannot be written: {error}", variant="error")
            return
        ctx.ops.reload_dataset()
        ctx.ops.notify(f"Wrote {', '.join(added)} by {network_label(model)}", variant="success")
        self._draw(ctx)

    def on_write_scores(self, ctx: foo.ExecutionContext) -> None:
        """Open the form that writes more scores of the first network."""
        ctx.prompt(WRITE_SCORES, params={"models": [self._choice(ctx).first]}, on_success=self.on_written)

    def on_suggest(self, ctx: foo.ExecutionContext) -> None:
        """Open the form that suggests labels."""
        ctx.prompt(SUGGEST_FIXES, on_success=self.on_written)

    def on_accept(self, ctx: foo.ExecutionContext) -> None:
        """Open the form that accepts the suggestions for the selected samples."""
        if not ctx.selected:
            ctx.ops.notify("Select samples in the grid first, then accept their suggested labels", variant="info")
            return
        ctx.prompt(APPLY_FIXES, params={"view_target": "SELECTED_SAMPLES"}, on_success=self.on_written)

    def on_written(self, ctx: foo.ExecutionContext) -> None:
        """Draw after a form has written something."""
        self.on_change_view(ctx)

    def on_mislabelled(self, ctx: foo.ExecutionContext) -> None:
        """Show the samples that are probably mislabelled, with given and suggested label."""
        self._show_problems(ctx, MISLABELLED)

    def on_hard(self, ctx: foo.ExecutionContext) -> None:
        """Show the samples that are hard but plausible, with given and suggested label."""
        self._show_problems(ctx, HARD)

    def _show_problems(self, ctx: foo.ExecutionContext, verdict: str) -> None:
        review = scope_review(ctx)
        if review is not None:
            show(ctx, lambda view: label_problems(view, verdict))
            show_label_fields(ctx, review)

    def on_tag(self, ctx: foo.ExecutionContext) -> None:
        """Open the form that tags samples by difficulty."""
        ctx.prompt(TAG, params={"model": self._choice(ctx).first})

    def on_save_view(self, ctx: foo.ExecutionContext) -> None:
        """Open FiftyOne's form that saves the current view."""
        ctx.prompt(SAVE_VIEW)

    def on_reset(self, ctx: foo.ExecutionContext) -> None:
        """Remove the panel's sorting and filtering from the grid."""
        reset(ctx)

    # events of the plots

    def on_matrix(self, ctx: foo.ExecutionContext) -> None:
        """Choose the pair of networks of a cell."""
        models = scope_table(ctx).models
        if (position := cell(ctx)) is None:
            return
        row, column = position
        # the event may belong to a plot that has changed meanwhile
        if row != column and max(row, column) < len(models):
            ctx.panel.set_state({"controls.first": models[row], "controls.second": models[column]})
            self.on_change_view(ctx)

    def on_pair_click(self, ctx: foo.ExecutionContext) -> None:
        """Show the samples of a cell of the 2-D histogram."""
        self._show_cells(ctx, clicked(ctx))

    def on_pair_box(self, ctx: foo.ExecutionContext) -> None:
        """Show the samples of all cells in a box of the 2-D histogram."""
        self._show_cells(ctx, boxed(ctx))

    def on_map_click(self, ctx: foo.ExecutionContext) -> None:
        """Show the samples of a cell of the data map."""
        self._show_map(ctx, clicked(ctx))

    def on_map_box(self, ctx: foo.ExecutionContext) -> None:
        """Show the samples of all cells in a box of the data map."""
        self._show_map(ctx, boxed(ctx))

    def on_histogram_click(self, ctx: foo.ExecutionContext) -> None:
        """Show the samples of a bar of the histogram."""
        self._show_bars(ctx, clicked(ctx))

    def on_histogram_box(self, ctx: foo.ExecutionContext) -> None:
        """Show the samples of a range of the histogram."""
        self._show_bars(ctx, boxed(ctx))

    def on_change_of_label(self, ctx: foo.ExecutionContext) -> None:
        """Show the samples with a given and a suggested label, most contradicted first."""
        review, position = scope_review(ctx), cell(ctx)
        if review is None or position is None:
            return
        inside = match_change(review, *position)
        if inside is not None:
            show(ctx, lambda view: label_problems(view.match(inside)))
            show_label_fields(ctx, review)

    def on_class(self, ctx: foo.ExecutionContext) -> None:
        """Show the samples of a class in one bin of its distribution."""
        table, choice, position = scope_table(ctx), self._choice(ctx), cell(ctx)
        if position is None or not table.sources or not table.label_path:
            return
        rows, (row, column) = class_rows(table, choice), position
        if row >= len(rows.classes) or column >= len(rows.edges) - 1:
            return
        # $literal, because MongoDB would take a class "$x" for a field
        label = E({"$literal": table.classes[rows.classes[row]]})
        inside = match_bins(score_field(choice.first), rows.edges, column, column)
        show(ctx, lambda view: view.match((F(table.label_path) == label) & inside))

    def on_example(self, ctx: foo.ExecutionContext) -> None:
        """Show one sample in the grid."""
        id = sample_id(ctx)
        if id is not None:
            show(ctx, lambda view: view.select([id]))

    def _show_cells(self, ctx: foo.ExecutionContext, points: list[int]) -> None:
        choice = self._choice(ctx)
        if not choice.first:
            return
        histogram = pair_histogram(scope_table(ctx), choice)
        _show_inside(ctx, histogram.match(points, score_field(*choice.x), score_field(*choice.y)))

    def _show_map(self, ctx: foo.ExecutionContext, points: list[int]) -> None:
        table, choice = scope_table(ctx), self._choice(ctx)
        if missing_for_map(table, choice.first) or not choice.first:
            return
        x, y = (score_field(choice.first, score) for score in MAP_SCORES[:2])
        _show_inside(ctx, bin_map(table, choice).cells.match(points, x, y))

    def _show_bars(self, ctx: foo.ExecutionContext, points: list[int]) -> None:
        choice = self._choice(ctx)
        if not choice.first:
            return
        edges = histogram_edges(scope_table(ctx), choice)
        points = [point for point in points if point < len(edges) - 1]
        if points:
            _show_inside(ctx, match_bins(score_field(*choice.x), edges, min(points), max(points)))

    # drawing

    def render(self, ctx: foo.ExecutionContext) -> types.Property:
        """Lay out the panel."""
        return lay_out(self, ctx, scope_table(ctx), self._choice(ctx))

    def _choice(self, ctx: foo.ExecutionContext) -> Choice:
        return Choice.read(ctx, scope_table(ctx))

    def _hash_drawn(self, ctx: foo.ExecutionContext) -> str:
        """Return a short hash of everything that the plots of the open tab depend on."""
        table, choice = scope_table(ctx), self._choice(ctx)
        selection = sorted(selected(ctx)) if choice.tab == "curves" else None
        has_review = choice.tab == "labels" and scope_review(ctx) is not None
        # these tabs show more of the samples than their scores
        state = dataset_state(ctx.dataset) if choice.tab in ("labels", "examples") else None
        return fingerprint(str((table.version, scope_of(ctx).fingerprint, choice, selection, has_review, state)))

    def _set_controls(self, ctx: foo.ExecutionContext, choice: Choice) -> None:
        """Make the dropdowns show the choices, some of which may be defaults."""
        for name in ("first", "quantity", "second", "against"):
            if ctx.panel.get_state(f"controls.{name}") != getattr(choice, name):
                ctx.panel.set_state(f"controls.{name}", getattr(choice, name))

    def _draw(self, ctx: foo.ExecutionContext) -> None:
        """Send the plot data of the open tab."""
        table, choice = scope_table(ctx), self._choice(ctx)
        ctx.panel.set_state("drawn", self._hash_drawn(ctx))
        if not table.sources:
            return
        self._set_controls(ctx, choice)
        for name, (traces, _) in draw_plots(ctx, table, choice).items():
            ctx.panel.set_data(name, traces)
        if choice.tab == "examples":
            _draw_examples(ctx, table, choice)


def _draw_examples(ctx: foo.ExecutionContext, table: ScoreTable, choice: Choice) -> None:
    """Put images and captions of the easiest and hardest samples into the state."""
    for name, indices in find_examples(table, choice).items():
        ids = unpack_ids(table.ids[indices])
        files = dict(zip(*ctx.dataset.select(ids).values(["id", "filepath"]), strict=True))
        examples: list[dict[str, str]] = []
        for index, id in zip(indices.tolist(), ids, strict=True):
            label = table.classes[table.labels[index]] if table.labels[index] >= 0 else ""
            ranks = [f"{int(table.values(model, 'rank')[index]):,}" for model in dict.fromkeys(choice.pair)]
            picture = f"/media?filepath={quote(files.get(id, ''))}"
            ctx.panel.set_state(f"{name}.image_{len(examples)}.picture", picture)
            examples.append({"id": id, "label": str(label), "ranks": " / ".join(ranks)})
        ctx.panel.set_state(f"shown_{name}", examples)


def _show_inside(ctx: foo.ExecutionContext, inside: F | None) -> None:
    if inside is not None:
        show(ctx, lambda view: view.match(inside))
