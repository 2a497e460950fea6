"""The command line: in this process for speed, and a few times as a user runs it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import fiftyone as fo
import pytest

import fiftyone_learnability as fol
from fiftyone_learnability import cli
from fiftyone_learnability.cli.parser import EPILOG
from fiftyone_learnability.dataset import columns
from fiftyone_learnability.experiment import units
from fiftyone_learnability.experiment.lock import locked
from fiftyone_learnability.experiment.results import ModelResults
from fiftyone_learnability.images import cache as image_cache
from fiftyone_learnability.preparation import default_run_directory
from fiftyone_learnability.storage import runs_folder
from fiftyone_learnability.training import networks

from .dataset.helpers import learn, make_results, raiser, state, tiny, values_of, write_results

COMMANDS = (
    *("compute", "runs", "compare", "reliability", "hardest", "tag", "scores", "consensus", "labels", "apply-labels"),
    *("subset", "export", "import", "delete", "rename", "write", "cache"),
)
OF_DATASETS = tuple(command for command in COMMANDS if command not in ("write", "cache"))


class Output:
    """The output of a command and its exit status."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    def json(self) -> Any:
        def refuse(constant: str) -> None:
            raise ValueError(f"{constant} is not JSON")

        return json.loads(self.out, parse_constant=refuse)


Run = Callable[..., Output]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in this process."""

    def call(*arguments: object) -> Output:
        capsys.readouterr()
        try:
            status = cli.main([str(argument) for argument in arguments])
        except SystemExit as error:
            # argparse exits by itself
            status = error.code
        return Output(status, *capsys.readouterr())

    return call


@pytest.fixture(autouse=True)
def _tiny_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the command line small networks by name."""
    monkeypatch.setattr(networks, "NETWORKS", {**networks.NETWORKS, "tiny": tiny, "tiny2": tiny})


@pytest.fixture
def scored(digit_dataset: fo.Dataset) -> fo.Dataset:
    """Sixty digits with made-up scores of two networks in two runs; the second run has half of the samples."""
    settings = {"label_field": "ground_truth", "epochs": 3, "runs": 1, "num_samples": 60}
    write_results(digit_dataset, make_results(digit_dataset, "a", seed=1), "first", settings)
    half = digit_dataset.limit(30)
    write_results(half, make_results(half, "b", seed=2), "second", {**settings, "num_samples": 30})
    return digit_dataset


def compute(dataset: fo.Dataset, *more: object) -> Sequence[object]:
    fast = ("--models", "tiny", "--epochs", 2, "--batch-size", 16, "--device", "cpu", "--crop-padding", 0, "--no-flip")
    return ("compute", dataset.name, *fast, *more)


def test_compute_writes_and_prints_a_summary(run: Run, digit_dataset: fo.Dataset) -> None:
    output = run(*compute(digit_dataset, "--models", "tiny", "tiny2"))
    assert output.status == 0
    lines = output.out.splitlines()
    assert len(lines) == 2
    # trained for two epochs only
    assert re.fullmatch(
        r"tiny: 60 samples, mean learnability 0\.\d{3}, accuracy on the training images [01]\.\d{3}, \d+ s; it did not "
        r"learn clearly more than chance: its final accuracy on the 60 training images is 0\.\d{3}, and the largest "
        r"class alone gives 0\.350",
        lines[0],
    )
    assert lines[1].startswith("tiny2: 60 samples")
    assert "device cpu" in output.err
    assert "wrote learnability_tiny, learnability_rank_tiny, learnability_tiny2" in output.err
    assert digit_dataset.reload() is None
    assert fol.find_models(digit_dataset) == ["tiny", "tiny2"]
    assert digit_dataset.count("learnability_tiny2") == 60


