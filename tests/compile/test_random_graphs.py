"""Compiled = eager on programs that Hypothesis makes up: values, first and second gradients, NaN and infinities."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tests.compile.test_ops import outputs

SHAPES = [(2, 3), (3,), (2, 1), (), (0, 3), (2, 1, 3), (3, 3), (2, 2, 1, 3)]
LIMIT = 48  # numbers that a value may hold
MANY = settings(max_examples=4 * settings.default.max_examples)


def assert_same(compiled, eager, factor=1.0):
    """Equal to rounding, with NaN and infinities at the same places."""
    for a, b in zip(outputs(compiled), outputs(eager), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        if not a.is_float:
            assert np.array_equal(a.numpy(), b.numpy())
            continue
        finite = b.numpy()[np.isfinite(b.numpy())]
        eps = np.finfo(a.dtype).eps * 64 * factor
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=eps, atol=eps * np.abs(finite).max(initial=1.0))


# Programs over tensors of any shape -----------------------------------------------------------------------------------
# Each operation takes two values, of which it may leave one aside, and a number that settles the details.


def axes_of(x, k):
    """A set of axes, possibly empty, one of all there are."""
    return tuple(a for a in range(x.ndim) if k >> a & 1)


def reduced(function):
    return lambda a, b, k: function(a, axis=axes_of(a, k), keepdims=bool(k & 16))


def whole(function):
    """Along the last axis, of what has entries there."""
    return lambda a, b, k: function(a) if a.ndim and a.size else a


def permuted(a, b, k):
    order = list(np.random.default_rng(k).permutation(a.ndim))
    return a.transpose([int(n) for n in order])


def sliced(a, b, k):
    if not a.ndim:
        return a[None]
    n, axis = a.shape[k % a.ndim], k % a.ndim
    parts = [slice(None, None, -1), slice(k % 2, None, 2), slice(-1, None), slice(1, 1), slice(0, max(n - 1, 0))]
    parts += [-1 if n else slice(None), None, slice(None, None, -2), (k % n if n else slice(None))]
    return a[(slice(None),) * axis + (parts[k // 4 % len(parts)],)]


def reshaped(a, b, k):
    n = a.size
    factor = next((f for f in (3, 2) if n % f == 0), 1) if n else 1
    shapes = [(n,), (n, 1), (1, n), (factor, n // factor), (n // factor, 1, factor), (*a.shape, 1), (1, *a.shape)]
    return a.reshape(shapes[k % len(shapes)])


def several(a, b, k):
    """Entries of an axis taken one by one, some of them twice, and put together again."""
    if not a.ndim or not a.shape[0]:
        return tg.stack([a, a * 2], axis=k % (a.ndim + 1))
    entries = [a[i] for i in range(a.shape[0])]
    chosen = [entries, entries[::-1], entries[:1], [*entries, entries[0]], entries[1:] or entries][k % 5]
    return tg.stack(chosen, axis=k % (entries[0].ndim + 1))


def parted(a, b, k):
    if not a.ndim or a.shape[-1] < 2:
        return tg.concatenate([a.flatten(), a.flatten()])
    left, right = tg.split(a, [1 + k % (a.shape[-1] - 1)], axis=-1)
    return tg.concatenate([tg.tanh(right), left] if k & 1 else [left, right * 2, left], axis=-1)


def picked(a, b, k):
    """Integer indices, repeated and negative."""
    if not a.ndim or not a.shape[0]:
        return a
    index = np.array([[0, -1], [-1, 0]]) if k & 1 else np.array([0, 0, -1])
    return a[index] if k & 2 else a[..., index] if a.shape[-1] else a


def gathered(a, b, k):
    if not a.ndim or not a.size:
        return a
    rng = np.random.default_rng(k)
    axis = k % a.ndim
    return tg.gather(a, rng.integers(0, a.shape[axis], a.shape), axis)


def written(a, b, k):
    if not a.ndim or not a.shape[-1]:
        return a.at[...].add(a * 0.5)
    index = [(..., 0), (..., slice(None, None, -1)), (..., np.array([0, 0, -1])), (..., -1)][k % 4]
    value = a[index].mean() if k & 4 else a[index] * 2
    return a.at[index].add(value) if k & 8 or k % 4 == 2 else a.at[index].set(value)


def padded(a, b, k):
    return tg.pad(a, 1) if a.ndim == 1 else tg.roll(a, 1 + k % 2, k % a.ndim) if a.ndim else a


def product(a, b, k):
    """Matrix products of any number of axes, with batches that broadcast."""
    if not a.ndim or not b.ndim:
        return tg.outer(a, b)
    inner = a.shape[-1]
    if not inner or b.size % inner or k & 1:
        return a.swapaxes(-1, -2) @ a if a.ndim > 1 else a @ a
    right = b.reshape(inner, b.size // inner)
    right = [right, right[None], right.T.swapaxes(0, 1), right.flatten()[:inner]][k // 2 % 4]
    return a @ right


def joined(a, b, k):
    return tg.concatenate([a.flatten(), b.flatten(), a.flatten()[::-1]][: 2 + k % 2])


def chosen(a, b, k):
    """By a mask that is known, so that both ways of computing choose alike."""
    shape = np.broadcast_shapes(a.shape, b.shape)
    return tg.where(np.random.default_rng(k).random(shape) > 0.5, a, b)


def looked_up(a, b, k):
    table = a.reshape(a.shape[0], -1) if a.ndim and a.size else tg.ones((2, 2), a.dtype)
    index = np.random.default_rng(k).integers(-table.shape[0] if k & 1 else 0, table.shape[0], (2, 2))
    rows = table[index] if k & 2 else tg.take(table, index, axis=0)
    return rows @ tg.ones((table.shape[1], 2), a.dtype) if k & 4 else rows[0] if k & 8 else rows + table[0]


def classified(a, b, k):
    if not a.ndim or not a.size:
        return a
    target = np.random.default_rng(k).integers(0, a.shape[-1], a.shape[:-1])
    return tg.cross_entropy(a, target, reduction="none" if k & 1 else "mean")


SMOOTH = [
    lambda a, b, k: tg.tanh(a), lambda a, b, k: tg.sigmoid(a) * a, lambda a, b, k: -a, lambda a, b, k: a * 1.0,
    lambda a, b, k: tg.exp(0.5 * a), lambda a, b, k: a / (1.5 + a * a), lambda a, b, k: tg.softplus(a) - 0.0,
    lambda a, b, k: (1 - a * a) * (k % 3), lambda a, b, k: a + b, lambda a, b, k: a - b, lambda a, b, k: a * b,
    lambda a, b, k: a / (2 + b * b), reduced(tg.sum), reduced(tg.mean), reduced(tg.sum), reduced(tg.logsumexp),
    whole(tg.softmax), whole(tg.log_softmax), whole(tg.layer_norm), whole(lambda x: tg.cumsum(x, 0)),
    whole(lambda x: tg.softmax(x, 0)), whole(lambda x: tg.norm(x + 3)), whole(lambda x: tg.var(x, -1)), permuted,
    sliced, sliced, reshaped, several, several, parted, picked, gathered, written, padded, product, product, product,
    joined, chosen, looked_up, classified, lambda a, b, k: tg.broadcast_to(a, (2, *a.shape)),
    lambda a, b, k: tg.checkpoint(lambda v: tg.sin(v * v))(a), lambda a, b, k: a.astype(np.float64).astype(a.dtype),
]  # fmt: skip
KINKED = [
    lambda a, b, k: tg.relu(a - 0.123), lambda a, b, k: tg.clip(a, -0.517, 0.493), lambda a, b, k: tg.abs(a + 0.0917),
    reduced(tg.max), reduced(tg.min), lambda a, b, k: tg.maximum(a, b + 0.0371), lambda a, b, k: a * b.detach(),
    lambda a, b, k: tg.where(a > 0.0713, a, 2 * b), lambda a, b, k: a.astype(np.float32).astype(a.dtype),
]  # fmt: skip


def attempted(op, a, b, k):
    """`a` itself where the shapes do not suit the operation, which eager and traced calls agree about."""
    try:
        value = op(a, b, k)
    except (ValueError, IndexError):
        return a
    value = tg.tanh(value)
    return value if value.size <= LIMIT and value.ndim < 5 else value.flatten()[:LIMIT]


def programs(operations, most=8):
    step = st.tuples(
        st.integers(0, len(operations) - 1), st.integers(0, 60), st.integers(0, 60), st.integers(0, 63)
    )  # fmt: skip

    def build(steps):
        def run(*inputs):
            values = list(inputs)
            for op, i, j, k in steps:
                a, b = values[i % len(values)], values[j % len(values)]
                values.append(attempted(operations[op], a, b, k))
            return values

        return run

    return st.lists(step, min_size=1, max_size=most).map(build)


def inputs_of(seed, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return [rng.uniform(-1.5, 1.5, shape).astype(dtype) for shape in SHAPES]


def total(values):
    return sum((v * v * (1 + 0.1 * k)).sum() for k, v in enumerate(values))


def found(gradients):
    return [g for g in gradients if g is not None]


def check(function, arrays, factor=1e3):
    """Twice, since the second run finds memory as the first one left it."""
    eager = function(*map(tg.tensor, arrays))
    compiled = tg.compile(function)
    for _ in range(2):
        assert_same(compiled(*arrays), eager, factor)


@MANY
@given(programs(SMOOTH + KINKED, 10), st.integers(0, 20), st.sampled_from([np.float32, np.float64]))
def test_values(program, seed, dtype):
    w = tg.parameter(np.random.default_rng(seed).normal(size=(3, 3)).astype(dtype))

    def function(*inputs):
        values = program(*inputs, w)
        views = [values[-1].T, values[-1].flatten()[::-1], w, w.T, inputs[0], values[len(values) // 2], values[-1]]
        return [*values[len(inputs) :], *views]

    check(function, inputs_of(seed, dtype), 100)


@MANY
@given(programs(SMOOTH + KINKED), st.integers(0, 20))
def test_gradients(program, seed):
    w = tg.parameter(np.random.default_rng(seed).normal(size=(3, 3)))

    def function(*inputs):
        values = program(*inputs, w)
        return [total(values), *found(tg.grad(total(values), [*inputs, w], allow_unused=True))]

    check(function, inputs_of(seed))


@given(programs(SMOOTH), st.integers(0, 20))
def test_gradients_of_float32(program, seed):
    def function(*inputs):
        return found(tg.grad(total(program(*inputs)), inputs, allow_unused=True))

    check(function, inputs_of(seed, np.float32))


@MANY
@given(programs(SMOOTH, 6), st.integers(0, 20))
def test_second_gradients(program, seed):
    def function(*inputs):
        first = found(tg.grad(total(program(*inputs)), inputs, create_graph=True, allow_unused=True))
        return [*first, *found(tg.grad(total(first), inputs, allow_unused=True))]

    check(function, inputs_of(seed), 1e4)


@MANY
@given(programs(SMOOTH + KINKED, 5), st.integers(0, 20), st.sampled_from(["sgd", "adam", "assign"]))
def test_steps(program, seed, how):
    """Parameters that are changed by a function which also gives views and copies of their old values."""

    def trained(compiled):
        parameters = [tg.parameter(a) for a in inputs_of(seed)]
        optimizer = tg.optim.SGD(parameters[::2], lr=0.1) if how == "sgd" else tg.optim.Adam(parameters, lr=0.1)

        def step(x):
            values = program(*parameters)
            old = [values[k % len(values)].T for k in range(3)] + [p * 1.0 for p in parameters]
            loss = total([v * x for v in values])
            loss.backward()
            if how == "assign":
                for p, q in pairwise(parameters):
                    p.assign(tg.broadcast_to(q.sum() * 0.1, p.shape) if p.shape != q.T.shape else q.T)
            else:
                optimizer.step()
                optimizer.zero_grad()
            return [loss, *old]

        function = tg.compile(step) if compiled else step
        results = [t for k in range(3) for t in function(tg.tensor(np.array(0.3 + 0.1 * k)))]
        return [*results, *parameters, *found(p.grad for p in parameters)]

    assert_same(trained(True), [tg.tensor(t.numpy()) for t in trained(False)], 1e4)


@MANY
@given(programs(SMOOTH + KINKED, 5), st.integers(0, 20), st.sampled_from([np.nan, np.inf, -np.inf]), st.integers(0, 99))
def test_nan_and_infinity_come_out_where_they_do_in_eager_mode(program, seed, bad, place):
    def function(*inputs):
        values = program(*inputs)
        return [*values[len(inputs) :], *found(tg.grad(total(values), inputs, allow_unused=True))]

    arrays = inputs_of(seed)
    for k, a in enumerate(arrays):
        if a.size and (place + k) % 3 == 0:
            a.flat[place % a.size] = bad
    check(function, arrays)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_in_a_one_hot_product(bad):
    """A row that is picked comes through; those that are not may be left out, since nobody looks at them."""
    w = np.ones((4, 3))
    w[3] = bad
    rows = tg.compile(lambda index, w: tg.one_hot(index, 4, np.float64) @ w)(np.array([0, 3, 1]), w).numpy()
    assert not np.isfinite(rows[1]).any()
    assert (np.isnan(rows) | (rows == w[[0, 3, 1]])).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_row_that_is_not_looked_up_stays_out_of_gradients(bad):
    table = np.random.default_rng(0).normal(size=(4, 3))
    table[3] = bad

    def function(table, w, index):
        return tg.grad((tg.tanh(table[index]) @ w).sum() + (table[index] @ w).sum(), [table, w])

    check(function, [table, np.ones((3, 2)), np.array([[0, 1, 0, 1], [2, 1, 0, 0]])])


def test_signed_zeros():
    zeros = np.array([0.0, -0.0])
    check(
        lambda x: [1 / (x + 0.0), 1 / (x - 0.0), 1 / (0.0 - x), 1 / (-x), 1 / (x * 1.0), 1 / tg.negative(-x)], [zeros]
    )


@pytest.mark.parametrize("last", [tg.tanh, lambda y: y + 1.5, lambda y: y @ np.ones((2, 2))])
@pytest.mark.parametrize("source", [lambda x: x, lambda x: x * 2, lambda x: x.reshape(2, 3).T])
def test_a_stack_of_some_slices_leaves_the_whole_alone(source, last):
    """The stack may be a view of the whole, which is needed later."""

    def function(x):
        q = source(x)
        z = last(tg.stack([q[0], q[1]]))
        return z, q + 1, q

    check(function, [np.arange(6.0).reshape(3, 2)])


def test_sizes_beyond_registers_and_blocks():
    """Odd sizes, a long loop, and float32, so that vectors have ends and rounding shows."""
    rng = np.random.default_rng(0)
    batch, features, hidden, steps = 17, 7, 37, 23
    shapes = [(batch, steps, features), (features, 4 * hidden), (hidden, 4 * hidden), (4 * hidden,), (hidden, 19)]
    arrays = [rng.normal(0, 0.3, shape) for shape in shapes]
    target = rng.integers(0, 19, (batch, steps))

    def function(x, w, u, b, v):
        h = c = tg.zeros((batch, hidden), x.dtype)
        outputs = []
        for t in tg.steps(steps):
            i, f, o, g = tg.split(x[:, t] @ w + h @ u + b, 4, axis=1)
            c = tg.sigmoid(f) * c + tg.sigmoid(i) * tg.tanh(g)
            h = tg.sigmoid(o) * tg.tanh(c)
            outputs.append(h)
        whole = tg.stack(outputs, axis=1)
        weights = tg.softmax(whole @ whole.swapaxes(1, 2))
        loss = tg.cross_entropy(tg.layer_norm(weights @ whole) @ v, target)
        return [loss, whole, *tg.grad(loss, [x, w, u, b, v])]

    check(function, arrays)
    check(function, [a.astype(np.float32) for a in arrays])


# Loops over time ------------------------------------------------------------------------------------------------------

B, F, H, V = 2, 3, 4, 5  # batch, features, hidden, vocabulary

CELL = [
    lambda s, a, b: tg.tanh(a), lambda s, a, b: tg.sigmoid(a), lambda s, a, b: a * b, lambda s, a, b: a + b,
    lambda s, a, b: 1 - a, lambda s, a, b: s.x @ s.W_i, lambda s, a, b: a @ s.W_h, lambda s, a, b: a @ s.W_h + b @ s.U,
    lambda s, a, b: s.x @ s.W_i + a @ s.W_h + s.b, lambda s, a, b: a + s.b, lambda s, a, b: tg.layer_norm(a),
    lambda s, a, b: tg.concatenate([a, b], -1) @ s.W_2, lambda s, a, b: tg.concatenate([s.x, a], -1) @ s.W_x,
    lambda s, a, b: gates(a @ s.W_4, b), lambda s, a, b: gates(s.x @ s.W_i4 + a @ s.W_4 + s.b4, b),
    lambda s, a, b: a * tg.softmax(b), lambda s, a, b: tg.where(s.mask, a, b), lambda s, a, b: s.h * 0.5 + a * 0.5,
    lambda s, a, b: (a.reshape(B, 2, H // 2) * b.reshape(B, 2, H // 2)[:, ::-1]).reshape(B, H),
    lambda s, a, b: attend(s, a), lambda s, a, b: attend(s, b), lambda s, a, b: s.E[s.token] + a,
    lambda s, a, b: s.E[s.token] @ s.U + a, lambda s, a, b: tg.one_hot(s.token, V, a.dtype) @ s.E + b + s.b,
    lambda s, a, b: tg.take(s.E, s.token, axis=0) * a, lambda s, a, b: a.T.reshape(H, B).T,
    lambda s, a, b: a.detach() * b, lambda s, a, b: tg.relu(a - 0.1317),
    lambda s, a, b: s.E[s.token] @ s.W_h + a @ s.U + s.b,
]  # fmt: skip


def gates(z, c):
    i, f, o, g = tg.split(z, 4, axis=-1)
    return tg.sigmoid(o) * tg.tanh(tg.sigmoid(f) * c + tg.sigmoid(i) * tg.tanh(g))


def attend(s, query):
    """A mean of all earlier states, weighted by their products with the query."""
    if not s.past:
        return query
    keys = tg.stack(s.past, axis=1)
    weights = tg.softmax((keys @ (query @ s.U)[..., None])[..., 0])
    return (weights[:, None] @ keys)[:, 0]


class Step:
    """What a cell may use at one step."""

    def __init__(self, weights):
        self.__dict__.update(weights)
        self.past = []


def run_cell(steps, s, x, h, token):
    s.x, s.h, s.token = x, h, token
    values = [h, x @ s.W_i]
    for op, i, j in steps:
        values.append(CELL[op](s, values[-1 - i % len(values)], values[-1 - j % len(values)]))
    return tg.tanh(values[-1])


def loop(steps, weights, xs, tokens, h, plan, reverse=False):
    """Outputs of all steps, in order of time."""
    s, outputs = Step(weights), {}
    count = tokens.shape[1]
    for t in tg.steps(count) if plan["scoped"] else range(count):
        at = count - 1 - t if reverse else t
        x = xs[:, at] if plan["batch_first"] else xs[at]
        h = run_cell(steps, s, x, h, tokens[:, at])
        s.past.append(h)
        outputs[at] = h
    return [outputs[t] for t in range(count)]


def weights_of(rng, dtype):
    shapes = {
        "W_i": (F, H), "W_h": (H, H), "U": (H, H), "b": (H,), "W_2": (2 * H, H), "W_x": (F + H, H), "W_4": (H, 4 * H),
        "W_i4": (F, 4 * H), "b4": (4 * H,), "E": (V, H), "W_o": (H, V), "b_o": (V,), "W_b": (H, F),
    }  # fmt: skip
    return {name: rng.normal(0, 0.5, shape).astype(dtype) for name, shape in shapes.items()}


PLANS = st.fixed_dictionaries({
    "T": st.integers(1, 6), "batch_first": st.booleans(), "scoped": st.booleans(), "layers": st.integers(1, 2),
    "both_ways": st.booleans(), "zero_state": st.booleans(), "some": st.integers(1, 3), "stacked": st.booleans(),
    "loss": st.sampled_from(["classes", "squares", "last"]),
})  # fmt: skip
CELLS = st.lists(
    st.tuples(st.integers(0, len(CELL) - 1), st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=5
)  # fmt: skip


def network(steps, plan, weights, xs, tokens, h0):
    h = tg.zeros((B, H), xs.dtype) if plan["zero_state"] else h0
    outputs = loop(steps, weights, xs, tokens, h, plan)
    if plan["both_ways"]:
        back = loop(steps, weights, xs, tokens, h, plan, reverse=True)
        outputs = [a + 0.5 * b for a, b in zip(outputs, back)]
    if plan["layers"] == 2:
        below = tg.stack([y @ weights["W_b"] for y in outputs], axis=1 if plan["batch_first"] else 0)
        outputs = loop(steps, weights, below, tokens, h, plan)
    return outputs


def loss_of(plan, weights, outputs, tokens):
    if plan["loss"] == "last":
        return (outputs[-1] ** 2).sum()
    taken = [t for t in range(len(outputs)) if t % plan["some"] == 0]
    if plan["stacked"]:
        logits = tg.stack([outputs[t] for t in taken], axis=1) @ weights["W_o"] + weights["b_o"]
        if plan["loss"] == "classes":
            return tg.cross_entropy(logits, tg.stack([tokens[:, t] for t in taken], axis=1))
        return (logits**2).mean()
    terms = [outputs[t] @ weights["W_o"] + weights["b_o"] for t in taken]
    if plan["loss"] == "classes":
        return sum(tg.cross_entropy(z, tokens[:, t]) for z, t in zip(terms, taken))
    return sum((z * z).sum() for z in terms)


def recurrent_case(seed, plan, dtype):
    rng = np.random.default_rng(seed)
    weights = weights_of(rng, dtype)
    shape = (B, plan["T"], F) if plan["batch_first"] else (plan["T"], B, F)
    xs, h0 = rng.normal(size=shape).astype(dtype), rng.normal(size=(B, H)).astype(dtype)
    return weights, xs, rng.integers(0, V, (B, plan["T"])), h0


def recurrent(steps, plan, names, order, mask):
    """A function of arrays: loss, states and gradients up to an order."""

    def function(xs, tokens, h0, *arrays):
        weights = dict(zip(names, arrays), mask=mask)
        outputs = network(steps, plan, weights, xs, tokens, h0)
        loss = loss_of(plan, weights, outputs, tokens)
        results = [loss, outputs[-1], tg.stack(outputs, axis=1), outputs[0]]
        wrt = [xs, h0, *arrays]
        if order:
            first = found(tg.grad(loss, wrt, create_graph=order > 1, allow_unused=True))
            results += first
        if order > 1:
            results += found(tg.grad(total(first), wrt, allow_unused=True))
        return results

    return function


def check_recurrent(steps, seed, plan, dtype, order, factor):
    weights, xs, tokens, h0 = recurrent_case(seed, plan, dtype)
    mask = np.random.default_rng(seed).random((B, H)) > 0.5
    check(recurrent(steps, plan, list(weights), order, mask), [xs, tokens, h0, *weights.values()], factor)


@MANY
@given(CELLS, st.integers(0, 20), PLANS)
def test_recurrent_gradients(steps, seed, plan):
    check_recurrent(steps, seed, plan, np.float64, 1, 1e3)


@given(CELLS, st.integers(0, 20), PLANS)
def test_recurrent_gradients_of_float32(steps, seed, plan):
    check_recurrent(steps, seed, plan, np.float32, 1, 1e3)


@settings(max_examples=max(settings.default.max_examples // 2, 1))
@given(CELLS, st.integers(0, 20), PLANS)
def test_recurrent_second_gradients(steps, seed, plan):
    check_recurrent(steps, seed, plan, np.float64, 2, 1e5)


@given(CELLS, st.integers(0, 20), PLANS)
def test_recurrent_gradients_left_at_parameters(steps, seed, plan):
    """Weights from the closure, and backward()."""
    weights, xs, tokens, h0 = recurrent_case(seed, plan, np.float64)
    mask = np.random.default_rng(seed).random((B, H)) > 0.5
    parameters = {name: tg.parameter(a, name=name) for name, a in weights.items()}

    def step(xs, tokens, h0):
        outputs = network(steps, plan, dict(parameters, mask=mask), xs, tokens, h0)
        loss = loss_of(plan, parameters, outputs, tokens)
        loss.backward()
        return loss, outputs[-1]

    def outcome(function):
        for p in parameters.values():
            p.grad = None
        try:
            results = function(tg.tensor(xs), tg.tensor(tokens), tg.tensor(h0))
        except tg.GradientError:  # the loss hangs on no parameter
            return []
        return [*results, *found(p.grad for p in parameters.values())]

    expected = outcome(step)
    compiled = tg.compile(step)
    for _ in range(2):
        assert_same(outcome(compiled), expected, 1e3)
