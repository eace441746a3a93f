"""Differentiation: ``reverse`` (grad, backward, vjp), ``forward`` (jvp), ``second`` (Jacobians, Hessians), ``checkpoint``, ``anomaly``."""
