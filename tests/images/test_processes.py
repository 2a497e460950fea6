"""Processes that decode: against the same in this process, and whatever may befall them."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import ImageFile

from fiftyone_learnability.images import decode as images
from fiftyone_learnability.images import processes as image_processes
from fiftyone_learnability.images.decode import decode_images
from fiftyone_learnability.images.files import ReadOutcome, read_files
from fiftyone_learnability.images.processes import ImageProcesses

from .pictures import noise, png_that_claims, save

SIZE = 16
ROOT = Path(image_processes.__file__).parents[2]


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """40 files of all kinds, some of which cannot be read."""
    made = [save(noise(mode, seed), tmp_path / f"{seed}", "TIFF") for seed, mode in enumerate(["L", "RGB", "CMYK"] * 4)]
    made += [save(noise(seed=seed, size=(90, 80)), tmp_path / f"{seed}.jpg", "JPEG") for seed in range(25)]
    (tmp_path / "text \udcff").write_text("not an image")
    return [*made, str(tmp_path / "missing"), str(tmp_path), str(tmp_path / "text \udcff")]


@pytest.fixture
def photographs(tmp_path: Path) -> list[str]:
    """Three larger files, which OpenCV might resize on several threads."""
    return [save(noise(seed=seed, size=(700, 500)), tmp_path / f"photo{seed}.jpg", "JPEG") for seed in range(3)]


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file is worth a process."""
    monkeypatch.setattr(images, "FILES_PER_PROCESS", 1)


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No test leaves a process or an open pipe behind."""
    before = open_pipes()
    yield
    assert children() == []
    assert open_pipes() <= before


def open_pipes() -> set[str]:
    # what earlier tests have left to the garbage collector is none of ours
    gc.collect()
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.add(os.readlink(descriptor))
    return {name for name in found if name.startswith("pipe:")}


def children() -> list[psutil.Process]:
    """The processes that decode for this one, which may have others."""
    return [child for child in psutil.Process().children() if "image_processes" in "".join(child.cmdline())]


def read_there(processes: ImageProcesses, files: list[str], pixels: np.ndarray[Any, Any]) -> ReadOutcome:
    """What a process reads, which is waited for."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = processes.read(files, pixels)
        if found is not None:
            return found
        time.sleep(0.01)
    raise TimeoutError("no process has started")


