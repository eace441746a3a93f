"""Programs as JSON: what is loaded does what was saved."""

from __future__ import annotations

import json
from collections import namedtuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tests.compile.test_random_graphs import KINKED, SMOOTH, found, inputs_of, programs, total
from tinygrad_rnn.compile.compiler_ops import INTERNAL
from tinygrad_rnn.compile.lower import LOWERINGS
from tinygrad_rnn.ops.core import registry


def model(seed=0):
    rng = np.random.default_rng(seed)
    shapes = {"E": (9, 4), "W": (4, 5), "U": (5, 5), "b": (5,), "V": (5, 3)}
    tensors = {name: tg.parameter(rng.normal(size=s), name=name) for name, s in shapes.items()}
    optimizer = tg.optim.Adam(list(tensors.values()), lr=0.05)

    def step(tokens, targets):
        optimizer.zero_grad()
        h, outputs = tg.zeros((2, 5), np.float64), []
        for t in tg.steps(4):
            h = tg.tanh(tensors["E"][tokens[t]] @ tensors["W"] + h @ tensors["U"] + tensors["b"])
            outputs.append(h[:, ::1])
        loss = tg.cross_entropy(tg.stack(outputs) @ tensors["V"], targets)
        loss.backward()
        tg.optim.clip_grad_norm(list(tensors.values()), 0.5)
        optimizer.step()
        return loss

    return tensors, optimizer, step


TOKENS = np.random.default_rng(1).integers(0, 9, (4, 2))
TARGETS = np.random.default_rng(2).integers(0, 3, (4, 2))


def test_a_training_step_goes_on_as_if_it_had_not_been_saved():
    tensors, _, step = model()
    compiled = tg.compile(step)
    text = compiled.program(TOKENS, TARGETS).to_json()
    losses = [compiled(TOKENS, TARGETS).item() for _ in range(4)]
    others, optimizer, _ = model()
    again = tg.Program.from_json(text, others, [optimizer])
    assert [again.run([TOKENS, TARGETS])[0].item() for _ in range(4)] == losses
    for name in tensors:
        np.testing.assert_array_equal(tensors[name].numpy(), others[name].numpy())
    assert optimizer.step_count == 4


def test_memory_may_be_chosen_when_loading():
    _, _, step = model()
    text = tg.compile(step).program(TOKENS, TARGETS).to_json()
    results = []
    for memory in (None, "sqrt"):
        tensors, optimizer, _ = model()
        program = tg.Program.from_json(text, tensors, [optimizer], memory=memory)
        results.append([program.run([TOKENS, TARGETS])[0].item() for _ in range(3)])
    np.testing.assert_allclose(results[0], results[1], rtol=1e-12)


def test_random_numbers_need_a_generator():
    rng = np.random.default_rng(0)
    text = tg.compile(lambda x: tg.dropout(x, 0.5, generator=rng)).program(np.ones(8)).to_json()
    with pytest.raises(KeyError, match="generator"):
        tg.Program.from_json(text)
    program = tg.Program.from_json(text, generator=np.random.default_rng(3))
    expected = tg.dropout(tg.tensor(np.ones(8)), 0.5, generator=np.random.default_rng(3))
    np.testing.assert_array_equal(program.run([np.ones(8)])[0], expected.numpy())


def test_values_that_json_lacks():
    added = np.array([np.nan, 0.0, -np.inf, 1.0])
    text = tg.compile(lambda x: tg.pad(x, 1, np.inf) + added).program(np.ones(2)).to_json()
    json.loads(text, parse_constant=lambda c: pytest.fail(f"{c} is not JSON"))
    result = tg.Program.from_json(text).run([np.ones(2)])[0]
    np.testing.assert_array_equal(result, [np.nan, 1.0, -np.inf, np.inf])


