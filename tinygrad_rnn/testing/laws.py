"""Laws that every differentiable function keeps, each a function of its own that raises where it is broken.

They need no reference and no differences: two ways of computing the same thing must agree. All take a function of
tensors, arrays for its arguments, and a seed for the random directions; `parameters`, a Module or a list of tensors,
are differentiated by as well.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..compile import compile
from ..grad.forward import jvp
from ..grad.reverse import grad
from ..graph import graph
from ..nested import taken_apart
from ..nn.module import Module
from ..ops.core import as_array
from ..ops.create import tensor
from ..tensor import Tensor, describe
from .compare import assert_close

__all__ = [
    "determinism",
    "dtype_kept",
    "duality",
    "eager_equals_compiled",
    "equals_reference",
    "hessian_symmetry",
    "inputs_not_mutated",
    "linearity_of_cotangent",
    "no_reference_leak",
]  # fmt: skip

Fn = Callable[..., Any]


def duality(fn: Fn, *inputs: Any, seed: int = 0) -> None:
    """Forward and reverse mode are each other's transpose: ``⟨c, J v⟩ = ⟨Jᵀ c, v⟩``.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.testing.laws.duality(lambda x, w: tg.tanh(x @ w), [[1.0, 2.0]], [[0.5], [0.25]])
    """
    call, wrt, arrays = _bare(fn, inputs)
    rng = np.random.default_rng(seed)
    primals = [tensor(arrays[k]) for k in wrt]
    directions = [_direction(rng, t) for t in primals]
    outputs, tangents = jvp(call, primals, directions)
    cotangents = [_direction(rng, y) for y in outputs]
    pulled = _pulled(call(*primals), primals, cotangents)
    ahead = _inner(cotangents, tangents)
    behind = _inner(pulled, directions)
    scale = _scale(cotangents, tangents) + _scale(pulled, directions)
    _agree("duality: ⟨c, J v⟩ and ⟨Jᵀ c, v⟩", ahead, behind, scale, [*outputs, *primals])


def linearity_of_cotangent(fn: Fn, *inputs: Any, parameters: Any = (), seed: int = 0) -> None:
    """Reverse mode is linear in the cotangent: ``vjp(a c + b d) = a vjp(c) + b vjp(d)``.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.testing.laws.linearity_of_cotangent(tg.tanh, [0.5, -1.0])
    """
    rng = np.random.default_rng(seed)
    outputs, wrt = _recorded(fn, inputs, parameters)
    c, d = ([_direction(rng, y) for y in outputs] for _ in range(2))
    a, b = rng.uniform(0.5, 2.0, 2)
    mixed = _pulled(outputs, wrt, [tensor((a * p.data + b * q.data).astype(p.dtype)) for p, q in zip(c, d)])
    for k, (m, p, q) in enumerate(zip(mixed, _pulled(outputs, wrt, c), _pulled(outputs, wrt, d), strict=True)):
        expected = a * p.data.astype(np.float64) + b * q.data
        scale = float(np.abs(expected).max(initial=0) + np.abs(p.data).max(initial=0) + np.abs(q.data).max(initial=0))
        atol = _slack([*outputs, *wrt]) * scale + float(np.finfo(m.dtype).tiny)  # below that digits are lost anyway
        assert_close(m.data, expected.astype(m.dtype), atol=atol, name=f"linearity of the cotangent: input {k}")


def hessian_symmetry(fn: Fn, *inputs: Any, parameters: Any = (), seed: int = 0) -> None:
    """Second derivatives do not depend on the order: ``⟨u, H v⟩ = ⟨v, H u⟩``.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.testing.laws.hessian_symmetry(lambda x, y: tg.tanh(x * y), [0.5, -1.0], [2.0, 0.3])
    """
    rng = np.random.default_rng(seed)
    outputs, wrt = _recorded(fn, inputs, parameters)
    cotangents = [_direction(rng, y) for y in outputs]
    u, v = ([_direction(rng, t) for t in wrt] for _ in range(2))
    first = grad(outputs, wrt, cotangents, create_graph=True, allow_unused=True)
    turned = [_turned(first, wrt, w) for w in (v, u)]
    ahead, behind = _inner(u, turned[0]), _inner(v, turned[1])
    scale = _scale(u, turned[0]) + _scale(v, turned[1])
    _agree("symmetry of the Hessian: ⟨u, H v⟩ and ⟨v, H u⟩", ahead, behind, scale, [*outputs, *wrt])


def dtype_kept(fn: Fn, *inputs: Any, parameters: Any = ()) -> None:
    """float32 gives float32, float64 gives float64: results, and gradients of each argument.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.testing.laws.dtype_kept(lambda x: x / 3, [1.0, 2.0])
    """
    for dtype in (np.float32, np.float64):
        given = [a.astype(dtype) if a.dtype.kind == "f" else a for a in map(_array, inputs)]
        outputs, wrt = _recorded(fn, given, parameters)
        if not wrt:
            return
        widest = np.result_type(*(t.dtype for t in wrt))
        for k, y in enumerate(outputs):
            if y.dtype != widest:
                raise AssertionError(f"dtype kept: output {k} is {y.dtype} for inputs of {widest.name}")
        cotangents = [tensor(np.ones(y.shape, y.dtype)) for y in outputs]
        for k, (g, t) in enumerate(zip(_pulled(outputs, wrt, cotangents), wrt, strict=True)):
            if (g.dtype, g.shape) != (t.dtype, t.shape):
                raise AssertionError(
                    f"dtype kept: the gradient of input {k} is {g.shape} {g.dtype}, the input {t.shape} {t.dtype}"
                )


def inputs_not_mutated(fn: Fn, *inputs: Any, parameters: Any = ()) -> None:
    """The function writes into no argument and no parameter, and its gradient into nothing that was computed.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.testing.laws.inputs_not_mutated(tg.tanh, [0.5, -1.0])
    """
    tensors = [tensor(_array(x)) for x in inputs]
    leaves = [*tensors, *_parameters(parameters)]
    with _unchanged("the function", leaves):
        outputs = _floats(fn(*tensors))
    wrt = [t for t in leaves if t.is_float]
    for recorded in (False, True):
        with _unchanged("the gradient", graph(outputs).nodes if outputs else leaves):
            weights = [tensor(np.ones(y.shape, y.dtype)) for y in outputs]
            if outputs and wrt:
                grad(outputs, wrt, weights, create_graph=recorded, allow_unused=True)


@contextmanager
def _unchanged(what: str, tensors: Sequence[Tensor]) -> Iterator[None]:
    """Raise if the values of tensors change within the block."""
    held = [(t, t.data, t.data.copy()) for t in tensors]
    yield
    for t, a, b in held:
        if a.tobytes() != b.tobytes():
            raise AssertionError(f"inputs not mutated: {what} changed {describe(t)}, from\n{b}\nto\n{a}")


def no_reference_leak(fn: Fn, *inputs: Any, parameters: Any = ()) -> None:
    """Once the results are gone, all that was recorded is freed at once, without a search for circles.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.testing.laws.no_reference_leak(lambda x: tg.tanh(x).sum(), [0.5, -1.0])
    """
    tensors = [tensor(_array(x)) for x in inputs]
    kept = {t.serial for t in [*tensors, *_parameters(parameters)]}
    _floats(fn(*tensors))  # the first call may compile, and keep what it compiles
    collecting = gc.isenabled()
    gc.disable()
    try:
        outputs = _floats(fn(*tensors))
        nodes = [(weakref.ref(t), describe(t)) for t in graph(outputs).nodes if t.inputs and t.serial not in kept]
        del outputs
        alive = [name for ref, name in nodes if ref() is not None]
    finally:
        if collecting:
            gc.enable()
    if alive:
        raise AssertionError(
            f"no reference leak: {len(alive)} of {len(nodes)} recorded operations are alive after the results are "
            f"gone, first {alive[0]}; do not keep tensors in attributes or global lists"
        )


def determinism(fn: Fn, *inputs: Any, parameters: Any = ()) -> None:
    """The same call twice gives the same bits, gradients included.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.testing.laws.determinism(tg.tanh, [0.5, -1.0])
    """
    runs = []
    for _ in range(2):
        outputs, wrt = _recorded(fn, inputs, parameters)
        pulled = _pulled(outputs, wrt, [tensor(np.ones(y.shape, y.dtype)) for y in outputs])
        runs.append([t.data for t in [*outputs, *pulled]])
    for k, (a, b) in enumerate(zip(*runs, strict=True)):
        if a.tobytes() != b.tobytes():
            what = f"output {k}" if k < len(outputs) else f"the gradient of input {k - len(outputs)}"
            raise AssertionError(
                f"determinism: {what} differs between two calls with the same arguments; keep no state between calls, "
                "and draw random numbers from a generator that is an argument"
            )


def eager_equals_compiled(fn: Fn, *inputs: Any, parameters: Any = (), rtol: float | None = None) -> None:
    """A compiled function gives what the eager one gives, to rounding, results and gradients.

    It is called with other values in between, so that nothing of an earlier call may be left.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.testing.laws.eager_equals_compiled(lambda x: tg.tanh(x).sum(), [0.5, -1.0])
    """
    arrays = [_array(x) for x in inputs]
    places = [k for k, a in enumerate(arrays) if a.dtype.kind == "f"]
    extra = _parameters(parameters)

    def both(*given: Any) -> Any:
        outputs = _all(fn(*given))
        floats = [y for y in outputs if y.is_float]
        wrt = [*(given[k] for k in places), *extra]
        weights = [tensor(np.cos(np.arange(y.size)).reshape(y.shape).astype(y.dtype)) for y in floats]
        if not wrt or len(floats) < len(outputs):
            return outputs
        found = grad(floats, wrt, weights, allow_unused=True)
        return [*outputs, *(t * 0 if g is None else g for g, t in zip(found, wrt, strict=True))]

    compiled = compile(both)
    for given in (arrays, [a * a.dtype.type(0.75) if a.dtype.kind == "f" else a for a in arrays], arrays):
        expected = both(*map(tensor, given))
        scale = max([1.0, *(float(np.abs(t.data).max(initial=0)) for t in expected if t.is_float)])
        for k, (a, b) in enumerate(zip(compiled(*given), expected, strict=True)):
            coarse = np.finfo(b.dtype).eps if b.is_float else 0
            atol = None if rtol is not None or not np.isfinite(scale) else 1e3 * float(coarse) * scale
            assert_close(a.data, b.data, rtol=rtol, atol=atol, name=f"compiled: result {k}")


def equals_reference(fn: Fn, reference: Fn, *inputs: Any, rtol: float = 1e-12) -> None:
    """The function gives what a NumPy function of float64 arrays gives.

    Examples
    --------
    >>> import numpy as np, tinygrad_rnn as tg
    >>> tg.testing.laws.equals_reference(tg.tanh, np.tanh, [0.5, -1.0])
    """
    arrays = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in map(_array, inputs)]
    found = [t.data for t in _all(fn(*map(tensor, arrays)))]
    with np.errstate(all="ignore"):
        given = reference(*arrays)
    expected = list(given) if isinstance(given, tuple | list) else [given]
    if len(found) != len(expected):
        raise AssertionError(f"equals reference: {len(found)} results, the reference gives {len(expected)}")
    for k, (a, b) in enumerate(zip(found, expected, strict=True)):
        b = np.asarray(b)
        scale = float(np.abs(b[np.isfinite(b)]).max(initial=0)) if b.dtype.kind == "f" else 0.0
        assert_close(a, b, rtol=rtol, atol=rtol * scale, name=f"equals reference: result {k}")


# Helpers --------------------------------------------------------------------------------------------------------------


def _array(x: Any) -> np.ndarray:
    return as_array(x.data if isinstance(x, Tensor) else x)


def _parameters(parameters: Any) -> list[Tensor]:
    return list(parameters.parameters()) if isinstance(parameters, Module) else list(parameters)


def _all(result: Any) -> list[Tensor]:
    return taken_apart(result, "law")[0]


def _floats(result: Any) -> list[Tensor]:
    return [t for t in _all(result) if t.is_float]


def _bare(fn: Fn, inputs: Sequence[Any]) -> tuple[Callable[..., list[Tensor]], list[int], list[np.ndarray]]:
    """The function of its float arguments alone, which those are, and all arguments."""
    arrays = [_array(x) for x in inputs]
    places = [k for k, a in enumerate(arrays) if a.dtype.kind == "f"]

    def call(*moving: Any) -> list[Tensor]:
        given: list[Any] = [tensor(a) for a in arrays]
        for k, t in zip(places, moving, strict=True):
            given[k] = t
        return _floats(fn(*given))

    return call, places, arrays


def _recorded(fn: Fn, inputs: Sequence[Any], parameters: Any) -> tuple[list[Tensor], list[Tensor]]:
    """Float results, and what they are differentiated by."""
    tensors = [tensor(_array(x)) for x in inputs]
    return _floats(fn(*tensors)), [*(t for t in tensors if t.is_float), *_parameters(parameters)]


def _direction(rng: np.random.Generator, t: Tensor) -> Tensor:
    return tensor((rng.uniform(0.5, 1.5, t.shape) * rng.choice([-1.0, 1.0], t.shape)).astype(t.dtype))


def _pulled(outputs: Sequence[Tensor], wrt: Sequence[Tensor], cotangents: Sequence[Tensor]) -> list[Tensor]:
    if not outputs or not wrt:
        return []
    found = grad(list(outputs), list(wrt), list(cotangents), allow_unused=True)
    return [tensor(np.zeros(t.shape, t.dtype)) if g is None else g for g, t in zip(found, wrt, strict=True)]


def _turned(first: Sequence[Tensor | None], wrt: Sequence[Tensor], v: Sequence[Tensor]) -> list[Tensor]:
    used = [(g, w) for g, w in zip(first, v, strict=True) if g is not None]
    return _pulled([g for g, _ in used], wrt, [w for _, w in used]) or [tensor(np.zeros(t.shape, t.dtype)) for t in wrt]


def _inner(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    return float(sum((x.data.astype(np.float64) * y.data).sum() for x, y in zip(a, b, strict=True)))


def _scale(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    return float(sum(np.abs(x.data.astype(np.float64) * y.data).sum() for x, y in zip(a, b, strict=True)))


def _slack(tensors: Sequence[Tensor]) -> float:
    """Rounding that two ways of computing the same may differ by, relative to the sum of the sizes of all terms."""
    return 4096 * max([float(np.finfo(t.dtype).eps) for t in tensors if t.is_float], default=0.0)


def _agree(what: str, a: float, b: float, scale: float, tensors: Sequence[Tensor]) -> None:
    if np.isfinite(scale) and not abs(a - b) <= _slack(tensors) * scale + np.finfo(np.float64).tiny:
        raise AssertionError(f"{what} differ: {a!r} and {b!r}, relative to {scale:.3g}")