def test_compute_passes_every_option_on(
    run: Run, digit_dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    got: dict[str, Any] = {}

    def take(samples: Any, **options: Any) -> dict[str, ModelResults]:
        got.update(options, samples=samples)
        return {}

    monkeypatch.setattr("fiftyone_learnability.compute.compute_learnability", take)
    given = {
        "run_dir": tmp_path,
        "label_field": "target",
        "epochs": 3,
        "runs": 4,
        "seed": 5,
        "batch_size": 6,
        "lr": 0.7,
        "weight_decay": 0.8,
        "crop_padding": 9,
        "image_size": 64,
        "device": "cuda:1",
        "precision": "fp16",
        "measure": "online",
        "measure_every": 2,
        "stop_when_stable": 0.9,
        "key": "mine",
    }
    chosen = ("--scores", "aum", "hits", "--name", "x_1", "y_1")
    arguments = [part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", value)]
    flags = ("--no-flip", "--overwrite", "--skip-failures", "--quiet", "--no-resume", "--restart-diverged")
    flags += ("--no-image-cache", "--compile", "--deterministic")
    assert run("compute", digit_dataset.name, "--models", "x", "y", *arguments, *chosen, *flags).status == 0
    expected = {
        **given,
        "models": ["x", "y"],
        "scores": ["aum", "hits"],
        "name": ["x_1", "y_1"],
        "samples": digit_dataset,
        "horizontal_flip": False,
    }
    expected |= {"horizontal_flip": False, "resume": False, "restart_diverged": True, "cache_images": False}
    expected |= {"compile": True, "deterministic": True}
    assert got == {**expected, "overwrite": True, "skip_failures": True, "progress": False}

    assert run("compute", digit_dataset.name, "--stop-when-stable").status == 0
    assert got["stop_when_stable"] is True

    # the defaults are those of the function
    assert run("compute", digit_dataset.name).status == 0
    from inspect import signature

    from fiftyone_learnability import compute as module

    monkeypatch.undo()
    parameters = signature(module.compute_learnability).parameters
    for name, value in got.items():
        default = parameters[name].default
        if name != "samples":
            assert value == (list(default) if isinstance(default, tuple) else default), name


def test_compute_of_a_saved_view(run: Run, digit_dataset: fo.Dataset) -> None:
    digit_dataset.save_view("some", digit_dataset.limit(20))
    output = run(*compute(digit_dataset, "--view", "some", "--quiet"))
    assert output.status == 0
    assert output.out.startswith("tiny: 20 samples")
    assert output.err == ""
    assert digit_dataset.count("learnability_tiny") == 20


def test_compute_saves_npz(run: Run, digit_dataset: fo.Dataset, tmp_path: Path) -> None:
    assert run(*compute(digit_dataset, "--quiet", "--npz", tmp_path / "new" / "folder")).status == 0
    saved = ModelResults.from_npz(tmp_path / "new" / "folder" / "tiny.npz")
    assert dict(zip(saved.ids, saved.learnability, strict=True)) == values_of(digit_dataset, "learnability_tiny")


def test_compute_refuses_an_npz_folder_that_is_a_file(run: Run, digit_dataset: fo.Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    output = run(*compute(digit_dataset, "--npz", tmp_path / "file"))
    assert output.status == 1
    assert "file" in output.err
    assert fol.find_models(digit_dataset) == []


REFUSED: dict[str, tuple[tuple[object, ...], str]] = {
    "label field": (("--label-field", "missing"), "no field 'missing'"),
    "network": (("--models", "resnet21"), "unknown network 'resnet21'"),
    "epochs": (("--epochs", 0), "epochs must be a whole number of at least 1, not 0"),
    "device": (("--device", "abacus"), "unknown device 'abacus'"),
    "view": (("--view", "missing"), "missing"),
    "key": (("--key", "two words"), "must be an identifier"),
    "divergence": (("--lr", "1e25", "--epochs", 20), "try a lower one"),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_a_failing_compute_gives_the_reason_and_writes_nothing(
    run: Run, digit_dataset: fo.Dataset, arguments: tuple[object, ...], message: str
) -> None:
    before = state(digit_dataset)
    output = run(*compute(digit_dataset, *arguments, "--quiet"))
    assert output.status == 1
    assert output.out == ""
    assert output.err.startswith("fiftyone-learnability: ")
    assert message in output.err
    assert "Traceback" not in output.err
    assert state(digit_dataset) == before


def test_compute_overwrites_only_on_request(run: Run, digit_dataset: fo.Dataset) -> None:
    assert run(*compute(digit_dataset, "--quiet")).status == 0
    first = values_of(digit_dataset, "learnability_tiny")
    refused = run(*compute(digit_dataset, "--quiet", "--seed", 1))
    assert refused.status == 1
    assert "already has the field 'learnability_tiny'" in refused.err
    assert values_of(digit_dataset, "learnability_tiny") == first
    assert run(*compute(digit_dataset, "--quiet", "--seed", 1, "--overwrite")).status == 0
    assert values_of(digit_dataset, "learnability_tiny") != first


def test_runs_are_listed(run: Run, scored: fo.Dataset) -> None:
    output = run("runs", scored.name)
    assert output.status == 0
    lines = output.out.splitlines()
    assert lines[0].split() == ["key", "models", "kind", "samples", "epochs", "runs", "label_field", "date"]
    assert lines[1].split()[:7] == ["first", "a", "training", "60", "3", "1", "ground_truth"]
    assert len(lines) == 3


def test_runs_as_json(run: Run, scored: fo.Dataset) -> None:
    rows = run("runs", scored.name, "--json").json()
    assert [row["key"] for row in rows] == ["first", "second"]
    assert [row["samples"] for row in rows] == [60, 30]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", rows[0]["date"])


def test_a_dataset_without_runs(run: Run, digit_dataset: fo.Dataset) -> None:
    output = run("runs", digit_dataset.name)
    assert (output.status, output.out) == (0, "no learnability runs\n")
    assert run("runs", digit_dataset.name, "--json").json() == []


def test_compare_prints_the_table(run: Run, scored: fo.Dataset) -> None:
    output = run("compare", scored.name)
    assert (output.status, output.err) == (0, "")
    assert output.out == f"{fol.compare_models(scored)}\n"


def test_networks_may_be_written_as_in_the_app(run: Run, scored: fo.Dataset) -> None:
    fol.write_scores(scored, fol.load_results(scored, "first")["a"], "resnet20")
    for command in (("hardest", "--json", "--model"), ("subset", "--fraction", "0.5", "--json", "--model")):
        name, *options = command
        written = run(name, scored.name, *options, "ResNet-20").json()
        assert written == run(name, scored.name, *options, "resnet20").json()
    assert run("compare", scored.name, "--json", "--models", "ResNet-20", "a").json()[0]["model_a"] == "resnet20"


def test_compare_as_json(run: Run, scored: fo.Dataset) -> None:
    (row,) = run("compare", scored.name, "--models", "b", "a", "--json").json()
    comparison = fol.compare_models(scored, ["b", "a"])
    assert (row["model_a"], row["model_b"], row["num_samples"]) == ("b", "a", 30)
    assert row["pearson"] == pytest.approx(comparison.pearson[0, 1])
    assert row["pearson_rank"] == pytest.approx(comparison.pearson_rank[0, 1])
    assert row["spearman"] == pytest.approx(comparison.spearman[0, 1])


def test_undefined_correlations_are_null_in_json(run: Run, scored: fo.Dataset) -> None:
    # a constant score has no correlation
    scored.set_values("learnability_b", [0.5] * 60)
    (row,) = run("compare", scored.name, "--json").json()
    assert row["pearson"] is None
    assert row["spearman"] is None
    assert row["num_samples"] == 60


def test_compare_draws_the_figure(run: Run, scored: fo.Dataset, tmp_path: Path) -> None:
    path = tmp_path / "figure.png"
    output = run("compare", scored.name, "--figure", path, "--json")
    assert output.status == 0
    assert path.read_bytes().startswith(b"\x89PNG")
    # standard output stays JSON
    assert output.json()[0]["model_a"] == "a"
    assert f"figure of a and b: {path}" in output.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--models", "a"), "at least two networks; there are: a"),
        (("--models", "a", "vgg16"), "'vgg16' has no scores; the networks that do: a, b"),
        (("--figure", "figure.docx"), "docx"),
    ],
)
def test_a_failing_compare_gives_the_reason(
    run: Run, scored: fo.Dataset, arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    output = run("compare", scored.name, *arguments)
    assert output.status == 1
    assert message in output.err
    assert list(tmp_path.iterdir()) == []


def test_hardest_lists_samples(run: Run, scored: fo.Dataset) -> None:
    output = run("hardest", scored.name, "--model", "a", "-k", 4)
    assert output.status == 0
    lines = output.out.splitlines()
    assert lines[0].split() == ["id", "filepath", "label", "learnability", "rank"]
    assert [line.split()[0] for line in lines[1:]] == scored.sort_by("learnability_a").limit(4).values("id")
    assert lines[1].split()[-1] == "60"


def test_paths_are_not_truncated(run: Run, scored: fo.Dataset) -> None:
    long = f"/nowhere/{'x' * 200}.png"
    sample = scored.sort_by("learnability_a").first()
    sample.filepath = long
    sample.save()
    assert long in run("hardest", scored.name, "--model", "a", "-k", 1).out


def test_hardest_and_easiest_as_json(run: Run, scored: fo.Dataset) -> None:
    hardest = run("hardest", scored.name, "--model", "b", "-k", 3, "--json").json()
    easiest = run("hardest", scored.name, "--model", "b", "-k", 3, "--easiest", "--json").json()
    assert [row["rank"] for row in hardest] == [30, 29, 28]
    assert [row["rank"] for row in easiest] == [1, 2, 3]
    for row in hardest:
        sample = scored[row["id"]]
        assert row["learnability"] == pytest.approx(sample["learnability_b"])
        assert row["filepath"] == sample.filepath
        assert row["label"] == sample["ground_truth"].label
    assert len(run("hardest", scored.name, "--model", "b", "--json").json()) == 20


def test_tag_tags_the_samples_that_hardest_lists(run: Run, scored: fo.Dataset) -> None:
    hardest = run("hardest", scored.name, "--model", "a", "-k", 3, "--json").json()
    assert run("tag", scored.name, "--model", "a", "-k", 3, "--tag", "look").out == "tagged the hardest samples: 3\n"
    assert set(scored.match_tags("look").values("id")) == {row["id"] for row in hardest}
    run("tag", scored.name, "--model", "a", "--percent", 10, "--easiest")
    assert sorted(scored.match_tags("easy").values("learnability_rank_a")) == [1, 2, 3, 4, 5, 6]
    assert run("tag", scored.name, "--model", "a", "--percent", 0).status == 1
    assert run("tag", scored.name, "--model", "a").status == 2


def test_export_writes_the_fields(run: Run, scored: fo.Dataset, tmp_path: Path) -> None:
    output = run("export", scored.name, tmp_path / "scores.csv", "--models", "b")
    assert output.out == f"wrote {tmp_path / 'scores.csv'}: {len(scored)} samples\n"
    header, first, *_ = (tmp_path / "scores.csv").read_text().splitlines()
    assert header == "id,filepath,label,learnability_b,learnability_rank_b"
    assert first.split(",")[0] == scored.first().id
    refused = run("export", scored.name, tmp_path / "scores.txt")
    assert refused.status == 1
    assert "must end in .csv, .npz or .parquet" in refused.err
    (tmp_path / "notes.csv").write_text("mine")
    assert "exists and holds no exported scores" in run("export", scored.name, tmp_path / "notes.csv").err
    assert (tmp_path / "notes.csv").read_text() == "mine"
    assert run("export", scored.name, tmp_path / "notes.csv", "--overwrite").status == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "vgg16"), "'vgg16' has no scores"),
        (("--model", "a", "-k", 0), "k must be a whole number of at least 1"),
    ],
)
def test_a_failing_hardest_gives_the_reason(
    run: Run, scored: fo.Dataset, arguments: tuple[object, ...], message: str
) -> None:
    output = run("hardest", scored.name, *arguments)
    assert (output.status, output.out) == (1, "")
    assert message in output.err


