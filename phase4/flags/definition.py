"""What is wanted of a flag. Immutable; a definition that exists is valid.

A definition is valid exactly if its document is: one reader, `phase4.flags.document`, checks both, so the rules stand
in one place. Hashing is not known here, and `flags enable` loads nothing but this. A version is given by the store, not
by a document's author.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType
from typing import Any, Self

from phase4.errors import FlagInvalid
from phase4.flags.document import problems_of
from phase4.flags.fields import unknown
from phase4.flags.schema import (
    ALGORITHMS,
    INTEGER_MAX,
    NESTING_MAX,
    SCHEMA,
    TARGETING_KEY,
    FlagType,
    Kind,
    Operator,
)
from phase4.flags.targeting import Condition, Prerequisite, Rollout, Rule, Serve, Split, given

__all__ = [
    "ALGORITHMS",
    "GUIDE_FLAGS",
    "INTEGER_MAX",
    "NESTING_MAX",
    "SCHEMA",
    "TARGETING_KEY",
    "Condition",
    "FlagDefinition",
    "FlagType",
    "Kind",
    "Operator",
    "Prerequisite",
    "Rollout",
    "Rule",
    "Serve",
    "Split",
    "command_percentage",
    "guide_flag",
    "read_definitions",
]

GUIDE_FLAGS: Mapping[str, str] = MappingProxyType(
    {
        "truth-based-validation": "Finished tasks are validated before they count.",
        "byzantine-consensus": "Validators agree by Byzantine consensus.",
        "hook-interception": "Hooks are intercepted, and relaunched when they fail.",
    }
)
"""The flags of the guide, with their descriptions; they exist after `init`."""

_COMMAND_PERCENTAGE = re.compile(r"(?:0|[1-9][0-9]{0,2})(?:\.[0-9]{1,2})?")


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
    """Served when the flag is disabled, the unit denied or not eligible, or a prerequisite unmet."""
    default_variant: str | None
    """Served when the flag is enabled and nothing matched; None = the caller's code default."""
    salt: str
    """Decides which units come first. Immutable; two flags that share it share their cohorts."""
    algorithm: str = ALGORITHMS[0]
    """How units are hashed. Immutable."""
    prerequisites: tuple[Prerequisite, ...] = ()
    """All must be met."""
    deny: tuple[str, ...] = ()
    """Targeting keys that are served `off_variant`, whatever else holds."""
    allow: tuple[str, ...] = ()
    """Targeting keys that are served what the rollout serves, eligible or not."""
    eligible: tuple[Condition, ...] = ()
    """All must hold for a rule or the rollout to be tried."""
    rules: tuple[Rule, ...] = ()
    """The first that matches decides."""
    rollout: Rollout | None = None
    kind: Kind = Kind.RELEASE
    owner: str | None = None
    description: str | None = None
    expires: date | None = None
    """The last day on which it is meant to be there; afterwards it is reported, and goes on serving."""
    metadata: Mapping[str, bool | str | int | float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what its document would be refused for, and own the values that could be changed from outside."""
        problems = problems_of(self._document())
        if problems:
            raise FlagInvalid(problems)
        object.__setattr__(self, "variants", copy.deepcopy(dict(self.variants)))
        object.__setattr__(self, "metadata", dict(self.metadata))

    @property
    def is_targeted(self) -> bool:
        """Whether the answer, while enabled, depends on more than the rollout."""
        return bool(self.prerequisites or self.deny or self.allow or self.eligible or self.rules)

    @classmethod
    def from_json(cls, document: Mapping[str, Any], *, source: str | None = None) -> Self:
        """Return the definition that a parsed JSON document describes.

        Args:
            document: The document. Without `salt` it is the key; without `algorithm`, the first of `ALGORITHMS`.
            source: Name of the file, for messages.

        Raises:
            FlagInvalid: every unknown key, wrong value and unknown name, each with its path.
        """
        problems = problems_of(document)
        if problems:
            raise FlagInvalid(problems, source=source)
        keys = {"default_variant": None, "salt": document["key"]} | given(document)
        del keys["schema"]
        for name, read in _READERS.items():
            if name in keys:
                keys[name] = read(keys[name])
        return cls(**keys)

    def to_json(self) -> dict[str, Any]:
        """Return the document, ready for `json.dumps`: salt and algorithm always, other optional keys where set."""
        return copy.deepcopy(self._document())

    def replaced_by(self, successor: Self) -> Self:
        """Return the definition that is to take this one's place.

        Raises:
            FlagInvalid: its salt or algorithm differs, or a rule that hashes got another id: users would be dealt
                anew. The key may differ.
        """
        problems = [
            f"{name}: is immutable, {getattr(self, name)!r}: {getattr(successor, name)!r}"
            for name in ("salt", "algorithm")
            if getattr(self, name) != getattr(successor, name)
        ]
        problems += _renamed_rules(self.rules, successor.rules)
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
        targeting: dict[str, list[Any]] = {
            "prerequisites": [each.to_json() for each in self.prerequisites],
            "deny": list(self.deny),
            "allow": list(self.allow),
            "eligible": [each.to_json() for each in self.eligible],
            "rules": [each.to_json() for each in self.rules],
        }
        document |= {name: items for name, items in targeting.items() if items}
        if self.rollout is not None:
            document["rollout"] = self.rollout.to_json()
        document["kind"] = str(self.kind)
        optional = {
            "owner": self.owner,
            "description": self.description,
            "expires": None if self.expires is None else self.expires.isoformat(),
            "metadata": dict(self.metadata) or None,
        }
        return document | {name: value for name, value in optional.items() if value is not None}


def guide_flag(key: str, *, enabled: bool, percentage: float) -> FlagDefinition:
    """Return one of `GUIDE_FLAGS` as it is first created: boolean, and off where nothing else is said.

    Args:
        key: One of `GUIDE_FLAGS`.
        enabled: Whether it is on.
        percentage: Of the users that are served `on` while it is, 0-100.

    Raises:
        FlagInvalid: the percentage is outside its range, or the guide has no such flag.

    >>> guide_flag("hook-interception", enabled=False, percentage=10).off_variant
    'off'
    """
    if key not in GUIDE_FLAGS:
        raise FlagInvalid(f"key: {unknown(key, tuple(GUIDE_FLAGS), what='flags of the guide')}")
    return FlagDefinition(
        key=key,
        type=FlagType.BOOLEAN,
        enabled=enabled,
        variants={"on": True, "off": False},
        off_variant="off",
        default_variant="off",
        salt=key,
        rollout=Rollout(percentage=percentage, serve="on"),
        description=GUIDE_FLAGS[key],
    )


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


def read_definitions(documents: Iterable[object]) -> tuple[FlagDefinition, ...]:
    """Return the definitions that parsed JSON documents describe, or none of them.

    Raises:
        FlagInvalid: the problems of all documents, each line with the flag's key, or its place where it has none.
    """
    definitions: list[FlagDefinition] = []
    problems: list[str] = []
    for index, document in enumerate(documents):
        try:
            definitions.append(FlagDefinition.from_json(document))  # type: ignore[arg-type]  # it says what is none
        except FlagInvalid as error:
            key = document.get("key") if isinstance(document, Mapping) else None
            place = key if isinstance(key, str) and key else f"[{index}]"
            problems += [f"{place}: {problem}" for problem in error.problems]
    if problems:
        raise FlagInvalid(problems)
    return tuple(definitions)


def _renamed_rules(before: Iterable[Rule], after: Iterable[Rule]) -> list[str]:
    """Return the problems of rules that hash and have the same content under another id."""
    old, new = ({rule.id: rule for rule in rules} for rules in (before, after))
    added = [rule for rule in new.values() if rule.id not in old]
    return [
        f"rules.{rule.id}.id: is immutable, {rule.id!r}: {twin.id!r}"
        for rule in old.values()
        if rule.id not in new and (rule.percentage is not None or isinstance(rule.serve, Split))
        for twin in added
        if twin.content == rule.content
    ]


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "type": FlagType,
    "prerequisites": lambda items: tuple(Prerequisite.from_json(item) for item in items),
    "deny": tuple,
    "allow": tuple,
    "eligible": lambda items: tuple(Condition.from_json(item) for item in items),
    "rules": lambda items: tuple(Rule.from_json(item) for item in items),
    "rollout": Rollout.from_json,
    "kind": Kind,
    "expires": date.fromisoformat,
}
"""For the keys whose value is not as the document has it."""
