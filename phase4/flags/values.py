"""Values of variants and metadata: what fits a type, and what JSON and UTF-8 can keep."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TypeGuard, assert_never

from phase4.flags.fields import LONE_SURROGATE
from phase4.flags.schema import INTEGER_MAX, NESTING_MAX, FlagType

WORDS = {
    FlagType.BOOLEAN: "true or false",
    FlagType.STRING: "a string",
    FlagType.INTEGER: "a whole number, written without a decimal point",
    FlagType.FLOAT: "a number",
    FlagType.OBJECT: "an object",
}
"""What a value of each type is."""


def fits(value: object, flag_type: FlagType) -> bool:
    """Return whether a value is of a flag's type; a boolean is never a number, an integer is a float."""
    match flag_type:
        case FlagType.BOOLEAN:
            return isinstance(value, bool)
        case FlagType.STRING:
            return isinstance(value, str)
        case FlagType.INTEGER:
            return isinstance(value, int) and not isinstance(value, bool)
        case FlagType.FLOAT:
            return is_number(value)
        case FlagType.OBJECT:
            return isinstance(value, dict)
        case _:
            assert_never(flag_type)


def is_number(value: object) -> TypeGuard[int | float]:
    """Return whether a value is a number; a boolean is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def problems_of(value: object, *, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Yield (path below the value, message) for whatever JSON or UTF-8 cannot keep, at any depth."""
    match value:
        case dict() | list() if depth >= NESTING_MAX:
            yield "", f"is nested deeper than {NESTING_MAX} levels"
        case dict():
            for name, item in value.items():
                yield from problems_of(name, depth=depth)
                yield from ((f".{name}{path}", text) for path, text in problems_of(item, depth=depth + 1))
        case list():
            for index, item in enumerate(value):
                yield from ((f"[{index}]{path}", text) for path, text in problems_of(item, depth=depth + 1))
        case _:
            problem = _scalar_problem(value)
            if problem is not None:
                yield "", problem


def _scalar_problem(value: object) -> str | None:
    match value:
        case str():
            return "holds a lone surrogate, which no file can keep" if LONE_SURROGATE.search(value) else None
        case int() if abs(value) > INTEGER_MAX:
            return f"an integer lies within ±(2^53 - 1), so that every reader keeps it exact: {value.bit_length()} bits"
        case float() if not math.isfinite(value):
            return f"a number is finite: {value}"
        case None | int() | float():
            return None
        case _:
            return f"is no JSON value: {type(value).__name__}"
