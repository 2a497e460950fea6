"""Requests that no form and no browser would send: each is refused by the name of its param, and harms nothing."""

from __future__ import annotations

import json
import math
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import numpy as np
import pandas as pd
import pytest
from bson import ObjectId
from fiftyone.operators.delegated import DelegatedOperationService
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fiftyone_learnability as fol
from tests.test_safety import of_a_length, pickled

from .harness import PANEL, PanelHarness, execute, form, make_context, plugin_module, through_browser
from .made_up import add_samples, write_scores

COUNT = 40
MODELS = ["resnet20", "vgg16"]
MEASURED = ["hits", "variability", "aum"]
LONG = 5000
PATIENT = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture(scope="module")
def scored() -> Iterator[fo.Dataset]:
    """Two networks with scores, predictions and dynamics, their consensus, and suggested labels."""
    dataset = fo.Dataset()
    add_samples(dataset, ["a"] * 25 + ["$where"] * 15)
    rng = np.random.default_rng(7)
    wrong = np.tile(np.array([[0.1, 0.9]], np.float32), (COUNT, 1))
    write_scores(
        dataset,
        {model: rng.random(COUNT) for model in MODELS},
        more={model: {name: rng.random(COUNT) for name in MEASURED} for model in MODELS},
        dynamics={model: rng.random((4, COUNT)).astype(np.float16) for model in MODELS},
        predictions=dict.fromkeys(MODELS, wrong),
        classes=("a", "$where"),
    )
    dataset.register_run("foreign", dataset.init_run())
    fol.add_scores(dataset, ["hits"], ["resnet20"])
    fol.suggest_label_fixes(dataset)
    yield dataset
    dataset.delete()


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of the App's files."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(plugin_module("operators.compute"), "measure_rates", lambda request: None)
    monkeypatch.setenv("FIFTYONE_LEARNABILITY_DIR", str(tmp_path / "files"))
    (tmp_path / "files").mkdir()
    return tmp_path / "files"


# params of operators: whatever JSON holds

HOSTILE: list[Any] = [
    "os:system",
    "torchvision/resnet18",
    "timm/vit_base_patch16_224",
    "module:factory",
    "../../x",
    "../x.csv",
    "/etc/passwd",
    "/etc/scores.csv",
    "a/b",
    "a.b",
    "$where",
    "",
    " ",
    "\0.csv",
    "x" * LONG,
    "x" * LONG + ".csv",
    "false",
    {"$where": "1"},
    {"$ne": None},
    [{"$where": "1"}],
    [[]],
    [],
    True,
    False,
    None,
    0,
    -1,
    2.5,
    10**30,
    math.nan,
    math.inf,
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)

# the params of each operator, with values that its form would send
GOOD: dict[str, dict[str, list[Any]]] = {
    "sort_by_learnability": {"model": MODELS, "first": ["hardest", "easiest"]},
    "tag_by_difficulty": {
        "model": MODELS,
        "which": ["hardest", "easiest"],
        "unit": ["count", "percent"],
        "count": [1, 10],
        "percent": [1, 50.5],
        "per_class": [True, False],
        "tag": ["look", "Größe"],
    },
    "show_disagreement": {"easy_for": MODELS, "hard_for": MODELS, "limit": [1, 10]},
    "manage_learnability_runs": {
        "key": ["learnability", "label_fixes"],
        "action": ["rename", "delete"],
        "confirmed": [True],
        "new_key": ["other"],
    },
    "export_learnability": {"path": ["scores.csv", "scores.npz"], "overwrite": [True, False]},
    "suggest_label_fixes": {"models": [MODELS, ["vgg16"]], "threshold": [0.75, 1], "overwrite": [True]},
    "apply_label_fixes": {"in_place": [True, False], "into": ["copy", "ground_truth_fixed"]},
    "write_learnability_scores": {"models": [MODELS, ["vgg16"]], "scores": [["all"], ["aum"]]},
    "compute_consensus": {"models": [MODELS], "overwrite": [True, False]},
    "import_learnability": {
        "path": ["good.csv", "nothing.csv"],
        "name": ["mine"],
        "learnability": ["learnability", "ease"],
        "overwrite": [True, False],
    },
}


