"""The compiler: a flag becomes one closure over everything that can be worked out before a context is known.

Each step of the evaluation, `phase4.flags.evaluation` has the list, is a closure that answers, or asks the next one.
They return prebuilt `Evaluation` objects, one for each outcome: making one costs more than deciding which.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from types import MappingProxyType
from typing import Any, TypeAlias

from phase4.errors import FlagInvalid
from phase4.flags import bucketing
from phase4.flags.answer import ErrorCode, Evaluation, Flag, Reason
from phase4.flags.bucketing import Arm
from phase4.flags.conditions import Attributes, compile_all, needs_now
from phase4.flags.definition import TARGETING_KEY, FlagDefinition, FlagType
from phase4.flags.fields import unknown
from phase4.flags.targeting import Prerequisite, Rollout, Rule, Serve, Split, sole_variant
from phase4.flags.units import Trouble, attributes, targeting_text, unit_bytes

Decide: TypeAlias = Callable[[object, int | None], Evaluation]
"""Takes a context, and the time in ms or None; serving no variant, the value is None in place of the default."""
Step: TypeAlias = Callable[[Attributes, int | None], Evaluation]
"""The same for a context that is a dict."""
Pick: TypeAlias = Callable[[bytes], Evaluation]
"""Takes the bytes of a unit, for which a split decides."""


@dataclass(frozen=True, slots=True, eq=False)
class CompiledFlag:
    """A flag, ready to be asked."""

    flag: Flag
    decide: Decide
    """Answers with objects that live as long as this does, the same one for the same outcome."""
    off_variant: str
    shares_value: bool
    """Whether the value may be handed out as it is: an object could be changed by whoever gets it."""
    needs_now: bool
    """Whether the answer depends on the time."""
    prerequisites: tuple[CompiledFlag, ...]
    """In the order of the definition's."""


_NONE: Mapping[str, CompiledFlag] = MappingProxyType({})


def compile_flag(flag: Flag, others: Mapping[str, CompiledFlag] = _NONE) -> CompiledFlag:
    """Return a flag as a closure.

    Args:
        flag: The flag.
        others: By key, the compiled flags that it may have as prerequisites.

    Raises:
        FlagInvalid: a prerequisite is not among the others.
    """
    definition = flag.definition
    keys = [each.flag_key for each in definition.prerequisites]
    problems = [
        f"{definition.key}: prerequisites[{index}].flag_key: {unknown(key, tuple(others), what='flags')}"
        for index, key in enumerate(keys)
        if key not in others
    ]
    if problems:
        raise FlagInvalid(problems)
    prerequisites = tuple(others[key] for key in keys)
    return CompiledFlag(
        flag=flag,
        decide=_decide(_Answers(flag), prerequisites),
        off_variant=definition.off_variant,
        shares_value=definition.type is not FlagType.OBJECT,
        needs_now=_asks_for_now(definition) or (definition.enabled and any(each.needs_now for each in prerequisites)),
        prerequisites=prerequisites,
    )


def _asks_for_now(definition: FlagDefinition) -> bool:
    conditions = (*definition.eligible, *(condition for rule in definition.rules for condition in rule.when))
    return definition.enabled and any(needs_now(condition) for condition in conditions)


