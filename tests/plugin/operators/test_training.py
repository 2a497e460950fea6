"""The words in which a job tells its progress."""

from __future__ import annotations

from typing import Any

from fiftyone_learnability import ProgressEvent
from fiftyone_learnability.training.options import RunSettings

from ..harness import plugin_module


def narrate(models: list[str], events: list[ProgressEvent], **settings: Any) -> list[str]:
    """Describe events that come ten seconds apart."""
    now = iter(range(0, 1000, 10))
    narrator = plugin_module("operators.training").Narrator(models, RunSettings(**settings), lambda: next(now))
    return [narrator.describe(event) for event in events]


def epoch(number: int, share: float, model: str = "resnet20", run: int = 1, **more: Any) -> ProgressEvent:
    return ProgressEvent("training", share, "resnet20: epoch 1/4", model, run, number, 4, **more)


def test_progress_names_the_network_as_the_form_does() -> None:
    events = [
        epoch(0, 0.05),
        epoch(1, 0.25, loss=1.0, accuracy=0.5),
        epoch(1, 0.30),
        epoch(2, 0.50, loss=1.0),
        epoch(3, 0.75, loss=0.5, accuracy=0.814),
    ]
    assert narrate(["resnet20"], events, epochs=4) == [
        "ResNet-20: epoch 1 of 4",
        "ResNet-20: epoch 1 of 4, accuracy 50%, 40 seconds left",
        "ResNet-20: epoch 2 of 4, accuracy 50%, 40 seconds left",
        "ResNet-20: epoch 2 of 4, accuracy 50%, 35 seconds left",
        "ResNet-20: epoch 3 of 4, accuracy 81%, 20 seconds left",
    ]


def test_progress_of_several_trainings() -> None:
    events = [
        epoch(4, 0.25, "mine", 1, loss=1.0, accuracy=0.9),
        epoch(0, 0.26, "mine", 2),
        epoch(1, 0.50, "vgg16", 1, loss=1.0),
    ]
    texts = narrate(["resnet20", "vgg16"], events, epochs=4, runs=2, name=["mine", "vgg16"], stop_when_stable=True)
    assert texts[0] == "ResNet-20 as mine, run 1 of 2: epoch 4 of 4, accuracy 90%"
    # the accuracy is not that of the training before
    assert texts[1].startswith("ResNet-20 as mine, run 2 of 2: epoch 1 of 4, at most ")
    assert texts[2].startswith("VGG-16, run 1 of 2: epoch 1 of 4, at most ")


def test_other_stages_keep_their_words() -> None:
    assert narrate(["resnet20"], [ProgressEvent("images", 0.5, "reading images: 5 of 10")]) == [
        "Reading images: 5 of 10"
    ]
