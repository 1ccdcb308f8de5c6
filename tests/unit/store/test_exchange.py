"""Events in and out as files: what is understood, what is refused, and that nothing comes in twice."""

import gzip
import json
import signal
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phase4.errors import InvalidInput, RequestIdReused, UsageError, WriteFailed
from phase4.ids import new_id
from phase4.store import exchange, intake, manifest, tables, unit_key
from phase4.store.exchange import ALREADY, EMPTY, IMPORTED, QUARANTINE, REFUSED, STOP, UNDERSTOOD, Order
from phase4.store.intake import ROWS
from phase4.store.mapping import wishes
from phase4.store.record import unit_of
from tests.data.homes.make import START
from tests.unit.store.event_home import ALWAYS, DAY, EventHome, rows, spread

HEAD = "time,targeting_key,flag,arm,outcome,latency"
OF_EVENT = ("t_ms", "unit", "flag_version", "latency_ms", "flag", "entry", "bucket", "arm", "reason", "outcome")
T = "2013-11-22T10:00:00Z"
GOOD = f"{T},ada,checkout,treatment,ok,12.5"


@pytest.fixture
def home(tmp_path):
    found = EventHome(tmp_path / "home")
    yield found
    found.close()


@pytest.fixture
def bring(home, tmp_path):
    """Return what brings a text, bytes or a frame in and answers what became of it."""

    def bring(content, name="events.csv", *maps, **more):
        path = tmp_path / name
        write(path, content)
        return one(home, path, *maps, **more)

    return bring


def write(path, content):
    path.parent.mkdir(exist_ok=True, parents=True)
    if isinstance(content, pl.DataFrame):
        content.write_parquet(path)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def one(home, path, *maps, **more):
    (done,) = every(home, [path], *maps, **more)
    return done


def every(home, paths, *maps, on_error=STOP, consts=(), time_unit=None, dry_run=False, request_id=None, **more):
    wanted = Order(
        wishes=wishes(maps, consts, time_unit=time_unit),
        on_error=on_error,
        actor="ada",
        request_id=request_id or new_id(),
        **more,
    )
    home.store.is_dry_run = dry_run
    try:
        return list(exchange.import_files(home.store, [str(path) for path in paths], wanted))
    finally:
        home.store.is_dry_run = False


def csv(*lines, head=HEAD):
    return "\n".join((head, *lines)) + "\n"


def bad(done):
    """Return the codes of the bad rows."""
    return dict(done.codes)


def message(done):
    """Return what is said of the only bad row, without the folder."""
    (text,) = done.problems
    return text.rsplit("/", 1)[-1]


def events(home):
    return home.reader.frame(*ALWAYS)


def aside(home):
    paths = sorted((home.folder / "quarantine").iterdir())
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


# ----------------------------------------------------------------------------------------------- what is understood


def test_a_row_becomes_the_event_that_it_says(home, bring):
    done = bring(csv(GOOD))
    (event,) = events(home).to_dicts()
    assert (done.status, done.rows, done.bad) == (IMPORTED, 1, 0)
    assert event == {
        "t_ms": 1_385_114_400_000,
        "unit": unit_of(unit_key.load_or_make(home.home), b"ada"),
        "seq": 0,
        "arrived_ms": START,
        "flag_version": 0,
        "latency_ms": 12.5,
        "flag": 1,
        "entry": 0,
        "bucket": 0,
        "source": 1,
        "arm": 2,
        "reason": 0,
        "outcome": 2,
    }


FRAME = pl.DataFrame(
    {
        "time": [1_385_114_400_000],
        "targeting_key": ["ada"],
        "flag": ["checkout"],
        "arm": ["treatment"],
        "outcome": ["ok"],
        "latency": [12.5],
    }
)
JSON_LINE = json.dumps(FRAME.to_dicts()[0])


