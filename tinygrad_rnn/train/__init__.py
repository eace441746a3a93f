"""Training: batches in, a trained, saved and resumable model out."""

from ..calls import answers
from .evaluation import Evaluation, evaluate
from .fit import fit
from .history import History

__all__ = ["Evaluation", "History", "evaluate", "fit"]

answers(__name__)
