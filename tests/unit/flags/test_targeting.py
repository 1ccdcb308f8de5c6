"""The order of evaluation, row by row: lists, prerequisites, eligibility and rules before the rollout."""

import pytest

from phase4.errors import FlagInvalid
from phase4.flags import bucketing
from phase4.flags.bucketing import Arm
from phase4.flags.compiler import compile_flag
from phase4.flags.definition import Condition, Operator
from phase4.flags.evaluation import Evaluation, FlagSet, Reason
from tests.unit.flags.samples import BETA, EUROPE, KEY, LAST, LATER, NOW, RECENT, ask, flag, needs, rule, served, units

EVERYTHING = {
    "deny": ("denied", "both"),
    "prerequisites": (needs("base"),),
    "allow": ("tester", "both"),
    "eligible": (RECENT,),
    "rules": (rule(BETA),),
}
BASE_ON = flag(key="base", percentage=100)
BASE_OFF = flag(key="base", enabled=False)


# ------------------------------------------------------------------------------------------- row by row


def test_3_a_disabled_flag_is_off_for_testers_too():
    about = flag(enabled=False, **EVERYTHING)
    for unit in ("denied", "tester", "user-7"):
        assert served(about, {"targetingKey": unit, "groups": ["beta"]}, BASE_OFF) == ("off", "DISABLED")


def test_4_who_is_denied_gets_the_off_variant():
    about = flag(percentage=100, **EVERYTHING)
    context = {"targetingKey": "denied", "version": "2.0.0", "groups": ["beta"]}
    assert ask(about, context, BASE_ON) == Evaluation(
        flag_key=KEY, value="0", variant="off", reason=Reason.TARGETING_MATCH, entry=5, version=12
    )


def test_4_deny_beats_allow_and_an_unmet_prerequisite():
    assert served(flag(**EVERYTHING), {"targetingKey": "both", "version": "2.0.0"}, BASE_ON)[0] == "off"
    assert ask(flag(**EVERYTHING), "both", BASE_OFF).prerequisite is None


def test_5_an_unmet_prerequisite_gives_the_off_variant_and_is_named():
    about = flag(percentage=100, **EVERYTHING)
    context = {"targetingKey": "user-7", "version": "2.0.0", "groups": ["beta"]}
    assert ask(about, context, BASE_OFF) == Evaluation(
        flag_key=KEY,
        value="0",
        variant="off",
        reason=Reason.TARGETING_MATCH,
        entry=5,
        version=12,
        prerequisite="base",
    )


def test_5_allow_never_beats_a_prerequisite():
    assert served(flag(**EVERYTHING), "tester", BASE_OFF) == ("off", "TARGETING_MATCH")


def test_6_who_is_allowed_gets_what_the_rollout_serves_eligible_or_not():
    for percentage in (0, 10, 100):
        evaluation = ask(flag(percentage=percentage, **EVERYTHING), "tester", BASE_ON)
        assert (evaluation.variant, evaluation.reason) == ("on", Reason.TARGETING_MATCH)
        assert (evaluation.arm, evaluation.rule_id, evaluation.prerequisite) == (None, None, None)


def test_6_allow_beats_a_rule():
    assert served(flag(allow=("tester",), rules=(rule(),)), "tester")[0] == "on"


def test_7_who_is_not_eligible_gets_the_off_variant():
    about = flag(percentage=100, **EVERYTHING)
    for version in ("1.3.9", "1.4", None):
        context = {"targetingKey": "user-7", "version": version, "groups": ["beta"]}
        evaluation = ask(about, context, BASE_ON)
        assert (evaluation.variant, evaluation.reason) == ("off", Reason.TARGETING_MATCH)
        assert evaluation.arm is evaluation.rule_id is evaluation.prerequisite is None


def test_8_the_first_rule_that_matches_serves():
    about = flag(rules=(rule(EUROPE, rule_id="eu", serve="green"), rule(BETA, rule_id="beta")))
    assert ask(about, {"targetingKey": "user-7", "groups": ["beta"], "country": "FR"}) == Evaluation(
        flag_key=KEY,
        value="g",
        variant="green",
        reason=Reason.TARGETING_MATCH,
        rule_id="eu",
        entry=5,
        version=12,
    )
    assert ask(about, {"targetingKey": "user-7", "groups": ["beta"]}).rule_id == "beta"


def test_8_a_rule_that_does_not_match_leaves_the_unit_to_the_rollout():
    about = flag(**EVERYTHING)
    for inside, variant, arm in ((True, "on", Arm.TREATMENT), (False, "rest", None)):
        unit = next(each for each in units(KEY, 10, inside=inside) if inside or bucketing.arm(KEY, each, 10) is None)
        evaluation = ask(about, {"targetingKey": unit, "version": "1.4.0"}, BASE_ON)
        assert (evaluation.variant, evaluation.reason, evaluation.arm) == (variant, Reason.SPLIT, arm)
        assert evaluation.rule_id is None


def test_9_at_0_and_100_percent_static_says_that_everybody_gets_the_same():
    assert served(flag(percentage=0), "u") == ("rest", "STATIC")
    assert served(flag(percentage=100), "u") == ("on", "STATIC")


