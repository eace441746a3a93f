"""One walk over everything that is registered or public: nothing may lack a rule, a reason, or a case in the table."""

import inspect

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.ops import core, create, elementwise, linalg, neural, reduce, shape
from tinygrad_rnn.ops import index as indexing
from tinygrad_rnn.tensor import Op, Spec
from tinygrad_rnn.testing import GradientMismatch, InconclusiveError, check_grad

from .cases import CASES

OPS = sorted(core.registry.values(), key=lambda op: op.name)
ELEMENTWISE = [op for op in OPS if op.kernels is not None]
every = pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
CREATED = set(create.__all__)  # nothing to differentiate: test_create.py


def ops_used(case):
    """Names of the ops that a case records, traced and in its gradients as well."""
    inputs = [tg.tensor(a) for a in case.arrays()]
    outputs = case.function(*inputs)
    outputs = [outputs] if isinstance(outputs, tg.Tensor) else list(outputs)
    nodes = [*tg.graph(outputs), *tg.trace(case.function, *case.arrays())]
    if case.differentiable:
        wrt = [t for t in inputs if t.is_float]
        seeds = [tg.ones_like(y) for y in outputs]
        first = tg.grad(outputs, wrt, seeds, create_graph=True, allow_unused=True)
        nodes += tg.graph([g for g in first if g is not None] or outputs)
    return {t.op.name for t in nodes}


@pytest.fixture(scope="module")
def tested():
    return set().union(*map(ops_used, CASES))


def untested(registry, tested):
    return sorted(set(registry) - tested)


def test_every_registered_op_is_used_by_a_case(tested):
    assert untested(core.registry, tested) == []


def test_a_new_op_without_a_case_is_noticed(tested):
    assert untested(core.registry | {"brand_new": Op("brand_new")}, tested) == ["brand_new"]


def test_every_public_function_of_the_ops_has_a_case():
    modules = (elementwise, reduce, linalg, shape, indexing, neural)
    declared = {"elementwise", *(name for module in modules for name in module.__all__)}
    public = {
        n
        for n in tg.__all__
        if getattr(inspect.unwrap(getattr(tg, n)), "__module__", "").startswith("tinygrad_rnn.ops.")
    }
    assert declared <= set(tg.__all__)
    assert declared | CREATED >= public
    assert declared - {case.name for case in CASES} == set()


@every
def test_an_op_says_everything_about_itself(op):
    assert core.registry[op.name] is op
    assert callable(op.run)
    assert callable(op.shape)
    assert op.formula
    assert op.label
    op.formula.format("x", "y", "z")  # its braces are doubled where LaTeX needs them
    if isinstance(op.vjp, str):
        assert len(op.vjp.split()) > 2, "the reason for having no gradient is a sentence"
    else:
        assert callable(op.vjp) or (isinstance(op.vjp, tuple) and all(map(callable, op.vjp)))
        assert callable(op.jvp) or op.jvp in ("diagonal", "linear", "multilinear")


@pytest.mark.parametrize("dtype", [np.dtype(np.float32), np.dtype(np.float64)], ids=str)
@pytest.mark.parametrize("op", ELEMENTWISE, ids=lambda op: op.name)
def test_every_elementwise_rule_fuses(op, dtype):
    if isinstance(op.vjp, str):
        assert op.kernels.out(dtype).kind == "b"
        return
    assert len(op.vjp) == op.kernels.arity
    for i, line in enumerate(op.vjp):
        if line in (elementwise.identity_rule, elementwise.zero_rule) or (op.name == "where" and i == 0):
            continue
        fused = op.kernels.rule(i, dtype)
        assert fused is not None, f"rule {i} of {op.name} is not compiled for {dtype}"
        kernel, takes = fused
        out = kernel(*[np.ones(3, t) for t in _types(op, dtype, takes)])
        assert out.dtype == dtype


def _types(op, dtype, takes):
    types = [dtype, dtype, *op.kernels.types(dtype)]
    return [types[k] for k in takes]


def _linear_cases():
    seen, cases = set(), []
    for case in CASES:
        for name in sorted(ops_used(case)) if case.differentiable else ():
            if name not in seen and core.registry.get(name) and core.registry[name].jvp in ("linear", "multilinear"):
                seen.add(name)
                cases.append((name, case))
    return cases


