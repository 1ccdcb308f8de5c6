"""A canary: what must not be on disk is put in wherever it may go, and is then looked for in every file of the home."""

import contextlib
import io
import os
from unittest import mock

import pytest

from phase4.cli.main import main
from phase4.clock import ManualClock, SystemClock
from phase4.monitor.collector import Collector
from phase4.monitor.settings import MonitorSettings
from phase4.store.control import ControlStore
from phase4.store.spool import SpoolWriter
from phase4.system import Phase4System
from tests.contract.program import FLAG, PLAN

USERS = tuple(f"canary-{number}-f3b1c9e7" for number in range(200))
SECRET = b"whsec-canary-5d0c2e8a91"
TICK = 1_000


def command(line, *, status=0, **variables):
    """Run a command line in this process; return what it printed."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    with mock.patch.dict(os.environ, variables), contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        found = main(line.split())
    text = out.buffer.getvalue().decode()
    assert found == status, (line, text)
    return text


def use(system, error=None):
    """Let every user meet the flag, in all the ways that leave an event."""
    for number, name in enumerate(USERS):
        with contextlib.suppress(ValueError), system.measure(FLAG, name) as measurement:
            if number % 7 == 0:
                measurement.invalid()
            if error is not None and number % 5 == 0:
                raise error
        system.record(FLAG, name, outcome="timeout", latency_ms=3.0)
        context = {"plan": "gold", "mail": f"{name}@example.org"}
        system.measure(FLAG, name, context).record(2, 1.0)
        system.is_feature_enabled(FLAG, name)
        system.evaluate(FLAG, {"targetingKey": name})


def break_some(home, flag):
    """Write events that are set aside, of units that the application hashed."""
    writer = SpoolWriter(str(home), SystemClock().now)
    for arm in (0, 9):
        assert writer.emit(SystemClock().now(), 2**63 + arm, 1, 1.0, flag.id, 0, 1, arm, 4, 2)
    writer.close()


@pytest.fixture
def usual_umask():
    """What a person's shell has, whatever this one has."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def used(home, tmp_path, usual_umask):
    """A home on which everything has run that may write, and the answers that were given."""
    secret = tmp_path / "webhook-secret"
    secret.write_bytes(SECRET)
    secret.chmod(0o600)
    settings = {
        "ALERT_WEBHOOK_SECRET_FILE": str(secret),
        "ALERT_WEBHOOK_URL": "http://127.0.0.1:9/alerts",
        "MONITORING_INTERVAL_MS": str(TICK),
        "PHASE4_HOME": str(home),
    }
    said = [command(line, **settings) for line in ("init --environment test", f"rollout create {FLAG}")]
    said.append(command(f"rollout start {PLAN}", **settings))
    clock = ManualClock(SystemClock().now())
    store = ControlStore(str(home), clock.now)
    collector = Collector(
        store,
        MonitorSettings(interval_ms=TICK, webhook_url="http://127.0.0.1:9/", webhook_secret_file=str(secret)),
        holder="canary",
    )
    system = Phase4System(str(home))
    rounds = []
    for error in (None, ValueError(USERS[0]), None):
        use(system, error)
        break_some(home, store.flag(FLAG))
        clock.advance(max(2 * TICK, SystemClock().now() + 2 * TICK - clock.now()))
        rounds.append(collector.step())
    assert sum(each.rows for each in rounds) > 3 * len(USERS) // 20
    assert sum(each.set_aside for each in rounds) == 6
    said += [
        command(f"flags check {FLAG} --user {USERS[0]} --explain", **settings),
        command(f"flags disable {FLAG} --reason canary", **settings),
        command("status", **settings),
        command("monitor run --once", **settings),
        command("monitor report", **settings),
        command("alerts list", **settings),
        command("store check", **settings),
    ]
    yield home, store, said
    collector.close()
    system.close()
    store.close()


def holds(home, needle):
    """Return the files below a home, but for the keys, that hold some bytes or their hex digits."""
    found = []
    for path in sorted(home.rglob("*")):
        name = path.relative_to(home)
        if path.is_file() and name.parts[0] != "keys" and name.name != "reserve.bin":
            raw = path.read_bytes()
            if needle in raw or needle.hex().encode() in raw:
                found.append(str(name))
    return found


def test_no_user_no_secret_and_no_key_is_in_a_file_of_the_home(used):
    home, store, _ = used
    key = (home / "keys" / "unit.key").read_bytes()
    assert len(key) == 32
    assert store.rows("SELECT count(*) FROM observation WHERE ok + error + timeout + invalid > 0")[0][0] > 0
    assert list((home / "quarantine").iterdir()) != []
    assert holds(home, b"canary-") == []
    assert holds(home, SECRET) == []
    assert holds(home, key) == []
    assert holds(home, key[:16]) == []


def test_the_canary_would_be_found(used):
    """The search itself is held against what is known to be there."""
    home, _, _ = used
    assert "control.db" in {name.removesuffix("-wal") for name in holds(home, FLAG.encode())}
    (home / "tmp" / "leak").write_text(f"x {USERS[0]} y")
    assert holds(home, b"canary-") == ["tmp/leak"]


def test_no_answer_tells_the_secret_or_the_key(used):
    home, _, said = used
    key = (home / "keys" / "unit.key").read_bytes()
    for text in said:
        assert SECRET.decode() not in text
        assert key.hex() not in text


def test_nothing_of_the_home_is_for_others_than_its_owner(used):
    home, _, _ = used
    open_ones = [str(path) for path in home.rglob("*") if path.lstat().st_mode & 0o077]
    assert open_ones == []
