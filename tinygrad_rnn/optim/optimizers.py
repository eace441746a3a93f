"""Optimisers: each is a function of one number (``kernels/updates.py``) run over every parameter, state beside it.

A parameter is given a new array at each step; the old one stays as it was for whoever still holds it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from typing import Any

import numpy as np

from ..calls import as_it_is
from ..effects import Update
from ..errors import GradientError, fail
from ..kernels import updates
from ..kernels.families import Job, family
from ..kernels.loops import elementwise_loop, specialise
from ..nn.loading import fitted, read_state
from ..nn.module import Module
from ..scope import current
from ..settings import check_number, check_switch
from ..tensor import Spec, Tensor, describe, leaf, next_serial
from .schedules import Schedule

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop"]


def parameters_of(given: Any) -> list[Tensor]:
    """Parameters of a module, or those listed; raises for anything that cannot be trained."""
    listed = given.parameters() if isinstance(given, Module) else [given] if isinstance(given, Tensor) else list(given)
    if not listed:
        raise ValueError("no parameters were given; make them with tg.parameter, or pass a module that has some")
    for t in listed:
        if not isinstance(t, Tensor) or not t.is_leaf or not t.requires_grad:
            what = describe(t) if isinstance(t, Tensor) else type(t).__name__
            raise TypeError(f"expected parameters, got {what}; make parameters with tg.parameter")
    if len({id(t) for t in listed}) < len(listed):
        raise ValueError("a parameter was given twice")
    return listed


@cache
def _kernel(rule: Callable[..., Any], slots: int, settings: int, dtype: np.dtype) -> Any:
    """The loop of an update, the same for all optimisers of a kind."""
    arrays = 2 + slots
    count = arrays + 2 + settings
    ins, outs = [dtype] * count, [dtype] * (1 + slots)
    return elementwise_loop(rule.__name__, specialise(rule, dtype), ins, outs, repeated=range(arrays, count))


class Optimizer:
    """Base of the optimisers.

    Attributes
    ----------
    parameters : list of Tensor
    step_count : int
        Steps taken, which a learning-rate schedule is a function of.
    update_counts : list of int
        Updates of each parameter: less than the steps where it had no gradient in some of them.
    """

    rule: Callable[..., Any]  # what happens to one number, from kernels/updates.py
    slots: tuple[str, ...] = ()  # names of the state that is kept for each parameter

    def __init__(self, parameters: Module | Iterable[Tensor], lr: float | Schedule, weight_decay: float = 0.0) -> None:
        self.parameters = parameters_of(parameters)
        name = type(self).__name__
        self.schedule = lr if callable(lr) else check_number(f"{name}: lr", lr, 0)
        self.weight_decay = check_number(f"{name}: weight_decay", weight_decay, 0)
        self.step_count = 0
        self.update_counts = [0] * len(self.parameters)
        self.serial = next_serial()  # tells whether it was made before a function was recorded
        self.state = [[np.zeros(p.shape, p.dtype) for _ in self.slots] for p in self.parameters]

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return self._lr_after(self.step_count)

    def _lr_after(self, count: int) -> float:
        if not callable(self.schedule):
            return self.schedule  # looked at when it was given
        return check_number(f"{type(self).__name__}: the learning rate of step {count}", self.schedule(count), 0)

    @as_it_is
    def settings(self, count: int) -> tuple[float, ...]:
        """Numbers that the update takes after learning rate and weight decay, for a parameter updated `count` times."""
        return ()

    def step(self) -> None:
        """Change every parameter that has a gradient.

        Raises
        ------
        GradientError
            If none has one.
        """
        effects = current().tracing
        if all(p.grad is None for p in self.parameters):
            raise fail(
                GradientError,
                f"{type(self).__name__}.step: no parameter has a gradient",
                hint="call loss.backward() first",
            )
        if effects is not None:
            given = [(k, p, p.grad) for k, p in enumerate(self.parameters)]
            taken = effects.step_of(self)
            effects.note(*(
                Update(self, p, grad, k, taken, effects.updates_of(self, k)) for k, p, grad in given if grad is not None
            ))  # fmt: skip
            return
        numbers = self.numbers(set(self.update_counts))
        moved = [k for k, p in enumerate(self.parameters) if p.grad is not None]
        for k in moved:
            self._update(self.parameters[k], self.state[k], numbers[self.update_counts[k]])
        self.count(moved)

    @as_it_is
    def count(self, moved: Iterable[int]) -> None:
        """Count a step that has updated these of the parameters."""
        for k in moved:
            self.update_counts[k] += 1
        self.step_count += 1

    def _update(self, p: Tensor, state: list[np.ndarray], numbers: tuple[float, ...]) -> None:
        assert p.grad is not None
        new = np.empty(p.shape, p.dtype)
        out = (new, *state) if state else new
        self.kernel(p.dtype)(p.data, p.grad.data, *state, *map(p.dtype.type, numbers), out=out)
        p.replace_data(new)

    @property
    def remembers(self) -> bool:
        """Whether a step depends on those before."""
        return bool(self.slots) or callable(self.schedule) or self.settings(0) != self.settings(1)

    @as_it_is
    def numbers(self, counts: Iterable[int], ahead: int = 0) -> dict[int, tuple[float, ...]]:
        """What the next step, or one further `ahead`, takes after the arrays, by how often a parameter was updated.

        These are the learning rate, the weight decay, and the settings.
        """
        rate = self._lr_after(self.step_count + ahead)
        return {count: (rate, self.weight_decay, *self.settings(count)) for count in counts}

    def kernel(self, dtype: np.dtype) -> Any:
        """The loop of the update: ``(p, g, *state, *numbers) -> (p, *state)``."""
        return _kernel(self.rule, len(self.slots), len(self.settings(0)), dtype)

    def zero_grad(self) -> None:
        """Forget the gradients of the parameters."""
        for p in self.parameters:
            p.grad = None

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of the state, to be saved, and loaded into an optimiser of the same kind over the same parameters."""
        _check_not_recorded("state_dict")
        arrays = {
            f"{k}.{slot}": array.copy()
            for k, state in enumerate(self.state)
            for slot, array in zip(self.slots, state, strict=True)
        }
        counts = {"step_count": self.step_count, "update_counts": self.update_counts}
        return {**{name: np.array(count, np.int64) for name, count in counts.items()}, **arrays}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a saved state. Either all of it fits, or nothing is changed.

        Raises
        ------
        KeyError
            If it is of another kind of optimiser, or of other parameters.
        ShapeError, DTypeError
            If a shape differs, or a dtype is of another kind.
        TypeError, ValueError
            If it is no mapping; if an entry cannot be read or does not fit into the dtype, or a count is negative;
            and while a function is recorded, as no later call would do it.
        """
        _check_not_recorded("load_state_dict")
        own, given = self.state_dict(), read_state("load_state_dict", state)
        if own.keys() != given.keys():
            difference = sorted(own.keys() ^ given.keys(), key=str)
            raise fail(
                KeyError,
                f"load_state_dict: the state is not of this {type(self).__name__}; it differs in {difference[:5]}",
            )
        new = {k: fitted(f"load_state_dict: '{k}'", given[k], Spec(a.shape, a.dtype)) for k, a in own.items()}
        for name in ("step_count", "update_counts"):
            if (new[name] < 0).any():
                raise fail(ValueError, f"load_state_dict: '{name}'", expected="0 or more", got=str(new[name]))
        self.step_count, self.update_counts = int(new["step_count"]), new["update_counts"].tolist()
        self.state[:] = [[new[f"{k}.{slot}"] for slot in self.slots] for k in range(len(self.parameters))]


def _check_not_recorded(name: str) -> None:
    if current().tracing is not None:
        raise fail(
            TypeError, f"{name}: the state of an optimiser, while a function is recorded",
            got="what would happen once, and on no later call", hint=f"call {name} outside of the function",
        )  # fmt: skip


class SGD(Optimizer):
    """Gradient descent, with momentum and Nesterov's momentum.

    Parameters
    ----------
    parameters : Module or iterable of Tensor
    lr : float or schedule
    momentum : float
        Share of the last step that is kept.
    nesterov : bool
        Look ahead along the momentum (Sutskever et al., 2013).
    weight_decay : float
        Factor of the L2 penalty's gradient.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> w = tg.parameter([1.0])
    >>> optimizer = tg.optim.SGD([w], lr=0.5)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.tolist()
    [0.0]
    """

    def __init__(
        self,
        parameters: Module | Iterable[Tensor],
        lr: float | Schedule,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        self.momentum = momentum = check_number("SGD: momentum", momentum, 0, below=1)
        if check_switch("SGD: nesterov", nesterov) and not momentum:
            raise ValueError("SGD: nesterov needs a momentum")
        self.slots = ("velocity",) if momentum else ()
        self.rule = updates.nesterov if nesterov else updates.momentum if momentum else updates.sgd
        super().__init__(parameters, lr, weight_decay)

    @as_it_is
    def settings(self, count: int) -> tuple[float, ...]:
        return (self.momentum,) if self.slots else ()


class RMSprop(Optimizer):
    """Steps divided by a running root mean square of the gradient (Tieleman and Hinton, 2012).

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> w = tg.parameter([1.0])
    >>> optimizer = tg.optim.RMSprop([w], lr=0.1, alpha=0.0)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> round(w.item(), 4)
    0.9
    """

    slots = ("square",)

    def __init__(
        self,
        parameters: Module | Iterable[Tensor],
        lr: float | Schedule = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        self.alpha, self.eps = check_number("RMSprop: alpha", alpha, 0, below=1), check_number("RMSprop: eps", eps, 0)
        self.rule = updates.rmsprop
        super().__init__(parameters, lr, weight_decay)

    @as_it_is
    def settings(self, count: int) -> tuple[float, ...]:
        return self.alpha, self.eps


class Adagrad(Optimizer):
    """Steps divided by the root of the sum of all squared gradients (Duchi, Hazan and Singer, 2011).

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> w = tg.parameter([1.0])
    >>> optimizer = tg.optim.Adagrad([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> round(w.item(), 4)
    0.9
    """

    slots = ("square_sum",)

    def __init__(
        self,
        parameters: Module | Iterable[Tensor],
        lr: float | Schedule = 1e-2,
        eps: float = 1e-10,
        weight_decay: float = 0.0,
    ) -> None:
        self.eps = check_number("Adagrad: eps", eps, 0)
        self.rule = updates.adagrad
        super().__init__(parameters, lr, weight_decay)

    @as_it_is
    def settings(self, count: int) -> tuple[float, ...]:
        return (self.eps,)


class Adam(Optimizer):
    """Running means of the gradient and of its square, corrected for their start at zero (Kingma and Ba, 2015).

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> w = tg.parameter([1.0])
    >>> optimizer = tg.optim.Adam([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> round(w.item(), 4)
    0.9
    """

    slots = ("mean", "square")

    def __init__(
        self,
        parameters: Module | Iterable[Tensor],
        lr: float | Schedule = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        name = type(self).__name__
        self.betas, self.eps = _betas(name, betas), check_number(f"{name}: eps", eps, 0)
        self.rule = self._adam()
        super().__init__(parameters, lr, weight_decay)

    def _adam(self) -> Callable[..., Any]:
        return updates.adam

    @as_it_is
    def settings(self, count: int) -> tuple[float, ...]:
        beta1, beta2 = self.betas
        t = count + 1
        return beta1, beta2, self.eps, 1 - beta1**t, 1 - beta2**t


def _betas(name: str, given: Any) -> tuple[float, float]:
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise TypeError(f"{name}: betas must be two numbers, for the mean and for the square, got {given!r}")
    first, second = (check_number(f"{name}: betas", beta, 0, below=1) for beta in given)
    return first, second


class AdamW(Adam):
    """:class:`Adam` with decoupled weight decay (Loshchilov and Hutter, 2019), 0.01 by default.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> w = tg.parameter([1.0])
    >>> optimizer = tg.optim.AdamW([w], lr=0.1, weight_decay=0.5)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> round(w.item(), 4)
    0.85
    """

    def __init__(
        self,
        parameters: Module | Iterable[Tensor],
        lr: float | Schedule = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(parameters, lr, betas, eps, weight_decay)

    def _adam(self) -> Callable[..., Any]:
        return updates.adamw


@family
def _for_warmup(dtype: np.dtype) -> list[Job]:
    p = [leaf(np.zeros(1, dtype), requires_grad=True)]
    plain = [make(p, 0.1) for make in (SGD, RMSprop, Adagrad, Adam, AdamW)]
    return [partial(o.kernel, dtype) for o in [*plain, SGD(p, 0.1, 0.9), SGD(p, 0.1, 0.9, nesterov=True)]]
