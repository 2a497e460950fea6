"""A database that is killed in the middle of a run, and comes back or does not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fiftyone as fo
import pytest

from .dataset.helpers import learn, values_of

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def chosen(digits: tuple[list[str], list[str]]) -> list[tuple[str, str]]:
    """Forty digits of two classes."""
    return [pair for pair in zip(*digits, strict=True) if pair[1] in "01"][:40]


@pytest.fixture
def expected(make_dataset: Callable[..., fo.Dataset], chosen: list[tuple[str, str]]) -> list[float]:
    """The scores where nothing happens."""
    files, labels = zip(*chosen, strict=True)
    dataset = make_dataset(list(files), list(labels))
    learn(dataset, "tiny", epochs=4, seed=3)
    values = dict(zip(dataset.values("filepath"), values_of(dataset, "learnability_tiny").values(), strict=True))
    return [values[file] for file in files]


def away(name: str, folder: Path, chosen: list[tuple[str, str]]) -> dict[str, Any]:
    """What became of a run during which the database went away."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.away", name, str(folder)],
        input=json.dumps(chosen),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


FAST = ("training and writing",)
SLOW = (
    *("training", "before the values", "after the values", "before the fields are shown", "before the run has its key"),
    *("after all is written", "while the old run is deleted"),
)


def check(said: dict[str, Any], expected: list[float]) -> None:
    """The new scores have taken the place of the old ones, once and as a whole."""
    assert said["values"] == expected
    assert said["ranks"] == 40
    assert "not complete" not in said["description"]
    assert said["runs"] == ["learnability"]
    assert said["epochs"] == 4
    assert said["indexes"] == ["learnability_rank_tiny", "learnability_tiny"]
    assert said["scratch"] == []
    assert said["cache"] is True


@pytest.mark.parametrize("name", [*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_a_database_that_comes_back(
    name: str, tmp_path: Path, chosen: list[tuple[str, str]], expected: list[float]
) -> None:
    said = away(name, tmp_path, chosen)
    check(said, expected)
    assert "error" not in said
    # in time for the writing, nobody notices
    tried_again = [notice for notice in said["notices"] if "the database cannot be reached; retrying in" in notice]
    assert bool(tried_again) == (name not in ("training", "after all is written"))


def test_a_database_that_stays_away(tmp_path: Path, chosen: list[tuple[str, str]], expected: list[float]) -> None:
    said = away("away", tmp_path, chosen)
    assert "The trainings are done and saved: `fiftyone-learnability write " in said["error"]
    assert said["again"]
    # until the command succeeds, the dataset is as it was
    assert said["old"] is True
    assert said["written"] == ["learnability", 40]
    assert "there is no run directory" in said["third"]
    check(said, expected)


@pytest.mark.slow
def test_a_background_job_trains_on_without_a_database(tmp_path: Path, chosen: list[tuple[str, str]]) -> None:
    said = away("job", tmp_path, chosen)
    assert said["state"] == "completed", said
    # as they would have come out anyway
    assert said["values"] == said["expected"]
