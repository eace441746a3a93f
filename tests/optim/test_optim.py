"""Optimisers against the papers' formulas and PyTorch; schedules; clipping."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import optim

OPTIONS = {
    "sgd": ("SGD", {"lr": 0.1}),
    "sgd_decay": ("SGD", {"lr": 0.1, "weight_decay": 0.3}),
    "momentum": ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}),
    "nesterov": ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    "rmsprop": ("RMSprop", {"lr": 0.05, "alpha": 0.8, "weight_decay": 0.1}),
    "adagrad": ("Adagrad", {"lr": 0.3}),
    "adam": ("Adam", {"lr": 0.1, "betas": (0.8, 0.95), "weight_decay": 0.1}),
    "adamw": ("AdamW", {"lr": 0.1, "weight_decay": 0.2}),
}


def run(name: str, dtype=np.float64, steps: int = 5) -> list[np.ndarray]:
    """Positions of a point that descends a bowl with a bend in it."""
    kind, options = OPTIONS[name]
    w = tg.parameter(np.array([1.0, -2.0, 0.5], dtype))
    optimizer = getattr(optim, kind)([w], **options)
    path = []
    for _ in range(steps):
        optimizer.zero_grad()
        (w**2 + 0.3 * tg.sin(3 * w)).sum().backward()
        optimizer.step()
        path.append(w.numpy().copy())
    return path


def slope(w: float) -> float:
    return 2 * w + 0.9 * np.cos(3 * w)


def reference(name: str, w: float, steps: int = 5) -> list[float]:
    """The papers' formulas on one number at a time."""
    kind, o = OPTIONS[name]
    lr, decay, mu = o["lr"], o.get("weight_decay", 0.0), o.get("momentum", 0.0)
    beta1, beta2 = o.get("betas", (0.9, 0.999))
    velocity = squares = mean = 0.0
    path = []
    for t in range(1, steps + 1):
        g = slope(w) + (0.0 if kind == "AdamW" else decay * w)
        if kind == "SGD":
            velocity = mu * velocity + g
            w -= lr * (g + mu * velocity if o.get("nesterov") else velocity)
        elif kind == "Adagrad":
            squares += g**2
            w -= lr * g / (squares**0.5 + 1e-10)
        elif kind == "RMSprop":
            squares = o["alpha"] * squares + (1 - o["alpha"]) * g**2
            w -= lr * g / (squares**0.5 + 1e-8)
        else:
            mean, squares = beta1 * mean + (1 - beta1) * g, beta2 * squares + (1 - beta2) * g**2
            shrunk = w * (1 - lr * decay) if kind == "AdamW" else w
            w = shrunk - lr * (mean / (1 - beta1**t)) / ((squares / (1 - beta2**t)) ** 0.5 + 1e-8)
        path.append(w)
    return path


@pytest.mark.parametrize("name", OPTIONS)
def test_steps_follow_the_formula(name):
    expected = np.array([reference(name, w) for w in (1.0, -2.0, 0.5)]).T
    np.testing.assert_allclose(run(name), expected, rtol=1e-10)


@pytest.mark.parametrize("name", OPTIONS)
def test_steps_equal_pytorchs(name):
    torch = pytest.importorskip("torch")
    kind, options = OPTIONS[name]
    w = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64, requires_grad=True)
    optimizer = getattr(torch.optim, kind)([w], **options)
    path = []
    for _ in range(5):
        optimizer.zero_grad()
        (w**2 + 0.3 * torch.sin(3 * w)).sum().backward()
        optimizer.step()
        path.append(w.detach().numpy().copy())
    np.testing.assert_allclose(run(name), path, rtol=1e-8)


