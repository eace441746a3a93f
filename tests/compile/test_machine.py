"""The machine runs its table as NumPy would, stops where it should, and is given no table that leaves its memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from math import prod
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.compile.emit import Emitter, Instruction
from tinygrad_rnn.compile.views import Storage, View
from tinygrad_rnn.kernels import indexing
from tinygrad_rnn.kernels.loops import address
from tinygrad_rnn.kernels.machine import HOST, SCRATCH, machine, profiler
from tinygrad_rnn.kernels.native import FAULT, POSITION, VALUE, environment
from tinygrad_rnn.ops.core import registry

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="the machine calls compiled loops by their addresses")

F32 = np.dtype(np.float32)
NODE = tg.tensor([1.0])


def add_kernel() -> int:
    return address(registry["add"].kernels[F32])


# A machine of our own -------------------------------------------------------------------------------------------------


class Table:
    """Instructions over arrays, and what the machine needs to run them."""

    def __init__(self) -> None:
        self.instructions: list[Instruction] = []
        self.arrays: list[np.ndarray] = []
        self.environment = environment()
        self.scratch = np.zeros(SCRATCH, np.int64)

    def view(self, array: np.ndarray) -> View:
        """An array, whose storage begins at its first entry: offsets from there may be negative."""
        self.arrays.append(array)
        return View(Storage(array.nbytes, slot=len(self.arrays) - 1), 0, array.shape, array.strides, array.dtype)

    def elementwise(self, kernel: int, *arrays: np.ndarray) -> None:
        """A kernel over the last axis; the others are the machine's."""
        views = [self.view(a) for a in arrays]
        shape, strides = arrays[-1].shape, [a.strides for a in arrays]
        axes = [(n, tuple(s[k] for s in strides)) for k, n in enumerate(shape)]
        count, steps = axes[-1] if axes else (1, (0,) * len(arrays))
        self.put("add", kernel, views, [count], list(steps), [()] * len(views), axes[:-1])

    def put(self, name: str, kernel: int, views: Any, dims: Any, steps: Any, cores: Any, loops: Any) -> None:
        self.instructions.append(Instruction(name, kernel, NODE, views, dims, steps, cores, loops, 1))

    def host(self) -> None:
        self.put("host", HOST, [], [], [], [], [])

    def check_range(self, index: np.ndarray, limit: int) -> None:
        kernel = indexing.check_range().address
        self.put("check_range", kernel, [self.view(index)], [len(index), limit, 0], [index.strides[0]], [()], [])

    def run(self, first: int = 0, last: int | None = None, times: np.ndarray | None = None) -> int:
        rows = [i.row() for i in self.instructions]
        starts = np.cumsum([0, *map(len, rows)], dtype=np.int64)
        code = np.array([n for row in rows for n in row], np.int64)
        bases = np.array([a.__array_interface__["data"][0] for a in self.arrays], np.int64)
        tables = (code, starts, bases, self.scratch, self.environment)
        arguments = [a.ctypes.data for a in tables]
        last = len(rows) if last is None else last
        if times is None:
            return machine()(*arguments, first, last)
        return profiler()(*arguments, first, last, times.ctypes.data)


# Repeats --------------------------------------------------------------------------------------------------------------


@st.composite
def operand(draw: st.DrawFn, shape: tuple[int, ...]) -> np.ndarray:
    """Normal numbers of a shape: transposed, reversed or broadcast."""
    own = tuple(n if draw(st.integers(0, 3)) else 1 for n in shape)
    order = draw(st.permutations(range(len(shape))))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    array = rng.normal(size=[own[k] for k in order]).astype(F32)
    array = array.transpose(np.argsort(order)) if order else array
    index: Any = (*(slice(None, None, draw(st.sampled_from([1, -1]))) for _ in shape), ...)
    array = array[index]
    return np.broadcast_to(array, shape)


