"""The calls of the cases through three doors: the SDK, the command line and the App."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import fiftyone as fo
import fiftyone.core.collections as foc

import fiftyone_learnability as fol

from ..plugin.harness import through_browser
from .world import World

SDK, COMMAND, APP = "SDK", "command line", "App"
DOORS = (SDK, COMMAND, APP)

FAST: Mapping[str, Any] = {"epochs": 1, "batch_size": 16, "device": "cpu", "horizontal_flip": False}
"""Options for the shortest possible training."""

_FLAGS = {"overwrite": "--overwrite", "skip_failures": "--skip-failures"}


@dataclass(frozen=True)
class Operation:
    """A call of an operator.

    Attributes:
        name: the name of the operator
        params: the values of the form
        request: further entries of the browser's request
    """

    name: str
    params: Mapping[str, Any] = field(default_factory=dict)
    request: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """The same call through several doors; None for a door that does not have it.

    Attributes:
        sdk: calls the function
        command: returns the arguments of the command line
        app: returns the call of the operator
    """

    sdk: Callable[[World, Any], Any] | None = None
    command: Callable[[World, Any], Sequence[object]] | None = None
    app: Callable[[World, Any], Operation] | None = None

    @property
    def doors(self) -> tuple[str, ...]:
        """Return the doors that have the call."""
        ways = zip(DOORS, (self.sdk, self.command, self.app), strict=True)
        return tuple(door for door, way in ways if way is not None)


def compute(doors: Sequence[str] = DOORS, **options: Any) -> Call:
    """Compute learnability with some options, through the given doors."""
    given = {**FAST, **options}
    return Call(
        (lambda world, samples: _by_sdk(samples, given)) if SDK in doors else None,
        (lambda world, samples: _by_command(samples, given)) if COMMAND in doors else None,
        (lambda world, samples: _by_app(samples, given)) if APP in doors else None,
    )


def _by_sdk(samples: Any, options: Mapping[str, Any]) -> Any:
    return fol.compute_learnability(samples, progress=False, **options)


def _by_command(samples: foc.SampleCollection, options: Mapping[str, Any]) -> list[object]:
    dataset = samples._root_dataset
    arguments: list[object] = ["compute", dataset.name, "--quiet"]
    if samples is not dataset:
        dataset.save_view("hostile", samples)
        arguments += ["--view", "hostile"]
    for name, value in options.items():
        if name == "horizontal_flip":
            arguments += [] if value else ["--no-flip"]
        elif name in _FLAGS:
            arguments += [_FLAGS[name]] if value else []
        elif isinstance(value, list):
            arguments += [f"--{name.replace('_', '-')}", *value]
        else:
            # "=" allows a value that starts with a dash
            arguments.append(f"--{name.replace('_', '-')}={value}")
    return arguments


def _by_app(samples: foc.SampleCollection, options: Mapping[str, Any]) -> Operation:
    params = {**options, "preset": "custom", "how": "now", "advanced": True}
    return Operation("compute_learnability", params, of_view(samples))


def of_view(samples: foc.SampleCollection) -> dict[str, Any]:
    """Return what the browser sends about the view that the App shows."""
    if isinstance(samples, fo.Dataset):
        return {}
    return {"view": through_browser(samples._serialize()), "view_target": "CURRENT_VIEW"}
