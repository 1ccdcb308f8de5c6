import copy
import math
import tomllib
from dataclasses import fields, replace
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase4.analysis.observation import OutcomeSet
from phase4.analysis.specs import RateGuardrail, RatioGuardrail, ThresholdGuardrail
from phase4.analysis.verdict import Role, Unit
from phase4.durations import DAY_MS, HOUR_MS
from phase4.errors import PlanInvalid
from phase4.rollout.guardrail_table import GUARDRAILS, default_guardrails
from phase4.rollout.plan import RolloutPlan, Stage, parse_plan

TICK_MS = 30_000
SMALL = {
    "schema": 1,
    "stages": [
        {"name": "few", "percentage": 5, "active_min": "1h", "bake": "2h", "max_duration": "1d"},
        {"name": "many", "percentage": 50.0, "active_min": "1h", "bake": "2h", "max_duration": "1d", "approval": True},
    ],
}
FULL = {
    **SMALL,
    "auto": False,
    "approvals_required": 2,
    "alpha": 0.1,
    "beta": 0.2,
    "guardrails": {
        "error_rate": {
            "limit": [0.005, 0.01],
            "role": "guard",
            "unit": "user",
            "method": "e_process",
            "prove": True,
            "ambient": True,
            "min_units": 100,
            "weight": 2.0,
        },
        "error_ratio": {"max_ratio": 1.1, "pass_ratio": 2.0, "prove": True, "unit": "user"},
        "hook_failures": {"limit": 0.1, "method": "threshold", "window": "tick", "window_ticks": 3},
    },
}


def parse(document, **names):
    return parse_plan(document, **{"flag_key": "checkout", "plan_id": "checkout.1", "source": "plan.toml", **names})


def changed(document, path, value):
    """Return the document with the value at a path of keys and places; None takes the key away."""
    result = copy.deepcopy(document)
    *way, last = path
    place = result
    for step in way:
        place = place[step]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return result


def problems(document):
    with pytest.raises(PlanInvalid) as refusal:
        parse(document)
    assert refusal.value.source == "plan.toml"
    return list(refusal.value.problems)


def with_guardrails(**tables):
    return {**SMALL, "guardrails": tables}


# --------------------------------------------------------------------------------------------- the guide's plan


@pytest.fixture(scope="module")
def guide():
    text = resources.files("phase4.rollout").joinpath("default_plan.toml").read_text(encoding="utf-8")
    return parse(tomllib.loads(text))


def column(plan, name):
    """Return one guardrail of each stage."""
    return [next(spec for spec in specs if spec.name == name) for specs in plan.guardrails]


def test_the_guide_exposes_5_then_10_then_25_percent(guide):
    assert [stage.percentage for stage in guide.stages] == [5.0, 10.0, 25.0]


def test_the_guide_watches_12_then_24_then_48_hours(guide):
    assert [stage.active_min for stage in guide.stages] == [12 * HOUR_MS, 24 * HOUR_MS, 48 * HOUR_MS]


def test_the_guide_bakes_2_then_7_then_7_days(guide):
    assert [stage.bake for stage in guide.stages] == [2 * DAY_MS, 7 * DAY_MS, 7 * DAY_MS]


def test_the_guide_asks_for_help_after_4_then_14_then_14_days(guide):
    assert [stage.max_duration for stage in guide.stages] == [4 * DAY_MS, 14 * DAY_MS, 14 * DAY_MS]


def test_the_guide_allows_half_a_percent_of_errors_then_1_percent(guide):
    assert [spec.limit for spec in column(guide, "error_rate")] == [0.005, 0.01, 0.01]


def test_the_guide_wants_98_then_95_percent_of_success(guide):
    specs = column(guide, "success_rate")
    assert [1.0 - spec.limit for spec in specs] == pytest.approx([0.98, 0.95, 0.95])
    assert {spec.outcome_set for spec in specs} == {OutcomeSet.BAD}


def test_a_lack_of_success_holds_and_does_not_roll_back(guide):
    assert {spec.role for spec in column(guide, "success_rate")} == {Role.SIGNAL}


