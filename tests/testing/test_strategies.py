"""The strategies: what they draw is valid, what they promise comes up, what they shrink to, what they refuse."""

from __future__ import annotations

import collections
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.testing import strategies as ts
from tinygrad_rnn.testing.strategies import models
from tinygrad_rnn.testing.strategies.arrays import _LAYOUTS

TINY = np.finfo(np.float32).tiny


def drawn(strategy, count=200):
    """Values that a strategy draws, always the same ones."""
    values = []

    @settings(max_examples=count, derandomize=True, database=None, deadline=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(strategy)
    def draw(value):
        values.append(value)

    draw()
    return values


def minimal(strategy, condition=lambda value: True):
    options = {"max_examples": 2000, "database": None, "derandomize": True, "report_multiple_bugs": False}
    return find(strategy, condition, settings=settings(phases=[Phase.generate, Phase.shrink], **options))


def shares(values, key):
    """How often each key comes, as a part of all."""
    return {k: n / len(values) for k, n in collections.Counter(map(key, values)).items()}


# All of them ----------------------------------------------------------------------------------------------------------

CALLS = {  # by name, with the arguments that it cannot do without
    "arrays": {}, "broadcastable_shapes": {}, "cells": {}, "dtypes": {}, "graphs": {}, "modules": {"in_features": 2},
    "one_hot_batches": {"classes": 3}, "optimizers": {}, "recurrent_models": {}, "sequences": {}, "shapes": {},
    "tensors": {},
    "token_batches": {"classes": 3}, "trees": {},
}  # fmt: skip


def test_all_strategies_are_here():
    assert set(CALLS) == {name for name in ts.__all__ if name[0].islower()}


@pytest.mark.parametrize("name", CALLS)
def test_arguments_are_keyword_only_and_documented(name):
    function = getattr(ts, name)
    assert function.__code__.co_argcount == 0
    assert isinstance(function(**CALLS[name]), st.SearchStrategy)
    doc = function.__doc__
    for part in ("Parameters", "Raises", "Notes", "Shrinks to", "Examples", ">>> "):
        assert part in doc, part
    for argument in function.__kwdefaults__ or {}:
        assert argument in doc, argument


def test_importing_the_package_does_not_import_hypothesis():
    code = "import sys, tinygrad_rnn; sys.exit('hypothesis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


REFUSED = [  # call, message
    (lambda: ts.dtypes(kinds="c"), "dtypes: kinds\n  expected: letters out of 'fiub'"),
    (lambda: ts.dtypes(kinds=""), "dtypes: kinds"),
    (lambda: ts.dtypes(kinds="b", sizes=[64]), r"sizes of bool \(8 bits\)\n  got:      sizes=\[64\]"),
    (lambda: ts.shapes(min_dims=3, max_dims=2), "min_dims at most max_dims\n  got:      min_dims=3, max_dims=2"),
    (lambda: ts.shapes(min_side=-1), "shapes: min_side\n  expected: at least 0\n  got:      -1"),
    (lambda: ts.shapes(max_side=2.5), "shapes: max_side\n  expected: an integer"),
    (lambda: ts.shapes(max_dims=40), "at most 32"),
    (lambda: ts.shapes(max_size=0), "shapes: max_size"),
    (lambda: ts.shapes(min_dims=3, min_side=2, max_size=7), "no shape is small enough\n  expected: at least 8"),
    (lambda: ts.broadcastable_shapes(signature="(m"), "broadcastable_shapes: .*\n  expected: a signature such as"),
    (lambda: ts.broadcastable_shapes(signature="(m)->(n)"), "broadcastable_shapes: .*only appears in the output"),
    (lambda: ts.broadcastable_shapes(min_side=5), "min_side at most max_side"),
    (lambda: ts.broadcastable_shapes(max_dims=-1), "max_dims"),
    (lambda: ts.arrays(dtype="spam"), "arrays: dtype\n  expected: a dtype\n  got:      'spam'"),
    (lambda: ts.arrays(dtype=np.complex128), "one of float32, float64, signed integers.*\n  got:      complex128"),
    (lambda: ts.arrays(dtype=np.float16), "got:      float16"),
    (lambda: ts.arrays(dtype=">f8"), "got:      >f8"),
    (lambda: ts.arrays(shape=(2, -1)), "arrays: a side of the shape\n  expected: at least 0"),
    (lambda: ts.arrays(shape="ab"), "arrays: a side of the shape\n  expected: an integer"),
    (lambda: ts.arrays(low=1, high=0), "low at most high\n  got:      low=1.0, high=0.0"),
    (lambda: ts.arrays(low=float("nan")), "arrays: low\n  expected: a finite number"),
    (lambda: ts.arrays(high=float("inf")), "arrays: high\n  expected: a finite number"),
    (lambda: ts.arrays(low="0"), "arrays: low"),
    (lambda: ts.arrays(low=1e-40), "subnormal numbers are not drawn"),
    (lambda: ts.arrays(gap=0), "arrays: gap\n  expected: a positive number"),
    (lambda: ts.arrays(away_from=None), "arrays: away_from"),
    (lambda: ts.arrays(low=-0.1, high=0.1, away_from=0, gap=0.5), "no float64 is within the limits.*\n.*\n.*0.5 away"),
    (lambda: ts.arrays(dtype=np.int64, low=0.1, high=0.9), "no int64 is within the limits"),
    (lambda: ts.arrays(ties="no"), "arrays: ties\n  expected: one of True, False, None"),
    (lambda: ts.arrays(shape=(50, 50), ties=False), "too many entries to keep 0.05 from each other\n.*at most 97"),
    (lambda: ts.arrays(dtype=bool, shape=3, ties=False), "too many entries"),
    (lambda: ts.arrays(layouts="diagonal"), "arrays: layouts\n  expected: one or more of 'contiguous'"),
    (lambda: ts.arrays(layouts=()), "arrays: layouts"),
    (lambda: ts.arrays(layouts=["broadcast"], ties=False), "a broadcast view has equal entries"),
    (lambda: ts.tensors(names="x"), "tensors: names"),
    (lambda: ts.tensors(requires_grad=1), "tensors: requires_grad\n  expected: one of True, False, None"),
    (lambda: ts.tensors(dtype=int, requires_grad=True), "requires_grad=True needs floats"),
    (lambda: ts.tensors(low=2, high=1), "^tensors: "),
    (lambda: ts.sequences(features=-1), "sequences: features"),
    (lambda: ts.sequences(min_steps=3, max_steps=2), "sequences: .*steps"),
    (lambda: ts.sequences(max_batch=0), "sequences: .*batch"),
    (lambda: ts.sequences(min_length=2), "min_length at most min_steps\n  got:      min_length=2, min_steps=1"),
    (lambda: ts.sequences(dtype=int), "sequences: dtype\n  expected: one of float32, float64"),
    (lambda: ts.sequences(padding="0"), "sequences: padding"),
    (lambda: ts.sequences(batch_first=None), "sequences: batch_first"),
    (lambda: ts.sequences(low=0, high=0, away_from=0), "no float64 is within the limits"),
    (lambda: ts.token_batches(classes=0), "token_batches: classes\n  expected: at least 1"),
    (lambda: ts.token_batches(classes=3, dtype=float), "token_batches: dtype"),
    (lambda: ts.token_batches(classes=300, dtype=np.uint8), "integers that hold all classes.*\n.*uint8 for 300"),
    (lambda: ts.one_hot_batches(classes=2.0), "one_hot_batches: classes"),
    (lambda: ts.one_hot_batches(classes=2, dtype=complex), "one_hot_batches: dtype"),
    (lambda: ts.trees(min_leaves=0), "trees: min_leaves\n  expected: at least 1"),
    (lambda: ts.trees(max_leaves=1000), "at most 200"),
    (lambda: ts.trees(vocabulary=0), "trees: vocabulary"),
    (lambda: ts.trees(binary=2), "trees: binary"),
    (lambda: ts.trees(binary=False, max_children=1), "trees: max_children"),
    (lambda: ts.cells(kinds="tree"), "cells: kinds\n  expected: one or more of 'rnn'.*\n  got:      'tree'"),
    (lambda: ts.cells(max_hidden=0), "cells: max_hidden"),
    (lambda: ts.cells(input_size=0), "cells: input_size"),
    (lambda: ts.cells(dtype=int), "cells: dtype"),
    (lambda: ts.cells(smooth=None), "cells: smooth"),
    (lambda: ts.modules(in_features=0), "modules: in_features"),
    (lambda: ts.modules(in_features=1, kinds=["conv"]), "modules: kinds"),
    (lambda: ts.modules(in_features=1, max_layers=0), "modules: max_layers"),
    (lambda: ts.optimizers(kinds="lion"), "optimizers: kinds"),
    (lambda: ts.optimizers(schedules=None), "optimizers: schedules"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), REFUSED, ids=[str(k) for k in range(len(REFUSED))])
def test_bad_arguments_are_refused_at_once(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_what_strategies_of_arguments_draw_is_checked_when_it_is_drawn():
    with pytest.raises(ValueError, match="too many entries"):
        minimal(ts.arrays(shape=ts.shapes(min_dims=3, max_dims=3, min_side=5), ties=False))
    with pytest.raises(ValueError, match="arrays: dtype"):
        minimal(ts.arrays(dtype=st.just(np.float16)))
    with pytest.raises(ValueError, match="requires_grad=True needs floats"):
        minimal(ts.tensors(dtype=ts.dtypes(kinds="i"), requires_grad=True))


# Dtypes and shapes ----------------------------------------------------------------------------------------------------


def test_dtypes():
    assert set(drawn(ts.dtypes())) == {np.dtype(np.float64), np.dtype(np.float32)}
    assert {d.name for d in drawn(ts.dtypes(kinds="bufi"))} == {"bool", "uint8", "float64", "float32", "int64", "int32"}
    assert {d.name for d in drawn(ts.dtypes(kinds="fi", sizes=[32]))} == {"float32", "int32"}
    assert minimal(ts.dtypes()) == np.float64
    assert minimal(ts.dtypes(kinds="bf")) == np.bool_


@given(limits=st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)), data=st.data())
def test_shapes_are_within_their_limits(limits, data):
    dims, more_dims, side, more = limits
    shape = data.draw(ts.shapes(min_dims=dims, max_dims=dims + more_dims, min_side=side, max_side=side + more))
    assert dims <= len(shape) <= dims + more_dims
    assert all(type(n) is int and side <= n <= side + more for n in shape)


