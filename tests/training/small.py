"""Small networks, small images and a short training, for the tests of the training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.special import softmax
from torch import Tensor, nn

from fiftyone_learnability.training.device import Placement
from fiftyone_learnability.training.networks import NetworkFactory
from fiftyone_learnability.training.options import TrainingOptions
from fiftyone_learnability.training.run import TrainingData, TrainingObserver, TrainingResult, train

CPU = Placement(torch.device("cpu"), "float32", "chosen by the tests")
SHORT = TrainingOptions(epochs=2, batch_size=16, lr=0.1, crop_padding=2)
PLAIN = TrainingOptions(epochs=1, batch_size=4, lr=0.1, crop_padding=0, horizontal_flip=False)


class Callbacks(TrainingObserver):
    """An observer made of functions, by the name of its methods: ``Callbacks(on_epoch=print)``."""

    def __init__(self, **callbacks: Callable[..., object]) -> None:
        for name, callback in callbacks.items():
            assert hasattr(TrainingObserver, name), name
            setattr(self, name, callback)


class SmallNet(nn.Module):
    """Three convolutions with batch norm: learns digits of 16 pixels within seconds."""

    def __init__(self, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for width, stride in ((16, 1), (32, 2), (32, 2)):
            layers += [
                nn.Conv2d(channels, width, 3, stride, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
            channels = width
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).amax((2, 3)))


class Linear(nn.Module):
    """One linear layer on the pixels, without anything that depends on the mode."""

    def __init__(self, num_classes: int, in_features: int) -> None:
        super().__init__()
        self.layer = nn.Linear(in_features, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(1))


def read_digits(
    digits: tuple[list[str], list[str]], count: int, size: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The first digits as ``(count, size, size, 1)`` and their classes."""
    files, labels = digits
    images = []
    for file in files[:count]:
        with Image.open(file) as image:
            images.append(np.asarray(image.convert("L").resize((size, size), Image.Resampling.BOX)))
    return np.stack(images)[..., None], np.array(labels[:count], dtype=np.int64)


def random_images(rng: np.random.Generator, count: int, size: int, channels: int) -> NDArray[np.uint8]:
    """Noise, where what the images show does not matter."""
    return rng.integers(0, 256, (count, size, size, channels), dtype=np.uint8)


def run(
    images: np.ndarray,
    labels: np.ndarray,
    options: TrainingOptions = SHORT,
    seed: int = 0,
    factory: NetworkFactory = SmallNet,
    num_classes: int = 3,
    placement: Placement = CPU,
    state: dict[str, Any] | None = None,
    stop_after: int | None = None,
    **callbacks: Callable[..., object],
) -> TrainingResult:
    """Train a small network on few images, as a test needs it."""
    data = TrainingData(images, labels, num_classes)
    return train("net", factory, data, options, seed, placement, Callbacks(**callbacks), state, stop_after)


def linear(in_features: int) -> NetworkFactory:
    return lambda num_classes, in_channels: Linear(num_classes, in_features)


def normalised(images: np.ndarray) -> Tensor:
    """The input that the network should get, computed in double precision."""
    values = images / 255
    values = (values - values.mean(axis=(0, 1, 2))) / values.std(axis=(0, 1, 2))
    return torch.from_numpy(values.transpose(0, 3, 1, 2).astype(np.float32))


def true_probabilities(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return softmax(logits.astype(np.float64), axis=1)[np.arange(len(labels)), labels]
