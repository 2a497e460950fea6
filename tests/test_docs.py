"""The documentation names what exists: tests, modules and files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts.database import ROOT

PAGES = sorted([ROOT / "README.md", ROOT / "benchmarks" / "README.md", *(ROOT / "docs").glob("*.md")])
CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def title(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def tests() -> set[str]:
    sources = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]
    return {name for source in sources for name in re.findall(r"^\s*(?:async )?def (test_\w+)", source, re.M)}


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_each_test_that_a_page_names_exists(page: Path, tests: set[str]) -> None:
    named = {
        name for code in CODE.findall(page.read_text()) for name in re.findall(r"(?<![\w/])test_\w+(?!\w|\.py)", code)
    }
    assert named - tests == set()


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_each_file_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    folders = (ROOT, ROOT / "fiftyone_learnability", ROOT / "plugin", ROOT / "tests")
    files = {code for code in CODE.findall(text) if re.fullmatch(r"[\w/]+/[\w.]+\.(py|md|sh)", code)}
    assert {name for name in files if not any((folder / name).exists() for folder in folders)} == set()
    links = {link for link in LINK.findall(text) if "://" not in link}
    assert {link for link in links if not (page.parent / link).exists()} == set()


def test_each_module_that_the_architecture_lists_exists() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    sources = [*(ROOT / "fiftyone_learnability").rglob("*.py"), *(ROOT / "plugin").rglob("*.py")]
    names = {path.name for path in sources}
    listed = {name for code in CODE.findall(text) for name in re.findall(r"\b(?!test_)\w+\.py\b", code)}
    assert listed - names - {path.name for path in (ROOT / "scripts").glob("*.py")} == set()
    # a room is listed whole
    assert names - listed - {"__init__.py", "_version.py", "__main__.py"} == set()
