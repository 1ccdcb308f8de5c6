"""The order of evaluation, written a second time: one `if` for each row of the page, slow and without closures."""

from dataclasses import dataclass

from phase4.flags import bucketing
from phase4.flags.conditions import compile_condition
from phase4.flags.definition import Split
from phase4.flags.evaluation import ErrorCode, Reason


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What an evaluation must say, but for the value."""

    variant: str | None = None
    reason: Reason
    error_code: ErrorCode | None = None
    arm: bucketing.Arm | None = None
    rule_id: str | None = None
    prerequisite: str | None = None


class NoUnitError(Exception):
    """A percentage or a split was reached without a unit."""


def evaluate(definitions, key, context, now_ms):
    """Return the answer of a flag among others to any context.

    Args:
        definitions: All of them, by key.
        key: The one asked.
        context: Anything.
        now_ms: The time, or None.
    """
    flag = definitions[key]
    attributes = {"targetingKey": context} if isinstance(context, str) else context if isinstance(context, dict) else {}
    if not flag.enabled:
        return Answer(variant=flag.off_variant, reason=Reason.DISABLED)
    targeting_key = _text(attributes.get("targetingKey"))
    if targeting_key in flag.deny:
        return Answer(variant=flag.off_variant, reason=Reason.TARGETING_MATCH)
    for wanted in flag.prerequisites:
        if evaluate(definitions, wanted.flag_key, context, now_ms).variant not in wanted.variants:
            return Answer(variant=flag.off_variant, reason=Reason.TARGETING_MATCH, prerequisite=wanted.flag_key)
    deciding = None
    try:
        if targeting_key in flag.allow:
            variant, _ = _served(flag, flag.rollout, flag.salt, attributes)
            return Answer(variant=variant, reason=Reason.TARGETING_MATCH)
        if not _hold(flag.eligible, attributes, now_ms):
            return Answer(variant=flag.off_variant, reason=Reason.TARGETING_MATCH)
        for deciding in flag.rules:
            answer = _by_rule(flag, deciding, attributes, now_ms)
            if answer is not None:
                return answer
        deciding = None
        return _by_rollout(flag, attributes)
    except NoUnitError as error:
        return Answer(
            reason=Reason.ERROR,
            error_code=ErrorCode.INVALID_CONTEXT
            if not isinstance(context, dict | str | None)
            else ErrorCode(error.args[0]),
            rule_id=deciding.id if deciding else None,
        )


def _by_rule(flag, rule, attributes, now_ms):
    if not _hold(rule.when, attributes, now_ms) or rule.percentage == 0:
        return None
    salt = f"{flag.salt}#{rule.id}"
    is_part = rule.percentage is not None and rule.percentage < 100
    if is_part and _hash(flag, salt, attributes, rule.bucket_by) >= bucketing.threshold(rule.percentage):
        return None
    variant, is_split = _served(flag, rule, salt, attributes)
    reason = Reason.SPLIT if is_part or is_split else Reason.TARGETING_MATCH
    return Answer(variant=variant, reason=reason, rule_id=rule.id)


def _by_rollout(flag, attributes):
    parts = (flag.deny, flag.prerequisites, flag.allow, flag.eligible, flag.rules)
    is_targeted = any(parts)
    rollout = flag.rollout
    if rollout is None:
        return Answer(variant=flag.default_variant, reason=Reason.DEFAULT if is_targeted else Reason.STATIC)
    whole = Reason.SPLIT if is_targeted else Reason.STATIC
    if rollout.percentage == 0:
        return Answer(variant=flag.default_variant, reason=whole)
    if rollout.percentage == 100:
        variant, is_split = _served(flag, rollout, flag.salt, attributes)
        try:
            _hash(flag, flag.salt, attributes, rollout.bucket_by)
        except NoUnitError:
            arm = None
        else:
            arm = bucketing.Arm.TREATMENT
        return Answer(variant=variant, reason=Reason.SPLIT if is_split else whole, arm=arm)
    arm = bucketing.arm_of(_hash(flag, flag.salt, attributes, rollout.bucket_by), rollout.percentage)
    if arm is not bucketing.Arm.TREATMENT:
        return Answer(variant=flag.default_variant, reason=Reason.SPLIT, arm=arm)
    return Answer(variant=_served(flag, rollout, flag.salt, attributes)[0], reason=Reason.SPLIT, arm=arm)


def _hold(conditions, attributes, now_ms):
    return all(compile_condition(condition)(attributes, now_ms) for condition in conditions)


def _served(flag, about, salt, attributes):
    """Return the variant, and whether a split decided."""
    if not isinstance(about.serve, Split):
        return about.serve, False
    weighty = [(variant, weight) for variant, weight in about.serve.weights if weight]
    if len(weighty) == 1:
        return weighty[0][0], False
    bucket = _hash(flag, f"{salt}#variant", attributes, about.bucket_by) * sum(weight for _, weight in weighty) // 2**32
    for variant, weight in weighty:
        if bucket < weight:
            return variant, True
        bucket -= weight
    raise AssertionError(bucket)


def _hash(flag, salt, attributes, bucket_by):
    value = attributes.get(bucket_by)
    unit = _text(value)
    is_anonymous = value in (None, "") and bucket_by == "targetingKey"
    if unit is None:
        raise NoUnitError("TARGETING_KEY_MISSING" if is_anonymous else "INVALID_CONTEXT")
    try:
        return bucketing.hash_unit(salt, unit, algorithm=flag.algorithm)
    except UnicodeEncodeError:
        raise NoUnitError("INVALID_CONTEXT") from None


def _text(value):
    try:
        return bucketing.unit_text(value)
    except ValueError:
        return None
