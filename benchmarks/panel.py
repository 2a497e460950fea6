"""How long the server takes to answer the panel's events on large datasets, how much it sends, and its memory.

    python -m benchmarks.panel --samples 50000 1000000

Datasets without images get made-up scores of three networks, with dynamics and suggested labels, in a database of its
own that is deleted in the end. A fresh process then plays each event as the App plays it; the slowest and the median of
some repetitions are printed, in milliseconds, with what is sent to the browser. "Cold" is the first time in a new
server, before anything is remembered. Goals for the slowest: up to 50,000 samples, open within 1.5 s and every other
event within 0.5 s; beyond, within 4 s and 1.5 s. What FiftyOne itself takes of an event, to make a view of the ids that
the browser sends or to write tags, is measured beside it and not counted against the goal of that event.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from .synthetic import MODELS, own_database, sample_ids, settings_of, synthetic_dataset, synthetic_results
from .table import Result

SAMPLES = (50_000, 1_000_000)
SMALL = 50_000
GOALS = {True: (1.5, 0.5), False: (4.0, 1.5)}
"""Seconds to open and to answer any other event, up to :data:`SMALL` samples and beyond."""


@dataclass(frozen=True)
class Event:
    """What one kind of event took.

    Attributes:
        name: what is done
        seconds: of each repetition
        kilobytes: the most that was sent to the browser
        opens: whether the goal for opening holds
        grid: how many samples it has put into the grid, in words
    """

    name: str
    seconds: list[float]
    kilobytes: float
    opens: bool
    grid: str

    def goal(self, count: int) -> float:
        """The seconds that it may take with so many samples."""
        opening, other = GOALS[count <= SMALL]
        return opening if self.opens else other


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, nargs="+", default=SAMPLES, metavar="N")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--serve", metavar="DATASET", help=argparse.SUPPRESS)
    options = parser.parse_args()
    own_database()
    if options.serve:
        print(json.dumps(serve(options.serve, options.samples[0], options.repeat)))
        return
    for count in options.samples:
        events, memory = play(count, options.repeat if count <= SMALL else 2)
        print(f"\n{count:,} samples, {len(MODELS)} networks, {epochs_of(count)} epochs with dynamics\n")
        print("| event | median ms | slowest ms | kB sent | grid |\n|---|---|---|---|---|")
        for event in events:
            seconds = event.seconds
            print(
                f"| {event.name} | {statistics.median(seconds) * 1e3:.0f} | {max(seconds) * 1e3:.0f} "
                f"| {event.kilobytes:.0f} | {event.grid} |"
            )
        print(f"\nmemory of the server: {memory['before']:.0f} MB before, {memory['after']:.0f} MB after all events")
        missed = [
            f"{event.name}: {max(event.seconds):.2f} s, the goal is {event.goal(count)} s"
            for event in events
            if max(event.seconds) > event.goal(count)
        ]
        print("\n".join(missed) if missed else "all within the goals", flush=True)


def measure(quick: bool = False) -> list[Result]:
    """The lines of ``make bench``.

    Args:
        quick: whether to leave out a million samples
    """
    own_database()
    lines = []
    for count in SAMPLES[:1] if quick else SAMPLES:
        events, memory = play(count, 3 if count <= SMALL else 2)
        for stage, some in (
            ("open the panel", [event for event in events if event.opens]),
            ("the slowest click in the panel", [event for event in events if not event.opens]),
        ):
            slowest = max(some, key=lambda event: max(event.seconds))
            seconds, goal = max(slowest.seconds), slowest.goal(count)
            lines.append(
                Result(
                    f"{stage}, {count:,} samples",
                    f"{seconds:.2f} s",
                    goal=f"under {goal} s",
                    met=seconds < goal,
                    note=f"{slowest.name}; server {memory['after'] - memory['before']:.0f} MB larger after all events",
                )
            )
    return lines


def epochs_of(count: int) -> int:
    """The epochs whose dynamics are kept: of a million samples and 200 epochs, they would take 1.2 GB."""
    return 200 if count <= SMALL else 20


def play(count: int, repeat: int) -> tuple[list[Event], dict[str, float]]:
    """What events take in a fresh process, and the MB of memory of that before and after."""
    name = prepare(count)
    command = [sys.executable, "-m", "benchmarks.panel", "--serve", name, "--samples", str(count)]
    output = subprocess.run(
        [*command, "--repeat", str(repeat)], check=True, stdout=subprocess.PIPE, text=True
    ).stdout.splitlines()[-1]
    import fiftyone as fo

    fo.delete_dataset(name)
    found = json.loads(output)
    return [Event(**event) for event in found["events"]], found["memory"]


def prepare(count: int) -> str:
    """Makes a dataset with scores and suggested labels; returns its name."""
    import numpy as np

    import fiftyone_learnability as fol
    from fiftyone_learnability.dataset.fields import write_results
    from fiftyone_learnability.dataset.target import WriteTarget

    dataset = synthetic_dataset(count)
    dataset.persistent = True
    epochs = epochs_of(count)
    results = synthetic_results(count, epochs, dynamics=True, scores=("hits", "variability"))
    rng = np.random.default_rng(1)
    first = results[MODELS[0]]
    prediction = rng.random((count, len(first.classes)), dtype=np.float32)
    # most samples are taken for what they are called
    prediction[np.arange(count), first.labels] += 8 * rng.random(count) ** 0.3
    # and one in a hundred for another class
    wrong = np.flatnonzero(rng.random(count) < 0.01)
    prediction[wrong, (first.labels[wrong] + 1) % len(first.classes)] += 60
    prediction /= prediction.sum(axis=1, keepdims=True)
    object.__setattr__(first, "prediction", prediction.astype(np.float16))
    write_results(WriteTarget.of_scores(dataset, list(results), "learnability"), results, settings_of(count, epochs))
    fol.add_scores(dataset, ["hits", "variability"], MODELS[0])
    fol.suggest_label_fixes(dataset, MODELS[0])
    return str(dataset.name)


def serve(name: str, count: int, repeat: int) -> dict[str, Any]:
    """Plays all events."""
    import fiftyone as fo
    import numpy as np
    import psutil

    from fiftyone_learnability.dataset.internals import build_view, serialize_stages
    from tests.plugin.harness import Answer, PanelHarness

    dataset = fo.load_dataset(name)
    ids = sample_ids(count)
    events: list[Event] = []
    process = psutil.Process()
    gc.collect()
    before = process.memory_info().rss

    def report(name: str, answers: list[Answer], opens: bool = False, grid: str = "", less: float = 0.0) -> None:
        seconds = [answer.seconds - less for answer in answers]
        events.append(Event(name, seconds, max(answer.kilobytes for answer in answers), opens, grid))

    def time_view(played: list[Callable[[PanelHarness], Answer]], name: str) -> None:
        answers, sizes = [], []
        for event in played:
            answers.append(event(panel))
            sizes.append(len(panel.view) if panel.stages else 0)
            panel.event("on_reset")
        report(name, answers, grid=f"{min(sizes):,} to {max(sizes):,}")

    # events of several runs, so that nothing is measured that was remembered
    panel = PanelHarness(dataset, follow=False)
    report("open, cold", [panel.open()], opens=True)
    report("open, warm", [PanelHarness(dataset, follow=False).open() for _ in range(repeat)], opens=True)
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
    panel.event("on_pair_box", data=boxes[-1])
    report("view comes back, doubled", [panel.event("on_change_view") for _ in range(repeat)])
    panel.event("on_reset")
    report("rank in place of learnability", [panel.choose("controls.quantity", "rank")])
    report("learnability in place of rank", [panel.choose("controls.quantity", "learnability")])
    panel.choose("controls.first", MODELS[0])
    tabs = ("map", "labels", "examples", "classes", "compare")
    for tab in tabs:
        report(f"tab {tab}, cold", [panel.tab(tab)])
    for tab in tabs:
        report(f"tab {tab}, warm", [panel.tab(tab)])
    panel.tab("map")
    places = [int(index) for index in np.linspace(0, len(panel.data["map"][0]["x"]) - 1, repeat)]
    time_view([lambda p, i=i: p.event("on_map_click", idx=i) for i in places], "click on the map")  # type: ignore[misc]
    boxes = [[{"idx": index} for index in range(place + 1)] for place in places]
    time_view([lambda p, b=b: p.event("on_map_box", data=b) for b in boxes], "box on the map")  # type: ignore[misc]
    panel.tab("labels")
    time_view([lambda p: p.event("on_mislabelled")] * repeat, "probably mislabelled")
    time_view([lambda p: p.event("on_hard")] * repeat, "hard but plausible")
    cells_of_labels = [[0, 1], [4, 5], [9, 0]]
    time_view(
        [lambda p, i=i: p.event("on_change_of_label", idx=i) for i in cells_of_labels],  # type: ignore[misc]
        "click on a given and a suggested label",
    )
    panel.tab("classes")
    rows = [[row, column] for row in (0, 5, 9) for column in (10, 19)]
    time_view([lambda p, i=i: p.event("on_class", idx=i) for i in rows], "click on a class")  # type: ignore[misc]
    report("tab curves, cold", [panel.tab("curves")])
    panel.tab("compare")
    report("tab curves, warm", [panel.tab("curves")])
    report("select 3 samples, first", [panel.select(*ids[:3])])
    report("select 3 samples", [panel.select(*ids[start : start + 3]) for start in range(10, 10 + repeat)])
    panel.select()
    panel.tab("compare")
    report("timer", [panel.event("on_timer") for _ in range(repeat)])
    report("user chooses a view", [panel.show(dataset.match(fo.ViewField("ground_truth.label") == "class 3"))])
    half = dataset.select(ids[::2])
    start = time.perf_counter()
    # what the App itself does with the view before and after the event
    build_view(dataset, json.loads(json.dumps(serialize_stages(half))))
    building = time.perf_counter() - start
    report(f"user chooses half of the samples by id (FiftyOne: {building * 1e3:.0f} ms)", [panel.show(half)])
    report("that again, doubled", [panel.event("on_change_view") for _ in range(repeat)])
    report("click on a bar there", [panel.event("on_histogram_click", idx=5)])
    panel.show(None)
    for start in (0, 100, 200):
        dataset.select(ids[start : start + 100]).tag_samples("hard")
        answers = [panel.event("on_change_view")]
        if start:
            report(f"after samples {start} to {start + 100} were tagged", answers)
        else:
            # within a minute after scores were written, or somewhat later
            report("after samples 0 to 100 were tagged: all may be read again", answers, opens=True)
    gc.collect()
    memory = {"before": before / 1e6, "after": process.memory_info().rss / 1e6}
    return {"events": [asdict(event) for event in events], "memory": memory}


if __name__ == "__main__":
    main()