@pytest.mark.parametrize(
    ("name", "content"),
    {
        "e.csv": csv(GOOD),
        "e.txt": csv(GOOD).replace(",", ";"),
        "e.tsv": csv(GOOD).replace(",", "\t"),
        "E.CSV": csv(GOOD).replace(",", "|"),
        "crlf.csv": csv(GOOD).replace("\n", "\r\n"),
        "mark.csv": "\ufeff" + csv(GOOD),
        "utf16.csv": csv(GOOD).encode("utf-16"),
        "blank.csv": "\n\n" + csv("", GOOD, "", ",,,,,"),
        "no_end.csv": csv(GOOD).rstrip("\n"),
        "quoted.csv": csv(*[",".join(f'"{each}"' for each in GOOD.split(","))]),
        "spaces.csv": csv(GOOD.replace(",12.5", ", 12.5 ")),
        "e.csv.gz": gzip.compress(csv(GOOD).encode()),
        "e.parquet": FRAME,
        "e.pq": FRAME,
        "e.jsonl": JSON_LINE,
        "crlf.ndjson": f"{JSON_LINE}\r\n\r\n",
        "e.jsonl.gz": gzip.compress(JSON_LINE.encode()),
        "packed_but_not_called_so.csv": gzip.compress(csv(GOOD).encode()),
    }.items(),
    ids=lambda each: each if isinstance(each, str) and len(each) < 40 else "",
)
def test_every_form_of_a_file_gives_the_same_event(home, bring, name, content):
    assert bring(content, name).problems == ()
    (event,) = events(home).select(OF_EVENT).rows()
    unit = unit_of(unit_key.load_or_make(home.home), b"ada")
    assert event == (1_385_114_400_000, unit, 0, 12.5, 1, 0, 0, 2, 0, 2)


def test_zstd_is_understood_too(home, tmp_path):
    home.keep(rows(spread(100), source=9), source=9)
    home.clock.advance(10 * DAY)
    paths = [tmp_path / "x.csv.zst", tmp_path / "x.jsonl.zst"]
    for path in paths:
        exchange.export(home.store, str(path))
    assert [(done.status, done.rows) for done in every(home, paths)] == [(IMPORTED, 100), (IMPORTED, 100)]


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("1385114400", None),
        ("1385114400.0", None),
        ("1385114400000", None),
        ("1385114400000.0", None),
        ("1.3851144e12", None),
        ("1385114400000000", None),
        ("1385114400", "s"),
        ("1385114400000", "ms"),
        ("1385114400000000", "us"),
        ("2013-11-22T10:00:00Z", "iso"),
        ("2013-11-22T12:00:00+02:00", None),
        ("2013-11-22T12:00:00+0200", None),
        ("2013-11-22 10:00:00", None),
        ("2013-11-22T10:00:00.000", None),
        ("2013-11-22T10:00Z", None),
        ("2013-11-22 10:00", None),
    ],
)
def test_a_moment_is_understood_as_people_write_it(home, bring, text, unit):
    assert bring(csv(GOOD.replace(T, text)), time_unit=unit).problems == ()
    assert events(home)["t_ms"][0] == 1_385_114_400_000


def test_a_day_is_its_begin(home, bring):
    bring(csv(GOOD.replace(T, "2013-11-22")))
    assert events(home)["t_ms"][0] % DAY == 0


def test_a_column_that_is_called_ms_is_in_ms(home, bring):
    bring(csv(GOOD.replace(T, "1385114400"), head=HEAD.replace("time", "t_ms")))
    assert events(home)["t_ms"][0] == 1_385_114_400


@pytest.mark.parametrize("kind", [pl.Datetime("ms"), pl.Datetime("us", "Europe/Paris"), pl.Datetime("ns", "UTC")])
def test_a_moment_of_parquet_needs_no_unit(home, bring, kind):
    moment = pl.from_epoch(pl.Series([1_385_114_400_000]), "ms").dt.replace_time_zone("UTC")
    zone = kind.time_zone
    typed = moment.dt.convert_time_zone(zone) if zone else moment.dt.replace_time_zone(None)
    bring(FRAME.with_columns(time=typed.cast(kind)), "e.parquet", time_unit="s")
    assert events(home)["t_ms"][0] == 1_385_114_400_000


def test_whole_numbers_that_are_floats_are_whole_numbers(home, bring):
    frame = FRAME.with_columns(targeting_key=pl.lit(7.0), arm=pl.lit(2.0), outcome=pl.lit(2.0), entry=pl.lit(1.0))
    assert bring(frame, "e.parquet").problems == ()
    (event,) = events(home).to_dicts()
    assert (event["arm"], event["outcome"], event["entry"]) == (2, 2, 1)
    assert event["unit"] == unit_of(unit_key.load_or_make(home.home), b"7")


def test_aliases_are_understood_and_said(home, bring):
    head = "Timestamp,userId,Feature-Flag,group,status,duration_ms,country"
    done = bring(csv(GOOD + ",de", head=head))
    assert set(done.layout.guesses) == {"time", "targeting_key", "flag", "arm", "outcome", "latency"}
    assert done.layout.unused == ("country",)


def test_our_own_names_are_no_guess(bring):
    assert bring(csv(GOOD, head="t_ms,targeting_key,flag,arm,outcome,latency_ms"), dry_run=True).layout.guesses == ()


