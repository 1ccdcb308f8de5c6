"""What every notebook keeps to; that it runs, and its verdict, is checked by `make notebooks`."""

import ast
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def document(path):
    return json.loads(path.read_text(encoding="utf-8"))


def code_cells(path):
    return [cell for cell in document(path)["cells"] if cell["cell_type"] == "code"]


def source(cell):
    return "".join(cell["source"])


def tags(cell):
    return cell["metadata"].get("tags", [])


def test_there_is_a_heading_with_a_question(path):
    first = document(path)["cells"][0]
    assert first["cell_type"] == "markdown"
    assert source(first).startswith("# ")
    assert "?" in source(first).splitlines()[0]


def test_the_first_code_cell_holds_the_parameters_and_only_literals(path):
    first = code_cells(path)[0]
    assert tags(first) == ["parameters"]
    for statement in ast.parse(source(first)).body:
        assert isinstance(statement, ast.Assign)
        ast.literal_eval(statement.value)


def test_the_last_cell_is_the_verdict_and_asserts(path):
    last = document(path)["cells"][-1]
    assert tags(last) == ["verdict"]
    assert any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(source(last))))


def test_there_are_at_most_twelve_code_cells(path):
    assert len(code_cells(path)) <= 12


def test_logic_lives_in_the_package_and_not_in_cells(path):
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for cell in code_cells(path):
        assert not [node for node in ast.walk(ast.parse(source(cell))) if isinstance(node, kinds)]


def test_outputs_and_counts_are_stripped_except_where_they_are_checked(path):
    for cell in code_cells(path):
        if "# NBVAL_CHECK_OUTPUT" not in source(cell):
            assert cell["outputs"] == []
            assert cell["execution_count"] is None


def test_every_cell_has_an_id_of_its_own_and_the_kernel_is_the_usual_one(path):
    ids = [cell["id"] for cell in document(path)["cells"]]
    assert len(set(ids)) == len(ids)
    assert document(path)["metadata"]["kernelspec"]["name"] == "python3"


def test_the_file_is_small(path):
    assert path.stat().st_size < 200_000