def test_2_percent_of_errors_are_an_emergency_whatever_control_does(guide):
    specs = column(guide, "emergency")
    assert {(s.limit, s.emergency, s.ambient, s.role) for s in specs} == {(0.02, True, False, Role.GUARD)}


def test_25_percent_and_nothing_before_it_needs_an_approval(guide):
    assert [guide.needs_approval(stage) for stage in range(3)] == [False, False, True]


def test_the_default_guardrails_are_the_guide_s(guide):
    assert default_guardrails([5, 10, 25]) == guide.guardrails


def test_a_plan_that_names_no_guardrails_has_the_default_ones():
    assert parse(SMALL).guardrails == default_guardrails([5, 50])


def test_a_plan_that_names_guardrails_has_exactly_those():
    plan = parse(with_guardrails(error_ratio={}))
    assert [[spec.name for spec in specs] for specs in plan.guardrails] == [["error_ratio"]] * 2


# --------------------------------------------------------------------------------------------- what a file may say


def test_a_plan_needs_stages_only():
    plan = parse({"stages": [{"percentage": 10, "max_duration": "1d"}]})
    assert plan.stages == (Stage(name="stages[0]", percentage=10.0, active_min=0, bake=0, max_duration=DAY_MS),)
    assert (plan.auto, plan.approvals_required, plan.alpha, plan.beta) == (True, 1, 0.05, 0.05)


def test_a_full_plan_is_read_as_it_is_written():
    plan = parse(FULL)
    assert (plan.auto, plan.approvals_required, plan.alpha, plan.beta) == (False, 2, 0.1, 0.2)
    rate, ratio, raw = plan.guardrails[0]
    assert rate == RateGuardrail(name="error_rate", limit=0.005, min_units=100, weight=2.0)
    assert ratio == RatioGuardrail(name="error_ratio", max_ratio=1.1, pass_ratio=2.0, prove=True)
    assert raw == ThresholdGuardrail(name="hook_failures", limit=0.1, window=3, outcome_set=OutcomeSet.BAD)


def test_a_limit_for_each_stage_is_a_list():
    assert [spec.limit for spec in column(parse(FULL), "error_rate")] == [0.005, 0.01]


def test_one_limit_is_for_every_stage():
    assert [s.limit for s in column(parse(with_guardrails(error_rate={"limit": 0.03})), "error_rate")] == [0.03, 0.03]


def test_a_success_rate_is_judged_as_the_rate_of_what_is_bad():
    (first, _) = column(parse(with_guardrails(success_rate={"limit": 0.9})), "success_rate")
    assert first == RateGuardrail(name="success_rate", limit=0.1, outcome_set=OutcomeSet.BAD, role=Role.SIGNAL)


@pytest.mark.parametrize(
    ("name", "outcome_set"),
    [
        ("error_rate", OutcomeSet.ERROR),
        ("emergency", OutcomeSet.ERROR),
        ("validation_failures", OutcomeSet.INVALID),
        ("hook_failures", OutcomeSet.BAD),
    ],
)
def test_a_guardrail_counts_the_outcomes_its_name_says(name, outcome_set):
    (first, _) = column(parse(with_guardrails(**{name: {"limit": 0.05}})), name)
    assert (first.outcome_set, first.role) == (outcome_set, Role.GUARD)


def test_hooks_have_no_users_so_their_failures_are_counted_in_requests():
    (first, _) = column(parse(with_guardrails(hook_failures={"limit": 0.05})), "hook_failures")
    assert first.unit is Unit.REQUEST


def test_a_raw_threshold_counts_requests_of_one_tick_unless_told_otherwise():
    (first, _) = column(parse(with_guardrails(error_rate={"limit": 0.05, "method": "threshold"})), "error_rate")
    assert (first.unit, first.window) == (Unit.REQUEST, 1)


def test_a_cumulative_threshold_pools_the_whole_entry():
    table = {"limit": 0.05, "method": "threshold", "window": "cumulative"}
    (first, _) = column(parse(with_guardrails(error_rate=table)), "error_rate")
    assert first.window is None


