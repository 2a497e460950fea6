from __future__ import annotations

import io
import random
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from fiftyone_learnability.scores.formulas import hits, learnability
from fiftyone_learnability.training.augmentation import EpochDraws
from fiftyone_learnability.training.networks import NETWORKS
from fiftyone_learnability.training.options import TrainingOptions
from fiftyone_learnability.training.result import predict_logits
from fiftyone_learnability.training.run import (
    EpochReport,
    TrainingDivergedError,
    TrainingResult,
)

from .small import (
    CPU,
    SHORT,
    SmallNet,
    normalised,
    random_images,
    read_digits,
    run,
    true_probabilities,
)


def bits(result: TrainingResult) -> list[bytes]:
    """Scores, weights and curves of a run, to compare bit for bit."""
    weights = [value.numpy().tobytes() for value in result.network.state_dict().values()]
    curves = [np.array([report.train_loss, report.measured_accuracy]).tobytes() for report in result.reports]
    return [result.tracker.scores()["learnability"].tobytes(), *weights, *curves]


def test_the_same_seed_gives_the_same_bits(noise: tuple[np.ndarray, np.ndarray]) -> None:
    torch.manual_seed(1)
    first = bits(run(*noise))
    torch.manual_seed(2)
    torch.rand(17)
    assert bits(run(*noise)) == first


def test_another_seed_gives_other_scores(noise: tuple[np.ndarray, np.ndarray]) -> None:
    first, second = (run(*noise, seed=seed).tracker.scores()["learnability"] for seed in (0, 1))
    assert np.abs(first - second).max() > 1e-3


def test_the_callers_random_state_does_not_change(noise: tuple[np.ndarray, np.ndarray]) -> None:
    torch.manual_seed(51)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002

    def stop(report: EpochReport) -> None:
        raise KeyboardInterrupt

    run(*noise)
    assert torch.equal(torch.get_rng_state(), states[0])
    with pytest.raises(KeyboardInterrupt):
        run(*noise, on_epoch=stop)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.random.get_state()[1].tolist() == states[2]  # noqa: NPY002


def test_images_and_labels_do_not_change(noise: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = noise
    copies = images.copy(), labels.copy()
    run(images, labels)
    np.testing.assert_array_equal(images, copies[0])
    np.testing.assert_array_equal(labels, copies[1])


class WithDropout(SmallNet):
    """Records the masks of its dropout in training mode."""

    masks: list[Tensor]

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes, in_channels)
        self.dropout = nn.Dropout(0.5)
        self.masks = []

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.masks.append(self.dropout(torch.ones(8, 8)))
        return self.head(self.dropout(self.features(x).amax((2, 3))))


def test_dropout_is_reproducible_and_differs_between_epochs(noise: tuple[np.ndarray, np.ndarray]) -> None:
    torch.manual_seed(1)
    first = run(*noise, factory=WithDropout)
    torch.manual_seed(2)
    second = run(*noise, factory=WithDropout)
    assert bits(first) == bits(second)
    # random numbers that a callback draws do not matter
    third = run(*noise, factory=WithDropout, on_epoch=lambda report: torch.rand(report.epoch))
    assert bits(first) == bits(third)
    masks = [mask.numpy().tobytes() for mask in first.network.masks]
    assert len(set(masks)) == len(masks) == 2 * 4


@pytest.mark.parametrize("channels", [1, 3])
def test_the_measurement_is_that_of_the_final_network_on_clean_images(channels: int, rng: np.random.Generator) -> None:
    # more images than one batch of the measurement, and a last batch that is not full
    images, labels = random_images(rng, 1203, 6, channels), rng.integers(0, 3, 1203)
    result = run(images, labels, replace(SHORT, epochs=1, batch_size=128))
    network = result.network.eval()
    with torch.no_grad():
        logits = network(normalised(images)).numpy()
    np.testing.assert_allclose(predict_logits(result, images), logits, atol=1e-4)
    scores = result.tracker.scores()
    np.testing.assert_allclose(scores["learnability"], true_probabilities(logits, labels), atol=1e-5)
    predicted = predict_logits(result, images)
    np.testing.assert_allclose(scores["learnability"], true_probabilities(predicted, labels), atol=1e-6)
    np.testing.assert_array_equal(scores["hits"], predicted.argmax(axis=1) == labels)
    assert result.reports[0].measured_accuracy == (predicted.argmax(axis=1) == labels).mean()


