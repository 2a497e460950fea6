"""Measures how long the server takes to answer the panel's events on large datasets, what it sends, and its memory.

    python -m benchmarks.panel --samples 50000 1000000

The datasets have no images, but made-up scores of three networks with dynamics and suggested labels. They live in a
database of their own, which is deleted at the end. A fresh process plays each event as the App plays it and prints the
median and the slowest of some repetitions in milliseconds, and the kilobytes sent to the browser. "Cold" is the first
event in a new server, before anything is cached. The goals hold for the slowest: up to 50,000 samples, opening takes at
most 1.5 s and any other event 0.5 s; beyond, 4 s and 1.5 s. FiftyOne's own share of an event, such as building a view
from the ids that the browser sends, is measured separately and does not count.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from .synthetic import MODELS, own_database, sample_ids, settings_of, synthetic_dataset, synthetic_results
from .table import Result

if TYPE_CHECKING:
    import fiftyone as fo

    from tests.plugin.harness import Answer

SAMPLES = (50_000, 1_000_000)
SMALL = 50_000
GOALS = {True: (1.5, 0.5), False: (4.0, 1.5)}
"""Seconds for opening and for any other event, up to :data:`SMALL` samples (True) and beyond (False)."""


@dataclass(frozen=True)
class Event:
    """The cost of one kind of event.

    Attributes:
        name: the event
        seconds: the duration of each repetition
        kilobytes: the size of the largest answer
        opens: True if the goal for opening applies
        grid: how many samples the event showed in the grid, in words
    """

    name: str
    seconds: list[float]
    kilobytes: float
    opens: bool
    grid: str

    def goal(self, count: int) -> float:
        """Return the goal in seconds for a number of samples."""
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
    """Return the lines of ``make bench``.

    Args:
        quick (False): True skips the million samples
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
    """Return the epochs with dynamics: 200 epochs of a million samples would take 1.2 GB."""
    return 200 if count <= SMALL else 20


def play(count: int, repeat: int) -> tuple[list[Event], dict[str, float]]:
    """Return the cost of all events in a fresh process, and its memory in MB before and after them."""
    name = prepare(count)
    command = [sys.executable, "-m", "benchmarks.panel", "--serve", name, "--samples", str(count)]
    output = subprocess.run(
        [*command, "--repeat", str(repeat)], check=True, stdout=subprocess.PIPE, text=True
    ).stdout.splitlines()[-1]
    import fiftyone as fo

    fo.delete_dataset(name)
    measured = json.loads(output)
    return [Event(**event) for event in measured["events"]], measured["memory"]


def prepare(count: int) -> str:
    """Make a dataset with scores and suggested labels; return its name."""
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
    # the predictions agree with the labels of most samples
    prediction[np.arange(count), first.labels] += 8 * rng.random(count) ** 0.3
    # and strongly prefer another class for one sample in a hundred
    wrong = np.flatnonzero(rng.random(count) < 0.01)
    prediction[wrong, (first.labels[wrong] + 1) % len(first.classes)] += 60
    prediction /= prediction.sum(axis=1, keepdims=True)
    results[MODELS[0]] = replace(first, prediction=prediction.astype(np.float16))
    write_results(WriteTarget.of_scores(dataset, list(results), "learnability"), results, settings_of(count, epochs))
    fol.add_scores(dataset, ["hits", "variability"], MODELS[0])
    fol.suggest_label_fixes(dataset, MODELS[0])
    fol.start_label_review(dataset)
    return str(dataset.name)


def serve(name: str, count: int, repeat: int) -> dict[str, Any]:
    """Play all events in this process; return what :func:`play` returns."""
    import fiftyone as fo
    import psutil

    process = psutil.Process()
    dataset = fo.load_dataset(name)
    gc.collect()
    before = process.memory_info().rss
    events = Session(dataset, count, repeat).play()
    gc.collect()
    memory = {"before": before / 1e6, "after": process.memory_info().rss / 1e6}
    return {"events": [asdict(event) for event in events], "memory": memory}


