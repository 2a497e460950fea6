"""Whether anything grows when one process makes run after run, and how the App's server answers while a job trains.

    python -m benchmarks.soak [--rounds 50] [--skip-app]

Each round trains the tiniest of networks, does with the scores what people do (replaces, tags, compares, exports
and imports them; breaks a training off and goes on with it) and deletes the runs. Then it prints what the process and
the database held after ten rounds and after the last. The second part serves the App, starts a background training over
the App's own address, and times requests before and while it trains.
"""

from __future__ import annotations

import argparse
import atexit
import gc
import json
import os
import shutil
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from bson import ObjectId

from scripts.database import use_own_database
from scripts.images import write_digits
from scripts.server import serve

if TYPE_CHECKING:
    import fiftyone as fo
    from torch import nn

WARM_UP = 10
PLUGIN = "@fiftyone-learnability/learnability"


def tiny(num_classes: int, in_channels: int) -> nn.Module:
    """A linear network on 4x4 means, which trains in milliseconds."""
    from torch import nn

    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * in_channels, num_classes))


@dataclass(frozen=True)
class Usage:
    """What a process and its database hold at one moment.

    Attributes:
        megabytes: memory that is this process's alone
        objects: objects that Python's garbage collector knows
        open_files: file descriptors, sockets among them
        threads: threads
        children: processes that it has started and that still run, or wait to be looked after
        temporary_files: what lies in the folder of temporary files
        cached_files: what lies in the user's cache
        collections: collections of the database
        stored_files: files that the database keeps, such as the results of runs
        stored_chunks: the parts that these are in
        run_documents: documents of runs, of all datasets
        runs: the runs that the dataset lists
        fields: the fields of the dataset
        indexes: its indexes
        saved_views: its saved views
        workspaces: its workspaces
        tags: the tags of its samples
        attributes: what else the dataset keeps in its info and its App's settings, in characters
    """

    megabytes: float
    objects: int
    open_files: int
    threads: int
    children: int
    temporary_files: int
    cached_files: int
    collections: int
    stored_files: int
    stored_chunks: int
    run_documents: int
    runs: int
    fields: int
    indexes: int
    saved_views: int
    workspaces: int
    tags: int
    attributes: int


NOISY = ("megabytes", "objects")
"""What differs from one moment to the next although nothing grows; all else has to be the same."""


def measure(dataset: fo.Dataset) -> Usage:
    """Looks at this process and at the database, past what the dataset object remembers."""
    from fiftyone_learnability.dataset.internals import dataset_id, get_database
    from fiftyone_learnability.storage import cache_folder

    gc.collect()
    process, database = psutil.Process(), get_database()
    document = database.datasets.find_one({"_id": dataset_id(dataset)})
    cache = cache_folder()
    return Usage(
        megabytes=process.memory_full_info().uss / 2**20,
        objects=len(gc.get_objects()),
        open_files=process.num_fds() if hasattr(process, "num_fds") else process.num_handles(),
        threads=process.num_threads(),
        children=len(process.children(recursive=True)),
        temporary_files=sum(1 for _ in Path(tempfile.gettempdir()).rglob("*")),
        cached_files=sum(1 for _ in cache.rglob("*")),
        collections=len(database.list_collection_names()),
        stored_files=database["fs.files"].count_documents({}),
        stored_chunks=database["fs.chunks"].count_documents({}),
        run_documents=database.runs.count_documents({}),
        runs=len(document.get("runs") or {}),
        fields=len(document["sample_fields"]),
        indexes=len(database[document["sample_collection_name"]].index_information()),
        saved_views=database.views.count_documents({"_dataset_id": document["_id"]}),
        workspaces=database.workspaces.count_documents({"_dataset_id": document["_id"]}),
        tags=len(database[document["sample_collection_name"]].distinct("tags")),
        attributes=len(json.dumps([document.get("info"), document.get("app_config")], default=str)),
    )


def learn(samples: Any, *models: str, **options: Any) -> None:
    """One epoch of tiny networks of these names."""
    import fiftyone_learnability as fol

    fol.compute_learnability(
        samples,
        models=dict.fromkeys(models, tiny),
        **{"epochs": 1, "batch_size": 32, "device": "cpu", "progress": False, **options},
    )


class _StopError(Exception):
    """Breaks a training off."""


def replace_scores(dataset: fo.Dataset) -> None:
    """The same networks once more, over what they have written, and under another key."""
    import fiftyone_learnability as fol

    learn(dataset, "a")
    learn(dataset, "a", overwrite=True)
    learn(dataset, "a", overwrite=True, key="other", scores="all", runs=2)
    fol.rename_run(dataset, "other", "another")


