"""What draws while a function is recorded, and not by an operation, is found out: its numbers would stay the same."""

# ruff: noqa: NPY002  (draws from the legacy state are what is looked for)

import importlib
import random
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import numpy.random as nr
import pytest
from numpy.random import randn

import tinygrad_rnn as tg
from tinygrad_rnn.generators import found_around

RNG = np.random.default_rng(0)
OLD = np.random.RandomState(0)
OWN = random.Random(0)
BITS, SEED = np.random.PCG64(0), np.random.SeedSequence(0)
TABLE = {"noise": [np.random.default_rng(1)]}
X = np.ones((2, 3), np.float32)


class Holder:
    def __init__(self, generator):
        self.generator = generator

    def draw(self):
        return self.generator.normal(size=3)


class Slotted:
    __slots__ = ("generator",)

    def __init__(self):
        self.generator = np.random.default_rng(0)


class Noisy(tg.nn.Module):
    def __init__(self):
        self.linear = tg.nn.Linear(3, 3, generator=0)
        self.rng = np.random.default_rng(0)
        self.holder = Holder(np.random.default_rng(1))

    def forward(self, x):
        return self.linear(x) + self.rng.normal(size=3)

    def by_holder(self, x):
        return self.linear(x) + self.holder.draw()

    def twice(self, x):
        return self.noise(x) * 2

    def noise(self, x):
        return x + RNG.normal(size=3)


def helper(x, generator=None):
    return x + (generator or RNG).normal(size=3)


def by_default(x, generator=np.random.default_rng(0)):  # noqa: B008  (it is meant to be the same for all calls)
    return x + generator.normal(size=3)


def by_closure(generator):
    return lambda x: x + generator.normal(size=3)


NOISY, HOLDER, SLOTTED = Noisy(), Holder(np.random.default_rng(3)), Slotted()
DRAWING = {
    "np.random.rand": (lambda x: x + np.random.rand(3), "np.random's global generator"),
    "a function of np.random": (lambda x: x + randn(3), "np.random's global generator"),
    "a name for np.random": (lambda x: x + nr.normal(), "np.random's global generator"),
    "only the cached half of a pair": (lambda x: x + np.random.normal(), "np.random's global generator"),
    "random.gauss": (lambda x: x * random.gauss(0, 1), "Python's random"),
    "random.random": (lambda x: x * random.random(), "Python's random"),
    "random.shuffle": (lambda x: (random.shuffle([1, 2, 3]), x)[1], "Python's random"),
    "a global": (lambda x: x + RNG.normal(size=3), r"Generator\(PCG64\) 'RNG'"),
    "a global RandomState": (lambda x: x + OLD.normal(size=3), "RandomState 'OLD'"),
    "a global random.Random": (lambda x: x * OWN.random(), "Random 'OWN'"),
    "a function that is called": (lambda x: helper(x) * 2, r"Generator\(PCG64\) 'RNG'"),
    "an inner function": (lambda x: next(helper(y) for y in [x]), r"Generator\(PCG64\) 'RNG'"),
    "an entry of a table": (lambda x: x + TABLE["noise"][0].normal(size=3), r"'TABLE\['noise'\]\[0\]'"),
    "a default": (by_default, "'by_default"),
    "a closure": (by_closure(np.random.Generator(np.random.SFC64(0))), r"Generator\(SFC64\) 'generator'"),
    "a partial": (partial(helper, generator=np.random.default_rng(0)), "'generator'|'.*generator"),
    "a module that is called": (lambda x: NOISY(x), r"'NOISY.rng'"),
    "a module itself": (NOISY, "'rng'"),
    "a method of a module": (NOISY.by_holder, "'holder.generator'"),
    "a method that calls another": (NOISY.twice, "'RNG'"),
    "an object": (lambda x: x + HOLDER.draw(), "'HOLDER.generator'"),
    "raw bits": (lambda x: x + np.float32(BITS.random_raw()), "PCG64 'BITS'"),
    "what is spawned": (lambda x: x + RNG.spawn(1)[0].normal(size=3), r"Generator\(PCG64\) 'RNG'"),
    "an operation of what is spawned": (
        lambda x: x + tg.random.normal(3, generator=RNG.spawn(1)[0]), r"Generator\(PCG64\) 'RNG'",
    ),
    "what is spawned of bits": (lambda x: x + np.random.default_rng(BITS.seed_seq.spawn(1)[0]).normal(), "'BITS'"),
    "what is spawned of a seed": (
        lambda x: x + np.random.default_rng(SEED.spawn(1)[0]).normal(size=3), "SeedSequence 'SEED'",
    ),
    "a slot": (lambda x: x + SLOTTED.generator.normal(size=3), "'SLOTTED.generator'"),
}  # fmt: skip
drawing = pytest.mark.parametrize(("fn", "named"), DRAWING.values(), ids=DRAWING.keys())


