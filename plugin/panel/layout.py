"""Lays the panel out: FiftyOne's own components, in the order in which a curator needs them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import fiftyone.operators as foo
import fiftyone.operators.types as types

from fiftyone_learnability.scores.catalog import SCORES
from fiftyone_learnability.scores.label_errors import HARD, MISLABELLED

from ..jobs.job import CANCELLED
from ..names import format_count, format_models, network_label, score_label
from . import figures
from .binning import left_out
from .data_map import MAP_SCORES
from .review import MOST_CLASSES, Review
from .scope import scope_review
from .table import ScoreTable, measured_scores
from .tabs import MOST_CURVES, ORDERS, SAME, TABS, Choice, draw_plots, missing_for_map, others

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
    if not table.sources:
        if not running:
            _lay_out_nothing(root, panel, table)
    else:
        _lay_out_actions(root, panel, table, choice)
        plots = draw_plots(ctx, table, choice)
        if choice.tab == "compare":
            _lay_out_compare(root, panel, table, choice, plots)
        elif choice.tab == "map":
            _lay_out_map(root, panel, ctx, table, choice, plots)
        elif choice.tab == "labels":
            _lay_out_labels(root, panel, scope_review(ctx), plots)
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
        f"hard, and which may be mislabelled. There are **{format_count(table.num_samples)}** samples.",
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
    elif state == "completed" and job["remarks"]:
        said = "Done, but not all went as planned: " + "; ".join(job["remarks"])
        root.view("job_remarks", types.AlertView(severity="warning", label=job["title"], description=said))
        root.btn("dismiss", label="Dismiss", icon="close", variant="outlined", on_click=panel.on_dismiss)


def _lay_out_actions(root: types.Object, panel: LearnabilityPanel, table: ScoreTable, choice: Choice) -> None:
    scored = len(table.ids)
    of = "" if scored == table.num_samples else f" of {format_count(table.num_samples)}"
    root.md(f"**{format_count(scored)}**{of} samples with scores by {format_models(table.sources)}", name="scope")
    controls = _row(root, "controls")
    sources = {name: network_label(name) for name in table.sources}
    _dropdown(controls, "first", "Network", sources, panel.on_control)
    _dropdown(controls, "quantity", "Show", _titles(table.scores[choice.first]), panel.on_control)
    if len(sources) > 1:
        _dropdown(controls, "second", "Compared with", sources, panel.on_control)
        scores = _titles(table.scores[choice.second])
        if choice.first != choice.second and choice.quantity in scores:
            scores = {SAME: "The same", **scores}
        _dropdown(controls, "against", "Against", scores, panel.on_control)
    elif choice.x != choice.y:
        scores = _titles(tuple(others(table, choice.first, choice.quantity)))
        _dropdown(controls, "against", "Against", scores, panel.on_control)
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
        if name != "disagree" or len(table.sources) > 1:
            actions.btn(name, label=label, icon=icon, variant="outlined", on_click=handler, componentsProps=_BUTTON)
    tabs = types.TabsView()
    for name, label in TABS.items():
        tabs.add_choice(name, label=label)
    root.str("tab", default=choice.tab, view=tabs, on_change=panel.on_tab)


def _lay_out_compare(
    root: types.Object, panel: LearnabilityPanel, table: ScoreTable, choice: Choice, plots: dict[str, Any]
) -> None:
    if "matrix" in plots:
        root.md("**Agreement**: Pearson correlation of learnability, of rank in parentheses", name="about_matrix")
        _plot(root, "matrix", plots, on_click=panel.on_matrix)
    if "pair" in plots:
        both = "**Both networks**" if choice.first != choice.second else "**Two scores**"
        out = left_out(table.values(*choice.x), table.values(*choice.y))
        root.md(f"{both}: click a cell or drag a box to see its samples" + (out and f"; {out}"), name="about_pair")
        _plot(root, "pair", plots, on_click=panel.on_pair_click, on_selected=panel.on_pair_box)
    else:
        root.md(
            "Compute a second network to compare rankings, or write more scores of this one to compare those.",
            name="about_pair",
        )
        root.btn(
            "more", label="Write more scores", icon="add_chart", variant="outlined", on_click=panel.on_write_scores
        )
    out = left_out(table.values(*choice.x))
    root.md(
        f"**{network_label(choice.first)}**: click a bar or drag a range to see its samples" + (out and f"; {out}"),
        name="about_histogram",
    )
    _plot(root, "histogram", plots, on_click=panel.on_histogram_click, on_selected=panel.on_histogram_box)
    root.md(f"{SCORES[choice.quantity].title}: {SCORES[choice.quantity].description}", name="about_score")


def _lay_out_map(
    root: types.Object,
    panel: LearnabilityPanel,
    ctx: foo.ExecutionContext,
    table: ScoreTable,
    choice: Choice,
    plots: dict[str, Any],
) -> None:
    network, lacking = network_label(choice.first), missing_for_map(table, choice.first)
    if not lacking:
        out = left_out(*(table.values(choice.first, score) for score in MAP_SCORES[:2]))
        text = "how far the probability of the label moved over the epochs, and how high it was on average"
        root.md(
            f"**{network}**: {text}; click a cell or drag a box to see its samples" + (out and f"; {out}"),
            name="about_map",
        )
        _plot(root, "map", plots, on_click=panel.on_map_click, on_selected=panel.on_map_box)
        return
    names = " and ".join(score_label(score) for score in lacking)
    if set(lacking) <= set(measured_scores(ctx.dataset, choice.first)):
        root.md(f"The data map needs {names} by {network}, measured in its run but not written yet.", name="about_map")
        root.btn(
            "write_map", label=f"Write {names}", icon="add_chart", variant="contained", on_click=panel.on_write_map
        )
    else:
        root.md(
            f"The data map needs {names}, which {network} has none of: choose a network that was trained here.",
            name="about_map",
        )


def _lay_out_labels(root: types.Object, panel: LearnabilityPanel, review: Review | None, plots: dict[str, Any]) -> None:
    if review is None:
        root.md(
            "See which labels the training contradicts, and which ones it would put there; no label is changed.",
            name="about_labels",
        )
        root.btn("suggest", label="Suggest label fixes", icon="rule", variant="contained", on_click=panel.on_suggest)
        return
    wrong, hard = review.counts[MISLABELLED], review.counts[HARD]
    done = f" ({format_count(review.accepted)} of them have the suggested label by now)" if review.accepted else ""
    root.md(
        f"**{format_count(wrong)}** probably mislabelled{done}, **{format_count(hard)}** hard but plausible  \n"
        f"{review.basis}",
        name="about_labels",
    )
    actions = _row(root, "label_actions")
    for name, label, icon, handler in (
        ("show_mislabelled", "Show probably mislabelled", "report", panel.on_mislabelled),
        ("show_hard", "Show hard but plausible", "psychology", panel.on_hard),
        ("accept", "Accept selected", "done_all", panel.on_accept),
        ("suggest", "Suggest anew", "rule", panel.on_suggest),
    ):
        actions.btn(name, label=label, icon=icon, variant="outlined", on_click=handler, componentsProps=_BUTTON)
    root.md(
        "The grid then writes the given label, the suggested one and the verdict on each sample. Select those whose "
        "suggestion is right, and accept them. To accept many: tag them as you go, show the tag, and run *Apply label "
        "suggestions* on that view.",
        name="about_accepting",
    )
    if "changes" in plots:
        out = sum(review.changes.values()) - review.shown
        more = (
            f"; {format_count(out)} in other classes than the {MOST_CLASSES} most frequent are not drawn" if out else ""
        )
        root.md(f"**Given and suggested**: click a cell to see its samples{more}", name="about_changes")
        _plot(root, "changes", plots, on_click=panel.on_change_of_label)


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
    root.md("**Trainings**: accuracy on the training images, as it was measured", name="about_trainings")
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


def _titles(scores: tuple[str, ...]) -> dict[str, str]:
    return {score: SCORES[score].title for score in scores}
