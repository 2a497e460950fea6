"""After fields and runs were renamed, deleted or copied, forms, operators and the panel work or say what is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fiftyone as fo
import pytest

from ..dataset.changed import CHANGES, COUNT, RAW, message, write_everything
from .harness import PanelHarness, execute, form

pytestmark = pytest.mark.slow

OPERATORS: dict[str, dict[str, Any]] = {
    "sort_by_learnability": {},
    "tag_by_difficulty": {"count": 3, "per_class": True},
    "show_disagreement": {},
    "export_learnability": {"path": "scores.csv", "overwrite": True},
    "apply_label_fixes": {},
    "review_label_fixes": {},
    "write_learnability_scores": {},
    "suggest_label_fixes": {"overwrite": True},
    "compute_consensus": {"overwrite": True},
    "manage_learnability_runs": {"key": "mine", "new_key": "theirs"},
}
"""With their params; those that write come last."""

TABS = ("compare", "map", "labels", "examples", "classes", "curves")
EVENTS = (
    "on_hardest",
    "on_easiest",
    "on_first_easier",
    "on_second_easier",
    "on_either_easier",
    "on_highest",
    "on_write",
    "on_mislabelled",
    "on_hard",
    "on_review",
    "on_decide",
    "on_undo",
    "on_timer",
)


@pytest.fixture
def dataset(
    make_dataset: Callable[..., fo.Dataset], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[fo.Dataset]:
    monkeypatch.setenv("FIFTYONE_LEARNABILITY_DIR", str(tmp_path))
    before = set(fo.list_datasets())
    dataset = make_dataset([f"/no/{index}.png" for index in range(COUNT)], ["a", "b"] * (COUNT // 2))
    write_everything(dataset)
    yield dataset
    for name in set(fo.list_datasets()) - before - {dataset.name}:
        fo.delete_dataset(name)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_forms_operators_and_panel_work_or_say_what_is_missing(
    dataset: fo.Dataset, change: Callable[[fo.Dataset], fo.Dataset]
) -> None:
    changed = change(dataset)
    panel = PanelHarness(changed)
    panel.open()
    panel.select(*changed.values("id")[:2])
    for tab in TABS:
        panel.tab(tab)
    for event in EVENTS:
        said = " ".join(call["message"] for call in panel.event(event).called("notify"))
        assert not any(raw in said for raw in RAW), f"{event}: {said}"
    chosen = {"selected": changed.values("id")[:3], "view_target": "SELECTED_SAMPLES"}
    for name, params in OPERATORS.items():
        request = chosen if name == "apply_label_fixes" else {}
        # raises if the form cannot be made
        shown = form(name, changed, params, **request)
        said = message(lambda name=name, params=params, request=request: execute(name, changed, params, **request))
        assert not any(raw in said for raw in RAW), f"{name}: {said}"
        assert said or not shown.invalid, f"{name} runs, but its form says {shown.visible_text}"


@pytest.mark.parametrize("change", ["view cloned", "run deleted"])
def test_scores_without_their_run_are_told(dataset: fo.Dataset, change: str) -> None:
    changed = CHANGES[change](dataset)
    for name in ("write_learnability_scores", "suggest_label_fixes"):
        assert "has scores of 'resnet20' but not their run" in form(name, changed).visible_text, name


def test_renamed_scores_are_told(dataset: fo.Dataset) -> None:
    for number, model in enumerate(("resnet20", "vgg16", "consensus")):
        dataset.rename_sample_field(f"learnability_{model}", f"kept{number}")
    said = form("sort_by_learnability", dataset).visible_text
    assert "No field has the name of a score; the field 'kept0' holds the learnability of 'resnet20'" in said


def test_deleted_fields_can_be_written_again(dataset: fo.Dataset) -> None:
    values = dataset.values("learnability_resnet20")
    dataset.delete_sample_fields(["learnability_resnet20", "learnability_rank_resnet20"])
    shown = form("write_learnability_scores", dataset)
    assert "resnet20" in shown.choices("models")
    execute("write_learnability_scores", dataset, {"models": ["resnet20"], "scores": ["learnability"]})
    assert dataset.values("learnability_resnet20") == values
    assert dataset.has_field("learnability_rank_resnet20")