RECORDED = {"compile": lambda fn: tg.compile(fn)(X), "trace": lambda fn: tg.trace(fn, X)}


@drawing
@pytest.mark.parametrize("name", RECORDED)
def test_a_generator_that_moves_while_a_function_is_recorded_is_named(fn, named, name):
    with pytest.raises(tg.GeneratorError, match=f"^{name}: .*({named}).* moved while .*recorded(.|\n)*tg.random"):
        RECORDED[name](fn)


def test_arguments_are_looked_at_as_well():
    with pytest.raises(tg.GeneratorError, match="moved"):
        tg.compile(helper)(X, np.random.default_rng(0))


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: x + tg.random.normal(3, generator=RNG),
        lambda x: tg.dropout(x, 0.5, generator=NOISY.rng),
        lambda x: x * np.float32(2) + tg.random.normal(3, generator=HOLDER.generator),
        lambda x: x + np.random.default_rng(0).normal(size=3),  # the same numbers on each call of the function, too
    ],
)
def test_draws_by_operations_and_of_a_seed_are_fine(fn):
    states = [g.bit_generator.state for g in (RNG, NOISY.rng, HOLDER.generator)]
    tg.trace(fn, X)
    tg.compile(fn).program(X)
    assert states == [g.bit_generator.state for g in (RNG, NOISY.rng, HOLDER.generator)]
    assert tg.compile(fn)(X).shape == X.shape


def test_another_error_comes_first():
    def wrong(x):
        np.random.rand()
        return x @ tg.ones((7, 2))

    with pytest.raises(tg.ShapeError):
        tg.compile(wrong)(X)


def drawn_beside(record):
    """Record while another thread draws from all that is global, and at least once."""
    stop, drawn = threading.Event(), threading.Event()

    def work():
        while not stop.is_set():
            np.random.rand(3)
            random.random()
            RNG.normal()
            drawn.set()

    thread = threading.Thread(target=work)
    thread.start()
    try:

        def waiting(x):
            drawn.clear()
            assert drawn.wait(10)
            return record(x)

        return tg.compile(waiting)(X)
    finally:
        stop.set()
        thread.join()


def test_draws_by_another_thread_are_none_of_the_function():
    own = np.random.default_rng(3)
    found = drawn_beside(lambda x: x * np.float32(2) + tg.random.normal(3, generator=own))
    expected = X * 2 + np.random.default_rng(3).standard_normal(3, np.float32)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)


def test_draws_of_the_function_are_found_beside_those_of_another_thread():
    for draw, name in ((lambda: np.random.rand(), "np.random's"), (lambda: random.random(), "Python's random")):
        with pytest.raises(tg.GeneratorError, match=name):
            drawn_beside(lambda x, draw=draw: x * draw())


class Jittered(tg.data.Batches):
    """Augments its examples with noise of NumPy's global generator."""

    def _made(self, part):
        batch = super()._made(part)
        np.random.rand(4)
        random.random()
        return batch


