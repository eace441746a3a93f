"""What only POSIX systems have is not needed: not by Python code, and not by compiled code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numba
import pytest

ROOT = Path(__file__).parents[1]

# Hidden once NumPy, Numba and Python's library are there, which choose by the system what they use.
HIDDEN = """
import os, signal, sys, threading, time, warnings, webbrowser
import concurrent.futures.process, multiprocessing.pool, multiprocessing.spawn
import graphviz, hypothesis, numba.core.caching, numpy.testing, platformdirs, safetensors.numpy, tqdm

OS = '''chown fchmod fchown fork forkpty getegid geteuid getgid getgroups getloadavg getpgid getpgrp getuid killpg
lchown lockf mkfifo mknod nice openpty posix_fadvise posix_fallocate posix_spawn pread preadv pwrite pwritev readv
register_at_fork sched_getaffinity sched_setaffinity sched_yield sendfile setsid statvfs sync sysconf tcgetpgrp
ttyname uname wait wait3 wait4 waitid writev WNOHANG'''
SIGNALS = '''SIGALRM SIGCHLD SIGCONT SIGHUP SIGKILL SIGPIPE SIGQUIT SIGSTOP SIGTSTP SIGUSR1 SIGUSR2 SIGWINCH alarm
getitimer pause pthread_kill pthread_sigmask setitimer siginterrupt sigpending sigtimedwait sigwait sigwaitinfo'''
CLOCKS = '''clock_getres clock_gettime clock_gettime_ns clock_settime pthread_getcpuclockid tzset CLOCK_MONOTONIC
CLOCK_MONOTONIC_RAW CLOCK_PROCESS_CPUTIME_ID CLOCK_REALTIME CLOCK_THREAD_CPUTIME_ID'''
for module, names in ((os, OS), (signal, SIGNALS), (time, CLOCKS)):
    for name in names.split():
        vars(module).pop(name, None)
for name in "crypt fcntl grp nis ossaudiodev posix pty pwd readline resource spwd syslog termios tty".split():
    sys.modules[name] = None


def opened():
    held = {os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")}
    with open("/proc/self/maps", encoding="utf-8") as maps:
        return held | {line.split(maxsplit=5)[-1].strip() for line in maps}


def only_what_is_closed(function):
    def replace(source, target, **options):
        if {os.path.realpath(source), os.path.realpath(target)} & opened():
            raise PermissionError(13, "The process cannot access the file because it is being used", str(target))
        return function(source, target, **options)
    return replace


warnings.simplefilter("error", EncodingWarning)
os.replace, os.rename = only_what_is_closed(os.replace), only_what_is_closed(os.rename)
"""

PROGRAM = """
import numpy as np
import tinygrad_rnn as tg
from tinygrad_rnn import data, nn, optim
from tinygrad_rnn.cli import main
from tinygrad_rnn.testing import fuzz
from tinygrad_rnn.testing.fuzz.stages import STAGES

model = nn.LSTM(3, 4, generator=0)
optimizer = optim.Adam(model.parameters(), 0.01)
x = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)


@tg.compile
def step(x):
    loss = (model(x).outputs ** 2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


first = step(x).item()
assert step(x).item() < first
profile = step.programs[0].profile(x)
assert 0 < profile.total < 10**9, profile.total

path = tg.save(model, "model.safetensors")
state = tg.load(path)
tg.save(state, path)
model.load_state_dict(tg.load(path))

batches = data.Batches({"x": x, "y": x[:, 0, :1]}, batch_size=1, generator=0)
net = nn.Linear(3, 1, generator=0)
for resume in (False, True):
    tg.fit(net, batches, epochs=2 + resume, loss=lambda m, x, y: ((m(x[:, 0]) - y) ** 2).mean(), progress=False,
           checkpoint="net.safetensors", resume=resume)

assert main(["draw", "lstm", "--steps", "2", "-o", "lstm.svg"]) == 0
assert main(["draw", "--list"]) == 0
assert main(["draw", "lstm", "--steps", "2", "-o", "-"]) == 0
assert "fork" not in STAGES
assert not fuzz.fuzz(count=2, peers=False).findings
print(f"steps {first:.4f}")
"""


def child(source: str, folder: Path, *options: str, **variables: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    done = subprocess.run(
        [sys.executable, *options, "-c", source], env=environment, capture_output=True, cwd=folder, timeout=600
    )
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
    return done.stdout.decode("utf-8", "replace")


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="what is open is read there")
def test_a_program_needs_nothing_that_only_posix_has(tmp_path):
    """Nor a locale whose encoding is UTF-8, for what it reads, writes and prints."""
    said = child(HIDDEN + PROGRAM, tmp_path, "-X", "warn_default_encoding", PYTHONIOENCODING="cp1252")
    assert said.splitlines()[-1].startswith("steps ")
    assert {p.name for p in tmp_path.iterdir()} >= {"lstm.svg", "model.safetensors", "net.safetensors"}


def test_what_is_hidden_is_missed(tmp_path):
    child(HIDDEN + "assert not hasattr(os, 'fork') and not hasattr(time, 'clock_gettime')", tmp_path)
    open_twice = "open('a', 'xb').close()\nheld = open('b', 'xb')\nos.replace('a', 'b')"
    with pytest.raises(AssertionError, match="PermissionError"):
        child(HIDDEN + open_twice, tmp_path)


# Compiled code --------------------------------------------------------------------------------------------------------

CALLED = """
import re
import numpy as np
from numba.core.codegen import CPUCodeLibrary

found, finish = set(), CPUCodeLibrary._finalize_final_module


def finished(self):
    finish(self)
    found.update(re.findall(r'^declare .*?@"?([\\w.$]+)', self.get_llvm_str(), re.M))


CPUCodeLibrary._finalize_final_module = finished

from tinygrad_rnn.kernels import indexing
from tinygrad_rnn.kernels.gemm import gemm
from tinygrad_rnn.kernels.machine import machine, profiler
from tinygrad_rnn.kernels.scatter import loop
from tinygrad_rnn.ops import neural
from tinygrad_rnn.ops.core import registry

dtype = np.dtype(np.float32)
machine(), profiler(), indexing.check_range(), gemm(dtype, True), loop(dtype)
neural.SOFTMAX_ROWS[dtype], registry["tanh"].kernels[dtype], registry["floor_divide"].kernels[dtype]
print(*found)
"""

# Of the library of C, what the C of 1999 has; of Python and Numba, what both have everywhere.
EVERYWHERE = (
    r"llvm\..*|numba_.*|NRT_.*|_?Py[A-Z]?[A-Za-z]*_.*|malloc|free|feclearexcept|mem(cpy|move|set)|(sqrt|floor)f?"
)


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")
def test_compiled_code_calls_only_what_every_system_has(tmp_path):
    called = child(CALLED, tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "cache")).split()
    assert {"malloc", "feclearexcept"} <= set(called)
    assert any("PerfCounter" in name for name in called)
    assert [name for name in called if not re.fullmatch(EVERYWHERE, name)] == []
