"""Differentiation: ``reverse`` (grad, backward, vjp) with its ``sums``, ``forward`` (jvp), ``second`` (Jacobians,
Hessians), ``checkpoint`` and ``anomaly``."""
