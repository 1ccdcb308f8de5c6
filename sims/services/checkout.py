"""A small real service: a shop's checkout, behind the flag `new-checkout`.

    python sims/services/checkout.py DATABASE [PORT]

`GET /checkout/<user>` looks the user's cart up in SQLite and answers its total. The old path reads the table `carts`,
the new one `carts_v2`, which is the same data. Each has an index. Drop the index of `carts_v2`, as a migration that
went wrong would, and the new path reads the whole table for every request: it misses its deadline, and only users whom
the flag is on for notice. Nothing is simulated: the flag is asked through phase4's public API, and time is time.

PHASE4_HOME names the home. The port is printed once it listens; 0 takes a free one.
"""

from __future__ import annotations

import sqlite3
import sys
import threading
import time

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from phase4 import get_phase4_system

FLAG = "new-checkout"
DEADLINE_S = 0.025
"""How long a checkout may take."""
STEPS = 2_000
"""Instructions of SQLite's machine between two looks at the clock."""
_local = threading.local()


def connection(path: str) -> sqlite3.Connection:
    """Return this thread's connection; it gives up at its deadline."""
    if not hasattr(_local, "connection"):
        _local.connection = sqlite3.connect(path, timeout=1.0)
        _local.connection.set_progress_handler(lambda: time.monotonic() > _local.until, STEPS)
    return _local.connection  # type: ignore[no-any-return]


def total(path: str, user: str, *, is_new: bool) -> int:
    """Return the total of a user's cart in cents.

    Raises:
        TimeoutError: the deadline passed.
    """
    _local.until = time.monotonic() + DEADLINE_S
    table = "carts_v2" if is_new else "carts"
    try:
        sql = f"SELECT sum(cents) FROM {table} WHERE user = ?"
        (cents,) = connection(path).execute(sql, (f"user-{int(user.removeprefix('user-')) % 10_000}",)).fetchone()
    except sqlite3.OperationalError as error:
        if "interrupted" in str(error):
            raise TimeoutError(f"checkout took longer than {DEADLINE_S * 1000:g} ms") from error
        raise
    return int(cents)


def application(path: str) -> Starlette:
    """Return the service over a database."""
    system = get_phase4_system()

    async def checkout(request: Request) -> JSONResponse:
        user = request.path_params["user"]
        try:
            async with system.measure(FLAG, user) as m:
                cents = await run_in_threadpool(total, path, user, is_new=m.enabled)
        except TimeoutError as error:
            return JSONResponse({"error": str(error)}, status_code=504)
        return JSONResponse({"user": user, "cents": cents, "new": m.enabled})

    return Starlette(routes=[Route("/checkout/{user}", checkout)])


class Announcing(uvicorn.Server):
    """A server that prints its port once it listens."""

    async def startup(self, sockets: list[object] | None = None) -> None:
        """Listen, and say where."""
        await super().startup(sockets)  # type: ignore[arg-type]
        print(self.servers[0].sockets[0].getsockname()[1], flush=True)


def main() -> None:
    """Serve until a signal."""
    path, port = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0
    config = uvicorn.Config(application(path), host="127.0.0.1", port=port, log_level="warning", access_log=False)
    Announcing(config).run()


if __name__ == "__main__":
    main()
