"""`phase4 rollout plan-check` and what `rollout create` says of the same, called in this process."""

import os
import re
import tomllib
from unittest import mock

import numpy as np
import pytest

from phase4.cli import budgeting, plancheck
from phase4.errors import UsageError
from phase4.rollout.plan import parse_plan
from tests.contract.driving import Lab
from tests.data.homes.make import CHECKOUT, create, started
from tests.unit.monitor.live import START, Live

FLAG = "truth-based-validation"
SMALL = "--users 2000 --traffic 20000/day"
LARGE = "--users 200000 --traffic 2M/day"
PLAN = """
schema = 1
stages = [{ name = "all at once", percentage = 40, active_min = "1h", bake = "1d", max_duration = "3d" }]
[guardrails.error_rate]
limit = 0.02
"""


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """A home that is not there: a plan file can be checked without one."""
    monkeypatch.chdir(tmp_path)
    return Lab(tmp_path / "none")


@pytest.fixture
def lab(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lab = Lab(tmp_path / "home")
    lab.done("init")
    return lab


@pytest.fixture
def seen(tmp_path, monkeypatch):
    """A home whose flag was watched at 5 %: 2,000 users, of whom control's fail at 2 %."""
    monkeypatch.chdir(tmp_path)
    lab = Lab(tmp_path / "home", START)
    store = create(lab.home, lab.clock, search=0.0)
    live = Live(store, lab.clock)
    started(store)
    live.round()
    rng = np.random.default_rng(1)
    for _ in range(20):
        for arm in (1, 2):
            for user in rng.integers(0, 100, 20).tolist():
                outcome = "error" if arm == 1 and rng.random() < 0.02 else "ok"
                live.emit(arm, outcome, unit=1_000_000 * arm + user, t_ms=lab.clock.now() + 1)
        live.round()
    live.collector.close()
    live.writer.close()
    store.close()
    return lab


def at_width(lab, line, width):
    with mock.patch("shutil.get_terminal_size", return_value=os.terminal_size((width, 40))):
        return lab.done(line).out


# --------------------------------------------------------------------------------------------------------------- text
def test_the_guides_plan_is_fine_for_200_000_users(bare):
    out = bare.done(f"rollout plan-check default {LARGE}").out
    assert "failures without the feature: 0.1 % (assumed)" in out
    assert "OK: every stage can reach its verdict. Complete after 16 d, typically the same, and the time" in out
    assert "UNDERPOWERED" not in out


def test_2_000_users_are_told_what_holds_them_and_every_way_out_with_its_figure(bare):
    out = bare.done(f"rollout plan-check default {SMALL}").out
    assert "CANNOT PASS: stage 1, error_rate: 846 users without a failure prove < 0.5 %, 100 come in 4 d" in out
    first = out.split("CANNOT PASS: stage 1, error_rate")[1].split("\n\n")[0]
    assert "no time is enough: 100 users are all there are in this stage" in first
    assert "limit = 0.046   (the smallest limit that can be proved)" in first
    assert 'role = "observe"' in first
    assert 'Or let it hold, and a person decides: phase4 rollout approve PLAN --override --reason "TEXT"' in out
    assert "this plan would hold in stage 1, Week 5, Week 6 and ask a person. --suggest prints one" in out


def test_the_table_says_what_is_needed_what_comes_and_when(bare):
    out = bare.done(f"rollout plan-check default {LARGE}").out
    row = next(line for line in out.splitlines() if line.startswith("  error_rate < 0.5 %"))
    assert row.split()[4:] == ["846", "1,379", "3,811", "10,000", "10,000", "21.4", "min", "100", "%", "OK"]


def test_defects_are_told_with_how_long_they_last(bare):
    out = bare.done(f"rollout plan-check default {LARGE}").out
    assert re.search(r"  error_rate notices 1 % after [\d.]+ min, if it begins late after [\d.]+ h", out)
    assert re.search(r"  error_ratio notices x2 after .*; in 2 d from x1.4 on", out)


def test_without_traffic_the_users_that_are_needed_in_all_are_told(bare):
    out = bare.done("rollout plan-check default").out
    row = next(line for line in out.splitlines() if line.startswith("  error_rate < 0.5 %"))
    assert row.split()[4:] == ["846", "1,379", "3,811", "16,920", "UNKNOWN"]
    assert "The traffic is not known" in out


def test_without_users_it_says_that_each_request_counts_as_a_new_one(bare):
    assert "an upper limit. --users N" in bare.done("rollout plan-check default --traffic 20/s").out


def test_the_budget_stands_below(bare):
    out = bare.done("rollout plan-check default").out
    assert re.search(r"stage 1  error_rate +guard +0.0045 +1 +222\n", out)
    assert out.endswith("A healthy feature is rolled back by these rules with probability at most 3 % over the plan.\n")


@pytest.mark.parametrize("width", [40, 50, 64, 72, 80, 100, 120])
@pytest.mark.parametrize("options", [SMALL, LARGE, "", "--users 2000", "--traffic 1/min"])
def test_no_line_is_wider_than_the_terminal(bare, width, options):
    lines = at_width(bare, f"rollout plan-check default {options}", width).splitlines()
    assert max(map(len, lines)) <= width


def test_in_a_narrow_window_each_guardrail_is_a_card(bare):
    out = at_width(bare, f"rollout plan-check default {SMALL}", 50)
    assert "  error_rate < 0.5 %: CANNOT PASS\n    needs, clean     846\n    at 0.1 %         1,379\n" in out


# --------------------------------------------------------------------------------------------------------------- JSON
def test_the_same_in_json_has_known_keys(bare):
    answer = bare.done(f"rollout plan-check default {SMALL} --json")
    data = answer.data
    assert (data["plan"], data["check"], data["complete_earliest_ms"]) == ("default", "CANNOT PASS", None)
    stage = data["stages"][0]
    assert set(stage) == {
        *(
            "name",
            "percentage",
            "check",
            "chance",
            "users",
            "requests_per_day",
            "watched_ms",
            "least_ms",
            "max_duration",
        ),
        *("leave_earliest_ms", "leave_typical_ms", "ways_out", "guardrails"),
    }
    guard = stage["guardrails"][0]
    assert set(guard) == {
        *("guardrail", "role", "unit", "check", "limit", "base_rate", "needs", "units_by_least", "units_by_max"),
        *("chance", "notices", "least_ratio", "ways_out"),
    }
    assert [need["units"] for need in guard["needs"]] == [846, 1_379, 3_811]
    assert [way["kind"] for way in guard["ways_out"]] == ["longer", "larger", "limit", "observe", "override"]
    assert len(answer.body["warnings"]) == 7
    assert answer.body["warnings"][0].startswith("UNDERPOWERED (cannot pass): stage 1, error_rate: 846 users")


# ------------------------------------------------------------------------------------------------ files, ids, settings
def test_a_plan_file_is_checked(bare, tmp_path):
    (tmp_path / "plan.toml").write_text(PLAN)
    data = bare.done("rollout plan-check plan.toml --users 10000 --traffic 10000/day --json").data
    assert [(stage["name"], stage["check"]) for stage in data["stages"]] == [("all at once", "OK")]


def test_a_plan_of_the_home_is_checked_as_it_was_frozen(lab):
    lab.done(f"rollout create {FLAG}")
    frozen = lab(f"rollout plan-check {FLAG}.1 --json", ROLLOUT_ERROR_THRESHOLD="0.2").data
    fresh = lab("rollout plan-check default --json", ROLLOUT_ERROR_THRESHOLD="0.2").data
    limits = [data["stages"][1]["guardrails"][0]["limit"] for data in (frozen, fresh)]
    assert limits[0] < limits[1] == 0.2


def test_a_higher_base_rate_is_counted_with(bare):
    data = bare.done(f"rollout plan-check default {LARGE} --base-rate 0.7% --json").data
    assert (data["check"], data["base"]["origin"], data["base"]["rates"]["error"]) == ("ABOVE LIMIT", "given", 0.007)
    out = bare.done(f"rollout plan-check default {LARGE} --base-rate 0.007").out
    assert "ABOVE LIMIT: stage 1, error_rate: 0.7 % fail without the feature, the limit is < 0.5 %" in out


@pytest.mark.parametrize(
    ("line", "status", "message"),
    [
        ("none.toml", 2, "none.toml: cannot be read"),
        ("checkout.1", 2, 'no file "checkout.1", and no home that has plans'),
        ("default --users 0", 2, "--users is a number above 0"),
        ("default --users -5", 2, "--users"),
        ("default --users 1e5", 2, "--users is a number above 0"),
        ("default --traffic 20", 2, "--traffic is an amount in a time"),
        ("default --traffic 20/week", 2, "for example 20/s, 500/min or 1.2M/day"),
        ("default --base-rate 150%", 2, "--base-rate is a rate from 0 to below 1"),
        ("default --base-rate nan", 2, "--base-rate"),
        ("default --from-events --users 3", 2, "--from-events reads the traffic"),
        ("default --flag x", 2, "it goes with --from-events"),
        ("default --suggest", 2, "--suggest needs --users, --traffic or --from-events"),
        ("default --from-events", 6, "phase4 init"),
        (f"default --strict {SMALL}", 4, "underpowered (cannot pass): stage 1, error_rate: 846 users"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(bare, line, status, message):
    answer = bare(f"rollout plan-check {line}")
    assert (answer.status, answer.out) == (status, "")
    assert message in answer.err


@pytest.mark.parametrize(
    ("text", "per_day"),
    [("20/s", 1_728_000), ("500/min", 720_000), ("1.2M/day", 1_200_000), ("1,000/h", 24_000), ("3k / d", 3_000)],
)
def test_traffic_is_an_amount_in_a_time(text, per_day):
    assert plancheck.per_day(text) == per_day


@pytest.mark.parametrize(
    ("text", "number"), [("2000", 2_000), ("200,000", 200_000), ("1.2M", 1_200_000), ("5k", 5_000)]
)
def test_users_are_a_number(text, number):
    assert plancheck.amount(text, "--users") == number


@pytest.mark.parametrize(("text", "rate"), [("0.1%", 0.001), ("0.1 %", 0.001), ("0.001", 0.001), ("0", 0.0)])
def test_a_base_rate_is_a_share_or_a_percentage(text, rate):
    assert plancheck.rate(text) == rate
    with pytest.raises(UsageError):
        plancheck.rate(f"-{text}")


# ------------------------------------------------------------------------------------------------- refusal, suggestion
def test_a_refusal_names_everything_that_would_hold_and_the_command_that_helps(bare):
    answer = bare(f"rollout plan-check default {SMALL} --strict --json")
    assert (answer.status, answer.error["code"]) == (4, "UNDERPOWERED")
    assert len(answer.error["message"].splitlines()) == 7
    assert answer.error["hint"] == f"phase4 rollout plan-check default {SMALL} --suggest"
    assert bare(answer.error["hint"].removeprefix("phase4 ")).status == 0


def test_what_is_fine_is_not_refused(bare):
    assert bare(f"rollout plan-check default {LARGE} --strict").status == 0


@pytest.mark.parametrize("options", [SMALL, "--users 2000", "--users 30", "--traffic 1/min", f"{SMALL} --base-rate 3%"])
def test_a_suggested_plan_is_a_plan_file_that_passes(bare, tmp_path, options):
    text = bare.done(f"rollout plan-check default {options} --suggest").out
    assert re.match("# Reaches its verdicts.* in [0-9.]+ % of the rollouts, at", text)
    parse_plan(tomllib.loads(text), flag_key="f", plan_id="f.1", source="suggested")
    (tmp_path / "plan.toml").write_text(text)
    assert bare(f"rollout plan-check plan.toml {options} --strict").status == 0


def test_a_suggestion_can_be_created(lab, tmp_path):
    (tmp_path / "plan.toml").write_text(lab.done(f"rollout plan-check default {SMALL} --suggest").out)
    assert lab.done(f"rollout create {FLAG} --file plan.toml --json").data["made"]


def test_a_suggestion_stays_below_the_environment_s_maximum(tmp_path):
    lab = Lab(tmp_path / "home")
    lab.done("init --environment staging")
    text = lab.done(f"rollout plan-check default {SMALL} --suggest --json").data["suggestion"]
    assert max(stage["percentage"] for stage in tomllib.loads(text)["stages"]) <= 25


# ------------------------------------------------------------------------------------------------- from what was seen
def test_traffic_and_failures_are_read_off_the_last_week(seen):
    data = seen.done("rollout plan-check default --from-events --json").data
    assert (data["seen"]["flag_key"], data["seen"]["origin"], data["base"]["origin"]) == (
        CHECKOUT,
        "observations",
        "seen",
    )
    assert data["traffic"]["users"] == pytest.approx(2_000, rel=0.15)
    assert data["base"]["rates"]["error"] == pytest.approx(0.02, abs=0.03)


def test_what_was_seen_is_told_with_its_interval(seen):
    out = seen.done(f"rollout plan-check default --from-events --flag {CHECKOUT}").out
    assert re.match(rf"Seen of {CHECKOUT} \(observations\) in .*: \d+ requests, \d+ users; without the feature ", out)


def test_a_given_base_rate_wins_over_the_one_that_was_seen(seen):
    data = seen.done("rollout plan-check default --from-events --base-rate 0 --json").data
    assert (data["base"]["origin"], data["base"]["rates"]["error"]) == ("given", 0.0)


def test_where_nothing_was_seen_the_traffic_is_not_known(lab):
    answer = lab.done("rollout plan-check default --from-events")
    assert answer.err == "phase4: no event was seen in 7 d: the traffic is not known\n"
    refused = lab("rollout plan-check default --from-events --suggest --json")
    assert (refused.status, refused.error["code"]) == (4, "REFUSED")


def test_imported_events_will_do(lab, tmp_path):
    lines = [f"2026-09-20T{hour:02}:{minute:02}:00Z,user-{minute},ok" for hour in range(24) for minute in range(60)]
    (tmp_path / "old.csv").write_text("\n".join(["time,targeting_key,outcome", *lines]))
    lab.done(f"events import old.csv --const flag={FLAG} --const arm=control --const latency=-1")
    data = lab.done("rollout plan-check default --from-events --json").data
    assert (data["seen"]["origin"], data["seen"]["users_counted"]) == ("imported", 60)
    assert data["traffic"]["requests_per_day"] == pytest.approx(1_440, rel=0.01)


# ------------------------------------------------------------------------------------------------------ rollout create
def test_a_new_plan_without_a_history_says_that_the_traffic_is_not_known(lab):
    answer = lab.done(f"rollout create {FLAG}")
    assert "The traffic is not known, so when a stage reaches its verdict is not either: " in answer.out
    assert f"phase4 rollout plan-check {FLAG}.1 --users N --traffic N/day" in answer.out
    assert answer.err == ""
    assert lab.done(f"rollout create {FLAG} --strict --json").data["planning"]["check"] == "UNKNOWN"


def test_a_new_plan_that_would_hold_is_warned_of_loudly(seen):
    answer = seen.done("rollout create search")
    assert "UNDERPOWERED (cannot pass): stage 1, error_rate: 168 users without a failure prove < 2.5 %, " in answer.err
    assert "UNDERPOWERED (cannot pass): stage 1, error_ratio: needs 500 users in each arm, " in answer.err
    assert f"Seen of {CHECKOUT} (observations)" in answer.out
    assert "The ways out: phase4 rollout plan-check search.1 --from-events" in answer.out
    assert seen.done("rollout create search --replace --json").body["warnings"]


def test_a_strict_order_refuses_such_a_plan_and_makes_nothing(seen):
    answer = seen("rollout create search --strict --json")
    assert (answer.status, answer.error["code"]) == (4, "UNDERPOWERED")
    assert answer.error["hint"] == "phase4 rollout plan-check default --from-events --suggest"
    assert seen(answer.error["hint"].removeprefix("phase4 ")).status == 0
    assert [plan["plan"] for plan in seen.done("rollout status --json").data["plans"]] == [f"{CHECKOUT}.1"]


def test_the_figures_of_a_new_plan_are_in_its_json(seen):
    planning = seen.done("rollout create search --json").data["planning"]
    assert planning["seen"]["flag_key"] == CHECKOUT
    assert [stage["percentage"] for stage in planning["stages"]] == [5, 10, 25]


# ------------------------------------------------------------------------------------------------------------- budget
def plan(text, percentages=(5, 10)):
    stages = [{"name": "the same", "percentage": each, "max_duration": "1d"} for each in percentages]
    document = {"schema": 1, "stages": stages, "guardrails": tomllib.loads(text)}
    return parse_plan(document, flag_key="f", plan_id="f.1", source="x")


def test_the_budget_of_a_plan_is_the_sum_over_its_guards():
    made = plan("[error_rate]\nlimit = 0.01\n[emergency]\nlimit = 0.02\n[success_rate]\nlimit = 0.95")
    assert budgeting.spent(made, 0) == pytest.approx(0.01)
    assert budgeting.spent(made) == pytest.approx(0.02)
    assert budgeting.of_stage(made, -1) == {"plan": 0.05, "spent": pytest.approx(0.02), "spent_in_stage": None}
    assert budgeting.stage_line(made, 0) == (
        "budget: at most 1 % in this stage, 2 % over the plan, to roll back a healthy feature"
    )


def test_a_raw_rule_promises_nothing():
    made = plan('[error_rate]\nlimit = 0.01\nmethod = "threshold"')
    assert budgeting.spent(made) is None
    assert "is not known: error_rate has no error control" in budgeting.promise(made)
    assert "no error control" in budgeting.lines(made, 80)[1]
    assert "no error control" in budgeting.lines(made, 40)[2]
    assert "no error control" in budgeting.stage_line(made, 0)


def test_signals_alone_roll_nothing_back():
    assert (
        budgeting.promise(plan('[error_rate]\nlimit = 0.01\nrole = "signal"')) == "Nothing rolls back by these rules."
    )


def test_a_stage_like_the_one_before_is_said_to_be_so_and_another_is_not():
    made = plan("[error_rate]\nlimit = 0.01\n[error_ratio]\n", (5, 100))
    assert not any("the same  the same" in line for line in budgeting.lines(made, 80))
    alike = plan("[error_rate]\nlimit = 0.01", (5, 10))
    assert budgeting.lines(alike, 80)[-1] == "the same  the same"
    assert budgeting.lines(alike, 40)[-1] == "the same: the same"


def test_guardrails_of_requests_say_that_bursts_cost_more(bare, tmp_path):
    (tmp_path / "plan.toml").write_text(f'{PLAN}unit = "request"\n', encoding="utf-8")
    said = " ".join(bare.done(f"rollout plan-check plan.toml {LARGE}").out.split())
    assert "error_rate: as if requests failed independently" in said
    (tmp_path / "plan.toml").write_text(PLAN, encoding="utf-8")
    assert "independently" not in bare.done(f"rollout plan-check plan.toml {LARGE}").out


def test_guardrails_that_are_only_shown_stand_in_a_line_of_their_own(bare, tmp_path):
    (tmp_path / "plan.toml").write_text(f'{PLAN}[guardrails.error_ratio]\nrole = "observe"\n')
    out = bare.done(f"rollout plan-check plan.toml {LARGE}").out
    assert "\n  only shown: error_ratio\n" in out
    (tmp_path / "plan.toml").write_text(f'{PLAN}role = "observe"\n')
    assert "\n  only shown: error_rate\n" in bare.done(f"rollout plan-check plan.toml {LARGE}").out
