"""Jacobians of states by earlier states: their singular values, Lyapunov exponents, and bounds on their norms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..errors import GradientError, ShapeError, fail
from ..grad.reverse import dependent, grad
from ..graph import Graph
from ..nn.cells import RNNCell
from ..tensor import Tensor, describe, leaf
from .rows import Rows, Sums, spread
from .states import States

__all__ = ["jacobian_bound", "lyapunov_exponents", "singular_values", "spectral_norms", "state_jacobian"]

SLOPES = {"tanh": 1.0, "relu": 1.0, "identity": 1.0, "sigmoid": 0.25}


def state_jacobian(
    h: Any,
    t: int,
    k: int,
    *,
    layer: int = 0,
    batch: bool = True,
    graph: Graph | None = None,
    inputs: Sequence[Any] | None = None,
) -> np.ndarray:
    """The Jacobian ``∂h_t/∂h_k`` of a state by an earlier one, through all that lies between them.

    Parameters
    ----------
    h : list of states, Tensor, RecurrentOutput, dict, or str
        The states in the order of time: a list of tensors (batch, hidden) or of nested ones, as ``LSTMState(h, c)``; a
        tensor that was stacked over time; what a layer gave with ``history=True``, or an entry of that; or the name
        that the states have in the `graph`, or a tuple of names, as ``("h", "c")``.
    t, k : int
        Positions in that sequence.
    layer : int
        Entry of the history, where `h` is the output of a layer.
    batch : bool
        Whether the first axis holds examples that have nothing to do with each other. If False, all entries of a
        state are one vector.
    graph : Graph, optional
        Where names are looked up.
    inputs : sequence of arrays, optional
        Values of the placeholders, where the states were traced.

    Returns
    -------
    array (batch, n, n)
        A Jacobian for each example: entry ``[b, i, j]`` is the derivative of entry i of the later state by entry j of
        the earlier one. The parts of a nested state stand side by side, so n is the sum of their sizes, and are
        varied one by one. Without a batch, or for states that are vectors, (n, n). Zero where h_t does not depend
        on h_k.

    Raises
    ------
    GradientError
        If examples depend on each other.

    Notes
    -----
    One backward pass with a row for each entry of the state; it walks over what lies between the two states only.

    Examples
    --------
    >>> import numpy as np
    >>> import tinygrad_rnn as tg
    >>> cell = tg.nn.RNNCell(1, 2, generator=0, dtype=np.float64)
    >>> out = tg.nn.unroll(cell, np.ones((1, 4, 1)), history=True)
    >>> J = tg.bptt.state_jacobian(out, 3, 1)[0]
    >>> factors = [np.diag(1 - h**2) @ cell.W_h.numpy().T for h in out.outputs.numpy()[0]]
    >>> bool(np.allclose(J, factors[3] @ factors[2]))
    True
    """
    states = States("state_jacobian", h, layer, graph, inputs)
    return _between("state_jacobian", states.at(t), states.at(k), batch)


def singular_values(
    h: Any,
    *,
    lag: int | None = None,
    layer: int = 0,
    batch: bool = True,
    graph: Graph | None = None,
    inputs: Sequence[Any] | None = None,
) -> np.ndarray:
    """Singular values of ``∂h_t/∂h_k``, the largest first: for all pairs, or for all that are `lag` steps apart.

    Parameters
    ----------
    h, layer, batch, graph, inputs
        As for :func:`state_jacobian`.
    lag : int, optional
        Number of steps between the states.

    Returns
    -------
    array (time, time, batch, n), or (time - lag, batch, n)
        ``[t, k]`` of the later and the earlier state; zero for t before k. With a lag, those of ``∂h_{k+lag}/∂h_k`` at
        ``[k]``. (For a network that runs backwards in time, later means computed later.)

    Notes
    -----
    Where each state is complete, so that h_t depends on the past through h_{t-1} alone, Jacobians of single steps are
    computed once and multiplied: linear time for a lag. Else, as for the h of an LSTM without its c, each pair has a
    backward pass of its own.

    Examples
    --------
    >>> import numpy as np
    >>> import tinygrad_rnn as tg
    >>> h, W = tg.ones((1, 2)), tg.tensor([[0.5, 0.0], [0.0, 0.25]])
    >>> states = [h]
    >>> for t in tg.steps(3):
    ...     states.append(states[-1] @ W)
    >>> tg.bptt.singular_values(states, lag=2)[:, 0].tolist()
    [[0.25, 0.0625], [0.25, 0.0625]]
    """
    chain = _Chain("singular_values", h, layer, batch, graph, inputs)
    return chain.mapped(lambda J: np.linalg.svd(J, compute_uv=False), lag)


def spectral_norms(
    h: Any,
    *,
    lag: int | None = None,
    layer: int = 0,
    batch: bool = True,
    graph: Graph | None = None,
    inputs: Sequence[Any] | None = None,
) -> np.ndarray:
    """Spectral norms of ``∂h_t/∂h_k``, by how much a change of h_k can grow at most.

    Returns
    -------
    array (time, time, batch), or (time - lag, batch)
        The largest of :func:`singular_values`, which says more.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> states = [tg.ones((1, 2))]
    >>> for t in tg.steps(2):
    ...     states.append(states[-1] * 0.5)
    >>> tg.bptt.spectral_norms(states)[:, :, 0].tolist()
    [[1.0, 0.0, 0.0], [0.5, 1.0, 0.0], [0.25, 0.5, 1.0]]
    """
    chain = _Chain("spectral_norms", h, layer, batch, graph, inputs)
    return chain.mapped(lambda J: np.linalg.svd(J, compute_uv=False)[..., 0], lag)


def lyapunov_exponents(
    h: Any,
    count: int | None = None,
    *,
    skip: int = 0,
    layer: int = 0,
    batch: bool = True,
    graph: Graph | None = None,
    inputs: Sequence[Any] | None = None,
) -> np.ndarray:
    """Lyapunov exponents of the state map along a trajectory, by the QR method (Benettin et al., 1980).

    Exponent i is the rate, per step and as a natural logarithm, at which volumes of i dimensions grow beyond those of
    i - 1: negative where differences between states die away, and positive where they grow, as in chaos.

    Parameters
    ----------
    h, layer, batch, graph, inputs
        As for :func:`state_jacobian`. The states must be complete.
    count : int, optional
        How many of the largest; all by default.
    skip : int
        Number of steps left out of the mean, in which the directions settle.

    Returns
    -------
    array (batch, count)
        In the order in which they were found, the largest first but for the error of a finite time.

    Raises
    ------
    GradientError
        If a state depends on the past otherwise than through the one before it.

    Notes
    -----
    An orthonormal frame of `count` cotangents is pulled back step by step and made orthonormal again: the transposed
    Jacobians have the same exponents, and no Jacobian is formed. The steps that are skipped are therefore the last.

    Examples
    --------
    >>> import numpy as np
    >>> import tinygrad_rnn as tg
    >>> states, W = [tg.ones((1, 2), np.float64)], tg.tensor(np.array([[0.5, 1.0], [0.0, 2.0]]))
    >>> for t in tg.steps(60):
    ...     states.append(states[-1] @ W)
    >>> np.exp(tg.bptt.lyapunov_exponents(states, skip=30)).round(6).tolist()
    [[2.0, 0.5]]
    """
    chain = _Chain("lyapunov_exponents", h, layer, batch, graph, inputs)
    return chain.exponents(count, skip)


def jacobian_bound(cell: RNNCell, lag: Any = 1, *, a: Any = None, slope: float | None = None) -> Any:
    """An upper bound on the spectral norm of ``∂h_t/∂h_{t-lag}``: ``(γ ‖W_h‖)^lag``.

    It is that of Pascanu, Mikolov and Bengio (2013). γ is the largest slope of the activation: 1 for tanh, relu and
    identity, 1/4 for the logistic function. With a leak α one step is bounded by ``(1 - α) + α γ ‖W_h‖``. Where the
    bound for a step is below 1 gradients must vanish.

    Parameters
    ----------
    cell : RNNCell
        Without layer norm or skip.
    lag : int or array of int
    a : Tensor, optional
        Preactivations of the cell, as ``out.history[0]["a"]``: γ is then their largest slope, which is sharper.
    slope : float, optional
        γ, for an activation of your own.

    Returns
    -------
    float, or array like `lag`

    Examples
    --------
    >>> import numpy as np
    >>> import tinygrad_rnn as tg
    >>> cell = tg.nn.RNNCell(2, 3, activation="sigmoid", generator=0)
    >>> cell.W_h.assign(2 * np.eye(3))  # doctest: +ELLIPSIS
    tensor(...
    >>> tg.bptt.jacobian_bound(cell, [1, 2, 3]).tolist()
    [0.5, 0.25, 0.125]
    """
    if not isinstance(cell, RNNCell) or cell.skip > 1 or cell.norm_h is not None:
        raise fail(
            TypeError, "jacobian_bound: cell", expected="an RNNCell without skip and layer norm", got=repr(cell),
            hint="use spectral_norms(...), which measures",
        )  # fmt: skip
    gamma = _slope(cell, a, slope)
    step = (1 - cell.leak) + cell.leak * gamma * float(np.linalg.norm(cell.W_h.numpy().astype(np.float64), 2))
    return step ** np.asarray(lag) if np.ndim(lag) else step**lag


def _slope(cell: RNNCell, a: Any, slope: float | None) -> float:
    if slope is not None:
        return float(slope)
    if a is not None:
        point = leaf(a.numpy() if isinstance(a, Tensor) else np.asarray(a))
        return float(np.abs(grad(cell.g(point).sum(), point).numpy()).max())
    if not isinstance(cell.activation, str):
        raise fail(ValueError, "jacobian_bound: the activation is a function", hint="pass slope=, or preactivations a=")
    return SLOPES[cell.activation]


# One Jacobian ---------------------------------------------------------------------------------------------------------


def _between(name: str, later: tuple[Tensor, ...], earlier: tuple[Tensor, ...], batch: bool) -> np.ndarray:
    """The Jacobian of a state by another, with the parts of each side by side."""
    batch = _batched(name, [*later, *earlier], batch)
    sizes = [_size(t, batch) for t in later]
    n, examples = sum(sizes), later[0].shape[0] if batch else 1
    seeds, start = [], 0
    for t, size in zip(later, sizes, strict=True):
        seed = np.zeros((n + (examples > 1), examples, size), t.dtype)
        seed[np.arange(start, start + size), :, np.arange(size)] = 1
        if examples > 1:  # a row more, of the first example alone, tells whether the others have to do with it
            seed[n, 0] = np.cos(np.arange(start, start + size))
        seeds.append(seed)
        start += size
    parts = [p.reshape(len(p), examples, -1) for p in _pulled(later, seeds, earlier)]
    if examples > 1 and any(p[n, 1:].any() for p in parts):
        raise _coupled(name, later[0])
    J = np.concatenate([p[:n] for p in parts], -1).swapaxes(0, 1)
    return J if batch and later[0].ndim > 1 else J[0]


def _batched(name: str, tensors: list[Tensor], batch: bool) -> bool:
    if not batch or all(t.ndim < 2 for t in tensors):
        return False
    if len({t.shape[0] if t.ndim else None for t in tensors}) > 1:
        raise fail(
            ShapeError, f"{name}: states of different batch sizes", got=", ".join(str(t.shape) for t in tensors),
            hint="pass batch=False: all entries of a state are then one vector",
        )  # fmt: skip
    return True


def _size(t: Tensor, batch: bool) -> int:
    return t.size // max(t.shape[0], 1) if batch else t.size


def _coupled(name: str, t: Tensor) -> Exception:
    return fail(
        GradientError, f"{name}: the examples of {describe(t)} depend on each other",
        expected="examples along the first axis that have nothing to do with each other",
        hint="pass batch=False: all entries of a state are then one vector",
    )  # fmt: skip


def _pulled(outputs: tuple[Tensor, ...], seeds: list[np.ndarray], targets: tuple[Tensor, ...]) -> list[np.ndarray]:
    """Rows of cotangents of `targets`, each varied with the others held; those of `outputs` are `seeds`."""
    wanted = {t.serial for t in targets}
    nodes, active = dependent(list(outputs), wanted)
    sums, found = Sums(), {}
    for t, seed in zip(outputs, seeds, strict=True):
        if t.serial in active:
            sums.add(t, Rows(0, seed.reshape(len(seed), *t.shape)))
    for serial in sorted(active, reverse=True):
        node = nodes[serial]
        g = sums.take(node)
        if g is not None and serial in wanted:
            found[serial] = g.values
        elif g is not None:
            for i, part in spread(node, g.values, [i for i, t in enumerate(node.inputs) if t.serial in active]):
                sums.add(node.inputs[i], Rows(0, part))
    count = len(seeds[0])
    return [found[t.serial] if t.serial in found else np.zeros((count, *t.shape), t.dtype) for t in targets]


# Many Jacobians -------------------------------------------------------------------------------------------------------


class _Chain:
    """States in the order in which they were computed."""

    def __init__(self, name: str, h: Any, layer: int, batch: bool, graph: Any, inputs: Any) -> None:
        states = States(name, h, layer, graph, inputs)
        self.name, self.batch, self.states = name, batch, states
        self.steps = [states.steps[k] for k in states.order]

    def between(self, t: int, k: int) -> np.ndarray:
        return _between(self.name, self.steps[t], self.steps[k], self.batch)

    def mapped(self, fn: Any, lag: int | None) -> np.ndarray:
        """`fn` of the Jacobians of all pairs, or of those of a lag."""
        count = len(self.steps)
        if lag is not None:
            if not isinstance(lag, int) or not 0 <= lag < count:
                raise fail(ValueError, f"{self.name}: lag {lag!r}", expected=f"0 to {count - 1}")
            return fn(np.stack(list(self._apart(lag))))
        rows = [fn(row) for row in self._all()]
        out = np.zeros((count, count, *rows[0].shape[1:]), rows[0].dtype)
        for t, row in enumerate(rows):
            out[t, : t + 1] = row
        return out[np.ix_(self.states.order, self.states.order)]

    def _apart(self, lag: int) -> Iterator[np.ndarray]:
        """Jacobians by the state `lag` steps before, in order of that."""
        count = len(self.steps)
        if lag < 2 or not self.states.complete():
            yield from (self.between(k + lag, k) for k in range(count - lag))
            return
        single = [self.between(k + 1, k) for k in range(count - 1)]
        for k in range(count - lag):
            product = single[k]
            for J in single[k + 1 : k + lag]:
                product = J @ product
            yield product

    def _all(self) -> Iterator[np.ndarray]:
        """For each state the Jacobians by all states up to it."""
        count = len(self.steps)
        if not self.states.complete():
            yield from (np.stack([self.between(t, k) for k in range(t + 1)]) for t in range(count))
            return
        row = same = self.between(0, 0)[None]
        yield row
        for t in range(1, count):
            row = np.concatenate([self.between(t, t - 1) @ row, same])
            yield row

    def exponents(self, count: int | None, skip: int) -> np.ndarray:
        steps = len(self.steps) - 1
        if not 0 <= skip < steps:
            raise fail(ValueError, f"{self.name}: skip {skip!r}", expected=f"fewer than the {steps} steps there are")
        if not self.states.complete():
            raise fail(
                GradientError, f"{self.name}: a state depends on the past otherwise than through the state before it",
                hint="pass complete states, as (h, c) of an LSTM",
            )  # fmt: skip
        batch = _batched(self.name, list(self.steps[-1]), self.batch)
        frame = self._frame(count, self.steps[-1][0].shape[0] if batch else 1, batch)
        logs = np.zeros((frame.shape[0], frame.shape[2]))
        for done, (later, earlier) in enumerate(zip(self.steps[:0:-1], self.steps[-2::-1], strict=True)):
            frame, r = np.linalg.qr(_frame_before(frame, later, earlier, batch))
            if done >= skip:
                with np.errstate(divide="ignore"):
                    logs += np.log(np.abs(np.diagonal(r, axis1=-2, axis2=-1)))
        return (logs if batch else logs[0]) / (steps - skip)

    def _frame(self, count: int | None, examples: int, batch: bool) -> np.ndarray:
        """An orthonormal frame (examples, n, count) in general position: no axis need stay by itself."""
        n = sum(_size(t, batch) for t in self.steps[-1])
        many = n if count is None else count
        if not isinstance(many, int) or not 0 < many <= n:
            raise fail(ValueError, f"{self.name}: count {count!r}", expected=f"1 to {n}, the size of the state")
        frame, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(n, many)))
        return np.broadcast_to(frame, (examples, n, many))


def _frame_before(frame: np.ndarray, later: tuple[Tensor, ...], earlier: tuple[Tensor, ...], batch: bool) -> np.ndarray:
    """A frame (examples, n, count) of cotangents of a state, pulled back to another."""
    ends = np.cumsum([_size(t, batch) for t in later])[:-1]
    seeds = np.split(frame.transpose(2, 0, 1), ends, axis=-1)
    parts = _pulled(later, [s.astype(t.dtype) for s, t in zip(seeds, later, strict=True)], earlier)
    rows = [p.reshape(len(p), len(frame), -1) for p in parts]
    return np.concatenate(rows, -1).transpose(1, 2, 0).astype(np.float64)
