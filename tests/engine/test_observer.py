"""What observers of an engine are told, and that the engine does not depend on them."""

from contextlib import contextmanager
from typing import Any

import anyio
import pytest
from attrs import define, field

from openai_runs.backends import Call, Fail, Say, Wait
from openai_runs.engine.errors import AbandonedError
from openai_runs.engine.observer import call_failure, error_code
from openai_runs.errors import BackendError, StoreError
from tests.engine.world import TIME, world

pytestmark = pytest.mark.anyio


@define
class Notes:
    """Notes what it is told."""

    told: list[Any] = field(factory=list)

    def run_resumed(self, run: Any, _: Any) -> None:
        self.told.append(f"resumed {run.status}")

    def run_changed(self, run: Any, _: Any) -> None:
        self.told.append(str(run.status))

    def run_left(self, run_id: str) -> None:
        self.told.append(f"left {run_id}")

    def committed(self, seconds: float) -> None:
        assert seconds >= 0

    @contextmanager
    def executing(self, run_id: str) -> Any:
        self.told.append("turn")
        try:
            yield
        finally:
            self.told.append("end of turn")

    @contextmanager
    def model_call(self, request: Any, progress: Any) -> Any:
        self.told.append(f"call {request.model}")
        try:
            yield lambda event: self.told.append(type(event).__name__)
        except BaseException as error:
            self.told.append(call_failure(error))
            raise
        self.told.append((progress.reason, progress.usage.completion_tokens))

    def close(self) -> None:
        self.told.append("closed")


async def test_a_run_with_a_tool() -> None:
    """Each turn is a model call, of which each piece of the answer is told."""
    notes = Notes()
    go_on = anyio.Event()
    go_on.set()
    async with world([[Wait(go_on), Call("get_time")], [Wait(go_on), Say("It is noon.")]], observers=(notes,)) as w:
        run = await w.start("When?", tools=[TIME])
        await w.answer(run)
        await w.until("run.completed", run)
        await w.settle()
    call = ["queued", "turn", "call m", "in_progress"]
    first = [*call, *["ToolCallChunk"] * 2, ("stop", 1), "requires_action"]
    second = [*call, *["TextChunk"] * 3, ("stop", 3), "completed"]
    assert notes.told == [*first, "end of turn", *second, "end of turn", "closed"]


async def test_a_failed_call() -> None:
    """The error passes through, and fails the run."""
    notes = Notes()
    async with world([Fail("rate_limit_exceeded", "secret")], observers=(notes,)) as w:
        await w.until("run.failed", await w.start("Hello"))
    assert notes.told[2:5] == ["call m", "rate_limit_exceeded", "failed"]


async def test_a_cancelled_run() -> None:
    """A call that is given up has not failed."""
    notes = Notes()
    async with world([Wait()], observers=(notes,)) as w:
        run = await w.start("Hello")
        await w.settle()
        await w.engine.runs.cancel("", run.thread_id, run.id)
        await w.until("run.cancelled", run)
        await w.settle()
    assert notes.told[2:] == ["call m", "in_progress", "cancelling", None, "end of turn", "cancelled", "closed"]


async def test_an_observer_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    """The run goes on, and the error is in the log."""

    class Broken(Notes):
        def run_changed(self, run: Any, _: Any) -> None:
            raise KeyError(run.id)

    async with world([Say("Hello")], observers=(Broken(),)) as w:
        await w.until("run.completed", await w.start("Hello"))
    assert "a change could not be recorded by an observer" in caplog.text


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (None, None),
        (BackendError("invalid_prompt", "secret"), "invalid_prompt"),
        (BackendError("made up", "secret"), "server_error"),
        (KeyError("secret"), "server_error"),
        (AbandonedError(), None),
        (StoreError("no disk"), None),
        (GeneratorExit(), None),
    ],
)
def test_failures(error: BaseException | None, failure: str | None) -> None:
    """One of the API's three codes; the store and whoever ends the run are no failures of the model."""
    assert call_failure(error) == failure


def test_codes() -> None:
    """A backend may raise any code, which clients could not read."""
    codes = "rate_limit_exceeded", "made up", 5
    assert [error_code(BackendError(code, "")) for code in codes] == [  # type: ignore[arg-type]
        "rate_limit_exceeded",
        "server_error",
        "server_error",
    ]