def test_what_does_not_fit_is_refused():
    w = tg.parameter([1.0, 2.0], name="w")
    text = tg.compile(lambda x: w * x).program(np.ones(2, np.float32)).to_json()
    with pytest.raises(KeyError, match="'w'"):
        tg.Program.from_json(text)
    with pytest.raises(ValueError, match="should be"):
        tg.Program.from_json(text, {"w": tg.parameter([1.0, 2.0, 3.0])})
    with pytest.raises(ValueError, match="version"):
        tg.Program.from_json("[]")
    with pytest.raises(KeyError, match="evil"):
        tg.Program.from_json(text.replace('"multiply"', '"evil"'), {"w": w})
    with pytest.raises(TypeError, match="'w'"):
        tg.Program.from_json(text, {"w": np.ones(2)})
    for wrong in ({"tensors": 5}, {"optimizers": tg.optim.SGD([w], 0.1)}, {"generator": 5}, {"operations": [abs]}):
        with pytest.raises(TypeError, match="expected: a "):
            tg.Program.from_json(text, **({"tensors": {"w": w}} | wrong))
    with pytest.raises(TypeError, match="a string"):
        tg.Program.from_json(json.loads(text), {"w": w})


def test_tensors_without_names_of_their_own_are_refused():
    unnamed = tg.parameter([1.0])
    with pytest.raises(ValueError, match="names of their own"):
        tg.compile(lambda x: unnamed * x).program(np.ones(1)).to_json()
    pair = [tg.parameter([1.0], name="w") for _ in range(2)]
    with pytest.raises(ValueError, match="names of their own"):
        tg.compile(lambda x: pair[0] * x + pair[1]).program(np.ones(1)).to_json()


class Model(tg.nn.Module):
    """Two parameters of one name."""

    def __init__(self):
        self.cell = tg.nn.RNNCell(2, 3, generator=0)
        self.readout = tg.nn.Linear(3, 1, generator=1)

    def forward(self, x):
        return self.readout(self.cell(x, self.cell.initial_state(len(x)))[0])


def test_tensors_of_a_module_are_named_by_their_paths():
    model, other = Model(), Model()
    other.load_state_dict({name: 2 * value for name, value in model.state_dict().items()})
    x = np.ones((4, 2), np.float32)
    text = tg.compile(model).program(x).to_json(model)
    for each in (model, other):
        expected = tg.compile(each)(x).numpy()
        np.testing.assert_array_equal(tg.Program.from_json(text, each).run([x])[0], expected)


# What is given --------------------------------------------------------------------------------------------------------


def step_text():
    return tg.compile(model()[2]).program(TOKENS, TARGETS).to_json()


def test_an_optimiser_over_other_parameters_or_in_another_order_is_refused():
    text = step_text()
    tensors, _, _ = model()
    turned = tg.optim.Adam([*tensors.values()][::-1])
    with pytest.raises(ValueError, match="parameter 0 of the optimiser is 'V', the program updates 'E'"):
        tg.Program.from_json(text, tensors, [turned])
    others = tg.optim.Adam([tg.parameter(t.numpy()) for t in tensors.values()])
    with pytest.raises(ValueError, match=r"parameter 0 of the optimiser is a tensor \(9, 4\) float64"):
        tg.Program.from_json(text, tensors, [others])
    with pytest.raises(ValueError, match="a number from 0 to 1"):
        tg.Program.from_json(text, tensors, [tg.optim.Adam([*tensors.values()][:2])])


def test_an_optimiser_of_another_kind_is_refused():
    text = step_text()
    tensors, adam, _ = model()
    parameters = [*tensors.values()]
    for other in (tg.optim.SGD(parameters, 0.1), tg.optim.AdamW(parameters), tg.optim.RMSprop(parameters)):
        with pytest.raises(ValueError, match="expected: Adam"):
            tg.Program.from_json(text, tensors, [other])
    for wrong in ([], [adam, adam], [adam, tg.optim.Adam(parameters)]):
        with pytest.raises(ValueError, match="1, each once: Adam"):
            tg.Program.from_json(text, tensors, wrong)
    with pytest.raises(TypeError, match="an optimiser"):
        tg.Program.from_json(text, tensors, [lambda: None])
    adam.state[1][0] = np.zeros(3)
    with pytest.raises(ValueError, match="state of the optimiser for 'W'"):
        tg.Program.from_json(text, tensors, [adam])


