"""Hostile values: what no form and no browser sends, but a request can hold."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import fiftyone as fo
import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

import fiftyone_learnability as fol

from .made_up import add_samples, write_scores

COUNT = 40
MODELS = ["resnet20", "vgg16"]
MEASURED = ["hits", "variability", "aum"]
PATIENT = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
"""Any JSON."""

PARAMS: list[Any] = [
    "os:system",
    "torchvision/resnet18",
    "../../x",
    "../x.csv",
    "/etc/scores.csv",
    "a/b",
    "a.b",
    "$where",
    "",
    " ",
    "\0.csv",
    "x" * 5000,
    "x" * 5000 + ".csv",
    "false",
    {"$where": "1"},
    {"$ne": None},
    [{"$where": "1"}],
    [[]],
    [],
    True,
    False,
    None,
    0,
    -1,
    2.5,
    10**30,
    math.nan,
    math.inf,
]
"""Values of params."""


def make_dataset_with_everything() -> Iterator[fo.Dataset]:
    """A dataset with scores, predictions and dynamics of two networks, their consensus, and suggested labels."""
    dataset = fo.Dataset()
    add_samples(dataset, ["a"] * 25 + ["$where"] * 15)
    rng = np.random.default_rng(7)
    wrong = np.array([[0.1, 0.9]] * 25 + [[0.9, 0.1]] * 15, np.float32)
    write_scores(
        dataset,
        {model: rng.random(COUNT) for model in MODELS},
        more={model: {name: rng.random(COUNT) for name in MEASURED} for model in MODELS},
        dynamics={model: rng.random((4, COUNT)).astype(np.float16) for model in MODELS},
        predictions=dict.fromkeys(MODELS, wrong),
        classes=("a", "$where"),
    )
    dataset.register_run("foreign", dataset.init_run())
    fol.add_scores(dataset, ["hits"], ["resnet20"])
    fol.suggest_label_fixes(dataset)
    yield dataset
    dataset.delete()
