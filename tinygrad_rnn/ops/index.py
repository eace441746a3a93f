"""Indexing: slices (views), integer arrays (gathers), masks, and functional updates.

An index is split into a hashable template, kept with the op, and integer tensors, which are inputs of the node, so
that a traced function can index with its own inputs. Gathers and slices run in NumPy, which checks bounds; their
gradients accumulate into one buffer in the engine, through :class:`Placed`.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from math import prod
from typing import Any

import numpy as np

from ..errors import DTypeError, ShapeError, fail, without_mask
from ..kernels.compensated import FEW
from ..kernels.scatter import add_rows
from ..scope import current
from ..tensor import DEFAULT_FLOAT, Spec, Tensor, describe, leaf
from .broadcasting import stretched
from .checks import checked, look, of_classes
from .core import (
    apply,
    are_integers,
    as_tensor,
    check_dtype,
    define,
    is_dtype,
    is_shape,
    literal,
    of_one_dtype,
    refused,
)
from .elementwise import where
from .shape import normalize_axes, reshape

__all__ = ["gather", "masked_fill", "one_hot", "take"]

ARRAY = "array"  # stands in a template for the next integer tensor


@dataclass(slots=True)
class Placed:
    """A cotangent that is zero except at an index: what the gradient of an indexing is, before it is added up."""

    value: Any
    template: tuple[Any, ...]
    indices: tuple[Tensor, ...]


def fill(template: tuple[Any, ...], indices: tuple[np.ndarray, ...]) -> tuple[Any, ...]:
    """The index that NumPy understands."""
    if not indices:
        return template  # also a single integer, the index of most loops over time
    given = iter(indices)
    return tuple([next(given) if type(part) is str else part for part in template])


def _split(x: Tensor, index: Any) -> tuple[tuple[Any, ...], tuple[Tensor, ...]]:
    parts = index if isinstance(index, tuple) else (index,)
    template: list[Any] = []
    tensors: list[Tensor] = []
    for part in parts:
        if part is None or part is Ellipsis or (isinstance(part, slice | int) and not isinstance(part, bool)):
            template.append(_plain(part) if isinstance(part, slice) else int(part) if isinstance(part, int) else part)
        elif isinstance(part, np.integer):
            template.append(int(part))
        else:
            for array in _index_arrays(x, part):
                template.append(ARRAY)
                tensors.append(array)
    return tuple(template), tuple(tensors)


def _plain(part: slice) -> slice:
    if type(part.start) in _INDEX_TYPES and type(part.stop) in _INDEX_TYPES and type(part.step) in _INDEX_TYPES:
        return part
    return slice(*(None if n is None else operator.index(n) for n in (part.start, part.stop, part.step)))


_INDEX_TYPES = (int, type(None))


def _index_arrays(x: Tensor, part: Any) -> tuple[Tensor, ...]:
    dtype = np.int64 if isinstance(part, list) and not part else None
    t = part if isinstance(part, Tensor) else leaf(np.array(without_mask(part), dtype))
    if t.dtype.kind == "b":
        if t.is_symbolic or current().tracing is not None:
            t._check_value("the places where it is true")
        if not t.ndim:
            what = f"indexing {describe(x)} with one boolean among other indices"
            raise fail(DTypeError, what, hint="use None or tg.where")
        return tuple(leaf(places) for places in np.nonzero(t.data))
    if t.dtype.kind not in "iu":
        raise fail(
            DTypeError, f"indexing {describe(x)} with a tensor of dtype {t.dtype}", expected="integers or booleans",
            hint="convert the index with .astype(int)",
        )  # fmt: skip
    return (t,)


def getitem(x: Any, index: Any) -> Tensor:
    """``x[index]`` with integers, slices, None, ``...``, integer arrays and boolean masks, as in NumPy.

    Raises
    ------
    IndexError
        If an index is out of range: it says the position, the value and the axis.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> x = tg.reshape(tg.arange(6), 2, 3)
    >>> x[:, ::-1].tolist(), x[[0, 1], [2, 0]].tolist(), x[x > 3].tolist()
    ([[2, 1, 0], [5, 4, 3]], [2, 3], [4, 5])
    """
    x = as_tensor(x)
    if type(index) is int:
        return apply(SLICE, (x,), {"index": index})
    if _is_flag(index):  # NumPy's rule: a new axis, of one entry or of none
        x, index = reshape(x, (1, *x.shape)), reshape(index, (1,))
    _check_masks(x, index)
    template, tensors = _split(x, index)
    if not tensors:
        return apply(SLICE, (x,), {"index": template})
    _check_later("index", x, template, tensors)
    return apply(INDEX, (x, *tensors), {"index": template})


def rows_of(table: Tensor, indices: Tensor) -> Tensor:
    """``table[indices]`` for integers that were checked."""
    return apply(INDEX, (table, indices), {"index": (ARRAY,)})


def _check_later(name: str, x: Tensor, template: tuple[Any, ...], tensors: tuple[Tensor, ...]) -> None:
    """Record that the indices must be in range: in a recorded function nobody may look at what they pick."""
    if current().tracing is None:
        return
    for axis, array in _indexed_axes(x.shape, template, tensors):
        n = x.shape[axis]
        place = f"at position {{position}} is out of range for axis {axis} of size {n}"
        checked(array, -n, n, f"{name}: index {{value}} {place}")


def _indexed_axes(
    shape: tuple[int, ...], template: tuple[Any, ...], arrays: tuple[Any, ...]
) -> Iterator[tuple[int, Any]]:
    """Each index array with the axis that it picks from."""
    given, axis = iter(arrays), 0
    kept = sum(part is not None and part is not Ellipsis for part in template)
    for part in template:
        if part is Ellipsis:
            axis += len(shape) - kept
        elif part is not None:
            if type(part) is str and axis < len(shape):
                yield axis, next(given)
            axis += 1


def _is_flag(index: Any) -> bool:
    if isinstance(index, bool | np.bool_):
        return True
    return isinstance(index, Tensor | np.ndarray) and not index.ndim and index.dtype.kind == "b"


def _check_masks(x: Tensor, index: Any) -> None:
    """Refuse a mask of another shape than the axes that it covers; nonzero() would lose its shape."""
    parts = index if isinstance(index, tuple) else (index,)
    masks = [_mask_shape(part) for part in parts]
    if masks.count(None) == len(masks):
        return
    widths = [int(part is not None and part is not Ellipsis) if m is None else len(m) for part, m in zip(parts, masks)]
    axis = 0
    for part, shape, width in zip(parts, masks, widths):
        covered = x.shape[axis : axis + width]
        if shape not in (None, covered):
            raise fail(IndexError, f"indexing {describe(x)} with a mask", expected=f"shape {covered}", got=str(shape))
        axis += x.ndim - sum(widths) if part is Ellipsis else width


def _mask_shape(part: Any) -> tuple[int, ...] | None:
    if isinstance(part, list):
        part = np.asarray(part)
    return part.shape if isinstance(part, Tensor | np.ndarray) and part.dtype.kind == "b" else None


def result_shape(x: Spec, index: tuple[Any, ...], arrays: tuple[Spec, ...]) -> tuple[int, ...]:
    """The shape of the place that an index names."""
    zeros = tuple(np.broadcast_to(np.intp(0), a.shape) for a in arrays)
    return np.broadcast_to(np.empty((), bool), x.shape)[fill(index, zeros)].shape


def _index_shape(x: Spec, *arrays: Spec, index: tuple[Any, ...]) -> Spec:
    try:
        return Spec(result_shape(x, index, arrays), x.dtype)
    except IndexError as error:
        raise IndexError(f"indexing shape {x.shape}: {error}") from None


def _slice_run(x: np.ndarray, index: tuple[Any, ...]) -> Any:
    return x[index]


def _signed(arrays: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """Indices that NumPy does not take for negative: the largest uint64 would become -1."""
    most = np.iinfo(np.int64).max
    return tuple([np.minimum(a, most).astype(np.int64) if a.dtype == np.uint64 else a for a in arrays])


def _index_run(x: np.ndarray, *arrays: np.ndarray, index: tuple[Any, ...]) -> Any:
    arrays = _signed(arrays)
    try:
        return x[fill(index, arrays)]
    except IndexError as error:
        explained = _explain_index(x.shape, index, arrays)
        raise IndexError(f"index: {explained}" if explained else str(error)) from None


def _explain_index(shape: tuple[int, ...], index: tuple[Any, ...], arrays: tuple[np.ndarray, ...]) -> str:
    """Name the first index that is out of range, with its position and its axis."""
    for axis, array in _indexed_axes(shape, index, arrays):
        n = shape[axis]
        wrong = np.argwhere((array < -n) | (array >= n))
        if len(wrong):
            place = tuple(int(k) for k in wrong[0])
            return f"index {array[place]} at position {place} is out of range for axis {axis} of size {n}"
    return ""


def _is_template(index: Any, arrays: tuple[Spec, ...]) -> bool:
    """Whether this is an index as `_split` leaves it, with a place for each of the arrays."""
    return type(index) is tuple and all(map(_is_part, index)) and index.count(ARRAY) == len(arrays)


def _is_part(part: Any) -> bool:
    if isinstance(part, slice):
        return all(type(n) in _INDEX_TYPES for n in (part.start, part.stop, part.step))
    return type(part) is int or part is None or part is Ellipsis or part == ARRAY


SLICE = define(
    "slice",
    run=_slice_run,
    shape=_index_shape,
    vjp=(lambda g, y, x, index: Placed(g, index, ()),),
    jvp="linear",
    formula=r"{0}_{{[\cdot]}}",
    plain=True,
    symbol="[ ]",
    takes=lambda x, *, index: type(index) is int or _is_template(index, ()),
)
INDEX = define(
    "index",
    run=_index_run,
    shape=_index_shape,
    vjp=lambda wanted, g, y, x, *indices, index: [Placed(g, index, indices)],
    jvp="linear",
    formula=r"{0}_{{[{1}]}}",
    plain=True,
    symbol="[ ]",
    takes=lambda x, *arrays, index: bool(arrays) and _is_template(index, arrays) and are_integers(*arrays),
)

# Accumulation ---------------------------------------------------------------------------------------------------------


def add_at(target: np.ndarray, template: tuple[Any, ...], indices: tuple[np.ndarray, ...], value: np.ndarray) -> None:
    """``target[index] += value`` where an index that occurs twice counts twice; fastest for a `target` in C order."""
    if not indices:
        target[template] += value
        return
    try:
        places, width = _places(target.shape, template, _signed(indices))
    except IndexError as error:
        raise IndexError(_explain_index(target.shape, template, indices) or str(error)) from None
    if not places.size or 0 in target.shape:
        return
    row = target.shape[target.ndim - width :]
    whole = np.ascontiguousarray(target)
    flat = whole.reshape(-1, prod(row))
    rows = np.ascontiguousarray(np.broadcast_to(value, places.shape + row), target.dtype).reshape(-1, prod(row))
    if target.dtype.kind == "b":
        np.logical_or.at(flat, places.reshape(-1), rows)
    else:
        add_rows(flat, places.reshape(-1), rows)
    if whole is not target:
        target[...] = whole


def _places(
    shape: tuple[int, ...], template: tuple[Any, ...], indices: tuple[np.ndarray, ...]
) -> tuple[np.ndarray, int]:
    """What an index picks as numbers of rows, of so many axes each, of an array of this shape."""
    if len(indices) < len(template):  # slices between: every entry by itself
        index, width = fill(template, indices), 0
        numbers = [np.broadcast_to(o, shape)[index] for o in np.ogrid[tuple(slice(n) for n in shape)]]
    else:
        width = len(shape) - len(indices)
        numbers = [_from_start(i, n) for i, n in zip(indices, shape)]
    total, size = np.int64(0), 1
    for number, n in zip(reversed(numbers), reversed(shape[: len(shape) - width])):
        total, size = total + number * size, size * n
    return np.asarray(total), width


def _from_start(index: np.ndarray, n: int) -> np.ndarray:
    """Indices counted from the start; the length of an axis need not fit into their type."""
    index = index.astype(np.int64, copy=False)
    if index.size and (index.min() < -n or index.max() >= n):
        raise IndexError("index out of range")
    return np.where(index < 0, index + n, index)


def _assemble_run(*arrays: np.ndarray, shape: tuple[int, ...], places: Any) -> np.ndarray:
    dtype, given = arrays[0].dtype, iter(arrays)
    many = dtype.kind == "f" and is_crowded(shape, arrays)
    out = np.zeros(shape, np.float64 if many else dtype)
    with np.errstate(all="ignore"):
        for template in places:
            value = next(given)
            add_at(out, template, tuple(next(given) for part in template if type(part) is str), value)
        return out.astype(dtype, copy=False)


def is_crowded(shape: tuple[int, ...], given: Any) -> bool:
    """Whether so many values are added up that they are kept in float64 until all are there."""
    return sum(x.size for x in given) > FEW * prod(shape)


def _assemble_vjp(wanted: list[int], g: Tensor, y: Tensor, *inputs: Tensor, shape: Any, places: Any) -> list[Tensor]:
    found, position = {}, 0
    for template in places:
        count = sum(type(part) is str for part in template)
        found[position] = (template, inputs[position + 1 : position + 1 + count])
        position += 1 + count
    return [_at_place(g, *found[i]) for i in wanted]


def _at_place(g: Tensor, template: tuple[Any, ...], indices: tuple[Tensor, ...]) -> Tensor:
    return apply(INDEX, (g, *indices), {"index": template}) if indices else apply(SLICE, (g,), {"index": template})


def _assemble_takes(*specs: Spec, shape: Any, places: Any) -> bool:
    """Whether each value fits into its place, and each place has as many arrays as it names."""
    whole, given = Spec(shape, specs[0].dtype), iter(specs)
    for template in places:
        value = next(given)
        arrays = tuple(islice(given, template.count(ARRAY)))
        fits = _is_template(template, arrays) and are_integers(*arrays) and value.dtype == whole.dtype
        if not fits or not _fits(value, result_shape(whole, template, arrays)):
            return False
    return is_shape(shape) and next(given, None) is None


def _fits(value: Spec, place: tuple[int, ...]) -> bool:
    try:
        return stretched(place, value.shape) == place
    except ValueError:
        return False


ASSEMBLE = define(
    "assemble",
    run=_assemble_run,
    shape=lambda *specs, shape, places: Spec(shape, specs[0].dtype),
    vjp=_assemble_vjp,
    jvp="linear",
    formula=r"\sum_k \mathrm{{place}}({0}, \ldots)",
    takes=_assemble_takes,
)


def assemble(parts: list[Placed], shape: tuple[int, ...]) -> Tensor:
    """Zeros of `shape` with every part added at its index: one node however many parts there are."""
    inputs = tuple(t for part in parts for t in (part.value, *part.indices))
    places = tuple(part.template if type(part.template) is tuple else (part.template,) for part in parts)
    return apply(ASSEMBLE, inputs, {"shape": shape, "places": places})


# Functional updates ---------------------------------------------------------------------------------------------------


def _update_run(x: np.ndarray, value: np.ndarray, *arrays: np.ndarray, index: Any, mode: str) -> np.ndarray:
    out, arrays = x.copy(), _signed(arrays)
    try:
        value = np.broadcast_to(value, np.shape(out[fill(index, arrays)]))
        if mode == "set":
            out[fill(index, arrays)] = value
        elif value.size:
            add_at(out, index, arrays, value)
    except IndexError as error:
        raise IndexError(_explain_index(x.shape, index, arrays) or str(error)) from None
    return out


def _update_shape(x: Spec, value: Spec, *arrays: Spec, index: Any, mode: str) -> Spec:
    place = result_shape(x, index, arrays)
    if not _fits(value, place):
        raise fail(
            ShapeError,
            f"at[].{mode}: a value of shape {value.shape}",
            expected=f"one that broadcasts to {place}, the place",
        )
    return Spec(x.shape, x.dtype)


def _update_vjp(
    wanted: list[int], g: Tensor, y: Tensor, x: Tensor, value: Tensor, *indices: Tensor, index: Any, mode: str
) -> list[Tensor]:
    place = _at_place(g, index, indices)
    if mode == "set" and indices:  # where an index occurs twice, the last value stays and has the gradient
        place = where(apply(LAST_WRITE, indices, {"index": index, "shape": x.shape}), place, 0)
    rules = [lambda: _cleared(g, index, indices) if mode == "set" else g, lambda: place]
    return [rules[i]() for i in wanted]


def _cleared(g: Tensor, index: Any, indices: tuple[Tensor, ...]) -> Tensor:
    return apply(UPDATE, (g, literal(0, g.dtype), *indices), {"index": index, "mode": "set"})


UPDATE = define(
    "update",
    run=_update_run,
    shape=_update_shape,
    vjp=_update_vjp,
    jvp="linear",
    formula=r"{0}[\cdot \leftarrow {1}]",
    takes=lambda x, value, *arrays, index, mode: (
        _is_template(index, arrays) and are_integers(*arrays) and of_one_dtype(x, value) and mode in ("set", "add")
    ),
)


def _last_write_run(*arrays: np.ndarray, index: Any, shape: tuple[int, ...]) -> np.ndarray:
    order = np.full(shape, -1, np.int64)
    place = order[fill(index, arrays)]
    numbers = np.arange(place.size).reshape(place.shape)
    order[fill(index, arrays)] = numbers
    return np.asarray(order[fill(index, arrays)] == numbers)


LAST_WRITE = define(
    "last_write",
    run=_last_write_run,
    shape=lambda *arrays, index, shape: Spec(result_shape(Spec(shape), index, arrays), np.dtype(bool)),
    vjp="its result is boolean",
    formula=r"\mathrm{{last}}({0})",
    takes=lambda *arrays, index, shape: _is_template(index, arrays) and are_integers(*arrays) and is_shape(shape),
)


class At:
    """``t.at[index]``: functional updates of a tensor, which stays as it is.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> x = tg.zeros(3)
    >>> x.at[1].set(5.0).tolist(), x.at[[0, 0]].add(1.0).tolist()
    ([0.0, 5.0, 0.0], [2.0, 0.0, 0.0])
    """

    def __init__(self, x: Tensor, index: Any = ...) -> None:
        self._x, self._index = x, index

    def __getitem__(self, index: Any) -> At:
        return At(self._x, index)

    def set(self, value: Any) -> Tensor:
        """A copy with `value` at the index; of values for one place the last stays."""
        return self._update(value, "set")

    def add(self, value: Any) -> Tensor:
        """A copy with `value` added at the index; values for one place are all added."""
        return self._update(value, "add")

    def _update(self, value: Any, mode: str) -> Tensor:
        x = self._x
        value = as_tensor(value, x.dtype)
        _check_masks(x, self._index)
        template, tensors = _split(x, self._index)
        _check_later("update", x, template, tensors)
        return apply(UPDATE, (x, value, *tensors), {"index": template, "mode": mode})


# By name --------------------------------------------------------------------------------------------------------------


def take(x: Any, indices: Any, axis: int | None = None) -> Tensor:
    """Entries at integer `indices` along `axis` (of the flattened tensor by default).

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.take([10.0, 20.0, 30.0], [2, 0]).tolist()
    [30.0, 10.0]
    """
    x = as_tensor(x)
    if axis is None:
        x, axis = reshape(x, (x.size,)), 0
    k = normalize_axes("take", (axis,), x.ndim, x)[0]
    return x[(slice(None),) * k + (_integers("take", indices),)]


def _integers(name: str, indices: Any) -> Tensor:
    indices = as_tensor(np.asarray(indices, np.int64) if isinstance(indices, list) and not indices else indices)
    if indices.dtype.kind not in "iu":
        raise fail(DTypeError, f"{name}: {describe(indices)}", expected="integers")
    return indices


def gather(x: Any, indices: Any, axis: int) -> Tensor:
    """For each place of `indices` the entry of `x` at that index along `axis`, the other positions being its own.

    As NumPy's ``take_along_axis`` and PyTorch's ``gather``.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.gather([[1.0, 2.0], [3.0, 4.0]], [[1], [0]], axis=1).tolist()
    [[2.0], [3.0]]
    """
    x, indices = as_tensor(x), _integers("gather", indices)
    k = normalize_axes("gather", (axis,), x.ndim, x)[0]
    if indices.ndim != x.ndim or any(a > b and j != k for j, (a, b) in enumerate(zip(indices.shape, x.shape))):
        raise refused(
            (x, indices), f"gather: indices of shape {indices.shape} for {x.shape} along axis {k}",
            expected="as many axes, none longer than the tensor's but the one gathered along",
        )  # fmt: skip
    own = [np.arange(n).reshape([-1 if a == j else 1 for a in range(x.ndim)]) for j, n in enumerate(indices.shape)]
    return x[tuple(indices if j == k else own[j] for j in range(x.ndim))]


def one_hot(indices: Any, classes: int, dtype: Any = DEFAULT_FLOAT) -> Tensor:
    """Rows of zeros with a one at each index.

    Raises
    ------
    IndexError
        If an index is negative or not less than `classes`.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.one_hot([1, 0], 3).tolist()
    [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    """
    indices = _integers("one_hot", indices)
    dtype = np.dtype(dtype)
    check_dtype(dtype)
    if current().tracing is not None:
        checked(indices, 0, classes, of_classes("one_hot: index", classes))
    return apply(ONE_HOT, (indices,), {"classes": int(classes), "dtype": dtype})


def _one_hot_run(indices: np.ndarray, classes: int, dtype: np.dtype) -> np.ndarray:
    look(indices, 0, classes, of_classes("one_hot: index", classes))
    out = np.zeros((indices.size, classes), dtype)
    out[np.arange(indices.size), indices.reshape(-1)] = 1
    return out.reshape(*indices.shape, classes)


ONE_HOT = define(
    "one_hot",
    run=_one_hot_run,
    shape=lambda indices, classes, dtype: Spec((*indices.shape, classes), dtype),
    vjp="its input is an integer index",
    formula=r"\mathrm{{onehot}}({0})",
    takes=lambda indices, *, classes, dtype: are_integers(indices) and is_shape((classes,)) and is_dtype(dtype),
)


def masked_fill(x: Any, mask: Any, value: Any) -> Tensor:
    """`x` with `value` where `mask` is true.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.masked_fill([1.0, 2.0], [True, False], -1.0).tolist()
    [-1.0, 2.0]
    """
    return where(mask, value, x)
