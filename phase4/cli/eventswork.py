"""The work of `phase4 events`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from phase4 import clock
from phase4.cli import order
from phase4.cli.console import Console
from phase4.cli.order import with_store
from phase4.cli.settings import settings_of
from phase4.durations import DAY_MS
from phase4.errors import Phase4Error, UsageError
from phase4.store import exchange, mapping, tables
from phase4.store.control import ControlStore
from phase4.store.exchange import ALREADY, EMPTY, IMPORTED, REFUSED, UNDERSTOOD, Imported

BAD_ROWS = 1
BIG = 1_000_000
"""Rows from which on progress is shown."""


# -------------------------------------------------------------------------------------------------------------- import
@with_store
def bring_in(args: Any, console: Console, store: ControlStore) -> int:
    """Bring files in."""
    wishes = mapping.wishes(args.map, args.const, map_file=args.map_file, time_unit=args.time_unit)
    paths = tables.files_of(args.path, args.format)
    wanted = exchange.Order(
        wishes=wishes, format=args.format, on_error=args.on_error, actor=order.actor(), **_named(args)
    )
    progress = _Progress()
    done: list[Imported] = []
    try:
        for each in exchange.import_files(store, paths, wanted, progress):
            progress.end()
            done.append(each)
            _tell(console, each)
    except Phase4Error as error:
        if done:
            error.hint = f"what was brought in before stays: {', '.join(each.file for each in done)}"
        raise
    finally:
        progress.end()
    warnings = _warnings(done, settings_of(store).value("RETENTION_RAW_DAYS"), store.now())
    for text in warnings:
        console.warn(text)
    left = paths[len(done) :]
    if left:
        console.line(f"not tried: {', '.join(left)}")
    console.result("events import", _told(done, left), warnings)
    return BAD_ROWS if any(each.bad for each in done) else 0


def _named(args: Any) -> dict[str, Any]:
    return {"request_id": order.request_id(args), "reason": args.reason}


def _told(done: Iterable[Imported], left: Iterable[str]) -> dict[str, Any]:
    files = [each.to_json() for each in done]
    codes = _summed(each["codes"] for each in files)
    return {
        "files": files,
        "rows": sum(each["rows"] for each in files),
        "kept": sum(each["kept"] for each in files),
        "bad": sum(each["bad"] for each in files),
        "codes": codes,
        "not_tried": list(left),
    }


def _summed(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for each in counts:
        for code, count in each.items():
            found[code] = found.get(code, 0) + count
    return found


def _tell(console: Console, done: Imported) -> None:
    if done.status == UNDERSTOOD:
        _tell_layout(console, done)
    elif done.layout.guesses:
        guesses = (f'{name} = column "{done.layout.columns[name]}"' for name in done.layout.guesses)
        console.line(f"{done.file}: taken for {', '.join(guesses)}")
    for text in done.problems:
        console.line(text)
    if done.bad > len(done.problems):
        console.line(f"{done.file}: {done.bad - len(done.problems):,} more bad rows")
    if done.bad:
        console.line(f"{done.file}: {_counted(done.codes)}")
    console.line(f"{done.file}: {_outcome(done)}")


def _outcome(done: Imported) -> str:
    span = "" if done.from_ms is None else f", {_span(done.from_ms, done.until_ms)}"
    aside = f", {done.bad:,} set aside" if done.bad else ""
    return {
        IMPORTED: f"{done.rows:,} rows imported{span}{aside}",
        ALREADY: "already imported, 0 rows",
        REFUSED: f"{done.bad:,} of {done.rows + done.bad:,} rows are bad: nothing of it is kept",
        UNDERSTOOD: f"{done.rows:,} rows are events{span}, {done.bad:,} are bad",
        EMPTY: "0 rows",
    }[done.status]


def _tell_layout(console: Console, done: Imported) -> None:
    layout = done.layout
    for name in mapping.FIELDS:
        if name in layout.columns:
            guessed = "  (by its name)" if name in layout.guesses else ""
            unit = f", {done.time_unit}" if name == "time" else ""
            console.line(f'  {name:<14} column "{layout.columns[name]}"{unit}{guessed}')
        elif name in layout.constants:
            console.line(f'  {name:<14} always "{layout.constants[name]}"')
    for name, values in layout.values.items():
        for given, ours in values.items():
            console.line(f'  {name + "." + ours:<14} "{given}"')
    if layout.unused:
        console.line(f"  {'not used':<14} {', '.join(layout.unused)}")
    for row in done.sample:
        latency = "-" if row["latency"] is None else f"{row['latency']:g} ms"
        words = (clock.iso(row["at_ms"]), row["flag"], row["arm"], row["outcome"], latency, f"unit {row['unit']}")
        console.line(f"  line {row['line']}: {'  '.join(words)}")


def _warnings(done: Iterable[Imported], raw_days: int, now_ms: int) -> list[str]:
    """Return what a person would be surprised by later."""
    old = [each.file for each in done if each.rows and (each.from_ms or now_ms) < now_ms - raw_days * DAY_MS]
    if not old:
        return []
    return [f"{', '.join(old)}: events older than {raw_days} days are kept as counters only (RETENTION_RAW_DAYS)"]


class _Progress:
    """Says how far a big file is, on a terminal."""

    def __init__(self) -> None:
        self._is_shown = False

    def __call__(self, done: int, planned: int) -> None:
        if planned >= BIG and done < planned and sys.stderr.isatty():
            self._is_shown = True
            print(f"\r{done:,} of {planned:,} rows", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._is_shown:
            print("\r" + " " * 60 + "\r", end="", file=sys.stderr, flush=True)
        self._is_shown = False


# ---------------------------------------------------------------------------------------------------------------- list
@with_store
def show(args: Any, console: Console, store: ControlStore) -> int:
    """Print sources, files and what was set aside."""
    del args
    found = exchange.listing(store)
    for source in found.sources:
        span = (
            "no rows" if source.from_ms is None else f"{source.rows:,} rows, {_span(source.from_ms, source.until_ms)}"
        )
        aside = f", set aside: {_counted(source.set_aside)}" if source.set_aside else ""
        console.line(f"source {source.number}  {source.kind:<8} {source.name}  {span}{aside}")
    for file in found.files:
        events = "" if file.has_events else "  (counters)"
        console.line(f"{file.path}  {file.rows:,} rows, {_span(file.min_ms, file.max_ms + 1)}{events}")
    if not found.sources:
        console.line("no events")
    if found.set_aside:
        console.line(f"set aside: {_counted(found.set_aside)}")
    console.result("events list", _listed(found))
    return 0


def _listed(found: exchange.Listing) -> dict[str, Any]:
    return {
        "sources": [
            {
                "source": source.number,
                "uuid": source.uuid.hex(),
                "kind": source.kind,
                "name": source.name,
                "started_ms": source.started_ms,
                "is_closed": source.closed_ms is not None,
                "rows": source.rows,
                "from_ms": source.from_ms,
                "until_ms": source.until_ms,
                "ranges": [{"first_seq": each.first_seq, "end_seq": each.end_seq} for each in source.ranges],
                "quarantine": dict(source.set_aside),
            }
            for source in found.sources
        ],
        "files": [
            {
                "path": file.path,
                "tier": file.tier,
                "rows": file.rows,
                "from_ms": file.min_ms,
                "until_ms": file.max_ms + 1,
                "bytes": file.size,
                "has_events": file.has_events,
            }
            for file in found.files
        ],
        "rows": sum(source.rows for source in found.sources),
        "quarantine": dict(found.set_aside),
    }


# -------------------------------------------------------------------------------------------------------------- export
@with_store
def export(args: Any, console: Console, store: ControlStore) -> int:
    """Write events to a file."""
    from_ms, until_ms = (_moment(option, getattr(args, name)) for option, name in _WINDOW)
    if from_ms is not None and until_ms is not None and from_ms >= until_ms:
        raise UsageError(f"--from lies before --to: {args.since} and {args.until}")
    done = exchange.export(
        store,
        args.output,
        format=args.format,
        from_ms=from_ms,
        until_ms=until_ms,
        flag_key=args.flag,
        with_names=args.with_names,
    )
    warnings = [f"the events of {day} are no longer kept: RETENTION_RAW_DAYS" for day in done.gaps]
    if not done.rows:
        warnings.append("there are no such events")
    for text in warnings:
        console.warn(text)
    console.line(f"{args.output}: {done.rows:,} rows, {done.size:,} bytes")
    data = {"file": args.output, "rows": done.rows, "bytes": done.size, "from_ms": from_ms, "until_ms": until_ms}
    console.result("events export", {**data, "flag": args.flag}, warnings)
    return 0


_WINDOW = (("--from", "since"), ("--to", "until"))


def _moment(option: str, text: str | None) -> int | None:
    """Return a moment in ms: ISO 8601, UTC where it has no offset, or ms since 1970."""
    if text is None:
        return None
    if text.isascii() and text.isdecimal() and len(text) <= 15 and len(text) != 8:
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option}: {text!r} is no moment, for example 2026-01-31T12:00:00Z or 2026-01-31") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


# --------------------------------------------------------------------------------------------------------------- words
def _counted(codes: Mapping[str, int]) -> str:
    return ", ".join(f"{code} {count:,}" for code, count in codes.items())


def _span(from_ms: int, until_ms: int | None) -> str:
    return f"{clock.iso(from_ms)} to {clock.iso((until_ms or from_ms + 1) - 1)}"
