"""Hold the imports against the rooms of docs/architecture.md: arrows run downwards, torch stays in its room."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.database import ROOT

PACKAGE, PLUGIN = "fiftyone_learnability", "plugin"

# What each room may import, itself aside. Modules at the top of the package that are not named here are calls.
BELOW: dict[str, set[str]] = {
    "storage": set(),
    "scores": set(),
    "images": {"storage", "scores"},
    "training": {"scores"},
    "experiment": {"storage", "scores", "training"},
    "dataset": {"storage", "scores", "training", "experiment", "images"},
}
# Calls stand side by side, with these exceptions.
CALLS_ON_CALLS = {"compute": {"preparation", "delivery"}}
# Inside the plugin: the panel and the operators share what stands at the plugin's top, and the jobs.
PLUGIN_BELOW: dict[str, set[str]] = {
    "top": set(),
    "jobs": {"top"},
    "operators": {"top", "jobs"},
    "panel": {"top", "jobs"},
}

# Rooms and modules that may import torch when they are loaded.
TORCH = {f"{PACKAGE}.training"}
TORCH_FREE = {f"{PACKAGE}.training.{name}" for name in ("options", "observer")}


def modules(folder: str) -> dict[str, Path]:
    """The modules below a folder by their dotted names."""
    paths = sorted((ROOT / folder).rglob("*.py"))
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


def imports(name: str, path: Path, when_loaded: bool = False) -> Iterator[str]:
    """The modules that a module imports, wherever in it, for type checking too.

    Args:
        name: the module
        path: its file
        when_loaded: leave out what is imported inside functions and for type checking
    """
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    tree = ast.parse(path.read_text())
    nodes = tree.body if when_loaded else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *((node.module or "").split(".") if node.module else [])])
            # "from . import jobs" imports a module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def room(module: str) -> tuple[str, str]:
    """The room of a module of the package, and the call where the room is that of the calls."""
    parts = module.split(".")
    if len(parts) < 2 or parts[1] in ("_version", "__version__"):
        return "", ""
    if parts[1] in BELOW:
        return parts[1], ""
    return ("cli", "") if parts[1].startswith("cli") else ("calls", parts[1])


def test_arrows_run_downwards() -> None:
    wrong = []
    for name, path in modules(PACKAGE).items():
        here, call = room(name)
        if not here:
            continue
        for target in imports(name, path):
            if not target.startswith(f"{PACKAGE}."):
                continue
            there, called = room(target)
            if there in ("", here) and (here != "calls" or called in ("", call)):
                continue
            if here == "cli":
                allowed = True
            elif here == "calls":
                allowed = there in BELOW or called in CALLS_ON_CALLS.get(call, set())
            else:
                allowed = there in BELOW[here]
            if not allowed:
                wrong.append(f"{name} imports {target}")
    assert not wrong, "\n".join(wrong)


def test_the_package_does_not_know_the_plugin() -> None:
    wrong = [
        f"{name} imports {target}"
        for name, path in modules(PACKAGE).items()
        for target in imports(name, path)
        if target.split(".")[0] in (PLUGIN, "tests", "benchmarks", "scripts")
    ]
    assert not wrong, "\n".join(wrong)


def test_the_rooms_of_the_plugin() -> None:
    def plugin_room(module: str) -> str:
        parts = module.split(".")
        return parts[1] if len(parts) > 1 and parts[1] in PLUGIN_BELOW else "top"

    wrong = []
    for name, path in modules(PLUGIN).items():
        if name == PLUGIN:
            continue
        here = plugin_room(name)
        for target in imports(name, path):
            if not target.startswith(f"{PLUGIN}."):
                continue
            there = plugin_room(target)
            if there not in {here, *PLUGIN_BELOW[here]}:
                wrong.append(f"{name} imports {target}")
    assert not wrong, "\n".join(wrong)


def test_torch_is_imported_in_the_training_room_alone() -> None:
    wrong = []
    for name, path in {**modules(PACKAGE), **modules(PLUGIN)}.items():
        may = name not in TORCH_FREE and any(name == room or name.startswith(f"{room}.") for room in TORCH)
        found = {target.split(".")[0] for target in imports(name, path, when_loaded=True)}
        if not may and found & {"torch", "torchvision", "timm"}:
            wrong.append(name)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from ..dataset.notes import score_field", "fiftyone_learnability.dataset.notes.score_field"),
        ("def f():\n    from .. import compute", "fiftyone_learnability.compute"),
        ("if TYPE_CHECKING:\n    import fiftyone_learnability.cli", "fiftyone_learnability.cli"),
    ],
)
def test_every_kind_of_import_is_seen(tmp_path: Path, source: str, expected: str) -> None:
    path = tmp_path / "formulas.py"
    path.write_text(source)
    assert expected in list(imports(f"{PACKAGE}.scores.formulas", path))