def test_momentum_is_another_kind():
    w = tg.parameter([1.0], name="w")
    sgd = tg.optim.SGD([w], 0.1)

    def step(x):
        sgd.zero_grad()
        (w * x).sum().backward()
        sgd.step()

    text = tg.compile(step).program(np.ones(1, np.float32)).to_json()
    with pytest.raises(ValueError, match="rule 'sgd'"):
        tg.Program.from_json(text, {"w": w}, [tg.optim.SGD([w], 0.1, momentum=0.5)])
    program = tg.Program.from_json(text, {"w": w}, [tg.optim.SGD([w], 0.5)])
    assert program(np.ones(1, np.float32)) is None
    assert w.tolist() == [0.5]


def test_one_tensor_under_two_names_is_refused():
    a, b = tg.parameter([1.0], name="a"), tg.parameter([2.0], name="b")
    text = tg.compile(lambda x: a * x + b).program(np.ones(1, np.float32)).to_json()
    with pytest.raises(ValueError, match="'a' and 'b' as two tensors"):
        tg.Program.from_json(text, {"a": a, "b": a})


def test_generators_stay_apart():
    rngs = [np.random.default_rng(k) for k in range(2)]

    def fn(x):
        return [tg.dropout(x, 0.5, generator=rngs[k]) for k in (0, 1, 0)]

    text = tg.compile(fn).program(np.ones(8)).to_json()

    def drawn(*order):
        fresh = [np.random.default_rng(5), np.random.default_rng(6)]
        return [tg.dropout(tg.tensor(np.ones(8)), 0.5, generator=fresh[k]).tolist() for k in order]

    given = [np.random.default_rng(5), np.random.default_rng(6)]
    program = tg.Program.from_json(text, generator=given)
    assert [t.tolist() for t in program(np.ones(8))] == drawn(0, 1, 0)
    for wrong in (None, given[0], given[:1]):
        with pytest.raises(KeyError, match="draws from 2 generators, got"):
            tg.Program.from_json(text, generator=wrong)
    with pytest.raises(ValueError, match="generators\n  expected: 2"):
        tg.Program.from_json(text, generator=[*given, given[0]])
    with pytest.raises(TypeError, match="Generator"):
        tg.Program.from_json(text, generator=[0, 1])


def test_a_check_says_what_it_said_before_it_was_saved():
    a, b = tg.parameter([1.0], name="a"), tg.parameter([1.0], name="b")
    sgd = tg.optim.SGD([a, b], 0.1)

    def step(x):
        sgd.zero_grad()
        (a * x[0] + b * x[1]).sum().backward()
        tg.optim.clip_grad_norm([a, b], 1.0)
        sgd.step()

    text = tg.compile(step).program(np.ones(2, np.float32)).to_json()
    program = tg.Program.from_json(text, {"a": a, "b": b}, [sgd])
    with pytest.raises(tg.GradientError, match="clip_grad_norm: the gradient of tensor 'b'") as after:
        program(np.array([1, np.inf], np.float32))
    with pytest.raises(tg.GradientError) as before:
        tg.compile(step)(np.array([1, np.inf], np.float32))
    assert str(after.value) == str(before.value)
    assert (a.tolist(), b.tolist()) == ([1.0], [1.0])


# Operations of one's own ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cube", "detach", "negative", "apply_update", "constant"])
def test_operations_of_ones_own(name):
    own = tg.elementwise(lambda x: x * x * x, vjp=lambda g, y, x: 3 * g * x * x, name=name)
    text = tg.compile(lambda x: tg.grad((own(x) - x).sum(), x)).program(np.ones(2)).to_json()
    program = tg.Program.from_json(text, operations={name: own})
    assert program(np.array([1.0, 2.0])).tolist() == [2.0, 11.0]
    both = tg.compile(lambda x: own(x)).program(np.ones(2)).to_json()
    with pytest.raises(KeyError, match=f"operations={{'{name}': {name}}}"):
        tg.Program.from_json(both)
    two = tg.elementwise(lambda x, y: x + y, name=name)
    with pytest.raises(ValueError, match="one of 1 inputs"):
        tg.Program.from_json(both, operations={name: two})
    for other in (tg.negative, tg.sum, abs, 3):
        with pytest.raises(TypeError, match="made by tg"):
            tg.Program.from_json(both, operations={name: other})


