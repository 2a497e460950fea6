"""Networks that did not learn clearly more than chance are left out as evidence, and are named."""

from __future__ import annotations

import logging
from collections.abc import Callable

import fiftyone as fo
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fiftyone_learnability as fol
from fiftyone_learnability.cli import main as command_line
from fiftyone_learnability.dataset.evidence import find_unlearned, first_learned
from fiftyone_learnability.dataset.registry import LearnabilityRun
from fiftyone_learnability.experiment.results import ModelResults, RunRecord

from .helpers import learn, tiny, write_results

PROBLEM = "dead did not learn clearly more than chance: its final accuracy on the 40 training images is 0.500"


def results_of(dataset: fo.Dataset, model: str, *accuracies: float, predicts: int | None = None) -> ModelResults:
    """Results of a network of 40 samples in two classes, whose runs end at these accuracies.

    It predicts the label, or always the class ``predicts``.
    """
    rng = np.random.default_rng(len(model))
    ids = np.array(sorted(dataset.values("id")))
    labels = np.array([int(dataset[id].ground_truth.label == "b") for id in ids.tolist()])
    p = np.eye(2, dtype=np.float32)[labels if predicts is None else np.full(len(ids), predicts)]
    noise = rng.random((len(ids), 1)).astype(np.float32)
    records = [
        RunRecord(
            model,
            seed,
            {"learnability": rng.random(len(ids))},
            *[np.array([0.5, value]) for value in (1.0, 1.0, accuracy, 1.0)],
            prediction=p * (1 - noise) + noise / 2,
        )
        for seed, accuracy in enumerate(accuracies)
    ]
    files = np.array([f"{id}.png" for id in ids])
    return ModelResults.from_runs(records, ids, files, labels, ("a", "b"), {})


@pytest.fixture
def dataset(make_dataset: Callable[..., fo.Dataset]) -> fo.Dataset:
    """Forty samples of two classes with scores of two networks that learned, and one that did not."""
    dataset = make_dataset([f"/no/{index}.png" for index in range(40)], ["a", "b"] * 20)
    for model, accuracies in {"dead": (0.5, 0.475), "one": (0.9, 0.9), "two": (0.9, 0.5)}.items():
        result = results_of(dataset, model, *accuracies, predicts=0 if model == "dead" else None)
        write_results(dataset, {model: result}, f"run_{model}", {"label_field": "ground_truth", "epochs": 2})
    return dataset


def test_a_run_knows_its_accuracy_and_chance(dataset: fo.Dataset) -> None:
    stored = dataset.get_run_info("run_dead").config.evidence
    assert stored == {"dead": {"accuracy": [0.5, 0.475], "chance": 0.5, "num_samples": 40}}
    assert list(find_unlearned(dataset, ["dead", "one", "two"])) == ["dead"]


def test_older_runs_are_judged_by_their_results(dataset: fo.Dataset) -> None:
    config = dataset.get_run_info("run_dead").config
    del config.evidence
    LearnabilityRun.update_run_config(dataset, "run_dead", config)
    dataset.reload()
    assert not hasattr(dataset.get_run_info("run_dead").config, "evidence")
    assert list(find_unlearned(dataset, ["dead", "one", "two"])) == ["dead"]


def test_networks_of_unknown_accuracy_are_used(dataset: fo.Dataset) -> None:
    scores = {"id": dataset.values("id"), "learnability": np.linspace(0, 1, 40)}
    fol.write_scores(dataset, scores, "imported")
    assert find_unlearned(dataset, ["imported"]) == {}
    assert fol.write_consensus(dataset, ["one", "imported"]).remarks == []


