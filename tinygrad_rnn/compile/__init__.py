"""Compilation: trace, rewrite, plan, run. See :func:`tinygrad_rnn.compile`."""

from .function import Compiled, compile
from .program import Program

__all__ = ["Compiled", "Program", "compile"]
