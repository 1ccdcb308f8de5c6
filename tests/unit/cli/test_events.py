"""`phase4 events`, called in this process: what it prints, in text and in JSON, and its exit statuses."""

import io
import json
import sys
from pathlib import Path

import polars as pl
import pytest

from phase4.cli import eventswork
from tests.contract.driving import START_MS, Lab

DATA = Path(__file__).parents[2] / "data" / "events"
SMALL, BAD, SHOP = DATA / "small.csv", DATA / "bad.csv", DATA / "shop.csv"


@pytest.fixture
def lab(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lab = Lab(tmp_path / "home")
    lab.done("init")
    return lab


def listed(lab):
    return lab.done("events list --json").data


# -------------------------------------------------------------------------------------------------------------- import


def test_a_file_comes_in_and_is_listed(lab):
    assert lab.done(f"events import {SMALL}").out.splitlines()[-1] == (
        f"{SMALL}: 4 rows imported, 2026-09-20T10:00:00Z to 2026-09-20T10:00:03Z"
    )
    found = listed(lab)
    assert found["rows"] == 4
    (source,) = found["sources"]
    assert (source["kind"], source["name"], source["rows"]) == ("import", str(SMALL), 4)
    assert source["ranges"] == [{"first_seq": 0, "end_seq": 4}]
    assert source["from_iso"] == "2026-09-20T10:00:00Z"
    assert "4 rows" in lab.done("events list").out


def test_the_same_file_again_is_no_failure(lab):
    lab.done(f"events import {SMALL}")
    assert lab.done(f"events import {SMALL}").out == f"{SMALL}: already imported, 0 rows\n"
    assert listed(lab)["rows"] == 4


def test_bad_rows_end_with_status_1_and_nothing_of_the_file_is_kept(lab):
    answer = lab(f"events import {BAD}")
    assert answer.status == 1
    near = 'flag must be one of this home; did you mean "hook-interception"?'
    assert answer.out.splitlines() == [
        f'{BAD}: taken for latency = column "lat"',
        f'{BAD}:2: column "lat": "-3": latency must be a finite number >= 0',
        f'{BAD}:3: column "flag": "hook-interceptoin": {near}',
        f'{BAD}:5: column "time": "2099-09-20T10:00:03Z": time must be ISO 8601, above 0 and not in the future',
        f"{BAD}: bad_time 1, unknown_flag 1, bad_latency 1",
        f"{BAD}: 3 of 4 rows are bad: nothing of it is kept",
    ]
    assert listed(lab)["rows"] == 0


def test_quarantine_lets_the_good_rows_in_and_still_says_so(lab):
    answer = lab(f"events import {BAD} --on-error quarantine --json")
    assert (answer.status, answer.data["kept"], answer.data["bad"]) == (1, 1, 3)
    assert answer.data["codes"] == {"bad_time": 1, "unknown_flag": 1, "bad_latency": 1}
    assert listed(lab)["quarantine"] == answer.data["codes"]
    assert "set aside: bad_latency 1, bad_time 1, unknown_flag 1" in lab.done("events list").out


def test_a_map_file_tells_what_a_file_of_others_means(lab):
    answer = lab.done(f"events import {SHOP} --map-file {DATA}/shop.toml --json")
    (file,) = answer.data["files"]
    assert (file["rows"], file["time_unit"], file["columns"]["time"]) == (3, "s", "when")
    assert file["values"]["outcome"] == {"200": "ok", "201": "ok", "500": "error"}


def test_the_command_line_says_the_same(lab):
    line = (
        f"events import {SHOP} --map time=when --map targeting_key=customer --map arm.treatment=B --map arm.control=A"
        " --map outcome.ok=200,201 --map outcome.error=500 --const flag=hook-interception --time-unit s"
    )
    assert lab.done(f"{line} --json").data["kept"] == 3


def test_a_dry_run_shows_what_was_understood_and_keeps_nothing(lab):
    out = lab.done(f"events import {SHOP} --map-file {DATA}/shop.toml --dry-run").out
    assert '  time           column "when", s\n' in out
    assert '  arm            column "group"  (by its name)\n' in out
    assert '  flag           always "hook-interception"\n' in out
    assert '  outcome.ok     "200"\n' in out
    assert "line 2: 2026-09-20T" in out
    assert out.endswith(
        "3 rows are events, 2026-09-20T10:26:40Z to 2026-09-20T10:26:42Z, 0 are bad\ndry run: nothing was changed\n"
    )
    assert listed(lab)["rows"] == 0


def test_a_dry_run_looks_at_every_file_of_a_folder(lab):
    for name in "ab":
        Path("in").mkdir(exist_ok=True)
        Path("in", f"{name}.csv").write_text(BAD.read_text() + "\n" * (name == "b"))
    answer = lab("events import in --dry-run --json")
    assert (answer.status, len(answer.data["files"]), answer.data["dry_run"]) == (1, 2, True)


def test_stdin_needs_a_format(lab, monkeypatch):
    assert lab("events import -").status == 2
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(SMALL.read_bytes())))
    assert lab.done("events import - --format csv --json").data["kept"] == 4
    assert listed(lab)["sources"][0]["name"] == "stdin"


