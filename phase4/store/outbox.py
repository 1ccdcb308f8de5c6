"""The outbox: notices of alerts that wait to be sent. A row is the whole state of its delivery, so it outlives anyone.

A notice is written in the transaction of its alert (`Change.notice`), and sent after COMMIT by whoever claims it. A
claim lasts `CLAIM_MS`: a sender that is killed meanwhile leaves a row that is due again. No audit leaf tells of this.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from phase4.digests import hexdigest
from phase4.durations import HOUR_MS
from phase4.ids import new_id
from phase4.store.control import Change, ControlStore, canonical

ACTOR = "notifier"
SENDS = 6
"""How often one notice is sent, at most."""
LIFE_MS = 24 * HOUR_MS
"""A notice that is older is no news: it is given up."""
CLAIM_MS = 15_000
"""How long a sender may take before its row is anybody's again: longer than a send and a busy database together."""
WAIT_MAX_MS = 5 * 60_000
"""The longest wait that a receiver may ask for."""
SET_BACK_MS = HOUR_MS
"""A row that is to wait for longer than this was written by a clock that has been set back since: it is due."""
RULE = "notice undeliverable"
STALE = "older than 24 h"
_UNKNOWN = "its sender ended before it had an answer"

_DUE = "done_ms IS NULL AND (next_ms <= ? OR next_ms > ?)"
_OVER = f"{_DUE} AND (sends >= ? OR created_ms <= ?)"
_MINE = "id = ? AND done_ms IS NULL AND sends = ? AND next_ms = ?"
# "it is over" must not come before "it began": the notices of an alert go one after the other
_IN_TURN = "NOT EXISTS (SELECT 1 FROM outbox e WHERE e.alert_id = o.alert_id AND e.id < o.id AND e.done_ms IS NULL)"


class Notice(NamedTuple):
    """A notice as the outbox has it."""

    id: int
    alert_id: int
    body: str
    """JSON, as it is sent."""
    created_ms: int
    sends: int
    """How often it was sent, with the present time once it is claimed."""
    next_ms: int
    """When it is due; until then the row is its claimer's, or waits."""

    @property
    def delivery(self) -> str:
        """The receiver's key against doubles: the same at every send, and of no other row in any home."""
        return f"{self.id}-{hexdigest(canonical([self.id, self.created_ms, self.body]).encode())[:16]}"


def first_due(store: ControlStore, now_ms: int, *, newest_first: bool = False) -> Notice | None:
    """Return the notice to be sent next, None if none is due.

    Raises:
        StoreUnavailable: the database cannot be read.
    """
    order = "DESC" if newest_first else "ASC"
    columns = ", ".join(Notice._fields)
    sql = f"SELECT {columns} FROM outbox o WHERE {_DUE} AND {_IN_TURN} ORDER BY id {order} LIMIT 1"
    rows = store.rows(sql, *_due_at(now_ms))
    return Notice(*rows[0]) if rows else None


def next_ms(store: ControlStore) -> int | None:
    """Return when the next notice is due, in ms since the Unix epoch; None if none waits."""
    due_ms = store.row("SELECT min(next_ms) FROM outbox WHERE done_ms IS NULL")[0]
    return None if due_ms is None else int(due_ms)


def claim(store: ControlStore, now_ms: int, *, newest_first: bool = False) -> Notice | None:
    """Take the notice to be sent next for this sender alone, and count the send; None if another was first.

    The send is counted before it is made: a sender that dies of it does not send for ever.

    Raises:
        StoreUnavailable: other writers held the database too long.
        WriteFailed: it cannot be written.
    """
    taken: list[Notice] = []

    def work(change: Change) -> None:
        found = first_due(store, now_ms, newest_first=newest_first)
        taken[:] = [] if found is None else [found._replace(sends=found.sends + 1, next_ms=change.now_ms + CLAIM_MS)]
        for notice in taken:
            change.write(
                "UPDATE outbox SET sends = ?, next_ms = ? WHERE id = ?", notice.sends, notice.next_ms, notice.id
            )

    _do(store, work)
    return taken[0] if taken else None