def test_delete_deletes_the_fields_too(run: Run, scored: fo.Dataset) -> None:
    output = run("delete", scored.name, "first")
    assert output.status == 0
    assert output.out == "deleted the run 'first' and the fields learnability_a, learnability_rank_a\n"
    assert fol.find_models(scored) == ["b"]
    again = run("delete", scored.name, "first")
    assert again.status == 1
    assert "no learnability run 'first'; it has: second" in again.err


def test_rename(run: Run, scored: fo.Dataset) -> None:
    assert run("rename", scored.name, "first", "renamed").status == 0
    assert fol.list_runs(scored) == ["renamed", "second"]
    assert "must be an identifier" in run("rename", scored.name, "renamed", "two words").err
    assert run("delete", scored.name, "renamed").status == 0
    assert fol.find_models(scored) == ["b"]


@pytest.mark.parametrize("command", OF_DATASETS)
def test_an_unknown_dataset_is_refused_with_the_names_of_others(
    run: Run, digit_dataset: fo.Dataset, command: str
) -> None:
    more = {
        "hardest": ("--model", "a"),
        "scores": ("all",),
        "apply-labels": ("--tag", "t"),
        "subset": ("--fraction", 0.5),
        "import": ("f.csv",),
        "tag": ("--model", "a", "-k", 1),
        "export": ("f.csv",),
        "delete": ("key",),
        "rename": ("key", "new"),
    }
    output = run(command, "missing", *more.get(command, ()))
    assert output.status == 1
    assert "there is no dataset 'missing'" in output.err
    assert digit_dataset.name in output.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "COMMAND"),
        (("train", "dataset"), "invalid choice: 'train'"),
        (("compute",), "the following arguments are required: dataset"),
        (("compute", "dataset", "--epochs", "many"), "invalid int value: 'many'"),
        (("compute", "dataset", "--epoch-count", "3"), "unrecognized arguments"),
        (("hardest", "dataset"), "the following arguments are required: --model"),
        (("delete", "dataset"), "the following arguments are required: key"),
    ],
)
def test_wrong_usage(run: Run, arguments: tuple[str, ...], message: str) -> None:
    output = run(*arguments)
    assert output.status == 2
    assert message in output.err
    assert "usage: fiftyone-learnability" in output.err


