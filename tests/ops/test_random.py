"""Random numbers as operations: their distributions, gradients, streams, and what is refused."""

import numpy as np
import pytest
from scipy import stats

import tinygrad_rnn as tg
from tinygrad_rnn import random
from tinygrad_rnn.testing import check_grad

DTYPES = [np.float32, np.float64]
dtypes = pytest.mark.parametrize("dtype", DTYPES)


def rng(seed=0):
    return np.random.default_rng(seed)


# Distributions --------------------------------------------------------------------------------------------------------

CONTINUOUS = {
    "normal": (lambda n, **o: random.normal(n, **o), stats.norm()),
    "normal moved": (lambda n, **o: random.normal(n, -2.0, 0.5, **o), stats.norm(-2, 0.5)),
    "uniform": (lambda n, **o: random.uniform(n, **o), stats.uniform()),
    "uniform moved": (lambda n, **o: random.uniform(n, -3.0, 1.0, **o), stats.uniform(-3, 4)),
    "gumbel": (lambda n, **o: random.gumbel(n, **o), stats.gumbel_r()),
    "gumbel moved": (lambda n, **o: random.gumbel(n, 1.0, 2.0, **o), stats.gumbel_r(1, 2)),
}


@dtypes
@pytest.mark.parametrize(("draw", "distribution"), CONTINUOUS.values(), ids=CONTINUOUS.keys())
def test_samples_follow_the_distribution(draw, distribution, dtype):
    sample = draw(20_000, generator=rng(), dtype=dtype)
    assert sample.dtype == dtype
    assert stats.kstest(sample.numpy().astype(np.float64), distribution.cdf).pvalue > 0.01
    mean, variance = distribution.stats()
    assert abs(sample.numpy().mean() - mean) < 5 * np.sqrt(variance / 20_000)


