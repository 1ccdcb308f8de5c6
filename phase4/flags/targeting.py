"""Who is served what: conditions, rules, prerequisites, the rollout. Frozen values, each a part of a flag.

They are checked together with the flag that they are part of, as a variant's name is right only there. `from_json` is
for documents that `phase4.flags.document` found nothing wrong with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

from phase4.errors import FlagInvalid
from phase4.flags.schema import TARGETING_KEY, Operator


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Several variants, each for its share of the units.

    Raises:
        FlagInvalid: when it is made with a variant twice, which its document could not say.
    """

    weights: tuple[tuple[str, int], ...]
    """Variants with their weights. The order is part of it: the bucket of a unit is looked up along it."""

    def __post_init__(self) -> None:
        """Refuse a variant that is there twice."""
        names = [name for name, _ in self.weights]
        if len(names) > len(set(names)):
            raise FlagInvalid(f"split: names a variant twice: {', '.join(names)}")


Serve: TypeAlias = str | Split
"""A variant, or a split of several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A comparison of one attribute of the context with an operand."""

    attribute: str
    """The exact key, else a dotted path into nested objects; `targetingKey` and `now` are always there."""
    op: Operator
    value: str | int | float | None = None
    """The operand, for operators that have one."""
    values: tuple[str | int | float | bool, ...] = ()
    """The operands, for operators that have several: any of them."""
    negate: bool = False
    """Whether the opposite must hold; of an attribute that is there and of the right type."""
    ignore_case: bool = False
    missing: bool = False
    """What the condition is if the attribute is missing or of the wrong type."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Return the condition that a checked document describes."""
        keys = given(data)
        return cls(**keys | {"op": Operator(keys["op"]), "values": tuple(keys.get("values", ()))})

    def to_json(self) -> dict[str, Any]:
        """Return the document: marks only where they are set."""
        document: dict[str, Any] = {"attribute": self.attribute, "op": str(self.op)}
        if self.value is not None:
            document["value"] = self.value
        if self.values:
            document["values"] = list(self.values)
        marks = {"negate": self.negate, "ignore_case": self.ignore_case, "missing": self.missing}
        return document | {mark: True for mark, is_set in marks.items() if is_set}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What is served to the units for which all conditions hold."""

    id: str
    """Salts the rule's percentage and split, and is frozen as the salt is."""
    serve: Serve
    when: tuple[Condition, ...] = ()
    """All must hold; none = they always do."""
    percentage: float | None = None
    """0-100; units outside go on to the next rule. None = no percentage."""
    bucket_by: str = TARGETING_KEY
    """Attribute of the context whose value is the unit."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Return the rule that a checked document describes."""
        keys = given(data)
        when = tuple(Condition.from_json(each) for each in keys.get("when", ()))
        return cls(**keys | {"when": when, "serve": _read_serve(keys["serve"])})

    def to_json(self) -> dict[str, Any]:
        """Return the document."""
        document: dict[str, Any] = {"id": self.id, "when": [each.to_json() for each in self.when]}
        if self.percentage is not None:
            document["percentage"] = self.percentage
        if self.bucket_by != TARGETING_KEY:
            document["bucket_by"] = self.bucket_by
        return document | {"serve": _serve_document(self.serve)}

    @property
    def content(self) -> tuple[object, ...]:
        """What the rule says, but for its id."""
        return self.when, self.serve, self.percentage, self.bucket_by


@dataclass(frozen=True, slots=True, kw_only=True)
class Prerequisite:
    """Another flag that must serve one of some variants."""

    flag_key: str
    variants: tuple[str, ...]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Return the prerequisite that a checked document describes."""
        return cls(flag_key=data["flag_key"], variants=tuple(data["variants"]))

    def to_json(self) -> dict[str, Any]:
        """Return the document."""
        return {"flag_key": self.flag_key, "variants": list(self.variants)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """Which share of the units is served a variant."""

    percentage: float
    """0-100, with any number of decimals."""
    serve: Serve
    """For the units inside."""
    bucket_by: str = TARGETING_KEY
    """Attribute of the context whose value is the unit."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Return the rollout that a checked document describes."""
        keys = given(data)
        return cls(**keys | {"serve": _read_serve(keys["serve"])})

    def to_json(self) -> dict[str, Any]:
        """Return the document."""
        return {"percentage": self.percentage, "bucket_by": self.bucket_by, "serve": _serve_document(self.serve)}


def sole_variant(serve: Serve) -> str | None:
    """Return the variant that all units are served; None if the unit decides."""
    if isinstance(serve, str):
        return serve
    weighty = [variant for variant, weight in serve.weights if weight]
    return weighty[0] if len(weighty) == 1 else None


def given(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys that have a value: null is the same as absent."""
    return {key: value for key, value in data.items() if value is not None}


def _read_serve(value: Any) -> Serve:
    return value if isinstance(value, str) else Split(weights=tuple(value["split"].items()))


def _serve_document(serve: Serve) -> Any:
    return serve if isinstance(serve, str) else {"split": dict(serve.weights)}