def test_a_registered_operation_is_never_one_of_ones_own():
    mine = tg.elementwise(lambda x: x + 100, name="negative")
    text = tg.compile(lambda x: -x).program(np.ones(1)).to_json()
    assert tg.Program.from_json(text, operations={"negative": mine})(np.ones(1)).tolist() == [-1.0]


def test_two_operations_of_one_name_are_refused():
    one, two = tg.elementwise(lambda x: x + 1, name="shift"), tg.elementwise(lambda x: x + 2, name="shift")
    with pytest.raises(ValueError, match="two operations of your own are called 'shift'"):
        tg.compile(lambda x: one(x) + two(x)).program(np.ones(1)).to_json()


def test_what_has_a_kernel_says_what_it_takes():
    """Only what NumPy runs may leave it to NumPy to refuse."""
    lowered = {entry if isinstance(entry, str) else entry.name for entry in LOWERINGS}
    assert len(lowered & {*registry}) > 20
    silent = {name for name, op in registry.items() if op.takes is None and (op.kernels is not None or name in lowered)}
    assert silent == set()


def test_operations_of_the_compiler_have_names_of_their_own():
    assert not {*registry} & {*INTERNAL}


# Lies -----------------------------------------------------------------------------------------------------------------


def everything():
    """A program whose text has every kind of field."""
    w = tg.parameter(np.arange(6.0).reshape(2, 3), name="w")

    def fn(x, k, scale):
        y = tg.stack([x, x * w], axis=1).transpose(1, 0, 2)[1:, :, ::2]
        z = tg.concatenate([tg.pad(y[0], ((1, 0), (0, 1)), 0.5), tg.zeros((3, 1), np.float64)], 1)
        rows = w[k] + tg.softmax(w, 1).sum((0,)) + tg.one_hot(k, 3, np.float64)
        losses = tg.cross_entropy(rows, k)
        return z.reshape(12), tg.broadcast_to(losses, (2,)), tg.layer_norm(x), tg.argmax(x, 0), scale * x

    return w, tg.compile(fn).program(np.ones((2, 3)), np.zeros(2, np.int64), 2.0).to_json()


W, EVERYTHING = everything()


def node(written, op):
    return next(n for n in written["nodes"] if n["op"] == op)


def set_(op, field, value):
    def lie(written):
        found = node(written, op)
        if field in found["params"]:
            found["params"][field] = value
        else:
            found[field] = value

    return lie


def top(key, value):
    return lambda written: written.__setitem__(key, value)


