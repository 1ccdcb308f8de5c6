"""The installed program in processes of its own, with a home of its own."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
SCENARIOS = ROOT / "tests" / "data" / "scenarios"
BIN = Path(sys.executable).parent
SECONDS = 120


def environment(home, **changes):
    """Return this process's environment with a home and without what would colour an answer."""
    kept = {name: value for name, value in os.environ.items() if name not in {"PHASE4_DEBUG", "COLUMNS"}}
    return {**kept, "PHASE4_HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1", **changes}


def run(home, *words, program="phase4", cwd=None, **changes):
    """Run a command line to its end."""
    return subprocess.run(
        [str(BIN / program), *map(str, words)],
        cwd=cwd or home.parent,
        env=environment(home, **changes),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def start(home, *words, **changes):
    """Start a command line in a process group of its own, as a shell does."""
    return subprocess.Popen(
        [str(BIN / "phase4"), *map(str, words)],
        cwd=home.parent,
        env=environment(home, **changes),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def data(answer):
    """Return what a command printed under `--json`."""
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)["data"]


def scenarios(folder):
    """Return a folder of scenarios to be changed."""
    shutil.copytree(SCENARIOS, folder / "scenarios")
    return folder / "scenarios"


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def contents(folder):
    """Return every file below a folder with its bytes."""
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def living(group):
    """Return the processes of a group that still run; zombies wait for whoever reaps them."""
    found = []
    for process in psutil.process_iter(["status"]):
        try:
            if os.getpgid(process.pid) == group and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process)
        except ProcessLookupError:
            continue
    return found


def wait_until(condition, seconds=SECONDS):
    """Wait for something to become true; return whether it did."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False
