import json
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase4.dashboard import blocks, pages, tokens
from phase4.dashboard.axes import layout
from phase4.dashboard.blocks import (
    Badge,
    Cell,
    Chart,
    Code,
    Details,
    Facts,
    Group,
    Notice,
    Section,
    Steps,
    Table,
    Text,
    Tile,
    Tiles,
)  # fmt: skip


class Tree(HTMLParser):
    """Collects what a browser would see: elements, texts and attribute values."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.texts, self.values = [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.values += [value for _, value in attrs if value]

    def handle_data(self, data):
        self.texts.append(data)


def everything(text):
    """A section with the text in every place that can hold one."""
    table = Table(text, (text,), (Group(text, ((text, Cell(text, text, 0.5)),)),))
    figure = {"data": [{"type": "scatter", "x": [0], "y": [0], "text": [text]}], "layout": layout(height=100)}
    return Section(
        text,
        (
            Text(text), Badge("ok", text), Notice("warn", text), Code((text,)), Facts(((text, text),)),
            Steps(((1, text, "ok", text),)), Tiles((Tile(text, tokens.SERIES[0], "circle", ((text, text),)),)),
            table, Chart(figure, text, table), Details(text, (Text(text),), Badge("crit", text)),
        ),
    )  # fmt: skip


@given(st.text(min_size=1))
def test_any_text_comes_out_escaped_wherever_it_stands(text):
    harmless = Tree(blocks.render([everything("x")]).html)
    found = Tree(blocks.render([everything(text)]).html)
    assert found.tags == harmless.tags


@given(st.text(alphabet="<>&\"'/ab"))
def test_a_text_is_shown_as_it_was_written(text):
    found = Tree(blocks.render([Section("s", (Text(text),))]).html)
    assert "".join(found.texts) == "s" + text


@given(st.text())
def test_embedded_json_cannot_end_its_element_and_says_the_same(text):
    embedded = pages.embed({"a": text})
    assert not set(embedded) & set("<>&\u2028\u2029")
    assert json.loads(embedded) == {"a": text}


def test_embedded_json_has_no_nan():
    with pytest.raises(ValueError, match="JSON"):
        pages.embed({"a": float("nan")})


def test_a_page_is_the_same_every_time():
    assert pages.document("t", [everything("x")]) == pages.document("t", [everything("x")])


def test_a_page_fetches_nothing():
    page = pages.document("t", [everything("x")])
    outside = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.findall(r"""(?:src|href)=["'](?!data:)|url\(|@import""", outside)
    assert "default-src 'none'" in page


def test_a_page_has_one_first_heading_and_labelled_sections():
    page = pages.document("the title", [everything("x"), everything("y")])
    outside = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert re.findall(r"<h1>(.*?)</h1>", outside) == ["the title"]
    labels = re.findall(r'<section [^>]*aria-labelledby="(s\d+)"', outside)
    assert labels == re.findall(r'<h2 id="(s\d+)">', outside) == ["s1", "s2"]
    assert '<html lang="en">' in page


def test_a_chart_is_an_image_with_a_sentence_and_its_numbers():
    html = blocks.render([everything("what it shows")]).html
    assert 'role="img" aria-label="what it shows"' in html
    assert "<summary>data</summary>" in html


def test_a_status_is_glyph_word_and_colour():
    assert blocks.badge(Badge("crit", "FAIL")) == '<span class="badge crit">✕ FAIL</span>'


def test_the_key_of_a_chart_follows_the_theme_and_wraps_with_the_page():
    line = {"color": tokens.SERIES[0], "dash": "dash"}
    figure = {"data": [{"type": "scatter", "name": "raw", "line": line}], "layout": layout(height=100)}
    figure["layout"]["showlegend"] = True
    rendered = blocks.render([Section("s", (Chart(figure, "x"),))])
    assert "var(--series-1)" in rendered.html
    assert "stroke-dasharray" in rendered.html
    assert rendered.figures["c1"]["layout"]["showlegend"] is False
    assert figure["layout"]["showlegend"] is True


def test_both_themes_are_in_the_style():
    css = tokens.css()
    assert "prefers-color-scheme:dark" in css
    assert tokens.LIGHT["bg"] in css
    assert tokens.DARK["bg"] in css
    assert set(re.findall(r"var\(--([a-z0-9-]+)\)", css)) <= {*tokens.LIGHT, "share"}
