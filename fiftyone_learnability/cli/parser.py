"""The arguments of the command line. The options of ``compute`` are made from the run settings."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .._version import __version__
from ..scores.catalog import DEFAULT_SCORES, SCORES
from ..training.options import RunSettings, Setting, public_settings
from . import commands

EPILOG = """\
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

MEASURED_SCORES = ", ".join(name for name, score in SCORES.items() if not score.derived and name not in DEFAULT_SCORES)

Command = Callable[..., argparse.ArgumentParser]


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="fiftyone-learnability",
        description="Measure which images of a FiftyOne dataset are easy or hard to learn, and compare networks.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    subparsers = parser.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")

    def command(name: str, help: str, function: Any, of_dataset: bool = True) -> argparse.ArgumentParser:
        added = subparsers.add_parser(name, help=help, description=help, formatter_class=_HelpFormatter)
        if of_dataset:
            added.add_argument("dataset", help="Name of a FiftyOne dataset")
        added.set_defaults(function=function, of_dataset=of_dataset)
        return added

    _add_compute(command)
    _add_comparisons(command)
    _add_difficulty(command)
    _add_scores(command)
    _add_labels(command)
    _add_subset(command)
    _add_exchange(command)
    _add_runs(command)
    _add_disk(command)
    return parser


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults, except None and those of flags."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or isinstance(action.default, bool):
            return action.help
        return super()._get_help_string(action)


def command_line_settings() -> dict[str, Setting]:
    """Return the run settings that are options of ``compute``, by name."""
    return {name: about for name, about in public_settings().items() if about.flag != ""}


def _add_compute(command: Command) -> None:
    compute = command("compute", "Train networks and write learnability and rank onto the samples.", commands.compute)
    compute.add_argument(
        "--models",
        nargs="+",
        default=["resnet20"],
        metavar="NAME",
        help="resnet20, vgg16, mobilenet, a network of another library such as torchvision/resnet18, or your own "
        "factory such as mypackage.nets:make_net, which is imported, also from the current folder",
    )
    compute.add_argument("--view", metavar="NAME", help="Saved view of the dataset, in place of all samples")
    for name, about in command_line_settings().items():
        _add_setting(compute, name, about)
    compute.add_argument("--npz", metavar="FOLDER", type=Path, help="Also save the results as FOLDER/<network>.npz")
    compute.add_argument("--quiet", action="store_true", help="Show no progress")


def _add_setting(parser: argparse.ArgumentParser, name: str, about: Setting) -> None:
    """Add the option of a run setting."""
    default = getattr(RunSettings, name)
    flag, help = about.flag or f"--{name.replace('_', '-')}", about.flag_help or about.help
    if about.kind in ("bool", "resume"):
        parser.add_argument(flag, dest=name, action="store_false" if default else "store_true", help=help)
        return
    kinds: dict[str, dict[str, Any]] = {
        "integer": {"type": int},
        "number": {"type": float},
        "choice": {"choices": tuple(about.choices)},
        "bound": {"type": float, "nargs": "?", "const": True},
        "names": {"nargs": "+"},
        "folder": {"type": Path},
    }
    if about.kind != "choice":
        kinds.setdefault(about.kind, {})["metavar"] = about.metavar
    parser.add_argument(flag, dest=name, default=default, help=help, **kinds[about.kind])


def _add_comparisons(command: Command) -> None:
    compare = command(
        "compare", "Correlate learnability and ranks between networks, as in the paper's Table 1.", commands.compare
    )
    _add_models(compare)
    compare.add_argument(
        "--figure", metavar="FILE", type=Path, help="Also draw the paper's Figure 1 of the first two (png, pdf or svg)"
    )
    _add_json(compare)

    reliability = command(
        "reliability", "Correlate repeats of each network, and networks run by run.", commands.reliability
    )
    _add_models(reliability)
    reliability.add_argument(
        "--figure", metavar="FILE", type=Path, help="Also draw how many epochs and runs are enough (png, pdf or svg)"
    )
    _add_json(reliability)


def _add_difficulty(command: Command) -> None:
    hardest = command("hardest", "List the hardest samples of a network.", commands.hardest)
    hardest.add_argument("--model", required=True, metavar="NAME", help="Network")
    hardest.add_argument("-k", type=int, default=20, help="Number of samples")
    hardest.add_argument("--easiest", action="store_true", help="List the easiest samples instead")
    _add_json(hardest)

    tag = command("tag", "Tag the hardest or easiest samples.", commands.tag)
    tag.add_argument("--model", required=True, metavar="NAME", help="Network")
    amount = tag.add_mutually_exclusive_group(required=True)
    amount.add_argument("-k", type=int, help="Number of samples")
    amount.add_argument("--percent", type=float, help="Share of the samples in percent, in place of a number")
    tag.add_argument("--easiest", action="store_true", help="Tag the easiest samples instead")
    tag.add_argument("--per-class", action="store_true", help="Take the same share of each class")
    tag.add_argument("--tag", help="The tag. By default hard or easy")


