"""Operators that import scores from files and export scores to files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fiftyone.operators as foo
import fiftyone.operators.types as types

from fiftyone_learnability import export_scores, import_scores
from fiftyone_learnability.dataset.imported import check_model_name
from fiftyone_learnability.dataset.notes import score_field
from fiftyone_learnability.dataset.target import free_names
from fiftyone_learnability.exchange import models_in
from fiftyone_learnability.experiment.score_files import check_replaceable, read_columns
from fiftyone_learnability.scores.checks import short_repr

from ..names import format_count, format_models
from ..private_dataset import private_dataset
from .forms import (
    KEEP,
    ScoreOperator,
    add_existing_input,
    add_list_input,
    count_of,
    hold,
    label_networks,
    quote_fields,
    read_existing,
    show_error,
)
from .params import read_bool, read_choices, read_text, warn_of_selection
from .server_files import allowed_folders, newest_files, resolve_path

MOST_FILES = 5
"""How many files of the folder the form names."""

MOST_COLUMNS = 100
"""The most columns of a file that the form offers."""


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

    def add_inputs(self, ctx: foo.ExecutionContext, inputs: types.Object) -> None:
        """Add the file, then what it needs: the networks to take from it, their names, the column to read."""
        samples = ctx.target_view()
        folder = allowed_folders()[0]
        files = newest_files(folder, MOST_FILES)
        there = f"In {folder} on the server: {', '.join(files) or 'no files yet'}"
        inputs.str("path", label="File", description=f"{there}. A csv, npz or parquet file with an id or a filepath")
        # an empty form is not wrong yet
        if not ctx.params.get("path"):
            hold(inputs, "path must name a file")
            return
        try:
            source = Source.read(ctx.params)
        except ValueError as error:
            show_error(inputs, error)
            return
        source.add_inputs(ctx, inputs)
        if not source.models and not ctx.params.get("name"):
            hold(inputs, "name must name the scores")
            return
        try:
            request = ImportRequest.read(ctx, source)
        except ValueError as error:
            show_error(inputs, error)
            return
        if request.wanted_names != free_names(samples, request.wanted_names, ["learnability"]):
            fields = [score_field(name) for name in request.wanted_names if ctx.dataset.has_field(score_field(name))]
            add_existing_input(inputs, fields, free_names(samples, request.wanted_names, ["learnability"]))
            request = ImportRequest.read(ctx, source, existing=KEEP)
        warn_of_selection(inputs, ctx, len(samples))
        fields = [score_field(name) for name in request.names]
        inputs.md(
            f"Writes {quote_fields(fields)} and the other scores in the file to those of "
            f"**{format_count(len(samples))}** samples that the file lists.",
            name="among",
        )

    def run(self, ctx: foo.ExecutionContext) -> dict[str, Any]:
        """Read the file and write its scores."""
        source = Source.read(ctx.params)
        request = ImportRequest.read(ctx, source)
        with private_dataset(ctx):
            reports = import_scores(
                ctx.target_view(),
                source.path,
                request.names,
                models=request.models or None,
                learnability=request.column,
                overwrite=request.overwrite,
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


@dataclass(frozen=True)
class Source:
    """A file to import.

    Attributes:
        path: the file
        models: the models that it names; none for a file of another tool
        columns: the names of its columns
    """

    path: Path
    models: list[str]
    columns: list[str]

    @classmethod
    def read(cls, params: dict[str, Any]) -> Source:
        """Read the file's name from the params of the form, and the names of its columns from the file.

        Raises:
            ValueError: if there is no such file, it cannot be read, or users of the App must not read it
        """
        path = _find_source(params)
        try:
            return cls(path, models_in(path), read_columns(path))
        except ValueError as error:
            raise ValueError(f"path: {error}") from error

    def add_inputs(self, ctx: foo.ExecutionContext, inputs: types.Object) -> None:
        """Add the inputs that this file needs."""
        if self.models:
            add_list_input(inputs, "models", "Networks in the file", label_networks(self.models), self.models)
            description = "Empty: as in the file. For several networks one name each, separated by commas"
            inputs.str("name", label="Save as", description=description)
            return
        inputs.str("name", label="Save as", description="A name for these scores, such as that of the model")
        columns = [column for column in self.columns if column not in ("id", "filepath", "label")][:MOST_COLUMNS]
        if columns:
            default = "learnability" if "learnability" in columns else columns[0]
            view = types.DropdownView()
            for column in columns:
                view.add_choice(column, label=column)
            description = "High must mean easy. Columns with the names of other scores are read too"
            inputs.enum("learnability", columns, default=default, label="Column", description=description, view=view)


@dataclass(frozen=True)
class ImportRequest:
    """The values of the form.

    Attributes:
        models: the models to take from the file; none if it names none
        wanted_names: the names to save them under
        names: the same, or free names in their place if the form asks to keep what exists
        column: the column to read as learnability
        overwrite: True if existing scores may be replaced
    """

    models: list[str]
    wanted_names: list[str]
    names: list[str]
    column: str
    overwrite: bool

    @classmethod
    def read(cls, ctx: foo.ExecutionContext, source: Source, existing: str | None = None) -> ImportRequest:
        """Read the params.

        Args:
            ctx: the context of the operator
            source: the file
            existing (None): the value of the param ``existing`` if it is not given

        Raises:
            ValueError: if a param is invalid
        """
        params = {"existing": existing, **ctx.params}
        models = read_choices(params, "models", source.models, source.models) if source.models else []
        wanted = _read_names(params, models)
        keep, overwrite = read_existing(params)
        names = free_names(ctx.target_view(), wanted, ["learnability"]) if keep else wanted
        return cls(models, wanted, names, read_text(params, "learnability") or "learnability", overwrite)


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

    def add_inputs(self, ctx: foo.ExecutionContext, inputs: types.Object) -> None:
        """Add the file."""
        samples = ctx.target_view()
        default = re.sub(r"[^A-Za-z0-9._-]+", "_", ctx.dataset.name).lstrip(".")[:80] + "-learnability.csv"
        description = f"In {allowed_folders()[0]} on the server; .csv, .npz or .parquet"
        inputs.str("path", default=default, required=True, label="File", description=description)
        try:
            target = _find_target({"path": default, **ctx.params})
        except ValueError as error:
            show_error(inputs, error)
        else:
            if target.exists():
                inputs.view("exists", types.Warning(label=f"{target} exists and will be replaced"))
                inputs.bool("overwrite", default=False, label="Replace it")
                if ctx.params.get("overwrite") is not True:
                    hold(inputs, "Tick “Replace it” to continue")
        inputs.md(f"**{format_count(len(samples))}** samples", name="count")

    def run(self, ctx: foo.ExecutionContext) -> dict[str, Any]:
        """Write the file."""
        path = _find_target(ctx.params)
        if path.exists() and not read_bool(ctx.params, "overwrite"):
            raise ValueError(f"path: {path} exists: choose another file, or replace it with overwrite=True")
        count = export_scores(ctx.target_view(), path)
        ctx.ops.notify(f"Exported {count_of(count, 'sample')} to {path}", variant="success")
        return {"path": str(path), "samples": count}


def _read_names(params: dict[str, Any], models: list[str]) -> list[str]:
    """Return the names to save models under, by default their own.

    Raises:
        ValueError: if a name is missing or invalid, or they are not one for each model
    """
    text = read_text(params, "name")
    if text is None and not models:
        raise ValueError("name must name the scores, because the file does not name its model")
    if text is None:
        return models
    names = re.split(r"[\s,]+", text.strip(" ,"))
    for name in names:
        check_model_name(name)
    if len(names) != max(len(models), 1) or len(set(names)) < len(names):
        each = f"for each of {format_models(models)}, each once" if models else "without spaces"
        raise ValueError(f"name must be one name {each}, not {short_repr(text)}")
    return names


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
