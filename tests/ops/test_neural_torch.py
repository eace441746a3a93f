"""The same functions in PyTorch, where it is installed: values and gradients, to rounding in double precision."""

import itertools

import numpy as np
import pytest

import tinygrad_rnn as tg

torch = pytest.importorskip("torch")
F = torch.nn.functional
REDUCTIONS = ["mean", "sum", "none"]


def compare(ours, theirs, *arrays):
    """Value and gradients of a function of the float arrays, for one cotangent."""
    inputs = [tg.tensor(a) for a in arrays]
    others = [torch.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    y, z = ours(*inputs), theirs(*others)
    np.testing.assert_allclose(y.numpy(), z.detach().numpy(), rtol=1e-12, atol=1e-14)
    cotangent = np.random.default_rng(9).normal(size=y.shape)
    z.backward(torch.tensor(cotangent))
    for recorded in (False, True):
        found = tg.grad(y, [t for t in inputs if t.is_float], cotangent, create_graph=recorded)
        for g, right in zip(found, [t for t in others if t.requires_grad], strict=True):
            np.testing.assert_allclose(g.numpy(), right.grad.numpy(), rtol=1e-11, atol=1e-13)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize(
    ("smoothing", "ignored", "reduction"), [*itertools.product([0.0, 0.1, 1.0], [None, 2, -100], REDUCTIONS)]
)
def test_cross_entropy_with_classes(rng, smoothing, ignored, reduction):
    x, t = rng.normal(size=(6, 4)) * 3, np.array([0, 1, 2, 3, 2, 0])
    if ignored == -100:
        t[1] = -100
    theirs = {
        "ignore_index": -100 if ignored is None else ignored,
        "label_smoothing": smoothing,
        "reduction": reduction,
    }
    compare(
        lambda x, t: tg.cross_entropy(x, t, ignore_index=ignored, label_smoothing=smoothing, reduction=reduction),
        lambda x, t: F.cross_entropy(x, t, **theirs), x, t,
    )  # fmt: skip


@pytest.mark.parametrize(("smoothing", "reduction"), [*itertools.product([0.0, 0.1], REDUCTIONS)])
def test_cross_entropy_with_probabilities(rng, smoothing, reduction):
    x, t = rng.normal(size=(5, 4)), rng.dirichlet(np.ones(4), 5)
    reduce = {"mean": lambda k: k.mean(), "sum": lambda k: k.sum(), "none": lambda k: k}[reduction]
    compare(
        lambda x, t: tg.cross_entropy(x, t, label_smoothing=smoothing, reduction=reduction),
        lambda x, t: reduce(F.cross_entropy(x, t, label_smoothing=smoothing, reduction="none")), x, t,
    )  # fmt: skip


def test_cross_entropy_of_a_sequence(rng):
    x, t = rng.normal(size=(2, 3, 4)), rng.integers(0, 4, (2, 3))
    compare(tg.cross_entropy, lambda x, t: F.cross_entropy(x.reshape(-1, 4), t.reshape(-1)), x, t)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", ["mse_loss", "huber_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits"])
def test_losses_of_two_arrays(rng, name, reduction):
    a, b = (rng.uniform(0.05, 0.95, (4, 3)) for _ in range(2))
    a, b = (a, b) if name == "binary_cross_entropy" else (8 * a - 4, b)
    compare(
        lambda a, b: getattr(tg, name)(a, b, reduction=reduction),
        lambda a, b: getattr(F, name)(a, b, reduction=reduction),
        a,
        b,
    )


@pytest.mark.parametrize("delta", [0.3, 1.0, 2.5])
def test_huber_of_other_widths(rng, delta):
    a, b = rng.normal(size=(2, 20)) * 2
    compare(lambda a, b: tg.huber_loss(a, b, delta=delta), lambda a, b: F.huber_loss(a, b, delta=delta), a, b)


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp"])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_softmax_and_its_kin(rng, name, axis):
    compare(
        lambda x: getattr(tg, name)(x, axis), lambda x: getattr(torch, name)(x, axis), 5 * rng.normal(size=(3, 4, 2))
    )


def test_layer_norm(rng):
    x, w, b = rng.normal(3.0, 2.0, (4, 5)), rng.normal(size=5), rng.normal(size=5)
    compare(lambda x, w, b: tg.layer_norm(x, w, b), lambda x, w, b: F.layer_norm(x, (5,), w, b), x, w, b)
    compare(lambda x: tg.layer_norm(x, eps=0.1), lambda x: F.layer_norm(x, (5,), eps=0.1), x)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (tg.relu, F.relu), (tg.elu, F.elu), (tg.gelu, F.gelu), (tg.softplus, F.softplus), (tg.sigmoid, torch.sigmoid),
        (tg.leaky_relu, F.leaky_relu),
        (tg.sign, torch.sign), (tg.abs, torch.abs), (lambda x: tg.clip(x, -1.0, 1.0), lambda x: x.clamp(-1, 1)),
        (tg.round, torch.round),
        (lambda x: tg.clip(x, high=0.5), lambda x: x.clamp(max=0.5)), (lambda x: x % 0.7, lambda x: x % 0.7),
        (tg.square, torch.square),
        (lambda x: tg.cumsum(x, 0), lambda x: x.cumsum(0)), (lambda x: tg.prod(x, 0), lambda x: x.prod(0)),
        (lambda x: tg.var(x, ddof=1), torch.var), (lambda x: tg.std(x, ddof=1), torch.std),
        (lambda x: tg.norm(x), torch.norm),
        (lambda x: tg.max(x), torch.amax), (lambda x: tg.min(x), torch.amin),
        (lambda x: tg.maximum(x, 0.5), lambda x: x.maximum(torch.tensor(0.5))),
    ],
)  # fmt: skip
def test_functions_with_kinks_at_the_kinks(ours, theirs):
    """Ties and zeros included: the conventions are PyTorch's."""
    compare(ours, theirs, np.array([-2.0, -1.0, 0.0, 0.0, 0.5, 0.5, 1.0, 3.0, 3.0, -2.0]) + 0.0)


def test_the_mean_over_ignored_targets_alone_is_nan_in_both():
    x, t = np.zeros((2, 3)), np.array([1, 1])
    assert np.isnan(F.cross_entropy(torch.tensor(x), torch.tensor(t), ignore_index=1).item())
    assert np.isnan(tg.cross_entropy(x, t, ignore_index=1).item())


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 4)])
@pytest.mark.parametrize("axis", [0, -1])
def test_gather(rng, shape, axis):
    x = rng.normal(size=shape)
    i = rng.integers(0, shape[axis], shape)
    compare(lambda x, i: tg.gather(x, i, axis), lambda x, i: x.gather(axis, i), x, i)


def test_chunk_cuts_as_in_pytorch():
    for n, parts in itertools.product(range(1, 9), range(1, 9)):
        expected = [tuple(t.shape) for t in torch.zeros(n, 2).chunk(parts)]
        assert [t.shape for t in tg.chunk(tg.zeros((n, 2)), parts)] == expected
