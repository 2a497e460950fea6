"""Checks serialized views from files and requests before FiftyOne builds them.

Building a view is dangerous: FiftyOne imports the class that a stage names and calls it with the arguments beside the
name, so a view could run any program. And a stage may hold any MongoDB operator, among them those that run JavaScript
on the server and those that write to other collections.
"""

from __future__ import annotations

from typing import Any

import fiftyone.core.stages as fos

_MODULE = "fiftyone.core.stages."
_GENERATING = frozenset(
    f"{_MODULE}{name}"
    for name, stage in vars(fos).items()
    if isinstance(stage, type) and issubclass(stage, fos.ViewStage) and "load_view" in vars(stage)
)
"""Stages that generate datasets of their own, such as the frames of videos as image files; these are never scored."""

_HARMFUL = frozenset({"$where", "$function", "$accumulator", "$out", "$merge"})


def check_stage_classes(stages: Any) -> None:
    """Check that serialized stages, and those of views within them, are FiftyOne's own; nothing is imported.

    Args:
        stages: the stages, as :func:`fiftyone_learnability.dataset.internals.serialize_stages` returns them

    Raises:
        ValueError: if they are not stages, or of other classes
    """
    if not isinstance(stages, list):
        raise ValueError("the view is not a list of stages")
    for stage in stages:
        if not isinstance(stage, dict) or not {"_cls", "kwargs"} <= stage.keys():
            raise ValueError("the view holds something that is not a stage")
    _check(stages)


def check_stages(stages: Any) -> None:
    """Like :func:`check_stage_classes`; stages must not run JavaScript, write to the database or generate files either.

    Raises:
        ValueError: if they are not stages, of other classes, or harmful
    """
    check_stage_classes(stages)
    _check(stages, _HARMFUL, _GENERATING)


def _check(value: Any, operators: frozenset[str] = frozenset(), stage_classes: frozenset[str] = frozenset()) -> None:
    """Check that a value contains only FiftyOne's stages, and none of these operators and stages."""
    # a loop, not a recursion: the nesting may be arbitrarily deep
    pending = [value]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            name = value.get("_cls", "")
            # labels have a "_cls" too, without a dot, which is not imported
            if ("kwargs" in value or not isinstance(name, str) or "." in name) and not _is_stage(name):
                raise ValueError(f"the view has a stage of the class {name!r}, which is not one of FiftyOne's")
            if name in stage_classes:
                raise ValueError(f"the view has a stage {name.removeprefix(_MODULE)}, which generates samples or files")
            if found := operators.intersection(value):
                raise ValueError(f"the view has the operator {min(found)}, which is not allowed in a file")
            pending += value.values()
        elif isinstance(value, (list, tuple)):
            pending += value


def _is_stage(name: Any) -> bool:
    if not isinstance(name, str) or not name.startswith(_MODULE):
        return False
    stage = vars(fos).get(name.removeprefix(_MODULE))
    return isinstance(stage, type) and issubclass(stage, fos.ViewStage)
