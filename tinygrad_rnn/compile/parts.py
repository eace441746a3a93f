"""The parts of a program's text, each checked: fields of objects, positions, shapes, values, nestings."""

from __future__ import annotations

import json
from math import prod
from typing import Any

import numpy as np

from ..errors import fail
from ..nested import Hole, parts
from ..tensor import Spec
from .arguments import Call, Other
from .serialize import MOST_DEPTH, VERSION

__all__ = [
    "DTYPES", "array_of", "call_of", "fields_of", "parsed", "plain_of", "position_of", "spec_of", "strings_of", "wrong",
]  # fmt: skip

DTYPES = {np.dtype(c).name: np.dtype(c) for c in "?bBhHiIqQfd"}
NUMBERS = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf}
_MOST_AXES, _MOST_BYTES = 32, 2**40


def wrong(where: str, expected: str, got: Any) -> ValueError:
    shown = got if isinstance(got, str) else repr(got) if not isinstance(got, list | dict) else type(got).__name__
    return fail(ValueError, f"from_json: {where}", expected=expected, got=shown[:100])


def parsed(text: Any) -> dict[str, Any]:
    if not isinstance(text, str):
        raise fail(TypeError, "from_json: the text", expected="a string", got=type(text).__name__)
    try:
        written = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_without_twins)
    except RecursionError:
        raise ValueError("from_json: the text is nested too deeply for a program") from None
    except ValueError as error:
        raise ValueError(f"from_json: the text is not JSON of a program: {str(error)[:200]}") from None
    if not isinstance(written, dict) or written.get("version") != VERSION or type(written["version"]) is not int:
        version = written.get("version") if isinstance(written, dict) else type(written).__name__
        raise wrong("version", f"a program of version {VERSION}", version)
    return written


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON's")


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return made


_OPTIONAL = {"own": False, "value": None}


def fields_of(written: Any, where: str, kinds: dict[str, Any]) -> dict[str, Any]:
    """An object with these keys, whose values are of these types; those of `_OPTIONAL` may be missing."""
    if not isinstance(written, dict):
        raise wrong(where, "an object", written)
    missing = [key for key in kinds if key not in written and key not in _OPTIONAL]
    unknown = [key for key in written if key not in kinds]
    if missing or unknown:
        raise wrong(where, f"the keys {', '.join(kinds)}", ", ".join([f"no '{k}'" for k in missing] + unknown))
    for key, kind in kinds.items():
        if key in written and type(written[key]) not in (kind if isinstance(kind, tuple) else (kind,)):
            names = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
            raise wrong(f"{where}: '{key}'", names, written[key])
    return {key: value for key, value in _OPTIONAL.items() if key in kinds} | written


def position_of(written: Any, where: str, end: int) -> int:
    if type(written) is not int or not 0 <= written < end:
        raise wrong(where, f"a number from 0 to {end - 1}" if end else "none", written)
    return written


def strings_of(written: list[Any], where: str) -> tuple[str, ...]:
    for text in written:
        if type(text) is not str:
            raise wrong(where, "strings", text)
    return tuple(written)


def spec_of(shape: list[Any], dtype: str, where: str) -> Spec:
    if dtype not in DTYPES:
        raise wrong(f"{where}: 'dtype'", f"one of {', '.join(DTYPES)}", dtype)
    if len(shape) > _MOST_AXES or not all(type(n) is int and 0 <= n <= _MOST_BYTES for n in shape):
        raise wrong(f"{where}: 'shape'", f"at most {_MOST_AXES} sizes that are not negative", repr(shape))
    if prod([max(n, 1) for n in shape]) * DTYPES[dtype].itemsize > _MOST_BYTES:
        raise wrong(f"{where}: 'shape'", "what fits into a memory", repr(shape))
    return Spec(tuple(shape), DTYPES[dtype])


