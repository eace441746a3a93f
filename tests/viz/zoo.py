"""Networks of every arrangement that is to be drawn, small ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

import tinygrad_rnn as tg

from . import nets
from .nets import weight


def encoder_decoder(T=3, attention=False):
    """Written as plain loops; with attention each step of the decoder looks at all of the encoder's states."""
    W, U, V, R = weight("W", 3, 4), weight("U", 4, 4), weight("V", 4, 4), weight("R", 4, 4)
    h, hs = tg.zeros((2, 4)).named("h0"), []
    with tg.scope("encoder"):
        for _ in tg.steps(T):
            h = tg.tanh(tg.ones((2, 3)).named("x") @ W + h @ U).named("h")
            hs.append(h)
    memory = tg.stack(hs, axis=1) if attention else None
    s, ys = h, []
    with tg.scope("decoder"):
        for _ in tg.steps(T + 1):
            z = s @ V
            if memory is not None:
                a = tg.softmax((memory * s.expand_dims(1)).sum(-1)).named("a")
                z = z + ((memory * a.expand_dims(2)).sum(1)).named("context") @ R
            s = tg.tanh(z).named("s")
            ys.append(s)
    return tg.stack(ys).sum().named("loss")


def skipping(T=6, k=3):
    """A state that also feeds the step `k` steps later."""
    W, V = weight("W", 4, 4), weight("V", 4, 4)
    hs = [tg.zeros((2, 4)).named(f"h0_{n}") for n in range(k)]
    for _ in tg.steps(T):
        hs.append(tg.tanh(hs[-1] @ W + hs[-k] @ V).named("h"))
    return hs[-1]


def twice_a_step(T=3):
    """One module called several times within each step, each time on its own result."""
    cell = tg.nn.LSTMCell(4, 4, generator=0)
    state = cell.initial_state(2)
    for _ in tg.steps(T):
        for _ in range(2):
            _, state = cell(tg.ones((2, 4)).named("x"), state)
    return state.h


def truncated_chunks(T=6):
    cell = tg.nn.LSTMCell(3, 4, generator=0)
    return [c.outputs.sum() for c in tg.nn.tbptt(cell, ones(2, T, 3), 2, 3)]


def ones(*shape):
    return tg.ones(shape).named("xs")


def tokens(T=4, B=2):
    return (np.arange(T * B).reshape(B, T) * 3 + 1) % 5


def seq2seq(T=3, **options):
    model = tg.nn.EncoderDecoder(5, 6, features=3, hidden=4, start=0, end=1, generator=0,
                                 **{"cell": tg.nn.GRUCell, **options})  # fmt: skip
    return model.loss(tokens(T), tokens(T + 1), source_lengths=[T, T - 1])


def language_model(T=4, **options):
    return tg.nn.LanguageModel(5, 3, 4, generator=0, **options).loss(tokens(T), tokens(T))[0]


def gradients_of(y, *weights):
    found = weights or tg.graph(y).parameters
    return [y, *(g for g in tg.grad(y, found, create_graph=True, allow_unused=True) if g is not None)]


def of(layer, *, T=4, **options):
    """The outputs of one of the library's layers."""
    return lambda: getattr(tg.nn, layer)(3, 4, generator=0, **options)(ones(2, T, 3)).outputs


TREE = (((1, 2), 3), (4, (0, 1)))

