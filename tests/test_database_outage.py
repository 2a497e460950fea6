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

from .database_outage import MOMENTS
from .dataset.helpers import learn, values_of

ROOT = Path(__file__).parent.parent
FAST, SLOW = ["training and writing"], ["training", *MOMENTS]


@pytest.fixture(scope="module")
def chosen(digits: tuple[list[str], list[str]]) -> list[tuple[str, str]]:
    """Forty digits of two classes."""
    return [pair for pair in zip(*digits, strict=True) if pair[1] in "01"][:40]


@pytest.fixture
def expected(make_dataset: Callable[..., fo.Dataset], chosen: list[tuple[str, str]]) -> list[float]:
    """The scores of the same run without an outage."""
    files, labels = zip(*chosen, strict=True)
    dataset = make_dataset(list(files), list(labels))
    learn(dataset, "tiny", epochs=4, seed=3)
    values = dict(zip(dataset.values("filepath"), values_of(dataset, "learnability_tiny").values(), strict=True))
    return [values[file] for file in files]


def run_scenario(name: str, folder: Path, chosen: list[tuple[str, str]]) -> dict[str, Any]:
    """Run a scenario of ``database_outage``; return its outcome."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.database_outage", name, str(folder)],
        input=json.dumps(chosen),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def assert_replaced(outcome: dict[str, Any], expected: list[float]) -> None:
    """Assert that the new scores have replaced the old ones, once and completely."""
    assert outcome["values"] == expected
    assert outcome["ranks"] == 40
    assert "not complete" not in outcome["description"]
    assert outcome["runs"] == ["learnability"]
    assert outcome["epochs"] == 4
    assert outcome["indexes"] == ["learnability_rank_tiny", "learnability_tiny"]
    assert outcome["scratch"] == []
    assert outcome["cache"] is True


@pytest.mark.parametrize("name", [*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_a_database_that_comes_back(
    name: str, tmp_path: Path, chosen: list[tuple[str, str]], expected: list[float]
) -> None:
    outcome = run_scenario(name, tmp_path, chosen)
    assert_replaced(outcome, expected)
    assert "error" not in outcome
    retried = [notice for notice in outcome["notices"] if "the database cannot be reached; retrying in" in notice]
    # an outage that is over before writing begins, or begins after it, causes no notice
    assert bool(retried) == (name not in ("training", "after all is written"))


def test_a_database_that_does_not_come_back(
    tmp_path: Path, chosen: list[tuple[str, str]], expected: list[float]
) -> None:
    outcome = run_scenario("stays away", tmp_path, chosen)
    assert "`fiftyone-learnability write " in outcome["error"]
    assert outcome["again"]
    # until the command succeeds, the dataset is as it was
    assert outcome["untouched"] is True
    assert outcome["written"] == ["learnability", 40]
    assert "there is no run directory" in outcome["third"]
    assert_replaced(outcome, expected)


@pytest.mark.slow
def test_a_background_job_trains_on_without_a_database(tmp_path: Path, chosen: list[tuple[str, str]]) -> None:
    outcome = run_scenario("job", tmp_path, chosen)
    assert outcome["state"] == "completed", outcome
    assert outcome["values"] == outcome["expected"]
