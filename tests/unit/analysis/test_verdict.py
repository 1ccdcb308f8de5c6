"""How the answers of a stage are put together."""

import itertools
import math

import pytest

from phase4.analysis.verdict import Assessment, Reason, Role, Unit, Verdict, combine


def answer(verdict, role=Role.GUARD, name="g"):
    return Assessment(
        guardrail=name,
        role=role,
        unit=Unit.USER,
        verdict=verdict,
        reason=Reason.EVIDENCE,
        log_e_fail=0.0,
        log_e_pass=None,
        p_value=1.0,
        estimate=math.nan,
        alpha=0.01,
        beta=0.05,
        units=0,
        units_control=None,
        first_crossed_tick=None,
    )


def test_a_guards_fail_wins_over_everything():
    answers = [answer(Verdict.NO_DATA), answer(Verdict.INCONCLUSIVE), answer(Verdict.FAIL, name="bad")]
    verdict, decider = combine(answers)
    assert verdict is Verdict.FAIL
    assert decider is answers[2]


def test_a_signals_fail_holds_and_never_rolls_back():
    assert combine([answer(Verdict.PASS), answer(Verdict.FAIL, Role.SIGNAL)])[0] is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("role", [Role.GUARD, Role.SIGNAL])
def test_no_data_is_not_good_data(role):
    assert combine([answer(Verdict.PASS), answer(Verdict.NO_DATA, role)])[0] is Verdict.NO_DATA


def test_no_data_is_named_before_what_is_open():
    answers = [answer(Verdict.INCONCLUSIVE, name="open"), answer(Verdict.NO_DATA, name="missing")]
    verdict, decider = combine(answers)
    assert verdict is Verdict.NO_DATA
    assert decider.guardrail == "missing"


def test_all_that_decide_must_pass():
    assert combine([answer(Verdict.PASS), answer(Verdict.PASS, Role.SIGNAL)]) == (Verdict.PASS, None)


@pytest.mark.parametrize("verdict", list(Verdict))
def test_observe_decides_nothing(verdict):
    assert combine([answer(Verdict.PASS), answer(verdict, Role.OBSERVE)]) == (Verdict.PASS, None)


@pytest.mark.parametrize("answers", [[], [answer(Verdict.PASS, Role.OBSERVE)]])
def test_a_stage_that_nobody_judges_does_not_pass(answers):
    assert combine(answers) == (Verdict.NO_DATA, None)


def test_the_order_of_guardrails_does_not_change_the_verdict():
    for verdicts in itertools.product(Verdict, repeat=3):
        answers = [answer(v, name=str(i)) for i, v in enumerate(verdicts)]
        assert len({combine(order)[0] for order in itertools.permutations(answers)}) == 1
