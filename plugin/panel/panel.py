"""The panel "Learnability": what is drawn and laid out, and what its controls and plots do to the grid.

Each event redraws only what it changed (``panel.data`` of the open tab); ``render`` lays out what is there. Events of
FiftyOne come doubled, on mount and when state is set, so that each handler returns early when nothing has changed.
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

from ..jobs.job import Job, cancel_job, dismiss_job, latest_job
from ..names import APPLY_FIXES, COMPUTE, SAVE_VIEW, SUGGEST_FIXES, TAG, WRITE_SCORES, network_label
from ..private_dataset import private_dataset
from .binning import within
from .data_map import MAP_SCORES
from .events import boxed, cell, check_event, clicked, sample_id, selected
from .layout import lay_out
from .marks import fingerprint
from .review import match_change, show_labels
from .scope import reset, scope_of, scope_review, scope_table, show
from .table import ScoreTable, load_ahead, state_of
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
    """Compares how networks rank the samples, and sorts, filters and tags the grid by difficulty."""

    @property
    def config(self) -> foo.PanelConfig:
        """What FiftyOne needs to know of the panel."""
        return foo.PanelConfig(
            name=PANEL,
            label="Learnability",
            icon="insights",
            help_markdown="Which samples networks find easy and hard to learn. A click or a dragged box in a plot "
            "shows those samples in the grid.",
        )

    def execute(self, ctx: foo.ExecutionContext) -> Any:
        """Answers an event, after a look at what it brings."""
        check_event(ctx)
        return super().execute(ctx)

    # events of the App

    def on_load(self, ctx: foo.ExecutionContext) -> None:
        """Draws everything."""
        self._look_at_job(ctx)
        self._draw(ctx)
        # not before: beside it, to draw the first plots takes several times as long
        load_ahead(ctx.dataset, scope_table(ctx).models)

    def on_change_dataset(self, ctx: foo.ExecutionContext) -> None:
        """Starts over with another dataset."""
        ctx.panel.set_state({"own": {}, "controls": {}})
        self.on_load(ctx)

    def on_change_view(self, ctx: foo.ExecutionContext) -> None:
        """Follows the view and the filters, but for what the panel itself has put there."""
        if ctx.panel.get_state("drawn") != self._drawn(ctx):
            self._draw(ctx)

    def on_change_selected(self, ctx: foo.ExecutionContext) -> None:
        """Draws the curves of the selected samples."""
        self.on_change_view(ctx)

    def on_timer(self, ctx: foo.ExecutionContext) -> None:
        """Looks how far the job is; when it has ended, the grid gets the new fields."""
        before = ctx.panel.get_state("job") or {}
        job = self._look_at_job(ctx)
        if job is not None and job.state == "completed" and before.get("state") in ("queued", "running"):
            ctx.ops.reload_dataset()
            # what it has to say besides stands in the panel
            ctx.ops.notify(f"{job.title}: done", variant="warning" if job.remarks else "success")
            self._draw(ctx)

    def _look_at_job(self, ctx: foo.ExecutionContext) -> Job | None:
        job = latest_job(ctx.dataset)
        state = {} if job is None else asdict(job)
        if state != ctx.panel.get_state("job"):
            ctx.panel.set_state("job", state)
        return job

    # events of the panel's own controls

    def on_tab(self, ctx: foo.ExecutionContext) -> None:
        """Draws the tab that was opened."""
        self.on_change_view(ctx)

    def on_control(self, ctx: foo.ExecutionContext) -> None:
        """Draws for other networks or another quantity."""
        self.on_change_view(ctx)
        # a network cannot be compared with itself: the dropdowns tell what is drawn instead
        self._set_controls(ctx, self._choice(ctx))

    def on_compute(self, ctx: foo.ExecutionContext) -> None:
        """Opens the form."""
        ctx.prompt(COMPUTE, on_success=self.on_timer)

    def on_cancel(self, ctx: foo.ExecutionContext) -> None:
        """Stops the training for good."""
        job = latest_job(ctx.dataset)
        if job is not None and not cancel_job(job.id):
            ctx.ops.notify("Too late to cancel: the scores are being written", variant="warning")
        self._look_at_job(ctx)

    def on_dismiss(self, ctx: foo.ExecutionContext) -> None:
        """Takes the message of an ended job away."""
        job = latest_job(ctx.dataset)
        if job is not None:
            # another page may have started one meanwhile, which is none of those that can be dismissed
            dismiss_job(job.id)
        self._look_at_job(ctx)

    def on_hardest(self, ctx: foo.ExecutionContext) -> None:
        """Sorts the grid, hardest first."""
        show(ctx, lambda view: sort_by_learnability(view, self._choice(ctx).first))

    def on_easiest(self, ctx: foo.ExecutionContext) -> None:
        """Sorts the grid, easiest first."""
        show(ctx, lambda view: sort_by_learnability(view, self._choice(ctx).first, easiest_first=True))

    def on_disagreement(self, ctx: foo.ExecutionContext) -> None:
        """Shows what the first network finds easier than the second, most so first."""
        first, second = self._choice(ctx).pair
        if first == second:
            ctx.ops.notify("Choose two networks to see where they disagree", variant="info")
            return
        show(ctx, lambda view: disagreement(view, first, second))

    def on_write_map(self, ctx: foo.ExecutionContext) -> None:
        """Writes the scores that the data map needs, which the run has measured."""
        table, model = scope_table(ctx), self._choice(ctx).first
        lacking = missing_for_map(table, model)
        if not lacking:
            # the second click of two
            return
        try:
            with private_dataset(ctx):
                added = add_scores(ctx.dataset, lacking, [model])
        except ValueError as error:
            ctx.ops.notify(f"They cannot be written: {error}", variant="error")
            return
        ctx.ops.reload_dataset()
        ctx.ops.notify(f"Wrote {', '.join(added)} by {network_label(model)}", variant="success")
        self._draw(ctx)

    def on_write_scores(self, ctx: foo.ExecutionContext) -> None:
        """Opens the form that writes more scores of the shown network."""
        ctx.prompt(WRITE_SCORES, params={"models": [self._choice(ctx).first]}, on_success=self.on_written)

    def on_suggest(self, ctx: foo.ExecutionContext) -> None:
        """Opens the form that suggests labels."""
        ctx.prompt(SUGGEST_FIXES, on_success=self.on_written)

    def on_accept(self, ctx: foo.ExecutionContext) -> None:
        """Opens the form that applies the suggestions for the selected samples."""
        if not ctx.selected:
            ctx.ops.notify("Select samples in the grid first: their suggested labels are accepted", variant="info")
            return
        ctx.prompt(APPLY_FIXES, params={"view_target": "SELECTED_SAMPLES"}, on_success=self.on_written)

    def on_written(self, ctx: foo.ExecutionContext) -> None:
        """Draws what a form has written."""
        self.on_change_view(ctx)

    def on_mislabelled(self, ctx: foo.ExecutionContext) -> None:
        """Shows the samples that are probably mislabelled, with given and suggested label."""
        self._show_problems(ctx, MISLABELLED)

    def on_hard(self, ctx: foo.ExecutionContext) -> None:
        """Shows the samples that are hard but plausible, with given and suggested label."""
        self._show_problems(ctx, HARD)

    def _show_problems(self, ctx: foo.ExecutionContext, verdict: str) -> None:
        review = scope_review(ctx)
        if review is not None:
            show(ctx, lambda view: label_problems(view, verdict))
            show_labels(ctx, review)

    def on_tag(self, ctx: foo.ExecutionContext) -> None:
        """Opens the form that tags samples by difficulty."""
        ctx.prompt(TAG, params={"model": self._choice(ctx).first})

    def on_save_view(self, ctx: foo.ExecutionContext) -> None:
        """Opens FiftyOne's form that saves the current view."""
        ctx.prompt(SAVE_VIEW)

    def on_reset(self, ctx: foo.ExecutionContext) -> None:
        """Takes the panel's sorting and filtering off the grid."""
        reset(ctx)

    # events of the plots

    def on_matrix(self, ctx: foo.ExecutionContext) -> None:
        """Chooses the pair of a cell."""
        models = scope_table(ctx).models
        if (place := cell(ctx)) is None:
            return
        row, column = place
        # an event may be of a plot that has changed meanwhile
        if row != column and max(row, column) < len(models):
            ctx.panel.set_state({"controls.first": models[row], "controls.second": models[column]})
            self.on_change_view(ctx)

    def on_pair_click(self, ctx: foo.ExecutionContext) -> None:
        """Shows the samples of a cell."""
        self._show_cells(ctx, clicked(ctx))

    def on_pair_box(self, ctx: foo.ExecutionContext) -> None:
        """Shows the samples of all cells in a box."""
        self._show_cells(ctx, boxed(ctx))

    def on_map_click(self, ctx: foo.ExecutionContext) -> None:
        """Shows the samples of a cell of the data map."""
        self._show_map(ctx, clicked(ctx))

    def on_map_box(self, ctx: foo.ExecutionContext) -> None:
        """Shows the samples of all cells of the data map in a box."""
        self._show_map(ctx, boxed(ctx))

    def on_histogram_click(self, ctx: foo.ExecutionContext) -> None:
        """Shows the samples of a bar."""
        self._show_bars(ctx, clicked(ctx))

    def on_histogram_box(self, ctx: foo.ExecutionContext) -> None:
        """Shows the samples of a range."""
        self._show_bars(ctx, boxed(ctx))

    def on_change_of_label(self, ctx: foo.ExecutionContext) -> None:
        """Shows the samples of a given and a suggested label, most contradicted first."""
        review, place = scope_review(ctx), cell(ctx)
        if review is None or place is None:
            return
        inside = match_change(review, *place)
        if inside is not None:
            show(ctx, lambda view: label_problems(view.match(inside)))
            show_labels(ctx, review)

    def on_class(self, ctx: foo.ExecutionContext) -> None:
        """Shows the samples of a class that lie in a cell of its distribution."""
        table, choice, place = scope_table(ctx), self._choice(ctx), cell(ctx)
        if place is None or not table.sources or not table.label_path:
            return
        rows, (row, column) = class_rows(table, choice), place
        if row >= len(rows.classes) or column >= len(rows.edges) - 1:
            return
        # not bare, since MongoDB would take a class "$x" for a field
        label, edges = E({"$literal": table.classes[rows.classes[row]]}), rows.edges
        inside = within(score_field(choice.first), edges, column, column)
        show(ctx, lambda view: view.match((F(table.label_path) == label) & inside))

    def on_example(self, ctx: foo.ExecutionContext) -> None:
        """Shows one sample in the grid."""
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
            _show_inside(ctx, within(score_field(*choice.x), edges, min(points), max(points)))

    # drawing

    def render(self, ctx: foo.ExecutionContext) -> types.Property:
        """Lays out what is drawn."""
        return lay_out(self, ctx, scope_table(ctx), self._choice(ctx))

    def _choice(self, ctx: foo.ExecutionContext) -> Choice:
        return Choice.read(ctx, scope_table(ctx))

    def _drawn(self, ctx: foo.ExecutionContext) -> str:
        """A mark of all that the drawing depends on, short even where thousands of samples are selected."""
        table, choice = scope_table(ctx), self._choice(ctx)
        chosen = sorted(selected(ctx)) if choice.tab == "curves" else None
        suggested = choice.tab == "labels" and scope_review(ctx) is not None
        # what these show of samples is more than their scores
        state = state_of(ctx.dataset) if choice.tab in ("labels", "examples") else None
        return fingerprint(str((id(table), scope_of(ctx).mark, choice, chosen, suggested, state)))

    def _set_controls(self, ctx: foo.ExecutionContext, choice: Choice) -> None:
        for name in ("first", "quantity", "second", "against"):
            if ctx.panel.get_state(f"controls.{name}") != getattr(choice, name):
                ctx.panel.set_state(f"controls.{name}", getattr(choice, name))

    def _draw(self, ctx: foo.ExecutionContext) -> None:
        """Sends the data of the open tab."""
        table, choice = scope_table(ctx), self._choice(ctx)
        ctx.panel.set_state("drawn", self._drawn(ctx))
        if not table.sources:
            return
        # the dropdowns show what is in the state, so that a default must be put there too
        self._set_controls(ctx, choice)
        for name, (traces, _) in draw_plots(ctx, table, choice).items():
            ctx.panel.set_data(name, traces)
        if choice.tab == "examples":
            _draw_examples(ctx, table, choice)


def _draw_examples(ctx: foo.ExecutionContext, table: ScoreTable, choice: Choice) -> None:
    """Puts files and captions of the easiest and hardest samples into the state."""
    for name, indices in find_examples(table, choice).items():
        ids = unpack_ids(table.ids[indices])
        files = dict(zip(*ctx.dataset.select(ids).values(["id", "filepath"]), strict=True))
        shown = []
        for index, id in zip(indices.tolist(), ids, strict=True):
            label = table.classes[table.labels[index]] if table.labels[index] >= 0 else ""
            ranks = [f"{int(table.values(model, 'rank')[index]):,}" for model in dict.fromkeys(choice.pair)]
            shown.append({"id": id, "label": str(label), "ranks": " / ".join(ranks)})
            ctx.panel.set_state(f"{name}.image_{len(shown) - 1}.picture", f"/media?filepath={quote(files.get(id, ''))}")
        ctx.panel.set_state(f"shown_{name}", shown)


def _show_inside(ctx: foo.ExecutionContext, inside: F | None) -> None:
    if inside is not None:
        show(ctx, lambda view: view.match(inside))
