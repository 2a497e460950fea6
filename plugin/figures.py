"""The panel's plots as Plotly traces and layouts: plain dicts, no larger than what is seen.

Clicks and boxes come back as positions in these traces; the functions that turn a position into a range of scores stand
here too, beside the binning that made it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fiftyone_learnability.experiment.comparison import Comparison

from .names import network_label

Trace = dict[str, Any]
FloatArray = NDArray[np.float64]

ACCENT = "#ff6d04"
COLOURS = ("#3b82f6", "#ff6d04", "#10b981", "#a855f7", "#eab308", "#ef4444", "#14b8a6", "#ec4899")
SCALE = "Viridis"
HISTOGRAM_BINS = 40
CONFIG = {"displayModeBar": False, "responsive": True}


@dataclass(frozen=True, eq=False)
class PairHistogram:
    """The 2-D histogram of two networks' scores.

    Attributes:
        edges: ``(B + 1,)`` edges of the bins, the same for both networks
        counts: ``(B, B)`` samples by bin of the first network (rows) and of the second (columns)
    """

    edges: FloatArray
    counts: NDArray[np.int64]

    @property
    def cells(self) -> NDArray[np.int64]:
        """``(K, 2)`` bins of the cells that hold samples, in the order of the points drawn."""
        return np.argwhere(self.counts)

    def ranges(self, points: list[int]) -> tuple[tuple[float, float], tuple[float, float]]:
        """The ranges of both scores, each from and to, that the cells of some points span."""
        cells = self.cells[points]
        (first_low, second_low), (first_high, second_high) = cells.min(axis=0), cells.max(axis=0)
        return (
            (float(self.edges[first_low]), float(self.edges[first_high + 1])),
            (float(self.edges[second_low]), float(self.edges[second_high + 1])),
        )


def bin_pair(first: FloatArray, second: FloatArray, quantity: str, num_ranks: int) -> PairHistogram:
    """Bins the scores of two networks, over the samples that both have.

    Args:
        first: ``(N,)`` scores of the first network, NaN for none
        second: ``(N,)`` scores of the second
        quantity: "learnability", over [0, 1], or "rank", over 1..num_ranks
        num_ranks: the largest rank
    """
    both = ~(np.isnan(first) | np.isnan(second))
    bins = int(np.clip(np.sqrt(both.sum() / 3), 8, 40))
    edges = score_edges(quantity, bins, num_ranks)
    counts = np.histogram2d(first[both], second[both], bins=(edges, edges))[0]
    return PairHistogram(edges, counts.astype(np.int64))


def score_edges(quantity: str, bins: int, num_ranks: int) -> FloatArray:
    """The edges of equal bins over all values that a score can take."""
    if quantity == "learnability":
        return np.linspace(0, 1, bins + 1)
    # between whole numbers, so that each rank falls into one bin and all bins are as wide
    width = max(1, int(np.ceil(num_ranks / bins)))
    return 0.5 + width * np.arange(int(np.ceil(num_ranks / width)) + 1, dtype=np.float64)


def layout(height: int, x: str = "", y: str = "", **more: Any) -> dict[str, Any]:
    """A layout that leaves the room to the picture."""
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


def correlation_matrix(comparison: Comparison, pair: tuple[str, str]) -> tuple[list[Trace], dict[str, Any]]:
    """The paper's Table 1 as a matrix: Pearson of learnability, of rank in parentheses; the pair shown is framed."""
    names = [network_label(model) for model in comparison.models]
    size = len(names)
    text = [
        [
            ""
            if row == column
            else f"{comparison.pearson[row, column]:.3f}<br>({comparison.pearson_rank[row, column]:.3f})"
            for column in range(size)
        ]
        for row in range(size)
    ]
    values = [
        [None if row == column or np.isnan(value) else round(float(value), 4) for column, value in enumerate(line)]
        for row, line in enumerate(comparison.pearson)
    ]
    hover = [
        [
            ""
            if row == column
            else f"{names[row]} ~ {names[column]}<br>Pearson of learnability {comparison.pearson[row, column]:.3f}"
            f"<br>Pearson of rank {comparison.pearson_rank[row, column]:.3f}"
            f"<br>Spearman {comparison.spearman[row, column]:.3f}"
            f"<br>{comparison.num_samples[row, column]:,} samples"
            for column in range(size)
        ]
        for row in range(size)
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
        "text": text,
        "texttemplate": "%{text}",
        "hovertext": hover,
        "hoverinfo": "text",
        "xgap": 2,
        "ygap": 2,
    }
    row, column = (comparison.models.index(model) for model in pair)
    frames = [
        {
            "type": "rect",
            "x0": c - 0.5,
            "x1": c + 0.5,
            "y0": r - 0.5,
            "y1": r + 0.5,
            "line": {"color": ACCENT, "width": 3},
        }
        for r, c in ((row, column), (column, row))
    ]
    return [trace], layout(
        90 + 64 * size,
        xaxis={"side": "bottom", "fixedrange": True},
        yaxis={"autorange": "reversed", "fixedrange": True},
        shapes=frames,
    )


