"""The flag document `phase4.flag/1`: what is wanted of a flag. Immutable; a definition that exists is valid.

A definition is valid exactly if its document is: one reader checks both, so the rules stand in one place. Hashing is
not known here, and `flags enable` loads nothing but this. A version is given by the store, not by a document's author.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Any, NamedTuple, Self, TypeGuard, assert_never

from phase4.documents import Table
from phase4.errors import FlagInvalid, nearest

SCHEMA = "phase4.flag/1"
ALGORITHMS = ("murmur3-32/ms1",)
"""The named ways to hash a unit, see `phase4.flags.bucketing`. The first is a new flag's."""
TARGETING_KEY = "targetingKey"
"""The context's name for the unit, where a rollout names no other attribute."""


class _Grammar(NamedTuple):
    """What a name may look like, for the reader and in words."""

    pattern: re.Pattern[str]
    words: str


_KEY = _Grammar(
    re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"),
    "has 1 to 100 letters, digits and . _ -, and starts with a letter or a digit",
)
# No `:` and no `#`: salt `s` with unit `a:b` and salt `s:a` with unit `b` would hash alike.
_SALT = _Grammar(re.compile(r"[A-Za-z0-9._-]{1,100}"), "has 1 to 100 letters, digits and . _ -")

NESTING_MAX = 32
"""Deepest nesting of an object variant."""
INTEGER_MAX = 2**53 - 1
"""Largest integer that every JSON reader keeps exact (RFC 7493, 2.2), of either sign."""

_COMMAND_PERCENTAGE = re.compile(r"(?:0|[1-9][0-9]{0,2})(?:\.[0-9]{1,2})?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")


class FlagType(StrEnum):
    """What a flag's variants are."""

    BOOLEAN = "boolean"
    STRING = "string"
    INTEGER = "integer"
    FLOAT = "float"
    OBJECT = "object"


