"""Which files of the server requests reach: scores in the allowed folders, and nothing else."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import fiftyone as fo
import numpy as np
import pandas as pd
import pytest

from ..harness import execute, form, plugin_module
from ..made_up import write_scores


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of the App's files."""
    (tmp_path / "files").mkdir()
    monkeypatch.setenv("FIFTYONE_LEARNABILITY_DIR", str(tmp_path / "files"))
    return tmp_path / "files"


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
    """Make links in the folder that lead out of it; return the files behind them with their content."""
    (outside := tmp_path / "outside").mkdir()
    table = "id,filepath,label,learnability_mine,learnability_rank_mine\n"
    for name in ("scores.csv", "inside/scores.csv"):
        (outside / name).parent.mkdir(exist_ok=True)
        (outside / name).write_text(table)
    # link/.. is the parent of the folder that "link" leads to
    (folder / "link").symlink_to(outside / "inside")
    (folder / "file.csv").symlink_to(outside / "scores.csv")
    (folder / "to_nothing.csv").symlink_to(outside / "new.csv")
    (tmp_path / "scores.csv").write_text(table)
    return {path: path.read_text() for path in [*outside.rglob("*.csv"), tmp_path / "scores.csv"]}


@pytest.mark.parametrize("path", OUTSIDE)
def test_no_file_outside_is_written(kept: fo.Dataset, path: str, links: dict[Path, str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^path: .* is not in .*/files"):
        execute("export_learnability", kept, {"path": path, "overwrite": True})
    assert {file: file.read_text() for file in links} == links
    assert not (tmp_path / "outside" / "new.csv").exists()


def test_forms_refuse_files_outside(kept: fo.Dataset) -> None:
    for operator in ("export_learnability", "import_learnability"):
        shown = form(operator, kept, {"path": "../scores.csv"})
        assert "is not in" in shown.fields["path"]["error_message"]


def test_a_refusal_does_not_reveal_whether_a_file_exists(kept: fo.Dataset, tmp_path: Path) -> None:
    (tmp_path / "there.csv").write_text("")
    (tmp_path / "heap.csv").mkdir()
    (tmp_path / "loop.csv").symlink_to(tmp_path / "loop.csv")
    (tmp_path / "link.csv").symlink_to(tmp_path / "secret.txt")
    (tmp_path / "hidden").mkdir(mode=0)
    messages = set()
    for name in ("there", "nowhere", "heap", "loop", "link", "hidden/scores"):
        for operator in ("import_learnability", "export_learnability"):
            with pytest.raises(ValueError, match="is not in") as refusal:
                execute(operator, kept, {"path": str(tmp_path / f"{name}.csv"), "name": "mine"})
            messages.add(str(refusal.value).replace(name, ""))
    assert len(messages) == 1


@pytest.mark.parametrize("path", ["/x/\ny.csv", "x" * 3000 + ".csv", "/" + "x/" * 1500 + "y.csv"])
def test_a_refusal_is_one_short_line(kept: fo.Dataset, path: str) -> None:
    with pytest.raises(ValueError, match=r"^path: ") as refusal:
        execute("export_learnability", kept, {"path": path})
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 500


@pytest.mark.parametrize("name", ["mine.csv", "mine.npz", "mine.parquet"])
def test_only_exported_scores_are_replaced(kept: fo.Dataset, folder: Path, name: str) -> None:
    path = folder / name
    path.write_bytes(b"other work")
    with pytest.raises(ValueError, match=r"path: .* holds no exported scores"):
        execute("export_learnability", kept, {"path": name, "overwrite": True})
    assert "no exported scores" in form("export_learnability", kept, {"path": name}).fields["path"]["error_message"]
    assert path.read_bytes() == b"other work"
    path.unlink()
    execute("export_learnability", kept, {"path": name})
    # exported scores are, if the box is ticked
    with pytest.raises(ValueError, match=r"path: .* exists"):
        execute("export_learnability", kept, {"path": name})
    assert execute("export_learnability", kept, {"path": name, "overwrite": True}).result["samples"] == 40


def test_a_table_of_other_scores_is_not_replaced(kept: fo.Dataset, folder: Path) -> None:
    pd.DataFrame({"id": ["x"], "learnability": [1.0]}).to_csv(folder / "mine.csv", index=False)
    with pytest.raises(ValueError, match="holds no exported scores"):
        execute("export_learnability", kept, {"path": "mine.csv", "overwrite": True})


def test_where_files_are_allowed(kept: fo.Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    allowed = plugin_module("operators.server_files").allowed_folders
    monkeypatch.delenv("FIFTYONE_LEARNABILITY_DIR")
    assert allowed() == [(Path(fo.config.default_dataset_dir) / "learnability").resolve()]
    # the folder is created
    result = execute("export_learnability", kept, {"path": "sub/scores.csv"}).result
    assert result["path"] == str(allowed()[0] / "sub" / "scores.csv")
    # several folders, one of them behind a link
    (tmp_path / "second").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "second")
    monkeypatch.setenv("FIFTYONE_LEARNABILITY_DIR", f"{tmp_path / 'first'}:{tmp_path / 'link'}")
    for path in (str(tmp_path / "link" / "a.csv"), str(tmp_path / "second" / "b.csv")):
        execute("export_learnability", kept, {"path": path})
    assert sorted(path.name for path in (tmp_path / "second").iterdir()) == ["a.csv", "b.csv"]
    execute("export_learnability", kept, {"path": "c.csv"})
    assert (tmp_path / "first" / "c.csv").exists()
    with pytest.raises(ValueError, match="is not in"):
        execute("export_learnability", kept, {"path": str(tmp_path / "first-not" / "a.csv")})


def test_the_name_of_a_dataset_is_not_a_path(make_dataset: Callable[..., fo.Dataset], folder: Path) -> None:
    dataset = make_dataset(["/no/1.png", "/no/2.png"], ["a", "b"], name="../../etc/a b")
    write_scores(dataset, {"mine": np.array([0.0, 1.0])})
    shown = form("export_learnability", dataset)
    assert not shown.invalid
    assert execute("export_learnability", dataset, shown.defaults).result["samples"] == 2
    (written,) = folder.iterdir()
    assert written.suffix == ".csv"


def test_a_pickle_in_the_folder_is_not_loaded(kept: fo.Dataset, folder: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
            return Path.touch, (tmp_path / "loaded",)

    for ending in ("csv", "npz", "parquet"):
        (folder / f"pickle.{ending}").write_bytes(pickle.dumps(Evil()))
        with pytest.raises(ValueError, match=f"pickle.{ending}"):
            execute("import_learnability", kept, {"path": f"pickle.{ending}", "name": "mine"})
        with pytest.raises(ValueError, match="no exported scores"):
            execute("export_learnability", kept, {"path": f"pickle.{ending}", "overwrite": True})
    assert not (tmp_path / "loaded").exists()
