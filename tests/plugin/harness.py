"""Plays the browser for the plugin: sends events and forms over a real dataset, without an App, and keeps the answers.

Everything passes through JSON as JavaScript writes it. JavaScript has one kind of numbers, so a stage that was sent
with 1.0 comes back with 1.
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
from bson import ObjectId
from fiftyone.operators.executor import ExecutionContext, ExecutionResult, Executor
from fiftyone.operators.registry import OperatorRegistry

from fiftyone_learnability.dataset.internals import build_view, serialize_stages
from fiftyone_learnability.scores.catalog import SCORES

PLUGIN = "@fiftyone-learnability/learnability"
PANEL = f"{PLUGIN}/learnability_panel"
SAMPLE_PANEL = f"{PLUGIN}/learnability_sample"


def plugin_module(name: str) -> ModuleType:
    """Return a module of the plugin, such as "panel.figures", as FiftyOne has loaded it."""
    package = type(foo.get_operator(PANEL)).__module__.removesuffix(".panel.panel")
    return import_module(f"{package}.{name}")


def through_browser(value: Any) -> Any:
    """Return a value after its way to the browser and back."""

    def number(text: str) -> float:
        return int(float(text)) if float(text).is_integer() else float(text)

    return json.loads(json.dumps(value, default=str), parse_float=number)


@dataclass
class Answer:
    """The answer of the server to an event.

    Attributes:
        calls: the operators that the server triggered in the browser, as (name, params)
        seconds: how long the server took
        result: the return value of the handler
        drawn: the names of the plots that differ from those that the panel showed before
    """

    calls: list[tuple[str, dict[str, Any]]]
    seconds: float
    result: Any = None
    drawn: list[str] = field(default_factory=list)

    def called(self, name: str) -> list[dict[str, Any]]:
        """Return the params of each call of an operator."""
        return [params for uri, params in self.calls if uri.rpartition("/")[2] == name]

    @property
    def kilobytes(self) -> float:
        """The size of all messages."""
        return len(json.dumps(self.calls, default=str)) / 1000

    @property
    def output(self) -> dict[str, Any] | None:
        """The schema that was rendered, None if nothing was."""
        outputs = self.called("show_panel_output")
        return outputs[-1]["output"] if outputs else None

    @property
    def layout(self) -> dict[str, Any]:
        """The components that were rendered, by name, also those inside others; without the lists of a badge."""
        assert self.output is not None, "nothing was rendered"
        found: dict[str, Any] = {}

        def collect(properties: dict[str, Any]) -> None:
            for name, component in properties.items():
                badge = component["view"]["name"] == "PillBadgeView"
                found[name.rpartition("_")[0] if badge else name] = component
                collect(component["type"].get("properties", {}))

        collect(self.output["type"]["properties"])
        return found

    @property
    def plots(self) -> dict[str, list[dict[str, Any]]]:
        """The traces of the plots that were rendered, by name."""
        views = {name: component["view"] for name, component in self.layout.items()}
        return {name.removesuffix("_plot"): view["data"] for name, view in views.items() if "data" in view}

    def text(self) -> str:
        """Return the whole schema that was rendered."""
        return json.dumps(self.output, ensure_ascii=False)


@dataclass
class PanelHarness:
    """The panel of a dataset, as a browser shows it.

    Attributes:
        dataset: the dataset
        follow: True plays the App's reaction to a new view, two events ``on_change_view``, too
        stages: the view that the App shows, serialized
        filters: the filters of the sidebar
        selected: the ids of the selected samples
        state: the panel's state, which the panel must not change
        view_name: the saved view that the App shows
        active_fields: the fields that the grid shows on each sample
        id: the panel's id
        shown: the last answer that rendered the panel
        uri: the panel's operator
        current_sample: the sample in the modal
    """

    dataset: fo.Dataset
    follow: bool = True
    stages: list[dict[str, Any]] = field(default_factory=list)
    filters: dict[str, Any] = field(default_factory=dict)
    selected: list[str] = field(default_factory=list)
    state: Any = field(default_factory=dict)
    view_name: str | None = None
    active_fields: list[str] = field(default_factory=list)
    id: str = field(default_factory=lambda: str(ObjectId()))
    shown: Answer | None = None
    uri: str = PANEL
    current_sample: str | None = None

    def event(self, method: str, **params: Any) -> Answer:
        """Play one event. If it sets a view, the App shows it, and forgets the filters of the sidebar."""
        answer = self._send(method, params)
        views = answer.called("set_view")
        if views or answer.called("clear_view"):
            call = views[-1] if views else {}
            self.stages, self.view_name = through_browser(call.get("view", [])), call.get("name")
            self.filters = {}
            if self.view_name:
                self.stages = through_browser(serialize_stages(self.dataset.load_saved_view(self.view_name)))
            for _ in range(2 if self.follow else 0):
                answer.drawn += self._send("on_change_view", {}).drawn
        return answer

    def open_sample(self, id: str) -> Answer:
        """Open a sample in the modal, or go to it there."""
        self.current_sample = id
        return self.event("on_change_current_sample", value=id)

    def open(self) -> Answer:
        """Open the panel."""
        return self.event("on_load")

    def choose(self, name: str, value: str) -> Answer:
        """Choose an option of a badge, such as "first", by its value."""
        if name == "order":
            return self.event("on_order", order=value)
        text = plugin_module("names").network_label(value) if name in ("first", "second") else SCORES[value].title
        return self.event(f"on_{name}", value=text)

    @property
    def chosen(self) -> dict[str, str]:
        """What the badges show."""
        return {
            name: options[0] for name in ("first", "quantity", "second", "against") if (options := self.options(name))
        }

    def options(self, name: str) -> list[str]:
        """What a badge offers; empty if it is not there."""
        component = self.layout.get(name)
        text = [] if component is None else component["view"]["text"]
        return [text] if isinstance(text, str) else list(text)

    def tab(self, name: str) -> Answer:
        """Open a tab."""
        return self.event("on_tab", tab=name)

    def tick(self) -> Answer:
        """Play the event of the panel's timer."""
        (timer,) = [part["view"] for name, part in self.layout.items() if name.startswith("timer_")]
        return self.event("on_timer", **timer["params"])

    def show(self, view: fo.DatasetView | None) -> Answer:
        """Choose a view, as the user does."""
        self.stages, self.view_name = [] if view is None else through_browser(serialize_stages(view)), None
        return self.event("on_change_view")

    def select(self, *ids: str) -> Answer:
        """Select samples, as the user does."""
        self.selected = list(ids)
        return self.event("on_change_selected")

    @property
    def layout(self) -> dict[str, Any]:
        """The components that the panel shows, by name."""
        assert self.shown is not None, "the panel is not open"
        return self.shown.layout

    @property
    def data(self) -> dict[str, list[dict[str, Any]]]:
        """The traces of the plots that the panel shows, by name."""
        return {} if self.shown is None else self.shown.plots

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
            "current_sample": self.current_sample,
            "params": {"panel_id": self.id, "panel_state": self.state, "__method__": method, **params},
        }
        if self.view_name:
            request["view_name"] = self.view_name
        executor = Executor()
        panel = foo.get_operator(self.uri)
        start = time.perf_counter()
        ctx = ExecutionContext(request_params=through_browser(request), executor=executor, operator_uri=self.uri)
        result = panel.execute(ctx)
        answer = Answer([(r.operator_uri, r.params) for r in executor._requests], time.perf_counter() - start, result)
        # every message must be JSON
        answer.calls = [(name, json.loads(json.dumps(params or {}, default=_plain))) for name, params in answer.calls]
        written = [name for name, _ in answer.calls if "panel_state" in name or "panel_data" in name]
        assert not written, f"{method} makes the App reload its page by {written}"
        for fields in answer.called("set_active_fields"):
            self.active_fields = fields["fields"]
        for filters in answer.called("set_filters"):
            self.filters = filters
        if answer.output is not None:
            before = self.data
            self.shown = answer
            answer.drawn = [name for name, traces in self.data.items() if traces != before.get(name)]
        return answer


