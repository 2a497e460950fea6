"""Measures growth while one process makes many runs, and the response time of the App's server while a job trains.

    python -m benchmarks.soak [--rounds 50] [--skip-app]

Each round trains a tiny network, uses its scores (replaces, tags, compares, exports and imports them; interrupts a
training and resumes it) and deletes the runs. The script prints what the process and the database hold after ten rounds
and after the last. The second part serves the App, starts a background training over HTTP, and times requests before
and while it trains.
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
    """The resources of a process and its database at one moment.

    Attributes:
        megabytes: memory of this process that it shares with no other
        objects: objects that Python's garbage collector knows
        open_files: file descriptors, sockets among them
        threads: threads
        children: its child processes, zombies included
        temporary_files: entries of the folder of temporary files
        cached_files: entries of the user's cache
        collections: collections of the database
        stored_files: files in the database, such as the results of runs
        stored_chunks: the chunks of these files
        run_documents: documents of runs, of all datasets
        runs: the runs that the dataset lists
        fields: the fields of the dataset
        indexes: its indexes
        saved_views: its saved views
        workspaces: its workspaces
        tags: the tags of its samples
        attributes: the length of the dataset's info and App settings, in characters
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
"""Quantities that fluctuate although nothing grows; all others must stay the same."""


def measure(dataset: fo.Dataset) -> Usage:
    """Measure this process and the database; bypass the dataset object's caches."""
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
    """Train tiny networks with these names for one epoch."""
    import fiftyone_learnability as fol

    fol.compute_learnability(
        samples,
        models=dict.fromkeys(models, tiny),
        **{"epochs": 1, "batch_size": 32, "device": "cpu", "progress": False, **options},
    )


class _StopError(Exception):
    """Interrupts a training."""


def replace_scores(dataset: fo.Dataset) -> None:
    """Train the same network again, overwrite its scores, and change the run's key."""
    import fiftyone_learnability as fol

    learn(dataset, "a")
    learn(dataset, "a", overwrite=True)
    learn(dataset, "a", overwrite=True, key="other", scores="all", runs=2)
    fol.rename_run(dataset, "other", "another")


def compare_and_tag(dataset: fo.Dataset) -> None:
    """Compare two networks; write their consensus, suggested labels, tags and a subset."""
    import fiftyone_learnability as fol

    learn(dataset, "a", "b")
    fol.compare_models(dataset)
    fol.add_scores(dataset, ["hits", "aum"])
    # named, because networks trained for a moment may have learned nothing
    fol.write_consensus(dataset, models=fol.find_models(dataset))
    fol.suggest_label_fixes(dataset, models=fol.find_models(dataset))
    fol.tag_by_difficulty(dataset, "a", count=5)
    fol.select_subset(dataset, 0.5, tag="half")
    dataset.untag_samples(["hard", "half"])


def export_and_import(dataset: fo.Dataset) -> None:
    """Train on a part of the dataset, export its scores and import them again."""
    import fiftyone_learnability as fol

    learn(dataset.limit(40), "a", record_dynamics=False)
    with tempfile.TemporaryDirectory() as folder:
        for ending in ("csv", "npz"):
            fol.export_scores(dataset, Path(folder) / f"scores.{ending}")
            fol.import_scores(dataset, Path(folder) / f"scores.{ending}", overwrite=True)


def interrupt(dataset: fo.Dataset) -> None:
    """Interrupt a training and resume it, interrupt another and start over, and make a call that is refused."""

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
    interrupt,
)
"""The work of the rounds, in rotation."""


def soak(dataset: fo.Dataset, rounds: int, warm_up: int = WARM_UP) -> tuple[Usage, Usage]:
    """Make runs and delete them.

    Args:
        dataset: a dataset of at least 60 images with labels in ``ground_truth``
        rounds: the number of rounds
        warm_up (10): the rounds before the first measurement, so that one-time loading is not counted

    Returns:
        the usage after the warm-up and at the end
    """
    import fiftyone_learnability as fol

    before = None
    for number in range(rounds):
        if number == warm_up:
            before = measure(dataset)
        ROUNDS[number % len(ROUNDS)](dataset)
        for key in fol.list_runs(dataset):
            fol.delete_run(dataset, key)
    assert before is not None, f"rounds must be more than the {warm_up} of the warm-up"
    return before, measure(dataset)


def grown(before: Usage, after: Usage) -> dict[str, float]:
    """Return the growth of each quantity."""
    return {name: value - getattr(before, name) for name, value in asdict(after).items()}


