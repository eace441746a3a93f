"""How an entry of the elementwise table becomes an operation: its kernels by dtype, its shape rule, its function.

:func:`declare` and its like are what ``elementwise.py`` is written with; :func:`elementwise` does the same for users.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial, wraps
from inspect import CO_VARARGS, Parameter, Signature
from types import FunctionType
from typing import Any

import numpy as np
from numba.core.errors import NumbaError

from ..calls import wrong_call
from ..errors import DTypeError, fail
from ..kernels.cache import fingerprint
from ..kernels.families import Job, family
from ..kernels.frontend import arguments_read
from ..kernels.loops import elementwise_loop, specialise
from ..tensor import DEFAULT_FLOAT, Op, Spec, Tensor, record
from .broadcasting import broadcast_shape
from .core import (
    NO_PARAMS,
    apply,
    are_floats,
    as_tensor,
    cast,
    comparable,
    literal,
    of_one_dtype,
    promoted,
    refusal,
    register,
    registry,
)

__all__ = ["bits", "comparison", "declare", "elementwise", "predicate"]

BOOL = np.dtype(bool)
Line = Callable[..., Any]
_NO_BOOL = "its result is boolean"
MISSING = object()  # an argument that was not given: the call is looked at only where it is wrong

# Declaring ------------------------------------------------------------------------------------------------------------


def declare(name: str, scalar: Line, vjp: Any, summary: str, example: str, **facts: Any) -> Any:
    """An elementwise op and its public function; `example` is ``inputs -> result`` as doctests print them."""
    op = elementwise_op(name, scalar, vjp, **facts)
    call, _, result = example.partition(" -> ")
    formula = op.formula.format("x", "y", "z")
    doc = _DOC.format(summary=summary, formula=formula, name=name, call=call, result=result) if example else formula
    function = _function_of(op, doc)
    function.__module__ = f"{__package__}.elementwise"  # where it is found under its name
    return function


_DOC = """{summary}

Works element by element with NumPy's broadcasting. float32 stays float32; integers become float32 where the result is
not an integer.

Formula: ``{formula}``

Examples
--------
>>> import tinygrad_rnn as tg
>>> tg.{name}({call}).tolist()
{result}
"""


def comparison(name: str, scalar: Line, numpy: Any, summary: str, symbol: str, example: str = "[1.0, 2.0], 2.0") -> Any:
    result = str(numpy(np.array([1.0, 2.0]), 2.0).tolist())
    return declare(
        name, scalar, _NO_BOOL, summary, f"{example} -> {result}",
        arity=2, integers=numpy, result="bool", formula="{0} " + symbol + " {1}", symbol=symbol,
    )  # fmt: skip


def predicate(name: str, scalar: Line, numpy: Any, summary: str) -> Any:
    result = str(numpy(np.array([1.0, 0.0])).tolist())
    return declare(
        name, scalar, _NO_BOOL, summary, f"[1.0, 0.0] -> {result}",
        integers=numpy, result="bool", formula=rf"\mathrm{{{{{name}}}}}({{0}})",
    )  # fmt: skip


def bits(name: str, numpy: Any, summary: str, symbol: str, arity: int = 2) -> Any:
    formula = symbol.join(["{0}", "{1}"][:arity])

    def shape(*specs: Spec) -> Spec:
        dtype = numpy(*[np.empty(0, s.dtype) for s in specs]).dtype  # a shift of bool makes int8
        return Spec(broadcast_shape(name, *[s.shape for s in specs]), dtype)

    def takes(*specs: Spec) -> bool:
        return len(specs) == arity and of_one_dtype(*specs) and not are_floats(specs[0])

    op = register(Op(name, numpy, shape, "its inputs are integers", None, formula, symbol, takes=takes))

    def function(*inputs):
        inputs = promoted(inputs)
        if inputs[0].is_float:
            raise fail(DTypeError, f"{name}: expected integers or booleans, got {inputs[0].dtype}")
        return apply(op, inputs)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{summary}\n\nFor integers and booleans only.\n"
    return function


def elementwise_op(
    name: str,
    scalar: Line,
    vjp: Any,
    *,
    arity: int = 1,
    integers: Any = None,
    result: str = "same",
    condition: bool = False,
    formula: str,
    symbol: str = "",
    builtin: bool = True,
) -> Op:
    """Declare an elementwise op; `integers` is NumPy's function for integers, without which they become float32."""
    kernels = Kernels(name, scalar, vjp, arity, result, integers, condition)

    def run(*arrays: Any) -> Any:
        return kernels[arrays[-1].dtype](*arrays)

    def shape(*specs: Spec) -> Spec:
        last = specs[-1]
        shape, dtype = broadcast_shape(name, *[s.shape for s in specs]), kernels.out(last.dtype)
        return last if shape == last.shape and dtype is last.dtype else Spec(shape, dtype)

    def takes(*specs: Spec) -> bool:
        return [s.dtype for s in specs] == kernels.types(specs[-1].dtype) and _takes(kernels, specs[-1].dtype)

    op = Op(name, run, shape, vjp, "diagonal", formula, symbol, kernels, takes=takes)
    return register(op) if builtin else op


