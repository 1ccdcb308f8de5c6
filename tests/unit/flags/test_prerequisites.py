"""Sets of flags with prerequisites: what is refused, and with which words. And a set that cannot be refreshed."""

import pytest

from phase4.errors import FlagInvalid
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
from phase4.flags.evaluation import ErrorCode, Flag, FlagSet, Reason, not_ready
from phase4.flags.prerequisites import in_order


def flag(key, *needs, percentage=100, version=1, **changes):
    """Return a flag that has some others as prerequisites: keys, or keys with variants."""
    wanted = [need if isinstance(need, tuple) else (need, "on") for need in needs]
    values = {
        "key": key,
        "type": FlagType.BOOLEAN,
        "enabled": True,
        "variants": {"on": True, "off": False},
        "off_variant": "off",
        "default_variant": "off",
        "salt": key,
        "prerequisites": tuple(Prerequisite(flag_key=other, variants=tuple(names)) for other, *names in wanted),
        "rollout": Rollout(percentage=percentage, serve="on"),
    }
    return Flag(definition=FlagDefinition(**(values | changes)), version=version)


def problems_of(*flags):
    """Return the problems that a set is refused for."""
    with pytest.raises(FlagInvalid) as refused:
        FlagSet(flags)
    return refused.value.problems


def order(*flags):
    """Return the keys of some flags, prerequisites first."""
    return in_order({each.definition.key: each.definition for each in flags})


def test_each_flag_comes_after_its_prerequisites():
    keys = order(flag("a", "b", "c"), flag("b", "d"), flag("c", "d"), flag("d"), flag("e"))
    assert sorted(keys) == ["a", "b", "c", "d", "e"]
    for before, after in (("b", "a"), ("c", "a"), ("d", "b"), ("d", "c")):
        assert keys.index(before) < keys.index(after)


def test_the_order_of_a_set_is_the_one_given():
    flags = [flag("a", "b"), flag("b"), flag("c", "a")]
    assert list(FlagSet(flags)) == flags


def test_every_unknown_flag_and_variant_is_named_with_the_nearest():
    assert problems_of(
        flag("checkout", "byzantine-consensu", ("search", "onn", "off")),
        flag("byzantine-consensus"),
        flag("search", "zz"),
    ) == (
        "checkout: prerequisites[0].flag_key: unknown: 'byzantine-consensu'; did you mean \"byzantine-consensus\"?",
        "checkout: prerequisites[1].variants[0]: unknown: 'onn'; did you mean \"on\"?",
        "search: prerequisites[0].flag_key: unknown: 'zz'; flags: checkout, byzantine-consensus, search",
    )


@pytest.mark.parametrize(
    ("flags", "cycle"),
    [
        ([flag("a", "a")], "a -> a"),
        ([flag("b", "a"), flag("a", "b")], "a -> b -> a"),
        ([flag("x", "c"), flag("c", "d"), flag("d", "b"), flag("b", "c"), flag("y")], "b -> c -> d -> b"),
        ([flag("a", "b", enabled=False), flag("b", "a", enabled=False)], "a -> b -> a"),
    ],
    ids=["itself", "two", "three, with others", "disabled"],
)
def test_a_circle_is_refused_and_printed(flags, cycle):
    assert problems_of(*flags) == (f"prerequisites go round in a circle: {cycle}",)


def test_a_long_circle_is_found_too():
    count = 3_000
    flags = [flag(f"f{i:04d}", f"f{(i + 1) % count:04d}") for i in range(count)]
    (problem,) = problems_of(*flags)
    assert problem.startswith("prerequisites go round in a circle: f0000 -> f0001 -> ")
    assert problem.endswith(" -> f2999 -> f0000")


def test_a_chain_of_eight_is_taken_and_of_nine_is_not():
    chain = [flag(f"f{i}", f"f{i + 1}") for i in range(9)]
    assert FlagSet([*chain[1:], flag("f9")]).is_enabled("f1", "u")
    assert problems_of(*chain, flag("f9")) == (
        "f0: prerequisites: are nested deeper than 8: f0 -> f1 -> f2 -> f3 -> f4 -> f5 -> f6 -> f7 -> f8 -> f9",
    )


