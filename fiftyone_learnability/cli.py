"""The command line: ``fiftyone-learnability``.

FiftyOne takes seconds to import, so that nothing of it is imported before the arguments are known to be right.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    import fiftyone as fo
    import pandas as pd

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED, EXIT_TERMINATED = 0, 1, 2, 130, 143

_OF_RUNS = {"samples": "num_samples", "epochs": "epochs", "runs": "runs", "label_field": "label_field"}
_SCORES = ("hits", "variability", "forgetting", "learned_epoch", "aum", "el2n", "ambiguity", "spread")

_EPILOG = """\
examples:
  fiftyone-learnability compute cifar10-train --models resnet20 vgg16 mobilenet --epochs 200
  fiftyone-learnability compute cifar10-train --models resnet20 mypackage.nets:make_net
  fiftyone-learnability compare cifar10-train --figure figure1.png
  fiftyone-learnability hardest cifar10-train --model resnet20 -k 20
  fiftyone-learnability tag cifar10-train --model resnet20 --percent 2
  fiftyone-learnability labels cifar10-train
  fiftyone-learnability subset cifar10-train --fraction 0.5 --tag half
  fiftyone-learnability delete cifar10-train learnability
  fiftyone-learnability cache --clean --older-than 30

exit status: 0 done; 1 refused or failed, with the reason on standard error; 2 wrong usage; 130 interrupted;
143 terminated
"""


_COMPILE = {"never": False, "always": True}


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="fiftyone-learnability",
        description="Measures which images of a FiftyOne dataset are easy and hard to learn, and compares networks.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")

    def command(name: str, help: str, function: Any, of_dataset: bool = True) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name, help=help, description=help, formatter_class=argparse.ArgumentDefaultsHelpFormatter
        )
        if of_dataset:
            added.add_argument("dataset", help="the name of a FiftyOne dataset")
        added.set_defaults(function=function, of_dataset=of_dataset)
        return added

    compute = command("compute", "Train networks and write learnability and rank onto the samples.", _compute)
    compute.add_argument(
        "--models",
        nargs="+",
        default=["resnet20"],
        metavar="NAME",
        help="resnet20, vgg16, mobilenet, one of another library such as torchvision/resnet18, or a factory of yours "
        "such as mypackage.nets:make_net, whose module is then imported, from the current folder too",
    )
    compute.add_argument("--label-field", default="ground_truth", metavar="FIELD", help="the field of the labels")
    compute.add_argument("--view", metavar="NAME", help="a saved view of the dataset to take in place of all samples")
    compute.add_argument("--epochs", type=int, default=200, help="the epochs of each training")
    compute.add_argument("--runs", type=int, default=1, help="the trainings of each network, with seeds in sequence")
    compute.add_argument("--seed", type=int, default=0, help="the first seed")
    compute.add_argument("--batch-size", type=int, default=128, help="images in a training step")
    compute.add_argument(
        "--lr", type=float, help="the highest learning rate; 0.1 for batches of 128, in proportion for others"
    )
    compute.add_argument("--weight-decay", type=float, default=5e-4, help="the weight decay")
    compute.add_argument("--crop-padding", type=int, default=4, metavar="PIXELS", help="padding for random crops")
    compute.add_argument("--no-flip", action="store_true", help="do not mirror images, as for digits")
    compute.add_argument("--image-size", type=int, metavar="PIXELS", help="bring images to this size; 32 if not given")
    compute.add_argument(
        "--no-image-cache", action="store_true", help="do not keep decoded images for the next run, nor use those kept"
    )
    compute.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:<n> or mps")
    compute.add_argument("--precision", default="auto", help="auto, float32, bf16 or fp16")
    compute.add_argument(
        "--measure",
        choices=("exact", "online"),
        default="exact",
        help="exact: all clean images after each epoch; online: as the training pass itself says, at no cost",
    )
    compute.add_argument("--measure-every", type=int, default=1, metavar="K", help="measure each K-th epoch only")
    compute.add_argument(
        "--stop-when-stable",
        nargs="?",
        type=float,
        const=True,
        default=False,
        metavar="RHO",
        help="end each training once its ranking has settled, to this rank correlation if one is given",
    )
    compute.add_argument(
        "--compile",
        choices=tuple(_COMPILE),
        default="never",
        help="compile networks with torch.compile; a network that cannot be compiled is trained uncompiled",
    )
    compute.add_argument(
        "--scores", nargs="+", metavar="NAME", help=f"further scores to write: all, or {', '.join(_SCORES)}"
    )
    compute.add_argument("--key", help="the key of the run; chosen if not given")
    compute.add_argument("--overwrite", action="store_true", help="replace existing fields and the run of this key")
    compute.add_argument("--skip-failures", action="store_true", help="leave out images that cannot be read")
    compute.add_argument(
        "--run-dir", metavar="FOLDER", type=Path, help="where checkpoints are kept meanwhile; in the cache if not given"
    )
    compute.add_argument(
        "--no-resume", action="store_true", help="start over, also where a run that was ended could be gone on with"
    )
    compute.add_argument(
        "--restart-diverged",
        action="store_true",
        help="restart a training that diverges, once, at a quarter of the learning rate",
    )
    compute.add_argument("--npz", metavar="FOLDER", type=Path, help="also save the results as FOLDER/<network>.npz")
    compute.add_argument("--quiet", action="store_true", help="show no progress")

    runs = command("runs", "List the learnability runs of a dataset.", _runs)
    _add_json(runs)

    compare = command("compare", "Correlate the networks' learnability and ranks, as in the paper's Table 1.", _compare)
    compare.add_argument("--models", nargs="+", metavar="NAME", help="the networks to compare; all if not given")
    compare.add_argument(
        "--figure", metavar="FILE", type=Path, help="also draw the paper's Figure 1 of the first two (png, pdf or svg)"
    )
    _add_json(compare)

    reliable = command("reliability", "Correlate seeds of one network, and networks, run by run.", _reliability)
    reliable.add_argument("--models", nargs="+", metavar="NAME", help="the networks; all if not given")
    reliable.add_argument(
        "--figure", metavar="FILE", type=Path, help="also draw how many epochs and runs are enough (png, pdf or svg)"
    )
    _add_json(reliable)

    hardest = command("hardest", "List the samples that a network finds hardest.", _hardest)
    hardest.add_argument("--model", required=True, metavar="NAME", help="the network")
    hardest.add_argument("-k", type=int, default=20, help="how many samples")
    hardest.add_argument("--easiest", action="store_true", help="list the easiest samples")
    _add_json(hardest)

    tag = command("tag", "Tag the hardest or easiest samples.", _tag)
    tag.add_argument("--model", required=True, metavar="NAME", help="the network")
    amount = tag.add_mutually_exclusive_group(required=True)
    amount.add_argument("-k", type=int, help="how many samples")
    amount.add_argument("--percent", type=float, help="in place of a number, the share of the samples in percent")
    tag.add_argument("--easiest", action="store_true", help="tag the easiest samples")
    tag.add_argument("--per-class", action="store_true", help="take them from each class alike")
    tag.add_argument("--tag", help="the tag; hard or easy if not given")

    scores = command("scores", "Write further scores of networks that were trained.", _scores)
    scores.add_argument("scores", nargs="+", metavar="NAME", help=f"all, or {', '.join(_SCORES)}")
    scores.add_argument("--models", nargs="+", metavar="NAME", help="the networks; all if not given")

    consensus = command("consensus", "Write what several networks say together, and how far they disagree.", _consensus)
    consensus.add_argument("--models", nargs="+", metavar="NAME", help="the networks; all if not given")
    consensus.add_argument("--key", help="the key of the run; chosen if not given")
    consensus.add_argument("--overwrite", action="store_true", help="replace the consensus there is")

    labels = command("labels", "Find labels that the training contradicts, and suggest others.", _labels)
    labels.add_argument("--models", nargs="+", metavar="NAME", help="the networks; all if not given")
    labels.add_argument("--threshold", type=float, default=0.75, help="from where on a label is called probably wrong")
    labels.add_argument("-k", type=int, default=20, help="how many to print, most contradicted first")
    labels.add_argument("--key", help="the key of the run; chosen if not given")
    labels.add_argument("--overwrite", action="store_true", help="replace the suggestions there are")
    _add_json(labels)

    apply = command("apply-labels", "Put accepted suggestions into a copy of the label field.", _apply_labels)
    accepted = apply.add_mutually_exclusive_group(required=True)
    accepted.add_argument("--tag", help="the samples that carry this tag are accepted")
    accepted.add_argument("--mislabelled", action="store_true", help="all that are probably mislabelled are accepted")
    apply.add_argument("--into", metavar="FIELD", help="the copy; <label field>_fixed if not given")
    apply.add_argument("--in-place", action="store_true", help="change the labels themselves; the old ones are kept")

    subset = command("subset", "Choose a share of the samples to train on, by difficulty.", _subset)
    subset.add_argument("--fraction", type=float, required=True, help="the share, above 0 and at most 1")
    subset.add_argument(
        "--strategy", default="stratified", help="stratified, random, hardest, easiest or mid, each of every class"
    )
    subset.add_argument("--model", metavar="NAME", help="the network; the first if not given")
    subset.add_argument("--tag", help="tag the chosen samples")
    subset.add_argument("--seed", type=int, default=0, help="for the strategies that draw")
    _add_json(subset)

    export = command("export", "Write ids, files, labels and all scores to a csv, npz or parquet file.", _export)
    export.add_argument("file", type=Path, help="the file, ending in .csv, .npz or .parquet")
    export.add_argument("--models", nargs="+", metavar="NAME", help="the networks; all if not given")

    imported = command("import", "Read scores from a csv, npz or parquet file, by id or filepath.", _import)
    imported.add_argument("file", type=Path, help="the file")
    imported.add_argument("--name", help="what the model is called; not needed for files of the command export")
    imported.add_argument(
        "--learnability", default="learnability", metavar="COLUMN", help="the column that says how easy a sample is"
    )
    imported.add_argument("--overwrite", action="store_true", help="replace the scores there are of that name")

    delete = command("delete", "Delete a run with its fields and indexes.", _delete)
    delete.add_argument("key", help="the key of the run; see the command runs")

    rename = command("rename", "Give a run another key; its fields keep their names.", _rename)
    rename.add_argument("key", help="the key of the run; see the command runs")
    rename.add_argument("new_key", help="the new key")

    write = command("write", "Write the scores of a run whose database was away when it ended.", _write, False)
    write.add_argument("run_dir", metavar="RUN_DIR", type=Path, help="the run directory that the error named")

    cache = command("cache", "List unfinished runs and decoded images kept on disk, or delete them.", _cache, False)
    cache.add_argument("--clean", action="store_true", help="delete them, but none that a process works on")
    cache.add_argument(
        "--older-than",
        type=_not_negative,
        metavar="DAYS",
        help="only those last written to, or images last used, so long ago",
    )
    cache.add_argument(
        "--max-size",
        type=_not_negative,
        metavar="GB",
        help="only so many, images first and of each the oldest, that this is left at most",
    )
    _add_json(cache)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments (None): the arguments, by default those of the process

    Returns:
        the exit status
    """
    options = build_parser().parse_args(arguments)
    # a plain SIGTERM would end the process without a word; only the main thread may say otherwise
    main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _terminate) if main_thread else None
    try:
        if options.of_dataset:
            options.function(_load(options.dataset), options)
        else:
            options.function(options)
    except KeyboardInterrupt as stop:
        terminated = isinstance(stop, _Terminated)
        text = "terminated" if terminated else "interrupted"
        if options.command == "compute":
            text += f": {stop}" if stop.args else ": nothing was written"
        print(text, file=sys.stderr)
        return EXIT_TERMINATED if terminated else EXIT_INTERRUPTED
    # what the package raises for people to read; anything else is a defect and keeps its traceback
    except (ValueError, TypeError, RuntimeError, OSError) as error:
        print(f"fiftyone-learnability: {error}", file=sys.stderr)
        return EXIT_FAILED
    except MemoryError:
        print("fiftyone-learnability: there is not enough memory for this", file=sys.stderr)
        return EXIT_FAILED
    except Exception as error:
        if not _of_the_database(error):
            raise
        print(f"fiftyone-learnability: the database: {error}", file=sys.stderr)
        return EXIT_FAILED
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)
    return EXIT_OK


