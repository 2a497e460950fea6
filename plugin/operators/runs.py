"""The operator that describes, renames, deletes and repeats runs."""

from __future__ import annotations

from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import fiftyone.operators.types as types

from fiftyone_learnability import delete_run, list_runs, rename_run
from fiftyone_learnability.dataset.internals import serialize_stages
from fiftyone_learnability.dataset.registry import check_identifier
from fiftyone_learnability.scores.checks import LONGEST_NAME

from ..names import COMPUTE
from ..private_dataset import private_dataset
from ..runs import describe_run
from .forms import ScoreOperator, add_radio_input, hold, quote_fields, show_error
from .params import read_bool, read_choice


RENAME, DELETE, AGAIN = "rename", "delete", "again"

_VERBS = {RENAME: "Rename run", DELETE: "Delete run", AGAIN: "Open the form"}


class ManageRuns(ScoreOperator):
    """Describes a run, and renames, deletes or repeats it."""

    config = foo.OperatorConfig(
        name="manage_learnability_runs",
        label="Manage learnability runs",
        description="See what a learnability run is; rename it, delete it with its fields, or compute it again",
        icon="settings",
        dynamic=True,
        risk_level=types.RiskLevel.HIGH,
        view_target=False,
    )

    def submit_label(self, ctx: foo.ExecutionContext) -> str:
        """Name the chosen action."""
        action = ctx.params.get("action")
        return _VERBS.get(action, _VERBS[RENAME]) if isinstance(action, str) else _VERBS[RENAME]

    def missing(self, ctx: foo.ExecutionContext) -> str | None:
        """A run is needed."""
        return None if list_runs(ctx.dataset) else "There are no learnability runs on this dataset"

    def add_inputs(self, ctx: foo.ExecutionContext, inputs: types.Object) -> None:
        """Add the run and what to do with it."""
        runs = list_runs(ctx.dataset)
        inputs.enum("key", runs, default=runs[0], required=True, label="Run")
        key = ctx.params.get("key", runs[0])
        about = describe_run(ctx.dataset, key) if key in runs else None
        if about is not None:
            inputs.md(about.markdown, name="about")
        again = {AGAIN: "Compute again"} if about is not None and about.params else {}
        add_radio_input(inputs, "action", "Action", {RENAME: "Rename", DELETE: "Delete", **again})
        action = ctx.params.get("action")
        if action == DELETE:
            fields = quote_fields(about.fields) if about is not None else ""
            warning = types.Warning(
                label="This deletes the run's fields from all samples", description=fields or "It has no fields any more"
            )
            inputs.view("deletes", warning)
            inputs.bool("confirmed", default=False, label="Delete the fields")
            if not ctx.params.get("confirmed"):
                hold(inputs, "Tick “Delete the fields” to continue")
        elif action == AGAIN:
            text = "Opens “Compute learnability” with the settings of this run, on the samples that it was computed on."
            inputs.md(text, name="about_again")
        else:
            self._add_new_key(ctx, inputs)

    def _add_new_key(self, ctx: foo.ExecutionContext, inputs: types.Object) -> None:
        inputs.str("new_key", label="New key")
        if not ctx.params.get("new_key"):
            hold(inputs, "new_key must be the new key of the run")
            return
        try:
            _check_new_key(ctx.dataset, ctx.params["new_key"])
        except ValueError as error:
            show_error(inputs, error)

    def run(self, ctx: foo.ExecutionContext) -> dict[str, Any]:
        """Rename, delete or repeat the run."""
        runs = list_runs(ctx.dataset)
        key = read_choice(ctx.params, "key", runs, "" if len(runs) > 1 else runs[0])
        action = read_choice(ctx.params, "action", _VERBS, RENAME)
        if action == AGAIN:
            return {"params": prompt_again(ctx, key)}
        if action == DELETE:
            if not read_bool(ctx.params, "confirmed"):
                raise ValueError("deleting a run must be confirmed: confirmed=True")
            with private_dataset(ctx):
                deleted = delete_run(ctx.dataset, key)
            ctx.ops.reload_dataset()
            ctx.ops.notify(f"Deleted the run {key} and {', '.join(deleted) or 'no fields'}", variant="success")
            return {"deleted": deleted}
        new_key = ctx.params.get("new_key")
        _check_new_key(ctx.dataset, new_key)
        with private_dataset(ctx):
            rename_run(ctx.dataset, key, new_key)
        ctx.ops.notify(f"Renamed the run {key} to {new_key}", variant="success")
        return {"key": new_key}


def prompt_again(ctx: foo.ExecutionContext, key: str) -> dict[str, Any]:
    """Open the form of *Compute learnability* with the settings of a run, on the samples of the run.

    Args:
        ctx: the context of an operator or panel
        key: the key of the run

    Returns:
        the params of the form

    Raises:
        ValueError: if the App cannot compute the run again
    """
    params = describe_run(ctx.dataset, key).params
    if not params:
        raise ValueError(f"key: the run {key!r} cannot be computed again in the App, which does not have its networks")
    view = ctx.dataset.load_run_view(key)
    whole = not serialize_stages(view)
    if not whole:
        ctx.ops.set_view(view)
    params = {**params, "view_target": "DATASET" if whole else "CURRENT_VIEW"}
    ctx.prompt(COMPUTE, params=params)
    return params


def _check_new_key(dataset: fo.Dataset, key: Any) -> None:
    try:
        check_identifier(key)
    except ValueError as error:
        raise ValueError(f"new_key: {error}") from error
    if len(key) > LONGEST_NAME:
        raise ValueError(f"new_key must not be longer than {LONGEST_NAME} characters")
    if key in dataset.list_runs():
        raise ValueError(f"new_key: the dataset already has a run {key!r}")