@pytest.mark.parametrize("p", [0.0, 0.03, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("dtype", [*DTYPES, bool, np.int64])
def test_ones_come_with_their_probability(p, dtype):
    ones = random.bernoulli(20_000, p, generator=rng(1), dtype=dtype)
    assert ones.dtype == dtype
    assert set(np.unique(ones.numpy()).tolist()) <= {0, 1}
    assert abs(int((ones.numpy() == 1).sum()) - 20_000 * p) <= 5 * np.sqrt(20_000 * p * (1 - p))


@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize("shift", [0.0, 1e4, -1e4])
def test_classes_come_with_the_probabilities_of_the_softmax(axis, shift):
    p = np.array([0.5, 0.0, 0.125, 0.375])
    with np.errstate(divide="ignore"):
        logits = np.moveaxis(np.log(np.broadcast_to(p, (2, 20_000, 4))) + shift, -1, axis)
    drawn = random.categorical(logits, axis=axis, generator=rng(2))
    assert (drawn.shape, drawn.dtype) == ((2, 20_000), np.int64)
    for row in drawn.numpy():
        counts = np.bincount(row, minlength=4)
        assert counts[1] == 0
        assert stats.chisquare(counts[p > 0], 20_000 * p[p > 0]).pvalue > 0.01


def test_many_draws_of_one_distribution():
    drawn = random.categorical(np.log([[0.25, 0.75]]), (5000, 3), generator=rng(3))
    assert drawn.shape == (5000, 3)
    assert abs(drawn.numpy().mean() - 0.75) < 0.02


def test_every_order_is_as_probable_as_the_others():
    g = rng(4)
    orders = [tuple(random.permutation(3, generator=g).tolist()) for _ in range(3000)]
    counts = [orders.count(order) for order in sorted(set(orders))]
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > 0.01


def test_a_tensor_is_permuted_along_an_axis():
    x = np.arange(12.0).reshape(3, 4)
    for axis in (0, 1, -1):
        y = random.permutation(tg.tensor(x), axis=axis, generator=rng(5))
        order = rng(5).permutation(x.shape[axis])
        np.testing.assert_array_equal(y.numpy(), np.take(x, order, axis))


def test_numbers_are_those_of_numpy():
    np.testing.assert_array_equal(random.normal((2, 3), generator=rng(), dtype=np.float64).numpy(),
                                  rng().normal(size=(2, 3)))  # fmt: skip
    np.testing.assert_array_equal(random.uniform(5, generator=rng()).numpy(), rng().random(5, np.float32))
    np.testing.assert_array_equal(random.gumbel(5, generator=rng(), dtype=np.float64).numpy(), rng().gumbel(size=5))


# Shapes and dtypes ----------------------------------------------------------------------------------------------------

MAKERS = {
    "normal": lambda shape, g: random.normal(shape, 1.0, 2.0, generator=g),
    "uniform": lambda shape, g: random.uniform(shape, 1.0, 2.0, generator=g),
    "gumbel": lambda shape, g: random.gumbel(shape, 1.0, 2.0, generator=g),
    "bernoulli": lambda shape, g: random.bernoulli(shape, 0.3, generator=g),
    "categorical": lambda shape, g: random.categorical([0.0, 1.0], shape, generator=g),
}
makers = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


@makers
@pytest.mark.parametrize("shape", [(), 0, 1, (0, 3), (2, 1, 3), [2, 3], np.int64(4)])
def test_shapes(make, shape):
    full = tuple(shape) if isinstance(shape, tuple | list) else (int(shape),)
    y = make(shape, rng())
    assert y.shape == full
    traced = tg.trace(lambda: make(shape, rng()))
    assert traced.outputs[0].is_symbolic
    assert traced.outputs[0].spec == y.spec
    np.testing.assert_array_equal(traced().numpy(), y.numpy())


@pytest.mark.parametrize("n", [0, 1])
def test_small_orders(n):
    assert random.permutation(n, generator=rng()).tolist() == list(range(n))
    assert random.permutation(tg.ones((n, 2)), generator=rng()).shape == (n, 2)


def test_parameters_give_the_dtype_and_are_broadcast():
    loc = np.arange(3.0)
    assert random.normal((2, 3), loc, generator=rng()).dtype == np.float64
    assert random.normal((2, 3), loc.astype(np.float32), 2.0, generator=rng()).dtype == np.float32
    assert random.normal((2, 3), loc, generator=rng(), dtype=np.float32).dtype == np.float32
    assert random.normal(3, [1, 2, 3], generator=rng()).dtype == np.float32
    y = random.normal((2, 3), loc, np.array([[1.0], [0.0]]), generator=rng())
    np.testing.assert_array_equal(y.numpy()[1], loc)
    assert random.bernoulli((2, 3), [0.0, 1.0, 0.0], generator=rng()).tolist() == [[0, 1, 0]] * 2


# Gradients ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("draw", [random.normal, random.gumbel])
def test_gradients_reach_location_and_scale(draw):
    def f(loc, scale):
        return tg.tanh(draw((2, 3), loc, tg.exp(scale), generator=rng())).sum()

    check_grad(f, rng(1).normal(size=3), rng(2).normal(size=(2, 1)), modes=["vjp", "jvp", "hvp"])


def test_gradients_reach_both_ends_of_an_interval():
    def f(low, high):
        return tg.square(random.uniform((2, 3), low, high, generator=rng())).sum()

    check_grad(f, np.array([-1.0, 0.0, 0.5]), np.array([[1.0], [2.0]]), modes=["vjp", "jvp", "hvp"])


def test_the_gradient_of_the_scale_is_the_noise():
    scale = tg.parameter(np.ones(4))
    (random.normal(4, 3.0, scale, generator=rng())).sum().backward()
    np.testing.assert_array_equal(scale.grad.numpy(), rng().standard_normal(4))


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda x: random.bernoulli(3, x, generator=rng()), "'bernoulli_of', which has no gradient: zeros and ones"),
        (lambda x: random.categorical(x, generator=rng()) * 1.0, "'categorical', which has no gradient: classes"),
    ],
)
def test_what_has_no_gradient_says_so(draw, words):
    x = tg.parameter([0.25, 0.5, 0.75])
    with pytest.raises(tg.GradientError, match=words):
        tg.grad(draw(x).sum(), x)


def test_gradients_flow_through_a_permutation_of_a_tensor():
    check_grad(lambda x: tg.square(random.permutation(x, generator=rng())) * np.arange(4.0), rng(1).normal(size=4))


# Recorded, compiled, computed again -----------------------------------------------------------------------------------


def everything(x, g):
    """Draws of all kinds, in an order that matters, some for nothing."""
    z = random.normal(x.shape, x, 0.5, generator=g)
    random.uniform(2, generator=g)
    y = z * random.bernoulli(x.shape, 0.7, generator=g) + random.gumbel((), generator=g)
    k = random.categorical(y, generator=g)
    return random.permutation(tg.dropout(y, 0.3, generator=g), generator=g), k, random.uniform(3, generator=g)


