"""The report for people: hostile texts stay texts, nothing comes from elsewhere, and no number is made up."""

import html
import json
import re
from html.parser import HTMLParser

import pytest

from phase4 import clock
from phase4.monitor import page
from tests.unit.monitor import test_report
from tests.unit.monitor.test_report import make, run

live = test_report.live
HOSTILE = "<script>alert('x')</script> | a\\| b & \"c\""
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?(?:e[+-]\d+)?")


class Seen(HTMLParser):
    """The tags, attributes and text of a page, but for style."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.cells, self._inside = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self._inside.append(tag)

    def handle_data(self, data):
        if self._inside and self._inside[-1] not in {"style", "title"}:
            self.cells.append(data)


@pytest.fixture
def hostile(live):
    run(live, reason=HOSTILE)
    return make(live)


def said(value):
    """Yield every way in which a number or time of the report may be written."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from said(each)
            yield from NUMBER.findall(name)
    elif isinstance(value, list):
        yield str(len(value))
        for each in value:
            yield from said(each)
    elif isinstance(value, str):
        yield from NUMBER.findall(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        for form in ("", ",", ",.0f", ".1f", ".2g", ".3g", ".4g", "g", ".2%"):
            yield from NUMBER.findall(format(value, form))
        if isinstance(value, int) and value > 10**11:
            yield from NUMBER.findall(clock.iso(value))


# --------------------------------------------------------------------------------------------- hostile texts
def test_a_hostile_reason_is_text_in_the_page(hostile):
    text = page.page(hostile)
    assert "script" not in Seen(text).tags
    assert html.escape(HOSTILE) in text


def test_a_hostile_reason_breaks_no_table_of_the_page(hostile):
    assert Seen(page.page(hostile)).tags.count("td") == Seen(page.page({**hostile})).tags.count("td")
    assert any(HOSTILE in cell for cell in Seen(page.page(hostile)).cells)


def test_a_hostile_reason_is_no_tag_in_markdown(hostile):
    assert "<script" not in page.markdown(hostile)


@pytest.mark.parametrize("reason", ["a\\| b | c", "one\n\n# two | three"])
def test_a_hostile_reason_breaks_no_row_of_markdown(live, reason):
    run(live, reason=reason)
    text = page.markdown(make(live))
    rows = text.split("## Rollbacks\n\n")[1].split("\n\n")[0].splitlines()
    assert len(rows) == 3
    # a bar is the end of a cell unless an odd number of backslashes stands before it
    bars = [len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) for row in rows]
    assert set(bars) == {5}


def test_a_bar_in_a_reason_is_no_cell_in_markdown(live):
    run(live, reason="a | b")
    text = page.markdown(make(live))
    assert "a \\| b" in text.split("## Rollbacks")[1]


# --------------------------------------------------------------------------------------------- the page
def test_nothing_in_the_page_comes_from_elsewhere(hostile):
    seen = Seen(page.page(hostile))
    assert {"script", "link", "img", "iframe", "object", "embed", "base"}.isdisjoint(seen.tags)
    assert {"href", "src", "xlink:href", "action", "data"}.isdisjoint(name for name, _ in seen.attributes)
    assert not re.search(
        r"url\(|@import|//", page.page({**hostile, "identity": {**hostile["identity"], "settings": {}}})
    )


@pytest.mark.parametrize("made", ["live", "failed"])
def test_every_number_on_the_page_is_in_the_report(live, made):
    run(live, treatment=0.6 if made == "failed" else 0.0, rounds=9)
    report = json.loads(json.dumps(make(live)))
    known = set(said(report))
    # how the page divides: what a criterion or measure is called, and the percentages beside a stage
    shown = {number for cell in Seen(page.page(report)).cells for number in NUMBER.findall(cell)}
    missing = {n for n in shown - known if n != "95"}
    assert missing == set()


def test_every_section_is_on_the_page_and_in_markdown(hostile):
    heads = ["Success criteria", "Feature flags", "Rollout progression", "Validation", "Hooks", "System performance"]
    heads += ["Alerts", "Rollbacks", "Settings"]
    assert re.findall(r"<h2>(.*?)</h2>", page.page(hostile)) == heads
    assert re.findall(r"^## (.*)$", page.markdown(hostile), re.MULTILINE) == heads


@pytest.mark.parametrize("write", [page.page, page.markdown])
def test_what_was_not_measured_is_written_so(live, write):
    text = write(make(live))
    assert text.count("ot measured") >= 4
    assert "0.00%" not in text
    assert "100.00%" not in text


def test_the_same_report_gives_the_same_page(hostile):
    again = json.loads(json.dumps(hostile))
    assert (page.page(again), page.markdown(again)) == (page.page(hostile), page.markdown(hostile))


def test_when_a_report_was_made_is_not_in_the_page(hostile):
    assert page.page({**hostile, "created_ms": 0}) == page.page(hostile)


def test_every_answer_has_its_interval_its_evidence_and_its_alpha(live):
    run(live, treatment=0.6, rounds=9)
    report = make(live)
    text = page.markdown(report)
    (rollout,) = report["rollouts"]
    (failed,) = [answer for answer in rollout["stages"][-1]["guardrails"] if answer["verdict"] == "FAIL"][:1]
    (row,) = [
        line for line in text.splitlines() if f"| {failed['guardrail'].replace('_', chr(92) + '_')} | FAIL" in line
    ]
    assert f"({failed['lower']:.4g} to {failed['upper']:.4g})" in row
    assert f"({failed['e_needed']:,.0f})" in row
    assert row.rstrip(" |").endswith(f"{failed['alpha']:.3g}")


def test_what_an_answer_assumes_of_requests_stands_below_the_table(live):
    run(live)
    report = make(live)
    report["rollouts"][0]["stages"][0]["guardrails"][0]["approximation"] = "approximate: phi = 4 from 288 groups"
    assert "approximate: phi = 4 from 288 groups." in page.markdown(report)
    assert "approximate: phi = 4 from 288 groups." in page.page(report)


def test_what_came_too_late_stands_below_the_table_and_hides_no_reason(live):
    run(live, reason="the checkout was slow")
    report = json.loads(json.dumps(make(live)))
    rollout = report["rollouts"][0]
    rollout["stages"][0]["late"] = {"says": "7 outcomes came over an hour late"}
    rollout["events"].append({"kind": "data_corrected", "at_ms": 0, "at_iso": "-"})
    for text in (page.markdown(report), page.page(report)):
        assert "Stage 1: 7 outcomes came over an hour late." in text
        assert f"{rollout['phase']} (the checkout was slow)" in text.replace("\\_", "_")
