"""Writing files so that a reader, or a crash, never meets half of one."""

from __future__ import annotations

import os
import platform
import re
import secrets
import stat
import time
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

__all__ = ["write_atomically"]

DAY = 24 * 3600


def write_atomically(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write beside `path` and rename: the file there is the old one or the new one, whole.

    A link stays one, and what it leads to is replaced; the new file has the mode of the old one. It removes files that
    killed processes left here.
    """
    target = Path(os.path.realpath(path))
    _remove_left(target)
    beside = target.with_name(f".{_short(target.name)}.{_short(platform.node())}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with open(beside, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            beside.chmod(stat.S_IMODE(target.stat().st_mode))
        os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)
    return Path(path)


def _short(name: str) -> str:
    """Eight letters that stand for the name of a file, which may be as long as a name can be, or of a machine."""
    return sha256(name.encode()).hexdigest()[:8]


def _remove_left(target: Path) -> None:
    """Remove files that were begun beside `target` by processes that are no more."""
    name = re.compile(rf"\.{_short(target.name)}\.(\w{{8}})\.(\d+)\.\w{{8}}")
    with suppress(OSError):  # a folder that cannot be listed, or a file that another process removes
        for file in list(target.parent.iterdir()):
            found = name.fullmatch(file.name)
            if found and _is_left(file, found[1], int(found[2])):
                file.unlink()


def _is_left(file: Path, machine: str, process: int) -> bool:
    if machine == _short(platform.node()) and os.name == "posix":
        return not _is_alive(process)
    return time.time() - file.stat().st_mtime > DAY


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
