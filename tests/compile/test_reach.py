"""The verifier's view of what an instruction touches is right: bytes elsewhere neither matter nor change."""

from __future__ import annotations

import numba
import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.compile import mutated
from tests.compile.mutated_programs import OPERATIONS, Subject, subjects
from tinygrad_rnn.kernels.machine import machine

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="there are no kernels")


def forward(x, k):
    """What other programs have only with its gradient, of a transposed tensor too."""
    return tg.cross_entropy(x, k), tg.softmax(x.T, 0), tg.logsumexp(x.T, 0), x.min(0), tg.take(x, k, 0)[::-1]


SUBJECTS = subjects()
SUBJECTS["forward"] = Subject(tg.compile(forward).program(np.zeros((3, 4)), np.zeros(3, np.int64)).to_json())
KINDS = {
    "gemm", "gemm_add", "sum_last", "sum_rows", "max_rows", "min_rows", "gather", "scatter", "check_range",
    "check_finite", "cross_entropy", "cross_entropy_surplus", "softmax", "log_softmax",
    "logsumexp", "normalize", "one_hot", "copy", "cast", "norm", "tanh", "adam",
}  # fmt: skip


def touched(i, k, size):
    """The bytes of the arena that operand `k` of an instruction touches, by its table of dims and steps."""
    marks = np.zeros(size, bool)
    view = i.views[k]
    axes = [(n, strides[k]) for n, strides in i.loops] + [(i.dims[0], i.steps[k])]
    before = len(i.views) + sum(len(core) for core in i.cores[:k])
    axes += [(i.dims[d], i.steps[before + j]) for j, d in enumerate(i.cores[k])]
    offsets = np.array([view.offset + view.storage.offset])
    for n, s in axes:
        offsets = (offsets[:, None] + s * np.arange(n)).reshape(-1)
    if view.storage.slot == 0:
        marks[(offsets[:, None] + np.arange(view.dtype.itemsize)).reshape(-1)] = True
        assert i.reach(k) == ((0, -1) if not len(offsets) else _ends(offsets - view.storage.offset))
    return marks


def _ends(offsets):
    return int(offsets.min()), int(offsets.max())


def look_at(workspace, at, i):
    """Run one instruction with everything else spoilt, and again as it is."""
    arena, run = workspace.arena, machine()
    marks = [touched(i, k, len(arena)) for k in range(len(i.views))]
    reads = np.logical_or.reduce(marks) if marks else np.zeros(len(arena), bool)
    writes = np.logical_or.reduce([np.zeros(len(arena), bool), *marks[len(marks) - i.writes :]])
    before = arena.copy()
    arena[~reads] = 0xFF
    spoilt = arena.copy()
    assert run(*workspace.addresses, at, at + 1) == at + 1
    after = arena.copy()
    assert (after[~writes] == spoilt[~writes]).all(), f"{i.name} writes elsewhere"
    arena[:] = before
    if any(v.storage.slot for v in i.views[len(i.views) - i.writes :]):
        arena[writes] = after[writes]  # it has changed something of the user's, once
        return
    assert run(*workspace.addresses, at, at + 1) == at + 1
    assert (arena[writes] == after[writes]).all(), f"{i.name} reads elsewhere"


def loaded(subject, memory=None):
    subject.reset()
    return tg.Program.from_json(
        subject.text, subject.tensors, subject.optimizers, operations=OPERATIONS, memory=memory,
        generator=[np.random.default_rng(0) for _ in subject.generators],
    )  # fmt: skip


@pytest.mark.parametrize("name", SUBJECTS)
@pytest.mark.parametrize("memory", [None, "sqrt"])
def test_kernels_touch_what_is_verified(name, memory):
    subject, rng = SUBJECTS[name], np.random.default_rng(0)
    program = loaded(subject, memory)
    (workspace,) = program._runner.free
    workspace.stage([mutated._values(t.spec, rng) for t in program.recording.placeholders])
    workspace.refresh()
    for at, i in enumerate(program.instructions):
        if i.address:
            look_at(workspace, at, i)
        else:
            workspace._by_hand(i)
    assert subject.intact()


def test_every_kind_of_kernel_is_looked_at():
    assert KINDS - {name for subject in SUBJECTS.values() for name in loaded(subject).kernels} == set()


def test_a_kernel_that_touches_more_is_found():
    """An instruction whose steps say less than what its kernel is told."""
    program = loaded(SUBJECTS["forward"])
    (workspace,) = program._runner.free
    workspace.stage([np.ones((3, 4)), np.zeros(3, np.int64)])
    workspace.refresh()
    at, i = next((at, i) for at, i in enumerate(program.instructions) if i.name == "softmax")
    i.dims[1] -= 1
    with pytest.raises(AssertionError, match="elsewhere"):
        look_at(workspace, at, i)
