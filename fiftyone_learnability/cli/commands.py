"""The commands of the command line. Each function imports what it needs, so that the parser starts fast."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import fiftyone as fo
    import pandas as pd

    from ..dataset.fields import WriteReport
    from ..experiment.unfinished import FoundRun
    from ..images.cache import FoundImages


def load_dataset(name: str) -> fo.Dataset:
    """Load a dataset.

    Raises:
        ValueError: if there is no such dataset
    """
    import fiftyone as fo

    if not fo.dataset_exists(name):
        datasets = ", ".join(fo.list_datasets()[:20]) or "none"
        raise ValueError(f"there is no dataset {name!r}; the datasets are: {datasets}")
    return fo.load_dataset(name)


def compute(dataset: fo.Dataset, options: argparse.Namespace) -> None:
    """Train networks, save the results if asked, and print one line per network."""
    # waiting threads sleep: beside a busy program, spinning ones would slow each other down
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from ..compute import compute_learnability
    from .parser import command_line_settings

    if any(":" in model for model in options.models) and os.getcwd() not in sys.path:
        # last, so that nothing in the folder shadows an installed package
        sys.path.append(os.getcwd())
    if options.npz is not None:
        # fail before hours of training if the folder cannot be written
        options.npz.mkdir(parents=True, exist_ok=True)
    results = compute_learnability(
        dataset if options.view is None else dataset.load_saved_view(options.view),
        models=options.models,
        progress=False if options.quiet else None,
        **{name: getattr(options, name) for name in command_line_settings()},
    )
    try:
        if options.npz is not None:
            # it may have been the run directory, which is deleted by now
            options.npz.mkdir(parents=True, exist_ok=True)
            for name, result in results.items():
                result.to_npz(options.npz / f"{name}.npz")
    except KeyboardInterrupt as stop:
        stop.args = ("the scores are written, but not all npz files",)
        raise
    for name, result in results.items():
        problem = None if result.evidence is None else result.evidence.problem
        warning = "" if problem is None else f"; it {problem}"
        print(
            f"{name}: {result.num_samples} samples, mean learnability {result.learnability.mean():.3f}, accuracy on "
            f"the training images {result.accuracy:.3f}, {result.seconds:.0f} s{warning}"
        )


def runs(dataset: fo.Dataset, options: argparse.Namespace) -> None:
    """List the runs of a dataset."""
    import pandas as pd

    from ..dataset.registry import list_runs

    columns = {"samples": "num_samples", "epochs": "epochs", "runs": "runs", "label_field": "label_field"}
    rows, remarks = [], []
    for key in list_runs(dataset):
        info = dataset.get_run_info(key)
        config = info.config
        rows.append(
            {
                "key": key,
                "models": " ".join(getattr(config, "models", None) or getattr(config, "of", [])),
                "kind": getattr(config, "kind", "training"),
                # a run that another program registered under this method may lack any of them
                **{column: getattr(config, name, None) for column, name in columns.items()},
                "date": info.timestamp.isoformat(timespec="seconds"),
            }
        )
        remarks += [f"{key}: {remark}" for remark in getattr(config, "remarks", [])]
    _print_table(pd.DataFrame(rows), options.json, "no learnability runs")
    for remark in remarks:
        print(remark, file=sys.stderr)


def compare(dataset: fo.Dataset, options: argparse.Namespace) -> None:
    """Print the correlations of networks."""
    from ..compare import compare_models, plot_comparison
    from ..dataset.evidence import first_learned
    from ..dataset.scored import choose_models

    comparison = compare_models(dataset, options.models)
    print(json.dumps(_rows(comparison.to_pandas()), indent=2) if options.json else comparison.table())
    if options.figure is not None:
        models = choose_models(dataset, options.models)
        first, second = models[:2] if options.models else first_learned(dataset, models, 2)
        path = plot_comparison(dataset, options.figure, (first, second))
        print(f"figure of {first} and {second}: {path}", file=sys.stderr)


def reliability(dataset: fo.Dataset, options: argparse.Namespace) -> None:
    """Print the correlations of repeats."""
    from ..consensus import plot_stability, reliability

    measured = reliability(dataset, options.models)
    print(json.dumps(_rows(measured.to_pandas()), indent=2) if options.json else measured.table())
    if options.figure is not None:
        print(f"figure: {plot_stability(dataset, options.figure, options.models)}", file=sys.stderr)


def hardest(dataset: fo.Dataset, options: argparse.Namespace) -> None:
    """List the hardest or easiest samples."""
    from ..compare import hardest_samples

    _print_table(hardest_samples(dataset, options.model, options.k, options.easiest), options.json, "no samples")


def tag(dataset: fo.Dataset, options: argparse.Namespace) -> None:
    """Tag the hardest or easiest samples."""
    from ..curate import EASIEST, HARDEST, tag_by_difficulty

    end = EASIEST if options.easiest else HARDEST
    count = tag_by_difficulty(
        dataset,
        options.model,
        end,
        tag=options.tag,
        count=options.k,
        percent=options.percent,
        per_class=options.per_class,
    )
    print(f"tagged the {end} samples: {count}")


def scores(dataset: fo.Dataset, options: argparse.Namespace) -> None:
    """Write further scores of trained networks."""
    from ..dataset.additions import add_scores

    added = add_scores(dataset, "all" if options.scores == ["all"] else options.scores, options.models)
    print(f"wrote {', '.join(added)}" if added else "all of these scores are written already")


def consensus(dataset: fo.Dataset, options: argparse.Namespace) -> None:
    """Write the consensus of several networks."""
    from ..consensus import write_consensus

    _print_report(write_consensus(dataset, options.models, key=options.key, overwrite=options.overwrite))


def labels(dataset: fo.Dataset, options: argparse.Namespace) -> None:
    """Find probably wrong labels and suggest others."""
    from ..labels import suggest_label_fixes

    table = suggest_label_fixes(
        dataset, options.models, threshold=options.threshold, key=options.key, overwrite=options.overwrite
    )
    counts = table["verdict"].value_counts()
    _print_table(table.head(options.k), options.json, "no label contradicts the training")
    print(
        f"probably mislabelled: {counts.get('mislabelled', 0)}; hard but plausible: {counts.get('hard', 0)}",
        file=sys.stderr,
    )


def apply_labels(dataset: fo.Dataset, options: argparse.Namespace) -> None:
    """Write accepted suggestions to labels."""
    from ..labels import apply_label_fixes, label_problems

    accepted = label_problems(dataset) if options.mislabelled else dataset.match_tags(options.tag)
    field, changed = apply_label_fixes(accepted, options.into, in_place=options.in_place)
    print(f"changed {changed} labels in the field {field!r}")


def subset(dataset: fo.Dataset, options: argparse.Namespace) -> None:
    """Choose a share of the samples."""
    from ..subsets import select_subset

    view = select_subset(
        dataset, options.fraction, options.strategy, model=options.model, tag=options.tag, seed=options.seed
    )
    ids = view.values("id")
    if options.json:
        print(json.dumps(ids, indent=2))
    else:
        tagged = f", tagged {options.tag!r}" if options.tag else "; add --tag or --json to use them"
        print(f"chose {len(ids)} samples{tagged}")


def import_file(dataset: fo.Dataset, options: argparse.Namespace) -> None:
    """Read scores from a file."""
    from ..exchange import import_scores

    for report in import_scores(
        dataset,
        options.file,
        options.name,
        models=options.models,
        learnability=options.learnability,
        overwrite=options.overwrite,
    ):
        _print_report(report)
        if report.vanished:
            print(f"not in the dataset: {len(report.vanished)}, such as {report.vanished[0]!r}", file=sys.stderr)


def export(dataset: fo.Dataset, options: argparse.Namespace) -> None:
    """Write scores to a file."""
    from ..exchange import export_scores

    count = export_scores(dataset, options.file, options.models, overwrite=options.overwrite)
    print(f"wrote {options.file}: {count} samples")


def delete(dataset: fo.Dataset, options: argparse.Namespace) -> None:
    """Delete a run with its fields."""
    from ..dataset.runs import delete_run

    fields = delete_run(dataset, options.key)
    print(f"deleted the run {options.key!r} and the fields {', '.join(fields) or 'none'}")


def rename(dataset: fo.Dataset, options: argparse.Namespace) -> None:
    """Give a run another key."""
    from ..dataset.runs import rename_run

    rename_run(dataset, options.key, options.new_key)
    print(f"renamed the run {options.key!r} to {options.new_key!r}")


def write(options: argparse.Namespace) -> None:
    """Write the scores in a run directory."""
    from ..delivery import write_run_directory

    report = write_run_directory(options.run_dir, name=options.name, key=options.key, overwrite=options.overwrite)
    _print_report(report)
    for remark in report.remarks:
        print(remark, file=sys.stderr)


def cache(options: argparse.Namespace) -> None:
    """List or delete unfinished runs and decoded images on disk."""
    import pandas as pd

    from ..experiment.unfinished import find_run_directories
    from ..images.cache import find_image_caches
    from ..storage import cache_folder

    if not options.clean and (options.older_than is not None or options.max_size is not None):
        raise ValueError("--older-than and --max-size limit what --clean deletes: add --clean")
    runs, images = find_run_directories(), find_image_caches()
    descriptions = {entry.path: entry.about for entry in images}
    if options.clean:
        runs, images = _clean(runs, options.older_than, options.max_size)
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
            "dataset": descriptions.get(entry.path, ""),
            "key": "",
            "days": entry.seconds / 86400,
            "MB": entry.size / 1e6,
            "state": "decoded images",
            "path": str(entry.path),
        }
        for entry in images
    ]
    empty = "nothing to delete" if options.clean else f"nothing in {cache_folder()}"
    _print_table(pd.DataFrame(rows), options.json, empty)
    if options.clean and rows:
        megabytes = sum(row["MB"] for row in rows)
        print(f"deleted {len(runs)} run directories, {len(images)} sets of images, {megabytes:.1f} MB", file=sys.stderr)


def _clean(
    runs: list[FoundRun], older_than: float | None, max_size: float | None
) -> tuple[list[FoundRun], list[FoundImages]]:
    """Delete runs and images and return those deleted: images first, which are decoded again in seconds."""
    from ..experiment.unfinished import clean_run_directories
    from ..images.cache import clean_image_caches, find_image_caches

    seconds = None if older_than is None else older_than * 86400
    size_of_runs = sum(run.size for run in runs)
    images = clean_image_caches(seconds, None if max_size is None else max(0.0, max_size * 1e9 - size_of_runs))
    size_of_images = sum(entry.size for entry in find_image_caches())
    cleaned = clean_run_directories(seconds, None if max_size is None else max(0.0, max_size * 1e9 - size_of_images))
    return cleaned, images


def _print_report(report: WriteReport) -> None:
    print(f"wrote {', '.join(report.fields)} to {report.num_written} samples; run {report.key!r}")


def _print_table(table: pd.DataFrame, as_json: bool, empty: str) -> None:
    if as_json:
        print(json.dumps(_rows(table), indent=2))
    elif table.empty:
        print(empty)
    else:
        print(table.to_string(index=False, float_format=lambda value: f"{value:.4f}"))


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    # pandas writes NaN, which JSON lacks, as null
    return json.loads(table.to_json(orient="records"))
