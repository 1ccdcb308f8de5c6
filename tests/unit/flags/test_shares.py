"""Rules with a percentage, and splits: which units they include, and with which hashes."""

import itertools
import math

import pytest

from phase4.flags import bucketing
from phase4.flags.bucketing import SPACE, Arm
from phase4.flags.definition import Split
from phase4.flags.evaluation import ErrorCode, FlagSet, Reason
from tests.unit.flags.samples import (
    BETA,
    COLOURS,
    KEY,
    ask,
    flag,
    rule,
    served,
    units,
)

# ------------------------------------------------------------------------------------------- rules with a percentage


def test_a_unit_outside_a_rules_percentage_falls_through_to_the_next_rule():
    salt = bucketing.rule_salt(KEY, "r")
    assert salt == f"{KEY}#r"
    about = flag(rules=(rule(BETA, percentage=20), rule(BETA, rule_id="next", serve="green")))
    for inside, rule_id, reason in ((True, "r", Reason.SPLIT), (False, "next", Reason.TARGETING_MATCH)):
        for unit in itertools.islice(units(salt, 20, inside=inside), 20):
            evaluation = ask(about, {"targetingKey": unit, "groups": ["beta"]})
            assert (evaluation.rule_id, evaluation.reason, evaluation.arm) == (rule_id, reason, None)


def test_a_unit_outside_a_rules_percentage_may_be_in_the_rollout():
    about = flag(percentage=100, rules=(rule(percentage=20),))
    unit = next(units(f"{KEY}#r", 20, inside=False))
    assert ask(about, unit).arm is Arm.TREATMENT


def test_a_hash_equal_to_a_rules_threshold_is_outside():
    hashed = bucketing.hash_unit(f"{KEY}#r", "u0")
    position = hashed / SPACE * 100
    assert ask(flag(rules=(rule(percentage=position),)), "u0").rule_id is None
    assert ask(flag(rules=(rule(percentage=position + 1e-7),)), "u0").rule_id == "r"


def test_a_rule_at_0_percent_is_no_rule_and_at_100_percent_needs_no_unit():
    assert ask(flag(percentage=100, rules=(rule(percentage=0),)), {}).rule_id is None
    evaluation = ask(flag(rules=(rule(percentage=100),)), {})
    assert (evaluation.rule_id, evaluation.reason) == ("r", Reason.TARGETING_MATCH)


def test_a_rule_may_bucket_by_another_attribute():
    about = flag(rules=(rule(percentage=50, bucket_by="company_id"),))
    inside, outside = (next(units(f"{KEY}#r", 50, inside=inside)) for inside in (True, False))
    assert ask(about, {"targetingKey": outside, "company_id": inside}).rule_id == "r"
    assert ask(about, {"targetingKey": inside, "company_id": outside}).rule_id is None


@pytest.mark.parametrize("changes", [{"percentage": 20}, {"percentage": 99.9}, {"serve": COLOURS}])
def test_nobody_without_a_unit_gets_past_a_rule_that_needs_one(changes):
    about = flag(percentage=100, rules=(rule(BETA, **changes), rule(rule_id="next")))
    evaluation = ask(about, {"groups": ["beta"]})
    assert (evaluation.value, evaluation.variant, evaluation.reason) == ("code default", None, Reason.ERROR)
    assert (evaluation.error_code, evaluation.rule_id) == (ErrorCode.TARGETING_KEY_MISSING, "r")
    assert evaluation.error_message == "the context has no targetingKey"
    assert not FlagSet([about]).is_enabled(KEY, {"groups": ["beta"]})
    assert ask(about, {"groups": ["qa"]}).rule_id == "next"


def test_another_attribute_that_is_missing_is_named():
    evaluation = ask(flag(rules=(rule(percentage=20, bucket_by="company_id"),)), "user-7")
    assert (evaluation.error_code, evaluation.error_message) == (
        ErrorCode.INVALID_CONTEXT,
        "the context has no company_id",
    )


@pytest.mark.parametrize("context", [7, ["user-7"], 1.5, b"user-7"])
def test_what_is_no_context_has_no_attributes_and_says_so_at_the_end(context):
    assert (
        ask(flag(rules=(rule(BETA),)), context).error_message == "the context is neither an object nor a targeting key"
    )
    assert served(flag(percentage=100, eligible=(BETA,)), context)[0] == "off"


def test_a_rule_with_a_percentage_leaves_the_arms_balanced():
    flags = FlagSet([flag(rules=(rule(percentage=20),))])
    arms = [flags.evaluate(KEY, f"user-{i}", None).arm for i in range(100_000)]
    treatment, control = arms.count(Arm.TREATMENT), arms.count(Arm.CONTROL)
    # of the 80 % that fall through, 10 % each; five standard deviations of a binomial count are 430
    assert abs(treatment - 8_000) < 430
    assert abs(control - 8_000) < 430


def test_with_the_flags_own_salt_a_rule_would_leave_no_treatment():
    ids = [f"user-{i}" for i in range(100_000)]
    fallen = [unit for unit in ids if not bucketing.inside(KEY, unit, 20)]
    assert not any(bucketing.inside(KEY, unit, 10) for unit in fallen)


