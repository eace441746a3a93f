"""Programs over tensors as data: inputs, and a list of steps that each name an operation of a table.

A program is written out as Python source, and calling it runs that source: over tensors of the package, or over what
else has functions of the same names (the oracle, PyTorch, JAX).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

import tinygrad_rnn as tg

from .table import OPS

__all__ = ["GraphProgram", "GraphStep", "Input", "frozen", "render", "statements"]

VERSION = 1
LAYOUTS = ("contiguous", "transposed", "reversed", "strided")
DTYPES = ("float32", "float64", "int64")


@dataclass(frozen=True)
class Input:
    """An array that goes in: floats between -1.5 and 1.5, or indices below `high`.

    Parameters
    ----------
    shape : tuple of int
    dtype : str
        float32, float64, or int64 for indices.
    seed : int
    layout : str
        How it lies in memory: contiguous, transposed, reversed or strided.
    high : int
        How many different indices there are.

    Examples
    --------
    >>> from tinygrad_rnn.testing.fuzz.program import Input
    >>> Input((2,), "int64", 0, high=1).array().tolist()
    [0, 0]
    """

    shape: tuple[int, ...]
    dtype: str = "float64"
    seed: int = 0
    layout: str = "contiguous"
    high: int = 1

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES or self.layout not in LAYOUTS:
            raise ValueError(f"Input: unknown dtype or layout: {self.dtype!r}, {self.layout!r}")

    def array(self) -> np.ndarray:
        return np.asarray(eval(self.source(), {"np": np}))

    def source(self) -> str:
        """The array as an expression."""
        shape, layout = tuple(int(n) for n in self.shape), self.layout if self.shape else "contiguous"
        if layout == "transposed":
            shape = shape[::-1]
        if layout == "strided":
            shape = (*shape[:-1], 2 * shape[-1])
        generator = f"np.random.default_rng({int(self.seed)})"
        if self.dtype == "int64":
            text = f"{generator}.integers(0, {int(self.high)}, {shape})"
        else:
            text = f"{generator}.uniform(-1.5, 1.5, {shape}).astype(np.{self.dtype}, copy=False)"
        text = text.replace(".astype(np.float64, copy=False)", "")
        return text + {"transposed": ".T", "reversed": "[..., ::-1]", "strided": "[..., ::2]"}.get(layout, "")


@dataclass(frozen=True)
class GraphStep:
    """One operation: its name in the table, the numbers of the values it takes, parameters, and steps inside of it."""

    op: str
    operands: tuple[int, ...]
    params: dict[str, Any] = field(default_factory=dict)
    body: tuple[GraphStep, ...] = ()

    def __post_init__(self) -> None:
        if self.op not in OPS:
            raise ValueError(f"GraphStep: there is no operation {self.op!r}")
        object.__setattr__(self, "operands", tuple(int(k) for k in self.operands))
        object.__setattr__(self, "params", {str(k): frozen(v) for k, v in self.params.items()})
        if not all(k.isidentifier() for k in self.params):
            raise ValueError(f"GraphStep: parameters must have names, got {list(self.params)}")


@dataclass(frozen=True)
class GraphProgram:
    """A function of arrays as data; called with tensors, it gives the list of its outputs.

    Parameters
    ----------
    inputs : tuple of Input
    steps : tuple of GraphStep
        The inputs are the values 0, 1, ...; each step makes the next one, from values before it.
    outputs : tuple of int
        Numbers of the values that come out.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> from tinygrad_rnn.testing.fuzz.program import Input, GraphProgram, GraphStep
    >>> program = GraphProgram((Input((2,)),), (GraphStep("tanh", (0,)), GraphStep("multiply", (0, 1))), (2,))
    >>> [y.shape for y in program(*map(tg.tensor, program.arrays()))]
    [(2,)]
    >>> print(program.source())
    import numpy as np
    import tinygrad_rnn as tg
    <BLANKLINE>
    <BLANKLINE>
    def program(x0):
        v1 = tg.tanh(x0)
        v2 = x0 * v1
        return [v2]
    <BLANKLINE>
    <BLANKLINE>
    arrays = [
        np.random.default_rng(0).uniform(-1.5, 1.5, (2,)),
    ]
    """

    inputs: tuple[Input, ...]
    steps: tuple[GraphStep, ...]
    outputs: tuple[int, ...]

    def __post_init__(self) -> None:
        for k, step in enumerate(self.steps):
            if any(not 0 <= n < len(self.inputs) + k for n in step.operands):
                raise ValueError(f"GraphProgram: step {k}, {step.op}, takes values that come after it")
        if any(not 0 <= n < len(self.inputs) + len(self.steps) for n in self.outputs):
            raise ValueError("GraphProgram: an output is none of its values")

    def __reduce__(self) -> Any:
        return GraphProgram, (self.inputs, self.steps, self.outputs)  # what was compiled of it stays in its process

    def __call__(self, *tensors: Any) -> list[Any]:
        values = self.values(*tensors)
        return [values[k] for k in self.outputs]

    def values(self, *tensors: Any, form: str = "tg", module: Any = None) -> list[Any]:
        """The inputs and the values of all steps, computed with the functions of `module`."""
        return self._function(form, tg if module is None else module)(*tensors)

    def arrays(self, shift: int = 0) -> list[np.ndarray]:
        """The inputs; others of the same kind for another `shift`."""
        return [replace(x, seed=x.seed + 1000 * shift).array() for x in self.inputs]

    @property
    def names(self) -> list[str]:
        """What values are called in the source."""
        count = len(self.inputs)
        return [f"x{k}" for k in range(count)] + [f"v{count + k}" for k in range(len(self.steps))]

    def walk(self) -> Iterator[GraphStep]:
        """All steps, also those inside of others."""
        waiting = list(self.steps)
        while waiting:
            step = waiting.pop()
            yield step
            waiting += step.body

    def has(self, form: str) -> bool:
        """Whether all operations can be written for `form`: tg, oracle, torch or jax."""
        return all(OPS[s.op].text(form) is not None for s in self.walk())

    def source(self) -> str:
        """Python code of the function and its inputs, which runs as it is."""
        outputs = [self.names[k] for k in self.outputs]
        arrays = "".join(f"    {x.source()},\n" for x in self.inputs)
        head = "import numpy as np\nimport tinygrad_rnn as tg\n\n\n"
        return f"{head}{self.function_source(outputs)}\n\narrays = [\n{arrays}]"

    def function_source(self, results: Sequence[str], form: str = "tg") -> str:
        """The function alone, with other results and other functions."""
        lines = statements(self.steps, self.names, len(self.inputs), form)
        arguments = ", ".join(self.names[: len(self.inputs)])
        return "\n    ".join([f"def program({arguments}):", *lines, f"return [{', '.join(results)}]"]) + "\n"

    def to_json(self) -> str:
        return json.dumps({"version": VERSION, **asdict(self)}, default=_written)

    @staticmethod
    def from_json(text: str) -> GraphProgram:
        """A program from its text; operations and types that are not known are refused, so nothing else can run.

        Raises
        ------
        ValueError
            If the text is not that of a program.
        """
        read = json.loads(text)
        if not isinstance(read, dict) or read.get("version") != VERSION:
            raise ValueError(f"GraphProgram.from_json: expected a program of version {VERSION}")
        inputs = tuple(Input(**{**x, "shape": tuple(x["shape"])}) for x in read["inputs"])
        return GraphProgram(inputs, tuple(map(_step, read["steps"])), tuple(int(k) for k in read["outputs"]))

    @cached_property
    def _functions(self) -> dict[Any, Any]:
        return {}

    def _function(self, form: str, module: Any) -> Callable[..., list[Any]]:
        key = form, id(module)
        if key not in self._functions:
            text = self.function_source(self.names, form)
            if text not in self._functions:
                self._functions[text] = compile(text, "<program>", "exec")
            names: dict[str, Any] = {"np": np, "tg": module}
            exec(self._functions[text], names)
            self._functions[key] = names["program"]
        return self._functions[key]


def _step(read: dict[str, Any]) -> GraphStep:
    params = {k: _read(v) for k, v in read["params"].items()}
    return GraphStep(read["op"], tuple(read["operands"]), params, tuple(map(_step, read["body"])))


def frozen(value: Any) -> Any:
    """Lists as tuples, NumPy's numbers as Python's."""
    if isinstance(value, list | tuple):
        return tuple(frozen(v) for v in value)
    if isinstance(value, np.generic):
        return value.item()
    if value is None or value is Ellipsis or isinstance(value, slice | bool | int | float | str):
        return value
    raise TypeError(f"GraphStep: a parameter of type {type(value).__name__} cannot be written")


def _written(value: Any) -> Any:
    """Slices and ellipses in JSON's terms."""
    return {"slice": [value.start, value.stop, value.step]} if isinstance(value, slice) else {"ellipsis": True}


