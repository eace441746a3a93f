"""The page in a real Chromium: what a reader clicks, hovers, searches and collapses, and what then is to be seen."""

from __future__ import annotations

import pytest

import tinygrad_rnn as tg

from .. import browser
from ..browser import BOX

pytestmark = pytest.mark.skipif(bool(browser.missing()), reason=browser.missing() or "there is a browser")


def test_load(opened):
    page = opened("lstm")
    assert page.driver.title == page.find("#title").text == "The lstm net"
    assert page.find("#counts").text == "56 boxes, 66 edges, 3 time steps"
    assert len(page.boxes()) == 56
    assert page.texts("#columns text") == ["t = 0", "t = 1", "t = 2"]
    assert {"input", "uses a weight", "state h", "value"} <= set(page.texts("#legend li"))
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
        assert page.texts("#found .what") == ["g  tanh  (2, 4)", "tanh  (2, 4)"]
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
        page.find("[aria-label^='layer1,'] [data-way=whole]").click()
        self.search(page, "layer1 t=2 o σ")
        page.keys("\ue007")
        assert page.fact("id").endswith("t2/lstm/layer1/o")
        assert "layer1, 51 operations, lstm/layer1, collapsed" not in page.boxes()


class TestCollapse:
    def test_as_a_whole_and_back(self, opened):
        page = opened("layers")
        before = page.boxes()
        button = page.find("[aria-label^='layer0,'] [data-way=whole]")
        button.click()
        assert button.get_attribute("aria-pressed") == "true"
        after = page.boxes()
        (group,) = set(after) - set(before)
        assert group == "layer0, 53 operations, lstm/layer0, collapsed"
        assert not any("layer0" in label for label in after if label != group)
        button.click()
        assert page.boxes() == before

    def test_in_every_step(self, opened):
        page = opened("layers")
        page.find("[aria-label^='layer0,'] [data-way=steps]").click()
        groups = [label for label in page.boxes() if label.endswith("collapsed")]
        steps = [f"layer0, 17 operations, t = {t}, lstm/layer0, collapsed" for t in range(3)]
        assert groups == [steps[0], "layer0, 2 operations, lstm/layer0, collapsed", *steps[1:]]  # the initial states

    def test_edges_to_the_outside_stay(self, opened):
        page = opened("layers")
        page.find("[aria-label^='layer0,'] [data-way=steps]").click()
        page.box("layer0, 17 operations, t = 1, lstm/layer0, collapsed").click()
        links = page.texts("#panel .links:nth-of-type(2) button")
        assert links == ["x t = 1", "layer0 t = 0"]
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
        where = "const r = [...document.querySelectorAll('.box')].filter(b => b.node.path.includes('layer1') &&"
        where += "b.node.time === 1).map(b => b.node); return [Math.min(...r.map(n => n.x - n.w / 2)),"
        where += "Math.max(...r.map(n => n.x + n.w / 2)), Math.min(...r.map(n => n.y)), Math.max(...r.map(n => n.y))]"
        left, right, top, bottom = page.js(where)
        page.find("[aria-label^='layer1,'] [data-way=steps]").click()
        label = "layer1, 17 operations, t = 1, lstm/layer1, collapsed"
        x, y = page.js(f"const n = {BOX}.node; return [n.x, n.y]", label)
        assert left + (right - left) / 4 < x < right - (right - left) / 4
        assert top + (bottom - top) / 4 < y < bottom - (bottom - top) / 4

    def test_the_keyboard_opens_and_closes_the_tree(self, opened):
        page = opened("layers")
        page.js("document.querySelector('#tree [role=treeitem]').focus()")
        page.keys("\ue015", "\ue015")
        assert page.focused() == "layer0, 53 boxes"
        page.keys("c")
        assert "layer0, 53 operations, lstm/layer0, collapsed" in page.boxes()
        page.keys("c", "\ue012")
        assert page.focused().startswith("lstm, ")


def test_a_narrow_window(opened):
    page = opened("lstm", width=420, height=800)
    assert not page.find("#outline").is_displayed()
    page.find("#outline-button").click()
    assert page.find("#outline").is_displayed()
    page.find("#outline-button").click()
    page.js(f"{BOX}.dispatchEvent(new MouseEvent('click', {{bubbles: true}}))", "c, +, (2, 4), t = 1")
    assert page.find("#panel").is_displayed()
    assert page.js("return document.documentElement.scrollWidth") <= 420
    bottom = page.js(f"return {BOX}.getBoundingClientRect().bottom", "c, +, (2, 4), t = 1")
    assert bottom <= page.js("return document.getElementById('panel').getBoundingClientRect().top")


def test_any_text_is_shown_as_it_is(opened, tmp_path):
    names = [
        "</script><script>document.title = 'broken'</script>", "<!--", "\u2028 \u202e שלום", '"&lt;\\"', "<b>bold</b>",
    ]  # fmt: skip
    y = tg.ones(2)
    for name in names:
        with tg.scope(name.replace("/", "|")), tg.timestep(1):
            y = (y * 2).named(name)
    page = opened(browser.saved(tmp_path, "nasty", y, "<i>title</i>"))
    assert page.find("#title").text == "<i>title</i>"
    assert page.js("return [...document.querySelectorAll('.box')].map(b => b.node.name)")[-5:] == names
    for k, name in enumerate(names):
        page.js("const all = document.querySelectorAll('.box'); all[all.length - 5 + arguments[0]]"
                ".dispatchEvent(new MouseEvent('click', {bubbles: true}))", k)  # fmt: skip
        assert page.texts("#panel h2") == [name]
        assert page.driver.title == "<i>title</i>"
    assert page.js("return document.querySelectorAll('b:not(.figures b), script, i').length") == 3


def test_many_boxes(opened, tmp_path):
    page = opened(browser.saved(tmp_path, "many", browser.large(2000)))
    assert len(page.boxes()) >= 2000
    page.find("#fit").click()
    page.until(lambda: page.scale() < 0.1, "the whole picture")
    assert page.js("return document.querySelectorAll('.box text').length") < 1000
    page.find("#search").send_keys("h t=77", "\ue007")
    assert page.fact("id") == "t77/h"
    page.until(lambda: page.js(f"return {BOX}.querySelectorAll('text').length", "h, ×, (2, 4), t = 77"), "the text")
