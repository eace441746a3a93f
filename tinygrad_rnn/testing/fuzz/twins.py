"""Experiments that are run twice, compiled and eagerly: training, random numbers, what changes between calls.

Each is the source of a generator ``experiment(wrap)``. What it gives is kept until its end and compared then, so
results are there over later calls; what is to change by right is copied.
"""

from __future__ import annotations

__all__ = ["SHARES", "SOURCES", "TWIN_PREAMBLE"]

TWIN_PREAMBLE = '''
def eager(function):
    return lambda *given: function(*[g if isinstance(g, tg.Tensor) else tg.tensor(g) for g in given])


def parameters():
    # every second float input is a parameter; the others are given on each call
    places = [k for k, a in enumerate(arrays) if a.dtype.kind == "f"][::2]
    return {k: tg.parameter(arrays[k].copy()) for k in places}


def rest(weights, given):
    return [a for k, a in enumerate(given) if k not in weights]


def run(weights, given):
    given = iter(given)
    outputs = program(*[weights[k] if k in weights else next(given) for k in range(len(arrays))])
    return [y * 1 if y.is_leaf else y for y in outputs]  # a parameter itself would show what becomes of it


def objective(weights, outputs):
    squares = [(y * y).sum() * (1 + 0.1 * k) for k, y in enumerate(outputs) if y.is_float]
    return sum(squares) + 0.1 * sum((w * w).sum() for w in weights.values())


def held(weights, *optimizers):
    for w in weights.values():
        yield w.numpy().copy()
    for optimizer in optimizers:
        yield from (np.array(a) for _, a in sorted(optimizer.state_dict().items()))
'''

_TRAINING = '''
def experiment(wrap):
    weights = parameters()
    {setup}

    @wrap
    def step(*given):
{body}
        return outputs

    for given in (arrays, others, arrays):
        yield from step(*rest(weights, given))
        yield from held(weights{optimizers})
'''

_STEP = """
{optimizer}.zero_grad()
outputs = run(weights, given)
objective(weights, outputs).backward()
{optimizer}.step()
"""


def _indented(text: str, by: int) -> str:
    return "\n".join(" " * by + line if line else line for line in text.strip().split("\n"))


def _training(setup: str, body: str, *optimizers: str) -> str:
    names = "".join(f", {name}" for name in optimizers)
    return _TRAINING.format(setup=setup, body=_indented(body, 8), optimizers=names)


def _optimized(optimizer: str, body: str = _STEP) -> str:
    setup = f"optimizer = tg.optim.{optimizer}"
    return _training(setup, body.format(optimizer="optimizer"), "optimizer")


_ALL = "[*weights.values()]"
_ASSIGNED = f"""
outputs = run(weights, given)
slopes = tg.grad(objective(weights, outputs), {_ALL})
for w, g in zip({_ALL}, slopes):
    w.assign(w - rate * g)
"""
_TWO_OF_THEM = """first = tg.optim.SGD([*weights.values()][::2], lr=rate)
    second = tg.optim.Adam([*weights.values()][1::2] or [*weights.values()], lr=rate, eps=0.1)"""

_SNAPSHOTS = '''
def snapshots(w):
    with tg.no_grad():
        views = [w.T, w[...], w[None], w.reshape(-1), tg.flip(w), w.T[..., None], w.T.detach()]
        views += [w[:1], w[..., -1:], *tg.split(w, [1], -1)] if w.ndim and w.shape[-1] else []
    return [w.detach(), w.detach().T, *views]


def experiment(wrap):
    weights = parameters()
    optimizer = tg.optim.SGD([*weights.values()], lr=rate, momentum=0.9)

    @wrap
    def step(*given):
''' + _indented(_STEP.format(optimizer="optimizer"), 8) + '''
        return outputs

    factor, kept = tg.parameter(1.0), []
    for given in (arrays, others, arrays):
        for w in weights.values():
            kept += [(s, s.numpy().copy(), (factor * s).sum()) for s in snapshots(w)]
            kept += [(s, s.numpy().copy(), None) for s in (w.T, w[...], w * 2)]  # recorded
        yield from step(*rest(weights, given))
        yield from held(weights)
    for s, before, product in kept:
        assert np.array_equal(s.numpy(), before), "a tensor that was made of a parameter has changed with it"
        if product is not None:
            slope = tg.grad(product, factor)
            np.testing.assert_allclose(slope.numpy(), before.sum(), rtol=1e-4, atol=1e-4)
'''  # fmt: skip

_FED_BACK = '''
def experiment(wrap):
    compiled = wrap(lambda *xs: program(*xs))
    like = lambda y, a: y.is_float and (y.shape, y.dtype) == (a.shape, a.dtype) and np.abs(y.numpy()).max(initial=0) < 3
    fed = lambda outputs, a: next((y for y in outputs if like(y, a)), a)
    given = list(arrays)
    for _ in range(3):
        outputs = compiled(*given)
        yield from outputs
        given = [fed(outputs, a) for a in given]
'''

