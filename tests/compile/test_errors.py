"""What cannot be compiled says so, with the user's line; what goes wrong in a run changes nothing."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import optim
from tinygrad_rnn.scope import current


def here():
    """``file:line`` of the line that calls."""
    frame = inspect.currentframe().f_back
    return f"test_errors.py:{frame.f_lineno}"


# Values while recording -----------------------------------------------------------------------------------------------

W = tg.parameter(np.array([1.0, 2.0]), name="W")
VALUES = {
    "if": lambda x, w: x if x.sum() > 0 else -x,
    "if of a parameter": lambda x, w: x if w.sum() > 0 else -x,
    "item": lambda x, w: x * x.sum().item(),
    "item of a parameter": lambda x, w: x * (w * w).sum().item(),
    "float": lambda x, w: x * float(x.sum()),
    "float of a parameter": lambda x, w: x * float(w.sum()),
    "int": lambda x, w: x[int(x.sum()) * 0],
    "index": lambda x, w: [x, -x][w.argmax()],
    "numpy": lambda x, w: x + w.numpy(),
    "asarray": lambda x, w: x + np.asarray(w),
    "tolist": lambda x, w: x * w.tolist()[0],
    "detached": lambda x, w: x * w.detach().numpy(),
    "mask": lambda x, w: x[x > 0],
    "mask of a parameter": lambda x, w: x[w > 0],
    "format": lambda x, w: x * len(f"{w.sum():.3f}"),
    "range": lambda x, w: sum(x for _ in range(int(x.sum()))),
    "in": lambda x, w: x if 1.0 in w else -x,
    "gradient": lambda x, w: x * tg.grad((w * w).sum(), w).numpy(),
    "while": lambda x, w: x if not (x > 3).all() else -x,
    "norm of a gradient": lambda x, w: x * float(norm_of_gradient(x, w)),
}


def norm_of_gradient(x, w):
    (w * x).sum().backward()
    return optim.clip_grad_norm([w], 1.0)


@pytest.mark.parametrize("function", VALUES.values(), ids=VALUES)
def test_asking_for_a_value(function):
    """Each is refused on its own line, and leaves nothing behind."""
    w = tg.parameter(np.array([1.0, 2.0]))
    compiled = tg.compile(lambda x: function(x, w))
    for _ in range(2):
        with pytest.raises(tg.PlaceholderError, match=f"test_errors.py:{function.__code__.co_firstlineno}"):
            compiled(np.ones(2))
    assert w.grad is None
    assert current().tracing is None
    assert compiled.programs == []
    assert w.sum().item() == 3


def test_what_is_known_while_recording_may_be_asked_for():
    compiled = tg.compile(lambda x: x * float(tg.arange(4).sum()) if x.shape[0] > 1 else x)
    assert compiled(np.ones(2)).tolist() == [6, 6]
    assert compiled(np.ones(1)).tolist() == [1]


def test_the_value_of_a_closure_constant():
    """A tensor that can be assigned is no constant of the program."""
    c = tg.tensor(np.array([1.0, 2.0]))
    compiled = tg.compile(lambda x: x * float(c.sum()))
    try:
        compiled(np.ones(1))
    except tg.PlaceholderError:
        return
    c.assign(np.array([5.0, 5.0]))
    assert compiled(np.ones(1)).tolist() == [10]


# Indices --------------------------------------------------------------------------------------------------------------

TABLE = np.arange(12.0).reshape(4, 3)
INDEXING = {
    "rows": (lambda t, i: t[i], "index"),
    "take": (lambda t, i: tg.take(t, i, axis=0), "index"),
    "columns": (lambda t, i: t.T[:, i], "index"),
    "pairs": (lambda t, i: t[i, i * 0], "index"),
    "gather": (lambda t, i: tg.gather(t, i[:, None], 0), "index"),
    "lookup with product": (lambda t, i: t[i] @ t.T, "index"),
    "lookup with bias": (lambda t, i: t[i] + t[0], "index"),
    "one_hot": (lambda t, i: tg.one_hot(i, 4), "one_hot"),
    "one-hot product": (lambda t, i: tg.one_hot(i, 4, np.float64) @ t, "one_hot"),
    "cross_entropy": (lambda t, i: tg.cross_entropy(tg.tensor(np.ones((3, 1))) * t[:, 0], i), "cross_entropy"),
    "scatter": (lambda t, i: tg.zeros((4, 3), np.float64).at[i].add(t[:3]), "update"),
    "set": (lambda t, i: t.at[i].set(0.0), "update"),
    "three axes": (lambda t, i: t.reshape(4, 3, 1)[i], "index"),
}
NO_NEGATIVES = {"one_hot", "one-hot product", "cross_entropy"}


@pytest.mark.parametrize("bad", [4, 1000, -5, -1])
@pytest.mark.parametrize("name", INDEXING)
def test_index_errors(name, bad):
    """Operation, position and value as in eager mode; nothing changed, and the next call works."""
    function, op = INDEXING[name]
    good, wrong = np.array([0, 3, 1]), np.array([0, 3, bad])
    table = tg.parameter(TABLE, name="table")
    optimizer = optim.SGD([table], lr=0.1, momentum=0.5)

    def step(i):
        loss = (function(table, i) ** 2).sum()
        if loss.requires_grad:
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        return loss

    compiled = tg.compile(step)
    compiled(good)
    before, velocity = table.numpy().copy(), optimizer.state[0][0].copy()
    allowed = bad == -1 and name not in NO_NEGATIVES
    if not allowed:
        with pytest.raises(IndexError) as eager:
            function(tg.tensor(TABLE), tg.tensor(wrong))
        with pytest.raises(IndexError) as error:
            compiled(wrong)
        place = str(eager.value).split("position ")[1].split(" is out")[0]
        assert f" {bad} at position {place} " in str(error.value)
        assert "test_errors.py" in str(error.value)
        assert op in str(error.value).splitlines()[0] or op == "update"
        np.testing.assert_array_equal(table.numpy(), before)
        np.testing.assert_array_equal(optimizer.state[0][0], velocity)
        assert table.grad is None
    expected = (function(tg.tensor(table.numpy().copy()), tg.tensor(good)) ** 2).sum().item()
    assert compiled(good).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", INDEXING)
def test_index_errors_without_gradients(name):
    function, op = INDEXING[name]
    compiled = tg.compile(function)
    compiled(TABLE, np.array([0, 3, 1]))
    with pytest.raises(IndexError, match=r"(index|target) 4 at position") as error:
        compiled(TABLE, np.array([0, 4, 1]))
    assert op in str(error.value).splitlines()[0] or op == "update"


@pytest.mark.parametrize("bad", [7, -9])
def test_an_index_out_of_range_in_a_loop(bad):
    """At one of the steps: the error gives the value, and no memory outside of the table is read or written."""
    table, w = tg.parameter(np.ones((4, 3))), tg.parameter(np.eye(3))

    def run(tokens):
        h = tg.zeros((2, 3), np.float64)
        for t in tg.steps(4):
            h = tg.tanh(table[tokens[:, t]] @ w + h @ w)
        h.sum().backward()
        return h

    tokens = np.zeros((2, 4), np.int64)
    compiled = tg.compile(run)
    compiled(tokens)
    before = table.grad.numpy().copy()
    tokens[1, 2] = bad
    with pytest.raises(IndexError, match=f"index {bad} at position"):
        compiled(tokens)
    np.testing.assert_array_equal(table.grad.numpy(), before)


def test_an_index_out_of_range_beside_the_slice():
    """The whole lookup is checked, also where only part of its result is used."""
    compiled = tg.compile(lambda t, i: (t[i] * 2.0)[0])
    with pytest.raises(IndexError, match="index 9 at position"):
        compiled(TABLE, np.array([0, 9]))
    compiled = tg.compile(lambda t, i: t[i][0])
    with pytest.raises(IndexError, match="index 9 at position"):
        compiled(TABLE, np.array([0, 9]))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint64])
def test_indices_of_every_integer_type(dtype):
    compiled = tg.compile(lambda t, i: (t[i], tg.one_hot(i, 4), tg.cross_entropy(t[:2], i)))
    index = np.array([2, 1], dtype)
    rows, hot, loss = compiled(TABLE, index)
    np.testing.assert_array_equal(rows.numpy(), TABLE[[2, 1]])
    np.testing.assert_array_equal(hot.numpy(), np.eye(4)[[2, 1]])
    assert loss.item() == pytest.approx(tg.cross_entropy(tg.tensor(TABLE[:2]), tg.tensor(index)).item())
    for bad in {100, np.iinfo(dtype).max}:
        with pytest.raises(IndexError):
            compiled(TABLE, np.array([0, bad], dtype))


# Anomalies ------------------------------------------------------------------------------------------------------------


def test_anomaly_names_operation_time_step_and_line():
    lines = []

    def run(xs):
        h = tg.zeros((2, 3), np.float64)
        for t in tg.steps(4):
            h = tg.tanh(h + xs[t])
            if t == 2:
                h, _ = tg.log(h).named("bad"), lines.append(here())
        return h.sum()

    xs = np.full((4, 2, 3), -0.5)
    compiled = tg.compile(run)
    assert np.isnan(compiled(xs).item())
    with tg.detect_anomaly(), pytest.raises(tg.AnomalyError) as error:
        compiled(xs)
    for part in ("log", "t=2", "NaN", lines[0]):
        assert part in str(error.value)
    assert np.isnan(compiled(xs).item())
    with tg.detect_anomaly():
        assert np.isfinite(compiled(np.full((4, 2, 3), 0.5)).item())


def test_anomaly_in_a_gradient():
    w = tg.parameter(np.zeros(2), name="w")

    def run(x):
        for t in tg.steps(3):
            if t == 1:
                y = tg.sqrt(w * x)
        y.sum().backward()

    compiled = tg.compile(run)
    with tg.detect_anomaly(), pytest.raises(tg.AnomalyError) as error:
        compiled(np.ones(2))
    for part in ("t=1", "gradient of", "test_errors.py"):
        assert part in str(error.value)
    assert w.grad is None


def test_anomaly_changes_nothing():
    w = tg.parameter(np.ones(2))
    optimizer = optim.Adam([w], lr=0.1)

    @tg.compile
    def step(x):
        loss = tg.log(w * x).sum()
        loss.backward()
        optimizer.step()
        return loss

    step(np.ones(2))
    before = w.numpy().copy(), *(a.copy() for a in optimizer.state[0])
    with tg.detect_anomaly(), pytest.raises(tg.AnomalyError):
        step(np.array([1.0, -1.0]))
    for a, b in zip(before, (w.numpy(), *optimizer.state[0])):
        np.testing.assert_array_equal(a, b)
    assert optimizer.step_count == 1
    step(np.ones(2))
    assert optimizer.step_count == 2


def test_anomaly_detection_inside_a_compiled_function():
    @tg.compile
    def run(x):
        with tg.detect_anomaly():
            return tg.log(x)

    with pytest.raises(tg.AnomalyError, match="log"):
        run(np.array([-1.0, 1.0]))


def test_no_anomaly_where_all_is_finite():
    """Memory that is not yet written, or is left over, is nobody's NaN."""
    rng = np.random.default_rng(0)
    cell = tg.nn.RNN(3, 4, num_layers=2, generator=0, dtype=np.float64)
    optimizer = optim.Adam(cell, lr=0.1)

    @tg.compile
    def step(x):
        loss = (cell(x).outputs ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss

    poison = tg.compile(lambda x: tg.log(x - 1e6) * x)
    with tg.detect_anomaly():
        for _ in range(3):
            assert np.isfinite(step(rng.normal(size=(2, 5, 3))).item())
    assert np.isnan(poison(rng.normal(size=(2, 5, 3))).numpy()).all()


# Order and nesting ----------------------------------------------------------------------------------------------------


def trained():
    w = tg.parameter(np.ones(2), name="w")
    return w, optim.SGD([w], lr=0.1)


def test_an_assignment_and_a_step_for_one_parameter():
    """Whatever comes last counts."""
    w, optimizer = trained()

    @tg.compile
    def both(x):
        (w * x).sum().backward()
        w.assign(x * 5)
        optimizer.step()

    both(np.ones(2))
    assert w.tolist() == [4.9, 4.9]


@pytest.mark.parametrize("arguments", [lambda x: (x,), lambda x: (), lambda x: (np.ones(2),), lambda x: (W,)])
def test_a_compiled_function_inside_another(arguments):
    """It is part of the other one: nothing is done at recording, and all of it on each call."""
    w, optimizer = trained()

    @tg.compile
    def inner(*given):
        optimizer.zero_grad()
        (w * sum(g.sum() for g in given) + w).sum().backward()
        optimizer.step()

    @tg.compile
    def outer(x):
        y = x + w
        inner(*arguments(x))
        return y

    outer.program(np.ones(2))
    assert w.tolist() == [1, 1]
    expected = tg.parameter(np.ones(2))
    for k in range(3):
        x = np.full(2, 0.5 + k)
        np.testing.assert_allclose(outer(x).numpy(), x + expected.numpy(), rtol=1e-12)
        slope = 1 + sum(np.sum(g.numpy() if isinstance(g, tg.Tensor) else g) for g in arguments(x))
        expected.assign(expected.numpy() - 0.1 * slope)
    np.testing.assert_allclose(w.numpy(), expected.numpy(), rtol=1e-12)
    assert inner.programs == []


def test_a_compiled_function_inside_a_trace():
    """A graph holds what it computes; what it would change is refused."""
    w, optimizer = trained()
    inner = tg.compile(lambda x: tg.tanh(x) * w)
    assert tg.trace(inner, tg.Spec((2,), np.float64))(np.zeros(2)).tolist() == [0, 0]

    @tg.compile
    def step(x):
        (w * x).sum().backward()
        optimizer.step()
        return w

    with pytest.raises(TypeError, match="compile"):
        tg.trace(step, tg.Spec((2,), np.float64))
    assert (w.tolist(), w.grad, optimizer.step_count) == ([1, 1], None, 0)


def test_stale_history_of_a_closure():
    """What was computed from a parameter before cannot be differentiated after its update, so not at all."""
    w, optimizer = trained()
    h = tg.tanh(w)

    @tg.compile
    def step(x):
        (h * x).sum().backward()
        optimizer.step()

    with pytest.raises(tg.StaleError):
        step(np.ones(2))


# Arguments and results ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("argument", [{1, 2}, bytearray(b"x"), [{3}], {"a": {3}}])
def test_arguments_that_cannot_be_part_of_a_signature(argument):
    with pytest.raises(TypeError, match="cannot be part of a signature"):
        tg.compile(lambda x, a: x)(np.ones(2), argument)


@pytest.mark.parametrize("array", [
    np.ones(2, np.float16), np.ones(2, complex), np.array(["a"]), np.array([None]), np.ones(2, ">f8"),
])  # fmt: skip
def test_arrays_of_other_types(array):
    with pytest.raises(tg.DTypeError):
        tg.compile(lambda x: x)(array)


@pytest.mark.parametrize("result", [3, 2.5, np.ones(2), "x", (None, object())])
def test_results_that_are_no_tensors(result):
    with pytest.raises(TypeError, match="must give tensors"):
        tg.compile(lambda x: result)(np.ones(2))


@pytest.mark.parametrize("count", [0, 2])
def test_a_wrong_number_of_arguments(count):
    with pytest.raises(TypeError, match="argument"):
        tg.compile(lambda x: x)(*[np.ones(2)] * count)


@pytest.mark.parametrize("thing", [3, np.ones(2), tg.ones(2)])
def test_what_is_no_function(thing):
    with pytest.raises(TypeError, match="expected a function"):
        tg.compile(thing)


def test_shape_errors_are_those_of_eager_mode():
    f = lambda x, y: x @ y
    with pytest.raises(tg.ShapeError) as eager:
        f(tg.ones((2, 3)), tg.ones((2, 3)))
    compiled = tg.compile(f)
    with pytest.raises(tg.ShapeError) as error:
        compiled(np.ones((2, 3), np.float32), np.ones((2, 3), np.float32))
    assert str(error.value).splitlines()[0] == str(eager.value).splitlines()[0]
    assert compiled(np.ones((2, 3)), np.ones((3, 2))).shape == (2, 2)


def test_an_error_inside_leaves_nothing_behind():
    w, optimizer = trained()
    other = tg.tensor(np.zeros(2))
    (w * 3).sum().backward()
    held, fail = w.grad, [True]

    @tg.compile
    def step(x):
        optimizer.zero_grad()
        (w * x).sum().backward()
        optim.clip_grad_norm([w], 1.0)
        optimizer.step()
        other.assign(x)
        with tg.scope("inside"):
            for _ in tg.steps(3):
                if fail[0]:
                    raise KeyboardInterrupt
        return x

    with pytest.raises(KeyboardInterrupt):
        step(np.ones(2))
    assert w.grad is held
    assert (w.tolist(), other.tolist(), optimizer.step_count) == ([1, 1], [0, 0], 0)
    state = current()
    assert (state.tracing, state.place.time, state.place.scope) == (None, None, ())
    assert (w * 2).sum().item() == 4
    fail[0] = False
    step(np.ones(2))
    assert optimizer.step_count == 1
    assert other.tolist() == [1, 1]


def test_recording_alone_changes_nothing():
    w, optimizer = trained()

    @tg.compile
    def step(x):
        (w * x).sum().backward()
        optimizer.step()
        return w

    step.program(np.ones(2))
    assert (w.tolist(), w.grad, optimizer.step_count) == ([1, 1], None, 0)
