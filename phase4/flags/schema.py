"""The words of the flag document `phase4.flag/1`: what its fields may name, and how long a name may be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum, StrEnum
from types import MappingProxyType
from typing import NamedTuple

SCHEMA = "phase4.flag/1"
ALGORITHMS = ("murmur3-32/ms1", "sha256/1")
"""The named ways to hash a unit, see `phase4.flags.bucketing`. The first is a new flag's."""
TARGETING_KEY = "targetingKey"
"""The context's name for the unit, where a rollout names no other attribute."""
NOW = "now"
"""The attribute that is the caller's clock; a context cannot set it."""

NESTING_MAX = 32
"""Deepest nesting of an object variant."""
INTEGER_MAX = 2**53 - 1
"""Largest integer that every JSON reader keeps exact (RFC 7493, 2.2), of either sign."""
WEIGHT_MAX = 2**31 - 1
"""Largest sum of the weights of a split: a uint32 hash times it stays below 2**63."""
PREREQUISITE_DEPTH_MAX = 8
"""Longest chain of flags that have each other as prerequisite."""


class Grammar(NamedTuple):
    """What a name may look like, for the reader and in words."""

    pattern: re.Pattern[str]
    words: str


KEY = Grammar(
    re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"),
    "has 1 to 100 letters, digits and . _ -, and starts with a letter or a digit",
)
# No `:` and no `#`: salt `s` with unit `a:b` and salt `s:a` with unit `b` would hash alike.
SALT = Grammar(re.compile(r"[A-Za-z0-9._-]{1,100}"), "has 1 to 100 letters, digits and . _ -")
FOREIGN_KEY = Grammar(
    re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,200}"), "has 1 to 200 characters, without control characters"
)
"""The key of another flag, which may have been imported."""


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


class Operator(StrEnum):
    """How a condition compares an attribute with its operand."""

    IN = "in"
    NOT_IN = "not_in"
    STARTS_WITH = "starts_with"
    ENDS_WITH = "ends_with"
    CONTAINS = "contains"
    MATCHES = "matches"
    EQ = "eq"
    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"
    SEMVER_EQ = "semver_eq"
    SEMVER_GT = "semver_gt"
    SEMVER_GTE = "semver_gte"
    SEMVER_LT = "semver_lt"
    SEMVER_LTE = "semver_lte"
    BEFORE = "before"
    AFTER = "after"
    IN_CIDR = "in_cidr"
    EXISTS = "exists"


class Operand(Enum):
    """What an operator compares with; the value says it in words."""

    SCALARS = "strings, numbers and booleans"
    TEXTS = "strings"
    PATTERN = "one regular expression"
    NUMBER = "one number"
    VERSION = "one version"
    MOMENT = "one moment"
    NETWORKS = "networks"
    NOTHING = "nothing"


OPERANDS: Mapping[Operator, Operand] = MappingProxyType(
    {
        Operator.IN: Operand.SCALARS,
        Operator.NOT_IN: Operand.SCALARS,
        Operator.STARTS_WITH: Operand.TEXTS,
        Operator.ENDS_WITH: Operand.TEXTS,
        Operator.CONTAINS: Operand.TEXTS,
        Operator.MATCHES: Operand.PATTERN,
        Operator.EQ: Operand.NUMBER,
        Operator.GT: Operand.NUMBER,
        Operator.GTE: Operand.NUMBER,
        Operator.LT: Operand.NUMBER,
        Operator.LTE: Operand.NUMBER,
        Operator.SEMVER_EQ: Operand.VERSION,
        Operator.SEMVER_GT: Operand.VERSION,
        Operator.SEMVER_GTE: Operand.VERSION,
        Operator.SEMVER_LT: Operand.VERSION,
        Operator.SEMVER_LTE: Operand.VERSION,
        Operator.BEFORE: Operand.MOMENT,
        Operator.AFTER: Operand.MOMENT,
        Operator.IN_CIDR: Operand.NETWORKS,
        Operator.EXISTS: Operand.NOTHING,
    }
)
LISTS = frozenset({Operand.SCALARS, Operand.TEXTS, Operand.NETWORKS})
"""Operands that are lists: the document's key is `values`, for the others `value`."""
CASED = frozenset({Operand.SCALARS, Operand.TEXTS, Operand.PATTERN})
"""Operands for which upper and lower case may be ignored."""
