"""Undoes the unfinished write of a process that was killed, or completes a finished one."""

from __future__ import annotations

import logging
import time

import fiftyone as fo

from .columns import Companion, WriteError, roll_back
from .journal import Journal, find_abandoned, is_recovering
from .registration import AddedScores, Registration, mend_runs

_logger = logging.getLogger(__name__)

RECOVERY_SECONDS = 120.0
"""How long to wait for another process that recovers the same dataset."""

COMPANIONS: dict[str, type[Companion]] = {cls.kind: cls for cls in (Companion, Registration, AddedScores)}
"""The companions of writes by the kind that journals name."""


def recover(dataset: fo.Dataset) -> None:
    """Undo, or complete, the writes of processes that were killed.

    Args:
        dataset: the dataset

    Raises:
        WriteError: if another process has been recovering the dataset for longer than :data:`RECOVERY_SECONDS`
    """
    for journal in find_abandoned(dataset):
        with journal.claimed() as claimed:
            if claimed:
                settle(dataset, journal)
    # nothing may be written while another process recovers the dataset
    waited, start = False, time.monotonic()
    while is_recovering(dataset):
        if time.monotonic() - start > RECOVERY_SECONDS:
            raise WriteError(
                f"another process is undoing an interrupted write to the dataset {dataset.name!r}: wait until it ends"
            )
        waited = True
        time.sleep(0.2)
    if waited:
        dataset.reload()


def settle(dataset: fo.Dataset, journal: Journal) -> None:
    """Complete the write of a claimed journal if it was committed; undo it otherwise.

    Args:
        dataset: the dataset
        journal: the journal of a killed process
    """
    entry = journal.entry
    companion = COMPANIONS.get(entry.get("kind", ""), Companion)
    with journal.on_one_server():
        mend_runs(dataset, entry.get("procedure", {}).get("pending"))
        dataset.reload()
        if entry.get("committed"):
            journal.supersede_others()
            companion.tidy(dataset, entry["procedure"])
        elif "columns" in entry:
            companion.undo(dataset, entry["procedure"])
            roll_back(dataset, journal)
            _logger.warning("undid the interrupted write of another process to the dataset %r", dataset.name)
