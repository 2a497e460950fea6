"""The operators that write further fields, of scores that were measured or come from elsewhere, and export them all."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import fiftyone.operators.types as types

from fiftyone_learnability import add_scores, export_scores, find_models, find_scores, import_scores, write_consensus
from fiftyone_learnability.consensus import CONSENSUS
from fiftyone_learnability.dataset.imported import check_model_name
from fiftyone_learnability.dataset.notes import score_field
from fiftyone_learnability.experiment.score_files import is_exported
from fiftyone_learnability.scores.catalog import SCORES
from fiftyone_learnability.scores.checks import short_repr

from ..names import format_count, format_models
from ..panel.table import measured_scores
from ..private_dataset import private_dataset
from .folder import allowed_folders, file_within
from .forms import ScoreOperator, ask_overwrite, ask_several, networks_named, refuse
from .params import read_bool, read_choices, read_text, warn_of_selection

ALL = "all"


class WriteScores(ScoreOperator):
    """Writes further scores of networks that were trained."""

    title = "Write more scores"

    @property
    def config(self) -> foo.OperatorConfig:
        """What FiftyOne needs to know of the operator."""
        return foo.OperatorConfig(
            name="write_learnability_scores",
            label=self.title,
            description="Write further scores that a training has measured: hits, variability, forgetting and others",
            icon="add_chart",
            dynamic=True,
            risk_level=types.RiskLevel.MEDIUM,
            view_target=False,
        )

    def lacks(self, ctx: foo.ExecutionContext) -> str | None:
        """Something must be left to be written."""
        return super().lacks(ctx) or (
            None if _unwritten(ctx.dataset) else "All scores that the runs have measured are written already"
        )

    def ask(self, ctx: foo.ExecutionContext, inputs: types.Object, form: types.Property) -> None:
        """Networks and scores."""
        unwritten = _unwritten(ctx.dataset)
        ask_several(inputs, "models", "Networks", networks_named(list(unwritten)), list(unwritten))
        choices = {name: f"{SCORES[name].title}: {SCORES[name].description}" for name in _all_of(unwritten)}
        ask_several(inputs, "scores", "Scores", {ALL: "All that were measured", **choices}, [ALL])
        try:
            models, scores = _what(ctx.dataset, ctx.params)
        except ValueError as error:
            inputs.view("wrong", types.Error(label=str(error)))
            refuse(form, str(error))
            return
        fields = [score_field(model, score) for model in models for score in unwritten[model] if score in scores]
        inputs.md("Writes " + ", ".join(f"`{field}`" for field in fields) + ".", name="consequences")

    def execute(self, ctx: foo.ExecutionContext) -> dict[str, Any]:
        """Writes them."""
        if problem := self.lacks(ctx):
            raise ValueError(problem)
        models, scores = _what(ctx.dataset, ctx.params)
        unwritten, added = _unwritten(ctx.dataset), []
        with private_dataset(ctx):
            for model in models:
                if wanted := [score for score in unwritten[model] if score in scores]:
                    added += add_scores(ctx.dataset, wanted, [model])
        ctx.ops.reload_dataset()
        ctx.ops.notify(f"Wrote {', '.join(added)}", variant="success")
        return {"fields": added}


class ComputeConsensus(ScoreOperator):
    """Writes what several networks say together."""

    title = "Compute consensus"

    @property
    def config(self) -> foo.OperatorConfig:
        """What FiftyOne needs to know of the operator."""
        return foo.OperatorConfig(
            name="compute_consensus",
            label=self.title,
            description="Write the mean standardized learnability of several networks, and their disagreement",
            icon="join_inner",
            dynamic=True,
            risk_level=types.RiskLevel.MEDIUM,
        )

    def lacks(self, ctx: foo.ExecutionContext) -> str | None:
        """Two networks are needed."""
        return None if len(find_models(ctx.dataset)) > 1 else "A consensus needs the scores of at least two networks"

    def ask(self, ctx: foo.ExecutionContext, inputs: types.Object, form: types.Property) -> None:
        """Networks, and whether to replace."""
        samples, models = ctx.target_view(), find_models(ctx.dataset)
        ask_several(inputs, "models", "Networks", networks_named(models), models)
        fields = [score_field(CONSENSUS, score) for score in ("learnability", "rank", "disagreement")]
        present = [field for field in fields if ctx.dataset.has_field(field)]
        try:
            read_choices(ctx.params, "models", models, models, 2)
            if present:
                ask_overwrite(ctx, inputs, form, "There is a consensus", ", ".join(f"`{field}`" for field in present))
        except ValueError as error:
            inputs.view("wrong", types.Error(label=str(error)))
            refuse(form, str(error))
        warn_of_selection(inputs, ctx, len(samples))
        written = ", ".join(f"`{field}`" for field in fields)
        inputs.md(
            f"Over **{format_count(len(samples))}** samples. Writes {written}. Learnability is standardized: 0 is "
            "average, high is easy.",
            name="consequences",
        )

    def execute(self, ctx: foo.ExecutionContext) -> dict[str, Any]:
        """Writes it."""
        if problem := self.lacks(ctx):
            raise ValueError(problem)
        networks = find_models(ctx.dataset)
        models = read_choices(ctx.params, "models", networks, networks, 2)
        with private_dataset(ctx):
            report = write_consensus(ctx.target_view(), models, overwrite=read_bool(ctx.params, "overwrite"))
        ctx.ops.reload_dataset()
        ctx.ops.notify(
            f"Consensus of {format_models(models)} on {format_count(report.num_written)} samples", variant="success"
        )
        return {"key": report.key, "fields": report.fields, "samples": report.num_written}


class ImportScores(ScoreOperator):
    """Reads scores of other trainings from a file."""

    title = "Import learnability scores"

    @property
    def config(self) -> foo.OperatorConfig:
        """What FiftyOne needs to know of the operator."""
        return foo.OperatorConfig(
            name="import_learnability",
            label=self.title,
            description="Read scores from a csv, npz or parquet file: exported ones, or those of your own training",
            icon="upload",
            dynamic=True,
            risk_level=types.RiskLevel.MEDIUM,
        )

    def lacks(self, ctx: foo.ExecutionContext) -> str | None:
        """Nothing is needed."""
        return None

    def ask(self, ctx: foo.ExecutionContext, inputs: types.Object, form: types.Property) -> None:
        """The file, and what its scores are called."""
        samples = ctx.target_view()
        path = inputs.str(
            "path",
            required=True,
            label="File",
            description=f"In {allowed_folders()[0]} on the server; .csv, .npz or .parquet, with an id or filepath",
        )
        inputs.str("name", label="Name of the model", description="Not needed if the file was exported from here")
        inputs.bool("advanced", default=False, label="More options", view=types.SwitchView())
        if ctx.params.get("advanced"):
            about = "The column that is taken as learnability; high must be easy"
            inputs.str("learnability", default="learnability", label="Column", description=about)
        try:
            name = read_text(ctx.params, "name")
            if name is not None:
                check_model_name(name)
        except ValueError as error:
            inputs.view("wrong", types.Error(label=str(error)))
            refuse(form, str(error))
            name = None
        try:
            _source(ctx.params)
        except ValueError as error:
            # an empty form is not yet wrong
            if ctx.params.get("path"):
                path.invalid, path.error_message = True, str(error)
        if name is not None and ctx.dataset.has_field(score_field(name)):
            ask_overwrite(ctx, inputs, form, "Scores exist already", f"`{score_field(name)}`")
        elif name is None:
            # which models a file names is not known before it is read
            inputs.bool("overwrite", default=False, label="Replace scores that exist already")
        warn_of_selection(inputs, ctx, len(samples))
        inputs.md(f"Looks for its samples among **{format_count(len(samples))}**", name="among")

    def execute(self, ctx: foo.ExecutionContext) -> dict[str, Any]:
        """Reads the file and writes its scores."""
        path = _source(ctx.params)
        name = read_text(ctx.params, "name")
        if name is not None:
            check_model_name(name)
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
        more = f"; {format_count(unknown)} that the file names are not here" if unknown else ""
        ctx.ops.notify(
            f"Wrote {', '.join(fields)} to {format_count(written)} samples{more}",
            variant="warning" if unknown else "success",
        )
        return {"fields": fields, "samples": written, "unknown": unknown}


class ExportScores(ScoreOperator):
    """Writes the scores into a file."""

    title = "Export learnability scores"

    @property
    def config(self) -> foo.OperatorConfig:
        """What FiftyOne needs to know of the operator."""
        return foo.OperatorConfig(
            name="export_learnability",
            label=self.title,
            description="Write ids, files, labels, scores and ranks of samples to a csv, npz or parquet file",
            icon="download",
            dynamic=True,
            risk_level=types.RiskLevel.MEDIUM,
        )

    def ask(self, ctx: foo.ExecutionContext, inputs: types.Object, form: types.Property) -> None:
        """Where to."""
        samples = ctx.target_view()
        default = re.sub(r"[^A-Za-z0-9._-]+", "_", ctx.dataset.name).lstrip(".")[:80] + "-learnability.csv"
        about = f"In {allowed_folders()[0]} on the server; .csv, .npz or .parquet"
        path = inputs.str("path", default=default, required=True, label="File", description=about)
        try:
            given = _target({"path": default, **ctx.params})
        except ValueError as error:
            path.invalid, path.error_message = True, str(error)
        else:
            if given.exists():
                inputs.view("exists", types.Warning(label=f"{given} exists and will be replaced"))
                inputs.bool("overwrite", default=False, label="Replace it")
                if ctx.params.get("overwrite") is not True:
                    refuse(form, "Tick “Replace it” to go on")
        inputs.md(f"**{format_count(len(samples))}** samples", name="count")

    def execute(self, ctx: foo.ExecutionContext) -> dict[str, Any]:
        """Writes the file."""
        path = _target(ctx.params)
        if path.exists() and not read_bool(ctx.params, "overwrite"):
            raise ValueError(f"path: {path} exists: choose another file, or replace it with overwrite=True")
        if problem := self.lacks(ctx):
            raise ValueError(problem)
        count = export_scores(ctx.target_view(), path)
        ctx.ops.notify(f"Wrote {format_count(count)} samples to {path}", variant="success")
        return {"path": str(path), "samples": count}


def _unwritten(dataset: fo.Dataset) -> dict[str, list[str]]:
    """The scores that runs have measured and that are no fields, by network; only of networks that have some."""
    found = {}
    for model in find_models(dataset):
        written = find_scores(dataset, model)
        if left := [score for score in measured_scores(dataset, model) if score not in written]:
            found[model] = left
    return found


def _all_of(unwritten: dict[str, list[str]]) -> list[str]:
    return [score for score in SCORES if any(score in scores for scores in unwritten.values())]


def _what(dataset: fo.Dataset, params: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The networks, and the scores of them to be written.

    Raises:
        ValueError: if they are not possible, or a network has not measured one
    """
    unwritten = _unwritten(dataset)
    models = read_choices(params, "models", unwritten, list(unwritten))
    of_chosen = {model: unwritten[model] for model in models}
    scores = read_choices(params, "scores", [ALL, *_all_of(of_chosen)], [ALL])
    if ALL in scores:
        return models, _all_of(of_chosen)
    for model in models:
        lacking = [score for score in scores if score not in measured_scores(dataset, model)]
        if lacking:
            raise ValueError(f"the run of {format_models([model])} has not measured {', '.join(lacking)}")
    return models, scores


def _source(params: dict[str, Any]) -> Path:
    """The file that is read.

    Raises:
        ValueError: if there is none, or it is not where the App's users may read
    """
    found = file_within(params.get("path"))
    if not found.is_file():
        raise ValueError(f"path: there is no file {short_repr(str(found))}")
    return found


def _target(params: dict[str, Any]) -> Path:
    """The file that is written.

    Raises:
        ValueError: if it is not where the App's users may write, or something else than exported scores is there
    """
    found = file_within(params.get("path"))
    if found.exists() and not is_exported(found):
        raise ValueError(f"path: {found} exists and holds no exported scores: choose another file")
    return found