@pytest.mark.parametrize("part", ["deny", "allow", "eligible", "rules", "prerequisites"])
def test_9_a_targeted_flag_is_never_static(part):
    context = {"targetingKey": "user-7", "version": "1.4.0"}
    for percentage, variant in ((0, "rest"), (100, "on")):
        about = flag(percentage=percentage, **{part: EVERYTHING[part]})
        assert served(about, context, BASE_ON) == (variant, "SPLIT")


def test_10_without_a_rollout_the_default_variant_serves():
    rest = {name: part for name, part in EVERYTHING.items() if name != "allow"}
    context = {"targetingKey": "user-7", "version": "1.4.0"}
    assert served(flag(rollout=None), context) == ("rest", "STATIC")
    assert served(flag(rollout=None, **rest), context, BASE_ON) == ("rest", "DEFAULT")
    evaluation = ask(flag(rollout=None, default_variant=None, **rest), context, BASE_ON)
    assert (evaluation.variant, evaluation.value, evaluation.reason) == (None, "code default", Reason.DEFAULT)


def test_only_units_that_reach_the_rollout_have_an_arm():
    assert bucketing.arm(KEY, LAST, 10) is Arm.CONTROL
    context = {"targetingKey": LAST, "version": "1.4.0"}
    assert ask(flag(**EVERYTHING), context, BASE_ON).arm is Arm.CONTROL
    for changes in ({"groups": ["beta"]}, {"version": "1.0.0"}):
        assert ask(flag(**EVERYTHING), context | changes, BASE_ON).arm is None
    assert ask(flag(deny=(LAST,)), context).arm is None
    assert ask(flag(allow=(LAST,)), context).arm is None
    assert ask(flag(prerequisites=(needs("base"),)), context, BASE_OFF).arm is None


# ------------------------------------------------------------------------------------------- the guide's fields


def test_user_ids_are_allow_groups_a_rule_and_min_version_an_eligible_condition():
    about = flag(
        percentage=0,
        allow=("user-1", "user-2"),
        rules=(rule(BETA, rule_id="groups", serve="on"),),
        eligible=(RECENT,),
    )
    assert ask(about, "user-1").variant == "on"
    assert ask(about, {"targetingKey": "user-3", "groups": ["beta"], "version": "1.4.0"}).variant == "on"
    assert ask(about, {"targetingKey": "user-3", "groups": ["alpha"], "version": "1.4.0"}).variant == "rest"
    assert ask(about, {"targetingKey": "user-3", "groups": ["beta"], "version": "1.3.9"}).variant == "off"


def test_groups_may_be_an_eligible_condition_too():
    about = flag(percentage=100, eligible=(BETA,))
    assert ask(about, {"targetingKey": "u", "groups": ["beta", "qa"]}).variant == "on"
    assert ask(about, {"targetingKey": "u", "groups": ["qa"]}).variant == "off"
    assert ask(about, "u").variant == "off"


# ------------------------------------------------------------------------------------------- lists


@pytest.mark.parametrize("unit", ["7", 7, 7.0], ids=repr)
def test_units_that_hash_alike_are_denied_alike(unit):
    assert served(flag(percentage=100, deny=("7",)), {"targetingKey": unit})[0] == "off"
    assert served(flag(percentage=0, allow=("7",)), {"targetingKey": unit})[0] == "on"


def test_the_lists_name_targeting_keys_also_where_another_attribute_is_the_unit():
    about = flag(percentage=100, bucket_by="company_id", deny=("acme", "user-7"), allow=("acme",))
    assert served(about, {"targetingKey": "user-7", "company_id": "x"})[0] == "off"
    assert served(about, {"targetingKey": "user-8", "company_id": "acme"}) == ("on", "SPLIT")


@pytest.mark.parametrize("context", [None, {}, "", {"targetingKey": ""}, {"targetingKey": ["denied"]}, 7, ["denied"]])
def test_who_has_no_targeting_key_is_on_no_list(context):
    assert served(flag(percentage=100, deny=("denied", "7"), allow=("None",)), context) == ("on", "SPLIT")


# ------------------------------------------------------------------------------------------- now


def test_a_flag_that_asks_for_the_time_says_so():
    for needy in ({"eligible": (RECENT, LATER)}, {"rules": (rule(BETA), rule(RECENT, LATER, rule_id="s"))}):
        assert compile_flag(flag(**needy)).needs_now
        assert FlagSet([flag(key="other"), flag(**needy)]).needs_now
        assert not compile_flag(flag(enabled=False, **needy)).needs_now
    assert not FlagSet([flag(**{name: part for name, part in EVERYTHING.items() if name != "prerequisites"})]).needs_now
    assert not FlagSet([]).needs_now


def test_a_flag_whose_prerequisite_asks_for_the_time_asks_too():
    base = flag(key="base", eligible=(LATER,))
    flags = FlagSet([flag(prerequisites=(needs("base"),)), base])
    assert flags.find(KEY).needs_now
    assert not FlagSet([flag(enabled=False, prerequisites=(needs("base"),)), base]).find(KEY).needs_now