@given(shape=ts.shapes(max_side=9, max_size=12), other=ts.shapes(min_side=2, max_dims=9, max_size=15))
def test_shapes_are_small_enough(shape, other):
    assert np.prod(shape) <= 12
    assert np.prod(other) <= 15
    assert all(n >= 2 for n in other)


def test_all_kinds_of_shapes_come_up_and_empty_ones_are_few():
    found = drawn(ts.arrays(), 500)
    sizes = shares(found, lambda a: min(a.size, 2))
    assert 0.02 < sizes[0] < 0.3
    assert sizes[1] > 0.03
    assert all(share > 0.05 for share in shares(found, lambda a: a.ndim).values())
    assert {a.ndim for a in found} == {0, 1, 2, 3, 4}
    for condition in (lambda s: s == (0, 0), lambda s: 0 in s and 5 in s, lambda s: s == (5, 5), lambda s: 1 in s):
        minimal(ts.shapes(), condition)


def test_what_shapes_shrink_to():
    assert minimal(ts.shapes()) == ()
    assert minimal(ts.shapes(min_dims=2)) == (1, 1)
    assert minimal(ts.shapes(min_dims=1, min_side=3)) == (3,)
    assert minimal(ts.shapes(), lambda s: 0 in s) == (0,)
    assert minimal(ts.shapes(), lambda s: len(s) == 3 and 4 in s) == (1, 1, 4)
    assert minimal(ts.shapes(max_side=0, min_dims=1)) == (0,)


