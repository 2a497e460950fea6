"""What a run has on disk while it goes on, so that nothing costs more than an epoch: checkpoints, records, results.

    RUN_DIR/run.json              what the run is: its dataset and key, a fingerprint of images, labels and settings
           /lock                  held by the process that works on it
           /<model>-<seed>.pt     the checkpoint of a training under way
           /<model>-<seed>.npz    the record of a finished training
           /results/<model>.npz   all results, until they are in the database
           /results/plan.json     what is to be written of them

Every file is written under another name, flushed and then renamed, so that a process that is killed leaves either the
old file or the new one. Whatever is read is taken for hostile: checkpoints are read with ``weights_only=True``, arrays
without pickle, names in them never become paths unchecked, and no symbolic link is followed out of the directory.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shlex
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..training.options import IF_SAME, Resume
from .curves import CURVES, measured_epochs
from .files import Archive, cache_folder, check_regular, check_zip, clean, open_archive, read_json, write_atomically
from .results import ModelResults, RunRecord
from .units import TrainingUnit

_FORMAT = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_]*")
"""What the names of networks look like, which are parts of the names of files."""


class RunLockedError(RuntimeError):
    """Another process works on the same run."""


class RunMismatchError(ValueError):
    """The run directory holds a run of other data or settings."""


def fingerprint_of(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> dict[str, str]:
    """Fingerprints of what is learned: they change when a pixel or a label does.

    Args:
        images: ``(N, H, W, C)`` uint8
        labels: ``(N,)`` class of each image
    """
    return {"images": _digest(images), "labels": _digest(labels)}


def load_results_to_write(path: Path) -> tuple[dict[str, ModelResults], dict[str, Any]]:
    """The results that a run directory keeps until they are in the database, and what is to be done with them.

    Args:
        path: the run directory

    Raises:
        ValueError: if there are none
    """
    folder = path / "results"
    if not path.is_dir():
        raise ValueError(f"there is no run directory {path}")
    try:
        if folder.is_symlink():
            raise ValueError("results is a symbolic link")
        plan = _read(folder / "plan.json", read_json)
        if not isinstance(plan, dict):
            raise ValueError("plan.json is no plan")
        models = plan.pop("models", None)
        if not isinstance(models, list) or not models or not all(map(_is_name, models)):
            raise ValueError(f"plan.json does not name networks, but {_short(models)}")
        results = {model: _read(folder / f"{model}.npz", ModelResults.from_npz) for model in models}
        for model, result in results.items():
            if result.model != model:
                raise ValueError(f"{model}.npz is of {_short(result.model)}")
        return results, plan
    except FileNotFoundError:
        raise ValueError(
            f"{path} holds no finished results: call compute_learnability again, which goes on from its checkpoints"
        ) from None
    except _UNREADABLE as error:
        raise ValueError(
            f"the results in {path} are damaged ({error}): call compute_learnability again, which makes them anew from "
            "its records"
        ) from error


_UNREADABLE = (OSError, ValueError)
"""What reading a damaged file raises."""

_Read = TypeVar("_Read")


def _read(path: Path, read: Callable[[Path], _Read]) -> _Read:
    """Reads a file of a run, but nothing that only a link leads to.

    Raises:
        FileNotFoundError: if there is none
        ValueError: if it is a link, or something else than a file
    """
    if path.is_symlink():
        raise ValueError("it is a symbolic link")
    check_regular(path)
    return read(path)


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def _digest(array: NDArray[Any]) -> str:
    digest = hashlib.blake2b(f"{array.shape} {array.dtype}".encode(), digest_size=16)
    # in parts, so that a memory-mapped array need not be read at once
    for part in np.array_split(array, max(1, array.nbytes // 2**26)):
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()


class RunDirectory:
    """The directory of one run, locked by this process; made by :func:`open_run_directory`.

    Attributes:
        path: the directory
        id: a name of the run that no other has
        resumed: whether it was there before, so that this run goes on
        removed: whether it is gone, since all is in the database: another process may have begun a run there since
    """

    def __init__(
        self, path: Path, id: str, resumed: bool, say: Callable[[str], None], num_samples: int | None = None
    ) -> None:
        self.path, self.id, self.resumed, self.removed = path, id, resumed, False
        self._num_samples = num_samples
        self._say = say
        self._finished = 0
        self._under_way: tuple[str, int] | None = None

    def load_record(self, unit: TrainingUnit) -> RunRecord | None:
        """The record of a training that is finished, None if it is not."""
        path = self._of(unit, ".npz")
        try:
            with _read(path, open_archive) as archive:
                record = self._record(unit, archive)
        except FileNotFoundError:
            return None
        except _UNREADABLE as error:
            self._tell_damage(unit, path, error)
            return None
        self._finished += 1
        return record

    def _record(self, unit: TrainingUnit, archive: Archive) -> RunRecord:
        """The record in an archive, if it is one of these samples.

        Raises:
            ValueError: if it is not
        """
        if lacking := [name for name in ("score_learnability", *CURVES) if name not in archive]:
            raise ValueError(f"it lacks {', '.join(lacking)}")
        record = RunRecord(
            model=unit.model,
            seed=unit.seed,
            scores={name[6:]: archive[name] for name in archive.files if name.startswith("score_")},
            **{name: archive[name] for name in CURVES},
            dynamics=archive.get("dynamics"),
            prediction=archive.get("prediction"),
            incidents=tuple(map(str, archive["incidents"].tolist())) if "incidents" in archive else (),
        )
        epochs = record.train_loss.shape[:1]
        samples = record.scores["learnability"].shape[:1] if self._num_samples is None else (self._num_samples,)
        wanted: list[tuple[NDArray[Any], tuple[int, ...]]] = [(values, samples) for values in record.scores.values()]
        wanted += [(getattr(record, name), epochs) for name in CURVES]
        if record.prediction is not None:
            wanted.append((record.prediction, (*samples, *record.prediction.shape[1:2])))
        if not all(values.dtype.kind == "f" and values.shape == shape for values, shape in wanted):
            raise ValueError("it is not of these samples")
        measured = len(measured_epochs(record.measured_accuracy[None]))
        if (dynamics := record.dynamics) is not None and (dynamics.dtype.kind, dynamics.shape) != (
            "f",
            (measured, *samples),
        ):
            raise ValueError("its dynamics are not of these samples and epochs")
        return record

    def save_record(self, unit: TrainingUnit, record: RunRecord) -> None:
        """Keeps the record of a finished training, in place of its checkpoint."""
        arrays: dict[str, Any] = {name: getattr(record, name) for name in CURVES}
        arrays.update({f"score_{name}": values for name, values in record.scores.items()})
        for name in ("dynamics", "prediction"):
            if getattr(record, name) is not None:
                arrays[name] = getattr(record, name)
        arrays["incidents"] = np.array(record.incidents, dtype=np.str_)
        with self._without_stopping(f"the record of {unit.title}"):
            write_atomically(self._of(unit, ".npz"), lambda file: np.savez(file, **arrays))
            self._finished += 1
            self._under_way = None
            self._of(unit, ".pt").unlink(missing_ok=True)

    def load_checkpoint(self, unit: TrainingUnit) -> dict[str, Any] | None:
        """The state of a training under way, None if there is none."""
        import torch

        path = self._of(unit, ".pt")
        if not os.path.lexists(path):
            return None
        try:
            _read(path, check_zip)
            state = _read(path, lambda file: torch.load(file, map_location="cpu", weights_only=True))
            wanted = {"reports", "network", "optimizer", "scaler", "tracker", "lr", "parts", "incidents"}
            types = {"reports": list, "lr": float, "parts": int, "incidents": list}
            if wanted - state.keys() or not all(isinstance(state[name], type_) for name, type_ in types.items()):
                raise ValueError("it holds no state of a training")
            epoch = len(state["reports"])
        # whatever a damaged file makes torch's unpickler stumble over
        except Exception as error:  # noqa: BLE001
            self._tell_damage(unit, path, error)
            return None
        self._under_way = (unit.title, epoch)
        return state

    def save_checkpoint(self, unit: TrainingUnit, state: Mapping[str, Any]) -> None:
        """Keeps the state of a training under way, in place of an earlier one."""
        import torch

        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        with self._without_stopping(f"the checkpoint of {unit.title}"):
            write_atomically(self._of(unit, ".pt"), lambda file: file.write(buffer.getbuffer()))
            self._under_way = (unit.title, len(state["reports"]))

    def drop_checkpoint(self, unit: TrainingUnit) -> None:
        """Deletes the state of a training that is not worth going on with."""
        self._of(unit, ".pt").unlink(missing_ok=True)
        self._under_way = None

    def save_results(self, results: Mapping[str, ModelResults], plan: Mapping[str, Any]) -> bool:
        """Keeps all results, and what is to be done with them, until they are in the database; tells whether it could.

        The records are kept anyway, so that even without it no training is to be repeated.
        """
        folder = self.path / "results"
        with self._without_stopping("the results"):
            if folder.is_symlink():
                # whatever it leads to is not ours to write to
                folder.unlink()
            folder.mkdir(exist_ok=True)
            for model, result in results.items():
                write_atomically(folder / f"{model}.npz", lambda file, result=result: result.to_npz(file))  # type: ignore[misc]
            text = json.dumps({**plan, "models": list(results)})
            write_atomically(folder / "plan.json", lambda file: file.write(text.encode()))
            return True
        return False

    def remove(self) -> None:
        """Deletes the directory, when all of it is in the database."""
        self.removed = True
        remove_run_directory(self.path)

    @property
    def left(self) -> str | None:
        """Where a later process goes on, None if nothing is worth it."""
        if self._under_way is not None:
            return "goes on after epoch {1} of {0}".format(*self._under_way)
        return f"goes on after {self._finished} finished training(s)" if self._finished else None

    def _tell_damage(self, unit: TrainingUnit, path: Path, error: BaseException) -> None:
        self._say(f"{path} is damaged and left aside ({_first_line(error)}): {unit.title} starts anew")

    @contextmanager
    def _without_stopping(self, what: str) -> Iterator[None]:
        """Tells of a disk that is full, for which no training is to be lost."""
        try:
            yield
        except OSError as error:
            self._say(f"{what} could not be kept: {error}; the work goes on, but could not be resumed from here")

    def _of(self, unit: TrainingUnit, ending: str) -> Path:
        return self.path / f"{unit.model}-{unit.seed}{ending}"


def remove_run_directory(path: Path) -> None:
    """Deletes what a run has left, and its directory, if nothing else is in it; in the cache that of its dataset too.

    Args:
        path: the directory, whose lock this process holds
    """
    _clear(path)
    # each raises where something else is there
    with suppress(OSError):
        (path / "lock").unlink()
        path.rmdir()
        if _is_in_cache(path):
            path.parent.rmdir()


@contextmanager
def open_run_directory(
    path: Path,
    fingerprint: Mapping[str, Any],
    resume: Resume = True,
    about: Mapping[str, str] | None = None,
    say: Callable[[str], None] = lambda message: None,
) -> Iterator[RunDirectory]:
    """Opens the directory of a run, or makes it, and holds its lock.

    A directory that in the end holds nothing to go on from is deleted.

    Args:
        path: the directory
        fingerprint: what the run is, in values that JSON holds
        resume (True): whether what an earlier process has left of the same run is used; False deletes it, "if_same"
            deletes it if it is of other data or settings, was opened so too, and is not trained to its end
        about (None): what else is noted of the run, such as its dataset and key
        say (None): takes a line for people

    Raises:
        ValueError: if the directory cannot be written, or has files of somebody else
        RunMismatchError: if it holds an unfinished run of other data or settings
        RunLockedError: if another process works on it
    """
    # before anything is written into it
    _check_whose(path)
    with locked(path):
        said = json.loads(json.dumps(dict(fingerprint)))
        _check_whose(path)
        meta, problem = _read_meta(path)
        if not resume:
            meta = problem = None
        if problem is not None:
            say(f"{path / 'run.json'} is damaged ({problem}): the run starts anew")
        if meta is not None:
            difference = _difference(meta, said)
            if difference is not None and (path / "results" / "plan.json").exists():
                raise RunMismatchError(
                    f"{path} holds the scores of a run of other data or settings, which are not written yet: "
                    f"{difference}. `fiftyone-learnability write {shlex.quote(str(path))}` writes them; or choose "
                    "another key, or start over with resume=False (--no-resume)"
                )
            if difference is not None and not (resume == IF_SAME and meta.get("given_up_easily") is True):
                raise RunMismatchError(
                    f"{path} holds an unfinished run of other data or settings: {difference}. Call with the same to go "
                    "on, choose another key, or start over with resume=False (--no-resume)"
                )
            if difference is not None:
                say(f"an unfinished run of other data or settings ({difference}) is given up")
                meta = None
        resumed = meta is not None
        if meta is not None and resume is True and meta.get("given_up_easily"):
            # from here on it is somebody's who has asked for this very run
            meta["given_up_easily"] = False
            _make_sure_it_can_be_written(path, meta)
        if meta is None:
            _clear(path)
            meta = {"format": _FORMAT, "id": uuid.uuid4().hex, **dict(about or {}), "fingerprint": said}
            meta["given_up_easily"] = resume == IF_SAME
            _make_sure_it_can_be_written(path, meta)
        directory = RunDirectory(path, meta["id"], resumed, say, said.get("num_samples"))
        # what a process that was killed had not finished, each as large as a checkpoint
        for folder in (path, path / "results"):
            if folder.is_dir() and not folder.is_symlink():
                _delete(folder, _PARTIAL)
        try:
            yield directory
        except KeyboardInterrupt as error:
            # whoever asked for the end is told how to go on
            if directory.removed:
                error.args = ("all was written before",)
            elif (path / "results" / "plan.json").exists():
                error.args = ("all is trained, and was being written; the same command finishes it",)
            elif directory.left is not None:
                error.args = (f"nothing was written; the same command {directory.left}",)
            raise
        finally:
            if not directory.removed and path.exists() and not any(_kept(path)):
                remove_run_directory(path)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock of a run directory, which is made if it does not exist.

    Args:
        path: the directory

    Raises:
        ValueError: if it cannot be written
        RunLockedError: if another process holds the lock
    """
    lock = None
    while lock is None:
        try:
            path.mkdir(parents=True, exist_ok=True)
            lock = _open_lock(path / "lock")
        except OSError as error:
            raise ValueError(
                f"the run directory {path} cannot be written: {error}; choose another with run_dir= (--run-dir)"
            ) from error
        try:
            _lock(lock, path)
            # the process that held it may have deleted the directory meanwhile
            still_there = (path / "lock").exists() and os.path.samestat(os.fstat(lock.fileno()), (path / "lock").stat())
        except BaseException:
            lock.close()
            raise
        if not still_there:
            lock.close()
            lock = None
    with lock:
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _open_lock(path: Path) -> IO[str]:
    # what the lock says of its owner must not be written over a file that a link leads to
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    return os.fdopen(os.open(path, flags, 0o666), "r+")