def test_maps_constants_and_value_maps_say_the_rest(home, bring):
    text = csv(f"{T},ada,B,201,5", f"{T},bob,A,500,6", head="a,b,c,d,e")
    maps = ("time=a", "targeting_key=b", "arm=c", "outcome=d", "latency=e", "arm.treatment=B", "arm.control=A")
    done = bring(text, "e.csv", *maps, "outcome.ok=200,201", "outcome.error=500", consts=["flag=search", "entry=2"])
    assert done.status == IMPORTED
    assert events(home).select("flag", "arm", "outcome", "entry").rows() == [(2, 2, 2, 2), (2, 1, 3, 2)]


def test_a_flag_may_be_given_by_its_number_or_by_a_mapped_value(home, bring):
    bring(csv(GOOD.replace("checkout", "2"), GOOD.replace("checkout", "exp-7")), "e.csv", "flag.checkout=exp-7")
    assert events(home)["flag"].to_list() == [2, 1]


def test_an_exposure_needs_no_latency(home, bring):
    assert bring(csv(f"{T},ada,checkout,treatment,exposure,", f"{T},ada,checkout,control,EXPOSURE,")).bad == 0
    assert bring(csv(f"{T},ada,checkout,treatment,exposure", head=HEAD[:-8]), "f.csv").bad == 0
    assert set(events(home)["latency_ms"]) == {-1.0}


def test_minus_one_says_that_an_outcome_has_no_latency(home, bring):
    assert bring(csv(GOOD.replace("12.5", "-1"))).bad == 0
    assert events(home)["latency_ms"].to_list() == [-1.0]


def test_quoted_line_breaks_are_part_of_a_value_and_lines_count_on(bring):
    text = csv(f'{T},"a\nd\na",checkout,treatment,ok,1', GOOD.replace("12.5", "-3"))
    assert message(bring(text)).startswith('events.csv:5: column "latency": "-3"')


@pytest.mark.parametrize("name", ["small.csv", "shop.csv", "bad.csv"])
def test_the_sample_files_are_read(name):
    assert tables.read(f"tests/data/events/{name}").height >= 3


# ------------------------------------------------------------------------------------------------------------ bad rows


@pytest.mark.parametrize(
    ("line", "code", "text"),
    [
        (GOOD.replace("12.5", "-3"), "bad_latency", 'column "latency": "-3": latency must be a finite number >= 0'),
        (GOOD.replace("12.5", "NaN"), "bad_latency", '"NaN": latency must be'),
        (GOOD.replace("12.5", "inf"), "bad_latency", '"inf": latency must be'),
        (GOOD.replace("12.5", "-inf"), "bad_latency", '"-inf": latency must be'),
        (GOOD.replace("12.5", "1e39"), "bad_latency", '"1e39": latency must be'),
        (GOOD.replace("12.5", "fast"), "bad_latency", '"fast": latency must be'),
        (GOOD.replace("12.5", ""), "bad_latency", '"": latency is needed unless outcome is exposure'),
        (GOOD.replace(T, "2213-11-22T10:00:00Z"), "bad_time", "not in the future"),
        (GOOD.replace(T, "1913-11-22T10:00:00Z"), "bad_time", "above 0"),
        (GOOD.replace(T, "soon"), "bad_time", '"soon": time must be ISO 8601'),
        (GOOD.replace(T, ""), "bad_time", 'column "time": ""'),
        (GOOD.replace(T, "1385114400"), "bad_time", '"1385114400": time must be ISO 8601'),
        (GOOD.replace("ada", ""), "bad_unit", 'column "targeting_key": "": targeting_key must not be empty'),
        (GOOD.replace("checkout", "chekcout"), "unknown_flag", 'did you mean "checkout"?'),
        (GOOD.replace("checkout", "Checkout"), "unknown_flag", 'did you mean "checkout"?'),
        (GOOD.replace("checkout", "zzz"), "unknown_flag", "flag must be one of this home: checkout, search"),
        (GOOD.replace("treatment", "3"), "unknown_arm", "arm must be control or treatment"),
        (GOOD.replace("ok", "200"), "bad_outcome", "outcome must be exposure, ok, error, timeout, invalid"),
        (GOOD.replace("ok", "0"), "bad_outcome", "outcome must be"),
        (GOOD + ",more", "bad_row", "the row has more fields than the first line has names"),
        (f"{T},ada,checkout", "unknown_arm", 'column "arm": ""'),
    ],
)
def test_a_bad_row_is_named_by_file_line_column_and_value(home, bring, line, code, text):
    done = bring(csv(GOOD, line))
    assert (done.status, bad(done)) == (REFUSED, {code: 1})
    assert message(done).startswith("events.csv:3: ")
    assert text in message(done)
    assert events(home).is_empty()


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("unit", "0x", "bad_unit"),
        ("unit", "0xg1", "bad_unit"),
        ("unit", "0x1ffffffffffffffff", "bad_unit"),
        ("unit", "18446744073709551616", "bad_unit"),
        ("unit", "-1", "bad_unit"),
        ("unit", "2d617e04810228be", "bad_unit"),
        ("entry", "3", "unknown_entry"),
        ("entry", "1.5", "unknown_entry"),
        ("version", "4294967296", "bad_version"),
        ("version", "-1", "bad_version"),
        ("bucket", "10000", "bad_bucket"),
        ("reason", "LUCK", "bad_reason"),
    ],
)
def test_a_bad_value_of_the_other_fields_is_named_too(bring, field, value, code):
    parts = dict(zip(HEAD.split(","), GOOD.split(","), strict=True)) | {field: value}
    if field == "unit":
        del parts["targeting_key"]
    assert bad(bring(csv(",".join(parts.values()), head=",".join(parts)))) == {code: 1}


