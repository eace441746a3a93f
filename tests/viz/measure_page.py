"""How fast a page of many boxes is: ``python -m tests.viz.measure_page [boxes]``.

Prints the time to write the page, and in headless Chromium the time until it can be used (from the start of navigation
to the first frame after the picture was drawn) and the time of the first frame after each of the usual actions.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time

from tinygrad_rnn.viz.page import written

from . import browser
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


def main(boxes: int = 5000) -> None:
    x = browser.large(boxes)
    start = time.perf_counter()
    plan = plan_of(x)
    laid = time.perf_counter()
    text = written(plan, title="An LSTM")
    print(f"{len(plan.scene.boxes)} boxes, {len(plan.scene.links)} edges: layout {laid - start:.2f} s, "
          f"page {time.perf_counter() - laid:.2f} s, {len(text) / 1e6:.1f} MB")  # fmt: skip
    driver = browser.started()
    try:
        measure(driver, text)
    finally:
        driver.quit()


def measure(driver, text):
    browser.resized(driver)
    browser.preferring(driver, prefers_reduced_motion="reduce")  # actions end in one frame
    with tempfile.NamedTemporaryFile("w", suffix=".html", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        loads = []
        for _ in range(LOADS):
            driver.get(f"file://{file.name}")
            loads.append(driver.execute_async_script(READY))
        each = ", ".join(f"{ms:.0f}" for ms in loads)
        print(f"can be used after {statistics.median(loads):.0f} ms, the median of {each}")
        for name, script in ACTIONS.items():
            print(f"{name}: {driver.execute_async_script(ACTION.format(script)):.0f} ms")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
