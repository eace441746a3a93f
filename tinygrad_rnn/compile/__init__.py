"""Compilation: trace, rewrite, plan, run. See :func:`tinygrad_rnn.compile`."""

from .function import Compiled, compile
from .program import Program
from .warmup import warmup

__all__ = ["Compiled", "Program", "compile", "warmup"]