@dtypes
@pytest.mark.parametrize("recording", [True, False])
def test_a_program_draws_what_the_function_draws_on_each_call_for_several_signatures(dtype, recording):
    ours, theirs = rng(7), rng(7)
    compiled = tg.compile(lambda x: everything(x, ours))
    for k in range(12):
        x = rng(k).normal(size=((4, 3), (2, 5), (1, 1))[k % 3]).astype(dtype)
        if recording:
            found, expected = compiled(x), everything(tg.tensor(x), theirs)
        else:
            with tg.no_grad():
                found, expected = compiled(x), everything(tg.tensor(x), theirs)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())
        assert ours.bit_generator.state == theirs.bit_generator.state
    assert len(compiled.programs) == 3


def test_a_step_of_a_variational_autoencoder_is_the_same_compiled():
    def trained(compile):
        g = rng(3)
        encode, decode = tg.nn.Linear(4, 6, generator=0), tg.nn.Linear(3, 4, generator=1)
        optimizer = tg.optim.Adam([*encode.parameters(), *decode.parameters()], 0.05)

        def step(x):
            optimizer.zero_grad()
            mean, log_deviation = tg.split(encode(x), 2, axis=-1)
            z = random.normal(mean.shape, mean, tg.exp(log_deviation), generator=g)
            loss = tg.mse_loss(decode(z), x)
            loss.backward()
            optimizer.step()
            return loss

        run = tg.compile(step) if compile else step
        return [run(rng(k).normal(size=(5, 4)).astype(np.float32)).item() for k in range(6)]

    found = trained(True)
    np.testing.assert_allclose(found, trained(False), rtol=1e-5)
    assert len(set(found)) == 6


@pytest.mark.parametrize("make", [np.random.default_rng, lambda seed: np.random.Generator(np.random.MT19937(seed))])
def test_a_generator_that_the_function_makes_of_a_seed_begins_anew_on_each_call(make):
    def f(x):
        g = make(3)
        first = g.normal()  # of a seed: the same on each call
        y = random.normal(x.shape, first, generator=g) * random.bernoulli(x.shape, 0.5, generator=make([1, 2]))
        return y + x * random.uniform((), generator=g)

    compiled, x = tg.compile(f), rng(0).normal(size=4)
    for _ in range(3):
        np.testing.assert_array_equal(compiled(x).numpy(), f(tg.tensor(x)).numpy())


def test_what_is_made_without_a_seed_goes_on():
    compiled = tg.compile(lambda: random.normal(3, generator=np.random.default_rng()))
    assert compiled().tolist() != compiled().tolist()


@pytest.mark.parametrize("kind", ["PCG64", "PCG64DXSM", "MT19937", "Philox"])
def test_what_is_made_by_a_jump_begins_anew_on_each_call(kind):
    for seed in (3, None):
        bits = getattr(np.random, kind)(seed)
        fn = lambda bits=bits: random.normal(3, generator=np.random.Generator(bits.jumped()))
        compiled = tg.compile(fn)
        for _ in range(3):
            assert compiled().tolist() == fn().tolist()


def test_what_is_spawned_of_a_seed_inside_begins_anew_on_each_call():
    fn = lambda: random.normal(3, generator=np.random.default_rng(5).spawn(2)[1])
    compiled = tg.compile(fn)
    for _ in range(3):
        assert compiled().tolist() == fn().tolist()


def test_two_draws_are_never_one_and_never_constants():
    g = rng(0)
    compiled = tg.compile(lambda: random.normal(3, generator=g) - random.normal(3, generator=g))
    first, second = compiled().tolist(), compiled().tolist()
    assert 0 not in first
    assert first != second


def test_recording_draws_nothing():
    g = rng(0)
    before = g.bit_generator.state
    tg.trace(lambda x: everything(x, g), (4, 3))
    tg.compile(lambda x: everything(x, g)).program(np.ones((4, 3)))
    tg.compile(lambda: random.permutation(4, generator=g)).program()
    assert g.bit_generator.state == before


def test_without_recording_a_draw_is_a_constant():
    with tg.no_grad():
        y = random.normal(3, tg.parameter([0.0, 1.0, 2.0]), generator=rng())
    assert y.is_leaf
    assert not y.requires_grad


def test_a_graph_draws_anew():
    g = rng(0)
    graph = tg.trace(lambda x: random.normal(x.shape, x, generator=g), (3,))
    first, second = graph(np.zeros(3, np.float32)), graph(np.zeros(3, np.float32))
    assert first.tolist() != second.tolist()


