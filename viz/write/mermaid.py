"""Mermaid text of a layout, a flowchart for READMEs; Mermaid finds the coordinates anew.

Text is written with Mermaid's entity codes. Besides, Mermaid reads icons and formulas in any label, and some releases
lists and links: where a text would be taken for one of these, a character without width keeps it apart.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator

from ..layout.layout import Layout
from ..scene.scene import Box, Link
from ..scene.theme import Palette
from .strokes import STROKES, ink, kind_of, label_of, looks, visible

__all__ = ["coded", "written"]

MOST_EDGES, MOST_TEXT = 500, 50_000  # Mermaid draws no more unless the page configures it


def written(plan: Layout) -> str:
    """The picture as Mermaid text: a pure function of the layout.

    Mermaid refuses more than 500 edges or 50,000 characters unless the page that shows it allows more (``maxEdges``,
    ``maxTextSize``); the first line of a larger text says so.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> from tinygrad_rnn.viz.write import mermaid
    >>> from tinygrad_rnn.viz.scene.build import scene
    >>> from tinygrad_rnn.viz.layout.layout import layout
    >>> y = tg.tanh(tg.tensor([1.0, 2.0], name="x")).named("y")
    >>> print(mermaid.written(layout(scene(tg.graph(y)))))
    flowchart BT
      n_x("x<br>(2,)"):::input
      n_y("y<br>tanh<br>(2,)"):::opoutput
      n_x --> n_y
      classDef input fill:#d9f0e6,stroke:#00795a,stroke-width:1px,color:#1a1a1a
      classDef opoutput fill:#f4f6fa,stroke:#1a1a1a,stroke-width:2.4px,color:#1a1a1a
    <BLANKLINE>
    """
    ids, names, palette = _ids(plan.scene.boxes), looks(plan), plan.scene.palette
    node = {box: _node(box, ids[box], names[box.look]) for box in plan.scene.boxes}
    inside = {box for column in plan.columns for box in column.boxes}
    lines = [f"flowchart {'LR' if plan.columns else 'BT'}", *_subgraphs(plan, node)]
    lines += [f"  {text}" for box, text in node.items() if box not in inside]
    lines += [f"  {_edge(link, ids)}" for link in plan.scene.links]
    lines += _link_styles(plan.scene.links, palette)
    drawn = {box.look for box in plan.scene.boxes if box.form in ("box", "round")}
    lines += [
        f"  classDef {name} fill:{look.fill},stroke:{look.line},stroke-width:{look.width:g}px,"
        f"color:{ink(look.fill, palette)}"
        for look, name in names.items()
        if look in drawn
    ]
    lines += _form_styles(plan)
    return _warning(plan, lines) + "\n".join([*lines, ""])


def _warning(plan: Layout, lines: list[str]) -> str:
    edges, text = len(plan.scene.links), sum(map(len, lines))
    if edges <= MOST_EDGES and text <= MOST_TEXT:
        return ""
    return f"%% {edges} edges, {text} characters: shown where Mermaid's maxEdges and maxTextSize are set to allow it\n"


def _subgraphs(plan: Layout, node: dict[Box, str]) -> Iterator[str]:
    for number, column in enumerate(plan.columns):
        yield f'  subgraph c{number}["{coded(column.title)}"]'
        yield from (f"    {node[box]}" for box in column.boxes)
        yield "  end"


def _node(box: Box, name: str, look: str) -> str:
    text = "<br>".join(coded(line) for line in box.lines) or "#160;"
    if box.form == "round":
        return f'{name}(("{text}")):::{look}'
    if box.form in ("delay", "gap"):
        return f'{name}["{text}"]:::form{box.form}'
    return f'{name}("{text}"):::{look}'


def _edge(link: Link, ids: dict[Box, str]) -> str:
    pen = STROKES[kind_of(link)]
    arrow = "-.-x" if pen.tee else "-.->" if pen.dashes else "==>" if pen.width > 1 else "-->"
    label = f'|"{coded(label_of(link))}"|' if label_of(link) else ""
    return f"{ids[link.source]} {arrow}{label} {ids[link.target]}"


def _link_styles(links: list[Link], palette: Palette) -> Iterator[str]:
    """Colours of edges that have one of their own; the others take that of the page, be it light or dark."""
    numbers: dict[str, list[str]] = defaultdict(list)
    for number, link in enumerate(links):
        if link.color not in (palette.data, palette.saved, palette.cut):
            numbers[link.color].append(str(number))
    for color, those in numbers.items():
        yield f"  linkStyle {','.join(those)} stroke:{color}"


def _form_styles(plan: Layout) -> Iterator[str]:
    forms = {box.form for box in plan.scene.boxes}
    palette = plan.scene.palette
    if "delay" in forms:
        yield f"  classDef formdelay fill:{palette.ink},stroke:{palette.column},color:{palette.page}"
    if "gap" in forms:
        yield "  classDef formgap fill:none,stroke:none"
    if plan.columns:
        yield f"  classDef timestep fill:none,stroke:{palette.column},stroke-dasharray:5 2"
        yield f"  class {','.join(f'c{number}' for number in range(len(plan.columns)))} timestep"


def _ids(boxes: list[Box]) -> dict[Box, str]:
    """Readable ids; where two would be the same, the later one gets a number."""
    taken: dict[str, int] = {}
    ids = {}
    for box in boxes:
        base = "n_" + _KEYWORDS.sub("", re.sub("[^A-Za-z0-9]+", "_", box.id)[:60].strip("_"))
        name = base
        while name in taken:
            taken[base] += 1
            name = f"{base}_{taken[base]}"
        taken[name] = 1
        ids[box] = name
    return ids


# Text ---------------------------------------------------------------------------------------------------------------

_PLAIN = re.compile(r"[A-Za-z0-9 (),.:@\[\]=/+'_-]")
_APART = re.compile(
    r"^(?=[-+*#>=]|\d+[.)])"  # a list, heading or quotation
    r"|(?<=[$~])(?=[$~])|(?<=\])(?=[(\[:])|(?<=:)(?=fa-|/)|(?<=www)(?=\.)|(?<=@)(?=\S)"  # a formula, icon or link
    r"|(?<=\\)(?=n)|(?<=ﬂ)(?=°)|(?<=¶)(?=ß)"  # a line break, and what entity codes become inside of Mermaid
)
_KEYWORDS = re.compile("s(?=tyle)|c(?=lassDef)|d(?=irection)")  # words that Mermaid looks for even between quotes
JOINER = "\u2060"


def coded(text: str) -> str:
    """One line of text as it stands between quotes in Mermaid."""
    line = "".join(_coded(c) for c in _APART.sub(JOINER, visible(text)))
    return re.sub("^ | $|(?<= ) ", "#160;", _KEYWORDS.sub(lambda m: _entity(m[0]), line))


def _coded(character: str) -> str:
    if _PLAIN.match(character):
        return character
    unseen = unicodedata.category(character) in ("Cf", "Zl", "Zp", "Zs")
    return _entity(character) if character.isascii() or unseen else character


def _entity(character: str) -> str:
    return f"#{ord(character)};"
