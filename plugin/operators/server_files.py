"""The folders on the server that the App's users may export to and import from.

Everybody who can open the App can send it any path. Exports and imports are therefore restricted to one folder, or to
those that an environment variable of the server names. The SDK and the command line take any path: their users have
access to the files anyway.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import fiftyone as fo

from fiftyone_learnability.experiment.score_files import ENDINGS, check_score_path
from fiftyone_learnability.scores.checks import short_repr

VARIABLE = "FIFTYONE_LEARNABILITY_DIR"
"""Names the folders, separated by colons (semicolons on Windows). Plain file names are in the first."""


def allowed_folders() -> list[Path]:
    """Return the allowed folders with links resolved; by default ``learnability`` in FiftyOne's folder of datasets."""
    names = [name for name in os.environ.get(VARIABLE, "").split(os.pathsep) if name.strip()]
    default = Path(fo.config.default_dataset_dir) / "learnability"
    return [Path(name).expanduser().resolve() for name in names or [str(default)]]


def newest_files(folder: Path, most: int) -> list[str]:
    """Return the names of the newest files of scores in a folder; none if it cannot be read.

    Args:
        folder: the folder
        most: how many names to return
    """
    try:
        files = [file for file in os.scandir(folder) if Path(file).suffix.lower() in ENDINGS and file.is_file()]
        newest = sorted(files, key=lambda file: file.stat().st_mtime, reverse=True)
    except OSError:
        return []
    return [file.name for file in newest[:most]]


def resolve_path(value: Any) -> Path:
    """Return the file that the param ``path`` names, with links resolved.

    Args:
        value: a file name, a path relative to the first allowed folder, or an absolute path

    Raises:
        ValueError: if it is not a file name, lies outside the allowed folders, or has another ending than
            ".csv", ".npz" or ".parquet"
    """
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"path must name a file, not {short_repr(value)}")
    folders = allowed_folders()
    try:
        path: Path | None = (folders[0] / check_score_path(value.strip())).resolve()
    # a link to itself, or a folder without access: answer as for any other path outside, which reveals nothing
    except (OSError, RuntimeError):
        path = None
    except ValueError as error:
        raise ValueError(f"path: the file {error}") from error
    if path is None or not any(path.is_relative_to(folder) for folder in folders):
        raise ValueError(
            f"path: {short_repr(value)} is not in {' or '.join(map(str, folders))}. The server can allow other "
            f"folders with {VARIABLE}; the SDK and the command line take any path"
        )
    try:
        # a link can lead to a file with another ending
        check_score_path(path)
        is_folder = path.is_dir()
    except (OSError, ValueError) as error:
        raise ValueError(f"path: the file {error}") from error
    if is_folder:
        raise ValueError(f"path: {short_repr(str(path))} is a folder")
    return path