@pytest.mark.parametrize(("name", "case"), _linear_cases(), ids=str)
def test_ops_declared_linear_are_linear(name, case):
    """Doubling all float inputs of the case's node doubles (or, for products, multiplies) what comes out."""
    inputs = [tg.tensor(a) for a in case.arrays()]
    outputs = case.function(*inputs)
    outputs = [outputs] if isinstance(outputs, tg.Tensor) else list(outputs)
    gradients = tg.grad(
        outputs,
        [t for t in inputs if t.is_float],
        list(map(tg.ones_like, outputs)),
        create_graph=True,
        allow_unused=True,
    )
    nodes = [*tg.graph(outputs), *tg.graph([g for g in gradients if g is not None] or outputs)]
    for node in nodes:
        if node.op.name != name or not node.inputs[0].is_float:
            continue
        floats = [t.is_float for t in node.inputs]
        doubled = [2 * t.data if f else t.data for t, f in zip(node.inputs, floats, strict=True)]
        factor = 2 if node.op.jvp == "linear" else 2 ** sum(floats)
        np.testing.assert_allclose(node.op.run(*doubled, **node.params), factor * node.data, rtol=1e-12, atol=1e-12)


@every
def test_shape_rules_take_specs_alone(op):
    """A shape rule never looks at values: the table test traces every op, and this one holds the signature."""
    parameters = inspect.signature(op.shape).parameters.values()
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL)]
    assert positional, f"{op.name}'s shape rule takes no input"


def test_an_elementwise_shape_rule_gives_the_dtype_of_the_kernel_for_every_dtype():
    for op in ELEMENTWISE:
        for dtype in map(np.dtype, (np.float32, np.float64, np.int8, np.uint8, np.int32, np.int64, np.uint64, bool)):
            if dtype.kind != "f" and op.kernels.integers is None:
                continue
            arrays = [np.ones(2, t) for t in op.kernels.types(dtype)]
            try:
                found = op.run(*arrays)
            except tg.DTypeError:
                with pytest.raises(tg.DTypeError, match=op.name):
                    op.shape(*(Spec(a.shape, a.dtype) for a in arrays))
                continue
            assert op.shape(*(Spec(a.shape, a.dtype) for a in arrays)) == Spec(found.shape, found.dtype), (
                op.name,
                dtype,
            )


def test_registering_a_name_twice_is_an_error():
    with pytest.raises(ValueError, match="'tanh' is registered already"):
        core.register(Op("tanh"))


@pytest.fixture(scope="module")
def cases_of():
    """The cases that record an op, smallest first."""
    found = {op.name: [] for op in OPS}
    for case in sorted(CASES, key=lambda case: sum(a.size for a in case.arrays())):
        for name in sorted(ops_used(case)) if case.differentiable else ():
            found.setdefault(name, []).append(case)
    return found


RULES = [
    (op, i)
    for op in OPS
    if isinstance(op.vjp, tuple)
    for i, line in enumerate(op.vjp)
    if line is not elementwise.zero_rule
]
SKIPPED = {
    ("where", 0): "conditions carry no gradient",
    ("cross_entropy", 1): "classes carry no gradient",
    ("surplus", 1): "classes carry no gradient",
    ("cast", 0): "differences drown in float32; test_elementwise.py has exact derivatives through conversions",
}


@pytest.mark.parametrize(("op", "i"), RULES, ids=lambda x: getattr(x, "name", x))
def test_a_rule_that_is_off_by_a_thousandth_is_caught(op, i, cases_of, monkeypatch):
    """The tester is tested on every rule of the package: made wrong, it fails a check of some case of the table."""
    if (op.name, i) in SKIPPED:
        pytest.skip(SKIPPED[op.name, i])
    wrong = lambda *a, line=op.vjp[i], **k: scaled(line(*a, **k))
    monkeypatch.setattr(op, "vjp", (*op.vjp[:i], wrong, *op.vjp[i + 1 :]))
    assert any(notices(case) for case in cases_of[op.name]), "no case notices"


def notices(case):
    try:
        check_grad(case.function, *case.arrays(1), seed=1, modes=["vjp", "hvp"])
    except GradientMismatch:
        return True
    except InconclusiveError:
        return False
    return False


def scaled(part):
    """What a rule gave, with its value a thousandth too large."""
    if isinstance(part, indexing.Placed):
        return indexing.Placed(part.value * 1.001, part.template, part.indices)
    return linalg.Product(part.a, part.g * 1.001) if isinstance(part, linalg.Product) else part * 1.001