def test_a_bad_set_is_refused_as_a_whole_and_the_old_one_stays():
    old = FlagSet([flag("a"), flag("b")])
    with pytest.raises(FlagInvalid):
        FlagSet([flag("a", version=2), flag("b", "nobody", version=2)], previous=old)
    assert old.is_enabled("a", "u")
    assert old.find("a").flag.version == 1


def test_a_refresh_compiles_what_changed_and_what_depends_on_it():
    old = FlagSet([flag("a", "b"), flag("b", "c"), flag("c"), flag("d", "e"), flag("e")])
    new = FlagSet([flag("a", "b"), flag("b", "c"), flag("c", version=2), flag("d", "e"), flag("e")], previous=old)
    assert [key for key in "abcde" if new.find(key) is old.find(key)] == ["d", "e"]


# ------------------------------------------------------------------------------------------- stale


BETA = Condition(attribute="groups", op=Operator.IN, values=("beta",))
KINDS = [
    flag("static"),
    flag("split", percentage=50),
    flag("variants", rollout=Rollout(percentage=100, serve=Split(weights=(("on", 1), ("off", 1))))),
    flag("disabled", enabled=False),
    flag("rule", rules=(Rule(id="r", when=(BETA,), serve="on"),), rollout=None),
    flag("dependent", "split"),
    flag("code", rollout=None, default_variant=None),
    flag("object", type=FlagType.OBJECT, variants={"on": {"a": [1]}, "off": {}}),
]


@pytest.mark.parametrize("key", [each.definition.key for each in KINDS])
def test_a_stale_view_answers_the_same_with_reason_stale(key):
    flags = FlagSet(KINDS)
    view = flags.stale()
    for unit in range(50):
        context = {"targetingKey": f"u{unit}", "groups": ["beta"] if unit % 2 else []}
        fresh, stale = flags.evaluate(key, context, 7), view.evaluate(key, context, 7)
        assert stale.reason is Reason.STALE
        assert fresh.reason is not Reason.STALE
        for field in ("value", "variant", "error_code", "arm", "entry", "rule_id", "prerequisite", "version"):
            assert getattr(stale, field) == getattr(fresh, field)
        assert view.is_enabled(key, context) is flags.is_enabled(key, context)


def test_an_error_stays_an_error_in_a_stale_view():
    view = FlagSet(KINDS).stale()
    assert view.evaluate("split", {}, 7) == FlagSet(KINDS).evaluate("split", {}, 7)
    assert view.evaluate("nobody", "u", 7).error_code is ErrorCode.FLAG_NOT_FOUND
    assert view.evaluate("split", "u", 7, asked=FlagType.STRING).error_code is ErrorCode.TYPE_MISMATCH


def test_a_stale_view_knows_what_it_is_a_view_of():
    flags = FlagSet(KINDS)
    view = flags.stale()
    assert (flags.is_stale, view.is_stale) == (False, True)
    assert view.fresh() is flags.fresh() is flags
    assert view.stale() is view
    assert list(view) == list(flags)
    assert len(view) == len(flags)
    assert view.needs_now is flags.needs_now is False


def test_a_stale_view_compiles_nothing_and_makes_each_answer_once():
    view = FlagSet(KINDS).stale()
    assert view.evaluate("split", "u1", 7) is view.evaluate("split", "u1", 7)


def test_a_refresh_after_a_stale_time_answers_with_its_own_reasons_again():
    flags = FlagSet(KINDS)
    again = FlagSet(KINDS, previous=flags.stale())
    assert again.find("split") is flags.find("split")
    assert again.evaluate("split", "u1", 7).reason is Reason.SPLIT


def test_who_changes_a_stale_object_changes_nobody_elses():
    view = FlagSet(KINDS).stale()
    view.evaluate("object", "u", None).value["a"].append(2)
    assert view.evaluate("object", "u", None).value == {"a": [1]}


def test_before_there_is_a_snapshot_the_callers_default_serves():
    evaluation = not_ready("checkout-v2", 7)
    assert (evaluation.flag_key, evaluation.value, evaluation.variant) == ("checkout-v2", 7, None)
    assert (evaluation.reason, evaluation.error_code) == (Reason.ERROR, ErrorCode.PROVIDER_NOT_READY)
    assert not_ready(None, 7).flag_key == ""
