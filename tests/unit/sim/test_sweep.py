import os
import signal

import numpy as np
import pytest

from phase4.errors import InvariantViolation, Phase4Error
from phase4.sim import sweep as sweeps
from phase4.sim.outcome import digest
from phase4.sim.scenario import load
from phase4.sim.sweep import CHUNK, run_one, source_of, sweep, window_of
from tests.unit.sim.documents import SCENARIOS
from tests.unit.sim.worlds import counts_world, fault, policy, scenario

SMALL = scenario(counts_world(name="fine"), counts_world(fault(add=0.05), name="broken"), ticks=40)
TWO = scenario(*SMALL.worlds, policies=(policy(name="a"), policy(name="b")), ticks=40)
RECORDED = SCENARIOS / "recorded.toml"


def quiet(_done, _planned):
    pass


def run(whole=TWO, *, replicates=3, seed=7, workers=1, progress=quiet):
    return sweep(whole, seed=seed, replicates=replicates, workers=workers, progress=progress)


# ------------------------------------------------------------------------------------------------------ what is run


def test_every_policy_meets_every_world_in_every_replicate():
    outcomes = run().outcomes
    assert [(o.world, o.policy, o.replicate) for o in outcomes] == [
        (world, name, replicate) for world in ("fine", "broken") for name in ("a", "b") for replicate in range(3)
    ]


def test_no_two_runs_share_an_identity_not_even_those_of_two_policies_with_one_plan():
    outcomes = run().outcomes
    assert len({outcome.run_id for outcome in outcomes}) == len(outcomes)


def test_one_run_of_each_cell_is_kept_with_everything_it_saw():
    samples = run().samples
    assert [(s.outcome.world, s.outcome.policy, s.outcome.replicate) for s in samples] == [
        ("fine", "a", 0),
        ("fine", "b", 0),
        ("broken", "a", 0),
        ("broken", "b", 0),
    ]
    assert all(sample.stretches for sample in samples)


def test_progress_counts_runs_up_to_all_of_them():
    seen = []
    run(progress=lambda done, planned: seen.append((done, planned)))
    assert seen == [(4, 12), (8, 12), (12, 12)]


def test_a_sweep_that_is_done_says_so():
    result = run()
    assert (result.is_complete, result.planned) == (True, 12)


def test_a_run_by_itself_is_the_one_of_the_sweep():
    alone = run_one(TWO, TWO.worlds[1], TWO.policies[0], seed=7, replicate=2)
    assert alone.outcome in run().outcomes


def test_more_replicates_begin_with_the_same_runs():
    few, many = run(replicates=2), run(replicates=4)
    assert set(few.outcomes) <= set(many.outcomes)


def test_policies_of_one_plan_fare_alike_in_one_world():
    outcomes = run().outcomes
    digests = [[o.digest for o in outcomes if o.policy == name] for name in ("a", "b")]
    assert digests[0] == digests[1]


def test_replicates_differ():
    assert len({outcome.digest for outcome in run(SMALL, replicates=4).outcomes if outcome.world == "fine"}) == 4


# ---------------------------------------------------------------------------------------------------- the same result


def test_the_same_sweep_has_the_same_outcomes():
    assert digest(run().outcomes) == digest(run().outcomes)


def test_another_seed_has_other_outcomes():
    assert digest(run(seed=8).outcomes) != digest(run(seed=7).outcomes)


@pytest.fixture(scope="module")
def parallel():
    """Three chunks on two processes, with progress."""
    seen = []
    result = run(replicates=2 * CHUNK + 1, workers=2, progress=lambda done, planned: seen.append((done, planned)))
    return result, seen


def test_on_two_processes_it_has_the_outcomes_of_one(parallel):
    serial = run(replicates=2 * CHUNK + 1)
    assert [o.digest for o in parallel[0].outcomes] == [o.digest for o in serial.outcomes]
    assert digest(parallel[0].outcomes) == digest(serial.outcomes)


def test_on_two_processes_the_same_samples_come_back(parallel):
    serial = run(replicates=1)
    assert [s.journal for s in parallel[0].samples] == [s.journal for s in serial.samples]
    for one, other in zip(parallel[0].samples, serial.samples, strict=True):
        assert np.array_equal(one.stretches[0].treatment.ok, other.stretches[0].treatment.ok)