def test_the_consensus_leaves_them_out_unless_they_are_named(
    dataset: fo.Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    report = fol.write_consensus(dataset)
    config = dataset.get_run_info(report.key).config
    assert config.of == ["one", "two"]
    assert config.remarks == report.remarks == caplog.messages
    assert len(report.remarks) == 1
    assert PROBLEM in report.remarks[0]
    assert report.remarks[0].endswith("it is left out unless models names it")
    named = fol.write_consensus(dataset, ["dead", "one"], overwrite=True)
    assert dataset.get_run_info(named.key).config.of == ["dead", "one"]
    assert named.remarks[0].endswith("it is used because models names it")
    fol.delete_run(dataset, "run_two")
    caplog.clear()
    with pytest.raises(ValueError, match="at least two networks; there are: one; dead did not learn clearly more"):
        fol.write_consensus(dataset, overwrite=True)
    # the error says it, so no warning does
    assert caplog.messages == []


@pytest.mark.parametrize("in_memory", [False, True])
def test_reliability_leaves_out_their_runs_unless_they_are_named(
    dataset: fo.Dataset, caplog: pytest.LogCaptureFixture, in_memory: bool
) -> None:
    models = ["dead", "one", "two"]
    source = {model: fol.load_results(dataset, f"run_{model}")[model] for model in models} if in_memory else dataset
    # of the network "two" the second run did not learn
    assert fol.reliability(source).runs == {"one": 2, "two": 1}
    assert PROBLEM in caplog.messages[0]
    assert "two: the runs of the seeds 1 did not learn clearly more than chance and are left out" in caplog.messages[1]
    assert fol.reliability(source, models).runs == {"dead": 2, "one": 2, "two": 2}
    caplog.clear()
    two = {model: fol.load_results(dataset, f"run_{model}")[model] for model in ("dead", "two")}
    left_out = "dead did not learn.*; two: the runs of the seeds 1 did not learn"
    with pytest.raises(ValueError, match=f"at least two runs, .*; there is one, of two; {left_out}"):
        fol.reliability(two)
    assert caplog.messages == []
    with pytest.raises(ValueError, match="dead did not learn clearly more than chance"):
        fol.reliability({"dead": fol.load_results(dataset, "run_dead")["dead"]})


def test_comparisons_keep_them_and_warn(dataset: fo.Dataset, caplog: pytest.LogCaptureFixture) -> None:
    assert fol.compare_models(dataset).models == ("dead", "one", "two")
    assert PROBLEM in caplog.text
    assert "its correlations may say nothing about the samples" in caplog.text
    caplog.clear()
    fol.compare_models(dataset, ["one", "two"])
    assert caplog.messages == []


def test_calls_that_name_no_network_take_the_first_that_learned(
    dataset: fo.Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    chosen = fol.select_subset(dataset, 0.5).values("id")
    lessons = fol.curriculum(dataset)
    for message in caplog.messages:
        assert PROBLEM in message
        assert message.endswith("; used instead: one")
    assert len(caplog.messages) == 2
    assert first_learned(dataset, ["one", "dead", "two"], 2) == ["one", "two"]
    assert caplog.messages[2].endswith("; used instead: one, two")
    caplog.clear()
    assert chosen == fol.select_subset(dataset, 0.5, model="one").values("id")
    assert lessons.ids.tolist() == fol.curriculum(dataset, model="one").ids.tolist()
    assert first_learned(dataset, ["one", "two", "dead"], 2) == ["one", "two"]
    assert caplog.messages == []


def test_a_network_that_learned_nothing_is_used_with_a_warning(
    dataset: fo.Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    calls: dict[str, Callable[[], object]] = {
        "select_subset": lambda: fol.select_subset(dataset, 0.5, model="dead"),
        "curriculum": lambda: fol.curriculum(dataset, model="dead"),
        "hardest_samples": lambda: fol.hardest_samples(dataset, "dead"),
        "sort_by_learnability": lambda: fol.sort_by_learnability(dataset, "dead"),
        "tag_by_difficulty": lambda: fol.tag_by_difficulty(dataset, "dead", count=1),
        "disagreement": lambda: fol.disagreement(dataset, "one", "dead"),
    }
    fol.delete_run(dataset, "run_two")
    for name, call in calls.items():
        caplog.clear()
        call()
        assert [PROBLEM in message for message in caplog.messages] == [True], name
        assert caplog.messages[0].endswith("its scores may say nothing about the samples"), name
    fol.delete_run(dataset, "run_one")
    caplog.clear()
    fol.select_subset(dataset, 0.5)
    assert [PROBLEM in message for message in caplog.messages] == [True]


def test_suggestions_leave_them_out_unless_they_are_named(
    dataset: fo.Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    assert fol.suggest_label_fixes(dataset).empty
    config = dataset.get_run_info("label_fixes").config
    assert config.of == ["one", "two"]
    assert config.remarks == caplog.messages
    assert PROBLEM in config.remarks[0]
    fol.suggest_label_fixes(dataset, ["dead", "one"], overwrite=True)
    config = dataset.get_run_info("label_fixes").config
    assert config.of == ["dead", "one"]
    assert config.remarks[0].endswith("it is used because models names it")
    for model in ("one", "two"):
        fol.delete_run(dataset, f"run_{model}")
    caplog.clear()
    with pytest.raises(ValueError, match=r"did not learn clearly more than chance.*left out unless models names it"):
        fol.suggest_label_fixes(dataset, overwrite=True)
    assert caplog.messages == []


def test_contradicting_most_labels_is_said(
    dataset: fo.Dataset, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    # all labels are exchanged after the training
    dataset.set_values("ground_truth.label", ["b", "a"] * 20)
    table = fol.suggest_label_fixes(dataset, "one")
    assert len(table) == 40
    assert caplog.messages == dataset.get_run_info("label_fixes").config.remarks
    assert "the training contradicts 40 of 40 labels" in caplog.text
    with caplog.at_level(logging.WARNING):
        assert command_line(["runs", dataset.name]) == 0
    assert "label_fixes: the training contradicts 40 of 40 labels" in capsys.readouterr().err


class Blind(nn.Module):
    """A network that sees nothing of the image: it can only learn which class is frequent."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(num_classes))

    def forward(self, images: Tensor) -> Tensor:
        """Return the same logits for all images."""
        return self.bias.expand(len(images), -1)


def test_a_training_that_learned_nothing_carries_a_remark(
    digit_dataset: fo.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    results = learn(digit_dataset, models={"blind": Blind, "tiny": tiny}, epochs=12, progress=True)
    (incident,) = results["blind"].config["incidents"]
    assert incident.startswith("seed 0: did not learn clearly more than chance: its final accuracy on the 60 training")
    assert "incidents" not in results["tiny"].config
    config = digit_dataset.get_run_info("learnability").config
    assert config.remarks == [f"blind, {incident}"]
    assert capsys.readouterr().err.count(incident.removeprefix("seed 0: ")) == 1
    assert set(config.evidence) == {"blind", "tiny"}
    fol.suggest_label_fixes(digit_dataset)
    assert digit_dataset.get_run_info("label_fixes").config.of == ["tiny"]