@settings(max_examples=100)
@given(data=st.data())
def test_repeats_go_through_all_places(data):
    shape = tuple(data.draw(st.lists(st.integers(0, 3), max_size=6)))
    a, b = data.draw(operand(shape)), data.draw(operand(shape))
    out = np.full(shape, np.nan, F32)
    out = out.transpose(data.draw(st.permutations(range(len(shape)))))
    a, b = (np.broadcast_to(t, out.shape) if t.shape == out.shape else t.reshape(out.shape) for t in (a, b))
    table = Table()
    table.elementwise(add_kernel(), a, b, out)
    assert table.run() == 1
    assert np.array_equal(out, a + b)


@pytest.mark.parametrize("axes", range(1, 17))
def test_as_many_axes_as_the_machine_has_room_for(axes):
    rng = np.random.default_rng(0)
    shape = tuple(2 if k % 3 == 0 else 1 for k in range(axes + 1))
    a, b = rng.normal(size=shape).astype(F32), rng.normal(size=shape[1:]).astype(F32)
    out, times = np.zeros(shape, F32), np.zeros(1, np.int64)
    table = Table()
    table.elementwise(add_kernel(), a, np.broadcast_to(b, shape), out)
    assert len(table.instructions[0].loops) == axes
    assert table.run(times=times) == 1
    assert np.array_equal(out, a + b)


def test_operands_are_where_they_were_after_an_instruction():
    """Two runs of one table give the same, and write nothing beside the result."""
    a, room = np.arange(24, dtype=F32).reshape(2, 3, 4), np.full((4, 5, 6), np.nan, F32)
    out = room[1:3, 1:4, 1:5]
    table = Table()
    table.elementwise(add_kernel(), a[::-1, :, ::-1], a, out)
    for _ in range(2):
        assert table.run() == 1
        assert np.array_equal(out, a[::-1, :, ::-1] + a)
    assert np.isnan(room).sum() == room.size - out.size


def test_nothing_is_done_for_an_axis_of_no_entries():
    out = np.ones((2, 3), F32)
    table = Table()
    table.elementwise(add_kernel(), out, out, out)
    table.instructions[0].loops = [(0, (12, 12, 12))]
    assert table.run() == 1
    assert (out == 1).all()


# Stops ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profiled", [False, True])
def test_it_stops_at_python_and_says_where(profiled):
    a = np.ones(3, F32)
    outs = [np.zeros(3, F32) for _ in range(3)]
    table = Table()
    table.elementwise(add_kernel(), a, a, outs[0])
    table.host()
    table.elementwise(add_kernel(), a, a, outs[1])
    table.elementwise(add_kernel(), a, a, outs[2])
    times = np.zeros(4, np.int64) if profiled else None
    assert table.run(times=times) == 1
    assert [out.any() for out in outs] == [True, False, False]
    assert table.run(1, times=times) == 1
    assert table.run(2, 3, times=times) == 3
    assert [out.any() for out in outs] == [True, True, False]
    assert table.run(3, 3, times=times) == 3
    assert not outs[2].any()


@pytest.mark.parametrize("profiled", [False, True])
def test_it_stops_after_a_fault_and_says_where(profiled):
    a, out = np.ones(3, F32), np.zeros(3, F32)
    table = Table()
    table.check_range(np.array([0, 4]), 5)
    table.check_range(np.array([0, 3, 5, 7]), 5)
    table.elementwise(add_kernel(), a, a, out)
    times = np.zeros(3, np.int64) if profiled else None
    assert table.run(times=times) == 1
    assert table.environment[FAULT] != 0
    assert (table.environment[POSITION], table.environment[VALUE]) == (2, 5)
    assert not out.any()
    table.environment[FAULT] = 0
    assert table.run(2, times=times) == 3
    assert out.all()


def test_a_fault_in_the_last_instruction_is_no_end():
    table = Table()
    table.check_range(np.array([9]), 5)
    assert table.run() == 0


def test_a_profile_adds_up_times():
    a, out = np.ones(100_000, F32), np.zeros(100_000, F32)
    table = Table()
    table.elementwise(add_kernel(), a, a, out)
    table.host()
    table.elementwise(add_kernel(), a[:1], a[:1], out[:1])
    times = np.array([0, 7, 0], np.int64)
    assert table.run(times=times) == 1
    first = times.copy()
    assert first[0] > 0
    assert first[1] - 7 in range(1_000_000)
    assert first[2] == 0
    assert table.run(2, times=times) == 3
    for _ in range(5):
        table.run(times=times)
    assert times[0] > first[0]
    assert times[2] < times[0]