def test_a_folder_comes_in_file_by_file_and_ends_at_the_first_that_is_refused(lab):
    Path("in").mkdir()
    for name, content in {"a": SMALL, "b": BAD, "c": SMALL}.items():
        Path("in", f"{name}.csv").write_bytes(content.read_bytes())
    answer = lab("events import in --json")
    assert answer.status == 1
    assert [file["status"] for file in answer.data["files"]] == ["imported", "refused"]
    assert answer.data["not_tried"] == ["in/c.csv"]


def test_a_file_of_a_folder_that_is_none_says_what_came_in_before(lab):
    Path("in").mkdir()
    Path("in", "a.csv").write_bytes(SMALL.read_bytes())
    Path("in", "b.csv").write_text("a,b\n1,2\n")
    answer = lab("events import in --json")
    assert (answer.status, answer.error["code"]) == (2, "INPUT_INVALID")
    assert "in/a.csv" in answer.error["hint"]
    assert listed(lab)["rows"] == 4


@pytest.mark.parametrize(
    ("line", "status", "text"),
    [
        ("events import none.csv", 2, "none.csv: no such file or folder"),
        (f"events import {DATA}/smal.csv", 2, "did you mean"),
        ("events import empty", 2, "the folder has no file with a suffix"),
        (f"events import {DATA}/shop.toml", 2, "no format has the suffix .toml"),
        (f"events import {SHOP}", 2, 'time: no column has this name; the file has "when", "customer"'),
        (f"events import {SMALL} --map tiem=x", 2, 'no field "tiem"; did you mean "time"?'),
        (f"events import {SMALL} --map-file none.toml", 2, "none.toml: cannot be read"),
        (f"events import {SMALL} --time-unit h", 2, '"h" is none of s, ms, us, iso'),
        (f"events import {SMALL} --on-error ignore", 2, '"ignore" is none of stop, quarantine'),
        ("events export -o x.csv --flag hook-interceptoin", 5, 'did you mean "hook-interception"?'),
        ("events export -o x.cvs", 2, "no format has the suffix .cvs"),
        ("events export", 2, "-o"),
        ("events export -o x.csv --from soon", 2, "'soon' is no moment"),
        ("events export -o x.csv --from 2026-01-02 --to 2026-01-01", 2, "--from lies before --to"),
        ("events export -o no/x.csv", 6, "no/x.csv cannot be written"),
        ("events imprt x", 2, 'did you mean "import"?'),
    ],
)
def test_what_is_wrong_is_said(lab, line, status, text):
    Path("empty").mkdir()
    answer = lab(line)
    assert answer.status == status
    assert text in answer.err
    assert not Path("x.csv").exists()


def test_without_a_home_nothing_is_made(tmp_path):
    assert Lab(tmp_path / "none")(f"events import {SMALL}").status == 6
    assert not (tmp_path / "none").exists()


def test_old_rows_come_with_a_word_on_how_long_they_stay(lab):
    Path("old.csv").write_text(SMALL.read_text().replace("2026", "2024"))
    answer = lab.done("events import old.csv --json")
    assert "RETENTION_RAW_DAYS" in answer.body["warnings"][0]


def test_the_collector_observes_nothing_of_an_import(lab):
    lab.done(f"events import {SMALL}")
    assert lab.done("monitor run --once --json").data["events"] == 0


def test_a_big_file_shows_its_progress_on_a_terminal_alone(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for stream, shown in ((Terminal(), "500,000 of 2,000,000 rows"), (io.StringIO(), "")):
        monkeypatch.setattr(sys, "stderr", stream)
        progress = eventswork._Progress()
        progress(500_000, 2_000_000)
        progress.end()
        progress(1, 10)
        assert stream.getvalue().strip() == shown


# -------------------------------------------------------------------------------------------------------- list, export


def test_a_home_without_events_says_so(lab):
    assert lab.done("events list").out == "no events\n"
    assert listed(lab) == {"sources": [], "files": [], "rows": 0, "quarantine": {}}


def test_an_export_is_a_file_that_import_understands(lab, tmp_path):
    lab.done(f"events import {SMALL}")
    answer = lab.done("events export -o out.parquet --json")
    assert (answer.data["rows"], answer.data["bytes"]) == (4, Path("out.parquet").stat().st_size)
    other = Lab(tmp_path / "other")
    other.done("init")
    assert other.done("events import out.parquet --json").data["kept"] == 4


def test_an_export_may_have_names(lab):
    lab.done(f"events import {SMALL}", "events export -o out.csv --with-names --flag byzantine-consensus")
    (row,) = pl.read_csv("out.csv").to_dicts()
    assert (row["flag"], row["arm"], row["outcome"]) == ("byzantine-consensus", "control", "timeout")


@pytest.mark.parametrize("text", ["2026-09-20T10:00:01Z", "2026-09-20T12:00:01+02:00", "1789898401000"])
def test_a_window_is_given_as_people_and_programs_write_moments(lab, text):
    lab.done(f"events import {SMALL}")
    answer = lab.done(f"events export -o out.jsonl --from {text} --to {START_MS} --json")
    assert (answer.data["rows"], answer.data["from_ms"]) == (3, 1_789_898_401_000)
    assert len([json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]) == 3


def test_an_export_of_nothing_says_so(lab):
    answer = lab.done("events export -o out.csv --json")
    assert (answer.data["rows"], answer.body["warnings"]) == (0, ["there are no such events"])
