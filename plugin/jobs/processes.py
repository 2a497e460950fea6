"""Starts the processes that run alongside the App's server."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil

from .logs import log_path, open_log, prune_logs

_SERVER_VARIABLES = ("FIFTYONE_PRIVATE_DATABASE_PORT", "FIFTYONE_DISABLE_SERVICES", "FIFTYONE_SERVER")


def start_process(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a process that keeps running when this one ends.

    Args:
        command: the command
        **options: see ``subprocess.Popen``; standard input, output and error are closed unless given
    """
    closed = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    process = subprocess.Popen(command, **{**closed, "start_new_session": True, **options})
    # without a wait(), the process would remain a zombie after its end
    threading.Thread(target=process.wait, daemon=True).start()
    return process


def start_worker(job_id: str, message_if_killed: str) -> int:
    """Start the worker process of a queued job.

    Args:
        job_id: the id of the job
        message_if_killed: the error of the job if its training is killed

    Returns:
        the id of the process
    """
    # without what the App's server set for itself, the worker starts a database service if one is needed
    environment = {name: value for name, value in os.environ.items() if name not in _SERVER_VARIABLES}
    # OpenMP's threads spin while they wait; beside a busy browser that slows training several times over
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    prune_logs()
    with open_log(log_path(job_id)) as log:
        command = [sys.executable, str(Path(__file__).with_name("worker.py")), job_id, log.name, message_if_killed]
        return start_process(command, env=environment, stdout=log, stderr=subprocess.STDOUT).pid


def is_worker(pid: int, job_id: str) -> bool:
    """True if a process is the worker of a job; process ids are reused."""
    try:
        return job_id in psutil.Process(pid).cmdline()
    except psutil.Error:
        return False
