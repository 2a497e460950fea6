"""How many images a second this machine trains, the measurement included: measured, and remembered.

    python -m fiftyone_learnability.experiment.rate resnet20 vgg16 --image-size 32

trains each network for some seconds on random pixels and writes the rates to a file in the user's cache, where
:func:`known_rates` finds them without loading torch.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from .._version import __version__
from .files import read_json, write_atomically

NUM_CLASSES = 10


class _EnoughError(Exception):
    """Ends a training that has run long enough to be measured."""


def cache_file() -> Path:
    """The file of the measured rates, in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fiftyone-learnability" / "rates.json"


def known_rates(models: Sequence[str], image_size: int, device: str = "auto") -> dict[str, float]:
    """The rates measured on this machine before.

    Args:
        models: the networks
        image_size: height and width of the images in pixels
        device ("auto"): the device as :func:`fiftyone_learnability.compute_learnability` takes it

    Returns:
        training images a second by network, without those that have not been measured
    """
    measured = _read()
    rates = {model: measured.get(_key(model, image_size, device)) for model in models}
    # no machine trains a billion images a second; larger numbers may be too large for a float
    return {model: float(rate) for model, rate in rates.items() if isinstance(rate, (int, float)) and 0 < rate < 1e9}


def estimate_seconds(rates: Mapping[str, float], num_samples: int, epochs: int, runs: int) -> float:
    """How long an experiment takes.

    Args:
        rates: training images a second of each network
        num_samples: N
        epochs: the epochs of each training
        runs: the trainings of each network

    Returns:
        seconds
    """
    return sum(num_samples * epochs * runs / rate for rate in rates.values())


def measure_rate(
    model: str, image_size: int = 32, batch_size: int = 128, device: str = "auto", seconds: float = 3.0
) -> float:
    """Trains a network on random pixels for some seconds.

    Args:
        model: the network
        image_size (32): height and width of the images in pixels
        batch_size (128): images in a training step
        device ("auto"): the device
        seconds (3.0): how long to train after a first epoch, which does not count; at least one epoch is trained

    Returns:
        training images a second, the measurement after each epoch included
    """
    import numpy as np

    from ..training.device import choose_placement
    from ..training.networks import resolve_networks
    from ..training.options import TrainingOptions
    from ..training.run import EpochReport, TrainingData, TrainingObserver, train

    placement = choose_placement(device)
    generator = np.random.default_rng(0)
    count = batch_size * (2 if placement.device.type == "cpu" else 64)
    images = generator.integers(0, 256, (count, image_size, image_size, 3), dtype=np.uint8)
    labels = generator.integers(0, NUM_CLASSES, count)
    counted: list[EpochReport] = []
    start = 0.0

    class Clock(TrainingObserver):
        def on_epoch(self, report: EpochReport) -> None:
            nonlocal start
            if report.epoch == 1:
                start = time.perf_counter()
                return
            counted.append(report)
            if time.perf_counter() - start >= seconds:
                raise _EnoughError

    ((name, factory),) = resolve_networks([model]).items()
    options = TrainingOptions(epochs=100_000, batch_size=batch_size)
    with suppress(_EnoughError):
        train(name, factory, TrainingData(images, labels, NUM_CLASSES), options, 0, placement, Clock())
    return count * len(counted) / sum(report.seconds for report in counted)


def remember_rate(model: str, image_size: int, device: str, rate: float) -> None:
    """Writes a rate into the file of the measured rates.

    Args:
        model: the network
        image_size: height and width of the images in pixels
        device: the device as it was asked for
        rate: training images a second
    """
    file = cache_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    measured = _read()
    measured[_key(model, image_size, device)] = round(rate, 2)
    write_atomically(file, lambda opened: opened.write(json.dumps(measured, indent=2).encode()))


def _read() -> dict[str, Any]:
    """What has been measured; nothing if the file cannot be read."""
    try:
        measured = read_json(cache_file())
    except (OSError, ValueError):
        return {}
    return measured if isinstance(measured, dict) else {}


def _key(model: str, image_size: int, device: str) -> str:
    # a home folder may be shared by machines; what another version has measured is no longer so
    return f"{platform.node()} {device} {model} {image_size} {__version__}"


def main() -> None:
    """Measures and remembers the rates of networks."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    for model in options.models:
        rate = measure_rate(model, options.image_size, device=options.device)
        remember_rate(model, options.image_size, options.device, rate)
        print(f"{model}: {rate:.0f} images a second")


if __name__ == "__main__":
    main()
