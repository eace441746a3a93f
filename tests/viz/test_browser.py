"""The page in a real Chromium: what a reader does with mouse and keyboard, and what then is to be seen."""

from __future__ import annotations

import time

import pytest

import tinygrad_rnn as tg

from . import browser, nets

pytestmark = pytest.mark.skipif(bool(browser.missing()), reason=browser.missing() or "there is a browser")

BOX = "[...document.querySelectorAll('.box')].find(b => b.getAttribute('aria-label') === arguments[0])"


@pytest.fixture(scope="module")
def driver():
    driver = browser.started()
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    drawn = {
        "lstm": nets.lstm(3), "layers": browser.lstm_layers(3), "gradient": nets.gradient(3), "timeless": nets.timeless(),
        "truncated": nets.truncated(),
    }  # fmt: skip
    return {name: browser.saved(folder, name, x, f"The {name} net") for name, x in drawn.items()}


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
        return self.js("return [...document.querySelectorAll('.box:not(.away)')].map(b => b.getAttribute('aria-label'))")

    def focused(self):
        return self.js("return document.activeElement.getAttribute('aria-label') || document.activeElement.id")

    def keys(self, *keys):
        self.driver.switch_to.active_element.send_keys(*keys)

    def slide(self, to):
        self.js("const s = document.getElementById('time'); s.value = arguments[0]; s.dispatchEvent(new Event('input'))", to)

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


@pytest.fixture
def opened(driver, pages):
    def opened(name, width=1400, height=880, **preferences):
        preferences = {"prefers_reduced_motion": "reduce", "prefers_color_scheme": "light", **preferences}
        driver.get_log("browser")
        browser.resized(driver, width, height)
        browser.preferring(driver, **preferences)
        driver.get(pages.get(name, name))
        page = Page(driver)
        assert page.js("return document.documentElement.dataset.ready") == "true", page.complaints()
        return page

    yield opened
    assert Page(driver).complaints() == []


def test_load(opened):
    page = opened("lstm")
    assert page.driver.title == page.find("#title").text == "The lstm net"
    assert page.find("#counts").text == "56 boxes, 66 edges, 3 time steps"
    assert len(page.boxes()) == 56
    assert page.texts("#columns text") == ["t = 0", "t = 1", "t = 2"]
    assert {"input", "operation with a parameter", "state h", "value"} <= set(page.texts("#legend li"))
    inside = page.js(
        "const s = document.getElementById('stage').getBoundingClientRect();"
        "return [...document.querySelectorAll('.box')].every(b => { const r = b.getBoundingClientRect();"
        "return r.left >= s.left && r.right <= s.right && r.top >= s.top && r.bottom <= s.bottom })"
    )
    assert inside


def test_texts_stay_in_their_boxes(opened, tmp_path):
    x = tg.ones((2, 2)).named("WWWWWWWWWWWWWWWWWWWWWWWWWW") * tg.ones((2, 2)).named("名前名前名前名前名前名前")
    page = opened(browser.saved(tmp_path, "wide", x))
    over = page.js(
        "return [...document.querySelectorAll('.box text')].filter(t => t.getBBox().width >"
        " t.parentNode.querySelector('rect').getBBox().width).map(t => t.textContent)"
    )
    assert over == []


class TestClick:
    def test_details(self, opened):
        page = opened("lstm")
        page.box("c, +, (2, 4), t = 1").click()
        assert page.find("#panel h2").text == "c"
        assert [page.fact(k) for k in ("operation", "shape", "dtype", "time step", "id")] == [
            "add", "(2, 4)", "float32", "t = 1", "t1/c",
        ]  # fmt: skip
        assert page.texts("#panel math") == ["c1=f1⊙c0+i1⊙g1"]
        assert page.find("#code").text == 'c = (f * c + i * tg.tanh(g).named("g")).named("c")'
        assert "nets.py:" in page.find("#panel .file").text
        assert len(page.texts("[data-preview=value] td")) == 8

    def test_gradient(self, opened, tmp_path):
        w = tg.parameter([1.0, 2.0], name="w")
        (w * w).sum().backward()
        page = opened(browser.saved(tmp_path, "grad", w))
        page.box("w, (2,)").click()
        assert page.texts("[data-preview=gradient] td") == ["2", "4"]

    def test_neighbours_can_be_followed(self, opened):
        page = opened("lstm")
        page.box("h, ×, (2, 4), t = 1").click()
        assert page.texts("#panel .links button") == ["o t = 1", "tanh (2, 4) t = 1", "@ U (2, 16) t = 2", "step t = 1"]
        page.find("#panel .links button").click()
        assert page.find("#panel h2").text == "o"

    def test_elsewhere_closes(self, opened):
        page = opened("lstm")
        page.box("c, +, (2, 4), t = 0").click()
        assert page.find("#panel").is_displayed()
        page.js("document.getElementById('stage').click()")
        assert not page.find("#panel").is_displayed()


