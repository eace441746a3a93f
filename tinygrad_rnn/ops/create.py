"""Tensors from nothing: data, constants, ranges. Floats are float32 unless a dtype or a NumPy array says otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import DTypeError, fail
from ..tensor import CONSTANT, DEFAULT_FLOAT, PARAMETER, Tensor, leaf
from .core import as_array, as_tensor

__all__ = [
    "arange", "eye", "from_dlpack", "full", "full_like", "linspace", "ones", "ones_like", "parameter", "tensor",
    "zeros", "zeros_like",
]  # fmt: skip

Shape = int | tuple[int, ...] | list[int]


def tensor(data: Any, dtype: Any = None, name: str | None = None, requires_grad: bool = False) -> Tensor:
    """A tensor that holds a copy of `data`.

    Parameters
    ----------
    data : number, nested sequence, array or tensor
    dtype : dtype, optional
        By default Python floats become float32, and arrays keep their dtype.
    name : str, optional
        Shown in pictures, listings and errors.
    requires_grad : bool
        Whether ``backward`` collects a gradient in ``.grad``; :func:`parameter` is short for it.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.tensor([1.0, 2.0], name="x")
    tensor([1., 2.], shape=(2,), dtype=float32, name='x')
    """
    if isinstance(data, Tensor):
        data = data.numpy()
    array = np.array(as_array(data, dtype))
    if requires_grad and array.dtype.kind != "f":
        raise fail(
            DTypeError, f"a tensor of dtype {array.dtype} carries no gradient", expected="a float dtype",
            hint="pass dtype=np.float32, or leave requires_grad out",
        )  # fmt: skip
    return leaf(array, PARAMETER if requires_grad else CONSTANT, name=name, requires_grad=requires_grad)


def parameter(data: Any, dtype: Any = None, name: str | None = None) -> Tensor:
    """A tensor to be trained: ``backward`` collects its gradient in ``.grad``, and optimisers assign to it.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.parameter([[0.5]], name="W")
    tensor([[0.5]], shape=(1, 1), dtype=float32, name='W', requires_grad=True)
    """
    return tensor(data, dtype, name, requires_grad=True)


def full(shape: Shape, value: Any, dtype: Any = None) -> Tensor:
    """A tensor of one value.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.full(2, 7.0).tolist()
    [7.0, 7.0]
    """
    return leaf(np.full(shape, value, as_array(value, dtype).dtype))


def zeros(shape: Shape, dtype: Any = DEFAULT_FLOAT) -> Tensor:
    """Zeros.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.zeros((1, 2)).tolist()
    [[0.0, 0.0]]
    """
    return full(shape, 0, dtype)


def ones(shape: Shape, dtype: Any = DEFAULT_FLOAT) -> Tensor:
    """Ones.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.ones(2).tolist()
    [1.0, 1.0]
    """
    return full(shape, 1, dtype)


def full_like(x: Any, value: Any) -> Tensor:
    """A tensor of one value, with the shape and dtype of `x`.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.full_like([1, 2], 5).tolist()
    [5, 5]
    """
    x = as_tensor(x)
    return full(x.shape, value, x.dtype)


def zeros_like(x: Any) -> Tensor:
    """Zeros with the shape and dtype of `x`.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.zeros_like([1, 2]).tolist()
    [0, 0]
    """
    return full_like(x, 0)


def ones_like(x: Any) -> Tensor:
    """Ones with the shape and dtype of `x`.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.ones_like([3.0, 2.0]).tolist()
    [1.0, 1.0]
    """
    return full_like(x, 1)


def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None) -> Tensor:
    """Evenly spaced values from `start` to before `stop`; from 0 if only one is given.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.arange(3).tolist(), tg.arange(0.0, 1.0, 0.5).tolist()
    ([0, 1, 2], [0.0, 0.5])
    """
    first, last = (0, start) if stop is None else (start, stop)
    values: Any = np.arange(first, last, step, dtype=dtype)
    return leaf(as_array(values.astype(DEFAULT_FLOAT) if dtype is None and values.dtype.kind == "f" else values))


def linspace(start: float, stop: float, num: int = 50, dtype: Any = DEFAULT_FLOAT) -> Tensor:
    """`num` evenly spaced values from `start` to `stop`, both included.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.linspace(0.0, 1.0, 3).tolist()
    [0.0, 0.5, 1.0]
    """
    return leaf(as_array(np.linspace(start, stop, num, dtype=dtype)))


def eye(n: int, m: int | None = None, dtype: Any = DEFAULT_FLOAT) -> Tensor:
    """The identity matrix, or ones on the diagonal of an `n` by `m` matrix.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.eye(2).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    return leaf(as_array(np.eye(n, m, dtype=dtype)))


def from_dlpack(other: Any) -> Tensor:
    """A copy of a CPU tensor of another library that speaks DLPack: PyTorch, JAX, NumPy.

    Examples
    --------
    >>> import numpy as np, tinygrad_rnn as tg
    >>> tg.from_dlpack(np.arange(2.0)).tolist()
    [0.0, 1.0]
    """
    return tensor(np.from_dlpack(other))
