"""Program: a recorded function as a table of instructions over one arena."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..calls import as_it_is
from ..errors import PlaceholderError, fail
from ..graph import Graph
from ..graph.evaluate import fitting
from ..kernels.machine import MOST_OPERANDS, MOST_REPEATS
from ..scope import current
from ..tensor import Tensor, describe, with_inputs
from . import change_lowerings, lowerings  # noqa: F401  (they enter how ops become instructions)
from .arguments import Call
from .bindings import Bindings
from .capture import Recording, computed
from .compiler_ops import CHANGES, RANGE_CHECK
from .deserialize import Generators, recording_from_json
from .emit import Emitter
from .lower import Lowering
from .memory_plan import plan
from .optimise import optimised, schedule
from .report import Memory, Profile, listing_of, memory_of, profile_of
from .rewrite import Firing
from .run import Runner, Table
from .serialize import recording_to_json
from .turns import Turns
from .views import View

__all__ = ["Memory", "Profile", "Program"]


def _staged(emitter: Emitter, t: Tensor) -> View:
    """Room for an argument, into which it is copied before each run."""
    view = emitter.room(t.shape, t.dtype, t.name or "argument")
    emitter.touch(view, -1)
    return view


class Program:
    """A function recorded for one signature; made by :func:`compile`.

    Attributes
    ----------
    graph, rewritten : Graph
        Before and after rewriting.
    log : list of Firing
        Which rule fired where.
    instructions : list of Instruction
    arena_bytes, flops, bytes : int
        Size of the arena; arithmetic operations, and bytes read and written, of one run.
    record_seconds, plan_seconds : float
        How long it took to record the function, and to make the program of it.

    Examples
    --------
    >>> import numpy as np, tinygrad_rnn as tg
    >>> program = tg.compile(lambda x: tg.tanh(x).sum()).program(np.ones(2))
    >>> [i.name for i in program.instructions]
    ['tanh', 'sum_last']
    """

    def __init__(
        self, recording: Recording, record_seconds: float = 0.0, memory: str | None = None, turns: Turns | None = None
    ) -> None:
        began = time.perf_counter()
        self.recording = recording
        self.record_seconds = record_seconds
        self._call = recording.call or Call.plain(len(recording.placeholders), recording.results)
        self.graph = Graph(recording.shown, recording.placeholders)
        drawn = recording.drawn  # also those that nobody needs: generators go on as they do in eager mode
        last = [] if recording.last is None else [recording.last]
        ranges = [with_inputs(t, t.inputs) for t in recording.ranges if t.op is RANGE_CHECK]
        roots = [*recording.roots, *last, *drawn, *ranges]
        rewriter = optimised(roots, self.graph.nodes, recording.segments, memory)
        self.log: list[Firing] = rewriter.log
        nodes = schedule(rewriter)
        results, rest = rewriter.roots[: len(recording.roots)], rewriter.roots[len(recording.roots) + len(last) :]
        changed = [computed(t) for t in nodes if t.op in CHANGES.values()]
        self.rewritten = Graph([*results, *changed, *rest], recording.placeholders)
        self._runner = self._built(nodes, rewriter.roots, results, turns or Turns())
        self.plan_seconds = time.perf_counter() - began

    # Making -----------------------------------------------------------------------------------------------------------

    def _built(self, nodes: list[Tensor], roots: Sequence[Tensor], results: Sequence[Tensor], turns: Turns) -> Runner:
        """What runs it: the nodes as instructions, over storages that have their places in the arena."""
        bindings, emitter = Bindings(), Emitter()
        inputs = [_staged(emitter, t) for t in self.recording.placeholders]
        bound = self._bound(nodes, bindings)
        bound |= {t.serial: view for t, view in zip(self.recording.placeholders, inputs, strict=True)}
        low = Lowering(nodes, roots, bound, emitter, bindings)
        low.run()
        self.instructions = emitter.instructions
        self._storages = emitter.storages
        self.arena_bytes = plan(self._storages)
        self._verify()
        views = [low.view(t) for t in results]
        table = Table(self.instructions, inputs, views, bindings, self.arena_bytes)
        return Runner(self.recording, table, low.changed, turns)

    def _bound(self, nodes: Sequence[Tensor], bindings: Bindings) -> dict[int, View]:
        """Where the user's tensors lie: their memory is used as it is."""
        recording = self.recording
        for t in recording.written:
            bindings.held(t, renewed=not t.may_be_written)
        bound = {}
        for node in nodes:
            if node.serial in recording.bound:
                bound[node.serial] = bindings.held(recording.bound[node.serial])
            elif node.serial in recording.carried:
                bound[node.serial] = bindings.held(recording.carried[node.serial], gradient=True)
        return bound

    def _verify(self) -> None:
        """Every operand of every instruction lies within its storage, and storages within the arena."""
        for s in self._storages:
            if s.first <= s.last and not 0 <= s.offset <= self.arena_bytes - s.nbytes:
                raise AssertionError(f"program: {s} does not lie in the arena of {self.arena_bytes} bytes")
        for i in self.instructions:
            if i.address == 0:
                continue
            if len(i.views) > MOST_OPERANDS or len(i.loops) > MOST_REPEATS:
                raise AssertionError(f"program: {i.name} for {describe(i.node)} has too many operands or axes")
            for k, view in enumerate(i.views):
                (low, high), storage = i.reach(k), view.storage
                if low < 0 or (high + view.dtype.itemsize > storage.nbytes and high >= low):
                    raise AssertionError(
                        f"program: operand {k} of {i.name} for {describe(i.node)} reaches from {low} to {high} "
                        f"of {storage.nbytes} bytes"
                    )

    # Running ----------------------------------------------------------------------------------------------------------

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Run once, as the function is called.

        Parameters
        ----------
        *args, **kwargs
            Nested as when the function was recorded: arrays and tensors of the recorded shapes, and numbers and strings
            as they were. What is neither, as a module, is part of the program: the same, or None in its place; in a
            program from a text only None.

        Returns
        -------
        What the function returned, with new tensors. In a program from a text named tuples are plain tuples.

        Raises
        ------
        TypeError, ShapeError, DTypeError
            If an argument is missing, nested otherwise, or does not fit; it is named.

        Examples
        --------
        >>> import numpy as np, tinygrad_rnn as tg
        >>> double = tg.compile(lambda pair, scale: {"first": pair[0] * scale, "all": tg.stack(pair)})
        >>> x = np.ones(2, np.float32)
        >>> program = tg.Program.from_json(double.program((x, x), scale=2.0).to_json())
        >>> program((x, 3 * x), scale=2.0)["first"].tolist()
        [2.0, 2.0]
        """
        if current().tracing is not None:
            raise fail(
                PlaceholderError, "program: called while a function is traced, which cannot record what it does",
                hint="call the function that it was recorded of",
            )  # fmt: skip
        call = self._call
        self._runner.check_gradients()
        return call.results(self.run_fitting(call.arrays(args, kwargs, self.recording.placeholders, "program")))

    def run(self, arrays: Iterable[Any]) -> list[np.ndarray]:
        """Run once; gives the results, and changes what has to change.

        Any number of threads may call it: each works in memory of its own. Those that change something take turns.

        Parameters
        ----------
        arrays : iterable of arrays or tensors
            Of the recorded shapes; of the recorded types, or of such as can be converted without a change of kind.

        Raises
        ------
        TypeError, ShapeError, DTypeError
            If there are more or fewer, or one does not fit.
        GradientError
            If a tensor has a gradient from before, and had none when the program was recorded, or the reverse.
        """
        places, arrays = self.recording.placeholders, list(arrays)
        if len(arrays) != len(places):
            raise fail(TypeError, "program: arguments", expected=f"{len(places)} arrays", got=str(len(arrays)))
        self._runner.check_gradients()
        fitted = [fitting(t, a, "program") for t, a in zip(places, arrays, strict=True)]
        self._call.check_same(fitted, "program")
        return self.run_fitting(fitted)

    @as_it_is
    def run_fitting(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run on arrays that are known to be of the recorded shapes and types."""
        return self._runner.run(arrays)

    # Telling ----------------------------------------------------------------------------------------------------------

    def profile(self, /, *args: Any, repeats: int = 10, **kwargs: Any) -> Profile:
        """Where time goes, when the program is called with these arguments.

        Nothing is changed by it: parameters, the state of optimisers and generators are put back.

        Raises
        ------
        ValueError
            If it is not repeated once at least.
        TypeError, ShapeError, DTypeError, GradientError
            As when the program is run.
        """
        if not isinstance(repeats, int | np.integer) or repeats < 1:
            raise fail(ValueError, "profile: repeats", expected="1 or more", got=repr(repeats))
        arrays = self._call.arrays(args, kwargs, self.recording.placeholders, "profile")
        self._runner.check_gradients()
        return profile_of(self._runner, arrays, repeats)

    @property
    def flops(self) -> int:
        return sum(i.flops for i in self.instructions)

    @property
    def bytes(self) -> int:
        return sum(v.size * v.dtype.itemsize for i in self.instructions for v in i.views)

    @property
    def kernels(self) -> list[str]:
        """Names of the kernels that the program calls; their number does not depend on the number of time steps."""
        return sorted({i.name for i in self.instructions})

    def listing(self, limit: int | None = 200) -> str:
        """One line per instruction: kernel, operands as memory and shape, and the node that it computes.

        Beyond `limit` lines the middle is left out.
        """
        return "\n".join([repr(self), *listing_of(self.instructions, limit)])

    @property
    def memory(self) -> Memory:
        """How much memory the program takes, and what takes it."""
        return memory_of(self._storages, self._runner.table)

    def to_json(self, names: Any = None) -> str:
        """The program as text, from which :meth:`from_json` makes it again; nothing is executed by loading.

        Parameters
        ----------
        names : Module, or dict of tensors by name, optional
            How the tensors that the program uses are called; by default by the names that they have.

        Raises
        ------
        ValueError
            If two of the tensors that it uses have the same name, or one has none.
        """
        return recording_to_json(self.recording, names)

    @staticmethod
    def from_json(
        text: str,
        tensors: Any = None,
        optimizers: Sequence[Any] = (),
        *,
        generator: Generators = None,
        operations: Mapping[str, Any] | None = None,
        memory: str | None = None,
    ) -> Program:
        """A program from its text, over these tensors and optimisers; called as the function was.

        All of the text is checked before anything is built, so a text from elsewhere can at worst be refused.

        Parameters
        ----------
        text : str
        tensors : Module, or dict of tensors by name, optional
            What the program uses, under the names with which it was written.
        optimizers : sequence of Optimizer
            In the order of their steps, of the same kinds, over the same parameters in the same order.
        generator : numpy.random.Generator, or sequence of them, optional
            Where random numbers come from, in the order in which they are first drawn from.
        operations : dict of str to function, optional
            Operations of your own that the program uses, made by :func:`elementwise`, by their names.
        memory : "sqrt", optional
            As for :func:`compile`.

        Raises
        ------
        KeyError
            If a tensor, an operation or a generator is missing.
        ValueError, TypeError
            If the text is not what :meth:`to_json` writes, or what is given is not what it was written for.

        Examples
        --------
        >>> import numpy as np, tinygrad_rnn as tg
        >>> w = tg.parameter([1.0, 2.0], name="w")
        >>> text = tg.compile(lambda x: (w * x).sum()).program(np.ones(2, np.float32)).to_json()
        >>> program = tg.Program.from_json(text, {"w": w})
        >>> program(np.array([3.0, 4.0])).item()
        11.0
        """
        try:
            return Program(recording_from_json(text, tensors, optimizers, generator, operations), memory=memory)
        except MemoryError:
            raise ValueError("from_json: the program needs more memory than there is") from None

    def __repr__(self) -> str:
        return (
            f"<Program of {len(self.instructions)} instructions, {self.arena_bytes:,} bytes, {self.flops:,} flops; "
            f"{len(self.graph)} nodes recorded, {len(self.rewritten)} left>"
        )
