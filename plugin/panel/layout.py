"""The layout of the panel: FiftyOne's own components, in the order in which a curator needs them.

Properties of components that can be edited must have neither a default nor a value in the panel's state: the App would
write them into the state, and reload its page (see :mod:`.panel`). So plots carry their data in their views, a choice
is a badge or a row of buttons, and names differ from those of version 0.1, whose values saved workspaces still hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import fiftyone.operators as foo
import fiftyone.operators.types as types

from fiftyone_learnability.dataset.epochs import differing_epochs
from fiftyone_learnability.dataset.evidence import describe_problems, find_evidence
from fiftyone_learnability.dataset.suggestions import ACCEPTED, KEPT, SKIPPED, Suggestion
from fiftyone_learnability.scores.catalog import SCORES
from fiftyone_learnability.scores.label_errors import HARD, MISLABELLED

from ..jobs.job import Job, latest_job
from ..jobs.remedies import CANCELLED
from ..memory import remember
from ..names import format_count, format_models, network_label, score_label
from ..runs import AGAIN, DELETE, RENAME, describe_runs, trust_lines
from . import figures
from .binning import FloatArray, describe_omitted
from .choices import ORDERS, OVERVIEW, TABS, Choice, options_of
from .classes import COLUMNS, CONFUSED, Classes, scope_classes, tabulate
from .data_map import MAP_SCORES
from .embedding import find_visualizations
from .events import selected
from .review import Review, scope_review
from .scope import Mark, fingerprint, shown_by_panel
from .table import ScoreTable
from .tabs import (
    MOST_CURVES,
    MOST_EXAMPLES,
    Example,
    Picture,
    Plots,
    draw_plots,
    find_examples,
    missing_for_map,
    num_classes,
    num_examples,
    picture_of,
    selected_curves,
)

if TYPE_CHECKING:
    from .panel import LearnabilityPanel

RUNNING_INTERVAL, IDLE_INTERVAL = 2_000, 15_000
"""Milliseconds between looks at the job."""

MOST_RUNS = 20
"""How many runs the panel describes."""

PICTURE, SMALL_PICTURE = 112, 92
"""Least width of the images of examples, and width of those beside curves, in pixels."""

HALF = {"sx": {"flex": "1 1 440px", "minWidth": 0}}
"""Puts two columns of a row side by side where the panel is wide enough, else below each other."""

REVIEW_PICTURE = 280
"""Width and height in pixels of the image that is asked about."""

NEXT_IMAGES = 8
"""Images that come next, in small."""

VERDICTS = {MISLABELLED: "Probably mislabelled", HARD: "Hard but plausible"}


@dataclass(frozen=True)
class _Page:
    """The context of the functions that lay out parts of the panel.

    Attributes:
        root: the components are added to this
        panel: its methods handle the events of the components
        ctx: the context of the event
        table: the scores of the samples in the panel's scope
        choice: the user's choices
    """

    root: types.Object
    panel: LearnabilityPanel
    ctx: foo.ExecutionContext
    table: ScoreTable
    choice: Choice


def lay_out(panel: LearnabilityPanel, ctx: foo.ExecutionContext, table: ScoreTable, choice: Choice) -> types.Property:
    """Lay out the whole panel.

    Args:
        panel: its methods handle the events of the components
        ctx: the context of the event
        table: the scores of the samples in the panel's scope
        choice: the user's choices
    """
    page = _Page(types.Object(), panel, ctx, table, choice)
    job = latest_job(ctx.dataset)
    head = _column(page.root, "head", item=_STICKY)
    if table.sources:
        _lay_out_tools(page, head)
        _lay_out_tabs(page, head)
    _lay_out_shown(page, head)
    if job is not None and job.active:
        _lay_out_progress(page, head, job)
    _lay_out_timer(page, job)
    if job is not None and not job.active:
        _lay_out_end(page, job)
    if table.sources:
        _lay_out_warnings(page)
        _lay_out_scope(page)
        _TABS[choice.tab](page, draw_plots(ctx, table, choice))
    elif job is None or not job.active:
        _lay_out_empty(page)
    # minmax makes the column as wide as the panel; by default it is only as wide as its content
    sx = {"padding": "0 12px 4px", "flexWrap": "nowrap", "gridTemplateColumns": "minmax(0, 1fr)"}
    return types.Property(
        page.root, view=types.GridView(orientation="vertical", gap=1, componentsProps={"grid": {"sx": sx}})
    )


def _lay_out_empty(page: _Page) -> None:
    page.root.md(
        "##### No scores yet\n\nTrain networks on the images of this dataset to see which images are easy, which are "
        f"hard, and which may be mislabelled. The dataset has **{format_count(page.table.num_samples)}** samples.",
        name="nothing",
    )
    _button(page.root, "compute", "Compute learnability", page.panel.on_compute, "model_training", "contained")


# the head, which stays visible


def _lay_out_tools(page: _Page, head: types.Object) -> None:
    panel, tools = page.panel, _row(head, "tools")
    if len(page.table.sources) > 1:
        _badge(page, tools, "first", "The network to sort, tag and plot by", panel.on_first)
    for name, label, handler in (
        ("hardest", "Hardest first", panel.on_hardest),
        ("easiest", "Easiest first", panel.on_easiest),
        ("tag", "Tag", panel.on_tag),
        ("save", "Save view", panel.on_save_view),
        ("compute", "Compute", panel.on_compute),
    ):
        _button(tools, name, label, handler)


def _lay_out_tabs(page: _Page, head: types.Object) -> None:
    tabs = _row(head, "tabs", gap=0, role="tablist")
    for name, label in TABS.items():
        if name == "embeddings" and not page.choice.embedding:
            continue
        chosen = name == page.choice.tab
        colour = "var(--fo-palette-primary-main)" if chosen else "transparent"
        style = {
            "color": f"text.{'primary' if chosen else 'secondary'}",
            "background": "none",
            "border": "none",
            "borderRadius": 0,
            "borderBottom": f"2px solid {colour}",
            "padding": "4px 10px",
            "&:hover": {
                "background": "none",
                "color": "text.primary",
                "border": "none",
                "borderBottom": f"2px solid {colour}",
            },
        }
        props = {"role": "tab", "aria-selected": chosen, "sx": style}
        _button(tabs, f"tab_{name}", label, page.panel.on_tab, params={"tab": name}, props=props)


def _lay_out_shown(page: _Page, head: types.Object) -> None:
    """Say what the panel shows in the grid, with a button that takes it back."""
    shown = shown_by_panel(page.ctx)
    if shown is None:
        return
    row = _row(head, "shown", align="center")
    text = shown.what[0].upper() + shown.what[1:]
    if shown.count is not None:
        text = f"Showing **{format_count(shown.count)}** of {format_count(page.table.num_samples)}: {shown.what}"
    row.md(text, name="about_shown", componentsProps=_NARROW)
    props = {"aria-label": "Reset", "sx": {"padding": "2px", "minWidth": 0}}
    _button(row, "reset", None, page.panel.on_reset, "close", description="Show what was there before", props=props)


def _lay_out_progress(page: _Page, head: types.Object, job: Job) -> None:
    waiting = "Starting…" if job.in_background else "Waiting for `fiftyone delegated launch`"
    row = _row(head, "job", align="center")
    row.md(f"**{job.title}**", name="job_title", componentsProps=_NARROW)
    wide = {"item": {"sx": {"width": "auto", "flex": "1 1 220px"}}}
    row.float(
        "job_progress",
        default=job.progress,
        view=types.ProgressView(label=job.label or waiting, componentsProps=wide),
    )
    _button(row, "cancel", "Cancel", page.panel.on_cancel, "cancel")


def _lay_out_timer(page: _Page, job: Job | None) -> None:
    seen = describe_job(job)
    running = job is not None and job.active
    timer = types.TimerView(
        interval=RUNNING_INTERVAL if running else IDLE_INTERVAL,
        on_interval=page.panel.on_timer,
        # of every window, because each has to notice by itself what has changed
        params={"seen": seen, "running": job.id if job is not None and running else None},
    )
    # a name per job, because a timer keeps the interval and the params that it was made with
    page.root.view(f"timer_{fingerprint(seen)}", timer)


def describe_job(job: Job | None) -> str:
    """Return a text that differs for all that the panel shows of a job."""
    return "" if job is None else fingerprint(asdict(job))


# below the head


def _lay_out_end(page: _Page, job: Job) -> None:
    root = page.root
    if job.state == "failed":
        severity = "info" if job.error == CANCELLED else "error"
        root.view("job_failed", types.AlertView(severity=severity, label=job.title, description=job.sentence))
        row = _row(root, "job_actions")
        for action in job.actions:
            params = {"action": action.name, "job": job.id}
            _button(row, action.name, action.label, page.panel.on_job_action, action.icon, params=params)
        _button(row, "dismiss", "Dismiss", page.panel.on_dismiss, "close")
    elif job.remarks:
        description = "Done, with remarks: " + "; ".join(job.remarks)
        root.view("job_remarks", types.AlertView(severity="warning", label=job.title, description=description))
        _button(root, "dismiss", "Dismiss", page.panel.on_dismiss, "close")


def _lay_out_warnings(page: _Page) -> None:
    """Say what the scores of each network rest on; warn of those at chance, and of different numbers of epochs."""
    table, dataset = page.table, page.ctx.dataset
    evidence = remember(("evidence", table.version), lambda: find_evidence(dataset, table.models))
    problems = remember(("unlearned", table.version), lambda: describe_problems(evidence))
    for model, problem in problems.items():
        description = "Its scores may say nothing about the samples. Train it longer, or with another learning rate."
        label = f"{network_label(model)} {problem}"
        page.root.view(f"unlearned_{model}", types.AlertView(severity="warning", label=label, description=description))
    remarks = differing_epochs(dataset, table.models)
    for remark in remarks:
        label = "Networks of different length"
        page.root.view("epochs", types.AlertView(severity="info", label=label, description=remark))
    if page.choice.tab == "runs":
        # it says the same
        return
    # what a warning says is not repeated
    trusted = {model: evidence.get(model) for model in table.sources if model not in problems}
    lines = remember(("trust", table.version), lambda: trust_lines(dataset, trusted, with_epochs=not remarks))
    text = "  \n".join(f"**{network_label(model)}** {line}" for model, line in lines.items())
    page.root.md(text, name="trust")


def _lay_out_scope(page: _Page) -> None:
    table = page.table
    scored = len(table.ids)
    of_all = "" if scored == table.num_samples else f" of {format_count(table.num_samples)}"
    page.root.md(
        f"**{format_count(scored)}**{of_all} samples with scores by {format_models(table.sources)}", name="scope"
    )


def _lay_out_compare(page: _Page, plots: Plots) -> None:
    root, panel, table, choice = page.root, page.panel, page.table, page.choice
    score, left, right = SCORES[choice.quantity], root, root
    if "matrix" in plots:
        halves = _row(root, "halves", gap=2)
        left, right = (_column(halves, name, item=HALF) for name in ("left", "right"))
        left.md("**Agreement**: Pearson correlation of learnability, of rank in parentheses", name="about_matrix")
        _plot(page, "matrix", plots, left, on_click=panel.on_matrix)
    axes = _row(left, "axes", align="center")
    _badge(page, axes, "quantity", f"The score of {network_label(choice.first)}", panel.on_quantity)
    if "pair" in plots:
        axes.md("compared with", name="about_axes", componentsProps=_NARROW)
        if len(table.sources) > 1:
            _badge(page, axes, "second", "The network to compare with", panel.on_second)
        _badge(page, axes, "against", f"The score of {network_label(choice.second)}", panel.on_against)
        if choice.first != choice.second:
            for name, label, handler in (
                ("first_easier", f"Easier for {network_label(choice.first)}", panel.on_first_easier),
                ("second_easier", f"Easier for {network_label(choice.second)}", panel.on_second_easier),
                ("either_easier", "Either way", panel.on_either_easier),
            ):
                _button(axes, name, label, handler)
        left.md(f"{score.title}: {score.description}", name="about_score")
        subject = "**Both networks**" if choice.first != choice.second else "**Two scores**"
        omitted = _omitted(table.values(*choice.x), table.values(*choice.y))
        right.md(f"{subject}: click a cell or drag a box to see its samples{omitted}", name="about_pair")
        _plot(page, "pair", plots, right, on_click=panel.on_pair_click, on_selected=panel.on_pair_box)
    else:
        left.md(f"{score.title}: {score.description}", name="about_score")
        root.md("Compute a second network to compare two rankings.", name="about_pair")
    omitted = _omitted(table.values(*choice.x))
    root.md(
        f"**{network_label(choice.first)}**: click a bar or drag a range to see its samples{omitted}",
        name="about_histogram",
    )
    _plot(page, "histogram", plots, on_click=panel.on_histogram_click, on_selected=panel.on_histogram_box)
    sorting = _row(root, "sorting")
    for name, label, handler in (
        ("highest", "Highest first", panel.on_highest),
        ("lowest", "Lowest first", panel.on_lowest),
    ):
        _button(sorting, name, label, handler)
    if not table.is_written(choice.x):
        _button(sorting, "write", f"Write {score_label(choice.quantity)} as a field", panel.on_write, "add_chart")


def _lay_out_map(page: _Page, plots: Plots) -> None:
    root, model = page.root, page.choice.first
    network, missing = network_label(model), missing_for_map(page.table, model)
    if not missing:
        omitted = _omitted(*(page.table.values(model, score) for score in MAP_SCORES[:2]))
        root.md(
            f"**{network}**: how much the probability of the label varied over the epochs, and how high it was on "
            f"average; click a cell or drag a box to see its samples{omitted}",
            name="about_map",
        )
        _plot(page, "map", plots, on_click=page.panel.on_map_click, on_selected=page.panel.on_map_box)
        return
    names = " and ".join(score_label(score) for score in missing)
    root.md(
        f"The data map needs {names}, which {network} does not have. Choose a network that was trained here.",
        name="about_map",
    )


def _lay_out_labels(page: _Page, plots: Plots) -> None:
    root, panel, review = page.root, page.panel, scope_review(page.ctx)
    if review is None:
        root.md(
            "See which labels the training contradicts and which labels it suggests. Your labels do not change.",
            name="about_labels",
        )
        _button(root, "suggest", "Suggest label fixes", panel.on_suggest, "rule", "contained")
        return
    if page.choice.review != OVERVIEW and review.target is not None:
        _lay_out_review(page, review)
        return
    root.md(
        f"**{format_count(review.counts[MISLABELLED])}** probably mislabelled{_describe_decided(review)}, "
        f"**{format_count(review.counts[HARD])}** hard but plausible  \n{review.basis}",
        name="about_labels",
    )
    for index, remark in enumerate(review.remarks):
        root.view(f"label_remark_{index}", types.AlertView(severity="warning", label=remark))
    # also when all are decided, as decisions can be taken back there
    if review.states:
        _button(
            root,
            "review",
            "Review one by one",
            panel.on_review,
            "fact_check",
            "contained",
            params={"review": HARD if review.queues[HARD] and not review.queues[MISLABELLED] else MISLABELLED},
        )
    actions = _row(root, "label_actions")
    for name, label, icon, handler in (
        ("show_mislabelled", "Show probably mislabelled", "report", panel.on_mislabelled),
        ("show_hard", "Show hard but plausible", "psychology", panel.on_hard),
        ("accept", "Accept selected", "done_all", panel.on_accept),
        ("suggest", "Suggest again", "rule", panel.on_suggest),
    ):
        _button(actions, name, label, handler, icon)
    root.md(
        "The grid then shows the given label, the suggested label and the verdict on each sample. Select the samples "
        "whose suggestion is right and accept them. To accept many, tag them first, show the tag, and run *Apply label "
        "suggestions* on that view.",
        name="about_accepting",
    )
    if "changes" in plots:
        hidden = sum(review.changes.values()) - review.num_shown
        more = f"; {format_count(hidden)} samples in less frequent classes are not shown" if hidden else ""
        root.md(f"**Given and suggested**: click a cell to see its samples{more}", name="about_changes")
        _plot(page, "changes", plots, on_click=panel.on_change_of_label)


def _describe_decided(review: Review) -> str:
    """Return what became of the labels that are probably mislabelled, in parentheses; empty if nothing yet."""
    accepted, kept = (review.states[MISLABELLED, state] for state in (ACCEPTED, KEPT))
    parts = [f"{format_count(accepted)} of them have the suggested label now"] if accepted else []
    parts += [f"{format_count(kept)} were kept"] if kept else []
    return f" ({', '.join(parts)})" if parts else ""


def _lay_out_review(page: _Page, review: Review) -> None:
    """Ask about one suggestion: the two labels as buttons, its image, and how the image was learned."""
    root, panel, verdict = page.root, page.panel, page.choice.review
    queue = review.queues[verdict]
    head = _row(root, "review_head", align="center")
    _button(head, "overview", "Overview", panel.on_review, "arrow_back", params={"review": OVERVIEW})
    for name, label in VERDICTS.items():
        chosen = name == verdict
        props: dict[str, Any] = {"aria-pressed": chosen, "sx": {"borderColor": "primary.main"} if chosen else {}}
        text = f"{label} ({format_count(len(review.queues[name]))} left)"
        _button(head, f"review_{name}", text, panel.on_review, params={"review": name}, props=props)
    done, total = review.num_decided(verdict), review.num_decided(verdict) + len(queue)
    accepted, kept = (format_count(review.states[verdict, state]) for state in (ACCEPTED, KEPT))
    skipped = review.states[verdict, SKIPPED]
    later = f", {format_count(skipped)} skipped for later" if skipped else ""
    root.md(
        f"**{format_count(done)} of {format_count(total)}** decided: {accepted} accepted, {kept} kept{later}",
        name="review_progress",
    )
    answers = _row(root, "answers", align="center")
    one = queue[0] if queue else None
    for decision, label, icon, key in (
        (ACCEPTED, f"Accept {one.suggested}" if one else "Accept", "done", "a"),
        (KEPT, f"Keep {one.given}" if one else "Keep", "lock", "k"),
        (SKIPPED, "Skip", "skip_next", "s"),
    ):
        style = {**_ANSWER, "width": "200px"} if decision != SKIPPED else _ANSWER
        props = {"accessKey": key, "disabled": one is None, "sx": style}
        variant = "contained" if decision == ACCEPTED else "outlined"
        params = {"id": one.id if one else None, "decision": decision}
        _button(answers, decision, label, panel.on_decide, icon, variant, props, params=params)
    if review.decided:
        props = {"accessKey": "z", "sx": _ANSWER}
        _button(answers, "undo", "Undo", panel.on_undo, "undo", props=props)
    if one is None:
        root.md(f"All **{format_count(total)}** suggestions in this view are decided.", name="review_done")
    else:
        _lay_out_suggestion(page, one, queue[1 : 1 + NEXT_IMAGES])
    where = _row(root, "review_target", align="center")
    text = f"Accepted labels go into `{review.target}`. Access keys: A, K, S, and Z for undo"
    where.md(text, name="about_target", componentsProps=_NARROW)
    _button(where, "change_target", "Change", panel.on_change_target)


def _lay_out_suggestion(page: _Page, one: Suggestion, following: list[Suggestion]) -> None:
    """Show the image of a suggestion, both labels, the learning curve, and the images that come next."""
    row = _row(page.root, "suggestion")
    left = row.v_stack("suggested_image", gap=1, width=f"{REVIEW_PICTURE}px")
    _picture(left, one, REVIEW_PICTURE)
    right = _column(row, "suggested_label", item={"sx": {"width": "auto", "flex": "1 1 280px"}})
    confidence = "" if one.confidence is None else f", mean probability {one.confidence:.0%}"
    right.md(
        f"Given label: **{one.given}**  \nSuggested label: **{one.suggested}**{confidence}  \n"
        f"Contradiction {one.contradiction:.2f}",
        name="both_labels",
    )
    curves = selected_curves(page.ctx.dataset, page.table, [one.id]).curves
    if curves:
        traces, layout = figures.sample_curves(curves)
        title = {"text": f"probability of {one.given}"}
        layout = {**layout, "height": 260, "yaxis": {**layout["yaxis"], "title": title}}
        _plot(page, "suggestion_curve", {"suggestion_curve": (traces, layout)}, right)
    else:
        right.md("The runs of these scores kept no curves of single samples.", name="no_curve")
    if following:
        page.root.md("Next", name="about_next")
        strip = _row(page.root, "next_images")
        for index, other in enumerate(following):
            # the browser then has an image before it is asked about
            _picture(strip.v_stack(f"next_{index}", gap=0, width="56px"), other, 48)


def _picture(parent: types.Object, one: Suggestion, size: int) -> None:
    """Show the image of a sample, enlarged without blurring, as small images need."""
    view = types.ImageView(height=f"{size}px", width=f"{size}px", alt=f"{one.given}, suggested {one.suggested}")
    parent.str("picture", default=picture_of(one.filepath), view=view)


def _lay_out_examples(page: _Page, plots: Plots) -> None:
    models = list(dict.fromkeys(page.choice.pair))
    if len(page.table.sources) > 1:
        networks = _row(page.root, "networks", align="center")
        networks.md(f"{network_label(page.choice.first)} and", name="about_networks", componentsProps=_NARROW)
        _badge(page, networks, "second", "The network whose ranks count too", page.panel.on_second)
    examples = find_examples(page.ctx.dataset, page.table, page.choice)
    for name, shown in examples.items():
        page.root.md(f"**{name.capitalize()}**: label, and rank by {format_models(models)}", name=f"about_{name}")
        strip = _gallery(page.root, f"{name}_examples", PICTURE)
        for index, example in enumerate(shown):
            _lay_out_example(page, strip, f"{name}_{index}", example)
    count = num_examples(page.choice)
    if count < min(MOST_EXAMPLES, len(page.table.ids)):
        _button(page.root, "more", "Show more", page.panel.on_more, "expand_more")


def _lay_out_example(page: _Page, strip: types.Object, name: str, example: Example) -> None:
    suggested = example.picture.suggested if example.picture is not None else None
    label = example.label if suggested is None else f"{example.label} → {suggested}?"
    caption = f"{label}  \n{example.ranks}"
    colour = None if _mark(page, f"example {example.id}") is None else figures.ACCENT
    click: dict[str, Any] = {"operator": page.panel.on_example, "params": {"id": example.id}}
    _framed_picture(strip, name, example.picture, caption, colour, **click)


def _lay_out_classes(page: _Page, plots: Plots) -> None:
    root, panel, choice = page.root, page.panel, page.choice
    if "classes" not in plots:
        root.md("The field of the labels is gone, so there are no classes to show.", name="about_classes")
        return
    classes, count = scope_classes(page.ctx, page.table, choice), num_classes(choice)
    orders = _row(root, "orders")
    for name, label in ORDERS.items():
        if name == "mislabelled" and classes.review is None:
            continue
        chosen = {"borderColor": "primary.main"} if name == choice.order else {}
        props = {"aria-pressed": name == choice.order, "sx": chosen}
        _button(orders, f"order_{name}", label, panel.on_order, params={"order": name}, props=props)
    halves = _row(root, "halves", gap=2)
    left, right = (_column(halves, name, item=HALF) for name in ("left", "right"))
    left.md(_describe_classes(page, classes), name="about_table")
    _table(page, left, classes, count)
    right.md("**Distribution** of learnability in each class; click a cell to see its samples", name="about_classes")
    _plot(page, "classes", plots, right, on_click=panel.on_class)
    hidden = len(classes.rows) - count
    if hidden > 0:
        _button(root, "more", f"Show more ({format_count(hidden)} classes are not shown)", panel.on_more, "expand_more")


def _describe_classes(page: _Page, classes: Classes) -> str:
    network = network_label(page.choice.first)
    text = f"**Classes**: learnability by {network}. Click a class or a number to see its samples"
    if classes.review is not None:
        return f"{text}. *{COLUMNS[CONFUSED]}* counts the labels suggested for the probably mislabelled samples"
    if classes.predictions is not None:
        return f"{text}. *{COLUMNS[CONFUSED]}* counts the classes that {network} predicted, averaged over the training"
    return text


def _table(page: _Page, parent: types.Object, classes: Classes, count: int) -> None:
    view = types.TableView(
        columns=[types.Column(name, label=COLUMNS[name]) for name in classes.columns],
        on_click_cell=page.panel.on_class_cell,
        selected_color=figures.ACCENT_BACKGROUND,
        variant="outlined",
        componentsProps={
            # a style of the cells themselves would replace that of the marked one
            "table": {
                "sx": {
                    "minWidth": 0,
                    "& th": {"padding": "4px 8px", "fontSize": "0.8rem", "lineHeight": 1.2},
                    "& td": {"padding": "3px 8px", "fontSize": "0.85rem", "cursor": "pointer"},
                }
            },
        },
    )
    mark = _mark(page, "class_table")
    cell = None if mark is None or mark.y is None else (int(mark.y[0] + 0.5), int(mark.x[0] + 0.5))
    parent.define_property("class_table", types.Object(), view=view, default=tabulate(classes, count, cell))


def _lay_out_curves(page: _Page, plots: Plots) -> None:
    root, chosen = page.root, selected(page.ctx)
    if "samples" in plots:
        shown = selected_curves(page.ctx.dataset, page.table, chosen)
        colours, dashes = figures.sample_colours(shown.curves), figures.network_dashes(shown.curves)
        more = f"; the first {MOST_CURVES} of {len(chosen)} selected" if len(chosen) > MOST_CURVES else ""
        lines = ", ".join(f"{network_label(model)} {figures.DASHES[dash]}" for model, dash in dashes.items())
        text = f"**Selected samples**: probability of the label after each epoch{more}"
        root.md(f"{text}. {lines}" if colours and len(dashes) > 1 else text, name="about_samples")
        strip = _row(root, "selected_samples")
        for index, (id, label) in enumerate(shown.labels.items()):
            picture = shown.pictures.get(id)
            caption = label if picture is None else f"{label}  \n{picture.file}"
            _framed_picture(strip, f"selected_{index}", picture, caption, colours.get(id), width=f"{SMALL_PICTURE}px")
        _plot(page, "samples", plots)
    elif chosen:
        root.md("The runs of these scores kept no curves of single samples.", name="about_samples")
    else:
        root.md("**Select samples** in the grid to see how they were learned, epoch by epoch.", name="about_samples")
    root.md("**Training runs**: accuracy on the training images after each measured epoch", name="about_trainings")
    _plot(page, "trainings", plots)


def _lay_out_embeddings(page: _Page, plots: Plots) -> None:
    root, panel, choice = page.root, page.panel, page.choice
    controls = _row(root, "embedding_controls", align="center")
    controls.md("Coloured by", name="about_colour", componentsProps=_NARROW)
    _badge(page, controls, "quantity", f"The score of {network_label(choice.first)}", panel.on_quantity)
    keys = find_visualizations(page.ctx.dataset)
    for key in keys if len(keys) > 1 else ():
        chosen = {"borderColor": "primary.main"} if key == choice.embedding else {}
        props = {"aria-pressed": key == choice.embedding, "sx": chosen}
        _button(controls, f"embedding_{key}", key, panel.on_embedding, params={"embedding": key}, props=props)
    if "embeddings" not in plots:
        root.md(f"The visualization `{choice.embedding}` has none of these samples.", name="about_embeddings")
        return
    root.md(
        f"**{choice.embedding}**: mean {score_label(choice.quantity, choice.first)} of the images in each place; click "
        "a place or draw around some to see their samples",
        name="about_embeddings",
    )
    _plot(page, "embeddings", plots, on_click=panel.on_embeddings_click, on_selected=panel.on_embeddings_lasso)


def _lay_out_runs(page: _Page, plots: Plots) -> None:
    runs = describe_runs(page.ctx.dataset)
    for run in runs[:MOST_RUNS]:
        page.root.md(f"{run.key}  \n{run.markdown}\n\nFields: {run.field_names}", name=f"about_run_{run.key}")
        row = _row(page.root, f"run_{run.key}")
        actions = [(RENAME, "Rename", "edit"), (DELETE, "Delete", "delete")]
        actions += [(AGAIN, "Compute again", "replay")] if run.params else []
        for action, label, icon in actions:
            params = {"action": action, "run": run.key}
            _button(row, f"{action}_{run.key}", label, page.panel.on_run_action, icon, params=params)
    if len(runs) > MOST_RUNS:
        more = f"{len(runs) - MOST_RUNS} older runs: see the operator *Manage learnability runs*."
        page.root.md(more, name="more_runs")


_TABS: dict[str, Callable[[_Page, Plots], None]] = {
    "compare": _lay_out_compare,
    "map": _lay_out_map,
    "labels": _lay_out_labels,
    "examples": _lay_out_examples,
    "classes": _lay_out_classes,
    "curves": _lay_out_curves,
    "embeddings": _lay_out_embeddings,
    "runs": _lay_out_runs,
}

# components

_NARROW = {"item": {"sx": {"width": "auto", "flex": "0 1 auto"}}}
"""Makes a component of a row as wide as its content."""

_ANSWER = {"minHeight": "40px", "overflow": "hidden", "textOverflow": "ellipsis", "justifyContent": "flex-start"}
"""Buttons that stay in their places whatever they say, so that a curator need not move the mouse."""

_STICKY = {
    "sx": {
        "position": "sticky",
        "top": 0,
        "zIndex": 3,
        "paddingTop": "4px",
        "background": "var(--fo-palette-background-mediaSpace)",
    }
}
"""Keeps a component visible when the panel is scrolled."""


def _button(
    parent: types.Object,
    name: str,
    label: str | None,
    on_click: Any,
    icon: str | None = None,
    variant: str = "outlined",
    props: dict[str, Any] | None = None,
    **more: Any,
) -> None:
    props = {**(props or {})}
    props["sx"] = {"whiteSpace": "nowrap", **props.get("sx", {})}
    components = {**_NARROW, "button": props}
    parent.btn(name, label, icon=icon, variant=variant, on_click=on_click, componentsProps=components, **more)


def _column(parent: types.Object, name: str, item: dict[str, Any], gap: int = 1) -> types.Object:
    sx = {"gridTemplateColumns": "minmax(0, 1fr)"}
    return parent.grid(name, orientation="vertical", gap=gap, componentsProps={"grid": {"sx": sx}, "item": item})


def _row(parent: types.Object, name: str, gap: int = 1, align: str = "flex-start", role: str | None = None) -> Any:
    """Add a row whose components wrap to the next line in a narrow panel."""
    sx = {"display": "flex", "flexDirection": "row", "flexWrap": "wrap", "alignItems": align}
    grid = {"sx": sx} if role is None else {"sx": sx, "role": role}
    return parent.grid(name, orientation="horizontal", gap=gap, componentsProps={"grid": grid})


def _badge(page: _Page, parent: types.Object, name: str, title: str, on_change: Any) -> None:
    """Add a choice that opens when it is clicked. Unlike a dropdown, it does not write into the panel's state."""
    options = list(options_of(page.table, page.choice, name).values())
    view = types.PillBadgeView(
        text=options if len(options) > 1 else options[0],
        color="var(--fo-palette-text-primary)",
        variant="outlined",
        showIcon=False,
        componentsProps={**_NARROW, "pillBadge": {"tooltipTitle": title}},
    )
    # a name per list of options, because a badge keeps the one that it began with
    parent.view(f"{name}_{fingerprint(options)}", view, on_change=on_change)