def _add_scores(command: Command) -> None:
    scores = command("scores", "Write further scores of trained networks.", commands.scores)
    scores.add_argument("scores", nargs="+", metavar="NAME", help=f"all, or some of {MEASURED_SCORES}")
    _add_models(scores)

    consensus = command(
        "consensus", "Write the consensus of several networks, and how far they disagree.", commands.consensus
    )
    _add_models(consensus)
    _add_key(consensus)


def _add_labels(command: Command) -> None:
    labels = command("labels", "Find labels that contradict the training, and suggest others.", commands.labels)
    _add_models(labels)
    labels.add_argument(
        "--threshold", type=float, default=0.75, help="Contradiction from which a label counts as probably wrong"
    )
    labels.add_argument("-k", type=int, default=20, help="Number of labels to print, most contradicted first")
    _add_key(labels)
    _add_json(labels)

    apply = command("apply-labels", "Write accepted suggestions to a copy of the label field.", commands.apply_labels)
    accepted = apply.add_mutually_exclusive_group(required=True)
    accepted.add_argument("--tag", help="Accept the suggestions of samples with this tag")
    accepted.add_argument("--mislabelled", action="store_true", help="Accept all that are probably mislabelled")
    apply.add_argument("--into", metavar="FIELD", help="The copy. By default <label field>_fixed")
    apply.add_argument("--in-place", action="store_true", help="Change the labels themselves; the old ones are kept")


def _add_subset(command: Command) -> None:
    subset = command("subset", "Choose a share of the samples to train on, by difficulty.", commands.subset)
    subset.add_argument("--fraction", type=float, required=True, help="The share, above 0 and at most 1")
    subset.add_argument(
        "--strategy", default="stratified", help="stratified, random, hardest, easiest or mid, within each class"
    )
    subset.add_argument("--model", metavar="NAME", help="Network. By default the first one")
    subset.add_argument("--tag", help="Tag the chosen samples")
    subset.add_argument("--seed", type=int, default=0, help="Seed of the strategies that draw at random")
    _add_json(subset)


def _add_exchange(command: Command) -> None:
    export = command(
        "export", "Write ids, files, labels and all scores to a csv, npz or parquet file.", commands.export
    )
    export.add_argument("file", type=Path, help="File ending in .csv, .npz or .parquet")
    _add_models(export)
    export.add_argument("--overwrite", action="store_true", help="Replace a file that holds no exported scores")

    imported = command(
        "import", "Read scores from a csv, npz or parquet file, by id or filepath.", commands.import_file
    )
    imported.add_argument("file", type=Path, help="The file")
    imported.add_argument(
        "--name",
        nargs="+",
        metavar="NAME",
        help="Names to save the models under, in their order; not needed for files of the export command",
    )
    imported.add_argument("--models", nargs="+", metavar="NAME", help="Models to take from the file. By default all")
    imported.add_argument(
        "--learnability", default="learnability", metavar="COLUMN", help="Column to read as learnability; high is easy"
    )
    imported.add_argument("--overwrite", action="store_true", help="Replace existing scores of these names")


def _add_runs(command: Command) -> None:
    runs = command("runs", "List the learnability runs of a dataset.", commands.runs)
    _add_json(runs)
    delete = command("delete", "Delete a run with its fields and indexes.", commands.delete)
    delete.add_argument("key", help="Key of the run; see the runs command")
    rename = command("rename", "Give a run another key; its fields keep their names.", commands.rename)
    rename.add_argument("key", help="Key of the run; see the runs command")
    rename.add_argument("new_key", help="New key")


def _add_disk(command: Command) -> None:
    write = command("write", "Write the scores of a run that was trained but not written.", commands.write, False)
    write.add_argument("run_dir", metavar="RUN_DIR", type=Path, help="Run directory that the error named")
    write.add_argument("--name", nargs="+", metavar="NAME", help="Other names for the scores, one for each network")
    _add_key(write)

    cache = command("cache", "List or delete unfinished runs and decoded images on disk.", commands.cache, False)
    cache.add_argument("--clean", action="store_true", help="Delete them, except those in use")
    cache.add_argument(
        "--older-than", type=_not_negative, metavar="DAYS", help="Delete only what was last used at least DAYS ago"
    )
    cache.add_argument(
        "--max-size",
        type=_not_negative,
        metavar="GB",
        help="Delete only until at most GB remain: images before runs, the oldest first",
    )
    _add_json(cache)


def _add_models(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--models", nargs="+", metavar="NAME", help="Networks. By default all")


def _add_key(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--key", help="Key of the run. By default a free one is chosen")
    parser.add_argument("--overwrite", action="store_true", help="Replace existing fields and the run of this key")


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="Print JSON for programs")


def _not_negative(text: str) -> float:
    value = float(text)
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"must not be negative: {text}")
    return value
