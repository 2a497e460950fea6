"""Reliability of learnability on CIFAR-10: agreement of seeds and of networks, and how many epochs and runs are enough.

    python -m benchmarks.reliability --cifar10 DIR --samples 5000 --epochs 20 --runs resnet20:2 mobilenet:1

Prints the correlation between seeds of one network (its reliability) and between networks, both between single runs,
with bootstrap confidence intervals over samples. Then it prints after how many epochs the ranking agrees with that of
the whole training (Spearman .90, .95, .97, .99), and how reliable the mean of several runs is (Spearman-Brown).
--figure draws both. With --keep FOLDER it saves the result of each training there, and does not repeat a training whose
result is there with the same settings.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fiftyone_learnability.experiment.figures import draw_stability
from fiftyone_learnability.scores.reliability import measure_reliability, reliability_of_mean
from fiftyone_learnability.scores.stability import epoch_stability, epochs_enough
from fiftyone_learnability.training.device import choose_placement
from fiftyone_learnability.training.networks import resolve_networks
from fiftyone_learnability.training.run import TrainingData, train

from .cifar10 import EpochPrinter, load, load_or_run, make_parser, recipe_of

BOUNDS = (0.90, 0.95, 0.97, 0.99)


def main() -> None:
    parser = make_parser(__doc__, epochs=20, batch_size=64)
    parser.add_argument("--runs", nargs="+", default=["resnet20:2", "mobilenet:1"], metavar="NETWORK:RUNS")
    parser.add_argument("--figure", type=Path, help="the picture file to write")
    options = parser.parse_args()

    dynamics: dict[str, list[NDArray[np.float16]]] = {}
    for model, count in (run.split(":") for run in options.runs):
        dynamics[model] = [measure_dynamics(options, model, seed) for seed in range(int(count))]
    learnability = {
        model: np.stack([run.astype(np.float64).mean(axis=0) for run in runs]) for model, runs in dynamics.items()
    }
    reliability = measure_reliability(learnability)
    print(f"{options.samples} images, {options.epochs} epochs\n\n{reliability}\n")
    curves = {model: epoch_stability(runs[0]) for model, runs in dynamics.items()}
    for model, curve in curves.items():
        enough = ", ".join(f"{bound:.2f} from epoch {epochs_enough(curve, bound)}" for bound in BOUNDS)
        print(f"{model}: rank correlation with all {options.epochs} epochs is at least {enough}")
    seed_correlations = {model: agreement.learnability.value for model, agreement in reliability.seeds.items()}
    for model, correlation in seed_correlations.items():
        several = ", ".join(f"{count}: {reliability_of_mean(correlation, [count])[0]:.3f}" for count in (1, 2, 3, 5))
        print(f"{model}: reliability of the mean of several runs: {several}")
    if options.figure is not None:
        print(draw_stability(options.figure, curves, seed_correlations))


def measure_dynamics(options: argparse.Namespace, model: str, seed: int) -> NDArray[np.float16]:
    """Measure the probabilities of the true labels after each epoch of one training, ``(T, N)``."""
    recipe = recipe_of(options, record_dynamics=True)

    def run() -> dict[str, object]:
        pixels, labels, classes = load(options.cifar10, "train", options.samples)
        data = TrainingData(pixels, labels, len(classes))
        factory = resolve_networks([model])[model]
        result = train(model, factory, data, recipe, seed, choose_placement(options.device), EpochPrinter(model))
        return {"dynamics": result.dynamics}

    path = options.keep / f"dynamics-{model}-{seed}.npz" if options.keep else None
    return load_or_run(path, f"{recipe} {options.samples} samples", run)["dynamics"]


if __name__ == "__main__":
    main()
