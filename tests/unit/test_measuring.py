"""A decision, and what came of it: which events an application's blocks leave in the spool."""

import asyncio
import json
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest

from phase4.clock import ManualClock
from phase4.errors import UsageError
from phase4.flags import bucketing
from phase4.store import orders, served, unit_key
from phase4.store.epoch import Epoch
from phase4.store.intake import Known, Spool, rows_of
from phase4.store.record import BUCKETS, NO_LATENCY, REASONS, Outcome, unit_of
from phase4.system import AsyncPhase4System, Phase4System
from tests.data.homes.make import CHECKOUT, ROOT, SEARCH, START, create, new_request_id, started

EXPOSURE, OK, ERROR, TIMEOUT, INVALID = Outcome
CONTROL, TREATMENT = 1, 2
SHARE = 25.0


@pytest.fixture
def store(home):
    """A store with search on for a quarter, a quarter is its control, and checkout is off."""
    made = create(home, ManualClock(START), search=SHARE)
    yield made
    made.close()


@pytest.fixture
def system(home, store):
    made = Phase4System(str(home))
    yield made
    made.close()


def user(arm, number=0):
    """Return a user of an arm of search, or of none."""
    cuts = bucketing.cuts(SHARE)
    found = []
    for name in (f"user-{each}" for each in range(1_000)):
        hashed = bucketing.hash_unit(SEARCH, name)
        is_in = TREATMENT if hashed < cuts.treatment_below else CONTROL if hashed >= cuts.control_from else None
        if is_in == arm:
            found.append(name)
    return found[number]


def events(home):
    """Return all good rows of the spool; there is no other."""
    known = Known({1: 10, 2: 10}, 2**62)
    found = [rows_of(batch, 1, known) for batch in Spool(str(home)).read()]
    assert [aside for _, aside in found if aside] == []
    return np.concatenate([rows for rows, _ in found]) if found else []


def outcomes(home):
    return [Outcome(row["outcome"]) for row in events(home)]


def measured(system, error=None, name=None):
    with system.measure(SEARCH, name or user(TREATMENT)) as measurement:
        if error is not None:
            raise error
    return measurement


# --------------------------------------------------------------------------------------------- what is recorded
def test_a_block_that_ends_is_an_exposure_and_an_ok(home, system):
    assert measured(system).enabled
    assert outcomes(home) == [EXPOSURE, OK]
    exposure, ok = events(home)
    assert exposure["latency_ms"] == NO_LATENCY
    assert 0.0 <= ok["latency_ms"] < 1_000.0


def test_the_event_says_who_and_what(home, store, system):
    name = user(TREATMENT)
    measured(system, name=name)
    row = events(home)[1]
    flag = store.flag(SEARCH)
    assert row["unit"] == unit_of(unit_key.load_or_make(str(home)), name.encode())
    assert (row["flag"], row["flag_version"], row["entry"]) == (flag.id, flag.version, flag.entry)
    assert row["bucket"] == bucketing.hash_unit(SEARCH, name) * BUCKETS >> 32
    assert (row["arm"], REASONS[row["reason"] - 1]) == (TREATMENT, "SPLIT")


def test_the_event_carries_the_entry_of_the_running_plan(home, store, system):
    started(store)
    for number in range(200):
        with system.measure(CHECKOUT, f"user-{number}"):
            pass
    rows = events(home)
    assert set(rows["arm"]) == {CONTROL, TREATMENT}
    assert set(rows["entry"]) == {store.flag(CHECKOUT).entry} == {1}


def test_users_of_the_control_band_are_recorded_without_the_feature(home, system):
    assert not measured(system, name=user(CONTROL)).enabled
    assert [(row["arm"], row["outcome"]) for row in events(home)] == [(CONTROL, EXPOSURE), (CONTROL, OK)]


def test_users_of_no_arm_are_not_recorded(home, system):
    assert not measured(system, name=user(None)).enabled
    assert not system.record(SEARCH, user(None))
    assert outcomes(home) == []


