"""Graph: what is in it, how it is listed, written and computed again, and that all of it is linear in its size."""

from __future__ import annotations

import json
import math
import textwrap
import tracemalloc

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.ops.cases import CASES
from tinygrad_rnn.ops.core import registry


@pytest.fixture
def rnn():
    w, u = tg.parameter([[0.5]], name="W"), tg.parameter([[0.25]], name="U")
    x = tg.tensor([[[1.0]], [[2.0]]], name="x")
    h = tg.zeros((1, 1)).named("h0")
    with tg.scope("rnn"):
        for t in tg.steps(2):
            h = tg.tanh(x[t] @ w + h @ u).named("h")
    return tg.graph((h.sum() * 2).named("loss"))


def test_nodes_come_after_their_inputs_and_once(rnn):
    place = {t: k for k, t in enumerate(rnn)}
    assert len(place) == len(rnn) == len(rnn.nodes)
    assert all(place[i] < place[t] for t in rnn for i in t.inputs)


def test_leaves_are_data_parameters_or_numbers(rnn):
    assert [t.name for t in rnn.inputs] == ["x", "h0"]
    assert [t.name for t in rnn.parameters] == ["W", "U"]
    others = {t for t in rnn if t.is_leaf} - {*rnn.inputs, *rnn.parameters}
    assert [t.op.name for t in others] == ["literal"]
    assert [t.name for t in rnn.outputs] == ["loss"]
    assert rnn.placeholders == ()


def test_edges_are_every_use(rnn):
    assert len(rnn.edges) == sum(len(t.inputs) for t in rnn)
    x = tg.ones(1)
    square = x * x
    assert tg.graph(square).edges == ((x, square), (x, square))


def test_nodes_are_found_by_name_scope_and_time(rnn):
    assert [t.time for t in rnn.by_name("h")] == [0, 1]
    assert rnn.by_name("nothing") == ()
    assert {t.time for t in rnn.by_scope("rnn")} == {0, 1}
    assert len(rnn.by_scope("rnn")) == 10
    assert rnn.by_scope("rn") == ()
    assert [t.op.name for t in rnn.by_time(1)] == [t.op.name for t in rnn.by_time(0)]
    assert {t.name or t.op.name for t in rnn.by_time(None)} == {"W", "U", "x", "h0", "sum", "literal", "loss"}
    assert rnn.times == (0, 1)


def test_nested_scopes_are_found_by_their_path():
    with tg.scope("a"):
        with tg.scope("b"):
            inner = tg.ones(1) * 2
        outer = inner + 1
    g = tg.graph(outer)
    assert inner in g.by_scope("a/b")
    assert outer not in g.by_scope("a/b")
    assert {inner, outer} <= set(g.by_scope("a"))
    assert g.by_scope("b") == ()


def test_counts(rnn):
    assert rnn.counts() == {
        "parameter": 2, "constant": 2, "slice": 2, "matmul": 4, "add": 2, "tanh": 2, "sum": 1, "literal": 1,
        "multiply": 1,
    }  # fmt: skip
    assert rnn.counts()["nothing"] == 0


def test_listing(rnn):
    assert str(rnn) == rnn.listing()
    assert rnn.listing() == textwrap.dedent("""\
        <Graph of 17 nodes, 2 parameters, 2 time steps>
          W               = parameter()  (1, 1) float32
          U               = parameter()  (1, 1) float32
          x               = constant()  (2, 1, 1) float32
          h0              = constant()  (1, 1) float32
          t0/rnn/slice    = slice(x, index=0)  (1, 1) float32
          t0/rnn/matmul   = matmul(t0/rnn/slice, W)  (1, 1) float32
          t0/rnn/matmul_2 = matmul(h0, U)  (1, 1) float32
          t0/rnn/add      = add(t0/rnn/matmul, t0/rnn/matmul_2)  (1, 1) float32
          t0/rnn/h        = tanh(t0/rnn/add)  (1, 1) float32
          t1/rnn/slice    = slice(x, index=1)  (1, 1) float32
          t1/rnn/matmul   = matmul(t1/rnn/slice, W)  (1, 1) float32
          t1/rnn/matmul_2 = matmul(t0/rnn/h, U)  (1, 1) float32
          t1/rnn/add      = add(t1/rnn/matmul, t1/rnn/matmul_2)  (1, 1) float32
          t1/rnn/h        = tanh(t1/rnn/add)  (1, 1) float32
          sum             = sum(t1/rnn/h, axis=(0, 1), keepdims=False)  () float32
          literal         = 2.0  () float32
          loss            = multiply(sum, literal)  () float32 <- output""")


