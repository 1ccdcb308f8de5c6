"""The notifier: posts the notices of the outbox to the webhook, each once as far as anybody can know.

A notice that the receiver acknowledged is never sent again. One whose sender was killed between the send and the mark
is, with the same `Phase4-Delivery`. docs/decisions/0011-notices.md has what is retried, and for how long.
"""

from __future__ import annotations

import hmac
import threading
from collections.abc import Callable
from typing import NamedTuple

from phase4 import clock
from phase4.errors import Phase4Error
from phase4.ids import new_key
from phase4.monitor.webhook import Answer, Line, retry_after_ms
from phase4.store import outbox
from phase4.store.control import BUSY_MS, ControlStore
from phase4.store.outbox import SENDS, Notice

TIMEOUT_S = 5.0
"""For one send, from the connection to the answer."""
BACKOFF_BASE_MS = 1_000
BACKOFF_CAP_MS = 60_000
RETRIED = frozenset({408, 425, 429, *range(500, 600)})
"""Codes that say "not now". Every other one but 2xx is final: asking again would be answered the same."""
SILENT_MS = 15 * 60_000
"""How long a receiver may be away before that is an alert; what waits is tried further on."""
LOOK_S = 0.5
"""How often the thread looks whether another process wrote: a look at the epoch, no query."""
IDLE_S = 60.0
CLOSE_S = 1.0


class Sent(NamedTuple):
    """What sending came to."""

    delivered: int = 0
    waiting: int = 0
    """Sends in vain that are made again."""
    undeliverable: int = 0
    """Notices that were given up."""
    next_ms: int | None = None
    """When the next notice is due; None = none waits."""
    problem: str | None = None
    """Why the newest send was in vain."""


