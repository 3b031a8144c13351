"""The command `openai-runs runs show`."""

from typing import Annotated

import typer

from openai_runs import dump
from openai_runs.cli.endpoint_option import BaseUrl
from openai_runs.cli.json_option import AsJson, print_json
from openai_runs.cli.showing import now, run_facts, timeline
from openai_runs.cli.terminal import console, run
from openai_runs.models.run_step import RunStep
from openai_runs.session import Session


def show_run(
    run_id: Annotated[str, typer.Argument(help="The run's ID.")],
    thread_id: Annotated[
        str | None, typer.Option("--thread", help="Its thread's ID, which only other endpoints need.")
    ] = None,
    as_json: AsJson = False,
    base_url: BaseUrl = None,
) -> None:
    """Show a run, and its steps over time."""
    run(_show(run_id, thread_id, as_json, base_url))


async def _show(run_id: str, thread_id: str | None, as_json: bool, base_url: str | None) -> None:
    async with Session(base_url) as session:
        if thread_id is None:
            found = await session.runs.find(run_id)
        else:
            found = await session.runs.retrieve(thread_id=thread_id, run_id=run_id)
        steps: list[RunStep] = [step async for step in session.run_steps.list(found, order="asc", limit=100)]
        if as_json:
            for value in (found, *steps):
                print_json(dump(value))
            return
        messages = session.messages.list(found.thread_id, run_id=found.id, limit=100)
        texts = {message.id: message.text async for message in messages}
        for line in run_facts(found):
            console.print(line)
        for line in timeline(found, steps, texts, width=console.width, now=now()):
            console.print(line)
