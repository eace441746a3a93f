"""Differentiation: ``reverse`` (grad, backward, vjp) with its ``cotangents``, ``forward`` (jvp), ``second`` (Jacobians,
Hessians), ``checkpoint`` and ``anomaly``."""
