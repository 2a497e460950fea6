"""The App's server never loads torch for the plugin."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import fiftyone as fo
import numpy as np
import pytest

from scripts.database import ROOT

from .harness import plugin_module
from .made_up import MODELS, write_scores

SERVER = """
import subprocess, sys
import fiftyone as fo
import fiftyone.operators as foo
from tests.plugin.harness import PANEL, PLUGIN, SAMPLE_PANEL, PanelHarness, execute, form

class Popen:  # start no process that measures or trains
    def __init__(self, *args, **kwargs):
        print("started", *args[0][-5:])
    def wait(self): ...
    def poll(self): return 1

subprocess.Popen = Popen
assert "torch" not in sys.modules
names = [operator.name for operator in foo.list_operators() if operator.plugin_name == PLUGIN]
assert len(names) == 16, names
dataset = fo.load_dataset(sys.argv[1])
for name in names:
    if f"{PLUGIN}/{name}" not in (PANEL, SAMPLE_PANEL):
        foo.get_operator(f"{PLUGIN}/{name}")
        if name not in ("compare_learnability", "measure_learnability_speed"):
            form(name, dataset, {"advanced": True, "preset": "custom"}, selected=dataset.limit(1).values("id"))
execute("measure_learnability_speed", dataset, {"models": ["resnet20"]})
panel = PanelHarness(dataset)
panel.open()
for tab in ("map", "labels", "examples", "classes", "compare", "curves"):
    panel.tab(tab)
    panel.select(*dataset.limit(2).values("id"))
panel.event("on_matrix", idx=[1, 0])
panel.event("on_pair_click", idx=0)
panel.event("on_histogram_box", data=[{"idx": 3}, {"idx": 30}])
panel.event("on_hardest")
panel.event("on_timer")
execute("tag_by_difficulty", dataset, {"count": 2})
execute("sort_by_learnability", dataset)
execute("show_disagreement", dataset)
panel.tab("compare")
panel.choose("quantity", "hits")
panel.event("on_lowest")
panel.event("on_write")
panel.tab("curves")
execute("write_learnability_scores", dataset)
execute("compute_consensus", dataset)
execute("suggest_label_fixes", dataset)
chosen = {"selected": dataset.limit(5).values("id"), "view_target": "SELECTED_SAMPLES"}
execute("apply_label_fixes", dataset, **chosen)
execute("review_label_fixes", dataset)
panel.event("on_review", review="hard")
execute("export_learnability", dataset, {"path": sys.argv[2]})
execute("import_learnability", dataset, {"path": sys.argv[2], "models": ["vgg16"], "overwrite": True})
assert panel.data["samples"]
modal = PanelHarness(dataset, uri=SAMPLE_PANEL)
modal.open_sample(dataset.first().id)
assert modal.data["curves"]
loaded = sorted({name.partition(".")[0] for name in sys.modules} & {"torch", "torchvision", "timm"})
print("loaded", *loaded)
"""


def test_forms_and_panel_never_load_torch(make_dataset: Callable[..., fo.Dataset], tmp_path: Path) -> None:
    dataset = make_dataset([f"/no/{index}.png" for index in range(40)], list("ab") * 20)
    rng = np.random.default_rng(3)
    dynamics = {model: rng.random((4, 40)).astype(np.float16) for model in MODELS}
    measured = {name: rng.random(40) for name in ("hits", "variability", "aum")}
    write_scores(
        dataset,
        {model: rng.random(40) for model in MODELS},
        dynamics=dynamics,
        more=dict.fromkeys(MODELS, measured),
        predictions={model: rng.dirichlet([1, 1], 40).astype(np.float32) for model in MODELS},
    )
    process = subprocess.run(
        [sys.executable, "-c", SERVER, dataset.name, str(tmp_path / "scores.csv")],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env={
            **os.environ,
            "XDG_CACHE_HOME": str(tmp_path / "nothing"),
            "FIFTYONE_LEARNABILITY_DIR": str(tmp_path),
        },
    )
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    # a process of its own measures the speed
    assert any(line.startswith("started") and "resnet20" in line for line in lines)
    assert lines[-1] == "loaded"
    dataset.reload()
    assert dataset.count_sample_tags() == {"hard": 2}
    assert (tmp_path / "scores.csv").exists()


def test_one_process_at_a_time_measures_the_training_rate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    speed = plugin_module("operators.speed")
    started: list[list[str]] = []

    class Process:
        def poll(self) -> int | None:
            return None if len(started) == 1 else 0

    def start(command: list[str]) -> Process:
        started.append(command)
        return Process()

    monkeypatch.setattr(speed, "start_process", start)
    for _ in range(3):
        speed.measure_rates(["vgg16", "mobilenet"], 48, "cpu")
    (command,) = started
    assert command[0] == sys.executable
    assert command[-6:] == ["vgg16", "mobilenet", "--image-size", "48", "--device", "cpu"]
    # one that has ended without a result is started again
    speed.measure_rates(["vgg16"], 48, "cpu")
    speed.measure_rates(["vgg16"], 48, "cpu")
    assert len(started) == 3
