"""The data map of Dataset Cartography (Swayamdipta 2020): how steady a training was about each sample, and how right.

It is drawn from cells, one marker for all samples of a cell, so that it is as small for a million samples as for a
thousand, and a click or a box is answered exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..names import score_label
from .binning import FloatArray, Histogram2D, bin_two, rounded, score_edges
from .figures import SCALE, Trace, layout, samples_text

MAP_SCORES = ("variability", "learnability", "hits")
"""What is drawn to the right, upwards, and as the colour."""

MOST_CELLS = 60
"""The cells along each axis, at most."""

REGIONS = (("easy to learn", 0.02, 0.98), ("ambiguous", 0.98, 0.5), ("hard to learn", 0.02, 0.02))
"""The regions of the map, each with the place of its name in shares of the plot."""


@dataclass(frozen=True, eq=False)
class DataMap:
    """The cells of a data map.

    Attributes:
        cells: the counts, variability in rows and learnability in columns
        hits: ``(K,)`` mean hits of the samples of each cell that holds samples, NaN where none has any
    """

    cells: Histogram2D
    hits: FloatArray


def make_map(variability: FloatArray, learnability: FloatArray, hits: FloatArray) -> DataMap:
    """Puts samples into cells.

    Args:
        variability: ``(N,)``, NaN for none; such samples are left out
        learnability: ``(N,)``, likewise
        hits: ``(N,)``, NaN for none; such samples are counted, and have no part in the colour
    """
    both = np.isfinite(variability) & np.isfinite(learnability)
    bins = int(np.clip(np.sqrt(both.sum()), 12, MOST_CELLS))
    x, y = score_edges("variability", bins, variability), score_edges("learnability", bins, learnability)
    cells = bin_two(variability, learnability, x, y)
    known = both & np.isfinite(hits)
    sums = np.histogram2d(variability[known], learnability[known], bins=(x, y), weights=hits[known])[0]
    numbers = np.histogram2d(variability[known], learnability[known], bins=(x, y))[0]
    at = tuple(cells.cells.T)
    means = np.divide(sums[at], numbers[at], out=np.full(len(at[0]), np.nan), where=numbers[at] > 0)
    return DataMap(cells, means)


def draw_map(data_map: DataMap, model: str) -> tuple[list[Trace], dict[str, Any]]:
    """Traces and layout of a data map.

    Args:
        data_map: its cells
        model: the network
    """
    histogram = data_map.cells
    at = histogram.cells
    counts = histogram.counts[at[:, 0], at[:, 1]]
    # by the logarithm: cells differ a thousandfold, and the rare ones are what is looked for
    weight = np.log1p(counts) / np.log1p(counts.max(initial=1))
    centres = [(edges[:-1] + edges[1:]) / 2 for edges in (histogram.x, histogram.y)]
    told = [
        f"{text}<br>hits {'unknown' if np.isnan(mean) else f'{mean:.2f}'}"
        for text, mean in zip(samples_text(counts), data_map.hits.tolist(), strict=True)
    ]
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": rounded(centres[0][at[:, 0]]),
        "y": rounded(centres[1][at[:, 1]]),
        "text": told,
        "hovertemplate": "%{text}<br>variability %{x:.3f}<br>learnability %{y:.3f}<extra></extra>",
        "marker": {
            "symbol": "square",
            "size": [round(float(value), 1) for value in 4 + 5 * weight],
            "opacity": [round(float(value), 2) for value in 0.45 + 0.55 * weight],
            "color": [None if np.isnan(mean) else round(mean, 3) for mean in data_map.hits.tolist()],
            "colorscale": SCALE,
            "cmin": 0,
            "cmax": 1,
            "colorbar": {"title": {"text": "hits"}, "thickness": 10, "len": 0.9},
        },
    }
    names = [
        {
            "text": f"<b>{name}</b>",
            "xref": "paper",
            "yref": "paper",
            "x": x,
            "y": y,
            "xanchor": "left" if x < 0.5 else "right",
            "yanchor": "middle" if y == 0.5 else "top" if y > 0.5 else "bottom",
            "showarrow": False,
            "bgcolor": "rgba(0,0,0,0.45)",
            "font": {"color": "#fff"},
        }
        for name, x, y in REGIONS
    ]
    return [trace], layout(
        460,
        score_label("variability", model),
        score_label("learnability", model),
        xaxis={"range": [float(histogram.x[0]), float(histogram.x[-1])]},
        yaxis={"range": [float(histogram.y[0]), float(histogram.y[-1])]},
        annotations=names,
        dragmode="select",
        hovermode="closest",
        clickmode="event",
    )
