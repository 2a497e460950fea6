"""Paths of files that were moved, or that are relative to a folder, are matched with the files, or refused by name."""

from __future__ import annotations

import random

import pytest

from fiftyone_learnability.dataset.paths import match_paths

TREE = [f"{split}/{label}/{number}.png" for split in ("train", "test") for label in ("cat", "dog") for number in "123"]


def below(root: str, paths: list[str]) -> list[str]:
    return [f"{root}{path}" for path in paths]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("/old/", "/new/"),
        ("", "/new/data/"),
        ("./", "/new/"),
        ("/new/data/", ""),
        ("/a/data/", "/b/c/data/"),
        ("C:\\images\\", "/new/"),
        ("//share//", "/new/"),
    ],
)
def test_a_folder_that_was_moved(old: str, new: str) -> None:
    names, files = below(old, TREE), below(new, TREE)
    if "\\" in old:
        names = [name.replace("/", "\\") for name in names]
    shuffled = random.Random(3).sample(files, len(files))
    assert match_paths(names, shuffled) == dict(zip(names, files, strict=True))


def test_files_on_one_side_only_stay_unmatched() -> None:
    # the scores have test, the dataset has bird; file names repeat in all folders
    names = below("/old/", TREE)
    files = below("/new/", [path for path in TREE if path.startswith("train")] + ["train/bird/1.png", "val/x/9.png"])
    matched = match_paths(names, files)
    assert matched == {f"/old/{path}": f"/new/{path}" for path in TREE if path.startswith("train")}


def test_a_file_is_not_matched_with_one_of_another_folder_that_was_moved_too() -> None:
    names = ["/old/cat/1.png", "/old/cat/2.png"]
    assert match_paths(names, ["/new/cat/1.png", "/new/dog/2.png"]) == {"/old/cat/1.png": "/new/cat/1.png"}


def test_files_that_were_put_into_one_folder() -> None:
    names = ["/old/cat/a.png", "/old/dog/b.png"]
    matched = match_paths(names, ["/flat/b.png", "/flat/a.png"])
    assert matched == {"/old/cat/a.png": "/flat/a.png", "/old/dog/b.png": "/flat/b.png"}


def test_accents_may_be_written_in_two_ways() -> None:
    assert match_paths(["/old/caf\u00e9.png"], ["/new/cafe\u0301.png"]) == {"/old/caf\u00e9.png": "/new/cafe\u0301.png"}


@pytest.mark.parametrize(
    ("names", "files", "said"),
    [
        (
            ["1.png"],
            ["/new/cat/1.png", "/new/dog/1.png"],
            "'1.png', which may be the sample '/new/cat/1.png' or",
        ),
        (["/a/1.png", "/b/1.png"], ["/new/1.png"], "'/a/1.png' or '/b/1.png', which may be the sample '/new/1.png'"),
        (["cat/1.png"], ["/x/train/cat/1.png", "/x/test/cat/1.png", "/x/1.png"], "'cat/1.png', which may be"),
    ],
)
def test_ambiguous_files_are_refused_by_name(names: list[str], files: list[str], said: str) -> None:
    with pytest.raises(ValueError, match="name the samples by id, or by more of their paths") as error:
        match_paths(names, files)
    assert said in str(error.value)


def test_nothing_in_common() -> None:
    assert match_paths(["/old/a.png", ""], ["/new/b.png", "/"]) == {}


def test_paths_of_any_depth() -> None:
    deep = "/".join(map(str, range(3000)))
    assert match_paths([f"old/{deep}/1.png"], [f"new/{deep}/1.png", "new/1.png"]) == {
        f"old/{deep}/1.png": f"new/{deep}/1.png"
    }
