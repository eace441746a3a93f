"""The property-testing kit: prove gradients, cells and layers; strategies that generate them."""

from ..calls import answers
from . import cell_laws, laws, strategies
from .checks import check_cell, check_module, check_op
from .compare import assert_close
from .gradients import check_grad
from .profiles import profile
from .report import GradientMismatch, InconclusiveError, KinkError

__all__ = [
    "GradientMismatch", "InconclusiveError", "KinkError", "assert_close", "cell_laws", "check_cell", "check_grad",
    "check_module", "check_op", "laws", "profile", "strategies",
]  # fmt: skip

answers(__name__)
