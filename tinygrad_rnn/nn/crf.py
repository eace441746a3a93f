"""A linear-chain conditional random field: scores for whole sequences of tags, on top of any model of the words."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..errors import DTypeError, ShapeError, fail
from ..grad.reverse import grad
from ..ops.checks import checked
from ..ops.core import as_float, as_tensor, cast
from ..ops.create import full, tensor, zeros
from ..ops.elementwise import where
from ..ops.index import gather
from ..ops.neural import reduced
from ..ops.reduce import any as any_of
from ..ops.reduce import logsumexp
from ..ops.reduce import sum as sum_of
from ..ops.shape import broadcast_to, concatenate, expand_dims, squeeze, stack
from ..scope import current, recording, steps
from ..settings import check_counts
from ..tensor import DEFAULT_FLOAT, Tensor, describe
from . import init
from .init import Seed, generator_of
from .module import Module
from .sequences import masked, sequence_mask

__all__ = ["CRF", "TagSequences"]


class TagSequences(NamedTuple):
    """The best sequences of tags.

    Attributes
    ----------
    tags : Tensor (batch, time), int64
    scores : Tensor (batch,)
        Unnormalised: emissions, transitions, start and end.
    """

    tags: Tensor
    scores: Tensor


class CRF(Module):
    """Linear-chain conditional random field (Lafferty, McCallum and Pereira, 2001).

    A sequence of tags y has the score ``start[y_1] + sum_t emissions[t, y_t] + sum_t transitions[y_t, y_{t+1}] +
    end[y_T]``, and its probability is the softmax of the scores of all sequences. Calling the layer gives the negative
    log-likelihood of given tags, in nats.

    Parameters
    ----------
    tags : int
        How many there are.
    generator : numpy.random.Generator or int, optional
        Source of the initial scores, uniform within 0.1.

    Attributes
    ----------
    transitions : Tensor (tags, tags)
        From a tag (rows) to the next (columns).
    start, end : Tensor (tags,)

    Notes
    -----
    All methods take `lengths` (batch,), or a `mask` (batch, time) that is True at the steps that are there. A step that
    is not there changes nothing: its neighbours follow each other, whatever it holds is not looked at, and its gradient
    is zero. A sequence without steps has the loss 0.

    To forbid a transition, assign minus infinity to it, or a score like -1e4; likewise a tag at the start or the end.

    Examples
    --------
    >>> import numpy as np, tinygrad_rnn as tg
    >>> from tinygrad_rnn.nn.crf import CRF
    >>> crf = CRF(2, generator=0)
    >>> emissions = np.array([[[3.0, 0.0], [0.0, 3.0], [0.0, 0.0]]], np.float32)
    >>> loss = crf(emissions, [[0, 1, 0]], lengths=[2])
    >>> loss.shape, bool(loss < 0.2)
    ((), True)
    >>> crf.decode(emissions, lengths=[2]).tags.tolist()
    [[0, 1, -1]]
    """

    def __init__(self, tags: int, *, generator: Seed = None, dtype: Any = DEFAULT_FLOAT) -> None:
        check_counts("CRF", tags=tags)
        generator = generator_of(generator)
        self.transitions = init.uniform((tags, tags), 0.1, generator, dtype)
        self.start = init.uniform((tags,), 0.1, generator, dtype)
        self.end = init.uniform((tags,), 0.1, generator, dtype)

    def forward(
        self, emissions: Any, tags: Any, *, lengths: Any = None, mask: Any = None, reduction: str = "mean"
    ) -> Tensor:
        """Negative log-likelihood of `tags`.

        Parameters
        ----------
        emissions : tensor (batch, time, tags)
            Score of each tag at each step.
        tags : integer tensor (batch, time)
        lengths : integer tensor (batch,), optional
        mask : boolean tensor (batch, time), optional
        reduction : "mean", "sum" or "none"
            Over the sequences of the batch.

        Raises
        ------
        ShapeError, DTypeError
            If emissions, tags, and lengths or mask do not fit together.
        IndexError
            If a tag is negative or too large.
        """
        emissions, mask = self._read("CRF", emissions, lengths, mask)
        tags = _read_tags(tags, emissions, mask)
        return reduced(self._log_partition(emissions, mask) - self._score(emissions, tags, mask), reduction)

    def marginals(self, emissions: Any, *, lengths: Any = None, mask: Any = None) -> Tensor:
        """Probability of each tag at each step, given all emissions: (batch, time, tags); zeros where no step is.

        It is the gradient of the log-partition function by the emissions.

        Examples
        --------
        >>> import numpy as np, tinygrad_rnn as tg
        >>> from tinygrad_rnn.nn.crf import CRF
        >>> p = CRF(3, generator=0).marginals(np.zeros((1, 4, 3), np.float32))
        >>> p.shape, p.sum(2).numpy().round(3).tolist()
        ((1, 4, 3), [[1.0, 1.0, 1.0, 1.0]])
        """
        emissions, mask = self._read("CRF.marginals", emissions, lengths, mask)
        with recording():
            total = sum_of(self._log_partition(emissions, mask))
        return grad(total, emissions, create_graph=current().recording)

    def decode(self, emissions: Any, *, lengths: Any = None, mask: Any = None, padding: int = -1) -> TagSequences:
        """The most probable tags by the algorithm of Viterbi (1967); of equally good ones, those with low numbers.

        Parameters
        ----------
        emissions, lengths, mask
            As for the loss; they must have values, so not in a traced function.
        padding : int
            What stands in the result where no step is.

        Returns
        -------
        TagSequences
            Tags (batch, time), and the score of each sequence.

        Examples
        --------
        >>> import numpy as np, tinygrad_rnn as tg
        >>> from tinygrad_rnn.nn.crf import CRF
        >>> crf = CRF(2, generator=0)
        >>> _ = crf.transitions.assign([[0.0, 5.0], [5.0, 0.0]])
        >>> crf.decode(np.array([[[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]])).tags.tolist()
        [[0, 1, 0]]
        """
        emissions, mask = self._read("CRF.decode", emissions, lengths, mask)
        scores = emissions.numpy()
        there = np.ones(scores.shape[:2], bool) if mask is None else mask.numpy()
        joint, came_from = self._best(scores, there)
        total = joint + self.end.numpy()
        tags = _walk_back(total.argmax(1), came_from, there, padding)
        return TagSequences(tensor(tags), tensor(np.where(there.any(1), total.max(1), 0).astype(total.dtype)))

    # Sums over all sequences ------------------------------------------------------------------------------------------

    def _log_partition(self, emissions: Tensor, mask: Tensor | None) -> Tensor:
        """Logarithm of the sum of exp(score) over all sequences of tags: the forward algorithm."""
        into = self.transitions.T  # (to, from): sums over where a tag came from run along memory
        prior = joint = broadcast_to(self.start, (emissions.shape[0], emissions.shape[2]))
        for t in steps(emissions.shape[1]):
            if t:  # a sequence that has not begun keeps the start scores
                prior = _keep(mask, t - 1, logsumexp(expand_dims(joint, 1) + into, -1), prior)
            joint = _keep(mask, t, prior + emissions[:, t], joint).named("alpha")
        total = logsumexp(joint + self.end, -1)
        return total if mask is None else where(any_of(mask, 1), total, 0)

    def _score(self, emissions: Tensor, tags: Tensor, mask: Tensor | None) -> Tensor:
        """Score of given tags; start and end are transitions from and to one tag more, which is outside."""
        before, last = _neighbours(tags, mask, outside=emissions.shape[2])
        transitions = concatenate([self.transitions, expand_dims(self.start, 0)])
        ends = concatenate([self.end, zeros(1, self.end.dtype)])
        scores = squeeze(gather(emissions, expand_dims(tags, 2), 2), 2) + transitions[before, tags]
        if mask is not None:
            scores = where(mask, scores, 0)
        return sum_of(scores, 1) + ends[last]

    def _best(self, emissions: np.ndarray, there: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """Best score of each last tag, and for each step the tags that the best sequences came from."""
        into, start, own = self.transitions.numpy().T, self.start.numpy(), np.arange(emissions.shape[2])
        joint = np.zeros(emissions[:, 0].shape, np.result_type(emissions, into))
        begun, came_from = np.zeros((len(there), 1), bool), []
        for e, here in zip(emissions.swapaxes(0, 1), there.T[:, :, None], strict=True):
            reached = joint[:, None, :] + into
            came_from.append(np.where(here & begun, reached.argmax(2), own))
            joint = np.where(here, np.where(begun, reached.max(2), start) + e, joint)
            begun = begun | here
        return joint, came_from

    # Arguments --------------------------------------------------------------------------------------------------------

    def _read(self, what: str, emissions: Any, lengths: Any, mask: Any) -> tuple[Tensor, Tensor | None]:
        """Emissions and mask, checked; what stands where no step is, be it NaN, is computed with and not kept."""
        emissions = as_float(emissions)
        if emissions.ndim != 3 or emissions.shape[2] != self.start.shape[0] or not emissions.shape[1]:
            raise fail(
                ShapeError, f"{what}: emissions", expected=f"(batch, time, {self.start.shape[0]}), with a time step",
                got=describe(emissions),
            )  # fmt: skip
        return emissions, _read_mask(what, emissions.shape[:2], lengths, mask)


def _read_mask(what: str, shape: tuple[int, ...], lengths: Any, mask: Any) -> Tensor | None:
    if lengths is not None and mask is not None:
        raise ValueError(f"{what}: expected lengths or a mask, got both")
    if lengths is not None:
        found = sequence_mask(lengths, shape[1])
        if found.shape != shape:
            raise fail(ShapeError, f"{what}: lengths", expected=f"({shape[0]},)", got=str(found.shape[:1]))
        return found
    if mask is None:
        return None
    mask = as_tensor(mask)
    if mask.dtype.kind != "b":
        raise fail(DTypeError, f"{what}: mask", expected="booleans", got=describe(mask), hint="compare it, as mask > 0")
    if mask.shape != shape:
        raise fail(ShapeError, f"{what}: mask", expected=f"{shape}, (batch, time)", got=str(mask.shape))
    return mask


def _read_tags(tags: Any, emissions: Tensor, mask: Tensor | None) -> Tensor:
    """Tags as int64, with zeros where no step is."""
    tags = as_tensor(tags)
    if tags.dtype.kind not in "iu":
        raise fail(DTypeError, "CRF: tags", expected="integers", got=describe(tags))
    if tags.shape != emissions.shape[:2]:
        raise fail(ShapeError, "CRF: tags", expected=f"{emissions.shape[:2]}, (batch, time)", got=str(tags.shape))
    tags = cast(tags, np.int64)
    tags = tags if mask is None else where(mask, tags, 0)
    words, count = "CRF: tag {value} at position {position}, (sequence, step)", emissions.shape[2]
    return checked(tags, 0, count, words, expected=f"0 to {count - 1}")


def _keep(mask: Tensor | None, t: int, new: Tensor, old: Tensor) -> Tensor:
    """`new` for the sequences that have a step `t`, `old` for the others."""
    return new if mask is None else masked(mask[:, t], new, old)


def _neighbours(tags: Tensor, mask: Tensor | None, outside: int) -> tuple[Tensor, Tensor]:
    """For each step the tag of the step before that is there, `outside` if there is none; and the last tag."""
    last, before = full(tags.shape[:1], outside, tags.dtype), []
    for t in steps(tags.shape[1]):
        before.append(last)
        last = _keep(mask, t, tags[:, t], last)
    return stack(before, 1), last


def _walk_back(tags: np.ndarray, came_from: list[np.ndarray], there: np.ndarray, padding: int) -> np.ndarray:
    """Follow the best sequences from their last tags to their first."""
    found, sequences = np.full(there.shape, padding, np.int64), np.arange(len(there))
    for t in reversed(range(there.shape[1])):
        found[:, t] = np.where(there[:, t], tags, padding)
        tags = came_from[t][sequences, tags]
    return found
