"""The page in a real Chromium: time, themes, camera and keyboard, and what assistive technology is told."""

from __future__ import annotations

import time

import pytest

from .. import browser
from ..browser import BOX

pytestmark = pytest.mark.skipif(bool(browser.missing()), reason=browser.missing() or "there is a browser")


class TestTime:
    def pending(self, page):
        return page.js("return document.querySelectorAll('.pending > .box, .box.later').length")

    def test_forward_and_then_backward(self, opened):
        page = opened("gradient")
        last = int(page.find("#time").get_attribute("max"))
        shown = []
        for k in range(1, last):
            page.slide(k)
            shown.append(page.find("#now").text)
        forward = [s for s in shown if s.startswith("forward")]
        assert shown[: len(forward)] == forward
        assert forward[:3] == ["forward t = 0", "forward t = 1", "forward t = 2"]
        assert all(s.startswith("backward") for s in shown[len(forward) :])
        assert shown[-1] == "backward t = 1"  # the last moment is the whole picture

    def test_what_is_to_come_is_dimmed(self, opened):
        page = opened("lstm")
        counts = []
        for k in range(4):
            page.slide(k)
            counts.append(self.pending(page))
        assert counts == [56, 36, 18, 0]
        assert page.find("#now").text == "all computed"

    def test_by_operation(self, opened):
        page = opened("lstm")
        page.find("[data-grain=operation]").click()
        assert page.find("#time").get_attribute("max") == "56"
        page.slide(10)
        assert self.pending(page) == 46
        assert page.js("return document.querySelectorAll('#rings .now').length") == 1

    def test_play_and_pause(self, opened):
        page = opened("lstm")
        play = page.find("#play")
        play.click()
        assert play.get_attribute("aria-label") == "Pause"
        assert page.find("#now").text == "forward t = 0"
        page.until(lambda: page.find("#now").text == "forward t = 1", "the next step")
        play.click()
        assert play.get_attribute("aria-label") == "Play"
        time.sleep(0.9)
        assert page.find("#now").text == "forward t = 1"

    def test_it_stops_at_the_end(self, opened):
        page = opened("lstm")
        page.slide(2)
        page.find("#play").click()
        page.until(lambda: page.find("#play").get_attribute("aria-label") == "Play", "the end")
        assert page.find("#now").text == "all computed"


class TestTheme:
    PAPER = "return getComputedStyle(document.body).backgroundColor"

    def test_by_preference(self, opened):
        light = opened("lstm").js(self.PAPER)
        dark = opened("lstm", prefers_color_scheme="dark").js(self.PAPER)
        assert (light, dark) == ("rgb(252, 251, 248)", "rgb(20, 22, 26)")

    def test_by_the_button(self, opened):
        page = opened("lstm")
        page.find("#theme").click()
        assert page.js(self.PAPER) == "rgb(20, 22, 26)"
        assert page.find("#theme").get_attribute("aria-pressed") == "true"
        page.find("#theme").click()
        assert page.js(self.PAPER) == "rgb(252, 251, 248)"

    def test_a_changed_preference_is_followed(self, opened, driver):
        page = opened("lstm")
        browser.preferring(driver, prefers_color_scheme="dark")
        page.until(lambda: page.js(self.PAPER) == "rgb(20, 22, 26)", "dark")


class TestCamera:
    def test_wheel_zooms_at_the_pointer(self, opened):
        page = opened("lstm")
        at = "const r = arguments[0].getBoundingClientRect(); return [r.left + r.width / 2, r.top + r.height / 2]"
        box, before = page.box("c, +, (2, 4), t = 1"), page.scale()
        x, y = page.js(at, box)
        page.js("document.getElementById('stage').dispatchEvent(new WheelEvent('wheel',"
                "{deltaY: -200, clientX: arguments[0], clientY: arguments[1], cancelable: true}))", x, y)  # fmt: skip
        page.until(lambda: page.scale() > 1.3 * before, "the zoom")
        assert page.js(at, box) == pytest.approx([x, y], abs=1)

    def test_drag_and_fit(self, opened, driver):
        from selenium.webdriver import ActionChains

        page = opened("lstm")
        at = "return document.getElementById('camera').getCTM().e"
        before = page.js(at)
        ActionChains(driver).move_to_element_with_offset(page.find("#stage"), 0, 380).click_and_hold().move_by_offset(
            90, 0
        ).release().perform()
        page.until(lambda: abs(page.js(at) - before - 90) < 2, "the picture to move")
        assert not page.find("#panel").is_displayed()
        page.find("#fit").click()
        page.until(lambda: abs(page.js(at) - before) < 1, "the picture to fit")

    def test_far_away_texts_are_hidden(self, opened):
        page = opened("lstm")
        text = "return getComputedStyle(document.querySelector('.box text')).display"
        assert page.js(text) != "none"
        for _ in range(4):
            page.find("#zoom-out").click()
        page.until(lambda: page.js(text) == "none", "texts to go")

    def test_the_map_moves_the_picture(self, opened, driver):
        from selenium.webdriver import ActionChains

        page = opened("lstm")
        assert not page.find("#map").is_displayed()
        page.keys("+", "+", "+", "+")
        page.until(lambda: page.find("#map").is_displayed(), "the map")
        at = "return document.getElementById('camera').getCTM().e"
        before = page.js(at)
        ActionChains(driver).move_to_element_with_offset(page.find("#map"), 80, 0).click().perform()
        page.until(lambda: page.js(at) < before - 100, "the picture to move")