def _plain(value: Any) -> Any:
    if hasattr(value, "to_json"):
        return value.to_json()
    raise TypeError(f"{value!r} cannot be sent to the browser")


def make_context(
    uri: str, dataset: fo.Dataset, params: dict[str, Any] | None = None, **request: Any
) -> tuple[ExecutionContext, Executor]:
    """Return the context of an operator, and the executor that collects what the operator triggers."""
    executor = Executor()
    request = through_browser({"dataset_name": dataset.name, "params": params or {}, **request})
    return ExecutionContext(request_params=request, executor=executor, operator_uri=f"{PLUGIN}/{uri}"), executor


def execute(uri: str, dataset: fo.Dataset, params: dict[str, Any] | None = None, **request: Any) -> Answer:
    """Execute an operator to its end, as the server does."""
    ctx, executor = make_context(uri, dataset, params, **request)
    start = time.perf_counter()
    result = foo.get_operator(ctx.operator_uri).execute(ctx)
    if hasattr(result, "__next__"):
        result = list(result)
    calls = [(r.operator_uri, r.params or {}) for r in executor._requests]
    return Answer(calls, time.perf_counter() - start, result)


def submit(uri: str, dataset: fo.Dataset, params: dict[str, Any] | None = None, **request: Any) -> Answer:
    """Execute an operator as the App asks for it: its server needs the operator's name in the request."""
    return execute(uri, dataset, params, operator_uri=f"{PLUGIN}/{uri}", **request)


