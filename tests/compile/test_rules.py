"""Rewriting keeps values and gradients, fires where it should and nowhere else, and ends.

Every rule of the tables has an example, a generator of graphs in which it fires; both sides of a rule are computed by
the ops' own NumPy functions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.compile.batching import BIASES, CROSS_ENTROPY, OVER_TIME
from tinygrad_rnn.compile.optimise import optimised, schedule
from tinygrad_rnn.compile.rewrite import GroupRule, P, Rewriter, Rule, number, rewrite
from tinygrad_rnn.compile.rules import CLEAN, FOLD, GATHER, gradient_lines
from tinygrad_rnn.graph import Graph
from tinygrad_rnn.ops.core import apply, registry

SPECIAL = (np.nan, np.inf, -np.inf)
ZEROS = (-0.0, 0.0)
BROADCAST = "broadcast after the operation"
needs_jit = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="programs have no kernels without the compiler")


@cache
def lines() -> list[Rule]:
    return gradient_lines()


def phases() -> list[tuple[str, list[Rule], list[GroupRule]]]:
    """The phases of ``optimised``, so that some rules can be left out."""
    return [
        ("clean", CLEAN, OVER_TIME),
        ("gather", [*CLEAN, *GATHER], OVER_TIME),
        ("fuse", lines(), CROSS_ENTROPY),
        ("fold", FOLD, BIASES),
    ]


RULES: list[Any] = [*CLEAN, *GATHER, *FOLD, *lines(), *OVER_TIME, *CROSS_ENTROPY, *BIASES]


# Cases ----------------------------------------------------------------------------------------------------------------


@dataclass
class Case:
    """Random sizes (each from 1 to 4) and values for an example."""

    dtype: np.dtype
    sizes: tuple[int, int, int, int]
    rng: np.random.Generator
    special: bool
    zeros: bool = False  # among the special values; BLAS is free to skip them, so products have none

    def array(self, *shape: int) -> np.ndarray:
        """Normal numbers; where the case is special, a few of them NaN, infinite or zero."""
        a = self.rng.normal(size=shape).astype(self.dtype)
        if self.special and a.size and self.rng.random() < 0.5:
            a.flat[self.rng.integers(a.size, size=2)] = self.rng.choice(
                (*SPECIAL, *ZEROS) if self.zeros else SPECIAL, 2
            )
        return a

    def index(self, count: int, *shape: int) -> np.ndarray:
        return self.rng.integers(-count, count, shape)

    def target(self, count: int, *shape: int) -> np.ndarray:
        return self.rng.integers(0, count, shape)

    def pick(self, *choices: Any) -> Any:
        return choices[self.rng.integers(len(choices))]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    size = st.integers(1, 4)
    return Case(
        np.dtype(draw(st.sampled_from([np.float32, np.float64]))),
        (draw(size), draw(size), draw(size), draw(size)),
        np.random.default_rng(draw(st.integers(0, 2**32 - 1))),
        draw(st.booleans()),
    )


Example = tuple[Callable[..., Any], list[np.ndarray]]
EXAMPLES: dict[str, Callable[[Any, Case], Example]] = {}


def example(*names: str) -> Any:
    """Enter a generator of graphs, ``f(rule, case) -> (function, arrays)``, for rules of these names."""

    def enter(make: Any) -> Any:
        EXAMPLES.update(dict.fromkeys(names, make))
        return make

    return enter


def one(function: Callable[..., Any], *arrays: np.ndarray) -> Example:
    return function, list(arrays)


# Examples: CLEAN ------------------------------------------------------------------------------------------------------


@example("reshape to the same shape")
def _(rule: Rule, c: Case) -> Example:
    shape = c.sizes[: c.rng.integers(5)]
    return one(lambda x: tg.sin(x.reshape(shape)), c.array(*shape))


@example("reshape of a reshape")
def _(rule: Rule, c: Case) -> Example:
    a, b, d, _ = c.sizes
    return one(lambda x: tg.sin(x.reshape(b, a * d).reshape(1, d, b * a)), c.array(a, b, d))


@example("reshape of one repeated number")
def _(rule: Rule, c: Case) -> Example:
    a, b, *_ = c.sizes
    first = c.pick((), (1,), (1, 1))
    return one(lambda x, y: tg.broadcast_to(x, (a + 1, b)).reshape(b, 1, a + 1) * y, c.array(*first), c.array(a + 1))


@example("slice of one repeated number")
def _(rule: Rule, c: Case) -> Example:
    a, b, *_ = c.sizes
    index = c.pick(0, -1, (slice(None), 0), (slice(1, None), None), (Ellipsis, slice(None, None, -1)))
    return one(lambda x: tg.sin(tg.broadcast_to(x, (a + 1, b))[index]), c.array(*c.pick((), (1,), (1, 1))))


@example("detached value")
def _(rule: Rule, c: Case) -> Example:
    return one(lambda x: tg.sin(x.detach() * x), c.array(*c.sizes[:2]))


@example("transpose in order")
def _(rule: Rule, c: Case) -> Example:
    return one(lambda x: tg.sin(x.transpose(0, 1, 2)), c.array(*c.sizes[:3]))


@example("transpose of a transpose")
def _(rule: Rule, c: Case) -> Example:
    first, second = (c.pick((1, 0, 2, 3), (3, 1, 0, 2), (2, 3, 0, 1)) for _ in range(2))
    return one(lambda x: tg.sin(x.transpose(first).transpose(second)), c.array(*c.sizes))


@example("broadcast to the same shape")
def _(rule: Rule, c: Case) -> Example:
    a, b, *_ = c.sizes
    return one(lambda x: tg.sin(apply(registry["broadcast_to"], (x,), {"shape": (a, b)})), c.array(a, b))


@example("broadcast of a broadcast")
def _(rule: Rule, c: Case) -> Example:
    a, b, d, _ = c.sizes
    return one(lambda x: tg.broadcast_to(tg.broadcast_to(x, (b, d)), (a, b, d)), c.array(*c.pick((d,), (1,), ())))


@example("cast to the same type")
def _(rule: Rule, c: Case) -> Example:
    return one(lambda x: tg.sin(apply(registry["cast"], (x,), {"dtype": x.dtype})), c.array(*c.sizes[:2]))


@example("cast there and back")
def _(rule: Rule, c: Case) -> Example:
    c.dtype = np.dtype(np.float32)
    return one(lambda x: tg.sin(x.astype(np.float64).astype(np.float32)), c.array(*c.sizes[:2]))


@example("slice of everything")
def _(rule: Rule, c: Case) -> Example:
    a, b, *_ = c.sizes
    index = c.pick((), slice(None), (slice(0, a), slice(None)), (slice(-a, None, 1), slice(0, 99)))
    return one(lambda x: tg.sin(x[index]), c.array(a, b))


@example("slice of a stack")
def _(rule: Rule, c: Case) -> Example:
    a, b, d, _ = c.sizes
    axis, k = int(c.rng.integers(3)), int(c.rng.integers(-d, d))
    rest = c.pick((), (None,), (Ellipsis, 0)) if axis < 2 else ()
    index = (slice(None),) * axis + (k, *rest)
    return one(lambda *xs: tg.sin(tg.stack(list(xs), axis)[index]), *(c.array(a, b) for _ in range(d)))


@example("concatenation of one")
def _(rule: Rule, c: Case) -> Example:
    return one(lambda x: tg.sin(tg.concatenate([x], 1)), c.array(*c.sizes[:2]))


@example("mean as a sum")
def _(rule: Rule, c: Case) -> Example:
    axis, keepdims = c.pick(None, 0, (0, 2), -1), c.pick(True, False)
    return one(lambda x: tg.mean(x, axis, keepdims), c.array(*c.sizes[:3]))


@example("negative of a negative")
def _(rule: Rule, c: Case) -> Example:
    return one(lambda x: tg.sin(tg.negative(tg.negative(x))), c.array(*c.sizes[:2]))


@example("multiply: 1 is neutral", "divide: 1 is neutral", "add: -0 is neutral", "subtract: 0 is neutral")
def _(rule: Rule, c: Case) -> Example:
    op, place = rule.pattern.op, [type(p) is number for p in rule.pattern.inputs].index(True)
    value = rule.pattern.inputs[place].value

    def function(x: tg.Tensor) -> tg.Tensor:
        neutral = tg.tensor(np.full(c_shape, value, x.dtype))
        return tg.sin(apply(op, (neutral, x) if place == 0 else (x, neutral)))

    a, b, *_ = c.sizes
    c_shape = c.pick((), (1,), (1, 1))
    return one(function, c.array(a, b))


@example(BROADCAST)
def _(rule: Rule, c: Case) -> Example:
    a, b, d, _ = c.sizes
    kernels = rule.pattern.op.kernels
    shapes = [(1, d), (), (b, 1)]
    arrays = [c.array(*shapes[k % 3]) for k in range(kernels.arity)]
    if kernels.condition:
        arrays[0] = arrays[0] > 0
    big = (a + 1, b, d)
    return one(lambda *xs: apply(rule.pattern.op, tuple(tg.broadcast_to(x, big) for x in xs)), *arrays)


# Examples: GATHER -----------------------------------------------------------------------------------------------------


@example("bias to what does not recur")
def _(rule: Rule, c: Case) -> Example:
    m, k, n, steps = c.sizes
    inner = rule.pattern.inputs[0].inputs
    first = inner[0].op.name != "matmul"
    looked_up = (inner[0] if first else inner[1]).op.name == "lookup"

    def function(table: Any, tokens: Any, xs: Any, u: Any, h: Any, w: Any, b: Any) -> Any:
        x = table[tokens] if looked_up else (xs @ u)[0]
        return (x + h @ w if first else h @ w + x) + b

    arrays = [c.array(m + 2, n), c.index(m + 2, m), c.array(steps, m, k), c.array(k, n)]
    return function, [*arrays, c.array(m, k), c.array(k, n), c.array(n)]


@example("bias before the slice")
def _(rule: Rule, c: Case) -> Example:
    m, k, n, steps = c.sizes
    axis = int(c.rng.integers(2))
    index = (slice(None),) * axis + (0,)
    return one(lambda xs, u, b: (xs @ u)[index] + b, c.array(steps, m, k), c.array(k, n), c.array(n))


@example("indexing of rows is a lookup", "assembly of rows is a scatter")
def _(rule: Rule, c: Case) -> Example:
    m, k, n, _ = c.sizes
    return one(lambda table, i: tg.sin(table[i]), c.array(k, n), c.index(k, *c.pick((m,), (m, n))))


@example("one-hot rows times a matrix are a lookup")
def _(rule: Rule, c: Case) -> Example:
    m, k, n, steps = c.sizes
    tokens = c.target(k, *c.pick((m,), (steps, m)))
    return one(lambda i, w: tg.sin(tg.one_hot(i, k, w.dtype) @ w), tokens, c.array(k, n))


@example("product before lookup", "product after scatter", "weight gradient of looked-up rows")
def _(rule: Rule, c: Case) -> Example:
    m, k, n, steps = c.sizes
    tokens = c.index(m, steps, m + 1)
    return one(lambda table, i, w: tg.sin(table[i] @ w), c.array(m, k), tokens, c.array(k, n))


@example("bias before lookup")
def _(rule: Rule, c: Case) -> Example:
    m, k, n, _ = c.sizes
    bias = c.array(*c.pick((n,), (1, n)))
    return one(lambda table, i, b: tg.sin(table[i] + b), c.array(k, n), c.index(k, k + m), bias)


@example("slice of a lookup")
def _(rule: Rule, c: Case) -> Example:
    m, k, n, steps = c.sizes
    index = c.pick(0, -1, (slice(None), 0), (0, 0), slice(1, None), (slice(None, None, -1), slice(0, 1)))
    return one(lambda table, i: tg.sin(table[i][index]), c.array(k, n), c.index(k, steps, m))


@example("weight gradient of one-hot rows is a scatter")
def _(rule: Rule, c: Case) -> Example:
    m, k, n, steps = c.sizes
    return one(lambda i, w: tg.sin(tg.one_hot(i, k, w.dtype) @ w), c.target(k, steps, m), c.array(k, n))


# Examples: FOLD, gradient lines, groups -------------------------------------------------------------------------------


@example("addition into a product")
def _(rule: Rule, c: Case) -> Example:
    m, k, n, steps = c.sizes
    added_last = type(rule.pattern.inputs[1]) is str
    lead = c.pick((), (steps,))
    addend = c.array(*c.pick((*lead, m, n), (n,), (m, 1), ()))
    return one(lambda a, x, w: x @ w + a if added_last else a + x @ w, addend, c.array(*lead, m, k), c.array(k, n))


def of_line(rule: Rule, c: Case) -> Example:
    """The gradient of an elementwise op by the input that the line is for, named in the rule."""
    _, _, i, _, name = rule.name.split()
    op = registry[name]

    def function(g: Any, *xs: Any) -> Any:
        return tg.grad(apply(op, xs), xs[int(i)], g)

    a, b, *_ = c.sizes
    return one(function, *(c.array(a, b) for _ in range(op.kernels.arity + 1)))


EXAMPLES |= {rule.name: of_line for rule in lines()}


@example("stack of all slices")
def _(rule: Rule, c: Case) -> Example:
    shape = c.sizes[:3]
    axis = int(c.rng.integers(3))
    lead, n = (slice(None),) * axis, shape[axis]
    places = [(*lead, k - c.pick(0, n)) for k in range(n)]
    return one(lambda x: tg.sin(tg.stack([x[p] for p in places], axis) if places else x), c.array(*shape))


@example("stack of lookups")
def _(rule: Rule, c: Case) -> Example:
    m, k, n, steps = c.sizes
    axis, hot = int(c.rng.integers(2)), c.pick(True, False)

    def function(table: Any, tokens: Any) -> Any:
        rows = [tg.one_hot(tokens[t], k, table.dtype) if hot else table[tokens[t]] for t in range(steps)]
        return tg.stack(rows, axis) * (tg.mean(table) if hot else 1.5)

    return one(function, c.array(k, n), c.target(k, steps, m))


@example("assembly of all parts")
def _(rule: Rule, c: Case) -> Example:
    m, _, n, steps = c.sizes
    kind, axis = c.pick("int", "slices"), int(c.rng.integers(3))
    lead = (slice(None),) * axis

    def function(x: Any) -> Any:
        if kind == "int":
            parts = [(*lead, t) for t in range(x.shape[axis])]
        else:
            cut = x.shape[axis] // 2
            parts = [(*lead, slice(None, cut)), (*lead, slice(cut, None))]
        return sum((tg.sin(x[p]) * (k + 1.5)).sum() for k, p in enumerate(parts))

    return one(function, c.array(steps, m, n))


@example("parts at the same place")
def _(rule: Rule, c: Case) -> Example:
    m, _, n, steps = c.sizes

    def function(x: Any) -> Any:
        used = sum((tg.sin(x[t % 2] * (t + 1.5))).sum() for t in range(steps + 2))
        return used + tg.sin(x[:, 0] * 2.5).sum()

    return one(function, c.array(m + 1, n))


@example("assembly of rows over time")
def _(rule: Rule, c: Case) -> Example:
    m, k, n, steps = c.sizes

    def function(table: Any, tokens: Any) -> Any:
        return sum(tg.sin(table[tokens[t]] * (t + 1.5)) for t in range(steps + 1))

    return one(function, c.array(k, n), c.index(k, steps + 1, *c.pick((m,), (m, 2), ())))


@example("bias gradients over time")
def _(rule: Rule, c: Case) -> Example:
    m, k, n, steps = c.sizes
    once = c.pick(False, True)

    def function(xs: Any, w: Any, u: Any, b: Any) -> Any:
        h, total = tg.zeros((m, n), dtype=xs.dtype), tg.sin(b).sum() if once else 0.0
        for t in range(steps + 1):
            h = tg.tanh(xs[t] @ w + h @ u + b)
            total = total + (h * (t + 1.5)).sum()
        return total

    return one(function, c.array(steps + 1, m, k), c.array(k, n), c.array(n, n), c.array(*c.pick((n,), (1, n))))


@example("weight gradients over time")
def _(rule: Rule, c: Case) -> Example:
    m, k, n, steps = c.sizes

    def function(w: Any, *xs: Any) -> Any:
        return sum(tg.sin(x @ w).sum() for x in xs)

    shapes = [(m, k), (m, k), *c.pick([], [(m + 1, k)], [(steps, m, k)])]
    return one(function, c.array(k, n), *(c.array(*s) for s in shapes))


@example("products over time")
def _(rule: Rule, c: Case) -> Example:
    m, k, n, steps = c.sizes
    axis = int(c.rng.integers(2))

    def function(w: Any, u: Any, xs: Any, h: Any) -> Any:
        for t in tg.steps(xs.shape[axis]):
            h = tg.sin((xs[:, t] if axis else xs[t]) @ w + h @ u)
        return h

    xs = c.array(m, steps + 1, k) if axis else c.array(steps + 1, m, k)
    return one(function, c.array(k, n), c.array(n, n), xs, c.array(m, n))


@example("softmax with cross-entropy")
def _(rule: Rule, c: Case) -> Example:
    m, k, _, steps = c.sizes
    lead, reduction = c.pick((m,), (steps, m), ()), c.pick("none", "sum", "mean")
    return one(lambda x, t: tg.cross_entropy(x, t, reduction=reduction), c.array(*lead, k), c.target(k, *lead))


# What every rule must do ----------------------------------------------------------------------------------------------


def with_gradients(function: Callable[..., Any], arrays: list[np.ndarray], rng: np.random.Generator) -> Graph:
    """The recorded function, and the gradients of its float outputs with random cotangents."""
    floats = [k for k, a in enumerate(arrays) if a.dtype.kind == "f"]
    seed = int(rng.integers(2**31))

    def both(*xs: tg.Tensor) -> list[tg.Tensor]:
        own = np.random.default_rng(seed)
        y = function(*xs)
        outputs = [t for t in ([y] if isinstance(y, tg.Tensor) else y) if t.is_float]
        cotangents = [own.normal(size=t.shape).astype(t.dtype) for t in outputs]
        gradients: Any = tg.grad(outputs, [xs[k] for k in floats], cotangents, allow_unused=True) if outputs else []
        return [*([y] if isinstance(y, tg.Tensor) else y), *(g for g in gradients if g is not None)]

    return tg.trace(both, *(tg.Spec(a.shape, a.dtype) for a in arrays))


def assert_close(found: np.ndarray, expected: np.ndarray, what: str = "") -> None:
    """The same up to rounding, with NaN and infinities in the same places."""
    assert found.shape == expected.shape, f"{what}: shape {found.shape}, expected {expected.shape}"
    assert found.dtype == expected.dtype, f"{what}: {found.dtype}, expected {expected.dtype}"
    if found.dtype.kind != "f":
        assert np.array_equal(found, expected), what
        return
    finite = np.isfinite(expected)
    scale = np.abs(expected).max(initial=1.0, where=finite)
    rounding = 64 * float(np.finfo(expected.dtype).eps)
    np.testing.assert_allclose(found, expected, rtol=rounding, atol=rounding * scale, err_msg=what)


def rewritten(graph: Graph, steps: Any) -> tuple[Graph, list[str]]:
    """The graph after phases of rewriting, and the names of the rules that fired."""
    rewriter = Rewriter(list(graph.outputs))
    for name, rules, groups in steps:
        rewrite(rewriter, name, rules, groups)
    schedule(rewriter)
    return Graph(rewriter.roots, graph.placeholders), [firing.rule for firing in rewriter.log]


def preserved(graph: Graph, steps: Any, arrays: list[np.ndarray]) -> list[str]:
    """Check that rewriting keeps all outputs; gives the names of the rules that fired."""
    after, fired = rewritten(graph, steps)
    before = Graph(graph.outputs, graph.placeholders)
    for k, (found, expected) in enumerate(zip(after(*arrays), before(*arrays), strict=True)):
        assert_close(found.numpy(), expected.numpy(), f"output {k} after {sorted(set(fired))}")
    return fired


def without_siblings(rule: Any) -> list[tuple[str, list[Any], list[Any]]]:
    """All phases, without the other rules of the same name."""
    return [(name, [r for r in rules if r is rule or r.name != rule.name], groups) for name, rules, groups in phases()]


def label(rule: Any) -> str:
    place = [r for r in RULES if r.name == rule.name].index(rule)
    return f"{rule.name} ({rule.pattern.op.name})" if rule.name == BROADCAST else f"{rule.name} {place}"


def test_every_rule_has_an_example():
    names = {rule.name for rule in RULES}
    assert names - EXAMPLES.keys() == set(), "rules without an example"
    assert EXAMPLES.keys() - names == set(), "examples without a rule"


# Rows that nobody looks up, and zeros of one-hot rows, are left out of account; see the tests of their own.
BY_WAY_OF_A_TABLE = {
    "one-hot rows times a matrix are a lookup",
    "product before lookup",
    "product after scatter",
    "weight gradient of one-hot rows is a scatter",
    "weight gradient of looked-up rows",
}
FAMILIES = {BROADCAST, *(rule.name for rule in lines())}  # one reason for many rules


@pytest.mark.parametrize("rule", [r for r in RULES if r.name not in FAMILIES], ids=label)
@given(c=cases())
def test_a_rule_fires_and_keeps_value_and_gradient(rule, c):
    c.zeros = rule in CLEAN
    c.special = c.special and rule.name not in BY_WAY_OF_A_TABLE
    function, arrays = EXAMPLES[rule.name](rule, c)
    graph = with_gradients(function, arrays, c.rng)
    assert rule.name in preserved(graph, without_siblings(rule), arrays)
    alone = ("alone", [], [rule]) if isinstance(rule, GroupRule) else ("alone", [rule], [])
    preserved(graph, [alone], arrays)


@pytest.mark.parametrize("rule", [r for r in RULES if r.name == BROADCAST], ids=label)
@settings(max_examples=5)
@given(c=cases())
def test_an_operation_goes_before_the_broadcast(rule, c):
    c.zeros = True
    function, arrays = EXAMPLES[BROADCAST](rule, c)
    graph = tg.trace(lambda *xs: [function(*xs)], *(tg.Spec(a.shape, a.dtype) for a in arrays))
    assert preserved(graph, [("alone", [rule], [])], arrays) == [BROADCAST]


@pytest.mark.parametrize("rule", lines(), ids=label)
@settings(max_examples=5)
@given(c=cases())
def test_a_gradient_line_becomes_its_kernel(rule, c):
    fired = []
    for dtype in (np.float32, np.float64):
        c.dtype, c.zeros = np.dtype(dtype), True
        function, arrays = of_line(rule, c)
        graph = tg.trace(lambda *xs, f=function: [f(*xs)], *(tg.Spec(a.shape, a.dtype) for a in arrays))
        fired.append(preserved(graph, [("alone", [rule], [])], arrays).count(rule.name))
    assert sorted(fired) == [0, 1], "a rule is made for one of the two types"


# NaN and infinities by way of a table ---------------------------------------------------------------------------------


def values_of(graph: Graph, arrays: list[np.ndarray]) -> list[np.ndarray]:
    return [t.numpy() for t in Graph(graph.outputs, graph.placeholders)(*arrays)]


@given(c=cases())
def test_a_one_hot_product_does_what_indexing_does(c):
    """Also with values that are not finite: a product by the zeros of one-hot rows would spread NaN to all of them."""
    m, k, n, steps = c.sizes
    c.special = True
    tokens, w, cotangent = c.target(k, steps, m), c.array(k, n), c.array(steps, m, n)

    def gradient(rows):
        return lambda w, tokens, g: [y := rows(w, tokens), tg.grad(y, w, g)]

    by_product = gradient(lambda w, tokens: tg.one_hot(tokens, k, w.dtype) @ w)
    by_index = gradient(lambda w, tokens: w[tokens])
    arrays = [w, tokens, cotangent]
    specs = [tg.Spec(a.shape, a.dtype) for a in arrays]
    found, names = rewritten(tg.trace(by_product, *specs), phases())
    assert "one-hot rows times a matrix are a lookup" in names
    for a, b in zip(values_of(found, arrays), values_of(tg.trace(by_index, *specs), arrays), strict=True):
        assert_close(a, b)


@given(c=cases())
def test_what_is_not_finite_in_rows_that_are_looked_up_is_seen(c):
    """Sums of infinities may be NaN on one side and infinite on the other, but are finite on neither."""
    m, k, n, _ = c.sizes
    c.special = True
    tokens = c.rng.permutation(np.concatenate([np.arange(m), c.target(m, m + 1)]))[None]
    arrays = [c.array(m, k), tokens, c.array(k, n)]
    graph = with_gradients(lambda table, i, w: tg.sin(table[i] @ w), arrays, c.rng)
    found, names = rewritten(graph, phases())
    assert set(names) >= {"product before lookup", "product after scatter", "weight gradient of looked-up rows"}
    value, *gradients = zip(values_of(found, arrays), values_of(graph, arrays), strict=True)
    assert_close(*value)
    for a, b in gradients:
        assert np.array_equal(np.isfinite(a), np.isfinite(b))


# The tester itself ----------------------------------------------------------------------------------------------------


def wrong_rules() -> list[Rule]:
    return [
        Rule("off by a thousandth", P("negative", "x"), lambda node, x: x * -1.001),
        Rule("hides NaN", P("negative", "x"), lambda node, x: tg.where(x != x, 0, x * -1)),
        Rule("hides infinities", P("negative", "x"), lambda node, x: tg.clip(x * -1, -3e38, 3e38)),
        Rule("another shape", P("negative", "x"), lambda node, x: (x * -1).reshape(1, -1)),
        Rule("another type", P("negative", "x"), lambda node, x: (x * -1).astype(np.float64)),
    ]


@pytest.mark.parametrize("rule", wrong_rules(), ids=lambda r: r.name)
def test_a_wrong_rule_is_caught(rule):
    x = np.array([1.0, -2.0, np.nan, np.inf], np.float32)
    graph = tg.trace(lambda x: [-x], (4,))
    with pytest.raises(AssertionError):
        preserved(graph, [("alone", [rule], [])], [x])


# Where rules must not fire --------------------------------------------------------------------------------------------

F32, F64, INT = np.float32, np.float64, np.int64


def fired(function: Callable[..., Any], *specs: Any) -> set[str]:
    """The rules that all phases together apply; arguments are shapes of float32, or specs."""
    graph = tg.trace(lambda *xs: flat(function(*xs)), *specs)
    return set(rewritten(graph, phases())[1])


def flat(y: Any) -> list[tg.Tensor]:
    return [y] if isinstance(y, tg.Tensor) else list(y)


def double(*shape: int) -> tg.Spec:
    return tg.Spec(shape, np.dtype(F64))


def whole(*shape: int) -> tg.Spec:
    return tg.Spec(shape, np.dtype(INT))


def mixed(name: str, value: float) -> Callable[..., Any]:
    """An op of a float32 and a float64, which no public function records."""
    return lambda x: apply(registry[name], (x, tg.tensor(np.array(value, F64))))


@pytest.mark.parametrize(
    ("function", "spec"),
    [
        (lambda x: x * 1.0000001, double(3)),
        (lambda x: x / (1 - 1e-16), double(3)),
        (lambda x: x + 1e-300, double(3)),
        (lambda x: x * -1.0, (3,)),
        (lambda x: x * np.nan, (3,)),
        (lambda x: 0.0 - x, (3,)),
        (lambda x: 1.0 / x, (3,)),
        (lambda x: x + tg.zeros((2, 3)), (3,)),
        (lambda x: x * tg.ones((1, 1, 1)), (2, 3)),
        (lambda x: x * tg.tensor([1.0, 1.0, 1.5]), (3,)),
        (lambda x: x * 0.0, (3,)),
        (mixed("multiply", 1.0), (3,)),
        (mixed("add", 0.0), (3,)),
    ],
)
def test_what_is_not_neutral_stays(function, spec):
    assert fired(function, spec) == set()


@pytest.mark.parametrize(
    ("function", "spec"),
    [
        (lambda x: x.reshape(3, 2), (2, 3)),
        (lambda x: x.transpose(1, 0), (2, 2)),
        (lambda x: tg.broadcast_to(x, (2, 3)), (1, 3)),
        (lambda x: tg.broadcast_to(x, (2, 3)).reshape(6), (1, 3)),
        (lambda x: tg.broadcast_to(x, (2, 3))[0], (1, 3)),
        (lambda x: x.astype(F32).astype(F64), double(3)),
        (lambda x: x.astype(F64), (3,)),
        (lambda x: x.astype(F32).astype(F64), whole(3)),
        (lambda x: x[::-1], (3,)),
        (lambda x: x[1:], (3,)),
        (lambda x: x[None], (1,)),
        (lambda x: x[:, ::-1], (3, 1)),
        (lambda x: tg.stack([x, x * 2])[:, 0], (3,)),
        (lambda x: tg.stack([x, x * 2])[1:], (3,)),
        (lambda x: tg.stack([x, x * 2])[::-1], (3,)),
        (lambda x: tg.stack([x, x * 2])[..., 0], (3,)),
        (lambda x: tg.stack([x, x * 2], 1)[0], (3,)),
        (lambda x: tg.concatenate([x, x * 2]), (3,)),
        (lambda x: -tg.sin(-x), (3,)),
    ],
)
def test_what_is_not_redundant_stays(function, spec):
    assert fired(function, spec) == set()


@needs_jit
def test_a_gradient_line_is_of_one_dtype():
    """What is compared may be of another dtype than what is chosen, and a kernel reads all of its own."""
    x, g = np.array([-1.0, 2.0, 0.0], F32), np.array([1.0, 2.0, 3.0])
    compiled = tg.compile(lambda x, g: tg.where(x <= 0, 0, g))
    assert compiled(x, g).tolist() == [0.0, 2.0, 0.0]
    assert compiled.program(x, g).log == []
    assert compiled(x.astype(F64), g).tolist() == [0.0, 2.0, 0.0]
    assert compiled.program(x.astype(F64), g).kernels == ["relu_vjp0"]


@pytest.mark.parametrize(
    ("function", "specs", "rule"),
    [
        (lambda e, i, w: e[i] @ w, [(9, 2), whole(3), (2, 4)], "product before lookup"),
        (lambda e, i, w: e[i] @ w, [(3, 2), whole(3), (2, 4)], "product before lookup"),
        (lambda e, i, w: e[i] @ w, [(2, 2), whole(5, 3), (5, 2, 4)], "product before lookup"),
        (lambda e, i, w: e[i] @ w, [(2, 2), whole(3), (2,)], "product before lookup"),
        (lambda e, i: e[i], [(2, 3, 4), whole(3)], "indexing of rows is a lookup"),
        (lambda e, i: e[:, i], [(2, 3), whole(3)], "indexing of rows is a lookup"),
        (lambda e, i: e[i, i], [(2, 3), whole(3)], "indexing of rows is a lookup"),
        (lambda e, i, b: e[i] + b, [(9, 2), whole(3), (2,)], "bias before lookup"),
        (lambda e, i, b: e[i] + b, [(2, 2), whole(3), (3, 2)], "bias before lookup"),
        (lambda e, i, b: e[i] + b, [(2, 2), whole(3), (3, 1)], "bias before lookup"),
        (lambda e, i, b: [e[i] + b, e[i + 1], e[i - 1]], [(1, 2), whole(), (1, 2)], "bias before lookup"),
        (lambda e, i: e[i][0, 0], [(2, 2), whole(3)], "slice of a lookup"),
        (lambda e, i: e[i][..., 0], [(2, 2), whole(3)], "slice of a lookup"),
        (lambda e, i: e[i][None], [(2, 2), whole(3)], "slice of a lookup"),
        (lambda x, u, b: (x @ u)[0] + b, [(2, 3, 4), (4, 5), (3, 5)], "bias before the slice"),
        (lambda x, u, b: (x @ u)[:2] + b, [(2, 3, 4), (4, 5), (5,)], "bias before the slice"),
        (lambda x, u, b: (x @ u)[..., 0] + b, [(2, 3, 4), (4, 3), (3,)], "bias before the slice"),
        (lambda c, x, w: [c + (x @ w), x @ w], [(2, 4), (2, 3), (3, 4)], "addition into a product"),
        (lambda c, x, w: c + x @ w, [(5, 4), (1, 3), (3, 4)], "addition into a product"),
        (lambda c, x, w: c + x @ w, [(4,), (2, 5, 3), (2, 3, 4)], "addition into a product"),
        (lambda c, x, w: c + x @ w, [(4,), (3,), (3, 4)], "addition into a product"),
        (lambda x, w: x @ w + x @ w, [(2, 3), (3, 4)], "addition into a product"),
    ],
)
def test_products_and_lookups_stay_where_moving_is_wrong_or_dear(function, specs, rule):
    assert rule not in fired(function, *specs)


def test_an_empty_index_is_no_entry():
    graph = tg.trace(lambda x, w, b: [(x @ w)[()] + b], (2, 3), (3, 4), (4,))
    assert rewritten(graph, [("alone", GATHER, [])])[1] == []


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32])
def test_narrow_indices_of_a_long_table(dtype):
    table, index = np.arange(600.0).reshape(300, 2), np.array([1, 100, 7], dtype)
    graph = tg.trace(lambda table, i: [table[i]], double(300, 2), tg.Spec((3,), np.dtype(dtype)))
    assert "indexing of rows is a lookup" in preserved(graph, phases(), [table, index])


@pytest.mark.parametrize("name", ["gelu", "elu", "erf", "erfc", "softplus", "expm1", "sigmoid", "tanh"])
def test_a_line_that_uses_something_twice_is_one_kernel(name):
    gradient = lambda x, w: tg.grad((getattr(tg, name)(x) * w).sum(), x)
    assert fired(gradient, (3,), (3,)) == {f"gradient line 0 of {name}"}


def test_what_a_fused_line_would_compute_twice_stays():
    def gradient(x, g, used):
        y = tg.tanh(x)
        inner = 1 - y * y
        return [g * inner, *([inner] if used else [])]

    assert "gradient line 0 of tanh" in fired(lambda x, g: gradient(x, g, False), (3,), (3,))
    assert "gradient line 0 of tanh" not in fired(lambda x, g: gradient(x, g, True), (3,), (3,))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: tg.stack([x[1], x[0], x[2]]),
        lambda x: tg.stack([x[0], x[1]]),
        lambda x: tg.stack([x[0], x[1], x[1]]),
        lambda x: tg.stack([x[0], x[1], x[2]], 1),
        lambda x: tg.stack([x[:, 0], x[:, 1], x[:, 2]]),
        lambda x: tg.stack([x[None, 0], x[None, 1], x[None, 2]], 1)[:, :, 0],
        lambda x: tg.stack([x[0], x[1], (x * 2)[2]]),
        lambda x: tg.stack([x[0, ::-1], x[1, ::-1], x[2, ::-1]]),
    ],
)
def test_other_stacks_of_slices_stay(function):
    assert "stack of all slices" not in fired(function, (3, 3))


@pytest.mark.parametrize(
    "function",
    [
        lambda e, f, i: tg.stack([e[i[0]], f[i[1]]]),
        lambda e, f, i: tg.stack([e[i[0]], e[i[1]]], 2),
        lambda e, f, i: tg.stack([e[i[0]], e[i[1]] * 2]),
        lambda e, f, i: tg.stack([tg.one_hot(i[0], 3), tg.one_hot(i[1], 3)], 2),
        lambda e, f, i: tg.stack([e[i[0]], e[i[1].astype(np.int32)]]),
        lambda e, f, i: tg.stack([e[:, i[0]], e[:, i[1]]]),
    ],
)
def test_other_stacks_of_lookups_stay(function):
    assert "stack of lookups" not in fired(function, (3, 3), (3, 3), whole(2, 4))


@pytest.mark.parametrize(
    "places",
    [
        [slice(0, 2), slice(1, 3)],
        [slice(0, 1), slice(2, 3)],
        [slice(0, 2)],
        [0, 1],
        [0, 1, 1],
        [0, 1, 2, -1],
        [slice(0, 2), 2],
        [slice(None, None, 2), slice(1, None, 2)],
        [slice(None, None, -1)],
        [(slice(None), 0), 1],
        [(0, slice(None)), (1, slice(None, None, -1)), 2],
        [(Ellipsis, 0), (Ellipsis, 1)],
        [None],
    ],
)
def test_an_assembly_with_holes_or_overlaps_stays(places):
    def function(x):
        return tg.grad(sum((tg.sin(x[p]) * (k + 2.0)).sum() for k, p in enumerate(places)), x)

    assert "assembly of all parts" not in fired(function, (3, 3))
    x = np.random.default_rng(0).normal(size=(3, 3)).astype(F32)
    preserved(tg.trace(lambda x: [function(x)], (3, 3)), phases(), [x])


@pytest.mark.parametrize(
    "function",
    [
        lambda e, i, j: tg.sin(e[i]).sum() + tg.sin(e[j]).sum(),
        lambda e, i, j: tg.sin(e[i]).sum() + tg.sin(e[i.astype(np.int32)]).sum(),
        lambda e, i, j: tg.sin(e[:, i]).sum() + tg.sin(e[:, i + 1]).sum(),
        lambda e, i, j: tg.sin(e[i]).sum() + tg.sin(e[0]).sum(),
        lambda e, i, j: tg.sin(e[i, i]).sum() + tg.sin(e[i, i + 1]).sum(),
    ],
)
def test_other_assemblies_of_rows_stay(function):
    graph = tg.trace(lambda e, i, j: [tg.grad(function(e, i, j), e)], double(3, 3), whole(2), whole(4))
    arrays = [np.random.default_rng(0).normal(size=(3, 3)), np.array([1, 1]), np.array([0, 2, 0, 1])]
    assert "assembly of rows over time" not in preserved(graph, phases(), arrays)


def test_products_that_need_one_another_stay():
    def recurrence(h, w):
        for _ in range(4):
            h = tg.tanh(h @ w)
        return h

    assert "products over time" not in fired(recurrence, (2, 3), (3, 3))
    assert "products over time" not in fired(lambda x, u, w: [x @ u, x @ w], (2, 3), (3, 3), (3, 3))
    assert "products over time" not in fired(lambda x, y, w: [x @ w, y @ w], (2, 3), (4, 3), (3, 3))


def test_products_in_a_loop_that_feeds_back_keep_their_values():
    """Some products of one matrix depend on others in ways that no single level describes."""

    def function(w, a, b):
        c = tg.tanh(a @ w)
        d = tg.tanh(c @ w) + b @ w
        return [tg.sin(d @ w), tg.cos(c @ w) + tg.sin(a @ w)]

    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=s) for s in ((3, 3), (2, 3), (2, 3))]
    graph = with_gradients(function, arrays, rng)
    assert "products over time" in preserved(graph, phases(), arrays)


@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (lambda a, g, b, h: a.T @ g + b.T @ h, [(2, 3), (2, 4), (2, 1), (2, 4)]),
        (lambda a, g, b, h: a.T @ g - b.T @ h, [(2, 3), (2, 4), (2, 3), (2, 4)]),
        (lambda a, g, b, h: a.T @ g + b @ h, [(2, 3), (2, 4), (3, 2), (2, 4)]),
        (lambda a, g, b, h: [a.T @ g + b.T @ h, a.T @ g, b.T @ h], [(2, 3), (2, 4), (2, 3), (2, 4)]),
        (lambda a, g, b, h: a.T @ g + b, [(2, 3), (2, 4), (3, 4), (1,)]),
        (lambda a, g, b, h: a.transpose(0, 2, 1) @ g + b.transpose(0, 2, 1) @ h, [(5, 2, 3), (5, 2, 4)] * 2),
    ],
)
def test_other_sums_of_products_stay(function, shapes):
    assert "weight gradients over time" not in fired(function, *shapes)


@given(c=cases())
def test_contraction_of_operands_of_several_shapes(c):
    m, k, n, steps = c.sizes

    def function(w, *xs):
        return sum((x @ w).sum() * (j + 1.5) for j, x in enumerate(xs)) + tg.sin(w).sum()

    shapes = [(m, k), (m + 1, k), (m, k), (steps, m, k), (m + 1, k), (steps, m, k)]
    arrays = [c.array(k, n), *(c.array(*s) for s in shapes)]
    fired = preserved(with_gradients(function, arrays, c.rng), phases(), arrays)
    assert fired.count("weight gradients over time") == 1


@pytest.mark.parametrize(
    "function",
    [
        lambda x, t, s, g: g[:, :1] * (tg.softmax(x) - tg.one_hot(s, 3)),
        lambda x, t, s, g: g[:, :1] * (tg.softmax(x, 0) - tg.one_hot(t, 3)),
        lambda x, t, s, g: g[:, :1] * (tg.one_hot(t, 3) - tg.softmax(x)),
        lambda x, t, s, g: g[:, :1] * (tg.softmax(x * 2) - tg.one_hot(t, 3)),
        lambda x, t, s, g: g[:, :1] * (tg.softmax(x) - tg.one_hot(t, 1)),
    ],
)
def test_other_differences_from_a_softmax_stay(function):
    def both(x, t, s, g):
        return [tg.cross_entropy(x, t, reduction="none"), function(x, t, s, g)]

    assert "softmax with cross-entropy" not in fired(both, (2, 3), whole(2), whole(2), (2, 3))


def test_random_numbers_are_not_merged():
    def function(x):
        generator = np.random.default_rng(0)
        return tg.dropout(x, 0.5, generator=generator) - tg.dropout(x, 0.5, generator=generator)

    graph = tg.trace(lambda x: [function(x)], (50,))
    (found,) = rewritten(graph, phases())[0](np.ones(50, F32))
    assert found.numpy().any()


@pytest.mark.parametrize("op", [lambda x: x * 1, lambda x: x / 1, lambda x: x - 0.0, lambda x: tg.negative(-x)])
def test_the_sign_of_zero_stays(op):
    x = np.array([0.0, -0.0], F32)
    graph = tg.trace(lambda x: [1 / op(x)], (2,))
    assert preserved(graph, phases(), [x])


# It ends --------------------------------------------------------------------------------------------------------------


def network(steps: int, batch: int = 2, vocabulary: int = 5, width: int = 3) -> Graph:
    """Loss and gradients of a recurrent network over tokens."""

    def function(tokens, targets, table, w, u, b, v):
        h = tg.zeros((batch, width))
        outputs = []
        for t in tg.steps(steps):
            h = tg.tanh(table[tokens[t]] @ w + h @ u + b)
            outputs.append(h)
        loss = tg.cross_entropy(tg.stack(outputs) @ v, targets)
        return [loss, *tg.grad(loss, [table, w, u, b, v])]

    square = (width, width)
    shapes = [(vocabulary, width), square, square, (width,), (width, vocabulary)]
    return tg.trace(function, whole(steps, batch), whole(steps, batch), *shapes)


def network_arrays(steps: int, batch: int = 2, vocabulary: int = 5, width: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = [(vocabulary, width), (width, width), (width, width), (width,), (width, vocabulary)]
    tokens = [rng.integers(0, vocabulary, (steps, batch)) for _ in range(2)]
    return [*tokens, *(rng.normal(size=s).astype(F32) for s in shapes)]


def test_a_network_keeps_its_values():
    fired = preserved(network(5), phases(), network_arrays(5))
    assert {"product before lookup", "weight gradients over time", "softmax with cross-entropy"} <= set(fired)


def again(graph: Graph) -> list[str]:
    """What fires when a graph is rewritten once more after a phase, by the rules of that phase."""
    roots, fired = list(graph.outputs), []
    for name, rules, groups in phases():
        first = Rewriter(roots)
        rewrite(first, name, rules, groups)
        roots = list(first.roots)
        second = Rewriter(roots)
        rewrite(second, name, rules, groups)
        fired += [firing.rule for firing in second.log]
        assert len(second.nodes) == len(first.nodes)
    return fired


@settings(max_examples=5)
@pytest.mark.parametrize("name", [n for n in EXAMPLES if n not in FAMILIES])
@given(c=cases())
def test_rewriting_twice_changes_nothing(name, c):
    rule = next(r for r in RULES if r.name == name)
    function, arrays = EXAMPLES[name](rule, c)
    assert again(with_gradients(function, arrays, c.rng)) == []


def test_rewriting_a_network_twice_changes_nothing():
    assert again(network(6)) == []


def test_the_phases_here_are_those_of_the_compiler():
    graph = network(4)
    assert Counter(rewritten(graph, phases())[1]) == Counter(f.rule for f in optimised(list(graph.outputs)).log)


class Watched(Rewriter):
    """A rewriter that counts how many nodes it looks at."""

    visits = 0

    def refresh(self) -> None:
        super().refresh()
        self.visits += len(self.nodes)


def work(graph: Graph) -> tuple[int, int]:
    """How many nodes all phases look at, and how often rules fire."""
    rewriter = Watched(list(graph.outputs))
    for name, rules, groups in phases():
        rewrite(rewriter, name, rules, groups)
    return rewriter.visits, len(rewriter.log)


def chain(steps: int) -> Graph:
    def function(x):
        for _ in range(steps):
            x = tg.tanh(x * 1.0)
        return [x]

    return tg.trace(function, (3,))


def twins(steps: int) -> Graph:
    """Two recurrences through one matrix: at each step two products that can be one."""

    def function(w, h, k):
        for _ in range(steps):
            h, k = tg.tanh(h @ w), tg.sin(k @ w)
        return [h + k]

    return tg.trace(function, (3, 3), (2, 3), (2, 3))


def test_twenty_thousand_steps():
    visits, firings = work(chain(20_000))
    assert firings == 20_000
    assert visits <= 20 * 20_000


@pytest.mark.parametrize("make", [chain, network, twins], ids=lambda f: f.__name__)
def test_the_work_is_linear_in_the_steps(make):
    small, large = work(make(20)), work(make(80))
    assert large[0] <= 4.5 * small[0], "nodes looked at"
    assert large[1] <= 4.5 * small[1], "firings"


# What it saves --------------------------------------------------------------------------------------------------------

TABLE, WIDTH, HIDDEN, CLASSES, BATCH = 7, 6, 5, 3, 4
KINDS = ["indices before", "one-hot before", "indices inside", "one-hot inside"]


def rows_of(table: Any, tokens: Any, hot: bool) -> Any:
    return tg.one_hot(tokens, TABLE) @ table if hot else table[tokens]


def training_step(steps: int, kind: str) -> Any:
    """The program of a training step over tokens, by indices or one-hot rows, looked up before the loop or inside."""
    hot, inside = "one-hot" in kind, "inside" in kind
    rng = np.random.default_rng(0)
    shapes = {
        "table": (TABLE, WIDTH),
        "w": (WIDTH, HIDDEN),
        "u": (HIDDEN, HIDDEN),
        "b": (HIDDEN,),
        "v": (HIDDEN, CLASSES),
    }
    p = {n: tg.parameter(rng.normal(size=s).astype(F32), name=n) for n, s in shapes.items()}
    optimizer = tg.optim.SGD(list(p.values()), lr=0.1)

    def step(tokens, targets):
        h, outputs = tg.zeros((BATCH, HIDDEN)), []
        xs: Any = None if inside else rows_of(p["table"], tokens, hot)
        for t in tg.steps(steps):
            x = rows_of(p["table"], tokens[t], hot) if inside else xs[t]
            h = tg.tanh(x @ p["w"] + h @ p["u"] + p["b"])
            outputs.append(h)
        loss = tg.cross_entropy(tg.stack(outputs) @ p["v"], targets)
        loss.backward()
        optimizer.step()
        return loss

    tokens, targets = rng.integers(0, TABLE, (steps, BATCH)), rng.integers(0, CLASSES, (steps, BATCH))
    return tg.compile(step).program(tokens, targets)


def products(program: Any) -> list[Any]:
    return [i for i in program.instructions if i.name.startswith("gemm")]


@needs_jit
@pytest.mark.parametrize("kind", KINDS)
def test_no_product_has_a_row_for_each_token_of_a_smaller_table(kind):
    steps = 8
    program = training_step(steps, kind)
    with_table = [i for i in products(program) if {TABLE, WIDTH} & set(i.dims)]
    assert with_table
    assert max(i.flops for i in with_table) <= 2 * TABLE * WIDTH * HIDDEN
    rows = steps * BATCH
    recurrent, output = 3 * 2 * rows * HIDDEN * HIDDEN, 3 * 2 * rows * HIDDEN * CLASSES
    assert sum(i.flops for i in products(program)) <= recurrent + output + 3 * 2 * TABLE * WIDTH * HIDDEN
    assert program.flops <= 1.5 * (recurrent + output + 3 * 2 * TABLE * WIDTH * HIDDEN) + 60 * rows * HIDDEN


@needs_jit
@pytest.mark.parametrize("kind", KINDS)
def test_weight_gradients_are_one_product_each(kind):
    """Two products of a step recur, forwards and backwards; the number of the others does not depend on the steps."""
    few, many = (len(products(training_step(steps, kind))) for steps in (8, 16))
    assert many - few == 2 * 8
    assert few - 2 * 8 <= 8


def looped(steps: int, batch: int) -> Any:
    """The program of the gradients of a tanh network that uses a row of a table at each step."""

    def gradients(xs: Any, w: Any, u: Any, b: Any, p: Any) -> Any:
        h, hs = tg.zeros((batch, 8)), []
        for t in range(steps):
            h = tg.tanh(xs[t] @ w + h @ u + p[0] * h + b)
            hs.append(h)
        return tg.grad(tg.stack(hs).sum(), [w, u, b, p])

    rng, shapes = np.random.default_rng(0), [(steps, batch, 8), (8, 8), (8, 8), (8,), (2, 8)]
    arrays = [rng.normal(size=shape).astype(F32) / 3 for shape in shapes]
    function = tg.compile(gradients)
    for got, expected in zip(function(*arrays), gradients(*map(tg.parameter, arrays)), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)
    return function.programs[-1]


@needs_jit
@pytest.mark.parametrize("batch", [1, 3])
def test_bias_gradients_are_one_sum(batch):
    few, many = (Counter(i.name for i in looped(steps, batch).instructions) for steps in (40, 80))
    added = {name: many[name] - few[name] for name in many}
    assert added["add"] <= 4 * 40  # before: p[0] * h, and b; after: the gradient of the state, and that of p[0]
    assert added["sum_rows"] <= (batch > 1) * 40  # of p[0]


@needs_jit
def test_many_uses_of_a_row_are_added_up_by_kernels():
    assert not [i for i in looped(80, 3).instructions if i.address == 0]


@needs_jit
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_loss_and_gradient_come_from_one_pass(reduction):
    def step(x, t):
        loss = tg.cross_entropy(x, t, reduction=reduction)
        return loss, tg.grad(loss.sum(), x)

    program = tg.compile(step).program(np.zeros((4, 3), F32), np.zeros(4, INT))
    assert "cross_entropy_surplus" in program.kernels
    assert not {"softmax", "one_hot"} & set(program.kernels)


@needs_jit
def test_a_gradient_without_its_loss_comes_from_one_pass_too():
    step = tg.compile(lambda x, t: tg.grad(tg.cross_entropy(x, t, reduction="sum"), x))
    x, t = np.random.default_rng(0).normal(size=(4, 3)).astype(F32), np.array([0, 2, 1, 1])
    assert "cross_entropy_surplus" in step.program(x, t).kernels
    np.testing.assert_allclose(step(x, t), tg.softmax(x) - tg.one_hot(t, 3), rtol=1e-6, atol=1e-7)
