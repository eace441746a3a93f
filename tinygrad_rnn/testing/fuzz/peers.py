"""PyTorch and JAX on programs: functions with the names and arguments of the package's, and what they give.

Nothing is imported before it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import numpy as np

from .program import GraphProgram

__all__ = ["installed", "jax_results", "torch_results"]


def installed(name: str) -> bool:
    """Whether there is a peer: torch or jax.

    Examples
    --------
    >>> from tinygrad_rnn.testing.fuzz.peers import installed
    >>> installed("numpy")
    True
    """
    return find_spec(name) is not None


def torch_results(
    program: GraphProgram, arrays: Sequence[np.ndarray], directions: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Values, gradient, and the gradient's derivative along the directions, by PyTorch."""
    import torch

    tensors = [torch.tensor(np.array(a, order="C")).requires_grad_(a.dtype.kind == "f") for a in arrays]
    floats = [t for t in tensors if t.is_floating_point()]
    values = program.values(*tensors, form="torch", module=torch_functions())
    outputs = [values[k] for k in program.outputs]
    slopes = _pulled(_loss(outputs, lambda y: y.is_floating_point()), floats, True)
    along = sum((g * torch.tensor(np.array(v, order="C"))).sum() for g, v in zip(slopes, directions))
    products = _pulled(along, floats, False)
    return [y.detach().numpy() for y in [*outputs, *slopes, *products]]


def _loss(outputs: Sequence[Any], is_float: Callable[[Any], bool]) -> Any:
    return sum((y * y).sum() * (1 + 0.1 * k) for k, y in enumerate(outputs) if is_float(y))


def _pulled(y: Any, floats: Sequence[Any], create_graph: bool) -> list[Any]:
    import torch

    if not getattr(y, "requires_grad", False):
        return [torch.zeros_like(t) for t in floats]
    found = torch.autograd.grad(y, floats, create_graph=create_graph, allow_unused=True)
    return [torch.zeros_like(t) if g is None else g for t, g in zip(floats, found)]


