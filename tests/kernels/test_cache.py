"""Compiled kernels are kept between processes, told from stale ones, and done without where they cannot be kept."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import textwrap
import types
from pathlib import Path
from types import SimpleNamespace

import numba
import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.kernels.cache import _try_anchor, anchor, fingerprint, global_names
from tinygrad_rnn.kernels.loops import specialise

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="it is about compiled kernels")

ROOT = Path(__file__).parents[2]


def started(code: str, cache: Path, *, path: Path | None = None, **environment: str) -> subprocess.Popen[str]:
    """A fresh process that runs `code` and keeps its kernels in `cache`."""
    places = [str(p) for p in (path, ROOT) if p]
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": os.pathsep.join(places), **environment},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def ended(process: subprocess.Popen[str]) -> SimpleNamespace:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return SimpleNamespace(stdout=out, stderr=err)


def run(code: str, cache: Path, **options) -> SimpleNamespace:
    return ended(started(code, cache, **options))


def files(cache: Path) -> dict[str, int]:
    """Compiled code by name, with the time of its last change."""
    return {p.name: p.stat().st_mtime_ns for p in cache.rglob("*.nb*")}


MODEL = """
    import numpy as np, tinygrad_rnn as tg
    from tinygrad_rnn.kernels import cache
    w = tg.parameter([[0.5, -0.25]])
    y = tg.softmax(tg.tanh(w * 2))
    y[0, 0].backward()
    print(w.grad.tolist())
