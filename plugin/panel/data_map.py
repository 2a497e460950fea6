"""The data map of Dataset Cartography (Swayamdipta 2020): variability, learnability and hits of each sample.

One marker stands for all samples of a cell, so a map of a million samples is as small as one of a thousand, and a click
or a box shows exactly the samples that were counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..names import score_label
from .binning import FloatArray, Histogram2D, bin_two, rounded, score_edges
from .figures import SCALE, Figure, format_samples, layout

MAP_SCORES = ("variability", "learnability", "hits")
"""The scores on the x axis, on the y axis, and as the colour."""

MOST_CELLS = 60
"""The largest number of cells along each axis."""

REGIONS = (("easy to learn", 0.01, 1.0), ("ambiguous", 1.0, 0.5), ("hard to learn", 0.01, 0.0))
"""The regions of the map: name, and x and y of the name as fractions of the plot."""

MARGIN = 0.08
"""The part of the cells' range that is added above, below and at the right of them for the names of the regions."""


@dataclass(frozen=True, eq=False)
class DataMap:
    """The cells of a data map.

    Attributes:
        cells: the number of samples by bin of variability (rows) and of learnability (columns)
        hits: ``(K,)`` mean hits in each cell that holds samples, NaN if none of them has hits
    """

    cells: Histogram2D
    hits: FloatArray


def make_map(variability: FloatArray, learnability: FloatArray, hits: FloatArray) -> DataMap:
    """Sort samples into cells.

    Args:
        variability: ``(N,)``; samples without a finite value are omitted
        learnability: ``(N,)``; samples without a finite value are omitted
        hits: ``(N,)``; samples without a finite value count, but do not affect the colour
    """
    both = np.isfinite(variability) & np.isfinite(learnability)
    bins = int(np.clip(np.sqrt(both.sum()), 12, MOST_CELLS))
    x, y = score_edges("variability", bins, variability), score_edges("learnability", bins, learnability)
    return average_by_cell(variability, learnability, hits, x, y)


def average_by_cell(first: FloatArray, second: FloatArray, hits: FloatArray, x: FloatArray, y: FloatArray) -> DataMap:
    """Sort samples into cells, and average a score in each.

    Args:
        first: ``(N,)`` where the samples lie on the first axis; those without a finite value are omitted
        second: ``(N,)`` where they lie on the second axis
        hits: ``(N,)`` the score; samples without a finite value count, but not in the mean
        x: the edges of the cells on the first axis
        y: the edges on the second axis
    """
    cells = bin_two(first, second, x, y)
    known = np.isfinite(first) & np.isfinite(second) & np.isfinite(hits)
    sums = np.histogram2d(first[known], second[known], bins=(x, y), weights=hits[known])[0]
    sizes = np.histogram2d(first[known], second[known], bins=(x, y))[0]
    places = tuple(cells.cells.T)
    means = np.divide(sums[places], sizes[places], out=np.full(len(places[0]), np.nan), where=sizes[places] > 0)
    return DataMap(cells, means)


def draw_map(data_map: DataMap, model: str) -> Figure:
    """Draw a data map.

    Args:
        data_map: the map
        model: the network
    """
    histogram = data_map.cells
    columns, rows = histogram.cells.T
    counts, shape = histogram.counts[columns, rows], histogram.counts.shape
    # on a logarithmic scale, since cells differ a thousandfold and users look for the rare samples
    weight = np.log1p(counts) / np.log1p(counts.max(initial=1))
    centres = [(edges[:-1] + edges[1:]) / 2 for edges in (histogram.x, histogram.y)]
    texts = [
        f"{text}<br>hits {'unknown' if np.isnan(mean) else f'{mean:.2f}'}"
        for text, mean in zip(format_samples(counts), data_map.hits.tolist(), strict=True)
    ]
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": rounded(centres[0][columns]),
        "y": rounded(centres[1][rows]),
        "text": texts,
        "hovertemplate": "%{text}<br>variability %{x:.3f}<br>learnability %{y:.3f}<extra></extra>",
        "marker": {
            "symbol": "square",
            # the cells of a small map are large
            "size": [round(float(value), 1) for value in (0.45 + 0.55 * weight) * np.clip(360 / max(shape), 6, 16)],
            "line": {"width": 0},
            "opacity": [round(float(value), 2) for value in 0.45 + 0.55 * weight],
            "color": [None if np.isnan(mean) else round(mean, 3) for mean in data_map.hits.tolist()],
            "colorscale": SCALE,
            "cmin": 0,
            "cmax": 1,
            "colorbar": {"title": {"text": "hits", "side": "right"}, "thickness": 10, "len": 0.9},
        },
    }
    annotations = [
        {
            "text": f"<b>{name}</b>",
            "xref": "paper",
            "yref": "paper",
            "x": x,
            "y": y,
            "xanchor": "left" if x < 0.5 else "right",
            "yanchor": "middle" if y == 0.5 else "top" if y > 0.5 else "bottom",
            "textangle": 90 if y == 0.5 else 0,
            "showarrow": False,
            "font": {"size": 13},
        }
        for name, x, y in REGIONS
    ]
    (left, right), (low, high) = ((float(edges[0]), float(edges[-1])) for edges in (histogram.x, histogram.y))
    beside, above = MARGIN * (right - left), MARGIN * (high - low)
    return [trace], layout(
        460,
        score_label("variability", model),
        score_label("learnability", model),
        xaxis={"range": [left, right + beside]},
        yaxis={"range": [low - above, high + above]},
        annotations=annotations,
        dragmode="select",
        hovermode="closest",
        clickmode="event",
    )
