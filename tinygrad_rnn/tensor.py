"""Tensor, the node of the graph, and Op, what made it.

A tensor holds a NumPy array, or only a :class:`Spec` while a function is being traced, and remembers how it came to be:
op, inputs, parameters of the op, and provenance. It refers to its inputs and to nothing else, so a graph is freed as
soon as its last output is. What tensors can do (operators, methods) is listed in ``ops/methods.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from math import prod
from types import CodeType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from .changes import note
from .errors import (
    DTypeError,
    GradientError,
    ImmutableError,
    PlaceholderError,
    ShapeError,
    anomaly,
    brief,
    fail,
    without_mask,
)
from .foreign import ATTRIBUTES, replacement
from .location import Location, location
from .scope import current, user_source
from .settings import check_switch

if TYPE_CHECKING:
    from .scope import Place

__all__ = ["Op", "Origin", "Spec", "Tensor"]

DEFAULT_FLOAT = np.dtype(np.float32)
_INT = {int}


@dataclass(frozen=True, slots=True)
class Spec:
    """Shape and dtype of a tensor without its value.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.Spec((2, 3))
    Spec(shape=(2, 3), dtype=dtype('float32'))
    """

    shape: tuple[int, ...]
    dtype: np.dtype = DEFAULT_FLOAT

    def __post_init__(self) -> None:
        shape = self.shape
        if type(shape) is not tuple or not set(map(type, shape)) <= _INT:
            object.__setattr__(self, "shape", tuple(map(int, (shape,) if isinstance(shape, int) else shape)))
        if not isinstance(self.dtype, np.dtype):
            object.__setattr__(self, "dtype", np.dtype(self.dtype))

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return prod(self.shape)


@dataclass(eq=False, slots=True)
class Op:
    """One operation: everything that the engine, the drawer and the tests know of it.

    Attributes
    ----------
    name : str
        Unique name in the registry.
    run : callable
        ``run(*arrays, **params) -> array``: the kernel. None for leaves.
    shape : callable
        ``shape(*specs, **params) -> Spec``: the result's shape and dtype, or a ShapeError.
    vjp : tuple of callable, callable, or str
        One rule per input, ``rule(g, y, *inputs, **params)``; for ops of any number of inputs a single
        ``rule(wanted, g, y, *inputs, **params)`` that gives a list for the wanted inputs; or, in words, why there is no
        gradient. A rule neither sums over broadcast axes nor adds up contributions: the engine does.
    jvp : "diagonal", "linear", "multilinear", callable, or None
        Forward rule: elementwise ops reuse their `vjp`; linear ops are applied to all tangents at once, multilinear
        ones to one tangent at a time; else ``jvp(i, tangent, y, *inputs, **params)``, the part that comes through
        input `i`.
    formula : str
        LaTeX, with the inputs as ``{0}``, ``{1}``.
    symbol : str
        Short label for pictures; the name where empty.
    kernels : dict, optional
        Kernels of an elementwise op, and of its rules.
    plain : bool
        Whether the rules use only what arrays can do as well (operators and methods), so that a backward pass that
        records nothing may run them on arrays.
    takes : callable, optional
        ``takes(*specs, **params)``: whether inputs and params are such as the op's public function passes. What is read
        from a text is asked; shape rules and kernels rely on it. An op that no kernel of ours computes needs none.
    """

    name: str
    run: Callable[..., Any] | None = None
    shape: Callable[..., Spec] | None = None
    vjp: tuple[Callable[..., Any], ...] | Callable[..., Any] | str = "a leaf"
    jvp: str | Callable[..., Any] | None = None
    formula: str = ""
    symbol: str = ""
    kernels: Any = field(default=None, repr=False)
    plain: bool = False
    takes: Callable[..., bool] | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def __str__(self) -> str:
        return self.name  # in messages

    @property
    def label(self) -> str:
        return self.symbol or self.name


class Origin(NamedTuple):
    """Where in a program a quantity is computed: equal for the same quantity at other time steps."""

    location: Location
    op: Op
    scope: tuple[str, ...]

    @property
    def line(self) -> Origin:
        """What it shares with operations of its kind and scope elsewhere on the line, as the branches of an ``if``."""
        return Origin(self.location.whole_line or self.location, self.op, self.scope)


class Count(int):
    """A number of entries, which says what to write where it is called, as it is in PyTorch."""

    __slots__ = ()

    def __call__(self, *axis: Any) -> Any:
        place = f"[{', '.join(map(str, axis))}]" if axis else ""
        raise fail(
            TypeError, "size: the number of entries of a tensor is not called", expected=f"x.size, here {self:d}",
            hint=f"write x.shape{place} for the sizes of axes",
        )  # fmt: skip


CONSTANT = Op("constant", symbol="const")  # data of the user's
PARAMETER = Op("parameter", symbol="param")  # a leaf that is trained
PLACEHOLDER = Op("placeholder", symbol="input")  # an input of a traced function: no value
GRADIENT = Op("gradient", symbol="grad")  # what is kept in .grad
LITERAL = Op("literal")  # a Python number inside an expression
DETACHED = Op("detached")  # a value cut off from its history

_serial = count(1)
_new = object.__new__


def next_serial() -> int:
    """A serial number between those of the tensors that there are and those to come."""
    return next(_serial)


class Tensor:
    """A value and the operation that made it. Make one with :func:`tensor` or :func:`parameter`."""

    __slots__ = (
        "__weakref__",
        "_grad",
        "_requires_grad",
        "_source",
        "assigned",
        "data",
        "inputs",
        "name",
        "op",
        "params",
        "place",
        "serial",
    )

    data: Any  # np.ndarray, or Spec while tracing
    op: Op
    inputs: tuple[Tensor, ...]
    params: dict[str, Any]
    serial: int
    place: Place
    _source: tuple[CodeType, int]
    name: str | None
    _requires_grad: bool
    _grad: Tensor | None
    assigned: int

    def __init__(self, *_: Any, **__: Any) -> None:
        raise TypeError("Tensor is not called: write tg.tensor(data) or tg.parameter(data)")

    # What it is -----------------------------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def dtype(self) -> np.dtype:
        return self.data.dtype

    @property
    def ndim(self) -> int:
        return self.data.ndim

    @property
    def size(self) -> int:
        return Count(self.data.size)

    @property
    def spec(self) -> Spec:
        """Shape and dtype, without the value."""
        return self.data if type(self.data) is Spec else Spec(self.data.shape, self.data.dtype)

    @property
    def is_symbolic(self) -> bool:
        """Whether there is no value, because a function is being traced."""
        return type(self.data) is Spec

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded operation made it."""
        return self.op.run is None

    @property
    def is_float(self) -> bool:
        """Whether it can carry a gradient."""
        return self.data.dtype.kind == "f"

    # Where it came from ---------------------------------------------------------------------------------------------

    @property
    def scope(self) -> tuple[str, ...]:
        """Scope path, from the outside in."""
        return self.place.scope

    @property
    def time(self) -> int | None:
        """Time step, or None outside of any."""
        return self.place.time

    @property
    def direction(self) -> str:
        """``"forward"``, or ``"backward"`` for what a gradient recorded."""
        return "backward" if self.place.backward else "forward"

    @property
    def source(self) -> Location:
        """File, lines and columns of the expression in the user's code."""
        return location(*self._source)

    @property
    def origin(self) -> Origin:
        """Expression of the user's code, op and scope: what one quantity has in common at all of its time steps.

        Pictures, equations and :mod:`tinygrad_rnn.bptt` find by it what has no name. Calls of one function in several
        places of a step, and turns of a loop within a step, share it.

        Examples
        --------
        >>> import tinygrad_rnn as tg
        >>> h, states = tg.ones(1), []
        >>> for t in tg.steps(40):
        ...     h = tg.tanh(h + h)
        ...     states.append(h)
        >>> {h.origin == states[0].origin for h in states}, states[0].origin == states[0].inputs[0].origin
        ({True}, False)
        """
        return Origin(self.source, self.op, self.place.scope)

    def named(self, name: str) -> Tensor:
        """Give the tensor a name, shown in pictures, listings and errors, and return it.

        Examples
        --------
        >>> import tinygrad_rnn as tg
        >>> (tg.ones(2) * 2).named("h")
        tensor([2., 2.], shape=(2,), dtype=float32, name='h')
        """
        if not isinstance(name, str) or not name:
            raise ValueError(f"named: a name is a non-empty string; got {name!r}")
        self.name = name
        return self

    # What it holds --------------------------------------------------------------------------------------------------

    def numpy(self) -> np.ndarray:
        """The value as a read-only array that shares memory; copy it to change it.

        Raises
        ------
        PlaceholderError
            While a function is being traced, when there is no value.
        """
        if type(self.data) is Spec or current().tracing is not None:
            self._check_value("its value")
        view = self.data.view()
        view.flags.writeable = False
        return view

    def item(self) -> Any:
        """The value of a tensor with one element, as a Python number."""
        if self.size != 1:
            raise fail(
                ShapeError,
                f"item: {describe(self)} holds {self.size} values",
                expected="a tensor with one element",
                hint="use .tolist(), or index one element first",
            )
        return self.numpy().item()

    def tolist(self) -> Any:
        """The value as nested Python lists."""
        return self.numpy().tolist()

    def _check_value(self, what: str) -> None:
        """Raise if there is no value, or one that will be another when the traced function is computed again."""
        effects = current().tracing
        if self.is_symbolic or (effects is not None and _may_change(self, effects)):
            raise fail(
                PlaceholderError,
                f"{describe(self)} was asked for {what} while its function is being traced: it has only shape and dtype"
                f"\n  {context()}",
                hint="use tg.where instead of if, keep the value-dependent part outside of the traced function, "
                "or call the function without tracing it and look at its results",
            )

    def __repr__(self) -> str:
        name = "" if self.name is None else f", name={self.name!r}"
        facts = f"shape={self.shape}, dtype={self.dtype}{name}"
        if self.is_symbolic:
            return f"symbolic({self.op.label}, {facts})"
        value = np.array2string(self.data, separator=", ", prefix="tensor(", threshold=200, edgeitems=3)
        grad = ", requires_grad=True" if self.requires_grad and self.is_leaf else ""
        return f"tensor({value}, {facts}{grad})"

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len() of a tensor without axes: it holds one value")
        return self.shape[0]

    def __bool__(self) -> bool:
        if type(self.data) is Spec or current().tracing is not None:
            self._check_value("its truth value")
        if self.size != 1:
            raise fail(
                ValueError,
                f"the truth value of {describe(self)} is ambiguous: it holds {self.size} values",
                hint="use .any() or .all()",
            )
        return bool(self.data.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.dtype.kind not in "iu":
            raise TypeError(f"only an integer tensor with one element can be an index; got {describe(self)}")
        return int(self.item())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)

    __hash__ = object.__hash__

    def __setitem__(self, index: Any, value: Any) -> None:
        raise fail(
            ImmutableError,
            f"{describe(self)} cannot be written into: the recorded graph uses its value",
            hint="write t = t.at[index].set(value), or .add(value); a parameter changes by p.assign(value)",
        )

    # Leaves ---------------------------------------------------------------------------------------------------------

    @property
    def grad(self) -> Tensor | None:
        """The gradient that ``backward`` has left, or None.

        While a function is traced it is what the function has left so far; other threads do not see that.

        Raises
        ------
        ShapeError, DTypeError
            When it is set, for another shape or type than the tensor's.
        """
        effects = current().tracing
        return self._grad if effects is None else effects.grad_of(self, self._grad)

    @grad.setter
    def grad(self, value: Any) -> None:
        if value is not None:
            array = value.data if isinstance(value, Tensor) else _array("grad", self, value)
            if not self.is_float:
                raise fail(DTypeError, f"grad: {describe(self)} takes no gradient", expected="a tensor of floats")
            _check_like("grad", self, array)
            usable = type(array) is Spec or (type(array) is np.ndarray and array.dtype == self.dtype)
            if not isinstance(value, Tensor) or not usable:
                value = leaf(np.array(array, self.dtype), GRADIENT)  # also of a scalar, which NumPy gives for 0 axes
        effects = current().tracing
        if effects is None:
            self._grad = value
        else:
            effects.set_grad(self, value)

    @property
    def may_be_written(self) -> bool:
        """Whether a compiled function may write into its array, as it does into those of parameters."""
        return self.op is PARAMETER or (self._requires_grad and not self.inputs)

    @property
    def requires_grad(self) -> bool:
        """Whether gradients are kept for it. Of a leaf it can be set: False freezes a parameter.

        Raises
        ------
        ImmutableError
            When it is set for a tensor that an operation made.
        DTypeError
            When it is set to True for a tensor that is not of floats.
        TypeError
            When it is set to anything but True and False.

        Examples
        --------
        >>> import tinygrad_rnn as tg
        >>> w, v = tg.parameter([1.0]), tg.parameter([2.0])
        >>> w.requires_grad = False
        >>> (w * v).sum().backward()
        >>> w.grad, v.grad.tolist()
        (None, [1.0])
        """
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        value = check_switch("requires_grad", value)
        if not self.is_leaf:
            raise fail(
                ImmutableError, f"requires_grad: {describe(self)} was computed, and what it came from decides",
                expected="a parameter or constant", hint="set it before, or use .detach() to make a leaf of a result",
            )  # fmt: skip
        if value and not self.is_float:
            raise fail(DTypeError, f"requires_grad: {describe(self)}", expected="floats", got=str(self.dtype))
        effects = current().tracing
        if effects is not None and self.serial < effects.start:
            effects.switched.setdefault(self.serial, (self, self._requires_grad))
        note(self)
        if value and not self.may_be_written and type(self.data) is np.ndarray:
            self.data = self.data.copy()  # from now on it may be written into; views of it stay as they are
        self._requires_grad = value
        note(self)

    def detach(self) -> Tensor:
        """The same value as a leaf, cut off from its history: gradients stop here, and the history may be freed.

        The new leaf remembers the serial number of what it was cut from, so a picture can show the cut. Of a parameter
        it holds a copy, which stays as it is whatever becomes of the parameter.
        """
        if self.is_symbolic or current().tracing is not None:
            return record(DETACH, (self,), _NO_PARAMS, self.data)
        out = leaf(self.data.copy() if self.may_be_written else self.data, DETACHED, name=self.name)
        out.params = {"origin": self.serial}
        return out

    def assign(self, value: Any) -> Tensor:
        """Give a leaf a new value of the same shape; the way that parameters change.

        The old array is left as it was for whoever still holds it. A graph recorded before the assignment can
        no longer be differentiated (StaleError): its gradients would mix the old value with the new.

        Raises
        ------
        ImmutableError
            For a tensor that an operation made.
        ShapeError, DTypeError
            If the shapes differ, or the value would be cut to fit, as a fraction would for an integer.
        """
        if not self.is_leaf or self.is_symbolic:
            raise fail(
                ImmutableError,
                f"{describe(self)} {'has no value' if self.is_leaf else 'was computed'}, so it cannot be assigned",
                hint="assign to parameters and constants; use .detach() to make a leaf of a result",
            )
        effects = current().tracing
        if isinstance(value, Tensor):
            array = value.numpy() if effects is None else value.data
        else:
            array = _array("assign", self, value)
        _check_like("assign", self, array)
        if effects is not None:
            effects.assign(self, value if isinstance(value, Tensor) else leaf(array))
        else:
            self.replace_data(array.astype(self.dtype))
        return self

    def replace_data(self, array: np.ndarray) -> None:
        """Take `array`, which the caller gives away, as the new value of this leaf."""
        self.data = array
        self.assigned = next_serial()

    def __copy__(self) -> Tensor:
        if self.is_leaf or self._requires_grad:
            return self.__deepcopy__({})
        return self  # what was computed does not change

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        self._must_be_leaf("copied")
        copy = leaf(self.data.copy(), self.op, name=self.name, requires_grad=self.requires_grad)
        copy.params = self.params
        memo[id(self)] = copy
        return copy

    def __reduce__(self) -> Any:
        self._must_be_leaf("pickled")
        return _restore_leaf, (self.data.copy(), self.requires_grad, self.name)

    def _must_be_leaf(self, done: str) -> None:
        if not self.is_leaf or self.is_symbolic:
            raise fail(
                GradientError,
                f"{describe(self)} was computed, and its graph cannot be {done} with it",
                hint="use .detach() or .numpy() first",
            )

    def __getattr__(self, name: str) -> Any:
        hint = replacement(name, ATTRIBUTES) or "help(tinygrad_rnn.Tensor) lists what it has"
        raise fail(AttributeError, f"{name}: a tensor has no attribute of this name", hint=hint)

    if TYPE_CHECKING:  # Set by ops/methods.py and grad/, listed here for readers and type checkers.
        T: Tensor
        at: Any
        backward: ClassVar[Callable[..., None]]

        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __floordiv__(self, other: Any) -> Tensor: ...
        def __rfloordiv__(self, other: Any) -> Tensor: ...
        def __mod__(self, other: Any) -> Tensor: ...
        def __rmod__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __rpow__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __rmatmul__(self, other: Any) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __pos__(self) -> Tensor: ...
        def __abs__(self) -> Tensor: ...
        def __invert__(self) -> Tensor: ...
        def __and__(self, other: Any) -> Tensor: ...
        def __or__(self, other: Any) -> Tensor: ...
        def __xor__(self, other: Any) -> Tensor: ...
        def __lt__(self, other: Any) -> Tensor: ...
        def __le__(self, other: Any) -> Tensor: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...
        def __eq__(self, other: Any) -> Any: ...
        def __ne__(self, other: Any) -> Any: ...
        def __getitem__(self, index: Any) -> Tensor: ...
        def __iter__(self) -> Iterator[Tensor]: ...


