"""SIGKILL at any moment, then the same call again: the results equal those of an uninterrupted run."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fiftyone as fo
import pytest

import fiftyone_learnability as fol
from fiftyone_learnability.dataset.runs import load_results
from fiftyone_learnability.experiment import units
from fiftyone_learnability.experiment.results import ModelResults

from .dataset.helpers import learn, nothing_left_in, same_results, scratch_collections, state, tiny, values_of

FIELDS = [f"learnability_{name}" for name in ("a", "rank_a", "b", "rank_b")]
SAMPLES = 60


def call(dataset: fo.Dataset, **options: Any) -> dict[str, ModelResults]:
    """Make the call that is killed and repeated."""
    return learn(dataset, models={"a": tiny, "b": tiny}, epochs=3, runs=2, crop_padding=2, seed=3, **options)


class Killer:
    """Runs the call in processes that get killed."""

    def __init__(self, process: subprocess.Popen[str], dataset: fo.Dataset) -> None:
        self.process, self.dataset = process, dataset
        self.counts: dict[str, int] = {}

    def run(self, moment: tuple[str, int] | None, overwrite: bool = False) -> str:
        """Return the output of the process, with its exit status in the last line."""
        job = {"dataset": self.dataset.name, "moment": moment, "overwrite": overwrite}
        print(json.dumps(job), file=self.process.stdin, flush=True)
        lines: list[str] = []
        # FiftyOne prints warnings in between
        while not lines or not lines[-1].strip("-\n").isdigit():
            lines.append(self.process.stdout.readline())
            assert lines[-1], "the process is gone"
        return "".join(line for line in lines if line[0] in "{-0123456789")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The cache of these tests, and a checkpoint after every epoch."""
    with pytest.MonkeyPatch.context() as patch:
        cache = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(cache))
        patch.setattr(units, "CHECKPOINT_SECONDS", 0.0)
        yield cache


@pytest.fixture(scope="module")
def killer(folder: Path, digits: tuple[list[str], list[str]]) -> Iterator[Killer]:
    """A dataset, and a process that starts those to be killed."""
    if not hasattr(os, "fork"):
        pytest.skip("there is no fork")
    files, labels = digits
    chosen = [index for index, label in enumerate(labels) if label in "014"][:SAMPLES]
    # persistent: the end of another process must not delete it
    dataset = fo.Dataset(persistent=True)
    dataset.add_samples(
        [fo.Sample(files[index], ground_truth=fo.Classification(label=labels[index])) for index in chosen],
        progress=False,
    )
    command = [sys.executable, "-m", "tests.killed"]
    root = Path(__file__).parent.parent
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            yield Killer(process, dataset)
        finally:
            process.stdin.close()
            dataset.delete()


@pytest.fixture(scope="module")
def expected(killer: Killer, folder: Path) -> tuple[dict[str, ModelResults], dict[str, dict[str, Any]]]:
    """Results and fields of the uninterrupted run; also counts how often each moment occurs."""
    results = call(killer.dataset)
    fields = {name: values_of(killer.dataset, name) for name in FIELDS}
    fol.delete_run(killer.dataset, "learnability")
    counts, status = killer.run(None).splitlines()
    assert status == "0"
    killer.counts = json.loads(counts)
    killer.dataset.reload()
    # another process gives the same results
    assert {name: values_of(killer.dataset, name) for name in FIELDS} == fields
    fol.delete_run(killer.dataset, "learnability")
    return results, fields


KINDS = (
    *("decoding", "a batch", "measuring", "a checkpoint", "a record"),
    *("the results", "before a command", "in a command", "before a command", "removing"),
)
TRIES = [(number, kind, overwrite) for overwrite in (False, True) for number, kind in enumerate(KINDS)]
FAST = [TRIES[1], TRIES[3], TRIES[7], TRIES[16]]


