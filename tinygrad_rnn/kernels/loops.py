"""From a function of one element, or of one row, to a loop with NumPy's ufunc signature.

A loop is ``void loop(char **args, intp *dims, intp *steps, void *data)``: addresses, sizes and strides, nothing else.
That is what lets it have two callers: eager operations call it through a NumPy ufunc, which brings broadcasting,
strides and allocation at 0.3 us a call; a program calls it by its address. The loops differ from Numba's own
``@vectorize`` in that they are vector code for every layout of operands, also where the result is written over one,
and in that they clear the floating-point flags, so no overflow ends in a warning: NaN and infinity are values here.

Nothing is compiled before its first use; compiled loops are kept on disk (``cache.py``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial, reduce
from importlib import import_module
from types import CodeType, FunctionType
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import NumbaError
from numba.core.registry import cpu_target
from numba.extending import intrinsic, lower_builtin, type_callable

from .cache import anchor, fingerprint, global_names, kept
from .families import compiles, family
from .frontend import numbers_of

__all__ = [
    "SIGNATURE", "RowKernels", "address", "compiled", "elementwise_loop", "free", "gathered", "itemsize", "moved",
    "parallel", "place", "pointer", "row_loop", "scatter", "scratch", "specialise",
]  # fmt: skip

_ufuncs = import_module("numba.np.ufunc._internal")
SIGNATURE = types.void(
    types.CPointer(types.voidptr), types.CPointer(types.intp), types.CPointer(types.intp), types.voidptr
)
_clear_flags = types.ExternalFunction("feclearexcept", types.int32(types.int32))
_TYPED = f"{__package__}.scalars"  # its functions choose their numbers by type themselves
_ALL_FLAGS = 31 if os.name == "nt" else 63  # every exception bit of x86 and of ARM; Windows has numbers of its own


@intrinsic
def pointer(typing_context, address, offset, dtype):
    """`address` moved by `offset` bytes, as a pointer to elements of `dtype`."""

    def build(context, builder, signature, args):
        moved = builder.gep(args[0], [args[1]])
        return builder.bitcast(moved, context.get_value_type(signature.return_type))

    return types.CPointer(dtype.dtype)(address, types.intp, dtype), build


@intrinsic
def moved(typing_context, elements, offset):
    """The pointer `elements` moved by `offset` bytes."""

    return elements(elements, types.intp), lambda context, builder, signature, args: _moved(builder, *args)


@intrinsic
def itemsize(typing_context, elements):
    """Size in bytes of the elements that a pointer points to."""
    size = elements.dtype.bitwidth // 8
    return types.intp(elements), lambda context, builder, signature, args: context.get_constant(types.intp, size)


@intrinsic
def _eager(typing_context, data):
    """Whether NumPy calls: a program passes its environment, and does not ask for the floating-point flags."""

    def build(context, builder, signature, args):
        null = context.get_constant_null(types.voidptr)
        return builder.icmp_unsigned("==", args[0], null)

    return types.boolean(data), build


class _Distinct(ir.MDValue):
    """A node of LLVM's metadata that is equal to no other."""

    def __init__(self, module: ir.Module) -> None:
        super().__init__(module, (), str(len(module.metadata)))

    __eq__, __hash__ = object.__eq__, object.__hash__

    def descr(self, buf: list[str]) -> None:
        buf.append("distinct ")
        super().descr(buf)


def parallel():
    """Say of the innermost loops above that no iteration reads what an earlier one has written.

    So LLVM makes vector code of them without a test whether their arrays overlap. It also holds, and the test would
    fail, where a loop reads an element and then writes over it.
    """


type_callable(parallel)(lambda context: lambda: types.none)


@lower_builtin(parallel)
def _(context, builder, signature, args):
    _mark_parallel(builder)
    return context.get_dummy_value()