"""


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> tuple[Path, str]:
    """Where two processes that ran at once kept their kernels, and what both printed."""
    cache = tmp_path_factory.mktemp("kernels")
    one, other = map(ended, [started(MODEL, cache), started(MODEL, cache)])
    assert one == other
    assert one.stderr == ""
    return cache, one.stdout


def test_a_later_process_compiles_nothing(kept):
    cache, printed = kept
    compiled = files(cache)
    assert len([n for n in compiled if n.endswith(".nbc")]) >= 4
    later = run(MODEL, cache)
    assert later == SimpleNamespace(stdout=printed, stderr="")
    assert files(cache) == compiled


def test_an_anchor_that_is_written_again_is_the_same(tmp_path):
    first = Path(_try_anchor(tmp_path))
    facts = first.stat().st_mtime_ns, first.read_text()
    first.unlink()
    again = Path(_try_anchor(tmp_path))
    assert (again.stat().st_mtime_ns, again.read_text()) == facts


def test_no_name_stands_for_kernels_of_several_types(tmp_path):
    """Two processes that compile different ones at once would mix them up."""
    done = run("""
        import numpy as np, tinygrad_rnn as tg
        for dtype in ("float32", "float64", "int64"):
            print(tg.zeros((3, 2), dtype).at[np.array([2, 0, 2])].add(tg.ones((3, 2), dtype)).tolist())
    """, tmp_path)  # fmt: skip
    assert [float(x) for x in re.findall(r"\d\.?\d?", done.stdout)] == [1, 1, 0, 0, 2, 2] * 3
    compiled = [n for n in files(tmp_path) if n.endswith(".nbc")]
    assert len([n for n in compiled if "add_rows" in n]) == 3
    assert all(n.endswith(".1.nbc") for n in compiled)


def test_changed_code_is_compiled_anew(tmp_path):
    module = tmp_path / "operation.py"
    cache = tmp_path / "cache"
    program = """
        import numpy as np, operation, tinygrad_rnn as tg
        print(operation.op(tg.ones(2)).tolist())
    """
    text = textwrap.dedent("""
        import tinygrad_rnn as tg
        SHIFT = 1.0
        def helper(x):
            return x * 2.0
        def scalar(x):
            return helper(x) + SHIFT
        op = tg.elementwise(scalar, vjp=lambda g, y, x: 2 * g)
    """)
    seen, kept = [], []
    edits = [("", ""), ("", ""), ("x * 2.0", "x * 5.0"), ("SHIFT = 1.0", "SHIFT = 4.0"), ("+ SHIFT", "- SHIFT")]
    for old, new in edits:
        text = text.replace(old, new)
        module.write_text(text)
        seen.append(json.loads(run(program, cache, path=tmp_path, PYTHONDONTWRITEBYTECODE="1").stdout)[0])
        kept.append(len([n for n in files(cache) if n.endswith(".nbc")]))
    assert seen == [3.0, 3.0, 6.0, 9.0, 1.0]
    assert kept[1] == kept[0]
    assert kept[1] < kept[2] < kept[3] < kept[4]


def test_an_unwritable_place_is_done_without_with_one_warning(kept, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    elsewhere = {"XDG_CACHE_HOME": str(blocked / "user"), "HOME": str(blocked), "LOCALAPPDATA": str(blocked)}
    done = run(MODEL, blocked / "cache", **elsewhere, TMPDIR=str(tmp_path))
    assert done.stdout == kept[1]
    assert done.stderr.count("RuntimeWarning: no cache directory can be written") == 1
    assert "set NUMBA_CACHE_DIR" in done.stderr
    assert files(tmp_path)


FULL = """
    import errno, os, tempfile
    from numba.core import caching

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    caching.IndexDataCacheFile._save_data = full
"""


def test_a_full_disk_is_done_without_with_one_warning(kept, tmp_path):
    done = run(textwrap.dedent(FULL) + textwrap.dedent(MODEL), tmp_path)
    assert done.stdout == kept[1]
    assert done.stderr.count("RuntimeWarning: compiled kernels cannot be kept in") == 1
    assert "No space left" in done.stderr
    assert not any(name.endswith(".nbc") for name in files(tmp_path))


def test_what_is_kept_already_is_loaded_from_a_full_disk(kept):
    done = run(textwrap.dedent(FULL) + textwrap.dedent(MODEL), kept[0])
    assert (done.stdout, done.stderr) == (kept[1], "")


def test_where_nothing_at_all_can_be_written(kept, tmp_path):
    nowhere = textwrap.dedent(FULL) + "tempfile.mkdtemp = tempfile.TemporaryFile = full\n"
    done = run(nowhere + textwrap.dedent(MODEL), tmp_path, XDG_CACHE_HOME=str(tmp_path / "user"))
    assert done.stdout == kept[1]
    assert done.stderr.count("RuntimeWarning") == 1
    assert not files(tmp_path)


@pytest.mark.parametrize("kind", [".nbi", ".nbc"])
def test_a_folder_in_the_place_of_kernels(kind, tmp_path):
    before = run(MODEL, tmp_path)
    for file in list(tmp_path.rglob(f"*{kind}")):
        file.unlink()
        file.mkdir()
    done = run(MODEL, tmp_path)
    assert done.stdout == before.stdout
    assert done.stderr.count("RuntimeWarning: compiled kernels cannot be kept in") == 1


def test_a_folder_in_the_place_of_the_anchor(kept, tmp_path):
    (tmp_path / "tinygrad_rnn_kernels.py").mkdir()
    user = tmp_path / "user"
    done = run(MODEL, tmp_path, XDG_CACHE_HOME=str(user))
    assert (done.stdout, done.stderr) == (kept[1], "")
    assert files(tmp_path)
    assert (user / "tinygrad_rnn" / "tinygrad_rnn_kernels.py").is_file()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith("tinygrad_rnn_kernels.py.")]


def test_the_users_cache_is_taken_where_the_other_cannot_be_written(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    user = tmp_path / "user"
    done = run(MODEL, blocked / "cache", XDG_CACHE_HOME=str(user), HOME=str(tmp_path))
    assert done.stderr == ""
    assert [p.name for p in user.rglob("tinygrad_rnn_kernels.py")] == ["tinygrad_rnn_kernels.py"]
    assert files(user)


def test_the_anchor_lies_in_a_directory_that_can_be_written():
    path = Path(anchor())
    assert path.is_file()
    assert os.access(path.parent, os.W_OK)


# Without the JIT ------------------------------------------------------------------------------------------------------

EVERYTHING = """
    import json, numpy as np, tinygrad_rnn as tg
    x = tg.tensor(np.linspace(-2, 2, 12).reshape(3, 4))
    w = tg.parameter(np.cos(np.arange(16.0)).reshape(4, 4))
    table = tg.parameter(np.sin(np.arange(12.0)).reshape(6, 2))
    def model(w, x):
        h = tg.tanh(x @ w) * tg.sigmoid(x) + tg.gelu(x[:, ::-1]) - tg.where(x > 0, x, tg.exp(x))
        h = tg.layer_norm(tg.maximum(h, -1.0)) + tg.softmax(h, axis=0) * tg.logsumexp(h)
        return tg.cross_entropy(h, [0, 3, 1]) + tg.power(tg.abs(h), 1.5).sum() + tg.softplus(h).mean() + tg.erf(h).sum()
    loss = model(w, x) + (table[[0, 2, 2]] * table[[1, 1, 5]]).sum()
    loss.backward()
    single = tg.jvp(lambda v: tg.tanh(v) / (1 + v * v), [[0.5, -0.5]], [[1.0, 2.0]])
    op = tg.elementwise(lambda a, b: a * b + 1, vjp=(lambda g, y, a, b: g * b, lambda g, y, a, b: g * a))
    a, b = tg.ones(3), tg.tensor(2.0)
    own = [op(a, b), *tg.grad(op(a, b).sum(), [a, b])]
    second = tg.hvp(lambda v: tg.tanh(v).sum(), x[0], x[1])
    print(json.dumps([t.tolist() for t in (loss, w.grad, table.grad, *single, *own, second, tg.isnan(x), x > 0)]))
