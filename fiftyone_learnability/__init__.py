"""Which training images are easy, hard, mislabelled or redundant: sample-wise learnability for FiftyOne.

    import fiftyone as fo
    import fiftyone_learnability as fol

    dataset = fo.load_dataset("cifar10-train")
    fol.compute_learnability(dataset, models=["resnet20", "vgg16", "mobilenet"], epochs=200)
    fol.sort_by_learnability(dataset, "resnet20")  # hardest first

Names are loaded on first use: importing the package takes a few milliseconds, and torch is loaded only to train.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from .compare import compare_models, hardest_samples, plot_comparison
    from .compute import compute_learnability
    from .consensus import plot_stability, reliability, stability, write_consensus
    from .curate import disagreement, select_by_difficulty, sort_by_learnability, tag_by_difficulty
    from .dataset.additions import add_scores
    from .dataset.columns import WriteError
    from .dataset.fields import WriteReport
    from .dataset.registry import list_runs
    from .dataset.runs import delete_run, load_results, rename_run
    from .dataset.scored import find_models, find_scores, load_scores
    from .exchange import export_scores, import_scores, pred_probs, scores_table
    from .experiment.progress import ProgressEvent
    from .experiment.results import ModelResults
    from .labels import apply_label_fixes, label_problems, suggest_label_fixes
    from .review import decide_labels, review_queue, start_label_review, undo_decisions
    from .scores.comparison import Comparison, compare_scores
    from .scores.formulas import (
        ambiguity,
        aum,
        el2n,
        forgetting,
        hits,
        learnability,
        learnability_rank,
        learned_epoch,
        variability,
    )
    from .scores.reliability import Reliability
    from .subsets import Curriculum, curriculum, select_subset
    from .training.run import TrainingDivergedError, TrainingMemoryError
    from .training.tracker import LearnabilityTracker
    from .writing import write_scores

_HOMES = {
    ".compare": ("compare_models", "hardest_samples", "plot_comparison"),
    ".compute": ("compute_learnability",),
    ".consensus": ("plot_stability", "reliability", "stability", "write_consensus"),
    ".curate": ("disagreement", "select_by_difficulty", "sort_by_learnability", "tag_by_difficulty"),
    ".dataset.additions": ("add_scores",),
    ".dataset.columns": ("WriteError",),
    ".dataset.fields": ("WriteReport",),
    ".dataset.registry": ("list_runs",),
    ".dataset.runs": ("delete_run", "load_results", "rename_run"),
    ".dataset.scored": ("find_models", "find_scores", "load_scores"),
    ".exchange": ("export_scores", "import_scores", "pred_probs", "scores_table"),
    ".experiment.progress": ("ProgressEvent",),
    ".experiment.results": ("ModelResults",),
    ".labels": ("apply_label_fixes", "label_problems", "suggest_label_fixes"),
    ".review": ("decide_labels", "review_queue", "start_label_review", "undo_decisions"),
    ".scores.comparison": ("Comparison", "compare_scores"),
    ".scores.formulas": (
        "ambiguity",
        "aum",
        "el2n",
        "forgetting",
        "hits",
        "learnability",
        "learnability_rank",
        "learned_epoch",
        "variability",
    ),
    ".scores.reliability": ("Reliability",),
    ".subsets": ("Curriculum", "curriculum", "select_subset"),
    ".training.run": ("TrainingDivergedError", "TrainingMemoryError"),
    ".training.tracker": ("LearnabilityTracker",),
    ".writing": ("write_scores",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Comparison",
    "Curriculum",
    "LearnabilityTracker",
    "ModelResults",
    "ProgressEvent",
    "Reliability",
    "TrainingDivergedError",
    "TrainingMemoryError",
    "WriteError",
    "WriteReport",
    "__version__",
    "add_scores",
    "ambiguity",
    "apply_label_fixes",
    "aum",
    "compare_models",
    "compare_scores",
    "compute_learnability",
    "curriculum",
    "decide_labels",
    "delete_run",
    "disagreement",
    "el2n",
    "export_scores",
    "find_models",
    "find_scores",
    "forgetting",
    "hardest_samples",
    "hits",
    "import_scores",
    "label_problems",
    "learnability",
    "learnability_rank",
    "learned_epoch",
    "list_runs",
    "load_results",
    "load_scores",
    "plot_comparison",
    "plot_stability",
    "pred_probs",
    "reliability",
    "rename_run",
    "review_queue",
    "scores_table",
    "select_by_difficulty",
    "select_subset",
    "sort_by_learnability",
    "stability",
    "start_label_review",
    "suggest_label_fixes",
    "tag_by_difficulty",
    "undo_decisions",
    "variability",
    "write_consensus",
    "write_scores",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
