"""What holds of flags for any document, any context, any unit and any percentage."""

import json
import math
from dataclasses import replace

import mmh3
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from phase4.errors import FlagInvalid
from phase4.flags import bucketing
from phase4.flags.bucketing import SPACE, Arm
from phase4.flags.conditions import compile_condition
from phase4.flags.definition import FlagDefinition, FlagType, Rollout, Split, command_percentage
from phase4.flags.evaluation import ErrorCode, Evaluation, Flag, FlagSet, Reason, explain
from phase4.flags.vector import Population, arms_of
from tests.unit.flags import oracle
from tests.unit.flags.strategies import (
    ABOUT_ANYBODY,
    ANY_TEXTS,
    CONTEXTS,
    JSON,
    LONE_DEFINITIONS,
    NOWS,
    PERCENTAGES,
    SALTS,
    conditions,
    definitions,
    flag_lists,
)

TEXTS = st.text()
SHAPES = {
    "sequential": lambda i: f"user-{i}",
    "decimal": str,
    "hexadecimal": lambda i: f"{i * 0x9E3779B97F4A7C15 % 2**128:032x}",
    "address": lambda i: f"person.{i}@example.com",
    "not ASCII": lambda i: f"用户-{i}",
}
COUNT = 20_000


def boolean(percentage, **changes):
    """Return a boolean flag at a percentage."""
    values = {
        "key": "k",
        "type": FlagType.BOOLEAN,
        "enabled": True,
        "variants": {"on": True, "off": False},
        "off_variant": "off",
        "default_variant": "off",
        "salt": "k",
        "rollout": Rollout(percentage=percentage, serve="on"),
    }
    return Flag(definition=FlagDefinition(**(values | changes)), version=1, entry=1)


def is_likely(count, trials, rate):
    """Return whether a binomial count lies within five standard deviations: fails once in 1.7 million."""
    return abs(count - trials * rate) <= 5 * math.sqrt(trials * rate * (1 - rate))


# ------------------------------------------------------------------------------------------- bucketing


@given(SALTS, TEXTS, PERCENTAGES, PERCENTAGES)
def test_raising_a_percentage_never_takes_the_feature_away(salt, unit, one, other):
    low, high = sorted((one, other))
    assert bucketing.threshold(low) <= bucketing.threshold(high)
    assert bucketing.inside(salt, unit, low) <= bucketing.inside(salt, unit, high)


@given(PERCENTAGES)
def test_the_arms_are_disjoint_and_control_is_as_large_as_the_room_allows(percentage):
    cut = bucketing.cuts(percentage)
    assert 0 <= cut.treatment_below <= cut.control_from <= SPACE
    outside = SPACE - cut.treatment_below
    assert SPACE - cut.control_from == min(cut.treatment_below, outside)


@given(st.integers(0, SPACE - 1), st.floats(0, 50), st.floats(0, 50))
def test_up_to_half_nobody_changes_arm(hashed, one, other):
    low, high = sorted((one, other))
    arm = bucketing.arm_of(hashed, low)
    assert arm is None or bucketing.arm_of(hashed, high) is arm


@given(st.integers(0, SPACE - 1), PERCENTAGES)
def test_there_is_no_control_at_100_and_treatment_is_whoever_is_inside(hashed, percentage):
    assert bucketing.arm_of(hashed, 100) is Arm.TREATMENT
    is_inside = hashed < bucketing.threshold(percentage)
    assert (bucketing.arm_of(hashed, percentage) is Arm.TREATMENT) is is_inside


@given(SALTS, TEXTS, st.integers(1, 2**31 - 1))
def test_a_variant_bucket_is_one_of_the_buckets(salt, unit, total):
    assert 0 <= bucketing.variant_bucket(salt, unit, total) < total


@given(TEXTS, st.lists(TEXTS, max_size=30))
@example("", ["", "a", "\x00", "x" * 300])
def test_a_population_is_hashed_as_mmh3_hashes_each_unit(salt, ids):
    expected = [mmh3.mmh3_32_uintdigest(f"{salt}:{unit}".encode()) for unit in ids]
    assert Population(ids).hashes(salt).tolist() == expected == [bucketing.hash_unit(salt, unit) for unit in ids]


@given(st.lists(st.integers(0, SPACE - 1), max_size=30), PERCENTAGES)
def test_a_population_has_the_arms_of_its_units(hashes, percentage):
    expected = [bucketing.arm_of(h, percentage) or 0 for h in hashes]
    assert arms_of(np.array(hashes, np.uint32), percentage).tolist() == expected


