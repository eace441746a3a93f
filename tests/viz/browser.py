"""A headless Chromium for the tests of pages, and the pages that they look at."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from tinygrad_rnn.viz.write.page import written

import tinygrad_rnn as tg

from . import nets
from .plans import plan_of

BOX = "[...document.querySelectorAll('.box')].find(b => b.getAttribute('aria-label') === arguments[0])"


def chromium():
    """The browser, or None."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next(filter(None, map(shutil.which, names)), None)


def missing():
    """Why no page can be looked at here, or an empty text."""
    try:
        import selenium  # noqa: F401
    except ImportError:
        return 'selenium is not installed: pip install "tinygrad-rnn[browser]"'
    if chromium() is None:
        return "no Chromium is on the PATH"
    return "" if shutil.which("chromedriver") else "no chromedriver is on the PATH"


def started():
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium()
    arguments = ["--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")  # Chromium refuses to start for root with it
    for argument in arguments:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options, service=webdriver.ChromeService(shutil.which("chromedriver")))


def resized(driver, width=1400, height=880):
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)


def preferring(driver, **features):
    """Set what the user prefers, as ``prefers_color_scheme="dark"``."""
    chosen = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": chosen})


def page(x, title="A picture"):
    return written(plan_of(x), title=title)


def saved(folder, name, x, title="A picture"):
    path = Path(folder) / f"{name}.html"
    path.write_text(page(x, title), encoding="utf-8")
    return path.as_uri()


def lstm_layers(T=3):
    model = tg.nn.LSTM(3, 4, num_layers=2, generator=0)
    return model(tg.ones((2, T, 3)).named("x")).outputs.named("outputs")


def large(boxes=5000):
    """An LSTM that is drawn with at least so many boxes."""
    return nets.lstm(-(-boxes // 18))


class Page:
    """A page that is open, and the few things that tests do with it."""

    def __init__(self, driver):
        self.driver = driver

    def js(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def find(self, css):
        return self.driver.find_element("css selector", css)

    def texts(self, css):
        return self.js("return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)", css)

    def box(self, label):
        return self.js(f"return {BOX}", label)

    def boxes(self):
        labels = "[...document.querySelectorAll('.box:not(.away)')].map(b => b.getAttribute('aria-label'))"
        return self.js(f"return {labels}")

    def focused(self):
        return self.js("return document.activeElement.getAttribute('aria-label') || document.activeElement.id")

    def keys(self, *keys):
        self.driver.switch_to.active_element.send_keys(*keys)

    def slide(self, to):
        self.js("document.getElementById('time').value = arguments[0]", to)
        self.js("document.getElementById('time').dispatchEvent(new Event('input'))")

    def fact(self, name):
        return self.js("return document.querySelector(`[data-fact='${arguments[0]}']`)?.textContent", name)

    def scale(self):
        return self.js("return document.getElementById('camera').getCTM().a")

    def until(self, condition, what):
        for _ in range(60):
            if condition():
                return
            time.sleep(0.05)
        raise AssertionError(f"waited for {what}")

    def complaints(self):
        return [entry["message"] for entry in self.driver.get_log("browser")]
