"""Right calls of everything public, and how they are made wrong."""

from __future__ import annotations

import ast
import inspect
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import CodeType
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import symbolic, testing

# What the calls below name.
NAMES: dict[str, Any] = {
    "tg": tg, "np": np, "symbolic": symbolic, "testing": testing, "nn": tg.nn, "optim": tg.optim, "data": tg.data,
    "bptt": tg.bptt, "train": tg.train, "viz": tg.viz,
}  # fmt: skip

START = """
x, w, g = tg.tensor([[0.5, 1.5, 2.5], [3.5, 0.25, 1.0]]), tg.parameter([0.5, 1.0, 2.0]), np.random.default_rng(0)
xs, tokens, batch = tg.ones((2, 3, 2)), np.array([[1, 2, 0]]), {"xs": [[1, 2], [3]], "target": [0, 1]}
batches = data.Batches(batch, batch_size=2, lengths="xs")
cell = nn.RNNCell(2, 3, generator=0)
out = nn.unroll(cell, xs, history=True)
table = tg.tensor([[0.0, 1.0, 2.0], [0.0, 1.0, 0.0], [0.0, 3.0, 2.0]])
follow = lambda tokens, state: (table[tokens], state)
classify = nn.ManyToOne(4, 3, 2, vocabulary=9, generator=0)
vocabulary = data.Vocabulary(["?", "a"], unknown="?")
translator = nn.EncoderDecoder(5, 6, features=3, hidden=4, cell=nn.RNNCell, start=0, end=1, generator=0)
adam = optim.Adam([w])
def square(v):
    return (v * v).sum()
def loss(model, **batch):
    return model.loss(**batch)
"""

