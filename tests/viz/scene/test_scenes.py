"""What pictures say is what was recorded: boxes and links of all views and levels against the graph."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tinygrad_rnn.viz.read.options import Options
from tinygrad_rnn.viz.scene import theme
from tinygrad_rnn.viz.scene.build import scene

import tinygrad_rnn as tg
from tinygrad_rnn.tensor import CONSTANT, LITERAL, PARAMETER

from .. import nets, zoo

LEVELS = ("op", "gate", "cell", "layer", "model")
every = pytest.mark.parametrize("name", zoo.ZOO)


def scenes_of(name, view, levels=LEVELS):
    g = tg.graph(zoo.ZOO[name]())
    for level in levels:
        yield g, scene(g, Options(view=view, level=level))


def must_be_drawn(g):
    used = {i.serial for t in g.nodes for i in t.inputs}
    outputs = {t.serial for t in g.outputs}
    for t in g.nodes:
        small = t.op is PARAMETER or (t.op in (LITERAL, CONSTANT) and t.size == 1)
        if not small or t.serial not in used or t.serial in outputs:
            yield t


@every
def test_every_tensor_is_drawn_in_one_box(name):
    for view in ("unrolled", "tree"):
        for level, (g, s) in zip(LEVELS, scenes_of(name, view)):
            count = Counter(m.serial for box in s.boxes for m in box.members)
            for t in must_be_drawn(g):
                n = count[t.serial]
                assert n == 1 or (level == "gate" and n > 1), (view, level, g.ids[t.serial], n)


@every
def test_links_are_what_members_use(name):
    for view in ("unrolled", "tree"):
        for level, (g, s) in zip(LEVELS, scenes_of(name, view)):
            boxes = defaultdict(list)
            for box in s.boxes:
                for m in box.members:
                    boxes[m.serial].append(box)
            drawn = {(k.source, k.target) for k in s.links if k.kind != "cut" or k.target.node.op.name == "detach"}
            within = defaultdict(set)  # what a box uses of itself does not count
            for t in g.nodes:
                for i in t.inputs:
                    for b in boxes[t.serial]:
                        within[b].update(a for a in boxes[i.serial] if b not in boxes[i.serial])
            assert {(a.id, b.id) for a, b in drawn} <= {(a.id, b.id) for b, found in within.items() for a in found}
            for b, found in within.items():
                for a in found:
                    assert (a, b) in drawn or level == "gate", (view, level, a.id, b.id)


@every
def test_ids_are_unique(name):
    for view in ("unrolled", "rolled", "elided", "tree"):
        for _, s in scenes_of(name, view):
            assert max(Counter(box.id for box in s.boxes).values()) == 1


# Rolled ---------------------------------------------------------------------------------------------------------------


@every
def test_a_rolled_picture_unrolls_to_the_unrolled_one(name):
    for level in LEVELS:
        g = tg.graph(zoo.ZOO[name]())
        check_unrolls(scene(g, Options(view="rolled", level=level)), scene(g, Options(view="unrolled", level=level)))


@given(nets.recipes(), st.integers(1, 6))
def test_random_networks_unroll_again(recipe, T):
    g = tg.graph(recipe.run(T))
    check_unrolls(scene(g, Options(view="rolled")), scene(g, Options(view="unrolled")))


def check_unrolls(rolled, unrolled):
    steps = [(c.phase, t) for c in rolled.columns for t in c.times]
    assert sorted(steps) == [(c.phase, c.times[0]) for c in unrolled.columns]
    assert len(steps) == len(set(steps))
    column_of = {(c.phase, t): n for n, c in enumerate(rolled.columns) for t in c.times}
    box_at = {(b.key, n): b for n in (None, *range(-1, len(rolled.columns) + 1)) for b in rolled.boxes if b.column == n}
    times = [(c.phase, c.times[0]) for c in unrolled.columns]

    def folded(box):
        """The box of the rolled picture, and the time step."""
        if box.column is None or box.beside is not None:
            return next(b for b in rolled.boxes if b.id == box.id), None
        phase, time = times[box.column]
        return box_at[box.key, column_of[phase, time]], time

    waits = {k: k.delay if k.kind == "delay" or k.label.startswith(("t −", "t +")) else 0 for k in rolled.links}
    drawn = {(k.source, k.target, waits[k]) for k in rolled.links}
    found = defaultdict(set)
    for k in unrolled.links:
        (a, s), (b, t) = folded(k.source), folded(k.target)
        same = None not in (s, t) and a.column == b.column
        found[a, b, abs(t - s) if same and k.kind != "cut" else 0].add((s, t))
    assert {(a.id, b.id, d) for a, b, d in found} == {(a.id, b.id, d) for a, b, d in drawn}
    for (a, b, delay), pairs in found.items():
        if b.column is None or b.beside is not None or rolled.columns[b.column].kind != "like":
            continue
        here = set(rolled.columns[b.column].times)
        labels = [k.label for k in rolled.links if (k.source, k.target) == (a, b)]
        if any(text.startswith("t = ") for text in (*labels, *a.lines)):
            here = {t for _, t in pairs}
        if a.column == b.column and a.beside is None and not b.backward and not a.backward:
            lacking = here - {t for _, t in pairs}
            others = [{t for _, t in found[x, y, d]} for x, y, d in found if y is b and (x, d) != (a, delay)]
            starts = {t for times in others if times != here for t in times}
            assert lacking <= starts, (a.id, b.id, delay, lacking)
        elif a.column is None:
            assert here == {t for _, t in pairs}, (a.id, b.id)


# Elided ---------------------------------------------------------------------------------------------------------------


def computed(g, time):
    """What a step computes, said without any key: operations, shapes, and how long ago their operands were made."""
    return [
        (t.op.name, t.shape, [(i.op.name, i.shape, i.is_leaf, i.time is not None and time - i.time) for i in t.inputs])
        for t in g.nodes
        if t.time == time
    ]


def alike(step, shown, state=None):
    """Whether two steps compute the same, where the shown one may have an initial value instead of a state.

    `state` is the operation that gives the state that initial values stand for; without it any does.
    """

    def same(operand, other):
        return operand == other or (other[2] and operand[1] == other[1] and state in (None, operand[0]))

    return len(step) == len(shown) and all(
        a[:2] == b[:2] and all(map(same, a[2], b[2])) for a, b in zip(step, shown, strict=True)
    )


def irregular(T, odd):
    h = tg.zeros(2)
    for t in tg.steps(T):
        h = tg.sigmoid(h * 2) if t in odd else tg.tanh(h * 2)
    return h


@given(st.integers(6, 12), st.sets(st.integers(0, 11), max_size=4))
def test_steps_are_like_those_shown_or_not(T, odd):
    g = tg.graph(irregular(T, odd))
    s = scene(g, Options(view="elided"))
    gap = next(c for c in s.columns if c.kind == "gap")
    shown = [computed(g, c.times[0]) for c in s.columns if c.kind == "step"]
    state = "sigmoid" if 0 in odd else "tanh"  # what the first step that has a state looks at
    known = all(any(alike(computed(g, t), other, state) for other in shown) for t in gap.times)
    assert gap.title == f"⋯ {T - 4} {'like this' if known else 'steps'} ⋯"


def test_what_is_elided_of_known_networks():
    for name in ("long", "long_gradient", "skipping", "truncated", "truncated_chunks"):
        g = tg.graph(zoo.ZOO[name]())
        for c in scene(g, Options(view="elided")).columns:
            if "like this" in c.title:
                shown = [computed(g, t) for t in range(20) if t not in c.times]
                assert all(any(alike(computed(g, t), other) for other in shown) for t in c.times)


# Time and direction ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["encoder_decoder", "attention", "seq2seq", "seq2seq_plain", "seq2seq_bidirectional"])
def test_the_encoder_comes_before_the_decoder(name):
    for view in ("unrolled", "rolled", "elided"):
        for _, s in scenes_of(name, view):
            sides = defaultdict(set)
            for box in s.boxes:
                part = next((p for p in ("encoder", "decoder") if p in box.scope), None)
                if part and box.column is not None and box.beside is None and box.members:
                    sides[part].add(box.column)
            assert max(sides["encoder"]) < min(sides["decoder"])


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_only_one_direction(direction):
    for name in ("gradient", "lstm_gradient", "attention_gradient", "bidirectional_library_gradient"):
        g = tg.graph(zoo.ZOO[name]())
        s = scene(g, Options(direction=direction))
        members = {m.serial for b in s.boxes for m in b.members}
        backward = {t.serial for t in g.nodes if t.place.backward}
        if direction == "forward":
            assert not members & backward
        else:
            looked_at = {i.serial for t in g.nodes if t.serial in backward for i in t.inputs}
            assert members <= backward | looked_at
            assert {t.serial for t in must_be_drawn(g)} & backward <= members


def test_the_same_text_in_every_process():
    code = (
        "from tests.viz import zoo; from tinygrad_rnn import viz\n"
        "for name in ('LSTM_bidirectional', 'seq2seq', 'twice_a_step', 'tree_batched', 'lstm_gradient'):\n"
        "    for view in ('rolled', 'elided', 'tree'):\n"
        "        for level in ('gate', 'cell', 'model'):\n"
        "            print(viz.to_dot(zoo.ZOO[name](), view=view, level=level))"
    )
    root = Path(__file__).parents[3]
    texts = {
        subprocess.run([sys.executable, "-c", code], cwd=root, env={**os.environ, "PYTHONHASHSEED": seed},
                       capture_output=True, check=True).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(texts) == 1


def test_what_is_drawn_at_random_looks_like_an_input():
    rng = np.random.default_rng(0)
    x = tg.tensor(np.ones(3), name="x")
    y = tg.dropout(tg.tanh(x + tg.random.normal(3, generator=rng)), 0.5, generator=rng)
    looks = {box.node.op.name: box.look for box in scene(tg.graph(y), Options()).boxes}
    fills = theme.LIGHT.fills
    assert looks["constant"] == looks["normal"] == looks["bernoulli"] == fills["input"]
    assert looks["tanh"] == fills["op"]
