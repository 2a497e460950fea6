"""Helpers of the operators' tests."""

from __future__ import annotations

from typing import Any

import fiftyone as fo

from fiftyone_learnability.dataset.internals import build_view, serialize_stages

from ..harness import Answer, through_browser


def shown_ids(answer: Answer, dataset: fo.Dataset) -> list[str]:
    """The ids of the samples in the view that an operator set, in order."""
    (call,) = answer.called("set_view")
    return build_view(dataset, through_browser(call["view"])).values("id")


def in_view(view: fo.DatasetView) -> dict[str, Any]:
    """The request of a user who works on a view."""
    return {"view": through_browser(serialize_stages(view)), "view_target": "CURRENT_VIEW"}


def learnability_fields(dataset: fo.Dataset) -> set[str]:
    """The fields of scores in the database."""
    dataset.reload()
    return {name for name in dataset.get_field_schema() if name.startswith("learnability")}
