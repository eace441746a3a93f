"""Several changes in one call: inner loops, two networks in turn, truncated gradients, assignments."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import optim

X = np.array([[0.5, -1.0, 2.0], [1.5, 0.3, -0.7]])


def inner_loop(optimizer):
    """Steps in a loop, the parameters read in between and afterwards."""
    w, b = tg.parameter(np.array([1.0, -2.0, 0.5]), name="w"), tg.parameter(np.array(0.1), name="b")
    steps = optimizer([w, b])

    def run(x):
        seen = [w * 1.0]
        for _ in range(3):
            steps.zero_grad()
            loss = ((x @ w + b) ** 2).mean()
            loss.backward()
            optim.clip_grad_norm([w, b], 2.0)
            steps.step()
            seen.append(w.sum() * b)
        return loss, seen, w, w.detach()

    return run, [w, b], [steps]


def uneven(optimizer):
    """Steps in a loop, of which some leave out a parameter."""
    w, b = tg.parameter(np.array([1.0, -2.0, 0.5]), name="w"), tg.parameter(np.array(0.1), name="b")
    steps = optimizer([w, b])

    def run(x):
        for k in range(3):
            steps.zero_grad()
            ((x @ w + b) ** 2 if k == 1 else (x @ w) ** 2).mean().backward()
            steps.step()
        return w, b

    return run, [w, b], [steps]


def adversaries(_):
    """Two networks with an optimiser each, one trained through the other."""
    rng = np.random.default_rng(0)
    made, judge = (tg.nn.Linear(3, n, generator=rng, dtype=np.float64) for n in (3, 1))
    first, second = optim.Adam(judge, lr=0.1), optim.SGD(made, lr=0.2, momentum=0.5)

    def run(x):
        fake = tg.tanh(made(x))
        judge.zero_grad()
        loss = tg.softplus(judge(fake.detach())).mean() + tg.softplus(-judge(x)).mean()
        loss.backward()
        first.step()
        made.zero_grad()
        other = tg.softplus(-judge(fake)).mean()
        other.backward()
        second.step()
        return loss, other, judge(made(x))

    return run, [*made.parameters(), *judge.parameters()], [first, second]


def truncated(optimizer):
    """An update after each chunk of a sequence, the state carried along."""
    cell = tg.nn.GRUCell(3, 4, generator=0, dtype=np.float64)
    steps = optimizer(cell.parameters())

    def run(x):
        losses = []
        for chunk in tg.nn.tbptt(cell, tg.stack([x] * 5, axis=1), 2, 3):
            steps.zero_grad()
            loss = (chunk.outputs**2).mean()
            loss.backward()
            steps.step()
            losses.append(loss)
        return losses

    return run, cell.parameters(), [steps]


def assignments(_):
    """What is assigned is read afterwards, also by another assignment."""
    w, v = tg.parameter(np.array([1.0, -2.0, 0.5]), name="w"), tg.tensor(np.array([3.0, 0.0, 1.0]), name="v")

    def run(x):
        before = w.detach(), v[::-1], v
        w.assign(w * x[0])
        v.assign(w + 1)
        w.assign(v)
        w.grad = None
        (w * v * x[1]).sum().backward()
        optim.SGD([w], lr=0.1).step()
        return before, w + v, w

    return run, [w, v], []


def exchanged(_):
    """Each becomes what the other was; the gradient of one is the other itself."""
    w, v = tg.parameter(np.array([1.0, -2.0, 0.5]), name="w"), tg.parameter(np.array([3.0, 0.0, 1.0]), name="v")
    steps = optim.SGD([w, v], lr=1.0)

    def run(x):
        steps.zero_grad()
        (w * v).sum().backward()
        steps.step()
        kept = w.detach()
        w.assign(v)
        v.assign(kept)
        return (w * x).sum()

    return run, [w, v], [steps]


def online(optimizer):
    """An update in each time step."""
    w = tg.parameter(np.array([0.5, -1.0, 2.0]), name="w")
    steps = optimizer([w])

    def run(x):
        h = x
        for _ in tg.steps(4):
            h = tg.tanh(h * w)
            steps.zero_grad()
            (h**2).sum().backward()
            steps.step()
            h = h.detach()
        return h

    return run, [w], [steps]


def first_order(optimizer):
    """A gradient that is not asked to be differentiable is a constant in what follows."""
    w, v = tg.parameter(np.array([0.5, -1.0, 2.0])), tg.parameter(np.array([1.0, 0.3, -0.2]))
    steps = optimizer([w, v])

    def run(x):
        inner = tg.grad(((w * x - v) ** 2).sum(), w)
        _, slope = tg.jvp(lambda a: a**3, [w], [v])
        w.grad = v.grad = None
        (w**3).sum().backward()
        weight = w.grad
        w.grad = None
        (((w - 0.1 * inner) * x - v) ** 2 * weight + slope * w).sum().backward()
        steps.step()
        return inner, tg.grad((tg.grad((w**3).sum(), w, create_graph=True) * v).sum(), w), tg.hvp((w**3).sum(), w, v)

    return run, [w, v], [steps]


def step_before_the_gradient(optimizer):
    """The gradient of one call is used by the next."""
    w = tg.parameter(np.array([0.5, -1.0, 2.0]))
    steps = optimizer([w])
    (w**2).sum().backward()

    def run(x):
        steps.step()
        steps.zero_grad()
        loss = ((w * x) ** 2).sum()
        loss.backward()
        return loss

    return run, [w], [steps]


def swapped_states(_):
    """Loading a state takes all of it from before."""
    model = tg.nn.Module()
    model.a, model.b = tg.parameter(np.array([1.0, 2.0, 3.0])), tg.parameter(np.array([0.0, 1.0, 0.5]))

    def run(x):
        model.load_state_dict({"a": model.b, "b": model.a * x[0]})
        return model.a + model.b

    return run, model.parameters(), []


KINDS = {
    f.__name__: f
    for f in (
        inner_loop, uneven, adversaries, truncated, assignments, exchanged, online, first_order,
        step_before_the_gradient, swapped_states,
    )
}  # fmt: skip
OPTIMIZERS = {
    "adam": lambda p: optim.Adam(p, lr=optim.exponential(0.1, 0.5)),
    "momentum": lambda p: optim.SGD(p, lr=0.05, momentum=0.9),
}


def flat(result):
    if isinstance(result, tg.Tensor):
        return [result.numpy().copy()]
    return [a for r in result for a in flat(r)]


@pytest.mark.parametrize("memory", [None, "sqrt"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("kind", KINDS)
def test_as_in_eager_mode(kind, optimizer, memory):
    eager, theirs, others = KINDS[kind](OPTIMIZERS[optimizer])
    function, ours, own = KINDS[kind](OPTIMIZERS[optimizer])
    compiled = tg.compile(function, memory=memory)
    for k in range(4):
        x = X * (1 + 0.1 * k)
        for a, b in zip(flat(compiled(x)), flat(eager(tg.tensor(x))), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
        for p, q in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=1e-10, atol=1e-12)
    assert len(compiled.programs) == 1
    for one, other in zip(own, others, strict=True):
        assert one.step_count == other.step_count
        for key, array in one.state_dict().items():
            np.testing.assert_allclose(array, other.state_dict()[key], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", ["inner_loop", "uneven", "truncated"])
def test_as_text_and_back(kind):
    function, ours, own = KINDS[kind](OPTIMIZERS["adam"])
    named = {f"p{k}": p for k, p in enumerate(ours)}
    text = tg.compile(function).program(X).to_json(named)
    _, theirs, others = KINDS[kind](OPTIMIZERS["adam"])
    program = tg.Program.from_json(text, {f"p{k}": p for k, p in enumerate(theirs)}, others)
    compiled = tg.compile(function)
    for _ in range(2):
        for a, b in zip(flat(compiled(X)), program.run([X]), strict=True):
            np.testing.assert_array_equal(a, b)
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(p.numpy(), q.numpy())
    assert others[0].step_count == own[0].step_count


def test_what_was_differentiated_too_late():
    """A loss from before the update cannot be differentiated after it, compiled as in eager mode."""
    w = tg.parameter(np.ones(3))
    optimizer = optim.SGD([w], lr=0.1)

    def step(x):
        loss = (w * x).sum()
        loss.backward()
        optimizer.step()
        return tg.grad(loss, w)

    with pytest.raises(tg.StaleError):
        tg.compile(step)(X[0])
    assert w.tolist() == [1, 1, 1]
    with pytest.raises(tg.StaleError):
        step(tg.tensor(X[0]))


def test_a_failure_between_two_steps():
    """What was done before it stays done, and is counted, as in eager mode."""
    def made():
        w = tg.parameter(np.array([2.0, 3.0]), name="w")
        optimizer = optim.Adam([w], lr=0.1)

        def run(x):
            for k in range(2):
                optimizer.zero_grad()
                (tg.log(w * x[k]).sum()).backward()
                optim.clip_grad_norm([w], 1.0)
                optimizer.step()

        return run, w, optimizer

    (eager, theirs, other), (function, ours, optimizer) = made(), made()
    compiled, bad = tg.compile(function), np.array([[1.0, 1.0], [0.0, 1.0]])
    for run, x in ((compiled, bad), (eager, tg.tensor(bad))):
        with pytest.raises(tg.GradientError, match="'w'"):
            run(x)
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-12)
    assert optimizer.step_count == other.step_count == 1
    assert ours.assigned
    compiled(np.ones((2, 2)))
    eager(tg.ones((2, 2), np.float64))
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-12)


def test_a_program_with_other_gradients_than_when_it_was_recorded():
    """What it would add to was not there; a compiled function has a program for each case."""
    w = tg.parameter(np.ones(3), name="w")
    compiled = tg.compile(lambda x: (w * x).sum().backward())
    program = compiled.program(X[0])
    program(X[0])
    for run in (lambda: program(X[0]), lambda: program.run([X[0]])):
        with pytest.raises(tg.GradientError, match="'w'"):
            run()
    again = tg.Program.from_json(program.to_json(), {"w": w})
    with pytest.raises(tg.GradientError, match="'w'"):
        again(X[0])
    compiled(X[0])
    np.testing.assert_allclose(w.grad.numpy(), 2 * X[0])
    w.grad = None
    again(X[0])
    np.testing.assert_allclose(w.grad.numpy(), X[0])


def test_parameters_without_entries():
    w, none = tg.parameter(np.ones(2)), tg.parameter(np.ones((0, 3)))
    optimizer = optim.Adam([none, w], lr=0.1)

    @tg.compile
    def step(x):
        ((w * x).sum() + none.sum()).backward()
        optimizer.step()

    step(np.ones(2))
    assert optimizer.step_count == 1


def test_the_number_of_steps_and_the_kernels():
    """A loop of updates has the kernels of one update, and instructions in proportion."""
    w = tg.parameter(np.ones(3))
    optimizer = optim.Adam([w], lr=0.1)

    def steps(count):
        def run(x):
            for _ in range(count):
                optimizer.zero_grad()
                ((w * x) ** 2).sum().backward()
                optimizer.step()

        return tg.compile(run).program(X[0])

    few, many = steps(4), steps(40)
    assert few.kernels == many.kernels
    assert len(many.instructions) <= 10 * len(few.instructions)


def made_parameter(x):
    w = tg.parameter(np.ones(3), name="fast")
    (w * x).sum().backward()
    optim.SGD([w], lr=0.1).step()
    return w * 1.0


def made_constant(x):
    c = tg.tensor(np.zeros(3), name="fast")
    c.assign(x)
    return c * 1.0


@pytest.mark.parametrize("function", [made_parameter, made_constant])
def test_changes_of_what_the_function_makes(function):
    """In eager mode each call begins with a new one; a program would go on with the old."""
    with pytest.raises(TypeError, match=r"makes tensor 'fast'[\s\S]*test_changes.py[\s\S]*outside"):
        tg.compile(function)(X[0])


def test_gradients_of_what_the_function_makes():
    """They are those of this call, and no reason to record anew."""

    @tg.compile
    def slope(x):
        w = tg.parameter(np.ones(3))
        (w * x).sum().backward()
        return w.grad

    assert [slope(X[0] * k).tolist() for k in (1, 2, 3)] == [(X[0] * k).tolist() for k in (1, 2, 3)]
    assert len(slope.programs) == 1


@pytest.mark.parametrize("made", [
    lambda p: optim.Adam(p, lr=0.1), lambda p: optim.SGD(p, lr=0.1, momentum=0.5),
    lambda p: optim.SGD(p, lr=optim.exponential(0.1, 0.5)),
])  # fmt: skip
def test_an_optimizer_that_the_function_makes(made):
    w = tg.parameter(np.ones(3))

    def step(x):
        (w * x).sum().backward()
        made([w]).step()

    with pytest.raises(TypeError, match="makes its optimiser"):
        tg.compile(step)(X[0])
    assert w.tolist() == [1, 1, 1]


def test_parameters_that_a_module_makes_when_it_is_first_called():
    """They are made once, and kept."""

    class Lazy(tg.nn.Module):
        def __init__(self):
            self.weights = []

        @property
        def w(self):
            return self.weights[0]

        def forward(self, x):
            if not self.weights:
                self.weights.append(tg.parameter(np.ones(x.shape)))
            return (self.w * x).sum()

    def made(kind):
        model = Lazy()

        @kind
        def step(x):
            loss = model(x)
            loss.backward()
            optim.SGD([model.w], lr=0.1).step()
            model.zero_grad()
            return loss

        return [step(tg.tensor(X[0])).item() for _ in range(4)]

    np.testing.assert_allclose(made(tg.compile), made(lambda f: f), rtol=1e-12)