def test_learnability_is_the_mean_over_all_epochs(noise: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = noise
    made: list[nn.Module] = []
    recorded: list[np.ndarray] = []

    def factory(num_classes: int, in_channels: int) -> nn.Module:
        made.append(SmallNet(num_classes, in_channels))
        for module in made[-1].modules():
            if isinstance(module, nn.BatchNorm2d):
                # four steps are enough for the running statistics
                module.momentum = 0.9
        return made[-1]

    def record(report: EpochReport) -> None:
        (network,) = made
        assert network.training
        network.eval()
        with torch.no_grad():
            recorded.append(network(normalised(images)).numpy())
        network.train()

    result = run(images, labels, replace(SHORT, epochs=4), factory=factory, on_epoch=record)
    assert [report.epoch for report in result.reports] == [1, 2, 3, 4]
    probabilities = np.stack([true_probabilities(logits, labels) for logits in recorded])
    predictions = np.stack([logits.argmax(axis=1) for logits in recorded])
    assert np.ptp(probabilities, axis=0).max() > 0.01  # the epochs differ
    scores = result.tracker.scores()
    np.testing.assert_allclose(scores["learnability"], learnability(probabilities), atol=1e-5)
    np.testing.assert_allclose(scores["hits"], hits(predictions, labels), atol=1e-12)
    accuracies = [report.measured_accuracy for report in result.reports]
    np.testing.assert_allclose(accuracies, (predictions == labels).mean(axis=1), atol=1e-12)
    assert (result.tracker.epoch_counts == 4).all()


@pytest.mark.parametrize("batch_size", [8, 50])
def test_the_error_of_a_diverged_training_says_what_to_try(
    noise: tuple[np.ndarray, np.ndarray], batch_size: int
) -> None:
    # with one step an epoch the loss is finite, and the outputs after it are not
    options = TrainingOptions(epochs=3, batch_size=batch_size, lr=1e30)
    with pytest.raises(TrainingDivergedError, match=r"^net: .*not finite in epoch 1 of 3: .*try a lower one, such as"):
        run(*noise, options)


class BecomesNaN(SmallNet):
    """Returns NaN in training or in eval mode, but not in its first call, the check of the network."""

    def __init__(self, num_classes: int, in_channels: int, in_training: bool, where: slice) -> None:
        super().__init__(num_classes, in_channels)
        self.calls, self.in_training, self.where = 0, in_training, where

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        self.calls += 1
        if self.calls > 1 and self.training == self.in_training:
            mask = torch.zeros(len(x), 1)
            mask[self.where] = torch.nan
            logits = logits + mask
        return logits


@pytest.mark.parametrize(
    ("in_training", "where", "message"),
    [
        (True, slice(None), "the training loss is not finite in epoch 1 of 2"),
        (True, slice(1), "the training loss is not finite in epoch 1 of 2"),
        (False, slice(None), "the network's outputs are not finite in epoch 1 of 2"),
        (False, slice(1), "the network's outputs are not finite in epoch 1 of 2"),
    ],
)
def test_a_network_that_returns_nan_has_diverged(
    noise: tuple[np.ndarray, np.ndarray], in_training: bool, where: slice, message: str
) -> None:
    with pytest.raises(TrainingDivergedError, match=message) as caught:
        run(
            *noise,
            factory=lambda num_classes, in_channels: BecomesNaN(num_classes, in_channels, in_training, where),
        )
    assert "lr=0.1; try a lower one, such as lr=0.025" in str(caught.value)
    assert isinstance(caught.value, RuntimeError)


def test_a_state_does_not_change_while_the_training_continues(noise: tuple[np.ndarray, np.ndarray]) -> None:
    states: list[tuple[dict[str, Any], bytes]] = []

    def keep(epoch: int, state: Callable[[], dict[str, Any]]) -> None:
        buffer = io.BytesIO()
        torch.save(state(), buffer)
        states.append((state(), buffer.getvalue()))

    options = replace(SHORT, epochs=4, record_dynamics=True)
    run(*noise, options, on_state=keep)
    for state, saved in states:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        assert buffer.getvalue() == saved
        # resuming from it does not change it either
        run(*noise, options, state=state)
        buffer = io.BytesIO()
        torch.save(state, buffer)
        assert buffer.getvalue() == saved


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((4, 8, 8, 3))}, r"in uint8, not \(4, 8, 8, 3\) in float64"),
        ({"images": np.zeros((4, 8, 8), np.uint8)}, r"images must be at least two, .*not \(4, 8, 8\)"),
        ({"images": np.zeros((4, 3, 8, 8), np.uint8)}, r"not \(4, 3, 8, 8\)"),
        ({"images": np.zeros((4, 8, 8, 4), np.uint8)}, r"not \(4, 8, 8, 4\)"),
        ({"images": np.zeros((1, 8, 8, 3), np.uint8), "labels": np.zeros(1, int)}, "images must be at least two"),
        ({"labels": np.zeros(3, int)}, r"labels must have the shape \(4,\), not \(3,\)"),
        ({"labels": np.zeros((4, 1), int)}, r"labels must have the shape \(4,\), not \(4, 1\)"),
        ({"labels": np.array([0, 1, 2, 3])}, r"labels must lie in 0\.\.2, not 0\.\.3"),
        ({"labels": np.array([0, 1, 2, -1])}, r"labels must lie in 0\.\.2, not -1\.\.2"),
        ({"seed": -1}, "seed must not be negative, not -1"),
    ],
)
def test_arguments_that_do_not_fit_are_an_error(change: dict[str, object], message: str) -> None:
    arguments = {"images": np.zeros((4, 8, 8, 3), np.uint8), "labels": np.zeros(4, int), **change}
    with pytest.raises(ValueError, match=message):
        run(**arguments)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_networks_of_the_paper_train(name: str, channels: int, rng: np.random.Generator) -> None:
    images, labels = random_images(rng, 16, 16, channels), np.arange(16) % 4
    result = run(images, labels, TrainingOptions(epochs=1, batch_size=8), factory=NETWORKS[name], num_classes=4)
    scores = result.tracker.scores()
    assert ((scores["learnability"] >= 0) & (scores["learnability"] <= 1)).all()
    assert np.ptp(scores["learnability"]) > 0
    assert predict_logits(result, images[:3]).shape == (3, 4)
    assert result.mean.shape == result.std.shape == (channels,)


