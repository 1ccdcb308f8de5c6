"""Evaluation: a flag and a context become a value, a variant, a reason and an arm.

| # | step | result | reason |
|---|---|---|---|
| 1 | the key is unknown | the caller's default | ERROR, FLAG_NOT_FOUND |
| 2 | the asked type does not fit | the caller's default | ERROR, TYPE_MISMATCH |
| 3 | the flag is disabled | `off_variant` | DISABLED |
| 4 | a rollout, strictly between 0 and 100 % | `serve` if the unit is inside, else `default_variant` | SPLIT |
| 5 | a rollout at 0 or 100 % | `default_variant` or `serve`; needs no unit | STATIC |
| 6 | no rollout | `default_variant` | STATIC |

**Evaluation never raises**, whatever context and key it is given. Anonymous users are not exposed: where a percentage
needs a unit and there is none, the answer is the caller's default, an error and no arm. With a constant stand-in all
anonymous traffic would be one unit, all in or all out.

Each flag is compiled to one closure that returns prebuilt `Evaluation` objects, one for each outcome: making one costs
more than deciding which. The words are the OpenFeature specification's.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum, StrEnum
from typing import Any, TypeAlias

from phase4.errors import FlagInvalid
from phase4.flags import bucketing
from phase4.flags.bucketing import Arm
from phase4.flags.definition import TARGETING_KEY, FlagDefinition, FlagType, Rollout

Context: TypeAlias = dict[str, Any] | str | None
"""Attributes of who asks, as JSON has them; a text is short for a context with this `targetingKey`."""


class Reason(StrEnum):
    """Why this value."""

    STATIC = "STATIC"
    DEFAULT = "DEFAULT"
    TARGETING_MATCH = "TARGETING_MATCH"
    SPLIT = "SPLIT"
    DISABLED = "DISABLED"
    STALE = "STALE"
    ERROR = "ERROR"


class ErrorCode(StrEnum):
    """Why the caller's default had to serve."""

    PROVIDER_NOT_READY = "PROVIDER_NOT_READY"
    FLAG_NOT_FOUND = "FLAG_NOT_FOUND"
    PARSE_ERROR = "PARSE_ERROR"
    TYPE_MISMATCH = "TYPE_MISMATCH"
    TARGETING_KEY_MISSING = "TARGETING_KEY_MISSING"
    INVALID_CONTEXT = "INVALID_CONTEXT"
    PROVIDER_FATAL = "PROVIDER_FATAL"
    GENERAL = "GENERAL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The answer to one question about one flag."""

    flag_key: str
    value: Any
    """The variant's value; without a variant, the caller's default."""
    variant: str | None
    reason: Reason
    error_code: ErrorCode | None = None
    error_message: str | None = None
    arm: Arm | None = None
    """Side of the rollout that the unit is counted on."""
    entry: int = 0
    """Serial number of the stage entry in force; 0 = no live plan."""
    rule_id: str | None = None
    version: int = 0
    """Version of the flag; 0 = there is no such flag."""

    def with_value(self, value: Any) -> Evaluation:
        """Return this evaluation with another value."""
        # written out: `dataclasses.replace` takes twice as long, and anonymous traffic comes through here
        return Evaluation(
            flag_key=self.flag_key,
            value=value,
            variant=self.variant,
            reason=self.reason,
            error_code=self.error_code,
            error_message=self.error_message,
            arm=self.arm,
            entry=self.entry,
            rule_id=self.rule_id,
            version=self.version,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """A definition in force, with what the store says of it."""

    definition: FlagDefinition
    version: int
    """Grows with every change of the flag."""
    entry: int = 0
    """Serial number of the stage entry in force; 0 = the percentage was set by hand and no plan is live."""


Decide: TypeAlias = Callable[[object], Evaluation]
"""Takes a context; where it serves no variant, the value is None in the place of the caller's default."""


@dataclass(frozen=True, slots=True)
class CompiledFlag:
    """A flag, ready to be asked."""

    flag: Flag
    decide: Decide
    off_variant: str
    shares_value: bool
    """Whether the value may be handed out as it is: an object could be changed by whoever gets it."""


class FlagSet:
    """The flags of one snapshot. It never changes, so that a reader sees one version throughout."""

    __slots__ = ("_compiled",)

    def __init__(self, flags: Iterable[Flag], *, previous: FlagSet | None = None) -> None:
        """Compile the flags; those that `previous` has in the same version and entry are taken from there.

        Raises:
            FlagInvalid: a key is there twice.
        """
        self._compiled: dict[str, CompiledFlag] = {}
        for flag in flags:
            key = flag.definition.key
            if key in self._compiled:
                raise FlagInvalid(f"{key}: is there twice")
            old = None if previous is None else previous.find(key)
            is_same = old is not None and (old.flag.version, old.flag.entry) == (flag.version, flag.entry)
            self._compiled[key] = old if old is not None and is_same else compile_flag(flag)

    def __len__(self) -> int:
        return len(self._compiled)

    def __iter__(self) -> Iterator[Flag]:
        """Yield the flags in the order given."""
        return (compiled.flag for compiled in self._compiled.values())

    def find(self, flag_key: object) -> CompiledFlag | None:
        """Return the flag with this key; None if there is none, whatever was asked for."""
        # the test for text comes first: hashing a key that is none may raise, or end the interpreter (a deep tuple)
        return self._compiled.get(flag_key) if isinstance(flag_key, str) else None

    def evaluate(self, flag_key: str, context: Context, default: Any, *, asked: FlagType | None = None) -> Evaluation:
        """Return the flag's value for a context.

        Args:
            flag_key: The flag; an unknown one is an error in the answer.
            context: Who asks.
            default: Served where no variant is: on errors, and for a `default_variant` of null.
            asked: The type that the caller can use; None = any. An integer flag serves a float.
        """
        compiled = self.find(flag_key)
        if compiled is None:
            return _not_found(flag_key, default)
        if asked is not None and not _serves(compiled.flag.definition.type, asked):
            return _mismatch(compiled.flag, default)
        evaluation = compiled.decide(context)
        if evaluation.variant is None:
            return evaluation.with_value(default)
        if compiled.shares_value:
            return evaluation
        return evaluation.with_value(copy.deepcopy(evaluation.value))

    def is_enabled(self, flag_key: str, context: Context) -> bool:
        """Return whether a variant other than `off_variant` is served; False on any error.

        >>> from phase4.flags.definition import FlagDefinition, FlagType, Rollout
        >>> definition = FlagDefinition(
        ...     key="truth-based-validation", salt="truth-based-validation", type=FlagType.BOOLEAN, enabled=True,
        ...     variants={"on": True, "off": False}, off_variant="off", default_variant="off",
        ...     rollout=Rollout(percentage=10, serve="on"),
        ... )
        >>> flag_set = FlagSet([Flag(definition=definition, version=1)])
        >>> flag_set.is_enabled("truth-based-validation", "user-123")
        True
        >>> flag_set.is_enabled("truth-based-validation", {"targetingKey": "user-124"})
        False
        """
        compiled = self.find(flag_key)
        if compiled is None:
            return False
        variant = compiled.decide(context).variant
        return variant is not None and variant != compiled.off_variant


def compile_flag(flag: Flag) -> CompiledFlag:
    """Return the flag as a closure over everything that can be worked out before a context is known."""
    definition = flag.definition
    return CompiledFlag(
        flag=flag,
        decide=_decide(flag),
        off_variant=definition.off_variant,
        shares_value=definition.type is not FlagType.OBJECT,
    )


def _decide(flag: Flag) -> Decide:
    definition = flag.definition
    if not definition.enabled:
        return _always(_outcome(flag, definition.off_variant, Reason.DISABLED))
    rollout = definition.rollout
    if rollout is None or rollout.percentage <= 0:
        return _always(_outcome(flag, definition.default_variant, Reason.STATIC))
    return _decide_split(flag, rollout) if rollout.percentage < 100 else _decide_everyone(flag, rollout)


def _always(evaluation: Evaluation) -> Decide:
    return lambda _: evaluation


def _decide_everyone(flag: Flag, rollout: Rollout) -> Decide:
    """Return the closure for 100 %: no unit is needed, but only a unit belongs to an arm."""
    served = _outcome(flag, rollout.serve, Reason.STATIC)
    counted = replace(served, arm=Arm.TREATMENT)
    bucket_by = rollout.bucket_by
    return lambda context: counted if isinstance(_unit_bytes(context, bucket_by), bytes) else served


def _decide_split(flag: Flag, rollout: Rollout) -> Decide:
    """Return the closure for a percentage strictly between 0 and 100."""
    definition = flag.definition
    inside = _outcome(flag, rollout.serve, Reason.SPLIT, arm=Arm.TREATMENT)
    outside = _outcome(flag, definition.default_variant, Reason.SPLIT)
    control = replace(outside, arm=Arm.CONTROL)
    failures = {trouble: _failure(flag, trouble, rollout.bucket_by) for trouble in _Trouble}
    bucket_by = rollout.bucket_by
    digest = bucketing.DIGESTS[definition.algorithm]
    prefix = bucketing.prefix(definition.salt)
    treatment_below, control_from = bucketing.cuts(rollout.percentage)

    def decide(context: object) -> Evaluation:
        unit = _unit_bytes(context, bucket_by)
        if not isinstance(unit, bytes):
            return failures[unit]
        hashed = digest(prefix + unit)
        if hashed < treatment_below:
            return inside
        return control if hashed >= control_from else outside

    return decide


def _outcome(flag: Flag, variant: str | None, reason: Reason, arm: Arm | None = None) -> Evaluation:
    return Evaluation(
        flag_key=flag.definition.key,
        value=None if variant is None else _value(flag.definition, variant),
        variant=variant,
        reason=reason,
        arm=arm,
        entry=flag.entry,
        version=flag.version,
    )


def _value(definition: FlagDefinition, variant: str) -> Any:
    value = definition.variants[variant]
    return float(value) if definition.type is FlagType.FLOAT else value  # JSON writes the float 1.0 as 1


class _Trouble(Enum):
    """Why a context has no unit."""

    MISSING = "has no {name}"
    NOT_A_UNIT = "has a {name} that is neither a text nor a whole number nor a boolean"
    NOT_UNICODE = "has a {name} with a lone surrogate"
    NOT_A_CONTEXT = "is neither an object nor a targeting key"


def _unit_bytes(context: object, bucket_by: str) -> bytes | _Trouble:
    """Return the bytes of the unit that a context names, or why there are none."""
    if isinstance(context, dict):
        value = dict.get(context, bucket_by)  # not the `get` of a subclass, which may do anything
    elif context is None or isinstance(context, str):
        value = context if bucket_by == TARGETING_KEY else None
    else:
        return _Trouble.NOT_A_CONTEXT
    try:
        unit = value if type(value) is str else bucketing.unit_text(value)
        return unit.encode() if unit else _Trouble.MISSING
    except UnicodeEncodeError:
        return _Trouble.NOT_UNICODE
    except ValueError:
        return _Trouble.NOT_A_UNIT


def _failure(flag: Flag, trouble: _Trouble, bucket_by: str) -> Evaluation:
    is_anonymous = trouble is _Trouble.MISSING and bucket_by == TARGETING_KEY
    code = ErrorCode.TARGETING_KEY_MISSING if is_anonymous else ErrorCode.INVALID_CONTEXT
    return _error(flag, code, f"the context {trouble.value.format(name=bucket_by)}")


def _error(flag: Flag, code: ErrorCode, message: str) -> Evaluation:
    return Evaluation(
        flag_key=flag.definition.key,
        value=None,
        variant=None,
        reason=Reason.ERROR,
        error_code=code,
        error_message=message,
        entry=flag.entry,
        version=flag.version,
    )


def _serves(flag_type: FlagType, asked: FlagType) -> bool:
    return asked == flag_type or (asked == FlagType.FLOAT and flag_type is FlagType.INTEGER)


def _mismatch(flag: Flag, default: Any) -> Evaluation:
    message = f"the flag is of type {flag.definition.type}"
    return _error(flag, ErrorCode.TYPE_MISMATCH, message).with_value(default)


def _not_found(flag_key: object, default: Any) -> Evaluation:
    is_text = isinstance(flag_key, str)
    return Evaluation(
        flag_key=str(flag_key) if is_text else "",
        value=default,
        variant=None,
        reason=Reason.ERROR,
        error_code=ErrorCode.FLAG_NOT_FOUND,
        error_message="there is no such flag" if is_text else f"a flag key is a text: {type(flag_key).__name__}",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """Where a unit stands among the hashes of a rollout."""

    salt: str
    bucket_by: str
    """Attribute of the context that names the unit."""
    unit: str
    hash: int
    percentage: float
    """The rollout's percentage, 0-100."""
    treatment_below: int
    """Hashes below it are treatment."""
    control_from: int
    """Hashes from it on are control."""

    @property
    def position(self) -> float:
        """The unit's place in the order of exposure, 0-100: percentages above it include the unit."""
        return self.hash / bucketing.SPACE * 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step on the way to an evaluation."""

    name: str
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a context gets what it gets."""

    evaluation: Evaluation
    """The evaluator's own answer; value None stands for the caller's default."""
    steps: tuple[Step, ...]
    """The steps that were taken, in order; the last one decided."""
    bucket: Bucket | None
    """Also where the bucket did not decide, for a disabled flag say; None without a rollout or a unit."""


def explain(flag: Flag, context: Context) -> Explanation:
    """Return how a flag comes to its answer for a context: each step with its outcome, hash and thresholds."""
    evaluation = compile_flag(flag).decide(context)
    bucket = _bucket(flag.definition, context)
    served = "the caller's default" if evaluation.variant is None else evaluation.variant
    if not flag.definition.enabled:
        steps = [Step(name="enabled", outcome=f"no: serves {served}")]
    else:
        rollout = Step(name="rollout", outcome=f"{_rollout_outcome(flag, evaluation, bucket)}: serves {served}")
        steps = [Step(name="enabled", outcome="yes"), rollout]
    return Explanation(evaluation=evaluation, steps=tuple(steps), bucket=bucket)


def _bucket(definition: FlagDefinition, context: object) -> Bucket | None:
    rollout = definition.rollout
    unit = _Trouble.MISSING if rollout is None else _unit_bytes(context, rollout.bucket_by)
    if rollout is None or isinstance(unit, _Trouble):
        return None
    cut = bucketing.cuts(rollout.percentage)
    return Bucket(
        salt=definition.salt,
        bucket_by=rollout.bucket_by,
        unit=unit.decode(),
        hash=bucketing.DIGESTS[definition.algorithm](bucketing.prefix(definition.salt) + unit),
        percentage=rollout.percentage,
        treatment_below=cut.treatment_below,
        control_from=cut.control_from,
    )


def _rollout_outcome(flag: Flag, evaluation: Evaluation, bucket: Bucket | None) -> str:
    """Return what the rollout of an enabled flag came to, in words."""
    rollout = flag.definition.rollout
    if rollout is None:
        return "there is none"
    share = f"{rollout.percentage:.10g} %"
    if evaluation.reason is Reason.STATIC:
        return f"{share}, no unit needed"
    if bucket is None:
        return f"{share}, but {evaluation.error_message}"
    where = f"{share}, hash {bucket.hash} ({bucket.position:.6f} %)"
    match evaluation.arm:
        case Arm.TREATMENT:
            return f"{where} is below {bucket.treatment_below}, inside"
        case Arm.CONTROL:
            return f"{where} is not below {bucket.treatment_below} but at least {bucket.control_from}, control"
        case _:
            return f"{where} is not below {bucket.treatment_below}, outside"
