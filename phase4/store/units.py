"""User counts, exact: which user was seen in which entry and arm, and what it had there.

One insert-only table in a file that is private to the collector; a user's state is the OR of its bits. It is derived
from the events: a tick that was not recorded is taken back at the start and counted again. The four counts of each
outcome set are those that `phase4.analysis` judges users by: `risk` of users without an event yet, `first` of users
with their first outcome.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import duckdb

from phase4.errors import StoreUnavailable
from phase4.store import tick_users
from phase4.store.intake import Rows

NAME = os.path.join("collector", "units.duckdb")
MEMORY = "512MB"
SEEN, HAD_OUTCOME, HAD_VALIDATED, HAD_ERROR, HAD_INVALID, HAD_TWO, HAD_THREE = 1, 2, 4, 8, 16, 32, 64
"""What a user had; HAD_TWO and HAD_THREE: so many errors."""
Key = tuple[int, int, int]
"""(flag, entry, arm)."""
Thresholds = Mapping[Key, Mapping[str, float]]
"""(flag, entry, arm) -> guardrail -> limit in ms."""
COUNTS = (
    "units",
    "crossed",
    *(f"{name}_{kind}_{of}" for name in ("error", "bad", "invalid") for kind in ("risk", "first") for of in "nx"),
    "error_third_x",
)
"""The user columns of an observation, in the order of the query below."""

_TABLE = (
    "CREATE TABLE IF NOT EXISTS unit(flag USMALLINT, entry USMALLINT, arm UTINYINT, unit UBIGINT, bits UTINYINT,"
    " tick INTEGER)"
)
_USERS = """
CREATE OR REPLACE TEMP TABLE u AS
SELECT flag, entry, arm, unit, n, nv, ne, nullif(e, 0) AS e, nullif(b, 0) AS b, nullif(i, 0) AS i, first_ms, "both"
FROM tick_users
"""
_KNOWN = """
CREATE OR REPLACE TEMP TABLE k AS
SELECT flag, entry, unit, arm, bit_or(bits) AS bits FROM unit SEMI JOIN u USING (flag, entry, unit) GROUP BY ALL
"""
_CROSSED = """
CREATE OR REPLACE TEMP TABLE x AS
SELECT flag, entry, unit FROM u WHERE "both"
UNION SELECT flag, entry, unit FROM k GROUP BY ALL HAVING count(*) > 1
UNION SELECT u.flag, u.entry, u.unit FROM u JOIN k USING (flag, entry, unit) WHERE u.arm <> k.arm
"""
_VIEW = """
CREATE OR REPLACE TEMP TABLE v AS
SELECT u.*, coalesce(k.bits, 0) AS bits, (x.unit IS NOT NULL) AS crossed,
  (coalesce(k.bits, 0) & 8 > 0)::INT + (coalesce(k.bits, 0) & 32 > 0)::INT + (coalesce(k.bits, 0) & 64 > 0)::INT
    + ne AS errors,
  (1 | 2 * (n > 0)::INT | 4 * (nv > 0)::INT | 8 * (e IS NOT NULL)::INT | 16 * (i IS NOT NULL)::INT
    | 32 * (errors >= 2)::INT | 64 * (errors >= 3)::INT)::UTINYINT AS now
FROM u LEFT JOIN k USING (flag, entry, arm, unit) LEFT JOIN x USING (flag, entry, unit)
"""
_KEEP = "INSERT INTO unit SELECT flag, entry, arm, unit, now, $tick FROM v WHERE now & ~bits <> 0"
_COUNT = """
SELECT flag, entry, arm, count(*) FILTER (bits & 1 = 0), count(*) FILTER (crossed),
  coalesce(sum(coalesce(e, n)) FILTER (NOT crossed AND bits & 8 = 0), 0),
  count(*) FILTER (NOT crossed AND bits & 8 = 0 AND e IS NOT NULL),
  count(*) FILTER (NOT crossed AND bits & 2 = 0 AND n > 0), count(*) FILTER (NOT crossed AND bits & 2 = 0 AND e = 1),
  coalesce(sum(coalesce(b, n)) FILTER (NOT crossed AND bits & 24 = 0), 0),
  count(*) FILTER (NOT crossed AND bits & 24 = 0 AND b IS NOT NULL),
  count(*) FILTER (NOT crossed AND bits & 2 = 0 AND n > 0), count(*) FILTER (NOT crossed AND bits & 2 = 0 AND b = 1),
  coalesce(sum(coalesce(i, nv)) FILTER (NOT crossed AND bits & 16 = 0), 0),
  count(*) FILTER (NOT crossed AND bits & 16 = 0 AND i IS NOT NULL),
  count(*) FILTER (NOT crossed AND bits & 4 = 0 AND nv > 0), count(*) FILTER (NOT crossed AND bits & 4 = 0 AND i = 1),
  count(*) FILTER (NOT crossed AND bits & 64 = 0 AND errors >= 3)