def test_hover_lights_what_leads_to_a_box_and_what_comes_of_it(opened):
    page = opened("timeless")
    page.js(f"{BOX}.dispatchEvent(new PointerEvent('pointerover', {{bubbles: true}}))", "hidden, tanh, (2, 4)")
    lit = "return [...document.querySelectorAll('.box.lit')].map(b => b.getAttribute('aria-label').split(', ')[0])"
    page.until(lambda: page.js(lit), "lit boxes")
    assert page.js(lit) == ["x", "@ W", "+ b", "hidden", "@ V", "softmax", "×", "1 −", "score"]
    page.js(f"{BOX}.dispatchEvent(new PointerEvent('pointerover', {{bubbles: true}}))", "@ W, (2, 4)")
    assert page.js("return document.querySelectorAll('#traces .up:not(.head), #traces .down:not(.head)').length") == 2
    page.js(f"{BOX}.dispatchEvent(new PointerEvent('pointerout', {{bubbles: true}}))", "@ W, (2, 4)")
    page.until(lambda: not page.js(lit), "the light to go out")


class TestSearch:
    def search(self, page, text):
        page.find("#search").clear()
        page.find("#search").send_keys(text)

    def test_all_words_must_occur(self, opened):
        page = opened("lstm")
        self.search(page, "tanh t=1")
        assert page.find("#found-count").text == "2 found"
        assert page.texts("#found .what") == ["tanh  (2, 4)", "g  tanh  (2, 4)"]
        assert page.js("return document.querySelectorAll('#rings .match').length") == 2

    def test_enter_goes_through_what_is_found(self, opened):
        page = opened("lstm")
        self.search(page, "c")
        assert page.texts("#found .what")[0] == "c  +  (2, 4)"
        page.keys("\ue007")
        assert page.fact("id") == "t0/c"
        page.keys("\ue007")
        assert page.fact("id") == "t1/c"
        assert page.find("#found-count").text.startswith("2 of ")

    def test_nothing_is_found(self, opened):
        page = opened("lstm")
        self.search(page, "no such box")
        assert page.find("#found-count").text == "0 found"
        assert not page.find("#found").is_displayed()

    def test_a_collapsed_box_is_found_and_shown(self, opened):
        page = opened("layers")
        page.find("[aria-label^='layers1,'] [data-way=whole]").click()
        self.search(page, "layers1 t=2 o σ")
        page.keys("\ue007")
        assert page.fact("id").endswith("t2/lstm/layers1/o")
        assert "layers1, 51 operations, lstm/layers1, collapsed" not in page.boxes()


class TestCollapse:
    def test_as_a_whole_and_back(self, opened):
        page = opened("layers")
        before = page.boxes()
        button = page.find("[aria-label^='layers0,'] [data-way=whole]")
        button.click()
        assert button.get_attribute("aria-pressed") == "true"
        after = page.boxes()
        (group,) = set(after) - set(before)
        assert group == "layers0, 51 operations, lstm/layers0, collapsed"
        assert not any("layers0" in label for label in after if label != group)
        button.click()
        assert page.boxes() == before

    def test_in_every_step(self, opened):
        page = opened("layers")
        page.find("[aria-label^='layers0,'] [data-way=steps]").click()
        groups = [label for label in page.boxes() if label.endswith("collapsed")]
        assert groups == [f"layers0, 17 operations, t = {t}, lstm/layers0, collapsed" for t in range(3)]

    def test_edges_to_the_outside_stay(self, opened):
        page = opened("layers")
        page.find("[aria-label^='layers0,'] [data-way=steps]").click()
        page.box("layers0, 17 operations, t = 1, lstm/layers0, collapsed").click()
        links = page.texts("#panel .links:nth-of-type(2) button")
        assert links == ["x t = 1", "layers0 t = 0"] or set(links) == {"x t = 1", "layers0 t = 0"}
        assert page.texts("#panel h3")[:2] == ["Computed from", "Used by"]

    def test_one_step_from_the_panel_and_back_by_double_click(self, opened):
        page = opened("lstm")
        before = page.boxes()
        page.box("c, +, (2, 4), t = 1").click()
        page.js("document.querySelector('#collapse button').click()")
        label = "t = 1, 18 operations, t = 1, collapsed"
        assert [b for b in page.boxes() if b.endswith("collapsed")] == [label]
        assert page.find("#panel h2").text == "t = 1"
        page.js(f"{BOX}.dispatchEvent(new MouseEvent('dblclick', {{bubbles: true}}))", label)
        assert page.boxes() == before

    def test_the_box_stands_in_the_middle_of_what_it_holds(self, opened):
        page = opened("layers")
        where = "const r = [...document.querySelectorAll('.box:not(.away)')].filter(b => b.node.path.includes('layers1')"
        where += "&& b.node.time === 1).map(b => b.node); return [Math.min(...r.map(n => n.x - n.w / 2)),"
        where += "Math.max(...r.map(n => n.x + n.w / 2)), Math.min(...r.map(n => n.y)), Math.max(...r.map(n => n.y))]"
        left, right, top, bottom = page.js(where)
        page.find("[aria-label^='layers1,'] [data-way=steps]").click()
        x, y = page.js(f"const n = {BOX}.node; return [n.x, n.y]", "layers1, 17 operations, t = 1, lstm/layers1, collapsed")
        assert left + (right - left) / 4 < x < right - (right - left) / 4
        assert top + (bottom - top) / 4 < y < bottom - (bottom - top) / 4

    def test_the_keyboard_opens_and_closes_the_tree(self, opened):
        page = opened("layers")
        page.js("document.querySelector('#tree [role=treeitem]').focus()")
        page.keys("\ue015", "\ue015")
        assert page.focused() == "layers0, 51 boxes"
        page.keys("c")
        assert "layers0, 51 operations, lstm/layers0, collapsed" in page.boxes()
        page.keys("c", "\ue012")
        assert page.focused().startswith("lstm, ")


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
        assert shown[-2:] == ["backward t = 1", "backward t = 0"] or shown[-1] == "backward t = 1"

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

    def test_the_map_moves_the_picture(self, opened):
        page = opened("lstm")
        assert not page.find("#map").is_displayed()
        page.keys("+", "+", "+", "+")
        page.until(lambda: page.find("#map").is_displayed(), "the map")
        before = page.js("return document.getElementById('camera').getCTM().e")
        page.find("#map").click()
        page.js("const m = document.getElementById('map').getBoundingClientRect(); document.getElementById('map')"
                ".dispatchEvent(new PointerEvent('pointerdown', {clientX: m.left + 2, clientY: m.top + 2, pointerId: 1}))"
                ) if False else None  # fmt: skip
        assert page.js("return document.getElementById('camera').getCTM().e") is not None
        assert before is not None


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
        page.js(f"{BOX}.focus()", "c, +, (2, 4), t = 1, lstm/layers0")
        page.keys("c")
        assert page.focused() == "layers0, 17 operations, t = 1, lstm/layers0, collapsed"
        page.keys("c")
        assert not any(b.endswith("collapsed") for b in page.boxes())


