"""Encoder-decoder models: one cell reads a sequence, another one writes a sequence of another length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..calls import flag
from ..errors import DTypeError, ShapeError, fail
from ..ops.core import as_tensor
from ..ops.create import full, tensor
from ..ops.elementwise import tanh, where
from ..ops.neural import cross_entropy
from ..ops.random import bernoulli
from ..ops.reduce import argmax
from ..ops.shape import concatenate, stack
from ..scope import no_grad, steps
from ..tensor import DEFAULT_FLOAT, Tensor, describe
from .attention import AdditiveAttention, MultiplicativeAttention
from .cell import inside
from .decoding import Hypothesis, beam_search, check_tokens, greedy
from .init import Seed, generator_of
from .layers import Embedding, Linear
from .module import Module, entered
from .sequences import sequence_mask
from .state import leaves_of, mapped_state
from .unrolling import unroll

__all__ = ["EncoderDecoder", "EncoderDecoderOutput", "Translation"]

State = Any


class EncoderDecoderOutput(NamedTuple):
    """What an encoder-decoder gives.

    Attributes
    ----------
    logits : Tensor (batch, target time, vocabulary)
        At step t for token t of the target, from the tokens before it.
    weights : Tensor (batch, target time, source time), or None
        Of the attention, where there is one.
    inputs : Tensor (batch, target time), integers
        The tokens that the decoder was given: the start token, then those of the target, or its own.
    """

    logits: Tensor
    weights: Tensor | None
    inputs: Tensor


class Translation(NamedTuple):
    """What :meth:`EncoderDecoder.translate` gives.

    Attributes
    ----------
    tokens : list of tuples of int
        One for each source; the last is the end token unless the steps ran out.
    scores : list of float
        Log-probabilities in nats, over the length penalty of a beam search where there is one.
    weights : Tensor (batch, steps, source time), or None
        Of the attention, for greedy decoding; behind the end of a sequence they say nothing.
    hypotheses : list of lists of Hypothesis, or None
        All that a beam search found, the best first.
    """

    tokens: list[tuple[int, ...]]
    scores: list[float]
    weights: Tensor | None
    hypotheses: list[list[Hypothesis]] | None


class _Encoder(Module):
    """The outputs at every step, and the last state; with a second cell also from the end to the start."""

    def __init__(self, embedding: Embedding, cell: Any, reverse_cell: Any = None) -> None:
        self.embedding, self.cell, self.reverse_cell = embedding, cell, reverse_cell

    def forward(self, tokens: Tensor, mask: Tensor | None) -> tuple[Tensor, list[State]]:
        xs = self.embedding(tokens)
        ahead = unroll(self.cell, xs, mask=mask)
        if self.reverse_cell is None:
            return ahead.outputs, [ahead.state]
        back = unroll(self.reverse_cell, xs, mask=mask, reverse=True)
        return concatenate([ahead.outputs, back.outputs], -1), [ahead.state, back.state]


class _Bridge(Module):
    """From the states of both directions to one state: ``tanh([forward, backward] W + b)`` for each of its tensors."""

    def __init__(self, state: State, generator: np.random.Generator, dtype: Any) -> None:
        sizes = [_features(t) for t in leaves_of(state)]
        self.maps = [Linear(2 * n, n, generator=generator, dtype=dtype) for n in sizes]

    def forward(self, states: list[State]) -> State:
        maps = iter(self.maps)
        return mapped_state(lambda a, b: tanh(next(maps)(concatenate([a, b], -1))), *states)


def _features(t: Tensor) -> int:
    if t.ndim != 2 or not t.is_float:
        raise fail(
            ShapeError, "EncoderDecoder: a bidirectional encoder joins the states of its cells",
            expected="floats (batch, features)", got=describe(t),
        )  # fmt: skip
    return t.shape[1]


class _Decoder(Module):
    """Luong's arrangement: the output of the cell is the query, and ``tanh([output, context] W + b)`` is read out."""

    def __init__(self, embedding: Embedding, cell: Any, attention: Any, combine: Any, readout: Linear) -> None:
        self.embedding, self.cell, self.attention = embedding, cell, attention
        self.combine, self.readout = combine, readout

    def memory(self, outputs: Tensor, mask: Tensor | None) -> dict[str, Tensor]:
        """What is known of the source at every step."""
        if self.attention is None:
            return {}
        with entered(self.attention):
            known = {"keys": outputs, "projected": self.attention.precompute(outputs)}
        return known if mask is None else {**known, "mask": mask}

    def step(self, tokens: Tensor, state: State, memory: dict[str, Tensor]) -> tuple[Tensor, State, Tensor | None]:
        """Logits for the next token, the state after, and the weights of the attention."""
        x = self.embedding(tokens).named("x")
        with entered(self.cell):
            y, state = inside(self.cell)(x, state)
        weights = None
        if self.attention is not None:
            context, weights = self.attention(y, **memory)
            y = tanh(self.combine(concatenate([y, context], -1)))
        return self.readout(y).named("logits"), state, weights

    def forward(
        self, outputs: Tensor, mask: Tensor | None, state: State, given: Tensor, start: int, coins: Tensor | None
    ) -> EncoderDecoderOutput:
        memory = self.memory(outputs, mask)
        logits: list[Tensor] = []
        weights: list[Any] = []
        inputs = [tensor(np.full(len(given), start))]
        for t in steps(given.shape[1]):
            if t:
                before = given[:, t - 1]
                inputs.append(before if coins is None else where(coins[:, t], before, argmax(logits[-1], -1)))
            y, state, w = self.step(inputs[-1], state, memory)
            logits.append(y)
            weights.append(w)
        return EncoderDecoderOutput(stack(logits, 1), _stacked(weights), stack(inputs, 1))