def elementwise(scalar: Line, vjp: Any = None, *, name: str | None = None, formula: str = "") -> Any:
    """Make an operation of your own from a function of numbers: jitted, recorded, differentiable.

    Parameters
    ----------
    scalar : callable
        Takes one number per input and returns a number; what Numba can compile.
    vjp : callable or tuple of callables, optional
        A gradient line per input, ``line(g, y, *inputs)``, written with operators and tinygrad_rnn functions so that it
        can be differentiated again. Without it the operation has no gradient, and says so when asked.
    name : str, optional
        Shown in pictures and messages; the function's name by default.
    formula : str, optional
        LaTeX with ``{0}``, ``{1}`` for the inputs.

    Returns
    -------
    callable
        Takes tensors, arrays and numbers with NumPy's broadcasting.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> cube = tg.elementwise(lambda x: x * x * x, vjp=lambda g, y, x: 3 * g * x * x, name="cube")
    >>> x = tg.parameter([1.0, 2.0])
    >>> tg.grad(cube(x).sum(), x).tolist()
    [3.0, 12.0]
    """
    code = getattr(scalar, "__code__", None)
    if code is None:
        raise TypeError(f"elementwise: expected a Python function of numbers, got {scalar!r}")
    if name is not None and not isinstance(name, str):
        raise TypeError(f"elementwise: name must be a string, got {name!r}")
    arity = code.co_argcount
    called = name or scalar.__name__.replace("<lambda>", "elementwise")
    lines = vjp if isinstance(vjp, tuple) or vjp is None else (vjp,)
    if not arity:
        raise TypeError(f"elementwise: {called} needs at least one named argument")
    if lines is not None and len(lines) != arity:
        raise TypeError(f"elementwise: {called} has {arity} inputs, so vjp needs as many lines; got {len(lines)}")
    for line in lines or ():
        _check_line(called, line, arity)
    op = elementwise_op(
        called, scalar, lines or "it was made without a vjp", arity=arity,
        formula=formula or called + "(" + ", ".join(f"{{{k}}}" for k in range(arity)) + ")", builtin=False,
    )  # fmt: skip
    doc = scalar.__doc__ or f"{called}, made by tinygrad_rnn.elementwise."
    return _function_of(op, doc)


def _check_line(called: str, line: Any, arity: int) -> None:
    code = getattr(line, "__code__", None)
    if code is None or code.co_flags & CO_VARARGS:
        return
    names = ", ".join(code.co_varnames[: code.co_argcount])
    if code.co_argcount != arity + 2:
        raise TypeError(f"elementwise: a line of {called} takes (g, y, *inputs), {arity + 2} arguments; got ({names})")
    if 0 not in arguments_read(line):
        raise TypeError(
            f"elementwise: the line ({names}) of {called} does not use its gradient {names.partition(',')[0]}\n"
            f"  hint:     multiply by it; a gradient of zero is g * 0"
        )


# Functions ------------------------------------------------------------------------------------------------------------


def _function_of(op: Op, doc: str) -> Any:
    """The public function of an op."""
    return {1: _unary, 2: _binary}.get(op.kernels.arity, _variadic)(op, doc)


