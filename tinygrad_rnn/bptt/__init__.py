"""Backpropagation through time, looked at: which parts a gradient has, how far it flows, and what helps."""

from ..calls import answers
from .compare import Comparison, Remedy, compare
from .contributions import Contributions, contributions
from .flow import Flow, Series, flow
from .jacobians import jacobian_bound, lyapunov_exponents, singular_values, spectral_norms, state_jacobian
from .paths import Path, Paths, paths
from .task import LongTermDependency, remedies

__all__ = [
    "Comparison", "Contributions", "Flow", "LongTermDependency", "Path", "Paths", "Remedy", "Series", "compare",
    "contributions", "flow", "jacobian_bound", "lyapunov_exponents", "paths", "remedies", "singular_values",
    "spectral_norms", "state_jacobian",
]  # fmt: skip

answers(__name__)
