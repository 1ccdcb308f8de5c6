"""The scalar bucketing, held against the frozen vectors of tests/data/bucketing-ms1.json."""

import enum
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from phase4.flags import bucketing, definition
from phase4.flags.bucketing import SPACE, Arm

FROZEN = json.loads((Path(__file__).parents[2] / "data" / "bucketing-ms1.json").read_text(encoding="utf-8"))
SHA256 = json.loads((Path(__file__).parents[2] / "data" / "flags-sha256.json").read_text(encoding="utf-8"))
VECTORS = [pytest.param(v, id=f"{v['salt']}:{v['unit'][:20]}") for v in FROZEN["vectors"]]


class Colour(enum.StrEnum):
    """A text that is more than a text."""

    BLUE = "blue"

    def __str__(self):
        raise AssertionError("a member's own code must not run")


HEAVY = {"numpy", "mmh3", "hashlib", "ipaddress", "phase4.flags.bucketing"}


def loaded_by(module):
    """Return which of the heavy modules a fresh interpreter holds after importing one."""
    code = f"import sys, {module}; print(*sorted({HEAVY} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("vector", VECTORS)
def test_a_frozen_unit_keeps_its_hash(vector):
    assert bucketing.hash_unit(vector["salt"], vector["unit"]) == vector["hash"]
    assert round(vector["hash"] / SPACE * 100, 6) == vector["position"]


@pytest.mark.parametrize("vector", VECTORS)
def test_a_frozen_unit_keeps_its_variant_buckets(vector):
    salt, unit = vector["salt"], vector["unit"]
    assert bucketing.hash_unit(salt + bucketing.VARIANT_SUFFIX, unit) == vector["variant_hash"]
    assert bucketing.variant_bucket(salt, unit, 3) == vector["of_3"]
    assert bucketing.variant_bucket(salt, unit, 1000) == vector["of_1000"]


@pytest.mark.parametrize("case", FROZEN["thresholds"], ids=lambda case: f"{case['percentage']}")
def test_a_frozen_percentage_keeps_its_threshold(case):
    assert bucketing.threshold(case["percentage"]) == case["threshold"]


@pytest.mark.parametrize("case", FROZEN["inside"], ids=lambda case: f"{case['salt']}-{case['percentage']}")
def test_a_frozen_population_keeps_its_cohort(case):
    units = [f"user-{i}" for i in range(1000)]
    assert sum(bucketing.inside(case["salt"], unit, case["percentage"]) for unit in units) == case["count"]


@pytest.mark.parametrize("vector", SHA256["vectors"], ids=lambda v: f"{v['salt']}:{v['unit'][:20]}")
def test_a_frozen_unit_keeps_its_sha256_hashes(vector):
    salt, unit, algorithm = vector["salt"], vector["unit"], "sha256/1"
    assert bucketing.hash_unit(salt, unit, algorithm=algorithm) == vector["hash"]
    assert round(vector["hash"] / SPACE * 100, 6) == vector["position"]
    assert bucketing.hash_unit(f"{salt}#variant", unit, algorithm=algorithm) == vector["variant_hash"]
    assert bucketing.variant_bucket(salt, unit, 3, algorithm=algorithm) == vector["of_3"]
    assert bucketing.variant_bucket(salt, unit, 1000, algorithm=algorithm) == vector["of_1000"]
    assert (
        bucketing.hash_unit(bucketing.rule_salt(salt, "beta-group"), unit, algorithm=algorithm) == vector["rule_hash"]
    )


@pytest.mark.parametrize("case", SHA256["inside"], ids=lambda case: f"{case['salt']}-{case['percentage']}")
def test_a_frozen_population_keeps_its_sha256_cohort(case):
    below = bucketing.threshold(case["percentage"])
    hashes = [bucketing.hash_unit(case["salt"], f"user-{i}", algorithm="sha256/1") for i in range(1000)]
    assert sum(hashed < below for hashed in hashes) == case["count"]


def test_the_vectors_are_of_the_schema_that_these_tests_read():
    assert SHA256["schema"] == 1
    assert [len(SHA256[name]) for name in ("vectors", "inside")] == [16, 8]
    assert FROZEN["schema"] == 1
    assert [len(FROZEN[name]) for name in ("vectors", "thresholds", "inside")] == [16, 12, 12]


def test_salt_and_unit_are_told_apart_only_because_a_salt_has_no_colon():
    assert bucketing.hash_unit("s", "a:b") == bucketing.hash_unit("s:a", "b")


def test_every_algorithm_that_a_document_may_name_can_be_run():
    assert set(bucketing.DIGESTS) == set(definition.ALGORITHMS)
    assert definition.ALGORITHMS[0] == bucketing.ALGORITHM


