"""Pages that are open in a browser, for the tests that look at them."""

from __future__ import annotations

import pytest

from . import browser, nets


@pytest.fixture(scope="session")
def driver():
    driver = browser.started()
    yield driver
    driver.quit()


@pytest.fixture(scope="session")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    drawn = {
        "lstm": nets.lstm(3), "layers": browser.lstm_layers(3), "gradient": nets.gradient(3),
        "timeless": nets.timeless(), "truncated": nets.truncated(),
    }  # fmt: skip
    return {name: browser.saved(folder, name, x, f"The {name} net") for name, x in drawn.items()}


@pytest.fixture
def opened(driver, pages):
    def opened(name, width=1400, height=880, **preferences):
        preferences = {"prefers_reduced_motion": "reduce", "prefers_color_scheme": "light", **preferences}
        driver.get_log("browser")
        browser.resized(driver, width, height)
        browser.preferring(driver, **preferences)
        driver.get(pages.get(name, name))
        page = browser.Page(driver)
        assert page.js("return document.documentElement.dataset.ready") == "true", page.complaints()
        return page

    yield opened
    assert browser.Page(driver).complaints() == []
