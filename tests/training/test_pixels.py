from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fiftyone_learnability.training.pixels import channel_statistics


@given(hnp.arrays(np.uint8, st.tuples(*[st.integers(1, 20)], *[st.integers(1, 4)] * 2, st.sampled_from([1, 3]))))
def test_channel_statistics_agree_with_numpy(images: np.ndarray) -> None:
    mean, std = channel_statistics(images)
    values = images.astype(np.float64) / 255
    expected = values.std(axis=(0, 1, 2))
    constant = np.ptp(images.reshape(-1, images.shape[3]), axis=0) == 0
    np.testing.assert_allclose(mean, values.mean(axis=(0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(std, np.where(constant, 1, expected), rtol=1e-5)
    assert mean.dtype == std.dtype == np.float32