LIES = {
    "another operation": set_("transpose", "op", "reshape"),
    "an operation with an input more": set_("transpose", "op", "add"),
    "axes twice": set_("transpose", "axes", [0, 0, 1]),
    "axes out of range": set_("transpose", "axes", [0, 1, 7]),
    "a negative axis": set_("stack", "axis", -2),
    "an axis that is a fraction": set_("stack", "axis", 1.0),
    "an axis that is a truth": set_("stack", "axis", True),
    "an axis too far": set_("concatenate", "axis", 2),
    "negative widths": set_("pad", "widths", [[-1, 2], [0, 1]]),
    "too many widths": set_("pad", "widths", [[1, 0], [0, 1], [0, 0]]),
    "a value that no float holds": set_("pad", "value", "x"),
    "another shape": set_("reshape", "shape", [13]),
    "a shape with a gap": set_("reshape", "shape", [-1]),
    "an index out of range": set_("slice", "index", [5]),
    "an index by a truth": set_("slice", "index", [True]),
    "an index by a name": set_("slice", "index", ["array"]),
    "a step of nothing": set_("slice", "index", [{"slice": [None, None, 0]}]),
    "two ellipses": set_("slice", "index", [{"ellipsis": True}, {"ellipsis": True}]),
    "an index with one array too many": set_("index", "index", ["array", "array"]),
    "an unknown parameter": set_("softmax", "params", {"axis": 1, "base": 2}),
    "a missing parameter": set_("softmax", "params", {}),
    "more classes": set_("one_hot", "classes", 4),
    "a type as a string": set_("one_hot", "params", {"classes": 3, "dtype": "float64"}),
    "another eps": set_("normalize", "eps", [0.1]),
    "float32 where float64 goes in": set_("transpose", "dtype", "float32"),
    "objects": set_("transpose", "dtype", "object"),
    "float16": set_("stack", "dtype", "float16"),
    "another order of bytes": set_("stack", "dtype", ">f8"),
    "targets that are floats": lambda w: node(w, "cross_entropy")["inputs"].__setitem__(1, 0),
    "indices that are floats": lambda w: node(w, "index")["inputs"].__setitem__(1, 0),
    "a huge shape": set_("broadcast_to", "shape", [10**18]),
    "a shape beyond int64": set_("broadcast_to", "shape", [10**30]),
    "a shape that is beyond all memory": set_("placeholder", "shape", [2**39, 2**39]),
    "a negative size": set_("placeholder", "shape", [-2, 3]),
    "a size that is a fraction": set_("placeholder", "shape", [2.0, 3]),
    "a size that is a truth": set_("placeholder", "shape", [True, 3]),
    "100 axes": set_("placeholder", "shape", [1] * 100),
    "an input that comes later": lambda w: node(w, "stack")["inputs"].__setitem__(0, len(w["nodes"]) - 1),
    "a negative input": lambda w: node(w, "stack")["inputs"].__setitem__(0, -1),
    "an input that is a truth": lambda w: node(w, "stack")["inputs"].__setitem__(0, False),
    "an input fewer": lambda w: node(w, "multiply")["inputs"].pop(),
    "no inputs": set_("stack", "inputs", []),
    "more entries": set_("literal", "value", [0.0]),
    "a value that is not of its type": lambda w: node(w, "literal").__setitem__("value", True),
    "a value that is too large": set_("literal", "value", 10**400),
    "a value for a result": set_("stack", "value", [[1.0]]),
    "no value": lambda w: node(w, "literal").pop("value"),
    "a leaf with a parameter": set_("literal", "params", {"a": 1}),
    "another direction": set_("stack", "direction", "sideways"),
    "a time that is a fraction": set_("stack", "time", 0.5),
    "a scope of numbers": set_("stack", "scope", [1]),
    "a result that is not there": top("results", [10**6]),
    "a result twice too many": lambda w: w["results"].append(0),
    "a form that is not closed": lambda w: w["call"].__setitem__("form", {"array": 3}),
    "an argument twice": lambda w: w["call"]["args"]["tuple"].append({"array": 0}),
    "arguments that are no tuple": lambda w: w["call"].__setitem__("args", {"list": w["call"]["args"]["tuple"]}),
    "a name twice": lambda w: w["bound"].append(w["bound"][0]),
    "another leaf": lambda w: w["bound"].__setitem__(0, [0, "w"]),
    "a leaf that stands for nothing": top("bound", []),
    "an argument that is no leaf": lambda w: w["arguments"][0].__setitem__("node", len(w["nodes"]) - 1),
    "another type of an argument": lambda w: w["arguments"][0].__setitem__("dtype", "float32"),
    "a sequence of changes that is none": top("last", 0),
    "random numbers that are none": top("drawn", [0]),
    "a segment that ends outside": top("segments", [[0, 10**6]]),
    "a segment from its end": top("segments", [[3, 1]]),
    "a generator that begins anew and is not there": top("restarted", [0]),
    "generators that begin anew as a number": top("restarted", 1),
    "an optimiser that is not there": top("optimizers", [{"kind": "Adam", "rule": "adam", "slots": []}]),
    "generators without number": top("generators", 10**9),
    "an unknown key": top("extra", 1),
    "a version as text": top("version", "2"),
    "the version before": top("version", 1),
    "a node that is a number": lambda w: w["nodes"].__setitem__(3, 3),
    "nodes that are a number": top("nodes", 3),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_refused_in_words(lie):
    written = json.loads(EVERYTHING)
    LIES[lie](written)
    assert json.dumps(written) != EVERYTHING
    with pytest.raises((ValueError, KeyError), match="from_json: "):
        tg.Program.from_json(json.dumps(written), {"w": W})


def test_the_text_of_the_lies_is_true():
    program = tg.Program.from_json(json.dumps(json.loads(EVERYTHING)), {"w": W})
    results = program(np.ones((2, 3)), np.array([1, 0]), 2.0)
    assert [t.shape for t in results] == [(12,), (2,), (2, 3), (3,), (2, 3)]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"version": 2', '"version": 2, "version": 2', "a key stands twice"),
        ('"version": 2', '"version": NaN', "NaN is no number of JSON's"),
        ('"version": 2', '"version": ' + "9" * 5000, "not JSON of a program"),
        ('"version": 2', '"version": ' + "[" * 100_000, "nested too deeply"),
        ('"version": 2', '"version": 2, "a": ' + "[" * 900 + "]" * 900, "a"),
        ('"tuple": [', '"tuple": [' + '{"list": [' * 200 + "null" + "]}" * 200 + ", ", "at most 50 levels"),
        ('"axes": ', '"axes": ' + "[" * 200 + "]" * 200 + ', "x": ', "at most 50 levels"),
        ("{", "", "not JSON of a program"),
    ],
)
def test_a_text_that_is_no_program_is_refused_in_words(old, new, words):
    with pytest.raises(ValueError, match=words) as error:
        tg.Program.from_json(EVERYTHING.replace(old, new, 1), {"w": W})
    assert str(error.value).startswith("from_json: ")


