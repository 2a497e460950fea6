"""Measures how fast this machine trains, in a process of its own, for the estimate in the form."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fiftyone.operators as foo

from fiftyone_learnability.experiment.rate import known_rates

from ..jobs.processes import start_process
from ..names import NETWORKS
from .params import read_choices
from .settings import read_setting

MEASURING_SECONDS = 120.0
"""How long a measurement may take."""

_measuring: dict[tuple[str, ...], Any] = {}
"""The processes that measure, by what they measure."""


class MeasureSpeed(foo.Operator):
    """Waits until the speed of this machine is known. The form shows its estimate then."""

    config = foo.OperatorConfig(
        name="measure_learnability_speed", label="Measure the speed of this machine", unlisted=True, view_target=False
    )

    def execute(self, ctx: foo.ExecutionContext) -> dict[str, Any]:
        """Measure, unless another page does already.

        Returns:
            what was measured, and whether the speed is known now

        Raises:
            ValueError: if a param is invalid
        """
        models = read_choices(ctx.params, "models", NETWORKS, [])
        image_size = read_setting(ctx.params, "image_size") or 32
        device = read_setting(ctx.params, "device") or "auto"
        process = measure_rates(models, image_size, device)
        deadline = time.monotonic() + MEASURING_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            if len(known_rates(models, image_size, device)) == len(models):
                break
            time.sleep(0.2)
        known = len(known_rates(models, image_size, device)) == len(models)
        return {"models": models, "image_size": image_size, "device": device, "known": known}


def measure_rates(models: Sequence[str], image_size: int, device: str) -> Any:
    """Measure in another process how fast this machine trains, unless that is already under way.

    Args:
        models: the networks
        image_size: height and width of the images in pixels
        device: the device

    Returns:
        the process
    """
    measurement = (*models, str(image_size), device)
    running = _measuring.get(measurement)
    if running is not None and running.poll() is None:
        return running
    root = Path(__file__).resolve().parents[2]
    code = (
        "import sys; sys.path.append(sys.argv.pop(1)); from fiftyone_learnability.experiment.rate import main; main()"
    )
    options = ["--image-size", str(image_size), "--device", device]
    _measuring[measurement] = start_process([sys.executable, "-c", code, str(root), *models, *options])
    return _measuring[measurement]