def _of_the_database(error: Exception) -> bool:
    from pymongo.errors import PyMongoError

    return isinstance(error, PyMongoError)


class _Terminated(KeyboardInterrupt):
    """SIGTERM, which ends the work as Ctrl-C does."""


def _terminate(*_: object) -> None:
    raise _Terminated


def _not_negative(text: str) -> float:
    value = float(text)
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"must not be negative: {text}")
    return value


def _add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print JSON for programs")


def _load(name: str) -> fo.Dataset:
    import fiftyone as fo

    if not fo.dataset_exists(name):
        datasets = ", ".join(fo.list_datasets()[:20]) or "none"
        raise ValueError(f"there is no dataset {name!r}; there are: {datasets}")
    return fo.load_dataset(name)


def _compute(dataset: fo.Dataset, options: argparse.Namespace) -> None:
    # threads that wait for each other sleep: else, beside a busy program, they keep each other from working
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from .compute import compute_learnability

    if any(":" in model for model in options.models) and os.getcwd() not in sys.path:
        # last, so that nothing in it takes the place of an installed package
        sys.path.append(os.getcwd())
    if options.npz is not None:
        # a folder that cannot be written to is better known before hours of training
        options.npz.mkdir(parents=True, exist_ok=True)
    results = compute_learnability(
        dataset if options.view is None else dataset.load_saved_view(options.view),
        options.label_field,
        options.models,
        epochs=options.epochs,
        runs=options.runs,
        seed=options.seed,
        batch_size=options.batch_size,
        lr=options.lr,
        weight_decay=options.weight_decay,
        crop_padding=options.crop_padding,
        horizontal_flip=not options.no_flip,
        image_size=options.image_size,
        cache_images=not options.no_image_cache,
        device=options.device,
        precision=options.precision,
        measure=options.measure,
        measure_every=options.measure_every,
        stop_when_stable=options.stop_when_stable,
        compile=_COMPILE[options.compile],
        scores="all" if options.scores == ["all"] else options.scores,
        key=options.key,
        overwrite=options.overwrite,
        skip_failures=options.skip_failures,
        run_dir=options.run_dir,
        resume=not options.no_resume,
        restart_diverged=options.restart_diverged,
        progress=not options.quiet,
    )
    try:
        if options.npz is not None:
            # the directory of the run, which is gone by now, may have been given for it
            options.npz.mkdir(parents=True, exist_ok=True)
            for name, result in results.items():
                result.to_npz(options.npz / f"{name}.npz")
    except KeyboardInterrupt as stop:
        stop.args = ("the scores were written before; not all npz files were",)
        raise
    for name, result in results.items():
        print(
            f"{name}: {result.num_samples} samples, mean learnability {result.learnability.mean():.3f}, accuracy on "
            f"the training images {result.accuracy:.3f}, {result.seconds:.0f} s"
        )


