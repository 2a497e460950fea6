"""Run the call of test_killed.py and kill it at a chosen moment; started as ``python -m tests.killed``.

Loads everything once, then reads a job a line, as JSON, and forks a process for each. A moment is a kind of work and a
number: the process sends itself SIGKILL, which nothing can catch or tidy up after, when it comes to that kind of work
for that time. With no moment it runs to the end and prints how often it came to each kind.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from pymongo import monitoring


class Moments(monitoring.CommandListener):
    """Counts the moments, and kills the process at the chosen one."""

    def __init__(self) -> None:
        self.chosen: tuple[str, int] | None = None
        self.counts: Counter[str] = Counter()
        self.writing = False

    def come_to(self, kind: str) -> None:
        """Count one more moment of a kind."""
        self.counts[kind] += 1
        if self.chosen == (kind, self.counts[kind]):
            os.kill(os.getpid(), signal.SIGKILL)

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        """Called before a command is sent to the database."""
        if self.writing:
            self.come_to("before a command")
            self.counts["in a command"] += 1
            if self.chosen == ("in a command", self.counts["in a command"]):
                threading.Thread(target=self._end_soon, daemon=True).start()

    def _end_soon(self) -> None:
        time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGKILL)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None: ...

    def failed(self, event: monitoring.CommandFailedEvent) -> None: ...


MOMENTS = Moments()


def watch(target: Any, name: str, kind: str) -> None:
    """Count the calls of a function."""
    function = getattr(target, name)

    def counted(*args: Any, **kwargs: Any) -> Any:
        MOMENTS.come_to(kind)
        return function(*args, **kwargs)

    setattr(target, name, counted)


def watch_files() -> None:
    """Count three moments of each file: half written, written but not renamed, renamed."""
    from fiftyone_learnability.experiment import run_directory

    write_atomically, replace = run_directory.write_atomically, Path.replace
    kinds = {".pt": "a checkpoint", ".npz": "a record", ".json": "a description"}

    def counted(path: Path, write: Any) -> None:
        kind = "the results" if path.parent.name == "results" else kinds[path.suffix]

        def write_and_count(file: Any) -> None:
            write(file)
            file.flush()
            length = file.seek(0, os.SEEK_END)
            file.truncate(length // 2)
            MOMENTS.come_to(kind)
            file.truncate(0)
            file.seek(0)
            write(file)

        def replace_and_count(self: Path, target: Path) -> Path:
            MOMENTS.come_to(kind)
            result = replace(self, target)
            MOMENTS.come_to(kind)
            return result

        Path.replace = replace_and_count
        try:
            write_atomically(path, write_and_count)
        finally:
            Path.replace = replace

    run_directory.write_atomically = counted


def run(job: dict[str, Any]) -> None:
    """Do a job in this process."""
    import fiftyone as fo

    from fiftyone_learnability import ProgressEvent
    from fiftyone_learnability.experiment import run_directory, units
    from fiftyone_learnability.images import decode
    from fiftyone_learnability.training import learner
    from fiftyone_learnability.training.tracker import LearnabilityTracker

    from .test_killed import call

    units.CHECKPOINT_SECONDS = 0.0
    MOMENTS.chosen = tuple(job["moment"]) if job["moment"] else None
    watch(decode, "read_files", "decoding")
    watch(learner, "crop_and_flip", "a batch")
    watch(LearnabilityTracker, "update", "measuring")
    watch(run_directory.RunDirectory, "remove", "removing")
    watch_files()

    def progress(event: ProgressEvent) -> None:
        if event.stage == "writing":
            MOMENTS.writing = event.fraction == 0

    unlink = Path.unlink

    def counted_unlink(self: Path, missing_ok: bool = False) -> None:
        if MOMENTS.counts["removing"]:
            MOMENTS.come_to("removing")
        unlink(self, missing_ok)

    Path.unlink = counted_unlink
    call(fo.load_dataset(job["dataset"]), overwrite=job["overwrite"], progress=progress)
    print(json.dumps(MOMENTS.counts), flush=True)


def main() -> None:
    """Take jobs until there are no more."""
    monitoring.register(MOMENTS)
    import fiftyone  # noqa: F401
    import torch

    import fiftyone_learnability.compute  # noqa: F401

    from . import test_killed  # noqa: F401

    torch.set_num_threads(1)
    print("ready", flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                run(json.loads(line))
                status = 0
            except BaseException:  # noqa: BLE001
                import traceback

                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