def requests(operator: str) -> st.SearchStrategy[dict[str, Any]]:
    """Params of an operator: none, good, hostile and any JSON, mixed."""
    values = {
        name: st.sampled_from(good) | st.sampled_from(HOSTILE) | JSON | st.lists(st.sampled_from(HOSTILE), max_size=3)
        for name, good in GOOD[operator].items()
    }
    mixed = st.fixed_dictionaries({}, optional={**values, "advanced": JSON, "$where": JSON, "unheard_of": JSON})
    # a request of a form in which one thing is wrong, or none, gets further than one in which all are
    good = st.fixed_dictionaries({name: st.sampled_from(good) for name, good in GOOD[operator].items()})
    spoilt = st.builds(lambda whole, part: {**whole, **part}, good, st.fixed_dictionaries({}, optional=values))
    return good | spoilt | mixed


def is_count(value: Any, most: float = math.inf) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= most


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[str]:
    """Stands in for what the operators call, and checks what arrives there: nothing that the form would not send."""
    names = ("curate", "runs", "scores", "exchange", "labels")
    curate, runs, scores, exchange, labels = (plugin_module(f"operators.{name}") for name in names)
    called: list[str] = []
    sources = [*MODELS, "consensus"]

    def stand_in(module: Any, name: str, result: Any, *checks: Callable[..., bool]) -> None:
        def call(samples: Any, *args: Any, **options: Any) -> Any:
            called.append(name)
            assert all(check(*args, **options) for check in checks), (name, args, options)
            return result

        monkeypatch.setattr(module, name, call)

    def tagged(model: str, which: str, *, tag: str, count: Any, percent: Any, per_class: bool) -> bool:
        amount = is_count(count) and count == int(count) if percent is None else is_count(percent, 100)
        texts = model in sources and which in ("hardest", "easiest") and isinstance(tag, str)
        return texts and 0 < len(tag) <= 100 and amount and isinstance(per_class, bool)

    def inside(path: Path, *more: Any, **options: Any) -> bool:
        return path.is_relative_to(folder.resolve()) and path.suffix in (".csv", ".npz", ".parquet")

    report = fol.WriteReport("key", ["field"], 1, [])
    stand_in(curate, "tag_by_difficulty", 1, tagged)
    stand_in(runs, "rename_run", None, lambda key, new: key in ("learnability", "label_fixes") and new.isidentifier())
    stand_in(runs, "delete_run", [], lambda key: key in ("learnability", "label_fixes"))
    stand_in(exchange, "export_scores", 1, inside)
    stand_in(exchange, "import_scores", [report], inside, lambda path, name, learnability, overwrite: (
        path.is_file()
        and (name is None or name.isidentifier())
        and isinstance(learnability, str)
        and isinstance(overwrite, bool)
    ))  # fmt: skip
    stand_in(scores, "write_consensus", report, lambda models, overwrite: (
        sorted(models) == MODELS and isinstance(overwrite, bool)
    ))  # fmt: skip
    stand_in(scores, "add_scores", ["field"], lambda scores, models: {*scores} <= {*MEASURED} and models[0] in MODELS)
    stand_in(labels, "suggest_label_fixes", pd.DataFrame({"verdict": ["hard"]}), lambda models, threshold, overwrite: (
        {*models} <= {*MODELS} and 0.5 < threshold <= 1 and isinstance(overwrite, bool)
    ))  # fmt: skip
    stand_in(labels, "apply_label_fixes", ("field", 1), lambda into, in_place: (
        in_place if into is None else into.isidentifier() and into != "ground_truth" and len(into) <= 100
    ))  # fmt: skip
    return called


def request_of(dataset: fo.Dataset, operator: str) -> dict[str, Any]:
    """What else goes with a request: the samples that somebody has selected."""
    if operator != "apply_label_fixes":
        return {}
    return {"selected": dataset.limit(3).values("id"), "view_target": "SELECTED_SAMPLES"}


@pytest.mark.parametrize("operator", GOOD)
def test_any_request_is_accepted_or_refused_by_name(
    scored: fo.Dataset, operator: str, reached: list[str], folder: Path
) -> None:
    pd.DataFrame({"id": scored.values("id"), "learnability": 0.5}).to_csv(folder / "good.csv", index=False)
    request = request_of(scored, operator)
    accepted = refused = 0

    @settings(PATIENT, max_examples=80)
    @given(params=requests(operator))
    def any_request(params: dict[str, Any]) -> None:
        nonlocal accepted, refused
        if operator == "suggest_label_fixes" and (params.get("overwrite") is None or params["overwrite"] is False):
            # that there are suggestions which must not be replaced is found by what is stood in for here
            params = {**params, "overwrite": True}
        try:
            execute(operator, scored, params, **request)
            accepted += 1
        except ValueError as error:
            refused += 1
            said = str(error)
        else:
            said = None
        if said is not None:
            assert any(name in said for name in GOOD[operator]), said
            return
        # what the form would not submit is not accepted without it; this must not raise for anything
        shown = form(operator, scored, params, **request)
        assert not shown.invalid, (params, shown.schema.get("error_message"))

    any_request()
    assert scored.count_sample_tags() == {}
    assert accepted
    assert refused
    assert reached or operator in ("sort_by_learnability", "show_disagreement")


