"""Ready models in the wirings of recurrent networks: what goes in and what comes out.

| wiring | model | a task |
| --- | --- | --- |
| one to one | :class:`OneToOne` | classify a vector |
| one to many | :class:`OneToMany` | caption a picture |
| many to one | :class:`ManyToOne` | sentiment of a review |
| many to many, of equal length | :class:`ManyToMany` | tag the words of a sentence |
| many to many, of unequal length | :class:`~tinygrad_rnn.nn.EncoderDecoder` | translate |
| many to the next | :class:`LanguageModel` | write text |

Sequences are tokens (batch, time) for a model with a vocabulary, else floats (batch, time, features). Lengths or a mask
say where they end; what stands behind changes no result, no loss and no gradient.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import DTypeError, ShapeError, fail
from ..ops.core import as_tensor, cast
from ..ops.create import tensor
from ..ops.elementwise import where
from ..ops.neural import cross_entropy
from ..ops.reduce import argmax
from ..ops.reduce import max as max_of
from ..ops.shape import stack
from ..scope import no_grad, steps
from ..settings import check_counts, check_number, check_switch
from ..tensor import DEFAULT_FLOAT, Tensor, describe
from .cell import ACTIVATIONS
from .cells import GRUCell
from .crf import CRF
from .decoding import Decoded, Hypothesis, beam_search, check_tokens, greedy, sample
from .init import Seed, generator_of
from .layers import Dropout, Embedding, Linear
from .module import Module, entered
from .recurrent import GRU, LSTM, RNN, Recurrent
from .sequences import sequence_mask
from .unrolling import RecurrentOutput

__all__ = ["LanguageModel", "ManyToMany", "ManyToOne", "OneToMany", "OneToOne"]

KINDS = {"rnn": RNN, "lstm": LSTM, "gru": GRU}


def _layers(name: str, kind: str, *sizes: Any, **options: Any) -> Recurrent:
    if kind not in KINDS:
        raise ValueError(f"{name}: cell must be one of {', '.join(KINDS)}; got {kind!r}")
    return KINDS[kind](*sizes, **options)


def _sequences(name: str, xs: Any, lengths: Any, mask: Any, tokens: bool) -> tuple[Tensor, Tensor | None]:
    """A batch of tokens or of floats, and which of the steps are there."""
    xs = as_tensor(xs)
    if xs.ndim != (2 if tokens else 3):
        expected = "tokens (batch, time)" if tokens else "(batch, time, features); for tokens make it with vocabulary="
        raise fail(ShapeError, f"{name}, {describe(xs)}", expected=expected)
    if tokens and xs.dtype.kind not in "iu":
        raise fail(DTypeError, f"{name}, {describe(xs)}", expected="tokens, which are integers", got=str(xs.dtype))
    if lengths is not None and mask is not None:
        raise TypeError(f"{name}: lengths and mask say the same; give one of them")
    if lengths is None:
        return xs, None if mask is None else as_tensor(mask)
    return xs, sequence_mask(lengths, xs.shape[1])


class OneToOne(Module):
    """A vector to a vector: hidden layers without time.

    Parameters
    ----------
    in_features, out_features : int
    hidden : sequence of int
        Widths of the hidden layers.
    activation : "tanh", "relu", "sigmoid" or "identity"
    generator : numpy.random.Generator or int, optional

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.nn.OneToOne(4, 2, hidden=[8])(tg.ones((3, 4))).shape
    (3, 2)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        hidden: Any = (32,),
        activation: str = "tanh",
        generator: Seed = None,
        dtype: Any = DEFAULT_FLOAT,
    ) -> None:
        if activation not in ACTIVATIONS:
            raise ValueError(f"OneToOne: activation must be one of {', '.join(ACTIVATIONS)}; got {activation!r}")
        if not isinstance(hidden, list | tuple | np.ndarray):
            raise TypeError(f"OneToOne: hidden must be the widths of the hidden layers, as (32,), got {hidden!r}")
        generator, sizes = generator_of(generator), [in_features, *hidden, out_features]
        self.layers = [Linear(n, m, generator=generator, dtype=dtype) for n, m in zip(sizes, sizes[1:])]  # noqa: RUF007
        self.activation = activation

    def forward(self, x: Any) -> Tensor:
        for k, layer in enumerate(self.layers):
            x = layer(x) if not k else layer(ACTIVATIONS[self.activation](x))
        return x


