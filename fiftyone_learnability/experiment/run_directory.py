"""The files of an unfinished run: checkpoints, records and results, so that an interruption costs one epoch at most.

    RUN_DIR/run.json              what the run is: dataset, key, and a fingerprint of images, labels and settings
           /<model>-<seed>.pt     the checkpoint of an unfinished training
           /<model>-<seed>.npz    the record of a finished training
           /results/<model>.npz   all results, until they are in the database
           /results/plan.json     where to write them
           /lock, /owner          see :mod:`fiftyone_learnability.experiment.lock`

Every file is written atomically: a process that is killed leaves the old file or the new one. A damaged file is
recognised by its checksums, reported and ignored, and its training is repeated. Neither checkpoints nor arrays can
execute code when they are read.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import shlex
import uuid
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..storage import runs_folder, write_atomically
from ..training.options import IF_SAME, Resume
from .curves import CURVES
from .lock import is_locked, locked
from .results import ModelResults, RunRecord
from .units import TrainingUnit

FORMAT = 1
"""Version of the files; raise it whenever they change."""

PLAN = Path("results", "plan.json")

_MODEL = "[A-Za-z0-9][A-Za-z0-9_]*"
_PARTIAL = re.compile(r"\.[\w.-]+\.\d+\.partial")
_TRAINED = re.compile(rf"{_MODEL}-\d+\.(pt|npz)")
_FILES = re.compile(rf"{_TRAINED.pattern}|{_PARTIAL.pattern}")
_RESULTS = re.compile(rf"{_MODEL}\.npz|plan\.json|{_PARTIAL.pattern}")


def is_model_name(name: Any) -> bool:
    """Return True for a name of a network that may become part of a file name."""
    return isinstance(name, str) and re.fullmatch(_MODEL, name) is not None


class RunMismatchError(ValueError):
    """The run directory holds a run of other data or settings."""


def fingerprint_of(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> dict[str, str]:
    """Return fingerprints that change when a pixel or a label does.

    Args:
        images: ``(N, H, W, C)`` uint8
        labels: ``(N,)`` class of each image
    """
    return {"images": _digest(images), "labels": _digest(labels)}


def _digest(array: NDArray[Any]) -> str:
    digest = hashlib.blake2b(f"{array.shape} {array.dtype}".encode(), digest_size=16)
    # in parts, to avoid reading a whole memory-mapped array at once
    for part in np.array_split(array, max(1, array.nbytes // 2**26)):
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()


class RunDirectory:
    """The directory of one run, locked by this process; created by :func:`open_run_directory`.

    Attributes:
        path: the directory
        id: the unique id of the run
        resumed: True if an earlier process started the run
        removed: True once the directory is deleted; another process may then have started a run there
    """

    def __init__(self, path: Path, id: str, resumed: bool, say: Callable[[str], None]) -> None:
        self.path, self.id, self.resumed, self.removed = path, id, resumed, False
        self._say = say
        self._finished = 0
        self._under_way: tuple[str, int] | None = None

    def load_record(self, unit: TrainingUnit) -> RunRecord | None:
        """Return the record of a finished training, None if it is not finished or the record is damaged."""
        path = self._path(unit, ".npz")
        try:
            # reading an array compares its checksum
            with np.load(path, allow_pickle=False) as archive:
                record = RunRecord(
                    model=unit.model,
                    seed=unit.seed,
                    scores={name[6:]: archive[name] for name in archive.files if name.startswith("score_")},
                    **{name: archive[name] for name in CURVES},
                    dynamics=archive.get("dynamics"),
                    prediction=archive.get("prediction"),
                    incidents=tuple(map(str, archive["incidents"].tolist())),
                )
        except FileNotFoundError:
            return None
        # a damaged file may make zipfile or numpy raise anything
        except Exception as error:  # noqa: BLE001
            self._report_damage(unit, path, error)
            return None
        self._finished += 1
        return record

    def save_record(self, unit: TrainingUnit, record: RunRecord) -> None:
        """Save the record of a finished training in place of its checkpoint."""
        arrays: dict[str, Any] = {name: getattr(record, name) for name in CURVES}
        arrays.update({f"score_{name}": values for name, values in record.scores.items()})
        for name in ("dynamics", "prediction"):
            if getattr(record, name) is not None:
                arrays[name] = getattr(record, name)
        arrays["incidents"] = np.array(record.incidents, dtype=np.str_)
        with self._surviving_disk_errors(f"the record of {unit.title}"):
            write_atomically(self._path(unit, ".npz"), lambda file: np.savez(file, **arrays))
            self._finished += 1
            self._under_way = None
            self._path(unit, ".pt").unlink(missing_ok=True)

    def load_checkpoint(self, unit: TrainingUnit) -> dict[str, Any] | None:
        """Return the state of an unfinished training, None without a checkpoint or if it is damaged."""
        import torch

        path = self._path(unit, ".pt")
        try:
            # torch.load does not compare the checksums
            with zipfile.ZipFile(path) as archive:
                if damaged := archive.testzip():
                    raise ValueError(f"the checksum of {damaged} is wrong")
            state = torch.load(path, map_location="cpu", weights_only=True)
            epoch = len(state["reports"])
        except FileNotFoundError:
            return None
        # a damaged file may make zipfile or torch raise anything
        except Exception as error:  # noqa: BLE001
            self._report_damage(unit, path, error)
            return None
        self._under_way = (unit.title, epoch)
        return state

    def save_checkpoint(self, unit: TrainingUnit, state: Mapping[str, Any]) -> None:
        """Save the state of an unfinished training in place of an earlier one."""
        import torch

        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        with self._surviving_disk_errors(f"the checkpoint of {unit.title}"):
            write_atomically(self._path(unit, ".pt"), lambda file: file.write(buffer.getbuffer()))
            self._under_way = (unit.title, len(state["reports"]))

    def drop_checkpoint(self, unit: TrainingUnit) -> None:
        """Delete the state of a training that is not to be resumed."""
        self._path(unit, ".pt").unlink(missing_ok=True)
        self._under_way = None

    def save_results(self, results: Mapping[str, ModelResults], plan: Mapping[str, Any]) -> bool:
        """Save all results and where to write them, until they are in the database.

        The records stay too, so that a failure to save costs no training.

        Returns:
            True if they could be saved
        """
        folder = self.path / "results"
        with self._surviving_disk_errors("the results"):
            folder.mkdir(exist_ok=True)
            for model, result in results.items():
                write_atomically(folder / f"{model}.npz", result.to_npz)
            text = json.dumps({**plan, "models": list(results)})
            write_atomically(self.path / PLAN, lambda file: file.write(text.encode()))
            return True
        return False

    def remove(self) -> None:
        """Delete the directory once everything is in the database."""
        self.removed = True
        remove_run_directory(self.path)

    @property
    def left(self) -> str | None:
        """Where a later process resumes, as a phrase; None if there is nothing to resume."""
        if self._under_way is not None:
            return "continues after epoch {1} of {0}".format(*self._under_way)
        return f"continues after {self._finished} finished training(s)" if self._finished else None

    def _report_damage(self, unit: TrainingUnit, path: Path, error: BaseException) -> None:
        self._say(f"{path} is damaged and ignored ({_first_line(error)}): {unit.title} starts over")

    @contextmanager
    def _surviving_disk_errors(self, what: str) -> Iterator[None]:
        """Report a full disk, which must not end a training."""
        try:
            yield
        except OSError as error:
            self._say(f"{what} could not be saved: {error}; the run continues but could not be resumed from here")

    def _path(self, unit: TrainingUnit, ending: str) -> Path:
        return self.path / f"{unit.model}-{unit.seed}{ending}"


@contextmanager
def open_run_directory(
    path: Path,
    fingerprint: Mapping[str, Any],
    resume: Resume = True,
    about: Mapping[str, str] | None = None,
    say: Callable[[str], None] = lambda message: None,
) -> Iterator[RunDirectory]:
    """Open or create the directory of a run and hold its lock.

    On exit, the directory is deleted if there is nothing to resume.

    Args:
        path: the directory
        fingerprint: the data and settings that identify the run, as JSON values
        resume (True): True resumes an unfinished run; False deletes it; "if_same" deletes it if it has other data or
            settings, was itself started with "if_same", and is not completely trained
        about (None): further entries of run.json, such as the dataset and the key
        say (None): receives notices for the user

    Raises:
        ValueError: if the directory cannot be written, or holds files of other programs
        RunMismatchError: if it holds an unfinished run with other data or settings
        RunLockedError: if another process works on it
    """
    # before the lock is written into it
    _check_ours(path)
    with locked(path):
        meta, resumed = _choose_run(path, json.loads(json.dumps(dict(fingerprint))), resume, about or {}, say)
        # unfinished files of a killed process, each as large as a checkpoint
        for folder in filter(Path.is_dir, (path, path / "results")):
            _delete(folder, _PARTIAL)
        directory = RunDirectory(path, meta["id"], resumed, say)
        try:
            yield directory
        except KeyboardInterrupt as error:
            if directory.removed:
                error.args = ("all was written before",)
            elif (path / PLAN).exists():
                error.args = ("all is trained, and was being written; the same command finishes it",)
            elif directory.left is not None:
                error.args = (f"nothing was written; the same command {directory.left}",)
            raise
        finally:
            if not directory.removed and path.exists() and not _is_worth_keeping(path):
                remove_run_directory(path)


def _choose_run(
    path: Path, fingerprint: dict[str, Any], resume: Resume, about: Mapping[str, str], say: Callable[[str], None]
) -> tuple[dict[str, Any], bool]:
    """Return what run.json says after this call, and True if that is a run to resume."""
    meta, problem = read_meta(path) if resume else (None, None)
    if problem is not None:
        say(f"{path / 'run.json'} is damaged ({problem}): the run starts over")
    difference = None if meta is None else _difference(meta, fingerprint)
    if meta is not None and difference is not None:
        if (path / PLAN).exists():
            raise RunMismatchError(
                f"{path} holds the scores of a run of other data or settings, which are not written yet: {difference}. "
                f"`fiftyone-learnability write {shlex.quote(str(path))}` writes them; or choose another key, or start "
                "over with resume=False (--no-resume)"
            )
        if resume != IF_SAME or not meta.get("given_up_easily"):
            raise RunMismatchError(
                f"{path} holds an unfinished run of other data or settings: {difference}. Call with the same data and "
                "settings to resume it, choose another key, or start over with resume=False (--no-resume)"
            )
        say(f"an unfinished run of other data or settings ({difference}) is given up")
        meta = None
    if meta is None:
        _clear(path)
        new = {**about, "format": FORMAT, "id": uuid.uuid4().hex, "fingerprint": fingerprint}
        new["given_up_easily"] = resume == IF_SAME
        _write_meta(path, new)
        return new, False
    if resume is True and meta.get("given_up_easily"):
        # the caller wants to resume this run: a later call with if_same must not discard it
        meta["given_up_easily"] = False
        _write_meta(path, meta)
    return meta, True


def remove_run_directory(path: Path) -> None:
    """Delete the files of a run; the end of the lock deletes the directory if it is then empty.

    Args:
        path: the directory, whose lock this process holds
    """
    _clear(path)
    # Windows deletes it with the end of the lock
    with suppress(OSError):
        (path / "lock").unlink()


def read_identity(path: Path) -> tuple[str, str] | None:
    """Return id and key of the run in a directory, None if there is none.

    Args:
        path: the directory
    """
    meta, _ = read_meta(path)
    return None if meta is None else (meta["id"], meta.get("key", ""))


def is_used_by_others(path: Path, models: Sequence[str]) -> bool:
    """True if a process trains other networks in a directory, and none of these.

    Args:
        path: the directory
        models: the networks
    """
    meta, _ = read_meta(path)
    trained = () if meta is None else meta["fingerprint"].get("networks", ())
    return bool(trained) and set(trained).isdisjoint(models) and is_locked(path)


def read_meta(path: Path) -> tuple[dict[str, Any] | None, str | None]:
    """Return the content of run.json, or the reason why it does not describe a run; both None without the file."""
    try:
        meta = json.loads((path / "run.json").read_text())
    except FileNotFoundError:
        return None, None
    except (OSError, ValueError, RecursionError) as error:
        return None, _first_line(error)
    # other programs have files of this name
    if not isinstance(meta, dict) or not {"id", "format", "fingerprint"} <= meta.keys():
        return None, "it does not describe a run"
    return meta, None


def _write_meta(path: Path, meta: dict[str, Any]) -> None:
    try:
        write_atomically(path / "run.json", lambda file: file.write(json.dumps(meta).encode()))
    except OSError as error:
        raise ValueError(
            f"the run directory {path} cannot be written: {error}; choose another with run_dir= (--run-dir)"
        ) from error


def _is_worth_keeping(path: Path) -> bool:
    return (path / PLAN).exists() or any(_TRAINED.fullmatch(entry.name) for entry in path.iterdir())


def _check_ours(path: Path) -> None:
    """Check that a directory is a run's, is empty, or lies in the cache.

    Raises:
        ValueError: if it has files of others
    """
    if path.parent.parent == runs_folder() or not path.is_dir():
        return
    meta, problem = read_meta(path)
    if meta is None and not all(map(_is_remnant, path.iterdir())):
        raise ValueError(
            f"{path} is not empty and not a run directory ({problem or 'it has no run.json'}): choose another with "
            "run_dir= (--run-dir), or delete it"
        )


def _is_remnant(entry: Path) -> bool:
    """Return True for a file left by a process that was killed before it wrote run.json."""
    # both are empty or hold a process id
    is_lock = entry.name in ("lock", "owner") and entry.lstat().st_size <= 10
    return is_lock or _PARTIAL.fullmatch(entry.name) is not None


def _clear(path: Path) -> None:
    """Delete the files of a run in a directory, run.json last."""
    if (path / "results").is_dir():
        _delete(path / "results", _RESULTS)
        with suppress(OSError):
            (path / "results").rmdir()
    _delete(path, _FILES)
    (path / "run.json").unlink(missing_ok=True)


def _delete(path: Path, names: re.Pattern[str]) -> None:
    for entry in path.iterdir():
        if names.fullmatch(entry.name) and not entry.is_dir():
            entry.unlink()


_CHANGED = {"images": "the images have changed", "labels": "the labels have changed"}


def _difference(meta: dict[str, Any], fingerprint: dict[str, Any]) -> str | None:
    """Return how the run in a directory differs from the one asked for, None if it does not."""
    if meta["format"] != FORMAT:
        return "it was started by another version of this package"
    old = meta["fingerprint"]
    return "; ".join(
        _CHANGED.get(name) or f"{name} was {_short(old.get(name))} and is now {_short(fingerprint.get(name))}"
        for name in sorted({*old, *fingerprint})
        if old.get(name) != fingerprint.get(name)
    ) or None  # fmt: skip


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