@pytest.mark.parametrize("value", ["0", "18446744073709551615", "0xffffffffffffffff", "0xAB"])
def test_a_unit_may_be_any_number_of_64_bits(home, bring, value):
    assert bring(csv(GOOD.replace("ada", value), head=HEAD.replace("targeting_key", "unit"))).bad == 0
    assert events(home)["unit"][0] == int(value, 0)


def test_times_of_another_unit_than_the_first_are_bad(bring):
    done = bring(csv(*(GOOD.replace(T, each) for each in ("1385114400000", "1385114400", T, "1385114400000000"))))
    assert bad(done) == {"bad_time": 3}
    assert "whole ms since 1970" in done.problems[0]


def test_text_that_is_no_utf8_is_a_bad_row_and_not_another_user(home, bring):
    done = bring(csv(GOOD).encode() + GOOD.replace("ada", "\xe4da").encode("latin-1") + b"\n", on_error=QUARANTINE)
    assert (bad(done), done.rows) == ({"bad_row": 1}, 1)
    assert message(done) == "events.csv:3: the row is not UTF-8"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("{", "is no JSON"),
        ("[1]", "is no JSON object"),
        ("7", "is no JSON object"),
        ('{"a":' * 100_000, "is "),
        (b'{"time": "\xff"}', "is not UTF-8"),
    ],
)
def test_a_line_that_is_no_json_object_is_a_bad_row(bring, line, text):
    raw = line if isinstance(line, bytes) else line.encode()
    done = bring(JSON_LINE.encode() + b"\n" + raw + b"\n" + JSON_LINE.encode(), "e.jsonl")
    assert (done.rows, bad(done)) == (2, {"bad_row": 1})
    assert message(done).startswith(f"e.jsonl:2: the row {text}")


@pytest.mark.parametrize("value", ["NaN", "Infinity", "[1]", '{"a": 1}', "true", "null"])
def test_a_json_value_that_is_no_number_is_a_bad_latency(bring, value):
    assert bad(bring(JSON_LINE.replace("12.5", value), "e.jsonl")) == {"bad_latency": 1}


def test_json_lines_may_lack_and_add_fields(home, bring):
    lines = [JSON_LINE, JSON_LINE.replace('"latency"', '"new": 1, "latency"'), JSON_LINE.replace("12.5", "13")]
    assert bring("\n".join(lines), "e.jsonl").rows == 3
    assert events(home)["latency_ms"].to_list() == [12.5, 12.5, 13.0]


def test_a_field_of_a_megabyte_is_a_value_like_others_and_is_not_printed_whole(home, bring):
    big = "x" * 2**20
    done = bring(csv(GOOD.replace("ada", big), GOOD.replace("ok", big)), on_error=QUARANTINE)
    assert (done.rows, bad(done)) == (1, {"bad_outcome": 1})
    assert len(message(done)) < 300
    assert "1,048,576 characters" in message(done)


def test_control_characters_of_a_value_do_not_reach_the_terminal(bring):
    assert "\x1b" not in message(bring(csv(GOOD.replace("ok", "\x1b[2J"))))


def test_the_first_twenty_are_told_and_all_are_counted(bring):
    done = bring(csv(*[GOOD.replace("12.5", "-3")] * 30, *[GOOD.replace("ok", "?")] * 5))
    assert (len(done.problems), done.bad, bad(done)) == (20, 35, {"bad_latency": 30, "bad_outcome": 5})


def test_an_entry_may_be_at_most_the_newest_of_its_flag(bring):
    assert bring(csv(f"{GOOD},2", head=f"{HEAD},entry")).bad == 0


