"""The page of a run file: what was rehearsed, what came out, and how to see it again."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import polars as pl

from phase4.cli import meaning
from phase4.cli.console import percent, words
from phase4.clock import iso
from phase4.dashboard import pages, sections, texts
from phase4.dashboard.blocks import Badge, Block, Cell, Code, Details, Facts, Group, Notice, Section, Table, Text
from phase4.dashboard.figures import Column
from phase4.dashboard.replay import Replay, read_replays, specs, stages
from phase4.durations import show
from phase4.errors import ExtraMissing as ExtraMissing  # noqa: PLC0414  callers catch it by this name
from phase4.sim.outcome import Figure, OperatingCharacteristics
from phase4.store.runs import RunFile

COLUMNS = (
    Column("false rollback", "false_rollback", texts.percent),
    Column("caught", "caught", texts.percent),
    Column("delay, median", "delay_hours_median", texts.hours),
    Column("delay, 95 %", "delay_hours_95", texts.hours),
    Column("users until caught, median", "delay_users_median", texts.number),
    Column("users until caught, 95 %", "delay_users_95", texts.number),
    Column("users harmed, mean", "harmed_users", texts.number),
    Column("full rollout, median", "full_hours_median", texts.hours),
    Column("ends on hold", "held", texts.percent),
)
"""The figures of the table, those that the command line prints."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Content:
    """A run file, read."""

    info: Mapping[str, Any]
    worlds: tuple[Mapping[str, Any], ...]
    policies: tuple[Mapping[str, Any], ...]
    outcomes: pl.DataFrame
    figures: pl.DataFrame
    replays: Mapping[tuple[str, str], Replay]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all policies, in order: it decides how each one looks."""
        return tuple(policy["name"] for policy in self.policies)


def page(run: RunFile) -> str:
    """Return the report of a sweep or run as one self-contained HTML text.

    Raises:
        ExtraMissing: plotly is not installed.
        StoreUnavailable: the file cannot be read.
    """
    content = _Content(
        info=run.info,
        worlds=tuple(run.table("world").to_dicts()),
        policies=tuple(run.table("policy").to_dicts()),
        outcomes=run.table("outcome"),
        figures=run.table("figure"),
        replays=read_replays(run),
    )
    parts = _run_sections(content) if run.info["kind"] == "run" else _sweep_sections(content)
    complete = Badge("ok", "complete") if run.info["complete"] else Badge("warn", "PARTIAL")
    return pages.document(
        run.info["scenario"],
        parts,
        subtitle=run.info["covers"],
        badges=(Badge("info", "sim: a rehearsal, not production"), complete),
    )


def _sweep_sections(content: _Content) -> list[Section]:
    worlds = _present(content, "world")
    table, policies = content.figures, content.names
    delays = sections.delay_sections(content.outcomes, worlds, policies, span=4)
    texts_of = [Text(sentence) for sentence in meaning.sentences(_characteristics(content))]
    return [
        Section("In short", (*_warning(content), sections.tiles(table, policies), _tiles_note(worlds), *texts_of)),
        sections.errors_section(table, worlds, policies, span=8),
        sections.harm_section(table, worlds, policies, span=4),
        *delays,
        Section("Every figure", (_table(content, worlds),)),
        *_replay_sections(content, worlds),
        _plans(content.policies),
        _worlds(content.worlds),
        _reproduce(content),
    ]


def _run_sections(content: _Content) -> list[Section]:
    """Return the sections of one run: its figures would be of one run, so it is told instead."""
    (outcome,) = content.outcomes.to_dicts()
    cell = (outcome["world"], outcome["policy"])
    title = f"{cell[0]} · {cell[1]} · replicate {outcome['replicate']}"
    body = sections.replay_blocks(content.replays[cell], content.names) if cell in content.replays else ()
    return [
        Section(title, (*_warning(content), *body)),
        _plans([policy for policy in content.policies if policy["name"] == cell[1]]),
        _worlds([world for world in content.worlds if world["name"] == cell[0]]),
        _reproduce(content),
    ]


def _present(content: _Content, column: str) -> list[str]:
    """Return the worlds (or policies) that have runs, in the scenario's order: a partial sweep may lack some."""
    seen = set(content.outcomes[column].to_list())
    return [row["name"] for row in content.worlds if row["name"] in seen]