def test_help_lists_commands_examples_and_statuses(run: Run) -> None:
    output = run("--help")
    assert output.status == 0
    for part in (*COMMANDS, "examples:", "exit status:", "--models resnet20 vgg16 mobilenet"):
        assert part in output.out


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_explains_every_option(run: Run, command: str) -> None:
    output = run(command, "--help")
    assert output.status == 0
    parser = cli.build_parser()._subparsers._group_actions[0].choices[command]
    for action in parser._actions:
        assert action.help, f"{action.dest} of {command} has no help"
        for name in action.option_strings:
            assert name in output.out
        # defaults are shown, except those of flags
        if action.option_strings and action.default not in (None, False, "==SUPPRESS=="):
            assert "(default:" in output.out


@pytest.mark.parametrize("arguments", re.findall(r"^  fiftyone-learnability (.+)$", EPILOG, re.MULTILINE))
def test_the_examples_of_the_help_are_valid(arguments: str) -> None:
    parsed = cli.build_parser().parse_args(arguments.split())
    assert parsed.command in ("write", "cache") or parsed.dataset == "cifar10-train"


def test_version(run: Run) -> None:
    output = run("--version")
    assert (output.status, output.out) == (0, f"fiftyone-learnability {fol.__version__}\n")


def test_an_interrupt_has_its_own_status(run: Run, digit_dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fiftyone_learnability.compute.compute_learnability", raiser(KeyboardInterrupt()))
    output = run(*compute(digit_dataset))
    assert output.status == 130
    assert "interrupted" in output.err


def test_a_defect_keeps_its_traceback(run: Run, digit_dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fiftyone_learnability.compute.compute_learnability", raiser(ZeroDivisionError("a defect")))
    with pytest.raises(ZeroDivisionError, match="a defect"):
        run(*compute(digit_dataset))


def console(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the installed console script as a user does."""
    script = Path(sys.executable).parent / "fiftyone-learnability"
    return subprocess.run([script, *arguments], capture_output=True, text=True, timeout=120)


def test_the_console_script_as_a_user_runs_it(scored: fo.Dataset) -> None:
    # other processes delete non-persistent datasets when they exit
    scored.persistent = True
    listed = console("hardest", scored.name, "--model", "a", "-k", "2", "--json")
    assert listed.returncode == 0, listed.stderr
    assert [row["rank"] for row in json.loads(listed.stdout)] == [60, 59]
    missing = console("runs", "missing")
    assert missing.returncode == 1
    assert missing.stderr.splitlines()[-1].startswith("fiftyone-learnability: there is no dataset 'missing'")
    assert "Traceback" not in missing.stderr


def test_help_and_wrong_usage_do_not_import_fiftyone() -> None:
    helped = console("--help")
    assert (helped.returncode, helped.stderr) == (0, "")
    assert "exit status:" in helped.stdout
    wrong = console("hardest", "dataset")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    code = "import sys; from fiftyone_learnability import cli; cli.build_parser(); print('fiftyone' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False"


@pytest.fixture
def trained(digit_dataset: fo.Dataset) -> fo.Dataset:
    """Sixty digits, six with a wrong label, and all scores of two networks in two runs."""
    wrong = digit_dataset.limit(6)
    labels = wrong.values("ground_truth.label")
    wrong.set_values("ground_truth.label", ["4" if label != "4" else "1" for label in labels])
    learn(digit_dataset, "a", "b", epochs=12, runs=2)
    return digit_dataset


def test_scores_writes_measured_scores(run: Run, trained: fo.Dataset) -> None:
    assert run("scores", trained.name, "aum", "spread", "--models", "a").out == (
        "wrote learnability_a_aum, learnability_a_spread\n"
    )
    results = fol.load_results(trained, "learnability")["a"]
    expected = dict(zip(results.ids.tolist(), results.score("aum").tolist(), strict=True))
    trained.reload()
    assert values_of(trained, "learnability_a_aum") == expected
    assert run("scores", trained.name, "aum", "--models", "a").out == "all of these scores are written already\n"
    assert "learnability_b_forgetting" in run("scores", trained.name, "all").out
    assert "unknown score 'x'" in run("scores", trained.name, "x").err


def test_consensus_is_written_once(run: Run, trained: fo.Dataset) -> None:
    output = run("consensus", trained.name)
    assert output.out == (
        "wrote learnability_consensus, learnability_rank_consensus, learnability_disagreement to 60 samples; "
        "run 'consensus'\n"
    )
    assert run("consensus", trained.name).status == 1
    assert run("consensus", trained.name, "--overwrite").status == 0
    kinds = {row["key"]: row["kind"] for row in run("runs", trained.name, "--json").json()}
    assert kinds == {"learnability": "training", "consensus": "consensus"}


def test_reliability_is_printed_and_drawn(run: Run, trained: fo.Dataset, tmp_path: Path) -> None:
    output = run("reliability", trained.name, "--figure", tmp_path / "s.png")
    assert output.out == f"{fol.reliability(trained)}\n"
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")
    assert len(run("reliability", trained.name, "--json").json()) == len(fol.reliability(trained).to_pandas()) == 3
    # one network with two seeds is enough
    assert "seeds of a" in run("reliability", trained.name, "--models", "a").out


def test_labels_are_suggested_and_applied_to_a_copy(run: Run, trained: fo.Dataset) -> None:
    output = run("labels", trained.name, "--threshold", 0.51, "-k", 5, "--json")
    assert output.status == 0
    rows = output.json()
    assert len(rows) <= 5
    assert re.fullmatch(r"probably mislabelled: \d+; hard but plausible: \d+\n", output.err)
    assert {"id", "label", "suggested_label", "confidence", "contradiction", "verdict"} <= set(rows[0])
    before = trained.values("ground_truth.label")
    trained.select([row["id"] for row in rows]).tag_samples("accepted")
    assert run("apply-labels", trained.name, "--tag", "accepted").out == (
        f"changed {len(rows)} labels in the field 'ground_truth_fixed'\n"
    )
    trained.reload()
    assert trained.values("ground_truth.label") == before
    fixed = values_of(trained, "ground_truth_fixed")
    assert {row["id"]: fixed[row["id"]].label for row in rows} == {row["id"]: row["suggested_label"] for row in rows}
    assert run("apply-labels", trained.name).status == 2


def test_subset_chooses_and_tags(run: Run, trained: fo.Dataset) -> None:
    ids = run("subset", trained.name, "--fraction", 0.5, "--strategy", "hardest", "--tag", "half", "--json").json()
    assert ids == fol.select_subset(trained, 0.5, "hardest").values("id")
    assert sorted(trained.match_tags("half").values("id")) == sorted(ids)
    assert run("subset", trained.name, "--fraction", 0.5, "--tag", "other").out == "chose 30 samples, tagged 'other'\n"
    assert "fraction" in run("subset", trained.name, "--fraction", 2).err


def test_an_exported_file_can_be_imported_elsewhere(run: Run, trained: fo.Dataset, tmp_path: Path) -> None:
    file = tmp_path / "scores.parquet"
    assert run("export", trained.name, file).status == 0
    clone = trained.clone()
    try:
        assert "already has the field" in run("import", clone.name, file).err
        output = run("import", clone.name, file, "--overwrite")
        assert output.status == 0, output.err
        assert output.out.count("to 60 samples") == 2
        clone.reload()
        assert values_of(clone, "learnability_a") == values_of(trained, "learnability_a")
    finally:
        clone.delete()


def test_import_names_unknown_samples(run: Run, digit_dataset: fo.Dataset, tmp_path: Path) -> None:
    file = tmp_path / "theirs.csv"
    paths = digit_dataset.values("filepath")
    file.write_text("filepath,quality\n" + "".join(f"{path},{index / 100}\n" for index, path in enumerate(paths)))
    with file.open("a") as lines:
        lines.write("/no/such.png,0.5\n")
    assert "give name=" in run("import", digit_dataset.name, file).err
    output = run("import", digit_dataset.name, file, "--name", "theirs", "--learnability", "quality")
    assert "to 60 samples" in output.out
    assert output.err == "not in the dataset: 1, such as '/no/such.png'\n"
    digit_dataset.reload()
    assert digit_dataset.values("learnability_theirs") == [index / 100 for index in range(60)]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A separate cache, and a checkpoint after each epoch."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(units, "CHECKPOINT_SECONDS", 0.0)
    return runs_folder()


def leave_unfinished(dataset: fo.Dataset, key: str | None = None) -> Path:
    """A run that was interrupted after its first epoch."""

    def stop(event: fol.ProgressEvent) -> None:
        if event.stage == "training" and event.loss is not None:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        learn(dataset, epochs=3, key=key, progress=stop)
    return default_run_directory(dataset, key or "learnability")


def test_write_finishes_a_run_after_the_database_returns(
    run: Run, digit_dataset: fo.Dataset, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(columns, "merge", raiser(ConnectionError("the database is away")))
        failed = run(*compute(digit_dataset, "--quiet"))
    assert failed.status == 1
    assert "the database is away" in failed.err
    command = re.search(r"`fiftyone-learnability (write [^`]+)` writes them", failed.err).group(1)
    (row,) = run("cache", "--json").json()
    assert (row["dataset"], row["key"], row["state"]) == (digit_dataset.name, "learnability", "trained, not written")
    output = run(*command.split())
    assert output.status == 0, output.err
    assert output.out == "wrote learnability_tiny, learnability_rank_tiny to 60 samples; run 'learnability'\n"
    assert digit_dataset.reload() is None
    assert digit_dataset.count("learnability_tiny") == 60
    again = run(*command.split())
    assert again.status == 1
    assert "there is no run directory" in again.err
    assert not (cache / "new").exists()


def test_write_needs_finished_trainings(run: Run, digit_dataset: fo.Dataset, cache: Path) -> None:
    output = run("write", leave_unfinished(digit_dataset))
    assert output.status == 1
    assert "holds no finished results: call compute_learnability again" in output.err


def test_compute_continues_or_starts_over(run: Run, digit_dataset: fo.Dataset, cache: Path) -> None:
    leave_unfinished(digit_dataset)
    refused = run(*compute(digit_dataset, "--epochs", 4))
    assert refused.status == 1
    assert "epochs was 3 and is now 4" in refused.err
    assert "--no-resume" in refused.err
    went_on = run(*compute(digit_dataset, "--epochs", 3))
    assert went_on.status == 0
    assert "tiny: continuing after epoch 1 of 3" in went_on.err
    fol.delete_run(digit_dataset, "learnability")
    leave_unfinished(digit_dataset, "other")
    over = run(*compute(digit_dataset, "--epochs", 4, "--key", "other", "--no-resume"))
    assert over.status == 0
    assert "continuing" not in over.err


def test_cache_lists_unfinished_runs(run: Run, digit_dataset: fo.Dataset, cache: Path) -> None:
    empty = run("cache")
    assert (empty.status, empty.out) == (0, f"nothing in {cache.parent}\n")
    path = leave_unfinished(digit_dataset, "mine")
    size = sum(file.stat().st_size for file in path.iterdir() if file.name != "lock")
    (row,) = run("cache", "--json").json()
    assert (row["dataset"], row["key"], row["state"]) == (digit_dataset.name, "mine", "unfinished")
    assert row["MB"] == pytest.approx(size / 1e6)
    assert 0 <= row["days"] < 0.1
    assert row["path"] == str(path)
    table = run("cache").out
    assert table.split()[:6] == ["dataset", "key", "days", "MB", "state", "path"]
    assert str(path) in table


def age(path: Path, days: float) -> None:
    """Make a run directory look some days old."""
    for file in path.rglob("*"):
        os.utime(file, (time.time() - days * 86400,) * 2)


def test_cache_deletes_old_or_surplus_runs(run: Run, digit_dataset: fo.Dataset, cache: Path) -> None:
    first, second, third = (leave_unfinished(digit_dataset, key) for key in ("first", "second", "third"))
    for path, days in ((first, 40), (second, 20), (third, 1)):
        age(path, days)
    assert run("cache", "--older-than", 30).status == 1
    assert run("cache", "--clean", "--older-than", -1).status == 2
    assert run("cache", "--clean", "--older-than", 100).out == "nothing to delete\n"
    output = run("cache", "--clean", "--older-than", 30)
    assert "first" in output.out
    assert "deleted 1 run directories, 0 sets of images" in output.err
    assert [path.exists() for path in (first, second, third)] == [False, True, True]
    # the oldest is deleted first
    size = sum(file.stat().st_size for file in third.iterdir())
    assert run("cache", "--clean", "--max-size", 1).out == "nothing to delete\n"
    assert run("cache", "--clean", "--max-size", size * 1.5 / 1e9).status == 0
    assert [path.exists() for path in (second, third)] == [False, True]
    # a run in use is not deleted
    with locked(third):
        (row,) = run("cache", "--json").json()
        assert row["state"] == "in use"
        assert run("cache", "--clean").out == "nothing to delete\n"
    assert third.exists()
    assert run("cache", "--clean").status == 0
    assert list(cache.iterdir()) == []


def test_cache_lists_and_deletes_decoded_images(
    run: Run, digit_dataset: fo.Dataset, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_cache, "LEAST_SECONDS", 0.0)
    assert run(*compute(digit_dataset, "--no-image-cache")).status == 0
    assert run("cache", "--json").json() == []
    fol.delete_run(digit_dataset, "learnability")
    unfinished = leave_unfinished(digit_dataset, "mine")
    files = digit_dataset.values("filepath")
    rows = run("cache", "--json").json()
    assert [row["state"] for row in rows] == ["unfinished", "decoded images"]
    images = Path(rows[1]["path"])
    assert rows[1]["dataset"] == f"60 images of 32x32 pixels from {Path(files[0]).parent}"
    size = images.stat().st_size + images.with_suffix(".json").stat().st_size
    assert rows[1]["MB"] == pytest.approx(size / 1e6)
    assert str(images) in run("cache").out
    went_on = run(*compute(digit_dataset, "--epochs", 3, "--key", "mine"))
    assert "60 images from the cache of an earlier run" in went_on.err
    fol.delete_run(digit_dataset, "mine")
    # images are deleted before runs, however old
    unfinished = leave_unfinished(digit_dataset, "other")
    age(unfinished, 40)
    runs = sum(file.stat().st_size for file in unfinished.iterdir() if file.name != "lock")
    assert run("cache", "--clean", "--older-than", 50).out == "nothing to delete\n"
    assert run("cache", "--clean", "--max-size", (runs + size) / 1e9).out == "nothing to delete\n"
    cleaned = run("cache", "--clean", "--max-size", (runs + size - 1) / 1e9)
    assert "deleted 0 run directories, 1 sets of images" in cleaned.err
    assert "60 images of 32x32" in cleaned.out
    assert [row["state"] for row in run("cache", "--json").json()] == ["unfinished"]
    assert not images.exists()
    assert run("cache", "--clean", "--older-than", 30).status == 0
    assert run("cache", "--json").json() == []


SLOWLY = """
import signal
# a shell that runs the tests in the background ignores SIGINT, and children inherit that
signal.signal(signal.SIGINT, signal.default_int_handler)
import sys, time
from torch import nn
from fiftyone_learnability import cli
from fiftyone_learnability.experiment import units
from fiftyone_learnability.training import networks

class Slow(nn.Module):
    def __init__(self, num_classes, in_channels):
        super().__init__()
        self.network = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * in_channels, num_classes))
    def forward(self, x):
        time.sleep(0.02)
        return self.network(x)

networks.NETWORKS = {"slow": Slow}
units.CHECKPOINT_SECONDS = 0.0
sys.exit(cli.main(sys.argv[1:]))
"""


def test_signals_end_compute_cleanly_and_it_can_continue(digit_dataset: fo.Dataset, tmp_path: Path) -> None:
    # other processes delete non-persistent datasets when they exit
    digit_dataset.persistent = True
    folder, before = tmp_path / "run", state(digit_dataset)
    arguments = ("compute", digit_dataset.name, "--models", "slow", "--epochs", "30", "--batch-size", "16")
    command = [sys.executable, "-c", SLOWLY, *arguments, "--device", "cpu", "--run-dir", str(folder)]
    for sent, status, word in ((signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")):
        old = (folder / "slow-0.pt").stat().st_mtime_ns if folder.exists() else 0
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            deadline = time.monotonic() + 100
            while not (folder / "slow-0.pt").exists() or (folder / "slow-0.pt").stat().st_mtime_ns == old:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            process.send_signal(sent)
            output = process.communicate(timeout=60)[1]
        assert process.returncode == status, output
        assert "Traceback" not in output
        last = output.splitlines()[-1]
        match = re.fullmatch(
            rf"{word}: nothing was written; the same command continues after epoch (\d+) of slow", last.strip()
        )
        assert match, output
        assert state(digit_dataset) == before
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert f"slow: continuing after epoch {match.group(1)} of 30" in done.stderr
    assert not folder.exists()
    digit_dataset.reload()
    assert digit_dataset.count("learnability_slow") == 60
