"""Material for hostile cases: files that are not what they seem, datasets, and networks that train in no time."""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.core.collections as foc
import fiftyone.core.odm as odm
import numpy as np
from bson import CodecOptions, decode
from bson.raw_bson import RawBSONDocument
from PIL import Image
from torch import nn

import fiftyone_learnability as fol

from ..dataset.helpers import tiny
from ..plugin.made_up import write_scores

SAMPLES = 8
"""The number of samples of a dataset, of classes a and b in turn."""

_HASHED = 1_000_000
"""The largest file that is hashed to detect changes."""


@dataclass
class World:
    """The surroundings of one case.

    Attributes:
        folder: the folder of its files
        meanwhile: a change that another user makes while the network is trained
        dataset: the dataset that must not be harmed
        before: its state before the call, or after that change
        common: the world of the datasets that several refused cases share
        refused: True if the case must be refused
    """

    folder: Path
    common: World | None = None
    refused: bool = False
    meanwhile: Callable[[], Any] | None = None
    dataset: fo.Dataset | None = None
    before: dict[str, Any] | None = None
    _made: list[fo.Dataset] = field(default_factory=list)
    _kept: dict[str, fo.Dataset] = field(default_factory=dict)
    _built: int = 0
    _id: Any = None

    def network(self, num_classes: int, in_channels: int) -> nn.Module:
        """Make a tiny network; the third one marks the start of the training."""
        self._built += 1
        # the trial builds two
        if self._built == 3 and self.meanwhile is not None:
            self.meanwhile()
            self.before = snapshot(self.dataset_id)
        return tiny(num_classes, in_channels)

    @property
    def dataset_id(self) -> Any:
        """The id of the dataset, which survives renaming."""
        return self._id

    def watch(self, samples: foc.SampleCollection) -> None:
        """Remember the state of a dataset."""
        gone = isinstance(samples, fo.Dataset) and samples.deleted
        self.dataset = samples._root_dataset if isinstance(samples, foc.SampleCollection) and not gone else None
        self._id = None if self.dataset is None else self.dataset._doc.id
        self.before = snapshot(self._id)

    def file(self, name: str, content: bytes) -> str:
        """Write a file."""
        path = self.folder / name
        path.write_bytes(content)
        return str(path)

    def image(self, name: str, size: tuple[int, int] = (8, 8), seed: int = 0) -> str:
        """Write an image file."""
        return self.file(name, image_bytes(size, "JPEG" if name.endswith(".jpg") else "PNG", seed))

    def images(self, count: int = SAMPLES) -> list[str]:
        """Write image files."""
        return [self.image(f"{index}.png", seed=index) for index in range(count)]

    def of(
        self, files: Sequence[str] | None = None, labels: Sequence[Any] | None = None, **fields: Sequence[Any]
    ) -> fo.Dataset:
        """Make a dataset of files with Classifications as labels and further fields."""
        files = self.images() if files is None else files
        labels = ["ab"[index % 2] for index in range(len(files))] if labels is None else labels
        dataset = self.empty()
        dataset.add_samples(
            [
                fo.Sample(
                    file,
                    ground_truth=None if label is None else fo.Classification(label=label),
                    **{name: values[index] for name, values in fields.items()},
                )
                for index, (file, label) in enumerate(zip(files, labels, strict=True))
            ],
            progress=False,
        )
        return dataset

    def kept(self, name: str, make: Callable[[World], fo.Dataset]) -> fo.Dataset:
        """Return the shared dataset of that name for a refused case, and a new one for any other."""
        if not self.refused or self.common is None:
            return make(self)
        if name not in self.common._kept:
            self.common._kept[name] = make(self.common)
        return self.common._kept[name]

    def forget(self) -> None:
        """Drop the shared datasets after a case has harmed one."""
        if self.common is not None:
            self.common._kept.clear()

    def files(self) -> dict[str, tuple[int, int, str]]:
        """Return all files that the case must not change."""
        return files_in(self.folder) | (files_in(self.common.folder) if self.common is not None else {})

    def empty(self) -> fo.Dataset:
        """Make a dataset without samples."""
        dataset = fo.Dataset()
        self._made.append(dataset)
        return dataset

    def with_image(self, path: str | os.PathLike[str]) -> fo.Dataset:
        """Make a dataset with the given file as its last image."""
        return self.of([*self.images(SAMPLES - 1), str(path)])

    def scored(self, *, suggestions: bool = False) -> fo.Dataset:
        """Make a dataset with scores of the networks a and b in the runs "first" and "second"."""
        dataset = self.of([f"/no/such/{index}.png" for index in range(SAMPLES)])
        ramp = np.linspace(0, 1, SAMPLES)
        # the training predicts the other class for every sample
        predictions = {"a": np.tile(np.array([[0.1, 0.9], [0.9, 0.1]], np.float32), (SAMPLES // 2, 1))}
        for model, values in (("a", ramp), ("b", ramp[::-1])):
            write_scores(dataset, {model: values}, "first" if model == "a" else "second", predictions=predictions)
            predictions = None
        if suggestions:
            fol.suggest_label_fixes(dataset)
        return dataset

    def clear(self) -> None:
        """Delete everything that was made."""
        for path in self.folder.iterdir():
            if stat.S_ISFIFO(path.lstat().st_mode):
                # frees a reader that still waits after a failed check
                with suppress(OSError):
                    os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        for dataset in self._made:
            with suppress(ValueError):
                if not dataset.deleted:
                    dataset.delete()


def image_bytes(size: tuple[int, int] = (8, 8), form: str = "PNG", seed: int = 0) -> bytes:
    """Return an image of noise with (width, height) pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


def bomb(width: int = 60_000, height: int = 60_000) -> bytes:
    """Return a PNG of a kilobyte that claims to be very large."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def snapshot(id: Any) -> dict[str, Any] | None:
    """Return the state of a dataset in the database, byte for byte; None if it does not exist."""
    database = odm.get_db_conn()
    document = database.datasets.find_one({"_id": id})
    if document is None:
        return None
    collection = database[document["sample_collection_name"]]
    raw = collection.with_options(codec_options=CodecOptions(document_class=RawBSONDocument))
    return {
        "samples": {bytes(sample.raw) for sample in raw.find()},
        "fields": {found["name"]: found for found in document["sample_fields"]},
        "indexes": sorted(collection.index_information()),
        "runs": document.get("runs") or {},
        "run_documents": list(database.runs.find({"_dataset_id": id})),
        "app_config": document.get("app_config"),
    }


def differences(before: dict[str, Any], after: dict[str, Any], written: Sequence[str], changed: Sequence[str]) -> str:
    """Return what a successful call changed beyond what it may change; "" if nothing.

    Args:
        before: the snapshot before
        after: the snapshot after
        written: the fields that it may write
        changed: other fields whose values it may change
    """
    free = {*written, *changed, "last_modified_at"}

    def kept(snapshot: dict[str, Any]) -> dict[Any, dict[str, Any]]:
        documents = map(decode, snapshot["samples"])
        return {one["_id"]: {key: value for key, value in one.items() if key not in free} for one in documents}

    found = []
    if kept(before) != kept(after):
        found.append("samples")
    new = set(after["fields"]) - set(before["fields"])
    if new != set(written) - set(before["fields"]):
        found.append(f"fields: {sorted(new)}")
    if any(after["fields"].get(name) != one for name, one in before["fields"].items() if name not in free):
        found.append("existing fields")
    others = [name for name in after["indexes"] if name not in before["indexes"] and name.rsplit("_", 1)[0] not in free]
    if others or set(before["indexes"]) - set(after["indexes"]):
        found.append(f"indexes: {others}")
    if not before["runs"].items() <= after["runs"].items():
        found.append("existing runs")
    return ", ".join(found)


def files_in(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Return all entries of a folder with mode, size and a hash."""
    found = {}
    for path in sorted(folder.rglob("*")):
        state = path.lstat()
        read = stat.S_ISREG(state.st_mode) and state.st_size <= _HASHED
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if read else ""
        found[str(path)] = (state.st_mode, state.st_size, digest)
    return found