class _Answers:
    """Makes the evaluations of one flag."""

    def __init__(self, flag: Flag) -> None:
        self.definition = flag.definition
        self._flag = flag

    def serve(
        self,
        variant: str | None,
        reason: Reason,
        *,
        arm: Arm | None = None,
        rule_id: str | None = None,
        prerequisite: str | None = None,
    ) -> Evaluation:
        """Return the answer that serves a variant; None = the caller's default."""
        return Evaluation(
            flag_key=self.definition.key,
            value=None if variant is None else self._value(variant),
            variant=variant,
            reason=reason,
            arm=arm,
            entry=self._flag.entry,
            rule_id=rule_id,
            prerequisite=prerequisite,
            version=self._flag.version,
        )

    def failures(self, bucket_by: str, rule_id: str | None = None) -> Mapping[Trouble, Evaluation]:
        """Return the answer to a context without a unit, for each trouble there may be."""
        return {trouble: self._failure(trouble, bucket_by, rule_id) for trouble in Trouble}

    def pick(self, split: Split, salt: str, make: Callable[[str], Evaluation]) -> Pick:
        """Return the closure that looks a unit up in the cumulative weights, in their order.

        Args:
            split: The variants with their weights.
            salt: The flag's or the rule's; the variant's own hash adds to it.
            make: Makes the answer that serves a variant.
        """
        digest = bucketing.DIGESTS[self.definition.algorithm]
        prefix = bucketing.prefix(salt + bucketing.VARIANT_SUFFIX)
        cumulative = list(accumulate(weight for _, weight in split.weights))
        total = cumulative[-1]
        outcomes = tuple(make(variant) for variant, _ in split.weights)
        return lambda unit: outcomes[bisect_right(cumulative, digest(prefix + unit) * total >> 32)]

    def given(self, serve: Serve, salt: str, make: Callable[[str], Evaluation]) -> tuple[Evaluation, Pick | None]:
        """Return the answer that all units get, or any answer and the closure that picks one for a unit."""
        variant = sole_variant(serve)
        if variant is not None:
            return make(variant), None
        assert isinstance(serve, Split)
        return make(serve.weights[0][0]), self.pick(serve, salt, make)

    def _value(self, variant: str) -> Any:
        value = self.definition.variants[variant]
        # JSON writes the float 1.0 as 1
        return float(value) if self.definition.type is FlagType.FLOAT else value

    def _failure(self, trouble: Trouble, bucket_by: str, rule_id: str | None) -> Evaluation:
        is_anonymous = trouble is Trouble.MISSING and bucket_by == TARGETING_KEY
        return Evaluation(
            flag_key=self.definition.key,
            value=None,
            variant=None,
            reason=Reason.ERROR,
            error_code=ErrorCode.TARGETING_KEY_MISSING if is_anonymous else ErrorCode.INVALID_CONTEXT,
            error_message=f"the context {trouble.value.format(name=bucket_by)}",
            entry=self._flag.entry,
            rule_id=rule_id,
            version=self._flag.version,
        )


def _decide(answers: _Answers, prerequisites: tuple[CompiledFlag, ...]) -> Decide:
    """Return the steps of the evaluation, chained from the last to the first."""
    definition = answers.definition
    if not definition.enabled:
        return _always(answers.serve(definition.off_variant, Reason.DISABLED))
    last = _rollout(answers)
    if not definition.is_targeted:
        return last
    step: Step = last
    for rule in reversed(definition.rules):
        step = _with_rule(answers, rule, step)
    if definition.eligible:
        step = _with_eligible(answers, step)
    if definition.allow and definition.rollout is not None:
        step = _with_allow(answers, definition.rollout, step)
    for wanted, compiled in reversed(list(zip(definition.prerequisites, prerequisites, strict=True))):
        step = _with_prerequisite(answers, wanted, compiled, step)
    if definition.deny:
        step = _with_deny(answers, step)
    return lambda context, now_ms: step(context if type(context) is dict else attributes(context), now_ms)


def _always(evaluation: Evaluation) -> Decide:
    return lambda _context, _now_ms: evaluation


# ------------------------------------------------------------------------------------------- lists, prerequisites


def _with_deny(answers: _Answers, then: Step) -> Step:
    denied = frozenset(answers.definition.deny)
    off = answers.serve(answers.definition.off_variant, Reason.TARGETING_MATCH)
    return lambda context, now_ms: off if targeting_text(context) in denied else then(context, now_ms)


def _with_prerequisite(answers: _Answers, wanted: Prerequisite, compiled: CompiledFlag, then: Step) -> Step:
    """Return the step that asks another flag; that is no exposure of it, so its arm is not looked at."""
    off = answers.serve(answers.definition.off_variant, Reason.TARGETING_MATCH, prerequisite=wanted.flag_key)
    variants = frozenset(wanted.variants)
    decide = compiled.decide

    def ask(context: Attributes, now_ms: int | None) -> Evaluation:
        return then(context, now_ms) if decide(context, now_ms).variant in variants else off

    return ask


def _with_allow(answers: _Answers, rollout: Rollout, then: Step) -> Step:
    allowed = frozenset(answers.definition.allow)
    served, pick = answers.given(
        rollout.serve, answers.definition.salt, lambda variant: answers.serve(variant, Reason.TARGETING_MATCH)
    )
    if pick is None:
        return lambda context, now_ms: served if targeting_text(context) in allowed else then(context, now_ms)
    failures, bucket_by = answers.failures(rollout.bucket_by), rollout.bucket_by

    def allow(context: Attributes, now_ms: int | None) -> Evaluation:
        if targeting_text(context) not in allowed:
            return then(context, now_ms)
        unit = unit_bytes(context, bucket_by)
        return pick(unit) if isinstance(unit, bytes) else failures[unit]

    return allow


