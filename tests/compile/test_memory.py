"""Memory: what is computed again is what it was, the arena shrinks as it should, and reports of it add up."""

from __future__ import annotations

from itertools import pairwise

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import optim

BATCH, SIZE, HIDDEN = 2, 3, 4
EXACT = {"rtol": 1e-12, "atol": 1e-12}
compiled_only = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="what is planned are the compiled instructions")


# Recurrent networks, written out --------------------------------------------------------------------------------------


def rnn(x, state, w_i, w_h, b):
    (h,) = state
    return (tg.tanh(x @ w_i + h @ w_h + b),)


def lstm(x, state, w_i, w_h, b):
    h, c = state
    i, f, o, u = tg.split(x @ w_i + h @ w_h + b, 4, axis=1)
    c = tg.sigmoid(f) * c + tg.sigmoid(i) * tg.tanh(u)
    return tg.sigmoid(o) * tg.tanh(c), c


def gru(x, state, w_i, w_h, b):
    (h,) = state
    size = h.shape[1]
    a, g = x @ w_i + b, h @ w_h
    r, z = tg.split(tg.sigmoid(a[:, : 2 * size] + g[:, : 2 * size]), 2, axis=1)
    n = tg.tanh(a[:, 2 * size :] + r * g[:, 2 * size :])
    return ((1 - z) * n + z * h,)


CELLS = {"rnn": (rnn, 1, 1), "lstm": (lstm, 4, 2), "gru": (gru, 3, 1)}  # gates and states
LOSSES = {
    "last": lambda ys: (ys[-1] ** 2).sum(),
    "all": lambda ys: (tg.stack(ys) ** 2).mean(),
    "some": lambda ys: sum((y * y).sum() for y in ys[::3]),
}


def weights(kind, size=SIZE, hidden=HIDDEN, seed=0, dtype=np.float64):
    rng, gates = np.random.default_rng(seed), CELLS[kind][1]
    shapes = {"W_i": (size, gates * hidden), "W_h": (hidden, gates * hidden), "b": (gates * hidden,)}
    return [tg.parameter(rng.normal(0, 0.4, s).astype(dtype), name=f"{n}{seed}") for n, s in shapes.items()]


def data(steps, size=SIZE, batch=BATCH, dtype=np.float64):
    return np.random.default_rng(steps).normal(size=(steps, batch, size)).astype(dtype)


def unchanged(f):
    return f


def layer(kind, xs, w, *, wrap=unchanged, backwards=False):
    """The states of one layer; `wrap` may be :func:`tg.checkpoint`."""
    cell, _, count = CELLS[kind]
    step = wrap(lambda x, *state: cell(x, state, *w))
    hidden = w[1].shape[0]
    state = (tg.zeros((xs[0].shape[0], hidden), w[1].dtype),) * count
    ys = [None] * len(xs)
    for t in range(len(xs))[:: -1 if backwards else 1]:
        with tg.timestep(t):
            state = step(xs[t], *state)
            ys[t] = state[0]
    return ys


def one_layer(kind, w, loss="last", wrap=unchanged):
    return lambda xs: LOSSES[loss](layer(kind, xs, w, wrap=wrap))


def gradients(model, w):
    def run(xs):
        loss = model(xs)
        return [loss, *tg.grad(loss, [xs, *w])]

    return run


def second_gradients(model, w):
    def run(xs):
        first = tg.grad(model(xs), [xs, *w], create_graph=True)
        return tg.grad(sum((g * g).sum() for g in first), [xs, *w])

    return run


def assert_same(found, expected):
    for k, (a, b) in enumerate(zip(found, expected, strict=True)):
        np.testing.assert_allclose(a.numpy(), b.numpy(), err_msg=f"result {k}", **EXACT)


def assert_saving_changes_nothing(fn, *arrays):
    plain, saving = tg.compile(fn), tg.compile(fn, memory="sqrt")
    expected = fn(*map(tg.tensor, arrays))
    assert_same(plain(*arrays), expected)
    for _ in range(2):
        assert_same(saving(*arrays), expected)


# The square root of the steps -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2, 3, 16, 17])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", CELLS)
def test_gradients(kind, loss, steps):
    w = weights(kind)
    assert_saving_changes_nothing(gradients(one_layer(kind, w, loss), w), data(steps))


@pytest.mark.parametrize("steps", [1, 3, 7])
@pytest.mark.parametrize("kind", CELLS)
def test_second_gradients(kind, steps):
    w = weights(kind)
    assert_saving_changes_nothing(second_gradients(one_layer(kind, w), w), data(steps))


def stacked(kind, w, v):
    return lambda xs: LOSSES["last"](layer(kind, layer(kind, xs, w), v))