def jax_results(program: GraphProgram, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Values and gradient by JAX, operation by operation: to compile a program would take a second."""
    import jax

    module = jax_functions()
    places = [k for k, a in enumerate(arrays) if a.dtype.kind == "f"]

    def run(*floats: Any) -> list[Any]:
        given = [jax.numpy.asarray(a) for a in arrays]
        for k, x in zip(places, floats):
            given[k] = x
        values = program.values(*given, form="jax", module=module)
        return [values[k] for k in program.outputs]

    def loss(*floats: Any) -> Any:
        return _loss(run(*floats), lambda y: jax.numpy.issubdtype(y.dtype, np.floating))

    floats = [jax.numpy.asarray(arrays[k]) for k in places]
    slopes = jax.grad(loss, tuple(range(len(floats))))(*floats)
    return [np.asarray(y) for y in [*run(*floats), *slopes]]


# The functions --------------------------------------------------------------------------------------------------------


def _axes(axis: Any, ndim: int) -> tuple[int, ...]:
    return tuple(range(ndim)) if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)


@lru_cache(maxsize=1)
def torch_functions() -> Any:
    """A module's worth of PyTorch, under the package's names."""
    import torch
    from torch.nn import functional

    t: Any = SimpleNamespace()
    for name in (
        "tanh", "sin", "cos", "sigmoid", "erf", "erfc", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "abs", "sign",
        "relu", "floor", "ceil", "round", "maximum", "minimum", "logical_not", "logical_and", "einsum", "outer",
        "flatten",
    ):  # fmt: skip
        setattr(t, name, getattr(torch, name))
    t.power, t.detach = torch.pow, lambda x: x.detach()
    t.softplus, t.elu = functional.softplus, functional.elu
    t.gelu = functional.gelu
    t.leaky_relu = functional.leaky_relu
    t.clip = torch.clamp
    t.where = lambda m, a, b: torch.where(torch.as_tensor(m), a, b)
    t.tensor = lambda data: torch.tensor(data)
    t.masked_fill = lambda x, m, v: torch.where(m, torch.full((), v, dtype=x.dtype), x)
    t.astype = lambda x, dtype: x.to(getattr(torch, np.dtype(dtype).name))
    _torch_reductions(t, torch)
    _torch_shapes(t, torch)
    _torch_neural(t, torch, functional)
    t.checkpoint, t.steps = lambda f: f, _steps
    return t


def _steps(count: int, reverse: bool = False) -> range:
    return range(count - 1, -1, -1) if reverse else range(count)


def _torch_reductions(t: Any, torch: Any) -> None:
    def over(f: Callable[..., Any]) -> Callable[..., Any]:
        def reduced(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
            axes = _axes(axis, x.ndim)
            return f(x, axes, keepdims) if axes else f(x[None], (0,), False)

        return reduced

    def product(x: Any, axes: Any, keepdims: bool) -> Any:
        for k in sorted((a % x.ndim for a in axes), reverse=True):
            x = torch.prod(x, k, keepdim=keepdims)
        return x

    t.sum = over(lambda x, axes, keep: torch.sum(x, axes, keepdim=keep))
    t.mean = over(lambda x, axes, keep: torch.mean(x, axes, keepdim=keep))
    t.prod = over(product)
    t.max, t.min = over(torch.amax), over(torch.amin)
    t.var = over(lambda x, axes, keep: torch.var(x, axes, correction=0, keepdim=keep))
    t.std = over(lambda x, axes, keep: torch.sqrt(torch.var(x, axes, correction=0, keepdim=keep)))
    t.logsumexp = over(lambda x, axes, keep: torch.logsumexp(x, axes, keepdim=keep))
    norm = lambda ord: over(lambda x, axes, keep: torch.linalg.vector_norm(x, ord, axes, keepdim=keep))
    t.norm = lambda x, ord=2, axis=None, keepdims=False: norm(ord)(x, axis, keepdims)
    t.cumsum = lambda x, axis=None: torch.cumsum(x.flatten(), 0) if axis is None else torch.cumsum(x, axis)
    t.argmax = lambda x, axis=None: torch.argmax(x, axis)


def _torch_shapes(t: Any, torch: Any) -> None:
    def getitem(x: Any, index: tuple[Any, ...]) -> Any:
        """NumPy's indexing, by the positions that NumPy gives."""
        places = np.arange(x.numel()).reshape(tuple(x.shape))[index]
        return x.reshape(-1)[torch.tensor(np.array(places, order="C"))]

    def put(x: Any, index: tuple[Any, ...], factor: float) -> Any:
        mask = np.zeros(tuple(x.shape), bool)
        mask[index] = True
        return torch.where(torch.as_tensor(mask), x * factor, x)

    def pad(x: Any, widths: Any) -> Any:
        return torch.nn.functional.pad(x, [n for pair in reversed(widths) for n in pair])

    def split(x: Any, sections: Any, axis: int = 0) -> Any:
        return torch.tensor_split(x, sections, axis)

    def repeat(x: Any, count: int, axis: int | None) -> Any:
        return torch.repeat_interleave(x, count, axis)

    def take(x: Any, indices: Any, axis: int | None = None) -> Any:
        indices = torch.as_tensor(indices)
        if axis is None:
            return x.reshape(-1)[indices]
        return torch.index_select(x, axis, indices.reshape(-1)).reshape((*x.shape[:-1], *indices.shape))

    t.getitem, t.put, t.pad, t.split, t.repeat, t.take = getitem, put, pad, split, repeat, take
    t.transpose = lambda x, axes: x.permute(tuple(range(x.ndim))[::-1] if axes is None else axes)
    t.swapaxes, t.moveaxis, t.reshape = torch.swapaxes, torch.moveaxis, torch.reshape
    t.expand_dims = torch.unsqueeze
    t.squeeze = lambda x, axis: torch.squeeze(x) if axis is None else torch.squeeze(x, axis)
    t.broadcast_to = torch.broadcast_to
    t.tile = lambda x, reps: torch.tile(x, (reps,))
    t.flip = lambda x, axis: torch.flip(x, _axes(axis, x.ndim))
    t.roll = lambda x, shift, axis: torch.roll(x, shift) if axis is None else torch.roll(x, shift, axis)
    t.stack = lambda xs, axis=0: torch.stack(list(xs), axis)
    t.concatenate = lambda xs, axis=0: torch.cat(list(xs), axis)
    t.gather = lambda x, indices, axis: torch.gather(x, axis, torch.as_tensor(indices))


def _torch_neural(t: Any, torch: Any, functional: Any) -> None:
    t.softmax = lambda x, axis=-1: torch.softmax(x, axis)
    t.log_softmax = lambda x, axis=-1: torch.log_softmax(x, axis)
    t.layer_norm = lambda x, weight=None, bias=None: functional.layer_norm(x, x.shape[-1:], weight, bias)
    t.one_hot = lambda i, classes, dtype: functional.one_hot(i, classes).to(dtype)
    t.mse_loss, t.huber_loss = functional.mse_loss, functional.huber_loss
    t.binary_cross_entropy_with_logits = functional.binary_cross_entropy_with_logits

    def cross_entropy(x: Any, target: Any, reduction: str = "mean") -> Any:
        target = torch.as_tensor(target)
        lost = functional.cross_entropy(x.reshape(-1, x.shape[-1]), target.reshape(-1), reduction=reduction)
        return lost.reshape(target.shape) if reduction == "none" else lost

    t.cross_entropy = cross_entropy


@lru_cache(maxsize=1)
def jax_functions() -> Any:
    """A module's worth of JAX, under the package's names; in float64 where the arrays are."""
    import jax

    jax.config.update("jax_enable_x64", True)
    n, nn = jax.numpy, jax.nn
    j: Any = SimpleNamespace(**{name: getattr(n, name) for name in (
        "tanh", "sin", "cos", "exp", "expm1", "log", "log1p", "sqrt", "abs", "sign", "floor", "ceil", "round", "power",
        "maximum", "minimum", "logical_not", "logical_and", "where", "sum", "mean", "prod", "max", "min", "var", "std",
        "cumsum", "argmax", "transpose", "swapaxes", "moveaxis", "reshape", "expand_dims", "squeeze", "broadcast_to",
        "tile", "repeat", "flip", "roll", "pad", "stack", "concatenate", "split", "outer", "einsum", "clip", "take",
    )})  # fmt: skip
    j.sum = lambda x, axis=None, keepdims=False: n.sum(x, axis, keepdims=keepdims)
    reduced = lambda f: lambda x, axis=None, keepdims=False: f(x, axis, keepdims=keepdims)
    for name in ("mean", "prod", "max", "min", "var", "std"):
        setattr(j, name, reduced(getattr(n, name)))
    j.logsumexp = lambda x, axis=None, keepdims=False: nn.logsumexp(x, axis, keepdims=keepdims)
    j.norm = lambda x, ord=2, axis=None, keepdims=False: (
        n.sqrt(n.sum(x * x, axis, keepdims=keepdims)) if ord == 2 else n.sum(n.abs(x), axis, keepdims=keepdims)
    )
    j.tensor, j.flatten, j.detach = n.asarray, n.ravel, jax.lax.stop_gradient
    j.tensor = lambda data: n.asarray(data)
    j.masked_fill = lambda x, m, v: n.where(m, v, x)
    j.sigmoid, j.softplus, j.relu, j.elu, j.leaky_relu = nn.sigmoid, nn.softplus, nn.relu, nn.elu, nn.leaky_relu
    j.erf, j.rsqrt, j.gelu = jax.scipy.special.erf, jax.lax.rsqrt, lambda x: nn.gelu(x, approximate=False)
    j.gather = lambda x, indices, axis: n.take_along_axis(x, n.asarray(indices), axis)
    j.softmax, j.log_softmax = (lambda x, axis=-1: nn.softmax(x, axis)), (lambda x, axis=-1: nn.log_softmax(x, axis))
    j.one_hot = lambda i, classes, dtype: nn.one_hot(i, classes, dtype=dtype)
    j.checkpoint, j.steps = lambda f: f, _steps
    _jax_losses(j, n, nn)
    return j


def _jax_losses(j: Any, n: Any, nn: Any) -> None:
    def layer_norm(x: Any, weight: Any = None, bias: Any = None) -> Any:
        y = (x - x.mean(-1, keepdims=True)) / n.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return y if weight is None else y * weight + bias

    def cross_entropy(x: Any, target: Any, reduction: str = "mean") -> Any:
        lost = -n.take_along_axis(nn.log_softmax(x), n.asarray(target)[..., None], -1)[..., 0]
        return {"mean": n.mean, "sum": n.sum, "none": lambda y: y}[reduction](lost)

    def huber(a: Any, b: Any) -> Any:
        d = n.abs(a - b)
        return n.mean(n.where(d < 1, 0.5 * d * d, d - 0.5))

    j.layer_norm, j.cross_entropy, j.huber_loss = layer_norm, cross_entropy, huber
    j.mse_loss = lambda a, b: n.mean((a - b) ** 2)
    j.binary_cross_entropy_with_logits = lambda x, t: n.mean(t * nn.softplus(-x) + (1 - t) * nn.softplus(x))
