from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from fiftyone_learnability.experiment.rate import cache_file, estimate_seconds, known_rates, measure_rate, remember_rate
from fiftyone_learnability.training.options import TrainingOptions
from fiftyone_learnability.training.run import TrainingData


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_nothing_is_known_at_first(cache: Path) -> None:
    assert known_rates(["resnet20"], 32) == {}
    assert not cache.exists()


def test_measured_rates_are_remembered(cache: Path) -> None:
    remember_rate("resnet20", 32, "auto", 123.456)
    remember_rate("vgg16", 32, "auto", 7)
    remember_rate("vgg16", 64, "cpu", 2)
    assert cache_file().is_relative_to(cache)
    assert known_rates(["resnet20", "vgg16", "mobilenet"], 32) == {"resnet20": 123.46, "vgg16": 7}
    assert known_rates(["vgg16"], 64, "cpu") == {"vgg16": 2}
    assert known_rates(["vgg16"], 64) == {}
    remember_rate("vgg16", 32, "auto", 9)
    assert known_rates(["resnet20", "vgg16"], 32) == {"resnet20": 123.46, "vgg16": 9}
    # no temporary files are left
    assert [file.name for file in cache_file().parent.iterdir()] == ["rates.json"]


def test_each_machine_has_its_own_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    remember_rate("vgg16", 32, "auto", 7)
    monkeypatch.setattr("platform.node", lambda: "another")
    assert known_rates(["vgg16"], 32) == {}


@pytest.mark.parametrize("content", ["", "{", "no json", "[]", '"text"', "null", '{"a": "fast"}'])
def test_a_damaged_file_counts_as_empty(content: str) -> None:
    cache_file().parent.mkdir(parents=True)
    cache_file().write_text(content)
    assert known_rates(["vgg16"], 32) == {}
    remember_rate("vgg16", 32, "auto", 7)
    assert known_rates(["vgg16"], 32) == {"vgg16": 7}


def test_a_value_that_is_not_a_number_is_ignored() -> None:
    remember_rate("vgg16", 32, "auto", 7)
    measured = json.loads(cache_file().read_text())
    cache_file().write_text(json.dumps(dict.fromkeys(measured, "fast")))
    assert known_rates(["vgg16"], 32) == {}


def test_the_estimate_is_the_sum_over_networks() -> None:
    # 50 images, 4 epochs, 3 runs: 600 images for each
    assert estimate_seconds({"a": 100.0, "b": 10.0}, 50, 4, 3) == pytest.approx(6 + 60)
    assert estimate_seconds({}, 50, 4, 3) == 0


class FakeTraining:
    """Stands in for the training: the first epoch takes 9 s, each further one half a second."""

    def __init__(self) -> None:
        self.epochs: list[int] = []

    def __call__(self, name: str, factory: object, data: TrainingData, options: TrainingOptions, *_: object) -> object:
        assert (name, options.batch_size, data.images.shape) == ("resnet20", 8, (16, 16, 16, 3))
        # the time that a compiler takes is none of the training
        assert not options.compile
        self.epochs.append(options.epochs)
        seconds = [9.0] + [0.5] * (options.epochs - 1)
        return SimpleNamespace(reports=[SimpleNamespace(seconds=value) for value in seconds])


@pytest.mark.parametrize(("seconds", "epochs"), [(0.4, [2]), (0.5, [2]), (1.8, [2, 5])])
def test_the_measurement_takes_its_time_and_skips_the_first_epoch(
    seconds: float, epochs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeTraining()
    monkeypatch.setattr("fiftyone_learnability.training.run.train", fake)
    # 16 images in an epoch of half a second
    assert measure_rate("resnet20", image_size=16, batch_size=8, device="cpu", seconds=seconds) == 32
    assert fake.epochs == epochs


def test_the_command_measures_and_remembers(cache: Path) -> None:
    command = [sys.executable, "-m", "fiftyone_learnability.experiment.rate", "resnet20"]
    process = subprocess.run(
        [*command, "--image-size", "8", "--device", "cpu"], capture_output=True, text=True, timeout=120
    )
    assert process.returncode == 0, process.stderr
    (rate,) = known_rates(["resnet20"], 8, "cpu").values()
    assert process.stdout == f"resnet20: {rate:.0f} images per second\n"
