"""The machine: one jitted loop that runs a table of instructions, each a call of a kernel by its address.

An instruction is a row of int64:

    kernel, operands, repeats, dims, steps | base and offset of each operand | dims | steps
    | for each repeat: count, stride of each operand

The kernel has the signature of a ufunc loop. Around it the machine repeats the call, for axes that the kernel itself
does not walk along. Operands are given by the number of a base address and an offset from it, so that a table stays the
same when an array moves. Nothing here checks bounds: the verifier of ``compile/program.py`` has, before.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .cache import anchor, fingerprint, kept
from .families import Job, once

__all__ = ["HOST", "MOST_OPERANDS", "MOST_REPEATS", "REACHED", "SCRATCH", "machine", "profiler"]

HOST = 0  # the address of an instruction that is left to Python
MOST_OPERANDS = MOST_REPEATS = 16


@intrinsic
def _call(typing_context, address, args, dims, steps, data):
    """Call a loop by its address."""

    def build(context, builder, signature, given):
        pointer = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer] * 4)
        function = builder.inttoptr(given[0], kind.as_pointer())
        builder.call(function, [builder.inttoptr(a, pointer) for a in given[1:]])
        return context.get_dummy_value()

    return types.void(address, args, dims, steps, data), build


@intrinsic
def _load(typing_context, address):
    """The int64 at an address."""

    def build(context, builder, signature, given):
        return builder.load(builder.inttoptr(given[0], ir.IntType(64).as_pointer()))

    return types.int64(address), build


@intrinsic
def _store(typing_context, address, value):
    """Put an int64 at an address."""

    def build(context, builder, signature, given):
        builder.store(given[1], builder.inttoptr(given[0], ir.IntType(64).as_pointer()))
        return context.get_dummy_value()

    return types.void(address, value), build


def _run(table, starts, bases, scratch, environment, first, last):
    """Run instructions `first` to `last`; gives the number of the one that it stopped at.

    It stops at instructions for Python, and after one that found a fault. The number is left in the scratch memory too:
    an interruption may come between the return and whatever Python does with it.
    """
    args = scratch
    for number in range(first, last):
        at = table + 8 * _load(starts + 8 * number)
        kernel = _load(at)
        if kernel == 0:
            _store(scratch + 8 * REACHED, number)
            return number
        operands = _load(at + 8)
        repeats = _load(at + 16)
        place = at + 40
        for k in range(operands):
            base = _load(bases + 8 * _load(place + 16 * k))
            _store(args + 8 * k, base + _load(place + 16 * k + 8))
        dims = place + 16 * operands
        steps = dims + 8 * _load(at + 24)
        if repeats == 0:
            _call(kernel, args, dims, steps, environment)
        else:
            loops = steps + 8 * _load(at + 32)
            _repeat(kernel, operands, repeats, args, dims, steps, loops, environment)
        if _load(environment) != 0:
            _store(scratch + 8 * REACHED, number)
            return number
    _store(scratch + 8 * REACHED, last)
    return last


def _repeat(kernel, operands, repeats, args, dims, steps, loops, environment):
    """Call a kernel over the axes outside of it; the positions follow the addresses in the scratch memory."""
    counts = args + 8 * 16
    width = 8 * (operands + 1)
    for r in range(repeats):
        _store(counts + 8 * r, 0)
        if _load(loops + width * r) == 0:
            return
    while True:
        _call(kernel, args, dims, steps, environment)
        r = repeats - 1
        while r >= 0:
            here = loops + width * r
            position = _load(counts + 8 * r) + 1
            if position < _load(here):
                _store(counts + 8 * r, position)
                for k in range(operands):
                    _store(args + 8 * k, _load(args + 8 * k) + _load(here + 8 + 8 * k))
                break
            for k in range(operands):
                back = (position - 1) * _load(here + 8 + 8 * k)
                _store(args + 8 * k, _load(args + 8 * k) - back)
            _store(counts + 8 * r, 0)
            r -= 1
        if r < 0:
            return


# Python's own clock, as C has none that every system knows by one name. Python's has got a public name since.
if sys.version_info >= (3, 13):
    _perf_counter = types.ExternalFunction("PyTime_PerfCounterRaw", types.int32(types.intp))

    def _now(place):
        """Nanoseconds since some moment, by way of the int64 at an address."""
        _perf_counter(place)
        return _load(place)

else:
    _perf_counter = types.ExternalFunction("_PyTime_GetPerfCounter", types.int64())

    def _now(place):
        """Nanoseconds since some moment."""
        return _perf_counter()


def _profile(table, starts, bases, scratch, environment, first, last, times):
    """Run as ``_run`` does, and add the nanoseconds that each instruction took to the int64 numbers at `times`."""
    clock = scratch + 8 * 32
    for number in range(first, last):
        began = _now(clock)
        stopped = _run(table, starts, bases, scratch, environment, number, number + 1)
        _store(times + 8 * number, _load(times + 8 * number) + _now(clock) - began)
        if stopped == number:
            return number
    return last


SCRATCH = 40  # int64 numbers of working memory: addresses, positions, a clock, and
REACHED = 36  # how many instructions have been carried out


_INNER = {"_call": _call, "_load": _load, "_store": _store}


@cache
def machine() -> Callable[..., int]:
    """The jitted ``run``, which lets other threads work meanwhile."""
    return _jitted(_run, _INNER | {"_repeat": _helper(_repeat, _INNER), "REACHED": REACHED}, 7)


@cache
def profiler() -> Callable[..., int]:
    """The same for a profile: it is compiled when one is asked for."""
    now = _helper(_now, _INNER | {"_perf_counter": _perf_counter})
    return _jitted(_profile, _INNER | {"_run": machine(), "_now": now}, 8)


@once
def _for_warmup() -> list[Job]:
    return [machine, profiler]


def _helper(function: Callable[..., Any], names: dict[str, Any]) -> Any:
    return numba.njit(error_model="numpy")(FunctionType(function.__code__, {"__name__": __name__, **names}))


def _jitted(function: Callable[..., Any], names: dict[str, Any], arguments: int) -> Any:
    called = f"machine{function.__name__}_{fingerprint(function)}"
    code = function.__code__.replace(co_filename=anchor(), co_name=called, co_qualname=called)
    clone = FunctionType(code, {"__name__": __name__, "range": range, **names}, called)
    signature = types.int64(*[types.int64] * arguments)
    return kept(lambda on_disk: numba.njit(signature, cache=on_disk, nogil=True, error_model="numpy")(clone))
