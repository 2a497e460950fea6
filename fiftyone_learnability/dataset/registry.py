"""Runs of learnability as FiftyOne stores them.

FiftyOne keeps the names of these classes in the database and imports them from there; ``LearnabilityRunConfig`` pairs
with ``LearnabilityRun`` by dropping "Config". Moving or renaming them would orphan the runs of existing datasets.
"""

from __future__ import annotations

import base64
import io
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import fiftyone as fo
import fiftyone.core.collections as foc
import fiftyone.core.runs as fors

from ..experiment.results import ModelResults
from ..scores.checks import LONGEST_NAME, short_repr
from .appearance import tidy_app
from .internals import root_dataset, run_settings
from .notes import METHOD, fields_of_run, note_of, owning_run, rank_field, refresh, score_field, set_run

PIECE = 2**20
"""Characters of base64 decoded at a time, a multiple of four."""

_reading = threading.Lock()

_PACKERS = 2
"""Networks whose results are compressed at the same time; each takes memory."""


class LearnabilityRunConfig(fors.RunConfig):
    """The settings of a run.

    Args:
        models: the names of the networks
        label_field: the field of the labels
        **settings: further settings, in values that JSON can hold
    """

    def __init__(self, models: list[str] | None = None, label_field: str | None = None, **settings: Any) -> None:
        settings.setdefault("method", METHOD)
        super().__init__(models=list(models or []), label_field=label_field, **settings)
        self.models: list[str]


class LearnabilityRun(fors.Run):
    """A run of learnability. It owns the fields whose notes have its id, see :mod:`.notes`."""

    config: LearnabilityRunConfig

    def get_fields(self, samples: foc.SampleCollection, key: str) -> list[str]:
        """Return the fields of the run."""
        return fields_of_run(root_dataset(samples), key)

    def rename(self, samples: foc.SampleCollection, key: str, new_key: str) -> None:
        """Write the new key into the notes of the fields."""
        set_run(root_dataset(samples), self.get_fields(samples, key), new_key)

    def cleanup(self, samples: foc.SampleCollection, key: str) -> None:
        """Delete the fields of the run with their indexes."""
        dataset = root_dataset(samples)
        if fields := self.get_fields(samples, key):
            dataset.delete_sample_fields(fields)
        tidy_app(dataset)


class LearnabilityRunResults(fors.RunResults):
    """The results of a run, as ``dataset.load_run_results(key)`` returns them.

    Args:
        samples: the samples of the run
        config: the settings of the run
        key: the key of the run
        backend (None): the run
        archives: the npz file of each network's results, in base64
    """

    def __init__(
        self,
        samples: foc.SampleCollection,
        config: LearnabilityRunConfig,
        key: str,
        backend: LearnabilityRun | None = None,
        archives: dict[str, str] | None = None,
    ) -> None:
        super().__init__(samples, config, key, backend=backend)
        self.archives = archives or {}

    @property
    def models(self) -> dict[str, ModelResults]:
        """The results of each network: scores, ranks, ids and learning curves.

        Raises:
            ValueError: if what the database holds cannot be read
        """
        return {model: ModelResults.from_npz(io.BytesIO(archive)) for model, archive in unpacked(self.archives).items()}


def read_results(dataset: fo.Dataset, key: str) -> LearnabilityRunResults | None:
    """Read the results of a run from the database, None if it has none.

    Args:
        dataset: the dataset
        key: the key of the run
    """
    # a dataset object reads a run's results from one stream, which threads that read at once would take from each other
    with _reading:
        return dataset.load_run_results(key, cache=False, load_view=False)


def unpacked(archives: Any) -> dict[str, bytes]:
    """Decode the npz file of each network, from the archives that a run keeps in the database.

    Raises:
        ValueError: if they cannot be decoded
    """
    try:
        return {str(model): _from_base64(archive) for model, archive in archives.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"the results of the run are damaged: {error}") from error


def _from_base64(text: str) -> bytes:
    # in pieces, because decoding holds Python's lock: a hundred megabytes at once would block the App's events
    pieces = [text[start : start + PIECE] for start in range(0, len(text), PIECE)]
    return b"".join([base64.b64decode(piece, validate=True) for piece in pieces])


def register(
    samples: foc.SampleCollection, key: str, config: LearnabilityRunConfig, results: dict[str, ModelResults]
) -> None:
    """Register a run with its results on the dataset of a collection.

    Args:
        samples: the collection that was scored
        key: the key, not yet taken
        config: the settings
        results: the results by network
    """

    def pack(result: ModelResults) -> str:
        return base64.b64encode(result.to_bytes()).decode()

    with ThreadPoolExecutor(_PACKERS) as packers:
        archives = dict(zip(results, packers.map(pack, results.values()), strict=True))
    # so that nobody has to load the results to learn which scores they have
    config.measured = {model: list(result.scores) for model, result in results.items()}
    samples.register_run(key, config)
    samples.save_run_results(key, LearnabilityRunResults(samples, config, key, archives=archives), cache=False)


def list_runs(dataset: fo.Dataset) -> list[str]:
    """Return the keys of the learnability runs of a dataset, also of those that other processes have written."""
    refresh(dataset)
    return dataset.list_runs(method=METHOD)


def id_of_run(dataset: fo.Dataset, key: str) -> str | None:
    """Return the unique id of a registered run, None if there is no run of this key or it has no id."""
    if key not in list_runs(dataset):
        return None
    return getattr(dataset.get_run_info(key).config, "run_id", None)


def find_run(dataset: fo.Dataset, model: str) -> str | None:
    """Return the key of the run that measured a network, None if the dataset does not have it.

    It is the run that owns the network's fields; where these were deleted or renamed, the latest run of the network.
    """
    for name in (score_field(model), rank_field(model)):
        if note_of(dataset.get_field(name)).model == model:
            return owning_run(dataset, name)
    runs = list_runs(dataset)
    settings = run_settings(dataset, METHOD)
    keys = [key for key in runs if model in (settings[key].get("models") or ())]
    return max(keys, key=lambda key: dataset.get_run_info(key).timestamp, default=None)


def describe_no_run(dataset: fo.Dataset, model: str) -> str:
    """Say that a dataset has scores of a network but not the run that measured them."""
    return (
        f"the dataset {dataset.name!r} has scores of {model!r} but not their run, as after deleting the run, cloning a "
        "view or adding samples of another dataset: use the dataset that has the run, or compute the scores again"
    )


def check_identifier(key: str) -> None:
    """Check that a key can name a run.

    Raises:
        ValueError: if it cannot
    """
    if not isinstance(key, str) or not key.isidentifier():
        raise ValueError(
            f"the run key {short_repr(key)} must be an identifier: letters, digits, underscores, no digit first"
        )
    # the key is also the name of a folder
    if len(key.encode()) > LONGEST_NAME:
        raise ValueError(f"the run key {short_repr(key)} is too long: {LONGEST_NAME} characters are the most")