# ------------------------------------------------------------------------------------------- splits


@pytest.mark.parametrize("unit", ["u0", "u1", "u2", "42"])
def test_a_split_walks_the_cumulative_weights_in_order(unit):
    weights = {"green": 470, "off": 0, "blue": 500, "on": 30}
    about = flag(percentage=100, serve=Split(weights=tuple(weights.items())))
    bucket = bucketing.variant_bucket(KEY, unit, 1000)
    expected = "green" if bucket < 470 else "blue" if bucket < 970 else "on"
    evaluation = ask(about, unit)
    assert (evaluation.variant, evaluation.reason, evaluation.arm) == (expected, Reason.SPLIT, Arm.TREATMENT)


def test_a_variant_of_weight_zero_is_never_served():
    about = flag(percentage=100, serve=Split(weights=(("off", 0), ("blue", 1), ("green", 0), ("on", 1), ("rest", 0))))
    assert {ask(about, f"u{i}").variant for i in range(200)} == {"blue", "on"}


def test_exposure_and_variant_are_independent():
    flags = FlagSet([flag(percentage=10, serve=COLOURS)])
    variants = [flags.evaluate(KEY, f"user-{i}", None).variant for i in range(20_000)]
    blue, green, rest = (variants.count(name) for name in ("blue", "green", "rest"))
    assert rest == 20_000 - blue - green
    assert abs(blue + green - 2_000) < 5 * math.sqrt(20_000 * 0.1 * 0.9)
    assert abs(blue - green) < 5 * math.sqrt(blue + green)


def test_raising_the_percentage_changes_nobodys_variant():
    low, high = (FlagSet([flag(percentage=p, serve=COLOURS)]) for p in (20, 60))
    for i in range(500):
        before = low.evaluate(KEY, f"u{i}", None).variant
        assert before in {"rest", high.evaluate(KEY, f"u{i}", None).variant}


def test_a_rules_split_has_a_salt_of_its_own():
    about = flag(rules=(rule(serve=COLOURS),))
    for i in range(100):
        bucket = bucketing.variant_bucket(f"{KEY}#r", f"u{i}", 2)
        evaluation = ask(about, f"u{i}")
        assert (evaluation.variant, evaluation.reason) == (("blue", "green")[bucket], Reason.SPLIT)
        assert (evaluation.rule_id, evaluation.arm) == ("r", None)


def test_a_split_of_one_variant_is_that_variant_and_needs_no_unit():
    only = Split(weights=(("blue", 3), ("green", 0)))
    assert served(flag(percentage=100, serve=only), {}) == ("blue", "STATIC")
    assert served(flag(rules=(rule(serve=only),)), {}) == ("blue", "TARGETING_MATCH")


def test_a_split_of_everybody_needs_a_unit():
    about = flag(percentage=100, serve=COLOURS)
    assert ask(about, {}).error_code is ErrorCode.TARGETING_KEY_MISSING
    assert ask(about, {"targetingKey": 1.5}).error_code is ErrorCode.INVALID_CONTEXT


def test_who_is_allowed_gets_the_variant_that_the_rollout_would_serve():
    testers = tuple(f"u{i}" for i in range(50))
    about, everybody = flag(percentage=0, serve=COLOURS, allow=testers), flag(percentage=100, serve=COLOURS)
    for unit in testers:
        evaluation = ask(about, unit)
        assert evaluation.variant == ask(everybody, unit).variant
        assert (evaluation.reason, evaluation.arm) == (Reason.TARGETING_MATCH, None)


def test_who_is_allowed_needs_the_unit_of_a_split_by_another_attribute():
    about = flag(percentage=50, serve=COLOURS, bucket_by="company_id", allow=("tester",))
    evaluation = ask(about, "tester")
    assert (evaluation.error_code, evaluation.error_message) == (
        ErrorCode.INVALID_CONTEXT,
        "the context has no company_id",
    )
    assert ask(about, {"targetingKey": "tester", "company_id": "c"}).reason is Reason.TARGETING_MATCH


# ------------------------------------------------------------------------------------------- algorithms


def test_the_algorithm_of_the_flag_hashes_rollout_rules_and_splits():
    about = flag(percentage=50, serve=COLOURS, algorithm="sha256/1", rules=(rule(BETA, percentage=50, serve=COLOURS),))
    flags = FlagSet([about])
    for i in range(200):
        unit = f"u{i}"
        for groups, salt in (([], KEY), (["beta"], f"{KEY}#r")):
            evaluation = flags.evaluate(KEY, {"targetingKey": unit, "groups": groups}, None)
            hashed = bucketing.hash_unit(salt, unit, algorithm="sha256/1")
            if hashed < SPACE // 2:
                bucket = bucketing.variant_bucket(salt, unit, 2, algorithm="sha256/1")
                assert evaluation.variant == ("blue", "green")[bucket]
            else:
                assert evaluation.rule_id is None