@pytest.mark.parametrize("name", [None, ""])
def test_anonymous_users_are_not_recorded(home, system, name):
    with system.measure(SEARCH, name) as measurement:
        assert not measurement.enabled
    assert not system.record(SEARCH, name)
    assert outcomes(home) == []


@pytest.mark.parametrize("name", [1.5, [], {}, object(), b"user", "\ud800"], ids=repr)
def test_what_is_no_user_is_not_recorded_and_raises_nothing(home, system, name):
    with system.measure(SEARCH, name) as measurement:
        assert not measurement.enabled
    assert outcomes(home) == []


def test_a_flag_that_is_off_records_nothing(home, store, system):
    orders.disable(store, SEARCH, actor="ana", request_id=new_request_id(), reason=None)
    assert not measured(system).enabled
    assert outcomes(home) == []


@pytest.mark.parametrize("flag_key", ["unknown", "", None, 7, []], ids=repr)
def test_an_unknown_flag_is_off_and_records_nothing(home, system, flag_key):
    with system.measure(flag_key, user(TREATMENT)) as measurement:
        assert not measurement.enabled
    assert not system.record(flag_key, user(TREATMENT))
    assert outcomes(home) == []


def test_the_exposure_of_a_user_is_recorded_once(home, system):
    for _ in range(3):
        measured(system)
    measured(system, name=user(TREATMENT, 1))
    assert outcomes(home) == [EXPOSURE, OK, OK, OK, EXPOSURE, OK]


def test_another_entry_is_another_exposure(home, store, system):
    row = started(store)
    name = next(f"user-{n}" for n in range(1_000) if system.is_feature_enabled(CHECKOUT, f"user-{n}"))
    with system.measure(CHECKOUT, name):
        pass
    orders.disable(store, CHECKOUT, actor="ana", request_id=new_request_id(), reason=None)
    orders.enable(store, CHECKOUT, actor="ana", request_id=new_request_id(), reason=None)
    for _ in range(2):
        with system.measure(CHECKOUT, name):
            pass
    assert row.flag_id == store.flag(CHECKOUT).id
    assert [(event["entry"], event["outcome"]) for event in events(home)] == [
        (1, EXPOSURE),
        (1, OK),
        (2, EXPOSURE),
        (2, OK),
        (2, OK),
    ]


def test_an_exposure_that_could_not_be_written_is_recorded_the_next_time(home, system):
    shutil.rmtree(home / "spool")
    measured(system)
    (home / "spool").mkdir()
    system._recorder._writer._retry_ms = 0  # the second after the failure is over
    measured(system)
    assert outcomes(home) == [EXPOSURE, OK]


def test_a_measurement_that_is_never_entered_records_nothing(home, system):
    assert system.measure(SEARCH, user(TREATMENT)).enabled
    assert outcomes(home) == []


def test_a_value_of_a_flag_is_at_hand(system):
    measurement = measured(system)
    assert (measurement.value, measurement.evaluation.variant, measurement.is_said) == (True, "on", False)


# --------------------------------------------------------------------------------------------- how a block ends
@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ValueError("no"), ERROR),
        (OSError("no"), ERROR),
        (TimeoutError(), TIMEOUT),
        (asyncio.CancelledError(), TIMEOUT),
        (ExceptionGroup("two", [ValueError(), TimeoutError()]), ERROR),
    ],
    ids=repr,
)
def test_an_exception_is_recorded_and_raised_on(home, system, error, outcome):
    with pytest.raises(type(error)) as caught:
        measured(system, error)
    assert caught.value is error
    assert outcomes(home) == [EXPOSURE, outcome]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit()], ids=repr)
def test_the_end_of_the_program_says_nothing_about_the_feature(home, system, error):
    with pytest.raises(type(error)) as caught:
        measured(system, error)
    assert caught.value is error
    assert outcomes(home) == [EXPOSURE]


@pytest.mark.parametrize(("word", "outcome"), [("invalid", INVALID), ("failed", ERROR), ("timed_out", TIMEOUT)])
def test_the_block_may_say_what_came_of_it(home, system, word, outcome):
    with system.measure(SEARCH, user(TREATMENT)) as measurement:
        getattr(measurement, word)()
        assert measurement.is_said
    assert outcomes(home) == [EXPOSURE, outcome]