def _read(value: Any) -> Any:
    if isinstance(value, dict):
        return slice(*(None if n is None else int(n) for n in value["slice"])) if "slice" in value else Ellipsis
    return tuple(_read(v) for v in value) if isinstance(value, list) else value


# Source ---------------------------------------------------------------------------------------------------------------


def render(name: str, value: Any) -> str:
    """A parameter as source: the parts of an ``index`` as between brackets, everything else as a literal."""
    if not name.startswith("index"):
        return repr(value)
    return ", ".join(_part(v) for v in value)


def _part(part: Any) -> str:
    if isinstance(part, slice):
        ends = ["" if n is None else str(n) for n in (part.start, part.stop, part.step)]
        return ":".join(ends if part.step is not None else ends[:2])
    if isinstance(part, tuple):
        return f"np.array({_brackets(part)}{'' if part else ', int'})"
    return "..." if part is Ellipsis else repr(part)


def _brackets(value: Any) -> str:
    return f"[{', '.join(_brackets(v) for v in value)}]" if isinstance(value, tuple) else repr(value)


def statements(steps: Sequence[GraphStep], names: Sequence[str], first: int, form: str = "tg") -> list[str]:
    """The lines that compute `steps`; step k makes the value ``names[first + k]``."""
    lines = []
    for k, step in enumerate(steps):
        own = names[first + k]
        operands = [names[n] for n in step.operands]
        write = {"loop": _loop, "checkpoint": _checkpoint}.get(step.op)
        lines += write(step, own, operands, form) if write else [f"{own} = {expression(step, operands, form)}"]
    return lines


