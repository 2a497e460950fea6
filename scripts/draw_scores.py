"""Draw the pictures of docs/scores.md: for each score, the images with the highest and the lowest values.

    fiftyone-learnability compute cifar10-train --models resnet20 mobilenet --runs 2 --epochs 20 --npz FOLDER
    python -m scripts.draw_scores FOLDER/resnet20.npz FOLDER/mobilenet.npz --out docs/images/scores

Beside them are the learning curves of some of these images. The spread needs two runs of the first network; the
consensus and the disagreement need a second network.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from fiftyone_learnability.experiment.results import ModelResults
from fiftyone_learnability.scores.consensus import consensus, score_disagreement

COLUMNS, CURVES = 8, 3
LOW, HIGH = "#3b82f6", "#ff6d04"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="+", help="npz files of the results of networks, with dynamics")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write to")
    options = parser.parse_args()
    results, *others = [ModelResults.from_npz(path) for path in options.results]
    values = {name: np.asarray(results.score(name), dtype=np.float64) for name in results.scores if name != "rank"}
    if others:
        learnability = {other.model: other.learnability for other in (results, *others)}
        values.update(consensus=consensus(learnability), disagreement=score_disagreement(learnability))
    options.out.mkdir(parents=True, exist_ok=True)
    for name, scores in values.items():
        draw(results, scores, options.out / f"{name}.png")
        print(options.out / f"{name}.png")


def draw(results: ModelResults, values: NDArray[np.float64], path: Path) -> None:
    """Draw the images and learning curves at both ends of a score."""
    # equal values in random order: ordered by position, they would all be of one class
    order = np.lexsort((np.random.default_rng(0).random(len(values)), values))
    # forgetting is infinite for images that were never learned; the picture shows those that were
    order = order[np.isfinite(values[order])]
    low, high = order[:COLUMNS], order[::-1][:COLUMNS]
    figure = Figure(figsize=(10.4, 2.75), layout="constrained")
    ((left, right),) = figure.subfigures(1, 2, width_ratios=(1, 2.45), squeeze=False)
    axes = left.subplots()
    for chosen, colour in ((low, LOW), (high, HIGH)):
        for index in chosen[:CURVES]:
            axes.plot(results.measured_epochs, results.dynamics[:, index], color=colour, lw=1.4)  # type: ignore[index]
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("epoch", fontsize=8)
    axes.set_ylabel("probability of the label", fontsize=8)
    axes.tick_params(labelsize=7)
    rows = right.subfigures(2, 1, squeeze=False)[:, 0]
    for row, chosen, colour, end in zip(rows, (high, low), (HIGH, LOW), ("high", "low"), strict=True):
        _strip(row, results, chosen, values, colour, end)
    figure.savefig(path, dpi=84)


def _strip(
    row: object,
    results: ModelResults,
    chosen: NDArray[np.int64],
    values: NDArray[np.float64],
    colour: str,
    end: str,
) -> None:
    panels = row.subplots(1, COLUMNS)  # type: ignore[attr-defined]
    for panel, index in zip(panels, chosen, strict=True):
        with Image.open(results.filepaths[index]) as image:
            panel.imshow(image.convert("RGB"), interpolation="nearest")
        panel.set_title(results.classes[results.labels[index]], fontsize=8, pad=2)
        panel.set_xlabel(f"{values[index]:.3g}", fontsize=8, labelpad=2)
        panel.set_xticks([])
        panel.set_yticks([])
        for side in panel.spines.values():
            side.set_color(colour)
            side.set_linewidth(1.6)
    panels[0].set_ylabel(end, fontsize=9, color=colour)


if __name__ == "__main__":
    main()