class TestKeyboard:
    def test_from_the_top_of_the_page_into_the_picture_and_out(self, opened):
        page = opened("timeless")
        page.js("document.getElementById('stage').focus()")
        page.keys("\ue007")
        assert page.focused() in page.boxes()
        page.keys("\ue00c")
        assert page.focused() == "stage"
        page.keys("\ue004")
        assert page.js("return !document.activeElement.closest('#stage')")

    def test_tab_goes_in_order_of_computation_and_leaves_at_the_end(self, opened):
        page = opened("timeless")
        page.js("document.querySelector('.box').focus()")
        order = [page.focused()]
        for _ in range(8):
            page.keys("\ue004")
            order.append(page.focused())
        assert order == page.boxes()
        page.keys("\ue004")
        assert page.focused() not in order

    def test_arrows_go_to_neighbours(self, opened):
        page = opened("lstm")
        page.js(f"{BOX}.focus()", "c, +, (2, 4), t = 1")
        page.keys("\ue013")
        assert page.focused() == "tanh, (2, 4), t = 1"
        page.keys("\ue013")
        assert page.focused() == "h, ×, (2, 4), t = 1"
        page.keys("\ue015")
        assert page.focused() == "tanh, (2, 4), t = 1"
        page.js(f"{BOX}.focus()", "c, +, (2, 4), t = 1")
        page.keys("\ue012")
        assert page.focused().startswith("×")

    def test_enter_opens_and_escape_closes(self, opened):
        page = opened("lstm")
        page.js(f"{BOX}.focus()", "c, +, (2, 4), t = 1")
        page.keys("\ue007")
        assert page.fact("id") == "t1/c"
        page.keys("\ue00c")
        assert not page.find("#panel").is_displayed()

    def test_a_focused_box_has_a_ring(self, opened):
        page = opened("timeless")
        page.js("document.getElementById('stage').focus()")
        page.keys("\ue007", "\ue004")
        assert page.js("return document.querySelectorAll('#rings .focus').length") == 1

    def test_shortcuts(self, opened):
        page = opened("lstm")
        page.keys("/")
        assert page.focused() == "Search boxes"
        page.keys("\ue00c")
        page.keys("d")
        assert page.js("return document.documentElement.dataset.theme") == "dark"
        page.keys("?")
        assert page.find("#help").is_displayed()
        assert "search; Enter goes through what is found" in page.texts("#keys dd")
        page.keys("\ue00c")
        assert not page.find("#help").is_displayed()
        page.keys("o")
        assert not page.find("#outline").is_displayed()
        page.js("document.activeElement.blur()")
        page.keys(",")
        assert page.find("#now").text == "forward t = 1"
        page.keys(" ")
        assert page.find("#play").get_attribute("aria-label") == "Pause"

    def test_c_collapses_and_expands(self, opened):
        page = opened("layers")
        page.js(f"{BOX}.focus()", "c, +, (2, 4), t = 1, lstm/layer0")
        page.keys("c")
        assert page.focused() == "layer0, 17 operations, t = 1, lstm/layer0, collapsed"
        page.keys("c")
        assert not any(b.endswith("collapsed") for b in page.boxes())


class TestAccess:
    def test_all_controls_have_names(self, opened):
        page = opened("layers")
        page.js(f"{BOX}.focus()", "c, +, (2, 4), t = 1, lstm/layer0")
        nameless = page.js(
            "return [...document.querySelectorAll('button, input, [role=button], [role=treeitem], [role=tree]')]"
            ".filter(e => !(e.ariaLabel || e.textContent.trim())).map(e => e.outerHTML.slice(0, 80))"
        )
        assert nameless == []

    def test_ids_are_unique_and_references_lead_somewhere(self, opened):
        page = opened("layers")
        ids = page.js("return [...document.querySelectorAll('[id]')].map(e => e.id)")
        assert len(ids) == len(set(ids))
        for name in ("aria-labelledby", "aria-describedby", "aria-controls", "for"):
            found = f"[...document.querySelectorAll('[{name}]')].map(e => e.getAttribute('{name}'))"
            for value in page.js(f"return {found}"):
                assert set(value.split()) <= set(ids)

    def test_the_picture_has_a_title_and_a_description(self, opened):
        page = opened("lstm")
        assert page.texts("#picture-title") == ["The lstm net"]
        assert page.texts("#picture-desc")[0].startswith("A graph of 56 boxes, 66 edges, 3 time steps.")

    @pytest.mark.parametrize("motion", ["reduce", "no-preference"])
    def test_motion_is_reduced_on_request(self, opened, motion):
        page = opened("lstm", prefers_reduced_motion=motion)
        page.slide(2)
        animation = page.js("return getComputedStyle(document.querySelector('#traces .now')).animationName")
        assert animation == ("none" if motion == "reduce" else "flow")
