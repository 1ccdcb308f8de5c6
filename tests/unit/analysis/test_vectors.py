"""Every reference value of tests/data/statistics.json: the product's functions where it has them, else the oracles."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from phase4.analysis import interval, planning, sample_ratio
from tests.unit.analysis import oracles

_DOCUMENT = json.loads((Path(__file__).parents[2] / "data" / "statistics.json").read_text(encoding="utf-8"))
CASES = {case["id"]: case for case in _DOCUMENT["cases"]}


def _product_interval(events, trials, alpha, prior):
    assert prior == [1, 1]
    return interval.confidence_sequence(events, trials, alpha=alpha)


def _sample_ratio(counts, shares, concentration):
    e = math.exp(sample_ratio.log_e(counts, shares, concentration=concentration))
    return {"e": e, "p": min(1.0, 1.0 / e)}


def _kl(p, q, alpha):
    divergence = planning.kl_bernoulli(p, q)
    return {"kl": divergence, "wald_units": math.log(1 / alpha) / divergence}


ANSWERS = {
    "best_rho": lambda i: {"rho": oracles.best_rho(**i)},
    "normal_mixture": lambda i: dict(zip(("log_mixture", "bound"), oracles.normal_mixture(**i), strict=True)),
    "poly_stitching_bound": lambda i: {"bound": oracles.poly_stitching_bound(**i)},
    "beta_binomial_mixture": lambda i: dict(
        zip(("log_mixture", "bound"), oracles.beta_binomial_mixture(**i), strict=True)
    ),
    "bernoulli_confidence_interval": lambda i: dict(
        zip(("lower", "upper"), oracles.bernoulli_confidence_interval(**i), strict=True)
    ),
    "confidence_sequence": lambda i: dict(zip(("lower", "upper"), _product_interval(**i), strict=True)),
    "beta_binomial_e": lambda i: {"e": oracles.beta_binomial_e(**i)},
    "sample_ratio_e": lambda i: _sample_ratio(**i),
    "asymptotic_cs_uplift": lambda i: dict(
        zip(
            ("uplift", "standard_error", "lower", "upper"),
            oracles.asymptotic_cs_uplift(i["control"], i["treatment"], i["alpha"], i["n_star"]),
            strict=True,
        )
    ),
    "sprt_bounds": lambda i: dict(zip(("lower", "upper"), oracles.sprt_bounds(**i), strict=True)),
    "sprt_lines": lambda i: dict(zip(("h0", "h1", "slope"), oracles.sprt_lines(**i), strict=True)),
    "kl_bernoulli": lambda i: _kl(**i),
    "clean_units_to_pass": lambda i: {"units": planning.clean_units(i["p0"], i["beta"])},
    "chi_square_p": lambda i: {"p": oracles.srm_chi_square(i["counts"], i["shares"])},
    "lan_demets_bounds": lambda i: {"z": oracles.lan_demets_bounds(i["alpha_one_sided"], i["information"])},
}


def test_the_vectors_are_of_the_schema_that_these_tests_read():
    assert _DOCUMENT["schema"] == 1
    assert len(CASES) == len(_DOCUMENT["cases"])


def test_every_case_has_an_answer():
    assert {case["function"] for case in CASES.values()} == {*ANSWERS, "peeking_false_alarm"}


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case["function"] != "peeking_false_alarm"])
def test_the_reference_value_comes_out(name):
    case = CASES[name]
    answer = ANSWERS[case["function"]](case["inputs"])
    kind = {"absolute": "abs", "relative": "rel"}[case["tolerance_kind"]]
    limits = {"abs": 0.0, "rel": 0.0} | {kind: case["tolerance"]}
    for key, expected in case["expected"].items():
        assert answer[key] == pytest.approx(expected, **limits), key


def test_peeking_at_a_z_test_inflates_false_alarms_as_the_literature_says():
    case = CASES["peeking-inflation"]
    z, looks = case["inputs"]["z"], case["inputs"]["looks"]
    generator = np.random.default_rng(20260101)
    for count, expected in zip(looks, case["expected"]["probability"], strict=True):
        share, error = oracles.peeking_false_alarm(z, count, 40_000, generator)
        assert abs(share - expected) <= case["tolerance"] + 3 * error, count
