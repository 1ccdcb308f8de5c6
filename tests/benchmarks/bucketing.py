"""Speed of bucketing a population, against mmh3, the oracle: one case that ours wins, one that it loses."""

from __future__ import annotations

import mmh3
import numpy as np

from phase4.flags import vector
from tests.benchmarks.timing import Figure, cpu

COUNT = 1_000_000
SALT = "truth-based-validation"


def figures() -> list[Figure]:
    """Return the figures of this page."""
    ids = [f"user-{i}" if i % 3 else f"{i:032x}" if i % 2 else f"{i}@example.com" for i in range(COUNT)]
    population = vector.Population(ids)
    prefix = f"{SALT}:"

    def one_by_one() -> list[int]:
        return [mmh3.mmh3_32_uintdigest((prefix + unit).encode()) for unit in ids]

    is_equal = bool((population.hashes(SALT) == np.array(one_by_one(), np.uint32)).all())
    packed = cpu(lambda: population.inside(SALT, 10.0))
    reference = cpu(one_by_one, rounds=3)
    once = cpu(lambda: vector.Population(ids).inside(SALT, 10.0), rounds=3)
    rate = COUNT / packed.median / 1e6
    return [
        Figure(
            name=f"bucketing and mask of {COUNT:,} packed ids of mixed length",
            seen=f"{rate:.0f} M/s ({COUNT / max(packed.seconds) / 1e6:.0f} to {COUNT / packed.best / 1e6:.0f})",
            bound=">= 50 M/s",
            is_met=rate >= 50,
        ),
        Figure(name="equal to mmh3 on every one of them", seen=str(is_equal), bound="True", is_met=is_equal),
        Figure(
            name="won: packed ids against mmh3 one by one",
            seen=f"{reference.median / packed.median:.1f} x faster",
            bound="",
            is_met=None,
        ),
        Figure(
            name="lost: packing and hashing once against mmh3 one by one",
            seen=f"{once.median / reference.median:.1f} x the time",
            bound="",
            is_met=None,
        ),
    ]