@pytest.mark.parametrize("percentage", [0.5, 5, 33.3, 50, 80])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_realised_shares_are_the_asked_ones_for_ids_of_any_shape(shape, percentage):
    population = Population(SHAPES[shape](i) for i in range(COUNT))
    control = (SPACE - bucketing.cuts(percentage).control_from) / SPACE
    for salt in ("truth-based-validation", "byzantine-consensus", "hook-interception"):
        arms = population.arms(salt, percentage)
        assert is_likely(np.count_nonzero(arms == Arm.TREATMENT), COUNT, percentage / 100)
        assert is_likely(np.count_nonzero(arms == Arm.CONTROL), COUNT, control)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_cohorts_of_two_flags_overlap_as_by_chance(shape):
    population = Population(SHAPES[shape](i) for i in range(COUNT))
    salts = [f"flag-{i}" for i in range(8)]
    cohorts = [population.inside(salt, 10) for salt in salts]
    for i, one in enumerate(cohorts):
        for other in cohorts[:i]:
            assert is_likely(np.count_nonzero(one & other), np.count_nonzero(one), np.count_nonzero(other) / COUNT)


@pytest.mark.parametrize("shape", SHAPES)
def test_exposure_and_variant_are_independent(shape):
    population = Population(SHAPES[shape](i) for i in range(COUNT))
    exposed = population.inside("checkout-v2", 10)
    half = population.hashes("checkout-v2" + bucketing.VARIANT_SUFFIX) < SPACE // 2
    assert is_likely(np.count_nonzero(exposed & half), np.count_nonzero(exposed), 0.5)


# ------------------------------------------------------------------------------------------- evaluation


@given(LONE_DEFINITIONS, CONTEXTS, JSON, st.sampled_from([None, *FlagType]), NOWS)
def test_any_context_gets_an_evaluation(definition, context, default, asked, now_ms):
    flags = FlagSet([Flag(definition=definition, version=3)])
    evaluation = flags.evaluate(definition.key, context, default, asked=asked, now_ms=now_ms)
    is_enabled = flags.is_enabled(definition.key, context, now_ms=now_ms)
    assert isinstance(evaluation, Evaluation)
    assert (evaluation.reason is Reason.ERROR) is (evaluation.error_code is not None)
    if evaluation.variant is None:
        assert evaluation.value is default
        assert not is_enabled or asked is not None
    else:
        assert evaluation.value == definition.variants[evaluation.variant]
        assert is_enabled is (evaluation.variant != definition.off_variant)


@given(flag_lists(), CONTEXTS, NOWS)
@settings(max_examples=200)
def test_every_flag_of_a_set_answers_as_the_page_says(flags, context, now_ms):
    flag_set = FlagSet(reversed(flags))
    by_key = {flag.definition.key: flag.definition for flag in flags}
    for key, definition in by_key.items():
        evaluation = flag_set.evaluate(key, context, 0, now_ms=now_ms)
        expected = oracle.evaluate(by_key, key, context, now_ms)
        assert {name: getattr(evaluation, name) for name in vars(expected)} == vars(expected)
        assert (evaluation.version, evaluation.entry) == (3, 2)
        assert evaluation.variant is None or evaluation.value == definition.variants[evaluation.variant]


@given(flag_lists(), CONTEXTS, NOWS)
def test_a_flag_that_needs_no_clock_answers_the_same_at_any_time(flags, context, now_ms):
    flag_set = FlagSet(flags)
    for flag in flags:
        key = flag.definition.key
        if not flag_set.find(key).needs_now:
            assert flag_set.evaluate(key, context, 0, now_ms=now_ms) == flag_set.evaluate(key, context, 0)


@given(flag_lists(), CONTEXTS, NOWS)
def test_a_stale_view_differs_in_the_reason_only(flags, context, now_ms):
    flag_set = FlagSet(flags)
    for flag in flags:
        fresh, stale = (
            each.evaluate(flag.definition.key, context, 0, now_ms=now_ms) for each in (flag_set, flag_set.stale())
        )
        assert stale == (fresh if fresh.error_code else replace(fresh, reason=Reason.STALE))


@given(flag_lists(), CONTEXTS, NOWS)
def test_an_explanation_has_the_answer_of_the_evaluator(flags, context, now_ms):
    flag_set = FlagSet(flags)
    for flag in flags:
        definition = flag.definition
        explanation = explain(flag_set.find(definition.key), context, now_ms=now_ms)
        evaluation = explanation.evaluation
        answer = flag_set.evaluate(definition.key, context, 0, now_ms=now_ms)
        assert evaluation.with_value(0) == answer.with_value(0)
        last = explanation.steps[-1].name
        if evaluation.rule_id is not None:
            assert last == f"rule {evaluation.rule_id}"
        elif evaluation.prerequisite is not None:
            assert last == f"prerequisite {evaluation.prerequisite}"
        elif evaluation.reason is Reason.TARGETING_MATCH:
            assert last in {"deny", "allow", "eligible"}
        else:
            assert last in {"enabled", "rollout", "allow"}
        if explanation.bucket is not None and last == "rollout":
            hashed = explanation.bucket.hash
            assert evaluation.arm is bucketing.arm_of(hashed, definition.rollout.percentage)


@given(conditions(), ABOUT_ANYBODY | st.dictionaries(ANY_TEXTS, JSON, max_size=4), NOWS)
def test_a_condition_holds_or_not_of_any_context(condition, context, now_ms):
    assert compile_condition(condition)(context, now_ms) in {True, False}


