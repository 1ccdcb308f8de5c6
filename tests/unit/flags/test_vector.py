"""The bucketing of a population: the numbers of the scalar form, for every alignment, length and order of ids."""

import json
import random
from pathlib import Path

import mmh3
import numpy as np
import pytest

from phase4.flags import bucketing, vector
from phase4.flags.bucketing import SPACE
from phase4.flags.vector import Population

FROZEN = json.loads((Path(__file__).parents[2] / "data" / "bucketing-ms1.json").read_text(encoding="utf-8"))
ALIGNED = [("abcdefgh"[:size]) for size in range(9)]
"""Salts whose prefix leaves 0, 1, 2 and 3 bytes after its whole blocks, with none, one and two of those."""
ALPHABET = "a0-\u00e9\u7528\U0001f98a\x00"


def oracle(salt, ids):
    """Return the hashes as mmh3 has them."""
    return [mmh3.mmh3_32_uintdigest(f"{salt}:{unit}".encode()) for unit in ids]


def mixed_ids(count):
    """Return ids of 0 to 21 characters of 1 to 4 bytes, in no order."""
    draw = random.Random(20260101)
    return ["".join(draw.choices(ALPHABET, k=draw.randrange(22))) for _ in range(count)]


@pytest.mark.parametrize("salt", sorted({v["salt"] for v in FROZEN["vectors"]}))
def test_the_frozen_units_keep_their_hashes(salt):
    vectors = [v for v in FROZEN["vectors"] if v["salt"] == salt]
    population = Population(v["unit"] for v in vectors)
    assert population.hashes(salt).tolist() == [v["hash"] for v in vectors]
    assert population.hashes(salt + bucketing.VARIANT_SUFFIX).tolist() == [v["variant_hash"] for v in vectors]


@pytest.mark.parametrize("case", FROZEN["inside"], ids=lambda case: f"{case['salt']}-{case['percentage']}")
def test_the_frozen_population_keeps_its_cohort(case):
    population = Population(f"user-{i}" for i in range(1000))
    assert int(population.inside(case["salt"], case["percentage"]).sum()) == case["count"]


@pytest.mark.parametrize("salt", ALIGNED)
def test_every_alignment_of_the_prefix_gives_the_hashes_of_mmh3(salt):
    ids = mixed_ids(4_000)
    assert Population(ids).hashes(salt).tolist() == oracle(salt, ids)


@pytest.mark.parametrize("salt", ALIGNED[:4])
@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 7, 8, 9, vector.LONG_SIZE, vector.LONG_SIZE + 1, 100_000])
def test_ids_of_every_length_are_hashed(size, salt):
    assert Population(["x" * size]).hashes(salt).tolist() == oracle(salt, ["x" * size])


def test_a_salt_need_not_be_ascii():
    ids = mixed_ids(100)
    assert Population(ids).hashes("用户").tolist() == oracle("用户", ids)


@pytest.mark.parametrize("count", [vector.CHUNK_ROWS - 1, vector.CHUNK_ROWS, vector.CHUNK_ROWS + 1])
def test_a_chunk_ends_where_the_next_begins(count):
    ids = [f"{i:08d}" for i in range(count)]
    assert Population(ids).hashes("abcd").tolist() == oracle("abcd", ids)


def test_results_come_in_the_order_of_the_ids():
    ids = mixed_ids(500)
    forward, backward = Population(ids).hashes("s"), Population(ids[::-1]).hashes("s")
    assert forward.tolist() == backward[::-1].tolist()


def test_the_same_id_twice_has_the_same_hash_twice():
    assert len(set(Population(["u", "long" * 100, "u", "long" * 100]).hashes("s").tolist())) == 2


def test_an_empty_population_has_no_hashes():
    population = Population([])
    assert len(population) == 0
    assert population.hashes("s").shape == population.inside("s", 10).shape == population.arms("s", 10).shape == (0,)


def test_the_arrays_have_the_types_that_they_promise():
    population = Population(["a", "bb"])
    assert len(population) == 2
    assert population.hashes("s").dtype == np.uint32
    assert population.inside("s", 10).dtype == np.bool_
    assert population.arms("s", 10).dtype == np.int8


def test_a_lone_surrogate_is_refused_when_the_population_is_packed():
    with pytest.raises(UnicodeEncodeError):
        Population(["fine", "\ud800"])


@pytest.mark.parametrize("percentage", [0, 0.01, 5, 33.3, 50, 80, 99.99, 100])
def test_arms_and_cohort_are_those_of_the_scalar_form(percentage):
    ids = [f"user-{i}" for i in range(2_000)]
    population = Population(ids)
    assert population.arms("s", percentage).tolist() == [bucketing.arm("s", unit, percentage) or 0 for unit in ids]
    assert population.inside("s", percentage).tolist() == [bucketing.inside("s", unit, percentage) for unit in ids]


@pytest.mark.parametrize("percentage", [0, 0.01, 49.99, 50, 75, 100])
def test_hashes_at_the_cuts_fall_as_in_the_scalar_form(percentage):
    cut = bucketing.cuts(percentage)
    near = {0, SPACE - 1, *(c + d for c in cut for d in (-1, 0, 1))}
    hashes = sorted(h for h in near if 0 <= h < SPACE)
    arms = vector.arms_of(np.array(hashes, np.uint32), percentage)
    assert arms.tolist() == [bucketing.arm_of(h, percentage) or 0 for h in hashes]


def test_a_percentage_outside_0_to_100_is_refused():
    with pytest.raises(ValueError, match=r"lies in 0\.\.100"):
        vector.arms_of(np.zeros(1, np.uint32), 101)