def _warning(content: _Content) -> tuple[Block, ...]:
    info = content.info
    if info["complete"]:
        return ()
    text = f"PARTIAL: interrupted after {info['done']:,} of {info['planned']:,} runs; every figure is over those."
    return (Notice("warn", text),)


def _tiles_note(worlds: Sequence[str]) -> Text:
    text = f"Each number is that of the world that suits the policy least, of {len(worlds)} worlds."
    return Text(text, is_note=True)


def _characteristics(content: _Content) -> list[OperatingCharacteristics]:
    """Return the figures as the values they were stored from."""
    names = [
        field.name for field in fields(OperatingCharacteristics) if field.name not in {"world", "policy", "replicates"}
    ]
    counts = content.outcomes.group_by("world", "policy").len().iter_rows()
    replicates = {(world, policy): count for world, policy, count in counts}
    stored: dict[tuple[str, str], dict[str, Figure]] = {}
    for row in content.figures.iter_rows(named=True):
        estimate, lower, upper = (
            math.nan if row[name] is None else float(row[name]) for name in ("estimate", "lower", "upper")
        )
        figure = Figure(estimate, lower, upper, row["runs"])
        stored.setdefault((row["world"], row["policy"]), {})[row["figure"]] = figure
    return [
        OperatingCharacteristics(
            world=world, policy=policy, replicates=replicates[world, policy], **{name: own[name] for name in names}
        )
        for (world, policy), own in stored.items()
    ]


def _table(content: _Content, worlds: Sequence[str]) -> Table:
    """Return the table: a block for each world, a row for each policy, every estimate above its interval."""
    about = {world["name"]: world["about"] for world in content.worlds}
    cells = {(r["world"], r["policy"], r["figure"]): r for r in content.figures.iter_rows(named=True)}
    groups = []
    for world in worlds:
        rows: list[tuple[str | Cell, ...]] = [
            (policy, *(sections.estimate_cell(cells.get((world, policy, c.figure)), c) for c in COLUMNS))
            for policy in content.names
            if (world, policy, "false_rollback") in cells
        ]
        title = f"{world} – {about[world]}" if about[world] else world
        groups.append(Group(title, tuple(rows)))
    caption = "Below each figure its 95 % interval. – nothing to estimate; never: not within the rehearsal."
    return Table(caption, ("policy", *(column.title for column in COLUMNS)), tuple(groups))


def _replay_sections(content: _Content, worlds: Sequence[str]) -> list[Section]:
    """Return a section for each world with the stored run of each policy; the last one is open."""
    found = []
    for world in worlds:
        own = [replay for replay in content.replays.values() if replay.world == world]
        body: list[Block] = [
            Details(
                replay.policy,
                sections.replay_blocks(replay, content.names),
                badge=sections.phase_badge(replay),
                is_open=replay is own[-1],
            )
            for replay in own
        ]
        about = next(row["about"] for row in content.worlds if row["name"] == world)
        nothing = [] if own else [Text("No run of this world was stored.", is_note=True)]
        found.append(Section(f"One run: {world}", (Text(about, is_note=True), *body, *nothing)))
    return found


def _plans(policies: Sequence[Mapping[str, Any]]) -> Section:
    by_stages: dict[str, list[Mapping[str, Any]]] = {}
    for policy in policies:
        by_stages.setdefault(policy["stages"], []).append(policy)
    stage_groups = tuple(
        Group(" · ".join(policy["name"] for policy in same), tuple(_stage_row(s) for s in stages(same[0])))
        for same in by_stages.values()
    )
    guard_groups = tuple(
        Group(f"{p['name']} – {p['about']} (plan sha256:{p['plan_digest'][:12]})", tuple(map(_guard_row, specs(p))))
        for p in policies
    )
    stage_head = ("stage", "exposure", "watched at least", "planned at least", "pauses after", "approval before")
    guard_head = ("guardrail", "kind", "limit", "role", "counts", "outcomes", "fewest units")
    body = (
        Table("Stages", stage_head, stage_groups, is_prose=True),
        Table("Guardrails, with the limits of the first stage", guard_head, guard_groups, is_prose=True),
    )
    return Section("Policies", body)


