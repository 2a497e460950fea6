"""Names that operators, panel and jobs share, and how numbers are said."""

from __future__ import annotations

PLUGIN = "@fiftyone-learnability/learnability"
COMPUTE = f"{PLUGIN}/compute_learnability"
SORT = f"{PLUGIN}/sort_by_learnability"
TAG = f"{PLUGIN}/tag_by_difficulty"
SAVE_VIEW = "@voxel51/operators/save_view"

NETWORKS = {"resnet20": "ResNet-20", "vgg16": "VGG-16", "mobilenet": "MobileNet"}


def network_label(model: str) -> str:
    """The name of a network for people."""
    return NETWORKS.get(model, model)


def duration(seconds: float) -> str:
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


def number(count: int) -> str:
    """A whole number with separators."""
    return f"{count:,}"