# --------------------------------------------------------------------------------------------------- files as a whole


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("e.csv", b"", "is empty"),
        ("e.csv", b"\n\n", "is empty"),
        ("e.parquet", b"", "is empty"),
        ("e.parquet", b"no parquet", "cannot be read"),
        ("e.csv.gz", gzip.compress(b"x" * 1000)[:-9], "no whole gzip"),
        ("e.csv.zst", b"\x28\xb5\x2f\xfdxxx", "cannot be read"),
        ("e.csv", csv(GOOD, head=HEAD.replace("g_k", 'g_k"')).encode(), ":1: a quote is opened and never closed"),
        ("e.csv", csv(GOOD, f'{T},"ada,checkout').encode(), ":3: a quote is opened and never closed"),
    ],
)
def test_a_file_that_is_none_is_refused_as_a_whole(home, bring, name, content, text):
    with pytest.raises(InvalidInput, match=text):
        bring(content, name)
    assert manifest.live(home.store) == []


def test_a_file_without_rows_is_no_mistake(home, bring):
    assert bring(csv()).status == EMPTY
    assert bring(b"", "e.jsonl").status == EMPTY
    assert home.store.rows("SELECT * FROM source") == []


@pytest.mark.parametrize(
    ("head", "text"),
    [
        (HEAD.replace("outcome", "outcom"), 'outcome: no column has this name; nearest: "outcom"'),
        (HEAD.replace("time", "tiem"), 'nearest: "tiem"'),
        (HEAD.replace("targeting_key", "who"), "targeting_key: no column has this name"),
        (HEAD.replace("latency", "slowness"), "latency: no column has this name"),
        (HEAD.replace("latency", "ts").replace("time", "at"), '"at" and "ts" could both be it'),
        (HEAD.replace("latency", "unit"), "targeting_key and unit are both given"),
    ],
)
def test_a_column_that_is_missing_or_doubtful_is_named_with_the_nearest(bring, head, text):
    with pytest.raises(InvalidInput) as caught:
        bring(csv(GOOD, head=head))
    assert text in caught.value.message


@pytest.mark.parametrize(
    ("maps", "consts", "text"),
    [
        (["tme=x"], [], 'no field "tme"; did you mean "time"?'),
        (["time"], [], "--map takes FIELD=COLUMN"),
        (["time="], [], "--map takes FIELD=COLUMN"),
        ([], ["flag"], "--const takes FIELD=VALUE"),
        (["flag=a"], ["flag=b"], "both a --map and a --const"),
        (["flag=a", "flag=b"], [], "is there twice"),
        (["latency.x=1"], [], "values are mapped of flag, arm, outcome"),
        (["outcome.ok=1", "outcome.error=1"], [], "stands for both"),
    ],
)
def test_a_bad_map_is_refused(maps, consts, text):
    with pytest.raises(InvalidInput) as caught:
        wishes(maps, consts)
    assert text in caught.value.message


@pytest.mark.parametrize(
    ("maps", "consts", "text"),
    [
        (["time=tim"], [], 'no column "tim"; did you mean "time"?'),
        (["outcome.okay=200"], [], 'outcome must be; did you mean "ok"?'),
        (["flag.nope=200"], [], "flag must be: checkout, search"),
        ([], ["latency=-3"], '--const latency: "-3": latency must be a finite number >= 0'),
        ([], ["arm=left"], '--const arm: "left": arm must be'),
        ([], ["time=soon"], '--const time: "soon": time must be'),
    ],
)
def test_a_map_that_does_not_fit_the_file_or_the_home_is_refused(bring, maps, consts, text):
    with pytest.raises(InvalidInput) as caught:
        bring(csv(GOOD), "e.csv", *maps, consts=consts)
    assert text in caught.value.message


def test_a_map_file_is_the_same_and_the_command_line_wins():
    found = wishes(["time=then"], ["outcome=ok"], map_file="tests/data/events/shop.toml")
    assert found.time_unit == "s"
    assert found.columns == {"time": "then", "targeting_key": "customer"}
    assert found.constants == {"flag": "hook-interception", "outcome": "ok"}
    assert found.values["outcome"] == {"200": "ok", "201": "ok", "500": "error"}


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[map]\ntiem = 'x'", 'did you mean "time"?'),
        ("[maps]\ntime = 'x'", 'did you mean "map"?'),
        ("[map]\ntime = 1", "map.time: is a string"),
        ("time_unit = 'h'", '"h" is none of s, ms, us, iso'),
        ("[map]\nflag = 'x'\n[const]\nflag = 'y'", "both in map and in const"),
        ("[map", "is no TOML"),
    ],
)
def test_a_wrong_map_file_is_refused(tmp_path, text, wrong):
    (tmp_path / "m.toml").write_text(text)
    with pytest.raises(InvalidInput) as caught:
        wishes(map_file=str(tmp_path / "m.toml"))
    assert wrong in caught.value.message


