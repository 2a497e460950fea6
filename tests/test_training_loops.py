"""Runs the examples of docs/training_loops.md."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from .loops_stubs import libraries

if TYPE_CHECKING:
    import fiftyone as fo

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "training_loops.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text(), flags=re.DOTALL | re.MULTILINE)
SAMPLES = 60


def block(containing: str) -> str:
    """The only example that contains a text."""
    examples = [text for text in BLOCKS if containing in text]
    assert len(examples) == 1, f"{len(examples)} examples contain {containing!r}"
    return examples[0]


@pytest.fixture
def dataset(
    digits: tuple[list[str], list[str]], make_dataset: Callable[..., fo.Dataset], rng: np.random.Generator
) -> fo.Dataset:
    files, labels = digits
    chosen = rng.permutation([index for index, label in enumerate(labels) if label in "014"][:SAMPLES])
    return make_dataset([files[i] for i in chosen], [labels[i] for i in chosen], name="my-dataset")


@pytest.fixture
def run(dataset: fo.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], dict]]:
    """Runs an example after the first one, which all examples need."""
    import torch

    monkeypatch.chdir(tmp_path)
    torch.manual_seed(51)

    def run(text: str) -> dict[str, Any]:
        names: dict[str, Any] = {"__name__": "example"}
        for part in (BLOCKS[0], text):
            exec(compile(part, str(DOCUMENT), "exec"), names)
        return names

    with libraries():
        yield run


def assert_written(dataset: fo.Dataset, names: dict[str, Any], model: str, epochs: int = 2) -> None:
    """Each sample has its score of the tracker."""
    tracker = names["tracker"]
    assert tracker.epochs == epochs
    assert tracker.epoch_counts.tolist() == [epochs] * SAMPLES
    dataset.reload()
    expected = dict(zip(names["ids"], tracker.scores()["learnability"].tolist(), strict=True))
    ids, written = dataset.values(["id", f"learnability_{model}"])
    assert written == pytest.approx([expected[sample] for sample in ids], abs=1e-6)
    assert len(set(written)) > SAMPLES / 2
    assert sorted(dataset.values(f"learnability_rank_{model}"))[-1] == SAMPLES


def test_every_example_is_run_here() -> None:
    assert len(BLOCKS) == 7
    assert BLOCKS[0] == block("class Images(Dataset)")


def test_plain_pytorch(dataset: fo.Dataset, run: Callable[[str], dict]) -> None:
    text = block('name="my_model"')
    assert len([line for line in text.splitlines() if "tracker" in line and "write_scores" not in line]) == 3
    assert_written(dataset, run(text), "my_model")


def test_a_separate_measuring_pass(dataset: fo.Dataset, run: Callable[[str], dict]) -> None:
    import torch

    names = run(block('name="my_exact_model"'))
    assert_written(dataset, names, "my_exact_model")
    # the last epoch equals the prediction of the final network for the clean images
    with torch.no_grad():
        images = torch.stack([names["Images"]()[index][1] for index in range(SAMPLES)])
        labels = torch.tensor([names["Images"]()[index][2] for index in range(SAMPLES)])
        after = names["network"].eval()(images).softmax(1)[torch.arange(SAMPLES), labels]
    np.testing.assert_allclose(names["tracker"].last_probabilities, after.numpy(), rtol=0, atol=1e-5)


def test_lightning(dataset: fo.Dataset, run: Callable[[str], dict]) -> None:
    names = run(block('name="my_lightning_model"'))
    assert_written(dataset, names, "my_lightning_model")
    assert names["trainer"].max_epochs == 2


def test_lightning_on_the_training_batches(dataset: fo.Dataset, run: Callable[[str], dict]) -> None:
    """The second callback, in place of the first one in the previous example."""
    second = block("class TrackTrainingBatches")
    first = block('name="my_lightning_model"').replace(
        "TrackLearnability(tracker, DataLoader(Images(), batch_size=500))", "TrackTrainingBatches(tracker)"
    )
    assert "TrackTrainingBatches(tracker)" in first
    assert_written(dataset, run(second + "\n" + first), "my_lightning_model")


def test_hugging_face(dataset: fo.Dataset, run: Callable[[str], dict]) -> None:
    names = run(block('name="my_trainer_model"'))
    assert_written(dataset, names, "my_trainer_model")
    assert names["tracker"].ids is None


def test_several_processes(dataset: fo.Dataset, run: Callable[[str], dict], monkeypatch: pytest.MonkeyPatch) -> None:
    """With a single process; tests/training/test_tracker.py has two."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, value in {"RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}.items():
        monkeypatch.setenv(name, str(value))
    assert_written(dataset, run(block('name="my_distributed_model"')), "my_distributed_model")