def delivered(store: ControlStore, notice: Notice) -> None:
    """Note that the receiver has a notice, whoever has the row by now."""
    sql = "UPDATE outbox SET done_ms = ?, failure = NULL WHERE id = ? AND done_ms IS NULL"
    _do(store, lambda change: change.write(sql, change.now_ms, notice.id))


def retry(store: ControlStore, notice: Notice, *, at_ms: int, failure: str) -> None:
    """Note that a claimed notice was sent in vain, and when it is sent again."""
    sql = f"UPDATE outbox SET next_ms = ?, failure = ? WHERE {_MINE}"
    _do(store, lambda change: change.write(sql, at_ms, failure, *_claim_of(notice)))


def give_up(store: ControlStore, notice: Notice, *, failure: str) -> None:
    """Note that a claimed notice is sent no more, and raise an alert that is itself not sent."""

    def work(change: Change) -> None:
        sql = f"UPDATE outbox SET done_ms = ?, failure = ? WHERE {_MINE}"
        if change.write(sql, change.now_ms, failure, *_claim_of(notice)).rowcount:
            _warn(change, f"a notice of alert {notice.alert_id} is undeliverable: {failure}")

    _do(store, work)


def give_up_old(store: ControlStore, now_ms: int) -> int:
    """Give up what is due and has no send left, or is older than `LIFE_MS`; return how many.

    What nobody ever tried to send raises no alert: no webhook was set, or nobody collected.
    """
    values = (*_due_at(now_ms), SENDS, now_ms - LIFE_MS)
    sql = f"SELECT coalesce(failure, ?) FROM outbox WHERE {_OVER} AND (sends > 0 OR failure IS NOT NULL) ORDER BY id"
    count = f"SELECT count(*) FROM outbox WHERE {_OVER}"
    if not store.row(count, *values)[0]:
        return 0  # nothing to do writes nothing
    given_up: list[int] = []

    def work(change: Change) -> None:
        tried = store.rows(sql, _UNKNOWN, *values)
        given_up[:] = store.row(count, *values)
        text = f"UPDATE outbox SET done_ms = ?, failure = coalesce(failure, iif(sends > 0, ?, ?)) WHERE {_OVER}"
        change.write(text, change.now_ms, _UNKNOWN, STALE, *values)
        if tried:
            _warn(change, f"{len(tried)} notices are undeliverable, the newest: {tried[-1][0]}")

    _do(store, work)
    return given_up[0]


def postpone(store: ControlStore, now_ms: int, *, until_ms: int, failure: str | None, warns: bool = False) -> None:
    """Let all that is due wait: the receiver cannot be reached, or asked for time. No send is counted.

    Args:
        store: The control store.
        now_ms: What is due then waits.
        until_ms: When it is due again.
        failure: Why; None leaves each row's own.
        warns: Whether an alert is raised: nobody has been reached for long.
    """

    def work(change: Change) -> None:
        sql = f"UPDATE outbox SET next_ms = ?, failure = coalesce(?, failure) WHERE {_DUE}"
        change.write(sql, until_ms, failure, *_due_at(now_ms))
        if warns and failure is not None:
            _warn(change, f"notices cannot be delivered, and are tried again: {failure}")

    _do(store, work)


def _claim_of(notice: Notice) -> tuple[int, int, int]:
    return notice.id, notice.sends, notice.next_ms


def _due_at(now_ms: int) -> tuple[int, int]:
    return now_ms, now_ms + SET_BACK_MS


def _warn(change: Change, text: str) -> None:
    # not sent: its own notice would be the next one that cannot be delivered
    change.alert("system_health", "high", text, rule=RULE, notifies=False)


def _do(store: ControlStore, work: Callable[[Change], object]) -> None:
    def done(change: Change) -> dict[str, Any]:
        work(change)
        return {}

    store.execute("notices", {}, done, actor=ACTOR, request_id=new_id())