@pytest.mark.parametrize("name", OPTIONS)
def test_float32_parameters_stay_float32(name):
    path = run(name, np.float32)
    assert path[-1].dtype == np.float32
    np.testing.assert_allclose(path, run(name), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_loaded_state_goes_on_exactly(name):
    kind, options = OPTIONS[name]

    def descend(w, optimizer, steps):
        for _ in range(steps):
            optimizer.zero_grad()
            (w**2).sum().backward()
            optimizer.step()

    w = tg.parameter([1.0, -2.0])
    first = getattr(optim, kind)([w], **options)
    descend(w, first, 3)
    twin = tg.parameter(w)
    second = getattr(optim, kind)([twin], **options)
    second.load_state_dict(first.state_dict())
    descend(w, first, 3)
    descend(twin, second, 3)
    np.testing.assert_array_equal(w, twin)


def test_a_state_of_another_optimiser_is_refused_and_changes_nothing():
    w = tg.parameter([1.0])
    adam = optim.Adam([w])
    before = adam.state_dict()
    with pytest.raises(KeyError, match="not of this Adam"):
        adam.load_state_dict(optim.SGD([w], 0.1, momentum=0.9).state_dict())
    with pytest.raises(tg.ShapeError, match=r"'0.mean'"):
        adam.load_state_dict(optim.Adam([tg.parameter([1.0, 2.0])]).state_dict())
    for key, value in adam.state_dict().items():
        np.testing.assert_array_equal(value, before[key])


def test_parameters_without_a_gradient_stay():
    used, unused = tg.parameter([1.0]), tg.parameter([1.0])
    optimizer = optim.SGD([used, unused], 0.1)
    (used * 2).sum().backward()
    optimizer.step()
    assert used.item() == pytest.approx(0.8)
    assert unused.item() == 1.0


def test_old_arrays_and_graphs_are_left_alone():
    w = tg.parameter([1.0])
    old = w.numpy()
    y = (w * w).sum()
    y.backward()
    optim.SGD([w], 0.1).step()
    assert old[0] == 1.0
    with pytest.raises(tg.StaleError, match=r"before optimizer\.step"):
        y.backward()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: optim.SGD([], 0.1), ValueError, "no parameters"),
        (lambda: optim.SGD([tg.ones(1)], 0.1), TypeError, "expected parameters"),
        (lambda: optim.SGD([tg.parameter([1.0])] * 1, -1.0), ValueError, "must not be negative"),
        (lambda: optim.SGD([tg.parameter([1.0])], 0.1, nesterov=True), ValueError, "needs a momentum"),
        (lambda: optim.SGD([tg.parameter([1.0])], 0.1).step(), tg.GradientError, r"call loss.backward\(\) first"),
    ],
)
def test_mistakes_are_explained(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_parameter_given_twice_is_refused():
    w = tg.parameter([1.0])
    with pytest.raises(ValueError, match="twice"):
        optim.SGD([w, w], 0.1)


def test_a_schedule_is_followed():
    w = tg.parameter([0.0])
    optimizer = optim.SGD([w], optim.step_decay(1.0, every=2, factor=0.1))
    moved = []
    for _ in range(4):
        optimizer.zero_grad()
        w.sum().backward()
        before = w.item()
        optimizer.step()
        moved.append(before - w.item())
    assert moved == pytest.approx([1, 1, 0.1, 0.1], rel=1e-5)


@given(rate=st.floats(1e-6, 10), total=st.integers(1, 1000), step=st.integers(0, 2000))
def test_schedules_stay_between_their_ends(rate, total, step):
    for schedule in (optim.linear(rate, total), optim.cosine(rate, total), optim.warmup(rate, total)):
        assert 0 <= schedule(step) <= rate * (1 + 1e-12)
    assert optim.linear(rate, total)(0) == optim.cosine(rate, total)(0) == rate
    assert optim.warmup(rate, total)(total) == rate


def with_gradients(*arrays):
    parameters = [tg.parameter(np.zeros_like(a), name=f"p{k}") for k, a in enumerate(arrays)]
    for p, a in zip(parameters, arrays, strict=True):
        p.grad = tg.tensor(a)
    return parameters


@given(seed=st.integers(0, 1000), limit=st.floats(0.01, 100))
def test_clipping_by_norm_keeps_the_direction(seed, limit):
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=(3, 2)), rng.normal(size=4)]
    whole = np.concatenate([a.ravel() for a in arrays])
    parameters = with_gradients(*arrays)
    assert optim.clip_grad_norm(parameters, limit) == pytest.approx(np.linalg.norm(whole))
    clipped = np.concatenate([p.grad.numpy().ravel() for p in parameters])
    np.testing.assert_allclose(clipped, whole * min(1, limit / np.linalg.norm(whole)), rtol=1e-12)


