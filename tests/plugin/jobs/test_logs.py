"""The files that workers print into."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from plugin.jobs.logs import KEEP_SECONDS, log_path, open_log, prune_logs


def test_old_logs_are_pruned(temporary: Path) -> None:
    names = ("fiftyone-learnability-old.log", "fiftyone-learnability-new.log", "another.log")
    old, new, other = (temporary / name for name in names)
    for path in (old, new, other):
        path.write_text("")
    for path in (old, other):
        os.utime(path, (time.time() - KEEP_SECONDS - 86400,) * 2)
    prune_logs()
    assert not old.exists()
    assert new.exists()
    assert other.exists()


def test_a_log_is_readable_by_its_user_alone(temporary: Path) -> None:
    with open_log(log_path("0" * 24)) as log:
        log.write(b"text")
    assert log_path("0" * 24).stat().st_mode & 0o077 == 0


def test_a_log_is_not_written_through_a_link(temporary: Path, tmp_path: Path) -> None:
    (elsewhere := tmp_path / "elsewhere").write_text("not ours")
    log_path("0" * 24).symlink_to(elsewhere)
    with pytest.raises(FileExistsError):
        open_log(log_path("0" * 24))
    assert elsewhere.read_text() == "not ours"
