"""Names of operators, networks and scores, and the format of numbers, for panel, operators and jobs."""

from __future__ import annotations

import re
from collections.abc import Iterable

from fiftyone_learnability.scores.catalog import SCORES
from fiftyone_learnability.training.options import public_settings

PLUGIN = "@fiftyone-learnability/learnability"
COMPUTE = f"{PLUGIN}/compute_learnability"
MEASURE_SPEED = f"{PLUGIN}/measure_learnability_speed"
TAG = f"{PLUGIN}/tag_by_difficulty"
SUGGEST_FIXES = f"{PLUGIN}/suggest_label_fixes"
APPLY_FIXES = f"{PLUGIN}/apply_label_fixes"
REVIEW_FIXES = f"{PLUGIN}/review_label_fixes"
MANAGE_RUNS = f"{PLUGIN}/manage_learnability_runs"
SAVE_VIEW = "@voxel51/operators/save_view"

NETWORKS = {"resnet20": "ResNet-20", "vgg16": "VGG-16", "mobilenet": "MobileNet"}


def network_label(model: str) -> str:
    """Return the name of a network for users."""
    return "Consensus" if model == "consensus" else NETWORKS.get(model, model)


def score_label(score: str, by: str | None = None) -> str:
    """Return the name of a score for a sentence or an axis, such as "learnability by ResNet-20".

    Args:
        score: the name of the score
        by (None): the network
    """
    title = SCORES[score].title
    # keep abbreviations, such as AUM, in capitals
    title = title[0].lower() + title[1:] if title[1:].islower() else title
    return title if by is None else f"{title} by {network_label(by)}"


def format_models(models: Iterable[str]) -> str:
    """Return the names of networks for users, such as "ResNet-20, VGG-16 and MobileNet"."""
    names = [network_label(model) for model in models]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def format_duration(seconds: float) -> str:
    """Return a duration for users, rounded to a sensible unit."""
    if seconds < 1.5:
        return "1 second"
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} hours"
    return f"{seconds / 86400:.1f} days"


def format_count(count: int) -> str:
    """Return a whole number with thousands separators."""
    return f"{count:,}"


def in_words_of_the_form(message: str) -> str:
    """Return a message of the package with the labels of the form in place of the names of arguments.

    Args:
        message: the message, which may name arguments as in ``skip_failures=True`` or ``image_size``
    """

    def label(match: re.Match[str]) -> str:
        name, equals = match.groups()
        # a name without an underscore is also an ordinary word
        if equals is None and "_" not in name:
            return name
        is_before_value = equals == "=" and match.string[match.end() : match.end() + 1].isalnum()
        return f"“{_LABELS[name]}”" + " " * is_before_value

    names = "|".join(_LABELS)
    return re.sub(rf"(?<![\w“'])({names})\b(=(?:(?:True|False|None)\b)?)?", label, message)


_SETTINGS = public_settings()
_LABELS = {name: about.title for name, about in _SETTINGS.items() if about.title}
_LABELS |= {"overwrite": "Replace", "skip_failures": _SETTINGS["skip_failures"].help}