def test_an_empty_program_runs():
    assert tg.compile(lambda x: x)(np.ones(2, F32)).tolist() == [1.0, 1.0]
    table = Table()
    table.host()
    assert table.run(0, 0) == 0


def test_more_operands_than_the_machine_takes_are_left_to_python():
    names = ", ".join(f"a{k}" for k in range(20))
    scope: dict[str, Any] = {}
    exec(f"def total({names}): return {' + '.join(f'{k + 1} * a{k}' for k in range(20))}", scope)
    total = tg.elementwise(scope["total"])
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(3, 1, 5) if k % 2 else (1, 4, 5)).astype(F32) for k in range(20)]
    program = tg.compile(total).program(*arrays)
    assert all(len(i.views) <= 16 for i in program.instructions if i.address != HOST)
    np.testing.assert_allclose(program.run(arrays)[0], total(*arrays).numpy(), rtol=1e-5, atol=1e-4)


# The verifier ---------------------------------------------------------------------------------------------------------


@cache
def real_program() -> Any:
    """A training step with most kinds of kernels: products, rows, reductions, lookups, scatters, joins, an update."""
    rng = np.random.default_rng(0)
    table, w, v = (tg.parameter(rng.normal(size=s).astype(F32)) for s in ((4, 3), (3, 3), (3, 5)))
    optimizer = tg.optim.SGD([table, w, v], lr=0.1)

    def step(tokens: Any, targets: Any, xs: Any) -> Any:
        h, outputs = tg.zeros((2, 3)), []
        for t in range(3):
            h = tg.tanh(table[tokens][t] + h @ w + xs[:, t])
            outputs.append(h)
        y = tg.stack(outputs) @ v
        loss = tg.cross_entropy(y, targets) + tg.softmax(xs, 1).transpose(2, 1, 0).max((0, 2)).sum()
        loss.backward()
        optimizer.step()
        return loss, tg.concatenate([xs[:, ::-1], xs * 2], 1) + xs.sum(0)[:1]

    tokens, targets = rng.integers(0, 4, (3, 2)), rng.integers(0, 5, (3, 2))
    return tg.compile(step).program(tokens, targets, rng.normal(size=(2, 3, 3)).astype(F32))


@dataclass
class Tampered:
    """A program in which one instruction is another for the time being."""

    program: Any
    at: int
    instruction: Instruction

    def __enter__(self) -> None:
        self.before = self.program.instructions[self.at]
        self.program.instructions[self.at] = self.instruction

    def __exit__(self, *_: Any) -> None:
        self.program.instructions[self.at] = self.before


def touched(i: Instruction, k: int) -> list[int]:
    """The offsets of all entries of operand `k` that the kernel is told to touch, one by one."""
    own = i.steps[len(i.views) + sum(len(c) for c in i.cores[:k]) :][: len(i.cores[k])]
    axes = [(count, strides[k]) for count, strides in i.loops]
    axes += [(i.dims[0], i.steps[k]), *zip([i.dims[d] for d in i.cores[k]], own, strict=True)]
    offsets = np.array([i.views[k].offset])
    for count, stride in axes:
        offsets = (offsets[:, None] + np.arange(count) * stride).reshape(-1)
    return [offsets.min(), offsets.max()] if offsets.size else []


def leaves(i: Instruction) -> bool:
    """Whether an instruction touches what lies outside the storage of an operand."""
    for k, view in enumerate(i.views):
        offsets = touched(i, k)
        if offsets and (offsets[0] < 0 or offsets[1] + view.dtype.itemsize > view.storage.nbytes):
            return True
    return False


def refused(program: Any) -> bool:
    try:
        program._verify()
    except AssertionError:
        return True
    return False


def changed(values: Any, place: int, value: Any) -> Any:
    copy = list(values)
    copy[place] = value
    return copy


