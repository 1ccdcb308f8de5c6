"""Guardrails of a plan file: what is reported decides the default set; everybody exposed leaves no control."""

import pytest

from phase4.analysis.specs import MeanGuardrail, QuantileGuardrail, RateGuardrail, SampleRatioGuardrail
from phase4.analysis.verdict import Role, Unit
from phase4.errors import PlanInvalid
from phase4.rollout.guardrail_table import GUARDRAILS, GUIDE, TWINS, Limits, default_guardrails, left_out
from phase4.rollout.plan import parse_plan

STAGES = [{"percentage": p, "max_duration": "4d"} for p in (5, 25)]


def parse(*, stages=STAGES, limits=GUIDE, **top):
    return parse_plan({"schema": 1, "stages": stages, **top}, flag_key="f", plan_id="f.1", source="p", limits=limits)


def names(plan, stage=0):
    return [spec.name for spec in plan.guardrails[stage]]


def one(name, **table):
    (spec,) = parse(guardrails={name: table}).guardrails[0]
    return spec


def problems(**top):
    with pytest.raises(PlanInvalid) as refusal:
        parse(**top)
    return list(refusal.value.problems)


# --------------------------------------------------------------------------------------------- the default set
def test_without_reports_the_default_set_judges_outcomes_alone():
    assert {"latency_p95", "latency_mean", "cpu_mean", "validation_failures"}.isdisjoint(names(parse()))


@pytest.mark.parametrize(
    ("measure", "added"),
    [
        (
            "latency",
            {"latency_p95": Role.GUARD, "latency_mean": Role.SIGNAL, "latency_p95_requests": Role.OBSERVE},
        ),
        ("validation", {"validation_failures": Role.GUARD, "validation_failures_requests": Role.OBSERVE}),
        ("cpu_ms", {"cpu_mean": Role.SIGNAL}),
    ],
)
def test_what_is_reported_is_guarded(measure, added):
    for plan in (parse(measures=[measure]), parse(limits=Limits(measures=frozenset({measure})))):
        more = {spec.name: spec.role for spec in plan.guardrails[0] if spec.name not in names(parse())}
        assert more == added


def test_every_guard_of_users_has_a_twin_of_requests_that_only_watches():
    for specs in parse(measures=["latency", "validation"]).guardrails:
        roles = {spec.name: (spec.role, spec.unit) for spec in specs}
        guards = [spec.name for spec in specs if spec.role is Role.GUARD and spec.name != "emergency"]
        assert guards
        assert all(roles[f"{name}_requests"] == (Role.OBSERVE, Unit.REQUEST) for name in guards)


def test_latency_is_not_guarded_where_the_settings_say_so():
    plan = parse(measures=["latency", "cpu_ms"], limits=Limits(latency_margin=None))
    assert names(plan) == names(parse())


def test_the_margin_of_the_settings_is_that_of_every_comparison_of_time():
    plan = parse(measures=["latency", "cpu_ms"], limits=Limits(latency_margin=0.2))
    margins = {spec.name: spec.margin for spec in plan.guardrails[0] if hasattr(spec, "margin")}
    assert margins == {"latency_p95": 0.2, "latency_mean": 0.2, "cpu_mean": 0.2, "latency_p95_requests": 0.2}


def test_what_is_left_out_is_told_with_its_reason():
    told = left_out(names(parse()), GUIDE)
    assert set(told) == {"validation_failures", "latency_p95", "latency_mean"}
    assert "latency" in told["latency_p95"]
    assert "validation" in told["validation_failures"]
    assert left_out(names(parse(measures=["latency", "validation"])), GUIDE) == {}
    assert set(left_out(names(parse()), Limits(latency_margin=None))) == {"validation_failures"}


def test_a_measure_that_nobody_reports_is_refused_with_the_nearest_name():
    assert problems(measures=["latencies"]) == [
        'measures[0]: "latencies" is nothing that an application reports; did you mean "latency"?'
    ]
    assert problems(measures=[3]) == ["measures: is a list of strings"]


# --------------------------------------------------------------------------------------------- tables
@pytest.mark.parametrize("name", GUARDRAILS)
def test_every_guardrail_may_be_named_alone(name):
    assert one(name).name == name


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_counts_requests_and_decides_nothing_by_itself(name):
    twin = one(name)
    assert (twin.unit, twin.role, twin.prove) == (Unit.REQUEST, Role.OBSERVE, False)
    assert one(name, role="signal").role is Role.SIGNAL


def test_a_twin_has_its_guard_s_limit():
    plan = parse(guardrails={"error_rate": {}, "error_rate_requests": {}})
    for user, request in plan.guardrails:
        assert user.limit == request.limit
        assert (user.outcome_set, request.outcome_set) == (request.outcome_set, user.outcome_set)


def test_a_quantile_is_read_with_its_margin():
    spec = one("latency_p95", quantile=0.99, margin=0.1, prove=True, min_units=50, unit="request")
    assert spec == QuantileGuardrail(
        name="latency_p95", quantile=0.99, margin=0.1, prove=True, min_units=50, unit=Unit.REQUEST
    )


def test_a_mean_compares_its_measure():
    assert one("cpu_mean") == MeanGuardrail(name="cpu_mean", measure="cpu_ms")
    assert one("latency_mean", role="observe").role is Role.OBSERVE


def test_the_sample_ratio_knows_its_stage():
    plan = parse(guardrails={"sample_ratio": {}})
    assert [specs[0].percentage for specs in plan.guardrails] == [5.0, 25.0]


@pytest.mark.parametrize(
    ("name", "table", "key"),
    [
        ("latency_mean", {"role": "guard"}, "role"),
        ("latency_mean", {"unit": "user"}, "unit"),
        ("sample_ratio", {"role": "guard"}, "role"),
        ("sample_ratio", {"unit": "request"}, "unit"),
        ("latency_p95", {"method": "threshold"}, "method"),
        ("latency_p95", {"quantile": 1}, "quantile"),
        ("latency_p95", {"margin": -1}, "margin"),
        ("error_rate_requests", {"unit": "user"}, "unit"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_path(name, table, key):
    (problem,) = problems(guardrails={name: table})
    assert problem.startswith(f"guardrails.{name}.{key}: ")


# --------------------------------------------------------------------------------------------- everybody exposed
def test_a_stage_of_100_percent_has_no_comparison_with_control():
    stages = [*STAGES, {"percentage": 100, "max_duration": "4d"}]
    plan = parse(stages=stages, measures=["latency"])
    assert {"error_ratio", "latency_p95"} <= set(names(plan, 1))
    assert {"error_ratio", "latency_p95", "latency_mean", "sample_ratio"}.isdisjoint(names(plan, 2))
    assert any(isinstance(spec, RateGuardrail) for spec in plan.guardrails[2])


def test_a_stage_that_would_be_left_with_nothing_that_judges_is_refused():
    stages = [*STAGES, {"percentage": 100, "max_duration": "4d"}]
    assert problems(stages=stages, guardrails={"error_ratio": {}}) == [
        "guardrails: stage 3 exposes everybody, so nothing compares with control; it needs a guardrail with a limit"
    ]


def test_default_guardrails_are_those_of_a_plan_that_names_none():
    assert default_guardrails([5, 25]) == parse().guardrails


def test_the_sample_ratio_is_not_asked_of_a_stage_of_100_percent():
    specs = default_guardrails([5, 100], Limits(measures=frozenset({"latency"})))
    assert not any(isinstance(spec, SampleRatioGuardrail) for spec in specs[1])
