"""The operators that write more fields: further scores, the consensus, those of files; and the scores of a training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fiftyone as fo
import numpy as np
import pandas as pd
import pytest

import fiftyone_learnability as fol
from fiftyone_learnability.dataset.registry import LearnabilityRun

from .harness import execute, form, plugin_module, through_browser
from .made_up import write_scores

MakeDataset = Callable[..., fo.Dataset]
COUNT = 20
MEASURED = ["hits", "variability", "forgetting", "aum"]


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keeps forms from measuring this machine."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("FIFTYONE_LEARNABILITY_DIR", str(tmp_path))
    monkeypatch.setattr(plugin_module("operators.compute"), "measure_rates", lambda request: None)


@pytest.fixture
def unscored(make_dataset: MakeDataset) -> fo.Dataset:
    return make_dataset([f"/no/{index}.png" for index in range(COUNT)], list("ab") * (COUNT // 2))


@pytest.fixture
def scored(unscored: fo.Dataset) -> fo.Dataset:
    """resnet20 has measured four more scores, vgg16 only hits."""
    rng = np.random.default_rng(2)
    more = {"resnet20": {name: rng.random(COUNT) for name in MEASURED}, "vgg16": {"hits": rng.random(COUNT)}}
    scores = {"resnet20": np.linspace(0, 1, COUNT), "vgg16": rng.random(COUNT)}
    write_scores(unscored, scores, more=more)
    return unscored


def fields(dataset: fo.Dataset) -> set[str]:
    dataset.reload()
    return {name for name in dataset.get_field_schema() if name.startswith("learnability")}


def in_view(view: fo.DatasetView) -> dict[str, Any]:
    return {"view": through_browser(view._serialize()), "view_target": "CURRENT_VIEW"}


# more scores


def test_the_form_of_write_scores(scored: fo.Dataset) -> None:
    shown = form("write_learnability_scores", scored)
    assert not shown.invalid
    assert shown.choices("models") == shown.defaults["models"] == ["resnet20", "vgg16"]
    assert shown.choices("scores") == ["all", *MEASURED]
    assert shown.defaults["scores"] == ["all"]
    assert "`learnability_vgg16_hits`" in shown.defaults["consequences"]
    assert "`learnability_resnet20_aum`" in shown.defaults["consequences"]
    assert "vgg16_aum" not in shown.defaults["consequences"]
    # what one of them has not measured
    asked = {"models": ["resnet20", "vgg16"], "scores": ["aum"]}
    shown = form("write_learnability_scores", scored, asked)
    assert shown.invalid
    assert "VGG-16" in shown.schema["error_message"]
    assert not form("write_learnability_scores", scored, {**asked, "models": ["resnet20"]}).invalid


def test_write_scores(scored: fo.Dataset) -> None:
    before = fields(scored)
    params = {"models": ["resnet20"], "scores": ["forgetting", "hits"]}
    answer = execute("write_learnability_scores", scored, params)
    assert answer.result == {"fields": ["learnability_resnet20_hits", "learnability_resnet20_forgetting"]}
    assert answer.called("reload_dataset")
    assert fields(scored) - before == set(answer.result["fields"])
    # the rest, of both
    assert form("write_learnability_scores", scored).choices("scores") == ["all", "hits", "variability", "aum"]
    answer = execute("write_learnability_scores", scored)
    assert set(answer.result["fields"]) == {
        "learnability_resnet20_variability",
        "learnability_resnet20_aum",
        "learnability_vgg16_hits",
    }
    shown = form("write_learnability_scores", scored)
    assert shown.invalid
    assert "written already" in shown.schema["error_message"]
    with pytest.raises(ValueError, match="written already"):
        execute("write_learnability_scores", scored)


BAD_WRITE = [
    ({"models": "resnet20"}, "models"),
    ({"models": []}, "models"),
    ({"models": ["alexnet"]}, "alexnet"),
    ({"scores": ["learned_epoch"]}, "learned_epoch"),
    ({"scores": "hits"}, "scores"),
    ({"scores": []}, "scores"),
    ({"scores": ["hits", "hits"]}, "scores"),
    ({"models": ["vgg16"], "scores": ["aum"]}, "aum"),
    ({"scores": ["hits", "aum"]}, "aum"),
]


@pytest.mark.parametrize(("params", "culprit"), BAD_WRITE, ids=lambda value: str(value))
def test_write_scores_refuses(scored: fo.Dataset, params: dict[str, Any], culprit: str) -> None:
    before = fields(scored)
    with pytest.raises(ValueError, match=culprit):
        execute("write_learnability_scores", scored, params)
    assert form("write_learnability_scores", scored, params).invalid
    assert fields(scored) == before


# the consensus


def test_consensus(scored: fo.Dataset) -> None:
    shown = form("compute_consensus", scored)
    assert not shown.invalid
    assert shown.choices("models") == shown.defaults["models"] == ["resnet20", "vgg16"]
    assert "overwrite" not in shown.fields
    answer = execute("compute_consensus", scored, shown.defaults)
    assert answer.result["samples"] == COUNT
    assert answer.called("reload_dataset")
    assert {"learnability_consensus", "learnability_rank_consensus", "learnability_disagreement"} <= fields(scored)
    first, second = (np.array(scored.values(f"learnability_{model}")) for model in ("resnet20", "vgg16"))
    mean = ((first - first.mean()) / first.std() + (second - second.mean()) / second.std()) / 2
    np.testing.assert_allclose(scored.values("learnability_consensus"), mean)
    # it can be sorted by like a network
    assert "consensus" in form("sort_by_learnability", scored).choices("model")
    (call,) = execute("sort_by_learnability", scored, {"model": "consensus"}).called("set_view")
    shown_ids = fo.DatasetView._build(scored, through_browser(call["view"])).values("id")
    assert shown_ids == [scored.values("id")[index] for index in np.argsort(mean)]
    # a second one replaces it only when that is ticked
    shown = form("compute_consensus", scored)
    assert shown.invalid
    assert "`learnability_disagreement`" in shown.fields["replaces"]["view"]["description"]
    with pytest.raises(ValueError, match="overwrite"):
        execute("compute_consensus", scored)
    assert not form("compute_consensus", scored, {"overwrite": True}).invalid
    answer = execute("compute_consensus", scored, {"overwrite": True}, **in_view(scored.limit(7)))
    assert answer.result["samples"] == 7


def test_a_consensus_needs_two_networks(unscored: fo.Dataset) -> None:
    write_scores(unscored, {"resnet20": np.linspace(0, 1, COUNT)})
    assert form("compute_consensus", unscored).invalid
    with pytest.raises(ValueError, match="two networks"):
        execute("compute_consensus", unscored)


@pytest.mark.parametrize(
    ("params", "culprit"),
    [
        ({"models": ["resnet20"]}, "models"),
        ({"models": ["resnet20", "alexnet"]}, "alexnet"),
        ({"models": "all"}, "models"),
    ],
    ids=lambda value: str(value),
)
def test_consensus_refuses(scored: fo.Dataset, params: dict[str, Any], culprit: str) -> None:
    assert form("compute_consensus", scored, params).invalid
    with pytest.raises(ValueError, match=culprit):
        execute("compute_consensus", scored, params)
    assert "learnability_consensus" not in fields(scored)
    with pytest.raises(ValueError, match="overwrite"):
        execute("compute_consensus", scored, {"overwrite": "yes"})


# scores from files


def test_import_of_somebody_elses_scores(unscored: fo.Dataset, tmp_path: Path) -> None:
    ease = np.linspace(-3, 8, COUNT)
    table = pd.DataFrame({"id": unscored.values("id"), "ease": ease, "aum": ease * 2})
    table.loc[COUNT] = ["0" * 24, 1.0, 1.0]
    path = tmp_path / "scores.csv"
    table.to_csv(path, index=False)
    params: dict[str, Any] = {"path": str(path), "name": "mine", "advanced": True, "learnability": "ease"}
    shown = form("import_learnability", unscored, params)
    assert not shown.invalid
    assert "overwrite" not in shown.fields
    answer = execute("import_learnability", unscored, params)
    assert answer.result["samples"] == COUNT
    assert answer.result["unknown"] == 1
    assert set(answer.result["fields"]) == {"learnability_mine", "learnability_rank_mine", "learnability_mine_aum"}
    assert "1 in the file were not found" in answer.called("notify")[0]["message"]
    assert answer.called("reload_dataset")
    unscored.reload()
    assert unscored.values("learnability_mine") == pytest.approx(ease.tolist())
    # once more: it has to be ticked
    shown = form("import_learnability", unscored, params)
    assert shown.invalid
    assert "`learnability_mine`" in shown.fields["replaces"]["view"]["description"]
    with pytest.raises(ValueError, match="overwrite"):
        execute("import_learnability", unscored, params)
    assert not form("import_learnability", unscored, {**params, "overwrite": True}).invalid
    assert execute("import_learnability", unscored, {**params, "overwrite": True}).result["samples"] == COUNT


@pytest.mark.parametrize("ending", ["csv", "npz", "parquet"])
def test_what_was_exported_is_imported(scored: fo.Dataset, tmp_path: Path, ending: str) -> None:
    execute("write_learnability_scores", scored)
    scored.reload()
    values = {name: scored.values(name) for name in fields(scored)}
    path = str(tmp_path / f"all.{ending}")
    execute("export_learnability", scored, {"path": path})
    fol.delete_run(scored, "learnability")
    assert not fields(scored)
    # the file names its models
    shown = form("import_learnability", scored, {"path": path})
    assert not shown.invalid
    assert shown.defaults["overwrite"] is False
    answer = execute("import_learnability", scored, {"path": path})
    assert set(answer.result["fields"]) == fields(scored) == set(values)
    for name, had in values.items():
        assert scored.values(name) == pytest.approx(had)
    with pytest.raises(ValueError, match="overwrite"):
        execute("import_learnability", scored, {"path": path})


def test_the_form_of_import(unscored: fo.Dataset, tmp_path: Path) -> None:
    # an empty form is not yet wrong, and cannot be submitted without a file
    shown = form("import_learnability", unscored)
    assert not shown.fields["path"].get("invalid")
    assert shown.fields["path"]["required"]
    for path in (str(tmp_path / "none.csv"), str(tmp_path), "scores.csv", str(tmp_path / "x.json")):
        shown = form("import_learnability", unscored, {"path": path})
        assert shown.fields["path"]["invalid"]
    assert form("import_learnability", unscored, {"name": "two words"}).invalid


def bad_files(folder: Path, dataset: fo.Dataset) -> list[tuple[dict[str, Any], str]]:
    ids = dataset.values("id")
    pd.DataFrame({"id": ids, "learnability": 0.5}).to_csv(folder / "good.csv", index=False)
    pd.DataFrame({"learnability": [1.0]}).to_csv(folder / "nobody.csv", index=False)
    pd.DataFrame({"id": ids, "score": 0.5}).to_csv(folder / "other.csv", index=False)
    (folder / "broken.npz").write_bytes(b"nothing of the sort")
    return [
        ({}, "path"),
        ({"path": 3}, "path"),
        ({"path": str(folder / "good.xlsx"), "name": "m"}, "parquet"),
        ({"path": str(folder / "none.csv"), "name": "m"}, "no file"),
        ({"path": "nothing.csv", "name": "m"}, "no file"),
        ({"path": str(folder / "good.csv")}, "name"),
        ({"path": str(folder / "good.csv"), "name": "two words"}, "two words"),
        ({"path": str(folder / "good.csv"), "name": 5}, "name"),
        ({"path": str(folder / "good.csv"), "name": "consensus"}, "consensus"),
        ({"path": str(folder / "good.csv"), "name": "m", "overwrite": "yes"}, "overwrite"),
        ({"path": str(folder / "nobody.csv"), "name": "m"}, "filepath"),
        ({"path": str(folder / "other.csv"), "name": "m"}, "learnability"),
        ({"path": str(folder / "broken.npz"), "name": "m"}, "broken.npz"),
    ]


def test_import_refuses(unscored: fo.Dataset, tmp_path: Path) -> None:
    for params, culprit in bad_files(tmp_path, unscored):
        with pytest.raises(ValueError, match=culprit):
            execute("import_learnability", unscored, params)
        assert not fields(unscored), params
    assert not fol.list_runs(unscored)


# what the runs are called


def test_runs_of_every_kind_are_described(scored: fo.Dataset) -> None:
    rng = np.random.default_rng(1)
    predictions = {"mobilenet": rng.dirichlet([1, 1], COUNT).astype(np.float32)}
    write_scores(scored, {"mobilenet": rng.random(COUNT)}, "third", predictions=predictions)
    fol.write_consensus(scored, ["resnet20", "vgg16"], key="both")
    fol.write_scores(scored, {"id": scored.values("id"), "learnability": rng.random(COUNT)}, "mine", key="mine")
    fol.suggest_label_fixes(scored, key="fixes")
    fol.delete_run(scored, "third")
    said = {
        "learnability": f"ResNet-20 and VGG-16: {COUNT} samples, 4 epochs",
        "both": f"Consensus of ResNet-20 and VGG-16: {COUNT} samples, 2",
        "mine": f"Imported scores of mine: {COUNT} samples, 2",
        "fixes": f"Suggested labels by MobileNet: {COUNT} samples, 2",
    }
    assert set(fol.list_runs(scored)) == set(said)
    for key, text in said.items():
        shown = form("manage_learnability_runs", scored, {"key": key, "new_key": "other"})
        assert not shown.invalid
        assert shown.defaults["about"].startswith(text)
        params = {"key": key, "action": "delete", "confirmed": True}
        assert not form("manage_learnability_runs", scored, params).invalid
    # later runs have taken all its networks over
    config = scored.get_run_info("learnability").config
    config.models = []
    LearnabilityRun.update_run_config(scored, "learnability", config)
    about = form("manage_learnability_runs", scored, {"key": "learnability"}).defaults["about"]
    assert about.startswith(f"networks that were computed again since: {COUNT} samples, 4 epochs")
    for key in said:
        assert execute("manage_learnability_runs", scored, {"key": key, "action": "delete", "confirmed": True}).result
    assert not fields(scored)


# the scores of a training


def test_compute_asks_for_scores(unscored: fo.Dataset) -> None:
    assert "scores" not in form("compute_learnability", unscored).fields
    shown = form("compute_learnability", unscored, {"advanced": True})
    assert shown.choices("scores")[:4] == ["all", "learnability", "rank", "hits"]
    assert "disagreement" not in shown.choices("scores")
    assert shown.defaults["scores"] == ["learnability", "rank"]
    params = {"advanced": True, "scores": ["aum", "hits"]}
    text = form("compute_learnability", unscored, params).defaults["consequences"]
    assert "`learnability_rank_resnet20`, `learnability_resnet20_hits`, `learnability_resnet20_aum`" in text
    text = form("compute_learnability", unscored, {"scores": ["all"]}).defaults["consequences"]
    assert "`learnability_resnet20_variability`" in text
    assert "spread" not in text
    text = form("compute_learnability", unscored, {"scores": ["all"], "runs": 2}).defaults["consequences"]
    assert "`learnability_resnet20_spread`" in text


def test_what_compute_makes_of_scores() -> None:
    read = plugin_module("operators.compute").Request.from_params
    assert read({}).options["scores"] == ["learnability", "rank"]
    assert read({"scores": []}).options["scores"] == ["learnability", "rank"]
    assert read({"scores": ["aum"]}).options["scores"] == ["learnability", "rank", "aum"]
    assert read({"scores": "all"}).options["scores"] == read({"scores": ["all", "aum"]}).options["scores"]
    assert "spread" in read({"scores": "all", "runs": 3}).options["scores"]


@pytest.mark.parametrize(
    ("params", "culprit"),
    [
        ({"scores": "aum"}, "scores"),
        ({"scores": ["beauty"]}, "beauty"),
        ({"scores": ["disagreement"]}, "disagreement"),
        ({"scores": [1]}, "scores"),
        ({"scores": ["aum", "aum"]}, "scores"),
        ({"scores": ["spread"]}, "spread"),
    ],
    ids=lambda value: str(value),
)
def test_compute_refuses_scores(unscored: fo.Dataset, params: dict[str, Any], culprit: str) -> None:
    shown = form("compute_learnability", unscored, params)
    assert shown.invalid
    assert culprit in shown.schema["error_message"]
    with pytest.raises(ValueError, match=culprit):
        execute("compute_learnability", unscored, params)
    assert fo.core.odm.get_db_conn()["delegated_ops"].count_documents({"dataset_id": unscored._doc.id}) == 0


def test_compute_warns_of_each_score_that_it_would_replace(scored: fo.Dataset) -> None:
    execute("write_learnability_scores", scored, {"models": ["resnet20"], "scores": ["aum"]})
    scored.reload()
    shown = form("compute_learnability", scored, {"models": ["resnet20"], "scores": ["aum"]})
    assert shown.invalid
    assert "`learnability_resnet20_aum`" in shown.fields["replaces"]["view"]["description"]
    with pytest.raises(ValueError, match="learnability_resnet20"):
        execute("compute_learnability", scored, {"models": ["resnet20"], "scores": ["aum"]})


def test_compute_writes_the_scores(digit_dataset: fo.Dataset) -> None:
    small = {"preset": "custom", "epochs": 1, "batch_size": 32, "device": "cpu", "how": "now"}
    execute("compute_learnability", digit_dataset, {**small, "scores": ["variability", "hits"]})
    digit_dataset.reload()
    assert fol.find_scores(digit_dataset, "resnet20") == ["learnability", "rank", "hits", "variability"]
    assert digit_dataset.count("learnability_resnet20_hits") == 60
