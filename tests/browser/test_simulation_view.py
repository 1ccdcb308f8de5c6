"""The view of saved rehearsals and the report, in a real browser. No test passes with an error on the console or a
request to another host.
"""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from phase4.cli import report
from tests.unit.dashboard import samples

ROOT = Path(__file__).parents[2]
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run"),
]
LOCAL = ("http://127.0.0.1:", "ws://127.0.0.1:", "file:", "data:", "blob:")
SIZES = pytest.mark.parametrize("width", [1440, 390])
BROKEN = "zz-broken.duckdb"
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser(chromium):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    """A page that fails its test for a console error, a page error or a request off this host."""
    page, wrong = browser.new_page(), []
    page.set_default_timeout(20_000)
    page.on("console", lambda message: wrong.append(message.text) if message.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith(LOCAL) else wrong.append(request.url))
    page.on("requestfailed", lambda request: wrong.append(f"failed: {request.url}"))
    yield page
    errors = list(wrong)
    page.close()
    assert errors == []


@contextmanager
def serving(home):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "panel", "serve", "dashboards/simulation.py", "--address", "127.0.0.1"]
    with (home / "serve.log").open("wb") as log:
        server = subprocess.Popen(
            [*command, "--port", str(port)],
            cwd=ROOT,
            env={**os.environ, "PHASE4_HOME": str(home)},
            stdout=log,
            stderr=log,
        )
        try:
            url = f"http://127.0.0.1:{port}/simulation"
            wait_for(url, server, home / "serve.log")
            yield url
        finally:
            server.terminate()
            server.wait(timeout=10)


def wait_for(url, server, log):
    for _ in range(150):
        try:
            with urllib.request.urlopen(url, timeout=10):
                return
        except (urllib.error.URLError, ConnectionError):
            assert server.poll() is None, log.read_text()
            time.sleep(0.2)
    pytest.fail(f"no answer from {url}: {log.read_text()}")


@pytest.fixture(scope="module")
def view(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    samples.write(home / "runs")
    broken = home / "runs" / BROKEN
    broken.write_bytes(b"no database")
    os.utime(broken, (0, 0))
    with serving(home) as url:
        yield url


@pytest.fixture(scope="module")
def report_url(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    path = folder / "report.html"
    path.write_text(report.page(samples.write(folder)), encoding="utf-8")
    return path.as_uri()


def open_at(page, url, width, scheme="light"):
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    page.goto(url)
    expect(page.locator("[data-chart] .main-svg").first).to_be_visible()


def assert_fits(page):
    assert page.evaluate("document.documentElement.scrollWidth") == page.evaluate("window.innerWidth")


def choice(page, name):
    return page.get_by_role("combobox", name=name, exact=True)


def drawn(page):
    """Return how many charts have curves or dots, and how many there are."""
    charts = page.locator("[data-chart]:visible")
    expect(charts.last.locator(".main-svg").first).to_be_visible()
    has_traces = [chart.locator(".scatterlayer .trace").count() > 0 for chart in charts.all()]
    return sum(has_traces), len(has_traces)


@SIZES
def test_the_view_shows_the_newest_run_and_fits(page, view, width):
    open_at(page, view, width)
    expect(page.get_by_role("heading", level=1)).to_have_text("Rehearsals")
    expect(page.get_by_text("sim: a rehearsal, not production")).to_be_visible()
    expect(page.get_by_role("heading", level=2, name="fine · ratio")).to_be_visible()
    count, charts = drawn(page)
    assert count == charts == 4
    assert_fits(page)


def test_another_world_and_policy_change_the_title_and_the_chart(page, view):
    open_at(page, view, 1440)
    choice(page, "World").select_option("broken")
    expect(page.get_by_role("heading", level=2, name="broken · ratio")).to_be_visible()
    expect(page.get_by_text("caught 2 h after the defect began")).to_be_visible()
    choice(page, "Policy").select_option("raw")
    expect(page.get_by_role("heading", level=2, name="broken · raw")).to_be_visible()
    expect(page.get_by_text("the defect was never caught")).to_be_visible()
    count, charts = drawn(page)
    assert count == charts


def test_a_broken_file_is_named_and_the_way_back_is_open(page, view):
    open_at(page, view, 1440)
    runs = choice(page, "Run")
    names = runs.locator("option").all_text_contents()
    runs.select_option(f"✕ {BROKEN} cannot be read")
    expect(page.get_by_role("alert")).to_contain_text(f"{BROKEN} cannot be shown: {BROKEN} is not a run file")
    expect(choice(page, "World")).to_be_disabled()
    runs.select_option(names[0])
    expect(page.get_by_role("heading", level=2, name="fine · ratio")).to_be_visible()


def test_an_empty_home_names_the_command_to_type(page, tmp_path):
    with serving(tmp_path) as url:
        page.goto(url)
        expect(page.get_by_text("phase4 simulate sweep sims/first_run.toml")).to_be_visible()
        page.goto("about:blank")


def test_the_view_draws_with_the_plotly_that_figures_are_made_for(page, view):
    open_at(page, view, 1440)
    assert page.evaluate("window.Plotly.version").startswith("3.1.")


def test_the_view_follows_the_theme(page, view):
    open_at(page, view, 1440)
    ink = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ink)
    dot = page.locator("[data-chart] .scatterlayer .js-line").first
    stroke = dot.evaluate("node => getComputedStyle(node).stroke")
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(ink) != light
    expect(dot).not_to_have_css("stroke", stroke)


@SIZES
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_draws_fits_and_needs_no_network(page, report_url, width, scheme):
    open_at(page, report_url, width, scheme)
    expect(page.get_by_role("heading", level=1)).to_have_text("small")
    count, charts = drawn(page)
    assert count == charts == 5
    assert_fits(page)


def test_a_closed_part_of_the_report_draws_when_it_opens(page, report_url):
    open_at(page, report_url, 1440)
    before = drawn(page)[1]
    page.locator("summary", has_text="raw").first.click()
    expect(page.locator("[data-chart] .main-svg:visible").first).to_be_visible()
    page.wait_for_function("n => document.querySelectorAll('[data-chart] .main-svg').length > 2 * n", arg=before)


def test_no_text_of_the_report_lies_over_another_axis_label(page, report_url):
    open_at(page, report_url, 390)
    for chart in page.locator("[data-chart]:visible").all():
        overlaps = chart.evaluate(
            """chart => [...chart.querySelectorAll("g.xaxislayer-above")].flatMap((axis) => {
              const boxes = [...axis.querySelectorAll("text")].map((node) => node.getBoundingClientRect());
              return boxes.slice(1).filter((box, i) => box.left < boxes[i].right && box.top < boxes[i].bottom
                && boxes[i].left < box.right && boxes[i].top < box.bottom);
            }).length"""
        )
        assert overlaps == 0
