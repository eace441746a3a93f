"""Backpropagation through time by hand: three words, one output, and every path of the gradient in numbers.

    python examples/bptt_by_hand.py                      the walk as text
    python examples/bptt_by_hand.py --html walk.html     and as a page with pictures

"movie was good" is read word by word by a network with five inputs (one for each word that it knows), three hidden
units and one output: 5·3 + 3·3 + 3·1 = 27 weights. ŷ is the probability that the review is kind, and L is the squared
error. The gradient of L with respect to W_i is a sum over three paths,

    L → ŷ → O₃ → W_i,    L → ŷ → O₃ → O₂ → W_i,    L → ŷ → O₃ → O₂ → O₁ → W_i,

each a product of local Jacobians. Nothing here is derived by the script: the equations, the paths and their values
come from the recorded graph of the model below.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn.atomic import write_atomically

WORDS = ("movie", "was", "good", "bad", "not")
REVIEW = ("movie", "was", "good")
RATE = 0.5


class Network(NamedTuple):
    """The 27 weights."""

    W_i: tg.Tensor
    W_h: tg.Tensor
    W_o: tg.Tensor


def network() -> Network:
    """Weights that are easy to write down: multiples of a tenth."""
    W_i = [[0.1, -0.2, 0.3], [0.2, 0.1, -0.1], [-0.3, 0.4, 0.2], [0.5, -0.1, -0.4], [-0.2, 0.3, 0.1]]
    W_h = [[0.2, 0.1, -0.3], [-0.1, 0.3, 0.2], [0.4, -0.2, 0.1]]
    W_o = [[0.6], [-0.3], [0.5]]
    named = {"W_i": W_i, "W_h": W_h, "W_o": W_o}
    return Network(*(tg.parameter(np.array(w), name=name) for name, w in named.items()))


def loss_of(net: Network, review: tuple[str, ...] = REVIEW) -> tg.Tensor:
    """The forward pass as one would write it down."""
    O = tg.zeros((1, 3), np.float64).named("O0")
    for _, word in zip(tg.steps(len(review)), review, strict=False):
        x = tg.tensor(np.eye(5)[[WORDS.index(word)]], name="x")
        O = tg.tanh(x @ net.W_i + O @ net.W_h).named("O")
    y = tg.sigmoid(O @ net.W_o).named("y_hat")
    return ((y - 1.0) ** 2).sum().named("L")


# The walk -----------------------------------------------------------------------------------------------------------


class Line(NamedTuple):
    """One line of the walk: what is said, what it is worth, and the path that belongs to it, if any."""

    text: str
    value: str = ""
    path: tg.bptt.Path | None = None
    heading: bool = False


def walk(net: Network, loss: tg.Tensor) -> Iterator[Line]:
    """The lines of the walk: forward, the equations, the paths, their sum, an update."""
    yield from forward(loss)
    yield from backward(loss)
    yield from paths(loss, net.W_i)
    yield from update(net, loss)


def forward(loss: tg.Tensor) -> Iterator[Line]:
    yield Line("Forward", heading=True)
    equations = tg.equations(loss, style="unrolled").forward
    values = equations.values()
    for e in equations:
        yield Line(str(e), shown(values[e.left]))


def backward(loss: tg.Tensor) -> Iterator[Line]:
    yield Line("The derivatives in closed form", heading=True)
    yield from (Line(text) for text in tg.equations(loss).backward.lines())
    yield Line("The same in numbers", heading=True)
    equations = tg.equations(loss, style="unrolled").backward
    values = equations.values()
    for e in equations:
        if e.kind != "gradient":
            yield Line(str(e), shown(e.evaluate(values)))


def paths(loss: tg.Tensor, weight: tg.Tensor) -> Iterator[Line]:
    found = tg.bptt.paths(loss, weight)
    yield Line(f"The {found.count} paths from {loss.name} to {weight.name}", heading=True)
    for path in found:
        yield Line(str(path), path=path)
        yield Line(f"  {path.product()} = {path.expression}", shown(path.value), path)
    yield Line("Their sum is the gradient", heading=True)
    total = np.sum([path.value for path in found], axis=0)
    yield Line(f"sum of the {found.count} paths", shown(total))
    gradient = tg.grad(loss, weight).numpy()
    yield Line(f"∂{loss.name}/∂{weight.name} by automatic differentiation", shown(gradient))
    yield Line(f"largest difference: {np.abs(total - gradient).max():.0e}")


def update(net: Network, loss: tg.Tensor) -> Iterator[Line]:
    """A step of gradient descent; it changes the weights."""
    yield Line(f"One step of gradient descent, W ← W − {RATE} ∂L/∂W", heading=True)
    for weight, gradient in zip(net, tg.grad(loss, net), strict=True):
        weight.assign(weight.numpy() - RATE * gradient.numpy())
        yield Line(f"{weight.name} ←", shown(weight.numpy()))
    yield Line(f"L was {loss.item():.4f} and is {loss_of(net).item():.4f}")


def shown(value: np.ndarray) -> str:
    """A value in four digits; a row, or rows between brackets."""
    return np.array2string(np.squeeze(np.asarray(value)), precision=4, suppress_small=True, floatmode="fixed")


def as_text(lines: list[Line]) -> str:
    """The walk for a terminal; what a line is worth stands beside it, or below where it is large."""
    written = []
    for line in lines:
        if line.heading:
            written += ["", line.text, "─" * len(line.text)]
        elif "\n" in line.value or len(line.text) > 70:
            written += [line.text, *(f"    {row}" for row in line.value.splitlines())]
        else:
            written.append(f"{line.text:<70} {line.value}".rstrip())
    return "\n".join(written).strip() + "\n"


# The page -----------------------------------------------------------------------------------------------------------

STYLE = """
body { font: 16px/1.5 Georgia, serif; max-width: 72em; margin: 2em auto; padding: 0 1em; color: #222; }
.row { display: grid; grid-template-columns: minmax(0, 3fr) minmax(0, 2fr); gap: 2em; align-items: start; }
pre { font: 13px/1.4 monospace; margin: .2em 0 .8em 1.5em; color: #555; overflow-x: auto; }
figure { margin: 0; } figure svg { max-width: 100%; height: auto; }
"""


def picture(loss: tg.Tensor, path: tg.bptt.Path | None = None) -> str:
    """The drawn graph as inline SVG, with the nodes of `path` lit."""
    return tg.viz.draw(loss, highlight=path).svg()


def as_page(lines: list[Line], loss: tg.Tensor) -> str:
    """The walk as a page: each path beside the picture of the graph."""
    body = [f"<h1>Backpropagation through time by hand</h1><figure>{picture(loss)}</figure>"]
    for line in lines:
        text = f"<pre>{escape(line.value)}</pre>" if line.value else ""
        if line.heading:
            body.append(f"<h2>{escape(line.text)}</h2>")
        elif line.path is not None and not line.value:
            beside = f"<figure>{picture(loss, line.path)}</figure>"
            body.append(f'<div class="row"><p><b>{escape(line.text)}</b></p>{beside}</div>')
        else:
            body.append(f"<p>{escape(line.text)}</p>{text}")
    head = f'<meta charset="utf-8"><title>Backpropagation through time by hand</title><style>{STYLE}</style>'
    return f"<!doctype html><html lang='en'><head>{head}</head><body>{''.join(body)}</body></html>\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the walk as a page with pictures too")
    chosen = parser.parse_args()
    net = network()
    loss = loss_of(net)
    lines = list(walk(net, loss))
    print(as_text(lines), end="")
    if chosen.html is not None:
        write_atomically(chosen.html, as_page(lines, loss).encode("utf-8"))
        print(f"\nthe page is in {chosen.html}")


if __name__ == "__main__":
    main()
