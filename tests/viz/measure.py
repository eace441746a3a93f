"""How fast pictures are: ``python -m tests.viz.measure``; exits with 1 if a figure is missed.

Prints medians of the time from a recorded graph to SVG text, and for the page of 5,000 boxes in headless Chromium the
time until it can be used (from the start of navigation to the first frame after the picture was drawn) and the time of
the first frame after each of the usual actions.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

from tinygrad_rnn.viz.write.page import written

import tinygrad_rnn as tg

from . import browser, nets
from .plans import plan_of

LOADS = 5
_PAINTED = "const done = arguments[arguments.length - 1]; requestAnimationFrame(() => setTimeout(() => done({})));"
READY = _PAINTED.format("performance.now()")
ACTION = "const start = performance.now(); {} \n" + _PAINTED.format("performance.now() - start")
ACTIONS = {
    "fit": "document.getElementById('fit').click();",
    "wheel, all in view": "document.getElementById('stage').dispatchEvent(new WheelEvent('wheel', {deltaY: 20}));",
    "actual size": "document.getElementById('zoom-value').click();",
    "click": "const all = document.querySelectorAll('.box'); all[all.length >> 1].dispatchEvent("
    "new MouseEvent('click', {bubbles: true}));",
    "search": "const f = document.getElementById('search'); f.value = 'tanh'; f.dispatchEvent(new Event('input'));",
    "slide to the middle": "const s = document.getElementById('time'); s.value = s.max / 2; "
    "s.dispatchEvent(new Event('input'));",
    "next step": "document.getElementById('next').click();",
    "dark": "document.getElementById('theme').click();",
    "collapse every step": "document.querySelector('#tree [data-way=steps]').click();",
    "expand every step": "document.querySelector('#tree [data-way=steps]').click();",
}


def main() -> int:
    missed = [name for name, seconds, limit in figures() if not reported(name, seconds, limit)]
    if browser.missing():
        print(f"the page in Chromium: not measured, {browser.missing()}")
    elif not reported("the page of 5,000 boxes can be used", page(), 2.0):
        missed.append("page")
    return int(bool(missed))


def figures() -> Iterator[tuple[str, float, float]]:
    for nodes, limit, repeats in ((1_000, 0.5, 5), (10_000, 3.0, 3)):
        whole = tg.graph(nets.lstm(nodes // 19))
        yield f"{nodes:,} nodes to SVG", median(lambda g=whole: drawn(g, view="unrolled"), repeats), limit
    whole = tg.graph(tg.nn.LSTM(3, 4)(tg.ones((1, 5600, 3))).outputs)
    for view in ("auto", "rolled"):
        yield f"{len(whole):,} nodes to SVG, view {view}", median(lambda v=view: drawn(whole, view=v), 3), 5.0


def drawn(whole: tg.Graph, view: str) -> str:
    return tg.viz.draw(whole, view=view, max_nodes=20_000).svg()


def median(run: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def reported(name: str, seconds: float, limit: float) -> bool:
    kept = seconds <= limit
    print(f"{name:45} {seconds:7.2f} s   at most {limit:g} s{'' if kept else '   MISSED'}", flush=True)
    return kept


def page() -> float:
    x = browser.large(5000)
    start = time.perf_counter()
    text = written(plan_of(x), title="An LSTM")
    print(f"the page is written in {time.perf_counter() - start:.2f} s, {len(text) / 1e6:.1f} MB")
    driver = browser.started()
    try:
        return measure(driver, text)
    finally:
        driver.quit()


def measure(driver: Any, text: str) -> float:
    browser.resized(driver)
    browser.preferring(driver, prefers_reduced_motion="reduce")  # actions end in one frame
    with tempfile.NamedTemporaryFile("w", suffix=".html", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        loads = []
        for _ in range(LOADS):
            driver.get(f"file://{file.name}")
            loads.append(driver.execute_async_script(READY))
        for name, script in ACTIONS.items():
            print(f"  {name}: {driver.execute_async_script(ACTION.format(script)):.0f} ms")
    return statistics.median(loads) / 1000


if __name__ == "__main__":
    sys.exit(main())
