"""Explanations: each step that was taken, with what it came to, and the hashes where there are any."""

import json
import math

import pytest

from phase4.errors import FlagInvalid
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
from phase4.flags.evaluation import Flag, FlagSet, Reason, explain

NOW = 1_800_000_000_000
BETA = Condition(attribute="groups", op=Operator.IN, values=("beta", "qa"))
RECENT = Condition(attribute="version", op=Operator.SEMVER_GTE, value="1.4.0")
FULL = {
    "prerequisites": (Prerequisite(flag_key="base", variants=("on", "blue")),),
    "deny": ("denied",),
    "allow": ("tester",),
    "eligible": (RECENT,),
    "rules": (
        Rule(id="beta", when=(BETA,), serve="blue"),
        Rule(id="some", percentage=20, bucket_by="company", serve="blue"),
    ),
}


def flag(*, key="k", percentage=10, serve="on", **changes):
    """Return a flag of several variants."""
    values = {
        "key": key,
        "type": FlagType.STRING,
        "enabled": True,
        "variants": {"on": "1", "off": "0", "blue": "b"},
        "off_variant": "off",
        "default_variant": "off",
        "salt": key,
        "rollout": Rollout(percentage=percentage, serve=serve),
    }
    return Flag(definition=FlagDefinition(**(values | changes)), version=1)


BASE = flag(key="base", percentage=100)


def steps(about, context, *others, now_ms=None):
    """Return the steps of an explanation, in words."""
    explanation = explain(FlagSet([about, *others]).find(about.definition.key), context, now_ms=now_ms)
    return [(step.name, step.outcome) for step in explanation.steps]


def test_every_step_that_the_flag_has_is_there_in_order():
    context = {"targetingKey": "user-7", "version": "1.5.0", "groups": ["x"], "company": "c2"}
    hashed = bucketing.hash_unit("k#some", "c2")
    rollout = bucketing.hash_unit("k", "user-7")
    assert steps(flag(**FULL), context, BASE) == [
        ("enabled", "yes"),
        ("deny", "'user-7' is not in it"),
        ("prerequisite base", "it serves on, must serve on or blue"),
        ("allow", "'user-7' is not in it"),
        ("eligible", "version semver_gte '1.4.0' holds, it is '1.5.0'"),
        ("rule beta", "groups in 'beta', 'qa' fails, it is ['x']"),
        (
            "rule some",
            f"no conditions; 20 %, hash {hashed} ({hashed / 2**32 * 100:.6f} %) is not below 858993459, outside",
        ),
        (
            "rollout",
            f"10 %, hash {rollout} ({rollout / 2**32 * 100:.6f} %) is not below 429496730, outside: serves off",
        ),
    ]