def _lock(lock: IO[str], path: Path) -> None:
    try:
        import fcntl
    except ImportError:
        # Windows has no flock, and its own locks would keep the file from being deleted: there nothing but people
        # keeps two processes from the same run
        return
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # who only looks whether it is held does so for a moment
            time.sleep(0.2)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        owner = lock.read(20).strip() or "unknown"
        raise RunLockedError(
            f"another process (pid {owner}) is working on the run in {path}: wait for it to end, or choose another run "
            "directory or key"
        ) from None
    except OSError:
        # a file system without locks
        return


@dataclass(frozen=True)
class FoundRun:
    """A run directory in the cache.

    Attributes:
        path: the directory
        dataset: the name of the dataset
        key: the key of the run
        seconds: how long ago anything was last written to it
        size: its files, in bytes
        state: "in use", "trained, not written", "unfinished", or "unknown" where it does not say what it is
    """

    path: Path
    dataset: str
    key: str
    seconds: float
    size: int
    state: str


def find_run_directories() -> list[FoundRun]:
    """The run directories in the cache, those last that were written to last."""
    found = []
    for path in cache_folder().glob("*/*"):
        if not path.is_dir() or path.is_symlink() or path.parent.is_symlink():
            # what lies elsewhere is not ours to clean
            continue
        try:
            meta, files = _read_meta(path)[0] or {}, _sizes(path)
            newest = max((file.st_mtime for file in files), default=path.stat().st_mtime)
            state = "unfinished" if meta else "unknown"
            if (path / "results" / "plan.json").exists():
                state = "trained, not written"
            if _is_locked(path):
                state = "in use"
        except OSError:
            # another user's, or deleted meanwhile
            continue
        found.append(
            FoundRun(
                path=path,
                dataset=meta.get("dataset", path.parent.name),
                key=meta.get("key", path.name),
                seconds=time.time() - newest,
                size=sum(file.st_size for file in files),
                state=state,
            )
        )
    return sorted(found, key=lambda run: -run.seconds)