# the App's server while a job trains

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
"""A form whose training takes longer than the benchmark."""


def _page(dataset: fo.Dataset) -> dict[str, Any]:
    """Return the query with which the App's grid gets its first samples, sorted by score."""
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
        """Send a request, a POST if it has a body.

        Returns:
            the answer
        """
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, content, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()

    def operator(self, name: str, params: dict[str, Any], path: str = "execute") -> bytes:
        """Execute an operator, or resolve its form."""
        body = {"operator_uri": f"{PLUGIN}/{name}", "dataset_name": self.dataset.name, "params": params, "view": []}
        return self.send(f"/operators/{path}", body)

    def panel(self, event: str) -> bytes:
        """Send an event of the panel."""
        params = {"panel_id": "p", "panel_state": self._panel_state, "__method__": event}
        return self.operator("learnability_panel", params)

    def requests(self) -> dict[str, Callable[[], bytes]]:
        """Return the requests that an App page makes for grid, panel and form."""
        return {
            "the server's state": lambda: self.send("/fiftyone"),
            "a page of the grid": lambda: self.send("/graphql", _page(self.dataset)),
            "the panel's look at the job": lambda: self.panel("on_timer"),
            "the panel redrawn": lambda: self.panel("on_load"),
            "the form of compute": lambda: self.operator("compute_learnability", JOB, "resolve-type"),
        }

    def time_requests(self, rounds: int, pause: float = 0.1) -> dict[str, list[float]]:
        """Send each request several times.

        Returns:
            the seconds that each took, by name
        """
        taken: dict[str, list[float]] = {name: [] for name in self.requests()}
        for _ in range(rounds):
            for name, request in self.requests().items():
                start = time.perf_counter()
                answer = request()
                taken[name].append(time.perf_counter() - start)
                content = json.loads(answer)
                if error := content.get("error") or content.get("errors"):
                    raise RuntimeError(f"{name}: {error}")
                time.sleep(pause)
        return taken

    def start_job(self, seconds: float = 120) -> str:
        """Start a background training over HTTP and wait until it trains.

        Returns:
            the id of its operation
        """
        self.operator("compute_learnability", JOB, "execute/generator")
        return self.wait_for_job(lambda found: (found.get("status") or {}).get("progress"), seconds)

    def wait_for_job(self, condition: Callable[[dict[str, Any]], Any], seconds: float = 120) -> str:
        """Wait until the newest job of the dataset fulfils a condition; return its id."""
        from fiftyone_learnability.dataset.internals import dataset_id, get_database

        deadline = time.monotonic() + seconds
        while True:
            found = get_database()["delegated_ops"].find_one(
                {"dataset_id": dataset_id(self.dataset)}, sort=[("queued_at", -1)]
            )
            if found is not None and condition(found):
                return str(found["_id"])
            assert time.monotonic() < deadline, f"waited {seconds} s for the job: {found}"
            time.sleep(0.2)

    def progress(self) -> float:
        """Return the finished fraction of the newest job."""
        from fiftyone_learnability.dataset.internals import get_database

        id = ObjectId(self.wait_for_job(lambda found: True))
        found = get_database()["delegated_ops"].find_one({"_id": id})
        return (found.get("status") or {}).get("progress") or 0.0

    def cancel_job(self) -> None:
        """Cancel the job, as the panel's button does."""
        self.panel("on_cancel")
        self.wait_for_job(lambda found: found["run_state"] == "failed")


def table(usages: tuple[Usage, Usage]) -> str:
    """Return the usage and its growth as a table."""
    before, after = usages
    lines = [f"{'':20} {'warm':>12} {'at the end':>12} {'growth':>10}"]
    for name, change in grown(before, after).items():
        first, last = getattr(before, name), getattr(after, name)
        lines.append(f"{name:20} {first:12,.6g} {last:12,.6g} {change:+10,.6g}")
    return "\n".join(lines)


def times(taken: dict[str, list[float]]) -> str:
    """Return median and maximum of the times as a table, in milliseconds."""
    lines = [f"{'':30} {'requests':>8} {'median ms':>10} {'maximum ms':>10}"]
    every = {**taken, "all": [value for seconds in taken.values() for value in seconds]}
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
    # registered before the database, and therefore run after its end
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
        print(f"\nthe App while nothing trains\n\n{times(client.time_requests(options.requests))}")
        client.start_job()
        print(f"\nthe App while a job trains\n\n{times(client.time_requests(options.requests))}")
        client.cancel_job()


if __name__ == "__main__":
    main()
