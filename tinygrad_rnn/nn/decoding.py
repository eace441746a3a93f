"""Sequences out of a model that predicts the next token: the most probable ones, or samples.

The model is a function ``logits, state = step(tokens, state)``: tokens are integers (rows,), logits (rows, vocabulary),
and a state is any nesting of tensors in tuples, lists and dicts, each with the rows as its first axis. All of it is
eager, because what comes next depends on values: inside ``tg.compile`` it raises a PlaceholderError.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..calls import count
from ..errors import ShapeError, fail
from ..ops.create import tensor
from ..ops.random import categorical, check_generator
from ..scope import no_grad
from ..tensor import Tensor
from .state import mapped_state

__all__ = ["Decoded", "Hypothesis", "beam_search", "check_tokens", "greedy", "sample"]

Step = Callable[[Tensor, Any], tuple[Tensor, Any]]


class Decoded(NamedTuple):
    """One sequence for each row of a batch.

    Attributes
    ----------
    tokens : Tensor (batch, steps), int64
        Without the start token; the end token, where it came, and behind it end tokens up to the longest sequence.
    lengths : Tensor (batch,), int64
        With the end token.
    log_probabilities : Tensor (batch,), float64
        Of the whole sequence, by the model, in nats.
    """

    tokens: Tensor
    lengths: Tensor
    log_probabilities: Tensor


class Hypothesis(NamedTuple):
    """A sequence that beam search found.

    Attributes
    ----------
    tokens : tuple of int
        Without the start token; the last is the end token unless the steps ran out.
    log_probability : float
        In nats.
    score : float
        What hypotheses are ranked by: the log-probability over the length penalty.
    """

    tokens: tuple[int, ...]
    log_probability: float
    score: float


def greedy(step: Step, state: Any, *, start: int, end: int, max_steps: int, batch: int) -> Decoded:
    """Take the most probable token at each step.

    Parameters
    ----------
    step : callable
        ``logits, state = step(tokens, state)``, with tokens (batch,) and logits (batch, vocabulary).
    state : nested tensors (batch, ...)
    start, end : int
        The token that comes before the first, and the one after which a sequence is over.
    max_steps : int
        Sequences that have not ended by then are cut.
    batch : int

    Returns
    -------
    Decoded

    Raises
    ------
    ShapeError
        If `step` gives logits of another shape.
    ValueError
        If a number is out of range, or logits are NaN.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> from tinygrad_rnn.nn.decoding import greedy
    >>> table = tg.tensor([[0.0, 1.0, 2.0], [0.0, 1.0, 0.0], [0.0, 3.0, 2.0]])  # what follows each token
    >>> step = lambda tokens, state: (table[tokens], state)
    >>> greedy(step, (), start=0, end=1, max_steps=5, batch=1).tokens.tolist()
    [[2, 1]]
    """
    return _decoded("greedy", _largest, step, state, start, end, max_steps, batch)


def sample(
    step: Step,
    state: Any,
    *,
    start: int,
    end: int,
    max_steps: int,
    batch: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: np.random.Generator,
) -> Decoded:
    """Draw each token from the model's distribution, or from the likely part of it.

    Parameters
    ----------
    step, state, start, end, max_steps, batch
        As for :func:`greedy`.
    temperature : float
        Logits are divided by it; 0 takes the most probable token.
    top_k : int, optional
        Only the `top_k` most probable tokens are drawn (Fan, Lewis and Dauphin, 2018).
    top_p : float, optional
        Only the smallest set of most probable tokens that holds at least `top_p` of the probability is drawn: nucleus
        sampling (Holtzman et al., 2020). It is taken of what temperature and `top_k` leave.
    generator : numpy.random.Generator
        Where the randomness comes from.

    Returns
    -------
    Decoded
        With log-probabilities by the model itself: temperature, `top_k` and `top_p` do not change them.

    Raises
    ------
    ShapeError
        If `step` gives logits of another shape.
    TypeError
        If the generator is none.
    ValueError
        If a number is out of range, or logits are NaN.

    Examples
    --------
    >>> import numpy as np, tinygrad_rnn as tg
    >>> from tinygrad_rnn.nn.decoding import sample
    >>> table = tg.tensor([[0.0, 1.0, 2.0], [0.0, 1.0, 0.0], [0.0, 3.0, 2.0]])
    >>> step = lambda tokens, state: (table[tokens], state)
    >>> rng = np.random.default_rng(0)
    >>> sample(step, (), start=0, end=1, max_steps=5, batch=1, top_k=1, generator=rng).tokens.tolist()
    [[2, 1]]
    """
    _check_sampling(temperature, top_k, top_p, generator)

    def draw(logp: np.ndarray) -> np.ndarray:
        if temperature == 0:
            return _largest(logp)
        kept = _likely(_tempered(logp, temperature), top_k, top_p)
        return categorical(kept, generator=generator).numpy()

    return _decoded("sample", draw, step, state, start, end, max_steps, batch)


def beam_search(
    step: Step,
    state: Any,
    *,
    width: int,
    start: int,
    end: int,
    max_steps: int,
    batch: int,
    length_penalty: float = 0.0,
) -> list[list[Hypothesis]]:
    """Follow the `width` most probable beginnings of each sequence.

    At each step the `width` best continuations are looked at; those that end are kept as hypotheses, and the `width`
    best of the others are followed. A sequence is done when `width` hypotheses have ended; if the steps run out
    before, the beginnings that are followed become hypotheses too. A width of 1 is :func:`greedy`; one that is not less
    than the number of sequences finds the best of all.

    Parameters
    ----------
    step, state, start, end, max_steps, batch
        As for :func:`greedy`, but that `step` gets ``batch * width`` rows.
    width : int
        Number of beams.
    length_penalty : float
        The α of ``score = log p / ((5 + length) / 6) ** α`` (Wu et al., 2016), where the end token counts for the
        length. 0 ranks by probability, which favours short sequences.

    Returns
    -------
    list of lists of Hypothesis
        For each sequence at most `width` hypotheses, the best first.

    Raises
    ------
    ShapeError
        If `step` gives logits of another shape.
    ValueError
        If a number is out of range, or logits are NaN.

    Examples
    --------
    >>> import numpy as np, tinygrad_rnn as tg
    >>> from tinygrad_rnn.nn.decoding import beam_search
    >>> table = tg.tensor(np.log([[0.1, 0.4, 0.5], [0.2, 0.5, 0.3], [0.2, 0.5, 0.3]]))
    >>> step = lambda tokens, state: (table[tokens], state)
    >>> for h in beam_search(step, (), width=2, start=0, end=1, max_steps=2, batch=1)[0]:
    ...     print(h.tokens, round(np.exp(h.log_probability), 2))
    (1,) 0.4
    (2, 1) 0.25
    """
    _check_numbers("beam_search", width=width, max_steps=max_steps, batch=batch)
    with no_grad():
        return _searched(step, state, _Beams(batch, width, end, length_penalty), start, max_steps)


def _searched(step: Step, state: Any, beams: _Beams, start: int, max_steps: int) -> list[list[Hypothesis]]:
    batch, width = beams.logp.shape
    tokens = np.full(batch * width, start)
    state = reordered(state, np.repeat(np.arange(batch), width))
    for _ in range(max_steps):
        logits, state = step(tensor(tokens), state)
        logp = _log_probabilities("beam_search", logits, batch * width, start, beams.end)
        parents, tokens = beams.advance(logp.reshape(batch, width, -1))
        if beams.done:
            break
        state = reordered(state, parents)
    return beams.ranked()


class _Beams:
    """The beginnings that are followed, and the hypotheses that have ended, of each sequence of a batch."""

    def __init__(self, batch: int, width: int, end: int, alpha: float) -> None:
        self.width, self.end, self.alpha = width, end, alpha
        self.logp = np.full((batch, width), -np.inf)  # of the beginnings; at first there is one, the empty one
        self.logp[:, 0] = 0
        self.tokens = np.zeros((batch, width, 0), np.int64)
        self.ended: list[list[Hypothesis]] = [[] for _ in range(batch)]

    @property
    def done(self) -> bool:
        return not np.isfinite(self.logp).any()

    def advance(self, logp: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One step; which row of the state each beam goes on from, and with which token."""
        batch, width, vocabulary = logp.shape
        total = (self.logp[:, :, None] + logp).reshape(batch, -1)
        best = np.argsort(-total, axis=1, kind="stable")[:, : 2 * width]  # no more than half of them end
        total, parent, token = np.take_along_axis(total, best, 1), best // vocabulary, best % vocabulary
        ends = token == self.end
        sequence = np.arange(batch)[:, None]
        for b, k in np.argwhere(ends[:, :width] & np.isfinite(total[:, :width])):
            self._keep(b, (*self.tokens[b, parent[b, k]], self.end), total[b, k])
        following = np.argsort(ends, axis=1, kind="stable")[:, :width]
        total, parent, token = (np.take_along_axis(a, following, 1) for a in (total, parent, token))
        full = [len(ended) >= width for ended in self.ended]
        self.logp = np.where(np.take_along_axis(ends, following, 1) | np.array(full)[:, None], -np.inf, total)
        self.tokens = np.concatenate([self.tokens[sequence, parent], token[:, :, None]], 2)
        return (sequence * width + parent).reshape(-1), token.reshape(-1)

    def _keep(self, b: int, tokens: Any, logp: float) -> None:
        penalty = ((5 + len(tokens)) / 6) ** self.alpha
        self.ended[b].append(Hypothesis(tuple(int(t) for t in tokens), float(logp), float(logp / penalty)))

    def ranked(self) -> list[list[Hypothesis]]:
        """The best of all, with the beginnings that were followed to the last."""
        for b, k in np.argwhere(np.isfinite(self.logp)):
            self._keep(b, self.tokens[b, k], self.logp[b, k])
        return [sorted(ended, key=lambda h: -h.score)[: self.width] for ended in self.ended]


