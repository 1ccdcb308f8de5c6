"""Every setting that the program claims to read changes what a command does; the others stand in the pending list."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from phase4.clock import SystemClock
from phase4.config.settings import PENDING_READERS, SETTINGS
from phase4.durations import DAY_MS
from phase4.flags.definition import FlagDefinition, FlagType
from phase4.monitor.notifier import signature
from phase4.store.control import ControlStore
from phase4.store.segments import Segments
from tests.unit.monitor.receiver import Receiver
from tests.unit.store.event_home import rows

PROGRAM = [sys.executable, "-c", "from phase4.cli.main import entry; entry()"]
FLAG = "truth-based-validation"
INIT = ["init", "--environment", "test"]
PLAN = '[guardrails.validation_failures]\nrole = "guard"\n'


def run(home, *words, **settings):
    """Run a command of its own process; return (exit status, JSON)."""
    environment = {"PATH": os.environ["PATH"], "PHASE4_HOME": str(home), **settings}
    done = subprocess.run([*PROGRAM, *words, "--json"], env=environment, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout)


def flag_after_init(name):
    def seen(tmp_path, value):
        run(tmp_path / value, *INIT, **{name: value})
        flags = run(tmp_path / value, "flags", "list")[1]["data"]["flags"]
        return {flag["flag_key"]: (flag["enabled"], flag["percentage"]) for flag in flags}

    return seen


def plan_made(name, *, guardrails=None, measures=None):
    def seen(tmp_path, value):
        home = tmp_path / f"home-{value}"
        run(home, *INIT)
        words = ["rollout", "create", FLAG]
        if guardrails or measures:
            file = tmp_path / "plan.toml"
            stages = 'schema = 1\nstages = [{ percentage = 5, max_duration = "4d" }]\n'
            told = f"measures = {json.dumps(measures or [])}\n"
            file.write_text(stages + told + (guardrails or ""), encoding="utf-8")
            words += ["--file", str(file)]
        return run(home, *words, **{name: value})[1]["data"]["digest"]

    return seen


def exit_of(name, *words, before=()):
    def seen(tmp_path, value):
        home = tmp_path / f"home-{value}"
        run(home, *INIT)
        for command in before:
            run(home, *command)
        return run(home, *words, **{name: value})[0]

    return seen


def home_used(tmp_path, value):
    run(tmp_path / value, *INIT)
    return (tmp_path / value / "control.db").exists(), (tmp_path / "b" / "control.db").exists()


def environment_shown(tmp_path, value):
    run(tmp_path / "home", *INIT)
    return run(tmp_path / "home", "config", "show", PHASE4_ENVIRONMENT=value)[1]["data"]["settings"]


def audit_leaves(tmp_path, value):
    import sqlite3

    run(tmp_path / value, *INIT, AUDIT_LOGGING_ENABLED=value)
    run(tmp_path / value, "flags", "enable", FLAG)
    connection = sqlite3.connect(tmp_path / value / "control.db")
    (count,) = connection.execute("SELECT count(*) FROM audit").fetchone()
    connection.close()
    return count > 0


def stale_flags(tmp_path, value):
    long_ago = SystemClock().now() - 10 * DAY_MS
    home = tmp_path / f"home-{value}"
    store = ControlStore.create(str(home), lambda: long_ago)
    definition = FlagDefinition(
        key="old",
        salt="old",
        type=FlagType.BOOLEAN,
        enabled=False,
        variants={"on": True, "off": False},
        off_variant="off",
        default_variant="off",
    )
    document = definition.to_json()

    def work(change):
        change.add_flag("old", document=document, enabled=False, percentage=0.0)
        return {}

    store.execute("make", {}, work, actor="test", request_id="make")
    store.close()
    return run(home, "flags", "list", "--stale", STALE_FLAG_DAYS=value)[1]["data"]["stale"]


def tick_length(tmp_path, value):
    import sqlite3

    home = tmp_path / f"home-{value}"
    run(home, *INIT)
    run(home, "monitor", "run", "--once", MONITORING_INTERVAL_MS=value)
    connection = sqlite3.connect(home / "control.db")
    found = connection.execute("SELECT watermark_ms - from_ms FROM tick").fetchall()
    connection.close()
    return found


def coverage_target(tmp_path, value):
    home = tmp_path / f"home-{value}"
    run(home, *INIT)
    return run(home, "monitor", "report", MONITORING_COVERAGE_TARGET=value)[1]["data"]["criteria"][3]["name"]


def alert_of_usage(name, rule):
    """Let a collector run for some ticks, and say whether its own usage raised an alert."""

    def seen(tmp_path, value):
        home = tmp_path / f"home-{value}"
        run(home, *INIT)
        environment = {"PATH": os.environ["PATH"], "PHASE4_HOME": str(home), name: value}
        environment["MONITORING_INTERVAL_MS"] = "500"
        with subprocess.Popen([*PROGRAM, "monitor", "run"], env=environment, stdout=subprocess.DEVNULL) as process:
            time.sleep(3.5)
            process.send_signal(signal.SIGTERM)
        return [alert["rule"] for alert in run(home, "alerts", "list")[1]["data"]["alerts"] if alert["rule"] == rule]

    return seen


def kept_of_an_old_day(name, **others):
    """Let a collector look after a home with events of ten days ago, and say which tables are left of that day."""

    def seen(tmp_path, value):
        import sqlite3

        import duckdb

        home = tmp_path / f"home-{value}"
        run(home, *INIT)
        now_ms = SystemClock().now()
        store = ControlStore(str(home), lambda: now_ms)
        files = Segments(str(home), store, lambda: None)
        files.add(rows([now_ms - 10 * DAY_MS + offset for offset in range(100)]), 1, 0, 100)
        store.execute("source", {}, add_source, actor="test", request_id="source")
        files.flush(now_ms)
        files.compact(now_ms, 60.0)
        store.close()
        run(home, "monitor", "run", "--once", **{name: value}, **others)
        connection = sqlite3.connect(home / "control.db")
        paths = connection.execute("SELECT path FROM segment WHERE retired_version IS NULL").fetchall()
        connection.close()
        tables = []
        for (path,) in paths:
            with duckdb.connect(str(home / path), read_only=True) as day:
                tables += sorted(row[0] for row in day.execute("SELECT table_name FROM duckdb_tables()").fetchall())
        return tables

    return seen


def receiver_told(tmp_path, value):
    """Switch everything off in an emergency, and say whether the receiver was told."""
    home = tmp_path / f"home-{value}"
    run(home, *INIT)
    with Receiver() as receiver:
        run(home, "emergency", "disable", "fire", **({"ALERT_WEBHOOK_URL": receiver.url} if value == "set" else {}))
        return len(receiver.requests)


def signature_sent(tmp_path, value):
    """Return the signature of a notice whose secret is what the setting's file has."""
    home = tmp_path / f"home-{value}"
    secret = tmp_path / value
    secret.write_text(value, encoding="utf-8")
    secret.chmod(0o600)
    run(home, *INIT)
    with Receiver() as receiver:
        secrets = {"ALERT_WEBHOOK_URL": receiver.url, "ALERT_WEBHOOK_SECRET_FILE": str(secret)}
        run(home, "emergency", "disable", "fire", **secrets)
        ((_, headers, body),) = receiver.requests
    return headers["Phase4-Signature"] == signature(b"first secret", int(headers["Phase4-Timestamp"]), body)


