"""Lays the panel out: FiftyOne's own components, in the order in which a curator needs them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import fiftyone.operators as foo
import fiftyone.operators.types as types

from . import figures
from .jobs import CANCELLED
from .names import network_label, number
from .scores import ScoreTable
from .tabs import MOST_CURVES, ORDERS, QUANTITIES, TABS, Choice, draw_plots

if TYPE_CHECKING:
    from .panel import LearnabilityPanel

RUNNING_INTERVAL, IDLE_INTERVAL = 2_000, 15_000
PICTURE = "72px"


def lay_out(panel: LearnabilityPanel, ctx: foo.ExecutionContext, table: ScoreTable, choice: Choice) -> types.Property:
    """The whole panel.

    Args:
        panel: whose handlers the components call
        ctx: the context of the event
        table: the scores of the samples that the panel speaks of
        choice: what is chosen
    """
    root = types.Object()
    job = ctx.panel.get_state("job") or {}
    running = job.get("state") in ("queued", "running")
    _lay_out_job(root, panel, job)
    interval = RUNNING_INTERVAL if running else IDLE_INTERVAL
    # named after its interval: a timer keeps the one that it was made with
    root.view(f"timer_{interval}", types.TimerView(interval=interval, on_interval=panel.on_timer))
    if not table.models:
        if not running:
            _lay_out_nothing(root, panel, table)
    else:
        _lay_out_actions(root, panel, table, choice)
        plots = draw_plots(ctx.dataset, table, choice, ctx.selected or [])
        if choice.tab == "compare":
            _lay_out_compare(root, panel, choice, plots)
        elif choice.tab == "examples":
            _lay_out_examples(root, panel, ctx, choice)
        elif choice.tab == "classes":
            _lay_out_classes(root, panel, choice, plots)
        else:
            _lay_out_curves(root, ctx, plots)
    # a column as wide as the panel: by itself it would be no wider than what it holds
    sx = {"padding": "4px 12px", "flexWrap": "nowrap", "gridTemplateColumns": "minmax(0, 1fr)"}
    return types.Property(
        root, view=types.GridView(orientation="vertical", gap=1, componentsProps={"grid": {"sx": sx}})
    )


def _lay_out_nothing(root: types.Object, panel: LearnabilityPanel, table: ScoreTable) -> None:
    root.md(
        "##### No scores yet\n\nTrain networks on the images of this dataset to see which ones are easy, which are "
        f"hard, and which may be mislabelled. There are **{number(table.num_samples)}** samples.",
        name="nothing",
    )
    root.btn(
        "compute", label="Compute learnability", icon="model_training", variant="contained", on_click=panel.on_compute
    )


def _lay_out_job(root: types.Object, panel: LearnabilityPanel, job: dict[str, Any]) -> None:
    state = job.get("state")
    if state in ("queued", "running"):
        waiting = "Starting…" if job["in_background"] else "Waiting for `fiftyone delegated launch`"
        root.md(f"**{job['title']}**", name="job_title")
        bar = types.Object()
        bar.float("progress", view=types.ProgressView(label=job["label"] or waiting))
        root.define_property("job", bar, view=types.ObjectView())
        root.btn("cancel", label="Cancel", icon="cancel", variant="outlined", on_click=panel.on_cancel)
    elif state == "failed":
        severity = "info" if job["error"] == CANCELLED else "error"
        alert = types.AlertView(severity=severity, label=job["title"], description=job["error"] or "It failed")
        root.view("job_failed", alert)
        root.btn("dismiss", label="Dismiss", icon="close", variant="outlined", on_click=panel.on_dismiss)


def _lay_out_actions(root: types.Object, panel: LearnabilityPanel, table: ScoreTable, choice: Choice) -> None:
    scored = len(table.ids)
    of = "" if scored == table.num_samples else f" of {number(table.num_samples)}"
    root.md(f"**{number(scored)}**{of} samples with scores by {_listed(table.models)}", name="scope")
    controls = _row(root, "controls")
    _dropdown(controls, "first", "Network", {name: network_label(name) for name in table.models}, panel.on_control)
    if len(table.models) > 1:
        _dropdown(
            controls, "second", "Compared with", {name: network_label(name) for name in table.models}, panel.on_control
        )
    _dropdown(controls, "quantity", "Show", QUANTITIES, panel.on_control)
    actions = _row(root, "actions")
    for name, label, icon, handler in (
        ("hardest", "Hardest first", "arrow_upward", panel.on_hardest),
        ("easiest", "Easiest first", "arrow_downward", panel.on_easiest),
        ("disagree", "Disagreement", "compare_arrows", panel.on_disagreement),
        ("tag", "Tag", "local_offer", panel.on_tag),
        ("save", "Save view", "bookmark", panel.on_save_view),
        ("reset", "Reset", "restart_alt", panel.on_reset),
        ("compute", "Compute", "model_training", panel.on_compute),
    ):
        if name != "disagree" or len(table.models) > 1:
            actions.btn(name, label=label, icon=icon, variant="outlined", on_click=handler, componentsProps=_BUTTON)
    tabs = types.TabsView()
    for name, label in TABS.items():
        tabs.add_choice(name, label=label)
    root.str("tab", default=choice.tab, view=tabs, on_change=panel.on_tab)


def _lay_out_compare(root: types.Object, panel: LearnabilityPanel, choice: Choice, plots: dict[str, Any]) -> None:
    if "matrix" in plots:
        root.md("**Agreement**: Pearson correlation of learnability, of rank in parentheses", name="about_matrix")
        _plot(root, "matrix", plots, on_click=panel.on_matrix)
        root.md("**Both networks**: click a cell or drag a box to see its samples", name="about_pair")
        _plot(root, "pair", plots, on_click=panel.on_pair_click, on_selected=panel.on_pair_box)
    else:
        root.md("Compute a second network to compare rankings.", name="about_pair")
    root.md(
        f"**{network_label(choice.first)}**: click a bar or drag a range to see its samples", name="about_histogram"
    )
    _plot(root, "histogram", plots, on_click=panel.on_histogram_click, on_selected=panel.on_histogram_box)


def _lay_out_examples(root: types.Object, panel: LearnabilityPanel, ctx: foo.ExecutionContext, choice: Choice) -> None:
    by = " and ".join(network_label(model) for model in dict.fromkeys(choice.pair))
    for name in ("easiest", "hardest"):
        shown = ctx.panel.get_state(f"shown_{name}") or []
        root.md(f"**{name.capitalize()}** for {by}: label and ranks", name=f"about_{name}")
        strip = _row(root, name)
        for index, example in enumerate(shown):
            cell = strip.v_stack(f"image_{index}", gap=0, width="88px")
            cell.img("picture", height=PICTURE, width=PICTURE, on_click=panel.on_example, params={"id": example["id"]})
            cell.md(f"{example['label']}  \n{example['ranks']}", name="caption")


def _lay_out_classes(root: types.Object, panel: LearnabilityPanel, choice: Choice, plots: dict[str, Any]) -> None:
    if "classes" not in plots:
        root.md("The field of the labels is gone, so there are no classes to show.", name="about_classes")
        return
    sorting = _row(root, "sorting")
    _dropdown(sorting, "order", "Classes", ORDERS, panel.on_control, default=choice.order)
    root.md("Each class, with its mean, and how it is spread; click a cell to see its samples", name="about_classes")
    _plot(root, "classes", plots, on_click=panel.on_class)


def _lay_out_curves(root: types.Object, ctx: foo.ExecutionContext, plots: dict[str, Any]) -> None:
    if "samples" in plots:
        more = f"; the first {MOST_CURVES} of {len(ctx.selected)} selected" if len(ctx.selected) > MOST_CURVES else ""
        root.md(f"**Selected samples**: probability of the label after each epoch{more}", name="about_samples")
        _plot(root, "samples", plots)
    elif ctx.selected:
        root.md("The runs of these scores kept no curves of single samples.", name="about_samples")
    else:
        root.md("**Select samples** in the grid to see how they were learned, epoch by epoch.", name="about_samples")
    root.md("**Trainings**: accuracy on the training images after each epoch", name="about_trainings")
    _plot(root, "trainings", plots)


_BUTTON = {"item": {"sx": {"width": "auto", "flex": "0 0 auto"}}, "button": {"sx": {"whiteSpace": "nowrap"}}}


def _row(parent: types.Object, name: str) -> types.Object:
    """A row whose parts move to the next line where the panel is narrow."""
    sx = {"display": "flex", "flexDirection": "row", "flexWrap": "wrap", "alignItems": "flex-start"}
    return parent.grid(name, orientation="horizontal", gap=1, componentsProps={"grid": {"sx": sx}})


def _stretched(least: str, most: str) -> dict[str, Any]:
    """Lets a part of a row take the room that there is, within limits."""
    return {"item": {"sx": {"flex": f"1 1 {least}", "maxWidth": most}}}


def _dropdown(
    parent: types.Object, name: str, label: str, choices: dict[str, str], on_change: Any, default: str | None = None
) -> None:
    view = types.DropdownView(componentsProps=_stretched("140px", "260px"))
    for value, text in choices.items():
        view.add_choice(value, label=text)
    parent.enum(name, view.values(), label=label, view=view, on_change=on_change, default=default)


def _plot(root: types.Object, name: str, plots: dict[str, Any], **handlers: Any) -> None:
    shape = plots[name][1]
    root.plot(name, layout=shape, config=figures.CONFIG, height=f"{shape['height']}px", width="100%", **handlers)


def _listed(models: tuple[str, ...]) -> str:
    names = [network_label(model) for model in models]
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + f" and {names[-1]}"