CALLS = """
tg.all(x, axis=0, keepdims=True) | tg.any(x, axis=0, keepdims=True) | tg.arange(0, 6, 2, dtype=np.int64)
tg.argmax(x, axis=1, keepdims=True) | tg.argmin(x, axis=1, keepdims=True)
tg.binary_cross_entropy([0.5], [1.0], reduction="sum", mask=[True])
tg.binary_cross_entropy_with_logits([0.5], [1.0], reduction="sum", mask=[True]) | tg.broadcast_to(x, (2, 2, 3))
tg.checkpoint(square) | tg.chunk(x, 2, axis=1) | tg.clip(x, 0.5, 1.0)
tg.compile(square, memory="sqrt", max_programs=2) | tg.concatenate([x, x], axis=1) | tg.cumsum(x, axis=1)
tg.detect_anomaly() | tg.no_grad()
tg.cross_entropy(x, [0, 1], ignore_index=2, label_smoothing=0.1, reduction="sum", mask=[True, False])
tg.dropout(x, 0.5, generator=g) | tg.einsum("ij,kj->ik", x, x) | tg.elementwise(lambda v: v * v, name="square")
tg.elu(x, 1.0) | tg.equations(square, w) | tg.expand(w, 2, 3) | tg.expand_dims(x, 0) | tg.eye(2, 3, dtype=np.float64)
tg.flatten(x) | tg.flip(x, axis=0) | tg.from_dlpack(np.ones(2)) | tg.full((2, 3), 1.0, dtype=np.float64)
tg.full_like(x, 2.0) | tg.gather(x, [[0], [1]], axis=1) | tg.grad((w * w).sum(), w, cotangent=tg.tensor(1.0))
tg.graph(x * 2) | tg.hessian(square(w), w) | tg.huber_loss(x, x, delta=1.0, reduction="sum", mask=[True, False])
tg.hvp(square(w), w, w) | tg.jacobian(w * w, w) | tg.jvp(square, [w], [w]) | tg.layer_norm(x, w, w, 1e-5)
tg.leaky_relu(x, 0.1) | tg.linspace(0.0, 1.0, 3, dtype=np.float64) | tg.load("state.safetensors")
tg.log_softmax(x, axis=0) | tg.logsumexp(x, axis=0, keepdims=True) | tg.masked_fill(x, x > 1, 0.0) | tg.matmul(x, w)
tg.max(x, axis=0, keepdims=True) | tg.mean(x, axis=0, keepdims=True) | tg.min(x, axis=0, keepdims=True)
tg.moveaxis(x, 0, 1) | tg.mse_loss(x, x, reduction="sum", mask=[True, False]) | tg.norm(x, 2, axis=0, keepdims=True)
tg.one_hot([1, 0], 3, dtype=np.float64) | tg.ones((2, 3), dtype=np.float64) | tg.ones_like(x) | tg.outer(w, w)
tg.pad(x, 1, value=2.0) | tg.parameter([1.0], dtype=np.float64, name="w") | tg.prod(x, axis=0, keepdims=True)
tg.repeat(x, 2, axis=0) | tg.reshape(x, 3, 2) | tg.reshape(x, (3, 2)) | tg.roll(x, 1, axis=0)
tg.save({"w": w}, "saved.safetensors", metadata={"a": "b"}) | tg.scope("lstm") | tg.softmax(x, axis=0)
tg.split(x, 3, axis=1) | tg.squeeze(x[None], axis=0) | tg.stack([x, x], axis=0)
tg.std(x, axis=0, keepdims=True, ddof=1) | tg.steps(3, 1, reverse=True) | tg.sum(x, axis=0, keepdims=True)
tg.swapaxes(x, 0, 1) | tg.take(x, [0], axis=1) | tg.tensor([1.0], dtype=np.float64, name="t", requires_grad=True)
tg.tile(x, 2) | tg.timestep(3) | tg.trace(square, (3,)) | tg.transpose(x, 1, 0)
tg.value_and_grad(square, argnums=0)(w) | tg.var(x, axis=0, keepdims=True, ddof=1) | tg.vjp(square, w)
tg.where(x > 1, x, 0.0) | tg.zeros((2, 3), dtype=np.float64) | tg.zeros_like(x)
tg.value_and_grad(square, argnums=0, has_aux=False) | tg.io.load("state.safetensors") | tg.Spec((2, 3), np.float64)
tg.io.save({"w": w}, "saved.safetensors", metadata={"a": "b"}) | tg.compile(square)(w) | tg.Compiled(square, 2, None)
tg.random.bernoulli((2,), 0.5, generator=g, dtype=np.float64)
tg.random.categorical([0.0, 1.0], (2,), axis=-1, generator=g)
tg.random.gumbel((2,), 0.0, 1.0, generator=g, dtype=np.float64) | tg.random.normal((2,), 0.0, 1.0, generator=g)
tg.random.permutation(x, axis=0, generator=g) | tg.random.uniform((2,), 0.0, 1.0, generator=g, dtype=np.float64)
x.sum(axis=0, keepdims=True) | x.reshape(3, 2) | x.named("x") | w[0].item() | x.assign(x) | x.astype(np.float64)
x.tolist() | x.transpose(1, 0) | x.take([0], axis=1) | x.clip(0.0, 1.0) | x.round(1) | x.at[0].set(1.0)
x.at[0].add(w) | x.detach() | square(w).backward() | x.softmax(axis=0) | x.numpy() | x.split(3, axis=1) | x.pad(1)
tg.tensor([1, 2]).one_hot(3) | tg.graph(square(w)).listing() | tg.trace(square, (3,)).listing()
nn.AdditiveAttention(3, 4, 5, generator=0, dtype=np.float64) | nn.CRF(3, generator=0, dtype=np.float64)
nn.AdditiveAttention(3, 4, 5, generator=0)(tg.ones((1, 3)), tg.ones((1, 4, 4)), mask=[2])
nn.CRF(2, generator=0)(tg.ones((1, 3, 2)), [[0, 1, 0]], lengths=[2])
nn.CRF(2, generator=0).decode(tg.ones((1, 3, 2))) | nn.CRF(2, generator=0).marginals(tg.ones((1, 3, 2)))
nn.ChildSumTreeLSTMCell(3, 4, node_inputs=False, generator=0)
nn.DeepTransition(cell, 1, skip=False, activation="tanh", generator=0) | nn.Dropout(0.5, generator=0)
nn.Dropout(0.5, generator=0)(x) | nn.Embedding(5, 3, generator=0, dtype=np.float64) | nn.Embedding(5, 3)([0, 4])
nn.EncoderDecoder(5, 6, features=3, hidden=4, cell=nn.RNNCell, start=0, end=1, generator=0)
translator([[1, 2]], [[3, 1]], source_lengths=[2], target_lengths=[2])
translator.translate([[1, 2]], [2], max_steps=3) | nn.GRU(2, 3, 1, bidirectional=True, generator=0)
nn.LSTM(2, 3, 1, bidirectional=True, generator=0) | nn.RNN(2, 3, 1, bidirectional=True, generator=0)
nn.LSTM(2, 3)(xs, None, lengths=[3, 1], history=True) | nn.GRU(2, 3)(xs, None, mask=np.ones((2, 3), bool))
nn.RNN(2, 3).initial_state(2) | cell.load_state_dict(cell.state_dict())
nn.GRUCell(2, 3, activation="tanh", generator=0, dtype=np.float64) | nn.LSTMCell(2, 3, activation="tanh", generator=0)
nn.RNNCell(2, 3, activation="tanh", leak=1.0, skip=1, generator=0, dtype=np.float64) | cell(xs[:, 0], tg.ones((2, 3)))
nn.LSTMCell(2, 3)(xs[:, 0], nn.LSTMState(tg.ones((2, 3)), tg.ones((2, 3)))) | nn.GRUCell(2, 3).initial_state(2)
cell.step(xs[:, 0], tg.ones((2, 3))) | nn.LanguageModel(9, 3, 4, cell="lstm", num_layers=1, tied=False, generator=0)
nn.LanguageModel(9, 3, 4)(tokens) | nn.LanguageModel(9, 3, 4, generator=0).loss(tokens, tokens)
nn.LayerNorm(3, eps=1e-5, dtype=np.float64) | nn.LayerNorm(3)(x)
nn.Linear(3, 4, bias=True, generator=0, dtype=np.float64) | nn.Linear(3, 4)(x)
nn.ManyToMany(4, 3, 2, crf=True, vocabulary=9, generator=0)
nn.ManyToMany(4, 3, 2, vocabulary=9)(tokens, lengths=[2])
nn.ManyToOne(4, 3, 2, pooling="last", vocabulary=9, generator=0) | classify(tokens, lengths=[2])
classify.loss(tokens, [0], lengths=[2]) | classify.predict(tokens, lengths=[2]) | classify.parameters()
classify.train() | classify.state_dict() | classify.load_state_dict(classify.state_dict()) | nn.Module()
nn.Module().named_parameters() | nn.MultiplicativeAttention(3, 4, score="general", scaled=True, generator=0)
nn.MultiplicativeAttention(1, score="dot") | nn.OneToMany(4, 9, 3, 4, start=0, end=1, generator=0)
nn.OneToMany(4, 9, 3, 4, start=0, end=1)(tg.ones((1, 4)), tokens)
nn.OneToOne(3, 2, hidden=[4], activation="tanh", generator=0) | nn.OneToOne(3, 2)(x)
nn.Recurrent([cell], backward=None, residual=False, skip=False, dropout=0.0, batch_first=True, generator=0)
nn.Recurrent([cell])(xs, None, lengths=[3, 1]) | nn.RecursiveCell(3, 4, generator=0, dtype=np.float64)
nn.Residual(nn.RNNCell(3, 3)) | nn.Sequential(nn.Linear(3, 2), tg.tanh) | nn.Sequential(nn.Linear(3, 2))(x)
nn.TreeLSTMCell(3, 4, node_inputs=False, generator=0) | nn.TreeNetwork(10, 3, 4, "binary", generator=0)
nn.TreeNetwork(10, 3, 4, generator=0)([(4, (2, 3)), 7]) | nn.VariationalDropout(cell, 0.5, generator=0)
nn.Zoneout(cell, 0.1, generator=0) | nn.Cell(2, 3, recurrent=1, blocks=("a",), generator=g, dtype=np.float32)
nn.beam_search(follow, (), width=2, start=0, end=1, max_steps=2, batch=1, length_penalty=0.5)
nn.from_keras_weights(nn.LSTM(2, 3), nn.to_keras_weights(nn.LSTM(2, 3)))
nn.to_torch_state_dict(nn.LSTM(2, 3), of="data")
nn.from_torch_state_dict(nn.LSTM(2, 3), nn.to_torch_state_dict(nn.LSTM(2, 3))) | nn.to_keras_weights(nn.LSTM(2, 3))
nn.greedy(follow, (), start=0, end=1, max_steps=3, batch=1) | nn.pad_sequences([[1, 2], [3]], value=0, steps=3)
nn.sample(follow, (), start=0, end=1, max_steps=3, batch=1, temperature=1.0, top_k=1, generator=g)
nn.schedule([(4, (2, 3)), 5]) | nn.sequence_mask([2, 1], 3) | nn.tbptt(cell, xs, 2, 2, state=None)
nn.unroll(cell, xs, None, lengths=[3, 1], batch_first=True, history=True)
nn.unroll(cell, xs, mask=np.ones((2, 3), bool), reverse=True) | nn.init.generator_of(0)
nn.init.zeros((2, 3), np.float64) | nn.init.kaiming((2, 3), 1.0, 0, np.float64)
nn.init.normal((2, 3), 1.0, 0, np.float64) | nn.init.xavier((2, 3), 1.0, 0)
nn.init.orthogonal((2, 3), 1.0, 0, np.float64) | nn.init.uniform((2, 3), 1.0, 0, np.float64)
nn.metrics.accuracy([0, 1], [0, 1], mask=[True, False])
nn.metrics.f1_score([0, 1], [0, 1], classes=2, mask=[True, True]) | nn.metrics.perplexity(1.0)
optim.SGD([w], 0.1, momentum=0.9, nesterov=True, weight_decay=0.1) | optim.Adagrad([w], 0.1, 1e-10, 0.0)
optim.Adam([w], 0.1, (0.9, 0.99), 1e-8, 0.0) | optim.AdamW([w], 0.1, (0.9, 0.99))
optim.RMSprop([w], 0.1, 0.9, 1e-8, 0.5) | optim.Optimizer([w], 0.1, 0.0) | adam.load_state_dict(adam.state_dict())
adam.zero_grad() | adam.state_dict() | optim.clip_grad_norm([w], 1.0) | optim.clip_grad_value([w], 1.0)
optim.constant(0.1) | optim.cosine(0.1, 10, 0.0) | optim.exponential(0.1, 0.9) | optim.linear(0.1, 10, 0.0)
optim.step_decay(0.1, 5, 0.5) | optim.warmup(0.1, 5)
data.Batches(batch, batch_size=2, lengths="xs", buckets=2, generator=0, drop_last=False) | data.Prefetch(batches, 2)
data.Vocabulary(["a", "b"], unknown="a") | vocabulary.encode(["a"]) | vocabulary.decode([0])
vocabulary.one_hot(["a"]) | data.Vocabulary.of([["a", "b"]], specials=["?"], unknown="?")
data.Vocabulary.from_json(vocabulary.to_json())
data.Windows(np.arange(9), batch_size=2, steps=2, names=("xs", "target"))
data.split("abcdefghij", (0.5, 0.5), generator=0) | data.split([1, 2, 3, 4], (0.5, 0.5), groups=[0, 0, 1, 1])
batches.load_state_dict(batches.state_dict()) | train.evaluate(classify, batches, loss=loss, metrics=["accuracy"])
train.fit(classify, batches, epochs=1, progress=False) | train.History([1.0], [0.1], [])
bptt.contributions(square(w), w, norms=True) | bptt.flow(lambda v: nn.unroll(cell, v).last.sum(), xs, clip=1.0)
bptt.jacobian_bound(nn.RNNCell(2, 3), 1, slope=1.0) | bptt.lyapunov_exponents(out, 1, skip=0, layer=0, batch=True)
bptt.paths(square(w), w) | bptt.remedies(1, 4, 5, generator=0) | bptt.singular_values(out, lag=1, layer=0, batch=True)
bptt.spectral_norms(out, lag=1, layer=0) | bptt.state_jacobian(out, 2, 1, layer=0, batch=True)
bptt.LongTermDependency(3) | bptt.LongTermDependency(3).batch(4, generator=1)
bptt.compare({"a": nn.RNNCell(1, 3)}, bptt.LongTermDependency(3), updates=1, batch=2, show=None, progress=False)
viz.draw(square, w, view="unrolled") | viz.to_dot(square(w)) | viz.compare(square(w), square(w))
viz.draw(square(w)).save("picture.dot") | symbolic.equations(square, w, form="latex", style="rolled")
symbolic.Number(1.0, ()) | testing.assert_close(x, x, rtol=1e-3, atol=1e-3, name="found") | testing.profile("short")
testing.check_grad(square, w, order=1) | testing.laws.determinism(square, w)
testing.cell_laws.run(cell, xs, tg.ones((2, 3))) | testing.strategies.arrays(shape=(2,), low=-1, high=1)
testing.strategies.shapes(min_dims=0, max_dims=2) | testing.strategies.dtypes(kinds="f")
testing.strategies.cells(max_input=2) | testing.strategies.tensors(low=-1)
"""