def test_a_long_listing_leaves_out_the_middle():
    x = tg.ones(1)
    for _ in range(50):
        x = x + 1
    g = tg.graph(x)
    lines = g.listing(limit=10).splitlines()
    assert len(lines) == 1 + 10 + 1
    assert lines[6] == "... 91 more ..."
    assert lines[-1].endswith("<- output")
    assert len(g.listing(limit=None).splitlines()) == 1 + 101
    assert len(str(g).splitlines()) == 1 + 101


def test_a_listing_is_the_same_in_every_process():
    noise = tg.dropout(tg.ones(2), 0.5, generator=np.random.default_rng(0))
    assert "generator=PCG64)" in tg.graph(noise).listing()


def test_ids_are_paths():
    with tg.scope("enc"), tg.timestep(3):
        y = (tg.ones(1) * 2).named("f")
    slope = tg.grad(y.sum(), y.inputs[0], create_graph=True)
    assert tg.graph(y).ids[y.serial] == "t3/enc/f"
    assert [i for i in tg.graph(slope).ids.values() if i.startswith("grad/t3/enc/")]


def test_ids_are_unique_whatever_the_names():
    x = tg.ones(1)
    nodes = [(x * 1).named(n) for n in ("h", "h", "h_2", "h_2", "h_3", "h", "h_2_2")]
    ids = tg.graph(nodes).ids
    assert len(set(ids.values())) == len(ids) == len(tg.graph(nodes))
    assert [ids[t.serial] for t in nodes[:3]] == ["h", "h_2", "h_2_2"]


def test_ids_are_the_same_for_the_same_program(rnn):
    def model():
        with tg.scope("m"):
            x = tg.ones(2)
            for _ in tg.steps(3):
                x = tg.tanh(x * 2)
            return tg.graph(tg.grad(x.sum(), x, create_graph=True))

    assert list(model().ids.values()) == list(model().ids.values())


def test_repr(rnn):
    assert repr(rnn) == "<Graph of 17 nodes, 2 parameters, 2 time steps>"
    assert repr(tg.graph(tg.ones(1))) == "<Graph of 1 nodes, 0 parameters>"


def test_several_outputs():
    x = tg.ones(1)
    a, b = x + 1, x * 2
    g = tg.graph([b, a, b])
    assert g.outputs == (b, a, b)
    assert len(g) == 5
    assert g.listing().count("<- output") == 2
    assert [t.item() for t in g()] == [2.0, 2.0, 2.0]


# JSON -----------------------------------------------------------------------------------------------------------------


def strict(text: str) -> dict:
    """Parse JSON as browsers do: without NaN and Infinity."""

    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_json_has_every_node_and_every_edge(rnn):
    written = strict(rnn.to_json())
    assert written["version"] == 1
    assert [n["id"] for n in written["nodes"]] == list(rnn.ids.values())
    assert [n["op"] for n in written["nodes"]] == [t.op.name for t in rnn]
    uses = [(rnn.nodes[i], rnn.nodes[k]) for k, n in enumerate(written["nodes"]) for i in n["inputs"]]
    assert tuple(uses) == rnn.edges
    assert written["outputs"] == [len(rnn) - 1]
    h = written["nodes"][8]
    assert {k: h[k] for k in ("id", "name", "scope", "time", "shape", "dtype", "direction", "params")} == {
        "id": "t0/rnn/h", "name": "h", "scope": ["rnn"], "time": 0, "shape": [1, 1], "dtype": "float32",
        "direction": "forward", "params": {},
    }  # fmt: skip
    assert h["source"].startswith(__file__ + ":")
    assert "value" not in h


def test_json_with_values():
    x = tg.tensor([[1.0, math.inf], [math.nan, -math.inf]], name="x")
    written = strict(tg.graph(x * 2).to_json(values=True))
    assert written["nodes"][0]["value"] == [[1.0, "inf"], ["nan", "-inf"]]
    assert written["nodes"][1]["value"] == 2.0
    assert "value" not in written["nodes"][2]


