"""Results that wait in a run directory to be written to the database.

``write RUN_DIR`` takes any folder, even one that others made, so this module treats every file as hostile. No
symbolic link is followed, nothing is unpickled, and no name becomes a path before it is checked.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ..scores.checks import short_repr
from .files import check_regular, read_json
from .results import ModelResults
from .run_directory import PLAN, is_model_name

_Content = TypeVar("_Content")


def load_results_to_write(path: Path) -> tuple[dict[str, ModelResults], dict[str, Any]]:
    """Read the results in a run directory, and the plan of where to write them.

    Args:
        path: the run directory

    Raises:
        ValueError: if there are none, or they are damaged or hostile
    """
    if not path.is_dir():
        raise ValueError(f"there is no run directory {path}")
    try:
        if (path / PLAN).parent.is_symlink():
            raise ValueError("results is a symbolic link")
        plan = _read(path / PLAN, read_json)
        if not isinstance(plan, dict):
            raise ValueError("plan.json does not hold a plan")
        models = plan.pop("models", None)
        if not isinstance(models, list) or not models or not all(map(is_model_name, models)):
            raise ValueError(f"plan.json does not name networks, but {short_repr(models)}")
        results = {model: _read(path / "results" / f"{model}.npz", ModelResults.from_npz) for model in models}
        for model, result in results.items():
            if result.model != model:
                raise ValueError(f"{model}.npz holds the results of {short_repr(result.model)}")
        return results, plan
    except FileNotFoundError:
        raise ValueError(
            f"{path} holds no finished results: call compute_learnability again, which resumes from its checkpoints"
        ) from None
    except (OSError, ValueError) as error:
        raise ValueError(
            f"the results in {path} are damaged ({error}): call compute_learnability again, which makes them from its "
            "records"
        ) from error


def _read(path: Path, read: Callable[[Path], _Content]) -> _Content:
    """Read a regular file that is not a symbolic link.

    Raises:
        FileNotFoundError: if there is no such file
        ValueError: if it is something else
    """
    if path.is_symlink():
        raise ValueError(f"{path.name} is a symbolic link")
    check_regular(path)
    return read(path)