def output(uri: str, dataset: fo.Dataset, results: Any) -> str:
    """Return what the App shows after an operator has returned something, as JSON; empty if nothing."""
    request = {"operator_uri": f"{PLUGIN}/{uri}", "target": "outputs", "results": through_browser(results)}
    ctx, _ = make_context(uri, dataset, **request)
    resolved = asyncio.run(foo.executor.resolve_type(OperatorRegistry(), ctx.operator_uri, ctx.request_params))
    assert not isinstance(resolved, ExecutionResult), resolved.error
    return "" if resolved is None else json.dumps(resolved.to_json(), default=_plain, ensure_ascii=False)


def form(uri: str, dataset: fo.Dataset, params: dict[str, Any] | None = None, **request: Any) -> Form:
    """Resolve the form of an operator, as the server does."""
    ctx, _ = make_context(uri, dataset, params, **request)
    resolved = asyncio.run(foo.executor.resolve_type(OperatorRegistry(), ctx.operator_uri, ctx.request_params))
    if isinstance(resolved, ExecutionResult):
        raise AssertionError(resolved.error)
    return Form(json.loads(json.dumps(resolved.to_json(), default=_plain)))


@dataclass
class Form:
    """A resolved form."""

    schema: dict[str, Any]

    @property
    def fields(self) -> dict[str, Any]:
        """The inputs of the form by name."""
        return self.schema["type"]["properties"]

    @property
    def invalid(self) -> bool:
        """True if the form cannot be submitted."""
        return bool(self.schema.get("invalid")) or any(field.get("invalid") for field in self.fields.values())

    @property
    def defaults(self) -> dict[str, Any]:
        """The params that the browser sends if the user changes nothing."""
        return {name: field["default"] for name, field in self.fields.items() if field.get("default") is not None}

    def choices(self, name: str) -> list[str]:
        """Return the choices of an input."""
        return [choice["value"] for choice in self.fields[name]["view"]["choices"]]

    @property
    def red(self) -> dict[str, str]:
        """What the App draws in red before anyone has typed, by input; "" for the form."""
        inputs = {"": self.schema, **self.fields}
        errors = {name: shown["error_message"] for name, shown in inputs.items() if shown.get("invalid")}
        errors = {name: text for name, text in errors.items() if inputs[name]["view"]["name"] != "HiddenView"}
        missing = {
            name: "Required property"
            for name, shown in self.fields.items()
            if shown.get("required") and shown.get("default") is None and name not in errors
        }
        return {**errors, **missing}

    @property
    def reasons(self) -> str:
        """Why the form cannot be submitted: everything that a caller from Python is told."""
        inputs = {"": self.schema, **self.fields}
        return "; ".join(shown["error_message"] for shown in inputs.values() if shown.get("invalid"))

    @property
    def visible_text(self) -> str:
        """Errors, labels and descriptions, one per line; the error of an input begins with its name."""
        lines = [f"{name} {text[:1].lower()}{text[1:]}" for name, text in self.red.items()]

        def collect(part: Any) -> None:
            if isinstance(part, dict) and (part.get("view") or {}).get("name") == "HiddenView":
                return
            for name, value in part.items() if isinstance(part, dict) else enumerate(part):
                if isinstance(value, (dict, list)):
                    collect(value)
                elif isinstance(value, str) and name in ("label", "description"):
                    lines.append(value)

        collect(self.schema)
        return "\n".join(lines)

    @property
    def text(self) -> str:
        """The whole schema of the form."""
        return json.dumps(self.schema, ensure_ascii=False)