@pytest.mark.parametrize("compile", [False, True])
def test_a_checkpoint_draws_the_same_numbers_again(compile):
    def gradient(wrap, g):
        w = tg.parameter(np.ones(4))

        def f(x):
            inner = wrap(lambda v: tg.tanh(v * w + random.normal(4, 0.0, w, generator=g)) * w)
            return tg.grad(tg.dropout(inner(x), 0.5, generator=g).sum(), w)

        run = tg.compile(f) if compile else f
        return [run(tg.tensor(rng(k).normal(size=4))).numpy() for k in range(3)]

    for a, b in zip(gradient(tg.checkpoint, rng(1)), gradient(lambda f: f, rng(1)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("memory", [None, "sqrt"])
def test_draws_that_need_values_keep_their_order_when_products_are_computed_together(memory):
    w = tg.parameter(rng(0).normal(size=(3, 3)))

    def f(x, g):
        total = 0
        for t in tg.steps(5):
            h = (random.normal((2, 3), generator=g, dtype=np.float64) + x[:, t]) @ w
            mask = random.bernoulli(h.shape, tg.sigmoid(h), generator=g, dtype=np.float64)
            total = total + (mask * h).sum() + random.categorical(h, generator=g).sum()
        return tg.grad(total, w)

    ours, theirs, x = rng(5), rng(5), rng(1).normal(size=(2, 5, 3))
    compiled = tg.compile(lambda x: f(x, ours), memory=memory)
    for _ in range(2):
        np.testing.assert_allclose(compiled(x).numpy(), f(tg.tensor(x), theirs).numpy(), rtol=1e-12)


def test_a_program_that_computes_again_keeps_its_noise():
    def run(memory):
        g = rng(5)
        cell = tg.nn.Zoneout(tg.nn.RNNCell(3, 4, generator=0, dtype=np.float64), 0.3, generator=g)
        w = cell.cell.W_h

        def f(x):
            state = tg.zeros((2, 4), np.float64)
            for t in tg.steps(9):
                state = cell(x[t], state)[-1] if isinstance(cell(x[t], state), tuple) else state
                state = state + random.normal(state.shape, 0.0, 0.1, generator=g)
            return tg.grad(state.sum(), w)

        return tg.compile(f, memory=memory)(rng(1).normal(size=(9, 2, 3))).numpy()

    np.testing.assert_allclose(run("sqrt"), run(None), rtol=1e-10)


def test_a_saved_program_draws():
    g = rng(1)
    program = tg.compile(lambda x: everything(x, g)).program(np.ones((4, 3)))
    again = tg.Program.from_json(program.to_json(), generator=rng(9))
    expected = everything(tg.tensor(np.ones((4, 3))), rng(9))
    for a, b in zip(again.run([np.ones((4, 3))]), expected, strict=True):
        np.testing.assert_array_equal(a, b.numpy())


# Dropout --------------------------------------------------------------------------------------------------------------


@dtypes
@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.75, 1.0])
def test_dropout_is_a_mask_of_the_same_stream_as_ever(dtype, p):
    x = rng(1).normal(size=(50, 40)).astype(dtype)
    kept = rng(2).random(x.shape, x.dtype) >= p
    mask = kept / x.dtype.type(1 - p) if p < 1 else np.zeros(x.shape, x.dtype)
    np.testing.assert_array_equal(tg.dropout(x, p, generator=rng(2)).numpy(), x * mask)


# Errors ---------------------------------------------------------------------------------------------------------------

