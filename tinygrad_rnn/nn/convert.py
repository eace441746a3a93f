"""Weights from and to the layouts of PyTorch and Keras.

| | here | PyTorch | Keras |
| --- | --- | --- | --- |
| matrices | ``x @ W``, (in, out) | ``W @ x``, (out, in) | ``x @ W``, (in, out) |
| LSTM gates | i, f, g, o | i, f, g, o | i, f, c (our g), o |
| GRU gates | r, z, n | r, z, n | z, r, h (our n) |
| GRU's z | "write": new share; "keep": old share | keep | keep |
| GRU's reset | before the product; ``reset_after=True``: after | after | after; ``reset_after=False``: before |
| biases | one, none, or two | two: they are added but in the GRU's n | one; a GRU with ``reset_after`` has two rows |
| projection | ``W_p`` (hidden, projection) | ``weight_hr`` (projection, hidden) | none |
| directions | ``backward`` cells | names that end in ``_reverse`` | forward weights, then backward ones |

A model of the same meaning is made by ``GRU(..., reset_after=True, update="keep", bias="two")`` for the GRU of PyTorch
and Keras; RNN and LSTM need no options, or ``bias="two"`` to keep PyTorch's biases apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import ShapeError, fail
from ..tensor import Spec, Tensor
from .cell import ACTIVATIONS, Cell
from .cells import GRUCell, LSTMCell, RNNCell
from .layers import Embedding, Linear
from .loading import fitted, read_state
from .module import Module
from .recurrent import Recurrent

__all__ = ["from_keras_weights", "from_torch_state_dict", "to_keras_weights", "to_torch_state_dict"]

Get = Callable[[Tensor], np.ndarray]


def to_torch_state_dict(module: Module, *, of: str = "data") -> dict[str, np.ndarray]:
    """The weights as ``torch.nn`` names and lays them out: for ``load_state_dict`` after ``torch.from_numpy``.

    The table at the head of :mod:`tinygrad_rnn.nn.convert` says how gates, biases and directions correspond.

    Parameters
    ----------
    module : RNN, LSTM, GRU, a cell of these, Linear or Embedding
    of : "data" or "grad"
        The weights, or their gradients.

    Raises
    ------
    ValueError
        If PyTorch has no layer that computes the same.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> sorted(tg.nn.to_torch_state_dict(tg.nn.LSTM(3, 4)))
    ['bias_hh_l0', 'bias_ih_l0', 'weight_hh_l0', 'weight_ih_l0']
    """
    found: dict[str, np.ndarray] = {}
    for name, arrays in _torch_parts(module, of):
        found[name] = np.array(arrays, order="C")
    return found


def from_torch_state_dict(module: Module, state: Mapping[str, Any]) -> None:
    """Take over the weights of a ``torch.nn`` layer; either all fit, or nothing is changed.

    The table at the head of :mod:`tinygrad_rnn.nn.convert` says how gates, biases and directions correspond.

    Parameters
    ----------
    module : RNN, LSTM, GRU, a cell of these, Linear or Embedding
    state : dict of tensors or arrays
        What ``layer.state_dict()`` gives.

    Raises
    ------
    KeyError
        If names are missing or unknown.
    ShapeError
        If a shape differs.
    ValueError
        If PyTorch has no layer that computes the same as the module.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> one, other = tg.nn.GRU(3, 4, reset_after=True, update="keep", bias="two"), None
    >>> other = tg.nn.GRU(3, 4, reset_after=True, update="keep", bias="two")
    >>> tg.nn.from_torch_state_dict(other, tg.nn.to_torch_state_dict(one))
    >>> other.layers[0].W_i.tolist() == one.layers[0].W_i.tolist()
    True
    """
    own, given = to_torch_state_dict(module), read_state("from_torch_state_dict", state)
    missing, unknown = sorted(own.keys() - given.keys()), sorted(given.keys() - own.keys(), key=str)
    if missing or unknown:
        told = f"misses {missing or 'nothing'}, does not know {unknown or 'nothing'}"
        raise fail(KeyError, f"from_torch_state_dict: {told}")
    arrays = {name: _fitted(f"from_torch_state_dict: '{name}'", given[name], a) for name, a in own.items()}
    _assign(list(_from_torch(module, arrays)))


def _fitted(what: str, value: Any, own: np.ndarray) -> np.ndarray:
    of_torch = hasattr(value, "detach") and not isinstance(value, Tensor)
    return fitted(what, value.detach().cpu().numpy() if of_torch else value, Spec(own.shape, own.dtype))


def _assign(pairs: list[tuple[Tensor, np.ndarray]]) -> None:
    """Give tensors the values that were made for all of them."""
    for p, value in pairs:
        p.replace_data(np.array(value, p.dtype, order="C"))


def _getter(of: str) -> Get:
    if of not in ("data", "grad"):
        raise ValueError(f"to_torch_state_dict: of must be 'data' or 'grad'; got {of!r}")

    def grad(p: Tensor) -> np.ndarray:
        return np.zeros(p.shape, p.dtype) if p.grad is None else p.grad.numpy()

    return grad if of == "grad" else Tensor.numpy


def _cells(module: Module) -> Iterator[tuple[str, Cell]]:
    """The cells of a layer with what PyTorch puts behind the names of their weights."""
    if isinstance(module, Cell):
        yield "", module
        return
    assert isinstance(module, Recurrent)
    for k, cell in enumerate(module.layers):
        yield f"_l{k}", cell
        if module.backward is not None:
            yield f"_l{k}_reverse", module.backward[k]


def _is_recurrent(module: Module) -> bool:
    return isinstance(module, Cell | Recurrent)


def _torch_parts(module: Module, of: str) -> Iterator[tuple[str, np.ndarray]]:
    get = _getter(of)
    _check_not_overridden("PyTorch", module)
    if isinstance(module, Linear):
        yield "weight", get(module.W).T
        if module.b is not None:
            yield "bias", get(module.b)
    elif isinstance(module, Embedding):
        yield "weight", get(module.E)
    elif _is_recurrent(module):
        _check_layer("PyTorch", module)
        for suffix, cell in _cells(module):
            _check_same("PyTorch", cell)
            yield f"weight_ih{suffix}", get(cell.W_i).T
            yield f"weight_hh{suffix}", get(cell.W_h).T
            if cell.b is not None:
                yield f"bias_ih{suffix}", get(cell.b)
                yield f"bias_hh{suffix}", _second_bias(cell, of)
            if getattr(cell, "W_p", None) is not None:
                yield f"weight_hr{suffix}", get(cell.W_p).T  # type: ignore[attr-defined]
    else:
        raise ValueError(f"{type(module).__name__}: PyTorch has no layer that computes the same")


def _second_bias(cell: Cell, of: str) -> np.ndarray:
    """Of a cell with one bias zero, and its gradient that of the first: PyTorch adds both."""
    assert cell.b is not None
    if cell.b_h is None and of == "data":
        return np.zeros(cell.b.shape, cell.b.dtype)
    return _getter(of)(cell.b if cell.b_h is None else cell.b_h)


def _from_torch(module: Module, given: Mapping[str, np.ndarray]) -> Iterator[tuple[Tensor, np.ndarray]]:
    if isinstance(module, Linear):
        yield module.W, given["weight"].T
        if module.b is not None:
            yield module.b, given["bias"]
    elif isinstance(module, Embedding):
        yield module.E, given["weight"]
    else:
        for suffix, cell in _cells(module):
            yield cell.W_i, given[f"weight_ih{suffix}"].T
            yield cell.W_h, given[f"weight_hh{suffix}"].T
            if cell.b is not None:
                first, second = given[f"bias_ih{suffix}"], given[f"bias_hh{suffix}"]
                yield cell.b, first if cell.b_h is not None else first + second
                if cell.b_h is not None:
                    yield cell.b_h, second
            if getattr(cell, "W_p", None) is not None:
                yield cell.W_p, given[f"weight_hr{suffix}"].T  # type: ignore[attr-defined]


def _check_not_overridden(framework: str, module: Any) -> None:
    """Refuse a subclass, or an object, that has methods of its own in place of ours: it may compute anything."""
    kinds = type(module).__mro__
    ours = [kind for kind in kinds if kind.__module__.startswith(_PACKAGE)]
    own = [vars(kind) for kind in kinds[: kinds.index(ours[0])]] + [vars(module)]
    computing = {name for kind in ours for name, value in vars(kind).items() if _computes(name, value)}
    replaced = sorted({name for names in own for name in names if name in computing})
    if replaced:
        raise fail(
            ValueError, f"{type(module).__name__}: {framework} has no layer that computes the same",
            got=f"{', '.join(replaced)} in place of that of {ours[0].__name__}",
            hint="convert the layers that it is made of, one after the other",
        )  # fmt: skip


_PACKAGE = __name__.partition(".")[0] + "."


def _computes(name: str, value: Any) -> bool:
    if name.startswith("__"):
        return name in ("__call__", "__getattribute__")
    return callable(value) or isinstance(value, property | tuple)  # GATES is a tuple


def _check_layer(framework: str, module: Any) -> None:
    """Refuse what layers of other frameworks do not do around and between their cells."""
    _check_not_overridden(framework, module)
    if not isinstance(module, Recurrent):
        return
    cells = [cell for _, cell in _cells(module)]
    alike = {(type(c), getattr(c, "hidden_size", 0), getattr(c, "g", None)) for c in cells}
    if module.residual or (module.skip and len(module.layers) > 1) or len(alike) > 1:
        raise ValueError(
            f"{type(module).__name__}: {framework} has no layer that computes the same: its cells are of one kind and "
            "size, without residual or skip connections"
        )


def _check_same(framework: str, cell: Any, reset_after: bool | None = True) -> None:
    """Refuse options that the other framework does not know."""
    if isinstance(cell, Cell):
        _check_not_overridden(framework, cell)
    same = isinstance(cell, Cell) and cell.norm_i is None and not cell.learned
    if not same:
        pass
    elif isinstance(cell, RNNCell):
        same = cell.skip == 1 and cell.leak == 1
    elif isinstance(cell, LSTMCell):
        same = cell.p is None and not cell.state_gated and "f" in cell.names and cell.out is cell.g
    elif isinstance(cell, GRUCell):
        after = reset_after is None or cell.reset_after
        biases = not cell.reset_after or cell.b is None or cell.b_h is not None
        same = cell.update == "keep" and after and biases
    else:
        same = False
    if not same or (framework == "PyTorch" and not _activations_are_pytorchs(cell)):
        hint = " (its GRU is GRU(..., reset_after=True, update='keep', bias='two'))" * isinstance(cell, GRUCell)
        raise ValueError(f"{type(cell).__name__}: {framework} has no cell that computes the same{hint}")


def _activations_are_pytorchs(cell: Any) -> bool:
    """Keras takes activations by options, PyTorch has tanh, or ReLU in an RNN, and logistic gates."""
    candidates = ("tanh", "relu") if isinstance(cell, RNNCell) else ("tanh",)
    gates = getattr(cell, "sigma", ACTIVATIONS["sigmoid"])
    return any(cell.g is ACTIVATIONS[name] for name in candidates) and gates is ACTIVATIONS["sigmoid"]


# Keras ----------------------------------------------------------------------------------------------------------------


def to_keras_weights(module: Module) -> list[np.ndarray]:
    """The weights as ``layer.get_weights()`` of Keras orders them: for ``layer.set_weights``.

    The table at the head of :mod:`tinygrad_rnn.nn.convert` says how gates, biases and directions correspond.

    Parameters
    ----------
    module : a cell; RNN, LSTM or GRU of one layer, of one direction or, for Keras' ``Bidirectional``, of two; Linear,
        Embedding

    Raises
    ------
    ValueError
        If Keras has no layer that computes the same.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> [w.shape for w in tg.nn.to_keras_weights(tg.nn.LSTM(3, 4))]
    [(3, 16), (4, 16), (16,)]
    """
    return [np.array(a, order="C") for a in _keras_parts(module)]


def from_keras_weights(module: Module, weights: Sequence[Any]) -> None:
    """Take over what ``layer.get_weights()`` gives; either all fit, or nothing is changed.

    The table at the head of :mod:`tinygrad_rnn.nn.convert` says how gates, biases and directions correspond.

    Raises
    ------
    ShapeError
        If the number of arrays or a shape differs.
    ValueError
        If Keras has no layer that computes the same as the module.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> one, other = tg.nn.LSTM(3, 4), tg.nn.LSTM(3, 4)
    >>> tg.nn.from_keras_weights(other, tg.nn.to_keras_weights(one))
    >>> other.layers[0].W_i.tolist() == one.layers[0].W_i.tolist()
    True
    """
    own, given = to_keras_weights(module), list(weights)
    if len(own) != len(given):
        expected = f"{len(own)} arrays, {', '.join(str(a.shape) for a in own)}"
        raise fail(ShapeError, "from_keras_weights", expected=expected, got=str(len(given)))
    pairs = enumerate(zip(given, own, strict=True))
    arrays = [_fitted(f"from_keras_weights: weight {k}", value, a) for k, (value, a) in pairs]
    _assign(list(_from_keras(module, iter(arrays))))


def _keras_cells(module: Module) -> list[Any]:
    if not _is_recurrent(module) or (isinstance(module, Recurrent) and len(module.layers) > 1):
        raise ValueError(f"{type(module).__name__}: Keras has no layer of this make; convert one layer after the other")
    _check_layer("Keras", module)
    cells = [cell for _, cell in _cells(module)]
    for cell in cells:
        _check_same("Keras", cell, reset_after=None)
        if getattr(cell, "W_p", None) is not None or (cell.b_h is not None and not getattr(cell, "reset_after", False)):
            name = type(cell).__name__
            raise ValueError(f"{name}: Keras has no projection, and two biases only in a GRU that resets after")
    return cells


def _turned(cell: Any, a: np.ndarray) -> np.ndarray:
    """Exchange the first two gates of a GRU along the last axis: Keras has z before r."""
    if not isinstance(cell, GRUCell):
        return a
    r, z, n = np.split(a, 3, -1)
    return np.concatenate([z, r, n], -1)


def _keras_parts(module: Module) -> Iterator[np.ndarray]:
    _check_not_overridden("Keras", module)
    if isinstance(module, Linear):
        yield from (p.numpy() for p in (module.W, module.b) if p is not None)
        return
    if isinstance(module, Embedding):
        yield module.E.numpy()
        return
    for cell in _keras_cells(module):
        yield _turned(cell, cell.W_i.numpy())
        yield _turned(cell, cell.W_h.numpy())
        if cell.b is not None:
            rows = [_turned(cell, b.numpy()) for b in (cell.b, cell.b_h) if b is not None]
            yield np.stack(rows) if len(rows) > 1 else rows[0]


def _from_keras(module: Module, given: Iterator[np.ndarray]) -> Iterator[tuple[Tensor, np.ndarray]]:
    if isinstance(module, Linear | Embedding):
        yield from zip(module.parameters(), given, strict=True)
        return
    for cell in _keras_cells(module):
        yield cell.W_i, _turned(cell, next(given))
        yield cell.W_h, _turned(cell, next(given))
        if cell.b is not None:
            rows = np.atleast_2d(next(given))
            yield cell.b, _turned(cell, rows[0])
            if cell.b_h is not None:
                yield cell.b_h, _turned(cell, rows[1])