def test_a_raw_emergency_threshold_is_an_emergency_too():
    (first, _) = column(parse(with_guardrails(emergency={"limit": 0.02, "method": "threshold"})), "emergency")
    assert first.emergency


def test_a_plan_without_auto_asks_before_every_stage_but_the_first():
    plan = parse({**SMALL, "auto": False})
    assert [plan.needs_approval(stage) for stage in range(2)] == [False, True]


def test_the_first_stage_is_entered_by_its_start_and_asks_nobody():
    plan = parse(changed(SMALL, ("stages", 0, "approval"), value=True))
    assert not plan.needs_approval(0)


def test_the_outcome_sets_are_those_whose_users_are_counted():
    tables = {"error_rate": {"limit": 0.1}, "hook_failures": {"limit": 0.1}, "validation_failures": {"limit": 0.1}}
    assert parse(with_guardrails(**tables)).outcome_sets == {OutcomeSet.ERROR, OutcomeSet.INVALID}


# --------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (("schema",), 2, "schema: lies in 1..1: 2"),
        (("stages",), [], "stages: is missing; a plan has at least one stage"),
        (("auto",), "yes", "auto: is true or false: 'yes'"),
        (("approvals_required",), 0, "approvals_required: lies in 1..5: 0"),
        (("approvals_required",), 6, "approvals_required: lies in 1..5: 6"),
        (("alpha",), 0.0, "alpha: is a probability, 0.000001 to 0.5: 0.0"),
        (("alpha",), 0.51, "alpha: is a probability, 0.000001 to 0.5: 0.51"),
        (("beta",), 1, "beta: is a probability, 0.000001 to 0.5: 1"),
        (("stages", 1, "percentage"), 101, "stages[1].percentage: is a percentage, 0 to 100: 101"),
        (("stages", 0, "name"), "", "stages[0].name: must not be empty"),
        (("stages", 0, "bake"), 3, 'stages[0].bake: is a duration with a unit, for example "12h": 3'),
        (("stages", 0, "bake"), "25h", "stages[0].bake: is longer than max_duration, so the stage could never be left"),
        (
            ("stages", 1, "active_min"),
            "25h",
            "stages[1].active_min: is longer than max_duration, so the stage could never be left",
        ),
        (("stages", 0, "approval"), 1, "stages[0].approval: is true or false: 1"),
        (("guardrails", "error_rate", "limit"), [0.01], "guardrails.error_rate.limit: is one number, or one for each "),
        (("guardrails", "error_rate", "limit"), [0.01, 0.6], "guardrails.error_rate.limit[1]: is a rate above 0, "),
        (("guardrails", "error_rate", "limit"), 0, "guardrails.error_rate.limit: is a rate above 0, at most 0.5: 0"),
        (("guardrails", "error_rate", "role"), "guards", 'guardrails.error_rate.role: "guards" is none of guard, sig'),
        (("guardrails", "error_rate", "unit"), "users", 'guardrails.error_rate.unit: "users" is none of user, reque'),
        (("guardrails", "error_rate", "min_units"), -1, "guardrails.error_rate.min_units: is at least 0: -1"),
        (("guardrails", "error_rate", "weight"), 0, "guardrails.error_rate.weight: is a weight above 0: 0"),
        (("guardrails", "error_ratio", "pass_ratio"), 1.1, "guardrails.error_ratio.pass_ratio: is above max_ratio 1.1"),
        (("guardrails", "error_ratio", "max_ratio"), 0, "guardrails.error_ratio.max_ratio: is a ratio, 0.001 to 100"),
        (("guardrails", "error_ratio", "method"), "threshold", 'guardrails.error_ratio.method: "threshold" is none'),
        (("guardrails", "hook_failures", "window_ticks"), 0, "guardrails.hook_failures.window_ticks: is at least 1: 0"),
        (("guardrails", "hook_failures", "window"), "ticks", 'guardrails.hook_failures.window: "ticks" is none of '),
        (("guardrails", "hook_failures", "prove"), True, "guardrails.hook_failures.prove: unknown key; "),
        (("guardrails", "error_rate", "window"), "tick", "guardrails.error_rate.window: unknown key; "),
        (("guardrails", "success_rate"), {"limit": 1.0}, "guardrails.success_rate.limit: is a success rate, 0.5 to 0"),
        (("guardrails", "error_rates"), {}, 'guardrails.error_rates: unknown guardrail; did you mean "error_rate"?'),
        (("guardrails", "zzz"), {}, "guardrails.zzz: unknown guardrail; known: error_rate, emergency"),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else str(value)[:25],
)
def test_a_wrong_value_is_refused_with_its_path_and_what_would_be_right(path, value, problem):
    assert any(found.startswith(problem) for found in problems(changed(FULL, path, value)))


