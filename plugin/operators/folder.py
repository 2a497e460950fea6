"""The folder that the App's users may export into and import from: no request reaches a file of the server elsewhere.

Whoever can open the App can send it any path. So exports and imports go by files in one folder, or in several that
whoever runs the server names in the environment. The SDK and the command line, whose users have the files anyway, take
any path.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import fiftyone as fo

from fiftyone_learnability.experiment.score_files import check_score_path
from fiftyone_learnability.scores.checks import short_repr

VARIABLE = "FIFTYONE_LEARNABILITY_DIR"
"""Names the folders, parted by colons (semicolons on Windows); the first is the one that plain file names are in."""


def allowed_folders() -> list[Path]:
    """The folders, without links in them; by default ``learnability`` in FiftyOne's folder of datasets."""
    named = [name for name in os.environ.get(VARIABLE, "").split(os.pathsep) if name.strip()]
    return [Path(name).expanduser().resolve() for name in named or [str(_default_folder())]]


def _default_folder() -> Path:
    return Path(fo.config.default_dataset_dir) / "learnability"


def file_within(value: Any, name: str = "path") -> Path:
    """The file that a param names, in an allowed folder.

    Args:
        value: a file name, a path relative to the first allowed folder, or a whole path
        name ("path"): the name of the param

    Returns:
        the path, without links in it

    Raises:
        ValueError: if it is no text, has another ending than scores have, or leads out of the folders
    """
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name} must name a file, not {short_repr(value)}")
    folders = allowed_folders()
    try:
        found = (folders[0] / check_score_path(value.strip())).resolve()
    # of a link to itself, or of a folder that may not be entered: neither is told on
    except (OSError, RuntimeError):
        found = None
    except ValueError as error:
        raise ValueError(f"{name}: the file {error}") from error
    if found is None or not any(found.is_relative_to(folder) for folder in folders):
        raise ValueError(
            f"{name}: {short_repr(value)} is not in {' or '.join(map(str, folders))}; whoever runs the server can "
            f"allow other folders by {VARIABLE}, and the SDK and the command line take any"
        )
    try:
        check_score_path(found)
        is_folder = found.is_dir()
    except (OSError, ValueError) as error:
        raise ValueError(f"{name}: the file {error}") from error
    if is_folder:
        raise ValueError(f"{name}: {short_repr(str(found))} is a folder")
    return found