def pair_histogram(
    histogram: PairHistogram, models: tuple[str, str], quantity: str
) -> tuple[list[Trace], dict[str, Any]]:
    """The paper's Figure 1a or 1b.

    A heatmap shows the counts; one invisible point a cell lies over it, since Plotly tells of boxes and clicks
    over points only.
    """
    centres = (histogram.edges[:-1] + histogram.edges[1:]) / 2
    counts = histogram.counts.T
    shown = np.where(counts > 0, np.log10(np.maximum(counts, 1)), np.nan)
    heat = {
        "type": "heatmap",
        "x": _rounded(centres),
        "y": _rounded(centres),
        "z": [[None if np.isnan(value) else round(float(value), 3) for value in line] for line in shown],
        "colorscale": SCALE,
        "showscale": False,
        "hoverinfo": "skip",
    }
    cells = histogram.cells
    first, second = (network_label(model) for model in models)
    points = {
        "type": "scatter",
        "mode": "markers",
        "x": _rounded(centres[cells[:, 0]]),
        "y": _rounded(centres[cells[:, 1]]),
        "text": [f"{histogram.counts[a, b]:,} sample{'s' if histogram.counts[a, b] > 1 else ''}" for a, b in cells],
        "hovertemplate": f"%{{text}}<br>{first} %{{x:.3g}}<br>{second} %{{y:.3g}}<extra></extra>",
        "marker": {"size": 9, "opacity": 0, "color": ACCENT},
        "selected": {"marker": {"opacity": 0.35}},
        "unselected": {"marker": {"opacity": 0}},
    }
    limits = [float(histogram.edges[0]), float(histogram.edges[-1])]
    return [heat, points], layout(
        380,
        f"{quantity} by {first}",
        f"{quantity} by {second}",
        xaxis={"range": limits},
        yaxis={"range": limits},
        dragmode="select",
        hovermode="closest",
        clickmode="event",
    )


def score_histogram(
    values: FloatArray, quantity: str, num_ranks: int, model: str
) -> tuple[list[Trace], dict[str, Any]]:
    """The histogram of one network's scores, over :func:`score_edges` with :data:`HISTOGRAM_BINS` bars."""
    edges = score_edges(quantity, HISTOGRAM_BINS, num_ranks)
    counts = np.histogram(values[~np.isnan(values)], bins=edges)[0]
    bars = {
        "type": "bar",
        "x": _rounded((edges[:-1] + edges[1:]) / 2),
        "y": counts.tolist(),
        "width": float(edges[1] - edges[0]),
        "marker": {"color": COLOURS[0], "line": {"width": 0}},
        "hovertemplate": "%{y:,} samples at %{x:.3g}<extra></extra>",
    }
    return [bars], layout(
        220,
        f"{quantity} by {network_label(model)}",
        "samples",
        dragmode="select",
        selectdirection="h",
        bargap=0.05,
        xaxis={"range": [float(edges[0]), float(edges[-1])]},
    )


@dataclass(frozen=True, eq=False)
class ClassRows:
    """The distribution of learnability in each class, as it is drawn.

    Attributes:
        plot: traces and layout
        classes: the index of the class in each row
        edges: the edges of the columns
    """

    plot: tuple[list[Trace], dict[str, Any]]
    classes: list[int]
    edges: FloatArray


