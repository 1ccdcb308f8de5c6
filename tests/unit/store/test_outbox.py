"""The outbox: which notice is due, who has it, and what becomes of it."""

import threading

import pytest

from phase4.clock import ManualClock
from phase4.durations import HOUR_MS
from phase4.store import outbox
from phase4.store.control import ControlStore
from phase4.store.outbox import CLAIM_MS, LIFE_MS, SENDS
from tests.data.homes.make import START, change, create


@pytest.fixture
def clock():
    return ManualClock(START)


@pytest.fixture
def store(home, clock):
    made = create(home, clock)
    yield made
    made.close()


def put(store, rule="target", severity="high"):
    """Raise an alert with a notice; return its id."""
    ids = []
    change(store, lambda making: ids.append(making.alert("coverage", severity, f"{rule} missed", rule=rule)))
    return ids[0]


def claim(store):
    return outbox.claim(store, store.now())


def rows(store):
    """Return (sends, when due, when done, failure) of each row."""
    return store.rows("SELECT sends, next_ms, done_ms, failure FROM outbox ORDER BY id")


def warnings(store):
    """Return the messages of the alerts about notices."""
    return [alert.message for alert in store.alerts() if alert.rule == outbox.RULE]


# --------------------------------------------------------------------------------------------- claims
def test_a_notice_is_due_as_soon_as_its_alert_is_raised(store):
    alert = put(store)
    assert outbox.first_due(store, START).alert_id == alert
    assert outbox.next_ms(store) == START


def test_an_empty_outbox_has_nothing_due(store):
    assert (outbox.first_due(store, START), outbox.next_ms(store), claim(store)) == (None, None, None)


def test_a_claimed_notice_is_nobody_elses_until_the_claim_is_over(store, clock):
    put(store)
    assert claim(store).next_ms == START + CLAIM_MS
    clock.advance(CLAIM_MS - 1)
    assert claim(store) is None
    clock.advance(1)
    assert claim(store).sends == 2


def test_a_claim_counts_the_send_before_it_is_made(store):
    put(store)
    assert claim(store).sends == 1
    assert rows(store) == [(1, START + CLAIM_MS, None, None)]


def test_of_many_senders_one_gets_a_notice(store, home, clock):
    for number in range(10):
        put(store, f"rule {number}")
    taken = []

    def sender():
        own = ControlStore(str(home), clock.now)
        while (notice := outbox.claim(own, clock.now())) is not None:
            taken.append(notice.id)
        own.close()

    threads = [threading.Thread(target=sender) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(1, 11))


def test_the_oldest_is_sent_first_and_in_an_emergency_the_newest(store):
    first, _, last = (put(store, rule) for rule in "abc")
    assert outbox.first_due(store, START).alert_id == first
    assert outbox.first_due(store, START, newest_first=True).alert_id == last


def test_an_alert_is_not_over_before_it_began(store):
    alert = put(store)
    change(store, lambda making: making.resolve_alert(alert, "seen to"))
    opened = claim(store)
    assert claim(store) is None
    outbox.delivered(store, opened)
    assert '"event":"resolved"' in claim(store).body


def test_a_clock_that_was_set_back_holds_no_notice_up(store, clock):
    put(store)
    assert outbox.first_due(store, START - HOUR_MS) is None
    assert outbox.first_due(store, START - HOUR_MS - 1) is not None


# --------------------------------------------------------------------------------------------- keys against doubles
def test_a_delivery_has_one_key_for_ever(store, clock):
    put(store)
    before = outbox.first_due(store, START)
    claimed = claim(store)
    outbox.retry(store, claimed, at_ms=START + 5, failure="the receiver answered 500")
    clock.advance(5)
    assert before.delivery == claimed.delivery == claim(store).delivery


def test_two_notices_have_two_keys(store):
    put(store, "a")
    put(store, "b")
    assert claim(store).delivery != claim(store).delivery


def test_the_first_notices_of_two_homes_have_two_keys(store, tmp_path):
    other = create(tmp_path / "other", ManualClock(START))
    put(store, "a")
    put(other, "b")
    assert claim(store).delivery != claim(other).delivery
    other.close()


# --------------------------------------------------------------------------------------------- what becomes of it
def test_what_was_delivered_is_never_due_again(store, clock):
    put(store)
    outbox.delivered(store, claim(store))
    assert rows(store) == [(1, START + CLAIM_MS, START, None)]
    clock.advance(LIFE_MS)
    assert (claim(store), outbox.next_ms(store), outbox.give_up_old(store, clock.now())) == (None, None, 0)


def test_a_delivery_after_failures_has_no_failure(store, clock):
    put(store)
    outbox.retry(store, claim(store), at_ms=START + 5, failure="no answer")
    assert rows(store) == [(1, START + 5, None, "no answer")]
    clock.advance(5)
    outbox.delivered(store, claim(store))
    assert rows(store)[0][2:] == (START + 5, None)


