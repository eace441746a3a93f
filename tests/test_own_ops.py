"""A user's own op may have any name, also that of a built-in one: it stays itself wherever a graph is read."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.compile.compiler_ops import INTERNAL
from tinygrad_rnn.ops.core import registry
from tinygrad_rnn.ops.named import by_op, op_named, ops_named

LEAVES = ("constant", "parameter", "placeholder", "gradient", "literal", "detached")
NAMES = sorted({*registry, *INTERNAL, *LEAVES, "tanh_vjp0", "copy"})
RNG = np.random.default_rng(0)
X, W = RNG.normal(size=(4, 2, 3)), RNG.normal(0, 0.5, (3, 3))

unary = tg.elementwise(lambda x: x + 0.1 * x * x, vjp=lambda g, y, x: g * (1 + 0.2 * x))
binary = tg.elementwise(lambda a, b: a + 0.1 * b * b, vjp=(lambda g, y, a, b: 1.0 * g, lambda g, y, a, b: 0.2 * g * b))


def alias(name):
    """A name of the same length that no op has."""
    return re.sub("[^_]", "q", name)


@contextmanager
def called(name):
    """Both ops under a name, which nothing but what is shown may depend on."""
    ops = unary.op, binary.op
    before = [(op.name, op.formula) for op in ops]
    for op, arguments in zip(ops, ("{0}", "{0}, {1}"), strict=True):
        op.name, op.formula = name, rf"\mathrm{{{{{name}}}}}({arguments})"
    try:
        yield
    finally:
        for op, (old, formula) in zip(ops, before, strict=True):
            op.name, op.formula = old, formula


def joined(x, w):
    """The ops beside all that a reader looks for: stacks, slices, sums, products, views, choices, steps in time."""
    h, outs = x[0], []
    for t in tg.steps(len(x)):
        a = unary(x[t] @ w + h)
        h = tg.tanh(binary(a, h))
        outs.append(unary(h))
    s = tg.stack(outs)
    whole = unary(s)
    picked = tg.concatenate([whole[1], whole[2] * 0.5], 1)
    one = tg.stack([unary(outs[0])])
    masked = tg.where(whole > 0, binary(whole, s), 0.0)
    return (
        whole.sum(0).mean() + unary(whole[:, 0]).T.sum() + picked.sum() + one.mean() + masked.mean()
        + (unary(tg.softmax(s)) - s).sum() + unary(whole.reshape(-1)).max() + unary(h.sum())
    )  # fmt: skip


def recurrent(x, w):
    h = tg.zeros((2, 3), np.float64).named("h0")
    for t in tg.steps(len(x)):
        i = unary(x[t] @ w + h @ w).named("i")
        h = tg.tanh(binary(i, unary(h))).named("h")
    return unary(h).sum().named("L")


def answers(x, w):
    loss = joined(x, w)
    grads = tg.grad(loss, [x, w], create_graph=True)
    second = tg.grad((grads[1] * grads[1]).sum(), w)
    return loss, *grads, second


def shown(write):
    """A text in which ids have no numbers: these depend on which others have the name."""
    return re.sub(r"_\d+\b", "", write())


def expected(write, name):
    with called(alias(name)):
        text = shown(write)
    assert alias(name) in text
    return text.replace(alias(name), name)


EAGER = answers(tg.parameter(X), tg.parameter(W))


@pytest.mark.parametrize("name", NAMES)
def test_values_and_gradients_compiled_are_those_of_the_function(name):
    with called(name):
        eager = answers(tg.parameter(X), tg.parameter(W))
        compiled = tg.compile(answers)(X, W)
    for e, a, c in zip(EAGER, eager, compiled, strict=True):
        np.testing.assert_array_equal(a.numpy(), e.numpy())
        np.testing.assert_allclose(c.numpy(), e.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_recomputing_compiled_gives_the_same(name):
    with called(name):
        compiled = tg.compile(lambda x, w: tg.grad(recurrent(x, w), w), memory="sqrt")(X, W)
        w = tg.parameter(W)
        np.testing.assert_allclose(compiled.numpy(), tg.grad(recurrent(tg.tensor(X), w), w).numpy(), rtol=1e-10)


def loss():
    return recurrent(tg.tensor(X, name="x"), tg.parameter(W, name="w"))


@pytest.mark.parametrize("name", NAMES)
def test_equations_are_those_of_an_own_op(name):
    write = lambda: str(tg.equations(loss()))
    wanted = expected(write, name)
    with called(name):
        assert shown(write) == wanted
        assert max(tg.equations(loss()).residuals().values()) < 1e-10


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("model", "level"), [(joined, "op"), (joined, "gate"), (recurrent, "gate")])
def test_pictures_are_those_of_an_own_op(name, model, level):
    write = lambda: tg.viz.to_dot(model(tg.tensor(X, name="x"), tg.parameter(W, name="w")), level=level, legend=True)
    wanted = expected(write, name)
    with called(name):
        assert shown(write) == wanted


@pytest.mark.parametrize("name", ["detach", "slice", "transpose", "tanh"])
def test_pages_and_formulas_are_those_of_an_own_op(name):
    write = lambda: tg.viz.draw(loss(), level="op", show=("shape", "value")).svg()
    wanted = expected(write, name)
    with called(name):
        assert shown(write) == wanted


@pytest.mark.parametrize("name", NAMES)
def test_json_is_that_of_an_own_op(name):
    write = lambda: tg.graph(loss()).to_json(values=True)
    wanted = expected(write, name)
    with called(name):
        assert json.loads(shown(write)) == json.loads(wanted)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_through_time_are_those_of_an_own_op(name):
    w = tg.parameter(W)
    with called(name):
        value = recurrent(tg.tensor(X), w)
        gradient = tg.grad(value, w).numpy()
        for total in (tg.bptt.contributions(value, w).total(), sum(p.value for p in tg.bptt.paths(value, w))):
            np.testing.assert_allclose(np.asarray(total), gradient, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_derivatives_are_judged_by_the_op_itself(name):
    with called(name):
        tg.testing.check_grad(lambda x: binary(unary(x), x).sum(), X[0, 0], order=2)


@pytest.mark.parametrize("name", ["add", "log", "tanh", "dropout_mask", "detach"])
def test_laws_are_those_of_an_own_op(name):
    with called(name):
        tg.testing.check_op(unary, max_examples=3)()
        with pytest.raises(ValueError, match="how to call the op is not known"):
            tg.testing.check_op(unary.op)


@pytest.mark.parametrize("name", ["detach", "negative", "transpose", "slice", "sum", "stack", "softmax", "contract"])
def test_an_op_made_under_a_name_that_is_taken(name):
    f = tg.elementwise(lambda x: 2 * x + 1, vjp=lambda g, y, x: 2 * g, name=name)
    program = tg.compile(lambda x: (f(x), tg.grad(f(x).sum(), x)))
    value, gradient = program(np.array([1.0, 2.0]))
    assert (value.tolist(), gradient.tolist()) == ([3.0, 5.0], [2.0, 2.0])
    assert f.op is not registry.get(name)


def test_a_wrong_rule_of_an_own_op_called_detach_is_found():
    f = tg.elementwise(lambda x: x * x, vjp=lambda g, y, x: g * x, name="detach")
    with pytest.raises(tg.testing.GradientMismatch, match="op:       detach, vjp by argument 0"):
        tg.testing.check_grad(lambda x: f(x).sum(), [1.0, 2.0])


ASKS = re.compile(r"op\.name (?:==|!=|in|not in) |(?:get\(|\[)\w+(?:\.\w+)*\.op\.name[\])]")


def test_no_reader_asks_a_node_for_the_name_of_its_op():
    folders = (*tg.__path__, *tg.viz.__path__)
    files = {p for folder in folders for p in Path(folder).rglob("*.py") if p.parent.name != "ops"}
    asking = [f"{p}: {line}" for p in files for line in p.read_text().splitlines() if ASKS.search(line)]
    assert len(files) > 100
    assert ASKS.search('if t.op.name == "slice":')
    assert ASKS.search("RULES.get(node.op.name)")
    assert asking == []


def test_tables_name_ops_that_there_are():
    assert ops_named("sum", "mean") == {registry["sum"], registry["mean"]}
    assert by_op({"tanh": 1}) == {tg.tanh.op: 1}
    with pytest.raises(KeyError, match="there is no op 'squeeze'"):
        op_named("squeeze")
