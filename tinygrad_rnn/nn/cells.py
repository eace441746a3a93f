"""Recurrent cells: ``y, state = cell(x, state)``, with the gates packed into one matrix and addressed by name.

Everything is written with row vectors: ``x`` is (batch, input), ``h`` is (batch, hidden), ``W`` is (in, out). The state
is a value that goes in and comes out; a cell keeps nothing between calls.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..ops.create import zeros
from ..ops.shape import broadcast_to, concatenate, split
from ..settings import check_count, check_counts, check_number, check_switch
from ..tensor import DEFAULT_FLOAT, Tensor
from . import init
from .cell import Activation, Cell, Stepped, activation_of
from .init import Seed, generator_of
from .layers import LayerNorm
from .module import Module

__all__ = ["GRUCell", "LSTMCell", "LSTMState", "RNNCell"]


class LSTMState(NamedTuple):
    """Hidden state and cell state, each (batch, hidden); with a projection `h` is as wide as that."""

    h: Any
    c: Any


class RNNCell(Cell):
    """Elman's cell: ``h' = g(x W_i + h W_h + b)``, which is its output and its state.

    Parameters
    ----------
    input_size, hidden_size : int
    activation : "tanh", "relu", "sigmoid", "identity", or a function of tensors
    bias : bool or "two"
        One bias, none, or a second one for the recurrent product, as PyTorch has it.
    leak : float
        How much of the new state is taken: ``h' = (1 - leak) h + leak g(a)``, a leaky unit.
    skip : int
        With a skip of k steps ``h`` also depends on that of k steps before, by weights `W_s`; the state is then a tuple
        of the last k.
    layer_norm : bool
        Normalise both products (Ba, Kiros and Hinton, 2016).
    learn_initial_state : bool
    recurrent_init : "uniform" or "orthogonal"
    generator : numpy.random.Generator or int, optional
        Source of the initial values, uniform within ``1 / sqrt(hidden_size)``.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> cell = tg.nn.RNNCell(3, 4)
    >>> y, h = cell(tg.ones((2, 3)), cell.initial_state(2))
    >>> y.shape, y is h
    ((2, 4), True)

    A leaky unit takes a share of what is new, ``h' = (1 - α) h + α g(a)``; here nothing is, and half of h is left:

    >>> cell = tg.nn.RNNCell(1, 3, leak=0.5, bias=False)
    >>> _ = cell.W_h.assign(cell.W_h * 0)
    >>> cell(tg.zeros((1, 1)), tg.tensor([[4.0, 5.0, 6.0]]))[0].tolist()
    [[2.0, 2.5, 3.0]]

    Five inputs, three hidden units and one output, without biases, have 5·3 + 3·3 + 3·1 weights:

    >>> tg.nn.RNNCell(5, 3, bias=False).parameter_count + tg.nn.Linear(3, 1, bias=False).parameter_count
    27
    """

    GATES = ("h",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        activation: Activation = "tanh",
        leak: float = 1.0,
        skip: int = 1,
        generator: Seed = None,
        dtype: Any = DEFAULT_FLOAT,
        **options: Any,
    ) -> None:
        self.g = activation_of("RNNCell", activation)
        check_counts("RNNCell", input_size=input_size, hidden_size=hidden_size)
        self.leak, self.skip = check_number("RNNCell: leak", leak, above=0, high=1), check_count("RNNCell: skip", skip)
        self.activation = activation
        generator = generator_of(generator)
        super().__init__(input_size, hidden_size, recurrent=1, generator=generator, dtype=dtype, **options)
        bound = 1 / np.sqrt(hidden_size)
        self.W_s = init.uniform((hidden_size, hidden_size), bound, generator, dtype) if skip > 1 else None

    @property
    def state_sizes(self) -> tuple[int, ...]:
        return (self.hidden_size,) * self.skip

    def initial_state(self, batch: int) -> Any:
        """Zeros (batch, hidden), or the learned initial state; a tuple of them for a cell with a skip."""
        if self.learned:
            parts = [broadcast_to(t, (batch, t.shape[1])) for t in self.learned]
        else:
            parts = [zeros((batch, self.hidden_size), self.W_i.dtype).named("h0") for _ in range(self.skip)]
        return parts[0] if self.skip == 1 else tuple(parts)

    def step(self, x: Any, state: Any) -> Stepped:
        x, past = self._read(x, state)
        h = past[0]
        a = self.from_input(x) + self.from_state(h)
        if self.W_s is not None:
            a = a + past[-1] @ self.W_s
        new = self.g(a)
        if self.leak < 1:
            new = (1 - self.leak) * h + self.leak * new
        new = new.named("h")
        return Stepped(new, new if self.skip == 1 else (new, *past[:-1]), {"a": a, "h": new})


class LSTMCell(Cell):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997; Gers, Schmidhuber and Cummins, 2000).

    ``i, f, o = σ(x W_i + h W_h + b)`` and ``g = tanh(x W_i + h W_h + b)``, each with its block of the packed weights,
    in the order i, f, g, o; ``c' = f ⊙ c + i ⊙ g``; ``h' = o ⊙ tanh(c')``. The state is ``LSTMState(h, c)``, the
    output is ``h'``.

    Parameters
    ----------
    input_size, hidden_size : int
    activation, gate_activation, output_activation
        Of the candidate g, of the gates, and of the cell state on its way out (that of the candidate by default).
    bias : bool or "two"
    forget_gate : bool
        Without it ``c' = c + i ⊙ g``.
    forget_bias : float
        Initial bias of the forget gate, 1 so that states last at first (Jozefowicz, Zaremba and Sutskever, 2015).
    peephole : bool or "previous"
        The gates i and f also see ``c ⊙ p_i`` and ``c ⊙ p_f``, and o sees ``c' ⊙ p_o``, or with "previous" ``c ⊙ p_o``.
    state_gated : bool
        The gates see the cell state through full matrices instead of h, and the candidate sees the input alone.
    projection : int, optional
        ``h'`` is multiplied by a matrix `W_p` (hidden, projection); the recurrent weights take that.
    layer_norm, learn_initial_state, recurrent_init, generator
        As for :class:`RNNCell`; the cell state is normalised too before it goes out.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> cell = tg.nn.LSTMCell(3, 4, peephole=True)
    >>> y, state = cell(tg.ones((2, 3)), cell.initial_state(2))
    >>> y.shape, state.c.shape, y is state.h
    ((2, 4), (2, 4), True)

    Other presentations are options: without the gate ``f``, which is ``s' = s + i ⊙ s̃``; with logistic functions
    throughout, ``s̃ = σ(...)`` and ``h' = o ⊙ σ(s')``; with gates that see the state in place of h.

    >>> for options in ({"forget_gate": False}, {"activation": "sigmoid"}, {"state_gated": True}):
    ...     print(list(tg.nn.LSTMCell(3, 4, **options).gates))
    ['i', 'g', 'o']
    ['i', 'f', 'g', 'o']
    ['i', 'f', 'o', 'g']

    What the forget gate does to a cell state (4, 5, 6) where nothing is written: half open, open, and closed.

    >>> import numpy as np
    >>> c = tg.tensor([[4.0, 5.0, 6.0]])
    >>> for bias in (0.0, 40.0, -90.0):
    ...     cell = tg.nn.LSTMCell(1, 3, forget_bias=bias)
    ...     for weight in (cell.W_i, cell.W_h):
    ...         _ = weight.assign(np.zeros(weight.shape))
    ...     _, state = cell(tg.zeros((1, 1)), tg.nn.LSTMState(tg.zeros((1, 3)), c))
    ...     print(state.c.numpy().round(6).tolist())
    [[2.0, 2.5, 3.0]]
    [[4.0, 5.0, 6.0]]
    [[0.0, 0.0, 0.0]]

    The output lies below the activation of the state: tanh of (1, 2, 3) is

    >>> [round(v, 5) for v in tg.tanh(tg.tensor([1.0, 2.0, 3.0])).tolist()]
    [0.76159, 0.96403, 0.99505]
    """

    GATES = ("i", "f", "g", "o")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        activation: Activation = "tanh",
        gate_activation: Activation = "sigmoid",
        output_activation: Activation | None = None,
        forget_gate: bool = True,
        forget_bias: float = 1.0,
        peephole: bool | str = False,
        state_gated: bool = False,
        projection: int | None = None,
        generator: Seed = None,
        dtype: Any = DEFAULT_FLOAT,
        **options: Any,
    ) -> None:
        check_counts("LSTMCell", input_size=input_size, hidden_size=hidden_size)
        if not isinstance(peephole, bool | np.bool_) and peephole != "previous":
            raise ValueError(f"LSTMCell: peephole must be True, False or 'previous'; got {peephole!r}")
        if projection is not None:
            projection = check_count("LSTMCell: projection", projection)
        forget_gate = check_switch("LSTMCell: forget_gate", forget_gate)
        state_gated = check_switch("LSTMCell: state_gated", state_gated)
        forget_bias = check_number("LSTMCell: forget_bias", forget_bias)
        if state_gated and (peephole or projection):
            raise ValueError("LSTMCell: a state-gated cell sees its state already; it takes no peephole or projection")
        self.g, self.sigma = activation_of("LSTMCell", activation), activation_of("LSTMCell", gate_activation)
        self.out = activation_of("LSTMCell", activation if output_activation is None else output_activation)
        self.peephole, self.state_gated, self.projection = peephole, state_gated, projection
        self.hidden_size = hidden_size
        blocks = ("i", *(("f",) if forget_gate else ()), *(("o", "g") if state_gated else ("g", "o")))
        generator = generator_of(generator)
        super().__init__(
            input_size, hidden_size, recurrent=len(blocks) - state_gated, blocks=blocks, generator=generator,
            dtype=dtype, **options,
        )  # fmt: skip
        bound = 1 / np.sqrt(hidden_size)
        seen = [n for n in blocks if n != "g"] if peephole else []
        self.p = init.uniform((len(seen) * hidden_size,), bound, generator, dtype) if seen else None
        self.W_p = init.uniform((hidden_size, projection), bound, generator, dtype) if projection else None
        self.norm_c = LayerNorm(hidden_size, dtype=dtype) if self.norm_i is not None else None
        if self.b is not None and forget_gate:
            self._set_forget_bias(forget_bias)

    def _set_forget_bias(self, value: float) -> None:
        """The whole bias is zero but for that of the forget gate."""
        assert self.b is not None
        at = self.names.index("f") * self.hidden_size
        b = np.zeros_like(self.b.data)
        b[at : at + self.hidden_size] = value
        self.b.assign(b)
        if self.b_h is not None:
            self.b_h.assign(np.zeros_like(self.b_h.data))

    @property
    def state_sizes(self) -> tuple[int, ...]:
        return (self.projection or self.hidden_size, self.hidden_size)

    def _state(self, parts: list[Tensor]) -> LSTMState:
        return LSTMState(*parts)

    def step(self, x: Any, state: Any) -> Stepped:
        x, (h, c) = self._read(x, state)
        a = self._preactivations(x, h, c)
        seen = [n for n in self.names if n != "g"]
        peep = {} if self.p is None else dict(zip(seen, split(self.p, len(seen)), strict=True))
        early = [n for n in seen if n in peep and (n != "o" or self.peephole == "previous")]
        a |= {n: a[n] + c * peep[n] for n in early}
        i, g = self.sigma(a["i"]).named("i"), self.g(a["g"]).named("g")
        f = self.sigma(a["f"]).named("f") if "f" in a else None
        new = ((c if f is None else f * c) + i * g).named("c")
        o = self.sigma(a["o"] if "o" in early or not peep else a["o"] + new * peep["o"]).named("o")
        y = o * self.out(new if self.norm_c is None else self.norm_c(new))
        y = (y if self.W_p is None else y @ self.W_p).named("h")
        gates = {"i": i, "g": g, "o": o, "c": new, "h": y} | ({} if f is None else {"f": f})
        return Stepped(y, LSTMState(y, new), gates)

    def _preactivations(self, x: Any, h: Tensor, c: Tensor) -> dict[str, Tensor]:
        if not self.state_gated:
            a = self.from_input(x) + self.from_state(h)
            return dict(zip(self.names, split(a, len(self.names), -1), strict=True))
        own = split(self.from_input(x), len(self.names), -1)
        recurrent = split(self.from_state(c), len(self.names) - 1, -1)
        return dict(zip(self.names, [a + b for a, b in zip(own, recurrent)] + own[-1:], strict=True))