def class_distribution(
    values: FloatArray, labels: NDArray[np.int64], classes: tuple[Any, ...], hardest_first: bool | None, model: str
) -> ClassRows:
    """The distribution of learnability in each class, one row a class.

    Args:
        values: ``(N,)`` learnability, NaN for none
        labels: ``(N,)`` index into the classes, -1 for none
        classes: the classes
        hardest_first: whether the hardest class comes first, or last, or (None) classes stand by name
        model: the network
    """
    known = ~np.isnan(values) & (labels >= 0)
    edges = np.linspace(0, 1, 21)
    column = np.clip(np.searchsorted(edges, values[known], side="right") - 1, 0, len(edges) - 2)
    table = np.zeros((len(classes), len(edges) - 1), np.int64)
    np.add.at(table, (labels[known], column), 1)
    sizes = table.sum(axis=1)
    sums = np.bincount(labels[known], values[known], len(classes))
    means = np.divide(sums, sizes, out=np.zeros(len(classes)), where=sizes > 0)
    present = [index for index in range(len(classes)) if sizes[index]]
    if hardest_first is not None:
        present.sort(key=lambda index: means[index], reverse=not hardest_first)
    shares = table / np.maximum(sizes, 1)[:, None]
    heat = {
        "type": "heatmap",
        "x": _rounded((edges[:-1] + edges[1:]) / 2),
        "y": [f"{classes[index]} ({means[index]:.2f})" for index in present],
        "z": [[round(float(share), 4) if share else None for share in shares[index]] for index in present],
        "text": [[f"{count:,} of {sizes[index]:,}" for count in table[index]] for index in present],
        "hovertemplate": "%{y}<br>%{text} at %{x:.2f}<extra></extra>",
        "colorscale": SCALE,
        "showscale": False,
        "ygap": 2,
    }
    shape = layout(
        110 + 24 * len(present),
        f"learnability by {network_label(model)}",
        xaxis={"range": [0, 1]},
        yaxis={"autorange": "reversed", "type": "category"},
    )
    return ClassRows(([heat], shape), present, edges)


def sample_curves(
    curves: list[tuple[str, str, NDArray[np.float16]]],
) -> tuple[list[Trace], dict[str, Any]]:
    """The probability of the true label after each epoch, a line for each sample and network.

    Args:
        curves: (sample, network, ``(T,)`` probabilities) of each line
    """
    samples = list(dict.fromkeys(sample for sample, _, _ in curves))
    models = list(dict.fromkeys(model for _, model, _ in curves))
    dashes = ("solid", "dot", "dash", "dashdot", "longdash")
    traces: list[Trace] = []
    for sample, model, values in curves:
        # one sample: the colour tells the network; several: the colour tells the sample, the dash the network
        colour = COLOURS[(models.index(model) if len(samples) == 1 else samples.index(sample)) % len(COLOURS)]
        name = network_label(model) if len(samples) == 1 else f"{sample}, {network_label(model)}"
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": list(range(1, len(values) + 1)),
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
        # the legend has two or three lines of text in a row, and takes its room from the plot
        300 + 16 * (len(curves) // 2),
        "epoch",
        "probability of the label",
        xaxis=_epochs(max(len(values) for _, _, values in curves)),
        yaxis={"range": [0, 1.02]},
        showlegend=True,
        legend=_legend(-0.35),
    )


def training_curves(curves: dict[str, dict[str, FloatArray]]) -> tuple[list[Trace], dict[str, Any]]:
    """The accuracy on the training images after each epoch, a line for each network and run."""
    traces: list[Trace] = []
    for index, (model, arrays) in enumerate(curves.items()):
        for run, accuracy in enumerate(arrays["measured_accuracy"]):
            loss = arrays["train_loss"][run]
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "x": list(range(1, len(accuracy) + 1)),
                    "y": [round(float(value), 4) for value in accuracy],
                    "customdata": [round(float(value), 4) for value in loss],
                    "name": network_label(model),
                    "showlegend": run == 0,
                    "line": {"color": COLOURS[index % len(COLOURS)]},
                    "hovertemplate": f"{network_label(model)}<br>epoch %{{x}}: accuracy %{{y:.3f}}, "
                    "loss %{customdata:.3f}<extra></extra>",
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
    """An axis of epochs, which are whole: left to itself, Plotly puts ticks between few of them."""
    return {"tickformat": "d", **({"dtick": 1} if count <= 10 else {})}


def _legend(y: float) -> dict[str, Any]:
    """A legend below the plot, over its whole width: the App would put it at the right, where it takes half of it."""
    return {"orientation": "h", "x": 0, "xanchor": "left", "y": y, "yanchor": "top"}


def _rounded(values: FloatArray) -> list[float]:
    return [round(float(value), 5) for value in values]
