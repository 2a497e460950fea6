"""Many runs in one process, created, replaced, interrupted and deleted, leave nothing behind.

Counts must not grow at all. Two quantities are noisy and have bounds: a leaked run would keep its config, its results
and the documents of its samples, far more than 20 objects; and the memory of a process varies by up to 20 MB without
any leak, half a megabyte for each of 40 runs.
"""

from __future__ import annotations

import mmap
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.core.odm as foo
import pytest

from benchmarks.soak import NOISY, ROUNDS, Usage, grown, measure, soak, table

MEGABYTES = 20.0
OBJECTS_A_ROUND = 20


@pytest.fixture(autouse=True)
def own_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Folders for temporary and cached files that no other process uses."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def leaks(usages: tuple[Usage, Usage], rounds: int) -> dict[str, float]:
    """Return the quantities that grew by more than they may."""
    allowed = {"megabytes": MEGABYTES, "objects": OBJECTS_A_ROUND * rounds}
    return {name: change for name, change in grown(*usages).items() if change > allowed.get(name, 0)}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_fifty_runs_leave_nothing(digit_dataset: fo.Dataset) -> None:
    """Ten rounds of each kind, of which the first two do not count."""
    # other tests may leave something in the same database
    before = measure(digit_dataset)
    usages = soak(digit_dataset, 10 * len(ROUNDS))
    print(table(usages))
    assert leaks(usages, 8 * len(ROUNDS)) == {}
    assert usages[1].runs == usages[1].tags == 0
    assert (usages[1].stored_files, usages[1].run_documents) == (before.stored_files, before.run_documents)


# a leak would be seen

Leak = Callable[[fo.Dataset, Path], Any]


def _fill(dataset: fo.Dataset, folder: Path) -> Any:
    # from the system, since the allocator may reuse freed memory
    filled = mmap.mmap(-1, int((MEGABYTES + 5) * 2**20))
    filled.write(b"x" * len(filled))
    return filled


def _open(dataset: fo.Dataset, folder: Path) -> Any:
    return (folder / "open").open("w")


def _wait(dataset: fo.Dataset, folder: Path) -> Any:
    event = threading.Event()
    threading.Thread(target=event.wait, daemon=True).start()
    return event.set


def _start(dataset: fo.Dataset, folder: Path) -> Any:
    return subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)


def _store(dataset: fo.Dataset, folder: Path) -> Any:
    import gridfs

    return gridfs.GridFS(foo.get_db_conn()).put(b"results")


LEAKS: dict[str, Leak] = {
    "megabytes": _fill,
    "objects": lambda dataset, folder: [[] for _ in range(10_000)],
    "open_files": _open,
    "threads": _wait,
    "children": _start,
    "temporary_files": lambda dataset, folder: tempfile.mkstemp()[1],
    "cached_files": lambda dataset, folder: (folder / "cache" / "fiftyone-learnability" / "left").mkdir(parents=True),
    "collections": lambda dataset, folder: foo.get_db_conn()["learnability.left"].insert_one({}),
    "stored_files": _store,
    "stored_chunks": _store,
    "run_documents": lambda dataset, folder: dataset.register_run("left", dataset.init_run()),
    "runs": lambda dataset, folder: dataset.register_run("left", dataset.init_run()),
    "fields": lambda dataset, folder: dataset.add_sample_field("left", fo.FloatField),
    "indexes": lambda dataset, folder: dataset.create_index("ground_truth.label"),
    "saved_views": lambda dataset, folder: dataset.save_view("left", dataset.limit(1)),
    "workspaces": lambda dataset, folder: dataset.save_workspace("left", fo.Space()),
    "tags": lambda dataset, folder: dataset.limit(1).tag_samples("left"),
    "attributes": lambda dataset, folder: (dataset.info.update(left="x"), dataset.save()),
}


@pytest.fixture
def leave(digit_dataset: fo.Dataset, own_folders: Path) -> Iterator[Callable[[str], Any]]:
    """Leak something, and free it in the end."""
    left: list[Any] = []

    def make(what: str) -> None:
        left.append(LEAKS[what](digit_dataset, own_folders))

    yield make
    for one in left:
        if isinstance(one, subprocess.Popen):
            one.communicate()
        elif hasattr(one, "close"):
            one.close()
        elif callable(one):
            one()
    foo.get_db_conn().drop_collection("learnability.left")
    for collection in ("fs.files", "fs.chunks"):
        foo.get_db_conn()[collection].delete_many({})


@pytest.mark.parametrize("what", LEAKS)
def test_a_leak_is_seen(digit_dataset: fo.Dataset, what: str, leave: Callable[[str], Any]) -> None:
    # starting a process reaps ended ones of other tests, which would count otherwise
    subprocess.run([sys.executable, "-c", ""], check=True)
    before = measure(digit_dataset)
    leave(what)
    assert what in leaks((before, measure(digit_dataset)), rounds=10)


def test_every_quantity_is_bounded() -> None:
    assert set(LEAKS) == set(Usage.__annotations__)
    assert set(NOISY) == {"megabytes", "objects"}
