"""Cells, models and arrangements by name, each small enough to be drawn: what the command line can show at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import nn
from ..ops.create import parameter, tensor
from ..ops.elementwise import tanh
from ..ops.neural import cross_entropy
from ..ops.shape import concatenate, stack
from ..scope import scope, steps
from ..tensor import Tensor

__all__ = ["CATALOGUE", "Example"]

FEATURES, HIDDEN, WORDS = 3, 4, 6
START, END = 0, 1  # words that stand around what is written


@dataclass(frozen=True, slots=True)
class Example:
    """Something to draw.

    Attributes
    ----------
    says : str
        What it is, in a line.
    make : callable
        From a number of time steps to tensors.
    level : str
        The level of detail that shows what it is about.
    steps : int or None
        How many time steps it has when nobody says; None for what has none.
    """

    says: str
    make: Callable[[int], Any]
    level: str = "gate"
    steps: int | None = 3


# Inputs ---------------------------------------------------------------------------------------------------------------


def _normal(*shape: int, name: str, seed: int = 1) -> Tensor:
    return tensor(np.random.default_rng(seed).normal(size=shape).astype(np.float32), name=name)


def _each_step(count: int) -> list[Tensor]:
    return [_normal(1, FEATURES, name="x", seed=1 + t) for t in range(count)]


def _words(count: int, name: str = "words") -> Tensor:
    return tensor(np.random.default_rng(count).integers(2, WORDS, (1, count)), name=name)


def _word_each_step(count: int, name: str, first: int | None = None) -> list[Tensor]:
    words = np.random.default_rng(count).integers(2, WORDS, count)
    if first is not None:
        words[0] = first
    return [tensor(words[t : t + 1], name=name) for t in range(count)]


# Cells ----------------------------------------------------------------------------------------------------------------


def _cell(kind: Callable[..., Any], **options: Any) -> Callable[[int], Any]:
    return lambda count: _unrolled(kind(FEATURES, HIDDEN, generator=0, **options), count)


def _unrolled(cell: Any, count: int) -> Any:
    """The state after the last step; here the output is always part of it."""
    state, xs = cell.initial_state(1), _each_step(count)
    for t in steps(count):
        _, state = cell(xs[t], state)
    return state


def _outputs(cell: Any, count: int) -> list[Tensor]:
    """Of every step, for cells whose output nobody needs later on."""
    state, xs, ys = cell.initial_state(1), _each_step(count), []
    for t in steps(count):
        y, state = cell(xs[t], state)
        ys.append(y)
    return ys


def _rnn_cell(features: int = FEATURES, hidden: int = HIDDEN) -> Any:
    return nn.RNNCell(features, hidden, generator=0)


def _state_gated(count: int) -> list[Tensor]:
    return _outputs(nn.LSTMCell(FEATURES, HIDDEN, state_gated=True, generator=0), count)


def _zoneout(count: int) -> Any:
    return _unrolled(nn.Zoneout(_rnn_cell(), 0.2, generator=0), count)


def _variational_dropout(count: int) -> Tensor:
    return _unrolled(nn.VariationalDropout(_rnn_cell(), generator=0), count).state


def _deep_transition(skip: bool) -> Callable[[int], Any]:
    return lambda count: _unrolled(nn.DeepTransition(_rnn_cell(), 2, skip=skip, generator=0), count)


def _residual(count: int) -> list[Tensor]:
    return _outputs(nn.Residual(_rnn_cell(FEATURES, FEATURES)), count)


# The five wirings, and layers -----------------------------------------------------------------------------------------


def _one_to_one(_: int) -> Tensor:
    return nn.OneToOne(FEATURES, 2, hidden=[HIDDEN], generator=0)(_normal(1, FEATURES, name="x"))


def _one_to_many(count: int) -> list[Tensor]:
    model = nn.OneToMany(FEATURES, WORDS, FEATURES, HIDDEN, start=START, end=END, generator=0)
    state, logits = model.state_of(_normal(1, FEATURES, name="picture")), []
    words = _word_each_step(count, "word", START)
    for t in steps(count):
        y, state = model.step(words[t], state)
        logits.append(y)
    return logits


def _many_to_one(count: int) -> Tensor:
    cell, readout = nn.LSTMCell(FEATURES, HIDDEN, generator=0), nn.Linear(HIDDEN, 2, generator=0)
    return readout(nn.unroll(cell, _each_step(count)).last)


def _many_to_many(count: int) -> list[Tensor]:
    cell, readout = _rnn_cell(), nn.Linear(HIDDEN, 2, generator=0)
    state, xs, outputs = cell.initial_state(1), _each_step(count), []
    for t in steps(count):
        y, state = cell(xs[t], state)
        outputs.append(readout(y))
    return outputs


def _layers(kind: Callable[..., Any], number: int = 1, **options: Any) -> Callable[[int], Any]:
    return lambda count: kind(FEATURES, HIDDEN, number, generator=0, **options)(_each_step(count)).outputs


def _both_ends(count: int) -> Tensor:
    layer, readout = nn.GRU(FEATURES, HIDDEN, bidirectional=True, generator=0), nn.Linear(2 * HIDDEN, 2, generator=0)
    return readout(layer(_each_step(count)).last)


def _padded(count: int) -> Tensor:
    """The first sequence ends a step before the last one, the second one two."""
    lengths = tensor([max(count - 1, 1), max(count - 2, 1)], name="lengths")
    return nn.unroll(_rnn_cell(), _normal(2, count, FEATURES, name="xs"), lengths=lengths).outputs


def _training(count: int) -> Tensor:
    """Elman's network with an output and a loss at every step, written out."""
    h, xs = tensor(np.zeros((1, HIDDEN), np.float32), name="h0"), _each_step(count)
    W_i, W_h, W_o = _weights(W_i=(FEATURES, HIDDEN), W_h=(HIDDEN, HIDDEN), W_o=(HIDDEN, WORDS))
    targets, losses = _word_each_step(count, "target"), []
    for t in steps(count):
        h = tanh(xs[t] @ W_i + h @ W_h).named("h")
        y = (h @ W_o).named("y")
        losses.append(cross_entropy(y, targets[t], reduction="none").named("L"))
    return stack(losses).sum().named("loss")


