"""Evaluation, step by step: value, variant, reason, error and arm."""

import enum
import json
import math
from collections import UserDict, defaultdict

import pytest

from phase4.errors import FlagInvalid
from phase4.flags import bucketing
from phase4.flags.bucketing import Arm
from phase4.flags.definition import FlagDefinition, FlagType, Rollout
from phase4.flags.evaluation import ErrorCode, Evaluation, Flag, FlagSet, Reason, explain

KEY = "truth-based-validation"
INSIDE, OUTSIDE, CONTROL = "user-123", "user-124", "user-4"
"""At 10 %: h is 0.88 % and 58.34 % of the space (frozen vectors), and in its last tenth."""
LONE_SURROGATE = json.loads('"\\ud800"')
NO_UNIT = [
    pytest.param({}, id="nothing"),
    pytest.param(None, id="no context"),
    pytest.param("", id="empty text"),
    pytest.param({"targetingKey": ""}, id="empty key"),
    pytest.param({"targetingKey": None}, id="null"),
    pytest.param({"targetingkey": INSIDE, "userId": INSIDE}, id="another attribute"),
]
BAD_UNIT = [
    pytest.param({"targetingKey": ["user-123"]}, id="list"),
    pytest.param({"targetingKey": {"id": "user-123"}}, id="object"),
    pytest.param({"targetingKey": 7.5}, id="fraction"),
    pytest.param({"targetingKey": math.nan}, id="nan"),
    pytest.param({"targetingKey": 10**5000}, id="endless integer"),
    pytest.param({"targetingKey": LONE_SURROGATE}, id="lone surrogate"),
    pytest.param(LONE_SURROGATE, id="lone surrogate as context"),
    pytest.param(["user-123"], id="context is a list"),
    pytest.param(7, id="context is a number"),
    pytest.param(UserDict(targetingKey=INSIDE), id="context is a class of somebody's"),
]


class Flags(enum.StrEnum):
    """Keys as an application may name them."""

    VALIDATION = KEY


class Rude(dict):
    """A context with code of its own."""

    def get(self, *key):
        raise RuntimeError(key)

    __getitem__ = __missing__ = get


def flag(*, percentage=10, bucket_by="targetingKey", version=12, entry=5, **changes):
    """Return a boolean flag on its way out."""
    values = {
        "key": KEY,
        "type": FlagType.BOOLEAN,
        "enabled": True,
        "variants": {"on": True, "off": False},
        "off_variant": "off",
        "default_variant": "off",
        "salt": KEY,
        "rollout": Rollout(percentage=percentage, serve="on", bucket_by=bucket_by),
    }
    return Flag(definition=FlagDefinition(**(values | changes)), version=version, entry=entry)


def typed(flag_type, value):
    """Return a flag of some type that serves one value to everyone."""
    return flag(type=flag_type, variants={"v": value}, off_variant="v", default_variant="v", rollout=None, percentage=0)


def ask(about, context, default="code default", **options):
    """Return the evaluation of one flag."""
    return FlagSet([about]).evaluate(KEY, context, default, **options)


def served(evaluation):
    """Return what an evaluation serves and why."""
    return evaluation.value, evaluation.variant, evaluation.reason


def test_a_unit_inside_is_served_the_rollouts_variant_and_is_treatment():
    assert ask(flag(), INSIDE) == Evaluation(
        flag_key=KEY, value=True, variant="on", reason=Reason.SPLIT, arm=Arm.TREATMENT, entry=5, version=12
    )


def test_a_unit_outside_is_served_the_default_variant_and_has_no_arm():
    evaluation = ask(flag(), OUTSIDE)
    assert served(evaluation) == (False, "off", Reason.SPLIT)
    assert evaluation.arm is None


def test_a_unit_that_would_come_last_is_served_the_default_variant_and_is_control():
    evaluation = ask(flag(), CONTROL)
    assert served(evaluation) == (False, "off", Reason.SPLIT)
    assert evaluation.arm is Arm.CONTROL


def test_a_hash_equal_to_the_threshold_is_outside():
    hashed = bucketing.hash_unit(KEY, INSIDE)
    position = hashed / bucketing.SPACE * 100
    assert bucketing.threshold(position) == hashed
    assert ask(flag(percentage=position), INSIDE).arm is None
    assert ask(flag(percentage=position + 1e-7), INSIDE).arm is Arm.TREATMENT


