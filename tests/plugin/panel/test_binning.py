from __future__ import annotations

import numpy as np
import pytest

from ..harness import plugin_module


@pytest.mark.parametrize("values", [[], [np.nan], [np.inf, -np.inf], [0.0], [1e-300, 2e-300], [1e9, 1e9 + 1e-6]])
@pytest.mark.parametrize("score", ["learnability", "rank", "forgetting", "aum", "variability", "spread"])
def test_edges_enclose_all_finite_values(score: str, values: list[float]) -> None:
    binning = plugin_module("panel.binning")
    array = np.array(values, float)
    edges = binning.score_edges(score, 10, array)
    known = array[np.isfinite(array)]
    assert np.isfinite(edges).all()
    assert (np.diff(edges) > 0).all()
    assert len(edges) <= 12
    assert np.histogram(known, edges)[0].sum() == len(known)
