"""What errors say: the operation, what was expected, what came, the inputs, and what to write instead."""

import numpy as np
import pytest

import tinygrad_rnn as tg

M, V, N = tg.zeros((2, 3)).named("M"), tg.zeros(3).named("V"), tg.tensor(1.0)
HINT = r"[\s\S]*\n  hint: "
SHAPES = [  # operation, what is done, what is said
    (
        "add",
        lambda: M + tg.ones(2),
        r"add: shapes \(2, 3\) and \(2,\) do not broadcast\n  expected: .*\n  got:      sizes 2 and 3 on axis -1"
        + HINT,
    ),
    ("multiply", lambda: M * np.ones((3, 3)), "sizes 2 and 3 on axis -2"),
    ("where", lambda: tg.where(M > 0, tg.ones(2), 1.0), r"where: shapes \(2, 3\) and \(2,\) and \(\) do not broadcast"),
    ("clip", lambda: tg.clip(M, tg.zeros(2), 1.0), "clip: shapes"),
    (
        "matmul",
        lambda: M @ M,
        r"matmul: shapes \(2, 3\) and \(2, 3\) do not fit\n  expected: the last axis of the first \(3\) .* \(2\)"
        + HINT
        + "    transpose",
    ),
    ("matmul", lambda: M @ tg.ones(2), r"to equal the second's \(2\)"),
    ("matmul", lambda: V @ tg.ones((2, 3)), r"the last axis of the first \(3\)"),
    ("matmul", lambda: M @ 2.0, r"axes on both[\s\S]*use \*"),
    ("matmul", lambda: tg.ones((2, 2, 3)) @ tg.ones((3, 3, 2)), "matmul: shapes .* do not broadcast"),
    (
        "einsum",
        lambda: tg.einsum("ij,jk->ik", M, M),
        r"einsum: index 'j' of operand 1, 'jk'\n  expected: size 3, as before\n  got:      2",
    ),
    (
        "einsum",
        lambda: tg.einsum("ijk->i", M),
        r"einsum: operand 0 has shape \(2, 3\)\n  expected: 3 axes, for 'ijk'\n  got:      2 axes",
    ),
    ("einsum", lambda: tg.einsum("ii->i", M), "index 'i' of operand 0"),
    ("einsum", lambda: tg.einsum("ij->ijz", M), "cannot read 'ij->ijz' for 1 operands" + HINT),
    ("einsum", lambda: tg.einsum("ij,j", M), "for 1 operands"),
    ("einsum", lambda: tg.einsum("...i->i", M), "expected: letters"),
    ("einsum", lambda: tg.einsum("ij->ii", M), "whose letters occur once"),
    ("einsum", lambda: tg.einsum("ij,jk->ik", tg.ones((2, 1)), M), "expected: size 1"),
    (
        "reshape",
        lambda: tg.reshape(M, (4,)),
        r"reshape: \(2, 3\) -> \(4,\)\n  expected: sizes whose product is 6, .*\n  got:      product 4",
    ),
    ("reshape", lambda: tg.reshape(M, (-1, 4)), "got:      product 4 with 1 unknown"),
    ("reshape", lambda: tg.reshape(M, (-1, -1)), "at most one"),
    ("reshape", lambda: tg.reshape(tg.zeros((0, 2)), (-1, 0)), "product 0 with 1 unknown"),
    ("reshape", lambda: tg.reshape(M, (-2, -3)), "product 6"),
    ("squeeze", lambda: tg.squeeze(M, 0), r"squeeze: axis 0 of \(2, 3\)\n  expected: size 1\n  got:      2"),
    (
        "transpose",
        lambda: tg.transpose(M, (0,)),
        r"transpose: 1 axes named for shape \(2, 3\)\n  expected: a permutation of 2 axes",
    ),
    ("transpose", lambda: tg.transpose(M, (0, 0)), "an axis is named twice"),
    ("transpose", lambda: tg.transpose(M, ()), "no axes named"),
    ("broadcast_to", lambda: tg.broadcast_to(M, (3,)), r"broadcast_to: \(2, 3\) -> \(3,\)"),
    (
        "broadcast_to",
        lambda: tg.broadcast_to(M, (4, 3)),
        r"broadcast_to: \(2, 3\) -> \(4, 3\)\n  expected: axes that are equal, or 1 in the first",
    ),
    ("broadcast_to", lambda: tg.broadcast_to(V, (-1, 3)), r"broadcast_to: \(3,\) -> \(-1, 3\)"),
    ("expand", lambda: tg.expand(M, 3), r"expand: \(2, 3\) -> \(3,\)"),
    ("expand", lambda: tg.expand(M, -1, 2, 3), "-1 only for axes that there are"),
    ("tile", lambda: tg.tile(M, -1), r"tile: repetitions must not be negative\n  got:      \(-1,\)"),
    ("repeat", lambda: tg.repeat(M, -1), "repeat: counts must be integers that are not negative"),
    ("repeat", lambda: tg.repeat(V, 1.5), "counts must be"),
    ("repeat", lambda: tg.repeat(M, [1, 2], 1), r"repeat: axis 1 of \(2, 3\)\n  expected: 3 counts\n  got:      2"),
    (
        "concatenate",
        lambda: tg.concatenate([M, V]),
        r"concatenate: input 1 has shape \(3,\), input 0 has \(2, 3\)\n  expected: equal sizes on every axis but 0",
    ),
    ("concatenate", lambda: tg.concatenate([M, tg.ones((3, 3))], 1), "every axis but 1"),
    ("concatenate", lambda: tg.concatenate([]), "no tensors given"),
    ("concatenate", lambda: tg.concatenate([N, N]), "0 is not an axis of a tensor with 0 axes"),
    (
        "stack",
        lambda: tg.stack([M, V]),
        r"stack: input 1 has shape \(3,\), input 0 has \(2, 3\)\n  expected: equal shapes",
    ),
    ("stack", lambda: tg.stack([M, M], 3), "3 is not an axis of a tensor with 3 axes"),
    ("stack", lambda: tg.stack(()), "no tensors given"),
    (
        "split",
        lambda: tg.split(M, 2, 1),
        r"split: axis 1 of \(2, 3\) into 2 equal parts\n  expected: a divisor of 3" + HINT + "    use tg.chunk",
    ),
    ("split", lambda: tg.split(M, 0), "into 0 equal parts"),
    ("chunk", lambda: tg.chunk(M, 0), "must be positive\n  got:      0"),
    ("pad", lambda: tg.pad(M, -1), r"pad: widths -1 for shape \(2, 3\)\n  expected: \(before, after\)"),
    ("pad", lambda: tg.pad(M, [(1, 2)] * 3), "pad: widths"),
    ("gather", lambda: tg.gather(M, [0], 1), r"gather: indices of shape \(1,\) for \(2, 3\) along axis 1"),
    (
        "max",
        lambda: tg.max(tg.zeros((0, 3)), 0),
        r"max: there is no value to take over axes \(0,\) of shape \(0, 3\)\n  expected: at least one value" + HINT,
    ),
    ("min", lambda: tg.min(tg.zeros(0)), "min: there is no value"),
    ("argmax", lambda: tg.argmax(tg.zeros((0, 3)), 0), "argmax: there is no value"),
    ("argmin", lambda: tg.argmin(tg.zeros(0)), r"^argmin: there is no value to take over axes \(0,\)"),
    (
        "update",
        lambda: M.at[0].set(tg.ones(2)),
        r"at\[\].set: a value of shape \(2,\)\n  expected: one that broadcasts to \(3,\)",
    ),
    ("layer_norm", lambda: tg.layer_norm(M, bias=tg.ones(2)), "layer_norm: bias for features of tensor 'M'"),
    ("cross_entropy", lambda: tg.cross_entropy(M, [0]), r"cross_entropy: logits \(2, 3\) and targets \(1,\)"),
    ("mse_loss", lambda: tg.mse_loss(M, V), r"mse_loss: prediction \(2, 3\) and target \(3,\)"),
]
AXIS_TAKERS = {
    name: (lambda x, a, n=name: getattr(tg, n)(x, axis=a))
    for name in (
        "sum",
        "mean",
        "max",
        "min",
        "prod",
        "var",
        "logsumexp",
        "norm",
        "any",
        "all",
        "argmax",
        "argmin",
        "cumsum",
        "softmax",
        "log_softmax",
        "squeeze",
        "flip",
    )
} | {
    "expand_dims": lambda x, a: tg.expand_dims(x[0], a),
    "swapaxes": lambda x, a: tg.swapaxes(x, 0, a),
    "moveaxis": lambda x, a: tg.moveaxis(x, a, 0),
    "concatenate": lambda x, a: tg.concatenate([x, x], a),
    "split": lambda x, a: tg.split(x, 1, a),
    "chunk": lambda x, a: tg.chunk(x, 1, a),
    "roll": lambda x, a: tg.roll(x, 1, a),
    "repeat": lambda x, a: tg.repeat(x, 1, a),
    "take": lambda x, a: tg.take(x, [0], a),
    "gather": lambda x, a: tg.gather(x, [[0]], a),
    "transpose": lambda x, a: tg.transpose(x, (0, a)),
}


