"""What a name on the command line stands for: an example of the catalogue, or something in the user's own code."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from ..compile import Compiled, Program
from ..graph import Graph, trace
from ..nn import Module
from ..tensor import Spec
from .catalogue import CATALOGUE
from .problem import USAGE, Problem, nearest, of_error

__all__ = ["Target", "found"]

STEPS = 4


class Target(NamedTuple):
    """Something to draw.

    Attributes
    ----------
    x : object
        What :func:`tinygrad_rnn.viz.draw` takes.
    inputs : tuple
        And what it is called with.
    level : str or None
        The level of detail that suits it best, if that is known.
    """

    x: Any
    inputs: tuple[Any, ...] = ()
    level: str | None = None


def found(name: str, steps: int | None = None, specs: Sequence[Spec] = ()) -> Target:
    """What is called `name`; errors of user code come out as they are."""
    if ":" in name:
        return _of_user(name, steps, specs)
    return _of_catalogue(name, steps, specs)


# Built in -------------------------------------------------------------------------------------------------------------


def _of_catalogue(name: str, steps: int | None, specs: Sequence[Spec]) -> Target:
    example = CATALOGUE.get(name.lower().replace("_", "-"))
    if example is None:
        hint = nearest(name.lower(), list(CATALOGUE)) or "--list shows all names"
        if name.endswith(".py") or "." in name:
            hint = f"to draw what a function of yours gives: {name}:function"
        raise Problem(f"nothing built in is called {name!r}", hint, code=USAGE)
    if specs:
        raise Problem(f"{name} has inputs of its own; --input is for modules and functions of yours", code=USAGE)
    if steps is not None and example.steps is None:
        raise Problem(f"{name} has no time steps; leave out --steps", code=USAGE)
    return Target(example.make(steps or example.steps or 0), level=example.level)


# The user's own -------------------------------------------------------------------------------------------------------


def _of_user(name: str, steps: int | None, specs: Sequence[Spec]) -> Target:
    where, _, path = name.rpartition(":")
    if not where or not path:
        raise Problem(f"cannot make sense of {name!r}", "expected module:function, or file.py:function", code=USAGE)
    with _importing_from(Path(where).parent if where.endswith(".py") else Path.cwd()):
        value = _attribute(_module(where), where, path)
        if not _is_function(value):
            if steps is not None:
                raise Problem(f"{path} is no function, so --steps says nothing to it", code=USAGE)
            return _with_inputs(value, path, specs)
        return _of_function(value, path, steps, specs)


@contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    """As Python itself does for what it runs; functions may import when they are called."""
    before = list(sys.path)
    sys.path.insert(0, str(folder.resolve()))
    try:
        yield
    finally:
        sys.path[:] = before


def _module(where: str) -> ModuleType:
    try:
        return _of_file(Path(where)) if where.endswith(".py") else importlib.import_module(where)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{where}.".startswith(f"{error.name}."):
            raise of_error(error, f"importing {where} raised") from error
        raise Problem(f"there is no module {where}", f"looked in {Path.cwd()} and where Python looks") from error
    except Problem:
        raise
    except (Exception, SystemExit) as error:
        raise of_error(error, f"importing {where} raised") from error


def _of_file(file: Path) -> ModuleType:
    if not file.is_file():
        raise Problem(f"there is no file {file}")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(file.stem)
    sys.modules[file.stem] = module  # dataclasses and pickles look there
    try:
        spec.loader.exec_module(module)
    finally:
        if before is None:
            del sys.modules[file.stem]
        else:
            sys.modules[file.stem] = before
    return module


def _attribute(module: ModuleType, where: str, path: str) -> Any:
    value: Any = module
    for part in path.split("."):
        if not hasattr(value, part):
            known = [n for n in dir(value) if not n.startswith("_")]
            raise Problem(f"{where} has no {path}", nearest(part, known))
        value = getattr(value, part)
    return value


def _is_function(value: Any) -> bool:
    return callable(value) and not isinstance(value, Module | Compiled | Program | Graph)


def _of_function(function: Callable[..., Any], name: str, steps: int | None, specs: Sequence[Spec]) -> Target:
    needed, taken = _parameters(function)
    if steps is not None and "steps" not in taken:
        raise Problem(f"{name} has no parameter called steps, so --steps says nothing to it", code=USAGE)
    given = {} if "steps" not in taken or (steps is None and "steps" not in needed) else {"steps": steps or STEPS}
    needed = [n for n in needed if n not in given]
    if needed and not specs:
        hint = "give the shape of each by --input, or name a function that needs nothing, or steps alone"
        raise Problem(f"{name} wants to be called with {', '.join(needed)}", hint, code=USAGE)
    if needed:
        return Target(trace(lambda *inputs: function(*inputs, **given), *specs))
    return _unpacked(function(**given), name, specs)


def _parameters(function: Callable[..., Any]) -> tuple[list[str], list[str]]:
    """Names of those that must be given, and of all."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some that are not written in Python have none
        return [], []
    taken = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return [p.name for p in taken if p.default is p.empty], [p.name for p in taken]


def _unpacked(result: Any, name: str, specs: Sequence[Spec]) -> Target:
    """What a function gave: something to draw, or a tuple of a module and its inputs."""
    if result is None:
        raise Problem(f"{name} returned None", "expected tensors, a graph, a program, or a module and its inputs")
    if isinstance(result, tuple) and len(result) > 1 and callable(result[0]):
        return Target(result[0], result[1:])
    return _with_inputs(result, name, specs)


def _with_inputs(x: Any, name: str, specs: Sequence[Spec]) -> Target:
    if isinstance(x, Compiled | Program):
        return Target(x, tuple(np.zeros(s.shape, s.dtype) for s in specs))
    if not isinstance(x, Module):
        if specs:
            raise Problem(f"{name} is a {type(x).__name__}, which takes no --input", code=USAGE)
        return Target(x)
    if not specs:
        hint = "give the shape of its input, such as --input 1,5,3; or return it with its inputs: (model, x)"
        raise Problem(f"{name} is a module, which has no graph before it is called", hint, code=USAGE)
    return Target(trace(x, *specs))