def add_source(change):
    change.write("INSERT INTO source(id, uuid, kind, host, started_ms) VALUES (1, x'01', 'process', 'h', 1)")
    return {}


STARTED = (("rollout", "create", FLAG),)
READERS = {
    "PHASE4_HOME": (home_used, "a", "b"),
    "PHASE4_ENVIRONMENT": (environment_shown, "test", "staging"),
    "TRUTH_VALIDATION_ENABLED": (flag_after_init("TRUTH_VALIDATION_ENABLED"), "false", "true"),
    "BYZANTINE_CONSENSUS_ENABLED": (flag_after_init("BYZANTINE_CONSENSUS_ENABLED"), "false", "true"),
    "HOOK_INTERCEPTION_ENABLED": (flag_after_init("HOOK_INTERCEPTION_ENABLED"), "false", "true"),
    "TRUTH_ROLLOUT_PERCENTAGE": (flag_after_init("TRUTH_ROLLOUT_PERCENTAGE"), "10", "20"),
    "BYZANTINE_ROLLOUT_PERCENTAGE": (flag_after_init("BYZANTINE_ROLLOUT_PERCENTAGE"), "10", "20"),
    "HOOK_ROLLOUT_PERCENTAGE": (flag_after_init("HOOK_ROLLOUT_PERCENTAGE"), "10", "20"),
    "MONITORING_ENABLED": (
        exit_of("MONITORING_ENABLED", "rollout", "start", f"{FLAG}.1", before=STARTED),
        "true",
        "false",
    ),
    "MONITORING_INTERVAL_MS": (tick_length, "1000", "2000"),
    "MONITORING_COVERAGE_TARGET": (coverage_target, "0.99", "0.5"),
    "MEMORY_THRESHOLD_MB": (alert_of_usage("MEMORY_THRESHOLD_MB", "memory"), "1", "100000"),
    "CPU_THRESHOLD_PERCENT": (alert_of_usage("CPU_THRESHOLD_PERCENT", "cpu"), "0", "100"),
    "RESPONSE_TIME_THRESHOLD_MS": (alert_of_usage("RESPONSE_TIME_THRESHOLD_MS", "response"), "0", "100000"),
    "ROLLOUT_AUTO_PROGRESS": (plan_made("ROLLOUT_AUTO_PROGRESS"), "true", "false"),
    "ROLLOUT_ERROR_THRESHOLD": (plan_made("ROLLOUT_ERROR_THRESHOLD"), "0.1", "0.05"),
    "ROLLOUT_SUCCESS_THRESHOLD": (plan_made("ROLLOUT_SUCCESS_THRESHOLD"), "0.6", "0.7"),
    "EMERGENCY_DISABLE_THRESHOLD": (plan_made("EMERGENCY_DISABLE_THRESHOLD"), "0.2", "0.3"),
    "VALIDATION_FAILURE_THRESHOLD": (plan_made("VALIDATION_FAILURE_THRESHOLD", guardrails=PLAN), "0.05", "0.1"),
    "PERFORMANCE_MONITORING": (plan_made("PERFORMANCE_MONITORING", measures=["latency"]), "true", "false"),
    "PERFORMANCE_IMPACT_THRESHOLD": (plan_made("PERFORMANCE_IMPACT_THRESHOLD", measures=["latency"]), "0.05", "0.1"),
    "ROLLOUT_MAX_PERCENTAGE": (exit_of("ROLLOUT_MAX_PERCENTAGE", "flags", "rollout", FLAG, "50"), "100", "30"),
    "ROLLOUT_APPROVALS_REQUIRED": (plan_made("ROLLOUT_APPROVALS_REQUIRED"), "1", "2"),
    "ALERT_WEBHOOK_URL": (receiver_told, "set", "not set"),
    "ALERT_WEBHOOK_SECRET_FILE": (signature_sent, "first secret", "second secret"),
    "RETENTION_RAW_DAYS": (kept_of_an_old_day("RETENTION_RAW_DAYS"), "5", "100"),
    "RETENTION_R10_DAYS": (kept_of_an_old_day("RETENTION_R10_DAYS", RETENTION_RAW_DAYS="1"), "5", "100"),
    "RETENTION_H1_DAYS": (
        kept_of_an_old_day("RETENTION_H1_DAYS", RETENTION_RAW_DAYS="1", RETENTION_R10_DAYS="1"),
        "5",
        "100",
    ),
    "STALE_FLAG_DAYS": (stale_flags, "5", "100"),
    "AUDIT_LOGGING_ENABLED": (audit_leaves, "true", "false"),
}


def test_every_setting_has_a_reader_here_or_waits_for_its_part():
    assert set(READERS) | set(PENDING_READERS) == set(SETTINGS)
    assert set(READERS).isdisjoint(PENDING_READERS)


@pytest.mark.parametrize("name", READERS)
def test_a_second_value_makes_its_reader_behave_differently(name, tmp_path):
    seen, first, second = READERS[name]
    assert seen(tmp_path, first) != seen(tmp_path, second)
