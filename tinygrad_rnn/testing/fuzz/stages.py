"""What the fuzzer checks, a table: each stage is a few lines of source, which run and are printed where they fail."""

from __future__ import annotations

import os
from dataclasses import dataclass
from zlib import crc32

from .twins import SHARES, SOURCES, TWIN_PREAMBLE

__all__ = ["PEERS", "STAGES", "Stage"]

PREAMBLE = '''
def floats(xs):
    return [x for x in xs if x.is_float]


def loss(*xs):
    return sum((y * y).sum() * (1 + 0.1 * k) for k, y in enumerate(program(*xs)) if y.is_float)


def filled(xs, found):
    return [tg.zeros_like(x) if g is None else g for x, g in zip(floats(xs), found)]


def gradient(*xs, **options):
    return filled(xs, tg.grad(loss(*xs), floats(xs), allow_unused=True, **options))


def second(*xs):
    slopes = gradient(*xs, create_graph=True)
    product = sum((g * v).sum() for g, v in zip(slopes, directions))
    return filled(xs, tg.grad(product, floats(xs), allow_unused=True))


def along(f):
    def of_floats(*moved):
        moved = iter(moved)
        return f(*[next(moved) if x.is_float else x for x in tensors])

    return of_floats


tensors = [tg.tensor(a) for a in arrays]
'''


KEPT = '''
compiled = tg.compile(lambda *xs: program(*xs))
given = [a.copy() for a in arrays]
first = compiled(*given)
with tg.no_grad():
    views = [v for y in first for v in (y, y.detach(), y.T, y[None], y.reshape(-1))]
before = [v.numpy().copy() for v in views]
for a in given:
    a[...] = 0
others_found = compiled(*others)
assert all(np.array_equal(v.numpy(), b) for v, b in zip(views, before)), "a result that is kept has changed"
found = [*first, *others_found, *compiled(*arrays)]
'''

THREADS = '''
import sys
from concurrent.futures import ThreadPoolExecutor

compiled = tg.compile(lambda *xs: program(*xs))
interval = sys.getswitchinterval()
sys.setswitchinterval(1e-5)
with ThreadPoolExecutor(4) as pool:
    results = list(pool.map(lambda given: compiled(*given), [arrays, others] * 4))
sys.setswitchinterval(interval)
found = [y for result in results for y in result]
'''

THREADS_OF_A_PROGRAM = '''
import sys
from concurrent.futures import ThreadPoolExecutor

one = tg.compile(lambda *xs: program(*xs)).program(*arrays)
interval = sys.getswitchinterval()
sys.setswitchinterval(1e-5)
with ThreadPoolExecutor(4) as pool:
    results = list(pool.map(one.run, [arrays, others] * 8))
sys.setswitchinterval(interval)
found = [y for result in results for y in result]
'''

FORK = '''
import os, pickle, select, signal, threading, warnings

compiled = tg.compile(lambda *xs: program(*xs))
compiled(*arrays)
busy = threading.Event()


def call_on():
    while not busy.is_set():
        compiled(*others)


beside = threading.Thread(target=call_on)
beside.start()
reading, writing = os.pipe()
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    child = os.fork()
if child == 0:
    try:
        os.write(writing, pickle.dumps([y.numpy() for y in compiled(*arrays)]))
    finally:
        os._exit(0)  # whatever happens, there is one fuzzer
busy.set()
beside.join()
answered = select.select([reading], [], [], 5)[0]
found = pickle.loads(os.read(reading, 1 << 20)) if answered else None
os.close(reading), os.close(writing)
os.kill(child, signal.SIGKILL), os.waitpid(child, 0)
assert found is not None, "a child that was forked during a call hangs, or has failed"
'''


@dataclass(frozen=True)
class Stage:
    """A check: source that finds some arrays, and what they should be.

    Parameters
    ----------
    name : str
        What comes before a colon is the kind of the check.
    source : str
        Gives `found`. That of a twin defines ``experiment(wrap)``, a generator of arrays and tensors, which is run with
        :func:`tinygrad_rnn.compile` and eagerly, and should give the same.
    expected : tuple of str
        Names of lists of an :class:`Outcome`; with ``other_`` or ``resized_`` in front, of that at other arrays.
    needs : str
        The stage whose variables it uses.
    share : int
        It runs on one of so many programs.
    only : str
        An operation without which the stage is left out.
    twin : bool

    Examples
    --------
    >>> from tinygrad_rnn.testing.fuzz.stages import STAGES
    >>> STAGES["values"].due(0), sum(STAGES["threads"].due(number) for number in range(640))
    (True, 10)
    """

    name: str
    source: str
    expected: tuple[str, ...] = ()
    needs: str = ""
    share: int = 1
    only: str = ""
    twin: bool = False

    def due(self, number: int) -> bool:
        """Whether it runs on the program of that number, which says nothing of what other stages run on."""
        return crc32(f"{self.name} {number}".encode()) % self.share == 0

    @property
    def preamble(self) -> str:
        return TWIN_PREAMBLE if self.twin else PREAMBLE