def _unary(op: Op, doc: str) -> Any:
    kernels = op.kernels

    def function(x=MISSING, *more, **words):
        if more or words or x is MISSING:
            raise wrong_call(function, _given(x, *more), words)
        if not isinstance(x, Tensor):
            x = as_tensor(x)
        data = x.data
        if type(data) is not np.ndarray:
            return apply(op, (x,)) if _takes(kernels, data.dtype) else function(cast(x, DEFAULT_FLOAT))
        kernel = kernels[data.dtype]
        if kernel is None:
            return function(cast(x, DEFAULT_FLOAT))
        out = kernel(data)
        if type(out) is not np.ndarray:
            out = np.asarray(out)
        return record(op, (x,), NO_PARAMS, out)

    return _dressed(function, op, doc)


def _binary(op: Op, doc: str) -> Any:
    kernels = op.kernels
    ndarray = np.ndarray

    def function(a=MISSING, b=MISSING, *more, **words):
        if more or words or b is MISSING or a is MISSING:
            raise wrong_call(function, _given(a, b, *more), words)
        if type(a) is not Tensor or type(b) is not Tensor:
            return general(a, b)
        x, y = a.data, b.data
        if type(x) is not ndarray or type(y) is not ndarray or x.dtype is not y.dtype:
            return general(a, b)
        kernel = kernels[x.dtype]
        if kernel is None:
            return general(a, b)
        try:
            out = kernel(x, y)
        except ValueError as error:
            raise refusal(op, (a, b), NO_PARAMS, error) from None
        if type(out) is not ndarray:
            out = np.asarray(out)
        return record(op, (a, b), NO_PARAMS, out)

    def general(a, b):
        if type(a) is Tensor and type(b) in (int, float) and a.data.dtype.kind == "f":
            b = literal(b, a.data.dtype)
        elif type(b) is Tensor and type(a) in (int, float) and b.data.dtype.kind == "f":
            a = literal(a, b.data.dtype)
        else:
            a, b = _floats(kernels, promoted(comparable((a, b)) if kernels.result == "bool" else (a, b)))
        return apply(op, (a, b))

    return _dressed(function, op, doc)


def _variadic(op: Op, doc: str) -> Any:
    kernels = op.kernels

    def function(*inputs, **words):
        if len(inputs) != kernels.arity or words:
            raise wrong_call(function, inputs, words)
        if not kernels.condition:
            return apply(op, _floats(kernels, promoted(inputs)))
        return apply(op, (cast(as_tensor(inputs[0]), BOOL), *_floats(kernels, promoted(inputs[1:]))))

    return _dressed(function, op, doc)


def _given(*inputs: Any) -> tuple[Any, ...]:
    return tuple(t for t in inputs if t is not MISSING)


def _takes(kernels: Kernels, dtype: np.dtype) -> bool:
    return dtype.kind == "f" or kernels.integers is not None