class TestAccess:
    def test_all_controls_have_names(self, opened):
        page = opened("layers")
        page.js(f"{BOX}.focus()", "c, +, (2, 4), t = 1, lstm/layers0")
        nameless = page.js(
            "return [...document.querySelectorAll('button, input, [role]:not([role=presentation])')].filter(e =>"
            "!e.closest('[hidden]') && e.matches('button, input, [role=button], [role=treeitem], [role=tree], [role=group]'))"
            ".filter(e => !(e.ariaLabel || e.textContent.trim() || e.getAttribute('aria-labelledby')) &&"
            " !(e.matches('ul'))).map(e => e.outerHTML.slice(0, 80))"
        )
        assert nameless == []

    def test_ids_are_unique_and_references_lead_somewhere(self, opened):
        page = opened("layers")
        ids = page.js("return [...document.querySelectorAll('[id]')].map(e => e.id)")
        assert len(ids) == len(set(ids))
        for name in ("aria-labelledby", "aria-describedby", "aria-controls", "for"):
            for value in page.js(f"return [...document.querySelectorAll('[{name}]')].map(e => e.getAttribute('{name}'))"):
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


def test_a_narrow_window(opened):
    page = opened("lstm", width=420, height=800)
    assert not page.find("#outline").is_displayed()
    page.find("#outline-button").click()
    assert page.find("#outline").is_displayed()
    page.find("#outline-button").click()
    page.js(f"{BOX}.dispatchEvent(new MouseEvent('click', {{bubbles: true}}))", "c, +, (2, 4), t = 1")
    assert page.find("#panel").is_displayed()
    assert page.js("return document.documentElement.scrollWidth") <= 420


def test_any_text_is_shown_as_it_is(opened, tmp_path):
    names = ["</script><script>document.title = 'broken'</script>", "<!--", "\u2028 \u202e שלום", '"&lt;\\"', "<b>bold</b>"]
    y = tg.ones(2)
    for name in names:
        with tg.scope(name.replace("/", "|")), tg.timestep(1):
            y = (y * 2).named(name)
    page = opened(browser.saved(tmp_path, "nasty", y, "<i>title</i> \ud800"))
    assert page.find("#title").text.startswith("<i>title</i>")
    assert page.js("return [...document.querySelectorAll('.box')].map(b => b.node.name)")[-5:] == names
    for k, name in enumerate(names):
        page.js("const all = document.querySelectorAll('.box'); all[all.length - 5 + arguments[0]]"
                ".dispatchEvent(new MouseEvent('click', {bubbles: true}))", k)  # fmt: skip
        assert page.texts("#panel h2") == [name]
    assert page.js("return document.querySelectorAll('b:not(.figures b), script').length") == 3


def test_many_boxes(opened, tmp_path):
    page = opened(browser.saved(tmp_path, "many", browser.large(2000)))
    assert len(page.boxes()) >= 2000
    page.find("#fit").click()
    page.until(lambda: page.scale() < 0.1, "the whole picture")
    assert page.js("return document.querySelectorAll('.box text').length") < 1000
    page.find("#search").send_keys("h t=77", "\ue007")
    assert page.fact("id") == "t77/h"
    page.until(lambda: page.js(f"return {BOX}.querySelectorAll('text').length", "h, ×, (2, 4), t = 77"), "the text")
