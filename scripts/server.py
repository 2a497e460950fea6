"""The App's server in a process of its own, for the tests and the benchmarks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil

from .database import ROOT, find_free_port


@contextmanager
def serve() -> Iterator[str]:
    """Serve the App from a process of its own; at the end, kill the server and all that it has started.

    This is FiftyOne's server without a session. A session connects some time after the server answers, and again when
    it has lost the connection; each time, it moves every open page to its own dataset.

    Yields:
        the App's address
    """
    port = find_free_port()
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "fiftyone.server.main", "--address", "127.0.0.1", "--port", str(port)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait_for_answer(url, server, log)
            yield url
        finally:
            _end(server)


def _wait_for_answer(url: str, server: subprocess.Popen[bytes], log: Any) -> None:
    deadline = time.monotonic() + 120
    while True:
        with suppress(OSError), urllib.request.urlopen(f"{url}/fiftyone", timeout=10):
            return
        if server.poll() is not None or time.monotonic() > deadline:
            log.seek(0)
            raise RuntimeError(f"the App does not answer: {log.read().decode(errors='replace')[-3000:]}")
        time.sleep(0.2)


def _end(server: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()
    # workers and speed measurements run in sessions of their own
    started = processes_of_database()
    for process in started:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(started, timeout=10)


def processes_of_database() -> list[psutil.Process]:
    """Return the other processes that use the database of this one, without its parents."""
    uri, users = os.environ["FIFTYONE_DATABASE_URI"], []
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid not in own and process.environ().get("FIFTYONE_DATABASE_URI") == uri:
                users.append(process)
    return users
