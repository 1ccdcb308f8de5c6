"""Beside every verdict: limit, interval, evidence, and what would change it."""

import math
import re
from dataclasses import replace

import pytest

from phase4.analysis import guardrails
from phase4.analysis.explain import explain, limit_of
from phase4.analysis.observation import Observation
from phase4.analysis.specs import (
    MeanGuardrail,
    QuantileGuardrail,
    RateGuardrail,
    RatioGuardrail,
    SampleRatioGuardrail,
    Terms,
    ThresholdGuardrail,
)
from phase4.analysis.verdict import Reason, Role, Unit, Verdict

TERMS = Terms(alpha=0.01, beta=0.05, horizon_ticks=100)
RATE = RateGuardrail(name="error_rate", limit=0.01)
RATIO = RatioGuardrail(name="error_ratio")
P95 = QuantileGuardrail(name="latency_p95")
MEAN = MeanGuardrail(name="latency_mean")
SHARES = SampleRatioGuardrail(percentage=5.0)
RAW = ThresholdGuardrail(name="raw", limit=0.1)


def row(arm, users, errors=0, tick=0, **more):
    counts = {f"error_{kind}_{of}": {"n": users, "x": errors}[of] for kind in ("risk", "first") for of in "nx"}
    return Observation(
        tick=tick, flag_id=1, entry=1, arm=arm, ok=users - errors, error=errors, units=users, **counts, **more
    )


def said(spec, *pairs, now=None, is_skewed=False):
    """Return the explanation after ticks of (treatment, control), each (users, errors) or None."""
    state = guardrails.start(spec)
    for tick, (own, other) in enumerate(pairs):
        rows = [None if each is None else row(arm, *each, tick=tick) for arm, each in ((2, own), (1, other))]
        state = guardrails.step(spec, TERMS, state, tick, *rows, is_skewed=is_skewed)
    at = len(pairs) - 1 if now is None else now
    return explain(spec, TERMS, state, guardrails.assess(spec, TERMS, state, at, is_skewed=is_skewed))


@pytest.mark.parametrize(
    ("spec", "limit"),
    [(RATE, 0.01), (RAW, 0.1), (RATIO, 1.0), (P95, 1.0), (MEAN, 1.05), (SHARES, 0.5)],
    ids=lambda value: getattr(value, "name", value),
)
def test_every_kind_says_what_it_is_held_against(spec, limit):
    assert limit_of(spec) == pytest.approx(limit)


@pytest.mark.parametrize(
    ("spec", "pairs", "more", "reason", "changes"),
    [
        (RATE, [(None, (5, 0))], {}, Reason.NO_UNITS, "the first outcome"),
        (RATIO, [((5, 0), None)], {}, Reason.NO_CONTROL, "the first outcome of control"),
        (RATE, [((5, 0), None)], {"now": 9}, Reason.STALE, "another outcome: none for 3 ticks or more"),
        (RATE, [((100, 0), None)], {}, Reason.MIN_UNITS, "199 more users"),
        (
            RATIO,
            [((100, 0), (200, 0))],
            {},
            Reason.MIN_UNITS,
            "400 more users of treatment and 300 more users of control",
        ),
        (RATE, [((300, 0), None)], {}, Reason.COLLECTING, "about 122 more users like those so far"),
        (RATE, [((300, 3), None)], {}, Reason.COLLECTING, "better outcomes: at the rate so far no number of users .*"),
        (RATE, [((300, 0), (100, 9))], {}, Reason.AMBIENT, "control back below the limit.*"),
        (
            RATIO,
            [((600, 0), (600, 0))],
            {"is_skewed": True},
            Reason.SAMPLE_RATIO,
            "nothing in this stage: users are missing.*",
        ),
        (RATE, [((900, 0), None)], {}, Reason.EVIDENCE, "evidence of E 100 against it"),
        (RATE, [((300, 90), None)], {}, Reason.EVIDENCE, "nothing: a guard that failed stays failed"),
        (replace(RATE, role=Role.SIGNAL), [((300, 90), None)], {}, Reason.EVIDENCE, "evidence back below E 100"),
        (SHARES, [((100, 0), (300, 0))], {}, Reason.EVIDENCE, "nothing in this stage: look for lost exposures.*"),
        (replace(RAW, unit=Unit.USER), [((300, 0), None)], {}, Reason.NO_ALARM, "one look above the limit"),
    ],
)
def test_every_reason_says_what_would_change_it(spec, pairs, more, reason, changes):
    found = said(spec, *pairs, **more)
    assert found.answer.reason is reason
    assert re.fullmatch(changes, found.changes), found.changes


def test_without_a_first_outcome_of_any_user_nothing_is_extrapolated():
    """Returning users send requests and are no new units; with min_units = 0 the rate is asked to prove itself."""
    spec, seen = replace(RATE, min_units=0), replace(row(2, 0), ok=50)
    state = guardrails.step(spec, TERMS, guardrails.start(spec), 0, seen, None)
    found = explain(spec, TERMS, state, guardrails.assess(spec, TERMS, state, 0))
    assert (found.answer.reason, found.answer.units) == (Reason.COLLECTING, 0)
    assert found.changes.startswith("better outcomes")


def test_so_many_more_users_do_prove_it():
    first = said(RATE, ((300, 0), None))
    more = int(first.changes.split()[1].replace(",", ""))
    assert said(RATE, ((300 + more, 0), None)).answer.verdict is Verdict.PASS


def test_the_interval_holds_the_estimate_and_shrinks():
    few, many = said(RATE, ((400, 4), None)), said(RATE, ((40_000, 400), None))
    for found in (few, many):
        assert found.lower < found.answer.estimate == 0.01 < found.upper
    assert many.upper - many.lower < few.upper - few.lower


def test_a_ratio_s_interval_is_that_of_both_arms():
    found = said(RATIO, ((10_000, 300), (10_000, 100)))
    assert found.answer.estimate == pytest.approx(3.0)
    assert 1.0 < found.lower < 3.0 < found.upper < 7.0


def test_without_errors_in_control_a_ratio_has_no_upper_end():
    assert said(RATIO, ((1000, 3), (1000, 0))).upper == math.inf


def test_requests_are_marked_as_approximate_and_users_are_not():
    assert said(replace(RATE, unit=Unit.REQUEST), ((400, 4), None)).is_approximate
    assert not said(RATE, ((400, 4), None)).is_approximate


def test_evidence_stands_beside_what_it_needs():
    found = said(RATE, ((300, 0), None))
    assert (found.e_needed, found.pass_needed) == (100.0, pytest.approx(20.0))
    assert said(RATIO, ((300, 0), (300, 0))).pass_needed is None
    assert said(SHARES, ((300, 0), (300, 0))).e_needed == pytest.approx(1000.0)
    assert said(replace(RAW, unit=Unit.USER), ((300, 0), None)).e_needed is None


def test_a_mean_has_an_interval_from_500_values_on():
    spec, state = MeanGuardrail(name="cpu_mean", measure="cpu_ms"), None
    for size, known in ((400, False), (4000, True)):
        rows = [row(arm, size, metrics={"cpu_ms": (size, 5.0 * size, 30.0 * size)}) for arm in (2, 1)]
        state = guardrails.step(spec, TERMS, guardrails.start(spec), 0, *rows)
        found = explain(spec, TERMS, state, guardrails.assess(spec, TERMS, state, 0))
        assert math.isnan(found.lower) != known
        assert not known or found.lower < 1.0 < found.upper
