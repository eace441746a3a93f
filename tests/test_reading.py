"""What code names, as guards and the search for generators read it."""

from __future__ import annotations

import math

import tinygrad_rnn as tg
from tinygrad_rnn.reading import names_in


def test_names_of_code():
    def f(x):
        return [print(v.shape).real for v in tg.power.bit_length(x)] + (lambda: getattr(x, "text"))()  # noqa: B009

    found = names_in(f.__code__)
    assert {("print",), ("tg", "power", "bit_length"), ("getattr",)} <= set(found.chains)
    assert {"shape", "real", "power", "bit_length", "text"} <= found.read
    assert "print" not in found.read


def test_functions_with_many_names_are_read_as_well():
    """A name with a number over 255 takes two instructions."""
    lines = "\n".join(f"    many.a{k}" for k in range(300))
    space = {"math": math}
    exec(f"def many(x):\n    math.pi\n{lines}\n    return helper.last.power", space)
    assert ("helper", "last", "power") in names_in(space["many"].__code__).chains


def test_attributes_that_code_needs():
    class Kinds(tg.nn.Module):
        def straight(self, x):
            self.a = x.n
            return self.a

        def behind(self, x):
            if x:
                self.a = x
            return self.a

        def added(self, x):
            self.a += x

        def of_another(self, x):
            x.a = 1
            return self.a

        def handled(self, x):
            try:
                self.a = x.real
            except ValueError:
                return self.a

        def deleted(self, x):
            del self.a

        def inside(self, x):
            self.a = x
            return [lambda: self.a]

    needing = {name for name, fn in vars(Kinds).items() if callable(fn) and "a" in names_in(fn.__code__).needed}
    assert needing == {"behind", "added", "of_another", "handled", "deleted", "inside"}
    assert names_in(Kinds.straight.__code__).needed == {"n"}