@pytest.mark.parametrize("path", ["e.cvs", "e", "e.parquet.gz", "-"])
def test_a_format_is_never_guessed_from_nothing(path):
    with pytest.raises(UsageError):
        tables.format_of(path, None)
    assert tables.format_of(path, "csv") == "csv"


def test_a_missing_file_is_answered_with_the_nearest(tmp_path):
    (tmp_path / "events.csv").touch()
    with pytest.raises(InvalidInput) as caught:
        tables.files_of(str(tmp_path / "event.csv"), None)
    assert "events.csv" in caught.value.hint


def test_a_folder_gives_its_files_by_name_and_no_others(tmp_path):
    for name in ("b.csv", "a.jsonl", ".c.csv", "read.me", "d/e.csv"):
        write(tmp_path / name, "")
    assert tables.files_of(str(tmp_path), None) == [str(tmp_path / "a.jsonl"), str(tmp_path / "b.csv")]
    with pytest.raises(InvalidInput, match="no file with a suffix"):
        tables.files_of(str(tmp_path), "parquet")


# ------------------------------------------------------------------------------------------------- once, or not at all


def test_the_same_file_comes_in_once_whatever_it_is_called(home, bring):
    assert bring(csv(GOOD)).status == IMPORTED
    before = manifest.version(home.store)
    assert bring(csv(GOOD)).status == ALREADY
    assert bring(csv(GOOD), "other.csv").kept == 0
    assert manifest.version(home.store) == before
    assert events(home).height == 1


def test_the_same_bytes_under_another_map_are_another_file(home, bring):
    bring(csv(GOOD))
    assert bring(csv(GOOD), "e.csv", "outcome.error=ok").status == IMPORTED
    assert sorted(events(home)["outcome"]) == [2, 3]


def test_the_same_order_again_gives_the_first_answer_and_refuses_another_file(home, bring):
    bring(csv(GOOD), request_id="r1")
    again = bring(csv(GOOD), request_id="r1")
    assert (again.status, again.rows, events(home).height) == (IMPORTED, 1, 1)
    with pytest.raises(RequestIdReused):
        bring(csv(GOOD, GOOD), request_id="r1")
    assert events(home).height == 1


def test_nothing_of_a_file_with_a_bad_row_is_kept(home, bring):
    assert bring(csv(GOOD, "x")).status == REFUSED
    assert (manifest.live(home.store), home.store.rows("SELECT * FROM source")) == ([], [])
    assert aside(home) == []


def test_quarantine_keeps_the_good_rows_and_sets_the_others_aside_without_saying_who(home, bring):
    text = csv(GOOD, GOOD.replace("12.5", "-3").replace("ada", "secret-user"), GOOD)
    done = bring(text, on_error=QUARANTINE)
    assert (done.status, done.rows, done.bad) == (IMPORTED, 2, 1)
    assert events(home)["seq"].to_list() == [0, 2]
    (document,) = aside(home)
    assert (document["line"], document["code"], document["record"]["latency"]) == (3, "bad_latency", "-3")
    assert document["file"].endswith("events.csv")
    assert "secret-user" not in json.dumps(document)
    assert manifest.covered(home.store) == {1: (manifest.Range(1, 0, 3),)}
    assert bring(text, on_error=QUARANTINE).status == ALREADY
    assert len(aside(home)) == 1


def test_a_file_of_bad_rows_alone_is_known_afterwards(home, bring):
    text = csv(GOOD.replace("12.5", "-3"))
    assert bring(text, on_error=QUARANTINE).rows == 0
    assert bring(text, on_error=QUARANTINE).status == ALREADY


def test_no_raw_user_is_anywhere_in_the_home(home, bring):
    bring(csv(GOOD.replace("ada", "secret-user"), GOOD.replace("ada", "secret-user") + ",x"), on_error=QUARANTINE)
    paths = [path for path in home.folder.rglob("*") if path.is_file()]
    assert all(b"secret-user" not in path.read_bytes() for path in paths)


def test_a_dry_run_touches_nothing_and_shows_what_is_understood(home, bring):
    unit_key.load_or_make(home.home)
    before = (home.files(), list(home.store.connection.iterdump()))
    done = bring(csv(*[GOOD] * 5), dry_run=True)
    assert (done.status, done.rows, len(done.sample)) == (UNDERSTOOD, 5, 3)
    assert done.sample[0] | {"at_ms": 0} == {
        "line": 2,
        "at_ms": 0,
        "unit": "hashed",
        "flag": "checkout",
        "arm": "treatment",
        "outcome": "ok",
        "latency": 12.5,
        "entry": 0,
        "version": 0,
    }
    assert (home.files(), list(home.store.connection.iterdump())) == before


