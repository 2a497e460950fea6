"""Files from others: nothing in them is executed, and nothing outside of a run directory is touched.

Each hostile file ends in a message. Executing one would create a file, the canary.
"""

from __future__ import annotations

import ast
import base64
import io
import json
import os
import pickle
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fiftyone as fo
import numpy as np
import pandas as pd
import pyarrow
import pytest
import torch
from bson import json_util

import fiftyone_learnability as fol
from fiftyone_learnability import delivery
from fiftyone_learnability.cli import main as command_line
from fiftyone_learnability.dataset.registry import LearnabilityRunResults
from fiftyone_learnability.dataset.stages import check_stages
from fiftyone_learnability.delivery import write_run_directory
from fiftyone_learnability.experiment import files
from fiftyone_learnability.experiment.results import ModelResults
from fiftyone_learnability.experiment.score_files import read_table
from fiftyone_learnability.preparation import default_run_directory
from fiftyone_learnability.storage import runs_folder
from fiftyone_learnability.training.networks import resolve_networks
from fiftyone_learnability.training.tracker import LearnabilityTracker

from .dataset.helpers import learn, make_results, state, tiny

ROOT = Path(__file__).resolve().parent.parent


class Payload:
    """Creates the canary when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.canary,)


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A file that nothing must create, after a check that the payload would."""
    path = tmp_path / "canary"
    pickle.loads(pickle.dumps(Payload(path)))
    assert path.exists(), "the payload is harmless, so the test would show nothing"
    path.unlink()
    yield path
    assert not path.exists(), "something was executed"


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def pickled(canary: Path) -> bytes:
    return pickle.dumps(Payload(canary))


def torch_pickled(canary: Path) -> bytes:
    """Return a checkpoint that ``torch.load`` without ``weights_only`` would execute."""
    buffer = io.BytesIO()
    torch.save({"reports": [Payload(canary)]}, buffer)
    return buffer.getvalue()


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def objects(canary: Path) -> np.ndarray:
    return np.array([Payload(canary)], dtype=object)


