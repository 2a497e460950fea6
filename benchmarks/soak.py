"""Whether anything grows when one process makes run after run, and how the App's server answers while a job trains.

    python -m benchmarks.soak [--rounds 50] [--skip-app]

Each round trains the tiniest of networks, does with the scores what people do (replaces, tags, compares, exports
and imports them; breaks a training off and goes on with it) and deletes the runs. Then it prints what the process and
the database held after ten rounds and after the last. The second part serves the App, starts a background training over
the App's own address, and times requests before and while it trains.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

if TYPE_CHECKING:
    import fiftyone as fo
    from torch import nn

ROOT = Path(__file__).resolve().parent.parent
WARM_UP = 10
PLUGIN = "@fiftyone-learnability/learnability"


def tiny(num_classes: int, in_channels: int) -> nn.Module:
    """A linear network on 4x4 means, which trains in milliseconds."""
    from torch import nn

    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * in_channels, num_classes))


@dataclass(frozen=True)
class Usage:
    """What a process and its database hold at one moment.

    Attributes:
        megabytes: memory that is this process's alone
        objects: objects that Python's garbage collector knows
        open_files: file descriptors, sockets among them
        threads: threads
        children: processes that it has started and that still run, or wait to be looked after
        temporary_files: what lies in the folder of temporary files
        cached_files: what lies in the user's cache
        collections: collections of the database
        stored_files: files that the database keeps, such as the results of runs
        stored_chunks: the parts that these are in
        run_documents: documents of runs, of all datasets
        runs: the runs that the dataset lists
        fields: the fields of the dataset
        indexes: its indexes
        saved_views: its saved views
        workspaces: its workspaces
        tags: the tags of its samples
        attributes: what else the dataset keeps in its info and its App's settings, in characters
    """

    megabytes: float
    objects: int
    open_files: int
    threads: int
    children: int
    temporary_files: int
    cached_files: int
    collections: int
    stored_files: int
    stored_chunks: int
    run_documents: int
    runs: int
    fields: int
    indexes: int
    saved_views: int
    workspaces: int
    tags: int
    attributes: int


NOISY = ("megabytes", "objects")
"""What differs from one moment to the next although nothing grows; all else has to be the same."""


def measure(dataset: fo.Dataset) -> Usage:
    """Looks at this process and at the database, past what the dataset object remembers."""
    import fiftyone.core.odm as foo

    gc.collect()
    process, database = psutil.Process(), foo.get_db_conn()
    document = database.datasets.find_one({"_id": dataset._doc.id})
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fiftyone-learnability"
    return Usage(
        megabytes=process.memory_full_info().uss / 2**20,
        objects=len(gc.get_objects()),
        open_files=process.num_fds() if hasattr(process, "num_fds") else process.num_handles(),
        threads=process.num_threads(),
        children=len(process.children(recursive=True)),
        temporary_files=sum(1 for _ in Path(tempfile.gettempdir()).rglob("*")),
        cached_files=sum(1 for _ in cache.rglob("*")),
        collections=len(database.list_collection_names()),
        stored_files=database["fs.files"].count_documents({}),
        stored_chunks=database["fs.chunks"].count_documents({}),
        run_documents=database.runs.count_documents({}),
        runs=len(document.get("runs") or {}),
        fields=len(document["sample_fields"]),
        indexes=len(database[document["sample_collection_name"]].index_information()),
        saved_views=database.views.count_documents({"_dataset_id": document["_id"]}),
        workspaces=database.workspaces.count_documents({"_dataset_id": document["_id"]}),
        tags=len(database[document["sample_collection_name"]].distinct("tags")),
        attributes=len(json.dumps([document.get("info"), document.get("app_config")], default=str)),
    )


def learn(samples: Any, *models: str, **options: Any) -> None:
    """One epoch of tiny networks of these names."""
    import fiftyone_learnability as fol

    fol.compute_learnability(
        samples,
        models=dict.fromkeys(models, tiny),
        **{"epochs": 1, "batch_size": 32, "device": "cpu", "progress": False, **options},
    )


class _StopError(Exception):
    """Breaks a training off."""


def replace_scores(dataset: fo.Dataset) -> None:
    """The same networks once more, over what they have written, and under another key."""
    import fiftyone_learnability as fol

    learn(dataset, "a")
    learn(dataset, "a", overwrite=True)
    learn(dataset, "a", overwrite=True, key="other", scores="all", runs=2)
    fol.rename_run(dataset, "other", "another")


def compare_and_tag(dataset: fo.Dataset) -> None:
    """Two networks, their consensus, suggested labels, tags and a subset."""
    import fiftyone_learnability as fol

    learn(dataset, "a", "b")
    fol.compare_models(dataset)
    fol.add_scores(dataset, ["hits", "aum"])
    fol.write_consensus(dataset)
    fol.suggest_label_fixes(dataset)
    fol.tag_by_difficulty(dataset, "a", count=5)
    fol.select_subset(dataset, 0.5, tag="half")
    dataset.untag_samples(["hard", "half"])


def export_and_import(dataset: fo.Dataset) -> None:
    """A part of the dataset, its scores into a file and back under another name."""
    import fiftyone_learnability as fol

    learn(dataset.limit(40), "a", record_dynamics=False)
    with tempfile.TemporaryDirectory() as folder:
        for ending in ("csv", "npz"):
            fol.export_scores(dataset, Path(folder) / f"scores.{ending}")
            fol.import_scores(dataset, Path(folder) / f"scores.{ending}", overwrite=True)


def break_off(dataset: fo.Dataset) -> None:
    """A training that is broken off, and gone on with; another that is given up; and one that is refused."""

    def stop(event: Any) -> None:
        if event.stage == "training" and event.fraction > 0.4:
            raise _StopError

    for resume in (True, False):
        with suppress(_StopError):
            learn(dataset, "a", epochs=3, overwrite=True, progress=stop)
        learn(dataset, "a", epochs=3, resume=resume, overwrite=True)
    with suppress(ValueError):
        learn(dataset, "a")


ROUNDS: tuple[Callable[[Any], None], ...] = (
    lambda dataset: learn(dataset, "a"),
    replace_scores,
    compare_and_tag,
    export_and_import,
    break_off,
)
"""What the rounds do, in turn."""


def soak(dataset: fo.Dataset, rounds: int, warm_up: int = WARM_UP) -> tuple[Usage, Usage]:
    """Makes runs and deletes them.

    Args:
        dataset: a dataset of at least 60 images with labels in ``ground_truth``
        rounds: how often
        warm_up (10): the rounds before the first look: what is loaded and remembered once is no growth

    Returns:
        what was held after the warm-up, and in the end
    """
    import fiftyone_learnability as fol

    before = None
    for number in range(rounds):
        if number == warm_up:
            before = measure(dataset)
        ROUNDS[number % len(ROUNDS)](dataset)
        for key in fol.list_runs(dataset):
            fol.delete_run(dataset, key)
    assert before is not None, "there are no more rounds than those to warm up"
    return before, measure(dataset)


def grown(before: Usage, after: Usage) -> dict[str, float]:
    """By how much each thing has grown or shrunk."""
    return {name: value - getattr(before, name) for name, value in asdict(after).items()}