def test_rows_of_several_days_lie_in_a_file_for_each_and_are_compacted_like_others(home, bring):
    times = spread(500, days=3)
    lines = [f"{t},u{i},checkout,control,ok,{i}" for i, t in enumerate(times)]
    home.clock.advance(10 * DAY)
    assert bring(csv(*lines)).rows == 500
    assert [file.day for file in manifest.live(home.store)] == sorted({int(t) // DAY for t in times})
    before = events(home)
    home.compact()
    assert {file.tier for file in manifest.live(home.store)} == {"day"}
    assert events(home).equals(before)


def test_imported_rows_reach_no_spool_and_so_no_judge(home, bring):
    bring(csv(GOOD))
    assert list((home.folder / "spool").iterdir()) == []
    assert home.collect() == 0


def test_an_import_is_in_the_audit_log(home, bring):
    bring(csv(GOOD), reason="backfill")
    leaf = json.loads(home.store.audit()[-1][1])
    assert (leaf["action"], leaf["reason"], leaf["after"]["rows"]) == ("events_imported", "backfill", 1)


def test_the_first_file_that_is_refused_is_the_last_that_is_tried(home, tmp_path):
    for name, text in {"a": csv(GOOD), "b": csv(GOOD, "x"), "c": csv(GOOD, GOOD)}.items():
        write(tmp_path / f"{name}.csv", text)
    paths = [tmp_path / f"{name}.csv" for name in "abc"]
    assert [done.status for done in every(home, paths)] == [IMPORTED, REFUSED]
    assert [done.status for done in every(home, paths, on_error=QUARANTINE)] == [ALREADY, IMPORTED, IMPORTED]
    assert events(home).height == 4


CHILD = """
import os, sys
from phase4.clock import ManualClock
from phase4.store import exchange
from phase4.store.control import ControlStore
home, step, now, *paths = sys.argv[1:]
def at(name, seen=[]):
    seen.append(name)
    if name == step and seen.count(name) == 2:
        os.kill(os.getpid(), 9)
store = ControlStore(home, ManualClock(int(now)).now)
order = exchange.Order(actor="a", request_id="r", on_error="quarantine", crash_points=at)
for done in exchange.import_files(store, paths, order):
    print(done.status, flush=True)
"""


@pytest.mark.parametrize("step", ["source known", "set aside", "segments published", "committed"])
def test_a_process_that_is_killed_leaves_whole_files_only_and_going_on_completes_them(home, tmp_path, step):
    paths = []
    for place in range(3):
        paths.append(tmp_path / f"{place}.csv")
        write(paths[-1], csv(*[GOOD] * (place + 1), GOOD.replace("12.5", "-3")))
    words = [sys.executable, "-c", CHILD, home.home, step, str(home.clock.now()), *map(str, paths)]
    killed = subprocess.run(words, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert events(home).height == (3 if step == "committed" else 1)
    home.begin()  # a collector starts, and sweeps what nobody names
    statuses = [done.status for done in every(home, paths, on_error=QUARANTINE)]
    assert statuses == [ALREADY, ALREADY if step == "committed" else IMPORTED, IMPORTED]
    assert events(home).height == 6
    assert exchange.listing(home.store).set_aside == {"bad_latency": 3}
    assert home.named() == [path for path in home.files() if path.startswith("segments")]


def test_a_collector_that_starts_in_between_costs_a_second_try_and_no_row(home, bring):
    seen = []

    def at(step):
        seen.append(step)
        if step == "segments published" and seen.count(step) == 1:
            home.begin()

    assert bring(csv(GOOD), crash_points=at).status == IMPORTED
    assert (events(home).height, seen.count("segments published")) == (1, 2)
    assert home.named() == [path for path in home.files() if path.startswith("segments")]


def test_a_disk_that_refuses_a_segment_leaves_nothing(home, bring):
    (home.folder / "segments").rmdir()
    (home.folder / "segments").touch()
    with pytest.raises(WriteFailed):
        bring(csv(GOOD))
    assert home.store.rows("SELECT 1 FROM source WHERE closed_ms IS NOT NULL") == []


# -------------------------------------------------------------------------------------------------------------- list


def test_the_list_names_sources_files_ranges_and_what_was_set_aside(home, bring):
    bring(csv(GOOD, "x", GOOD), on_error=QUARANTINE)
    intake.set_aside(home.home, "2013-11-23", [{"source": 1, "seq": 1, "code": "bad_time", "record": {}}])
    found = exchange.listing(home.store)
    (source,) = found.sources
    assert (source.kind, source.rows, source.ranges) == ("import", 2, (manifest.Range(1, 0, 3),))
    assert source.name.endswith("events.csv")
    assert (source.from_ms, source.until_ms) == (1_385_114_400_000, 1_385_114_400_001)
    assert sum(source.set_aside.values()) == 1, "a record counts once, however often it was set aside"
    assert [file.rows for file in found.files] == [2]


def test_a_home_without_events_has_an_empty_list(home):
    assert exchange.listing(home.store) == ((), (), {})


# ------------------------------------------------------------------------------------------------------------- export


def exported(home, folder, name="x.parquet", **more):
    path = folder / name
    return exchange.export(home.store, str(path), **more), path


def of_event(frame):
    return frame.select(OF_EVENT).sort(OF_EVENT)


@pytest.mark.parametrize("name", ["x.parquet", "x.csv", "x.tsv", "x.jsonl", "x.csv.gz", "x.jsonl.gz"])
@pytest.mark.parametrize("with_names", [False, True])
def test_importing_an_export_gives_the_same_rows(tmp_path, name, with_names):
    first, second = EventHome(tmp_path / "one"), EventHome(tmp_path / "two")
    home_rows = rows(spread(300, days=2))
    home_rows["reason"] = np.arange(300) % 8
    home_rows["bucket"] = np.arange(300) * 33
    home_rows["flag_version"] = np.arange(300) * 14_000_000
    for each in (first, second):
        each.clock.advance(10 * DAY)
    first.keep(home_rows)
    done, path = exported(first, tmp_path, name, with_names=with_names)
    assert (done.rows, done.size) == (300, path.stat().st_size)
    assert one(second, path).problems == ()
    assert of_event(events(second)).equals(of_event(events(first)))
    first.close()
    second.close()


floats = st.one_of(st.just(-1.0), st.floats(0, width=32, allow_nan=False, allow_infinity=False))
event = st.tuples(
    st.integers(1, START),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**32 - 1),
    floats,
    st.integers(1, 2),
    st.integers(0, 2),
    st.integers(0, 9_999),
    st.integers(1, 2),
    st.integers(0, 7),
    st.integers(1, 5),
)


@given(st.lists(event, max_size=20), st.sampled_from(["csv", "jsonl", "parquet"]), st.booleans())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_events_are_import_of_export_is_the_same(tmp_path, found, kind, with_names):
    folder = tmp_path / new_id()
    first, second = EventHome(folder / "one"), EventHome(folder / "two")
    if found:
        content = np.zeros(len(found), ROWS)
        for place, name in enumerate(OF_EVENT):
            content[name] = [each[place] for each in found]
        content["seq"], content["source"] = np.arange(len(found)), 1
        first.keep(content)
    _, path = exported(first, folder, f"x.{kind}", with_names=with_names)
    done = one(second, path)
    assert (done.problems, done.rows) == ((), len(found))
    assert of_event(events(second)).equals(of_event(events(first)))
    first.close()
    second.close()


def test_an_export_may_be_of_a_window_and_a_flag(home, tmp_path):
    home.keep(rows(spread(200)))
    middle = START + DAY // 2
    whole = events(home)
    wanted = whole.filter((pl.col("t_ms") >= middle) & (pl.col("flag") == 2))
    assert exported(home, tmp_path, from_ms=middle, flag_key="search")[0].rows == wanted.height
    assert exported(home, tmp_path, until_ms=middle)[0].rows == (whole["t_ms"] < middle).sum()


def test_what_is_still_in_the_spool_is_exported_too(home, tmp_path):
    writer = home.writer()
    writer.emit(START, 1, 1, 2.0, 1, 0, 0, 1, 0, 2)
    assert exported(home, tmp_path)[0].rows == 1
    writer.close()


def test_an_export_that_fails_leaves_the_old_file_and_no_other(home, tmp_path):
    home.keep(rows(spread(10)))
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "x.csv").write_text("old")
    (damaged,) = manifest.live(home.store)
    (home.folder / damaged.path).write_bytes(b"x")
    with pytest.raises(Exception, match="events cannot be read"):
        exported(home, folder, "x.csv")
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("x.csv", "old")]


@pytest.mark.parametrize("name", ["no/folder/x.csv", "."])
def test_a_place_that_takes_no_file_is_said(home, tmp_path, name):
    with pytest.raises(WriteFailed, match="cannot be written"):
        exchange.export(home.store, str(tmp_path / name), format="csv")


def test_an_empty_export_has_its_columns(home, tmp_path):
    _, path = exported(home, tmp_path, "x.csv")
    assert path.read_text().startswith("t_ms,unit,flag,arm,outcome,latency_ms")
    assert one(home, path).status == EMPTY