class _RecurrentReader(Module):
    """Tokens or floats, read by recurrent layers."""

    def __init__(
        self,
        features: int,
        hidden: int,
        classes: int,
        *,
        vocabulary: int | None = None,
        cell: str = "lstm",
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        generator: Seed = None,
        dtype: Any = DEFAULT_FLOAT,
    ) -> None:
        name, generator = type(self).__name__, generator_of(generator)
        check_counts(name, features=features, hidden=hidden, classes=classes, num_layers=num_layers)
        check_switch(f"{name}: bidirectional", bidirectional)
        check_number(f"{name}: dropout", dropout, 0, 1)
        self.embedding: Embedding | None = None
        if vocabulary is not None:
            check_counts(name, vocabulary=vocabulary)
            self.embedding = Embedding(vocabulary, features, generator=generator, dtype=dtype)
        self.recurrent = _layers(
            name, cell, features, hidden, num_layers, bidirectional=bidirectional,
            dropout=dropout if num_layers > 1 else 0.0, generator=generator, dtype=dtype,
        )  # fmt: skip
        self.drop = Dropout(dropout, generator=generator)
        self.readout = Linear(hidden * (1 + bidirectional), classes, generator=generator, dtype=dtype)

    def read(self, xs: Tensor, mask: Tensor | None, state: Any = None) -> RecurrentOutput:
        """Outputs of the layers for a batch."""
        if self.embedding is not None:
            if mask is not None:  # what stands behind the ends need not be a token
                xs = where(mask, xs, 0)
            xs = self.embedding(xs)
        return self.recurrent(self._dropped(xs), state, mask=mask)

    def _sequences(self, xs: Any, lengths: Any, mask: Any) -> tuple[Tensor, Tensor | None]:
        return _sequences(type(self).__name__, xs, lengths, mask, tokens=self.embedding is not None)

    def _dropped(self, x: Tensor) -> Tensor:
        return self.drop(x) if self.drop.p else x


class ManyToOne(_RecurrentReader):
    """A sequence to one vector: the sentiment of a review, the class of a text.

    Parameters
    ----------
    features : int
        Of the inputs, or of the embedding.
    hidden, classes : int
    vocabulary : int, optional
        For tokens.
    cell : "rnn", "lstm" or "gru"
    num_layers : int
    bidirectional : bool
        The last forward state with the first backward state, side by side.
    pooling : "last", "mean" or "max"
        What is taken of the outputs.
    dropout : float
    generator : numpy.random.Generator or int, optional

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> model = tg.nn.ManyToOne(8, 16, 2, vocabulary=100, cell="lstm", bidirectional=True)
    >>> model([[5, 7, 9], [3, 0, 0]], lengths=[3, 1]).shape
    (2, 2)
    """

    def __init__(self, features: int, hidden: int, classes: int, *, pooling: str = "last", **options: Any) -> None:
        if pooling not in ("last", "mean", "max"):
            raise ValueError(f"ManyToOne: pooling must be 'last', 'mean' or 'max'; got {pooling!r}")
        super().__init__(features, hidden, classes, **options)
        self.pooling = pooling

    def forward(self, xs: Any, *, lengths: Any = None, mask: Any = None) -> Tensor:
        """Logits (batch, classes)."""
        xs, there = self._sequences(xs, lengths, mask)
        return self.readout(self._dropped(self._pooled(self.read(xs, there), there)))

    def _pooled(self, out: RecurrentOutput, mask: Tensor | None) -> Tensor:
        if self.pooling == "last":
            return out.last
        if mask is None:
            return out.outputs.mean(1) if self.pooling == "mean" else max_of(out.outputs, 1)
        count = cast(mask, out.outputs.dtype).sum(1, keepdims=True)
        if self.pooling == "mean":  # outputs behind the ends are zero
            return out.outputs.sum(1) / where(count > 0, count, 1.0)
        return where(count > 0, max_of(where(mask[..., None], out.outputs, -np.inf), 1), 0.0)

    def loss(self, xs: Any, target: Any, *, lengths: Any = None, mask: Any = None) -> Tensor:
        """Cross-entropy of the classes (batch,), in nats."""
        return cross_entropy(self(xs, lengths=lengths, mask=mask), target)

    def predict(self, xs: Any, *, lengths: Any = None, mask: Any = None) -> Tensor:
        """The most probable class of each sequence."""
        with no_grad():
            return argmax(self(xs, lengths=lengths, mask=mask), -1)


