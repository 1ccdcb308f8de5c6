"""Explanation: why a context gets what it gets, step by step, for `flags check --explain` and the dashboard."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from phase4.flags import bucketing
from phase4.flags.answer import Context, Evaluation, Flag
from phase4.flags.compiler import CompiledFlag, compile_flag
from phase4.flags.conditions import Attributes, compile_condition, look_up, needs_now
from phase4.flags.definition import FlagDefinition
from phase4.flags.targeting import Condition, Rollout, Rule, Serve, Split, sole_variant
from phase4.flags.units import Trouble, attributes, targeting_text, unit_bytes

SHOWN_MAX = 60
"""Characters of an attribute or operand that are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """Where a unit stands among the hashes of a rollout or a rule."""

    salt: str
    bucket_by: str
    """Attribute of the context that names the unit."""
    unit: str
    hash: int
    percentage: float
    """The percentage of the rollout or rule, 0-100."""
    treatment_below: int
    """Hashes below it are inside; of a rollout, treatment."""
    control_from: int
    """Hashes from it on are control; 2**32 for a rule, which has none."""
    variant_bucket: int | None = None
    """Where the unit stands among the weights of a split; None = nothing is split, or the unit is outside."""
    total_weight: int | None = None
    """The sum of those weights."""

    @property
    def position(self) -> float:
        """The unit's place in the order of exposure, 0-100: percentages above it include the unit."""
        return self.hash / bucketing.SPACE * 100

    @property
    def is_inside(self) -> bool:
        """Whether the percentage includes the unit."""
        return self.hash < self.treatment_below


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step on the way to an evaluation."""

    name: str
    """`enabled`, `deny`, `prerequisite KEY`, `allow`, `eligible`, `rule ID` or `rollout`."""
    outcome: str
    bucket: Bucket | None = None
    """What was hashed, if anything was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a context gets what it gets."""

    evaluation: Evaluation
    """The evaluator's own answer; value None stands for the caller's default."""
    steps: tuple[Step, ...]
    """The steps that were taken, in order; the last one decided. Steps that the flag does not have are left out."""
    bucket: Bucket | None
    """The rollout's, also where it did not decide, for a disabled flag say; None without a rollout or a unit."""


def explain(flag: Flag | CompiledFlag, context: Context, *, now_ms: int | None = None) -> Explanation:
    """Return how a flag comes to its answer for a context: each step with its outcome, hash and thresholds.

    Args:
        flag: The flag; one with prerequisites as its set has it: `flag_set.find(key)`.
        context: Who asks.
        now_ms: The time, ms since the Unix epoch, for conditions on `now`.

    Raises:
        FlagInvalid: a flag with prerequisites was given without its set.
    """
    compiled = flag if isinstance(flag, CompiledFlag) else compile_flag(flag)
    evaluation = compiled.decide(context, now_ms)
    definition = compiled.flag.definition
    rollout = definition.rollout
    unit = Trouble.MISSING if rollout is None else unit_bytes(context, rollout.bucket_by)
    bucket = None if rollout is None or isinstance(unit, Trouble) else _rollout_bucket(definition, rollout, unit)
    steps: list[Step] = []
    for decides, step in _steps(compiled, attributes(context), now_ms, evaluation, bucket):
        steps.append(step)
        if decides:
            break
    served = "the caller's default" if evaluation.variant is None else evaluation.variant
    steps[-1] = replace(steps[-1], outcome=f"{steps[-1].outcome}: serves {served}")
    return Explanation(evaluation=evaluation, steps=tuple(steps), bucket=bucket)


def _steps(
    compiled: CompiledFlag, context: Attributes, now_ms: int | None, evaluation: Evaluation, bucket: Bucket | None
) -> Iterator[tuple[bool, Step]]:
    """Yield (whether it decides, step) in the order of evaluation; those after one that decides are not taken."""
    definition = compiled.flag.definition
    yield not definition.enabled, Step(name="enabled", outcome="yes" if definition.enabled else "no")
    unit = targeting_text(context)
    if definition.deny:
        yield unit in definition.deny, Step(name="deny", outcome=_listed(unit, definition.deny))
    for wanted, other in zip(definition.prerequisites, compiled.prerequisites, strict=True):
        variant = other.decide(context, now_ms).variant
        outcome = f"it serves {variant or 'no variant'}, must serve {' or '.join(wanted.variants)}"
        yield variant not in wanted.variants, Step(name=f"prerequisite {wanted.flag_key}", outcome=outcome)
    if definition.allow:
        yield unit in definition.allow, Step(name="allow", outcome=_listed(unit, definition.allow))
    for condition in definition.eligible:
        holds, outcome = _judged(condition, context, now_ms)
        yield not holds, Step(name="eligible", outcome=outcome)
    for rule in definition.rules:
        yield _rule(definition, rule, context, now_ms)
    yield True, Step(name="rollout", outcome=_rollout_outcome(definition, evaluation, bucket), bucket=bucket)


def _listed(unit: str | None, keys: tuple[str, ...]) -> str:
    if unit is None:
        return "there is no targeting key"
    return f"{_shown(unit)} {'is' if unit in keys else 'is not'} in it"


# ------------------------------------------------------------------------------------------- conditions, rules


