"""Requests that no form would send: each is refused by the name of its param, and harms nothing."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fiftyone as fo
import pandas as pd
import pytest
from bson import ObjectId
from fiftyone.operators.delegated import DelegatedOperationService
from hypothesis import given, settings
from hypothesis import strategies as st

import fiftyone_learnability as fol
from fiftyone_learnability.dataset.internals import get_database

from ..harness import execute, form, make_context, plugin_module
from ..hostile import JSON, MEASURED, MODELS, PARAMS, PATIENT, make_dataset_with_everything


@pytest.fixture(scope="module")
def everything() -> Iterator[fo.Dataset]:
    yield from make_dataset_with_everything()


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of the App's files."""
    (tmp_path / "files").mkdir()
    monkeypatch.setenv("FIFTYONE_LEARNABILITY_DIR", str(tmp_path / "files"))
    return tmp_path / "files"


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
    "review_label_fixes": {"in_place": [True, False], "into": ["copy", "ground_truth_fixed"]},
    "write_learnability_scores": {"models": [MODELS, ["vgg16"]], "scores": [["all"], ["aum"]]},
    "compute_consensus": {"models": [MODELS], "overwrite": [True, False]},
    "import_learnability": {
        "path": ["good.csv", "nothing.csv"],
        "name": ["mine"],
        "existing": ["keep", "replace"],
        "learnability": ["learnability", "ease"],
        "overwrite": [True, False],
    },
}


def requests(operator: str) -> st.SearchStrategy[dict[str, Any]]:
    """Params of an operator: good, hostile and any JSON, mixed."""
    values = {
        name: st.sampled_from(good) | st.sampled_from(PARAMS) | JSON | st.lists(st.sampled_from(PARAMS), max_size=3)
        for name, good in GOOD[operator].items()
    }
    mixed = st.fixed_dictionaries({}, optional={**values, "advanced": JSON, "$where": JSON, "unheard_of": JSON})
    # a form with one wrong value gets further than one in which all are wrong
    good = st.fixed_dictionaries({name: st.sampled_from(good) for name, good in GOOD[operator].items()})
    spoilt = st.builds(lambda whole, part: {**whole, **part}, good, st.fixed_dictionaries({}, optional=values))
    return good | spoilt | mixed


def is_count(value: Any, most: float = math.inf) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= most


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[str]:
    """Replaces what the operators call, and checks that nothing arrives there that a form would not send."""
    names = ("curate", "runs", "scores", "exchange", "labels")
    curate, runs, scores, exchange, labels = (plugin_module(f"operators.{name}") for name in names)
    called: list[str] = []
    sources = [*MODELS, "consensus"]

    def replace(module: Any, name: str, result: Any, *checks: Callable[..., bool]) -> None:
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
    replace(curate, "tag_by_difficulty", 1, tagged)
    replace(runs, "rename_run", None, lambda key, new: key in ("learnability", "label_fixes") and new.isidentifier())
    replace(runs, "delete_run", [], lambda key: key in ("learnability", "label_fixes"))
    replace(exchange, "export_scores", 1, inside)
    replace(exchange, "import_scores", [report], inside, lambda path, name, models, learnability, overwrite: (
        path.is_file()
        and models is None
        and all(one.isidentifier() for one in name)
        and isinstance(learnability, str)
        and isinstance(overwrite, bool)
    ))  # fmt: skip
    replace(scores, "write_consensus", report, lambda models, overwrite: (
        sorted(models) == MODELS and isinstance(overwrite, bool)
    ))  # fmt: skip
    replace(scores, "add_scores", ["field"], lambda scores, models: {*scores} <= {*MEASURED} and models[0] in MODELS)
    replace(labels, "suggest_label_fixes", pd.DataFrame({"verdict": ["hard"]}), lambda models, threshold, overwrite: (
        {*models} <= {*MODELS} and 0.5 < threshold <= 1 and isinstance(overwrite, bool)
    ))  # fmt: skip
    replace(labels, "apply_label_fixes", ("field", 1), lambda into, in_place: (
        in_place if into is None else into.isidentifier() and into != "ground_truth" and len(into) <= 100
    ))  # fmt: skip
    replace(labels, "start_label_review", "field", lambda into, in_place: (
        in_place if into is None else into.isidentifier() and into != "ground_truth" and len(into) <= 100
    ))  # fmt: skip
    return called


