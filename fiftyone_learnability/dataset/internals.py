"""FiftyOne's private names. Only this module uses them, so a new FiftyOne release can break only this module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import fiftyone as fo
import fiftyone.core.collections as foc
import fiftyone.core.odm as odm
import fiftyone.core.stages as fos
import fiftyone.core.view as fov
from bson import ObjectId
from pymongo.collection import Collection

if TYPE_CHECKING:
    import fiftyone.operators as foo

# --- datasets and views


def root_dataset(samples: foc.SampleCollection) -> fo.Dataset:
    """Return the dataset that a collection belongs to; for patches or frames, the dataset they were made from."""
    return samples._root_dataset


def parent_dataset(samples: foc.SampleCollection) -> fo.Dataset:
    """Return the dataset that holds the samples of a collection; for patches or frames, their temporary dataset."""
    return samples._dataset


def is_generated(samples: foc.SampleCollection) -> bool:
    """True for patches, clips or frames, whose samples exist only in the view."""
    return samples._is_generated


def stages_of(view: fov.DatasetView) -> list[fos.ViewStage]:
    """Return all stages of a view."""
    return view._all_stages


def serialize_stages(view: fov.DatasetView) -> list[dict[str, Any]]:
    """Return the stages of a view as values that JSON can hold."""
    return view._serialize()


def build_view(dataset: fo.Dataset, stages: list[dict[str, Any]]) -> fov.DatasetView:
    """Build a view from serialized stages, which must be trusted or checked: building one imports what it names."""
    return fov.DatasetView._build(dataset, stages)


def build_app_view(
    dataset: fo.Dataset, stages: list[dict[str, Any]] | None, filters: dict[str, Any] | None
) -> foc.SampleCollection:
    """Build the view that the App shows for serialized stages and the filters of its sidebar."""
    # loads the App's server, which the package itself does not need
    import fiftyone.server.view as fosv

    return fosv.get_view(dataset, stages=stages or None, filters=filters or None)


def unshared_dataset(name: str) -> fo.Dataset:
    """Load a dataset as an object of its own, while ``fo.load_dataset`` returns one object to all threads."""
    dataset = fo.Dataset.__new__(fo.Dataset)
    fo.Dataset.__init__(dataset, name=name, _create=False)
    return dataset


# --- the database behind them


def get_database() -> Any:
    """Return FiftyOne's MongoDB database, a ``pymongo.database.Database``."""
    return odm.get_db_conn()


def dataset_id(dataset: fo.Dataset) -> ObjectId:
    """Return the id of a dataset, which survives renaming."""
    return dataset._doc.id


def sample_collection(dataset: fo.Dataset) -> Collection:
    """Return the MongoDB collection of a dataset's samples."""
    return dataset._sample_collection


def pipeline_of(samples: foc.SampleCollection) -> list[dict[str, Any]]:
    """Return the aggregation over :func:`sample_collection` of the parent dataset that selects a collection."""
    return samples._pipeline()


def run_ids(dataset: fo.Dataset) -> dict[str, ObjectId]:
    """Return the ids of a dataset's runs by key, as this process knows them."""
    return {key: run.id for key, run in dataset._doc.runs.items()}


def is_outdated(dataset: fo.Dataset, entry: str) -> bool:
    """Return whether another process has changed a dataset's runs, its fields, or an entry of the fields' infos.

    Args:
        dataset: the dataset, which this process may have loaded long ago
        entry: the entry of ``field.info``

    Raises:
        ValueError: if the dataset was deleted
    """
    query = {"runs": 1, "sample_fields.name": 1, "sample_fields.read_only": 1, f"sample_fields.info.{entry}": 1}
    stored = get_database().datasets.find_one({"_id": dataset_id(dataset)}, query)
    if stored is None:
        raise ValueError(f"the dataset {dataset.name!r} was deleted")
    fields = {
        field["name"]: (bool(field.get("read_only")), (field.get("info") or {}).get(entry))
        for field in stored.get("sample_fields", [])
    }
    present = {
        field.name: (bool(field.read_only), (field.info or {}).get(entry)) for field in dataset._doc.sample_fields
    }
    runs = {key: getattr(run, "id", None) for key, run in dataset._doc.runs.items()}
    return fields != present or stored.get("runs", {}) != runs


def run_settings(dataset: fo.Dataset, method: str) -> dict[str, dict[str, Any]]:
    """Return the settings of a dataset's runs of a method by key, as this process knows them."""
    # a run whose document was deleted is only a reference, without settings
    settings = {key: getattr(run, "config", {}) for key, run in dataset._doc.runs.items()}
    return {key: config for key, config in settings.items() if config.get("method") == method}


def set_field_metadata(dataset: fo.Dataset, metadata: Mapping[str, tuple[str | None, dict[str, Any] | None]]) -> None:
    """Set description and info of several fields in one update of the dataset's document."""
    document = dataset._sample_doc_cls
    document._reload_fields()
    for name, (description, info) in metadata.items():
        document._update_field_metadata(name, {"description": description, "info": info})
    dataset._doc.save()


def reload_samples(dataset: fo.Dataset) -> None:
    """Reload the sample objects of a dataset that this process holds."""
    fo.Sample._reload_docs(dataset._sample_collection_name)


# --- operators


def serialize_request(ctx: foo.ExecutionContext) -> dict[str, Any]:
    """Return the request that an operator's context was made from, in values that JSON can hold."""
    return ctx._get_serialized_request_params()


def set_dataset(ctx: foo.ExecutionContext, dataset: fo.Dataset) -> None:
    """Make an operator's context use a dataset object; its view is built from it when next asked for."""
    ctx._dataset, ctx._view = dataset, None
