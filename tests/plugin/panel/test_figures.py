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


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_texts_can_be_read_on_every_colour() -> None:
    """Their contrast is at least 4.5, which WCAG asks for."""
    figures = plugin_module("panel.figures")
    places, colours = zip(*figures.SCALE, strict=True)
    assert list(places) == np.linspace(0, 1, len(places)).tolist()
    # at each colour of the scale, and half way between two of them
    heatmap = {"x": [*range(2 * len(places) - 1)], "y": ["row"], "zmin": 0, "zmax": 2 * len(places) - 2}
    heatmap["z"] = [heatmap["x"]]
    texts = figures.cell_texts(heatmap, [[str(value) for value in heatmap["x"]]])
    assert texts["hoverinfo"] == "skip"
    assert set(texts["textfont"]["color"]) == {"#000", "#fff"}
    for value, text in enumerate(texts["textfont"]["color"]):
        below, above = (colours[index] for index in (value // 2, (value + 1) // 2))
        channels = [(int(below[at : at + 2], 16) + int(above[at : at + 2], 16)) // 2 for at in (1, 3, 5)]
        high, low = sorted([luminance("#{:02x}{:02x}{:02x}".format(*channels)), luminance(text)], reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 4.5, (channels, text)


def test_lines_of_samples_are_drawn_at_the_measured_epochs() -> None:
    figures, epochs = plugin_module("panel.figures"), np.array([2, 4, 6])
    curve = figures.Curve("1" * 24, "cat, 1.png", "resnet20", epochs, np.array([0.25, 0.5, 1], np.float16))
    (trace,), _ = figures.sample_curves([curve])
    assert (trace["x"], trace["y"]) == ([2, 4, 6], [0.25, 0.5, 1.0])


def test_samples_differ_by_colour_and_networks_by_dash() -> None:
    figures, epochs = plugin_module("panel.figures"), np.array([1, 2])
    values = np.array([0.25, 0.5], np.float16)
    # two samples of the same name
    curves = [
        figures.Curve(id, "cat, 1.png", model, epochs, values)
        for id in ("1" * 24, "2" * 24)
        for model in ("resnet20", "vgg16")
    ]
    traces, layout = figures.sample_curves(curves)
    lines = [trace["line"] for trace in traces]
    assert [line["dash"] for line in lines] == ["solid", "dot"] * 2
    assert lines[0]["color"] == lines[1]["color"] != lines[2]["color"] == lines[3]["color"]
    assert list(figures.sample_colours(curves).values()) == [lines[0]["color"], lines[2]["color"]]
    # the panel shows the samples beside the plot
    assert not layout["showlegend"]
    # the lines of a single sample differ by colour
    traces, layout = figures.sample_curves(curves[:2])
    assert [trace["name"] for trace in traces] == ["ResNet-20", "VGG-16"]
    assert {trace["line"]["dash"] for trace in traces} == {"solid"}
    assert traces[0]["line"]["color"] != traces[1]["line"]["color"]
    assert layout["showlegend"]
