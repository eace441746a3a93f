"""Compilation: trace, rewrite, plan, run. See :func:`tinygrad_rnn.compile`.

Reading order, as a call goes: ``function`` (a program for each signature, with ``guards``), ``capture``; ``optimise``
with ``rewrite``, ``rules``, ``batching`` and ``remat``; ``lower`` with ``placement``, ``views``, ``lowerings`` and
``emit``; ``memory_plan``, ``program``, ``run``, ``report``; and ``serialize``, ``deserialize``.
"""

from .function import Compiled, compile
from .program import Program

__all__ = ["Compiled", "Program", "compile"]
