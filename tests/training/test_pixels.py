from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fiftyone_learnability.training import pixels
from fiftyone_learnability.training.pixels import ResidentImages, TrainingData, channel_statistics
from fiftyone_learnability.training.run import train

from .small import CPU, SHORT, SmallNet, random_images


@given(hnp.arrays(np.uint8, st.tuples(*[st.integers(1, 20)], *[st.integers(1, 4)] * 2, st.sampled_from([1, 3]))))
def test_channel_statistics_agree_with_numpy(images: np.ndarray) -> None:
    mean, std = channel_statistics(images)
    values = images.astype(np.float64) / 255
    expected = values.std(axis=(0, 1, 2))
    constant = np.ptp(images.reshape(-1, images.shape[3]), axis=0) == 0
    np.testing.assert_allclose(mean, values.mean(axis=(0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(std, np.where(constant, 1, expected), rtol=1e-5)
    assert mean.dtype == std.dtype == np.float32


def test_channel_statistics_are_computed_once_for_all_trainings(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []

    def count(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        counted.append(len(images))
        return channel_statistics(images)

    monkeypatch.setattr(pixels, "channel_statistics", count)
    data = TrainingData(random_images(rng, 16, 8, 3), rng.integers(0, 3, 16), 3)
    results = [train("net", SmallNet, data, SHORT, seed, CPU) for seed in (0, 1)]
    assert counted == [16]
    for result in results:
        np.testing.assert_array_equal([result.mean, result.std], channel_statistics(data.images))


@pytest.mark.parametrize(("layout", "stride"), [(torch.contiguous_format, 48), (torch.channels_last, 1)])
def test_batches_of_one_channel_have_the_strides_of_their_layout(
    rng: np.random.Generator, layout: torch.memory_format, stride: int
) -> None:
    """Convolutions go by the stride of the channel; both layouts pass for the other one with a single channel."""
    grey = rng.integers(0, 256, (5, 6, 8, 1), dtype=np.uint8)
    images = ResidentImages(grey, *channel_statistics(grey), torch.device("cpu"), layout)
    batch = images.batch(torch.tensor([3, 1]))
    assert batch.stride(1) == images.in_layout(batch.contiguous(memory_format=torch.channels_last)).stride(1) == stride
    assert batch.shape == (2, 1, 6, 8)