def test_an_exception_says_more_than_the_block_did(home, system):
    def work():
        with system.measure(SEARCH, user(TREATMENT)) as measurement:
            measurement.invalid()
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        work()
    assert outcomes(home) == [EXPOSURE, ERROR]


def test_a_block_whose_time_means_nothing_has_no_latency(home, system):
    with system.measure(SEARCH, user(TREATMENT)) as measurement:
        measurement.no_latency()
    assert events(home)[1]["latency_ms"] == NO_LATENCY


def test_the_latency_is_that_of_the_block(home, system):
    with system.measure(SEARCH, user(TREATMENT)):
        threading.Event().wait(0.03)
    assert 30.0 <= events(home)[1]["latency_ms"] < 1_000.0


# --------------------------------------------------------------------------------------------- asyncio
def test_async_with_records_the_same(home, system):
    async def work():
        async with AsyncPhase4System(system).measure(SEARCH, user(TREATMENT)) as measurement:
            return measurement.enabled

    assert asyncio.run(work())
    assert outcomes(home) == [EXPOSURE, OK]


def test_a_time_limit_that_cancels_a_block_is_a_timeout(home, system):
    async def work():
        async with asyncio.timeout(0.01), AsyncPhase4System(system).measure(SEARCH, user(TREATMENT)):
            await asyncio.sleep(10)

    with pytest.raises(TimeoutError):
        asyncio.run(work())
    assert outcomes(home) == [EXPOSURE, TIMEOUT]


def test_the_asynchronous_record_is_the_same(home, system):
    assert AsyncPhase4System(system).record(SEARCH, user(TREATMENT), outcome="invalid", latency_ms=3.0)
    assert outcomes(home) == [EXPOSURE, INVALID]


# --------------------------------------------------------------------------------------------- record
@pytest.mark.parametrize(
    ("word", "outcome"), [("ok", OK), ("error", ERROR), ("timeout", TIMEOUT), ("invalid", INVALID)]
)
def test_an_outcome_that_is_known_elsewhere_is_recorded_with_its_exposure(home, system, word, outcome):
    assert system.record(SEARCH, user(TREATMENT), outcome=word, latency_ms=12.5)
    assert [(row["outcome"], row["latency_ms"]) for row in events(home)] == [(EXPOSURE, NO_LATENCY), (outcome, 12.5)]


def test_a_record_without_a_latency_has_none(home, system):
    assert system.record(SEARCH, user(TREATMENT))
    assert events(home)[1]["latency_ms"] == NO_LATENCY


@pytest.mark.parametrize("outcome", ["", "OK", "exposure", "fine", None, 2])
def test_an_outcome_that_is_none_is_refused(home, system, outcome):
    with pytest.raises(UsageError, match="an outcome is one of ok, error, timeout, invalid"):
        system.record(SEARCH, user(TREATMENT), outcome=outcome)
    assert outcomes(home) == []


@pytest.mark.parametrize("latency_ms", [-1.0, -0.001, float("nan"), float("inf"), float("-inf")])
def test_a_latency_that_is_none_is_refused(home, system, latency_ms):
    with pytest.raises(UsageError, match="a latency is finite and at least 0 ms"):
        system.record(SEARCH, user(TREATMENT), latency_ms=latency_ms)
    assert outcomes(home) == []


@pytest.mark.parametrize("latency_ms", [0, 0.0, -0.0, 1e-300, 3.4e38])
def test_the_least_and_the_greatest_latency_are_recorded(home, system, latency_ms):
    assert system.record(SEARCH, user(TREATMENT), latency_ms=latency_ms)
    assert outcomes(home) == [EXPOSURE, OK]


@pytest.mark.parametrize("latency_ms", [1e39, pytest.param(10**400, id="1e400")])
def test_a_latency_that_fits_no_record_is_not_written_and_counted(home, system, latency_ms):
    assert not system.record(SEARCH, user(TREATMENT), latency_ms=latency_ms)
    assert system._recorder.dropped == 1
    assert outcomes(home) == [EXPOSURE]