@pytest.mark.parametrize(
    ("number", "kind", "overwrite"),
    [
        pytest.param(
            *one,
            marks=[] if one in FAST else pytest.mark.slow,
            id=f"{one[1]}{'-overwriting' if one[2] else ''}-{one[0]}",
        )
        for one in TRIES
    ],
)
def test_a_killed_run_resumes_to_the_same_result(
    killer: Killer,
    expected: tuple[dict[str, ModelResults], dict[str, dict[str, Any]]],
    folder: Path,
    number: int,
    kind: str,
    overwrite: bool,
) -> None:
    count = killer.counts[kind]
    assert count > 0
    # the first commands only read
    moment = random.Random(f"{kind} {number} {overwrite}").randint(1 + count // 3, count)
    check_a_kill(killer, *expected, folder, (kind, moment), overwrite)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_kill_before_any_command_of_the_writing(
    killer: Killer,
    expected: tuple[dict[str, ModelResults], dict[str, dict[str, Any]]],
    folder: Path,
    overwrite: bool,
) -> None:
    seen = set()
    # overwriting takes more commands; after the last one the process ends by itself
    for moment in range(1, 2 * killer.counts["before a command"]):
        found = check_a_kill(killer, *expected, folder, ("before a command", moment), overwrite, may_end=True)
        if found is None:
            break
        seen.add(found)
    assert moment >= killer.counts["before a command"]
    assert seen == {"before", "marked", "after"}


def check_a_kill(
    killer: Killer,
    results: dict[str, ModelResults],
    fields: dict[str, dict[str, Any]],
    folder: Path,
    moment: tuple[str, int],
    overwrite: bool,
    may_end: bool = False,
) -> str | None:
    """Kill a run and repeat the call; return the state of the fields in between, None if it was not killed."""
    dataset, old = killer.dataset, None
    if overwrite:
        learn(dataset, "a", "b", epochs=1, seed=9)
        old = {name: values_of(dataset, name) for name in FIELDS}
    try:
        answer = killer.run(moment, overwrite)
        if may_end and answer.startswith("{"):
            assert answer.endswith("\n0\n")
            dataset.reload()
            return None
        assert answer == f"{-signal.SIGKILL}\n"
        found = check_no_partial_field(dataset, old, fields)
        again = call(dataset, overwrite=overwrite)
        assert same_results(again, results)
        dataset.reload()
        assert {name: values_of(dataset, name) for name in FIELDS} == fields
        assert dataset.list_runs() == ["learnability"]
        assert same_results(load_results(dataset, "learnability"), results)
        assert not any(_being_written(dataset, name) for name in FIELDS)
        assert set(FIELDS) <= set(dataset.list_indexes())
        assert scratch_collections() == []
        assert nothing_left_in(folder)
        return found
    finally:
        for key in dataset.list_runs():
            dataset.delete_run(key)


def check_no_partial_field(dataset: fo.Dataset, old: dict[str, Any] | None, new: dict[str, Any]) -> str:
    """Check that each field is completely old or completely new, or is marked as incomplete."""
    dataset.reload()
    # every sample still loads
    assert len(list(dataset)) == SAMPLES
    marked = {name for name in FIELDS if _being_written(dataset, name)}
    shown = {name: values_of(dataset, name) for name in FIELDS if dataset.has_field(name) and name not in marked}
    if marked:
        # only marked fields are incomplete, and the package does not take them for scores
        assert fol.find_models(dataset) in ([], ["a"], ["b"], ["a", "b"])
        assert not {f"learnability_{model}" for model in fol.find_models(dataset)} & marked
        assert all(shown[name] == (old or {}).get(name) for name in shown)
        return "marked"
    assert shown in (old or {}, new)
    return "after" if shown == new else "before"


def test_a_killed_write_is_rolled_back_by_the_next_call(killer: Killer, expected: Any, folder: Path) -> None:
    dataset = killer.dataset
    learn(dataset, "a", "b", epochs=1, seed=9)
    before = state(dataset)
    try:
        # later and later, until a kill leaves marked fields
        for moment in range(killer.counts["before a command"] // 3, killer.counts["before a command"], 2):
            assert killer.run(("before a command", moment), overwrite=True) == f"{-signal.SIGKILL}\n"
            dataset.reload()
            if any(_being_written(dataset, name) for name in FIELDS):
                break
        assert any(_being_written(dataset, name) for name in FIELDS)
        # the next write of anything first restores the old scores
        learn(dataset, "other")
        dataset.reload()
        fol.delete_run(dataset, "learnability_2")
        assert {key: value for key, value in state(dataset).items() if key != "stored_results"} == {
            key: value for key, value in before.items() if key != "stored_results"
        }
        assert scratch_collections() == []
    finally:
        for key in dataset.list_runs():
            dataset.delete_run(key)


def _being_written(dataset: fo.Dataset, name: str) -> bool:
    """Return True if a field is marked as incomplete."""
    field = dataset.get_field(name)
    return field is not None and "not complete" in field.description and "writing" in field.info["learnability"]
