"""The number of images per second that this machine trains, including the measurement after each epoch.

    python -m fiftyone_learnability.experiment.rate resnet20 vgg16 --image-size 32

trains each network on random pixels for a few seconds and writes the rates to a file in the user's cache.
:func:`known_rates` reads this file without loading torch.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .._version import __version__
from ..storage import cache_folder, write_atomically

NUM_CLASSES = 10


def cache_file() -> Path:
    """Return the file of the measured rates in the user's cache folder."""
    return cache_folder() / "rates.json"


def known_rates(models: Sequence[str], image_size: int, device: str = "auto") -> dict[str, float]:
    """Return the rates that were measured on this machine.

    Args:
        models: the names of the networks
        image_size: height and width of the images in pixels
        device ("auto"): the argument ``device`` of :func:`fiftyone_learnability.compute_learnability`

    Returns:
        training images per second of each network that was measured
    """
    measured = _read()
    rates = {model: measured.get(_key(model, image_size, device)) for model in models}
    # a billion images per second is impossible, so that the file must be damaged
    return {model: float(rate) for model, rate in rates.items() if isinstance(rate, (int, float)) and 0 < rate < 1e9}


def estimate_seconds(rates: Mapping[str, float], num_samples: int, epochs: int, runs: int) -> float:
    """Estimate how long a run takes.

    Args:
        rates: training images per second of each network
        num_samples: N
        epochs: the number of epochs
        runs: the number of runs of each network

    Returns:
        seconds
    """
    return sum(num_samples * epochs * runs / rate for rate in rates.values())


def measure_rate(
    model: str, image_size: int = 32, batch_size: int = 128, device: str = "auto", seconds: float = 3.0
) -> float:
    """Measure how fast a network trains on random pixels.

    Args:
        model: the name of the network
        image_size (32): height and width of the images in pixels
        batch_size (128): the number of images in a training step
        device ("auto"): the argument ``device`` of :func:`fiftyone_learnability.compute_learnability`
        seconds (3.0): about how long to train; the first epoch is slower than the others and does not count

    Returns:
        training images per second, including the measurement after each epoch
    """
    import numpy as np

    from ..training.device import choose_placement
    from ..training.networks import resolve_networks
    from ..training.options import TrainingOptions
    from ..training.run import TrainingData, train
    from ..training.trial import try_training

    ((name, factory),) = resolve_networks([model]).items()
    trial = TrainingOptions(epochs=1, batch_size=batch_size)
    _, placement = try_training(name, factory, NUM_CLASSES, 3, image_size, trial, choose_placement(device))
    generator = np.random.default_rng(0)
    count = batch_size * (2 if placement.device.type == "cpu" else 64)
    images = generator.integers(0, 256, (count, image_size, image_size, 3), dtype=np.uint8)
    data = TrainingData(images, generator.integers(0, NUM_CLASSES, count), NUM_CLASSES)

    def seconds_of(epochs: int) -> list[float]:
        # a low rate, so that no network diverges on random labels
        options = TrainingOptions(epochs=1 + epochs, batch_size=batch_size, lr=1e-4)
        return [report.seconds for report in train(name, factory, data, options, 0, placement).reports[1:]]

    measured = seconds_of(1)
    if measured[0] < seconds:
        measured = seconds_of(math.ceil(seconds / measured[0]))
    return count * len(measured) / sum(measured)


def remember_rate(model: str, image_size: int, device: str, rate: float) -> None:
    """Write a rate to the file of the measured rates.

    Args:
        model: the name of the network
        image_size: height and width of the images in pixels
        device: the argument ``device`` of :func:`fiftyone_learnability.compute_learnability`
        rate: training images per second
    """
    file = cache_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    measured = _read()
    measured[_key(model, image_size, device)] = round(rate, 2)
    write_atomically(file, lambda opened: opened.write(json.dumps(measured, indent=2).encode()))


def _read() -> dict[str, Any]:
    """Read the file; an unreadable file counts as empty."""
    try:
        measured = json.loads(cache_file().read_text())
    except (OSError, ValueError):
        return {}
    return measured if isinstance(measured, dict) else {}


def _key(model: str, image_size: int, device: str) -> str:
    # several machines may share a home folder, and another version of the package may train faster
    return f"{platform.node()} {device} {model} {image_size} {__version__}"


def main() -> None:
    """Measure the rates of networks and write them to the user's cache."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    for model in options.models:
        rate = measure_rate(model, options.image_size, device=options.device)
        remember_rate(model, options.image_size, options.device, rate)
        print(f"{model}: {rate:.0f} images per second")


if __name__ == "__main__":
    main()