@pytest.mark.parametrize("operator", GOOD)
def test_no_request_breaks_a_form(scored: fo.Dataset, operator: str) -> None:
    request = request_of(scored, operator)

    @settings(PATIENT, max_examples=40)
    @given(params=requests(operator))
    def any_form(params: dict[str, Any]) -> None:
        shown = form(operator, scored, params, **request)
        assert "Traceback" not in shown.text

    any_form()


def test_an_operator_without_params_takes_none(scored: fo.Dataset) -> None:
    answer = execute("compare_learnability", scored, {"name": "../../x", "$where": "1", "layout": {"$where": "1"}})
    (call,) = answer.called("open_panel")
    assert (call["name"], call["layout"], call["state"]) == ("learnability_panel", "horizontal", None)


# files of the server

OUTSIDE = [
    "../scores.csv",
    "../../scores.csv",
    "a/../../scores.csv",
    "/etc/scores.csv",
    "/tmp/scores.csv",
    "//tmp/scores.csv",
    "~/scores.csv/../../../../../scores.csv",
    "link/scores.csv",
    "link/../scores.csv",
    "file.csv",
    "to_nothing.csv",
]


@pytest.fixture
def links(folder: Path, tmp_path: Path) -> dict[Path, str]:
    """Links in the folder that lead out of it, and the files behind them, which are to stay as they are."""
    (outside := tmp_path / "outside").mkdir()
    table = "id,filepath,label,learnability_mine,learnability_rank_mine\n"
    for name in ("scores.csv", "inside/scores.csv"):
        (outside / name).parent.mkdir(exist_ok=True)
        (outside / name).write_text(table)
    # beside the folder that "link" leads to, since that is where link/.. is
    (folder / "link").symlink_to(outside / "inside")
    (folder / "file.csv").symlink_to(outside / "scores.csv")
    (folder / "to_nothing.csv").symlink_to(outside / "new.csv")
    (tmp_path / "scores.csv").write_text(table)
    return {path: path.read_text() for path in [*outside.rglob("*.csv"), tmp_path / "scores.csv"]}


@pytest.mark.parametrize("path", OUTSIDE)
def test_no_file_elsewhere_is_written_or_read(
    scored: fo.Dataset, path: str, links: dict[Path, str], tmp_path: Path
) -> None:
    for params in ({"path": path}, {"path": path, "overwrite": True}):
        with pytest.raises(ValueError, match=r"^path: .* is not in .*/files"):
            execute("export_learnability", scored, params)
        with pytest.raises(ValueError, match=r"^path: .* is not in .*/files"):
            execute("import_learnability", scored, {**params, "name": "mine"})
    for operator in ("export_learnability", "import_learnability"):
        shown = form(operator, scored, {"path": path})
        assert "is not in" in shown.fields["path"]["error_message"]
    assert {file: file.read_text() for file in links} == links
    assert not (tmp_path / "outside" / "new.csv").exists()
    assert not scored.has_field("learnability_mine")


def test_a_refusal_does_not_tell_whether_a_file_exists(scored: fo.Dataset, tmp_path: Path) -> None:
    (tmp_path / "there.csv").write_text("")
    (tmp_path / "heap.csv").mkdir()
    (tmp_path / "loop.csv").symlink_to(tmp_path / "loop.csv")
    (tmp_path / "link.csv").symlink_to(tmp_path / "secret.txt")
    (tmp_path / "hidden").mkdir(mode=0)
    said = set()
    for name in ("there", "nowhere", "heap", "loop", "link", "hidden/scores"):
        for operator in ("import_learnability", "export_learnability"):
            with pytest.raises(ValueError, match="is not in") as refusal:
                execute(operator, scored, {"path": str(tmp_path / f"{name}.csv"), "name": "mine"})
            said.add(str(refusal.value).replace(name, ""))
    assert len(said) == 1


