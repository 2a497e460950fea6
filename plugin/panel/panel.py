"""The Learnability panel: its events, and what they do to the panel and the grid.

After each event, ``render`` lays out the whole panel anew, with the data of its plots. Nothing is written into the
panel's state: each change of it would make the App reload its page, which drops the filters of the sidebar, and plots
would be merged with what the state still holds of earlier ones. What must be kept between events, the server
remembers: :mod:`.choices` and :mod:`.scope`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import and_
from typing import Any

import fiftyone.core.collections as foc
import fiftyone.core.view as fov
import fiftyone.operators as foo
import fiftyone.operators.types as types
import numpy as np
from fiftyone import ViewExpression as E
from fiftyone import ViewField as F

from fiftyone_learnability import (
    WriteError,
    add_scores,
    decide_labels,
    disagreement,
    label_problems,
    sort_by_learnability,
    undo_decisions,
)
from fiftyone_learnability.dataset.appearance import PANEL
from fiftyone_learnability.dataset.arrays import unpack_ids
from fiftyone_learnability.dataset.notes import fields_of, rank_field, score_field
from fiftyone_learnability.dataset.registry import list_runs
from fiftyone_learnability.dataset.selections import select_samples
from fiftyone_learnability.dataset.suggestions import ACCEPTED
from fiftyone_learnability.scores.label_errors import HARD, MISLABELLED

from ..archives import load_ahead
from ..jobs.job import cancel_job, dismiss_job, latest_job, params_of, rerun_job, unreadable_samples
from ..jobs.remedies import CHANGE, SHOW, WITHOUT
from ..names import (
    APPLY_FIXES,
    COMPUTE,
    MANAGE_RUNS,
    REVIEW_FIXES,
    SAVE_VIEW,
    SUGGEST_FIXES,
    TAG,
    format_count,
    network_label,
    score_label,
)
from ..private_dataset import private_dataset
from ..runs import AGAIN, DELETE, RENAME, prompt_again
from .binning import Bins, Histogram2D
from .choices import OVERVIEW, Choice, choose, option_named
from .classes import samples_of_cell, scope_classes
from .data_map import MAP_SCORES
from .embedding import place_samples, samples_in_cells
from .events import boxed, cell, check_event, clicked, sample_id, table_cell
from .figures import Axis
from .layout import describe_job, lay_out
from .review import label_fields, match_change, scope_review
from .scope import Mark, reset, restore_filters, show
from .table import ScoreTable, dataset_state, keep_scores, scope_table
from .tabs import bin_map, embedding_map, histogram_edges, missing_for_map, pair_histogram

MOST_SORTED = 5_000
"""The largest number of samples that a view sorts by their ids: MongoDB searches all ids for each sample."""


class LearnabilityPanel(foo.Panel):
    """Compare how networks rank the samples, and sort, filter and tag the grid by difficulty."""

    @property
    def config(self) -> foo.PanelConfig:
        """Name, label and icon of the panel."""
        return foo.PanelConfig(
            name=PANEL,
            label="Learnability",
            icon="insights",
            category=foo.Categories.ANALYZE,
            help_markdown="See which samples networks find easy or hard to learn. Click in a plot or drag a box to "
            "show its samples in the grid.",
        )

    def execute(self, ctx: foo.ExecutionContext) -> Any:
        """Check an event, then handle it and lay out the panel, unless nothing has changed."""
        check_event(ctx)
        if self._is_irrelevant(ctx):
            return None
        result = super().execute(ctx)
        if ctx.params.get("__method__") == "on_load":
            # only now: loading in parallel would make the first plots take several times as long
            load_ahead(ctx.dataset, scope_table(ctx).models)
        return result

    def _is_irrelevant(self, ctx: foo.ExecutionContext) -> bool:
        """Return whether an event leaves the panel as it is."""
        method = ctx.params.get("__method__")
        if method == "on_timer":
            return bool(ctx.params.get("seen") == describe_job(latest_job(ctx.dataset)))
        return method == "on_change_selected" and Choice.read(ctx).tab != "curves"

    # events of the App; `render` then shows what has changed

    def on_load(self, ctx: foo.ExecutionContext) -> None:
        """Open the panel."""

    def on_change_dataset(self, ctx: foo.ExecutionContext) -> None:
        """Follow the App to another dataset."""

    def on_change_view(self, ctx: foo.ExecutionContext) -> None:
        """Follow a new view, or new filters in the sidebar."""
        restore_filters(ctx)

    def on_change_selected(self, ctx: foo.ExecutionContext) -> None:
        """Follow the selection, whose curves are drawn."""

    def on_timer(self, ctx: foo.ExecutionContext) -> None:
        """Follow the job; when it completes, load the new fields."""
        job = latest_job(ctx.dataset)
        if job is not None and job.state == "completed" and ctx.params.get("running") == job.id:
            ctx.ops.reload_dataset()
            # the panel itself shows the remarks
            ctx.ops.notify(f"{job.title}: done", variant="warning" if job.remarks else "success")

    # events of the panel's own controls

    def on_tab(self, ctx: foo.ExecutionContext) -> None:
        """Open a tab."""
        choose(ctx, tab=ctx.params.get("tab"), more=0)

    def on_more(self, ctx: foo.ExecutionContext) -> None:
        """Show more classes or examples."""
        choose(ctx, more=Choice.read(ctx).more + 1)

    def on_order(self, ctx: foo.ExecutionContext) -> None:
        """Choose the order of classes."""
        choose(ctx, order=ctx.params.get("order"))

    def on_embedding(self, ctx: foo.ExecutionContext) -> None:
        """Choose the visualization."""
        choose(ctx, embedding=ctx.params.get("embedding"))

    def on_first(self, ctx: foo.ExecutionContext) -> None:
        """Choose the network."""
        self._choose(ctx, "first")

    def on_quantity(self, ctx: foo.ExecutionContext) -> None:
        """Choose the score of the network."""
        self._choose(ctx, "quantity")

    def on_second(self, ctx: foo.ExecutionContext) -> None:
        """Choose the network to compare with."""
        self._choose(ctx, "second")

    def on_against(self, ctx: foo.ExecutionContext) -> None:
        """Choose the score to compare with."""
        self._choose(ctx, "against")

    def _choose(self, ctx: foo.ExecutionContext, name: str) -> None:
        value = option_named(scope_table(ctx), Choice.read(ctx), name, ctx.params.get("value"))
        choose(ctx, **{name: value})

    def on_compute(self, ctx: foo.ExecutionContext) -> None:
        """Open the form that starts a computation."""
        ctx.prompt(COMPUTE, on_success=self.on_written)

    def on_cancel(self, ctx: foo.ExecutionContext) -> None:
        """Cancel the job."""
        job = latest_job(ctx.dataset)
        if job is not None and not cancel_job(job.id):
            ctx.ops.notify("Too late to cancel: the scores are being written", variant="warning")

    def on_dismiss(self, ctx: foo.ExecutionContext) -> None:
        """Remove the message of an ended job."""
        job = latest_job(ctx.dataset)
        if job is not None:
            # has no effect on a job that another page has started meanwhile
            dismiss_job(job.id)

    def on_job_action(self, ctx: foo.ExecutionContext) -> None:
        """Do what the message of a failed job offers."""
        job, name = latest_job(ctx.dataset), ctx.params.get("action")
        # another page may have dismissed it, or started it again
        if job is None or job.id != ctx.params.get("job") or name not in [action.name for action in job.actions]:
            return
        if name == SHOW:
            ids = unreadable_samples(job.id)
            show(ctx, "images that cannot be read", lambda view: view.select(ids), count=len(ids))
        elif name == CHANGE:
            ctx.prompt(COMPUTE, params=params_of(job.id), on_success=self.on_written)
        else:
            rerun_job(ctx.dataset, job.id, **({"skip_failures": True} if name == WITHOUT else {}))

    def on_run_action(self, ctx: foo.ExecutionContext) -> None:
        """Open the form that renames or deletes a run, or computes it again."""
        key, action = ctx.params.get("run"), ctx.params.get("action")
        # another page may have renamed or deleted it
        if key not in list_runs(ctx.dataset):
            return
        if action == AGAIN:
            try:
                prompt_again(ctx, key, self.on_written)
            except ValueError as error:
                ctx.ops.notify(str(error), variant="error")
        elif action in (RENAME, DELETE):
            ctx.prompt(MANAGE_RUNS, params={"key": key, "action": action}, on_success=self.on_written)

    def on_hardest(self, ctx: foo.ExecutionContext) -> None:
        """Sort the grid, hardest first."""
        model = Choice.read(ctx).first
        what = f"sorted by {score_label('learnability', model)}, hardest first"
        show(ctx, what, lambda view: sort_by_learnability(view, model), fields=fields_of([model]))

    def on_easiest(self, ctx: foo.ExecutionContext) -> None:
        """Sort the grid, easiest first."""
        model = Choice.read(ctx).first
        what = f"sorted by {score_label('learnability', model)}, easiest first"
        fields = fields_of([model])
        show(ctx, what, lambda view: sort_by_learnability(view, model, easiest_first=True), fields=fields)

    def on_first_easier(self, ctx: foo.ExecutionContext) -> None:
        """Show the samples that the first network finds easier than the second, largest difference first."""
        self._show_disagreement(ctx, *Choice.read(ctx).pair)

    def on_second_easier(self, ctx: foo.ExecutionContext) -> None:
        """Show the samples that the second network finds easier than the first, largest difference first."""
        first, second = Choice.read(ctx).pair
        self._show_disagreement(ctx, second, first)

    def on_either_easier(self, ctx: foo.ExecutionContext) -> None:
        """Show the samples that both networks rank differently, largest difference in either direction first."""
        self._show_disagreement(ctx, *Choice.read(ctx).pair, either_way=True)

    def _show_disagreement(self, ctx: foo.ExecutionContext, easier: str, harder: str, either_way: bool = False) -> None:
        if easier == harder:
            return
        table = scope_table(ctx)
        difference = table.values(harder, "rank") - table.values(easier, "rank")
        count = int((difference > 0).sum() + (either_way and (difference < 0).sum()))
        names = network_label(easier), network_label(harder)
        what = "ranked differently by {} and {}" if either_way else "easier for {} than for {}"
        show(
            ctx,
            what.format(*names) + ", largest difference first",
            lambda view: disagreement(view, easier, harder, either_way=either_way),
            count=count,
            fields=[rank_field(easier), rank_field(harder)],
        )

    def on_highest(self, ctx: foo.ExecutionContext) -> None:
        """Sort the grid by the score of the first network, highest first."""
        self._sort(ctx, "highest first", -1)

    def on_lowest(self, ctx: foo.ExecutionContext) -> None:
        """Sort the grid by the score of the first network, lowest first."""
        self._sort(ctx, "lowest first", 1)

    def _sort(self, ctx: foo.ExecutionContext, order: str, sign: int) -> None:
        table, axis = scope_table(ctx), Choice.read(ctx).x
        if not axis[0]:
            return
        values, field = table.values(*axis), score_field(*axis)
        what = f"sorted by {score_label(axis[1], axis[0])}, {order}"
        known = np.flatnonzero(~np.isnan(values))
        if table.is_written(axis):
            show(
                ctx,
                what,
                lambda view: view.exists(field).sort_by(field, reverse=sign < 0),
                count=len(known),
                fields=[field],
            )
            return
        first = known[np.argsort(sign * values[known], kind="stable")][:MOST_SORTED]
        ids = unpack_ids(table.ids[first])
        what += "" if len(first) == len(known) else f", the first {format_count(MOST_SORTED)}"
        show(ctx, what, lambda view: view.select(ids, ordered=True), count=len(first))

    def on_write(self, ctx: foo.ExecutionContext) -> None:
        """Write the score of the first network, which its run has measured."""
        table, (model, score) = scope_table(ctx), Choice.read(ctx).x
        if not model or table.is_written((model, score)):
            # the second click of a double click
            return
        try:
            with private_dataset(ctx):
                added = add_scores(ctx.dataset, [score], [model])
        except ValueError as error:
            ctx.ops.notify(f"The score cannot be written: {error}", variant="error")
            return
        ctx.ops.reload_dataset()
        ctx.ops.notify(f"Wrote {', '.join(added)}", variant="success")

    def on_suggest(self, ctx: foo.ExecutionContext) -> None:
        """Open the form that suggests labels."""
        ctx.prompt(SUGGEST_FIXES, on_success=self.on_written)

    def on_accept(self, ctx: foo.ExecutionContext) -> None:
        """Open the form that accepts the suggestions for the selected samples."""
        if not ctx.selected:
            ctx.ops.notify("Select samples in the grid first, then accept their suggested labels", variant="info")
            return
        ctx.prompt(APPLY_FIXES, params={"view_target": "SELECTED_SAMPLES"}, on_success=self.on_written)

    def on_review(self, ctx: foo.ExecutionContext) -> None:
        """Open the overview of labels, or the review of the suggestions with a verdict; first ask where labels go."""
        review, asked = scope_review(ctx), ctx.params.get("review")
        if asked == OVERVIEW or (review is not None and review.target is not None):
            choose(ctx, review=asked)
        elif review is not None:
            ctx.prompt(REVIEW_FIXES, on_success=self.on_review_started)

    def on_review_started(self, ctx: foo.ExecutionContext) -> None:
        """Open the review once it is known where accepted labels go."""
        review, choice = scope_review(ctx), Choice.read(ctx)
        if review is not None and review.target is not None and choice.review == OVERVIEW:
            choose(ctx, review=MISLABELLED)

    def on_change_target(self, ctx: foo.ExecutionContext) -> None:
        """Ask again where accepted labels go."""
        ctx.prompt(REVIEW_FIXES, on_success=self.on_review_started)

    def on_decide(self, ctx: foo.ExecutionContext) -> None:
        """Write the decision about a suggestion; the next one is then shown."""
        review, id, decision = scope_review(ctx), sample_id(ctx), ctx.params.get("decision")
        queue = () if review is None else review.queues.get(Choice.read(ctx).review, ())
        # a second click comes from a page that still shows the one before
        if review is None or review.target is None or id not in [one.id for one in queue]:
            return
        before = dataset_state(ctx.dataset)
        try:
            decide_labels(ctx.dataset.select([id]), decision)
        except (ValueError, WriteError) as error:
            ctx.ops.notify(f"The decision cannot be written: {error}", variant="error")
            return
        keep_scores(ctx.dataset, before, [id])
        if decision == ACCEPTED and id in (ctx.selected or ()):
            ctx.ops.set_selected_samples([other for other in ctx.selected if other != id])

    def on_undo(self, ctx: foo.ExecutionContext) -> None:
        """Take back the last decision, and ask about it again."""
        before = dataset_state(ctx.dataset)
        try:
            ids = undo_decisions(ctx.dataset)
        except (ValueError, WriteError) as error:
            ctx.ops.notify(f"The decision cannot be taken back: {error}", variant="error")
            return
        keep_scores(ctx.dataset, before, ids)
        review = scope_review(ctx)
        queues = {} if review is None else review.queues
        again = next((verdict for verdict, queue in queues.items() if {one.id for one in queue} & set(ids)), None)
        if again is not None:
            choose(ctx, review=again)
        else:
            text = "Took back a decision about samples outside this view" if ids else "There is nothing to take back"
            ctx.ops.notify(text, variant="info")

    def on_written(self, ctx: foo.ExecutionContext) -> None:
        """Show what a form has written or started."""

    def on_mislabelled(self, ctx: foo.ExecutionContext) -> None:
        """Show the samples that are probably mislabelled, with given and suggested label."""
        self._show_problems(ctx, MISLABELLED, "probably mislabelled, most contradicted first")

    def on_hard(self, ctx: foo.ExecutionContext) -> None:
        """Show the samples that are hard but plausible, with given and suggested label."""
        self._show_problems(ctx, HARD, "hard but plausible, most contradicted first")

    def _show_problems(self, ctx: foo.ExecutionContext, verdict: str, what: str) -> None:
        review = scope_review(ctx)
        if review is not None:
            count, fields = review.counts[verdict], label_fields(review)
            show(ctx, what, lambda view: label_problems(view, verdict), count=count, fields=fields)

    def on_tag(self, ctx: foo.ExecutionContext) -> None:
        """Open the form that tags samples by difficulty."""
        ctx.prompt(TAG, params={"model": Choice.read(ctx).first})

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
            choose(ctx, first=models[row], second=models[column])

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

    def on_embeddings_click(self, ctx: foo.ExecutionContext) -> None:
        """Show the samples in a place of the visualization."""
        self._show_embeddings(ctx, clicked(ctx))

    def on_embeddings_lasso(self, ctx: foo.ExecutionContext) -> None:
        """Show the samples in all places inside a lasso."""
        self._show_embeddings(ctx, boxed(ctx))

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
            row, column = position
            what = f"labelled {review.given[row]}, suggested {review.suggested[column]}"
            mark = Mark("changes", Choice.read(ctx), _around(column), _around(row))
            count = review.changes[review.given[row], review.suggested[column]]
            show(ctx, what, lambda view: label_problems(view.match(inside)), mark, count, label_fields(review))

    def on_class(self, ctx: foo.ExecutionContext) -> None:
        """Show the samples of a class in one bin of its distribution."""
        table, choice, position = scope_table(ctx), Choice.read(ctx), cell(ctx)
        if position is None or not table.sources or not table.label_path:
            return
        classes, (row, column) = scope_classes(ctx, table, choice), position
        if row >= len(classes.rows) or column >= len(classes.edges) - 1:
            return
        of, bins = classes.rows[row], Bins(classes.edges, column, column)
        # $literal, because MongoDB would take a class "$x" for a field
        inside = (F(table.label_path) == E({"$literal": of.label})) & bins.match(score_field(choice.first))
        what = f"{of.label}, {_describe((choice.first, 'learnability'), bins)}"
        mark = Mark("classes", choice, bins.limits, _around(row))
        show(ctx, what, lambda view: view.match(inside), mark, of.bins[column], fields_of([choice.first]))

    def on_class_cell(self, ctx: foo.ExecutionContext) -> None:
        """Show the samples that a cell of the table of classes is about."""
        table, choice, position = scope_table(ctx), Choice.read(ctx), table_cell(ctx)
        if position is None or not table.sources:
            return
        row, column = position
        samples = samples_of_cell(scope_classes(ctx, table, choice), table, choice, row, column)
        if samples is not None:
            mark = Mark("class_table", choice, _around(column), _around(row))
            fields = fields_of([choice.first]) if samples.review is None else label_fields(samples.review)
            show(ctx, samples.what, samples.narrow, mark, samples.count, fields)

    def on_example(self, ctx: foo.ExecutionContext) -> None:
        """Show one sample in the grid."""
        id = sample_id(ctx)
        if id is not None:
            choice = Choice.read(ctx)
            mark = Mark(f"example {id}", choice, (0, 1), None)
            fields = [*map(rank_field, dict.fromkeys(choice.pair))]
            show(ctx, "the example that you clicked", lambda view: view.select([id]), mark, 1, fields)

    def _show_cells(self, ctx: foo.ExecutionContext, points: list[int]) -> None:
        choice = Choice.read(ctx)
        if choice.first:
            _show_box(ctx, "pair", choice, pair_histogram(scope_table(ctx), choice), points, (choice.x, choice.y))

    def _show_map(self, ctx: foo.ExecutionContext, points: list[int]) -> None:
        table, choice = scope_table(ctx), Choice.read(ctx)
        if missing_for_map(table, choice.first) or not choice.first:
            return
        axes = (choice.first, MAP_SCORES[0]), (choice.first, MAP_SCORES[1])
        _show_box(ctx, "map", choice, bin_map(table, choice).cells, points, axes)

    def _show_embeddings(self, ctx: foo.ExecutionContext, points: list[int]) -> None:
        table, choice = scope_table(ctx), Choice.read(ctx)
        plot = embedding_map(ctx.dataset, table, choice)
        if plot is None:
            return
        places = place_samples(ctx.dataset, table, choice.embedding)
        inside = samples_in_cells(places, table.values(*choice.x), plot, points)
        if not inside.any():
            return
        ids = unpack_ids(table.ids[inside])
        mark = Mark("embeddings", choice, (0, 0), None, tuple(points))
        what = f"images from {'a place' if len(points) == 1 else f'{len(points)} places'} of {choice.embedding}"
        show(ctx, what, lambda view: _select(view, ids), mark, len(ids))

    def _show_bars(self, ctx: foo.ExecutionContext, points: list[int]) -> None:
        choice = Choice.read(ctx)
        if not choice.first:
            return
        edges = histogram_edges(scope_table(ctx), choice)
        points = [point for point in points if point < len(edges) - 1]
        if points:
            values = scope_table(ctx).values(*choice.x)
            bins = Bins(edges, min(points), max(points))
            mark = Mark("histogram", choice, bins.limits, None)
            count = int(np.histogram(values[np.isfinite(values)], edges)[0][bins.first : bins.last + 1].sum())
            narrow = _inside(scope_table(ctx), {choice.x: bins})
            show(ctx, _describe(choice.x, bins), narrow, mark, count, [score_field(*choice.x)])

    # drawing

    def render(self, ctx: foo.ExecutionContext) -> types.Property:
        """Lay out the panel."""
        return lay_out(self, ctx, scope_table(ctx), Choice.read(ctx))


def _show_box(
    ctx: foo.ExecutionContext, plot: str, choice: Choice, cells: Histogram2D, points: list[int], axes: tuple[Axis, Axis]
) -> None:
    """Show the samples in the smallest rectangle around some points of a plot."""
    box = cells.around(points)
    if box is None:
        return
    (x, y), (x_axis, y_axis) = box, axes
    what = f"{_describe(x_axis, x)} and {_describe(y_axis, y)}"
    count = int(cells.counts[x.first : x.last + 1, y.first : y.last + 1].sum())
    narrow = _inside(scope_table(ctx), {x_axis: x, y_axis: y})
    fields = [score_field(*axis) for axis in axes]
    show(ctx, what, narrow, Mark(plot, choice, x.limits, y.limits), count, fields)


def _inside(table: ScoreTable, ranges: dict[Axis, Bins]) -> Callable[[foc.SampleCollection], fov.DatasetView]:
    """Return how to narrow a view to ranges of scores; where a score is no field, its samples are selected by id."""
    if table.is_written(*ranges):
        matches = [bins.match(score_field(*axis)) for axis, bins in ranges.items()]
        return lambda view: view.match(reduce(and_, matches))
    inside = np.logical_and.reduce([bins.contain(table.values(*axis)) for axis, bins in ranges.items()])

    ids = unpack_ids(table.ids[inside])
    return lambda view: _select(view, ids)


def _select(view: foc.SampleCollection, ids: list[str]) -> fov.DatasetView:
    """Select samples of a view.

    Raises:
        ValueError: if they are too many for a view
    """
    selected = select_samples(view, ids)
    if selected is None:
        raise ValueError(f"{len(ids):,} samples are too many for a view: choose fewer")
    return selected


def _describe(axis: Axis, bins: Bins) -> str:
    model, score = axis
    return f"{score_label(score, model)} {bins.describe(score)}"


def _around(position: int) -> tuple[float, float]:
    """Return the limits of a row or column of a heatmap whose axis names things."""
    return position - 0.5, position + 0.5
