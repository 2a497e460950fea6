"""Events that no browser would send: the panel ignores or refuses them, and none reaches a database query."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fiftyone_learnability.dataset.internals import build_view

from ..harness import PANEL, PanelHarness, plugin_module, through_browser
from ..hostile import COUNT, JSON, PATIENT, make_dataset_with_everything


@pytest.fixture(scope="module")
def everything() -> Iterator[fo.Dataset]:
    yield from make_dataset_with_everything()


EVENTS = sorted(name for name in dir(type(foo.get_operator(PANEL))) if name.startswith("on_"))


MARK = "$where-from-outside"


POSITIONS = [
    0,
    1,
    2,
    39,
    10_000,
    2**70,
    -1,
    -5,
    1.0,
    0.5,
    math.nan,
    math.inf,
    True,
    "0",
    MARK,
    None,
    {"$gt": 0},
    [0, 0],
]


POSITION = st.sampled_from(POSITIONS)


OPTION = st.sampled_from(
    ["ResNet-20", "Consensus", "Rank", "Hits", "map", "labels", "classes", "name", MARK, "__class__"]
)


EVENT = st.fixed_dictionaries(
    {},
    optional={
        "idx": POSITION | st.lists(POSITION, max_size=3) | JSON,
        "data": st.lists(st.fixed_dictionaries({}, optional={"idx": POSITION | JSON}) | JSON, max_size=4) | JSON,
        "id": st.sampled_from([MARK, "0" * 24, "x", {"$where": MARK}, [MARK], 5, None]) | JSON,
        "value": OPTION | JSON,
        "tab": OPTION | JSON,
        "order": OPTION | JSON,
        "seen": JSON,
        "running": JSON,
        "path": JSON,
        "row": POSITION | JSON,
        "column": POSITION | JSON,
        "action": st.sampled_from(["again", "delete", "resume", "show", MARK]) | JSON,
        "run": st.sampled_from(["learnability", "label_fixes", "foreign", MARK]) | JSON,
        "job": st.sampled_from(["0" * 24, MARK]) | JSON,
    },
)


SELECTED = st.lists(st.sampled_from(["0" * 24, MARK, 5, None, {"$where": MARK}, ["x"]]), max_size=3)


OPERATORS = {
    *("$and", "$or", "$not", "$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$exists", "$type"),
    *("$expr", "$literal", "$ifNull", "$subtract", "$abs", "$cond", "$let", "$oid"),
}
"""The MongoDB operators that the panel's views are made of."""


def operators_in(value: Any) -> set[str]:
    """The MongoDB operators in stages; the content of ``$literal`` is a value."""
    if isinstance(value, dict):
        found = {name for name in value if name.startswith("$")}
        return found.union(*(operators_in(part) for name, part in value.items() if name != "$literal"))
    return set().union(*map(operators_in, value)) if isinstance(value, list) else set()


def test_no_event_breaks_or_injects_anything(everything: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin_module("panel.panel"), "add_scores", lambda dataset, scores, models: [*scores])
    seen: dict[str, int] = {}

    @settings(PATIENT, max_examples=400)
    @given(
        events=st.lists(st.tuples(st.sampled_from(EVENTS), EVENT), min_size=1, max_size=3),
        state=JSON,
        selected=SELECTED,
    )
    def any_events(events: list[tuple[str, dict[str, Any]]], state: Any, selected: list[Any]) -> None:
        panel = PanelHarness(everything, follow=False, state=state, selected=selected)
        for event, params in events:
            play(panel, event, params)

    def play(panel: PanelHarness, event: str, params: dict[str, Any]) -> None:
        answer = panel.event(event, **params)
        for call in answer.called("set_view"):
            stages = through_browser(call["view"])
            assert operators_in(stages) <= OPERATORS, stages
            assert MARK not in json.dumps(stages)
            # the view can be shown
            assert len(build_view(everything, stages)) <= COUNT
            seen[event] = seen.get(event, 0) + 1

    any_events()
    # some events must get through, else all were refused for the wrong reason
    assert {"on_hardest", "on_mislabelled"} & set(seen)


@pytest.mark.parametrize(
    "idx",
    [
        [-1, 0],
        [0, -1],
        [10**6, 0],
        [0, 10**6],
        ["0", 0],
        [0],
        [0, 0, 0],
        7,
        "x",
        None,
        {"$gt": 0},
        [math.nan, 0],
        [True, 0],
    ],
    ids=str,
)
def test_an_invalid_cell_shows_nothing(everything: fo.Dataset, idx: Any) -> None:
    panel = PanelHarness(everything)
    panel.open()
    for tab, event in (("compare", "on_matrix"), ("classes", "on_class"), ("labels", "on_change_of_label")):
        panel.tab(tab)
        before = panel.data
        answer = panel.event(event, idx=idx)
        assert not answer.called("set_view")
        assert panel.data == before


@pytest.mark.parametrize("points", [[-1], [10**9], ["0"], [math.nan], [True], [{"$gt": 0}], [None], [[0]]], ids=str)
def test_an_invalid_point_shows_nothing(everything: fo.Dataset, points: list[Any]) -> None:
    panel = PanelHarness(everything)
    panel.open()
    for event in ("on_pair_box", "on_histogram_box", "on_map_box"):
        assert not panel.event(event, data=[{"idx": point} for point in points]).called("set_view")
        assert not panel.event(event, data={"$where": "1"}).called("set_view")
    for event in ("on_pair_click", "on_histogram_click", "on_map_click"):
        assert not panel.event(event, idx=points[0]).called("set_view")
    # valid points among them count
    assert panel.event("on_histogram_box", data=[*({"idx": point} for point in points), {"idx": 3}]).called("set_view")


def test_a_box_of_a_million_points_is_answered(everything: fo.Dataset) -> None:
    panel = PanelHarness(everything)
    panel.open()
    assert panel.event("on_pair_box", data=[{"idx": 3}] * 1_000_000).called("set_view")


@pytest.mark.parametrize(
    "method", ["execute", "_draw", "__init__", "resolve_input", "render", 5, ["on_load"], {"$a": 1}]
)
def test_only_events_are_called(everything: fo.Dataset, method: Any) -> None:
    """FiftyOne would call any method, and ``execute`` recursively."""
    with pytest.raises(ValueError, match="__method__"):
        PanelHarness(everything).event(method)


@pytest.mark.parametrize("state", [None, [], "text", 5, {"tab": "map", "own": {}, "matrix_plot": [MARK]}], ids=str)
def test_the_state_is_not_read(everything: fo.Dataset, state: Any) -> None:
    assert PanelHarness(everything, state=state).open().layout == PanelHarness(everything).open().layout


@pytest.mark.parametrize("id", [None, 5, ["x"], {"$where": MARK}, "x" * 10_000], ids=lambda id: str(id)[:20])
def test_any_id_of_a_panel_is_answered(everything: fo.Dataset, id: Any) -> None:
    panel = PanelHarness(everything, id=id)
    panel.open()
    assert list(panel.tab("map").plots) == list(panel.event("on_change_view").plots)


def test_stages_run_no_command(everything: fo.Dataset, tmp_path: Path) -> None:
    """FiftyOne imports and calls what serialized stages name."""
    canary = tmp_path / "canary"
    build = plugin_module("panel.scope").build_view
    with pytest.raises(ValueError, match="Popen"):
        build(everything, [{"_cls": "subprocess.Popen", "kwargs": [["args", ["touch", str(canary)]]]}])
    assert not canary.exists()