@pytest.mark.parametrize(("op", "use", "message"), SHAPES)
def test_shape_errors_say_what_was_expected_and_carry_their_inputs(op, use, message):
    with pytest.raises(tg.ShapeError, match=message) as caught:
        use()
    assert caught.value.op == op
    assert len(caught.value.inputs) >= (0 if "no tensors" in message else 1)
    assert all(isinstance(t, tg.Tensor) for t in caught.value.inputs)
    for k, t in enumerate(caught.value.inputs):
        assert f"\n  input {k}:  tensor " in str(caught.value)
        assert str(t.shape) in str(caught.value)
    assert f"at {__file__}:" in str(caught.value)


def test_the_graph_up_to_a_failure_can_be_drawn():
    with pytest.raises(tg.ShapeError) as caught:
        tg.tanh(M + 1).named("h") @ tg.ones(7)
    assert "= tanh(add)" in tg.graph(caught.value.inputs).listing()


@pytest.mark.parametrize("axis", [2, -3, 1.0, True, "0"])
@pytest.mark.parametrize("name", AXIS_TAKERS)
def test_axis_errors_name_the_axis_and_the_choices(name, axis):
    message = rf"{name}: {axis!r} is not an axis of a tensor with 2 axes\n  expected: integers from -2 to 1"
    with pytest.raises(tg.ShapeError, match=message) as caught:
        AXIS_TAKERS[name](M, axis)
    assert (caught.value.op, len(caught.value.inputs) > 0) == (name, True)


