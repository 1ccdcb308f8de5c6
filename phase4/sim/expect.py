"""What a scenario expects, held against what was seen."""

from __future__ import annotations

import math
from collections.abc import Sequence

from phase4.durations import show
from phase4.sim.outcome import Figure, OperatingCharacteristics
from phase4.sim.scenario import CellExpectation, RunExpectation
from phase4.sim.world import RunRecord


def check_run(expected: RunExpectation | None, record: RunRecord) -> list[str]:
    """Return what one run did otherwise than expected, one line for each; empty = as expected."""
    if expected is None:
        return []
    outcome = record.outcome
    unmet = []
    if outcome.phase != expected.phase:
        unmet.append(f"phase {expected.phase} expected, {outcome.phase} seen")
    if expected.guardrail is not None and outcome.guardrail != expected.guardrail:
        unmet.append(f"rollback by {expected.guardrail} expected, by {outcome.guardrail} seen")
    if expected.within_ms is not None and not outcome.delay_ms <= expected.within_ms:
        seen = "no defect was reached" if math.isnan(outcome.delay_ms) else f"{show(outcome.delay_ms)} seen"
        unmet.append(f"rollback within {show(expected.within_ms)} expected, {seen}")
    return unmet


def check_cells(expected: Sequence[CellExpectation], cells: Sequence[OperatingCharacteristics]) -> list[str]:
    """Return which bounds the figures contradict, one line for each.

    A bound is contradicted when the figure's whole 95 % interval lies beyond it, so that chance alone rarely breaks a
    build; a figure with nothing to estimate contradicts every bound.
    """
    by_cell = {(cell.world, cell.policy): cell for cell in cells}
    unmet = []
    for bound in expected:
        figure: Figure = getattr(by_cell[bound.world, bound.policy], _FIGURES[bound.figure])
        place = f'{bound.figure} of "{bound.policy}" in "{bound.world}"'
        seen = f"{figure.estimate:.4g} ({figure.lower:.4g} to {figure.upper:.4g}) seen"
        nothing = math.isnan(figure.estimate)
        if bound.at_most is not None and (nothing or figure.lower > bound.at_most):
            unmet.append(f"{place} at most {bound.at_most:g} expected, {seen}")
        if bound.at_least is not None and (nothing or figure.upper < bound.at_least):
            unmet.append(f"{place} at least {bound.at_least:g} expected, {seen}")
    return unmet


_FIGURES = {
    "false_rollback": "false_rollback",
    "caught": "caught",
    "held": "held",
    "completed": "completed",
    "delay_median_hours": "delay_hours_median",
    "harmed_users": "harmed_users",
}
