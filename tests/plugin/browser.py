"""Drives the FiftyOne App in a real browser: opens pages and knows where things are."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Error, Locator, Page, Request, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = Path(os.environ.get("ARTIFACTS") or ROOT / ".artifacts") / "screenshots"
PLUGIN = "@fiftyone-learnability/learnability"
PANEL = "learnability_panel"
WAIT_MS = 120_000
"""Upper limit of every wait: a machine that does other things at the same time is slow."""

expect.set_options(timeout=WAIT_MS)

_ARGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # the CPU draws the plots
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
)


@contextmanager
def start_browser(executable: str) -> Iterator[Browser]:
    """Start a Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, headless=True, args=list(_ARGS), ignore_default_args=["--headless=old"]
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_page(browser: Browser, url: str, journey: str) -> Iterator[App]:
    """Open a page that reaches nothing but the App, in a profile of its own.

    Args:
        browser: the browser
        url: the App's address
        journey: the start of the screenshots' file names
    """
    context = browser.new_context(viewport={"width": 1600, "height": 1000})
    context.set_default_timeout(WAIT_MS)
    allowed = (url, "data:", "blob:")
    context.route("**/*", lambda r: r.continue_() if r.request.url.startswith(allowed) else r.abort())
    app = App(context.new_page(), url, journey)

    def keep(error: Error) -> None:
        if str(error) not in _ERRORS_OF_THE_APP:
            app.errors.append(str(error))

    app.page.on("pageerror", keep)
    # errors and notifications can be gone after a moment
    app.page.expose_function("reportError", lambda text: app.errors.append(text))
    app.page.expose_function("reportNotice", lambda text: app.notices.append(text))
    app.page.add_init_script(_WATCH_FOR_ERRORS)
    app.page.add_init_script(_WATCH_FOR_NOTICES)
    # an advertisement covers the App when it is opened for the first time
    advertisement = app.page.locator(".MuiPopover-root").filter(has_text="Explore Enterprise")
    app.page.add_locator_handler(
        advertisement, lambda shown: shown.get_by_role("button", name="Dismiss").click(), no_wait_after=True
    )
    try:
        yield app
    finally:
        context.close()


def _name_of(request: Request) -> str | None:
    """The operation of GraphQL, or the event of the panel, that a request asks for; None for others."""
    is_query = request.url.endswith("/graphql")
    if not is_query and "/operators/execute" not in request.url:
        return None
    asked: Any = request.post_data_json
    if is_query:
        match = re.search(r"(?:query|mutation) (\w+)", str(asked["query"]))
        return match and match.group(1)
    return str(asked["params"]["__method__"]) if asked["operator_uri"].endswith(PANEL) else None


_ERRORS_OF_THE_APP = ("entry is loading",)
"""FiftyOne's grid raises this error when the view changes while it still loads."""

_WATCH_FOR_ERRORS = """
new MutationObserver((changes) => {
    for (const change of changes)
        for (const node of [change.target, ...change.addedNodes]) {
            const text = node.nodeType === Node.TEXT_NODE || node.childElementCount < 50 ? node.textContent || "" : "";
            if (/Uncaught Operator Error|Failed to (execute|resolve)|Unsupported|Something went wrong/.test(text))
                window.reportError(text.slice(0, 1000));
        }
}).observe(document, {childList: true, subtree: true, characterData: true});
"""

_WATCH_FOR_NOTICES = """
new MutationObserver((changes) => {
    for (const change of changes)
        for (const node of change.addedNodes)
            if (node.nodeType === Node.ELEMENT_NODE)
                for (const part of [node, ...node.querySelectorAll(".notistack-Snackbar")])
                    if (part.matches(".notistack-Snackbar")) window.reportNotice(part.textContent.slice(0, 1000));
}).observe(document, {childList: true, subtree: true});
"""


