"""Imports stay cheap, and each room imports only what it may; checked in separate processes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

# what must not be there is refused, with all that is under it
BLOCKED = """
import importlib.abc, sys
class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(name + " is blocked")
sys.meta_path.insert(0, Block())
"""
HEAVY = ["torch", "torchvision", "fiftyone", "eta", "scipy", "pandas", "numpy", "matplotlib", "PIL", "pymongo", "tqdm"]


def run(code: str, blocked: tuple[str, ...] = ()) -> str:
    """Runs code in a new interpreter that cannot import some packages; gives its standard output."""
    prefix = BLOCKED.format(blocked=set(blocked)) if blocked else ""
    process = subprocess.run([sys.executable, "-c", prefix + code], capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_blocked_imports_fail() -> None:
    with pytest.raises(AssertionError, match="colorsys is blocked"):
        run("import colorsys", blocked=("colorsys",))


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import fiftyone_learnability, json, sys; print(json.dumps(list(sys.modules)))"
    loaded = {name.partition(".")[0] for name in json.loads(run(code))}
    assert "fiftyone_learnability" in loaded
    assert not loaded & set(HEAVY)


def test_rooms_below_the_dataset_do_not_import_fiftyone() -> None:
    code = """
import pkgutil
from importlib import import_module
for room in ("scores", "training", "experiment", "images"):
    package = import_module("fiftyone_learnability." + room)
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        import_module(module.name)
        print(module.name)
import numpy as np, torch
from fiftyone_learnability import LearnabilityTracker
from fiftyone_learnability.training.networks import build_network, resolve_networks
build_network("resnet20", resolve_networks("resnet20")["resnet20"], 10, 3, 32)
"""
    names = run(code, blocked=("fiftyone", "eta", "pymongo", "mongoengine")).split()
    assert "fiftyone_learnability.training.run" in names
    assert "fiftyone_learnability.experiment.units" in names
    assert len(names) >= 11


def test_scores_need_numpy_alone() -> None:
    code = """
import fiftyone_learnability as fol
assert fol.learnability([[0.25], [0.75]]).tolist() == [0.5]
assert fol.hits([[1], [0]], [1]).tolist() == [0.5]
assert fol.learnability_rank([0.1, 0.9]).tolist() == [2, 1]
assert fol.variability([[0.25], [0.75]]).tolist() == [0.25]
assert fol.forgetting([[True], [False]]).tolist() == fol.aum([[[1, 0]]], [0]).tolist() == [1]
assert fol.learned_epoch([[False], [True]]).tolist() == [2]
assert fol.el2n([[0, 1]], [1]).tolist() == fol.ambiguity([[0, 1]]).tolist() == [0]
"""
    run(code, blocked=tuple(set(HEAVY) - {"numpy"}))


def test_what_the_app_shows_needs_no_torch() -> None:
    code = """
import io
import numpy as np
import fiftyone_learnability as fol
from fiftyone_learnability.experiment import figures, progress, results
fol.compare_scores({"a": [0.1, 0.5, 0.9], "b": [0.2, 0.6, 0.7]}).to_pandas()
one = np.zeros((1, 2))
found = fol.ModelResults("a", np.array(["x", "y"]), np.array(["f", "g"]), np.zeros(2, int), ("c",),
                         {"learnability": one}, one, one, one, one, {"seeds": [0]})
fol.ModelResults.from_npz(io.BytesIO(found.to_bytes())).to_pandas()
"""
    run(code, blocked=("torch", "torchvision", "fiftyone"))
