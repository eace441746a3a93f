"""The fuzzer: random graphs and models against an oracle and its peers.

In reading order: ``table`` (the operations), ``program`` (graphs as data), ``oracle_values``, ``oracle_ops`` and
``oracle`` (what a program should give), ``peers`` (PyTorch and JAX), ``motifs``, ``draw`` and ``models`` (how programs
are drawn), ``twins`` and ``stages`` (what is checked), ``check``, ``shrink``, ``report``, and ``run``.
"""

from .run import Finding, Report, fuzz, in_processes, main, program_number, replay

__all__ = ["Finding", "Report", "fuzz", "in_processes", "main", "program_number", "replay"]
