"""Examples with ``await`` at the top level, as a notebook or a REPL runs them: each cell in a task of its own."""

import ast
import inspect
import re
from pathlib import Path
from types import FunctionType

import pytest

from openai_runs import Session

PAGE = Path(__file__).parents[2] / "docs/how-to/call-from-sync-code.md"

pytestmark = pytest.mark.anyio


def cells() -> list[str]:
    return re.findall(
        r'<!-- skip: next "a cell of a notebook" -->\n\n```python\n(.*?)```', PAGE.read_text("utf-8"), re.DOTALL
    )


async def execute(cell: str, names: dict[str, object]) -> None:
    result = FunctionType(compile(cell, "cell", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)()
    assert inspect.iscoroutine(result)
    await result


async def test_cells(capsys: pytest.CaptureFixture[str]) -> None:
    """The cells of the page run one after another, and the last one leaves nothing open."""
    assert len(cells()) == 4
    names: dict[str, object] = {}
    for cell in cells():
        await execute(cell, names)
    assert " -> completed (" in capsys.readouterr().out
    assert names["messages"]
    assert names["run"].status == "completed"  # what a cell with `run` alone shows then


async def test_the_first_cell_runs_again() -> None:
    """It closes what it opened before."""
    first, *_, last = cells()
    names: dict[str, object] = {}
    await execute(first, names)
    session = names["session"]
    await execute(first, names)
    assert isinstance(session, Session)
    with pytest.raises(RuntimeError, match="this Session is closed"):
        await session.assistants.list().page()
    await execute(last, names)
