"""The operators that import and export scores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fiftyone as fo
import numpy as np
import pandas as pd
import pytest

import fiftyone_learnability as fol

from ..harness import execute, form, submit
from .helpers import in_view, learnability_fields


def test_import_of_another_trainings_scores(unscored: fo.Dataset, tmp_path: Path) -> None:
    ease = np.linspace(-3, 8, 10)
    table = pd.DataFrame({"id": unscored.values("id"), "ease": ease, "aum": ease * 2})
    table.loc[10] = ["0" * 24, 1.0, 1.0]
    path = tmp_path / "scores.csv"
    table.to_csv(path, index=False)
    params: dict[str, Any] = {"path": str(path), "name": "mine", "advanced": True, "learnability": "ease"}
    shown = form("import_learnability", unscored, params)
    assert not shown.invalid
    assert "overwrite" not in shown.fields
    answer = execute("import_learnability", unscored, params)
    assert answer.result["samples"] == 10
    assert answer.result["unknown"] == 1
    assert set(answer.result["fields"]) == {"learnability_mine", "learnability_rank_mine", "learnability_mine_aum"}
    assert "1 in the file were not found" in answer.called("notify")[0]["message"]
    assert answer.called("reload_dataset")
    unscored.reload()
    assert unscored.values("learnability_mine") == pytest.approx(ease.tolist())
    # again: beside them, or in their place
    shown = form("import_learnability", unscored, params)
    assert not shown.invalid
    assert shown.choices("existing") == ["keep", "replace"]
    assert "`learnability_mine_2`" in shown.defaults["among"]
    with pytest.raises(ValueError, match="overwrite"):
        execute("import_learnability", unscored, params)
    answer = execute("import_learnability", unscored, {**params, "existing": "keep"})
    assert "learnability_mine_2" in answer.result["fields"]
    unscored.set_values("learnability_mine", [0.0] * 10)
    answer = execute("import_learnability", unscored, {**params, "existing": "replace"})
    assert "learnability_mine" in answer.result["fields"]
    unscored.reload()
    assert unscored.values("learnability_mine") == pytest.approx(ease.tolist())
    assert execute("import_learnability", unscored, {**params, "overwrite": True}).result["samples"] == 10


@pytest.mark.parametrize("ending", ["csv", "npz", "parquet"])
def test_exported_scores_can_be_imported(measured_scores: fo.Dataset, tmp_path: Path, ending: str) -> None:
    scored = measured_scores
    execute("write_learnability_scores", scored)
    scored.reload()
    values = {name: scored.values(name) for name in learnability_fields(scored)}
    path = str(tmp_path / f"all.{ending}")
    execute("export_learnability", scored, {"path": path})
    fol.delete_run(scored, "learnability")
    assert not learnability_fields(scored)
    # the file names its models
    shown = form("import_learnability", scored, {"path": path})
    assert not shown.invalid
    assert shown.defaults["models"] == shown.choices("models") == ["resnet20", "vgg16"]
    assert "existing" not in shown.fields
    answer = execute("import_learnability", scored, {"path": path})
    assert set(answer.result["fields"]) == learnability_fields(scored) == set(values)
    for name, before in values.items():
        assert scored.values(name) == pytest.approx(before)
    with pytest.raises(ValueError, match="overwrite"):
        execute("import_learnability", scored, {"path": path})


def test_a_file_just_exported_is_imported_under_another_name(scored: fo.Dataset, tmp_path: Path) -> None:
    path = str(tmp_path / "scores.csv")
    execute("export_learnability", scored, {"path": path})
    before = {name: scored.values(name) for name in learnability_fields(scored)}
    params: dict[str, Any] = {"path": path, "models": ["vgg16"], "name": "mine"}
    shown = form("import_learnability", scored, params)
    assert not shown.invalid
    assert "existing" not in shown.fields
    answer = submit("import_learnability", scored, params)
    assert answer.result["fields"] == ["learnability_mine", "learnability_rank_mine"]
    scored.reload()
    assert scored.values("learnability_mine") == pytest.approx(scored.values("learnability_vgg16"))
    # by default, both networks are imported under new names, because scores of theirs exist
    params = {"path": path, **form("import_learnability", scored, {"path": path}).defaults}
    answer = submit("import_learnability", scored, params)
    assert {"learnability_resnet20_2", "learnability_vgg16_2"} <= set(answer.result["fields"])
    assert {name: scored.values(name) for name in before} == before
    # the names belong to the networks in their order
    shown = form("import_learnability", scored, {**params, "name": "one"})
    assert "one name for each of ResNet-20 and VGG-16" in shown.fields["name"]["error_message"]
    assert not form("import_learnability", scored, {**params, "name": "one, two"}).invalid


def test_the_form_of_import(unscored: fo.Dataset, tmp_path: Path) -> None:
    # an empty form is not wrong yet, but cannot be submitted without a file
    shown = form("import_learnability", unscored)
    assert not shown.fields["path"].get("invalid")
    assert shown.invalid
    for path in (str(tmp_path / "none.csv"), str(tmp_path), "scores.csv", str(tmp_path / "x.json")):
        shown = form("import_learnability", unscored, {"path": path})
        assert shown.fields["path"]["invalid"]
    # a file of another tool needs a name, and offers its columns
    table = pd.DataFrame({"id": unscored.values("id"), "margin": 0.5, "ease": 1.0})
    table.to_csv(tmp_path / "theirs.csv", index=False)
    params: dict[str, Any] = {"path": "theirs.csv"}
    shown = form("import_learnability", unscored, params)
    assert shown.invalid
    assert "invalid" not in shown.fields["name"] or not shown.fields["name"]["invalid"]
    assert shown.choices("learnability") == ["margin", "ease"]
    assert not form("import_learnability", unscored, {**params, "name": "mine"}).invalid
    assert form("import_learnability", unscored, {**params, "name": "not-a-name"}).fields["name"]["invalid"]


def bad_files(folder: Path, dataset: fo.Dataset) -> list[tuple[dict[str, Any], str]]:
    ids = dataset.values("id")
    pd.DataFrame({"id": ids, "learnability": 0.5}).to_csv(folder / "good.csv", index=False)
    pd.DataFrame({"learnability": [1.0]}).to_csv(folder / "no_ids.csv", index=False)
    pd.DataFrame({"id": ids, "score": 0.5}).to_csv(folder / "other.csv", index=False)
    (folder / "broken.npz").write_bytes(b"not an archive")
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
        ({"path": str(folder / "no_ids.csv"), "name": "m"}, "filepath"),
        ({"path": str(folder / "other.csv"), "name": "m"}, "learnability"),
        ({"path": str(folder / "broken.npz"), "name": "m"}, "broken.npz"),
    ]


def test_import_refuses(unscored: fo.Dataset, tmp_path: Path) -> None:
    for params, culprit in bad_files(tmp_path, unscored):
        with pytest.raises(ValueError, match=culprit):
            execute("import_learnability", unscored, params)
        assert not learnability_fields(unscored), params
    assert not fol.list_runs(unscored)


@pytest.mark.parametrize("ending", ["csv", "npz", "parquet"])
def test_export(scored: fo.Dataset, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"scores.{ending}"
    view = scored.skip(35)
    request = in_view(view)
    params: dict[str, Any] = {"path": str(path)}
    assert not form("export_learnability", scored, params, **request).invalid
    answer = execute("export_learnability", scored, params, **request)
    assert answer.result == {"path": str(path), "samples": 5}
    read: dict[str, Callable[[Path], Any]] = {"csv": pd.read_csv, "npz": np.load, "parquet": pd.read_parquet}
    table = read[ending](path)
    assert list(table["id"]) == view.values("id")
    assert list(table["learnability_rank_vgg16"]) == view.values("learnability_rank_vgg16")
    # an existing file is replaced only if the box is ticked
    shown = form("export_learnability", scored, params)
    assert shown.invalid
    assert "exists" in shown.fields
    before = path.read_bytes()
    with pytest.raises(ValueError, match="exists"):
        execute("export_learnability", scored, params)
    assert path.read_bytes() == before
    params["overwrite"] = True
    assert not form("export_learnability", scored, params).invalid
    assert execute("export_learnability", scored, params).result["samples"] == 40