@pytest.mark.parametrize(
    ("context", "others", "last"),
    [
        ({"targetingKey": "denied"}, BASE, ("deny", "'denied' is in it: serves off")),
        (
            {"targetingKey": "u"},
            flag(key="base", enabled=False),
            ("prerequisite base", "it serves off, must serve on or blue: serves off"),
        ),
        (
            {},
            flag(key="base", percentage=50),
            ("prerequisite base", "it serves no variant, must serve on or blue: serves off"),
        ),
        ({"targetingKey": "tester"}, BASE, ("allow", "'tester' is in it: serves on")),
        ({"targetingKey": "u"}, BASE, ("eligible", "version semver_gte '1.4.0' fails, it is missing: serves off")),
        (
            {"version": "1.4.0", "groups": "beta"},
            BASE,
            ("rule beta", "groups in 'beta', 'qa' holds, it is 'beta': serves blue"),
        ),
        (
            {"version": "1.4.0"},
            BASE,
            ("rule some", "no conditions; 20 %; the context has no company: serves the caller's default"),
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)
def test_the_last_step_is_the_one_that_decided(context, others, last):
    assert steps(flag(**FULL), context, others)[-1] == last


def test_a_disabled_flag_has_one_step():
    assert steps(flag(enabled=False, **FULL), "denied", BASE) == [("enabled", "no: serves off")]


def test_who_has_no_targeting_key_is_on_no_list():
    assert steps(flag(**FULL), {}, BASE)[1] == ("deny", "there is no targeting key")


def test_a_unit_inside_a_rule_is_shown_with_its_hash_and_its_variant():
    about = flag(rules=(Rule(id="r", percentage=50, serve=Split(weights=(("on", 1), ("blue", 2)))),))
    unit = next(f"u{i}" for i in range(99) if bucketing.inside("k#r", f"u{i}", 50))
    explanation = explain(about, unit)
    step = explanation.steps[-1]
    bucket = bucketing.variant_bucket("k#r", unit, 3)
    assert step.outcome.endswith(
        f" is below 2147483648, inside, variant bucket {bucket} of 3: serves {'on' if bucket < 1 else 'blue'}"
    )
    assert (step.bucket.salt, step.bucket.unit, step.bucket.variant_bucket) == ("k#r", unit, bucket)
    assert (step.bucket.total_weight, step.bucket.control_from) == (3, 2**32)
    assert explanation.evaluation.rule_id == "r"
    assert explanation.bucket.salt == "k"


def test_a_split_of_everybody_is_shown_with_its_bucket():
    about = flag(percentage=100, serve=Split(weights=(("on", 1), ("blue", 1))))
    bucket = bucketing.variant_bucket("k", "u1", 2)
    explanation = explain(about, "u1")
    assert explanation.steps[-1].outcome.endswith(
        f"inside, variant bucket {bucket} of 2: serves {('on', 'blue')[bucket]}"
    )
    assert explain(about, {}).steps[-1].outcome == (
        "100 %, but the context has no targetingKey: serves the caller's default"
    )


def test_a_rule_whose_conditions_hold_at_100_percent_needs_no_unit():
    about = flag(rules=(Rule(id="r", when=(BETA,), percentage=100, serve="on"),))
    assert steps(about, {"groups": ["qa"]})[-1] == (
        "rule r",
        "groups in 'beta', 'qa' holds, it is ['qa']; 100 %: serves on",
    )


def test_a_rule_at_0_percent_does_not_decide():
    about = flag(percentage=100, rules=(Rule(id="r", percentage=0, serve="blue"),))
    assert steps(about, "u")[1:] == [
        ("rule r", "no conditions; 0 %"),
        ("rollout", "100 %, no unit needed: serves on"),
    ]


def test_the_hash_is_the_algorithms():
    explanation = explain(flag(algorithm="sha256/1"), "user-7")
    assert explanation.bucket.hash == bucketing.hash_unit("k", "user-7", algorithm="sha256/1")


def test_the_time_is_shown_where_it_is_asked_for():
    later = Condition(attribute="now", op=Operator.AFTER, value="2027-01-15T08:00:00Z")
    assert steps(flag(eligible=(later,)), "u", now_ms=NOW)[1] == (
        "eligible",
        f"now after '2027-01-15T08:00:00Z' fails, it is {NOW}: serves off",
    )
    assert steps(flag(eligible=(later,)), "u")[1][1].endswith("fails, it is missing: serves off")


def test_a_negated_condition_says_so():
    negated = Condition(attribute="a.b", op=Operator.EXISTS, negate=True)
    assert steps(flag(eligible=(negated,)), {})[1] == ("eligible", "not a.b exists holds, it is missing")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("x" * 500, "'" + "x" * 59 + "..."),
        (True, "true"),
        (7, "7"),
        (10**5000, "of type int"),
        (1.5, "1.5"),
        (math.nan, "nan"),
        ({"secret": 1}, "of type dict"),
        (["a", 1, ["b"], {}], "['a', 1, of type dict]"),
        (list(range(100)), "[0, 1, 2, 3, 4]"),
        (json.loads('"\\ud800"'), "'\\ud800'"),
    ],
    ids=[
        "long text",
        "boolean",
        "integer",
        "endless integer",
        "fraction",
        "nan",
        "object",
        "list",
        "long list",
        "lone surrogate",
    ],
)
def test_an_attribute_is_shown_shortly(value, shown):
    exists = Condition(attribute="a", op=Operator.EXISTS)
    assert steps(flag(eligible=(exists,)), {"a": value})[1] == ("eligible", f"a exists holds, it is {shown}")


def test_a_stale_flag_is_explained_with_the_answer_it_gives():
    view = FlagSet([flag()]).stale()
    assert explain(view.find("k"), "u").evaluation.reason is Reason.STALE


def test_a_flag_with_prerequisites_is_explained_within_its_set():
    with pytest.raises(FlagInvalid, match="unknown: 'base'"):
        explain(flag(**FULL), "u")
