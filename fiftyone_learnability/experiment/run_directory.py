"""What a run has on disk while it goes on, so that nothing costs more than an epoch: checkpoints, records, results.

    RUN_DIR/run.json              what the run is: a fingerprint of images, labels and settings
           /lock                  held by the process that works on it
           /<model>-<seed>.pt     the checkpoint of a training under way
           /<model>-<seed>.npz    the record of a finished training
           /results/<model>.npz   all results, until they are in the database

Every file is written under another name, flushed and then renamed, so that a process that is killed leaves either the
old file or the new one. Nothing is unpickled: checkpoints are read with ``weights_only=True``, arrays without pickle.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from .results import ModelResults, RunRecord
from .units import TrainingUnit

_FORMAT = 1
_CURVES = ("train_loss", "train_accuracy", "measured_accuracy", "epoch_seconds")


class RunLockedError(RuntimeError):
    """Another process works on the same run."""


def fingerprint_of(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> dict[str, str]:
    """Fingerprints of what is learned: they change when a pixel or a label does.

    Args:
        images: ``(N, H, W, C)`` uint8
        labels: ``(N,)`` class of each image
    """
    return {"images": _digest(images), "labels": _digest(labels)}


def cache_folder() -> Path:
    """The folder of all run directories, in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fiftyone-learnability" / "runs"


def load_results_to_write(path: Path) -> tuple[dict[str, ModelResults], dict[str, Any]]:
    """The results that a run directory keeps until they are in the database, and what is to be done with them.

    Args:
        path: the run directory

    Raises:
        ValueError: if there are none
    """
    folder = path / "results"
    try:
        plan = json.loads((folder / "plan.json").read_text())
    except FileNotFoundError:
        raise ValueError(
            f"{path} holds no finished results: call compute_learnability again, which goes on from its checkpoints"
        ) from None
    return {model: ModelResults.from_npz(folder / f"{model}.npz") for model in plan.pop("models")}, plan


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
        resumed: whether it was there before, so that this run goes on
    """

    def __init__(self, path: Path, resumed: bool) -> None:
        self.path, self.resumed = path, resumed

    def load_record(self, unit: TrainingUnit) -> RunRecord | None:
        """The record of a training that is finished, None if it is not."""
        path = self._of(unit, ".npz")
        if not path.exists():
            return None
        with np.load(path, allow_pickle=False) as archive:
            scores = {name[6:]: archive[name] for name in archive.files if name.startswith("score_")}
            curves = {name: archive[name] for name in _CURVES}
            return RunRecord(
                model=unit.model,
                seed=unit.seed,
                scores=scores,
                **curves,
                dynamics=archive.get("dynamics"),
                prediction=archive.get("prediction"),
            )

    def save_record(self, unit: TrainingUnit, record: RunRecord) -> None:
        """Keeps the record of a finished training, in place of its checkpoint."""
        arrays: dict[str, Any] = {name: getattr(record, name) for name in _CURVES}
        arrays.update({f"score_{name}": values for name, values in record.scores.items()})
        for name in ("dynamics", "prediction"):
            if getattr(record, name) is not None:
                arrays[name] = getattr(record, name)
        write_atomically(self._of(unit, ".npz"), lambda file: np.savez(file, **arrays))
        self._of(unit, ".pt").unlink(missing_ok=True)

    def load_checkpoint(self, unit: TrainingUnit) -> dict[str, Any] | None:
        """The state of a training under way, None if there is none."""
        import torch

        path = self._of(unit, ".pt")
        if not path.exists():
            return None
        return torch.load(path, map_location="cpu", weights_only=True)

    def save_checkpoint(self, unit: TrainingUnit, state: Mapping[str, Any]) -> None:
        """Keeps the state of a training under way, in place of an earlier one."""
        import torch

        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        write_atomically(self._of(unit, ".pt"), lambda file: file.write(buffer.getbuffer()))

    def save_results(self, results: Mapping[str, ModelResults], plan: Mapping[str, Any]) -> None:
        """Keeps all results, and what is to be done with them, until they are in the database."""
        folder = self.path / "results"
        folder.mkdir(exist_ok=True)
        for model, result in results.items():
            write_atomically(folder / f"{model}.npz", lambda file, result=result: result.to_npz(file))  # type: ignore[misc]
        text = json.dumps({**plan, "models": list(results)})
        write_atomically(folder / "plan.json", lambda file: file.write(text.encode()))

    def remove(self) -> None:
        """Deletes the directory, when all of it is in the database."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _of(self, unit: TrainingUnit, ending: str) -> Path:
        return self.path / f"{unit.model}-{unit.seed}{ending}"


@contextmanager
def open_run_directory(path: Path, fingerprint: Mapping[str, Any], resume: bool = True) -> Iterator[RunDirectory]:
    """Opens the directory of a run, or makes it, and holds its lock.

    Args:
        path: the directory
        fingerprint: what the run is, in values that JSON holds
        resume (True): whether what an earlier process has left of the same run is used; False deletes it

    Raises:
        ValueError: if the directory cannot be written, or holds an unfinished run of other data or settings
        RunLockedError: if another process works on it
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / "lock").open("a+")
    except OSError as error:
        raise ValueError(
            f"the run directory {path} cannot be written: {error}; choose another with run_dir="
        ) from error
    with lock:
        _lock(lock, path)
        meta = path / "run.json"
        if not resume:
            _clear(path)
        said = json.loads(json.dumps(dict(fingerprint)))
        resumed = meta.exists()
        if resumed:
            _compare(path, json.loads(meta.read_text()), said)
        else:
            # what lies there without a run.json is not known to belong to this run
            _clear(path)
            write_atomically(meta, lambda file: file.write(json.dumps({"format": _FORMAT, **said}).encode()))
        yield RunDirectory(path, resumed)


def write_atomically(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Writes a file so that it is there whole or not at all, whatever happens meanwhile.

    Args:
        path: the file
        write: writes its content into an open file
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        # the renaming itself must be on disk too
        os.fsync(folder)
    finally:
        os.close(folder)


def _lock(lock: IO[str], path: Path) -> None:
    import fcntl

    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.seek(0)
        owner = lock.read().strip() or "unknown"
        raise RunLockedError(
            f"another process (pid {owner}) is working on the run in {path}: wait for it to end, or choose another run "
            "directory or key"
        ) from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()


def _clear(path: Path) -> None:
    for entry in path.iterdir():
        if entry.name != "lock":
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _compare(path: Path, found: dict[str, Any], said: dict[str, Any]) -> None:
    if found.pop("format", None) != _FORMAT:
        raise ValueError(f"{path} holds a run of another version of this package: start over with resume=False")
    other = [
        f"{name} was {_short(found.get(name))} and is now {_short(said.get(name))}"
        for name in sorted({*found, *said})
        if found.get(name) != said.get(name)
    ]
    if other:
        raise ValueError(
            f"{path} holds an unfinished run of other data or settings: {'; '.join(other)}. Call with the same to go "
            "on, or start over with resume=False"
        )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
