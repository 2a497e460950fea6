"""After fields and runs were renamed, deleted or copied, every call works or says in a sentence what is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fiftyone as fo
import pytest

import fiftyone_learnability as fol

from .dataset.changed import CHANGES, COUNT, LEARNABILITY, RANK, RAW, message, write_everything

MODEL = "resnet20"

CALLS: dict[str, Callable[[fo.Dataset, Path], Any]] = {
    "find_models": lambda dataset, folder: fol.find_models(dataset),
    "find_scores": lambda dataset, folder: fol.find_scores(dataset, MODEL),
    "load_scores": lambda dataset, folder: fol.load_scores(dataset),
    "hardest_samples": lambda dataset, folder: fol.hardest_samples(dataset, MODEL),
    "sort_by_learnability": lambda dataset, folder: fol.sort_by_learnability(dataset, MODEL).values("id"),
    "select_by_difficulty": lambda dataset, folder: fol.select_by_difficulty(dataset, MODEL, count=2, per_class=True),
    "tag_by_difficulty": lambda dataset, folder: fol.tag_by_difficulty(dataset, MODEL, count=2),
    "disagreement": lambda dataset, folder: fol.disagreement(dataset, MODEL, "vgg16").values("id"),
    "compare_models": lambda dataset, folder: fol.compare_models(dataset),
    "select_subset": lambda dataset, folder: fol.select_subset(dataset, 0.5),
    "select_subset of a network": lambda dataset, folder: fol.select_subset(dataset, 0.5, model=MODEL),
    "curriculum": lambda dataset, folder: fol.curriculum(dataset),
    "export_scores": lambda dataset, folder: fol.export_scores(dataset, folder / "scores.csv"),
    "export_scores of a network": lambda dataset, folder: fol.export_scores(dataset, folder / "scores.csv", MODEL),
    "pred_probs": lambda dataset, folder: fol.pred_probs(dataset, MODEL),
    "stability": lambda dataset, folder: fol.stability(dataset, MODEL),
    "load_results": lambda dataset, folder: fol.load_results(dataset, "mine"),
    "label_problems": lambda dataset, folder: fol.label_problems(dataset).values("id"),
    "review_queue": lambda dataset, folder: fol.review_queue(dataset).values("id"),
    "start_label_review": lambda dataset, folder: fol.start_label_review(dataset),
    "decide_labels": lambda dataset, folder: fol.decide_labels(dataset.limit(5), "accepted"),
    "undo_decisions": lambda dataset, folder: fol.undo_decisions(dataset),
    "apply_label_fixes": lambda dataset, folder: fol.apply_label_fixes(dataset.limit(5)),
    "add_scores": lambda dataset, folder: fol.add_scores(dataset, "variability"),
    "add_scores of a network": lambda dataset, folder: fol.add_scores(dataset, "hits", MODEL),
    "suggest_label_fixes": lambda dataset, folder: fol.suggest_label_fixes(dataset, overwrite=True),
    "write_consensus": lambda dataset, folder: fol.write_consensus(dataset, overwrite=True),
    "rename_run": lambda dataset, folder: fol.rename_run(dataset, "mine", "theirs"),
    "delete_run": lambda dataset, folder: fol.delete_run(dataset, "theirs"),
}
"""Those that write come last."""


@pytest.fixture
def dataset(make_dataset: Callable[..., fo.Dataset]) -> Iterator[fo.Dataset]:
    before = set(fo.list_datasets())
    dataset = make_dataset([f"/no/{index}.png" for index in range(COUNT)], ["a", "b"] * (COUNT // 2))
    write_everything(dataset)
    yield dataset
    for name in set(fo.list_datasets()) - before - {dataset.name}:
        fo.delete_dataset(name)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_call_works_or_says_what_is_missing(
    dataset: fo.Dataset, tmp_path: Path, change: Callable[[fo.Dataset], fo.Dataset]
) -> None:
    changed = change(dataset)
    for name, call in CALLS.items():
        said = message(lambda call=call: call(changed, tmp_path))
        assert not any(raw in said for raw in RAW), f"{name}: {said}"


def test_a_renamed_field_is_found(dataset: fo.Dataset) -> None:
    dataset.rename_sample_field(LEARNABILITY, "difficulty")
    assert fol.find_models(dataset) == ["vgg16"]
    advice = f"the field 'difficulty' holds the learnability of 'resnet20': rename it to '{LEARNABILITY}'"
    for name in ("hardest_samples", "tag_by_difficulty", "pred_probs", "export_scores of a network"):
        said = message(lambda name=name: CALLS[name](dataset, Path()))
        assert said.startswith("the network 'resnet20' has no scores; the networks that do: vgg16, consensus"), name
        assert advice in said, name
    # calls for all networks go on with the other one
    assert fol.scores_table(dataset).columns[3] == "learnability_vgg16"
    dataset.rename_sample_field("learnability_vgg16", "more")
    dataset.delete_sample_field("learnability_consensus")
    for name in ("export_scores", "select_subset", "add_scores", "suggest_label_fixes"):
        said = message(lambda name=name: CALLS[name](dataset, Path()))
        assert said.startswith(f"no field has the name of a score; {advice}"), f"{name}: {said}"
    dataset.rename_sample_field("difficulty", LEARNABILITY)
    assert len(fol.hardest_samples(dataset, MODEL)) == 20


@pytest.mark.parametrize("fields", [[LEARNABILITY], [RANK], [LEARNABILITY, RANK]])
def test_deleted_fields_are_written_again(dataset: fo.Dataset, fields: list[str]) -> None:
    before = {field: dataset.values(field) for field in (LEARNABILITY, RANK)}
    dataset.delete_sample_fields(fields)
    said = message(lambda: fol.hardest_samples(dataset, MODEL))
    score = "learnability" if LEARNABILITY in fields else "rank"
    assert f"the field '{fields[0]}' was deleted or renamed: add_scores(dataset, '{score}', 'resnet20') writes" in said
    assert sorted(fol.add_scores(dataset, score, MODEL)) == sorted(fields)
    assert {field: dataset.values(field) for field in before} == before
    assert len(fol.hardest_samples(dataset, MODEL)) == 20
    dataset.delete_sample_field("learnability_rank_consensus")
    assert "write_consensus(dataset, overwrite=True) writes it" in message(
        lambda: fol.hardest_samples(dataset, "consensus")
    )


@pytest.mark.parametrize("change", ["view cloned", "exported and added", "run deleted"])
def test_scores_without_their_run_are_told_from_scores_that_are_gone(dataset: fo.Dataset, change: str) -> None:
    changed = CHANGES[change](dataset)
    for name in ("pred_probs", "add_scores", "suggest_label_fixes"):
        said = message(lambda name=name: CALLS[name](changed, Path()))
        assert f"the dataset {changed.name!r} has scores of 'resnet20' but not their run, as after" in said, name
    said = message(lambda: CALLS["select_subset"](changed, Path()))
    assert "but not their run" in said
    assert said.endswith("give label_field, or set per_class=False")
    assert len(fol.select_subset(changed, 0.5, label_field="ground_truth")) == len(changed) // 2
    if change == "view cloned":
        said = message(lambda: fol.apply_label_fixes(changed.limit(3)))
        assert "has suggested labels but not the run 'label_fixes'" in said


def test_a_clone_has_everything(dataset: fo.Dataset, tmp_path: Path) -> None:
    clone = dataset.clone()
    assert not any(message(lambda call=call: call(clone, tmp_path)) for call in CALLS.values())


def test_a_view_without_the_field_is_told(dataset: fo.Dataset) -> None:
    view = dataset.exclude_fields(LEARNABILITY)
    with pytest.raises(ValueError, match=f"the view leaves out the field '{LEARNABILITY}'"):
        fol.hardest_samples(view, MODEL)
    with pytest.raises(ValueError, match=f"the view leaves out the field '{RANK}'"):
        fol.hardest_samples(dataset.exclude_fields(RANK), MODEL)


def test_missing_suggestions_are_named(dataset: fo.Dataset) -> None:
    dataset.rename_sample_field("learnability_contradiction", "doubt")
    with pytest.raises(ValueError, match="'learnability_contradiction' of the suggested labels is now 'doubt'"):
        fol.label_problems(dataset)
    dataset.delete_sample_field("learnability_suggestion")
    dataset.rename_sample_field("doubt", "learnability_contradiction")
    with pytest.raises(ValueError, match="'learnability_suggestion' of the suggested labels is missing: run"):
        fol.apply_label_fixes(dataset.limit(3))


@pytest.mark.parametrize("field", [None, "gt"])
def test_missing_labels_are_named(dataset: fo.Dataset, field: str | None) -> None:
    if field is None:
        dataset.delete_sample_field("ground_truth")
    else:
        dataset.rename_sample_field("ground_truth", field)
    for name in ("select_by_difficulty", "select_subset", "suggest_label_fixes"):
        said = message(lambda name=name: CALLS[name](dataset, Path()))
        assert (
            "the field 'ground_truth' with the labels that 'resnet20' was trained with was deleted or renamed" in said
        )
        assert ("rename it back if it is now 'gt'" in said) == (field is not None)


@pytest.mark.parametrize("call", ["export_scores", "hardest_samples"])
def test_an_empty_label_column_is_announced(
    dataset: fo.Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture, call: str
) -> None:
    CALLS[call](dataset, tmp_path)
    assert caplog.messages == []
    dataset.rename_sample_field("ground_truth", "gt")
    CALLS[call](dataset, tmp_path)
    (said,) = caplog.messages
    assert said.startswith("the column label stays empty: the field 'ground_truth' with the labels that 'resnet20' was")
    assert said.endswith("rename it back if it is now 'gt', which has the same classes")
    caplog.clear()
    dataset.rename_sample_field("gt", "ground_truth")
    CALLS[call](dataset.exclude_fields("ground_truth"), tmp_path)
    assert "the view leaves out the field 'ground_truth' with the labels" in caplog.text


def test_a_dataset_without_networks_is_told(make_dataset: Callable[..., fo.Dataset]) -> None:
    dataset = make_dataset(["/no/1.png"], ["a"])
    for name in ("add_scores", "export_scores", "suggest_label_fixes", "select_subset"):
        said = message(lambda name=name: CALLS[name](dataset, Path()))
        assert said.startswith("there are no scores yet: compute learnability first"), name


@pytest.mark.parametrize("written", ["ResNet-20", "resnet_20", "RESNET20"])
def test_networks_may_be_written_as_in_the_app(dataset: fo.Dataset, written: str) -> None:
    assert fol.hardest_samples(dataset, written).equals(fol.hardest_samples(dataset, MODEL))
    assert fol.select_subset(dataset, 0.5, model=written).values("id") == CALLS["select_subset"](
        dataset, Path()
    ).values("id")
    assert list(fol.load_scores(dataset, [written, "VGG-16"])[1]) == ["resnet20", "vgg16"]
    assert len(fol.disagreement(dataset, written, "VGG-16"))
    assert fol.compare_models(dataset, [written, "VGG-16"]).models == ("resnet20", "vgg16")
    assert fol.pred_probs(dataset, written).classes == ("a", "b")
    assert fol.add_scores(dataset, "hits", written) == ["learnability_resnet20_hits"]
    assert list(fol.sort_by_learnability(dataset, "Consensus")) == list(fol.sort_by_learnability(dataset, "consensus"))