def _stage_row(stage: Mapping[str, Any]) -> tuple[str, ...]:
    times = (show(stage[name]) for name in ("active_min", "bake", "max_duration"))
    return (stage["name"], percent(stage["percentage"] / 100.0), *times, "yes" if stage["approval"] else "no")


def _guard_row(spec: Mapping[str, Any]) -> tuple[str, ...]:
    kind = words(str(spec["kind"]).removesuffix("Guardrail"))
    if kind == "threshold":
        kind = "raw threshold, " + ("cumulative" if spec["window"] is None else f"{spec['window']} tick")
    units = "by the limit" if spec["min_units"] is None else f"{spec['min_units']:,}"
    by_shares = {"sample ratio": "users", "repeat": "third errors"}
    counted = spec.get("outcome_set") or spec.get("measure") or by_shares.get(kind, "latency")
    return (spec["name"], kind, _guard_limit(spec), spec["role"], f"{spec['unit']}s", counted, units)


def _guard_limit(spec: Mapping[str, Any]) -> str:
    """Return what a guardrail holds its arm to, of whatever kind it is."""
    if "limit" in spec:
        return percent(spec["limit"])
    if "max_ratio" in spec:
        return f"ratio {spec['max_ratio']:g}"
    if "quantile" in spec:
        return f"p{100.0 * spec['quantile']:g} +{percent(spec['margin'])}"
    return f"mean +{percent(spec['margin'])}" if "margin" in spec else "shares as assigned"


def _worlds(worlds: Sequence[Mapping[str, Any]]) -> Section:
    rows = []
    for world in worlds:
        faults = "; ".join(_fault(fault) for fault in json.loads(world["faults"])) or "none"
        rows.append((world["name"], iso(world["start_ms"])[:10], faults))
    head = ("world", "from", "faults")
    return Section("Worlds", (Table("What the policies met", head, (Group("", tuple(rows)),), is_prose=True),))


def _fault(fault: Mapping[str, Any]) -> str:
    lasting = f" for {show(fault['for_ms'])}" if fault["for_ms"] is not None else ""
    begin = show(fault["at_ms"]) if fault["at_ms"] else "the start"
    if fault.get("kind") == "latency":  # runs that were stored before have errors alone, without a kind
        what = f"{fault['arm']} takes {fault['factor']:g} times as long"
    else:
        whose = f"{fault['user_class']} of {fault['arm']}" if fault.get("user_class") else fault["arm"]
        what = f"{percent(fault['add'])} of the fine outcomes of {whose} fail"
    return f"{fault['id']}: from {begin} on{lasting}, {what}"


def _reproduce(content: _Content) -> Section:
    info = content.info
    short = info["scenario_hash"][:12]
    if info["kind"] == "run":
        (outcome,) = content.outcomes.to_dicts()
        command = (
            f'phase4 simulate run SCENARIO.toml --world "{outcome["world"]}" --policy "{outcome["policy"]}"'
            f" --seed {info['seed']} --replicate {outcome['replicate']}"
        )
    else:
        command = f"phase4 simulate sweep SCENARIO.toml --seed {info['seed']} --replicates {info['replicates']}"
    facts = Facts(
        (
            ("runs", f"{info['done']:,} of {info['planned']:,}"),
            ("each lasts", f"{show(info['duration_ms'])} in ticks of {show(info['tick_ms'])}"),
            ("flag", info["flag_key"]),
            ("traffic", info["mode"]),
            ("seed", str(info["seed"])),
            ("scenario sha256", info["scenario_hash"]),
            ("digest of the runs", info["digest"]),
            ("versions", info["versions"]),
            ("made", iso(info["started_wall_ms"])),
            ("file", f"{info['id']}.duckdb"),
        )
    )
    text = Text(
        f'SCENARIO.toml is the file of "{info["scenario"]}"; its hash, by `phase4 simulate validate`, is {short}.'
        " With the same versions the digest comes out the same."
    )
    return Section("See it again", (facts, Code((command,)), text))