@st.composite
def tamperings(draw: st.DrawFn) -> tuple[int, Instruction]:
    """One number of one instruction is another one."""
    program = real_program()
    at = draw(st.sampled_from([k for k, i in enumerate(program.instructions) if i.address != HOST]))
    i = program.instructions[at]
    kind = draw(st.sampled_from(["dims", "steps", "offset", *(["count", "stride"] if i.loops else [])]))
    by = draw(st.sampled_from([-8, -4, -1, 1, 4, 8, 12, 1000, -1000]))
    if kind == "dims":
        place = draw(st.integers(0, len(i.dims) - 1))
        return at, replace(i, dims=changed(i.dims, place, max(i.dims[place] + by, 0)))
    if kind == "steps":
        place = draw(st.integers(0, len(i.steps) - 1))
        return at, replace(i, steps=changed(i.steps, place, i.steps[place] + by))
    if kind == "offset":
        place = draw(st.integers(0, len(i.views) - 1))
        view = i.views[place]
        return at, replace(i, views=changed(i.views, place, replace(view, offset=view.offset + by)))
    loop = draw(st.integers(0, len(i.loops) - 1))
    count, strides = i.loops[loop]
    if kind == "count":
        return at, replace(i, loops=changed(i.loops, loop, (max(count + by, 0), strides)))
    place = draw(st.integers(0, len(strides) - 1))
    new = tuple(changed(strides, place, strides[place] + by))
    return at, replace(i, loops=changed(i.loops, loop, (count, new)))


def test_a_real_program_is_accepted():
    program = real_program()
    assert not refused(program)
    assert not any(leaves(i) for i in program.instructions if i.address != HOST)
    assert {"gemm", "gemm_add", "copy"} <= set(program.kernels)
    assert any(i.loops for i in program.instructions)


@settings(max_examples=300)
@given(tampering=tamperings())
def test_what_leaves_its_storage_is_refused(tampering):
    at, instruction = tampering
    program = real_program()
    assume(prod(instruction.dims) * prod(count for count, _ in instruction.loops) < 10**6)
    with Tampered(program, at, instruction):
        assert refused(program) == leaves(instruction)
    assert not refused(program)


def test_every_operand_of_every_instruction_is_looked_at():
    program = real_program()
    for at, i in enumerate(program.instructions):
        for k, view in enumerate(i.views if i.address != HOST else ()):
            if touched(i, k):
                for offset in (-view.storage.nbytes - 8, view.storage.nbytes):
                    moved = replace(i, views=changed(i.views, k, replace(view, offset=offset)))
                    with Tampered(program, at, moved):
                        assert refused(program), f"operand {k} of {i.name} at {offset}"


@pytest.mark.parametrize("offset", [-64, 1 << 40])
def test_storages_outside_the_arena_are_refused(offset):
    program = real_program()
    storage = next(s for s in program._storages if s.first <= s.last)
    before, storage.offset = storage.offset, offset
    try:
        assert refused(program)
    finally:
        storage.offset = before
    assert not refused(program)


@pytest.mark.parametrize("part", ["operands", "loops"])
def test_more_than_the_machine_has_room_for_is_refused(part):
    program = real_program()
    at, i = next((k, i) for k, i in enumerate(program.instructions) if i.address != HOST and i.views)
    if part == "loops":
        other = replace(i, loops=[(1, (0,) * len(i.views))] * 17)
    else:
        views = [i.views[0]] * 17
        other = replace(i, views=views, dims=[0], steps=[0] * 17, cores=[()] * 17, loops=[])
    with Tampered(program, at, other):
        assert refused(program)


# Emitting -------------------------------------------------------------------------------------------------------------


def test_an_emitter_writes_one_row_for_each_instruction():
    emitter = Emitter()
    a, b, out = (emitter.room((2, 3), F32) for _ in range(3))
    emitter.elementwise(NODE, "add", 123, [replace(a, strides=(0, 4)), b, out])
    (i,) = emitter.instructions
    assert (i.dims, i.steps, i.loops, i.flops) == ([3], [4, 4, 4], [(2, (0, 12, 12))], 6)
    assert i.row() == [123, 3, 1, 1, 3, 0, 0, 0, 0, 0, 0, 3, 4, 4, 4, 2, 0, 12, 12]
    assert [(v.storage.first, v.storage.last) for v in (a, b, out)] == [(0, 0)] * 3