@dataclass
class App:
    """A page of the App, with the panel beside the grid.

    Attributes:
        page: the page
        url: the App's address
        journey: the start of the screenshots' file names
        errors: the errors that the page has shown or raised
        notices: the notifications that the page has shown
        requests: what the page has asked of the server: operations of GraphQL, and events of the panel
        sent: what the page has sent with the last event of the panel
    """

    page: Page
    url: str
    journey: str
    errors: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    sent: dict[str, Any] = field(default_factory=dict)
    _shots: int = 0
    _pending: set[Request] = field(default_factory=set)
    _last_request: float = 0.0

    def __post_init__(self) -> None:
        self.page.on("request", self._on_request)
        for event in ("requestfinished", "requestfailed"):
            self.page.on(event, self._on_answer)

    def _on_request(self, request: Request) -> None:
        # the stream of the server's events never ends
        if not request.url.endswith("/events"):
            self._pending.add(request)
            self._last_request = time.monotonic()
        if request.method == "POST" and (name := _name_of(request)):
            self.requests.append(name)
            if name.startswith("on_"):
                self.sent = request.post_data_json or {}

    def _on_answer(self, request: Request) -> None:
        self._pending.discard(request)
        self._last_request = time.monotonic()

    # pages and panels

    def open(self, dataset_name: str) -> None:
        """Open a dataset."""
        self._pending.clear()
        self.page.goto(f"{self.url}/datasets/{dataset_name}")
        self._wait_for_grid()

    def reload(self) -> None:
        """Reload the page."""
        self._pending.clear()
        self.page.reload()
        self._wait_for_grid()

    def _wait_for_grid(self) -> None:
        expect(self.page.locator("[data-cy=fo-grid]")).to_be_visible()
        expect(self.page.locator("[data-cy=entry-counts]")).to_contain_text("sample")

    def open_panel(self) -> None:
        """Open the panel from the menu of panels, unless the session has it open."""
        if self.page.locator(f"[data-cy=panel-tab-{PANEL}]").count() == 0:
            self.press(self.page.locator("[data-cy=new-panel-btn]").first)
            self.press(self.page.locator(f"[data-cy=new-panel-option-{PANEL}]"))
        expect(self.panel).to_be_visible()

    def close_panel(self) -> None:
        """Close the panel, if it is open: the session remembers open panels across page loads."""
        self.settle()
        if self.page.locator(f"[data-cy=panel-tab-{PANEL}]").count():
            self.press(self.page.locator(f"[data-cy=panel-tab-{PANEL}] button").last)
        expect(self.panel).to_have_count(0)

    def press(self, control: Locator) -> None:
        """Click a control once the page is at rest: a pending answer may redraw it.

        Name the control in full: for a moment, an opened tab still shows the controls of the one before.
        """
        expect(control).to_be_visible()
        self.settle(0.3)
        control.click()

    def settle(self, seconds: float = 1) -> None:
        """Wait until the page has made no request for a while.

        Args:
            seconds: how long; forms make their request a moment after typing, and the default is longer than that
        """
        self.until(
            lambda: not self._pending and time.monotonic() - self._last_request > seconds, "the page to be at rest"
        )

    def until(
        self,
        is_true: Callable[[], bool],
        description: str,
        actual: Callable[[], Any] | None = None,
        seconds: float = 120,
    ) -> None:
        """Wait for a condition that the page's own waiting cannot express.

        Args:
            is_true: the condition
            description: its name in the error message
            actual: what there is instead, for the error message
            seconds: how long to wait
        """
        deadline = time.monotonic() + seconds
        while not is_true():
            if time.monotonic() > deadline:
                there = "" if actual is None else f"there is {actual()}; "
                raise AssertionError(f"waited {seconds:.0f} s for {description}; {there}{self._describe()}")
            self.page.wait_for_timeout(100)

    def _describe(self) -> str:
        """Return the page's content, its notifications, and its pending requests."""
        # all_inner_texts() does not wait for parts that are not there
        panel, form = (" ".join(" ".join(part.all_inner_texts()).split())[:2000] for part in (self.panel, self.form))
        pending = [(request.url, (request.post_data or "")[:300]) for request in self._pending]
        return f"panel: {panel!r}; form: {form!r}; notifications: {self.notices}; pending requests: {pending}"

    def screenshot(self, name: str) -> None:
        """Save a picture of the page."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self._shots += 1
        self.page.screenshot(path=SCREENSHOTS / f"{self.journey}-{self._shots:02}-{name}.png")

    # the panel

    @property
    def panel(self) -> Locator:
        """The panel's content."""
        return self.page.locator(f"[data-cy=panel-content-{PANEL}]")

    def button(self, name: str) -> Locator:
        """A button of the panel."""
        return self.panel.get_by_role("button", name=name, exact=True)

    def tab(self, name: str) -> Locator:
        """A tab of the panel."""
        return self.panel.get_by_role("tab", name=name, exact=True)

    @property
    def chosen(self) -> list[str]:
        """What the panel's badges show, in their order."""
        return [text.strip("\n\u200b ") for text in self.panel.get_by_role("combobox").all_inner_texts()]

    def choose_in_panel(self, index: int, option: str) -> None:
        """Choose an option of one of the panel's badges."""
        self.press(self.panel.get_by_role("combobox").nth(index))
        self.press(self.page.get_by_role("option", name=option, exact=True))

    def other_options(self, index: int) -> list[str]:
        """What else one of the panel's badges offers."""
        self.press(self.panel.get_by_role("combobox").nth(index))
        options = self.page.get_by_role("option")
        expect(options.first).to_be_visible()
        texts = options.all_inner_texts()
        self.page.keyboard.press("Escape")
        expect(options).to_have_count(0)
        return texts[1:]

    @property
    def epoch(self) -> int:
        """The epoch that the progress bar names."""
        match = re.search(r"epoch (\d+) of", self.panel.inner_text())
        return int(match.group(1)) if match else 0

    def watch_samples_of_panel(self) -> list[str]:
        """Return a list that collects, from now on, every line of the panel that says which samples it covers."""
        lines: list[str] = []
        self.page.expose_function("reportSamples", lambda text: lines.append(text))
        self.panel.evaluate(
            """(panel) => {
                const look = () => {
                    for (const line of panel.querySelectorAll("p"))
                        if (/samples with scores by/.test(line.textContent)) window.reportSamples(line.textContent);
                };
                look();
                new MutationObserver(look).observe(panel, {childList: true, subtree: true, characterData: true});
            }"""
        )
        return lines

    def set_panel_width(self, width: int) -> None:
        """Resize the page until the panel's content has a width in pixels."""

        def measure() -> float:
            box = self.panel.bounding_box()
            assert box is not None
            return box["width"]

        def differs(before: float) -> bool:
            return measure() != before

        page_width = 300 + 2 * width
        for _ in range(4):
            before = measure()
            if abs(before - width) <= 4:
                return
            self.page.set_viewport_size({"width": page_width, "height": 1000})
            # the App lays its spaces out anew a moment after the page
            self.until(partial(differs, before), "the panel to follow the page", measure, seconds=20)
            self.settle()
            page_width += round(2 * (width - measure()))
        raise AssertionError(f"the panel has {measure()} pixels, not {width}")

    def overflowing(self) -> list[str]:
        """The parts of the panel that are wider than their container or reach beyond the panel, and words cut off."""
        parts: list[str] = self.panel.evaluate(
            """(panel) => {
                const right = panel.getBoundingClientRect().right + 1;
                const excused = (part) => part.parentElement.closest(".js-plotly-plot");
                const parts = [panel, ...panel.querySelectorAll("*")]
                    .filter((part) => part instanceof HTMLElement && part.clientWidth > 1 && !excused(part))
                    .filter((part) => part.scrollWidth > part.clientWidth + 1
                        || part.getBoundingClientRect().right > right)
                    .map((part) => `${part.tagName} ${part.className} ${part.innerText.slice(0, 40)}: `
                        + `${part.scrollWidth} in ${part.clientWidth}`);
                const words = [...panel.querySelectorAll(".js-plotly-plot text")]
                    .filter((text) => {
                        const words = text.getBoundingClientRect();
                        const plot = text.closest(".js-plotly-plot").getBoundingClientRect();
                        return words.left < plot.left - 1 || words.right > plot.right + 1;
                    })
                    .map((text) => `"${text.textContent}" is cut off in a plot`);
                return [...parts, ...words];
            }"""
        )
        return parts

    def colliding(self) -> list[str]:
        """The words in the panel's plots that touch other words, and the names of regions that cover points."""
        parts: list[str] = self.panel.evaluate(
            """(panel) => [...panel.querySelectorAll(".js-plotly-plot")].flatMap((plot) => {
                const placed = (query) => [...plot.querySelectorAll(query)]
                    .map((part) => [part.textContent, part.getBoundingClientRect()])
                    .filter(([_, box]) => box.width > 0 && box.height > 0);
                const touch = (a, b) => a.left < b.right - 1 && b.left < a.right - 1
                    && a.top < b.bottom - 1 && b.top < a.bottom - 1;
                const words = placed("text").filter(([text]) => text.trim());
                const found = [];
                words.forEach(([text, box], index) => {
                    for (const [other, otherBox] of words.slice(index + 1))
                        if (touch(box, otherBox)) found.push(`"${text}" touches "${other}"`);
                });
                for (const [text, box] of placed(".annotation text"))
                    if (placed(".points path").some(([_, point]) => touch(box, point)))
                        found.push(`"${text}" covers points`);
                return found;
            })"""
        )
        return parts

    # plots

    def sides(self, index: int) -> tuple[float, float]:
        """Width and height of a plot without its margins, in pixels."""
        sides: tuple[float, float] = (
            self.plots().nth(index).evaluate("({_fullLayout: {xaxis, yaxis}}) => [xaxis._length, yaxis._length]")
        )
        return sides

    def unused_width(self) -> float:
        """The pixels at the right of the panel that its tabs and plots leave empty."""
        pixels: float = self.panel.evaluate(
            """(panel) => panel.getBoundingClientRect().right
                - Math.max(...[...panel.querySelectorAll("[role=tablist], .js-plotly-plot")]
                    .map((part) => part.getBoundingClientRect().right))"""
        )
        return pixels

    def plots(self) -> Locator:
        """The panel's plots."""
        return self.panel.locator(".js-plotly-plot")

    def traces(self, index: int) -> list[dict[str, Any]]:
        """Return the traces of a plot."""
        traces: list[dict[str, Any]] = (
            self.plots().nth(index).evaluate("plot => plot.data.map(({type, x, y, z}) => ({type, x, y, z}))")
        )
        return traces

    def axis_title(self, index: int) -> str:
        """The title of a plot's horizontal axis."""
        title: str = self.plots().nth(index).evaluate("plot => plot._fullLayout.xaxis.title.text")
        return title

    def click(self, index: int, x: Any, y: Any) -> None:
        """Click a plot at the data point (x, y)."""
        self._point_at(index, x, y)
        self.page.mouse.down()
        self.page.mouse.up()

    def drag(self, index: int, start: tuple[Any, Any], end: tuple[Any, Any]) -> None:
        """Drag a box over a plot from one data point to another."""
        self._point_at(index, *start)
        self.page.mouse.down()
        self.page.mouse.move(*self._place(index, *end), steps=8)
        self.page.mouse.up()

    def lasso(self, index: int, corners: list[tuple[Any, Any]]) -> None:
        """Draw a lasso over a plot around these data points."""
        self._point_at(index, *corners[0])
        self.page.mouse.down()
        for corner in [*corners[1:], corners[0]]:
            self.page.mouse.move(*self._place(index, *corner), steps=8)
        self.page.mouse.up()

    def _point_at(self, index: int, x: Any, y: Any) -> None:
        area = self.plots().nth(index).locator(".nsewdrag").first
        # to the middle, because the panel's tool bar covers what is at the top
        area.evaluate("area => area.scrollIntoView({block: 'center'})")
        self.settle()
        at = self._place(index, x, y)
        self.page.mouse.move(at[0] - 1, at[1])
        self.page.mouse.move(*at)
        # Plotly ignores a click without a hover before it
        self.page.wait_for_timeout(300)

    def _place(self, index: int, x: Any, y: Any) -> tuple[float, float]:
        """The place of a data point on the page, in pixels."""
        at: tuple[float, float] = (
            self.plots()
            .nth(index)
            .evaluate(
                """(plot, [x, y]) => {
                const area = plot.querySelector(".nsewdrag").getBoundingClientRect();
                const {xaxis, yaxis} = plot._fullLayout;
                return [area.left + xaxis.d2p(x), area.top + yaxis.d2p(y)];
            }""",
                [x, y],
            )
        )
        return at

    # forms

    @property
    def form(self) -> Locator:
        """The form of an operator."""
        return self.page.locator("[data-cy=operators-prompt-modal]")

    def press_grid_button(self) -> None:
        """Open the form from the grid's bar; the button is under "More items" if the grid is narrow."""
        button = self.page.locator(f'[data-item-id="{PLUGIN}/compute_learnability"]')
        more = self.page.locator("[data-cy=fo-grid-actions] [data-testid=ExpandMoreIcon]")
        if more.count():
            more.click()
            expect(button).to_have_count(2)
        button.last.click()
        # the App's menu of more items stays open while the mouse is over it
        self.page.mouse.move(5, 995)
        expect(self.form.get_by_role("button").last).to_be_enabled()

    def open_form(self, label: str) -> None:
        """Open the form of an operator from the operator browser."""
        self.settle(0.3)
        self.page.keyboard.press("Backquote")
        self.page.get_by_placeholder("Search operations by name...").fill(label)
        self.page.get_by_text(label, exact=True).last.click()
        expect(self.form).to_be_visible()
        self.settle()

    def close_form(self) -> None:
        """Close the form without submitting it."""
        self.press(self.form_button("Cancel"))
        expect(self.form).to_be_hidden()

    def form_button(self, name: str) -> Locator:
        """A button of the form."""
        return self.form.get_by_role("button", name=name, exact=True)

    def form_input(self, label: str) -> Locator:
        """The input under a label of the form."""
        typed = "input[not(@type='radio' or @type='checkbox' or @aria-hidden)]"
        holder = f"ancestor::div[.//{typed}][1][count(.//{typed})=1]"
        return self.form.locator(f"xpath=.//p[normalize-space()='{label}']/{holder}//{typed}")

    def choose_in_form(self, current: str, option: str) -> None:
        """Choose another option in the form's dropdown that shows the current one."""
        self.press(self.form.get_by_role("combobox").filter(has_text=current))
        self.press(self.page.get_by_role("option", name=option, exact=True))

    def add_in_form(self, option: str) -> None:
        """Add an option to the form's list."""
        self.press(self.form.get_by_role("button", name="Open"))
        self.press(self.page.get_by_role("option", name=option, exact=True))

    # grid and sidebar

    @property
    def count(self) -> int:
        """How many samples the grid says it shows."""
        match = re.match(r"([\d,]+) sample", self.page.locator("[data-cy=entry-counts]").inner_text())
        return int(match.group(1).replace(",", "")) if match else -1

    def expect_count(self, count: int) -> None:
        """Wait until the grid shows this many samples."""
        self.until(lambda: self.count == count, f"{count} samples in the grid", lambda: self.count)

    def shown_values(self, field_name: str) -> list[str]:
        """The values of a field on the samples in the grid, in reading order."""
        values: list[str] = self.page.locator(f"[data-cy=fo-grid] [data-cy=tag-{field_name}]").evaluate_all(
            """(all) => all
                .map((one) => [one.closest("[data-cy=looker]").getBoundingClientRect(), one.innerText])
                .sort(([a], [b]) => Math.abs(a.top - b.top) > 2 ? a.top - b.top : a.left - b.left)
                .map(([_, text]) => text)"""
        )
        return values

    def expect_values(self, field_name: str, *first: str) -> None:
        """Wait until the first samples in the grid show these values of a field."""
        self.until(
            lambda: self.shown_values(field_name)[: len(first)] == list(first),
            f"{field_name} {', '.join(first)} in the grid",
            lambda: self.shown_values(field_name),
        )

    def toggle_selection(self, count: int) -> None:
        """Click the checkboxes of the first samples in the grid."""
        boxes = self.page.locator("[data-cy=fo-grid] [data-cy=looker]").evaluate_all(
            "all => all.map(one => one.getBoundingClientRect()).map(({top, left}) => [top, left]).sort((a, b) => "
            "Math.abs(a[0] - b[0]) > 2 ? a[0] - b[0] : a[1] - b[1])"
        )
        for top, left in boxes[:count]:
            self.page.mouse.move(left + 40, top + 40)
            self.page.wait_for_timeout(200)
            self.page.mouse.click(left + 14, top + 14)

    def in_sidebar(self, text: str) -> Locator:
        """An entry of the sidebar."""
        return self.page.locator("[data-cy=sidebar]").get_by_text(text, exact=True)

    def expect_tag(self, tag: str) -> None:
        """Wait until the sidebar offers a tag to filter by."""
        search = self.page.locator("[data-cy=sidebar]").get_by_placeholder("+ filter by sample tag")
        if search.count() == 0:
            self.page.locator("[data-cy=sidebar-field-arrow-enabled-tags]").click()
        search.click()
        expect(self.page.get_by_text(tag, exact=True)).to_be_visible()