SIGNATURES = {
    "(m,n),(n,p)->(m,p)": np.matmul,
    "(m?,n),(n,p?)->(m?,p?)": np.matmul,
    "(),()->()": np.add,
    "(i)->()": lambda x: x.sum(-1),
    "(i),(i)->()": np.vecdot if hasattr(np, "vecdot") else lambda a, b: (a * b).sum(-1),
}


@pytest.mark.parametrize("signature", SIGNATURES)
def test_broadcastable_shapes_are_those_of_numpy(signature):
    @given(ts.broadcastable_shapes(signature=signature))
    def check(shapes):
        result = SIGNATURES[signature](*map(np.zeros, shapes.input_shapes))
        assert result.shape == shapes.result_shape
        assert all(n <= 4 for shape in shapes.input_shapes for n in shape)

    check()


def test_broadcasting_and_empty_shapes_come_up():
    found = drawn(ts.broadcastable_shapes(), 400)
    assert 0.02 < shares(found, lambda s: 0 in s.result_shape)[True] < 0.4
    loops = [tuple(shape[:-2] for shape in s.input_shapes) for s in found]
    for condition in (
        lambda a, b: a == b == (),
        lambda a, b: len(a) != len(b),
        lambda a, b: len(a) == len(b) and a != b,
        lambda a, b: a == b and len(a) == 2,
        lambda a, b: () in (a, b) and a != b,
    ):
        assert any(condition(a, b) for a, b in loops)
    assert all(0 not in s.result_shape for s in drawn(ts.broadcastable_shapes(min_side=1)))


def test_what_broadcastable_shapes_shrink_to():
    assert minimal(ts.broadcastable_shapes()).input_shapes == ((1, 1), (1, 1))
    assert minimal(ts.broadcastable_shapes(signature="(),()->()")).input_shapes == ((), ())
    assert minimal(ts.broadcastable_shapes(min_side=2)).result_shape == (2, 2)
    assert minimal(ts.broadcastable_shapes(max_side=0)).result_shape == (0, 0)


# Arrays ---------------------------------------------------------------------------------------------------------------


