"""The panel's plots as Plotly traces and layouts, which are plain dicts. Their size does not grow with the dataset.

Events of clicks and boxes name positions in these traces; :mod:`binning` turns them into ranges of scores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fiftyone_learnability.scores.comparison import Comparison

from ..names import network_label, score_label
from .binning import FloatArray, Histogram2D, rounded

Trace = dict[str, Any]
Figure = tuple[list[Trace], dict[str, Any]]
"""Traces and layout."""

Axis = tuple[str, str]
"""A network and one of its scores."""

ACCENT = "#ff6d04"
ACCENT_BACKGROUND = "rgba(255,109,4,0.35)"
COLOURS = ("#3b82f6", "#ff6d04", "#10b981", "#a855f7", "#eab308", "#ef4444", "#14b8a6", "#ec4899")
_VIRIDIS = (
    *("#440154", "#48186a", "#472d7b", "#424086", "#3b528b", "#33638d", "#2c728e", "#26828e", "#21918c"),
    *("#1fa088", "#28ae80", "#3fbc73", "#5ec962", "#84d44b", "#addc30", "#d8e219", "#fde725"),
)
SCALE = [[index / (len(_VIRIDIS) - 1), colour] for index, colour in enumerate(_VIRIDIS)]
"""Plotly's Viridis, written out because the colour of a text depends on that of its cell."""
HISTOGRAM_BINS = 40
CONFIG = {"displayModeBar": False, "responsive": True, "scrollZoom": False}
"""Without zoom, a wheel over a plot scrolls the panel, most of which is plots."""


def layout(height: int, x: str = "", y: str = "", **more: Any) -> dict[str, Any]:
    """Return a layout with narrow margins.

    Args:
        height: the height in pixels
        x: the title of the first axis
        y: the title of the second axis
        **more: further settings of Plotly; those of an axis are added to the defaults
    """
    # ticks keep the first numbers of both axes apart
    ticks = {"ticks": "outside", "ticklen": 6, "tickcolor": "rgba(128,128,128,0.4)"}
    axis = {"automargin": True, "zeroline": False, "gridcolor": "rgba(128,128,128,0.2)", **ticks}
    settings: dict[str, Any] = {
        "height": height,
        "autosize": True,
        "margin": {"l": 48, "r": 12, "t": 12, "b": 40},
        # a standoff keeps the titles away from long names of classes
        "xaxis": {**axis, "title": {"text": x, "standoff": 10}},
        "yaxis": {**axis, "title": {"text": y, "standoff": 10}},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "showlegend": False,
        "hoverlabel": {"align": "left", "bgcolor": "#333", "bordercolor": "#333", "font": {"color": "#fff"}},
    }
    for name, value in more.items():
        settings[name] = {**settings[name], **value} if isinstance(settings.get(name), dict) else value
    return settings


def frame(x: tuple[float, float], y: tuple[float, float] | None) -> dict[str, Any]:
    """Return a frame around a part of a plot.

    Args:
        x: from where to where on the x axis
        y: from where to where on the y axis, None for the whole height
    """
    (x0, x1), (y0, y1) = x, (0, 1) if y is None else y
    ends = {"x0": x0, "x1": x1, "y0": y0, "y1": y1, **({"yref": "paper"} if y is None else {})}
    return {"type": "rect", **ends, "line": {"color": ACCENT, "width": 3}}


def square(width: float = 1, height: float = 1) -> dict[str, dict[str, Any]]:
    """Return settings of both axes that keep a plot square in a panel of any width.

    Args:
        width: the range of the x axis
        height: the range of the y axis
    """
    return {
        "xaxis": {"constrain": "domain", "constraintoward": "left"},
        "yaxis": {
            "constrain": "domain",
            "constraintoward": "top",
            "scaleanchor": "x",
            "scaleratio": width / height,
        },
    }


def cell_texts(heatmap: Trace, texts: list[list[str]], size: int = 12) -> Trace:
    """Return the texts of a heatmap's cells, each in black or white, whichever can be read better on its cell.

    Plotly's own texts are grey, with too little contrast.

    Args:
        heatmap: the heatmap, with its limits
        texts: the texts by row and column, "" for none
        size: the size of the font in pixels
    """
    low, high = heatmap["zmin"], heatmap["zmax"]
    cells = [
        (heatmap["x"][column], heatmap["y"][row], text, _readable_on((heatmap["z"][row][column] - low) / (high - low)))
        for row, line in enumerate(texts)
        for column, text in enumerate(line)
        if text and heatmap["z"][row][column] is not None
    ]
    x, y, shown, colours = (list(part) for part in zip(*cells, strict=True)) if cells else ([], [], [], [])
    return {
        "type": "scatter",
        "mode": "text",
        "x": x,
        "y": y,
        "text": shown,
        "textfont": {"size": size, "color": colours},
        # hovers and clicks are for the cells
        "hoverinfo": "skip",
    }


