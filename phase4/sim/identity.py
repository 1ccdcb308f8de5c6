"""What decides a result, and the line with which anybody sees it again."""

from __future__ import annotations

import hashlib
import platform

import numpy as np

import phase4
from phase4.sim.scenario import Policy, Scenario, World


def versions() -> str:
    """Return what a result depends on beside scenario and seed."""
    return f"phase4 {phase4.__version__} python {platform.python_version()} numpy {np.__version__}"


def run_id(scenario: Scenario, world: World, policy: Policy, *, seed: int, replicate: int) -> str:
    """Return the identity of a run: 16 hex digits over everything that decides its result."""
    parts = (scenario.hash, world.name, policy.name, policy.plan.digest, scenario.mode, seed, replicate)
    return hashlib.sha256(":".join(str(part) for part in parts).encode()).hexdigest()[:16]


def sweep_id(scenario: Scenario, *, seed: int, replicates: int) -> str:
    """Return the identity of a sweep: 16 hex digits over everything that decides its result."""
    text = f"sweep:{scenario.hash}:{seed}:{replicates}:{versions()}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def run_again(scenario: Scenario, world: str, policy: str, *, seed: int, replicate: int) -> str:
    """Return the command that repeats one run, with scenario hash and versions behind it as a comment."""
    command = (
        f'phase4 simulate run {scenario.source} --world "{world}" --policy "{policy}" --seed {seed}'
        f" --replicate {replicate}"
    )
    return _with_versions(command, scenario)


def sweep_again(scenario: Scenario, *, seed: int, replicates: int) -> str:
    """Return the command that repeats a sweep, with scenario hash and versions behind it as a comment."""
    command = f"phase4 simulate sweep {scenario.source} --seed {seed} --replicates {replicates}"
    return _with_versions(command, scenario)


def _with_versions(command: str, scenario: Scenario) -> str:
    return f"{command}   # scenario sha256:{scenario.hash[:12]} {versions()}"