@pytest.mark.parametrize("name", ["sum", "mean", "max", "var", "norm", "any", "flip", "squeeze"])
def test_an_axis_named_twice_is_refused(name):
    with pytest.raises(tg.ShapeError, match=rf"{name}: an axis is named twice\n  got:      \(0, -2\)"):
        getattr(tg, name)(M, axis=(0, -2))


def test_a_tensor_without_axes_says_that_it_has_none():
    with pytest.raises(
        tg.ShapeError,
        match=r"sum: 0 is not an axis of a tensor with 0 axes\n  expected: no axis: the tensor holds one value",
    ):
        N.sum(0)


def test_tracing_refuses_the_same_shapes():
    for function, shapes in [(tg.add, [(2, 3), (2,)]), (tg.matmul, [(2, 3), (2, 3)]), (lambda x: x.max(0), [(0, 3)])]:
        with pytest.raises(tg.ShapeError) as eager:
            function(*map(tg.zeros, shapes))
        with pytest.raises(tg.ShapeError) as traced:
            tg.trace(function, *shapes)
        assert str(eager.value).partition("\n  input")[0] == str(traced.value).partition("\n  input")[0]


DTYPES = [
    (
        lambda: tg.tensor(np.ones(2, np.float16)),
        "tensors of dtype float16 are not supported\n  expected: float32, float64" + HINT,
    ),
    (lambda: tg.tensor([1j]), "dtype complex128"),
    (lambda: tg.tensor(["a"]), "dtype <U1"),
    (lambda: tg.tensor([None]), "dtype object"),
    (lambda: M + np.ones(3, np.float16), "dtype float16"),
    (lambda: M.astype(complex), "dtype complex128"),
    (lambda: tg.zeros(2, np.float16), "float16"),
    (lambda: tg.tensor(np.ones(2, ">f8")), "dtype >f8"),
    (lambda: tg.arange(3, dtype=np.float16), "float16"),
    (lambda: tg.parameter([1, 2]), "a tensor of dtype int64 carries no gradient\n  expected: a float dtype" + HINT),
    (lambda: tg.sum([M, M]), "a list of tensors is not a tensor" + HINT + "    use tg.stack"),
    (lambda: tg.one_hot([0], 2, complex), "dtype complex128"),
    (lambda: tg.tensor([1.5]) << 1, "left_shift: expected integers"),
]


@pytest.mark.parametrize(("use", "message"), DTYPES)
def test_dtype_errors_say_what_is_supported(use, message):
    with pytest.raises(tg.DTypeError, match=message):
        use()


FRACTIONS = [
    lambda: tg.reshape(M, (2.0, 3)),
    lambda: tg.broadcast_to(V, (2.5, 3)),
    lambda: tg.tile(V, 1.5),
    lambda: tg.tile(V, (2, 1.5)),
    lambda: tg.pad(V, 1.5),
    lambda: tg.split(V, [1.5]),
    lambda: tg.chunk(V, 1.5),
    lambda: tg.roll(V, 0.5),
    lambda: V[0.5:],
]


@pytest.mark.parametrize("use", FRACTIONS)
def test_sizes_are_never_rounded(use):
    with pytest.raises(TypeError, match="cannot be interpreted as an integer"):
        use()


@pytest.mark.parametrize(
    ("use", "error", "message"),
    [
        (lambda: tg.clip(M), TypeError, "clip: give low, high, or both"),
        (lambda: tg.norm(M, 3), ValueError, "norm: expected ord 1, 2 or infinity, got 3"),
        (lambda: tg.where(M > 0, M), TypeError, "where: missing a required argument: 'b'" + HINT),
        (lambda: tg.add(M), TypeError, "add: missing a required argument: 'b'" + HINT),
        (lambda: bool(M), ValueError, r"value of tensor 'M' \(2, 3\) float32 is ambiguous" + HINT + "    use .any"),
        (lambda: M.item(), tg.ShapeError, "item: tensor 'M' .* holds 6 values"),
        (lambda: len(N), TypeError, "without axes"), (lambda: list(N), TypeError, "without axes"),
        (lambda: tg.Tensor([1.0]), TypeError, "write tg.tensor"),
    ],
)  # fmt: skip
def test_other_mistakes(use, error, message):
    with pytest.raises(error, match=message):
        use()
