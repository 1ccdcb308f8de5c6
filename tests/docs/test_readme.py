"""README's table of users is the one that the planning figures give. `python -m tests.docs.test_readme` prints it."""

import math
import tomllib
from importlib import resources
from pathlib import Path

from phase4.analysis import planning
from phase4.rollout.plan import parse_plan
from phase4.rollout.plan_text import to_toml
from phase4.rollout.suggestion import suggest
from phase4.rollout.traffic import ASSUMED, Traffic

ROOT = Path(__file__).parents[2]
RATES = (0.0, 0.0001, 0.0005, 0.001, 0.0025, 0.005)
HEAD = "| failures without the feature |"


def guide():
    text = resources.files("phase4.rollout").joinpath("default_plan.toml").read_text(encoding="utf-8")
    return parse_plan(tomllib.loads(text), flag_key="f", plan_id="f.1", source="default")


def table():
    """Return the lines: for each base rate the users that each limit of the guide's plan takes, by stage and in all."""
    plan = guide()
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


def test_the_plan_for_2_000_users_on_the_page_of_plans_is_the_one_that_is_suggested():
    page = (ROOT / "docs" / "plans.md").read_text(encoding="utf-8")
    shown_plan = page.split("### The guide's plan, checked")[1].split("```toml\n")[1].split("```")[0]
    traffic = Traffic(users=2_000, requests_per_day=20_000)
    made = suggest(guide(), traffic, ASSUMED, interval_ms=30_000)
    told = to_toml(made.plan)
    assert all(line in told.splitlines() for line in shown_plan.splitlines())
    rehearsed = (ROOT / "sims" / "plans" / "few_users.toml").read_text(encoding="utf-8")
    assert parse_plan(tomllib.loads(rehearsed), flag_key="f", plan_id="f.1", source="sims") == made.plan


if __name__ == "__main__":
    print("\n".join(table()))
