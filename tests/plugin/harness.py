"""Plays the browser for the plugin: events and forms in, and what comes back, over a real dataset and without an App.

What goes to the browser and back is put through JSON as JavaScript writes it, which has one kind of numbers: a stage
that was sent with 1.0 comes back with 1.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
from fiftyone.operators.executor import ExecutionContext, ExecutionResult, Executor
from fiftyone.operators.registry import OperatorRegistry

from fiftyone_learnability.dataset.internals import build_view, serialize_stages

PLUGIN = "@fiftyone-learnability/learnability"
PANEL = f"{PLUGIN}/learnability_panel"


def plugin_module(name: str) -> ModuleType:
    """Return a module of the plugin, such as "panel.figures", as FiftyOne has loaded it."""
    package = type(foo.get_operator(PANEL)).__module__.removesuffix(".panel.panel")
    return import_module(f"{package}.{name}")


def through_browser(value: Any) -> Any:
    """What JavaScript makes of a value on its way there and back."""

    def number(text: str) -> float:
        return int(float(text)) if float(text).is_integer() else float(text)

    return json.loads(json.dumps(value, default=str), parse_float=number)


@dataclass
class Answer:
    """What an event sent to the browser.

    Attributes:
        calls: the operators triggered, as (name, params)
        seconds: the time that the server took
        result: what the handler returned
    """

    calls: list[tuple[str, dict[str, Any]]]
    seconds: float
    result: Any = None

    def called(self, name: str) -> list[dict[str, Any]]:
        """The params of each call of an operator."""
        return [params for called, params in self.calls if called.rpartition("/")[2] == name]

    @property
    def drawn(self) -> list[str]:
        """The plots whose data were sent."""
        return [name for params in self.called("patch_panel_data") for name in params["data"]]

    @property
    def kilobytes(self) -> float:
        """The size of all that was sent."""
        return len(json.dumps(self.calls, default=str)) / 1000

    @property
    def layout(self) -> dict[str, Any]:
        """The schema that was rendered, without nested ones."""
        return self.called("show_panel_output")[-1]["output"]["type"]["properties"]

    def text(self) -> str:
        """All of the schema that was rendered."""
        return json.dumps(self.called("show_panel_output")[-1]["output"], ensure_ascii=False)


@dataclass
class PanelHarness:
    """The panel over a dataset, with what the browser keeps.

    Attributes:
        dataset: the dataset
        follow: whether the App's answer to a new view, two events ``on_change_view``, is played as well
        stages: the view that the App shows, serialized
        filters: the filters of the sidebar
        selected: the ids of the selected samples
        state: the panel's state
        data: the panel's data
        view_name: the saved view that the App shows
        active_fields: what the grid writes on each sample
    """

    dataset: fo.Dataset
    follow: bool = True
    stages: list[dict[str, Any]] = field(default_factory=list)
    filters: dict[str, Any] = field(default_factory=dict)
    selected: list[str] = field(default_factory=list)
    state: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    view_name: str | None = None
    active_fields: list[str] = field(default_factory=list)

    def event(self, method: str, **params: Any) -> Answer:
        """Plays one event; a view that it sets is shown, and the panel hears of that twice, as from the App."""
        answer = self._send(method, params)
        views = answer.called("set_view")
        if views:
            self.stages, self.view_name = through_browser(views[-1]["view"]), None
        if answer.called("clear_view"):
            self.stages, self.view_name = [], None
        if self.follow and (views or answer.called("clear_view")):
            for _ in range(2):
                echo = self._send("on_change_view", {})
                answer.calls += [call for call in echo.calls if not call[0].endswith("show_panel_output")]
        return answer

    def open(self) -> Answer:
        """Opens the panel."""
        return self.event("on_load")

    def choose(self, name: str, value: Any, method: str = "on_control") -> Answer:
        """Sets a control, such as "controls.first", as the browser does before its event."""
        place = self.state
        *parents, last = name.split(".")
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
        return self.event(method, value=value)

    def tab(self, name: str) -> Answer:
        """Opens a tab."""
        return self.choose("tab", name, "on_tab")

    def show(self, view: fo.DatasetView | None) -> Answer:
        """The user chooses a view."""
        self.stages = [] if view is None else through_browser(serialize_stages(view))
        return self.event("on_change_view")

    def select(self, *ids: str) -> Answer:
        """The user selects samples."""
        self.selected = list(ids)
        return self.event("on_change_selected")

    @property
    def view(self) -> fo.DatasetView:
        """The view that the App shows, without filters."""
        return build_view(self.dataset, self.stages)

    @property
    def ids(self) -> list[str]:
        """The ids of the samples in the grid, in order."""
        return self.view.values("id")

    def _send(self, method: str, params: dict[str, Any]) -> Answer:
        request = {
            "dataset_name": self.dataset.name,
            "view": self.stages,
            "filters": self.filters,
            "selected": self.selected,
            "active_fields": self.active_fields,
            "params": {"panel_id": "p1", "panel_state": self.state, "__method__": method, **params},
        }
        if self.view_name:
            request["view_name"] = self.view_name
        executor = Executor()
        panel = foo.get_operator(PANEL)
        start = time.perf_counter()
        ctx = ExecutionContext(request_params=through_browser(request), executor=executor, operator_uri=PANEL)
        result = panel.execute(ctx)
        answer = Answer([(r.operator_uri, r.params) for r in executor._requests], time.perf_counter() - start, result)
        # what is sent must be JSON
        answer.calls = [(name, json.loads(json.dumps(params or {}, default=_plain))) for name, params in answer.calls]
        self.state = through_browser(ctx.panel.state._data)
        self.data.update(ctx.panel.data._data)
        return answer


def _plain(value: Any) -> Any:
    if hasattr(value, "to_json"):
        return value.to_json()
    raise TypeError(f"{value!r} cannot be sent to the browser")


def make_context(
    uri: str, dataset: fo.Dataset, params: dict[str, Any] | None = None, **request: Any
) -> tuple[ExecutionContext, Executor]:
    """The context in which an operator runs, and what collects the operators that it triggers."""
    executor = Executor()
    request = through_browser({"dataset_name": dataset.name, "params": params or {}, **request})
    return ExecutionContext(request_params=request, executor=executor, operator_uri=f"{PLUGIN}/{uri}"), executor


def execute(uri: str, dataset: fo.Dataset, params: dict[str, Any] | None = None, **request: Any) -> Answer:
    """Executes an operator to its end, as the server does."""
    ctx, executor = make_context(uri, dataset, params, **request)
    start = time.perf_counter()
    result = foo.get_operator(ctx.operator_uri).execute(ctx)
    if hasattr(result, "__next__"):
        result = list(result)
    calls = [(r.operator_uri, r.params or {}) for r in executor._requests]
    return Answer(calls, time.perf_counter() - start, result)


def form(uri: str, dataset: fo.Dataset, params: dict[str, Any] | None = None, **request: Any) -> Form:
    """The form of an operator, resolved as the server does."""
    ctx, _ = make_context(uri, dataset, params, **request)
    registry = OperatorRegistry()
    resolve = foo.executor.resolve_type
    found = asyncio.run(resolve(registry, ctx.operator_uri, ctx.request_params))
    if isinstance(found, ExecutionResult):
        raise AssertionError(found.error)
    return Form(json.loads(json.dumps(found.to_json(), default=_plain)))


@dataclass
class Form:
    """A form that was resolved."""

    schema: dict[str, Any]

    @property
    def fields(self) -> dict[str, Any]:
        """The parts of the form by name."""
        return self.schema["type"]["properties"]

    @property
    def invalid(self) -> bool:
        """Whether it, or a part, cannot be submitted."""
        return bool(self.schema.get("invalid")) or any(part.get("invalid") for part in self.fields.values())

    @property
    def defaults(self) -> dict[str, Any]:
        """What the browser sends when nothing is changed."""
        return {name: part["default"] for name, part in self.fields.items() if part.get("default") is not None}

    def choices(self, name: str) -> list[str]:
        """What a part lets choose from."""
        return [choice["value"] for choice in self.fields[name]["view"]["choices"]]

    @property
    def said(self) -> str:
        """What it says to people, in lines: errors, labels and descriptions."""
        found: list[str] = []

        def look(part: Any) -> None:
            for name, value in part.items() if isinstance(part, dict) else enumerate(part):
                if isinstance(value, (dict, list)):
                    look(value)
                elif isinstance(value, str) and name in ("error_message", "label", "description"):
                    found.append(value)

        look(self.schema)
        return "\n".join(found)

    @property
    def text(self) -> str:
        """All of the form."""
        return json.dumps(self.schema, ensure_ascii=False)
