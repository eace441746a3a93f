"""Formulas of tensors as MathML: nested lists ``[tag, child, ...]``, whose strings are text and never markup."""

from __future__ import annotations

import re
from collections.abc import Iterator
from string import Formatter
from typing import Any

from ...tensor import CONSTANT, LITERAL, Tensor
from ..read.timeline import PICKS
from ..scene.text import index_text

__all__ = ["Tree", "formula", "number", "symbol"]

Tree = list[Any]
Token = str | int  # a piece of LaTeX, or the number of an input

_DEPTH, _NODES = 4, 16  # how far inputs without a name are written out
_THIN: Tree = ["mspace", "thin"]
_WORDS = {"tanh", "cos", "sin", "ln", "max", "min", "exp", "log"}
_SIGNS = {
    "odot": "⊙", "sigma": "σ", "top": "⊤", "cdot": "·", "ldots": "…", "sum": "∑", "lVert": "‖", "rVert": "‖",
    "lvert": "|", "rvert": "|", "lfloor": "⌊", "rfloor": "⌋", "lceil": "⌈", "rceil": "⌉", "bmod": "mod",
    "leftarrow": "←", "times": "×", "otimes": "⊗", "circ": "∘", "le": "≤", "ge": "≥", "ne": "≠",
}  # fmt: skip
_LETTERS = {"sigma"}
_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|[0-9.]+|\s+|.", re.S)
_COMPARED, _ADDED, _MULTIPLIED, _JUXTAPOSED, _ATOM = range(5)  # how tightly an expression holds together
_OPENING = ("(", "{", "[", ",", r"\lvert", r"\lVert", r"\lfloor", r"\lceil")
_CLOSING = (")", "}", "]", ",", ";", r"\rvert", r"\rVert", r"\rfloor", r"\rceil")
_SUM = re.compile(r"\} [-+] |\) [-+] |^-")
_MATRICES = re.compile(r"\} \{")
_PRODUCT = re.compile(r"\\odot|\} / |^1 / |\\bmod|^\\(sum|ln|cos|sin|max|min) ")
_RELATION = re.compile(r"\} (?:[<>=≤≥≠∧∨⊕]|\\;)|\}[&|]|<<|>>")


def formula(t: Tensor) -> Tree | None:
    """``name = expression`` of what made `t`; inputs that have no name are written out. None for a leaf."""
    if t.is_leaf:
        return None
    right = _expression(t, _DEPTH, [_NODES])
    return ["mrow", symbol(t.name, t.time), ["mo", "="], right] if t.name else right


def symbol(name: str, time: int | None = None) -> Tree:
    """A name as it is set in books: what follows an underscore, and the time step, as a subscript."""
    base, _, below = name.partition("_")
    if not (base and below and name.isidentifier()):
        base, below = name, ""
    parts = [part for part in (below, "" if time is None else str(time)) if part]
    letter: Tree = ["mi", base]
    return ["msub", letter, ["mtext", ",".join(parts)]] if parts else letter


def number(value: Any) -> str:
    """A number in four digits, with the sign of a minus."""
    if isinstance(value, bool):
        return str(value)
    return (str(value) if isinstance(value, int) else f"{value:.4g}").replace("-", "−")


# Inputs -------------------------------------------------------------------------------------------------------------


def _expression(t: Tensor, depth: int, left: list[int]) -> Tree:
    tokens = _tokens(t)
    arguments = []
    used = 1 + max((k for k in tokens if isinstance(k, int)), default=-1)
    for k, i in enumerate(t.inputs[:used]):  # of many inputs a formula shows the first
        shown, level = _argument(i, depth, left)
        arguments.append(["mrow", ["mo", "("], shown, ["mo", ")"]] if level < _needed(tokens, k) else shown)
    if t.op in PICKS:
        arguments[1:] = [["mtext", f"[{index_text(t)}]"]]
    return _Parser(tokens, arguments).tree()


def _argument(t: Tensor, depth: int, left: list[int]) -> tuple[Tree, int]:
    """An input, and how tightly it holds together."""
    left[0] -= 1
    if t.name:
        return symbol(t.name, t.time), _ATOM
    if t.op in (LITERAL, CONSTANT) and t.size == 1 and not t.is_symbolic:
        value = t.data.reshape(-1)[0].item()
        return ["mn", number(value)], _ATOM if value >= 0 else _ADDED
    if t.is_leaf or depth == 0 or left[0] < 0:
        return ["mi", t.op.label if t.is_leaf else "…"], _ATOM
    return _expression(t, depth - 1, left), _level(t.op.formula)


def _level(template: str) -> int:
    if _RELATION.search(template):
        return _COMPARED
    if _SUM.search(template):
        return _ADDED
    if _PRODUCT.search(template):
        return _MULTIPLIED
    return _JUXTAPOSED if _MATRICES.search(template) else _ATOM