BAD: dict[str, Callable[[], Any]] = {
    "None": lambda: None, "text": lambda: "text", "empty text": lambda: "", "bytes": lambda: b"xy", "object": object,
    "10**20": lambda: 10**20, "-10**20": lambda: -(10**20), "-1": lambda: -1, "0": lambda: 0, "2.5": lambda: 2.5,
    "nan": lambda: float("nan"), "-inf": lambda: float("-inf"), "1e300": lambda: 1e300, "complex": lambda: 1j,
    "True": lambda: True, "[]": list, "()": tuple, "{}": dict, "set": set, "[None]": lambda: [None],
    "['a']": lambda: ["a"],
    "{'a': 1}": lambda: {"a": 1}, "{1: None}": lambda: {1: None}, "ragged": lambda: [[1.0], [1.0, 2.0]],
    "type": lambda: int,
    "function": lambda: lambda: None, "generator": lambda: iter(()), "array of none": lambda: np.zeros((0, 3)),
    "array of texts": lambda: np.array(["a"]), "objects": lambda: np.array([None, object()]), "module": lambda: np,
    "tensor": lambda: tg.ones((4, 5, 2)), "number": lambda: tg.tensor(3), "integers": lambda: tg.tensor([7, -9]),
    "itself": lambda: itself(list), "itself in a dict": lambda: itself(dict), "slice": lambda: slice(2),
    "...": lambda: ...,
    "exception": lambda: ValueError("x"), "float16": lambda: np.ones(2, np.float16), "dtype": lambda: np.dtype("f8"),
}  # fmt: skip


