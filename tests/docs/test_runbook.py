"""Every command of docs/runbook.md does what it says, on a home in the state that its heading describes."""

import re
import subprocess
from pathlib import Path

import pytest

from phase4.analysis.verdict import Verdict
from phase4.cli.main import build_parser
from phase4.clock import SystemClock
from phase4.durations import DAY_MS
from tests.contract.driving import Lab
from tests.contract.program import LIMIT_S, PROGRAM, environment

PAGE = (Path(__file__).parents[2] / "docs" / "runbook.md").read_text(encoding="utf-8")
FLAG = "truth-based-validation"
PLAN = f"{FLAG}.1"
CREATED = ("init", f"rollout create {FLAG}")
STARTED = (*CREATED, f"rollout start {PLAN}")


def out_of_time(lab):
    lab.done(*STARTED)
    lab.tick(PLAN, verdict=Verdict.INCONCLUSIVE, after_ms=4 * DAY_MS)


def asking(lab):
    lab.done("init")
    lab.asks_approval(FLAG)


def broken(lab):
    lab.done(*STARTED, f"store backup {lab.home.parent}/backups/monday")
    (lab.home / "control.db").write_bytes(b"damaged")


def stopped_while_broken(lab):
    broken(lab)
    lab.done("emergency disable bad")


PROGRESSING = rf"{FLAG}\.\d +PROGRESSING"
CASES = {
    "It will not initialise": ((), "config show --origin", r"PHASE4_ENVIRONMENT +production +saved by init"),
    "PENDING: nobody has started it": (CREATED, "rollout status", PROGRESSING),
    "PENDING: the flag is held since an emergency": (
        (*CREATED, "emergency disable bad"),
        "rollout status",
        PROGRESSING,
    ),
    "PENDING: monitoring is off": (
        ("init --set MONITORING_ENABLED=false", f"rollout create {FLAG}"),
        "rollout status",
        PROGRESSING,
    ),
    "PROGRESSING: no collector runs": (STARTED, "status", "no collector is running"),
    "PROGRESSING: data or time is missing": (STARTED, "rollout status", rf"{FLAG}\.2 +PROGRESSING +stage 1/3"),
    "AWAITING_APPROVAL": (asking, "rollout status --json", '"approvals": 1, "needed": 1'),
    "PAUSED: operator": ((*STARTED, f"rollout pause {PLAN}"), "rollout status", PROGRESSING),
    "PAUSED: max_duration": (out_of_time, "rollout status", PROGRESSING),
    "PAUSED: flag_disabled": ((*STARTED, f"flags disable {FLAG}"), "rollout status", PROGRESSING),
    "PAUSED: flag_disabled by an emergency": ((*STARTED, "emergency disable bad"), "rollout status", PROGRESSING),
    "PAUSED: lowered": ((*STARTED, f"flags rollout {FLAG} 2"), "rollout status", rf"{PROGRESSING} +stage 1/3 \(5 %\)"),
    "ROLLED_BACK": ((*STARTED, f"rollout rollback {PLAN} bad"), "rollout status", rf"{FLAG}\.2 +PROGRESSING"),
    "Errors are high": (STARTED, "rollout status", rf"{FLAG}\.2 +PROGRESSING"),
    "An emergency while the database is broken": (broken, "flags list", r"(?s)(held \(emergency\).*){3}"),
    "Without a backup": (stopped_while_broken, "flags list", r"(?s)(held \(emergency\).*){3}"),
    "Points of intervention": (("init",), "flags list", r"(?s)(held \(emergency\).*){3}"),
}
"""For each heading: what was done before, and what shows afterwards that its commands ended it."""


def blocks():
    """Return {heading: lines of its fenced blocks}."""
    found = {}
    for title, text in re.findall(r"^###? ([^\n]*)\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL):
        lines = [line for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
        if lines:
            found[title] = lines
    return found


def expected(line):
    """Return the exit status that a line's comment names, 0 without one."""
    match = re.search(r"  +# exit (\d+): \S", line)
    return int(match[1]) if match else 0


def ran(home, line):
    env = environment(home)
    env["PATH"] = f"{PROGRAM.parent}:{env['PATH']}"
    done = subprocess.run(
        ["bash", "-c", line], check=False, capture_output=True, encoding="utf-8", env=env, timeout=LIMIT_S
    )
    return done.returncode, done.stdout + done.stderr


def test_every_heading_with_commands_has_its_case():
    assert list(blocks()) == list(CASES)


@pytest.mark.parametrize("heading", CASES)
def test_the_commands_below_a_heading_end_what_it_describes(tmp_path, heading):
    before, shown_by, pattern = CASES[heading]
    lab = Lab(tmp_path / "home", SystemClock().now() - 9 * DAY_MS)
    if callable(before):
        before(lab)
    else:
        lab.done(*before)
    for line in blocks()[heading]:
        status, printed = ran(lab.home, line)
        assert status == expected(line), f"{line}\n{printed}"
        quoted = re.search(r"# exit \d: ([A-Z]+_[A-Z]+)", line)
        assert quoted is None or ran(lab.home, f"{line.partition('#')[0]} --json")[1].find(f'"{quoted[1]}"') > 0
    assert re.search(pattern, ran(lab.home, f"phase4 {shown_by}")[1])


def test_every_command_of_the_tables_is_one():
    lines = [line for line in PAGE.splitlines() if line.startswith("|")]
    commands = [text for line in lines for text in re.findall(r"`phase4 ([^`]*)`", line)]
    assert len(commands) > 30
    for command in commands:
        words = [
            {"PERCENTAGE": "5", "ID": "1", "NAME=": "STALE_FLAG_DAYS="}.get(word, word) for word in command.split()
        ]
        assert build_parser().parse_args(words)


def test_every_pause_and_every_phase_has_its_row():
    rows = re.findall(r"^\| ([A-Z_]+)(?: \(([a-z_]+)\))?[^|]* \|", PAGE.split("## A rollout is stuck")[1], re.MULTILINE)
    phases = {phase for phase, _ in rows} | {"COMPLETED", "CANCELLED"}
    assert phases >= {"PENDING", "PROGRESSING", "AWAITING_APPROVAL", "PAUSED", "ROLLED_BACK"}
    assert {reason for phase, reason in rows if phase == "PAUSED"} == {
        "operator",
        "max_duration",
        "flag_disabled",
        "lowered",
    }
