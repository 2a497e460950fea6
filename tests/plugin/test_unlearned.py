"""Forms and panel warn of networks that did not learn clearly more than chance, and leave them out unless chosen."""

from __future__ import annotations

from collections.abc import Callable

import fiftyone as fo
import pytest

from fiftyone_learnability.dataset.evidence import find_unlearned
from tests.dataset.helpers import write_results
from tests.dataset.test_evidence import PROBLEM, results_of

from .harness import PanelHarness, execute, form

WARNING = PROBLEM.removeprefix("dead ")


@pytest.fixture
def dataset(make_dataset: Callable[..., fo.Dataset]) -> fo.Dataset:
    """Forty samples of two classes with scores of two networks that learned, and one that did not."""
    dataset = make_dataset([f"/no/{index}.png" for index in range(40)], ["a", "b"] * 20)
    for model, accuracy in {"dead": 0.5, "one": 0.9, "two": 0.95}.items():
        result = results_of(dataset, model, accuracy, predicts=0 if model == "dead" else None)
        write_results(dataset, {model: result}, f"run_{model}", {"label_field": "ground_truth", "epochs": 2})
    assert list(find_unlearned(dataset, ["dead", "one", "two"])) == ["dead"]
    return dataset


@pytest.mark.parametrize("operator", ["suggest_label_fixes", "compute_consensus"])
def test_forms_leave_them_out_and_say_so(dataset: fo.Dataset, operator: str) -> None:
    shown = form(operator, dataset)
    assert shown.choices("models") == ["dead", "one", "two"]
    assert shown.defaults["models"] == ["one", "two"]
    assert WARNING in shown.text
    assert "It is left out unless you choose it" in shown.text
    execute(operator, dataset)
    key = {"suggest_label_fixes": "label_fixes", "compute_consensus": "consensus"}[operator]
    assert dataset.get_run_info(key).config.of == ["one", "two"]


@pytest.mark.parametrize("operator", ["suggest_label_fixes", "compute_consensus"])
def test_they_can_be_chosen(dataset: fo.Dataset, operator: str) -> None:
    params = {"models": ["dead", "one"]}
    assert "You have chosen it nevertheless" in form(operator, dataset, params).text
    (notice,) = execute(operator, dataset, params).called("notify")
    assert notice["variant"] == "warning"
    assert PROBLEM in notice["message"]


def test_forms_without_a_network_that_learned_say_why(dataset: fo.Dataset) -> None:
    dataset.delete_run("run_one")
    dataset.delete_run("run_two")
    shown = form("suggest_label_fixes", dataset)
    assert shown.invalid
    assert WARNING in shown.text


@pytest.mark.parametrize("operator", ["sort_by_learnability", "tag_by_difficulty"])
def test_forms_choose_the_first_network_that_learned(dataset: fo.Dataset, operator: str) -> None:
    shown = form(operator, dataset)
    assert shown.defaults["model"] == "one"
    assert WARNING not in shown.text
    chosen = form(operator, dataset, {"model": "dead"})
    assert WARNING in chosen.text
    assert "Its scores may say nothing about the samples" in chosen.text


def test_a_disagreement_is_between_networks_that_learned(dataset: fo.Dataset) -> None:
    assert form("show_disagreement", dataset).defaults["easy_for"] == "one"
    assert form("show_disagreement", dataset).defaults["hard_for"] == "two"
    (shown,) = execute("show_disagreement", dataset).called("set_view")
    assert "learnability_rank_dead" not in str(shown)


def test_the_panel_warns(dataset: fo.Dataset) -> None:
    layout = PanelHarness(dataset).open().layout
    warning = layout["unlearned_dead"]["view"]
    assert warning["severity"] == "warning"
    assert WARNING in warning["label"]
    assert "unlearned_one" not in layout


def test_the_panel_shows_the_remarks_of_suggestions(dataset: fo.Dataset) -> None:
    dataset.set_values("ground_truth.label", ["b", "a"] * 20)
    execute("suggest_label_fixes", dataset)
    panel = PanelHarness(dataset)
    panel.open()
    assert "contradicts 40 of 40 labels" in panel.tab("labels").layout["label_remark_0"]["view"]["label"]