def test_a_hash_equal_to_the_start_of_control_is_control():
    hashed = bucketing.hash_unit(KEY, CONTROL)
    position = (bucketing.SPACE - hashed) / bucketing.SPACE * 100
    assert bucketing.cuts(position).control_from == hashed
    assert ask(flag(percentage=position), CONTROL).arm is Arm.CONTROL
    assert ask(flag(percentage=position - 1e-7), CONTROL).arm is None


def test_outside_without_a_default_variant_the_callers_default_serves():
    for unit, arm in ((OUTSIDE, None), (CONTROL, Arm.CONTROL)):
        evaluation = ask(flag(default_variant=None), unit)
        assert served(evaluation) == ("code default", None, Reason.SPLIT)
        assert evaluation.error_code is None
        assert evaluation.arm is arm


def test_a_disabled_flag_serves_its_off_variant_to_everyone():
    for context in (INSIDE, {}, ["nonsense"]):
        evaluation = ask(flag(enabled=False, default_variant="on", percentage=100), context)
        assert served(evaluation) == (False, "off", Reason.DISABLED)
        assert evaluation.arm is None


def test_at_0_percent_the_default_variant_serves_and_nobody_has_an_arm():
    evaluation = ask(flag(percentage=0), CONTROL)
    assert served(evaluation) == (False, "off", Reason.STATIC)
    assert evaluation.arm is None


def test_at_100_percent_everyone_is_treatment():
    for unit in (INSIDE, OUTSIDE, CONTROL):
        evaluation = ask(flag(percentage=100), unit)
        assert served(evaluation) == (True, "on", Reason.STATIC)
        assert evaluation.arm is Arm.TREATMENT


def test_without_a_rollout_the_default_variant_serves():
    assert served(ask(flag(rollout=None, default_variant="on"), INSIDE)) == (True, "on", Reason.STATIC)
    assert served(ask(flag(rollout=None, default_variant=None), INSIDE)) == ("code default", None, Reason.STATIC)


def test_a_percentage_of_one_in_ten_thousand_includes_somebody():
    flags = FlagSet([flag(percentage=0.01)])
    inside = [i for i in range(20_000) if flags.is_enabled(KEY, str(i))]
    assert inside == [i for i in range(20_000) if bucketing.inside(KEY, str(i), 0.01)]
    assert len(inside) in range(1, 8)


def test_a_percentage_below_the_resolution_includes_nobody_and_needs_a_unit_all_the_same():
    assert served(ask(flag(percentage=1e-9), INSIDE)) == (False, "off", Reason.SPLIT)
    assert ask(flag(percentage=1e-9), {}).error_code is ErrorCode.TARGETING_KEY_MISSING


@pytest.mark.parametrize("context", NO_UNIT)
@pytest.mark.parametrize("percentage", [0.01, 50, 99.99])
def test_nobody_without_a_unit_is_exposed(context, percentage):
    evaluation = ask(flag(percentage=percentage), context)
    assert served(evaluation) == ("code default", None, Reason.ERROR)
    assert evaluation.error_code is ErrorCode.TARGETING_KEY_MISSING
    assert evaluation.error_message == "the context has no targetingKey"
    assert evaluation.arm is None
    assert (evaluation.entry, evaluation.version) == (5, 12)
    assert not FlagSet([flag(percentage=percentage)]).is_enabled(KEY, context)


@pytest.mark.parametrize("context", BAD_UNIT)
def test_what_is_no_unit_is_an_invalid_context(context):
    evaluation = ask(flag(), context)
    assert served(evaluation) == ("code default", None, Reason.ERROR)
    assert evaluation.error_code is ErrorCode.INVALID_CONTEXT
    assert evaluation.arm is None


@pytest.mark.parametrize("context", NO_UNIT + BAD_UNIT)
@pytest.mark.parametrize(("percentage", "variant"), [(0, "off"), (100, "on")])
def test_at_0_and_100_percent_no_unit_is_needed_but_only_units_have_an_arm(context, percentage, variant):
    evaluation = ask(flag(percentage=percentage), context)
    assert (evaluation.variant, evaluation.reason, evaluation.arm) == (variant, Reason.STATIC, None)


