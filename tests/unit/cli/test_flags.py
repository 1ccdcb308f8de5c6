"""`phase4 flags`, called in this process on a clock that stands: what it prints, in text and in JSON."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase4.cli.flagwork import percentage_of
from phase4.durations import DAY_MS
from phase4.errors import UsageError
from tests.contract.driving import Lab

FLAG, OTHER, THIRD = "truth-based-validation", "byzantine-consensus", "hook-interception"
PLAN = f"{FLAG}.1"
SHOWN = {"flag_key", "enabled", "percentage", "held", "held_reason", "entry", "version"}
"""Keys of a flag in JSON."""


@pytest.fixture
def lab(tmp_path):
    lab = Lab(tmp_path / "home")
    lab.done("init")
    return lab


@pytest.fixture
def rollout(lab):
    """A home on which a plan of the flag is in its first stage."""
    lab.done(f"rollout create {FLAG}", f"rollout start {PLAN}")
    return lab


def without_time(text):
    return re.sub(r"in [\d.e-]+ ms", "in N ms", text)


def phase(lab):
    return lab.done(f"rollout status {PLAN} --json").data["plans"][0]["phase"]


def flag(lab, key=FLAG):
    return next(row for row in lab.done("flags list --json").data["flags"] if row["flag_key"] == key)


# ----------------------------------------------------------------------------------------------------------------- list


def test_the_list_shows_state_plan_and_version(lab):
    lab.done(f"rollout create {OTHER}", f"flags enable {FLAG}", f"flags rollout {THIRD} 12.5")
    assert [line.split("  ") for line in re.sub(" {2,}", "  ", lab.done("flags list").out).splitlines()] == [
        [FLAG, "on, 10 %", "v2"],
        [OTHER, "off, 10 %", f"{OTHER}.1", "v1"],
        [THIRD, "off, 12.5 %", "v2"],
    ]


def test_the_list_shows_a_hold_in_place_of_the_percentage(lab):
    lab.done(f"emergency rollback {FLAG} bad")
    assert f"{FLAG}  held (emergency) " in lab.done("flags list").out


@pytest.mark.parametrize(
    ("option", "keys"),
    [("", [FLAG, OTHER, THIRD]), ("--enabled", [OTHER]), ("--disabled", [FLAG, THIRD])],
    ids=["all", "enabled", "disabled"],
)
def test_the_list_can_be_of_those_on_or_those_off(lab, option, keys):
    lab.done(f"flags enable {OTHER}")
    assert [row["flag_key"] for row in lab.done(f"flags list {option} --json").data["flags"]] == keys


def test_a_list_of_none_says_so(lab):
    assert lab.done("flags list --enabled").out == "No such flags.\n"


def test_a_flag_in_json_has_known_keys(rollout):
    flags = rollout.done("flags list --json").data["flags"]
    assert [set(row) for row in flags] == [SHOWN | {"plan", "stopped"}] * 3
    assert flags[0] == {
        "flag_key": FLAG,
        "enabled": True,
        "percentage": 5.0,
        "held": None,
        "held_reason": None,
        "entry": 1,
        "version": 2,
        "stopped": None,
        "plan": PLAN,
    }


def test_the_stale_list_names_what_serves_everybody_the_same_since_long(lab):
    lab.done(f"flags enable {FLAG}", f"flags rollout {FLAG} 100", f"flags rollout {OTHER} 0")
    assert lab.done("flags list --stale").out == "No stale flags.\n"
    lab.clock.advance(31 * DAY_MS)
    rows = lab.done("flags list --stale --json").data["stale"]
    assert FLAG in {row["flag_key"] for row in rows}
    assert {frozenset(row) for row in rows} == {
        frozenset(
            {
                *("flag_key", "class", "since_ms", "since_iso", "owner", "evaluated_ms", "evaluated_iso"),
                "prerequisite_of",
            }
        )
    }
    assert "since 2026-09-21T14:13:20Z" in lab.done("flags list --stale").out


# ------------------------------------------------------------------------------------------------------ enable, disable


def test_on_and_off_say_before_and_after_and_how_long_it_took(lab):
    answers = [without_time(lab.done(f"flags {word} {FLAG}").out) for word in ("enable", "disable")]
    assert answers == [
        f"{FLAG}: off, 10 % -> on, 10 %  in N ms\n",
        f"{FLAG}: on, 10 % -> off, 10 %  in N ms\n",
    ]


def test_what_is_so_already_is_said_and_makes_no_version(lab):
    assert lab.done(f"flags disable {FLAG}").out == f"{FLAG}: already off, 10 %\n"
    assert flag(lab)["version"] == 1


def test_a_toggle_in_json_has_known_keys(lab):
    data = lab.done(f"flags enable {FLAG} --json").data
    assert set(data) == {"flag", "before", "after", "changed", "plan", "elapsed_ms"}
    assert set(data["before"]) == set(data["after"]) == SHOWN
    assert (data["flag"], data["changed"], data["plan"]) == (FLAG, True, None)
    assert [data[name]["enabled"] for name in ("before", "after")] == [False, True]
    assert data["elapsed_ms"] >= 0


def test_the_same_order_again_is_answered_as_the_first_time(lab):
    lab.done(f"flags enable {FLAG} --request-id a", f"flags disable {FLAG}")
    told = lab.done(f"flags enable {FLAG} --request-id a").out
    assert told == f"{FLAG}: done before under this request id: off, 10 % -> on, 10 %\n"
    assert not flag(lab)["enabled"]


def test_the_same_order_again_is_answered_alike_also_where_nothing_was_to_do(lab):
    lab.done(f"flags disable {FLAG} --request-id a", f"flags enable {FLAG}")
    assert lab.done(f"flags disable {FLAG} --request-id a --json").data["changed"] is False
    assert flag(lab)["enabled"]


def test_a_dry_run_says_what_would_be_and_that_it_is_not(lab):
    lines = without_time(lab.done(f"flags enable {FLAG} --dry-run").out).splitlines()
    assert lines == [f"{FLAG}: off, 10 % -> on, 10 %  in N ms", "dry run: nothing was changed"]
    data = lab.done(f"flags enable {FLAG} --dry-run --json").data
    assert (data["after"]["enabled"], data["dry_run"]) == (True, True)
    assert not flag(lab)["enabled"]


def test_disabling_pauses_the_plan_and_enabling_enters_its_stage_again(rollout):
    told = without_time(rollout.done(f"flags disable {FLAG}").out)
    assert told == f"{FLAG}: on, 5 % -> off, 5 %  ({PLAN})  in N ms\n"
    assert phase(rollout) == "PAUSED"
    data = rollout.done(f"flags enable {FLAG} --json").data
    assert (data["plan"], data["after"]["percentage"], data["after"]["entry"]) == (PLAN, 5.0, 2)
    assert phase(rollout) == "PROGRESSING"
    assert "restarted" in rollout.done("rollout history").out


def test_disabling_leaves_a_plan_alone_that_has_not_started(lab):
    lab.done(f"rollout create {FLAG}", f"flags enable {FLAG}", f"flags disable {FLAG}")
    assert phase(lab) == "PENDING"


def test_enabling_leaves_a_plan_alone_that_a_person_paused(rollout):
    rollout.done(f"rollout pause {PLAN}")
    assert rollout.done(f"flags enable {FLAG}").out == f"{FLAG}: already on, 5 %\n"
    assert phase(rollout) == "PAUSED"


# ----------------------------------------------------------------------------------------------------------------- hold


@pytest.mark.parametrize(
    ("order", "kind"), [(f"rollout rollback {PLAN} bad", "rollback"), (f"emergency rollback {FLAG} bad", "emergency")]
)
def test_a_held_flag_is_not_enabled_and_the_hint_says_how(rollout, order, kind):
    rollout.done(order)
    answer = rollout(f"flags enable {FLAG} --json")
    assert answer.status == 4
    assert answer.error == {
        "code": "FLAG_HELD",
        "message": f"{FLAG} is held since {kind}: bad",
        "hint": f'phase4 flags enable {FLAG} --release --reason "TEXT"',
    }


def test_lifting_a_hold_needs_a_reason(rollout):
    rollout.done(f"rollout rollback {PLAN}")
    answer = rollout(f"flags enable {FLAG} --release")
    assert (answer.status, flag(rollout)["held"]) == (2, "rollback")
    assert "lifting a hold needs a reason" in answer.err


@pytest.mark.parametrize("order", [f"rollout rollback {PLAN} bad", f"emergency rollback {FLAG} bad"])
def test_a_hold_is_lifted_with_a_reason(rollout, order):
    rollout.done(order)
    data = rollout.done(f"flags enable {FLAG} --release --reason fixed --json").data
    assert [data["after"][name] for name in ("enabled", "percentage", "held", "held_reason")] == [True, 0.0, None, None]


def test_lifting_the_hold_lifts_it_whole_also_where_a_plan_goes_on(rollout):
    rollout.done("emergency disable bad")
    data = rollout.done(f"flags enable {FLAG} --release --reason fixed --json").data
    assert [data["after"][name] for name in ("enabled", "percentage", "held", "held_reason")] == [True, 5.0, None, None]
    assert (data["plan"], phase(rollout)) == (PLAN, "PROGRESSING")


def test_a_held_flag_is_not_raised(rollout):
    rollout.done(f"rollout rollback {PLAN}")
    answer = rollout(f"flags rollout {FLAG} 1 --json")
    assert (answer.status, answer.error["code"]) == (4, "FLAG_HELD")


# ----------------------------------------------------------------------------------------------------------- percentage


def test_setting_a_percentage_switches_nothing_on(lab):
    assert without_time(lab.done(f"flags rollout {FLAG} 12.5").out) == f"{FLAG}: off, 10 % -> off, 12.5 %  in N ms\n"


def test_the_percentage_of_now_is_no_change(lab):
    assert lab.done(f"flags rollout {FLAG} 10.00").out == f"{FLAG}: already off, 10 %\n"


def test_lowering_pauses_the_plan(rollout):
    told = without_time(rollout.done(f"flags rollout {FLAG} 3").out)
    assert told == f"{FLAG}: on, 5 % -> on, 3 %  ({PLAN})  in N ms\n"
    assert "PAUSED             stage 1/3 (3 %)      paused (lowered)" in rollout.done("rollout status").out


def test_enabling_lets_a_lowered_plan_go_on_at_its_stage_s_percentage(rollout):
    rollout.done(f"flags rollout {FLAG} 3")
    told = without_time(rollout.done(f"flags enable {FLAG}").out)
    assert told == f"{FLAG}: on, 3 % -> on, 5 %  ({PLAN})  in N ms\n"
    assert phase(rollout) == "PROGRESSING"


def test_raising_is_the_plan_s_while_one_is_live(rollout):
    answer = rollout(f"flags rollout {FLAG} 10 --json")
    assert answer.status == 4
    assert answer.error == {
        "code": "PLAN_LIVE",
        "message": f"{PLAN} is live: it alone raises the percentage of {FLAG}; lowering is allowed",
        "hint": f"phase4 rollout cancel {PLAN}",
    }


def test_above_the_environment_s_maximum_is_refused(tmp_path):
    lab = Lab(tmp_path / "home")
    lab.done("init --environment staging", f"flags rollout {FLAG} 25")
    answer = lab(f"flags rollout {FLAG} 25.01 --json")
    assert (answer.status, answer.error["code"]) == (4, "PERCENTAGE_MAX")
    assert answer.error["message"] == "25.01 % is above this environment's maximum of 25 %"


def test_lowering_is_allowed_above_the_maximum(lab):
    lab.done(f"flags rollout {FLAG} 80")
    assert lab(f"flags rollout {FLAG} 60", ROLLOUT_MAX_PERCENTAGE="25").status == 0


def test_lowering_is_allowed_while_a_setting_is_wrong_and_raising_is_not(lab):
    assert lab(f"flags rollout {FLAG} 5", DASHBOARD_PORT="x").status == 0
    assert lab(f"flags rollout {FLAG} 20", DASHBOARD_PORT="x").status == 2
    assert flag(lab)["percentage"] == 5.0


@given(st.integers(0, 10_000))
def test_every_percentage_with_two_decimals_is_read_as_it_is_written(hundredths):
    assert percentage_of(f"{hundredths // 100}.{hundredths % 100:02}") == hundredths / 100
    assert percentage_of(f"{hundredths / 100:g}") == hundredths / 100


@given(st.text(st.characters(codec="utf-8")).filter(lambda text: not re.fullmatch(r"[0-9]+(\.[0-9]{1,2})?", text)))
def test_everything_else_is_refused(text):
    with pytest.raises(UsageError, match="a percentage is a number from 0 to 100"):
        percentage_of(text)


@pytest.mark.parametrize("text", ["100.01", "101", "1000", "5.", ".5", "", "1.005", "١٠"])
def test_a_percentage_out_of_range_or_half_written_is_refused(text):
    with pytest.raises(UsageError, match=r"for example 12\.5"):
        percentage_of(text)


# ---------------------------------------------------------------------------------------------------------------- check


def test_a_check_says_on_or_off_for_whom_and_why(lab):
    lab.done(f"flags enable {FLAG}")
    answers = [lab.done(f"flags check {FLAG} {user}").out for user in ("--user user-123", "--user user-1", "")]
    assert answers == [
        "ON for user-123 (SPLIT, at 0.88 % of 10 %)\n",
        "OFF for user-1 (SPLIT)\n",
        "OFF without a user (ERROR, TARGETING_KEY_MISSING)\n",
    ]


def test_a_check_of_a_flag_that_is_off_says_so(lab):
    assert lab.done(f"flags check {FLAG} --user user-123").out == "OFF for user-123 (DISABLED)\n"


def test_at_0_and_100_percent_no_user_is_needed(lab):
    lab.done(f"flags enable {FLAG}", f"flags rollout {FLAG} 100")
    assert lab.done(f"flags check {FLAG}").out.startswith("ON without a user (STATIC")
    lab.done(f"flags rollout {FLAG} 0")
    assert lab.done(f"flags check {FLAG}").out.startswith("OFF without a user (STATIC")


def test_explaining_shows_every_step_with_hash_and_threshold(lab):
    lab.done(f"flags enable {FLAG}")
    lines = lab.done(f"flags check {FLAG} --user user-123 --explain").out.splitlines()
    assert lines[1] == "  enabled: yes"
    assert lines[-1].startswith("  rollout: 10 %, hash 37863901 (0.881588 %) is below 429496730")


def test_a_check_in_json_has_known_keys(lab):
    lab.done(f"flags enable {FLAG}")
    data = lab.done(f"flags check {FLAG} --user user-123 --json").data
    steps = data.pop("steps")
    assert data == {
        "value": True,
        "variant": "on",
        "reason": "SPLIT",
        "error_code": None,
        "arm": "treatment",
        "hash": 37863901,
        "threshold": 429496730,
        "version": 2,
    }
    assert {frozenset(step) for step in steps} == {frozenset({"name", "outcome"})}


@pytest.mark.parametrize(("user", "status"), [("user-123", 0), ("user-1", 1)])
def test_off_is_a_status_where_that_was_asked(lab, user, status):
    lab.done(f"flags enable {FLAG}")
    assert lab(f"flags check {FLAG} --user {user} --exit-code").status == status
    assert lab(f"flags check {FLAG} --user {user}").status == 0


def test_a_flag_that_is_not_there_is_named_with_the_nearest(lab):
    for line in (f"enable {FLAG}s", f"disable {FLAG}s", f"rollout {FLAG}s 5", f"check {FLAG}s"):
        answer = lab(f"flags {line} --json")
        assert answer.status == 5
        assert answer.error == {
            "code": "FLAG_NOT_FOUND",
            "message": f'no flag "{FLAG}s"; did you mean "{FLAG}"?',
            "hint": None,
        }