# States ---------------------------------------------------------------------------------------------------------------


def reordered(state: Any, rows: np.ndarray) -> Any:
    """A state with other rows: the state of each beam follows it to its new place."""
    return mapped_state(lambda t: t[rows], state)


# Steps ----------------------------------------------------------------------------------------------------------------


def _decoded(
    name: str,
    choose: Callable[[np.ndarray], np.ndarray],
    step: Step,
    state: Any,
    start: int,
    end: int,
    max_steps: int,
    batch: int,
) -> Decoded:
    _check_numbers(name, max_steps=max_steps, batch=batch)
    tokens, over = np.full(batch, start), np.zeros(batch, bool)
    lengths, total = np.zeros(batch, np.int64), np.zeros(batch)
    columns: list[np.ndarray] = []
    while len(columns) < max_steps and not over.all():
        with no_grad():
            logits, state = step(tensor(tokens), state)
        logp = _log_probabilities(name, logits, batch, start, end)
        tokens = np.where(over, end, choose(logp))
        total += np.where(over, 0, logp[np.arange(batch), tokens])
        lengths += ~over
        over = over | (tokens == end)
        columns.append(tokens)
    return Decoded(tensor(np.stack(columns, 1)), tensor(lengths), tensor(total))


def _largest(logp: np.ndarray) -> np.ndarray:
    return logp.argmax(-1)