def interleaved(kind, w, v):
    cell, _, count = CELLS[kind]

    def model(xs):
        low = high = (tg.zeros((BATCH, HIDDEN), np.float64),) * count
        for t in tg.steps(len(xs)):
            low = cell(xs[t], low, *w)
            high = cell(low[0], high, *v)
        return (high[0] ** 2).sum()

    return model


def bidirectional(kind, w, v):
    def model(xs):
        pairs = zip(layer(kind, xs, w), layer(kind, xs, v, backwards=True), strict=True)
        return tg.stack([tg.sin(tg.concatenate(pair, axis=1)) for pair in pairs]).sum()

    return model


@pytest.mark.parametrize("steps", [1, 2, 3, 16, 17])
@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("form", [stacked, interleaved, bidirectional])
def test_two_layers(form, kind, steps):
    w, v = weights(kind), weights(kind, SIZE if form is bidirectional else HIDDEN, seed=1)
    assert_saving_changes_nothing(gradients(form(kind, w, v), [*w, *v]), data(steps))


@pytest.mark.parametrize("steps", [1, 4, 17])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("layers", [1, 2])
def test_modules(layers, batch_first, steps):
    model = tg.nn.RNN(SIZE, HIDDEN, num_layers=layers, batch_first=batch_first, generator=0, dtype=np.float64)
    xs = data(steps)
    run = gradients(lambda xs: (model(xs).outputs ** 2).sum(), list(model.parameters()))
    assert_saving_changes_nothing(run, xs.swapaxes(0, 1) if batch_first else xs)


@given(steps=st.integers(1, 12), kind=st.sampled_from(sorted(CELLS)), at=st.sets(st.integers(0, 11), min_size=1))
def test_losses_at_any_steps(steps, kind, at):
    w = weights(kind)
    chosen = sorted({k % steps for k in at})
    run = gradients(lambda xs: sum((y * y).sum() for k, y in enumerate(layer(kind, xs, w)) if k in chosen), w)
    assert_saving_changes_nothing(run, data(steps))


def test_steps_that_are_recorded_again_after_a_gradient():
    """A penalty on a gradient is forward code that comes after a backward pass."""
    w = weights("rnn")
    model = one_layer("rnn", w)

    def run(xs):
        loss = model(xs)
        (slope,) = tg.grad(loss, [xs], create_graph=True)
        total = loss + model(xs + slope)
        return [total, *tg.grad(total, [xs, *w])]

    assert_saving_changes_nothing(run, data(9))


def test_what_a_step_returns_is_kept():
    w = weights("lstm")

    def run(xs):
        ys = layer("lstm", xs, w)
        return [ys[1], tg.tanh(ys[4])[:1], *tg.grad((ys[-1] ** 2).sum(), w)]

    assert_saving_changes_nothing(run, data(9))


# Training steps -------------------------------------------------------------------------------------------------------


class Model(tg.nn.Module):
    def __init__(self, wrap, dropout):
        rng = np.random.default_rng(0)
        self.embedding = tg.nn.Embedding(6, 4, generator=rng, dtype=np.float64)
        self.cell = tg.nn.RNNCell(4, HIDDEN, generator=rng, dtype=np.float64)
        self.dropout = tg.nn.Dropout(dropout, generator=rng)
        self.head = tg.nn.Linear(HIDDEN, 6, generator=rng, dtype=np.float64)
        self.step = wrap(lambda tokens, h: self.cell(self.dropout(self.embedding(tokens)), h)[1])

    def forward(self, tokens):
        h, ys = self.cell.initial_state(tokens.shape[0]), []
        for t in tg.steps(tokens.shape[1]):
            h = self.step(tokens[:, t], h)
            ys.append(self.head(self.dropout(h)))
        return tg.stack(ys, axis=1)


