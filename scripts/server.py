"""The App's server in a process of its own, for the tests and the benchmarks."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil

from .database import ROOT


@contextmanager
def serve() -> Iterator[str]:
    """Serves the App from a process of its own, and ends that with all it has started.

    It is FiftyOne's server without a session: a session connects some time after the server answers, and anew when it
    has lost the connection, and then moves every open page to its own dataset.

    Yields:
        the App's address
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
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
        url = f"http://127.0.0.1:{port}"
        try:
            _wait_until_it_answers(url, server, log)
            yield url
        finally:
            _end(server)


def _wait_until_it_answers(url: str, server: subprocess.Popen[bytes], log: Any) -> None:
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
    # workers, and what measures the speed, are sessions of their own: known by their database
    left = processes_of_database()
    for process in left:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(left, timeout=10)


def processes_of_database() -> list[psutil.Process]:
    """The other processes that use the database of this one."""
    uri, found = os.environ["FIFTYONE_DATABASE_URI"], []
    kin = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid not in kin and process.environ().get("FIFTYONE_DATABASE_URI") == uri:
                found.append(process)
    return found
