"""The notebook, executed by a kernel of its own."""

from copy import deepcopy
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.examples.programs import ROOT

NOTEBOOK = ROOT / "docs/examples/notebook.ipynb"


@pytest.fixture
def notebook() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def output(notebook: nbformat.NotebookNode, cell: str, kind: str) -> str:
    """What a cell shows, as text or as one of the other kinds."""
    (found,) = (each for each in notebook.cells if each.id == cell)
    return "".join(shown.data[kind] for shown in found.outputs if kind in shown.get("data", {}))


def test_it_is_stored_without_outputs(notebook: nbformat.NotebookNode):
    """Whoever looks at a change sees code."""
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)


def test_all_cells_run(notebook: nbformat.NotebookNode, endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """One session serves all cells; the run's steps and the batch become tables, and the table a plot."""
    monkeypatch.setenv("OPENAI_BASE_URL", endpoint)
    NotebookClient(notebook, timeout=50, resources={"metadata": {"path": tmp_path}}).execute()
    assert output(notebook, "tool", "text/plain") == "['opening_hours answered: 9 to 18 h']"
    assert ">completed</td>" in output(notebook, "run-table", "text/html")
    assert "opening_hours" in output(notebook, "timeline", "text/html")
    steps = output(notebook, "steps-table", "text/plain")
    assert steps.index("tool_calls") < steps.index("message_creation")
    assert "9 to 18 h" in output(notebook, "calls-table", "text/plain")
    assert "40.0" in output(notebook, "batch-table", "text/plain")
    assert output(notebook, "draw", "image/png")


def test_cells_that_run_again(
    notebook: nbformat.NotebookNode, endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """The first cell closes the session that it opened before, and the last one leaves no assistant behind."""
    monkeypatch.setenv("OPENAI_BASE_URL", endpoint)
    by_id = {cell.id: cell for cell in notebook.cells}
    count = nbformat.v4.new_code_cell("len(await session.assistants.list().to_list())")
    again = nbformat.v4.new_code_cell("import gc\ngc.collect()\nlen(await session.assistants.list().to_list())")
    order = [by_id["open"], count, by_id["tool"], by_id["tool"], by_id["open"], by_id["tool"], by_id["close"]]
    notebook.cells = [deepcopy(cell) for cell in [*order, by_id["open"], again, by_id["close"]]]
    NotebookClient(notebook, timeout=50, resources={"metadata": {"path": tmp_path}}).execute()
    printed = [output for cell in notebook.cells for output in cell.outputs if output.output_type == "stream"]
    assert printed == []
    before, afterwards = notebook.cells[1].outputs[0].data, notebook.cells[-2].outputs[0].data
    assert afterwards == before


def test_a_run_that_has_not_completed(
    notebook: nbformat.NotebookNode, endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """Its steps are shown, too: whoever looks at a run that went wrong needs them most."""
    monkeypatch.setenv("OPENAI_BASE_URL", endpoint)
    by_id = {cell.id: cell for cell in notebook.cells}
    by_id["tool"].source = by_id["tool"].source.replace("toolbox=toolbox, ", "")
    by_id["tool"].metadata["tags"] = ["raises-exception"]  # the run waits for outputs
    last = notebook.cells.index(by_id["steps-table"])
    notebook.cells = notebook.cells[: last + 1]
    NotebookClient(notebook, timeout=50, resources={"metadata": {"path": tmp_path}}).execute()
    assert "RunActionRequiredError" in str(by_id["tool"].outputs)
    assert "in_progress" in output(notebook, "steps-table", "text/plain")