def trained(compiled, wrap=unchanged, dropout=0.3, **options):
    """Losses of some steps, and the parameters and the state of the optimiser after them."""
    model = Model(wrap, dropout)
    optimizer = optim.Adam(model, lr=0.05)

    def step(tokens, targets):
        optimizer.zero_grad()
        loss = tg.cross_entropy(model(tokens), targets)
        loss.backward()
        norm = optim.clip_grad_norm(model, 0.1)
        optimizer.step()
        return loss, norm

    run = tg.compile(step, **options) if compiled else step
    seen = []
    for k in range(4):
        tokens = np.random.default_rng(k).integers(0, 6, (2, 3, 10))
        seen += map(float, run(*map(tg.tensor, tokens)))
    arrays = [p.numpy() for p in model.parameters()]
    return [*seen, *arrays, *(a for a in optimizer.state_dict().values() if isinstance(a, np.ndarray))]


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("memory", [None, "sqrt"])
@pytest.mark.parametrize("wrap", [unchanged, tg.checkpoint])
def test_whole_training_steps(wrap, memory, dropout):
    """Masks are drawn once: the second pass over a step has those of the first."""
    expected = trained(False, dropout=dropout)
    for a, b in zip(trained(True, wrap, dropout, memory=memory), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


# Checkpoints ----------------------------------------------------------------------------------------------------------


def assert_checkpoints_change_nothing(make, *arrays):
    """`make` takes what is put around the parts of a model."""
    expected = make(unchanged)(*map(tg.tensor, arrays))
    for memory in (None, "sqrt"):
        compiled = tg.compile(make(tg.checkpoint), memory=memory)
        assert_same(compiled(*arrays), expected)
        assert compiled.programs[-1].recording.segments


@pytest.mark.parametrize("steps", [1, 2, 3, 17])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", CELLS)
def test_a_checkpoint_at_each_step(kind, loss, steps):
    w = weights(kind)
    assert_checkpoints_change_nothing(lambda wrap: gradients(one_layer(kind, w, loss, wrap), w), data(steps))


@pytest.mark.parametrize("kind", CELLS)
def test_second_gradients_of_checkpoints(kind):
    w = weights(kind)
    assert_checkpoints_change_nothing(lambda wrap: second_gradients(one_layer(kind, w, wrap=wrap), w), data(4))


def in_blocks(kind, w, outer, inner=unchanged, block=4):
    """A loop over blocks of steps; the parameters are found by closures."""
    cell, _, count = CELLS[kind]
    step = inner(lambda x, *state: cell(x, state, *w))

    def steps(xs, start, *state):
        for t in range(len(xs)):
            with tg.timestep(start + t):
                state = step(xs[t], *state)
        return state

    def model(xs):
        state = (tg.zeros((xs.shape[1], w[1].shape[0]), w[1].dtype),) * count
        for start in range(0, len(xs), block):
            state = outer(steps)(xs[start : start + block], start, *state)
        return (state[0] ** 2).sum()

    return model


@pytest.mark.parametrize("steps", [1, 3, 16, 17])
@pytest.mark.parametrize("kind", CELLS)
def test_a_checkpoint_for_each_block_of_steps(kind, steps):
    w = weights(kind)
    assert_checkpoints_change_nothing(lambda wrap: gradients(in_blocks(kind, w, wrap), w), data(steps))


@pytest.mark.parametrize("kind", CELLS)
def test_nested_checkpoints(kind):
    w = weights(kind)
    assert_checkpoints_change_nothing(lambda wrap: gradients(in_blocks(kind, w, wrap, wrap), w), data(10))


def test_several_outputs_and_closures():
    w = tg.parameter(np.array([0.3, -0.7]))

    def make(wrap):
        @wrap
        def part(x, scale):
            a = tg.tanh(x * w)
            return [a * scale, tg.exp(a).sum(), a.reshape(2, 1)]

        def run(x):
            a, b, c = part(x, 2.0)
            y = (a * b + c[:, 0]).sum() + (b * b)
            return [a, b, c, y, *tg.grad(y, [x, w])]

        return run

    assert_checkpoints_change_nothing(make, np.array([1.5, 0.2]))


def test_a_gradient_inside_a_checkpoint():
    w = tg.parameter(np.array([0.3, -0.7]))

    def make(wrap):
        @wrap
        def part(x):
            (g,) = tg.grad((tg.tanh(x * w) ** 2).sum(), [x], create_graph=True)
            return x + tg.sin(g * w)

        def run(x):
            y = (part(part(x)) ** 2).sum()
            return [y, *tg.grad(y, [x, w])]

        return run

    assert_checkpoints_change_nothing(make, np.array([1.5, 0.2]))


@pytest.mark.parametrize("body", [lambda v: v, lambda v: v.reshape(3, 1)[:, 0], lambda v: tg.ones(3, np.float64) * 2])
def test_checkpoints_that_compute_nothing(body):
    def make(wrap):
        def run(x):
            y = (wrap(body)(tg.tanh(x)) * x).sum()
            return [y, *tg.grad(y, [x])]

        return run

    arrays = np.array([0.1, 0.2, 0.3])
    assert_same(tg.compile(make(tg.checkpoint))(arrays), make(unchanged)(tg.tensor(arrays)))


# How much memory ------------------------------------------------------------------------------------------------------


def planned(kind, steps, memory=None, hidden=32, model=one_layer, **options):
    w = weights(kind, 8, hidden, dtype=np.float32)
    loss = model(kind, w, **options)

    def run(xs):
        y = loss(xs)
        return [y, *tg.grad(y, w)]

    return tg.compile(run, memory=memory).program(data(steps, 8, 16, np.float32))


def working(program):
    """The arena without the arguments, which are as long as the sequence."""
    return program.arena_bytes - sum(v.size * v.dtype.itemsize for v in program._runner.table.inputs)


@compiled_only
@pytest.mark.parametrize("kind", CELLS)
def test_the_arena_grows_with_the_root_of_the_steps(kind):
    short, long = (planned(kind, steps, "sqrt") for steps in (64, 256))
    assert working(long) < 2.6 * working(short)
    assert long.flops < 4.1 * short.flops


@compiled_only
@pytest.mark.parametrize("kind", CELLS)
def test_the_arena_is_a_fraction_and_one_forward_pass_is_added(kind):
    plain, saving = planned(kind, 256), planned(kind, 256, "sqrt")
    w = weights(kind, 8, 32, dtype=np.float32)
    forward = tg.compile(one_layer(kind, w)).program(data(256, 8, 16, np.float32))
    assert saving.arena_bytes < plain.arena_bytes / 3
    assert saving.flops < plain.flops + 1.05 * forward.flops


@compiled_only
def test_two_layers_save_both():
    """The lower layer is computed again when its own gradient is, not with the upper one."""

    def model(kind, w):
        v = weights(kind, 32, 32, seed=1, dtype=np.float32)
        return stacked(kind, w, v)

    plain, saving = (planned("lstm", 100, memory, model=model) for memory in (None, "sqrt"))
    assert saving.arena_bytes < plain.arena_bytes / 3


@compiled_only
@pytest.mark.parametrize("wrap", [tg.checkpoint, unchanged])
def test_checkpoints_at_each_step_keep_states_alone(wrap):
    plain = planned("lstm", 64)
    program = planned("lstm", 64, wrap=wrap)
    assert (program.arena_bytes < 0.8 * plain.arena_bytes) is (wrap is tg.checkpoint)


@compiled_only
@pytest.mark.parametrize("length", [10, 100, 1000])
def test_a_long_chain_takes_no_more_than_a_short_one(length):
    def chain(x):
        for _ in range(length):
            x = tg.sin(x) * 1.5 + tg.cos(x)
        return x

    program = tg.compile(chain).program(np.ones(1000))
    assert program.arena_bytes <= 5 * 8064


# Reports --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("memory", [None, "sqrt"])
@pytest.mark.parametrize("kind", CELLS)
def test_the_report_adds_up(kind, memory):
    program = planned(kind, 20, memory, hidden=8)
    report = program.memory
    assert report.arena == program.arena_bytes
    assert report.largest
    sizes = [nbytes for _, nbytes, _, _ in report.largest]
    assert sizes == sorted(sizes, reverse=True)
    assert sum(sizes) <= report.arena <= report.unshared + 64 * len(program.instructions)
    end = len(program.instructions)
    assert all(-1 <= first <= last <= end for _, _, first, last in report.largest)
    assert max(first for *_, first, _ in report.largest) <= min(last for *_, last in report.largest)


def test_the_report_as_text():
    program = tg.compile(lambda x: tg.tanh(x.named("x") @ x).sum()).program(np.ones((40, 40)))
    lines = str(program.memory).splitlines()
    assert lines[0].startswith(f"arena {program.arena_bytes:,} bytes; ")
    assert lines[1] == "largest at the fullest moment (bytes, label, instructions):"
    assert len(lines) == 2 + len(program.memory.largest)
    assert any("12,800" in line for line in lines[2:])


def test_the_report_of_nothing():
    report = tg.compile(lambda: None).program().memory
    assert (report.arena, report.unshared, report.largest, report.constants) == (0, 0, [], 0)
    assert str(report).startswith("arena 0 bytes")


def test_the_flops_of_longer_sequences():
    counts = [planned("rnn", steps, "sqrt", hidden=4).flops for steps in (4, 8, 16, 32)]
    assert all(a <= b for a, b in pairwise(counts))


def test_memory_takes_nothing_else():
    with pytest.raises(ValueError, match="memory"):
        tg.compile(lambda x: x, memory="none")


@compiled_only
def test_checkpoints_of_blocks_keep_little_more_than_one_block():
    w = weights("lstm", 8, 32, dtype=np.float32)
    xs = data(128, 8, 16, np.float32)
    models = [in_blocks("lstm", w, wrap, block=16) for wrap in (unchanged, tg.checkpoint)]
    plain, saving = (tg.compile(gradients(model, w)).program(xs) for model in models)
    assert saving.arena_bytes < plain.arena_bytes / 4