class GRUCell(Cell):
    """Gated recurrent unit (Cho et al., 2014): ``r, z = σ(x W_i + h W_h + b)``, ``n = tanh(x W_i + (r ⊙ h) W_h + b)``,
    ``h' = (1 - z) ⊙ h + z ⊙ n``, each with its block of the packed weights, in the order r, z, n.

    Parameters
    ----------
    input_size, hidden_size : int
    activation, gate_activation
        Of the candidate n, and of the gates.
    bias : bool or "two"
    reset_after : bool
        ``n = tanh(x W_i + r ⊙ (h W_h + b_h) + b)``: one product instead of two. So do PyTorch and Keras, which want
        ``bias="two"`` for it.
    update : "write" or "keep"
        What z says: how much is written, as above, or how much is kept, ``h' = (1 - z) ⊙ n + z ⊙ h``, as in PyTorch
        and Keras.
    layer_norm : bool
        Normalise both products, those of the gates and those of the candidate apart (Ba, Kiros and Hinton, 2016, in
        their supplement); without `reset_after` that of the candidate is ``(r ⊙ h) W_h``.
    learn_initial_state, recurrent_init, generator
        As for :class:`RNNCell`.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> cell = tg.nn.GRUCell(3, 4, reset_after=True, update="keep", bias="two")
    >>> y, h = cell(tg.ones((2, 3)), cell.initial_state(2))
    >>> y.shape, sorted(cell.gates)
    ((2, 4), ['n', 'r', 'z'])

    Where z is 0 nothing is written, and the state stays (4, 5, 6); where it is 1 the candidate, 0, takes its place:

    >>> import numpy as np
    >>> for bias in (-90.0, 0.0, 90.0):
    ...     cell = tg.nn.GRUCell(1, 3)
    ...     for p in cell.parameters():
    ...         _ = p.assign(np.zeros(p.shape))
    ...     _ = cell.b.assign(np.repeat([0.0, bias, 0.0], 3))
    ...     print(cell(tg.zeros((1, 1)), tg.tensor([[4.0, 5.0, 6.0]]))[0].numpy().round(6).tolist())
    [[4.0, 5.0, 6.0]]
    [[2.0, 2.5, 3.0]]
    [[0.0, 0.0, 0.0]]
    """

    GATES = ("r", "z", "n")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        activation: Activation = "tanh",
        gate_activation: Activation = "sigmoid",
        reset_after: bool = False,
        update: str = "write",
        generator: Seed = None,
        dtype: Any = DEFAULT_FLOAT,
        **options: Any,
    ) -> None:
        if update not in ("write", "keep"):
            raise ValueError(f"GRUCell: update must be 'write' or 'keep'; got {update!r}")
        self.g, self.sigma = activation_of("GRUCell", activation), activation_of("GRUCell", gate_activation)
        self.reset_after, self.update = check_switch("GRUCell: reset_after", reset_after), update
        generator = generator_of(generator)
        super().__init__(input_size, hidden_size, recurrent=3, generator=generator, dtype=dtype, **options)

    def _norm(self, blocks: int, dtype: Any) -> Any:
        return _GatesAndCandidate(self.hidden_size, dtype)

    def step(self, x: Any, state: Any) -> Stepped:
        x, (h,) = self._read(x, state)
        a_r, a_z, a_n = split(self.from_input(x), 3, -1)
        if self.reset_after:
            u_r, u_z, u_n = split(self.from_state(h), 3, -1)
        else:
            u_r, u_z = split(self._product(h, "gates"), 2, -1)
        r, z = self.sigma(a_r + u_r).named("r"), self.sigma(a_z + u_z).named("z")
        reset = r * u_n if self.reset_after else self._product(r * h, "candidate")
        candidate = self.g(a_n + reset).named("n")
        new = (1 - z) * h + z * candidate if self.update == "write" else (1 - z) * candidate + z * h
        new = new.named("h")
        return Stepped(new, new, {"r": r, "z": z, "n": candidate, "h": new})

    def _product(self, h: Tensor, part: str) -> Tensor:
        n = self.hidden_size
        at = slice(0, 2 * n) if part == "gates" else slice(2 * n, 3 * n)
        a = h @ self.W_h[:, at]
        if self.norm_h is not None:
            a = getattr(self.norm_h, part)(a)
        return a if self.b_h is None else a + self.b_h[at]


class _GatesAndCandidate(Module):
    """Layer norm of what goes into r and z, and of what goes into the candidate."""

    def __init__(self, hidden_size: int, dtype: Any) -> None:
        self.gates, self.candidate = LayerNorm(2 * hidden_size, dtype=dtype), LayerNorm(hidden_size, dtype=dtype)

    def forward(self, a: Tensor) -> Tensor:
        at = 2 * a.shape[-1] // 3
        return concatenate([self.gates(a[..., :at]), self.candidate(a[..., at:])], -1)
