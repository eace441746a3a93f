"""What Numba's frontend makes of a function of numbers: which arguments it reads, and of which type its numbers are.

Numba reads the bytecode of every version of Python that it is released for. Nothing here reads it again: where a
literal stands in it, and by which instruction it is loaded, changes from version to version.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
from numba.core import ir
from numba.core.compiler import CompilerBase, DefaultPassBuilder, run_frontend
from numba.core.compiler_machinery import FunctionPass, register_pass
from numba.core.untyped_passes import InlineClosureLikes

__all__ = ["arguments_read", "numbers_of"]


def arguments_read(function: FunctionType) -> tuple[int, ...]:
    """Which arguments a function reads, by number; all of them where Numba cannot tell.

    Examples
    --------
    >>> from tinygrad_rnn.kernels.frontend import arguments_read
    >>> arguments_read(lambda g, y, x: g * x)
    (0, 2)
    """
    try:
        code = run_frontend(function)
    except Exception:  # whatever Numba raises where Python has something that it does not support
        return tuple(range(function.__code__.co_argcount))
    instructions = [i for block in code.blocks.values() for i in block.body]
    names = {i.value.index: i.target.name for i in instructions if _is_argument(i)}
    read = {name for i in instructions for name in _read_by(i)}
    return tuple(k for k in sorted(names) if names[k] in read)


def _is_argument(instruction: ir.Stmt) -> bool:
    return isinstance(instruction, ir.Assign) and isinstance(instruction.value, ir.Arg)


def _read_by(instruction: ir.Stmt) -> set[str]:
    if not isinstance(instruction, ir.Assign):
        return {v.name for v in instruction.list_vars()}
    value = instruction.value
    if isinstance(value, ir.Var):
        return {value.name}
    return {v.name for v in value.list_vars()} if isinstance(value, ir.Inst) else set()


@cache
def numbers_of(dtype: np.dtype) -> type[CompilerBase]:
    """A compiler, for ``numba.njit(pipeline_class=...)``, that takes the numbers in a function for ones of `dtype`.

    Those are its literals, and the numbers that its globals, the variables around it, and modules as in ``math.pi``
    stand for. Without it the ``1`` of ``1 - y * y`` would carry float32 arithmetic over into float64.
    """
    return type(f"NumbersOf{dtype}", (_Compiler,), {"kind": dtype.type})


class _Compiler(CompilerBase):
    kind: Callable[..., Any]

    def define_pipelines(self) -> list[Any]:
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.add_pass_after(_NumbersOfOneType, InlineClosureLikes)
        passes.finalize()
        return [passes]


@register_pass(mutates_CFG=False, analysis_only=False)
class _NumbersOfOneType(FunctionPass):
    _name = "numbers_of_one_type"

    def __init__(self) -> None:  # that of the class above is abstract
        super().__init__()

    def run_pass(self, state: Any) -> bool:
        assignments = [a for block in state.func_ir.blocks.values() for a in block.find_insts(ir.Assign)]
        with np.errstate(over="ignore"):  # 1e300 is infinity in float32
            for assignment in assignments:
                assignment.value = _typed(assignment.value, state.func_ir, state.pipeline.kind)
        return True


def _typed(value: Any, code: ir.FunctionIR, kind: Callable[..., Any]) -> Any:
    """What is assigned, as a number of that type if it is a number."""
    if isinstance(value, ir.Const | ir.Global | ir.FreeVar):
        if type(value.value) in (int, float):
            value.value = kind(value.value)  # in place, for others hold it as well
    elif isinstance(value, ir.Expr) and value.op == "getattr":
        number = getattr(_held(value.value, code), value.attr, None)
        if type(number) in (int, float):
            return ir.Const(kind(number), value.loc)
    return value


def _held(variable: ir.Var, code: ir.FunctionIR) -> ModuleType | None:
    """The module that a variable stands for."""
    try:
        held = getattr(code.get_definition(variable), "value", None)
    except KeyError:  # it is assigned in several places
        return None
    return held if isinstance(held, ModuleType) else None