def test_clipping_by_norm_does_not_overflow():
    (p,) = with_gradients(np.full(4, 3e38, np.float32))
    assert optim.clip_grad_norm([p], 1.0) == pytest.approx(6e38)
    np.testing.assert_allclose(p.grad, 0.5)


def test_clipping_by_value_limits_entries():
    (p,) = with_gradients(np.array([-3.0, 0.5, 2.0]))
    optim.clip_grad_value([p], 1.0)
    assert p.grad.tolist() == [-1.0, 0.5, 1.0]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("clip", [optim.clip_grad_norm, optim.clip_grad_value])
def test_a_gradient_that_is_not_finite_is_named_and_nothing_changes(clip, bad):
    parameters = with_gradients(np.array([5.0]), np.array([1.0, bad]))
    with pytest.raises(tg.GradientError, match=r"'p1'(.|\n)*1 of 2"):
        clip(parameters, 1.0)
    assert parameters[0].grad.item() == 5.0


def test_a_momentum_that_is_set_to_zero():
    """The state that is kept for it stays, compiled and not."""
    found = []
    for kind in (tg.compile, lambda f: f):
        w = tg.parameter(np.ones(3))
        optimizer = tg.optim.SGD([w], lr=0.1, momentum=0.9)

        def step(x, w=w, optimizer=optimizer):
            optimizer.zero_grad()
            (w * x).sum().backward()
            optimizer.step()

        run = kind(step)
        run(tg.tensor(np.ones(3)))
        optimizer.momentum = 0.0
        run(tg.tensor(np.ones(3)))
        found.append(w.tolist())
    np.testing.assert_allclose(*found, rtol=1e-12)


@pytest.mark.parametrize("clip", [optim.clip_grad_norm, optim.clip_grad_value])
def test_the_clipped_gradient_of_a_number_can_be_read(clip):
    w = tg.parameter(2.0)
    (w * w).backward()
    clip([w], 1.0)
    assert w.grad.tolist() == w.grad.item() == 1.0
    assert w.grad.numpy().shape == ()


@pytest.mark.parametrize("kind", ["Adam", "AdamW"])
def test_a_parameter_that_is_late_takes_a_first_step(kind):
    early, late = tg.parameter([1.0]), tg.parameter([1.0])
    optimizer = getattr(optim, kind)([early, late], lr=0.1, weight_decay=0.0)
    for step in range(3000):
        optimizer.zero_grad()
        (early * early).sum().backward()
        if step == 2999:
            (late * late).sum().backward()
        optimizer.step()
    assert late.item() == pytest.approx(0.9, abs=1e-6)
    assert (optimizer.step_count, optimizer.update_counts) == (3000, [3000, 1])


SEEN = st.lists(st.lists(st.booleans(), min_size=3, max_size=3).filter(any), min_size=1, max_size=6)


