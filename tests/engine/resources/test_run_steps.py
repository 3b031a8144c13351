"""The API's operations on run steps."""

import pytest

from openai_runs.backends import Call, Say
from openai_runs.engine import ApiError
from openai_runs.stores import PageQuery
from tests.engine.world import conform, world

pytestmark = pytest.mark.anyio


async def test_retrieve_and_list():
    """A run's steps, newest first, page by page."""
    async with world([Call("f"), Say("Done.")]) as w:
        run = await w.start()
        await w.answer(run)
        await w.until("run.completed", run)
        calls, message = await w.steps(run)
        page = conform(await w.engine.run_steps.list("", run.thread_id, run.id, PageQuery(limit=1)))
        assert (page.data, page.has_more) == ((message,), True)
        page = await w.engine.run_steps.list("", run.thread_id, run.id, PageQuery(after=message.id))
        assert (page.data, page.has_more) == ((calls,), False)
        assert conform(await w.engine.run_steps.retrieve("", run.thread_id, run.id, calls.id)) == calls


async def test_not_there():
    """A step is found in its own run only."""
    async with world() as w:
        run = await w.start()
        await w.until("run.completed", run)
        (step,) = await w.steps(run)
        later = await w.again(run)
        for run_id, step_id in [(run.id, "x"), (later.id, step.id)]:
            with pytest.raises(ApiError) as caught:
                await w.engine.run_steps.retrieve("", run.thread_id, run_id, step_id)
            assert (caught.value.status, str(caught.value)) == (404, f"No run step found with id '{step_id}'.")
        with pytest.raises(ApiError, match="No run found with id 'x'"):
            await w.engine.run_steps.list("", run.thread_id, "x", PageQuery())