def _mark_parallel(builder: ir.IRBuilder) -> None:
    module = builder.module
    for latch, blocks in _innermost_loops(builder.function):
        if "llvm.loop" not in latch.metadata:
            group, loop = _Distinct(module), _Distinct(module)
            word = ir.MetaDataString(module, "llvm.loop.parallel_accesses")
            loop.operands = loop, module.add_metadata([word, group])
            latch.set_metadata("llvm.loop", loop)
            for instruction in (i for block in blocks for i in block.instructions if i.opname in _ACCESSES):
                instruction.set_metadata("llvm.access.group", group)


_ACCESSES = ("load", "store", "call")


def _innermost_loops(function: ir.Function) -> list[tuple[ir.Instruction, set[ir.Block]]]:
    """The branches back to the heads of loops, as far as the function is written, and the blocks of those loops."""
    after = {b: [o for o in b.terminator.operands if isinstance(o, ir.Block)] for b in function.blocks if b.terminator}
    before: dict[ir.Block, list[ir.Block]] = {}
    for block in after:
        for following in after[block]:
            before.setdefault(following, []).append(block)
    loops = []
    for block, head in _edges_back(after):
        blocks, work = {head}, [block]
        while work:
            if work[-1] in blocks:
                work.pop()
            else:
                blocks.add(work[-1])
                work.extend(before[work.pop()])
        loops.append((head, block.terminator, blocks))
    heads = {head for head, *_ in loops}
    return [(latch, blocks) for head, latch, blocks in loops if heads & blocks == {head}]


def _edges_back(after: dict[ir.Block, list[ir.Block]]) -> list[tuple[ir.Block, ir.Block]]:
    """Edges from a block to one that every way to it has passed, which a search in depth meets on its own path."""
    entry = next(iter(after))
    edges, seen, path = [], {entry}, [(entry, iter(after[entry]))]
    while path:
        block, following = path[-1]
        target = next(following, None)
        if target is None:
            path.pop()
        elif target in (b for b, _ in path):
            edges.append((block, target))
        elif target in after and target not in seen:
            seen.add(target)
            path.append((target, iter(after[target])))
    return edges


def specialise(function: Callable[..., Any], dtype: np.dtype) -> Callable[..., Any]:
    """A scalar function for one dtype, compiled when it is first called: its numbers become numbers of that dtype.

    Names that refer to elementwise operations (anything with a ``scalar`` attribute) become their scalar functions, so
    that a gradient rule written for tensors is also a kernel.
    """
    return compiled(function, dtype)


def compiled(function: Any, dtype: np.dtype | None = None) -> Any:
    """`function` with its globals compiled as well, and its numbers of type `dtype` if there is one."""
    if not isinstance(function, FunctionType) or function.__module__ in (_TYPED, __name__):
        return function
    names = {"__name__": __name__, "__builtins__": __builtins__}
    for name in global_names(function.__code__) & function.__globals__.keys():
        value = function.__globals__[name]
        names[name] = compiled(getattr(value, "scalar", value), dtype)
    clone = FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)
    if not compiles():
        return clone
    # A call inside a loop keeps it from becoming vector code, and whether LLVM leaves one differs by Python version.
    options: dict[str, Any] = {"error_model": "numpy", "forceinline": True}
    if dtype is not None:
        options["pipeline_class"] = numbers_of(dtype)
    return numba.njit(**options)(clone)