_STAGES = [
    Stage("values", "found = program(*tensors)", ("values",)),
    Stage("values unrecorded", "with tg.no_grad():\n    found = program(*tensors)", ("values",), share=4),
    Stage("gradient", "found = gradient(*tensors)", ("gradient",)),
    Stage("gradient recorded", "found = gradient(*tensors, create_graph=True)", ("gradient",), share=4),
    Stage("reverse over reverse", "found = second(*tensors)", ("products",)),
    Stage("forward", "found = tg.jvp(along(lambda *xs: floats(program(*xs))), floats(tensors), directions)[1]",
          ("slopes",)),
    Stage("forward over reverse",
          "found = tg.jvp(along(lambda *xs: gradient(*xs, create_graph=True)), floats(tensors), directions)[1]",
          ("products",), share=2),
    Stage("traced", "graph = tg.trace(lambda *xs: [*program(*xs), *gradient(*xs)], *arrays)\nfound = graph(*arrays)",
          ("values", "gradient"), share=2),
    Stage("compiled values", KEPT, ("values", "other_values", "values")),
    Stage("compiled",
          "compiled = tg.compile(lambda *xs: [*program(*xs), *gradient(*xs)])\n"
          "found = [*compiled(*others), *compiled(*arrays)]",
          ("other_values", "other_gradient", "values", "gradient"), share=2),
    Stage("compiled and reloaded",
          "again = tg.Program.from_json(compiled.programs[-1].to_json())\nfound = again.run(arrays)",
          ("values", "gradient"), needs="compiled", share=4),
    Stage("compiled, little memory",
          "small = tg.compile(lambda *xs: [*program(*xs), *gradient(*xs)], memory='sqrt')\nfound = small(*arrays)",
          ("values", "gradient"), share=4, only="loop"),
    Stage("compiled, second order", "twice = tg.compile(second)\nfound = [*twice(*others), *twice(*arrays)]",
          ("other_products", "products"), share=16),
    Stage("parameters",
          "leaves = [tg.parameter(a) if a.dtype.kind == 'f' else tg.tensor(a) for a in arrays]\n"
          "tg.grad(loss(*leaves), floats(leaves), allow_unused=True)\n"
          "(loss(*leaves) + sum(0 * p.sum() for p in floats(leaves))).backward()\n"
          "found = [p.grad for p in floats(leaves)]", ("gradient",), share=4),
    Stage("drawn",
          "outputs = program(*tensors)\npicture = tg.viz.to_dot(outputs)\n"
          "assert picture.startswith('digraph') and picture == tg.viz.to_dot(outputs)", share=8),
    Stage("written",
          "import json\n\ngraph = tg.graph([loss(*tensors)])\nnodes = json.loads(graph.to_json(values=True))['nodes']\n"
          "assert len(nodes) == len(graph) and len({n['id'] for n in nodes}) == len(nodes)\nassert str(graph)",
          share=8),
    Stage("inputs unchanged",
          "found = [t.numpy() for t in tensors] + list(arrays)\n"
          "assert all(np.array_equal(a, b) for a, b in zip(found, 2 * kept))"),
    Stage("signatures",
          "compiled = tg.compile(lambda *xs: [*program(*xs), *gradient(*xs)])\n"
          "found = [y for given in (arrays, resized, others, resized, arrays) for y in compiled(*given)]",
          ("values", "gradient", "resized_values", "resized_gradient", "other_values", "other_gradient",
           "resized_values", "resized_gradient", "values", "gradient"), share=8),
    Stage("threads", THREADS, ("values", "other_values") * 4, share=64),
    Stage("threads: program", THREADS_OF_A_PROGRAM, ("values", "other_values") * 8, share=64),
    Stage("fork", FORK, ("values",), share=512),
    Stage("torch",
          "from tinygrad_rnn.testing.fuzz import peers\n\nfound = peers.torch_results(data, arrays, directions)",
          ("values", "gradient", "products"), share=2),
    Stage("jax", "from tinygrad_rnn.testing.fuzz import peers\n\nfound = peers.jax_results(data, arrays)",
          ("values", "gradient"), share=256),
]  # fmt: skip

_TWINS = [Stage(name, source, share=SHARES[name.partition(":")[0]], twin=True) for name, source in SOURCES.items()]

PEERS = ("torch", "jax")
STAGES: dict[str, Stage] = {stage.name: stage for stage in [*_STAGES, *_TWINS]}
if not hasattr(os, "fork"):  # systems without it
    del STAGES["fork"]