def _gallery(parent: types.Object, name: str, least: int) -> Any:
    """Add rows of pictures that are at least some pixels wide and fill the panel."""
    sx = {
        "display": "grid",
        "gridAutoFlow": "row",
        "gridTemplateColumns": f"repeat(auto-fill, minmax({least}px, 1fr))",
    }
    return parent.grid(name, orientation="horizontal", gap=1, componentsProps={"grid": {"sx": sx}})


def _framed_picture(
    parent: types.Object,
    name: str,
    picture: Picture | None,
    caption: str,
    colour: str | None,
    width: str = "100%",
    **click: Any,
) -> None:
    """Add a picture with a frame and a caption; the browser scales it, whatever its size."""
    style = {
        "width": "100%",
        "aspectRatio": "1",
        "objectFit": "contain",
        "boxSizing": "border-box",
        "border": f"3px solid {colour or 'transparent'}",
        "background": "rgba(128,128,128,0.12)",
    }
    cell = _column(parent, name, item={"sx": {"width": width}}, gap=0)
    image = {"style": style, "loading": "lazy"}
    view = types.ImageView(alt=caption, componentsProps={"image": image}, **click)
    cell.str("picture", default="" if picture is None else picture.address, view=view)
    cell.md(caption, name="caption", componentsProps={"container": {"sx": {"overflowWrap": "anywhere"}}})


def _mark(page: _Page, plot: str) -> Mark | None:
    """Return the part of a plot whose samples the grid shows, None if they are not from this plot as it is drawn."""
    shown = shown_by_panel(page.ctx)
    mark = None if shown is None else shown.mark
    return mark if mark is not None and mark.plot == plot and mark.drawn_for == page.choice else None


def _plot(page: _Page, name: str, plots: Plots, parent: types.Object | None = None, **handlers: Any) -> None:
    traces, layout = plots[name]
    mark = _mark(page, name)
    if mark is not None and mark.points:
        traces = [{**traces[0], "selectedpoints": list(mark.points)}, *traces[1:]]
    elif mark is not None:
        layout = {**layout, "shapes": [*layout.get("shapes", ()), figures.frame(mark.x, mark.y)]}
    (parent or page.root).plot(
        f"{name}_plot",
        data=traces,
        layout=layout,
        config=figures.CONFIG,
        height=f"{layout['height']}px",
        width="100%",
        **handlers,
    )


def _omitted(*scores: FloatArray) -> str:
    """Return how many samples a plot omits, as the end of a caption."""
    text = describe_omitted(*scores)
    return text and f"; {text}"
