"""How an operation is declared, found and applied.

Every op is an :class:`~tinygrad_rnn.tensor.Op` in the ``registry``; calling one goes through :func:`apply`, which runs
the kernel at once, or only the shape rule where an input is symbolic, and records the node.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from contextvars import Context
from functools import wraps
from typing import Any

import numpy as np

from ..errors import DTypeError, ShapeError, brief, fail, lost_mask
from ..tensor import CONSTANT, DEFAULT_FLOAT, DETACH, LITERAL, Op, Spec, Tensor, context, describe, leaf, record

__all__ = ["NO_PARAMS", "apply", "as_float", "as_tensor", "define", "quiet", "registry"]

NO_PARAMS: dict[str, Any] = {}
registry: dict[str, Op] = {DETACH.name: DETACH}

_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
_KINDS = "fiub"
_LARGEST = float(np.finfo(DEFAULT_FLOAT).max)
_PYTHON_NUMBERS = (bool, int, float, np.generic)


def define(
    name: str,
    *,
    run: Callable[..., Any],
    shape: Callable[..., Spec],
    vjp: Any,
    jvp: Any = None,
    formula: str,
    symbol: str = "",
    plain: bool = False,
    takes: Callable[..., bool] | None = None,
) -> Op:
    """Enter an op into the registry; see :class:`Op` for what each part means."""
    return register(Op(name, run, shape, vjp, jvp, formula, symbol, plain=plain, takes=takes))


def register(op: Op) -> Op:
    if op.name in registry:
        raise ValueError(f"op '{op.name}' is registered already; choose another name")
    registry[op.name] = op
    return op


class _Silence(threading.local):
    """A context per thread in which NumPy does not warn; to run in it costs a tenth of ``with np.errstate(...)``."""

    def __init__(self) -> None:
        self.run = Context().run
        self.run(np.seterr, all="ignore")


_silence = _Silence()


def quiet(run: Callable[..., Any]) -> Callable[..., Any]:
    """Run a NumPy function without floating-point warnings: NaN and infinity are values here."""

    @wraps(run)
    def silent(*arrays: Any, **params: Any) -> Any:
        try:
            return _silence.run(run, *arrays, **params)
        except RuntimeError:  # a signal handler that computes while something is computed: the context is in use
            with np.errstate(all="ignore"):
                return run(*arrays, **params)

    return silent


def apply(op: Op, inputs: tuple[Tensor, ...], params: dict[str, Any] = NO_PARAMS) -> Tensor:
    """Run `op` on tensors and record it."""
    arrays = []
    symbolic = False
    for t in inputs:
        arrays.append(t.data)
        symbolic = symbolic or type(t.data) is Spec
    assert op.run is not None
    assert op.shape is not None
    data: Any
    try:
        if symbolic:
            data = op.shape(*[t.spec for t in inputs], **params)
        else:
            data = op.run(*arrays, **params)
    except (ValueError, IndexError) as error:
        raise refusal(op, inputs, params, error) from None
    if not symbolic:
        if type(data) is not np.ndarray:
            data = np.asarray(data)
        if data.base is not None:
            data = _unshared(op, inputs, params, data)
    return record(op, inputs, params, data)


def _unshared(op: Op, inputs: tuple[Tensor, ...], params: dict[str, Any], data: np.ndarray) -> np.ndarray:
    """A result that is a view of a parameter as a copy: a compiled function may write into the parameter's array."""
    for t in inputs:
        if t.may_be_written and (data.base is t.data or data.base is t.data.base):
            if data.nbytes <= t.data.nbytes:
                return data.copy()
            assert op.run is not None
            return op.run(*[i.data.copy() if i is t else i.data for i in inputs], **params)  # one that is broadcast
    return data


def refusal(op: Op, inputs: tuple[Tensor, ...], params: dict[str, Any], error: Exception) -> Exception:
    """What to raise for inputs that an op refused: the shape rule's words where it has some, and the inputs."""
    assert op.shape is not None
    kind, text = type(error), str(error)
    try:
        op.shape(*(t.spec for t in inputs), **params)
    except (ValueError, IndexError) as better:
        kind, text = type(better), str(better)  # kept itself, it would refer to this frame and the inputs in a circle
    text = text if text.startswith(op.name) or text.partition(":")[0].isidentifier() else f"{op.name}: {text}"
    given = "".join(f"\n  input {k}:  {describe(t)}" for k, t in enumerate(inputs))
    full = kind(f"{text}{given}\n  {context()}")
    if isinstance(full, ShapeError):
        full.op, full.inputs = op.name, inputs
    return full


def refused(inputs: tuple[Tensor, ...], what: str, **parts: str) -> ShapeError:
    """The ShapeError of an operation that looks at its inputs before it is applied; `what` begins with its name."""
    error = fail(ShapeError, what, **parts)
    given = "".join(f"\n  input {k}:  {describe(t)}" for k, t in enumerate(inputs))
    full = ShapeError(f"{error}{given}\n  {context()}")
    full.op, full.inputs = what.partition(":")[0], inputs
    return full