@pytest.mark.parametrize("context", [{}, {"targetingKey": INSIDE}, INSIDE, None, {"company_id": ""}])
def test_another_attribute_that_is_missing_is_an_invalid_context_that_names_it(context):
    evaluation = ask(flag(bucket_by="company_id"), context)
    assert evaluation.error_code is ErrorCode.INVALID_CONTEXT
    assert evaluation.error_message == "the context has no company_id"


def test_another_attribute_can_be_the_unit():
    context = {"targetingKey": OUTSIDE, "company_id": INSIDE}
    assert ask(flag(bucket_by="company_id"), context).arm is Arm.TREATMENT
    assert ask(flag(), context).arm is None


@pytest.mark.parametrize(("value", "text"), [(7, "7"), (7.0, "7"), (True, "true"), (Flags.VALIDATION, KEY)])
def test_a_unit_that_is_no_text_is_hashed_as_its_text(value, text):
    for percentage in range(1, 100, 7):
        expected = bucketing.arm(KEY, text, percentage)
        assert ask(flag(percentage=percentage), {"targetingKey": value}).arm is expected


def test_a_text_is_short_for_a_context_with_this_targeting_key():
    for unit in (INSIDE, OUTSIDE, CONTROL):
        assert ask(flag(), unit) == ask(flag(), {"targetingKey": unit, "plan": "pro"})


def test_the_code_of_a_contexts_class_does_not_run():
    assert ask(flag(), Rude(targetingKey=INSIDE)).arm is Arm.TREATMENT
    assert ask(flag(), defaultdict(lambda: INSIDE)).error_code is ErrorCode.TARGETING_KEY_MISSING


@pytest.mark.parametrize("key", ["unknown", "", KEY.upper(), LONE_SURROGATE, None, 7, b"key", [], {}, [KEY]])
def test_an_unknown_key_is_an_error_in_the_answer(key):
    evaluation = FlagSet([flag()]).evaluate(key, INSIDE, 42)
    assert served(evaluation) == (42, None, Reason.ERROR)
    assert evaluation.error_code is ErrorCode.FLAG_NOT_FOUND
    assert (evaluation.flag_key, evaluation.version) == (key if isinstance(key, str) else "", 0)
    assert not FlagSet([flag()]).is_enabled(key, INSIDE)


def test_a_key_that_cannot_be_hashed_without_harm_is_unknown_too():
    key = ()
    for _ in range(1_000_000):  # hashing this ends the interpreter
        key = (key,)
    assert FlagSet([flag()]).evaluate(key, INSIDE, 42).error_code is ErrorCode.FLAG_NOT_FOUND
    while key:  # undone from the outside, as its destruction recurses too
        (key,) = key


def test_a_member_of_an_enumeration_of_texts_is_a_key():
    assert FlagSet([flag()]).is_enabled(Flags.VALIDATION, INSIDE)


VALUES = {
    FlagType.BOOLEAN: True,
    FlagType.STRING: "blue",
    FlagType.INTEGER: 3,
    FlagType.FLOAT: 2.5,
    FlagType.OBJECT: {"a": 1},
}


@pytest.mark.parametrize("asked", FlagType)
@pytest.mark.parametrize("flag_type", FlagType)
def test_a_type_that_does_not_fit_is_an_error_but_an_integer_serves_a_float(flag_type, asked):
    evaluation = ask(typed(flag_type, VALUES[flag_type]), INSIDE, asked=asked)
    if asked is flag_type or (flag_type, asked) == (FlagType.INTEGER, FlagType.FLOAT):
        assert served(evaluation) == (VALUES[flag_type], "v", Reason.STATIC)
    else:
        assert served(evaluation) == ("code default", None, Reason.ERROR)
        assert evaluation.error_code is ErrorCode.TYPE_MISMATCH
        assert evaluation.error_message == f"the flag is of type {flag_type}"


@pytest.mark.parametrize("flag_type", FlagType)
def test_who_asks_for_no_type_gets_any(flag_type):
    assert ask(typed(flag_type, VALUES[flag_type]), INSIDE).value == VALUES[flag_type]


def test_a_float_that_json_wrote_as_an_integer_is_served_as_a_float():
    assert type(ask(typed(FlagType.FLOAT, 1), INSIDE).value) is float


