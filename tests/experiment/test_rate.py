"""How fast this machine is, measured and remembered."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fiftyone_learnability.experiment import rate
from fiftyone_learnability.experiment.rate import cache_file, estimate_seconds, known_rates, measure_rate, remember_rate
from fiftyone_learnability.training import run as training


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_nothing_is_known_at_first(cache: Path) -> None:
    assert known_rates(["resnet20"], 32) == {}
    assert not cache.exists()


def test_what_was_measured_is_remembered(cache: Path) -> None:
    remember_rate("resnet20", 32, "auto", 123.456)
    remember_rate("vgg16", 32, "auto", 7)
    remember_rate("vgg16", 64, "cpu", 2)
    assert cache_file().is_relative_to(cache)
    assert known_rates(["resnet20", "vgg16", "mobilenet"], 32) == {"resnet20": 123.46, "vgg16": 7}
    assert known_rates(["vgg16"], 64, "cpu") == {"vgg16": 2}
    assert known_rates(["vgg16"], 64) == {}
    remember_rate("vgg16", 32, "auto", 9)
    assert known_rates(["resnet20", "vgg16"], 32) == {"resnet20": 123.46, "vgg16": 9}
    # no half-written files stay behind
    assert [file.name for file in cache_file().parent.iterdir()] == ["rates.json"]


def test_each_machine_has_its_own_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    remember_rate("vgg16", 32, "auto", 7)
    monkeypatch.setattr(rate.platform, "node", lambda: "another")
    assert known_rates(["vgg16"], 32) == {}


@pytest.mark.parametrize("content", ["", "{", "no json", "[]", '"text"', "null", '{"a": "fast"}'])
def test_a_broken_file_is_as_good_as_none(content: str) -> None:
    cache_file().parent.mkdir(parents=True)
    cache_file().write_text(content)
    assert known_rates(["vgg16"], 32) == {}
    remember_rate("vgg16", 32, "auto", 7)
    assert known_rates(["vgg16"], 32) == {"vgg16": 7}


def test_a_value_that_is_no_number_is_not_known() -> None:
    remember_rate("vgg16", 32, "auto", 7)
    measured = json.loads(cache_file().read_text())
    cache_file().write_text(json.dumps(dict.fromkeys(measured, "fast")))
    assert known_rates(["vgg16"], 32) == {}


def test_the_estimate_adds_up_the_networks() -> None:
    # 50 images, 4 epochs, 3 runs: 600 images by each
    assert estimate_seconds({"a": 100.0, "b": 10.0}, 50, 4, 3) == pytest.approx(6 + 60)
    assert estimate_seconds({}, 50, 4, 3) == 0


def test_a_measurement_trains_without_its_first_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    reports: list[training.EpochReport] = []
    seen: dict[str, object] = {}
    train = training.train

    def watched(name, factory, data, options, seed, placement, observer):  # type: ignore[no-untyped-def]
        seen.update(name=name, shape=data.images.shape, batch_size=options.batch_size, device=placement.device.type)

        class Watch(training.TrainingObserver):
            def on_epoch(self, report: training.EpochReport) -> None:
                reports.append(report)
                observer.on_epoch(report)

        return train(name, factory, data, options, seed, placement, Watch())

    monkeypatch.setattr(training, "train", watched)
    found = measure_rate("resnet20", image_size=16, batch_size=8, device="cpu", seconds=0.05)
    assert seen == {"name": "resnet20", "shape": (16, 16, 16, 3), "batch_size": 8, "device": "cpu"}
    counted = reports[1:]
    assert counted
    assert found == pytest.approx(16 * len(counted) / sum(report.seconds for report in counted))
    # it ends soon after the time that it was given
    assert sum(report.seconds for report in counted[:-1]) < 0.05


def test_the_command_measures_and_remembers(cache: Path) -> None:
    command = [sys.executable, "-m", "fiftyone_learnability.experiment.rate", "resnet20"]
    process = subprocess.run(
        [*command, "--image-size", "8", "--device", "cpu"], capture_output=True, text=True, timeout=120
    )
    assert process.returncode == 0, process.stderr
    (rate_found,) = known_rates(["resnet20"], 8, "cpu").values()
    assert process.stdout == f"resnet20: {rate_found:.0f} images a second\n"
