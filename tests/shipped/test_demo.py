"""`make demo`, as people run it: a real service, a real defect, an automatic rollback; and nothing is left running."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]


def demo(defect):
    environment = {"PATH": os.environ["PATH"], "DEFECT": defect}
    return subprocess.run(
        [sys.executable, "sims/demo.py"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def folder(answer):
    return Path(re.search(r"The report: (.*)/report\.html", answer.stdout)[1])


def report(answer):
    environment = {"PATH": os.environ["PATH"], "PHASE4_HOME": str(folder(answer) / "home")}
    words = [sys.executable, "-m", "phase4", "monitor", "report", "--json"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["data"]


def left_running(answer):
    """Return the processes that name the demonstration's folder."""
    here = str(folder(answer))
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        environment = process.info["environ"] or {}
        if here in " ".join(process.info["cmdline"] or []) or environment.get("PHASE4_HOME", "").startswith(here):
            found.append(process.pid)
    return found


def test_the_demonstration_rolls_the_defect_back_and_leaves_a_report_and_no_process():
    answer = demo("index")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "ROLLED BACK by itself" in answer.stdout
    told = report(answer)
    (rollout,) = told["rollouts"]
    assert (rollout["phase"], rollout["stages"][-1]["percentage"]) == ("ROLLED_BACK", 25.0)
    assert told["rollbacks"][0]["guardrail"] in {"error_rate", "error_ratio"}
    treatment, control = (
        next(flag for flag in told["flags"] if flag["flag_key"] == "new-checkout")["arms"][name]
        for name in ("treatment", "control")
    )
    assert treatment["error_rate"]["value"] > 5 * (control["error_rate"]["value"] or 0.0)
    assert {each["name"]: each["status"] for each in told["criteria"]}["toggle without restart"] == "pass"
    assert "guardrail" in (folder(answer) / "report.html").read_text(encoding="utf-8")
    assert left_running(answer) == []


@pytest.mark.slow
def test_the_demonstration_without_a_defect_completes():
    answer = demo("none")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert report(answer)["rollouts"][0]["phase"] == "COMPLETED"
    assert left_running(answer) == []
