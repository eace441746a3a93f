"""Expressions as text: Unicode, LaTeX and HTML. One walk for all three; a form says how each piece is written."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ..ops.named import by_op
from ..tensor import Op
from .expr import Expr, Node, Number, Symbol
from .forms import FORMS, Pieces, split_name

__all__ = ["FORMS", "Writer"]

SUM, PREFIX, PRODUCT, MATRIX, POWER, ATOM = range(1, 7)  # how tightly things hold together


class Writer:
    """Writes expressions in one form.

    Parameters
    ----------
    form : "unicode", "latex" or "html"
    last : int, optional
        The time step that is written as T.
    first : int
        The one that sums over all steps begin with.
    at_end : bool
        Whether the step before the last is written as T − 1.
    """

    def __init__(self, form: str, last: int | None = None, first: int = 1, at_end: bool = False) -> None:
        self.form, self.kind = FORMS[form], form
        self.last, self.first, self.at_end = last, first, at_end

    def text(self, e: Expr, least: int = 0) -> str:
        """The expression, in parentheses where it holds together less tightly than `least`."""
        written, level = self._written(e)
        return f"{self.form.signs['(']}{written}{self.form.signs[')']}" if level < least else written

    def _written(self, e: Expr) -> tuple[str, int]:
        if isinstance(e, Number):
            return self.number(e.value), ATOM if e.value >= 0 else SUM
        if isinstance(e, Symbol):
            return self.symbol(e), ATOM
        return _WRITE[e.kind](self, e)

    # Pieces -----------------------------------------------------------------------------------------------------------

    def number(self, value: float) -> str:
        shown = f"{value:.6g}".replace("-", self.form.signs["-"])
        return {"inf": "∞", "nan": "NaN"}.get(shown, shown)

    def time(self, step: int | None, relative: str = "") -> str:
        if step is None:
            return ""
        if relative:
            sign = "+" if step > 0 else self.form.signs["-"]
            return f"{relative}{sign}{abs(step)}" if step else relative
        if self.last is not None and self.at_end and step == self.last - 1:
            return f"T{self.form.signs['-']}1"
        if self.last is not None and step == self.last + 1:
            return "T+1"
        return "T" if step == self.last else str(step).replace("-", self.form.signs["-"])

    def symbol(self, s: Symbol) -> str:
        stem, accent, sub = split_name(s.base)
        plain = self.form.symbol(Pieces(stem, accent, s.sup, sub, self.time(s.time, s.relative), s.block))
        if not s.of:
            return plain
        stem, accent, sub = split_name(s.of)
        return self.form.derivative(self.form.symbol(Pieces(stem, accent, sub=sub)), plain)

    def call(self, name: str, *args: str) -> str:
        return f"{self.form.function(name)}{self.form.signs['(']}{', '.join(args)}{self.form.signs[')']}"


# Kinds ----------------------------------------------------------------------------------------------------------------


def _sum(w: Writer, e: Node) -> tuple[str, int]:
    text = w.text(e.args[0], SUM)
    for a in e.args[1:]:
        if isinstance(a, Node) and a.kind == "neg":
            text += f" {w.form.signs['-']} {w.text(a.args[0], PREFIX)}"
        elif isinstance(a, Number) and a.value < 0:
            text += f" {w.form.signs['-']} {w.number(-a.value)}"
        else:
            text += f" + {w.text(a, PREFIX)}"
    return text, SUM


def _negative(w: Writer, e: Node) -> tuple[str, int]:
    return f"{w.form.signs['-']}{w.text(e.args[0], PREFIX)}", SUM


def _product(w: Writer, e: Node) -> tuple[str, int]:
    parts = list(e.args)
    if len(parts) == 2 and isinstance(parts[0], Number):
        return f"{w.number(parts[0].value)} {w.text(parts[1], PRODUCT)}", PRODUCT
    text = ""
    for k, a in enumerate(parts):
        if k:
            before = parts[k - 1]
            scalar = not a.shape or not before.shape
            sign = " " if isinstance(before, Number) else f" {w.form.signs['·' if scalar else '⊙']} "
            text += sign
        text += w.text(a, POWER)
    return text, PRODUCT


def _quotient(w: Writer, e: Node) -> tuple[str, int]:
    above, below = e.args
    if w.form.fraction is not None:
        return w.form.fraction(w.text(above), w.text(below)), ATOM
    return f"{w.text(above, PRODUCT)} / {w.text(below, POWER)}", PRODUCT


def _power(w: Writer, e: Node) -> tuple[str, int]:
    base, exponent = e.args
    return w.form.power(w.text(base, ATOM), w.text(exponent)), POWER


def _matmul(w: Writer, e: Node) -> tuple[str, int]:
    return " ".join(w.text(a, POWER) for a in e.args), MATRIX


def _transposed(w: Writer, e: Node) -> tuple[str, int]:
    return w.form.transposed(_whole(w, e.args[0])), POWER


def _whole(w: Writer, e: Expr) -> str:
    """Something that a mark is put behind; a derivative is in parentheses then."""
    return w.text(e, ATOM + 1 if isinstance(e, Symbol) and e.of else ATOM)


def _outer(w: Writer, e: Node) -> tuple[str, int]:
    return f"{w.form.transposed(w.text(e.args[0], ATOM))} {w.text(e.args[1], POWER)}", MATRIX


def _hidden(w: Writer, e: Node) -> tuple[str, int]:
    return w._written(e.args[0])


def _reduced(w: Writer, e: Node) -> tuple[str, int]:
    a, axis = e.args[0], e.params.given["axis"]
    if len(axis) == len(a.shape):
        return f"{w.form.signs['Σ']} {w.text(a, PRODUCT + 1)}", PREFIX
    if len(a.shape) == 2 and axis == (0,):
        return f"{w.form.transposed(w.form.signs['1'])} {w.text(a, POWER)}", MATRIX
    if len(a.shape) == 2 and axis == (1,):
        return f"{w.text(a, POWER)} {w.form.signs['1']}", MATRIX
    return w.call("sum", w.text(a), f"axis {', '.join(map(str, axis))}"), ATOM


def _sigma(w: Writer, e: Node) -> tuple[str, int]:
    given = e.params.given
    first, last = given["first"], given["last"]
    all_steps = w.last is not None and (first, last) == (w.first, w.last)
    sign = w.form.sigma(given["index"], w.time(first), w.time(last), all_steps)
    return f"{sign} {w.text(e.args[0], PREFIX)}", PREFIX


def _indicator(w: Writer, e: Node) -> tuple[str, int]:
    return f"[{w.text(e.args[0])}]", ATOM


def _chain(w: Writer, e: Node) -> tuple[str, int]:
    *outer, above, below = map(w.text, e.args[1:])
    return " ".join([*outer, w.form.derivative(above, below)]), MATRIX


def _call(w: Writer, e: Node) -> tuple[str, int]:
    op = e.params.op
    assert op is not None
    special = _CALLS.get(op)
    if special is not None:
        return special(w, e)
    infix = re.fullmatch(r"\{0\} (.+) \{1\}", op.formula)
    if infix and len(e.args) == 2:
        return f"{w.text(e.args[0], PRODUCT)} {w.form.signs.get(op.label, op.label)} {w.text(e.args[1], PRODUCT)}", SUM
    return w.call(_NAMES.get(op, op.name), *map(w.text, e.args), *_shown(e)), ATOM


_NAMES = by_op(
    {"sigmoid": "σ", "log": "ln", "cross_entropy": "CE", "one_hot": "onehot", "normalize": "norm"}
)
_HIDDEN = ("keepdims", "dtype", "eps", "generator", "classes", "index", "terms", "result", "shape", "places")


def _shown(e: Node) -> list[str]:
    """Parameters of an operation that a reader must know."""
    found = []
    for name, value in e.params.given.items():
        if name == "axis":
            shape = e.args[0].shape
            if value in (len(shape) - 1, tuple(range(len(shape))), None):
                continue
        if name not in _HIDDEN:
            found.append(f"{name} {value}".replace("(", "").replace(",)", "").replace(")", ""))
    return found


def _constant(w: Writer, e: Node) -> tuple[str, int]:
    values = set(e.params.given["value"].reshape(-1).tolist())
    if len(values) != 1:
        return w.form.function("const"), ATOM
    value = values.pop()
    return w.form.function(str(value).lower()) if isinstance(value, bool) else w.number(value), ATOM


def _index(w: Writer, e: Node) -> tuple[str, int]:
    arrays = iter(e.args[1:])
    index = e.params.given["index"]
    parts = _parts(w, index if isinstance(index, tuple) else (index,), e.args[0].shape, arrays)
    while len(parts) > 1 and parts[-1] == ":":
        parts.pop()
    return f"{_whole(w, e.args[0])}[{', '.join(parts)}]", ATOM


def _parts(w: Writer, index: tuple[Any, ...], shape: tuple[int, ...], arrays: Any) -> list[str]:
    """The parts of an index, of which those that take all are written as a colon."""
    plain = not any(p is None or p is Ellipsis for p in index)
    full = [plain and isinstance(p, slice) and p.indices(n) == (0, n, 1) for p, n in zip(index, shape)]
    return [":" if k < len(full) and full[k] else _part(w, p, arrays) for k, p in enumerate(index)]


def _part(w: Writer, part: Any, arrays: Any) -> str:
    if isinstance(part, slice):
        ends = ["" if n is None else str(n) for n in (part.start, part.stop, part.step)]
        return ":".join(ends[: 3 if ends[2] not in ("", "1") else 2]) if any(ends) else ":"
    if isinstance(part, str):
        return w.text(next(arrays))
    return "…" if part is Ellipsis else "new" if part is None else str(part)


def _assembled(w: Writer, e: Node) -> tuple[str, int]:
    """Parts put at their places: blocks beside each other, or rows added up where they belong."""
    places, args = e.params.given["places"], list(e.args)
    if places == (("array",),):
        return f"{w.form.transposed(w.call('onehot', w.text(args[1])))} {w.text(args[0], POWER)}", MATRIX
    texts, arrays = [], iter(args)
    starts = []
    for place in places:
        value = next(arrays)
        shown = _parts(w, place, e.shape, arrays)
        starts.append([p.start if isinstance(p, slice) else None for p in place])
        texts.append((w.text(value), ", ".join(shown)))
    if _side_by_side(e, places):
        order = sorted(range(len(texts)), key=lambda k: [s or 0 for s in starts[k]])
        return "[" + ", ".join(texts[k][0] for k in order) + "]", ATOM
    return w.call("place", *(f"{value} at {at}" for value, at in texts)), ATOM


def _side_by_side(e: Node, places: Any) -> bool:
    """Whether the parts fill the whole, along one axis."""
    if not all(isinstance(p, slice) for place in places for p in place):
        return False
    cells = [tuple(p.indices(n) for p, n in zip(place, e.shape)) for place in places]
    cut = [k for k in range(len(e.shape)) if any(k >= len(c) or c[k] != (0, e.shape[k], 1) for c in cells)]
    covered = sorted(c[cut[0]][:2] for c in cells) if len(cut) == 1 else []
    return bool(covered) and covered[0][0] == 0 and covered[-1][1] == e.shape[cut[0]] and all(
        a[1] == b[0] for a, b in zip(covered, covered[1:])  # noqa: RUF007
    )


def _joined(w: Writer, e: Node) -> tuple[str, int]:
    return "[" + ", ".join(map(w.text, e.args)) + "]", ATOM


def _choice(w: Writer, e: Node) -> tuple[str, int]:
    c, a, b = (w.text(x) for x in e.args)
    return f"{w.form.signs['(']}{a} {w.form.function('if')} {c}, {w.form.function('else')} {b}{w.form.signs[')']}", ATOM


def _absolute(w: Writer, e: Node) -> tuple[str, int]:
    return f"|{w.text(e.args[0])}|", ATOM


def _not(w: Writer, e: Node) -> tuple[str, int]:
    return f"¬{w.text(e.args[0], ATOM)}" if w.kind != "latex" else rf"\lnot {w.text(e.args[0], ATOM)}", POWER


_CALLS: dict[Op, Callable[[Writer, Node], tuple[str, int]]] = by_op({
    "index": _index, "slice": _index, "assemble": _assembled, "stack": _joined, "concatenate": _joined,
    "where": _choice, "abs": _absolute, "logical_not": _not,
    "detach": lambda w, e: (w.call("stop", w.text(e.args[0])), ATOM), "cast": _hidden,
    "power": lambda w, e: (w.form.power(w.text(e.args[0], ATOM), w.text(e.args[1])), POWER),
})  # fmt: skip
_WRITE: dict[str, Callable[[Writer, Node], tuple[str, int]]] = {
    "add": _sum, "neg": _negative, "mul": _product, "div": _quotient, "pow": _power, "matmul": _matmul,
    "transpose": _transposed, "outer": _outer, "reshape": _hidden, "broadcast": _hidden, "sum": _reduced,
    "sigma": _sigma, "constant": _constant, "chain": _chain, "indicator": _indicator, "call": _call,
    "ones": lambda w, e: (w.form.signs["1"], ATOM),
}  # fmt: skip


def _text(e: Symbol | Node) -> str:
    return Writer("unicode").text(e)


for _kind in (Symbol, Node):
    _kind.__str__ = _text  # type: ignore[assignment,method-assign]
