"""Speed of the judge: one tick at a time, and in blocks."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt

from phase4.analysis import block, eprocess, guardrails, paths
from phase4.analysis.columns import ArmColumns
from phase4.analysis.observation import Observation
from phase4.analysis.specs import RateGuardrail, RatioGuardrail, Terms
from phase4.analysis.verdict import Unit
from tests.benchmarks.timing import Figure, cpu

TICKS = 20_000
BLOCK = 240
TERMS = Terms(alpha=0.01, beta=0.05, horizon_ticks=5760)
RATE = RateGuardrail(name="error_rate", limit=0.01, unit=Unit.REQUEST)
RATIO = RatioGuardrail(name="error_ratio", unit=Unit.REQUEST)


def figures() -> list[Figure]:
    """Return the figures of this page."""
    generator = np.random.default_rng(1)
    events = generator.binomial(100, 0.005, TICKS).astype(np.int64)
    arm = ArmColumns.of_requests(events, np.full(TICKS, 100, np.int64))
    counts = events.tolist()
    rows = [Observation(tick=t, flag_id=1, entry=1, arm=2, ok=100 - x, error=x) for t, x in enumerate(counts)]
    per = 1e6 / TICKS
    kernel, in_blocks = cpu(lambda: _kernel(counts)), cpu(lambda: _kernel_blocks(events))
    lines = [
        Figure(
            name="kernel, one tick, 8 alternatives, plain Python",
            seen=kernel.scaled(per, "us"),
            bound="<= 20 us",
            is_met=kernel.median * per <= 20,
        ),
        Figure(
            name=f"the same kernel in blocks of {BLOCK}, a window",
            seen=in_blocks.scaled(per, "us"),
            bound="<= 1 us",
            is_met=in_blocks.median * per <= 1,
        ),
    ]
    for spec in (RATE, RATIO):
        scalar, block_form = cpu(partial(_steps, spec, rows)), cpu(partial(_blocks, spec, arm))
        name = f"whole guardrail {spec.name}, verdicts included: one tick; a window of {BLOCK}"
        seen = f"{scalar.median * per:.3g}; {block_form.scaled(per, 'us')}"
        lines.append(Figure(name=name, seen=seen, bound="", is_met=None))
    return lines


def _kernel(counts: list[int]) -> None:
    evidence = eprocess.FailEvidence.start()
    grid = eprocess.rate_grid(0.01, eprocess.FAIL_RATIOS)
    for x in counts:
        evidence = evidence.step(grid, x, 100 - x, 5760)


def _kernel_blocks(events: npt.NDArray[np.int64]) -> None:
    carried = np.full(len(eprocess.FAIL_RATIOS), -np.inf)
    grid = eprocess.rate_grid(0.01, eprocess.FAIL_RATIOS)
    up, down = np.array(grid.up)[:, None], np.array(grid.down)[:, None]
    for begin in range(0, TICKS, BLOCK):
        x = events[begin : begin + BLOCK]
        weights = paths.restart_weights(begin, len(x), 5760) / len(carried)
        components = paths.restarted(x * (up - down) + 100 * down, np.log(weights), carried)
        paths.log_sum(components)
        carried = components[:, -1]


def _steps(spec: RateGuardrail | RatioGuardrail, rows: list[Observation]) -> None:
    state = guardrails.start(spec)
    for tick, row in enumerate(rows):
        state = guardrails.step(spec, TERMS, state, tick, row, row)


def _blocks(spec: RateGuardrail | RatioGuardrail, arm: ArmColumns) -> None:
    state = guardrails.start(spec)
    for begin in range(0, TICKS - BLOCK + 1, BLOCK):
        part = arm.slice(begin, begin + BLOCK)
        state = block.run(spec, TERMS, state, begin, part, part).state
