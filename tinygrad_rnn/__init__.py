"""tinygrad_rnn: a small autodiff framework for recurrent networks.

Every operation on a :class:`Tensor` runs at once through a Numba kernel and is recorded as a node of a graph that knows
names, scopes and time steps. From the recorded, unrolled graph come gradients of every order, listings and pictures.
"""

from . import _source_tree  # noqa: I001, F401  (first: it finds viz where nothing is installed)
from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import errors, io, nn, optim, viz
from .calls import answers as _answers
from .calls import class_answers as _class_answers
from .compile import Compiled, Program, compile
from .errors import (
    AnomalyError,
    DisconnectedError,
    DTypeError,
    GeneratorError,
    GradientError,
    ImmutableError,
    PlaceholderError,
    ShapeError,
    StaleError,
)
from .errors import fail as _fail
from .foreign import FUNCTIONS as _FUNCTIONS
from .foreign import replacement as _replacement
from .grad.anomaly import detect_anomaly
from .grad.checkpoint import checkpoint
from .grad.forward import jvp
from .grad.reverse import grad, value_and_grad, vjp
from .grad.second import hessian, hvp, jacobian
from .graph import Graph, graph, trace
from .io import load, save
from .ops import interop, methods, random  # noqa: F401  (the first two give tensors their methods)
from .ops.create import (
    arange,
    eye,
    from_dlpack,
    full,
    full_like,
    linspace,
    ones,
    ones_like,
    parameter,
    tensor,
    zeros,
    zeros_like,
)
from .ops.elementwise import (
    abs,
    add,
    ceil,
    clip,
    cos,
    divide,
    elu,
    equal,
    erf,
    erfc,
    exp,
    expm1,
    floor,
    floor_divide,
    gelu,
    greater,
    greater_equal,
    isfinite,
    isinf,
    isnan,
    leaky_relu,
    less,
    less_equal,
    log,
    log1p,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    maximum,
    minimum,
    mod,
    multiply,
    negative,
    not_equal,
    power,
    relu,
    round,
    rsqrt,
    sigmoid,
    sign,
    sin,
    softplus,
    sqrt,
    square,
    subtract,
    tanh,
    where,
)
from .ops.elementwise_op import elementwise
from .ops.index import (
    gather,
    masked_fill,
    one_hot,
    take,
)
from .ops.linalg import (
    einsum,
    matmul,
    outer,
)
from .ops.neural import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    dropout,
    huber_loss,
    layer_norm,
    log_softmax,
    mse_loss,
    softmax,
)
from .ops.reduce import (
    all,
    any,
    argmax,
    argmin,
    cumsum,
    logsumexp,
    max,
    mean,
    min,
    norm,
    prod,
    std,
    sum,
    var,
)
from .ops.shape import (
    broadcast_to,
    chunk,
    concatenate,
    expand,
    expand_dims,
    flatten,
    flip,
    moveaxis,
    pad,
    repeat,
    reshape,
    roll,
    split,
    squeeze,
    stack,
    swapaxes,
    tile,
    transpose,
)
from .scope import no_grad, scope, steps, timestep
from .tensor import Spec, Tensor
from .warmup import warmup

if TYPE_CHECKING:
    from . import bptt, data, train
    from .symbolic import equations
    from .train import fit

__version__ = "0.1.0"


# What is imported when it is first asked for, so that the package opens quickly; `testing` also needs Hypothesis.
_LATER = {"bptt": "", "data": "", "symbolic": "", "testing": "", "train": "", "equations": "symbolic", "fit": "train"}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        hint = _replacement(name, _FUNCTIONS)
        raise _fail(AttributeError, f"module {__name__!r} has no attribute {name!r}", hint=hint)
    home = import_module(f".{_LATER[name] or name}", __name__)
    globals()[name] = found = getattr(home, name) if _LATER[name] else home
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_LATER})


__all__ = [
    "AnomalyError", "Compiled", "DTypeError", "DisconnectedError", "GeneratorError", "GradientError", "Graph",
    "ImmutableError",
    "PlaceholderError", "Program", "ShapeError", "Spec", "StaleError", "Tensor", "abs", "add", "all", "any", "arange",
    "argmax", "argmin", "binary_cross_entropy", "binary_cross_entropy_with_logits", "bptt", "broadcast_to", "ceil",
    "checkpoint", "chunk", "clip", "compile", "concatenate", "cos", "cross_entropy", "cumsum", "data", "detect_anomaly",
    "divide", "dropout", "einsum", "elementwise", "elu", "equal", "equations", "erf", "erfc", "errors", "exp", "expand",
    "expand_dims", "expm1", "eye", "fit", "flatten", "flip", "floor", "floor_divide", "from_dlpack", "full",
    "full_like", "gather", "gelu", "grad", "graph", "greater", "greater_equal", "hessian", "huber_loss", "hvp", "io",
    "isfinite", "isinf", "isnan", "jacobian", "jvp", "layer_norm", "leaky_relu", "less", "less_equal", "linspace",
    "load", "log", "log1p", "log_softmax", "logical_and", "logical_not", "logical_or", "logical_xor", "logsumexp",
    "masked_fill", "matmul", "max", "maximum", "mean", "min", "minimum", "mod", "moveaxis", "mse_loss", "multiply",
    "negative", "nn", "no_grad", "norm", "not_equal", "one_hot", "ones", "ones_like", "optim", "outer", "pad",
    "parameter", "power", "prod", "random", "relu", "repeat", "reshape", "roll", "round", "rsqrt", "save", "scope",
    "sigmoid", "sign", "sin", "softmax", "softplus", "split", "sqrt", "square", "squeeze", "stack", "std", "steps",
    "subtract", "sum", "swapaxes", "take", "tanh", "tensor", "tile", "timestep", "trace", "train", "transpose",
    "value_and_grad", "var", "viz", "vjp", "warmup", "where", "zeros", "zeros_like",
]  # fmt: skip

_answers(__name__)
_class_answers(Tensor)
