"""Python in a process of its own, on one core with one thread."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["json_of", "python"]

ROOT = Path(__file__).parent.parent.parent
ONE_THREAD = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"),
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "JAX_PLATFORMS": "cpu",
}


def pin() -> None:
    """Keep this process on the last of its cores; the first one serves more interrupts."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def python(*arguments: str) -> str:
    """Standard output of Python run on one core."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **ONE_THREAD},
        preexec_fn=pin,
        text=True,
        capture_output=True,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{done.stderr}")
    return done.stdout


def json_of(module: str, *arguments: str) -> Any:
    """What a module of this package prints as JSON in its last line."""
    return json.loads(python("-m", f"{__package__}.{module}", *arguments).splitlines()[-1])