@pytest.mark.parametrize("path", ["/x/\ny.csv", "x" * 3000 + ".csv", "/" + "x/" * 1500 + "y.csv"])
def test_a_refusal_is_one_short_line(scored: fo.Dataset, path: str) -> None:
    for operator in ("import_learnability", "export_learnability"):
        with pytest.raises(ValueError, match=r"^path: ") as refusal:
            execute(operator, scored, {"path": path, "name": "mine"})
        assert "\n" not in str(refusal.value)
        assert len(str(refusal.value)) < 500


def test_more_samples_than_a_database_counts_are_refused(scored: fo.Dataset) -> None:
    with pytest.raises(ValueError, match="limit must be a whole number from 1 to"):
        execute("show_disagreement", scored, {"limit": 10**20})
    with pytest.raises(ValueError, match="limit must be at most"):
        fol.disagreement(scored, *MODELS, limit=10**20)


@pytest.mark.parametrize("name", ["mine.csv", "mine.npz", "mine.parquet"])
def test_only_exported_scores_are_replaced(scored: fo.Dataset, folder: Path, name: str) -> None:
    path = folder / name
    path.write_bytes(b"somebody's work")
    for overwrite in (True, False):
        with pytest.raises(ValueError, match=r"path: .* holds no exported scores"):
            execute("export_learnability", scored, {"path": name, "overwrite": overwrite})
    assert "no exported scores" in form("export_learnability", scored, {"path": name}).fields["path"]["error_message"]
    assert path.read_bytes() == b"somebody's work"
    path.unlink()
    execute("export_learnability", scored, {"path": name})
    # and those are, once it is ticked
    with pytest.raises(ValueError, match=r"path: .* exists"):
        execute("export_learnability", scored, {"path": name})
    assert execute("export_learnability", scored, {"path": name, "overwrite": True}).result["samples"] == COUNT


def test_a_table_of_ones_own_is_not_taken_for_exported_scores(scored: fo.Dataset, folder: Path) -> None:
    pd.DataFrame({"id": ["x"], "learnability": [1.0]}).to_csv(folder / "mine.csv", index=False)
    with pytest.raises(ValueError, match="holds no exported scores"):
        execute("export_learnability", scored, {"path": "mine.csv", "overwrite": True})


def test_where_files_are_allowed(scored: fo.Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    allowed = plugin_module("operators.server_files").allowed_folders
    monkeypatch.delenv("FIFTYONE_LEARNABILITY_DIR")
    assert allowed() == [(Path(fo.config.default_dataset_dir) / "learnability").resolve()]
    # the folder need not exist; a name is enough
    result = execute("export_learnability", scored, {"path": "sub/scores.csv"}).result
    assert result["path"] == str(allowed()[0] / "sub" / "scores.csv")
    # several, of which a link is one
    (tmp_path / "second").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "second")
    monkeypatch.setenv("FIFTYONE_LEARNABILITY_DIR", f"{tmp_path / 'first'}:{tmp_path / 'link'}")
    for path in (str(tmp_path / "link" / "a.csv"), str(tmp_path / "second" / "b.csv")):
        execute("export_learnability", scored, {"path": path})
    assert sorted(path.name for path in (tmp_path / "second").iterdir()) == ["a.csv", "b.csv"]
    execute("export_learnability", scored, {"path": "c.csv"})
    assert (tmp_path / "first" / "c.csv").exists()
    with pytest.raises(ValueError, match="is not in"):
        execute("export_learnability", scored, {"path": str(tmp_path / "first-not" / "a.csv")})


def test_the_name_of_a_dataset_is_no_path(make_dataset: Callable[..., fo.Dataset], folder: Path) -> None:
    dataset = make_dataset(["/no/1.png", "/no/2.png"], ["a", "b"], name="../../etc/a b")
    write_scores(dataset, {"mine": np.array([0.0, 1.0])})
    shown = form("export_learnability", dataset)
    assert not shown.invalid
    assert execute("export_learnability", dataset, shown.defaults).result["samples"] == 2
    (written,) = folder.iterdir()
    assert written.suffix == ".csv"