def request_of(dataset: fo.Dataset, operator: str) -> dict[str, Any]:
    """The rest of a request: selected samples, where an operator needs them."""
    if operator != "apply_label_fixes":
        return {}
    suggested = dataset.exists("learnability_suggestion").values("id")
    return {"selected": suggested, "view_target": "SELECTED_SAMPLES"}


@pytest.mark.parametrize("operator", GOOD)
def test_any_request_is_accepted_or_refused_by_name(
    everything: fo.Dataset, operator: str, reached: list[str], folder: Path
) -> None:
    pd.DataFrame({"id": everything.values("id"), "learnability": 0.5}).to_csv(folder / "good.csv", index=False)
    request = request_of(everything, operator)
    accepted = refused = 0

    @settings(PATIENT, max_examples=80)
    @given(params=requests(operator))
    def any_request(params: dict[str, Any]) -> None:
        nonlocal accepted, refused
        if operator == "suggest_label_fixes" and (params.get("overwrite") is None or params["overwrite"] is False):
            # the replaced function is what refuses to overwrite suggestions
            params = {**params, "overwrite": True}
        try:
            execute(operator, everything, params, **request)
            valid, message = True, ""
        except ValueError as error:
            valid, message = False, str(error)
        assert valid or any(name in message for name in GOOD[operator]), message
        accepted, refused = accepted + valid, refused + (not valid)
        # no params break the form, and it would submit what is accepted
        shown = form(operator, everything, params, **request)
        assert "Traceback" not in shown.text
        assert not (valid and shown.invalid), (params, shown.schema.get("error_message"))

    any_request()
    assert everything.count_sample_tags() == {}
    assert accepted
    assert refused
    assert reached or operator in ("sort_by_learnability", "show_disagreement")


def test_an_operator_without_params_ignores_them(everything: fo.Dataset) -> None:
    answer = execute("compare_learnability", everything, {"name": "../../x", "$where": "1", "layout": {"$where": "1"}})
    (call,) = answer.called("open_panel")
    assert (call["name"], call["layout"], call["state"]) == ("learnability_panel", "horizontal", None)


def test_more_samples_than_a_database_can_count_are_refused(everything: fo.Dataset) -> None:
    with pytest.raises(ValueError, match="limit must be a whole number from 1 to"):
        execute("show_disagreement", everything, {"limit": 10**20})
    with pytest.raises(ValueError, match="limit must be at most"):
        fol.disagreement(everything, *MODELS, limit=10**20)


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module that must not be imported."""
    imported = tmp_path / "imported"
    (tmp_path / "evil_nets.py").write_text(f"open({str(imported)!r}, 'w')\ndef make_net(**options): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield imported
    assert "evil_nets" not in sys.modules
    assert not imported.exists()


@pytest.mark.parametrize(
    "models",
    [["evil_nets:make_net"], "evil_nets:make_net", ["resnet20", "os:system"], ["timm/convnext_atto"], {"evil_nets": 1}],
    ids=str,
)
def test_a_request_imports_no_network(everything: fo.Dataset, models: Any, evil: Path) -> None:
    operations = get_database()["delegated_ops"]
    before, threads = operations.count_documents({}), threading.active_count()
    for how in ("background", "scheduled", "now"):
        params = {"models": models, "how": how, "label_field": "ground_truth"}
        with pytest.raises(ValueError, match=r"network|models"):
            execute("compute_learnability", everything, params)
    assert form("compute_learnability", everything, params).invalid
    assert operations.count_documents({}) == before
    assert threading.active_count() == threads


def test_a_job_whose_request_was_changed_imports_no_network(everything: fo.Dataset, evil: Path) -> None:
    """The request waits in the database, where others can change it."""
    jobs, service = plugin_module("jobs.job"), DelegatedOperationService()
    ctx, _ = make_context("compute_learnability", everything, {"models": ["resnet20"], "label_field": "ground_truth"})
    id = ObjectId(jobs.queue_job(ctx, "changed"))
    operations = get_database()["delegated_ops"]
    changes = {f"context.{where}.models": ["evil_nets:make_net"] for where in ("params", "request_params.params")}
    operations.update_one({"_id": id}, {"$set": changes})
    service.execute_operation(service.get(id))
    found = operations.find_one({"_id": id})
    assert found["run_state"] == "failed"
    assert "unknown network 'evil_nets:make_net'" in found["result"]["error"]
    operations.delete_one({"_id": id})
