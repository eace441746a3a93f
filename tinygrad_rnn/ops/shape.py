"""Changes of shape. Reshapes, transposes, broadcasts and slices are NumPy views and free; joins and paddings copy."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from math import prod
from operator import index
from typing import Any

import numpy as np

from ..errors import ShapeError, fail
from ..tensor import Op, Spec, Tensor
from .core import apply, as_tensor, check_fits, define, is_axis, is_shape, of_one_dtype, promoted, refused

__all__ = [
    "broadcast_to", "chunk", "concatenate", "expand", "expand_dims", "flatten", "flip", "moveaxis", "pad", "repeat",
    "reshape", "roll", "split", "squeeze", "stack", "swapaxes", "tile", "transpose",
]  # fmt: skip


def normalize_axes(name: str, axis: Any, ndim: int, *inputs: Tensor) -> tuple[int, ...]:
    """Axes as a sorted tuple of non-negative integers; all of them for None."""
    if axis is None:
        return tuple(range(ndim))
    if type(axis) is int and -ndim <= axis < ndim:
        return (axis % ndim,)
    axes = tuple(axis) if isinstance(axis, tuple | list) else (axis,)
    for a in axes:
        if not isinstance(a, int | np.integer) or isinstance(a, bool) or not -ndim <= a < ndim:
            raise refused(
                inputs, f"{name}: {a!r} is not an axis of a tensor with {ndim} axes",
                expected=f"integers from {-ndim} to {ndim - 1}" if ndim else "no axis: the tensor holds one value",
                got=repr(axis),
            )  # fmt: skip
    positive = sorted(int(a) % ndim for a in axes)
    if len(set(positive)) < len(positive):
        raise refused(inputs, f"{name}: an axis is named twice", got=repr(axis))
    return tuple(positive)


def _one_axis(name: str, axis: Any, ndim: int, *inputs: Tensor) -> int:
    if type(axis) is int and -ndim <= axis < ndim:
        return axis % ndim
    return normalize_axes(name, (axis,), ndim, *inputs)[0]


def reduced_shape(shape: tuple[int, ...], axis: tuple[int, ...], keepdims: bool) -> tuple[int, ...]:
    """`shape` without the axes, or with them as 1."""
    if keepdims:
        return tuple([1 if k in axis else n for k, n in enumerate(shape)])
    return tuple([n for k, n in enumerate(shape) if k not in axis])


# Reshape --------------------------------------------------------------------------------------------------------------

RESHAPE = define(
    "reshape",
    run=lambda x, shape: x.reshape(shape),
    shape=lambda x, shape: Spec(shape, x.dtype),
    vjp=(lambda g, y, x, shape: g.reshape(x.shape),),
    jvp="linear",
    formula=r"\mathrm{{reshape}}({0})",
    plain=True,
    takes=lambda x, *, shape: is_shape(shape) and prod(shape) == x.size,
)


def reshape(x: Any, *shape: Any) -> Tensor:
    """The same values in the same order under another shape; one size may be -1 and is worked out.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.reshape(tg.arange(6), (2, -1)).shape
    (2, 3)
    """
    x = as_tensor(x)
    target = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape
    target = _complete(x, tuple([int(index(n)) for n in target]))
    return apply(RESHAPE, (x,), {"shape": target})


def _complete(x: Tensor, shape: tuple[int, ...]) -> tuple[int, ...]:
    known, unknown = 1, 0
    for n in shape:
        if n == -1:
            unknown += 1
        else:
            known *= n
    fits = x.size % known == 0 if unknown and known else x.size == known
    if unknown > 1 or not fits or (unknown and not known) or min(shape, default=0) < -1:
        raise refused(
            (x,), f"reshape: {x.shape} -> {shape}",
            expected=f"sizes whose product is {x.size}, at most one of them -1",
            got=f"product {known}" + (f" with {unknown} unknown" if unknown else ""),
        )  # fmt: skip
    return tuple([x.size // known if n == -1 else n for n in shape]) if unknown else shape


def flatten(x: Any) -> Tensor:
    """All values along one axis.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.flatten([[1, 2], [3, 4]]).tolist()
    [1, 2, 3, 4]
    """
    return reshape(x, (-1,)) if as_tensor(x).size else reshape(x, (0,))


def expand_dims(x: Any, axis: int | tuple[int, ...]) -> Tensor:
    """Insert an axis of size 1 at position `axis` of the result, or at each of several positions.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.expand_dims(tg.ones(3), 0).shape, tg.expand_dims(tg.ones(3), (0, -1)).shape
    ((1, 3), (1, 3, 1))
    """
    x = as_tensor(x)
    if not isinstance(axis, tuple | list):
        k = _one_axis("expand_dims", axis, x.ndim + 1, x)
        return reshape(x, (*x.shape[:k], 1, *x.shape[k:]))
    ndim = x.ndim + len(axis)
    axes, sizes = normalize_axes("expand_dims", axis, ndim, x), iter(x.shape)
    return reshape(x, tuple(1 if k in axes else next(sizes) for k in range(ndim)))


def squeeze(x: Any, axis: int | tuple[int, ...] | None = None) -> Tensor:
    """Remove axes of size 1: those named, or all of them.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.squeeze(tg.ones((1, 3, 1))).shape
    (3,)
    """
    x = as_tensor(x)
    axes = normalize_axes("squeeze", axis, x.ndim, x)
    if axis is None:
        axes = tuple(k for k in axes if x.shape[k] == 1)
    wide = [k for k in axes if x.shape[k] != 1]
    if wide:
        raise refused((x,), f"squeeze: axis {wide[0]} of {x.shape}", expected="size 1", got=str(x.shape[wide[0]]))
    return reshape(x, reduced_shape(x.shape, axes, False))


# Order of axes --------------------------------------------------------------------------------------------------------

TRANSPOSE = define(
    "transpose",
    run=lambda x, axes: x.transpose(axes),
    shape=lambda x, axes: Spec(tuple(x.shape[k] for k in axes), x.dtype),
    vjp=(lambda g, y, x, axes: g.transpose(tuple(int(k) for k in np.argsort(axes))),),
    jvp="linear",
    formula=r"{0}^\top",
    plain=True,
    symbol="ᵀ",
    takes=lambda x, *, axes: all(is_axis(k, x.ndim) for k in axes) and len(set(axes)) == len(axes) == x.ndim,
)


def transpose(x: Any, *axes: Any) -> Tensor:
    """Reorder the axes; reverse them when none are given.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.transpose(tg.ones((2, 3, 4)), (0, 2, 1)).shape
    (2, 4, 3)
    """
    x = as_tensor(x)
    order = axes[0] if len(axes) == 1 and (axes[0] is None or isinstance(axes[0], tuple | list)) else axes
    if not order:
        if x.ndim and order == () and len(axes) == 1:
            raise refused((x,), "transpose: no axes named", expected=f"a permutation of {x.ndim} axes")
        order = tuple(range(x.ndim))[::-1]
    elif len(order) != x.ndim:
        raise refused(
            (x,), f"transpose: {len(order)} axes named for shape {x.shape}",
            expected=f"a permutation of {x.ndim} axes", got=str(order),
        )  # fmt: skip
    else:
        normalize_axes("transpose", order, x.ndim, x)
        order = tuple(int(k) % x.ndim for k in order)
    return apply(TRANSPOSE, (x,), {"axes": order})


def swapaxes(x: Any, first: int, second: int) -> Tensor:
    """Exchange two axes.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.swapaxes(tg.ones((2, 3, 4)), 0, -1).shape
    (4, 3, 2)
    """
    x = as_tensor(x)
    a, b = _one_axis("swapaxes", first, x.ndim, x), _one_axis("swapaxes", second, x.ndim, x)
    order = list(range(x.ndim))
    order[a], order[b] = b, a
    return apply(TRANSPOSE, (x,), {"axes": tuple(order)})


def moveaxis(x: Any, source: int | tuple[int, ...], destination: int | tuple[int, ...]) -> Tensor:
    """Move an axis to another position, or each of several, the others keeping their order.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.moveaxis(tg.ones((2, 3, 4)), 0, -1).shape, tg.moveaxis(tg.ones((2, 3, 4)), (0, 1), (2, 1)).shape
    ((3, 4, 2), (4, 3, 2))
    """
    x = as_tensor(x)
    moved, places = _each_axis("moveaxis", source, x), _each_axis("moveaxis", destination, x)
    if len(moved) != len(places):
        raise refused((x,), "moveaxis: an axis for each position", expected=f"{len(moved)}", got=f"{len(places)}")
    order = [k for k in range(x.ndim) if k not in moved]
    for b, a in sorted(zip(places, moved, strict=True)):
        order.insert(b, a)
    return apply(TRANSPOSE, (x,), {"axes": tuple(order)})


def _each_axis(name: str, axis: Any, x: Tensor) -> list[int]:
    """The axes in the order in which they are named."""
    if not isinstance(axis, tuple | list):
        return [_one_axis(name, axis, x.ndim, x)]
    normalize_axes(name, axis, x.ndim, x)
    return [int(k) % x.ndim for k in axis]


# Broadcasting and repetition ------------------------------------------------------------------------------------------

BROADCAST = define(
    "broadcast_to",
    run=lambda x, shape: np.broadcast_to(x, shape),
    shape=lambda x, shape: Spec(shape, x.dtype),
    vjp=(lambda g, y, x, shape: g,),  # the engine sums over what was broadcast
    jvp="linear",
    formula=r"\mathrm{{broadcast}}({0})",
    plain=True,
    takes=lambda x, *, shape: is_shape(shape) and _broadcasts(x.shape, shape),
)


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    return len(to) >= len(shape) and all(n in (1, m) for n, m in zip(shape[::-1], to[::-1], strict=False))


def broadcast_to(x: Any, shape: Any) -> Tensor:
    """Repeat along axes of size 1, and along new leading axes, without copying.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.broadcast_to([1.0, 2.0], (2, 2)).tolist()
    [[1.0, 2.0], [1.0, 2.0]]
    """
    x = as_tensor(x)
    shape = tuple([int(index(n)) for n in ((shape,) if isinstance(shape, int | np.integer) else shape)])
    if shape == x.shape:
        return x
    if not _broadcasts(x.shape, shape) or min(shape) < 0:
        raise refused((x,), f"broadcast_to: {x.shape} -> {shape}", expected="axes that are equal, or 1 in the first")
    return apply(BROADCAST, (x,), {"shape": shape})


def expand(x: Any, *shape: int) -> Tensor:
    """:func:`broadcast_to` where -1 keeps a size.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.expand(tg.ones((3, 1)), -1, 4).shape
    (3, 4)
    """
    x = as_tensor(x)
    target = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape
    lead = len(target) - x.ndim
    if lead < 0 or -1 in target[:lead]:
        raise refused((x,), f"expand: {x.shape} -> {target}", expected="-1 only for axes that there are")
    return broadcast_to(x, tuple(x.shape[k - lead] if n == -1 else n for k, n in enumerate(target)))


def tile(x: Any, reps: int | Sequence[int]) -> Tensor:
    """Repeat the whole tensor along each axis, as often as `reps` says.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.tile([1, 2], 2).tolist()
    [1, 2, 1, 2]
    """
    x = as_tensor(x)
    times = tuple(index(n) for n in (reps if isinstance(reps, tuple | list) else (reps,)))
    if min(times, default=0) < 0:
        raise refused((x,), "tile: repetitions must not be negative", got=str(times))
    ndim = max(x.ndim, len(times))
    times = (1,) * (ndim - len(times)) + times
    sizes = (1,) * (ndim - x.ndim) + x.shape
    between = reshape(x, tuple(n for size in sizes for n in (1, size)))
    wide = broadcast_to(between, tuple(n for pair in zip(times, sizes, strict=True) for n in pair))
    return reshape(wide, tuple(t * n for t, n in zip(times, sizes, strict=True)))


def repeat(x: Any, repeats: int | Sequence[int], axis: int | None = None) -> Tensor:
    """Repeat each entry along `axis` (of the flattened tensor by default); one count, or one per entry.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.repeat([1, 2], [2, 1]).tolist()
    [1, 1, 2]
    """
    x = as_tensor(x)
    if axis is None:
        x, axis = flatten(x), 0
    k = _one_axis("repeat", axis, x.ndim, x)
    counts = np.asarray(repeats)
    if counts.dtype.kind not in "iu" or counts.ndim > 1 or (counts.size and counts.min() < 0):
        raise refused((x,), "repeat: counts must be integers that are not negative", got=repr(repeats))
    if counts.ndim and counts.shape[0] not in (1, x.shape[k]):
        raise refused((x,), f"repeat: axis {k} of {x.shape}", expected=f"{x.shape[k]} counts", got=str(len(counts)))
    places = np.repeat(np.arange(x.shape[k]), counts)
    return x[(slice(None),) * k + (places,)]


# Joining --------------------------------------------------------------------------------------------------------------


def _concatenate_shape(*specs: Spec, axis: int) -> Spec:
    first = specs[0]
    for k, s in enumerate(specs):
        if s.ndim != first.ndim or any(a != b for j, (a, b) in enumerate(zip(s.shape, first.shape)) if j != axis):
            raise fail(
                ShapeError, f"concatenate: input {k} has shape {s.shape}, input 0 has {first.shape}",
                expected=f"equal sizes on every axis but {axis}",
            )  # fmt: skip
    joined = sum(s.shape[axis] for s in specs)
    return Spec((*first.shape[:axis], joined, *first.shape[axis + 1 :]), first.dtype)


def _concatenate_vjp(wanted: list[int], g: Tensor, y: Tensor, *inputs: Tensor, axis: int) -> list[Tensor]:
    ends = list(accumulate(t.shape[axis] for t in inputs))
    lead = (slice(None),) * axis
    return [g[(*lead, slice(ends[i] - inputs[i].shape[axis], ends[i]))] for i in wanted]


CONCATENATE = define(
    "concatenate",
    run=lambda *arrays, axis: np.concatenate(arrays, axis),
    shape=_concatenate_shape,
    vjp=_concatenate_vjp,
    jvp="linear",
    formula=r"[{0}; \ldots]",
    plain=True,
    symbol="concat",
    takes=lambda *specs, axis: is_axis(axis, specs[0].ndim) and of_one_dtype(*specs),
)


def concatenate(tensors: Sequence[Any], axis: int = 0) -> Tensor:
    """Join tensors along an axis that they have.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.concatenate([[1.0], [2.0, 3.0]]).tolist()
    [1.0, 2.0, 3.0]
    """
    inputs = _joinable("concatenate", tensors)
    return apply(CONCATENATE, inputs, {"axis": _one_axis("concatenate", axis, inputs[0].ndim, *inputs)})


def _joinable(name: str, tensors: Sequence[Any]) -> tuple[Tensor, ...]:
    if not len(tensors):
        raise refused((), f"{name}: no tensors given", expected="at least one")
    inputs = tuple([t if isinstance(t, Tensor) else as_tensor(t) for t in tensors])
    dtype = inputs[0].dtype
    return promoted(tuple(tensors)) if any(t.dtype != dtype for t in inputs) else inputs


def _stack_shape(*specs: Spec, axis: int) -> Spec:
    first = specs[0]
    for k, s in enumerate(specs):
        if s.shape != first.shape:
            raise fail(
                ShapeError, f"stack: input {k} has shape {s.shape}, input 0 has {first.shape}", expected="equal shapes"
            )
    return Spec((*first.shape[:axis], len(specs), *first.shape[axis:]), first.dtype)


STACK = define(
    "stack",
    run=lambda *arrays, axis: np.stack(arrays, axis),
    shape=_stack_shape,
    vjp=lambda wanted, g, y, *inputs, axis: [g[(slice(None),) * axis + (i,)] for i in wanted],
    jvp="linear",
    formula=r"[{0}, \ldots]",
    plain=True,
    takes=lambda *specs, axis: is_axis(axis, specs[0].ndim + 1) and of_one_dtype(*specs),
)


def stack(tensors: Sequence[Any], axis: int = 0) -> Tensor:
    """Join tensors of one shape along a new axis.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.stack([tg.zeros(3), tg.ones(3)], axis=1).shape
    (3, 2)
    """
    inputs = _joinable("stack", tensors)
    return apply(STACK, inputs, {"axis": _one_axis("stack", axis, inputs[0].ndim + 1, *inputs)})


def split(x: Any, sections: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    """Cut along `axis`: into `sections` equal parts, or before each of the given positions, as in NumPy.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> [t.tolist() for t in tg.split(tg.arange(4), [1, 3])]
    [[0], [1, 2], [3]]
    """
    x = as_tensor(x)
    k = _one_axis("split", axis, x.ndim, x)
    if isinstance(sections, int | np.integer):
        if sections < 1 or x.shape[k] % sections:
            raise refused(
                (x,), f"split: axis {k} of {x.shape} into {sections} equal parts",
                expected=f"a divisor of {x.shape[k]}", hint="use tg.chunk for parts that may differ",
            )  # fmt: skip
        size = x.shape[k] // sections
        cuts = [size * (i + 1) for i in range(sections - 1)]
    else:
        cuts = [index(c) for c in sections]
    lead = (slice(None),) * k
    return [x[(*lead, slice(a, b))] for a, b in zip([0, *cuts], [*cuts, x.shape[k]], strict=True)]


def chunk(x: Any, chunks: int, axis: int = 0) -> list[Tensor]:
    """Cut along `axis` into `chunks` parts, the last of which may be smaller, or missing, as in PyTorch.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> [t.tolist() for t in tg.chunk(tg.arange(5), 2)]
    [[0, 1, 2], [3, 4]]
    """
    x = as_tensor(x)
    k = _one_axis("chunk", axis, x.ndim, x)
    if chunks < 1:
        raise refused((x,), "chunk: the number of parts must be positive", got=str(chunks))
    size = max(1, -(-x.shape[k] // chunks))
    return split(x, list(range(size, x.shape[k], size)), k)


# Order and padding ----------------------------------------------------------------------------------------------------


def flip(x: Any, axis: int | tuple[int, ...] | None = None) -> Tensor:
    """Reverse the order along `axis` (all axes by default).

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.flip([1, 2, 3]).tolist()
    [3, 2, 1]
    """
    x = as_tensor(x)
    axes = normalize_axes("flip", axis, x.ndim, x)
    return x[tuple(slice(None, None, -1) if k in axes else slice(None) for k in range(x.ndim))]


def roll(x: Any, shift: int | tuple[int, ...], axis: int | tuple[int, ...] | None = None) -> Tensor:
    """Move entries along `axis` by `shift` places, the last ones re-entering at the front.

    Without an axis the flattened tensor is rolled, and its shape restored. Of several shifts and axes each shift goes
    with its axis; a single one goes with all.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.roll([1, 2, 3], 1).tolist()
    [3, 1, 2]
    """
    x = as_tensor(x)
    if axis is None:
        return reshape(roll(flatten(x), shift, 0), x.shape)
    if isinstance(shift, tuple | list) or isinstance(axis, tuple | list):
        return _rolled(x, shift, axis)
    k = _one_axis("roll", axis, x.ndim, x)
    if not x.shape[k]:
        return x
    cut = -shift % x.shape[k]
    lead = (slice(None),) * k
    return concatenate([x[(*lead, slice(cut, None))], x[(*lead, slice(0, cut))]], k)


def _rolled(x: Tensor, shift: Any, axis: Any) -> Tensor:
    """Shifts and axes go together, as in NumPy, where an axis may occur twice."""
    axes = axis if isinstance(axis, tuple | list) else (axis,)
    shifts = shift if isinstance(shift, tuple | list) else (shift,)
    if len(axes) != len(shifts) and 1 not in (len(axes), len(shifts)):
        what = f"roll: {len(shifts)} shifts for {len(axes)} axes"
        raise refused((x,), what, expected="a shift for each axis, or one for all")
    count = max(len(axes), len(shifts)) if axes and shifts else 0
    for j in range(count):
        x = roll(x, shifts[j % len(shifts)], axes[j % len(axes)])
    return x


def _pad_run(x: np.ndarray, widths: tuple[tuple[int, int], ...], value: float) -> np.ndarray:
    out = np.full([n + a + b for n, (a, b) in zip(x.shape, widths, strict=True)], value, x.dtype)
    out[_inside(x.shape, widths)] = x
    return out


def _inside(shape: tuple[int, ...], widths: tuple[tuple[int, int], ...]) -> tuple[slice, ...]:
    return tuple([slice(a, a + n) for n, (a, _) in zip(shape, widths, strict=True)])


PAD: Op = define(
    "pad",
    run=_pad_run,
    shape=lambda x, widths, value: Spec(tuple(n + a + b for n, (a, b) in zip(x.shape, widths)), x.dtype),
    vjp=(lambda g, y, x, widths, value: g[_inside(x.shape, widths)],),
    jvp=lambda i, t, y, x, widths, value: apply(PAD, (t,), {"widths": widths, "value": 0.0}),
    formula=r"\mathrm{{pad}}({0})",
    plain=True,
    takes=lambda x, *, widths, value: (
        all(is_shape(pair) and len(pair) == 2 for pair in widths)
        and len(widths) == x.ndim
        and isinstance(value, int | float)
    ),
)


def pad(x: Any, widths: Any, value: float = 0.0) -> Tensor:
    """Put `value` before and after the entries: ``(before, after)`` for every axis, or a pair per axis.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.pad([1.0, 2.0], (1, 2)).tolist()
    [0.0, 1.0, 2.0, 0.0, 0.0]
    """
    x = as_tensor(x)
    try:
        pairs = tuple((index(a), index(b)) for a, b in np.broadcast_to(np.asarray(widths), (x.ndim, 2)))
    except ValueError:
        pairs = ((-1, -1),)
    if any(n < 0 for pair in pairs for n in pair):
        raise refused(
            (x,), f"pad: widths {widths!r} for shape {x.shape}",
            expected="(before, after), or one such pair per axis, none negative",
        )  # fmt: skip
    check_fits(value, x.dtype)
    return apply(PAD, (x,), {"widths": pairs, "value": value})