def of_a_length(length: int) -> bytes:
    """Return an npy file that claims another length than it has."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f8", "fortran_order": False, "shape": (length,)})
    return buffer.getvalue() + b"\0" * 80


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def headed(results: ModelResults, **changes: Any) -> bytes:
    """Return an archive of results with some arrays replaced."""
    with np.load(io.BytesIO(results.to_bytes())) as archive:
        arrays = {**dict(archive), **changes}
    return npz(**{name: array for name, array in arrays.items() if array is not None})


# archives: results and scores


@pytest.fixture(scope="module")
def results() -> ModelResults:
    dataset = fo.Dataset()
    dataset.add_samples([fo.Sample(f"/no/{index}.png") for index in range(6)], progress=False)
    made = make_results(dataset, "tiny", runs=2)["tiny"]
    dataset.delete()
    return made


HEADERS = {
    "no JSON": "{",
    "a list": "[1, 2]",
    "a number": "7",
    "nothing": "{}",
    "nested without end": "[" * 100_000,
    "a model that is an object": json.dumps({"format": 1, "model": {"$where": "1"}, "classes": [], "config": {}}),
    "classes that are numbers": json.dumps({"format": 1, "model": "m", "classes": [1, 2], "config": {}}),
    "classes that are one number": json.dumps({"format": 1, "model": "m", "classes": 5, "config": {}}),
    "a config that is a text": json.dumps({"format": 1, "model": "m", "classes": ["a", "b"], "config": "x"}),
    "labels without classes": json.dumps({"format": 1, "model": "m", "classes": ["a"], "config": {}}),
}


@pytest.mark.parametrize("header", HEADERS)
def test_a_hostile_header_is_refused(results: ModelResults, header: str) -> None:
    content = headed(results, header=np.array(HEADERS[header]))
    with pytest.raises(ValueError, match=r"damaged|does not hold|Expecting|recursion"):
        ModelResults.from_npz(io.BytesIO(content))


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("ids", np.arange(6)),
        ("ids", np.array(["a"])),
        ("labels", np.array([0.5] * 6)),
        ("labels", np.array([0, 1, 2**40, 0, 1, 0])),
        ("labels", np.array([0, 1, -7, 0, 1, 0])),
        ("run_learnability", np.zeros(6)),
        ("run_learnability", np.zeros((0, 6))),
        ("run_learnability", np.array([["high"] * 6] * 2)),
        ("run_aum", np.zeros((2, 5))),
        ("train_loss", np.zeros(3)),
        ("train_loss", np.zeros((2, 3, 1))),
        ("epoch_seconds", np.zeros((2, 4))),
        ("dynamics", np.zeros((3, 5), np.float16)),
        ("prediction", np.zeros((6, 3), np.float16)),
        ("prediction", np.zeros(6, np.float16)),
        ("filepaths", None),
    ],
    ids=lambda value: value if isinstance(value, str) else str(getattr(value, "shape", value)),
)
def test_results_that_do_not_fit_together_are_refused(results: ModelResults, name: str, array: Any) -> None:
    assert ModelResults.from_npz(io.BytesIO(headed(results))).model == "tiny"
    with pytest.raises(ValueError, match="damaged"):
        ModelResults.from_npz(io.BytesIO(headed(results, **{name: array})))


@pytest.mark.parametrize("name", ["ids", "header", "run_aum", "dynamics", "unheard_of"])
def test_pickled_members_are_never_loaded(results: ModelResults, name: str, canary: Path) -> None:
    with pytest.raises(ValueError, match="pickled"):
        ModelResults.from_npz(io.BytesIO(headed(results, **{name: objects(canary)})))


def hostile_archives(canary: Path) -> dict[str, bytes]:
    good = of_a_length(10)
    return {
        "a pickle": pickled(canary),
        "a checkpoint": torch_pickled(canary),
        "an object array": npz(id=objects(canary), learnability=np.zeros(1)),
        "an array that is longer than it is": zipped({"id.npy": of_a_length(2**50), "learnability.npy": good}),
        "one whose size overflows": zipped({"id.npy": of_a_length(2**62), "learnability.npy": good}),
        "no array": zipped({"id.npy": b"nothing of the sort", "learnability.npy": good}),
        "no npy file": zipped({"id": b"nothing of the sort"}),
        "a way out": zipped({"../../id.npy": good, "../../learnability.npy": good}),
        "a single array": of_a_length(2**50),
        "cut off": zipped({"id.npy": good, "learnability.npy": good})[:-30],
        "damaged within": zipped({"id.npy": good, "learnability.npy": good}).replace(b"\0", b"\1"),
    }


@pytest.mark.parametrize("which", hostile_archives(Path("nowhere")))
def test_hostile_archives_are_refused(which: str, digit_dataset: fo.Dataset, canary: Path, tmp_path: Path) -> None:
    content = hostile_archives(canary)[which]
    (folder := tmp_path / "files").mkdir()
    path = folder / "scores.npz"
    path.write_bytes(content)
    before = state(digit_dataset)
    with pytest.raises(ValueError, match=str(path)):
        ModelResults.from_npz(path)
    with pytest.raises(ValueError, match=r"scores\.npz"):
        fol.import_scores(digit_dataset, path, "mine")
    with pytest.raises(ValueError):  # noqa: PT011 - the messages differ, that there is one is the point
        ModelResults.from_npz(io.BytesIO(content))
    assert state(digit_dataset) == before
    assert [entry.name for entry in folder.iterdir()] == ["scores.npz"]


def test_a_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The limit is a megabyte here: a gigabyte takes seconds to pack."""
    monkeypatch.setattr(files, "BOMB_BYTES", 2**20)
    count = 2**18
    np.savez_compressed(tmp_path / "bomb.npz", id=np.zeros(count), learnability=np.zeros(count))
    assert (tmp_path / "bomb.npz").stat().st_size < 2**14
    with pytest.raises(ValueError, match="times its size"):
        fol.import_scores(fo.Dataset(), tmp_path / "bomb.npz", "mine")
    pd.DataFrame({"id": ["x"] * count, "learnability": 0.0}).to_parquet(tmp_path / "bomb.parquet")
    with pytest.raises(ValueError, match="times its size"):
        fol.import_scores(fo.Dataset(), tmp_path / "bomb.parquet", "mine")
    # a file that is large without compression is read
    values = np.random.default_rng(0).random(count)
    np.savez_compressed(tmp_path / "large.npz", learnability=values)
    with files.open_archive(tmp_path / "large.npz") as archive:
        np.testing.assert_array_equal(archive["learnability"], values)


