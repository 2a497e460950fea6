"""Runs of learnability as FiftyOne knows them: listed, loaded, renamed and deleted together with their fields.

FiftyOne finds these classes by their names, which it keeps in the database: ``LearnabilityRunConfig`` pairs with
``LearnabilityRun`` by dropping "Config". Moving or renaming them would orphan the runs of existing datasets.
"""

from __future__ import annotations

import base64
import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import fiftyone as fo
import fiftyone.core.collections as foc
import fiftyone.core.runs as fors

from ..experiment.results import ModelResults
from ..scores.checks import LONGEST_NAME, short_repr
from .appearance import tidy_app
from .internals import root_dataset
from .notes import fields_of_run, set_run

METHOD = "learnability"
"""The method under which runs are registered: ``dataset.list_runs(method="learnability")``."""


_PACKERS = 2
"""How many networks' results are compressed at a time: each takes memory."""


_PIECE = 2**20
"""The characters of base64 that are decoded at a time, a multiple of four."""


class LearnabilityRunConfig(fors.RunConfig):
    """The settings of a run.

    Args:
        models: the names of the networks
        label_field: the field of the labels
        **settings: whatever else describes the run, in values that JSON holds
    """

    def __init__(self, models: list[str] | None = None, label_field: str | None = None, **settings: Any) -> None:
        settings.setdefault("method", METHOD)
        super().__init__(models=list(models or []), label_field=label_field, **settings)
        self.models: list[str]


class LearnabilityRun(fors.Run):
    """A run of learnability: owns the fields whose info names its key."""

    config: LearnabilityRunConfig

    def get_fields(self, samples: foc.SampleCollection, key: str) -> list[str]:
        """The fields of the run that are on the dataset."""
        return fields_of_run(root_dataset(samples), key)

    def rename(self, samples: foc.SampleCollection, key: str, new_key: str) -> None:
        """Notes the new key in the fields' info."""
        dataset = root_dataset(samples)
        for name in self.get_fields(samples, key):
            set_run(dataset.get_field(name), new_key)

    def cleanup(self, samples: foc.SampleCollection, key: str) -> None:
        """Deletes the fields of the run, with their indexes."""
        fields = self.get_fields(samples, key)
        if fields:
            root_dataset(samples).delete_sample_fields(fields)
        tidy_app(root_dataset(samples))


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
            ValueError: if the database holds something else for them
        """
        return {model: ModelResults.from_npz(io.BytesIO(archive)) for model, archive in unpacked(self.archives).items()}


def unpacked(archives: Any) -> dict[str, bytes]:
    """The npz file of each network, of the archives that a run keeps in the database.

    Raises:
        ValueError: if they are something else
    """
    try:
        return {str(model): _from_base64(archive) for model, archive in archives.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"the results of the run are damaged: {error}") from error


def _from_base64(text: str) -> bytes:
    # in pieces, between which Python's lock changes hands: the App's events are not to wait for a hundred megabytes
    pieces = [text[start : start + _PIECE] for start in range(0, len(text), _PIECE)]
    return b"".join([base64.b64decode(piece, validate=True) for piece in pieces])


def register(
    samples: foc.SampleCollection, key: str, config: LearnabilityRunConfig, results: dict[str, ModelResults]
) -> None:
    """Registers a run with its results on the dataset of a collection.

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
    samples.register_run(key, config)
    samples.save_run_results(key, LearnabilityRunResults(samples, config, key, archives=archives), cache=False)


def list_runs(dataset: fo.Dataset) -> list[str]:
    """The keys of the learnability runs of a dataset."""
    return dataset.list_runs(method=METHOD)


def id_of_run(dataset: fo.Dataset, key: str) -> str | None:
    """Return the unique id of a registered run, None if there is no run of this key or it has no id."""
    if key not in list_runs(dataset):
        return None
    return getattr(dataset.get_run_info(key).config, "run_id", None)


def check_identifier(key: str) -> None:
    """Checks that a key can name a run.

    Raises:
        ValueError: if it cannot
    """
    if not isinstance(key, str) or not key.isidentifier():
        raise ValueError(
            f"the run key {short_repr(key)} must be an identifier: letters, digits, underscores, no digit first"
        )
    # it names a folder, too
    if len(key.encode()) > LONGEST_NAME:
        raise ValueError(f"the run key {short_repr(key)} is too long: {LONGEST_NAME} characters are the most")