@pytest.mark.parametrize("percentages", [(5, 5), (10, 5), (0, 5)], ids=str)
def test_percentages_that_do_not_grow_from_above_0_are_refused(percentages):
    document = copy.deepcopy(SMALL)
    for stage, percentage in zip(document["stages"], percentages, strict=True):
        stage["percentage"] = percentage
    assert problems(document) == [
        f"stages: percentages must strictly grow from 0 to at most 100: {[float(p) for p in percentages]}"
    ]


def test_an_empty_list_of_guardrails_is_refused():
    assert problems(with_guardrails()) == [
        "guardrails: a plan has at least one guardrail; leave the table out for the default set"
    ]


def paths_of(value, path=()):
    """Return the path of every key of a document."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield (*path, key)
            yield from paths_of(item, (*path, key))
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from paths_of(item, (*path, place))


def written(path):
    """Return a path as messages write it."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


@pytest.mark.parametrize("path", [p for p in paths_of(FULL) if p[0:1] != ("guardrails",) or len(p) != 2], ids=written)
def test_every_key_misspelt_is_named_with_its_path_and_the_nearest_known_one(path):
    *way, key = path
    place = copy.deepcopy(FULL)
    document = place
    for step in way:
        place = place[step]
    place[f"{key}x"] = place.pop(key)
    assert f'{written((*way, f"{key}x"))}: unknown key; did you mean "{key}"?' in problems(document)


@pytest.mark.parametrize("name", GUARDRAILS)
def test_a_misspelt_guardrail_is_told_the_nearest(name):
    document = with_guardrails(**{f"{name}x": {"limit": 0.1}})
    assert problems(document) == [f'guardrails.{name}x: unknown guardrail; did you mean "{name}"?']


@pytest.mark.parametrize("path", [("stages", 0, "percentage"), ("stages", 0, "max_duration")], ids=written)
def test_a_required_key_that_is_missing_is_named(path):
    assert any(problem.startswith(f"{written(path)}: is missing") for problem in problems(changed(SMALL, path, None)))


def test_every_problem_is_reported_at_once():
    document = changed(changed(changed(FULL, ("alpha",), 2), ("stages", 0, "bakes"), "1h"), ("beta",), "low")
    assert [problem.split(":")[0] for problem in problems(document)] == ["stages[0].bakes", "alpha", "beta"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("alpha",), True),
        (("beta",), "low"),
        (("stages", 0, "max_duration"), None),
        (("stages", 0, "max_duration"), "soon"),
        (("stages", 1, "percentage"), None),
        (("stages", 1, "percentage"), 101),
        (("guardrails", "error_rate", "limit"), "x"),
    ],
    ids=lambda value: written(value) if isinstance(value, tuple) else str(value),
)
def test_one_mistake_is_one_problem(path, value):
    (problem,) = problems(changed(FULL, path, value))
    assert problem.startswith(f"{written(path)}: ")


# ------------------------------------------------------------------------------------- a plan that exists is valid


def plan(**changes):
    return replace(parse(SMALL), **changes)


def guard(name, **more):
    return RateGuardrail(name=name, limit=0.1, **more)


