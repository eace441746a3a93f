"""What a warmup makes is what the modules with kernels have entered; one function says whether there is anything to."""

from __future__ import annotations

from pathlib import Path

import numba
import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.kernels import families
from tinygrad_rnn.kernels.loops import RowKernels
from tinygrad_rnn.ops import neural, reduce

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
ROWS = {name: v for m in (neural, reduce) for name, v in vars(m).items() if type(v) is RowKernels}


@pytest.fixture
def entered(monkeypatch):
    """An empty register, and the calls of what is entered."""
    monkeypatch.setattr(families, "_by_dtype", [])
    monkeypatch.setattr(families, "_of_no_dtype", [])
    calls: list[str] = []
    families.family(lambda dtype: [lambda: calls.append(f"rows of {dtype}"), lambda: calls.append(f"sums of {dtype}")])
    families.once(lambda: [lambda: calls.append("machine")])
    return calls


def test_a_warmup_calls_what_was_entered(entered):
    for job in families.jobs([F32, F64]):
        job()
    assert entered == ["machine", *(f"{what} of {t}" for t in (F32, F64) for what in ("rows", "sums"))]


def test_without_dtypes_there_is_what_depends_on_none(entered):
    for job in families.jobs([]):
        job()
    assert entered == ["machine"]


@pytest.mark.skipif(not families.compiles(), reason="there is nothing to compile")
def test_the_number_of_kernels_is_that_of_the_jobs(entered):
    assert tg.warmup(["float32"], progress=False) == 3
    assert len(entered) == 3


def test_every_kernel_of_rows_is_entered(monkeypatch):
    """Also that of the slope of the loss, which an eager step of a language model needs."""
    made = []
    monkeypatch.setattr(RowKernels, "__missing__", lambda self, dtype: made.append(self.name))
    for kernels in ROWS.values():
        monkeypatch.delitem(kernels, F32, raising=False)
    for job in families.jobs([F32]):
        if isinstance(getattr(getattr(job, "func", None), "__self__", None), RowKernels):
            job()
    assert sorted(made) == sorted(kernels.name for kernels in ROWS.values())
    assert "surplus" in made


@pytest.mark.parametrize("disabled", [0, 1])
def test_it_is_asked_when_it_matters_whether_numba_compiles(monkeypatch, disabled):
    monkeypatch.setattr(numba.config, "DISABLE_JIT", disabled)
    assert families.compiles() is not bool(disabled)


def test_nobody_else_asks():
    package = Path(tg.__file__).parent
    asking = [p.relative_to(package).as_posix() for p in package.rglob("*.py") if "DISABLE_JIT" in p.read_text("utf-8")]
    assert asking == ["kernels/families.py"]