@st.composite
def limits(draw):
    """Limits and points to avoid that leave some room."""
    low = draw(st.sampled_from([-1e30, -1000.3, -3, -0.37, 0, 1e-37, 0.1, 5]))
    high = min(low + draw(st.sampled_from([1e-3, 0.2, 1.0, 6.7, 1e4, 1e25])) * max(abs(low), 1e-3), 1e38)
    middle = (low + high) / 2
    points = draw(st.sampled_from([(), (0,), (0.0, middle), (low, high)]))
    return {"low": low, "high": high, "away_from": points, "gap": (high - low) / draw(st.sampled_from([5.5, 40, 3e3]))}


@given(options=limits(), dtype=ts.dtypes(), ties=st.sampled_from([None, True, False]), data=st.data())
def test_entries_are_finite_within_the_limits_and_away_from_the_points(options, dtype, ties, data):
    shape = None if ties is False else ts.shapes(max_size=4)  # by default as large as has room
    a = data.draw(ts.arrays(dtype=dtype, shape=shape, ties=ties, **options))
    assert a.dtype == dtype
    assert np.isfinite(a).all()
    assert not ((a != 0) & (np.abs(a) < TINY)).any()
    assert not np.signbit(a[a == 0]).any()
    values = a.astype(np.float64).ravel()
    assert ((values >= options["low"]) & (values <= options["high"])).all()
    for point in options["away_from"]:
        assert (np.abs(values - point) >= options["gap"]).all()
    if ties is False:
        assert (np.diff(np.sort(values)) >= options["gap"]).all()
    if ties and a.size > 1:
        assert len(np.unique(a)) < a.size


@given(dtype=ts.dtypes(kinds="iub"), ties=st.sampled_from([None, True, False]), data=st.data())
def test_integers_and_bool(dtype, ties, data):
    a = data.draw(ts.arrays(dtype=dtype, ties=ties, low=-5, high=40.5, away_from=0))
    assert a.dtype == dtype
    if dtype.kind != "b":
        assert ((a.astype(int) >= -5) & (a.astype(int) <= 40) & (a != 0)).all()
    if ties is False:
        assert len(np.unique(a)) == a.size


def test_integers_of_large_ranges():
    for dtype in (np.int8, np.uint16, np.int64, np.uint64):
        found = np.concatenate(drawn(ts.arrays(dtype=dtype, shape=300, low=-1e30, high=1e30), 20))
        assert found.dtype == dtype
        assert len(np.unique(found)) > 30
        info = np.iinfo(dtype)
        assert found.min() == max(info.min, -(2**53))
        assert found.max() == min(info.max, 2**53)


@given(sizes=st.tuples(st.integers(0, 50), st.integers(0, 50)), data=st.data())
def test_large_arrays(sizes, data):
    a = data.draw(ts.arrays(shape=sizes))
    assert a.shape == sizes
    b = data.draw(ts.arrays(shape=sizes, ties=False, gap=1e-3))
    assert len(np.unique(b)) == b.size


def test_round_numbers_limits_and_others_come_up():
    found = drawn(ts.arrays(shape=12), 200)
    entries = np.concatenate(found)
    for value in (0, 1, -1, 2, -2, 0.5, 3, -3):
        assert 0.004 < (entries == value).mean() < 0.3, value
    assert len(np.unique(entries)) > 500
    assert (entries < 0).mean() == pytest.approx(0.5, abs=0.15)
    rounded = shares(found, lambda a: bool(a.sum() != a[::-1].sum()))
    assert rounded[True] > 0.1, "sums are exact, so that no order of summation is noticed"
    assert shares(found, lambda a: len(np.unique(a)) < a.size)[True] > 0.3
    assert any((a == 0).all() for a in [*found, minimal(ts.arrays(shape=12))])


def test_what_arrays_shrink_to():
    a = minimal(ts.arrays())
    assert (a.shape, a.dtype, a.item()) == ((), np.float64, 0.0)
    assert minimal(ts.arrays(shape=3)).tolist() == [0, 0, 0]
    assert minimal(ts.arrays(shape=3), lambda a: a[1] > 1.2).tolist() == [0, 2, 0]
    assert minimal(ts.arrays(shape=2), lambda a: a[0] < 0).tolist() == [-1, 0]
    assert minimal(ts.arrays(shape=2, away_from=0)).tolist() == [1, 1]
    assert minimal(ts.arrays(shape=2, low=0.1, high=0.9)).tolist() == [0.5, 0.5]
    assert minimal(ts.arrays(shape=4, ties=False)).tolist() == [0, 1, -1, 2]
    assert minimal(ts.arrays(shape=ts.shapes(min_dims=2)), lambda a: (a > 1).any()).tolist() == [[2]]
    assert minimal(ts.arrays(dtype=np.int32, shape=2, low=-9, high=9), lambda a: a[1] > 6).tolist() == [0, 7]
    assert minimal(ts.arrays(shape=(30, 30)), lambda a: a[0, 0] > 1).sum() == 4, "509 entries, of which it has two"
    assert minimal(ts.arrays(shape=()), lambda a: a != np.rint(a)) in (0.5, 0.25)


