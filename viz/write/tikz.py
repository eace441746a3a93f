"""LaTeX text of a layout: a document of one TikZ picture, with our coordinates and colours that are defined once.

The text is pure ASCII and needs no more than the common packages. Letters and signs that LaTeX's usual fonts have are
written with its commands; of any other character XeLaTeX and LuaLaTeX show the glyph, if the font has one, and pdfLaTeX
the number.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

from ...errors import fail
from ..layout.layout import Layout
from ..layout.space import Point
from ..scene import theme
from ..scene.scene import Box, Column, Link
from ..scene.theme import Fill, Palette
from .strokes import STROKES, ink, kind_of, label_of, label_place, looks, marks, visible
from .strokes import coordinate as _n

__all__ = ["COMMANDS", "LARGEST", "escaped", "written"]

LARGEST = 14_000.0  # points: TeX knows no length of 16384 or more, PDF no page of more than 14400
_PACKAGES = r"""
\ifdefined\Umathcode\else\usepackage[T1]{fontenc}\fi
\IfFileExists{lmodern.sty}{\usepackage{lmodern}}{}
\usepackage{amssymb}
""".strip().splitlines()
_MACROS = r"""
\providecommand\tgcode[1]{{\tiny U+#1}}
\providecommand\tgchar[1]{\ifdefined\Umathcode\iffontchar\font"#1 \char"#1 \else\tgcode{#1}\fi\else\tgcode{#1}\fi}
""".strip().splitlines()


def written(plan: Layout, *, bare: bool = False) -> str:
    r"""The picture as LaTeX text: a pure function of the layout.

    Parameters
    ----------
    plan : Layout
    bare : bool
        Only the ``tikzpicture``, to be put into a document that loads what its first line names; otherwise a document
        of the class ``standalone``.

    Raises
    ------
    ValueError
        If the picture is larger than TeX's lengths.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> from tinygrad_rnn.viz.write import tikz
    >>> from tinygrad_rnn.viz.scene.build import scene
    >>> from tinygrad_rnn.viz.layout.layout import layout
    >>> y = tg.tanh(tg.tensor([1.0, 2.0], name="x")).named("y")
    >>> print(tikz.written(layout(scene(tg.graph(y))), bare=True).splitlines()[0])
    % needs \usepackage{amssymb,tikz} \usetikzlibrary{arrows.meta}
    """
    _check(plan)
    names, colours = looks(plan), _colours(plan)
    picture = [
        *_MACROS,
        r"\begin{tikzpicture}[x=1bp, y=1bp]",
        *(rf"\definecolor{{{name}}}{{HTML}}{{{code[1:].upper()}}}" for code, name in colours.items()),
        *_styles(names, colours, plan.scene.palette),
        rf"\useasboundingbox (0, 0) rectangle {_point(plan.size)};",
        *(line for column in plan.columns for line in _column(column)),
        *(line for link, path in zip(plan.scene.links, plan.paths) for line in _edge(link, path, colours)),
        *(_node(box, names) for box in plan.scene.boxes),
        *(rf"\node[tg mark] at {_point(place)} {{$\cdots$}};" for place in marks(plan)),
        r"\end{tikzpicture}",
    ]
    if bare:
        return "\n".join([r"% needs \usepackage{amssymb,tikz} \usetikzlibrary{arrows.meta}", *picture, ""])
    head = [r"\documentclass[tikz]{standalone}", *_PACKAGES, r"\usetikzlibrary{arrows.meta}", r"\begin{document}"]
    return "\n".join([*head, *picture, r"\end{document}", ""])


def _check(plan: Layout) -> None:
    if max(plan.size) > LARGEST:
        size = "{:.0f} by {:.0f} points".format(*plan.size)
        what, most = f"draw: a picture of {size} is too large for LaTeX", f"up to {LARGEST:.0f} points"
        hint = "draw fewer time steps with steps=(first, last), or save it as .svg or .dot"
        raise fail(ValueError, what, expected=most, hint=hint)


def _colours(plan: Layout) -> dict[str, str]:
    """Names of all colours, which say what each is for."""
    palette = plan.scene.palette
    colours = {palette.ink: "tg-ink", palette.column: "tg-column"}
    for look, name in looks(plan).items():
        colours.setdefault(look.fill, f"tg-{name}-fill")
        colours.setdefault(look.line, f"tg-{name}-line")
        colours.setdefault(ink(look.fill, palette), f"tg-{name}-text")
    for link in plan.scene.links:
        if link.color not in colours:
            colours[link.color] = f"tg-{kind_of(link)}-edge{len(colours)}"
    colours.setdefault(palette.page, "tg-page")
    return colours


def _styles(names: dict[Fill, str], colours: dict[str, str], palette: Palette) -> Iterator[str]:
    yield r"\tikzset{"
    font = rf"\sffamily\fontsize{{{theme.FONT_SIZE - 1}}}{{{theme.LINE_HEIGHT:g}}}\selectfont"
    yield rf"  every node/.style={{inner sep=0pt, outer sep=0pt, align=center, text=tg-ink, font={font}}},"
    yield "  tg column/.style={draw=tg-column, dash pattern=on 5bp off 2bp, rounded corners=12bp},"
    struts = r"execute at begin node=\strut, execute at end node=\strut"  # lines at the same heights in all boxes
    yield f"  tg box/.style={{rounded corners=5bp, {struts}}}, tg round/.style={{shape=circle, {struts}}},"
    yield "  tg delay/.style={fill=tg-ink, label distance=3bp},"
    yield r"  tg mark/.style={font=\Large},"
    yield f"  tg label/.style={{fill={colours[palette.page]}, inner sep=1bp}},"
    for kind, pen in STROKES.items():
        dashes = ", dash pattern=on {:g}bp off {:g}bp".format(*pen.dashes) if pen.dashes else ""
        arrow = f"Triangle[length={theme.ARROW:g}bp, width={3.8 + 1.2 * pen.width:g}bp]"
        tip = "Bar[width=8bp, sep=2bp]" if pen.tee else arrow
        yield f"  tg {kind} edge/.style={{line width={pen.width:g}bp{dashes}, -{{{tip}}}}},"
    for look, name in names.items():
        pair = f"draw={colours[look.line]}, fill={colours[look.fill]}, text={colours[ink(look.fill, palette)]}"
        yield f"  tg {name} look/.style={{{pair}, line width={look.width:g}bp}},"
    yield "}"


def _column(column: Column) -> Iterator[str]:
    a, b, c, d = column.frame
    if column.kind != "gap":
        yield rf"\draw[tg column] {_point((a, b))} rectangle {_point((c, d))};"
    yield rf"\node at {_point(column.title_at)} {{{escaped(column.title)}}};"


def _node(box: Box, names: dict[Fill, str]) -> str:
    size = f"minimum width={_n(box.width)}bp, minimum height={_n(box.height)}bp"
    text = r"\\".join(map(escaped, box.lines))
    if box.form == "gap":
        return rf"\node at {_point((box.x, box.y))} {{{text}}};"
    if box.form == "delay":
        return rf"\node[tg delay, {size}, label={{above:{{{text}}}}}] at {_point((box.x, box.y))} {{}};"
    return rf"\node[tg {box.form}, tg {names[box.look]} look, {size}] at {_point((box.x, box.y))} {{{text}}};"


def _edge(link: Link, path: list[Point], colours: dict[str, str]) -> Iterator[str]:
    yield rf"\draw[tg {kind_of(link)} edge, {colours[link.color]}] {_course(path)};"
    if label_of(link):
        yield rf"\node[tg label] at {_point(label_place(link, path))} {{{escaped(label_of(link))}}};"


def _course(path: list[Point]) -> str:
    """Bézier curves, and lines where they are straight; the last line ends at the arrow's tip."""
    parts = [_point(path[0])]
    for k in range(0, len(path) - 4, 3):
        (x, y), (a, b), (c, d), (u, v) = path[k : k + 4]
        straight = x == a == c == u or y == b == d == v
        parts.append("--" if straight else f".. controls {_point((a, b))} and {_point((c, d))} ..")
        parts.append(_point((u, v)))
    return " ".join([*parts, "--", _point(path[-1])])


def _point(place: Point) -> str:
    return f"({_n(place[0])}, {_n(place[1])})"


# Text ---------------------------------------------------------------------------------------------------------------

_ASCII = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "'": r"\textquotesingle{}", "`": r"\textasciigrave{}",
    "-": "-{}", "[": "{[}", "]": "{]}", "*": "{*}", " ": r"\ ", ",": ",{}", "?": "?{}", "!": "!{}", ":": "{:}",
}  # fmt: skip
_GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ζ": "zeta", "η": "eta", "θ": "theta", "ι": "iota",
    "κ": "kappa", "λ": "lambda", "μ": "mu", "µ": "mu", "ν": "nu", "ξ": "xi", "π": "pi", "ρ": "rho", "ς": "varsigma",
    "σ": "sigma", "τ": "tau", "υ": "upsilon", "φ": "varphi", "χ": "chi", "ψ": "psi", "ω": "omega",
    "Γ": "Gamma", "Δ": "Delta", "Θ": "Theta", "Λ": "Lambda", "Ξ": "Xi", "Π": "Pi", "Σ": "Sigma", "Υ": "Upsilon",
    "Φ": "Phi", "Ψ": "Psi", "Ω": "Omega",
}  # fmt: skip
_SIGNS = {
    "⊙": "odot", "⊕": "oplus", "⊗": "otimes", "⊖": "ominus", "×": "times", "÷": "div", "·": "cdot", "⋅": "cdot",
    "∘": "circ", "∗": "ast", "±": "pm", "∓": "mp", "∂": "partial", "∇": "nabla", "∑": "sum", "∏": "prod",
    "∫": "int", "√": "surd", "∞": "infty", "∈": "in", "∉": "notin", "∋": "ni", "⊂": "subset", "⊆": "subseteq",
    "∪": "cup", "∩": "cap", "∅": "emptyset", "∀": "forall", "∃": "exists", "¬": "neg", "∧": "wedge", "∨": "vee",
    "≤": "le", "≥": "ge", "≠": "ne", "≈": "approx", "≡": "equiv", "∼": "sim", "∝": "propto", "≪": "ll", "≫": "gg",
    "→": "rightarrow", "←": "leftarrow", "↑": "uparrow", "↓": "downarrow", "↔": "leftrightarrow",
    "⇒": "Rightarrow", "⇐": "Leftarrow", "⇔": "Leftrightarrow", "↦": "mapsto", "‖": "Vert", "∥": "parallel",
    "⟨": "langle", "⟩": "rangle", "⌈": "lceil", "⌉": "rceil", "⌊": "lfloor", "⌋": "rfloor", "…": "ldots",
    "⋯": "cdots", "⋮": "vdots", "′": "prime", "ℓ": "ell", "ε": "varepsilon", "ϵ": "epsilon", "ϕ": "phi",
    "ϑ": "vartheta", "⊤": "top", "⊥": "bot", "□": "square", "■": "blacksquare", "•": "bullet",
}  # fmt: skip
_LETTERS = {
    "ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "å": "aa", "Å": "AA", "ł": "l",
    "Ł": "L", "ı": "i", "§": "S", "¶": "P", "£": "pounds", "–": "textendash", "—": "textemdash",
    "¡": "textexclamdown", "¿": "textquestiondown", "«": "guillemotleft", "»": "guillemotright", "©": "textcopyright",
    "‘": "textquoteleft", "’": "textquoteright", "“": "textquotedblleft", "”": "textquotedblright",
}  # fmt: skip
_ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u", "\u0307": ".",
    "\u0308": '"', "\u030a": "r", "\u030b": "H", "\u030c": "v", "\u0327": "c", "\u0328": "k",
}  # fmt: skip
COMMANDS = {  # of every character that is not written as it is
    **_ASCII,
    **{letter: rf"$\{name}$" for letter, name in (_GREEK | _SIGNS).items()},
    **{letter: rf"\{name}{{}}" for letter, name in _LETTERS.items()},
    "−": "$-$", "\u00a0": "~", "°": r"$^\circ$", "‑": "-{}", "\u2009": r"\,",
    **{sign: f"$^{{{digit}}}$" for digit, sign in zip("0123456789+-ijnT", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁱʲⁿᵀ")},
    **{sign: f"$_{{{digit}}}$" for digit, sign in zip("0123456789+-ijnt", "₀₁₂₃₄₅₆₇₈₉₊₋ᵢⱼₙₜ")},
    **{letter: rf"$\mathbb{{{name}}}$" for name, letter in zip("CNPQRZ", "ℂℕℙℚℝℤ")},
}  # fmt: skip


def escaped(text: str) -> str:
    """One line of text as LaTeX shows it letter by letter."""
    return "".join(_character(c) for c in unicodedata.normalize("NFC", visible(text)))


def _character(c: str) -> str:
    known = COMMANDS.get(c)
    if known is not None:
        return known
    if c.isascii():
        return c
    parts = unicodedata.normalize("NFD", c)
    if len(parts) == 2 and parts[1] in _ACCENTS and parts[0].isascii() and parts[0].isalpha():
        return rf"\{_ACCENTS[parts[1]]}{{{parts[0]}}}"
    return rf"\{'tgchar' if ord(c) > 0xFF else 'tgcode'}{{{ord(c):X}}}"