def elementwise_loop(
    name: str,
    scalar: Callable[..., Any],
    ins: Sequence[Any],
    outs: Sequence[Any],
    takes: Sequence[int] | None = None,
    repeated: Sequence[int] = (),
) -> Any:
    """A ufunc over `scalar`, for one combination of input and output dtypes.

    A result may take the place of an input, element for element. Who calls the loop by its address sees to it that
    results overlap inputs in no other way; NumPy copies where they would.

    Parameters
    ----------
    name : str
        Shown in errors and in the names of cached files.
    scalar : callable
        Takes ``len(ins)`` numbers; returns a number, or a tuple where there are several outputs.
    ins, outs : sequences of dtype
        Element types of inputs and outputs.
    repeated : sequence of int
        Inputs that are mostly one number for all elements, as a learning rate is: they have a loop of their own.
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
    if not compiles():
        return _PythonLoop(name, scalar, outs, takes, arity)
    kinds = [_kind(d) for d in ins + outs]
    arguments = [kinds[0]] * arity
    for k, kind in zip(takes, kinds):
        arguments[k] = kind
    loops = _element_loops(scalar, kinds, takes, arguments, repeated)
    try:
        parts = scalar, tuple(takes), arity, tuple(repeated)
        return _ufunc(name, _ELEMENTWISE, {"loops": loops}, ins, outs, None, parts)
    except NumbaError:
        _resolve(cpu_target.typing_context, scalar, arguments)  # says in fewer words what is wrong with the function
        raise


def row_loop(name: str, function: Callable[..., Any], signature: str, ins: Sequence[Any], outs: Sequence[Any]) -> Any:
    """A generalised ufunc over ``function(*rows, *out_rows)``, rows being 1-D arrays (of length 1 for ``()``).

    `signature` is NumPy's, with at most one core dimension ``n``: ``"(n),()->(n)"``.
    """
    ins, outs = [np.dtype(d) for d in ins], [np.dtype(d) for d in outs]
    if not compiles():
        return _PythonRows(name, compiled(function), signature, outs)
    source = _row_source(signature, [d.itemsize for d in ins + outs])
    return _ufunc(name, source, {"f": compiled(function)}, ins, outs, signature, (compiled(function),))


class RowKernels(dict):
    """``kernels[dtype]``: the generalised ufunc of a row function for that float dtype, made when first asked for.

    Letters of `dtypes` stand for the operands: ``f`` for the float dtype asked for, ``i`` for int64.
    """

    def __init__(self, name: str, function: Callable[..., Any], signature: str, dtypes: str = "") -> None:
        super().__init__()
        self.name, self.function, self.signature = name, function, signature
        self.dtypes = dtypes or "f" * (signature.count(",") + 2)
        family(lambda dtype: [partial(self.__getitem__, dtype)])

    def __missing__(self, dtype: np.dtype) -> Any:
        types = [np.dtype(np.int64) if letter == "i" else dtype for letter in self.dtypes]
        self[dtype] = row_loop(self.name, self.function, self.signature, types[:-1], types[-1:])
        return self[dtype]


_ELEMENTWISE = """
def LOOP(args, dims, steps, data):
    loops(args, dims, steps)
    if eager(data):
        clear_flags(ALL)