def expression(step: GraphStep, operands: Sequence[str], form: str) -> str:
    text = OPS[step.op].text(form)
    if text is None:
        raise NotImplementedError(f"{step.op} has no form for {form}")
    params = {k: render(k, v) for k, v in step.params.items()}
    return text.format(**dict(zip("abcde", operands)), all=", ".join(operands), **params)


def _checkpoint(step: GraphStep, own: str, operands: list[str], form: str) -> list[str]:
    arguments = [f"{own}_{k}" for k in range(len(operands))]
    names = [f"{own}_{k}" for k in range(len(operands) + len(step.body))]
    body = statements(step.body, names, len(operands), form)
    inside = [f"    {line}" for line in [*body, f"return {names[-1]}"]]
    call = f"{own} = tg.checkpoint({own}_block)({', '.join(operands)})"
    return [f"def {own}_block({', '.join(arguments)}):", *inside, call]


def _loop(step: GraphStep, own: str, operands: list[str], form: str) -> list[str]:
    """A loop over time: states, the input of the step, all earlier states where they are wanted, and weights."""
    p, count = step.params, len(step.params["carry"])
    states = [f"{own}_h{k}" for k in range(count)]
    names = [*states, f"{own}_x", *([f"{own}_past"] if p["past"] else []), *operands[count + 1 :]]
    first = len(names)
    names += [f"{own}_{first + k}" for k in range(len(step.body))]
    axis = int(p["axis"])
    xs, at = operands[count], "t" if axis == 0 else ":, t"
    given = [f"{own}_past = tg.stack({own}_all or [{states[0]}])"] if p["past"] else []
    body = [f"{own}_x = {xs}[{at}]", *given, *statements(step.body, names, first, form)]
    body.append(f"{', '.join(states)} = {', '.join(names[k] for k in p['carry'])}")
    body.append(f"{own}_all.append({states[0]})")
    order = f"{own}_all[::-1]" if p["reverse"] else f"{own}_all"
    return [
        *(f"{h} = {v}" for h, v in zip(states, operands)),
        f"{own}_all = []",
        f"for t in tg.steps({int(p['steps'])}{', reverse=True' if p['reverse'] else ''}):",
        *(f"    {line}" for line in body),
        f"{own} = tg.stack({order}, {axis})",
    ]


def locals_of(step: GraphStep) -> int:
    """How many values the steps inside of a step find: their numbers begin after these."""
    if step.op == "checkpoint":
        return len(step.operands)
    return len(step.operands) + bool(step.params["past"])
