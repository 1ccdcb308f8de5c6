"""A flag of several variants, with what may be added to it, and ways to ask it."""

import itertools

from phase4.flags import bucketing
from phase4.flags.definition import (
    Condition,
    FlagDefinition,
    FlagType,
    Operator,
    Prerequisite,
    Rollout,
    Rule,
    Split,
)
from phase4.flags.evaluation import Flag, FlagSet

KEY = "checkout-v2"
NOW = 1_800_000_000_000
"""2027-01-15T08:00:00Z."""
BETA = Condition(attribute="groups", op=Operator.IN, values=("beta",))
EUROPE = Condition(attribute="country", op=Operator.IN, values=("DE", "FR"))
RECENT = Condition(attribute="version", op=Operator.SEMVER_GTE, value="1.4.0")
LATER = Condition(attribute="now", op=Operator.AFTER, value="2027-01-15T08:00:00Z")
COLOURS = Split(weights=(("blue", 1), ("green", 1)))
LAST = "u35"
"""Its hash is in the last tenth: control at 10 %."""


def flag(*, key=KEY, percentage=10, serve="on", bucket_by="targetingKey", version=12, entry=5, **changes):
    """Return a flag of several variants on its way out."""
    values = {
        "key": key,
        "type": FlagType.STRING,
        "enabled": True,
        "variants": {"on": "1", "off": "0", "blue": "b", "green": "g", "rest": "r"},
        "off_variant": "off",
        "default_variant": "rest",
        "salt": key,
        "rollout": Rollout(percentage=percentage, serve=serve, bucket_by=bucket_by),
    }
    return Flag(definition=FlagDefinition(**(values | changes)), version=version, entry=entry)


def rule(*when, rule_id="r", serve="blue", **changes):
    """Return a rule."""
    return Rule(id=rule_id, when=when, serve=serve, **changes)


def ask(about, context, *others, now_ms=None):
    """Return the evaluation of a flag in a set with some others."""
    return FlagSet([about, *others]).evaluate(about.definition.key, context, "code default", now_ms=now_ms)


def served(*args, **options):
    """Return what is served and why."""
    evaluation = ask(*args, **options)
    return evaluation.variant, evaluation.reason.value


def units(salt, percentage, *, inside):
    """Yield units that a percentage includes, or does not include."""
    return (f"u{i}" for i in itertools.count() if bucketing.inside(salt, f"u{i}", percentage) is inside)


def needs(key, *variants):
    """Return a prerequisite."""
    return Prerequisite(flag_key=key, variants=variants or ("on",))