def test_an_array_without_entries_is_not_simpler_than_one_with():
    assert minimal(ts.arrays(), lambda a: a.ndim == 2).shape == (1, 1)
    assert minimal(ts.arrays(), lambda a: not a.size).shape == (0,)


def test_the_gap_is_kept_where_nothing_round_is():
    found = drawn(ts.arrays(shape=1, low=0.6, high=0.9, gap=0.5, ties=False), 5)
    assert all(0.6 <= a[0] <= 0.9 for a in found)
    ends = drawn(ts.arrays(shape=3, low=0, high=1, away_from=0.5, gap=0.5), 30)
    assert {v for a in ends for v in a.tolist()} == {0, 1}


# Layouts and tensors --------------------------------------------------------------------------------------------------


def layout_of(a):
    if a.size < 2 or not a.ndim:
        return "small"
    if 0 in a.strides:
        return "broadcast"
    if min(a.strides) < 0:
        return "reversed"
    if a.flags.c_contiguous:
        return "contiguous" if a.base is None or a.base.size == a.size else "offset"
    steps = [s for s, n in zip(a.strides, a.shape, strict=True) if n > 1]
    return "transposed" if sorted(steps, reverse=True) != steps else "strided or offset"


def test_all_layouts_come_up():
    found = drawn(ts.arrays(layouts=True, shape=ts.shapes(min_dims=1, min_side=2)), 400)
    some = shares(found, layout_of)
    for name in ("contiguous", "transposed", "reversed", "broadcast", "strided or offset"):
        assert some[name] > 0.05, (name, some)
    for condition in (
        lambda a: a.ndim == 1 and a.strides[0] == 16,
        lambda a: a.ndim == 1 and a.strides[0] == -8,
        lambda a: a.ndim == 2 and a.flags.f_contiguous and not a.flags.c_contiguous,
        lambda a: a.ndim == 2 and a.strides[-1] == 8 and not a.flags.c_contiguous,
        lambda a: a.ndim == 3 and a.strides.count(0) == 1,
        lambda a: layout_of(a) == "offset",
    ):
        assert any(condition(a) for a in found)


@pytest.mark.parametrize("name", _LAYOUTS)
@given(data=st.data())
def test_a_layout_changes_no_value(name, data):
    options = {"shape": ts.shapes(max_side=3), "dtype": ts.dtypes(kinds="fiub")}
    plain = data.draw(ts.arrays(**options))
    view = _LAYOUTS[name](data.draw, plain.copy())
    assert (view.shape, view.dtype) == (plain.shape, plain.dtype)
    if name != "broadcast":
        np.testing.assert_array_equal(view, plain)
    else:
        assert set(view.ravel().tolist()) <= set(plain.ravel().tolist())


def test_what_surrounds_a_view_is_not_a_number():
    a = minimal(ts.arrays(shape=3, layouts="strided"), lambda a: not a.flags.c_contiguous)
    assert np.isnan(a.base).sum() == 3


def test_layouts_shrink_to_contiguous_and_keep_the_gap():
    assert minimal(ts.arrays(layouts=True, shape=(2, 2))).flags.c_contiguous
    for a in drawn(ts.arrays(layouts=True, ties=False, shape=(2, 3)), 60):
        assert len(np.unique(a)) == 6


def test_tensors_are_leaves_of_every_kind():
    found = drawn(ts.tensors(dtype=ts.dtypes(kinds="fib"), requires_grad=None), 400)
    assert all(isinstance(t, tg.Tensor) and t.is_leaf for t in found)
    assert {t.name for t in found} >= {None, "x", "h"}
    assert {t.dtype.name for t in found} == {"float32", "float64", "int64", "int32", "bool"}
    assert {t.size for t in found} >= {0, 1}
    kinds = shares(found, lambda t: (t.requires_grad, t.dtype.kind == "f"))
    assert kinds[True, True] > 0.05
    assert (True, False) not in kinds
    assert shares(found, lambda t: t.data.flags.c_contiguous)[False] > 0.15
    assert all(t.name is None and t.data.flags.c_contiguous for t in drawn(ts.tensors(names=False, layouts=False), 50))