def _needed(tokens: list[Token], k: int) -> int:
    """How tightly an input must hold together to stand in the formula without brackets."""
    if k not in tokens:
        return _COMPARED
    at = tokens.index(k)
    before, after = _sign(tokens[:at][::-1]), _sign(tokens[at + 1 :])
    if before in _OPENING and after in _CLOSING:
        return _COMPARED
    if after in ("^", "_") or before == "/":
        return _ATOM
    if isinstance(after, int) or isinstance(before, int):
        return _JUXTAPOSED
    if before in ("+", "-"):
        return _MULTIPLIED
    return _ADDED if before == "" and after in ("", "+", "-") else _MULTIPLIED


def _sign(tokens: list[Token]) -> Token:
    return next((t for t in tokens if isinstance(t, int) or not t.isspace()), "")


def _tokens(t: Tensor) -> list[Token]:
    """The formula in pieces; without a usable one, the operation as a function of its inputs."""
    if t.op in PICKS:
        return [0, "_", 1]
    try:
        return list(_split(t.op.formula, len(t.inputs)))
    except (ValueError, IndexError):
        called: list[Token] = ["\\mathrm", "{", *t.op.label, "}", "("]
        for k in range(len(t.inputs)):
            called += [",", " "] * (k > 0) + [k]
        return [*called, ")"]


def _split(template: str, inputs: int) -> Iterator[Token]:
    if not template:
        raise ValueError("no formula")
    for text, field, _, _ in Formatter().parse(template):
        yield from _TOKEN.findall(text)
        if field is not None:
            if not 0 <= int(field) < inputs:
                return  # optional inputs come last
            yield int(field)


# LaTeX --------------------------------------------------------------------------------------------------------------


class _Parser:
    """The part of LaTeX's mathematics that formulas are written in; what is unknown is shown as it stands."""

    def __init__(self, tokens: list[Token], arguments: list[Tree]) -> None:
        self._tokens, self._arguments, self._at, self._depth = tokens, arguments, 0, 0

    def tree(self) -> Tree:
        parts = self._row()
        while self._at < len(self._tokens):  # a brace too many
            self._at += 1
            parts += self._row()
        return parts[0] if len(parts) == 1 else ["mrow", *parts]

    def _peek(self) -> Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _row(self) -> list[Tree]:
        parts: list[Tree] = []
        while (token := self._peek()) not in (None, "}"):
            if isinstance(token, str) and token.isspace():
                self._at += 1
                if parts and self._wants_space(parts[-1]):
                    parts.append(_THIN)
            elif token in ("_", "^") and parts:
                parts.append(self._script(parts.pop()))
            else:
                parts.append(self._atom())
        return parts

    def _wants_space(self, before: Tree) -> bool:
        """Between factors, and after the name of a function, where no sign brings its own."""
        token = self._peek()
        follows = isinstance(token, int) or (isinstance(token, str) and (token.isalnum() or token == "\\mathrm"))
        return before[0] != "mo" and follows

    def _script(self, base: Tree) -> Tree:
        tag = "msub" if self._peek() == "_" else "msup"
        self._at += 1
        return [tag, base, self._atom() if self._peek() is not None else ["mrow"]]

    def _atom(self) -> Tree:
        token = self._tokens[self._at]
        self._at += 1
        if isinstance(token, int):
            return self._arguments[token]
        if token == "{":
            return self._braced()
        if token == "\\sqrt":
            return ["msqrt", self._atom()] if self._peek() is not None else ["mo", "√"]
        if token in ("\\mathrm", "\\text", "\\operatorname"):
            return ["mi", self._word(), "upright"]
        return _leaf(token)

    def _braced(self) -> Tree:
        self._depth += 1
        if self._depth > 40:
            self._at = len(self._tokens)
            return ["mo", "…"]
        parts = self._row()
        self._at += 1
        self._depth -= 1
        return parts[0] if len(parts) == 1 else ["mrow", *parts]

    def _word(self) -> str:
        if self._peek() != "{":
            return ""
        start = self._at = self._at + 1
        while self._peek() not in (None, "}"):
            self._at += 1
        self._at += 1
        return "".join(str(t) for t in self._tokens[start : self._at - 1])


def _leaf(token: str) -> Tree:
    if not token.startswith("\\"):
        tag = "mi" if token.isalpha() else "mn" if token[0].isdigit() else "mo"
        return [tag, "−" if token == "-" else token]
    name = token[1:]
    if not name.isalpha():
        return _THIN if name in ",;: !" else ["mo", name]
    if name in _WORDS:
        return ["mi", name]
    return ["mi" if name in _LETTERS or name not in _SIGNS else "mo", _SIGNS.get(name, name)]