def test_on_two_processes_progress_ends_with_all_runs(parallel):
    assert parallel[1][-1] == (36, 36)
    assert [done for done, _ in parallel[1]] == sorted(done for done, _ in parallel[1])


# ------------------------------------------------------------------------------------------------------- interrupts


def test_an_interrupt_gives_what_is_done():
    def stop(done, _planned):
        if done >= 8:
            raise KeyboardInterrupt

    result = run(progress=stop)
    assert (len(result.outcomes), result.planned, result.is_complete) == (8, 12, False)
    assert set(result.outcomes) <= set(run().outcomes)


def test_an_interrupt_before_the_first_run_is_done_gives_nothing(monkeypatch):
    def interrupt(*_arguments, **_names):
        raise KeyboardInterrupt

    monkeypatch.setattr(sweeps, "_replicates", interrupt)
    result = run()
    assert (result.outcomes, result.samples, result.is_complete) == ((), (), False)


@pytest.fixture
def keyboard():
    """Ctrl-C interrupts, also where the tests were started in the background of a shell, which ignores it there."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("keyboard")
def test_an_interrupt_from_the_keyboard_ends_a_sweep_on_processes_with_what_is_done():
    def stop(_done, _planned):
        os.kill(os.getpid(), signal.SIGINT)

    result = run(replicates=4 * CHUNK, workers=2, progress=stop)
    assert 0 < len(result.outcomes) < result.planned
    assert not result.is_complete


# --------------------------------------------------------------------------------------------------- broken promises


class Impossible:
    """A source that counts more errors than there are requests."""

    counts_exposures = False
    onset_tick = None

    def __init__(self, of):
        self.of = of

    def entry(self, percentage, first_tick):
        return _Negative(self.of.entry(percentage, first_tick))


class _Negative:
    def __init__(self, entry):
        self.entry = entry

    def columns(self, begin, end):
        treatment, control = self.entry.columns(begin, end)
        treatment.ok[:] = -1
        return treatment, control


def test_a_broken_promise_ends_the_sweep_and_names_the_command_that_shows_it_again(monkeypatch):
    real = sweeps.source_of
    monkeypatch.setattr(sweeps, "source_of", lambda *a, **k: Impossible(real(*a, **k)))
    with pytest.raises(InvariantViolation, match="treatment: ok is negative") as violation:
        run(SMALL)
    hint = violation.value.hint
    assert hint.startswith('phase4 simulate run small.toml --world "fine" --policy "policy" --seed 7 --replicate 0')


def test_whatever_else_a_run_dies_of_names_the_command_too(monkeypatch):
    class Broken:
        counts_exposures = False
        onset_tick = None

        def entry(self, _percentage, _first_tick):
            raise ZeroDivisionError("by zero")

    monkeypatch.setattr(sweeps, "source_of", lambda *_a, **_k: Broken())
    with pytest.raises(Phase4Error, match="ZeroDivisionError: by zero") as death:
        run_one(SMALL, SMALL.worlds[1], SMALL.policies[0], seed=3, replicate=5)
    assert '--world "broken" --policy "policy" --seed 3 --replicate 5' in death.value.hint


# ---------------------------------------------------------------------------------------------------------- recordings


def test_a_recorded_world_is_laid_out_once_for_all_replicates():
    whole = load(RECORDED)
    assert window_of(whole, whole.worlds[0]) is window_of(whole, whole.worlds[0])
    sources = [source_of(whole, whole.worlds[0], seed=7, replicate=replicate) for replicate in range(2)]
    assert sources[0].window is sources[1].window


def test_a_recorded_sweep_counts_users():
    outcomes = run(load(RECORDED), replicates=2).outcomes
    assert all(outcome.users_exposed > 0 for outcome in outcomes)
    assert {outcome.users_harmed for outcome in outcomes if outcome.world == "healthy"} == {0}
    assert all(outcome.users_harmed > 0 for outcome in outcomes if outcome.world == "broken")
