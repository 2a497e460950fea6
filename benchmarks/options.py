"""The gain of each way to train and to measure faster, including those that did not pay.

    python -m benchmarks.options --models resnet20 mobilenet vgg16
    python -m benchmarks.options --environment

Times a training step of 128 random images, and a measured batch, in several ways that take turns: medians over the
rounds, in images per second. ``--environment`` compares settings that need a new process: how memory is allocated, and
how threads wait for each other. ``docs/performance.md`` reports the results.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fiftyone_learnability.training.architectures import BasicBlock
from fiftyone_learnability.training.augmentation import EpochDraws, crop_and_flip
from fiftyone_learnability.training.measuring import fold_batch_norms
from fiftyone_learnability.training.networks import NETWORKS
from fiftyone_learnability.training.pixels import ResidentImages

from .training import peak_flops

BATCH = 128

ENVIRONMENTS: dict[str, dict[str, str]] = {
    "defaults": {},
    "waiting threads sleep": {"OMP_WAIT_POLICY": "PASSIVE"},
    "freed memory is kept": {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**32)},
    "huge pages": {"THP_MEM_ALLOC_ENABLE": "1"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-compile", action="store_true", help="leave out compiled networks, which take a minute")
    parser.add_argument("--environment", action="store_true", help="compare settings of the process instead")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        train, measure = training_ways(options.models[0], False), measuring_ways(options.models[0])
        rates = [race({name: (ways[name], BATCH)}, 5)[name] for ways, name in ((train, PLAIN), (measure, FOLDED))]
        print(*rates)
    elif options.environment:
        compare_environments(options.models, options.rounds)
    else:
        peaks = [peak_flops(torch.device("cpu"), dtype) for dtype in (torch.float32, torch.bfloat16)]
        print(f"matrix product: {peaks[0] / 1e9:,.0f} GFLOP/s in float32, {peaks[1] / peaks[0]:.1f} times that in bf16")
        for model in options.models:
            compare(model, options.rounds, not options.no_compile)


PLAIN, FOLDED = "channels last", f"folded, {BATCH} at once"


def compare(model: str, rounds: int, compiles: bool) -> None:
    """Print the speed of each way to train and to measure a network."""
    for title, ways, base in (
        ("training", training_ways(model, compiles), "contiguous"),
        ("measuring", measuring_ways(model), f"contiguous, {BATCH} at once"),
    ):
        sizes = {
            name: (way, int(name.split()[-3]) if name.endswith("at once") else BATCH) for name, way in ways.items()
        }
        rates = race(sizes, rounds)
        print(f"\n| {model}, {title} | images/s | times as fast |\n|---|---|---|")
        for name, rate in rates.items():
            print(f"| {name} | {rate:,.0f} | {rate / rates[base]:.2f} |", flush=True)
    if model == "resnet20":
        rates = race({name: (way, BATCH) for name, way in assembling_ways().items()}, 10 * rounds)
        print("\n| a batch of crops | images/s |\n|---|---|")
        for name, rate in rates.items():
            print(f"| {name} | {rate:,.0f} |", flush=True)


def race(ways: dict[str, tuple[Callable[[], Any], int]], rounds: int) -> dict[str, float]:
    """Images per second of each way: the median over rounds in which the ways take turns, after two to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 2):
        for name, (way, _) in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    return {name: size / statistics.median(seconds[name][2:]) for name, (_, size) in ways.items()}


def training_ways(model: str, compiles: bool) -> dict[str, Callable[[], Any]]:
    """Each way to do a training step."""

    def way(
        layout: torch.memory_format = torch.channels_last, bf16: bool = False, compiled: bool = False, **sgd: bool
    ) -> Callable[[], None]:
        network = NETWORKS[model](10, 3).to(memory_format=layout)
        images = torch.randn(BATCH, 3, 32, 32).to(memory_format=layout)
        labels = torch.randint(0, 10, (BATCH,))
        optimizer = torch.optim.SGD(
            network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, nesterov=True, **sgd
        )
        forward = torch.compile(network) if compiled else network

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                loss = F.cross_entropy(forward(images), labels)
            loss.backward()
            optimizer.step()

        return step

    ways = {
        "contiguous": way(torch.contiguous_format),
        PLAIN: way(),
        "channels last, fused SGD": way(fused=True),
        "channels last, foreach SGD": way(foreach=True),
        "channels last, bf16": way(bf16=True),
    }
    if model == "resnet20":
        ways["channels last, sum and ReLU out of place"] = not_in_place(way())
    if compiles:
        ways["channels last, compiled"] = way(compiled=True)
        ways["channels last, bf16, compiled"] = way(bf16=True, compiled=True)
    return ways