class Session:
    """A user's session with the panel, of which every event is timed.

    Args:
        dataset: the dataset
        count: the number of its samples
        repeat: how often to repeat events
    """

    def __init__(self, dataset: fo.Dataset, count: int, repeat: int) -> None:
        from tests.plugin.harness import PanelHarness

        self.dataset, self.ids, self.repeat = dataset, sample_ids(count), repeat
        self.panel = PanelHarness(dataset, follow=False)
        self.events: list[Event] = []

    def play(self) -> list[Event]:
        """Play the session; return its events."""
        self._open()
        self._compare()
        self._visit_tabs()
        self._use_unwritten()
        self._choose_views()
        self._tag()
        self._review()
        return self.events

    def _report(self, name: str, *answers: Answer, opens: bool = False, grid: str = "") -> None:
        seconds = [answer.seconds for answer in answers]
        self.events.append(Event(name, seconds, max(answer.kilobytes for answer in answers), opens, grid))

    def _report_views(self, name: str, method: str, *params: dict[str, Any]) -> None:
        """Play events that show samples in the grid, and reset the grid after each."""
        answers, sizes = [], []
        for event in params:
            answers.append(self.panel.event(method, **event))
            sizes.append(len(self.panel.view) if self.panel.stages else 0)
            self.panel.event("on_reset")
        self._report(name, *answers, grid=f"{min(sizes):,} to {max(sizes):,}")

    def _spread(self, stop: int) -> list[int]:
        """Return as many indices below ``stop`` as there are repetitions, from the first to the last."""
        import numpy as np

        return [int(index) for index in np.linspace(0, stop - 1, self.repeat)]

    def _open(self) -> None:
        from tests.plugin.harness import PanelHarness

        self._report("open, cold", self.panel.open(), opens=True)
        warm = [PanelHarness(self.dataset, follow=False).open() for _ in range(self.repeat)]
        self._report("open, warm", *warm, opens=True)

    def _compare(self) -> None:
        panel = self.panel
        # every pair once, so that no plot is cached
        pairs = [(0, 2), (1, 2), (1, 0), (2, 0), (2, 1), (0, 1)]
        self._report("matrix click", *[panel.event("on_matrix", idx=list(pair)) for pair in pairs])
        self._report("doubled event", *[panel.event("on_change_view") for _ in range(self.repeat)])
        points = self._spread(len(panel.data["pair"][1]["x"]))
        boxes = [_box(point) for point in points]
        self._report_views("click on a cell", "on_pair_click", *[{"idx": point} for point in points])
        self._report_views("box", "on_pair_box", *boxes)
        self._report_views("click on a bar", "on_histogram_click", *[{"idx": bar} for bar in self._spread(40)])
        self._report_views("hardest first", "on_hardest", *[{}] * self.repeat)
        self._report_views("disagreement", "on_first_easier", *[{}] * self.repeat)
        panel.event("on_pair_box", **boxes[-1])
        self._report("view comes back, doubled", *[panel.event("on_change_view") for _ in range(self.repeat)])
        panel.event("on_reset")
        self._report("rank in place of learnability", panel.choose("quantity", "rank"))
        self._report("learnability in place of rank", panel.choose("quantity", "learnability"))

    def _visit_tabs(self) -> None:
        panel, ids = self.panel, self.ids
        panel.choose("first", MODELS[0])
        for temperature in ("cold", "warm"):
            for tab in ("map", "labels", "examples", "classes", "compare"):
                self._report(f"tab {tab}, {temperature}", panel.tab(tab))
        panel.tab("map")
        points = self._spread(len(panel.data["map"][0]["x"]))
        self._report_views("click on the map", "on_map_click", *[{"idx": point} for point in points])
        self._report_views("box on the map", "on_map_box", *map(_box, points))
        panel.tab("labels")
        self._report_views("probably mislabelled", "on_mislabelled", *[{}] * self.repeat)
        self._report_views("hard but plausible", "on_hard", *[{}] * self.repeat)
        cells = [{"idx": cell} for cell in ([0, 1], [4, 5], [9, 0])]
        self._report_views("click on a given and a suggested label", "on_change_of_label", *cells)
        panel.tab("classes")
        cells = [{"idx": [row, column]} for row in (0, 5, 9) for column in (10, 19)]
        self._report_views("click on a class", "on_class", *cells)
        places = [{"row": row, "column": column} for row in (0, 9) for column in (0, 3, 4)]
        self._report_views("click on the table of classes", "on_class_cell", *places)
        self._report("tab curves, cold", panel.tab("curves"))
        panel.tab("compare")
        self._report("tab curves, warm", panel.tab("curves"))
        self._report("select 3 samples, first", panel.select(*ids[:3]))
        starts = range(10, 10 + self.repeat)
        self._report("select 3 samples", *[panel.select(*ids[start : start + 3]) for start in starts])
        panel.select()
        panel.tab("compare")
        self._report("timer", *[panel.tick() for _ in range(self.repeat)])

    def _use_unwritten(self) -> None:
        """Use scores that the run has measured and that are no fields, and open samples in the modal."""
        from tests.plugin.harness import SAMPLE_PANEL, PanelHarness

        panel, ids = self.panel, self.ids
        panel.choose("first", MODELS[1])
        self._report("map of scores that are no fields", panel.tab("map"))
        points = self._spread(len(panel.data["map"][0]["x"]))
        self._report_views("box on that map", "on_map_box", *map(_box, points))
        panel.tab("compare")
        self._report("a score that is no field", panel.choose("quantity", "variability"))
        self._report_views("its lowest first", "on_lowest", *[{}] * self.repeat)
        panel.choose("quantity", "learnability")
        panel.choose("first", MODELS[0])
        modal = PanelHarness(self.dataset, follow=False, uri=SAMPLE_PANEL)
        self._report("sample in the modal, first", modal.open_sample(ids[0]))
        self._report("sample in the modal", *[modal.open_sample(id) for id in ids[1 : 1 + self.repeat]])

    def _choose_views(self) -> None:
        import fiftyone as fo

        from fiftyone_learnability.dataset.internals import build_view, serialize_stages

        dataset, panel = self.dataset, self.panel
        one_class = dataset.match(fo.ViewField("ground_truth.label") == "class 3")
        self._report("user chooses a view", panel.show(one_class))
        half = dataset.select(self.ids[::2])
        start = time.perf_counter()
        # the App does this before and after the event
        build_view(dataset, json.loads(json.dumps(serialize_stages(half))))
        milliseconds = (time.perf_counter() - start) * 1e3
        self._report(f"user chooses half of the samples by id (FiftyOne: {milliseconds:.0f} ms)", panel.show(half))
        self._report("that again, doubled", *[panel.event("on_change_view") for _ in range(self.repeat)])
        self._report("click on a bar there", panel.event("on_histogram_click", idx=5))
        panel.show(None)
        for label in ("class 4", "class 5"):
            panel.filters = {"ground_truth.label": {"values": [label], "exclude": False, "isMatching": True}}
            self._report(f"user filters {label} in the sidebar", panel.event("on_change_view"))
        self._report("click on a bar there", panel.event("on_histogram_click", idx=39))
        panel.filters = {}
        panel.show(None)

    def _tag(self) -> None:
        for start in (0, 100, 200):
            self.dataset.select(self.ids[start : start + 100]).tag_samples("hard")
            answer = self.panel.event("on_change_view")
            if start:
                self._report(f"after samples {start} to {start + 100} were tagged", answer)
            else:
                # within a minute after scores were written, all samples count as changed
                self._report("after samples 0 to 100 were tagged: all may be read again", answer, opens=True)

    def _review(self) -> None:
        panel = self.panel
        panel.tab("labels")
        self._report("review of labels, first", panel.event("on_review", review="mislabelled"))
        for decision in ("accepted", "kept", "skipped"):
            name = f"a suggestion is {decision}"
            self._report(name, *[self._decide(decision) for _ in range(self.repeat)])
        self._report("undo", *[panel.event("on_undo") for _ in range(self.repeat)])

    def _decide(self, decision: str) -> Answer:
        return self.panel.event("on_decide", **self.panel.layout[decision]["view"]["params"])


def _box(last: int) -> dict[str, Any]:
    """Return the params of a box around the points up to ``last``."""
    return {"data": [{"idx": index} for index in range(last + 1)]}


if __name__ == "__main__":
    main()