def wait_for_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on nothing is read before the processes can read."""
    enter = ImageProcesses.__enter__

    def wait(processes: ImageProcesses) -> ImageProcesses:
        enter(processes)
        for thread in processes._starting:
            thread.join()
        return processes

    monkeypatch.setattr(ImageProcesses, "__enter__", wait)


def test_a_process_reads_what_this_one_would(files: list[str]) -> None:
    there, here = (np.full((len(files), SIZE, SIZE, 3), 7, dtype=np.uint8) for _ in range(2))
    with ImageProcesses(1) as processes:
        found = read_there(processes, files, there)
    assert found == read_files(files, here)
    assert sorted(found.failures) == [37, 38, 39]
    np.testing.assert_array_equal(there[:37], here[:37])


def test_one_process_is_asked_again_and_again(files: list[str]) -> None:
    pixels = np.empty((1, 300, 300, 3), dtype=np.uint8)
    expected = np.empty_like(pixels)
    with ImageProcesses(1) as processes:
        for file in files[:30]:
            read_there(processes, [file], pixels)
            read_files([file], expected)
            np.testing.assert_array_equal(pixels, expected)


@pytest.mark.usefixtures("many")
def test_processes_change_nothing(files: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    files = files * 10
    expected = decode_images(files, SIZE, num_workers=1)
    wait_for_a_process(monkeypatch)
    there: list[str] = []
    read = ImageProcesses.read

    def spy(processes: ImageProcesses, files: list[str], pixels: np.ndarray[Any, Any]) -> ReadOutcome | None:
        found = read(processes, files, pixels)
        there.extend(files if found else [])
        return found

    monkeypatch.setattr(ImageProcesses, "read", spy)
    counts: list[int] = []
    found = decode_images(files, SIZE, counts.append, num_workers=3)
    assert there
    assert sum(counts) == len(files)
    np.testing.assert_array_equal(found.pixels, expected.pixels)
    np.testing.assert_array_equal(found.readable, expected.readable)
    assert found.failures == expected.failures
    assert found.sizes == expected.sizes


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("when", ["idle", "busy"])
def test_what_a_killed_process_did_not_read_is_read_here(
    files: list[str], when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = files * 5
    expected = decode_images(files, SIZE, num_workers=1)
    wait_for_a_process(monkeypatch)
    killed: list[int] = []
    fill = image_processes._fill

    def kill() -> None:
        if not killed:
            (child,) = children()
            child.kill()
            # still to be waited for by who started it
            while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.01)
            killed.append(child.pid)

    def fill_or_die(pixels: np.ndarray[Any, Any], stream: Any) -> None:
        kill()
        # of what it had sent, the end is lost
        fill(pixels[:-1], stream)
        raise EOFError

    if when == "busy":
        monkeypatch.setattr(image_processes, "_fill", fill_or_die)
    found = decode_images(files, SIZE, lambda count: kill() if when == "idle" else None, num_workers=2)
    assert killed
    np.testing.assert_array_equal(found.pixels, expected.pixels)
    assert found.failures == expected.failures


@pytest.mark.usefixtures("many")
def test_where_no_process_can_be_started_threads_read(
    files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = decode_images(files, SIZE, num_workers=1)
    (tmp_path / "python").symlink_to("/bin/false")
    for executable in ("/nowhere/python", "", str(tmp_path / "python")):
        monkeypatch.setattr(sys, "executable", executable)
        np.testing.assert_array_equal(decode_images(files, SIZE, num_workers=4).pixels, expected.pixels)


def test_a_program_that_brings_python_along_is_not_started_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "program"
    program.write_text('#!/bin/sh\ntouch "$0 was started"\n')
    program.chmod(0o755)
    (tmp_path / "python3.14").symlink_to(program)
    for name, frozen in (("program", False), ("python3.14", True), ("python3.14", False)):
        monkeypatch.setattr(sys, "executable", str(tmp_path / name))
        monkeypatch.setattr(sys, "frozen", frozen, raising=False)
        with ImageProcesses(2) as processes:
            for thread in processes._starting:
                thread.join()
            assert processes.read([], np.empty((0, SIZE, SIZE, 3), dtype=np.uint8)) is None
        started = list(tmp_path.glob("* was started"))
        assert bool(started) == (name == "python3.14" and not frozen)


@pytest.mark.usefixtures("many")
def test_who_breaks_off_does_not_wait_for_a_process(files: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    wait_for_a_process(monkeypatch)

    def stop(count: int) -> None:
        (child,) = children()
        # it never answers
        child.suspend()
        time.sleep(0.2)
        raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        decode_images(files * 50, SIZE, stop, num_workers=2)
    assert time.monotonic() - began < 20


@pytest.mark.usefixtures("many")
def test_what_pillow_was_told_to_read_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = save(noise(size=(64, 64)), tmp_path / "whole.jpg", "JPEG")
    part = tmp_path / "part.jpg"
    part.write_bytes(Path(whole).read_bytes()[:-200])
    wait_for_a_process(monkeypatch)
    assert decode_images([str(part)] * 50, SIZE, num_workers=2).failures
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert not decode_images([str(part)] * 50, SIZE, num_workers=2).failures


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_start_that_is_broken_off_leaves_nothing(error: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    start, started = threading.Thread.start, []

    def fail(thread: threading.Thread) -> None:
        started.append(thread)
        if len(started) == 3:
            raise error
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", fail)
    with pytest.raises(KeyboardInterrupt) if error is KeyboardInterrupt else nullcontext(), ImageProcesses(5):
        # want of threads is no reason to fail
        assert len(children()) == 3
    assert len(started) == 3


def test_a_process_gives_no_warnings(tmp_path: Path, photographs: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    # Pillow warns of images as large as that
    (tmp_path / "large.png").write_bytes(png_that_claims(12_000, 12_000))
    files = [*photographs, str(tmp_path / "large.png")]
    with ImageProcesses(1) as processes:
        found = read_there(processes, files, np.empty((len(files), SIZE, SIZE, 3), dtype=np.uint8))
    assert list(found.failures) == [len(photographs)]
    assert "Warning" not in capfd.readouterr().err


def test_a_process_whose_caller_has_gone_says_nothing(
    photographs: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    for closes in ("replies", "requests"):
        process = image_processes._start()
        assert process.replies.read(len(image_processes._READY)) == image_processes._READY
        # more than a pipe holds
        image_processes._send(process.requests, {"filepaths": photographs * 10, "size": 300})
        getattr(process, closes).close()
        if closes == "requests":
            process.replies.read()
        assert process.handle.wait(60) == 0
        process.requests.close()
        process.replies.close()
    assert capfd.readouterr().err == ""


TELLING = """
import os, sys
import numpy as np
from fiftyone_learnability.images.processes import ImageProcesses