@given(conditions(), JSON, NOWS)
def test_any_value_can_stand_where_a_condition_looks(condition, value, now_ms):
    holds = {
        negate: compile_condition(replace(condition, negate=negate, missing=False))(
            {condition.attribute: value}, now_ms
        )
        for negate in (True, False)
    }
    # fail closed: not both, and neither where the value is missing or of another type
    assert not all(holds.values())


@given(LONE_DEFINITIONS, JSON, JSON)
def test_any_value_can_stand_where_the_unit_is_looked_for(definition, unit, other):
    flag = Flag(definition=definition, version=3)
    bucket_by = definition.rollout.bucket_by if definition.rollout else "targetingKey"
    context = {bucket_by: unit, "now": other, "": other}
    evaluation = FlagSet([flag]).evaluate(definition.key, context, None)
    assert evaluation.error_code in {None, ErrorCode.TARGETING_KEY_MISSING, ErrorCode.INVALID_CONTEXT}


@given(ANY_TEXTS, ANY_TEXTS)
def test_any_text_is_a_key_and_a_context(key, unit):
    flags = FlagSet([boolean(50)])
    assert flags.evaluate(key, unit, None).flag_key == key
    assert flags.evaluate("k", unit, None).error_code in {
        None,
        ErrorCode.TARGETING_KEY_MISSING,
        ErrorCode.INVALID_CONTEXT,
    }


@given(JSON)
def test_anything_is_a_key(key):
    evaluation = FlagSet([boolean(50)]).evaluate(key, "u", 7)
    assert evaluation.value == 7 or key == "k"


@pytest.mark.parametrize("depth", [10, 100_000])
def test_a_deep_context_gets_an_evaluation(depth):
    deep = "user-123"
    for _ in range(depth):
        deep = [{"a": deep}]
    flags = FlagSet([boolean(50)])
    assert flags.evaluate("k", deep, None).error_code is ErrorCode.INVALID_CONTEXT
    assert flags.evaluate("k", {"targetingKey": deep}, None).error_code is ErrorCode.INVALID_CONTEXT
    assert flags.evaluate("k", {"targetingKey": "u", "more": deep}, None).error_code is None


@given(TEXTS.filter(bool), PERCENTAGES)
def test_an_evaluation_has_the_arm_of_its_unit(unit, percentage):
    evaluation = FlagSet([boolean(percentage)]).evaluate("k", {"targetingKey": unit}, None)
    assert evaluation.arm is bucketing.arm("k", unit, percentage)
    assert evaluation.value is bucketing.inside("k", unit, percentage)
    assert evaluation.reason is (Reason.SPLIT if 0 < percentage < 100 else Reason.STATIC)


@given(TEXTS.filter(bool), st.lists(st.integers(0, 9), min_size=2, max_size=4).filter(any))
def test_a_split_serves_the_variant_in_whose_share_the_bucket_falls(unit, weights):
    names = ["on", "off", "blue", "green"][: len(weights)]
    serve = Split(weights=tuple(zip(names, weights, strict=True)))
    flag = boolean(100, variants=dict.fromkeys(names, True), rollout=Rollout(percentage=100, serve=serve))
    ladder = [name for name, weight in serve.weights for _ in range(weight)]
    expected = ladder[bucketing.variant_bucket("k", unit, len(ladder))]
    assert FlagSet([flag]).evaluate("k", unit, None).variant == expected


# ------------------------------------------------------------------------------------------- documents


@given(definitions())
def test_a_definition_survives_its_document(definition):
    text = json.dumps(definition.to_json(), allow_nan=False)
    again = FlagDefinition.from_json(json.loads(text))
    assert again == definition
    assert json.dumps(again.to_json()) == text
    assert text.encode()


@given(definitions(), st.dictionaries(ANY_TEXTS, JSON, max_size=3), st.data())
def test_a_wrong_document_is_refused_and_nothing_else_happens(definition, additions, data):
    document = definition.to_json()
    document |= {data.draw(st.sampled_from(sorted(document))): data.draw(JSON)} | additions
    try:
        read = FlagDefinition.from_json(document)
    except FlagInvalid:
        return
    assert FlagDefinition.from_json(read.to_json()) == read


@given(JSON)
def test_what_is_no_flag_document_is_refused(document):
    with pytest.raises(FlagInvalid):
        FlagDefinition.from_json(document)


@given(st.integers(0, 10_000))
def test_every_percentage_of_two_decimals_can_be_commanded(hundredths):
    text = f"{hundredths // 100}.{hundredths % 100:02d}"
    assert command_percentage(text) == hundredths / 100


@given(ANY_TEXTS | st.floats().map(str) | st.integers().map(str))
def test_a_command_gives_a_percentage_of_two_decimals_or_none(text):
    try:
        percentage = command_percentage(text)
    except ValueError:
        return
    assert 0 <= percentage <= 100
    assert round(percentage, 2) == percentage