def _tempered(logp: np.ndarray, temperature: float) -> np.ndarray:
    with np.errstate(over="ignore"):  # close to 0 all but the largest go to -inf
        return _normalised((logp - logp.max(-1, keepdims=True)) / temperature)


def _normalised(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def _log_probabilities(name: str, logits: Tensor, rows: int, start: int, end: int) -> np.ndarray:
    """In float64, where different logits stay different."""
    if logits.ndim != 2 or len(logits) != rows:
        raise fail(
            ShapeError, f"{name}: the logits that step gave", expected=f"({rows}, vocabulary)", got=str(logits.shape)
        )
    check_tokens(name, logits.shape[1], start=start, end=end)
    values = logits.numpy().astype(np.float64)
    wrong = np.flatnonzero(~np.isfinite(values.max(-1)))
    if len(wrong):
        raise ValueError(f"{name}: the logits of row {wrong[0]} have no largest finite value; got {values[wrong[0]]}")
    return _normalised(values)


def _likely(logp: np.ndarray, top_k: int | None, top_p: float | None) -> np.ndarray:
    """Log-probabilities with -inf for tokens that are not to be drawn; ties go to the lower token."""
    order = np.argsort(-logp, axis=-1, kind="stable")
    ranked = np.take_along_axis(logp, order, -1)
    if top_k is not None:
        ranked[:, top_k:] = -np.inf
    if top_p is not None:
        p = np.exp(_normalised(ranked))
        ranked[np.cumsum(p, -1) - p >= top_p] = -np.inf  # those before it hold enough
    kept = np.empty_like(ranked)
    np.put_along_axis(kept, order, ranked, -1)
    return kept


def check_tokens(name: str, vocabulary: int, **tokens: int) -> None:
    """Whether the start and the end token are of the vocabulary."""
    for what, token in tokens.items():
        if not 0 <= token < vocabulary:
            raise ValueError(f"{name}: {what} must be a token of the vocabulary, 0 to {vocabulary - 1}, got {token}")


def _check_numbers(name: str, **numbers: int) -> None:
    for what, number in numbers.items():
        count(name, what, number)


def _check_sampling(temperature: float, top_k: int | None, top_p: float | None, generator: Any) -> None:
    if not 0 <= temperature < np.inf:
        raise ValueError(f"sample: temperature must be finite and not negative, got {temperature}")
    if top_k is not None:
        _check_numbers("sample", top_k=top_k)
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"sample: top_p must be more than 0 and at most 1, got {top_p}")
    check_generator("sample", generator)
