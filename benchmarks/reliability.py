"""How reliable learnability is: seeds of one network against each other, networks against each other, epochs, runs.

    python -m benchmarks.reliability --cifar10 DIR --samples 5000 --epochs 20 --runs resnet20:2 mobilenet:1

Prints the correlation between seeds of one network (the ceiling) beside that between networks, both of single runs and
with bootstrap confidence intervals over samples; after how many epochs the ranking agrees with that of the whole
training (Spearman .90, .95, .97, .99), and how reliable the mean of several runs is (Spearman-Brown). --figure draws
it. With --keep FOLDER each training is kept there, and one that is there with the same settings is not repeated.
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
from fiftyone_learnability.training.options import TrainingOptions, default_learning_rate
from fiftyone_learnability.training.run import TrainingData, train

from .cifar10 import EpochPrinter, load

BOUNDS = (0.90, 0.95, 0.97, 0.99)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", type=Path, required=True, help="the CIFAR-10 image tree")
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--runs", nargs="+", default=["resnet20:2", "mobilenet:1"], metavar="NETWORK:RUNS")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--figure", type=Path, help="a picture file to be drawn")
    parser.add_argument("--keep", type=Path, help="a folder for the dynamics of single trainings")
    options = parser.parse_args()

    asked = dict(run.split(":") for run in options.runs)
    dynamics = {model: [_dynamics(options, model, seed) for seed in range(int(runs))] for model, runs in asked.items()}
    runs = {model: np.stack([one.astype(np.float64).mean(axis=0) for one in each]) for model, each in dynamics.items()}
    found = measure_reliability(runs)
    print(f"{options.samples} images, {options.epochs} epochs\n\n{found}\n")
    curves = {model: epoch_stability(each[0]) for model, each in dynamics.items()}
    for model, curve in curves.items():
        enough = ", ".join(f"{bound:.2f} from epoch {epochs_enough(curve, bound)}" for bound in BOUNDS)
        print(f"{model}: rank correlation with all {options.epochs} epochs is at least {enough}")
    ceilings = {model: agreement.learnability.value for model, agreement in found.seeds.items()}
    for model, ceiling in ceilings.items():
        several = ", ".join(f"{count}: {reliability_of_mean(ceiling, [count])[0]:.3f}" for count in (1, 2, 3, 5))
        print(f"{model}: reliability of the mean of several runs: {several}")
    if options.figure is not None:
        print(draw_stability(options.figure, curves, ceilings))


def _dynamics(options: argparse.Namespace, model: str, seed: int) -> NDArray[np.float16]:
    """The probabilities of the true labels after each epoch of one training."""
    name = f"dynamics-{model}-{options.samples}-{options.epochs}-{options.batch_size}-{seed}.npz"
    path = options.keep / name if options.keep else None
    if path is not None and path.exists():
        return np.load(path)["dynamics"]
    pixels, labels, classes = load(options.cifar10, "train", options.samples)
    recipe = TrainingOptions(
        options.epochs, options.batch_size, default_learning_rate(options.batch_size), record_dynamics=True
    )
    result = train(
        model,
        resolve_networks([model])[model],
        TrainingData(pixels, labels, len(classes)),
        recipe,
        seed,
        choose_placement(options.device),
        EpochPrinter(model),
    )
    assert result.dynamics is not None
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, dynamics=result.dynamics)
    return result.dynamics


if __name__ == "__main__":
    main()
