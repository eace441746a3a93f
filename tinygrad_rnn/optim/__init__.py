"""Optimisers, learning-rate schedules and gradient clipping."""

from .clip import clip_grad_norm, clip_grad_value
from .optimizers import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop
from .schedules import constant, cosine, exponential, linear, step_decay, warmup

__all__ = [
    "SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop", "clip_grad_norm", "clip_grad_value", "constant",
    "cosine", "exponential", "linear", "step_decay", "warmup",
]  # fmt: skip