def leaf(data: Any, op: Op = CONSTANT, *, name: str | None = None, requires_grad: bool = False) -> Tensor:
    """Wrap an array (given away by the caller) or a Spec as a node without inputs."""
    t = _new(Tensor)
    t.data = data
    t.op = op
    t.inputs = ()
    t.params = _NO_PARAMS
    t.serial = next(_serial)
    state = current()
    t.place = state.place
    t._source = state.source or user_source()
    t.name = name
    t._requires_grad = requires_grad
    t._grad = None
    t.assigned = 0
    return t


_NO_PARAMS: dict[str, Any] = {}


def replacement_for(t: Tensor, op: Op, inputs: tuple[Tensor, ...], params: dict[str, Any] = _NO_PARAMS) -> Tensor:
    """An operation in place of `t`, with a result of the same shape and type, without a value."""
    new = _new(Tensor)
    new.data = t.spec
    new.op, new.inputs, new.params = op, inputs, params
    new.serial = next(_serial)
    new.place, new._source, new.name = t.place, t._source, None
    new._requires_grad, new._grad, new.assigned = False, None, 0
    return new


def with_inputs(t: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
    """The same operation on other inputs of the same shapes, without a value; what it came from is kept."""
    new = replacement_for(t, t.op, inputs, t.params)
    new.name = t.name
    return new


def record(op: Op, inputs: tuple[Tensor, ...], params: dict[str, Any], data: Any) -> Tensor:
    """Wrap the result of an op as a node that remembers the op, or as a constant when nothing is recorded."""
    t = _new(Tensor)
    state = current()
    t.data = data
    t.place = state.place
    t.name = None
    t._grad = None
    t.assigned = 0
    t.serial = next(_serial)
    t._source = state.source or user_source()
    if state.recording or state.tracing is not None or type(data) is Spec:
        t.op = op
        t.inputs = inputs
        t.params = params
        requires = False
        for i in inputs:
            if i._requires_grad:
                requires = True
                break
        t._requires_grad = requires and data.dtype.kind == "f" and type(op.vjp) is not str
    else:
        t.op = CONSTANT
        t.inputs = ()
        t.params = _NO_PARAMS
        t._requires_grad = False
    if state.anomaly:
        _check_finite(t, op, inputs)
    if not state.recording and t.inputs and op is not DETACH:  # traced under no_grad: computed, not differentiated
        return record(DETACH, (t,), _NO_PARAMS, data)
    return t


DETACH = Op(
    "detach", lambda x: x, lambda s: s, "detach stops the gradient", formula=r"\mathrm{{stop}}({0})",
    takes=lambda x: True,
)  # fmt: skip


def describe(t: Tensor) -> str:
    """How messages call a tensor: by its name, else by its op, with time step, scope and shape."""
    where = "/".join([*t.place.scope, *(() if t.place.time is None else (f"t={t.place.time}",))])
    called = f"'{t.name}'" if t.name else t.op.label
    return f"tensor {called} {t.shape} {t.dtype}" + (f" in {where}" if where else "")


def _array(name: str, t: Tensor, value: Any) -> np.ndarray:
    """What is to become the value of `t`, as an array."""
    without_mask(value)
    try:
        return np.asarray(value)
    except ValueError as error:  # rows of different lengths
        raise fail(ShapeError, f"{name}: {describe(t)}", expected=str(t.shape), got=str(error)) from None
    except (TypeError, OverflowError):
        raise fail(DTypeError, f"{name}: {describe(t)}", expected="numbers or an array", got=brief(value)) from None


def _check_like(name: str, t: Tensor, value: Any) -> None:
    """Raise for what is not of the shape of `t`, or of a type that would be cut to fit it."""
    if value.shape != t.shape:
        raise fail(ShapeError, f"{name}: {describe(t)}", expected=str(t.shape), got=str(value.shape))
    if not np.can_cast(value.dtype, t.dtype, "same_kind"):
        raise fail(DTypeError, f"{name}: {describe(t)}", expected=str(t.dtype), got=str(value.dtype))


def _may_change(t: Tensor, effects: Any) -> bool:
    """Whether a value depends on a parameter, on chance, or on what was there before and may be assigned."""
    seen = {t.serial}
    stack = [t]
    while stack:
        node = stack.pop()
        changeable = node.op is PARAMETER or node.op is PLACEHOLDER or "generator" in node.params
        if changeable or (node.serial < effects.start and not node.inputs) or node.serial in effects.changed:
            return True
        new = [i for i in node.inputs if i.serial not in seen]
        seen.update(i.serial for i in new)
        stack += new
    return False


def context() -> str:
    """Scope, time step and line of the operation at hand, for messages."""
    state = current()
    source = location(*(state.source or user_source()))
    where = "/".join([*state.place.scope, *(() if state.place.time is None else (f"t={state.place.time}",))])
    backward = ", in the gradient of what was recorded there" if state.place.backward else ""
    return f"at {source}" + (f", in {where}" if where else "") + backward


def located(error: Exception, node: Tensor) -> Exception:
    """The error with its operation before it, and behind it the node and the line that recorded it."""
    text, first = str(error), str(error).partition(":")[0]
    named = text if first.isidentifier() else f"{node.op}: {text}"
    return type(error)(f"{named}\n  node:     {describe(node)}\n  recorded at {node.source}")


def _check_finite(t: Tensor, op: Op, inputs: tuple[Tensor, ...]) -> None:
    effects = current().tracing
    if effects is not None:
        effects.anomaly = True
    if type(t.data) is Spec or t.data.dtype.kind != "f" or np.isfinite(t.data).all():
        return
    given = ", ".join(describe(i) + _finite_note(i) for i in inputs) or "none"
    raise anomaly(
        t, t.data, f"{op.name} produced", f" {context()}", got=f"inputs: {given}",
        hint="look at the ranges of the inputs, and at the learning rate if a parameter is among them",
    )  # fmt: skip


def _finite_note(t: Tensor) -> str:
    if t.is_symbolic or t.dtype.kind != "f" or not t.size:
        return ""
    return f" in [{t.data.min():.4g}, {t.data.max():.4g}]"


def _restore_leaf(data: np.ndarray, requires_grad: bool, name: str | None) -> Tensor:
    return leaf(data, PARAMETER if requires_grad else CONSTANT, name=name, requires_grad=requires_grad)