class Notifier:
    """What sends the notices of a home. It belongs to the thread that first lets it send."""

    def __init__(
        self,
        store_home: str,
        now: Callable[[], int],
        url: str,
        secret_file: str | None,
        *,
        timeout_s: float = TIMEOUT_S,
        busy_ms: int = BUSY_MS,
        chance: Callable[[], float] | None = None,
    ) -> None:
        """Make ready; nothing is opened yet.

        Args:
            store_home: PHASE4_HOME.
            now: Tells the time in ms since the Unix epoch.
            url: Where notices are posted.
            secret_file: File of the key that signs them, read anew each time, white space around it left out.
                None = unsigned; production refuses that at its start.
            timeout_s: For one send.
            busy_ms: How long a write waits for other writers.
            chance: Draws from [0, 1) for the jitter.
        """
        self._home, self._now, self._url, self._secret_file = store_home, now, url, secret_file
        self._timeout_s, self._busy_ms = timeout_s, busy_ms
        self._chance = chance or _chance
        self._opened: ControlStore | None = None

    @property
    def store(self) -> ControlStore:
        """The store, by a connection of this notifier's own.

        Raises:
            StoreUnavailable: it cannot be opened.
        """
        if self._opened is None:
            self._opened = ControlStore(self._home, self._now, busy_ms=self._busy_ms)
        return self._opened

    def send_due(
        self, now_ms: int, *, newest_first: bool = False, is_stopped: Callable[[], bool] = lambda: False
    ) -> Sent:
        """Send what is due at `now_ms`, one after the other, and return what that came to.

        Raises:
            Phase4Error: the store cannot be used; what is not marked is due again later.
        """
        sent = Sent(undeliverable=outbox.give_up_old(self.store, now_ms))
        while not is_stopped():
            first = outbox.first_due(self.store, now_ms, newest_first=newest_first)
            if first is None:
                break
            sent = self._send(sent, first, now_ms, newest_first=newest_first)
        return sent._replace(next_ms=outbox.next_ms(self.store))

    def close(self) -> None:
        """Close the store."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _send(self, sent: Sent, first: Notice, now_ms: int, *, newest_first: bool) -> Sent:
        """Send one notice. Connect, then claim: while nobody listens, no send is used up."""
        try:
            secret = self._secret()
            line = Line(self._url, timeout_s=self._timeout_s)
        except OSError as error:
            return self._unreached(sent, first, now_ms, _told(error))
        with line:
            notice = outbox.claim(self.store, now_ms, newest_first=newest_first)
            if notice is None:  # another process was first
                return sent
            body = notice.body.encode()
            answer = line.post(body, _headers(notice, body, secret, self._now()))
        return self._mark(sent, notice, answer, now_ms)

    def _mark(self, sent: Sent, notice: Notice, answer: Answer, now_ms: int) -> Sent:
        """Record what came of a send."""
        status = answer.status
        if status is not None and 200 <= status < 300:
            outbox.delivered(self.store, notice)
            return sent._replace(delivered=sent.delivered + 1)
        problem = "no answer" if status is None else f"the receiver answered {status}"
        is_retried = status is None or status in RETRIED
        if not is_retried or notice.sends >= SENDS:
            outbox.give_up(self.store, notice, failure=problem)
            return sent._replace(undeliverable=sent.undeliverable + 1, problem=problem)
        now = max(now_ms, self._now())
        asked_ms = retry_after_ms(answer.retry_after, now, most_ms=outbox.WAIT_MAX_MS)
        at_ms = now + max(self._jitter(BACKOFF_BASE_MS << (notice.sends - 1)), asked_ms)
        outbox.retry(self.store, notice, at_ms=at_ms, failure=problem)
        if asked_ms:  # it is the receiver that wants a rest, not this notice
            outbox.postpone(self.store, now_ms, until_ms=at_ms, failure=None)
        return sent._replace(waiting=sent.waiting + 1, problem=problem)

    def _unreached(self, sent: Sent, first: Notice, now_ms: int, problem: str) -> Sent:
        """Let everything wait. Waits of up to the age of the oldest double it, without a count of their own."""
        now = max(now_ms, self._now())
        age_ms = now - first.created_ms
        until_ms = now + self._jitter(max(age_ms, BACKOFF_BASE_MS))
        outbox.postpone(self.store, now_ms, until_ms=until_ms, failure=problem, warns=age_ms >= SILENT_MS)
        return sent._replace(waiting=sent.waiting + 1, problem=problem)

    def _jitter(self, most_ms: int) -> int:
        """Return a wait in ms. Source: full jitter, Brooker (2015), AWS Architecture Blog, Exponential Backoff."""
        return max(1, int(self._chance() * min(most_ms, BACKOFF_CAP_MS)))

    def _secret(self) -> bytes | None:
        """Return the key: read for each send, so that a new one needs no restart, and kept nowhere.

        Raises:
            OSError: it cannot be read, or there is none in the file: a notice is not sent unsigned then.
        """
        if self._secret_file is None:
            return None
        try:
            with open(self._secret_file, "rb") as file:
                secret = file.read().strip()
        except OSError as error:
            raise OSError(None, f"ALERT_WEBHOOK_SECRET_FILE cannot be read: {error.strerror}") from None
        if not secret:
            raise OSError(None, "ALERT_WEBHOOK_SECRET_FILE is empty")
        return secret


class Background:
    """A notifier on a thread of its own: a receiver that is slow delays no tick."""

    def __init__(self, notifier: Notifier) -> None:
        """Begin to send; what another process left is sent first."""
        self._notifier = notifier
        self._woken = threading.Event()
        self._is_closed = False
        self.problem: str | None = None
        """Why the newest round of sending failed; None = it did not."""
        self._thread = threading.Thread(target=self._run, name="phase4-notifier", daemon=True)
        self._thread.start()

    def poke(self) -> None:
        """Say that there may be something to send; return at once."""
        self._woken.set()

    def close(self) -> None:
        """Begin no further send, and return within `CLOSE_S`.

        A send that is under way then goes on for as long as the process lives: its row is claimed.
        """
        self._is_closed = True
        self._woken.set()
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        try:
            while not self._is_closed:
                self._woken.clear()
                self._wait(*self._round())
        finally:
            self._notifier.close()

    def _round(self) -> tuple[float, int | None]:
        """Send what is due; return the longest wait in s, and the store's version that this has seen."""
        try:
            store = self._notifier.store
            version = store.epoch.version
            now = store.now
            sent = self._notifier.send_due(now(), is_stopped=lambda: self._is_closed)
        except Phase4Error as error:
            self.problem = str(error)  # the collector meets the same trouble, and says so
            return LOOK_S * 2, None
        self.problem = sent.problem
        left_s = IDLE_S if sent.next_ms is None else (sent.next_ms - now()) / 1000
        return min(max(left_s, 0.01), IDLE_S), version

    def _wait(self, longest_s: float, version: int | None) -> None:
        until = clock.monotonic() + longest_s
        while (left := until - clock.monotonic()) > 0 and not self._woken.wait(min(left, LOOK_S)):
            if version is not None and self._notifier.store.epoch.version != version:
                return


