"""The tables of columns in the page about the results of batches are those of the rows."""

import re
from datetime import datetime
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from openai_runs.batch import ResultRow
from openai_runs.models.run import RunRow
from openai_runs.models.run_step import CallRow, StepRow

PAGE = Path(__file__).parents[2] / "docs/how-to/analyse-a-batch.md"
WORDS = {str: "text", int: "integer", float: "number", bool: "true or false", datetime: "time"}


def described(type: Any) -> str:
    """A column's type as the page has it."""
    if get_origin(type) is Literal:
        return "text"
    if isinstance(type, UnionType):
        [some] = [each for each in get_args(type) if each is not NoneType]
        return f"{WORDS[some]}, or missing"
    return WORDS[type]


@pytest.mark.parametrize(
    ("row", "caption"),
    [
        (ResultRow, "Of a result, `BatchResult.row()`:"),
        (RunRow, "Of a run, `Run.row()`:"),
        (StepRow, "Of a step, `RunStep.row()`:"),
        (CallRow, "Of a tool call, `RunStep.call_rows()`:"),
    ],
)
def test_columns_of_a_row(row: type, caption: str):
    """All of them are there, in their order, with what they have."""
    table = PAGE.read_text("utf-8").split(caption)[1].split("\n\n")[1]
    columns = re.findall(r"^\| `(\w+)` \| ([\w ,]+) \|", table, re.MULTILINE)
    assert columns == [(name, described(type)) for name, type in get_type_hints(row).items()]
