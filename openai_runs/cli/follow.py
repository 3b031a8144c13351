"""The command `openai-runs follow`."""

from openai_runs.cli.endpoint_option import BaseUrl
from openai_runs.cli.showing import event_line
from openai_runs.cli.terminal import console, run
from openai_runs.session import Session


def follow(thread_id: str, run_id: str, base_url: BaseUrl = None) -> None:
    """Follow a run to its end, whichever program created it."""
    run(_follow(thread_id, run_id, base_url))


async def _follow(thread_id: str, run_id: str, base_url: str | None) -> None:
    async with Session(base_url) as session:
        async for event in session.runs.follow(thread_id=thread_id, run_id=run_id):
            console.print(event_line(event))
