"""Conditions, compiled to closures: whether an attribute of the context compares as a flag's author wants it.

| operator | holds if |
|---|---|
| in, not_in | the attribute, or any element of a list, is one of the values; not_in: it is none of them |
| starts_with, ends_with, contains | the text does so with any of the values |
| matches | the pattern is found in the text, of at most 1,024 characters |
| eq, gt, gte, lt, lte | the number, or the text that spells one, compares so; a boolean is no number |
| semver_* | the version compares so by SemVer's precedence |
| before, after | the moment, RFC 3339 with an offset, is earlier or later; `now` is the caller's clock |
| in_cidr | the address lies in any of the networks |
| exists | the attribute is there and not null |

**Fail closed**: what is missing or of another type makes a condition `missing`, which is false where nothing else is
said, and `negate` does not turn that into true. A text too long for `matches` counts as of another type: to pad one
must not get anybody past a negated pattern. Only `exists` can be negated of what is missing, as it asks just that.

A closure takes a context that is a dict, and raises nothing, whatever is in it.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias, assert_never

from phase4.flags import operands
from phase4.flags.schema import NOW, Operator
from phase4.flags.targeting import Condition

Attributes: TypeAlias = dict[str, Any]
Holds: TypeAlias = Callable[[Attributes, int | None], bool]
"""Takes the context and the time in ms since the Unix epoch; None = the caller gave no time."""
Test: TypeAlias = Callable[[object], bool | None]
"""Takes a value that is not None; answers None where it is of the wrong type."""
LookUp: TypeAlias = Callable[[Attributes], object]
"""Takes the context; answers None where the attribute is missing."""

_get = dict.get
"""Not the `get` of a subclass, which may do anything."""
_ORDER: dict[Operator, Callable[[Any, Any], bool]] = {
    Operator.EQ: operator.eq,
    Operator.GT: operator.gt,
    Operator.GTE: operator.ge,
    Operator.LT: operator.lt,
    Operator.LTE: operator.le,
    Operator.SEMVER_EQ: operator.eq,
    Operator.SEMVER_GT: operator.gt,
    Operator.SEMVER_GTE: operator.ge,
    Operator.SEMVER_LT: operator.lt,
    Operator.SEMVER_LTE: operator.le,
    Operator.BEFORE: operator.lt,
    Operator.AFTER: operator.gt,
}


def needs_now(condition: Condition) -> bool:
    """Return whether a condition asks for the time."""
    return condition.attribute == NOW


def compile_all(conditions: tuple[Condition, ...]) -> Holds:
    """Return the closure that answers whether all conditions hold; of no conditions, they do."""
    closures = tuple(compile_condition(condition) for condition in conditions)
    if not closures:
        return lambda _attributes, _now_ms: True
    if len(closures) == 1:
        return closures[0]

    def all_hold(attributes: Attributes, now_ms: int | None) -> bool:
        for holds in closures:  # noqa: SIM110 - `all` with a generator takes twice as long
            if not holds(attributes, now_ms):
                return False
        return True

    return all_hold


def compile_condition(condition: Condition) -> Holds:
    """Return the closure that answers whether a condition holds."""
    missing, negate = condition.missing, condition.negate is not (condition.op is Operator.NOT_IN)
    name = condition.attribute
    test = _test(condition)
    if needs_now(condition):
        return _on_now(test, missing=missing, negate=negate)
    if condition.op is Operator.EXISTS:
        find = look_up(name)
        return lambda attributes, _now_ms: (find(attributes) is not None) is not negate
    if "." in name:
        return _on_path(look_up(name), test, missing=missing, negate=negate)

    def on_key(attributes: Attributes, _now_ms: int | None) -> bool:
        value = _get(attributes, name)
        if value is None:
            return missing
        outcome = test(value)
        return missing if outcome is None else outcome is not negate

    return on_key


def _on_path(find: LookUp, test: Test, *, missing: bool, negate: bool) -> Holds:
    def on_path(attributes: Attributes, _now_ms: int | None) -> bool:
        value = find(attributes)
        outcome = None if value is None else test(value)
        return missing if outcome is None else outcome is not negate

    return on_path


def _on_now(test: Test, *, missing: bool, negate: bool) -> Holds:
    """Return the closure for the caller's clock, which the context's own `now` is not asked about."""

    def on_now(_attributes: Attributes, now_ms: int | None) -> bool:
        outcome = None if now_ms is None else test(now_ms)
        return missing if outcome is None else outcome is not negate

    return on_now


def look_up(name: str) -> LookUp:
    """Return the closure that finds an attribute: by the exact key, else by the dotted path into nested objects."""
    if "." not in name:
        return lambda attributes: _get(attributes, name)
    path = tuple(name.split("."))

    def find(attributes: Attributes) -> object:
        if dict.__contains__(attributes, name):
            return _get(attributes, name)
        value: object = attributes
        for step in path:
            if not isinstance(value, dict):
                return None
            value = _get(value, step)
        return value

    return find


# ------------------------------------------------------------------------------------------- operators


def _test(condition: Condition) -> Test:
    """Return the test of a value that an operator with its operand makes; `not_in` is `in`, negated by the caller."""
    match condition.op:
        case Operator.IN | Operator.NOT_IN:
            return _is_member(condition)
        case Operator.STARTS_WITH | Operator.ENDS_WITH | Operator.CONTAINS:
            return _has_part(condition)
        case Operator.MATCHES:
            return _matches(condition)
        case Operator.EQ | Operator.GT | Operator.GTE | Operator.LT | Operator.LTE:
            return _compares(condition, condition.value, _number)
        case Operator.SEMVER_EQ | Operator.SEMVER_GT | Operator.SEMVER_GTE | Operator.SEMVER_LT | Operator.SEMVER_LTE:
            return _compares(condition, operands.version(str(condition.value)), _version)
        case Operator.BEFORE | Operator.AFTER:
            read = _now if needs_now(condition) else _moment
            return _compares(condition, operands.moment_ms(str(condition.value)), read)
        case Operator.IN_CIDR:
            return _is_inside(condition)
        case Operator.EXISTS:
            return lambda _: True
        case _:
            assert_never(condition.op)


def _is_member(condition: Condition) -> Test:
    fold = str.casefold if condition.ignore_case else str.__str__
    texts = frozenset(fold(value) for value in condition.values if isinstance(value, str))
    truths = frozenset(value for value in condition.values if isinstance(value, bool))
    numbers = frozenset(value for value in condition.values if not isinstance(value, str | bool))

    def is_one(value: object) -> bool | None:
        # booleans first, and apart: for Python True is 1
        if isinstance(value, str):
            return fold(value) in texts
        if isinstance(value, bool):
            return value in truths
        number = _plain_number(value)
        return None if number is None else number in numbers

    def is_member(value: object) -> bool | None:
        elements = _elements(value)
        if elements is None:
            return is_one(value)
        outcomes = [is_one(element) for element in elements]
        # one that is in decides; else an element of another type leaves it open
        return True if True in outcomes else None if None in outcomes else False

    if condition.ignore_case:
        return is_member
    # a text as it is, the common case, on the shortest way
    return lambda value: value in texts if type(value) is str else is_member(value)


def _elements(value: object) -> Iterator[object] | None:
    """Return the elements of a list; None if it is none."""
    if isinstance(value, list):
        return list.__iter__(value)
    return tuple.__iter__(value) if isinstance(value, tuple) else None


def _has_part(condition: Condition) -> Test:
    fold = str.casefold if condition.ignore_case else str.__str__
    parts = tuple(fold(str(value)) for value in condition.values)
    if condition.op is Operator.CONTAINS:

        def contains(value: object) -> bool | None:
            if not isinstance(value, str):
                return None
            text = fold(value)
            return any(part in text for part in parts)

        return contains
    has_end = str.startswith if condition.op is Operator.STARTS_WITH else str.endswith
    return lambda value: has_end(fold(value), parts) if isinstance(value, str) else None


def _matches(condition: Condition) -> Test:
    search = operands.pattern(str(condition.value), ignore_case=condition.ignore_case).search

    def matches(value: object) -> bool | None:
        if not isinstance(value, str) or str.__len__(value) > operands.SUBJECT_MAX:
            return None
        return search(value) is not None

    return matches


def _compares(condition: Condition, wanted: object, read: Callable[[object], object]) -> Test:
    """Return the test that reads a value and compares it with the operand; `read` answers None for a wrong type."""
    is_so = _ORDER[condition.op]

    def compares(value: object) -> bool | None:
        found = read(value)
        return None if found is None else is_so(found, wanted)

    return compares


def _number(value: object) -> int | float | None:
    if not isinstance(value, str):
        return _plain_number(value)
    try:
        return operands.number(str.__str__(value))
    except ValueError:
        return None


def _plain_number(value: object) -> int | float | None:
    """Return a finite number as Python's own; None for anything else, booleans too."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return int.__int__(value)
    return float.__float__(value) if isinstance(value, float) and math.isfinite(value) else None


def _version(value: object) -> operands.Version | None:
    try:
        return operands.version(str.__str__(value)) if isinstance(value, str) else None
    except ValueError:
        return None


def _moment(value: object) -> int | None:
    try:
        return operands.moment_ms(str.__str__(value)) if isinstance(value, str) else None
    except ValueError:
        return None


def _now(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _is_inside(condition: Condition) -> Test:
    networks = tuple(operands.network(str(value)) for value in condition.values)

    def is_inside(value: object) -> bool | None:
        try:
            found = operands.addresses(str.__str__(value)) if isinstance(value, str) else None
        except ValueError:
            found = None
        if found is None:
            return None
        for family, address in found:
            for network in networks:
                if family == network.family and address >> network.free == network.leading:
                    return True
        return False

    return is_inside