def test_who_changes_an_object_changes_nobody_elses():
    flags = FlagSet([typed(FlagType.OBJECT, {"sizes": [1]})])
    flags.evaluate(KEY, INSIDE, None).value["sizes"].append(2)
    assert flags.evaluate(KEY, INSIDE, None).value == {"sizes": [1]}


def test_enabled_means_that_another_variant_than_off_is_served():
    flags = FlagSet([flag(variants={"on": False, "off": True})])
    assert flags.is_enabled(KEY, INSIDE)
    assert not flags.is_enabled(KEY, OUTSIDE)


def test_where_no_variant_is_served_the_flag_is_not_enabled():
    flags = FlagSet([flag(default_variant=None)])
    assert [flags.is_enabled(KEY, unit) for unit in (INSIDE, OUTSIDE, CONTROL)] == [True, False, False]


def test_a_set_has_its_flags_in_the_order_given():
    flags = [flag(key=key) for key in ("b", "a", "c")]
    assert len(FlagSet(flags)) == 3
    assert list(FlagSet(flags)) == flags
    assert list(FlagSet([])) == []


def test_a_key_that_is_there_twice_is_refused():
    with pytest.raises(FlagInvalid, match="truth-based-validation: is there twice"):
        FlagSet([flag(), flag(percentage=20)])


def test_a_refresh_compiles_only_what_changed():
    old = FlagSet([flag(key="same"), flag(key="moved"), flag(key="entered"), flag(key="gone")])
    new = FlagSet(
        [flag(key="same"), flag(key="moved", version=13), flag(key="entered", entry=6), flag(key="fresh")],
        previous=old,
    )
    assert new.find("same") is old.find("same")
    assert new.find("moved").flag.version == 13
    assert new.find("entered").flag.entry == 6
    assert new.find("gone") is None
    assert old.find("fresh") is None


def test_two_flags_with_one_salt_share_their_cohort():
    flags = FlagSet([flag(key="a"), flag(key="b")])
    units = [f"user-{i}" for i in range(500)]
    assert [flags.is_enabled("a", unit) for unit in units] == [flags.is_enabled("b", unit) for unit in units]


def outcomes(explanation):
    """Return the steps of an explanation."""
    return [(step.name, step.outcome) for step in explanation.steps]


def test_an_explanation_has_each_step_and_the_hash():
    explanation = explain(flag(), {"targetingKey": INSIDE})
    assert explanation.evaluation == ask(flag(), INSIDE)
    assert outcomes(explanation) == [
        ("enabled", "yes"),
        ("rollout", "10 %, hash 37863901 (0.881588 %) is below 429496730, inside: serves on"),
    ]
    bucket = explanation.bucket
    assert (bucket.salt, bucket.bucket_by, bucket.unit) == (KEY, "targetingKey", INSIDE)
    assert (bucket.hash, bucket.percentage, bucket.treatment_below) == (37863901, 10, 429496730)
    assert bucket.control_from == 2**32 - 429496730
    assert bucket.position == pytest.approx(0.881588, abs=1e-6)


def test_an_explanation_tells_control_from_outside():
    assert outcomes(explain(flag(), OUTSIDE))[-1] == (
        "rollout",
        "10 %, hash 2505630935 (58.338766 %) is not below 429496730, outside: serves off",
    )
    assert outcomes(explain(flag(), CONTROL))[-1][1].endswith("but at least 3865470566, control: serves off")


@pytest.mark.parametrize(
    ("about", "outcome"),
    [
        (flag(percentage=100), "100 %, no unit needed: serves on"),
        (flag(percentage=0), "0 %, no unit needed: serves off"),
        (flag(rollout=None), "there is none: serves off"),
        (flag(), "10 %, but the context has no targetingKey: serves the caller's default"),
    ],
    ids=["everyone", "nobody", "no rollout", "anonymous"],
)
def test_an_explanation_says_why_there_was_nothing_to_hash(about, outcome):
    explanation = explain(about, {})
    assert outcomes(explanation) == [("enabled", "yes"), ("rollout", outcome)]
    assert explanation.bucket is None


def test_an_explanation_of_a_disabled_flag_says_where_the_unit_would_stand():
    explanation = explain(flag(enabled=False), INSIDE)
    assert outcomes(explanation) == [("enabled", "no: serves off")]
    assert explanation.bucket.hash == 37863901
