"""The run settings: their checks, and that the public call declares the same names and defaults."""

from __future__ import annotations

import inspect
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fiftyone_learnability import compute_learnability
from fiftyone_learnability.training.options import DEFAULT_BOUND, RunSettings, TrainingOptions, public_settings

WRONG_OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"epochs": 0}, "epochs must be a whole number of at least 1, not 0"),
    ({"epochs": 1.5}, "epochs must be a whole number of at least 1, not 1.5"),
    ({"epochs": True}, "epochs must be a whole number of at least 1, not True"),
    ({"epochs": "9"}, "epochs must be a whole number of at least 1, not '9'"),
    ({"epochs": 10**7}, "epochs must be at most 1000000, not 10000000"),
    ({"batch_size": 1}, "batch_size must be a whole number of at least 2, not 1"),
    ({"crop_padding": -1}, "crop_padding must be a whole number of at least 0, not -1"),
    ({"lr": 0}, "lr must be a number above 0, not 0"),
    ({"lr": math.nan}, "lr must be a number above 0, not nan"),
    ({"lr": math.inf}, "lr must be a number above 0, not inf"),
    ({"lr": "fast"}, "lr must be a number above 0, not 'fast'"),
    ({"weight_decay": -1e-9}, "weight_decay must be a number of at least 0, not -1e-09"),
    ({"weight_decay": math.nan}, "weight_decay must be a number of at least 0, not nan"),
    ({"horizontal_flip": 1}, "horizontal_flip must be True or False, not 1"),
    ({"measure": "guess"}, "measure must be one of exact, online, not 'guess'"),
    ({"measure": None}, "measure must be one of exact, online, not None"),
    ({"measure_every": 0}, "measure_every must be a whole number of at least 1, not 0"),
    ({"epochs": 9, "measure_every": 10}, "measure_every must be at most 9, the epochs of the training, not 10"),
    ({"epochs": 9, "el2n_epoch": 10}, "el2n_epoch must be at most 9, the epochs of the training, not 10"),
    ({"stop_when_stable": 1.0}, "a rank correlation between 0 and 1, such as 0.98, not 1.0"),
    ({"stop_when_stable": math.nan}, "stop_when_stable must be True, False or a rank correlation"),
    ({"stop_when_stable": "soon"}, "stop_when_stable must be True, False or a rank correlation"),
    ({"deterministic": True, "compile": True}, "deterministic=True and compile=True exclude each other"),
    ({"compile": "auto"}, "compile must be True or False, not 'auto'"),
]
WRONG_SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({"runs": 0}, "runs must be a whole number of at least 1, not 0"),
    ({"seed": -1}, "seed must be a whole number of at least 0, not -1"),
    ({"seed": 2**63}, f"seed must be at most {2**62}"),
    ({"image_size": 4}, "image_size must be a whole number of at least 8, not 4"),
    ({"image_size": 2000}, "image_size must be at most 1024, not 2000"),
    ({"crop_padding": 33}, "crop_padding must be at most 32, the image size in pixels, not 33"),
    ({"precision": "half"}, "precision must be one of auto, float32, bf16, fp16, not 'half'"),
    ({"scores": "luck"}, "unknown score 'luck'"),
    ({"scores": ["spread"]}, "set runs=2 or more"),
    ({"name": "a b"}, "the name 'a b' of a network must consist of letters, digits and underscores"),
    ({"name": "a_hits"}, "the name 'a_hits' of a network would clash with fields of this package"),
    ({"name": []}, "name must be one name for each network"),
    ({"name": ["a", "a"]}, "name must be one name for each network, each once"),
    ({"run_dir": 3}, "run_dir must be the path of a folder, not 3"),
    ({"resume": "perhaps"}, "resume must be True, False or 'if_same', not 'perhaps'"),
]


@pytest.mark.parametrize(("options", "message"), WRONG_OPTIONS, ids=str)
def test_options_are_checked(options: dict[str, Any], message: str) -> None:
    for cls in (TrainingOptions, RunSettings):
        with pytest.raises(ValueError, match=message):
            cls(**options)


@pytest.mark.parametrize(("settings", "message"), WRONG_SETTINGS, ids=str)
def test_run_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RunSettings(**settings)


def test_values_at_their_limits() -> None:
    TrainingOptions(epochs=1, batch_size=2, lr=1e-300, weight_decay=0, crop_padding=0)
    RunSettings(crop_padding=64, image_size=64, seed=2**62)


def test_numbers_of_numpy_become_python_numbers() -> None:
    settings = RunSettings(epochs=np.int64(3), lr=np.float32(0.5), horizontal_flip=np.bool_(False), runs=np.int8(2))
    assert (settings.epochs, settings.lr, settings.horizontal_flip, settings.runs) == (3, 0.5, False, 2)
    types = [type(value) for value in (settings.epochs, settings.lr, settings.horizontal_flip, settings.runs)]
    assert types == [int, float, bool, int]


def test_shorthand_values_are_expanded() -> None:
    assert TrainingOptions() == TrainingOptions(200, 128, 0.1, 5e-4, 4, True)
    assert TrainingOptions(batch_size=32).lr == 0.025
    assert TrainingOptions(batch_size=32, lr=0.1).lr == 0.1
    assert TrainingOptions(stop_when_stable=True).stop_when_stable == DEFAULT_BOUND
    assert TrainingOptions(stop_when_stable=False).stop_when_stable is None
    assert RunSettings().scores == ("learnability", "rank")
    assert RunSettings(scores=["hits"]).scores == ("learnability", "rank", "hits")
    assert (RunSettings().pixels, RunSettings(image_size=64).pixels) == (32, 64)


def test_el2n_is_measured_at_the_next_measured_epoch() -> None:
    assert TrainingOptions(epochs=200).measured_el2n_epoch == 20
    assert TrainingOptions(epochs=20, measure_every=7).measured_epochs == range(6, 21, 7)
    assert TrainingOptions(epochs=20, measure_every=7).measured_el2n_epoch == 6
    assert TrainingOptions(epochs=20, measure_every=7, el2n_epoch=7).measured_el2n_epoch == 13


def test_settings_that_are_replaced_are_checked_again() -> None:
    settings = RunSettings(scores="all", stop_when_stable=True, runs=2)
    assert replace(settings) == settings
    assert replace(settings, record_predictions=False).scores == settings.scores
    with pytest.raises(ValueError, match="epochs"):
        replace(settings, epochs=0)


def test_the_public_call_has_the_names_and_defaults_of_the_settings() -> None:
    parameters = dict(inspect.signature(compute_learnability).parameters)
    for name in ("samples", "models", "progress"):
        del parameters[name]
    defaults = {name: parameter.default for name, parameter in parameters.items()}
    assert defaults == {name: getattr(RunSettings, name) for name in public_settings()}


def test_every_setting_is_explained_by_the_public_call() -> None:
    for name in public_settings():
        assert f"\n        {name} (" in compute_learnability.__doc__


def test_the_stored_config_keeps_its_keys() -> None:
    expected = {"label_field", "epochs", "batch_size", "lr", "weight_decay", "crop_padding", "horizontal_flip"}
    expected |= {
        "measure",
        "measure_every",
        "stop_when_stable",
        "compile",
        "deterministic",
        "runs",
        "seed",
        "image_size",
        "device",
    }
    assert RunSettings().stored().keys() == {*expected, "precision", "el2n_epoch"}