def test_a_lone_surrogate_is_an_error_and_not_the_end_of_the_interpreter():
    with pytest.raises(UnicodeEncodeError):
        bucketing.hash_unit("checkout-v2", json.loads('"\\ud800"'))


@pytest.mark.parametrize("percentage", [-0.01, 100.01, math.nan, math.inf])
def test_a_percentage_outside_0_to_100_has_no_threshold(percentage):
    with pytest.raises(ValueError, match=r"lies in 0\.\.100"):
        bucketing.threshold(percentage)


def test_nobody_is_inside_at_0_and_everybody_at_100():
    assert bucketing.threshold(0) == bucketing.threshold(-0.0) == 0
    assert bucketing.arm_of(0, 0) is None
    assert bucketing.arm_of(SPACE - 1, 0) is None
    assert bucketing.arm_of(0, 100) is bucketing.arm_of(SPACE - 1, 100) is Arm.TREATMENT


def test_a_hash_equal_to_the_threshold_is_outside():
    below = bucketing.threshold(0.01)
    assert bucketing.arm_of(below - 1, 0.01) is Arm.TREATMENT
    assert bucketing.arm_of(below, 0.01) is None


def test_a_hash_equal_to_the_start_of_control_is_control():
    start = SPACE - bucketing.threshold(0.01)
    assert bucketing.arm_of(start, 0.01) is Arm.CONTROL
    assert bucketing.arm_of(start - 1, 0.01) is None


def test_a_unit_is_inside_exactly_if_its_hash_is_below_the_threshold():
    vector = FROZEN["vectors"][0]
    position = vector["hash"] / SPACE * 100
    assert not bucketing.inside(vector["salt"], vector["unit"], position)
    assert bucketing.inside(vector["salt"], vector["unit"], position + 1e-7)
    assert bucketing.arm(vector["salt"], vector["unit"], 1) is Arm.TREATMENT


@pytest.mark.parametrize("percentage", [0.01, 5, 33.3, 50])
def test_control_is_as_large_as_treatment_up_to_half(percentage):
    cut = bucketing.cuts(percentage)
    assert SPACE - cut.control_from == cut.treatment_below == bucketing.threshold(percentage)
    assert bucketing.arm_shares(percentage) == (0.5, 0.5)


@pytest.mark.parametrize("percentage", [50, 75, 99.99, 100])
def test_control_is_everyone_else_from_half_on(percentage):
    cut = bucketing.cuts(percentage)
    assert cut.treatment_below == cut.control_from
    assert bucketing.arm_shares(percentage).treatment == pytest.approx(percentage / 100, abs=1e-9)
    assert sum(bucketing.arm_shares(percentage)) == pytest.approx(1)


def test_there_is_no_control_at_100_and_no_arm_at_0():
    assert bucketing.arm_shares(100) == (1, 0)
    assert bucketing.arm_shares(0) == (0, 0)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("user-7", "user-7"),
        (" ", " "),
        ("\u00e9", "\u00e9"),
        ("e\u0301", "e\u0301"),
        (7, "7"),
        (-7, "-7"),
        (2**80, "1208925819614629174706176"),
        (True, "true"),
        (False, "false"),
        (7.0, "7"),
        (-0.0, "0"),
        (1e22, "10000000000000000000000"),
        (Colour.BLUE, "blue"),
        (Arm.TREATMENT, "2"),
    ],
)
def test_a_unit_that_is_no_text_becomes_one(value, text):
    assert bucketing.unit_text(value) == text
    assert type(bucketing.unit_text(value)) is str


@pytest.mark.parametrize("value", [None, ""])
def test_null_and_the_empty_text_are_no_unit(value):
    assert bucketing.unit_text(value) is None


@pytest.mark.parametrize("value", [7.5, math.nan, math.inf, [], {}, ["user-7"], b"user-7", object()])
def test_anything_else_is_refused(value):
    with pytest.raises(ValueError, match="a unit is a text"):
        bucketing.unit_text(value)


def test_an_integer_that_python_does_not_write_out_is_refused():
    with pytest.raises(ValueError, match="4300 digits"):
        bucketing.unit_text(10**5000)


@pytest.mark.parametrize("module", ["definition", "prerequisites", "stale"])
def test_a_definition_loads_neither_numpy_nor_mmh3(module):
    assert loaded_by(f"phase4.flags.{module}") == set()


@pytest.mark.parametrize("module", ["evaluation", "conditions", "explanation"])
def test_evaluating_a_flag_loads_no_numpy(module):
    assert loaded_by(f"phase4.flags.{module}") <= {"mmh3", "phase4.flags.bucketing"}
