"""Only one module uses FiftyOne's private names."""

from __future__ import annotations

import ast
from pathlib import Path

import fiftyone as fo
import fiftyone.operators as foo
import pytest

from fiftyone_learnability.dataset.internals import (
    build_app_view,
    build_view,
    dataset_id,
    get_database,
    is_generated,
    parent_dataset,
    root_dataset,
    run_ids,
    sample_collection,
    serialize_stages,
    set_dataset,
    unshared_dataset,
)

from .helpers import write

ROOT = Path(__file__).parents[2]
INTERNALS = "dataset/internals.py"
ALLOWED = {
    # torch has no public way to see a module's hooks
    "fiftyone_learnability/training/measuring.py": {"_forward_hooks", "_forward_pre_hooks"},
}
NOT_PRIVATE = {"_id", "_replace"}
"""MongoDB's ids, and a method of named tuples."""

INTERNAL_MODULES = ("fiftyone.core.odm", "core.odm.", "fiftyone.server", "mongoengine")


def private_names(source: str) -> set[str]:
    """Private names of other objects than those that the module itself defines."""
    tree = ast.parse(source)
    own = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and is_self(node.value)}
    own |= {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    own |= {
        node.target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and not is_self(node.value)} | {
        keyword.arg for node in ast.walk(tree) if isinstance(node, ast.Call) for keyword in node.keywords if keyword.arg
    }
    used -= own | NOT_PRIVATE
    return {name for name in used if name.startswith("_") and not name.startswith("__")} | used & {"__new__"}


def is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def test_other_modules_use_no_private_names() -> None:
    offences = {}
    for folder in ("fiftyone_learnability", "plugin", "benchmarks"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            module, source = path.relative_to(ROOT).as_posix(), path.read_text()
            if not module.endswith(INTERNALS):
                found = private_names(source) - ALLOWED.get(module, set())
                found |= {name for name in INTERNAL_MODULES if name in source}
                offences |= {module: found} if found else {}
    assert offences == {}


@pytest.mark.parametrize("line", ["samples._root_dataset", "fo.Dataset.__new__(x)", "fo.Dataset(x, _create=False)"])
def test_private_names_are_found(line: str) -> None:
    assert private_names(f"def f(samples):\n    return {line}")


def test_views_survive_serialization(dataset: fo.Dataset) -> None:
    view = dataset.sort_by("filepath", reverse=True).limit(3)
    assert root_dataset(view) is parent_dataset(view) is dataset
    assert not is_generated(view)
    stages = serialize_stages(view)
    assert build_view(dataset, stages).values("id") == view.values("id")
    assert build_app_view(dataset, stages, None).values("id") == view.values("id")
    assert len(build_app_view(dataset, None, None)) == 12


def test_the_database_behind_a_dataset(dataset: fo.Dataset) -> None:
    write(dataset, "a", key="mine")
    assert get_database().datasets.find_one({"_id": dataset_id(dataset)})["name"] == dataset.name
    assert sample_collection(dataset).count_documents({}) == 12
    assert get_database().runs.find_one({"_id": run_ids(dataset)["mine"]})["key"] == "mine"


def test_an_unshared_dataset_is_another_object(dataset: fo.Dataset) -> None:
    own = unshared_dataset(dataset.name)
    assert own is not dataset
    assert fo.load_dataset(dataset.name) is dataset
    own.add_sample_field("number", fo.IntField)
    assert not dataset.has_field("number")
    ctx = foo.ExecutionContext(request_params={"dataset_name": dataset.name, "view": []})
    set_dataset(ctx, own)
    assert ctx.dataset is own
    assert root_dataset(ctx.view) is own