def _runs(dataset: fo.Dataset, options: argparse.Namespace) -> None:
    import pandas as pd

    from .dataset.registry import list_runs

    rows, remarks = [], []
    for key in list_runs(dataset):
        info = dataset.get_run_info(key)
        config = info.config
        rows.append(
            {
                "key": key,
                "models": " ".join(getattr(config, "models", None) or getattr(config, "of", [])),
                "kind": getattr(config, "kind", "training"),
                # a run that somebody else has registered under this method may lack any of them
                **{name: getattr(config, full, None) for name, full in _OF_RUNS.items()},
                "date": info.timestamp.isoformat(timespec="seconds"),
            }
        )
        remarks += [f"{key}: {remark}" for remark in getattr(config, "remarks", [])]
    _print_table(pd.DataFrame(rows), options.json, "no learnability runs")
    for remark in remarks:
        print(remark, file=sys.stderr)


def _compare(dataset: fo.Dataset, options: argparse.Namespace) -> None:
    from .compare import compare_models, plot_comparison
    from .dataset.scored import find_models

    comparison = compare_models(dataset, options.models)
    print(json.dumps(_rows(comparison.to_pandas()), indent=2) if options.json else comparison.table())
    if options.figure is not None:
        first, second = (options.models or find_models(dataset))[:2]
        path = plot_comparison(dataset, options.figure, (first, second))
        print(f"figure of {first} and {second}: {path}", file=sys.stderr)