def compare_and_tag(dataset: fo.Dataset) -> None:
    """Two networks, their consensus, suggested labels, tags and a subset."""
    import fiftyone_learnability as fol

    learn(dataset, "a", "b")
    fol.compare_models(dataset)
    fol.add_scores(dataset, ["hits", "aum"])
    fol.write_consensus(dataset)
    fol.suggest_label_fixes(dataset)
    fol.tag_by_difficulty(dataset, "a", count=5)
    fol.select_subset(dataset, 0.5, tag="half")
    dataset.untag_samples(["hard", "half"])


def export_and_import(dataset: fo.Dataset) -> None:
    """A part of the dataset, its scores into a file and back under another name."""
    import fiftyone_learnability as fol

    learn(dataset.limit(40), "a", record_dynamics=False)
    with tempfile.TemporaryDirectory() as folder:
        for ending in ("csv", "npz"):
            fol.export_scores(dataset, Path(folder) / f"scores.{ending}")
            fol.import_scores(dataset, Path(folder) / f"scores.{ending}", overwrite=True)


def break_off(dataset: fo.Dataset) -> None:
    """A training that is broken off, and gone on with; another that is given up; and one that is refused."""

    def stop(event: Any) -> None:
        if event.stage == "training" and event.fraction > 0.4:
            raise _StopError

    for resume in (True, False):
        with suppress(_StopError):
            learn(dataset, "a", epochs=3, overwrite=True, progress=stop)
        learn(dataset, "a", epochs=3, resume=resume, overwrite=True)
    with suppress(ValueError):
        learn(dataset, "a")


ROUNDS: tuple[Callable[[Any], None], ...] = (
    lambda dataset: learn(dataset, "a"),
    replace_scores,
    compare_and_tag,
    export_and_import,
    break_off,
)
"""What the rounds do, in turn."""


def soak(dataset: fo.Dataset, rounds: int, warm_up: int = WARM_UP) -> tuple[Usage, Usage]:
    """Makes runs and deletes them.

    Args:
        dataset: a dataset of at least 60 images with labels in ``ground_truth``
        rounds: how often
        warm_up (10): the rounds before the first look: what is loaded and remembered once is no growth

    Returns:
        what was held after the warm-up, and in the end
    """
    import fiftyone_learnability as fol

    before = None
    for number in range(rounds):
        if number == warm_up:
            before = measure(dataset)
        ROUNDS[number % len(ROUNDS)](dataset)
        for key in fol.list_runs(dataset):
            fol.delete_run(dataset, key)
    assert before is not None, "there are no more rounds than those to warm up"
    return before, measure(dataset)


def grown(before: Usage, after: Usage) -> dict[str, float]:
    """By how much each thing has grown or shrunk."""
    return {name: value - getattr(before, name) for name, value in asdict(after).items()}


# how the App's server answers while a job trains

JOB: dict[str, Any] = {
    "preset": "custom",
    "epochs": 10_000,
    "batch_size": 32,
    "device": "cpu",
    "models": ["resnet20"],
    "label_field": "ground_truth",
    "how": "background",
    "overwrite": True,
}
"""A training that goes on until it is cancelled."""


def _page(dataset: fo.Dataset) -> dict[str, Any]:
    """The query by which the App's grid gets its first samples, sorted by their scores."""
    import fiftyone_learnability as fol
    from fiftyone_learnability.dataset.internals import serialize_stages

    query = """
        query page($dataset: String!, $view: BSONArray!) {
            samples(dataset: $dataset, view: $view, first: 20, filter: {}) {
                ... on SampleItemStrConnection {
                    edges { node { __typename ... on ImageSample { id sample urls { field url } } } }
                }
            }
        }
    """
    view = serialize_stages(fol.sort_by_learnability(dataset, fol.find_models(dataset)[0]))
    return {"query": query, "variables": {"dataset": dataset.name, "view": view}}


