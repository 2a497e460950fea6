"""The demo: learnability of real images by three networks, from files to fields, figure and App.

The images are those of CIFAR10=DIR (a tree DIR/train/<class>/*), else the FiftyOne zoo's CIFAR-10, else, where
that cannot be downloaded, the handwritten digits that scikit-learn ships. Everything it makes lies in .demo/.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import defaultdict
from pathlib import Path

import fiftyone as fo
import numpy as np

import fiftyone_learnability as fol

DATASET = "learnability-demo"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the folder for what the demo makes")
    parser.add_argument("--cifar10", type=Path, help="a CIFAR-10 image tree")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--models", nargs="+", default=["resnet20", "vgg16", "mobilenet"])
    parser.add_argument("--app", action="store_true", help="open the App on the results in place of computing them")
    options = parser.parse_args()
    if options.app:
        open_app()
        return
    start = time.perf_counter()
    dataset, flip = load_images(options)
    print(f"{len(dataset)} images in the dataset {dataset.name!r}: {source_of(dataset)}", flush=True)
    fol.compute_learnability(
        dataset,
        models=options.models,
        epochs=options.epochs,
        # with 1,000 images, batches of 128 would make 8 steps an epoch: too few to learn from in 10 epochs
        batch_size=32,
        lr=0.05,
        horizontal_flip=flip,
    )
    show(dataset, options.models, options.out)
    print(f"\nmade in {(time.perf_counter() - start) / 60:.1f} minutes; `make app` opens the App on {dataset.name!r}")


def load_images(options: argparse.Namespace) -> tuple[fo.Dataset, bool]:
    """The demo's dataset, made anew, and whether its images may be mirrored."""
    if fo.dataset_exists(DATASET):
        fo.delete_dataset(DATASET)
    flip = True
    if options.cifar10 is not None:
        files, labels = read_tree(options.cifar10)
        source = f"CIFAR-10 from {options.cifar10}"
    else:
        try:
            files, labels = download_cifar10()
            source = "CIFAR-10 from the FiftyOne zoo"
        # a closed network shows itself in many ways, and the digits serve in all of them
        except Exception as error:  # noqa: BLE001
            print(f"CIFAR-10 cannot be downloaded ({type(error).__name__}: {error})", file=sys.stderr)
            files, labels = write_digits(options.out / "digits")
            source = "handwritten digits from scikit-learn, since CIFAR-10 could not be downloaded"
            # a mirrored digit is no digit
            flip = False
    chosen = stratified(labels, options.samples)
    dataset = fo.Dataset(DATASET, persistent=True)
    dataset.info["source"] = source
    dataset.save()
    samples = [fo.Sample(files[index], ground_truth=fo.Classification(label=labels[index])) for index in chosen]
    dataset.add_samples(samples, progress=False)
    return dataset, flip


def read_tree(folder: Path) -> tuple[list[str], list[str]]:
    """Files and labels of folder/train/<class>/*, the classes in turn."""
    files = sorted(path for path in (folder / "train").glob("*/*") if path.is_file())
    if not files:
        sys.exit(f"CIFAR10={folder}: there are no images at {folder}/train/<class>/*")
    return [str(path.resolve()) for path in files], [path.parent.name for path in files]


def download_cifar10() -> tuple[list[str], list[str]]:
    """Files and labels of the zoo's CIFAR-10."""
    import fiftyone.zoo as foz

    dataset = foz.load_zoo_dataset("cifar10", split="train", dataset_name=f"{DATASET}-zoo", drop_existing_dataset=True)
    files, labels = dataset.values(["filepath", "ground_truth.label"])
    dataset.delete()
    return files, labels


def write_digits(folder: Path) -> tuple[list[str], list[str]]:
    """Files and labels of scikit-learn's 1,797 digits of 8x8 pixels, written as PNG."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, image in enumerate(digits.images):
        files.append(str((folder / f"{number:04}.png").resolve()))
        # sixteen shades, at four times the size so that the App shows more than a few pixels
        pixels = np.rint(image * 255 / 16).astype(np.uint8)
        Image.fromarray(pixels).resize((32, 32), Image.Resampling.BICUBIC).save(files[-1])
    return files, [str(label) for label in digits.target]


def stratified(labels: list[str], count: int) -> list[int]:
    """The first images of each class, the same number of each, at most ``count`` in all."""
    of_class: dict[str, list[int]] = defaultdict(list)
    for index, label in enumerate(labels):
        of_class[label].append(index)
    each = max(1, count // len(of_class))
    return sorted(index for indices in of_class.values() for index in indices[:each])


def show(dataset: fo.Dataset, models: list[str], out: Path) -> None:
    """Prints what was found and draws the figure."""
    if len(models) > 1:
        print("\nHow far the networks agree (the paper's Table 1):\n")
        print(fol.compare_models(dataset, models))
        figure = fol.plot_comparison(dataset, out / "figure1.png", (models[0], models[1]))
        print(f"\nFigure 1 of {models[0]} and {models[1]}: {figure}")
    for model in models:
        print(f"\nHardest for {model}:\n")
        table = fol.hardest_samples(dataset, model, k=5)
        print(table[["learnability", "rank", "label", "filepath"]].to_string(index=False, float_format="{:.4f}".format))


def source_of(dataset: fo.Dataset) -> str:
    return dataset.info["source"]


def open_app() -> None:
    if not fo.dataset_exists(DATASET):
        sys.exit("there are no results yet: run `make demo` first")
    dataset = fo.load_dataset(DATASET)
    models = fol.find_models(dataset)
    view = dataset.sort_by(f"learnability_{models[0]}") if models else dataset.view()
    port = int(os.environ.get("PORT", "5151"))
    session = fo.launch_app(view, port=port)
    print(f"hardest for {models[0] if models else '-'} first; stop with Ctrl-C")
    session.wait(-1)


if __name__ == "__main__":
    main()