def first_stage(**changes):
    """Return the stages, the first of them with changes."""
    first, *others = parse(SMALL).stages
    return (replace(first, **changes), *others)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"alpha": 0.0}, "alpha: lies in (0, 1): 0.0"),
        ({"beta": 1.0}, "beta: lies in (0, 1): 1.0"),
        ({"alpha": math.nan}, "alpha: lies in (0, 1): nan"),
        ({"approvals_required": 0}, "approvals_required: is at least 1: 0"),
        ({"guardrails": default_guardrails([5, 10, 25])}, "guardrails: one tuple for each of 2 stages: 3"),
        ({"guardrails": ((guard("a"), guard("a")),) * 2}, "guardrails[0]: two are called a"),
        ({"stages": (), "guardrails": ()}, "stages: a plan has at least one stage"),
        ({"stages": parse(SMALL).stages[::-1]}, "stages: percentages must strictly grow from 0 to at most 100: "),
        ({"stages": first_stage(percentage=math.nan)}, "stages: percentages must strictly grow from 0 to at most 100"),
        ({"stages": first_stage(max_duration=-1)}, "stages[0].active_min: is longer than max_duration, so the stage"),
        ({"stages": first_stage(bake=10**15)}, "stages[0].bake: is longer than max_duration, so the stage could "),
    ],
    ids=[
        *("alpha", "beta", "nan", "approvals", "guardrails", "two-guardrails", "no-stages", "stages"),
        *("percentage", "max_duration", "bake"),
    ],
)
def test_a_plan_made_in_code_is_checked_as_well(changes, problem):
    with pytest.raises(PlanInvalid) as refusal:
        plan(**changes)
    assert refusal.value.problems[0].startswith(problem)


# --------------------------------------------------------------------------------------------- the digest

OTHER = {
    "flag_key": "other",
    "auto": False,
    "approvals_required": 2,
    "alpha": 0.04,
    "beta": 0.04,
    "schema": 2,
    "stages": first_stage(bake=1),
    "guardrails": default_guardrails([5, 10])[::-1],
}


def test_the_digest_of_a_plan_is_the_same_on_every_machine():
    assert parse(SMALL).digest == "754a29586bcb5da99aa0ee463235598b27af258a53d24e7c19120413b5d8d21d"


def test_the_digest_does_not_depend_on_the_order_of_the_file():
    backwards = {key: FULL[key] for key in reversed(FULL)}
    assert parse(backwards).digest == parse(FULL).digest


def test_the_digest_does_not_depend_on_how_a_number_is_written():
    assert parse(changed(SMALL, ("stages", 0, "percentage"), 5.0)).digest == parse(SMALL).digest


def test_the_same_plan_under_another_id_has_the_same_digest():
    assert parse(SMALL, plan_id="checkout.2").digest == parse(SMALL).digest


def test_the_cases_below_change_every_field_but_those_that_the_store_gives():
    assert set(OTHER) == {field.name for field in fields(RolloutPlan)} - {"plan_id", "first_entry"}


@pytest.mark.parametrize("name", OTHER)
def test_each_field_of_a_plan_changes_its_digest(name):
    assert plan(**{name: OTHER[name]}).digest != plan().digest


STAGE = {"name": "x", "percentage": 6.0, "active_min": 1, "bake": 1, "max_duration": 2 * DAY_MS, "approval": True}


def test_the_cases_below_change_every_field_of_a_stage():
    assert set(STAGE) == {field.name for field in fields(Stage)}


@pytest.mark.parametrize("name", STAGE)
def test_each_field_of_a_stage_changes_the_digest(name):
    assert plan(stages=first_stage(**{name: STAGE[name]})).digest != plan().digest