def _with_eligible(answers: _Answers, then: Step) -> Step:
    off = answers.serve(answers.definition.off_variant, Reason.TARGETING_MATCH)
    holds = compile_all(answers.definition.eligible)
    return lambda context, now_ms: then(context, now_ms) if holds(context, now_ms) else off


# ------------------------------------------------------------------------------------------- rules


def _with_rule(answers: _Answers, rule: Rule, then: Step) -> Step:
    percentage = 100 if rule.percentage is None else rule.percentage
    if percentage <= 0:
        return then
    definition = answers.definition
    salt = bucketing.rule_salt(definition.salt, rule.id)
    is_certain = percentage >= 100 and sole_variant(rule.serve) is not None
    reason = Reason.TARGETING_MATCH if is_certain else Reason.SPLIT
    served, pick = answers.given(rule.serve, salt, lambda variant: answers.serve(variant, reason, rule_id=rule.id))
    holds = compile_all(rule.when)
    if is_certain:
        return lambda context, now_ms: served if holds(context, now_ms) else then(context, now_ms)
    failures, bucket_by = answers.failures(rule.bucket_by, rule.id), rule.bucket_by
    digest = bucketing.DIGESTS[definition.algorithm]
    prefix = bucketing.prefix(salt)
    below = bucketing.threshold(percentage)

    def try_rule(context: Attributes, now_ms: int | None) -> Evaluation:
        if not holds(context, now_ms):
            return then(context, now_ms)
        unit = unit_bytes(context, bucket_by)
        if not isinstance(unit, bytes):
            return failures[unit]
        if digest(prefix + unit) >= below:
            return then(context, now_ms)
        return served if pick is None else pick(unit)

    return try_rule


# ------------------------------------------------------------------------------------------- rollout


def _rollout(answers: _Answers) -> Decide:
    definition, rollout = answers.definition, answers.definition.rollout
    if rollout is None:
        return _always(
            answers.serve(definition.default_variant, Reason.DEFAULT if definition.is_targeted else Reason.STATIC)
        )
    whole = Reason.SPLIT if definition.is_targeted else Reason.STATIC
    if rollout.percentage <= 0:
        return _always(answers.serve(definition.default_variant, whole))
    variant = sole_variant(rollout.serve)
    if rollout.percentage >= 100 and variant is not None:
        return _everyone(answers, variant, whole, rollout.bucket_by)
    return _split(answers, rollout)


def _everyone(answers: _Answers, variant: str, reason: Reason, bucket_by: str) -> Decide:
    """Return the closure for 100 %: no unit is needed, but only a unit belongs to an arm."""
    served = answers.serve(variant, reason)
    counted = answers.serve(variant, reason, arm=Arm.TREATMENT)
    return lambda context, _now_ms: counted if isinstance(unit_bytes(context, bucket_by), bytes) else served


def _split(answers: _Answers, rollout: Rollout) -> Decide:
    """Return the closure for a percentage below 100, or a split of several variants."""
    definition = answers.definition
    inside, pick = answers.given(
        rollout.serve, definition.salt, lambda variant: answers.serve(variant, Reason.SPLIT, arm=Arm.TREATMENT)
    )
    outside = answers.serve(definition.default_variant, Reason.SPLIT)
    control = answers.serve(definition.default_variant, Reason.SPLIT, arm=Arm.CONTROL)
    failures, bucket_by = answers.failures(rollout.bucket_by), rollout.bucket_by
    digest = bucketing.DIGESTS[definition.algorithm]
    prefix = bucketing.prefix(definition.salt)
    treatment_below, control_from = bucketing.cuts(rollout.percentage)

    def decide(context: object, _now_ms: int | None) -> Evaluation:
        unit = unit_bytes(context, bucket_by)
        if not isinstance(unit, bytes):
            return failures[unit]
        hashed = digest(prefix + unit)
        if hashed < treatment_below:
            return inside if pick is None else pick(unit)
        return control if hashed >= control_from else outside

    return decide
