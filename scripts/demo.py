"""The demo: learnability of real images by three networks, from files to fields and a figure.

The images come from --cifar10 DIR (a tree DIR/train/<class>/*), else from the FiftyOne zoo's CIFAR-10; where that
cannot be downloaded, they are the handwritten digits that scikit-learn ships. Everything that the demo makes, its
database included, is in the folder --out, and is replaced each time.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from .database import use_own_database
from .images import read_tree, stratified, write_digits

if TYPE_CHECKING:
    import fiftyone as fo

DATASET = "learnability-demo"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the folder of the results")
    parser.add_argument("--cifar10", type=Path, help="a CIFAR-10 image tree")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--models", nargs="+", default=["resnet20", "vgg16", "mobilenet"])
    options = parser.parse_args()
    # OpenMP's threads spin while they wait; beside a busy program that slows training several times over
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # report a missing tree before a database is started
    tree = read_tree(options.cifar10) if options.cifar10 else None
    shutil.rmtree(options.out / "db", ignore_errors=True)
    use_own_database(options.out / "db")
    run(options, tree)


def run(options: argparse.Namespace, tree: tuple[list[str], list[str]] | None) -> None:
    import fiftyone_learnability as fol

    start = time.perf_counter()
    files, labels, source, flip = find_images(options, tree)
    dataset = make_dataset(files, labels, options.samples)
    print(f"{len(dataset)} images in the dataset {DATASET!r}: {source}", flush=True)
    fol.compute_learnability(
        dataset,
        models=options.models,
        epochs=options.epochs,
        # 1,000 images in batches of 128 are 8 steps an epoch: too few to learn from in 10 epochs
        batch_size=32,
        horizontal_flip=flip,
        scores="all",
    )
    show(dataset, options.models, options.out)
    minutes = (time.perf_counter() - start) / 60
    print(f"\nDone in {minutes:.1f} minutes. `make app` opens the App on the dataset {DATASET!r} in {options.out}/db")


def find_images(
    options: argparse.Namespace, tree: tuple[list[str], list[str]] | None
) -> tuple[list[str], list[str], str, bool]:
    """Return files, labels, their source, and whether the images may be mirrored."""
    if tree is not None:
        return *tree, f"CIFAR-10 from {options.cifar10}", True
    try:
        return *download_cifar10(), "CIFAR-10 from the FiftyOne zoo", True
    # an unreachable network raises many kinds of errors
    except Exception as error:  # noqa: BLE001
        print(f"CIFAR-10 cannot be downloaded ({type(error).__name__}): using scikit-learn's digits instead")
    # a mirrored digit is no digit
    return *write_digits(options.out / "digits"), "handwritten digits that scikit-learn ships, not CIFAR-10", False


def download_cifar10() -> tuple[list[str], list[str]]:
    """Return files and labels of the zoo's CIFAR-10."""
    import fiftyone.zoo as foz

    dataset = foz.load_zoo_dataset("cifar10", split="train", dataset_name=f"{DATASET}-zoo")
    files, labels = dataset.values(["filepath", "ground_truth.label"])
    dataset.delete()
    return files, labels


def make_dataset(files: list[str], labels: list[str], count: int) -> fo.Dataset:
    """Make a dataset of the first images of each class."""
    import fiftyone as fo

    dataset = fo.Dataset(DATASET, persistent=True)
    dataset.add_samples(
        [
            fo.Sample(files[index], ground_truth=fo.Classification(label=labels[index]))
            for index in stratified(labels, count)
        ],
        progress=False,
    )
    return dataset


def show(dataset: fo.Dataset, models: list[str], out: Path) -> None:
    """Print the results and draw the figure."""
    import fiftyone_learnability as fol

    for model in fol.find_models(dataset):
        print(f"\nHardest for {model}:\n")
        table = fol.hardest_samples(dataset, model, k=5)
        print(table[["learnability", "rank", "label", "filepath"]].to_string(index=False, float_format="{:.4f}".format))
    if len(models) > 1:
        print("\nAgreement of the networks (Table 1 of arXiv 1901.02347):\n")
        print(fol.compare_models(dataset))
        try:
            fol.write_consensus(dataset)
        # a network that learned nothing after very few epochs is left out
        except ValueError as error:
            print(f"\nNo consensus: {error}")
        figure = fol.plot_comparison(dataset, out / "figure1.png")
        print(f"\nFigure 1 (histograms, easiest and hardest images): {figure.resolve()}")
    try:
        problems = fol.suggest_label_fixes(dataset)
    except ValueError as error:
        print(f"\nNo suggested labels: {error}", flush=True)
        return
    print(f"\nMost contradicted labels, of {len(problems)}, to check by eye (in the App's panel: Labels):\n")
    shown = problems.head(5)[["contradiction", "verdict", "label", "suggested_label", "filepath"]]
    print(shown.to_string(index=False, float_format="{:.4f}".format))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