def test_the_time_comes_from_the_caller_and_not_from_the_context():
    about = flag(percentage=100, eligible=(LATER,))
    context = {"targetingKey": "u", "now": "2099-01-01T00:00:00Z"}
    assert served(about, context, now_ms=NOW)[0] == "off"
    assert served(about, context, now_ms=NOW + 1)[0] == "on"
    assert served(about, context)[0] == "off"
    flags = FlagSet([about])
    assert [flags.is_enabled(KEY, context, now_ms=now) for now in (None, NOW, NOW + 1)] == [False, False, True]


def test_a_prerequisite_gets_the_same_time():
    base = flag(key="base", percentage=100, eligible=(LATER,))
    about = flag(percentage=100, prerequisites=(needs("base"),))
    assert [served(about, "u", base, now_ms=now)[0] for now in (NOW, NOW + 1)] == ["off", "on"]


# ------------------------------------------------------------------------------------------- prerequisites in use


@pytest.mark.parametrize(("variants", "variant"), [(("on",), "on"), (("off",), "off"), (("blue", "on"), "on")])
def test_a_prerequisite_is_met_by_any_of_its_named_variants(variants, variant):
    about = flag(percentage=100, prerequisites=(needs("base", *variants),))
    assert served(about, "u", BASE_ON)[0] == variant


def test_a_disabled_prerequisite_serves_its_off_variant():
    assert served(flag(percentage=100, prerequisites=(needs("base"),)), "u", BASE_OFF)[0] == "off"
    about = flag(percentage=100, prerequisites=(needs("base", "off"),))
    assert served(about, "u", BASE_OFF)[0] == "on"


def test_a_prerequisite_is_asked_about_the_same_context():
    base = flag(key="base", percentage=50)
    about = flag(percentage=100, prerequisites=(needs("base"),))
    for inside in (True, False):
        unit = next(units("base", 50, inside=inside))
        assert served(about, unit, base)[0] == ("on" if inside else "off")


def test_a_prerequisite_that_cannot_answer_is_unmet():
    about = flag(percentage=100, prerequisites=(needs("base"),))
    evaluation = ask(about, {}, flag(key="base", percentage=50))
    assert (evaluation.variant, evaluation.prerequisite, evaluation.error_code) == ("off", "base", None)


def test_all_prerequisites_must_be_met_and_the_first_that_is_not_is_named():
    about = flag(percentage=100, prerequisites=(needs("a"), needs("b"), needs("c")))
    on, off = {"percentage": 100}, {"percentage": 0}
    flags = [flag(key="a", **on), flag(key="b", **off), flag(key="c", **off)]
    assert ask(about, "u", *flags).prerequisite == "b"
    assert served(about, "u", *(flag(key=key, **on) for key in "abc"))[0] == "on"


def test_an_unmet_prerequisite_reaches_through_a_chain():
    chain = [flag(key=f"f{i}", percentage=100, prerequisites=(needs(f"f{i + 1}"),)) for i in range(8)]
    on, off = flag(key="f8", percentage=100), flag(key="f8", enabled=False)
    assert served(chain[0], "u", *chain[1:], on)[0] == "on"
    evaluation = ask(chain[0], "u", *chain[1:], off)
    assert (evaluation.variant, evaluation.prerequisite) == ("off", "f1")


def test_a_prerequisite_that_changes_is_asked_in_its_new_form():
    about = flag(percentage=100, prerequisites=(needs("base"),))
    old = FlagSet([about, BASE_ON, flag(key="other")])
    new = FlagSet([about, flag(key="base", enabled=False, version=13), flag(key="other")], previous=old)
    assert old.evaluate(KEY, "u", None).variant == "on"
    assert new.evaluate(KEY, "u", None).variant == "off"
    assert new.find("other") is old.find("other")


def test_a_flag_with_prerequisites_is_compiled_with_them_or_not_at_all():
    with pytest.raises(FlagInvalid, match=r"checkout-v2: prerequisites\[0\].flag_key: unknown: 'base'"):
        compile_flag(flag(prerequisites=(needs("base"),)))


# ------------------------------------------------------------------------------------------- contexts of any kind


@pytest.mark.parametrize("name", ["__class__", "get", "items", "self", "context", "now_ms", "None", "on"])
def test_keys_that_are_named_like_built_ins_are_keys(name):
    about = flag(percentage=0, rules=(rule(Condition(attribute=name, op=Operator.EQ, value=1)),), bucket_by=name)
    assert ask(about, {name: 1, "targetingKey": "u"}).rule_id == "r"
    assert ask(about, {name: 2, "targetingKey": "u"}).rule_id is None


def test_a_text_is_short_for_a_context_with_this_targeting_key():
    starts = Condition(attribute="targetingKey", op=Operator.STARTS_WITH, values=("qa-",))
    about = flag(rules=(rule(starts),), deny=("qa-9",))
    for unit in ("qa-1", "qa-9", "user-1"):
        assert ask(about, unit) == ask(about, {"targetingKey": unit})
    assert ask(about, "qa-1").rule_id == "r"