def test_a_member_cannot_exceed_its_stated_size(tmp_path: Path) -> None:
    """The check adds up the sizes that zipfile enforces."""
    np.savez_compressed(tmp_path / "bomb.npz", id=np.zeros(2**18))
    content = (tmp_path / "bomb.npz").read_bytes()
    size = (2**18 * 8 + 128).to_bytes(4, "little")
    assert size in content
    (tmp_path / "bomb.npz").write_bytes(content.replace(size, (200).to_bytes(4, "little")))
    with pytest.raises(ValueError, match="bomb"):
        files.open_archive(tmp_path / "bomb.npz")


def test_repeated_text_is_a_bomb_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(files, "BOMB_BYTES", 2**22)
    path = tmp_path / "bomb.parquet"
    # 50 MB unpacked, which must be noticed before a batch holds them
    pd.DataFrame({"id": ["x" * 50_000] * 1000, "learnability": 0.5}).to_parquet(path)
    assert path.stat().st_size < 2**16
    before = pyarrow.total_allocated_bytes()
    peak = pyarrow.default_memory_pool().max_memory()
    with pytest.raises(ValueError, match=r"bomb.parquet .*in memory"):
        read_table(path)
    assert pyarrow.default_memory_pool().max_memory() - max(before, peak) < 2**22
    # a table without tricks is read
    pd.DataFrame({"id": [f"sample {index}" for index in range(1000)], "learnability": 0.5}).to_parquet(path)
    assert len(read_table(path)) == 1000


@pytest.mark.parametrize("ending", ["csv", "npz", "parquet"])
def test_hostile_tables_are_refused(ending: str, digit_dataset: fo.Dataset, canary: Path, tmp_path: Path) -> None:
    before = state(digit_dataset)
    for number, content in enumerate((pickled(canary), torch_pickled(canary), b"", b"\0" * 1000, b"\x80\x04\x95")):
        path = tmp_path / f"{number}.{ending}"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=path.name):
            fol.import_scores(digit_dataset, path, "mine")
    for name, leads_to in (("device", "/dev/zero"), ("folder", str(tmp_path))):
        path = tmp_path / f"{name}.{ending}"
        path.symlink_to(leads_to)
        with pytest.raises(ValueError, match="not a regular file"):
            fol.import_scores(digit_dataset, path, "mine")
    os.mkfifo(tmp_path / f"pipe.{ending}")
    # opening a pipe without a writer would wait forever
    with pytest.raises(ValueError, match="not a regular file"):
        fol.import_scores(digit_dataset, tmp_path / f"pipe.{ending}", "mine")
    assert state(digit_dataset) == before


def test_the_content_of_a_table_is_not_executed(digit_dataset: fo.Dataset, canary: Path, tmp_path: Path) -> None:
    ids = digit_dataset.values("id")
    code = f"__import__('pathlib').Path({str(canary)!r}).touch()"
    pd.DataFrame({"id": ids, "learnability": [code] * 60}).to_csv(tmp_path / "code.csv", index=False)
    with pytest.raises(ValueError, match="something that is not a number"):
        fol.import_scores(digit_dataset, tmp_path / "code.csv", "mine")
    # neither column names nor MongoDB operators are executed
    pd.DataFrame({"id": ids, code: 0.5, "$where": 0.5}).to_csv(tmp_path / "named.csv", index=False)
    with pytest.raises(ValueError, match="learnability"):
        fol.import_scores(digit_dataset, tmp_path / "named.csv", "mine")
    for name in (code, "$where", "a.b", "../../x", ""):
        with pytest.raises(ValueError, match="name"):
            fol.import_scores(digit_dataset, tmp_path / "named.csv", name, learnability="$where")