# --------------------------------------------------------------------------------------------- never raises
def test_without_a_home_nothing_is_recorded_and_nothing_raised(home):
    system = Phase4System(str(home))
    assert not measured(system).enabled
    assert not system.record(SEARCH, user(TREATMENT))
    with pytest.raises(ValueError, match="own"):
        measured(system, ValueError("own"))
    system.close()
    assert not home.exists()


def test_a_home_that_is_deleted_meanwhile_raises_nothing(home, system):
    measured(system)
    shutil.rmtree(home)
    for number in range(3):
        measured(system, name=user(TREATMENT, number))
    assert not home.exists()


def test_a_home_that_is_deleted_before_the_first_event_raises_nothing_and_counts(home, system):
    shutil.rmtree(home)
    assert measured(system).enabled
    assert not system.record(SEARCH, user(TREATMENT))
    assert system._recorder.dropped > 0


def test_a_key_that_cannot_be_read_records_nothing_and_counts(home, system):
    (home / "keys" / "unit.key").write_bytes(b"short")
    assert measured(system).enabled
    assert system._recorder.dropped == 1
    assert outcomes(home) == []


def test_a_system_that_is_closed_inside_a_block_raises_nothing(home, system):
    with system.measure(SEARCH, user(TREATMENT)):
        system.close()
    assert OK in outcomes(home)


def test_flags_that_cannot_be_refreshed_are_recorded_as_stale(home, store, system):
    orders.enable(store, CHECKOUT, actor="ana", request_id=new_request_id(), reason=None)
    (home / "control.db").rename(home / "gone.db")
    measured(system)
    assert {REASONS[row["reason"] - 1] for row in events(home)} == {"STALE"}


def test_the_stop_word_is_obeyed_by_a_measurement_too(home, system):
    epoch = Epoch(str(home / "epoch"))
    epoch.stop()
    assert not system.is_feature_enabled(SEARCH, user(TREATMENT))
    assert not measured(system).enabled
    epoch.close()


def test_threads_measure_at_once_and_every_event_is_there(home, system):
    start = threading.Barrier(8)

    def work(number):
        start.wait()
        for _ in range(250):
            measured(system, name=user(TREATMENT, number))

    unit_key.load_or_make(str(home))
    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = events(home)
    assert (rows["outcome"] == OK).sum() == 2_000
    assert (rows["outcome"] == EXPOSURE).sum() == len(np.unique(rows["unit"])) == 8


# --------------------------------------------------------------------------------------------- served
def test_a_process_that_only_asks_is_no_evaluator(home, system):
    system.is_feature_enabled(SEARCH, user(TREATMENT))
    assert list(served.read(str(home))) == []


def test_a_process_that_records_notes_what_it_serves(home, store, system):
    measured(system)
    orders.enable(store, CHECKOUT, actor="ana", request_id=new_request_id(), reason=None)
    system.is_feature_enabled(SEARCH, user(TREATMENT))
    [marks] = served.read(str(home))
    assert [version for version, _ in marks.marks] == [store.version - 1, store.version]
    assert not marks.is_over


FORK = """
import json, os, sys
from phase4.system import Phase4System

home, name = sys.argv[1:]
system = Phase4System(home)
use = lambda: system.measure("search", name).__enter__().__exit__(None, None, None)
use()
child = os.fork()
use()
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print(json.dumps({"dropped": system._recorder.dropped}))
"""


def test_a_forked_child_records_an_exposure_of_its_own_and_is_another_evaluator(home, store):
    words = [sys.executable, "-c", FORK, str(home), user(TREATMENT)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout) == {"dropped": 0}
    batches = sorted([batch.records["outcome"].tolist() for batch in Spool(str(home)).read()], key=len)
    assert batches == [[EXPOSURE, OK], [EXPOSURE, OK, OK]]
    assert len(list(served.read(str(home)))) == 2