def test_parameters_can_be_trained():
    found = drawn(ts.tensors(requires_grad=True), 100)
    assert all(t.requires_grad and t.data.flags.writeable for t in found)
    assert any(not t.data.flags.c_contiguous for t in found)
    p = minimal(ts.tensors(requires_grad=True, shape=2))
    (p * p).sum().backward()
    tg.optim.SGD([p], lr=0.1).step()


@given(ts.tensors(dtype=ts.dtypes(kinds="fi")))
def test_operations_take_tensors_of_every_layout(t):
    a = t.numpy()
    np.testing.assert_array_equal((t + t).numpy(), a + a)
    np.testing.assert_allclose(t.sum().numpy(), a.sum(), rtol=1e-5, atol=1e-5)


def test_what_tensors_shrink_to():
    t = minimal(ts.tensors(requires_grad=None))
    assert (t.shape, t.dtype, t.item(), t.name, t.requires_grad) == ((), np.float64, 0.0, None, False)
    assert minimal(ts.tensors(shape=(2, 2)), lambda t: t.sum() > 1).data.flags.c_contiguous


# Sequences ------------------------------------------------------------------------------------------------------------


@given(batch=ts.sequences(dtype=ts.dtypes(), min_batch=0, min_steps=0))
def test_sequences_are_consistent(batch):
    n, time, features = batch.xs.shape
    assert n <= 4
    assert time <= 6
    assert 1 <= features <= 3
    assert (batch.lengths.shape, batch.lengths.dtype) == ((n,), np.int64)
    assert (batch.mask.shape, batch.mask.dtype) == ((n, time), bool)
    assert ((batch.lengths >= 0) & (batch.lengths <= time)).all()
    np.testing.assert_array_equal(batch.mask.sum(1), batch.lengths)
    assert (np.diff(batch.mask.astype(int), axis=1) <= 0).all()


@given(batch=ts.sequences(features=st.sampled_from([2, 5]), batch_first=False, padding=7.5, min_length=1))
def test_options_of_sequences(batch):
    time, n, features = batch.xs.shape
    assert features in (2, 5)
    assert batch.mask.shape == (time, n)
    assert (batch.lengths >= 1).all()
    assert (batch.xs[~batch.mask] == 7.5).all()
    assert (batch.xs[batch.mask] <= 3).all()


def test_all_lengths_come_up():
    found = drawn(ts.sequences(), 300)
    assert shares(found, lambda b: 0 in b.lengths)[True] > 0.2
    assert shares(found, lambda b: b.xs.shape[1] in b.lengths)[True] > 0.2
    assert any(len(set(b.lengths)) > 2 for b in found)
    assert {b.xs.shape[0] for b in found} == {1, 2, 3, 4}
    assert {b.xs.shape[1] for b in found} == {1, 2, 3, 4, 5, 6}
    assert any(b.xs[~b.mask].any() for b in found), "what comes after the end is always zero"


def test_what_sequences_shrink_to():
    xs, lengths, mask = minimal(ts.sequences())
    assert (xs.tolist(), lengths.tolist(), mask.tolist()) == ([[[0]]], [1], [[True]])
    batch = minimal(ts.sequences(), lambda b: b.xs.shape[1] > 2 and 1 in b.lengths)
    assert (batch.xs.shape, batch.lengths.tolist()) == ((1, 3, 1), [1])


@given(tokens=ts.token_batches(classes=7), labels=ts.token_batches(classes=4, max_steps=None, min_batch=0))
def test_tokens_are_classes(tokens, labels):
    assert tokens.dtype in (np.int64, np.int32)
    assert tokens.ndim == 2
    assert ((tokens >= 0) & (tokens < 7)).all()
    assert labels.ndim == 1
    assert ((labels >= 0) & (labels < 4)).all()


def test_all_tokens_come_up_and_shrink():
    found = drawn(ts.token_batches(classes=7))
    assert {int(v) for batch in found for v in batch.ravel()} == set(range(7))
    assert {d.name for d in map(np.asarray, found) for d in [d.dtype]} == {"int64", "int32"}
    many = np.concatenate([batch.ravel() for batch in drawn(ts.token_batches(classes=10_000))])
    assert len(np.unique(many)) > 300
    assert many.max() == 9999
    smallest = minimal(ts.token_batches(classes=7))
    assert (smallest.tolist(), smallest.dtype) == ([[0]], np.int64)
    assert minimal(ts.token_batches(classes=7), lambda t: t.shape[1] > 1 and 5 in t).tolist() in ([[0, 5]], [[5, 0]])


@given(
    batch=ts.one_hot_batches(classes=3, dtype=ts.dtypes(kinds="fib")),
    steps=ts.one_hot_batches(classes=2, max_steps=3),
)
def test_one_hot_batches_have_one_one(batch, steps):
    assert batch.shape[1:] == (3,)
    assert steps.ndim == 3
    for one_hot in (batch.astype(int), steps):
        assert (one_hot.sum(-1) == 1).all()
        assert set(np.unique(one_hot)) <= {0, 1}