def trained(seen, kind, compiled=False, halfway=None):
    """Three parameters, each trained in the steps in which it is seen; and saved and loaded after one of them."""
    parameters = [tg.parameter(np.full(2, k + 1.0)) for k in range(3)]
    options = {**OPTIONS[kind][1], "lr": optim.linear(0.1, 10)}
    optimizers = [getattr(optim, OPTIONS[kind][0])(parameters, **options) for _ in range(2)]

    def step(optimizer, shown):
        optimizer.zero_grad()
        sum((p * p * p).sum() for p, there in zip(parameters, shown, strict=True) if there).backward()
        optimizer.step()

    run = {id(o): tg.compile(step) if compiled else step for o in optimizers}
    optimizer = optimizers[0]
    for k, shown in enumerate(seen):
        if k == halfway:
            optimizers[1].load_state_dict(optimizer.state_dict())
            optimizer = optimizers[1]
        run[id(optimizer)](optimizer, tuple(shown))
    return [p.numpy() for p in parameters]


@given(SEEN, st.sampled_from(sorted(OPTIONS)))
def test_each_parameter_is_trained_as_if_alone_but_for_the_schedule(seen, kind):
    together = trained(seen, kind)
    for k, alone in enumerate(together):
        parameter = tg.parameter(np.full(2, k + 1.0))
        optimizer = getattr(optim, OPTIONS[kind][0])([parameter], **OPTIONS[kind][1])
        for step, shown in enumerate(seen):
            if shown[k]:
                optimizer.schedule = optim.linear(0.1, 10)(step)
                optimizer.zero_grad()
                (parameter * parameter * parameter).sum().backward()
                optimizer.step()
        np.testing.assert_allclose(alone, parameter.numpy(), rtol=1e-12)


@pytest.mark.filterwarnings("ignore:.*the loss does not reach")
@given(SEEN, st.sampled_from(["adam", "adamw", "momentum"]), st.integers(0, 5))
def test_counts_are_the_same_compiled_and_after_loading(seen, kind, halfway):
    for other in (trained(seen, kind, compiled=True), trained(seen, kind, halfway=halfway)):
        np.testing.assert_allclose(other, trained(seen, kind), rtol=1e-12)


@pytest.mark.parametrize("counts", [[-1, 0], [0], [0.5, 1]])
def test_counts_that_cannot_be(counts):
    optimizer = optim.Adam([tg.parameter([1.0]), tg.parameter([2.0])])
    with pytest.raises((ValueError, tg.DTypeError), match="'update_counts'"):
        optimizer.load_state_dict({**optimizer.state_dict(), "update_counts": counts})
    assert optimizer.update_counts == [0, 0]


@given(
    exponent=st.sampled_from([-1000, -540, -100, 0, 100, 508, 520, 1000, 1022]),
    entries=st.lists(st.integers(-9, 9), min_size=1, max_size=6).filter(any),
    dtype=st.sampled_from([np.float32, np.float64]),
    compiled=st.booleans(),
)
def test_gradients_of_any_magnitude_are_clipped_to_the_norm(exponent, entries, dtype, compiled):
    exponent = exponent if dtype == np.float64 else exponent // 10
    w, v = (tg.parameter(np.ones(len(entries), dtype)) for _ in range(2))
    cotangent = np.array(entries, dtype) * dtype(2.0 ** (exponent - 4))

    def step():
        ((w - v) * cotangent).sum().backward()
        return tg.optim.clip_grad_norm([w, v], 1.0)

    total = float((tg.compile(step) if compiled else step)())
    direction = np.array(entries) / np.hypot.reduce([*entries, *entries])
    length = float(np.hypot.reduce([*entries, *entries])) * 2.0 ** (exponent - 4)
    within = 32 * np.finfo(dtype).eps
    np.testing.assert_allclose(total, length, rtol=within)
    expected = direction if length > 1 else cotangent
    np.testing.assert_allclose(w.grad.numpy(), expected, rtol=within)
    np.testing.assert_allclose(v.grad.numpy(), -np.asarray(expected), rtol=within)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_norm_beyond_all_numbers_is_refused(compiled):
    w = tg.parameter(np.ones(4))

    def step():
        (w * np.full(4, 1.7e308)).sum().backward()
        return tg.optim.clip_grad_norm([w], 1.0)

    with pytest.raises(tg.GradientError, match="is not finite"):
        (tg.compile(step) if compiled else step)()