def _reliability(dataset: fo.Dataset, options: argparse.Namespace) -> None:
    from .consensus import plot_stability, reliability

    found = reliability(dataset, options.models)
    print(json.dumps(_rows(found.to_pandas()), indent=2) if options.json else found.table())
    if options.figure is not None:
        print(f"figure: {plot_stability(dataset, options.figure, options.models)}", file=sys.stderr)


def _hardest(dataset: fo.Dataset, options: argparse.Namespace) -> None:
    from .compare import hardest_samples

    _print_table(hardest_samples(dataset, options.model, options.k, options.easiest), options.json, "no samples")


def _tag(dataset: fo.Dataset, options: argparse.Namespace) -> None:
    from .curate import EASIEST, HARDEST, tag_by_difficulty

    which = EASIEST if options.easiest else HARDEST
    count = tag_by_difficulty(
        dataset,
        options.model,
        which,
        tag=options.tag,
        count=options.k,
        percent=options.percent,
        per_class=options.per_class,
    )
    print(f"tagged the {which} samples: {count}")


def _scores(dataset: fo.Dataset, options: argparse.Namespace) -> None:
    from .dataset.additions import add_scores

    added = add_scores(dataset, "all" if options.scores == ["all"] else options.scores, options.models)
    print(f"wrote {', '.join(added)}" if added else "all of them are there already")


