"""The layout of the panel: FiftyOne's own components, in the order in which a curator needs them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import fiftyone.operators as foo
import fiftyone.operators.types as types

from fiftyone_learnability.dataset.epochs import differing_epochs
from fiftyone_learnability.dataset.evidence import find_unlearned
from fiftyone_learnability.scores.catalog import SCORES
from fiftyone_learnability.scores.label_errors import HARD, MISLABELLED

from ..archives import measured_scores
from ..jobs.job import CANCELLED
from ..memory import remember
from ..names import format_count, format_models, network_label, score_label
from . import figures
from .binning import FloatArray, describe_omitted
from .data_map import MAP_SCORES
from .review import scope_review
from .table import ScoreTable
from .tabs import MOST_CURVES, ORDERS, SAME, TABS, Choice, Plots, comparable_scores, draw_plots, missing_for_map

if TYPE_CHECKING:
    from .panel import LearnabilityPanel

RUNNING_INTERVAL, IDLE_INTERVAL = 2_000, 15_000
"""Milliseconds between looks at the job."""

PICTURE = "72px"
"""Width and height of the example images."""


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
    job = ctx.panel.get_state("job") or {}
    running = job.get("state") in ("queued", "running")
    _lay_out_job(page, job)
    interval = RUNNING_INTERVAL if running else IDLE_INTERVAL
    # a name per interval, because a timer keeps the interval that it was made with
    page.root.view(f"timer_{interval}", types.TimerView(interval=interval, on_interval=panel.on_timer))
    if table.sources:
        _lay_out_warnings(page)
        _lay_out_controls(page)
        _lay_out_actions(page)
        _lay_out_tabs(page)
        _TABS[choice.tab](page, draw_plots(ctx, table, choice))
    elif not running:
        _lay_out_empty(page)
    # minmax makes the column as wide as the panel; by default it is only as wide as its content
    sx = {"padding": "4px 12px", "flexWrap": "nowrap", "gridTemplateColumns": "minmax(0, 1fr)"}
    return types.Property(
        page.root, view=types.GridView(orientation="vertical", gap=1, componentsProps={"grid": {"sx": sx}})
    )


def _lay_out_empty(page: _Page) -> None:
    page.root.md(
        "##### No scores yet\n\nTrain networks on the images of this dataset to see which images are easy, which are "
        f"hard, and which may be mislabelled. The dataset has **{format_count(page.table.num_samples)}** samples.",
        name="nothing",
    )
    _button(page.root, "compute", "Compute learnability", "model_training", page.panel.on_compute, "contained")


def _lay_out_job(page: _Page, job: dict[str, Any]) -> None:
    root, state = page.root, job.get("state")
    if state in ("queued", "running"):
        waiting = "Starting…" if job["in_background"] else "Waiting for `fiftyone delegated launch`"
        root.md(f"**{job['title']}**", name="job_title")
        bar = types.Object()
        bar.float("progress", view=types.ProgressView(label=job["label"] or waiting))
        root.define_property("job", bar, view=types.ObjectView())
        _button(root, "cancel", "Cancel", "cancel", page.panel.on_cancel)
    elif state == "failed":
        severity = "info" if job["error"] == CANCELLED else "error"
        description = job["error"] or "The job failed without a message."
        root.view("job_failed", types.AlertView(severity=severity, label=job["title"], description=description))
        _button(root, "dismiss", "Dismiss", "close", page.panel.on_dismiss)
    elif state == "completed" and job["remarks"]:
        description = "Done, with remarks: " + "; ".join(job["remarks"])
        root.view("job_remarks", types.AlertView(severity="warning", label=job["title"], description=description))
        _button(root, "dismiss", "Dismiss", "close", page.panel.on_dismiss)


def _lay_out_warnings(page: _Page) -> None:
    """Warn of networks that did not learn clearly more than chance, and of scores over other numbers of epochs."""
    table, dataset = page.table, page.ctx.dataset
    problems = remember(("unlearned", table.version), lambda: find_unlearned(dataset, table.models))
    for model, problem in problems.items():
        description = "Its scores say nothing about the samples. Train it longer, or with another learning rate."
        label = f"{network_label(model)} {problem}"
        page.root.view(f"unlearned_{model}", types.AlertView(severity="warning", label=label, description=description))
    for remark in differing_epochs(dataset, table.models):
        label = "Networks of different length"
        page.root.view("epochs", types.AlertView(severity="info", label=label, description=remark))


def _lay_out_controls(page: _Page) -> None:
    """Add the dropdowns of networks and scores."""
    table, choice, on_control = page.table, page.choice, page.panel.on_control
    scored = len(table.ids)
    of_all = "" if scored == table.num_samples else f" of {format_count(table.num_samples)}"
    page.root.md(
        f"**{format_count(scored)}**{of_all} samples with scores by {format_models(table.sources)}", name="scope"
    )
    controls = _row(page.root, "controls")
    sources = {name: network_label(name) for name in table.sources}
    _dropdown(controls, "first", "Network", sources, on_control)
    _dropdown(controls, "quantity", "Show", _titles(table.scores[choice.first]), on_control)
    if len(sources) > 1:
        _dropdown(controls, "second", "Compared with", sources, on_control)
        scores = _titles(table.scores[choice.second])
        if choice.first != choice.second and choice.quantity in scores:
            scores = {SAME: "The same", **scores}
        _dropdown(controls, "against", "Against", scores, on_control)
    elif choice.x != choice.y:
        scores = _titles(comparable_scores(table, choice.first, choice.quantity))
        _dropdown(controls, "against", "Against", scores, on_control)


def _lay_out_actions(page: _Page) -> None:
    panel, actions = page.panel, _row(page.root, "actions")
    for name, label, icon, handler in (
        ("hardest", "Hardest first", "arrow_upward", panel.on_hardest),
        ("easiest", "Easiest first", "arrow_downward", panel.on_easiest),
        ("disagree", "Disagreement", "compare_arrows", panel.on_disagreement),
        ("tag", "Tag", "local_offer", panel.on_tag),
        ("save", "Save view", "bookmark", panel.on_save_view),
        ("reset", "Reset", "restart_alt", panel.on_reset),
        ("compute", "Compute", "model_training", panel.on_compute),
    ):
        if name != "disagree" or len(page.table.sources) > 1:
            _button(actions, name, label, icon, handler, componentsProps=_NARROW_BUTTON)


def _lay_out_tabs(page: _Page) -> None:
    view = types.TabsView()
    for name, label in TABS.items():
        view.add_choice(name, label=label)
    page.root.str("tab", default=page.choice.tab, view=view, on_change=page.panel.on_tab)


def _lay_out_compare(page: _Page, plots: Plots) -> None:
    root, panel, table, choice = page.root, page.panel, page.table, page.choice
    if "matrix" in plots:
        root.md("**Agreement**: Pearson correlation of learnability, of rank in parentheses", name="about_matrix")
        _plot(root, "matrix", plots, on_click=panel.on_matrix)
    if "pair" in plots:
        subject = "**Both networks**" if choice.first != choice.second else "**Two scores**"
        omitted = _omitted(table.values(*choice.x), table.values(*choice.y))
        root.md(f"{subject}: click a cell or drag a box to see its samples{omitted}", name="about_pair")
        _plot(root, "pair", plots, on_click=panel.on_pair_click, on_selected=panel.on_pair_box)
    else:
        root.md(
            "Compute a second network to compare two rankings, or write more scores of this network to compare those.",
            name="about_pair",
        )
        _button(root, "more", "Write more scores", "add_chart", panel.on_write_scores)
    omitted = _omitted(table.values(*choice.x))
    root.md(
        f"**{network_label(choice.first)}**: click a bar or drag a range to see its samples{omitted}",
        name="about_histogram",
    )
    _plot(root, "histogram", plots, on_click=panel.on_histogram_click, on_selected=panel.on_histogram_box)
    root.md(f"{SCORES[choice.quantity].title}: {SCORES[choice.quantity].description}", name="about_score")


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
        _plot(root, "map", plots, on_click=page.panel.on_map_click, on_selected=page.panel.on_map_box)
        return
    names = " and ".join(score_label(score) for score in missing)
    if set(missing) <= set(measured_scores(page.ctx.dataset, model)):
        root.md(
            f"The data map needs {names} by {network}. The run measured them but did not write them yet.",
            name="about_map",
        )
        _button(root, "write_map", f"Write {names}", "add_chart", page.panel.on_write_map, "contained")
    else:
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
        _button(root, "suggest", "Suggest label fixes", "rule", panel.on_suggest, "contained")
        return
    accepted = f" ({format_count(review.accepted)} of them have the suggested label now)" if review.accepted else ""
    root.md(
        f"**{format_count(review.counts[MISLABELLED])}** probably mislabelled{accepted}, "
        f"**{format_count(review.counts[HARD])}** hard but plausible  \n{review.basis}",
        name="about_labels",
    )
    for index, remark in enumerate(review.remarks):
        root.view(f"label_remark_{index}", types.AlertView(severity="warning", label=remark))
    actions = _row(root, "label_actions")
    for name, label, icon, handler in (
        ("show_mislabelled", "Show probably mislabelled", "report", panel.on_mislabelled),
        ("show_hard", "Show hard but plausible", "psychology", panel.on_hard),
        ("accept", "Accept selected", "done_all", panel.on_accept),
        ("suggest", "Suggest again", "rule", panel.on_suggest),
    ):
        _button(actions, name, label, icon, handler, componentsProps=_NARROW_BUTTON)
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
        _plot(root, "changes", plots, on_click=panel.on_change_of_label)


def _lay_out_examples(page: _Page, plots: Plots) -> None:
    networks = " and ".join(network_label(model) for model in dict.fromkeys(page.choice.pair))
    for name in ("easiest", "hardest"):
        page.root.md(f"**{name.capitalize()}** for {networks}: label and ranks", name=f"about_{name}")
        strip = _row(page.root, name)
        for index, example in enumerate(page.ctx.panel.get_state(f"shown_{name}") or []):
            cell = strip.v_stack(f"image_{index}", gap=0, width="88px")
            params = {"id": example["id"]}
            cell.img("picture", height=PICTURE, width=PICTURE, on_click=page.panel.on_example, params=params)
            cell.md(f"{example['label']}  \n{example['ranks']}", name="caption")


def _lay_out_classes(page: _Page, plots: Plots) -> None:
    root, panel = page.root, page.panel
    if "classes" not in plots:
        root.md("The field of the labels is gone, so there are no classes to show.", name="about_classes")
        return
    _dropdown(_row(root, "sorting"), "order", "Classes", ORDERS, panel.on_control, default=page.choice.order)
    root.md(
        "Mean and distribution of learnability in each class; click a cell to see its samples", name="about_classes"
    )
    _plot(root, "classes", plots, on_click=panel.on_class)


def _lay_out_curves(page: _Page, plots: Plots) -> None:
    root, selected = page.root, page.ctx.selected
    if "samples" in plots:
        more = f"; the first {MOST_CURVES} of {len(selected)} selected" if len(selected) > MOST_CURVES else ""
        root.md(f"**Selected samples**: probability of the label after each epoch{more}", name="about_samples")
        _plot(root, "samples", plots)
    elif selected:
        root.md("The runs of these scores kept no curves of single samples.", name="about_samples")
    else:
        root.md("**Select samples** in the grid to see how they were learned, epoch by epoch.", name="about_samples")
    root.md("**Training runs**: accuracy on the training images after each measured epoch", name="about_trainings")
    _plot(root, "trainings", plots)


_TABS: dict[str, Callable[[_Page, Plots], None]] = {
    "compare": _lay_out_compare,
    "map": _lay_out_map,
    "labels": _lay_out_labels,
    "examples": _lay_out_examples,
    "classes": _lay_out_classes,
    "curves": _lay_out_curves,
}

_NARROW_BUTTON = {"item": {"sx": {"width": "auto", "flex": "0 0 auto"}}, "button": {"sx": {"whiteSpace": "nowrap"}}}


def _button(
    parent: types.Object, name: str, label: str, icon: str, on_click: Any, variant: str = "outlined", **props: Any
) -> None:
    parent.btn(name, label=label, icon=icon, variant=variant, on_click=on_click, **props)


def _row(parent: types.Object, name: str) -> types.Object:
    """Add a row whose components wrap to the next line in a narrow panel."""
    sx = {"display": "flex", "flexDirection": "row", "flexWrap": "wrap", "alignItems": "flex-start"}
    return parent.grid(name, orientation="horizontal", gap=1, componentsProps={"grid": {"sx": sx}})


def _dropdown(
    parent: types.Object, name: str, label: str, choices: dict[str, str], on_change: Any, default: str | None = None
) -> None:
    view = types.DropdownView(componentsProps={"item": {"sx": {"flex": "1 1 140px", "maxWidth": "260px"}}})
    for value, text in choices.items():
        view.add_choice(value, label=text)
    parent.enum(name, view.values(), label=label, view=view, on_change=on_change, default=default)


def _plot(root: types.Object, name: str, plots: Plots, **handlers: Any) -> None:
    layout = plots[name][1]
    root.plot(name, layout=layout, config=figures.CONFIG, height=f"{layout['height']}px", width="100%", **handlers)


def _omitted(*scores: FloatArray) -> str:
    """Return how many samples a plot omits, as the end of a caption."""
    text = describe_omitted(*scores)
    return text and f"; {text}"


def _titles(scores: Iterable[str]) -> dict[str, str]:
    return {score: SCORES[score].title for score in scores}
