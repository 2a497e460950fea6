"""Tells whether the samples of a dataset have changed."""

from __future__ import annotations

from datetime import datetime

import fiftyone as fo

from fiftyone_learnability.dataset.internals import sample_collection
from fiftyone_learnability.dataset.journal import in_utc


def last_change(dataset: fo.Dataset) -> tuple[datetime | None, int]:
    """Return when a sample was changed last, None without samples, and the number of samples.

    This is fast: it uses an index.
    """
    samples = sample_collection(dataset)
    newest_first = [("last_modified_at", -1)]
    sample = samples.find_one({}, {"last_modified_at": 1, "_id": 0}, sort=newest_first) or {}
    newest = sample.get("last_modified_at")
    return in_utc(newest) if isinstance(newest, datetime) else None, samples.estimated_document_count()