def test_a_prefetched_source_may_draw(tmp_path):
    columns = {"xs": [[1, 2], [3, 1], [2, 2], [1, 1]] * 6, "target": [0, 1, 0, 1] * 6}
    model = tg.nn.ManyToOne(3, 4, 2, vocabulary=5, cell="gru", dropout=0.2, generator=0)
    batches = tg.data.Prefetch(Jittered(columns, batch_size=2, generator=0))
    assert len(tg.fit(model, batches, epochs=2, progress=False).losses) == 24


def printed(code):
    """What a fresh process prints."""
    root = Path(__file__).parents[1]
    return subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout


HIDDEN = """
import numpy as np, tinygrad_rnn as tg

def noisy(x):
    import random
    return x * getattr(random, "rand" + "om")()

try:
    tg.compile(noisy)(np.ones(2))
except tg.GeneratorError as error:
    print(error)
"""


def test_with_one_thread_alone_global_generators_need_not_be_named():
    assert "Python's random moved" in printed(HIDDEN)


def test_each_generator_is_found_once_and_under_a_name_of_its_own():
    first, second = np.random.default_rng(0), np.random.default_rng(1)
    one, two = by_closure(first), by_closure(second)
    found = found_around(lambda: (one, two, one))
    assert sorted(found) == ["generator", "generator (2)"]
    assert {id(g) for g in found.values()} == {id(first), id(second)}


def test_what_is_found_is_found_in_the_same_order_by_another_process():
    code = "from tests.test_generators import NOISY, found_around; print(list(found_around(NOISY, NOISY.twice)))"
    runs = [printed(code) for _ in range(2)]
    assert runs[0] == runs[1]
    assert "rng" in runs[0]


def test_names_in_the_code_are_followed_only_as_they_are_written():
    """Neither ``np`` and ``tg.random.normal`` nor an attribute of something else are ``np.random.normal``."""
    found = found_around(lambda x: np.float32(1) * tg.random.normal(x.rand, generator=x.random))
    assert found == {}


def test_functions_with_many_names_are_read_as_well():
    names = [f"name{k}" for k in range(300)]
    space = {**dict.fromkeys(names, 0), "np": np}
    exec(f"def many(x):\n    {'; '.join(names)}\n    return x + np.random.rand()", space)
    assert list(found_around(space["many"])) == ["np.random"]


class Drawing:
    def draw(self):
        return RNG.normal(size=3)


def made(of=Drawing):
    return of()


@pytest.mark.parametrize(
    "fn",
    [
        lambda x, h: np.add(x, h.draw()), lambda x, h: np.add(h.draw(), x), lambda x, h: made().draw(),
        lambda x, h: (lambda y: np.add(x, y.draw()))(h), lambda x, h: [x, h][1].draw(),
    ],
)  # fmt: skip
def test_methods_are_found_wherever_they_are_called(fn):
    """The second of two variables may be loaded together with the first."""
    assert list(found_around(fn, 1, Drawing())) == ["RNG"]


def test_much_data_is_not_searched_for_ever():
    data = [{"x": (k, str(k))} for k in range(200_000)]
    assert found_around(lambda: data) == {}


def imports_the_generator(x):
    from module_with_a_generator import RNG

    return x + RNG.normal()


def imports_the_module(x):
    import module_with_a_generator as m

    return x + m.RNG.normal()