class Kind(StrEnum):
    """What a flag is for. `OPS` and `PERMISSION` flags are meant to live long."""

    RELEASE = "release"
    EXPERIMENT = "experiment"
    OPS = "ops"
    PERMISSION = "permission"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """Which share of the units is served a variant."""

    percentage: float
    """0-100, with any number of decimals."""
    serve: str
    """Variant of the units inside."""
    bucket_by: str = TARGETING_KEY
    """Attribute of the context whose value is the unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagDefinition:
    """A flag as its author wrote it.

    Raises:
        FlagInvalid: when it is made; every problem, each with its path in the document.
    """

    key: str
    type: FlagType
    enabled: bool
    variants: Mapping[str, Any]
    """Value of each variant, by name, in the document's order."""
    off_variant: str
    """Served when the flag is disabled."""
    default_variant: str | None
    """Served when the flag is enabled and nothing matched; None = the caller's code default."""
    salt: str
    """Decides which units come first. Immutable; two flags that share it share their cohorts."""
    algorithm: str = ALGORITHMS[0]
    """How units are hashed. Immutable."""
    rollout: Rollout | None = None
    kind: Kind = Kind.RELEASE
    owner: str | None = None
    description: str | None = None
    expires: date | None = None
    metadata: Mapping[str, bool | str | int | float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what its document would be refused for, and own the values that could be changed from outside."""
        problems = _problems(self._document())
        if problems:
            raise FlagInvalid(problems)
        object.__setattr__(self, "variants", copy.deepcopy(dict(self.variants)))
        object.__setattr__(self, "metadata", dict(self.metadata))

    @classmethod
    def from_json(cls, document: Mapping[str, Any], *, source: str | None = None) -> Self:
        """Return the definition that a parsed JSON document describes.

        Args:
            document: The document. Without `salt` it is the key; without `algorithm`, the first of `ALGORITHMS`.
            source: Name of the file, for messages.

        Raises:
            FlagInvalid: every unknown key, wrong value and unknown name, each with its path.
        """
        problems = _problems(document)
        if problems:
            raise FlagInvalid(problems, source=source)
        given = {"default_variant": None, "salt": document["key"]} | _given(document)
        del given["schema"]
        for name, read in _READERS.items():
            if name in given:
                given[name] = read(given[name])
        return cls(**given)

    def to_json(self) -> dict[str, Any]:
        """Return the document, ready for `json.dumps`: salt and algorithm always, other optional keys where set."""
        return copy.deepcopy(self._document())

    def replaced_by(self, successor: Self) -> Self:
        """Return the definition that is to take this one's place.

        Raises:
            FlagInvalid: its salt or algorithm differs: all users would be dealt anew. The key may differ.
        """
        problems = [
            f"{name}: is immutable, {getattr(self, name)!r}: {getattr(successor, name)!r}"
            for name in ("salt", "algorithm")
            if getattr(self, name) != getattr(successor, name)
        ]
        if problems:
            raise FlagInvalid(problems, hint=f"flags reshuffle {self.key}")
        return successor

    def _document(self) -> dict[str, Any]:
        """Return the document; its nested values are this definition's own."""
        document: dict[str, Any] = {
            "schema": SCHEMA,
            "key": self.key,
            "type": str(self.type),
            "enabled": self.enabled,
            "variants": dict(self.variants),
            "off_variant": self.off_variant,
            "default_variant": self.default_variant,
            "salt": self.salt,
            "algorithm": self.algorithm,
        }
        if self.rollout is not None:
            rollout = self.rollout
            document["rollout"] = {
                "percentage": rollout.percentage,
                "bucket_by": rollout.bucket_by,
                "serve": rollout.serve,
            }
        document["kind"] = str(self.kind)
        optional = {
            "owner": self.owner,
            "description": self.description,
            "expires": None if self.expires is None else self.expires.isoformat(),
            "metadata": dict(self.metadata) or None,
        }
        return document | {name: value for name, value in optional.items() if value is not None}


def _given(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys that have a value: null is the same as absent."""
    return {key: value for key, value in data.items() if value is not None}


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "type": FlagType,
    "rollout": lambda rollout: Rollout(**_given(rollout)),
    "kind": Kind,
    "expires": date.fromisoformat,
}
"""For the keys whose value is not as the document has it."""


def command_percentage(text: str) -> float:
    """Return the percentage that a command line or a setting names: 0-100 with at most 2 decimals.

    A document may have any decimals. Digits only, so that a slip (`1e1`, `10abc`) never becomes a rollout.

    Raises:
        ValueError: anything else.

    >>> command_percentage("0.01"), command_percentage("100")
    (0.01, 100.0)
    """
    if _COMMAND_PERCENTAGE.fullmatch(text) and float(text) <= 100.0:
        return float(text)
    raise ValueError(f"a percentage is a number from 0 to 100 with at most 2 decimals, for example 12.5: {text!r}")


def _problems(document: object) -> list[str]:
    """Return everything that is wrong with a document, one line each."""
    if not isinstance(document, Mapping):
        return [f"a flag document is a JSON object: {type(document).__name__}"]
    problems: list[str] = []
    top = Table(document, "", problems)
    _check_option(top, "schema", (SCHEMA,))
    _check_text(top, "key", _KEY)
    flag_type = FlagType(document["type"]) if _check_option(top, "type", tuple(FlagType)) else None
    top.boolean("enabled")
    variants = _check_variants(top, document, flag_type)
    _check_variant_name(top, "off_variant", variants)
    if not top.has("default_variant"):
        top.problem("default_variant", "is missing; it is a variant, or null for the caller's code default")
    elif document["default_variant"] is not None:
        _check_variant_name(top, "default_variant", variants)
    _check_optional(top, document)
    if _is_given(top, "rollout", document):
        _check_rollout(top, document["rollout"], variants)
    top.finish()
    return problems


def _check_optional(top: Table, document: Mapping[str, Any]) -> None:
    """Check the keys that a document may leave out, but for the rollout."""
    checks: Mapping[str, Callable[[], object]] = {
        "salt": lambda: _check_text(top, "salt", _SALT),
        "algorithm": lambda: _check_option(top, "algorithm", ALGORITHMS),
        "kind": lambda: _check_option(top, "kind", tuple(Kind)),
        "owner": lambda: _check_text(top, "owner"),
        "description": lambda: _check_text(top, "description"),
        "expires": lambda: _check_date(top, "expires", document["expires"]),
        "metadata": lambda: _check_metadata(top, document["metadata"]),
    }
    for key, check in checks.items():
        if _is_given(top, key, document):
            check()


def _is_given(table: Table, key: str, data: Mapping[str, Any]) -> bool:
    """Return whether an optional key has a value: absent and null are the same."""
    return table.has(key) and data[key] is not None


def _check_text(table: Table, key: str, grammar: _Grammar | None = None) -> str | None:
    """Check a string that is not empty; return it if it is right."""
    count = len(table.problems)
    value: str = table.text(key)
    if len(table.problems) > count:
        return None
    if grammar is not None and not grammar.pattern.fullmatch(value):
        table.problem(key, f"{grammar.words}: {value!r}")
        return None
    if _LONE_SURROGATE.search(value):
        table.problem(key, f"holds a lone surrogate, which no file can keep: {value!r}")
        return None
    return value


def _check_option(table: Table, key: str, options: Iterable[str], *, what: str = "known here") -> bool:
    """Check that a string is one of the options; return whether it is."""
    value = _check_text(table, key)
    if value is None or value in options:
        return value is not None
    close = nearest(value, options)
    hint = f'did you mean "{close}"?' if close else f"{what}: {', '.join(options)}"
    table.problem(key, f"unknown: {value!r}; {hint}")
    return False


def _check_variant_name(table: Table, key: str, variants: Mapping[str, Any] | None) -> None:
    """Check a variant's name; None = the variants cannot be read, so that any name may be right."""
    if variants is None:
        _check_text(table, key)
    else:
        _check_option(table, key, tuple(variants), what="variants")


def _check_variants(top: Table, document: Mapping[str, Any], flag_type: FlagType | None) -> Mapping[str, Any] | None:
    """Check the variants; return them, or None if they cannot be read."""
    variants = document["variants"] if top.has("variants") else None
    if not isinstance(variants, dict) or not variants:
        top.problem("variants", 'is an object with at least one variant, for example {"on": true, "off": false}')
        return None
    table = top.table("variants")
    for name, value in variants.items():
        if not 1 <= len(name) <= 100 or _CONTROL_CHARACTER.search(name) or _LONE_SURROGATE.search(name):
            top.problem("variants", f"a name has 1 to 100 characters, without control characters: {name!r}")
        elif flag_type is not None and not _fits(value, flag_type):
            table.problem(name, f"is {_VALUES[flag_type]}: {type(value).__name__}")
        else:
            for path, message in _value_problems(value, depth=0):
                table.problem(name + path, message)
    return variants


_VALUES = {
    FlagType.BOOLEAN: "true or false",
    FlagType.STRING: "a string",
    FlagType.INTEGER: "a whole number, written without a decimal point",
    FlagType.FLOAT: "a number",
    FlagType.OBJECT: "an object",
}


def _fits(value: object, flag_type: FlagType) -> bool:
    """Return whether a value is of a flag's type; a boolean is never a number, an integer is a float."""
    match flag_type:
        case FlagType.BOOLEAN:
            return isinstance(value, bool)
        case FlagType.STRING:
            return isinstance(value, str)
        case FlagType.INTEGER:
            return isinstance(value, int) and not isinstance(value, bool)
        case FlagType.FLOAT:
            return _is_number(value)
        case FlagType.OBJECT:
            return isinstance(value, dict)
        case _:
            assert_never(flag_type)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_percentage(value: object) -> bool:
    return _is_number(value) and 0 <= value <= 100


def _value_problems(value: object, *, depth: int) -> Iterator[tuple[str, str]]:
    """Yield (path below the value, message) for whatever JSON or UTF-8 cannot keep, at any depth."""
    match value:
        case dict() | list() if depth >= NESTING_MAX:
            yield "", f"is nested deeper than {NESTING_MAX} levels"
        case dict():
            for name, item in value.items():
                yield from _value_problems(name, depth=depth)
                yield from ((f".{name}{path}", text) for path, text in _value_problems(item, depth=depth + 1))
        case list():
            for index, item in enumerate(value):
                yield from ((f"[{index}]{path}", text) for path, text in _value_problems(item, depth=depth + 1))
        case _:
            problem = _scalar_problem(value)
            if problem is not None:
                yield "", problem


def _scalar_problem(value: object) -> str | None:
    match value:
        case str():
            return "holds a lone surrogate, which no file can keep" if _LONE_SURROGATE.search(value) else None
        case int() if abs(value) > INTEGER_MAX:
            return f"an integer lies within ±(2^53 - 1), so that every reader keeps it exact: {value.bit_length()} bits"
        case float() if not math.isfinite(value):
            return f"a number is finite: {value}"
        case None | int() | float():
            return None
        case _:
            return f"is no JSON value: {type(value).__name__}"


def _check_rollout(top: Table, rollout: object, variants: Mapping[str, Any] | None) -> None:
    if not isinstance(rollout, dict):
        top.problem("rollout", f"is an object with percentage and serve: {type(rollout).__name__}")
        return
    table = top.table("rollout")
    if not table.has("percentage"):
        table.problem("percentage", "is missing; it is a percentage, 0 to 100")
    elif not _is_percentage(rollout["percentage"]):
        table.problem("percentage", f"is a percentage, 0 to 100: {rollout['percentage']!r}")
    if _is_given(table, "bucket_by", rollout):
        _check_text(table, "bucket_by")
    _check_variant_name(table, "serve", variants)
    table.finish()


def _check_date(table: Table, key: str, value: object) -> None:
    try:
        is_date = isinstance(value, str) and _DATE.fullmatch(value) and date.fromisoformat(value)
    except ValueError:  # the 30th of February
        is_date = False
    if not is_date:
        table.problem(key, f'is a date, for example "2027-03-31": {value!r}')


def _check_metadata(top: Table, metadata: object) -> None:
    """Note metadata other than booleans, strings and numbers: OFREP 0.3.0 carries no others."""
    if not isinstance(metadata, dict):
        top.problem("metadata", f"is an object of booleans, strings and numbers: {type(metadata).__name__}")
        return
    table = top.table("metadata")
    for name, value in metadata.items():
        if not isinstance(value, bool | str | int | float):
            table.problem(name, f"is a boolean, a string or a number: {type(value).__name__}")
            continue
        for _, message in (*_value_problems(name, depth=0), *_value_problems(value, depth=0)):
            table.problem(name, message)