def _readable_on(value: float) -> str:
    """Return black or white, whichever has the higher contrast (WCAG 2) with a place of the colour scale, 0 to 1."""
    channels = [[int(colour[at : at + 2], 16) / 255 for colour in _VIRIDIS] for at in (1, 3, 5)]
    red_green_blue = np.array([np.interp(value, np.linspace(0, 1, len(_VIRIDIS)), channel) for channel in channels])
    linear = np.where(red_green_blue <= 0.04045, red_green_blue / 12.92, ((red_green_blue + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ (0.2126, 0.7152, 0.0722))
    return "#000" if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else "#fff"


def correlation_matrix(comparison: Comparison, pair: tuple[str, str]) -> Figure:
    """Draw the paper's Table 1: Pearson correlation of learnability, and of rank in parentheses.

    Args:
        comparison: the correlations
        pair: the cells to frame; none unless these are two different networks
    """
    names = [network_label(model) for model in comparison.models]
    size = len(names)
    digits = 3 if size <= 5 else 2

    def text(row: int, column: int) -> str:
        pearson, of_rank = comparison.pearson[row, column], comparison.pearson_rank[row, column]
        return f"{pearson:.{digits}f}<br>({of_rank:.{digits}f})"

    def hover(row: int, column: int) -> str:
        return (
            f"{names[row]} ~ {names[column]}<br>Pearson of learnability {comparison.pearson[row, column]:.3f}"
            f"<br>Pearson of rank {comparison.pearson_rank[row, column]:.3f}"
            f"<br>Spearman {comparison.spearman[row, column]:.3f}"
            f"<br>{comparison.num_samples[row, column]:,} samples"
        )

    def off_diagonal(write: Callable[[int, int], str]) -> list[list[str]]:
        return [["" if row == column else write(row, column) for column in range(size)] for row in range(size)]

    values = [
        [None if row == column or np.isnan(value) else round(float(value), 4) for column, value in enumerate(line)]
        for row, line in enumerate(comparison.pearson)
    ]
    trace = {
        "type": "heatmap",
        "x": names,
        "y": names,
        "z": values,
        "zmin": 0,
        "zmax": 1,
        "colorscale": SCALE,
        "showscale": False,
        "hovertext": off_diagonal(hover),
        "hoverinfo": "text",
        "xgap": 2,
        "ygap": 2,
    }
    # the pair may also be two scores of one network, or contain the consensus, which is no network
    framed = pair[0] != pair[1] and set(pair) <= set(comparison.models)
    places = [tuple(comparison.models.index(model) for model in order) for order in (pair, pair[::-1]) if framed]
    frames = [frame((column - 0.5, column + 0.5), (row - 0.5, row + 0.5)) for row, column in places]
    axes = square()
    return [trace, cell_texts(trace, off_diagonal(text), 12 if size <= 5 else 10)], layout(
        70 + int(np.clip(84 * size, 190, 460)),
        xaxis={**axes["xaxis"], "range": [-0.5, size - 0.5], "fixedrange": True},
        yaxis={**axes["yaxis"], "range": [size - 0.5, -0.5], "fixedrange": True},
        shapes=frames,
    )


def pair_histogram(histogram: Histogram2D, x: Axis, y: Axis) -> Figure:
    """Draw a 2-D histogram, as in the paper's Figure 1a and 1b.

    A heatmap shows the counts. An invisible point lies over each cell, because Plotly reports boxes and clicks only
    for points.

    Args:
        histogram: the counts
        x: network and score of the first axis
        y: network and score of the second axis
    """
    centres = [(edges[:-1] + edges[1:]) / 2 for edges in (histogram.x, histogram.y)]
    counts = histogram.counts.T
    logarithms = np.where(counts > 0, np.log10(np.maximum(counts, 1)), np.nan)
    heatmap = {
        "type": "heatmap",
        "x": rounded(centres[0]),
        "y": rounded(centres[1]),
        "z": [[None if np.isnan(value) else round(float(value), 3) for value in line] for line in logarithms],
        "colorscale": SCALE,
        "showscale": False,
        "hoverinfo": "skip",
    }
    cells = histogram.cells
    # name the axes by network, or by score if both belong to one network
    names = [network_label(model) if x[0] != y[0] else score_label(score) for model, score in (x, y)]
    points = {
        "type": "scatter",
        "mode": "markers",
        "x": rounded(centres[0][cells[:, 0]]),
        "y": rounded(centres[1][cells[:, 1]]),
        "text": format_samples(histogram.counts[cells[:, 0], cells[:, 1]]),
        "hovertemplate": f"%{{text}}<br>{names[0]} %{{x:.3g}}<br>{names[1]} %{{y:.3g}}<extra></extra>",
        "marker": {"size": 9, "opacity": 0, "color": ACCENT},
        "selected": {"marker": {"opacity": 0.35}},
        "unselected": {"marker": {"opacity": 0}},
    }
    x_range, y_range = ([float(edges[0]), float(edges[-1])] for edges in (histogram.x, histogram.y))
    axes = square(x_range[1] - x_range[0], y_range[1] - y_range[0])
    return [heatmap, points], layout(
        460,
        score_label(x[1], x[0]),
        score_label(y[1], y[0]),
        xaxis={**axes["xaxis"], "range": x_range},
        yaxis={**axes["yaxis"], "range": y_range},
        # samples that both networks score the same lie on the diagonal; two different scores have none
        shapes=[_diagonal(x_range)] if x[1] == y[1] else [],
        dragmode="select",
        hovermode="closest",
        clickmode="event",
    )


def _diagonal(limits: list[float]) -> dict[str, Any]:
    (low, high) = limits
    line = {"color": "rgba(128,128,128,0.8)", "width": 1, "dash": "dot"}
    return {"type": "line", "x0": low, "y0": low, "x1": high, "y1": high, "line": line, "layer": "above"}


def score_histogram(values: FloatArray, edges: FloatArray, axis: Axis) -> Figure:
    """Draw the histogram of one score.

    Args:
        values: ``(N,)`` values; those that are not finite are omitted
        edges: the edges of the bars
        axis: network and score
    """
    counts = np.histogram(values[np.isfinite(values)], bins=edges)[0]
    bars = {
        "type": "bar",
        "x": rounded((edges[:-1] + edges[1:]) / 2),
        "y": counts.tolist(),
        "width": float(edges[1] - edges[0]),
        "marker": {"color": COLOURS[0], "line": {"width": 0}},
        "hovertemplate": "%{y:,} samples at %{x:.3g}<extra></extra>",
    }
    return [bars], layout(
        220,
        score_label(axis[1], axis[0]),
        "samples",
        dragmode="select",
        selectdirection="h",
        bargap=0.05,
        xaxis={"range": [float(edges[0]), float(edges[-1])]},
    )


@dataclass(frozen=True, eq=False)
class Curve:
    """How a network learned a sample.

    Attributes:
        id: the id of the sample
        name: its name for users; names may be equal
        model: the network
        epochs: ``(M,)`` the measured epochs, counted from 1
        probabilities: ``(M,)`` probability of the label after each of them
    """

    id: str
    name: str
    model: str
    epochs: NDArray[np.int64]
    probabilities: NDArray[np.float16]


DASHES = {"solid": "solid", "dot": "dotted", "dash": "dashed", "dashdot": "dash-dotted", "longdash": "long-dashed"}
"""Plotly's dashes, and their names for users."""


def sample_colours(curves: list[Curve]) -> dict[str, str]:
    """Return the colour of each sample's lines, by id; empty for a single sample, whose lines differ by network."""
    ids = list(dict.fromkeys(curve.id for curve in curves))
    return {id: COLOURS[index % len(COLOURS)] for index, id in enumerate(ids)} if len(ids) > 1 else {}


def network_dashes(curves: list[Curve]) -> dict[str, str]:
    """Return the dash of the lines of each network where the colours are those of samples."""
    models = dict.fromkeys(curve.model for curve in curves)
    return {model: list(DASHES)[index % len(DASHES)] for index, model in enumerate(models)}


def sample_curves(curves: list[Curve]) -> Figure:
    """Draw the probability of the label after each epoch, one line per sample and network.

    The lines of several samples differ by colour, and those of networks by dash. The panel shows the samples beside the
    plot, each in its colour. So only the networks of a single sample have a legend.

    Args:
        curves: the curves
    """
    colours, dashes = sample_colours(curves), network_dashes(curves)
    traces: list[Trace] = []
    for curve in curves:
        network = network_label(curve.model)
        name = f"{curve.name}, {network}" if colours else network
        own = COLOURS[list(dashes).index(curve.model) % len(COLOURS)]
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": curve.epochs.tolist(),
                "y": [round(float(value), 3) for value in curve.probabilities],
                "name": name,
                "line": {
                    "color": colours.get(curve.id, own),
                    "dash": dashes[curve.model] if colours else "solid",
                },
                "hovertemplate": f"{name}<br>epoch %{{x}}: %{{y:.2f}}<extra></extra>",
            }
        )
    return traces, layout(
        300,
        "epoch",
        "probability of the label",
        xaxis=_epochs(max(int(curve.epochs[-1]) for curve in curves)),
        yaxis=_shares(),
        **_legend(not colours and len(curves) > 1),
    )


