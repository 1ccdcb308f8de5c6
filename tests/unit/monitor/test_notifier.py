"""The notifier, against a real receiver on loopback: each notice once, signed, whatever the receiver does."""

import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
from email.utils import formatdate

import pytest

from phase4 import clock as clocks
from phase4.clock import ManualClock
from phase4.durations import HOUR_MS
from phase4.monitor import alerts
from phase4.monitor.lease import Lease
from phase4.monitor.notifier import SILENT_MS, Background, Notifier, Sent, send_once
from phase4.monitor.webhook import Line
from phase4.rollout.events import ApprovalRequested, Completed, Paused, PauseReason
from phase4.store import outbox, rollouts
from phase4.store.outbox import CLAIM_MS, LIFE_MS, SENDS
from tests.data.homes.make import START, change, create, record, started
from tests.unit.monitor.receiver import Receiver, is_signed

SECRET = b"correct-horse-battery-staple"
MINUTE_MS = 60_000


@pytest.fixture
def clock():
    return ManualClock(START)


@pytest.fixture
def store(home, clock):
    made = create(home, clock)
    yield made
    made.close()


@pytest.fixture
def secret_file(tmp_path):
    path = tmp_path / "webhook.key"
    path.write_bytes(SECRET + b"\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def notifiers():
    """Makes notifiers, and closes them."""
    made = []
    yield made.append
    for notifier in made:
        notifier.close()


@pytest.fixture
def notifier_to(home, clock, secret_file, notifiers):
    """Make a notifier to a URL; its jitter is always the longest that it may be."""

    def make(url, *, chance=lambda: 1.0, timeout_s=5.0, secret=str(secret_file)):
        made = Notifier(str(home), clock.now, url, secret, chance=chance, timeout_s=timeout_s)
        notifiers(made)
        return made

    return make


@pytest.fixture
def receiver():
    with Receiver() as made:
        yield made


def put(store, rule="target", severity="high"):
    change(store, lambda making: making.alert("coverage", severity, f"{rule} missed", rule=rule))


def row(store):
    """Return (sends, when due, whether done, failure) of the only row."""
    ((sends, next_ms, done_ms, failure),) = store.rows("SELECT sends, next_ms, done_ms, failure FROM outbox")
    return sends, next_ms, done_ms is not None, failure


def warnings(store):
    return [alert.message for alert in store.alerts() if alert.rule == outbox.RULE]


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def until(holds, *, limit_s=10.0):
    """Wait until something holds."""
    end = clocks.monotonic() + limit_s
    while not holds():
        assert clocks.monotonic() < end, "it never came to hold"
        clocks.wait(0.005)


# --------------------------------------------------------------------------------------------- what is posted
def test_a_notice_is_posted_as_it_was_written_and_done(store, receiver, notifier_to):
    put(store)
    assert notifier_to(receiver.url).send_due(START) == Sent(delivered=1)
    ((path, headers, body),) = receiver.requests
    assert (path, headers["Content-Type"]) == ("/notices?of=phase4", "application/json")
    assert json.loads(body)["text"] == "[high] opened: target missed"
    assert body.decode() == store.row("SELECT body FROM outbox")[0]
    assert row(store)[2:] == (True, None)


def test_the_signature_holds_for_time_and_body(store, receiver, notifier_to):
    put(store)
    notifier_to(receiver.url).send_due(START)
    ((_, headers, body),) = receiver.requests
    assert headers["Phase4-Timestamp"] == str(START // 1000)
    assert is_signed(headers, body, SECRET)
    assert not is_signed(headers, body + b" ", SECRET)
    assert not is_signed({**headers, "Phase4-Timestamp": "1"}, body, SECRET)
    assert not is_signed(headers, body, b"another")


def test_without_a_secret_there_is_no_signature(store, receiver, notifier_to):
    put(store)
    notifier_to(receiver.url, secret=None).send_due(START)
    assert "Phase4-Signature" not in receiver.requests[0][1]


def test_a_new_secret_needs_no_restart(store, receiver, notifier_to, secret_file):
    notifier = notifier_to(receiver.url)
    put(store, "a")
    notifier.send_due(START)
    secret_file.write_bytes(b"new")
    put(store, "b")
    notifier.send_due(START)
    assert [is_signed(headers, body, b"new") for _, headers, body in receiver.requests] == [False, True]


@pytest.mark.parametrize("trouble", ["missing", "empty"])
def test_without_its_secret_a_notice_waits_and_is_not_sent_unsigned(
    store, receiver, notifier_to, secret_file, trouble, clock
):
    secret_file.unlink() if trouble == "missing" else secret_file.write_bytes(b" \n")
    put(store)
    notifier = notifier_to(receiver.url)
    assert "ALERT_WEBHOOK_SECRET_FILE" in notifier.send_due(START).problem
    assert (receiver.requests, row(store)[0]) == ([], 0)
    secret_file.write_bytes(SECRET)
    clock.advance(1_000)
    assert notifier.send_due(clock.now()).delivered == 1


def test_notices_are_sent_in_the_order_they_were_written(store, receiver, notifier_to):
    for rule in "abc":
        put(store, rule)
    notifier_to(receiver.url).send_due(START)
    assert [json.loads(body)["rule"] for _, _, body in receiver.requests] == ["a", "b", "c"]


def test_an_empty_outbox_asks_nobody_and_writes_nothing(store, receiver, notifier_to):
    before = store.row("PRAGMA data_version")
    assert notifier_to(receiver.url).send_due(START) == Sent()
    assert (receiver.requests, store.row("PRAGMA data_version")) == ([], before)


def test_a_proxy_of_the_environment_is_not_asked(store, receiver, notifier_to, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    put(store)
    assert notifier_to(receiver.url).send_due(START).delivered == 1


# --------------------------------------------------------------------------------------------- who is told
def told(receiver):
    """Return (severity, event, message) of each request."""
    documents = [json.loads(body) for _, _, body in receiver.requests]
    return [(document["severity"], document["event"], document["message"]) for document in documents]


@pytest.mark.parametrize(
    ("event", "severity", "message"),
    [
        (ApprovalRequested(at_ms=START, stage=1, expires_ms=START + HOUR_MS), "low", "asks approval for stage 2"),
        (
            Paused(at_ms=START, reason=PauseReason.MAX_DURATION, note="4 d"),
            "medium",
            "reached its longest time in this stage: 4 d",
        ),
        (Completed(at_ms=START), "low", "completed"),
    ],
)
def test_what_people_wait_for_is_told_although_low_or_medium(store, receiver, notifier_to, event, severity, message):
    record(store, started(store), event)
    notifier_to(receiver.url).send_due(START)
    assert told(receiver) == [(severity, "opened", f"checkout.1 {message}")]


def test_an_approval_that_expires_in_4_hours_is_told_once_although_low(store, receiver, notifier_to, clock):
    row_ = started(store)
    record(store, row_, ApprovalRequested(at_ms=START, stage=1, expires_ms=START + 24 * HOUR_MS))
    notifier = notifier_to(receiver.url)
    for _ in range(46):
        clock.advance(HOUR_MS // 2)
        found = alerts.of_plan(
            row_.plan_id, rollouts.state_of(store, row_.plan_id), store.flag("checkout"), clock.now()
        )
        alerts.settle(store, found, now_ms=clock.now())
        notifier.send_due(clock.now())
    assert [message for _, _, message in told(receiver)] == [
        "checkout.1 asks approval for stage 2",
        "the approval of stage 2 of checkout.1 expires in 4 h",
    ]


def test_a_medium_alert_is_not_told(store, receiver, notifier_to):
    put(store, severity="medium")
    notifier_to(receiver.url).send_due(START)
    assert receiver.requests == []


def test_whoever_heard_of_an_alert_hears_that_it_is_over(store, receiver, notifier_to):
    put(store)
    change(store, lambda making: making.resolve_alert(1, "seen to"))
    notifier_to(receiver.url).send_due(START)
    assert [event for _, event, _ in told(receiver)] == ["opened", "resolved"]


def test_a_critical_alert_that_nobody_takes_up_is_told_every_five_minutes(store, receiver, notifier_to, clock):
    put(store, severity="critical")
    notifier = notifier_to(receiver.url)
    for _ in range(11):
        alerts.settle(store, [], now_ms=clock.now())
        notifier.send_due(clock.now())
        clock.advance(MINUTE_MS)
    assert [event for _, event, _ in told(receiver)] == ["opened", "repeat", "repeat"]


# --------------------------------------------------------------------------------------------- what an answer means
@pytest.mark.parametrize("code", [200, 201, 202, 204, 299])
def test_any_2xx_is_done(store, notifier_to, code):
    put(store)
    with Receiver(code) as receiver:
        assert notifier_to(receiver.url).send_due(START) == Sent(delivered=1)
    assert row(store)[2:] == (True, None)


@pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503, 504, 599])
def test_not_now_is_asked_again_with_the_same_key(store, notifier_to, clock, code):
    put(store)
    with Receiver(code) as receiver:
        notifier = notifier_to(receiver.url)
        assert notifier.send_due(START).waiting == 1
        assert row(store) == (1, START + 1_000, False, f"the receiver answered {code}")
        clock.advance(1_000)
        assert notifier.send_due(clock.now()).delivered == 1
    assert len(receiver.requests) == 2
    assert len(set(receiver.deliveries)) == 1


@pytest.mark.parametrize("code", [300, 304, 400, 401, 403, 404, 405, 409, 410, 413, 418])
def test_every_other_answer_is_final_and_an_alert(store, notifier_to, clock, code):
    put(store)
    with Receiver(code) as receiver:
        notifier = notifier_to(receiver.url)
        assert notifier.send_due(START).undeliverable == 1
        clock.advance(HOUR_MS)
        notifier.send_due(clock.now())
    assert (len(receiver.requests), row(store)[2:]) == (1, (True, f"the receiver answered {code}"))
    assert warnings(store) == [f"a notice of alert 1 is undeliverable: the receiver answered {code}"]


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(store, receiver, notifier_to, code):
    put(store)
    with Receiver((code, {"Location": receiver.url})) as first:
        assert notifier_to(first.url).send_due(START).undeliverable == 1
    assert (len(first.requests), receiver.requests) == (1, [])


def test_six_sends_are_all_and_their_waits_double(store, notifier_to, clock):
    put(store)
    waits = []
    with Receiver(*[500] * 99) as receiver:
        notifier = notifier_to(receiver.url)
        while (sent := notifier.send_due(clock.now())).next_ms is not None:
            waits.append(sent.next_ms - clock.now())
            clock.advance(waits[-1])
    assert len(receiver.requests) == SENDS
    assert waits == [1_000, 2_000, 4_000, 8_000, 16_000]
    assert (row(store)[2:], len(warnings(store))) == ((True, "the receiver answered 500"), 1)


def test_the_alert_about_a_notice_is_itself_not_sent(store, notifier_to):
    put(store)
    with Receiver(404) as receiver:
        notifier = notifier_to(receiver.url)
        notifier.send_due(START)
        assert notifier.send_due(START) == Sent()
    assert len(receiver.requests) == 1


@pytest.mark.parametrize(("chance", "wait_ms"), [(0.0, 1), (0.5, 500), (0.999, 999)])
def test_a_wait_is_drawn_from_nothing_to_the_longest(store, notifier_to, chance, wait_ms):
    put(store)
    with Receiver(500) as receiver:
        notifier_to(receiver.url, chance=lambda: chance).send_due(START)
    assert row(store)[1] == START + wait_ms


def test_without_a_source_of_chance_waits_differ_and_stay_in_their_range(store, notifier_to):
    for number in range(20):
        put(store, f"rule {number}")
    with Receiver(*[500] * 20) as receiver:
        notifier_to(receiver.url, chance=None).send_due(START)
    waits = {due_ms - START for (due_ms,) in store.rows("SELECT next_ms FROM outbox")}
    assert len(waits) > 10
    assert all(1 <= wait <= 1_000 for wait in waits)


@pytest.mark.parametrize(
    ("asked", "wait_ms"),
    [
        ("0", 1_000),
        ("1", 1_000),
        ("7", 7_000),
        ("300", 300_000),
        ("301", 300_000),
        ("9" * 30, 300_000),
        ("soon", 1_000),
        ("-5", 1_000),
        ("", 1_000),
        (formatdate(START // 1000 + 42, usegmt=True), 42_000),
        (formatdate(START // 1000 - 42, usegmt=True), 1_000),
        (formatdate(START // 1000 + 9_999, usegmt=True), 300_000),
    ],
)
@pytest.mark.parametrize("code", [429, 503])
def test_retry_after_is_obeyed_up_to_five_minutes(store, notifier_to, code, asked, wait_ms):
    put(store)
    with Receiver((code, {"Retry-After": asked})) as receiver:
        notifier_to(receiver.url).send_due(START)
    assert row(store)[1] == START + wait_ms


def test_a_receiver_that_asks_for_time_gets_it_from_every_notice(store, notifier_to, clock):
    for rule in "abc":
        put(store, rule)
    with Receiver((429, {"Retry-After": "60"})) as receiver:
        notifier = notifier_to(receiver.url)
        assert notifier.send_due(START).next_ms == START + MINUTE_MS
        assert len(receiver.requests) == 1
        assert store.rows("SELECT sends FROM outbox") == [(1,), (0,), (0,)]
        clock.advance(MINUTE_MS)
        assert notifier.send_due(clock.now()).delivered == 3


def test_retry_after_with_a_final_answer_means_nothing(store, notifier_to):
    put(store)
    with Receiver((404, {"Retry-After": "7"})) as receiver:
        assert notifier_to(receiver.url).send_due(START).undeliverable == 1


# --------------------------------------------------------------------------------------------- nobody there
def test_a_receiver_that_is_down_for_ten_minutes_gets_each_notice_once_and_signed(store, notifier_to, clock):
    port = free_port()
    notifier = notifier_to(f"http://127.0.0.1:{port}/", chance=None)
    for rule in "abc":
        put(store, rule)
    while clock.now() < START + 10 * MINUTE_MS:
        sent = notifier.send_due(clock.now())
        assert (sent.delivered, sent.undeliverable) == (0, 0)
        clock.advance(sent.next_ms - clock.now())
    with Receiver(port=port) as receiver:
        while sent.next_ms is not None:
            sent = notifier.send_due(clock.now())
            clock.advance(MINUTE_MS)
    assert [json.loads(body)["rule"] for _, _, body in receiver.requests] == ["a", "b", "c"]
    assert len(set(receiver.deliveries)) == 3
    assert all(is_signed(headers, body, SECRET) for _, headers, body in receiver.requests)
    assert warnings(store) == []


def test_who_restarts_while_the_receiver_is_down_goes_on_where_it_was(store, notifier_to, clock):
    port = free_port()
    put(store)
    for _ in range(20):
        due_ms = notifier_to(f"http://127.0.0.1:{port}/").send_due(clock.now()).next_ms
        clock.advance(due_ms - clock.now())
    assert row(store)[0] == 0
    with Receiver(port=port) as receiver:
        assert notifier_to(receiver.url).send_due(clock.now()).delivered == 1


def test_a_receiver_that_is_away_is_asked_at_most_once_a_minute_whatever_waits(store, notifier_to, clock):
    for rule in "abc":
        put(store, rule)
    notifier = notifier_to(f"http://127.0.0.1:{free_port()}/")
    waits = []
    for _ in range(9):
        sent = notifier.send_due(clock.now())
        assert sent.waiting == 1
        waits.append((sent.next_ms - clock.now()) // 1000)
        clock.advance(sent.next_ms - clock.now())
    assert waits == [1, 1, 2, 4, 8, 16, 32, 60, 60]


def test_a_receiver_that_is_away_for_long_is_an_alert_that_counts_while_it_lasts(store, notifier_to, clock):
    put(store)
    notifier = notifier_to(f"http://127.0.0.1:{free_port()}/")
    clock.advance(SILENT_MS - 1)
    notifier.send_due(clock.now())
    assert warnings(store) == []
    clock.advance(MINUTE_MS)
    notifier.send_due(clock.now())
    assert warnings(store) == [
        "notices cannot be delivered, and are tried again: nobody was reached: Connection refused"
    ]
    assert row(store)[2] is False


def test_a_receiver_that_is_away_for_a_day_is_given_up(store, notifier_to, clock):
    put(store)
    notifier = notifier_to(f"http://127.0.0.1:{free_port()}/")
    notifier.send_due(clock.now())
    clock.advance(LIFE_MS)
    assert notifier.send_due(clock.now()).undeliverable == 1
    assert (row(store)[2], len(warnings(store))) == (True, 1)


def test_setting_a_webhook_posts_no_months_of_old_alerts(store, receiver, notifier_to, clock):
    for rule in "abc":
        put(store, rule)
    clock.advance(60 * 24 * HOUR_MS)
    put(store, "new")
    assert notifier_to(receiver.url).send_due(clock.now()) == Sent(delivered=1, undeliverable=3)
    assert json.loads(receiver.requests[0][2])["rule"] == "new"
    assert warnings(store) == []


def test_a_host_that_has_no_address_is_nobody_there(store, notifier_to):
    put(store)
    assert "nobody was reached" in notifier_to(f"https://{'a' * 64}.invalid/").send_due(START).problem
    assert row(store)[0] == 0


def test_a_receiver_without_tls_gets_nothing_of_a_notice(store, receiver, notifier_to):
    put(store)
    sent = notifier_to(receiver.url.replace("http:", "https:")).send_due(START)
    assert "nobody was reached" in sent.problem
    assert (receiver.requests, row(store)[0]) == ([], 0)


# --------------------------------------------------------------------------------------------- slow receivers
def test_a_receiver_that_does_not_answer_in_time_is_asked_again(store, notifier_to):
    put(store)
    with Receiver(None) as receiver:
        begin = clocks.monotonic()
        assert notifier_to(receiver.url, timeout_s=0.2).send_due(START).problem == "no answer"
        assert clocks.monotonic() - begin < 2
    assert row(store) == (1, START + 1_000, False, "no answer")


def test_a_receiver_that_drips_is_cut_off(store, notifier_to):
    put(store)
    with dripping() as port:
        begin = clocks.monotonic()
        notifier = notifier_to(f"http://127.0.0.1:{port}/", timeout_s=0.4)
        assert notifier.send_due(START).problem == "no answer"
        assert clocks.monotonic() - begin < 2


def test_what_is_no_http_is_no_answer(store, notifier_to):
    put(store)
    with dripping(b"SSH-2.0-OpenSSH_9\r\n", pause_s=0) as port:
        assert notifier_to(f"http://127.0.0.1:{port}/").send_due(START).problem == "no answer"


def test_a_connection_that_nobody_accepts_ends_in_time():
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(1)
        with Line(f"http://127.0.0.1:{deaf.getsockname()[1]}/", timeout_s=0.2) as line:
            assert line.post(b"{}", {}).status is None


@contextlib.contextmanager
def dripping(text=b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 1_000, *, pause_s=0.05):
    """A server that answers the first connection one byte after the other."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        with contextlib.suppress(OSError):
            line, _ = server.accept()
            with line:
                for number in range(len(text)):
                    line.sendall(text[number : number + 1])
                    clocks.wait(pause_s)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        server.close()
        thread.join(10)


# --------------------------------------------------------------------------------------------- crashes, and two senders
PROGRAM = """
import sys
from phase4.monitor.notifier import Notifier
home, now_ms, url, secret_file = sys.argv[1:]
Notifier(home, lambda: int(now_ms), url, secret_file, timeout_s=60).send_due(int(now_ms))
"""


def test_who_is_killed_between_send_and_mark_sends_again_with_the_same_key(
    store, home, clock, notifier_to, secret_file
):
    put(store)
    with Receiver(None) as receiver:
        arguments = [str(home), str(START), receiver.url, str(secret_file)]
        child = subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments])
        until(lambda: receiver.requests)
        child.send_signal(signal.SIGKILL)
        child.wait()
        notifier = notifier_to(receiver.url)
        assert notifier.send_due(clock.now()) == Sent(next_ms=START + CLAIM_MS)
        clock.advance(CLAIM_MS)
        assert notifier.send_due(clock.now()) == Sent(delivered=1)
    assert len(receiver.requests) == 2
    assert len(set(receiver.deliveries)) == 1
    assert row(store)[0] == 2


def test_of_two_senders_one_sends(store, home, receiver, clock, secret_file):
    for number in range(20):
        put(store, f"rule {number}")
    delivered = []

    def send():
        notifier = Notifier(str(home), clock.now, receiver.url, str(secret_file))
        delivered.append(notifier.send_due(START).delivered)
        notifier.close()

    threads = [threading.Thread(target=send) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(delivered) == 20
    assert len(receiver.requests) == len(set(receiver.deliveries)) == 20


# --------------------------------------------------------------------------------------------- secrets
def test_the_secret_and_the_url_are_in_no_row_no_text_and_no_log(  # noqa: PLR0917 - fixtures
    store, home, notifier_to, clock, secret_file, capfd, caplog
):
    caplog.set_level(0)
    told_ = []
    for number, answer in enumerate([204, 404, 500, (302, {"Location": "/"}), (429, {"Retry-After": "1"})]):
        put(store, f"rule {number}")
        with Receiver(answer) as receiver:
            url = f"{receiver.url}&token=T0ken"
            told_.append(notifier_to(url).send_due(clock.now()))
    put(store, "away")
    clock.advance(SILENT_MS)
    told_.append(notifier_to(f"http://127.0.0.1:{free_port()}/T0ken").send_due(clock.now()))
    secret_file.unlink()
    clock.advance(HOUR_MS)
    told_.append(notifier_to(f"http://127.0.0.1:{free_port()}/T0ken").send_due(clock.now()))
    store.close()
    output = capfd.readouterr()
    seen = [repr(told_), output.out, output.err, caplog.text]
    files = [path.read_bytes() for path in home.rglob("*") if path.is_file()]
    assert files
    for secret in (SECRET.decode(), "T0ken"):
        assert not any(secret in text for text in seen)
        assert not any(secret.encode() in content for content in files)


# --------------------------------------------------------------------------------------------- on a thread of its own
@pytest.fixture
def background_to(notifier_to):
    """Make a notifier on its thread, and close it."""
    made = []

    def make(url, **more):
        made.append(Background(notifier_to(url, **more)))
        return made[-1]

    yield make
    for each in made:
        each.close()
        each._thread.join(10)


def test_what_an_earlier_process_left_is_sent_at_the_start(store, receiver, background_to):
    put(store)
    background_to(receiver.url)
    until(lambda: row(store)[2])
    assert len(receiver.requests) == 1


def test_a_poke_sends_at_once_what_is_new(store, receiver, background_to):
    background = background_to(receiver.url)
    until(background._thread.is_alive)
    put(store)
    begin = clocks.monotonic()
    background.poke()
    until(lambda: receiver.requests)
    assert clocks.monotonic() - begin < 2


def test_what_another_process_wrote_is_seen_without_a_poke(store, receiver, background_to):
    background_to(receiver.url)
    clocks.wait(0.1)
    put(store)
    until(lambda: receiver.requests, limit_s=5)


def test_a_retry_is_sent_when_its_time_has_come(store, background_to, clock):
    put(store)
    with Receiver(500) as receiver:
        background = background_to(receiver.url, chance=lambda: 0.05)
        until(lambda: len(receiver.requests) == 1)
        clock.advance(1_000)
        until(lambda: len(receiver.requests) == 2)
        background.close()


def test_a_slow_receiver_delays_nobody_who_pokes_or_writes(store, background_to):
    put(store)
    with Receiver(None) as receiver:
        background = background_to(receiver.url)
        until(lambda: receiver.requests)
        begin = clocks.monotonic()
        background.poke()
        put(store, "b")
        assert clocks.monotonic() - begin < 0.5


@pytest.mark.parametrize("answer", [204, None])
def test_closing_takes_no_more_than_a_second(store, background_to, answer):
    put(store)
    with Receiver(answer) as receiver:
        background = background_to(receiver.url)
        until(lambda: receiver.requests)
        begin = clocks.monotonic()
        background.close()
        assert clocks.monotonic() - begin < 1.5


def test_after_closing_nothing_more_is_sent(store, background_to):
    for rule in "abc":
        put(store, rule)
    with Receiver(None) as receiver:
        background = background_to(receiver.url)
        until(lambda: receiver.requests)
        background.close()
        receiver.released.set()
        background._thread.join(10)
    assert len(receiver.requests) == 1


def test_a_store_that_is_away_ends_no_thread(home, store, receiver, clock, background_to):
    path = home / "control.db"
    path.rename(home / "away")
    background = background_to(receiver.url)
    until(lambda: background.problem)
    (home / "away").rename(path)
    put(store)
    until(lambda: receiver.requests)


# --------------------------------------------------------------------------------------------- without a collector
def test_an_emergency_sends_its_notice_itself(store, home, receiver, clock, secret_file):
    put(store)
    assert send_once(str(home), clock.now, receiver.url, str(secret_file)) == Sent(delivered=1)
    ((_, headers, body),) = receiver.requests
    assert is_signed(headers, body, SECRET)


def test_an_emergency_leaves_its_notice_to_a_collector(store, home, receiver, clock, secret_file):
    lease = Lease(store, "collector", interval_ms=30_000)
    assert lease.hold(START)
    put(store)
    assert send_once(str(home), clock.now, receiver.url, str(secret_file)) == Sent()
    lease.release()
    assert send_once(str(home), clock.now, receiver.url, str(secret_file)) == Sent(delivered=1)


def test_an_emergency_sends_the_newest_first(store, home, receiver, clock, secret_file):
    for rule in "abc":
        put(store, rule)
    send_once(str(home), clock.now, receiver.url, str(secret_file))
    assert [json.loads(body)["rule"] for _, _, body in receiver.requests] == ["c", "b", "a"]


def test_an_emergency_waits_for_nobody_longer_than_it_may(store, home, clock, secret_file):
    put(store)
    with Receiver(None) as receiver:
        begin = clocks.monotonic()
        sent = send_once(str(home), clock.now, receiver.url, str(secret_file), timeout_s=0.5)
        assert clocks.monotonic() - begin < 1
    assert (sent.delivered, sent.problem is None) == (0, False)
    until(lambda: not any(thread.name == "phase4-notice" for thread in threading.enumerate()))


@pytest.mark.parametrize("trouble", ["nobody", "store"])
def test_an_emergency_is_told_what_failed_and_nothing_is_raised(store, home, clock, secret_file, trouble):
    put(store)
    where = str(home) if trouble == "nobody" else f"{home}-none"
    sent = send_once(where, clock.now, f"http://127.0.0.1:{free_port()}/", str(secret_file))
    assert sent.delivered == 0
    assert sent.problem


def test_what_an_emergency_could_not_send_a_collector_sends(store, home, clock, secret_file, notifier_to, receiver):
    put(store)
    send_once(str(home), clock.now, f"http://127.0.0.1:{free_port()}/", str(secret_file))
    clock.advance(MINUTE_MS)
    assert notifier_to(receiver.url).send_due(clock.now()).delivered == 1