def _stacked(weights: list[Any]) -> Tensor | None:
    return None if weights[0] is None else stack(weights, 1)


class EncoderDecoder(Module):
    """Reads a sequence of tokens and writes another one (Sutskever, Vinyals and Le, 2014; Cho et al., 2014).

    The decoder starts from the last state of the encoder. With attention each output of the decoder's cell asks the
    outputs of the encoder, and ``tanh([output, context] W + b)`` is read out (Luong, Pham and Manning, 2015).

    Called as ``model(source, target, *, source_lengths=None, target_lengths=None, teacher_forcing=1.0,
    generator=None)``, which gives an :class:`EncoderDecoderOutput`:

    - `source` and `target` are integers (batch, time). A target has no start token, which the model puts in front, and
      ends with the end token, so that the model learns where to stop. The lengths are (batch,); what stands behind
      them is never looked at.
    - `teacher_forcing` is the probability that a token of the target is the decoder's next input; else it is the
      decoder's own most probable token: scheduled sampling (Bengio et al., 2015). Every token of every sequence is
      drawn for on its own, from `generator`, which is only needed between 0 and 1. No gradient flows through the
      choice. A compiled function draws anew on each call, and is recorded anew for each value of `teacher_forcing`.

    Parameters
    ----------
    source_vocabulary, target_vocabulary : int
        Number of tokens; start and end belong to the target's.
    features : int
        Size of the embeddings.
    hidden : int
    cell : class or function
        Makes a cell: ``cell(input, hidden, generator=generator)``, with outputs of size `hidden`. Its state may be any
        nesting of tensors (batch, ...). Layers of one direction are a cell too, for a deep encoder and decoder:
        ``cell=functools.partial(nn.LSTM, num_layers=2)``.
    attention : "additive", "multiplicative", or None
    bidirectional : bool
        Whether the encoder has a second cell that reads from the end; the states of both are joined by
        ``tanh([forward, backward] W + b)``.
    start, end : int
        Tokens of the target's vocabulary.
    generator : numpy.random.Generator or int, optional
        Source of the initial values.
    dtype : dtype
        Passed on to the cells where it is not float32.

    Raises
    ------
    ShapeError, DTypeError
        When called with tokens or lengths that do not fit.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> from tinygrad_rnn.nn.seq2seq import EncoderDecoder
    >>> model = EncoderDecoder(5, 6, features=3, hidden=4, cell=tg.nn.RNNCell, start=0, end=1, generator=0)
    >>> source, target = [[1, 2, 3], [4, 4, 0]], [[3, 2, 5, 1], [4, 1, 0, 0]]
    >>> out = model(source, target, source_lengths=[3, 2], target_lengths=[4, 2])
    >>> out.logits.shape, out.weights.shape
    ((2, 4, 6), (2, 4, 3))
    >>> loss = model.loss(source, target, source_lengths=[3, 2], target_lengths=[4, 2])
    >>> loss.backward()
    >>> len(model.translate(source, [3, 2], max_steps=6).tokens)
    2
    """

    def __init__(
        self,
        source_vocabulary: int,
        target_vocabulary: int,
        *,
        features: int,
        hidden: int,
        cell: Callable[..., Any],
        attention: str | None = "additive",
        bidirectional: bool = False,
        start: int,
        end: int,
        generator: Seed = None,
        dtype: Any = DEFAULT_FLOAT,
    ) -> None:
        bidirectional = flag("EncoderDecoder", "bidirectional", bidirectional)
        check_tokens("EncoderDecoder", target_vocabulary, start=start, end=end)
        generator = generator_of(generator)
        own: dict[str, Any] = {"generator": generator, "dtype": dtype}
        of_cell = own if np.dtype(dtype) != DEFAULT_FLOAT else {"generator": generator}
        cells = [cell(features, hidden, **of_cell) for _ in range(2 + bidirectional)]
        keys = hidden * (1 + bidirectional)
        self.encoder = _Encoder(Embedding(source_vocabulary, features, **own), cells[0], *cells[2:])
        self.bridge = _Bridge(cells[0].initial_state(1), generator, dtype) if bidirectional else None
        self.decoder = _Decoder(
            Embedding(target_vocabulary, features, **own),
            cells[1],
            _attention(attention, hidden, keys, own),
            None if attention is None else Linear(hidden + keys, hidden, **own),
            Linear(hidden, target_vocabulary, **own),
        )
        self.start, self.end = start, end

    def encode(self, source: Any, source_lengths: Any = None) -> tuple[Tensor, Tensor | None, Any]:
        """The encoder's outputs (batch, time, features), their mask (batch, time) or None, and the decoder's state."""
        source = _tokens("source", source)
        mask = _mask("source", source, source_lengths)
        outputs, states = self.encoder(_covered(source, mask, 0), mask)
        return outputs, mask, states[0] if self.bridge is None else self.bridge(states)

    def forward(
        self,
        source: Any,
        target: Any,
        *,
        source_lengths: Any = None,
        target_lengths: Any = None,
        teacher_forcing: float = 1.0,
        generator: np.random.Generator | None = None,
    ) -> EncoderDecoderOutput:
        source, target = _tokens("source", source), _tokens("target", target)
        if len(source) != len(target):
            raise fail(
                ShapeError, f"EncoderDecoder: target {describe(target)}", expected=f"{len(source)} rows, as the source",
                got=str(len(target)),
            )  # fmt: skip
        given = _covered(target, _mask("target", target, target_lengths), self.end)
        coins = _coins(teacher_forcing, given.shape, generator)
        return self.decoder(*self.encode(source, source_lengths), given, self.start, coins)

    def loss(self, source: Any, target: Any, *, target_lengths: Any = None, **options: Any) -> Tensor:
        """Cross-entropy of the target's tokens, in nats, the mean over all that are there.

        Parameters
        ----------
        source, target, target_lengths, **options
            As the model is called with.

        Returns
        -------
        Tensor ()
            Padding changes neither it nor its gradient; 0 where there is no token.
        """
        target = _tokens("target", target)
        mask = _mask("target", target, target_lengths)
        logits = self(source, target, target_lengths=target_lengths, **options).logits
        return cross_entropy(logits, target, mask=mask).named("loss")

    def translate(
        self,
        source: Any,
        source_lengths: Any = None,
        *,
        beam: int | None = None,
        max_steps: int,
        length_penalty: float = 0.0,
    ) -> Translation:
        """Write a sequence for each source: the most probable token at each step, or the best of a beam search.

        It records nothing, and depends on values, so it cannot be compiled.

        Parameters
        ----------
        source : integers (batch, time)
        source_lengths : integers (batch,), optional
        beam : int, optional
            Width of a beam search; greedy by default.
        max_steps : int
            Sequences that have not ended by then are cut.
        length_penalty : float
            Of a beam search.

        Returns
        -------
        Translation
        """
        with no_grad():
            return self._translated(source, source_lengths, beam, max_steps, length_penalty)

    def _translated(self, source: Any, lengths: Any, beam: int | None, max_steps: int, alpha: float) -> Translation:
        outputs, mask, state = self.encode(source, lengths)
        seen: list[Any] = []

        def step(tokens: Tensor, known: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
            logits, after, weights = self.decoder.step(tokens, known["state"], known["memory"])
            seen.append(weights)
            return logits, {**known, "state": after}

        known = {"state": state, "memory": self.decoder.memory(outputs, mask)}
        ids = {"start": self.start, "end": self.end, "max_steps": max_steps, "batch": len(outputs)}
        if beam is not None:
            found = beam_search(step, known, width=beam, length_penalty=alpha, **ids)
            return Translation([h[0].tokens for h in found], [h[0].score for h in found], None, found)
        best = greedy(step, known, **ids)
        tokens = [tuple(row[:n]) for row, n in zip(best.tokens.tolist(), best.lengths.tolist(), strict=True)]
        return Translation(tokens, best.log_probabilities.tolist(), _stacked(seen), None)


def _attention(kind: str | None, hidden: int, keys: int, own: dict[str, Any]) -> Module | None:
    if kind is None:
        return None
    if kind == "additive":
        return AdditiveAttention(hidden, keys, hidden, **own)
    if kind == "multiplicative":
        return MultiplicativeAttention(hidden, keys, **own)
    raise ValueError(f"EncoderDecoder: attention must be 'additive', 'multiplicative' or None, got {kind!r}")


def _tokens(what: str, tokens: Any) -> Tensor:
    tokens = as_tensor(tokens)
    if tokens.ndim != 2 or not tokens.shape[1]:
        raise fail(
            ShapeError, f"EncoderDecoder: {what} {describe(tokens)}", expected="(batch, time) with at least one step",
            got=str(tokens.shape),
        )  # fmt: skip
    if tokens.dtype.kind not in "iu":
        raise fail(DTypeError, f"EncoderDecoder: {what} {describe(tokens)}", expected="integers", got=str(tokens.dtype))
    return tokens


def _mask(what: str, tokens: Tensor, lengths: Any) -> Tensor | None:
    if lengths is None:
        return None
    lengths = as_tensor(lengths)
    if lengths.shape != tokens.shape[:1]:
        raise fail(
            ShapeError, f"EncoderDecoder: lengths of {what} {tokens.shape}", expected=str(tokens.shape[:1]),
            got=str(lengths.shape),
        )  # fmt: skip
    return sequence_mask(lengths, tokens.shape[1])


def _covered(tokens: Tensor, mask: Tensor | None, cover: int) -> Tensor:
    """Padding may be any number, also none of the vocabulary."""
    return tokens if mask is None else where(mask, tokens, cover)


def _coins(probability: float, shape: tuple[int, ...], generator: np.random.Generator | None) -> Tensor | None:
    """Where the decoder is given the target's token; None for everywhere."""
    if not 0 <= probability <= 1:
        raise ValueError(f"EncoderDecoder: teacher_forcing must lie between 0 and 1, got {probability}")
    if probability == 1:
        return None
    if probability == 0:
        return full(shape, False)
    if generator is None:
        raise ValueError(
            f"EncoderDecoder: teacher_forcing={probability} draws which tokens to force; "
            "pass generator=np.random.default_rng(seed)"
        )
    return bernoulli(shape, probability, generator=generator, dtype=bool)
