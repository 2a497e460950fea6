from __future__ import annotations

import math

import numpy as np
import pytest

from fiftyone_learnability.training.options import TrainingOptions


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be a whole number of at least 1, not 0"),
        ({"epochs": 1.5}, "epochs must be a whole number of at least 1, not 1.5"),
        ({"epochs": True}, "epochs must be a whole number of at least 1, not True"),
        ({"epochs": "9"}, "epochs must be a whole number of at least 1, not '9'"),
        ({"batch_size": 1}, "batch_size must be a whole number of at least 2, not 1"),
        ({"crop_padding": -1}, "crop_padding must be a whole number of at least 0, not -1"),
        ({"lr": 0}, "lr must be a positive number, not 0"),
        ({"lr": math.nan}, "lr must be a positive number, not nan"),
        ({"lr": math.inf}, "lr must be a positive number, not inf"),
        ({"weight_decay": -1e-9}, "weight_decay must not be negative"),
        ({"weight_decay": math.nan}, "weight_decay must not be negative"),
        ({"measure": "guess"}, "measure must be 'exact' or 'online', not 'guess'"),
        ({"measure_every": 0}, "measure_every must be a whole number of at least 1, not 0"),
        ({"epochs": 9, "measure_every": 10}, "measure_every must be at most 9, the epochs of the training, not 10"),
        ({"stop_when_stable": 1.0}, "stop_when_stable must be a rank correlation between 0 and 1, such as 0.98"),
        ({"stop_when_stable": math.nan}, "stop_when_stable must be a rank correlation"),
        ({"compile": "auto"}, "compile must be True or False, not 'auto'"),
    ],
)
def test_options_are_checked(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainingOptions(**options)


def test_options_at_their_limits() -> None:
    TrainingOptions(epochs=1, batch_size=2, lr=1e-300, weight_decay=0, crop_padding=0)
    assert TrainingOptions(epochs=np.int64(3)).epochs == 3
    assert TrainingOptions() == TrainingOptions(200, 128, 0.1, 5e-4, 4, True)
