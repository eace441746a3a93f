"""Sequences of different lengths, directions, layers, history and truncated gradients."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import nn, testing
from tinygrad_rnn.nn.state import leaves_of, mapped_state
from tinygrad_rnn.testing import strategies

LAYERS = {
    "rnn": lambda: nn.RNN(2, 3, 2, generator=0, dtype=np.float64),
    "lstm": lambda: nn.LSTM(2, 3, generator=0, dtype=np.float64),
    "gru, both ways": lambda: nn.GRU(2, 3, 2, bidirectional=True, generator=0, dtype=np.float64),
    "lstm, both ways, residual": lambda: nn.LSTM(
        2, 3, 2, bidirectional=True, residual=True, generator=0, dtype=np.float64
    ),
    "skip over time": lambda: nn.Recurrent(nn.RNNCell(2, 3, skip=2, generator=0, dtype=np.float64)),
    "skip over layers": lambda: nn.GRU(2, 3, 3, skip=True, generator=0, dtype=np.float64),
    "one's own": lambda: nn.Recurrent(Own()),
}
every = pytest.mark.parametrize("name", LAYERS)


class Own(nn.Module):
    """A cell of ten lines, with a state of its own making."""

    def __init__(self):
        self.W = tg.parameter(np.random.default_rng(0).normal(size=(5, 3)))

    def initial_state(self, batch):
        return {"h": tg.zeros((batch, 3), np.float64), "count": tg.zeros((batch, 1), np.float64)}

    def forward(self, x, state):
        h = tg.tanh(tg.concatenate([x, state["h"]], -1) @ self.W)
        return h, {"h": h, "count": state["count"] + 1}


@every
@given(batch=strategies.sequences(features=2, max_steps=4, max_batch=3, low=-2, high=2))
def test_each_sequence_is_computed_as_if_it_were_alone(name, batch):
    layer = LAYERS[name]()
    out = layer(batch.xs, lengths=batch.lengths)
    for k, n in enumerate(batch.lengths):
        assert not np.any(out.outputs[k, n:].numpy())
        row = mapped_state(lambda t, k=k: t[k : k + 1], out.state)
        if not n:
            assert not np.any(out.last[k].numpy())
            start = layer.initial_state(1)
            for a, b in zip(leaves_of(row), leaves_of(start), strict=True):
                testing.assert_close(a, b)
            continue
        alone = layer(batch.xs[k : k + 1, :n])
        testing.assert_close(out.outputs[k : k + 1, :n], alone.outputs, atol=1e-13)
        testing.assert_close(out.last[k : k + 1], alone.last, atol=1e-13)
        for a, b in zip(leaves_of(row), leaves_of(alone.state), strict=True):
            testing.assert_close(a, b, atol=1e-13)


@every
@pytest.mark.parametrize("filler", [0.0, 7.0, np.nan, np.inf])
def test_padding_changes_nothing(name, filler):
    """Not outputs, not losses, not gradients, whatever stands there."""
    rng = np.random.default_rng(0)
    x, lengths = rng.normal(size=(3, 4, 2)), np.array([2, 0, 4])
    there = np.arange(4) < lengths[:, None]

    def results(padding):
        layer = LAYERS[name]()
        xs = tg.parameter(np.where(there[..., None], x, padding))
        out = layer(xs, lengths=lengths)
        loss = (out.outputs**2).sum() + out.last.sum() + sum((t * 0.1).sum() for t in leaves_of(out.state))
        loss.backward()
        return [out.outputs, out.last, loss, xs.grad, *(p.grad for p in layer.parameters())]

    expected = results(-1.0)
    for a, b in zip(results(filler), expected, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert not np.any(expected[3].numpy()[~there])


@every
def test_lengths_equal_a_mask_and_compile(name):
    layer = LAYERS[name]()
    rng = np.random.default_rng(0)
    x, lengths = rng.normal(size=(3, 4, 2)), np.array([2, 0, 4])
    out = layer(x, lengths=lengths)
    same = layer(x, mask=np.arange(4) < lengths[:, None])
    compiled = tg.compile(lambda x, n: layer(x, lengths=n)[:3])
    outputs, state, last = compiled(x, lengths)
    for other in (same[:3], (outputs, state, last)):
        for a, b in zip(leaves_of(list(other)), leaves_of(list(out[:3])), strict=True):
            testing.assert_close(a, b, atol=1e-13)


def test_a_mask_may_have_gaps():
    cell = nn.RNNCell(2, 3, generator=0, dtype=np.float64)
    x = np.random.default_rng(0).normal(size=(1, 5, 2))
    out = nn.unroll(cell, x, mask=[[False, True, False, True, False]])
    alone = nn.unroll(cell, x[:, [1, 3]])
    testing.assert_close(out.outputs[:, [1, 3]], alone.outputs)
    testing.assert_close(out.last, alone.last)
    behind = nn.unroll(cell, x, mask=[[False, True, False, True, False]], reverse=True)
    testing.assert_close(behind.last, nn.unroll(cell, x[:, [3, 1]]).last)


def test_tokens_behind_the_end_may_be_anything():
    class Embeds(nn.Module):
        def __init__(self):
            self.embedding, self.cell = nn.Embedding(5, 2, generator=0), nn.GRUCell(2, 3, generator=0)

        def initial_state(self, batch):
            return self.cell.initial_state(batch)

        def forward(self, tokens, state):
            return self.cell(self.embedding(tokens), state)

    model = Embeds()
    a = nn.unroll(model, [[1, 2, -1], [4, 99, 99]], lengths=[2, 1])
    b = nn.unroll(model, [[1, 2, 0], [4, 0, 0]], lengths=[2, 1])
    np.testing.assert_array_equal(a.outputs.numpy(), b.outputs.numpy())


# Directions and layers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
@given(batch=strategies.sequences(features=2, max_steps=4, max_batch=3, min_length=1))
def test_reversed_inputs_exchange_the_directions(kind, batch):
    """With the same weights both ways."""
    layer = kind(2, 3, bidirectional=True, generator=0, dtype=np.float64)
    layer.backward[0].load_state_dict(layer.layers[0].state_dict())
    out = layer(batch.xs, lengths=batch.lengths)
    turned = batch.xs.copy()
    for k, n in enumerate(batch.lengths):
        turned[k, :n] = turned[k, :n][::-1]
    other = layer(turned, lengths=batch.lengths)
    for k, n in enumerate(batch.lengths):
        exchanged = np.roll(other.outputs.numpy()[k, :n][::-1], 3, axis=-1)
        np.testing.assert_allclose(out.outputs.numpy()[k, :n], exchanged, atol=1e-13)
    np.testing.assert_allclose(out.last.numpy(), np.roll(other.last.numpy(), 3, axis=-1), atol=1e-13)


def test_the_last_output_of_both_directions():
    layer = nn.LSTM(2, 3, bidirectional=True, generator=0)
    out = layer(tg.ones((2, 4, 2)), lengths=[4, 2])
    np.testing.assert_array_equal(out.last[0, :3].numpy(), out.outputs[0, 3, :3].numpy())
    np.testing.assert_array_equal(out.last[1, :3].numpy(), out.outputs[1, 1, :3].numpy())
    np.testing.assert_array_equal(out.last[:, 3:].numpy(), out.outputs[:, 0, 3:].numpy())
    np.testing.assert_array_equal(out.last[:, 3:].numpy(), out.state[0].backward.h.numpy())


@pytest.mark.parametrize("lengths", [None, [4, 2]])
def test_directions_may_be_of_different_widths(lengths):
    there, back = nn.LSTMCell(2, 4, generator=0), nn.GRUCell(2, 1, generator=1)
    x = tg.tensor(np.random.default_rng(0).normal(size=(2, 4, 2)).astype(np.float32))
    out = nn.Recurrent(there, backward=back)(x, lengths=lengths)
    np.testing.assert_array_equal(out.last.numpy()[:, :4], out.state[0].forward.h.numpy())
    np.testing.assert_array_equal(out.last.numpy()[:, 4:], out.state[0].backward.numpy())


def test_lengths_cost_no_more_than_time():
    """Neither memory nor nodes are quadratic in the steps."""
    cell = lambda x, h: (h + x, h + x)
    run = lambda steps: tg.graph(nn.unroll(cell, np.ones((2, steps, 1)), tg.zeros((2, 1)), lengths=[steps, 3]).last)
    sizes = [sum(t.size for t in run(steps)) for steps in (100, 200)]
    assert sizes[1] < 2.1 * sizes[0]


def test_layers_of_different_cells_and_residuals():
    cells = [nn.LSTMCell(3, 4, generator=0), nn.GRUCell(4, 4, generator=1), nn.RNNCell(4, 4, generator=2)]
    x = tg.tensor(np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32))
    plain, added = nn.Recurrent(cells)(x), nn.Recurrent(cells, residual=True)(x)
    below = nn.unroll(cells[0], x).outputs
    above = nn.unroll(cells[1], below).outputs + below
    testing.assert_close(added.outputs, nn.unroll(cells[2], above).outputs + above)
    assert not np.allclose(plain.outputs, added.outputs)
    assert [type(s).__name__ for s in plain.state] == ["LSTMState", "Tensor", "Tensor"]


def test_layers_that_also_read_the_inputs():
    layer = nn.RNN(2, 3, 2, skip=True, generator=0)
    assert [cell.input_size for cell in layer.layers] == [2, 5]
    x = tg.tensor(np.random.default_rng(0).normal(size=(2, 4, 2)).astype(np.float32))
    below = nn.unroll(layer.layers[0], x).outputs
    testing.assert_close(layer(x).outputs, nn.unroll(layer.layers[1], tg.concatenate([below, x], -1)).outputs)


def test_a_cell_may_be_a_function():
    w = tg.parameter(np.random.default_rng(0).normal(size=(5, 3)))

    def cell(x, h):
        h = tg.tanh(tg.concatenate([x, h], -1) @ w)
        return h, h

    out = nn.unroll(cell, np.ones((1, 4, 2)), tg.zeros((1, 3), np.float64))
    assert out.outputs.shape == (1, 4, 3)
    with pytest.raises(TypeError, match=r"the cell cell gives no initial state; pass one"):
        nn.unroll(cell, np.ones((1, 4, 2)))


def test_states_go_in_where_they_came_out():
    for make in LAYERS.values():
        layer = make()
        if layer.backward is None:
            x = np.random.default_rng(0).normal(size=(2, 5, 2))
            whole, first = layer(x), layer(x[:, :2])
            second = layer(x[:, 2:], first.state)
            testing.assert_close(tg.concatenate([first.outputs, second.outputs], 1), whole.outputs, atol=1e-13)


def test_time_first():
    layer = nn.GRU(2, 3, 2, bidirectional=True, generator=0)
    other = nn.GRU(2, 3, 2, bidirectional=True, generator=0, batch_first=False)
    x = np.random.default_rng(0).normal(size=(2, 4, 2)).astype(np.float32)
    a, b = layer(x, lengths=[4, 1], history=True), other(x.swapaxes(0, 1), lengths=[4, 1], history=True)
    testing.assert_close(b.outputs.swapaxes(0, 1), a.outputs)
    testing.assert_close(b.last, a.last)
    testing.assert_close(b.history[0]["z"].swapaxes(0, 1), a.history[0]["z"])


def test_dropout_lies_between_layers_only():
    for one in (lambda: nn.RNN(2, 3, 1, dropout=0.9), lambda: nn.Recurrent(nn.RNNCell(2, 3), dropout=0.9)):
        with pytest.raises(ValueError, match=r"dropout=0\.9 of one layer"):
            one()
    two = nn.RNN(2, 30, 2, dropout=0.9, generator=0)
    a, b = two(tg.ones((1, 3, 2))).outputs.numpy(), two(tg.ones((1, 3, 2))).outputs.numpy()
    assert not np.array_equal(a, b)
    two.eval()
    np.testing.assert_array_equal(two(tg.ones((1, 3, 2))).outputs.numpy(), two(tg.ones((1, 3, 2))).outputs.numpy())


def test_history_has_gates_and_states_over_time():
    layer = nn.LSTM(2, 3, 2, generator=0)
    out = layer(tg.ones((2, 4, 2)), history=True)
    assert [set(h) for h in out.history] == [{"i", "f", "g", "o", "c", "h"}] * 2
    np.testing.assert_array_equal(out.history[1]["h"].numpy(), out.outputs.numpy())
    np.testing.assert_array_equal(out.history[1]["c"][:, -1].numpy(), out.state[1].c.numpy())


def test_a_cell_without_gates_shows_its_states():
    out = nn.unroll(Own(), np.ones((1, 2, 2)), history=True)
    assert out.history[0]["count"].tolist() == [[[1.0], [2.0]]]
    np.testing.assert_array_equal(out.history[0]["h"].numpy(), out.outputs.numpy())
    cell = lambda x, h: (h + x, h + x)
    assert nn.unroll(cell, tg.ones((1, 3, 1)), tg.zeros((1, 1)), history=True).history[0]["state"].shape == (1, 3, 1)


def test_a_step_that_was_written_before_is_not_what_is_called():
    class Counts:
        def step(self, x, state):
            raise AssertionError

        def __call__(self, x, state):
            return x, state

    class Later(Counts):
        def __call__(self, x, state):
            return x + 1, state

    assert nn.unroll(Later(), np.ones((1, 2, 1)), tg.zeros((1, 1)), history=True).outputs.tolist() == [[[2.0], [2.0]]]


class Leaky(nn.RNNCell):
    """Written upon a cell that shows its gates; they are not those of this one."""

    def forward(self, x, state):
        h, _ = super().forward(x, state)
        h = 0.5 * state + 0.5 * h
        return h, h


@pytest.mark.parametrize("make", [
    lambda: Leaky(2, 3, generator=0), lambda: nn.Zoneout(Leaky(2, 3, generator=0)).eval(),
    lambda: nn.Residual(nn.LSTMCell(2, 2, generator=0)),
    lambda: nn.DeepTransition(nn.GRUCell(2, 3, generator=0), generator=1),
    lambda: nn.Zoneout(nn.LSTMCell(2, 3, generator=0), 0.5, generator=0),
    lambda: nn.VariationalDropout(nn.LSTMCell(2, 3, generator=0), generator=0),
])  # fmt: skip
def test_to_ask_for_the_history_changes_nothing(make):
    x = np.random.default_rng(0).normal(size=(2, 4, 2)).astype(np.float32)
    plain, seen = nn.unroll(make(), x, lengths=[4, 2]), nn.unroll(make(), x, lengths=[4, 2], history=True)
    np.testing.assert_array_equal(seen.outputs.numpy(), plain.outputs.numpy())
    assert not any(np.any(v[1, 2:].numpy()) for v in seen.history[0].values())


def test_wrappers_show_what_is_inside():
    x = tg.ones((1, 3, 2))
    for wrapped in (nn.Zoneout(nn.LSTMCell(2, 2), (0.3, 0.2)), nn.VariationalDropout(nn.LSTMCell(2, 2))):
        out = nn.unroll(wrapped, x, history=True)
        assert set(out.history[0]) == set("ifgoch")
        np.testing.assert_array_equal(out.history[0]["h"].numpy(), out.outputs.numpy())
    assert set(nn.unroll(nn.Residual(nn.GRUCell(2, 2)), x, history=True).history[0]) == set("rznh")
    out = nn.unroll(nn.DeepTransition(nn.GRUCell(2, 2)), x, history=True)
    np.testing.assert_array_equal(out.history[0]["h"].numpy(), out.outputs.numpy())


# Scopes ---------------------------------------------------------------------------------------------------------------


def plain_cell(x, h):
    h = tg.tanh(x + h)
    return h, h


@pytest.mark.parametrize(("make", "scopes"), [
    (lambda x: nn.LSTM(2, 2)(x), ["lstm/layer0"]),
    (lambda x: nn.LSTM(2, 2, 2)(x), ["lstm/layer0", "lstm/layer1"]),
    (lambda x: nn.GRU(2, 2, 2)(x, history=True), ["gru/layer0", "gru/layer1"]),
    (lambda x: nn.LSTM(2, 2, 2, bidirectional=True)(x),
     [f"lstm/layer{k}/{way}" for k in range(2) for way in ("forward", "backward")]),
    (lambda x: nn.Recurrent([nn.Zoneout(nn.GRUCell(2, 2)), nn.Residual(nn.RNNCell(2, 2))])(x),
     ["recurrent/layer0/cell", "recurrent/layer1/cell"]),
    (lambda x: nn.Recurrent([cell := nn.RNNCell(2, 2), cell])(x), ["recurrent/layer0", "recurrent/layer1"]),
    (lambda x: nn.Recurrent(Own())(x), ["recurrent/layer0"]),
    (lambda x: nn.unroll(nn.DeepTransition(nn.GRUCell(2, 2)), x), ["deeptransition/cell"]),
    (lambda x: nn.unroll(plain_cell, x, tg.zeros((1, 2))), ["plain_cell"]),
    (lambda x: nn.unroll(lambda x, h: plain_cell(x, h), x, tg.zeros((1, 2)), history=True), ["cell"]),
    (lambda x: next(iter(nn.tbptt(nn.GRUCell(2, 2), x, 3))), ["grucell"]),
    (lambda x: next(iter(nn.tbptt(nn.GRU(2, 2, 2), x, 3))), ["gru/layer0", "gru/layer1"]),
])  # fmt: skip
def test_what_a_cell_does_is_in_a_scope_of_the_cell(make, scopes):
    g = tg.graph(make(tg.ones((1, 3, 2))).outputs)
    found = {"/".join(t.scope) for t in g if t.op.name in ("matmul", "tanh")}
    assert found - {"deeptransition"} == set(scopes)
    assert all({t.time for t in g.by_scope(path)} >= {0, 1, 2} for path in scopes)


def test_initial_states_stand_beside_their_cells_and_inputs_before_them():
    layer = nn.LSTM(2, 2, 2, bidirectional=True, learn_initial_state=True, residual=True, dropout=0.5)
    g = tg.graph(layer(tg.ones((2, 3, 2)), lengths=[2, 3]).outputs)
    assert [(t.scope, t.time) for t in g.by_name("x")] == [(("lstm",), t) for t in range(3)]
    started = {"/".join(t.scope) for t in g if t.op.name == "broadcast_to" and t.time is None}
    assert started == {f"lstm/layer{k}/{way}" for k in range(2) for way in ("forward", "backward")}
    assert {"/".join(t.scope) for t in g if t.op.name == "concatenate" and t.time is not None} == {
        "lstm/layer0", "lstm/layer1"
    }  # fmt: skip
    assert "lstm/layer0/dropout" in {"/".join(t.scope) for t in g}
    assert "digraph" in tg.viz.to_dot(g.outputs[0])


def test_names_of_parameters_say_layer_and_direction():
    names = [n for n, _ in nn.RNN(2, 2, 2, bidirectional=True, bias=False).named_parameters()]
    assert names == [f"{way}.{k}.{w}" for way in ("layers", "backward") for k in range(2) for w in ("W_i", "W_h")]


# Truncated gradients --------------------------------------------------------------------------------------------------


def gradient(losses, cell):
    cell.zero_grad()
    for loss in losses:
        loss.backward()
    return [p.grad.numpy().copy() for p in cell.parameters()]


def test_truncation_over_the_whole_length_is_plain():
    cell = nn.LSTMCell(2, 3, generator=0, dtype=np.float64)
    x = np.random.default_rng(0).normal(size=(2, 5, 2))
    whole = gradient([(nn.unroll(cell, x).outputs ** 2).sum()], cell)
    (chunk,) = nn.tbptt(cell, x, 5)
    for a, b in zip(gradient([(chunk.outputs**2).sum()], cell), whole, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


@given(k=st.integers(1, 4), seed=st.integers(0, 100))
def test_truncation_equals_detaching(k, seed):
    cell = nn.GRUCell(2, 3, generator=0, dtype=np.float64)
    x = np.random.default_rng(seed).normal(size=(2, 5, 2))
    found = gradient([(c.outputs**2).sum() for c in nn.tbptt(cell, x, k)], cell)
    state, losses = cell.initial_state(2), []
    for start in range(0, 5, k):
        out = nn.unroll(cell, x[:, start : start + k], state)
        losses.append((out.outputs**2).sum())
        state = out.state.detach()
    for a, b in zip(found, gradient(losses, cell), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


@given(k1=st.integers(1, 3), more=st.integers(0, 4))
def test_gradients_reach_back_k2_steps(k1, more):
    cell = nn.RNNCell(2, 3, generator=0, dtype=np.float64)
    x, k2 = np.random.default_rng(0).normal(size=(1, 6, 2)), k1 + more
    whole = nn.unroll(cell, x).outputs.numpy()
    for chunk in nn.tbptt(cell, tg.parameter(x), k1, k2):
        np.testing.assert_allclose(chunk.outputs.numpy(), whole[:, chunk.start : chunk.stop], rtol=1e-12)
        times = [t.time for t in tg.graph(chunk.outputs) if t.name == "h" and t.inputs]
        assert min(times) == max(chunk.start - more, 0)
        assert not any(t.requires_grad for t in leaves_of(chunk.state))


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize(("k1", "k2"), [(2, 2), (2, 5), (7, 7)])
def test_truncation_of_layers(k1, k2, batch_first):
    layer = nn.GRU(
        2, 2, 3, skip=True, residual=True, generator=0, dtype=np.float64, batch_first=batch_first, dropout=0.5
    ).eval()
    x = np.random.default_rng(0).normal(size=(7, 2, 2) if not batch_first else (2, 7, 2))
    chunks, whole = list(nn.tbptt(layer, x, k1, k2)), layer(x)
    found = tg.concatenate([c.outputs for c in chunks], int(batch_first))
    testing.assert_close(found, whole.outputs, atol=1e-13)
    for a, b in zip(leaves_of(chunks[-1].state), leaves_of(whole.state), strict=True):
        testing.assert_close(a, b, atol=1e-13)
    if k1 == 7:
        for a, b in zip(
            gradient([(found**2).sum()], layer), gradient([(whole.outputs**2).sum()], layer), strict=True
        ):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)


def test_layers_are_a_cell():
    """To `unroll`, step by step, and to what wraps cells."""
    layer = nn.LSTM(2, 2, 2, skip=True, residual=True, generator=0, dtype=np.float64)
    x, lengths = np.random.default_rng(0).normal(size=(2, 5, 2)), [5, 2]
    out, whole = nn.unroll(layer, x, lengths=lengths, history=True), layer(x, lengths=lengths)
    testing.assert_close(out.outputs, whole.outputs, atol=1e-13)
    for a, b in zip(leaves_of(out.state), leaves_of(whole.state), strict=True):
        testing.assert_close(a, b, atol=1e-13)
    assert set(out.history[0]) == {"0.h", "0.c", "1.h", "1.c"}
    wrapped = nn.Residual(layer)
    testing.assert_close(nn.unroll(wrapped, x).outputs, layer(x).outputs + x, atol=1e-13)
    scopes = {"/".join(t.scope) for t in tg.graph(nn.unroll(wrapped, x).outputs) if t.name == "h"}
    assert scopes == {"residual/cell/layer0", "residual/cell/layer1"}


def test_truncation_knows_no_way_back():
    with pytest.raises(ValueError, match="the backward direction needs the whole sequence"):
        list(nn.tbptt(nn.RNN(2, 3, bidirectional=True), tg.ones((1, 4, 2)), 2))


def test_tbptt_of_a_state_that_is_given():
    cell = nn.LSTMCell(2, 3, generator=0)
    first = nn.unroll(cell, tg.ones((1, 3, 2)))
    chunks = list(nn.tbptt(cell, tg.ones((1, 4, 2)), 2, state=first.state))
    testing.assert_close(chunks[-1].state.h, nn.unroll(cell, tg.ones((1, 7, 2))).state.h)


@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda: nn.unroll(nn.RNNCell(2, 3), tg.ones((2, 4, 2)), lengths=[5, 1]), ValueError, "length 5 of sequence 0"),
    (lambda: nn.unroll(nn.RNNCell(2, 3), tg.ones((2, 4, 2)), lengths=[-1, 1]), ValueError, "length -1"),
    (lambda: nn.unroll(nn.RNNCell(2, 3), tg.ones((2, 4, 2)), lengths=[1]), tg.ShapeError, "lengths"),
    (lambda: nn.unroll(nn.RNNCell(2, 3), tg.ones((2, 4, 2)), lengths=[1.0, 2.0]), tg.ShapeError, "integers"),
    (lambda: nn.unroll(nn.RNNCell(2, 3), tg.ones((2, 4, 2)), mask=np.ones((2, 3), bool)), tg.ShapeError, "mask"),
    (lambda: nn.unroll(nn.RNNCell(2, 3), tg.ones((2, 4, 2)), mask=np.ones((2, 4))), tg.ShapeError, "booleans"),
    (lambda: nn.unroll(nn.RNNCell(2, 3), tg.ones((1, 4, 2)), lengths=[1], mask=[[True] * 4]), TypeError, "one of them"),
    (lambda: nn.Recurrent([]), ValueError, "no cells"),
    (lambda: nn.Recurrent([nn.RNNCell(2, 3)], backward=[]), ValueError, "0 backward"),
    (lambda: nn.LSTM(2, 3, 0), ValueError, "num_layers"),
    (lambda: list(nn.tbptt(nn.RNNCell(2, 3), tg.ones((1, 4, 2)), 3, 2)), ValueError, "k1=3, k2=2"),
    (lambda: nn.pad_sequences([]), tg.ShapeError, "no sequences"),
    (lambda: nn.pad_sequences([[1], 5]), tg.ShapeError, "sequence 1(.|\n)*got: *a number"),
    (lambda: nn.pad_sequences([[1, 2]], steps=1), tg.ShapeError, "at most 1"),
    (lambda: nn.pad_sequences([[1, 2]], value=1.5), ValueError, "a number that int64 holds"),
    (lambda: nn.pad_sequences([np.ones(2, np.uint8)], value=-1), ValueError, "a number that uint8 holds"),
    (lambda: nn.pad_sequences([[1, 2]], value="0"), ValueError, "a number that int64 holds"),
    (lambda: nn.Sequential(tg.tanh, 3), TypeError, "Sequential: layer 1"),
    (lambda: tg.checkpoint(None), TypeError, "checkpoint: fn"),
    (lambda: nn.pad_sequences([np.ones((2, 3)), np.ones((2, 4))]), tg.ShapeError, "sequence 1"),
])  # fmt: skip
def test_what_does_not_fit(call, error, text):
    with pytest.raises(error, match=text):
        call()


@given(st.lists(st.integers(0, 4), min_size=1, max_size=4))
def test_padded_sequences_keep_what_they_hold(lengths):
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(n, 2)) for n in lengths]
    padded, found = nn.pad_sequences(arrays, value=9.0)
    assert found.tolist() == lengths
    for row, a in zip(padded.numpy(), arrays, strict=True):
        np.testing.assert_array_equal(row[: len(a)], a)
        assert (row[len(a) :] == 9).all()