class ManyToMany(_RecurrentReader):
    """A sequence to one of equal length: a tag for each word, a value for each time.

    Parameters
    ----------
    features, hidden, classes : int
    vocabulary, cell, num_layers, bidirectional, dropout, generator
        As for :class:`ManyToOne`.
    crf : bool
        Score whole sequences of tags by a linear-chain conditional random field on top.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> model = tg.nn.ManyToMany(8, 16, 5, vocabulary=100, bidirectional=True, crf=True)
    >>> model.predict([[5, 7, 9], [3, 0, 0]], lengths=[3, 1]).shape
    (2, 3)
    """

    def __init__(
        self,
        features: int,
        hidden: int,
        classes: int,
        *,
        crf: bool = False,
        generator: Seed = None,
        dtype: Any = DEFAULT_FLOAT,
        **options: Any,
    ) -> None:
        generator = generator_of(generator)
        super().__init__(features, hidden, classes, generator=generator, dtype=dtype, **options)
        self.crf = CRF(classes, generator=generator, dtype=dtype) if check_switch("ManyToMany: crf", crf) else None

    def forward(self, xs: Any, *, lengths: Any = None, mask: Any = None) -> Tensor:
        """Logits (batch, time, classes); with a CRF the scores that it gets."""
        xs, there = self._sequences(xs, lengths, mask)
        return self.readout(self._dropped(self.read(xs, there).outputs))

    def loss(self, xs: Any, target: Any, *, lengths: Any = None, mask: Any = None) -> Tensor:
        """Cross-entropy of the tags (batch, time): its mean over all steps; with a CRF over all sequences."""
        xs, there = self._sequences(xs, lengths, mask)
        logits = self(xs, mask=there)
        if self.crf is not None:
            with entered(self):
                return self.crf(logits, target, mask=there)
        return cross_entropy(logits, target, mask=there)

    def predict(self, xs: Any, *, lengths: Any = None, mask: Any = None, padding: int = -1) -> Tensor:
        """The most probable tags (batch, time): of each step, or with a CRF of the whole sequence."""
        xs, there = self._sequences(xs, lengths, mask)
        with no_grad():
            logits = self(xs, mask=there)
            if self.crf is not None:
                return as_tensor(self.crf.decode(logits, mask=there, padding=padding).tags)
            best = argmax(logits, -1)
            return best if there is None else where(there, best, padding)