_DROPOUT = '''
def experiment(wrap):
    generator = np.random.default_rng(5)
    drop = lambda x: tg.dropout(x, 0.25, generator=generator) if x.is_float else x
    weights = parameters()

    @wrap
    def step(*given):
        outputs = [drop(y) for y in run({k: drop(w) for k, w in weights.items()}, [drop(x) for x in given])]
        return [*outputs, *tg.grad(objective(weights, outputs), [*weights.values()])]

    for given in (arrays, others, arrays):
        yield from step(*rest(weights, given))
    yield generator.random()
'''

_LAYER = '''
def flat(state):
    return [t for part in state for t in flat(part)] if isinstance(state, tuple | list) else [state]


def experiment(wrap):
    a = next(a for a in arrays if a.dtype.kind == "f")
    layer = tg.nn.{layer}(3, 2, generator=0, dtype=a.dtype)

    @wrap
    def step(xs, *state):
        result = layer(xs)
        outputs = result.outputs
        return [outputs * 2 + 1, tg.tanh(outputs[:, 0]), *flat(result.state), result.last]

    for time in (1, 2, 9, 1, 3):
        yield from step(np.resize(a, (2, time, 3)))
'''

_CHANGED = '''
class Net(tg.nn.Module):
    def __init__(self):
        self.place, self.w = next(iter(parameters().items()))
        self.scale = 1.0

    def forward(self, *given):
        outputs = run({self.place: self.w}, given)
        return [y * (self.scale * 0.5 if self.training else self.scale) if y.is_float else y for y in outputs]


def experiment(wrap):
    net = Net()
    step = wrap(lambda *given: net(*given))
    for given in (arrays, others, arrays):
        yield from step(*rest([net.place], given))
        yield from step(*rest([net.place], given))
        {change}
'''

_REBOUND = '''
def experiment(wrap):{declared}
    place, weight = next(iter(parameters().items()))
    step = wrap(lambda *given: run({place: weight}, given))
    for given in (arrays, others, arrays):
        yield from step(*rest([place], given))
        weight = {new}
'''

_FROZEN = _training(
    f"""first, free = next(iter(weights.values())), tg.parameter(1.0)
    optimizer = tg.optim.SGD([*{_ALL}, free], lr=rate)""",
    """
optimizer.zero_grad()
outputs = run(weights, given)
(objective(weights, outputs) + free * free).backward()
optimizer.step()
""",
) + "        yield free.numpy().copy()\n        first.requires_grad = not first.requires_grad\n"

SOURCES: dict[str, str] = {
    "fed back": _FED_BACK,
    "dropout": _DROPOUT,
    "snapshots": _SNAPSHOTS,
    "training: SGD": _optimized(f"SGD({_ALL}, lr=rate)"),
    "training: momentum": _optimized(f"SGD({_ALL}, lr=rate, momentum=0.9, nesterov=True, weight_decay=0.1)"),
    "training: Adam": _optimized(f"Adam({_ALL}, lr=rate, eps=0.1)"),
    "training: RMSprop": _optimized(f"RMSprop({_ALL}, lr=rate, eps=0.1)"),
    "training: gradients are kept": _training(
        "", "outputs = run(weights, given)\nobjective(weights, outputs).backward()"
    ) + "        yield from (w.grad.numpy().copy() for w in weights.values())\n",
    "training: assigned": _training("", _ASSIGNED),
    "training: assigned twice": _training("", _ASSIGNED + _ASSIGNED.lstrip()),
    "training: two steps": _optimized(f"SGD({_ALL}, lr=rate, momentum=0.9)", _STEP + _STEP.lstrip()),
    "training: in turn": _training(
        _TWO_OF_THEM, _STEP.format(optimizer="first") + _STEP.format(optimizer="second").lstrip(), "first", "second"
    ),
    "changed: parameter": _CHANGED.replace("{change}", "net.w = tg.parameter(net.w.numpy() * 0.5)"),
    "changed: attribute": _CHANGED.replace("{change}", "net.scale = net.scale * 0.5"),
    "changed: training": _CHANGED.replace("{change}", "net.train(not net.training)"),
    "changed: cell": _REBOUND.replace("{declared}", "").replace("{new}", "tg.parameter(weight.numpy() * 0.5)"),
    "changed: global": _REBOUND.replace("{declared}", "\n    global weight").replace(
        "{new}", "tg.tensor(weight.numpy() * 0.5)"
    ),
    "changed: requires_grad": _FROZEN,
    "layers: RNN": _LAYER.replace("{layer}", "RNN"),
    "layers: LSTM": _LAYER.replace("{layer}", "LSTM"),
    "layers: GRU": _LAYER.replace("{layer}", "GRU"),
}

SHARES = {"fed back": 16, "dropout": 16, "snapshots": 16, "training": 24, "changed": 64, "layers": 256}
