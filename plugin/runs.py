"""What a run is, in the words of the App: for the form that manages runs, and for the panel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import fiftyone as fo

from fiftyone_learnability.dataset.notes import fields_of_run
from fiftyone_learnability.dataset.registry import list_runs
from fiftyone_learnability.scores.evidence import Evidence
from fiftyone_learnability.training.options import RunSettings, default_of, public_settings

from .names import NETWORKS, format_count, format_models, network_label

SHOWN_SETTINGS = (
    *("epochs", "runs", "seed", "batch_size", "lr", "image_size", "device", "precision", "measure", "measure_every"),
    *("stop_when_stable", "horizontal_flip", "crop_padding", "weight_decay"),
)
"""The settings that a run is described by, in this order; all but the first are named only where they were changed."""

_LABELS = {"precision": "Precision", "crop_padding": "Crop padding", "weight_decay": "Weight decay"}


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
        fields: the fields that deleting the run takes
        params: the params with which the form of *Compute learnability* describes the same run; empty if it cannot
    """

    key: str
    title: str
    when: str
    num_samples: int
    label_field: str = ""
    settings: str = ""
    accuracy: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    fields: list[str] = field(default_factory=list)
    params: dict[str, Any] = field(default_factory=dict)

    @property
    def markdown(self) -> str:
        """The whole description in Markdown, without the fields."""
        labels = f", labels of `{self.label_field}`" if self.label_field else ""
        lines = [f"**{self.title}**: {format_count(self.num_samples)} samples{labels}, {self.when}"]
        lines += [self.settings] if self.settings else []
        lines += ["; ".join(self.accuracy)] if self.accuracy else []
        return "\n\n".join(lines) + "".join(f"\n* {remark}" for remark in self.remarks)


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
    config = info.config
    sources = format_models(getattr(config, "of", ()))
    # later runs have taken over the fields of networks that are no longer listed
    networks = format_models(config.models) or "networks that were computed again since"
    kind = getattr(config, "kind", "")
    titles = {
        "consensus": f"Consensus of {sources}",
        "imported": f"Imported scores of {networks}",
        "label_fixes": f"Suggested labels by {sources}",
    }
    settings = vars(config)
    is_trained = kind not in titles and bool(settings.get("epochs"))
    return RunInfo(
        key=key,
        title=titles.get(kind, networks),
        when=f"{info.timestamp:%Y-%m-%d %H:%M}",
        num_samples=config.num_samples,
        label_field=config.label_field or "",
        settings=_describe_settings(settings) if is_trained else "",
        accuracy=_describe_accuracy(settings.get("evidence") or {}),
        remarks=list(settings.get("remarks") or []),
        fields=fields_of_run(dataset, key),
        params=_params_of(settings) if is_trained else {},
    )


def _describe_settings(settings: Mapping[str, Any]) -> str:
    at_most = "up to " if settings.get("stop_when_stable") else ""
    parts = [f"{at_most}{settings['epochs']} epochs"]
    about = public_settings()
    for name in SHOWN_SETTINGS[1:]:
        value = settings.get(name)
        if value is None or value is False or value == _default_of(name, settings):
            continue
        label = about[name].title or _LABELS[name]
        label = label[0].lower() + label[1:]
        parts.append(label if value is True else f"{label} {value:g}" if isinstance(value, float) else f"{label} {value}")
    if settings.get("horizontal_flip") is False:
        parts.append("no mirror images")
    return ", ".join(parts)


def _default_of(name: str, settings: Mapping[str, Any]) -> Any:
    """Return the value that a setting has unless it was chosen, in the form in which runs store it."""
    if name in ("image_size", "lr"):
        defaults = RunSettings(batch_size=settings.get("batch_size") or RunSettings.batch_size)
        return defaults.pixels if name == "image_size" else defaults.lr
    # what the machine had is worth saying
    return None if name in ("device", "precision") else default_of(name)


def _describe_accuracy(stored: Mapping[str, Mapping[str, Any]]) -> list[str]:
    sentences = []
    for model, entry in stored.items():
        evidence = Evidence.from_config(entry)
        accuracy = " and ".join(f"{value:.0%}" for value in evidence.accuracy)
        sentences.append(f"{network_label(model)}: final accuracy {accuracy} on its training images, chance {evidence.chance:.0%}")
    return sentences


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
