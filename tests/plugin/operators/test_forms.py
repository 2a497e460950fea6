"""Tests of all operators: registration, forms that say what is missing, and the refusal of invalid params."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import pytest
from fiftyone.operators.executor import ExecutionError

import fiftyone_learnability as fol

from ..harness import PANEL, PLUGIN, execute, form, output, submit
from ..review_case import ReviewCase

OPERATORS = (
    "compute_learnability",
    "sort_by_learnability",
    "tag_by_difficulty",
    "show_disagreement",
    "manage_learnability_runs",
    "export_learnability",
    "compare_learnability",
    "suggest_label_fixes",
    "apply_label_fixes",
    "write_learnability_scores",
    "compute_consensus",
    "import_learnability",
    "review_label_fixes",
)


SCORE_OPERATORS = OPERATORS[1:6]


def test_all_operators_are_registered() -> None:
    listed = {operator.uri for operator in foo.list_operators() if operator.plugin_name == PLUGIN}
    speed = f"{PLUGIN}/measure_learnability_speed"
    assert listed == {*(f"{PLUGIN}/{name}" for name in OPERATORS), speed, PANEL}
    listed.remove(speed)
    assert all(operator.config.description for operator in map(foo.get_operator, listed - {PANEL}))


@pytest.mark.parametrize("name", SCORE_OPERATORS)
def test_operators_need_scores(unscored: fo.Dataset, name: str, tmp_path: Path) -> None:
    shown = form(name, unscored)
    assert shown.invalid
    assert "missing" in shown.fields
    with pytest.raises(ValueError, match=r"scores|run"):
        execute(name, unscored, {"key": "x", "new_key": "y", "path": str(tmp_path / "x.csv")})
    assert not list(tmp_path.glob("*.csv"))


@pytest.mark.parametrize("name", SCORE_OPERATORS)
def test_the_defaults_of_forms_are_valid(kept: fo.Dataset, name: str) -> None:
    more = {"new_key": "other"} if name == "manage_learnability_runs" else {}
    assert not form(name, kept, {**form(name, kept).defaults, **more}).invalid


def test_submit_buttons_say_what_they_do(kept: fo.Dataset) -> None:
    labels = {name: form(name, kept).schema["view"]["submit_button_label"] for name in SCORE_OPERATORS[:5]}
    assert list(labels.values()) == ["Sort", "Tag", "Show", "Rename run", "Export"]
    deleting = form("manage_learnability_runs", kept, {"action": "delete"})
    assert deleting.schema["view"]["submit_button_label"] == "Delete run"


def in_app(name: str) -> dict[str, Any]:
    """The part of a request that only the App sends."""
    return {"operator_uri": f"{PLUGIN}/{name}"}


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("which", ["kept", "unscored", "empty"])
def test_nothing_is_red_before_anyone_has_typed(
    request: pytest.FixtureRequest, make_dataset: Any, name: str, which: str
) -> None:
    dataset = make_dataset([], []) if which == "empty" else request.getfixturevalue(which)
    if name == "compare_learnability":
        return
    shown = form(name, dataset, **in_app(name))
    assert shown.red == {}
    # a caller from Python learns why
    assert not shown.invalid or shown.reasons


ERRORS = [
    ("tag_by_difficulty", {"tag": " "}, "tag"),
    ("show_disagreement", {"hard_for": "resnet20", "easy_for": "resnet20"}, "hard_for"),
    ("manage_learnability_runs", {"new_key": "two words"}, "new_key"),
    ("export_learnability", {"path": "scores.xlsx"}, "path"),
    ("import_learnability", {"path": "none.csv"}, "path"),
    ("suggest_label_fixes", {"models": []}, "models"),
    ("compute_consensus", {"models": ["resnet20"]}, "models"),
    ("compute_learnability", {"advanced": True, "key": "two words"}, "key"),
    ("compute_learnability", {"advanced": True, "runs": 0}, "runs"),
    ("compute_learnability", {"advanced": True, "preset": "quick", "measure_every": 50}, "measure_every"),
    ("compute_learnability", {"preset": "custom", "epochs": 0}, "epochs"),
    ("compute_learnability", {"models": []}, "models"),
]


@pytest.mark.parametrize(("name", "params", "field"), ERRORS, ids=lambda value: str(value)[:60])
def test_each_error_is_shown_at_its_field_once(
    predicted: ReviewCase, name: str, params: dict[str, Any], field: str
) -> None:
    shown = form(name, predicted.dataset, params, **in_app(name))
    assert list(shown.red) == [field]
    message = shown.red[field]
    assert shown.visible_text.count(message[1:20]) == 1
    assert message[0].isupper()


def test_an_error_without_a_field_of_its_own_is_shown_once(kept: fo.Dataset) -> None:
    # the input is under “More options”, which are not open
    shown = form("compute_learnability", kept, {"models": ["mobilenet"], "runs": 0}, **in_app("compute_learnability"))
    assert shown.invalid
    assert shown.red == {}
    assert shown.visible_text.count("Runs must be") == 1


FAILING = [
    ("sort_by_learnability", {"model": "alexnet"}, "alexnet"),
    ("tag_by_difficulty", {"count": 0}, "count"),
    ("show_disagreement", {"limit": 0}, "limit"),
    ("manage_learnability_runs", {"new_key": "two words"}, "two words"),
    ("export_learnability", {"path": "../scores.csv"}, "path"),
    ("import_learnability", {"path": "none.csv"}, "no file"),
    ("suggest_label_fixes", {}, "stored its predictions"),
    ("apply_label_fixes", {}, "no suggested labels"),
    ("write_learnability_scores", {}, "written already"),
    ("compute_consensus", {"models": ["alexnet"]}, "alexnet"),
    ("compute_learnability", {"models": ["alexnet"]}, "alexnet"),
    ("compute_learnability", {"models": ["resnet20"]}, "learnability_resnet20"),
    ("compute_learnability", {"models": ["mobilenet"], "how": "now"}, "cannot be read"),
]


@pytest.mark.parametrize(("name", "params", "culprit"), FAILING, ids=lambda value: str(value)[:60])
def test_the_app_shows_an_error_as_a_sentence(
    kept: fo.Dataset, name: str, params: dict[str, Any], culprit: str
) -> None:
    answer = submit(name, kept, params)
    result = answer.result[-1].body.to_json() if isinstance(answer.result, list) else answer.result
    shown = output(name, kept, result)
    assert culprit in shown.lower()
    assert "This did not work" in shown
    assert "Traceback" not in shown
    (notice,) = answer.called("notify")
    assert notice["variant"] == "error"
    assert culprit in notice["message"].lower()
    # Python gets the exception
    with pytest.raises(ValueError, match=culprit):
        execute(name, kept, params)
    with pytest.raises(ExecutionError):
        foo.execute_operator(f"{PLUGIN}/{name}", dataset=kept, params=params)


def test_a_file_that_cannot_be_written_is_shown_as_a_sentence(kept: fo.Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    answer = submit("export_learnability", kept, {"path": str(tmp_path / "file" / "scores.csv")})
    assert str(tmp_path / "file") in answer.result["error"]


def test_nothing_is_shown_after_a_success(kept: fo.Dataset) -> None:
    answer = submit("sort_by_learnability", kept)
    assert answer.called("set_view")
    assert output("sort_by_learnability", kept, answer.result) == ""


BAD = [
    ("sort_by_learnability", {"model": "alexnet"}, "alexnet"),
    ("sort_by_learnability", {"first": "middle"}, "first"),
    ("tag_by_difficulty", {"model": "alexnet"}, "alexnet"),
    ("tag_by_difficulty", {"which": "middle"}, "which"),
    ("tag_by_difficulty", {"unit": "dozen"}, "unit"),
    ("tag_by_difficulty", {"count": 0}, "count"),
    ("tag_by_difficulty", {"count": 2.5}, "count"),
    ("tag_by_difficulty", {"count": "many"}, "count"),
    ("tag_by_difficulty", {"unit": "percent", "percent": 0}, "percent"),
    ("tag_by_difficulty", {"unit": "percent", "percent": 100.5}, "percent"),
    ("tag_by_difficulty", {"unit": "percent", "percent": "half"}, "percent"),
    ("tag_by_difficulty", {"per_class": "no"}, "per_class"),
    ("tag_by_difficulty", {"tag": ""}, "tag"),
    ("tag_by_difficulty", {"tag": "  "}, "tag"),
    ("show_disagreement", {"easy_for": "vgg16", "hard_for": "vgg16"}, "vgg16"),
    ("show_disagreement", {"easy_for": "alexnet"}, "alexnet"),
    ("show_disagreement", {"limit": 0}, "limit"),
    ("show_disagreement", {"limit": "few"}, "limit"),
    ("manage_learnability_runs", {"key": "learnability", "action": "burn"}, "action"),
    ("manage_learnability_runs", {"key": "learnability", "action": "delete"}, "confirmed"),
    ("manage_learnability_runs", {"key": "learnability", "action": "delete", "confirmed": "no"}, "confirmed"),
    ("manage_learnability_runs", {"key": "learnability", "new_key": "two words"}, "two words"),
    ("manage_learnability_runs", {"key": "learnability", "new_key": "taken"}, "taken"),
    ("manage_learnability_runs", {"key": "learnability"}, "key"),
    ("manage_learnability_runs", {"key": "nothing", "action": "delete", "confirmed": True}, "nothing"),
    ("manage_learnability_runs", {"key": "foreign", "action": "delete", "confirmed": True}, "foreign"),
    ("export_learnability", {}, "path must name a file"),
    ("export_learnability", {"path": "../scores.csv"}, "path: .* is not in"),
    ("export_learnability", {"path": "/no/such/folder/scores.csv"}, "/no/such/folder"),
    ("export_learnability", {"path": "/tmp/scores.xlsx"}, "or .parquet"),
]


@pytest.mark.parametrize(("name", "params", "culprit"), BAD, ids=lambda value: str(value)[:60])
def test_operators_refuse(kept: fo.Dataset, name: str, params: dict[str, Any], culprit: str) -> None:
    with pytest.raises(ValueError, match=culprit):
        execute(name, kept, params)
    assert kept.count_sample_tags() == {}
    assert fol.list_runs(kept) == ["learnability"]
    assert kept.count("learnability_vgg16") == 40