FROM v GROUP BY ALL ORDER BY ALL
"""
_LIMITS = """
CREATE OR REPLACE TEMP TABLE limits(name VARCHAR, flag USMALLINT, entry USMALLINT, arm UTINYINT, limit_ms DOUBLE)
"""
_FIRST_ABOVE = """
SELECT name, flag, entry, arm, count(*) FILTER (NOT crossed AND bits & 2 = 0 AND n > 0 AND first_ms > limit_ms)
FROM v JOIN limits USING (flag, entry, arm) GROUP BY ALL
"""
_DUE = """
SELECT count(*), count(*) FILTER (bits & 2 <> 0) FROM (
  SELECT flag, entry, arm, unit, bit_or(bits) AS bits, min(tick) AS tick FROM unit
  SEMI JOIN (SELECT flag, entry, arm, unit FROM unit WHERE tick BETWEEN $low AND $high) AS s
  USING (flag, entry, arm, unit) GROUP BY ALL HAVING min(tick) BETWEEN $low AND $high)
"""


class Due(NamedTuple):
    """Users whose outcome should have come by now."""

    due: int
    received: int


class Units:
    """The collector's own file of users."""

    def __init__(self, home: str, *, last_tick: int) -> None:
        """Open the file, and take back what belongs to ticks that were not recorded.

        Args:
            home: PHASE4_HOME.
            last_tick: The newest recorded tick, -1 for none.

        Raises:
            StoreUnavailable: another process holds it, or it is damaged.
        """
        config: dict[str, Any] = {
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "memory_limit": MEMORY,
            "threads": 1,
            "temp_directory": os.path.join(home, "tmp"),
        }
        path = os.path.join(home, NAME)
        try:
            with _for_the_owner():
                self._connection = duckdb.connect(path, config=config)
                self._connection.execute(_TABLE)
                self._connection.execute("DELETE FROM unit WHERE tick > ?", [last_tick])
        except duckdb.Error as error:
            raise StoreUnavailable(f"{path} cannot be used: {str(error).splitlines()[0]}") from error
        os.chmod(path, 0o600)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def count(self, tick: int, rows: Rows) -> dict[Key, dict[str, int]]:
        """Count the users of one tick, and remember them.

        Args:
            tick: Its number; it grows.
            rows: The tick's events.

        Returns:
            For each (flag, entry, arm) with rows the user columns of its observation.
        """
        run = self._connection.execute
        self._connection.register("tick_users", tick_users.of(rows))
        run("BEGIN")
        try:
            for statement in (_USERS, _KNOWN, _CROSSED, _VIEW):
                run(statement)
            run(_KEEP, {"tick": tick})
            with _for_the_owner():
                run("COMMIT")
        except BaseException:
            run("ROLLBACK")
            raise
        finally:
            self._connection.unregister("tick_users")
        found = run(_COUNT).fetchall()
        return {(row[0], row[1], row[2]): dict(zip(COUNTS, map(int, row[3:]), strict=True)) for row in found}

    def first_above(self, thresholds: Thresholds) -> dict[tuple[str, Key], int]:
        """Return how many users' first outcomes, of the tick that was counted last, are above each limit.

        Args:
            thresholds: For each (flag, entry, arm) the limits in ms, by guardrail.

        Returns:
            By (guardrail, (flag, entry, arm)); what is not there is 0.
        """
        if not thresholds:
            return {}
        run = self._connection
        run.execute(_LIMITS)
        rows = [(name, *key, limit) for key, limits in thresholds.items() for name, limit in limits.items()]
        run.executemany("INSERT INTO limits VALUES (?, ?, ?, ?, ?)", rows)
        found = run.execute(_FIRST_ABOVE).fetchall()
        return {(name, (flag, entry, arm)): int(count) for name, flag, entry, arm, count in found}

    def due(self, low: int, high: int) -> Due:
        """Return how many users were seen first in ticks `low` to `high`, and how many of them had an outcome since."""
        if high < low:
            return Due(0, 0)
        return Due(*self._connection.execute(_DUE, {"low": low, "high": high}).fetchall()[0])

    def forget(self, flag: int, before_entry: int) -> None:
        """Forget the users of a flag's entries before `before_entry`: their plans are over."""
        self._connection.execute("DELETE FROM unit WHERE flag = ? AND entry < ? AND entry > 0", [flag, before_entry])


@contextlib.contextmanager
def _for_the_owner() -> Iterator[None]:
    """Let new files be for their owner alone: the log beside the database comes and goes with its changes."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)