def test_a_parquet_file_cannot_unpickle_a_class(canary: Path, tmp_path: Path) -> None:
    """Earlier versions of Arrow pickled Python types into the schema of a file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    field = pa.field("id", pa.string(), metadata={
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickled(canary),
    })  # fmt: skip
    table = pa.table([pa.array(["x"]), pa.array([0.5])], schema=pa.schema([field, ("learnability", pa.float64())]))
    pq.write_table(table, tmp_path / "typed.parquet")
    with pytest.raises(ValueError, match=r"none of the 1 scored samples|cannot be read"):
        fol.import_scores(_with_a_sample(), tmp_path / "typed.parquet", "mine")


def _with_a_sample() -> fo.Dataset:
    dataset = fo.Dataset()
    dataset.add_sample(fo.Sample("/no/such.png"))
    return dataset


def test_an_export_does_not_write_through_a_link(digit_dataset: fo.Dataset, tmp_path: Path) -> None:
    fol.write_scores(digit_dataset, {"id": digit_dataset.values("id"), "learnability": np.arange(60.0)}, "mine")
    elsewhere = tmp_path / "elsewhere.csv"
    elsewhere.write_text("not ours")
    (tmp_path / "scores.csv").symlink_to(elsewhere)
    with pytest.raises(ValueError, match="holds no exported scores"):
        fol.export_scores(digit_dataset, tmp_path / "scores.csv")
    assert (tmp_path / "scores.csv").is_symlink()
    fol.export_scores(digit_dataset, tmp_path / "scores.csv", overwrite=True)
    assert elsewhere.read_text() == "not ours"
    assert len(pd.read_csv(tmp_path / "scores.csv")) == 60


# the results of a run in the database


@pytest.mark.parametrize(
    "archives",
    [
        {"tiny": "no base64 at all!"},
        {"tiny": 5},
        {"tiny": None},
        ["tiny"],
        "tiny",
        {"tiny": "UEsDBA=="},
    ],
    ids=str,
)
def test_damaged_results_in_the_database_are_refused(archives: Any) -> None:
    found = LearnabilityRunResults.__new__(LearnabilityRunResults)
    found.archives = archives
    with pytest.raises(ValueError, match=r"damaged|does not hold"):
        assert not found.models


def test_pickles_in_the_database_are_not_loaded(digit_dataset: fo.Dataset, results: ModelResults, canary: Path) -> None:
    learn(digit_dataset)
    content = headed(results, ids=objects(canary))
    stored = digit_dataset.load_run_results("learnability", cache=False)
    stored.archives = {"tiny": base64.b64encode(content).decode()}
    digit_dataset.save_run_results("learnability", stored, overwrite=True, cache=False)
    with pytest.raises(ValueError, match="pickled"):
        fol.load_results(digit_dataset, "learnability")
    with pytest.raises(ValueError, match="pickled"):
        fol.add_scores(digit_dataset)


# the directory of a run


class _StopError(Exception):
    pass


def leave_results(dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch, samples: Any = None) -> Path:
    """Return the directory of a run whose scores could not be written."""

    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError("the disk of the database is full")

    with monkeypatch.context() as patch:
        patch.setattr(delivery, "write_results", fail)
        with pytest.raises(fol.WriteError):
            learn(dataset if samples is None else samples, "tiny")
    return default_run_directory(dataset, "learnability")


def _stop_while_writing(event: Any) -> None:
    if event.stage == "writing":
        raise _StopError


@pytest.mark.parametrize("resume", [True, False, "if_same"])
def test_a_run_json_of_another_program_is_left_alone(digit_dataset: fo.Dataset, resume: Any, tmp_path: Path) -> None:
    # other programs have files of these names
    (folder := tmp_path / "theirs").mkdir()
    for name in ("run.json", "model.pt", "tiny-0.pt", "data.npz", "results/precious.txt", "results/tiny.npz"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text('{"status": "COMPLETED"}')
    before = sorted(folder.rglob("*"))
    with pytest.raises(ValueError, match=r"is not empty and not a run directory \(it does not describe a run\)"):
        learn(digit_dataset, run_dir=folder, resume=resume)
    assert [path for path in sorted(folder.rglob("*")) if path.name != "lock"] == before


def test_another_file_named_lock_is_left_alone(digit_dataset: fo.Dataset, tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("precious content")
    with pytest.raises(ValueError, match="is not empty and not a run directory"):
        learn(digit_dataset, run_dir=tmp_path)
    assert (tmp_path / "lock").read_text() == "precious content"


def test_a_process_killed_at_its_start_blocks_nothing(digit_dataset: fo.Dataset, tmp_path: Path) -> None:
    (folder := tmp_path / "run").mkdir()
    (folder / "lock").write_text("12345")
    (folder / ".run.json.12345.partial").write_text("{")
    learn(digit_dataset, run_dir=folder)
    assert not folder.exists()


def test_other_files_stay_in_the_run_directory(digit_dataset: fo.Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(_StopError):
        learn(digit_dataset, run_dir=folder, progress=_stop_while_writing)
    theirs = [folder / name for name in ("model.pt", "notes.npz", "results/precious.txt", "results/a b.npz")]
    for path in theirs:
        path.write_text("not ours")
    learn(digit_dataset, run_dir=folder)
    assert [path for path in sorted(folder.rglob("*")) if path.is_file()] == sorted(theirs)


def test_enormous_json_is_not_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "plan.json").open("wb") as file:
        # sparse, so it takes no space
        file.truncate(files.MOST_JSON_BYTES + 1)
    with pytest.raises(ValueError, match="it is not read"):
        files.read_json(tmp_path / "plan.json")


# the plan of a run that waits to be written


def popen(canary: Path) -> str:
    """Return a view with a command as its stage."""
    return json.dumps([{"_cls": "subprocess.Popen", "kwargs": [["args", ["touch", str(canary)]]]}])


def javascript(operator: str) -> str:
    stage = fo.Match({"$expr": {operator: {"body": "function() { return true; }", "args": [], "lang": "js"}}})
    return json.dumps([stage._serialize()])


def nested(canary: Path) -> str:
    inner = json.loads(popen(canary))
    return json.dumps([{"_cls": "fiftyone.core.stages.Concat", "kwargs": [["samples", inner]]}])


PLANS: dict[str, tuple[Callable[[Path], dict[str, Any]], str]] = {
    "models that lead out": (lambda canary: {"models": ["../../../elsewhere"]}, "networks"),
    "models by a whole path": (lambda canary: {"models": ["/etc/passwd"]}, "networks"),
    "models that are a text": (lambda canary: {"models": "tiny"}, "networks"),
    "no models": (lambda canary: {"models": []}, "networks"),
    "models that are not there": (lambda canary: {"models": ["other"]}, "no finished results"),
    "a key that leads out": (lambda canary: {"key": "../x"}, "identifier"),
    "a key that is an object": (lambda canary: {"key": {"$ne": 1}}, "identifier"),
    "a dataset that is an object": (lambda canary: {"dataset": {"$ne": 1}}, "dataset"),
    "a dataset that is not there": (lambda canary: {"dataset_id": "0" * 24}, "no longer exists"),
    "a dataset id that is an object": (lambda canary: {"dataset_id": {"$ne": 1}}, "dataset_id"),
    "a stage that makes files": (
        lambda canary: {"stages": json.dumps([fo.ToFrames(sample_frames=True)._serialize()])},
        "ToFrames, which generates samples or files",
    ),
    "overwrite as a text": (lambda canary: {"overwrite": "no"}, "overwrite"),
    "settings that are a list": (lambda canary: {"settings": []}, "settings"),
    "settings of another class": (lambda canary: {"settings": {"run_id": "x", "cls": "os.system"}}, "'cls'"),
    "settings with an operator": (lambda canary: {"settings": {"run_id": "x", "$where": "1"}}, "where"),
    "settings without an id": (lambda canary: {"settings": {}}, "settings"),
    "scores that are paths": (lambda canary: {"scores": ["../x"]}, "scores"),
    "scores that are lists": (lambda canary: {"scores": [["x"]]}, "scores"),
    "something more": (lambda canary: {"more": 1}, "more"),
    "a stage that is a command": (lambda canary: {"stages": popen(canary)}, r"subprocess\.Popen"),
    "a command within a stage": (lambda canary: {"stages": nested(canary)}, r"subprocess\.Popen"),
    "a stage that is a module": (lambda canary: {"stages": '[{"_cls": "fiftyone.core.stages.fos"}]'}, "not a stage"),
    "a stage that is another class": (
        lambda canary: {"stages": '[{"_cls": "fiftyone.core.stages.OrderedDict", "kwargs": []}]'},
        "OrderedDict",
    ),
    "a function": (lambda canary: {"stages": javascript("$function")}, "function"),
    "an accumulator": (lambda canary: {"stages": javascript("$accumulator")}, "accumulator"),
    "a where": (lambda canary: {"stages": javascript("$where")}, "where"),
    "a stage that writes": (
        lambda canary: {"stages": json.dumps([fo.Mongo([{"$out": "datasets"}])._serialize()])},
        "out",
    ),
    "stages that are an object": (lambda canary: {"stages": '{"a": 1}'}, "list of stages"),
    "stages as a list": (lambda canary: {"stages": []}, "stages"),
    "stages that are not JSON": (lambda canary: {"stages": "["}, "stages"),
    "an object id that is an object": (lambda canary: {"stages": '[{"$oid": {}}]'}, "stages"),
}


@pytest.fixture
def waiting(digit_dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch, cache: Path) -> tuple[fo.Dataset, Path]:
    """A dataset, and a run directory with results of half of it that wait to be written."""
    folder = leave_results(digit_dataset, monkeypatch, digit_dataset.limit(30))
    return digit_dataset, folder


@pytest.mark.parametrize("which", PLANS)
def test_a_hostile_plan_is_refused(
    waiting: tuple[fo.Dataset, Path], which: str, canary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset, folder = waiting
    changes, culprit = PLANS[which]
    plan = json.loads((folder / "results" / "plan.json").read_text())
    (folder / "results" / "plan.json").write_text(json.dumps({**plan, **changes(canary)}))
    before = state(dataset)
    with pytest.raises(ValueError, match=culprit):
        write_run_directory(folder)
    # the command line shows a message without a traceback
    assert command_line(["write", str(folder)]) == 1
    assert "fiftyone-learnability: " in capsys.readouterr().err
    assert state(dataset) == before
    # the results are kept
    assert (folder / "results" / "tiny.npz").exists()
    (folder / "results" / "plan.json").write_text(json.dumps(plan))
    assert write_run_directory(folder).num_written == 30


def test_fiftyone_would_run_a_command_in_a_stage(canary: Path) -> None:
    """Without this danger, the check of the stages could go."""
    view = json_util.loads(popen(canary))
    with pytest.raises(Exception):  # noqa: B017, PT011 - what comes of it is no stage
        fo.DatasetView._build(fo.Dataset(), view)
    deadline = time.monotonic() + 30
    while not canary.exists():
        assert time.monotonic() < deadline, "FiftyOne no longer calls what a stage names: the check can go"
        time.sleep(0.05)
    canary.unlink()
    with pytest.raises(ValueError, match="Popen"):
        check_stages(view)


@pytest.mark.parametrize(
    "make",
    [
        lambda dataset: dataset.limit(3),
        lambda dataset: dataset.match({"$expr": {"$eq": ["$ground_truth.label", "1"]}}).sort_by("id").skip(1),
        lambda dataset: dataset.select(dataset.values("id")[:3]).match_tags("x", bool=False),
        lambda dataset: dataset.limit(2).concat(dataset.skip(5)),
        lambda dataset: dataset.filter_labels("ground_truth", fo.ViewField("label") == "1").exclude_fields("more"),
        lambda dataset: dataset.mongo([{"$match": {"ground_truth._cls": "Classification"}}]),
        lambda dataset: dataset.group_by("ground_truth.label"),
    ],
    ids=range(7),
)
def test_harmless_views_are_accepted(digit_dataset: fo.Dataset, make: Callable[[fo.Dataset], fo.DatasetView]) -> None:
    digit_dataset.add_sample_field("more", fo.FloatField)
    check_stages(json_util.loads(json_util.dumps(make(digit_dataset)._serialize())))


@pytest.mark.parametrize("which", ["folder", "plan", "archive"])
def test_results_behind_a_link_are_refused(waiting: tuple[fo.Dataset, Path], which: str, tmp_path: Path) -> None:
    dataset, folder = waiting
    path = {"folder": folder / "results", "plan": folder / "results" / "plan.json"}.get(
        which, folder / "results" / "tiny.npz"
    )
    path.rename(tmp_path / "moved")
    path.symlink_to(tmp_path / "moved")
    with pytest.raises(ValueError, match="symbolic link"):
        write_run_directory(folder)
    assert fol.list_runs(dataset) == []


def test_a_lock_that_is_a_link_is_not_written_to(waiting: tuple[fo.Dataset, Path], tmp_path: Path) -> None:
    _, folder = waiting
    (elsewhere := tmp_path / "elsewhere").write_text("not ours")
    for name in ("lock", "owner"):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(elsewhere)
    with pytest.raises(ValueError, match="cannot be written"):
        write_run_directory(folder)
    (folder / "lock").unlink()
    assert write_run_directory(folder).num_written == 30
    assert elsewhere.read_text() == "not ours"
    assert not folder.exists()


@pytest.mark.parametrize("name", ["../out", "..", "/etc", "a/../../b", "\0", "x" * 3000])
def test_the_name_of_a_dataset_cannot_become_a_path(name: str, cache: Path) -> None:
    class Named:
        _doc = type("Doc", (), {"id": "0" * 24})

    dataset: Any = Named()
    dataset.name = name
    folder = default_run_directory(dataset, "key")
    assert folder.parent.parent == runs_folder()
    assert Path(os.path.normpath(folder)) == folder
    assert len(folder.parent.name) < 200


# the tracker


def tracker_state() -> dict[str, Any]:
    tracker = LearnabilityTracker(4)
    for _ in range(2):
        tracker.update(torch.arange(4), torch.eye(4)[:, :3], torch.tensor([0, 1, 2, 0]))
        tracker.end_epoch()
    return tracker.state_dict()


STATES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "nothing": lambda state: {},
    "another version": lambda state: {**state, "version": "2"},
    "without sums": lambda state: {name: state[name] for name in ("version", "epochs")},
    "sums of texts": lambda state: {**state, "squares": ["a"] * 4},
    "sums of another type": lambda state: {**state, "probability_sum": state["probability_sum"].int()},
    "too many sums": lambda state: {**state, "streak": torch.zeros(5, dtype=state["streak"].dtype)},
    "other predictions": lambda state: {**state, "prediction_sum": torch.zeros(4, 7)},
    "no predictions": lambda state: {**state, "prediction_sum": None},
}


@pytest.mark.parametrize("which", STATES)
def test_an_invalid_tracker_state_is_refused(which: str) -> None:
    good = tracker_state()
    tracker = LearnabilityTracker(4)
    tracker.load_state_dict(good)
    before = tracker.scores()
    with pytest.raises(ValueError, match="state"):
        tracker.load_state_dict(STATES[which](good))
    # the tracker is unchanged
    assert tracker.epochs == 2
    for name, values in tracker.scores().items():
        np.testing.assert_array_equal(values, before[name])


# the user's own networks


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module of factories that creates a file when it is imported."""
    name = "nets_of_the_tests"
    (tmp_path / f"{name}.py").write_text(
        "from pathlib import Path\n"
        "from torch import nn\n"
        "Path(__file__).with_suffix('.imported').touch()\n"
        "def make_net(num_classes, in_channels):\n"
        "    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * in_channels, num_classes))\n"
        "def _hidden(num_classes, in_channels): ...\n"
        "number = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", str(ROOT))] + [str(ROOT)])
    yield name
    sys.modules.pop(name, None)


