from __future__ import annotations

import json

import numpy as np

from ..harness import plugin_module


def test_curves_skip_the_epochs_that_were_not_measured() -> None:
    """Each second epoch was measured, and the second run ended before the first."""
    nan = np.nan
    arrays = {
        "measured_accuracy": np.array([[nan, 0.3, nan, 0.5, nan, 0.7], [nan, 0.2, nan, 0.4, nan, nan]]),
        "train_loss": np.array([[6.0, 5, 4, 3, 2, 1], [6.5, 5.5, 4.5, 3.5, nan, nan]]),
    }
    traces, layout = plugin_module("panel.figures").training_curves({"resnet20": arrays})
    assert [trace["x"] for trace in traces] == [[2, 4, 6], [2, 4]]
    assert [trace["y"] for trace in traces] == [[0.3, 0.5, 0.7], [0.2, 0.4]]
    assert [trace["customdata"] for trace in traces] == [[5, 3, 1], [5.5, 3.5]]
    assert all("loss" in trace["hovertemplate"] for trace in traces)
    # the browser's JSON knows no NaN
    json.dumps([traces, layout], allow_nan=False)


def test_lines_of_samples_are_drawn_at_the_measured_epochs() -> None:
    epochs = np.array([2, 4, 6])
    curve = ("cat …0001", "resnet20", epochs, np.array([0.25, 0.5, 1], np.float16))
    (trace,), _ = plugin_module("panel.figures").sample_curves([curve])
    assert (trace["x"], trace["y"]) == ([2, 4, 6], [0.25, 0.5, 1.0])
