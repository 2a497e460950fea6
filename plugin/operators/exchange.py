"""Operators that import scores from files and export scores to files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import fiftyone.operators as foo
import fiftyone.operators.types as types

from fiftyone_learnability import export_scores, import_scores
from fiftyone_learnability.dataset.imported import check_model_name
from fiftyone_learnability.dataset.notes import score_field
from fiftyone_learnability.experiment.score_files import check_replaceable
from fiftyone_learnability.scores.checks import short_repr

from ..names import format_count
from ..private_dataset import private_dataset
from .forms import ScoreOperator, count_of, refuse, require_overwrite, show_error
from .params import read_bool, read_text, warn_of_selection
from .server_files import allowed_folders, resolve_path


class ImportScores(ScoreOperator):
    """Imports the scores of another training from a file."""

    config = foo.OperatorConfig(
        name="import_learnability",
        label="Import learnability scores",
        description="Read scores from a csv, npz or parquet file: exported ones, or those of your own training",
        icon="upload",
        dynamic=True,
        risk_level=types.RiskLevel.MEDIUM,
    )
    verb = "Import"

    def missing(self, ctx: foo.ExecutionContext) -> str | None:
        """Nothing is needed."""
        return None

    def add_inputs(self, ctx: foo.ExecutionContext, inputs: types.Object, form: types.Property) -> None:
        """Add the file and the name of its model."""
        samples = ctx.target_view()
        path = inputs.str(
            "path",
            required=True,
            label="File",
            description=f"In {allowed_folders()[0]} on the server; .csv, .npz or .parquet, with an id or a filepath",
        )
        inputs.str("name", label="Name of the model", description="Not needed for a file that was exported from here")
        inputs.bool("advanced", default=False, label="More options", view=types.SwitchView())
        if ctx.params.get("advanced"):
            description = "The column to read as learnability; high must mean easy"
            inputs.str("learnability", default="learnability", label="Column", description=description)
        name = None
        try:
            name = _read_name(ctx.params)
        except ValueError as error:
            show_error(inputs, form, error)
        # an empty form is not wrong yet
        if ctx.params.get("path"):
            try:
                _find_source(ctx.params)
            except ValueError as error:
                refuse(path, str(error))
        if name is None:
            # the file names its models, but is not read yet
            inputs.bool("overwrite", default=False, label="Replace existing scores")
        elif ctx.dataset.has_field(score_field(name)):
            require_overwrite(ctx, inputs, form, "Scores already exist", f"`{score_field(name)}`")
        warn_of_selection(inputs, ctx, len(samples))
        inputs.md(f"Writes to those of **{format_count(len(samples))}** samples that the file lists", name="among")

    def run(self, ctx: foo.ExecutionContext) -> dict[str, Any]:
        """Read the file and write its scores."""
        path, name = _find_source(ctx.params), _read_name(ctx.params)
        with private_dataset(ctx):
            reports = import_scores(
                ctx.target_view(),
                path,
                name,
                learnability=read_text(ctx.params, "learnability") or "learnability",
                overwrite=read_bool(ctx.params, "overwrite"),
            )
        fields = [field for report in reports for field in report.fields]
        unknown = max((len(report.vanished) for report in reports), default=0)
        written = max((report.num_written for report in reports), default=0)
        ctx.ops.reload_dataset()
        not_found = f"; {format_count(unknown)} in the file were not found" if unknown else ""
        ctx.ops.notify(
            f"Wrote {', '.join(fields)} to {count_of(written, 'sample')}{not_found}",
            variant="warning" if unknown else "success",
        )
        return {"fields": fields, "samples": written, "unknown": unknown}


class ExportScores(ScoreOperator):
    """Exports scores to a file."""

    config = foo.OperatorConfig(
        name="export_learnability",
        label="Export learnability scores",
        description="Write ids, files, labels, scores and ranks of samples to a csv, npz or parquet file",
        icon="download",
        dynamic=True,
        risk_level=types.RiskLevel.MEDIUM,
    )
    verb = "Export"

    def add_inputs(self, ctx: foo.ExecutionContext, inputs: types.Object, form: types.Property) -> None:
        """Add the file."""
        samples = ctx.target_view()
        default = re.sub(r"[^A-Za-z0-9._-]+", "_", ctx.dataset.name).lstrip(".")[:80] + "-learnability.csv"
        description = f"In {allowed_folders()[0]} on the server; .csv, .npz or .parquet"
        path = inputs.str("path", default=default, required=True, label="File", description=description)
        try:
            target = _find_target({"path": default, **ctx.params})
        except ValueError as error:
            refuse(path, str(error))
        else:
            if target.exists():
                inputs.view("exists", types.Warning(label=f"{target} exists and will be replaced"))
                inputs.bool("overwrite", default=False, label="Replace it")
                if ctx.params.get("overwrite") is not True:
                    refuse(form, "Tick “Replace it” to continue")
        inputs.md(f"**{format_count(len(samples))}** samples", name="count")

    def run(self, ctx: foo.ExecutionContext) -> dict[str, Any]:
        """Write the file."""
        path = _find_target(ctx.params)
        if path.exists() and not read_bool(ctx.params, "overwrite"):
            raise ValueError(f"path: {path} exists: choose another file, or replace it with overwrite=True")
        count = export_scores(ctx.target_view(), path)
        ctx.ops.notify(f"Exported {count_of(count, 'sample')} to {path}", variant="success")
        return {"path": str(path), "samples": count}


def _read_name(params: dict[str, Any]) -> str | None:
    name = read_text(params, "name")
    if name is not None:
        check_model_name(name)
    return name


def _find_source(params: dict[str, Any]) -> Path:
    """Return the file to import.

    Raises:
        ValueError: if it does not exist, or users of the App must not read it
    """
    path = resolve_path(params.get("path"))
    if not path.is_file():
        raise ValueError(f"path: there is no file {short_repr(str(path))}")
    return path


def _find_target(params: dict[str, Any]) -> Path:
    """Return the file to export to.

    Raises:
        ValueError: if users of the App must not write it, or it holds anything but exported scores
    """
    path = resolve_path(params.get("path"))
    try:
        check_replaceable(path)
    except ValueError as error:
        raise ValueError(f"path: {error}") from None
    return path