"""


def _ufunc(
    name: str, source: str, names: dict[str, Any], ins: list, outs: list, signature: str | None, parts: tuple
) -> Any:
    """The ufunc whose loop `source` and `names` define, and `parts` tell from all others."""
    letters = "".join(f"{d.kind}{d.itemsize}" for d in ins + outs)
    safe = "loop_" + re.sub(r"\W", "_", name)[:40]
    called = f"{safe}_{letters}_{fingerprint(source, *parts)}"
    function = _function(source.replace("LOOP", called), ins + outs, names)
    loop = kept(lambda on_disk: numba.cfunc(SIGNATURE, cache=on_disk, error_model="numpy")(function))
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
    scope |= {f"T{k}": _kind(d) for k, d in enumerate(dtypes)} | {"pointer": pointer, "carray": numba.carray}
    scope |= {"scratch": scratch, "gathered": gathered, "place": place, "scatter": scatter, "free": free}
    scope |= {"clear_flags": _clear_flags, "eager": _eager, "ALL": _ALL_FLAGS, **names}
    module = compile(source, anchor(), "exec")
    code = next(c for c in module.co_consts if isinstance(c, CodeType))
    return FunctionType(code, scope, code.co_name)


# Loops over elements --------------------------------------------------------------------------------------------------
#
# Their instructions are written one by one: Numba's passes over Python code would take longer than LLVM's.

_SHORT = 256  # elements that are worked on at once where operands are not contiguous


def _kind(dtype: np.dtype) -> Any:
    return types.uint8 if dtype.kind == "b" else numba.from_dtype(dtype)


def _resolve(typing_context: Any, scalar: Any, arguments: list) -> tuple[Any, Any]:
    """The type of `scalar`, and that of its call with these arguments."""
    function = typing_context.resolve_value_type(scalar)
    return function, typing_context.resolve_function_type(function, tuple(arguments), {})


def _element_loops(scalar: Any, kinds: list, takes: Sequence[int], arguments: list, repeated: Sequence[int]) -> Any:
    """The intrinsic ``loops(args, dims, steps)`` that calls `scalar` for each element."""
    n_in = len(takes)
    patterns = [frozenset(repeated)] if repeated else []  # which inputs are one repeated number
    patterns += [frozenset({0}), frozenset({1})] if n_in == 2 else []

    @intrinsic
    def loops(typing_context, args, dims, steps):
        function, call = _resolve(typing_context, scalar, arguments)

        def build(context, builder, signature, values):
            implementation = context.get_function(function, call)
            context.add_linking_libs(getattr(implementation, "libs", ()))

            def evaluate(builder, numbers):
                passed = [context.get_constant(kind, 0) for kind in arguments]
                for k, kind, number in zip(takes, kinds, numbers):
                    passed[k] = context.cast(builder, number, kind, call.args[k])
                result = implementation(builder, passed)
                many = isinstance(call.return_type, types.BaseTuple)
                results = cgutils.unpack_tuple(builder, result) if many else [result]
                returned = list(call.return_type) if many else [call.return_type]
                return [context.cast(builder, *each) for each in zip(results, returned, kinds[n_in:])]

            _ElementLoops(context, builder, values, kinds, n_in, evaluate).write(patterns)
            return context.get_dummy_value()

        return types.void(args, dims, steps), build

    return loops


class _ElementLoops:
    """Writes the instructions of a kernel: a loop for each layout of operands that is worth one."""

    def __init__(self, context: Any, builder: ir.IRBuilder, values: Any, kinds: list, n_in: int, evaluate: Any) -> None:
        self.context, self.builder, self.n_in, self.evaluate = context, builder, n_in, evaluate
        self.parameters = [types.intp, *map(types.CPointer, kinds)]
        self.integer = context.get_value_type(types.intp)
        self.elements = [context.get_data_type(kind) for kind in kinds]
        self.sizes = [context.get_abi_sizeof(element) for element in self.elements]
        args, dims, steps = values
        self.n = builder.load(dims)
        self.addresses = [self._entry(args, k) for k in range(len(kinds))]
        self.steps = [self._entry(steps, k) for k in range(len(kinds))]

    def write(self, patterns: list[frozenset[int]]) -> None:
        """Loops for the patterns, and one for everything else."""
        done = self.builder.append_basic_block("done")
        contiguous = self._function(frozenset())
        for pattern in [frozenset[int](), *patterns]:
            function = self._function(pattern) if pattern else contiguous
            with self.builder.if_then(self._steps_are(0 if k in pattern else s for k, s in enumerate(self.sizes))):
                self._call(function, self.n, [self._pointer(k, self.integer(0)) for k in range(len(self.sizes))])
                self.builder.branch(done)
        self._short_parts(contiguous)
        self.builder.branch(done)
        self.builder.position_at_end(done)
        _mark_parallel(self.builder)

    def _short_parts(self, function: ir.Function) -> None:
        """Call the loop over contiguous operands for short parts; what is not contiguous passes through arrays."""
        builder, operands = self.builder, range(len(self.sizes))
        sizes = [self.integer(size) for size in self.sizes]
        shorts = [cgutils.alloca_once(builder, element, _SHORT) for element in self.elements]
        part = self._smaller(self.n, self.integer(_SHORT))
        repeated = [builder.icmp_signed("==", step, self.integer(0)) for step in self.steps]
        apart = [builder.icmp_signed("!=", step, size) for step, size in zip(self.steps, sizes)]
        for k in range(self.n_in):
            with builder.if_then(repeated[k]):
                _copy_elements(builder, part, self._pointer(k, self.integer(0)), self.integer(0), shorts[k], sizes[k])
        with cgutils.for_range_slice(builder, self.integer(0), self.n, part, self.integer) as (first, _):
            count = self._smaller(builder.sub(self.n, first), part)
            there = [self._pointer(k, first) for k in operands]
            for k in range(self.n_in):
                with builder.if_then(builder.and_(apart[k], builder.not_(repeated[k]))):
                    _copy_elements(builder, count, there[k], self.steps[k], shorts[k], sizes[k])
            self._call(function, count, [builder.select(apart[k], shorts[k], there[k]) for k in operands])
            for k in operands[self.n_in :]:
                with builder.if_then(apart[k]):
                    _copy_elements(builder, count, shorts[k], sizes[k], there[k], self.steps[k])

    def _function(self, pattern: frozenset[int]) -> ir.Function:
        """The loop for the inputs of `pattern` being repeated numbers, the others and the results contiguous.

        It is a function of its own, for the constants of several loops would not find room in the registers of one.
        """
        convention, module = self.context.call_conv, self.builder.module
        kind = convention.get_function_type(types.none, self.parameters)
        function = ir.Function(module, kind, module.get_unique_name("elements"))
        function.linkage = "internal"
        function.attributes.add("noinline")
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        n, *pointers = convention.get_arguments(function)
        numbers = {k: builder.load(pointers[k]) for k in pattern}
        with cgutils.for_range(builder, n) as loop:
            places = [builder.gep(pointer, [loop.index]) for pointer in pointers]
            loaded = [numbers[k] if k in numbers else builder.load(places[k]) for k in range(self.n_in)]
            for result, place in zip(self.evaluate(builder, loaded), places[self.n_in :]):
                builder.store(result, place)
        _mark_parallel(builder)
        convention.return_value(builder, self.context.get_dummy_value())
        return function

    def _call(self, function: ir.Function, n: ir.Value, pointers: list[ir.Value]) -> None:
        convention = self.context.call_conv
        convention.call_function(self.builder, function, types.none, self.parameters, [n, *pointers])

    def _smaller(self, x: ir.Value, y: ir.Value) -> ir.Value:
        return self.builder.select(self.builder.icmp_signed("<", x, y), x, y)

    def _steps_are(self, steps: Iterable[int]) -> ir.Value:
        tests = [self.builder.icmp_signed("==", mine, self.integer(step)) for mine, step in zip(self.steps, steps)]
        return reduce(self.builder.and_, tests)

    def _entry(self, array: ir.Value, k: int) -> ir.Value:
        return self.builder.load(self.builder.gep(array, [self.integer(k)]))

    def _pointer(self, k: int, index: ir.Value) -> ir.Value:
        """Where an element of operand `k` is."""
        first = self.builder.bitcast(self.addresses[k], self.elements[k].as_pointer())
        return _moved(self.builder, first, self.builder.mul(index, self.steps[k]))


def _copy_elements(builder: ir.IRBuilder, count: Any, source: Any, source_step: Any, target: Any, step: Any) -> None:
    """Write a loop that copies elements from `source` to `target`, both pointers with strides."""
    with cgutils.for_range(builder, count) as loop:
        value = builder.load(_moved(builder, source, builder.mul(loop.index, source_step)))
        builder.store(value, _moved(builder, target, builder.mul(loop.index, step)))


def _moved(builder: ir.IRBuilder, pointer: ir.Value, offset: ir.Value) -> ir.Value:
    byte = builder.bitcast(pointer, ir.IntType(8).as_pointer())
    return builder.bitcast(builder.gep(byte, [offset]), pointer.type)


# Loops over rows ------------------------------------------------------------------------------------------------------
#
# Rows that are not contiguous are copied, so a function of rows is compiled for one layout only.


def _row_source(signature: str, sizes: list[int]) -> str:
    cores = [bool(s.strip("() ")) for s in signature.replace("->", ",").split(",")]
    rows = [k for k, core in enumerate(cores) if core]
    steps = {k: f"steps[{len(cores) + position}]" for position, k in enumerate(rows)}
    lines = ["def LOOP(args, dims, steps, data):", *(["    n = dims[1]"] if rows else [])]
    lines += [f"    s{k} = scratch({steps[k]} != {sizes[k]}, n * {sizes[k]})" for k in rows]
    lines += ["    for i in range(dims[0]):"]
    lines += [f"        p{k} = pointer(args[{k}], i * steps[{k}], T{k})" for k in range(len(cores))]
    inputs = len(signature.partition("->")[0].split(","))
    lines += [f"        r{k} = gathered(p{k}, {steps[k]}, n, s{k})" for k in rows if k < inputs]
    lines += [f"        r{k} = place(p{k}, {steps[k]}, s{k})" for k in rows if k >= inputs]
    arrays = [f"carray(r{k}, n)" if core else f"carray(p{k}, 1)" for k, core in enumerate(cores)]
    lines += [f"        f({', '.join(arrays)})"]
    lines += [f"        scatter(p{k}, {steps[k]}, n, r{k})" for k in rows if k >= inputs]
    lines += [f"    free(s{k})" for k in rows]
    return "\n".join([*lines, "    if eager(data):", "        clear_flags(ALL)", ""])


free = types.ExternalFunction("free", types.void(types.voidptr))


@intrinsic
def scratch(typing_context, needed, size):
    """Memory of `size` bytes, to be freed, if it is needed."""

    def build(context, builder, signature, args):
        address = context.get_value_type(types.voidptr)
        place = cgutils.alloca_once_value(builder, address(None))
        malloc = cgutils.get_or_insert_function(builder.module, ir.FunctionType(address, [args[1].type]), "malloc")
        with builder.if_then(args[0]):
            builder.store(builder.call(malloc, [args[1]]), place)
        return builder.load(place)

    return types.voidptr(types.boolean, types.intp), build


@intrinsic
def gathered(typing_context, elements, step, n, scratch):
    """Where n elements are in a row: where they are, or copied to `scratch`."""

    def build(context, builder, signature, args):
        source, step, count, _ = args
        place, size, apart = _place(context, builder, elements, source, step, args[3])
        with builder.if_then(apart):
            _copy_elements(builder, count, source, step, place, size)
        return place

    return elements(elements, types.intp, types.intp, types.voidptr), build


@intrinsic
def place(typing_context, elements, step, scratch):
    """Where elements can be written in a row."""

    def build(context, builder, signature, args):
        return _place(context, builder, elements, *args)[0]

    return elements(elements, types.intp, types.voidptr), build


@intrinsic
def scatter(typing_context, elements, step, n, written):
    """Copy elements from where :func:`place` had them written."""

    def build(context, builder, signature, args):
        target, step, count, source = args
        _, size, apart = _place(context, builder, elements, target, step, source)
        with builder.if_then(apart):
            _copy_elements(builder, count, source, size, target, step)
        return context.get_dummy_value()

    return types.void(elements, types.intp, types.intp, elements), build


def _place(context: Any, builder: ir.IRBuilder, kind: Any, elements: Any, step: Any, scratch: Any) -> tuple:
    """Where a row is worked on, the size of its elements, and whether that is in `scratch`."""
    size = context.get_constant(types.intp, context.get_abi_sizeof(context.get_data_type(kind.dtype)))
    apart = builder.icmp_signed("!=", step, size)
    return builder.select(apart, builder.bitcast(scratch, elements.type), elements), size, apart


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
