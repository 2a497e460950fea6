"""Tests of all operators: registration, forms that say what is missing, and the refusal of invalid params."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import pytest

import fiftyone_learnability as fol

from ..harness import PANEL, PLUGIN, execute, form

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
)


SCORE_OPERATORS = OPERATORS[1:6]


def test_all_operators_are_registered() -> None:
    listed = {operator.uri for operator in foo.list_operators() if operator.plugin_name == PLUGIN}
    assert listed == {*(f"{PLUGIN}/{name}" for name in OPERATORS), PANEL}
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
    shown = form(name, kept)
    assert not shown.invalid
    if name == "manage_learnability_runs":
        shown.defaults["new_key"] = "other"
    assert not form(name, kept, shown.defaults).invalid


def test_submit_buttons_say_what_they_do(kept: fo.Dataset) -> None:
    labels = {name: form(name, kept).schema["view"]["submit_button_label"] for name in SCORE_OPERATORS[:5]}
    assert list(labels.values()) == ["Sort", "Tag", "Show", "Rename run", "Export"]
    deleting = form("manage_learnability_runs", kept, {"action": "delete"})
    assert deleting.schema["view"]["submit_button_label"] == "Delete run"


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
