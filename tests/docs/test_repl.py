"""Examples with ``await`` at the top level, as a notebook or a REPL runs them: each cell in a task of its own."""

import ast
import inspect
import re
from pathlib import Path
from types import FunctionType

import pytest

PAGE = Path(__file__).parents[2] / "docs/how-to/call-from-sync-code.md"

pytestmark = pytest.mark.anyio


async def test_cells(capsys: pytest.CaptureFixture[str]) -> None:
    """The cells of the page run one after another, and the last one leaves nothing open."""
    cells = re.findall(
        r'<!-- skip: next "a cell of a notebook" -->\n\n```python\n(.*?)```', PAGE.read_text("utf-8"), re.DOTALL
    )
    assert len(cells) == 4
    names: dict[str, object] = {}
    for cell in cells:
        code = compile(cell, "cell", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = FunctionType(code, names)()
        assert inspect.iscoroutine(result)
        await result
    assert " -> completed (" in capsys.readouterr().out
    assert names["messages"]
    assert names["run"].status == "completed"  # what a cell with `run` alone shows then
