"""The FiftyOne plugin: thin operators and a panel over the package.

FiftyOne runs this module again on every registry call, while submodules stay cached. torch is not imported until a
network is trained.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

if importlib.util.find_spec("fiftyone_learnability") is None:
    # downloaded as a plugin, not installed with pip: the package is beside this folder
    sys.path.append(str(Path(__file__).resolve().parent.parent))

from .operators.compute import ComputeLearnability
from .operators.curate import CompareModels, ShowDisagreement, SortByLearnability, TagByDifficulty
from .operators.exchange import ExportScores, ImportScores
from .operators.labels import ApplyLabelFixes, SuggestLabelFixes
from .operators.runs import ManageRuns
from .operators.scores import ComputeConsensus, WriteScores
from .panel.panel import LearnabilityPanel


def register(plugin: Any) -> None:
    """Register operators and panel; FiftyOne calls this."""
    for cls in (
        ComputeLearnability,
        SortByLearnability,
        TagByDifficulty,
        ShowDisagreement,
        SuggestLabelFixes,
        ApplyLabelFixes,
        WriteScores,
        ComputeConsensus,
        ImportScores,
        ExportScores,
        ManageRuns,
        CompareModels,
        LearnabilityPanel,
    ):
        plugin.register(cls)