def test_a_network_overfits_a_few_digits(digits: tuple[list[str], list[str]]) -> None:
    images, labels = read_digits(digits, 60, 16)
    options = TrainingOptions(epochs=20, batch_size=16, crop_padding=0, horizontal_flip=False)
    result = run(images, labels, options, num_classes=10)
    assert result.reports[-1].measured_accuracy > 0.95
    assert result.reports[-1].train_loss < 0.3 < 1 < result.reports[0].train_loss
    # learnability averages over the whole way there
    assert result.tracker.scores()["hits"].mean() < result.reports[-1].measured_accuracy


def test_planted_label_noise_has_low_learnability(digits: tuple[list[str], list[str]]) -> None:
    images, labels = read_digits(digits, 800, 16)
    rng = np.random.default_rng(51)
    wrong = np.zeros(800, dtype=bool)
    wrong[rng.choice(800, 80, replace=False)] = True
    given_labels = np.where(wrong, (labels + rng.integers(1, 10, 800)) % 10, labels)
    options = TrainingOptions(epochs=8, batch_size=64, crop_padding=1, horizontal_flip=False)
    scores = run(images, given_labels, options, num_classes=10).tracker.scores()
    assert roc_auc_score(wrong, -scores["learnability"]) > 0.95
    # control: with the right labels, the same samples are not harder than others
    clean = run(images, labels, options, num_classes=10).tracker.scores()
    assert 0.35 < roc_auc_score(wrong, -clean["learnability"]) < 0.65


