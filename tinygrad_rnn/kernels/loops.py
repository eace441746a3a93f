"""From a function of one element, or of one row, to a loop with NumPy's ufunc signature.

A loop is ``void loop(char **args, intp *dims, intp *steps, void *data)``: addresses, sizes and strides, nothing else.
That is what lets it have two callers: eager operations call it through a NumPy ufunc, which brings broadcasting,
strides and allocation at 0.3 us a call; a program calls it by its address. The loops differ from Numba's own
``@vectorize`` in that contiguous and scalar operands get loops of their own, so LLVM vectorises them, and in that they
clear the floating-point flags, so no overflow ends in a warning: NaN and infinity are values here.

Nothing is compiled before its first use; compiled loops are kept on disk (``cache.py``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from importlib import import_module
from types import CodeType, FunctionType
from typing import Any

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic

from .cache import anchor, fingerprint, global_names

__all__ = ["address", "elementwise_loop", "row_loop", "specialise"]

_ufuncs = import_module("numba.np.ufunc._internal")
_SIGNATURE = types.void(
    types.CPointer(types.voidptr), types.CPointer(types.intp), types.CPointer(types.intp), types.voidptr
)
_clear_flags = types.ExternalFunction("feclearexcept", types.int32(types.int32))
_TYPED = f"{__package__}.scalars"  # its functions choose their numbers by type themselves
_ALL_FLAGS = 63  # every exception bit of x86 and of ARM


@intrinsic
def _pointer(typing_context, address, offset, dtype):
    """`address` moved by `offset` bytes, as a pointer to elements of `dtype`."""

    def build(context, builder, signature, args):
        moved = builder.gep(args[0], [args[1]])
        return builder.bitcast(moved, context.get_value_type(signature.return_type))

    return types.CPointer(dtype.dtype)(address, types.intp, dtype), build


def specialise(function: Callable[..., Any], dtype: np.dtype) -> Callable[..., Any]:
    """A scalar function for one dtype, compiled when it is first called: its numbers become numbers of that dtype.

    Without this the ``1`` of ``1 - y * y`` would carry float32 arithmetic over into float64.
    Names that refer to elementwise operations (anything with a ``scalar`` attribute) become their scalar functions, so
    that a gradient rule written for tensors is also a kernel.
    """
    return _compiled(function, dtype)


def _compiled(function: Any, dtype: np.dtype | None) -> Any:
    """`function` with its globals compiled as well, and its literals of type `dtype` if there is one."""
    if not isinstance(function, FunctionType) or function.__module__ == _TYPED:
        return function
    code = function.__code__
    if dtype is not None and not numba.config.DISABLE_JIT:
        code = code.replace(co_consts=tuple(dtype.type(c) if type(c) in (int, float) else c for c in code.co_consts))
    names = {"__name__": __name__, "__builtins__": __builtins__}
    for name in global_names(code) & function.__globals__.keys():
        value = function.__globals__[name]
        value = getattr(value, "scalar", value)
        if dtype is not None and type(value) in (int, float):
            names[name] = dtype.type(value)
        else:
            names[name] = _compiled(value, dtype)
    clone = FunctionType(code, names, function.__name__, function.__defaults__, function.__closure__)
    if numba.config.DISABLE_JIT:
        return clone
    # A call inside a loop keeps it from becoming vector code, and whether LLVM leaves one differs by Python version.
    return numba.njit(error_model="numpy", forceinline=dtype is not None)(clone)


def elementwise_loop(
    name: str,
    scalar: Callable[..., Any],
    ins: Sequence[Any],
    outs: Sequence[Any],
    takes: Sequence[int] | None = None,
    repeated: Sequence[int] = (),
) -> Any:
    """A ufunc over `scalar`, for one combination of input and output dtypes.

    Parameters
    ----------
    name : str
        Shown in errors and in the names of cached files.
    scalar : callable
        Takes ``len(ins)`` numbers; returns a number, or a tuple where there are several outputs.
    ins, outs : sequences of dtype
        Element types of inputs and outputs.
    repeated : sequence of int
        Inputs that are one number for all elements when the others are contiguous, as a learning rate is.
    takes : sequence of int, optional
        Which arguments of `scalar` the inputs fill, where it has more than it uses; the others are given zeros.

    Returns
    -------
    np.ufunc
        To be called with arrays; see :func:`address` for calling it without.
    """
    ins, outs = [np.dtype(d) for d in ins], [np.dtype(d) for d in outs]
    takes = range(len(ins)) if takes is None else takes
    code = getattr(getattr(scalar, "py_func", scalar), "__code__", None)
    arity = code.co_argcount if code else len(takes)
    if numba.config.DISABLE_JIT:
        return _PythonLoop(name, scalar, outs, takes, arity)
    source = _elementwise_source(takes, arity, len(outs), [d.itemsize for d in ins + outs], repeated)
    return _ufunc(name, source, {"f": scalar}, ins, outs, None)


def row_loop(name: str, function: Callable[..., Any], signature: str, ins: Sequence[Any], outs: Sequence[Any]) -> Any:
    """A generalised ufunc over ``function(*rows, *out_rows)``, rows being 1-D arrays (of length 1 for ``()``).

    `signature` is NumPy's, with at most one core dimension ``n``: ``"(n),()->(n)"``.
    """
    ins, outs = [np.dtype(d) for d in ins], [np.dtype(d) for d in outs]
    if numba.config.DISABLE_JIT:
        return _PythonRows(name, _compiled(function, None), signature, outs)
    source = _row_source(signature, [d.itemsize for d in ins + outs])
    return _ufunc(name, source, {"f": _compiled(function, None)}, ins, outs, signature)


def _ufunc(name: str, source: str, names: dict[str, Any], ins: list, outs: list, signature: str | None) -> Any:
    letters = "".join(f"{d.kind}{d.itemsize}" for d in ins + outs)
    safe = re.sub(r"\W", "_", name)
    called = f"{safe}_{letters}_{fingerprint(source, *names.values())}"
    function = _function(source.replace("LOOP", called), ins + outs, names)
    loop = numba.cfunc(_SIGNATURE, cache=True, error_model="numpy")(function)
    kinds = [[d.num for d in ins + outs]]
    shape = () if signature is None else (signature,)
    kernel = _ufuncs.fromfunc(name, name, [loop.address], kinds, len(ins), len(outs), [None], loop, 0, *shape)
    _loops[id(kernel)] = kernel, loop
    return kernel


_loops: dict[int, tuple[Any, Any]] = {}  # compiled code lives as long as the process, and so do its kernels


def address(kernel: Any) -> int:
    """Where the loop of a kernel begins in memory, for a caller that has addresses, sizes and strides of its own."""
    return _loops[id(kernel)][1].address


def _function(source: str, dtypes: list, names: dict[str, Any]) -> FunctionType:
    scope: dict[str, Any] = {"__name__": __name__}  # a cached kernel is loaded by way of its module
    scope |= {f"T{k}": types.uint8 if d.kind == "b" else numba.from_dtype(d) for k, d in enumerate(dtypes)}
    scope |= {"pointer": _pointer, "clear_flags": _clear_flags, "carray": numba.carray, "ALL": _ALL_FLAGS, **names}
    scope["as_strided"] = np.lib.stride_tricks.as_strided
    module = compile(source, anchor(), "exec")
    code = next(c for c in module.co_consts if isinstance(c, CodeType))
    return FunctionType(code, scope, code.co_name)


def _elementwise_source(
    takes: Sequence[int], arity: int, n_out: int, sizes: list[int], repeated: Sequence[int]
) -> str:
    n_in = len(takes)
    lines = ["def LOOP(args, dims, steps, data):", "    n = dims[0]"]
    lines += [f"    p{k} = pointer(args[{k}], 0, T{k})" for k in range(n_in + n_out)]
    patterns = [frozenset(repeated)]  # which inputs are one repeated number
    if n_in == 2:
        patterns += [frozenset({1}), frozenset({0})]
    for number, pattern in enumerate(patterns):
        steps = [0 if k in pattern else size for k, size in enumerate(sizes)]
        test = " and ".join(f"steps[{k}] == {s}" for k, s in enumerate(steps))
        lines.append(f"    {'if' if not number else 'elif'} {test}:")
        lines += [f"        c{k} = p{k}[0]" for k in pattern]
        loaded = [f"c{k}" if k in pattern else f"p{k}[i]" for k in range(n_in)]
        lines += ["        for i in range(n):", *_assign(takes, arity, n_out, loaded, "p{}[i]")]
    lines += ["    else:", "        for i in range(n):"]
    loaded = [f"pointer(args[{k}], i * steps[{k}], T{k})[0]" for k in range(n_in)]
    lines += _assign(takes, arity, n_out, loaded, "pointer(args[{0}], i * steps[{0}], T{0})[0]")
    return "\n".join([*lines, "    clear_flags(ALL)", ""])


def _assign(takes: Sequence[int], arity: int, n_out: int, loaded: list[str], place: str) -> list[str]:
    n_in = len(takes)
    arguments = ["T0(0)"] * arity
    for k, value in zip(takes, loaded, strict=True):
        arguments[k] = value
    results = ", ".join(f"y{k}" for k in range(n_out))
    lines = [f"            {results} = f({', '.join(arguments)})"]
    return lines + [f"            {place.format(n_in + k)} = T{n_in + k}(y{k})" for k in range(n_out)]


def _row_source(signature: str, sizes: list[int]) -> str:
    cores = [s.strip("() ") for s in signature.replace("->", ",").split(",")]
    lines = ["def LOOP(args, dims, steps, data):"]
    if any(cores):
        lines.append("    n = dims[1]")
    inner = {k: len(cores) + sum(map(bool, cores[:k])) for k, core in enumerate(cores) if core}
    contiguous = " and ".join(f"steps[{inner[k]}] == {sizes[k]}" for k in inner) or "True"
    lines += [f"    if {contiguous}:", "        for i in range(dims[0]):"]
    lines += [f"            r{k} = {_row(k, bool(core))}" for k, core in enumerate(cores)]
    lines += [f"            f({', '.join(f'r{k}' for k in range(len(cores)))})"]
    lines += ["    else:", "        for i in range(dims[0]):"]
    for k, core in enumerate(cores):
        row = f"as_strided({_row(k, False)}, (n,), (steps[{inner[k]}],))" if core else _row(k, False)
        lines.append(f"            s{k} = {row}")
    lines += [f"            f({', '.join(f's{k}' for k in range(len(cores)))})"]
    return "\n".join([*lines, "    clear_flags(ALL)", ""])


def _row(k: int, core: bool) -> str:
    return f"carray(pointer(args[{k}], i * steps[{k}], T{k}), {'n' if core else 1})"


class _PythonLoop:
    """Stands in for a compiled ufunc where the JIT is switched off."""

    def __init__(self, name: str, scalar: Callable[..., Any], outs: list, takes: Sequence[int], arity: int) -> None:
        self.__name__, self.scalar, self.outs, self.takes, self.arity = name, scalar, outs, takes, arity

    def __call__(self, *arrays: Any, out: Any = None) -> Any:
        arrays = np.broadcast_arrays(*arrays)
        many = len(self.outs) > 1
        given = out if isinstance(out, tuple) else (out,) * len(self.outs)
        results = [np.empty(arrays[0].shape, d) if o is None else o for o, d in zip(given, self.outs, strict=True)]
        arguments: list[Any] = [arrays[0].dtype.type(0)] * self.arity
        with np.errstate(all="ignore"):
            for index in np.ndindex(arrays[0].shape):
                for k, array in zip(self.takes, arrays, strict=True):
                    arguments[k] = array[index]
                values = self.scalar(*arguments)
                for result, value in zip(results, values if many else (values,), strict=True):
                    result[index] = value
        return tuple(results) if many else results[0]


class _PythonRows:
    """Stands in for a compiled generalised ufunc where the JIT is switched off."""

    def __init__(self, name: str, function: Callable[..., Any], signature: str, outs: list) -> None:
        self.__name__, self.function, self.signature, self.outs = name, function, signature, outs

    def __call__(self, *arrays: Any, axis: int = -1) -> Any:
        cores = [bool(s.strip("() ")) for s in self.signature.replace("->", ",").split(",")]
        moved = [np.moveaxis(a, axis, -1) if core else np.asarray(a)[..., None] for a, core in zip(arrays, cores)]
        n = next(a.shape[-1] for a, core in zip(moved, cores) if core)
        lead = np.broadcast_shapes(*(a.shape[:-1] for a in moved))
        rows = [np.broadcast_to(a, (*lead, a.shape[-1])) for a in moved]
        core = cores[-1]
        out = np.empty((*lead, n if core else 1), self.outs[0])
        with np.errstate(all="ignore"):
            for index in np.ndindex(lead):
                self.function(*(r[index] for r in rows), out[index])
        return np.moveaxis(out, -1, axis) if core else out[..., 0]