def test_hostile_files_within_the_folder_are_refused(scored: fo.Dataset, folder: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    (folder / "pickle.npz").write_bytes(pickled(canary))
    (folder / "pickle.csv").write_bytes(pickled(canary))
    (folder / "pickle.parquet").write_bytes(pickled(canary))
    (folder / "long.npz").write_bytes(of_a_length(2**50))
    before = set(scored.get_field_schema())
    for path in sorted(folder.iterdir()):
        with pytest.raises(ValueError, match=path.name):
            execute("import_learnability", scored, {"path": path.name, "name": "mine"})
        with pytest.raises(ValueError, match="no exported scores"):
            execute("export_learnability", scored, {"path": path.name, "overwrite": True})
    scored.reload()
    assert set(scored.get_field_schema()) == before
    assert not canary.exists()


# networks of other packages

NETWORKS = [
    "evil_nets:make_net",
    "os:system",
    "torchvision/resnet18",
    "timm/convnext_atto",
    "evil_nets",
    "../evil_nets",
]


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module that can be imported, and must not be."""
    imported = tmp_path / "imported"
    (tmp_path / "evil_nets.py").write_text(f"open({str(imported)!r}, 'w')\ndef make_net(**options): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield imported
    assert "evil_nets" not in sys.modules
    assert not imported.exists()


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("how", ["background", "scheduled", "now"])
def test_a_request_imports_no_network(scored: fo.Dataset, network: str, how: str, evil: Path) -> None:
    operations = fo.core.odm.get_db_conn()["delegated_ops"]
    before, threads = operations.count_documents({}), threading.active_count()
    for models in ([network], network, ["resnet20", network], {network: network}):
        params = {"models": models, "how": how, "label_field": "ground_truth"}
        with pytest.raises(ValueError, match=r"network|models"):
            execute("compute_learnability", scored, params)
        assert form("compute_learnability", scored, params).invalid
    assert operations.count_documents({}) == before
    assert threading.active_count() == threads


def test_a_job_whose_request_was_changed_imports_no_network(scored: fo.Dataset, evil: Path) -> None:
    """Between the request and the worker there is the database."""
    jobs, service = plugin_module("jobs.job"), DelegatedOperationService()
    ctx, _ = make_context("compute_learnability", scored, {"models": ["resnet20"], "label_field": "ground_truth"})
    id = ObjectId(jobs.queue_job(ctx, "changed"))
    operations = fo.core.odm.get_db_conn()["delegated_ops"]
    changes = {f"context.{where}.models": ["evil_nets:make_net"] for where in ("params", "request_params.params")}
    operations.update_one({"_id": id}, {"$set": changes})
    service.execute_operation(service.get(id))
    found = operations.find_one({"_id": id})
    assert found["run_state"] == "failed"
    assert "unknown network 'evil_nets:make_net'" in found["result"]["error"]
    operations.delete_one({"_id": id})


# events of the panel

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
EVENT = st.fixed_dictionaries(
    {},
    optional={
        "idx": POSITION | st.lists(POSITION, max_size=3) | JSON,
        "data": st.lists(st.fixed_dictionaries({}, optional={"idx": POSITION | JSON}) | JSON, max_size=4) | JSON,
        "id": st.sampled_from([MARK, "0" * 24, "x", {"$where": MARK}, [MARK], 5, None]) | JSON,
        "value": JSON,
        "path": JSON,
    },
)
CHOICE = st.sampled_from([*MODELS, "consensus", "learnability", "rank", "hits", "same", "hardest", MARK, "__class__"])
TABS = ["compare", "map", "labels", "examples", "classes", "curves", MARK, [], {"$where": MARK}, 5]
STATE = st.fixed_dictionaries(
    {},
    optional={
        "tab": st.sampled_from(TABS),
        "controls": st.dictionaries(st.sampled_from(["first", "second", "quantity", "against"]), CHOICE | JSON) | JSON,
        "sorting": st.fixed_dictionaries({}, optional={"order": CHOICE | JSON}) | JSON,
        "own": st.fixed_dictionaries(
            {"now": JSON, "now_count": JSON, "before": JSON, "before_count": st.integers(-3, 3)}
        )
        | JSON,
        "job": st.fixed_dictionaries({"state": st.sampled_from(["running", "failed", MARK])}) | JSON,
        "drawn": JSON,
        "shown_easiest": st.lists(st.fixed_dictionaries({"id": JSON, "label": JSON, "ranks": JSON}) | JSON, max_size=2)
        | JSON,
        "easiest": JSON,
        "hardest": st.dictionaries(st.sampled_from(["image_0", "image_1"]), JSON, max_size=2) | JSON,
        "shown_hardest": JSON,
        "timer_2000": JSON,
    },
)
SELECTED = st.lists(st.sampled_from(["0" * 24, MARK, 5, None, {"$where": MARK}, ["x"]]), max_size=3)
OURS = {"$and", "$or", "$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$literal", "$in", "$ifNull", "$exists", "$expr",
        "$oid", "$subtract", "$not", "$cond", "$type", "$let"}  # fmt: skip
"""The operators of MongoDB that views of ours are made of."""


def operators_in(value: Any) -> set[str]:
    """The operators of MongoDB in stages; what stands in ``$literal`` is a value."""
    if isinstance(value, dict):
        found = {name for name in value if name.startswith("$")}
        return found.union(*(operators_in(part) for name, part in value.items() if name != "$literal"))
    return set().union(*map(operators_in, value)) if isinstance(value, list) else set()


def test_no_event_breaks_or_injects_anything(scored: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin_module("panel.panel"), "add_scores", lambda dataset, scores, models: [*scores])
    seen: dict[str, int] = {}

    @settings(PATIENT, max_examples=400)
    @given(event=st.sampled_from(EVENTS), params=EVENT, state=STATE, selected=SELECTED)
    def any_event(event: str, params: dict[str, Any], state: dict[str, Any], selected: list[Any]) -> None:
        panel = PanelHarness(scored, follow=False, state=state, selected=selected)
        answer = panel.event(event, **params)
        for call in answer.called("set_view"):
            stages = through_browser(call["view"])
            assert operators_in(stages) <= OURS, stages
            assert MARK not in json.dumps(stages)
            # it is a view that can be shown
            assert len(fo.DatasetView._build(scored, stages)) <= COUNT
            seen[event] = seen.get(event, 0) + 1

    any_event()
    # that some get through shows that not all were refused for the wrong reason
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
def test_a_cell_that_is_none_shows_nothing(scored: fo.Dataset, idx: Any) -> None:
    panel = PanelHarness(scored)
    panel.open()
    for tab, event in (("compare", "on_matrix"), ("classes", "on_class"), ("labels", "on_change_of_label")):
        panel.tab(tab)
        before = panel.state.get("controls")
        answer = panel.event(event, idx=idx)
        assert not answer.called("set_view")
        assert panel.state.get("controls") == before


@pytest.mark.parametrize("points", [[-1], [10**9], ["0"], [math.nan], [True], [{"$gt": 0}], [None], [[0]]], ids=str)
def test_a_point_that_is_none_shows_nothing(scored: fo.Dataset, points: list[Any]) -> None:
    panel = PanelHarness(scored)
    panel.open()
    for event in ("on_pair_box", "on_histogram_box", "on_map_box"):
        assert not panel.event(event, data=[{"idx": point} for point in points]).called("set_view")
        assert not panel.event(event, data={"$where": "1"}).called("set_view")
    for event in ("on_pair_click", "on_histogram_click", "on_map_click"):
        assert not panel.event(event, idx=points[0]).called("set_view")
    # the good ones among them count
    assert panel.event("on_histogram_box", data=[*({"idx": point} for point in points), {"idx": 3}]).called("set_view")


def test_a_box_of_a_million_points_is_answered_fast(scored: fo.Dataset) -> None:
    panel = PanelHarness(scored)
    panel.open()
    answer = panel.event("on_pair_box", data=[{"idx": 3}] * 1_000_000)
    assert answer.called("set_view")
    assert answer.seconds < 3


@pytest.mark.parametrize(
    "method", ["execute", "_draw", "__init__", "resolve_input", "render", 5, ["on_load"], {"$a": 1}]
)
def test_only_events_are_called(scored: fo.Dataset, method: Any) -> None:
    """FiftyOne would call any method, and ``execute`` without end."""
    with pytest.raises(ValueError, match="__method__"):
        PanelHarness(scored).event(method)


@pytest.mark.parametrize("state", [[], "text", 5, [{"own": {}}]])
def test_a_state_that_is_none_is_refused(scored: fo.Dataset, state: Any) -> None:
    with pytest.raises(ValueError, match="panel_state"):
        PanelHarness(scored, state=state).open()


def test_a_view_of_the_panel_is_no_command(scored: fo.Dataset, tmp_path: Path) -> None:
    """What the panel speaks of is made of the request's stages, which FiftyOne would import and call."""
    canary = tmp_path / "canary"
    build = plugin_module("panel.table").build_view
    with pytest.raises(ValueError, match="Popen"):
        build(scored, [{"_cls": "subprocess.Popen", "kwargs": [["args", ["touch", str(canary)]]]}])
    assert not canary.exists()