def test_a_factory_from_the_command_line(
    digit_dataset: fo.Dataset, package: str, capsys: pytest.CaptureFixture[str], cache: Path, tmp_path: Path
) -> None:
    arguments = ["compute", digit_dataset.name, "--models", f"{package}:make_net", "--epochs", "1", "--quiet"]
    assert command_line([*arguments, "--batch-size", "32"]) == 0, capsys.readouterr().err
    assert (tmp_path / f"{package}.imported").exists()
    digit_dataset.reload()
    assert digit_dataset.count("learnability_make_net") == 60
    assert "make_net: 60 samples" in capsys.readouterr().out


def test_a_factory_from_the_sdk(package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    factories = resolve_networks(["resnet20", f"{package}:make_net"])
    assert list(factories) == ["resnet20", "make_net"]
    assert factories["make_net"](num_classes=5, in_channels=1)(torch.zeros(2, 1, 8, 8)).shape == (2, 5)
    assert list(resolve_networks({"mine": f"{package}:make_net", "other": tiny})) == ["mine", "other"]


@pytest.mark.parametrize(
    ("name", "culprit"),
    [
        ("{}:nothing", "has no 'nothing'"),
        ("{}:number", "no factory"),
        ("{}:_hidden", "letters"),
        ("{}:make_net.forward", "must be"),
        ("{}:make_net()", "must be"),
        ("{}:", "must be"),
        (":make_net", "must be"),
        ("{}::make_net", "must be"),
        ("../nets:make_net", "must be"),
        ("no_such_module:make_net", "cannot be imported"),
    ],
)
def test_a_wrong_name_of_a_factory_is_refused(
    package: str, name: str, culprit: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ValueError, match=culprit):
        resolve_networks([name.format(package)])


# the code


FORBIDDEN_MODULES = {"pickle", "cPickle", "_pickle", "joblib", "cloudpickle", "dill", "shelve", "marshal"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_METHODS = {
    "read_pickle", "to_pickle", "read_hdf", "system", "popen", "get_class", "get_function", "load_module",
    "unsafe_load", "full_load",
}  # fmt: skip
IMPORTING = {"fiftyone_learnability/training/networks.py", "fiftyone_learnability/__init__.py", "benchmarks/tracker.py"}
"""Files that import a module by name: one given by the user, or one written in the source."""


def offences(source: str, name: str) -> list[str]:
    """Return the parts of a source file that could execute data."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            modules = [alias.name for alias in node.names]
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [module for module in modules if FORBIDDEN_MODULES & set(module.split("."))]
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        owner, _, last = called.rpartition(".")
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if (not owner and last in FORBIDDEN_CALLS) or (owner and last in FORBIDDEN_METHODS):
            found.append(called)
        if given.get("shell", "False") != "False" or given.get("allow_pickle", "False") != "False":
            found.append(ast.unparse(node))
        if owner in ("torch", "th") and last == "load" and given.get("weights_only") != "True":
            found.append(ast.unparse(node))
        if owner == "yaml" and last.startswith("load") and "safe" not in given.get("Loader", "").lower():
            found.append(called)
        if last == "import_module" and name not in IMPORTING:
            found.append(called)
    return found


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "import os.path, cloudpickle as c",
        "eval('1')",
        "exec(text)",
        "import yaml; yaml.load(text)",
        "import yaml; yaml.load(text, Loader=yaml.Loader)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=flag)",
        "subprocess.run(command, shell=True)",
        "os.system('ls')",
        "pd.read_pickle(path)",
        "importlib.import_module(name)",
        "etau.get_class(name)",
    ],
)
def test_offences_are_found(code: str) -> None:
    assert offences(code, "plugin/x.py")


def test_no_source_file_can_execute_data() -> None:
    sources = [path for folder in ("fiftyone_learnability", "plugin", "scripts", "benchmarks") for path in
               sorted((ROOT / folder).rglob("*.py"))]  # fmt: skip
    assert len(sources) > 60
    found = {}
    for path in sources:
        name = path.relative_to(ROOT).as_posix()
        if offending := offences(path.read_text(), name):
            found[name] = offending
    assert found == {}
    assert not offences("torch.load(path, weights_only=True); yaml.safe_load(x); model.eval(); re.compile(x)", "x")