def _consensus(dataset: fo.Dataset, options: argparse.Namespace) -> None:
    from .consensus import write_consensus

    report = write_consensus(dataset, options.models, key=options.key, overwrite=options.overwrite)
    print(f"wrote {', '.join(report.fields)} to {report.num_written} samples; run {report.key!r}")


def _labels(dataset: fo.Dataset, options: argparse.Namespace) -> None:
    from .labels import suggest_label_fixes

    found = suggest_label_fixes(
        dataset, options.models, threshold=options.threshold, key=options.key, overwrite=options.overwrite
    )
    counts = found["verdict"].value_counts()
    _print_table(found.head(options.k), options.json, "no label is contradicted")
    print(
        f"probably mislabelled: {counts.get('mislabelled', 0)}; hard but plausible: {counts.get('hard', 0)}",
        file=sys.stderr,
    )


def _apply_labels(dataset: fo.Dataset, options: argparse.Namespace) -> None:
    from .labels import apply_label_fixes, label_problems

    accepted = label_problems(dataset) if options.mislabelled else dataset.match_tags(options.tag)
    field, changed = apply_label_fixes(accepted, options.into, in_place=options.in_place)
    print(f"changed {changed} labels in the field {field!r}")


def _subset(dataset: fo.Dataset, options: argparse.Namespace) -> None:
    from .subsets import select_subset

    view = select_subset(
        dataset, options.fraction, options.strategy, model=options.model, tag=options.tag, seed=options.seed
    )
    ids = view.values("id")
    if options.json:
        print(json.dumps(ids, indent=2))
    else:
        tagged = f", tagged {options.tag!r}" if options.tag else "; --tag or --json take them away"
        print(f"chose {len(ids)} samples{tagged}")


