"""Products of matrices, by BLAS through NumPy: ``np.dot`` for two matrices (transposed views are passed as flags, not
copied), ``np.matmul`` for stacks of them, ``np.einsum`` for the rest; what is summed without a product is added up as
by ``sum``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ShapeError, fail
from ..kernels.sums import add_up
from ..tensor import Spec, Tensor
from .broadcasting import broadcast_shape
from .core import apply, define, of_one_dtype, promoted, quiet, refused, result_dtype
from .shape import broadcast_to, expand_dims, flatten, reshape

__all__ = ["einsum", "matmul", "outer"]

# Matrix product -------------------------------------------------------------------------------------------------------


@quiet  # np.dot warns of overflow as well
def _matmul_run(a: np.ndarray, b: np.ndarray) -> Any:
    if a.ndim == 2 and b.ndim == 2 and b.shape[0] == 1 == a.shape[1]:
        return a * b  # BLAS would leave out rows that are multiplied by zero, and their NaN
    if a.ndim == 2 and b.ndim == 2:
        return np.dot(a, b)
    if b.ndim == 2 and a.ndim > 2 and a.flags.c_contiguous and a.shape[-1] == b.shape[0]:
        return np.dot(a.reshape(_rows(a.shape), b.shape[0]), b).reshape(*a.shape[:-1], b.shape[1])
    return np.matmul(a, b)


def _rows(shape: tuple[int, ...]) -> int:
    rows = 1
    for n in shape[:-1]:
        rows *= n
    return rows


def _matmul_shape(a: Spec, b: Spec) -> Spec:
    if not a.ndim or not b.ndim:
        raise fail(ShapeError, f"matmul: shapes {a.shape} and {b.shape}", expected="axes on both", hint="use *")
    if a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        raise fail(
            ShapeError, f"matmul: shapes {a.shape} and {b.shape} do not fit",
            expected=f"the last axis of the first ({a.shape[-1]}) to equal "
            + (f"the second to last of the second ({b.shape[-2]})" if b.ndim > 1 else f"the second's ({b.shape[0]})"),
            hint="transpose one of them (.T, or .swapaxes(-1, -2) in a batch)",
        )  # fmt: skip
    lead = broadcast_shape("matmul", a.shape[:-2], b.shape[:-2])
    rows, columns = a.shape[-2:-1], b.shape[-1:] if b.ndim > 1 else ()
    return Spec((*lead, *rows, *columns), result_dtype([a.dtype, b.dtype]))


@dataclass(slots=True)
class Product:
    """The cotangent ``a.T @ g`` of a weight, not yet multiplied out: a recurrent network has one for each time step,
    and the sum of them all is one product of the stacked rows."""

    a: Any
    g: Any


def _left(g: Any, y: Any, a: Any, b: Any) -> Any:
    if b.ndim == 1:
        return g[..., None] * b
    if a.ndim == 1:
        return (g[..., None, :] @ b.swapaxes(-1, -2)).reshape((*g.shape[:-1], a.shape[0]))
    return g @ b.swapaxes(-1, -2)


def _right(g: Any, y: Any, a: Any, b: Any) -> Any:
    if a.ndim == 1:
        return a * g if b.ndim == 1 else a[:, None] * g[..., None, :]
    if b.ndim == 1:
        return (a.swapaxes(-1, -2) @ g[..., None]).reshape((*a.shape[:-2], b.shape[0]))
    if b.ndim > 2:
        return a.swapaxes(-1, -2) @ g
    if a.ndim > 2:  # one weight for a batch of sequences: one product, not one per row
        rows = _rows(a.shape)
        a, g = a.reshape((rows, a.shape[-1])), g.reshape((rows, g.shape[-1]))
    return Product(a, g)


MATMUL = define(
    "matmul", run=_matmul_run, shape=_matmul_shape, vjp=(_left, _right), jvp="multilinear",
    formula=r"{0} {1}", symbol="@", plain=True, takes=lambda a, b: of_one_dtype(a, b),
)  # fmt: skip


def matmul(a: Any, b: Any) -> Tensor:
    """Matrix product with NumPy's rules: vectors, matrices, and stacks of matrices that broadcast.

    Raises
    ------
    ShapeError
        If the inner sizes differ, or an operand has no axes.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.matmul([[1.0, 2.0]], [[3.0], [4.0]]).tolist()
    [[11.0]]
    """
    if not (isinstance(a, Tensor) and isinstance(b, Tensor)) or a.data.dtype is not b.data.dtype:
        a, b = promoted((a, b))
    return apply(MATMUL, (a, b))


def outer(a: Any, b: Any) -> Tensor:
    """Products of every entry of `a` with every entry of `b`, both flattened.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.outer([1.0, 2.0], [3.0, 4.0]).tolist()
    [[3.0, 4.0], [6.0, 8.0]]
    """
    return expand_dims(flatten(a), 1) * expand_dims(flatten(b), 0)


# Einstein summation ---------------------------------------------------------------------------------------------------


def _einsum_run(*arrays: np.ndarray, terms: tuple[str, ...], result: str) -> Any:
    if arrays[0].dtype.kind == "f":  # NumPy would add up term by term
        pairs = [_own_summed(k, arrays[k], terms, result) for k in range(len(terms))]
        arrays, terms = tuple(a for a, _ in pairs), tuple(term for _, term in pairs)
        if len({frozenset(term) for term in terms}) == 1:
            return _summed_product(arrays, terms, result)
    return np.einsum(",".join(terms) + "->" + result, *arrays, optimize=len(arrays) > 1)


def _own_summed(k: int, array: np.ndarray, terms: tuple[str, ...], result: str) -> tuple[np.ndarray, str]:
    """Operand `k` summed over the letters that nothing else has."""
    others = set("".join(terms[:k] + terms[k + 1 :]) + result)
    axes = tuple(axis for axis, letter in enumerate(terms[k]) if letter not in others)
    return np.asarray(add_up(array, axes)) if axes else array, "".join(c for c in terms[k] if c in others)


def _summed_product(arrays: tuple[np.ndarray, ...], terms: tuple[str, ...], result: str) -> Any:
    """The sum of the product of operands that have the same letters."""
    product = arrays[0]
    for array, term in zip(arrays[1:], terms[1:], strict=True):
        product = product * array.transpose([term.index(letter) for letter in terms[0]])
    axes = tuple(axis for axis, letter in enumerate(terms[0]) if letter not in result)
    kept = [letter for letter in terms[0] if letter in result]
    total = np.asarray(add_up(product, axes)) if axes else product
    return total.transpose([kept.index(letter) for letter in result])


def _sizes(shapes: list[tuple[int, ...]], terms: tuple[str, ...]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for k, (shape, term) in enumerate(zip(shapes, terms, strict=True)):
        if len(shape) != len(term):
            raise fail(
                ShapeError, f"einsum: operand {k} has shape {shape}",
                expected=f"{len(term)} axes, for '{term}'", got=f"{len(shape)} axes",
            )  # fmt: skip
        for letter, n in zip(term, shape, strict=True):
            if sizes.setdefault(letter, n) != n:
                raise fail(
                    ShapeError, f"einsum: index '{letter}' of operand {k}, '{term}'",
                    expected=f"size {sizes[letter]}, as before", got=str(n),
                )  # fmt: skip
    return sizes


def _einsum_shape(*specs: Spec, terms: tuple[str, ...], result: str) -> Spec:
    sizes = _sizes([s.shape for s in specs], terms)
    return Spec(tuple(sizes[c] for c in result), specs[0].dtype)


def _einsum_vjp(wanted: list[int], g: Tensor, y: Tensor, *inputs: Tensor, terms: tuple[str, ...], result: str) -> Any:
    return [_einsum_part(i, g, inputs, terms, result) for i in wanted]


def _einsum_part(i: int, g: Tensor, inputs: tuple[Tensor, ...], terms: tuple[str, ...], result: str) -> Tensor:
    """The product of `g` with the other operands, summed to the indices of operand `i`, its own ones broadcast."""
    others = [(t, term) for k, (t, term) in enumerate(zip(inputs, terms, strict=True)) if k != i]
    reached = set(result).union(*(term for _, term in others))
    kept = "".join(c for c in terms[i] if c in reached)
    part = _einsum([g, *(t for t, _ in others)], (result, *(term for _, term in others)), kept)
    lifted = reshape(part, tuple(n if c in reached else 1 for c, n in zip(terms[i], inputs[i].shape, strict=True)))
    return broadcast_to(lifted, inputs[i].shape)


EINSUM = define(
    "einsum", run=quiet(_einsum_run), shape=_einsum_shape, vjp=_einsum_vjp, jvp="multilinear",
    formula=r"\mathrm{{einsum}}({0}, \ldots)",
    takes=lambda *specs, terms, result: of_one_dtype(*specs) and _are_terms(terms, result),
)  # fmt: skip


def einsum(subscripts: str, *operands: Any) -> Tensor:
    """Sums of products by Einstein's convention, as in NumPy; letters only, no ellipsis.

    Parameters
    ----------
    subscripts : str
        As ``"bth,hk->btk"``. Without ``->`` the result has the letters that occur once, in alphabetical order. A
        letter twice in one operand takes its diagonal.
    operands : tensors
        One for each term.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.einsum("ij,j->i", [[1.0, 2.0], [3.0, 4.0]], [1.0, 10.0]).tolist()
    [21.0, 43.0]
    """
    tensors = promoted(operands)
    terms, result = _parse(subscripts, tensors)
    try:
        _sizes([t.shape for t in tensors], terms)
    except ShapeError as error:
        raise refused(tensors, str(error)) from None
    pairs = [_diagonal(t, term) for t, term in zip(tensors, terms, strict=True)]
    return _einsum([t for t, _ in pairs], tuple(term for _, term in pairs), result)


def _are_terms(terms: tuple[str, ...], result: str) -> bool:
    """Whether these are letters, none of them twice in one term, and those of the result in the terms."""
    letters = all(c.isalpha() and c.isascii() for term in (*terms, result) for c in term)
    once = all(len(set(term)) == len(term) for term in (*terms, result))
    return letters and once and set(result) <= set("".join(terms))


def _einsum(tensors: list[Tensor], terms: tuple[str, ...], result: str) -> Tensor:
    return apply(EINSUM, tuple(tensors), {"terms": terms, "result": result})


def _parse(subscripts: str, operands: tuple[Tensor, ...]) -> tuple[tuple[str, ...], str]:
    left, arrow, result = subscripts.replace(" ", "").partition("->")
    terms = tuple(left.split(","))
    letters = "".join(terms)
    if not arrow:
        result = "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    wrong = not all(c.isalpha() and c.isascii() for c in letters + result)
    if wrong or len(terms) != len(operands) or len(set(result)) < len(result) or set(result) - set(letters):
        raise refused(
            operands, f"einsum: cannot read '{subscripts}' for {len(operands)} operands",
            expected="letters, a term per operand, and a result whose letters occur once and in the terms",
            hint="as 'bth,hk->btk'",
        )  # fmt: skip
    return terms, result


def _diagonal(t: Tensor, term: str) -> tuple[Tensor, str]:
    """Take the diagonal over each letter that a term repeats."""
    for letter in dict.fromkeys(c for c in term if term.count(c) > 1):
        axes = [k for k, c in enumerate(term) if c == letter]
        rest = [k for k in range(len(term)) if k not in axes]
        index = np.arange(t.shape[axes[0]])
        t = t.transpose(*axes, *rest)[(index,) * len(axes)]
        term = letter + "".join(term[k] for k in rest)
    return t, term
