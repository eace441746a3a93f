"""Provenance: where each node says that it was recorded, and that saying so changes no result."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.scope import current


def here() -> int:
    """Line of the caller."""
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return frame.f_back.f_lineno


@pytest.fixture(autouse=True)
def nothing_leaks():
    before = current()
    yield
    assert facts(current()) == facts(before)


def facts(state):
    return state.recording, state.place, state.anomaly, state.source, state.tracing, state.loop


# What a node knows ----------------------------------------------------------------------------------------------------


def test_a_node_knows_its_op_inputs_params_shape_and_dtype():
    x = tg.tensor(np.zeros((2, 3)))
    y = x.sum(axis=1, keepdims=True)
    assert y.op.name == "sum"
    assert y.inputs == (x,)
    assert y.params == {"axis": (1,), "keepdims": True}
    assert (y.shape, y.dtype, y.ndim, y.size) == ((2, 1), np.float64, 2, 2)
    assert y.name is None
    assert y.direction == "forward"
    assert not y.is_leaf
    assert x.is_leaf


def test_serial_numbers_grow_in_the_order_of_recording():
    x = tg.ones(2)
    nodes = [x, x * 2, x + 1, tg.tanh(x)]
    serials = [t.serial for t in nodes]
    assert serials == sorted(set(serials))


@pytest.mark.parametrize(
    "record",
    [
        lambda x: (tg.tanh(x), here()),
        lambda x: (x.tanh(), here()),
        lambda x: (x + 1, here()),
        lambda x: (2 * x, here()),
        lambda x: (-x, here()),
        lambda x: (x @ x, here()),
        lambda x: (x[0], here()),
        lambda x: (x[[0, 1]], here()),
        lambda x: (x.at[0].set(1.0), here()),
        lambda x: (np.tanh(x), here()),
        lambda x: (np.concatenate([x, x]), here()),
        lambda x: (np.ones(2, np.float32) + x, here()),
        lambda x: (np.linalg.norm(x), here()),
        lambda x: (sum([x, x]), here()),
        lambda x: (next(iter(x)), here()),
        lambda x: (tg.prod(x), here()),
        lambda x: (tg.cross_entropy(x, 1), here()),
        lambda x: (tg.tensor([1.0]), here()),
        lambda x: (tg.parameter([1.0]), here()),
        lambda x: (tg.zeros(3), here()),
        lambda x: (tg.from_dlpack(np.ones(2)), here()),
        lambda x: (x.detach(), here()),
        lambda x: (tg.grad(x.sum(), x), here()),
        lambda x: (tg.jvp(tg.tanh, [x], [x])[1], here()),
    ],
)
def test_the_source_is_the_users_line(record):
    t, line = record(tg.ones(2))
    assert (t.source.file, t.source.line) == (__file__, line)
    assert str(t.source) == f"{__file__}:{line}"


def test_the_source_of_an_expression_over_several_lines_is_that_of_its_part():
    x = tg.ones(2)
    start = here()
    y = (
        x
        * tg.tanh(
            x
        )
    )  # fmt: skip
    assert y.inputs[1].source.line == start + 3
    assert start < y.source.line <= start + 3


def test_the_source_of_a_modules_operation_is_the_line_that_calls_it():
    layer = tg.nn.Linear(2, 3)
    y, line = layer(tg.ones((1, 2))), here()
    assert {t.source.line for t in tg.graph(y) if not t.is_leaf} == {line}
    assert all(t.scope for t in tg.graph(y) if not t.is_leaf)


def test_the_source_of_a_gradient_of_parameters_is_the_line_of_backward():
    w = tg.parameter([1.0])
    loss = (w * w).sum()
    loss.backward(); line = here()  # noqa: E702
    assert w.grad.source.line == line


def test_backward_nodes_inherit_the_provenance_of_their_forward_nodes():
    x = tg.tensor([0.5, 2.0], name="x")
    for t in tg.steps(2):
        with tg.scope("cell"):
            x_ = tg.tanh(x if t == 0 else h) * 2; line = here()  # noqa: E702, F821
            h = x_[:1] if t == 0 else x_  # noqa: F841
    slope = tg.grad(x_.sum(), x, create_graph=True)
    backward = [t for t in tg.graph(slope) if t.direction == "backward"]
    assert {t.time for t in backward if t.op.name == "multiply"} == {0, 1}
    assert {t.scope for t in backward if t.time is not None} == {("cell",)}
    assert {t.source.line for t in backward if t.op.name == "multiply"} == {line}
    assert all(t.direction == "forward" for t in tg.graph(x_))


def test_an_assembled_gradient_belongs_to_the_tensor_that_was_indexed():
    x = tg.ones(4)
    with tg.scope("source"):
        y = x * 2
    with tg.scope("use"):
        total = y[0] + y[1]
    slope = tg.grad(total, x, create_graph=True)
    (assembled,) = [t for t in tg.graph(slope) if t.op.name == "assemble"]
    assert assembled.scope == ("source",)


def test_a_second_gradient_is_backward_as_well():
    x = tg.tensor(2.0)
    with tg.timestep(7):
        y = x * x * x
    slope = tg.grad(y, x, create_graph=True)
    curvature = tg.grad(slope, x, create_graph=True)
    new = set(tg.graph(curvature)) - set(tg.graph(slope))
    assert {t.direction for t in new if not t.is_leaf} == {"backward"}
    assert {t.time for t in new if not t.is_leaf} == {7}


def test_provenance_changes_no_result():
    x = tg.tensor(np.linspace(-1, 1, 5))

    def model():
        return tg.tanh(x * 3)[1:].sum()

    plain = model()
    with tg.scope("a"), tg.timestep(3), tg.scope("b"):
        placed = model().named("y")
    assert placed.item() == plain.item()
    np.testing.assert_array_equal(tg.grad(placed, x), tg.grad(plain, x))


def test_names_are_strings_that_are_not_empty():
    with pytest.raises(ValueError, match="named: a name is a non-empty string; got ''"):
        tg.ones(1).named("")
    with pytest.raises(ValueError, match=r"scope: .* without '/'; got 'a/b'"):
        tg.scope("a/b")
    with pytest.raises(ValueError, match="got 3"):
        tg.scope(3)


# Nesting and restoring ------------------------------------------------------------------------------------------------


def place() -> tuple:
    t = tg.zeros(1)
    return t.scope, t.time


def test_scopes_and_time_steps_nest():
    with tg.scope("a"):
        with tg.timestep(1), tg.scope("b"):
            assert place() == (("a", "b"), 1)
            with tg.timestep(2):
                assert place() == (("a", "b"), 2)
            assert place() == (("a", "b"), 1)
        assert place() == (("a",), None)
    assert place() == ((), None)


def test_the_place_is_taken_where_the_block_is_entered():
    cell = tg.scope("cell")
    with tg.timestep(4), cell:
        assert place() == (("cell",), 4)
    with tg.timestep(5), cell, cell:
        assert place() == (("cell", "cell"), 5)


def test_a_decorated_function_runs_in_the_place_of_its_caller():
    @tg.no_grad()
    def unrecorded(depth):
        return tg.zeros(1) * 1 if not depth else unrecorded(depth - 1)

    with tg.scope("caller"):
        t = unrecorded(2)
        assert (t.scope, t.inputs) == (("caller",), ())
        assert (t * 1).inputs


def test_calls_of_a_decorated_function_may_overlap_in_threads():
    entered, left = threading.Barrier(2), threading.Event()

    @tg.scope("inside")
    def work(first):
        entered.wait(timeout=300)
        if not first:
            left.wait(timeout=300)
        return place()

    def run(name):
        with tg.scope(name):
            inside = work(name == "a")
            outside = place()
            left.set()
        return inside, outside

    with ThreadPoolExecutor(2) as pool:
        a, b = pool.map(run, "ab")
    assert a == ((("a", "inside"), None), (("a",), None))
    assert b == ((("b", "inside"), None), (("b",), None))


def test_scopes_are_restored_when_an_exception_passes():
    with pytest.raises(KeyError), tg.scope("a"), tg.timestep(1), tg.no_grad(), tg.detect_anomaly():
        raise KeyError
    assert place() == ((), None)


def test_steps_restore_the_place_after_the_last_one():
    seen = []
    for t in tg.steps(3):
        seen.append((t, *place()))
    assert seen == [(0, (), 0), (1, (), 1), (2, (), 2)]
    assert place() == ((), None)


def test_steps_count_from_a_start_and_backwards():
    assert list(tg.steps(2, start=5)) == [5, 6]
    assert [place()[1] for _ in tg.steps(3, reverse=True)] == [2, 1, 0]
    assert list(tg.steps(0)) == []
    with pytest.raises(ValueError, match="must not be negative; got -1"):
        tg.steps(-1)


def test_steps_restore_the_place_after_break_and_exception():
    for _ in tg.steps(3):
        with tg.scope("x"):
            break
    assert place() == ((), None)


def test_steps_restore_the_place_after_an_exception():
    def fails():
        for _ in tg.steps(3):
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert place() == ((), None)


def test_steps_restore_the_place_when_another_iterator_ends_first():
    assert [t for t, _ in zip(tg.steps(5), "ab")] == [0, 1]
    assert place() == ((), None)


@pytest.mark.parametrize("loops", [
    lambda: zip(tg.steps(3), tg.steps(3), strict=True), lambda: zip(tg.steps(3), tg.steps(2, start=5)),
    lambda: zip(tg.steps(2), tg.steps(3), tg.steps(1)), lambda: zip(tg.steps(1), tg.steps(1)),
    lambda: zip("ab", tg.steps(3), tg.steps(3)), lambda: zip(tg.steps(3), "ab", tg.steps(3)),
    lambda: zip(tg.steps(3), zip(tg.steps(3), tg.steps(2))), lambda: itertools.chain(tg.steps(2), tg.steps(2)),
])  # fmt: skip
def test_steps_side_by_side_restore_the_place(loops):
    with tg.scope("block"):
        for _ in loops():
            assert place()[1] is not None
        assert place() == (("block",), None)
    assert place() == ((), None)


@given(st.data())
def test_iterators_over_steps_may_be_resumed_and_closed_in_any_order(data):
    loops = [tg.steps(3, start=10 * k) for k in range(3)]
    recording = current().recording
    while loops:
        k = data.draw(st.integers(0, len(loops) - 1))
        with tg.no_grad() if data.draw(st.booleans()) else contextlib.nullcontext():
            expected = current().recording
            if data.draw(st.booleans()):
                loops.pop(k).close()
            elif next(loops[k], None) is None:
                loops.pop(k)
            assert current().recording == expected
        assert current().recording == recording
    assert place() == ((), None)


def test_nested_steps_return_to_the_outer_step():
    seen = []
    for _ in tg.steps(2):
        for _ in tg.steps(2, start=10):
            seen.append(place()[1])
        seen.append(place()[1])
    assert seen == [10, 11, 0, 10, 11, 1]


def test_steps_left_unfinished_do_not_reach_beyond_the_block_around_them():
    with tg.scope("block"):
        unfinished = tg.steps(3)
        next(unfinished)
        assert place() == (("block",), 0)
    del unfinished
    assert place() == ((), None)


def test_a_generator_left_unfinished_gives_its_place_back_when_it_is_closed():
    def states():
        yield from tg.steps(3)

    walk = states()
    assert next(walk) == 0
    walk.close()
    assert place() == ((), None)


def test_threads_have_places_of_their_own():
    seen = {}
    barrier = threading.Barrier(2)

    def work(name):
        with tg.scope(name):
            for t in tg.steps(20):
                barrier.wait(timeout=300)
                seen[name, t] = place()

    with tg.scope("main"):
        threads = [threading.Thread(target=work, args=(n,)) for n in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert place() == (("main",), None)
    assert seen == {(n, t): ((n,), t) for n in "ab" for t in range(20)}


def test_a_context_can_be_carried_to_a_thread():
    seen = []
    with tg.scope("main"):
        context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(lambda: seen.append(place()),))
    thread.start()
    thread.join()
    assert seen == [(("main",), None)]


def test_asyncio_tasks_have_places_of_their_own():
    async def work(name):
        with tg.scope(name), tg.timestep(len(name)):
            await asyncio.sleep(0)
            first = place()
            await asyncio.sleep(0)
            return first, place()

    async def main():
        with tg.scope("main"):
            return await asyncio.gather(work("a"), work("bb")), place()

    (a, b), outside = asyncio.run(main())
    assert a == ((("main", "a"), 1),) * 2
    assert b == ((("main", "bb"), 2),) * 2
    assert outside == (("main",), None)


# no_grad --------------------------------------------------------------------------------------------------------------


def test_no_grad_records_nothing():
    w = tg.parameter([1.0, 2.0])
    with tg.no_grad():
        y = tg.tanh(w * 2)[0] + 1
    assert (y.inputs, y.params, y.requires_grad, y.is_leaf) == ((), {}, False, True)
    assert tg.graph(y).nodes == (y,)
    np.testing.assert_array_equal(y, (tg.tanh(w * 2)[0] + 1).numpy())


def test_no_grad_ends_with_its_block_and_nests():
    w = tg.parameter([1.0])
    with tg.no_grad():
        with tg.no_grad():
            pass
        assert not (w * 2).inputs
    assert (w * 2).inputs


def test_derivatives_of_functions_are_found_under_no_grad_too():
    with tg.no_grad():
        assert tg.jvp(tg.square, [3.0], [1.0])[1].item() == 6
        assert tg.vjp(tg.square, 3.0)[1]()[0].item() == 6
        assert tg.value_and_grad(tg.square)(3.0)[1].item() == 6
        assert tg.jacobian(tg.square, 3.0).item() == 6
        assert tg.hessian(tg.square, 3.0).item() == 2
        assert tg.hvp(tg.square, 3.0, 1.0).item() == 2
        assert not (tg.ones(1) * 2).inputs


def test_steps_resumed_under_no_grad_do_not_record():
    w, walk = tg.parameter([1.0]), tg.steps(3)
    next(walk)
    with tg.no_grad():
        next(walk)
        y = w * 2
        assert (y.inputs, y.time) == ((), 1)
    assert (w * 2).inputs
    assert list(walk) == [2]
    with tg.no_grad():
        walk = tg.steps(3)
        next(walk)
    next(walk)
    assert (w * 2).inputs
    walk.close()


def test_no_grad_holds_in_generators_and_not_around_them():
    w = tg.parameter([1.0])

    @tg.no_grad()
    def doubled(count):
        """Twice as much."""
        given = None
        for _ in tg.steps(count):
            given = yield (w * 2, given)
        return "end"

    walk = doubled(3)
    for sent in (None, "a", "b"):
        y, given = walk.send(sent)
        assert (y.inputs, given) == ((), sent)
        assert (w * 2).inputs
        assert place() == ((), None)
    with pytest.raises(StopIteration, match="end"):
        next(walk)
    assert doubled.__doc__ == "Twice as much."


def test_errors_thrown_into_a_decorated_generator():
    w, seen = tg.parameter([1.0]), []

    @tg.no_grad()
    def catching():
        try:
            yield 1
        except KeyError:
            seen.append(bool((w * 2).inputs))
            yield 2
        finally:
            seen.append(bool((w * 2).inputs))

    walk = catching()
    next(walk)
    assert walk.throw(KeyError()) == 2
    walk.close()
    assert seen == [False, False]
    assert (w * 2).inputs


def test_no_grad_holds_in_coroutines():
    w = tg.parameter([1.0])

    @tg.no_grad()
    async def doubled():
        await asyncio.sleep(0)
        return w * 2

    async def main():
        task = asyncio.ensure_future(doubled())
        await asyncio.sleep(0)
        return w * 2, await task

    recorded, not_recorded = asyncio.run(main())
    assert recorded.inputs
    assert not not_recorded.inputs


def test_asynchronous_generators_are_refused():
    async def numbers():
        yield 1

    with pytest.raises(TypeError, match=r"cannot decorate .*numbers, an asynchronous generator"):
        tg.no_grad()(numbers)