def _import(dataset: fo.Dataset, options: argparse.Namespace) -> None:
    from .exchange import import_scores

    for report in import_scores(
        dataset, options.file, options.name, learnability=options.learnability, overwrite=options.overwrite
    ):
        print(f"wrote {', '.join(report.fields)} to {report.num_written} samples; run {report.key!r}")
        if report.vanished:
            print(f"not in the dataset: {len(report.vanished)}, such as {report.vanished[0]!r}", file=sys.stderr)


def _export(dataset: fo.Dataset, options: argparse.Namespace) -> None:
    from .exchange import export_scores

    print(f"wrote {options.file}: {export_scores(dataset, options.file, options.models)} samples")


def _delete(dataset: fo.Dataset, options: argparse.Namespace) -> None:
    from .dataset.runs import delete_run

    fields = delete_run(dataset, options.key)
    print(f"deleted the run {options.key!r} and the fields {', '.join(fields) or 'none'}")


def _rename(dataset: fo.Dataset, options: argparse.Namespace) -> None:
    from .dataset.runs import rename_run

    rename_run(dataset, options.key, options.new_key)
    print(f"renamed the run {options.key!r} to {options.new_key!r}")


def _write(options: argparse.Namespace) -> None:
    from .delivery import write_run_directory

    report = write_run_directory(options.run_dir)
    print(f"wrote {', '.join(report.fields)} to {report.num_written} samples; run {report.key!r}")
    for remark in report.remarks:
        print(remark, file=sys.stderr)


def _cache(options: argparse.Namespace) -> None:
    import pandas as pd

    from .experiment.files import cache_folder
    from .experiment.run_directory import clean_run_directories, find_run_directories
    from .images.cache import clean_image_caches, find_image_caches

    if not options.clean and (options.older_than is not None or options.max_size is not None):
        raise ValueError("--older-than and --max-size say what --clean deletes: give it too")
    runs, images = find_run_directories(), find_image_caches()
    about = {entry.path: entry.about for entry in images}
    if options.clean:
        seconds = None if options.older_than is None else options.older_than * 86400
        most = None if options.max_size is None else options.max_size * 1e9
        # images cost seconds to decode again, a run hours
        size_of_runs = sum(run.size for run in runs)
        images = clean_image_caches(seconds, None if most is None else max(0.0, most - size_of_runs))
        size_of_images = sum(entry.size for entry in find_image_caches())
        runs = clean_run_directories(seconds, None if most is None else max(0.0, most - size_of_images))
    rows: list[dict[str, Any]] = [
        {
            "dataset": run.dataset,
            "key": run.key,
            "days": run.seconds / 86400,
            "MB": run.size / 1e6,
            "state": run.state,
            "path": str(run.path),
        }
        for run in runs
    ]
    rows += [
        {
            "dataset": about.get(entry.path, ""),
            "key": "",
            "days": entry.seconds / 86400,
            "MB": entry.size / 1e6,
            "state": "decoded images",
            "path": str(entry.path),
        }
        for entry in images
    ]
    empty = "nothing to delete" if options.clean else f"nothing in {cache_folder().parent}"
    _print_table(pd.DataFrame(rows), options.json, empty)
    if options.clean and rows:
        megabytes = sum(row["MB"] for row in rows)
        print(f"deleted {len(runs)} run directories, {len(images)} sets of images, {megabytes:.1f} MB", file=sys.stderr)


def _print_table(table: pd.DataFrame, as_json: bool, empty: str) -> None:
    if as_json:
        print(json.dumps(_rows(table), indent=2))
    elif table.empty:
        print(empty)
    else:
        print(table.to_string(index=False, float_format=lambda value: f"{value:.4f}"))


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    # NaN, which JSON lacks, becomes null
    return json.loads(table.to_json(orient="records"))


if __name__ == "__main__":
    sys.exit(main())