def test_no_warning_is_given(noise: tuple[np.ndarray, np.ndarray]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(*noise)


class Watched(SmallNet):
    """Records its logits in training mode."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes, in_channels)
        self.kept: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        if self.training:
            self.kept.append(logits.detach().clone())
        return logits


@pytest.mark.parametrize("every", [1, 2])
def test_online_scores_are_those_of_the_training_pass(noise: tuple[np.ndarray, np.ndarray], every: int) -> None:
    images, labels = noise
    options = replace(SHORT, epochs=3, measure="online", measure_every=every)
    result = run(images, labels, options, factory=Watched)
    assert isinstance(result.network, Watched)
    logits = torch.cat(result.network.kept).reshape(3, 50, 3).numpy()
    expected = np.empty((3, 50))
    for epoch in range(3):
        order = EpochDraws.draw(50, 2, True, 0, epoch + 1, CPU.device).order.numpy()
        expected[epoch, order] = true_probabilities(logits[epoch], labels[order])
    np.testing.assert_allclose(result.scores()["learnability"], expected[::every].mean(axis=0), rtol=1e-5)
    reports = [report for report in result.reports if report.measured_accuracy is not None]
    assert [report.epoch for report in reports] == list(range(1, 4, every))
    # the training pass is what is measured, so both accuracies agree
    for report in reports:
        assert report.measured_accuracy == pytest.approx(report.train_accuracy)


@pytest.mark.parametrize(("epochs", "every"), [(5, 1), (5, 2), (5, 3), (5, 5), (6, 4)])
@pytest.mark.parametrize("measure", ["exact", "online"])
def test_the_measurement_does_not_change_the_training(
    noise: tuple[np.ndarray, np.ndarray], measure: str, epochs: int, every: int
) -> None:
    options = replace(SHORT, epochs=epochs)
    expected = run(*noise, options)
    result = run(*noise, replace(options, measure=measure, measure_every=every))
    weights, others = (network.network.state_dict() for network in (expected, result))
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    assert [report.train_loss for report in result.reports] == [report.train_loss for report in expected.reports]


@pytest.mark.parametrize(("epochs", "every"), [(5, 2), (5, 3), (5, 5), (6, 4), (6, 1)])
def test_every_kth_epoch_is_measured_and_the_last(
    noise: tuple[np.ndarray, np.ndarray], epochs: int, every: int
) -> None:
    def training(every: int) -> TrainingResult:
        return run(*noise, replace(SHORT, epochs=epochs, measure_every=every, record_dynamics=True, el2n_epoch=2))

    every_epoch, result = training(1), training(every)
    measured = sorted(range(epochs, 0, -every))
    assert list(replace(SHORT, epochs=epochs, measure_every=every).measured_epochs) == measured
    assert [report.epoch for report in result.reports if report.measured_accuracy is not None] == measured
    dynamics = every_epoch.dynamics
    assert dynamics is not None
    assert result.dynamics is not None
    rows = [epoch - 1 for epoch in measured]
    np.testing.assert_array_equal(result.dynamics, dynamics[rows])
    scores = result.scores()
    np.testing.assert_allclose(scores["learnability"], dynamics[rows].mean(axis=0, dtype=np.float64), atol=1e-3)
    # the learned epoch counts all epochs, not only the measured ones
    expected = result.tracker.scores()["learned_epoch"]
    wanted = [measured[int(one) - 1] if one <= len(measured) else epochs + 1 for one in expected]
    assert scores["learned_epoch"].tolist() == wanted
    assert len(set(wanted)) > 1
    # EL2N is taken after the first measured epoch from the second on
    early = run(*noise, replace(SHORT, epochs=epochs))
    assert early.reports[-1].epoch == epochs
    until = next(epoch for epoch in measured if epoch >= 2)
    el2n = run(*noise, replace(SHORT, epochs=epochs, el2n_epoch=until)).scores()["el2n"]
    np.testing.assert_array_equal(scores["el2n"], el2n)


def test_a_training_stops_when_its_ranking_is_stable(noise: tuple[np.ndarray, np.ndarray]) -> None:
    options = replace(SHORT, epochs=10)
    states: list[dict[str, Any]] = []
    incidents: list[str] = []

    def training(stop: float | None, state: Any = None) -> TrainingResult:
        return run(
            *noise,
            replace(options, stop_when_stable=stop, record_dynamics=True),
            state=state,
            on_state=lambda epoch, state: states.append(state()),
            on_incident=incidents.append,
        )

    whole = training(None)
    assert whole.stopped is None
    assert whole.dynamics is not None
    sums = [state["tracker"]["probability_sum"].numpy() for state in states]
    changes = [spearmanr(sums[epoch], sums[epoch - 1]).statistic for epoch in range(1, 9)]
    bound = float(np.median(changes))
    epochs = next(epoch for epoch, change in enumerate(changes, start=2) if change >= bound - 1e-9)
    states.clear()
    result = training(bound - 1e-9)
    assert len(result.reports) == epochs < 10
    assert result.stopped is not None
    assert result.stopped.startswith(f"stopped after {epochs} of 10 epochs because the ranking is stable: its Spearman")
    assert incidents == [f"net: {result.stopped}"]
    np.testing.assert_array_equal(result.dynamics, whole.dynamics[:epochs])
    np.testing.assert_array_equal(result.scores()["learnability"], sums[epochs - 1] / epochs)
    # resumed from any of its states, the last one included, it has the same result
    assert len(states) == epochs
    for state in states.copy():
        again = training(bound - 1e-9, state)
        assert (bits(again), again.stopped) == (bits(result), result.stopped)


def test_a_later_run_stops_where_the_first_did(noise: tuple[np.ndarray, np.ndarray]) -> None:
    options = replace(SHORT, epochs=10, stop_when_stable=1e-6, record_dynamics=True)
    result = run(*noise, options, stop_after=7)
    assert len(result.reports) == 7
    assert result.stopped is not None
    assert result.stopped.startswith("stopped after 7 of 10 epochs as the first run did: its Spearman correlation with")
    whole = run(*noise, replace(options, stop_when_stable=None))
    assert whole.dynamics is not None
    # the learning rate falls as in the whole training
    np.testing.assert_array_equal(result.dynamics, whole.dynamics[:7])
    last = run(*noise, options, stop_after=10)
    assert (len(last.reports), last.stopped) == (10, None)


def test_a_training_does_not_stop_before_the_epoch_of_el2n(noise: tuple[np.ndarray, np.ndarray]) -> None:
    options = replace(SHORT, epochs=10, stop_when_stable=1e-6)
    assert len(run(*noise, options).reports) < 5
    late = run(*noise, replace(options, el2n_epoch=7))
    assert len(late.reports) >= 7
    assert not np.isnan(late.scores()["el2n"]).any()
