"""Backpropagation through time, looked at: which parts a gradient has, how far it flows, and what helps."""

from .contributions import Contributions, contributions
from .jacobians import jacobian_bound, lyapunov_exponents, singular_values, spectral_norms, state_jacobian

__all__ = [
    "Contributions", "contributions", "jacobian_bound", "lyapunov_exponents", "singular_values", "spectral_norms",
    "state_jacobian",
]  # fmt: skip