def test_json_of_parameters_of_every_kind():
    x = tg.ones((2, 3, 4))
    g = tg.graph([
        x[..., 1:3, None], x[0, ::-1], x[[0, 1], :, [1, 2]], tg.pad(x, 1, -math.inf), tg.pad(x, 1, np.float32(2)),
        x.astype(np.float64), x.argmax(), tg.dropout(x, 0.5, generator=np.random.default_rng(0)),
    ])  # fmt: skip
    written = strict(g.to_json())
    params = [n["params"] for n in written["nodes"] if n["params"]]
    assert {"index": [{"ellipsis": True}, {"slice": [1, 3, None]}, None]} in params
    assert {"dtype": "float64"} in params
    assert {"p": 0.5, "shape": [2, 3, 4], "dtype": "float32", "generator": {"generator": "PCG64"}} in params


@pytest.fixture(scope="module")
def everything():
    """A graph in which every op of the registry occurs, with its gradient where there is one."""
    outputs = []
    for case in CASES:
        inputs = [tg.tensor(a) for a in case.arrays()]
        results = case.function(*inputs)
        results = [results] if isinstance(results, tg.Tensor) else list(results)
        outputs += results
        floats = [t for t in inputs if t.is_float]
        sums = [t.sum() for t in results if t.is_float]
        if sums and floats:
            slopes = tg.grad(sums, floats, create_graph=True, allow_unused=True)
            outputs += [t for t in slopes if t is not None]
    x = tg.tensor([0.5, 1.5])
    traced = tg.trace(lambda v: (v * 2).detach(), x).outputs
    repeated = x.at[[0, 0]].set(tg.ones(2) * x)
    outputs += [*traced, tg.grad(repeated.sum(), x, create_graph=True), tg.checkpoint(tg.tanh)(x)]
    outputs.append(tg.dropout(x, 0.5, generator=np.random.default_rng(0)))
    return tg.graph(outputs)


def test_every_op_is_listed_and_written(everything):
    missing = {name for name in registry if not everything.counts()[name]}
    assert missing == set(), "add a case for these to tests/ops/cases.py"
    written = strict(everything.to_json())
    assert len(written["nodes"]) == len(everything)
    assert len(set(everything.ids.values())) == len(everything)
    assert len(everything.listing(limit=None).splitlines()) == len(everything) + 1


def test_every_op_is_computed_again(everything):
    random = {t for t in everything if "generator" in t.params}
    tainted = set(random)
    for t in everything:
        if tainted.intersection(t.inputs):
            tainted.add(t)
    if everything.placeholders:
        results = everything(*[np.array([0.5, 1.5]) for _ in everything.placeholders])
    else:
        results = everything()
    compared = 0
    for before, after in zip(everything.outputs, results, strict=True):
        assert (after.shape, after.dtype) == (before.shape, before.dtype)
        if before not in tainted and not before.is_symbolic:
            np.testing.assert_array_equal(after, before)
            compared += 1
    assert compared > len(CASES)


# Computing again ------------------------------------------------------------------------------------------------------


def test_a_graph_is_computed_with_the_parameters_as_they_are_now():
    w = tg.parameter([1.0, 2.0])
    y = (w * 3).named("y")
    g = tg.graph(y)
    w.assign([10.0, 20.0])
    (again,) = g()
    assert (again.tolist(), again.name, y.tolist()) == ([30.0, 60.0], "y", [3.0, 6.0])
    assert again.is_leaf


def test_a_checkpoint_is_computed_again_from_new_values():
    w = tg.parameter([2.0])
    h = w * 3
    state = {"h": h, "c": (h + 1,)}
    y = tg.checkpoint(lambda s, k: s["h"] * s["c"][0] * w * k * h)(state, tg.tensor([2.0]))
    g = tg.graph(y)
    w.assign([1.0])
    assert g()[0].tolist() == [3.0 * 4.0 * 1.0 * 2.0 * 3.0]


def test_a_checkpoint_is_computed_again_with_the_indices_as_they_are_now():
    w = tg.parameter([5.0, 1.0])
    k = w.argmax()
    g = tg.graph(tg.checkpoint(lambda v: v[k] * 2)(w))
    w.assign([1.0, 7.0])
    assert g()[0].item() == 14.0