class OneToMany(Module):
    """A vector to a sequence of tokens: the caption of a picture, the name of a digit.

    The vector becomes the initial state; each token that was written is read at the next step.

    Parameters
    ----------
    in_features, vocabulary, features, hidden : int
        Of the vector, of the tokens, of their embedding, of the state.
    start, end : int
        The token before the first, and the one after the last.
    generator : numpy.random.Generator or int, optional

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> model = tg.nn.OneToMany(4, 10, 8, 16, start=0, end=1)
    >>> model(tg.ones((2, 4)), [[5, 6, 1], [7, 1, 1]]).shape
    (2, 3, 10)
    """

    def __init__(
        self,
        in_features: int,
        vocabulary: int,
        features: int,
        hidden: int,
        *,
        start: int,
        end: int,
        generator: Seed = None,
        dtype: Any = DEFAULT_FLOAT,
    ) -> None:
        check_counts("OneToMany", in_features=in_features, vocabulary=vocabulary, features=features, hidden=hidden)
        check_tokens("OneToMany", vocabulary, start=start, end=end)
        generator = generator_of(generator)
        self.begin = Linear(in_features, hidden, generator=generator, dtype=dtype)
        self.embedding = Embedding(vocabulary, features, generator=generator, dtype=dtype)
        self.cell = GRUCell(features, hidden, generator=generator, dtype=dtype)
        self.readout = Linear(hidden, vocabulary, generator=generator, dtype=dtype)
        self.start, self.end = start, end

    def step(self, tokens: Any, state: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the next token (batch, vocabulary), and the state."""
        y, state = self.cell(self.embedding(tokens), state)
        return self.readout(y), state

    def state_of(self, x: Any) -> Tensor:
        """The initial state that stands for a vector."""
        x, expected = as_tensor(x), self.begin.W.shape[0]
        if x.ndim != 2 or x.shape[1] != expected:
            raise fail(ShapeError, f"OneToMany: vectors {describe(x)}", expected=f"(batch, {expected})")
        return ACTIVATIONS["tanh"](self.begin(x)).named("h0")

    def forward(self, x: Any, target: Any, *, lengths: Any = None) -> Tensor:
        """Logits (batch, time, vocabulary) of each token of the target, given those before it."""
        target, there = _sequences("OneToMany: target", target, lengths, None, tokens=True)
        state, logits = self.state_of(x), []
        if not target.shape[1] or len(target) != len(state):
            expected = f"({len(state)}, time), as many sequences as vectors, with at least one step"
            raise fail(ShapeError, f"OneToMany: target {describe(target)}", expected=expected)
        before = tensor(np.full(len(target), self.start, np.int64))
        target = target if there is None else where(there, target, 0)
        for t in steps(target.shape[1]):
            y, state = self.step(before, state)
            logits.append(y)
            before = target[:, t]
        return stack(logits, axis=1)

    def loss(self, x: Any, target: Any, *, lengths: Any = None) -> Tensor:
        """Cross-entropy of the target, its mean over all tokens that are there."""
        target, there = _sequences("OneToMany: target", target, lengths, None, tokens=True)
        return cross_entropy(self(x, target, lengths=lengths), target, mask=there)

    def generate(self, x: Any, *, max_steps: int, beam: int | None = None) -> Decoded | list[list[Hypothesis]]:
        """Write a sequence for each vector: greedily, or the hypotheses of a beam search, the best one first."""
        with no_grad():
            state = self.state_of(x)
            ids = {"start": self.start, "end": self.end, "max_steps": max_steps, "batch": len(state)}
            if beam is None:
                return greedy(self.step, state, **ids)
            return beam_search(self.step, state, width=beam, **ids)


class LanguageModel(Module):
    """A sequence of tokens to the next token at every step.

    Parameters
    ----------
    vocabulary, features, hidden : int
    cell : "rnn", "lstm" or "gru"
    num_layers : int
    tied : bool
        The embedding is the readout too (Press and Wolf, 2017), behind a linear map where the sizes differ.
    dropout : float
    generator : numpy.random.Generator or int, optional

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> model = tg.nn.LanguageModel(50, 8, 16, tied=True, generator=0)
    >>> logits, state = model([[1, 2, 3]])
    >>> logits.shape, model([[4]], state)[0].shape
    ((1, 3, 50), (1, 1, 50))
    """

    def __init__(
        self,
        vocabulary: int,
        features: int,
        hidden: int,
        *,
        cell: str = "lstm",
        num_layers: int = 1,
        tied: bool = False,
        dropout: float = 0.0,
        generator: Seed = None,
        dtype: Any = DEFAULT_FLOAT,
    ) -> None:
        check_counts("LanguageModel", vocabulary=vocabulary, features=features, hidden=hidden, num_layers=num_layers)
        check_number("LanguageModel: dropout", dropout, 0, 1)
        generator, tied = generator_of(generator), check_switch("LanguageModel: tied", tied)
        self.embedding = Embedding(vocabulary, features, generator=generator, dtype=dtype)
        self.recurrent = _layers(
            "LanguageModel", cell, features, hidden, num_layers, dropout=dropout if num_layers > 1 else 0.0,
            generator=generator, dtype=dtype,
        )  # fmt: skip
        self.drop = Dropout(dropout, generator=generator)
        between = tied and features != hidden
        self.between = Linear(hidden, features, generator=generator, dtype=dtype) if between else None
        self.readout = None if tied else Linear(hidden, vocabulary, generator=generator, dtype=dtype)

    def initial_state(self, batch: int) -> list[Any]:
        """The initial state of every layer."""
        return self.recurrent.initial_state(batch)

    def forward(self, tokens: Any, state: Any = None, *, lengths: Any = None, mask: Any = None) -> tuple[Tensor, Any]:
        """Logits (batch, time, vocabulary) of the token after each, and the state to go on from."""
        tokens, there = _sequences("LanguageModel", tokens, lengths, mask, tokens=True)
        xs = self.embedding(tokens if there is None else where(there, tokens, 0))
        out = self.recurrent(self._dropped(xs), state, mask=there)
        y = self._dropped(out.outputs)
        if self.readout is not None:
            return self.readout(y), out.state
        return (y if self.between is None else self.between(y)) @ self.embedding.E.T, out.state

    def _dropped(self, x: Tensor) -> Tensor:
        return self.drop(x) if self.drop.p else x

    def loss(
        self, tokens: Any, target: Any, state: Any = None, *, lengths: Any = None, mask: Any = None
    ) -> tuple[Tensor, Any]:
        """Cross-entropy of the next tokens (batch, time), in nats, and the state; its exponential is the perplexity."""
        tokens, there = _sequences("LanguageModel", tokens, lengths, mask, tokens=True)
        logits, after = self(tokens, state, mask=there)
        return cross_entropy(logits, target, mask=there), after

    def generate(
        self,
        prompt: Any,
        *,
        max_steps: int,
        end: int | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        generator: np.random.Generator,
    ) -> Decoded:
        """Go on from prompts (batch, time), one token after the other; see :func:`~tinygrad_rnn.nn.sample`.

        Without an `end` token each sequence has `max_steps` tokens.
        """
        prompt = as_tensor(prompt)
        if prompt.ndim != 2 or not prompt.shape[1]:
            raise fail(ShapeError, f"generate: prompt {describe(prompt)}", expected="at least one token, (batch, time)")
        with no_grad():
            state = self(prompt[:, :-1])[1] if prompt.shape[1] > 1 else self.initial_state(len(prompt))
        first = [prompt[:, -1]]

        def step(tokens: Tensor, known: Any) -> tuple[Tensor, Any]:
            logits, after = self((first.pop() if first else tokens)[:, None], known)
            return logits[:, 0], after

        return sample(
            step, state, start=0, end=end, max_steps=max_steps, batch=len(prompt), temperature=temperature,
            top_k=top_k, top_p=top_p, generator=generator,
        )  # fmt: skip
