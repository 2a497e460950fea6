"""Measures in a real browser how long the panel takes from a click until it is drawn, beside FiftyOne's own panel.

    python -m benchmarks.browser --samples 50000

The dataset has no images, but made-up scores of three networks, and predictions that FiftyOne has evaluated. In each
round, a page of a new server opens the panel *Learnability*, clicks a cell of a plot and visits the tabs; a page of
another new server opens an evaluation in the panel *Model Evaluation*. The clock is the page's own: it starts at the
press of the mouse and ends with the frame in which the plots, or the number of samples in the grid, have changed.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
from collections.abc import Callable
from itertools import product
from typing import TYPE_CHECKING

from .panel import prepare
from .synthetic import own_database

if TYPE_CHECKING:
    import fiftyone as fo

    from tests.plugin.browser import App

SAMPLES = 50_000
OURS, THEIRS = "Learnability", "Model Evaluation"
EVALUATION_PANEL = "model_evaluation_panel_builtin"
TABS = ("Data map", "Labels", "Examples", "Classes", "Curves", "Compare")

_START = """
([panel, what]) => {
    const find = () => document.querySelector(`[data-cy="panel-content-${panel}"]`);
    const shown = (part) => part.offsetParent !== null;
    const count = () => document.querySelector("[data-cy=entry-counts]")?.textContent ?? "";
    const before = count();
    for (const part of document.querySelectorAll(".js-plotly-plot, img")) part.old = part.data ?? true;
    const isNew = (part) => shown(part) && (part.data ? part.data !== part.old : !part.old);
    const isDrawn = {
        plot: () => [...(find()?.querySelectorAll(".js-plotly-plot") ?? [])].some(
            (plot) => isNew(plot) && plot.querySelector(".hm image, .trace")
        ),
        image: () => [...(find()?.querySelectorAll("img") ?? [])].some(isNew),
        text: () => Boolean(find()?.innerText.trim()),
        grid: () => count() !== before && /\\d/.test(count()),
    }[what];
    window.measured = new Promise((resolve, reject) => {
        let start;
        setTimeout(() => reject(`the panel ${panel} has drawn no new ${what} in a minute`), 60_000);
        addEventListener("pointerdown", () => (start = performance.now()), {capture: true, once: true});
        const look = () =>
            start !== undefined && isDrawn() ? resolve(performance.now() - start) : requestAnimationFrame(look);
        look();
    });
}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=SAMPLES, metavar="N")
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    own_database()
    measured = measure(options.samples, options.repeat)
    print(f"\n{options.samples:,} samples, {options.repeat} rounds\n\n| click | median s | slowest s |\n|---|---|---|")
    for name, seconds in measured.items():
        print(f"| {name} | {statistics.median(seconds):.2f} | {max(seconds):.2f} |")
    ours, theirs = (statistics.median(measured[f"{panel}: open"]) for panel in (OURS, THEIRS))
    print(f"{OURS} opens in {ours / theirs:.2f} times the time of {THEIRS}")


def measure(count: int, repeat: int) -> dict[str, list[float]]:
    """Return the seconds of each click in each round, by panel and click."""
    import fiftyone as fo

    from scripts.server import serve
    from tests.plugin.browser import open_page, start_browser

    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        raise SystemExit("no Chromium is on the PATH: install the package chromium")
    dataset = fo.load_dataset(prepare(count))
    evaluate(dataset)
    measured: dict[str, list[float]] = {}
    try:
        for _, (panel, play) in product(range(repeat), ((OURS, play_ours), (THEIRS, play_theirs))):
            # a server remembers open panels and views
            with serve() as url, start_browser(executable) as browser, open_page(browser, url, "benchmark") as app:
                app.open(dataset.name)
                for click, seconds in play(app).items():
                    measured.setdefault(f"{panel}: {click}", []).append(seconds)
    finally:
        fo.delete_dataset(dataset.name)
    return measured


def evaluate(dataset: fo.Dataset) -> None:
    """Add predictions of which 7 in 10 agree with the labels, and evaluate them."""
    import fiftyone as fo
    import numpy as np

    given = np.array(dataset.values("ground_truth.label"))
    rng = np.random.default_rng(2)
    predicted = np.where(rng.random(len(given)) < 0.7, given, rng.permutation(given))
    dataset.set_values("prediction", [fo.Classification(label=str(label)) for label in predicted])
    dataset.evaluate_classifications("prediction", gt_field="ground_truth", eval_key="evaluation")


def play_ours(app: App) -> dict[str, float]:
    """Return the seconds of each click in the panel *Learnability*."""
    from tests.plugin.browser import PANEL

    seconds = {"open": _open(app, PANEL, "plot")}
    # the cells with samples
    cells = app.traces(1)[1]
    x, y = (cells[axis][len(cells[axis]) // 2] for axis in "xy")
    seconds["click on a cell"] = _time(app, PANEL, "grid", lambda: app.click(1, x, y))
    app.press(app.button("Reset"))
    for tab in TABS:
        drawn = "image" if tab == "Examples" else "plot"
        seconds[f"tab {tab}"] = _time(app, PANEL, drawn, lambda tab=tab: app.press(app.tab(tab)))  # type: ignore[misc]
    return seconds


def play_theirs(app: App) -> dict[str, float]:
    """Return the seconds from the menu to an evaluation in the panel *Model Evaluation*: two clicks."""
    panel = app.page.locator(f"[data-cy=panel-content-{EVALUATION_PANEL}]")
    listed = _open(app, EVALUATION_PANEL, "text")
    run = panel.get_by_text("evaluation", exact=True).last
    return {"open": listed + _time(app, EVALUATION_PANEL, "plot", lambda: app.press(run))}


def _open(app: App, panel: str, drawn: str) -> float:
    """Return the seconds from the choice of a panel in the menu until it has drawn something."""
    app.press(app.page.locator("[data-cy=new-panel-btn]").first)
    option = app.page.locator(f"[data-cy=new-panel-option-{panel}]")
    return _time(app, panel, drawn, lambda: app.press(option))


def _time(app: App, panel: str, drawn: str, click: Callable[[], None]) -> float:
    """Return the seconds from a click until a panel has drawn something new."""
    app.settle()
    app.page.evaluate(_START, [panel, drawn])
    click()
    milliseconds: float = app.page.evaluate("window.measured")
    return milliseconds / 1e3


if __name__ == "__main__":
    main()