def not_in_place(step: Callable[[], None]) -> Callable[[], None]:
    """The same step of ResNet-20 with blocks that do not add and rectify in place."""

    def forward(block: BasicBlock, x: Tensor) -> Tensor:
        return F.relu(block.residual(x) + block.shortcut(x))

    def patched() -> None:
        with patch.object(BasicBlock, "forward", forward):
            step()

    return patched


def measuring_ways(model: str) -> dict[str, Callable[[], Any]]:
    """Each way to measure a batch."""

    def way(network: nn.Module, count: int, layout: torch.memory_format, bf16: bool = False) -> Callable[[], None]:
        images = torch.randn(count, 3, 32, 32).to(memory_format=layout)

        def measure() -> None:
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                network(images)

        return measure

    contiguous = NETWORKS[model](10, 3).eval()
    plain = NETWORKS[model](10, 3).eval().to(memory_format=torch.channels_last)
    folded = fold_batch_norms(plain)
    last = torch.channels_last
    example = torch.randn(BATCH, 3, 32, 32).to(memory_format=last)
    with torch.no_grad():
        prepared = torch.jit.optimize_for_inference(torch.jit.trace(folded, example))
    return {
        f"contiguous, {BATCH} at once": way(contiguous, BATCH, torch.contiguous_format),
        f"channels last, {BATCH} at once": way(plain, BATCH, last),
        FOLDED: way(folded, BATCH, last),
        "folded, 256 at once": way(folded, 256, last),
        "folded, 512 at once": way(folded, 512, last),
        f"folded, weights reordered beforehand (torch.jit), {BATCH} at once": way(prepared, BATCH, last),
        f"folded, bf16, {BATCH} at once": way(folded, BATCH, last, bf16=True),
    }


def assembling_ways() -> dict[str, Callable[[], Any]]:
    """Each way to cut a batch of random crops out of the resident images."""
    count, padding = 5000, 4
    rng = np.random.default_rng(51)
    pixels = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    images = ResidentImages(pixels, np.full(3, 0.5, np.float32), np.full(3, 0.25, np.float32), torch.device("cpu"))
    draws = EpochDraws.draw(count, padding, True, 0, 1, torch.device("cpu"))
    part = draws.order[:BATCH]
    rows, columns, flips = draws.rows[part], draws.columns[part], draws.flips[part]
    wide = 32 + 2 * padding
    padded = F.pad(torch.from_numpy(pixels), (0, 0, padding, padding, padding, padding)).view(count * wide, wide * 3)
    inside = F.pad(torch.ones(32, 32), (padding,) * 4).bool()
    steps = torch.arange(32)

    def normalised_then_cut() -> Tensor:
        return crop_and_flip(images.batch(part), rows, columns, flips, padding)

    def cut_then_normalised() -> Tensor:
        down = rows[:, None] + steps
        lines = padded.index_select(0, (part[:, None] * wide + down).view(-1)).view(BATCH, 32, wide, 3)
        across = torch.where(flips[:, None], 31 - steps, steps) + columns[:, None]
        cut = lines.gather(2, across[:, None, :, None].expand(-1, 32, -1, 3)).float()
        floats = cut.permute(0, 3, 1, 2).mul_(images.scale).sub_(images.shift)
        # the padding is zero after normalisation
        return floats.mul_(inside[down[:, :, None], across[:, None, :]][:, None])

    assert torch.equal(normalised_then_cut(), cut_then_normalised())
    return {
        "normalised, padded, cut (ours)": normalised_then_cut,
        "cut out of padded uint8, normalised": cut_then_normalised,
    }


def compare_environments(models: list[str], rounds: int) -> None:
    """Print the speed under each setting of the process, in float32."""
    for model in models:
        measured: dict[str, list[list[float]]] = {name: [] for name in ENVIRONMENTS}
        for _ in range(rounds):
            for name, settings in ENVIRONMENTS.items():
                command = [sys.executable, "-m", "benchmarks.options", "--one", "--models", model]
                printed = subprocess.run(
                    command, env={**os.environ, **settings}, check=True, capture_output=True, text=True
                ).stdout
                measured[name].append([float(rate) for rate in printed.split()])
        print(f"\n| {model} | training, images/s | measuring, images/s |\n|---|---|---|")
        for name, rates in measured.items():
            train, measure = (statistics.median(column) for column in zip(*rates, strict=True))
            print(f"| {name} | {train:,.0f} | {measure:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