def change(written, op, k=0):
    return [n for n in written["nodes"] if n["op"] == op][k]


CHANGED = {
    "another parameter": lambda w: change(w, "apply_update")["params"].__setitem__("parameter", "W"),
    "an index of another": lambda w: change(w, "apply_update")["params"].__setitem__("index", 1),
    "an index beyond": lambda w: change(w, "apply_update")["params"].__setitem__("index", 9),
    "an optimiser beyond": lambda w: change(w, "apply_update")["params"].__setitem__("optimizer", 1),
    "a step that comes later": lambda w: change(w, "apply_update")["params"].__setitem__("step", 1),
    "the gradient of another": lambda w: change(w, "apply_update")["inputs"].__setitem__(
        1, change(w, "apply_update", 1)["inputs"][1]
    ),
    "no order": lambda w: change(w, "apply_update")["inputs"].pop(),
    "order by a number": lambda w: change(w, "apply_update")["inputs"].__setitem__(2, 0),
    "no words": lambda w: change(w, "check_finite")["params"].__setitem__("texts", []),
    "words that are numbers": lambda w: change(w, "check_finite")["params"].__setitem__("texts", [1]),
    "a check of integers": lambda w: change(w, "check_finite")["inputs"].__setitem__(0, 0),
    "no end": lambda w: w.__setitem__("last", None),
    "an end too early": lambda w: w.__setitem__(
        "last", next(k for k, n in enumerate(w["nodes"]) if n["op"] == "sequence")
    ),
    "an order of nothing": lambda w: change(w, "sequence").__setitem__("inputs", []),
}


@pytest.mark.parametrize("lie", CHANGED)
def test_a_lie_about_changes_is_refused_in_words(lie):
    tensors, optimizer, _ = model()
    written = json.loads(step_text())
    CHANGED[lie](written)
    with pytest.raises(ValueError, match="from_json: "):
        tg.Program.from_json(json.dumps(written), tensors, [optimizer])


# Calls ----------------------------------------------------------------------------------------------------------------

X = np.arange(3, dtype=np.float32)
Pair = namedtuple("Pair", "first second")


def nested(pair, options, *, scale, layer):
    x = pair[0] + options["shift"][0] if options["add"] else pair[0]
    return Pair({"y": layer(x) * scale, 7: None}, [x, pair[1] + pair.second if isinstance(pair, Pair) else pair[1]])


def called():
    layer = tg.nn.Linear(3, 2, generator=0)
    program = tg.compile(nested).program(
        (X, X), {"shift": [X], "add": True, "name": "a"}, scale=2.0, layer=layer
    )
    return layer, program