def test_what_one_hot_batches_shrink_to():
    assert minimal(ts.one_hot_batches(classes=3)).tolist() == [[1, 0, 0]]
    assert len({tuple(row) for b in drawn(ts.one_hot_batches(classes=3), 50) for row in b.tolist()}) == 3


# Trees ----------------------------------------------------------------------------------------------------------------


def leaves(tree):
    return [leaf for child in tree for leaf in leaves(child)] if isinstance(tree, tuple) else [tree]


def nodes(tree):
    return [tree, *(node for child in tree for node in nodes(child))] if isinstance(tree, tuple) else []


def structure(tree):
    return tuple(map(structure, tree)) if isinstance(tree, tuple) else 0


@given(binary=ts.trees(min_leaves=2), other=ts.trees(binary=False, max_leaves=9, vocabulary=3, max_children=3))
def test_trees_are_trees(binary, other):
    assert 2 <= len(leaves(binary)) <= 6
    assert set(leaves(binary)) <= set(range(5))
    assert all(len(node) == 2 for node in nodes(binary))
    assert 1 <= len(leaves(other)) <= 9
    assert set(leaves(other)) <= set(range(3))
    assert all(1 <= len(node) <= 3 for node in nodes(other))
    assert not any(len(node) == 1 and isinstance(node[0], tuple) and len(node[0]) == 1 for node in nodes(other))


def test_every_tree_comes_up():
    assert len({structure(t) for t in drawn(ts.trees(min_leaves=4, max_leaves=4), 300)}) == 5  # the Catalan number
    some = {structure(t) for t in drawn(ts.trees(binary=False, max_leaves=3), 500)}
    assert some >= {0, (0,), (0, 0), ((0,), 0), (0, 0, 0), ((0, 0), 0), (0, (0, 0)), ((0, 0),)}


def test_what_trees_shrink_to():
    assert minimal(ts.trees()) == 0
    assert minimal(ts.trees(min_leaves=3)) == ((0, 0), 0)
    assert minimal(ts.trees(), lambda t: isinstance(t, tuple) and isinstance(t[1], tuple)) == (0, (0, 0))
    assert minimal(ts.trees(binary=False), lambda t: isinstance(t, tuple) and len(t) == 1) == (0,)
    assert minimal(ts.trees(), lambda t: 3 in leaves(t)) == 3


# Models ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", models.CELLS)
@given(data=st.data())
def test_cells_are_unrolled_over_sequences(kind, data):
    features = data.draw(st.integers(1, 3))
    cell = data.draw(ts.cells(kinds=kind, input_size=features, dtype=ts.dtypes()))
    xs = data.draw(ts.sequences(features=features, dtype=cell.parameters()[0].dtype)).xs
    out = tg.nn.unroll(cell, xs)
    assert out.outputs.shape[:2] == xs.shape[:2]
    assert 1 <= out.outputs.shape[2] <= 4
    assert out.outputs.dtype == xs.dtype
    assert len(tg.grad(out.outputs.sum(), cell.parameters())) == len(cell.parameters())


def test_all_options_of_cells_come_up():
    assert {type(cell).__name__ for cell in drawn(ts.cells(), 100)} == {"RNNCell", "LSTMCell", "GRUCell"}
    found = drawn(ts.cells(kinds="rnn"), 200)
    options = {(cell.activation, cell.b is None) for cell in found}
    assert options == {(a, b) for a in ("tanh", "relu", "sigmoid", "identity") for b in (True, False)}
    assert {cell.W_i.shape for cell in found} == {(n, m) for n in (1, 2, 3) for m in (1, 2, 3, 4)}
    assert {cell.activation for cell in drawn(ts.cells(kinds="rnn", smooth=True))} == {"tanh", "sigmoid", "identity"}
    assert {c.W_h.shape for c in drawn(ts.cells(kinds="rnn", hidden_size=5), 20)} == {(5, 5)}


def test_what_cells_shrink_to():
    cell, again = minimal(ts.cells()), tg.nn.RNNCell(1, 1, generator=0, dtype=np.float64)
    assert cell.activation == "tanh"
    for path, value in again.state_dict().items():
        np.testing.assert_array_equal(cell.state_dict()[path], value)


def test_a_kind_of_cell_is_one_entry(monkeypatch):
    class Leaky(tg.nn.RNNCell):
        def __init__(self, n, m, *, leak, **options):
            super().__init__(n, m, **options)
            self.leak = leak

    monkeypatch.setitem(models.CELLS, "leaky", models.CellKind(Leaky, {"leak": st.sampled_from([0.5, 0.9])}))
    assert minimal(ts.cells(kinds="leaky"), lambda cell: cell.leak > 0.6).leak == 0.9
    assert {type(c) for c in drawn(ts.cells(kinds=("rnn", "leaky")), 50)} == {Leaky, tg.nn.RNNCell}


