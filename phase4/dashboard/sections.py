"""The parts that report and view have in common: figures of a sweep, and one run over time, each with its numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import polars as pl

from phase4.dashboard import figures, texts
from phase4.dashboard.axes import style
from phase4.dashboard.blocks import Badge, Block, Cell, Chart, Group, Section, Steps, Table, Text, Tile, Tiles
from phase4.dashboard.figures import Column
from phase4.dashboard.replay import PHASE_STATUS, Replay, ending
from phase4.dashboard.series import bucketed_evidence, bucketed_rates
from phase4.dashboard.standing import standings
from phase4.durations import show

_DATA_ROWS = 30
"""Rows of the table below a timeline: coarser than the curve, same sums."""


def tiles(table: pl.DataFrame, policies: Sequence[str]) -> Tiles:
    """Return a tile for each policy, with its figures in the world that suits it least."""
    found = []
    for standing in standings(table, policies):
        look = style(policies, standing.policy)
        numbers = (
            (texts.percent(standing.false_rollback), "rolled back with nothing wrong"),
            (texts.percent(standing.caught), "caught the defect"),
            (texts.number(standing.harmed), "users harmed, mean"),
        )
        found.append(Tile(standing.policy, look.colour, look.symbol, numbers))
    return Tiles(tuple(found))


def errors_section(table: pl.DataFrame, worlds: Sequence[str], policies: Sequence[str], *, span: int) -> Section:
    """Return false rollbacks and caught defects of every world and policy."""
    columns = (figures.FALSE_ROLLBACK, figures.CAUGHT)
    chart = Chart(
        figures.error_overview(table, worlds, policies),
        "Left: share of runs rolled back with nothing wrong yet. Right: share of the runs that reached the defect and "
        "were rolled back for it. Dot: the share; line: its 95 % interval.",
        forest_data(table, worlds, policies, columns),
    )
    return Section("How often each policy is wrong", (chart,), span)


def harm_section(table: pl.DataFrame, worlds: Sequence[str], policies: Sequence[str], *, span: int) -> Section:
    """Return the users harmed in every world by every policy."""
    chart = Chart(
        figures.harm(table, worlds, policies),
        "Users with a failure that control would not have had: mean of the runs with its 95 % interval.",
        forest_data(table, worlds, policies, (figures.HARMED,)),
    )
    return Section("What it costs", (chart,), span)


def delay_sections(
    outcomes: pl.DataFrame, worlds: Sequence[str], policies: Sequence[str], *, span: int
) -> tuple[Section, ...]:
    """Return a section for each world whose defect some run reached: how soon it is caught."""
    reached = set(outcomes.filter(pl.col("caught").is_not_null())["world"].to_list())
    return tuple(
        Section(f"Time to catch: {world}", (_delay_chart(outcomes, world, policies),), span)
        for world in worlds
        if world in reached
    )


def replay_blocks(replay: Replay, policies: Sequence[str]) -> tuple[Block, ...]:
    """Return one run over time: how it ended, the timeline, and the journal that its numbers stand for."""
    guardrails = replay.evidence["guardrail"].unique(maintain_order=True).to_list() if len(replay.evidence) else []
    one = f'World "{replay.world}", policy "{replay.policy}", replicate {replay.outcome["replicate"]}'
    sentence = (
        f"{one}, over time: exposure, error rates, evidence against its bound, verdicts. Evidence above its bound rolls"
        " back. The numbered marks are the journal's, listed above."
    )
    steps = tuple((mark.seq, _since(mark.at_ms), mark.status, mark.text) for mark in replay.marks)
    return (
        Text(ending(replay.outcome)),
        Steps(steps),
        Chart(figures.timeline(replay, policies), sentence, _timeline_data(replay, guardrails)),
    )


def phase_badge(replay: Replay) -> Badge:
    """Return how a run ended, as a status: judged by the truth, which the controller never saw."""
    outcome = replay.outcome
    word = str(outcome["phase"]).replace("_", " ")
    if outcome["false_rollback"]:
        return Badge("crit", "FALSE ROLLBACK")
    if outcome["caught"] is not None:
        return Badge("ok", f"{word}, defect caught") if outcome["caught"] else Badge("crit", f"{word}, defect missed")
    return Badge(PHASE_STATUS[outcome["phase"]], word)


def forest_data(
    table: pl.DataFrame, worlds: Sequence[str], policies: Sequence[str], columns: Sequence[Column]
) -> Table:
    """Return the numbers of a forest plot: estimate and interval for each world and policy, and how many runs."""
    cells = {(row["world"], row["policy"], row["figure"]): row for row in table.iter_rows(named=True)}
    groups = []
    for world in worlds:
        rows: list[tuple[str | Cell, ...]] = []
        for policy in policies:
            found = [cells.get((world, policy, column.figure)) for column in columns]
            if any(found):
                shown = (estimate_cell(row, column) for row, column in zip(found, columns, strict=True))
                rows.append((policy, *shown, *(f"{row['runs']:,}" if row else "0" for row in found)))
        groups.append(Group(world, tuple(rows)))
    head = ("policy", *(column.title.lower() for column in columns), *("runs" for _ in columns))
    return Table("Estimates with 95 % intervals", head, tuple(groups))


def estimate_cell(row: dict[str, object] | None, column: Column) -> Cell:
    """Return an estimate above its interval; a share has a bar."""
    estimate, lower, upper = (_number(row, name) for name in ("estimate", "lower", "upper"))
    is_share = column.write is texts.percent and math.isfinite(estimate)
    small = "" if lower == upper == estimate else texts.interval(lower, upper, column.write)
    return Cell(column.write(estimate), small if math.isfinite(estimate) else "", estimate if is_share else None)


def _number(row: dict[str, object] | None, name: str) -> float:
    value = None if row is None else row[name]
    return float(value) if isinstance(value, (int, float)) else math.nan


def _delay_chart(outcomes: pl.DataFrame, world: str, policies: Sequence[str]) -> Chart:
    own = outcomes.filter(pl.col("world") == world)
    rows = []
    for policy in policies:
        runs = own.filter(pl.col("policy") == policy)
        delays = runs.filter(pl.col("caught").is_not_null())["delay_ms"].to_list()
        caught = sorted(delay for delay in delays if math.isfinite(delay))
        first, last = (show(caught[0]), show(caught[-1])) if caught else (texts.NOTHING, texts.NOTHING)
        rows.append((policy, f"{len(runs):,}", f"{len(delays):,}", f"{len(caught):,}", first, last))
    head = ("policy", "runs", "reached the defect", "caught it", "soonest after", "latest after")
    return Chart(
        figures.delay_curves(outcomes, world, policies),
        "Share of the runs that reached the defect and have caught it by then. A curve that stays low never "
        'caught the rest; "no run": each one was rolled back before the defect began.',
        Table(f"Time to catch: {world}", head, (Group("", tuple(rows)),)),
    )


def _timeline_data(replay: Replay, guardrails: Sequence[str]) -> Table:
    frame = bucketed_rates(replay, limit=_DATA_ROWS)
    columns = [[show(closed * replay.tick_ms) for closed in frame["closed"].to_list()]]
    head = ["until"]
    for arm in ("treatment", "control"):
        columns += [[f"{n:,}" for n in frame[f"{arm}_requests"].to_list()], _shares(frame[f"{arm}_rate"])]
        head += [f"{arm}: requests", "error rate"]
    for name in guardrails:
        evidence = bucketed_evidence(replay, name, limit=_DATA_ROWS)
        columns += [_logs(evidence["log10_e"]), [v or texts.NOTHING for v in evidence["verdict"].to_list()]]
        head += [f"{name}: log10 E, largest", "verdict, worst"]
    rows = tuple(zip(*columns, strict=True))
    return Table(f"{replay.world} · {replay.policy}, in {len(rows)} steps", tuple(head), (Group("", rows),))


def _shares(rates: pl.Series) -> list[str]:
    return [texts.NOTHING if rate is None else texts.percent(rate) for rate in rates.to_list()]


def _logs(values: pl.Series) -> list[str]:
    return [texts.NOTHING if value is None else f"{value:.2f}" for value in values.to_list()]


def _since(at_ms: int) -> str:
    return "at the start" if at_ms == 0 else f"after {show(at_ms)}"