def test_a_program_is_called_like_its_function():
    layer, program = called()
    args, named = ((X, 2 * X), {"add": True, "shift": [tg.tensor(X)], "name": "a"}), {"scale": 2.0, "layer": layer}
    expected = nested((tg.tensor(X), tg.tensor(2 * X)), {"add": True, "shift": [tg.tensor(X)]}, scale=2.0, layer=layer)
    loaded = tg.Program.from_json(program.to_json(layer), layer)
    for result in (program(*args, **named), loaded(*args, **(named | {"layer": None}))):
        np.testing.assert_allclose(result[0]["y"].numpy(), expected.first["y"].numpy(), rtol=1e-6)
        assert result[0][7] is None
        assert result[1][1].tolist() == expected.second[1].tolist()
    assert type(program(*args, **named)) is Pair
    assert type(loaded(*args, scale=2.0, layer=None)) is tuple
    again = tg.Program.from_json(loaded.to_json(layer), layer)
    assert without_sources(again.to_json(layer)) == without_sources(program.to_json(layer))


def without_sources(text):
    written = json.loads(text)
    for each in written["nodes"]:
        del each["source"]
    return written


WRONG_CALLS = [
    ((((X, X),), {}), TypeError, "expected: 2 without a name"),
    ((((X, X), {}, 3), {}), TypeError, "got:      3"),
    ((((X,), {}), None), TypeError, "argument 0\\n  expected: a tuple of 2\\n  got:      a tuple of 1"),
    ((((X, 1.0), {}), None), TypeError, "argument 0\\[1\\]\\n  expected: an array"),
    ((((X, [X]), {}), None), TypeError, "got:      a list of 1"),
    ((([X, X], {}), None), TypeError, "argument 0\\n  expected: a tuple of 2\\n  got:      a list of 2"),
    ((((X, X), {"shift": [X], "add": True}), None), TypeError, "keys 'shift', 'add', 'name'"),
    ((((X, X), {"shift": [X], "add": 1, "name": "a"}), None), TypeError, "argument 1\\['add'\\]\\n  expected: True"),
    ((((X, X), {"shift": [X], "add": True, "name": "b"}), None), TypeError, "expected: 'a', with which"),
    ((((X, X), {"shift": [X[:2]], "add": True, "name": "a"}), None), tg.ShapeError, r"argument 1\['shift'\]\[0\]"),
    ((((X, X + 1j), {"shift": [X], "add": True, "name": "a"}), None), tg.DTypeError, r"argument 0\[1\]"),
    ((((X, X), {"shift": [X], "add": True, "name": "a"}), {"scale": 2.0}), TypeError, "got:      'scale'"),
    ((((X, X), {"shift": [X], "add": True, "name": "a"}), {"scale": 2, "layer": None}), TypeError, "'scale'"),
    ((((X, X), {"shift": [X], "add": True, "name": "a"}), {"scale": 2.0, "layer": 3}), TypeError, "the Linear"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "words"), WRONG_CALLS)
def test_what_does_not_fit_a_call_is_named(call, kind, words):
    layer, program = called()
    (args, named), loaded = call, tg.Program.from_json(program.to_json(layer), layer)
    named = {"scale": 2.0, "layer": None} if named is None else named
    for each in (program, loaded):
        with pytest.raises(kind, match=words):
            each(*args, **named)
        with pytest.raises(kind, match=words.replace("program: ", "profile: ")):
            each.profile(*args, **named)


def test_floats_among_arguments_are_exact():
    fn = tg.compile(lambda x, a, b: (x, x) if a else None)
    text = fn.program(X, float("nan"), -0.0).to_json()
    loaded = tg.Program.from_json(text)
    assert len(loaded(X, float("nan"), -0.0)) == 2
    with pytest.raises(TypeError, match=r"expected: -0\.0"):
        loaded(X, float("nan"), 0.0)


def test_a_program_cannot_be_called_while_a_function_is_traced():
    program = tg.compile(lambda x: x * 2).program(X)
    with pytest.raises(tg.PlaceholderError, match="while a function is traced"):
        tg.compile(lambda x: program(x))(X)


