"""README's table of users is the one that the planning figures give. `python -m tests.docs.test_readme` prints it."""

import math
import tomllib
from importlib import resources
from pathlib import Path

from phase4.analysis import planning
from phase4.rollout.plan import parse_plan

ROOT = Path(__file__).parents[2]
RATES = (0.0, 0.0001, 0.0005, 0.001, 0.0025, 0.005)
HEAD = "| failures without the feature |"


def table():
    """Return the lines: for each base rate the users that each limit of the guide's plan takes, by stage and in all."""
    text = resources.files("phase4.rollout").joinpath("default_plan.toml").read_text(encoding="utf-8")
    plan = parse_plan(tomllib.loads(text), flag_key="f", plan_id="f.1", source="default")
    limits = [next(spec.limit for spec in specs if spec.name == "error_rate") for specs in plan.guardrails]
    lines = []
    for rate in RATES:
        cells = [f"{100 * rate:g} %"]
        for limit in dict.fromkeys(limits):
            units = planning.units_to_stand(limit, plan.beta, rate)
            cells.append(shown(units))
            stages = [stage for stage, own in zip(plan.stages, limits, strict=True) if own == limit]
            cells += [shown(units / stage.percentage * 100) for stage in stages]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def shown(units):
    return "never" if units == math.inf else f"{math.ceil(units - 1e-6):,}"


def test_the_table_is_that_of_the_figures():
    page = (ROOT / "README.md").read_text(encoding="utf-8").split(HEAD)[1].split("\n\n")[0]
    assert page.splitlines()[2:] == table()


def test_the_section_that_it_links_to_is_there():
    assert "docs/plans.md#will-it-reach-a-verdict" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert "\n## Will it reach a verdict?\n" in (ROOT / "docs" / "plans.md").read_text(encoding="utf-8")


if __name__ == "__main__":
    print("\n".join(table()))