def send_once(home: str, now: Callable[[], int], url: str, secret_file: str | None, timeout_s: float = 2.0) -> Sent:
    """Send what is due, the newest first, unless a collector runs: that one sends. What fails is told, never raised.

    Args:
        home: PHASE4_HOME.
        now: Tells the time in ms since the Unix epoch.
        url: Where notices are posted.
        secret_file: File of the key that signs them.
        timeout_s: For everything, looking up the host included. What is under way then is sent again by a collector.
    """
    from phase4.store.ticks import COLLECTOR

    until = clock.monotonic() + timeout_s
    came: list[Sent] = []

    def is_over() -> bool:
        return clock.monotonic() >= until

    def work() -> None:
        notifier = Notifier(home, now, url, secret_file, timeout_s=timeout_s, busy_ms=int(timeout_s * 1000))
        try:
            if notifier.store.lease(COLLECTOR, now()) is None:
                came.append(notifier.send_due(now(), newest_first=True, is_stopped=is_over))
            else:
                came.append(Sent())
        except Phase4Error as error:
            came.append(Sent(problem=str(error)))
        finally:
            notifier.close()

    # a thread, since nothing else ends a resolver of names that waits
    thread = threading.Thread(target=work, name="phase4-notice", daemon=True)
    thread.start()
    thread.join(timeout_s)
    return came[0] if came else Sent(waiting=1, problem=f"no answer within {timeout_s:g} s")


def signature(secret: bytes, timestamp: int, body: bytes) -> str:
    """Return the value of Phase4-Signature: the receiver computes it from the same three, and compares.

    Args:
        secret: The key.
        timestamp: Value of Phase4-Timestamp, seconds since the Unix epoch: an old notice cannot be replayed later.
        body: As it is sent.

    >>> signature(b"key", 1, b"{}")[:11]
    'v1=1ba6b817'
    """
    return "v1=" + hmac.digest(secret, b"%d." % timestamp + body, "sha256").hex()


def _headers(notice: Notice, body: bytes, secret: bytes | None, now_ms: int) -> dict[str, str]:
    timestamp = now_ms // 1000
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "phase4",
        "Connection": "close",
        "Phase4-Delivery": notice.delivery,
        "Phase4-Timestamp": str(timestamp),
    }
    if secret is not None:
        headers["Phase4-Signature"] = signature(secret, timestamp, body)
    return headers


def _told(error: OSError) -> str:
    """Return why nobody was reached; no text of ours has the URL in it, which may be a secret itself."""
    return f"nobody was reached: {error.strerror or type(error).__name__}"


def _chance() -> float:
    # no stream of a seed: jitter is part of no result, and numpy would take longer to load than the send
    return int.from_bytes(new_key(4), "big") / 2**32
