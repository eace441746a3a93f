"""What optimisers do to one number: parameter, gradient and state in, parameter and state out.

``decay`` is the L2 penalty's factor, added to the gradient; AdamW's is applied to the parameter itself.
"""

from __future__ import annotations

import numpy as np

__all__ = ["adagrad", "adam", "adamw", "momentum", "nesterov", "rmsprop", "sgd"]


def sgd(p, g, rate, decay):
    """Gradient descent."""
    return p - rate * (g + decay * p)


def momentum(p, g, v, rate, decay, mu):
    """Gradient descent with momentum (Polyak, 1964)."""
    v = mu * v + g + decay * p
    return p - rate * v, v


def nesterov(p, g, v, rate, decay, mu):
    """Gradient descent with Nesterov's momentum, in the form of Sutskever et al. (2013)."""
    d = g + decay * p
    v = mu * v + d
    return p - rate * (d + mu * v), v


def rmsprop(p, g, s, rate, decay, alpha, eps):
    """Division by a running root mean square (Tieleman and Hinton, 2012)."""
    d = g + decay * p
    s = alpha * s + (1 - alpha) * d * d
    return p - rate * d / (np.sqrt(s) + eps), s


def adagrad(p, g, s, rate, decay, eps):
    """Division by the root of the sum of squares (Duchi, Hazan and Singer, 2011)."""
    d = g + decay * p
    s = s + d * d
    return p - rate * d / (np.sqrt(s) + eps), s


def adam(p, g, m, v, rate, decay, beta1, beta2, eps, correction1, correction2):
    """Adam (Kingma and Ba, 2015); the corrections are ``1 - beta ** t``."""
    d = g + decay * p
    m = beta1 * m + (1 - beta1) * d
    v = beta2 * v + (1 - beta2) * d * d
    return p - rate * (m / correction1) / (np.sqrt(v / correction2) + eps), m, v


def adamw(p, g, m, v, rate, decay, beta1, beta2, eps, correction1, correction2):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019)."""
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    return p - rate * (decay * p + (m / correction1) / (np.sqrt(v / correction2) + eps)), m, v
