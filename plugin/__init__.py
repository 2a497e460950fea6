"""The plugin's face in the FiftyOne App: thin operators and a panel over the package, which holds the science.

FiftyOne executes this module anew on every registry call, while submodules stay cached; torch is not imported until
a network is trained.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

if importlib.util.find_spec("fiftyone_learnability") is None:
    # downloaded as a plugin and not installed with pip: the package lies beside this folder
    sys.path.append(str(Path(__file__).resolve().parent.parent))

from .operators.compute import ComputeLearnability
from .operators.exchange import ComputeConsensus, ExportScores, ImportScores, WriteScores
from .operators.labels import ApplyLabelFixes, SuggestLabelFixes
from .operators.tools import CompareModels, ManageRuns, ShowDisagreement, SortByLearnability, TagByDifficulty
from .panel.panel import LearnabilityPanel


def register(plugin: Any) -> None:
    """Registers operators and panel, as FiftyOne asks."""
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
