"""docs/scenarios.md and docs/plans.md name the keys that the loaders read, and no others."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
READERS = {
    *("text", "words", "choice", "boolean", "integer", "number", "rate", "numbers", "duration", "moment", "table"),
    "tables",
}
PAGES = {
    "scenarios": ("phase4/sim/scenario.py",),
    "plans": ("phase4/rollout/plan.py", "phase4/rollout/guardrail_table.py"),
}


def keys_read(paths):
    """Return the literal keys that a loader asks its tables for."""
    nodes = [node for path in paths for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8")))]
    calls = [node for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    return {
        call.args[0].value
        for call in calls
        if call.func.attr in READERS and call.args and isinstance(call.args[0], ast.Constant)
    }


@pytest.mark.parametrize("page", PAGES)
def test_every_key_that_is_read_is_on_the_page(page):
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    words = set(re.findall(r"`\[*([a-z_.]+)\]*`", text))
    missing = {key for key in keys_read(PAGES[page]) if key not in words}
    assert missing == set()


@pytest.mark.parametrize("page", PAGES)
def test_every_key_of_the_tables_is_read(page):
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `([a-z_]+)` \|", text, re.MULTILINE))
    assert rows
    assert rows <= keys_read(PAGES[page])
