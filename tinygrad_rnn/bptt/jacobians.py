"""Jacobians of states by earlier states: their singular values, Lyapunov exponents, and bounds on their norms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import fail
from ..grad.reverse import grad
from ..graph import Graph
from ..nn.cells import RNNCell
from ..tensor import Tensor, leaf
from .chain import Chain, between, stretches
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
    return between("state_jacobian", states.at(t), states.at(k), batch)


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
        ``[k]``. (For a network that runs backwards in time, later means computed later.) NaN where a product of
        Jacobians is too large for float64.

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
    chain = Chain("singular_values", h, layer, batch, graph, inputs)
    return chain.mapped(stretches, lag)


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
    chain = Chain("spectral_norms", h, layer, batch, graph, inputs)
    return chain.mapped(lambda J: stretches(J)[..., 0], lag)


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
    chain = Chain("lyapunov_exponents", h, layer, batch, graph, inputs)
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
