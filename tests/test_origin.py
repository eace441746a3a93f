"""A quantity is the same one at all of its time steps, however Python runs the loop that computes it."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.graph.timeline import quantities
from tinygrad_rnn.location import Location, location

ROOT = Path(__file__).parents[1]
RNG = np.random.default_rng(0)
E, W, U = (tg.parameter(RNG.normal(0, 0.5, (3, 3)), name=n) for n in "EWU")


def tokens(n):
    return tg.tensor(np.arange(n) % 3, name="k")


def with_steps(n):
    k, h = tokens(n), tg.zeros(3, np.float64)
    for t in tg.steps(n):
        h = tg.tanh(E[k[t]] @ W + h @ U)
    return h


def plain(n):
    k, h = tokens(n), tg.zeros(3, np.float64)
    for t in range(n):
        h = tg.tanh(E[k[t]] @ W + h @ U)
    return h


def while_loop(n):
    k, h, t = tokens(n), tg.zeros(3, np.float64), 0
    while t < n:
        with tg.timestep(t):
            h = tg.tanh(E[k[t]] + h @ U)
        t += 1
    return h


def step(token, h):
    x = E[token]
    return tg.stack([h, tg.tanh(x @ W + h @ U)])[1]


def by_function(n):
    k, h = tokens(n), tg.zeros(3, np.float64)
    for t in tg.steps(n):
        h = step(k[t], h)
    return h


def by_function_without_steps(n):
    k, h = tokens(n), tg.zeros(3, np.float64)
    for t in range(n):
        h = step(k[t], h)
    return h


def comprehension(n):
    k, h = tokens(n), tg.zeros(3, np.float64)
    rows = [E[k[t]] for t in tg.steps(n)]
    for t in tg.steps(n):
        h = tg.tanh(rows[t] + h @ U)
    return h


def branches(n):
    k, h = tokens(n), None
    for t in tg.steps(n):
        h = tg.tanh(E[k[t]] @ W) if h is None else tg.tanh(E[k[t]] @ W + h @ U)
    return h


def two_on_a_line(n):
    k, h, c = tokens(n), tg.zeros(3, np.float64), tg.ones(3, np.float64)
    for t in tg.steps(n):
        h, c = (E[k[t]] @ W) * (h @ U), (W[k[t]] @ E) * (c @ U)
    return h + c


FORMS = [
    with_steps, plain, while_loop, by_function, by_function_without_steps, comprehension, branches, two_on_a_line,
]  # fmt: skip


def facts(form, n):
    """What readers make of a program, which does not depend on the number of steps."""
    loss = form(n).sum().named("L")
    steps = {}
    for t in tg.graph(loss).nodes:
        if t.time is not None:
            steps.setdefault(t.time, []).append(t.origin)
    timed = len(steps) == n
    series = tg.bptt.flow(loss).series.values() if timed else []
    return {
        "equations": str(tg.equations(loss)),
        "boxes": repr(tg.viz.draw(loss, view="rolled", direction="forward")).partition(",")[0] if timed else "",
        "flow": [[s.name, s.kind, int(np.isfinite(s.norms).sum()) == n] for s in series],
        "origins": form is branches or all(origins == steps[0] for origins in steps.values()),
    }


def everything(n):
    return {form.__name__: facts(form, n) for form in FORMS}


def fresh(n, **environment):
    code = f"import json; from tests.test_origin import everything; print(json.dumps(everything({n})))"
    options = {"capture_output": True, "text": True, "check": True, "timeout": 300, "cwd": ROOT}
    given = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return json.loads(subprocess.run([sys.executable, "-c", code], env=given, **options).stdout)


@pytest.fixture(scope="module")
def short():
    return everything(6)  # no loop is specialised so early


@pytest.mark.parametrize("n", [9, 40])
def test_long_loops_read_as_short_ones_in_a_fresh_process(short, n):
    assert fresh(n) == short


def test_without_columns_the_line_tells(short):
    found = fresh(40, PYTHONNODEBUGRANGES="1")
    for form in FORMS[:-1]:  # two of a kind on one line are told apart by columns alone
        assert found[form.__name__] == short[form.__name__], form.__name__


@pytest.mark.parametrize("n", [9, 40])
def test_after_many_calls_nothing_has_changed(short, n):
    for _ in range(60):
        for form in FORMS:
            form(2)
    for form in FORMS:
        assert facts(form, n) == short[form.__name__], form.__name__


def test_one_quantity_has_one_equation(short):
    lines = short["with_steps"]["equations"].splitlines()
    assert sum(" = E[k_t]" in line for line in lines) == 1
    assert all(found["origins"] for found in short.values())


def test_branches_on_one_line_are_one_quantity(short):
    lines = short["branches"]["equations"].splitlines()
    assert lines[:3] == ["x_t = E[k_t], t = 1…T", "h₁ = tanh(x₁ W)", "h_t = tanh(x_t W + h_{t−1} U), t = 2…T"]
    assert short["branches"]["flow"][0] == ["state", "state", True]


def test_an_addend_that_comes_and_goes_takes_no_others_place():
    x, h = tg.tensor(RNG.normal(size=(6, 3))), tg.zeros(3, np.float64)
    sums = []
    for t in tg.steps(6):
        h = (x[t] @ W if t % 2 else 0) + h @ U
        sums.append(h)
    numbers = quantities(tg.graph(h).nodes)
    products = [[numbers[i.serial] for i in s.inputs if i.op is h.inputs[1].op] for s in sums]
    assert products[::2] == [products[1][1:]] * 3
    assert products[1::2] == [products[1]] * 3


# Origins themselves ---------------------------------------------------------------------------------------------------


def test_an_origin_is_a_place_an_op_and_a_scope():
    x = tg.ones(2)
    a, b = tg.tanh(x), tg.tanh(x)
    with tg.scope("inner"):
        c, d = tg.tanh(x), tg.exp(x)
    assert len({a.origin, b.origin, c.origin, d.origin}) == 4
    assert a.origin.line == b.origin.line != c.origin.line
    assert (a.origin.op, c.origin.scope) == (tg.tanh.op, ("inner",))
    assert (a.origin.location.file, a.origin.location.line) == (a.source.file, a.source.line)
    assert str(a.origin.location) == str(a.source)


def test_gradients_come_from_where_their_operations_do():
    x = tg.parameter([1.0])
    y = tg.tanh(x)
    (g,) = tg.grad(y.sum(), [x], create_graph=True)
    assert {t.origin.location for t in tg.graph(g).nodes if t.place.backward} >= {y.origin.location}


def test_code_that_is_compiled_in_every_turn_is_one_place():
    x, made = tg.ones(2), []
    for name in ("x * 2", "x * 2", "2 * x", "x * x"):
        made.append(eval(compile(name, "<formula>", "eval"), {"x": x}))
    first, second, third, fourth = (t.origin for t in made)
    assert first == second
    assert hash(first) == hash(second)
    assert len({first, third, fourth}) == 3


def test_equal_functions_on_one_line_are_two_places():
    f, g = (lambda x: x * 2), (lambda x: x * 2)
    assert f(tg.ones(1)).origin != g(tg.ones(1)).origin


def test_code_without_positions_is_its_first_line():
    def f(x):
        return x + 1

    stripped = f.__code__.replace(co_linetable=b"")
    assert location(stripped, 2) == location(stripped, 4) == Location(stripped, f.__code__.co_firstlineno)


def test_tables_of_code_that_is_gone_are_not_kept_for_ever():
    def made():
        code = compile("x * 2", "<gone>", "eval")
        _ = eval(code, {"x": tg.ones(1)}).origin
        return weakref.ref(code)

    gone = made()
    for k in range(300):
        _ = eval(compile(f"x * {k}", "<many>", "eval"), {"x": tg.ones(1)}).origin
    gc.collect()
    assert gone() is None