def test_a_delivery_that_took_longer_than_its_claim_is_a_delivery(store, clock):
    put(store)
    slow = claim(store)
    clock.advance(CLAIM_MS)
    claim(store)
    outbox.delivered(store, slow)
    assert rows(store)[0][2] == START + CLAIM_MS


@pytest.mark.parametrize("mark", ["retry", "give_up"])
def test_a_failure_that_took_longer_than_its_claim_leaves_the_row_to_the_next_sender(store, clock, mark):
    put(store)
    slow = claim(store)
    clock.advance(CLAIM_MS)
    claim(store)
    before = rows(store)
    if mark == "retry":
        outbox.retry(store, slow, at_ms=START, failure="no answer")
    else:
        outbox.give_up(store, slow, failure="no answer")
    assert (rows(store), warnings(store)) == (before, [])


def test_a_notice_that_is_given_up_is_a_high_alert_that_is_itself_not_sent(store):
    put(store)
    outbox.give_up(store, claim(store), failure="the receiver answered 404")
    (alert,) = [each for each in store.alerts() if each.rule == outbox.RULE]
    assert (alert.type, alert.severity) == ("system_health", "high")
    assert alert.message == "a notice of alert 1 is undeliverable: the receiver answered 404"
    assert store.row("SELECT count(*) FROM outbox WHERE alert_id = ?", alert.id) == (0,)
    change(store, lambda making: making.resolve_alert(alert.id, "seen to"))
    assert len(rows(store)) == 1


def test_notices_that_are_given_up_are_one_alert_that_counts(store):
    for rule in "ab":
        put(store, rule)
        outbox.give_up(store, claim(store), failure="the receiver answered 404")
    (alert,) = store.rows("SELECT count FROM alert WHERE rule = ?", outbox.RULE)
    assert alert == (2,)


def test_sending_leaves_no_trace_in_the_audit_log_and_no_new_version(store):
    put(store)
    before = (len(store.audit()), store.version, store.row("SELECT count(*) FROM command"))
    outbox.retry(store, claim(store), at_ms=START, failure="no answer")
    outbox.delivered(store, claim(store))
    assert (len(store.audit()), store.version, store.row("SELECT count(*) FROM command")) == before


# --------------------------------------------------------------------------------------------- waiting together
def test_while_nobody_listens_all_that_is_due_waits_and_no_send_is_counted(store):
    put(store, "a")
    put(store, "b")
    outbox.postpone(store, START, until_ms=START + 9, failure="nobody was reached")
    assert rows(store) == [(0, START + 9, None, "nobody was reached")] * 2
    assert warnings(store) == []


def test_what_is_claimed_does_not_wait_with_the_others(store):
    put(store, "a")
    claim(store)
    put(store, "b")
    outbox.postpone(store, START, until_ms=START + 9, failure="nobody was reached")
    assert [row[1] for row in rows(store)] == [START + CLAIM_MS, START + 9]


def test_waiting_for_a_receiver_that_asked_for_time_is_no_failure(store):
    put(store)
    outbox.postpone(store, START, until_ms=START + 9, failure=None)
    assert rows(store) == [(0, START + 9, None, None)]


def test_a_long_silence_is_an_alert(store):
    put(store)
    outbox.postpone(store, START, until_ms=START + 9, failure="nobody was reached", warns=True)
    assert warnings(store) == ["notices cannot be delivered, and are tried again: nobody was reached"]


# --------------------------------------------------------------------------------------------- old ones
def test_a_notice_that_was_tried_for_a_day_is_given_up_with_an_alert(store, clock):
    put(store)
    outbox.postpone(store, START, until_ms=START + 9, failure="nobody was reached")
    clock.advance(LIFE_MS - 1)
    assert outbox.give_up_old(store, clock.now()) == 0
    clock.advance(1)
    assert outbox.give_up_old(store, clock.now()) == 1
    assert rows(store)[0][2:] == (START + LIFE_MS, "nobody was reached")
    assert warnings(store) == ["1 notices are undeliverable, the newest: nobody was reached"]


def test_what_nobody_ever_tried_to_send_for_a_day_is_no_news_and_no_alert(store, clock):
    put(store)
    clock.advance(LIFE_MS)
    assert outbox.give_up_old(store, clock.now()) == 1
    assert (rows(store)[0][2:], warnings(store)) == ((START + LIFE_MS, outbox.STALE), [])


def test_a_notice_whose_senders_all_die_is_given_up(store, clock):
    put(store)
    for number in range(SENDS):
        assert outbox.give_up_old(store, clock.now()) == 0
        assert claim(store).sends == number + 1
        clock.advance(CLAIM_MS)
    assert outbox.give_up_old(store, clock.now()) == 1
    assert claim(store) is None
    assert "ended before it had an answer" in warnings(store)[0]


def test_a_claimed_notice_is_not_given_up_by_its_age(store, clock):
    put(store)
    clock.advance(LIFE_MS - 1)
    claim(store)
    clock.advance(1)
    assert outbox.give_up_old(store, clock.now()) == 0
