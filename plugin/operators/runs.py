"""The operator that describes, renames and deletes runs."""

from __future__ import annotations

from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import fiftyone.operators.types as types

from fiftyone_learnability import delete_run, list_runs, rename_run
from fiftyone_learnability.dataset.registry import check_identifier
from fiftyone_learnability.scores.checks import LONGEST_NAME

from ..private_dataset import private_dataset
from ..runs import DELETE, RENAME, describe_run
from .forms import ScoreOperator, add_radio_input, hold, show_error
from .params import read_bool, read_choice


class ManageRuns(ScoreOperator):
    """Describes a run, and renames or deletes it."""

    config = foo.OperatorConfig(
        name="manage_learnability_runs",
        label="Manage learnability runs",
        description="See what a learnability run is, and rename it or delete it with its fields",
        icon="settings",
        dynamic=True,
        risk_level=types.RiskLevel.HIGH,
    )

    def submit_label(self, ctx: foo.ExecutionContext) -> str:
        """Name the chosen action."""
        return "Delete run" if ctx.params.get("action") == DELETE else "Rename run"

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
        add_radio_input(inputs, "action", "Action", {RENAME: "Rename", DELETE: "Delete"})
        if ctx.params.get("action") == DELETE:
            fields = "" if about is None else about.field_names
            label = "This deletes the run's fields from all samples"
            inputs.view("deletes", types.Warning(label=label, description=fields))
            inputs.bool("confirmed", default=False, label="Delete the fields")
            if not ctx.params.get("confirmed"):
                hold(inputs, "Tick “Delete the fields” to continue")
            return
        inputs.str("new_key", label="New key")
        if not ctx.params.get("new_key"):
            hold(inputs, "new_key must be the new key of the run")
            return
        try:
            _check_new_key(ctx.dataset, ctx.params["new_key"])
        except ValueError as error:
            show_error(inputs, error)

    def run(self, ctx: foo.ExecutionContext) -> dict[str, Any]:
        """Rename or delete the run."""
        runs = list_runs(ctx.dataset)
        key = read_choice(ctx.params, "key", runs, "" if len(runs) > 1 else runs[0])
        action = read_choice(ctx.params, "action", (RENAME, DELETE), RENAME)
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


def _check_new_key(dataset: fo.Dataset, key: Any) -> None:
    try:
        check_identifier(key)
    except ValueError as error:
        raise ValueError(f"new_key: {error}") from error
    if len(key) > LONGEST_NAME:
        raise ValueError(f"new_key must not be longer than {LONGEST_NAME} characters")
    if key in dataset.list_runs():
        raise ValueError(f"new_key: the dataset already has a run {key!r}")
