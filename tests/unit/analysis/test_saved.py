"""What a guardrail remembers comes back bit for bit, or not at all."""

import json
import math
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase4.analysis import dispersion, eprocess, guardrails, latency, moments, reading, sample_ratio, saved
from phase4.analysis.guardrail_state import GuardrailState
from phase4.analysis.moments import Moments
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
from phase4.analysis.verdict import Unit

TERMS = Terms(alpha=0.01, beta=0.05, horizon_ticks=50)
SPECS = [
    RateGuardrail(name="error_rate", limit=0.01, unit=Unit.REQUEST),
    RatioGuardrail(name="error_ratio", unit=Unit.REQUEST, prove=True),
    ThresholdGuardrail(name="raw", limit=0.01, window=3),
    QuantileGuardrail(name="latency_p95", unit=Unit.REQUEST, prove=True),
    MeanGuardrail(name="latency_mean"),
    SampleRatioGuardrail(percentage=25.0),
]
ticks = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=25)


def row(arm, tick, size, events):
    """Return one tick of an arm with latencies from about 100 ms on."""
    hist = guardrails.latency.pack([(-100, size), (-90, events)] if events else [(-100, size)]) if size else b""
    total = size + events
    return Observation(
        tick=tick, flag_id=1, entry=1, arm=arm, ok=size, error=events, timeout=0, invalid=0, late=0,
        units=total, hist=hist, s1=0.1 * total, s2=0.017 * total,
        exceed={"latency_p95": (100.0, events, events)} if total else {},
    )  # fmt: skip


def judged(counts):
    states = tuple(guardrails.start(spec) for spec in SPECS)
    for tick, (size, bad, bad_control) in enumerate(counts):
        arms = row(2, tick, size, bad), row(1, tick, size, bad_control)
        states = guardrails.step_all(SPECS, [TERMS] * len(SPECS), states, tick, *arms)
    return states


@given(ticks)
def test_every_state_comes_back_as_it_was_and_is_written_the_same_again(counts):
    for state in judged(counts):
        text = saved.dump(state)
        assert saved.load(text) == state
        assert saved.dump(saved.load(text)) == text


@given(ticks, st.integers(0, 24))
def test_a_judge_that_was_interrupted_ends_as_one_that_was_not(counts, stop):
    whole, states = judged(counts), judged(counts[:stop])
    states = tuple(saved.load(saved.dump(state)) for state in states)
    for tick, (size, bad, bad_control) in list(enumerate(counts))[stop:]:
        arms = row(2, tick, size, bad), row(1, tick, size, bad_control)
        states = guardrails.step_all(SPECS, [TERMS] * len(SPECS), states, tick, *arms)
    assert states == whole


def test_what_is_no_number_is_a_word_so_that_any_reader_of_json_can_read_it():
    state = replace(guardrails.start(SPECS[0]), max_log_e=-math.inf, log_e=(math.inf, -math.inf))
    body = json.loads(saved.dump(state), parse_constant=pytest.fail)
    assert (body["state"]["max_log_e"], body["state"]["log_e"]) == ("-inf", ["inf", "-inf"])
    assert saved.load(saved.dump(state)) == state


@pytest.mark.parametrize(
    "change",
    [
        {"kernel": "rge1"},
        {"schema": 2},
        {"state": None},
        {"state": {}},
        {"state": []},
    ],
)
def test_a_state_of_other_arithmetic_or_of_nobody_is_not_read(change):
    body = json.loads(saved.dump(guardrails.start(SPECS[0]))) | change
    assert saved.load(json.dumps(body)) is None


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "{", '{"schema":1}'])
def test_text_that_is_no_state_is_not_read(text):
    assert saved.load(text) is None


@pytest.mark.parametrize("name", [each.name for each in fields(GuardrailState)])
def test_a_field_of_a_wrong_type_or_a_missing_one_is_not_read(name):
    state = replace(guardrails.start(SPECS[0]), moments=(Moments(1, 2.0, 3.0), Moments()), histogram=((1, 2),))
    body = json.loads(saved.dump(state))
    for wrong in (
        {"state": {**body["state"], name: {"a": 1}}},
        {"state": {k: v for k, v in body["state"].items() if k != name}},
    ):
        assert saved.load(json.dumps(body | wrong)) is None


def test_the_name_of_the_arithmetic_stands_for_these_numbers():
    """Evidence that was begun with other ones must not be continued: whoever changes a number changes the name."""
    assert saved.KERNEL == "rge2"
    assert eprocess.FAIL_RATIOS == (1.15, 1.35, 1.6, 2.0, 3.0, 5.0, 10.0, 30.0)
    assert eprocess.PASS_RATIOS == (0.02, 0.1, 0.25, 0.4, 0.55, 0.7, 0.8, 0.9)
    assert (eprocess.E_CAP, eprocess.EXPONENT_CAP) == (1e300, 700.0)
    assert latency.FAIL_RATIOS == tuple(1 / ratio for ratio in latency.PASS_RATIOS) == (1.03, 1.08, 1.2, 1.5, 2, 4, 10)
    assert (latency.MIN_LATENCIES, latency.BINS_PER_OCTAVE) == (100, 32)
    assert (moments.MIN_COUNT, moments.TUNED_FOR) == (500, 20_000)
    assert dispersion.LADDER == (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0)
    assert (dispersion.START, dispersion.ENOUGH, dispersion.FEWEST, dispersion.DEVIATIONS) == (5, 100, 30, 2.33)
    assert (sample_ratio.CONCENTRATION, sample_ratio.ALPHA) == (100.0, 0.001)
    assert (reading.AMBIENT_WINDOWS, guardrails.STALE_TICKS) == ((1, 5, 20), 3)


def test_true_is_no_count():
    body = json.loads(saved.dump(guardrails.start(SPECS[0])))
    body["state"]["units"] = True
    assert saved.load(json.dumps(body)) is None
