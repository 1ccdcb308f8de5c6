"""Ctrl-C during a sweep: what is done is saved, says so, and no process stays behind."""

import json
import os
import signal
from pathlib import Path

import psutil
import pytest

from phase4.store import runs
from tests.integration.program import SCENARIOS, SECONDS, living, start, wait_until

MANY = "200000"
"""Replicates that nobody waits for."""


def workers_of(sweep):
    return [child for child in psutil.Process(sweep.pid).children() if "spawn_main" in " ".join(child.cmdline())]


def leaves_interrupts_to_others(process):
    """Return whether Ctrl-C is blocked in a process: the parent alone answers it."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    blocked = int(next(line.split()[1] for line in status.splitlines() if line.startswith("SigBlk:")), 16)
    return bool(blocked & 1 << signal.SIGINT - 1)


class Interrupted:
    """A sweep that was interrupted once it had made progress."""

    def __init__(self, home, workers, *, is_group):
        sweep = start(
            home, "simulate", "sweep", SCENARIOS / "small.toml", "--replicates", MANY, "--workers", workers, "--json"
        )
        try:
            _, second = (json.loads(sweep.stderr.readline())["progress"] for _ in range(2))
            self.progress = second  # a second after the first, the run that is kept as a sample is done as well
            self.count = 0 if workers == "1" else int(workers)
            self.workers = [leaves_interrupts_to_others(worker) for worker in workers_of(sweep)]
            if is_group:
                os.killpg(sweep.pid, signal.SIGINT)
            else:
                sweep.send_signal(signal.SIGINT)
            self.out, self.err = sweep.communicate(timeout=SECONDS)
            self.status = sweep.returncode
            self.is_alone = wait_until(lambda: not living(sweep.pid), seconds=20)
        finally:
            if sweep.poll() is None:
                os.killpg(sweep.pid, signal.SIGKILL)
                sweep.wait()
            sweep.stdout.close()
            sweep.stderr.close()


@pytest.fixture(
    scope="module",
    params=[("1", False), ("2", False), ("2", True)],
    ids=["serial", "two workers", "two workers, as a terminal does"],
)
def interrupted(request, tmp_path_factory):
    workers, is_group = request.param
    home = tmp_path_factory.mktemp("interrupted") / "home"
    return home, Interrupted(home, workers, is_group=is_group)


def test_workers_leave_an_interrupt_to_their_parent(interrupted):
    _, sweep = interrupted
    assert sweep.workers == [True] * sweep.count


def test_an_interrupted_sweep_has_the_status_of_an_interrupt(interrupted):
    assert interrupted[1].status == 130


def test_an_interrupted_sweep_says_how_much_is_done_and_that_it_is_not_all(interrupted):
    _, sweep = interrupted
    assert "interrupted" in sweep.err
    assert "saved" in sweep.err
    assert "Traceback" not in sweep.err
    data = json.loads(sweep.out)["data"]
    assert data["complete"] is False
    assert sweep.progress["done"] <= data["done"] < data["planned"] == 4 * int(MANY)


def test_what_was_done_is_in_a_file_that_says_it_is_partial(interrupted):
    home, sweep = interrupted
    (path,) = runs.saved(home / "runs")
    file = runs.read(path)
    assert file.info["complete"] is False
    assert file.info["done"] == file.table("outcome").height == json.loads(sweep.out)["data"]["done"]
    assert file.table("journal").height > 0


def test_nothing_half_written_is_left(interrupted):
    home, _ = interrupted
    assert [path.suffix for path in (home / "runs").iterdir()] == [".duckdb"]


def test_no_process_is_left(interrupted):
    assert interrupted[1].is_alone


def test_an_interrupt_while_the_workers_start_is_quiet(tmp_path):
    sweep = start(
        tmp_path / "home", "simulate", "sweep", SCENARIOS / "small.toml", "--replicates", MANY, "--workers", "2"
    )
    try:
        assert wait_until(lambda: len(workers_of(sweep)) == 2)
        os.killpg(sweep.pid, signal.SIGINT)
        _, err = sweep.communicate(timeout=SECONDS)
    finally:
        if sweep.poll() is None:
            os.killpg(sweep.pid, signal.SIGKILL)
            sweep.communicate()
    assert sweep.returncode == 130
    assert "Traceback" not in err