ZOO = {
    "char_rnn": lambda: nets.char_rnn()[0],
    "lstm": nets.lstm,
    "stacked": nets.stacked,
    "bidirectional": nets.bidirectional,
    "truncated": nets.truncated,
    "timeless": nets.timeless,
    "gradient": nets.gradient,
    "encoder_decoder": encoder_decoder,
    "attention": lambda: encoder_decoder(attention=True),
    "attention_gradient": lambda: gradients_of(encoder_decoder(attention=True)),
    "skipping": skipping,
    "skipping_gradient": lambda: gradients_of(skipping().sum()),
    "twice_a_step": twice_a_step,
    "truncated_chunks": truncated_chunks,
    "char_rnn_gradient": lambda: gradients_of(nets.char_rnn()[0]),
    "lstm_gradient": lambda: gradients_of(nets.lstm(3).sum()),
    "bidirectional_gradient": lambda: gradients_of(nets.bidirectional(3).sum()),
    "long": lambda: nets.char_rnn(14)[0],
    "long_gradient": lambda: nets.gradient(12),
    "RNN": of("RNN", bias="two"),
    "RNN_residual": lambda: tg.nn.RNN(4, 4, 3, residual=True, generator=0)(ones(2, 4, 4)).last,
    "LSTM": of("LSTM"),
    "LSTM_2": of("LSTM", num_layers=2),
    "LSTM_bidirectional": of("LSTM", num_layers=2, bidirectional=True, T=3),
    "LSTM_peephole": of("LSTM", peephole=True, projection=2),
    "LSTM_norm": of("LSTM", layer_norm=True, forget_gate=False),
    "LSTM_lengths": lambda: tg.nn.LSTM(3, 4, generator=0)(ones(2, 4, 3), lengths=[2, 3]).last,
    "GRU": of("GRU"),
    "GRU_after": of("GRU", reset_after=True, update="keep", num_layers=2, skip=True),
    "GRU_bidirectional_lengths": lambda: tg.nn.GRU(3, 4, bidirectional=True, generator=0)(
        ones(2, 4, 3), lengths=[2, 4]).outputs,
    "skip_cell": lambda: tg.nn.Recurrent(tg.nn.RNNCell(3, 4, skip=3, leak=0.5, generator=0))(ones(2, 6, 3)).last,
    "LSTM_library_gradient": lambda: gradients_of(tg.nn.LSTM(3, 4, generator=0)(ones(2, 3, 3)).last.sum()),
    "bidirectional_library_gradient": lambda: gradients_of(
        tg.nn.RNN(3, 4, bidirectional=True, generator=0)(ones(2, 5, 3)).outputs.sum()),
    "many_to_one": lambda: tg.nn.ManyToOne(3, 4, 2, vocabulary=5, cell="lstm", bidirectional=True, generator=0).loss(
        tokens(), [0, 1], lengths=[4, 2]),
    "many_to_many": lambda: tg.nn.ManyToMany(3, 4, 2, cell="gru", generator=0)(ones(2, 4, 3)),
    "one_to_many": lambda: tg.nn.OneToMany(3, 5, 3, 4, start=0, end=1, generator=0).loss(tg.ones((2, 3)), tokens()),
    "one_to_one": lambda: tg.nn.OneToOne(4, 2, hidden=[3, 3], generator=0)(tg.ones((2, 4))),
    "language_model": language_model,
    "language_model_gradient": lambda: gradients_of(language_model(3, tied=True, cell="rnn", num_layers=2)),
    "seq2seq": seq2seq,
    "seq2seq_plain": lambda: seq2seq(attention=None, cell=tg.nn.LSTMCell),
    "seq2seq_bidirectional": lambda: seq2seq(attention="multiplicative", bidirectional=True, cell=tg.nn.RNNCell),
    "seq2seq_gradient": lambda: gradients_of(seq2seq(2, cell=tg.nn.RNNCell)),
    "tree_batched": lambda: tg.nn.TreeNetwork(6, 3, 4, generator=0)([TREE, (2, 3), 1]).roots,
    "tree_one_by_one": lambda: tg.nn.TreeNetwork(6, 3, 4, generator=0).one_by_one(TREE),
    "tree_recursive": lambda: tg.nn.TreeNetwork(6, 3, 4, "recursive", generator=0).one_by_one(TREE),
    "tree_child_sum": lambda: tg.nn.TreeNetwork(6, 3, 4, "child-sum", generator=0).one_by_one(((1, 2, 3), 4)),
}  # fmt: skip


@dataclass(frozen=True)
class Layers:
    """Recurrent layers of the library with some options, read over some steps."""

    kind: str
    layers: int
    bidirectional: bool
    residual: bool
    skip: bool
    cell: tuple[tuple[str, Any], ...]
    lengths: tuple[int, ...] | None
    ends: str
    gradient: bool

    def run(self, T):
        options = {"residual": self.residual, "skip": self.skip, "bidirectional": self.bidirectional, **dict(self.cell)}
        layer = getattr(tg.nn, self.kind)(3, 4, self.layers, generator=0, **options)
        out = layer(ones(2, T, 3), lengths=None if self.lengths is None else [min(n, T) for n in self.lengths])
        y = out.last if self.ends == "last" else out.outputs
        return gradients_of(y.sum()) if self.gradient else y


CELLS = {
    "RNN": ({}, {"bias": "two"}, {"leak": 0.5}, {"activation": "relu", "layer_norm": True}),
    "LSTM": ({}, {"peephole": True}, {"forget_gate": False}, {"state_gated": True}, {"projection": 2}),
    "GRU": ({}, {"reset_after": True, "bias": "two"}, {"update": "keep", "learn_initial_state": True}),
}


@st.composite
def layers(draw):
    """Layers of all kinds; shrinks to one plain RNN."""
    kind = draw(st.sampled_from(tuple(CELLS)))
    cell = draw(st.sampled_from(CELLS[kind]))
    lengths = draw(st.none() | st.tuples(st.integers(1, 4), st.integers(1, 4)))
    some = st.booleans()
    return Layers(kind, draw(st.integers(1, 2)), draw(some), draw(some), draw(some), tuple(cell.items()), lengths,
                  draw(st.sampled_from(("outputs", "last"))), draw(some))  # fmt: skip