def _floats(kernels: Kernels, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    if _takes(kernels, inputs[-1].dtype):
        return inputs
    return tuple(cast(t, DEFAULT_FLOAT) for t in inputs)


def _dressed(function: Any, op: Op, doc: str) -> Any:
    """Give a function its name, documentation, op and scalar."""
    function.__name__ = function.__qualname__ = op.name
    function.__doc__ = doc
    names = ["x"] if op.kernels.arity == 1 else scalar_names(op.kernels.scalar, op.kernels.arity)
    function.__signature__ = Signature([Parameter(n, Parameter.POSITIONAL_ONLY) for n in names])
    function.op = op
    function.scalar = op.kernels.scalar
    return function


def scalar_names(scalar: Any, arity: int) -> tuple[str, ...]:
    """The names of the inputs, as the function of numbers calls them."""
    code = getattr(getattr(scalar, "py_func", scalar), "__code__", None)
    return code.co_varnames[:arity] if code else tuple("abcdefgh"[:arity])


# Kernels --------------------------------------------------------------------------------------------------------------


class Kernels(dict):
    """The kernels of one elementwise op by dtype, and those of its gradient lines; each made when first asked for."""

    def __init__(
        self, name: str, scalar: Line, vjp: Any, arity: int, result: str, integers: Any, condition: bool
    ) -> None:
        super().__init__()
        self.name, self.scalar, self.vjp, self.arity = name, scalar, vjp, arity
        self.result, self.integers, self.condition = result, integers, condition
        self._rules: dict[tuple[int, np.dtype], Any] = {}

    def __missing__(self, dtype: np.dtype) -> Any:
        if dtype.kind == "f":
            kernel = self.compiled(dtype)
        else:
            kernel = self.integers and _supported(self.name, self.integers)
        self[dtype] = kernel
        return kernel

    def compiled(self, dtype: np.dtype) -> Any:
        """The loop over the scalar function."""
        try:
            return _loop(self.name, specialise(self.scalar, dtype), self.types(dtype), [self.out(dtype)])
        except NumbaError as error:
            raise fail(
                TypeError, f"{self.name}: Numba cannot compile its function of numbers", got=_last_line(error),
                hint="use arithmetic, conditions, math, and functions imported by name: from tinygrad_rnn import tanh",
            ) from error  # fmt: skip

    def types(self, dtype: np.dtype) -> list[np.dtype]:
        """Dtypes of the inputs."""
        return [BOOL if self.condition and k == 0 else dtype for k in range(self.arity)]

    def out(self, dtype: np.dtype) -> np.dtype:
        """Dtype of the result."""
        if self.result == "bool":
            return BOOL
        if dtype.kind == "f" or self.integers is None:
            return dtype if dtype.kind == "f" else DEFAULT_FLOAT
        return self[dtype](*(np.empty(0, t) for t in self.types(dtype))).dtype  # np.square makes int8 of bool

    def rule(self, i: int, dtype: np.dtype) -> Any:
        """``(kernel, takes)`` of gradient line `i`: the fused kernel and which of (g, y, *inputs) it takes.

        None for a user's line that Numba cannot compile, or that reads no argument: it is run on tensors instead.
        """
        try:
            return self._rules[i, dtype]
        except KeyError:
            pass
        line = self.vjp[i]
        plain = isinstance(line, FunctionType) and not line.__code__.co_flags & CO_VARARGS
        takes = arguments_read(line) if plain else ()
        types = [dtype, dtype, *self.types(dtype)]
        rule = None
        if takes:
            loop = f"{self.name}_vjp{i}", specialise(line, dtype), [types[k] for k in takes], [dtype], takes
            with suppress(NumbaError):
                rule = _loop(*loop), takes
        self._rules[i, dtype] = rule
        return rule


_made: dict[str, Any] = {}  # loops by what they compute


def _loop(
    name: str, scalar: Line, ins: list[np.dtype], outs: list[np.dtype], takes: tuple[int, ...] | None = None
) -> Any:
    """The loop over a function: Numba gives no memory of compiled code back, so it is compiled once in a process."""
    key = fingerprint(name, scalar, *map(str, ins), "to", *map(str, outs), takes)
    if key not in _made:
        _made[key] = elementwise_loop(name, scalar, ins, outs, takes)
    return _made[key]


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if not line.startswith(("File", "During"))]
    said = [line.strip() for line in lines if line.strip()]
    return next((line for line in said if not line.startswith("Failed in")), "")


def _supported(name: str, integers: Callable[..., Any]) -> Callable[..., Any]:
    """NumPy's function of integers, with an error of ours for what it does not take: subtracting booleans, say."""

    @wraps(integers)
    def run(*arrays: Any, **options: Any) -> Any:
        try:
            return integers(*arrays, **options)
        except TypeError as error:
            kinds = " and ".join(str(a.dtype) for a in arrays)
            raise fail(
                DTypeError, f"{name}: not defined for {kinds}", got=str(error).partition(",")[0],
                hint="convert first, as with .astype(int), or use & | ^ ~ on booleans",
            ) from None  # fmt: skip

    return run


@family
def _for_warmup(dtype: np.dtype) -> Iterator[Job]:
    for op in registry.values():
        if op.kernels is not None:
            yield partial(op.kernels.__getitem__, dtype)
            yield from [partial(op.kernels.rule, i, dtype) for i in range(len(op.vjp) if type(op.vjp) is tuple else 0)]
