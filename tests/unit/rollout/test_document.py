import json
import tomllib
from dataclasses import replace
from importlib import resources

import pytest

from phase4.analysis.specs import (
    MeanGuardrail,
    QuantileGuardrail,
    RateGuardrail,
    RatioGuardrail,
    SampleRatioGuardrail,
    ThresholdGuardrail,
)
from phase4.analysis.verdict import Role, Unit
from phase4.errors import PlanInvalid
from phase4.rollout.document import from_json, to_json
from phase4.rollout.plan import parse_plan
from tests.unit.rollout.steps import plan


def guide():
    text = resources.files("phase4.rollout").joinpath("default_plan.toml").read_text(encoding="utf-8")
    return parse_plan(tomllib.loads(text), flag_key="checkout", plan_id="checkout.1", source="default_plan.toml")


def of_every_kind():
    specs = (
        RateGuardrail(name="a", limit=0.01, role=Role.OBSERVE, unit=Unit.REQUEST, min_units=7),
        RatioGuardrail(name="b", max_ratio=1.2, prove=True),
        ThresholdGuardrail(name="c", limit=0.5, window=None, emergency=True),
        QuantileGuardrail(name="d", quantile=0.99, margin=0.1, unit=Unit.REQUEST),
        MeanGuardrail(name="e", measure="cpu_ms", prove=True),
        SampleRatioGuardrail(percentage=12.5),
    )
    return plan(guardrails=(specs,) * 3, auto=False, approvals_required=2, first_entry=4)


PLANS = {"guide": guide(), "every kind": of_every_kind()}


def stored(whole):
    return json.loads(json.dumps(to_json(whole)))


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_comes_back_from_json_as_it_was(name):
    assert from_json(stored(PLANS[name])) == PLANS[name]


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_comes_back_with_its_digest(name):
    assert from_json(stored(PLANS[name])).digest == PLANS[name].digest


def test_another_schema_is_refused():
    with pytest.raises(ValueError, match="plans have schema 1: 2"):
        from_json({**stored(guide()), "schema": 2})


def test_an_unknown_kind_of_guardrail_is_refused_by_name():
    body = stored(guide())
    body["guardrails"][0][0]["kind"] = "MoodGuardrail"
    with pytest.raises(ValueError, match="MoodGuardrail"):
        from_json(body)


def test_a_stored_plan_is_checked_like_any_other():
    body = stored(guide())
    body["stages"][1]["percentage"] = 1.0
    with pytest.raises(PlanInvalid, match="percentages must strictly grow"):
        from_json(body)


def test_writing_leaves_the_plan_as_it_was():
    whole = guide()
    copy = replace(whole)
    to_json(whole)
    assert whole == copy