def _judged(condition: Condition, context: Attributes, now_ms: int | None) -> tuple[bool, str]:
    """Return whether a condition holds, and the same in words."""
    holds = compile_condition(condition)(context, now_ms)
    found = now_ms if needs_now(condition) else look_up(condition.attribute)(context)
    about = "is missing" if found is None else f"is {_shown(found)}"
    return holds, f"{_described(condition)} {'holds' if holds else 'fails'}, it {about}"


def _described(condition: Condition) -> str:
    operand = "" if condition.value is None else _shown(condition.value)
    operands = ", ".join(_shown(value) for value in condition.values)
    parts = ("not" if condition.negate else "", condition.attribute, str(condition.op), operand or operands[:SHOWN_MAX])
    return " ".join(part for part in parts if part)


def _shown(value: object) -> str:
    """Return a value as it may be shown: scalars, and lists of them, cut short; of anything else only its type."""
    if isinstance(value, list | tuple):
        text = f"[{', '.join(_shown(item) for item in value[:5] if not isinstance(item, list | tuple))}]"
    elif isinstance(value, str):
        text = repr(str.__str__(value)[:SHOWN_MAX])
    elif isinstance(value, int) and abs(value) < 2**63:
        text = str(int(value)) if not isinstance(value, bool) else str(value).lower()
    else:
        text = repr(value) if type(value) is float else f"of type {type(value).__name__}"
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}..."


def _rule(definition: FlagDefinition, rule: Rule, context: Attributes, now_ms: int | None) -> tuple[bool, Step]:
    """Return whether a rule decides, and its step."""
    name = f"rule {rule.id}"
    words = ["no conditions"] if not rule.when else []
    for condition in rule.when:
        holds, outcome = _judged(condition, context, now_ms)
        words.append(outcome)
        if not holds:
            return False, Step(name=name, outcome=outcome)
    percentage = 100 if rule.percentage is None else rule.percentage
    share = [] if rule.percentage is None else [f"{percentage:.10g} %"]
    if percentage <= 0 or (percentage >= 100 and sole_variant(rule.serve) is not None):
        return percentage > 0, Step(name=name, outcome="; ".join(words + share))
    unit = unit_bytes(context, rule.bucket_by)
    if isinstance(unit, Trouble):
        trouble = f"the context {unit.value.format(name=rule.bucket_by)}"
        return True, Step(name=name, outcome="; ".join([*words, *share, trouble]))
    salt = bucketing.rule_salt(definition.salt, rule.id)
    below = bucketing.threshold(percentage)
    bucket = _bucket(definition, rule, unit, salt, percentage, bucketing.Cuts(below, bucketing.SPACE))
    return bucket.is_inside, Step(name=name, outcome="; ".join([*words, _placed(bucket)]), bucket=bucket)


# ------------------------------------------------------------------------------------------- buckets


def _rollout_bucket(definition: FlagDefinition, rollout: Rollout, unit: bytes) -> Bucket:
    cut = bucketing.cuts(rollout.percentage)
    return _bucket(definition, rollout, unit, definition.salt, rollout.percentage, cut)


def _bucket(
    definition: FlagDefinition, about: Rule | Rollout, unit: bytes, salt: str, percentage: float, cut: bucketing.Cuts
) -> Bucket:
    text = unit.decode()
    hashed = bucketing.hash_unit(salt, text, algorithm=definition.algorithm)
    total = _total(about.serve) if hashed < cut.treatment_below else None
    return Bucket(
        salt=salt,
        bucket_by=about.bucket_by,
        unit=text,
        hash=hashed,
        percentage=percentage,
        treatment_below=cut.treatment_below,
        control_from=cut.control_from,
        variant_bucket=None
        if total is None
        else bucketing.variant_bucket(salt, text, total, algorithm=definition.algorithm),
        total_weight=total,
    )


def _total(serve: Serve) -> int | None:
    is_split = isinstance(serve, Split) and sole_variant(serve) is None
    return sum(weight for _, weight in serve.weights) if isinstance(serve, Split) and is_split else None


def _placed(bucket: Bucket) -> str:
    """Return where a unit stands, in words."""
    where = f"{bucket.percentage:.10g} %, hash {bucket.hash} ({bucket.position:.6f} %)"
    if not bucket.is_inside:
        is_control = bucket.hash >= bucket.control_from
        side = f"but at least {bucket.control_from}, control" if is_control else "outside"
        return f"{where} is not below {bucket.treatment_below}{' ' if is_control else ', '}{side}"
    place = (
        "" if bucket.variant_bucket is None else f", variant bucket {bucket.variant_bucket} of {bucket.total_weight}"
    )
    return f"{where} is below {bucket.treatment_below}, inside{place}"


def _rollout_outcome(definition: FlagDefinition, evaluation: Evaluation, bucket: Bucket | None) -> str:
    """Return what the rollout of an enabled flag came to, in words."""
    rollout = definition.rollout
    if rollout is None:
        return "there is none"
    share = f"{rollout.percentage:.10g} %"
    if rollout.percentage <= 0 or (rollout.percentage >= 100 and sole_variant(rollout.serve) is not None):
        return f"{share}, no unit needed"
    return f"{share}, but {evaluation.error_message}" if bucket is None else _placed(bucket)
