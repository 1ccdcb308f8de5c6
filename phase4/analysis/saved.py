"""What a guardrail remembers, as text: JSON that comes back bit for bit, with the name of the arithmetic that made it.

A state is a cache: the same observations give the same state again. It is read back only by the arithmetic that wrote
it, so that no evidence is continued by other weights than it was begun with.
"""

from __future__ import annotations

import json
import math
import types
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from phase4.analysis.guardrail_state import GuardrailState

SCHEMA = 1
KERNEL = "rge2"
"""Restarted grid e-process: grids, weights or formulas changed = a new name. Since rge1: where phi begins."""


def dump(state: GuardrailState) -> str:
    """Return a state as JSON; floats are written so that they come back exactly, those that are no number as words."""
    body = {"schema": SCHEMA, "kernel": KERNEL, "state": _plain(state)}
    return json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)


def load(text: str) -> GuardrailState | None:
    """Return the state that a text holds; None if another schema or arithmetic wrote it, or nobody."""
    try:
        body = json.loads(text)
        if (body["schema"], body["kernel"]) != (SCHEMA, KERNEL):
            return None
        state: GuardrailState = _reader(GuardrailState)(body["state"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return state


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


@lru_cache
def _reader(kind: Any) -> Callable[[Any], Any]:
    """Return what reads a value of a type back; it raises TypeError, ValueError or KeyError on any other."""
    if is_dataclass(kind) or hasattr(kind, "_fields"):
        return _record(kind)
    origin, parts = get_origin(kind), get_args(kind)
    if origin in {Union, types.UnionType}:
        (inner,) = (part for part in parts if part is not type(None))
        read = _reader(inner)
        return lambda value: None if value is None else read(value)
    if origin is tuple:
        return _tuple(parts)
    return _scalar(kind)


def _record(kind: Any) -> Callable[[Any], Any]:
    hints = get_type_hints(kind)
    names = list(getattr(kind, "_fields", ())) or [each.name for each in fields(kind)]
    readers = {name: _reader(hints[name]) for name in names}

    def read(value: Any) -> Any:
        given = dict(zip(names, value, strict=True)) if isinstance(value, list) else value
        if set(given) != set(names):
            raise KeyError(f"{kind.__name__} has {names}: {sorted(given)}")
        return kind(**{name: readers[name](given[name]) for name in names})

    return read


def _tuple(parts: tuple[Any, ...]) -> Callable[[Any], Any]:
    if len(parts) == 2 and parts[1] is ...:
        every = _reader(parts[0])
        return lambda value: tuple(every(each) for each in _listed(value))
    readers = [_reader(part) for part in parts]
    return lambda value: tuple(read(each) for read, each in zip(readers, _listed(value), strict=True))


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"a list: {value!r}")
    return value


def _scalar(kind: Any) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if kind is float and (type(value) is float or value in {"inf", "-inf", "nan"}):
            return float(value)
        if kind is not float and type(value) is kind:
            return value
        raise TypeError(f"{kind.__name__}: {value!r}")

    return read