SPECS = {
    RateGuardrail: {
        "name": "x", "limit": 0.3, "outcome_set": OutcomeSet.BAD, "role": Role.OBSERVE, "unit": Unit.REQUEST,
        "prove": False, "ambient": False, "min_units": 9, "weight": 2.0, "emergency": True,
    },
    RatioGuardrail: {
        "name": "x", "max_ratio": 1.2, "pass_ratio": 3.0, "outcome_set": OutcomeSet.BAD, "role": Role.OBSERVE,
        "unit": Unit.REQUEST, "prove": True, "min_units": 9, "weight": 2.0,
    },
    ThresholdGuardrail: {
        "name": "x", "limit": 0.3, "window": None, "outcome_set": OutcomeSet.BAD, "role": Role.OBSERVE,
        "unit": Unit.USER, "min_units": 9, "weight": 2.0, "emergency": True,
    },
}  # fmt: skip
PLAIN = {
    RateGuardrail: RateGuardrail(name="g", limit=0.1),
    RatioGuardrail: RatioGuardrail(name="g"),
    ThresholdGuardrail: ThresholdGuardrail(name="g", limit=0.1),
}


def with_spec(spec):
    return plan(guardrails=((spec,), (spec,)))


@pytest.mark.parametrize("kind", SPECS, ids=lambda kind: kind.__name__)
def test_each_field_of_a_guardrail_changes_the_digest(kind):
    assert set(SPECS[kind]) == {field.name for field in fields(kind)}
    changed_digests = {with_spec(replace(PLAIN[kind], **{name: value})).digest for name, value in SPECS[kind].items()}
    assert len(changed_digests | {with_spec(PLAIN[kind]).digest}) == len(SPECS[kind]) + 1


def test_the_kind_of_a_guardrail_changes_the_digest():
    assert len({with_spec(spec).digest for spec in PLAIN.values()}) == 3


# --------------------------------------------------------------------------------------------- the alpha budget


SPEC_LISTS = st.lists(
    st.tuples(st.sampled_from(list(Role)), st.booleans(), st.floats(0.01, 100.0)), min_size=1, max_size=6
).map(
    lambda rows: tuple(
        guard(f"g{i}", role=role, emergency=emergency, weight=weight)
        for i, (role, emergency, weight) in enumerate(rows)
    )
)


@given(SPEC_LISTS, st.floats(1e-6, 0.5), st.integers(1, 9))
def test_the_guards_of_all_stages_together_never_get_more_than_the_plan_s_alpha(specs, alpha, size):
    stages = tuple(
        Stage(name=str(i), percentage=10.0 * (i + 1), active_min=0, bake=0, max_duration=DAY_MS) for i in range(size)
    )
    whole = RolloutPlan(plan_id="p", flag_key="f", stages=stages, guardrails=(specs,) * size, alpha=alpha, beta=0.05)
    guards = {spec.name for spec in specs if spec.role is Role.GUARD}
    spent = [
        terms.alpha
        for i in range(size)
        for name, terms in whole.terms(i, interval_ms=TICK_MS).items()
        if name in guards
    ]
    assert sum(spent) <= alpha * (1.0 + 1e-9)


def test_with_five_stages_or_fewer_a_stage_gets_a_fifth_of_alpha(guide):
    terms = guide.terms(0, interval_ms=TICK_MS)
    assert sum(terms[name].alpha for name in ("error_rate", "error_ratio", "emergency")) == pytest.approx(0.01)


def test_the_emergency_limit_takes_a_tenth_of_its_stage(guide):
    assert guide.terms(0, interval_ms=TICK_MS)["emergency"].alpha == pytest.approx(0.001)


def test_the_rest_is_shared_by_weight():
    specs = (guard("a", weight=3.0), guard("b"))
    terms = plan(guardrails=(specs, specs)).terms(0, interval_ms=TICK_MS)
    assert terms["a"].alpha == pytest.approx(3.0 * terms["b"].alpha)


def test_the_horizon_of_a_stage_is_its_longest_duration_in_ticks(guide):
    assert {t.horizon_ticks for t in guide.terms(0, interval_ms=TICK_MS).values()} == {4 * DAY_MS // TICK_MS}


def test_a_stage_shorter_than_a_tick_has_a_horizon_of_one_tick(guide):
    assert {t.horizon_ticks for t in guide.terms(0, interval_ms=30 * DAY_MS).values()} == {1}


def test_beta_is_each_guardrail_s_own(guide):
    assert {terms.beta for terms in guide.terms(2, interval_ms=TICK_MS).values()} == {0.05}