def test_segments_and_anomalies_are_kept():
    w = tg.parameter(np.eye(3), name="w")

    def fn(x):
        with tg.detect_anomaly():
            y = tg.checkpoint(lambda x: tg.log(tg.tanh(x @ w)))(x)
        return tg.grad(y.sum(), w)

    program = tg.compile(fn).program(np.ones((1, 3)))
    loaded = tg.Program.from_json(program.to_json(), {"w": w})
    assert len(loaded.recording.segments) == len(program.recording.segments) == 1
    np.testing.assert_array_equal(loaded(np.ones((1, 3))).numpy(), program(np.ones((1, 3))).numpy())
    with pytest.raises(tg.AnomalyError):
        loaded(np.zeros((1, 3)))


@given(programs(SMOOTH + KINKED, 6), st.integers(0, 20), st.booleans(), st.booleans())
def test_random_programs_come_back(program, seed, second, single):
    """Each operation takes what its function passes, and what its gradients and theirs pass."""
    w = tg.parameter(np.random.default_rng(seed).normal(size=(3, 3)), name="w")

    def function(*inputs):
        values = program(*inputs, w)
        results = found(tg.grad(total(values), [*inputs, w], create_graph=second, allow_unused=True))
        if second:
            results += found(tg.grad(total(results), [*inputs, w], allow_unused=True))
        return [*values, *results]

    arrays = inputs_of(seed, np.float32 if single else np.float64)
    made = tg.compile(function).program(*arrays)
    loaded = tg.Program.from_json(made.to_json(), {"w": w})
    for a, b in zip(made(*arrays), loaded(*arrays), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
        assert a.dtype == b.dtype


def test_checks_of_integers_are_kept_and_checked():
    embedding = tg.nn.Embedding(5, 2, generator=0)
    text = tg.compile(lambda k: embedding(k)).program(np.zeros(3, np.int64)).to_json(embedding)
    program = tg.Program.from_json(text, embedding)
    with pytest.raises(IndexError) as after:
        program(np.array([0, -1, 2]))
    with pytest.raises(IndexError) as before:
        embedding(np.array([0, -1, 2]))
    assert str(after.value).partition("\n")[0] == str(before.value).partition("\n")[0]
    for field, value in {"low": 10**30, "high": 1.5, "words": 3, "kind": "SystemExit"}.items():
        written = json.loads(text)
        node(written, "range_check")["params"][field] = value
        with pytest.raises(ValueError, match="from_json: node"):
            tg.Program.from_json(json.dumps(written), embedding)


def test_random_operations_come_back():
    rng = np.random.default_rng(0)

    def fn(x):
        noise = tg.random.normal(x.shape, generator=rng) + tg.random.gumbel(x.shape, generator=rng)
        return x + noise, tg.random.categorical(x, generator=rng), tg.random.permutation(4, generator=rng)

    text = tg.compile(fn).program(np.ones((2, 3), np.float32)).to_json()
    program = tg.Program.from_json(text, generator=np.random.default_rng(5))
    rng = np.random.default_rng(5)
    for got, right in zip(program(np.ones((2, 3), np.float32)), fn(tg.ones((2, 3))), strict=True):
        np.testing.assert_array_equal(got.numpy(), right.numpy())


def test_what_is_nested_too_deeply_to_be_read_is_not_written():
    def program(levels, of):
        fn = (lambda x: in_lists(x, levels)) if of == "results" else (lambda x: tg.ones(2))
        return tg.compile(fn).program(in_lists(np.ones(2), levels) if of == "arguments" else np.ones(2))

    for of, most in (("results", 50), ("arguments", 49)):  # arguments are in a tuple
        text = program(most, of).to_json()
        assert json.loads(tg.Program.from_json(text).to_json())["call"] == json.loads(text)["call"]
        with pytest.raises(ValueError, match="to_json: the nesting of arguments and results\n  expected: at most 50"):
            program(most + 1, of).to_json()


def in_lists(value, levels):
    for _ in range(levels):
        value = [value]
    return value


def test_a_generator_that_the_function_makes_of_a_seed_begins_anew_in_a_text_too():
    def noise(x):
        return x + tg.random.normal(3, generator=np.random.default_rng(7))

    x = np.zeros(3, np.float32)
    program = tg.compile(noise).program(x)
    read = tg.Program.from_json(program.to_json(), generator=np.random.default_rng(7))
    for _ in range(3):
        assert read(x).tolist() == program(x).tolist() == noise(tg.tensor(x)).tolist()