HALF = {
    "type": "line",
    "xref": "paper",
    "x0": 0,
    "x1": 1,
    "y0": 0.5,
    "y1": 0.5,
    "line": {"color": "rgba(128,128,128,0.8)", "width": 1, "dash": "dash"},
}
"""A line in a plot of probabilities above which a label is certainly the predicted one."""

ABOUT_HALF = {
    "text": "predicted above this line",
    "xref": "paper",
    "x": 1,
    "y": 0.5,
    "xanchor": "right",
    "yanchor": "bottom",
    "showarrow": False,
    "font": {"size": 10, "color": "#888"},
}


def level(epochs: NDArray[np.int64], value: float, name: str, colour: str) -> Trace:
    """Return a dotted line at a value that does not change over the epochs."""
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [int(epochs[0]), int(epochs[-1])],
        "y": [round(value, 3)] * 2,
        "name": name,
        "line": {"color": colour, "dash": "dot"},
        "hovertemplate": f"{name}: %{{y:.2f}}<extra></extra>",
    }


def training_curves(curves: dict[str, dict[str, FloatArray]]) -> Figure:
    """Draw the accuracy on the training images after each epoch, one line per network and run.

    Args:
        curves: ``(runs, epochs)`` train_loss and measured_accuracy of each network
    """
    traces: list[Trace] = []
    # imported scores have no epochs
    curves = {model: arrays for model, arrays in curves.items() if arrays["measured_accuracy"].size}
    for index, (model, arrays) in enumerate(curves.items()):
        for run, accuracy in enumerate(arrays["measured_accuracy"]):
            # a run may have measured only some epochs, and may have stopped early
            epochs = np.flatnonzero(~np.isnan(accuracy))
            accuracy, loss = accuracy[epochs], arrays["train_loss"][run, epochs]
            # a training loop of the user's own need not record losses
            loss_text = "" if np.isnan(loss).any() else ", loss %{customdata:.3f}"
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "x": (epochs + 1).tolist(),
                    "y": [round(float(value), 4) for value in accuracy],
                    "customdata": [round(float(value), 4) for value in loss] if loss_text else [],
                    "name": network_label(model),
                    "showlegend": run == 0,
                    "line": {"color": COLOURS[index % len(COLOURS)]},
                    "hovertemplate": f"{network_label(model)}<br>epoch %{{x}}: accuracy %{{y:.3f}}{loss_text}"
                    "<extra></extra>",
                }
            )
    return traces, layout(
        260,
        "epoch",
        "accuracy",
        xaxis=_epochs(max((arrays["measured_accuracy"].shape[1] for arrays in curves.values()), default=1)),
        yaxis=_shares(),
        **_legend(True),
    )


def _epochs(count: int) -> dict[str, Any]:
    """Return an axis of epochs. By default Plotly would put ticks between whole epochs if there are few."""
    margin = max(0.2, 0.02 * count)
    return {"tickformat": "d", "range": [1 - margin, count + margin], **({"dtick": 1} if count <= 10 else {})}


def _shares() -> dict[str, Any]:
    """Return an axis from 0 to 1, with room for lines at its ends."""
    return {"range": [-0.03, 1.03]}


def _legend(is_shown: bool) -> dict[str, Any]:
    """Return a legend above the plot, where it covers no title of an axis. By default, it would take half the width."""
    place = {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"}
    return {"showlegend": is_shown, "legend": place}


def format_samples(counts: NDArray[np.int64]) -> list[str]:
    """Write each number of samples, as "1,234 samples"."""
    return [f"{count:,} sample{'s' if count > 1 else ''}" for count in counts.tolist()]
