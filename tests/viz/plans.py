"""Layouts to write down in any form, and texts that are hard to write."""

from __future__ import annotations

from hypothesis import strategies as st
from tinygrad_rnn.viz.layout.layout import Layout, layout
from tinygrad_rnn.viz.read.columns import Span
from tinygrad_rnn.viz.read.options import Options
from tinygrad_rnn.viz.scene import theme
from tinygrad_rnn.viz.scene.build import scene
from tinygrad_rnn.viz.scene.scene import Box, Column, Link, Scene

import tinygrad_rnn as tg


def plan_of(x, **options):
    return layout(scene(tg.graph(x), Options(**{"max_nodes": 100_000, **options})))


def by_hand(text="h", fill="#d9f0e6"):
    """One box of each form in a column, and an edge of each kind between the first two."""
    boxes = [
        Box(None, f"t0/{text}", 1, 0, False, look=theme.Fill(fill, "#00795a"), lines=(text, "(2, 4)"), x=80, y=40),
        Box(None, "t0/sum", 2, 0, False, lines=("+",), width=24, height=24, x=80, y=140, form="round"),
        Box(None, "t0/delay", 3, 0, False, lines=("1",), width=8, height=8, x=120, y=90, form="delay"),
        Box(None, "t0/gap", 4, 0, False, lines=("⋯ 3 like this ⋯",), width=60, height=20, x=200, y=90, form="gap"),
    ]
    boxes[0].height = 32
    kinds = ("data", "state", "saved", "cut", "attention")
    links = [Link(boxes[0], boxes[1], kind, theme.LIGHT.states[0].line, label=f"{text} {kind}") for kind in kinds]
    paths = [[(80, 56), (80, 80 + k), (80, 100 - k), (80, 122), (80, 128)] for k in range(5)]
    column = Column(0, 1, (40.0, 10.0, 260.0, 170.0), boxes, title=f"step {text}", title_at=(80.0, 159.0))
    scene = Scene(boxes, links, [Span((0,), before=True, after=True)], theme.LIGHT, [])
    return Layout(scene, [column], [], paths, (280.0, 180.0))


def chain(length=20_000, timed=False):
    t = tg.ones(2)
    for _ in tg.steps(length) if timed else range(length):
        t = tg.tanh(t)
    return t


PIECES = (
    '"', "'", "\\", "\\n", "\n", "\t", "<", ">", "&", "&lt;", "<b>", "</svg>", "</title>", "]]>", "<!--", "-->",
    "#35;", "{", "}", "$", "$$", "%", "%%", "_", "^", "~", "`", "*", "[", "]", "(", ")", "|", ";", ":", "@",
    "1. ", "- ", "# ", "end", "style", "classDef", "direction TB", "fa:fa-car", "ﬂ°°35¶ß", "é", "⊙", "σ", "∂",
    "×", "ᵀ", "中", "🙂", "e\u0301", "שלום", "\u202e", "\u200b", "\u2028", "\x00", "\x7f", "\x85", "\ud800",
    "\ufffe", "\ufffd", "--", "<<", "?`", "  ", "a",
)  # fmt: skip
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), min_size=1, max_size=6).map("".join).filter(bool)
