"""What is in a store, or goes into it: a thread as the API sends it, and an unfinished run."""

from pathlib import Path

from openai_runs.backends import Say, Wait
from openai_runs.stores.sqlite import SQLiteStore
from tests.engine.world import world

THREAD = {"id": "thread_1", "object": "thread", "created_at": 99, "tool_resources": None, "metadata": {}}


async def left_unfinished(path: Path) -> tuple[str, str, str]:
    """Make a store with a run that stopped in the middle of a message; returns the IDs of run, step and message."""
    async with world([[Say("It is"), Wait()]], store=SQLiteStore(path)) as w:
        run = await w.start("Hello")
        await w.until("message.delta", run)
        (step,), (_, message) = await w.steps(run), await w.messages(run)
    return run.id, step.id, message.id
