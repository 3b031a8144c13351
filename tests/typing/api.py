"""Calls that type-check, and calls that must not: there, the ignore would be unused. Never executed."""

from typing import assert_type

from openai_runs import _wire
from openai_runs.models.page import Page
from openai_runs.models.run import Run, RunCreateParams


def loading() -> None:
    run = _wire.load(b"{}", Run)
    assert_type(run, Run)
    assert_type(_wire.load({}, Page[Run]).data, tuple[Run, ...])
    run.status = run.status  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


def parameters() -> None:
    RunCreateParams(assistant_id="asst_1", temperature=0.5)
    RunCreateParams(assistant_id="asst_1", temprature=0.5)  # type: ignore[typeddict-unknown-key]  # pyright: ignore[reportCallIssue]
