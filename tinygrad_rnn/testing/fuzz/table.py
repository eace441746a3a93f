"""The operations that programs are made of: one line each.

A line holds the name, the source, and how operands and parameters are drawn. The same source runs on the engine, the
oracle, PyTorch and JAX under the package's names (see ``peers.py``), but where another is given; None where there
is none. Offsets such as 0.1317 keep values away from points where a derivative jumps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

__all__ = ["OPS", "Choices", "Operand", "Operation"]


class Choices(Protocol):
    """Where decisions come from: Hypothesis, or a generator of random numbers."""

    def integer(self, low: int, high: int) -> int: ...

    def choice(self, options: Sequence[Any]) -> Any: ...


class Operand(Protocol):
    """What is known of a value when an operation is drawn."""

    array: np.ndarray
    dtype: np.dtype
    bound: int


Drawn = tuple[tuple[int, ...], dict[str, Any]] | None
Draw = Callable[[Choices, Sequence[Any]], Drawn]
_SAME = "same"


@dataclass(frozen=True)
class Operation:
    """An entry of the table.

    Parameters
    ----------
    name, tg : str
        The source has ``{a}``, ``{b}``, ... for operands, ``{all}`` for a list of them, and names of parameters.
    draw : callable or None
        From choices and the values at hand to operands and parameters; None where nothing fits, or for those that are
        drawn in another way.
    oracle, torch, jax : str or None
        Other source; None where there is none.
    kinked : bool
        Whether a derivative jumps somewhere.

    Examples
    --------
    >>> from tinygrad_rnn.testing.fuzz.table import OPS
    >>> OPS["detach"].text("oracle"), OPS["detach"].text("jax")
    ('{a}.detach()', 'tg.detach({a})')
    """

    name: str
    tg: str
    draw: Draw | None
    oracle: str | None = _SAME
    torch: str | None = _SAME
    jax: str | None = _SAME
    kinked: bool = False

    def text(self, form: str) -> str | None:
        text = getattr(self, form)
        return self.tg if text is _SAME else text


# Operands -------------------------------------------------------------------------------------------------------------


def _one_of(c: Choices, fitting: list[int]) -> int | None:
    """A value, the late ones more often: a chain grows, and what was shared stays shared."""
    if not fitting:
        return None
    return c.choice(fitting[-3:] if c.integer(0, 1) else fitting)


def _pick(c: Choices, values: Sequence[Any], want: Callable[[Any], bool] = lambda v: True) -> int | None:
    return _one_of(c, [k for k, v in enumerate(values) if v.is_float and want(v)])


_filled = lambda v: v.size > 0
_rows = lambda v: v.ndim > 0 and v.size > 0


def _broadcast(s: tuple[int, ...], t: tuple[int, ...]) -> bool:
    return all(m == n or m == 1 or n == 1 for m, n in zip(s[::-1], t[::-1]))


def _unary(want: Callable[[Any], bool] = lambda v: True, **drawn: Callable[..., Any]) -> Draw:
    """One operand, and for each parameter a function of the choices and the operand."""

    def draw(c: Choices, values: Sequence[Any]) -> Drawn:
        k = _pick(c, values, want)
        if k is None:
            return None
        return (k,), {name: f(c, values[k]) for name, f in drawn.items()}

    return draw


def _binary(
    fits: Callable[[Any, Any], bool] = lambda a, b: _broadcast(a.shape, b.shape),
    want: Callable[[Any], bool] = lambda v: True,
    **drawn: Callable[..., Any],
) -> Draw:
    def draw(c: Choices, values: Sequence[Any]) -> Drawn:
        i = _pick(c, values, want)
        if i is None:
            return None
        j = _pick(c, values, lambda v: fits(values[i], v))
        return None if j is None else ((i, j), {name: f(c, values[i], values[j]) for name, f in drawn.items()})

    return draw


def _several(fits: Callable[[Any, Any], bool], want: Callable[[Any], bool] = lambda v: True, **drawn: Any) -> Draw:
    """Two to four operands that go with the first, some of them perhaps the same."""

    def draw(c: Choices, values: Sequence[Any]) -> Drawn:
        i = _pick(c, values, want)
        if i is None:
            return None
        fitting = [k for k, v in enumerate(values) if v.is_float and fits(values[i], v)]
        listed = (i, *(c.choice(fitting) for _ in range(c.integer(1, 3))))
        return listed, {name: f(c, values[i]) for name, f in drawn.items()}

    return draw


def _masked(want: Callable[[Any], bool] = lambda v: True) -> Draw:
    """A mask, and two values that it chooses between."""

    def draw(c: Choices, values: Sequence[Any]) -> Drawn:
        m = _one_of(c, [k for k, v in enumerate(values) if v.dtype.kind == "b"])
        if m is None:
            return None
        shape = values[m].shape
        i = _pick(c, values, lambda v: _broadcast(v.shape, shape))
        if i is None:
            return None
        shape = np.broadcast_shapes(shape, values[i].shape)
        j = _pick(c, values, lambda v: _broadcast(v.shape, shape))
        return None if j is None else ((m, i, j), {})

    return draw


def _with_indices(fits: Callable[[Any, Any], bool], **drawn: Any) -> Draw:
    """A float value, and indices that are smaller than one of its axes."""

    def draw(c: Choices, values: Sequence[Any]) -> Drawn:
        j = _one_of(c, [k for k, v in enumerate(values) if v.bound])
        i = None if j is None else _pick(c, values, lambda v: fits(v, values[j]))
        return None if i is None or j is None else ((i, j), {name: f(c, values[i]) for name, f in drawn.items()})

    return draw


def _of_kind(kind: str, count: int = 1) -> Draw:
    def draw(c: Choices, values: Sequence[Any]) -> Drawn:
        fitting = [k for k, v in enumerate(values) if v.dtype.kind == kind]
        i = _one_of(c, fitting)
        if i is None:
            return None
        others = [k for k in fitting if _broadcast(values[k].shape, values[i].shape)]
        return (i, *(c.choice(others) for _ in range(count - 1))), {}

    return draw


# Parameters -----------------------------------------------------------------------------------------------------------


def _axis(c: Choices, v: Any) -> int:
    return c.integer(0, v.ndim - 1) - (v.ndim if c.integer(0, 1) else 0)


def _axis_or_none(c: Choices, v: Any) -> int | None:
    return None if c.integer(0, 2) == 0 or not v.ndim else _axis(c, v)


def _axes(c: Choices, v: Any) -> Any:
    """None, one axis, or several; none at all is possible too."""
    kind = c.integer(0, 3)
    if kind == 0 or not v.ndim:
        return None
    return _axis(c, v) if kind < 3 else tuple(k for k in range(v.ndim) if c.integer(0, 1))


_flag = lambda c, v: bool(c.integer(0, 1))
_new_axis = lambda c, v: c.integer(-v.ndim - 1, v.ndim)
_either_axis = lambda c, a, b: _axis(c, a)


def _order(c: Choices, v: Any) -> tuple[int, ...]:
    left, order = list(range(v.ndim)), []
    while left:
        order.append(left.pop(c.integer(0, len(left) - 1)))
    return tuple(order)


def _shape(c: Choices, v: Any) -> tuple[int, ...]:
    n = v.size
    f = next((f for f in (3, 2) if n % f == 0), 1) if n else 1
    shapes = [(n,), (n, 1), (1, n), (f, n // f), (n // f, 1, f), (*v.shape, 1), (1, *v.shape), v.shape[::-1]]
    return c.choice([*shapes, (-1,), (f, -1)] if n else shapes)


def _wider(c: Choices, v: Any) -> tuple[int, ...]:
    stretched = tuple(c.choice([1, 2, 3]) if n == 1 else n for n in v.shape)
    return (c.choice([1, 2]), *stretched) if c.integer(0, 1) else stretched


def _squeezed(c: Choices, v: Any) -> Any:
    ones = [k for k, n in enumerate(v.shape) if n == 1]
    return c.choice([None, tuple(ones), *ones])


def _slice(c: Choices, n: int) -> Any:
    parts = [slice(None), slice(None, None, -1), slice(None, None, 2), slice(1, None), slice(-1, None), slice(None, -1),
             slice(None, None, -2), slice(1, 1)]  # fmt: skip
    return c.choice([*parts[:7], -1, 0, n - 1] if n else parts)


def _index(c: Choices, v: Any) -> tuple[Any, ...]:
    """Basic indexing: slices, integers, new axes, an ellipsis."""
    kind = c.integer(0, 4)
    if kind == 0 and v.ndim:
        return (Ellipsis, _slice(c, v.shape[-1]))
    if kind == 1:
        return c.choice([(None,), (Ellipsis, None), (slice(None), None) if v.ndim else (None,)])
    return tuple(_slice(c, n) for n in v.shape[: c.integer(1, v.ndim)]) if v.ndim else (Ellipsis,)


def _integers(c: Choices, n: int, shape: tuple[int, ...]) -> Any:
    if not shape:
        return c.integer(-n, n - 1)
    return tuple(_integers(c, n, shape[1:]) for _ in range(shape[0]))


def _arrays_index(c: Choices, v: Any) -> tuple[Any, ...]:
    """Integer arrays among slices: one, two side by side, or two with a slice between them."""
    shape = c.choice([(2,), (3,), (1,), (2, 2), (2, 1)])
    kind = c.integer(0, 3)
    if kind == 0 or v.ndim < 2:
        return (Ellipsis, _integers(c, v.shape[-1], shape))
    if kind == 1:
        return (_integers(c, v.shape[0], shape), _slice(c, v.shape[1]))
    if kind == 2 and v.ndim > 2:
        return (_integers(c, v.shape[0], shape), slice(None), _integers(c, v.shape[2], shape))
    return (_integers(c, v.shape[0], shape), _integers(c, v.shape[1], shape))


def _set_index(c: Choices, v: Any) -> tuple[Any, ...]:
    """Places that do not repeat, for what is written there."""
    last = c.integer(-1, v.shape[-1] - 1)
    ends = (last,) if last in (-1, v.shape[-1] - 1) else (last, -1)
    return (Ellipsis, c.choice([slice(None, None, -1), slice(None, 1), last, ends]))


_taken = lambda c, v: _integers(c, v.size, c.choice([(3,), (2, 2), (1,)]))


def _gathered(c: Choices, v: Any, axis: int) -> Any:
    return _integers(c, v.shape[axis], v.shape)


def _gather(c: Choices, values: Sequence[Any]) -> Drawn:
    k = _pick(c, values, _rows)
    if k is None:
        return None
    axis = c.integer(0, values[k].ndim - 1)
    n = values[k].shape[axis]
    return (k,), {"index": (frozen_abs(_integers(c, n, values[k].shape), n),), "axis": axis}


def frozen_abs(nested: Any, n: int) -> Any:
    """Indices without negative ones."""
    return tuple(frozen_abs(i, n) for i in nested) if isinstance(nested, tuple) else nested % n


def _split(c: Choices, values: Sequence[Any]) -> Drawn:
    k = _pick(c, values, lambda v: v.ndim > 0 and max(v.shape) > 1)
    if k is None:
        return None
    axis = c.choice([a for a, n in enumerate(values[k].shape) if n > 1])
    n = values[k].shape[axis]
    equal = [m for m in (4, 3, 2) if n % m == 0]
    sections: Any = c.choice(equal) if equal and c.integer(0, 1) else (c.integer(1, n - 1),)
    parts = sections if isinstance(sections, int) else 2
    return (k,), {"sections": sections, "axis": axis, "part": c.integer(0, parts - 1)}


def _matmul_fits(a: Any, b: Any) -> bool:
    inner = b.shape[0] if b.ndim == 1 else b.shape[-2] if b.ndim else None
    return b.ndim > 0 and a.shape[-1] == inner and _broadcast(a.shape[:-2], b.shape[:-2])


def _einsum(c: Choices, values: Sequence[Any]) -> Drawn:
    """Subscripts that fit two values of at most three axes, with one letter summed where sizes agree."""
    drawn = _binary(lambda a, b: 0 < b.ndim < 4, lambda v: 0 < v.ndim < 4)(c, values)
    if drawn is None:
        return None
    (i, j), _ = drawn
    first, second, known = "ijk"[: values[i].ndim], "", dict(zip("ijk", values[i].shape))
    for spare, n in zip("xyz", values[j].shape):
        same = [k for k in known if known[k] == n and k not in second]
        second += c.choice(same) if same and c.integer(0, 2) else spare
    letters = sorted(set(first + second))
    kept = "".join(letters[k] for k in _order(c, np.zeros((1,) * len(letters))) if c.integer(0, 2))
    return (i, j), {"subscripts": f"{first},{second}->{kept}"}


def _targets(c: Choices, v: Any) -> Any:
    return (frozen_abs(_integers(c, v.shape[-1], v.shape[:-1]), v.shape[-1]),)


def _mask(c: Choices, v: Any) -> Any:
    return tuple(bool(c.integer(0, 1)) for _ in range(v.shape[-1])) if v.ndim else True


_factor = lambda c, v: c.choice([0.5, -1.25, 2.0, 0.75])
_pads = lambda c, v: tuple((c.integer(0, 2), c.integer(0, 1)) for _ in range(v.ndim))
_reduction = lambda c, v: c.choice(["mean", "sum", "none"])
_features = lambda a, b: a.ndim > 0 and b.shape == a.shape[-1:]
_reduce: Any = {"axis": _axes, "keepdims": _flag}


def _layer_norm(c: Choices, values: Sequence[Any]) -> Drawn:
    k = _pick(c, values, _rows)
    fitting = [] if k is None else [j for j, v in enumerate(values) if v.is_float and v.shape == values[k].shape[-1:]]
    if k is None or not fitting:
        return None
    return (k, c.choice(fitting), c.choice(fitting)), {}


_ENTRIES = [
    # smooth, of one number
    *(Operation(name, f"tg.{name}({{a}})", _unary())
      for name in ("tanh", "sin", "cos", "sigmoid", "softplus", "erf", "gelu")),
    Operation("negative", "-{a}", _unary()),
    Operation("square", "{a} ** 2", _unary()),
    Operation("exp", "tg.exp(0.5 * {a})", _unary()),
    Operation("expm1", "tg.expm1({a} * 0.5)", _unary()),
    Operation("log", "tg.log({a} * {a} + 0.7)", _unary()),
    Operation("log1p", "tg.log1p({a} * {a})", _unary()),
    Operation("sqrt", "tg.sqrt({a} * {a} + 0.3)", _unary()),
    Operation("rsqrt", "tg.rsqrt({a} * {a} + 0.7)", _unary()),
    Operation("root", "(0.4 + {a} ** 2) ** 0.5", _unary()),
    Operation("power", "(1.3 + {a} * {a}) ** 1.7", _unary()),
    Operation("bell", "{a} / (1.5 + {a} * {a})", _unary()),
    Operation("reciprocal", "1.0 / (1.5 + {a} * {a})", _unary()),
    Operation("scale", "{a} * {factor}", _unary(factor=_factor)),
    Operation("shift", "{a} + {factor}", _unary(factor=_factor)),
    Operation("complement", "1 - {a}", _unary()),
    Operation("double", "{a} + {a}", _unary()),
    # kinked or stepped
    Operation("relu", "tg.relu({a} - 0.1317)", _unary(), kinked=True),
    Operation("leaky_relu", "tg.leaky_relu({a} + 0.1317, 0.2)", _unary(), kinked=True),
    Operation("abs", "tg.abs({a} + 0.0713)", _unary(), kinked=True),
    Operation("elu", "tg.elu({a} - 0.0913)", _unary(), kinked=True),
    Operation("clip", "tg.clip({a}, -0.5317, 0.4717)", _unary(), kinked=True),
    Operation("sign", "tg.sign({a} - 0.1317) * {a}", _unary(), kinked=True),
    Operation("floor", "tg.floor({a} * 2.0 + 0.1317) + {a}", _unary(), kinked=True),
    Operation("ceil", "tg.ceil({a} * 2.0 + 0.1317) * {a}", _unary(), kinked=True),
    Operation("round", "tg.round({a} * 2.0 + 0.1317) + {a}", _unary(), kinked=True),
    # of two numbers, with broadcasting
    Operation("add", "{a} + {b}", _binary()),
    Operation("subtract", "{a} - {b}", _binary()),
    Operation("multiply", "{a} * {b}", _binary()),
    Operation("divide", "{a} / (2 + {b} * {b})", _binary()),
    Operation("raised", "tg.power(1.2 + {a} * {a}, {b})", _binary()),
    Operation("maximum", "tg.maximum({a}, {b} + 0.1317)", _binary(), kinked=True),
    Operation("minimum", "tg.minimum({a} + 0.0713, {b})", _binary(), kinked=True),
    Operation("huber", "tg.huber_loss({a}, {b})", _binary(lambda a, b: a.shape == b.shape, _filled), kinked=True),
    Operation("mse", "tg.mse_loss({a}, {b})", _binary(lambda a, b: a.shape == b.shape, _filled)),
    Operation("bce", "tg.binary_cross_entropy_with_logits({a}, tg.sigmoid({b}))",
        _binary(lambda a, b: a.shape == b.shape, _filled)),
    # masks
    Operation("greater", "{a} > {b} + 0.1317", _binary(), kinked=True),
    Operation("positive", "{a} > 0.1317", _unary(), kinked=True),
    Operation("logical_not", "tg.logical_not({a})", _of_kind("b")),
    Operation("logical_and", "tg.logical_and({a}, {b})", _of_kind("b", 2)),
    Operation("where", "tg.where({a}, {b}, {c})", _masked()),
    Operation("masked_fill", "tg.masked_fill({a}, tg.tensor(np.array({mask}, bool)), 0.25)", _unary(mask=_mask)),
    Operation("where_constant", "tg.where(tg.tensor(np.array({mask}, bool)), {a}, 2 * {a})", _unary(mask=_mask)),
    Operation("where_greater", "tg.where({a} > 0.1317, {a}, {b})", _binary(), kinked=True),
    Operation("mask_times", "{a} * ({b} > 0.1317)", _binary(), kinked=True),
    # reductions
    *(Operation(n, f"tg.{n}({{a}}, {{axis}}, {{keepdims}})", _unary(**_reduce)) for n in ("sum", "prod")),
    *(Operation(n, f"tg.{n}({{a}}, {{axis}}, {{keepdims}})", _unary(_filled, **_reduce)) for n in
      ("mean", "var", "logsumexp")),
    *(Operation(n, f"tg.{n}({{a}}, {{axis}}, {{keepdims}})", _unary(_filled, **_reduce), kinked=True) for n in
      ("max", "min", "std")),
    Operation("norm", "tg.norm({a} + 0.3, 2, {axis}, {keepdims})", _unary(_filled, **_reduce), kinked=True),
    Operation("norm1", "tg.norm({a} + 0.0713, 1, {axis}, {keepdims})", _unary(_filled, **_reduce), kinked=True),
    Operation("cumsum", "tg.cumsum({a}, {axis})", _unary(_rows, axis=_axis_or_none)),
    Operation("argmax", "tg.argmax({a}, {axis})", _unary(_rows, axis=_axis_or_none), kinked=True),
    # views and copies in another order
    Operation("transpose", "tg.transpose({a}, {axes})", _unary(axes=_order)),
    Operation("T", "{a}.T", _unary(), torch="tg.transpose({a}, None)"),
    Operation("swapaxes", "tg.swapaxes({a}, 0, -1)", _unary(lambda v: v.ndim > 1)),
    Operation("moveaxis", "tg.moveaxis({a}, 0, -1)", _unary(lambda v: v.ndim > 1)),
    Operation("reshape", "tg.reshape({a}, {shape})", _unary(shape=_shape)),
    Operation("flatten", "tg.flatten({a})", _unary()),
    Operation("expand_dims", "tg.expand_dims({a}, {axis})", _unary(axis=_new_axis)),
    Operation("squeeze", "tg.squeeze({a}, {axis})", _unary(lambda v: 1 in v.shape, axis=_squeezed)),
    Operation("broadcast_to", "tg.broadcast_to({a}, {shape})", _unary(shape=_wider)),
    Operation("tile", "tg.tile({a}, {reps})", _unary(lambda v: v.ndim > 0, reps=lambda c, v: c.choice([2, 1]))),
    Operation("repeat", "tg.repeat({a}, 2, {axis})", _unary(lambda v: v.ndim > 0, axis=_axis_or_none)),
    Operation("flip", "tg.flip({a}, {axis})", _unary(axis=_axis_or_none)),
    Operation("roll", "tg.roll({a}, {shift}, {axis})",
        _unary(lambda v: v.ndim > 0, shift=lambda c, v: c.integer(-2, 2), axis=_axis_or_none)),
    Operation("pad", "tg.pad({a}, {widths})", _unary(lambda v: v.ndim > 0, widths=_pads)),
    # indexing
    Operation("slice", "{a}[{index}]", _unary(index=_index), torch="tg.getitem({a}, np.index_exp[{index}])"),
    Operation("pick", "{a}[{index}]", _unary(_rows, index=_arrays_index),
        torch="tg.getitem({a}, np.index_exp[{index}])"),
    Operation("lookup", "{a}[{b}]", _with_indices(lambda v, i: v.ndim > 0 and v.shape[0] >= i.bound)),
    Operation("take", "tg.take({a}, {b}, axis=-1)", _with_indices(lambda v, i: v.ndim > 0 and v.shape[-1] >= i.bound)),
    Operation("take_flat", "tg.take({a}, np.array({indices}))", _unary(_filled, indices=_taken)),
    Operation("gather", "tg.gather({a}, {index}, {axis})", _gather),
    Operation("one_hot", "tg.one_hot({b}, {a}.shape[0], {a}.dtype) @ {a}",
        _with_indices(lambda v, i: v.ndim == 2 and v.shape[0] >= i.bound)),
    Operation("set", "{a}.at[{index}].set({a}[{index}] * 3)", _unary(_rows, index=_set_index),
        torch="tg.put({a}, np.index_exp[{index}], 3)"),
    Operation("set_value", "{a}.at[{index}].set({b})", _binary(lambda a, b: b.ndim == 0, _rows, index=lambda c, a, b:
        _set_index(c, a)), torch=None),
    Operation("add_at", "{a}.at[{index}].add({a}[{index}] * 0.5)", _unary(_rows, index=_arrays_index), torch=None),
    Operation("add_value", "{a}.at[{index}].add({b})", _binary(lambda a, b: b.ndim == 0, _rows, index=lambda c, a, b:
        _arrays_index(c, a)), torch=None),
    # joins and parts
    Operation("stack", "tg.stack([{all}], {axis})", _several(lambda a, b: a.shape == b.shape, axis=_new_axis)),
    Operation("concatenate", "tg.concatenate([{all}], {axis})",
        _several(lambda a, b: a.shape == b.shape, lambda v: v.ndim > 0, axis=_axis)),
    Operation("join", "tg.concatenate([tg.flatten({a}), tg.flatten({b})])", _binary(lambda a, b: True)),
    Operation("entries", "tg.stack([{a}[k] for k in range(len({a}))][::-1])", _unary(lambda v: v.ndim and v.shape[0])),
    Operation("split", "tg.split({a}, {sections}, {axis})[{part}]", _split),
    Operation("rejoin", "tg.concatenate(tg.split({a}, {sections}, {axis})[::-1], {axis})",
        lambda c, values: (d := _split(c, values)) and (d[0], {k: v for k, v in d[1].items() if k != "part"})),
    # products
    Operation("matmul", "{a} @ {b}", _binary(_matmul_fits, lambda v: v.ndim > 0)),
    Operation("matmul_T", "{a} @ tg.swapaxes({b}, -1, -2)",
        _binary(lambda a, b: b.ndim > 1 and b.shape[-1] == a.shape[-1] and _broadcast(a.shape[:-2], b.shape[:-2]),
               lambda v: v.ndim > 0)),
    Operation("outer", "tg.outer({a}, {b})", _binary(lambda a, b: b.ndim == 1, lambda v: v.ndim == 1)),
    Operation("einsum", "tg.einsum({subscripts}, {a}, {b})", _einsum),
    # neural
    Operation("softmax", "tg.softmax({a}, {axis})", _unary(_rows, axis=_axis)),
    Operation("log_softmax", "tg.log_softmax({a}, {axis})", _unary(_rows, axis=_axis)),
    Operation("layer_norm", "tg.layer_norm({a})", _unary(_rows)),
    Operation("layer_norm_affine", "tg.layer_norm({a}, {b}, {c})", _layer_norm),
    Operation("cross_entropy", "tg.cross_entropy({a}, {index}, reduction={reduction})",
        _unary(_rows, index=_targets, reduction=_reduction)),
    Operation("cross_entropy_of", "tg.cross_entropy({a}, {b})",
        _with_indices(lambda v, i: v.ndim > 0 and v.size and v.shape[-1] >= i.bound and v.shape[:-1] == i.shape)),
    # types and histories
    Operation("float32", "{a}.astype(np.float32)", _unary(), torch="tg.astype({a}, np.float32)"),
    Operation("float64", "{a}.astype(np.float64)", _unary(), torch="tg.astype({a}, np.float64)"),
    Operation("to_integer", "{a} * ({a} * 2.0 + 0.1317).astype(np.int64)", _unary(), kinked=True,
        torch="{a} * tg.astype({a} * 2.0 + 0.1317, np.int64)"),
    Operation("detach", "{a}.detach()", _unary(), jax="tg.detach({a})"),
    Operation("detached_factor", "{a} * {b}.detach()", _binary(), jax="{a} * tg.detach({b})"),
    # cells of recurrent networks
    Operation("affine", "{a} @ {b} + {c} @ {d} + {e}", None),
    Operation("lstm_state", "tg.sigmoid(tg.split({a}, 4, -1)[1]) * {b} + tg.sigmoid(tg.split({a}, 4, -1)[0])"
        " * tg.tanh(tg.split({a}, 4, -1)[3])", None),
    Operation("lstm_output", "tg.sigmoid(tg.split({a}, 4, -1)[2]) * tg.tanh({b})", None),
    Operation("blend", "tg.sigmoid({a}) * {b} + (1 - tg.sigmoid({a})) * {c}", None),
    Operation("attend", "tg.einsum('tb,tbh->bh', tg.softmax(tg.sum({b} * {a}, -1), 0), {b})", None),
    Operation("state", "{a}_h{which}", None),  # a last state of a loop, which is a name of its own
    Operation("time_slice", "{a}[{index}]", None, torch="tg.getitem({a}, np.index_exp[{index}])"),
    # with steps inside of them
    Operation("checkpoint", "", None),
    Operation("loop", "", None),
]  # fmt: skip

OPS: dict[str, Operation] = {op.name: op for op in _ENTRIES}
