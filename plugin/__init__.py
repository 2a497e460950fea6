"""The FiftyOne plugin: operators and a panel that call the package, which does the work.

FiftyOne runs this module again on every registry call but keeps its submodules. No module here imports torch, so
opening the App does not load it.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

if importlib.util.find_spec("fiftyone_learnability") is None:
    # downloaded as a plugin without installing the package, which lies next to this folder
    sys.path.append(str(Path(__file__).resolve().parent.parent))

from .operators.compute import ComputeLearnability
from .operators.curate import CompareModels, ShowDisagreement, SortByLearnability, TagByDifficulty
from .operators.exchange import ExportScores, ImportScores
from .operators.labels import ApplyLabelFixes, ReviewLabelFixes, SuggestLabelFixes
from .operators.runs import ManageRuns
from .operators.scores import ComputeConsensus, WriteScores
from .operators.speed import MeasureSpeed
from .panel.panel import LearnabilityPanel
from .panel.sample import SamplePanel


def register(plugin: Any) -> None:
    """Register the operators and the panel. FiftyOne calls this."""
    for cls in (
        ComputeLearnability,
        SortByLearnability,
        TagByDifficulty,
        ShowDisagreement,
        SuggestLabelFixes,
        ApplyLabelFixes,
        ReviewLabelFixes,
        WriteScores,
        ComputeConsensus,
        ImportScores,
        ExportScores,
        ManageRuns,
        CompareModels,
        MeasureSpeed,
        LearnabilityPanel,
        SamplePanel,
    ):
        plugin.register(cls)
