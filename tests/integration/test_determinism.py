"""Same scenario, seed and versions: the same digest, whatever the process, its hash seed and its workers."""

from pathlib import Path

import pytest

from phase4.store import runs
from tests.integration.program import SCENARIOS, data, run

REPLICATES = {"small": "6", "recorded": "5"}
"""More than one chunk, so that two workers are used."""


def sweep(home, name, *more, hash_seed="0", workers="1"):
    words = ("--replicates", REPLICATES[name], "--workers", workers, "--json", *more)
    return data(run(home, "simulate", "sweep", SCENARIOS / f"{name}.toml", *words, PYTHONHASHSEED=hash_seed))


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """Each scenario swept once, serially."""
    return {name: sweep(tmp_path_factory.mktemp("once") / "home", name) for name in REPLICATES}


def comparable(result):
    return {name: value for name, value in result.items() if name != "file"}


@pytest.mark.parametrize("name", REPLICATES)
@pytest.mark.parametrize(("workers", "hash_seed"), [("1", "1"), ("2", "0"), ("2", "1")])
def test_a_sweep_is_the_same_whatever_its_workers_and_its_hash_seed(once, tmp_path, name, workers, hash_seed):
    again = sweep(tmp_path / "home", name, workers=workers, hash_seed=hash_seed)
    assert again["digest"] == once[name]["digest"]
    assert comparable(again) == comparable(once[name])


@pytest.mark.parametrize("name", REPLICATES)
def test_another_seed_is_another_sweep(once, tmp_path, name):
    assert sweep(tmp_path / "home", name, "--seed", "8")["digest"] != once[name]["digest"]


def test_the_same_command_twice_is_the_same_run_in_the_same_file(tmp_path):
    words = ("simulate", "run", SCENARIOS / "small.toml", "--world", "broken", "--replicate", "4", "--json")
    one, other = (data(run(tmp_path / "home", *words)) for _ in range(2))
    assert one == other


def test_a_run_is_the_same_under_both_names_of_the_program(tmp_path):
    words = ("simulate", "run", SCENARIOS / "small.toml", "--json")
    one, other = (data(run(tmp_path / "home", *words, program=program)) for program in ("phase4", "phase4-cli"))
    assert one == other


@pytest.mark.parametrize("replicate", [0, 4])
def test_a_run_of_a_sweep_can_be_seen_again_by_itself(once, tmp_path, replicate):
    words = ("--world", "broken", "--replicate", str(replicate), "--json")
    alone = data(run(tmp_path / "home", "simulate", "run", SCENARIOS / "recorded.toml", *words))["outcome"]
    swept = runs.read(Path(once["recorded"]["file"])).table("outcome").filter(run_id=alone["run_id"])
    assert swept["digest"].to_list() == [alone["digest"]]


def test_the_place_of_a_scenario_is_no_part_of_its_result(once, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in SCENARIOS.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    words = ("--replicates", REPLICATES["small"], "--workers", "1", "--json")
    again = data(run(tmp_path / "home", "simulate", "sweep", copy / "small.toml", *words))
    assert again["digest"] == once["small"]["digest"]
