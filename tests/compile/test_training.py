"""Compiled training steps do what eager ones do: to parameters, optimisers, gradients and generators."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import optim

OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, lr=0.1),
    "sgd_decay": lambda p: optim.SGD(p, lr=0.1, weight_decay=0.3),
    "momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1),
    "nesterov": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "rmsprop": lambda p: optim.RMSprop(p, lr=0.05, alpha=0.8, weight_decay=0.1),
    "adagrad": lambda p: optim.Adagrad(p, lr=0.3),
    "adam": lambda p: optim.Adam(p, lr=0.1, betas=(0.8, 0.95), weight_decay=0.1),
    "adamw": lambda p: optim.AdamW(p, lr=optim.cosine(0.1, total=4, final=0.01), weight_decay=0.2),
    "schedule": lambda p: optim.SGD(p, lr=optim.warmup(optim.exponential(0.2, 0.5), 3), momentum=0.5),
}
CLIPS = {
    "none": lambda p: None,
    "norm": lambda p: optim.clip_grad_norm(p, 0.05),
    "wide norm": lambda p: optim.clip_grad_norm(p, 1e3),
    "value": lambda p: optim.clip_grad_value(p, 0.02),
}
BATCH, TIME = 3, 4


class Model(tg.nn.Module):
    """Two recurrent layers over an embedding, with dropout between them."""

    def __init__(self, dtype=np.float64, dropout=0.0, seed=0):
        rng = np.random.default_rng(seed)
        self.embedding = tg.nn.Embedding(6, 4, generator=rng, dtype=dtype)
        self.rnn = tg.nn.RNN(4, 5, num_layers=2, dropout=dropout, generator=rng, dtype=dtype)
        self.head = tg.nn.Linear(5, 6, generator=rng, dtype=dtype)

    def forward(self, tokens):
        return self.head(self.rnn(self.embedding(tokens)).outputs)


def batches(count=5, seed=0):
    return np.random.default_rng(seed).integers(0, 6, (count, 2, BATCH, TIME))


def trainer(optimizer="sgd", clip="none", dtype=np.float64, dropout=0.0, zero="first"):
    """A model, its optimiser, and one step of training as a plain function."""
    model = Model(dtype, dropout)
    optimizer = OPTIMIZERS[optimizer](model)

    def step(tokens, targets):
        if zero == "first":
            optimizer.zero_grad()
        loss = tg.cross_entropy(model(tokens), targets)
        loss.backward()
        CLIPS[clip](model)
        optimizer.step()
        if zero == "last":
            optimizer.zero_grad()
        return loss

    return model, optimizer, step


def assert_same_state(one, other, rtol=1e-10):
    """Two ``(model, optimizer)`` hold the same."""
    for (name, p), (_, q) in zip(one[0].named_parameters(), other[0].named_parameters(), strict=True):
        np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=rtol, atol=rtol, err_msg=name)
    a, b = one[1].state_dict(), other[1].state_dict()
    assert a["step_count"] == b["step_count"]
    for key, array in a.items():
        np.testing.assert_allclose(array, b[key], rtol=rtol, atol=rtol, err_msg=key)


def assert_same_training(rtol=1e-10, **options):
    model, optimizer, step = trainer(**options)
    other, other_optimizer, eager = trainer(**options)
    compiled = tg.compile(step)
    for tokens, targets in batches():
        loss, expected = compiled(tokens, targets), eager(tg.tensor(tokens), tg.tensor(targets))
        np.testing.assert_allclose(loss.numpy(), expected.numpy(), rtol=rtol)
        assert_same_state((model, optimizer), (other, other_optimizer), rtol)
    assert optimizer.step_count == 5
    assert len(compiled.programs) == 1


# Whole steps ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_five_steps_of_every_optimizer(optimizer):
    assert_same_training(optimizer=optimizer)


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("optimizer", ["nesterov", "adam"])
def test_five_steps_with_clipping(optimizer, clip):
    assert_same_training(optimizer=optimizer, clip=clip)


@pytest.mark.parametrize("zero", ["first", "last"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_five_steps_of_float32(optimizer, zero):
    assert_same_training(1e-4, optimizer=optimizer, dtype=np.float32, clip="norm", zero=zero)


def test_the_norm_is_returned():
    w = tg.parameter(np.array([3.0, 4.0]))
    norm = tg.compile(lambda x: ((0.5 * w * w * x).sum().backward(), optim.clip_grad_norm([w], 1.0))[1])
    assert norm(np.ones(2)).item() == 5.0
    np.testing.assert_allclose(w.grad.numpy(), [0.6, 0.8], rtol=1e-12)


def test_two_optimizers_and_two_dtypes():
    def made():
        w, b, frozen = (tg.parameter(np.arange(3, dtype=t) + 1) for t in (np.float64, np.float32, np.float64))
        optimizers = optim.Adam([w, b], lr=0.1), optim.SGD([frozen], lr=0.2, momentum=0.5)

        def step(x):
            loss = (tg.tanh(w * x) * frozen).sum() + (b.astype(np.float64) * x).sum() ** 2
            loss.backward()
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
            return loss

        return [w, b, frozen], optimizers, step

    (ours, optimizers, step), (theirs, others, eager) = made(), made()
    compiled, x = tg.compile(step), np.array([0.1, -0.2, 0.3])
    for _ in range(5):
        np.testing.assert_allclose(compiled(x).numpy(), eager(tg.tensor(x)).numpy(), rtol=1e-10)
    for p, q in zip(ours, theirs):
        np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=1e-6 if p.dtype == np.float32 else 1e-10)
    assert [o.step_count for o in optimizers] == [o.step_count for o in others]


def test_parameters_without_a_gradient_stay_as_they_are():
    used, unused = tg.parameter(np.ones(2)), tg.parameter(np.ones(2))
    optimizer = optim.Adam([unused, used], lr=0.1, weight_decay=0.5)

    @tg.compile
    def step(x):
        (used * x).sum().backward()
        optimizer.step()

    with pytest.warns(RuntimeWarning, match=r"step: the loss does not reach a parameter of shape \(2,\), which"):
        step(np.ones(2))
    assert unused.tolist() == [1, 1]
    assert not any(a.any() for a in optimizer.state[0])
    assert used.tolist() != [1, 1]


def test_a_new_learning_rate_and_momentum_count_at_once():
    w = tg.parameter(np.zeros(1))
    optimizer = optim.SGD([w], lr=1.0, momentum=0.5)

    @tg.compile
    def step(x):
        optimizer.zero_grad()
        (w * x).sum().backward()
        optimizer.step()

    step(np.ones(1))
    optimizer.schedule, optimizer.momentum = 0.125, 0.25
    step(np.ones(1))
    assert w.tolist() == [-1 - 0.125 * 1.25]
    assert len(step.programs) == 1


@pytest.mark.parametrize("size", [(), (1,), (0,), (1, 1), (2, 0, 3)])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_parameters_of_unusual_shapes(optimizer, size):
    def made():
        w, v = tg.parameter(np.full(size, 0.5)), tg.parameter(np.ones(2))
        chosen = OPTIMIZERS[optimizer]([w, v])

        def step(x):
            ((tg.sin(w) + v.sum()) * x).sum().backward()
            v_used = (v * v).sum()
            v_used.backward()
            chosen.step()
            chosen.zero_grad()

        return w, v, step

    (w, v, step), (w_2, v_2, eager) = made(), made()
    compiled, x = tg.compile(step), np.array(0.7)
    for _ in range(3):
        compiled(x)
        eager(tg.tensor(x))
    np.testing.assert_allclose(w.numpy(), w_2.numpy(), rtol=1e-10)
    np.testing.assert_allclose(v.numpy(), v_2.numpy(), rtol=1e-10)


# Generators -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_dropout_draws_what_it_draws_in_eager_mode(optimizer):
    assert_same_training(optimizer=optimizer, dropout=0.4)


def test_generators_advance_as_in_eager_mode():
    ours, theirs = (np.random.default_rng(7) for _ in range(2))
    compiled = tg.compile(lambda x: tg.dropout(x, 0.5, generator=ours) + tg.dropout(x, 0.25, generator=ours))
    x, seen = np.ones((4, 5)), []
    for _ in range(3):
        seen.append(compiled(x).numpy())
        expected = tg.dropout(x, 0.5, generator=theirs) + tg.dropout(x, 0.25, generator=theirs)
        np.testing.assert_array_equal(seen[-1], expected.numpy())
        assert ours.bit_generator.state == theirs.bit_generator.state
    assert (seen[0] != seen[1]).any()


def test_masks_that_nobody_uses_are_drawn():
    """What an eager run draws is drawn, also where it is of no consequence but for the numbers that follow."""

    def run(x, generator):
        tg.dropout(x, 0.5, generator=generator)
        return tg.dropout(x, 0.5, generator=generator)

    ours, theirs = (np.random.default_rng(7) for _ in range(2))
    compiled, x = tg.compile(lambda x: run(x, ours)), np.ones(8)
    np.testing.assert_array_equal(compiled(x).numpy(), run(tg.tensor(x), theirs).numpy())
    assert ours.bit_generator.state == theirs.bit_generator.state


def test_dropout_inside_a_checkpoint():
    """The second pass over it has the mask of the first."""
    ours, theirs = (np.random.default_rng(7) for _ in range(2))
    w = tg.parameter(np.ones(6))

    def run(x, generator):
        y = tg.checkpoint(lambda v: tg.dropout(tg.tanh(v * w), 0.5, generator=generator) * w)(x)
        return [y, *tg.grad(y.sum(), [x, w])]

    compiled, x = tg.compile(lambda x: run(x, ours)), np.ones(6)
    for _ in range(2):
        for a, b in zip(compiled(x), run(tg.tensor(x), theirs), strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12)
    assert ours.bit_generator.state == theirs.bit_generator.state


def test_recording_alone_draws_nothing():
    generator = np.random.default_rng(7)
    compiled = tg.compile(lambda x: tg.dropout(x, 0.5, generator=generator))
    before = generator.bit_generator.state
    compiled.program(np.ones(4))
    assert generator.bit_generator.state == before


def test_dropout_in_training_and_not_in_evaluation():
    model, _, step = trainer(dropout=0.5)
    train, predict = tg.compile(step), tg.compile(model)
    (tokens, targets), *_ = batches()
    model.train()
    train(tokens, targets)
    assert (predict(tokens).numpy() != predict(tokens).numpy()).any()
    model.eval()
    expected = model(tokens).numpy()
    for _ in range(2):
        np.testing.assert_allclose(predict(tokens).numpy(), expected, rtol=1e-10)


# Gradients ------------------------------------------------------------------------------------------------------------


def test_gradients_are_left_and_accumulate():
    w = tg.parameter(np.array([1.0, 2.0]))
    compiled = tg.compile(lambda x: (w * w * x).sum().backward())
    compiled(np.ones(2))
    first = w.grad
    assert first.tolist() == [2, 4]
    compiled(np.array([0.0, 10.0]))
    assert w.grad.tolist() == [2, 44]
    assert first.tolist() == [2, 4]
    w.grad = None
    compiled(np.ones(2))
    assert w.grad.tolist() == [2, 4]
    (3 * w).sum().backward()
    assert w.grad.tolist() == [5, 7]


def test_gradients_of_two_compiled_functions_add_up():
    w = tg.parameter(np.ones(2))
    one, two = tg.compile(lambda x: (w * x).sum().backward()), tg.compile(lambda x: (w * w * x).sum().backward())
    one(np.ones(2))
    two(np.ones(2))
    assert w.grad.tolist() == [3, 3]


def test_two_backward_passes_in_one_call_add_up():
    w = tg.parameter(np.ones(2))

    @tg.compile
    def twice(x):
        (w * x).sum().backward()
        (w * w * x).sum().backward()

    twice(np.ones(2))
    twice(np.ones(2))
    assert w.grad.tolist() == [6, 6]


def test_zero_grad_within():
    w = tg.parameter(np.ones(2))
    optimizer = optim.SGD([w], lr=0.1)

    @tg.compile
    def fresh(x):
        optimizer.zero_grad()
        (w * x).sum().backward()

    @tg.compile
    def second_only(x):
        (w * x).sum().backward()
        optimizer.zero_grad()
        (2 * w * x).sum().backward()

    for _ in range(2):
        fresh(np.ones(2))
        assert w.grad.tolist() == [1, 1]
    second_only(np.ones(2))
    assert w.grad.tolist() == [2, 2]


@pytest.mark.parametrize("first", [True, False])
def test_zero_grad_alone(first):
    """A gradient of before is gone after a function that forgets it."""
    w = tg.parameter(np.ones(2))
    optimizer = optim.SGD([w], lr=0.1)

    def forget(x):
        if first:
            (w * x).sum().backward()
        optimizer.zero_grad()

    (w * w).sum().backward()
    tg.compile(forget)(np.ones(2))
    assert w.grad is None


def test_gradients_seen_within_a_function():
    """What ``.grad`` holds is there to be used, and is a tensor of this call."""
    w = tg.parameter(np.ones(2))

    @tg.compile
    def squared(x):
        w.grad = None
        (w * x).sum().backward()
        return (w.grad**2).sum()

    assert [squared(np.array([1.0, k])).item() for k in (2.0, 3.0)] == [5, 10]


def test_a_gradient_that_is_only_read():
    """It is the one that is there when the function is called, or None."""
    w = tg.parameter(np.ones(2))
    triple = tg.compile(lambda: tg.zeros(2) if w.grad is None else w.grad * 3)
    assert triple().tolist() == [0, 0]
    for k in (2, 5):
        w.grad = None
        (w * k).sum().backward()
        assert triple().tolist() == [3 * k, 3 * k]
        assert w.grad.tolist() == [k, k]
    assert len(triple.programs) == 2


def test_a_gradient_that_was_read_before():
    w = tg.parameter(np.ones(2))
    (w * 2).sum().backward()
    before = w.grad
    with pytest.raises(TypeError, match=r"reads a \.grad from before"):
        tg.compile(lambda: before * 3)()


def accumulated(compiled):
    """A gradient that one function leaves, and a step that comes after it."""
    w = tg.parameter(np.array([1.0, 2.0]))
    optimizer = optim.SGD([w], lr=1.0)
    return w, optimizer, (tg.compile if compiled else lambda f: f)(lambda x: (w * x).sum().backward())


@pytest.mark.parametrize("compiled", [True, False])
def test_a_step_of_its_own(compiled):
    """It takes the gradient that is there when it is called, not the one of when it was recorded."""
    w, optimizer, accumulate = accumulated(compiled)

    @tg.compile
    def step():
        optim.clip_grad_norm([w], 100.0)
        optimizer.step()

    for x in ([1.0, 1.0], [10.0, 10.0]):
        accumulate(tg.tensor(np.array(x)))
        step()
        w.grad = None
    assert w.tolist() == [-10, -9]


@pytest.mark.parametrize("compiled", [True, False])
def test_a_step_after_gradients_of_before(compiled):
    """backward() adds to the gradient of before, the step takes the sum, and leaves it where it was."""
    w, optimizer, accumulate = accumulated(compiled)

    @tg.compile
    def step(x):
        (w * x).sum().backward()
        optimizer.step()

    accumulate(tg.tensor(np.array([1.0, 1.0])))
    step(tg.tensor(np.array([10.0, 10.0])))
    assert (w.tolist(), w.grad.tolist()) == ([-10, -9], [11, 11])
    step(tg.tensor(np.array([1.0, 1.0])))
    assert (w.tolist(), w.grad.tolist()) == ([-22, -21], [12, 12])
    w.grad = None
    step(tg.tensor(np.array([1.0, 1.0])))
    assert (w.tolist(), w.grad.tolist()) == ([-23, -22], [1, 1])


def test_accumulating_over_parts_of_a_batch():
    """The usual loop: gradients of several parts, then a step on the last."""
    ours, theirs = trainer(optimizer="adam"), trainer(optimizer="adam")
    accumulate = [
        lambda a, b, m=m: (tg.cross_entropy(m(a), b) / 2).backward() for m in (ours[0], theirs[0])
    ]  # fmt: skip
    parts = tg.compile(accumulate[0])

    @tg.compile
    def step():
        optim.clip_grad_norm(ours[0], 1.0)
        ours[1].step()

    for tokens, targets in batches(3):
        for half in (slice(0, 2), slice(1, 3)):
            parts(tokens[half], targets[half])
            accumulate[1](tg.tensor(tokens[half]), tg.tensor(targets[half]))
        step()
        optim.clip_grad_norm(theirs[0], 1.0)
        theirs[1].step()
        ours[1].zero_grad()
        theirs[1].zero_grad()
        assert_same_state(ours[:2], theirs[:2])


def test_clipping_without_gradients():
    w = tg.parameter(np.ones(2))

    @tg.compile
    def clipped(x):
        optim.clip_grad_norm([w], 1.0)
        optim.clip_grad_value([w], 1.0)
        return x * 2

    assert clipped(np.ones(1)).tolist() == [2]


def test_a_step_without_gradients_is_refused():
    optimizer = optim.SGD([tg.parameter(np.ones(2))], lr=0.1)
    with pytest.raises(tg.GradientError, match="no parameter has a gradient"):
        tg.compile(lambda x: optimizer.step())(np.ones(1))


def test_a_parameter_as_an_argument():
    """Its gradient is not lost in silence."""
    e, w = tg.parameter(np.array([1.0, 2.0]), name="e"), tg.parameter(np.array([3.0, 5.0]))
    compiled = tg.compile(lambda e: (e * w).sum().backward())
    refused = None
    try:
        compiled(e)
    except (TypeError, tg.GradientError) as error:
        refused = str(error)
    assert "'e'" in refused if refused else e.grad.tolist() == [3, 5]


# Old values and new ones ----------------------------------------------------------------------------------------------


def test_old_values_of_a_parameter():
    """What was computed from a parameter before a step is from its old value, also where it needs no computing."""
    w = tg.parameter(np.array([[1.0, 2.0], [3.0, 4.0]]))
    optimizer = optim.SGD([w], lr=1.0)

    @tg.compile
    def step(x):
        old = w.T, w[0], w * 1.0, w.reshape(4), w + 0.0, w.detach(), tg.stack([w[0], w[1]])
        (w * x).sum().backward()
        optimizer.step()
        return (*old, w)

    *old, new = step(np.ones((2, 2)))
    values = np.array([[1.0, 2.0], [3.0, 4.0]])
    expected = [values.T, values[0], values, values.reshape(4), values, values, values]
    for a, b in zip(old, expected, strict=True):
        np.testing.assert_array_equal(a.numpy(), b)
    np.testing.assert_array_equal(new.numpy(), values - 1)


@pytest.mark.parametrize("product", [
    lambda a, b: (a * b).sum(), lambda a, b: tg.matmul(a, b), lambda a, b: tg.einsum("i,i->", a, b),
    lambda a, b: (a.reshape(1, 2) @ b.reshape(2, 1)).sum(), lambda a, b: sum(a[k] * b[k] for k in range(2)),
])  # fmt: skip
def test_gradients_that_are_parameters(product):
    """Of ``a * b`` the gradient by `a` is `b`: each is changed with the old value of the other, in either order."""
    for order in (slice(None), slice(None, None, -1)):
        a, b = tg.parameter(np.array([1.0, 2.0])), tg.parameter(np.array([3.0, 5.0]))
        optimizer = optim.SGD([a, b][order], lr=1.0)

        @tg.compile
        def step(x, a=a, b=b, optimizer=optimizer):
            product(a, b).backward()
            optimizer.step()

        step(np.zeros(1))
        assert (a.tolist(), b.tolist()) == ([-2, -3], [2, 3])


def test_a_gradient_left_that_is_a_parameter_which_is_updated():
    a, b = tg.parameter(np.array([1.0, 2.0])), tg.parameter(np.array([3.0, 5.0]))
    optimizer = optim.SGD([a], lr=1.0)

    @tg.compile
    def step(x):
        (a * b).sum().backward()
        optimizer.step()

    step(np.zeros(1))
    assert b.grad.tolist() == [1, 2]
    assert a.tolist() == [-2, -3]


def test_assignments_that_swap():
    p, q = tg.parameter(np.array([1.0, 2.0])), tg.parameter(np.array([3.0, 4.0]))

    @tg.compile
    def swap(x):
        a, b = p * 1.0, q * 1.0
        p.assign(b)
        q.assign(a)

    swap(np.zeros(1))
    assert (p.tolist(), q.tolist()) == ([3, 4], [1, 2])


def test_assigning_views_of_itself():
    p = tg.parameter(np.arange(9.0).reshape(3, 3))
    turn = tg.compile(lambda x: p.assign(p.T[::-1]))
    expected = p.numpy().copy()
    for _ in range(3):
        turn(np.zeros(1))
        expected = expected.T[::-1]
        np.testing.assert_array_equal(p.numpy(), expected)


def test_assigning_the_value_before_the_step():
    w, old = tg.parameter(np.array([1.0, 2.0])), tg.tensor(np.zeros(2))
    optimizer = optim.SGD([w], lr=1.0)

    @tg.compile
    def step(x):
        old.assign(w * 1.0)
        (w * x).sum().backward()
        optimizer.step()

    step(np.ones(2))
    assert (old.tolist(), w.tolist()) == ([1, 2], [0, 1])


def test_a_running_mean_in_a_closure():
    mean = tg.tensor(np.zeros(2))
    update = tg.compile(lambda x: mean.assign(0.5 * mean + 0.5 * x))
    update(np.array([4.0, 8.0]))
    update(np.array([0.0, 2.0]))
    assert mean.tolist() == [1, 3]


def test_state_between_calls_in_and_out():
    """The last state of a batch is where the next one starts; only values pass between calls."""
    cell = tg.nn.RNNCell(2, 3, generator=0, dtype=np.float64)
    run = lambda x, h: tg.nn.unroll(cell, x, h)
    compiled, xs = tg.compile(run), np.random.default_rng(0).normal(size=(4, 2, 5, 2))
    ours = theirs = cell.initial_state(2)
    for x in xs:
        ours = compiled(x, ours).state
        theirs = run(x, theirs).state
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-12)


def test_parameters_are_changed_in_their_own_arrays():
    model, optimizer, step = trainer(optimizer="adam")
    compiled = tg.compile(step)
    (tokens, targets), *rest = batches()
    compiled(tokens, targets)
    arrays, views = [p.data for p in model.parameters()], [p.numpy() for p in model.parameters()]
    state = [a for slots in optimizer.state for a in slots]
    before = [v.copy() for v in views]
    for tokens, targets in rest:
        compiled(tokens, targets)
    assert all(p.data is a for p, a in zip(model.parameters(), arrays))
    assert all(a is b for a, b in zip(state, (a for slots in optimizer.state for a in slots)))
    assert any((v != b).any() for v, b in zip(views, before))
    assert all(np.array_equal(v, p.numpy()) for v, p in zip(views, model.parameters()))


def test_results_and_gradients_of_a_call_outlive_the_next():
    w = tg.parameter(np.ones(3))

    @tg.compile
    def f(x):
        (w * x).sum().backward()
        return x * 2, x, w

    first = f(np.ones(3))
    left = w.grad
    f(np.zeros(3))
    assert [t.tolist() for t in first] == [[2] * 3, [1] * 3, [1] * 3]
    assert left.tolist() == [1] * 3
    w.assign(np.zeros(3))
    assert first[2].tolist() == [1] * 3


# Beside eager code ----------------------------------------------------------------------------------------------------


def test_evaluation_training_and_eager_code_in_turn():
    """Nothing goes stale: assignments, loaded states and eager steps are seen by compiled functions and the reverse."""
    ours, theirs = trainer(optimizer="adam"), trainer(optimizer="adam")
    train = tg.compile(ours[2])
    evaluate = tg.compile(lambda a, b: tg.cross_entropy(ours[0](a), b))
    expected = lambda a, b: tg.cross_entropy(theirs[0](a), b)
    saved = theirs[0].state_dict(), theirs[1].state_dict()
    data = batches(8)

    def both(k):
        a, b = data[k]
        np.testing.assert_allclose(evaluate(a, b).item(), expected(a, b).item(), rtol=1e-10)
        assert_same_state(ours[:2], theirs[:2])

    for k, (a, b) in enumerate(data):
        both(k)
        (train if k % 3 < 2 else ours[2])(tg.tensor(a), tg.tensor(b))
        theirs[2](tg.tensor(a), tg.tensor(b))
        both(k)
        if k == 3:
            for model, optimizer in (ours[:2], theirs[:2]):
                model.load_state_dict(saved[0])
                optimizer.load_state_dict(saved[1])
        if k == 5:
            for model, _ in (ours[:2], theirs[:2]):
                model.head.b.assign(np.full(6, 0.25))
                model.parameters()[0].assign(np.full(model.parameters()[0].shape, 0.1))
        both(k)


def test_saved_states_go_on_where_they_were(tmp_path):
    ours, theirs = trainer(optimizer="adam", clip="norm"), trainer(optimizer="adam", clip="norm")
    train, data = tg.compile(ours[2]), batches(6)
    for k, (a, b) in enumerate(data):
        train(a, b)
        theirs[2](tg.tensor(a), tg.tensor(b))
        if k == 1:
            tg.save(ours[0], tmp_path / "model.safetensors")
            tg.save(ours[1].state_dict(), tmp_path / "optimizer.safetensors")
            kept = theirs[0].state_dict(), theirs[1].state_dict()
        if k == 3:
            ours[0].load_state_dict(tg.load(tmp_path / "model.safetensors"))
            ours[1].load_state_dict(tg.load(tmp_path / "optimizer.safetensors"))
            theirs[0].load_state_dict(kept[0])
            theirs[1].load_state_dict(kept[1])
        assert_same_state(ours[:2], theirs[:2])


def test_a_saved_state_is_not_changed_by_the_steps_that_follow():
    model, optimizer, step = trainer(optimizer="momentum")
    train, data = tg.compile(step), batches(3)
    train(*data[0])
    kept = model.state_dict(), optimizer.state_dict()
    copies = [{k: v.copy() for k, v in d.items()} for d in kept]
    model.load_state_dict(kept[0])
    optimizer.load_state_dict(kept[1])
    train(*data[1])
    for d, copy in zip(kept, copies):
        assert all(np.array_equal(d[k], copy[k]) for k in d)


@pytest.mark.parametrize("given", ["state", "parameter"])
def test_state_in_fortran_order(given):
    """Arrays that a user loads may lie in memory in any order."""
    results = []
    for compiled in (True, False):
        w = tg.parameter(np.arange(6.0).reshape(2, 3))
        optimizer = optim.SGD([w], lr=1.0, momentum=0.9)

        def step(x, w=w, optimizer=optimizer):
            (w * x).sum().backward()
            optimizer.step()
            optimizer.zero_grad()

        step = tg.compile(step) if compiled else step
        x = tg.tensor(np.random.default_rng(0).normal(size=(2, 3)))
        step(x)
        if given == "state":
            state = {**optimizer.state_dict(), "0.velocity": np.asfortranarray(np.arange(6.0).reshape(2, 3))}
            optimizer.load_state_dict(state)
        else:
            w.assign(np.asfortranarray(np.arange(6.0).reshape(2, 3)))
        step(x)
        results.append((w.numpy().copy(), optimizer.state[0][0].copy()))
    for a, b in zip(*results):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_a_graph_from_before_a_step_cannot_be_differentiated():
    model, _, step = trainer()
    train, (batch, *_) = tg.compile(step), batches()
    train(*batch)
    loss = tg.cross_entropy(model(batch[0]), batch[1])
    train(*batch)
    with pytest.raises(tg.StaleError):
        loss.backward()
    tg.cross_entropy(model(batch[0]), batch[1]).backward()


def test_a_graph_from_before_a_compiled_assignment_cannot_be_differentiated():
    w = tg.parameter(np.ones(2))
    loss = (w * w).sum()
    tg.compile(lambda x: w.assign(w * x))(np.ones(2))
    with pytest.raises(tg.StaleError):
        loss.backward()


def test_a_function_that_only_evaluates_leaves_graphs_alone():
    w = tg.parameter(np.ones(2))
    loss = (w * w).sum()
    tg.compile(lambda x: w * x)(np.ones(2))
    loss.backward()
    assert w.grad.tolist() == [2, 2]


# NaN ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("clip", [lambda p: optim.clip_grad_norm(p, 1.0), lambda p: optim.clip_grad_value(p, 1.0)])
def test_clipping_a_bad_gradient_changes_nothing(clip, bad):
    good, wrong = tg.parameter(np.ones(2), name="good"), tg.parameter(np.ones(2), name="wrong")
    extra = tg.parameter(np.ones(2), name="extra")
    optimizer = optim.Adam([good, wrong], lr=0.1)

    @tg.compile
    def step(x, y):
        optimizer.zero_grad()
        loss = (good * x + wrong * y + extra * x).sum()
        loss.backward()
        clip([good, wrong])
        optimizer.step()
        return loss

    step(np.ones(2), np.ones(2))
    before = [a.copy() for a in (good.numpy(), wrong.numpy(), extra.grad.numpy(), *optimizer.state_dict().values())]
    with pytest.raises(tg.GradientError, match="'wrong'"):
        step(np.ones(2), np.array([1.0, bad]))
    after = [good.numpy(), wrong.numpy(), extra.grad.numpy(), *optimizer.state_dict().values()]
    assert all(np.array_equal(a, b) for a, b in zip(before, after))
    assert good.grad is None
    step(np.ones(2), np.ones(2))
    assert optimizer.step_count == 2
    assert np.isfinite(wrong.numpy()).all()


def test_without_clipping_nan_goes_where_it_goes_in_eager_mode():
    w = tg.parameter(np.ones(3))
    optimizer = optim.SGD([w], lr=0.1)

    @tg.compile
    def step(x):
        (w * x).sum().backward()
        optimizer.step()

    step(np.array([1.0, np.nan, np.inf]))
    np.testing.assert_array_equal(w.numpy(), [0.9, np.nan, -np.inf])


def test_infinities_that_add_up_do_not_warn():
    w = tg.parameter(np.ones(2))
    f = tg.compile(lambda x: (w * x).sum().backward())
    f(np.array([np.inf, 1.0]))
    f(np.array([-np.inf, 1.0]))
    np.testing.assert_array_equal(w.grad.numpy(), [np.nan, 2])


@pytest.mark.parametrize("use", [lambda o: o.load_state_dict(o.saved), lambda o: o.state_dict()])
def test_the_state_of_an_optimiser_is_not_read_or_loaded_by_what_is_recorded(use):
    w = tg.parameter([1.0])
    optimizer = optim.Adam([w], 0.1)
    optimizer.saved = optimizer.state_dict()

    @tg.compile
    def step(x):
        use(optimizer)
        (w * x).sum().backward()
        optimizer.step()

    with pytest.raises(TypeError, match=r"state_dict: the state of an optimiser, while a function is recorded\n  got"):
        step(np.ones(1, np.float32))
    use(optimizer)
