"""Views that come from outside, checked before FiftyOne builds them.

FiftyOne imports whatever class a serialized stage names and calls it with what stands beside the name, so that a view
in a file or a request could run any program. And a stage may hold any command of MongoDB's, among them those that run
JavaScript on the server and those that write into other collections.
"""

from __future__ import annotations

from typing import Any

import fiftyone.core.stages as fos

_MODULE = "fiftyone.core.stages."
_MAKING = frozenset(
    f"{_MODULE}{name}"
    for name, stage in vars(fos).items()
    if isinstance(stage, type) and issubclass(stage, fos.ViewStage) and "load_view" in vars(stage)
)
"""Stages that make datasets of their own, such as frames of videos as image files, of which none is ever scored."""

_HARMFUL = frozenset({"$where", "$function", "$accumulator", "$out", "$merge"})


def check_stage_classes(stages: Any) -> None:
    """Checks that serialized stages, and those of views within them, are FiftyOne's own; nothing is imported.

    Args:
        stages: the stages, as ``view._serialize()`` gives them

    Raises:
        ValueError: if they are no stages, or of other classes
    """
    if not isinstance(stages, list):
        raise ValueError("the view is no list of stages")
    for stage in stages:
        if not isinstance(stage, dict) or not {"_cls", "kwargs"} <= stage.keys():
            raise ValueError("the view holds what is no stage")
    _check(stages)


def check_stages(stages: Any) -> None:
    """:func:`check_stage_classes`, and that no stage runs JavaScript in the database, writes to it, or makes files.

    Raises:
        ValueError: likewise
    """
    check_stage_classes(stages)
    _check(stages, _HARMFUL, _MAKING)


def _check(value: Any, operators: frozenset[str] = frozenset(), classes: frozenset[str] = frozenset()) -> None:
    """Checks that there are stages of FiftyOne's alone, and none of these operators and classes."""
    # not recursive, since it may be nested without end
    left = [value]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            name = value.get("_cls", "")
            # labels have classes too, whose names have no dot and are not imported
            if ("kwargs" in value or not isinstance(name, str) or "." in name) and not _is_stage(name):
                raise ValueError(f"the view has a stage of the class {name!r}, which is none of FiftyOne's")
            if name in classes:
                raise ValueError(f"the view has a stage {name.removeprefix(_MODULE)}, which makes samples and files")
            if found := operators.intersection(value):
                raise ValueError(f"the view has an operator {min(found)}, which is not run from a file")
            left += value.values()
        elif isinstance(value, (list, tuple)):
            left += value


def _is_stage(name: Any) -> bool:
    if not isinstance(name, str) or not name.startswith(_MODULE):
        return False
    found = vars(fos).get(name.removeprefix(_MODULE))
    return isinstance(found, type) and issubclass(found, fos.ViewStage)
