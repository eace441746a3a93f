"""What others put in place of the arrays that a program works on is looked at before its address is taken."""

from __future__ import annotations

import contextlib
import copy
import pickle

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import optim

SHAPE = (3, 4)


def trained():
    w = tg.parameter(np.arange(12.0).reshape(SHAPE) / 10, name="w")
    c = tg.tensor(np.ones(SHAPE), name="c")
    optimizer = optim.Adam([w], lr=0.1)

    def step(x):
        loss = ((w * c * x) ** 2).sum()
        loss.backward()
        optimizer.step()
        return loss

    return w, c, optimizer, step


def put(place, w, c, optimizer, value):
    if place == "state":
        optimizer.state[0][1] = value
    elif place == "grad":
        w._grad.data = value
    else:
        (w if place == "parameter" else c).data = value


PLACES = ["parameter", "constant", "state", "grad"]
BAD = {
    "larger": np.ones((30, 40)),
    "smaller": np.ones(2),
    "transposed shape": np.ones(SHAPE[::-1]),
    "empty": np.ones((0, 4)),
    "float32": np.ones(SHAPE, np.float32),
    "integers": np.ones(SHAPE, np.int64),
    "objects": np.full(SHAPE, None),
    "big-endian": np.ones(SHAPE, ">f8"),
    "a list": [[1.0] * 4] * 3,
    "a matrix": np.ma.ones(SHAPE),
    "None": None,
    "a tensor": tg.ones(SHAPE, np.float64),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("bad", BAD)
def test_what_does_not_fit(bad, place):
    """It is refused, nothing is changed, and once it is right again the next call works."""
    w, c, optimizer, step = trained()
    compiled = tg.compile(step)
    x = np.ones(SHAPE)
    compiled(x), compiled(x)
    good = {"state": optimizer.state[0][1], "grad": w.grad.data, "parameter": w.data, "constant": c.data}[place]
    put(place, w, c, optimizer, BAD[bad])
    before = [a.copy() for a in (w.data, c.data) if type(a) is np.ndarray]
    with pytest.raises((TypeError, ValueError), match=r"compile: .*'(w|c|square)'"):
        compiled(x)
    for a, b in zip([a for a in (w.data, c.data) if type(a) is np.ndarray], before, strict=True):
        np.testing.assert_array_equal(a, b)
    assert optimizer.step_count == 2
    put(place, w, c, optimizer, good)
    compiled(x)
    assert optimizer.step_count == 3


LAYOUTS = {
    "transposed": lambda a: np.ascontiguousarray(a.T).T,
    "every second": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "backwards": lambda a: np.ascontiguousarray(a[::-1])[::-1],
    "not aligned": lambda a: np.frombuffer(b"\0" + a.tobytes(), np.uint8)[1:].view(a.dtype).reshape(a.shape),
    "broadcast": lambda a: np.broadcast_to(a[:1], a.shape),
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
    "inside another": lambda a: np.pad(a, 3)[3:-3, 3:-3],
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout(layout, place):
    """What has the right shape and type is taken as it lies, and its neighbours are left alone."""
    results = []
    for kind in (tg.compile, lambda f: f):
        w, c, optimizer, step = trained()
        run = kind(step)
        x = tg.tensor(np.ones(SHAPE))
        run(x), run(x)
        held = {"state": optimizer.state[0][1], "grad": w.grad.data, "parameter": w.data, "constant": c.data}[place]
        value = LAYOUTS[layout](held + 0.5)
        around = value.base.copy() if isinstance(value.base, np.ndarray) else None
        if place == "state" and kind is not tg.compile:
            optimizer.state[0][1] = np.array(value)  # eager optimisers write into their state
        else:
            put(place, w, c, optimizer, value)
        results.append([run(x).item(), run(x).item(), w.numpy().copy()])
        if around is not None and kind is tg.compile and layout != "inside another":
            np.testing.assert_array_equal(value.base, around)
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("value", [tg.ones(3), np.ones((4, 3)), np.ones(SHAPE, complex), 3.0, [1.0]], ids=repr)
def test_gradients_of_another_shape_or_kind(value):
    w = tg.parameter(np.ones(SHAPE), name="w")
    with pytest.raises((tg.ShapeError, tg.DTypeError), match="grad: tensor 'w'"):
        w.grad = value
    assert w.grad is None


def test_gradients_that_are_set():
    """Arrays become tensors of the parameter's type; they are copied."""
    w = tg.parameter(np.ones(2, np.float32))
    given = np.array([1.0, 2.0])
    w.grad = given
    given[0] = 5
    assert isinstance(w.grad, tg.Tensor)
    assert (w.grad.dtype, w.grad.tolist()) == (np.float32, [1, 2])
    optim.SGD([w], lr=1.0).step()
    assert w.tolist() == [0, -1]
    w.grad = None
    assert w.grad is None


@pytest.mark.parametrize("state", [[], [[]], [[np.ones(SHAPE)]], [None], [[None, None]]], ids=repr)
def test_a_state_that_is_gone(state):
    *_, optimizer, step = trained()
    compiled = tg.compile(step)
    compiled(np.ones(SHAPE)), compiled(np.ones(SHAPE))
    optimizer.state = state
    with pytest.raises((TypeError, ValueError), match=r"compile: '(mean|square)' of parameter 0"):
        compiled(np.ones(SHAPE))


@pytest.mark.parametrize("arrays", [
    [], [np.ones(SHAPE)] * 2, [np.ones(4)], [np.ones((1, 1))], [np.ones(SHAPE, complex)], [np.full(SHAPE, "a")], [3.0],
    [None],
])  # fmt: skip
def test_arguments_of_a_program(arrays):
    """Shapes are not broadcast, and kinds not converted."""
    program = tg.compile(trained()[3]).program(np.ones(SHAPE))
    with pytest.raises((TypeError, ValueError), match="program: "):
        program.run(arrays)


def test_arguments_that_are_converted():
    program = tg.compile(lambda x: x * 2).program(np.ones(2, np.float32))
    assert program.run([np.array([1.0, 2.0])])[0].dtype == np.float32
    assert program.run([tg.tensor([1.0, 2.0])])[0].tolist() == [2, 4]
    assert program.run([np.array([1, 2])])[0].tolist() == [2, 4]


# What a tensor holds --------------------------------------------------------------------------------------------------

VIEWS = {
    "detach": lambda w: w.detach(),
    "slice": lambda w: w[1:],
    "entry": lambda w: w[0],
    "transpose": lambda w: w.T,
    "reshape": lambda w: w.reshape(-1),
    "flatten": lambda w: tg.flatten(w),
    "flip": lambda w: tg.flip(w, 0),
    "split": lambda w: tg.split(w, 2, axis=1)[0],
    "expand": lambda w: tg.expand_dims(w, 0),
    "broadcast": lambda w: tg.broadcast_to(w, (5, *w.shape)),
    "swapaxes": lambda w: tg.swapaxes(w, 0, 1),
    "diagonal stride": lambda w: w[::2, ::-1],
    "iterated": lambda w: next(iter(w)),
    "the same shape": lambda w: w.reshape(*w.shape),
    "a view of a view": lambda w: w.T[1:].T,
    "a copy": lambda w: tg.tensor(w),
    "cast": lambda w: w.astype(np.float32),
    "shallow copy": lambda w: copy.copy(w),
    "pickle with buffers": lambda w: pickled(w),
    "traced": lambda w: tg.trace(lambda: w.T)(),
    "traced alone": lambda w: tg.trace(lambda: w)(),
    "cotangent": lambda w: tg.vjp(lambda z: z + 0.0, np.ones(SHAPE))[1](w)[0],
    "cotangent of a view": lambda w: tg.vjp(lambda z: z.T, np.ones(SHAPE[::-1]))[1](w)[0],
    "tangent": lambda w: tg.jvp(lambda z: z.T, [np.ones(SHAPE)], [w])[1],
    "leaf's gradient": lambda w: gradient_of_a_leaf(w),
}


def pickled(w):
    buffers = []
    data = pickle.dumps(w, protocol=5, buffer_callback=buffers.append)
    return pickle.loads(data, buffers=buffers)


def gradient_of_a_leaf(w):
    z = tg.parameter(np.ones(SHAPE))
    (z + 0.0).backward(w)
    return z.grad


@pytest.mark.parametrize("change", ["step", "assign", "buffer"])
@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("view", VIEWS)
def test_what_a_tensor_holds_stays(view, recorded, change):
    """Views of a parameter, and what was detached, stay as they are whatever a compiled function does."""
    w = (tg.tensor if change == "buffer" else tg.parameter)(np.arange(12.0).reshape(SHAPE))

    def step(x):
        if change == "step":
            (w * x).sum().backward()
            optim.SGD([w], lr=1.0).step()
            w.grad = None
        else:
            w.assign(w * x + 1)

    compiled, kept = tg.compile(step), []
    for _ in range(3):
        with contextlib.nullcontext() if recorded or "leaf" in view else tg.no_grad():
            y = VIEWS[view](w)
        kept.append((y, y.numpy().copy()))
        compiled(np.full(SHAPE, 2.0))
        for y, expected in kept:
            np.testing.assert_array_equal(y.numpy(), expected)
    assert w.numpy().max() != 11


def test_gradients_through_a_snapshot():
    """A penalty on the way from an old value, which the steps must not move."""
    def made(kind):
        w = tg.parameter(np.array([1.0, 2.0]))
        optimizer = optim.SGD([w], lr=0.1)

        def step(x):
            optimizer.zero_grad()
            (w * x).sum().backward()
            optimizer.step()

        old = w.detach()
        run = kind(step)
        run(tg.ones(2, np.float64))
        w.grad = None
        ((w - old) ** 2).sum().backward()
        return w.grad.tolist(), old.tolist()

    compiled, eager = made(tg.compile), made(lambda f: f)
    np.testing.assert_allclose(compiled, eager, rtol=1e-12)
    assert compiled[1] == [1, 2]


def test_numpy_shows_the_new_values():
    """As the README says: it shares memory with the parameter."""
    w = tg.parameter(np.ones(2))
    shown, optimizer = w.numpy(), optim.SGD([w], lr=1.0)

    @tg.compile
    def step(x):
        (w * x).sum().backward()
        optimizer.step()

    step(np.ones(2))
    assert shown.tolist() == w.tolist() == [0, 0]
