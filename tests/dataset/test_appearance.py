"""How scores show in the App: their own sidebar group, and a workspace."""

from __future__ import annotations

import fiftyone as fo
import pytest

import fiftyone_learnability as fol
from fiftyone_learnability.dataset import fields
from fiftyone_learnability.dataset.appearance import GROUP, PANEL, WORKSPACE
from fiftyone_learnability.dataset.notes import fields_of

from .helpers import make_results, raiser, write_results


def write(dataset: fo.Dataset, models: list[str], key: str) -> None:
    write_results(dataset, make_results(dataset, *models), key, {"label_field": "ground_truth"})


def groups(dataset: fo.Dataset) -> dict[str, list[str]]:
    dataset.reload()
    return {group.name: list(group.paths) for group in dataset.app_config.sidebar_groups or []}


def test_fields_move_into_a_group_after_the_labels(digit_dataset: fo.Dataset) -> None:
    write(digit_dataset, ["a", "b"], "first")
    shown = groups(digit_dataset)
    assert shown[GROUP] == fields_of(["a", "b"])
    assert list(shown).index(GROUP) == list(shown).index("labels") + 1
    assert not set(shown["primitives"]) & set(shown[GROUP])
    assert "ground_truth" in shown["labels"]


def test_groups_of_the_user_stay(digit_dataset: fo.Dataset) -> None:
    own = fo.DatasetAppConfig.default_sidebar_groups(digit_dataset)
    own[0].name = "mine"
    digit_dataset.app_config.sidebar_groups = own
    digit_dataset.save()
    write(digit_dataset, ["a"], "first")
    write(digit_dataset, ["b"], "second")
    shown = groups(digit_dataset)
    assert "mine" in shown
    assert shown[GROUP] == fields_of(["a", "b"])


def test_the_workspace_has_grid_and_panel_and_is_saved_once(digit_dataset: fo.Dataset) -> None:
    write(digit_dataset, ["a"], "first")
    assert digit_dataset.list_workspaces() == [WORKSPACE]
    panels = [space.children[0].type for space in digit_dataset.load_workspace(WORKSPACE).children]
    assert panels == ["Samples", PANEL]
    digit_dataset.save_workspace(WORKSPACE, fo.Space(children=[fo.Panel(type="Samples")]), overwrite=True)
    write(digit_dataset, ["b"], "second")
    assert [child.type for child in digit_dataset.load_workspace(WORKSPACE).children] == ["Samples"]


def test_group_and_workspace_go_with_the_last_scores(digit_dataset: fo.Dataset) -> None:
    write(digit_dataset, ["a"], "first")
    write(digit_dataset, ["b"], "second")
    fol.delete_run(digit_dataset, "first")
    assert groups(digit_dataset)[GROUP] == fields_of(["b"])
    assert digit_dataset.has_workspace(WORKSPACE)
    fol.delete_run(digit_dataset, "second")
    assert GROUP not in groups(digit_dataset)
    assert not digit_dataset.has_workspace(WORKSPACE)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_workspace_of_the_user_stays(digit_dataset: fo.Dataset, when: str) -> None:
    theirs = fo.Space(children=[fo.Panel(type="Samples")])
    if when == "before":
        digit_dataset.save_workspace(WORKSPACE, theirs)
    write(digit_dataset, ["a"], "first")
    if when == "after":
        # changed in the App, which keeps the description
        description = digit_dataset.get_workspace_info(WORKSPACE)["description"]
        digit_dataset.save_workspace(WORKSPACE, theirs, description=description, overwrite=True)
    fol.delete_run(digit_dataset, "first")
    assert [child.type for child in digit_dataset.load_workspace(WORKSPACE).children] == ["Samples"]


def test_scores_are_written_even_if_the_sidebar_cannot_be_changed(
    digit_dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fields, "show_in_app", raiser(RuntimeError("no sidebar")))
    write(digit_dataset, ["a"], "first")
    assert digit_dataset.count("learnability_a") == len(digit_dataset)
    assert fol.list_runs(digit_dataset) == ["first"]
    assert "could not be put into their own sidebar group" in caplog.text
