"""Names that operators, panel and jobs share, and how numbers are said."""

from __future__ import annotations

from collections.abc import Iterable

from fiftyone_learnability.scores.catalog import SCORES

PLUGIN = "@fiftyone-learnability/learnability"
COMPUTE = f"{PLUGIN}/compute_learnability"
SORT = f"{PLUGIN}/sort_by_learnability"
TAG = f"{PLUGIN}/tag_by_difficulty"
SUGGEST_FIXES = f"{PLUGIN}/suggest_label_fixes"
APPLY_FIXES = f"{PLUGIN}/apply_label_fixes"
WRITE_SCORES = f"{PLUGIN}/write_learnability_scores"
SAVE_VIEW = "@voxel51/operators/save_view"

NETWORKS = {"resnet20": "ResNet-20", "vgg16": "VGG-16", "mobilenet": "MobileNet"}


def network_label(model: str) -> str:
    """The name of a network for people."""
    return "Consensus" if model == "consensus" else NETWORKS.get(model, model)


def score_label(score: str, by: str | None = None) -> str:
    """The name of a score within a sentence or at an axis, as "learnability by ResNet-20".

    Args:
        score: the name of the score
        by (None): the network
    """
    title = SCORES[score].title
    # abbreviations stay
    title = title[0].lower() + title[1:] if title[1:].islower() else title
    return title if by is None else f"{title} by {network_label(by)}"


def format_models(models: Iterable[str]) -> str:
    """The names of some networks for people."""
    names = [network_label(model) for model in models]
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + f" and {names[-1]}" if names else ""


def format_duration(seconds: float) -> str:
    """A time for people, with no more digits than it deserves."""
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
    """A whole number with separators."""
    return f"{count:,}"