@given(width=st.integers(1, 4), data=st.data())
def test_modules_map_batches_and_have_gradients(width, data):
    module = data.draw(ts.modules(in_features=width, dtype=ts.dtypes()))
    dtype = module.parameters()[0].dtype
    x = tg.tensor(data.draw(ts.arrays(shape=(3, width), dtype=dtype)))
    y = module(x)
    assert (y.shape[0], y.ndim, y.dtype) == (3, 2, dtype)
    assert 1 <= y.shape[1] <= 4
    np.testing.assert_array_equal(module(x), y)
    assert all(np.isfinite(g.numpy()).all() for g in tg.grad(y.sum(), module.parameters(), allow_unused=False))


def test_all_modules_come_up():
    found = drawn(ts.modules(in_features=2, out_features=3), 300)
    assert all(m(np.ones((1, 2))).shape == (1, 3) for m in found[:40])
    kinds = {type(layer) for m in found for layer in getattr(m, "layers", [m])}
    assert {tg.nn.Linear, tg.nn.LayerNorm, tg.nn.Sequential} <= kinds
    assert any(isinstance(m, tg.nn.Linear) for m in found)
    used = lambda modules: {f for m in modules for f in getattr(m, "layers", []) if not isinstance(f, tg.nn.Module)}
    assert used(found) == set((models.SMOOTH | models.KINKED).values())
    assert used(drawn(ts.modules(in_features=2, smooth=True))) == set(models.SMOOTH.values())
    assert max(len(getattr(m, "layers", [m])) for m in found) == 4
    plain = drawn(ts.modules(in_features=2, kinds="linear", max_layers=2), 50)
    assert not any(isinstance(layer, tg.nn.LayerNorm) for m in plain for layer in m.modules())


def test_what_modules_shrink_to():
    module = minimal(ts.modules(in_features=2))
    assert repr(module) == "Linear(W(2, 1), b(1,))"
    np.testing.assert_array_equal(module.W, tg.nn.Linear(2, 1, generator=0, dtype=np.float64).W)


# Optimisers -----------------------------------------------------------------------------------------------------------


@given(make=ts.optimizers(), values=ts.arrays(shape=3, away_from=0, gap=0.5))
def test_optimizers_take_steps(make, values):
    p, q = tg.parameter(values), tg.parameter(values)
    for parameter, optimizer in ((p, make([p])), (q, make([q]))):
        for _ in range(2):
            optimizer.zero_grad()
            (parameter * parameter).sum().backward()
            optimizer.step()
    np.testing.assert_array_equal(p, q)
    assert np.isfinite(p.numpy()).all()
    assert make([p]).kernel(p.dtype) is not None


def test_all_optimizers_and_settings_come_up():
    found = drawn(ts.optimizers(), 500)
    assert {m.kind for m in found} == set(models.OPTIMIZERS)
    p = tg.parameter([1.0])
    classes = {tg.optim.SGD, tg.optim.RMSprop, tg.optim.Adagrad, tg.optim.Adam, tg.optim.AdamW}
    assert {type(m([p])) for m in found} == classes
    scheduled = [m for m in found if callable(m([p]).schedule)]
    assert {repr(m.settings["lr"]).partition("(")[0] for m in scheduled} == set(models.SCHEDULES)
    assert 0 < len(scheduled) < len(found)
    assert all(m([p]).lr > 0 for m in found)
    for setting in ("momentum", "nesterov", "weight_decay"):
        assert {bool(m.settings[setting]) for m in found if setting in m.settings} == {True, False}, setting
    plain = drawn(ts.optimizers(schedules=False, weight_decay=False))
    assert not any(callable(m([p]).schedule) or m([p]).weight_decay for m in plain)


def test_optimizers_can_be_read():
    make = minimal(ts.optimizers(kinds="adam"), lambda m: callable(m([tg.parameter([1.0])]).schedule))
    assert repr(make) == "Adam(..., lr=constant(0.1), weight_decay=0.0, betas=(0.9, 0.9), eps=1e-08)"
    make = minimal(ts.optimizers(), lambda m: "cosine" in repr(m))
    assert repr(make) == "SGD(..., lr=cosine(0.1, total=1), weight_decay=0.0, momentum=0.0)"


def test_what_optimizers_shrink_to():
    assert repr(minimal(ts.optimizers())) == "SGD(..., lr=0.1, weight_decay=0.0, momentum=0.0)"
    assert minimal(ts.optimizers(), lambda m: m.kind == "adamw").settings["lr"] == 0.1
