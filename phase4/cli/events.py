"""Parsers of `phase4 events`; the work is in `phase4.cli.eventswork`."""

from __future__ import annotations

from typing import Any

from phase4.cli.parsers import Group

FORMATS = ("csv", "parquet", "jsonl")


def add_parsers(commands: Any) -> None:
    """Add the `events` commands."""
    group = Group(commands, "events", "bring events in and out as files", module="phase4.cli.eventswork")
    _add_import(
        group.add(
            "import",
            "bring in events of a file or folder",
            "events import events.csv --map outcome.ok=200,201 --dry-run",
            changes=True,
            does="bring_in",
        )
    )
    group.add("list", "sources of events, their files, and what was set aside", "events list", does="show")
    export = group.add("export", "write events to a file", "events export -o events.parquet", does="export")
    export.add_argument("-o", "--output", metavar="PATH", required=True, help="the file; what is there is replaced")
    export.add_argument("--from", dest="since", metavar="TIME", help="events from this moment on")
    export.add_argument("--to", dest="until", metavar="TIME", help="events before this moment")
    export.add_argument("--flag", metavar="FLAG", help="one flag only")
    export.add_argument("--format", choices=FORMATS, help="default: by the file's name")
    export.add_argument("--with-names", action="store_true", help="names instead of numbers")


def _add_import(parser: Any) -> None:
    parser.add_argument("path", metavar="FILE|DIR|-", help="CSV, Parquet or JSON Lines; - reads stdin")
    parser.add_argument(
        *("--map",),
        action="append",
        default=[],
        metavar="FIELD=COLUMN",
        help="which column is a field; FIELD.NAME=VALUE,VALUE = which values stand for a name",
    )
    parser.add_argument(
        "--const", action="append", default=[], metavar="FIELD=VALUE", help="a value that holds for all rows"
    )
    parser.add_argument("--map-file", metavar="M.toml", help="the same in a file; the command line wins")
    parser.add_argument("--time-unit", choices=("s", "ms", "us", "iso"), help="default: as the first time looks")
    parser.add_argument("--format", choices=FORMATS, help="default: by the file's name")
    parser.add_argument(
        "--on-error", choices=("stop", "quarantine"), default="stop", help="what a bad row means (stop)"
    )
