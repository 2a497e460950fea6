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
from .binning import FloatArray, Histogram2D, rounded, score_edges

Trace = dict[str, Any]
Figure = tuple[list[Trace], dict[str, Any]]
"""Traces and layout."""

Axis = tuple[str, str]
"""A network and one of its scores."""

ACCENT = "#ff6d04"
COLOURS = ("#3b82f6", "#ff6d04", "#10b981", "#a855f7", "#eab308", "#ef4444", "#14b8a6", "#ec4899")
SCALE = "Viridis"
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
    axis = {"automargin": True, "zeroline": False, "gridcolor": "rgba(128,128,128,0.2)"}
    settings: dict[str, Any] = {
        "height": height,
        "autosize": True,
        "margin": {"l": 48, "r": 12, "t": 12, "b": 40},
        "xaxis": {**axis, "title": {"text": x}},
        "yaxis": {**axis, "title": {"text": y}},
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


def correlation_matrix(comparison: Comparison, pair: tuple[str, str]) -> Figure:
    """Draw the paper's Table 1: Pearson correlation of learnability, and of rank in parentheses.

    Args:
        comparison: the correlations
        pair: the cells to frame; none unless these are two different networks
    """
    names = [network_label(model) for model in comparison.models]
    size = len(names)

    def text(row: int, column: int) -> str:
        return f"{comparison.pearson[row, column]:.3f}<br>({comparison.pearson_rank[row, column]:.3f})"

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
        "text": off_diagonal(text),
        "texttemplate": "%{text}",
        "hovertext": off_diagonal(hover),
        "hoverinfo": "text",
        "xgap": 2,
        "ygap": 2,
    }
    # the pair may also be two scores of one network, or contain the consensus, which is no network
    framed = pair[0] != pair[1] and set(pair) <= set(comparison.models)
    places = [tuple(comparison.models.index(model) for model in order) for order in (pair, pair[::-1]) if framed]
    frames = [frame((column - 0.5, column + 0.5), (row - 0.5, row + 0.5)) for row, column in places]
    return [trace], layout(
        90 + 64 * size,
        xaxis={"side": "bottom", "fixedrange": True},
        yaxis={"autorange": "reversed", "fixedrange": True},
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
    return [heatmap, points], layout(
        380,
        score_label(x[1], x[0]),
        score_label(y[1], y[0]),
        xaxis={"range": [float(histogram.x[0]), float(histogram.x[-1])]},
        yaxis={"range": [float(histogram.y[0]), float(histogram.y[-1])]},
        dragmode="select",
        hovermode="closest",
        clickmode="event",
    )


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
class ClassRows:
    """The plot of the distribution of learnability in each class.

    Attributes:
        plot: traces and layout
        classes: the index of the class in each row
        edges: the edges of the columns
        counts: ``(C, B)`` the number of samples by class and column
    """

    plot: Figure
    classes: list[int]
    edges: FloatArray
    counts: NDArray[np.int64]


def class_distribution(
    values: FloatArray, labels: NDArray[np.int64], classes: tuple[Any, ...], hardest_first: bool | None, model: str
) -> ClassRows:
    """Draw the distribution of learnability in each class, one row per class.

    Args:
        values: ``(N,)`` learnability, NaN for none
        labels: ``(N,)`` index into the classes, -1 for no label
        classes: the classes
        hardest_first: True sorts the hardest class first, False last; None sorts by name
        model: the network
    """
    known = np.isfinite(values) & (labels >= 0)
    edges = score_edges("learnability", 20, values)
    column = np.clip(np.searchsorted(edges, values[known], side="right") - 1, 0, len(edges) - 2)
    counts = np.zeros((len(classes), len(edges) - 1), np.int64)
    np.add.at(counts, (labels[known], column), 1)
    sizes = counts.sum(axis=1)
    sums = np.bincount(labels[known], values[known], len(classes))
    means = np.divide(sums, sizes, out=np.zeros(len(classes)), where=sizes > 0)
    present = [index for index in range(len(classes)) if sizes[index]]
    if hardest_first is not None:
        present.sort(key=lambda index: means[index], reverse=not hardest_first)
    shares = counts / np.maximum(sizes, 1)[:, None]
    heatmap = {
        "type": "heatmap",
        "x": rounded((edges[:-1] + edges[1:]) / 2),
        "y": [f"{classes[index]} ({means[index]:.2f})" for index in present],
        "z": [[round(float(share), 4) if share else None for share in shares[index]] for index in present],
        "text": [[f"{count:,} of {sizes[index]:,}" for count in counts[index]] for index in present],
        "hovertemplate": "%{y}<br>%{text} at %{x:.2f}<extra></extra>",
        "colorscale": SCALE,
        "showscale": False,
        "ygap": 2,
    }
    shape = layout(
        110 + 24 * len(present),
        score_label("learnability", model),
        xaxis={"range": [float(edges[0]), float(edges[-1])]},
        yaxis={"autorange": "reversed", "type": "category"},
    )
    return ClassRows(([heatmap], shape), present, edges, counts)


def sample_curves(
    curves: list[tuple[str, str, NDArray[np.int64], NDArray[np.float16]]],
) -> Figure:
    """Draw the probability of the label after each epoch, one line per sample and network.

    Args:
        curves: (sample, network, ``(M,)`` measured epochs, ``(M,)`` probabilities) of each line
    """
    samples = list(dict.fromkeys(sample for sample, *_ in curves))
    models = list(dict.fromkeys(model for _, model, *_ in curves))
    dashes = ("solid", "dot", "dash", "dashdot", "longdash")
    traces: list[Trace] = []
    for sample, model, epochs, values in curves:
        # one sample: a colour per network; several: a colour per sample and a dash per network
        colour = COLOURS[(models.index(model) if len(samples) == 1 else samples.index(sample)) % len(COLOURS)]
        name = network_label(model) if len(samples) == 1 else f"{sample}, {network_label(model)}"
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": epochs.tolist(),
                "y": [round(float(value), 3) for value in values],
                "name": name,
                "line": {
                    "color": colour,
                    "dash": dashes[models.index(model) % len(dashes)] if len(samples) > 1 else "solid",
                },
                "hovertemplate": f"{name}<br>epoch %{{x}}: %{{y:.2f}}<extra></extra>",
            }
        )
    return traces, layout(
        # the legend has two or three entries per row and takes its height from the plot
        300 + 16 * (len(curves) // 2),
        "epoch",
        "probability of the label",
        xaxis=_epochs(max(int(epochs[-1]) for _, _, epochs, _ in curves)),
        yaxis={"range": [0, 1.02]},
        showlegend=True,
        legend=_legend(-0.35),
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
        yaxis={"range": [0, 1.02]},
        showlegend=True,
        legend=_legend(-0.3),
    )


def _epochs(count: int) -> dict[str, Any]:
    """Return an axis of epochs. By default Plotly would put ticks between whole epochs if there are few."""
    return {"tickformat": "d", **({"dtick": 1} if count <= 10 else {})}


def _legend(y: float) -> dict[str, Any]:
    """Return a legend below the plot. On the right, where the App puts it by default, it would take half the width."""
    return {"orientation": "h", "x": 0, "xanchor": "left", "y": y, "yanchor": "top"}


def format_samples(counts: NDArray[np.int64]) -> list[str]:
    """Write each number of samples, as "1,234 samples"."""
    return [f"{count:,} sample{'s' if count > 1 else ''}" for count in counts.tolist()]