@pytest.mark.parametrize("fn", [imports_the_generator, imports_the_module], ids=lambda f: f.__name__)
def test_generators_of_modules_that_the_function_imports_itself(fn, tmp_path, monkeypatch):
    (tmp_path / "module_with_a_generator.py").write_text("import numpy\nRNG = numpy.random.default_rng(0)\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("module_with_a_generator")
    try:
        assert list(found_around(fn)) == ["module_with_a_generator.RNG"]
        with pytest.raises(tg.GeneratorError, match=r"module_with_a_generator\.RNG"):
            tg.compile(fn)(np.zeros(3))
    finally:
        del sys.modules["module_with_a_generator"]


def unseeded_at_once(x):
    return x + np.random.default_rng().normal(size=3)


def unseeded_with_a_name(x):
    noise = np.random.RandomState()
    return x + noise.normal(size=3)


def unseeded_of_pythons(x):
    return x * random.Random().random()


def unseeded_in_a_call(x):
    return unseeded_at_once(x) * 2


@pytest.mark.parametrize(
    "fn", [unseeded_at_once, unseeded_with_a_name, unseeded_of_pythons, unseeded_in_a_call], ids=lambda f: f.__name__
)
def test_a_generator_without_a_seed_that_the_function_makes(fn):
    """In eager mode its numbers are fresh on each call; recorded they would be the same for ever."""
    with pytest.raises(tg.GeneratorError, match=r"unseeded\w*\(\) makes a generator without a seed, .*py:\d+"):
        tg.compile(fn)(np.zeros(3))


def noise_of(x, rng=None):
    if rng is None:
        rng = np.random.default_rng()
    return x if rng == "none" else x + tg.random.normal(3, generator=rng)


def unseeded_elsewhere(x, rng=None):
    if rng is not None:
        return x + 1.0
    return x + np.random.default_rng().normal(size=3)


def unseeded_in_a_loop(x):
    for _ in range(2):
        x = x + np.random.default_rng().normal(size=3)
    return x


def unseeded_after_a_branch(x):
    if x.ndim > 5:
        x = x.sum(-1)
    return x + np.random.default_rng().normal(size=3)


def test_a_generator_that_is_made_where_none_is_given():
    assert tg.compile(lambda x: unseeded_elsewhere(x, 1))(np.zeros(3)).tolist() == [1, 1, 1]
    assert tg.compile(lambda x: noise_of(x, "none"))(np.ones(3)).tolist() == [1, 1, 1]


@pytest.mark.parametrize("fn", [unseeded_in_a_loop, unseeded_after_a_branch], ids=lambda f: f.__name__)
def test_a_generator_that_is_surely_made(fn):
    with pytest.raises(tg.GeneratorError, match="makes a generator without a seed"):
        tg.compile(fn)(np.zeros(3))


def test_a_generator_without_a_seed_that_operations_draw_from():
    noisy = tg.compile(lambda x: x + tg.random.normal(3, generator=np.random.default_rng()))
    assert noisy(np.zeros(3)).tolist() != noisy(np.zeros(3)).tolist()


def test_a_generator_with_a_seed_gives_the_same_numbers_in_eager_mode_too():
    def fixed(x):
        return x + np.random.default_rng(3).normal(size=3)

    assert tg.compile(fixed)(np.zeros(3)).tolist() == fixed(tg.zeros(3, np.float64)).tolist()


def test_a_shared_generator_that_another_thread_draws_from_meanwhile():
    """Recording is tried again, and the other thread comes to rest, as one that fills a queue does."""
    rng, begun = np.random.default_rng(1), threading.Event()

    def fill():
        for _ in range(5):
            rng.random()
            begun.set()
            time.sleep(0.002)

    def noisy(x):
        thread.is_alive() or thread.start()
        assert begun.wait(10)
        time.sleep(0.004)
        return x + tg.random.normal(3, generator=rng)

    thread, other = threading.Thread(target=fill), threading.Event()
    beside = threading.Thread(target=other.wait)
    beside.start()
    try:
        recorded = []

        def once(x):
            recorded.append(1)
            return noisy(x) if len(recorded) == 1 else x + tg.random.normal(3, generator=rng)

        assert tg.compile(once)(np.zeros(3)).shape == (3,)
        assert len(recorded) > 1
    finally:
        other.set()
        beside.join()
        thread.join()


@pytest.mark.parametrize("seed", [0, 2**90, 2**200 + 1])
def test_a_seed_of_any_length_begins_anew(seed):
    noisy = tg.compile(lambda x: x + tg.random.normal(3, generator=np.random.default_rng(seed)))
    assert noisy(np.zeros(3)).tolist() == noisy(np.zeros(3)).tolist()
