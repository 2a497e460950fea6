"""How long the server takes to answer the panel's events on a large dataset, and how much it sends.

    python -m benchmarks.panel --samples 50000

A dataset without images gets made-up scores of three networks, with the dynamics of 200 epochs, in a database of its
own that is deleted in the end. Each event is played as the App plays it; the slowest and the median of some repetitions
are printed, in milliseconds, with what is sent to the browser. "Cold" is the first time in a new server, before
anything is remembered. Goals: open within 1.5 s, every other event within 0.5 s.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

from scripts.database import use_own_database

GOAL_OPEN, GOAL_EVENT = 1.5, 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="learnability-benchmark-", ignore_cleanup_errors=True) as folder:
        use_own_database(Path(folder) / "db")
        os.environ["FIFTYONE_DEFAULT_DATASET_DIR"] = folder
        measure(options.samples, options.epochs, options.repeat)


def measure(count: int, epochs: int, repeat: int) -> None:
    import fiftyone as fo
    import numpy as np

    from tests.plugin.harness import Answer, PanelHarness
    from tests.plugin.made_up import MODELS, add_samples, write_scores

    rng = np.random.default_rng(0)
    dataset = fo.Dataset()
    add_samples(dataset, [f"class {index % 10}" for index in range(count)])
    ease = rng.normal(1, 1.5, count)
    scores, dynamics = {}, {}
    for model in MODELS:
        speed = np.linspace(-2, 2, epochs)[:, None] + ease + rng.normal(0, 0.7, count)
        dynamics[model] = (1 / (1 + np.exp(-speed))).astype(np.float16)
        scores[model] = dynamics[model].mean(axis=0, dtype=np.float64)
    write_scores(dataset, scores, epochs=epochs, dynamics=dynamics)
    ids = dataset.values("id")
    print(f"{count:,} samples, {len(MODELS)} networks, {epochs} epochs, {os.cpu_count()} processors\n", flush=True)
    print("| event | median ms | slowest ms | kB sent | grid |\n|---|---|---|---|---|")
    missed: list[str] = []

    def report(name: str, answers: list[Answer], goal: float = GOAL_EVENT, grid: str = "") -> None:
        seconds = [answer.seconds for answer in answers]
        size = max(answer.kilobytes for answer in answers)
        print(f"| {name} | {statistics.median(seconds) * 1e3:.0f} | {max(seconds) * 1e3:.0f} | {size:.0f} | {grid} |")
        if max(seconds) > goal:
            missed.append(f"{name}: {max(seconds):.2f} s, the goal is {goal} s")

    def time_view(events: list[Callable[[PanelHarness], Answer]], name: str) -> None:
        answers, sizes = [], []
        for event in events:
            answers.append(event(panel))
            sizes.append(len(panel.view) if panel.stages else 0)
            panel.event("on_reset")
        report(name, answers, grid=f"{min(sizes):,} to {max(sizes):,}")

    # events of several runs, so that nothing is measured that was remembered
    panel = PanelHarness(dataset, follow=False)
    report("open, cold", [panel.open()], GOAL_OPEN)
    report("open, warm", [PanelHarness(dataset, follow=False).open() for _ in range(repeat)], GOAL_OPEN)
    pairs = [(0, 2), (1, 2), (1, 0), (2, 0), (2, 1), (0, 1)]
    report("matrix click", [panel.event("on_matrix", idx=list(pair)) for pair in pairs])
    report("doubled event", [panel.event("on_change_view") for _ in range(repeat)])
    cells = len(panel.data["pair"][1]["x"])
    points = [int(index) for index in np.linspace(0, cells - 1, repeat)]
    time_view([lambda p, i=i: p.event("on_pair_click", idx=i) for i in points], "click on a cell")  # type: ignore[misc]
    boxes = [[{"idx": index} for index in range(point + 1)] for point in points]
    time_view([lambda p, b=b: p.event("on_pair_box", data=b) for b in boxes], "box")  # type: ignore[misc]
    bars = [int(index) for index in np.linspace(0, 39, repeat)]
    time_view([lambda p, b=b: p.event("on_histogram_click", idx=b) for b in bars], "click on a bar")  # type: ignore[misc]
    time_view([lambda p: p.event("on_hardest")] * repeat, "hardest first")
    time_view([lambda p: p.event("on_disagreement")] * repeat, "disagreement")
    panel.event("on_pair_box", data=boxes[-2])
    report("view comes back, doubled", [panel.event("on_change_view") for _ in range(repeat)])
    panel.event("on_reset")
    report("rank in place of learnability", [panel.choose("controls.quantity", "rank")])
    report("learnability in place of rank", [panel.choose("controls.quantity", "learnability")])
    for tab in ("examples", "classes", "compare"):
        report(f"tab {tab}, cold", [panel.tab(tab)])
    for tab in ("examples", "classes", "compare"):
        report(f"tab {tab}, warm", [panel.tab(tab)])
    panel.tab("classes")
    places = [[row, column] for row in (0, 5, 9) for column in (10, 19)]
    time_view([lambda p, i=i: p.event("on_class", idx=i) for i in places], "click on a class")  # type: ignore[misc]
    report("tab curves, cold", [panel.tab("curves")])
    panel.tab("compare")
    report("tab curves, warm", [panel.tab("curves")])
    report("select 3 samples, first", [panel.select(*ids[:3])])
    report("select 3 samples", [panel.select(*ids[start : start + 3]) for start in range(10, 10 + repeat)])
    panel.tab("compare")
    report("timer", [panel.event("on_timer") for _ in range(repeat)])
    report("user chooses a view", [panel.show(dataset.match(fo.ViewField("ground_truth.label") == "class 3"))])
    report("user chooses half of the samples by id", [panel.show(dataset.select(ids[::2]))])
    report("that again, doubled", [panel.event("on_change_view") for _ in range(repeat)])
    panel.show(None)
    dataset.select(ids[:100]).tag_samples("hard")
    report("after 100 samples were tagged", [panel.event("on_change_view")], GOAL_OPEN)
    print()
    print("\n".join(missed) if missed else "all within the goals")
    dataset.delete()


if __name__ == "__main__":
    main()