def itself(kind: type) -> Any:
    """A container that contains itself."""
    made: Any = kind()
    made.append(made) if kind is list else made.update(a=made)
    return made


class Call:
    """A call whose arguments can be exchanged one by one."""

    def __init__(self, text: str) -> None:
        self.text = text
        node: Any = ast.parse(text, mode="eval").body
        self.function, self.args = ast.unparse(node.func), [ast.unparse(a) for a in node.args]
        self.keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
        self.names: dict[str, Any] = {}

    def slots(self) -> list[int | str]:
        """Positions and keywords, those left out as well, and one that there is not."""
        return [*range(len(self.args)), *self.keywords, *self._left_out(), "dim"]

    def _left_out(self) -> list[str]:
        try:
            parameters = list(inspect.signature(eval(self.function, self._started())).parameters.values())
        except (TypeError, ValueError):
            return []
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        names = [p.name for p in parameters if p.kind in kinds]
        given = {p.name for p in parameters[: len(self.args)]}
        return [n for n in names if n not in given and n not in self.keywords]

    def _started(self) -> dict[str, Any]:
        if not self.names:
            self.names = dict(NAMES)
            exec(started(), self.names)
        return self.names

    def run(self, changed: dict[int | str, Any] | None = None) -> Any:
        """What the call gives, with some arguments exchanged."""
        names = self._started()
        args = [eval(a, names) for a in self.args]
        keywords = {k: eval(v, names) for k, v in self.keywords.items()}
        for slot, value in (changed or {}).items():
            if isinstance(slot, int):
                args[slot] = value
            else:
                keywords[slot] = value
        return eval(self.function, names)(*args, **keywords)


@cache
def started() -> CodeType:
    return compile(START, "<user>", "exec")


class Endless(BaseException):
    """A call that does not come to an end."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise Endless in a block that takes longer."""

    def stop(*_: Any) -> None:
        raise Endless

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
