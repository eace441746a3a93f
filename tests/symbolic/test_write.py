"""Expressions as Unicode, LaTeX and HTML."""

from __future__ import annotations

import html.parser

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.symbolic import Number, Symbol
from tinygrad_rnn.symbolic.write import Writer

W, H = Symbol("W_h", shape=(3, 3)), Symbol("h", time=2, shape=(1, 3))


@pytest.mark.parametrize(
    ("symbol", "unicode", "latex", "html_"),
    [
        (W, "W_h", "W_{h}", "<i>W</i><sub>h</sub>"),
        (H, "h₂", "h_{2}", "<i>h</i><sub>2</sub>"),
        (H.at(-1, "t"), "h_{t−1}", "h_{t-1}", "<i>h</i><sub>t−1</sub>"),
        (H.at(0, "t"), "h_t", "h_{t}", "<i>h</i><sub>t</sub>"),
        (H.at(4), "h_T", "h_{T}", "<i>h</i><sub>T</sub>"),
        (H.at(5), "h_{T+1}", "h_{T+1}", "<i>h</i><sub>T+1</sub>"),
        (Symbol("y_hat", time=2), "ŷ₂", r"\hat{y}_{2}", "<i>ŷ</i><sub>2</sub>"),
        (Symbol("alpha"), "alpha", r"\alpha", "<i>alpha</i>"),
        (Symbol("loss"), "loss", r"\mathrm{loss}", "<i>loss</i>"),
        (Symbol("W_i", block="f"), "W_i[f]", "W_{i[f]}", "<i>W</i><sub>i</sub>[f]"),
        (
            Symbol("h", ("→", "(2)"), time=1),
            "h⃗⁽²⁾₁", r"{\overrightarrow{h}_{1}^{(2)}}", "<i>h⃗</i><sup>(2)</sup><sub>1</sub>",
        ),
        (Symbol("a_h", time=3), "a_{h,3}", "a_{h,3}", "<i>a</i><sub>h,3</sub>"),
        (Symbol("h", of="L"), "∂L/∂h", r"\frac{\partial L}{\partial h}", "∂<i>L</i>/∂<i>h</i>"),
        (Symbol("a & b<c"), "a & b<c", r"\mathrm{a \& b<c}", "<i>a &amp; b&lt;c</i>"),
        (Number(-0.25), "−0.25", "-0.25", "−0.25"),
    ],
)  # fmt: skip
def test_symbols(symbol, unicode, latex, html_):
    found = [Writer(form, last=4).text(symbol) for form in ("unicode", "latex", "html")]
    assert found == [unicode, latex, html_]


a, b, W2 = (tg.parameter(np.ones((2, 2)) * (k + 1), name=n) for k, n in enumerate("abW"))


@pytest.mark.parametrize(
    ("compute", "unicode", "latex"),
    [
        (lambda: a + b - a @ W2, "a + b − a W", "a + b - a W"),
        (lambda: a - (b - W2), "a − b + W", "a - b + W"),
        (lambda: (a + b) * W2, "(a + b) ⊙ W", r"\left(a + b\right) \odot W"),
        (lambda: (a * b) @ W2, "(a ⊙ b) W", r"\left(a \odot b\right) W"),
        (lambda: (a @ b) * W2, "(a b) ⊙ W", r"\left(a b\right) \odot W"),
        (lambda: a.T @ (b @ W2), "aᵀ b W", r"a^\top b W"),
        (lambda: (a + b).T, "(a + b)ᵀ", r"\left(a + b\right)^\top"),
        (lambda: -(a * a) / (b + 1.0), "−a² / (b + 1)", r"-\frac{a^{2}}{b + 1}"),
        (lambda: (a + b) ** 3, "(a + b)³", r"\left(a + b\right)^{3}"),
        (lambda: a**-1.5, "a^(−1.5)", "a^{-1.5}"),
        (lambda: tg.sigmoid(a) * tg.tanh(b), "σ(a) ⊙ tanh(b)", r"\sigma\left(a\right) \odot \tanh\left(b\right)"),
        (lambda: (a - 2.0 * b).sum(), "Σ (a − 2 b)", r"\sum \left(a - 2 b\right)"),
        (lambda: a.sum(0), "𝟏ᵀ a", r"\mathbf{1}^\top a"),
        (lambda: a.sum(1), "a 𝟏", r"a \mathbf{1}"),
        (lambda: a.mean(0), "mean(a, axis 0)", r"\mathrm{mean}\left(a, axis 0\right)"),
        (lambda: tg.where(a > b, a, b), "(a if a > b, else b)", r"\left(a \mathrm{if} a > b, \mathrm{else} b\right)"),
        (lambda: tg.where(a <= b, a, 0.0), "a ⊙ [a ≤ b]", r"a \odot [a \le b]"),
        (lambda: tg.concatenate([a, b], 1), "[a, b]", "[a, b]"),
        (lambda: a[0, 1:], "a[0, 1:2]", None),
        (lambda: a.at[0].set(1.0), "update(a, 1, mode set)", None),
        (lambda: tg.abs(a) + tg.exp(b), "|a| + exp(b)", None),
        (lambda: a * 0.1 + 1.0 / b, "0.1 a + 1 / b", r"0.1 a + \frac{1}{b}"),
        (lambda: a.detach() * b, "a ⊙ b", None),
        (lambda: a / 3.0 / 2.0, "a / 6", r"\frac{a}{6}"),
    ],
)
def test_operations(compute, unicode, latex):
    y = compute()
    found = tg.equations(y.named("y")).forward[-1]
    assert Writer("unicode").text(found.right) == unicode
    if latex is not None:
        assert Writer("latex").text(found.right) == latex


class _Tags(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.data = [], ""

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.data += data


def test_forms_of_whole_texts():
    cell = nn.GRUCell(2, 3, dtype=np.float64, generator=0)
    equations = tg.equations(cell, np.ones((1, 3, 2)))
    latex = equations._repr_latex_()
    assert latex.startswith("$$\\begin{aligned}\n")
    assert latex.count("&=") == len(equations)
    assert latex.count("{") == latex.count("}")
    assert latex.count(r"\left(") == latex.count(r"\right)")
    page = _Tags()
    page.feed(equations._repr_html_())
    assert not page.open
    assert "σ(xt Wi[r] + ht−1 Wh[r] + b[r])" in page.data
    assert str(tg.equations(cell, np.ones((1, 3, 2)), form="latex")) == equations.text("latex")
    assert repr(equations).startswith(f"<{len(equations)} equations, rolled>\nh₀ = 0\n")
    derivation = tg.equations(cell, np.ones((1, 3, 2)), form="latex", style="derivation").backward
    assert r"\frac{\partial L}{\partial h_{t}} \frac{\partial h_{t}}{\partial n_{t}} \\ &= " in str(derivation)


def test_equations_are_a_sequence():
    equations = tg.equations((a * b).named("y"))
    assert len(equations) == len(list(equations)) == 3
    assert str(equations[0]) == "y = a ⊙ b"
    assert [str(e.left) for e in equations] == ["y", "∂L/∂a", "∂L/∂b"]
    assert [str(e.right) for e in equations] == ["a ⊙ b", "∂L/∂y ⊙ b", "∂L/∂y ⊙ a"]