class Client:
    """Sends the App's server what a browser sends, over HTTP.

    Args:
        url: the App's address
        dataset: the dataset that the App shows
    """

    def __init__(self, url: str, dataset: fo.Dataset) -> None:
        self.url, self.dataset = url, dataset
        self._panel_state: dict[str, Any] = {}

    def send(self, path: str, body: Any = None) -> bytes:
        """Sends a request, a POST if it has a body.

        Returns:
            the answer
        """
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, content, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()

    def operator(self, name: str, params: dict[str, Any], path: str = "execute") -> bytes:
        """Executes an operator, or resolves its form."""
        body = {"operator_uri": f"{PLUGIN}/{name}", "dataset_name": self.dataset.name, "params": params, "view": []}
        return self.send(f"/operators/{path}", body)

    def panel(self, event: str) -> bytes:
        """Plays an event of the panel."""
        params = {"panel_id": "p", "panel_state": self._panel_state, "__method__": event}
        return self.operator("learnability_panel", params)

    def requests(self) -> dict[str, Callable[[], bytes]]:
        """What a user causes who looks at the App: pages, the grid, the panel and a form."""
        return {
            "the server's state": lambda: self.send("/fiftyone"),
            "a page of the grid": lambda: self.send("/graphql", _page(self.dataset)),
            "the panel's look at the job": lambda: self.panel("on_timer"),
            "the panel drawn anew": lambda: self.panel("on_load"),
            "the form of compute": lambda: self.operator("compute_learnability", JOB, "resolve-type"),
        }

    def time_requests(self, rounds: int, pause: float = 0.1) -> dict[str, list[float]]:
        """Sends each request again and again, as a user who clicks without pause would.

        Returns:
            the seconds that each took, by its name
        """
        taken: dict[str, list[float]] = {name: [] for name in self.requests()}
        for _ in range(rounds):
            for name, request in self.requests().items():
                start = time.perf_counter()
                answer = request()
                taken[name].append(time.perf_counter() - start)
                said = json.loads(answer)
                if wrong := said.get("error") or said.get("errors"):
                    raise RuntimeError(f"{name}: {wrong}")
                time.sleep(pause)
        return taken

    def start_job(self, seconds: float = 120) -> str:
        """Starts a background training over HTTP and waits until it trains.

        Returns:
            the id of its operation
        """
        self.operator("compute_learnability", JOB, "execute/generator")
        return self.wait_for_job(lambda found: (found.get("status") or {}).get("progress"), seconds)

    def wait_for_job(self, reached: Callable[[dict[str, Any]], Any], seconds: float = 120) -> str:
        """Waits for the newest job of the dataset to come to something."""
        from fiftyone_learnability.dataset.internals import dataset_id, get_database

        deadline = time.monotonic() + seconds
        while True:
            found = get_database()["delegated_ops"].find_one(
                {"dataset_id": dataset_id(self.dataset)}, sort=[("queued_at", -1)]
            )
            if found is not None and reached(found):
                return str(found["_id"])
            assert time.monotonic() < deadline, f"waited {seconds} s for the job: {found}"
            time.sleep(0.2)

    def progress(self) -> float:
        """How far the newest job is."""
        from fiftyone_learnability.dataset.internals import get_database

        id = ObjectId(self.wait_for_job(lambda found: True))
        found = get_database()["delegated_ops"].find_one({"_id": id})
        return (found.get("status") or {}).get("progress") or 0.0

    def cancel_job(self) -> None:
        """Cancels the job, as the panel's button does."""
        self.panel("on_cancel")
        self.wait_for_job(lambda found: found["run_state"] == "failed")


def table(usages: tuple[Usage, Usage]) -> str:
    """What was held, and by how much it has grown."""
    before, after = usages
    lines = [f"{'':20} {'warm':>12} {'in the end':>12} {'growth':>10}"]
    for name, change in grown(before, after).items():
        first, last = getattr(before, name), getattr(after, name)
        lines.append(f"{name:20} {first:12,.6g} {last:12,.6g} {change:+10,.6g}")
    return "\n".join(lines)


def times(taken: dict[str, list[float]]) -> str:
    """Median and largest of the times, in milliseconds."""
    lines = [f"{'':30} {'requests':>8} {'median ms':>10} {'largest ms':>10}"]
    every = {**taken, "all": [one for seconds in taken.values() for one in seconds]}
    for name, seconds in every.items():
        middle, most = statistics.median(seconds) * 1000, max(seconds) * 1000
        lines.append(f"{name:30} {len(seconds):8} {middle:10.0f} {most:10.0f}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--requests", type=int, default=20, help="how often each request is sent")
    parser.add_argument("--skip-app", action="store_true", help="only the rounds")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="learnability-soak-"))
    # after the database has ended, which is registered later
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "tmp").mkdir()
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder / "tmp")
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    use_own_database(folder / "db")
    import fiftyone as fo

    files, labels = write_digits(folder / "images")
    dataset = fo.Dataset("soak", persistent=True)
    dataset.add_samples(
        [
            fo.Sample(file, ground_truth=fo.Classification(label=label))
            for file, label in zip(files[:600], labels[:600], strict=True)
        ],
        progress=False,
    )
    usages = soak(dataset.limit(60).clone(), options.rounds)
    print(f"{options.rounds} rounds in one process, 60 samples\n\n{table(usages)}", flush=True)
    if options.skip_app:
        return
    learn(dataset, "resnet20")
    with serve() as url:
        client = Client(url, dataset)
        client.time_requests(2)
        print(f"\nthe App, nothing else to do\n\n{times(client.time_requests(options.requests))}")
        client.start_job()
        print(f"\nthe App while a job trains\n\n{times(client.time_requests(options.requests))}")
        client.cancel_job()


if __name__ == "__main__":
    main()
