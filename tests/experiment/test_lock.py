"""The lock of a run directory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fiftyone_learnability.experiment import lock
from fiftyone_learnability.experiment.lock import RunLockedError, is_locked, locked

HOLD = """
import sys
from pathlib import Path
from fiftyone_learnability.experiment.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_another_process_is_named_and_its_end_releases_the_lock(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert is_locked(folder)
        with pytest.raises(RunLockedError, match=rf"another process \(pid {other.pid}\)"), locked(folder):
            pass
        # to look at it does not take it away
        assert is_locked(folder)
        other.kill()
    assert not is_locked(folder)
    with locked(folder):
        assert (folder / "owner").read_text() == str(os.getpid())


def test_a_lock_without_a_known_owner(tmp_path: Path) -> None:
    with locked(tmp_path / "run"):
        (tmp_path / "run" / "owner").unlink()
        with pytest.raises(RunLockedError, match=r"\(pid unknown\)"), locked(tmp_path / "run"):
            pass


def test_a_directory_that_its_owner_deletes_is_created_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "PATIENCE", 60.0)
    folder, waiting, done = tmp_path / "run", threading.Event(), threading.Event()

    def wait_for_the_lock() -> None:
        waiting.set()
        with locked(folder):
            assert is_locked(folder)
            done.set()

    with locked(folder):
        thread = threading.Thread(target=wait_for_the_lock)
        thread.start()
        waiting.wait()
        assert not done.wait(0.2)
        shutil.rmtree(folder)
    thread.join(60)
    assert done.is_set()


def test_an_empty_directory_is_deleted_with_the_lock_file(tmp_path: Path) -> None:
    with locked(tmp_path / "run"):
        (tmp_path / "run" / "lock").unlink()
    assert not (tmp_path / "run").exists()


def test_a_folder_without_a_run_is_not_locked(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    assert list(tmp_path.iterdir()) == []