def _weights(**shapes: tuple[int, ...]) -> list[Tensor]:
    generator = np.random.default_rng(0)
    drawn = {name: generator.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}
    return [parameter(value, name=name) for name, value in drawn.items()]


def _truncated(count: int) -> Tensor:
    """The state is cut off from its past in the middle."""
    cell, readout = _rnn_cell(), nn.Linear(HIDDEN, 1, generator=0)
    h, xs, losses = cell.initial_state(1), _each_step(count), []
    for t in steps(count):
        y, h = cell(xs[t], h.detach() if t and t == count // 2 else h)
        losses.append((readout(y) ** 2).sum().named("L"))
    return stack(losses).sum().named("loss")


# Encoder and decoder --------------------------------------------------------------------------------------------------


class Attend(nn.Module):
    """What the decoder's output finds in the states of the encoder."""

    def __init__(self) -> None:
        self.attention = nn.MultiplicativeAttention(HIDDEN, generator=0)

    def forward(self, query: Tensor, states: list[Tensor]) -> Tensor:
        return self.attention.forward(query, stack(states, 1)).context


class Output(nn.Module):
    """From what the decoder and the attention give to the next word."""

    def __init__(self, width: int) -> None:
        self.readout = nn.Linear(width, WORDS, generator=0)

    def forward(self, *parts: Tensor) -> Tensor:
        return self.readout.forward(parts[0] if len(parts) == 1 else concatenate(parts, -1))


def _encoder_decoder(attends: bool) -> Callable[[int], Any]:
    def make(count: int) -> list[Tensor]:
        """One step more is written than was read."""
        encoder, decoder = (nn.GRUCell(FEATURES, HIDDEN, generator=k) for k in range(2))
        attend, output = Attend(), Output(HIDDEN * (1 + attends))
        state, xs, read, written = encoder.initial_state(1), _each_step(count), [], []
        with scope("encoder"):
            for t in steps(count):
                y, state = encoder(xs[t], state)
                read.append(y)
        with scope("decoder"):
            for t in steps(count + 1):
                y, state = decoder(_normal(1, FEATURES, name="word", seed=t), state)
                written.append(output(y, attend(y, read)) if attends else output(y))
        return written

    return make


def _translation(count: int) -> Tensor:
    model = nn.EncoderDecoder(
        WORDS, WORDS, features=FEATURES, hidden=HIDDEN, cell=nn.GRUCell, start=START, end=END, generator=0
    )
    return model.loss(_words(count, "source"), _words(count + 1, "target"))


# Trees ----------------------------------------------------------------------------------------------------------------


class Leaf(nn.Module):
    """The state of a leaf."""

    def __init__(self, cell: Any) -> None:
        self.cell = cell

    def forward(self, x: Tensor) -> Any:
        return self.cell.leaf(x)


class TreeNode(Leaf):
    """The state of a node from those of its children."""

    _name = "node"  # as pictures call it

    def forward(self, *children: Any) -> Any:
        if isinstance(children[0], Tensor):
            return self.cell.forward(stack(children, 1))
        return self.cell.forward(tuple(stack(list(part), 1) for part in zip(*children, strict=True)))


def _tree(kind: Callable[..., Any], most: int = 2) -> Callable[[int], Any]:
    """Over four leaves: a balanced tree, or one whose root has three children."""

    def make(_: int) -> Tensor:
        cell = kind(FEATURES, HIDDEN, generator=0)
        leaf, node = Leaf(cell), TreeNode(cell)
        a, b, c, d = (leaf(x) for x in _each_step(4))
        root = node(node(a, b), c, d) if most == 3 else node(node(a, b), node(c, d))
        return root if isinstance(root, Tensor) else root[0]

    return make


def _tree_network(_: int) -> Tensor:
    network = nn.TreeNetwork(WORDS, FEATURES, HIDDEN, generator=0)
    return network([((2, 3), (4, (5, 2))), (3, 4)]).roots


# Models for words -----------------------------------------------------------------------------------------------------


def _crf_tagger(count: int) -> Tensor:
    model = nn.ManyToMany(FEATURES, HIDDEN, 3, vocabulary=WORDS, bidirectional=True, crf=True, generator=0)
    tags = tensor(np.random.default_rng(0).integers(0, 3, (1, count)), name="tags")
    return model.loss(_words(count), tags).named("loss")


def _language_model(count: int) -> Tensor:
    model = nn.LanguageModel(WORDS, FEATURES, HIDDEN, generator=0)
    return model.loss(_words(count), _words(count, "next"))[0].named("loss")


def _char_rnn(count: int) -> Tensor:
    model = nn.LanguageModel(WORDS, FEATURES, HIDDEN, cell="rnn", num_layers=2, generator=0)
    return model.loss(_words(count, "characters"), _words(count, "next"))[0].named("loss")


# The names ------------------------------------------------------------------------------------------------------------

_CELLS = {
    "rnn": Example("Elman's cell", _cell(nn.RNNCell)),
    "lstm": Example("long short-term memory", _cell(nn.LSTMCell)),
    "logistic-lstm": Example("LSTM with logistic candidate and output", _cell(nn.LSTMCell, activation="sigmoid")),
    "ungated-lstm": Example("LSTM without a forget gate", _cell(nn.LSTMCell, forget_gate=False)),
    "peephole-lstm": Example("LSTM whose gates look at the cell state", _cell(nn.LSTMCell, peephole=True)),
    "state-gated-lstm": Example("LSTM whose gates see the cell state and not h", _state_gated),
    "projected-lstm": Example("LSTM whose output is projected to fewer units", _cell(nn.LSTMCell, projection=2)),
    "gru": Example("gated recurrent unit", _cell(nn.GRUCell)),
    "reset-after-gru": Example(
        "GRU as PyTorch and Keras compute it", _cell(nn.GRUCell, reset_after=True, update="keep", bias="two")
    ),
    "leaky": Example("leaky unit: a part of the old state is kept", _cell(nn.RNNCell, leak=0.25)),
    "skip": Example("RNN that also sees its state of two steps before", _cell(nn.RNNCell, skip=2), steps=4),
    "layer-norm": Example("RNN whose products are normalised", _cell(nn.RNNCell, layer_norm=True)),
    "zoneout": Example("RNN some of whose units keep their old value", _zoneout),
    "variational-dropout": Example("RNN with one dropout mask for all steps", _variational_dropout),
    "residual": Example("cell whose input is added to its output", _residual),
    "deep-transition": Example("RNN with more layers inside a step", _deep_transition(False)),
    "deep-transition-skip": Example("the same with connections that shorten the path", _deep_transition(True)),
}

_ARRANGEMENTS = {
    "one-to-one": Example("feed-forward network: no time", _one_to_one, steps=None),
    "one-to-many": Example("a picture to its caption", _one_to_many, "cell"),
    "many-to-one": Example("a review to its sentiment", _many_to_one, "cell", 4),
    "many-to-many": Example("a tag for each word", _many_to_many, "cell", 4),
    "encoder-decoder": Example("a sequence to one of another length", _encoder_decoder(False), "cell"),
    "attention": Example("encoder-decoder whose decoder looks back at all states", _encoder_decoder(True), "cell"),
    "stacked": Example("three layers of LSTM cells", _layers(nn.LSTM, 3), "cell", 4),
    "bidirectional": Example("two directions side by side", _layers(nn.RNN, bidirectional=True), "cell", 4),
    "both-ends": Example("the last state of each direction to a class", _both_ends, "cell", 4),
    "padded": Example("two sequences of different lengths, and steps that are not there", _padded, "cell", 4),
    "training": Example("an output and a loss at every step", _training),
    "truncated": Example("truncated backpropagation: a state cut off from its past", _truncated, "cell", 4),
    "recursive": Example("recursive network over a balanced tree", _tree(nn.RecursiveCell), "cell", None),
    "tree-lstm": Example("binary tree LSTM", _tree(nn.TreeLSTMCell), "cell", None),
    "child-sum-tree": Example("tree LSTM with two and three children", _tree(nn.ChildSumTreeLSTMCell, 3), "cell", None),
}

_MODELS = {
    "tree-network": Example("nn.TreeNetwork: trees of a batch, level by level", _tree_network, "cell", None),
    "translation": Example("nn.EncoderDecoder with additive attention, and its loss", _translation, "cell"),
    "crf-tagger": Example("nn.ManyToMany in both directions, with a CRF", _crf_tagger, "cell", 4),
    "language-model": Example("nn.LanguageModel: the next word at every step", _language_model, "cell", 4),
    "char-rnn": Example("two recurrent layers over characters", _char_rnn, "cell", 4),
}

CATALOGUE: dict[str, Example] = {**_CELLS, **_ARRANGEMENTS, **_MODELS}