if sys.argv[1] == "closed":
    os.close(2)
with ImageProcesses(1) as processes:
    processes._starting[0].join()
    found = processes.read([sys.argv[2]] * 9, np.empty((9, 16, 16, 3), np.uint8))
    print(len(found.sizes))
"""


def test_without_an_open_stderr_replies_are_replies(tmp_path: Path, photographs: list[str]) -> None:
    data = bytearray(Path(photographs[0]).read_bytes())
    # a marker where there is none to be, of which libjpeg speaks on the descriptor of stderr
    data[len(data) // 2 : len(data) // 2 + 2] = b"\xff\xd3"
    damaged = tmp_path / "damaged.jpg"
    damaged.write_bytes(data)
    for stderr in ("open", "closed"):
        folder = tmp_path / stderr
        folder.mkdir()
        output, errors = run_script(TELLING, [stderr, str(damaged)], folder).communicate(timeout=120)
        assert output == "1\n"
        assert ("Corrupt JPEG data" in errors) == (stderr == "open")


def test_few_files_are_left_to_threads() -> None:
    per, most = images.FILES_PER_PROCESS, images.MOST_PROCESSES
    cases = {(per - 1, 8): 0, (per, 8): 1, (per, 1): 0, (5 * per, 2): 1, (5 * per, 64): 5, (1000 * per, 64): most}
    assert {case: images._num_processes(*case) for case in cases} == cases


SCRIPT = """
import sys, time
import fiftyone_learnability.images.decode as images

print("started", flush=True)
images.FILES_PER_PROCESS = 1
decoded = images.decode_images(sys.argv[1:] * 20, 16, num_workers=3)
print(len(decoded.pixels), flush=True)
"""
"""Without ``if __name__ == "__main__"``, as people write scripts."""


def run_script(code: str, files: list[str], folder: Path) -> subprocess.Popen[str]:
    script = folder / "script.py"
    script.write_text(code)
    # what is called like a module in the current folder is none
    (folder / "json.py").write_text("raise RuntimeError('not this one')")
    (folder / "numpy.py").write_text("raise RuntimeError('not this one')")
    folder.joinpath("elsewhere").mkdir()
    script = script.rename(folder / "elsewhere" / "script.py")
    command = [sys.executable, str(script), *files]
    return subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def test_a_script_is_not_run_again(files: list[str], tmp_path: Path) -> None:
    process = run_script(SCRIPT, files[:37], tmp_path)
    output, errors = process.communicate(timeout=120)
    assert (output, errors) == (f"started\n{37 * 20}\n", "")


WAITING = """
import signal, sys, time
from fiftyone_learnability.images.processes import ImageProcesses

# tests that run in the background are made to ignore interruptions, and hand that down
signal.signal(signal.SIGINT, signal.default_int_handler)
with ImageProcesses(2) as processes:
    for thread in processes._starting:
        thread.join()
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_processes_end_with_the_one_that_started_them(files: list[str], tmp_path: Path, signum: signal.Signals) -> None:
    with run_script(WAITING, [], tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        children = psutil.Process(process.pid).children()
        assert len(children) == 2
        # so that Ctrl-C in a terminal, which means all of a group, does not mean them
        assert all(os.getpgid(child.pid) == child.pid for child in children)
        process.send_signal(signum)
        try:
            errors = process.communicate(timeout=60)[1]
        finally:
            process.kill()
    assert psutil.wait_procs(children, timeout=30)[1] == []
    # of the interruption this process tells, the others say nothing
    assert errors.count("Traceback") == (signum == signal.SIGINT)


NOISY = """
import os
from fiftyone_learnability.dataset import image_processes

quietly = image_processes.read_files

def read_files(*arguments):
    print("one", flush=True)
    os.write(1, b"two")
    return quietly(*arguments)

image_processes.read_files = read_files
"""


def test_what_is_printed_while_reading_is_no_reply(
    files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "noisy.py").write_text(NOISY)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(
        image_processes, "_START", image_processes._START.replace("serve()\n", "import noisy; serve()\n")
    )
    there, here = (np.empty((5, SIZE, SIZE, 3), dtype=np.uint8) for _ in range(2))
    with ImageProcesses(1) as processes:
        assert read_there(processes, files[:5], there) == read_files(files[:5], here)
    np.testing.assert_array_equal(there, here)
    assert "two" in capfd.readouterr().err
