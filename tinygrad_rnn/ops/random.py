"""Random numbers as operations: recorded, drawn anew whenever the graph or the program is run, saved with it.

Noise that depends on nothing is drawn by an op without inputs, and then scaled and shifted by ordinary ones, so that
gradients reach location and scale (Kingma and Welling, 2014). A draw has its generator among its parameters: it is
never a constant, never merged with another, and never drawn a second time; draws keep their order.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from ..errors import DTypeError, ShapeError, fail
from ..generators import Random, put_back, state_of
from ..scope import current, noting
from ..tensor import DEFAULT_FLOAT, Op, Spec, Tensor, describe, record
from .core import apply, as_float, as_tensor, cast, check_dtype, define, refused, result_dtype
from .create import Shape
from .index import take
from .shape import moveaxis, normalize_axes

__all__ = ["bernoulli", "categorical", "gumbel", "normal", "permutation", "uniform"]

_NUMBERS = (int, float, np.integer, np.floating)

# Draws ----------------------------------------------------------------------------------------------------------------


class Draws(dict[int, tuple[Random, Any]]):
    """Generators that were drawn from, by their ids, each with its state before the first draw."""

    def note(self, generator: Random) -> None:
        if id(generator) not in self:
            self[id(generator)] = generator, state_of(generator)

    @contextmanager
    def replayed(self) -> Iterator[None]:
        """Draw the same numbers again within the block; the generators then go on where they were."""
        now = [(g, state_of(g)) for g, _ in self.values()]
        try:
            for generator, state in self.values():
                put_back(generator, state)
            yield
        finally:
            for generator, state in now:
                put_back(generator, state)


_witness: ContextVar[Draws | None] = ContextVar("tinygrad_rnn_draws", default=None)


def witnessed() -> AbstractContextManager[Draws]:
    """Note which generators the block draws from."""
    return noting(_witness, Draws())


def _noted(generator: np.random.Generator) -> np.random.Generator:
    draws = _witness.get()
    if draws is not None:
        draws.note(generator)
    return generator


def _drawn(op: Op, params: dict[str, Any]) -> Tensor:
    """The result of a draw; while a function is traced nothing is drawn, and the order of draws is noted."""
    effects = current().tracing
    if effects is None:
        return apply(op, (), params)
    assert op.shape is not None
    drawn = record(op, (), params, op.shape(**params))
    effects.drawn.append(drawn)
    return drawn


# Ops ------------------------------------------------------------------------------------------------------------------

_NOTHING = "it is noise that depends on nothing"
_noise_shape = lambda *_, shape, dtype, generator: Spec(shape, dtype)

NORMAL = define(
    "normal",
    run=lambda shape, dtype, generator: _noted(generator).standard_normal(shape, dtype),
    shape=_noise_shape,
    vjp=_NOTHING,
    formula=r"\varepsilon",
)
UNIFORM = define(
    "uniform",
    run=lambda shape, dtype, generator: _noted(generator).random(shape, dtype),
    shape=_noise_shape,
    vjp=_NOTHING,
    formula="u",
)
GUMBEL = define(
    "gumbel",
    run=lambda shape, dtype, generator: np.asarray(_noted(generator).gumbel(size=shape), dtype),
    shape=_noise_shape,
    vjp=_NOTHING,
    formula=r"\gamma",
)


BERNOULLI = define(
    "bernoulli",
    run=lambda p, shape, dtype, generator: _ones(p, _noted(generator).random(shape, _precision(dtype)), dtype),
    shape=lambda *_, p, shape, dtype, generator: Spec(shape, dtype),
    vjp=_NOTHING,
    formula=r"\mathrm{{mask}}",
    symbol="mask",
)
PERMUTATION = define(
    "permutation",
    run=lambda n, generator: _noted(generator).permutation(n),
    shape=lambda *_, n, generator: Spec((n,), np.dtype(np.int64)),
    vjp="an order is made of integers, which carry no gradient",
    formula=r"\pi",
)


# What depends on values is computed from noise that does not: so draws keep the order in which they were recorded,
# whatever is computed when.


def _precision(dtype: np.dtype) -> np.dtype:
    return dtype if dtype.kind == "f" else DEFAULT_FLOAT


def _ones(p: Any, noise: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return (noise >= 1 - p).astype(dtype)


def _chosen_run(p: np.ndarray, noise: np.ndarray, dtype: np.dtype) -> np.ndarray:
    _check_all((p >= 0) & (p <= 1), "bernoulli: p must lie between 0 and 1", p)
    return _ones(p, noise, dtype)


BERNOULLI_OF = define(
    "bernoulli_of",
    run=_chosen_run,
    shape=lambda p, noise, dtype: Spec(noise.shape, dtype),
    vjp="zeros and ones are drawn, and do not move with their probability",
    formula=r"\mathrm{{Bernoulli}}({0}; {1})",
    symbol="mask",
)


def _categorical_run(logits: np.ndarray, noise: np.ndarray) -> np.ndarray:
    x = logits.astype(np.float64)
    peak = x.max(-1, keepdims=True)
    _check_all(np.isfinite(peak[..., 0]), "categorical: logits without a largest finite value", x)
    return (x - peak + noise).argmax(-1)  # distributed as the softmax (Gumbel, 1954)


CATEGORICAL = define(
    "categorical",
    run=_categorical_run,
    shape=lambda logits, noise: Spec(noise.shape[:-1], np.dtype(np.int64)),
    vjp="classes are integers, which are drawn and do not move with the logits",
    formula=r"\mathrm{{Categorical}}({0}; {1})",
)


def _nonnegative_run(x: np.ndarray, what: str) -> np.ndarray:
    _check_all(x >= 0, f"{what} must be at least 0", x)
    return x.copy()  # it would be a view of a parameter, which changes


NONNEGATIVE = define(
    "nonnegative",
    run=_nonnegative_run,
    shape=lambda x, what: x,
    vjp=(lambda g, y, x, what: g,),
    jvp=lambda i, t, y, x, what: t,  # a tangent may be negative
    formula=r"{0}",
    symbol="≥ 0",
)


def _check_all(right: np.ndarray, what: str, values: np.ndarray) -> None:
    if not right.all():
        place = tuple(int(k) for k in np.argwhere(~right)[0])
        raise ValueError(f"{what}, got {values[place]} at position {place}")


# Noise that is scaled and shifted -------------------------------------------------------------------------------------


def normal(
    shape: Shape, loc: Any = 0.0, scale: Any = 1.0, *, generator: np.random.Generator, dtype: Any = None
) -> Tensor:
    """Draw from normal distributions, ``loc + scale * ε``; gradients reach `loc` and `scale`.

    Parameters
    ----------
    shape : int or tuple of int
        Of the result.
    loc, scale : number or tensor
        Mean and standard deviation, which must not be negative; tensors are broadcast to `shape`.
    generator : numpy.random.Generator
        Where the randomness comes from. It is drawn from anew each time that a recorded graph or a compiled program
        runs, in the recorded order, and not while a function is traced.
    dtype : dtype, optional
        A float dtype; by default that of `loc` and `scale` where they are tensors or arrays, else float32.

    Raises
    ------
    ShapeError
        If a parameter does not broadcast to `shape`.
    TypeError
        If the generator is none, or the shape is not made of integers.
    ValueError
        If a scale is negative or NaN: at once, or when the program runs.

    Examples
    --------
    The latent code of a variational autoencoder, differentiated through the noise:

    >>> import numpy as np, tinygrad_rnn as tg
    >>> rng = np.random.default_rng(0)
    >>> mean, deviation = tg.zeros((2, 3)), tg.ones((2, 3))
    >>> z = tg.random.normal((2, 3), mean, deviation, generator=rng)
    >>> bool((tg.grad(z.sum(), deviation).numpy() == z.numpy()).all())
    True
    """
    return _scaled(NORMAL, shape, loc, scale, generator, dtype)


def gumbel(
    shape: Shape, loc: Any = 0.0, scale: Any = 1.0, *, generator: np.random.Generator, dtype: Any = None
) -> Tensor:
    """Draw from Gumbel distributions, ``loc + scale * γ``; gradients reach `loc` and `scale`.

    Parameters
    ----------
    shape, loc, scale, generator, dtype
        As for :func:`normal`; `loc` is the mode.

    Examples
    --------
    A choice that is relaxed to a softmax and can be differentiated (Jang, Gu and Poole, 2017):

    >>> import numpy as np, tinygrad_rnn as tg
    >>> logits, rng = tg.zeros(3), np.random.default_rng(0)
    >>> choice = tg.softmax((logits + tg.random.gumbel(3, generator=rng)) / 0.1)
    >>> round(choice.sum().item(), 5)
    1.0
    """
    return _scaled(GUMBEL, shape, loc, scale, generator, dtype)


def uniform(
    shape: Shape, low: Any = 0.0, high: Any = 1.0, *, generator: np.random.Generator, dtype: Any = None
) -> Tensor:
    """Draw evenly from ``[low, high)``, ``low + (high - low) * u``; gradients reach `low` and `high`.

    Parameters
    ----------
    shape, generator, dtype
        As for :func:`normal`.
    low, high : number or tensor
        Ends of the interval, broadcast to `shape`; rounding may give `high` itself.

    Raises
    ------
    ValueError
        If `high` is below `low`, or one of them is NaN: at once, or when the program runs.

    Examples
    --------
    >>> import numpy as np, tinygrad_rnn as tg
    >>> u = tg.random.uniform(1000, -1.0, 1.0, generator=np.random.default_rng(0))
    >>> bool((u >= -1).all()), bool((u < 1).all())
    (True, True)
    """
    sizes, (low, high), dtype = _given("uniform", shape, generator, dtype, low=low, high=high)
    width = _nonnegative(high - low, "uniform: high - low")
    return _shifted(_noise(UNIFORM, sizes, generator, dtype), low, width)


def _scaled(op: Op, shape: Any, loc: Any, scale: Any, generator: Any, dtype: Any) -> Tensor:
    sizes, (loc, scale), dtype = _given(op.name, shape, generator, dtype, loc=loc, scale=scale)
    scale = _nonnegative(scale, f"{op.name}: scale")
    return _shifted(_noise(op, sizes, generator, dtype), loc, scale)


def _noise(op: Op, shape: tuple[int, ...], generator: np.random.Generator, dtype: np.dtype) -> Tensor:
    return _drawn(op, {"shape": shape, "dtype": dtype, "generator": generator})


def _shifted(noise: Tensor, loc: Any, scale: Any) -> Tensor:
    scaled = noise if _is(scale, 1) else scale * noise
    return scaled if _is(loc, 0) else loc + scaled


def _is(value: Any, number: float) -> bool:
    return isinstance(value, float) and value == number


def _nonnegative(value: Any, what: str) -> Any:
    """A number or a tensor, checked: a tensor each time that it is computed."""
    if isinstance(value, Tensor):
        return apply(NONNEGATIVE, (value,), {"what": what})
    if not value >= 0:
        raise ValueError(f"{what} must be at least 0, got {value}")
    return value


# Zeros and ones, classes, orders --------------------------------------------------------------------------------------


def bernoulli(
    shape: Shape, p: Any = 0.5, *, generator: np.random.Generator, dtype: Any = DEFAULT_FLOAT
) -> Tensor:
    """Draw ones with probability `p`, else zeros. They have no gradient.

    Parameters
    ----------
    shape, generator
        As for :func:`normal`.
    p : number or tensor
        Probability of a one, broadcast to `shape`.
    dtype : dtype
        Any that tensors have, also bool. Unless it is float64, probabilities count to 2⁻²⁴.

    Raises
    ------
    ValueError
        If a probability is NaN or does not lie between 0 and 1: at once, or when the program runs.

    Examples
    --------
    >>> import numpy as np, tinygrad_rnn as tg
    >>> tg.random.bernoulli(4, [0.0, 0.0, 1.0, 1.0], generator=np.random.default_rng(0)).tolist()
    [0.0, 0.0, 1.0, 1.0]
    """
    check_generator("bernoulli", generator)
    sizes, dtype = _sizes("bernoulli", shape), np.dtype(dtype)
    check_dtype(dtype)
    if isinstance(p, _NUMBERS):
        if not 0 <= p <= 1:
            raise ValueError(f"bernoulli: p must lie between 0 and 1, got {p}")
        return _drawn(BERNOULLI, {"p": float(p), "shape": sizes, "dtype": dtype, "generator": generator})
    p = as_float(p)
    _check_broadcast("bernoulli", "p", p, p.shape, sizes)
    return apply(BERNOULLI_OF, (p, _noise(UNIFORM, sizes, generator, _precision(dtype))), {"dtype": dtype})


def categorical(
    logits: Any, shape: Shape | None = None, *, axis: int = -1, generator: np.random.Generator
) -> Tensor:
    """Draw classes with the probabilities ``softmax(logits)``. They have no gradient.

    Parameters
    ----------
    logits : tensor
        Logarithms of probabilities, up to a constant; minus infinity for what is never drawn.
    shape : int or tuple of int, optional
        Of the result; by default the shape of `logits` without `axis`, which must broadcast to it.
    axis : int
        Where the classes are.
    generator : numpy.random.Generator
        As for :func:`normal`.

    Returns
    -------
    Tensor of int64

    Raises
    ------
    ValueError
        If the largest of the logits along `axis` is not finite, or one is NaN: at once, or when the program runs.

    Examples
    --------
    >>> import numpy as np, tinygrad_rnn as tg
    >>> logits = tg.log([0.0, 0.25, 0.75])
    >>> drawn = tg.random.categorical(logits, 1000, generator=np.random.default_rng(0))
    >>> np.bincount(drawn.numpy()).tolist()
    [0, 260, 740]
    """
    check_generator("categorical", generator)
    logits = as_float(logits)
    place = normalize_axes("categorical", (axis,), logits.ndim, logits)[0]
    logits = logits if place == logits.ndim - 1 else moveaxis(logits, place, -1)
    if not logits.shape[-1]:
        raise refused((logits,), "categorical: there is no class to be drawn", expected="an axis of one class or more")
    lead = logits.shape[:-1]
    sizes = lead if shape is None else _sizes("categorical", shape)
    _check_broadcast("categorical", "logits", logits, lead, sizes)
    noise = _noise(GUMBEL, (*sizes, logits.shape[-1]), generator, np.dtype(np.float64))
    return apply(CATEGORICAL, (logits, noise))


def permutation(x: Any, *, axis: int = 0, generator: np.random.Generator) -> Tensor:
    """Draw an order: of the numbers below `x`, or of what lies along an axis of `x`.

    Parameters
    ----------
    x : int or tensor
        How many; or what is to be put into another order, through which gradients flow.
    axis : int
    generator : numpy.random.Generator
        As for :func:`normal`.

    Examples
    --------
    >>> import numpy as np, tinygrad_rnn as tg
    >>> rng = np.random.default_rng(0)
    >>> tg.random.permutation(4, generator=rng).tolist()
    [2, 0, 1, 3]
    >>> sorted(tg.random.permutation([5.0, 6.0, 7.0], generator=rng).tolist())
    [5.0, 6.0, 7.0]
    """
    check_generator("permutation", generator)
    if isinstance(x, int | np.integer) and not isinstance(x, bool):
        return _order(int(x), generator)
    x = as_tensor(x)
    if not x.ndim:
        raise refused((x,), "permutation: the tensor has no axis", expected="an int, or a tensor with an axis")
    axis = normalize_axes("permutation", (axis,), x.ndim, x)[0]
    return take(x, _order(x.shape[axis], generator), axis)


def _order(n: int, generator: np.random.Generator) -> Tensor:
    if n < 0:
        raise ValueError(f"permutation: the number must not be negative, got {n}")
    return _drawn(PERMUTATION, {"n": n, "generator": generator})


# What is given --------------------------------------------------------------------------------------------------------


def check_generator(name: str, generator: Any) -> None:
    """Raise unless random numbers can be drawn from it."""
    if not isinstance(generator, np.random.Generator):
        raise TypeError(
            f"{name}: expected a numpy.random.Generator, got {type(generator).__name__}; "
            "make one with np.random.default_rng(seed)"
        )


def _given(
    name: str, shape: Any, generator: Any, dtype: Any, **parameters: Any
) -> tuple[tuple[int, ...], list[Any], np.dtype]:
    """Shape, parameters and dtype of a draw; numbers stay numbers, tensors get the dtype."""
    check_generator(name, generator)
    sizes = _sizes(name, shape)
    values = {k: float(v) if isinstance(v, _NUMBERS) else as_float(v) for k, v in parameters.items()}
    tensors = {k: v for k, v in values.items() if isinstance(v, Tensor)}
    for k, t in tensors.items():
        _check_broadcast(name, k, t, t.shape, sizes)
    if dtype is None:
        dtype = result_dtype([t.dtype for t in tensors.values()]) if tensors else DEFAULT_FLOAT
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise fail(DTypeError, f"{name}: dtype", expected="float32 or float64", got=str(dtype))
    return sizes, [cast(v, dtype) if isinstance(v, Tensor) else v for v in values.values()], dtype


def _sizes(name: str, shape: Any) -> tuple[int, ...]:
    sizes = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
    if not all(isinstance(n, int | np.integer) and not isinstance(n, bool) for n in sizes):
        raise fail(TypeError, f"{name}: the shape", expected="an int, or a tuple of ints", got=repr(shape))
    if min(sizes, default=0) < 0:
        raise fail(ShapeError, f"{name}: the shape", expected="sizes that are not negative", got=repr(shape))
    return tuple(int(n) for n in sizes)


def _check_broadcast(name: str, what: str, t: Tensor, shape: tuple[int, ...], sizes: tuple[int, ...]) -> None:
    missing = len(sizes) - len(shape)
    if missing < 0 or any(n not in (1, size) for n, size in zip(shape, sizes[max(missing, 0) :], strict=False)):
        raise refused(
            (t,), f"{name}: {what}, {describe(t)}, does not broadcast to the shape {sizes}",
            hint="the shape is that of the result: pass the common shape of all parameters",
        )  # fmt: skip
