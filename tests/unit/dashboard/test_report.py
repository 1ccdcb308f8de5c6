import re
import sys
from dataclasses import asdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phase4.analysis.specs import ThresholdGuardrail
from phase4.cli import report, table
from phase4.dashboard import saved
from phase4.errors import ExtraMissing, NotFound, StoreUnavailable
from phase4.rollout.guardrail_table import Limits, default_guardrails
from phase4.store import runs
from tests.unit.dashboard import samples


def words(page):
    """Return a page without scripts and style."""
    return re.sub(r"<(script|style).*?</\1>", "", page, flags=re.DOTALL)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return words(report.page(samples.write(tmp_path_factory.mktemp("runs"))))


def test_the_header_says_what_was_rehearsed_and_that_it_is_a_rehearsal(page):
    assert "<h1>small</h1>" in page
    assert "what it covers" in page
    assert "sim: a rehearsal, not production" in page
    assert "✓ complete" in page


def test_everything_that_reproduction_needs_is_there(page):
    for text in ("ab" * 32, "cd" * 32, "phase4 x", "--seed 7 --replicates 3"):
        assert text in page


def test_the_table_has_the_figures_of_the_command_line():
    shown = [*table._ERRORS, *table._USERS, *table._ENDS]
    assert [column.figure for column in report.COLUMNS] == [column.figure for column in shown]


def test_every_world_and_policy_has_a_row_of_every_figure(page):
    body = page[page.index("Every figure") : page.index("One run: fine")]
    rows = re.findall(r"<tr><th scope=\"row\">(raw|ratio)</th>(.*?)</tr>", body)
    assert [name for name, _ in rows] == ["raw", "ratio"] * 2
    assert all(cells.count("<td>") == len(report.COLUMNS) for _, cells in rows)


def test_never_and_nothing_are_written_out_and_never_as_0(page):
    body = page[page.index("Every figure") : page.index("One run: fine")]
    fine, broken = (row for name, row in re.findall(r"<th scope=\"row\">(raw)</th>(.*?)</tr>", body))
    assert "<td>–</td>" in fine
    assert "<td>never</td>" in broken


def test_every_stored_run_is_there_and_the_last_policy_is_open(page):
    part = page[page.index("One run: broken") : page.index("Policies")]
    assert re.findall(r"<details( open)?><summary>(raw|ratio) ", part) == [("", "raw"), (" open", "ratio")]
    assert "✓ ROLLED BACK, defect caught" in part
    assert "✕ COMPLETED, defect missed" in part


def test_plans_and_faults_are_told(page):
    assert "raw threshold, 1 tick" in page
    assert "from 4 h on, 40 % of the fine outcomes of treatment fail" in page


def test_a_partial_sweep_warns(tmp_path):
    page = words(report.page(samples.write(tmp_path, complete=False, planned=99)))
    assert 'role="alert"' in page
    assert "PARTIAL: interrupted after 12 of 99 runs" in page
    assert "✓ complete" not in page


def test_a_single_run_is_told_and_not_averaged(tmp_path):
    page = words(report.page(samples.write(tmp_path, kind="run")))
    assert "broken · ratio · replicate 0" in page
    assert "Every figure" not in page
    assert "simulate run SCENARIO.toml --world &quot;broken&quot; --policy &quot;ratio&quot; --seed 7" in page


def test_a_page_is_the_same_every_time(tmp_path):
    run = samples.write(tmp_path)
    assert report.page(run) == report.page(run)


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20))
def test_no_name_from_the_store_becomes_markup(tmp_path, text):
    name = f"<img src=x onerror=alert(1)>{text}</script>"
    whole = report.page(samples.write(tmp_path, world=name, scenario=name, about=name, covers=name, flag_key=name))
    assert "<img" not in words(whole)
    assert whole.count("</script>") == 3


def test_without_plotly_it_says_what_to_install(tmp_path, monkeypatch):
    run = samples.write(tmp_path)
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(ExtraMissing) as caught:
        report.page(run)
    assert caught.value.hint == "pip install 'phase4[dashboard]'"
    assert report.ExtraMissing is ExtraMissing


def test_the_view_offers_the_newest_file_first_and_names_a_broken_one(tmp_path):
    samples.write(tmp_path)
    broken = tmp_path / "zzz.duckdb"
    broken.write_bytes(b"no database")
    labels = list(saved.offered(tmp_path))
    assert labels[0] == "✕ zzz.duckdb cannot be read"
    assert labels[1].startswith("small · 12 runs · 2013-11-04")
    with pytest.raises(StoreUnavailable):
        saved.load(broken)
    assert "zzz.duckdb" in saved.show_problem(broken, "why").__repr__()


def test_the_view_has_the_run_and_the_figures_of_the_sweep(tmp_path):
    found = saved.load(samples.write(tmp_path).path)
    titles = [section.title for section in saved.show(found, "broken", "ratio")]
    assert titles == ["broken · ratio", "How often each policy is wrong", "What it costs", "Time to catch: broken"]
    assert found.policies_in("fine") == ["raw", "ratio"]


def test_the_view_of_a_single_run_has_no_figures_of_one_run(tmp_path):
    found = saved.load(samples.write(tmp_path, kind="run").path)
    assert found.worlds == ("broken",)
    assert [section.title for section in saved.show(found, "broken", "ratio")] == ["broken · ratio"]


def test_the_view_warns_of_a_partial_sweep(tmp_path):
    found = saved.load(samples.write(tmp_path, complete=False).path)
    assert saved.show(found, "fine", "raw")[0].title == "PARTIAL"


def test_an_empty_folder_names_the_command_to_type(tmp_path):
    assert saved.offered(tmp_path) == {}
    assert "phase4 simulate sweep sims/first_run.toml" in repr(saved.show_nothing(tmp_path))


def test_a_file_that_is_gone_is_not_found(tmp_path):
    with pytest.raises(NotFound):
        saved.load(tmp_path / "gone.duckdb")


def test_a_file_that_was_replaced_is_read_again(tmp_path):
    path = samples.write(tmp_path, scenario="before").path
    assert saved.load(path).info["scenario"] == "before"
    samples.write(tmp_path, scenario="after")
    assert saved.load(path).info["scenario"] == "after"
    assert runs.saved(tmp_path) == [path]


def test_every_kind_of_guardrail_has_a_row_with_what_it_holds_its_arm_to():
    measures = frozenset({"latency", "validation", "cpu_ms"})
    specs = [*default_guardrails([5], limits=Limits(measures=measures))[0], ThresholdGuardrail(name="raw", limit=0.01)]
    rows = [report._guard_row({"kind": type(spec).__name__, **asdict(spec)}) for spec in specs]
    assert {row[0]: row[1:3] for row in rows} == {
        "error_rate": ("rate", "0.5 %"),
        "error_ratio": ("ratio", "ratio 1"),
        "emergency": ("rate", "2 %"),
        "success_rate": ("rate", "2 %"),
        "validation_failures": ("rate", "5 %"),
        "latency_p95": ("quantile", "p95 +5 %"),
        "latency_mean": ("mean", "mean +5 %"),
        "cpu_mean": ("mean", "mean +5 %"),
        "repeated_errors": ("repeat", "shares as assigned"),
        "sample_ratio": ("sample ratio", "shares as assigned"),
        "error_rate_requests": ("rate", "0.5 %"),
        "error_ratio_requests": ("ratio", "ratio 1"),
        "validation_failures_requests": ("rate", "5 %"),
        "latency_p95_requests": ("quantile", "p95 +5 %"),
        "raw": ("raw threshold, 1 tick", "1 %"),
    }