def array_of(written: Any, spec: Spec, where: str) -> np.ndarray:
    """The value of a leaf: nested lists of exactly this shape and type."""
    level = [written]
    for n in spec.shape:
        if not all(type(part) is list and len(part) == n for part in level):
            raise wrong(f"{where}: 'value'", f"lists of shape {spec.shape}", "others")
        level = [v for part in level for v in part]
    values = [_entry(v, spec.dtype, where) for v in level]
    with np.errstate(over="ignore"):
        array = np.array(values, spec.dtype).reshape(spec.shape)
    if spec.dtype.kind == "f" and not (np.isfinite(array) | ~np.isfinite(np.array(values).reshape(spec.shape))).all():
        raise wrong(f"{where}: 'value'", f"numbers that {spec.dtype} holds", "a larger one")
    return array


_ENTRIES = {"b": bool, "i": int, "u": int, "f": float}


def _entry(value: Any, dtype: np.dtype, where: str) -> Any:
    if dtype.kind == "f" and type(value) is str and value in NUMBERS:
        return NUMBERS[value]
    fits = type(value) is _ENTRIES[dtype.kind]
    if fits and dtype.kind in "iu":
        fits = bool(np.iinfo(dtype).min <= value <= np.iinfo(dtype).max)
    if not fits:
        raise wrong(f"{where}: 'value'", f"entries of type {dtype}", value)
    return value


def _nested(written: Any, where: str, numbers: list[int], depth: int = 0) -> Any:
    """Arguments or results; the numbers of arrays are added to a list."""
    if depth > MOST_DEPTH:
        raise wrong(where, f"at most {MOST_DEPTH} levels", "more")
    if type(written) is not dict:
        return plain_of(written, where)
    if len(written) != 1:
        raise wrong(where, "an object with one key", written)
    ((key, value),) = written.items()
    if key == "array" and type(value) is int:
        numbers.append(value)
        return Hole(value)
    if key == "other" and type(value) is str:
        return Other(value)
    if key in ("tuple", "list") and type(value) is list:
        made: Any = [_nested(v, where, numbers, depth + 1) for v in value]
        return tuple(made) if key == "tuple" else made
    if key == "dict" and type(value) is list and all(type(pair) is list and len(pair) == 2 for pair in value):
        made = {plain_of(k, where): _nested(v, where, numbers, depth + 1) for k, v in value}
        if len(made) == len(value):
            return made
    return plain_of(written, where)


def plain_of(written: Any, where: str) -> Any:
    if type(written) is dict and [*written] == ["float"] and written["float"] in ("nan", "inf", "-inf"):
        return NUMBERS[written["float"]]
    if type(written) in (list, dict):
        raise wrong(where, "a number, a string, true, false, null, or an object for what JSON lacks", written)
    return written


def call_of(written: Any, arguments: int, results: int) -> Call:
    fields = fields_of(written, "call", {"args": dict, "kwargs": dict, "form": (dict, type(None)), "same": list})
    numbers: list[int] = []
    args, kwargs = (_nested(fields[key], f"call: '{key}'", numbers) for key in ("args", "kwargs"))
    if type(args) is not tuple or type(kwargs) is not dict or not all(type(k) is str for k in kwargs):
        raise wrong("call", "a tuple of arguments, and a dict of those with a name", "others")
    _check_numbers(numbers, arguments, "call: arrays among the arguments")
    numbers = []
    form = _nested(fields["form"], "call: 'form'", numbers)
    for part in parts(form):
        if part is not None and type(part) is not Hole:
            raise wrong("call: 'form'", "results, and null", repr(part))
    _check_numbers(numbers, results, "call: arrays among the results")
    return Call(args, kwargs, form, _same_of(fields["same"], arguments))


def _same_of(written: list[Any], count: int) -> tuple[tuple[int, int], ...]:
    """Pairs of places among so many arrays, the later one first."""
    pairs = [tuple(p) for p in written if type(p) is list and len(p) == 2 and all(type(k) is int for k in p)]
    if len(pairs) != len(written) or not all(0 <= first < k < count for k, first in pairs):
        raise wrong("call: 'same'", f"pairs of places, a later and an earlier one of {count}", str(written))
    return tuple(pairs)


def _check_numbers(numbers: list[int], count: int, where: str) -> None:
    if numbers != list(range(count)):
        raise wrong(where, f"the numbers from 0 to {count - 1}, in order" if count else "none", str(numbers))
