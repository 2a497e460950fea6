"""Which training images are easy, hard, mislabelled or redundant: sample-wise learnability for FiftyOne.

    import fiftyone as fo
    import fiftyone_learnability as fol

    dataset = fo.load_dataset("cifar10-train")
    fol.compute_learnability(dataset, models=["resnet20", "vgg16", "mobilenet"], epochs=200)
    dataset.sort_by("learnability_resnet20")  # hardest first

Names are loaded when they are first used, so that importing the package costs next to nothing and torch is loaded
only where a network is trained.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from .compare import compare_models, find_models, hardest_samples, load_scores, plot_comparison
    from .compute import compute_learnability
    from .curate import (
        disagreement,
        export_scores,
        scores_table,
        select_by_difficulty,
        sort_by_learnability,
        tag_by_difficulty,
    )
    from .dataset.fields import WriteError
    from .dataset.registry import delete_run, list_runs, load_results, rename_run
    from .experiment.comparison import Comparison, compare_scores
    from .experiment.progress import ProgressEvent
    from .experiment.results import ModelResults
    from .science.scores import hits, learnability, learnability_rank
    from .science.tracker import LearnabilityTracker
    from .science.training import TrainingDivergedError

_HOMES = {
    ".compare": ("compare_models", "find_models", "hardest_samples", "load_scores", "plot_comparison"),
    ".compute": ("compute_learnability",),
    ".curate": (
        "disagreement",
        "export_scores",
        "scores_table",
        "select_by_difficulty",
        "sort_by_learnability",
        "tag_by_difficulty",
    ),
    ".dataset.fields": ("WriteError",),
    ".dataset.registry": ("delete_run", "list_runs", "load_results", "rename_run"),
    ".experiment.comparison": ("Comparison", "compare_scores"),
    ".experiment.progress": ("ProgressEvent",),
    ".experiment.results": ("ModelResults",),
    ".science.scores": ("hits", "learnability", "learnability_rank"),
    ".science.tracker": ("LearnabilityTracker",),
    ".science.training": ("TrainingDivergedError",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Comparison",
    "LearnabilityTracker",
    "ModelResults",
    "ProgressEvent",
    "TrainingDivergedError",
    "WriteError",
    "__version__",
    "compare_models",
    "compare_scores",
    "compute_learnability",
    "delete_run",
    "disagreement",
    "export_scores",
    "find_models",
    "hardest_samples",
    "hits",
    "learnability",
    "learnability_rank",
    "list_runs",
    "load_results",
    "load_scores",
    "plot_comparison",
    "rename_run",
    "scores_table",
    "select_by_difficulty",
    "sort_by_learnability",
    "tag_by_difficulty",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
