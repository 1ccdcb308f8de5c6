"""One run as people tell it: when what happened, at which exposure."""

from __future__ import annotations

from phase4 import clock, durations
from phase4.cli.console import number
from phase4.rollout import events
from phase4.rollout.saying import say
from phase4.sim.scenario import Scenario
from phase4.sim.world import RunRecord

PERCENT_PER_CELL = 2.5


def tell(scenario: Scenario, record: RunRecord, seed: int) -> list[str]:
    """Return the lines of a run: its journal and its defect in time order, then how it ended."""
    outcome = record.outcome
    start_ms = scenario.world(outcome.world).start_ms
    stages = len(scenario.policy(outcome.policy).plan.stages)
    moments: list[tuple[int, events.Event | None]] = [(event.at_ms, event) for event in record.journal]
    if outcome.onset_ms is not None:
        moments.append((start_ms + outcome.onset_ms, None))
    lines = [
        (
            f'{scenario.name} · world "{outcome.world}" · policy "{outcome.policy}" · seed {seed}'
            f" · replicate {outcome.replicate}"
        ),
        "",
    ]
    percentage = 0.0
    for at_ms, event in sorted(moments, key=lambda moment: moment[0]):
        if isinstance(event, events.StageEntered):
            percentage = event.percentage
        elif isinstance(event, events.RolledBack):
            percentage = 0.0
        lines.append(_line(at_ms, start_ms, percentage, "the defect begins" if event is None else say(event, stages)))
    return [*lines, "", _ending(record)]


def _line(at_ms: int, start_ms: int, percentage: float, text: str) -> str:
    moment = clock.iso(at_ms)[:16].replace("T", " ")
    bar = "█" * round(percentage / PERCENT_PER_CELL)
    return f"  {moment}  day {(at_ms - start_ms) / durations.DAY_MS:5.2f}  {percentage:5g} %  {bar:<11} {text}"


def _ending(record: RunRecord) -> str:
    outcome = record.outcome
    text = f"{outcome.phase} after {durations.show(outcome.end_ms)}"
    if outcome.false_rollback:
        text += " – a false rollback: nothing was wrong with the feature yet"
    if outcome.caught:
        text += f" – caught {durations.show(outcome.delay_ms)} after the defect began"
    if outcome.users_exposed is not None:
        text += f"; {number(outcome.users_exposed)} users exposed, {number(float(outcome.users_harmed or 0))} harmed"
    elif outcome.excess:
        text += f"; {number(outcome.excess)} excess errors"
    return text + "."
