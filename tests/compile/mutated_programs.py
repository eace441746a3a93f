"""Programs whose texts are mutated: training steps, attention, dropout, several updates; floats, integers, booleans."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import tinygrad_rnn as tg

cube = tg.elementwise(lambda x: x * x * x, vjp=lambda g, y, x: 3 * g * x * x, name="cube")
OPERATIONS = {"cube": cube}
PAD, PATTERN = 64, 0xA5  # bytes around each array of the user's, and what they hold


@dataclass
class Subject:
    """A program's text, and what it is loaded with.

    Attributes
    ----------
    text : str
    tensors : dict of str to Tensor
        Their arrays lie between bytes of a pattern.
    optimizers : list of Optimizer
    generators : list of numpy.random.Generator
    """

    text: str
    tensors: dict[str, Any] = field(default_factory=dict)
    optimizers: list[Any] = field(default_factory=list)
    generators: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._memories: list[np.ndarray] = []
        self._values = {name: t.numpy().copy() for name, t in self.tensors.items()}

    def reset(self) -> None:
        """Give tensors and optimisers new arrays that hold what they held at first."""
        self._memories = []
        for name, t in self.tensors.items():
            t.data = self._guarded(self._values[name])
            t.grad = tg.tensor(np.ones_like(self._values[name])) if t.requires_grad else None
        for optimizer in self.optimizers:
            optimizer.step_count, optimizer.update_counts = 0, [0] * len(optimizer.parameters)
            for k, p in enumerate(optimizer.parameters):
                optimizer.state[k] = [self._guarded(np.zeros(p.shape, p.dtype)) for _ in optimizer.slots]

    def _guarded(self, value: np.ndarray) -> np.ndarray:
        memory = np.full(value.nbytes + 2 * PAD, PATTERN, np.uint8)
        self._memories.append(memory)
        array = memory[PAD : PAD + value.nbytes].view(value.dtype).reshape(value.shape)
        array[...] = value
        return array

    def intact(self) -> bool:
        """Whether nothing was written around the arrays."""
        return all((m[:PAD] == PATTERN).all() and (m[-PAD:] == PATTERN).all() for m in self._memories)


def subjects() -> dict[str, Subject]:
    """The programs by name, always the same."""
    return {make.__name__: make() for make in _MAKERS}


_MAKERS: list[Callable[[], Subject]] = []


def _subject(make: Callable[[], Subject]) -> Callable[[], Subject]:
    _MAKERS.append(make)
    return make


def _text(fn: Any, args: tuple[Any, ...], names: Any = None, memory: str | None = None, **kwargs: Any) -> str:
    return tg.compile(fn, memory=memory).program(*args, **kwargs).to_json(names)


def _parameters(seed: int, dtype: Any, **shapes: tuple[int, ...]) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {n: tg.parameter(rng.normal(size=s).astype(dtype) * 0.5, name=n) for n, s in shapes.items()}


@_subject
def characters() -> Subject:
    """Embedding, tanh cell, cross-entropy, clipping, Adam."""
    w = _parameters(0, np.float64, E=(7, 3), W=(3, 4), U=(4, 4), b=(4,), V=(4, 5))
    adam = tg.optim.Adam(list(w.values()), lr=0.05)

    def step(tokens, targets):
        adam.zero_grad()
        h, outputs = tg.zeros((2, 4), np.float64), []
        for t in tg.steps(2):
            h = tg.tanh(w["E"][tokens[t]] @ w["W"] + h @ w["U"] + w["b"])
            outputs.append(h)
        loss = tg.cross_entropy(tg.stack(outputs) @ w["V"], targets)
        loss.backward()
        norm = tg.optim.clip_grad_norm(list(w.values()), 0.5)
        adam.step()
        return {"loss": loss, "norm": norm, "last": [h, None]}

    tokens = np.zeros((2, 2), np.int64)
    return Subject(_text(step, (tokens, tokens)), w, [adam])


def _layer(layer: Any, optimizer: Any, memory: str | None = None, dtype: Any = np.float32) -> Subject:
    readout = tg.nn.Linear(3, 2, generator=1)
    model = {f"rnn.{n}": p for n, p in layer.named_parameters()} | {f"o.{n}": p for n, p in readout.named_parameters()}
    chosen = optimizer(list(model.values()))

    def step(xs, target):
        chosen.zero_grad()
        loss = tg.mse_loss(readout(layer(xs).outputs), target)
        loss.backward()
        chosen.step()
        return loss

    args = np.zeros((2, 2, 2), dtype), np.zeros((2, 2, 2), dtype)
    return Subject(_text(step, args, model, memory), model, [chosen])


@_subject
def elman() -> Subject:
    return _layer(tg.nn.RNN(2, 3, generator=0), lambda p: tg.optim.SGD(p, lr=0.1, momentum=0.9))


@_subject
def lstm() -> Subject:
    return _layer(tg.nn.LSTM(2, 3, generator=0), lambda p: tg.optim.RMSprop(p, lr=0.01))


@_subject
def gru_in_little_memory() -> Subject:
    return _layer(tg.nn.GRU(2, 3, generator=0), lambda p: tg.optim.AdamW(p, lr=0.01), "sqrt")


@_subject
def attention() -> Subject:
    w = _parameters(3, np.float32, Q=(4, 4), K=(4, 4), V=(4, 4))

    def attend(x, mask):
        q, k, v = x @ w["Q"], x @ w["K"], x @ w["V"]
        scores = tg.where(mask, tg.einsum("bqd,bkd->bqk", q, k) / 2.0, -1e9)
        return tg.layer_norm(tg.softmax(scores, -1) @ v + x), tg.logsumexp(scores, -1), scores.max(1)

    return Subject(_text(attend, (np.zeros((2, 3, 4), np.float32), np.zeros((2, 3, 3), bool))), w)


@_subject
def dropout() -> Subject:
    rngs = [np.random.default_rng(0), np.random.default_rng(1)]
    w = _parameters(4, np.float32, w=(3, 3))
    sgd = tg.optim.SGD([w["w"]], lr=0.1)

    def step(x):
        sgd.zero_grad()
        y = tg.dropout(tg.relu(tg.dropout(x, 0.2, generator=rngs[0]) @ w["w"]), 0.5, generator=rngs[1])
        loss = (y * y).mean()
        loss.backward()
        sgd.step()
        return loss, y

    return Subject(_text(step, (np.zeros((4, 3), np.float32),)), w, [sgd], rngs)


@_subject
def updates() -> Subject:
    """Several steps of two optimisers in one call, and an assignment."""
    w = _parameters(5, np.float64, a=(3,), b=(3,), c=(2, 3))
    first, second = tg.optim.SGD([w["a"], w["b"]], lr=0.1), tg.optim.Adagrad([w["c"]], lr=0.1)

    def step(x):
        losses = []
        for _ in range(2):
            first.zero_grad()
            loss = ((w["a"] * x - w["b"]) ** 2).sum() + tg.tanh(w["c"]).sum()
            loss.backward()
            first.step()
            losses.append(loss)
        second.zero_grad()
        ((w["c"] @ w["a"] - x[:2]) ** 2).sum().backward()
        tg.optim.clip_grad_value([w["c"]], 1.0)
        second.step()
        w["b"].assign(w["b"] * 0.5 + w["a"])
        return tg.stack(losses), w["b"] + 1.0

    return Subject(_text(step, (np.zeros(3),)), w, [first, second])


@_subject
def shapes() -> Subject:
    """Views, joins, pads, slices, reductions over several axes, of float32 and float64."""

    def fn(x, y, *, scale):
        z = tg.concatenate([x.transpose(1, 0, 2).reshape(3, 8), y[:, ::-1]], axis=1)
        parts = [z[:, k] * scale for k in range(3)]
        wide = tg.pad(tg.stack(parts, axis=1), ((1, 0), (0, 2)), 0.5)
        out = wide.at[1:3, 0].set(0.0).at[0].add(1.0)
        return [
            out.sum((0, 1)), wide.max(0, keepdims=True), tg.flip(z, 1), tg.broadcast_to(z[:1, 1:3], (4, 2)),
            z.astype(np.float64).mean(-1), tg.cumsum(z, 1), tg.norm(z[0]), {"roll": tg.roll(wide, 2, 0), 1: z.T},
        ]  # fmt: skip

    args = np.zeros((2, 3, 4), np.float32), np.zeros((3, 2), np.float32)
    return Subject(_text(fn, args, scale=2.0))


@_subject
def integers() -> Subject:
    def fn(pair, options):
        k, n = pair
        hot = tg.one_hot(k, 4)
        m = (n + k[:, None]) * 2 - n // 3
        picked = tg.take(m, k, 0)
        rows = options["table"][picked % 3]
        return hot, m & 3, picked.sum(), rows.astype(np.float64), tg.argmax(m, 1), (m > 2) ^ (n < 1), m.astype(float)

    pair = np.zeros(3, np.int64), np.zeros((3, 2), np.int64)
    return Subject(_text(fn, (pair, {"table": np.zeros((3, 2), np.float32), "name": "t", "ratio": 0.5})))


@_subject
def gradients() -> Subject:
    """Gradients that are left behind and added up, indices of several kinds, an operation of one's own."""
    w = _parameters(6, np.float64, w=(4, 3), v=(3,))

    def fn(x, k):
        y = cube(w["w"][k, 1:] * x) + tg.gather(w["w"], tg.stack([k, k], 1) % 3, 1)[:, :2]
        loss = tg.log_softmax(y)[0].sum() + tg.sigmoid(w["v"] @ w["w"].T).sum() + tg.var(y)
        loss.backward()
        return loss

    for p in w.values():
        p.grad = tg.tensor(np.ones(p.shape))
    text = _text(fn, (np.zeros((4, 2)), np.zeros(4, np.int64)))
    return Subject(text, w)


@_subject
def checkpointed() -> Subject:
    w = _parameters(7, np.float32, U=(3, 3), W=(2, 3))

    def fn(xs):
        h = tg.zeros((2, 3))
        for t in tg.steps(3):
            h = tg.checkpoint(lambda x, h: tg.tanh(x @ w["W"] + h @ w["U"]))(xs[t], h)
        loss = (h * h).sum()
        return loss, tg.grad(loss, [w["U"], w["W"]])

    return Subject(_text(fn, (np.zeros((3, 2, 2), np.float32),)), w)


@_subject
def elementwise() -> Subject:
    """A chain of every kind of operation of numbers."""

    def fn(x, y):
        a = tg.exp(-tg.abs(x)) + tg.log1p(tg.square(y)) - tg.sqrt(tg.abs(x * y))
        b = tg.clip(tg.gelu(a) / (1.0 + tg.softplus(y)), -1.0, 1.0) ** 2.0
        c = tg.where((a > b) | tg.isnan(a), tg.maximum(a, b), tg.leaky_relu(a - b))
        return c, tg.grad(c.sum(), x), tg.floor(a) % 3.0, tg.erf(b) * tg.sign(a)

    return Subject(_text(fn, (np.zeros((2, 3)), np.zeros(3))))