WRONG = {
    "a seed": (lambda: random.normal(3, generator=0), TypeError, "normal: expected a numpy.random.Generator, got int"),
    "legacy": (lambda: random.uniform(3, generator=np.random.RandomState(0)), TypeError, "uniform: .* RandomState"),
    "of a permutation": (lambda: random.permutation(3, generator=None), TypeError, "permutation: .* got NoneType"),
    "of classes": (lambda: random.categorical([0.0], generator="x"), TypeError, "categorical: .* got str"),
    "a fraction": (lambda: random.normal(2.5, generator=rng()), TypeError, "normal: the shape\n.*ints\n.*2.5"),
    "a flag": (lambda: random.gumbel((2, True), generator=rng()), TypeError, "gumbel: the shape"),
    "a word": (lambda: random.bernoulli("ab", generator=rng()), TypeError, "bernoulli: the shape"),
    "a negative size": (lambda: random.uniform((2, -1), generator=rng()), tg.ShapeError, "uniform: the shape"),
    "a dtype": (lambda: random.normal(2, generator=rng(), dtype=np.int64), tg.DTypeError, "normal: dtype"),
    "loc": (lambda: random.normal(2, np.ones(3), generator=rng()), tg.ShapeError, r"normal: loc.*\(3,\).*\(2,\)"),
    "many axes": (lambda: random.normal(2, np.ones((1, 2)), generator=rng()), tg.ShapeError, "normal: loc"),
    "p's shape": (lambda: random.bernoulli(2, [0.1] * 3, generator=rng()), tg.ShapeError, "bernoulli: p"),
    "logits": (lambda: random.categorical(np.ones((2, 3)), 3, generator=rng()), tg.ShapeError, "categorical: logits"),
    "no class": (lambda: random.categorical(np.ones((2, 0)), generator=rng()), tg.ShapeError, "no class"),
    "an axis": (lambda: random.categorical([0.0, 1.0], axis=1, generator=rng()), tg.ShapeError, "categorical: 1 is no"),
    "a scalar": (lambda: random.permutation(tg.tensor(2.0), generator=rng()), tg.ShapeError, "permutation: .* no axis"),
    "fewer than none": (lambda: random.permutation(-1, generator=rng()), ValueError, "permutation: .* got -1"),
    "a scale": (lambda: random.normal(2, 0.0, -1.0, generator=rng()), ValueError, "normal: .*at least 0, got -1"),
    "no scale": (lambda: random.gumbel(2, 0.0, np.nan, generator=rng()), ValueError, "gumbel: .*at least 0, got nan"),
    "an interval": (lambda: random.uniform(2, 1.0, 0.0, generator=rng()), ValueError, "uniform: .*at least 0, got -1"),
    "a probability": (lambda: random.bernoulli(2, 1.5, generator=rng()), ValueError, "bernoulli: p .* got 1.5"),
    "no probability": (lambda: random.bernoulli(2, np.nan, generator=rng()), ValueError, "bernoulli: p .* got nan"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "words"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_said_in_words(call, kind, words):
    with pytest.raises(kind, match=words):
        call()


BY_VALUE = {
    "scale": (lambda x: random.normal(2, 0.0, x, generator=rng()), [1.0, 0.5], [1.0, -0.5], "normal: scale .*-0.5"),
    "NaN": (lambda x: random.gumbel(2, 0.0, x, generator=rng()), [1.0, 0.5], [np.nan, 1], "gumbel: scale .*nan"),
    "low": (lambda x: random.uniform(2, x, 1.0, generator=rng()), [0.0, 1.0], [0.0, 2.0], "uniform: high - low .*-1.0"),
    "p": (lambda x: random.bernoulli(2, x, generator=rng()), [0.0, 1.0], [0.0, 1.1], r"bernoulli: p .*1.1.* \(1,\)"),
    "p is NaN": (lambda x: random.bernoulli(2, x, generator=rng()), [0.0, 1.0], [0.0, np.nan], "bernoulli: p .*nan"),
    "logits": (lambda x: random.categorical(x, generator=rng()), [0.0, 1.0], [0.0, np.nan], "categorical: logits"),
    "infinite": (lambda x: random.categorical(x, generator=rng()), [-np.inf, 1.0], [0.0, np.inf], "categorical: log"),
    "none": (lambda x: random.categorical(x, generator=rng()), [-np.inf, 1.0], [-np.inf] * 2, "categorical: logits"),
}  # fmt: skip


@pytest.mark.parametrize(("fn", "right", "wrong", "words"), BY_VALUE.values(), ids=BY_VALUE.keys())
def test_values_are_checked_at_once_and_whenever_a_program_runs(fn, right, wrong, words):
    with pytest.raises(ValueError, match=words):
        fn(tg.tensor(wrong))
    compiled, traced = tg.compile(fn), tg.trace(fn, (2,))
    for given in (right, wrong, right):
        arrays = np.array(given, np.float32)
        for run in (compiled, traced):
            if given is wrong:
                with pytest.raises(ValueError, match=words):
                    run(arrays)
            else:
                assert run(arrays).size


def test_equal_logits_that_are_huge():
    drawn = tg.random.categorical(np.array([1e18, 1e18, 0.0]), (1000,), generator=np.random.default_rng(0)).numpy()
    assert 400 < (drawn == 0).sum() < 600
    assert not (drawn == 2).any()


def test_a_traced_graph_draws_what_nobody_needs():
    """The numbers behind are those of eager mode."""

    def run(x, g):
        tg.random.uniform(2, generator=g)
        return x + tg.random.normal(2, generator=g)

    g = np.random.default_rng(1)
    graph = tg.trace(lambda x: run(x, g), (2,))
    other = np.random.default_rng(1)
    for _ in range(2):
        np.testing.assert_array_equal(graph(np.zeros(2)).numpy(), run(tg.zeros(2), other).numpy())