def _sizes(path: Path) -> list[os.stat_result]:
    found = []
    for file in path.rglob("*"):
        # one that is being written is renamed in the midst of it
        with suppress(FileNotFoundError):
            if file.is_file() and file.name != "lock":
                found.append(file.lstat())
    return found


def _is_locked(path: Path) -> bool:
    """Whether a process works on a run; looked at without keeping another from beginning to."""
    try:
        import fcntl

        with open(path / "lock", "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW)) as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (ImportError, OSError):
        pass
    return False


def clean_run_directories(older_than: float | None = None, max_size: float | None = None) -> list[FoundRun]:
    """Deletes run directories from the cache, but none that a process works on.

    Args:
        older_than (None): only those that were last written to so many seconds ago
        max_size (None): only so many, the oldest first, that the others have this size in bytes at most

    Returns:
        those that were deleted
    """

    def delete(run: FoundRun) -> bool:
        # it may have come to be used meanwhile, or be somebody else's
        with suppress(RunLockedError, ValueError, OSError), locked(run.path):
            remove_run_directory(run.path)
            return True
        return False

    return clean(find_run_directories(), delete, older_than, max_size)


def read_identity(path: Path) -> tuple[str, str] | None:
    """Id and key of the run in a directory, None if there is none.

    Args:
        path: the directory
    """
    meta, _ = _read_meta(path)
    return None if meta is None else (meta["id"], meta.get("key", ""))


def _read_meta(path: Path) -> tuple[dict[str, Any] | None, str | None]:
    """What run.json says, and what is wrong with it."""
    try:
        meta = _read(path / "run.json", read_json)
    except FileNotFoundError:
        return None, None
    except _UNREADABLE as error:
        return None, _first_line(error)
    texts = [meta.get("id"), meta.get("dataset", ""), meta.get("key", "")] if isinstance(meta, dict) else [None]
    if not all(isinstance(text, str) for text in texts) or not isinstance(meta.get("fingerprint"), dict):
        return None, "it does not describe a run"
    return meta, None


def _make_sure_it_can_be_written(path: Path, meta: dict[str, Any]) -> None:
    try:
        write_atomically(path / "run.json", lambda file: file.write(json.dumps(meta).encode()))
    except OSError as error:
        raise ValueError(
            f"the run directory {path} cannot be written: {error}; choose another with run_dir= (--run-dir)"
        ) from error


def _kept(path: Path) -> Iterator[Path]:
    """What is worth going on from."""
    yield from (entry for entry in path.iterdir() if _TRAINED.fullmatch(entry.name))
    yield from path.glob("results/plan.json")


def _check_whose(path: Path) -> None:
    """Checks that a directory is a run's, or empty, or in the cache.

    Raises:
        ValueError: if it has files of somebody else
    """
    if _is_in_cache(path) or not path.is_dir():
        return
    meta, problem = _read_meta(path)
    if meta is None and not all(_is_remnant(entry) for entry in path.iterdir()):
        raise ValueError(
            f"{path} is not empty and no run directory ({problem or 'it has no run.json'}): choose another with "
            "run_dir= (--run-dir), or delete it"
        )


def _is_remnant(entry: Path) -> bool:
    """Whether a file is what a process leaves that is killed before it has noted what its run is."""
    if entry.name != "lock":
        return _PARTIAL.fullmatch(entry.name) is not None
    if entry.is_symlink():
        # refused by whoever takes the lock
        return True
    size = entry.stat().st_size
    return size == 0 or (size < 20 and entry.read_bytes().isdigit())


def _is_in_cache(path: Path) -> bool:
    """Whether nobody but this package puts anything there."""
    return path.parent.parent == cache_folder()


_PARTIAL = re.compile(r"\.[\w.-]+\.\d+\.partial")
_TRAINED = re.compile(rf"{_NAME.pattern}-\d+\.(pt|npz)")
_FILES = re.compile(f"{_TRAINED.pattern}|{_PARTIAL.pattern}")
_RESULTS = re.compile(rf"{_NAME.pattern}\.npz|plan\.json|{_PARTIAL.pattern}")
"""The files that a process had not finished, those of trainings, all of a run, and all of its results."""


def _clear(path: Path) -> None:
    """Deletes what a run has left in a directory, last of all that it is the directory of a run."""
    if not path.is_dir():
        return
    results = path / "results"
    if results.is_symlink():
        # a link is deleted, never what it leads to
        results.unlink()
    elif results.is_dir():
        _delete(results, _RESULTS)
        with suppress(OSError):
            results.rmdir()
    _delete(path, _FILES)
    # one that is a folder cannot be replaced, which whoever writes it is told
    with suppress(IsADirectoryError, PermissionError):
        (path / "run.json").unlink(missing_ok=True)


def _delete(path: Path, names: re.Pattern[str]) -> None:
    for entry in path.iterdir():
        if names.fullmatch(entry.name) and (entry.is_symlink() or not entry.is_dir()):
            entry.unlink()


_NAMES = {
    "images": "the images have changed",
    "labels": "the labels have changed",
}


def _difference(meta: dict[str, Any], said: dict[str, Any]) -> str | None:
    """What differs between the run that was found and the one that is asked for, None if nothing does."""
    if meta.get("format") != _FORMAT:
        return "it is of another version of this package"
    found = meta["fingerprint"]
    other = [name for name in sorted({*found, *said}) if found.get(name) != said.get(name)]
    return (
        "; ".join(
            _NAMES.get(name) or f"{name} was {_short(found.get(name))} and is now {_short(said.get(name))}"
            for name in other
        )
        or None
    )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
