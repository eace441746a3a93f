"""How symbols and signs look in Unicode, LaTeX and HTML."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from html import escape

__all__ = ["FORMS", "Form", "Pieces", "split_name"]

_LOW = str.maketrans("0123456789−", "₀₁₂₃₄₅₆₇₈₉₋")
_HIGH = dict(zip("0123456789()+-−abcdefghijklmnoprstuvwxyz", "⁰¹²³⁴⁵⁶⁷⁸⁹⁽⁾⁺⁻⁻ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ"))
_ACCENTS = {"hat": "\u0302", "tilde": "\u0303", "bar": "\u0304"}
_ARROWS = {"→": "\u20d7", "←": "\u20d6"}
_GREEK = (
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "kappa", "lambda", "mu", "nu", "xi", "pi",
    "rho", "sigma", "tau", "phi", "chi", "psi", "omega",
)  # fmt: skip
_GLYPHS = {"δ": r"\delta", "ε": r"\varepsilon"}


@dataclass(frozen=True)
class Form:
    """How the pieces of formulas are written."""

    symbol: Callable[[Pieces], str]
    derivative: Callable[[str, str], str]
    transposed: Callable[[str], str]
    power: Callable[[str, str], str]
    sigma: Callable[[str, str, str, bool], str]  # index, first, last, whether it is over all steps
    fraction: Callable[[str, str], str] | None
    signs: dict[str, str]
    function: Callable[[str], str]


@dataclass(frozen=True)
class Pieces:
    """A symbol taken apart: stem, accent, superscripts, subscripts, block."""

    stem: str
    accent: str = ""
    sup: tuple[str, ...] = ()
    sub: str = ""
    time: str = ""
    block: str = ""


def split_name(name: str) -> tuple[str, str, str]:
    """Stem, accent and subscript of a name like ``W_h`` or ``y_hat``."""
    stem, _, sub = name.partition("_")
    if not stem or not sub:
        return name, "", ""
    return (stem, _ACCENTS[sub], "") if sub in _ACCENTS else (stem, "", sub)


# Unicode --------------------------------------------------------------------------------------------------------------


def _accented(name: str) -> str:
    stem, _, mark = name.rpartition("_")
    return unicodedata.normalize("NFC", stem + _ACCENTS[mark]) if mark in _ACCENTS and stem else name


def _raised(text: str) -> str:
    short = len(text) < 3 or text[0] in "(-" or text.isdecimal()
    return "".join(_HIGH[c] for c in text) if short and all(c in _HIGH for c in text) else f"^{text}"


def _unicode_symbol(p: Pieces) -> str:
    stem = unicodedata.normalize("NFC", p.stem + p.accent)
    for s in p.sup:
        stem += _ARROWS[s] if s in _ARROWS else s if set(s) == {"′"} else _raised(_accented(s))
    digits = p.time.lstrip("−").isdigit()
    if digits and not p.sub:
        stem += p.time.translate(_LOW)
    elif p.time:
        low = f"{p.sub},{p.time}" if p.sub else p.time
        stem += f"_{low}" if len(low) == 1 else f"_{{{low}}}"
    elif p.sub:
        stem += f"_{p.sub}"
    return stem + (f"[{p.block}]" if p.block else "")


def _unicode_sigma(index: str, first: str, last: str, all_steps: bool) -> str:
    return f"Σ_{index}" if all_steps else f"Σ_{{{index}={first}}}^{{{last}}}"


# LaTeX ----------------------------------------------------------------------------------------------------------------

_SPECIAL = {c: f"\\{c}" for c in "#$%&_{}"} | {"\\": r"\backslash{}", "~": r"\sim{}", "^": r"\hat{}"}


def _word(text: str) -> str:
    stem, _, mark = text.rpartition("_")
    if mark in _ACCENTS and stem:
        return rf"\{mark}{{{_word(stem)}}}"
    if text in _GREEK:
        return f"\\{text}"
    if text in _GLYPHS:
        return _GLYPHS[text]
    safe = "".join(_SPECIAL.get(c, c) for c in text)
    return safe if len(text) == 1 or text.isdecimal() else rf"\mathrm{{{safe}}}"


def _latex_symbol(p: Pieces) -> str:
    stem = _word(p.stem)
    for name, mark in _ACCENTS.items():
        stem = rf"\{name}{{{stem}}}" if p.accent == mark else stem
    arrows = [s for s in p.sup if s in _ARROWS]
    for s in arrows:
        stem = rf"\over{'right' if s == '→' else 'left'}arrow{{{stem}}}"
    high = "".join(r"\prime" * len(s) if set(s) == {"′"} else s if s[0] == "(" else _word(s)
                   for s in p.sup if s not in _ARROWS)  # fmt: skip
    block = rf"[{_word(p.block)}]" if p.block else ""
    low = (_word(p.sub) if p.sub else "") + block
    low = ",".join(part for part in (low, p.time) if part)
    text = stem + (f"_{{{low}}}" if low else "")
    return f"{{{text}^{{{high}}}}}" if high else text


_FUNCTIONS = {"σ": r"\sigma"} | {name: f"\\{name}" for name in ("tanh", "ln", "exp", "sin", "cos", "max", "min")}


def _latex_function(name: str) -> str:
    return _FUNCTIONS.get(name, rf"\mathrm{{{''.join(_SPECIAL.get(c, c) for c in name)}}}")


# HTML -----------------------------------------------------------------------------------------------------------------


def _html_symbol(p: Pieces) -> str:
    stem = escape(unicodedata.normalize("NFC", p.stem + p.accent))
    high = ""
    for s in p.sup:
        if s in _ARROWS:
            stem += _ARROWS[s]
        else:
            high += escape(_accented(s))
    low = ",".join(escape(part) for part in (p.sub, p.time) if part)
    text = f"<i>{stem}</i>" + (f"<sup>{high}</sup>" if high else "") + (f"<sub>{low}</sub>" if low else "")
    return text + (f"[{escape(p.block)}]" if p.block else "")


_SIGNS = {"-": "−", "⊙": "⊙", "·": "·", "Σ": "Σ", "1": "𝟏", "(": "(", ")": ")"}
FORMS = {
    "unicode": Form(
        _unicode_symbol, lambda of, by: f"∂{of}/∂{by}", lambda x: f"{x}ᵀ",
        lambda x, n: x + (_raised(n) if n.isdigit() else f"^({n})"), _unicode_sigma, None, _SIGNS, str,
    ),
    "latex": Form(
        _latex_symbol, lambda of, by: rf"\frac{{\partial {of}}}{{\partial {by}}}", lambda x: rf"{x}^\top",
        lambda x, n: f"{x}^{{{n}}}",
        lambda index, first, last, _: rf"\sum_{{{index}={first}}}^{{{last}}}",
        lambda a, b: rf"\frac{{{a}}}{{{b}}}",
        {"-": "-", "⊙": r"\odot", "·": r"\cdot", "Σ": r"\sum", "1": r"\mathbf{1}", "(": r"\left(", ")": r"\right)",
         "≤": r"\le", "≥": r"\ge", "≠": r"\ne", "∧": r"\land", "∨": r"\lor", "⊕": r"\oplus", "mod": r"\bmod"},
        _latex_function,
    ),
    "html": Form(
        _html_symbol, lambda of, by: f"∂{of}/∂{by}", lambda x: f"{x}<sup>⊤</sup>", lambda x, n: f"{x}<sup>{n}</sup>",
        lambda index, first, last, all_steps: f"Σ<sub>{index}</sub>" if all_steps
        else f"Σ<sub>{index}={first}</sub><sup>{last}</sup>",
        None, {**_SIGNS, "<": "&lt;", ">": "&gt;", "&": "&amp;"}, escape,
    ),
}  # fmt: skip
