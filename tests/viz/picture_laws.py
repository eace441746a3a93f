"""What must hold of every picture: each law gives a list of what breaks it."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import numpy as np
from tinygrad_rnn.viz.scene import theme

NEAR = 1.0  # a line may come so near to a frame or a letter


def broken(plan):
    """All that is wrong with a picture; an empty list for a good one."""
    laws = (boxes_apart, boxes_inside, columns_in_order, same_places, ends_at_borders, states_run_on, edges_clear,
            texts_apart)  # fmt: skip
    return [f"{law.__name__}: {what}" for law in laws for what in law(plan)]


def boxes_apart(plan):
    boxes = plan.scene.boxes
    rects = _rects(boxes)
    return [f"{boxes[a].id} and {boxes[b].id} overlap" for a, b in _overlaps(rects, rects) if a < b]


def boxes_inside(plan):
    for box in plan.scene.boxes:
        if not (box.width / 2 <= box.x <= plan.size[0] - box.width / 2):
            yield f"{box.id} is out at a side"
        if not (box.height / 2 <= box.y <= plan.size[1] - box.height / 2):
            yield f"{box.id} is out above or below"


def columns_in_order(plan):
    rows = defaultdict(list)
    for column in plan.columns:
        rows[column.region].append(column)
        left, low, right, high = column.frame
        mine = set(column.boxes)
        for box in plan.scene.boxes:
            if box.form != "delay" and (left < box.x < right and low < box.y < high) != (box in mine):
                yield f"{box.id} and column {column.name}"
        for box in column.boxes:
            ends = box.x - box.width / 2, box.y - box.height / 2, box.x + box.width / 2, box.y + box.height / 2
            if not (left < ends[0] and low < ends[1] and ends[2] < right and ends[3] < high):
                yield f"{box.id} sticks out of column {column.name}"
    for columns in rows.values():
        if not all(a.frame[2] < b.frame[0] for a, b in pairwise(columns)):
            yield "columns overlap"
    names = [column.name for column in plan.columns]
    if len(names) != len(set(names)):
        yield f"columns are called {names}"
    steps = [(step.phase, sum(step.times) / len(step.times)) for step in plan.scene.columns]
    if steps != sorted(steps):
        yield f"columns come as {steps}"


def same_places(plan):
    """One quantity stands at one height, and in columns of one width at one place."""
    place = {}
    for column in plan.columns:
        for box in column.boxes:
            here = box.y, box.x - column.frame[0]
            kind = box.key, round(column.frame[2] - column.frame[0], 1)
            if np.abs(np.subtract(place.setdefault(kind, here), here)).max() > 0.01:
                yield f"{box.id} stands at {here}, another one at {place[kind]}"


def ends_at_borders(plan):
    for link, path in zip(plan.scene.links, plan.paths):
        if len(path) % 3 != 2:
            yield f"{_named(link)} is no curve"
        for box, (x, y) in ((link.source, path[0]), (link.target, path[-1])):
            off = max(abs(box.x - x) - box.width / 2, abs(box.y - y) - box.height / 2)
            if abs(off) > 0.01:
                yield f"{_named(link)} ends {off:.2f} from the border of {box.id}"


def states_run_on(plan):
    for link in plan.scene.links:
        a, b = link.source, link.target
        if link.kind == "state" and a.phase == b.phase and not a.backward:
            gap = (abs(a.x - b.x) - (a.width + b.width) / 2) if a.column != b.column else -1.0
            if gap < 0 or (a.column < b.column) != (a.x < b.x):
                yield _named(link)


def edges_clear(plan):
    """No edge through a box or a text, none out of the picture."""
    names, rects = _obstacles(plan)
    for link, path in zip(plan.scene.links, plan.paths):
        points = sampled(path)
        if (points < 0).any() or (points > plan.size).any():
            yield f"{_named(link)} leaves the picture"
        near = np.flatnonzero(_meets(rects, [*points.min(0), *points.max(0)]))
        for k in near:
            left, low, right, high = rects[k]
            x, y = points.T
            if ((x > left) & (x < right) & (y > low) & (y < high)).any():
                yield f"{_named(link)} runs through {names[k]}"


def texts_apart(plan):
    texts = list(_texts(plan))
    rects = np.array([r for _, r in texts]).reshape(-1, 4)
    for a, b in _overlaps(rects, rects):
        if a < b:
            yield f"{texts[a][0]} and {texts[b][0]} overlap"
    boxes = plan.scene.boxes
    for a, b in _overlaps(rects, _rects(boxes)):
        yield f"{texts[a][0]} and {boxes[b].id} overlap"


def sampled(path):
    """Points of a curve, no more than some points apart."""
    found = []
    for k in range(0, len(path) - 4, 3):
        a, b, c, d = np.array(path[k : k + 4])
        t = np.linspace(0, 1, 3 + int(np.abs(d - a).sum() / 4))[:, None]
        found.append((1 - t) ** 3 * a + 3 * t * (1 - t) ** 2 * b + 3 * t * t * (1 - t) * c + t**3 * d)
    return np.concatenate([*found, np.array(path[-1:])])


def _named(link):
    return f"{link.kind} {link.source.id} -> {link.target.id}"


def _rects(boxes, less=0.0):
    return np.array([
        (b.x - b.width / 2 + less, b.y - b.height / 2 + less, b.x + b.width / 2 - less, b.y + b.height / 2 - less)
        for b in boxes
    ]).reshape(-1, 4)  # fmt: skip


def _obstacles(plan):
    boxes, texts = plan.scene.boxes, list(_texts(plan))
    rects = np.concatenate([_rects(boxes, NEAR), np.array([r for _, r in texts]).reshape(-1, 4)])
    return [*(b.id for b in boxes), *(name for name, _ in texts)], rects


def _texts(plan):
    """Names and rectangles of labels and titles."""
    for column in plan.columns:
        width = theme.TITLE_CHAR * len(column.title)
        yield f"title {column.title!r} of {column.name}", _text(column.title_at, width, 11)
    for link in plan.scene.links:
        if link.label:
            yield f"label {link.label!r}", _text(link.label_at, theme.CHAR * len(link.label), 9)


def _text(at, width, height):
    return at[0] - width / 2, at[1] - height / 2, at[0] + width / 2, at[1] + height / 2


def _meets(rects, one):
    return (rects[:, 0] < one[2]) & (one[0] < rects[:, 2]) & (rects[:, 1] < one[3]) & (one[1] < rects[:, 3])


def _overlaps(first, second):
    for a, rect in enumerate(first):
        for b in np.flatnonzero(_meets(second, rect)) if len(second) else ():
            yield a, int(b)