"""


def test_the_results_are_the_same_without_the_jit(tmp_path):
    plain = run(EVERYTHING, tmp_path, NUMBA_DISABLE_JIT="1")
    assert plain.stderr == ""
    assert not files(tmp_path)
    jitted = run(EVERYTHING, Path(anchor()).parent)
    for a, b in zip(json.loads(plain.stdout), json.loads(jitted.stdout), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-6)


# Fingerprints ---------------------------------------------------------------------------------------------------------


def made(source: str, **names) -> object:
    scope = dict(names)
    exec(source, scope)
    return scope["f"]


def test_a_fingerprint_is_that_of_the_code():
    source = "def f(x): return x + 1.0"
    assert fingerprint(made(source)) == fingerprint(made(source))
    assert fingerprint(made(source)) == fingerprint(made("\n\n" + source))
    assert len(fingerprint(made(source))) == 16


def closure(k):
    return lambda x: x * k


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (made("def f(x): return x + 1.0"), made("def f(x): return x - 1.0")),
        (made("def f(x): return x + 1.0"), made("def f(x): return x + 1.5")),
        (made("def f(x): return x + K", K=1.0), made("def f(x): return x + K", K=2.0)),
        (made("def f(x): return x + K[0]", K=np.zeros(2)), made("def f(x): return x + K[0]", K=np.ones(2))),
        (made("def f(x): return g(x)", g=math.sin), made("def f(x): return g(x)", g=math.cos)),
        (made("def f(x): return g(x)", g=lambda x: x), made("def f(x): return g(x)", g=lambda x: -x)),
        (made("def f(x): return (lambda y: y + 1)(x)"), made("def f(x): return (lambda y: y + 2)(x)")),
        (closure(1), closure(2)),
        (made("import math\ndef f(x): return math.sin(x)"), made("import math\ndef f(x): return math.cos(x)")),
        ("source a", "source b"),
    ],
)
def test_a_fingerprint_changes_with_all_that_the_code_reaches(one, other):
    assert fingerprint(one) != fingerprint(other)
    assert fingerprint(one) == fingerprint(one)


def test_a_fingerprint_tells_whether_bounds_are_checked(monkeypatch):
    usual = fingerprint("source")
    monkeypatch.setattr(numba.config, "BOUNDSCHECK", not numba.config.BOUNDSCHECK)
    assert fingerprint("source") != usual


def test_a_fingerprint_reaches_compiled_functions_of_other_modules():
    def module(shift):
        m = types.ModuleType("helpers")
        m.g = numba.njit(made("def f(x): return x + K", K=shift))
        return m

    one, other = (made("def f(x): return helpers.g(x)", helpers=module(k)) for k in (1.0, 2.0))
    assert fingerprint(one) != fingerprint(other)


def test_a_fingerprint_ends_where_functions_call_each_other():
    f = made("def f(x): return g(x)\ndef g(x): return f(x) if x else x")
    assert fingerprint(f) == fingerprint(f)


def test_fingerprints_are_the_same_in_every_process(tmp_path):
    code = """
        import tinygrad_rnn as tg
        from tinygrad_rnn.kernels.cache import fingerprint
        from tinygrad_rnn.kernels.loops import specialise
        import numpy as np
        ops = (tg.tanh, tg.gelu, tg.power, tg.erf)
        print([fingerprint(specialise(f, np.dtype(np.float32))) for op in ops for f in (op.scalar, *op.op.vjp)])
    """
    first, second = (run(code, tmp_path, PYTHONHASHSEED=seed).stdout for seed in "12")
    assert first == second
    assert "0x" not in first
    here = fingerprint(specialise(tg.tanh.scalar, np.dtype(np.float32)))
    assert here in first


def test_globals_are_found_in_nested_functions():
    assert global_names(made("def f(x): return (lambda: a(x) + math.b)()").__code__) == {"a", "math"}
