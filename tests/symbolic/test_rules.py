"""Rules of simplification keep values and shapes; steps that are alike are found."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_rnn.symbolic import Node, Number, Symbol
from tinygrad_rnn.symbolic.expr import Params, Values, evaluate
from tinygrad_rnn.symbolic.rolled import at_step, folded, runs
from tinygrad_rnn.symbolic.rules import RULES, make

SYMBOLS = [Symbol("x", shape=(2, 3)), Symbol("y", shape=(2, 3)), Symbol("b", shape=(3,)), Symbol("W", shape=(3, 3)),
           Symbol("s"), Symbol("G", of="L", shape=(2, 3))]  # fmt: skip
VALUES = {s: np.random.default_rng(k).uniform(0.5, 1.5, s.shape) for k, s in enumerate(SYMBOLS)}
ATOMS = [*SYMBOLS, Number(1.0), Number(0.0), Number(2.0), Number(-0.5), Node("ones", (), shape=(2, 3))]


def shape_of(kind, parts, option):
    """The shape of a node, and its parameters; None where the parts do not fit."""
    shapes = [p.shape for p in parts]
    if kind in ("add", "mul", "div"):
        try:
            return np.broadcast_shapes(*shapes), Params()
        except ValueError:
            return None
    if kind == "neg":
        return shapes[0], Params()
    if kind == "pow":
        return shapes[0], Params()
    if kind == "matmul":
        fits = len(shapes[0]) >= 1 and len(shapes[1]) == 2 and shapes[0][-1] == shapes[1][0]
        return ((*shapes[0][:-1], shapes[1][1]), Params()) if fits else None
    if kind == "transpose":
        return (shapes[0][::-1], Params()) if len(shapes[0]) == 2 else None
    if kind == "reshape":
        return (1, *shapes[0]) if option else (int(np.prod(shapes[0])),), Params()
    if kind == "broadcast":
        return (2, *shapes[0]), Params()
    axis = (option % len(shapes[0]),) if shapes[0] else ()
    given = {"axis": axis, "keepdims": False}
    return tuple(n for k, n in enumerate(shapes[0]) if k not in axis), Params(str(given), given)


ARITY = {"add": 3, "mul": 3, "div": 2, "neg": 1, "pow": 2, "matmul": 2, "transpose": 1, "reshape": 1, "broadcast": 1,
         "sum": 1}  # fmt: skip


@st.composite
def trees(draw):
    """The same tree twice, simplified and as it stands; both grow node by node."""
    simple, plain = list(ATOMS), list(ATOMS)
    for _ in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(sorted(ARITY)))
        picks = [draw(st.integers(0, len(simple) - 1)) for _ in range(ARITY[kind])]
        if kind == "pow":
            picks[1] = draw(st.sampled_from([ATOMS.index(Number(1.0)), ATOMS.index(Number(2.0))]))
        fitting = shape_of(kind, [plain[k] for k in picks], draw(st.integers(0, 1)))
        if fitting is None or len(fitting[0]) > 3:
            continue
        shape, params = fitting
        simple.append(make(kind, *(simple[k] for k in picks), shape=shape, params=params))
        plain.append(Node(kind, tuple(plain[k] for k in picks), params, shape))
    return simple[-1], plain[-1]


@given(trees())
def test_rules_keep_values_and_shapes(pair):
    simple, plain = pair
    found, expected = (np.asarray(evaluate(e, Values(VALUES))) for e in pair)
    assert simple.shape in (plain.shape, ())
    expected = np.broadcast_to(expected, plain.shape)
    ok = np.isfinite(expected)
    np.testing.assert_allclose(np.broadcast_to(found, plain.shape)[ok], expected[ok], rtol=1e-9, atol=1e-9)


def test_rules_of_every_kind_are_tried():
    assert set(RULES) == {*ARITY, "call"}


def test_a_rule_that_changes_values_is_found(monkeypatch):
    """The property can fail: ``x + x`` is not x."""
    wrong = lambda e: e.args[0] if len(set(e.args)) < len(e.args) else None
    monkeypatch.setitem(RULES, "add", (wrong,))
    pair = make("add", x, x, shape=(2, 3)), Node("add", (x, x), Params(), (2, 3))
    found, expected = (np.asarray(evaluate(e, Values(VALUES))) for e in pair)
    assert not np.allclose(found, expected)


x, y, s = SYMBOLS[0], SYMBOLS[1], Symbol("s")


@pytest.mark.parametrize(
    ("e", "text"),
    [
        (make("mul", x, x, shape=(2, 3)), "x²"),
        (make("add", x, Node("neg", (x,), shape=(2, 3)), shape=(2, 3)), "0 x"),
        (make("mul", Number(2.0), make("mul", Number(3.0), x, shape=(2, 3)), shape=(2, 3)), "6 x"),
        (make("neg", make("neg", x, shape=(2, 3)), shape=(2, 3)), "x"),
        (make("div", make("mul", Number(2.0), x, shape=(2, 3)), Number(6.0), shape=(2, 3)), "x / 3"),
        (make("mul", Node("ones", (), shape=(2, 3)), x, shape=(2, 3)), "x"),
        (make("matmul", make("neg", x, shape=(2, 3)), SYMBOLS[3], shape=(2, 3)), "−x W"),
    ],
)
def test_examples(e, text):
    assert str(e) == text


# Steps that are alike -------------------------------------------------------------------------------------------------


def product(t, other):
    return Node("mul", (Symbol("h", time=t), Symbol("c", time=other)), shape=())


def test_relative_and_absolute_symbols_are_told_apart():
    found = list(runs([(t, product(t - 1, 7)) for t in range(1, 5)]))
    assert [(r.first, r.last, str(r.expr)) for r in found] == [(1, 4, "h_{t−1} · c₇")]
    assert at_step(found[0].expr, 3) == product(2, 7)


def test_steps_that_differ_have_expressions_of_their_own():
    steps = [(1, product(0, 1)), (2, product(1, 2)), (3, product(2, 9)), (4, product(3, 4)), (6, product(5, 6))]
    assert [(r.first, r.last, str(r.expr)) for r in runs(steps)] == [
        (1, 2, "h_{t−1} · c_t"), (3, 3, "h₂ · c₉"), (4, 4, "h₃ · c₄"), (6, 6, "h₅ · c₆"),
    ]  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=8))
def test_runs_say_the_same_as_the_steps(offsets):
    steps = [(t, product(t + a, 5 * b)) for t, (a, b) in enumerate(offsets)]
    found = {t: at_step(r.expr, t) for r in runs(steps) for t in range(r.first, r.last + 1)}
    assert found == dict(steps)


def test_sums_over_steps():
    terms = [product(t - 1, t) for t in range(1, 6)]
    assert str(folded(Node("add", tuple(terms), shape=()))) == "Σ_{t=1}^{5} h_{t−1} · c_t"
    assert str(folded(Node("add", tuple(terms[::-1]), shape=()))) == "Σ_{t=1}^{5} h_{t−1} · c_t"
    assert str(folded(Node("add", (s, *terms), shape=()))) == "s + Σ_{t=1}^{5} h_{t−1} · c_t"
    assert folded(Node("add", tuple(terms), shape=()), few=9) == Node("add", tuple(terms), shape=())
