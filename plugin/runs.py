"""What a run is, in the words of the App: for the panel, and for the form that manages runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo

from fiftyone_learnability.dataset.internals import serialize_stages
from fiftyone_learnability.dataset.notes import fields_of_run, note_of, score_field
from fiftyone_learnability.dataset.registry import find_run, list_runs
from fiftyone_learnability.scores.evidence import Evidence
from fiftyone_learnability.training.options import RunSettings, public_settings

from .names import COMPUTE, NETWORKS, format_count, format_models, network_label

RENAME, DELETE, AGAIN = "rename", "delete", "again"
"""What can be done with a run."""

_NOT_SHOWN = ("epochs", "runs", "label_field", "el2n_epoch")
"""Settings that a description names by themselves, or that follow from the others."""


@dataclass(frozen=True)
class RunInfo:
    """A run, as people read it.

    Attributes:
        key: the key
        title: kind and networks
        when: the time of writing
        num_samples: the number of samples
        label_field: the field of the labels, empty if there is none
        settings: what was trained, such as "200 epochs, batch size 64"; empty for runs that trained nothing
        accuracy: for each network its accuracy on the training images at the end, beside chance
        remarks: what did not go as planned, one sentence each
        fields: the fields that deleting the run deletes
        params: what the form of *Compute learnability* needs to compute the same; empty if it cannot
    """

    key: str
    title: str
    when: datetime
    num_samples: int
    label_field: str = ""
    settings: str = ""
    accuracy: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    fields: list[str] = field(default_factory=list)
    params: dict[str, Any] = field(default_factory=dict)

    @property
    def field_names(self) -> str:
        """The names of its fields."""
        return ", ".join(self.fields) or "It has no fields any more"

    @property
    def markdown(self) -> str:
        """The description in Markdown, without the fields."""
        labels = f", labels of {self.label_field}" if self.label_field else ""
        lines = [f"**{self.title}**: {format_count(self.num_samples)} samples{labels}, {self.when:%Y-%m-%d %H:%M}"]
        lines += [line for line in (self.settings, "; ".join(self.accuracy)) if line]
        return "  \n".join(lines) + "".join(f"\n* {remark}" for remark in self.remarks)


def describe_runs(dataset: fo.Dataset) -> list[RunInfo]:
    """Describe all runs of a dataset, the newest first.

    Args:
        dataset: the dataset
    """
    return sorted((describe_run(dataset, key) for key in list_runs(dataset)), key=lambda run: run.when, reverse=True)


def describe_run(dataset: fo.Dataset, key: str) -> RunInfo:
    """Describe a run.

    Args:
        dataset: the dataset
        key: the key of the run
    """
    info = dataset.get_run_info(key)
    settings = vars(info.config)
    sources = format_models(settings.get("of") or ())
    # later runs have taken over the fields of networks that are no longer listed
    networks = format_models(info.config.models) or "networks that were computed again since"
    kind = settings.get("kind", "")
    titles = {
        "consensus": f"Consensus of {sources}",
        "imported": f"Imported scores of {networks}",
        "label_fixes": f"Suggested labels by {sources}",
    }
    is_trained = kind not in titles and bool(settings.get("epochs"))
    evidence = {model: Evidence.from_config(entry) for model, entry in (settings.get("evidence") or {}).items()}
    return RunInfo(
        key=key,
        title=titles.get(kind, networks),
        when=info.timestamp,
        num_samples=info.config.num_samples,
        label_field=settings.get("label_field") or "",
        settings=_describe_settings(settings) if is_trained else "",
        accuracy=[f"{network_label(model)}: {describe_accuracy(known)}" for model, known in evidence.items()],
        remarks=_describe_omitted(settings) + list(settings.get("remarks") or []),
        fields=fields_of_run(dataset, key),
        params=_params_of(settings) if is_trained else {},
    )


def describe_accuracy(evidence: Evidence) -> str:
    """Return the final accuracy of a network beside chance, such as "97% accurate (chance 10%)"."""
    least, most = (f"{100 * edge(evidence.accuracy):.0f}" for edge in (min, max))
    return f"{least if least == most else f'{least} to {most}'}% accurate (chance {100 * evidence.chance:.0f}%)"


def trust_lines(dataset: fo.Dataset, models: Mapping[str, Evidence | None], with_epochs: bool) -> dict[str, str]:
    """Say of each network what its scores rest on: accuracy against chance, epochs, labels and time.

    Args:
        dataset: the dataset
        models: the final accuracy of networks, and of the consensus; None where it is not known
        with_epochs: whether to name the epochs

    Returns:
        half a sentence by network
    """
    runs, lines = list_runs(dataset), {}
    for model, evidence in models.items():
        key = find_run(dataset, model)
        if key not in runs:
            lines[model] = "its run was deleted, so its accuracy is not known"
            continue
        info, note = dataset.get_run_info(key), note_of(dataset.get_field(score_field(model)))
        kind, label_field = getattr(info.config, "kind", ""), info.config.label_field
        if kind == "consensus":
            basis = [f"of {format_models(info.config.of)}"]
        else:
            basis = ["accuracy not known" if evidence is None else describe_accuracy(evidence)]
            basis += ["imported"] if kind == "imported" else []
            basis += [f"{note.epochs} epochs"] if with_epochs and note.epochs else []
            basis += [f"labels of {label_field}"] if label_field else []
        lines[model] = ", ".join([*basis, f"{info.timestamp:%Y-%m-%d}"])
    return lines


def prompt_again(ctx: foo.ExecutionContext, key: str, on_success: Any) -> None:
    """Open the form of *Compute learnability* with the settings of a run, on the samples of the run.

    Args:
        ctx: the context of the panel
        key: the key of the run
        on_success: called when the form has been submitted

    Raises:
        ValueError: if the App cannot compute the run again
    """
    params = describe_run(ctx.dataset, key).params
    if not params:
        raise ValueError(f"the run {key!r} cannot be computed again in the App, which does not have its networks")
    # of a run over the whole dataset, FiftyOne returns the dataset
    view = ctx.dataset.load_run_view(key).view()
    whole = not serialize_stages(view)
    if not whole:
        ctx.ops.set_view(view)
    target = "DATASET" if whole else "CURRENT_VIEW"
    ctx.prompt(COMPUTE, params={**params, "view_target": target}, on_success=on_success)


def _describe_settings(settings: Mapping[str, Any]) -> str:
    at_most = "up to " if settings.get("stop_when_stable") else ""
    parts = [f"{at_most}{settings['epochs']} epochs"]
    parts += [f"{settings['runs']} runs"] if settings.get("runs", 1) > 1 else []
    defaults = RunSettings(batch_size=settings.get("batch_size") or RunSettings.batch_size)
    # what the machine had is always named
    usual = {"lr": defaults.lr, "image_size": defaults.pixels, "device": None, "precision": None}
    usual["batch_size"] = RunSettings.batch_size
    for name, about in public_settings().items():
        value = settings.get(name)
        if not about.is_stored or name in _NOT_SHOWN or value == usual.get(name, getattr(defaults, name)):
            continue
        label = about.title or name.replace("_", " ")
        label = label[0].lower() + label[1:]
        if isinstance(value, bool):
            parts.append(label if value else f"no {label}")
        elif value is not None:
            parts.append(f"{label} {value:g}" if isinstance(value, float) else f"{label} {value}")
    return ", ".join(parts)


def _describe_omitted(settings: Mapping[str, Any]) -> list[str]:
    """Say how many samples were left out, and why."""
    reasons = {"num_unlabelled": "without a label", "num_unreadable": "with an image that cannot be read"}
    counts = {reason: settings.get(name) or 0 for name, reason in reasons.items()}
    return [f"left out: {format_count(count)} {reason}" for reason, count in counts.items() if count]


def _params_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the params with which the form describes a run; empty if the App does not offer one of its networks."""
    architectures = settings.get("architectures") or {}
    names = settings.get("models") or []
    models = [architectures.get(name, name) for name in names]
    if not models or not {*models} <= {*NETWORKS}:
        return {}
    params = {"models": models, "preset": "custom", "epochs": settings["epochs"], "advanced": True}
    for name in ("label_field", "runs", "seed", "batch_size", "lr", "image_size", "measure", "measure_every"):
        params[name] = settings.get(name)
    params["horizontal_flip"] = settings.get("horizontal_flip", True)
    # the form has the bound that is the default, or none
    params["stop_when_stable"] = bool(settings.get("stop_when_stable"))
    params["name"] = ", ".join(names) if names != models else None
    return {name: value for name, value in params.items() if value is not None}