# What ops take --------------------------------------------------------------------------------------------------------


def is_shape(shape: Any) -> bool:
    return type(shape) is tuple and all(type(n) is int and n >= 0 for n in shape)


def is_axis(axis: Any, ndim: int) -> bool:
    return type(axis) is int and 0 <= axis < ndim


def are_axes(axis: Any, ndim: int) -> bool:
    """Whether these are axes in order, each once."""
    return type(axis) is tuple and all(is_axis(k, ndim) for k in axis) and list(axis) == sorted(set(axis))


def is_dtype(dtype: Any) -> bool:
    """Whether this is a dtype that tensors have."""
    return isinstance(dtype, np.dtype) and dtype.kind in _KINDS and (dtype.kind != "f" or dtype in _FLOATS)


def are_floats(*specs: Spec) -> bool:
    return all(s.dtype.kind == "f" for s in specs)


def are_integers(*specs: Spec) -> bool:
    return all(s.dtype.kind in "iu" for s in specs)


def of_one_dtype(*specs: Spec) -> bool:
    return len({s.dtype for s in specs}) == 1


# Inputs ---------------------------------------------------------------------------------------------------------------


def as_array(data: Any, dtype: Any = None, floats: np.dtype = DEFAULT_FLOAT) -> np.ndarray:
    """An array of a dtype that tensors have: Python floats become `floats`, NumPy arrays keep their dtype."""
    if type(data) is np.ndarray and dtype is None:
        check_dtype(data.dtype)
        return data
    if isinstance(data, list | tuple | np.ma.MaskedArray):
        _check_parts(data)
    try:
        array = np.asarray(data, dtype=dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise _not_an_array(data, dtype, error) from None
    if dtype is None and array.dtype == np.float64 and not isinstance(data, np.ndarray | np.generic):
        with np.errstate(all="ignore"):
            array = array.astype(floats)
    check_dtype(array.dtype)
    return array


def _check_parts(data: Any) -> None:
    """Refuse what NumPy would take apart in silence: lists of tensors, whose history it loses, and masks."""
    stack, seen = [data], set()
    while stack:
        part = stack.pop()
        if isinstance(part, list | tuple):
            if id(part) not in seen:
                seen.add(id(part))
                stack += part
        elif isinstance(part, Tensor):
            raise fail(
                DTypeError, "a list of tensors is not a tensor",
                hint="use tg.stack or tg.concatenate, which record the operation",
            )  # fmt: skip
        elif isinstance(part, np.ma.MaskedArray):
            raise lost_mask(part)


def _not_an_array(data: Any, dtype: Any, error: Exception) -> Exception:
    """The error for what NumPy makes no array of: lists of several lengths, numbers too large for the dtype."""
    if dtype is not None and isinstance(error, OverflowError):
        dtype = np.dtype(dtype)
        return fail(
            DTypeError, f"numbers of a tensor of dtype {dtype}", expected=_range_of(dtype), got=str(error),
            hint="choose a wider dtype",
        )  # fmt: skip
    kind = ShapeError if isinstance(data, list | tuple) and isinstance(error, ValueError) else DTypeError
    as_what = "" if dtype is None else f" of dtype {dtype}"
    return fail(
        kind, f"tensor: no array{as_what} can be made of {brief(data)}",
        expected="numbers, or lists of numbers of equal lengths", got=str(error).partition("\n")[0],
        hint="pad sequences of several lengths with nn.pad_sequences; pass a dtype that holds the numbers",
    )  # fmt: skip


def check_dtype(dtype: np.dtype) -> None:
    """Raise for a dtype that no op takes."""
    if dtype.kind not in _KINDS or (dtype.kind == "f" and dtype not in _FLOATS) or not dtype.isnative:
        raise fail(
            DTypeError,
            f"tensors of dtype {dtype} are not supported",
            expected="float32, float64, a native integer type, or bool",
            hint="convert it first, as with .astype(np.float32)",
        )


def as_dtype(name: str, dtype: Any) -> np.dtype:
    """A dtype from what NumPy takes for one."""
    try:
        return np.dtype(dtype)
    except (TypeError, ValueError, SyntaxError):
        raise fail(
            DTypeError, f"{name}: not a dtype", expected="np.float32, np.int64, 'bool' and the like", got=brief(dtype),
        ) from None  # fmt: skip


def as_tensor(data: Any, dtype: np.dtype | None = None) -> Tensor:
    """A tensor as it is, anything else as a constant; of `dtype` where one is given, with no detour over float32."""
    if isinstance(data, Tensor):
        return data if dtype is None else cast(data, dtype)
    if dtype is not None:
        check_fits(data, dtype)
    array = as_array(data, floats=dtype if dtype is not None and dtype.kind == "f" else DEFAULT_FLOAT)
    with np.errstate(all="ignore"):
        array = array.astype(array.dtype if dtype is None else dtype)
    return leaf(array, LITERAL if isinstance(data, _PYTHON_NUMBERS) else CONSTANT)


def as_float(data: Any) -> Tensor:
    """A float tensor as it is; integers and booleans become float32."""
    x = as_tensor(data)
    return x if x.is_float else cast(x, DEFAULT_FLOAT)


def literal(number: Any, dtype: np.dtype) -> Tensor:
    """A Python number as a constant that takes its dtype from its partner: it never promotes float32."""
    if dtype.kind == "f":
        if -_LARGEST <= number <= _LARGEST:
            return leaf(np.asarray(number, dtype), LITERAL)
        return as_tensor(_as_python_float(number), dtype)
    if isinstance(number, float | np.floating):
        return leaf(np.asarray(number, DEFAULT_FLOAT), LITERAL)
    if dtype.kind == "b" and not isinstance(number, bool | np.bool_):
        dtype = np.dtype(np.int64)
    check_fits(number, dtype)
    return leaf(np.asarray(number, dtype), LITERAL)


def _as_python_float(number: Any) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def fits(number: Any, dtype: np.dtype) -> bool:
    """Whether tensors of a dtype can hold a number; only whole numbers must be in a range."""
    if dtype.kind not in "iu" or not isinstance(number, int | np.integer):
        return True
    return np.iinfo(dtype).min <= int(number) <= np.iinfo(dtype).max


def check_fits(number: Any, dtype: np.dtype) -> None:
    """Raise for a whole number out of the range of a dtype: NumPy would refuse it, or take another for it."""
    if not fits(number, dtype):
        shown = str(number) if abs(int(number)) < 10**30 else f"an integer of {int(number).bit_length()} bits"
        raise fail(
            DTypeError, f"{shown} does not fit a tensor of dtype {dtype}", expected=_range_of(dtype),
            hint="convert the tensor first, as with .astype(np.int64)",
        )  # fmt: skip


def _range_of(dtype: np.dtype) -> str:
    return f"numbers from {np.iinfo(dtype).min} to {np.iinfo(dtype).max}" if dtype.kind in "iu" else f"{dtype} numbers"


def comparable(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """What is compared, with an infinity for a whole number that no entry of the others can be."""
    dtypes = [x.dtype for x in inputs if isinstance(x, Tensor | np.ndarray)]
    dtypes = [np.dtype(np.int64) if d.kind == "b" else d for d in dtypes]
    if not dtypes:
        return inputs
    return tuple([x if all(fits(x, d) for d in dtypes) else math.inf if x > 0 else -math.inf for x in inputs])


def promoted(inputs: tuple[Any, ...]) -> tuple[Tensor, ...]:
    """Tensors of one dtype: numbers follow tensors, integers follow floats, float32 follows float64."""
    first = inputs[0]
    for t in inputs:
        if type(t) is not Tensor or t.data.dtype is not first.data.dtype:
            break
    else:
        return inputs
    tensors = [as_tensor(t) for t in inputs if not isinstance(t, _PYTHON_NUMBERS)]
    if not tensors:
        return promoted(tuple(as_tensor(t) for t in inputs))
    dtype = result_dtype([t.dtype for t in tensors])
    numbers = [literal(t, dtype) for t in inputs if isinstance(t, _PYTHON_NUMBERS)]
    dtype = result_dtype([dtype, *(t.dtype for t in numbers)])
    taken, given = iter(tensors), iter(numbers)
    parts = [next(given if isinstance(t, _PYTHON_NUMBERS) else taken) for t in inputs]
    return tuple(as_tensor(t if isinstance(t, list | tuple) else p, dtype) for t, p in zip(inputs, parts, strict=True))


def result_dtype(dtypes: list[np.dtype]) -> np.dtype:
    """The widest float among `dtypes` if there is one, else NumPy's promotion of the integers."""
    if dtypes.count(dtypes[0]) == len(dtypes):
        return dtypes[0]
    floats = [d for d in dtypes if d.kind == "f"]
    return max(floats, key=lambda d: d.itemsize) if floats else np.result_type(*dtypes)


def cast(x: Tensor, dtype: Any) -> Tensor:
    """`x` with another dtype, as a recorded operation; itself where the dtype is the same."""
    dtype = as_dtype("cast", dtype)
    if x.dtype == dtype:
        return x
    check_dtype(dtype)
    return apply(TO_INTEGER if x.is_float and dtype.kind != "f" else CAST, (x,), {"dtype": dtype})


def _cast_vjp(g: Tensor, y: Tensor, x: Tensor, dtype: np.dtype) -> Tensor:
    return cast(g, x.dtype)


_cast_run = quiet(lambda x, dtype: x.astype(dtype))
_cast_shape = lambda x, dtype: Spec(x.shape, dtype)
CAST = define(
    "cast",
    run=_cast_run,
    shape=_cast_shape,
    vjp=(_cast_vjp,),
    jvp="linear",
    formula=r"{0}",
    takes=lambda x, *, dtype: is_dtype(dtype),
)
TO_INTEGER = define(
    "to_integer",
    run=_cast_run,
    shape=_cast_shape,
    vjp="integers and booleans carry no gradient",
    formula=r"\mathrm{{int}}({0})",
    takes=lambda x, *, dtype: is_dtype(dtype),
)