def test_values_are_dropped_after_their_last_use():
    x = tg.ones(100_000)
    for _ in range(20):
        x = tg.tanh(x)
    g = tg.graph(x)
    tracemalloc.start()
    g()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 100_000 * 4 < peak < 4 * 100_000 * 4


@pytest.mark.parametrize(
    ("arrays", "kind", "match"),
    [
        ((), TypeError, "expected 2 arrays, one per placeholder; got 0"),
        (([1.0], [1]), tg.ShapeError, r"tensor 'x' \(2,\) float32(.|\n)*expected: \(2,\)(.|\n)*got:      \(1,\)"),
        (([1.0, 2.0], [0.5]), tg.DTypeError, "placeholder tensor 'k' (.|\n)*expected: int64(.|\n)*got:      float64"),
        (([1j, 2.0], [0]), tg.DTypeError, "expected: float32(.|\n)*got:      complex128"),
        (([1.0, 2.0], [5]), IndexError, "index 5 at position(.|\n)*recorded at .*test_graph"),
    ],
)
def test_wrong_arrays_are_refused(arrays, kind, match):
    g = tg.trace(lambda x, k: x[k], (2,), tg.Spec(1, np.int64))
    with pytest.raises(kind, match=match):
        g(*arrays)


def test_arrays_are_converted_where_nothing_is_lost():
    g = tg.trace(lambda x: x * 2, (2,))
    for given in ([1, 2], np.array([1.0, 2.0]), tg.tensor([1.0, 2.0]), [True, True]):
        result = g(given)
        assert result.dtype == np.float32
        assert result.tolist() == [2.0 * float(v) for v in np.asarray(given)]


def test_a_graph_whose_placeholder_was_left_out_says_so():
    inner = []
    tg.trace(lambda x: inner.append(x * 2) or x, (2,))
    g = tg.graph(inner[0])
    assert [t.name for t in g.placeholders] == ["x"]
    assert g([1.0, 2.0])[0].tolist() == [2.0, 4.0]
    with pytest.raises(TypeError, match="expected 1 arrays"):
        g()


# Linear work ----------------------------------------------------------------------------------------------------------


class Visits:
    """Counts how often the inputs of nodes are looked at."""

    def __init__(self, monkeypatch):
        self.count = 0
        slot = tg.Tensor.inputs
        visits = self

        class Counting:
            def __get__(self, t, kind=None):
                if t is None:
                    return slot
                visits.count += 1
                return slot.__get__(t, kind)

            def __set__(self, t, value):
                slot.__set__(t, value)

        monkeypatch.setattr(tg.Tensor, "inputs", Counting())


def chain(steps):
    x = tg.parameter(np.ones(1, np.float32))
    y = x
    for t in tg.steps(steps):
        y = tg.tanh(y * x + t)
    return x, y


def sliced(steps):
    x = tg.parameter(np.ones((steps, 1), np.float32))
    return x, tg.stack([tg.tanh(x[t]) for t in range(steps)]).sum()


def checkpointed(steps):
    x = tg.parameter(np.ones(1, np.float32))
    y = x * 1
    for _ in range(steps):
        y = tg.checkpoint(lambda v: tg.tanh(v * x))(y)
    return x, y


@pytest.mark.parametrize("model", [chain, sliced, checkpointed])
@pytest.mark.parametrize(
    "work",
    [
        lambda x, y: tg.graph(y).ids,
        lambda x, y: tg.graph(y).listing(limit=None),
        lambda x, y: tg.graph(y).to_json(),
        lambda x, y: tg.graph(list(tg.graph(y))).listing(limit=None),
        lambda x, y: tg.graph(y)(),
        lambda x, y: tg.grad(y, x),
        lambda x, y: y.backward(),
        lambda x, y: tg.grad(y, x, create_graph=True),
        lambda x, y: tg.grad(y, tg.graph(y).nodes[1:5], allow_unused=True),
    ],
)
def test_work_grows_like_the_graph(monkeypatch, model, work):
    visits = Visits(monkeypatch)
    counts = []
    for steps in (40, 80):
        x, y = model(steps)
        visits.count = 0
        work(x, y)
        counts.append(visits.count)
    assert 0 < counts[1] < 2.2 * counts[0]


def test_each_of_many_outputs_is_marked():
    outputs = [tg.ones(1) * k for k in range(2000)]
    g = tg.graph(outputs)
    assert g.listing(limit=None).count("<- output") == 2000
